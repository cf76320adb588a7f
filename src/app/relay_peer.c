/* Peers of TCP allocations: the relay port that they dial, connections that we dial, and pairs. RFC 6062 s.5. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/relay_stream.h"
#include "sys/sock.h"

enum { BACKLOG = 128 };

/* A relayed TCP port: it listens, and connections to peers leave from it. */
struct tcp_port {
    struct source src;
    struct relay *relay;
    uint64_t handle; /* of the machine's port */
    struct later gone;
};

static void peer_free_later(struct later *l)
{
    struct peer_conn *x = container_of(l, struct peer_conn, gone);
    relay_framed_free(x);
    free(x);
}

static struct peer_conn *peer_conn_new(struct relay *r, uint64_t handle)
{
    struct peer_conn *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->relay = r;
    x->handle = handle;
    x->dial.fd = x->conn.src.fd = -1;
    later_init(&x->gone, peer_free_later);
    return x;
}

/* ---- waiting: nothing is read, a reset is noticed ---- */

static size_t peer_bytes(struct conn *conn, struct span in)
{
    return 0; /* paused from the start: never called before the pump takes over */
}

static void peer_ended(struct conn *conn, enum conn_end why)
{
    struct peer_conn *x = container_of(conn, struct peer_conn, conn);
    struct relay *r = x->relay;
    relay_clock(r);
    turn_peer_lost(r->turn, x->handle, r->acts);
    conn_close(conn);
    loop_later(relay_loop(r), &x->gone);
    relay_act(r);
}

static const struct conn_ops peer_ops = {.bytes = peer_bytes, .ended = peer_ended};

/* 0 or ERR_SYS; owns the fd in any case. */
static int peer_wait(struct peer_conn *x, int fd)
{
    conn_init(&x->conn, fd, &peer_ops, 0, 0);
    conn_pause(&x->conn);
    return conn_attach(&x->conn, relay_loop(x->relay));
}

/* ---- the relay port ---- */

static void take_peer(struct source *s, int fd, const struct addr *from)
{
    struct tcp_port *p = container_of(s, struct tcp_port, src);
    struct relay *r = p->relay;
    struct peer_conn *x = peer_conn_new(r, 0);
    if (!x) {
        sock_abort(fd);
        return;
    }
    relay_clock(r);
    x->handle = turn_peer_accepted(r->turn, p->handle, from, x, r->acts);
    if (!x->handle) {
        sock_abort(fd);
        free(x);
    } else if (peer_wait(x, fd)) {
        turn_peer_lost(r->turn, x->handle, r->acts);
        conn_abort(&x->conn);
        loop_later(relay_loop(r), &x->gone); /* the machine's acts may still name it */
    }
    relay_act(r);
}

static void on_peer_connection(struct source *s, uint32_t events)
{
    relay_accept(container_of(s, struct tcp_port, src)->relay, s, take_peer);
}

static void tcp_port_free_later(struct later *l)
{
    free(container_of(l, struct tcp_port, gone));
}

int relay_peer_open(struct relay *r, const struct act *act, void **link)
{
    struct tcp_port *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->relay = r;
    p->handle = act->handle;
    later_init(&p->gone, tcp_port_free_later);
    p->src = (struct source){sock_listen_relay(&act->addr, BACKLOG), on_peer_connection};
    int err = p->src.fd >= 0 ? 0 : errno == EADDRINUSE ? ERR_FULL : ERR_SYS;
    if (!err && loop_add(relay_loop(r), &p->src, EPOLLIN)) {
        close(p->src.fd);
        err = ERR_SYS;
    }
    if (err)
        free(p);
    else
        *link = p;
    return err;
}

void relay_peer_close_port(struct relay *r, void *link)
{
    struct tcp_port *p = link;
    loop_del(relay_loop(r), &p->src);
    close(p->src.fd);
    p->src.fd = -1;
    loop_later(relay_loop(r), &p->gone);
}

/* ---- dialling ---- */

static void dial_done(struct peer_conn *x, int error)
{
    struct relay *r = x->relay;
    int fd = x->dial.fd;
    relay_clock(r);
    if (error) {
        turn_dialed(r->turn, x->handle, ERR_SYS, strerror(error), x, r->acts);
        return;
    }
    loop_del(relay_loop(r), &x->dial);
    x->dial.fd = -1;
    if (peer_wait(x, fd))
        turn_dialed(r->turn, x->handle, ERR_SYS, "out of memory", x, r->acts);
    else
        turn_dialed(r->turn, x->handle, 0, NULL, x, r->acts);
}

static void on_dialed(struct source *s, uint32_t events)
{
    struct peer_conn *x = container_of(s, struct peer_conn, dial);
    dial_done(x, sock_error(s->fd));
    relay_act(x->relay);
}

/* From the relayed transport address itself (RFC 6062 s.5.2). */
void relay_peer_dial(struct relay *r, const struct act *act)
{
    struct peer_conn *x = peer_conn_new(r, act->handle);
    if (!x) {
        turn_dialed(r->turn, act->handle, ERR_NOMEM, "out of memory", NULL, r->acts);
        return;
    }
    if (act->body.n && relay_framed_early(x, act->body)) {
        turn_dialed(r->turn, act->handle, ERR_NOMEM, "out of memory", x, r->acts);
        return;
    }
    x->dial = (struct source){sock_dial(&act->from, &act->addr, true), on_dialed};
    if (x->dial.fd < 0 || loop_add(relay_loop(r), &x->dial, EPOLLOUT)) {
        turn_dialed(r->turn, act->handle, ERR_SYS, strerror(errno), x, r->acts);
        return;
    }
    turn_dialing(r->turn, act->handle, x);
}

void relay_peer_drop(struct relay *r, void *link, bool abort)
{
    struct peer_conn *x = link;
    if (!x)
        return;
    if (x->is_joined) {
        relay_framed_drop(x, abort);
        return;
    }
    if (x->dial.fd >= 0) {
        loop_del(relay_loop(r), &x->dial);
        close(x->dial.fd);
        x->dial.fd = -1;
    } else if (abort && conn_is_open(&x->conn)) {
        conn_abort(&x->conn);
    } else {
        conn_close(&x->conn);
    }
    loop_later(relay_loop(r), &x->gone);
}

/* ---- pairs: the client's data connection is side A, the peer side B ---- */

static size_t pair_grant(void *user, enum pump_side from, size_t want, uint64_t *retry_ms)
{
    struct peer_conn *x = user;
    return payer_bytes(x->payer, want, relay_loop(x->relay)->now_ms, retry_ms);
}

static void pair_ended(void *user, const struct pump_end *end)
{
    struct peer_conn *x = user;
    struct relay *r = x->relay;
    const char *closed_by = end->by_owner ? "server" : end->first == PUMP_A ? "client" : "peer";
    relay_clock(r);
    turn_pair_ended(r->turn, x->handle, end->bytes[PUMP_A], end->bytes[PUMP_B], closed_by,
                    x->stopped ? x->stopped : conn_end_name(end->why), r->acts);
    relay_tcp_forget(x->client);
    loop_later(relay_loop(r), &x->gone);
    relay_act(r);
}

static const struct pump_ops pair_ops = {pair_grant, pair_ended};

void relay_peer_pair(struct relay *r, const struct act *act)
{
    struct peer_conn *x = act->link;
    struct conn *client = relay_tcp_give(act->flow.link);
    x->client = act->flow.link;
    x->payer = act->payer;
    x->pump = pump_start(r->pumps, client, &x->conn, &pair_ops, x);
    if (x->pump)
        return;
    conn_abort(client);
    conn_abort(&x->conn);
    struct pump_end end = {.by_owner = true, .why = CONN_END_NOMEM};
    pair_ended(x, &end);
}

void relay_peer_stop(struct relay *r, void *link)
{
    struct peer_conn *x = link;
    x->stopped = "the allocation or its permission ended";
    pump_stop(x->pump);
}
