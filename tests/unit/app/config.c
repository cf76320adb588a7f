#include "app/config.h"

#include "fixture.h"

/* A configuration from a file with this text (NULL: none) and flags, ended by NULL. */
static struct config *load(const char *text, ...)
{
    char *argv[40] = {"serve"};
    int argc = 1;
    va_list args;
    va_start(args, text);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    why = text_of(said, sizeof said);
    return config_load(text ? write_file("f.conf", text) : NULL, argc, argv, &why);
}

static struct config *loaded(const char *text)
{
    struct config *c = load(text, NULL);
    if (!c)
        fail_msg("%s", said);
    assert_string_equal(said, "");
    return c;
}

static void assert_listen(const struct config *c, size_t i, const char *local, unsigned schemes)
{
    char buf[ADDR_TEXT_MAX];
    assert_true(i < c->listen_n);
    assert_string_equal(addr_format(&c->listen[i].local, buf), local);
    assert_int_equal(c->listen[i].schemes, schemes);
}

enum { AUTO = LISTEN_AUTO_UDP | LISTEN_AUTO_TCP };

/* ---- what is taken ---- */

static void nothing_given_is_enough(void **state)
{
    struct config *c = load(NULL, NULL);
    assert_non_null(c);
    assert_null(c->file);
    assert_int_equal(c->listen_n, 0);
    assert_int_equal(c->relay_n, 0);
    assert_int_equal(c->relay_port_min, 49152);
    assert_int_equal(c->relay_port_max, 65535);
    assert_string_equal(c->realm, "causeway");
    assert_int_equal(c->users_n + c->secrets_n + c->rules_n, 0);
    assert_in_range(c->workers, 1, 256);
    assert_int_equal(c->state[0], '/');
    assert_null(c->cert);
    assert_null(c->key);
    assert_false(c->log_debug);
    assert_int_equal(c->lifetime_default_s, 600);
    assert_int_equal(c->lifetime_max_s, 3600);
    assert_int_equal(c->nonce_lifetime_s, 3600);
    assert_int_equal(c->drain_s, 30);
    assert_true(c->self_test);
    static const struct config_limits limits = {
        .allocations = 100000,
        .user_allocations = 1000,
        .source_allocations = 2000,
        .connections = 100000,
        .source_connections = 4000,
        .user_connects_per_minute = 1200,
        .user_bytes_per_s = 128 << 20,
        .source_bytes_per_s = 256 << 20,
        .total_bytes_per_s = 0,
        .allocation_permissions = 200,
        .allocation_channels = 200,
        .allocation_connections = 100,
        .unauthenticated_answers_per_s = 100,
    };
    assert_memory_equal(&c->limits, &limits, sizeof limits);
    config_free(c);
}

static void five_lines_make_a_deployment(void **state)
{
    write_file("cert.pem", "x");
    write_file("key.pem", "x");
    setenv("TURN_SECRET", "0123456789abcdef", 1);
    struct config *c = loaded("realm    = turn.example.org\n"
                              "secret   = ${TURN_SECRET}\n"
                              "relay-ip = \"10.0.0.5=203.0.113.7\"\n"
                              "cert     = cert.pem\n"
                              "key      = key.pem\n");
    unsetenv("TURN_SECRET");
    char buf[ADDR_TEXT_MAX];
    assert_string_equal(c->realm, "turn.example.org");
    assert_int_equal(c->secrets_n, 1);
    assert_string_equal(c->secrets[0], "0123456789abcdef");
    assert_int_equal(c->relay_n, 1);
    assert_string_equal(addr_format(&c->relay[0].local, buf), "10.0.0.5");
    assert_string_equal(addr_format(&c->relay[0].advertised, buf), "203.0.113.7");
    assert_string_equal(c->cert, in_folder("cert.pem")); /* relative to the file */
    assert_string_equal(c->key, in_folder("key.pem"));
    assert_string_equal(c->file, in_folder("f.conf"));
    config_free(c);
}

static void listeners_have_schemes(void **state)
{
    struct config *c = loaded("listen = 192.0.2.1:3478\n"
                              "listen = {udp://192.0.2.1:1, tcp://192.0.2.1:1, tls://192.0.2.1:2, dtls://192.0.2.1:2}\n"
                              "listen = \"[2001:db8::1]:3478\"\n"
                              "listen = :5349\n"
                              "listen = \"tls://*:443\"\n");
    assert_int_equal(c->listen_n, 10);
    assert_listen(c, 0, "192.0.2.1:3478", AUTO);
    assert_listen(c, 1, "192.0.2.1:1", LISTEN_UDP);
    assert_listen(c, 2, "192.0.2.1:1", LISTEN_TCP);
    assert_listen(c, 3, "192.0.2.1:2", LISTEN_TLS);
    assert_listen(c, 4, "192.0.2.1:2", LISTEN_DTLS);
    assert_listen(c, 5, "[2001:db8::1]:3478", AUTO);
    assert_listen(c, 6, "0.0.0.0:5349", AUTO);
    assert_listen(c, 7, "[::]:5349", AUTO);
    assert_listen(c, 8, "0.0.0.0:443", LISTEN_TLS);
    assert_listen(c, 9, "[::]:443", LISTEN_TLS);
    config_free(c);
}

static void relay_addresses_may_be_translated(void **state)
{
    struct config *c = loaded("relay-ip = 192.0.2.1\nrelay-ip = '2001:db8::1=2001:db8::2'\nrelay-ip = [2001:db8::3]\n");
    char buf[ADDR_TEXT_MAX];
    assert_int_equal(c->relay_n, 3);
    assert_string_equal(addr_format(&c->relay[0].local, buf), "192.0.2.1");
    assert_int_equal(c->relay[0].advertised.family, ADDR_NONE);
    assert_string_equal(addr_format(&c->relay[1].advertised, buf), "2001:db8::2");
    assert_string_equal(addr_format(&c->relay[2].local, buf), "2001:db8::3");
    config_free(c);
}

static void users_and_secrets_are_taken_literally(void **state)
{
    struct config *c = loaded("user = \"alice:se:same 1\"\nuser = '\u30de\u30c8:\u00e9'\nsecret = new\nsecret = old\n");
    assert_int_equal(c->users_n, 2);
    assert_string_equal(c->users[0].name, "alice");
    assert_string_equal(c->users[0].password, "se:same 1");
    assert_string_equal(c->users[1].name, "\u30de\u30c8");
    assert_string_equal(c->users[1].password, "\u00e9");
    assert_int_equal(c->secrets_n, 2);
    assert_string_equal(c->secrets[0], "new");
    config_free(c);
}

static void rules_say_where_they_stand(void **state)
{
    struct config *c = load("deny-peer = 203.0.113.0/24\nallow-peer = {10.0.0.0/8, 2001:db8::/32\n, ::/0}\n",
                            "--deny-peer", "192.0.2.7", NULL);
    char buf[ADDR_TEXT_MAX], where[200];
    assert_non_null(c);
    assert_int_equal(c->rules_n, 4); /* the flag replaced the file's deny-peer */
    assert_string_equal(prefix_format(&c->rules[0].prefix, buf), "10.0.0.0/8");
    assert_true(c->rules[0].allow);
    snprintf(where, sizeof where, "allow-peer 10.0.0.0/8 (%s:2)", in_folder("f.conf"));
    assert_string_equal(c->rules[0].where, where);
    snprintf(where, sizeof where, "allow-peer ::/0 (%s:3)", in_folder("f.conf"));
    assert_string_equal(c->rules[2].where, where);
    assert_string_equal(c->rules[3].where, "deny-peer 192.0.2.7/32 (--deny-peer)");
    assert_false(c->rules[3].allow);
    config_free(c);
}

static void all_of_the_contract_are_flags(void **state)
{
    struct config *c =
        load(NULL, "--listen", "127.0.0.1:3478", "--listen=tls://127.0.0.1:5349", "--relay-ip", "127.0.0.1",
             "--relay-ports", "50000-50100", "--realm", "r", "--user", "a:b", "--user", "c:d", "--secret", "s",
             "--allow-peer", "127.0.0.0/8", "--deny-peer", "10.0.0.0/8", "--workers", "3", "--state", folder, "--log",
             "text", "--log-level=debug", "--no-self-test", "--run-as", "root", "--drain=0", NULL);
    if (!c)
        fail_msg("%s", said);
    assert_int_equal(c->listen_n, 2);
    assert_int_equal(c->relay_port_min, 50000);
    assert_int_equal(c->relay_port_max, 50100);
    assert_string_equal(c->realm, "r");
    assert_int_equal(c->users_n, 2);
    assert_int_equal(c->workers, 3);
    assert_string_equal(c->state, folder);
    assert_false(c->log_json);
    assert_true(c->log_debug);
    assert_false(c->self_test);
    assert_null(c->run_as);
    assert_int_equal(c->drain_s, 0);
    config_free(c);
}

static void the_flag_c_names_the_file(void **state)
{
    char *path = write_file("other.conf", "realm = other\nuser = a:b\n");
    struct config *c = load(NULL, "-c", path, "--realm", "flag", NULL);
    assert_non_null(c);
    assert_string_equal(c->file, path);
    assert_string_equal(c->realm, "flag");
    assert_int_equal(c->users_n, 1);
    config_free(c);
}

/* ---- what is refused ---- */

static const char *const wrong_files[][2] = {
    /* listen */
    {"listen = 3478", "listen \"3478\": not an IP address with a port; write 192.0.2.1:3478"},
    {"listen = 192.0.2.1", "not an IP address with a port"},
    {"listen = 192.0.2.1:0", "not an IP address with a port"},
    {"listen = 192.0.2.1:65536", "not an IP address with a port"},
    {"listen = :0", "not an IP address with a port"},
    {"listen = turn.example.org:3478", "not an IP address with a port"},
    {"listen = 2001:db8::1:3478", "not an IP address with a port"},
    {"listen = http://192.0.2.1:80", "no such scheme; write udp://, tcp://, tls://, dtls://"},
    {"listen = TLS://192.0.2.1:80", "no such scheme"},
    {"listen = 192.0.2.1:1\nlisten = udp://192.0.2.1:1",
     "f.conf:2: listen \"udp://192.0.2.1:1\": another listen has this port"},
    {"listen = {tls://:1, tcp://:1}", "another listen has this port"},
    /* relay-ip */
    {"relay-ip = 192.0.2.1:80", "not an address of this machine"},
    {"relay-ip = host", "not an address of this machine"},
    {"relay-ip = 0.0.0.0", "not an address of this machine"},
    {"relay-ip = ::", "not an address of this machine"},
    {"relay-ip = 224.0.0.1", "not an address of this machine"},
    {"relay-ip = ff02::1", "not an address of this machine"},
    {"relay-ip = '192.0.2.1=2001:db8::1'", "same family"},
    {"relay-ip = '192.0.2.1='", "not an address of this machine"},
    {"relay-ip = '=192.0.2.1'", "not an address of this machine"},
    {"relay-ip = {192.0.2.1, '192.0.2.1=192.0.2.2'}", "this address is given twice"},
    /* relay-ports */
    {"relay-ports = 50100-50000", "the range is reversed; write 50000-50100"},
    {"relay-ports = 50000", "not a range of ports"},
    {"relay-ports = 50000-65536", "not a range of ports"},
    {"relay-ports = 0-1", "not a range of ports"},
    {"relay-ports = 1-65535", "ports below 1024"},
    {"relay-ports = '50000 - 50100'", "not a range of ports"},
    /* realm, users, secrets */
    {"realm = 'a\"b'", "realm \"a\"b\": the realm must be UTF-8"},
    {"user = alice", "user: the password is missing; write NAME:PASSWORD"},
    {"user = 'alice:'", "user: the password is missing"},
    {"user = ':sesame'", "user: the name is empty"},
    {"user = a:b\nuser = a:c", "f.conf:2: user: this name is given twice"},
    {"secret = ''", "f.conf:1: secret: the value is empty"},
    /* peer rules: checklist S6 */
    {"\nallow-peer = 10.0.0.1/8",
     "f.conf:2: allow-peer \"10.0.0.1/8\": bits behind the prefix are set; write 10.0.0.0/8"},
    {"\n\ndeny-peer = 2001:db8::1/32",
     "f.conf:3: deny-peer \"2001:db8::1/32\": bits behind the prefix are set; write 2001:db8::/32"},
    {"deny-peer = 10.0.0.0/33", "not an address prefix"},
    {"deny-peer = 10.0.0.0/", "not an address prefix"},
    {"deny-peer = 10.0.0.0/08", "write 10.0.0.0/8"},
    {"deny-peer = 10.0.0.0-10.0.0.9", "not an address prefix"},
    {"deny-peer = '10.0.0.0 - 10.0.0.9'", "not an address prefix"},
    {"deny-peer = 2001:db8::1:ff-2001:db8::2:0", "not an address prefix"},
    {"deny-peer = 010.0.0.0/8", "not an address prefix"},
    {"deny-peer = 10/8", "not an address prefix"},
    {"deny-peer = fe80::1%eth0", "not an address prefix"},
    {"deny-peer = example.org", "not an address prefix"},
    {"deny-peer = 10.0.0.0/8\nallow-peer = 10.0.0.0/8",
     "f.conf:1: deny-peer \"10.0.0.0/8\": contradicts or repeats allow-peer"},
    {"deny-peer = {10.0.0.1, 10.0.0.1/32}", "contradicts or repeats"},
    /* files, process, numbers */
    {"cert = none.pem", "none.pem\": cannot be read: No such file or directory"},
    {"cert = f.conf", "cert \"f.conf\": its private key is missing; add key = FILE"},
    {"key = f.conf", "key \"f.conf\": its certificate is missing; add cert = FILE"},
    {"run-as = no-such-account", "there is no such account; make it (useradd --system no-such-account)"},
    {"workers = 257", "out of range; 0 to 256"},
    {"lifetime = 2h", "longer than lifetime-max (3600 s); lower it or raise that"},
    {"lifetime = 0", "out of range; 1 to 86400 seconds"},
    {"drain = soon", "not a duration"},
    {"log = syslog", "not one of json|text"},
    {"max-allocations = -1", "not a whole number"},
    {"user-bandwidth = fast", "not a size"},
    {"relay-port = 1-2", "f.conf:1: relay-port: no such option; did you mean relay-ports?"},
};

static void a_wrong_file_is_refused_with_line_and_reason(void **state)
{
    for (size_t i = 0; i < sizeof wrong_files / sizeof wrong_files[0]; i++) {
        struct config *c = load(wrong_files[i][0], NULL);
        if (c || !strstr(said, wrong_files[i][1]) || !strstr(said, "f.conf:"))
            fail_msg("%s\ngave\n%swithout\n%s", wrong_files[i][0], said, wrong_files[i][1]);
    }
}

static void a_wrong_flag_is_refused(void **state)
{
    static const char *const rows[][3] = {
        {"--relay-ports", "5-4", "--relay-ports \"5-4\": the range is reversed; write 4-5\n"},
        {"--deny-peer", "10.0.0.1/8", "--deny-peer \"10.0.0.1/8\": bits behind the prefix are set"},
        {"--user", "alice", "--user: the password is missing"},
        {"-c", "/nonexistent", "/nonexistent: cannot be read: No such file or directory"},
        {"--lisen", ":1", "--lisen: no such flag; did you mean --listen?\n"},
        {"3478", NULL, "3478: not a flag; values belong behind one"},
        {"--cert", "/nonexistent", "--cert \"/nonexistent\": cannot be read"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_null(load(NULL, rows[i][0], rows[i][1], NULL));
        if (!strstr(said, rows[i][2]))
            fail_msg("%s without %s", said, rows[i][2]);
    }
}

static void every_mistake_is_told(void **state)
{
    assert_null(load("listen = x\nrelay-ports = 5-4\nuser = y\ndeny-peer = z\nrealmm = a\n", "--workers=many", NULL));
    static const char *const all[] = {"f.conf:1: listen",    "f.conf:2: relay-ports", "f.conf:3: user",
                                      "f.conf:4: deny-peer", "f.conf:5: realmm",      "--workers"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!strstr(said, all[i]))
            fail_msg("%s without %s", said, all[i]);
}

static void lists_have_bounds(void **state)
{
    char file[8000];
    struct text t = text_of(file, sizeof file);
    for (int i = 0; i <= CONFIG_LIST_MAX; i++)
        text_addf(&t, "secret = secret-number-%d\n", i);
    assert_null(load(file, NULL));
    assert_non_null(strstr(said, "f.conf:65: secret: more than 64 values\n"));
    t = text_of(file, sizeof file);
    for (int i = 0; i <= CONFIG_LIST_MAX / 2; i++)
        text_addf(&t, "listen = :%d\n", i + 1);
    assert_null(load(file, NULL));
    assert_non_null(strstr(said, "more than 64 values"));
}

static void secrets_are_in_no_message(void **state)
{
    static const char *const files[] = {"user = a:hunter2\nuser = a:hunter2\n", "user = hunter2\n",
                                        "user = ':hunter2'\n", "secret = hunter2 hunter2\n",
                                        "user = \"x\x01:hunter2\"\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_null(load(files[i], NULL));
        assert_string_not_equal(said, "");
        assert_null(strstr(said, "hunter2"));
    }
}

/* ---- where things lie ---- */

static int look_for_state(void)
{
    setenv("HOME", "/home/somebody", 1);
    setenv("XDG_STATE_HOME", "/var/tmp/xdg", 1);
    struct config *xdg = load(NULL, NULL);
    setenv("XDG_STATE_HOME", "relative", 1);
    struct config *home = load(NULL, NULL);
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    struct config *none = load(NULL, NULL);
    if (!xdg || strcmp(xdg->state, "/var/tmp/xdg/causeway") != 0 || xdg->run_as)
        return 1;
    if (!home || strcmp(home->state, "/home/somebody/.local/state/causeway") != 0)
        return 2;
    if (none || !strstr(said, "neither HOME nor XDG_STATE_HOME"))
        return 3;
    struct config *named = load(NULL, "--state", "/var/tmp/named", NULL);
    if (!named || strcmp(named->state, "/var/tmp/named") != 0)
        return 4;
    config_free(xdg);
    config_free(home);
    config_free(named);
    return 0;
}

static int load_as_root_and_again(void)
{
    struct config *first = load(NULL, NULL);
    if (!first || strcmp(first->state, "/var/lib/causeway") != 0 || !first->run_as)
        return 1;
    if (setuid(65534))
        return 2;
    unsetenv("HOME");
    struct config *second = load(NULL, NULL);
    char changes[100];
    struct text t = text_of(changes, sizeof changes);
    if (!second || strcmp(second->state, first->state) != 0 || strcmp(second->run_as, first->run_as) != 0)
        return 3;
    config_fixed_changes(first, second, &t);
    config_free(first);
    config_free(second);
    return t.n ? 4 : 0;
}

static void the_state_directory_depends_on_who_starts(void **state)
{
    assert_int_equal(as_somebody(look_for_state), 0);
}

static void a_reload_after_dropping_root_finds_the_same(void **state)
{
    if (geteuid() != 0)
        skip();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(load_as_root_and_again());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(the_state_directory_depends_on_who_starts),
        each(a_reload_after_dropping_root_finds_the_same),
        each(nothing_given_is_enough),
        each(five_lines_make_a_deployment),
        each(listeners_have_schemes),
        each(relay_addresses_may_be_translated),
        each(users_and_secrets_are_taken_literally),
        each(rules_say_where_they_stand),
        each(all_of_the_contract_are_flags),
        each(the_flag_c_names_the_file),
        each(a_wrong_file_is_refused_with_line_and_reason),
        each(a_wrong_flag_is_refused),
        each(every_mistake_is_told),
        each(lists_have_bounds),
        each(secrets_are_in_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
