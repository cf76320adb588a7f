/* What the wire tests share: messages built byte by byte (not by the code under test), and parsing from a heap block of
 * exactly the message's size, at an odd address, so that a sanitizer sees every wrong read. */
#ifndef UNIT_WIRE_FIXTURE_H
#define UNIT_WIRE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "wire/stun.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* A message under construction. `raw_length` sets the length field of the header; raw_parse does it when nobody did. */
struct raw {
    uint8_t p[70000];
    size_t n;
};

/* The bytes of hex digits; they are good for the next 63 calls. */
__attribute__((unused)) static struct span hex(const char *text)
{
    static uint8_t bytes[64][2048];
    static int turn;
    uint8_t *p = bytes[turn++ % 64];
    int n = text_unhex(text, p, sizeof bytes[0]);
    if (n < 0)
        fail_msg("not hex: %s", text);
    return span_of(p, n < 0 ? 0 : (size_t)n);
}

__attribute__((unused)) static void raw_add(struct raw *r, struct span s)
{
    assert_true(r->n + s.n <= sizeof r->p);
    if (s.n)
        memcpy(r->p + r->n, s.p, s.n);
    r->n += s.n;
}

__attribute__((unused)) static void raw_length(struct raw *r)
{
    be16_put(r->p + 2, (uint16_t)(r->n - 20));
}

/* A header with the cookie and a transaction id. */
__attribute__((unused)) static void raw_begin(struct raw *r, uint16_t type)
{
    r->n = 0;
    raw_add(r, hex("00000000 2112a442 000102030405060708090a0b"));
    be16_put(r->p, type);
}

/* An attribute, padded with 0xee up to `align`. */
__attribute__((unused)) static void raw_attr_aligned(struct raw *r, uint16_t type, struct span value, size_t align)
{
    uint8_t header[4];
    be16_put(header, type);
    be16_put(header + 2, (uint16_t)value.n);
    raw_add(r, span_of(header, 4));
    raw_add(r, value);
    while (r->n % align != 0)
        r->p[r->n++] = 0xee;
    raw_length(r);
}

__attribute__((unused)) static void raw_attr(struct raw *r, uint16_t type, struct span value)
{
    raw_attr_aligned(r, type, value, 4);
}

/* A copy at an odd address with nothing behind it; good until the next call. */
__attribute__((unused)) static struct span odd_copy(struct span s)
{
    static uint8_t *block;
    free(block);
    assert_true(s.n < 1 << 20);
    block = malloc(s.n + 1);
    assert_non_null(block);
    if (s.n)
        memcpy(block + 1, s.p, s.n);
    return span_of(block + 1, s.n);
}

__attribute__((unused)) static int parse(const struct stun_dialect *d, struct span s, struct stun_msg *m)
{
    memset(m, 0xa5, sizeof *m); /* nothing may depend on what was there before */
    return stun_parse(d, odd_copy(s), m);
}

__attribute__((unused)) static int raw_parse(const struct stun_dialect *d, const struct raw *r, struct stun_msg *m)
{
    return parse(d, span_of(r->p, r->n), m);
}

__attribute__((unused)) static void assert_span_equal(struct span got, struct span want)
{
    assert_int_equal(got.n, want.n);
    if (want.n)
        assert_memory_equal(got.p, want.p, want.n);
}

__attribute__((unused)) static void assert_text(struct span got, const char *want)
{
    assert_span_equal(got, span_str(want));
}

#endif
