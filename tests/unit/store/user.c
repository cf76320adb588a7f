#include "fixture.h"

static void assert_hex(const uint8_t *bytes, size_t n, const char *hex)
{
    char text[128];
    assert_string_equal(text_hex(bytes, n, text), hex);
}

/* The user of RFC 8489 appendix B.1. */
static void keys_are_those_of_the_standard(void **state)
{
    struct store_user u;
    assert_int_equal(store_user_init(&u, "\u30de\u30c8\u30ea\u30c3\u30af\u30b9", "example.org", "TheMatrIX", 5), 0);
    assert_hex(u.userhash, 32, "4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704");
    assert_hex(u.md5, 16, "e8ca7ad59d5eb0518e312911d2dab2a9");
    assert_hex(u.sha256, 32, "dd295a613b9058c3c23d6dc7165bda072304d989c9d0af3a8c7e184b4f9bb4a1");
    assert_int_equal(u.created_s, 5);
    assert_true(u.is_enabled);
}

static void names_that_cannot_be_are_refused(void **state)
{
    char longest[STORE_NAME_MAX + 2];
    memset(longest, 'n', sizeof longest);
    longest[STORE_NAME_MAX] = 0;
    assert_null(store_name_fault(span_str(longest)));
    longest[STORE_NAME_MAX] = 'n';
    assert_non_null(store_name_fault(span_of(longest, STORE_NAME_MAX + 1)));
    assert_non_null(store_password_fault(span_of(longest, STORE_PASSWORD_MAX + 1)));
    assert_non_null(store_realm_fault(span_of(longest, STORE_REALM_MAX + 1)));
    assert_null(store_realm_fault(span_of(longest, STORE_REALM_MAX)));

    static const char *const bad[] = {"", "a\nb", "\r", "\x7f", "\xc2\x9b", "\xff", "\xc0\x80", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_non_null(store_name_fault(span_str(bad[i])));
        assert_non_null(store_realm_fault(span_str(bad[i])));
        assert_non_null(store_password_fault(span_str(bad[i])));
    }
    assert_non_null(store_name_fault(span_of("a\0b", 3)));
    assert_non_null(store_name_fault(span_str("a:b")));
    assert_null(store_password_fault(span_str("a:b \"\\")));
    assert_non_null(store_realm_fault(span_str("a\"b")));
    assert_non_null(store_realm_fault(span_str("a\\b")));
    static const char *const good[] = {"a b", "%s%n", "'; DROP TABLE user; --", "\u00e9", "\U0001f600"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(store_name_fault(span_str(good[i])));
}

static void a_fault_makes_no_user(void **state)
{
    struct store_user u;
    assert_int_equal(store_user_init(&u, "a:b", "r", "p", 0), ERR_BAD);
    assert_int_equal(store_user_init(&u, "a", "", "p", 0), ERR_BAD);
    assert_int_equal(store_user_init(&u, "a", "r", "", 0), ERR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_those_of_the_standard),
        cmocka_unit_test(names_that_cannot_be_are_refused),
        cmocka_unit_test(a_fault_makes_no_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
