#include "core/alloc.h"

#include "base/rand.h"

struct alloc *alloc_find(const struct turn *t, const struct tuple *tuple)
{
    struct map_node *n = map_get(&t->allocs, tuple);
    return n ? container_of(n, struct alloc, by_tuple) : NULL;
}

struct port *alloc_port(const struct alloc *a, uint8_t family)
{
    struct port *p = family == ADDR_V4 ? a->ports[PORT_V4] : family == ADDR_V6 ? a->ports[PORT_V6] : NULL;
    return p && !p->is_ending ? p : NULL;
}

static void owner_of(const struct cred *cred, uint8_t out[SHA256_SIZE])
{
    struct span name = span_of(cred->user, cred->user_n);
    must(digest_sha256(&name, 1, out) == 0);
}

bool alloc_is_owner(const struct alloc *a, const struct cred *cred)
{
    uint8_t owner[SHA256_SIZE];
    owner_of(cred, owner);
    return memcmp(owner, a->owner, sizeof owner) == 0;
}

/* Into the heap and the books, or nowhere: 0, 486 (a quota) or 508 (memory). */
static int alloc_register(struct turn *t, struct alloc *a, const struct cred *cred, const char **limit)
{
    *limit = "out of memory";
    if (payer_hold(&a->payer, t->shared->limiter, cred_account(cred), &a->tuple.client))
        return 508;
    a->deadline.kind = DEADLINE_ALLOC;
    int code = heap_set(&t->table.deadlines, &a->deadline.node, HEAP_NEVER) ? 508 : 0;
    if (!code && (*limit = payer_take(&a->payer, LIMIT_ALLOCATIONS)))
        code = 486;
    if (code) {
        heap_del(&t->table.deadlines, &a->deadline.node);
        payer_release(&a->payer);
    }
    return code;
}

int alloc_new(struct turn *t, const struct flow *flow, const struct cred *cred, const struct alloc_dialect *dialect,
              uint8_t relay, struct alloc **out, const char **limit)
{
    struct alloc *a = pool_new(&t->alloc_pool);
    if (!a)
        return *limit = "out of memory", 508;
    a->tuple = flow->tuple;
    int code = alloc_register(t, a, cred, limit);
    if (code) {
        pool_free(&t->alloc_pool, a);
        return code;
    }
    a->flow = *flow;
    a->dialect = dialect;
    a->id = (uint32_t)pool_handle(&t->alloc_pool, a);
    a->session = rand_u64() | 1;
    a->since_ms = t->now_ms;
    a->relay = relay;
    owner_of(cred, a->owner);
    a->key = cred->key;
    a->rule = (uint8_t)cred->rule;
    map_put(&t->allocs, &a->by_tuple);
    list_add_tail(&t->all, &a->link);
    t->count++;
    *out = a;
    return 0;
}

static void set_deadline(struct turn *t, struct alloc *a)
{
    uint64_t at = HEAP_NEVER;
    for (int i = 0; i < PORTS; i++)
        if (a->ports[i] && !a->ports[i]->is_ending && a->ports[i]->expires_ms < at)
            at = a->ports[i]->expires_ms;
    must(heap_set(&t->table.deadlines, &a->deadline.node, at) == 0); /* it is in the heap: no memory needed */
}

void alloc_set_lifetime(struct turn *t, struct alloc *a, uint8_t family, uint32_t lifetime_s)
{
    for (int i = 0; i < PORTS; i++)
        if (a->ports[i] && (family == ADDR_NONE || a->ports[i] == alloc_port(a, family)))
            a->ports[i]->expires_ms = t->now_ms + (uint64_t)lifetime_s * 1000;
    a->lifetime_s = lifetime_s;
    set_deadline(t, a);
}

static void detach(struct turn *t, struct alloc *a)
{
    if (a->is_ending)
        return;
    a->is_ending = true;
    map_del(&t->allocs, &a->by_tuple);
    heap_del(&t->table.deadlines, &a->deadline.node);
}

static void release(struct turn *t, struct alloc *a)
{
    if (t->revoking == &a->link)
        t->revoking = a->link.next;
    list_del(&a->link);
    payer_give(&a->payer, LIMIT_ALLOCATIONS);
    payer_release(&a->payer);
    digest_wipe(&a->key, sizeof a->key);
    pool_free(&t->ms_pool, a->ms);
    pool_free(&t->alloc_pool, a);
    t->count--;
}

void alloc_discard(struct turn *t, struct alloc *a, struct acts *acts)
{
    detach(t, a);
    for (int i = 0; i < PORTS; i++)
        if (a->ports[i])
            port_free(&t->table, a->ports[i], acts);
    release(t, a);
}

void alloc_drop_peer(struct turn *t, struct peer *x, bool abort, struct acts *acts)
{
    alloc_of(x->port)->dialect->dropping(t, x, acts);
    struct act *act = acts_add(acts, ACT_DROP_PEER);
    act->link = x->link;
    act->handle = peer_handle(&t->table, x);
    act->abort = abort;
    peer_free(&t->table, x);
}

void alloc_end_peer(struct turn *t, struct peer *x, bool abort, struct acts *acts)
{
    if (x->state != PEER_BOUND) {
        alloc_drop_peer(t, x, abort, acts);
        return;
    }
    if (!x->is_stopping)
        acts_add(acts, ACT_STOP_PAIR)->link = x->link;
    x->is_stopping = true;
}

static void stop_peers(struct turn *t, struct port *p, struct acts *acts)
{
    for (struct list *l = p->peers.next, *next; l != &p->peers; l = next) {
        next = l->next;
        alloc_end_peer(t, container_of(l, struct peer, link_in_port), false, acts);
    }
}

static void log_end(struct turn *t, struct alloc *a, struct acts *acts, const struct addr *relayed)
{
    struct ev *e = acts_event(acts, EV_ALLOCATION_ENDED, a->session);
    ev_text(e, EVF_USER, payer_user(&a->payer));
    ev_addr(e, EVF_CLIENT, &a->tuple.client);
    ev_addr(e, EVF_RELAYED, relayed);
    ev_str(e, EVF_TRANSPORT, transport_name(a->tuple.transport));
    ev_str(e, EVF_RELAY, transport_name(a->relay));
    ev_str(e, EVF_REASON, a->why_ended);
    ev_u64(e, EVF_DURATION, t->now_ms - a->since_ms);
    ev_u64(e, EVF_BYTES_UP, a->up_bytes);
    ev_u64(e, EVF_BYTES_DOWN, a->down_bytes);
    ev_u64(e, EVF_PACKETS_UP, a->up_packets);
    ev_u64(e, EVF_PACKETS_DOWN, a->down_packets);
    ev_u64(e, EVF_DROPPED, a->dropped);
}

void alloc_settle(struct turn *t, struct alloc *a, struct acts *acts)
{
    struct addr relayed = {0};
    bool is_empty = true;
    for (int i = 0; i < PORTS; i++) {
        struct port *p = a->ports[i];
        if (!p)
            continue;
        if (!relayed.family)
            relayed = p->relayed;
        if (p->is_ending && list_is_empty(&p->peers)) {
            port_free(&t->table, p, acts);
            a->ports[i] = NULL;
        } else {
            is_empty = false;
        }
    }
    if (!is_empty)
        return;
    log_end(t, a, acts, &relayed);
    detach(t, a);
    release(t, a);
}

static void end_port(struct turn *t, struct port *p, struct acts *acts)
{
    if (!p || p->is_ending)
        return;
    p->is_ending = true;
    port_close(p, acts);
    stop_peers(t, p, acts);
}

void alloc_end(struct turn *t, struct alloc *a, const char *reason, struct acts *acts)
{
    if (a->is_ending)
        return;
    a->why_ended = reason;
    detach(t, a);
    for (int i = 0; i < PORTS; i++)
        end_port(t, a->ports[i], acts);
    alloc_settle(t, a, acts);
}

void alloc_end_port(struct turn *t, struct alloc *a, int which, const char *reason, struct acts *acts)
{
    struct port *other = a->ports[!which];
    if (!other || other->is_ending) {
        alloc_end(t, a, reason, acts);
        return;
    }
    end_port(t, a->ports[which], acts);
    alloc_settle(t, a, acts);
    set_deadline(t, a);
}
