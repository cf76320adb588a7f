/* Borrowed bytes, and the two cursors that read and write big-endian fields with a sticky error.
 *
 * A span never owns: it is valid as long as the buffer it points into. Cursors check every bound; after the first
 * failure all further calls do nothing (reads return zero) and `err` stays set, so that a parser checks once, at its
 * end.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct span {
    const uint8_t *p;
    size_t n;
};

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){(const uint8_t *)p, n};
}

/* The bytes of a C string without its terminator; NULL gives the empty span. */
static inline struct span span_str(const char *s)
{
    return (struct span){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool span_is_equal(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The part of `s` behind its first `n` bytes (empty if it is shorter). */
static inline struct span span_skip(struct span s, size_t n)
{
    if (s.n == 0)
        return s; /* NULL + 0 is undefined in C */
    return n >= s.n ? (struct span){s.p + s.n, 0} : (struct span){s.p + n, s.n - n};
}

/* The first `n` bytes of `s` (all of it if it is shorter). */
static inline struct span span_take(struct span s, size_t n)
{
    return (struct span){s.p, n < s.n ? n : s.n};
}

static inline uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t be64_get(const uint8_t *p)
{
    return (uint64_t)be32_get(p) << 32 | be32_get(p + 4);
}
static inline void be16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void be32_put(uint8_t *p, uint32_t v)
{
    be16_put(p, (uint16_t)(v >> 16));
    be16_put(p + 2, (uint16_t)v);
}
static inline void be64_put(uint8_t *p, uint64_t v)
{
    be32_put(p, (uint32_t)(v >> 32));
    be32_put(p + 4, (uint32_t)v);
}

/* ---- reading ---- */

struct rd {
    const uint8_t *p, *end;
    int err; /* 0, or ERR_SHORT after the first read past the end */
};

static inline struct rd rd_of(struct span s)
{
    const uint8_t *p = s.p ? s.p : (const uint8_t *)""; /* NULL + 0 is undefined in C */
    return (struct rd){p, p + s.n, 0};
}
static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}
/* Borrow the next `n` bytes; an empty span and the sticky error when they are not there. */
static inline struct span rd_bytes(struct rd *r, size_t n)
{
    if (r->err || rd_left(r) < n) {
        r->err = ERR_SHORT;
        return (struct span){r->end, 0};
    }
    struct span s = {r->p, n};
    r->p += n;
    return s;
}
static inline uint8_t rd_u8(struct rd *r)
{
    struct span s = rd_bytes(r, 1);
    return s.n ? s.p[0] : 0;
}
static inline uint16_t rd_u16(struct rd *r)
{
    struct span s = rd_bytes(r, 2);
    return s.n ? be16_get(s.p) : 0;
}
static inline uint32_t rd_u32(struct rd *r)
{
    struct span s = rd_bytes(r, 4);
    return s.n ? be32_get(s.p) : 0;
}
static inline uint64_t rd_u64(struct rd *r)
{
    struct span s = rd_bytes(r, 8);
    return s.n ? be64_get(s.p) : 0;
}

/* ---- writing ---- */

struct wr {
    uint8_t *base, *p, *end;
    int err; /* 0, or ERR_FULL after the first write that did not fit (nothing of it is written) */
};

static inline struct wr wr_of(void *buf, size_t cap)
{
    return (struct wr){(uint8_t *)buf, (uint8_t *)buf, (uint8_t *)buf + cap, 0};
}
static inline size_t wr_len(const struct wr *w)
{
    return (size_t)(w->p - w->base);
}
/* Room for `n` bytes to be filled by the caller, or NULL with the sticky error. */
static inline uint8_t *wr_room(struct wr *w, size_t n)
{
    if (w->err || (size_t)(w->end - w->p) < n) {
        w->err = ERR_FULL;
        return NULL;
    }
    uint8_t *p = w->p;
    w->p += n;
    return p;
}
static inline void wr_bytes(struct wr *w, struct span s)
{
    uint8_t *p = wr_room(w, s.n);
    if (p && s.n)
        memcpy(p, s.p, s.n);
}
static inline void wr_zeros(struct wr *w, size_t n)
{
    uint8_t *p = wr_room(w, n);
    if (p && n)
        memset(p, 0, n);
}
static inline void wr_u8(struct wr *w, uint8_t v)
{
    uint8_t *p = wr_room(w, 1);
    if (p)
        p[0] = v;
}
static inline void wr_u16(struct wr *w, uint16_t v)
{
    uint8_t *p = wr_room(w, 2);
    if (p)
        be16_put(p, v);
}
static inline void wr_u32(struct wr *w, uint32_t v)
{
    uint8_t *p = wr_room(w, 4);
    if (p)
        be32_put(p, v);
}
static inline void wr_u64(struct wr *w, uint64_t v)
{
    uint8_t *p = wr_room(w, 8);
    if (p)
        be64_put(p, v);
}
static inline struct span wr_span(const struct wr *w)
{
    return (struct span){w->base, wr_len(w)};
}

#endif
