#include "sys/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

/* The box is a stack that senders push on; turning it over gives the order in which they posted. */
static struct mail *take_all(struct worker *w)
{
    struct mail *newest = atomic_exchange_explicit(&w->box, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    while (newest) {
        struct mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static bool deliver_all(struct worker *w)
{
    struct mail *m = take_all(w);
    bool any = m != NULL;
    while (m) {
        struct mail *next = m->next; /* whoever takes the mail may free it */
        m->deliver(m, w);
        m = next;
    }
    return any;
}

/* The bell is silenced before the box is emptied: who posts in between finds it empty and rings again. */
static void bell_ready(struct source *s, uint32_t events)
{
    uint64_t rings;
    ssize_t n = read(s->fd, &rings, sizeof rings);
    must(n == (ssize_t)sizeof rings || errno == EAGAIN || errno == EINTR);
    deliver_all(container_of(s, struct worker, bell));
}

void worker_post(struct worker *w, struct mail *m)
{
    struct mail *before = atomic_load_explicit(&w->box, memory_order_relaxed);
    do
        m->next = before;
    while (!atomic_compare_exchange_weak_explicit(&w->box, &before, m, memory_order_release, memory_order_relaxed));
    if (before)
        return; /* who found the box empty rings, or has rung */
    uint64_t one = 1;
    while (write(w->bell.fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

int worker_init(struct worker *w, unsigned index, void *user)
{
    *w = (struct worker){.index = index, .user = user, .bell.fd = -1};
    atomic_init(&w->box, NULL);
    if (loop_init(&w->loop) < 0)
        return ERR_SYS;
    w->bell = (struct source){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = bell_ready};
    if (w->bell.fd >= 0 && loop_add(&w->loop, &w->bell, EPOLLIN) == 0)
        return 0;
    worker_fini(w);
    return ERR_SYS;
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    loop_run(&w->loop);
    return NULL;
}

int worker_start(struct worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        errno = err;
        return ERR_SYS;
    }
    char name[16];
    snprintf(name, sizeof name, "worker-%u", w->index);
    pthread_setname_np(w->thread, name);
    w->is_running = true;
    return 0;
}

static void deliver_bye(struct mail *m, struct worker *to)
{
    to->loop.stop = true;
}

void worker_stop(struct worker *w)
{
    if (w->is_running) {
        w->bye.deliver = deliver_bye;
        worker_post(w, &w->bye);
        pthread_join(w->thread, NULL);
        w->is_running = false;
    }
    while (deliver_all(w))
        ;
}

void worker_fini(struct worker *w)
{
    loop_fini(&w->loop);
    if (w->bell.fd >= 0)
        close(w->bell.fd);
    w->bell.fd = -1;
}
