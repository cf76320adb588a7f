/* Users that are kept: names and keys, never a password.
 *
 * One vtable, a file for each driver (sqlite.c). Queries are prepared; a name is a value, never a part of a query
 * (checklist S21). A store is for one thread at a time; several processes may have it open. Functions that fail return
 * a negative `enum err` and add to `why`, in one line without a line feed, what happened and what to do: ERR_NONE no
 * such user, ERR_AGAIN locked for too long, ERR_DENIED read-only or no permission, ERR_FULL disk full, ERR_BAD not a
 * store of ours, ERR_SYS anything else.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/digest.h"
#include "base/text.h"

enum { STORE_NAME_MAX = 508, STORE_REALM_MAX = 127, STORE_PASSWORD_MAX = 508 }; /* bytes */

/* RFC 8489 s.9.2.2 and s.14.4. */
struct store_user {
    char name[STORE_NAME_MAX + 1];
    char realm[STORE_REALM_MAX + 1];
    uint8_t md5[MD5_SIZE];         /* long-term key: MD5 of name ":" realm ":" password */
    uint8_t sha256[SHA256_SIZE];   /* the same by SHA-256 */
    uint8_t userhash[SHA256_SIZE]; /* SHA-256 of name ":" realm */
    int64_t created_s;             /* seconds since 1970 */
    bool is_enabled;
};

/* NULL, or why this cannot be a name, realm or password, as a phrase for people. Bytes are kept as they are given: no
 * Unicode normalisation (RFC 8265 s.4.2.2 wants NFC, which keyboards produce); control characters are refused, and in a
 * name the colon, which would make name:realm:password ambiguous. */
const char *store_name_fault(struct span name);
const char *store_realm_fault(struct span realm);
const char *store_password_fault(struct span password);

/* Derives the keys; the user is enabled. 0, ERR_BAD (a fault of the three above) or ERR_CRYPTO. */
int store_user_init(struct store_user *u, const char *name, const char *realm, const char *password, int64_t created_s);

struct store;

/* Opens the store at `path`, and makes it (mode 0600, owner of the directory if we are root) if there is none. NULL
 * with
 * `*err` and `why`. */
struct store *store_open(const char *path, int *err, struct text *why);
void store_close(struct store *s);

/* Adds a user; replaces keys and state of one with this name and realm, whose time of creation stays. */
int store_put(struct store *s, const struct store_user *u, struct text *why);
int store_remove(struct store *s, const char *name, const char *realm, struct text *why);
int store_enable(struct store *s, const char *name, const char *realm, bool is_enabled, struct text *why);
int store_get(struct store *s, const char *name, const char *realm, struct store_user *out, struct text *why);
int store_get_by_hash(struct store *s, const uint8_t userhash[SHA256_SIZE], struct store_user *out, struct text *why);
/* Calls `each` for every user, by realm and name, until it returns something other than 0, which is then returned. The
 * store must not be changed meanwhile. */
int store_list(struct store *s, int (*each)(void *context, const struct store_user *u), void *context,
               struct text *why);
/* A number that changes when another connection has changed the store. */
int store_version(struct store *s, uint64_t *version, struct text *why);

#endif
