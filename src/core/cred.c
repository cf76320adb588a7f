#include "core/cred.h"

#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"
#include "base/rand.h"

/* The nonce cookie of RFC 8489 s.9.2: these nine characters, then 24 feature bits as four base64 digits. */
static const char nonce_cookie[] = "obMatJos2";
enum {
    NONCE_COOKIE_SIZE = 9,
    NONCE_FEATURES_SIZE = 4,
    NONCE_MAC_SIZE = 16,                /* bytes before base64 */
    FEATURE_PASSWORD_ALGORITHMS = 0x80, /* bit 0 of the 24, most significant first (s.18.1) */
    FEATURE_USERNAME_ANONYMITY = 0x40,
};

/* PASSWORD-ALGORITHMS: SHA-256, without parameters (s.18.5). Only this one is listed: a client that knows the attribute
 * knows it, and a client that does not uses MD5 by itself. One entry keeps the challenge small (checklist S27). */
enum { ALGORITHM_MD5 = 1, ALGORITHM_SHA256 = 2 };
static const uint8_t algorithms[4] = {0, ALGORITHM_SHA256, 0, 0};

struct user {
    struct map_node by_name, by_hash;
    uint8_t name_key[SHA256_SIZE]; /* digest of the name: names have any length */
    uint8_t userhash[SHA256_SIZE];
    struct cred_keys keys;
    size_t name_n;
    char name[];
};

struct secret {
    struct secret *next;
    size_t n;
    uint8_t bytes[];
};

struct cred_table {
    char realm[CRED_REALM_MAX + 1];
    size_t realm_n;
    struct map by_name, by_hash;
    struct secret *secrets;
    const struct mras_keys *mras;
    struct cred_keys dummy;
};

struct cred_table *cred_table_new(struct span realm)
{
    if (realm.n == 0 || realm.n > CRED_REALM_MAX)
        return NULL;
    struct cred_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    memcpy(t->realm, realm.p, realm.n);
    t->realm_n = realm.n;
    rand_bytes(&t->dummy, sizeof t->dummy);
    if (map_init(&t->by_name, MAP_KEY_OFFSET(struct user, by_name, name_key), SHA256_SIZE) ||
        map_init(&t->by_hash, MAP_KEY_OFFSET(struct user, by_hash, userhash), SHA256_SIZE)) {
        cred_table_free(t);
        return NULL;
    }
    return t;
}

static void user_free(struct cred_table *t, struct user *u)
{
    map_del(&t->by_name, &u->by_name);
    map_del(&t->by_hash, &u->by_hash);
    digest_wipe(&u->keys, sizeof u->keys);
    free(u);
}

void cred_table_free(struct cred_table *t)
{
    if (!t)
        return;
    for (struct map_node *n; t->by_hash.buckets && (n = map_any(&t->by_hash));)
        user_free(t, container_of(n, struct user, by_hash));
    if (t->by_name.buckets)
        map_fini(&t->by_name);
    if (t->by_hash.buckets)
        map_fini(&t->by_hash);
    while (t->secrets) {
        struct secret *s = t->secrets;
        t->secrets = s->next;
        digest_wipe(s->bytes, s->n);
        free(s);
    }
    free(t);
}

void cred_table_set_mras(struct cred_table *t, const struct mras_keys *keys)
{
    t->mras = keys;
}

struct span cred_table_realm(const struct cred_table *t)
{
    return span_of(t->realm, t->realm_n);
}

bool cred_table_is_empty(const struct cred_table *t)
{
    return t->by_name.count == 0 && !t->secrets && !(t->mras && t->mras->n);
}

static struct user *user_by_name(const struct cred_table *t, struct span name)
{
    uint8_t key[SHA256_SIZE];
    if (digest_sha256(&name, 1, key))
        return NULL;
    struct map_node *n = map_get(&t->by_name, key);
    return n ? container_of(n, struct user, by_name) : NULL;
}

static struct user *user_by_hash(const struct cred_table *t, struct span hash)
{
    struct map_node *n = hash.n == SHA256_SIZE ? map_get(&t->by_hash, hash.p) : NULL;
    return n ? container_of(n, struct user, by_hash) : NULL;
}

int cred_table_add_keys(struct cred_table *t, struct span name, const struct cred_keys *keys)
{
    if (name.n == 0 || name.n > CRED_USER_MAX)
        return ERR_BAD;
    struct user *u = calloc(1, sizeof *u + name.n);
    if (!u)
        return ERR_NOMEM;
    memcpy(u->name, name.p, name.n);
    u->name_n = name.n;
    u->keys = *keys;
    if (digest_sha256(&name, 1, u->name_key) || stun_userhash(name, cred_table_realm(t), u->userhash)) {
        free(u);
        return ERR_CRYPTO;
    }
    struct user *old = user_by_name(t, name);
    if (old)
        user_free(t, old);
    map_put(&t->by_name, &u->by_name);
    map_put(&t->by_hash, &u->by_hash);
    return 0;
}

static int keys_of(struct span user, struct span realm, struct span password, struct cred_keys *out)
{
    struct stun_key md5, sha256;
    if (stun_key_md5(&md5, user, realm, password) || stun_key_sha256(&sha256, user, realm, password))
        return ERR_CRYPTO;
    memcpy(out->md5, md5.bytes, sizeof out->md5);
    memcpy(out->sha256, sha256.bytes, sizeof out->sha256);
    return 0;
}

int cred_table_add(struct cred_table *t, struct span user, struct span password)
{
    struct cred_keys keys;
    int err = keys_of(user, cred_table_realm(t), password, &keys);
    return err ? err : cred_table_add_keys(t, user, &keys);
}

int cred_table_add_secret(struct cred_table *t, struct span secret)
{
    if (secret.n == 0)
        return ERR_BAD;
    struct secret *s = malloc(sizeof *s + secret.n);
    if (!s)
        return ERR_NOMEM;
    s->n = secret.n;
    memcpy(s->bytes, secret.p, secret.n);
    struct secret **end = &t->secrets;
    while (*end)
        end = &(*end)->next;
    s->next = NULL;
    *end = s;
    return 0;
}

/* ---- the TURN REST scheme ---- */

enum { TOKEN_PASSWORD_MAX = 4 * ((SHA1_SIZE + 2) / 3) + 1 };

static int token_password(struct span secret, struct span username, char out[TOKEN_PASSWORD_MAX])
{
    uint8_t mac[SHA1_SIZE];
    int err = hmac_sha1(secret, &username, 1, mac);
    if (!err)
        text_base64(mac, sizeof mac, out);
    return err;
}

int cred_token(struct span secret, struct span user, uint64_t expires_unix_s, struct text *username,
               struct text *password)
{
    text_addf(username, "%llu:", (unsigned long long)expires_unix_s);
    text_add_span(username, user);
    char text[TOKEN_PASSWORD_MAX];
    int err = token_password(secret, span_of(username->buf, username->n), text);
    if (!err)
        text_add(password, text);
    return err ? err : username->truncated || password->truncated ? ERR_FULL : 0;
}

/* When a name such as "1700000000:alice" or "1700000000" expires, in seconds since 1970; 0 for a name that is no
 * token's. */
static uint64_t token_expiry(struct span user)
{
    const uint8_t *colon = user.n ? memchr(user.p, ':', user.n) : NULL;
    uint64_t expires;
    struct span digits = span_take(user, colon ? (size_t)(colon - user.p) : user.n);
    return text_parse_u64(digits, 1, UINT64_MAX, &expires) == 0 ? expires : 0;
}

/* ---- nonces ---- */

void nonce_key_init(struct nonce_key *k, uint32_t lifetime_s)
{
    rand_bytes(k->bytes, sizeof k->bytes);
    k->lifetime_s = lifetime_s;
}

/* A nonce is made for a period of half its lifetime and accepted in that period and the next: it lives between half and
 * all of it. */
static void nonce_of_period(const struct nonce_key *k, const struct cred_table *t, const struct addr *client,
                            uint64_t period, char out[NONCE_SIZE])
{
    uint8_t bits[3] = {FEATURE_PASSWORD_ALGORITHMS, 0, 0}, mac[SHA256_SIZE], when[8];
    if (!t->secrets)
        bits[0] |= FEATURE_USERNAME_ANONYMITY;
    struct addr ip = addr_without_port(client);
    be64_put(when, period);
    struct span parts[3] = {span_of(bits, sizeof bits), span_of(when, sizeof when), span_of(&ip, sizeof ip)};
    must(hmac_sha256(span_of(k->bytes, sizeof k->bytes), parts, 3, mac) == 0);
    char text[2 * SHA256_SIZE];
    memcpy(out, nonce_cookie, NONCE_COOKIE_SIZE);
    memcpy(out + NONCE_COOKIE_SIZE, text_base64(bits, sizeof bits, text), NONCE_FEATURES_SIZE);
    text_base64(mac, NONCE_MAC_SIZE, text);
    memcpy(out + NONCE_COOKIE_SIZE + NONCE_FEATURES_SIZE, text, NONCE_SIZE - NONCE_COOKIE_SIZE - NONCE_FEATURES_SIZE);
}

static uint64_t nonce_period(const struct nonce_key *k, uint64_t now_ms)
{
    uint64_t half_ms = (uint64_t)k->lifetime_s * 500;
    return now_ms / (half_ms ? half_ms : 1) + 1;
}

void nonce_make(const struct nonce_key *k, const struct cred_table *t, const struct addr *client, uint64_t now_ms,
                char out[NONCE_SIZE])
{
    nonce_of_period(k, t, client, nonce_period(k, now_ms), out);
}

bool nonce_is_fresh(const struct nonce_key *k, const struct cred_table *t, const struct addr *client, uint64_t now_ms,
                    struct span nonce)
{
    if (nonce.n != NONCE_SIZE)
        return false;
    uint64_t period = nonce_period(k, now_ms);
    for (uint64_t back = 0; back < 2; back++) {
        char expected[NONCE_SIZE];
        nonce_of_period(k, t, client, period - back, expected);
        if (digest_is_equal(expected, nonce.p, NONCE_SIZE))
            return true;
    }
    return false;
}

/* ---- judging a request ---- */

/* RFC 8489 s.9.2.4: with the feature bit in the nonce, the algorithm attributes stand both or not at all, and repeat
 * what we offered (bid-down protection, checklist S24). The algorithm to use, or 0. */
static int algorithm_of(const struct stun_msg *m)
{
    struct span offered, chosen;
    bool has_offered = stun_get_bytes(m, AT_PASSWORD_ALGORITHMS, &offered) == 0;
    bool has_chosen = stun_get_bytes(m, AT_PASSWORD_ALGORITHM, &chosen) == 0;
    if (!has_offered && !has_chosen)
        return ALGORITHM_MD5;
    if (!has_offered || !has_chosen)
        return 0;
    if (!span_is_equal(offered, span_of(algorithms, sizeof algorithms)))
        return 0;
    return span_is_equal(chosen, span_of(algorithms, sizeof algorithms)) ? ALGORITHM_SHA256 : 0;
}

static void key_set(struct stun_key *k, const struct cred_keys *keys, int algorithm)
{
    k->n = algorithm == ALGORITHM_SHA256 ? SHA256_SIZE : MD5_SIZE;
    memcpy(k->bytes, algorithm == ALGORITHM_SHA256 ? keys->sha256 : keys->md5, k->n);
}

static bool is_verified(const struct stun_msg *m, const struct cred_keys *keys, int algorithm, struct cred *out)
{
    enum integrity_rule held;
    key_set(&out->key, keys, algorithm);
    out->rule = algorithm == ALGORITHM_SHA256 ? INTEGRITY_RFC_SHA256 : INTEGRITY_RFC;
    return stun_verify(m, &out->key, INTEGRITY_NONE, &held) == 0;
}

/* Tries each secret: during a rotation both the old and the new one hold. */
static bool is_verified_token(const struct cred_table *t, struct span user, const struct stun_msg *m, int algorithm,
                              struct cred *out)
{
    bool held = false;
    for (const struct secret *s = t->secrets; s && !held; s = s->next) {
        char password[TOKEN_PASSWORD_MAX];
        struct cred_keys keys;
        held = token_password(span_of(s->bytes, s->n), user, password) == 0 &&
               keys_of(user, cred_table_realm(t), span_str(password), &keys) == 0 &&
               is_verified(m, &keys, algorithm, out);
    }
    return held;
}

static void user_set(struct cred *out, struct span name)
{
    out->account_at = 0;
    out->user_n = out->account_n = name.n;
    if (name.n)
        memcpy(out->user, name.p, name.n);
    out->user[name.n] = 0;
}

/* "1700000000:alice" is one of many names of alice, who pays for all of them (checklist S42). */
static void account_set(struct cred *out)
{
    const char *colon = strchr(out->user, ':');
    out->account_at = colon && colon[1] ? (size_t)(colon - out->user) + 1 : 0;
    out->account_n = out->user_n - out->account_at;
}

struct span cred_account(const struct cred *c)
{
    return span_take(span_skip(span_of(c->user, c->user_n), c->account_at), c->account_n);
}

int cred_judge(const struct cred_table *t, const struct nonce_key *k, const struct addr *client, uint64_t now_ms,
               uint64_t wall_s, const struct stun_msg *m, struct cred *out, const char **why)
{
    struct span name = {NULL, 0}, hash = {NULL, 0}, realm, nonce;
    if (!stun_has(m, AT_MESSAGE_INTEGRITY) && !stun_has(m, AT_MESSAGE_INTEGRITY_SHA256))
        return *why = "no MESSAGE-INTEGRITY", 401;
    bool has_name = stun_get_bytes(m, AT_USERNAME, &name) == 0, has_hash = stun_get_bytes(m, AT_USERHASH, &hash) == 0;
    if (!has_name && !has_hash)
        return *why = "no USERNAME", 400;
    if (stun_get_bytes(m, AT_REALM, &realm))
        return *why = "no REALM", 400;
    if (stun_get_bytes(m, AT_NONCE, &nonce))
        return *why = "no NONCE", 400;
    if (!nonce_is_fresh(k, t, client, now_ms, nonce))
        return *why = "stale nonce", 438;
    int algorithm = algorithm_of(m);
    if (!algorithm)
        return *why = "PASSWORD-ALGORITHMS are not those of the challenge", 400;
    const struct user *u = has_name ? user_by_name(t, name) : user_by_hash(t, hash);
    if (u)
        name = span_of(u->name, u->name_n);
    if (name.n <= CRED_USER_MAX)
        user_set(out, name);
    if (!span_is_equal(realm, cred_table_realm(t)))
        return *why = "foreign realm", 401;
    if (is_verified(m, u ? &u->keys : &t->dummy, algorithm, out))
        return u ? 0 : (*why = "unknown user", 401);
    if (u)
        return *why = "wrong password", 401;
    if (!t->secrets || !token_expiry(name) || name.n > CRED_USER_MAX)
        return *why = "unknown user", 401; /* by the same work as a wrong password */
    if (token_expiry(name) <= wall_s)
        return *why = "token expired", 401;
    if (!is_verified_token(t, name, m, algorithm, out))
        return *why = "not a token of the shared secret", 401;
    account_set(out);
    return 0;
}

/* ---- MS-TURN ---- */

/* What a client of MS-TURN sent. */
struct ms_claim {
    struct span name, realm, nonce;
    bool is_sha256;
};

static bool ms_holds(const struct ms_claim *c, const struct stun_msg *m, const struct stun_key *key, struct cred *out)
{
    enum integrity_rule held;
    out->key = *key;
    out->rule = c->is_sha256 ? INTEGRITY_MS_SHA256 : INTEGRITY_FULL_PAD64;
    return stun_verify(m, &out->key, out->rule, &held) == 0;
}

static bool ms_password_holds(const struct ms_claim *c, const struct stun_msg *m, struct span password,
                              struct cred *out)
{
    struct stun_key key;
    int err = c->is_sha256 ? stun_key_ms_sha256(&key, c->name, c->realm, c->nonce, password)
                           : stun_key_md5(&key, c->name, c->realm, password);
    return !err && ms_holds(c, m, &key, out);
}

static bool ms_token_holds(const struct cred_table *t, const struct ms_claim *c, const struct stun_msg *m,
                           struct cred *out)
{
    bool held = false;
    for (const struct secret *s = t->secrets; s && !held; s = s->next) {
        char password[TOKEN_PASSWORD_MAX];
        held = token_password(span_of(s->bytes, s->n), c->name, password) == 0 &&
               ms_password_holds(c, m, span_str(password), out);
    }
    return held;
}

/* An MRAS username proves itself; its password is computed from it (microsoft.md C.3). */
static int ms_ticket_judge(const struct cred_table *t, const struct ms_claim *c, const struct stun_msg *m,
                           uint64_t wall_s, struct cred *out, const char **why)
{
    struct mras_ticket ticket;
    if (mras_password(t->mras, c->name, &ticket))
        return *why = "not an MRAS username of ours", 436;
    if (ticket.expires_s <= wall_s)
        return *why = "MRAS credentials expired", 436;
    bool held = ms_password_holds(c, m, span_of(ticket.password, sizeof ticket.password), out);
    digest_wipe(&ticket, sizeof ticket);
    out->account_at = MRAS_USERNAME_SIZE - SHA1_SIZE - MRAS_CLIENT_SIZE;
    out->account_n = MRAS_CLIENT_SIZE;
    return held ? 0 : (*why = "wrong password", 431);
}

/* The name is a user, else a token, else an MRAS username. An unknown one is refused like a wrong password. */
static int ms_judge_name(const struct cred_table *t, const struct ms_claim *c, const struct stun_msg *m,
                         uint64_t wall_s, struct cred *out, const char **why)
{
    const struct user *u = user_by_name(t, c->name);
    struct stun_key key = {.n = MD5_SIZE};
    memcpy(key.bytes, u ? u->keys.md5 : t->dummy.md5, MD5_SIZE);
    bool held = ms_holds(c, m, &key, out);
    if (u && c->is_sha256)
        return *why = "SHA-256 needs the password, and only keys of this user are kept (ms-version 2)", 431;
    if (u)
        return held ? 0 : (*why = "wrong password", 431);
    if (t->secrets && token_expiry(c->name)) {
        if (token_expiry(c->name) <= wall_s)
            return *why = "token expired", 436;
        if (!ms_token_holds(t, c, m, out))
            return *why = "not a token of the shared secret", 431;
        account_set(out);
        return 0;
    }
    if (t->mras && c->name.n == MRAS_USERNAME_SIZE)
        return ms_ticket_judge(t, c, m, wall_s, out, why);
    return *why = "unknown user", 431;
}

int cred_judge_ms(const struct cred_table *t, const struct nonce_key *k, const struct addr *client, uint64_t now_ms,
                  uint64_t wall_s, uint32_t version, const struct stun_msg *m, struct cred *out, const char **why)
{
    struct ms_claim c = {.is_sha256 = version >= 3};
    if (!stun_has(m, AT_MESSAGE_INTEGRITY))
        return *why = "no MESSAGE-INTEGRITY", 401;
    if (stun_get_bytes(m, AT_REALM, &c.realm))
        return *why = "no REALM", 434;
    if (stun_get_bytes(m, AT_NONCE, &c.nonce))
        return *why = "no NONCE", 435;
    if (!nonce_is_fresh(k, t, client, now_ms, c.nonce))
        return *why = "stale nonce", 438;
    if (stun_get_bytes(m, AT_USERNAME, &c.name))
        return *why = "no USERNAME", 432;
    if (c.name.n > CRED_USER_MAX)
        return *why = "USERNAME too long", 436;
    user_set(out, c.name);
    if (!span_is_equal(c.realm, cred_table_realm(t)))
        return *why = "foreign realm", 434;
    return ms_judge_name(t, &c, m, wall_s, out, why);
}

void cred_challenge(const struct cred_table *t, const struct nonce_key *k, const struct addr *client, uint64_t now_ms,
                    struct stun_wr *w)
{
    char nonce[NONCE_SIZE];
    nonce_make(k, t, client, now_ms, nonce);
    stun_put_bytes(w, AT_REALM, cred_table_realm(t));
    stun_put_bytes(w, AT_NONCE, span_of(nonce, sizeof nonce));
    stun_put_bytes(w, AT_PASSWORD_ALGORITHMS, span_of(algorithms, sizeof algorithms));
}
