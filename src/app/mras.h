/* The media relay authentication service: TCP and TLS connections of SIP servers that ask for credentials of their
 * clients (microsoft.md C). It runs in the server's main thread, away from the data path.
 *
 * Who connects without being allowed is closed unheard; connections, their silence, their slowness and their rate are
 * bounded. What is answered is app/mras_answer's business.
 */
#ifndef APP_MRAS_H
#define APP_MRAS_H

#include <openssl/ssl.h>

#include "app/mras_answer.h"
#include "sys/loop.h"
#include "sys/tls.h"

struct mras;

/* What a reload replaces; borrowed until the next mras_set or mras_close, but for the context, of which a reference is
 * taken. */
struct mras_terms {
    const struct config_mras *config;
    const struct mras_keys *keys;
    SSL_CTX *tls; /* of mras_tls_new; NULL: TLS is not available */
};

/* Opens the listeners (before privileges are dropped). `*out` is NULL where none is configured. 0, ERR_SYS or ERR_NOMEM
 * with `why`. */
int mras_open(struct mras **out, const struct config_mras *config, struct text *why);
/* Starts to serve. `log` stamps and writes events. 0 or ERR_SYS. */
int mras_start(struct mras *m, struct loop *loop, const struct mras_terms *terms,
               void (*log)(void *context, struct ev *e), void *context);
/* New terms for all that comes from now on; connections of those who may not ask any more are closed, and those that
 * rest on a certificate, which must be shown again. */
void mras_set(struct mras *m, const struct mras_terms *terms);
/* NULL is harmless. */
void mras_close(struct mras *m);

/* A server context that asks for a certificate of `client_ca` if that is not NULL. NULL with `why`. */
SSL_CTX *mras_tls_new(const struct tls_files *files, const char *client_ca, struct text *why);

#endif
