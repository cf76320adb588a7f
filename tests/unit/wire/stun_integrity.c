#include "wire/stun.h"

#include "fixture.h"

/* The MACs below were computed by another program (Python's hmac and zlib) from the rules' definitions. */

static const uint8_t tid[STUN_TID] = {0x21, 0x12, 0xa4, 0x42, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const struct stun_key secret = {6, "secret"};
static uint8_t buf[2048];
static struct stun_wr s;
static struct stun_msg m;

/* A Binding request of alice, ready for the integrity attribute. */
static void begin_check(const struct stun_dialect *d)
{
    memset(buf, 0xa5, sizeof buf);
    stun_begin(&s, d, buf, sizeof buf, STUN_BINDING, STUN_REQUEST, tid);
    stun_put_bytes(&s, AT_USERNAME, span_str("alice"));
    stun_put_u32(&s, AT_PRIORITY, 0x6effffff);
}

static struct span check_of(const struct stun_dialect *d, enum integrity_rule rule)
{
    begin_check(d);
    stun_put_integrity(&s, rule, &secret, true);
    stun_put_fingerprint(&s);
    return stun_end(&s);
}

static int verify(const struct stun_dialect *d, struct span message, enum integrity_rule only,
                  enum integrity_rule *held)
{
    assert_int_equal(parse(d, message, &m), 0);
    *held = INTEGRITY_COUNT;
    return stun_verify(&m, &secret, only, held);
}

static const struct {
    enum integrity_rule rule;
    const char *mac, *fingerprint;
} sha1_rules[] = {
    {INTEGRITY_RFC, "92a3fb6c624704722bc7c473f4f00674142e592d", "5058a8c2"},
    {INTEGRITY_FULL_PAD64, "6f426e0a81514234f14e66331a1db708fb02d709", "ac90ac22"},
    {INTEGRITY_FULL, "58584263f4466227e66c94ee57df6dde6829afe1", "edf1d5e0"},
    {INTEGRITY_RFC_PAD64, "45e7da72a6ac574270b0c29dccaf1a5a11ea0133", "a261b936"},
};

static void each_rule_makes_its_own_mac(void **state)
{
    for (size_t i = 0; i < COUNT_OF(sha1_rules); i++) {
        struct span got = check_of(&STUN_MSICE2, sha1_rules[i].rule);
        assert_int_equal(parse(&STUN_MSICE2, got, &m), 0);
        assert_span_equal(stun_value(&m, stun_find(&m, AT_MESSAGE_INTEGRITY)), hex(sha1_rules[i].mac));
        assert_span_equal(stun_value(&m, stun_find(&m, AT_FINGERPRINT)), hex(sha1_rules[i].fingerprint));
        assert_int_equal(stun_verify_fingerprint(&m), 0);
    }
}

/* MS-ICE2 takes all four and says which it was; the standard dialect only its own. */
static void the_rule_that_held_is_told(void **state)
{
    enum integrity_rule held;
    for (size_t i = 0; i < COUNT_OF(sha1_rules); i++) {
        const enum integrity_rule rule = sha1_rules[i].rule;
        assert_int_equal(verify(&STUN_MSICE2, check_of(&STUN_MSICE2, rule), INTEGRITY_NONE, &held), 0);
        assert_int_equal(held, rule);
        const int err = verify(&STUN_RFC, check_of(&STUN_RFC, rule), INTEGRITY_NONE, &held);
        assert_int_equal(err, rule == INTEGRITY_RFC ? 0 : ERR_DENIED);
        assert_int_equal(held, rule == INTEGRITY_RFC ? INTEGRITY_RFC : INTEGRITY_NONE);
        for (size_t k = 0; k < COUNT_OF(sha1_rules); k++) {
            const enum integrity_rule only = sha1_rules[k].rule;
            assert_int_equal(verify(&STUN_MSICE2, check_of(&STUN_MSICE2, rule), only, &held),
                             only == rule ? 0 : ERR_DENIED);
            assert_int_equal(held, only == rule ? rule : INTEGRITY_NONE);
        }
    }
}

/* A text of exactly 64 bytes gets no padding. */
static void a_full_block_is_not_padded(void **state)
{
    stun_begin(&s, &STUN_MSICE2, buf, sizeof buf, STUN_BINDING, STUN_REQUEST, tid);
    stun_put_bytes(&s, AT_USERNAME, span_str("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    stun_put_integrity(&s, INTEGRITY_FULL_PAD64, &secret, true);
    stun_put_fingerprint(&s);
    assert_int_equal(parse(&STUN_MSICE2, stun_end(&s), &m), 0);
    assert_span_equal(stun_value(&m, stun_find(&m, AT_MESSAGE_INTEGRITY)),
                      hex("9a312103824470ff0909283cc578c324b749acdd"));
}

static void sha256_in_its_own_attribute(void **state)
{
    begin_check(&STUN_RFC);
    stun_put_integrity(&s, INTEGRITY_RFC_SHA256, &secret, true);
    struct span got = stun_end(&s);
    enum integrity_rule held;
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_NONE, &held), 0);
    assert_int_equal(held, INTEGRITY_RFC_SHA256);
    assert_span_equal(stun_value(&m, stun_find(&m, AT_MESSAGE_INTEGRITY_SHA256)),
                      hex("a14864edf74d44d2f8d9cde9d1f5d4d52ddc71cceedf0212ae85757abf392b47"));
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_RFC, &held), ERR_NONE);
}

static void both_attributes_in_one_message(void **state)
{
    begin_check(&STUN_RFC);
    stun_put_integrity(&s, INTEGRITY_RFC, &secret, true);
    stun_put_integrity(&s, INTEGRITY_RFC_SHA256, &secret, true);
    stun_put_fingerprint(&s);
    struct span got = stun_end(&s);
    enum integrity_rule held;
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_NONE, &held), 0);
    assert_int_equal(held, INTEGRITY_RFC_SHA256);
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_RFC, &held), 0);
    assert_int_equal(held, INTEGRITY_RFC);
    assert_span_equal(stun_value(&m, stun_find(&m, AT_MESSAGE_INTEGRITY_SHA256)),
                      hex("b1aeae54205a478934310bead761f11719db61b70f38953c9b258ca07c7dd861"));
    assert_int_equal(stun_verify_fingerprint(&m), 0);
    /* The stronger one does not hold: the weaker one, which does, must not save the message. */
    buf[stun_find(&m, AT_MESSAGE_INTEGRITY_SHA256)->pos] ^= 1;
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_NONE, &held), ERR_DENIED);
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_RFC, &held), 0);
}

/* RFC 8489 s.14.6: no usage of ours allows a shorter one, so its right beginning is not enough. */
static void truncated_sha256_is_refused(void **state)
{
    static const uint8_t mac[] = {0xa1, 0x48, 0x64, 0xed, 0xf7, 0x4d, 0x44, 0xd2, 0xf8, 0xd9, 0xcd, 0xe9,
                                  0xd1, 0xf5, 0xd4, 0xd5, 0x2d, 0xdc, 0x71, 0xcc, 0xee, 0xdf, 0x02, 0x12};
    for (size_t n = 16; n <= 24; n += 4) {
        begin_check(&STUN_RFC);
        stun_put_bytes(&s, AT_MESSAGE_INTEGRITY_SHA256, span_of(mac, n));
        enum integrity_rule held;
        assert_int_equal(verify(&STUN_RFC, stun_end(&s), INTEGRITY_NONE, &held), ERR_DENIED);
    }
}

static void no_integrity_is_not_wrong_integrity(void **state)
{
    enum integrity_rule held;
    begin_check(&STUN_RFC);
    struct span got = stun_end(&s);
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_NONE, &held), ERR_NONE);
    assert_int_equal(held, INTEGRITY_NONE);
    assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_RFC, &held), ERR_NONE);
    begin_check(&STUN_RFC);
    stun_put_integrity(&s, INTEGRITY_NONE, &secret, true);
    assert_int_equal(stun_end(&s).n, got.n);
}

/* Every bit up to and including the attribute is covered; behind it nothing is. */
static void any_changed_bit_is_noticed(void **state)
{
    static const enum integrity_rule rules[] = {INTEGRITY_RFC, INTEGRITY_RFC_SHA256};
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        begin_check(&STUN_RFC);
        stun_put_integrity(&s, rules[i], &secret, false);
        struct span got = stun_end(&s);
        for (size_t bit = 0; bit < got.n * 8; bit++) {
            enum integrity_rule held;
            buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (parse(&STUN_RFC, got, &m) == 0)
                assert_int_not_equal(stun_verify(&m, &secret, INTEGRITY_NONE, &held), 0);
            buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        enum integrity_rule held;
        assert_int_equal(verify(&STUN_RFC, got, INTEGRITY_NONE, &held), 0);
    }
}

static void what_follows_does_not_matter_by_the_rfc(void **state)
{
    begin_check(&STUN_RFC);
    stun_put_integrity(&s, INTEGRITY_RFC, &secret, false);
    stun_put_bytes(&s, AT_SOFTWARE, span_str("added on the way"));
    enum integrity_rule held;
    assert_int_equal(verify(&STUN_RFC, stun_end(&s), INTEGRITY_NONE, &held), 0);
    assert_false(stun_has(&m, AT_SOFTWARE));
}

static void another_key_is_refused(void **state)
{
    const struct stun_key wrong = {6, "secreT"}, shorter = {5, "secre"}, empty = {0};
    enum integrity_rule held;
    assert_int_equal(parse(&STUN_MSICE2, check_of(&STUN_MSICE2, INTEGRITY_FULL_PAD64), &m), 0);
    assert_int_equal(stun_verify(&m, &secret, INTEGRITY_NONE, &held), 0);
    assert_int_equal(stun_verify(&m, &wrong, INTEGRITY_NONE, &held), ERR_DENIED);
    assert_int_equal(stun_verify(&m, &shorter, INTEGRITY_NONE, &held), ERR_DENIED);
    assert_int_equal(stun_verify(&m, &empty, INTEGRITY_NONE, &held), ERR_DENIED);
}

static void keys_may_be_empty_or_64_bytes(void **state)
{
    struct stun_key k;
    uint8_t long_password[65];
    memset(long_password, 'k', sizeof long_password);
    assert_int_equal(stun_key_short(&k, span_of(long_password, 65)), ERR_FULL);
    static const struct {
        size_t n;
        const char *mac;
    } cases[] = {{0, "904d8d0fe87ea987b0e867a8fac8060d454c9731"}, {64, "cfcdfb8ec73ac984e7e4b8f52b7f417319b4bc9d"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(stun_key_short(&k, span_of(cases[i].n ? long_password : NULL, cases[i].n)), 0);
        begin_check(&STUN_RFC);
        stun_put_integrity(&s, INTEGRITY_RFC, &k, false);
        assert_int_equal(parse(&STUN_RFC, stun_end(&s), &m), 0);
        assert_span_equal(stun_value(&m, stun_find(&m, AT_MESSAGE_INTEGRITY)), hex(cases[i].mac));
    }
}

static void long_term_keys(void **state)
{
    const struct span user = span_str("alice"), realm = span_str("example.org"), password = span_str("sesame");
    struct stun_key k;
    assert_int_equal(stun_key_md5(&k, user, realm, password), 0);
    assert_span_equal(span_of(k.bytes, k.n), hex("a3bf2a2daad6998c28a1062889d40c00"));
    assert_int_equal(stun_key_sha256(&k, user, realm, password), 0);
    assert_span_equal(span_of(k.bytes, k.n), hex("d6ce620ca73964dea0c3a02b1b932ce4367cd57480ab2cbffd3f2ad331dc3908"));
    uint8_t hash[SHA256_SIZE];
    assert_int_equal(stun_userhash(user, realm, hash), 0);
    assert_span_equal(span_of(hash, 32), hex("435b7933096a304d3c734cfb833ec9075bd47ab1c0160321aed31c06a8c7009e"));
}

/* MS-TURN: user and password are any bytes, the realm counts its quotes; MESSAGE-INTEGRITY has 20 or 32 bytes. */
static void msturn_both_macs(void **state)
{
    const struct span user = hex("01020375736572"), realm = span_str("\"rtcmedia\"");
    const struct span nonce = hex("000102030405060708090a0b0c0d0e0f10111213"), password = hex("fffe70617373");
    struct stun_key k;
    assert_int_equal(stun_key_ms_sha256(&k, user, realm, nonce, password), 0);
    assert_span_equal(span_of(k.bytes, k.n), hex("59b385388b3369225f4a557c83b5daa6940f3a3597d63d69c62698ad951452e8"));
    const struct {
        enum integrity_rule rule;
        const struct stun_key *key;
        const char *mac;
    } cases[] = {
        {INTEGRITY_FULL_PAD64, &secret, "127b6866f6fa1110b5ece48ad0e1328683761649"},
        {INTEGRITY_MS_SHA256, &k, "3e70d858c48622e57122a4b9bc1d5d0a4ffad188e841ed4bb8fcee621770a9ce"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        stun_begin(&s, &STUN_MSTURN, buf, sizeof buf, STUN_ALLOCATE, STUN_REQUEST, tid);
        stun_put_bytes(&s, AT_USERNAME, user);
        stun_put_bytes(&s, AT_REALM, realm);
        stun_put_integrity(&s, cases[i].rule, cases[i].key, true); /* no FINGERPRINT here, whatever the caller says */
        assert_int_equal(parse(&STUN_MSTURN, stun_end(&s), &m), 0);
        assert_span_equal(stun_value(&m, stun_find(&m, AT_MESSAGE_INTEGRITY)), hex(cases[i].mac));
        enum integrity_rule held;
        assert_int_equal(stun_verify(&m, cases[i].key, INTEGRITY_NONE, &held), 0);
        assert_int_equal(held, cases[i].rule);
        assert_int_equal(stun_verify(&m, cases[i].key, cases[1 - i].rule, &held), ERR_DENIED);
    }
}

static void what_cannot_be_protected_is_not_sent(void **state)
{
    stun_begin(&s, &STUN_MSTURN, buf, sizeof buf, STUN_ALLOCATE, STUN_REQUEST, tid);
    stun_put_integrity(&s, INTEGRITY_RFC_SHA256, &secret, false);
    assert_int_equal(s.w.err, ERR_BAD);
    assert_null(stun_end(&s).p);
    begin_check(&STUN_RFC);
    stun_put_integrity(&s, INTEGRITY_MS_SHA256, &secret, false); /* 32 bytes do not fit the standard attribute */
    assert_int_equal(s.w.err, ERR_BAD);
    assert_null(stun_end(&s).p);
}

/* ---- fingerprint ---- */

static void fingerprints(void **state)
{
    begin_check(&STUN_RFC);
    struct span got = stun_end(&s);
    assert_int_equal(parse(&STUN_RFC, got, &m), 0);
    assert_int_equal(stun_verify_fingerprint(&m), ERR_NONE);
    begin_check(&STUN_RFC);
    stun_put_fingerprint(&s);
    got = stun_end(&s);
    for (size_t bit = 32; bit < got.n * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (parse(&STUN_RFC, got, &m) == 0)
            assert_int_not_equal(stun_verify_fingerprint(&m), 0);
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(parse(&STUN_RFC, got, &m), 0);
    assert_int_equal(stun_verify_fingerprint(&m), 0);
}

/* A check whose text meets the damaged table entry, with the right and the quirk CRC (computed elsewhere). */
static void the_quirk_needs_a_nameless_version(void **state)
{
    static const struct {
        const char *body;
        int by_msice2, by_rfc;
    } cases[] = {
        {"80540004 31000000 00080014 4500e48e466bb933b8ec7b52a606a6d5d7e57ebb 80280004 a8b66754", 0, 0},
        {"80540004 31000000 00080014 4500e48e466bb933b8ec7b52a606a6d5d7e57ebb 80280004 ac7adb82", 0, ERR_DENIED},
        {"80540004 31000000 00080014 4500e48e466bb933b8ec7b52a606a6d5d7e57ebb 80280004 ac7adb83", ERR_DENIED,
         ERR_DENIED},
        {"80700004 00000002 80280004 48ac94d1", 0, 0},
        {"80700004 00000002 80280004 01000db2", ERR_DENIED, ERR_DENIED},
    };
    static struct raw r;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        raw_begin(&r, 0x0001);
        memcpy(r.p + 8, hex("00112233445566778899aa00").p, 12);
        raw_add(&r, hex("00240004 6e65ffff 802a0008 0123456789abcdef 0006000c 525546523a4c554652000000"));
        raw_add(&r, hex(cases[i].body));
        raw_length(&r);
        assert_int_equal(raw_parse(&STUN_MSICE2, &r, &m), 0);
        assert_int_equal(stun_verify_fingerprint(&m), cases[i].by_msice2);
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
        assert_int_equal(stun_verify_fingerprint(&m), cases[i].by_rfc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_makes_its_own_mac),
        cmocka_unit_test(the_rule_that_held_is_told),
        cmocka_unit_test(a_full_block_is_not_padded),
        cmocka_unit_test(sha256_in_its_own_attribute),
        cmocka_unit_test(both_attributes_in_one_message),
        cmocka_unit_test(truncated_sha256_is_refused),
        cmocka_unit_test(no_integrity_is_not_wrong_integrity),
        cmocka_unit_test(any_changed_bit_is_noticed),
        cmocka_unit_test(what_follows_does_not_matter_by_the_rfc),
        cmocka_unit_test(another_key_is_refused),
        cmocka_unit_test(keys_may_be_empty_or_64_bytes),
        cmocka_unit_test(long_term_keys),
        cmocka_unit_test(msturn_both_macs),
        cmocka_unit_test(what_cannot_be_protected_is_not_sent),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(the_quirk_needs_a_nameless_version),
    };
    return cmocka_run_group_tests_name("stun_integrity", tests, NULL, NULL);
}
