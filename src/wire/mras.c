#include "wire/mras.h"

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <stdio.h>

#include "base/text.h"

static const char namespace[] = "http://schemas.microsoft.com/2006/09/sip/mrasp";

const char *mras_reason_phrase(enum mras_reason reason)
{
    static const char *const phrases[] = {
        [MRAS_OK] = "OK",
        [MRAS_REQUEST_MALFORMED] = "Request Malformed",
        [MRAS_REQUEST_TOO_LARGE] = "Request Too Large",
        [MRAS_NOT_SUPPORTED] = "Not Supported",
        [MRAS_SERVER_BUSY] = "Server Busy",
        [MRAS_TIME_OUT] = "Time Out",
        [MRAS_FORBIDDEN] = "Forbidden",
        [MRAS_INTERNAL_SERVER_ERROR] = "Internal Server Error",
        [MRAS_OTHER_FAILURE] = "Other Failure",
        [MRAS_VERSION_MISMATCH] = "Version Mismatch",
    };
    return phrases[reason];
}

/* ---- reading ---- */

enum field { FIELD_NONE, FIELD_IDENTITY, FIELD_LOCATION, FIELD_DURATION, FIELDS };

/* A document being read. */
struct reading {
    xmlParserCtxt *parser;
    struct wr arena;
    struct mras_request *out;
    unsigned depth, skipped; /* skipped: depth of the unknown element that we are in; 0: none */
    enum field field;        /* whose text is being read */
    unsigned seen;           /* fields of the ask in hand, a bit each */
    const uint8_t *text;     /* where it begins in the arena */
    bool is_request, is_refused;
};

/* The first reason stays. */
static void refuse(struct reading *r, enum mras_reason reason)
{
    if (r->out->reason == MRAS_OK)
        r->out->reason = reason;
}

static void stop(struct reading *r, enum mras_reason reason)
{
    refuse(r, reason);
    r->is_refused = true;
    xmlStopParser(r->parser);
}

static bool is_called(const xmlChar *name, const char *wanted)
{
    return strcmp((const char *)name, wanted) == 0;
}

static struct span keep(struct reading *r, struct span s)
{
    uint8_t *p = r->arena.p;
    wr_bytes(&r->arena, s);
    return span_of(p, r->arena.err ? 0 : s.n);
}

/* The value of an attribute without a namespace, kept; false if it is not there. libxml2 hands five pointers for each:
 * name, prefix, namespace, value and its end. */
static bool attribute(struct reading *r, const xmlChar **list, int n, const char *name, struct span *value)
{
    for (int i = 0; i < n; i++, list += 5)
        if (!list[2] && is_called(list[0], name)) {
            *value = keep(r, span_of(list[3], (size_t)(list[4] - list[3])));
            return true;
        }
    *value = (struct span){0};
    return false;
}

static size_t characters_of(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += (s.p[i] & 0xc0) != 0x80;
    return n;
}

static bool is_id(struct span s)
{
    return s.n > 0 && characters_of(s) <= MRAS_ID_MAX;
}

static bool is_text(struct span s, const char *wanted)
{
    return span_is_equal(s, span_str(wanted));
}

/* microsoft.md C.2: 1.0 and 2.0 exist, clients that say 3.0 may; they are content with an answer of 2.0. */
static void begin_request(struct reading *r, const xmlChar **list, int n)
{
    struct mras_request *out = r->out;
    struct span version, route;
    r->is_request = true;
    bool has_id = attribute(r, list, n, "requestID", &out->id);
    bool has_from = attribute(r, list, n, "from", &out->from), has_to = attribute(r, list, n, "to", &out->to);
    bool has_version = attribute(r, list, n, "version", &version);
    if (!has_id || !has_from || !has_to || !has_version || !is_id(out->id))
        refuse(r, MRAS_REQUEST_MALFORMED);
    if (out->id.n > 4 * MRAS_ID_MAX || out->from.n > MRAS_URI_MAX || out->to.n > MRAS_URI_MAX) {
        out->id = out->from = out->to = (struct span){0};
        refuse(r, MRAS_REQUEST_TOO_LARGE);
    }
    out->is_version_1 = is_text(version, "1.0");
    if (has_version && !out->is_version_1 && !is_text(version, "2.0") && !is_text(version, "3.0"))
        refuse(r, MRAS_VERSION_MISMATCH);
    if (!attribute(r, list, n, "route", &route))
        return;
    out->wants_ip = is_text(route, "directip");
    if (!out->wants_ip && !is_text(route, "loadbalanced"))
        refuse(r, MRAS_REQUEST_MALFORMED);
}

static void begin_ask(struct reading *r, const xmlChar **list, int n)
{
    if (r->out->asks_n == MRAS_ASKS_MAX) {
        stop(r, MRAS_REQUEST_TOO_LARGE);
        return;
    }
    struct mras_ask *ask = &r->out->asks[r->out->asks_n++];
    *ask = (struct mras_ask){.locations = MRAS_INTERNET | MRAS_INTRANET};
    r->seen = 0;
    if (!attribute(r, list, n, "credentialsRequestID", &ask->id) || !is_id(ask->id))
        refuse(r, MRAS_REQUEST_MALFORMED);
}

static void begin_field(struct reading *r, enum field field)
{
    if (r->seen & 1u << field)
        refuse(r, MRAS_REQUEST_MALFORMED);
    r->seen |= 1u << field;
    r->field = field;
    r->text = r->arena.p;
}

static enum field field_of(const xmlChar *name)
{
    return is_called(name, "identity")   ? FIELD_IDENTITY
           : is_called(name, "location") ? FIELD_LOCATION
           : is_called(name, "duration") ? FIELD_DURATION
                                         : FIELD_NONE;
}

/* Elements that we do not know are passed over with all that is in them: newer clients may send more. */
static void on_start(void *context, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int namespaces_n,
                     const xmlChar **namespaces, int n, int defaulted_n, const xmlChar **attributes)
{
    struct reading *r = context;
    bool is_ours = uri && is_called(uri, namespace);
    if (++r->depth > MRAS_DEPTH_MAX)
        stop(r, MRAS_REQUEST_MALFORMED);
    else if (r->skipped)
        return;
    else if (r->depth == 1 && is_ours && is_called(name, "request"))
        begin_request(r, attributes, n);
    else if (r->depth == 1)
        stop(r, MRAS_REQUEST_MALFORMED);
    else if (r->depth == 2 && is_ours && is_called(name, "credentialsRequest"))
        begin_ask(r, attributes, n);
    else if (r->depth == 3 && is_ours && field_of(name) != FIELD_NONE)
        begin_field(r, field_of(name));
    else if (r->field != FIELD_NONE)
        stop(r, MRAS_REQUEST_MALFORMED); /* an element where a text belongs */
    else
        r->skipped = r->depth;
}

static void on_text(void *context, const xmlChar *text, int n)
{
    struct reading *r = context;
    if (r->field != FIELD_NONE && !r->skipped)
        wr_bytes(&r->arena, span_of(text, (size_t)n));
}

static struct span trimmed(struct span s)
{
    static const char spaces[] = " \t\r\n";
    while (s.n && memchr(spaces, s.p[0], 4))
        s = span_skip(s, 1);
    while (s.n && memchr(spaces, s.p[s.n - 1], 4))
        s.n--;
    return s;
}

/* A positive integer of any size in minutes; what is beyond 32 bits is cut down, as the server will do in any case. */
static int parse_minutes(struct span s, uint32_t *out)
{
    uint64_t minutes = 0;
    if (s.n > 1 && s.p[0] == '+')
        s = span_skip(s, 1);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return ERR_BAD;
        minutes = minutes * 10 + (s.p[i] - '0');
        minutes = minutes > UINT32_MAX ? UINT32_MAX : minutes;
    }
    *out = (uint32_t)minutes;
    return minutes ? 0 : ERR_BAD;
}

static void end_field(struct reading *r)
{
    struct mras_ask *ask = &r->out->asks[r->out->asks_n - 1];
    struct span text = trimmed(span_of(r->text, (size_t)(r->arena.p - r->text)));
    bool is_sound = true;
    switch (r->field) {
    case FIELD_IDENTITY:
        ask->identity = text;
        is_sound = text.n > 0;
        break;
    case FIELD_LOCATION:
        ask->locations = is_text(text, "internet") ? MRAS_INTERNET : MRAS_INTRANET;
        is_sound = is_text(text, "internet") || is_text(text, "intranet");
        break;
    case FIELD_DURATION: is_sound = parse_minutes(text, &ask->minutes) == 0; break;
    default: break;
    }
    if (!is_sound)
        refuse(r, MRAS_REQUEST_MALFORMED);
    r->field = FIELD_NONE;
}

static void on_end(void *context, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct reading *r = context;
    if (r->skipped == r->depth)
        r->skipped = 0;
    else if (!r->skipped && r->depth == 3)
        end_field(r);
    else if (!r->skipped && r->depth == 2 && !(r->seen & 1u << FIELD_IDENTITY))
        refuse(r, MRAS_REQUEST_MALFORMED);
    else if (r->depth == 1 && r->out->asks_n == 0)
        refuse(r, MRAS_REQUEST_MALFORMED);
    r->depth--;
}

/* No document type at all: what could be declared in it is of no use but to an attacker. */
static void on_document_type(void *context, const xmlChar *name, const xmlChar *public_id, const xmlChar *system_id)
{
    stop(context, MRAS_REQUEST_MALFORMED);
}

static void on_error(void *context, xmlError *error)
{
    /* wellFormed tells it; nothing is printed */
}

static const xmlSAXHandler handler = {
    .initialized = XML_SAX2_MAGIC,
    .internalSubset = on_document_type,
    .startElementNs = on_start,
    .endElementNs = on_end,
    .characters = on_text,
    .ignorableWhitespace = on_text,
    .cdataBlock = on_text,
    .serror = on_error,
};

static int parse(struct reading *r, struct span xml)
{
    r->parser = xmlCreateMemoryParserCtxt((const char *)xml.p, (int)xml.n);
    if (!r->parser)
        return ERR_NOMEM;
    /* NOENT: without it an & in an attribute stays escaped. There is nothing else to replace: no document type. */
    xmlCtxtUseOptions(r->parser, XML_PARSE_NOENT | XML_PARSE_NONET | XML_PARSE_IGNORE_ENC);
    *r->parser->sax = handler;
    r->parser->userData = r;
    xmlParseDocument(r->parser);
    bool is_sound = r->parser->wellFormed, is_starved = r->parser->errNo == XML_ERR_NO_MEMORY;
    xmlFreeParserCtxt(r->parser);
    if (is_starved)
        return ERR_NOMEM;
    return r->is_request && (is_sound || r->is_refused) ? 0 : ERR_BAD;
}

int mras_read(struct span xml, void *arena, struct mras_request *out)
{
    struct reading r = {.out = out, .arena = wr_of(arena, MRAS_XML_MAX)};
    out->id = out->from = out->to = (struct span){0};
    out->is_version_1 = out->wants_ip = false;
    out->reason = MRAS_OK;
    out->asks_n = 0;
    if (xml.n > MRAS_XML_MAX)
        return ERR_FULL;
    /* UTF-8 without zeros: libxml2 then sees no other encoding in the first bytes. */
    if (xml.n == 0 || !text_is_utf8(xml) || memchr(xml.p, 0, xml.n))
        return ERR_BAD;
    int err = parse(&r, xml);
    return r.arena.err ? ERR_FULL : err;
}

/* ---- writing ---- */

static void put(struct wr *w, const char *s)
{
    wr_bytes(w, span_str(s));
}

/* Good inside quotes and between tags. */
static void put_escaped(struct wr *w, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        switch (s.p[i]) {
        case '&': put(w, "&amp;"); break;
        case '<': put(w, "&lt;"); break;
        case '>': put(w, "&gt;"); break;
        case '"': put(w, "&quot;"); break;
        case '\t': put(w, "&#9;"); break;
        case '\n': put(w, "&#10;"); break;
        case '\r': put(w, "&#13;"); break;
        default: wr_u8(w, s.p[i]); break;
        }
}

static void put_attribute(struct wr *w, const char *name, struct span value)
{
    put(w, " ");
    put(w, name);
    put(w, "=\"");
    put_escaped(w, value);
    put(w, "\"");
}

static void put_element(struct wr *w, const char *name, const char *text)
{
    put(w, "<");
    put(w, name);
    put(w, ">");
    put_escaped(w, span_str(text));
    put(w, "</");
    put(w, name);
    put(w, ">");
}

static void put_number(struct wr *w, const char *name, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    put_element(w, name, text);
}

void mras_write_begin(struct wr *w, const struct mras_request *r, enum mras_reason reason)
{
    put(w, "<?xml version=\"1.0\"?>\r\n<response xmlns=\"");
    put(w, namespace);
    put(w, "\"");
    put_attribute(w, "requestID", r->id);
    put_attribute(w, "version", span_str(r->is_version_1 ? "1.0" : "2.0"));
    put_attribute(w, "serverVersion", span_str("2.0"));
    put_attribute(w, "to", r->to);
    put_attribute(w, "from", r->from);
    put_attribute(w, "reasonPhrase", span_str(mras_reason_phrase(reason)));
    put(w, ">");
}

static void put_relay(struct wr *w, const struct mras_request *r, const char *location, const struct mras_relay *relay)
{
    put(w, "<mediaRelay>");
    put_element(w, "location", location);
    put_element(w, r->wants_ip && relay->is_ip ? "directIPAddress" : "hostName", relay->host);
    if (relay->udp_port)
        put_number(w, "udpPort", relay->udp_port);
    if (relay->tcp_port)
        put_number(w, "tcpPort", relay->tcp_port);
    put(w, "</mediaRelay>");
}

void mras_write_grant(struct wr *w, const struct mras_request *r, const struct mras_ask *ask, const char *username,
                      const char *password, uint32_t minutes, const struct mras_relay *relays, size_t relays_n)
{
    put(w, "<credentialsResponse");
    put_attribute(w, "credentialsRequestID", ask->id);
    put(w, "><credentials>");
    put_element(w, "username", username);
    put_element(w, "password", password);
    put_number(w, "duration", minutes);
    put(w, "</credentials><mediaRelayList>");
    for (size_t i = 0; i < relays_n; i++) {
        unsigned where = relays[i].locations & ask->locations;
        if (where & MRAS_INTERNET)
            put_relay(w, r, "internet", &relays[i]);
        if (where & MRAS_INTRANET)
            put_relay(w, r, "intranet", &relays[i]);
    }
    put(w, "</mediaRelayList></credentialsResponse>");
}

void mras_write_end(struct wr *w)
{
    put(w, "</response>");
}
