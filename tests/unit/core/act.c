#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/act.h"

static int set_up(void **state)
{
    *state = acts_new();
    return !*state;
}

static int tear_down(void **state)
{
    acts_free(*state);
    return 0;
}

static void acts_come_out_in_their_order_and_zeroed(void **state)
{
    struct acts *a = *state;
    static const struct act zero;
    assert_null(acts_next(a));
    acts_add(a, ACT_TO_PEER)->link = a;
    acts_add(a, ACT_DIAL);
    struct act *first = acts_next(a);
    assert_int_equal(first->kind, ACT_TO_PEER);
    assert_ptr_equal(first->link, a);
    /* Carrying one out may add another. */
    acts_add(a, ACT_CLOSE_PORT);
    struct act *second = acts_next(a);
    assert_int_equal(second->kind, ACT_DIAL);
    second->kind = zero.kind;
    assert_memory_equal(second, &zero, sizeof zero);
    assert_int_equal(acts_next(a)->kind, ACT_CLOSE_PORT);
    assert_null(acts_next(a));
    /* A list that was used is as good as new. */
    acts_clear(a);
    assert_null(acts_next(a));
    first = acts_add(a, ACT_TO_PEER);
    assert_null(first->link);
}

static void the_arena_holds_many_messages_and_no_more(void **state)
{
    struct acts *a = *state;
    struct span kept[100];
    size_t cap, n = 0;
    for (int i = 0; i < 100; i++) {
        uint8_t *room = acts_room(a, &cap);
        assert_int_equal(cap, ACTS_ARENA - n);
        memset(room, i, 100);
        kept[i] = acts_keep(a, 100);
        n += 100;
    }
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < 100; k++)
            assert_int_equal(kept[i].p[k], i);
    acts_room(a, &cap);
    acts_keep(a, cap);
    acts_room(a, &cap);
    assert_int_equal(cap, 0);
    acts_clear(a);
    acts_room(a, &cap);
    assert_int_equal(cap, ACTS_ARENA);
}

static void events_beyond_the_last_are_counted(void **state)
{
    struct acts *a = *state;
    for (int i = 0; i < ACTS_EVENTS_MAX; i++)
        assert_int_equal(acts_event(a, EV_PERMISSION_MADE, (uint64_t)i + 1)->session, i + 1);
    assert_int_equal(a->events_lost, 0);
    acts_event(a, EV_ALLOCATION_ENDED, 7);
    assert_int_equal(a->events_n, ACTS_EVENTS_MAX);
    assert_int_equal(a->events_lost, 1);
    assert_int_equal(a->events[ACTS_EVENTS_MAX - 1].kind, EV_ALLOCATION_ENDED);
    acts_clear(a);
    assert_int_equal(a->events_lost, 1); /* told by whoever empties the list */
}

static void repeating_steps_pause_for_acts_and_for_events(void **state)
{
    struct acts *a = *state;
    int n = 0;
    for (; acts_has_room(a); n++)
        acts_add(a, ACT_CLOSE_PORT);
    assert_in_range(n, 1, ACTS_MAX / 4);
    acts_clear(a);
    for (n = 0; acts_has_room(a); n++)
        acts_event(a, EV_ALLOCATION_ENDED, 1);
    assert_in_range(n, 1, ACTS_EVENTS_MAX / 4);
}

static void transports_have_names(void **state)
{
    assert_string_equal(transport_name(TRANSPORT_UDP), "udp");
    assert_string_equal(transport_name(TRANSPORT_DTLS), "dtls");
    assert_string_equal(transport_name(200), "?");
    assert_true(transport_is_stream(TRANSPORT_TCP) && transport_is_stream(TRANSPORT_TLS));
    assert_false(transport_is_stream(TRANSPORT_UDP) || transport_is_stream(TRANSPORT_DTLS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acts_come_out_in_their_order_and_zeroed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_arena_holds_many_messages_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_beyond_the_last_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeating_steps_pause_for_acts_and_for_events, set_up, tear_down),
        cmocka_unit_test(transports_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
