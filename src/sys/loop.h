/* One thread's event loop: descriptors, timers, things to do later in the same thread. Knows no protocol.
 *
 * Everything registered with a loop belongs to its thread. Times are CLOCK_MONOTONIC milliseconds, read once a turn.
 */
#ifndef SYS_LOOP_H
#define SYS_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/heap.h"
#include "base/list.h"

/* A descriptor and what to call when it is ready; embedded in its owner. */
struct source {
    int fd; /* -1 when closed */
    void (*ready)(struct source *s, uint32_t epoll_events);
};

/* A deadline; embedded. Fires once; may be set again from its own function. */
struct timer {
    struct heap_node node;
    void (*fire)(struct timer *t);
};

/* Something to run once, after the descriptors of this turn: freeing storage, continuing work that used up its budget.
 */
struct later {
    struct list link;
    void (*run)(struct later *l);
};

struct loop {
    int epfd;
    uint64_t now_ms;
    struct heap timers;
    struct list laters;
    bool stop;
    struct list mark;           /* private: in `laters` while they run; what is behind it is for the next turn */
    struct epoll_event *events; /* private: what epoll reported in this turn, */
    int event_at, event_n;      /* and how far it has been delivered */
};

/* Ignores SIGPIPE in this process: a write to a socket that the other side has closed is an error of that socket, no
 * more. 0 or ERR_SYS. Must not be moved afterwards. */
int loop_init(struct loop *l);
/* Runs what is still queued for later (it frees storage), until nothing is, then closes. */
void loop_fini(struct loop *l);
/* `events`: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET. 0 or ERR_SYS. */
int loop_add(struct loop *l, struct source *s, uint32_t events);
int loop_mod(struct loop *l, struct source *s, uint32_t events);
/* Forgets the source; events of this turn that are still queued for it are not delivered. Must come before close(). */
void loop_del(struct loop *l, struct source *s);

void timer_init(struct timer *t, void (*fire)(struct timer *t));
/* Sets the deadline, or moves it. 0, or ERR_NOMEM: possible only when the timer was not set; it is not set then. */
int loop_timer(struct loop *l, struct timer *t, uint64_t at_ms);
void loop_timer_stop(struct loop *l, struct timer *t);

/* Queues `x` once (again: no effect) for the end of this turn; what is queued while these run is for the next turn,
 * which then does not sleep. */
void later_init(struct later *x, void (*run)(struct later *l));
void loop_later(struct loop *l, struct later *x);
void loop_later_stop(struct later *x);

/* Runs until `stop` is set. */
void loop_run(struct loop *l);
/* One turn, sleeping at most `max_wait_ms` (-1: until something happens). */
void loop_turn(struct loop *l, int max_wait_ms);

uint64_t loop_clock_ms(void);     /* CLOCK_MONOTONIC now */
uint64_t loop_wallclock_us(void); /* CLOCK_REALTIME now, microseconds since 1970 */

#endif
