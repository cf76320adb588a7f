/* Messages recorded from other people's programs, which are not kept with the source: read from
 * $CAUSEWAY_TEST_DATA/vectors, or from ../shared/vectors beside the source tree. Without them the test is skipped. */
#include "vector.h"

static struct span recorded(const char *name)
{
    char path[4096];
    const char *folder = getenv("CAUSEWAY_TEST_DATA");
    snprintf(path, sizeof path, "%s%s/vectors/%s.hex", folder ? folder : source_root(), folder ? "" : "/../shared",
             name);
    return file_bytes(path);
}

static const char officesip[] = "officesip.local";

/* The password of an MRAS user name of the recorded server: HMAC-SHA1 of the name's bytes. */
static struct span mras_password(struct span user)
{
    static const uint8_t key[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0};
    static uint8_t password[SHA1_SIZE];
    assert_int_equal(hmac_sha1(span_of(key, sizeof key), &user, 1, password), 0);
    return span_of(password, sizeof password);
}

static struct stun_key mras_key(void)
{
    struct span user;
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &user), 0);
    return md5_key(user, officesip, mras_password(user));
}

static void assert_m2(struct span v)
{
    parse_ok(&STUN_MSTURN, v, STUN_ALLOCATE, STUN_REQUEST, 6);
    assert_int_equal(v.n, 177);
    assert_u32(AT_MAGIC_COOKIE, STUN_MS_COOKIE);
    assert_u32(AT_MS_VERSION, 1);
    assert_bytes(AT_REALM, span_str(officesip));
    struct span user, nonce;
    assert_int_equal(stun_get_bytes(&m, AT_NONCE, &nonce), 0);
    assert_int_equal(nonce.n, 38);
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &user), 0);
    assert_int_equal(user.n, 52);
    uint8_t password[SHA1_SIZE];
    assert_int_equal(text_unbase64(span_str("oUU0sl7OCLQNpLUYuI1cX7OAwXE="), password, sizeof password), SHA1_SIZE);
    assert_span_equal(mras_password(user), span_of(password, sizeof password));
    const struct stun_key k = mras_key();
    assert_held(&k, INTEGRITY_FULL_PAD64);
    assert_all_covered(v, &k);
}

static void m2_allocate_request(void **state)
{
    assert_m2(recorded("M2"));
}

static void m3_send_request(void **state)
{
    struct span v = recorded("M3"), sequence, data;
    parse_ok(&STUN_MSTURN, v, STUN_SEND, STUN_REQUEST, 7);
    assert_u32(AT_MS_VERSION, 1);
    assert_addr(AT_DESTINATION_ADDRESS, "192.168.1.15:51661");
    assert_int_equal(stun_get_bytes(&m, AT_MS_SEQUENCE_NUMBER, &sequence), 0);
    assert_int_equal(be32_get(sequence.p + 20), 0x5a);
    assert_int_equal(stun_get_bytes(&m, AT_DATA, &data), 0);
    assert_int_equal(data.n, 0x87);
    assert_false(stun_has(&m, AT_REALM));
    const struct stun_key k = mras_key();
    assert_held(&k, INTEGRITY_FULL_PAD64);
    assert_all_covered(v, &k);
}

/* The check inside is of the oldest kind (no cookie): no dialect of ours. */
static void m4_send_request_with_a_check(void **state)
{
    struct span v = recorded("M4"), sequence, data;
    parse_ok(&STUN_MSTURN, v, STUN_SEND, STUN_REQUEST, 7);
    assert_addr(AT_DESTINATION_ADDRESS, "192.168.1.15:57757");
    assert_int_equal(stun_get_bytes(&m, AT_MS_SEQUENCE_NUMBER, &sequence), 0);
    assert_int_equal(be32_get(sequence.p + 20), 1);
    const struct stun_key k = mras_key();
    assert_held(&k, INTEGRITY_FULL_PAD64);
    assert_all_covered(v, &k);
    assert_int_equal(stun_get_bytes(&m, AT_DATA, &data), 0);
    assert_int_equal(data.n, 0x78);
    struct stun_msg inner;
    assert_int_equal(stun_parse(&STUN_RFC, data, &inner), ERR_BAD);
}

static void m5_allocate_with_sha256(void **state)
{
    struct span v = recorded("M5");
    struct stun_key k;
    assert_int_equal(stun_key_ms_sha256(&k, span_str("user"), span_str("realm"), span_str("nonce"), span_str("pass")),
                     0);
    assert_span_equal(span_of(k.bytes, k.n), hex("5e972cd57d52b57654d0fa6f6b297f2f073af0f8db0d2be1bc1f1b6deefc5b44"));
    parse_ok(&STUN_MSTURN, v, STUN_ALLOCATE, STUN_REQUEST, 2);
    assert_held(&k, INTEGRITY_MS_SHA256);
    assert_all_covered(v, &k);
}

static void m12_control_frame(void **state)
{
    struct span v = recorded("M12ctl");
    enum speech_kind kind;
    assert_int_equal(sniff_stream(v, &kind), 0);
    assert_int_equal(kind, SPEECH_MSTURN);
    assert_frame(v, FRAME_MS_CONTROL, span_skip(v, 4));
    assert_m2(span_skip(v, 4));
    assert_int_equal(sniff_datagram(span_skip(v, 4)), SPEECH_MSTURN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m2_allocate_request),
        cmocka_unit_test(m3_send_request),
        cmocka_unit_test(m4_send_request_with_a_check),
        cmocka_unit_test(m5_allocate_with_sha256),
        cmocka_unit_test(m12_control_frame),
    };
    static const char *const names[] = {"M2", "M3", "M4", "M5", "M12ctl"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (recorded(names[i]).n == 0) {
            printf("1..0 # SKIP %s.hex is not at hand: set CAUSEWAY_TEST_DATA\n", names[i]);
            return 0;
        }
    }
    return cmocka_run_group_tests_name("recorded", tests, NULL, NULL);
}
