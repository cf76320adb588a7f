/* Small text helpers: bounded building, numbers with units, hex and base64, UTF-8 checks, glyph-safe printing of
 * foreign bytes. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/span.h"

/* A bounded text under construction. Always terminated; `truncated` says that something did not fit. */
struct text {
    char *buf;
    size_t n, cap;
    bool truncated;
};

struct text text_of(char *buf, size_t cap);
void text_add(struct text *t, const char *s);
void text_add_span(struct text *t, struct span s);
void text_addf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Foreign bytes made safe for a terminal or a log: printable ASCII and valid UTF-8 as they are, everything else as
 * \xNN. */
void text_add_safe(struct text *t, struct span s);

/* A whole decimal number in min..max, nothing before or behind it. 0 or ERR_BAD. */
int text_parse_u64(struct span s, uint64_t min, uint64_t max, uint64_t *out);
/* "90", "30s", "10m", "2h", "1d" to seconds. 0 or ERR_BAD. */
int text_parse_seconds(const char *s, uint64_t *out);
/* "4096", "64k", "10M", "1G" (powers of 1024, an optional B behind) to bytes. 0 or ERR_BAD. */
int text_parse_bytes(const char *s, uint64_t *out);

/* Lower-case hex of `n` bytes; `out` holds 2n+1. Returns out. */
char *text_hex(const void *p, size_t n, char *out);
/* Hex digits (white space ignored) to bytes. The count, or ERR_BAD / ERR_FULL. */
int text_unhex(const char *s, uint8_t *out, size_t cap);
/* Base64 with padding; `out` holds 4*((n+2)/3)+1. Returns out. */
char *text_base64(const void *p, size_t n, char *out);
/* Base64 to bytes, padding optional. The count, or ERR_BAD / ERR_FULL. */
int text_unbase64(struct span s, uint8_t *out, size_t cap);

bool text_is_utf8(struct span s);

#endif
