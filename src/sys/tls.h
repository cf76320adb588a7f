/* TLS and DTLS by OpenSSL: contexts, certificate files, the self-signed certificate of a first start. The sessions are
 * sys/conn (TLS) and sys/dtls.
 *
 * A context is immutable and reference counted; reload makes a new one. TLS 1.2 and 1.3, DTLS 1.2; OpenSSL's default
 * ciphers at security level 2; no renegotiation, no compression, session tickets stateless.
 */
#ifndef SYS_TLS_H
#define SYS_TLS_H

#include <openssl/ssl.h>

#include "base/addr.h"
#include "base/text.h"
#include "sys/dtls.h"

struct tls_files {
    const char *cert; /* PEM, chain included */
    const char *key;  /* PEM */
};

/* A server context; `dtls` chooses the protocol. ALPN: `alpn` is a NULL-terminated list such as {"stun.turn",
 * "stun.nat-discovery", NULL}; a client that offers ALPN without any of them is refused (RFC 7443); one that offers
 * none is served; NULL: ALPN is not looked at. The list must live as long as the context. On failure NULL, and `why`
 * says what to mend. A certificate outside its dates is no failure, for the client judges it: then `why` carries a
 * warning beside the context; it is empty when all is well. */
SSL_CTX *tls_server_new(const struct tls_files *files, bool dtls, const char *const *alpn, struct text *why);
/* A client context; `verify`: against the system's certificates; `ca_file` may add one (NULL: none). `alpn`: one
 * protocol to offer, or NULL. Whose name the certificate must bear is set on each session (SSL_set1_host). */
SSL_CTX *tls_client_new(bool dtls, bool verify, const char *ca_file, const char *alpn, struct text *why);
/* Makes a self-signed certificate (ECDSA P-256, ten years, the names and addresses given, at least one, NULL behind the
 * last) in two files, key mode 0600; each replaces an older one in one step.
 * 0 or ERR_SYS / ERR_CRYPTO with `why`. */
int tls_self_signed(const struct tls_files *files, const char *const *names, struct text *why);
/* Seconds until the certificate ends (negative: it has ended), and its subject. 0 or ERR_SYS / ERR_BAD. */
int tls_certificate_ends(const char *cert_file, int64_t *seconds, struct text *subject);
/* Newest OpenSSL error as a short phrase for people; empties the queue. */
void tls_error(struct text *out);

#endif
