/* Client connections over TCP and TLS: control connections, and data connections until they are bound. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/config.h"
#include "app/relay_stream.h"
#include "sys/sock.h"

enum {
    STRANGER_IN_MAX = 2048,    /* longest message of a connection that has not authenticated (checklist S40) */
    STRANGER_OUT_MAX = 4096,   /* unsent answers kept for one that does not read them */
    STRANGER_FIRST_MS = 10000, /* to the first complete message, TLS handshake included (S40, S41) */
    STRANGER_NEXT_MS = 30000,  /* between messages without an allocation */
    TRUSTED_CHECK_MS = 60000,  /* how often a control connection is asked for its allocation */
    ACCEPTS_PER_TURN = 64,
};

static void client_free_later(struct later *l)
{
    free(container_of(l, struct client, gone));
}

static void client_log(struct client *c, enum ev_kind kind, const char *reason)
{
    struct ev *e = relay_event(c->relay, kind);
    ev_addr(e, EVF_CLIENT, &c->flow.tuple.client);
    ev_str(e, EVF_TRANSPORT, transport_name(c->flow.tuple.transport));
    if (kind == EV_CLIENT_CLOSED)
        ev_u64(e, EVF_DURATION, relay_loop(c->relay)->now_ms - c->since_ms);
    if (reason)
        ev_str(e, EVF_REASON, reason);
}

/* Out of the books; the storage outlives the turn. */
void relay_tcp_forget(struct client *c)
{
    loop_timer_stop(relay_loop(c->relay), &c->timer);
    relay_framed_fini(c);
    list_del(&c->link);
    payer_give(&c->payer, LIMIT_CONNECTIONS);
    payer_release(&c->payer);
    loop_later(relay_loop(c->relay), &c->gone);
}

void relay_tcp_close_client(struct client *c, const char *reason)
{
    struct relay *r = c->relay;
    relay_clock(r);
    turn_client_closed(r->turn, &c->flow, r->acts);
    client_log(c, EV_CLIENT_CLOSED, reason);
    conn_close(&c->conn);
    relay_act(r);
    relay_tcp_forget(c);
}

static void client_set_timer(struct client *c, uint64_t ms)
{
    loop_timer(relay_loop(c->relay), &c->timer, relay_loop(c->relay)->now_ms + ms);
}

static void client_on_timer(struct timer *t)
{
    struct client *c = container_of(t, struct client, timer);
    if (!c->is_trusted || c->conn.failed) {
        relay_tcp_close_client(c, c->ending ? c->ending : "silent without an allocation");
        return;
    }
    c->is_trusted = turn_has_allocation(c->relay->turn, &c->flow);
    client_set_timer(c, c->is_trusted ? TRUSTED_CHECK_MS : STRANGER_NEXT_MS);
}

/* ---- reading ---- */

static int take_stun(struct client *c, const struct frame *f)
{
    if (f->kind != FRAME_CHANNEL)
        return turn_message(c->relay->turn, &c->flow, f->body, c->relay->acts);
    turn_channel_data(c->relay->turn, &c->flow, f->channel, f->body, c->relay->acts);
    return 0;
}

static bool takes_all(struct client *c, size_t size)
{
    return true;
}

static bool closes(struct client *c)
{
    return false;
}

const struct framing FRAMING_STUN = {
    .next = frame_next_stun,
    .may_take = takes_all,
    .take = take_stun,
    .fin = closes,
    .otherwise = "neither STUN nor ChannelData",
};

/* 0, or ERR_BAD: the stream carries something else. */
static int one_frame(struct client *c, const struct frame *f)
{
    struct relay *r = c->relay;
    c->in_hand = f->size;
    r->keeps_body = false;
    relay_clock(r);
    int err = c->framing->take(c, f);
    if (!err && !c->is_trusted)
        client_set_timer(c, STRANGER_NEXT_MS);
    relay_act(r);
    return err;
}

static void client_mail(struct client *c);

/* A frame that may not come: too long for a stranger. */
static bool is_too_long(const struct client *c, const struct frame *f)
{
    return f->size > (c->is_trusted ? (size_t)FRAME_STREAM_MAX : (size_t)STRANGER_IN_MAX);
}

static size_t client_bytes(struct conn *conn, struct span in)
{
    struct client *c = container_of(conn, struct client, conn);
    c->consumed = 0;
    for (;;) {
        struct frame f = {0};
        int err = c->framing->next(span_skip(in, c->consumed), &f);
        if (err == ERR_BAD || (err == 0 && is_too_long(c, &f)) || (err == ERR_SHORT && is_too_long(c, &f))) {
            relay_tcp_close_client(c,
                                   err == ERR_BAD ? c->framing->otherwise : "message too long before authentication");
            return in.n;
        }
        if (err || c->is_held || !c->framing->may_take(c, f.size))
            return c->consumed;
        if (one_frame(c, &f)) {
            relay_tcp_close_client(c, "not a STUN message");
            return in.n;
        }
        if (!conn_is_open(conn) || c->is_given)
            return in.n;
        if (c->hand_to >= 0) {
            client_mail(c);
            return in.n;
        }
        c->consumed += f.size;
    }
}

static void client_ended(struct conn *conn, enum conn_end why)
{
    struct client *c = container_of(conn, struct client, conn);
    if (why == CONN_END_EOF && c->framing->fin(c))
        return;
    char buf[160];
    struct text reason = text_of(buf, sizeof buf);
    text_add(&reason, conn_end_name(why));
    if (why == CONN_END_TLS) {
        text_add(&reason, ": ");
        tls_error(&reason);
    }
    relay_tcp_close_client(c, buf);
}

/* ---- accepting ---- */

static bool wants_plain(const struct listener *l)
{
    return l->schemes & (LISTEN_AUTO_TCP | LISTEN_TCP | LISTEN_PSEUDOTLS);
}

static enum conn_sniff start_tls(struct client *c)
{
    c->flow.tuple.transport = TRANSPORT_TLS;
    if (!c->relay->policy->tls || conn_start_tls(&c->conn, c->relay->policy->tls))
        relay_tcp_close_client(c, "TLS is not available");
    return CONN_SNIFF_TAKEN;
}

/* What is spoken in clear here, or NULL. */
static const struct framing *framing_of(const struct client *c, enum speech_kind kind)
{
    const struct turn_policy *p = &c->relay->policy->turn;
    if (kind == SPEECH_STUN && wants_plain(c->listener) && !p->is_ms_only)
        return &FRAMING_STUN;
    if (kind == SPEECH_MSTURN && wants_plain(c->listener) && !p->is_ms_off)
        return &FRAMING_MSTURN;
    if (kind == SPEECH_PSEUDOTLS && c->listener->schemes & (LISTEN_AUTO_TCP | LISTEN_PSEUDOTLS) && !p->is_ms_off)
        return &FRAMING_PSEUDOTLS;
    return NULL;
}

/* Plain or TLS by the first bytes; anything else is told apart only for the log (checklist S38: closed, nothing
 * reflected). */
static enum conn_sniff client_sniff(struct conn *conn, struct span peeked)
{
    struct client *c = container_of(conn, struct client, conn);
    enum speech_kind kind;
    int err = sniff_stream(peeked, &kind);
    if (err == ERR_SHORT)
        return CONN_SNIFF_MORE;
    if (err == 0 && kind == SPEECH_TLS && c->listener->schemes & (LISTEN_AUTO_TCP | LISTEN_TLS | LISTEN_PSEUDOTLS))
        return start_tls(c);
    const struct framing *framing = err ? NULL : framing_of(c, kind);
    if (framing) {
        c->framing = framing;
        client_log(c, EV_CLIENT_CONNECTED, NULL);
        relay_act(c->relay);
        return CONN_SNIFF_READ;
    }
    char buf[64];
    struct text reason = text_of(buf, sizeof buf);
    text_addf(&reason, "speaks %s here", err ? "nothing known" : speech_name(kind));
    relay_tcp_close_client(c, buf);
    return CONN_SNIFF_TAKEN;
}

static void client_drained(struct conn *conn)
{
    relay_framed_drained(container_of(conn, struct client, conn));
}

static const struct conn_ops client_ops = {
    .bytes = client_bytes, .ended = client_ended, .sniff = client_sniff, .drained = client_drained};

static const char *client_grant(struct client *c)
{
    if (payer_hold(&c->payer, c->relay->limiter, span_of(NULL, 0), &c->flow.tuple.client))
        return "out of memory";
    const char *limit = payer_take(&c->payer, LIMIT_CONNECTIONS);
    if (limit)
        payer_release(&c->payer);
    return limit;
}

static void refuse(struct relay *r, const struct addr *from, const char *rule)
{
    struct ev *e = relay_event(r, EV_CLIENT_REFUSED);
    ev_addr(e, EVF_CLIENT, from);
    ev_str(e, EVF_TRANSPORT, transport_name(TRANSPORT_TCP));
    ev_str(e, EVF_RULE, rule);
    relay_act(r);
}

static void client_new(struct listener *l, int fd, const struct addr *from)
{
    struct relay *r = l->relay;
    struct client *c = calloc(1, sizeof *c);
    const char *limit = "out of memory";
    if (c) {
        c->relay = r;
        c->listener = l;
        c->hand_to = -1;
        c->framing = &FRAMING_STUN;
        c->since_ms = relay_loop(r)->now_ms;
        conn_init(&c->conn, fd, &client_ops, STRANGER_IN_MAX, STRANGER_OUT_MAX);
        c->flow =
            (struct flow){.tuple = {.client = *from, .server = c->conn.local, .transport = TRANSPORT_TCP}, .link = c};
        limit = client_grant(c);
    }
    if (limit) {
        sock_abort(fd);
        free(c);
        refuse(r, from, limit);
        return;
    }
    list_init(&c->link);
    relay_framed_init(c);
    timer_init(&c->timer, client_on_timer);
    later_init(&c->gone, client_free_later);
    list_add_tail(&r->clients, &c->link);
    if (conn_attach(&c->conn, relay_loop(r)))
        relay_tcp_close_client(c, "out of memory");
    else
        client_set_timer(c, STRANGER_FIRST_MS);
}

/* Descriptors have run out: the spare one is given up for a moment, so that the waiting connection can be refused
 * instead of spinning (checklist S45, S51). */
static void refuse_connection(struct relay *r, int listener)
{
    struct addr from;
    relay_short(r, "open files", "raise the limit of open files (LimitNOFILE=, ulimit -n)");
    close(r->spare_fd);
    int fd = sock_accept(listener, &from);
    if (fd >= 0)
        sock_abort(fd);
    r->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    relay_act(r);
}

void relay_accept(struct relay *r, struct source *s, void (*take)(struct source *s, int fd, const struct addr *from))
{
    for (int i = 0; i < ACCEPTS_PER_TURN && s->fd >= 0; i++) {
        struct addr from;
        int fd = sock_accept(s->fd, &from);
        if (fd >= 0) {
            take(s, fd, &from);
            continue;
        }
        if (fd != ERR_AGAIN && (errno == EMFILE || errno == ENFILE))
            refuse_connection(r, s->fd);
        return;
    }
}

static void take_client(struct source *s, int fd, const struct addr *from)
{
    client_new(container_of(s, struct listener, src), fd, from);
}

static void on_connection(struct source *s, uint32_t events)
{
    relay_accept(container_of(s, struct listener, src)->relay, s, take_client);
}

int relay_tcp_listen(struct listener *l, int fd)
{
    l->src = (struct source){fd, on_connection};
    return loop_add(relay_loop(l->relay), &l->src, EPOLLIN);
}

void relay_tcp_close(struct listener *l)
{
    if (l->src.fd < 0)
        return;
    loop_del(relay_loop(l->relay), &l->src);
    close(l->src.fd);
    l->src.fd = -1;
}

/* ---- moving to another worker ---- */

void relay_tcp_hand(struct relay *r, struct client *c, unsigned worker)
{
    c->hand_to = (int16_t)worker;
}

static void client_arrive(struct mail *m, struct worker *w)
{
    struct client *c = container_of(m, struct client, mail);
    c->relay = w->user;
    c->listener = NULL;
    list_add_tail(&c->relay->clients, &c->link);
    client_set_timer(c, STRANGER_NEXT_MS);
    if (conn_attach(&c->conn, relay_loop(c->relay)))
        relay_tcp_close_client(c, "out of memory");
}

/* The ConnectionBind in hand stays unread: the owner of the connection id reads it again. */
static void client_mail(struct client *c)
{
    struct relay *to = &c->relay->all[c->hand_to];
    c->hand_to = -1;
    conn_consume(&c->conn, c->consumed);
    if (conn_detach(&c->conn)) {
        relay_tcp_close_client(c, "out of memory");
        return;
    }
    loop_timer_stop(relay_loop(c->relay), &c->timer);
    list_del(&c->link);
    c->mail.deliver = client_arrive;
    worker_post(&to->worker, &c->mail);
}

/* ---- what the machine asks ---- */

void relay_tcp_to_client(struct relay *r, const struct act *act)
{
    static uint8_t zeros[3];
    struct client *c = act->flow.link;
    struct iovec parts[3] = {{(void *)(uintptr_t)act->head.p, act->head.n},
                             {(void *)(uintptr_t)act->body.p, act->body.n},
                             {zeros, act->pad}};
    /* A client that does not read loses what does not fit: datagrams by their nature, answers by its own doing. */
    conn_write(&c->conn, parts, 3);
}

void relay_tcp_trust(struct relay *r, struct client *c)
{
    c->is_trusted = true;
    c->conn.in_max = FRAME_STREAM_MAX;
    c->conn.out_max = CLIENT_OUT_MAX;
    client_set_timer(c, TRUSTED_CHECK_MS);
}

struct conn *relay_tcp_give(struct client *c)
{
    c->is_given = true;
    conn_consume(&c->conn, c->consumed + c->in_hand);
    loop_timer_stop(relay_loop(c->relay), &c->timer);
    return &c->conn;
}

void relay_tcp_end_clients(struct relay *r)
{
    for (struct list *l = r->clients.next, *next; l != &r->clients; l = next) {
        next = l->next;
        struct client *c = container_of(l, struct client, link);
        if (!c->is_given)
            relay_tcp_close_client(c, "server stopped");
    }
}
