#include "base/err.h"

#include "fixture.h"

static void every_error_has_its_own_words(void **state)
{
    for (int a = ERR_CRYPTO; a <= ERR_OK; a++) {
        assert_string_not_equal(err_text(a), "unknown error");
        for (int b = ERR_CRYPTO; b < a; b++)
            assert_string_not_equal(err_text(a), err_text(b));
    }
    assert_string_equal(err_text(ERR_CRYPTO - 1), "unknown error");
    assert_string_equal(err_text(1), "unknown error");
}

static void break_a_must(void)
{
    must(1 + 1 == 3);
}

static void keep_a_must(void)
{
    must(1 + 1 == 2);
}

static void must_aborts_and_says_where(void **state)
{
    assert_true(aborts(break_a_must, "1 + 1 == 3"));
    assert_true(aborts(break_a_must, "err.c:"));
    assert_false(aborts(keep_a_must, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_words),
        cmocka_unit_test(must_aborts_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
