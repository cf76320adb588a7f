/* DTLS 1.2 over datagrams that somebody else receives and sends (RFC 6347), server and client; contexts by sys/tls.
 *
 * Before a client has proved with a cookie that it receives at its address, nothing about it is kept (RFC 6347 s.4.2.1;
 * checklist S30). Handshake datagrams are at most DTLS_MTU bytes; lost flights are sent again by dtls_timeout.
 */
#ifndef SYS_DTLS_H
#define SYS_DTLS_H

#include <openssl/ssl.h>

#include "base/addr.h"

enum { DTLS_MTU = 1200, DTLS_PAYLOAD_MAX = 16384 };

struct dtls; /* one association */

struct dtls_ops {
    /* A datagram to put on the wire. */
    void (*send)(void *user, struct span datagram);
    /* A decrypted application datagram; borrowed during the call. The callee may call dtls_send, not dtls_free. */
    void (*receive)(void *user, struct span payload);
    /* A server's client has proven its address: may its handshake begin? Called once, within dtls_accept. NULL: yes. */
    bool (*admit)(void *user);
};

/* Makes a server context answer and check cookies: HMAC-SHA256 of the client's address and the minute under 32
 * random bytes of this process. tls_server_new calls it. */
void dtls_use_cookies(SSL_CTX *ctx);

struct dtls_listener; /* a reusable session that looks at strangers' datagrams; one for each worker */

/* NULL: no memory. */
struct dtls_listener *dtls_listener_new(SSL_CTX *ctx);
void dtls_listener_free(struct dtls_listener *l);
/* Stateless look at a datagram from `client` for which no association exists: answers a ClientHello without cookie with
 * HelloVerifyRequest through `ops->send` and returns NULL; with a valid cookie returns a new association that has
 * consumed the datagram and sent its first flight. Anything else, or not admitted: NULL, nothing sent. */
struct dtls *dtls_accept(struct dtls_listener *l, const struct addr *client, struct span datagram,
                         const struct dtls_ops *ops, void *user);
/* A client association; sends the first flight. NULL on failure. */
struct dtls *dtls_connect(SSL_CTX *ctx, const struct dtls_ops *ops, void *user);
/* Feeds a received datagram. 0, or ERR_CLOSED (close_notify or fatal alert: free it), ERR_CRYPTO. */
int dtls_input(struct dtls *d, struct span datagram);
/* Encrypts and sends one application datagram, given in two parts, in one record. 0, ERR_AGAIN (handshake unfinished),
 * ERR_FULL (longer than DTLS_PAYLOAD_MAX), ERR_CRYPTO. */
int dtls_send(struct dtls *d, struct span head, struct span body);
bool dtls_is_ready(const struct dtls *d);
/* When dtls_timeout must be called, relative to now in ms; -1 = never. */
int64_t dtls_deadline(struct dtls *d);
/* Retransmits the handshake flight if it is due. 0 or ERR_CLOSED (gave up). */
int dtls_timeout(struct dtls *d);
/* Sends close_notify where possible and frees. */
void dtls_free(struct dtls *d);

#endif
