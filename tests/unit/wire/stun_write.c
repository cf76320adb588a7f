#include "wire/stun.h"

#include "fixture.h"

static const uint8_t tid[STUN_TID] = {0x21, 0x12, 0xa4, 0x42, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static uint8_t buf[70000];
static struct stun_wr s;
static struct stun_msg m;

static void begin(const struct stun_dialect *d, enum stun_method method, enum stun_class cls)
{
    memset(buf, 0xa5, sizeof buf); /* padding must be written, not found (S36) */
    stun_begin(&s, d, buf, sizeof buf, method, cls, tid);
}

/* The finished message is the header and these bytes. */
static void assert_body(uint16_t type, const char *body)
{
    struct span want = hex(body), got = stun_end(&s);
    assert_int_equal(s.w.err, 0);
    assert_int_equal(got.n, 20 + want.n);
    assert_int_equal(be16_get(got.p), type);
    assert_int_equal(be16_get(got.p + 2), want.n);
    assert_memory_equal(got.p + 4, tid, 16);
    assert_span_equal(span_skip(got, 20), want);
}

static void assert_spoilt(int err)
{
    struct span got = stun_end(&s);
    assert_null(got.p);
    assert_int_equal(got.n, 0);
    assert_int_equal(s.w.err, err);
}

static void headers(void **state)
{
    begin(&STUN_RFC, STUN_BINDING, STUN_REQUEST);
    assert_body(0x0001, "");
    begin(&STUN_RFC, STUN_CONNECTION_ATTEMPT, STUN_INDICATION);
    assert_body(0x001c, "");
    begin(&STUN_MSICE2, STUN_BINDING, STUN_ERROR);
    assert_body(0x0111, "");
    begin(&STUN_MSTURN, STUN_DATA, STUN_INDICATION);
    assert_body(0x0115, "000f000472c64bc6");
}

static void what_a_dialect_lacks_cannot_be_begun(void **state)
{
    begin(&STUN_MSTURN, STUN_REFRESH, STUN_REQUEST);
    assert_spoilt(ERR_BAD);
    begin(&STUN_RFC, STUN_SET_ACTIVE_DESTINATION, STUN_REQUEST);
    stun_put_u32(&s, AT_LIFETIME, 1);
    stun_put_fingerprint(&s);
    assert_spoilt(ERR_BAD);
}

static void transaction_ids_are_new(void **state)
{
    uint8_t a[STUN_TID], b[STUN_TID];
    stun_new_tid(&STUN_RFC, a);
    stun_new_tid(&STUN_RFC, b);
    assert_int_equal(be32_get(a), STUN_COOKIE);
    assert_int_equal(be32_get(b), STUN_COOKIE);
    assert_memory_not_equal(a + 4, b + 4, 12);
    stun_new_tid(&STUN_MSTURN, a);
    stun_new_tid(&STUN_MSTURN, b);
    assert_memory_not_equal(a, b, 4);
}

static void values_are_padded_with_zeros(void **state)
{
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_REQUEST);
    stun_put_bytes(&s, AT_USERNAME, span_str("abcde"));
    stun_put_bytes(&s, AT_REALM, span_str("abcdef"));
    stun_put_bytes(&s, AT_NONCE, span_str("abcdefg"));
    stun_put_bytes(&s, AT_SOFTWARE, span_str("abcd"));
    stun_put_bytes(&s, AT_DATA, (struct span){0});
    stun_put_flag(&s, AT_DONT_FRAGMENT);
    assert_body(0x0003,
                "00060005 6162636465000000 00140006 6162636465660000 00150007 6162636465666700 80220004 61626364"
                "00130000 001a0000");
}

static void msturn_is_not_padded(void **state)
{
    begin(&STUN_MSTURN, STUN_ALLOCATE, STUN_ERROR);
    stun_put_error(&s, 401, "no");
    stun_put_bytes(&s, AT_REALM, span_str("abc"));
    stun_put_bytes(&s, AT_NONCE, span_str("d"));
    stun_put_u32(&s, AT_MS_VERSION, 2);
    assert_body(0x0113, "000f000472c64bc6 00090006 000004016e6f 00150003 616263 00140001 64 80080004 00000002");
}

static void padding_can_be_counted(void **state)
{
    begin(&STUN_MSICE2, STUN_BINDING, STUN_REQUEST);
    stun_put_padded(&s, AT_USERNAME, span_str("l0MR:AoVy"));
    stun_put_padded(&s, AT_CANDIDATE_IDENTIFIER, span_str("1234"));
    stun_put_padded(&s, AT_SOFTWARE, (struct span){0});
    assert_body(0x0001, "0006000c 6c304d523a416f5679000000 80540004 31323334 80220000");
}

static void numbers_are_written(void **state)
{
    begin(&STUN_RFC, STUN_CHANNEL_BIND, STUN_REQUEST);
    stun_put_u8(&s, AT_REQUESTED_TRANSPORT, 6);
    stun_put_u8(&s, AT_EVEN_PORT, 0x80);
    stun_put_u16(&s, AT_CHANNEL_NUMBER, 0x4fff);
    stun_put_u32(&s, AT_LIFETIME, 0x01020304);
    stun_put_u64(&s, AT_ICE_CONTROLLED, 0x0102030405060708);
    assert_body(0x0009,
                "00190004 06000000 00180001 80000000 000c0004 4fff0000 000d0004 01020304 80290008 0102030405060708");
}

static void addresses_are_written(void **state)
{
    const struct addr v4 = addr_v4(0xc0000201, 32853), v6 = addr_v6(hex("20010db8fffefdfcfbfaf9f8f7f6f5f4").p, 32853);
    begin(&STUN_RFC, STUN_BINDING, STUN_SUCCESS);
    stun_put_addr(&s, AT_MAPPED_ADDRESS, &v4);
    stun_put_addr(&s, AT_XOR_MAPPED_ADDRESS, &v4);
    stun_put_addr(&s, AT_ALTERNATE_SERVER, &v6);
    stun_put_addr(&s, AT_XOR_PEER_ADDRESS, &v6);
    assert_body(0x0101, "00010008 00018055c0000201 00200008 0001a147e112a643"
                        "80230014 00028055 20010db8fffefdfcfbfaf9f8f7f6f5f4"
                        "00120014 0002a147 0113a9fa fffffffffffffffffffffff f");
    begin(&STUN_MSTURN, STUN_ALLOCATE, STUN_SUCCESS);
    memcpy(buf + 4, hex("30b8c9c7affcf4a24ddb6e2a0ae0ea5d").p, 16);
    const struct addr mapped = addr_v4(0xc6336407, 40000);
    stun_put_addr(&s, AT_XOR_MAPPED_ADDRESS, &mapped);
    stun_put_addr(&s, AT_MAPPED_ADDRESS, &mapped);
    assert_span_equal(span_skip(stun_end(&s), 28), hex("80200008 0001acf8f68badc0 00010008 00019c40c6336407"));
    begin(&STUN_RFC, STUN_BINDING, STUN_SUCCESS);
    stun_put_addr(&s, AT_XOR_MAPPED_ADDRESS, &(struct addr){0});
    assert_spoilt(ERR_BAD);
}

static void errors_are_written(void **state)
{
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_ERROR);
    stun_put_error(&s, 438, NULL);
    assert_body(0x0113, "0009000f 00000426 5374616c65204e6f6e6365 00");
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_ERROR);
    stun_put_error(&s, 401, "");
    assert_body(0x0113, "00090004 00000401");
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_SUCCESS);
    stun_put_address_error(&s, STUN_FAMILY_V6, 440);
    struct span got = stun_end(&s);
    assert_memory_equal(got.p + 20, hex("80010020 02000428 41646472").p, 12);
    assert_int_equal(got.n, 20 + 4 + 32);
    static const int wrong[] = {0, -3, 299, 700, 1401};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        begin(&STUN_RFC, STUN_ALLOCATE, STUN_ERROR);
        stun_put_error(&s, wrong[i], "x");
        assert_spoilt(ERR_BAD);
    }
}

static void unknown_attributes_are_listed(void **state)
{
    static struct raw r;
    raw_begin(&r, 0x0003);
    raw_attr(&r, 0x7ffe, hex("00"));
    raw_attr(&r, 0x0002, hex(""));
    raw_attr(&r, 0x0031, hex(""));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_ERROR);
    stun_put_unknown(&s, &m);
    assert_body(0x0113, "000a0006 7ffe00020031 0000");
}

static void icmp_is_written(void **state)
{
    begin(&STUN_RFC, STUN_DATA, STUN_INDICATION);
    stun_put_icmp(&s, &(struct stun_icmp){3, 4, 1500});
    assert_body(0x0017, "80040008 0000 0304 000005dc");
    struct stun_icmp icmp;
    assert_int_equal(parse(&STUN_RFC, stun_end(&s), &m), 0);
    assert_int_equal(stun_get_icmp(&m, &icmp), 0);
    assert_true(icmp.type == 3 && icmp.code == 4 && icmp.data == 1500);
    begin(&STUN_RFC, STUN_DATA, STUN_INDICATION);
    stun_put_icmp(&s, &(struct stun_icmp){129, 0, 0}); /* ICMPv6 types need all eight bits */
    assert_body(0x0017, "80040008 0000 8100 00000000");
}

static void what_a_dialect_lacks_is_left_out(void **state)
{
    const struct addr a = addr_v4(1, 1);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_SUCCESS);
    stun_put_u32(&s, AT_MS_VERSION, 2);
    stun_put_bytes(&s, AT_MS_SEQUENCE_NUMBER, span_str("too short anyway"));
    stun_put_addr(&s, AT_REMOTE_ADDRESS, &a);
    stun_put_padded(&s, AT_CANDIDATE_IDENTIFIER, span_str("1"));
    stun_put_flag(&s, AT_UNKNOWN);
    stun_put_flag(&s, AT_COUNT);
    assert_body(0x0103, "");
    begin(&STUN_MSTURN, STUN_ALLOCATE, STUN_SUCCESS);
    stun_put_u8(&s, AT_EVEN_PORT, 1);
    stun_put_u16(&s, AT_CHANNEL_NUMBER, 1);
    stun_put_u64(&s, AT_ICE_CONTROLLED, 1);
    stun_put_address_error(&s, STUN_FAMILY_V6, 440);
    stun_put_icmp(&s, &(struct stun_icmp){0});
    stun_put_fingerprint(&s);
    assert_body(0x0103, "000f000472c64bc6");
}

/* What we would refuse we do not send. */
static void wrong_lengths_and_forms_spoil(void **state)
{
    static const uint8_t data[65536];
    static char long_text[800];
    memset(long_text, 'x', sizeof long_text - 1);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_REQUEST);
    stun_put_bytes(&s, AT_USERNAME, span_of(long_text, 764));
    assert_spoilt(ERR_BAD);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_ERROR);
    stun_put_error(&s, 400, long_text);
    assert_spoilt(ERR_BAD);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_REQUEST);
    stun_put_bytes(&s, AT_USERHASH, span_of(long_text, 31));
    assert_spoilt(ERR_BAD);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_REQUEST);
    stun_put_u16(&s, AT_LIFETIME, 600);
    assert_spoilt(ERR_BAD);
    begin(&STUN_RFC, STUN_ALLOCATE, STUN_REQUEST);
    stun_put_u32(&s, AT_EVEN_PORT, 0);
    assert_spoilt(ERR_BAD);
    begin(&STUN_RFC, STUN_DATA, STUN_INDICATION);
    stun_put_bytes(&s, AT_DATA, span_of(data, sizeof data));
    assert_spoilt(ERR_BAD);
}

/* With every buffer that is too small: an error, and not a byte behind the end (a sanitizer watches). */
static void small_buffers_are_kept_to(void **state)
{
    const struct addr a = addr_v4(1, 1);
    const struct stun_key key = {3, "key"};
    size_t need = 0;
    for (size_t cap = 0; cap < 200; cap++) {
        uint8_t *block = malloc(cap + 1);
        stun_begin(&s, &STUN_RFC, block, cap, STUN_ALLOCATE, STUN_SUCCESS, tid);
        stun_put_addr(&s, AT_XOR_MAPPED_ADDRESS, &a);
        stun_put_bytes(&s, AT_SOFTWARE, span_str("x"));
        stun_put_u32(&s, AT_LIFETIME, 1);
        stun_put_integrity(&s, INTEGRITY_RFC, &key, true);
        stun_put_fingerprint(&s);
        struct span got = stun_end(&s);
        assert_true((got.n == 0) == (s.w.err == ERR_FULL));
        if (got.n > 0 && need == 0)
            need = cap;
        assert_int_equal(got.n, need);
        free(block);
    }
    assert_int_equal(need, 20 + 12 + 8 + 8 + 24 + 8);
}

static void a_message_may_not_be_longer_than_its_length_field(void **state)
{
    static const uint8_t data[65524];
    begin(&STUN_RFC, STUN_DATA, STUN_INDICATION);
    stun_put_bytes(&s, AT_DATA, span_of(data, sizeof data));
    stun_put_bytes(&s, AT_SOFTWARE, (struct span){0});
    assert_int_equal(stun_end(&s).n, 20 + 65532);
    stun_put_bytes(&s, AT_SOFTWARE, (struct span){0});
    assert_spoilt(ERR_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(what_a_dialect_lacks_cannot_be_begun),
        cmocka_unit_test(transaction_ids_are_new),
        cmocka_unit_test(values_are_padded_with_zeros),
        cmocka_unit_test(msturn_is_not_padded),
        cmocka_unit_test(padding_can_be_counted),
        cmocka_unit_test(numbers_are_written),
        cmocka_unit_test(addresses_are_written),
        cmocka_unit_test(errors_are_written),
        cmocka_unit_test(unknown_attributes_are_listed),
        cmocka_unit_test(icmp_is_written),
        cmocka_unit_test(what_a_dialect_lacks_is_left_out),
        cmocka_unit_test(wrong_lengths_and_forms_spoil),
        cmocka_unit_test(small_buffers_are_kept_to),
        cmocka_unit_test(a_message_may_not_be_longer_than_its_length_field),
    };
    return cmocka_run_group_tests_name("stun_write", tests, NULL, NULL);
}
