#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/heap.h"
#include "core/sipt.h"

static struct sip_msg m;
static struct sipt *s;
static struct span answer;
static uint64_t id;

static int open_machine(void **state)
{
    (void)state;
    s = sipt_new(4, 100);
    return s ? 0 : -1;
}

static int close_machine(void **state)
{
    (void)state;
    sipt_free(s);
    return 0;
}

/* A request: method, request URI, top Via behind its version, To, and CSeq number. */
static enum sipt_step request(const char *method, const char *via, const char *to, int cseq, bool is_reliable,
                              uint64_t now_ms)
{
    static char text[1000];
    snprintf(text, sizeof text,
             "%s sip:mras@example.com SIP/2.0\r\nVia: SIP/2.0/%s\r\nFrom: <sip:a@b>;tag=f\r\nTo: %s\r\nCall-ID: c\r\n"
             "CSeq: %d %s\r\n\r\n",
             method, via, to, cseq, method);
    const char *why;
    assert_int_equal(sip_parse(span_str(text), true, &m), 0);
    assert_int_equal(sip_check(&m, &why), 0);
    return sipt_request(s, &m, is_reliable, now_ms, &id, &answer);
}

static enum sipt_step service(const char *via, uint64_t now_ms)
{
    return request("SERVICE", via, "<sip:t>", 1, false, now_ms);
}

#define VIA "UDP a.example:5060;branch=z9hG4bK1"

/* RFC 3261 figure 8, over UDP. */
static void retransmissions_get_the_same_answer(void **state)
{
    (void)state;
    assert_int_equal(service(VIA, 1000), SIPT_NEW);
    uint64_t first = id;
    assert_true(first != 0);
    assert_int_equal(service(VIA, 1500), SIPT_WAIT);
    assert_int_equal(id, 0);
    assert_int_equal(sipt_respond(s, first, 100, span_str("trying"), 1600), 0);
    assert_int_equal(service(VIA, 2500), SIPT_REPEAT);
    assert_int_equal(answer.n, 6);
    assert_int_equal(sipt_deadline(s), HEAP_NEVER);
    assert_int_equal(sipt_respond(s, first, 200, span_str("done"), 3000), 0);
    assert_int_equal(sipt_deadline(s), 3000 + 32000);
    assert_int_equal(sipt_respond(s, first, 500, span_str("late"), 3001), ERR_NONE);
    assert_int_equal(service(VIA, 3000 + 31999), SIPT_REPEAT);
    assert_memory_equal(answer.p, "done", 4);
    sipt_tick(s, 3000 + 31999);
    assert_int_equal(sipt_count(s), 1);
    sipt_tick(s, 3000 + 32000);
    assert_int_equal(sipt_count(s), 0);
    assert_int_equal(sipt_respond(s, first, 200, span_str("x"), 40000), ERR_NONE);
    assert_int_equal(service(VIA, 3000 + 32000), SIPT_NEW);
    assert_true(id != first);
}

/* A request that comes when the timer has run out is new even if nobody has called sipt_tick. */
static void time_is_seen_at_a_request(void **state)
{
    (void)state;
    assert_int_equal(service(VIA, 0), SIPT_NEW);
    sipt_respond(s, id, 200, span_str("done"), 0);
    assert_int_equal(service(VIA, 32000), SIPT_NEW);
}

/* s.17.2.2: timer J is 0 over reliable transports. */
static void streams_keep_nothing(void **state)
{
    (void)state;
    assert_int_equal(request("SERVICE", VIA, "<sip:t>", 1, true, 0), SIPT_NEW);
    uint64_t first = id;
    assert_int_equal(request("SERVICE", VIA, "<sip:t>", 1, true, 0), SIPT_WAIT);
    assert_int_equal(sipt_respond(s, first, 100, span_str("trying"), 0), 0);
    assert_int_equal(request("SERVICE", VIA, "<sip:t>", 1, true, 0), SIPT_WAIT);
    assert_int_equal(sipt_respond(s, first, 200, span_str("done"), 0), 0);
    assert_int_equal(sipt_count(s), 0);
}

/* s.17.2.3 */
static void transactions_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(service(VIA, 0), SIPT_NEW);
    assert_int_equal(service("UDP A.Example:5060;x;branch=z9hG4bK1", 0), SIPT_WAIT); /* host names have no case */
    assert_int_equal(request("SERVICE", VIA, "<sip:t>", 9, false, 0), SIPT_WAIT);    /* the branch says it all */
    assert_int_equal(service("UDP a.example:5061;branch=z9hG4bK1", 0), SIPT_NEW);    /* another sent-by */
    assert_int_equal(service("UDP a.example:5060;branch=z9hG4bK2", 0), SIPT_NEW);    /* another branch */
    assert_int_equal(request("OPTIONS", VIA, "<sip:t>", 1, false, 0), SIPT_NEW);     /* another method */
    assert_int_equal(sipt_count(s), 4);
}

/* Senders from before RFC 3261. */
static void old_branches(void **state)
{
    (void)state;
    assert_int_equal(service("UDP a;branch=1", 0), SIPT_NEW);
    assert_int_equal(service("UDP a;branch=1", 0), SIPT_WAIT);
    assert_int_equal(request("SERVICE", "UDP a;branch=1", "<sip:t>", 2, false, 0), SIPT_NEW);
    assert_int_equal(request("SERVICE", "UDP a;branch=1", "<sip:t>;tag=x", 2, false, 0), SIPT_NEW);
    assert_int_equal(service("UDP a", 0), SIPT_NEW);
    assert_int_equal(service("UDP a", 0), SIPT_WAIT);
}

static void acknowledgements_are_nobodys(void **state)
{
    (void)state;
    assert_int_equal(request("INVITE", VIA, "<sip:t>", 1, true, 0), SIPT_NEW);
    assert_int_equal(request("ACK", VIA, "<sip:t>", 1, true, 0), SIPT_ACK);
    assert_int_equal(request("CANCEL", VIA, "<sip:t>", 1, true, 0), SIPT_NEW); /* a transaction of its own */
    assert_int_equal(sipt_count(s), 2);
}

static void what_is_held_is_bounded(void **state)
{
    (void)state;
    char via[60];
    uint64_t ids[4];
    for (int i = 0; i < 4; i++) {
        snprintf(via, sizeof via, "UDP a;branch=z9hG4bK%d", i);
        assert_int_equal(service(via, 0), SIPT_NEW);
        ids[i] = id;
    }
    assert_int_equal(service(VIA, 0), SIPT_FULL);
    sipt_end(s, ids[3]);
    sipt_end(s, ids[3]);
    assert_int_equal(service(VIA, 0), SIPT_NEW);
    ids[3] = id;

    char big[101] = {0};
    assert_int_equal(sipt_respond(s, ids[0], 100, span_of(big, 60), 0), 0);
    assert_int_equal(sipt_respond(s, ids[1], 200, span_of(big, 41), 0), ERR_FULL);
    assert_int_equal(service("UDP a;branch=z9hG4bK1", 1), SIPT_WAIT); /* no answer, but no second transaction either */
    assert_int_equal(sipt_respond(s, ids[0], 200, span_of(big, 50), 0), 0); /* takes the place of the first */
    assert_int_equal(sipt_respond(s, ids[2], 200, span_of(big, 50), 0), 0);
    sipt_tick(s, 32000);
    assert_int_equal(sipt_count(s), 1);
    assert_int_equal(sipt_respond(s, ids[3], 200, span_of(big, 100), 0), 0);
}

#define each(f) cmocka_unit_test_setup_teardown(f, open_machine, close_machine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(retransmissions_get_the_same_answer),
        each(time_is_seen_at_a_request),
        each(streams_keep_nothing),
        each(transactions_are_told_apart),
        each(old_branches),
        each(acknowledgements_are_nobodys),
        each(what_is_held_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
