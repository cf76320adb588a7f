#include "app/config.h"

#include "fixture.h"

static struct config *load(const char *text)
{
    char *argv[] = {"serve", NULL};
    why = text_of(said, sizeof said);
    return config_load(write_file("f.conf", text), 1, argv, &why);
}

static struct config *load_good(const char *text)
{
    struct config *c = load(text);
    if (!c)
        fail_msg("%s", said);
    return c;
}

static void nothing_is_served_unasked(void **state)
{
    struct config *c = load_good("realm = r\n");
    assert_int_equal(c->mras.listen_n, 0);
    assert_int_equal(c->mras.lifetime_s, 8 * 3600);
    assert_null(c->mras.client_ca);
    config_free(c);
}

static void listeners_and_relays(void **state)
{
    struct config *c =
        load_good("mras-listen = {'tls://:5062', 'tcp://127.0.0.1:5060'}\nmras-lifetime = 1d\n"
                  "mras-relay = {av.example.org, 'internet://av2.example.org:3479', 'intranet://[2001:db8::1]:0:8443',"
                  "'10.1.2.3:1:2'}\n");
    const struct config_mras *m = &c->mras;
    char text[ADDR_TEXT_MAX];
    assert_int_equal(m->listen_n, 3);
    assert_string_equal(addr_format(&m->listen[0].local, text), "0.0.0.0:5062");
    assert_string_equal(addr_format(&m->listen[1].local, text), "[::]:5062");
    assert_true(m->listen[0].is_tls && m->listen[1].is_tls && !m->listen[2].is_tls);
    assert_int_equal(m->lifetime_s, 86400);
    assert_int_equal(m->relays_n, 4);
    static const struct mras_relay want[] = {
        {"av.example.org", MRAS_INTERNET | MRAS_INTRANET, 3478, 443, false},
        {"av2.example.org", MRAS_INTERNET, 3479, 443, false},
        {"2001:db8::1", MRAS_INTRANET, 0, 8443, true},
        {"10.1.2.3", MRAS_INTERNET | MRAS_INTRANET, 1, 2, true},
    };
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(m->relays[i].host, want[i].host);
        assert_int_equal(m->relays[i].locations, want[i].locations);
        assert_int_equal(m->relays[i].udp_port, want[i].udp_port);
        assert_int_equal(m->relays[i].tcp_port, want[i].tcp_port);
        assert_int_equal(m->relays[i].is_ip, want[i].is_ip);
    }
    config_free(c);
}

static void credentials_in_clear_are_warned_of(void **state)
{
    char warnings[1000];
    struct text t = text_of(warnings, sizeof warnings);
    struct config *c =
        load_good("mras-relay = a\n"
                  "mras-listen = {'tcp://127.0.0.1:1', 'tcp://[::1]:1', 'tls://192.0.2.1:1', 'tcp://192.0.2.1:2'}\n");
    config_warnings(c, &t);
    assert_non_null(strstr(warnings, "mras-listen tcp://192.0.2.1:2: everybody on the way"));
    assert_null(strstr(warnings, "tcp://127"));
    assert_null(strstr(warnings, "tcp://[::1]"));
    assert_null(strstr(warnings, "192.0.2.1:1"));
    config_free(c);
}

static void assert_refused(const char *text, const char *message)
{
    struct config *c = load(text);
    if (c || !strstr(said, message))
        fail_msg("%s\nsaid: %s", text, c ? "nothing" : said);
}

static void mistakes_are_named(void **state)
{
    static const char *const relays[] = {"moon://a",  "a:b", "a:1:2:3", "a:65536", "a:0:0",       "[::1",
                                         "[1.2.3.4]", "::1", "a b",     "a_b",     "internet://", "internet:///a"};
    char text[300];
    for (size_t i = 0; i < sizeof relays / sizeof relays[0]; i++) {
        snprintf(text, sizeof text, "mras-relay = '%s'\n", relays[i]);
        assert_refused(text, "not a relay; write internet://");
    }
    assert_refused("mras-listen = ':5062'\nmras-relay = a\n", "f.conf:1: mras-listen \":5062\": the scheme is missing");
    assert_refused("mras-listen = 'udp://:5062'\nmras-relay = a\n", "the scheme is missing");
    assert_refused("mras-listen = 'tls://a:5062'\nmras-relay = a\n", "not an IP address with a port");
    assert_refused("mras-listen = 'tls://1.2.3.4'\nmras-relay = a\n", "not an IP address with a port");
    assert_refused("mras-listen = {'tls://:5062', 'tcp://0.0.0.0:5062'}\nmras-relay = a\n", "this port is given twice");
    assert_refused("mras-listen = 'tls://:5062'\n", "clients could not be told where the relay is; add mras-relay");
    assert_refused("mras-allow = '10.0.0.1/8'\n", "not an address prefix");
    assert_refused("mras-client-ca = nothing\n", "cannot be read: No such file or directory");
    assert_refused("mras-lifetime = 59\n", "mras-lifetime");
    assert_refused("mras-relay = {a,b,c,d,e,f,g,h,i}\n", "more than 8 relays");
}

static bool may_ask(const struct config *c, const char *from, bool is_certified)
{
    struct addr a;
    assert_int_equal(addr_parse(from, &a), 0);
    return config_mras_may_ask(&c->mras, &a, is_certified);
}

static void who_may_ask(void **state)
{
    struct config *c = load_good("realm = r\n");
    assert_true(may_ask(c, "127.0.0.1", false) && may_ask(c, "127.9.9.9", false) && may_ask(c, "::1", false));
    assert_false(may_ask(c, "10.0.0.1", false));
    assert_false(may_ask(c, "::2", false));
    assert_false(may_ask(c, "2001:db8::1", false));
    assert_true(may_ask(c, "198.51.100.1", true));
    config_free(c);

    c = load_good("mras-allow = {'10.0.0.0/8', '2001:db8::1'}\n");
    assert_true(may_ask(c, "10.0.0.1", false) && may_ask(c, "2001:db8::1", true));
    assert_false(may_ask(c, "127.0.0.1", false));
    assert_false(may_ask(c, "198.51.100.1", true));
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(nothing_is_served_unasked), each(listeners_and_relays), each(credentials_in_clear_are_warned_of),
        each(mistakes_are_named),        each(who_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
