#include "fixture.h"

static int generator_for_tests(unsigned char *out, int n);
#include <openssl/rand.h>
#define RAND_bytes generator_for_tests
#include "../../../src/base/rand.c"
#undef RAND_bytes

static bool is_generator_broken;
static int generator_for_tests(unsigned char *out, int n)
{
    return is_generator_broken ? 0 : RAND_bytes(out, n);
}

static void draw_from_a_broken_generator(void)
{
    uint8_t byte;
    is_generator_broken = true;
    rand_bytes(&byte, 1);
}

static void a_broken_generator_ends_the_process(void **state)
{
    assert_true(aborts(draw_from_a_broken_generator, "random generator has failed"));
}

static void numbers_handed_out_are_wiped(void **state)
{
    for (int i = 0; i < 100; i++) {
        rand_u32();
        for (size_t at = stock.left; at < sizeof stock.bytes; at++)
            assert_int_equal(stock.bytes[at], 0);
    }
}

static void throw_below_zero(void)
{
    rand_below(0);
}

static void bytes_are_filled_and_differ(void **state)
{
    uint8_t a[1000] = {0}, b[1000] = {0};
    rand_bytes(a, 999);
    rand_bytes(b, 999);
    assert_memory_not_equal(a, b, 999);
    assert_int_equal(a[999], 0); /* not one byte too many */
    int zeros = 0;
    for (int i = 0; i < 999; i++)
        zeros += a[i] == 0;
    assert_true(zeros < 100); /* 4 expected */
    rand_bytes(NULL, 0);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void numbers_do_not_repeat(void **state)
{
    static uint64_t drawn[5000];
    uint64_t any = 0, all = UINT64_MAX;
    for (size_t i = 0; i < COUNT(drawn); i++) {
        drawn[i] = rand_u64();
        any |= drawn[i];
        all &= drawn[i];
    }
    assert_true(any == UINT64_MAX && all == 0); /* every bit moves */
    qsort(drawn, COUNT(drawn), sizeof drawn[0], compare);
    for (size_t i = 1; i < COUNT(drawn); i++)
        assert_true(drawn[i - 1] != drawn[i]);
}

/* 3 * 2^30 cuts the 32-bit numbers unevenly: without rejection a third of the values would come twice as often. */
static void below_is_uniform(void **state)
{
    const uint32_t below = 3u << 30;
    int low = 0, n = 30000;
    for (int i = 0; i < n; i++) {
        uint32_t v = rand_below(below);
        assert_true(v < below);
        low += v < below / 3;
    }
    assert_in_range(low, n / 3 - 600, n / 3 + 600); /* more than seven standard deviations; biased: n / 2 */
    bool seen[7] = {0};
    for (int i = 0; i < 1000; i++)
        seen[rand_below(7)] = true;
    for (int i = 0; i < 7; i++)
        assert_true(seen[i]);
    assert_int_equal(rand_below(1), 0);
    assert_true(aborts(throw_below_zero, "below > 0"));
}

static void a_forked_child_draws_its_own_numbers(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    rand_u32(); /* there is a stock to inherit */
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    uint64_t mine[4], theirs[4];
    for (int i = 0; i < 4; i++)
        mine[i] = rand_u64();
    if (child == 0)
        _exit(write(ends[1], mine, sizeof mine) == sizeof mine ? 0 : 1);
    assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
    for (int i = 0; i < 4; i++)
        assert_true(mine[i] != theirs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_filled_and_differ),
        cmocka_unit_test(numbers_do_not_repeat),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(a_broken_generator_ends_the_process),
        cmocka_unit_test(numbers_handed_out_are_wiped),
        cmocka_unit_test(a_forked_child_draws_its_own_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
