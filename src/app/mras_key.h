/* The secrets behind MRAS credentials: the configuration's shared secrets, or without one a file in the state directory
 * with a random secret that is changed from time to time.
 *
 * The file has a line for each secret, newest first: when it was made, in seconds since 1970, and the secret in hex. A
 * secret signs for a day or for the lifetime of credentials, whichever is longer, and verifies for as long after that.
 * Several processes may use the file: a lock on the directory keeps two of them from making a secret at the same time.
 */
#ifndef APP_MRAS_KEY_H
#define APP_MRAS_KEY_H

#include "app/config.h"
#include "app/state.h"
#include "core/mras.h"

/* Reads the secrets that hold at `now_s` into `out`, newest first. `may_make`: a secret that is missing or too old is
 * replaced, and the file written; otherwise a missing file is no secret at all. 0, or a negative error with `why`. */
int mras_key_load(const struct state *s, const struct config *c, bool may_make, uint64_t now_s, struct mras_keys *out,
                  struct text *why);
/* Are the same secrets in both? */
bool mras_key_is_same(const struct mras_keys *a, const struct mras_keys *b);

#endif
