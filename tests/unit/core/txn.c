#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/txn.h"

static const uint8_t tid[STUN_TID] = {0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* RFC 8489 s.6.2.1: with the defaults requests leave after 0, 500, 1500, 3500, 7500, 15500 and 31500 ms, and the
 * transaction ends after 39500 ms. */
static void udp_schedule(void **state)
{
    (void)state;
    static const uint64_t resend_ms[] = {500, 1500, 3500, 7500, 15500, 31500};
    const uint64_t start_ms = 1000000;
    struct txn t;
    txn_start(&t, tid, TXN_RTO_MS, start_ms);
    for (size_t i = 0; i < sizeof resend_ms / sizeof resend_ms[0]; i++) {
        assert_int_equal(t.deadline_ms, start_ms + resend_ms[i]);
        assert_int_equal(txn_tick(&t, t.deadline_ms - 1), TXN_WAIT);
        assert_int_equal(txn_tick(&t, t.deadline_ms), TXN_RESEND);
        assert_int_equal(t.sends, i + 2);
    }
    assert_int_equal(t.deadline_ms, start_ms + 39500);
    assert_int_equal(txn_tick(&t, start_ms + 39499), TXN_WAIT);
    assert_int_equal(txn_tick(&t, start_ms + 39500), TXN_TIMEOUT);
}

static void stream_sends_once(void **state)
{
    (void)state;
    struct txn t;
    txn_start(&t, tid, 0, 5);
    assert_int_equal(t.deadline_ms, 5 + 39500);
    assert_int_equal(txn_tick(&t, 39504), TXN_WAIT);
    assert_int_equal(txn_tick(&t, 39505), TXN_TIMEOUT);
    assert_int_equal(t.sends, 1);
}

/* A late owner resends once, not for each interval that it slept through. */
static void late_tick(void **state)
{
    (void)state;
    struct txn t;
    txn_start(&t, tid, 100, 0);
    assert_int_equal(txn_tick(&t, 5000), TXN_RESEND);
    assert_int_equal(txn_tick(&t, 5000), TXN_WAIT);
    assert_int_equal(t.deadline_ms, 5200);
}

static void round_trip(void **state)
{
    (void)state;
    struct txn t;
    txn_start(&t, tid, 500, 100);
    assert_int_equal(txn_rtt_ms(&t, 142), 42);
    txn_tick(&t, 600);
    assert_int_equal(txn_rtt_ms(&t, 642), -1);
}

static struct stun_msg message(uint8_t *buf, size_t cap, enum stun_class cls, const uint8_t id[STUN_TID])
{
    struct stun_wr w;
    struct stun_msg m;
    stun_begin(&w, &STUN_RFC, buf, cap, STUN_BINDING, cls, id);
    assert_int_equal(stun_parse(&STUN_RFC, stun_end(&w), &m), 0);
    return m;
}

static void answers_by_transaction_id(void **state)
{
    (void)state;
    uint8_t buf[64], other[STUN_TID];
    struct txn t;
    struct stun_msg m;
    txn_start(&t, tid, 500, 0);
    memcpy(other, tid, sizeof other);
    other[15] ^= 1;
    m = message(buf, sizeof buf, STUN_SUCCESS, tid);
    assert_true(txn_is_mine(&t, &m));
    m = message(buf, sizeof buf, STUN_ERROR, tid);
    assert_true(txn_is_mine(&t, &m));
    m = message(buf, sizeof buf, STUN_SUCCESS, other);
    assert_false(txn_is_mine(&t, &m));
    m = message(buf, sizeof buf, STUN_REQUEST, tid);
    assert_false(txn_is_mine(&t, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(udp_schedule), cmocka_unit_test(stream_sends_once),         cmocka_unit_test(late_tick),
        cmocka_unit_test(round_trip),   cmocka_unit_test(answers_by_transaction_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
