#include "sys/dtls.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/time.h>

#include "base/digest.h"
#include "base/rand.h"
#include "sys/loop.h"

enum { SECRET_BYTES = 32, CONTENT_HANDSHAKE = 22, COOKIE_MS = 60000 };

struct dtls {
    SSL *ssl;
    const struct dtls_ops *ops;
    void *user;
    struct span in;     /* the datagram that OpenSSL may read now */
    struct addr client; /* what the cookie is about */
    bool is_dead;       /* after a fatal error OpenSSL must not be asked again */
};

struct dtls_listener {
    SSL_CTX *ctx;
    struct dtls *scratch; /* becomes the association when a client passes; NULL until the next is made */
};

/* ---- the wire as OpenSSL sees it: one write is one datagram, one read takes one ---- */

static int wire_write(BIO *b, const char *bytes, int n)
{
    struct dtls *d = BIO_get_data(b);
    d->ops->send(d->user, span_of(bytes, (size_t)n));
    return n;
}

static int wire_read(BIO *b, char *out, int room)
{
    struct dtls *d = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (d->in.n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    struct span got = span_take(d->in, (size_t)room); /* what does not fit is lost, as with recv(2) */
    memcpy(out, got.p, got.n);
    d->in.n = 0;
    return (int)got.n;
}

static long wire_control(BIO *b, int what, long value, void *p)
{
    switch (what) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU: return DTLS_MTU;
    default: return 0;
    }
}

static BIO_METHOD *wire_method;
static uint8_t secret[SECRET_BYTES];

static void prepare(void)
{
    wire_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "datagrams");
    must(wire_method && BIO_meth_set_write(wire_method, wire_write) && BIO_meth_set_read(wire_method, wire_read) &&
         BIO_meth_set_ctrl(wire_method, wire_control));
    rand_bytes(secret, sizeof secret);
}

static void prepare_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
}

/* ---- cookies, RFC 6347 s.4.2.1 ---- */

/* A cookie is made for a period and holds in that one and the next: who had an address yesterday cannot speak for it
 * today. */
static bool cookie_of(SSL *ssl, uint64_t period, uint8_t out[SHA256_SIZE])
{
    const struct dtls *d = SSL_get_app_data(ssl);
    uint8_t when[8];
    be64_put(when, period);
    struct span parts[2] = {span_of(when, sizeof when), span_of(&d->client, sizeof d->client)};
    return hmac_sha256(span_of(secret, sizeof secret), parts, 2, out) == 0;
}

static uint64_t cookie_period(void)
{
    return loop_clock_ms() / COOKIE_MS + 1;
}

static int make_cookie(SSL *ssl, unsigned char *cookie, unsigned *n)
{
    *n = SHA256_SIZE;
    return cookie_of(ssl, cookie_period(), cookie);
}

static int check_cookie(SSL *ssl, const unsigned char *cookie, unsigned n)
{
    uint64_t now = cookie_period();
    bool holds = false;
    for (uint64_t period = now - 1; period <= now && !holds; period++) {
        uint8_t right[SHA256_SIZE];
        holds = n == sizeof right && cookie_of(ssl, period, right) && digest_is_equal(cookie, right, n);
    }
    return holds;
}

void dtls_use_cookies(SSL_CTX *ctx)
{
    prepare_once();
    SSL_CTX_set_cookie_generate_cb(ctx, make_cookie);
    SSL_CTX_set_cookie_verify_cb(ctx, check_cookie);
}

/* ---- associations ---- */

static void discard(struct dtls *d)
{
    if (d)
        SSL_free(d->ssl);
    free(d);
}

static struct dtls *new_association(SSL_CTX *ctx, const struct dtls_ops *ops, void *user)
{
    prepare_once();
    struct dtls *d = calloc(1, sizeof *d);
    BIO *wire = BIO_new(wire_method);
    SSL *ssl = SSL_new(ctx);
    if (!d || !wire || !ssl) {
        free(d);
        BIO_free(wire);
        SSL_free(ssl);
        return NULL;
    }
    *d = (struct dtls){.ssl = ssl, .ops = ops, .user = user};
    BIO_set_data(wire, d);
    BIO_set_init(wire, 1);
    SSL_set_bio(ssl, wire, wire);
    SSL_set_app_data(ssl, d);
    SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU);
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    DTLS_set_link_mtu(ssl, DTLS_MTU);
    return d;
}

/* What a result of OpenSSL that is not a success means: 0 (wants more), ERR_CLOSED, ERR_CRYPTO. */
static int judge(struct dtls *d, int result)
{
    int why = SSL_get_error(d->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return 0;
    if (why != SSL_ERROR_ZERO_RETURN)
        d->is_dead = true;
    return SSL_get_shutdown(d->ssl) & SSL_RECEIVED_SHUTDOWN ? ERR_CLOSED : ERR_CRYPTO;
}

static int shake_hands(struct dtls *d)
{
    ERR_clear_error();
    int done = SSL_do_handshake(d->ssl);
    return done == 1 ? 0 : judge(d, done);
}

struct dtls *dtls_connect(SSL_CTX *ctx, const struct dtls_ops *ops, void *user)
{
    struct dtls *d = new_association(ctx, ops, user);
    if (!d)
        return NULL;
    SSL_set_connect_state(d->ssl);
    if (shake_hands(d) == 0)
        return d;
    discard(d);
    return NULL;
}

struct dtls_listener *dtls_listener_new(SSL_CTX *ctx)
{
    struct dtls_listener *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->ctx = ctx;
    SSL_CTX_up_ref(ctx);
    return l;
}

void dtls_listener_free(struct dtls_listener *l)
{
    if (!l)
        return;
    discard(l->scratch);
    SSL_CTX_free(l->ctx);
    free(l);
}

/* Each look begins with an empty session (DTLSv1_listen clears it), so nothing of a stranger stays. */
static bool has_valid_cookie(struct dtls *d, const struct addr *client, struct span datagram,
                             const struct dtls_ops *ops, void *user)
{
    BIO_ADDR *unused = BIO_ADDR_new();
    if (!unused)
        return false;
    d->client = *client;
    d->in = datagram;
    d->ops = ops;
    d->user = user;
    ERR_clear_error();
    int passed = DTLSv1_listen(d->ssl, unused);
    d->in.n = 0;
    BIO_ADDR_free(unused);
    return passed == 1;
}

struct dtls *dtls_accept(struct dtls_listener *l, const struct addr *client, struct span datagram,
                         const struct dtls_ops *ops, void *user)
{
    if (datagram.n == 0 || datagram.p[0] != CONTENT_HANDSHAKE)
        return NULL;
    if (!l->scratch)
        l->scratch = new_association(l->ctx, ops, user);
    if (!l->scratch || !has_valid_cookie(l->scratch, client, datagram, ops, user))
        return NULL;
    if (ops->admit && !ops->admit(user))
        return NULL;
    struct dtls *d = l->scratch;
    l->scratch = NULL;
    if (shake_hands(d) == 0)
        return d;
    discard(d);
    return NULL;
}

int dtls_input(struct dtls *d, struct span datagram)
{
    uint8_t plain[DTLS_PAYLOAD_MAX];
    if (d->is_dead)
        return ERR_CRYPTO;
    d->in = datagram;
    for (;;) {
        ERR_clear_error();
        int n = SSL_read(d->ssl, plain, sizeof plain);
        if (n <= 0) {
            d->in.n = 0;
            return judge(d, n);
        }
        d->ops->receive(d->user, span_of(plain, (size_t)n));
    }
}

int dtls_send(struct dtls *d, struct span head, struct span body)
{
    uint8_t plain[DTLS_PAYLOAD_MAX];
    struct wr w = wr_of(plain, sizeof plain);
    wr_bytes(&w, head);
    wr_bytes(&w, body);
    if (w.err)
        return ERR_FULL;
    if (d->is_dead)
        return ERR_CRYPTO;
    if (!dtls_is_ready(d))
        return ERR_AGAIN;
    ERR_clear_error();
    int sent = SSL_write(d->ssl, plain, (int)wr_len(&w));
    return sent > 0 || wr_len(&w) == 0 ? 0 : ERR_CRYPTO;
}

bool dtls_is_ready(const struct dtls *d)
{
    return SSL_is_init_finished(d->ssl);
}

int64_t dtls_deadline(struct dtls *d)
{
    struct timeval left;
    if (d->is_dead || !DTLSv1_get_timeout(d->ssl, &left))
        return -1;
    return (int64_t)left.tv_sec * 1000 + (left.tv_usec + 999) / 1000;
}

int dtls_timeout(struct dtls *d)
{
    if (d->is_dead)
        return ERR_CLOSED;
    ERR_clear_error();
    if (DTLSv1_handle_timeout(d->ssl) >= 0)
        return 0;
    d->is_dead = true;
    return ERR_CLOSED;
}

void dtls_free(struct dtls *d)
{
    if (!d)
        return;
    ERR_clear_error();
    if (!d->is_dead && dtls_is_ready(d))
        SSL_shutdown(d->ssl);
    discard(d);
}
