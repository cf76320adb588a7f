#include "sys/conn.h"

#include "certs.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "sys/worker.h"

enum { IN_MAX = 4096, OUT_MAX = 1 << 20 };

static struct loop loop;

static int setup(void **state)
{
    return loop_init(&loop);
}

static int teardown(void **state)
{
    loop_fini(&loop);
    return 0;
}

/* ---- a conn under test and what happened to it ---- */

enum plan {
    TAKE,         /* consume everything */
    TAKE_LINES,   /* consume whole lines */
    TAKE_NOTHING, /* wait for more */
    PAUSE,        /* consume everything and pause */
    PAUSE_AT_ONE, /* consume one byte and pause */
    CLOSE,        /* close and free inside the callback, reading the bytes afterwards */
    ABORT,
    DETACH,      /* detach without consuming */
    CONSUME_TWO, /* name two bytes as consumed, then detach */
    ECHO,        /* write back what came */
};

struct end {
    struct conn *conn; /* in a heap block of its own, so that a touch after free shows */
    enum plan plan;
    size_t got, calls, largest;
    uint8_t bytes[1 << 16]; /* the first ones */
    bool is_broken;         /* the pattern was not as expected */
    bool wants_pattern;
    int ends;
    enum conn_end why;
    char tls_why[100];
    enum plan at_end; /* CLOSE or TAKE (leave open) */
    int drains;
    int sniffs;
    struct span sniffed;
    enum conn_sniff sniff_verdict;
    size_t sniff_needs; /* this many bytes before the verdict */
    SSL_CTX *sniff_ctx;
};

struct test_conn {
    struct conn c;
    struct end *e;
};

static struct end *end_of(struct conn *c)
{
    return container_of(c, struct test_conn, c)->e;
}

static void end_free(struct end *e)
{
    if (e->conn)
        free(container_of(e->conn, struct test_conn, c));
    e->conn = NULL;
}

static void note(struct end *e, struct span in)
{
    for (size_t i = 0; i < in.n; i++) {
        if (e->got + i < sizeof e->bytes)
            e->bytes[e->got + i] = in.p[i];
        e->is_broken |= e->wants_pattern && in.p[i] != pattern(e->got + i);
    }
    e->got += in.n;
}

static size_t whole_lines(struct span in)
{
    const uint8_t *last = memrchr(in.p, '\n', in.n);
    return last ? (size_t)(last + 1 - in.p) : 0;
}

static size_t on_bytes(struct conn *c, struct span in)
{
    struct end *e = end_of(c);
    struct iovec echo = {(void *)in.p, in.n};
    e->calls++;
    e->largest = in.n > e->largest ? in.n : e->largest;
    switch (e->plan) {
    case TAKE_NOTHING: return 0;
    case TAKE_LINES: in.n = whole_lines(in); break;
    case PAUSE: conn_pause(c); break;
    case PAUSE_AT_ONE:
        conn_pause(c);
        in.n = 1;
        break;
    case CLOSE:
    case ABORT:
        e->plan == CLOSE ? conn_close(c) : conn_abort(c);
        end_free(e);
        break;
    case DETACH: assert_int_equal(conn_detach(c), 0); return 17; /* ignored */
    case CONSUME_TWO:
        conn_consume(c, 2);
        assert_int_equal(conn_unread(c).n, in.n - 2);
        assert_int_equal(conn_detach(c), 0);
        return 0;
    case ECHO: assert_int_equal(conn_write(c, &echo, 1), 0); break;
    case TAKE: break;
    }
    note(e, in);
    return in.n;
}

static void on_end(struct conn *c, enum conn_end why)
{
    struct end *e = end_of(c);
    struct text tls_why = text_of(e->tls_why, sizeof e->tls_why);
    e->ends++;
    e->why = why;
    if (why == CONN_END_TLS)
        tls_error(&tls_why);
    assert_true(conn_is_open(c));
    if (e->at_end == CLOSE) {
        conn_close(c);
        end_free(e);
    }
}

static enum conn_sniff on_sniff(struct conn *c, struct span peeked)
{
    struct end *e = end_of(c);
    e->sniffs++;
    e->sniffed.n = peeked.n;
    if (peeked.n < e->sniff_needs)
        return CONN_SNIFF_MORE;
    if (e->plan == CLOSE && e->sniff_verdict == CONN_SNIFF_TAKEN) {
        conn_close(c);
        end_free(e);
    } else if (e->sniff_ctx) {
        assert_int_equal(conn_start_tls(c, e->sniff_ctx), 0);
    }
    return e->sniff_verdict;
}

static void on_drained(struct conn *c)
{
    struct end *e = end_of(c);
    e->drains++;
    assert_int_equal(conn_unsent(c), 0);
    if (e->plan == CLOSE) {
        conn_close(c);
        end_free(e);
    } else if (e->plan == DETACH) {
        assert_int_equal(conn_detach(c), 0);
    } else if (e->plan == CONSUME_TWO) {
        conn_consume(c, 2);
    }
}

static const struct conn_ops drain_ops = {.bytes = on_bytes, .ended = on_end, .drained = on_drained};
static const struct conn_ops plain_ops = {.bytes = on_bytes, .ended = on_end};
static const struct conn_ops sniff_ops = {.bytes = on_bytes, .ended = on_end, .sniff = on_sniff};

static struct conn *end_open(struct end *e, int fd, const struct conn_ops *ops)
{
    struct test_conn *t = malloc(sizeof *t);
    *e = (struct end){.conn = &t->c};
    t->e = e;
    conn_init(&t->c, fd, ops, IN_MAX, OUT_MAX);
    return &t->c;
}

/* A conn in the loop; returns the other side's descriptor, non-blocking. */
static int open_pair(struct end *e, const struct conn_ops *ops)
{
    int fds[2];
    tcp_pair(fds);
    assert_int_equal(conn_attach(end_open(e, fds[1], ops), &loop), 0);
    return fds[0];
}

static void end_close(struct end *e)
{
    if (e->conn)
        conn_close(e->conn);
    end_free(e);
}

static void put(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static int write_text(struct conn *c, const char *text)
{
    struct iovec v = {(void *)text, strlen(text)};
    return conn_write(c, &v, 1);
}

/* Turns the loop while nothing can happen any more: what was to come must have come. */
static void settle(void)
{
    for (int i = 0; i < 5; i++)
        loop_turn(&loop, 5);
}

static struct end a, b; /* large: not on the stack */

/* ---- reading ---- */

static void bytes_then_eof_after_them(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    put(fd, "hello");
    shutdown(fd, SHUT_WR);
    run_until(&loop, a.ends);
    assert_int_equal(a.got, 5);
    assert_memory_equal(a.bytes, "hello", 5);
    assert_int_equal(a.why, CONN_END_EOF);
    assert_string_equal(conn_end_name(a.why), "eof");
    settle();
    assert_int_equal(a.ends, 1);
    assert_int_equal(write_text(a.conn, "after"), 0); /* half-closed: the other direction still works */
    char buf[8];
    assert_int_equal(recv(fd, buf, sizeof buf, 0), 5);
    end_close(&a);
    assert_int_equal(recv(fd, buf, sizeof buf, 0), 0);
    close(fd);
}

static void addresses_are_known(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    struct addr local = sock_local(fd), remote = sock_remote(fd);
    assert_true(addr_is_equal(&a.conn->peer, &local));
    assert_true(addr_is_equal(&a.conn->local, &remote));
    end_close(&a);
    close(fd);
}

/* S37: a byte at a time, and a thousand messages at once. */
static void unfinished_message_is_kept_and_freed(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    a.plan = TAKE_LINES;
    static const char line[] = "one byte at a time\n";
    for (size_t i = 0; i < sizeof line - 1; i++) {
        put(fd, (char[]){line[i], 0});
        size_t calls = a.calls;
        run_until(&loop, a.calls > calls);
        assert_true(a.conn->in_cap <= 2048); /* S40 */
    }
    assert_int_equal(a.got, sizeof line - 1);
    assert_memory_equal(a.bytes, line, sizeof line - 1);
    assert_null(a.conn->in);
    char many[1001 * 4] = "";
    for (int i = 0; i < 1000; i++)
        memcpy(many + i * 4, "abc\n", 4);
    memcpy(many + 4000, "rest", 4);
    assert_int_equal(send(fd, many, 4004, 0), 4004);
    run_until(&loop, a.got == sizeof line - 1 + 4000);
    run_until(&loop, conn_unread(a.conn).n == 4);
    assert_memory_equal(conn_unread(a.conn).p, "rest", 4);
    assert_true(a.conn->in_cap <= 64); /* just what it needs */
    put(fd, "\n");
    run_until(&loop, a.got == sizeof line - 1 + 4005);
    assert_null(a.conn->in);
    end_close(&a);
    close(fd);
}

static void too_long_a_message_ends_it(void **state)
{
    char block[1024];
    memset(block, 'x', sizeof block);
    int fd = open_pair(&a, &plain_ops);
    a.plan = TAKE_NOTHING;
    for (int i = 0; i < 4; i++)
        assert_int_equal(send(fd, block, sizeof block, 0), sizeof block);
    run_until(&loop, conn_unread(a.conn).n == IN_MAX);
    settle();
    assert_int_equal(a.ends, 0); /* exactly in_max is allowed */
    put(fd, "x");
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_TOO_LONG);
    assert_null(a.conn->in);
    put(fd, "more");
    settle();
    assert_int_equal(a.ends, 1);
    end_close(&a);
    close(fd);
}

/* However much waits in the kernel, a turn takes a part of it, so that others get theirs. */
static void budget_lets_others_in(void **state)
{
    int fd = open_pair(&a, &plain_ops), large = 8 << 20;
    size_t size = 2 << 20, sent = 0;
    uint8_t *block = malloc(size);
    for (size_t i = 0; i < size; i++)
        block[i] = pattern(i);
    a.wants_pattern = true;
    conn_pause(a.conn);
    setsockopt(a.conn->src.fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
    for (int i = 0; i < 100 && sent < size; i++) {
        ssize_t n = send(fd, block + sent, size - sent, 0);
        sent += n > 0 ? (size_t)n : 0;
        settle();
    }
    conn_resume(a.conn);
    loop_turn(&loop, PATIENCE_MS);
    assert_in_range(a.got, 1, 2 * (256 + 64) * 1024); /* by the event, and by the resumption */
    for (size_t before; a.got < sent;) {
        before = a.got;
        loop_turn(&loop, PATIENCE_MS);
        assert_true(a.got - before <= (256 + 64) * 1024);
    }
    assert_false(a.is_broken);
    end_close(&a);
    close(fd);
    free(block);
}

static void pause_leaves_the_bytes_in_the_kernel(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_pause(a.conn);
    put(fd, "waiting");
    settle();
    assert_int_equal(a.calls, 0);
    shutdown(fd, SHUT_WR);
    settle();
    assert_int_equal(a.ends, 0);
    conn_resume(a.conn);
    run_until(&loop, a.ends);
    assert_int_equal(a.got, 7);
    assert_int_equal(a.why, CONN_END_EOF);
    end_close(&a);
    close(fd);
}

/* What was not consumed when the other side ended can still be looked at; a reset leaves nothing. */
static void unread_bytes_survive_the_end(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    a.plan = TAKE_NOTHING;
    put(fd, "half");
    shutdown(fd, SHUT_WR);
    run_until(&loop, a.ends);
    assert_int_equal(conn_unread(a.conn).n, 4);
    sock_abort(fd);
    run_until(&loop, !a.conn->loop);
    assert_int_equal(conn_unread(a.conn).n, 0);
    assert_int_equal(a.ends, 1);
    end_close(&a);
}

/* Both directions are shut while it is paused: a hang-up for the kernel, yet the bytes are there and are read later. */
static void paused_and_hung_up_loses_nothing(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_pause(a.conn);
    put(fd, "waiting");
    shutdown(fd, SHUT_WR);
    shutdown(a.conn->src.fd, SHUT_WR);
    settle();
    assert_int_equal(a.ends, 0);
    uint64_t before = loop_clock_ms();
    loop_turn(&loop, 30); /* without spinning meanwhile */
    assert_true(loop_clock_ms() >= before + 29);
    conn_resume(a.conn);
    run_until(&loop, a.ends);
    assert_int_equal(a.got, 7);
    assert_int_equal(a.why, CONN_END_EOF);
    end_close(&a);
    close(fd);
}

static void pause_inside_bytes_keeps_the_rest(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    a.plan = PAUSE_AT_ONE;
    put(fd, "abc");
    for (size_t i = 1; i <= 3; i++) { /* resume shows what is kept, without new bytes */
        run_until(&loop, a.got == i);
        settle();
        assert_int_equal(a.calls, i);
        conn_resume(a.conn);
    }
    assert_memory_equal(a.bytes, "abc", 3);
    settle();
    assert_int_equal(a.calls, 3);
    end_close(&a);
    close(fd);
}

/* More than in_max may be kept while the owner has paused: that is back-pressure, not a long message. */
static void paused_with_much_kept_is_not_too_long(void **state)
{
    char block[3 * IN_MAX];
    memset(block, 'x', sizeof block);
    int fd = open_pair(&a, &plain_ops);
    a.plan = PAUSE_AT_ONE;
    assert_int_equal(send(fd, block, sizeof block, 0), sizeof block);
    run_until(&loop, a.got == 1);
    assert_int_equal(a.ends, 0);
    a.plan = TAKE;
    conn_resume(a.conn);
    run_until(&loop, a.got == sizeof block);
    end_close(&a);
    close(fd);
}

static void paused_notices_a_reset_without_spinning(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_pause(a.conn);
    put(fd, "lost");
    settle();
    sock_abort(fd);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_RESET);
    uint64_t before = loop_clock_ms();
    loop_turn(&loop, 30); /* left open: it must not be reported again and again */
    assert_true(loop_clock_ms() >= before + 29);
    end_close(&a);
}

static void reset_is_told_once(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    a.at_end = CLOSE;
    put(fd, "x");
    sock_abort(fd);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_RESET);
    assert_null(a.conn);
    settle();
    assert_int_equal(a.ends, 1);
}

static void half_closed_then_reset_does_not_spin(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    shutdown(fd, SHUT_WR);
    run_until(&loop, a.ends);
    sock_abort(fd);
    settle();
    uint64_t before = loop_clock_ms();
    loop_turn(&loop, 30);
    assert_true(loop_clock_ms() >= before + 29);
    assert_int_equal(write_text(a.conn, "x"), ERR_CLOSED);
    settle();
    assert_int_equal(a.ends, 1);
    end_close(&a);
}

/* ---- callbacks that take the conn away ---- */

static void closing_inside_bytes(void **state)
{
    static const enum plan plans[] = {CLOSE, ABORT};
    for (int i = 0; i < 2; i++) {
        int fd = open_pair(&a, &plain_ops);
        a.plan = TAKE_NOTHING;
        put(fd, "ab"); /* once from a buffer of the conn, */
        run_until(&loop, a.calls == 1);
        a.plan = plans[i];
        put(fd, "c");
        run_until(&loop, !a.conn);
        assert_int_equal(a.got, 3);
        assert_memory_equal(a.bytes, "abc", 3);
        close(fd);
        fd = open_pair(&a, &plain_ops);
        a.plan = plans[i];
        put(fd, "d"); /* once from the scratch */
        run_until(&loop, !a.conn);
        settle();
        assert_int_equal(a.ends, 0);
        close(fd);
    }
}

static void closing_is_harmless_twice(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_close(a.conn);
    assert_false(conn_is_open(a.conn));
    conn_close(a.conn);
    conn_abort(a.conn);
    assert_int_equal(write_text(a.conn, "x"), ERR_CLOSED);
    assert_int_equal(conn_unsent(a.conn), 0);
    end_free(&a);
    close(fd);
}

/* close(2) with unread bytes would reset the connection and could destroy the answer on its way. */
static void last_words_arrive_though_bytes_are_unread(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_pause(a.conn);
    put(fd, "never read");
    settle();
    assert_int_equal(write_text(a.conn, "error 400"), 0);
    end_close(&a);
    char buf[16];
    settle();
    assert_int_equal(sock_error(fd), 0); /* no reset has come */
    assert_int_equal(recv(fd, buf, sizeof buf, 0), 9);
    assert_int_equal(recv(fd, buf, sizeof buf, 0), 0);
    close(fd);
}

static void detach_keeps_everything(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    a.plan = TAKE_NOTHING;
    put(fd, "12");
    run_until(&loop, a.calls == 1);
    a.plan = DETACH;
    put(fd, "34");
    run_until(&loop, a.calls == 2);
    assert_null(a.conn->loop);
    assert_int_equal(conn_unread(a.conn).n, 4);
    assert_memory_equal(conn_unread(a.conn).p, "1234", 4);
    put(fd, "5");
    settle();
    assert_int_equal(a.calls, 2);
    a.plan = TAKE;
    assert_int_equal(conn_attach(a.conn, &loop), 0);
    assert_int_equal(a.calls, 2); /* not from inside attach */
    run_until(&loop, a.got == 5);
    assert_memory_equal(a.bytes, "12345", 5);
    end_close(&a);
    close(fd);
}

static void kept_input_comes_without_new_bytes(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    a.plan = CONSUME_TWO;
    put(fd, "abcd");
    run_until(&loop, a.calls == 1);
    assert_int_equal(conn_unread(a.conn).n, 2);
    conn_consume(a.conn, 1);
    assert_memory_equal(conn_unread(a.conn).p, "d", 1);
    a.plan = TAKE;
    conn_attach(a.conn, &loop);
    loop_turn(&loop, -1);
    assert_int_equal(a.got, 1);
    end_close(&a);
    close(fd);
}

static void detached_is_silent(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_detach(a.conn);
    assert_int_equal(conn_detach(a.conn), 0);
    sock_abort(fd);
    settle();
    assert_int_equal(a.ends, 0);
    conn_attach(a.conn, &loop);
    run_until(&loop, a.ends);
    end_close(&a);
}

/* ---- writing ---- */

static size_t drain(int fd, struct end *e)
{
    static uint8_t buf[1 << 16];
    ssize_t n;
    while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
        note(e, span_of(buf, (size_t)n));
    return e->got;
}

static void parts_in_order(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    struct iovec parts[] = {{"one ", 4}, {"", 0}, {"two", 3}};
    assert_int_equal(conn_write(a.conn, parts, 3), 0);
    assert_int_equal(conn_write(a.conn, NULL, 0), 0);
    char buf[16];
    assert_int_equal(recv(fd, buf, sizeof buf, 0), 7);
    assert_memory_equal(buf, "one two", 7);
    end_close(&a);
    close(fd);
}

/* Writes blocks of the pattern until one is refused. */
static size_t write_until_full(struct conn *c, size_t at)
{
    uint8_t block[10007];
    int err;
    for (;; at += sizeof block) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = pattern(at + i);
        struct iovec parts[] = {{block, 7}, {block + 7, sizeof block - 7}};
        if ((err = conn_write(c, parts, 2)) != 0)
            break;
        assert_true(conn_unsent(c) <= OUT_MAX);
        assert_true(c->out_cap <= OUT_MAX + 64);
    }
    assert_int_equal(err, ERR_FULL);
    assert_true(conn_unsent(c) > OUT_MAX - sizeof block);
    return at;
}

/* S47: a reader that stalls costs out_max, not more; everything accepted arrives, in order. */
static void full_is_refused_whole(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    static struct end reader;
    static uint8_t some[100003];
    reader = (struct end){.wants_pattern = true};
    size_t accepted = write_until_full(a.conn, 0);
    for (int i = 0; i < 60; i++) { /* a reader that is slow: the rest moves in its buffer */
        ssize_t n = recv(fd, some, sizeof some, 0);
        note(&reader, span_of(some, n > 0 ? (size_t)n : 0));
        loop_turn(&loop, 1);
        accepted = write_until_full(a.conn, accepted);
    }
    run_until(&loop, drain(fd, &reader) == accepted);
    assert_false(reader.is_broken);
    run_until(&loop, conn_unsent(a.conn) == 0);
    assert_null(a.conn->out);
    uint64_t before = loop_clock_ms();
    loop_turn(&loop, 30); /* nothing waits for EPOLLOUT now */
    assert_true(loop_clock_ms() >= before + 29);
    assert_int_equal(write_text(a.conn, "x"), 0);
    end_close(&a);
    close(fd);
}

/* A conn with kept output, and a reader who takes it all. */
static int open_full(struct end *e, enum plan plan)
{
    int fd = open_pair(e, &drain_ops);
    e->plan = plan;
    write_until_full(e->conn, 0);
    assert_int_equal(e->drains, 0); /* never from inside conn_write */
    return fd;
}

static void drained_is_told_once(void **state)
{
    static struct end reader;
    reader = (struct end){.got = 0};
    int fd = open_full(&a, TAKE);
    run_until(&loop, drain(fd, &reader) && a.drains);
    assert_int_equal(write_text(a.conn, "x"), 0); /* goes at once: nothing to tell */
    settle();
    assert_int_equal(a.drains, 1);
    write_until_full(a.conn, 0);
    run_until(&loop, drain(fd, &reader) && a.drains == 2);
    end_close(&a);
    close(fd);
}

static void drained_may_take_the_conn_away(void **state)
{
    static struct end reader;
    reader = (struct end){.got = 0};
    int fd = open_full(&a, CLOSE);
    run_until(&loop, drain(fd, &reader) && !a.conn);
    close(fd);
    fd = open_full(&a, TAKE_NOTHING);
    put(fd, "kept");
    run_until(&loop, conn_unread(a.conn).n == 4);
    a.plan = CONSUME_TWO;
    run_until(&loop, drain(fd, &reader) && a.drains);
    assert_int_equal(conn_unread(a.conn).n, 2);
    a.plan = DETACH;
    write_until_full(a.conn, 0);
    run_until(&loop, drain(fd, &reader) && a.drains == 2);
    assert_null(a.conn->loop);
    assert_memory_equal(conn_unread(a.conn).p, "pt", 2);
    end_close(&a);
    close(fd);
}

static void larger_than_out_max_is_refused(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    static uint8_t large[OUT_MAX + 1];
    assert_int_equal(conn_write(a.conn, &(struct iovec){large, sizeof large}, 1), ERR_FULL);
    char buf[8];
    settle();
    assert_int_equal(recv(fd, buf, sizeof buf, 0), -1);
    assert_int_equal(errno, EAGAIN);
    end_close(&a);
    close(fd);
}

static void writing_to_a_reset_socket(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    conn_pause(a.conn);
    sock_abort(fd);
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while (write_text(a.conn, "x") == 0)
        assert_true(loop_clock_ms() < give_up);
    assert_int_equal(a.ends, 0); /* never from inside conn_write */
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_RESET);
    settle();
    assert_int_equal(a.ends, 1);
    end_close(&a);
}

/* What the other side said before it vanished is still read when our write finds out. */
static void last_bytes_are_read_after_a_failed_write(void **state)
{
    int fd = open_pair(&a, &plain_ops);
    put(fd, "goodbye");
    close(fd);
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while (write_text(a.conn, "x") == 0)
        assert_true(loop_clock_ms() < give_up);
    run_until(&loop, a.ends);
    assert_int_equal(a.got, 7);
    end_close(&a);
}

/* ---- sniffing ---- */

static void sniff_sees_without_consuming(void **state)
{
    int fd = open_pair(&a, &sniff_ops);
    a.sniff_needs = 4;
    a.sniff_verdict = CONN_SNIFF_READ;
    put(fd, "ab");
    run_until(&loop, a.sniffs == 1);
    uint64_t before = loop_clock_ms();
    loop_turn(&loop, 30); /* the two bytes must not wake it again */
    assert_true(loop_clock_ms() >= before + 29);
    assert_int_equal(a.sniffs, 1);
    put(fd, "c");
    run_until(&loop, a.sniffs == 2);
    put(fd, "de");
    run_until(&loop, a.got == 5);
    assert_memory_equal(a.bytes, "abcde", 5);
    put(fd, "f"); /* and one byte is enough again */
    run_until(&loop, a.got == 6);
    assert_int_equal(a.sniffs, 3);
    end_close(&a);
    close(fd);
}

static void sniff_ends_when_no_more_can_come(void **state)
{
    int fd = open_pair(&a, &sniff_ops);
    a.sniff_needs = 4;
    put(fd, "ab");
    run_until(&loop, a.sniffs == 1);
    shutdown(fd, SHUT_WR);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_EOF);
    end_close(&a);
    close(fd);
    fd = open_pair(&a, &sniff_ops);
    a.at_end = CLOSE;
    shutdown(fd, SHUT_WR); /* nothing at all was said */
    run_until(&loop, a.ends);
    assert_int_equal(a.sniffs, 0);
    assert_int_equal(a.why, CONN_END_EOF);
    close(fd);
    fd = open_pair(&a, &sniff_ops);
    sock_abort(fd);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_RESET);
    end_close(&a);
}

static void sniff_that_never_decides(void **state)
{
    char block[2100];
    memset(block, 'x', sizeof block);
    int fd = open_pair(&a, &sniff_ops);
    a.sniff_needs = 5000;
    assert_int_equal(send(fd, block, sizeof block, 0), sizeof block);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_TOO_LONG);
    end_close(&a);
    close(fd);
}

static void sniff_paused_closed_and_written(void **state)
{
    int fd = open_pair(&a, &sniff_ops);
    conn_pause(a.conn);
    put(fd, "x");
    settle();
    assert_int_equal(a.sniffs, 0);
    a.plan = CLOSE;
    a.sniff_verdict = CONN_SNIFF_TAKEN;
    conn_resume(a.conn);
    run_until(&loop, !a.conn);
    close(fd);
    fd = open_pair(&a, &sniff_ops);
    static uint8_t much[OUT_MAX];
    assert_int_equal(conn_write(a.conn, &(struct iovec){much, sizeof much}, 1), 0);
    size_t got = 0;
    while (got < sizeof much) {
        ssize_t n = recv(fd, much, sizeof much, 0);
        got += n > 0 ? (size_t)n : 0;
        loop_turn(&loop, 1);
    }
    assert_int_equal(conn_unsent(a.conn), 0);
    end_close(&a);
    close(fd);
}

/* ---- TLS ---- */

static SSL_CTX *server_ctx, *client_ctx;

static int tls_setup(void **state)
{
    server_ctx = certs_server(false, NULL);
    client_ctx = certs_client(false, NULL);
    return setup(state);
}

static int tls_setup_12(void **state)
{
    int err = tls_setup(state);
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_2_VERSION);
    return err;
}

static int tls_teardown(void **state)
{
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    return teardown(state);
}

/* a: the server, b: the client, both in the loop. */
static void open_tls(void)
{
    int fds[2];
    tcp_pair(fds);
    end_open(&a, fds[1], &sniff_ops);
    a.sniff_needs = 3;
    a.sniff_verdict = CONN_SNIFF_TAKEN;
    a.sniff_ctx = server_ctx;
    assert_int_equal(conn_attach(a.conn, &loop), 0);
    end_open(&b, fds[0], &plain_ops);
    assert_int_equal(conn_start_tls(b.conn, client_ctx), 0);
    assert_int_equal(SSL_set1_host(b.conn->tls, "127.0.0.1"), 1);
    assert_int_equal(conn_attach(b.conn, &loop), 0);
}

static void tls_both_ways(void **state)
{
    open_tls();
    assert_int_equal(write_text(b.conn, "early"), 0); /* kept until the handshake is done */
    run_until(&loop, a.got == 5);
    assert_memory_equal(a.bytes, "early", 5);
    struct iovec parts[] = {{"head", 4}, {"body", 4}};
    assert_int_equal(conn_write(a.conn, parts, 2), 0);
    run_until(&loop, b.got == 8);
    assert_int_equal(b.calls, 1); /* one record */
    assert_memory_equal(b.bytes, "headbody", 8);
    assert_null(a.conn->in);
    assert_null(b.conn->out);
    conn_close(b.conn);
    end_free(&b);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_EOF);
    end_close(&a);
}

/* Both directions at once, more than the kernel takes, echoed: no byte lost, doubled or moved. */
static void tls_bulk_echo(void **state)
{
    open_tls();
    a.plan = ECHO;
    b.wants_pattern = true;
    size_t size = 8 << 20, sent = 0;
    uint8_t block[20011];
    while (b.got < size) {
        while (sent < size && sent - b.got < OUT_MAX / 2) {
            size_t n = size - sent < sizeof block ? size - sent : sizeof block;
            for (size_t i = 0; i < n; i++)
                block[i] = pattern(sent + i);
            assert_int_equal(conn_write(b.conn, &(struct iovec){block, n}, 1), 0);
            sent += n;
        }
        loop_turn(&loop, PATIENCE_MS);
        assert_int_equal(a.ends + b.ends, 0);
    }
    assert_false(b.is_broken);
    end_close(&a);
    end_close(&b);
}

static void tls_paused_then_resumed(void **state)
{
    open_tls();
    a.plan = PAUSE;
    assert_int_equal(write_text(b.conn, "1"), 0);
    run_until(&loop, a.got == 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(write_text(b.conn, "2"), 0); /* three records in one segment or more */
    settle();
    assert_int_equal(a.got, 1);
    for (size_t i = 2; i <= 4; i++) { /* each resume shows one: none is forgotten inside OpenSSL */
        conn_resume(a.conn);
        run_until(&loop, a.got == i);
    }
    end_close(&a);
    end_close(&b);
}

/* A turn's budget ends where a small record lies read ahead in OpenSSL and nothing in the kernel: no event announces
 * it. (OpenSSL reads ahead at every other record; the first one, of 400 bytes, makes it so at the budget's last.) */
static void tls_pending_behind_the_budget(void **state)
{
    static uint8_t much[256 * 1024 + 10];
    int large = 8 << 20, waiting = 0;
    open_tls();
    write_text(b.conn, "x");
    run_until(&loop, a.got == 1);
    setsockopt(a.conn->src.fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    setsockopt(b.conn->src.fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
    assert_int_equal(conn_write(b.conn, &(struct iovec){much, 400}, 1), 0);
    assert_int_equal(conn_write(b.conn, &(struct iovec){much, sizeof much}, 1), 0);
    for (int i = 0; i < 500 && waiting <= (int)sizeof much + 400; i++) {
        usleep(1000);
        ioctl(a.conn->src.fd, FIONREAD, &waiting);
    }
    run_until(&loop, a.got == 401 + sizeof much);
    end_close(&a);
    end_close(&b);
}

/* What is written before the handshake waits for the server's answer, not for room to write. */
static void tls_early_bytes_do_not_spin(void **state)
{
    int fds[2];
    tcp_pair(fds);
    end_open(&b, fds[0], &plain_ops);
    assert_int_equal(conn_start_tls(b.conn, client_ctx), 0);
    assert_int_equal(conn_attach(b.conn, &loop), 0);
    assert_int_equal(write_text(b.conn, "early"), 0);
    settle();
    uint64_t before = loop_clock_ms();
    loop_turn(&loop, 30);
    assert_true(loop_clock_ms() >= before + 29);
    assert_int_equal(conn_unsent(b.conn), 5);
    end_close(&b);
    close(fds[1]);
}

static void tls_message_in_pieces(void **state)
{
    open_tls();
    a.plan = TAKE_LINES;
    static const char *const pieces[] = {"a", "b", "c\nd", "\n"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(write_text(b.conn, pieces[i]), 0);
        settle();
    }
    run_until(&loop, a.got == 6);
    assert_memory_equal(a.bytes, "abc\nd\n", 6);
    assert_null(a.conn->in);
    end_close(&a);
    end_close(&b);
}

/* A FIN without close_notify is an end too; what came before it is delivered. */
static void tls_plain_fin(void **state)
{
    open_tls();
    write_text(b.conn, "x");
    run_until(&loop, a.got == 1);
    write_text(b.conn, "last");
    shutdown(b.conn->src.fd, SHUT_WR);
    run_until(&loop, a.ends);
    assert_int_equal(a.got, 5);
    assert_int_equal(a.why, CONN_END_EOF);
    assert_int_equal(write_text(a.conn, "answer"), 0); /* the other direction is open */
    run_until(&loop, b.got == 6);
    end_close(&a);
    end_close(&b);
}

static void tls_garbage_for_a_client_hello(void **state)
{
    int fd = open_pair(&a, &sniff_ops);
    a.sniff_verdict = CONN_SNIFF_TAKEN;
    a.sniff_ctx = server_ctx;
    static const char garbage[] = "\x16\x03\x01\x00\x10 no client hello";
    assert_int_equal(send(fd, garbage, sizeof garbage - 1, 0), sizeof garbage - 1);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_TLS);
    assert_true(strlen(a.tls_why) > 0 && !strstr(a.tls_why, "no reason"));
    assert_int_equal(write_text(a.conn, "x"), ERR_CLOSED);
    settle();
    assert_int_equal(a.ends, 1);
    end_close(&a);
    close(fd);
}

static void tls_client_that_does_not_trust(void **state)
{
    SSL_CTX_free(client_ctx);
    struct text why = text_of((char[200]){0}, 200);
    client_ctx = tls_client_new(false, true, NULL, NULL, &why);
    open_tls();
    a.at_end = b.at_end = CLOSE;
    run_until(&loop, a.ends && b.ends);
    assert_int_equal(b.why, CONN_END_TLS);
    assert_string_equal(b.tls_why, "certificate verify failed");
    assert_int_equal(a.got, 0);
}

/* Whoever says TLS but could not start it never gets the bytes as plain text. */
static void tls_that_was_not_started(void **state)
{
    int fd = open_pair(&a, &sniff_ops);
    a.sniff_verdict = CONN_SNIFF_TAKEN;
    put(fd, "x");
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_TLS);
    assert_int_equal(a.got, 0);
    end_close(&a);
    close(fd);
}

/* S41: hangs up in the middle of the handshake, in good order or not. */
static void tls_half_a_handshake(void **state)
{
    for (int i = 0; i < 2; i++) {
        int fd = open_pair(&a, &sniff_ops);
        a.sniff_verdict = CONN_SNIFF_TAKEN;
        a.sniff_ctx = server_ctx;
        put(fd, "\x16\x03\x01\x01");
        run_until(&loop, a.conn->tls);
        settle();
        assert_int_equal(a.ends, 0);
        i ? sock_abort(fd) : (void)shutdown(fd, SHUT_WR);
        run_until(&loop, a.ends);
        assert_int_equal(a.why, i ? CONN_END_RESET : CONN_END_EOF);
        end_close(&a);
        if (!i)
            close(fd);
    }
}

static void tls_closed_inside_bytes(void **state)
{
    open_tls();
    a.plan = CLOSE;
    write_text(b.conn, "x");
    run_until(&loop, !a.conn);
    run_until(&loop, b.ends);
    assert_int_equal(b.why, CONN_END_EOF); /* close_notify was sent */
    end_close(&b);
}

static void tls_record_is_tampered_with(void **state)
{
    open_tls();
    write_text(b.conn, "x");
    run_until(&loop, a.got == 1);
    static const char forged[] = "\x17\x03\x03\x00\x20 this record was never encrypted!";
    assert_int_equal(send(b.conn->src.fd, forged, sizeof forged - 1, 0), sizeof forged - 1);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_TLS);
    assert_int_equal(a.got, 1);
    end_close(&a);
    end_close(&b);
}

/* ---- no memory (S51) ---- */

static bool is_heap_full;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
#define HAS_OWN_REALLOC 0 /* a sanitizer brings its own; clang does not say so here */
#else
#define HAS_OWN_REALLOC 1
extern void *__libc_realloc(void *p, size_t n);

void *realloc(void *p, size_t n)
{
    return is_heap_full ? NULL : __libc_realloc(p, n);
}
#endif

static void no_memory_for_input(void **state)
{
    if (!HAS_OWN_REALLOC)
        return;
    int fd = open_pair(&a, &plain_ops);
    a.plan = TAKE_NOTHING;
    is_heap_full = true;
    put(fd, "x");
    run_until(&loop, a.ends);
    is_heap_full = false;
    assert_int_equal(a.why, CONN_END_NOMEM);
    end_close(&a);
    close(fd);
    fd = open_pair(&a, &plain_ops);
    a.plan = TAKE_NOTHING;
    put(fd, "y");
    run_until(&loop, a.calls);
    is_heap_full = true; /* now there is something kept, but it cannot grow */
    put(fd, "z");
    run_until(&loop, a.ends);
    is_heap_full = false;
    assert_int_equal(a.why, CONN_END_NOMEM);
    end_close(&a);
    close(fd);
}

static void no_memory_for_output(void **state)
{
    static uint8_t much[OUT_MAX];
    if (!HAS_OWN_REALLOC)
        return;
    int fd = open_pair(&a, &plain_ops), err;
    do {
        is_heap_full = true;
        err = conn_write(a.conn, &(struct iovec){much, sizeof much}, 1);
        is_heap_full = false;
    } while (err == 0); /* the kernel takes some */
    assert_int_equal(err, ERR_CLOSED);
    assert_int_equal(a.ends, 0);
    assert_int_equal(write_text(a.conn, "x"), ERR_CLOSED);
    run_until(&loop, a.ends);
    assert_int_equal(a.why, CONN_END_NOMEM);
    end_close(&a);
    close(fd);
}

static size_t detach_without_memory(struct conn *c, struct span in)
{
    struct end *e = end_of(c);
    e->calls++;
    is_heap_full = true;
    assert_int_equal(conn_detach(c), ERR_NOMEM);
    is_heap_full = false;
    assert_non_null(c->loop);
    return in.n;
}

static void no_memory_to_detach(void **state)
{
    static const struct conn_ops detach_ops = {.bytes = detach_without_memory, .ended = on_end};
    if (!HAS_OWN_REALLOC)
        return;
    int fd = open_pair(&a, &detach_ops);
    put(fd, "x");
    run_until(&loop, a.calls == 1);
    put(fd, "y"); /* as before: attached and reading */
    run_until(&loop, a.calls == 2);
    end_close(&a);
    close(fd);
}

/* ---- from worker to worker ---- */

enum { TRAVEL_BYTES = 6 << 20, STOPS = 40 };

struct travel {
    struct mail mail;
    struct conn conn;
    struct worker *at[2];
    int place, stops;
    size_t got;
    bool is_broken;
    _Atomic bool is_over;
};

static void travel_arrive(struct mail *m, struct worker *to)
{
    struct travel *t = container_of(m, struct travel, mail);
    must(conn_attach(&t->conn, &to->loop) == 0);
}

/* Takes an odd part of what came, and moves on with the rest now and then. */
static size_t travel_bytes(struct conn *c, struct span in)
{
    struct travel *t = container_of(c, struct travel, conn);
    size_t n = in.n > 1 ? in.n - in.n / 3 : in.n;
    if (t->got + in.n >= TRAVEL_BYTES)
        n = in.n;
    for (size_t i = 0; i < n; i++)
        t->is_broken |= in.p[i] != pattern(t->got + i);
    t->got += n;
    if (t->stops < STOPS && t->got / (TRAVEL_BYTES / STOPS / 2) > (size_t)t->stops) {
        t->stops++;
        t->place = !t->place;
        conn_consume(c, n);
        must(conn_detach(c) == 0);
        worker_post(t->at[t->place], &t->mail); /* from here on it is the other thread's */
    }
    return n;
}

static void travel_end(struct conn *c, enum conn_end why)
{
    struct travel *t = container_of(c, struct travel, conn);
    conn_close(c);
    t->is_over = true;
}

static const struct conn_ops travel_ops = {.bytes = travel_bytes, .ended = travel_end};

static void travel(bool is_tls)
{
    static uint8_t block[30011];
    struct worker w[2];
    struct travel t = {.mail = {.deliver = travel_arrive}, .at = {&w[0], &w[1]}};
    int fds[2];
    tcp_pair(fds);
    conn_init(&t.conn, fds[1], &travel_ops, 1 << 20, OUT_MAX);
    end_open(&b, fds[0], &plain_ops);
    if (is_tls) {
        assert_int_equal(conn_start_tls(&t.conn, server_ctx), 0);
        assert_int_equal(conn_start_tls(b.conn, client_ctx), 0);
    }
    assert_int_equal(conn_attach(b.conn, &loop), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(worker_init(&w[i], i, NULL), 0);
        assert_int_equal(worker_start(&w[i]), 0);
    }
    worker_post(&w[0], &t.mail);
    for (size_t sent = 0; sent < TRAVEL_BYTES;) {
        size_t n = TRAVEL_BYTES - sent < sizeof block ? TRAVEL_BYTES - sent : sizeof block;
        for (size_t i = 0; i < n; i++)
            block[i] = pattern(sent + i);
        if (conn_write(b.conn, &(struct iovec){block, n}, 1) == 0)
            sent += n;
        loop_turn(&loop, conn_unsent(b.conn) > OUT_MAX / 2 ? 100 : 0);
        assert_int_equal(b.ends, 0);
    }
    run_until(&loop, conn_unsent(b.conn) == 0);
    end_close(&b);
    run_until(&loop, t.is_over);
    for (int i = 0; i < 2; i++)
        worker_stop(&w[i]);
    for (int i = 0; i < 2; i++)
        worker_fini(&w[i]);
    assert_int_equal(t.got, TRAVEL_BYTES);
    assert_false(t.is_broken);
    assert_int_equal(t.stops, STOPS);
}

static void travels_between_workers(void **state)
{
    travel(false);
}

static void travels_between_workers_with_tls(void **state)
{
    travel(true);
}

/* ---- for the pump ---- */

static void moved_by_somebody_else(void **state)
{
    open_tls();
    a.plan = PAUSE;
    write_text(b.conn, "x");
    run_until(&loop, a.got == 1);
    static uint8_t much[OUT_MAX];
    int little = 4096; /* so that the kernel cannot take all of it */
    setsockopt(a.conn->src.fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    conn_pause(b.conn);
    assert_int_equal(conn_write(a.conn, &(struct iovec){much, sizeof much}, 1), 0);
    assert_int_equal(conn_detach(a.conn), 0);
    write_text(b.conn, "from b");
    settle();
    assert_int_equal(conn_flush(a.conn), ERR_AGAIN); /* b does not read */
    assert_int_equal(conn_events(a.conn, true, true), EPOLLIN | EPOLLOUT);
    uint8_t buf[4];
    assert_int_equal(conn_recv(a.conn, buf, 4), 4);
    assert_true(conn_has_pending(a.conn));
    assert_int_equal(conn_recv(a.conn, buf, 4), 2);
    assert_int_equal(conn_recv(a.conn, buf, 4), ERR_AGAIN);
    conn_resume(b.conn);
    while (conn_flush(a.conn) != 0)
        loop_turn(&loop, 1);
    run_until(&loop, b.got == sizeof much);
    assert_int_equal(conn_send(a.conn, "end", 3), 3);
    assert_int_equal(conn_shutdown(a.conn), 0);
    assert_int_equal(conn_shutdown(a.conn), 0);
    run_until(&loop, b.ends);
    assert_int_equal(b.got, sizeof much + 3);
    assert_int_equal(b.why, CONN_END_EOF);
    assert_int_equal(write_text(b.conn, "still"), 0); /* half-close */
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    ssize_t n;
    while ((n = conn_recv(a.conn, much, sizeof much)) == ERR_AGAIN)
        assert_true(loop_clock_ms() < give_up);
    assert_int_equal(n, 5);
    end_close(&b);
    while ((n = conn_recv(a.conn, much, sizeof much)) == ERR_AGAIN)
        assert_true(loop_clock_ms() < give_up);
    assert_int_equal(n, 0);
    end_close(&a);
}

#define PLAIN_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TLS_TEST(f)                                          \
    {#f, f, tls_setup, tls_teardown, NULL},                  \
    {                                                        \
#f " (TLS 1.2)", f, tls_setup_12, tls_teardown, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN_TEST(bytes_then_eof_after_them),
        PLAIN_TEST(addresses_are_known),
        PLAIN_TEST(unfinished_message_is_kept_and_freed),
        PLAIN_TEST(too_long_a_message_ends_it),
        PLAIN_TEST(budget_lets_others_in),
        PLAIN_TEST(pause_leaves_the_bytes_in_the_kernel),
        PLAIN_TEST(unread_bytes_survive_the_end),
        PLAIN_TEST(paused_and_hung_up_loses_nothing),
        PLAIN_TEST(pause_inside_bytes_keeps_the_rest),
        PLAIN_TEST(paused_with_much_kept_is_not_too_long),
        PLAIN_TEST(paused_notices_a_reset_without_spinning),
        PLAIN_TEST(reset_is_told_once),
        PLAIN_TEST(half_closed_then_reset_does_not_spin),
        PLAIN_TEST(closing_inside_bytes),
        PLAIN_TEST(closing_is_harmless_twice),
        PLAIN_TEST(last_words_arrive_though_bytes_are_unread),
        PLAIN_TEST(detach_keeps_everything),
        PLAIN_TEST(kept_input_comes_without_new_bytes),
        PLAIN_TEST(detached_is_silent),
        PLAIN_TEST(parts_in_order),
        PLAIN_TEST(full_is_refused_whole),
        PLAIN_TEST(drained_is_told_once),
        PLAIN_TEST(drained_may_take_the_conn_away),
        PLAIN_TEST(larger_than_out_max_is_refused),
        PLAIN_TEST(writing_to_a_reset_socket),
        PLAIN_TEST(last_bytes_are_read_after_a_failed_write),
        PLAIN_TEST(sniff_sees_without_consuming),
        PLAIN_TEST(sniff_ends_when_no_more_can_come),
        PLAIN_TEST(sniff_that_never_decides),
        PLAIN_TEST(sniff_paused_closed_and_written),
        TLS_TEST(tls_both_ways),
        TLS_TEST(tls_bulk_echo),
        TLS_TEST(tls_paused_then_resumed),
        TLS_TEST(tls_pending_behind_the_budget),
        TLS_TEST(tls_early_bytes_do_not_spin),
        TLS_TEST(tls_message_in_pieces),
        TLS_TEST(tls_plain_fin),
        TLS_TEST(tls_garbage_for_a_client_hello),
        TLS_TEST(tls_client_that_does_not_trust),
        PLAIN_TEST(tls_that_was_not_started),
        TLS_TEST(tls_half_a_handshake),
        TLS_TEST(tls_closed_inside_bytes),
        TLS_TEST(tls_record_is_tampered_with),
        TLS_TEST(moved_by_somebody_else),
        PLAIN_TEST(no_memory_for_input),
        PLAIN_TEST(no_memory_for_output),
        PLAIN_TEST(no_memory_to_detach),
        PLAIN_TEST(travels_between_workers),
        TLS_TEST(travels_between_workers_with_tls),
    };
    return cmocka_run_group_tests_name("conn", tests, certs_setup, certs_teardown);
}
