/* MRAS credentials on the command line, for `causeway user mras`. */
#ifndef APP_TICKET_H
#define APP_TICKET_H

#include "app/config.h"
#include "core/mras.h"

struct ticket_ask {
    const char *identity; /* whose; any text, a SIP URI as a rule */
    uint64_t ttl_s;       /* 0: as long as the configuration allows */
    uint64_t now_s;       /* since 1970 */
    bool is_json;
};

/* Writes username, password (both in base64), realm, end and the relays of the configuration, as lines or as one JSON
 * object. ERR_BAD: no identity, or longer than mras-lifetime; ERR_CRYPTO, ERR_NONE; all with `why`, without a line
 * feed.
 */
int ticket_make(const struct ticket_ask *ask, const struct config *c, const struct mras_keys *keys, struct text *out,
                struct text *why);

#endif
