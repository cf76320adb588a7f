#include "app/mras_answer.h"

#include <stdlib.h>

#include "base/rand.h"

enum {
    TRANSACTIONS_MAX = 1024,
    BASE64_MAX = 4 * ((MRAS_USERNAME_SIZE + 2) / 3) + 1,
    TAG_SIZE = 16,
};

int mras_desk_init(struct mras_desk *d)
{
    *d = (struct mras_desk){0};
    d->sipt = sipt_new(TRANSACTIONS_MAX, 0); /* streams alone: answers need not be kept */
    d->arena = malloc(MRAS_XML_MAX);
    d->body = malloc(MRAS_BODY_MAX);
    d->message = malloc(MRAS_MESSAGE_MAX);
    if (d->sipt && d->arena && d->body && d->message)
        return 0;
    mras_desk_fini(d);
    return ERR_NOMEM;
}

void mras_desk_fini(struct mras_desk *d)
{
    sipt_free(d->sipt);
    free(d->arena);
    free(d->body);
    free(d->message);
    *d = (struct mras_desk){0};
}

/* ---- responses ---- */

/* A response under construction. */
struct reply {
    struct wr w;
    int status;
    const char *why; /* for the reason phrase and the log; NULL: the usual one */
};

static void begin(struct mras_desk *d, struct reply *r, const struct mras_caller *caller)
{
    char ip[ADDR_TEXT_MAX], tag[TAG_SIZE + 1];
    uint64_t random = rand_u64();
    struct sip_source source = {addr_format_ip(&caller->from, ip), caller->from.port};
    r->w = wr_of(d->message, MRAS_MESSAGE_MAX);
    sip_respond(&r->w, &d->msg, r->status, r->why, span_str(text_hex(&random, sizeof random, tag)), &source);
}

static void log_refusal(struct mras_desk *d, const struct reply *r, const struct mras_caller *caller)
{
    struct ev e;
    ev_begin(&e, EV_MESSAGE_REFUSED, 0);
    ev_addr(&e, EVF_CLIENT, &caller->from);
    ev_str(&e, EVF_TRANSPORT, caller->transport);
    ev_text(&e, EVF_METHOD, d->msg.method_name);
    ev_u64(&e, EVF_CODE, (uint64_t)r->status);
    ev_str(&e, EVF_REASON, r->why ? r->why : sip_reason(r->status));
    d->log(d->log_context, &e);
}

/* A refusal with one more header (NULL: none). */
static void refuse(struct mras_desk *d, struct reply *r, int status, const char *why, const char *header,
                   struct span value, const struct mras_caller *caller)
{
    r->status = status;
    r->why = why;
    begin(d, r, caller);
    if (header)
        sip_put(&r->w, header, value);
    sip_finish(&r->w, NULL, span_str(""));
    log_refusal(d, r, caller);
}

static const char methods[] = "SERVICE, OPTIONS";

/* ---- SERVICE ---- */

static void log_issue(struct mras_desk *d, const struct mras_ask *ask, const struct mras_ticket *t, uint32_t minutes,
                      const struct mras_caller *caller)
{
    struct ev e;
    ev_begin(&e, EV_MRAS_ISSUED, 0);
    ev_text(&e, EVF_USER, ask->identity);
    ev_text(&e, EVF_ACCOUNT, span_of(t->client, sizeof t->client));
    ev_addr(&e, EVF_CLIENT, &caller->from);
    ev_str(&e, EVF_TRANSPORT, caller->transport);
    ev_u64(&e, EVF_LIFETIME, (uint64_t)minutes * 60);
    d->log(d->log_context, &e);
}

static int write_grant(struct mras_desk *d, struct wr *w, const struct mras_ask *ask, const struct mras_caller *caller)
{
    char username[BASE64_MAX], password[BASE64_MAX];
    struct mras_ticket t;
    uint32_t most = d->config->lifetime_s / 60, minutes = ask->minutes && ask->minutes < most ? ask->minutes : most;
    int err = mras_issue(d->keys, ask->identity, caller->wall_s + (uint64_t)minutes * 60, &t);
    if (err)
        return err;
    text_base64(t.username, sizeof t.username, username);
    text_base64(t.password, sizeof t.password, password);
    mras_write_grant(w, &d->request, ask, username, password, minutes, d->config->relays, d->config->relays_n);
    explicit_bzero(password, sizeof password);
    if (!w->err)
        log_issue(d, ask, &t, minutes, caller);
    return w->err;
}

static struct span write_refusal(struct mras_desk *d, enum mras_reason reason)
{
    struct wr w = wr_of(d->body, MRAS_BODY_MAX);
    mras_write_begin(&w, &d->request, reason);
    mras_write_end(&w);
    return wr_span(&w);
}

/* All of what was asked for, or nothing and the reason. */
static struct span write_body(struct mras_desk *d, enum mras_reason *reason, const struct mras_caller *caller)
{
    const struct mras_request *q = &d->request;
    struct wr w = wr_of(d->body, MRAS_BODY_MAX);
    int err = 0;
    *reason = q->reason;
    if (*reason == MRAS_OK) {
        mras_write_begin(&w, q, MRAS_OK);
        for (unsigned i = 0; i < q->asks_n && !err; i++)
            err = write_grant(d, &w, &q->asks[i], caller);
        mras_write_end(&w);
    }
    if (err || w.err)
        *reason = w.err ? MRAS_REQUEST_TOO_LARGE : MRAS_INTERNAL_SERVER_ERROR;
    return *reason == MRAS_OK ? wr_span(&w) : write_refusal(d, *reason);
}

static bool is_mras_type(struct span type)
{
    const uint8_t *semicolon = type.n ? memchr(type.p, ';', type.n) : NULL;
    struct span t = span_take(type, semicolon ? (size_t)(semicolon - type.p) : type.n);
    while (t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
        t.n--;
    return sip_is_word(t, MRAS_CONTENT_TYPE);
}

static bool is_encoded(const struct sip_msg *m)
{
    const struct sip_line *line = sip_find(m, SIP_CONTENT_ENCODING, NULL);
    return line && !sip_is_word(line->value, "identity");
}

/* The status is 200 as soon as the XML can be read: what is wrong then, stands in it (microsoft.md C.2). */
static void serve(struct mras_desk *d, struct reply *r, const struct mras_caller *caller)
{
    if (!is_mras_type(sip_value(&d->msg, SIP_CONTENT_TYPE))) {
        refuse(d, r, 415, NULL, "Accept", span_str(MRAS_CONTENT_TYPE), caller);
        return;
    }
    if (is_encoded(&d->msg)) {
        refuse(d, r, 415, NULL, "Accept-Encoding", span_str("identity"), caller);
        return;
    }
    int err = mras_read(d->msg.body, d->arena, &d->request);
    if (err) {
        refuse(d, r,
               err == ERR_BAD    ? 400
               : err == ERR_FULL ? 413
                                 : 500,
               err == ERR_BAD ? "The body is no MRAS request" : NULL, NULL, span_str(""), caller);
        return;
    }
    enum mras_reason reason;
    struct span body = write_body(d, &reason, caller);
    r->status = 200;
    r->why = NULL;
    begin(d, r, caller);
    sip_finish(&r->w, MRAS_CONTENT_TYPE, body);
    if (reason != MRAS_OK) {
        r->why = mras_reason_phrase(reason);
        log_refusal(d, r, caller);
    }
}

/* ---- requests ---- */

static void options(struct mras_desk *d, struct reply *r, const struct mras_caller *caller)
{
    r->status = 200;
    begin(d, r, caller);
    sip_put_str(&r->w, "Allow", methods);
    sip_put_str(&r->w, "Accept", MRAS_CONTENT_TYPE);
    sip_finish(&r->w, NULL, span_str(""));
}

static bool is_sip_uri(const struct sip_msg *m)
{
    struct uri u;
    return uri_parse(m->uri, &u) == 0 && (u.is_sip || u.is_sips);
}

/* RFC 3261 s.8.2: method, Request-URI, extensions, content, in this order. */
static void process(struct mras_desk *d, struct reply *r, const struct mras_caller *caller)
{
    const struct sip_msg *m = &d->msg;
    const struct span none = {0};
    struct span required = sip_value(m, SIP_REQUIRE);
    if (caller->is_busy)
        refuse(d, r, 503, "Too Many Requests", "Retry-After", span_str("1"), caller);
    else if (m->method == SIP_CANCEL)
        refuse(d, r, 481, NULL, NULL, none, caller);
    else if (m->method != SIP_SERVICE && m->method != SIP_OPTIONS)
        refuse(d, r, 405, NULL, "Allow", span_str(methods), caller);
    else if (!is_sip_uri(m))
        refuse(d, r, 416, NULL, NULL, none, caller);
    else if (required.n && !memchr(required.p, '\n', required.n))
        refuse(d, r, 420, NULL, "Unsupported", required, caller);
    else if (required.n)
        refuse(d, r, 420, NULL, NULL, none, caller);
    else if (m->method == SIP_OPTIONS)
        options(d, r, caller);
    else
        serve(d, r, caller);
}

/* BENOTIFY is never answered; nor is what comes twice on a stream while it is in work. */
static struct span answer_request(struct mras_desk *d, const struct mras_caller *caller)
{
    struct reply r = {0};
    struct span again;
    uint64_t id;
    switch (sipt_request(d->sipt, &d->msg, true, caller->now_ms, &id, &again)) {
    case SIPT_NEW: break;
    case SIPT_REPEAT: return again;
    case SIPT_FULL: refuse(d, &r, 503, NULL, "Retry-After", span_str("1"), caller); return wr_span(&r.w);
    default: return (struct span){0};
    }
    if (d->msg.method == SIP_BENOTIFY) {
        sipt_end(d->sipt, id);
        return (struct span){0};
    }
    process(d, &r, caller);
    struct span answer = r.w.err ? (struct span){0} : wr_span(&r.w);
    sipt_respond(d->sipt, id, r.status, answer, caller->now_ms);
    return answer;
}

struct span mras_answer(struct mras_desk *d, struct span message, const struct mras_caller *caller, bool *is_lost)
{
    const char *why;
    const struct span none = {0};
    *is_lost = sip_parse(message, false, &d->msg) != 0;
    if (*is_lost || !d->msg.is_request || d->msg.method == SIP_ACK)
        return none;
    int status = sip_check(&d->msg, &why);
    if (!status)
        return answer_request(d, caller);
    struct reply r = {0};
    refuse(d, &r, status, why, NULL, none, caller);
    return r.w.err ? none : wr_span(&r.w);
}

struct span mras_answer_fault(struct mras_desk *d, struct span head, int status, const char *fault,
                              const struct mras_caller *caller)
{
    const struct span none = {0};
    if (sip_parse(head, true, &d->msg) || !d->msg.is_request || d->msg.method == SIP_ACK)
        return none;
    struct reply r = {0};
    refuse(d, &r, status, fault, NULL, none, caller);
    return r.w.err ? none : wr_span(&r.w);
}
