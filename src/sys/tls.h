/* TLS and DTLS by OpenSSL: contexts, certificate files, the self-signed certificate of a first start, and DTLS without
 * state before the cookie.
 *
 * A context is immutable and reference counted; reload makes a new one. TLS 1.2 and 1.3, DTLS 1.2; OpenSSL's default
 * ciphers at security level 2; no renegotiation, no compression, session tickets stateless.
 */
#ifndef SYS_TLS_H
#define SYS_TLS_H

#include <openssl/ssl.h>

#include "base/addr.h"
#include "base/text.h"

struct tls_files {
    const char *cert; /* PEM, chain included */
    const char *key;  /* PEM */
};

/* A server context; `dtls` chooses the protocol. ALPN: `alpn` is a NULL-terminated list such as {"stun.turn",
 * "stun.nat-discovery", NULL}; a client that offers ALPN without any of them is refused (RFC 7443); one that offers
 * none is served. On failure NULL, and `why` says what to mend. */
SSL_CTX *tls_server_new(const struct tls_files *files, bool dtls, const char *const *alpn, struct text *why);
/* A client context; `verify`: against the system's certificates; `ca_file` may add one (NULL: none). */
SSL_CTX *tls_client_new(bool dtls, bool verify, const char *ca_file, const char *alpn, struct text *why);
/* Makes a self-signed certificate (ECDSA P-256, ten years, the names and addresses given) in two files, key mode 0600.
 * 0 or ERR_SYS / ERR_CRYPTO with `why`. */
int tls_self_signed(const struct tls_files *files, const char *const *names, struct text *why);
/* Seconds until the certificate ends (negative: it has ended), and its subject. 0 or ERR_SYS / ERR_BAD. */
int tls_certificate_ends(const char *cert_file, int64_t *seconds, struct text *subject);
/* Newest OpenSSL error as a short phrase for people; empties the queue. */
void tls_error(struct text *out);

/* ---- DTLS over datagrams that somebody else receives and sends ---- */

struct dtls; /* one association: SSL with memory BIOs */

struct dtls_ops {
    /* A datagram to put on the wire. */
    void (*send)(void *user, struct span datagram);
    /* A decrypted application datagram; borrowed during the call. The callee may call dtls_send, not dtls_free. */
    void (*receive)(void *user, struct span payload);
};

/* The cookie secret of this process (32 random bytes, made at the first call of tls_server_new with dtls). Stateless
 * look at a datagram from `client` for which no association exists: answers a ClientHello without cookie with
 * HelloVerifyRequest through `ops->send` and returns NULL; with a valid cookie returns a new association that has
 * consumed the datagram. Anything else: NULL, nothing sent. `scratch` is a reusable SSL of this worker, made by
 * dtls_listener_new. */
struct dtls_listener;
struct dtls_listener *dtls_listener_new(SSL_CTX *ctx);
void dtls_listener_free(struct dtls_listener *l);
struct dtls *dtls_accept(struct dtls_listener *l, const struct addr *client, struct span datagram,
                         const struct dtls_ops *ops, void *user);
/* A client association; sends the first flight. NULL on failure. */
struct dtls *dtls_connect(SSL_CTX *ctx, const struct dtls_ops *ops, void *user);
/* Feeds a received datagram. 0, or ERR_CLOSED (close_notify or fatal alert: free it), ERR_CRYPTO. */
int dtls_input(struct dtls *d, struct span datagram);
/* Encrypts and sends one application datagram, given in two parts. 0, ERR_AGAIN (handshake unfinished), ERR_CRYPTO. */
int dtls_send(struct dtls *d, struct span head, struct span body);
bool dtls_is_ready(const struct dtls *d);
/* When dtls_timeout must be called, relative to now in ms; -1 = never. */
int64_t dtls_deadline(struct dtls *d);
/* Retransmits the handshake flight. 0 or ERR_CLOSED (gave up). */
int dtls_timeout(struct dtls *d);
/* Sends close_notify where possible and frees. */
void dtls_free(struct dtls *d);

#endif
