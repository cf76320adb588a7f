/* Responses, built out of the bytes of their request. */
#include <stdio.h>

#include "wire/sip.h"

const char *sip_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } known[] = {{100, "Trying"},
                 {200, "OK"},
                 {400, "Bad Request"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {413, "Request Entity Too Large"},
                 {415, "Unsupported Media Type"},
                 {416, "Unsupported URI Scheme"},
                 {420, "Bad Extension"},
                 {481, "Call/Transaction Does Not Exist"},
                 {483, "Too Many Hops"},
                 {488, "Not Acceptable Here"},
                 {489, "Bad Event"},
                 {500, "Server Internal Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {505, "Version Not Supported"},
                 {513, "Message Too Large"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].reason;
    return "Unknown";
}

static void put_text(struct wr *w, const char *s)
{
    wr_bytes(w, span_str(s));
}

/* The bytes from `*from` up to `to`; then they are behind us. */
static void put_up_to(struct wr *w, const uint8_t **from, const uint8_t *to)
{
    wr_bytes(w, span_of(*from, (size_t)(to - *from)));
    *from = to;
}

/* The topmost Via with received and rport (RFC 3261 s.18.2.1, RFC 3581 s.4: rport goes with received in any case). */
static void put_top_via(struct wr *w, const struct sip_line *line, const struct sip_source *source)
{
    struct span rest = line->value, element, value;
    struct sip_via via;
    const uint8_t *from = line->raw.p;
    if (source && sip_list_next(&rest, &element) && sip_via_parse(element, &via) == 0) {
        bool is_asked = sip_param(via.params, "rport", &value) && value.n == 0;
        if (is_asked) {
            char port[16];
            snprintf(port, sizeof port, "%s%u", value.p[-1] == '=' ? "" : "=", source->port);
            put_up_to(w, &from, value.p);
            put_text(w, port);
        }
        put_up_to(w, &from, element.p + element.n);
        if ((is_asked || !sip_is_word(via.host, source->received)) && !sip_param(via.params, "received", &value)) {
            put_text(w, ";received=");
            put_text(w, source->received);
        }
    }
    put_up_to(w, &from, line->raw.p + line->raw.n);
}

/* A To without a tag gets ours (RFC 3261 s.8.2.6.2); one that cannot be read stays as it is. */
static void put_to(struct wr *w, const struct sip_line *line, struct span tag)
{
    struct sip_name name;
    struct span value;
    const uint8_t *from = line->raw.p;
    if (tag.n && sip_name_parse(line->value, &name) == 0 && !sip_param(name.params, "tag", &value)) {
        put_up_to(w, &from, line->value.p + line->value.n);
        put_text(w, ";tag=");
        wr_bytes(w, tag);
    }
    put_up_to(w, &from, line->raw.p + line->raw.n);
}

static void put_first(struct wr *w, const struct sip_msg *m, enum sip_header id)
{
    const struct sip_line *line = sip_find(m, id, NULL);
    if (line)
        wr_bytes(w, line->raw);
}

void sip_respond(struct wr *w, const struct sip_msg *request, int status, const char *reason, struct span to_tag,
                 const struct sip_source *source)
{
    char code[24];
    snprintf(code, sizeof code, "SIP/2.0 %d ", status);
    put_text(w, code);
    put_text(w, reason ? reason : sip_reason(status));
    put_text(w, "\r\n");
    const struct sip_line *top = sip_find(request, SIP_VIA, NULL), *to = sip_find(request, SIP_TO, NULL);
    for (const struct sip_line *l = top; l; l = sip_find(request, SIP_VIA, l))
        if (l == top)
            put_top_via(w, l, source);
        else
            wr_bytes(w, l->raw);
    put_first(w, request, SIP_FROM);
    if (to)
        put_to(w, to, to_tag);
    put_first(w, request, SIP_CALL_ID);
    put_first(w, request, SIP_CSEQ);
    if (status > 100 && status < 300)
        for (const struct sip_line *l = NULL; (l = sip_find(request, SIP_RECORD_ROUTE, l));)
            wr_bytes(w, l->raw);
}

void sip_put(struct wr *w, const char *name, struct span value)
{
    must(!value.n || (!memchr(value.p, '\r', value.n) && !memchr(value.p, '\n', value.n)));
    put_text(w, name);
    put_text(w, ": ");
    wr_bytes(w, value);
    put_text(w, "\r\n");
}

void sip_put_str(struct wr *w, const char *name, const char *value)
{
    sip_put(w, name, span_str(value));
}

void sip_finish(struct wr *w, const char *content_type, struct span body)
{
    char length[40];
    if (content_type)
        sip_put_str(w, "Content-Type", content_type);
    snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", body.n);
    put_text(w, length);
    wr_bytes(w, body);
}
