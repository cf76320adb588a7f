/* Intrusive hash map over fixed-size keys that lie inside the element, next to its map_node. No heap per element; the
 * bucket array doubles as it fills. Keys may be chosen by strangers: they are hashed with SipHash-1-3 under a random
 * seed of the map.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/span.h"

struct map_node {
    struct map_node *next;
    uint32_t hash;
};

struct map {
    struct map_node **buckets;
    size_t count, mask;
    size_t first;                /* all buckets before this one are empty */
    size_t key_offset, key_size; /* where the key lies, relative to the map_node, and its size in bytes */
    uint64_t seed[2];
};

/* `key_offset`: bytes from the element's map_node to its key (use MAP_KEY_OFFSET). The node must stand before the key.
 * 0, or ERR_NOMEM. */
int map_init(struct map *m, size_t key_offset, size_t key_size);
#define MAP_KEY_OFFSET(type, node, key) (offsetof(type, key) - offsetof(type, node))
/* Frees the bucket array, not the elements. */
void map_fini(struct map *m);
/* The node whose key equals the `key_size` bytes at `key`, or NULL. */
struct map_node *map_get(const struct map *m, const void *key);
/* Adds an element; its key must not be in the map yet. */
void map_put(struct map *m, struct map_node *node);
/* Takes an element out; it must be in the map. */
void map_del(struct map *m, struct map_node *node);
/* Any element of the map, or NULL when it is empty: for tearing down (taking all out one by one costs linear time). */
struct map_node *map_any(struct map *m);
/* The element after `prev` in no particular order, the first for NULL; NULL at the end. The map must not change
 * meanwhile. */
struct map_node *map_next(const struct map *m, const struct map_node *prev);

/* SipHash-1-3 of `n` bytes. */
uint64_t map_hash(const uint64_t seed[2], const void *p, size_t n);

#endif
