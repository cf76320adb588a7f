/* A pump between two clients, all in one thread: the clients take a step, the loop takes a turn, until something holds.
 * What a client sends is a pattern of its position, so that the other one notices every lost, doubled or moved byte.
 */
#ifndef UNIT_SYS_PUMP_RIG_H
#define UNIT_SYS_PUMP_RIG_H

#include "certs.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/err.h"
#include "sys/pump.h"

enum { MB = 1 << 20, PIECE = 1 << 16 };

struct client {
    int fd;
    SSL *tls;
    size_t seed;              /* of what it sends */
    size_t plan, sent;        /* bytes */
    size_t got, expects_from; /* bytes, and the seed of what it should get */
    size_t piece;             /* of one write; at most PIECE */
    bool is_slow;             /* writes one piece a step */
    bool is_reading, shuts;   /* shuts: half-close when the plan is sent */
    bool is_shut, has_eof, has_reset, is_broken;
};

enum { X, Y };

/* x <-> conn[A] <-pump-> conn[B] <-> y */
struct pair {
    struct client client[2];
    struct conn conn[2];
    struct pump *pump;
    int ended;
    struct pump_end end;
    bool has_limit;
    size_t allowance[2], granted[2]; /* of `grant`, for each side */
    uint64_t retry_ms;               /* what `grant` says when it gives nothing */
    bool stop_in_grant, stop_in_end;
};

static struct loop loop;
static struct pump_pool *pool;
static SSL_CTX *server_ctx, *client_ctx;

/* ---- clients ---- */

static inline ssize_t client_write(struct client *c, const void *bytes, size_t n)
{
    ERR_clear_error();
    return c->tls ? SSL_write(c->tls, bytes, (int)n) : send(c->fd, bytes, n, MSG_NOSIGNAL);
}

static inline void client_send(struct client *c)
{
    uint8_t bytes[PIECE];
    while (c->sent < c->plan) {
        size_t n = c->plan - c->sent < c->piece ? c->plan - c->sent : c->piece;
        for (size_t i = 0; i < n; i++)
            bytes[i] = pattern(c->seed + c->sent + i);
        ssize_t sent = client_write(c, bytes, n);
        c->has_reset |= !c->tls && sent < 0 && errno != EAGAIN;
        if (sent <= 0)
            return;
        c->sent += (size_t)sent;
        if (c->is_slow)
            return;
    }
    if (c->shuts && !c->is_shut) {
        if (c->tls)
            SSL_shutdown(c->tls);
        shutdown(c->fd, SHUT_WR);
        c->is_shut = true;
    }
}

static inline ssize_t client_read(struct client *c, void *bytes, size_t n)
{
    if (!c->tls)
        return recv(c->fd, bytes, n, 0);
    ERR_clear_error();
    int got = SSL_read(c->tls, bytes, (int)n);
    if (got > 0)
        return got;
    int why = SSL_get_error(c->tls, got);
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

static inline void client_receive(struct client *c)
{
    uint8_t bytes[PIECE];
    ssize_t n;
    while ((n = client_read(c, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            c->is_broken |= bytes[i] != pattern(c->expects_from + c->got + (size_t)i);
        c->got += (size_t)n;
    }
    c->has_eof |= n == 0;
    c->has_reset |= n < 0 && errno != EAGAIN;
}

static inline void client_step(struct client *c)
{
    if (c->fd < 0)
        return;
    if (!c->has_reset)
        client_send(c);
    if (c->is_reading && !c->has_eof && !c->has_reset)
        client_receive(c);
}

static inline void client_close(struct client *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static inline void client_reset(struct client *c)
{
    sock_abort(c->fd);
    c->fd = -1;
}

/* Bytes sent that the kernel at the other end has not acknowledged. */
static inline int client_unacked(const struct client *c)
{
    int n = -1;
    ioctl(c->fd, SIOCOUTQ, &n);
    return n;
}

/* ---- pairs ---- */

static inline size_t rig_grant(void *user, enum pump_side from, size_t want, uint64_t *retry_ms)
{
    struct pair *p = user;
    assert_true(want > 0);
    if (p->stop_in_grant) {
        pump_stop(p->pump);
        return want;
    }
    size_t n = !p->has_limit || want < p->allowance[from] ? want : p->allowance[from];
    p->allowance[from] -= p->has_limit ? n : 0;
    p->granted[from] += n;
    *retry_ms = p->retry_ms;
    return n;
}

static inline void rig_ended(void *user, const struct pump_end *end)
{
    struct pair *p = user;
    p->ended++;
    p->end = *end;
    assert_false(conn_is_open(&p->conn[PUMP_A]));
    assert_false(conn_is_open(&p->conn[PUMP_B]));
    if (p->stop_in_end)
        pump_stop(p->pump);
}

static const struct pump_ops free_ops = {.ended = rig_ended};
static const struct pump_ops limited_ops = {.grant = rig_grant, .ended = rig_ended};

static inline size_t take_all(struct conn *c, struct span in)
{
    return in.n;
}

static inline void ignore_end(struct conn *c, enum conn_end why)
{
}

static const struct conn_ops rig_conn_ops = {.bytes = take_all, .ended = ignore_end};

static inline void client_start_tls(struct client *c, struct conn *server)
{
    assert_int_equal(conn_start_tls(server, server_ctx), 0);
    c->tls = SSL_new(client_ctx);
    assert_true(SSL_set_fd(c->tls, c->fd));
    SSL_set_mode(c->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_connect_state(c->tls);
}

/* Sockets and conns; not pumped yet. */
static inline void pair_connect(struct pair *p)
{
    *p = (struct pair){.retry_ms = 2};
    for (int i = 0; i < 2; i++) {
        int fds[2];
        tcp_pair(fds);
        p->client[i] = (struct client){.fd = fds[i], .piece = PIECE, .is_reading = true};
        p->client[i].seed = i ? 12345 : 0;
        p->client[i].expects_from = i ? 0 : 12345;
        conn_init(&p->conn[i], fds[!i], &rig_conn_ops, 4096, 16 * MB);
    }
}

static inline void pair_start(struct pair *p, const struct pump_ops *ops)
{
    p->pump = pump_start(pool, &p->conn[PUMP_A], &p->conn[PUMP_B], ops, p);
    assert_non_null(p->pump);
}

static inline void pair_open(struct pair *p)
{
    pair_connect(p);
    pair_start(p, &free_ops);
}

static inline void pair_step(struct pair *p)
{
    client_step(&p->client[X]);
    client_step(&p->client[Y]);
}

static inline void pair_close(struct pair *p)
{
    client_close(&p->client[X]);
    client_close(&p->client[Y]);
}

static inline bool is_quiet(const struct pair *p)
{
    return p->client[Y].got == p->client[X].plan && p->client[X].got == p->client[Y].plan;
}

/* The next timer's time has come: nobody waits for it here. */
static inline void fire_next_timer(void)
{
    if (heap_first(&loop.timers))
        heap_set(&loop.timers, heap_first(&loop.timers), 0);
    loop_turn(&loop, 0);
}

/* Steps of all pairs and turns of the loop until it holds; fails the test when it never does. */
#define drive_until(pairs, count, condition)               \
    do {                                                   \
        uint64_t give_up_ = loop_clock_ms() + PATIENCE_MS; \
        while (!(condition)) {                             \
            assert_true(loop_clock_ms() < give_up_);       \
            for (unsigned i_ = 0; i_ < (count); i_++)      \
                pair_step(&(pairs)[i_]);                   \
            loop_turn(&loop, 1);                           \
        }                                                  \
    } while (0)

/* A while without progress is expected: that many steps and turns. */
static inline void drive(struct pair *p, int turns)
{
    for (int i = 0; i < turns; i++) {
        pair_step(p);
        loop_turn(&loop, 1);
    }
}

static inline void assert_whole(const struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        assert_false(p->client[i].is_broken);
        assert_false(p->client[i].has_reset);
        assert_true(p->client[i].has_eof);
        assert_int_equal(p->client[i].got, p->client[!i].plan);
        assert_int_equal(p->end.bytes[i], p->client[i].plan);
    }
    assert_int_equal(p->ended, 1);
    assert_int_equal(p->end.why, CONN_END_EOF);
    assert_false(p->end.by_owner);
}

/* Both half-close when they have sent what they planned; all of it must arrive. */
static inline void pair_finish(struct pair *p)
{
    p->client[X].shuts = p->client[Y].shuts = true;
    drive_until(p, 1, p->ended && p->client[X].has_eof && p->client[Y].has_eof);
    assert_whole(p);
    pair_close(p);
}

static inline void open_with_tls(struct pair *p, bool at_x, bool at_y)
{
    pair_connect(p);
    if (at_x)
        client_start_tls(&p->client[X], &p->conn[PUMP_A]);
    if (at_y)
        client_start_tls(&p->client[Y], &p->conn[PUMP_B]);
}

/* ---- life of the rig ---- */

static inline int rig_setup_with(unsigned max_pipes)
{
    if (loop_init(&loop) < 0)
        return -1;
    pool = pump_pool_new(&loop, max_pipes);
    return pool ? 0 : -1;
}

static inline int rig_setup(void **state)
{
    return rig_setup_with(64);
}

static inline int rig_setup_without_pipes(void **state)
{
    return rig_setup_with(0);
}

static inline int rig_setup_one_pipe(void **state)
{
    return rig_setup_with(1);
}

static inline int rig_teardown(void **state)
{
    pump_pool_free(pool);
    loop_fini(&loop);
    return 0;
}

static inline int rig_setup_tls(void **state)
{
    server_ctx = certs_server(false, NULL);
    client_ctx = certs_client(false, NULL);
    return rig_setup(state);
}

static inline int rig_teardown_tls(void **state)
{
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    return rig_teardown(state);
}

#endif
