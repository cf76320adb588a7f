#include "wire/uri.h"

#include "base/text.h"

static bool is_alpha(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static size_t find(struct span s, uint8_t c)
{
    const uint8_t *p = s.n ? memchr(s.p, c, s.n) : NULL;
    return p ? (size_t)(p - s.p) : s.n;
}

/* Characters that stand in no URI: controls, space, and the delimiters of RFC 3986 that must be escaped. Bytes beyond
 * ASCII are let pass: senders of them exist, and nobody here takes them for anything else. */
static bool is_clean(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f || s.p[i] == '<' || s.p[i] == '>' || s.p[i] == '"')
            return false;
    return true;
}

/* RFC 3986 s.3.1 */
static int cut_scheme(struct span text, struct uri *u)
{
    size_t n = find(text, ':');
    if (n == 0 || n == text.n || !is_alpha(text.p[0]))
        return ERR_BAD;
    for (size_t i = 1; i < n; i++)
        if (!is_alpha(text.p[i]) && !is_digit(text.p[i]) && !memchr("+-.", text.p[i], 3))
            return ERR_BAD;
    u->scheme = span_take(text, n);
    u->rest = span_skip(text, n + 1);
    return 0;
}

static bool is_host_name(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_alpha(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '.' && s.p[i] != '_')
            return false;
    return s.n > 0;
}

static bool is_in_brackets(struct span s)
{
    if (s.n < 4 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    for (size_t i = 1; i + 1 < s.n; i++)
        if (!is_digit(s.p[i]) && !((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'f') && s.p[i] != ':' && s.p[i] != '.')
            return false;
    return true;
}

/* host [":" port] */
static int cut_host(struct span s, struct uri *u)
{
    bool is_v6 = s.n && s.p[0] == '[';
    size_t n = is_v6 ? find(s, ']') + 1 : find(s, ':');
    u->host = span_take(s, n);
    if (is_v6 ? !is_in_brackets(u->host) : !is_host_name(u->host))
        return ERR_BAD;
    if (n >= s.n)
        return 0;
    uint64_t port;
    if (s.p[n] != ':' || text_parse_u64(span_skip(s, n + 1), 1, UINT16_MAX, &port))
        return ERR_BAD;
    u->port = (uint16_t)port;
    return 0;
}

/* A user part may hold ; and ? (RFC 3261 s.25.1, user-unreserved), so the last @ before the headers is looked for
 * first; a @ behind the host can only be escaped. */
static int cut_sip(struct uri *u)
{
    struct span s = u->rest;
    size_t at = find(s, '@');
    if (at < s.n) {
        u->user = span_take(s, at);
        s = span_skip(s, at + 1);
        if (u->user.n == 0 || find(s, '@') < s.n)
            return ERR_BAD;
    }
    size_t mark = find(s, '?');
    u->headers = span_skip(s, mark + 1);
    s = span_take(s, mark);
    size_t semicolon = find(s, ';');
    u->params = span_skip(s, semicolon + 1);
    return cut_host(span_take(s, semicolon), u);
}

static bool is_word(struct span s, const char *lower)
{
    size_t i = 0;
    while (i < s.n && lower[i] && (s.p[i] | 0x20) == lower[i])
        i++;
    return i == s.n && !lower[i];
}

int uri_parse(struct span text, struct uri *out)
{
    *out = (struct uri){0};
    if (!is_clean(text) || cut_scheme(text, out))
        return ERR_BAD;
    out->is_sips = is_word(out->scheme, "sips");
    out->is_sip = is_word(out->scheme, "sip");
    return out->is_sip || out->is_sips ? cut_sip(out) : out->rest.n ? 0 : ERR_BAD;
}
