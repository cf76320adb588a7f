#include "wire/stun.h"

#include "fixture.h"

static struct raw r;
static struct stun_msg m;

/* A value of `n` bytes 01 02 03 ... */
static struct span value(size_t n)
{
    static uint8_t bytes[65536];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i + 1);
    return span_of(bytes, n);
}

/* MS-TURN: a header without padding rules, and the cookie attribute. */
static void ms_begin(uint16_t type)
{
    raw_begin(&r, type);
    raw_attr_aligned(&r, 0x000f, hex("72c64bc6"), 1);
}

/* ---- header ---- */

static void an_empty_message_is_one(void **state)
{
    raw_begin(&r, 0x0001);
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.method, STUN_BINDING);
    assert_int_equal(m.cls, STUN_REQUEST);
    assert_int_equal(m.type, 0x0001);
    assert_int_equal(m.attrs_n, 0);
    assert_int_equal(m.unknown_n, 0);
    assert_int_equal(m.raw.n, 20);
    assert_int_equal(m.has, 0);
    assert_ptr_equal(m.dialect, &STUN_RFC);
    assert_memory_equal(stun_tid(&m), r.p + 4, 16);
}

static void a_short_message_is_short(void **state)
{
    raw_begin(&r, 0x0003);
    raw_attr(&r, 0x0019, hex("11000000"));
    raw_attr(&r, 0x0006, span_str("alice"));
    for (size_t n = 0; n < r.n; n++) {
        assert_int_equal(parse(&STUN_RFC, span_of(r.p, n), &m), ERR_SHORT);
        assert_int_equal(m.raw.n, 0);
    }
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
}

static void bytes_behind_the_message_are_refused(void **state)
{
    raw_begin(&r, 0x0001);
    raw_add(&r, hex("00"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
    assert_int_equal(m.raw.n, 0);
}

static void headers_that_are_none(void **state)
{
    for (int bits = 1; bits < 4; bits++) {
        raw_begin(&r, (uint16_t)(bits << 14 | 1));
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
        assert_int_equal(m.raw.n, 0);
    }
    for (int i = 4; i < 8; i++) { /* one wrong bit in the cookie */
        raw_begin(&r, 0x0001);
        r.p[i] ^= 0x10;
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
        assert_int_equal(raw_parse(&STUN_MSICE2, &r, &m), ERR_BAD);
        assert_int_equal(m.raw.n, 0);
    }
    for (int extra = 1; extra < 4; extra++) { /* length not a multiple of 4 (S35) */
        raw_begin(&r, 0x0001);
        raw_add(&r, hex("8022000474657374"));
        r.n -= (size_t)extra;
        raw_length(&r);
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
        assert_int_equal(m.raw.n, 0);
    }
}

static void an_unknown_method_is_told(void **state)
{
    raw_begin(&r, 0x000f);
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.method, STUN_METHOD_UNKNOWN);
    assert_int_equal(m.cls, STUN_REQUEST);
}

static void msturn_wants_its_cookie_first(void **state)
{
    ms_begin(0x0003);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), 0);
    assert_int_equal(m.method, STUN_ALLOCATE);
    uint32_t cookie;
    assert_int_equal(stun_get_u32(&m, AT_MAGIC_COOKIE, &cookie), 0);
    assert_int_equal(cookie, STUN_MS_COOKIE);
    for (size_t i = 20; i < 28; i++) {
        ms_begin(0x0003);
        r.p[i] ^= 1;
        assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), ERR_BAD);
        assert_int_equal(m.raw.n, 0);
    }
    raw_begin(&r, 0x0003);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), ERR_BAD);
    raw_attr_aligned(&r, 0x8008, hex("00000001"), 1);
    raw_attr_aligned(&r, 0x000f, hex("72c64bc6"), 1);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), ERR_BAD);
    ms_begin(0x0001); /* no Binding in this dialect */
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), ERR_BAD);
}

static void msturn_takes_any_transaction_id(void **state)
{
    ms_begin(0x0115);
    memset(r.p + 4, 0xff, 16);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), 0);
    assert_int_equal(m.method, STUN_DATA);
    assert_int_equal(m.cls, STUN_INDICATION);
}

/* ---- the walk over the attributes ---- */

static void padding_is_skipped_and_not_counted(void **state)
{
    for (size_t n = 0; n < 9; n++) {
        raw_begin(&r, 0x0001);
        raw_attr(&r, 0x8022, value(n));
        raw_attr(&r, 0x0024, hex("6effffff"));
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
        struct span v;
        assert_int_equal(stun_get_bytes(&m, AT_SOFTWARE, &v), 0);
        assert_span_equal(v, value(n));
        uint32_t priority;
        assert_int_equal(stun_get_u32(&m, AT_PRIORITY, &priority), 0);
        assert_int_equal(priority, 0x6effffff);
    }
}

static void msturn_has_no_padding(void **state)
{
    ms_begin(0x0003);
    raw_attr_aligned(&r, 0x0015, span_str("officesip.local"), 1); /* 15 bytes, and the next begins at once */
    raw_attr_aligned(&r, 0x000d, hex("00000258"), 1);
    assert_int_equal(r.n % 4, 3);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), 0);
    struct span realm;
    uint32_t lifetime;
    assert_int_equal(stun_get_bytes(&m, AT_REALM, &realm), 0);
    assert_text(realm, "officesip.local");
    assert_int_equal(stun_get_u32(&m, AT_LIFETIME, &lifetime), 0);
    assert_int_equal(lifetime, 600);
}

/* The padding a value of MS-ICE2 counts in its length comes as it was sent; stun_trim takes it off. */
static void msice2_values_keep_counted_padding(void **state)
{
    raw_begin(&r, 0x0001);
    raw_attr(&r, 0x0006, hex("6c304d523a416f5679000000"));
    assert_int_equal(raw_parse(&STUN_MSICE2, &r, &m), 0);
    struct span v;
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &v), 0);
    assert_int_equal(v.n, 12);
    assert_text(stun_trim(v), "l0MR:AoVy");
    assert_text(stun_trim(hex("00000000")), "");
    assert_text(stun_trim(span_str("")), "");
}

/* S35: every length that a single attribute may claim in a message that has room for 8 value bytes. */
static void claimed_lengths(void **state)
{
    for (uint32_t n = 0; n <= 0xffff; n++) {
        raw_begin(&r, 0x0001);
        raw_attr(&r, 0x8022, value(8));
        be16_put(r.p + 22, (uint16_t)n);
        const int got = raw_parse(&STUN_RFC, &r, &m);
        /* 1..4 leave four bytes that are then read as the header of an attribute 0506 of length 0708, past the end;
         * 0 leaves eight: 0102 of length 0304. */
        assert_int_equal(got, n >= 5 && n <= 8 ? 0 : ERR_BAD);
        assert_int_equal(m.raw.n, 32);
        assert_int_equal(m.method, STUN_BINDING);
    }
}

static void lengths_outside_the_table_are_refused(void **state)
{
    static const struct stun_dialect *const dialects[] = {&STUN_RFC, &STUN_MSICE2, &STUN_MSTURN};
    for (size_t i = 0; i < COUNT_OF(dialects); i++)
        for (int at = 1; at < AT_COUNT; at++) {
            const struct stun_dialect *d = dialects[i];
            const struct stun_at_row *row = stun_dialect_attr(d, (enum stun_at)at);
            if (!row || row->at == AT_MAGIC_COOKIE)
                continue;
            for (size_t n = 0; n <= (row->max < 800u ? row->max + 5u : 800u); n++) {
                if (d->cookie_attribute)
                    ms_begin(0x0003);
                else
                    raw_begin(&r, 0x0003);
                raw_attr_aligned(&r, row->type, value(n), d->align);
                const bool is_ok = n >= row->min && n <= row->max && (n - row->min) % row->step == 0;
                if (raw_parse(d, &r, &m) != (is_ok ? 0 : ERR_BAD))
                    fail_msg("%s %s of %zu bytes", d->name, stun_at_name(row->at), n);
                assert_int_equal(m.method, STUN_ALLOCATE);
                assert_int_equal(m.raw.n, r.n);
            }
        }
}

static void three_bytes_are_no_attribute(void **state)
{
    for (int n = 1; n < 4; n++) {
        ms_begin(0x0003);
        raw_add(&r, span_of("\0\6\0", (size_t)n));
        raw_length(&r);
        assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), ERR_BAD);
    }
}

/* The longest message there can be; its last attribute begins behind 65535. */
static void the_longest_message(void **state)
{
    raw_begin(&r, 0x0016);
    raw_attr(&r, 0x0013, value(65532 - 4 - 8));
    raw_attr(&r, 0x0024, hex("6effffff"));
    assert_int_equal(r.n, 20 + 65532);
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    uint32_t priority;
    assert_int_equal(stun_get_u32(&m, AT_PRIORITY, &priority), 0);
    assert_int_equal(priority, 0x6effffff);
    struct span data;
    assert_int_equal(stun_get_bytes(&m, AT_DATA, &data), 0);
    assert_span_equal(data, value(65520));
}

static void too_many_attributes_are_too_many(void **state)
{
    raw_begin(&r, 0x0008);
    for (int i = 0; i < STUN_ATTRS_MAX; i++)
        raw_attr(&r, 0x0012, hex("0001a147e112a643"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.attrs_n, STUN_ATTRS_MAX);
    raw_attr(&r, 0x0012, hex("0001a147e112a643"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_FULL);
    assert_int_equal(m.method, STUN_CREATE_PERMISSION);
}

/* ---- what counts, what is ignored ---- */

/* S20: of two USERNAMEs the first; all XOR-PEER-ADDRESSes. */
static void the_first_of_several_counts(void **state)
{
    raw_begin(&r, 0x0008);
    raw_attr(&r, 0x0006, span_str("alice"));
    raw_attr(&r, 0x0012, hex("0001a147e112a643"));
    raw_attr(&r, 0x0006, span_str("mallory"));
    raw_attr(&r, 0x0012, hex("0001a148e112a644"));
    raw_attr(&r, 0x000d, hex("00000001"));
    raw_attr(&r, 0x000d, hex("0002")); /* ignored, so not even its length matters */
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.attrs_n, 4);
    struct span user;
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &user), 0);
    assert_text(user, "alice");
    assert_null(stun_find_next(&m, stun_find(&m, AT_USERNAME)));
    const struct stun_attr *peer = stun_find(&m, AT_XOR_PEER_ADDRESS);
    struct addr a;
    assert_int_equal(stun_attr_addr(&m, peer, &a), 0);
    assert_int_equal(a.port, 32853);
    peer = stun_find_next(&m, peer);
    assert_non_null(peer);
    assert_int_equal(stun_attr_addr(&m, peer, &a), 0);
    assert_int_equal(a.port, 0xa148 ^ 0x2112);
    assert_null(stun_find_next(&m, peer));
}

/* S19, S20: behind MESSAGE-INTEGRITY only -SHA256 and FINGERPRINT count. */
static void what_stands_behind_integrity_is_ignored(void **state)
{
    raw_begin(&r, 0x0004);
    raw_attr(&r, 0x0008, value(20));
    raw_attr(&r, 0x000d, hex("00000000"));         /* LIFETIME */
    raw_attr(&r, 0x0012, hex("0001a147e112a643")); /* XOR-PEER-ADDRESS */
    raw_attr(&r, 0x0006, span_str("mallory"));
    raw_attr(&r, 0x0018, hex("0000")); /* its length is wrong, but who looks */
    raw_attr(&r, 0x7777, hex(""));     /* unknown, comprehension required */
    raw_attr(&r, 0x0008, value(4));    /* a second MESSAGE-INTEGRITY */
    raw_attr(&r, 0x001c, value(32));
    raw_attr(&r, 0x0014, span_str("realm"));
    raw_attr(&r, 0x0008, value(20));
    raw_attr(&r, 0x8028, hex("00000000"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.attrs_n, 3);
    assert_int_equal(m.attrs[0].at, AT_MESSAGE_INTEGRITY);
    assert_int_equal(m.attrs[0].n, 20);
    assert_int_equal(m.attrs[1].at, AT_MESSAGE_INTEGRITY_SHA256);
    assert_int_equal(m.attrs[2].at, AT_FINGERPRINT);
    assert_int_equal(m.unknown_n, 0);
    assert_false(stun_has(&m, AT_LIFETIME));
    assert_false(stun_has(&m, AT_USERNAME));
}

static void behind_sha256_only_the_fingerprint_counts(void **state)
{
    raw_begin(&r, 0x0004);
    raw_attr(&r, 0x001c, value(32));
    raw_attr(&r, 0x0008, value(20));
    raw_attr(&r, 0x000d, hex("00000000"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.attrs_n, 1);
    assert_false(stun_has(&m, AT_MESSAGE_INTEGRITY));
}

static void msturn_ends_with_integrity(void **state)
{
    ms_begin(0x0003);
    raw_attr_aligned(&r, 0x0008, value(20), 1);
    raw_attr_aligned(&r, 0x000d, hex("00000000"), 1);
    raw_attr_aligned(&r, 0x8028, hex("00000000"), 1);
    raw_attr_aligned(&r, 0x001c, value(32), 1);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), 0);
    assert_int_equal(m.attrs_n, 2);
}

/* Ignored or not, an attribute has to lie inside the message. */
static void the_walk_goes_on_behind_integrity(void **state)
{
    raw_begin(&r, 0x0004);
    raw_attr(&r, 0x0008, value(20));
    raw_attr(&r, 0x8022, value(4));
    be16_put(r.p + r.n - 6, 5);
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
}

/* S20: FINGERPRINT not last. */
static void nothing_follows_the_fingerprint(void **state)
{
    raw_begin(&r, 0x0001);
    raw_attr(&r, 0x8028, hex("00000000"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    raw_attr(&r, 0x8022, hex(""));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
    raw_begin(&r, 0x0001);
    raw_attr(&r, 0x8028, hex("00000000"));
    raw_attr(&r, 0x8028, hex("00000000"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
    raw_begin(&r, 0x0001);
    raw_attr(&r, 0x8028, hex("00000000"));
    raw_attr(&r, 0x0008, value(20));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), ERR_BAD);
}

/* S39: required ones are listed, optional ones not, each once. */
static void unknown_attributes_are_remembered(void **state)
{
    raw_begin(&r, 0x0001);
    raw_attr(&r, 0x7fff, value(3));
    raw_attr(&r, 0x8fff, value(3));
    raw_attr(&r, 0x0002, value(8));
    raw_attr(&r, 0x7fff, value(1));
    raw_attr(&r, 0xffff, value(0));
    raw_attr(&r, 0x0000, value(0));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.unknown_n, 3);
    assert_int_equal(m.unknown[0], 0x7fff);
    assert_int_equal(m.unknown[1], 0x0002);
    assert_int_equal(m.unknown[2], 0x0000);
    assert_int_equal(m.attrs_n, 6); /* all are indexed: they can be shown */
    assert_int_equal(m.attrs[1].at, AT_UNKNOWN);
    assert_int_equal(m.attrs[1].type, 0x8fff);
}

static void more_unknown_ones_than_fit(void **state)
{
    raw_begin(&r, 0x0001);
    for (uint16_t i = 0; i < STUN_UNKNOWN_MAX + 4; i++)
        raw_attr(&r, (uint16_t)(0x4000 + i), value(0));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_int_equal(m.unknown_n, STUN_UNKNOWN_MAX);
    assert_int_equal(m.unknown[STUN_UNKNOWN_MAX - 1], 0x4000 + STUN_UNKNOWN_MAX - 1);
}

/* ---- accessors ---- */

static void numbers_are_read(void **state)
{
    raw_begin(&r, 0x0009);
    raw_attr(&r, 0x0018, hex("80"));
    raw_attr(&r, 0x0019, hex("11ffffff"));
    raw_attr(&r, 0x000c, hex("4001ffff"));
    raw_attr(&r, 0x000d, hex("fedcba98"));
    raw_attr(&r, 0x0022, hex("0123456789abcdef"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    assert_int_equal(stun_get_u8(&m, AT_EVEN_PORT, &u8), 0);
    assert_int_equal(u8, 0x80);
    assert_int_equal(stun_get_u8(&m, AT_REQUESTED_TRANSPORT, &u8), 0);
    assert_int_equal(u8, 17);
    assert_int_equal(stun_get_u16(&m, AT_CHANNEL_NUMBER, &u16), 0);
    assert_int_equal(u16, 0x4001);
    assert_int_equal(stun_get_u32(&m, AT_LIFETIME, &u32), 0);
    assert_int_equal(u32, 0xfedcba98);
    assert_int_equal(stun_get_u64(&m, AT_RESERVATION_TOKEN, &u64), 0);
    assert_int_equal(u64, 0x0123456789abcdef);
}

static void absent_and_misnamed_values(void **state)
{
    raw_begin(&r, 0x0003);
    raw_attr(&r, 0x000d, hex("00000258"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    struct span v = {0};
    uint8_t u8 = 7;
    uint16_t u16 = 7;
    uint32_t u32 = 7;
    uint64_t u64 = 7;
    struct addr a;
    int code;
    struct stun_icmp icmp;
    assert_int_equal(stun_get_bytes(&m, AT_USERNAME, &v), ERR_NONE);
    assert_int_equal(stun_get_u8(&m, AT_EVEN_PORT, &u8), ERR_NONE);
    assert_int_equal(stun_get_u16(&m, AT_CHANNEL_NUMBER, &u16), ERR_NONE);
    assert_int_equal(stun_get_u32(&m, AT_PRIORITY, &u32), ERR_NONE);
    assert_int_equal(stun_get_u64(&m, AT_RESERVATION_TOKEN, &u64), ERR_NONE);
    assert_int_equal(stun_get_addr(&m, AT_XOR_PEER_ADDRESS, &a), ERR_NONE);
    assert_int_equal(stun_get_error(&m, &code, &v), ERR_NONE);
    assert_int_equal(stun_get_icmp(&m, &icmp), ERR_NONE);
    assert_int_equal(stun_get_u32(&m, AT_MS_VERSION, &u32), ERR_NONE); /* not of this dialect */
    assert_int_equal(stun_get_bytes(&m, AT_COUNT, &v), ERR_NONE);
    assert_int_equal(stun_get_u8(&m, AT_LIFETIME, &u8), ERR_BAD); /* not of this form */
    assert_int_equal(stun_get_u16(&m, AT_LIFETIME, &u16), ERR_BAD);
    assert_int_equal(stun_get_u64(&m, AT_LIFETIME, &u64), ERR_BAD);
    assert_int_equal(stun_get_addr(&m, AT_LIFETIME, &a), ERR_BAD);
    assert_true(u8 == 7 && u16 == 7 && u32 == 7 && u64 == 7);
}

/* An unknown attribute has no form, and may have no bytes at all. */
static void unknown_attributes_are_no_numbers(void **state)
{
    raw_begin(&r, 0x0001);
    raw_attr(&r, 0x8fff, hex(""));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    assert_true(stun_has(&m, AT_UNKNOWN));
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    struct addr a;
    assert_int_equal(stun_get_u8(&m, AT_UNKNOWN, &u8), ERR_NONE);
    assert_int_equal(stun_get_u16(&m, AT_UNKNOWN, &u16), ERR_NONE);
    assert_int_equal(stun_get_u32(&m, AT_UNKNOWN, &u32), ERR_NONE);
    assert_int_equal(stun_get_u64(&m, AT_UNKNOWN, &u64), ERR_NONE);
    assert_int_equal(stun_get_addr(&m, AT_UNKNOWN, &a), ERR_BAD);
}

static void addresses_are_read(void **state)
{
    raw_begin(&r, 0x0101);
    raw_attr(&r, 0x0001, hex("00018055c0000201"));
    raw_attr(&r, 0x0020, hex("0001a147e112a643"));
    raw_attr(&r, 0x0012, hex("ff02a1470113a9fa ffffffff ffffffff ffffffff"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    struct addr a, want = addr_v4(0xc0000201, 32853);
    assert_int_equal(stun_get_addr(&m, AT_MAPPED_ADDRESS, &a), 0);
    assert_memory_equal(&a, &want, sizeof a);
    assert_int_equal(stun_get_addr(&m, AT_XOR_MAPPED_ADDRESS, &a), 0);
    assert_memory_equal(&a, &want, sizeof a);
    assert_int_equal(stun_get_addr(&m, AT_XOR_PEER_ADDRESS, &a), 0);
    assert_int_equal(a.family, ADDR_V6);
    assert_int_equal(a.port, 32853);
    assert_memory_equal(a.ip, hex("20010db8 fffefdfc fbfaf9f8 f7f6f5f4").p, 16);
}

/* MS-TURN: 0x8020 is XORed with the transaction id as sent, 0x0011 and 0x0012 are in clear. */
static void msturn_addresses(void **state)
{
    ms_begin(0x0103);
    memcpy(r.p + 4, hex("30b8c9c7affcf4a24ddb6e2a0ae0ea5d").p, 16);
    raw_attr_aligned(&r, 0x8020, hex("0001acf8f68badc0"), 1);
    raw_attr_aligned(&r, 0x0012, hex("00011234d51b5d66"), 1);
    assert_int_equal(raw_parse(&STUN_MSTURN, &r, &m), 0);
    struct addr a, mapped = addr_v4(0xc6336407, 40000), remote = addr_v4(0xd51b5d66, 0x1234);
    assert_int_equal(stun_get_addr(&m, AT_XOR_MAPPED_ADDRESS, &a), 0);
    assert_true(addr_is_equal(&a, &mapped));
    assert_int_equal(stun_get_addr(&m, AT_REMOTE_ADDRESS, &a), 0);
    assert_true(addr_is_equal(&a, &remote));
}

static void families_must_fit_lengths(void **state)
{
    static const struct {
        const char *value;
        int err;
    } cases[] = {
        {"00018055c0000201", 0},
        {"00028055c0000201", ERR_BAD},
        {"00008055c0000201", ERR_BAD},
        {"00038055c0000201", ERR_BAD},
        {"00ff8055c0000201", ERR_BAD},
        {"00028055 20010db8000000000000000000000001", 0},
        {"00018055 20010db8000000000000000000000001", ERR_BAD},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        raw_begin(&r, 0x0008);
        raw_attr(&r, 0x0012, hex(cases[i].value));
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
        struct addr a;
        assert_int_equal(stun_get_addr(&m, AT_XOR_PEER_ADDRESS, &a), cases[i].err);
    }
}

static void error_codes_are_read(void **state)
{
    static const struct {
        const char *value;
        int code;
        const char *reason;
    } cases[] = {
        {"00000401 556e617574", 401, "Unaut"},
        {"00000300", 300, ""},
        {"fffffc01", 401, ""}, /* 21 reserved bits */
        {"00000663", 699, ""},
        {"00000664", 0, ""},
        {"00000263", 0, ""},
        {"00000700", 0, ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        raw_begin(&r, 0x0113);
        raw_attr(&r, 0x0009, hex(cases[i].value));
        assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
        int code = 0;
        struct span reason = {0};
        assert_int_equal(stun_get_error(&m, &code, &reason), cases[i].code ? 0 : ERR_BAD);
        assert_int_equal(code, cases[i].code);
        assert_text(reason, cases[i].reason);
    }
}

/* RFC 8656 s.18.13: 16 reserved bits, then an octet each of type and code. */
static void icmp_is_read(void **state)
{
    raw_begin(&r, 0x0017);
    raw_attr(&r, 0x8004, hex("ffff 0304 000005dc"));
    assert_int_equal(raw_parse(&STUN_RFC, &r, &m), 0);
    struct stun_icmp icmp;
    assert_int_equal(stun_get_icmp(&m, &icmp), 0);
    assert_int_equal(icmp.type, 3);
    assert_int_equal(icmp.code, 4);
    assert_int_equal(icmp.data, 1500);
}

/* S34: a message of every attribute of a dialect, at each of 16 offsets from an aligned address. */
static void every_attribute_at_every_offset(void **state)
{
    static const struct stun_dialect *const dialects[] = {&STUN_RFC, &STUN_MSICE2, &STUN_MSTURN};
    for (size_t i = 0; i < COUNT_OF(dialects); i++) {
        const struct stun_dialect *d = dialects[i];
        raw_begin(&r, 0x0003);
        if (d->cookie_attribute)
            ms_begin(0x0003);
        for (uint32_t type = 0; type <= 0xffff; type++) {
            const struct stun_at_row *row = stun_dialect_attr_type(d, (uint16_t)type);
            if (!row || row->at == AT_MESSAGE_INTEGRITY || row->at == AT_MESSAGE_INTEGRITY_SHA256 ||
                row->at == AT_FINGERPRINT || row->at == AT_MAGIC_COOKIE)
                continue;
            const bool is_addr = row->form == FORM_ADDR || row->form == FORM_XADDR;
            raw_attr_aligned(&r, row->type, is_addr ? hex("00018055c0000201") : value(row->min), d->align);
        }
        for (size_t offset = 0; offset < 16; offset++) {
            uint8_t *block = malloc(offset + r.n);
            memcpy(block + offset, r.p, r.n);
            assert_int_equal(stun_parse(d, span_of(block + offset, r.n), &m), 0);
            for (int k = d->cookie_attribute; k < m.attrs_n; k++) {
                const enum stun_at at = (enum stun_at)m.attrs[k].at;
                uint8_t u8;
                uint16_t u16;
                uint32_t u32;
                uint64_t u64;
                struct addr a;
                switch (stun_dialect_attr(d, at)->form) {
                case FORM_U8:
                    assert_int_equal(stun_get_u8(&m, at, &u8), 0);
                    assert_int_equal(u8, 0x01);
                    break;
                case FORM_U16:
                    assert_int_equal(stun_get_u16(&m, at, &u16), 0);
                    assert_int_equal(u16, 0x0102);
                    break;
                case FORM_U32:
                    assert_int_equal(stun_get_u32(&m, at, &u32), 0);
                    assert_int_equal(u32, 0x01020304);
                    break;
                case FORM_U64:
                    assert_int_equal(stun_get_u64(&m, at, &u64), 0);
                    assert_int_equal(u64, 0x0102030405060708);
                    break;
                case FORM_ADDR:
                case FORM_XADDR: assert_int_equal(stun_get_addr(&m, at, &a), 0); break;
                default: assert_memory_equal(stun_value(&m, &m.attrs[k]).p, value(m.attrs[k].n).p, m.attrs[k].n);
                }
            }
            free(block);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_message_is_one),
        cmocka_unit_test(a_short_message_is_short),
        cmocka_unit_test(bytes_behind_the_message_are_refused),
        cmocka_unit_test(headers_that_are_none),
        cmocka_unit_test(an_unknown_method_is_told),
        cmocka_unit_test(msturn_wants_its_cookie_first),
        cmocka_unit_test(msturn_takes_any_transaction_id),
        cmocka_unit_test(padding_is_skipped_and_not_counted),
        cmocka_unit_test(msturn_has_no_padding),
        cmocka_unit_test(msice2_values_keep_counted_padding),
        cmocka_unit_test(claimed_lengths),
        cmocka_unit_test(lengths_outside_the_table_are_refused),
        cmocka_unit_test(three_bytes_are_no_attribute),
        cmocka_unit_test(the_longest_message),
        cmocka_unit_test(too_many_attributes_are_too_many),
        cmocka_unit_test(the_first_of_several_counts),
        cmocka_unit_test(what_stands_behind_integrity_is_ignored),
        cmocka_unit_test(behind_sha256_only_the_fingerprint_counts),
        cmocka_unit_test(msturn_ends_with_integrity),
        cmocka_unit_test(the_walk_goes_on_behind_integrity),
        cmocka_unit_test(nothing_follows_the_fingerprint),
        cmocka_unit_test(unknown_attributes_are_remembered),
        cmocka_unit_test(more_unknown_ones_than_fit),
        cmocka_unit_test(numbers_are_read),
        cmocka_unit_test(absent_and_misnamed_values),
        cmocka_unit_test(unknown_attributes_are_no_numbers),
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(msturn_addresses),
        cmocka_unit_test(families_must_fit_lengths),
        cmocka_unit_test(error_codes_are_read),
        cmocka_unit_test(icmp_is_read),
        cmocka_unit_test(every_attribute_at_every_offset),
    };
    return cmocka_run_group_tests_name("stun", tests, NULL, NULL);
}
