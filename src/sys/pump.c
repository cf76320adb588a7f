#include "sys/pump.h"

#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/err.h"
#include "sys/pipe_pool.h"

/* Found by measuring (performance.md 1, 2): what fills a copying read is bulk and cheaper to splice; the pipe's two
 * system calls do not pay for less than half of that. */
enum {
    COPY_BYTES = 16384,     /* of one read that is copied */
    BULK_MIN = 8192,        /* a splice that brought less ends the bulk */
    SPLICE_BYTES = 1 << 19, /* of one splice: what waits in a pipe when the other side stalls */
    TURN_BYTES = 1 << 19,   /* of one direction before others get their turn */
    LINGER_MIN_MS = 4,    /* after a failure, the first look if the other side has taken all; then doubled each time */
    LINGER_MAX_MS = 8192, /* and the last one, if nothing moved since the first */
};

struct pump_pool {
    struct loop *loop;
    struct pipe_pool pipes;
    uint8_t scratch[COPY_BYTES];
};

/* What is known of one socket. Edge-triggered: a flag stays until the kernel says EAGAIN. */
struct side {
    struct source src;
    struct conn *conn;
    uint8_t index;        /* enum pump_side: its place in struct pump */
    bool is_readable : 1; /* a read may bring something */
    bool is_writable : 1; /* a write may take something */
    bool is_hung_up : 1;  /* FIN or error has arrived: read until it comes up */
    bool has_failed : 1;  /* reset, or failure of TLS: nothing can be written to it any more */
    bool is_urgent : 1;   /* has seen urgent data, where reads stop short and splice(2) stops for ever */
};

/* One direction, from the side with the same index to the other one. */
struct way {
    uint8_t *kept; /* what the other side did not take of a copying read; NULL when nothing waits */
    uint32_t kept_at, kept_n;
    struct pipe *pipe; /* lent while it holds bytes */
    uint64_t bytes;
    uint32_t credit;    /* granted and not read yet */
    bool is_bulk : 1;   /* the last read was large */
    bool is_held : 1;   /* by `grant`, until the timer fires */
    bool has_ended : 1; /* nothing more will be read */
    bool is_done : 1;   /* nothing more will be written: all has arrived and the end too, or it cannot */
};

struct pump {
    struct pump_pool *pool;
    const struct pump_ops *ops;
    void *user;
    struct side side[2];
    struct way way[2];
    struct timer timer;               /* of `grant` and of lingering */
    struct later again;               /* the turn's budget was used up; in the end: free */
    uint32_t linger_acked, linger_ms; /* what the other side had taken at the last look; time until the next */
    bool is_over;
    bool has_first; /* first is known */
    uint8_t first;  /* enum pump_side */
    uint8_t why;    /* enum conn_end */
};

static struct loop *pump_loop(const struct pump *p)
{
    return p->pool->loop;
}

struct pump_pool *pump_pool_new(struct loop *l, unsigned max_pipes)
{
    struct pump_pool *pool = malloc(sizeof *pool);
    if (!pool)
        return NULL;
    pool->loop = l;
    pipe_pool_init(&pool->pipes, l, max_pipes);
    return pool;
}

void pump_pool_free(struct pump_pool *pool)
{
    if (!pool)
        return;
    pipe_pool_fini(&pool->pipes);
    free(pool);
}

/* ---- ends and failures ---- */

static void note_end(struct pump *p, enum pump_side side, enum conn_end why)
{
    if (!p->has_first) {
        p->has_first = true;
        p->first = side;
    }
    if (p->why == CONN_END_NONE && why != CONN_END_EOF)
        p->why = why;
}

/* The side can take nothing more; what it sent before is still read. */
static void side_fail(struct pump *p, struct side *s)
{
    if (s->has_failed)
        return;
    s->has_failed = s->is_hung_up = s->is_readable = true;
    note_end(p, s->index, s->conn->failed ? s->conn->failed : CONN_END_RESET);
    loop_later(pump_loop(p), &p->again); /* the way from it is to be read to its end, the way to it to be given up */
}

/* What waits in this direction cannot be delivered. */
static void way_abandon(struct pump *p, struct way *w)
{
    free(w->kept);
    w->kept = NULL;
    w->kept_n = 0;
    if (w->pipe)
        pipe_put(&p->pool->pipes, w->pipe);
    w->pipe = NULL;
    w->has_ended = w->is_done = true;
}

/* A stream with a hole is worse than none. */
static void no_memory(struct pump *p)
{
    p->why = CONN_END_NOMEM;
    way_abandon(p, &p->way[PUMP_A]);
    way_abandon(p, &p->way[PUMP_B]);
}

/* ---- writing ---- */

static void side_write_failed(struct pump *p, struct side *s, bool would_block)
{
    s->is_writable = false;
    if (!would_block)
        side_fail(p, s);
}

/* How much of it was taken. Less than n: the side is full, or has failed. */
static size_t side_write(struct pump *p, struct side *s, const uint8_t *from, size_t n)
{
    size_t done = 0;
    while (done < n && s->is_writable) {
        ssize_t sent = conn_send(s->conn, from + done, n - done);
        if (sent >= 0)
            done += (size_t)sent;
        else
            side_write_failed(p, s, sent == ERR_AGAIN);
    }
    return done;
}

static void flush_unread(struct pump *p, struct way *w, struct conn *from, struct side *to)
{
    struct span unread = conn_unread(from);
    size_t n = side_write(p, to, unread.p, unread.n);
    w->bytes += n;
    conn_consume(from, n);
}

static void flush_kept(struct pump *p, struct way *w, struct side *to)
{
    size_t n = side_write(p, to, w->kept + w->kept_at, w->kept_n);
    w->bytes += n;
    w->kept_at += (uint32_t)n;
    w->kept_n -= (uint32_t)n;
    if (w->kept_n)
        return;
    free(w->kept);
    w->kept = NULL;
}

static void flush_pipe(struct pump *p, struct way *w, struct side *to)
{
    while (w->pipe->held && to->is_writable) {
        ssize_t n = pipe_drain(w->pipe, to->src.fd, w->pipe->held);
        if (n > 0)
            w->bytes += (uint64_t)n;
        else
            side_write_failed(p, to, n < 0 && errno == EAGAIN);
    }
}

/* Writes what waits, oldest first. True when nothing waits and the other side takes more. */
static bool way_flush(struct pump *p, struct way *w, struct side *from, struct side *to)
{
    if (to->is_writable && conn_unsent(to->conn)) {
        int err = conn_flush(to->conn);
        if (err)
            side_write_failed(p, to, err == ERR_AGAIN);
    }
    if (to->is_writable && conn_unread(from->conn).n)
        flush_unread(p, w, from->conn, to);
    if (to->is_writable && w->kept)
        flush_kept(p, w, to);
    if (to->is_writable && w->pipe)
        flush_pipe(p, w, to);
    return to->is_writable;
}

/* ---- reading ---- */

/* A read brought nothing. */
static void read_nothing(struct pump *p, struct way *w, struct side *from, ssize_t result)
{
    if (result == ERR_AGAIN && !from->has_failed) {
        from->is_readable = false;
        return;
    }
    w->has_ended = true;
    if (result != 0)
        side_fail(p, from);
    else if (!from->has_failed)
        note_end(p, from->index, CONN_END_EOF);
}

/* Keeps what the other side did not take, in a buffer of just its size. */
static void way_keep(struct pump *p, struct way *w, const uint8_t *bytes, size_t n)
{
    w->kept = malloc(n);
    if (!w->kept) {
        no_memory(p);
        return;
    }
    memcpy(w->kept, bytes, n);
    w->kept_at = 0;
    w->kept_n = (uint32_t)n;
}

/* May a read that brought less than there was room for be taken as the last one, until the next event? */
static bool short_is_last(const struct side *s)
{
    return !s->is_hung_up && !s->is_urgent && !s->conn->tls;
}

/* One read through the scratch, forwarded at once. Returns what was read. */
static size_t way_copy(struct pump *p, struct way *w, struct side *from, struct side *to, size_t want)
{
    uint8_t *scratch = p->pool->scratch;
    size_t most = want < COPY_BYTES ? want : COPY_BYTES;
    ssize_t n = conn_recv(from->conn, scratch, most);
    if (n <= 0) {
        read_nothing(p, w, from, n);
        return 0;
    }
    if ((size_t)n < most && short_is_last(from))
        from->is_readable = false;
    w->is_bulk = n == COPY_BYTES;
    size_t sent = side_write(p, to, scratch, (size_t)n);
    w->bytes += sent;
    if (sent < (size_t)n && !to->has_failed)
        way_keep(p, w, scratch + sent, (size_t)n - sent);
    return (size_t)n;
}

static size_t way_splice(struct pump *p, struct way *w, struct side *from, size_t want)
{
    ssize_t n = pipe_fill(w->pipe, from->src.fd, want);
    if (n > 0) {
        w->is_bulk = n >= BULK_MIN;
        return (size_t)n;
    }
    read_nothing(p, w, from, n == 0 ? 0 : errno == EAGAIN ? ERR_AGAIN : ERR_CLOSED);
    return 0;
}

static bool may_splice(struct pump *p, struct way *w, const struct side *from, const struct side *to, size_t want)
{
    if (!w->is_bulk || want < BULK_MIN || from->is_urgent || from->conn->tls || to->conn->tls)
        return false;
    if (!w->pipe)
        w->pipe = pipe_get(&p->pool->pipes);
    return w->pipe != NULL;
}

static ssize_t tls_available(struct conn *c)
{
    uint8_t byte;
    ERR_clear_error();
    int n = SSL_peek(c->tls, &byte, 1);
    if (n > 0)
        return SSL_pending(c->tls);
    int why = SSL_get_error(c->tls, n);
    if (why == SSL_ERROR_SSL && !c->failed)
        c->failed = CONN_END_TLS;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? ERR_AGAIN : 0;
}

/* How many bytes a read would bring; 0: it would find the end; ERR_AGAIN. */
static ssize_t side_available(const struct side *s)
{
    int n = 0;
    if (s->conn->tls)
        return tls_available(s->conn);
    ioctl(s->src.fd, FIONREAD, &n);
    return n > 0 ? n : s->is_hung_up ? 0 : ERR_AGAIN;
}

static void way_hold(struct pump *p, struct way *w, uint64_t retry_ms)
{
    uint64_t at_ms = pump_loop(p)->now_ms + (retry_ms ? retry_ms : 1);
    w->is_held = true;
    if (p->timer.node.pos && p->timer.node.at_ms <= at_ms)
        return;
    if (loop_timer(pump_loop(p), &p->timer, at_ms))
        no_memory(p);
}

/* Asks the owner about bytes that are there, so that it grants nothing for nothing. */
static void way_ask(struct pump *p, struct way *w, struct side *from, size_t there, size_t want)
{
    uint64_t retry_ms = 0;
    size_t n = p->ops->grant(p->user, from->index, there < want ? there : want, &retry_ms);
    if (p->is_over)
        return;
    w->credit = (uint32_t)n;
    if (n == 0)
        way_hold(p, w, retry_ms);
    else if (n == there && there < want && !w->is_bulk && short_is_last(from))
        from->is_readable = false;
}

/* How much of `want` may be read. */
static size_t way_allowed(struct pump *p, struct way *w, struct side *from, size_t want)
{
    if (!p->ops->grant)
        return want;
    if (!w->credit) {
        ssize_t there = side_available(from);
        if (there == 0)
            return 1; /* a read, to find the end */
        if (there > 0)
            way_ask(p, w, from, (size_t)there, want);
        else
            read_nothing(p, w, from, there);
    }
    return w->credit < want ? w->credit : want;
}

/* Reads once, at most `budget`. Returns what was read. */
static size_t way_read(struct pump *p, struct way *w, struct side *from, struct side *to, size_t budget)
{
    size_t most = w->is_bulk ? SPLICE_BYTES : COPY_BYTES;
    size_t want = way_allowed(p, w, from, budget < most ? budget : most);
    if (!want)
        return 0;
    size_t n = may_splice(p, w, from, to, want) ? way_splice(p, w, from, want) : way_copy(p, w, from, to, want);
    w->credit -= n < w->credit ? (uint32_t)n : w->credit;
    return n;
}

/* ---- one direction ---- */

/* The last byte has been written: the end follows it. */
static void way_finish(struct pump *p, struct way *w, const struct side *from, struct side *to)
{
    int err = from->has_failed ? 0 : conn_shutdown(to->conn); /* a failure is no orderly end: see linger() */
    if (err)
        side_write_failed(p, to, err == ERR_AGAIN);
    w->is_done = err != ERR_AGAIN;
}

static void way_run(struct pump *p, enum pump_side i)
{
    struct way *w = &p->way[i];
    struct side *from = &p->side[i], *to = &p->side[!i];
    size_t budget = TURN_BYTES;
    while (!p->is_over && !w->is_done && way_flush(p, w, from, to)) {
        if (w->has_ended) {
            way_finish(p, w, from, to);
            break;
        }
        if (!from->is_readable || w->is_held)
            break;
        if (!budget) {
            loop_later(pump_loop(p), &p->again);
            break;
        }
        budget -= way_read(p, w, from, to, budget);
    }
    if (to->has_failed)
        way_abandon(p, w);
    if (w->pipe && !w->pipe->held) {
        pipe_put(&p->pool->pipes, w->pipe);
        w->pipe = NULL;
    }
}

/* ---- the pair ---- */

static void pump_free(struct later *l)
{
    free(container_of(l, struct pump, again));
}

static void pump_end(struct pump *p, bool by_owner)
{
    bool in_order = by_owner || p->why == CONN_END_NONE;
    p->is_over = true;
    loop_timer_stop(pump_loop(p), &p->timer);
    loop_later_stop(&p->again);
    later_init(&p->again, pump_free);
    loop_later(pump_loop(p), &p->again);
    for (int i = 0; i < 2; i++) {
        way_abandon(p, &p->way[i]);
        loop_del(pump_loop(p), &p->side[i].src);
        if (in_order)
            conn_close(p->side[i].conn);
        else
            conn_abort(p->side[i].conn);
    }
    struct pump_end end = {.first = p->first, .by_owner = by_owner, .why = p->why};
    if (!by_owner && p->why == CONN_END_NONE)
        end.why = CONN_END_EOF;
    pump_bytes(p, end.bytes);
    p->ops->ended(p->user, &end);
}

/* One side has failed. The other one shall see a reset, but behind everything that was sent before: a reset makes the
 * kernel forget what it has not delivered. No event tells when it has; so looks are taken. True: time to end. */
static bool linger(struct pump *p, enum pump_side failed)
{
    int unacked = 0;
    const struct way *w = &p->way[failed];
    ioctl(p->side[!failed].src.fd, SIOCOUTQ, &unacked);
    if (w->is_done && unacked == 0)
        return true;
    if (p->timer.node.pos && (w->is_held || p->linger_ms))
        return false;
    uint32_t acked = (uint32_t)w->bytes - (uint32_t)unacked;
    bool moved = p->linger_ms == 0 || acked != p->linger_acked;
    p->linger_acked = acked;
    p->linger_ms = moved ? LINGER_MIN_MS : p->linger_ms * 2;
    return p->linger_ms > LINGER_MAX_MS ||
           loop_timer(pump_loop(p), &p->timer, pump_loop(p)->now_ms + p->linger_ms) != 0;
}

static bool is_to_end(struct pump *p)
{
    const struct side *a = &p->side[PUMP_A], *b = &p->side[PUMP_B];
    if (a->has_failed != b->has_failed)
        return linger(p, a->has_failed ? PUMP_A : PUMP_B);
    return p->way[PUMP_A].is_done && p->way[PUMP_B].is_done;
}

static void pump_run(struct pump *p)
{
    for (int i = 0; i < 2 && !p->is_over; i++)
        way_run(p, (enum pump_side)i);
    if (!p->is_over && is_to_end(p))
        pump_end(p, false);
}

static void pump_again(struct later *l)
{
    pump_run(container_of(l, struct pump, again));
}

static void pump_timer(struct timer *t)
{
    struct pump *p = container_of(t, struct pump, timer);
    p->way[PUMP_A].is_held = p->way[PUMP_B].is_held = false;
    pump_run(p);
}

static void side_ready(struct source *src, uint32_t events)
{
    struct side *s = container_of(src, struct side, src);
    struct pump *p = container_of(s - s->index, struct pump, side[0]);
    bool crosses = s->conn->tls != NULL; /* TLS may read in order to write, and write in order to read */
    s->is_readable |= crosses || events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    s->is_writable |= crosses || events & EPOLLOUT;
    s->is_hung_up |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    s->is_urgent |= (events & EPOLLPRI) != 0;
    if (events & EPOLLERR)
        side_fail(p, s);
    pump_run(p);
}

static void side_init(struct pump *p, enum pump_side i, struct conn *c)
{
    p->side[i] = (struct side){.src = {.fd = c->src.fd, .ready = side_ready}, .conn = c, .index = (uint8_t)i};
    p->side[i].is_readable = c->tls != NULL;
    p->side[i].is_writable = true;
    setsockopt(c->src.fd, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int)); /* an urgent byte is one of the stream */
    if (c->failed || loop_add(pump_loop(p), &p->side[i].src, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET) < 0)
        side_fail(p, &p->side[i]);
}

/* Both or none. */
static int detach_both(struct conn *a, struct conn *b)
{
    struct loop *l = a->loop;
    int err = conn_detach(a);
    if (err == 0 && (err = conn_detach(b)) != 0 && l)
        conn_attach(a, l);
    return err;
}

struct pump *pump_start(struct pump_pool *pool, struct conn *a, struct conn *b, const struct pump_ops *ops, void *user)
{
    struct pump *p = calloc(1, sizeof *p);
    if (!p || detach_both(a, b) != 0) {
        free(p);
        return NULL;
    }
    *p = (struct pump){.pool = pool, .ops = ops, .user = user};
    timer_init(&p->timer, pump_timer);
    later_init(&p->again, pump_again);
    side_init(p, PUMP_A, a);
    side_init(p, PUMP_B, b);
    loop_later(pool->loop, &p->again); /* what the conns have kept */
    return p;
}

void pump_stop(struct pump *p)
{
    if (p->is_over)
        return;
    for (int i = 0; i < 2; i++)
        if (!p->way[i].is_done)
            way_flush(p, &p->way[i], &p->side[i], &p->side[!i]);
    pump_end(p, true);
}

void pump_bytes(const struct pump *p, uint64_t out[2])
{
    out[PUMP_A] = p->way[PUMP_A].bytes;
    out[PUMP_B] = p->way[PUMP_B].bytes;
}
