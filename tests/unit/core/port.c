#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/port.h"

enum { NOW = 5000, OWNER = 77, WORKER = 9 };

static struct rig {
    struct port_table table;
    struct port_ranges *ranges;
    struct acts *acts;
    struct port *port;
} r;

static struct port *port_make(uint8_t relay)
{
    struct addr ip = addr_v4(0xc01fc401, 0);
    struct port *p = port_new(&r.table, &r, relay);
    assert_non_null(p);
    p->range = port_ranges_of(r.ranges, &ip, relay);
    p->local = ip;
    p->local.port = port_range_take(p->range, false, false);
    return p;
}

static int set_up(void **state)
{
    memset(&r, 0, sizeof r);
    r.ranges = port_ranges_new(50000, 50999);
    r.acts = acts_new();
    if (!r.ranges || !r.acts || port_table_init(&r.table, WORKER))
        return -1;
    r.port = port_make(TRANSPORT_UDP);
    return 0;
}

static int tear_down(void **state)
{
    port_table_fini(&r.table);
    port_ranges_free(r.ranges);
    acts_free(r.acts);
    return 0;
}

static struct addr peer(uint8_t last, uint16_t port)
{
    return addr_v4(0xc6290000u + last, port);
}

static void permit(struct port *p, struct addr a, uint64_t now)
{
    assert_int_equal(port_permit(&r.table, p, &a, false, now + PERMISSION_MS), 0);
}

static bool may(struct port *p, struct addr a, uint64_t now)
{
    return port_permission(&r.table, p, &a, now) != NULL;
}

static int bind_channel(struct port *p, uint16_t number, struct addr a, uint64_t now)
{
    return channel_bind(&r.table, p, OWNER, number, &a, now);
}

static struct channel *by_peer(struct port *p, struct addr a, uint64_t now)
{
    return channel_by_peer(&r.table, p, &a, now);
}

/* Takes what is due off the heap, as the machine does. */
static void tick(uint64_t now)
{
    while (heap_deadline(&r.table.deadlines) <= now) {
        struct deadline *d = container_of(heap_first(&r.table.deadlines), struct deadline, node);
        if (d->kind == DEADLINE_PERMISSION)
            permission_expire(&r.table, container_of(d, struct permission, deadline));
        else if (d->kind == DEADLINE_CHANNEL)
            channel_free(&r.table, container_of(d, struct channel, deadline));
        else
            fail();
    }
}

static void nothing_is_left(void)
{
    assert_int_equal(r.table.permissions.count, 0);
    assert_int_equal(r.table.channels.count, 0);
    assert_int_equal(r.table.channel_peers.count, 0);
    assert_int_equal(r.table.peers.count, 0);
    assert_int_equal(r.table.peer_addrs.count, 0);
    assert_int_equal(r.table.ports.count, 0);
    assert_int_equal(r.table.deadlines.count, 0);
}

static void a_permission_is_an_address_of_a_port(void **state)
{
    struct port *other = port_make(TRANSPORT_UDP);
    permit(r.port, peer(9, 1), NOW);
    assert_true(may(r.port, peer(9, 1), NOW));
    assert_true(may(r.port, peer(9, 2), NOW));
    assert_true(may(r.port, peer(9, 2), NOW + PERMISSION_MS - 1));
    assert_false(may(r.port, peer(9, 2), NOW + PERMISSION_MS));
    assert_false(may(r.port, peer(8, 1), NOW));
    assert_false(may(other, peer(9, 1), NOW));
    permit(r.port, peer(9, 3), NOW + 1000);
    assert_int_equal(r.port->permissions_n, 1);
    assert_true(may(r.port, peer(9, 1), NOW + PERMISSION_MS));
    tick(NOW + PERMISSION_MS + 999);
    assert_int_equal(r.port->permissions_n, 1);
    tick(NOW + PERMISSION_MS + 1000);
    assert_int_equal(r.port->permissions_n, 0);
    port_free(&r.table, other, r.acts);
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

static void a_channel_is_found_from_both_sides(void **state)
{
    permit(r.port, peer(9, 1), NOW);
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 1), NOW), 0);
    struct channel *c = channel_by_number(&r.table, OWNER, 0x4000, NOW);
    assert_non_null(c);
    assert_ptr_equal(by_peer(r.port, peer(9, 1), NOW), c);
    assert_null(by_peer(r.port, peer(9, 2), NOW));
    assert_null(channel_by_number(&r.table, OWNER + 1, 0x4000, NOW));
    assert_null(channel_by_number(&r.table, OWNER, 0x4001, NOW));
    /* The same again is a refresh; anything else that touches it is refused. */
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 1), NOW + 1), 0);
    assert_int_equal(bind_channel(r.port, 0x4001, peer(9, 1), NOW), ERR_BAD);
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 2), NOW), ERR_BAD);
    assert_int_equal(r.port->channels_n, 1);
    assert_non_null(channel_by_number(&r.table, OWNER, 0x4000, NOW + CHANNEL_MS));
    assert_null(channel_by_number(&r.table, OWNER, 0x4000, NOW + 1 + CHANNEL_MS));
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

/* Expired but not swept yet: neither number nor peer is in the way of a new binding. */
static void an_expired_channel_is_replaced(void **state)
{
    const uint64_t later = NOW + CHANNEL_MS;
    permit(r.port, peer(9, 1), NOW);
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 1), NOW), 0);
    assert_int_equal(bind_channel(r.port, 0x4001, peer(9, 2), NOW), 0);
    permit(r.port, peer(9, 1), later);
    /* Its number with the other's peer: both old ones go. */
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 2), later), 0);
    assert_int_equal(r.port->channels_n, 1);
    assert_ptr_equal(by_peer(r.port, peer(9, 2), later), channel_by_number(&r.table, OWNER, 0x4000, later));
    assert_null(by_peer(r.port, peer(9, 1), later));
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

/* RFC 8656 s.12: a channel outlives its permission and works again when that is refreshed. */
static void a_permission_lapses_under_a_channel(void **state)
{
    permit(r.port, peer(9, 1), NOW);
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 1), NOW), 0);
    assert_int_equal(bind_channel(r.port, 0x4001, peer(9, 2), NOW), 0);
    struct channel *c = channel_by_number(&r.table, OWNER, 0x4000, NOW);
    tick(NOW + PERMISSION_MS);
    assert_false(may(r.port, peer(9, 1), NOW + PERMISSION_MS));
    assert_int_equal(r.port->permissions_n, 1);
    assert_int_equal(c->permission->channels_n, 2);
    permit(r.port, peer(9, 3), NOW + PERMISSION_MS);
    assert_ptr_equal(port_permission(&r.table, r.port, &c->peer.addr, NOW + PERMISSION_MS), c->permission);
    tick(NOW + CHANNEL_MS);
    assert_int_equal(r.port->channels_n, 0);
    tick(NOW + 3 * CHANNEL_MS);
    assert_int_equal(r.port->permissions_n, 0);
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

/* A lapsed one is looked at every 300 s, and goes when no channel rests on it any more. */
static void a_lapsed_permission_goes_after_its_channels(void **state)
{
    permit(r.port, peer(9, 1), NOW);
    assert_int_equal(bind_channel(r.port, 0x4000, peer(9, 1), NOW + 1000), 0);
    tick(NOW + CHANNEL_MS);
    assert_int_equal(r.port->channels_n, 1);
    tick(NOW + 3 * PERMISSION_MS - 1);
    assert_int_equal(r.port->channels_n, 0);
    assert_int_equal(r.port->permissions_n, 1);
    tick(NOW + 3 * PERMISSION_MS);
    assert_int_equal(r.port->permissions_n, 0);
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

/* Taking a permission away takes its channels along, and nobody else's. */
static void a_revoked_permission_takes_its_channels_along(void **state)
{
    permit(r.port, peer(9, 1), NOW);
    permit(r.port, peer(8, 1), NOW);
    for (uint16_t i = 0; i < 20; i++)
        assert_int_equal(bind_channel(r.port, 0x4000 + i, peer(i % 2 ? 9 : 8, 1 + i), NOW), 0);
    struct addr a = peer(9, 0);
    permission_free(&r.table, permission_find(&r.table, r.port, &a));
    assert_int_equal(r.port->channels_n, 10);
    for (uint16_t i = 0; i < 20; i++)
        assert_int_equal(channel_by_number(&r.table, OWNER, 0x4000 + i, NOW) != NULL, i % 2 == 0);
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

static void a_port_goes_with_all_it_has(void **state)
{
    struct act *act;
    struct addr local = r.port->local;
    int link;
    port_open(r.port, &link);
    assert_true(port_ranges_has(r.ranges, &local, TRANSPORT_UDP));
    for (uint8_t i = 1; i < 100; i++) {
        permit(r.port, peer(i, 0), NOW + i);
        assert_int_equal(bind_channel(r.port, 0x4000 + i, peer(i, i), NOW + i), 0);
    }
    uint64_t handle = port_handle(&r.table, r.port);
    assert_ptr_equal(port_get(&r.table, handle), r.port);
    port_free(&r.table, r.port, r.acts);
    assert_null(port_get(&r.table, handle));
    act = acts_next(r.acts);
    assert_int_equal(act->kind, ACT_CLOSE_PORT);
    assert_ptr_equal(act->link, &link);
    assert_null(acts_next(r.acts));
    assert_false(port_ranges_has(r.ranges, &local, TRANSPORT_UDP));
    struct port_range *range = port_ranges_of(r.ranges, &local, TRANSPORT_UDP);
    assert_int_equal(port_range_count(range), 0);
    nothing_is_left();
}

/* ---- peer connections ---- */

static void connection_ids_are_unique_and_name_their_worker(void **state)
{
    struct port *p = port_make(TRANSPORT_TCP);
    uint32_t last = 0, near = 0;
    for (uint16_t i = 1; i <= 2000; i++) {
        struct addr a = peer((uint8_t)(i / 256), i);
        struct peer *x = peer_new(&r.table, p, &a, i % 2 ? PEER_WAITING : PEER_DIALING, NULL, NOW);
        assert_non_null(x);
        assert_int_equal(peer_worker(x->id), WORKER);
        assert_ptr_equal(peer_by_id(&r.table, x->id), x);
        assert_ptr_equal(peer_by_addr(&r.table, p, &a), x);
        assert_ptr_equal(peer_get(&r.table, peer_handle(&r.table, x)), x);
        assert_int_equal(x->is_dialed, i % 2 == 0);
        near += x->id - last < 1000; /* they do not count up */
        last = x->id;
    }
    assert_int_equal(p->peers_n, 2000);
    assert_true(near < 10);
    while (!list_is_empty(&p->peers))
        peer_free(&r.table, container_of(p->peers.next, struct peer, link_in_port));
    assert_null(peer_by_id(&r.table, last));
    port_free(&r.table, p, r.acts);
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

static void a_bound_peer_has_no_deadline(void **state)
{
    struct port *p = port_make(TRANSPORT_TCP);
    struct addr a = peer(9, 1);
    struct peer *x = peer_new(&r.table, p, &a, PEER_DIALING, NULL, NOW);
    assert_int_equal(heap_deadline(&r.table.deadlines), NOW + PEER_DIAL_MS);
    peer_set_state(&r.table, x, PEER_WAITING, NOW + 100);
    assert_int_equal(heap_deadline(&r.table.deadlines), NOW + 100 + PEER_UNBOUND_MS);
    peer_set_state(&r.table, x, PEER_BOUND, NOW + 200);
    assert_int_equal(r.table.deadlines.count, 0);
    assert_int_equal(x->bound_ms, NOW + 200);
    uint64_t handle = peer_handle(&r.table, x);
    peer_free(&r.table, x);
    assert_null(peer_get(&r.table, handle));
    port_free(&r.table, p, r.acts);
    port_free(&r.table, r.port, r.acts);
    nothing_is_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_permission_is_an_address_of_a_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_channel_is_found_from_both_sides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_expired_channel_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_permission_lapses_under_a_channel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lapsed_permission_goes_after_its_channels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_revoked_permission_takes_its_channels_along, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_port_goes_with_all_it_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connection_ids_are_unique_and_name_their_worker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bound_peer_has_no_deadline, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
