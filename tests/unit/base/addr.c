#include "base/addr.h"

#include "fixture.h"

static struct addr parsed(const char *text)
{
    struct addr a;
    if (addr_parse(text, &a) != 0)
        fail_msg("%s was refused", text);
    return a;
}

static struct prefix prefix_parsed(const char *text)
{
    struct prefix p;
    if (prefix_parse(text, &p) != 0)
        fail_msg("%s was refused", text);
    return p;
}

static void values_are_what_they_say(void **state)
{
    struct addr a = addr_v4(0xc0000201, 80);
    assert_memory_equal(a.ip, ((uint8_t[16]){192, 0, 2, 1}), 16);
    assert_int_equal(a.family, ADDR_V4);
    assert_int_equal(a.port, 80);
    assert_int_equal(addr_ip_size(&a), 4);
    struct addr b = addr_v6((const uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = 1}, 443);
    assert_int_equal(addr_ip_size(&b), 16);
    struct addr again = parsed("[2001:db8::1]:443");
    assert_true(addr_is_equal(&b, &again));
    assert_int_equal(addr_ip_size(&(struct addr){0}), 0);
}

static void ports_can_be_ignored(void **state)
{
    struct addr a = parsed("192.0.2.1:80"), b = parsed("192.0.2.1:81"), c = parsed("192.0.2.2:80");
    struct addr mapped = parsed("[::ffff:192.0.2.1]:80");
    assert_false(addr_is_equal(&a, &b));
    assert_true(addr_is_same_ip(&a, &b));
    assert_false(addr_is_same_ip(&a, &c));
    assert_false(addr_is_same_ip(&a, &mapped));
    struct addr key_a = addr_without_port(&a), key_b = addr_without_port(&b);
    assert_true(addr_is_equal(&key_a, &key_b));
}

/* A text, and the one that comes back out of it. */
static void texts_are_read_and_written(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1:80", "192.0.2.1:80"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"0.0.0.0:0", "0.0.0.0"},
        {"::", "::"},
        {"::1", "::1"},
        {"[::]", "::"},
        {"[::1]:5349", "[::1]:5349"},
        {"2001:DB8::1", "2001:db8::1"},
        {"2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"}, /* RFC 5952 s.4.2.3: the first longest run */
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},                 /* s.4.2.2: not for one group */
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
        {"[::ffff:c000:201]:9", "[::ffff:192.0.2.1]:9"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    };
    char buf[ADDR_TEXT_MAX];
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct addr a = parsed(cases[i].in);
        assert_string_equal(addr_format(&a, buf), cases[i].out);
    }
    assert_string_equal(addr_format(&(struct addr){0}, buf), "-");
    assert_string_equal(addr_format_ip(&(struct addr){0}, buf), "-");
    struct addr a = parsed("[2001:db8::1]:80");
    assert_string_equal(addr_format_ip(&a, buf), "2001:db8::1");
    a = parsed("192.0.2.1:80");
    assert_string_equal(addr_format_ip(&a, buf), "192.0.2.1");
}

static void doubtful_texts_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        ":",
        "::1::",
        ":80",
        "[",
        "]",
        "[]",
        "[]:80",
        "localhost",
        "example.org:80",
        /* other notations of 127.0.0.1 and 8.0.0.1 */
        "010.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0",
        "1.2.3.4.5",
        "256.0.0.1",
        "-1.0.0.1",
        "+1.0.0.1",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1..2.3",
        /* ports */
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:080",
        "192.0.2.1:-1",
        "192.0.2.1:+1",
        "192.0.2.1: 80",
        "192.0.2.1:80 ",
        "192.0.2.1:0x50",
        "192.0.2.1:18446744073709551617",
        "[::1]:",
        "[::1]80",
        "[::1]:65536",
        "[::1]:00",
        /* IPv6 */
        "fe80::1%eth0",
        "[fe80::1%1]:80",
        "[192.0.2.1]:80",
        "[::1",
        "::1]",
        "[[::1]]",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "::g",
        ":::",
        "1::2::3",
        "::ffff:192.0.2.256",
        "::ffff:192.0.2.01",
        "192.0.2.1::",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct addr a = addr_v4(1, 2), before = a;
        if (addr_parse(bad[i], &a) != ERR_BAD)
            fail_msg("'%s' was accepted", bad[i]);
        assert_int_equal(addr_parse_with_port(bad[i], &a), ERR_BAD);
        assert_true(addr_is_equal(&a, &before));
    }
    struct addr a;
    assert_int_equal(addr_parse(NULL, &a), ERR_BAD);
}

/* Around the size of the longest IPv6 text and beyond. */
static void overlong_texts_are_refused(void **state)
{
    char text[200];
    for (size_t n = 40; n < sizeof text; n++) {
        struct addr a;
        struct prefix p;
        memset(text, '1', n);
        text[n] = 0;
        assert_int_equal(addr_parse(text, &a), ERR_BAD);
        memcpy(text + 1, "::", 2);
        assert_int_equal(addr_parse(text, &a), ERR_BAD);
        assert_int_equal(prefix_parse(text, &p), ERR_BAD);
        text[0] = '[';
        assert_int_equal(addr_parse(text, &a), ERR_BAD);
    }
}

static void a_port_can_be_demanded(void **state)
{
    struct addr a;
    assert_int_equal(addr_parse_with_port("192.0.2.1:80", &a), 0);
    assert_int_equal(addr_parse_with_port("192.0.2.1:0", &a), 0);
    assert_int_equal(addr_parse_with_port("[::1]:80", &a), 0);
    assert_int_equal(a.port, 80);
    assert_int_equal(addr_parse_with_port("192.0.2.1", &a), ERR_BAD);
    assert_int_equal(addr_parse_with_port("[::1]", &a), ERR_BAD);
    assert_int_equal(addr_parse_with_port("::1:80", &a), ERR_BAD);
}

static void hidden_ipv4_addresses_are_found(void **state)
{
    static const struct {
        const char *in, *found[ADDR_EMBEDDED_MAX + 1];
    } cases[] = {
        {"192.0.2.1", {0}},
        {"2001:db8::1", {0}},
        {"::", {0}},
        {"::1", {0}},
        {"fe80::1", {0}},
        {"fe80::5efe", {0}},
        {"::2", {"0.0.0.2"}},
        {"::127.0.0.1", {"127.0.0.1"}},
        {"::ffff:127.0.0.1", {"127.0.0.1"}},
        {"::ffff:0:0", {"0.0.0.0"}},
        {"::ffff:0:127.0.0.1", {"127.0.0.1"}},
        {"64:ff9b::10.0.0.1", {"10.0.0.1"}},
        {"64:ff9b:0:0:0:1::1", {0}},
        {"64:ff9b:1:c000:2:100::", {"192.0.2.1"}},                   /* RFC 6052 s.2.2, a prefix of 48 bits */
        {"64:ff9b:1::10.1.2.3", {"10.1.2.3"}},                       /* the same prefix, used as 96 bits */
        {"64:ff9b:1:c000:2:100:a01:203", {"192.0.2.1", "10.1.2.3"}}, /* no telling: both */
        {"2002:a01:203::1", {"10.1.2.3"}},
        {"2002:a01:203:1::5efe:192.168.0.1", {"10.1.2.3", "192.168.0.1"}},
        {"2001:0:4136:e378:8000:63bf:3fff:fdd2", {"65.54.227.120", "192.0.2.45"}}, /* the example of RFC 4380 s.4 */
        {"2001:0:102:304:0:5efe:f5ff:fffe", {"1.2.3.4", "10.0.0.1", "245.255.255.254"}},
        {"fe80::5efe:192.0.2.143", {"192.0.2.143"}},
        {"fe80::200:5efe:192.0.2.143", {"192.0.2.143"}},
        {"2001:db8::5efe:10.0.0.1", {"10.0.0.1"}},
        {"2001:db8::100:5efe:10.0.0.1", {0}},
        {"2001:1::1", {0}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct addr a = parsed(cases[i].in), found[ADDR_EMBEDDED_MAX];
        a.port = 4711;
        int n = addr_embedded(&a, found), expected = 0;
        for (; cases[i].found[expected]; expected++) {
            char buf[ADDR_TEXT_MAX];
            if (expected >= n)
                fail_msg("%s: %s was not found", cases[i].in, cases[i].found[expected]);
            assert_string_equal(addr_format_ip(&found[expected], buf), cases[i].found[expected]);
            assert_int_equal(found[expected].port, 4711);
        }
        assert_int_equal(n, expected);
    }
}

static void prefixes_are_read_and_written(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"10.0.0.0/8", "10.0.0.0/8"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"192.0.2.1", "192.0.2.1/32"},
        {"192.0.2.1/32", "192.0.2.1/32"},
        {"::/0", "::/0"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"fc00::/7", "fc00::/7"},
        {"2001:db8::1", "2001:db8::1/128"},
        {"128.0.0.0/1", "128.0.0.0/1"},
    };
    static const char *const bad[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/-1",
        "10.0.0.0/8 ",
        "10.0.0.1/8",
        "10/8",
        "10.0.0.0:1/8",
        "10.0.0.0:1",
        "::/129",
        "::1/127",
        "[::]/0",
        "[::1]",
        "any",
        "10.0.0.0//",
        "10.0.0.0/8/8",
        "fe80::%1/10",
        "10.0.0.0/255.0.0.0",
    };
    char buf[ADDR_TEXT_MAX];
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct prefix p = prefix_parsed(cases[i].in);
        assert_string_equal(prefix_format(&p, buf), cases[i].out);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct prefix p;
        if (prefix_parse(bad[i], &p) != ERR_BAD)
            fail_msg("'%s' was accepted", bad[i]);
    }
}

static void prefixes_hold_what_they_should(void **state)
{
    static const struct {
        const char *prefix, *addr;
        bool has;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255:80", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::", false},
        {"::/0", "0.0.0.0", false},
        {"::/0", "ffff::", true},
        {"172.16.0.0/12", "172.31.255.255", true},
        {"172.16.0.0/12", "172.32.0.0", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.0", false},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
        {"2001:db8::1", "2001:db8::1", true},
        {"2001:db8::1", "2001:db8::2", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", false}, /* the caller asks for addr_embedded */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct prefix p = prefix_parsed(cases[i].prefix);
        struct addr a = parsed(cases[i].addr);
        if (prefix_has(&p, &a) != cases[i].has)
            fail_msg("%s in %s", cases[i].addr, cases[i].prefix);
    }
    struct prefix nothing = {0};
    struct addr none = {0};
    assert_false(prefix_has(&nothing, &none));
}

static bool bit_of(const struct addr *a, unsigned i)
{
    return a->ip[i / 8] >> (7 - i % 8) & 1;
}

/* For random addresses and all lengths: the first bits stay, the rest is zero, and the prefix has its address. */
static void cutting_keeps_the_first_bits(void **state)
{
    for (int round = 0; round < 200; round++) {
        uint8_t ip[16];
        for (size_t i = 0; i < sizeof ip; i++)
            ip[i] = (uint8_t)die(256);
        struct addr a = round % 2 ? addr_v6(ip, 80) : addr_v4(be32_get(ip), 80);
        unsigned size = (unsigned)addr_ip_size(&a) * 8;
        for (unsigned bits = 0; bits <= size; bits++) {
            struct prefix p = prefix_of(&a, (uint8_t)bits), again;
            char buf[ADDR_TEXT_MAX];
            for (unsigned i = 0; i < 128; i++)
                assert_int_equal(bit_of(&p.net, i), i < bits && bit_of(&a, i));
            assert_int_equal(p.net.port, 0);
            assert_int_equal(p.bits, bits);
            assert_true(prefix_has(&p, &a));
            struct addr other = a;
            if (bits) {
                other.ip[(bits - 1) / 8] ^= (uint8_t)(0x80 >> (bits - 1) % 8);
                assert_false(prefix_has(&p, &other));
            }
            assert_int_equal(prefix_parse(prefix_format(&p, buf), &again), 0);
            assert_true(addr_is_equal(&p.net, &again.net) && p.bits == again.bits);
        }
        assert_int_equal(prefix_of(&a, 255).bits, size);
    }
    struct addr none = {0};
    assert_int_equal(prefix_of(&none, 24).bits, 0);
}

/* Whatever is accepted comes back from its own text. */
static void random_texts_do_no_harm(void **state)
{
    static const char letters[] = "0123456789abcdef::::....[]/%x ";
    for (int round = 0; round < 200000; round++) {
        char text[24], buf[ADDR_TEXT_MAX];
        size_t n = die(sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = letters[die(sizeof letters - 1)];
        text[n] = 0;
        struct addr a, again;
        if (addr_parse(text, &a) == 0) {
            assert_int_equal(addr_parse(addr_format(&a, buf), &again), 0);
            assert_true(addr_is_equal(&a, &again));
        }
        struct prefix p;
        prefix_parse(text, &p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_what_they_say),        cmocka_unit_test(ports_can_be_ignored),
        cmocka_unit_test(texts_are_read_and_written),      cmocka_unit_test(doubtful_texts_are_refused),
        cmocka_unit_test(overlong_texts_are_refused),      cmocka_unit_test(a_port_can_be_demanded),
        cmocka_unit_test(hidden_ipv4_addresses_are_found), cmocka_unit_test(prefixes_are_read_and_written),
        cmocka_unit_test(prefixes_hold_what_they_should),  cmocka_unit_test(cutting_keeps_the_first_bits),
        cmocka_unit_test(random_texts_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
