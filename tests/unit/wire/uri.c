#include "wire/uri.h"

#include "fixture.h"

static struct uri u;

static int read_uri(const char *text)
{
    memset(&u, 0xa5, sizeof u);
    return uri_parse(odd_copy(span_str(text)), &u);
}

static void parts_are_found(void **state)
{
    assert_int_equal(read_uri("sip:alice:secret@example.com:5061;transport=tcp;lr?subject=x&to=y"), 0);
    assert_true(u.is_sip && !u.is_sips);
    assert_text(u.scheme, "sip");
    assert_text(u.user, "alice:secret");
    assert_text(u.host, "example.com");
    assert_int_equal(u.port, 5061);
    assert_text(u.params, "transport=tcp;lr");
    assert_text(u.headers, "subject=x&to=y");
    assert_int_equal(read_uri("SIPS:[2001:db8::1]"), 0);
    assert_true(u.is_sips && !u.is_sip && u.user.n == 0 && u.port == 0 && u.params.n == 0);
    assert_text(u.host, "[2001:db8::1]");
    assert_int_equal(read_uri("sip:[::1]:5060;lr"), 0);
    assert_int_equal(u.port, 5060);
    assert_int_equal(read_uri("sip:edge.contoso.com@contoso.com;gruu;opaque=srvr:MRAS:abc-1_2"), 0);
    assert_text(u.host, "contoso.com");
    assert_text(u.params, "gruu;opaque=srvr:MRAS:abc-1_2");
}

/* RFC 4475 s.3.1.1.2: a user part with everything that may stand in one. */
static void strange_users(void **state)
{
    assert_int_equal(
        read_uri("sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
                 "@example.com"),
        0);
    assert_text(u.host, "example.com");
    assert_int_equal(u.headers.n, 0);
}

static void other_schemes(void **state)
{
    assert_int_equal(read_uri("tel:+1-201-555-0123"), 0);
    assert_true(!u.is_sip && !u.is_sips);
    assert_text(u.rest, "+1-201-555-0123");
    assert_int_equal(read_uri("sipx:a b"), ERR_BAD);
    assert_int_equal(read_uri("sipx:a@@b"), 0);
}

static void what_is_no_uri(void **state)
{
    static const char *const bad[] = {
        "",           "sip",        "sip:",        ":a",        "1a:b",        "a_b:c",         "sip:@host",
        "sip:a@",     "sip:a@b@c",  "sip:a b",     "<sip:a@b>", "sip:a@b:",    "sip:a@b:0",     "sip:a@b:65536",
        "sip:a@b:x",  "sip:a@[::1", "sip:a@[xyz]", "sip:a@b/c", "sip:a@b\r\n", "sip:a@b:5060x", "sip:a@[::1]5060",
        "sip:a@\x7f", "sip:;lr",    "sip:a\"b@c",  "tel:",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_uri(bad[i]) != ERR_BAD)
            fail_msg("\"%s\" was taken for a URI", bad[i]);
    assert_int_equal(uri_parse(span_of(NULL, 0), &u), ERR_BAD);
    assert_int_equal(uri_parse(span_of("sip:a\0b@c", 9), &u), ERR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_found),
        cmocka_unit_test(strange_users),
        cmocka_unit_test(other_schemes),
        cmocka_unit_test(what_is_no_uri),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
