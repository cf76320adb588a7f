#include "fixture.h"

#define realloc scarce_realloc
#include "../../../src/base/heap.c"
#undef realloc

static void empty_heaps_are_harmless(void **state)
{
    struct heap h;
    struct heap_node n = {0};
    heap_init(&h);
    assert_null(heap_first(&h));
    assert_true(heap_deadline(&h) == HEAP_NEVER);
    heap_del(&h, &n);
    heap_fini(&h);
    heap_fini(&h);
}

static void nodes_move_with_their_deadline(void **state)
{
    struct heap h;
    struct heap_node a = {0}, b = {0};
    heap_init(&h);
    assert_int_equal(heap_set(&h, &a, 20), 0);
    assert_int_equal(heap_set(&h, &b, 30), 0);
    assert_ptr_equal(heap_first(&h), &a);
    assert_int_equal(heap_deadline(&h), 20);
    assert_int_equal(heap_set(&h, &a, 40), 0);
    assert_ptr_equal(heap_first(&h), &b);
    assert_int_equal(heap_set(&h, &a, 0), 0);
    assert_ptr_equal(heap_first(&h), &a);
    heap_del(&h, &a);
    heap_del(&h, &a);
    assert_int_equal(a.pos, 0);
    assert_ptr_equal(heap_first(&h), &b);
    assert_int_equal(heap_set(&h, &b, HEAP_NEVER), 0);
    assert_ptr_equal(heap_first(&h), &b);
    heap_fini(&h);
}

/* Random settings, moves and removals: the first is always the least of those that are in. */
static void heap_agrees_with_a_search(void **state)
{
    enum { N = 200 };
    static struct heap_node nodes[N];
    struct heap h;
    heap_init(&h);
    for (int step = 0; step < 50000; step++) {
        struct heap_node *n = &nodes[die(N)];
        if (die(3) == 0) {
            heap_del(&h, n);
        } else {
            uint64_t at_ms = die(500); /* equal deadlines happen */
            assert_int_equal(heap_set(&h, n, at_ms), 0);
            assert_int_equal(n->at_ms, at_ms);
        }
        size_t in = 0;
        uint64_t least = HEAP_NEVER;
        for (size_t i = 0; i < N; i++) {
            if (nodes[i].pos == 0)
                continue;
            assert_ptr_equal(h.slots[nodes[i].pos - 1], &nodes[i]);
            in++;
            if (nodes[i].at_ms < least)
                least = nodes[i].at_ms;
        }
        assert_int_equal(in, h.count);
        assert_int_equal(heap_deadline(&h), least);
        if (in)
            assert_int_equal(heap_first(&h)->at_ms, least);
    }
    uint64_t before = 0;
    for (struct heap_node *n; (n = heap_first(&h)); before = n->at_ms, heap_del(&h, n))
        assert_true(n->at_ms >= before);
    heap_fini(&h);
}

static void without_memory_the_node_stays_as_it_was(void **state)
{
    struct heap h;
    struct heap_node nodes[FIRST_SLOTS + 1] = {{0}};
    heap_init(&h);
    for (size_t i = 0; i < FIRST_SLOTS; i++)
        assert_int_equal(heap_set(&h, &nodes[i], i), 0);
    heap_is_exhausted = true;
    struct heap_node *last = &nodes[FIRST_SLOTS];
    last->at_ms = 7;
    assert_int_equal(heap_set(&h, last, 0), ERR_NOMEM);
    assert_int_equal(last->pos, 0);
    assert_int_equal(last->at_ms, 7);
    assert_int_equal(heap_set(&h, &nodes[5], 0), 0); /* moving needs no memory */
    heap_is_exhausted = false;
    assert_int_equal(heap_set(&h, last, 0), 0);
    assert_int_equal(h.count, FIRST_SLOTS + 1);
    heap_fini(&h);
}

static void delete_a_stranger(void)
{
    struct heap h;
    struct heap_node mine = {0}, stranger = {.pos = 1};
    heap_init(&h);
    heap_set(&h, &mine, 1);
    heap_del(&h, &stranger);
}

static void set_a_stranger(void)
{
    struct heap h;
    struct heap_node mine = {0}, stranger = {.pos = 1};
    heap_init(&h);
    heap_set(&h, &mine, 1);
    heap_set(&h, &stranger, 2);
}

static void using_a_stranger_is_a_mistake(void **state)
{
    assert_true(aborts(set_a_stranger, "== n"));
    assert_true(aborts(delete_a_stranger, "== n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_heaps_are_harmless),      cmocka_unit_test(nodes_move_with_their_deadline),
        cmocka_unit_test(heap_agrees_with_a_search),     cmocka_unit_test(without_memory_the_node_stays_as_it_was),
        cmocka_unit_test(using_a_stranger_is_a_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
