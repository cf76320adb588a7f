#include "fixture.h"

#define calloc scarce_calloc
#include "../../../src/base/map.c"
#undef calloc

struct item {
    int before;
    struct map_node node;
    uint64_t value;
    uint32_t key;
    bool in_map, was_seen;
};

static void map_of_items(struct map *m)
{
    assert_int_equal(map_init(m, MAP_KEY_OFFSET(struct item, node, key), sizeof(uint32_t)), 0);
}

static struct item *item_of(struct map_node *n)
{
    return n ? (struct item *)((char *)n - offsetof(struct item, node)) : NULL;
}

static struct item *find(const struct map *m, uint32_t key)
{
    return item_of(map_get(m, &key));
}

/* Computed with an independent implementation that was first checked with the published SipHash-2-4 vectors: key 00 01
 * .. 0f, message 00 01 .. n-1. */
static void hash_matches_known_answers(void **state)
{
    static const struct {
        size_t n;
        uint64_t hash;
    } cases[] = {
        {0, 0xabac0158050fc4dc},  {1, 0xc9f49bf37d57ca93},  {7, 0xd3927d989bb11140},
        {8, 0x369095118d299a8e},  {15, 0xd320d86d2a519956}, {16, 0xcc4fdd1a7d908b66},
        {20, 0xc0dc2f46a6cce040}, {24, 0xf464aeb267349c8c}, {63, 0x9d199062b7bbb3a8},
    };
    const uint64_t seed[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t message[64];
    for (uint8_t i = 0; i < sizeof message; i++)
        message[i] = i;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_true(map_hash(seed, message, cases[i].n) == cases[i].hash);
}

static void every_map_has_its_own_seed(void **state)
{
    struct map a, b;
    map_of_items(&a);
    map_of_items(&b);
    assert_memory_not_equal(a.seed, b.seed, sizeof a.seed);
    map_fini(&a);
    map_fini(&b);
    map_fini(&b);
}

static void empty_maps_are_harmless(void **state)
{
    struct map m;
    map_of_items(&m);
    assert_null(find(&m, 1));
    assert_null(map_any(&m));
    assert_null(map_next(&m, NULL));
    map_fini(&m);
}

static void count_by_walking(const struct map *m, struct item *items, size_t n)
{
    size_t seen = 0;
    for (size_t i = 0; i < n; i++)
        items[i].was_seen = false;
    for (struct map_node *node = NULL; (node = map_next(m, node)); seen++) {
        assert_true(item_of(node)->in_map);
        assert_false(item_of(node)->was_seen);
        item_of(node)->was_seen = true;
    }
    assert_int_equal(seen, m->count);
}

/* Random puts, deletions and look-ups against a table indexed by the key. */
static void map_agrees_with_a_table(void **state)
{
    enum { KEYS = 3000 };
    struct item *items = calloc(KEYS, sizeof *items);
    struct map m;
    size_t count = 0;
    map_of_items(&m);
    for (int step = 0; step < 200000; step++) {
        uint32_t key = die(KEYS);
        struct item *item = &items[key];
        assert_ptr_equal(find(&m, key), item->in_map ? item : NULL);
        bool growing = step / 20000 % 2 == 0; /* fills and drains in turn */
        if (!item->in_map && (growing || die(4) == 0)) {
            item->key = key;
            map_put(&m, &item->node);
            item->in_map = true;
            count++;
        } else if (item->in_map && (!growing || die(4) == 0)) {
            map_del(&m, &item->node);
            item->in_map = false;
            count--;
        }
        assert_int_equal(m.count, count);
        if (step % 5000 == 0)
            count_by_walking(&m, items, KEYS);
        if (step % 100 == 0)
            assert_true(count ? item_of(map_any(&m))->in_map : map_any(&m) == NULL);
    }
    assert_true(m.mask + 1 >= 2048); /* it did grow */
    for (struct map_node *node; (node = map_any(&m)); count--)
        map_del(&m, node);
    assert_int_equal(count, 0);
    map_fini(&m);
    free(items);
}

/* Many small maps, so that every bucket is filled in one of them. */
static void walking_misses_no_bucket(void **state)
{
    for (int round = 0; round < 100; round++) {
        struct item items[FIRST_BUCKETS] = {{0}};
        struct map m;
        map_of_items(&m);
        for (uint32_t i = 0; i < COUNT(items); i++) {
            items[i].key = i;
            items[i].in_map = true;
            map_put(&m, &items[i].node);
        }
        count_by_walking(&m, items, COUNT(items));
        for (struct map_node *node; (node = map_any(&m));)
            map_del(&m, node);
        assert_int_equal(m.count, 0);
        map_fini(&m);
    }
}

/* Tearing down a large map by map_any visits each bucket once: quadratic time would run into the timeout. */
static void tearing_down_is_linear(void **state)
{
    enum { N = 300000 };
    struct item *items = calloc(N, sizeof *items);
    struct map m;
    map_of_items(&m);
    for (uint32_t i = 0; i < N; i++) {
        items[i].key = i;
        map_put(&m, &items[i].node);
    }
    for (struct map_node *node; (node = map_any(&m));)
        map_del(&m, node);
    assert_int_equal(m.count, 0);
    map_fini(&m);
    free(items);
}

static void without_memory_the_chains_grow(void **state)
{
    enum { N = 1000 };
    static struct item items[N];
    struct map m;
    heap_is_exhausted = true;
    assert_int_equal(map_init(&m, 0, 4), ERR_NOMEM);
    heap_is_exhausted = false;
    map_of_items(&m);
    heap_is_exhausted = true;
    for (uint32_t i = 0; i < N; i++) {
        items[i].key = i;
        map_put(&m, &items[i].node);
    }
    heap_is_exhausted = false;
    assert_int_equal(m.mask, FIRST_BUCKETS - 1);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(find(&m, i), &items[i]);
    static struct item late = {.key = N};
    map_put(&m, &late.node); /* grows again */
    assert_int_equal(m.mask, 2 * FIRST_BUCKETS - 1);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(find(&m, i), &items[i]);
    map_fini(&m);
}

static void delete_a_stranger(void)
{
    struct map m;
    struct item stranger = {0};
    if (map_init(&m, MAP_KEY_OFFSET(struct item, node, key), 4) == 0)
        map_del(&m, &stranger.node);
}

static void deleting_a_stranger_is_a_mistake(void **state)
{
    assert_true(aborts(delete_a_stranger, "*link == node"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_matches_known_answers),     cmocka_unit_test(every_map_has_its_own_seed),
        cmocka_unit_test(empty_maps_are_harmless),        cmocka_unit_test(map_agrees_with_a_table),
        cmocka_unit_test(walking_misses_no_bucket),       cmocka_unit_test(tearing_down_is_linear),
        cmocka_unit_test(without_memory_the_chains_grow), cmocka_unit_test(deleting_a_stranger_is_a_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
