#include "core/port_range.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/rand.h"

enum { RANGES_MAX = 256, RESERVATIONS_MAX = 1024 };

struct port_range {
    struct addr ip;
    uint8_t relay;
    uint16_t min;
    unsigned count; /* of ports in the range */
    _Atomic unsigned taken;
    _Atomic uint64_t *live;  /* 1 = has a socket of ours; behind the others */
    _Atomic uint64_t bits[]; /* 1 = taken */
};

struct reservation {
    uint64_t token; /* 0 = free slot */
    uint64_t expires_ms;
    struct port_range *range;
    uint16_t port;
};

struct port_ranges {
    uint16_t min, max;
    pthread_mutex_t lock;
    _Atomic unsigned ranges_n;
    struct port_range *ranges[RANGES_MAX]; /* append only */
    struct reservation reservations[RESERVATIONS_MAX];
};

struct port_ranges *port_ranges_new(uint16_t min, uint16_t max)
{
    must(min > 0 && min <= max);
    struct port_ranges *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->min = min;
    r->max = max;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void port_ranges_free(struct port_ranges *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < r->ranges_n; i++)
        free(r->ranges[i]);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct port_range *range_find(struct port_ranges *r, const struct addr *ip, uint8_t relay)
{
    unsigned n = atomic_load_explicit(&r->ranges_n, memory_order_acquire);
    for (unsigned i = 0; i < n; i++)
        if (r->ranges[i]->relay == relay && addr_is_same_ip(&r->ranges[i]->ip, ip))
            return r->ranges[i];
    return NULL;
}

static struct port_range *range_new(struct port_ranges *r, const struct addr *ip, uint8_t relay)
{
    unsigned count = r->max - r->min + 1u, n = atomic_load(&r->ranges_n);
    unsigned words = (count + 63) / 64;
    struct port_range *range = n < RANGES_MAX ? calloc(1, sizeof *range + 2 * words * sizeof range->bits[0]) : NULL;
    if (!range)
        return NULL;
    range->live = range->bits + words;
    range->ip = addr_without_port(ip);
    range->relay = relay;
    range->min = r->min;
    range->count = count;
    r->ranges[n] = range;
    atomic_store_explicit(&r->ranges_n, n + 1, memory_order_release);
    return range;
}

struct port_range *port_ranges_of(struct port_ranges *r, const struct addr *ip, uint8_t relay)
{
    struct port_range *range = range_find(r, ip, relay);
    if (range)
        return range;
    pthread_mutex_lock(&r->lock);
    range = range_find(r, ip, relay);
    if (!range)
        range = range_new(r, ip, relay);
    pthread_mutex_unlock(&r->lock);
    return range;
}

static bool bit_take(struct port_range *r, unsigned i)
{
    uint64_t bit = 1ull << (i % 64);
    if (atomic_fetch_or(&r->bits[i / 64], bit) & bit)
        return false;
    atomic_fetch_add(&r->taken, 1);
    return true;
}

bool port_ranges_has(struct port_ranges *r, const struct addr *relayed, uint8_t relay)
{
    struct port_range *range = range_find(r, relayed, relay);
    if (!range || relayed->port < range->min)
        return false;
    unsigned i = relayed->port - range->min;
    return i < range->count && (atomic_load_explicit(&range->live[i / 64], memory_order_relaxed) >> (i % 64) & 1);
}

void port_range_set_live(struct port_range *r, uint16_t port, bool live)
{
    unsigned i = port - r->min;
    uint64_t bit = 1ull << (i % 64);
    must(i < r->count);
    if (live)
        atomic_fetch_or(&r->live[i / 64], bit);
    else
        atomic_fetch_and(&r->live[i / 64], ~bit);
}

void port_range_give(struct port_range *r, uint16_t port)
{
    unsigned i = port - r->min;
    uint64_t bit = 1ull << (i % 64);
    must(i < r->count && (atomic_fetch_and(&r->bits[i / 64], ~bit) & bit));
    atomic_fetch_sub(&r->taken, 1);
}

uint16_t port_range_take(struct port_range *r, bool even, bool pair)
{
    unsigned start = rand_below(r->count);
    for (unsigned k = 0; k < r->count; k++) {
        unsigned i = (start + k) % r->count;
        uint16_t port = (uint16_t)(r->min + i);
        if ((even || pair) && port % 2)
            continue;
        if (pair && i + 1 >= r->count)
            continue;
        if (!bit_take(r, i))
            continue;
        if (!pair || bit_take(r, i + 1))
            return port;
        port_range_give(r, port);
    }
    return 0;
}

unsigned port_range_count(const struct port_range *r)
{
    return atomic_load(&r->taken);
}

const struct addr *port_range_ip(const struct port_range *r)
{
    return &r->ip;
}

uint8_t port_range_relay(const struct port_range *r)
{
    return r->relay;
}

/* ---- reservations ---- */

static void expire_locked(struct port_ranges *r, uint64_t now_ms)
{
    for (int i = 0; i < RESERVATIONS_MAX; i++) {
        struct reservation *x = &r->reservations[i];
        if (!x->token || x->expires_ms > now_ms)
            continue;
        port_range_give(x->range, x->port);
        x->token = 0;
    }
}

void port_ranges_expire(struct port_ranges *r, uint64_t now_ms)
{
    pthread_mutex_lock(&r->lock);
    expire_locked(r, now_ms);
    pthread_mutex_unlock(&r->lock);
}

uint64_t port_ranges_reserve(struct port_ranges *r, struct port_range *range, uint16_t port, uint64_t now_ms)
{
    uint64_t token = 0;
    pthread_mutex_lock(&r->lock);
    expire_locked(r, now_ms);
    for (int i = 0; i < RESERVATIONS_MAX && !token; i++) {
        struct reservation *x = &r->reservations[i];
        if (x->token)
            continue;
        while (!token)
            token = rand_u64();
        *x = (struct reservation){token, now_ms + RESERVATION_MS, range, port};
    }
    pthread_mutex_unlock(&r->lock);
    return token;
}

int port_ranges_redeem(struct port_ranges *r, uint64_t token, uint64_t now_ms, struct port_range **range,
                       uint16_t *port)
{
    int err = ERR_NONE;
    pthread_mutex_lock(&r->lock);
    expire_locked(r, now_ms);
    for (int i = 0; i < RESERVATIONS_MAX && err; i++) {
        struct reservation *x = &r->reservations[i];
        if (!token || x->token != token)
            continue;
        *range = x->range;
        *port = x->port;
        x->token = 0;
        err = 0;
    }
    pthread_mutex_unlock(&r->lock);
    return err;
}
