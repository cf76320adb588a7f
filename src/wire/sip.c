#include "wire/sip.h"

#include "base/text.h"

static const struct {
    const char *name;
    char compact;
    bool is_once;
} headers[SIP_HEADERS] = {
#define SIP_HEADER(id, name, compact, once) [SIP_##id] = {name, compact, once},
#include "wire/sip_header.def"
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

bool sip_is_word(struct span s, const char *word)
{
    size_t i = 0;
    while (i < s.n && word[i] && lower(s.p[i]) == lower((uint8_t)word[i]))
        i++;
    return i == s.n && !word[i];
}

/* RFC 3261 s.25.1, token */
static bool is_token_byte(uint8_t c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-.!%*_+`'~", c));
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_byte(s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The position of `what` in `s` from `at` on, or s.n. */
static size_t find(struct span s, size_t at, const char *what)
{
    const uint8_t *p = at < s.n ? memmem(s.p + at, s.n - at, what, strlen(what)) : NULL;
    return p ? (size_t)(p - s.p) : s.n;
}

static struct span trim(struct span s)
{
    while (s.n && (is_blank(s.p[0]) || s.p[0] == '\r' || s.p[0] == '\n'))
        s = span_skip(s, 1);
    while (s.n && (is_blank(s.p[s.n - 1]) || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\n'))
        s.n--;
    return s;
}

/* ---- lines ---- */

static enum sip_header header_of(struct span name)
{
    for (int id = SIP_UNKNOWN + 1; id < SIP_HEADERS; id++) {
        bool is_compact = name.n == 1 && headers[id].compact && lower(name.p[0]) == (uint8_t)headers[id].compact;
        if (is_compact || sip_is_word(name, headers[id].name))
            return id;
    }
    return SIP_UNKNOWN;
}

/* Cuts the next header line off `head`, folds included: a line goes on where the next one begins with white space
 * (RFC 3261 s.7.3.1). False at the empty line, and where no CRLF is left. */
static bool line_next(struct span *head, struct sip_line *out)
{
    size_t end = find(*head, 0, "\r\n");
    if (end == 0 || end == head->n)
        return false;
    while (end + 2 < head->n && is_blank(head->p[end + 2])) {
        size_t next = find(*head, end + 2, "\r\n");
        if (next == head->n)
            return false;
        end = next;
    }
    *out = (struct sip_line){.raw = span_take(*head, end + 2)};
    *head = span_skip(*head, end + 2);
    struct span line = span_take(out->raw, end);
    size_t colon = find(line, 0, ":"), name_n = colon;
    while (name_n && is_blank(line.p[name_n - 1]))
        name_n--;
    if (colon == line.n || !is_token(span_take(line, name_n)))
        return true;
    out->name = span_take(line, name_n);
    out->value = trim(span_skip(line, colon + 1));
    out->id = header_of(out->name);
    return true;
}

/* CR and LF stand together, at the end of a line or before a fold. */
static bool has_bare_line_end(struct span head)
{
    for (size_t i = 0; i < head.n; i++) {
        if (head.p[i] == '\n')
            return true;
        if (head.p[i] == '\r' && (i + 1 == head.n || head.p[++i] != '\n'))
            return true;
    }
    return false;
}

/* ---- in a stream ---- */

static int refuse(struct sip_frame *f, int err, const char *fault)
{
    f->fault = fault;
    return err;
}

static int content_length(struct span head, uint64_t *out, const char **fault)
{
    bool is_there = false;
    struct sip_line line;
    struct span rest = span_skip(head, find(head, 0, "\r\n") + 2);
    *fault = "Content-Length is missing";
    while (line_next(&rest, &line)) {
        if (line.id != SIP_CONTENT_LENGTH)
            continue;
        *fault = is_there ? "Content-Length stands twice" : "Content-Length is no number";
        if (is_there || text_parse_u64(line.value, 0, UINT64_MAX, out))
            return ERR_BAD;
        is_there = true;
    }
    return is_there ? 0 : ERR_BAD;
}

/* CRLFs before a message (RFC 3261 s.7.5, RFC 5626 s.3.5.1). */
static int frame_crlf(struct span in, struct sip_frame *out)
{
    static const char ping[] = "\r\n\r\n";
    size_t n = in.n < 4 ? in.n : 4, same = 0;
    while (same < n && in.p[same] == (uint8_t)ping[same])
        same++;
    if (same < 2 && same < n)
        return refuse(out, ERR_BAD, "a CR without its LF");
    if (same < 4 && same == n)
        return ERR_SHORT;
    out->kind = same == 4 ? SIP_FRAME_PING : SIP_FRAME_CRLF;
    out->size = same == 4 ? 4 : 2;
    return 0;
}

int sip_frame_next(struct span in, size_t head_max, size_t body_max, struct sip_frame *out)
{
    *out = (struct sip_frame){.kind = SIP_FRAME_MESSAGE};
    if (in.n == 0)
        return ERR_SHORT;
    if (in.p[0] == '\r')
        return frame_crlf(in, out);
    if (!is_token_byte(in.p[0]))
        return refuse(out, ERR_BAD, "not SIP");
    size_t head_n = find(span_take(in, head_max), 0, "\r\n\r\n") + 4;
    if (head_n > head_max || head_n > in.n)
        return in.n < head_max ? ERR_SHORT : refuse(out, ERR_FULL, "the head is too long");
    uint64_t body_n = 0;
    out->size = head_n;
    if (content_length(span_take(in, head_n), &body_n, &out->fault))
        return ERR_BAD;
    out->fault = NULL;
    if (body_n > body_max)
        return refuse(out, ERR_FULL, "the body is too long");
    out->size = head_n + (size_t)body_n;
    return out->size > in.n ? ERR_SHORT : 0;
}

/* ---- whole messages ---- */

enum sip_method sip_method_of(struct span token)
{
    static const struct {
        const char *name;
        enum sip_method method;
    } known[] = {{"INVITE", SIP_INVITE},   {"ACK", SIP_ACK},          {"BYE", SIP_BYE},
                 {"CANCEL", SIP_CANCEL},   {"OPTIONS", SIP_OPTIONS},  {"REGISTER", SIP_REGISTER},
                 {"SERVICE", SIP_SERVICE}, {"BENOTIFY", SIP_BENOTIFY}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (span_is_equal(token, span_str(known[i].name)))
            return known[i].method;
    return SIP_METHOD_OTHER;
}

static void set_fault(struct sip_msg *m, const char *fault)
{
    if (!m->fault)
        m->fault = fault;
}

static bool is_version(struct span s)
{
    return s.n >= 7 && sip_is_word(span_take(s, 4), "SIP/");
}

/* SIP/2.0 SP 3DIGIT SP reason; the second space is missed by some, and forgiven. */
static int parse_status_line(struct sip_msg *m)
{
    struct span s = m->start;
    size_t space = find(s, 0, " ");
    uint64_t status;
    m->version = span_take(s, space);
    s = span_skip(s, space + 1);
    size_t n = find(s, 0, " ");
    if (n != 3 || text_parse_u64(span_take(s, 3), 100, 699, &status) || !sip_is_word(m->version, "SIP/2.0"))
        return ERR_BAD;
    m->status = (uint16_t)status;
    m->reason = span_skip(s, 4);
    return 0;
}

/* Method SP Request-URI SP SIP-Version. A URI with spaces in it can still be answered (RFC 4475 s.3.1.2.9). */
static int parse_request_line(struct sip_msg *m)
{
    struct span s = m->start;
    size_t first = find(s, 0, " "), last = s.n;
    while (last > first && s.p[last - 1] != ' ')
        last--;
    m->method_name = span_take(s, first);
    m->version = span_skip(s, last);
    if (last < first + 3 || !is_token(m->method_name) || !is_version(m->version))
        return ERR_BAD;
    m->uri = span_take(span_skip(s, first + 1), last - first - 2);
    m->method = sip_method_of(m->method_name);
    m->is_request = true;
    for (size_t i = 0; i < m->uri.n; i++)
        if (is_blank(m->uri.p[i]))
            set_fault(m, "white space in the Request-URI");
    return 0;
}

static int parse_lines(struct sip_msg *m, struct span rest)
{
    uint64_t seen = 0;
    struct sip_line line;
    while (line_next(&rest, &line)) {
        if (m->lines_n == SIP_LINES_MAX)
            return ERR_FULL;
        if (line.name.n == 0)
            set_fault(m, "a header line without a name");
        if (headers[line.id].is_once && seen & (uint64_t)1 << line.id)
            set_fault(m, "a header twice that may stand once");
        seen |= (uint64_t)1 << line.id;
        m->lines[m->lines_n++] = line;
    }
    return 0;
}

static void find_body(struct sip_msg *m, bool is_datagram)
{
    uint64_t n;
    const struct sip_line *length = sip_find(m, SIP_CONTENT_LENGTH, NULL);
    m->body = span_skip(m->raw, m->head.n);
    if (!length && is_datagram)
        return;
    if (!length || text_parse_u64(length->value, 0, UINT64_MAX, &n))
        set_fault(m, length ? "Content-Length is no number" : "Content-Length is missing");
    else if (n > m->body.n)
        set_fault(m, "the body is shorter than Content-Length");
    else
        m->body = span_take(m->body, (size_t)n);
}

int sip_parse(struct span bytes, bool is_datagram, struct sip_msg *out)
{
    out->raw = bytes;
    out->body = out->method_name = out->uri = out->reason = (struct span){0};
    out->is_request = false;
    out->method = SIP_METHOD_OTHER;
    out->status = 0;
    out->lines_n = 0;
    out->fault = NULL;
    out->head = span_take(bytes, find(bytes, 0, "\r\n\r\n") + 4);
    out->start = span_take(bytes, find(bytes, 0, "\r\n"));
    if (out->head.n < 4 || memcmp(out->head.p + out->head.n - 4, "\r\n\r\n", 4) != 0)
        return ERR_BAD;
    int err = is_version(out->start) ? parse_status_line(out) : parse_request_line(out);
    if (!err)
        err = parse_lines(out, span_skip(out->head, out->start.n + 2));
    if (err)
        return err;
    if (has_bare_line_end(out->head))
        set_fault(out, "a bare CR or LF in the head");
    find_body(out, is_datagram);
    return 0;
}

const struct sip_line *sip_find(const struct sip_msg *m, enum sip_header id, const struct sip_line *after)
{
    const struct sip_line *end = m->lines + m->lines_n;
    for (const struct sip_line *l = after ? after + 1 : m->lines; l < end; l++)
        if (l->id == id)
            return l;
    return NULL;
}

struct span sip_value(const struct sip_msg *m, enum sip_header id)
{
    const struct sip_line *line = sip_find(m, id, NULL);
    return line ? line->value : (struct span){0};
}

/* ---- is it worth an answer ---- */

static bool are_vias_sound(const struct sip_msg *m)
{
    unsigned n = 0;
    for (const struct sip_line *l = NULL; (l = sip_find(m, SIP_VIA, l));) {
        struct span rest = l->value, element;
        struct sip_via via;
        for (; sip_list_next(&rest, &element); n++)
            if (sip_via_parse(element, &via))
                return false;
    }
    return n > 0;
}

static bool is_name(const struct sip_msg *m, enum sip_header id)
{
    struct sip_name name;
    return sip_name_parse(sip_value(m, id), &name) == 0;
}

static bool is_cseq_sound(const struct sip_msg *m)
{
    uint32_t number;
    struct span method;
    return sip_cseq(m, &number, &method) == 0 && span_is_equal(method, m->method_name);
}

/* Senders from before RFC 3261 have no Max-Forwards. */
static bool is_max_forwards_sound(const struct sip_msg *m)
{
    uint64_t n;
    const struct sip_line *line = sip_find(m, SIP_MAX_FORWARDS, NULL);
    return !line || text_parse_u64(line->value, 0, 255, &n) == 0;
}

/* A Request-URI brings no headers along (RFC 3261 s.19.1.1, RFC 4475 s.3.1.2.11). */
static bool is_request_uri_sound(const struct sip_msg *m)
{
    struct uri u;
    return uri_parse(m->uri, &u) == 0 && u.headers.n == 0;
}

int sip_check(const struct sip_msg *m, const char **why)
{
    must(m->is_request);
    *why = "Version Not Supported";
    if (!sip_is_word(m->version, "SIP/2.0"))
        return 505;
    *why = m->fault                           ? m->fault
           : !are_vias_sound(m)               ? "Via is missing or malformed"
           : !is_name(m, SIP_FROM)            ? "From is missing or malformed"
           : !is_name(m, SIP_TO)              ? "To is missing or malformed"
           : sip_value(m, SIP_CALL_ID).n == 0 ? "Call-ID is missing"
           : !is_cseq_sound(m)                ? "CSeq is missing, malformed or of another method"
           : !is_max_forwards_sound(m)        ? "Max-Forwards is no number up to 255"
           : !is_request_uri_sound(m)         ? "the Request-URI is malformed"
                                              : NULL;
    return *why ? 400 : 0;
}
