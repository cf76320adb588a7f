/* Permissions, channels and datagrams: RFC 8656 s.9 to s.12. */
#include "core/turn_request.h"

#include "wire/frame.h"

/* ---- peer addresses ---- */

struct addr turn_peer_in(const struct turn *t, struct addr peer)
{
    for (size_t i = 0; i < t->policy->relays_n; i++) {
        const struct turn_relay *x = &t->policy->relays[i];
        if (!x->advertised.family || !addr_is_same_ip(&x->advertised, &peer))
            continue;
        struct addr local = x->local;
        local.port = peer.port;
        return local;
    }
    return peer;
}

struct addr turn_peer_named(const struct turn *t, struct addr peer)
{
    for (size_t i = 0; i < t->policy->relays_n; i++) {
        const struct turn_relay *x = &t->policy->relays[i];
        if (!x->advertised.family || !addr_is_same_ip(&x->local, &peer))
            continue;
        struct addr public = x->advertised;
        public.port = peer.port;
        return public;
    }
    return peer;
}

struct addr turn_peer_out(const struct turn *t, const struct port *p, struct addr peer)
{
    return port_ranges_has(t->shared->ranges, &peer, p->relay) ? turn_peer_named(t, peer) : peer;
}

static void log_denied(struct request *r, const struct addr *named)
{
    struct ev *e = acts_event(r->acts, EV_PERMISSION_REFUSED, r->a->session);
    ev_text(e, EVF_USER, payer_user(&r->a->payer));
    ev_addr(e, EVF_CLIENT, &r->a->tuple.client);
    ev_addr(e, EVF_PEER, named);
    ev_str(e, EVF_METHOD, stun_method_name(r->m->method));
    ev_u64(e, EVF_CODE, 403);
    ev_str(e, EVF_RULE, r->why);
    r->is_logged = true;
}

/* The rules look at the address in the client's own notation: behind 1:1 NAT, our local one is in a private range. */
int turn_judge_peer(struct turn *t, struct request *r, const struct addr *named, struct turn_peer *out)
{
    out->addr = turn_peer_in(t, *named);
    out->port = alloc_port(r->a, named->family);
    if (!out->port) {
        r->why = "the allocation has no address of the peer's family";
        return 443;
    }
    enum peer_verdict verdict = peer_rules_judge(t->policy->rules, named, &r->why);
    out->relay_only = verdict != PEER_ALLOWED;
    if (verdict == PEER_ALLOWED || (verdict == PEER_RELAY_ONLY && r->m->method == STUN_CREATE_PERMISSION))
        return 0;
    if (verdict != PEER_DENIED && port_ranges_has(t->shared->ranges, &out->addr, out->port->relay))
        return 0;
    log_denied(r, named);
    return 403;
}

bool turn_may_talk(const struct turn *t, const struct port *p, const struct permission *x, const struct addr *peer)
{
    return x && (!x->relay_only || port_ranges_has(t->shared->ranges, peer, p->relay));
}

/* ---- CreatePermission ---- */

void turn_log_permission(struct request *r, const struct addr *peer)
{
    struct ev *e = acts_event(r->acts, EV_PERMISSION_MADE, r->a->session);
    ev_text(e, EVF_USER, payer_user(&r->a->payer));
    ev_addr(e, EVF_CLIENT, &r->a->tuple.client);
    ev_addr(e, EVF_PEER, peer);
}

static int permit(struct turn *t, struct request *r, const struct turn_peer *peer)
{
    if (port_permit(&t->table, peer->port, &peer->addr, peer->relay_only, t->now_ms + PERMISSION_MS))
        return r->why = "out of memory", 508;
    return 0;
}

static unsigned permissions_of(const struct alloc *a)
{
    return (a->ports[PORT_V4] ? a->ports[PORT_V4]->permissions_n : 0) +
           (a->ports[PORT_V6] ? a->ports[PORT_V6]->permissions_n : 0);
}

/* Does an attribute before this one name the same IP address? */
static bool is_repeated(const struct stun_msg *m, const struct stun_attr *at, const struct addr *named)
{
    for (const struct stun_attr *x = stun_find(m, AT_XOR_PEER_ADDRESS); x != at; x = stun_find_next(m, x)) {
        struct addr other;
        if (stun_attr_addr(m, x, &other) == 0 && addr_is_same_ip(&other, named))
            return true;
    }
    return false;
}

/* First round: judges every address. 0 with the number of permissions that are new. */
static int judge_all(struct turn *t, struct request *r, unsigned *fresh)
{
    *fresh = 0;
    for (const struct stun_attr *at = stun_find(r->m, AT_XOR_PEER_ADDRESS); at; at = stun_find_next(r->m, at)) {
        struct addr named;
        struct turn_peer peer;
        if (stun_attr_addr(r->m, at, &named))
            return r->why = "malformed XOR-PEER-ADDRESS", 400;
        int code = turn_judge_peer(t, r, &named, &peer);
        if (code)
            return code;
        *fresh += !permission_find(&t->table, peer.port, &peer.addr) && !is_repeated(r->m, at, &named);
    }
    return 0;
}

/* All or none (RFC 8656 s.10.2). */
int turn_create_permission(struct turn *t, struct request *r)
{
    unsigned fresh, max = t->policy->allocation_permissions;
    const struct stun_attr *at = stun_find(r->m, AT_XOR_PEER_ADDRESS);
    if (!at)
        return r->why = "no XOR-PEER-ADDRESS", 400;
    int code = judge_all(t, r, &fresh);
    if (!code && max && fresh && permissions_of(r->a) + fresh > max)
        code = (r->why = "max-permissions", 508);
    for (; at && !code; at = stun_find_next(r->m, at)) {
        struct addr named;
        struct turn_peer peer;
        must(stun_attr_addr(r->m, at, &named) == 0);
        code = turn_judge_peer(t, r, &named, &peer); /* a relay of ours may just have ended */
        if (!code)
            code = permit(t, r, &peer);
        if (!code)
            turn_log_permission(r, &named);
    }
    return code;
}

/* ---- ChannelBind ---- */

static unsigned channels_of(const struct alloc *a)
{
    return (a->ports[PORT_V4] ? a->ports[PORT_V4]->channels_n : 0) +
           (a->ports[PORT_V6] ? a->ports[PORT_V6]->channels_n : 0);
}

/* RFC 8656 s.12.2, and our caps. */
static int channel_check(struct turn *t, struct request *r, uint16_t *number, struct turn_peer *peer)
{
    const struct turn_policy *p = t->policy;
    struct addr named;
    if (r->a->relay != TRANSPORT_UDP)
        return r->why = "channels are for UDP allocations", 403;
    if (stun_get_u16(r->m, AT_CHANNEL_NUMBER, number))
        return r->why = "no CHANNEL-NUMBER", 400;
    if (stun_get_addr(r->m, AT_XOR_PEER_ADDRESS, &named))
        return r->why = "no XOR-PEER-ADDRESS", 400;
    if (*number < CHANNEL_MIN || *number > CHANNEL_MAX)
        return r->why = "channels are 0x4000 to 0x7fff", 400;
    int code = turn_judge_peer(t, r, &named, peer);
    if (code)
        return code;
    if (channel_conflicts(&t->table, peer->port, r->a->id, *number, &peer->addr, t->now_ms))
        return r->why = "the channel or the peer is bound otherwise", 400;
    bool is_new = !channel_by_number(&t->table, r->a->id, *number, t->now_ms);
    if (is_new && p->allocation_channels && channels_of(r->a) >= p->allocation_channels)
        return r->why = "max-channels", 508;
    is_new = !permission_find(&t->table, peer->port, &peer->addr);
    if (is_new && p->allocation_permissions && permissions_of(r->a) >= p->allocation_permissions)
        return r->why = "max-permissions", 508;
    return 0;
}

int turn_channel_bind(struct turn *t, struct request *r)
{
    uint16_t number;
    struct turn_peer peer;
    int code = channel_check(t, r, &number, &peer);
    if (!code)
        code = permit(t, r, &peer);
    if (code)
        return code;
    if (channel_bind(&t->table, peer.port, r->a->id, number, &peer.addr, t->now_ms))
        return r->why = "out of memory", 508;
    struct ev *e = acts_event(r->acts, EV_CHANNEL_BOUND, r->a->session);
    ev_text(e, EVF_USER, payer_user(&r->a->payer));
    ev_addr(e, EVF_CLIENT, &r->a->tuple.client);
    ev_addr(e, EVF_PEER, &peer.addr);
    ev_u64(e, EVF_COUNT, number);
    return 0;
}

/* ---- towards the peer ---- */

void turn_to_peer(struct turn *t, struct alloc *a, const struct port *p, const struct permission *x,
                  const struct addr *peer, struct span body, bool df, struct acts *acts)
{
    if (!peer->port || !turn_may_talk(t, p, x, peer) || !payer_datagram(&a->payer, body.n, t->now_ms)) {
        a->dropped++;
        return;
    }
    a->up_packets++;
    a->up_bytes += body.n;
    struct act *act = acts_add(acts, ACT_TO_PEER);
    act->link = p->link;
    act->addr = *peer;
    act->body = body;
    act->df = df;
}

void turn_channel_from(struct turn *t, struct alloc *a, uint16_t number, struct span payload, struct acts *acts)
{
    struct channel *c = a ? channel_by_number(&t->table, a->id, number, t->now_ms) : NULL;
    if (!c) {
        if (a)
            a->dropped++;
        return;
    }
    const struct permission *x = c->permission->expires_ms > t->now_ms ? c->permission : NULL;
    turn_to_peer(t, a, c->port, x, &c->peer.addr, payload, false, acts);
}

void turn_channel_data(struct turn *t, const struct flow *flow, uint16_t number, struct span payload, struct acts *acts)
{
    turn_channel_from(t, alloc_find(t, &flow->tuple), number, payload, acts);
}

/* RFC 8656 s.11.2: whatever is wrong with it, a Send indication is dropped in silence. */
void turn_send_indication(struct turn *t, struct request *r)
{
    struct addr peer;
    struct span data;
    if (!r->a || r->a->relay != TRANSPORT_UDP || r->m->unknown_n || stun_get_bytes(r->m, AT_DATA, &data) ||
        stun_get_addr(r->m, AT_XOR_PEER_ADDRESS, &peer))
        return;
    peer = turn_peer_in(t, peer);
    struct port *p = alloc_port(r->a, peer.family);
    if (!p)
        return;
    turn_to_peer(t, r->a, p, port_permission(&t->table, p, &peer, t->now_ms), &peer, data,
                 stun_has(r->m, AT_DONT_FRAGMENT), r->acts);
}

/* ---- towards the client ---- */

static void channel_to_client(const struct alloc *a, const struct channel *c, struct span payload, struct acts *acts)
{
    size_t cap;
    uint8_t *head = acts_room(acts, &cap);
    if (cap < CHANNEL_HEADER)
        return;
    frame_channel_header(head, (uint16_t)c->key.number, payload.n);
    struct act *act = acts_add(acts, ACT_TO_CLIENT);
    act->flow = a->flow;
    act->head = acts_keep(acts, CHANNEL_HEADER);
    act->body = payload;
    if (transport_is_stream(a->tuple.transport))
        act->pad = (uint8_t)frame_channel_padding(payload.n);
}

static void indication_to_client(struct turn *t, const struct alloc *a, const struct port *p, const struct addr *from,
                                 struct span payload, const struct stun_icmp *icmp, struct acts *acts)
{
    uint8_t tid[STUN_TID];
    struct stun_wr w;
    struct addr peer = turn_peer_out(t, p, *from);
    stun_new_tid(&STUN_RFC, tid);
    turn_begin(acts, &w, STUN_DATA, STUN_INDICATION, tid);
    stun_put_addr(&w, AT_XOR_PEER_ADDRESS, &peer);
    if (icmp)
        stun_put_icmp(&w, icmp);
    else
        stun_put_bytes(&w, AT_DATA, payload);
    turn_send(acts, &w, &a->flow);
}

void turn_datagram_in(struct turn *t, struct port *p, const struct addr *from, struct span payload, struct acts *acts)
{
    struct alloc *a = alloc_of(p);
    const struct channel *c = channel_by_peer(&t->table, p, from, t->now_ms);
    const struct permission *x = c ? c->permission : port_permission(&t->table, p, from, t->now_ms);
    if (!x || x->expires_ms <= t->now_ms || !turn_may_talk(t, p, x, from) ||
        !payer_datagram(&a->payer, payload.n, t->now_ms)) {
        a->dropped++;
        return;
    }
    a->down_packets++;
    a->down_bytes += payload.n;
    if (c)
        channel_to_client(a, c, payload, acts);
    else
        indication_to_client(t, a, p, from, payload, NULL, acts);
}

/* Which ICMP errors are told: RFC 8656 s.11.5. */
static bool is_told(const struct addr *peer, uint8_t type)
{
    return peer->family == ADDR_V4 ? type == 3 || type == 11 : type >= 1 && type <= 3;
}

void turn_icmp_in(struct turn *t, struct port *p, const struct addr *peer, const struct stun_icmp *icmp,
                  struct acts *acts)
{
    if (!is_told(peer, icmp->type) || !turn_may_talk(t, p, port_permission(&t->table, p, peer, t->now_ms), peer))
        return;
    indication_to_client(t, alloc_of(p), p, peer, span_of(NULL, 0), icmp, acts);
}
