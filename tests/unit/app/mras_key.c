#include "app/mras_key.h"

#include "app/ticket.h"
#include "fixture.h"

enum { DAY_S = 86400, NOW_S = 1700000000 };

static struct config *load(const char *text)
{
    char *argv[] = {"user", NULL};
    why = text_of(said, sizeof said);
    struct config *c = config_load(write_file("f.conf", text), 1, argv, &why);
    if (!c)
        fail_msg("%s", said);
    return c;
}

static struct state open_state(void)
{
    struct state s;
    why = text_of(said, sizeof said);
    if (state_open(&s, in_folder("state"), NULL, &why))
        fail_msg("%s", said);
    return s;
}

static struct mras_keys keys;

/* What there is at this time, in `keys`. */
static int load_at(const struct config *c, bool may_make, uint64_t now_s)
{
    struct state s = open_state();
    int err = mras_key_load(&s, c, may_make, now_s, &keys, &why);
    state_close(&s);
    return err;
}

static struct mras_ticket issue(void)
{
    struct mras_ticket t;
    assert_int_equal(mras_issue(&keys, span_str("alice"), 1, &t), 0);
    return t;
}

static bool is_good(const struct mras_ticket *t)
{
    struct mras_ticket out;
    return mras_password(&keys, span_of(t->username, sizeof t->username), &out) == 0;
}

static void a_secret_is_made_and_kept(void **state)
{
    struct config *c = load("realm = r\n");
    assert_int_equal(load_at(c, false, NOW_S), 0);
    assert_int_equal(keys.n, 0);
    assert_int_equal(access(in_folder("state/mras.keys"), F_OK), -1);

    assert_int_equal(load_at(c, true, NOW_S), 0);
    assert_int_equal(keys.n, 1);
    struct stat st;
    assert_int_equal(stat(in_folder("state/mras.keys"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct mras_keys first = keys;
    assert_int_equal(load_at(c, true, NOW_S + DAY_S - 1), 0);
    assert_true(mras_key_is_same(&first, &keys));
    assert_int_equal(load_at(c, true, 1), 0); /* a clock that was set back */
    assert_true(mras_key_is_same(&first, &keys));
    config_free(c);
}

/* Signs for a day, verifies for another, and is gone. */
static void secrets_change_with_time(void **state)
{
    struct config *c = load("mras-lifetime = 8h\n");
    assert_int_equal(load_at(c, true, NOW_S), 0);
    struct mras_ticket first = issue();
    assert_int_equal(load_at(c, false, NOW_S + DAY_S), 0); /* who only verifies changes nothing */
    assert_int_equal(keys.n, 1);
    assert_int_equal(load_at(c, true, NOW_S + DAY_S), 0);
    assert_int_equal(keys.n, 2);
    struct mras_ticket second = issue();
    assert_true(is_good(&first) && is_good(&second));
    assert_true(memcmp(first.username + 12, second.username + 12, 4) != 0); /* key id */
    assert_int_equal(load_at(c, true, NOW_S + 2 * DAY_S), 0);
    assert_int_equal(keys.n, 3);
    assert_true(is_good(&first) && is_good(&second));
    assert_int_equal(load_at(c, true, NOW_S + 2 * DAY_S + 1), 0);
    assert_int_equal(keys.n, 2);
    assert_true(!is_good(&first) && is_good(&second));
    config_free(c);
}

static void longer_lifetimes_keep_secrets_longer(void **state)
{
    struct config *c = load("mras-lifetime = 30d\n");
    assert_int_equal(load_at(c, true, NOW_S), 0);
    assert_int_equal(load_at(c, true, NOW_S + 30 * DAY_S - 1), 0);
    assert_int_equal(keys.n, 1);
    struct mras_ticket t = issue();
    assert_int_equal(load_at(c, true, NOW_S + 59 * DAY_S), 0);
    assert_int_equal(keys.n, 2);
    assert_true(is_good(&t));
    config_free(c);
}

static void secrets_of_the_configuration_come_first(void **state)
{
    struct config *c = load("secret = {new, old}\n"), *old = load("secret = old\n");
    assert_int_equal(load_at(old, true, NOW_S), 0);
    struct mras_ticket t = issue();
    assert_int_equal(load_at(c, true, NOW_S), 0);
    assert_int_equal(keys.n, 2);
    assert_true(is_good(&t));
    assert_int_equal(access(in_folder("state/mras.keys"), F_OK), -1);
    config_free(c);
    config_free(old);
}

static void damaged_files_are_refused(void **state)
{
    static const char *const bad[] = {"x\n", "1 00\n", "1700000000\n",
                                      "0 0000000000000000000000000000000000000000000000000000000000000000\n",
                                      "1 0000000000000000000000000000000000000000000000000000000000000000ff\n"};
    struct config *c = load("realm = r\n");
    struct state s = open_state();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("state/mras.keys", bad[i]);
        why = text_of(said, sizeof said);
        assert_int_equal(mras_key_load(&s, c, true, NOW_S, &keys, &why), ERR_BAD);
        assert_non_null(strstr(said, "state/mras.keys: is damaged; remove it"));
        assert_string_equal(read_file(in_folder("state/mras.keys")), bad[i]);
    }
    char big[2000];
    memset(big, '1', sizeof big - 1);
    big[sizeof big - 1] = 0;
    write_file("state/mras.keys", big);
    assert_int_equal(mras_key_load(&s, c, true, NOW_S, &keys, &why), ERR_BAD);
    state_close(&s);
    config_free(c);
}

/* ---- on the command line ---- */

static char made[4096];

static int make(const struct config *c, const char *identity, uint64_t ttl_s, bool is_json)
{
    struct ticket_ask ask = {identity, ttl_s, NOW_S, is_json};
    struct text out = text_of(made, sizeof made);
    why = text_of(said, sizeof said);
    return ticket_make(&ask, c, &keys, &out, &why);
}

static void tickets_are_printed(void **state)
{
    struct config *c = load("secret = s\nrealm = rtcmedia\nmras-relay = {'internet://av.example.org', '[::1]:1:0'}\n");
    assert_int_equal(load_at(c, true, NOW_S), 0);
    assert_int_equal(make(c, "sip:alice@example.org", 0, false), 0);
    char user[200], password[200];
    assert_int_equal(sscanf(made, "username: %199s\npassword: %199s\n", user, password), 2);
    uint8_t name[100], secret[100];
    struct mras_ticket t;
    int n = text_unbase64(span_str(user), name, sizeof name);
    assert_int_equal(mras_password(&keys, span_of(name, (size_t)n), &t), 0);
    assert_int_equal(t.expires_s, NOW_S + 8 * 3600);
    assert_int_equal(text_unbase64(span_str(password), secret, sizeof secret), MRAS_PASSWORD_SIZE);
    assert_memory_equal(t.password, secret, MRAS_PASSWORD_SIZE);
    assert_non_null(strstr(made,
                           "\nrealm:    rtcmedia\nexpires:  2023-11-15T06:13:20Z\n"
                           "relay:    av.example.org udp 3478 tcp 443 (internet)\nrelay:    ::1 udp 1 tcp 0 (both)\n"));
    assert_int_equal(make(c, "a", 60, true), 0);
    assert_non_null(strstr(made, "\"realm\":\"rtcmedia\",\"ttl\":60,\"relays\":[{\"location\":\"internet\",\"host\":"
                                 "\"av.example.org\",\"udp\":3478,\"tcp\":443},{\"location\":\"both\",\"host\":\"::1\","
                                 "\"udp\":1,\"tcp\":0}]}\n"));
    assert_int_equal(make(c, "", 60, true), ERR_BAD);
    assert_int_equal(make(c, "a", 8 * 3600 + 1, true), ERR_BAD);
    assert_non_null(strstr(said, "longer than mras-lifetime (28800 s)"));
    assert_string_equal(made, "");
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(a_secret_is_made_and_kept),
        each(secrets_change_with_time),
        each(longer_lifetimes_keep_secrets_longer),
        each(secrets_of_the_configuration_come_first),
        each(damaged_files_are_refused),
        each(tickets_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
