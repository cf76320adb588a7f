#include "sys/worker.h"

#include "help.h"

#include <signal.h>
#include <sys/resource.h>

#include "base/err.h"

enum { SENDERS = 4, LETTERS = 20000 };

struct letter {
    struct mail mail;
    int sender, number;
};

/* What the receiving worker has seen; touched by its thread alone until it has stopped. */
struct seen {
    int count, next[SENDERS], out_of_order;
    pthread_t thread;
};

static void take_letter(struct mail *m, struct worker *to)
{
    struct letter *l = container_of(m, struct letter, mail);
    struct seen *seen = to->user;
    seen->count++;
    seen->out_of_order += l->number != seen->next[l->sender];
    seen->next[l->sender] = l->number + 1;
    seen->thread = pthread_self();
    free(l);
}

struct sender {
    struct worker *to;
    int index;
};

static void *send_letters(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < LETTERS; i++) {
        struct letter *l = malloc(sizeof *l);
        *l = (struct letter){.mail = {.deliver = take_letter}, .sender = s->index, .number = i};
        worker_post(s->to, &l->mail);
    }
    return NULL;
}

static void post_from_all(struct worker *w)
{
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){w, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
}

static void all_mail_arrives_in_order(void **state)
{
    struct seen seen = {.count = 0};
    struct worker w;
    assert_int_equal(worker_init(&w, 3, &seen), 0);
    assert_int_equal(worker_start(&w), 0);
    post_from_all(&w);
    worker_stop(&w);
    assert_int_equal(seen.count, SENDERS * LETTERS);
    assert_int_equal(seen.out_of_order, 0);
    assert_false(pthread_equal(seen.thread, pthread_self()));
    worker_fini(&w);
}

static void mail_to_a_worker_that_never_ran_is_delivered_by_stop(void **state)
{
    struct seen seen = {.count = 0};
    struct worker w;
    assert_int_equal(worker_init(&w, 0, &seen), 0);
    post_from_all(&w);
    assert_int_equal(seen.count, 0);
    worker_stop(&w);
    assert_int_equal(seen.count, SENDERS * LETTERS);
    assert_int_equal(seen.out_of_order, 0);
    assert_true(pthread_equal(seen.thread, pthread_self()));
    worker_fini(&w);
}

/* One thread may turn the loop itself: the bell wakes it, and does not go on ringing. */
static void the_bell_wakes_once(void **state)
{
    struct seen seen = {.count = 0};
    struct worker w;
    assert_int_equal(worker_init(&w, 0, &seen), 0);
    struct letter *l = malloc(sizeof *l);
    *l = (struct letter){.mail = {.deliver = take_letter}};
    worker_post(&w, &l->mail);
    loop_turn(&w.loop, PATIENCE_MS);
    assert_int_equal(seen.count, 1);
    uint64_t before = loop_clock_ms();
    loop_turn(&w.loop, 20);
    assert_true(loop_clock_ms() >= before + 19); /* slept: nothing was ready */
    worker_stop(&w);
    worker_fini(&w);
}

/* ---- a letter that travels between two workers ---- */

enum { ROUNDS = 2000 };

struct ball {
    struct mail mail;
    struct worker *court[2];
    int hits;
    _Atomic int is_over;
};

static void hit_ball(struct mail *m, struct worker *to)
{
    struct ball *b = container_of(m, struct ball, mail);
    if (++b->hits == ROUNDS)
        b->is_over = 1;
    else
        worker_post(b->court[to == b->court[0]], m);
}

static void ownership_travels(void **state)
{
    struct worker w[2];
    struct ball ball = {.mail = {.deliver = hit_ball}, .court = {&w[0], &w[1]}};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(worker_init(&w[i], i, NULL), 0);
        assert_int_equal(worker_start(&w[i]), 0);
    }
    worker_post(&w[0], &ball.mail);
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while (!ball.is_over) {
        assert_true(loop_clock_ms() < give_up);
        usleep(1000);
    }
    for (int i = 0; i < 2; i++)
        worker_stop(&w[i]);
    for (int i = 0; i < 2; i++)
        worker_fini(&w[i]);
    assert_int_equal(ball.hits, ROUNDS);
}

/* ---- the thread ---- */

struct look {
    struct mail mail;
    char name[16];
    bool is_blocked;
};

static void look_around(struct mail *m, struct worker *to)
{
    struct look *l = container_of(m, struct look, mail);
    sigset_t mask;
    pthread_getname_np(pthread_self(), l->name, sizeof l->name);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    l->is_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP);
}

static void thread_is_named_and_takes_no_signals(void **state)
{
    struct worker w;
    struct look look = {.mail = {.deliver = look_around}};
    assert_int_equal(worker_init(&w, 7, NULL), 0);
    assert_int_equal(worker_start(&w), 0);
    worker_post(&w, &look.mail);
    worker_stop(&w);
    worker_fini(&w);
    assert_string_equal(look.name, "worker-7");
    assert_true(look.is_blocked);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM)); /* the starter keeps its own */
}

/* S51: out of descriptors, at each of the two places. */
static void no_descriptors(void **state)
{
    struct rlimit before, few;
    getrlimit(RLIMIT_NOFILE, &before);
    int lowest = dup(0);
    close(lowest);
    for (rlim_t n = 0; n < 2; n++) {
        struct worker w;
        few = before;
        few.rlim_cur = (rlim_t)lowest + n;
        setrlimit(RLIMIT_NOFILE, &few);
        int err = worker_init(&w, 0, NULL);
        setrlimit(RLIMIT_NOFILE, &before);
        assert_int_equal(err, ERR_SYS);
    }
    int after = dup(0);
    assert_int_equal(after, lowest); /* nothing was left open */
    close(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_mail_arrives_in_order),
        cmocka_unit_test(mail_to_a_worker_that_never_ran_is_delivered_by_stop),
        cmocka_unit_test(the_bell_wakes_once),
        cmocka_unit_test(ownership_travels),
        cmocka_unit_test(no_descriptors),
        cmocka_unit_test(thread_is_named_and_takes_no_signals),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
