#include "fixture.h"

#include <pthread.h>
#include <sched.h>

#define calloc scarce_calloc
#include "../../../src/base/ev.c"
#undef calloc

static char printout[EV_JSON_MAX];

static const char *as_json(const struct ev *e)
{
    struct text t = text_of(printout, sizeof printout);
    ev_to_json(e, &t);
    return printout;
}

static const char *as_line(const struct ev *e, bool colour)
{
    struct text t = text_of(printout, sizeof printout);
    ev_to_line(e, colour, &t);
    return printout;
}

/* 2026-01-02T03:04:05.678901Z */
static const uint64_t a_moment_us = 1767323045678901;

static struct ev allocation_refused(void)
{
    struct ev e;
    struct addr client;
    addr_parse("192.0.2.1:4000", &client);
    ev_begin(&e, EV_ALLOCATION_REFUSED, 0x1a);
    e.time_us = a_moment_us;
    ev_str(&e, EVF_USER, "alice");
    ev_addr(&e, EVF_CLIENT, &client);
    ev_u64(&e, EVF_CODE, 486);
    ev_str(&e, EVF_REASON, "ten allocations are enough");
    return e;
}

static void every_kind_and_field_is_complete(void **state)
{
    for (int k = 0; k < EV_COUNT_OF_KINDS; k++) {
        assert_true(strlen(ev_kind_name(k)) > 0 && strlen(ev_kind_name(k)) < 64);
        assert_in_range(ev_kind_level(k), EV_DEBUG, EV_ERROR);
        assert_true(__builtin_popcountll(kinds[k].fields) <= EV_FIELDS_MAX);
        for (int other = 0; other < k; other++)
            assert_string_not_equal(ev_kind_name(k), ev_kind_name(other));
    }
    for (int f = 0; f < EVF_COUNT_OF_FIELDS; f++) {
        assert_non_null(fields[f].key);
        for (int other = 0; other < f; other++)
            assert_string_not_equal(fields[f].key, fields[other].key);
        static const char *const own[] = {"time", "event", "level", "session"};
        for (size_t i = 0; i < COUNT(own); i++)
            assert_string_not_equal(fields[f].key, own[i]);
    }
    assert_string_equal(ev_kind_name(EV_ALLOCATION_MADE), "allocation made");
    assert_int_equal(ev_kind_level(EV_CONFIG_REFUSED), EV_ERROR);
}

static void values_are_found_again(void **state)
{
    struct ev e = allocation_refused();
    assert_int_equal(e.n, 4);
    assert_int_equal(ev_find(&e, EVF_CODE)->u64, 486);
    assert_int_equal(ev_find(&e, EVF_CLIENT)->addr.port, 4000);
    assert_true(span_is_equal(ev_text_of(&e, ev_find(&e, EVF_USER)), span_str("alice")));
    assert_true(span_is_equal(ev_text_of(&e, ev_find(&e, EVF_REASON)), span_str("ten allocations are enough")));
    assert_null(ev_find(&e, EVF_RULE));
}

static void empty_values_are_left_out(void **state)
{
    struct ev e;
    struct addr none = {0};
    ev_begin(&e, EV_ALLOCATION_REFUSED, 0);
    ev_str(&e, EVF_USER, "");
    ev_str(&e, EVF_USER, NULL);
    ev_text(&e, EVF_REASON, (struct span){0});
    ev_addr(&e, EVF_CLIENT, &none);
    assert_int_equal(e.n, 0);
    assert_string_equal(as_json(&e),
                        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"allocation-refused\",\"level\":\"warn\"}");
    ev_u64(&e, EVF_CODE, 0); /* but a number is a number */
    assert_int_equal(e.n, 1);
}

static void long_texts_are_cut_between_characters(void **state)
{
    struct ev e;
    char text[3 * EV_TEXT_MAX + 1] = "";
    for (int i = 0; i < EV_TEXT_MAX; i++)
        strcpy(text + 3 * i, "\u20ac");
    ev_begin(&e, EV_CONFIG_REFUSED, 0);
    ev_str(&e, EVF_FILE, text);
    ev_str(&e, EVF_REASON, text);
    ev_str(&e, EVF_REMEDY, text); /* gets what is left */
    assert_int_equal(ev_find(&e, EVF_FILE)->text.n, 198);
    assert_int_equal(ev_find(&e, EVF_REASON)->text.n, 198);
    assert_int_equal(ev_find(&e, EVF_REMEDY)->text.n, 84);
    assert_int_equal(e.texts_n, EV_TEXTS_MAX);
    for (size_t i = 0; i < e.n; i++)
        assert_true(text_is_utf8(ev_text_of(&e, &e.values[i])));
    e.time_us = 1;
    ev_begin(&e, EV_CONFIG_REFUSED, 0); /* starts afresh */
    assert_int_equal(e.time_us, 0);
    assert_int_equal(e.n, 0);
    assert_int_equal(e.texts_n, 0);
}

static void a_full_text_store_leaves_texts_out(void **state)
{
    struct ev e;
    char text[EV_TEXT_MAX + 1];
    memset(text, 'x', EV_TEXT_MAX);
    text[EV_TEXT_MAX] = 0;
    ev_begin(&e, EV_CONNECTION_ENDED, 0);
    ev_str(&e, EVF_USER, text);
    ev_str(&e, EVF_TRANSPORT, text);
    ev_str(&e, EVF_CLOSED_BY, text);
    ev_str(&e, EVF_REASON, text);
    assert_int_equal(ev_find(&e, EVF_CLOSED_BY)->text.n, 80);
    assert_null(ev_find(&e, EVF_REASON));
    ev_u64(&e, EVF_DURATION, 1);
    assert_int_equal(e.n, 4);
}

static void json_is_one_object(void **state)
{
    struct ev e = allocation_refused();
    assert_string_equal(
        as_json(&e), "{\"time\":\"2026-01-02T03:04:05.678Z\",\"event\":\"allocation-refused\",\"level\":\"warn\","
                     "\"session\":\"000000000000001a\",\"user\":\"alice\",\"client\":\"192.0.2.1:4000\",\"code\":486,"
                     "\"reason\":\"ten allocations are enough\"}");
}

static void lines_are_for_people(void **state)
{
    struct ev e = allocation_refused();
    assert_string_equal(as_line(&e, false),
                        "03:04:05.678  warn   allocation refused  user alice  client 192.0.2.1:4000  code 486"
                        "  reason ten allocations are enough");
    ev_begin(&e, EV_SERVER_READY, 0);
    assert_string_equal(as_line(&e, false), "00:00:00.000  info   ready");
    ev_u64(&e, EVF_COUNT, UINT64_MAX);
    assert_string_equal(as_line(&e, true), "\033[2m00:00:00.000\033[0m  info   ready  count 18446744073709551615");
    ev_begin(&e, EV_CLIENT_REFUSED, 0);
    assert_string_equal(as_line(&e, true), "\033[2m00:00:00.000\033[0m  \033[33mwarn\033[0m   client refused");
    ev_begin(&e, EV_CONFIG_REFUSED, 0);
    assert_string_equal(as_line(&e, true), "\033[2m00:00:00.000\033[0m  \033[31merror\033[0m  configuration refused");
}

/* A user name is a stranger's text: it must not look like a field, end the line, or move the cursor. */
static void strangers_cannot_forge_a_line(void **state)
{
    static const struct {
        const char *user, *printed;
    } cases[] = {
        {"eve  code 200", "user \"eve  code 200\""},
        {"eve ", "user \"eve \""},
        {" eve", "user \" eve\""},
        {"\"eve\"", "user \"\\x22eve\\x22\""},
        {"eve\"  \"", "user \"eve\\x22  \\x22\""},
        {"eve\n03:04:05.678  info", "user \"eve\\x0a03:04:05.678  info\""},
        {"\x1b[2Jeve", "user \\x1b[2Jeve"},
        {"CORP\\eve", "user CORP\\eve"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ev e;
        ev_begin(&e, EV_ALLOCATION_REFUSED, 0);
        ev_str(&e, EVF_USER, cases[i].user);
        assert_string_equal(strstr(as_line(&e, false), "user "), cases[i].printed);
    }
}

/* Fills a record of each kind with the longest values there are. */
static void every_record_fits_its_room(void **state)
{
    struct addr addr;
    char text[EV_TEXT_MAX + 1];
    addr_parse("[ff11:1111:1111:1111:1111:1111:1111:1111]:65535", &addr);
    for (int round = 0; round < 2; round++) {
        memset(text, round ? '\"' : 1, EV_TEXT_MAX);
        text[EV_TEXT_MAX] = 0;
        for (int kind = 0; kind < EV_COUNT_OF_KINDS; kind++) {
            struct ev e;
            ev_begin(&e, kind, UINT64_MAX);
            for (int f = 0; f < EVF_COUNT_OF_FIELDS; f++) {
                if (!(kinds[kind].fields >> f & 1))
                    continue;
                if (fields[f].type == TEXT)
                    ev_str(&e, f, text);
                else if (fields[f].type == ADDR)
                    ev_addr(&e, f, &addr);
                else
                    ev_u64(&e, f, UINT64_MAX);
            }
            static char room[EV_JSON_MAX];
            struct text t = text_of(room, EV_JSON_MAX);
            ev_to_json(&e, &t);
            assert_false(t.truncated);
            assert_int_equal(room[t.n - 1], '}');
            t = text_of(room, EV_LINE_MAX);
            ev_to_line(&e, true, &t);
            assert_false(t.truncated);
        }
    }
}

static void field_of_another_kind(void)
{
    struct ev e;
    ev_begin(&e, EV_SERVER_READY, 0);
    ev_str(&e, EVF_USER, "alice");
}

static void field_of_another_type(void)
{
    struct ev e;
    ev_begin(&e, EV_SERVER_READY, 0);
    ev_str(&e, EVF_COUNT, "three");
}

static void field_twice(void)
{
    struct ev e;
    ev_begin(&e, EV_SERVER_READY, 0);
    ev_u64(&e, EVF_COUNT, 3);
    ev_u64(&e, EVF_COUNT, 4);
}

static void kind_unknown(void)
{
    struct ev e;
    ev_begin(&e, EV_COUNT_OF_KINDS, 0);
}

static void wrong_fields_are_mistakes(void **state)
{
    assert_true(aborts(field_of_another_kind, "kinds[e->kind].fields"));
    assert_true(aborts(field_of_another_type, "type == type"));
    assert_true(aborts(field_twice, "!ev_find"));
    assert_true(aborts(kind_unknown, "EV_COUNT_OF_KINDS"));
}

/* ---- the ring ---- */

static struct ev numbered(uint64_t number)
{
    struct ev e;
    char name[32];
    snprintf(name, sizeof name, "user %llu", (unsigned long long)number);
    ev_begin(&e, EV_ALLOCATION_REFUSED, number);
    ev_str(&e, EVF_USER, name);
    ev_u64(&e, EVF_CODE, number);
    return e;
}

static void assert_numbered(const struct ev *e, uint64_t number)
{
    struct ev expected = numbered(number);
    assert_true(e->session == number);
    assert_int_equal(e->n, 2);
    assert_true(ev_find(e, EVF_CODE)->u64 == number);
    assert_true(
        span_is_equal(ev_text_of(e, ev_find(e, EVF_USER)), ev_text_of(&expected, ev_find(&expected, EVF_USER))));
}

static void a_full_ring_counts_what_it_loses(void **state)
{
    struct ev_ring r;
    struct ev e;
    assert_int_equal(ev_ring_init(&r, 4), 0);
    assert_false(ev_ring_take(&r, &e));
    atomic_store(&r.head, UINT32_MAX - 1); /* as after many records: positions wrap */
    atomic_store(&r.tail, UINT32_MAX - 1);
    for (uint64_t i = 0; i < 6; i++) {
        e = numbered(i);
        assert_int_equal(ev_ring_put(&r, &e), i < 4);
    }
    assert_int_equal(atomic_load(&r.lost), 2);
    for (uint64_t i = 0; i < 4; i++) {
        assert_true(ev_ring_take(&r, &e));
        assert_numbered(&e, i);
    }
    assert_false(ev_ring_take(&r, &e));
    e = numbered(9);
    assert_true(ev_ring_put(&r, &e));
    assert_true(ev_ring_take(&r, &e));
    assert_numbered(&e, 9);
    ev_ring_fini(&r);
    ev_ring_fini(&r);
    heap_is_exhausted = true;
    assert_int_equal(ev_ring_init(&r, 4), ERR_NOMEM);
    heap_is_exhausted = false;
}

static void a_ring_may_hold_a_single_record(void **state)
{
    struct ev_ring r;
    struct ev e = numbered(1);
    assert_int_equal(ev_ring_init(&r, 1), 0);
    assert_true(ev_ring_put(&r, &e));
    assert_false(ev_ring_put(&r, &e));
    assert_true(ev_ring_take(&r, &e));
    assert_false(ev_ring_take(&r, &e));
    ev_ring_fini(&r);
}

static void ring_of_three(void)
{
    struct ev_ring r;
    ev_ring_init(&r, 3);
}

static void a_ring_is_a_power_of_two(void **state)
{
    assert_true(aborts(ring_of_three, "capacity"));
}

enum { RECORDS = 20000 };

static void *produce(void *arg)
{
    struct ev_ring *r = arg;
    for (uint64_t i = 1; i <= RECORDS; i++) {
        struct ev e = numbered(i);
        while (!ev_ring_put(r, &e))
            sched_yield();
    }
    return NULL;
}

/* Two threads: every record arrives once, whole and in order. The race checker watches. */
static void records_cross_threads_whole_and_in_order(void **state)
{
    struct ev_ring r;
    pthread_t producer;
    assert_int_equal(ev_ring_init(&r, 8), 0);
    assert_int_equal(pthread_create(&producer, NULL, produce, &r), 0);
    for (uint64_t expected = 1; expected <= RECORDS;) {
        struct ev e;
        if (ev_ring_take(&r, &e))
            assert_numbered(&e, expected++);
        else
            sched_yield();
    }
    assert_int_equal(pthread_join(producer, NULL), 0);
    struct ev e;
    assert_false(ev_ring_take(&r, &e));
    ev_ring_fini(&r);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_and_field_is_complete),
        cmocka_unit_test(values_are_found_again),
        cmocka_unit_test(empty_values_are_left_out),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(a_full_text_store_leaves_texts_out),
        cmocka_unit_test(json_is_one_object),
        cmocka_unit_test(lines_are_for_people),
        cmocka_unit_test(strangers_cannot_forge_a_line),
        cmocka_unit_test(every_record_fits_its_room),
        cmocka_unit_test(wrong_fields_are_mistakes),
        cmocka_unit_test(a_full_ring_counts_what_it_loses),
        cmocka_unit_test(a_ring_may_hold_a_single_record),
        cmocka_unit_test(a_ring_is_a_power_of_two),
        cmocka_unit_test(records_cross_threads_whole_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
