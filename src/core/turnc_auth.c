#include "core/turnc_auth.h"

#include "base/text.h"

static const char nonce_cookie[] = "obMatJos2"; /* RFC 8489 s.9.2 */

uint32_t turnc_nonce_features(struct span nonce)
{
    size_t n = sizeof nonce_cookie - 1;
    if (nonce.n < n + 4 || memcmp(nonce.p, nonce_cookie, n) != 0)
        return 0;
    uint8_t bits[3];
    if (text_unbase64(span_of(nonce.p + n, 4), bits, sizeof bits) != 3)
        return 0;
    return (uint32_t)bits[0] << 16 | (uint32_t)bits[1] << 8 | bits[2];
}

static int keep(uint8_t *to, size_t cap, uint16_t *n, struct span s)
{
    if (s.n > cap)
        return ERR_FULL;
    if (s.n)
        memcpy(to, s.p, s.n);
    *n = (uint16_t)s.n;
    return 0;
}

int turnc_auth_init(struct turnc_auth *a, struct span user, struct span password, enum integrity_rule plain_rule)
{
    memset(a, 0, sizeof *a);
    a->plain_rule = a->rule = plain_rule;
    if (keep(a->user, sizeof a->user, &a->user_n, user) ||
        keep(a->password, sizeof a->password, &a->password_n, password))
        return ERR_FULL;
    return 0;
}

void turnc_auth_fini(struct turnc_auth *a)
{
    digest_wipe(a->password, sizeof a->password);
    digest_wipe(&a->key, sizeof a->key);
}

/* PASSWORD-ALGORITHMS (RFC 8489 s.14.11): number, length of parameters, parameters padded to 4. The first one known
 * here, 0 when there is none. */
static uint16_t choose_algorithm(struct span list)
{
    struct rd r = rd_of(list);
    while (!r.err && rd_left(&r) >= 4) {
        uint16_t number = rd_u16(&r), parameters = rd_u16(&r);
        rd_bytes(&r, (parameters + 3u) & ~3u);
        if (!r.err && parameters == 0 && (number == PASSWORD_MD5 || number == PASSWORD_SHA256))
            return number;
    }
    return 0;
}

bool turnc_auth_is_bid_down(const struct stun_msg *m)
{
    struct span nonce;
    return stun_get_bytes(m, AT_NONCE, &nonce) == 0 && (turnc_nonce_features(nonce) & NONCE_PASSWORD_ALGORITHMS) &&
           !stun_has(m, AT_PASSWORD_ALGORITHMS);
}

static int derive_key(struct turnc_auth *a)
{
    struct span user = span_of(a->user, a->user_n), realm = span_of(a->realm, a->realm_n);
    struct span password = span_of(a->password, a->password_n);
    a->rule = a->algorithm ? INTEGRITY_RFC_SHA256 : a->plain_rule;
    return a->algorithm == PASSWORD_SHA256 ? stun_key_sha256(&a->key, user, realm, password)
                                           : stun_key_md5(&a->key, user, realm, password);
}

int turnc_auth_challenge(struct turnc_auth *a, const struct stun_msg *m)
{
    struct span realm, nonce, algorithms = {0};
    if (turnc_auth_is_bid_down(m))
        return ERR_DENIED;
    if (stun_get_bytes(m, AT_NONCE, &nonce) || keep(a->nonce, sizeof a->nonce, &a->nonce_n, nonce))
        return ERR_BAD;
    if (stun_get_bytes(m, AT_REALM, &realm) == 0) {
        if (keep(a->realm, sizeof a->realm, &a->realm_n, realm))
            return ERR_BAD;
    } else if (!a->is_challenged) {
        return ERR_BAD;
    }
    a->is_anonymous = turnc_nonce_features(nonce) & NONCE_USERNAME_ANONYMITY;
    bool has_algorithms = stun_get_bytes(m, AT_PASSWORD_ALGORITHMS, &algorithms) == 0;
    if (keep(a->algorithms, sizeof a->algorithms, &a->algorithms_n, algorithms))
        return ERR_BAD;
    a->algorithm = choose_algorithm(algorithms);
    if (has_algorithms && a->algorithm == 0)
        return ERR_NONE;
    int err = derive_key(a);
    a->is_challenged = err == 0;
    return err;
}

static void put_user(const struct turnc_auth *a, struct stun_wr *w)
{
    struct span user = span_of(a->user, a->user_n);
    uint8_t hash[SHA256_SIZE];
    if (!a->is_anonymous)
        stun_put_bytes(w, AT_USERNAME, user);
    else if (stun_userhash(user, span_of(a->realm, a->realm_n), hash) == 0)
        stun_put_bytes(w, AT_USERHASH, span_of(hash, sizeof hash));
    else
        w->w.err = ERR_FULL;
}

void turnc_auth_put(const struct turnc_auth *a, struct stun_wr *w)
{
    if (!a->is_challenged || !turnc_auth_has_user(a))
        return;
    put_user(a, w);
    stun_put_bytes(w, AT_REALM, span_of(a->realm, a->realm_n));
    stun_put_bytes(w, AT_NONCE, span_of(a->nonce, a->nonce_n));
    if (a->algorithms_n) { /* RFC 8489 s.9.2.5: the list as received, and our choice */
        uint8_t choice[4] = {0, (uint8_t)a->algorithm, 0, 0};
        stun_put_bytes(w, AT_PASSWORD_ALGORITHMS, span_of(a->algorithms, a->algorithms_n));
        stun_put_bytes(w, AT_PASSWORD_ALGORITHM, span_of(choice, sizeof choice));
    }
    stun_put_integrity(w, a->rule, &a->key, false);
}

int turnc_auth_check(const struct turnc_auth *a, const struct stun_msg *m)
{
    enum integrity_rule held;
    return stun_verify(m, &a->key, a->rule, &held);
}
