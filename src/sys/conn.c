#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/conn_private.h"
#include "sys/sock.h"

enum {
    SCRATCH_BYTES = 64 * 1024,
    TURN_BYTES = 256 * 1024, /* read of one conn before others get their turn */
    PEEK_BYTES = 2048,
    IN_STEP = 1024, /* room for the rest of an unfinished message, at least */
    DISCARD_BYTES = 16 * 1024 * 1024,
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

/* ---- input that is kept ---- */

static void drop_input(struct conn *c)
{
    free(c->in);
    c->in = NULL;
    c->in_n = c->in_cap = 0;
}

static int resize_input(struct conn *c, size_t need)
{
    uint32_t cap = conn_round(need);
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
        conn_fail(c, why);
        leave_loop(c);
        drop_input(c);
        conn_drop_output(c);
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
    if (c->state & ST_WRITE_WANTS_IN && conn_flush(c) == 0 && !tell_drained(c))
        return; /* the read had brought what the write waited for */
    if ((events & EPOLLERR && c->state & ST_PAUSED) || (events & (EPOLLERR | EPOLLHUP) && c->state & ST_ENDED))
        conn_fail(c, CONN_END_RESET); /* nobody would read the error; left alone it is reported for ever */
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
    conn_drop_output(c);
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

int conn_write(struct conn *c, const struct iovec *parts, int n)
{
    if (!conn_is_open(c) || c->failed || c->state & ST_SHUT)
        return ERR_CLOSED;
    int err = conn_write_or_keep(c, parts, n);
    if (c->failed || (c->state & ST_KEPT && !c->out_n))
        work_again(c);
    rearm(c);
    return err;
}

size_t conn_unsent(const struct conn *c)
{
    return c->out_n;
}
