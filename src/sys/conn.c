#include "sys/conn.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/sock.h"

enum {
    SCRATCH_BYTES = 64 * 1024,
    TURN_BYTES = 256 * 1024, /* read of one conn before others get their turn */
    PEEK_BYTES = 2048,
    RECORD_BYTES = 16 * 1024, /* the plain text of one TLS record */
    IN_STEP = 1024,           /* room for the rest of an unfinished message, at least */
    ROUND_BYTES = 64,
    DISCARD_BYTES = 16 * 1024 * 1024,
};

enum conn_state {
    ST_PAUSED = 1 << 0,
    ST_SNIFF = 1 << 1,
    ST_ENDED = 1 << 2,          /* nothing will be read any more */
    ST_FRESH = 1 << 3,          /* kept input is to be delivered without waiting for more */
    ST_READ_WANTS_OUT = 1 << 4, /* TLS must write before it can read on */
    ST_WRITE_WANTS_IN = 1 << 5,
    ST_LOW_WATER = 1 << 6, /* SO_RCVLOWAT is raised */
    ST_SHUT = 1 << 7,      /* our FIN is out */
    ST_TLS_DEAD = 1 << 8,  /* after a fatal error: OpenSSL must not be asked again */
    ST_KEPT = 1 << 9,      /* output was kept, and `drained` has not told yet that it is gone */
};

/* A callback that is running: lies on the stack of its caller, so that the conn may vanish meanwhile. */
struct conn_call {
    struct span in;
    size_t used;
    bool gone;       /* closed or detached: the conn must not be touched */
    uint8_t *orphan; /* the buffer under `in`, when the conn was closed meanwhile */
};

static _Thread_local uint8_t scratch[SCRATCH_BYTES];

const char *conn_end_name(enum conn_end why)
{
    static const char *const names[] = {"none", "eof", "reset", "tls", "too-long", "stalled", "no-memory"};
    return names[why];
}

static uint32_t round_up(size_t n)
{
    return (uint32_t)((n + ROUND_BYTES - 1) / ROUND_BYTES * ROUND_BYTES);
}

static void fail(struct conn *c, enum conn_end why)
{
    if (!c->failed)
        c->failed = why;
}

/* ---- bytes in and out, plain or TLS ---- */

/* What OpenSSL's refusal means. `wants_other`: the state bit to set when it wants the other direction. */
static ssize_t tls_refused(struct conn *c, int result, int wants_other)
{
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ: c->state |= wants_other & ST_WRITE_WANTS_IN; return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE: c->state |= wants_other & ST_READ_WANTS_OUT; return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: fail(c, CONN_END_RESET); return ERR_CLOSED;
    default:
        c->state |= ST_TLS_DEAD;
        fail(c, CONN_END_TLS);
        return ERR_CLOSED;
    }
}

static ssize_t tls_recv(struct conn *c, void *buf, size_t n)
{
    if (c->state & ST_TLS_DEAD)
        return ERR_CLOSED;
    ERR_clear_error();
    c->state &= ~ST_READ_WANTS_OUT;
    int got = SSL_read(c->tls, buf, (int)(n < INT_MAX ? n : INT_MAX));
    return got > 0 ? got : tls_refused(c, got, ST_READ_WANTS_OUT);
}

static ssize_t tls_send(struct conn *c, const void *buf, size_t n)
{
    if (c->state & ST_TLS_DEAD)
        return ERR_CLOSED;
    ERR_clear_error();
    c->state &= ~ST_WRITE_WANTS_IN;
    int sent = SSL_write(c->tls, buf, (int)(n < INT_MAX ? n : INT_MAX));
    if (sent > 0)
        return sent;
    ssize_t why = tls_refused(c, sent, ST_WRITE_WANTS_IN);
    return why ? why : ERR_CLOSED;
}

ssize_t conn_recv(struct conn *c, void *buf, size_t n)
{
    if (c->tls)
        return tls_recv(c, buf, n);
    ssize_t got;
    do
        got = recv(c->src.fd, buf, n, 0);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    if (errno == EAGAIN)
        return ERR_AGAIN;
    fail(c, CONN_END_RESET);
    return ERR_CLOSED;
}

static ssize_t plain_send(struct conn *c, const struct iovec *parts, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)n};
    ssize_t sent;
    do
        sent = sendmsg(c->src.fd, &m, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN)
        return ERR_AGAIN;
    fail(c, CONN_END_RESET);
    return ERR_CLOSED;
}

ssize_t conn_send(struct conn *c, const void *buf, size_t n)
{
    if (c->tls)
        return n ? tls_send(c, buf, n) : 0;
    return plain_send(c, &(struct iovec){(void *)buf, n}, 1);
}

uint32_t conn_events(const struct conn *c, bool receive, bool send)
{
    uint32_t events = 0;
    if (receive)
        events |= c->state & ST_READ_WANTS_OUT ? EPOLLOUT : EPOLLIN;
    if (send)
        events |= c->state & ST_WRITE_WANTS_IN ? EPOLLIN : EPOLLOUT;
    return events;
}

bool conn_has_pending(const struct conn *c)
{
    return c->tls && SSL_has_pending(c->tls);
}

static void drop_output(struct conn *c)
{
    free(c->out);
    c->out = NULL;
    c->out_at = c->out_n = c->out_cap = 0;
}

int conn_flush(struct conn *c)
{
    while (c->out_n) {
        ssize_t sent = conn_send(c, c->out + c->out_at, c->out_n);
        if (sent < 0)
            return (int)sent;
        c->out_at += (uint32_t)sent;
        c->out_n -= (uint32_t)sent;
    }
    drop_output(c);
    return 0;
}

/* close_notify only on a finished and healthy session; otherwise the FIN alone. */
static int tls_shutdown(struct conn *c)
{
    if (c->failed || !SSL_is_init_finished(c->tls))
        return 0;
    ERR_clear_error();
    int done = SSL_shutdown(c->tls);
    return done < 0 && SSL_get_error(c->tls, done) == SSL_ERROR_WANT_WRITE ? ERR_AGAIN : 0;
}

int conn_shutdown(struct conn *c)
{
    if (c->state & ST_SHUT)
        return 0;
    if (c->tls && tls_shutdown(c) == ERR_AGAIN)
        return ERR_AGAIN;
    c->state |= ST_SHUT;
    return shutdown(c->src.fd, SHUT_WR) < 0 ? ERR_CLOSED : 0;
}

/* ---- input that is kept ---- */

static void drop_input(struct conn *c)
{
    free(c->in);
    c->in = NULL;
    c->in_n = c->in_cap = 0;
}

static int resize_input(struct conn *c, size_t need)
{
    uint32_t cap = round_up(need);
    uint8_t *in = cap == c->in_cap ? c->in : realloc(c->in, cap);
    if (!in)
        return ERR_NOMEM;
    c->in = in;
    c->in_cap = cap;
    return 0;
}

/* Keeps `rest`, which lies in the kept input itself or in the scratch. 0 or ERR_NOMEM. */
static int keep_input(struct conn *c, struct span rest)
{
    if (rest.n == 0) {
        drop_input(c);
        return 0;
    }
    if (c->in_n) {
        memmove(c->in, rest.p, rest.n);
        if (c->in_cap > rest.n + 4 * IN_STEP)
            resize_input(c, rest.n);
    } else if (resize_input(c, rest.n) < 0) {
        return ERR_NOMEM;
    } else {
        memcpy(c->in, rest.p, rest.n);
    }
    c->in_n = (uint32_t)rest.n;
    return 0;
}

/* Where to read to: behind the kept input, or into the scratch when there is none. NULL: no memory. */
static uint8_t *input_room(struct conn *c, size_t *room)
{
    if (!c->in_n) {
        *room = sizeof scratch;
        return scratch;
    }
    size_t more = c->in_n > IN_STEP ? c->in_n : IN_STEP;
    if (c->in_cap - c->in_n < IN_STEP / 2 && resize_input(c, c->in_n + more) < 0)
        return NULL;
    *room = c->in_cap - c->in_n;
    return c->in + c->in_n;
}

struct span conn_unread(const struct conn *c)
{
    return c->call ? span_skip(c->call->in, c->call->used) : span_of(c->in, c->in_n);
}

void conn_consume(struct conn *c, size_t n)
{
    must(n <= conn_unread(c).n);
    if (c->call)
        c->call->used += n;
    else
        keep_input(c, span_skip(conn_unread(c), n));
}

/* ---- the loop's side ---- */

static uint32_t wanted_events(const struct conn *c)
{
    bool reads = !(c->state & (ST_PAUSED | ST_ENDED));
    uint32_t events = conn_events(c, reads, c->out_n > 0);
    if (c->state & ST_PAUSED) /* a hang-up is told once: it can wait until bytes are read again */
        events |= EPOLLET;
    return reads && c->state & ST_SNIFF ? events | EPOLLRDHUP : events;
}

static void rearm(struct conn *c)
{
    uint32_t events = wanted_events(c);
    if (!c->loop || events == c->interest)
        return;
    c->interest = events;
    must(loop_mod(c->loop, &c->src, events) == 0);
}

static void leave_loop(struct conn *c)
{
    if (!c->loop)
        return;
    loop_later_stop(&c->again);
    loop_del(c->loop, &c->src);
    c->loop = NULL;
}

static void work_again(struct conn *c)
{
    if (c->loop)
        loop_later(c->loop, &c->again);
}

/* Last word of a call chain: the owner may free the conn. */
static void end(struct conn *c, enum conn_end why)
{
    bool told = c->state & ST_ENDED;
    c->state |= ST_ENDED;
    if (why == CONN_END_EOF) {
        rearm(c);
    } else {
        fail(c, why);
        leave_loop(c);
        drop_input(c);
        drop_output(c);
    }
    if (!told)
        c->ops->ended(c, why);
}

/* Shows the owner what there is. False: the conn is gone or has ended and must not be touched. */
static bool deliver(struct conn *c, struct span in)
{
    struct conn_call call = {.in = in};
    c->state &= ~ST_FRESH;
    c->call = &call;
    size_t used = c->ops->bytes(c, in);
    free(call.orphan);
    if (call.gone)
        return false;
    c->call = NULL;
    must(used <= in.n - call.used);
    struct span rest = span_skip(in, call.used + used);
    if (keep_input(c, rest) < 0) {
        end(c, CONN_END_NOMEM);
        return false;
    }
    if (rest.n > c->in_max && !(c->state & ST_PAUSED)) {
        end(c, CONN_END_TOO_LONG);
        return false;
    }
    return true;
}

/* One read and its delivery. More than 0: bytes read; ERR_AGAIN: nothing there; ERR_CLOSED: do not touch the conn. */
static ssize_t read_once(struct conn *c, bool *is_drained)
{
    size_t room;
    uint8_t *buf = input_room(c, &room);
    ssize_t n = buf ? conn_recv(c, buf, room) : ERR_NOMEM;
    if (n == ERR_AGAIN)
        return n;
    if (n <= 0) {
        end(c, n == 0 ? CONN_END_EOF : n == ERR_NOMEM ? CONN_END_NOMEM : c->failed);
        return ERR_CLOSED;
    }
    *is_drained = !c->tls && (size_t)n < room;
    struct span in = {buf, (size_t)n};
    if (c->in_n) {
        c->in_n += (uint32_t)n;
        in = span_of(c->in, c->in_n);
    }
    return deliver(c, in) ? n : ERR_CLOSED;
}

/* Reads until nothing is there, the owner pauses or the budget is used up. False: do not touch the conn. */
static bool read_all(struct conn *c)
{
    bool is_drained = false;
    for (ssize_t budget = TURN_BYTES; budget > 0 && !is_drained;) {
        if (c->state & (ST_PAUSED | ST_ENDED))
            return true;
        ssize_t n = read_once(c, &is_drained);
        if (n < 0)
            return n == ERR_AGAIN;
        budget -= n;
    }
    if (conn_has_pending(c))
        work_again(c);
    return true;
}

/* False: the conn is gone and must not be touched. */
static bool tell_drained(struct conn *c)
{
    if (!(c->state & ST_KEPT) || c->out_n)
        return true;
    c->state &= ~ST_KEPT;
    if (!c->ops->drained)
        return true;
    struct conn_call call = {.in = {c->in, c->in_n}};
    c->call = &call;
    c->ops->drained(c);
    free(call.orphan);
    if (call.gone)
        return false;
    c->call = NULL;
    if (call.used)
        keep_input(c, span_skip(call.in, call.used));
    return true;
}

static void work(struct conn *c, uint32_t events)
{
    conn_flush(c);
    if (!tell_drained(c) || !read_all(c))
        return;
    if (c->state & ST_WRITE_WANTS_IN) /* the read may have brought what it waited for */
        conn_flush(c);
    if ((events & EPOLLERR && c->state & ST_PAUSED) || (events & (EPOLLERR | EPOLLHUP) && c->state & ST_ENDED))
        fail(c, CONN_END_RESET); /* nobody would read the error; left alone it is reported for ever */
    if (c->failed)
        end(c, c->failed);
    else
        rearm(c);
}

/* ---- looking at the first bytes ---- */

/* Raised, so that bytes already seen do not wake us again. */
static void set_low_water(struct conn *c, size_t bytes)
{
    bool raise = bytes > 1;
    if (!raise && !(c->state & ST_LOW_WATER))
        return;
    sock_low_water(c->src.fd, (int)bytes);
    c->state = raise ? c->state | ST_LOW_WATER : c->state & ~ST_LOW_WATER;
}

static void sniff_more(struct conn *c, size_t seen, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP))
        end(c, CONN_END_EOF);
    else if (seen == PEEK_BYTES)
        end(c, CONN_END_TOO_LONG);
    else
        set_low_water(c, seen + 1);
}

static void sniff(struct conn *c, uint32_t events)
{
    uint8_t peeked[PEEK_BYTES];
    conn_flush(c);
    rearm(c);
    ssize_t n = recv(c->src.fd, peeked, sizeof peeked, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(c, n == 0 ? CONN_END_EOF : CONN_END_RESET);
        return;
    }
    struct conn_call call = {.in = {peeked, 0}};
    c->call = &call;
    enum conn_sniff verdict = c->ops->sniff(c, span_of(peeked, (size_t)n));
    if (call.gone)
        return;
    c->call = NULL;
    if (verdict == CONN_SNIFF_MORE) {
        sniff_more(c, (size_t)n, events);
        return;
    }
    c->state &= ~ST_SNIFF;
    set_low_water(c, 1);
    if (verdict == CONN_SNIFF_TAKEN && !c->tls) /* conn_start_tls failed: never read its bytes as plain text */
        end(c, CONN_END_TLS);
    else
        work(c, events);
}

static void conn_ready(struct source *s, uint32_t events)
{
    struct conn *c = container_of(s, struct conn, src);
    if (c->state & ST_SNIFF && !(c->state & (ST_PAUSED | ST_ENDED)))
        sniff(c, events);
    else
        work(c, events);
}

static void conn_again(struct later *l)
{
    struct conn *c = container_of(l, struct conn, again);
    bool reads = !(c->state & (ST_PAUSED | ST_ENDED));
    if (reads && c->state & ST_SNIFF)
        sniff(c, 0);
    else if (!reads || !(c->state & ST_FRESH) || deliver(c, span_of(c->in, c->in_n)))
        work(c, 0);
}

/* ---- life ---- */

void conn_init(struct conn *c, int fd, const struct conn_ops *ops, uint32_t in_max, uint32_t out_max)
{
    *c = (struct conn){.src = {.fd = fd, .ready = conn_ready}, .ops = ops, .in_max = in_max, .out_max = out_max};
    c->state = ops->sniff ? ST_SNIFF : 0;
    c->local = sock_local(fd);
    c->peer = sock_remote(fd);
    later_init(&c->again, conn_again);
    sock_nodelay(fd);
}

int conn_attach(struct conn *c, struct loop *l)
{
    c->interest = wanted_events(c);
    if (loop_add(l, &c->src, c->interest) < 0)
        return ERR_SYS;
    c->loop = l;
    if (c->in_n)
        c->state |= ST_FRESH;
    if (c->in_n || c->tls || c->failed)
        work_again(c);
    return 0;
}

int conn_detach(struct conn *c)
{
    if (c->call) {
        if (keep_input(c, conn_unread(c)) < 0)
            return ERR_NOMEM;
        c->call->gone = true;
        c->call = NULL;
    }
    set_low_water(c, 1);
    leave_loop(c);
    return 0;
}

int conn_start_tls(struct conn *c, SSL_CTX *ctx)
{
    SSL *tls = SSL_new(ctx);
    if (!tls || !SSL_set_fd(tls, c->src.fd)) {
        SSL_free(tls);
        return ERR_CRYPTO;
    }
    /* Where a partly written buffer lies may change; an idle connection holds no record buffers; a FIN without
     * close_notify is an end like any other (CONN_END_EOF); one read(2) may fetch several records. */
    SSL_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_set_read_ahead(tls, 1);
    if (SSL_is_server(tls))
        SSL_set_accept_state(tls);
    else
        SSL_set_connect_state(tls);
    c->tls = tls;
    c->state &= ~ST_SNIFF;
    work_again(c);
    return 0;
}

void conn_pause(struct conn *c)
{
    c->state |= ST_PAUSED;
    rearm(c);
}

void conn_resume(struct conn *c)
{
    if (!(c->state & ST_PAUSED))
        return;
    c->state &= ~ST_PAUSED;
    if (c->in_n)
        c->state |= ST_FRESH;
    rearm(c);
    work_again(c);
}

bool conn_is_open(const struct conn *c)
{
    return c->src.fd >= 0;
}

/* Frees everything but the descriptor, which is returned. */
static int take_apart(struct conn *c)
{
    int fd = c->src.fd;
    leave_loop(c);
    if (c->call) {
        c->call->gone = true;
        c->call->orphan = c->in;
        c->call = NULL;
        c->in = NULL;
    }
    SSL_free(c->tls);
    c->tls = NULL;
    c->src.fd = -1;
    drop_input(c);
    drop_output(c);
    return fd;
}

/* Unread bytes are thrown away first: close() would answer them with a reset, which can overtake our last words. */
void conn_close(struct conn *c)
{
    if (!conn_is_open(c))
        return;
    if (!c->failed)
        conn_flush(c);
    conn_shutdown(c);
    int fd = take_apart(c);
    recv(fd, NULL, DISCARD_BYTES, MSG_TRUNC | MSG_DONTWAIT);
    close(fd);
}

void conn_abort(struct conn *c)
{
    if (conn_is_open(c))
        sock_abort(take_apart(c));
}

/* ---- writing ---- */

static size_t total_of(const struct iovec *parts, int n)
{
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += parts[i].iov_len;
    return total;
}

/* Copies at most `max` bytes of the parts, from the offset `at` on. */
static size_t gather(uint8_t *to, size_t max, const struct iovec *parts, int n, size_t at)
{
    size_t got = 0;
    for (int i = 0; i < n && got < max; i++) {
        struct span part = span_of(parts[i].iov_base, parts[i].iov_len);
        if (at >= part.n) {
            at -= part.n;
            continue;
        }
        part = span_take(span_skip(part, at), max - got);
        at = 0;
        memcpy(to + got, part.p, part.n);
        got += part.n;
    }
    return got;
}

/* Parts that fit into one record leave as one. The count of what was taken, or ERR_CLOSED. */
static ssize_t tls_send_parts(struct conn *c, const struct iovec *parts, int n)
{
    uint8_t record[RECORD_BYTES];
    size_t done = 0;
    for (;;) {
        size_t len = gather(record, sizeof record, parts, n, done);
        ssize_t sent = len ? tls_send(c, record, len) : 0;
        if (sent == 0 || sent == ERR_AGAIN)
            return (ssize_t)done;
        if (sent < 0)
            return sent;
        done += (size_t)sent;
    }
}

/* Makes room for `more` bytes behind what is unsent. */
static int reserve_output(struct conn *c, size_t more)
{
    size_t need = c->out_n + more;
    if (c->out_at + need <= c->out_cap)
        return 0;
    if (need > c->out_cap) {
        size_t twice = (size_t)c->out_cap * 2;
        uint32_t cap = round_up(need > twice ? need : twice < c->out_max ? twice : c->out_max);
        uint8_t *out = realloc(c->out, cap);
        if (!out)
            return ERR_NOMEM;
        c->out = out;
        c->out_cap = cap;
    }
    memmove(c->out, c->out + c->out_at, c->out_n);
    c->out_at = 0;
    return 0;
}

static int keep_output(struct conn *c, const struct iovec *parts, int n, size_t done, size_t total)
{
    if (done == total)
        return 0;
    if (reserve_output(c, total - done) < 0) {
        fail(c, CONN_END_NOMEM);
        return ERR_CLOSED;
    }
    c->out_n += (uint32_t)gather(c->out + c->out_at + c->out_n, total - done, parts, n, done);
    c->state |= ST_KEPT;
    return 0;
}

static int write_or_keep(struct conn *c, const struct iovec *parts, int n)
{
    size_t total = total_of(parts, n);
    if (total > c->out_max - c->out_n && c->out_n)
        conn_flush(c);
    if (c->failed)
        return ERR_CLOSED;
    if (total > c->out_max - c->out_n)
        return ERR_FULL;
    ssize_t done = 0;
    if (!c->out_n)
        done = c->tls ? tls_send_parts(c, parts, n) : plain_send(c, parts, n);
    if (done < 0 && done != ERR_AGAIN)
        return ERR_CLOSED;
    return keep_output(c, parts, n, done > 0 ? (size_t)done : 0, total);
}

int conn_write(struct conn *c, const struct iovec *parts, int n)
{
    if (!conn_is_open(c) || c->failed || c->state & ST_SHUT)
        return ERR_CLOSED;
    int err = write_or_keep(c, parts, n);
    if (c->failed || (c->state & ST_KEPT && !c->out_n))
        work_again(c);
    rearm(c);
    return err;
}

size_t conn_unsent(const struct conn *c)
{
    return c->out_n;
}
