#include "base/map.h"

#include <stdlib.h>

#include "base/rand.h"

enum { FIRST_BUCKETS = 16 };

/* ---- SipHash-1-3: one round for each 8 bytes, three at the end ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32) + s->v3;
    s->v2 += s->v1;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

/* Up to 8 bytes as a little-endian number. */
static inline uint64_t little_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint64_t map_hash(const uint64_t seed[2], const void *p, size_t n)
{
    struct sip s = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d, seed[0] ^ 0x6c7967656e657261,
                    seed[1] ^ 0x7465646279746573};
    const uint8_t *bytes = p;
    size_t at = 0;
    for (; n - at >= 8; at += 8)
        sip_word(&s, little_endian(bytes + at, 8));
    sip_word(&s, (uint64_t)n << 56 | little_endian(bytes + at, n - at));
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* ---- the map ---- */

static const void *key_of(const struct map *m, const struct map_node *node)
{
    return (const char *)node + m->key_offset;
}

static uint32_t hash_of(const struct map *m, const void *key)
{
    return (uint32_t)map_hash(m->seed, key, m->key_size);
}

int map_init(struct map *m, size_t key_offset, size_t key_size)
{
    *m = (struct map){.mask = FIRST_BUCKETS - 1, .key_offset = key_offset, .key_size = key_size};
    m->buckets = calloc(FIRST_BUCKETS, sizeof(struct map_node *));
    if (!m->buckets)
        return ERR_NOMEM;
    rand_bytes(m->seed, sizeof m->seed);
    return 0;
}

void map_fini(struct map *m)
{
    free(m->buckets);
    *m = (struct map){0};
}

struct map_node *map_get(const struct map *m, const void *key)
{
    uint32_t hash = hash_of(m, key);
    struct map_node *node = m->buckets[hash & m->mask];
    while (node && (node->hash != hash || memcmp(key_of(m, node), key, m->key_size) != 0))
        node = node->next;
    return node;
}

static void link_node(struct map *m, struct map_node *node)
{
    size_t bucket = node->hash & m->mask;
    node->next = m->buckets[bucket];
    m->buckets[bucket] = node;
    if (bucket < m->first)
        m->first = bucket;
}

/* Doubles the buckets. Without memory for it the chains just grow longer. */
static void grow(struct map *m)
{
    struct map_node **old = m->buckets;
    size_t old_count = m->mask + 1;
    struct map_node **buckets = calloc(old_count * 2, sizeof *buckets);
    if (!buckets)
        return;
    m->buckets = buckets;
    m->mask = m->first = old_count * 2 - 1;
    for (size_t i = 0; i < old_count; i++) {
        for (struct map_node *node = old[i], *next; node; node = next) {
            next = node->next;
            link_node(m, node);
        }
    }
    free(old);
}

void map_put(struct map *m, struct map_node *node)
{
    if (m->count > m->mask && m->mask < UINT32_MAX)
        grow(m);
    node->hash = hash_of(m, key_of(m, node));
    link_node(m, node);
    m->count++;
}

void map_del(struct map *m, struct map_node *node)
{
    struct map_node **link = &m->buckets[node->hash & m->mask];
    while (*link && *link != node)
        link = &(*link)->next;
    must(*link == node);
    *link = node->next;
    node->next = NULL;
    m->count--;
}

/* The first bucket from this one on that is not empty; one more than the last if there is none. */
static size_t filled_from(const struct map *m, size_t bucket)
{
    while (bucket <= m->mask && !m->buckets[bucket])
        bucket++;
    return bucket;
}

struct map_node *map_any(struct map *m)
{
    if (m->count == 0)
        return NULL;
    m->first = filled_from(m, m->first);
    return m->buckets[m->first];
}

struct map_node *map_next(const struct map *m, const struct map_node *prev)
{
    if (prev && prev->next)
        return prev->next;
    size_t bucket = filled_from(m, prev ? (prev->hash & m->mask) + 1 : m->first);
    return bucket <= m->mask ? m->buckets[bucket] : NULL;
}
