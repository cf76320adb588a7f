/* Values of SIP headers: lists, names with addresses, Via, parameters, CSeq. */
#include "base/text.h"
#include "wire/sip.h"

/* Line folds count as white space. */
static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
    while (s.n && is_space(s.p[0]))
        s = span_skip(s, 1);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The size of the quoted string that `s` begins with, quotes included; 0: it does not end (RFC 3261 s.25.1). */
static size_t quoted_size(struct span s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '"')
            return i + 1;
        if (s.p[i] == '\\')
            i++;
    }
    return 0;
}

/* The position of the first `c` that is neither quoted nor in <>, or s.n; in a quoted string that does not end nothing
 * is found. */
static size_t find_outside(struct span s, uint8_t c)
{
    bool is_inside = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' && !is_inside) {
            size_t n = quoted_size(span_skip(s, i));
            if (n == 0)
                return s.n;
            i += n - 1;
        } else if (s.p[i] == c && !is_inside) {
            return i;
        } else if (s.p[i] == '<') {
            is_inside = true;
        } else if (s.p[i] == '>') {
            is_inside = false;
        }
    }
    return s.n;
}

bool sip_list_next(struct span *rest, struct span *element)
{
    while (rest->n) {
        size_t comma = find_outside(*rest, ',');
        *element = trim(span_take(*rest, comma));
        *rest = span_skip(*rest, comma + 1);
        if (element->n)
            return true;
    }
    return false;
}

/* ---- names ---- */

static bool has_space(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_space(s.p[i]))
            return true;
    return false;
}

/* What follows <uri> or the bare uri: nothing, or ;params. */
static int take_params(struct span s, struct span *params)
{
    s = trim(s);
    if (s.n && s.p[0] != ';')
        return ERR_BAD;
    *params = span_skip(s, 1);
    return 0;
}

/* Without <> all parameters belong to the header, and the URI has neither comma nor question mark (RFC 3261 s.20). */
static int parse_bare(struct span s, struct sip_name *out)
{
    size_t semicolon = find_outside(s, ';');
    out->uri = trim(span_take(s, semicolon));
    if (out->uri.n == 0 || has_space(out->uri) || memchr(out->uri.p, '?', out->uri.n) ||
        memchr(out->uri.p, '"', out->uri.n))
        return ERR_BAD;
    return take_params(span_skip(s, semicolon), &out->params);
}

int sip_name_parse(struct span element, struct sip_name *out)
{
    *out = (struct sip_name){0};
    struct span s = trim(element);
    size_t quoted = s.n && s.p[0] == '"' ? quoted_size(s) : 0;
    if (s.n == 0 || (s.p[0] == '"' && quoted == 0))
        return ERR_BAD;
    struct span behind = span_skip(s, quoted);
    const uint8_t *open = behind.n ? memchr(behind.p, '<', behind.n) : NULL;
    size_t semicolon = find_outside(behind, ';');
    if (!open || (size_t)(open - behind.p) > semicolon)
        return quoted ? ERR_BAD : parse_bare(s, out);
    size_t at = (size_t)(open - s.p);
    out->display = trim(span_take(s, at));
    if (quoted && out->display.n != quoted)
        return ERR_BAD;
    struct span inside = span_skip(s, at + 1);
    const uint8_t *close = inside.n ? memchr(inside.p, '>', inside.n) : NULL;
    if (!close)
        return ERR_BAD;
    size_t n = (size_t)(close - inside.p);
    out->uri = trim(span_take(inside, n)); /* RFC 4475 s.3.1.2.14: spaces beside the URI */
    if (out->uri.n == 0 || has_space(out->uri))
        return ERR_BAD;
    return take_params(span_skip(inside, n + 1), &out->params);
}

/* ---- parameters ---- */

bool sip_param(struct span params, const char *name, struct span *value)
{
    *value = (struct span){0};
    while (params.n) {
        size_t semicolon = find_outside(params, ';');
        struct span one = span_take(params, semicolon);
        params = span_skip(params, semicolon + 1);
        size_t equals = find_outside(one, '=');
        if (!sip_is_word(trim(span_take(one, equals)), name))
            continue;
        *value = equals < one.n ? trim(span_skip(one, equals + 1)) : span_skip(one, one.n);
        if (value->n >= 2 && value->p[0] == '"' && value->p[value->n - 1] == '"')
            *value = span_of(value->p + 1, value->n - 2);
        return true;
    }
    return false;
}

/* Is there something in each place between semicolons? */
static bool are_params_sound(struct span params)
{
    while (params.n) {
        size_t semicolon = find_outside(params, ';');
        struct span one = trim(span_take(params, semicolon));
        if (one.n == 0 || one.p[0] == '=')
            return false;
        params = span_skip(params, semicolon + 1);
    }
    return true;
}

/* ---- Via ---- */

/* The next piece up to white space or one of `ends`, white space before it skipped. */
static struct span piece(struct span *s, const char *ends)
{
    *s = trim(*s);
    size_t n = 0;
    while (n < s->n && !is_space(s->p[n]) && !(s->p[n] && strchr(ends, s->p[n])))
        n++;
    struct span out = span_take(*s, n);
    *s = trim(span_skip(*s, n));
    return out;
}

static bool skip_byte(struct span *s, char c)
{
    bool is_there = s->n && s->p[0] == (uint8_t)c;
    if (is_there)
        *s = span_skip(*s, 1);
    return is_there;
}

/* sent-by: host [":" port] with white space around the colon; the host of IPv6 stands in brackets. */
static int parse_sent_by(struct span s, struct sip_via *out)
{
    out->sent_by = s = trim(s);
    if (s.n && s.p[0] == '[') {
        const uint8_t *close = memchr(s.p, ']', s.n);
        size_t n = close ? (size_t)(close - s.p) + 1 : 0;
        out->host = span_take(s, n);
        s = trim(span_skip(s, n));
    } else {
        out->host = piece(&s, ":");
    }
    if (out->host.n == 0)
        return ERR_BAD;
    if (s.n == 0)
        return 0;
    uint64_t port;
    if (!skip_byte(&s, ':') || text_parse_u64(trim(s), 1, UINT16_MAX, &port))
        return ERR_BAD;
    out->port = (uint16_t)port;
    return 0;
}

int sip_via_parse(struct span element, struct sip_via *out)
{
    *out = (struct sip_via){0};
    struct span s = element, value;
    if (!sip_is_word(piece(&s, "/"), "SIP") || !skip_byte(&s, '/') || !sip_is_word(piece(&s, "/"), "2.0") ||
        !skip_byte(&s, '/'))
        return ERR_BAD;
    out->transport = piece(&s, "/;,");
    size_t semicolon = find_outside(s, ';');
    if (out->transport.n == 0 || parse_sent_by(span_take(s, semicolon), out))
        return ERR_BAD;
    out->params = span_skip(s, semicolon + 1);
    if ((semicolon < s.n && out->params.n == 0) || !are_params_sound(out->params))
        return ERR_BAD;
    sip_param(out->params, "branch", &out->branch);
    out->has_rport = sip_param(out->params, "rport", &value);
    out->has_cookie = out->branch.n > 7 && sip_is_word(span_take(out->branch, 7), "z9hG4bK");
    return 0;
}

/* ---- CSeq ---- */

int sip_cseq(const struct sip_msg *m, uint32_t *number, struct span *method)
{
    struct span s = sip_value(m, SIP_CSEQ);
    struct span digits = piece(&s, "");
    uint64_t n;
    if (text_parse_u64(digits, 0, INT32_MAX, &n))
        return ERR_BAD;
    *number = (uint32_t)n;
    *method = piece(&s, "");
    return method->n && s.n == 0 ? 0 : ERR_BAD;
}
