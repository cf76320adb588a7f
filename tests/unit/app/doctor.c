/* The doctor's command line and its report; what it finds in real servers is for the live tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/command.h"
#include "app/doctor_run.h"
#include "sys/sock.h"

/* Runs the command with its output thrown away. */
static int doctor(const char *first, ...)
{
    char *argv[16] = {(char *)"doctor"};
    int argc = 1, out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
    va_list args;
    va_start(args, first);
    for (const char *a = first; a; a = va_arg(args, const char *))
        argv[argc++] = (char *)a;
    va_end(args);
    fflush(stdout);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    int status = doctor_main(argc, argv);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    close(null);
    return status;
}

static void wrong_usage(void **state)
{
    (void)state;
    unsetenv("CAUSEWAY_PASSWORD");
    assert_int_equal(doctor(NULL), 2);
    assert_int_equal(doctor("relay.example.org", NULL), 2);
    assert_int_equal(doctor("turn:a", "turn:b", NULL), 2);
    assert_int_equal(doctor("turn:a", "--no-such-option", NULL), 2);
    assert_int_equal(doctor("turn:a", "--user", "alice", NULL), 2);
    assert_int_equal(doctor("turn:a", "--user", ":sesame", NULL), 2);
    assert_int_equal(doctor("turn:a", "--password-stdin", NULL), 2);
    assert_int_equal(doctor("turn:a", "--timeout", "0", NULL), 2);
    assert_int_equal(doctor("turn:a", "--timeout", "soon", NULL), 2);
    assert_int_equal(doctor("turn:a", "--bytes", "0", NULL), 2);
    assert_int_equal(doctor("turn:a", "--peer-ip", "192.0.2.1:5", NULL), 2);
    assert_int_equal(doctor("turn:a", "--peer-ip", "localhost", NULL), 2);
}

static void help(void **state)
{
    (void)state;
    assert_int_equal(doctor("--help", NULL), 0);
}

/* A port of this machine on which nothing listens: bound, but closed again. */
static uint16_t closed_port(void)
{
    struct addr any = addr_v4(0x7f000001, 0);
    int fd = sock_listen(&any, false, 1);
    assert_true(fd >= 0);
    uint16_t port = sock_local(fd).port;
    close(fd);
    return port;
}

static void nobody_there(void **state)
{
    (void)state;
    char url[64];
    snprintf(url, sizeof url, "turn:127.0.0.1:%u", closed_port());
    assert_int_equal(doctor(url, "--user", "alice:sesame", "--timeout", "1", NULL), 3);
    assert_int_equal(doctor(url, "--json", "--timeout", "1", NULL), 3);
}

static const struct doctor_row *find_row(const struct doctor_report *r, const char *id)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->rows[i].id, id) == 0)
            return &r->rows[i];
    fail_msg("no row %s", id);
    return NULL;
}

/* Each skipped row names its first cause. */
static void reasons_of_skipping(void **state)
{
    (void)state;
    static struct doctor_report r;
    struct doctor_target t = {.timeout_ms = 1000, .bytes = 1000};
    char why[100];
    struct text text = text_of(why, sizeof why);
    assert_int_equal(turn_uri_parse("stun:127.0.0.1?transport=tcp", &t.uri, &text), 0);
    t.uri.port = closed_port();
    doctor_run(&t, NULL, &r);
    assert_int_equal(r.n, doctor_checks_n);
    assert_string_equal(find_row(&r, "reach-udp")->fact, "the address asks for TCP only");
    assert_int_equal(find_row(&r, "reach-tcp")->result, DOCTOR_FAIL);
    assert_true(find_row(&r, "reach-tcp")->remedy[0]);
    assert_string_equal(find_row(&r, "tail")->fact, "a stun: address promises no relay");
    assert_string_equal(find_row(&r, "tls")->fact, "no TLS asked for (turns:)");
    turn_uri_parse("turn:127.0.0.1?transport=udp", &t.uri, &text);
    t.uri.port = closed_port();
    doctor_run(&t, NULL, &r);
    assert_string_equal(find_row(&r, "tail")->fact, "the address asks for UDP only; TCP relays need TCP or TLS");
    assert_string_equal(find_row(&r, "peer-udp")->fact, "needs --peer-ip ADDR");
    assert_string_equal(find_row(&r, "channel")->fact, "needs --user NAME:PASSWORD");
}

static void self_test_fails_without_server(void **state)
{
    (void)state;
    static struct doctor_report r;
    struct doctor_target t = {.user = "a", .password = "b", .timeout_ms = 1000, .bytes = 1000};
    char why[100];
    struct text text = text_of(why, sizeof why);
    turn_uri_parse("turn:127.0.0.1", &t.uri, &text);
    t.uri.port = closed_port();
    assert_int_not_equal(doctor_self_test(&t, &r), 0);
    assert_int_equal(r.exit, DOCTOR_EXIT_UNREACHABLE);
    for (size_t i = 0; i < r.n; i++) {
        assert_string_not_equal(r.rows[i].id, "wrong-password");
        assert_string_not_equal(r.rows[i].id, "private-peers");
    }
}

static struct doctor_report sample(void)
{
    struct doctor_report r = {.n = 3, .exit = DOCTOR_EXIT_FAILED, .took_ms = 1500};
    r.rows[0] = (struct doctor_row){.id = "a", .title = "First", .fact = "42 ms"};
    r.rows[0].numbers[r.rows[0].numbers_n++] = (struct doctor_number){"rtt_ms", 42};
    r.rows[1] = (struct doctor_row){
        .id = "b", .title = "Second", .result = DOCTOR_FAIL, .fact = "a \"quote\"", .remedy = "Mend it."};
    r.rows[2] = (struct doctor_row){.id = "c", .title = "Third", .result = DOCTOR_SKIPPED, .fact = "no need"};
    return r;
}

static void report_as_json(void **state)
{
    (void)state;
    char buf[2048];
    struct text out = text_of(buf, sizeof buf);
    struct doctor_report r = sample();
    struct doctor_target t = {.uri = {.host = "relay", .port = 3478}};
    doctor_to_json(&r, &t, &out);
    assert_string_equal(
        buf, "{\"host\":\"relay\",\"port\":3478,\"verdict\":\"failed\","
             "\"summary\":\"1 of 2 checks failed. 1 skipped. (1.5 s)\",\"exit_code\":1,\"took_ms\":1500,\"checks\":["
             "{\"check\":\"a\",\"title\":\"First\",\"result\":\"ok\",\"fact\":\"42 ms\",\"rtt_ms\":42.000},"
             "{\"check\":\"b\",\"title\":\"Second\",\"result\":\"fail\",\"fact\":\"a \\\"quote\\\"\",\"remedy\":\"Mend "
             "it.\"},"
             "{\"check\":\"c\",\"title\":\"Third\",\"result\":\"skipped\",\"fact\":\"no need\"}]}");
}

/* No line is wider than 120 columns, and nothing of the text is lost. */
static void rows_are_wrapped(void **state)
{
    (void)state;
    char buf[2048];
    struct text out = text_of(buf, sizeof buf);
    struct doctor_row row = {.id = "x", .title = "Title", .result = DOCTOR_FAIL};
    unsigned words = 0;
    for (char *p = row.fact; p + 8 < row.fact + sizeof row.fact; p += 7)
        memcpy(p, p == row.fact ? "sesame" : " sesame", p == row.fact ? 7 : 8);
    doctor_row_print(&row, false, &out);
    assert_false(out.truncated);
    for (const char *line = buf; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 120);
    for (const char *p = strstr(buf, "sesame"); p; p = strstr(p + 1, "sesame"))
        words++;
    unsigned wanted = 0;
    for (const char *p = strstr(row.fact, "sesame"); p; p = strstr(p + 1, "sesame"))
        wanted++;
    assert_int_equal(words, wanted);
}

static void special_addresses(void **state)
{
    (void)state;
    static const char *const special[] = {"127.0.0.1",   "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1",
                                          "169.254.1.1", "::1",      "fd00::1",    "fe80::1"};
    static const char *const public[] = {"172.32.0.1", "198.51.100.1", "100.128.0.1", "2001:db8::1", "11.0.0.1"};
    struct addr a;
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        assert_int_equal(addr_parse(special[i], &a), 0);
        assert_non_null(doctor_special(&a));
    }
    for (size_t i = 0; i < sizeof public / sizeof public[0]; i++) {
        assert_int_equal(addr_parse(public[i], &a), 0);
        assert_null(doctor_special(&a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test(help),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(reasons_of_skipping),
        cmocka_unit_test(self_test_fails_without_server),
        cmocka_unit_test(report_as_json),
        cmocka_unit_test(rows_are_wrapped),
        cmocka_unit_test(special_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
