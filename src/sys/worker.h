/* A thread with a loop and a letter box. Other threads reach what a worker owns only by mail.
 *
 * Mail from one sender to one receiver arrives in order.
 */
#ifndef SYS_WORKER_H
#define SYS_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "sys/loop.h"

struct worker;

/* Embedded in what is sent; the sender gives up ownership of it with worker_post. */
struct mail {
    struct mail *next;
    void (*deliver)(struct mail *m, struct worker *to);
};

struct worker {
    struct loop loop;
    struct source bell; /* eventfd */
    _Atomic(struct mail *) box;
    pthread_t thread;
    bool is_running;
    struct mail bye; /* ends the loop */
    unsigned index;
    void *user; /* the owner's state for this worker */
};

int worker_init(struct worker *w, unsigned index, void *user); /* 0 or ERR_SYS */
/* Starts the thread (signals blocked in it, named "worker-N"). 0 or ERR_SYS. */
int worker_start(struct worker *w);
/* From any other thread, once: lets mail posted before it arrive, ends the loop after that turn and joins; mail not
 * delivered by then is delivered in the caller's thread. Harmless for a worker that was not started. */
void worker_stop(struct worker *w);
void worker_fini(struct worker *w);
/* From any thread, the worker's own included; `m->deliver` runs in the worker's thread. */
void worker_post(struct worker *w, struct mail *m);

#endif
