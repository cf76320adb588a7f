/* The messages of tests/vectors (see the README there). */
#include "vector.h"

static uint8_t buf[2048];
static struct stun_wr s;

/* ---- building again ---- */

static void begin_like(struct span v)
{
    memset(buf, 0xa5, sizeof buf);
    assert_int_equal(stun_dialect_type_of(m.dialect, (enum stun_method)m.method, (enum stun_class)m.cls), m.type);
    stun_begin(&s, m.dialect, buf, sizeof buf, (enum stun_method)m.method, (enum stun_class)m.cls, v.p + 4);
}

static void assert_built(struct span v)
{
    struct span got = stun_end(&s);
    assert_int_equal(s.w.err, 0);
    assert_span_equal(got, v);
}

static void put_address(enum stun_at at, const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse_with_port(text, &a), 0);
    stun_put_addr(&s, at, &a);
}

/* ---- RFC 5769 and 8489 ---- */

static const char rfc5769_password[] = "VOkJxbRl1RmTxUk/WvJxBt";

/* RFC 5769 pads with spaces, or with what was in memory; we pad with zeros. So the same message is built, and compared
 * where nothing depends on padding: everything before the integrity attribute, after its padding was made zero. */
static void assert_built_but_for_padding(struct span v, const struct stun_key *k)
{
    static uint8_t zeroed[2048];
    memcpy(zeroed, v.p, v.n);
    for (int i = 0; i < m.attrs_n; i++)
        memset(zeroed + m.attrs[i].pos + m.attrs[i].n, 0, (4 - m.attrs[i].n % 4) % 4);
    const size_t end = stun_find(&m, AT_MESSAGE_INTEGRITY)->pos;
    stun_put_integrity(&s, INTEGRITY_RFC, k, true);
    stun_put_fingerprint(&s);
    struct span got = stun_end(&s);
    assert_int_equal(got.n, v.n);
    assert_memory_equal(got.p, zeroed, end);
    assert_int_equal(parse(&STUN_RFC, got, &m), 0);
    assert_held(k, INTEGRITY_RFC);
    assert_int_equal(stun_verify_fingerprint(&m), 0);
}

static void s1_request(void **state)
{
    struct span v = vector("S1");
    const struct stun_key k = short_key(rfc5769_password);
    parse_ok(&STUN_RFC, v, STUN_BINDING, STUN_REQUEST, 6);
    assert_bytes(AT_SOFTWARE, span_str("STUN test client"));
    assert_u32(AT_PRIORITY, 0x6e0001ff);
    assert_u64(AT_ICE_CONTROLLED, 0x932ff9b151263b36);
    assert_bytes(AT_USERNAME, span_str("evtj:h6vY"));
    assert_held(&k, INTEGRITY_RFC);
    assert_int_equal(stun_verify_fingerprint(&m), 0);
    assert_all_covered(v, &k);
    begin_like(v);
    stun_put_bytes(&s, AT_SOFTWARE, span_str("STUN test client"));
    stun_put_u32(&s, AT_PRIORITY, 0x6e0001ff);
    stun_put_u64(&s, AT_ICE_CONTROLLED, 0x932ff9b151263b36);
    stun_put_bytes(&s, AT_USERNAME, span_str("evtj:h6vY"));
    assert_built_but_for_padding(v, &k);
}

static void assert_response(const char *name, const char *mapped)
{
    struct span v = vector(name);
    const struct stun_key k = short_key(rfc5769_password);
    parse_ok(&STUN_RFC, v, STUN_BINDING, STUN_SUCCESS, 4);
    assert_bytes(AT_SOFTWARE, span_str("test vector"));
    assert_addr(AT_XOR_MAPPED_ADDRESS, mapped);
    assert_held(&k, INTEGRITY_RFC);
    assert_int_equal(stun_verify_fingerprint(&m), 0);
    assert_all_covered(v, &k);
    begin_like(v);
    stun_put_bytes(&s, AT_SOFTWARE, span_str("test vector"));
    put_address(AT_XOR_MAPPED_ADDRESS, mapped);
    assert_built_but_for_padding(v, &k);
}

static void s2_response_ipv4(void **state)
{
    assert_response("S2", "192.0.2.1:32853");
}

static void s3_response_ipv6(void **state)
{
    assert_response("S3", "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
}

static const char matrix[] = "マトリックス";

static void s4_long_term_request(void **state)
{
    struct span v = vector("S4");
    const struct stun_key k = md5_key(span_str(matrix), "example.org", span_str("TheMatrIX"));
    const struct span nonce = span_str("f//499k954d6OL34oL9FSTvy64sA");
    parse_ok(&STUN_RFC, v, STUN_BINDING, STUN_REQUEST, 4);
    assert_bytes(AT_USERNAME, span_str(matrix));
    assert_bytes(AT_NONCE, nonce);
    assert_bytes(AT_REALM, span_str("example.org"));
    assert_held(&k, INTEGRITY_RFC);
    assert_int_equal(stun_verify_fingerprint(&m), ERR_NONE);
    assert_all_covered(v, &k);
    begin_like(v);
    stun_put_bytes(&s, AT_USERNAME, span_str(matrix));
    stun_put_bytes(&s, AT_NONCE, nonce);
    stun_put_bytes(&s, AT_REALM, span_str("example.org"));
    stun_put_integrity(&s, INTEGRITY_RFC, &k, false);
    assert_built(v);
}

static void s5_userhash_and_sha256(void **state)
{
    struct span v = vector("S5");
    const struct span user = span_str(matrix), realm = span_str("example.org");
    const struct span nonce = span_str("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    struct stun_key k;
    uint8_t hash[SHA256_SIZE];
    assert_int_equal(stun_key_sha256(&k, user, realm, span_str("TheMatrIX")), 0);
    assert_int_equal(stun_userhash(user, realm, hash), 0);
    parse_ok(&STUN_RFC, v, STUN_BINDING, STUN_REQUEST, 5);
    assert_bytes(AT_USERHASH, span_of(hash, sizeof hash));
    assert_bytes(AT_NONCE, nonce);
    assert_bytes(AT_REALM, realm);
    assert_bytes(AT_PASSWORD_ALGORITHM, hex("00020000"));
    assert_held(&k, INTEGRITY_RFC_SHA256);
    begin_like(v);
    stun_put_bytes(&s, AT_USERHASH, span_of(hash, sizeof hash));
    stun_put_bytes(&s, AT_NONCE, nonce);
    stun_put_bytes(&s, AT_REALM, realm);
    stun_put_bytes(&s, AT_PASSWORD_ALGORITHM, hex("00020000"));
    stun_put_integrity(&s, INTEGRITY_RFC_SHA256, &k, false);
    assert_built(v);
}

/* ---- MS-TURN ---- */

static void m10_allocate_response(void **state)
{
    struct span v = vector("M10");
    struct stun_key k;
    assert_int_equal(stun_key_short(&k, hex("5607f21a93912223f6d733d2b780db03")), 0);
    const struct span sequence = hex("101112131415161718191a1b1c1d1e1f20212223 00000000");
    parse_ok(&STUN_MSTURN, v, STUN_ALLOCATE, STUN_SUCCESS, 8);
    assert_u32(AT_MS_VERSION, 1);
    assert_addr(AT_MAPPED_ADDRESS, "192.0.2.20:50000");
    assert_addr(AT_XOR_MAPPED_ADDRESS, "198.51.100.7:40000");
    assert_u32(AT_LIFETIME, 600);
    assert_u32(AT_BANDWIDTH, 750);
    assert_bytes(AT_MS_SEQUENCE_NUMBER, sequence);
    assert_held(&k, INTEGRITY_FULL_PAD64);
    assert_all_covered(v, &k);
    begin_like(v);
    stun_put_u32(&s, AT_MS_VERSION, 1);
    put_address(AT_MAPPED_ADDRESS, "192.0.2.20:50000");
    put_address(AT_XOR_MAPPED_ADDRESS, "198.51.100.7:40000");
    stun_put_u32(&s, AT_LIFETIME, 600);
    stun_put_u32(&s, AT_BANDWIDTH, 750);
    stun_put_bytes(&s, AT_MS_SEQUENCE_NUMBER, sequence);
    stun_put_integrity(&s, INTEGRITY_FULL_PAD64, &k, false);
    assert_built(v);
}

static void m11_first_request_and_challenge(void **state)
{
    struct span v = vector("M11req");
    const struct stun_key k = short_key("any");
    parse_ok(&STUN_MSTURN, v, STUN_ALLOCATE, STUN_REQUEST, 2);
    assert_u32(AT_MS_VERSION, 1);
    assert_int_equal(stun_verify(&m, &k, INTEGRITY_NONE, &held), ERR_NONE);
    begin_like(v);
    stun_put_u32(&s, AT_MS_VERSION, 1);
    assert_built(v);

    v = vector("M11");
    int code;
    struct span reason;
    parse_ok(&STUN_MSTURN, v, STUN_ALLOCATE, STUN_ERROR, 6);
    assert_u32(AT_MS_VERSION, 1);
    assert_int_equal(stun_get_error(&m, &code, &reason), 0);
    assert_int_equal(code, 401);
    assert_text(reason, "Unauthorized");
    assert_bytes(AT_NONCE, span_str("nonce-0001"));
    assert_bytes(AT_REALM, span_str("rtcmedia"));
    assert_addr(AT_ALTERNATE_SERVER, "192.0.2.20:3478");
    assert_int_equal(stun_verify(&m, &k, INTEGRITY_NONE, &held), ERR_NONE);
    begin_like(v);
    stun_put_u32(&s, AT_MS_VERSION, 1);
    stun_put_error(&s, 401, "Unauthorized");
    stun_put_bytes(&s, AT_NONCE, span_str("nonce-0001"));
    stun_put_bytes(&s, AT_REALM, span_str("rtcmedia"));
    put_address(AT_ALTERNATE_SERVER, "192.0.2.20:3478");
    assert_built(v);
}

/* ---- MS-ICE2 ---- */

static const char ice_pwd[] = "0123456789abcdefghijkl";

/* The check that M7 to M9 are variants of; version 0 names none. */
static void build_check(struct span v, uint32_t version, enum integrity_rule rule)
{
    const struct stun_key k = short_key(ice_pwd);
    begin_like(v);
    stun_put_u32(&s, AT_PRIORITY, 0x6e65ffff);
    stun_put_u64(&s, AT_ICE_CONTROLLING, 0x0123456789abcdef);
    if (version >= 3)
        stun_put_bytes(&s, AT_USERNAME, span_str("RUFR:LUFR"));
    else
        stun_put_padded(&s, AT_USERNAME, span_str("RUFR:LUFR"));
    stun_put_padded(&s, AT_CANDIDATE_IDENTIFIER, span_str("1"));
    if (version)
        stun_put_u32(&s, AT_IMPLEMENTATION_VERSION, version);
    stun_put_integrity(&s, rule, &k, true);
    stun_put_fingerprint(&s);
}

static void assert_check(struct span v, uint32_t version, enum integrity_rule rule)
{
    const struct stun_key k = short_key(ice_pwd);
    struct span user;
    parse_ok(&STUN_MSICE2, v, STUN_BINDING, STUN_REQUEST, version ? 7 : 6);
    assert_u32(AT_PRIORITY, 0x6e65ffff);
    assert_u64(AT_ICE_CONTROLLING, 0x0123456789abcdef);
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &user), 0);
    assert_int_equal(user.n, version >= 3 ? 9 : 12);
    assert_text(stun_trim(user), "RUFR:LUFR");
    assert_bytes(AT_CANDIDATE_IDENTIFIER, hex("31000000"));
    assert_int_equal(stun_has(&m, AT_IMPLEMENTATION_VERSION), version > 0);
    if (version)
        assert_u32(AT_IMPLEMENTATION_VERSION, version);
    assert_held(&k, rule);
    assert_int_equal(stun_verify_fingerprint(&m), 0);
    assert_all_covered(v, &k);
}

/* What the standard dialect makes of the same bytes. */
static void assert_by_standard(struct span v, int integrity, int fingerprint)
{
    const struct stun_key k = short_key(ice_pwd);
    assert_int_equal(parse(&STUN_RFC, v, &m), 0);
    assert_int_equal(stun_verify(&m, &k, INTEGRITY_NONE, &held), integrity);
    assert_int_equal(stun_verify_fingerprint(&m), fingerprint);
}

static void m7_version_2(void **state)
{
    struct span v = vector("M7");
    assert_check(v, 2, INTEGRITY_FULL_PAD64);
    build_check(v, 2, INTEGRITY_FULL_PAD64);
    assert_built(v);
    assert_by_standard(v, ERR_DENIED, 0);
}

static void m8_version_3(void **state)
{
    struct span v = vector("M8");
    assert_check(v, 3, INTEGRITY_RFC);
    build_check(v, 3, INTEGRITY_RFC);
    assert_built(v);
    assert_by_standard(v, 0, 0);
}

static void m9_without_version(void **state)
{
    struct span v = vector("M9std"), quirk = vector("M9quirk");
    assert_check(v, 0, INTEGRITY_FULL_PAD64);
    build_check(v, 0, INTEGRITY_FULL_PAD64);
    assert_built(v);
    assert_by_standard(v, ERR_DENIED, 0);
    assert_check(quirk, 0, INTEGRITY_FULL_PAD64); /* only ever received: nobody needs us to send it */
    assert_by_standard(quirk, ERR_DENIED, ERR_DENIED);
    assert_int_equal(quirk.n, v.n);
    assert_memory_equal(quirk.p, v.p, v.n - 4);
}

static void m6_printed_check(void **state)
{
    struct span v = vector("M6");
    parse_ok(&STUN_MSICE2, v, STUN_BINDING, STUN_REQUEST, 8);
    assert_true(stun_has(&m, AT_USE_CANDIDATE));
    assert_u32(AT_PRIORITY, 0x6effffff);
    assert_u64(AT_ICE_CONTROLLED, 0x08b2674a8beecd68);
    struct span user, id;
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &user), 0);
    assert_int_equal(user.n, 12);
    assert_text(stun_trim(user), "l0MR:AoVy");
    assert_int_equal(stun_get_bytes(&m, AT_CANDIDATE_IDENTIFIER, &id), 0);
    assert_text(stun_trim(id), "3");
    assert_u32(AT_IMPLEMENTATION_VERSION, 2);
    assert_u32(AT_FINGERPRINT, 0xff2fa718);
    assert_int_equal(stun_verify_fingerprint(&m), 0);
    const struct stun_key k = short_key(ice_pwd);
    assert_int_equal(stun_verify(&m, &k, INTEGRITY_NONE, &held), ERR_DENIED);
    assert_by_standard(v, ERR_DENIED, 0);
}

/* The Internet checksum; 0 over a header that holds its own. */
static uint16_t checksum(uint32_t sum, struct span bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        sum += i % 2 ? bytes.p[i] : (uint32_t)bytes.p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void m6_whole_frame(void **state)
{
    struct span v = vector("M6frame"), ip = span_skip(v, 14), tcp = span_skip(ip, 20);
    assert_int_equal(checksum(0, span_take(ip, 20)), 0);
    const uint8_t pseudo[4] = {0, 6, (uint8_t)(tcp.n >> 8), (uint8_t)tcp.n};
    const uint16_t first = (uint16_t)~checksum(0, span_of(pseudo, 4));
    const uint16_t second = (uint16_t)~checksum(first, span_of(ip.p + 12, 8));
    assert_int_equal(checksum(second, tcp), 0);
    struct frame f;
    assert_int_equal(frame_next_rfc4571(span_skip(tcp, 20), &f), 0);
    assert_int_equal(f.size, tcp.n - 20);
    assert_span_equal(f.body, vector("M6"));
    enum speech_kind kind;
    assert_int_equal(sniff_stream(span_skip(tcp, 20), &kind), 0);
    assert_int_equal(kind, SPEECH_RFC4571);
}

/* ---- streams ---- */

static void m12_data_frame(void **state)
{
    struct span v = vector("M12dat");
    assert_frame(v, FRAME_MS_DATA, span_skip(v, 4));
    struct frame record;
    assert_int_equal(frame_next_rfc4571(span_skip(v, 4), &record), 0);
    assert_int_equal(record.size, v.n - 4);
    assert_span_equal(record.body, vector("M7"));
}

static void m13_hellos(void **state)
{
    struct span hello = vector("M13ch"), answer = vector("M13sh");
    assert_int_equal(hello.n, PSEUDOTLS_HELLO);
    assert_int_equal(answer.n, PSEUDOTLS_ANSWER);
    assert_true(pseudotls_is_hello(hello.p));
    assert_true(pseudotls_is_answer(answer.p));
    pseudotls_hello(buf, hello.p + 11);
    assert_memory_equal(buf, hello.p, hello.n);
    pseudotls_answer(buf, answer.p + 11, answer.p + 44);
    assert_memory_equal(buf, answer.p, answer.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s1_request),
        cmocka_unit_test(s2_response_ipv4),
        cmocka_unit_test(s3_response_ipv6),
        cmocka_unit_test(s4_long_term_request),
        cmocka_unit_test(s5_userhash_and_sha256),
        cmocka_unit_test(m6_printed_check),
        cmocka_unit_test(m6_whole_frame),
        cmocka_unit_test(m7_version_2),
        cmocka_unit_test(m8_version_3),
        cmocka_unit_test(m9_without_version),
        cmocka_unit_test(m10_allocate_response),
        cmocka_unit_test(m11_first_request_and_challenge),
        cmocka_unit_test(m12_data_frame),
        cmocka_unit_test(m13_hellos),
    };
    return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
