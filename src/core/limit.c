#include "core/limit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rand.h"

/* A token bucket as one number (GCRA): the time, in nanoseconds, at which it would be full again. That may lie at most
 * its burst ahead of now. */
struct bucket {
    _Atomic uint64_t full_at_ns;
};

enum {
    SOURCE_BITS_V4 = 32,
    SOURCE_BITS_V6 = 64, /* one customer */
    ANSWER_BITS_V4 = 24, /* spoofed floods aim at networks */
    ANSWER_BITS_V6 = 48,
    ANSWER_SLOTS = 8192,  /* prefixes that hash to one slot share its budget */
    ANSWER_BYTES = 100,   /* what one answer counts at least */
    BYTES_BURST_MS = 250, /* so much of the byte rate may pass at once */
    ANSWER_BURST_MS = 10000,
    CONNECT_BURST_MS = 30000, /* but always at least one Connect */
};

struct account {
    struct map_node node;
    uint8_t key[SHA256_SIZE]; /* digest of kind and name: user names have any length */
    unsigned refs;            /* under the limiter's lock */
    bool is_user;
    _Atomic uint64_t counts[LIMIT_WHATS];
    struct bucket bytes, connects;
    size_t name_n;
    uint8_t name[]; /* the user's name */
};

struct limiter {
    _Atomic uint64_t allocations, user_allocations, source_allocations, connections, source_connections;
    _Atomic uint64_t user_connects_per_minute, user_bytes_per_s, source_bytes_per_s, total_bytes_per_s, answers_per_s;
    _Atomic uint64_t counts[LIMIT_WHATS];
    struct bucket bytes;
    pthread_mutex_t lock;
    struct map accounts;
    uint64_t answer_seed[2];
    struct bucket answers[ANSWER_SLOTS];
};

/* ---- buckets ---- */

static const uint64_t ns_per_s = 1000000000, ns_per_ms = 1000000;
__extension__ typedef unsigned __int128 wide; /* rates times nanoseconds outgrow 64 bits */

/* Units that the bucket holds now. */
static uint64_t bucket_room(struct bucket *b, uint64_t per_s, uint64_t burst_ms, uint64_t now_ns)
{
    uint64_t full_at = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed);
    uint64_t limit = now_ns + burst_ms * ns_per_ms;
    if (full_at < now_ns)
        full_at = now_ns;
    if (full_at >= limit)
        return 0;
    return (uint64_t)((wide)(limit - full_at) * per_s / ns_per_s);
}

static void bucket_spend(struct bucket *b, uint64_t per_s, uint64_t units, uint64_t now_ns)
{
    uint64_t cost = (uint64_t)(((wide)units * ns_per_s + per_s - 1) / per_s);
    uint64_t old = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed), new;
    do
        new = (old < now_ns ? now_ns : old) + cost;
    while (
        !atomic_compare_exchange_weak_explicit(&b->full_at_ns, &old, new, memory_order_relaxed, memory_order_relaxed));
}

/* ---- the limiter ---- */

void limiter_set(struct limiter *l, const struct limits *x)
{
    atomic_store(&l->allocations, x->allocations);
    atomic_store(&l->user_allocations, x->user_allocations);
    atomic_store(&l->source_allocations, x->source_allocations);
    atomic_store(&l->connections, x->connections);
    atomic_store(&l->source_connections, x->source_connections);
    atomic_store(&l->user_connects_per_minute, x->user_connects_per_minute);
    atomic_store(&l->user_bytes_per_s, x->user_bytes_per_s);
    atomic_store(&l->source_bytes_per_s, x->source_bytes_per_s);
    atomic_store(&l->total_bytes_per_s, x->total_bytes_per_s);
    atomic_store(&l->answers_per_s, x->answers_per_s);
}

struct limiter *limiter_new(const struct limits *limits)
{
    struct limiter *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    if (map_init(&l->accounts, MAP_KEY_OFFSET(struct account, node, key), SHA256_SIZE)) {
        free(l);
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    rand_bytes(l->answer_seed, sizeof l->answer_seed);
    limiter_set(l, limits);
    return l;
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    for (struct map_node *n; (n = map_any(&l->accounts));) {
        map_del(&l->accounts, n);
        free(container_of(n, struct account, node));
    }
    map_fini(&l->accounts);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

uint64_t limiter_count(const struct limiter *l, enum limit_what what)
{
    return atomic_load(&l->counts[what]);
}

size_t limiter_accounts(const struct limiter *l)
{
    return l->accounts.count;
}

bool limiter_may_answer(struct limiter *l, const struct addr *source, size_t bytes, uint64_t now_ms)
{
    uint64_t per_s = atomic_load_explicit(&l->answers_per_s, memory_order_relaxed) * ANSWER_BYTES;
    if (!per_s)
        return true;
    struct prefix p = prefix_of(source, source->family == ADDR_V4 ? ANSWER_BITS_V4 : ANSWER_BITS_V6);
    struct bucket *b = &l->answers[map_hash(l->answer_seed, &p.net, sizeof p.net) % ANSWER_SLOTS];
    uint64_t units = bytes < ANSWER_BYTES ? ANSWER_BYTES : bytes, now_ns = now_ms * ns_per_ms;
    if (bucket_room(b, per_s, ANSWER_BURST_MS, now_ns) < units)
        return false;
    bucket_spend(b, per_s, units, now_ns);
    return true;
}

/* ---- accounts ---- */

static int account_key(bool is_user, struct span name, uint8_t key[SHA256_SIZE])
{
    struct span parts[2] = {span_str(is_user ? "user" : "source"), name};
    return digest_sha256(parts, 2, key);
}

static struct account *account_new(struct limiter *l, bool is_user, struct span name, const uint8_t key[SHA256_SIZE])
{
    struct account *a = calloc(1, sizeof *a + name.n);
    if (!a)
        return NULL;
    memcpy(a->key, key, SHA256_SIZE);
    a->is_user = is_user;
    a->name_n = name.n;
    memcpy(a->name, name.p, name.n);
    map_put(&l->accounts, &a->node);
    return a;
}

static struct account *account_hold(struct limiter *l, bool is_user, struct span name)
{
    uint8_t key[SHA256_SIZE];
    if (account_key(is_user, name, key))
        return NULL;
    pthread_mutex_lock(&l->lock);
    struct map_node *n = map_get(&l->accounts, key);
    struct account *a = n ? container_of(n, struct account, node) : account_new(l, is_user, name, key);
    if (a)
        a->refs++;
    pthread_mutex_unlock(&l->lock);
    return a;
}

static void account_release(struct limiter *l, struct account *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&l->lock);
    bool last = --a->refs == 0;
    if (last)
        map_del(&l->accounts, &a->node);
    pthread_mutex_unlock(&l->lock);
    if (last)
        free(a);
}

int payer_hold(struct payer *p, struct limiter *l, struct span user, const struct addr *source)
{
    struct prefix from = prefix_of(source, source->family == ADDR_V4 ? SOURCE_BITS_V4 : SOURCE_BITS_V6);
    *p = (struct payer){.limiter = l};
    p->source = account_hold(l, false, span_of(&from.net, sizeof from.net));
    if (p->source && user.n)
        p->user = account_hold(l, true, user);
    if (p->source && (p->user || !user.n))
        return 0;
    payer_release(p);
    return ERR_NOMEM;
}

void payer_release(struct payer *p)
{
    account_release(p->limiter, p->user);
    account_release(p->limiter, p->source);
    p->user = p->source = NULL;
}

struct span payer_user(const struct payer *p)
{
    return p->user ? span_of(p->user->name, p->user->name_n) : span_of(NULL, 0);
}

/* ---- counts ---- */

static bool count_take(_Atomic uint64_t *count, uint64_t max)
{
    uint64_t had = atomic_fetch_add(count, 1);
    if (!max || had < max)
        return true;
    atomic_fetch_sub(count, 1);
    return false;
}

struct level {
    _Atomic uint64_t *count; /* NULL: nobody counts here */
    uint64_t max;
    const char *name;
};

/* The levels at which one of `what` is counted: user, source, all. */
static void levels_of(const struct payer *p, enum limit_what what, struct level out[3])
{
    struct limiter *l = p->limiter;
    bool alloc = what == LIMIT_ALLOCATIONS;
    out[0] = (struct level){p->user ? &p->user->counts[what] : NULL, alloc ? atomic_load(&l->user_allocations) : 0,
                            "max-allocations-per-user"};
    out[1] = (struct level){p->source ? &p->source->counts[what] : NULL,
                            atomic_load(alloc ? &l->source_allocations : &l->source_connections),
                            alloc ? "max-allocations-per-source" : "max-connections-per-source"};
    out[2] = (struct level){&l->counts[what], atomic_load(alloc ? &l->allocations : &l->connections),
                            alloc ? "max-allocations" : "max-connections"};
}

const char *payer_take(const struct payer *p, enum limit_what what)
{
    struct level levels[3];
    levels_of(p, what, levels);
    for (int i = 0; i < 3; i++) {
        if (!levels[i].count || count_take(levels[i].count, levels[i].max))
            continue;
        for (int k = 0; k < i; k++)
            if (levels[k].count)
                atomic_fetch_sub(levels[k].count, 1);
        return levels[i].name;
    }
    return NULL;
}

void payer_give(const struct payer *p, enum limit_what what)
{
    struct level levels[3];
    levels_of(p, what, levels);
    for (int i = 0; i < 3; i++)
        if (levels[i].count)
            must(atomic_fetch_sub(levels[i].count, 1) > 0);
}

/* ---- rates ---- */

const char *payer_connect(const struct payer *p, uint64_t now_ms)
{
    /* Counted in sixtieths, so that a rate for each minute is a whole number for each second. */
    uint64_t per_s = atomic_load_explicit(&p->limiter->user_connects_per_minute, memory_order_relaxed);
    if (!per_s || !p->user)
        return NULL;
    uint64_t now_ns = now_ms * ns_per_ms, one_ms = 60000 / per_s + 1;
    uint64_t burst_ms = one_ms > CONNECT_BURST_MS ? one_ms : (uint64_t)CONNECT_BURST_MS;
    if (bucket_room(&p->user->connects, per_s, burst_ms, now_ns) < 60)
        return "max-connects-per-minute";
    bucket_spend(&p->user->connects, per_s, 60, now_ns);
    return NULL;
}

struct toll {
    struct bucket *bucket;
    uint64_t per_s;
};

/* The byte buckets that limit this payer; their count. */
static int tolls_of(const struct payer *p, struct toll out[3])
{
    struct limiter *l = p->limiter;
    uint64_t user = atomic_load_explicit(&l->user_bytes_per_s, memory_order_relaxed);
    uint64_t source = atomic_load_explicit(&l->source_bytes_per_s, memory_order_relaxed);
    uint64_t total = atomic_load_explicit(&l->total_bytes_per_s, memory_order_relaxed);
    int n = 0;
    if (user && p->user)
        out[n++] = (struct toll){&p->user->bytes, user};
    if (source && p->source)
        out[n++] = (struct toll){&p->source->bytes, source};
    if (total)
        out[n++] = (struct toll){&l->bytes, total};
    return n;
}

static uint64_t tolls_room(const struct toll *tolls, int n, uint64_t now_ns)
{
    uint64_t room = UINT64_MAX;
    for (int i = 0; i < n; i++) {
        uint64_t r = bucket_room(tolls[i].bucket, tolls[i].per_s, BYTES_BURST_MS, now_ns);
        if (r < room)
            room = r;
    }
    return room;
}

static void tolls_pay(const struct toll *tolls, int n, uint64_t bytes, uint64_t now_ns)
{
    for (int i = 0; i < n; i++)
        bucket_spend(tolls[i].bucket, tolls[i].per_s, bytes, now_ns);
}

/* Asking again after this share of the burst keeps a limited stream smooth without waking for every byte. */
enum { RETRY_MS = BYTES_BURST_MS / 10 };

size_t payer_bytes(const struct payer *p, size_t want, uint64_t now_ms, uint64_t *retry_ms)
{
    struct toll tolls[3];
    int n = tolls_of(p, tolls);
    if (!n)
        return want;
    uint64_t now_ns = now_ms * ns_per_ms, room = tolls_room(tolls, n, now_ns);
    if (room < want)
        want = room;
    if (want)
        tolls_pay(tolls, n, want, now_ns);
    else
        *retry_ms = RETRY_MS;
    return want;
}

bool payer_datagram(const struct payer *p, size_t want, uint64_t now_ms)
{
    struct toll tolls[3];
    int n = tolls_of(p, tolls);
    if (!n)
        return true;
    uint64_t now_ns = now_ms * ns_per_ms;
    /* A rate so low that its burst is smaller than one datagram must still let one pass from a full bucket. */
    if (tolls_room(tolls, n, now_ns) == 0)
        return false;
    tolls_pay(tolls, n, want, now_ns);
    return true;
}
