/* Allocate and Refresh: RFC 8656 s.7, s.8; RFC 6062 s.5.1. */
#include "core/turn_request.h"

enum {
    PROTOCOL_UDP = 17,
    PROTOCOL_TCP = 6,
    FAMILY_IPV4 = 1,
    FAMILY_IPV6 = 2,
    OPEN_TRIES = 32, /* ports in use by other programs before we give up */
};

/* What an Allocate asks for. */
struct plan {
    uint8_t relay;
    uint8_t families[PORTS];
    unsigned count;
    bool even, pair, has_token;
    bool additional; /* the second family is a wish (ADDITIONAL-ADDRESS-FAMILY) */
    uint64_t token;
};

static uint8_t family_of(uint8_t wire)
{
    return wire == FAMILY_IPV4 ? ADDR_V4 : wire == FAMILY_IPV6 ? ADDR_V6 : ADDR_NONE;
}

static int refuse(struct request *r, int code, const char *why)
{
    r->why = why;
    return code;
}

static int plan_transport(struct request *r, struct plan *p)
{
    uint8_t protocol;
    if (stun_get_u8(r->m, AT_REQUESTED_TRANSPORT, &protocol))
        return refuse(r, 400, "no REQUESTED-TRANSPORT");
    if (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP)
        return refuse(r, 442, "REQUESTED-TRANSPORT is neither UDP nor TCP");
    p->relay = protocol == PROTOCOL_TCP ? TRANSPORT_TCP : TRANSPORT_UDP;
    if (p->relay == TRANSPORT_UDP)
        return 0;
    if (!transport_is_stream(r->flow.tuple.transport))
        return refuse(r, 400, "RFC 6062 s.5.1: a TCP allocation needs a TCP or TLS connection");
    if (stun_has(r->m, AT_EVEN_PORT) || stun_has(r->m, AT_RESERVATION_TOKEN) || stun_has(r->m, AT_DONT_FRAGMENT))
        return refuse(r, 400, "RFC 6062 s.5.1: EVEN-PORT, RESERVATION-TOKEN and DONT-FRAGMENT are for UDP");
    return 0;
}

/* RFC 8656 s.7.2, points 5 to 9. */
static int plan_families(struct request *r, struct plan *p)
{
    uint8_t wanted = FAMILY_IPV4, more = 0, even = 0;
    bool has_wanted = stun_get_u8(r->m, AT_REQUESTED_ADDRESS_FAMILY, &wanted) == 0;
    bool has_more = stun_get_u8(r->m, AT_ADDITIONAL_ADDRESS_FAMILY, &more) == 0;
    p->even = stun_get_u8(r->m, AT_EVEN_PORT, &even) == 0;
    p->pair = even & 0x80;
    p->has_token = stun_get_u64(r->m, AT_RESERVATION_TOKEN, &p->token) == 0;
    if (p->has_token && (p->even || has_wanted || has_more))
        return refuse(r, 400, "RESERVATION-TOKEN stands with EVEN-PORT or an address family");
    if (has_wanted && has_more)
        return refuse(r, 400, "REQUESTED- and ADDITIONAL-ADDRESS-FAMILY together");
    if (has_more && more != FAMILY_IPV6)
        return refuse(r, 400, "ADDITIONAL-ADDRESS-FAMILY is not IPv6");
    if (has_more && p->pair)
        return refuse(r, 400, "ADDITIONAL-ADDRESS-FAMILY with a reservation by EVEN-PORT");
    if (!family_of(wanted))
        return refuse(r, 440, "unknown address family");
    p->families[p->count++] = family_of(wanted);
    if (has_more)
        p->families[p->count++] = ADDR_V6;
    p->additional = has_more;
    return 0;
}

/* Where to relay for this client: the address it reached, or the first configured one of the family. ADDR_NONE: we have
 * none. */
static struct addr relay_address(const struct turn *t, const struct request *r, uint8_t family)
{
    const struct turn_policy *p = t->policy;
    if (p->relay_where_reached && r->flow.tuple.server.family == family)
        return addr_without_port(&r->flow.tuple.server);
    for (size_t i = 0; i < p->relays_n; i++)
        if (p->relays[i].local.family == family)
            return p->relays[i].local;
    return (struct addr){0};
}

static uint32_t granted_lifetime(const struct turn *t, const struct request *r)
{
    uint32_t wanted;
    if (stun_get_u32(r->m, AT_LIFETIME, &wanted) || wanted < t->policy->lifetime_default_s)
        wanted = t->policy->lifetime_default_s;
    return wanted > t->policy->lifetime_max_s ? t->policy->lifetime_max_s : wanted;
}

/* ---- answers ---- */

static void put_success(struct request *r, const struct alloc *a)
{
    for (int i = 0; i < PORTS; i++)
        if (a->ports[i] && !a->ports[i]->is_ending)
            stun_put_addr(&r->w, AT_XOR_RELAYED_ADDRESS, &a->ports[i]->relayed);
    stun_put_u32(&r->w, AT_LIFETIME, a->lifetime_s);
    stun_put_addr(&r->w, AT_XOR_MAPPED_ADDRESS, &r->flow.tuple.client);
    if (a->token)
        stun_put_u64(&r->w, AT_RESERVATION_TOKEN, a->token);
    if (a->missing_family)
        stun_put_address_error(&r->w, a->missing_family == ADDR_V6 ? FAMILY_IPV6 : FAMILY_IPV4, a->missing_code);
}

void turn_log_made(struct turn *t, const struct request *r, const struct alloc *a)
{
    const struct port *first = a->ports[PORT_V4] ? a->ports[PORT_V4] : a->ports[PORT_V6];
    struct ev *e = acts_event(r->acts, EV_ALLOCATION_MADE, a->session);
    ev_text(e, EVF_USER, payer_user(&a->payer));
    ev_addr(e, EVF_CLIENT, &a->tuple.client);
    ev_addr(e, EVF_LOCAL, &a->tuple.server);
    ev_addr(e, EVF_RELAYED, &first->relayed);
    if (a->ports[PORT_V6] && a->ports[PORT_V6] != first)
        ev_addr(e, EVF_RELAYED2, &a->ports[PORT_V6]->relayed);
    ev_str(e, EVF_TRANSPORT, transport_name(a->tuple.transport));
    ev_str(e, EVF_RELAY, transport_name(a->relay));
    ev_u64(e, EVF_LIFETIME, a->lifetime_s);
    ev_u64(e, EVF_WORKER, t->table.worker);
}

/* ---- opening ports ---- */

static void ask_open(struct turn *t, struct request *r, struct port *p)
{
    p->relayed = turn_peer_named(t, p->local);
    struct act *act = acts_add(r->acts, ACT_OPEN_PORT);
    act->handle = port_handle(&t->table, p);
    act->addr = p->local;
    act->relay = p->relay;
}

/* Takes a number for the port of this family and asks for its socket. 0 or an error code. */
static int open_port(struct turn *t, struct turn_opening *o, uint8_t family)
{
    struct alloc *a = o->a;
    struct addr local = relay_address(t, &o->r, family);
    if (!o->reserved_range && !local.family)
        return refuse(&o->r, 440, "no relay address of this family");
    struct port_range *range =
        o->reserved_range ? o->reserved_range : port_ranges_of(t->shared->ranges, &local, a->relay);
    uint16_t number = !range ? 0 : o->reserved_range ? o->reserved_port : port_range_take(range, o->even, o->pair);
    if (!number)
        return refuse(&o->r, 508, range ? "no relay port is free (relay-ports)" : "out of memory");
    o->reserved_range = NULL;
    struct port *p = port_new(&t->table, a, a->relay);
    if (!p) {
        port_range_give(range, number);
        if (o->pair)
            port_range_give(range, (uint16_t)(number + 1));
        return refuse(&o->r, 508, "out of memory");
    }
    p->range = range;
    p->local = *port_range_ip(range);
    p->local.port = number;
    a->ports[p->local.family == ADDR_V4 ? PORT_V4 : PORT_V6] = p;
    ask_open(t, &o->r, p);
    return 0;
}

static void give_pair(struct turn_opening *o, struct port *p)
{
    if (o->pair && p->range)
        port_range_give(p->range, (uint16_t)(p->local.port + 1));
}

static void forget_port(struct turn *t, struct turn_opening *o, struct port *p)
{
    struct alloc *a = o->a;
    a->ports[p == a->ports[PORT_V4] ? PORT_V4 : PORT_V6] = NULL;
    give_pair(o, p);
    port_free(&t->table, p, o->r.acts);
}

/* No address at all: the code of the first family. */
static void opening_failed(struct turn *t, struct turn_opening *o, int code)
{
    struct alloc *a = o->a;
    o->a = NULL;
    alloc_discard(t, a, o->r.acts);
    o->finish(t, &o->r, NULL, code);
}

static void opening_done(struct turn *t, struct turn_opening *o)
{
    struct alloc *a = o->a;
    struct port *p = a->ports[PORT_V4] ? a->ports[PORT_V4] : a->ports[PORT_V6];
    if (o->pair) {
        a->token = port_ranges_reserve(t->shared->ranges, p->range, (uint16_t)(p->local.port + 1), t->now_ms);
        if (!a->token) {
            give_pair(o, p);
            o->r.why = "too many reserved ports";
            opening_failed(t, o, 508);
            return;
        }
    }
    o->a = NULL;
    acts_add(o->r.acts, ACT_TRUST_CLIENT)->flow = o->r.flow;
    o->finish(t, &o->r, a, 0);
}

static void family_missing(struct alloc *a, uint8_t family, int code)
{
    if (a->missing_family)
        return;
    a->missing_family = family;
    a->missing_code = (uint16_t)code;
}

/* Opens the next family. Of two, either may be missing: the answer says so (RFC 8656 s.7.2 point 9). */
static void open_next(struct turn *t, struct turn_opening *o)
{
    struct alloc *a = o->a;
    while (o->next < o->count) {
        uint8_t family = o->families[o->next++];
        int code = open_port(t, o, family);
        if (code == 0)
            return;
        family_missing(a, family, code);
    }
    if (a->ports[PORT_V4] || a->ports[PORT_V6])
        opening_done(t, o);
    else
        opening_failed(t, o, a->missing_code);
}

static void open_refused(struct turn *t, struct turn_opening *o, struct port *p, int err)
{
    bool is_fixed = o->r.m && stun_has(o->r.m, AT_RESERVATION_TOKEN);
    uint8_t family = p->local.family;
    forget_port(t, o, p);
    if (err == ERR_FULL && !is_fixed && ++o->tries < OPEN_TRIES) {
        int code = open_port(t, o, family);
        if (code == 0)
            return;
    }
    o->r.why = err == ERR_FULL ? "relay ports are in use by other programs" : "the system refused a relay socket";
    family_missing(o->a, family, 508);
    open_next(t, o);
}

void turn_port_opened(struct turn *t, uint64_t handle, int err, void *link, struct acts *acts)
{
    struct turn_opening *o = t->opening;
    struct port *p = port_get(&t->table, handle);
    must(p && o->a && p->owner == o->a);
    if (err) {
        open_refused(t, o, p, err);
        return;
    }
    port_open(p, link);
    open_next(t, o);
}

static int redeem(struct turn *t, struct request *r, struct turn_opening *o)
{
    if (!o->has_token)
        return 0;
    if (port_ranges_redeem(t->shared->ranges, o->token, t->now_ms, &o->reserved_range, &o->reserved_port))
        return refuse(r, 508, "unknown or expired RESERVATION-TOKEN");
    return 0;
}

int turn_open(struct turn *t, struct request *r, const struct alloc_dialect *dialect, uint8_t relay)
{
    struct turn_opening *o = t->opening;
    struct alloc *a;
    int code = alloc_new(t, &r->flow, &r->cred, dialect, relay, &a, &r->why);
    if (code)
        return code;
    memcpy(a->tid, stun_tid(r->m), STUN_TID);
    code = redeem(t, r, o);
    if (code) {
        alloc_discard(t, a, r->acts);
        return code;
    }
    o->a = a;
    o->r = *r;
    open_next(t, o);
    return TURN_LATER;
}

/* ---- the requests ---- */

static void finish_allocate(struct turn *t, struct request *r, struct alloc *a, int code)
{
    if (!code) {
        alloc_set_lifetime(t, a, ADDR_NONE, granted_lifetime(t, r));
        put_success(r, a);
        turn_log_made(t, r, a);
    }
    turn_answer(t, r, code);
}

static bool is_retransmission(const struct request *r)
{
    return memcmp(r->a->tid, stun_tid(r->m), STUN_TID) == 0 && alloc_is_owner(r->a, &r->cred);
}

int turn_allocate(struct turn *t, struct request *r)
{
    struct plan plan = {0};
    if (r->a && is_retransmission(r)) {
        put_success(r, r->a);
        return 0;
    }
    if (r->a)
        return refuse(r, 437, "this 5-tuple has an allocation");
    int code = plan_transport(r, &plan);
    if (!code)
        code = plan_families(r, &plan);
    if (code)
        return code;
    if (t->is_draining)
        return refuse(r, 508, "draining: the server is about to stop");
    struct turn_opening *o = t->opening;
    *o = (struct turn_opening){.finish = finish_allocate,
                               .count = plan.count,
                               .even = plan.even,
                               .pair = plan.pair,
                               .has_token = plan.has_token,
                               .token = plan.token};
    memcpy(o->families, plan.families, sizeof o->families);
    return turn_open(t, r, &ALLOC_RFC, plan.relay);
}

void turn_log_refreshed(const struct request *r, uint32_t lifetime_s)
{
    struct ev *e = acts_event(r->acts, EV_ALLOCATION_REFRESHED, r->a->session);
    ev_text(e, EVF_USER, payer_user(&r->a->payer));
    ev_addr(e, EVF_CLIENT, &r->a->tuple.client);
    ev_u64(e, EVF_LIFETIME, lifetime_s);
}

int turn_refresh(struct turn *t, struct request *r)
{
    uint8_t wire, family = ADDR_NONE;
    uint32_t wanted;
    if (stun_get_u8(r->m, AT_REQUESTED_ADDRESS_FAMILY, &wire) == 0) {
        family = family_of(wire);
        if (!alloc_port(r->a, family))
            return refuse(r, 443, "the allocation has no address of this family");
    }
    bool ends = stun_get_u32(r->m, AT_LIFETIME, &wanted) == 0 && wanted == 0;
    uint32_t lifetime = ends ? 0 : granted_lifetime(t, r);
    stun_put_u32(&r->w, AT_LIFETIME, lifetime);
    turn_log_refreshed(r, lifetime);
    if (!ends)
        alloc_set_lifetime(t, r->a, family, lifetime);
    else if (family)
        alloc_end_port(t, r->a, family == ADDR_V4 ? PORT_V4 : PORT_V6, "released by the client", r->acts);
    else
        alloc_end(t, r->a, "released by the client", r->acts);
    if (ends)
        r->a = NULL;
    return 0;
}
