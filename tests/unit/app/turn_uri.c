#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/turn_uri.h"

static struct turn_uri uri;
static char why[400];

static int parse(const char *s)
{
    struct text t = text_of(why, sizeof why);
    return turn_uri_parse(s, &uri, &t);
}

static void expect(const char *s, const char *host, uint16_t port, bool is_turn, bool is_secure, uint8_t transport)
{
    assert_int_equal(parse(s), 0);
    assert_string_equal(uri.host, host);
    assert_int_equal(uri.port, port);
    assert_int_equal(uri.is_turn, is_turn);
    assert_int_equal(uri.is_secure, is_secure);
    assert_int_equal(uri.transport, transport);
}

static void good(void **state)
{
    (void)state;
    expect("turn:relay.example.org", "relay.example.org", 3478, true, false, TURN_URI_ANY);
    expect("turns:relay.example.org", "relay.example.org", 5349, true, true, TURN_URI_ANY);
    expect("stun:192.0.2.1", "192.0.2.1", 3478, false, false, TURN_URI_ANY);
    expect("stuns:192.0.2.1:443", "192.0.2.1", 443, false, true, TURN_URI_ANY);
    expect("turn:h:1?transport=udp", "h", 1, true, false, TURN_URI_UDP);
    expect("turns:h:65535?transport=tcp", "h", 65535, true, true, TURN_URI_TCP);
    expect("TURN:h?Transport=TCP", "h", 3478, true, false, TURN_URI_TCP);
    expect("turn:[2001:db8::1]", "2001:db8::1", 3478, true, false, TURN_URI_ANY);
    expect("turn:[2001:db8::1]:443?transport=udp", "2001:db8::1", 443, true, false, TURN_URI_UDP);
}

static void bad(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "relay.example.org",
        "http://h",
        "turn:",
        "turn://h",
        "turn::3478",
        "turn:h:",
        "turn:h:0",
        "turn:h:65536",
        "turn:h:+1",
        "turn:h:12a",
        "turn:h:1 ",
        "turn:h?",
        "turn:h?transport=sctp",
        "turn:h?transport=udp&x=1",
        "turn:h/path",
        "turn:2001:db8::1",
        "turn:[2001:db8::1",
        "turn:[]",
        "turn:[192.0.2.1]",
        "turn:[2001:db8::1]x",
        "turn:a b",
        "turn:h\n",
        "turn:u@h",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(parse(wrong[i]), ERR_BAD);
        assert_non_null(strstr(why, "Write it as"));
    }
}

static void longest_host(void **state)
{
    (void)state;
    char s[400] = "turn:";
    memset(s + 5, 'a', 255);
    assert_int_equal(parse(s), 0);
    s[260] = 'a';
    assert_int_equal(parse(s), ERR_BAD);
}

/* What is wrong is repeated, but cannot disturb the terminal. */
static void hostile_text(void **state)
{
    (void)state;
    assert_int_equal(parse("turn:\033[31m"), ERR_BAD);
    assert_null(strchr(why, '\033'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(bad), cmocka_unit_test(longest_host),
                                       cmocka_unit_test(hostile_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
