#include "app/token.h"

#include "fixture.h"

static char made[8192];
static struct text out;

static struct config *load(const char *text)
{
    char *argv[] = {"user", NULL};
    why = text_of(said, sizeof said);
    struct config *c = config_load(write_file("f.conf", text), 1, argv, &why);
    if (!c)
        fail_msg("%s", said);
    return c;
}

static int make(const struct config *c, const char *name, const char *secret_file, bool is_json)
{
    struct token_ask ask = {name, secret_file, 86400, 1700000000, is_json};
    out = text_of(made, sizeof made);
    why = text_of(said, sizeof said);
    return token_make(&ask, c, &out, &why);
}

static void a_token_is_that_of_the_scheme(void **state)
{
    struct config *c = load("secret = \"a long random secret\"\nsecret = old\n");
    assert_int_equal(make(c, "alice", NULL, false), 0);
    assert_string_equal(made, "username: 1700086400:alice\npassword: 3tPKM4Y3F2xmn91aF8/2YJ2CTE4=\n"
                              "expires:  2023-11-15T22:13:20Z\n");
    assert_int_equal(make(c, "alice", NULL, true), 0);
    assert_string_equal(made, "{\"username\":\"1700086400:alice\",\"password\":\"3tPKM4Y3F2xmn91aF8/2YJ2CTE4=\","
                              "\"ttl\":86400,\"uris\":[]}\n");
    config_free(c);
}

static void the_servers_uris_are_told(void **state)
{
    struct config *c = load("secret = s\nrelay-ip = {'10.0.0.5=203.0.113.7', 2001:db8::7}\n");
    assert_int_equal(make(c, "a", NULL, true), 0);
    assert_non_null(strstr(made,
                           "[\"turn:203.0.113.7:3478?transport=udp\",\"turn:203.0.113.7:3478?transport=tcp\","
                           "\"turn:[2001:db8::7]:3478?transport=udp\",\"turn:[2001:db8::7]:3478?transport=tcp\"]"));
    config_free(c);

    c = load("secret = s\nlisten = {udp://192.0.2.1:1, tls://192.0.2.1:2, dtls://192.0.2.1:3, tcp://:4}\n");
    assert_int_equal(make(c, "a", NULL, false), 0);
    assert_non_null(strstr(made,
                           "\nuri:      turn:192.0.2.1:1?transport=udp\nuri:      turns:192.0.2.1:2?transport=tcp\n"
                           "uri:      turns:192.0.2.1:3?transport=udp\n"));
    assert_null(strstr(made, ":4"));
    config_free(c);
}

static void a_secret_may_come_from_a_file(void **state)
{
    struct config *c = load("realm = r\n");
    assert_int_equal(make(c, "alice", write_file("secret", "a long random secret\r\nnext line"), false), 0);
    assert_non_null(strstr(made, "3tPKM4Y3F2xmn91aF8/2YJ2CTE4="));
    assert_int_equal(make(c, "alice", in_folder("nothing"), false), ERR_SYS);
    assert_non_null(strstr(said, "nothing: cannot be read: No such file or directory"));
    assert_int_equal(make(c, "alice", write_file("empty", "\nsecret"), false), ERR_BAD);
    assert_non_null(strstr(said, "its first line is empty"));
    assert_int_equal(make(c, "alice", NULL, false), ERR_NONE);
    assert_non_null(strstr(said, "no shared secret: name a configuration"));
    config_free(c);
}

static void names_that_cannot_be_are_refused(void **state)
{
    struct config *c = load("secret = s\n");
    char longest[509];
    memset(longest, 'n', sizeof longest);
    longest[508] = 0;
    static const char *const bad[] = {"", "a:b", "a\nb", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(make(c, bad[i], NULL, false), ERR_BAD);
    assert_int_equal(make(c, longest, NULL, false), ERR_FULL); /* no room for the time in front of it */
    assert_string_equal(made, "");
    longest[497] = 0;
    assert_int_equal(make(c, longest, NULL, false), 0);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(a_token_is_that_of_the_scheme),
        each(the_servers_uris_are_told),
        each(a_secret_may_come_from_a_file),
        each(names_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
