/* Small text helpers: bounded building, numbers with units, hex and base64, UTF-8 checks, glyph-safe printing of
 * foreign bytes. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/span.h"

/* A bounded text under construction. Always terminated. What does not fit is cut on a UTF-8 border; then `truncated` is
 * set and nothing more is added. */
struct text {
    char *buf;
    size_t n, cap;
    bool truncated;
};

/* Starts an empty text; `cap` counts the terminator and must not be 0. */
struct text text_of(char *buf, size_t cap);
void text_add(struct text *t, const char *s);
void text_add_span(struct text *t, struct span s);
void text_addf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Foreign bytes made safe for a terminal or a log: printable ASCII and valid UTF-8 as they are; controls, bidirectional
 * and invisible characters and bytes that are no UTF-8 as \xNN each. */
void text_add_safe(struct text *t, struct span s);

/* A whole decimal number in min..max, digits alone. 0 or ERR_BAD. */
int text_parse_u64(struct span s, uint64_t min, uint64_t max, uint64_t *out);
/* "90", "30s", "10m", "2h", "1d" to seconds. 0 or ERR_BAD. */
int text_parse_seconds(const char *s, uint64_t *out);
/* "4096", "64k", "64K", "10M", "1G" (powers of 1024, an optional B behind) to bytes. 0 or ERR_BAD. */
int text_parse_bytes(const char *s, uint64_t *out);

/* Lower-case hex of `n` bytes; `out` holds 2n+1. Returns out. */
char *text_hex(const void *p, size_t n, char *out);
/* Hex digits (white space ignored) to bytes. The count, or ERR_BAD / ERR_FULL. */
int text_unhex(const char *s, uint8_t *out, size_t cap);
/* Base64 with padding; `out` holds 4*((n+2)/3)+1. Returns out. */
char *text_base64(const void *p, size_t n, char *out);
/* Base64 (RFC 4648 s.4) to bytes, padding optional, no white space. The count, or ERR_BAD / ERR_FULL. */
int text_unbase64(struct span s, uint8_t *out, size_t cap);

bool text_is_utf8(struct span s);
/* UTF-8 without control characters (RFC 8265 s.4.2: the FreeformClass has none). */
bool text_is_clean(struct span s);
/* The bytes of the valid UTF-8 character that `s` starts with, its code point in `*code`; 0 if there is none. */
size_t text_utf8_first(struct span s, uint32_t *code);
/* The first `max` bytes of `s` or up to three fewer, so that no UTF-8 character is cut in two. */
struct span text_cut(struct span s, size_t max);

#endif
