/* The source itself is compiled here, with its digests counted: what an unknown user costs is what a wrong password
 * costs (checklist S16). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/stun.h"

static unsigned macs, digests;

static int counted_verify(const struct stun_msg *m, const struct stun_key *k, enum integrity_rule only,
                          enum integrity_rule *held)
{
    macs++;
    return stun_verify(m, k, only, held);
}

static int counted_digest(const struct span *parts, size_t n, uint8_t out[SHA256_SIZE])
{
    digests++;
    return digest_sha256(parts, n, out);
}

#define stun_verify   counted_verify
#define digest_sha256 counted_digest
#include "../../../src/core/cred.c"
#undef stun_verify
#undef digest_sha256

enum { NOW_MS = 10000000, WALL_S = 1700000000, LIFETIME_S = 600 };

static struct addr client(uint32_t ip)
{
    return addr_v4(ip, 1000);
}

static struct cred_table *table_new(void)
{
    struct cred_table *t = cred_table_new(span_str("example.org"));
    assert_non_null(t);
    return t;
}

/* ---- nonces ---- */

struct nonces {
    struct nonce_key key;
    struct cred_table *table;
};

static int set_up(void **state)
{
    static struct nonces n;
    nonce_key_init(&n.key, LIFETIME_S);
    n.table = table_new();
    *state = &n;
    return 0;
}

static int tear_down(void **state)
{
    struct nonces *n = *state;
    cred_table_free(n->table);
    return 0;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, NONCE_SIZE);
}

/* S18: ten thousand nonces are ten thousand different ones, and each of the 64 digits turns up about equally often. */
static void nonces_differ_and_have_no_pattern(void **state)
{
    enum { MANY = 10000, MAC_AT = NONCE_COOKIE_SIZE + NONCE_FEATURES_SIZE, DIGITS = NONCE_SIZE - MAC_AT };
    struct nonces *n = *state;
    char(*all)[NONCE_SIZE] = malloc((size_t)MANY * NONCE_SIZE);
    unsigned seen[256] = {0};
    assert_non_null(all);
    for (uint32_t i = 0; i < MANY; i++) {
        struct addr a = client(0xc6290000 + i % 100);
        nonce_make(&n->key, n->table, &a, NOW_MS + (uint64_t)(i / 100) * LIFETIME_S * 500, all[i]);
        assert_memory_equal(all[i], nonce_cookie, NONCE_COOKIE_SIZE);
        for (int k = MAC_AT; k < NONCE_SIZE - 1; k++) /* the last digit holds two bits only */
            seen[(uint8_t)all[i][k]]++;
    }
    qsort(all, MANY, NONCE_SIZE, compare);
    for (int i = 1; i < MANY; i++)
        assert_memory_not_equal(all[i - 1], all[i], NONCE_SIZE);
    unsigned digits = 0, expected = MANY * (DIGITS - 1) / 64;
    for (int c = 0; c < 256; c++)
        if (seen[c]) {
            digits++;
            assert_in_range(seen[c], expected * 9 / 10, expected * 11 / 10);
        }
    assert_int_equal(digits, 64);
    free(all);
}

static bool is_fresh(const struct nonces *n, const struct addr *from, uint64_t now_ms, const char nonce[NONCE_SIZE])
{
    return nonce_is_fresh(&n->key, n->table, from, now_ms, span_of(nonce, NONCE_SIZE));
}

static void a_nonce_lives_between_half_and_all_of_its_lifetime(void **state)
{
    struct nonces *n = *state;
    struct addr a = client(0xc6290009);
    for (uint64_t at = NOW_MS; at < NOW_MS + LIFETIME_S * 1000; at += 7777) {
        char nonce[NONCE_SIZE];
        nonce_make(&n->key, n->table, &a, at, nonce);
        assert_true(is_fresh(n, &a, at, nonce));
        assert_true(is_fresh(n, &a, at + LIFETIME_S * 500, nonce));
        assert_false(is_fresh(n, &a, at + LIFETIME_S * 1000, nonce));
        assert_false(is_fresh(n, &a, at - LIFETIME_S * 1000, nonce));
        /* The border is where a period ends. */
        uint64_t end = (at / (LIFETIME_S * 500) + 2) * (LIFETIME_S * 500);
        assert_true(is_fresh(n, &a, end - 1, nonce));
        assert_false(is_fresh(n, &a, end, nonce));
    }
    n->key.lifetime_s = 0; /* nonsense, but no division by zero */
    char nonce[NONCE_SIZE];
    nonce_make(&n->key, n->table, &a, NOW_MS, nonce);
    assert_true(is_fresh(n, &a, NOW_MS, nonce));
}

static void a_nonce_is_bound_to_address_server_and_features(void **state)
{
    struct nonces *n = *state, restarted = *n;
    struct addr a = client(0xc6290009), port = a, neighbour = client(0xc6290008);
    char nonce[NONCE_SIZE], changed[NONCE_SIZE];
    port.port = 2;
    nonce_make(&n->key, n->table, &a, NOW_MS, nonce);
    assert_true(is_fresh(n, &port, NOW_MS, nonce)); /* a data connection comes from another port */
    assert_false(is_fresh(n, &neighbour, NOW_MS, nonce));
    nonce_key_init(&restarted.key, LIFETIME_S);
    assert_false(is_fresh(&restarted, &a, NOW_MS, nonce));
    for (int i = 0; i < NONCE_SIZE; i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(changed, nonce, NONCE_SIZE);
            changed[i] ^= (char)(1 << bit);
            assert_false(is_fresh(n, &a, NOW_MS, changed));
        }
    for (size_t size = 0; size < NONCE_SIZE; size++)
        assert_false(nonce_is_fresh(&n->key, n->table, &a, NOW_MS, span_of(nonce, size)));
    /* With a secret, anonymity can no longer be offered: the feature bits say so, and older nonces go. */
    assert_int_equal(cred_table_add_secret(n->table, span_str("tunnel")), 0);
    assert_false(is_fresh(n, &a, NOW_MS, nonce));
    nonce_make(&n->key, n->table, &a, NOW_MS, changed);
    assert_true(is_fresh(n, &a, NOW_MS, changed));
    assert_memory_equal(nonce + NONCE_COOKIE_SIZE, "wAAA", 4);   /* bits 0 and 1 */
    assert_memory_equal(changed + NONCE_COOKIE_SIZE, "gAAA", 4); /* bit 0 */
}

/* ---- tables ---- */

static void a_table_is_filled_and_replaced(void **state)
{
    struct cred_table *t = table_new();
    char longest[CRED_USER_MAX + 1];
    memset(longest, 'u', sizeof longest);
    assert_true(cred_table_is_empty(t));
    assert_int_equal(cred_table_add(t, span_str(""), span_str("x")), ERR_BAD);
    assert_int_equal(cred_table_add(t, span_of(longest, CRED_USER_MAX + 1), span_str("x")), ERR_BAD);
    assert_int_equal(cred_table_add(t, span_of(longest, CRED_USER_MAX), span_str("x")), 0);
    assert_int_equal(cred_table_add_secret(t, span_str("")), ERR_BAD);
    assert_false(cred_table_is_empty(t));
    assert_int_equal(cred_table_add(t, span_str("alice"), span_str("old")), 0);
    struct cred_keys old = user_by_name(t, span_str("alice"))->keys;
    assert_int_equal(cred_table_add(t, span_str("alice"), span_str("new")), 0);
    struct user *u = user_by_name(t, span_str("alice"));
    assert_memory_not_equal(&u->keys, &old, sizeof old);
    assert_int_equal(t->by_name.count, 2);
    assert_int_equal(t->by_hash.count, 2);
    uint8_t hash[SHA256_SIZE];
    assert_int_equal(stun_userhash(span_str("alice"), span_str("example.org"), hash), 0);
    assert_ptr_equal(user_by_hash(t, span_of(hash, sizeof hash)), u);
    assert_null(user_by_hash(t, span_of(hash, sizeof hash - 1)));
    assert_null(user_by_name(t, span_str("Alice")));
    cred_table_free(t);
    t = table_new();
    assert_int_equal(cred_table_add_secret(t, span_str("tunnel")), 0);
    assert_false(cred_table_is_empty(t));
    cred_table_free(t);
    cred_table_free(NULL);
}

static void realms_have_a_length(void **state)
{
    char longest[CRED_REALM_MAX + 1];
    memset(longest, 'r', sizeof longest);
    assert_null(cred_table_new(span_str("")));
    assert_null(cred_table_new(span_of(longest, sizeof longest)));
    struct cred_table *t = cred_table_new(span_of(longest, CRED_REALM_MAX));
    assert_int_equal(cred_table_realm(t).n, CRED_REALM_MAX);
    cred_table_free(t);
}

/* Computed with Python: base64(hmac(secret, username, sha1)). */
static void tokens_are_those_of_the_rest_scheme(void **state)
{
    char name_buf[64], password_buf[64], small_buf[8];
    struct text name = text_of(name_buf, sizeof name_buf), password = text_of(password_buf, sizeof password_buf),
                small = text_of(small_buf, sizeof small_buf);
    assert_int_equal(cred_token(span_str("tunnel"), span_str("alice"), 1700003600, &name, &password), 0);
    assert_string_equal(name_buf, "1700003600:alice");
    assert_string_equal(password_buf, "m7F4TMBNnkQvn8yjAnE7B6yC5+Q=");
    name = text_of(name_buf, sizeof name_buf);
    assert_int_equal(cred_token(span_str("tunnel"), span_str("alice"), 1700003600, &name, &small), ERR_FULL);
    char mac[TOKEN_PASSWORD_MAX];
    assert_int_equal(token_password(span_str("tunnel"), span_str("1700003600"), mac), 0);
    assert_string_equal(mac, "YK6zWKobl4pu2G38637yw8Avyps=");
}

/* ---- judging ---- */

struct attempt {
    const char *user, *password;
    bool strong, by_hash;
};

static int judge(const struct cred_table *t, const struct attempt *x, struct cred *out, const char **why)
{
    static struct nonce_key key = {.lifetime_s = LIFETIME_S};
    static uint8_t buf[1024];
    struct addr from = client(0xc6290009);
    struct span realm = cred_table_realm(t);
    struct stun_key k;
    struct stun_wr w;
    struct stun_msg m;
    uint8_t tid[STUN_TID], hash[SHA256_SIZE];
    char nonce[NONCE_SIZE];
    stun_new_tid(&STUN_RFC, tid);
    stun_begin(&w, &STUN_RFC, buf, sizeof buf, STUN_ALLOCATE, STUN_REQUEST, tid);
    nonce_make(&key, t, &from, NOW_MS, nonce);
    assert_int_equal(stun_userhash(span_str(x->user), realm, hash), 0);
    if (x->by_hash)
        stun_put_bytes(&w, AT_USERHASH, span_of(hash, sizeof hash));
    else
        stun_put_bytes(&w, AT_USERNAME, span_str(x->user));
    stun_put_bytes(&w, AT_REALM, realm);
    stun_put_bytes(&w, AT_NONCE, span_of(nonce, sizeof nonce));
    if (x->strong) {
        stun_put_bytes(&w, AT_PASSWORD_ALGORITHMS, span_of(algorithms, sizeof algorithms));
        stun_put_bytes(&w, AT_PASSWORD_ALGORITHM, span_of(algorithms, sizeof algorithms));
    }
    assert_int_equal((x->strong ? stun_key_sha256 : stun_key_md5)(&k, span_str(x->user), realm, span_str(x->password)),
                     0);
    stun_put_integrity(&w, x->strong ? INTEGRITY_RFC_SHA256 : INTEGRITY_RFC, &k, false);
    assert_int_equal(stun_parse(&STUN_RFC, stun_end(&w), &m), 0);
    macs = digests = 0;
    return cred_judge(t, &key, &from, NOW_MS, WALL_S, &m, out, why);
}

static void an_unknown_user_costs_what_a_wrong_password_costs(void **state)
{
    for (int secrets = 0; secrets < 2; secrets++)
        for (int how = 0; how < 4; how++) {
            struct cred_table *t = table_new();
            struct attempt right = {"alice", "sesame", how & 1, how & 2}, wrong = right, unknown = right;
            struct cred cred = {0};
            const char *why;
            wrong.password = "wrong";
            unknown.user = "malory";
            assert_int_equal(cred_table_add(t, span_str("alice"), span_str("sesame")), 0);
            assert_true(!secrets || cred_table_add_secret(t, span_str("tunnel")) == 0);
            assert_int_equal(judge(t, &right, &cred, &why), 0);
            assert_string_equal(cred.user, "alice");
            assert_int_equal(cred.rule, right.strong ? INTEGRITY_RFC_SHA256 : INTEGRITY_RFC);
            assert_int_equal(judge(t, &wrong, &cred, &why), 401);
            unsigned macs_wrong = macs, digests_wrong = digests;
            assert_true(macs_wrong > 0);
            assert_int_equal(judge(t, &unknown, &cred, &why), 401);
            assert_int_equal(macs, macs_wrong);
            assert_int_equal(digests, digests_wrong);
            cred_table_free(t);
        }
}

/* The dummy key of a table is nobody's: not even who knew it would get in. */
static void the_dummy_key_opens_nothing(void **state)
{
    struct cred_table *t = table_new();
    struct attempt x = {"malory", "any", false, false};
    struct cred cred = {0};
    const char *why;
    assert_int_equal(cred_table_add(t, span_str("alice"), span_str("sesame")), 0);
    struct stun_key k;
    assert_int_equal(stun_key_md5(&k, span_str("malory"), cred_table_realm(t), span_str("any")), 0);
    memcpy(t->dummy.md5, k.bytes, MD5_SIZE);
    assert_int_equal(judge(t, &x, &cred, &why), 401);
    assert_string_equal(why, "unknown user");
    cred_table_free(t);
}

static void accounts_are_users_or_what_stands_behind_the_expiry(void **state)
{
    static const struct {
        const char *name, *account;
    } rows[] = {{"1700003600:alice", "alice"},
                {"1700003600:a:b", "a:b"},
                {"1700003600", "1700003600"},
                {"1700003600:", "1700003600:"}};
    struct cred_table *t = table_new();
    assert_int_equal(cred_table_add(t, span_str("x:alice"), span_str("sesame")), 0);
    assert_int_equal(cred_table_add_secret(t, span_str("tunnel")), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cred cred = {0};
        const char *why;
        char mac[TOKEN_PASSWORD_MAX];
        assert_int_equal(token_password(span_str("tunnel"), span_str(rows[i].name), mac), 0);
        assert_int_equal(judge(t, &(struct attempt){rows[i].name, mac, false, false}, &cred, &why), 0);
        assert_true(span_is_equal(cred_account(&cred), span_str(rows[i].account)));
    }
    /* A user of the table with a colon is no token. */
    struct cred cred = {0};
    const char *why;
    assert_int_equal(judge(t, &(struct attempt){"x:alice", "sesame", false, false}, &cred, &why), 0);
    assert_true(span_is_equal(cred_account(&cred), span_str("x:alice")));
    cred_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nonces_differ_and_have_no_pattern, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nonce_lives_between_half_and_all_of_its_lifetime, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nonce_is_bound_to_address_server_and_features, set_up, tear_down),
        cmocka_unit_test(a_table_is_filled_and_replaced),
        cmocka_unit_test(realms_have_a_length),
        cmocka_unit_test(tokens_are_those_of_the_rest_scheme),
        cmocka_unit_test(an_unknown_user_costs_what_a_wrong_password_costs),
        cmocka_unit_test(the_dummy_key_opens_nothing),
        cmocka_unit_test(accounts_are_users_or_what_stands_behind_the_expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
