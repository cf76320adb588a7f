#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/limit.h"

static struct addr source(uint8_t a, uint8_t b)
{
    return (struct addr){{198, 41, a, b}, 1000, ADDR_V4, 0};
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

static struct payer hold(struct limiter *l, const char *user, struct addr from)
{
    struct payer p;
    assert_int_equal(payer_hold(&p, l, span_str(user), &from), 0);
    return p;
}

/* ---- counts ---- */

static void the_limit_that_refuses_is_named(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.allocations = 3, .user_allocations = 1, .source_allocations = 2});
    struct payer alice = hold(l, "alice", source(0, 1)), bob = hold(l, "bob", source(0, 1)),
                 carol = hold(l, "carol", source(0, 1)), dave = hold(l, "dave", source(0, 2)),
                 erin = hold(l, "erin", source(0, 3));
    assert_null(payer_take(&alice, LIMIT_ALLOCATIONS));
    assert_string_equal(payer_take(&alice, LIMIT_ALLOCATIONS), "max-allocations-per-user");
    assert_null(payer_take(&bob, LIMIT_ALLOCATIONS));
    assert_string_equal(payer_take(&carol, LIMIT_ALLOCATIONS), "max-allocations-per-source");
    assert_null(payer_take(&dave, LIMIT_ALLOCATIONS));
    assert_string_equal(payer_take(&erin, LIMIT_ALLOCATIONS), "max-allocations");
    assert_int_equal(limiter_count(l, LIMIT_ALLOCATIONS), 3); /* a refusal takes nothing anywhere */
    payer_give(&dave, LIMIT_ALLOCATIONS);
    assert_null(payer_take(&erin, LIMIT_ALLOCATIONS));
    assert_string_equal(payer_take(&carol, LIMIT_ALLOCATIONS), "max-allocations-per-source");
    limiter_set(l, &(struct limits){0});
    assert_null(payer_take(&carol, LIMIT_ALLOCATIONS));
    struct payer *all[] = {&alice, &bob, &carol, &erin, &dave};
    for (int i = 0; i < 5; i++) {
        if (i < 4)
            payer_give(all[i], LIMIT_ALLOCATIONS);
        payer_release(all[i]);
    }
    assert_int_equal(limiter_count(l, LIMIT_ALLOCATIONS), 0);
    assert_int_equal(limiter_accounts(l), 0);
    limiter_free(l);
}

static void connections_are_counted_by_source_and_in_total(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.connections = 2, .source_connections = 1, .user_allocations = 1});
    struct payer a = hold(l, NULL, source(0, 1)), b = hold(l, NULL, source(0, 2)), c = hold(l, NULL, source(0, 3));
    assert_null(payer_take(&a, LIMIT_CONNECTIONS));
    assert_string_equal(payer_take(&a, LIMIT_CONNECTIONS), "max-connections-per-source");
    assert_null(payer_take(&b, LIMIT_CONNECTIONS));
    assert_string_equal(payer_take(&c, LIMIT_CONNECTIONS), "max-connections");
    payer_give(&a, LIMIT_CONNECTIONS);
    payer_give(&b, LIMIT_CONNECTIONS);
    payer_release(&a);
    payer_release(&b);
    payer_release(&c);
    limiter_free(l);
}

static void a_source_is_an_address_or_a_64(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.source_allocations = 1});
    struct addr v6 = {{0x26, 6, 0x47, 0, 0, 0, 0, 1, 9}, 1, ADDR_V6, 0}, same = v6, other = v6;
    same.ip[15] = 77;
    same.port = 2;
    other.ip[7] = 2;
    struct payer a = hold(l, NULL, v6), b = hold(l, NULL, same), c = hold(l, NULL, other),
                 d = hold(l, NULL, source(0, 1)), e = hold(l, NULL, source(0, 2));
    assert_int_equal(limiter_accounts(l), 4);
    assert_null(payer_take(&a, LIMIT_ALLOCATIONS));
    assert_non_null(payer_take(&b, LIMIT_ALLOCATIONS));
    assert_null(payer_take(&c, LIMIT_ALLOCATIONS));
    assert_null(payer_take(&d, LIMIT_ALLOCATIONS));
    assert_null(payer_take(&e, LIMIT_ALLOCATIONS));
    payer_give(&a, LIMIT_ALLOCATIONS);
    assert_null(payer_take(&b, LIMIT_ALLOCATIONS));
    struct payer *taken[] = {&b, &c, &d, &e};
    for (int i = 0; i < 4; i++)
        payer_give(taken[i], LIMIT_ALLOCATIONS);
    struct payer *all[] = {&a, &b, &c, &d, &e};
    for (int i = 0; i < 5; i++)
        payer_release(all[i]);
    limiter_free(l);
}

static void names_of_any_shape_are_kept(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){0});
    char longest[508];
    memset(longest, 'x', sizeof longest);
    struct addr from = source(0, 1);
    struct payer p, q;
    assert_int_equal(payer_hold(&p, l, span_of(longest, sizeof longest), &from), 0);
    assert_int_equal(payer_hold(&q, l, span_of("a\0b", 3), &from), 0);
    assert_true(span_is_equal(payer_user(&p), span_of(longest, sizeof longest)));
    assert_true(span_is_equal(payer_user(&q), span_of("a\0b", 3)));
    payer_release(&p);
    payer_release(&p); /* harmless twice */
    assert_int_equal(payer_user(&p).n, 0);
    payer_release(&q);
    limiter_free(l);
}

/* S42: random holds, takes, gives and releases of many payers; the books are those of a plain list, and end at zero. */
static void random_sequences_end_at_zero(void **state)
{
    enum { PAYERS = 40, USERS = 5, SOURCES = 4, PER_USER = 6, PER_SOURCE = 8, ALL = 20 };
    struct limiter *l = limiter_new(
        &(struct limits){.allocations = ALL, .user_allocations = PER_USER, .source_allocations = PER_SOURCE});
    static const char *const names[USERS] = {"a", "b", "c", "d", "e"};
    struct payer payers[PAYERS];
    struct {
        bool held;
        unsigned user, source, taken;
    } model[PAYERS] = {0};
    for (int i = 0; i < 20000; i++) {
        unsigned k = die(PAYERS), by_user = 0, by_source = 0, all = 0;
        for (unsigned j = 0; j < PAYERS; j++) {
            by_user += model[j].user == model[k].user ? model[j].taken : 0;
            by_source += model[j].source == model[k].source ? model[j].taken : 0;
            all += model[j].taken;
        }
        assert_int_equal(limiter_count(l, LIMIT_ALLOCATIONS), all);
        if (!model[k].held) {
            model[k].user = die(USERS);
            model[k].source = die(SOURCES);
            payers[k] = hold(l, names[model[k].user], source(0, (uint8_t)model[k].source));
            model[k].held = true;
        } else if (die(3)) {
            const char *refused = payer_take(&payers[k], LIMIT_ALLOCATIONS);
            assert_int_equal(refused == NULL, by_user < PER_USER && by_source < PER_SOURCE && all < ALL);
            model[k].taken += !refused;
        } else if (model[k].taken) {
            payer_give(&payers[k], LIMIT_ALLOCATIONS);
            model[k].taken--;
        } else {
            payer_release(&payers[k]);
            model[k].held = false;
        }
    }
    for (unsigned k = 0; k < PAYERS; k++) {
        for (; model[k].taken; model[k].taken--)
            payer_give(&payers[k], LIMIT_ALLOCATIONS);
        if (model[k].held)
            payer_release(&payers[k]);
    }
    assert_int_equal(limiter_count(l, LIMIT_ALLOCATIONS), 0);
    assert_int_equal(limiter_accounts(l), 0);
    limiter_free(l);
}

static void *worker(void *arg)
{
    struct limiter *l = arg;
    for (int i = 0; i < 5000; i++) {
        uint64_t retry;
        struct payer p = hold(l, "alice", source(0, 1));
        if (!payer_take(&p, LIMIT_ALLOCATIONS))
            payer_give(&p, LIMIT_ALLOCATIONS);
        payer_bytes(&p, 10, (uint64_t)i, &retry);
        payer_release(&p);
    }
    return NULL;
}

static void workers_share_it(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.user_allocations = 2, .user_bytes_per_s = 1000});
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, l), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(limiter_count(l, LIMIT_ALLOCATIONS), 0);
    assert_int_equal(limiter_accounts(l), 0);
    limiter_free(l);
}

/* ---- rates ---- */

/* Never more than rate * time + burst, and nearly that much when asked all the time; whatever the rate, the steps of
 * time and the sizes asked for. */
static void bytes_never_exceed_rate_and_burst(void **state)
{
    static const uint64_t rates[] = {5, 100, 1000, 65536, 1000003, 125000000, 3000000000, UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct limiter *l = limiter_new(&(struct limits){.user_bytes_per_s = rates[i]});
        struct payer p = hold(l, "alice", source(0, 1));
        uint64_t start = 1000000 + die(1000), now = start, granted = 0;
        for (int k = 0; k < 5000; k++) {
            uint64_t retry = 0;
            size_t want = 1 + die(1 << die(21)), got = payer_bytes(&p, want, now, &retry);
            assert_true(got <= want);
            assert_true(got || retry > 0);
            granted += got;
            assert_true((double)granted <= (double)rates[i] * (double)(now - start + 250) / 1000.0 + 1);
            now += die(4) ? 0 : die(100);
        }
        payer_release(&p);
        limiter_free(l);
    }
}

static void a_stream_gets_its_rate(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.user_bytes_per_s = 100000});
    struct payer p = hold(l, "alice", source(0, 1));
    uint64_t granted = 0, now = 5000, retry;
    for (; now < 15000; now += retry) {
        retry = 1;
        granted += payer_bytes(&p, 65536, now, &retry);
    }
    assert_in_range(granted, 999000, 1025000);
    payer_release(&p);
    limiter_free(l);
}

/* A datagram goes whole or not at all; what it took too much is paid back before the next. */
static void datagrams_exceed_by_one_at_most(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.user_bytes_per_s = 10000});
    struct payer p = hold(l, "alice", source(0, 1));
    uint64_t start = 777, granted = 0;
    for (uint64_t now = start; now < start + 60000; now += die(3)) {
        size_t size = 1 + die(1500);
        if (payer_datagram(&p, size, now))
            granted += size;
        assert_true(granted <= (now - start + 250) * 10 + 1500);
    }
    assert_true(granted > 590000);
    payer_release(&p);
    limiter_free(l);
}

static void without_a_limit_everything_passes(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){0});
    struct payer p = hold(l, "alice", source(0, 1));
    uint64_t retry;
    assert_int_equal(payer_bytes(&p, SIZE_MAX, 1, &retry), SIZE_MAX);
    assert_true(payer_datagram(&p, 1 << 30, 1));
    assert_null(payer_connect(&p, 1));
    assert_null(payer_take(&p, LIMIT_CONNECTIONS));
    payer_give(&p, LIMIT_CONNECTIONS);
    struct addr from = source(0, 1);
    assert_true(limiter_may_answer(l, &from, 1 << 20, 1));
    payer_release(&p);
    limiter_free(l);
}

/* User, source and total: the smallest one decides, and nobody is charged for what another refused. */
static void all_buckets_must_agree(void **state)
{
    struct limiter *l =
        limiter_new(&(struct limits){.user_bytes_per_s = 4000, .source_bytes_per_s = 8000, .total_bytes_per_s = 12000});
    struct payer alice = hold(l, "alice", source(0, 1)), bob = hold(l, "bob", source(0, 1)),
                 carol = hold(l, "carol", source(0, 2)), dave = hold(l, "dave", source(0, 3));
    uint64_t retry;
    assert_int_equal(payer_bytes(&alice, 5000, 1000, &retry), 1000);
    assert_int_equal(payer_bytes(&bob, 400, 1000, &retry), 400);
    assert_int_equal(payer_bytes(&bob, 5000, 1000, &retry), 600);
    assert_int_equal(payer_bytes(&bob, 1, 1000, &retry), 0);
    assert_in_range(payer_bytes(&carol, 5000, 1000, &retry), 999, 1000);
    assert_int_equal(payer_bytes(&dave, 1, 1000, &retry), 0); /* all are at their end */
    assert_in_range(payer_bytes(&dave, 5000, 1250, &retry), 999, 1000);
    struct payer *payers[] = {&alice, &bob, &carol, &dave};
    for (int i = 0; i < 4; i++)
        payer_release(payers[i]);
    limiter_free(l);
}

static void connects_have_a_rate(void **state)
{
    static const struct {
        uint64_t per_minute, at_once;
    } rows[] = {{1, 1}, {2, 1}, {6, 3}, {60, 30}, {1000000, 500000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct limiter *l = limiter_new(&(struct limits){.user_connects_per_minute = rows[i].per_minute});
        struct payer p = hold(l, "alice", source(0, 1)), nobody = hold(l, NULL, source(0, 1));
        uint64_t granted = 0;
        while (!payer_connect(&p, 60000))
            granted++;
        assert_int_equal(granted, rows[i].at_once);
        uint64_t step = rows[i].per_minute > 1000 ? 30000 : 100, now = 60000;
        for (; now < 660000; now += step)
            while (!payer_connect(&p, now))
                granted++;
        assert_in_range(granted, rows[i].per_minute * 95 / 10, rows[i].per_minute * 10 + rows[i].at_once);
        assert_string_equal(payer_connect(&p, now - step), "max-connects-per-minute");
        assert_null(payer_connect(&nobody, now - step));
        payer_release(&p);
        payer_release(&nobody);
        limiter_free(l);
    }
}

/* ---- strangers ---- */

/* S27, S28: a flood from one network gets its budget and no more; nearly all other networks are served meanwhile. */
static void a_flood_has_a_budget_and_others_are_served(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.answers_per_s = 10});
    uint64_t start = 1000, answered = 0, served = 0;
    for (uint64_t now = start; now < start + 60000; now += 1)
        for (int k = 0; k < 10; k++) {
            struct addr from = source(7, (uint8_t)die(256));
            answered += limiter_may_answer(l, &from, 60, now);
        }
    assert_in_range(answered, 10 * 60, 10 * 60 + 100); /* ten seconds' worth at once */
    for (int i = 0; i < 250; i++) {
        struct addr from = source((uint8_t)(i < 7 ? i : i + 1), 1);
        served += limiter_may_answer(l, &from, 100, start + 60000);
    }
    assert_true(served >= 240); /* prefixes share a slot by chance only: 1 of 8192 */
    limiter_free(l);
}

static void long_answers_cost_more(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.answers_per_s = 10});
    struct addr from = source(7, 1);
    int n = 0;
    while (limiter_may_answer(l, &from, 1000, 1000))
        n++;
    assert_int_equal(n, 10);
    limiter_free(l);
}

static void ipv6_strangers_are_counted_by_48(void **state)
{
    struct limiter *l = limiter_new(&(struct limits){.answers_per_s = 1});
    struct addr from = {{0x26, 6, 0x47, 0, 0, 1}, 1, ADDR_V6, 0};
    int n = 0;
    for (int i = 0; i < 100; i++) {
        from.ip[6] = (uint8_t)i;
        n += limiter_may_answer(l, &from, 60, 1000);
    }
    assert_int_equal(n, 10);
    limiter_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_that_refuses_is_named),
        cmocka_unit_test(connections_are_counted_by_source_and_in_total),
        cmocka_unit_test(a_source_is_an_address_or_a_64),
        cmocka_unit_test(names_of_any_shape_are_kept),
        cmocka_unit_test(random_sequences_end_at_zero),
        cmocka_unit_test(workers_share_it),
        cmocka_unit_test(bytes_never_exceed_rate_and_burst),
        cmocka_unit_test(a_stream_gets_its_rate),
        cmocka_unit_test(datagrams_exceed_by_one_at_most),
        cmocka_unit_test(without_a_limit_everything_passes),
        cmocka_unit_test(all_buckets_must_agree),
        cmocka_unit_test(connects_have_a_rate),
        cmocka_unit_test(a_flood_has_a_budget_and_others_are_served),
        cmocka_unit_test(long_answers_cost_more),
        cmocka_unit_test(ipv6_strangers_are_counted_by_48),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
