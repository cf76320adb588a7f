/* What a configuration means for the workers: credentials, peer rules, relay addresses, certificates. Immutable once
 * made; a reload makes a new one.
 */
#ifndef APP_POLICY_H
#define APP_POLICY_H

#include <openssl/ssl.h>

#include "app/config.h"
#include "core/limit.h"
#include "core/mras.h"
#include "core/turn.h"
#include "store/store.h"
#include "sys/tls.h"

struct policy {
    struct turn_policy turn;
    SSL_CTX *tls, *dtls; /* NULL: no certificate */
    SSL_CTX *mras_tls;   /* of the service that gives credentials out; NULL: there is none */
    struct mras_keys mras;
    struct cred_table *creds;
    struct peer_rules *rules;
    struct turn_relay relays[CONFIG_LIST_MAX];
    bool log_debug; /* events of that level are wanted */
    size_t users;   /* in configuration and database together */
};

/* What does not stand in the configuration. Strings are borrowed. */
struct policy_source {
    const struct config *config;
    struct store *store; /* NULL: no database */
    struct tls_files files;
    const struct mras_keys *mras; /* secrets of MRAS credentials; copied */
    const char *own_user, *own_password;   /* generated at first start; NULL: none */
    const char *test_user, *test_password; /* of the self-test, known to this process alone; NULL: none */
};

/* NULL with `why`. */
struct policy *policy_new(const struct policy_source *s, struct text *why);
void policy_free(struct policy *p);
/* The limits of a configuration, as core/limit takes them. */
struct limits policy_limits(const struct config *c);

#endif
