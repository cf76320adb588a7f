#include "sys/dtls.h"

#include "certs.h"

#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/rand.h"
#include "sys/dgram.h"

extern char **environ;

static SSL_CTX *server_ctx, *client_ctx;
static struct dtls_listener *listener;

static int setup(void **state)
{
    server_ctx = certs_server(true, NULL);
    client_ctx = certs_client(true, NULL);
    listener = dtls_listener_new(server_ctx);
    return listener ? 0 : -1;
}

static int teardown(void **state)
{
    dtls_listener_free(listener);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    return 0;
}

/* ---- a wire in memory that can lose datagrams ---- */

enum { WIRE = 256, LARGEST = 17000 };

struct wire {
    struct {
        size_t n;
        uint8_t bytes[LARGEST];
    } queue[WIRE];
    unsigned head, tail;
    unsigned sent, lost, largest;
    uint64_t lose; /* bit i: datagram i is lost */
};

struct side {
    struct dtls *d;
    struct wire *out;
    size_t got, calls;
    uint8_t bytes[LARGEST];
    bool echoes;
};

static struct wire to_server, to_client;
static struct side client, server;
static const struct addr here = {.ip = {192, 0, 2, 1}, .port = 4000, .family = ADDR_V4};
static const struct addr there = {.ip = {192, 0, 2, 2}, .port = 4000, .family = ADDR_V4};

static void on_send(void *user, struct span datagram)
{
    struct wire *w = ((struct side *)user)->out;
    unsigned i = w->sent++;
    w->largest = datagram.n > w->largest ? (unsigned)datagram.n : w->largest;
    if (i < 64 && w->lose >> i & 1) {
        w->lost++;
        return;
    }
    assert_in_range(datagram.n, 1, LARGEST);
    assert_true(w->tail - w->head < WIRE);
    w->queue[w->tail % WIRE].n = datagram.n;
    memcpy(w->queue[w->tail++ % WIRE].bytes, datagram.p, datagram.n);
}

static void on_receive(void *user, struct span payload)
{
    struct side *s = user;
    s->calls++;
    s->got = payload.n;
    memcpy(s->bytes, payload.p, payload.n);
    if (s->echoes)
        assert_int_equal(dtls_send(s->d, span_of("echo ", 5), payload), 0);
}

static const struct dtls_ops ops = {.send = on_send, .receive = on_receive};

/* The next datagram on this wire, or an empty span. */
static struct span take(struct wire *w)
{
    if (w->head == w->tail)
        return span_of(NULL, 0);
    unsigned i = w->head++ % WIRE;
    return span_of(w->queue[i].bytes, w->queue[i].n);
}

static void start_over(void)
{
    to_server = to_client = (struct wire){.head = 0};
    client = (struct side){.out = &to_server};
    server = (struct side){.out = &to_client};
}

static void to_the_server(struct span datagram)
{
    if (server.d)
        assert_int_equal(dtls_input(server.d, datagram), 0);
    else
        server.d = dtls_accept(listener, &here, datagram, &ops, &server);
}

/* Carries everything that is on the wires. */
static void carry(void)
{
    for (bool any = true; any;) {
        struct span s = take(&to_server), c = span_of(NULL, 0);
        if (s.n)
            to_the_server(s);
        else if ((c = take(&to_client)).n)
            assert_int_equal(dtls_input(client.d, c), 0);
        any = s.n || c.n;
    }
}

static void retransmit(struct side *s)
{
    if (s->d && dtls_deadline(s->d) == 0)
        assert_int_equal(dtls_timeout(s->d), 0);
}

static bool is_ready(void)
{
    return client.d && server.d && dtls_is_ready(client.d) && dtls_is_ready(server.d);
}

static void shake_hands(void)
{
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    client.d = dtls_connect(client_ctx, &ops, &client);
    assert_non_null(client.d);
    for (carry(); !is_ready(); carry()) {
        assert_true(loop_clock_ms() < give_up);
        usleep(5000);
        retransmit(&client);
        retransmit(&server);
    }
}

static void hang_up(void)
{
    dtls_free(client.d);
    dtls_free(server.d);
    client.d = server.d = NULL;
}

/* ---- between ourselves ---- */

static void both_ways(void **state)
{
    start_over();
    shake_hands();
    assert_true(to_server.largest <= DTLS_MTU && to_client.largest <= DTLS_MTU);
    assert_int_equal(dtls_deadline(client.d), -1);
    server.echoes = true;
    assert_int_equal(dtls_send(client.d, span_of("head ", 5), span_of("body", 4)), 0);
    carry();
    assert_int_equal(server.got, 9);
    assert_memory_equal(server.bytes, "head body", 9);
    assert_int_equal(client.got, 14);
    assert_memory_equal(client.bytes, "echo head body", 14);
    hang_up();
}

/* A datagram in is a datagram out, whatever its size. */
static void records_keep_their_bounds(void **state)
{
    static uint8_t large[DTLS_PAYLOAD_MAX + 1];
    static const size_t sizes[] = {1, 1200, 1201, 1500, DTLS_PAYLOAD_MAX};
    start_over();
    shake_hands();
    rand_bytes(large, sizeof large);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned before = to_server.sent;
        assert_int_equal(dtls_send(client.d, span_of(NULL, 0), span_of(large, sizes[i])), 0);
        carry();
        assert_int_equal(to_server.sent, before + 1);
        assert_int_equal(server.calls, i + 1);
        assert_int_equal(server.got, sizes[i]);
        assert_memory_equal(server.bytes, large, sizes[i]);
    }
    assert_int_equal(dtls_send(client.d, span_of(large, 1), span_of(large, DTLS_PAYLOAD_MAX)), ERR_FULL);
    hang_up();
}

/* Each flight is lost once on its way, then parts of flights: the handshake comes through all the same. */
static void lost_flights_are_sent_again(void **state)
{
    static const uint64_t losses[][2] = {{0x1, 0}, {0x2, 0}, {0x4, 0}, {0, 0x1}, {0, 0x2}, {0, 0x4}, {0x5, 0x2}};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        start_over();
        to_server.lose = losses[i][0];
        to_client.lose = losses[i][1];
        shake_hands();
        assert_true(to_server.lost + to_client.lost > 0);
        dtls_send(client.d, span_of("x", 1), span_of(NULL, 0));
        carry();
        assert_int_equal(server.got, 1);
        hang_up();
    }
}

static void handshake_has_a_deadline(void **state)
{
    start_over();
    client.d = dtls_connect(client_ctx, &ops, &client);
    assert_in_range(dtls_deadline(client.d), 1, 1000); /* RFC 6347 s.4.2.4.1 */
    assert_int_equal(dtls_timeout(client.d), 0);       /* not due: nothing is sent */
    assert_int_equal(to_server.sent, 1);
    assert_false(dtls_is_ready(client.d));
    assert_int_equal(dtls_send(client.d, span_of("x", 1), span_of(NULL, 0)), ERR_AGAIN);
    hang_up();
}

static void close_notify_is_noticed(void **state)
{
    start_over();
    shake_hands();
    dtls_free(client.d);
    client.d = NULL;
    struct span last = take(&to_server);
    assert_true(last.n > 0);
    assert_int_equal(dtls_input(server.d, last), ERR_CLOSED);
    hang_up();
}

static void unknown_certificate(void **state)
{
    struct text why = text_of((char[200]){0}, 200);
    SSL_CTX *wary = tls_client_new(true, true, NULL, NULL, &why);
    start_over();
    client.d = dtls_connect(wary, &ops, &client);
    int err = 0;
    for (int i = 0; i < 20 && !err; i++) {
        struct span s = take(&to_server), c;
        if (s.n)
            to_the_server(s);
        while (!err && (c = take(&to_client)).n)
            err = dtls_input(client.d, c);
    }
    assert_int_equal(err, ERR_CRYPTO);
    assert_int_equal(dtls_input(client.d, span_of("x", 1)), ERR_CRYPTO);
    assert_int_equal(dtls_send(client.d, span_of("x", 1), span_of(NULL, 0)), ERR_CRYPTO);
    assert_int_equal(dtls_timeout(client.d), ERR_CLOSED);
    assert_int_equal(dtls_deadline(client.d), -1);
    for (struct span s = take(&to_server); s.n && err != ERR_CLOSED; s = take(&to_server))
        err = dtls_input(server.d, s);
    assert_int_equal(err, ERR_CLOSED); /* the alert */
    hang_up();
    SSL_CTX_free(wary);
}

/* ---- strangers ---- */

/* A ClientHello without a cookie. */
static struct span first_hello(void)
{
    start_over();
    client.d = dtls_connect(client_ctx, &ops, &client);
    return take(&to_server);
}

/* S30: what a client sends before the cookie costs an answer that is smaller than the question, and nothing stays. */
static void no_state_before_the_cookie(void **state)
{
    struct span hello = first_hello();
    struct addr from = here;
    for (int i = 0; i < 100; i++)
        assert_null(dtls_accept(listener, &from, hello, &ops, &server));
    assert_int_equal(to_client.sent, 100);
    assert_true(to_client.largest < hello.n);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct mallinfo2 before = mallinfo2();
#endif
    for (int i = 0; i < 20000; i++) {
        from.port = (uint16_t)i;
        assert_null(dtls_accept(listener, &from, hello, &ops, &server));
        take(&to_client);
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct mallinfo2 after = mallinfo2();
    assert_true(after.uordblks < before.uordblks + 16 * 1024); /* bytes in use; 20000 clients */
#endif
    hang_up();
}

static unsigned admissions;

static bool admit_second(void *user)
{
    return ++admissions > 1;
}

/* Who is not admitted costs no handshake, and the listener serves the next one. */
static void not_admitted_gets_no_handshake(void **state)
{
    static const struct dtls_ops picky = {on_send, on_receive, admit_second};
    struct span hello = first_hello();
    assert_null(dtls_accept(listener, &here, hello, &picky, &server));
    assert_int_equal(admissions, 0);
    assert_int_equal(dtls_input(client.d, take(&to_client)), 0); /* HelloVerifyRequest */
    hello = take(&to_server);
    unsigned sent = to_client.sent;
    assert_null(dtls_accept(listener, &here, hello, &picky, &server));
    assert_int_equal(admissions, 1);
    assert_int_equal(to_client.sent, sent);
    server.d = dtls_accept(listener, &here, hello, &picky, &server);
    assert_non_null(server.d);
    assert_true(to_client.sent > sent);
    hang_up();
}

/* This stands instead of the C library's: the clock of the test can be put forward. */
static time_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
    int err = (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec += ahead_s;
    return err;
}

/* A cookie is worth nothing two minutes later. */
static void cookie_ends(void **state)
{
    struct span hello = first_hello();
    assert_null(dtls_accept(listener, &here, hello, &ops, &server));
    assert_int_equal(dtls_input(client.d, take(&to_client)), 0); /* HelloVerifyRequest */
    hello = take(&to_server);
    ahead_s = 120;
    assert_null(dtls_accept(listener, &here, hello, &ops, &server));
    ahead_s = 60;
    server.d = dtls_accept(listener, &here, hello, &ops, &server);
    assert_non_null(server.d);
    ahead_s = 0;
    hang_up();
}

/* The cookie of one address is worth nothing at another. */
static void cookie_belongs_to_an_address(void **state)
{
    struct addr other_port = here;
    struct span hello = first_hello();
    other_port.port++;
    assert_null(dtls_accept(listener, &here, hello, &ops, &server));
    assert_int_equal(dtls_input(client.d, take(&to_client)), 0); /* HelloVerifyRequest */
    hello = take(&to_server);
    assert_null(dtls_accept(listener, &there, hello, &ops, &server));
    assert_null(dtls_accept(listener, &other_port, hello, &ops, &server));
    assert_int_equal(to_client.sent, 3); /* each was asked for its own */
    server.d = dtls_accept(listener, &here, hello, &ops, &server);
    assert_non_null(server.d);
    assert_true(to_client.sent > 3);
    while (take(&to_client).n)
        ;
    struct side second = {.out = &to_client}; /* the listener goes on with a new scratch */
    assert_null(dtls_accept(listener, &there, hello, &ops, &second));
    hang_up();
}

static void nonsense_is_not_answered(void **state)
{
    uint8_t junk[600];
    struct span hello = first_hello();
    assert_null(dtls_accept(listener, &here, span_of(NULL, 0), &ops, &server));
    for (int i = 0; i < 2000; i++) {
        rand_bytes(junk, sizeof junk);
        size_t n = rand_below(sizeof junk) + 1;
        if (i % 3 == 1)
            junk[0] = 22;
        if (i % 3 == 2) { /* a hello that is cut short or has a wrong byte in its head */
            n = rand_below((uint32_t)hello.n);
            memcpy(junk, hello.p, n);
            if (n > 13)
                junk[rand_below(13)] ^= 0x55;
        }
        assert_null(dtls_accept(listener, &here, span_of(junk, n), &ops, &server));
    }
    assert_true(to_client.sent < 2000 / 3); /* a hello may survive in a few */
    while (take(&to_client).n)
        ;
    unsigned before = to_client.sent;
    assert_null(dtls_accept(listener, &here, hello, &ops, &server)); /* and it still works */
    assert_int_equal(to_client.sent, before + 1);
    hang_up();
}

/* Datagrams that somebody else throws in do not end an association. */
static void forged_datagrams_are_ignored(void **state)
{
    uint8_t junk[200];
    start_over();
    shake_hands();
    for (int i = 0; i < 500; i++) {
        rand_bytes(junk, sizeof junk);
        static const uint8_t head[] = {23, 0xfe, 0xfd, 0, 1};
        if (i & 1)
            memcpy(junk, head, sizeof head);
        assert_int_equal(dtls_input(server.d, span_of(junk, 1 + rand_below(sizeof junk))), 0);
    }
    assert_int_equal(server.calls, 0);
    dtls_send(client.d, span_of("x", 1), span_of(NULL, 0));
    struct span record = take(&to_server);
    assert_int_equal(dtls_input(server.d, record), 0);
    assert_int_equal(dtls_input(server.d, record), 0); /* a replay */
    assert_int_equal(server.calls, 1);
    hang_up();
}

/* ---- with OpenSSL's own client, over sockets ---- */

struct line {
    struct dgram dgram;
    struct dtls *dtls;
    struct addr peer;
    char got[64];
};

static void line_send(void *user, struct span datagram)
{
    struct line *l = user;
    dgram_send(&l->dgram, NULL, &l->peer, span_of(NULL, 0), datagram, false, false);
}

static void line_text(void *user, struct span payload)
{
    struct line *l = user;
    snprintf(l->got, sizeof l->got, "%.*s", (int)payload.n, (const char *)payload.p);
}

static const struct dtls_ops line_ops = {.send = line_send, .receive = line_text};

static void line_datagram(struct dgram *d, const struct dgram_in *in)
{
    struct line *l = container_of(d, struct line, dgram);
    l->peer = in->from;
    if (l->dtls)
        dtls_input(l->dtls, in->bytes);
    else
        l->dtls = dtls_accept(listener, &in->from, in->bytes, &line_ops, l);
}

static const struct dgram_ops line_dgram_ops = {.receive = line_datagram};

/* Its standard input comes from `in`, its output goes to `out`. */
static pid_t start_s_client(const struct addr *to, int in, int out)
{
    char address[ADDR_TEXT_MAX];
    char *argv[] = {"openssl",    "s_client",  "-dtls1_2",
                    "-connect",   address,     "-CAfile",
                    certs_cert,   "-quiet",    "-verify_return_error",
                    "-verify_ip", "127.0.0.1", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    addr_format(to, address);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
    int err = posix_spawnp(&pid, "openssl", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return err ? -1 : pid;
}

static void openssl_client_gets_through(void **state)
{
    static struct line line;
    struct loop loop;
    struct addr any = loopback(0);
    int in[2], out[2];
    line = (struct line){.got = ""};
    assert_int_equal(loop_init(&loop), 0);
    struct dgram_batch *batch = dgram_batch_new(&loop);
    assert_int_equal(dgram_open(&line.dgram, sock_udp(&any, false, 0), batch, &line_dgram_ops), 0);
    assert_int_equal(pipe(in) | pipe(out), 0);
    pid_t pid = start_s_client(&line.dgram.local, in[0], out[1]);
    assert_true(pid > 0);
    assert_int_equal(write(in[1], "ping\n", 5), 5);
    run_until(&loop, strcmp(line.got, "ping\n") == 0);
    assert_int_equal(dtls_send(line.dtls, span_of("po", 2), span_of("ng", 2)), 0);
    loop_turn(&loop, 0);
    char buf[8];
    assert_int_equal(read(out[0], buf, sizeof buf), 4);
    assert_memory_equal(buf, "pong", 4);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    dtls_free(line.dtls);
    dgram_close(&line.dgram);
    dgram_batch_free(batch);
    loop_fini(&loop);
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(out[i]);
    }
}

#define DTLS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DTLS_TEST(both_ways),
        DTLS_TEST(records_keep_their_bounds),
        DTLS_TEST(lost_flights_are_sent_again),
        DTLS_TEST(handshake_has_a_deadline),
        DTLS_TEST(close_notify_is_noticed),
        DTLS_TEST(unknown_certificate),
        DTLS_TEST(no_state_before_the_cookie),
        DTLS_TEST(not_admitted_gets_no_handshake),
        DTLS_TEST(cookie_ends),
        DTLS_TEST(cookie_belongs_to_an_address),
        DTLS_TEST(nonsense_is_not_answered),
        DTLS_TEST(forged_datagrams_are_ignored),
        DTLS_TEST(openssl_client_gets_through),
    };
    return cmocka_run_group_tests_name("dtls", tests, certs_setup, certs_teardown);
}
