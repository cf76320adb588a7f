#include "app/doctor_link.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sys/loop.h"
#include "sys/sock.h"

uint64_t link_clock_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int fail(struct link *l, const char *what, const char *detail)
{
    struct text t = text_of(l->why, sizeof l->why);
    text_add(&t, what);
    if (detail) {
        text_add(&t, ": ");
        text_add(&t, detail);
    }
    l->is_broken = true;
    return ERR_SYS;
}

static int fail_errno(struct link *l, const char *what)
{
    char buf[80];
    return fail(l, what, strerror_r(errno, buf, sizeof buf));
}

static int fail_broken(struct link *l)
{
    char buf[80];
    return fail(l,
                errno == ECONNRESET || errno == EPIPE ? "reset by the other side" : strerror_r(errno, buf, sizeof buf),
                NULL);
}

static int fail_tls(struct link *l, const char *what)
{
    char buf[120];
    struct text t = text_of(buf, sizeof buf);
    tls_error(&t);
    return fail(l, what, t.n ? buf : NULL);
}

/* ---- waiting ---- */

/* 0 when ready, ERR_AGAIN at the deadline. */
static int wait_for(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t now_ms = loop_clock_ms();
        struct pollfd p = {.fd = fd, .events = events};
        if (now_ms >= deadline_ms)
            return ERR_AGAIN;
        int n = poll(&p, 1, (int)(deadline_ms - now_ms));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return ERR_AGAIN;
    }
}

/* ---- certificates ---- */

static void copy_name(char *to, size_t cap, X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        long n = BIO_get_mem_data(bio, &p);
        struct text t = text_of(to, cap);
        text_add_safe(&t, span_of(p, n > 0 ? (size_t)n : 0));
    }
    BIO_free(bio);
}

static void note_certificate(struct link_tls *facts, X509 *cert)
{
    int days, seconds;
    copy_name(facts->subject, sizeof facts->subject, X509_get_subject_name(cert));
    copy_name(facts->issuer, sizeof facts->issuer, X509_get_issuer_name(cert));
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)))
        facts->seconds_left = (int64_t)days * 86400 + seconds;
}

static void note_handshake(const SSL *ssl, int where, int ret)
{
    (void)ret;
    struct link_tls *facts = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (!(where & SSL_CB_HANDSHAKE_DONE) || !facts)
        return;
    *facts = (struct link_tls){.is_done = true, .verify = SSL_get_verify_result(ssl)};
    struct text version = text_of(facts->version, sizeof facts->version);
    text_add(&version, SSL_get_version(ssl));
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (cert)
        note_certificate(facts, cert);
}

SSL_CTX *link_context(bool dtls, const char *host, const char *ca_file, struct link_tls *facts, struct text *why)
{
    struct addr literal;
    SSL_CTX *ctx = tls_client_new(dtls, true, ca_file, "stun.turn", why);
    if (!ctx)
        return NULL;
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    if (addr_parse(host, &literal) == 0)
        X509_VERIFY_PARAM_set1_ip_asc(param, host);
    else
        X509_VERIFY_PARAM_set1_host(param, host, 0);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL); /* the result is judged after the handshake: link_open */
    SSL_CTX_set_app_data(ctx, facts);
    SSL_CTX_set_info_callback(ctx, note_handshake);
    return ctx;
}

/* ---- opening ---- */

void link_init(struct link *l)
{
    memset(l, 0, sizeof *l);
    l->fd = -1;
}

void link_of_fd(struct link *l, int fd)
{
    link_init(l);
    l->fd = fd;
    l->transport = TRANSPORT_TCP;
    l->rx = malloc(LINK_RX);
    if (!l->rx)
        fail(l, "out of memory", NULL);
}

static int open_udp(struct link *l, const struct link_to *to)
{
    struct sockaddr_storage ss;
    struct addr local = sock_route_source(&to->server);
    if (local.family == ADDR_NONE)
        return fail(l, "this machine has no route to it", NULL);
    local.port = 0;
    l->fd = sock_udp(&local, false, 1 << 20);
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&ss, sock_from_addr(&to->server, &ss)) < 0)
        return fail_errno(l, "no UDP socket");
    return 0;
}

static int open_tcp(struct link *l, const struct link_to *to, uint64_t deadline_ms)
{
    uint64_t start_us = link_clock_us();
    l->fd = sock_dial(NULL, &to->server, false);
    if (l->fd < 0)
        return fail_errno(l, "cannot connect");
    if (wait_for(l->fd, POLLOUT, deadline_ms))
        return fail(l, "no answer to the connection request", NULL);
    int error = sock_error(l->fd);
    if (error) {
        errno = error;
        return fail_errno(l, "cannot connect");
    }
    l->open_us = link_clock_us() - start_us;
    sock_nodelay(l->fd);
    return 0;
}

static int shake_tls(struct link *l, const struct link_to *to, uint64_t deadline_ms)
{
    struct addr literal;
    l->ssl = SSL_new(to->ctx);
    if (!l->ssl || !SSL_set_fd(l->ssl, l->fd))
        return fail_tls(l, "TLS");
    SSL_set_mode(l->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (to->name && addr_parse(to->name, &literal))
        SSL_set_tlsext_host_name(l->ssl, to->name);
    for (;;) {
        ERR_clear_error();
        int n = SSL_connect(l->ssl);
        int error = SSL_get_error(l->ssl, n);
        if (n == 1)
            return 0;
        if (error == SSL_ERROR_SYSCALL)
            return fail(l, "the server ended the TLS handshake (does it speak TLS on this port?)", NULL);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return fail_tls(l, "the TLS handshake failed");
        if (wait_for(l->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms))
            return fail(l, "the TLS handshake was not answered in time", NULL);
    }
}

static void dtls_out(void *user, struct span datagram)
{
    struct link *l = user;
    if (send(l->fd, datagram.p, datagram.n, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        fail_errno(l, "sending failed");
}

static void push_datagram(struct link *l, struct span payload)
{
    if (payload.n > UINT16_MAX || LINK_RX - l->rx_n < payload.n + 2)
        return; /* datagrams may get lost */
    be16_put(l->rx + l->rx_n, (uint16_t)payload.n);
    memcpy(l->rx + l->rx_n + 2, payload.p, payload.n);
    l->rx_n += payload.n + 2;
}

static void dtls_in(void *user, struct span payload)
{
    push_datagram(user, payload);
}

static int shake_dtls(struct link *l, const struct link_to *to, uint64_t deadline_ms)
{
    static const struct dtls_ops ops = {.send = dtls_out, .receive = dtls_in};
    l->dtls = dtls_connect(to->ctx, &ops, l);
    if (!l->dtls)
        return fail_tls(l, "DTLS");
    while (!dtls_is_ready(l->dtls)) {
        int64_t wait_ms = dtls_deadline(l->dtls);
        uint64_t now_ms = loop_clock_ms();
        uint64_t until_ms =
            wait_ms >= 0 && now_ms + (uint64_t)wait_ms < deadline_ms ? now_ms + (uint64_t)wait_ms : deadline_ms;
        if (now_ms >= deadline_ms)
            return fail(l, "the DTLS handshake was not answered", NULL);
        if (wait_for(l->fd, POLLIN, until_ms)) {
            if (until_ms < deadline_ms && dtls_timeout(l->dtls))
                return fail(l, "the DTLS handshake was not answered", NULL);
        } else if (link_fill(l) < 0) {
            return ERR_SYS;
        }
    }
    return 0;
}

static int judge_certificate(struct link *l, const struct link_to *to)
{
    if (to->may_be_untrusted || (to->tls->is_done && to->tls->verify == X509_V_OK))
        return 0;
    return fail(l, "the certificate is not trusted", X509_verify_cert_error_string(to->tls->verify));
}

int link_open(struct link *l, const struct link_to *to, uint64_t deadline_ms)
{
    link_init(l);
    l->transport = to->transport;
    l->rx = malloc(LINK_RX);
    if (!l->rx)
        return fail(l, "out of memory", NULL);
    int err = transport_is_stream(to->transport) ? open_tcp(l, to, deadline_ms) : open_udp(l, to);
    if (!err && to->transport == TRANSPORT_TLS)
        err = shake_tls(l, to, deadline_ms);
    if (!err && to->transport == TRANSPORT_DTLS)
        err = shake_dtls(l, to, deadline_ms);
    if (!err && to->ctx && (l->ssl || l->dtls))
        err = judge_certificate(l, to);
    return err;
}

void link_close(struct link *l)
{
    if (l->dtls)
        dtls_free(l->dtls);
    if (l->ssl && !l->is_broken)
        SSL_shutdown(l->ssl);
    SSL_free(l->ssl);
    if (l->fd >= 0)
        close(l->fd);
    free(l->rx);
    l->fd = -1;
    l->ssl = NULL;
    l->dtls = NULL;
    l->rx = NULL;
    l->rx_n = 0;
}

/* ---- writing ---- */

static int write_tls(struct link *l, struct span bytes)
{
    ERR_clear_error();
    int n = SSL_write(l->ssl, bytes.p, bytes.n > 1 << 20 ? 1 << 20 : (int)bytes.n);
    if (n > 0)
        return n;
    int error = SSL_get_error(l->ssl, n);
    if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
        return 0;
    return error == SSL_ERROR_SYSCALL ? fail_broken(l) : fail_tls(l, "TLS");
}

int link_write(struct link *l, struct span bytes)
{
    if (!link_is_open(l))
        return ERR_SYS;
    if (l->ssl)
        return write_tls(l, bytes);
    if (l->dtls)
        return dtls_send(l->dtls, bytes, (struct span){0}) ? fail_tls(l, "DTLS") : (int)bytes.n;
    ssize_t n = send(l->fd, bytes.p, bytes.n > 1 << 20 ? 1 << 20 : bytes.n, MSG_NOSIGNAL);
    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return fail_broken(l);
}

int link_send(struct link *l, struct span bytes, uint64_t deadline_ms)
{
    while (bytes.n) {
        int n = link_write(l, bytes);
        if (n < 0)
            return n;
        bytes = span_skip(bytes, (size_t)n);
        if (n == 0 && wait_for(l->fd, POLLOUT, deadline_ms))
            return ERR_AGAIN;
    }
    return 0;
}

void link_half_close(struct link *l)
{
    if (l->ssl)
        SSL_shutdown(l->ssl);
    if (l->fd >= 0)
        shutdown(l->fd, SHUT_WR);
}

/* ---- reading ---- */

static int ended(struct link *l)
{
    l->has_ended = true;
    return ERR_CLOSED;
}

static int fill_tls(struct link *l)
{
    ERR_clear_error();
    int n = SSL_read(l->ssl, l->rx + l->rx_n, (int)(LINK_RX - l->rx_n));
    if (n > 0) {
        l->rx_n += (size_t)n;
        return n;
    }
    int error = SSL_get_error(l->ssl, n);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return 0;
    if (error == SSL_ERROR_ZERO_RETURN)
        return ended(l);
    return error == SSL_ERROR_SYSCALL ? fail_broken(l) : fail_tls(l, "TLS");
}

static int fill_tcp(struct link *l)
{
    ssize_t n = recv(l->fd, l->rx + l->rx_n, LINK_RX - l->rx_n, 0);
    if (n > 0) {
        l->rx_n += (size_t)n;
        return (int)n;
    }
    if (n == 0)
        return ended(l);
    return errno == EAGAIN || errno == EINTR ? 0 : fail_broken(l);
}

static int fill_udp(struct link *l)
{
    uint8_t datagram[65536];
    size_t before = l->rx_n;
    ssize_t n = recv(l->fd, datagram, sizeof datagram, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : fail_errno(l, "nothing listens there");
    struct span bytes = span_of(datagram, (size_t)n);
    if (!l->dtls)
        push_datagram(l, bytes);
    else if (dtls_input(l->dtls, bytes))
        return dtls_is_ready(l->dtls) ? ended(l) : fail_tls(l, "the DTLS handshake failed");
    return (int)(l->rx_n - before) + 1; /* at least one: a datagram was taken, perhaps of the handshake */
}

int link_fill(struct link *l)
{
    if (l->is_broken || l->fd < 0)
        return ERR_SYS;
    if (l->has_ended)
        return ERR_CLOSED;
    if (!transport_is_stream(l->transport))
        return fill_udp(l);
    if (l->rx_n == LINK_RX)
        return 0;
    return l->ssl ? fill_tls(l) : fill_tcp(l);
}

struct span link_peek(const struct link *l)
{
    if (transport_is_stream(l->transport))
        return span_of(l->rx, l->rx_n);
    return l->rx_n ? span_of(l->rx + 2, be16_get(l->rx)) : (struct span){0};
}

void link_take(struct link *l, size_t n)
{
    if (!transport_is_stream(l->transport))
        n = 2 + (size_t)be16_get(l->rx);
    l->rx_n -= n;
    memmove(l->rx, l->rx + n, l->rx_n);
}

short link_events(const struct link *l, bool wants_write)
{
    return (short)((l->has_ended ? 0 : POLLIN) | (wants_write ? POLLOUT : 0));
}

bool link_has_hidden(const struct link *l)
{
    return l->ssl && SSL_pending(l->ssl) > 0;
}
