#include "help.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "base/err.h"

static struct loop loop;

static int setup(void **state)
{
    return loop_init(&loop);
}

static int teardown(void **state)
{
    loop_fini(&loop);
    return 0;
}

struct box {
    struct source src;
    struct box *victim; /* taken from the loop when this one is ready */
    int calls;
};

static void box_ready(struct source *s, uint32_t events)
{
    struct box *b = container_of(s, struct box, src);
    b->calls++;
    if (b->victim)
        loop_del(&loop, &b->victim->src);
}

static void box_open(struct box *b)
{
    *b = (struct box){.src = {.fd = eventfd(1, EFD_NONBLOCK), .ready = box_ready}};
    assert_int_equal(loop_add(&loop, &b->src, EPOLLIN), 0);
}

static void level_triggered_until_taken_out(void **state)
{
    struct box b;
    box_open(&b);
    for (int i = 1; i <= 3; i++) {
        loop_turn(&loop, PATIENCE_MS);
        assert_int_equal(b.calls, i);
    }
    assert_int_equal(loop_mod(&loop, &b.src, 0), 0);
    loop_turn(&loop, 0);
    assert_int_equal(b.calls, 3);
    loop_del(&loop, &b.src);
    close(b.src.fd);
}

/* Two are ready in one turn and each takes the other out: only one may be called, whichever comes first. */
static void no_event_after_del_in_the_same_turn(void **state)
{
    struct box a, b;
    box_open(&a);
    box_open(&b);
    a.victim = &b;
    b.victim = &a;
    loop_turn(&loop, PATIENCE_MS);
    assert_int_equal(a.calls + b.calls, 1);
    loop_turn(&loop, 0);
    assert_int_equal(a.calls + b.calls, 2);
    loop_del(&loop, a.calls ? &a.src : &b.src);
    close(a.src.fd);
    close(b.src.fd);
}

/* The descriptor's number is used again at once, by a source that is not ready: the old one's event must not reach it.
 */
static void del_then_close_then_same_number(void **state)
{
    struct box a, b;
    box_open(&a);
    loop_del(&loop, &a.src);
    int old = a.src.fd;
    close(a.src.fd);
    b = (struct box){.src = {.fd = eventfd(0, EFD_NONBLOCK), .ready = box_ready}};
    assert_int_equal(b.src.fd, old);
    assert_int_equal(loop_add(&loop, &b.src, EPOLLIN), 0);
    loop_turn(&loop, 0);
    assert_int_equal(a.calls + b.calls, 0);
    loop_del(&loop, &b.src);
    close(b.src.fd);
}

static void add_of_a_bad_descriptor_is_refused(void **state)
{
    struct source s = {.fd = -1, .ready = box_ready};
    assert_int_equal(loop_add(&loop, &s, EPOLLIN), ERR_SYS);
    loop_del(&loop, &s);
}

/* ---- timers ---- */

struct alarm_clock {
    struct timer timer;
    int *next, rang_as; /* the order in which they rang */
    uint64_t again_ms;  /* sets itself again to this, once */
};

static void alarm_fire(struct timer *t)
{
    struct alarm_clock *a = container_of(t, struct alarm_clock, timer);
    a->rang_as = ++*a->next;
    if (a->again_ms) {
        loop_timer(&loop, t, a->again_ms);
        a->again_ms = 0;
    }
}

static void alarm_init(struct alarm_clock *a, int *next)
{
    *a = (struct alarm_clock){.next = next};
    timer_init(&a->timer, alarm_fire);
}

static void timers_fire_in_order_never_early(void **state)
{
    struct alarm_clock a[3];
    int next = 0;
    uint64_t start = loop_clock_ms();
    for (int i = 0; i < 3; i++)
        alarm_init(&a[i], &next);
    assert_int_equal(loop_timer(&loop, &a[0].timer, start + 30), 0);
    assert_int_equal(loop_timer(&loop, &a[1].timer, start + 10), 0);
    assert_int_equal(loop_timer(&loop, &a[2].timer, start + 20), 0);
    run_until(&loop, next == 3);
    assert_true(loop.now_ms >= start + 30);
    assert_int_equal(a[1].rang_as, 1);
    assert_int_equal(a[2].rang_as, 2);
    assert_int_equal(a[0].rang_as, 3);
}

static void timer_moved_and_stopped(void **state)
{
    struct alarm_clock a, b;
    int next = 0;
    alarm_init(&a, &next);
    alarm_init(&b, &next);
    loop_timer(&loop, &a.timer, loop.now_ms + 1000 * 1000);
    loop_timer(&loop, &b.timer, loop.now_ms);
    loop_timer(&loop, &a.timer, loop.now_ms); /* moved to the past */
    loop_timer_stop(&loop, &b.timer);
    loop_timer_stop(&loop, &b.timer);
    loop_turn(&loop, 0);
    assert_int_equal(a.rang_as, 1);
    assert_int_equal(b.rang_as, 0);
}

/* A timer that is always late must not lock the turn up. */
static void timer_set_to_the_past_waits_for_the_next_turn(void **state)
{
    struct alarm_clock a;
    int next = 0;
    alarm_init(&a, &next);
    a.again_ms = 1;
    loop_timer(&loop, &a.timer, 1);
    loop_turn(&loop, 0);
    assert_int_equal(next, 1);
    loop_turn(&loop, -1); /* does not sleep */
    assert_int_equal(next, 2);
}

/* ---- later ---- */

struct chore {
    struct later later;
    struct chore *next; /* queued when this one runs */
    bool stop_next;
    int runs;
};

static void chore_run(struct later *l)
{
    struct chore *c = container_of(l, struct chore, later);
    c->runs++;
    if (c->next && c->stop_next)
        loop_later_stop(&c->next->later);
    else if (c->next)
        loop_later(&loop, &c->next->later);
}

static void chore_init(struct chore *c)
{
    *c = (struct chore){.next = NULL};
    later_init(&c->later, chore_run);
}

static void later_runs_once_a_turn(void **state)
{
    struct chore a;
    chore_init(&a);
    loop_later(&loop, &a.later);
    loop_later(&loop, &a.later);
    loop_turn(&loop, -1);
    assert_int_equal(a.runs, 1);
    loop_turn(&loop, 0);
    assert_int_equal(a.runs, 1);
}

static void later_queued_by_a_later_is_for_the_next_turn(void **state)
{
    struct chore a, b;
    chore_init(&a);
    chore_init(&b);
    a.next = &a;
    b.next = &a;
    loop_later(&loop, &b.later);
    loop_turn(&loop, -1);
    assert_int_equal(a.runs, 0);
    loop_turn(&loop, -1); /* must not sleep */
    assert_int_equal(a.runs, 1);
    loop_turn(&loop, -1);
    assert_int_equal(a.runs, 2);
    loop_later_stop(&a.later);
    loop_turn(&loop, 0);
    assert_int_equal(a.runs, 2);
}

static void later_stopped_by_an_earlier_one(void **state)
{
    struct chore a, b;
    chore_init(&a);
    chore_init(&b);
    a.next = &b;
    a.stop_next = true;
    loop_later(&loop, &a.later);
    loop_later(&loop, &b.later);
    loop_turn(&loop, 0);
    assert_int_equal(a.runs, 1);
    assert_int_equal(b.runs, 0);
}

static void fini_runs_what_is_left(void **state)
{
    struct loop own;
    struct chore a;
    assert_int_equal(loop_init(&own), 0);
    chore_init(&a);
    loop_later(&own, &a.later);
    loop_fini(&own);
    assert_int_equal(a.runs, 1);
}

/* ---- the rest ---- */

static volatile sig_atomic_t ticks;

static void on_tick(int signal)
{
    ticks++;
}

static void survives_signals(void **state)
{
    struct sigaction act = {.sa_handler = on_tick}, before;
    struct itimerval every = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    struct alarm_clock a;
    int next = 0;
    alarm_init(&a, &next);
    sigaction(SIGALRM, &act, &before);
    setitimer(ITIMER_REAL, &every, NULL);
    uint64_t at = loop_clock_ms() + 50;
    loop_timer(&loop, &a.timer, at);
    run_until(&loop, ticks >= 3 && next);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(loop.now_ms >= at);
}

static void stop_run(struct later *l)
{
    loop.stop = true;
}

static void run_ends_when_stopped(void **state)
{
    struct later stop;
    later_init(&stop, stop_run);
    loop_later(&loop, &stop);
    loop_run(&loop);
    assert_true(loop.stop);
}

static void clocks(void **state)
{
    uint64_t a = loop_clock_ms(), b = loop_clock_ms();
    assert_true(b >= a);
    assert_true(loop_wallclock_us() > 1700000000ull * 1000000); /* after 2023 */
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(level_triggered_until_taken_out),
        LOOP_TEST(no_event_after_del_in_the_same_turn),
        LOOP_TEST(del_then_close_then_same_number),
        LOOP_TEST(add_of_a_bad_descriptor_is_refused),
        LOOP_TEST(timers_fire_in_order_never_early),
        LOOP_TEST(timer_moved_and_stopped),
        LOOP_TEST(timer_set_to_the_past_waits_for_the_next_turn),
        LOOP_TEST(later_runs_once_a_turn),
        LOOP_TEST(later_queued_by_a_later_is_for_the_next_turn),
        LOOP_TEST(later_stopped_by_an_earlier_one),
        LOOP_TEST(fini_runs_what_is_left),
        LOOP_TEST(survives_signals),
        LOOP_TEST(run_ends_when_stopped),
        LOOP_TEST(clocks),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
