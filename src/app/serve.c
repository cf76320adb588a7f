/* `causeway serve`: the command line of the server, what it says at its start, and its self-test. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/command.h"
#include "app/doctor.h"
#include "app/server.h"
#include "app/turn_uris.h"

enum { WHY_MAX = 8192 };

/* ---- what it says ---- */

static void say_uri(void *context, const char *uri, bool is_secure)
{
    const struct server *s = context;
    printf("URI         %s%s\n", uri, is_secure && !s->config->cert ? "   (self-signed certificate)" : "");
}

static void say_credential(const struct server *s)
{
    const struct config *c = s->config;
    if (s->own_user && !c->users_n && !c->secrets_n && s->policy->users == 1)
        printf("credential  %s:%s   (made at the first start, kept in %s/%s)\n", s->own_user, s->own_password, c->state,
               STATE_CREDENTIAL);
    else
        printf("credential  %zu user%s configured%s\n", s->policy->users, s->policy->users == 1 ? "" : "s",
               c->secrets_n ? ", and tokens of a shared secret (causeway user token)" : "");
}

static void say_mras(const struct config_mras *m)
{
    char buf[ADDR_TEXT_MAX];
    for (size_t i = 0; i < m->listen_n; i++)
        printf("MRAS        %s://%s for %s\n", m->listen[i].is_tls ? "tls" : "tcp",
               addr_format(&m->listen[i].local, buf),
               m->allow_n                            ? "the addresses of mras-allow"
               : m->listen[i].is_tls && m->client_ca ? "who has a certificate"
                                                     : "this machine alone");
}

static void say_start(const struct server *s)
{
    const struct config *c = s->config;
    printf("causeway    %s, %u worker%s, realm %s, state in %s\n", CAUSEWAY_VERSION, c->workers,
           c->workers == 1 ? "" : "s", c->realm, c->state);
    say_credential(s);
    turn_uris_each(c, true, say_uri, (void *)(uintptr_t)s);
    say_mras(&c->mras);
    printf("peers       private, loopback and other special addresses are refused%s\n",
           c->rules_n ? ", but for the rules of the configuration" : "; allow-peer opens some");
    if (!c->cert)
        printf("warning     the certificate is self-signed: browsers and most phones refuse it; set cert and key to "
               "files of your own\n");
    char buf[WHY_MAX];
    struct text warnings = text_of(buf, sizeof buf);
    config_warnings(c, &warnings);
    for (char *save = NULL, *line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        printf("warning     %s\n", line);
    printf("ready\n");
    fflush(stdout);
}

/* ---- the self-test ---- */

struct self_test {
    struct doctor_target target;
    char user[20], password[40];
};

/* The listener to test: plain TCP proves most, then TLS, then UDP. */
static const struct listen_fd *testable(const struct server *s)
{
    static const unsigned order[] = {LISTEN_AUTO_TCP | LISTEN_TCP | LISTEN_PSEUDOTLS, LISTEN_TLS,
                                     LISTEN_AUTO_UDP | LISTEN_UDP, LISTEN_DTLS};
    for (size_t k = 0; k < sizeof order / sizeof *order; k++)
        for (size_t i = 0; i < s->fds_n; i++)
            if (s->fds[i].schemes & order[k])
                return &s->fds[i];
    return NULL;
}

/* UDP and TCP on one address: the test covers both. */
static bool serves_both(const struct server *s, const struct listen_fd *l)
{
    for (size_t i = 0; i < s->fds_n; i++)
        if (s->fds[i].is_udp && s->fds[i].schemes & LISTEN_AUTO_UDP && addr_is_equal(&s->fds[i].local, &l->local))
            return l->schemes & LISTEN_AUTO_TCP;
    return false;
}

static void aim(struct self_test *t, const struct server *s, const struct listen_fd *l)
{
    struct addr at = l->local;
    static const uint8_t any[16];
    if (memcmp(at.ip, any, sizeof any) == 0)
        at = at.family == ADDR_V4 ? addr_v4(0x7f000001, at.port) : at;
    if (at.family == ADDR_V6 && memcmp(at.ip, any, sizeof any) == 0)
        at.ip[15] = 1;
    strcpy(t->user, s->test_user);
    strcpy(t->password, s->test_password);
    t->target = (struct doctor_target){
        .user = t->user, .password = t->password, .insecure = true, .timeout_ms = 5000, .bytes = 1 << 20};
    t->target.uri = (struct turn_uri){.is_turn = true, .port = at.port};
    t->target.uri.is_secure = l->schemes == LISTEN_TLS || l->schemes == LISTEN_DTLS;
    t->target.uri.transport = serves_both(s, l) ? TURN_URI_ANY : l->is_udp ? TURN_URI_UDP : TURN_URI_TCP;
    addr_format_ip(&at, t->target.uri.host);
}

static void *run_self_test(void *arg)
{
    struct self_test *t = arg;
    struct doctor_report *report = calloc(1, sizeof *report);
    if (report) {
        int err = doctor_self_test(&t->target, report);
        char buf[512];
        struct text verdict = text_of(buf, sizeof buf);
        doctor_verdict(report, &verdict);
        printf("self-test   %s: %s\n", err ? "failed" : "ok", buf);
        for (size_t i = 0; i < report->n; i++)
            if (report->rows[i].result == DOCTOR_FAIL)
                printf("self-test   %s: %s. %s\n", report->rows[i].title, report->rows[i].fact, report->rows[i].remedy);
        fflush(stdout);
        free(report);
    }
    return NULL;
}

static void start_self_test(struct self_test *t, const struct server *s)
{
    const struct listen_fd *l = testable(s);
    pthread_t thread;
    if (!s->config->self_test || s->config->is_ms_only || !l)
        return;
    aim(t, s, l);
    if (pthread_create(&thread, NULL, run_self_test, t) == 0)
        pthread_detach(thread); /* if it still runs at the end, it ends with the process */
}

/* ---- the command ---- */

void serve_usage(struct text *out)
{
    text_add(
        out,
        "usage: causeway serve [-c FILE] [flags]\n\n"
        "Serves TURN (RFC 8656, RFC 6062) until SIGTERM. Without -c and flags: port 3478 on all addresses, UDP, TCP,\n"
        "TLS and DTLS, with a credential that is made at the first start and printed.\n\n"
        "  causeway serve\n"
        "  causeway serve --user alice:sesame --relay-ip 192.0.2.1\n"
        "  causeway serve -c /etc/causeway.conf\n\n"
        "Flags (each is also an option of the file; causeway conf --sample prints one):\n\n");
    config_help_flags(out);
    text_add(out, "\nSignals: SIGHUP reloads configuration and certificates; SIGTERM and SIGINT drain, a second one "
                  "ends at once.\n"
                  "Standard output: what is served, then a line \"ready\". Standard error: one event a line.\n"
                  "Exit codes: 0 stopped in good order, 1 could not serve, 2 the configuration is wrong.\n");
}

static int complain(int code, const struct text *why)
{
    bool has_end = why->n && why->buf[why->n - 1] == '\n';
    fprintf(stderr, "causeway serve: %s:\n%s%s", code == EXIT_USAGE ? "the configuration is wrong" : "cannot serve",
            why->buf, has_end ? "" : "\n");
    return code;
}

int serve_main(int argc, char **argv)
{
    static struct server server;
    static struct self_test test;
    char buf[WHY_MAX];
    struct text why = text_of(buf, sizeof buf);
    struct config *config = config_load(NULL, argc, argv, &why);
    if (!config)
        return complain(EXIT_USAGE, &why);
    int err = server_open(&server, config, argc, argv, &why);
    if (err) {
        server_close(&server);
        return complain(err == ERR_BAD || err == ERR_CRYPTO ? EXIT_USAGE : EXIT_REFUSED, &why);
    }
    say_start(&server);
    start_self_test(&test, &server);
    server_run(&server);
    server_close(&server);
    return EXIT_OK;
}
