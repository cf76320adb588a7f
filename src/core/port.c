#include "core/port.h"

#include "base/rand.h"

int port_table_init(struct port_table *t, uint8_t worker)
{
    memset(t, 0, sizeof *t);
    t->worker = worker;
    heap_init(&t->deadlines);
    pool_init(&t->ports, sizeof(struct port));
    pool_init(&t->permission_pool, sizeof(struct permission));
    pool_init(&t->channel_pool, sizeof(struct channel));
    pool_init(&t->peer_pool, sizeof(struct peer));
    if (map_init(&t->permissions, MAP_KEY_OFFSET(struct permission, node, key), sizeof(struct port_addr_key)) ||
        map_init(&t->channels, MAP_KEY_OFFSET(struct channel, by_number, key), sizeof(struct channel_key)) ||
        map_init(&t->channel_peers, MAP_KEY_OFFSET(struct channel, by_peer, peer), sizeof(struct port_addr_key)) ||
        map_init(&t->peers, MAP_KEY_OFFSET(struct peer, by_id, id), sizeof(uint32_t)) ||
        map_init(&t->peer_addrs, MAP_KEY_OFFSET(struct peer, by_addr, key), sizeof(struct port_addr_key)))
        return ERR_NOMEM;
    return 0;
}

void port_table_fini(struct port_table *t)
{
    struct map *maps[] = {&t->permissions, &t->channels, &t->channel_peers, &t->peers, &t->peer_addrs};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (maps[i]->buckets)
            map_fini(maps[i]);
    pool_fini(&t->ports);
    pool_fini(&t->permission_pool);
    pool_fini(&t->channel_pool);
    pool_fini(&t->peer_pool);
    heap_fini(&t->deadlines);
}

static struct port_addr_key key_of(const struct port *p, const struct addr *a)
{
    return (struct port_addr_key){p->id, *a};
}

/* ---- ports ---- */

struct port *port_new(struct port_table *t, void *owner, uint8_t relay)
{
    struct port *p = pool_new(&t->ports);
    if (!p)
        return NULL;
    p->id = (uint32_t)pool_handle(&t->ports, p);
    p->owner = owner;
    p->relay = relay;
    list_init(&p->permissions);
    list_init(&p->channels);
    list_init(&p->peers);
    return p;
}

uint64_t port_handle(const struct port_table *t, const struct port *p)
{
    return pool_handle(&t->ports, p);
}

struct port *port_get(const struct port_table *t, uint64_t handle)
{
    return pool_get(&t->ports, handle);
}

void port_open(struct port *p, void *link)
{
    p->is_open = true;
    p->link = link;
    port_range_set_live(p->range, p->local.port, true);
}

void port_close(struct port *p, struct acts *acts)
{
    if (!p->is_open)
        return;
    p->is_open = false;
    port_range_set_live(p->range, p->local.port, false);
    struct act *act = acts_add(acts, ACT_CLOSE_PORT);
    act->link = p->link;
    act->relay = p->relay;
}

void port_free(struct port_table *t, struct port *p, struct acts *acts)
{
    must(list_is_empty(&p->peers));
    while (!list_is_empty(&p->channels))
        channel_free(t, container_of(p->channels.next, struct channel, link));
    while (!list_is_empty(&p->permissions))
        permission_free(t, container_of(p->permissions.next, struct permission, link));
    port_close(p, acts);
    if (p->range)
        port_range_give(p->range, p->local.port);
    pool_free(&t->ports, p);
}

/* ---- permissions ---- */

struct permission *permission_find(const struct port_table *t, const struct port *p, const struct addr *ip)
{
    struct addr bare = addr_without_port(ip);
    struct port_addr_key key = key_of(p, &bare);
    struct map_node *n = map_get(&t->permissions, &key);
    return n ? container_of(n, struct permission, node) : NULL;
}

static struct permission *permission_new(struct port_table *t, struct port *p, const struct addr *ip)
{
    struct permission *x = pool_new(&t->permission_pool);
    if (!x)
        return NULL;
    struct addr bare = addr_without_port(ip);
    x->key = key_of(p, &bare);
    x->port = p;
    x->deadline.kind = DEADLINE_PERMISSION;
    if (heap_set(&t->deadlines, &x->deadline.node, HEAP_NEVER)) {
        pool_free(&t->permission_pool, x);
        return NULL;
    }
    map_put(&t->permissions, &x->node);
    list_add_tail(&p->permissions, &x->link);
    p->permissions_n++;
    return x;
}

int port_permit(struct port_table *t, struct port *p, const struct addr *ip, bool relay_only, uint64_t expires_ms)
{
    struct permission *x = permission_find(t, p, ip);
    if (!x)
        x = permission_new(t, p, ip);
    if (!x)
        return ERR_NOMEM;
    x->relay_only = relay_only;
    x->expires_ms = expires_ms;
    return heap_set(&t->deadlines, &x->deadline.node, x->expires_ms);
}

struct permission *port_permission(const struct port_table *t, const struct port *p, const struct addr *peer,
                                   uint64_t now_ms)
{
    struct permission *x = permission_find(t, p, peer);
    return x && x->expires_ms > now_ms ? x : NULL;
}

void permission_expire(struct port_table *t, struct permission *x)
{
    if (x->channels_n) /* look again later; moving a node that is in the heap needs no memory */
        must(heap_set(&t->deadlines, &x->deadline.node, x->deadline.node.at_ms + PERMISSION_MS) == 0);
    else
        permission_free(t, x);
}

void permission_free(struct port_table *t, struct permission *x)
{
    for (struct list *l = x->port->channels.next, *next; x->channels_n && l != &x->port->channels; l = next) {
        next = l->next;
        struct channel *c = container_of(l, struct channel, link);
        if (c->permission == x)
            channel_free(t, c);
    }
    x->port->permissions_n--;
    list_del(&x->link);
    map_del(&t->permissions, &x->node);
    heap_del(&t->deadlines, &x->deadline.node);
    pool_free(&t->permission_pool, x);
}

/* ---- channels ---- */

static struct channel *alive(struct channel *c, uint64_t now_ms)
{
    return c && c->expires_ms > now_ms ? c : NULL;
}

struct channel *channel_by_number(const struct port_table *t, uint32_t owner, uint16_t number, uint64_t now_ms)
{
    struct channel_key key = {owner, number};
    struct map_node *n = map_get(&t->channels, &key);
    return alive(n ? container_of(n, struct channel, by_number) : NULL, now_ms);
}

struct channel *channel_by_peer(const struct port_table *t, const struct port *p, const struct addr *peer,
                                uint64_t now_ms)
{
    struct port_addr_key key = key_of(p, peer);
    struct map_node *n = map_get(&t->channel_peers, &key);
    return alive(n ? container_of(n, struct channel, by_peer) : NULL, now_ms);
}

bool channel_conflicts(const struct port_table *t, const struct port *p, uint32_t owner, uint16_t number,
                       const struct addr *peer, uint64_t now_ms)
{
    return channel_by_number(t, owner, number, now_ms) != channel_by_peer(t, p, peer, now_ms);
}

static struct channel *channel_new(struct port_table *t, struct port *p, uint32_t owner, uint16_t number,
                                   const struct addr *peer)
{
    struct channel *c = pool_new(&t->channel_pool);
    if (!c)
        return NULL;
    c->key = (struct channel_key){owner, number};
    c->peer = key_of(p, peer);
    c->port = p;
    c->deadline.kind = DEADLINE_CHANNEL;
    if (heap_set(&t->deadlines, &c->deadline.node, HEAP_NEVER)) {
        pool_free(&t->channel_pool, c);
        return NULL;
    }
    map_put(&t->channels, &c->by_number);
    map_put(&t->channel_peers, &c->by_peer);
    list_add_tail(&p->channels, &c->link);
    p->channels_n++;
    return c;
}

/* What has expired but was not swept yet must not stand beside a new binding of the same number or peer. */
static void channel_forget_expired(struct port_table *t, const struct port *p, uint32_t owner, uint16_t number,
                                   const struct addr *peer, uint64_t now_ms)
{
    struct channel_key by_number = {owner, number};
    struct port_addr_key by_peer = key_of(p, peer);
    struct map_node *n = map_get(&t->channels, &by_number);
    if (n && !alive(container_of(n, struct channel, by_number), now_ms))
        channel_free(t, container_of(n, struct channel, by_number));
    n = map_get(&t->channel_peers, &by_peer);
    if (n && !alive(container_of(n, struct channel, by_peer), now_ms))
        channel_free(t, container_of(n, struct channel, by_peer));
}

int channel_bind(struct port_table *t, struct port *p, uint32_t owner, uint16_t number, const struct addr *peer,
                 uint64_t now_ms)
{
    channel_forget_expired(t, p, owner, number, peer, now_ms);
    if (channel_conflicts(t, p, owner, number, peer, now_ms))
        return ERR_BAD;
    struct permission *permission = permission_find(t, p, peer);
    must(permission);
    struct channel *c = channel_by_number(t, owner, number, now_ms);
    if (!c)
        c = channel_new(t, p, owner, number, peer);
    if (!c)
        return ERR_NOMEM;
    if (!c->permission)
        permission->channels_n++;
    c->permission = permission;
    c->expires_ms = now_ms + CHANNEL_MS;
    return heap_set(&t->deadlines, &c->deadline.node, c->expires_ms);
}

void channel_free(struct port_table *t, struct channel *c)
{
    if (c->permission)
        c->permission->channels_n--;
    c->port->channels_n--;
    list_del(&c->link);
    map_del(&t->channels, &c->by_number);
    map_del(&t->channel_peers, &c->by_peer);
    heap_del(&t->deadlines, &c->deadline.node);
    pool_free(&t->channel_pool, c);
}

/* ---- peer connections ---- */

/* Owner worker and 24 random bits that no other connection has now: hard to guess, and useless without the owner's
 * credentials. */
static uint32_t connection_id_new(const struct port_table *t)
{
    uint32_t id;
    do
        id = (uint32_t)t->worker << 24 | (rand_u32() & 0xffffff);
    while (map_get(&t->peers, &id));
    return id;
}

struct peer *peer_new(struct port_table *t, struct port *p, const struct addr *addr, enum peer_state state, void *link,
                      uint64_t now_ms)
{
    struct peer *x = pool_new(&t->peer_pool);
    if (!x)
        return NULL;
    x->deadline.kind = DEADLINE_PEER;
    if (heap_set(&t->deadlines, &x->deadline.node, HEAP_NEVER)) {
        pool_free(&t->peer_pool, x);
        return NULL;
    }
    x->id = connection_id_new(t);
    x->key = key_of(p, addr);
    x->port = p;
    x->link = link;
    x->is_dialed = state == PEER_DIALING;
    x->since_ms = now_ms;
    map_put(&t->peers, &x->by_id);
    map_put(&t->peer_addrs, &x->by_addr);
    list_add_tail(&p->peers, &x->link_in_port);
    p->peers_n++;
    peer_set_state(t, x, state, now_ms);
    return x;
}

void peer_set_state(struct port_table *t, struct peer *x, enum peer_state state, uint64_t now_ms)
{
    static const uint64_t lasts_ms[] = {
        [PEER_DIALING] = PEER_DIAL_MS, [PEER_WAITING] = PEER_UNBOUND_MS, [PEER_BOUND] = 0, [PEER_JOINED] = 0};
    x->state = (uint8_t)state;
    if (state == PEER_BOUND || state == PEER_JOINED)
        x->bound_ms = now_ms;
    /* Moving a node that is in the heap needs no memory. */
    if (lasts_ms[state])
        must(heap_set(&t->deadlines, &x->deadline.node, now_ms + lasts_ms[state]) == 0);
    else
        heap_del(&t->deadlines, &x->deadline.node);
}

struct peer *peer_by_id(const struct port_table *t, uint32_t id)
{
    struct map_node *n = map_get(&t->peers, &id);
    return n ? container_of(n, struct peer, by_id) : NULL;
}

struct peer *peer_by_addr(const struct port_table *t, const struct port *p, const struct addr *addr)
{
    struct port_addr_key key = key_of(p, addr);
    struct map_node *n = map_get(&t->peer_addrs, &key);
    return n ? container_of(n, struct peer, by_addr) : NULL;
}

uint64_t peer_handle(const struct port_table *t, const struct peer *x)
{
    return pool_handle(&t->peer_pool, x);
}

struct peer *peer_get(const struct port_table *t, uint64_t handle)
{
    return pool_get(&t->peer_pool, handle);
}

void peer_free(struct port_table *t, struct peer *x)
{
    x->port->peers_n--;
    list_del(&x->link_in_port);
    map_del(&t->peers, &x->by_id);
    map_del(&t->peer_addrs, &x->by_addr);
    heap_del(&t->deadlines, &x->deadline.node);
    pool_free(&t->peer_pool, x);
}
