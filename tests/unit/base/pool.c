#include "fixture.h"

#define calloc  scarce_calloc
#define realloc scarce_realloc
#include "../../../src/base/pool.c"
#undef calloc
#undef realloc

struct item {
    uint64_t id;
    char name[17]; /* an odd size */
};

static void handles_go_stale(void **state)
{
    struct pool p;
    pool_init(&p, sizeof(struct item));
    assert_null(pool_get(&p, 0));
    assert_null(pool_get(&p, UINT64_MAX));
    struct item *a = pool_new(&p);
    assert_int_equal((uintptr_t)a % alignof(max_align_t), 0);
    uint64_t first = pool_handle(&p, a);
    assert_int_not_equal(first, 0);
    assert_ptr_equal(pool_get(&p, first), a);
    assert_null(pool_get(&p, first ^ 1ull << 32));
    assert_null(pool_get(&p, first + 1)); /* a slot that is not in use */
    assert_null(pool_get(&p, first + CHUNK));
    assert_null(pool_get(&p, first & ~(uint64_t)UINT32_MAX));
    pool_free(&p, a);
    pool_free(&p, NULL);
    assert_int_equal(p.count, 0);
    assert_null(pool_get(&p, first));
    assert_null(pool_get(&p, first + (1ull << 32))); /* the generation it has while it is free */
    struct item *b = pool_new(&p);
    assert_ptr_equal(b, a); /* the same memory, and yet */
    assert_null(pool_get(&p, first));
    assert_ptr_equal(pool_get(&p, pool_handle(&p, b)), b);
    pool_fini(&p);
}

#ifdef POOL_POISON
/* With the address checker, a pointer kept too long is noticed at its first use. */
static void freed_memory_is_poisoned(void **state)
{
    struct pool p;
    pool_init(&p, sizeof(struct item));
    struct item *item = pool_new(&p);
    assert_false(__asan_address_is_poisoned(item));
    assert_true(__asan_address_is_poisoned(slot_at(&p, 1) + 1));
    pool_free(&p, item);
    assert_true(__asan_address_is_poisoned(item));
    assert_ptr_equal(pool_new(&p), item);
    assert_false(__asan_address_is_poisoned(item));
    pool_fini(&p);
}
#else
static void freed_memory_is_poisoned(void **state)
{
    print_message("# needs a build with -Db_sanitize=address\n");
}
#endif

static void new_objects_are_zeroed(void **state)
{
    struct pool p;
    pool_init(&p, sizeof(struct item));
    struct item zero = {0};
    for (int i = 0; i < 300; i++) {
        struct item *item = pool_new(&p);
        assert_memory_equal(item, &zero, sizeof zero);
        memset(item, 0xff, sizeof *item);
        if (i % 2)
            pool_free(&p, item);
    }
    pool_fini(&p);
    assert_int_equal(p.count, 0);
    assert_non_null(pool_new(&p)); /* an emptied pool can be used again */
    pool_fini(&p);
}

/* Random births and deaths: living handles resolve to their object with its content, dead ones to nothing. */
static void pool_agrees_with_a_table(void **state)
{
    enum { N = 1000, DEAD = 500 };
    static struct {
        struct item *item;
        uint64_t handle, id;
    } living[N];
    static uint64_t dead[DEAD];
    struct pool p;
    size_t count = 0;
    pool_init(&p, sizeof(struct item));
    for (uint64_t step = 0; step < 100000; step++) {
        size_t i = die(N);
        if (living[i].item) {
            struct item *item = pool_get(&p, living[i].handle);
            assert_ptr_equal(item, living[i].item);
            assert_true(item->id == living[i].id && strcmp(item->name, "still here") == 0);
            dead[die(DEAD)] = living[i].handle;
            pool_free(&p, item);
            living[i].item = NULL;
            count--;
        } else {
            struct item *item = pool_new(&p);
            assert_non_null(item);
            item->id = step;
            strcpy(item->name, "still here");
            living[i].item = item;
            living[i].id = step;
            living[i].handle = pool_handle(&p, item);
            count++;
        }
        assert_null(pool_get(&p, dead[die(DEAD)]));
        assert_int_equal(p.count, count);
    }
    assert_true(p.nchunks <= (N + CHUNK - 1) / CHUNK); /* memory is used again */
    pool_fini(&p);
}

static void without_memory_there_is_no_object(void **state)
{
    struct pool p;
    pool_init(&p, 8);
    heap_is_exhausted = true;
    assert_null(pool_new(&p));
    heap_is_exhausted = false;
    for (int i = 0; i < CHUNK; i++)
        assert_non_null(pool_new(&p));
    heap_is_exhausted = true;
    assert_null(pool_new(&p));
    heap_is_exhausted = false;
    assert_int_equal(p.count, CHUNK);
    assert_non_null(pool_new(&p));
    pool_fini(&p);
}

static void free_twice(void)
{
    struct pool p;
    pool_init(&p, 8);
    void *object = pool_new(&p);
    pool_free(&p, object);
    pool_free(&p, object);
}

static void free_in_another_pool(void)
{
    struct pool p, q;
    pool_init(&p, 8);
    pool_init(&q, 8);
    pool_new(&q);
    pool_free(&q, pool_new(&p));
}

static void wrong_frees_are_mistakes(void **state)
{
    assert_true(aborts(free_twice, "is_in_use"));
    assert_true(aborts(free_in_another_pool, "is_in_use"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_go_stale),
        cmocka_unit_test(freed_memory_is_poisoned),
        cmocka_unit_test(new_objects_are_zeroed),
        cmocka_unit_test(pool_agrees_with_a_table),
        cmocka_unit_test(without_memory_there_is_no_object),
        cmocka_unit_test(wrong_frees_are_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
