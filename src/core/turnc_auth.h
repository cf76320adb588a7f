/* The client's side of the long-term credential mechanism: RFC 8489 s.9.2 (challenge, PASSWORD-ALGORITHMS, USERHASH,
 * nonce cookie, bid-down protection), for TURN clients.
 *
 * User name and password are taken as the caller prepared them (OpaqueString, RFC 8265). No transactions here: turnc
 * decides when to ask again.
 */
#ifndef CORE_TURNC_AUTH_H
#define CORE_TURNC_AUTH_H

#include "wire/stun.h"

enum {
    TURNC_USER_MAX = 513,
    TURNC_PASSWORD_MAX = 512,
    TURNC_QUOTED_MAX = 763, /* REALM and NONCE: fewer than 128 characters, in bytes (RFC 8489 s.14.9, 14.10) */
    TURNC_ALGORITHMS_MAX = 64,
};

enum { PASSWORD_MD5 = 1, PASSWORD_SHA256 = 2 }; /* RFC 8489 s.18.5 */

struct turnc_auth {
    uint8_t user[TURNC_USER_MAX], password[TURNC_PASSWORD_MAX];
    uint8_t realm[TURNC_QUOTED_MAX], nonce[TURNC_QUOTED_MAX];
    uint8_t algorithms[TURNC_ALGORITHMS_MAX]; /* PASSWORD-ALGORITHMS as received */
    uint16_t user_n, password_n, realm_n, nonce_n, algorithms_n;
    uint16_t algorithm;             /* chosen of them: PASSWORD_MD5 or _SHA256; 0: none were offered */
    bool is_anonymous;              /* the server wants USERHASH instead of USERNAME */
    bool is_challenged;             /* realm, nonce and key are valid */
    enum integrity_rule plain_rule; /* of the dialect, when no algorithms are offered */
    enum integrity_rule rule;       /* with which requests are signed and answers must be */
    struct stun_key key;
};

/* Copies name and password (both empty: a client without credentials). `plain_rule`: how requests are signed when the
 * server offers no algorithms. 0 or ERR_FULL (longer than STUN can carry). */
int turnc_auth_init(struct turnc_auth *a, struct span user, struct span password, enum integrity_rule plain_rule);
void turnc_auth_fini(struct turnc_auth *a);
static inline bool turnc_auth_has_user(const struct turnc_auth *a)
{
    return a->user_n != 0;
}
/* Takes realm, nonce and algorithms of a 401 or 438. 0, ERR_BAD (no nonce, or no realm and none known), ERR_DENIED (the
 * nonce promises PASSWORD-ALGORITHMS that are not there: somebody removed them, s.9.2.5), ERR_NONE (no offered
 * algorithm is known here), ERR_CRYPTO. */
int turnc_auth_challenge(struct turnc_auth *a, const struct stun_msg *m);
/* Appends USERNAME or USERHASH, REALM, NONCE, the algorithms, and the integrity; nothing when not challenged or without
 * a user. */
void turnc_auth_put(const struct turnc_auth *a, struct stun_wr *w);
/* Does the integrity of this answer hold with our key and our rule? 0, ERR_NONE (it has none), ERR_DENIED. */
int turnc_auth_check(const struct turnc_auth *a, const struct stun_msg *m);
/* The nonce of this message promises PASSWORD-ALGORITHMS, but they are missing. */
bool turnc_auth_is_bid_down(const struct stun_msg *m);
/* The features that a nonce announces in its cookie (RFC 8489 s.9.2): 24 bits, bit 0 of the registry is the highest. 0
 * without a cookie. */
enum { NONCE_PASSWORD_ALGORITHMS = 1 << 23, NONCE_USERNAME_ANONYMITY = 1 << 22 };
uint32_t turnc_nonce_features(struct span nonce);

#endif
