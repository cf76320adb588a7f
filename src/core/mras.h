/* Credentials of the media relay authentication service (MRAS): made without being kept, judged without being looked up
 * (microsoft.md C.3). Clients see username and password in base64 and look into neither; MS-TURN carries the raw bytes.
 *
 *   username, 56 bytes:  03 00 | 00 24 | end u64, seconds since 1970 | key id u32 | random u64 | flags u32 (zero)
 *                        | client id, 8 characters | MAC of all that, 20 bytes
 *   password, 20 bytes:  another MAC, of the whole username
 *
 * MACs are HMAC-SHA256 cut to 20 bytes; their keys come from a secret by HMAC under different labels, so that none of
 * them tells anything about another, or about the secret. The secrets are those of the TURN REST scheme where the
 * configuration has some (all relays of a pool then share them), else a rotating one that the server keeps for itself.
 */
#ifndef CORE_MRAS_H
#define CORE_MRAS_H

#include "base/digest.h"

enum {
    MRAS_USERNAME_SIZE = 56,
    MRAS_PASSWORD_SIZE = 20,
    MRAS_CLIENT_SIZE = 8,
    MRAS_SECRET_SIZE = 32, /* of a made secret; others may have any length but 0 */
    MRAS_KEYS_MAX = 72,
};

/* What a secret comes to. */
struct mras_key {
    uint32_t id;
    uint8_t name[SHA256_SIZE], password[SHA256_SIZE], client[SHA256_SIZE];
};

/* The secrets that hold, newest first: the first one signs, all of them verify. A plain value. */
struct mras_keys {
    size_t n;
    struct mras_key list[MRAS_KEYS_MAX];
};

struct mras_ticket {
    uint8_t username[MRAS_USERNAME_SIZE], password[MRAS_PASSWORD_SIZE];
    uint8_t
        client[MRAS_CLIENT_SIZE]; /* printable; the same for all tickets of one identity under one secret: who pays */
    uint64_t expires_s;           /* since 1970 */
};

/* Adds a secret behind those that are there. 0; ERR_BAD: it is empty; ERR_FULL; ERR_CRYPTO. */
int mras_keys_add(struct mras_keys *k, struct span secret);
/* Makes credentials for `identity` (of any length, opaque) with the newest secret. 0; ERR_NONE: there is no secret;
 * ERR_CRYPTO. */
int mras_issue(const struct mras_keys *k, struct span identity, uint64_t expires_s, struct mras_ticket *out);
/* Was this username made with one of these secrets? Then 0, with the password that belongs to it and its end, which the
 * caller judges (at Allocate alone: running allocations outlive their credentials). ERR_DENIED: not ours, or changed;
 * ERR_CRYPTO. The time that it takes does not depend on how much of a forged MAC is right, nor on whether its key is
 * known. */
int mras_password(const struct mras_keys *k, struct span username, struct mras_ticket *out);

#endif
