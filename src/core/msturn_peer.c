/* What lies between a client of MS-TURN and its peers: microsoft.md A.8. */
#include "core/msturn.h"

#include "wire/frame.h"

/* What clients send to peers keeps the allocation alive (A.7). Not set anew for each packet. */
static void renew(struct turn *t, struct alloc *a)
{
    const struct port *p = a->ports[PORT_V4];
    if (p->expires_ms < t->now_ms + (uint64_t)a->lifetime_s * 500)
        alloc_set_lifetime(t, a, ADDR_NONE, a->lifetime_s);
}

static bool is_active(const struct alloc *a, const struct addr *peer)
{
    return addr_is_equal(&a->ms->active, peer);
}

/* ---- towards the client ---- */

static void indicate(struct turn *t, const struct alloc *a, const struct port *p, const struct addr *from,
                     struct span payload, struct acts *acts)
{
    uint8_t tid[STUN_TID];
    struct stun_wr w;
    struct addr peer = turn_peer_out(t, p, *from);
    stun_new_tid(&STUN_MSTURN, tid);
    ms_begin(acts, &a->flow, &w, STUN_DATA, STUN_INDICATION, tid);
    stun_put_addr(&w, AT_REMOTE_ADDRESS, &peer);
    stun_put_bytes(&w, AT_DATA, payload);
    ms_finish(acts, &a->flow, &w);
}

/* From the active destination as it is, in a stream as a frame of type 3; from others in a Data Indication. */
static void deliver(struct turn *t, struct alloc *a, const struct port *p, const struct addr *from, struct span payload,
                    struct acts *acts)
{
    a->down_packets++;
    a->down_bytes += payload.n;
    if (!is_active(a, from)) {
        indicate(t, a, p, from, payload, acts);
        return;
    }
    size_t cap;
    uint8_t *head = acts_room(acts, &cap);
    bool is_stream = transport_is_stream(a->tuple.transport);
    must(!is_stream || cap >= 4);
    struct act *act = acts_add(acts, ACT_TO_CLIENT);
    act->flow = a->flow;
    act->body = payload;
    if (is_stream) {
        frame_msturn_header(head, FRAME_MS_DATA, payload.n);
        act->head = acts_keep(acts, 4);
    }
}

static void datagram_in(struct turn *t, struct port *p, const struct addr *from, struct span payload, struct acts *acts)
{
    struct alloc *a = alloc_of(p);
    if (!turn_may_talk(t, p, port_permission(&t->table, p, from, t->now_ms), from) ||
        !payer_datagram(&a->payer, payload.n, t->now_ms))
        a->dropped++;
    else
        deliver(t, a, p, from, payload, acts);
}

/* The dialect has no way to tell. */
static void icmp_in(struct turn *t, struct port *p, const struct addr *peer, const struct stun_icmp *icmp,
                    struct acts *acts)
{
}

void turn_peer_bytes(struct turn *t, uint64_t handle, struct span bytes, struct acts *acts)
{
    struct peer *x = peer_get(&t->table, handle);
    if (!x || x->state != PEER_JOINED)
        return;
    must(bytes.n <= TURN_PEER_BYTES_MAX);
    x->down_bytes += bytes.n;
    deliver(t, alloc_of(x->port), x->port, &x->key.addr, bytes, acts);
}

/* ---- peer connections ---- */

static void join(struct turn *t, struct peer *x, struct acts *acts)
{
    struct alloc *a = alloc_of(x->port);
    peer_set_state(&t->table, x, PEER_JOINED, t->now_ms);
    x->client = a->tuple.client;
    x->transport = a->tuple.transport;
    a->up_bytes += x->up_bytes;
    struct act *act = acts_add(acts, ACT_JOIN);
    act->link = x->link;
    act->handle = peer_handle(&t->table, x);
    act->flow = a->flow;
    act->payer = &a->payer;
    struct ev *e = acts_event(acts, EV_CONNECTION_BOUND, a->session);
    turn_log_peer(e, x);
    ev_addr(e, EVF_CLIENT, &x->client);
    ev_u64(e, EVF_CONNECTION, x->id);
    ev_str(e, EVF_TRANSPORT, transport_name(x->transport));
}

static void dial_failed(const struct peer *x, int code, struct acts *acts)
{
}

/* Forbidden for ever, whatever the client permits later? */
static bool is_forbidden(const struct turn *t, const struct addr *from, const char **rule)
{
    struct addr named = turn_peer_named(t, *from);
    return peer_rules_judge(t->policy->rules, &named, rule) == PEER_DENIED;
}

static unsigned held_of(const struct port *p)
{
    unsigned n = 0;
    for (const struct list *l = p->peers.next; l != &p->peers; l = l->next)
        n += container_of(l, struct peer, link_in_port)->state == PEER_WAITING;
    return n;
}

static const char *accept_check(struct turn *t, const struct port *p, const struct addr *from, bool *is_permitted)
{
    const char *rule = NULL;
    const struct permission *x = port_permission(&t->table, p, from, t->now_ms);
    *is_permitted = x != NULL;
    if (x && !turn_may_talk(t, p, x, from))
        return "own relay address: only its relayed ports";
    if (!x && is_forbidden(t, from, &rule))
        return rule;
    if (!x && held_of(p) >= MS_HELD_MAX)
        return "too many peers wait for a permission";
    if (peer_by_addr(&t->table, p, from))
        return "a connection with this peer exists";
    return turn_has_room(t, alloc_of(p)) ? NULL : "max-connections-per-allocation";
}

/* Without a permission it is held unread for a while: the client's first Send to it may be on its way (A.8.2). */
static struct peer *accepted(struct turn *t, struct port *p, const struct addr *from, void *link, struct acts *acts)
{
    bool is_permitted;
    const char *rule = accept_check(t, p, from, &is_permitted);
    struct peer *x = rule ? NULL : peer_new(&t->table, p, from, PEER_WAITING, link, t->now_ms);
    if (!x) {
        turn_log_peer_refused(alloc_of(p), p, from, rule ? rule : "out of memory", acts);
        return NULL;
    }
    if (is_permitted)
        join(t, x, acts);
    else
        must(heap_set(&t->table.deadlines, &x->deadline.node, t->now_ms + MS_HOLD_MS) == 0);
    return x;
}

static void log_ended(const struct turn *t, const struct peer *x, struct acts *acts)
{
    const struct alloc *a = alloc_of(x->port);
    struct ev *e = acts_event(acts, EV_CONNECTION_ENDED, a->session);
    turn_log_peer(e, x);
    ev_addr(e, EVF_CLIENT, &x->client);
    ev_u64(e, EVF_CONNECTION, x->id);
    ev_str(e, EVF_TRANSPORT, transport_name(x->transport));
    ev_u64(e, EVF_BYTES_UP, x->up_bytes);
    ev_u64(e, EVF_BYTES_DOWN, x->down_bytes);
    ev_u64(e, EVF_DURATION, t->now_ms - x->bound_ms);
    ev_str(e, EVF_CLOSED_BY, x->why_ended ? "peer" : a->ms->has_fin ? "client" : "server");
    ev_str(e, EVF_REASON,
           x->why_ended     ? x->why_ended
           : a->ms->has_fin ? "eof"
           : a->why_ended   ? a->why_ended
                            : "the permission ended");
}

/* When the connection with the active destination ends, so does that of the client (A.8.2). */
static void dropping(struct turn *t, struct peer *x, struct acts *acts)
{
    struct alloc *a = alloc_of(x->port);
    if (x->state != PEER_JOINED)
        return;
    log_ended(t, x, acts);
    if (!is_active(a, &x->key.addr))
        return;
    a->ms->active = (struct addr){0};
    if (a->is_ending)
        return;
    struct act *act = acts_add(acts, ACT_FIN_CLIENT);
    act->flow = a->flow;
    act->abort = true;
}

void turn_peer_ended(struct turn *t, uint64_t handle, bool failed, const char *reason, struct acts *acts)
{
    struct peer *x = peer_get(&t->table, handle);
    if (!x || x->state != PEER_JOINED)
        return;
    const struct alloc *a = alloc_of(x->port);
    x->why_ended = reason;
    if (failed || !is_active(a, &x->key.addr))
        alloc_drop_peer(t, x, failed, acts);
    else
        acts_add(acts, ACT_FIN_CLIENT)->flow = a->flow;
}

const struct alloc_dialect ALLOC_MSTURN = {
    .datagram = datagram_in,
    .icmp = icmp_in,
    .accepted = accepted,
    .peer_connected = join,
    .dial_failed = dial_failed,
    .dropping = dropping,
    .waits_for = "MS-TURN: held 10 s for a permission",
};

/* ---- permissions ---- */

static void join_held(struct turn *t, struct port *p, const struct addr *ip, struct acts *acts)
{
    for (struct list *l = p->peers.next; l != &p->peers; l = l->next) {
        struct peer *x = container_of(l, struct peer, link_in_port);
        if (x->state == PEER_WAITING && addr_is_same_ip(&x->key.addr, ip) &&
            turn_may_talk(t, p, port_permission(&t->table, p, ip, t->now_ms), &x->key.addr))
            join(t, x, acts);
    }
}

int ms_permit(struct turn *t, struct request *r, const struct turn_peer *peer, const struct addr *named)
{
    struct port *p = peer->port;
    uint32_t max = t->policy->allocation_permissions;
    bool is_new = !permission_find(&t->table, p, &peer->addr);
    if (is_new && max && p->permissions_n >= max)
        return r->why = "max-permissions", 508;
    if (port_permit(&t->table, p, &peer->addr, peer->relay_only, HEAP_NEVER))
        return r->why = "out of memory", 508;
    if (!is_new)
        return 0;
    turn_log_permission(r, named);
    join_held(t, p, &peer->addr, r->acts);
    return 0;
}

/* ---- towards the peer ---- */

static void log_not_dialed(struct turn *t, const struct request *r, const struct turn_peer *peer, const char *rule)
{
    struct ev *e = acts_event(r->acts, EV_PEER_CONNECT_FAILED, r->a->session);
    ev_text(e, EVF_USER, payer_user(&r->a->payer));
    ev_addr(e, EVF_PEER, &peer->addr);
    ev_addr(e, EVF_RELAYED, &peer->port->relayed);
    ev_str(e, EVF_RULE, rule);
    r->a->dropped++;
}

/* From the relayed port itself, as the real relay does; the peer sees the address of the client's candidate. */
static void dial(struct turn *t, struct request *r, const struct turn_peer *peer, struct span data)
{
    const char *rule =
        turn_has_room(t, r->a) ? payer_connect(&r->a->payer, t->now_ms) : "max-connections-per-allocation";
    struct peer *x = rule ? NULL : peer_new(&t->table, peer->port, &peer->addr, PEER_DIALING, NULL, t->now_ms);
    if (!x) {
        log_not_dialed(t, r, peer, rule ? rule : "out of memory");
        return;
    }
    x->up_bytes = data.n;
    turn_log_peer(acts_event(r->acts, EV_PEER_CONNECTING, r->a->session), x);
    struct act *act = acts_add(r->acts, ACT_DIAL);
    act->handle = peer_handle(&t->table, x);
    act->addr = peer->addr;
    act->from = peer->port->local;
    act->body = data;
}

/* A stream with a hole is worse than none: a dial for which too much waits is given up. */
static void to_stream(struct turn *t, struct peer *x, struct span data, struct acts *acts)
{
    struct alloc *a = alloc_of(x->port);
    if (x->state == PEER_DIALING && x->up_bytes + data.n > MS_QUEUE_MAX) {
        turn_dialed(t, peer_handle(&t->table, x), ERR_FULL, "over 64 KiB came before it was connected", x->link, acts);
        return;
    }
    x->up_bytes += data.n;
    if (x->state == PEER_JOINED)
        a->up_bytes += data.n;
    a->up_packets++;
    struct act *act = acts_add(acts, ACT_TO_PEER);
    act->relay = TRANSPORT_TCP;
    act->link = x->link;
    act->addr = x->key.addr;
    act->body = data;
}

static void to_peer(struct turn *t, struct request *r, const struct turn_peer *peer, struct span data)
{
    const struct port *p = peer->port;
    struct peer *x = peer_by_addr(&t->table, p, &peer->addr);
    if (r->a->relay == TRANSPORT_UDP)
        turn_to_peer(t, r->a, p, port_permission(&t->table, p, &peer->addr, t->now_ms), &peer->addr, data, false,
                     r->acts);
    else if (x && data.n)
        to_stream(t, x, data, r->acts);
    else if (!x && data.n && peer->addr.port)
        dial(t, r, peer, data);
}

int ms_send_request(struct turn *t, struct request *r)
{
    struct addr named;
    struct turn_peer peer;
    struct span data;
    int code = ms_judge(r);
    if (code)
        return code;
    if (!ms_take_sequence(r))
        return TURN_LATER;
    if (stun_get_addr(r->m, AT_DESTINATION_ADDRESS, &named))
        return r->why = "no usable DESTINATION-ADDRESS", 400;
    if (stun_get_bytes(r->m, AT_DATA, &data))
        return r->why = "no DATA", 400;
    code = turn_judge_peer(t, r, &named, &peer);
    if (!code)
        code = ms_permit(t, r, &peer, &named);
    if (code)
        return code;
    renew(t, r->a);
    to_peer(t, r, &peer, data);
    return 0;
}

void turn_ms_data(struct turn *t, const struct flow *flow, struct span data, struct acts *acts)
{
    struct alloc *a = alloc_find(t, &flow->tuple);
    if (!a || a->dialect != &ALLOC_MSTURN)
        return;
    const struct addr *active = &a->ms->active;
    const struct port *p = a->ports[PORT_V4];
    struct peer *x = peer_by_addr(&t->table, p, active);
    if (!active->family || (a->relay == TRANSPORT_TCP && !x)) {
        a->dropped++;
        return;
    }
    renew(t, a);
    if (a->relay == TRANSPORT_UDP)
        turn_to_peer(t, a, p, port_permission(&t->table, p, active, t->now_ms), active, data, false, acts);
    else if (data.n)
        to_stream(t, x, data, acts);
}

size_t turn_ms_grant(struct turn *t, const struct flow *flow, size_t want, uint64_t *retry_ms)
{
    const struct alloc *a = alloc_find(t, &flow->tuple);
    return a ? payer_bytes(&a->payer, want, t->now_ms, retry_ms) : want;
}

bool turn_client_fin(struct turn *t, const struct flow *flow, struct acts *acts)
{
    struct alloc *a = alloc_find(t, &flow->tuple);
    if (!a || a->dialect != &ALLOC_MSTURN || a->relay != TRANSPORT_TCP)
        return false;
    struct port *p = a->ports[PORT_V4];
    struct peer *active = peer_by_addr(&t->table, p, &a->ms->active);
    if (!active || active->state != PEER_JOINED)
        return false;
    a->ms->has_fin = true;
    acts_add(acts, ACT_FIN_PEER)->link = active->link;
    for (struct list *l = p->peers.next, *next; l != &p->peers; l = next) {
        next = l->next;
        struct peer *x = container_of(l, struct peer, link_in_port);
        if (x != active)
            alloc_drop_peer(t, x, false, acts);
    }
    return true;
}
