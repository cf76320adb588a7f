/* Credentials: who may use the relay, and the nonces that prove a request is fresh. RFC 8489 s.9.2 (long-term
 * credential), the TURN REST scheme ("expiry:user" and base64(HMAC-SHA1(secret, username)) as password).
 *
 * A credential table is an immutable snapshot (configuration, database) shared by all workers; a reload builds a new
 * one. Nonces carry no state: a MAC over the client's IP address and the current period, under a key made when the
 * server starts, so that a restart makes them stale, never valid.
 */
#ifndef CORE_CRED_H
#define CORE_CRED_H

#include "base/addr.h"
#include "base/text.h"
#include "core/mras.h"
#include "wire/stun.h"

enum { CRED_USER_MAX = 508, CRED_REALM_MAX = 127, NONCE_SIZE = 35 };

/* What is kept of a user: keys, never a password. */
struct cred_keys {
    uint8_t md5[MD5_SIZE], sha256[SHA256_SIZE];
};

struct cred_table;

struct cred_table *cred_table_new(struct span realm); /* NULL: no memory, or a realm too long */
void cred_table_free(struct cred_table *t);
/* Adds a user by password or by keys of this realm; a later one of the same name replaces the earlier. 0, ERR_NOMEM,
 * ERR_BAD (name empty or too long), ERR_CRYPTO. */
int cred_table_add(struct cred_table *t, struct span user, struct span password);
int cred_table_add_keys(struct cred_table *t, struct span user, const struct cred_keys *keys);
/* Adds a shared secret of the TURN REST scheme. With one, the server cannot offer username anonymity: a token's user
 * cannot be found by its hash. */
int cred_table_add_secret(struct cred_table *t, struct span secret);
/* The keys of MRAS usernames, for clients of MS-TURN; they belong to the caller and outlive the table. */
void cred_table_set_mras(struct cred_table *t, const struct mras_keys *keys);
struct span cred_table_realm(const struct cred_table *t);
/* No user and no secret: nobody could ever authenticate (checklist S15). */
bool cred_table_is_empty(const struct cred_table *t);

/* Makes a time-limited credential. `username` gets "expiry:user"; `password` the base64 text. */
int cred_token(struct span secret, struct span user, uint64_t expires_unix_s, struct text *username,
               struct text *password);

/* ---- nonces ---- */

struct nonce_key {
    uint8_t bytes[32];
    uint32_t lifetime_s;
};

void nonce_key_init(struct nonce_key *k, uint32_t lifetime_s);
/* 35 characters: nonce cookie and security feature bits (RFC 8489 s.9.2), then the MAC in base64. */
void nonce_make(const struct nonce_key *k, const struct cred_table *t, const struct addr *client, uint64_t now_ms,
                char out[NONCE_SIZE]);
/* Made by us for this IP address within its lifetime? */
bool nonce_is_fresh(const struct nonce_key *k, const struct cred_table *t, const struct addr *client, uint64_t now_ms,
                    struct span nonce);

/* ---- judging a request ---- */

struct cred {
    char user[CRED_USER_MAX + 1];
    size_t user_n, account_at, account_n;
    struct stun_key key;
    enum integrity_rule rule; /* of the answer: follows from the password algorithm, RFC 8489 s.9.2.4 at its end */
};

/* Who pays: the user; of a token's name, the part behind its expiry; of an MRAS username, the client id. */
struct span cred_account(const struct cred *c);

/* The long-term credential mechanism of a server, RFC 8489 s.9.2.4, in its order but for the nonce, which is judged
 * before the password as in RFC 5389 s.10.2.2: who has none of ours costs us no key. 0 with `*out`, or the error code
 * to answer with: 400, 401, 438; `*why` then names the check that refused. For an unknown user the work is done with a
 * dummy key, so that it takes as long as a wrong password (checklist S16). Codes 401 and 438 go out with a challenge
 * (cred_challenge), 400 without. */
int cred_judge(const struct cred_table *t, const struct nonce_key *k, const struct addr *client, uint64_t now_ms,
               uint64_t wall_s, const struct stun_msg *m, struct cred *out, const char **why);
/* The same for an Allocate of MS-TURN, whose checks have their own order and codes (microsoft.md A.5): 401, 431, 432,
 * 434, 435, 436, 438. `version`: the lower of what both sides announce; from 3 on the integrity is SHA-256, which needs
 * a password that can be computed: stored users, of whom only keys are kept, have none (A.5.2). */
int cred_judge_ms(const struct cred_table *t, const struct nonce_key *k, const struct addr *client, uint64_t now_ms,
                  uint64_t wall_s, uint32_t version, const struct stun_msg *m, struct cred *out, const char **why);
/* Puts REALM, NONCE and PASSWORD-ALGORITHMS into a 401 or 438. */
void cred_challenge(const struct cred_table *t, const struct nonce_key *k, const struct addr *client, uint64_t now_ms,
                    struct stun_wr *w);

#endif
