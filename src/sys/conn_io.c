#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "sys/conn_private.h"

enum { RECORD_BYTES = 16 * 1024 }; /* the plain text of one TLS record */

/* ---- bytes in and out, plain or TLS ---- */

/* What OpenSSL's refusal means. `wants_other`: the state bit to set when it wants the other direction. */
static ssize_t tls_refused(struct conn *c, int result, int wants_other)
{
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ: c->state |= wants_other & ST_WRITE_WANTS_IN; return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE: c->state |= wants_other & ST_READ_WANTS_OUT; return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: conn_fail(c, CONN_END_RESET); return ERR_CLOSED;
    default:
        c->state |= ST_TLS_DEAD;
        conn_fail(c, CONN_END_TLS);
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
    conn_fail(c, CONN_END_RESET);
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
    conn_fail(c, CONN_END_RESET);
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

void conn_drop_output(struct conn *c)
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
    conn_drop_output(c);
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
        uint32_t cap = conn_round(need > twice ? need : twice < c->out_max ? twice : c->out_max);
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
        conn_fail(c, CONN_END_NOMEM);
        return ERR_CLOSED;
    }
    c->out_n += (uint32_t)gather(c->out + c->out_at + c->out_n, total - done, parts, n, done);
    c->state |= ST_KEPT;
    return 0;
}

int conn_write_or_keep(struct conn *c, const struct iovec *parts, int n)
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
