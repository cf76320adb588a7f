#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/port_range.h"

enum { MIN = 50001, MAX = 50064 };

static const struct addr ip = {{192, 31, 196, 1}, 0, ADDR_V4, 0}, other_ip = {{192, 31, 196, 2}, 0, ADDR_V4, 0};

struct rig {
    struct port_ranges *all;
    struct port_range *udp;
};

static int set_up(void **state)
{
    static struct rig rig;
    rig.all = port_ranges_new(MIN, MAX);
    rig.udp = port_ranges_of(rig.all, &ip, TRANSPORT_UDP);
    *state = &rig;
    return !rig.all || !rig.udp;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    port_ranges_free(r->all);
    return 0;
}

static struct addr at(const struct addr *a, uint16_t port)
{
    struct addr x = *a;
    x.port = port;
    return x;
}

/* The same throws in every run. */
static uint32_t die(uint32_t below)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void one_range_for_each_address_and_protocol(void **state)
{
    struct rig *r = *state;
    struct addr with_port = at(&ip, 80);
    assert_ptr_equal(port_ranges_of(r->all, &with_port, TRANSPORT_UDP), r->udp);
    assert_ptr_not_equal(port_ranges_of(r->all, &ip, TRANSPORT_TCP), r->udp);
    assert_ptr_not_equal(port_ranges_of(r->all, &other_ip, TRANSPORT_UDP), r->udp);
    assert_memory_equal(port_range_ip(r->udp), &ip, sizeof ip);
    assert_int_equal(port_range_relay(r->udp), TRANSPORT_UDP);
}

static void more_addresses_than_a_machine_has_are_refused(void **state)
{
    struct rig *r = *state;
    int made = 1;
    for (uint8_t i = 1; i < 255; i++) {
        struct addr a = {{10, 0, 0, i}, 0, ADDR_V4, 0};
        made += port_ranges_of(r->all, &a, TRANSPORT_UDP) != NULL;
        made += port_ranges_of(r->all, &a, TRANSPORT_TCP) != NULL;
    }
    assert_int_equal(made, 256);
    assert_ptr_equal(port_ranges_of(r->all, &ip, TRANSPORT_UDP), r->udp);
}

static void every_port_is_given_once(void **state)
{
    struct rig *r = *state;
    bool seen[MAX + 1] = {0};
    for (int i = MIN; i <= MAX; i++) {
        uint16_t port = port_range_take(r->udp, false, false);
        assert_in_range(port, MIN, MAX);
        assert_false(seen[port]);
        seen[port] = true;
    }
    assert_int_equal(port_range_take(r->udp, false, false), 0);
    assert_int_equal(port_range_count(r->udp), MAX - MIN + 1);
    port_range_give(r->udp, MIN + 5);
    assert_int_equal(port_range_take(r->udp, false, false), MIN + 5);
}

static void the_order_is_random(void **state)
{
    struct rig *r = *state;
    unsigned neighbours = 0, last = 0;
    for (int i = 0; i < 1000; i++) {
        unsigned port = port_range_take(r->udp, false, false);
        neighbours += port == last || port == last + 1;
        last = port;
        port_range_give(r->udp, (uint16_t)port);
    }
    assert_in_range(neighbours, 1, 200); /* about 31 of 1000 by chance */
}

static void live_means_taken_and_with_a_socket(void **state)
{
    struct rig *r = *state;
    uint16_t port = port_range_take(r->udp, false, false);
    struct addr a = at(&ip, port), foreign = at(&other_ip, port), beside = at(&ip, port == MAX ? MIN : port + 1);
    assert_false(port_ranges_has(r->all, &a, TRANSPORT_UDP));
    port_range_set_live(r->udp, port, true);
    assert_true(port_ranges_has(r->all, &a, TRANSPORT_UDP));
    assert_false(port_ranges_has(r->all, &a, TRANSPORT_TCP));
    assert_false(port_ranges_has(r->all, &foreign, TRANSPORT_UDP));
    assert_false(port_ranges_has(r->all, &beside, TRANSPORT_UDP));
    port_range_set_live(r->udp, port, false);
    assert_false(port_ranges_has(r->all, &a, TRANSPORT_UDP));
    for (unsigned p = 0; p < 65536; p = p < MIN - 2 ? MIN - 2 : p > MAX + 1 ? 65536 : p + 1) {
        struct addr outside = at(&ip, (uint16_t)p);
        assert_false(port_ranges_has(r->all, &outside, TRANSPORT_UDP));
    }
    port_range_give(r->udp, port);
}

/* S43: whatever is taken and given, in whatever order, the books agree with a plain list. */
static void pairs_and_singles_leave_the_pool_intact(void **state)
{
    struct rig *r = *state;
    bool taken[MAX + 2] = {0};
    unsigned count = 0;
    for (int i = 0; i < 10000; i++) {
        if (die(3)) {
            bool pair = die(2), even = die(2);
            uint16_t port = port_range_take(r->udp, even, pair);
            if (!port)
                continue;
            assert_in_range(port, MIN, MAX);
            assert_false(taken[port]);
            assert_true(port % 2 == 0 || !(even || pair));
            taken[port] = true;
            count++;
            if (pair) {
                assert_in_range(port + 1, MIN, MAX);
                assert_false(taken[port + 1]);
                taken[port + 1] = true;
                count++;
            }
        } else {
            unsigned port = MIN + die(MAX - MIN + 1);
            if (!taken[port])
                continue;
            port_range_give(r->udp, (uint16_t)port);
            taken[port] = false;
            count--;
        }
        assert_int_equal(port_range_count(r->udp), count);
    }
    for (unsigned port = MIN; port <= MAX; port++)
        if (taken[port])
            port_range_give(r->udp, (uint16_t)port);
    assert_int_equal(port_range_count(r->udp), 0);
}

/* A pair is found whenever there is one: 10 k times with all other ports taken, wherever the free pair is. */
static void the_last_free_pair_is_found(void **state)
{
    struct rig *r = *state;
    while (port_range_take(r->udp, false, false))
        ;
    for (int i = 0; i < 10000; i++) {
        uint16_t even = (uint16_t)((MIN + die(MAX - MIN)) & ~1u);
        if (even < MIN)
            continue;
        port_range_give(r->udp, even);
        assert_int_equal(port_range_take(r->udp, false, true), 0);
        port_range_give(r->udp, even + 1);
        assert_int_equal(port_range_take(r->udp, die(2), true), even);
    }
    assert_int_equal(port_range_count(r->udp), MAX - MIN + 1);
}

static void the_widest_and_the_narrowest_range(void **state)
{
    struct port_ranges *wide = port_ranges_new(1, 65535), *narrow = port_ranges_new(50001, 50001);
    struct port_range *w = port_ranges_of(wide, &ip, TRANSPORT_UDP), *n = port_ranges_of(narrow, &ip, TRANSPORT_UDP);
    for (int i = 0; i < 65535; i++)
        assert_true(port_range_take(w, false, false) > 0);
    assert_int_equal(port_range_take(w, false, false), 0);
    port_range_give(w, 65535);
    assert_int_equal(port_range_take(w, false, false), 65535);
    assert_int_equal(port_range_take(n, true, false), 0);
    assert_int_equal(port_range_take(n, false, true), 0);
    assert_int_equal(port_range_take(n, false, false), 50001);
    port_ranges_free(wide);
    port_ranges_free(narrow);
}

/* ---- reservations ---- */

static void a_reservation_is_redeemed_once_and_in_time(void **state)
{
    struct rig *r = *state;
    struct port_range *range;
    uint16_t port = port_range_take(r->udp, false, true), got;
    uint64_t token = port_ranges_reserve(r->all, r->udp, port + 1, 1000), late;
    assert_true(token != 0);
    assert_int_equal(port_ranges_redeem(r->all, token ^ 1, 1000, &range, &got), ERR_NONE);
    assert_int_equal(port_ranges_redeem(r->all, 0, 1000, &range, &got), ERR_NONE);
    assert_int_equal(port_ranges_redeem(r->all, token, 1000 + RESERVATION_MS - 1, &range, &got), 0);
    assert_ptr_equal(range, r->udp);
    assert_int_equal(got, port + 1);
    assert_int_equal(port_ranges_redeem(r->all, token, 1000, &range, &got), ERR_NONE);
    assert_int_equal(port_range_count(r->udp), 2); /* the redeemed port is the caller's now */
    late = port_ranges_reserve(r->all, r->udp, port + 1, 1000);
    assert_int_equal(port_ranges_redeem(r->all, late, 1000 + RESERVATION_MS, &range, &got), ERR_NONE);
    assert_int_equal(port_range_count(r->udp), 1);
}

static void expired_reservations_give_their_ports_back(void **state)
{
    struct rig *r = *state;
    uint16_t first = port_range_take(r->udp, false, false), second = port_range_take(r->udp, false, false);
    assert_true(port_ranges_reserve(r->all, r->udp, first, 1000) != 0);
    assert_true(port_ranges_reserve(r->all, r->udp, second, 2000) != 0);
    port_ranges_expire(r->all, 1000 + RESERVATION_MS - 1);
    assert_int_equal(port_range_count(r->udp), 2);
    port_ranges_expire(r->all, 1000 + RESERVATION_MS);
    assert_int_equal(port_range_count(r->udp), 1);
    port_ranges_expire(r->all, UINT64_MAX);
    assert_int_equal(port_range_count(r->udp), 0);
}

static void too_many_reservations_are_refused_until_some_expire(void **state)
{
    struct rig *r = *state;
    struct port_ranges *wide = port_ranges_new(1024, 65535);
    struct port_range *range = port_ranges_of(wide, &ip, TRANSPORT_UDP);
    uint64_t last = 0;
    int made = 0;
    for (uint16_t port; (port = port_range_take(range, false, false)); made++) {
        uint64_t token = port_ranges_reserve(wide, range, port, 1000);
        if (!token) {
            port_range_give(range, port);
            break;
        }
        assert_true(token != last);
        last = token;
    }
    assert_in_range(made, 1000, 10000);
    uint16_t port = port_range_take(range, false, false);
    assert_true(port_ranges_reserve(wide, range, port, 1000 + RESERVATION_MS) != 0);
    assert_int_equal(port_range_count(range), 1);
    port_ranges_free(wide);
    assert_int_equal(port_range_count(r->udp), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_range_for_each_address_and_protocol, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_addresses_than_a_machine_has_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_port_is_given_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_order_is_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(live_means_taken_and_with_a_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pairs_and_singles_leave_the_pool_intact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_free_pair_is_found, set_up, tear_down),
        cmocka_unit_test(the_widest_and_the_narrowest_range),
        cmocka_unit_test_setup_teardown(a_reservation_is_redeemed_once_and_in_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_reservations_give_their_ports_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_reservations_are_refused_until_some_expire, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
