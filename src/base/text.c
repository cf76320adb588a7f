#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- UTF-8 ---- */

/* Length and smallest code point of the sequence that this byte starts; 0 if none does. */
static size_t utf8_lead(uint8_t byte, uint32_t *code, uint32_t *least)
{
    if (byte < 0x80) {
        *code = byte, *least = 0;
        return 1;
    }
    if (byte >= 0xc2 && byte < 0xe0) {
        *code = byte & 0x1f, *least = 0x80;
        return 2;
    }
    if (byte >= 0xe0 && byte < 0xf0) {
        *code = byte & 0x0f, *least = 0x800;
        return 3;
    }
    if (byte >= 0xf0 && byte < 0xf5) {
        *code = byte & 0x07, *least = 0x10000;
        return 4;
    }
    return 0;
}

size_t text_utf8_first(struct span s, uint32_t *code)
{
    uint32_t v, least;
    size_t n = s.n ? utf8_lead(s.p[0], &v, &least) : 0;
    if (n == 0 || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s.p[i] & 0x3f);
    }
    if (v < least || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return 0;
    *code = v;
    return n;
}

bool text_is_utf8(struct span s)
{
    while (s.n) {
        uint32_t code;
        size_t n = text_utf8_first(s, &code);
        if (n == 0)
            return false;
        s = span_skip(s, n);
    }
    return true;
}

/* Without the character at the end of `s` whose last bytes are missing, if there is one. */
static struct span drop_partial(struct span s)
{
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        uint32_t code, least;
        uint8_t byte = s.p[s.n - back];
        if ((byte & 0xc0) != 0x80)
            return utf8_lead(byte, &code, &least) > back ? span_take(s, s.n - back) : s;
    }
    return s;
}

struct span text_cut(struct span s, size_t max)
{
    return s.n <= max ? s : drop_partial(span_take(s, max));
}

/* ---- building ---- */

struct text text_of(char *buf, size_t cap)
{
    must(cap > 0);
    buf[0] = 0;
    return (struct text){buf, 0, cap, false};
}

static void text_add_bytes(struct text *t, const void *p, size_t n)
{
    memcpy(t->buf + t->n, p, n);
    t->n += n;
    t->buf[t->n] = 0;
}

void text_add_span(struct text *t, struct span s)
{
    if (t->truncated || s.n == 0)
        return;
    size_t room = t->cap - 1 - t->n;
    if (s.n > room) {
        t->truncated = true;
        s = text_cut(s, room);
    }
    text_add_bytes(t, s.p, s.n);
}

void text_add(struct text *t, const char *s)
{
    text_add_span(t, span_str(s));
}

void text_addf(struct text *t, const char *fmt, ...)
{
    if (t->truncated)
        return;
    va_list args;
    va_start(args, fmt);
    size_t room = t->cap - t->n;
    int n = vsnprintf(t->buf + t->n, room, fmt, args);
    va_end(args);
    must(n >= 0);
    t->truncated = (size_t)n >= room;
    t->n += t->truncated ? drop_partial(span_of(t->buf + t->n, room - 1)).n : (size_t)n;
    t->buf[t->n] = 0;
}

/* ---- foreign bytes ---- */

/* Code points that steer a terminal or the order of glyphs, or that nobody sees. */
static bool is_steering(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x0000, 0x001f},   {0x007f, 0x009f}, /* C0, DEL, C1 */
        {0x00ad, 0x00ad},   {0x061c, 0x061c}, /* soft hyphen, Arabic letter mark */
        {0x200b, 0x200f},   {0x2028, 0x202e}, /* zero widths and marks, line separators and embeddings */
        {0x2060, 0x206f},   {0xfeff, 0xfeff}, /* isolates and deprecated format controls, byte order mark */
        {0xfff9, 0xfffb},                     /* interlinear annotation */
        {0xe0000, 0xe0fff},                   /* tags, variation selectors */
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

static void text_add_escaped(struct text *t, struct span s)
{
    for (size_t i = 0; i < s.n && !t->truncated; i++) {
        if (t->cap - 1 - t->n < 4)
            t->truncated = true;
        else
            text_addf(t, "\\x%02x", s.p[i]);
    }
}

void text_add_safe(struct text *t, struct span s)
{
    while (s.n && !t->truncated) {
        uint32_t code;
        size_t n = text_utf8_first(s, &code);
        if (n == 0 || is_steering(code))
            text_add_escaped(t, span_take(s, n ? n : 1));
        else
            text_add_span(t, span_take(s, n));
        s = span_skip(s, n ? n : 1);
    }
}

/* ---- numbers ---- */

int text_parse_u64(struct span s, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return ERR_BAD;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t digit = (uint8_t)(s.p[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return ERR_BAD;
    }
    if (v < min || v > max)
        return ERR_BAD;
    *out = v;
    return 0;
}

struct unit {
    char letter;
    uint64_t factor;
};

/* A number with at most one letter of the table behind it. */
static int parse_with_unit(struct span s, const struct unit *units, size_t n, uint64_t *out)
{
    uint64_t factor = 1, v;
    for (size_t i = 0; i < n && s.n; i++) {
        if (s.p[s.n - 1] == units[i].letter) {
            factor = units[i].factor;
            s.n--;
            break;
        }
    }
    if (text_parse_u64(s, 0, UINT64_MAX / factor, &v))
        return ERR_BAD;
    *out = v * factor;
    return 0;
}

int text_parse_seconds(const char *s, uint64_t *out)
{
    static const struct unit units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    return parse_with_unit(span_str(s), units, sizeof units / sizeof units[0], out);
}

int text_parse_bytes(const char *s, uint64_t *out)
{
    static const struct unit units[] = {{'k', 1 << 10}, {'K', 1 << 10}, {'M', 1 << 20}, {'G', 1 << 30}};
    struct span all = span_str(s);
    if (all.n && all.p[all.n - 1] == 'B')
        all.n--;
    return parse_with_unit(all, units, sizeof units / sizeof units[0], out);
}

/* ---- hex and base64 ---- */

char *text_hex(const void *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = 0;
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

int text_unhex(const char *s, uint8_t *out, size_t cap)
{
    size_t digits = 0;
    int high = 0;
    for (; *s; s++) {
        if (strchr(" \t\r\n", *s))
            continue;
        int digit = hex_digit(*s);
        if (digit < 0)
            return ERR_BAD;
        if (digits % 2 == 0)
            high = digit;
        else if (digits / 2 == cap)
            return ERR_FULL;
        else
            out[digits / 2] = (uint8_t)(high << 4 | digit);
        digits++;
    }
    return digits % 2 ? ERR_BAD : (int)(digits / 2);
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *text_base64(const void *p, size_t n, char *out)
{
    const uint8_t *bytes = p;
    char *o = out;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)bytes[i] << 16;
        if (have > 1)
            v |= (uint32_t)bytes[i + 1] << 8;
        if (have > 2)
            v |= bytes[i + 2];
        *o++ = base64_digits[v >> 18];
        *o++ = base64_digits[v >> 12 & 63];
        *o++ = have > 1 ? base64_digits[v >> 6 & 63] : '=';
        *o++ = have > 2 ? base64_digits[v & 63] : '=';
    }
    *o = 0;
    return out;
}

/* Takes the padding off. ERR_BAD if it is there and of the wrong length. */
static int base64_unpad(struct span *s)
{
    size_t pad = 0;
    while (pad < 2 && pad < s->n && s->p[s->n - 1 - pad] == '=')
        pad++;
    if (pad && s->n % 4)
        return ERR_BAD;
    s->n -= pad;
    return s->n % 4 == 1 ? ERR_BAD : 0;
}

int text_unbase64(struct span s, uint8_t *out, size_t cap)
{
    if (base64_unpad(&s))
        return ERR_BAD;
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *digit = s.p[i] ? strchr(base64_digits, s.p[i]) : NULL;
        if (!digit)
            return ERR_BAD;
        bits = bits << 6 | (uint32_t)(digit - base64_digits);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (n == cap)
            return ERR_FULL;
        out[n++] = (uint8_t)(bits >> have);
        bits &= (1u << have) - 1;
    }
    return bits ? ERR_BAD : (int)n; /* RFC 4648 s.3.5: leftover bits are zero */
}

bool text_is_clean(struct span s)
{
    while (s.n) {
        uint32_t code;
        size_t n = text_utf8_first(s, &code);
        if (n == 0 || code < 0x20 || (code >= 0x7f && code <= 0x9f))
            return false;
        s = span_skip(s, n);
    }
    return true;
}
