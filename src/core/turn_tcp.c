/* TCP allocations: Connect, ConnectionAttempt, ConnectionBind. RFC 6062 s.5.
 *
 * A CONNECTION-ID is consumed by success alone: a failed bind is answered, and neither it nor a stranger can burn the
 * id. What a peer sends before the bind stays in the kernel.
 */
#include "core/turn_request.h"

void turn_log_peer(struct ev *e, const struct peer *x)
{
    ev_text(e, EVF_USER, payer_user(&alloc_of(x->port)->payer));
    ev_addr(e, EVF_PEER, &x->key.addr);
    ev_addr(e, EVF_RELAYED, &x->port->relayed);
}

bool turn_has_room(const struct turn *t, const struct alloc *a)
{
    unsigned n = 0, max = t->policy->allocation_connections;
    for (int i = 0; i < PORTS; i++)
        n += a->ports[i] ? a->ports[i]->peers_n : 0;
    return n < ALLOC_PEERS_CAP && (!max || n < max);
}

/* ---- Connect ---- */

static int connect_check(struct turn *t, struct request *r, struct turn_peer *peer)
{
    struct addr named;
    if (r->a->relay != TRANSPORT_TCP)
        return r->why = "Connect is for TCP allocations", 437;
    if (stun_get_addr(r->m, AT_XOR_PEER_ADDRESS, &named) || !named.port)
        return r->why = "no usable XOR-PEER-ADDRESS", 400;
    int code = turn_judge_peer(t, r, &named, peer);
    if (code)
        return code;
    if (peer_by_addr(&t->table, peer->port, &peer->addr))
        return r->why = "RFC 6062 s.5.2: a connection with this peer exists", 446;
    if (!turn_has_room(t, r->a))
        return r->why = "max-connections-per-allocation", 508;
    r->why = payer_connect(&r->a->payer, t->now_ms);
    return r->why ? 486 : 0;
}

int turn_connect(struct turn *t, struct request *r)
{
    struct turn_peer peer;
    int code = connect_check(t, r, &peer);
    if (code)
        return code;
    struct peer *x = peer_new(&t->table, peer.port, &peer.addr, PEER_DIALING, NULL, t->now_ms);
    if (!x)
        return r->why = "out of memory", 508;
    memcpy(x->tid, stun_tid(r->m), STUN_TID);
    turn_log_peer(acts_event(r->acts, EV_PEER_CONNECTING, r->a->session), x);
    struct act *act = acts_add(r->acts, ACT_DIAL);
    act->handle = peer_handle(&t->table, x);
    act->addr = peer.addr;
    act->from = peer.port->local;
    return TURN_LATER;
}

void turn_answer_connect(const struct peer *x, int code, struct acts *acts)
{
    struct alloc *a = alloc_of(x->port);
    struct stun_wr w;
    turn_begin(acts, &w, STUN_CONNECT, code ? STUN_ERROR : STUN_SUCCESS, x->tid);
    if (code)
        stun_put_error(&w, code, NULL);
    else
        stun_put_u32(&w, AT_CONNECTION_ID, x->id);
    stun_put_integrity(&w, a->rule, &a->key, false);
    turn_send(acts, &w, &a->flow);
}

void turn_dialing(struct turn *t, uint64_t handle, void *link)
{
    struct peer *x = peer_get(&t->table, handle);
    if (x)
        x->link = link;
}

void turn_dialed(struct turn *t, uint64_t handle, int err, const char *reason, void *link, struct acts *acts)
{
    struct peer *x = peer_get(&t->table, handle);
    if (!x || x->state != PEER_DIALING) {
        if (link)
            acts_add(acts, ACT_DROP_PEER)->link = link; /* its allocation ended meanwhile */
        return;
    }
    const struct alloc_dialect *dialect = alloc_of(x->port)->dialect;
    x->link = link;
    if (err == 0) {
        dialect->peer_connected(t, x, acts);
        return;
    }
    struct ev *e = acts_event(acts, EV_PEER_CONNECT_FAILED, alloc_of(x->port)->session);
    turn_log_peer(e, x);
    ev_u64(e, EVF_CODE, 447);
    ev_str(e, EVF_REASON, reason);
    ev_u64(e, EVF_DURATION, t->now_ms - x->since_ms);
    dialect->dial_failed(x, 447, acts);
    alloc_drop_peer(t, x, true, acts);
}

void turn_connected(struct turn *t, struct peer *x, struct acts *acts)
{
    peer_set_state(&t->table, x, PEER_WAITING, t->now_ms);
    turn_answer_connect(x, 0, acts);
}

/* ---- ConnectionAttempt ---- */

void turn_log_peer_refused(struct alloc *a, const struct port *p, const struct addr *from, const char *rule,
                           struct acts *acts)
{
    struct ev *e = acts_event(acts, EV_PEER_REFUSED, a->session);
    ev_text(e, EVF_USER, payer_user(&a->payer));
    ev_addr(e, EVF_PEER, from);
    ev_addr(e, EVF_RELAYED, &p->relayed);
    ev_str(e, EVF_RULE, rule);
}

static const char *accept_check(struct turn *t, const struct port *p, const struct addr *from)
{
    const struct permission *x = port_permission(&t->table, p, from, t->now_ms);
    if (!x)
        return "no permission for this peer";
    if (!turn_may_talk(t, p, x, from))
        return "own relay address: only its relayed ports";
    if (peer_by_addr(&t->table, p, from))
        return "a connection with this peer exists";
    return turn_has_room(t, alloc_of(p)) ? NULL : "max-connections-per-allocation";
}

static void announce(struct turn *t, const struct peer *x, struct acts *acts)
{
    struct alloc *a = alloc_of(x->port);
    uint8_t tid[STUN_TID];
    struct stun_wr w;
    struct addr peer = turn_peer_out(t, x->port, x->key.addr);
    stun_new_tid(&STUN_RFC, tid);
    turn_begin(acts, &w, STUN_CONNECTION_ATTEMPT, STUN_INDICATION, tid);
    stun_put_u32(&w, AT_CONNECTION_ID, x->id);
    stun_put_addr(&w, AT_XOR_PEER_ADDRESS, &peer);
    turn_send(acts, &w, &a->flow);
    struct ev *e = acts_event(acts, EV_PEER_WAITING, a->session);
    turn_log_peer(e, x);
    ev_u64(e, EVF_CONNECTION, x->id);
}

struct peer *turn_accepted(struct turn *t, struct port *p, const struct addr *from, void *link, struct acts *acts)
{
    const char *rule = accept_check(t, p, from);
    struct peer *x = rule ? NULL : peer_new(&t->table, p, from, PEER_WAITING, link, t->now_ms);
    if (x)
        announce(t, x, acts);
    else
        turn_log_peer_refused(alloc_of(p), p, from, rule ? rule : "out of memory", acts);
    return x;
}

void turn_peer_lost(struct turn *t, uint64_t handle, struct acts *acts)
{
    turn_peer_ended(t, handle, true, "reset", acts);
    struct peer *x = peer_get(&t->table, handle);
    if (!x || x->state != PEER_WAITING)
        return;
    struct ev *e = acts_event(acts, EV_PEER_UNBOUND, alloc_of(x->port)->session);
    turn_log_peer(e, x);
    ev_u64(e, EVF_CONNECTION, x->id);
    ev_str(e, EVF_REASON, "the peer reset its connection before the bind");
    ev_u64(e, EVF_DURATION, t->now_ms - x->since_ms);
    peer_free(&t->table, x);
}

/* ---- ConnectionBind ---- */

/* The waiting peer that this request may bind, or an error code: RFC 6062 s.5.4. */
static int bind_check(struct turn *t, struct request *r, struct peer **out)
{
    uint32_t id;
    if (!transport_is_stream(r->flow.tuple.transport))
        return r->why = "RFC 6062 s.5.4: ConnectionBind needs a TCP or TLS connection", 400;
    if (stun_get_u32(r->m, AT_CONNECTION_ID, &id))
        return r->why = "no CONNECTION-ID", 400;
    if (r->a)
        return r->why = "this is the control connection of an allocation", 400;
    struct peer *x = *out = peer_by_id(&t->table, id);
    if (!x)
        return r->why = "unknown CONNECTION-ID", 400;
    if (!alloc_is_owner(alloc_of(x->port), &r->cred))
        return r->why = "the allocation belongs to another user", 441;
    if (x->state == PEER_DIALING)
        return r->why = "the peer is not connected yet", 400;
    if (x->state == PEER_BOUND)
        return r->why = "this CONNECTION-ID is bound already", 400;
    return 0;
}

void turn_log_bind_failed(struct request *r, const struct peer *x, int code)
{
    uint32_t id = 0;
    struct ev *e = acts_event(r->acts, EV_BIND_FAILED, x ? alloc_of(x->port)->session : 0);
    ev_text(e, EVF_USER, span_of(r->cred.user, r->cred.user_n));
    ev_addr(e, EVF_CLIENT, &r->flow.tuple.client);
    if (x)
        ev_addr(e, EVF_PEER, &x->key.addr);
    if (stun_get_u32(r->m, AT_CONNECTION_ID, &id) == 0)
        ev_u64(e, EVF_CONNECTION, id);
    ev_u64(e, EVF_CODE, (uint64_t)code);
    ev_str(e, EVF_RULE, r->why ? r->why : stun_reason(code));
    r->is_logged = true;
}

int turn_connection_bind(struct turn *t, struct request *r)
{
    struct peer *x = NULL;
    int code = bind_check(t, r, &x);
    if (code) {
        turn_log_bind_failed(r, x, code);
        return code;
    }
    struct alloc *a = alloc_of(x->port);
    peer_set_state(&t->table, x, PEER_BOUND, t->now_ms);
    x->client = r->flow.tuple.client;
    x->transport = r->flow.tuple.transport;
    turn_answer(t, r, 0); /* the answer goes out before the first byte of the peer */
    struct act *act = acts_add(r->acts, ACT_PAIR);
    act->flow = r->flow;
    act->link = x->link;
    act->handle = peer_handle(&t->table, x);
    act->payer = &a->payer;
    struct ev *e = acts_event(r->acts, EV_CONNECTION_BOUND, a->session);
    turn_log_peer(e, x);
    ev_addr(e, EVF_CLIENT, &x->client);
    ev_u64(e, EVF_CONNECTION, x->id);
    ev_str(e, EVF_TRANSPORT, transport_name(x->transport));
    return TURN_LATER;
}

void turn_pair_ended(struct turn *t, uint64_t handle, uint64_t up, uint64_t down, const char *closed_by,
                     const char *reason, struct acts *acts)
{
    struct peer *x = peer_get(&t->table, handle);
    if (!x)
        return;
    must(x->state == PEER_BOUND);
    struct alloc *a = alloc_of(x->port);
    a->up_bytes += up;
    a->down_bytes += down;
    struct ev *e = acts_event(acts, EV_CONNECTION_ENDED, a->session);
    turn_log_peer(e, x);
    ev_addr(e, EVF_CLIENT, &x->client);
    ev_u64(e, EVF_CONNECTION, x->id);
    ev_str(e, EVF_TRANSPORT, transport_name(x->transport));
    ev_u64(e, EVF_BYTES_UP, up);
    ev_u64(e, EVF_BYTES_DOWN, down);
    ev_u64(e, EVF_DURATION, t->now_ms - x->bound_ms);
    ev_str(e, EVF_CLOSED_BY, closed_by);
    ev_str(e, EVF_REASON, reason);
    peer_free(&t->table, x);
    alloc_settle(t, a, acts);
}
