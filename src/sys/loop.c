#include "sys/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

enum { EVENTS_MAX = 256 }; /* descriptors a turn; more come in the next one */

static uint64_t clock_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t loop_clock_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t loop_wallclock_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int loop_init(struct loop *l)
{
    *l = (struct loop){.epfd = epoll_create1(EPOLL_CLOEXEC), .now_ms = loop_clock_ms()};
    heap_init(&l->timers);
    list_init(&l->laters);
    list_init(&l->mark);
    signal(SIGPIPE, SIG_IGN);
    return l->epfd < 0 ? ERR_SYS : 0;
}

static int control(struct loop *l, int op, struct source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    return epoll_ctl(l->epfd, op, s->fd, &e) < 0 ? ERR_SYS : 0;
}

int loop_add(struct loop *l, struct source *s, uint32_t events)
{
    return control(l, EPOLL_CTL_ADD, s, events);
}

int loop_mod(struct loop *l, struct source *s, uint32_t events)
{
    return control(l, EPOLL_CTL_MOD, s, events);
}

void loop_del(struct loop *l, struct source *s)
{
    if (s->fd >= 0)
        epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
    for (int i = l->event_at; i < l->event_n; i++)
        if (l->events[i].data.ptr == s)
            l->events[i].data.ptr = NULL;
}

/* ---- timers ---- */

void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
    *t = (struct timer){.fire = fire};
}

int loop_timer(struct loop *l, struct timer *t, uint64_t at_ms)
{
    return heap_set(&l->timers, &t->node, at_ms);
}

void loop_timer_stop(struct loop *l, struct timer *t)
{
    heap_del(&l->timers, &t->node);
}

/* At most as many as were set when it began: a timer that sets itself to a time already past waits for the next turn.
 */
static void fire_timers(struct loop *l)
{
    for (size_t n = l->timers.count; n && heap_deadline(&l->timers) <= l->now_ms; n--) {
        struct timer *t = container_of(heap_first(&l->timers), struct timer, node);
        heap_del(&l->timers, &t->node);
        t->fire(t);
    }
}

/* ---- later ---- */

void later_init(struct later *x, void (*run)(struct later *l))
{
    list_init(&x->link);
    x->run = run;
}

void loop_later(struct loop *l, struct later *x)
{
    if (list_is_empty(&x->link))
        list_add_tail(&l->laters, &x->link);
}

void loop_later_stop(struct later *x)
{
    list_del(&x->link);
}

static void run_laters(struct loop *l)
{
    list_add_tail(&l->laters, &l->mark);
    while (l->laters.next != &l->mark) {
        struct later *x = container_of(l->laters.next, struct later, link);
        list_del(&x->link);
        x->run(x);
    }
    list_del(&l->mark);
}

void loop_fini(struct loop *l)
{
    while (!list_is_empty(&l->laters))
        run_laters(l);
    heap_fini(&l->timers);
    if (l->epfd >= 0)
        close(l->epfd);
    l->epfd = -1;
}

/* ---- turns ---- */

/* How long epoll may sleep, in ms; -1: until something happens. */
static int sleep_ms(const struct loop *l, int max_wait_ms)
{
    uint64_t deadline = heap_deadline(&l->timers);
    if (!list_is_empty(&l->laters))
        return 0;
    if (deadline == HEAP_NEVER)
        return max_wait_ms;
    uint64_t now = loop_clock_ms();
    uint64_t wait = deadline > now ? deadline - now : 0;
    uint64_t limit = max_wait_ms < 0 ? INT_MAX : (uint64_t)max_wait_ms;
    return (int)(wait < limit ? wait : limit);
}

static void deliver_events(struct loop *l)
{
    while (l->event_at < l->event_n) {
        const struct epoll_event *e = &l->events[l->event_at++];
        struct source *s = e->data.ptr;
        if (s)
            s->ready(s, e->events);
    }
}

void loop_turn(struct loop *l, int max_wait_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(l->epfd, events, EVENTS_MAX, sleep_ms(l, max_wait_ms));
    must(n >= 0 || errno == EINTR);
    l->now_ms = loop_clock_ms();
    l->events = events;
    l->event_at = 0;
    l->event_n = n > 0 ? n : 0;
    deliver_events(l);
    l->events = NULL;
    l->event_at = l->event_n = 0;
    fire_timers(l);
    run_laters(l);
}

void loop_run(struct loop *l)
{
    while (!l->stop)
        loop_turn(l, -1);
}
