#include "wire/frame.h"

#include "fixture.h"

static struct raw r;
static struct frame f;

/* `out->size` and the error for a copy at an odd address with nothing behind it. */
static int next(int (*one)(struct span in, struct frame *out), struct span s)
{
    memset(&f, 0xa5, sizeof f);
    return one(odd_copy(s), &f);
}

/* ---- STUN and ChannelData in a stream ---- */

/* S37: one byte at a time. The size is known from the fourth byte on. */
static void stun_byte_by_byte(void **state)
{
    raw_begin(&r, 0x0003);
    raw_attr(&r, 0x0006, span_str("alice"));
    for (size_t n = 0; n < r.n; n++) {
        assert_int_equal(next(frame_next_stun, span_of(r.p, n)), ERR_SHORT);
        assert_int_equal(f.size, n < 4 ? 0 : r.n);
    }
    raw_add(&r, hex("00"));
    assert_int_equal(next(frame_next_stun, span_of(r.p, r.n)), 0);
    assert_int_equal(f.kind, FRAME_STUN);
    assert_int_equal(f.size, r.n - 1);
    assert_span_equal(f.body, span_of(r.p, r.n - 1));
}

static void channel_data_byte_by_byte(void **state)
{
    for (size_t n = 0; n < 10; n++) {
        uint8_t stream[4 + 12 + 1] = {0};
        frame_channel_header(stream, 0x4abc, n);
        memset(stream + 4, 0x55, n);
        const size_t size = 4 + n + frame_channel_padding(n);
        assert_int_equal(size % 4, 0);
        for (size_t k = 0; k < size; k++) {
            assert_int_equal(next(frame_next_stun, span_of(stream, k)), ERR_SHORT);
            assert_int_equal(f.size, k < 4 ? 0 : size);
        }
        assert_int_equal(next(frame_next_stun, span_of(stream, size + 1)), 0);
        assert_int_equal(f.kind, FRAME_CHANNEL);
        assert_int_equal(f.channel, 0x4abc);
        assert_int_equal(f.size, size);
        assert_span_equal(f.body, span_of(stream + 4, n));
    }
}

/* S37: a thousand messages in one segment, both kinds in turn. */
static void many_frames_in_one_segment(void **state)
{
    static struct raw segment;
    segment.n = 0;
    raw_begin(&r, 0x0016);
    raw_attr(&r, 0x0013, span_str("hello"));
    for (int i = 0; i < 1000; i++) {
        raw_add(&segment, span_of(r.p, r.n));
        raw_add(&segment, hex("4000000361626300"));
    }
    struct span left = odd_copy(span_of(segment.p, segment.n));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(frame_next_stun(left, &f), 0);
        assert_int_equal(f.kind, FRAME_STUN);
        assert_span_equal(f.body, span_of(r.p, r.n));
        left = span_skip(left, f.size);
        assert_int_equal(frame_next_stun(left, &f), 0);
        assert_int_equal(f.kind, FRAME_CHANNEL);
        assert_text(f.body, "abc");
        left = span_skip(left, f.size);
    }
    assert_int_equal(left.n, 0);
}

/* All first bytes: 00.. STUN, 40..7f ChannelData (RFC 5766 s.11; RFC 8656 ends at 4f), the rest is lost at once. */
static void first_bytes_of_frames(void **state)
{
    for (int first = 0; first < 256; first++) {
        const uint8_t stream[4] = {(uint8_t)first};
        assert_int_equal(next(frame_next_stun, span_of(stream, 1)), first <= 0x7f ? ERR_SHORT : ERR_BAD);
        assert_int_equal(next(frame_next_msturn, span_of(stream, 1)), first == 2 || first == 3 ? ERR_SHORT : ERR_BAD);
        const int want = first < 0x40 ? ERR_SHORT : first < 0x80 ? 0 : ERR_BAD;
        assert_int_equal(next(frame_next_stun, span_of(stream, 4)), want);
    }
}

static void streams_that_are_lost(void **state)
{
    assert_int_equal(next(frame_next_stun, hex("00010001")), ERR_BAD); /* length not a multiple of 4 */
    assert_int_equal(next(frame_next_stun, hex("00010002")), ERR_BAD);
    assert_int_equal(next(frame_next_stun, hex("00010008 2112a4")), ERR_SHORT);
    assert_int_equal(next(frame_next_stun, hex("00010008 2112a443")), ERR_BAD); /* noise is not waited for */
    assert_int_equal(next(frame_next_stun, hex("80000000")), ERR_BAD);
    assert_int_equal(next(frame_next_stun, hex("ffffffff")), ERR_BAD);
    assert_int_equal(next(frame_next_stun, span_str("GET / HTTP/1.1\r\n")), ERR_SHORT); /* 0x47 is a channel number */
    assert_int_equal(f.size, 4 + 0x5420);
}

/* S35: the longest of each kind. */
static void longest_frames(void **state)
{
    static uint8_t stream[FRAME_STREAM_MAX + 1];
    struct span in = span_of(stream, sizeof stream);
    memcpy(stream, hex("0017fffc 2112a442").p, 8);
    assert_int_equal(next(frame_next_stun, in), 0);
    assert_int_equal(f.size, FRAME_STREAM_MAX);
    assert_int_equal(f.body.n, FRAME_STREAM_MAX);
    memcpy(stream, hex("4fffffff").p, 4);
    assert_int_equal(next(frame_next_stun, in), 0);
    assert_int_equal(f.size, 65540);
    assert_int_equal(f.body.n, 65535);
    assert_int_equal(next(frame_next_stun, span_take(in, 65539)), ERR_SHORT);
    assert_int_equal(f.size, 65540);
    memcpy(stream, hex("0300ffff").p, 4);
    assert_int_equal(next(frame_next_msturn, in), 0);
    assert_int_equal(f.size, 65539);
    memcpy(stream, hex("ffff").p, 2);
    assert_int_equal(next(frame_next_rfc4571, in), 0);
    assert_int_equal(f.size, 65537);
}

/* ---- ChannelData in a datagram ---- */

static void channel_datagrams(void **state)
{
    static const struct {
        const char *datagram;
        int err;
        size_t n;
    } cases[] = {
        {"40000003 616263", 0, 3},
        {"40000003 61626300", 0, 3},
        {"4fff0000", 0, 0},
        {"40000001 61ffffffffffff", 0, 1},
        {"40000004 616263", ERR_BAD, 0},
        {"4000ffff 616263", ERR_BAD, 0},
        {"400000", ERR_BAD, 0},
        {"", ERR_BAD, 0},
        {"80000003 616263", ERR_BAD, 0},
        {"3fff0003 616263", ERR_BAD, 0},
        {"80000000", ERR_BAD, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct span in = hex(cases[i].datagram);
        assert_int_equal(next(frame_channel_datagram, in), cases[i].err);
        if (cases[i].err)
            continue;
        assert_int_equal(f.channel, be16_get(in.p));
        assert_int_equal(f.size, in.n);
        assert_span_equal(f.body, span_of(in.p + 4, cases[i].n));
    }
}

/* ---- MS-TURN and RFC 4571 ---- */

static void msturn_frames(void **state)
{
    struct span in = hex("02000003 616263 03ff0002 0000 02000000");
    for (size_t n = 0; n < 7; n++) {
        assert_int_equal(next(frame_next_msturn, span_take(in, n)), ERR_SHORT);
        assert_int_equal(f.size, n < 4 ? 0 : 7);
    }
    assert_int_equal(frame_next_msturn(in, &f), 0);
    assert_int_equal(f.kind, FRAME_MS_CONTROL);
    assert_text(f.body, "abc");
    in = span_skip(in, f.size);
    assert_int_equal(frame_next_msturn(in, &f), 0); /* the reserved byte is ignored */
    assert_int_equal(f.kind, FRAME_MS_DATA);
    assert_span_equal(f.body, hex("0000"));
    in = span_skip(in, f.size);
    assert_int_equal(frame_next_msturn(in, &f), 0);
    assert_int_equal(f.kind, FRAME_MS_CONTROL);
    assert_int_equal(f.body.n, 0);
    assert_int_equal(span_skip(in, f.size).n, 0);
}

static void rfc4571_frames(void **state)
{
    struct span in = hex("0003 616263 0000 0001 00");
    for (size_t n = 0; n < 5; n++) {
        assert_int_equal(next(frame_next_rfc4571, span_take(in, n)), ERR_SHORT);
        assert_int_equal(f.size, n < 2 ? 0 : 5);
    }
    assert_int_equal(frame_next_rfc4571(in, &f), 0);
    assert_int_equal(f.kind, FRAME_RFC4571);
    assert_text(f.body, "abc");
    in = span_skip(in, f.size);
    assert_int_equal(frame_next_rfc4571(in, &f), 0); /* a null packet */
    assert_int_equal(f.body.n, 0);
    assert_int_equal(f.size, 2);
    in = span_skip(in, f.size);
    assert_int_equal(frame_next_rfc4571(in, &f), 0);
    assert_int_equal(f.size, in.n);
}

static void headers_are_written(void **state)
{
    uint8_t h[4];
    frame_channel_header(h, 0x4001, 0x1234);
    assert_memory_equal(h, hex("40011234").p, 4);
    frame_msturn_header(h, FRAME_MS_CONTROL, 177);
    assert_memory_equal(h, hex("020000b1").p, 4);
    frame_msturn_header(h, FRAME_MS_DATA, 65535);
    assert_memory_equal(h, hex("0300ffff").p, 4);
}

/* ---- pseudo-TLS ---- */

static void pseudotls(void **state)
{
    uint8_t random[32], id[32], hello[PSEUDOTLS_HELLO], answer[PSEUDOTLS_ANSWER];
    memset(random, 0xab, sizeof random);
    memset(id, 0xcd, sizeof id);
    memset(hello, 0x77, sizeof hello);
    memset(answer, 0x77, sizeof answer);
    pseudotls_hello(hello, random);
    pseudotls_answer(answer, random, id);
    assert_memory_equal(hello, hex("16030100 2d010000 290301").p, 11);
    assert_memory_equal(hello + 11, random, 32);
    assert_memory_equal(hello + 43, hex("00 0002 0018 0100").p, 7);
    assert_memory_equal(answer, hex("16030100 4e020000 460301").p, 11);
    assert_memory_equal(answer + 11, random, 32);
    assert_int_equal(answer[43], 32);
    assert_memory_equal(answer + 44, id, 32);
    assert_memory_equal(answer + 76, hex("0018 00 0e000000").p, 7);
    assert_true(pseudotls_is_hello(hello));
    assert_true(pseudotls_is_answer(answer));
    for (int i = 0; i < PSEUDOTLS_HELLO; i++) { /* 32 bytes are free, all others count */
        hello[i] ^= 1;
        assert_int_equal(pseudotls_is_hello(hello), i >= 11 && i < 43);
        hello[i] ^= 1;
    }
    for (int i = 0; i < PSEUDOTLS_ANSWER; i++) {
        answer[i] ^= 1;
        assert_int_equal(pseudotls_is_answer(answer), (i >= 11 && i < 43) || (i >= 44 && i < 76));
        answer[i] ^= 1;
    }
}

/* ---- sniffing ---- */

static enum speech_kind kind;

static int sniff(struct span s)
{
    kind = SPEECH_SIP;
    return sniff_stream(odd_copy(s), &kind);
}

/* What is recognised, and after how many bytes: not later than it can be known, and the same ever after. */
static void speeches_of_streams(void **state)
{
    static const struct {
        const char *hex_or_text;
        enum speech_kind kind;
        size_t after;
    } cases[] = {
        {"000100002112a442 000102030405060708090a0b", SPEECH_STUN, 8},
        {"0003000c2112a442 000102030405060708090a0b", SPEECH_STUN, 8},
        {"000b00502112a442", SPEECH_STUN, 8},
        {"010100002112a442", SPEECH_STUN, 8},
        {"020000b10003009d", SPEECH_MSTURN, 2},
        {"0300001300e00000", SPEECH_TPKT, 2},
        {"006c 00010058 2112a442", SPEECH_RFC4571, 10},
        {"0014 01010000 2112a442", SPEECH_RFC4571, 10},
        {"0248 00010234 2112a442", SPEECH_RFC4571, 10},
        {"1603010200010001fc0303", SPEECH_TLS, 4},   /* record of another length */
        {"160301002d0100002903 03", SPEECH_TLS, 11}, /* of the same one, another version inside */
        {"1603030000", SPEECH_TLS, 3},
        {"=GET / HTTP/1.1", SPEECH_HTTP, 4},
        {"=POST /x", SPEECH_HTTP, 5},
        {"=PRI * HTTP/2.0\r\n", SPEECH_HTTP, 11},
        {"=CONNECT a:1", SPEECH_HTTP, 8},
        {"=OPTIONS * HTTP/1.1", SPEECH_HTTP, 9},
        {"=OPTIONS http://a/", SPEECH_HTTP, 12},
        {"=OPTIONS sip:a@b SIP/2.0", SPEECH_SIP, 9},
        {"=INVITE sip:a@b SIP/2.0", SPEECH_SIP, 7},
        {"=REGISTER sip:b SIP/2.0", SPEECH_SIP, 9},
        {"=NEGOTIATE sip:b SIP/2.0", SPEECH_SIP, 10},
        {"=SIP/2.0 200 OK", SPEECH_SIP, 8},
        {"=SSH-2.0-x", SPEECH_UNKNOWN, 3},
        {"=GETTING", SPEECH_UNKNOWN, 4},
        {"=\r\n", SPEECH_UNKNOWN, 3}, /* could be an RFC 4571 length */
        {"000100002112a443", SPEECH_UNKNOWN, 8},
        {"000300012112a442", SPEECH_UNKNOWN, 4}, /* neither STUN (length 1) nor RFC 4571 (length 3) */
        {"006c 00010057 2112a442", SPEECH_UNKNOWN, 6},
        {"006c 00010054 2112a442", SPEECH_UNKNOWN, 6}, /* does not fill the frame */
        {"006c 80010057 2112a442", SPEECH_UNKNOWN, 4},
        {"1604", SPEECH_UNKNOWN, 3},
        {"0201 02", SPEECH_UNKNOWN, 3},
        {"40000004 61626364", SPEECH_UNKNOWN, 6}, /* no channel before an allocation */
        {"ffffffff", SPEECH_UNKNOWN, 3},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *text = cases[i].hex_or_text;
        struct span s = text[0] == '=' ? span_str(text + 1) : hex(text);
        for (size_t n = 0; n <= s.n; n++) {
            const int got = sniff(span_take(s, n));
            if (got != (n < cases[i].after ? ERR_SHORT : 0) || (got == 0 && kind != cases[i].kind))
                fail_msg("%s after %zu bytes: %d, %s", text, n, got, speech_name(kind));
        }
    }
}

static void a_hello_needs_all_of_its_bytes(void **state)
{
    uint8_t random[32] = {1, 2, 3}, hello[PSEUDOTLS_HELLO];
    pseudotls_hello(hello, random);
    for (size_t n = 0; n < PSEUDOTLS_HELLO; n++)
        assert_int_equal(sniff(span_of(hello, n)), ERR_SHORT);
    assert_int_equal(sniff(span_of(hello, PSEUDOTLS_HELLO)), 0);
    assert_int_equal(kind, SPEECH_PSEUDOTLS);
    for (size_t i = 2; i < PSEUDOTLS_HELLO; i++) { /* one other byte: real TLS, as soon as it is seen */
        if (i >= 11 && i < 43)
            continue;
        hello[i] ^= 0x40;
        assert_int_equal(sniff(span_of(hello, i)), ERR_SHORT);
        assert_int_equal(sniff(span_of(hello, i + 1)), 0);
        assert_int_equal(kind, SPEECH_TLS);
        hello[i] ^= 0x40;
    }
}

/* All pairs of first bytes, followed by enough of anything: a decision within PSEUDOTLS_HELLO bytes. */
static void all_first_bytes(void **state)
{
    static const uint8_t fillers[] = {0x00, 0x01, 0x21, 'A', ' ', 0xff};
    for (size_t k = 0; k < sizeof fillers; k++)
        for (int first = 0; first < 0x10000; first++) {
            uint8_t stream[PSEUDOTLS_HELLO];
            memset(stream, fillers[k], sizeof stream);
            be16_put(stream, (uint16_t)first);
            assert_int_equal(sniff_stream(span_of(stream, sizeof stream), &kind), 0);
            const enum speech_kind want = first == 0x1603   ? SPEECH_TLS
                                          : first == 0x0200 ? SPEECH_MSTURN
                                          : first == 0x0300 ? SPEECH_TPKT
                                                            : SPEECH_UNKNOWN;
            assert_int_equal(kind, want);
        }
}

static void speeches_of_datagrams(void **state)
{
    static const struct {
        const char *datagram;
        enum speech_kind kind;
    } cases[] = {
        {"00010000 2112a442 000102030405060708090a0b", SPEECH_STUN},
        {"00010000 2112a442 000102030405060708090a", SPEECH_UNKNOWN},
        {"00010000 2112a443 000102030405060708090a0b", SPEECH_UNKNOWN},
        {"00030008 2112a442 000102030405060708090a0b 000f000472c64bc6", SPEECH_MSTURN},
        {"00030008 ffffffff 000102030405060708090a0b 000f000472c64bc6", SPEECH_MSTURN},
        {"00030008 2112a442 000102030405060708090a0b 000f000472c64bc7", SPEECH_STUN},
        {"00030008 ffffffff 000102030405060708090a0b 000f000472c64b", SPEECH_UNKNOWN},
        {"40030008 ffffffff 000102030405060708090a0b 000f000472c64bc6", SPEECH_CHANNEL},
        {"40000000", SPEECH_CHANNEL},
        {"7fff0000", SPEECH_CHANNEL},
        {"400000", SPEECH_UNKNOWN},
        {"80000000", SPEECH_UNKNOWN},
        {"16feff0000000000000000", SPEECH_DTLS},
        {"16fefd0000000000000000", SPEECH_DTLS},
        {"800000010000000000000000", SPEECH_UNKNOWN},
        {"", SPEECH_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (sniff_datagram(odd_copy(hex(cases[i].datagram))) != cases[i].kind)
            fail_msg("%s", cases[i].datagram);
}

/* ---- pieces of a stream of RFC 4571 ---- */

static size_t next_piece(struct rfc4571_cut *cut, const char *bytes, size_t max, bool hurry)
{
    return rfc4571_next(cut, odd_copy(hex(bytes)), max, hurry);
}

static bool is_between_packets(const struct rfc4571_cut *cut)
{
    return !cut->owed && !cut->has_high;
}

static void pieces_are_packets(void **state)
{
    struct rfc4571_cut cut = {0};
    assert_int_equal(next_piece(&cut, "", 100, false), 0);
    assert_int_equal(next_piece(&cut, "00", 100, false), 0);
    assert_int_equal(next_piece(&cut, "0003aabb", 100, false), 0);
    assert_int_equal(next_piece(&cut, "0003aabbcc0001", 100, false), 5);
    assert_int_equal(next_piece(&cut, "00000001aa", 100, false), 2);
    assert_int_equal(next_piece(&cut, "0062", 100, false), 0);
    assert_true(is_between_packets(&cut));
}

/* In a hurry what is there goes; afterwards the borders are found again. */
static void pieces_in_a_hurry(void **state)
{
    struct rfc4571_cut cut = {0};
    assert_int_equal(next_piece(&cut, "", 100, true), 0);
    assert_int_equal(next_piece(&cut, "0005aabb", 100, true), 4);
    assert_int_equal(cut.owed, 3);
    assert_int_equal(next_piece(&cut, "cc", 100, false), 1);
    assert_int_equal(next_piece(&cut, "ddee0001ff", 100, false), 2);
    assert_int_equal(next_piece(&cut, "0001ff", 100, false), 3);
    assert_int_equal(next_piece(&cut, "00", 100, true), 1); /* half a length */
    assert_int_equal(next_piece(&cut, "", 100, false), 0);
    assert_int_equal(next_piece(&cut, "02aabb0001ff", 100, false), 3);
    assert_int_equal(next_piece(&cut, "0001ff", 100, true), 3);
    assert_true(is_between_packets(&cut));
}

/* A packet over the limit does not wait for its end. */
static void pieces_of_a_long_packet(void **state)
{
    struct rfc4571_cut cut = {0};
    assert_int_equal(next_piece(&cut, "0008aabb", 9, false), 4);
    assert_int_equal(cut.owed, 6);
    assert_int_equal(next_piece(&cut, "ccddeeff1122000133", 4, false), 4);
    assert_int_equal(next_piece(&cut, "1122000133", 4, false), 2);
    assert_int_equal(next_piece(&cut, "000133", 4, false), 3);
    assert_int_equal(next_piece(&cut, "0007", 9, false), 0);
}

/* Whatever the stream holds and however it comes: every byte goes, none twice. */
static void pieces_lose_nothing(void **state)
{
    uint8_t stream[2000];
    for (size_t i = 0; i < sizeof stream; i++)
        stream[i] = (uint8_t)(i * i >> 5);
    for (size_t there = 1; there < 40; there++) {
        struct rfc4571_cut cut = {0};
        size_t at = 0;
        for (int i = 0; at < sizeof stream; i++) {
            struct span in = span_take(span_of(stream + at, sizeof stream - at), there);
            size_t n = rfc4571_next(&cut, in, 30, i % 3 == 0);
            assert_true(n <= in.n && n <= 30);
            at += n;
        }
        assert_int_equal(at, sizeof stream);
    }
}

/* RFC 7983 s.7, with the cookie for the first range, and the channels of RFC 5766. */
static void datagrams_by_first_byte(void **state)
{
    for (int first = 0; first < 256; first++) {
        uint8_t datagram[64] = {(uint8_t)first, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42};
        const enum speech_kind want = first <= 3                   ? SPEECH_STUN
                                      : first >= 20 && first <= 63 ? SPEECH_DTLS
                                      : first >= 64 && first < 128 ? SPEECH_CHANNEL
                                                                   : SPEECH_UNKNOWN;
        assert_int_equal(sniff_datagram(span_of(datagram, sizeof datagram)), want);
        memcpy(datagram + 20, hex("000f000472c64bc6").p, 8);
        assert_int_equal(sniff_datagram(span_of(datagram, sizeof datagram)), first < 64 ? SPEECH_MSTURN : want);
    }
}

static void speeches_have_names(void **state)
{
    assert_string_equal(speech_name(SPEECH_MSTURN), "MS-TURN");
    assert_string_equal(speech_name(SPEECH_SIP), "SIP");
    assert_string_equal(speech_name((enum speech_kind)99), "unknown");
    for (int i = SPEECH_UNKNOWN + 1; i <= SPEECH_SIP; i++)
        assert_string_not_equal(speech_name((enum speech_kind)i), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stun_byte_by_byte),
        cmocka_unit_test(channel_data_byte_by_byte),
        cmocka_unit_test(many_frames_in_one_segment),
        cmocka_unit_test(first_bytes_of_frames),
        cmocka_unit_test(streams_that_are_lost),
        cmocka_unit_test(longest_frames),
        cmocka_unit_test(channel_datagrams),
        cmocka_unit_test(msturn_frames),
        cmocka_unit_test(rfc4571_frames),
        cmocka_unit_test(headers_are_written),
        cmocka_unit_test(pseudotls),
        cmocka_unit_test(speeches_of_streams),
        cmocka_unit_test(a_hello_needs_all_of_its_bytes),
        cmocka_unit_test(all_first_bytes),
        cmocka_unit_test(speeches_of_datagrams),
        cmocka_unit_test(datagrams_by_first_byte),
        cmocka_unit_test(pieces_are_packets),
        cmocka_unit_test(pieces_in_a_hurry),
        cmocka_unit_test(pieces_of_a_long_packet),
        cmocka_unit_test(pieces_lose_nothing),
        cmocka_unit_test(speeches_have_names),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
