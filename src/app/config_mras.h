/* The options of the media relay authentication service, as values. */
#ifndef APP_CONFIG_MRAS_H
#define APP_CONFIG_MRAS_H

#include "base/addr.h"
#include "sys/conf.h"
#include "wire/mras.h"

enum {
    MRAS_LISTEN_MAX = 16,
    MRAS_RELAYS_MAX = 8, /* an answer names each of them up to 200 times */
    MRAS_ALLOW_MAX = 64,
    MRAS_HOST_MAX = 253,
};

struct config_mras_listen {
    struct addr local;
    bool is_tls;
};

struct config_mras {
    struct config_mras_listen listen[MRAS_LISTEN_MAX];
    size_t listen_n; /* 0: there is no such service */
    struct mras_relay relays[MRAS_RELAYS_MAX];
    char hosts[MRAS_RELAYS_MAX][MRAS_HOST_MAX + 1]; /* of the relays */
    size_t relays_n;
    struct prefix allow[MRAS_ALLOW_MAX];
    size_t allow_n;  /* 0: loopback, or whoever has a certificate */
    char *client_ca; /* file, or NULL */
    uint32_t lifetime_s;
};

/* Fills `out` from the settled values of conf.def. 0, ERR_BAD with lines in `why`, or ERR_NOMEM; config_mras_fini in
 * any case. */
int config_mras_make(const struct conf *conf, struct config_mras *out, struct text *why);
void config_mras_fini(struct config_mras *c);
/* May this address ask? `is_certified`: it has proven itself by a certificate of client_ca. */
bool config_mras_may_ask(const struct config_mras *c, const struct addr *from, bool is_certified);

#endif
