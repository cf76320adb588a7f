#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/peer_rules.h"

static int set_up(void **state)
{
    *state = peer_rules_new();
    return !*state;
}

static int tear_down(void **state)
{
    peer_rules_free(*state);
    return 0;
}

static void add(struct peer_rules *r, const char *cidr, bool allow)
{
    struct prefix p;
    assert_int_equal(prefix_parse(cidr, &p), 0);
    assert_int_equal(peer_rules_add(r, &p, allow, cidr), 0);
}

static void add_own(struct peer_rules *r, const char *text, bool relay)
{
    struct addr a;
    assert_int_equal(addr_parse(text, &a), 0);
    assert_int_equal(peer_rules_add_own(r, &a, relay), 0);
}

static enum peer_verdict judge(const struct peer_rules *r, const char *text)
{
    const char *rule = NULL;
    struct addr a;
    assert_int_equal(addr_parse(text, &a), 0);
    enum peer_verdict v = peer_rules_judge(r, &a, &rule);
    assert_non_null(rule);
    a.port = 4711;
    assert_int_equal(peer_rules_judge(r, &a, &rule), v); /* the port is not looked at */
    return v;
}

struct row {
    const char *addr;
    enum peer_verdict verdict;
};

#define CHECK(r, rows)                                         \
    for (size_t i = 0; i < sizeof(rows) / sizeof *(rows); i++) \
        if (judge(r, (rows)[i].addr) != (rows)[i].verdict)     \
            fail_msg("%s: verdict %d", (rows)[i].addr, judge(r, (rows)[i].addr));

/* First and last address of each special range, and their neighbours where those are ordinary (S1, S3). */
static void special_ranges_to_their_edges(void **state)
{
    static const struct row rows[] = {
        {"0.0.0.0", PEER_DENIED},
        {"0.255.255.255", PEER_DENIED},
        {"1.0.0.0", PEER_ALLOWED},
        {"9.255.255.255", PEER_ALLOWED},
        {"10.0.0.0", PEER_DENIED},
        {"10.255.255.255", PEER_DENIED},
        {"11.0.0.0", PEER_ALLOWED},
        {"100.63.255.255", PEER_ALLOWED},
        {"100.64.0.0", PEER_DENIED},
        {"100.127.255.255", PEER_DENIED},
        {"100.128.0.0", PEER_ALLOWED},
        {"126.255.255.255", PEER_ALLOWED},
        {"127.0.0.0", PEER_DENIED},
        {"127.255.255.255", PEER_DENIED},
        {"128.0.0.0", PEER_ALLOWED},
        {"169.253.255.255", PEER_ALLOWED},
        {"169.254.0.0", PEER_DENIED},
        {"169.254.255.255", PEER_DENIED},
        {"169.255.0.0", PEER_ALLOWED},
        {"172.15.255.255", PEER_ALLOWED},
        {"172.16.0.0", PEER_DENIED},
        {"172.31.255.255", PEER_DENIED},
        {"172.32.0.0", PEER_ALLOWED},
        {"191.255.255.255", PEER_ALLOWED},
        {"192.0.0.0", PEER_DENIED},
        {"192.0.0.255", PEER_DENIED},
        {"192.0.1.0", PEER_ALLOWED},
        {"192.0.2.0", PEER_DENIED},
        {"192.0.2.255", PEER_DENIED},
        {"192.0.3.0", PEER_ALLOWED},
        {"192.88.98.255", PEER_ALLOWED},
        {"192.88.99.0", PEER_DENIED},
        {"192.88.100.0", PEER_ALLOWED},
        {"192.167.255.255", PEER_ALLOWED},
        {"192.168.0.0", PEER_DENIED},
        {"192.168.255.255", PEER_DENIED},
        {"192.169.0.0", PEER_ALLOWED},
        {"198.17.255.255", PEER_ALLOWED},
        {"198.18.0.0", PEER_DENIED},
        {"198.19.255.255", PEER_DENIED},
        {"198.20.0.0", PEER_ALLOWED},
        {"198.51.99.255", PEER_ALLOWED},
        {"198.51.100.0", PEER_DENIED},
        {"198.51.101.0", PEER_ALLOWED},
        {"203.0.112.255", PEER_ALLOWED},
        {"203.0.113.0", PEER_DENIED},
        {"203.0.114.0", PEER_ALLOWED},
        {"223.255.255.255", PEER_ALLOWED},
        {"224.0.0.0", PEER_DENIED},
        {"239.255.255.255", PEER_DENIED},
        {"240.0.0.0", PEER_DENIED},
        {"255.255.255.255", PEER_DENIED},
        {"::", PEER_DENIED},
        {"::1", PEER_DENIED},
        {"::2", PEER_DENIED},
        {"::1:0:0:0", PEER_ALLOWED},
        {"100::", PEER_DENIED},
        {"100::ffff:ffff:ffff:ffff", PEER_DENIED},
        {"100:0:0:1::", PEER_ALLOWED},
        {"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", PEER_DENIED},
        {"2001:200::", PEER_ALLOWED},
        {"2001:db7:ffff::", PEER_ALLOWED},
        {"2001:db8::", PEER_DENIED},
        {"2001:db9::", PEER_ALLOWED},
        {"2001:ffff:ffff::", PEER_ALLOWED},
        {"2003::", PEER_ALLOWED},
        {"3ffe:ffff::", PEER_ALLOWED},
        {"3fff::", PEER_DENIED},
        {"3fff:fff:ffff::", PEER_DENIED},
        {"3fff:1000::", PEER_ALLOWED},
        {"5eff:ffff::", PEER_ALLOWED},
        {"5f00::", PEER_DENIED},
        {"5f01::", PEER_ALLOWED},
        {"fbff:ffff::", PEER_ALLOWED},
        {"fc00::", PEER_DENIED},
        {"fdff:ffff::", PEER_DENIED},
        {"fe00::", PEER_ALLOWED},
        {"fe7f:ffff::", PEER_ALLOWED},
        {"fe80::", PEER_DENIED},
        {"febf:ffff::", PEER_DENIED},
        {"fec0::", PEER_DENIED},
        {"feff:ffff::", PEER_DENIED},
        {"ff00::", PEER_DENIED},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PEER_DENIED},
    };
    CHECK(*state, rows)
}

/* S2: every notation of a forbidden IPv4 address is forbidden; of an allowed one, those that reach it. */
static void ipv4_in_every_notation(void **state)
{
    static const char *const notations[] = {
        "::ffff:%s",          "::%s",          "::ffff:0:%s",           "64:ff9b::%s",
        "2606:4700::5efe:%s", "64:ff9b:1::%s", "2606:4700::200:5efe:%s"};
    static const char *const forbidden[] = {"127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.7.7", "224.0.0.251"};
    for (size_t i = 0; i < sizeof notations / sizeof *notations; i++)
        for (size_t k = 0; k < sizeof forbidden / sizeof *forbidden; k++) {
            char buf[80];
            struct text t = text_of(buf, sizeof buf);
            const char *at = strstr(notations[i], "%s");
            text_add_span(&t, span_of(notations[i], (size_t)(at - notations[i])));
            text_add(&t, forbidden[k]);
            if (judge(*state, buf) != PEER_DENIED)
                fail_msg("%s is allowed", buf);
        }
    static const struct row rows[] = {
        {"2002:7f00:1::", PEER_DENIED},
        {"2002:c629:9::", PEER_DENIED},
        {"2001:0:7f00:1:0:0:39d6:fff6", PEER_DENIED},
        {"64:ff9b:1:7f00:0:100::", PEER_DENIED},
        {"64:ff9b::198.41.0.9", PEER_ALLOWED},
        {"2606:4700::5efe:198.41.0.9", PEER_ALLOWED},
        {"::ffff:198.41.0.9", PEER_DENIED},
        {"::198.41.0.9", PEER_DENIED},
    };
    CHECK(*state, rows)
}

static void the_most_specific_rule_wins(void **state)
{
    static const struct row rows[] = {
        {"10.2.0.1", PEER_DENIED},     {"10.1.0.1", PEER_ALLOWED},    {"10.1.1.1", PEER_DENIED},
        {"10.1.1.7", PEER_ALLOWED},    {"198.41.0.9", PEER_DENIED},   {"198.41.0.10", PEER_ALLOWED},
        {"198.42.0.1", PEER_ALLOWED},  {"2606:4700::1", PEER_DENIED}, {"2606:4700:1::1", PEER_ALLOWED},
        {"192.168.0.1", PEER_ALLOWED}, /* as specific as the built-in one: the operator's counts */
        {"172.16.0.1", PEER_DENIED},   /* wider than the built-in one */
        {"127.0.0.1", PEER_DENIED},
    };
    struct peer_rules *r = *state;
    add(r, "10.1.1.7", true);
    add(r, "10.1.0.0/16", true);
    add(r, "10.1.1.0/24", false);
    add(r, "0.0.0.0/0", true);
    add(r, "198.41.0.8/31", false);
    add(r, "2606:4700::/32", false);
    add(r, "2606:4700:1::/48", true);
    add(r, "192.168.0.0/16", true);
    add(r, "172.0.0.0/8", true);
    CHECK(r, rows)
}

/* In whatever order they are written: deny beats allow among equals. */
static void equals_are_decided_by_deny(void **state)
{
    struct peer_rules *r = *state;
    add(r, "198.41.0.0/24", true);
    add(r, "198.41.0.0/24", false);
    add(r, "198.41.1.0/24", false);
    add(r, "198.41.1.0/24", true);
    assert_int_equal(judge(r, "198.41.0.1"), PEER_DENIED);
    assert_int_equal(judge(r, "198.41.1.1"), PEER_DENIED);
}

/* S5: an edge that is no multiple of four bits. */
static void edges_within_a_digit(void **state)
{
    static const struct row rows[] = {
        {"2606:4700:0:0:ffff:ffff:ffff:ffff", PEER_ALLOWED},
        {"2606:4700:0:2::", PEER_DENIED},
        {"2606:4700:0:3:ffff:ffff:ffff:ffff", PEER_DENIED},
        {"2606:4700:0:4::", PEER_ALLOWED},
        {"198.41.0.127", PEER_ALLOWED},
        {"198.41.0.128", PEER_DENIED},
        {"198.41.0.159", PEER_DENIED},
        {"198.41.0.160", PEER_ALLOWED},
    };
    struct peer_rules *r = *state;
    add(r, "2606:4700:0:2::/63", false);
    add(r, "198.41.0.128/27", false);
    CHECK(r, rows)
}

static void own_addresses(void **state)
{
    static const struct row plain[] = {
        {"198.41.0.1", PEER_RELAY_ONLY},   {"198.41.0.2", PEER_DENIED},          {"198.41.0.3", PEER_ALLOWED},
        {"10.0.0.1", PEER_RELAY_NAMED},    {"64:ff9b::198.41.0.1", PEER_DENIED}, {"::ffff:198.41.0.1", PEER_DENIED},
        {"2606:4700::1", PEER_RELAY_ONLY},
    };
    static const struct row all_allowed[] = {
        {"198.41.0.1", PEER_RELAY_ONLY}, {"198.41.0.2", PEER_DENIED}, {"10.0.0.1", PEER_RELAY_NAMED}};
    static const struct row named[] = {
        {"198.41.0.1", PEER_ALLOWED}, {"198.41.0.2", PEER_ALLOWED}, {"10.0.0.1", PEER_DENIED}};
    struct peer_rules *r = *state;
    add_own(r, "198.41.0.1", false); /* known twice: once as a relay is enough */
    add_own(r, "198.41.0.1", true);
    add_own(r, "198.41.0.2", false);
    add_own(r, "10.0.0.1:80", true);
    add_own(r, "2606:4700::1", true);
    CHECK(r, plain)
    add(r, "0.0.0.0/0", true);
    CHECK(r, all_allowed)
    add(r, "198.41.0.0/24", true);
    add(r, "10.0.0.0/24", false);
    CHECK(r, named)
}

static void the_deciding_rule_is_named(void **state)
{
    struct peer_rules *r = *state;
    struct prefix p;
    struct addr a;
    const char *rule;
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(prefix_parse("198.41.0.0/24", &p), 0);
    assert_int_equal(peer_rules_add(r, &p, false, "causeway.conf:7: deny-peer 198.41.0.0/24"), 0);
    assert_int_equal(addr_parse("198.41.0.9", &a), 0);
    assert_int_equal(peer_rules_judge(r, &a, &rule), PEER_DENIED);
    assert_string_equal(rule, "causeway.conf:7: deny-peer 198.41.0.0/24");
    assert_int_equal(addr_parse("::ffff:127.0.0.1", &a), 0);
    assert_int_equal(peer_rules_judge(r, &a, &rule), PEER_DENIED);
    assert_string_equal(rule, "default: 127.0.0.0/8 is loopback");
    assert_int_equal(addr_parse("198.41.1.9", &a), 0);
    assert_int_equal(peer_rules_judge(r, &a, &rule), PEER_ALLOWED);
    assert_string_equal(rule, "no rule: public address");
    assert_int_equal(prefix_parse("198.41.1.9", &p), 0);
    assert_int_equal(peer_rules_add(r, &p, false, longest), 0);
    assert_int_equal(peer_rules_judge(r, &a, &rule), PEER_DENIED);
    assert_int_equal(strlen(rule), RULE_TEXT_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(special_ranges_to_their_edges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ipv4_in_every_notation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_most_specific_rule_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equals_are_decided_by_deny, set_up, tear_down),
        cmocka_unit_test_setup_teardown(edges_within_a_digit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(own_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_deciding_rule_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
