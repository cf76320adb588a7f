#include "core/turn.h"

#include <stdlib.h>

#include "core/msturn.h"
#include "core/turn_request.h"

struct turn *turn_new(struct turn_shared *shared, const struct turn_policy *policy, unsigned worker, unsigned workers)
{
    must(worker < workers && workers <= 256);
    struct turn *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->shared = shared;
    t->policy = policy;
    t->workers = workers;
    list_init(&t->all);
    pool_init(&t->alloc_pool, sizeof(struct alloc));
    pool_init(&t->ms_pool, sizeof(struct ms_alloc));
    t->opening = calloc(1, sizeof *t->opening);
    if (!t->opening || port_table_init(&t->table, (uint8_t)worker) ||
        map_init(&t->allocs, MAP_KEY_OFFSET(struct alloc, by_tuple, tuple), sizeof(struct tuple))) {
        turn_free(t);
        return NULL;
    }
    return t;
}

void turn_free(struct turn *t)
{
    if (!t)
        return;
    for (struct list *l = t->all.next; l != &t->all; l = l->next)
        payer_release(&container_of(l, struct alloc, link)->payer);
    if (t->allocs.buckets)
        map_fini(&t->allocs);
    pool_fini(&t->alloc_pool);
    pool_fini(&t->ms_pool);
    port_table_fini(&t->table);
    free(t->opening);
    free(t);
}

void turn_clock(struct turn *t, uint64_t now_ms, uint64_t wall_s)
{
    t->now_ms = now_ms;
    t->wall_s = wall_s;
}

uint64_t turn_deadline(const struct turn *t)
{
    return heap_deadline(&t->table.deadlines);
}

size_t turn_count(const struct turn *t)
{
    return t->count;
}

void turn_drain(struct turn *t)
{
    t->is_draining = true;
}

/* ---- answers ---- */

void turn_begin(struct acts *acts, struct stun_wr *w, enum stun_method method, enum stun_class cls,
                const uint8_t tid[STUN_TID])
{
    size_t cap;
    uint8_t *room = acts_room(acts, &cap);
    stun_begin(w, &STUN_RFC, room, cap, method, cls, tid);
}

void turn_send(struct acts *acts, struct stun_wr *w, const struct flow *flow)
{
    struct span message = stun_end(w);
    if (message.n == 0)
        return; /* the arena is full: as if the network had lost it */
    struct act *act = acts_add(acts, ACT_TO_CLIENT);
    act->flow = *flow;
    act->head = acts_keep(acts, message.n);
}

/* What a datagram's sender, whose address is not proven, may cost us and others (checklist S27-S29). Wrong passwords
 * count on every transport (S26). */
bool turn_may_answer(struct turn *t, const struct request *r, int code, size_t size)
{
    bool is_stranger = !r->is_authenticated && !r->a && r->flow.tuple.transport == TRANSPORT_UDP;
    bool is_guess = (code == 401 || code == 431 || code == 436) &&
                    (stun_has(r->m, AT_MESSAGE_INTEGRITY) || stun_has(r->m, AT_MESSAGE_INTEGRITY_SHA256));
    if (!is_stranger && !is_guess)
        return true;
    return limiter_may_answer(t->shared->limiter, &r->flow.tuple.client, size, t->now_ms);
}

static void finish(struct turn *t, struct request *r, int code)
{
    if (r->is_authenticated && code != 401 && code != 438)
        stun_put_integrity(&r->w, r->cred.rule, &r->cred.key, false);
    if (stun_has(r->m, AT_FINGERPRINT))
        stun_put_fingerprint(&r->w);
    if (turn_may_answer(t, r, code, wr_len(&r->w.w)))
        turn_send(r->acts, &r->w, &r->flow);
}

/* A challenge is no refusal: every client gets one. */
static bool is_challenge(const struct request *r, int code)
{
    return code == 438 ||
           (code == 401 && !stun_has(r->m, AT_MESSAGE_INTEGRITY) && !stun_has(r->m, AT_MESSAGE_INTEGRITY_SHA256));
}

void turn_log_refusal(struct request *r, int code)
{
    if (r->is_logged)
        return;
    bool challenge = is_challenge(r, code), allocate = r->m->method == STUN_ALLOCATE && r->is_authenticated;
    if (r->m->method == STUN_CONNECTION_BIND && !challenge) {
        turn_log_bind_failed(r, NULL, code);
        return;
    }
    struct ev *e = acts_event(r->acts,
                              challenge  ? EV_CHALLENGED
                              : allocate ? EV_ALLOCATION_REFUSED
                                         : EV_MESSAGE_REFUSED,
                              r->a ? r->a->session : 0);
    if (!challenge)
        ev_text(e, EVF_USER, span_of(r->cred.user, r->cred.user_n));
    ev_addr(e, EVF_CLIENT, &r->flow.tuple.client);
    ev_str(e, EVF_TRANSPORT, transport_name(r->flow.tuple.transport));
    if (!allocate)
        ev_str(e, EVF_METHOD, stun_method_name(r->m->method));
    ev_u64(e, EVF_CODE, (uint64_t)code);
    ev_str(e, EVF_RULE, r->why ? r->why : stun_reason(code));
}

void turn_answer(struct turn *t, struct request *r, int code)
{
    if (code == 0) {
        finish(t, r, 0);
        return;
    }
    turn_log_refusal(r, code);
    turn_begin(r->acts, &r->w, r->m->method, STUN_ERROR, stun_tid(r->m));
    stun_put_error(&r->w, code, r->is_authenticated ? NULL : ""); /* strangers get the smallest answer (S27) */
    if (code == 401 || code == 438)
        cred_challenge(t->policy->creds, &t->shared->nonces, &r->flow.tuple.client, t->now_ms, &r->w);
    if (code == 420)
        stun_put_unknown(&r->w, r->m);
    finish(t, r, code);
}

/* ---- dispatch ---- */

static int binding(struct turn *t, struct request *r)
{
    stun_put_addr(&r->w, AT_XOR_MAPPED_ADDRESS, &r->flow.tuple.client);
    return 0;
}

struct method_row {
    int (*handle)(struct turn *t, struct request *r);
    bool needs_credentials, needs_allocation;
};

static const struct method_row rows[STUN_METHOD_COUNT] = {
    [STUN_BINDING] = {binding, false, false},
    [STUN_ALLOCATE] = {turn_allocate, true, false},
    [STUN_REFRESH] = {turn_refresh, true, true},
    [STUN_CREATE_PERMISSION] = {turn_create_permission, true, true},
    [STUN_CHANNEL_BIND] = {turn_channel_bind, true, true},
    [STUN_CONNECT] = {turn_connect, true, true},
    [STUN_CONNECTION_BIND] = {turn_connection_bind, true, false},
};

/* Credentials, unknown attributes, allocation and its owner, in the order of RFC 8489 s.6.3, s.9.2.4 and RFC 8656 s.5.
 */
static int check(struct turn *t, struct request *r, const struct method_row *row)
{
    if (row->needs_credentials) {
        int code = cred_judge(t->policy->creds, &t->shared->nonces, &r->flow.tuple.client, t->now_ms, t->wall_s, r->m,
                              &r->cred, &r->why);
        if (code)
            return code;
        r->is_authenticated = true;
    }
    if (r->m->unknown_n)
        return 420;
    if (row->needs_allocation && !r->a)
        return 437;
    if (row->needs_allocation && !alloc_is_owner(r->a, &r->cred))
        return 441;
    if (row->needs_allocation) {
        r->a->key = r->cred.key;
        r->a->rule = (uint8_t)r->cred.rule;
    }
    return 0;
}

/* A ConnectionBind for a peer connection of another worker goes there unread; the acceptor judges nothing (design: the
 * owner judges). */
static bool is_handed(struct turn *t, struct request *r)
{
    uint32_t id;
    if (r->m->method != STUN_CONNECTION_BIND || stun_get_u32(r->m, AT_CONNECTION_ID, &id))
        return false;
    unsigned worker = peer_worker(id);
    if (worker == t->table.worker || worker >= t->workers || !transport_is_stream(r->flow.tuple.transport) || r->a)
        return false;
    struct act *act = acts_add(r->acts, ACT_HAND);
    act->flow = r->flow;
    act->worker = (uint16_t)worker;
    struct ev *e = acts_event(r->acts, EV_BIND_HANDED, 0);
    ev_addr(e, EVF_CLIENT, &r->flow.tuple.client);
    ev_u64(e, EVF_CONNECTION, id);
    ev_u64(e, EVF_WORKER, worker);
    return true;
}

static void request(struct turn *t, struct request *r, int parse_err)
{
    const struct method_row *row = &rows[r->m->method];
    if (!row->handle)
        return; /* RFC 8489 s.6.3: a method we do not serve is discarded */
    turn_begin(r->acts, &r->w, r->m->method, STUN_SUCCESS, stun_tid(r->m));
    if (parse_err) {
        r->why = "malformed attribute";
        turn_answer(t, r, 400);
        return;
    }
    if (is_handed(t, r))
        return;
    int code = check(t, r, row);
    if (code == 0)
        code = row->handle(t, r);
    if (code != TURN_LATER)
        turn_answer(t, r, code);
}

int turn_message(struct turn *t, const struct flow *flow, struct span message, struct acts *acts)
{
    t->msg.raw.n = 0;
    if (t->policy->is_ms_only)
        return ERR_BAD;
    int err = stun_parse(&STUN_RFC, message, &t->msg);
    if (err && t->msg.raw.n == 0)
        return ERR_BAD;
    if (!err && stun_verify_fingerprint(&t->msg) == ERR_DENIED)
        return ERR_BAD;
    struct request r = {.flow = *flow, .m = &t->msg, .acts = acts, .a = alloc_find(t, &flow->tuple)};
    if (t->msg.cls == STUN_REQUEST)
        request(t, &r, err);
    else if (t->msg.cls == STUN_INDICATION && t->msg.method == STUN_SEND && !err)
        turn_send_indication(t, &r);
    return 0; /* responses are never answered (S31) */
}

bool turn_has_allocation(const struct turn *t, const struct flow *flow)
{
    return alloc_find(t, &flow->tuple) != NULL;
}

void turn_client_closed(struct turn *t, const struct flow *flow, struct acts *acts)
{
    struct alloc *a = alloc_find(t, &flow->tuple);
    if (a)
        alloc_end(t, a, "control connection closed", acts);
}

/* ---- what peers do: told in the dialect of the allocation ---- */

static void no_more_to_say(struct turn *t, struct peer *x, struct acts *acts)
{
}

const struct alloc_dialect ALLOC_RFC = {
    .datagram = turn_datagram_in,
    .icmp = turn_icmp_in,
    .accepted = turn_accepted,
    .peer_connected = turn_connected,
    .dial_failed = turn_answer_connect,
    .dropping = no_more_to_say,
    .waits_for = "RFC 6062 s.5.3: bound within 30 s",
};

void turn_peer_datagram(struct turn *t, uint64_t port, const struct addr *from, struct span payload, struct acts *acts)
{
    struct port *p = port_get(&t->table, port);
    if (p && !p->is_ending)
        alloc_of(p)->dialect->datagram(t, p, from, payload, acts);
}

void turn_peer_icmp(struct turn *t, uint64_t port, const struct addr *peer, const struct stun_icmp *icmp,
                    struct acts *acts)
{
    struct port *p = port_get(&t->table, port);
    if (p && !p->is_ending)
        alloc_of(p)->dialect->icmp(t, p, peer, icmp, acts);
}

uint64_t turn_peer_accepted(struct turn *t, uint64_t port, const struct addr *from, void *link, struct acts *acts)
{
    struct port *p = port_get(&t->table, port);
    struct peer *x = p && !p->is_ending ? alloc_of(p)->dialect->accepted(t, p, from, link, acts) : NULL;
    return x ? peer_handle(&t->table, x) : 0;
}

/* ---- time and policy ---- */

static void expire_alloc(struct turn *t, struct alloc *a, struct acts *acts)
{
    for (int i = 0; i < PORTS; i++)
        if (a->ports[i] && !a->ports[i]->is_ending && a->ports[i]->expires_ms <= t->now_ms) {
            bool was_last = !a->ports[!i] || a->ports[!i]->is_ending;
            alloc_end_port(t, a, i, "lifetime expired", acts);
            if (was_last)
                return;
        }
}

static void expire_peer(struct turn *t, struct peer *x, struct acts *acts)
{
    if (x->state == PEER_DIALING) {
        turn_dialed(t, peer_handle(&t->table, x), ERR_CLOSED, "no answer within 30 s", x->link, acts);
        return;
    }
    struct alloc *a = alloc_of(x->port);
    struct ev *e = acts_event(acts, EV_PEER_UNBOUND, a->session);
    ev_text(e, EVF_USER, payer_user(&a->payer));
    ev_addr(e, EVF_PEER, &x->key.addr);
    ev_addr(e, EVF_RELAYED, &x->port->relayed);
    ev_u64(e, EVF_CONNECTION, x->id);
    ev_str(e, EVF_RULE, a->dialect->waits_for);
    ev_u64(e, EVF_DURATION, t->now_ms - x->since_ms);
    alloc_drop_peer(t, x, true, acts);
}

static void expire(struct turn *t, struct deadline *d, struct acts *acts)
{
    switch ((enum deadline_kind)d->kind) {
    case DEADLINE_ALLOC: expire_alloc(t, container_of(d, struct alloc, deadline), acts); break;
    case DEADLINE_PERMISSION: permission_expire(&t->table, container_of(d, struct permission, deadline)); break;
    case DEADLINE_CHANNEL: channel_free(&t->table, container_of(d, struct channel, deadline)); break;
    case DEADLINE_PEER: expire_peer(t, container_of(d, struct peer, deadline), acts); break;
    }
}

bool turn_tick(struct turn *t, struct acts *acts)
{
    while (turn_deadline(t) <= t->now_ms) {
        if (!acts_has_room(acts))
            return true;
        expire(t, container_of(heap_first(&t->table.deadlines), struct deadline, node), acts);
    }
    return false;
}

bool turn_end_all(struct turn *t, const char *reason, struct acts *acts)
{
    for (struct list *l = t->all.next, *next; l != &t->all; l = next) {
        next = l->next;
        if (!acts_has_room(acts))
            return true;
        alloc_end(t, container_of(l, struct alloc, link), reason, acts);
    }
    return false;
}

void turn_set_policy(struct turn *t, const struct turn_policy *policy)
{
    t->policy = policy;
    t->revoking = t->all.next;
}

static void log_revoked(struct alloc *a, const struct addr *peer, const char *rule, struct acts *acts)
{
    struct ev *e = acts_event(acts, EV_PERMISSION_REVOKED, a->session);
    ev_text(e, EVF_USER, payer_user(&a->payer));
    ev_addr(e, EVF_CLIENT, &a->tuple.client);
    ev_addr(e, EVF_PEER, peer);
    ev_str(e, EVF_RULE, rule);
}

/* Do the rules of now forbid this peer? Behind 1:1 NAT both of our notations count. */
static bool is_forbidden(const struct turn *t, const struct addr *peer, bool *relay_only, const char **rule)
{
    struct addr named = turn_peer_named(t, *peer);
    enum peer_verdict verdict = peer_rules_judge(t->policy->rules, peer, rule);
    if (verdict != PEER_DENIED && !addr_is_equal(&named, peer))
        verdict = peer_rules_judge(t->policy->rules, &named, rule);
    *relay_only = verdict != PEER_ALLOWED;
    return verdict == PEER_DENIED;
}

static void revoke_permissions(struct turn *t, struct port *p, struct acts *acts)
{
    const char *rule;
    for (struct list *l = p->permissions.next, *next; l != &p->permissions; l = next) {
        next = l->next;
        struct permission *x = container_of(l, struct permission, link);
        if (!is_forbidden(t, &x->key.addr, &x->relay_only, &rule))
            continue;
        log_revoked(alloc_of(p), &x->key.addr, rule, acts);
        permission_free(&t->table, x);
    }
}

static void revoke_peers(struct turn *t, struct port *p, struct acts *acts)
{
    const char *rule;
    bool relay_only;
    for (struct list *l = p->peers.next, *next; l != &p->peers; l = next) {
        next = l->next;
        struct peer *x = container_of(l, struct peer, link_in_port);
        bool denied = is_forbidden(t, &x->key.addr, &relay_only, &rule);
        if (x->is_stopping || !(denied || (relay_only && !port_ranges_has(t->shared->ranges, &x->key.addr, p->relay))))
            continue;
        log_revoked(alloc_of(p), &x->key.addr, rule, acts);
        if (x->state == PEER_DIALING)
            alloc_of(p)->dialect->dial_failed(x, 403, acts);
        alloc_end_peer(t, x, true, acts);
    }
}

bool turn_revoke(struct turn *t, struct acts *acts)
{
    if (!t->revoking)
        return false;
    while (t->revoking != &t->all) {
        if (!acts_has_room(acts))
            return true;
        struct alloc *a = container_of(t->revoking, struct alloc, link);
        t->revoking = t->revoking->next;
        for (int i = 0; i < PORTS; i++)
            if (a->ports[i] && !a->ports[i]->is_ending) {
                revoke_permissions(t, a->ports[i], acts);
                revoke_peers(t, a->ports[i], acts);
            }
    }
    t->revoking = NULL;
    return false;
}
