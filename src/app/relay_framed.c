/* MS-TURN over TCP: frames of type 2 and 3, and the peers whose bytes go through the client's own connection
 * (microsoft.md A.1, A.8.2).
 *
 * The framed counterpart of the pump: a byte is not read before the other side can take it. A client is held while a
 * peer has much unsent, a peer while the client has; what is held stays in the kernel. Nothing is lost but what a reset
 * destroys: a FIN follows the last byte, and a peer that is dropped with bytes unsent lingers until they are out.
 */
#include <errno.h>
#include <stdlib.h>

#include "app/relay_stream.h"
#include "base/rand.h"

enum {
    UNSENT_MANY = 96 * 1024, /* with so much unsent nothing more is read for this side */
    JOINED_IN_MAX = 70000,   /* more than the longest packet of RFC 4571 */
    JOINED_OUT_MAX = 256 * 1024,
    PACKET_MS = 200, /* so long the rest of a stream's first packet is waited for: there may be no packets at all */
    PACKET_LATE_MS = 3000, /* and of later ones: TCP may have to send again, and some clients want whole packets */
    LINGER_MS = 30000,     /* so long a dropped peer may take for its last bytes, and a client after its active peer */
};

static uint64_t now_of(const struct relay *r)
{
    return r->worker.loop.now_ms;
}

/* ---- holding ---- */

static void client_hold(struct client *c)
{
    c->is_held = true;
    conn_pause(&c->conn);
}

static bool has_full_peer(struct client *c)
{
    for (struct list *l = c->joined.next; l != &c->joined; l = l->next)
        if (conn_unsent(&container_of(l, struct peer_conn, link)->conn) > UNSENT_MANY)
            return true;
    return false;
}

static void client_release(struct client *c)
{
    if (!c->is_held || has_full_peer(c))
        return;
    c->is_held = false;
    conn_resume(&c->conn);
}

static void on_hold_over(struct timer *t)
{
    client_release(container_of(t, struct client, hold));
}

static void peer_hold(struct peer_conn *x)
{
    x->is_held = true;
    conn_pause(&x->conn);
}

static void peer_timer(struct peer_conn *x, uint64_t ms)
{
    if (!x->timer.node.pos)
        loop_timer(relay_loop(x->relay), &x->timer, now_of(x->relay) + ms);
}

/* Has the limiter granted `n` bytes? What it grants in parts is saved up, for a frame is not cut. */
static bool peer_may_bring(struct peer_conn *x, size_t n)
{
    while (x->credit < n) {
        uint64_t retry_ms = 0;
        size_t more = payer_bytes(x->payer, n - x->credit, now_of(x->relay), &retry_ms);
        if (more == 0) {
            peer_hold(x);
            peer_timer(x, retry_ms ? retry_ms : 1);
            return false;
        }
        x->credit += more;
    }
    x->credit -= n;
    return true;
}

/* ---- joined peers: towards the client ---- */

/* Forwards what may go. Returns how much did. */
static size_t forward(struct peer_conn *x, struct span in, bool hurry)
{
    struct relay *r = x->relay;
    size_t done = 0;
    relay_clock(r);
    r->keeps_body = false;
    while (x->is_joined && done < in.n) {
        struct rfc4571_cut cut = x->cut;
        if (conn_unsent(&x->client->conn) > UNSENT_MANY) {
            loop_timer_stop(relay_loop(r), &x->timer);
            peer_hold(x);
            break;
        }
        size_t n = rfc4571_next(&cut, span_skip(in, done), TURN_PEER_BYTES_MAX, hurry);
        if (n == 0) {
            peer_timer(x, x->has_packets ? PACKET_LATE_MS : PACKET_MS);
            break;
        }
        if (!peer_may_bring(x, n))
            break;
        x->has_packets |= !x->cut.owed && !cut.owed && !cut.has_high;
        x->cut = cut;
        turn_peer_bytes(r->turn, x->handle, span_take(span_skip(in, done), n), r->acts);
        relay_act(r);
        done += n;
        if (!x->is_held)
            loop_timer_stop(relay_loop(r), &x->timer);
    }
    return done;
}

static size_t joined_bytes(struct conn *conn, struct span in)
{
    struct peer_conn *x = container_of(conn, struct peer_conn, conn);
    return x->is_lingering ? in.n : forward(x, in, false);
}

static void tell_ended(struct peer_conn *x, bool failed, const char *reason)
{
    relay_clock(x->relay);
    turn_peer_ended(x->relay->turn, x->handle, failed, reason, x->relay->acts);
    relay_act(x->relay);
}

/* Its FIN is told behind everything before it. */
static void finish_peer(struct peer_conn *x)
{
    struct span rest = conn_unread(&x->conn);
    if (rest.n) {
        size_t done = forward(x, rest, true);
        conn_consume(&x->conn, done);
        if (done < rest.n)
            return;
    }
    x->has_ended = false;
    tell_ended(x, false, "eof");
}

static void peer_release(struct peer_conn *x)
{
    if (!x->is_held)
        return;
    x->is_held = false;
    conn_resume(&x->conn);
    if (x->has_ended)
        finish_peer(x);
}

static void joined_close(struct peer_conn *x, bool abort)
{
    loop_timer_stop(relay_loop(x->relay), &x->timer);
    list_del(&x->link);
    if (abort && conn_is_open(&x->conn))
        conn_abort(&x->conn);
    else
        conn_close(&x->conn);
    loop_later(relay_loop(x->relay), &x->gone);
}

static void joined_ended(struct conn *conn, enum conn_end why)
{
    struct peer_conn *x = container_of(conn, struct peer_conn, conn);
    if (x->is_lingering) {
        if (why != CONN_END_EOF)
            joined_close(x, true);
    } else if (why == CONN_END_EOF) {
        x->has_ended = true;
        finish_peer(x);
    } else {
        tell_ended(x, true, conn_end_name(why));
    }
}

static void joined_drained(struct conn *conn)
{
    struct peer_conn *x = container_of(conn, struct peer_conn, conn);
    if (x->is_lingering) {
        joined_close(x, false);
        return;
    }
    if (x->wants_fin)
        conn_shutdown(&x->conn);
    client_release(x->client);
}

static const struct conn_ops joined_ops = {.bytes = joined_bytes, .ended = joined_ended, .drained = joined_drained};

/* The rest of a packet did not come, or the limits were to be asked again, or the last bytes cannot go out. */
static void on_peer_timer(struct timer *t)
{
    struct peer_conn *x = container_of(t, struct peer_conn, timer);
    if (x->is_lingering)
        joined_close(x, true);
    else if (x->is_held)
        peer_release(x);
    else
        conn_consume(&x->conn, forward(x, conn_unread(&x->conn), true));
}

/* ---- what the machine asks ---- */

void relay_framed_join(struct relay *r, const struct act *act)
{
    struct peer_conn *x = act->link;
    struct client *c = act->flow.link;
    if (!conn_is_open(&x->conn))
        return; /* about to be dropped */
    x->handle = act->handle;
    x->client = c;
    x->payer = act->payer;
    x->is_joined = true;
    timer_init(&x->timer, on_peer_timer);
    list_add_tail(&c->joined, &x->link);
    x->conn.ops = &joined_ops;
    x->conn.in_max = JOINED_IN_MAX;
    x->conn.out_max = JOINED_OUT_MAX;
    conn_write(&x->conn, &(struct iovec){x->early, x->early_n}, 1);
    relay_framed_free(x);
    conn_resume(&x->conn);
}

int relay_framed_early(struct peer_conn *x, struct span bytes)
{
    uint8_t *more = realloc(x->early, x->early_n + bytes.n);
    if (!more)
        return ERR_NOMEM;
    memcpy(more + x->early_n, bytes.p, bytes.n);
    x->early = more;
    x->early_n += bytes.n;
    return 0;
}

void relay_framed_to_peer(struct relay *r, const struct act *act)
{
    struct peer_conn *x = act->link;
    if (!x->is_joined) {
        if (relay_framed_early(x, act->body))
            turn_dialed(r->turn, x->handle, ERR_NOMEM, "out of memory", x, r->acts);
        return;
    }
    struct iovec bytes = {(void *)(uintptr_t)act->body.p, act->body.n};
    conn_write(&x->conn, &bytes, 1); /* fails only with the connection, whose end comes to joined_ended */
    if (conn_unsent(&x->conn) > UNSENT_MANY)
        client_hold(x->client);
}

void relay_framed_fin_peer(struct relay *r, const struct act *act)
{
    struct peer_conn *x = act->link;
    x->wants_fin = true;
    if (conn_unsent(&x->conn) == 0)
        conn_shutdown(&x->conn);
}

/* Our FIN has gone out or goes out now. */
static void client_fin(struct client *c)
{
    if (conn_unsent(&c->conn))
        return;
    conn_shutdown(&c->conn);
    if (c->has_ended)
        relay_tcp_close_client(c, c->ending ? c->ending : "eof");
}

void relay_framed_fin_client(struct relay *r, const struct act *act)
{
    struct client *c = act->flow.link;
    if (!conn_is_open(&c->conn) || c->wants_fin)
        return;
    c->wants_fin = true;
    if (act->abort) {
        c->ending = "the connection with its active destination has ended";
        c->is_trusted = false;
        loop_timer(relay_loop(r), &c->timer, now_of(r) + LINGER_MS);
    }
    client_fin(c);
}

void relay_framed_free(struct peer_conn *x)
{
    free(x->early);
    x->early = NULL;
    x->early_n = 0;
}

void relay_framed_drop(struct peer_conn *x, bool abort)
{
    struct client *c = x->client;
    x->is_joined = false;
    if (abort || conn_unsent(&x->conn) == 0) {
        joined_close(x, abort);
    } else {
        loop_timer_stop(relay_loop(x->relay), &x->timer);
        list_del(&x->link);
        list_add_tail(&x->relay->lingering, &x->link);
        x->is_lingering = true;
        conn_resume(&x->conn);
        peer_timer(x, LINGER_MS);
    }
    if (conn_is_open(&c->conn))
        client_release(c);
}

void relay_framed_end(struct relay *r)
{
    while (!list_is_empty(&r->lingering))
        joined_close(container_of(r->lingering.next, struct peer_conn, link), false);
}

/* ---- clients ---- */

void relay_framed_init(struct client *c)
{
    list_init(&c->joined);
    timer_init(&c->hold, on_hold_over);
}

void relay_framed_fini(struct client *c)
{
    loop_timer_stop(relay_loop(c->relay), &c->hold);
}

void relay_framed_drained(struct client *c)
{
    for (struct list *l = c->joined.next, *next; l != &c->joined; l = next) {
        next = l->next;
        struct peer_conn *x = container_of(l, struct peer_conn, link);
        if (!x->timer.node.pos) /* otherwise the limits hold it */
            peer_release(x);
        if (!conn_is_open(&c->conn))
            return;
    }
    if (c->wants_fin && conn_is_open(&c->conn))
        client_fin(c);
}

static bool may_take_msturn(struct client *c, size_t size)
{
    struct relay *r = c->relay;
    relay_clock(r);
    while (c->credit < size) {
        uint64_t retry_ms = 0;
        size_t more = turn_ms_grant(r->turn, &c->flow, size - c->credit, &retry_ms);
        if (more == 0) {
            client_hold(c);
            loop_timer(relay_loop(r), &c->hold, now_of(r) + (retry_ms ? retry_ms : 1));
            return false;
        }
        c->credit += more;
    }
    c->credit -= size;
    return true;
}

static int take_msturn(struct client *c, const struct frame *f)
{
    if (f->kind == FRAME_MS_CONTROL)
        return turn_ms_message(c->relay->turn, &c->flow, f->body, c->relay->acts);
    turn_ms_data(c->relay->turn, &c->flow, f->body, c->relay->acts);
    return 0;
}

/* With an active destination, its bytes still come down, and all that came up goes out before our FIN. */
static bool fin_msturn(struct client *c)
{
    struct relay *r = c->relay;
    relay_clock(r);
    bool lives = turn_client_fin(r->turn, &c->flow, r->acts);
    relay_act(r);
    c->has_ended = true;
    return lives && !(c->wants_fin && conn_unsent(&c->conn) == 0);
}

const struct framing FRAMING_MSTURN = {
    .next = frame_next_msturn,
    .may_take = may_take_msturn,
    .take = take_msturn,
    .fin = fin_msturn,
    .otherwise = "not a frame of MS-TURN",
};

/* ---- pseudo-TLS: a hello, an answer, then frames in clear ---- */

static int next_hello(struct span in, struct frame *out)
{
    *out = (struct frame){.body = span_take(in, PSEUDOTLS_HELLO), .size = PSEUDOTLS_HELLO};
    return in.n < PSEUDOTLS_HELLO ? ERR_SHORT : pseudotls_is_hello(in.p) ? 0 : ERR_BAD;
}

/* One record, nothing behind it: clients expect just that (A.1.3). */
static int take_hello(struct client *c, const struct frame *f)
{
    uint8_t record[PSEUDOTLS_ANSWER], noise[64];
    rand_bytes(noise, sizeof noise);
    pseudotls_answer(record, noise, noise + 32);
    conn_write(&c->conn, &(struct iovec){record, sizeof record}, 1);
    c->framing = &FRAMING_MSTURN;
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

const struct framing FRAMING_PSEUDOTLS = {
    .next = next_hello,
    .may_take = takes_all,
    .take = take_hello,
    .fin = closes,
    .otherwise = "not the hello of pseudo-TLS",
};
