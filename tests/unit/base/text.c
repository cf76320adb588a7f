#include "base/text.h"

#include "fixture.h"

static void start_without_room(void)
{
    char c;
    text_of(&c, 0);
}

static void texts_grow_to_their_bound(void **state)
{
    char buf[12];
    struct text t = text_of(buf, sizeof buf);
    assert_string_equal(buf, "");
    text_add(&t, "ab");
    text_add_span(&t, span_str("cd"));
    text_add_span(&t, (struct span){0});
    text_add(&t, NULL);
    text_addf(&t, "%d-%s", 12, "x");
    assert_string_equal(buf, "abcd12-x");
    assert_int_equal(t.n, 8);
    assert_false(t.truncated);
    text_add(&t, "123");
    assert_int_equal(t.n, 11);
    assert_false(t.truncated);
    text_add(&t, "");
    assert_false(t.truncated);
    text_add(&t, "4");
    assert_true(t.truncated);
    assert_string_equal(buf, "abcd12-x123");
    assert_true(aborts(start_without_room, "cap > 0"));
}

static void what_is_cut_ends_the_text(void **state)
{
    char buf[6];
    struct text t = text_of(buf, sizeof buf);
    text_addf(&t, "abc\u20ac"); /* the last byte of the euro sign does not fit */
    assert_true(t.truncated);
    assert_string_equal(buf, "abc");
    text_add(&t, "d"); /* would fit, but would leave a hole */
    text_addf(&t, "d");
    text_add_safe(&t, span_str("d"));
    assert_string_equal(buf, "abc");
    assert_int_equal(t.n, 3);

    t = text_of(buf, sizeof buf);
    text_add(&t, "abc\u20ac");
    assert_true(t.truncated);
    assert_string_equal(buf, "abc");

    t = text_of(buf, sizeof buf);
    text_addf(&t, "ab\u20ac");
    assert_false(t.truncated);
    assert_int_equal(t.n, 5);

    t = text_of(buf, sizeof buf);
    text_add(&t, "ab");
    text_addf(&t, "%s", "");
    assert_false(t.truncated);
    text_addf(&t, "c\u20ac and what would overwrite the neighbours");
    assert_true(t.truncated);
    assert_string_equal(buf, "abc");
    assert_int_equal(t.n, 3);

    t = text_of(buf, 1);
    text_addf(&t, "x");
    assert_true(t.truncated);
    assert_string_equal(buf, "");
}

static void cutting_keeps_characters_whole(void **state)
{
    static const struct {
        const char *in;
        size_t max, n;
    } cases[] = {
        {"abc", 5, 3},
        {"abc", 3, 3},
        {"abc", 2, 2},
        {"abc", 0, 0},
        {"", 0, 0},
        {"\u20ac\u20ac", 6, 6},
        {"\u20ac\u20ac", 5, 3},
        {"\u20ac\u20ac", 4, 3},
        {"\u20ac\u20ac", 3, 3},
        {"\u20ac\u20ac", 2, 0},
        {"a\U0001f600", 5, 5},
        {"a\U0001f600", 4, 1},
        {"a\U0001f600", 3, 1},
        {"a\U0001f600", 2, 1},
        {"\x80\x80\x80\x80\x80", 4, 4},
        {"a\x80\x80\x80\x80", 3, 3}, /* no UTF-8: cut where it must */
        {"ab\xffxy", 3, 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(text_cut(span_str(cases[i].in), cases[i].max).n, cases[i].n);
}

static void foreign_bytes_cannot_steer_a_terminal(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain ASCII ~!\"\\", "plain ASCII ~!\"\\"},
        {"Gr\u00fc\u00dfe \u65e5\u672c \U0001f600", "Gr\u00fc\u00dfe \u65e5\u672c \U0001f600"},
        {"\x1b[31mred", "\\x1b[31mred"},
        {"a\rb\nc\td\be", "a\\x0db\\x0ac\\x09d\\x08e"},
        {"\x7f", "\\x7f"},
        {"\xc2\x85\xc2\x9b"
         "31m",
         "\\xc2\\x85\\xc2\\x9b31m"}, /* C1 controls: next line, CSI */
        {"\u00a0", "\u00a0"},
        {"user\u202egpj.exe", "user\\xe2\\x80\\xaegpj.exe"},
        {"\u202a\u2066\u2069\u200f\u061c", "\\xe2\\x80\\xaa\\xe2\\x81\\xa6\\xe2\\x81\\xa9\\xe2\\x80\\x8f\\xd8\\x9c"},
        {"\u2028\u2029\ufeff", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9\\xef\\xbb\\xbf"},
        {"\U000e0041", "\\xf3\\xa0\\x81\\x81"},
        {"\xff\xc3(", "\\xff\\xc3("},
        {"\xc0\x9b\xe0\x82\x9b", "\\xc0\\x9b\\xe0\\x82\\x9b"}, /* overlong CSI */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                   /* surrogate */
        {"\xe2\x82", "\\xe2\\x82"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buf[200];
        struct text t = text_of(buf, sizeof buf);
        text_add_safe(&t, span_str(cases[i].in));
        assert_string_equal(buf, cases[i].out);
        assert_false(t.truncated);
    }
    char buf[20];
    struct text t = text_of(buf, sizeof buf);
    text_add_safe(&t, span_of("a\0b", 3));
    assert_string_equal(buf, "a\\x00b");
}

/* Random bytes: the result is UTF-8 without any control, and an escape is never cut. */
static void safe_text_is_always_safe(void **state)
{
    for (int round = 0; round < 20000; round++) {
        uint8_t in[24];
        char buf[40];
        size_t n = die(sizeof in + 1);
        for (size_t i = 0; i < n; i++)
            in[i] = die(3) ? (uint8_t)die(256) : (uint8_t)(0x80 + die(64));
        struct text t = text_of(buf, 1 + die(sizeof buf));
        text_add_safe(&t, span_of(in, n));
        struct span s = span_of(buf, t.n);
        assert_int_equal(strlen(buf), t.n);
        assert_true(text_is_utf8(s));
        for (size_t i = 0; i < s.n; i++) {
            assert_true(s.p[i] >= 0x20 && s.p[i] != 0x7f);
            if (s.p[i] == '\\' && i + 1 < s.n && s.p[i + 1] == 'x')
                assert_true(i + 4 <= s.n || memchr(in, '\\', n));
        }
    }
}

static void utf8_is_strict(void **state)
{
    static const char *const good[] = {"",       "a",      "\xc2\x80", "\u07ff",     "\u0800",
                                       "\ud7ff", "\ue000", "\uffff",   "\U00010000", "\U0010ffff"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x41",
                                      "\xe0\x9f\xbf",
                                      "\xe2\x82",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf0\x9f\x98",
                                      "\xfe",
                                      "\xff",
                                      "ok\xff"};
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(text_is_utf8(span_str(good[i])));
    for (size_t i = 0; i < COUNT(bad); i++)
        if (text_is_utf8(span_str(bad[i])))
            fail_msg("bad[%zu] was accepted", i);
    uint32_t code = 0;
    assert_int_equal(text_utf8_first(span_str("\u20acx"), &code), 3);
    assert_int_equal(code, 0x20ac);
    assert_int_equal(text_utf8_first(span_str("\U0001f600"), &code), 4);
    assert_int_equal(code, 0x1f600);
    assert_int_equal(text_utf8_first((struct span){0}, &code), 0);
}

static void clean_texts_have_no_controls(void **state)
{
    static const char *const clean[] = {"", "alice", " a~", "\u00a0", "Gr\u00fc\u00dfe", "CORP\\eve", "\U0001f600"};
    static const char *const unclean[] = {"a\n",      "\x1f", "\x7f", "a\tb", "\xc2\x80",
                                          "\xc2\x9f", "\x80", "\xc3", "a\xff"};
    for (size_t i = 0; i < COUNT(clean); i++)
        assert_true(text_is_clean(span_str(clean[i])));
    for (size_t i = 0; i < COUNT(unclean); i++)
        assert_false(text_is_clean(span_str(unclean[i])));
    assert_false(text_is_clean(span_of("a\0b", 3)));
}

static void numbers_are_whole_and_bounded(void **state)
{
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "-1", "0x10", "1.0", "1e3", "18446744073709551616", "99999999999999999999", "\xd9\xa1"};
    uint64_t v = 77;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(text_parse_u64(span_str(bad[i]), 0, UINT64_MAX, &v), ERR_BAD);
    assert_int_equal(text_parse_u64((struct span){0}, 0, 1, &v), ERR_BAD);
    assert_int_equal(text_parse_u64(span_str("4"), 5, 10, &v), ERR_BAD);
    assert_int_equal(text_parse_u64(span_str("11"), 5, 10, &v), ERR_BAD);
    assert_int_equal(v, 77);
    assert_int_equal(text_parse_u64(span_str("5"), 5, 10, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(text_parse_u64(span_str("0010"), 5, 10, &v), 0);
    assert_int_equal(v, 10);
    assert_int_equal(text_parse_u64(span_str("18446744073709551615"), 0, UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
}

static void units_multiply(void **state)
{
    static const struct {
        const char *in;
        int (*parse)(const char *, uint64_t *);
        uint64_t out;
    } good[] = {
        {"90", text_parse_seconds, 90},       {"30s", text_parse_seconds, 30},
        {"10m", text_parse_seconds, 600},     {"2h", text_parse_seconds, 7200},
        {"1d", text_parse_seconds, 86400},    {"0", text_parse_seconds, 0},
        {"4096", text_parse_bytes, 4096},     {"64k", text_parse_bytes, 65536},
        {"64K", text_parse_bytes, 65536},     {"10M", text_parse_bytes, 10485760},
        {"1G", text_parse_bytes, 1073741824}, {"64kB", text_parse_bytes, 65536},
        {"7B", text_parse_bytes, 7},          {"17179869183G", text_parse_bytes, 17179869183ull << 30},
    };
    static const struct {
        const char *in;
        int (*parse)(const char *, uint64_t *);
    } bad[] = {
        {"", text_parse_seconds},    {"s", text_parse_seconds},     {"1 s", text_parse_seconds},
        {"1ms", text_parse_seconds}, {"1h30m", text_parse_seconds}, {"-1s", text_parse_seconds},
        {"1w", text_parse_seconds},  {"1.5h", text_parse_seconds},  {"213503982334602d", text_parse_seconds},
        {NULL, text_parse_seconds},  {"", text_parse_bytes},        {"B", text_parse_bytes},
        {"k", text_parse_bytes},     {"1m", text_parse_bytes},      {"1kk", text_parse_bytes},
        {"1BB", text_parse_bytes},   {"1Bk", text_parse_bytes},     {"17179869184G", text_parse_bytes},
    };
    uint64_t v;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(good[i].parse(good[i].in, &v), 0);
        assert_true(v == good[i].out);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (bad[i].parse(bad[i].in, &v) != ERR_BAD)
            fail_msg("'%s' was accepted", bad[i].in);
}

static void hex_goes_both_ways(void **state)
{
    char hex[9];
    uint8_t out[4] = {0};
    assert_string_equal(text_hex("\x00\x1f\xa0\xff", 4, hex), "001fa0ff");
    assert_string_equal(text_hex("", 0, hex), "");
    assert_int_equal(text_unhex(" 00 1f\tA0\r\nfF ", out, 4), 4);
    assert_memory_equal(out, "\x00\x1f\xa0\xff", 4);
    assert_int_equal(text_unhex("", out, 0), 0);
    assert_int_equal(text_unhex("0011223344", out, 4), ERR_FULL);
    assert_int_equal(text_unhex("001", out, 4), ERR_BAD);
    assert_int_equal(text_unhex("0g", out, 4), ERR_BAD);
    assert_int_equal(text_unhex("0x00", out, 4), ERR_BAD);
    assert_int_equal(text_unhex("00:11", out, 4), ERR_BAD);
    assert_int_equal(text_unhex("@`", out, 4), ERR_BAD);
}

static void base64_goes_both_ways(void **state)
{
    static const struct {
        const char *plain, *coded;
    } cases[] = {/* RFC 4648 s.10 */
                 {"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"},
                 {"\xfb\xff\xfe", "+//+"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char coded[16];
        uint8_t plain[8];
        size_t n = strlen(cases[i].plain), unpadded = strcspn(cases[i].coded, "=");
        assert_string_equal(text_base64(cases[i].plain, n, coded), cases[i].coded);
        assert_int_equal(text_unbase64(span_str(coded), plain, n), n);
        assert_memory_equal(plain, cases[i].plain, n);
        assert_int_equal(text_unbase64(span_of(coded, unpadded), plain, n), n);
        if (n)
            assert_int_equal(text_unbase64(span_str(coded), plain, n - 1), ERR_FULL);
    }
    static const char *const bad[] = {"Z",    "Zg=",  "Zg===", "=",     "==",     "====", "Zm9vY",           "Zg==Zg==",
                                      "Z=g=", "Zh==", "Zm9=",  "Zm 9v", "Zm9v\n", "Zm-_", "\xff\xff\xff\xff"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint8_t out[16];
        if (text_unbase64(span_str(bad[i]), out, sizeof out) != ERR_BAD)
            fail_msg("'%s' was accepted", bad[i]);
    }
    uint8_t out[4];
    assert_int_equal(text_unbase64(span_of("Zg\0=", 4), out, 4), ERR_BAD);
    assert_int_equal(text_unbase64((struct span){0}, NULL, 0), 0);
}

static void random_bytes_survive_both_codings(void **state)
{
    for (int round = 0; round < 2000; round++) {
        uint8_t in[100], out[100];
        char coded[201];
        size_t n = die(sizeof in + 1);
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)die(256);
        assert_int_equal(text_unhex(text_hex(in, n, coded), out, n), n);
        assert_memory_equal(in, out, n);
        assert_int_equal(text_unbase64(span_str(text_base64(in, n, coded)), out, n), n);
        assert_memory_equal(in, out, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_grow_to_their_bound),
        cmocka_unit_test(what_is_cut_ends_the_text),
        cmocka_unit_test(cutting_keeps_characters_whole),
        cmocka_unit_test(foreign_bytes_cannot_steer_a_terminal),
        cmocka_unit_test(safe_text_is_always_safe),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(clean_texts_have_no_controls),
        cmocka_unit_test(numbers_are_whole_and_bounded),
        cmocka_unit_test(units_multiply),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(random_bytes_survive_both_codings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
