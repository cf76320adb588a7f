/* How a pumped pair ends: in good order, by failure, by its owner. What was sent before the end arrives. */
#include "pump_rig.h"

/* ---- in good order ---- */

/* One side sends until every buffer on the way is full and closes; the other one may read it only afterwards. */
static void the_tail_of_a_burst_arrives_after_its_sender_has_closed(void **state)
{
    for (int round = 0; round < 6; round++) {
        struct pair p;
        int sender = round % 2;
        pair_open(&p);
        struct client *from = &p.client[sender], *to = &p.client[!sender];
        from->plan = (size_t)1 << 40;
        to->is_reading = round / 2 != 1;
        drive_until(&p, 1, from->sent > 2 * MB);
        to->is_reading = round / 2 == 0;
        client_send(from);
        from->plan = from->sent;
        client_close(from);
        drive(&p, 20);
        to->is_reading = true;
        drive_until(&p, 1, to->has_eof);
        to->shuts = true;
        drive_until(&p, 1, p.ended);
        assert_int_equal(to->got, from->plan);
        assert_false(to->is_broken);
        assert_int_equal(p.end.bytes[sender], from->plan);
        assert_int_equal(p.end.first, sender);
        pair_close(&p);
    }
}

static void both_sides_send_and_close_at_once(void **state)
{
    enum { PAIRS = 40 };
    struct pair p[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        pair_open(&p[i]);
        p[i].client[X].plan = 700000 + (size_t)i;
        p[i].client[Y].plan = 900000 - (size_t)i;
        p[i].client[X].shuts = p[i].client[Y].shuts = true;
    }
    for (int i = 0; i < 100; i++)
        drive(&p[i % PAIRS], 1);
    for (int i = 0; i < PAIRS; i++)
        pair_finish(&p[i]);
}

static void a_half_close_passes_and_a_long_answer_follows(void **state)
{
    for (int asker = 0; asker < 2; asker++) {
        struct pair p;
        pair_open(&p);
        struct client *ask = &p.client[asker], *answer = &p.client[!asker];
        ask->plan = 500;
        ask->shuts = true;
        drive_until(&p, 1, answer->has_eof);
        assert_int_equal(answer->got, 500);
        assert_false(ask->has_eof);
        answer->plan = 9 * MB;
        drive_until(&p, 1, ask->got == 9 * MB);
        drive(&p, 5);
        assert_int_equal(p.ended, 0);
        answer->plan += 3;
        pair_finish(&p);
        assert_int_equal(p.end.first, asker);
    }
}

/* Streams of many lengths towards a small send buffer that nobody empties: some fill it to the brim. */
static void the_close_notify_waits_for_room(void **state)
{
    for (size_t n = 1000; n < 120000; n += 700) {
        struct pair p;
        open_with_tls(&p, false, true);
        setsockopt(p.conn[PUMP_B].src.fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
        pair_start(&p, &free_ops);
        p.client[Y].plan = 1;
        drive_until(&p, 1, p.client[X].got == 1); /* hands are shaken */
        p.client[Y].is_reading = false;
        p.client[X].plan = n;
        p.client[X].shuts = true;
        drive(&p, 3);
        p.client[Y].is_reading = true;
        drive_until(&p, 1, p.client[Y].has_eof);
        pair_finish(&p);
    }
}

/* ---- by failure ---- */

/* Everything that the reset side had sent is delivered before the other side sees a reset, too. */
static void what_came_before_a_reset_is_delivered_then_the_reset(void **state)
{
    static const size_t sizes[] = {0, 1, 60000, 3 * MB};
    for (int round = 0; round < 16; round++) {
        struct pair p;
        int side = round % 2;
        pair_open(&p);
        struct client *from = &p.client[side], *to = &p.client[!side];
        from->plan = sizes[round / 4];
        to->is_reading = round / 2 % 2;
        drive_until(&p, 1, from->sent == from->plan && client_unacked(from) == 0);
        client_reset(from);
        drive(&p, 20);
        to->is_reading = true;
        drive_until(&p, 1, p.ended && to->has_reset);
        assert_int_equal(to->got, from->plan);
        assert_false(to->is_broken);
        assert_false(to->has_eof);
        assert_int_equal(p.ended, 1);
        assert_int_equal(p.end.why, CONN_END_RESET);
        assert_int_equal(p.end.first, side);
        pair_close(&p);
    }
}

/* The tail and the reset are both there before the pump looks. */
static void a_reset_does_not_hide_the_bytes_before_it(void **state)
{
    struct pair p;
    pair_open(&p);
    loop_turn(&loop, 0);
    p.client[X].plan = 20000;
    client_send(&p.client[X]);
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while (client_unacked(&p.client[X]))
        assert_true(loop_clock_ms() < give_up);
    client_reset(&p.client[X]);
    drive_until(&p, 1, p.ended && p.client[Y].has_reset);
    assert_int_equal(p.client[Y].got, 20000);
    assert_false(p.client[Y].is_broken);
    pair_close(&p);
}

/* The write that finds the reset must not keep the pump from reading what came before it. */
static void a_failed_write_does_not_hide_the_bytes_before_it(void **state)
{
    struct pair p;
    pair_open(&p);
    loop_turn(&loop, 0);
    for (int i = 0; i < 2; i++) {
        p.client[i].plan = 30000;
        client_send(&p.client[i]);
    }
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while (client_unacked(&p.client[Y]))
        assert_true(loop_clock_ms() < give_up);
    client_reset(&p.client[Y]); /* A is served first: what X sent is written to the dead side */
    drive_until(&p, 1, p.ended && p.client[X].has_reset);
    assert_int_equal(p.client[X].got, 30000);
    assert_false(p.client[X].is_broken);
    assert_int_equal(p.end.first, PUMP_B);
    pair_close(&p);
}

/* It closes while data for it are on their way: nobody can take them, so their sender learns it. */
static void a_side_that_has_closed_ends_the_writer_to_it(void **state)
{
    struct pair p;
    pair_open(&p);
    p.client[X].plan = (size_t)1 << 40;
    drive_until(&p, 1, p.client[Y].got > 2 * MB);
    client_close(&p.client[Y]);
    drive_until(&p, 1, p.ended && p.client[X].has_reset);
    assert_int_equal(p.end.first, PUMP_B);
    assert_int_equal(p.end.why, CONN_END_RESET);
    pair_close(&p);
}

static void a_reset_while_the_other_side_does_not_read_is_given_up(void **state)
{
    struct pair p;
    pair_open(&p);
    p.client[X].plan = 64 * MB;
    p.client[Y].is_reading = false;
    drive(&p, 200);
    client_reset(&p.client[X]);
    while (!p.ended)
        fire_next_timer();
    assert_int_equal(p.end.why, CONN_END_RESET);
    pair_close(&p);
}

static void a_reset_waits_for_the_grant_of_what_came_before(void **state)
{
    struct pair p;
    pair_connect(&p);
    p.has_limit = true;
    pair_start(&p, &limited_ops);
    p.client[X].plan = 50000;
    drive_until(&p, 1, p.client[X].sent == 50000 && client_unacked(&p.client[X]) == 0);
    client_reset(&p.client[X]);
    for (int i = 0; i < 50; i++)
        fire_next_timer();
    assert_int_equal(p.ended, 0);
    while (!p.ended) {
        p.allowance[PUMP_A] += 5000;
        drive(&p, 1);
    }
    drive_until(&p, 1, p.client[Y].has_reset);
    assert_int_equal(p.client[Y].got, 50000);
    pair_close(&p);
}

/* What the dead side would have got is held for an hour: nobody waits for that. */
static void a_reset_does_not_wait_for_a_grant_to_the_dead_side(void **state)
{
    struct pair p;
    pair_connect(&p);
    p.has_limit = true;
    p.retry_ms = 3600 * 1000;
    p.allowance[PUMP_A] = 10;
    pair_start(&p, &limited_ops);
    p.client[Y].plan = 1000;
    drive(&p, 10);
    p.client[X].plan = 10;
    drive_until(&p, 1, p.client[Y].got == 10);
    client_reset(&p.client[X]);
    drive_until(&p, 1, p.ended && p.client[Y].has_reset);
    assert_int_equal(p.end.bytes[PUMP_B], 0);
    pair_close(&p);
}

static void a_dial_that_is_refused_ends_the_pair(void **state)
{
    struct pair p;
    struct addr at = loopback(0);
    int closed = sock_listen(&at, false, 1);
    at = sock_local(closed);
    close(closed);
    pair_connect(&p);
    conn_abort(&p.conn[PUMP_B]);
    int dialled = sock_dial(NULL, &at, false);
    if (dialled >= 0) {
        conn_init(&p.conn[PUMP_B], dialled, &rig_conn_ops, 4096, 4096);
        p.client[X].plan = 10;
        pair_start(&p, &free_ops);
        drive_until(&p, 1, p.ended && p.client[X].has_reset);
        assert_int_equal(p.end.first, PUMP_B);
        assert_int_equal(p.end.why, CONN_END_RESET);
    }
    pair_close(&p);
}

static void a_broken_record_ends_the_pair_behind_what_was_whole(void **state)
{
    for (int limited = 0; limited < 2; limited++) {
        struct pair p;
        open_with_tls(&p, true, false);
        pair_start(&p, limited ? &limited_ops : &free_ops);
        p.client[X].plan = 100000;
        drive_until(&p, 1, is_quiet(&p));
        assert_int_equal(send(p.client[X].fd, "\x17\x03\x03\x00\x20 no ciphertext of this session  ", 37, 0), 37);
        drive_until(&p, 1, p.ended && p.client[Y].has_reset);
        assert_int_equal(p.client[Y].got, 100000);
        assert_int_equal(p.end.why, CONN_END_TLS);
        assert_int_equal(p.end.first, PUMP_A);
        pair_close(&p);
    }
}

/* ---- by the owner ---- */

static void assert_stopped(struct pair *p)
{
    assert_int_equal(p->ended, 1);
    assert_true(p->end.by_owner);
    for (int i = 0; i < 2; i++)
        p->client[i].is_reading = true;
    drive_until(p, 1, p->client[X].fd < 0 || p->client[X].has_eof || p->client[X].has_reset);
    drive_until(p, 1, p->client[Y].fd < 0 || p->client[Y].has_eof || p->client[Y].has_reset);
    assert_false(p->client[X].is_broken || p->client[Y].is_broken);
    assert_int_equal(p->ended, 1);
    pair_close(p);
}

static void stopped_at_once_and_when_idle(void **state)
{
    for (int turns = 0; turns < 3; turns++) {
        struct pair p;
        pair_open(&p);
        drive(&p, turns);
        p.stop_in_end = true;
        pump_stop(p.pump);
        assert_stopped(&p);
        assert_true(p.client[X].has_eof && p.client[Y].has_eof);
    }
}

static void stopped_in_the_middle(void **state)
{
    for (int turns = 1; turns < 40; turns += 3) {
        struct pair p;
        pair_open(&p);
        p.client[X].plan = p.client[Y].plan = 40 * MB;
        p.client[X].is_reading = turns % 2;
        p.client[Y].is_reading = turns % 4 < 2;
        drive(&p, turns);
        pump_stop(p.pump);
        p.client[X].plan = p.client[X].sent;
        p.client[Y].plan = p.client[Y].sent;
        assert_stopped(&p);
    }
}

static void stopped_after_a_half_close_and_while_lingering(void **state)
{
    struct pair p;
    pair_open(&p);
    p.client[X].shuts = true;
    drive_until(&p, 1, p.client[Y].has_eof);
    pump_stop(p.pump);
    assert_stopped(&p);
    pair_open(&p);
    p.client[X].plan = 30 * MB;
    p.client[Y].is_reading = false;
    drive(&p, 100);
    client_reset(&p.client[X]);
    drive(&p, 30);
    assert_int_equal(p.ended, 0);
    pump_stop(p.pump);
    assert_stopped(&p);
}

static void stopped_inside_of_grant(void **state)
{
    struct pair p;
    pair_connect(&p);
    pair_start(&p, &limited_ops);
    p.stop_in_grant = true;
    p.client[X].plan = 10;
    drive_until(&p, 1, p.ended);
    assert_stopped(&p);
}

static void stopped_while_held_and_during_a_tls_handshake(void **state)
{
    struct pair p;
    pair_connect(&p);
    p.has_limit = true;
    pair_start(&p, &limited_ops);
    p.client[X].plan = 1000;
    drive(&p, 10);
    pump_stop(p.pump);
    assert_stopped(&p);
    for (int turns = 0; turns < 4; turns++) {
        open_with_tls(&p, true, true);
        pair_start(&p, &free_ops);
        p.client[X].plan = p.client[Y].plan = 10000;
        drive(&p, turns);
        pump_stop(p.pump);
        assert_stopped(&p);
    }
}

#define plain(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
#define without_pipes(test)                                                   \
    {                                                                         \
        "no pipes: " #test, test, rig_setup_without_pipes, rig_teardown, NULL \
    }
#define tls(test) cmocka_unit_test_setup_teardown(test, rig_setup_tls, rig_teardown_tls)

int main(void)
{
    const struct CMUnitTest tests[] = {
        plain(the_tail_of_a_burst_arrives_after_its_sender_has_closed),
        without_pipes(the_tail_of_a_burst_arrives_after_its_sender_has_closed),
        plain(both_sides_send_and_close_at_once),
        plain(a_half_close_passes_and_a_long_answer_follows),
        tls(the_close_notify_waits_for_room),
        plain(what_came_before_a_reset_is_delivered_then_the_reset),
        without_pipes(what_came_before_a_reset_is_delivered_then_the_reset),
        plain(a_reset_does_not_hide_the_bytes_before_it),
        plain(a_failed_write_does_not_hide_the_bytes_before_it),
        plain(a_side_that_has_closed_ends_the_writer_to_it),
        plain(a_reset_while_the_other_side_does_not_read_is_given_up),
        plain(a_reset_waits_for_the_grant_of_what_came_before),
        plain(a_reset_does_not_wait_for_a_grant_to_the_dead_side),
        plain(a_dial_that_is_refused_ends_the_pair),
        tls(a_broken_record_ends_the_pair_behind_what_was_whole),
        plain(stopped_at_once_and_when_idle),
        plain(stopped_in_the_middle),
        plain(stopped_after_a_half_close_and_while_lingering),
        plain(stopped_inside_of_grant),
        tls(stopped_while_held_and_during_a_tls_handshake),
    };
    return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
