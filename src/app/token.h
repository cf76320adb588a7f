/* Time-limited credentials of the TURN REST scheme, for `causeway user token`. */
#ifndef APP_TOKEN_H
#define APP_TOKEN_H

#include "app/config.h"

struct token_ask {
    const char *name;        /* of whom; part of the username */
    const char *secret_file; /* its first line is the secret; NULL: the newest secret of the configuration */
    uint64_t ttl_s, now_s;   /* seconds; now since 1970 */
    bool is_json;
};

/* Writes username, password, end and the server's URIs, as lines or as one JSON object. ERR_NONE: there is no secret;
 * ERR_BAD, ERR_SYS, ERR_FULL, ERR_CRYPTO; all with `why`, without a line feed. */
int token_make(const struct token_ask *ask, const struct config *c, struct text *out, struct text *why);

#endif
