/* Datagrams: clients over UDP and DTLS, and relayed UDP ports. */
#include <errno.h>
#include <stdlib.h>

#include "app/config.h"
#include "app/relay.h"
#include "sys/sock.h"
#include "wire/frame.h"

enum {
    ASSOC_SILENCE_MS = 30000, /* a DTLS association without an allocation may be silent so long */
};

/* A DTLS association with a client. */
struct assoc {
    struct map_node node;
    struct tuple tuple;
    struct listener *listener;
    struct dtls *dtls;
    struct timer timer; /* handshake retransmission, and the end of silence */
    struct payer payer;
    uint64_t heard_ms;
};

int relay_udp_init(struct relay *r)
{
    return map_init(&r->assocs, MAP_KEY_OFFSET(struct assoc, node, tuple), sizeof(struct tuple));
}

void relay_udp_fini(struct relay *r)
{
    map_fini(&r->assocs);
    free(r->candidate);
}

/* ---- messages of a client ---- */

static void from_client(struct relay *r, const struct flow *flow, struct span datagram)
{
    relay_clock(r);
    turn_datagram(r->turn, flow, datagram, r->acts);
    relay_act(r);
}

/* ---- DTLS ---- */

static void assoc_log(struct assoc *a, enum ev_kind kind, const char *reason)
{
    struct relay *r = a->listener->relay;
    struct ev *e = relay_event(r, kind);
    ev_addr(e, EVF_CLIENT, &a->tuple.client);
    ev_str(e, EVF_TRANSPORT, transport_name(TRANSPORT_DTLS));
    if (reason)
        ev_str(e, EVF_REASON, reason);
}

static struct flow assoc_flow(struct assoc *a)
{
    return (struct flow){.tuple = a->tuple, .link = a};
}

static void assoc_give_back(struct assoc *a)
{
    if (a->payer.source)
        payer_give(&a->payer, LIMIT_CONNECTIONS);
    payer_release(&a->payer);
}

static void assoc_close(struct assoc *a, const char *reason)
{
    struct relay *r = a->listener->relay;
    struct flow flow = assoc_flow(a);
    relay_clock(r);
    turn_client_closed(r->turn, &flow, r->acts);
    relay_act(r); /* while the link is still good */
    assoc_log(a, EV_CLIENT_CLOSED, reason);
    relay_act(r);
    map_del(&r->assocs, &a->node);
    loop_timer_stop(relay_loop(r), &a->timer);
    assoc_give_back(a);
    dtls_free(a->dtls);
    free(a);
}

static void assoc_set_timer(struct assoc *a)
{
    struct relay *r = a->listener->relay;
    uint64_t at = a->heard_ms + ASSOC_SILENCE_MS;
    int64_t handshake_ms = dtls_deadline(a->dtls);
    if (handshake_ms >= 0 && relay_loop(r)->now_ms + (uint64_t)handshake_ms < at)
        at = relay_loop(r)->now_ms + (uint64_t)handshake_ms;
    loop_timer(relay_loop(r), &a->timer, at);
}

static void assoc_on_timer(struct timer *t)
{
    struct assoc *a = container_of(t, struct assoc, timer);
    struct relay *r = a->listener->relay;
    bool has_allocation = turn_has_allocation(r->turn, &(struct flow){.tuple = a->tuple});
    if (dtls_deadline(a->dtls) >= 0 && dtls_timeout(a->dtls)) {
        assoc_close(a, "handshake timed out");
        return;
    }
    if (!has_allocation && relay_loop(r)->now_ms >= a->heard_ms + ASSOC_SILENCE_MS) {
        assoc_close(a, "silent without an allocation");
        return;
    }
    if (has_allocation)
        a->heard_ms = relay_loop(r)->now_ms;
    assoc_set_timer(a);
}

static void assoc_send(void *user, struct span datagram)
{
    struct assoc *a = user;
    dgram_send(&a->listener->dgram, &a->tuple.server, &a->tuple.client, span_of(NULL, 0), datagram, false, false);
}

static void assoc_receive(void *user, struct span payload)
{
    struct assoc *a = user;
    struct flow flow = assoc_flow(a);
    a->listener->relay->keeps_body = false;
    from_client(a->listener->relay, &flow, payload);
}

static struct assoc *assoc_find(struct relay *r, const struct tuple *tuple)
{
    struct map_node *n = map_get(&r->assocs, tuple);
    return n ? container_of(n, struct assoc, node) : NULL;
}

/* The client has shown that it hears us at its address: only now it costs memory of its own. */
static void assoc_adopt(struct assoc *a)
{
    struct relay *r = a->listener->relay;
    r->candidate = NULL;
    a->heard_ms = relay_loop(r)->now_ms;
    timer_init(&a->timer, assoc_on_timer);
    map_put(&r->assocs, &a->node);
    assoc_log(a, EV_CLIENT_CONNECTED, NULL);
    assoc_set_timer(a);
    relay_act(r);
}

/* Before the handshake: what is refused costs no signature. */
static bool assoc_admit(void *user)
{
    struct assoc *a = user;
    struct relay *r = a->listener->relay;
    const char *limit = "out of memory";
    if (payer_hold(&a->payer, r->limiter, span_of(NULL, 0), &a->tuple.client) == 0 &&
        !(limit = payer_take(&a->payer, LIMIT_CONNECTIONS)))
        return true;
    payer_release(&a->payer);
    struct ev *e = relay_event(r, EV_CLIENT_REFUSED);
    ev_addr(e, EVF_CLIENT, &a->tuple.client);
    ev_str(e, EVF_TRANSPORT, transport_name(TRANSPORT_DTLS));
    ev_str(e, EVF_RULE, limit);
    relay_act(r);
    return false;
}

static const struct dtls_ops assoc_ops = {assoc_send, assoc_receive, assoc_admit};

static void assoc_try(struct listener *l, const struct tuple *tuple, struct span datagram)
{
    struct relay *r = l->relay;
    if (!l->dtls)
        return;
    if (!r->candidate)
        r->candidate = calloc(1, sizeof *r->candidate);
    struct assoc *a = r->candidate;
    if (!a)
        return;
    *a = (struct assoc){.tuple = *tuple, .listener = l};
    /* HelloVerifyRequest is smaller than the ClientHello it answers, but strangers have a budget all the same. */
    if (!limiter_may_answer(r->limiter, &tuple->client, 60, relay_loop(r)->now_ms))
        return;
    a->dtls = dtls_accept(l->dtls, &tuple->client, datagram, &assoc_ops, a);
    if (!a->dtls) {
        assoc_give_back(a);
        return;
    }
    struct assoc *old = assoc_find(r, tuple);
    if (old)
        assoc_close(old, "the client began anew");
    assoc_adopt(a);
}

/* A ClientHello of epoch 0: a client that has lost its association begins anew at the same address. The old one ends
 * when the cookie comes back, not before (RFC 6347 s.4.2.8). */
static bool begins_anew(const struct assoc *a, struct span datagram)
{
    enum { HANDSHAKE = 22, CLIENT_HELLO = 1, RECORD_HEADER = 13 };
    return dtls_is_ready(a->dtls) && datagram.n > RECORD_HEADER && datagram.p[0] == HANDSHAKE && !datagram.p[3] &&
           !datagram.p[4] && datagram.p[RECORD_HEADER] == CLIENT_HELLO;
}

static void dtls_datagram(struct listener *l, struct tuple tuple, struct span datagram)
{
    tuple.transport = TRANSPORT_DTLS;
    struct assoc *a = assoc_find(l->relay, &tuple);
    if (!a || begins_anew(a, datagram)) {
        assoc_try(l, &tuple, datagram);
        return;
    }
    a->heard_ms = relay_loop(l->relay)->now_ms;
    if (dtls_input(a->dtls, datagram))
        assoc_close(a, "closed by the client");
    else if (!dtls_is_ready(a->dtls))
        assoc_set_timer(a);
}

/* ---- listeners ---- */

static void on_client_datagram(struct dgram *d, const struct dgram_in *in)
{
    struct listener *l = container_of(d, struct listener, dgram);
    struct flow flow = {.tuple = {.client = in->from, .server = in->to, .transport = TRANSPORT_UDP}, .link = l};
    if (!in->from.port)
        return;
    if (sniff_datagram(in->bytes) == SPEECH_DTLS && !turn_takes_all(l->relay->turn, &flow)) {
        if (l->schemes & (LISTEN_AUTO_UDP | LISTEN_DTLS))
            dtls_datagram(l, flow.tuple, in->bytes);
    } else if (l->schemes & (LISTEN_AUTO_UDP | LISTEN_UDP)) {
        l->relay->keeps_body = true;
        from_client(l->relay, &flow, in->bytes);
    }
}

static const struct dgram_ops listener_ops = {.receive = on_client_datagram};

static void listener_set_dtls(struct listener *l)
{
    dtls_listener_free(l->dtls);
    bool wants = l->schemes & (LISTEN_AUTO_UDP | LISTEN_DTLS) && l->relay->policy->dtls;
    l->dtls = wants ? dtls_listener_new(l->relay->policy->dtls) : NULL;
}

int relay_udp_listen(struct listener *l, int fd)
{
    listener_set_dtls(l);
    return dgram_open(&l->dgram, fd, l->relay->batch, &listener_ops);
}

void relay_udp_close(struct listener *l)
{
    if (l->dgram.src.fd < 0)
        return;
    dgram_close(&l->dgram);
    dtls_listener_free(l->dtls);
    l->dtls = NULL;
}

/* New certificates are for new associations. */
void relay_udp_policy(struct relay *r)
{
    for (size_t i = 0; i < r->listeners_n; i++)
        if (r->listeners[i].dgram.src.fd >= 0)
            listener_set_dtls(&r->listeners[i]);
}

void relay_udp_to_client(struct relay *r, const struct act *act)
{
    if (act->flow.tuple.transport == TRANSPORT_DTLS) {
        struct assoc *a = act->flow.link;
        dtls_send(a->dtls, act->head, act->body);
        return;
    }
    struct listener *l = act->flow.link;
    if (act->body.n)
        dgram_send(&l->dgram, &act->flow.tuple.server, &act->flow.tuple.client, act->head, act->body, r->keeps_body,
                   false);
    else
        dgram_send(&l->dgram, &act->flow.tuple.server, &act->flow.tuple.client, span_of(NULL, 0), act->head, false,
                   false);
}

void relay_udp_end_clients(struct relay *r)
{
    for (struct map_node *n; (n = map_any(&r->assocs));)
        assoc_close(container_of(n, struct assoc, node), "server stopped");
}

/* ---- relayed ports ---- */

struct relay_port {
    struct dgram dgram;
    struct relay *relay;
    uint64_t handle; /* of the machine's port */
    struct later gone;
};

static void on_peer_datagram(struct dgram *d, const struct dgram_in *in)
{
    struct relay_port *p = container_of(d, struct relay_port, dgram);
    p->relay->keeps_body = true;
    relay_clock(p->relay);
    turn_peer_datagram(p->relay->turn, p->handle, &in->from, in->bytes, p->relay->acts);
    relay_act(p->relay);
}

static void on_peer_icmp(struct dgram *d, const struct dgram_icmp *icmp)
{
    struct relay_port *p = container_of(d, struct relay_port, dgram);
    struct stun_icmp x = {icmp->type, icmp->code, icmp->data};
    relay_clock(p->relay);
    turn_peer_icmp(p->relay->turn, p->handle, &icmp->peer, &x, p->relay->acts);
    relay_act(p->relay);
}

static const struct dgram_ops port_ops = {on_peer_datagram, on_peer_icmp};

static void port_free_later(struct later *l)
{
    free(container_of(l, struct relay_port, gone));
}

int relay_udp_open(struct relay *r, const struct act *act, void **link)
{
    struct relay_port *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->relay = r;
    p->handle = act->handle;
    later_init(&p->gone, port_free_later);
    int fd = sock_udp(&act->addr, false, 0);
    if (fd < 0 || dgram_open(&p->dgram, fd, r->batch, &port_ops)) {
        int err = errno == EADDRINUSE ? ERR_FULL : ERR_SYS;
        free(p);
        return err;
    }
    *link = p;
    return 0;
}

void relay_udp_to_peer(struct relay *r, const struct act *act)
{
    struct relay_port *p = act->link;
    dgram_send(&p->dgram, NULL, &act->addr, span_of(NULL, 0), act->body, r->keeps_body, act->df);
}

/* Its own receive callback may be what ends it: the storage outlives the turn. */
void relay_udp_close_port(struct relay *r, void *link)
{
    struct relay_port *p = link;
    dgram_close(&p->dgram);
    loop_later(relay_loop(r), &p->gone);
}
