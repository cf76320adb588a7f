#include "app/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_RING = 4096, PIPES_MAX = 256 };

/* ---- acts ---- */

void relay_clock(struct relay *r)
{
    turn_clock(r->turn, relay_loop(r)->now_ms, (uint64_t)time(NULL));
}

struct ev *relay_event(struct relay *r, enum ev_kind kind)
{
    return acts_event(r->acts, kind, 0);
}

void relay_short(struct relay *r, const char *rule, const char *remedy)
{
    struct ev *e = relay_event(r, EV_RESOURCE_SHORT);
    ev_str(e, EVF_RULE, rule);
    ev_str(e, EVF_REASON, strerror(errno));
    ev_str(e, EVF_REMEDY, remedy);
}

static void open_port(struct relay *r, const struct act *act)
{
    void *link = NULL;
    int err = act->relay == TRANSPORT_UDP ? relay_udp_open(r, act, &link) : relay_peer_open(r, act, &link);
    if (err == ERR_SYS)
        relay_short(r, "relay socket", "raise the limit of open files (LimitNOFILE=, ulimit -n)");
    turn_port_opened(r->turn, act->handle, err, link, r->acts);
}

static void to_client(struct relay *r, const struct act *act)
{
    if (transport_is_stream(act->flow.tuple.transport))
        relay_tcp_to_client(r, act);
    else
        relay_udp_to_client(r, act);
}

static void to_peer(struct relay *r, const struct act *act)
{
    if (act->relay == TRANSPORT_UDP)
        relay_udp_to_peer(r, act);
    else
        relay_framed_to_peer(r, act);
}

static void close_port(struct relay *r, const struct act *act)
{
    if (act->relay == TRANSPORT_UDP)
        relay_udp_close_port(r, act->link);
    else
        relay_peer_close_port(r, act->link);
}

static void trust(struct relay *r, const struct act *act)
{
    if (transport_is_stream(act->flow.tuple.transport))
        relay_tcp_trust(r, act->flow.link);
}

static void carry_out(struct relay *r, const struct act *act)
{
    switch ((enum act_kind)act->kind) {
    case ACT_TO_CLIENT: to_client(r, act); break;
    case ACT_TO_PEER: to_peer(r, act); break;
    case ACT_OPEN_PORT: open_port(r, act); break;
    case ACT_CLOSE_PORT: close_port(r, act); break;
    case ACT_DIAL: relay_peer_dial(r, act); break;
    case ACT_DROP_PEER: relay_peer_drop(r, act->link, act->abort); break;
    case ACT_PAIR: relay_peer_pair(r, act); break;
    case ACT_JOIN: relay_framed_join(r, act); break;
    case ACT_FIN_PEER: relay_framed_fin_peer(r, act); break;
    case ACT_FIN_CLIENT: relay_framed_fin_client(r, act); break;
    case ACT_STOP_PAIR: relay_peer_stop(r, act->link); break;
    case ACT_HAND: relay_tcp_hand(r, act->flow.link, act->worker); break;
    case ACT_TRUST_CLIENT: trust(r, act); break;
    }
}

static void record_events(struct relay *r)
{
    bool any = false;
    uint64_t now_us = r->acts->events_n ? loop_wallclock_us() : 0;
    for (unsigned i = 0; i < r->acts->events_n; i++) {
        struct ev *e = &r->acts->events[i];
        if (ev_kind_level(e->kind) == EV_DEBUG && !r->policy->log_debug)
            continue;
        e->time_us = now_us;
        any = ev_ring_put(&r->events, e) || any;
    }
    if (any)
        r->bell(r->server);
}

static void set_tick(struct relay *r)
{
    uint64_t at = turn_deadline(r->turn);
    if (at == HEAP_NEVER)
        loop_timer_stop(relay_loop(r), &r->tick);
    else if (at != r->tick.node.at_ms || !r->tick.node.pos)
        loop_timer(relay_loop(r), &r->tick, at);
}

void relay_act(struct relay *r)
{
    if (r->is_acting)
        return;
    r->is_acting = true;
    for (const struct act *act; (act = acts_next(r->acts));)
        carry_out(r, act);
    r->is_acting = false;
    record_events(r);
    acts_clear(r->acts);
    set_tick(r);
    atomic_store_explicit(&r->allocations, turn_count(r->turn), memory_order_relaxed);
}

/* What the machine ends in bulk: expired, revoked. A list of acts at a time, other work between. */
static void continue_bulk(struct relay *r)
{
    relay_clock(r);
    bool more = turn_tick(r->turn, r->acts);
    relay_act(r);
    more |= turn_revoke(r->turn, r->acts);
    relay_act(r);
    if (more)
        loop_later(relay_loop(r), &r->again);
}

static void on_tick(struct timer *t)
{
    continue_bulk(container_of(t, struct relay, tick));
}

static void on_again(struct later *l)
{
    continue_bulk(container_of(l, struct relay, again));
}

/* ---- mail ---- */

struct letter {
    struct mail mail;
    const struct policy *policy;
    _Atomic unsigned *done;
};

static void take_policy(struct mail *m, struct worker *w)
{
    struct letter *x = container_of(m, struct letter, mail);
    struct relay *r = w->user;
    r->policy = x->policy;
    turn_set_policy(r->turn, &x->policy->turn);
    relay_udp_policy(r);
    atomic_fetch_sub(x->done, 1);
    free(x);
    continue_bulk(r);
}

static void take_drain(struct mail *m, struct worker *w)
{
    struct relay *r = w->user;
    struct letter *x = container_of(m, struct letter, mail);
    turn_drain(r->turn);
    atomic_fetch_sub(x->done, 1);
    free(x);
}

static int post(struct relay *r, struct letter letter)
{
    struct letter *x = malloc(sizeof *x);
    if (!x)
        return ERR_NOMEM;
    *x = letter;
    worker_post(&r->worker, &x->mail);
    return 0;
}

int relay_post_policy(struct relay *r, const struct policy *policy, _Atomic unsigned *done)
{
    return post(r, (struct letter){.mail.deliver = take_policy, .policy = policy, .done = done});
}

int relay_post_drain(struct relay *r, _Atomic unsigned *done)
{
    return post(r, (struct letter){.mail.deliver = take_drain, .done = done});
}

/* ---- life ---- */

static int listen_on(struct relay *r, struct listener *l, const struct listen_fd *fd)
{
    *l = (struct listener){.relay = r, .local = fd->local, .schemes = fd->schemes};
    l->src.fd = l->dgram.src.fd = -1;
    return fd->is_udp ? relay_udp_listen(l, fd->fd) : relay_tcp_listen(l, fd->fd);
}

int relay_init(struct relay *r, unsigned index, struct relay *all, unsigned all_n, struct turn_shared *shared,
               const struct policy *policy, const struct listen_fd *fds, size_t fds_n)
{
    r->policy = policy;
    r->limiter = shared->limiter;
    r->all = all;
    r->all_n = all_n;
    r->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    list_init(&r->clients);
    list_init(&r->lingering);
    timer_init(&r->tick, on_tick);
    later_init(&r->again, on_again);
    if (worker_init(&r->worker, index, r))
        return ERR_SYS;
    r->turn = turn_new(shared, &policy->turn, index, all_n);
    r->acts = acts_new();
    r->batch = dgram_batch_new(relay_loop(r));
    r->pumps = pump_pool_new(relay_loop(r), PIPES_MAX);
    r->listeners = calloc(fds_n ? fds_n : 1, sizeof *r->listeners);
    if (!r->turn || !r->acts || !r->batch || !r->pumps || !r->listeners || ev_ring_init(&r->events, EVENTS_RING) ||
        relay_udp_init(r))
        return ERR_NOMEM;
    for (size_t i = 0; i < fds_n; i++) {
        int err = listen_on(r, &r->listeners[i], &fds[i]);
        if (err)
            return err;
        r->listeners_n++;
    }
    return 0;
}

void relay_end(struct relay *r, const char *reason)
{
    relay_clock(r);
    while (turn_end_all(r->turn, reason, r->acts)) /* and with them their pairs: what is left ends one by one */
        relay_act(r);
    relay_act(r);
    relay_tcp_end_clients(r);
    relay_udp_end_clients(r);
    relay_framed_end(r);
    dgram_flush(r->batch);
}

void relay_fini(struct relay *r)
{
    if (!r->all)
        return;
    for (size_t i = 0; i < r->listeners_n; i++) {
        relay_udp_close(&r->listeners[i]);
        relay_tcp_close(&r->listeners[i]);
    }
    loop_timer_stop(relay_loop(r), &r->tick);
    loop_later_stop(&r->again);
    pump_pool_free(r->pumps);
    dgram_batch_free(r->batch);
    worker_fini(&r->worker);
    relay_udp_fini(r);
    turn_free(r->turn);
    acts_free(r->acts);
    ev_ring_fini(&r->events);
    free(r->listeners);
    close(r->spare_fd);
}
