/* What passes through a pump, under which circumstances; how it ends is in pump_end.c. */
#include "pump_rig.h"

#include <dirent.h>
#include <stdatomic.h>

#include "sys/worker.h"

/* ---- bytes ---- */

static void a_small_message_passes_in_the_turn_in_which_it_arrives(void **state)
{
    struct pair p;
    uint8_t byte;
    pair_open(&p);
    loop_turn(&loop, 0);
    for (int i = 0; i < 100; i++)
        for (int side = 0; side < 2; side++) {
            assert_int_equal(send(p.client[side].fd, "x", 1, 0), 1);
            loop_turn(&loop, PATIENCE_MS);
            assert_int_equal(recv(p.client[!side].fd, &byte, 1, MSG_DONTWAIT), 1);
        }
    uint64_t bytes[2];
    pump_bytes(p.pump, bytes);
    assert_int_equal(bytes[PUMP_A], 100);
    assert_int_equal(bytes[PUMP_B], 100);
    pump_stop(p.pump);
    pair_close(&p);
}

static void bulk_both_ways(void **state)
{
    struct pair p;
    pair_open(&p);
    p.client[X].plan = 24 * MB + 7;
    p.client[Y].plan = 17 * MB + 1;
    pair_finish(&p);
}

/* Sizes around the border between copying and splicing, in all orders. */
static void messages_of_every_size(void **state)
{
    static const size_t sizes[] = {1, 100, 8191, 8192, 16383, 16384, 16385, 40000, PIECE};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct pair p;
    pair_open(&p);
    for (int i = 0; i < 600; i++) {
        p.client[i % 2].plan += sizes[i * 7 / 3 % SIZES];
        drive_until(&p, 1, is_quiet(&p));
    }
    pair_finish(&p);
}

static void writers_of_single_bytes(void **state)
{
    struct pair p;
    pair_open(&p);
    p.client[X].plan = p.client[Y].plan = 3000;
    p.client[X].piece = p.client[Y].piece = 1;
    p.client[X].is_slow = p.client[Y].is_slow = true;
    pair_finish(&p);
}

static void send_urgent(struct client *c)
{
    uint8_t urgent = pattern(c->seed + c->sent);
    assert_int_equal(send(c->fd, &urgent, 1, MSG_OOB), 1);
    c->plan++;
    c->sent++;
}

/* Reads stop short at an urgent byte, and splice(2) would stop for ever. */
static void urgent_bytes_stay_in_the_stream(void **state)
{
    struct pair p;
    pair_open(&p);
    struct client *x = &p.client[X];
    for (int i = 0; i < 20; i++) {
        x->plan += i % 2 ? 300 : 3 * MB;
        drive_until(&p, 1, is_quiet(&p));
        x->plan += 100; /* all of this is there before the pump reads */
        client_send(x);
        send_urgent(x);
        x->plan += 200;
        client_send(x);
        drive_until(&p, 1, is_quiet(&p));
        x->plan += i % 3 ? MB : 0;
    }
    pair_finish(&p);
}

/* ---- readers that do not read ---- */

static void a_stalled_reader_holds_its_writer_and_nobody_else(void **state)
{
    struct pair p[2];
    pair_open(&p[0]);
    pair_open(&p[1]);
    p[0].client[Y].is_reading = false;
    p[0].client[X].plan = (size_t)1 << 40;
    size_t before = 1;
    while (before != p[0].client[X].sent) { /* until it blocks */
        before = p[0].client[X].sent;
        drive(&p[0], 50);
    }
    assert_true(p[0].client[X].sent < 128 * MB); /* the buffers of four sockets and a pipe */
    p[0].client[X].plan = p[0].client[X].sent;
    p[0].client[Y].plan = MB; /* the other direction goes on, the other pair too */
    p[1].client[X].plan = p[1].client[Y].plan = MB;
    drive_until(p, 2, is_quiet(&p[1]) && p[0].client[X].got == MB);
    p[0].client[Y].is_reading = true;
    pair_finish(&p[0]);
    pair_finish(&p[1]);
}

/* Many at once; also where there are fewer pipes than stalled directions. */
static void stalled_readers_get_everything(void **state)
{
    enum { PAIRS = 12 };
    struct pair p[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        pair_open(&p[i]);
        p[i].client[X].plan = 6 * MB + (size_t)i;
        p[i].client[Y].is_reading = false;
    }
    for (int turn = 0; turn < 100; turn++)
        for (int i = 0; i < PAIRS; i++)
            drive(&p[i], 1);
    for (int i = 0; i < PAIRS; i++) {
        p[i].client[Y].is_reading = true;
        pair_finish(&p[i]);
    }
}

/* ---- what the conns bring along ---- */

static struct pair *handed; /* of the test that runs */

static size_t head_then_pump(struct conn *c, struct span in)
{
    if (in.n < 1000)
        return 0;
    conn_consume(c, 400);
    pair_start(handed, &free_ops);
    return 0;
}

static void input_that_was_kept_goes_first(void **state)
{
    static const struct conn_ops ops = {.bytes = head_then_pump, .ended = ignore_end};
    struct pair p;
    pair_connect(&p);
    handed = &p;
    p.conn[PUMP_A].ops = &ops;
    p.client[Y].expects_from += 400; /* the head is the owner's */
    assert_int_equal(conn_attach(&p.conn[PUMP_A], &loop), 0);
    assert_int_equal(conn_attach(&p.conn[PUMP_B], &loop), 0);
    p.client[X].plan = 1000;
    drive_until(&p, 1, p.client[Y].got == 600);
    p.client[X].plan = 2 * MB;
    p.client[X].shuts = p.client[Y].shuts = true;
    drive_until(&p, 1, p.ended && p.client[Y].has_eof);
    assert_int_equal(p.client[Y].got, 2 * MB - 400);
    assert_int_equal(p.end.bytes[PUMP_A], 2 * MB - 400);
    assert_false(p.client[Y].is_broken);
    pair_close(&p);
}

static void output_that_is_unsent_goes_first(void **state)
{
    enum { OWN = 12 * MB };
    struct pair p;
    uint8_t *own = malloc(OWN);
    pair_connect(&p);
    for (size_t i = 0; i < OWN; i++)
        own[i] = pattern(p.client[Y].expects_from + i);
    assert_int_equal(conn_write(&p.conn[PUMP_B], &(struct iovec){own, OWN}, 1), 0);
    assert_true(conn_unsent(&p.conn[PUMP_B]) > 0);
    free(own);
    p.client[X].seed += OWN;
    p.client[X].plan = 3 * MB;
    p.client[X].shuts = p.client[Y].shuts = true;
    pair_start(&p, &free_ops);
    drive_until(&p, 1, p.ended && p.client[Y].has_eof);
    assert_int_equal(p.client[Y].got, OWN + 3 * MB);
    assert_false(p.client[Y].is_broken);
    assert_int_equal(p.end.bytes[PUMP_A], 3 * MB);
    pair_close(&p);
}

/* ---- limits ---- */

static void nothing_passes_that_was_not_granted_and_nothing_is_lost(void **state)
{
    struct pair p;
    pair_connect(&p);
    p.has_limit = true;
    pair_start(&p, &limited_ops);
    p.client[X].plan = 3 * MB;
    p.client[Y].plan = MB;
    p.client[X].shuts = p.client[Y].shuts = true;
    drive(&p, 20);
    assert_int_equal(p.client[X].got + p.client[Y].got, 0);
    for (int i = 0; !p.ended; i++) {
        p.allowance[PUMP_A] += i % 2 ? 1000 : 90000;
        p.allowance[PUMP_B] += i % 3 ? 0 : 30000;
        drive(&p, 1);
        assert_true(p.client[Y].got <= p.granted[PUMP_A]);
        assert_true(p.client[X].got <= p.granted[PUMP_B]);
    }
    pair_finish(&p);
    assert_int_equal(p.granted[PUMP_A], p.client[X].plan); /* no byte was granted twice */
    assert_int_equal(p.granted[PUMP_B], p.client[Y].plan);
}

static void a_limit_that_is_never_reached_changes_nothing(void **state)
{
    struct pair p;
    pair_connect(&p);
    pair_start(&p, &limited_ops);
    for (int i = 0; i < 50; i++) {
        p.client[i % 2].plan += 200;
        drive_until(&p, 1, is_quiet(&p));
    }
    p.client[X].plan += 9 * MB;
    p.client[Y].plan += 9 * MB;
    pair_finish(&p);
    assert_int_equal(p.granted[PUMP_A], p.client[X].plan);
}

/* Two writers in turn: neither one's small pieces lie side by side in memory, so that each of them takes a slot of a
 * pipe, which is full long before it holds what was granted. */
static void a_pipe_full_of_fragments_is_no_full_grant(void **state)
{
    struct pair p[2];
    for (int i = 0; i < 2; i++) {
        pair_connect(&p[i]);
        pair_start(&p[i], &limited_ops);
        p[i].client[X].plan = 200000;
        p[i].client[X].piece = 100;
        p[i].client[X].is_slow = true;
    }
    for (int i = 0; i < 4000; i++)
        client_step(&p[i % 2].client[X]);
    for (int i = 0; i < 2; i++) {
        p[i].client[X].is_slow = false;
        pair_finish(&p[i]);
        assert_int_equal(p[i].granted[PUMP_A], p[i].client[X].plan);
    }
}

/* ---- numbers ---- */

static unsigned pairs_allowed(unsigned wish)
{
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    unsigned most = (unsigned)((r.rlim_cur < 1 << 20 ? r.rlim_cur : 1 << 20) - 300) / 4;
    return wish < most ? wish : most;
}

static void thousands_of_pairs(void **state)
{
    unsigned n = pairs_allowed(2000);
    struct pair *p = calloc(n, sizeof *p);
    for (unsigned i = 0; i < n; i++) {
        pair_open(&p[i]);
        p[i].client[X].plan = 20000 + i;
        p[i].client[Y].plan = i % 10 ? 100 + i : 300000;
        p[i].client[X].shuts = p[i].client[Y].shuts = true;
    }
    for (unsigned i = 0; i < n; i++) {
        drive_until(p, n, p[i].ended && p[i].client[X].has_eof && p[i].client[Y].has_eof);
        assert_whole(&p[i]);
    }
    for (unsigned i = 0; i < n; i++)
        pair_close(&p[i]);
    free(p);
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void an_idle_pump_holds_no_pipe(void **state)
{
    struct pair p;
    pair_open(&p);
    drive(&p, 5);
    int before = open_descriptors();
    p.client[X].plan = 8 * MB;
    drive_until(&p, 1, is_quiet(&p));
    assert_int_equal(open_descriptors(), before + 2); /* one pipe, back in the pool */
    drive_until(&p, 1, open_descriptors() == before);
    p.client[X].plan += 8 * MB;
    drive_until(&p, 1, is_quiet(&p));
    pump_stop(p.pump);
    pair_close(&p);
}

static void without_descriptors_for_pipes_it_copies(void **state)
{
    struct pair p;
    struct rlimit old, low;
    pair_open(&p);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &low);
    p.client[X].plan = p.client[Y].plan = 9 * MB;
    drive_until(&p, 1, is_quiet(&p));
    setrlimit(RLIMIT_NOFILE, &old);
    p.client[X].plan += 9 * MB; /* and splices again when there are */
    pair_finish(&p);
}

/* ---- TLS ---- */

static void tls_carries_bulk_and_half_close(void **state)
{
    for (int which = 1; which < 4; which++) {
        struct pair p;
        open_with_tls(&p, which & 1, which & 2);
        pair_start(&p, &free_ops);
        p.client[X].plan = 5 * MB + 3;
        p.client[X].shuts = true;
        drive_until(&p, 1, p.client[Y].has_eof);
        p.client[Y].plan = 7 * MB;
        pair_finish(&p);
    }
}

static void tls_small_messages_and_a_stalled_reader(void **state)
{
    for (int which = 1; which < 4; which++) {
        struct pair p;
        open_with_tls(&p, which & 1, which & 2);
        pair_start(&p, &free_ops);
        p.client[X].plan = p.client[Y].plan = 500;
        p.client[X].piece = p.client[Y].piece = 1;
        p.client[X].is_slow = p.client[Y].is_slow = true;
        drive_until(&p, 1, is_quiet(&p));
        for (int side = 0; side < 2; side++) {
            p.client[side].is_reading = false;
            p.client[side].piece = 5000;
            p.client[side].is_slow = false;
            p.client[side].plan = 12 * MB;
        }
        drive(&p, 100);
        p.client[X].is_reading = p.client[Y].is_reading = true;
        pair_finish(&p);
    }
}

static void tls_is_limited_byte_by_byte_too(void **state)
{
    struct pair p;
    open_with_tls(&p, true, false);
    p.has_limit = true;
    pair_start(&p, &limited_ops);
    p.client[X].plan = p.client[Y].plan = 400000;
    p.client[X].shuts = p.client[Y].shuts = true;
    while (!p.ended) {
        p.allowance[PUMP_A] += 7001;
        p.allowance[PUMP_B] += 9001;
        drive(&p, 1);
        assert_true(p.client[Y].got <= p.granted[PUMP_A]);
        assert_true(p.client[X].got <= p.granted[PUMP_B]);
    }
    pair_finish(&p);
    assert_int_equal(p.granted[PUMP_A], 400000);
}

/* ---- threads ---- */

struct job {
    struct mail mail;
    struct pair pair;
    struct pump_pool *pool;
};

static atomic_int jobs_done;

static void job_ended(void *user, const struct pump_end *end)
{
    struct job *j = user;
    j->pair.end = *end;
    atomic_fetch_add(&jobs_done, 1);
}

static const struct pump_ops job_ops = {.ended = job_ended};

static void job_start(struct mail *m, struct worker *to)
{
    struct job *j = container_of(m, struct job, mail);
    must(pump_start(j->pool, &j->pair.conn[PUMP_A], &j->pair.conn[PUMP_B], &job_ops, j));
}

static void each_worker_pumps_its_own_pairs(void **state)
{
    enum { WORKERS = 3, JOBS = 30 };
    static struct worker workers[WORKERS];
    struct pump_pool *pools[WORKERS];
    struct job *jobs = calloc(JOBS, sizeof *jobs);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(worker_init(&workers[i], i, NULL), 0);
        pools[i] = pump_pool_new(&workers[i].loop, 2);
        assert_int_equal(worker_start(&workers[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) {
        struct job *j = &jobs[i];
        *j = (struct job){.mail.deliver = job_start, .pool = pools[i % WORKERS]};
        pair_connect(&j->pair);
        j->pair.client[X].plan = j->pair.client[Y].plan = MB + (size_t)i;
        j->pair.client[X].shuts = j->pair.client[Y].shuts = true;
        worker_post(&workers[i % WORKERS], &j->mail);
    }
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while (atomic_load(&jobs_done) < JOBS) {
        assert_true(loop_clock_ms() < give_up);
        for (int i = 0; i < JOBS; i++)
            pair_step(&jobs[i].pair);
    }
    for (int i = 0; i < WORKERS; i++) {
        worker_stop(&workers[i]);
        pump_pool_free(pools[i]);
        worker_fini(&workers[i]);
    }
    for (int i = 0; i < JOBS; i++) {
        jobs[i].pair.ended = 1;
        pair_finish(&jobs[i].pair);
    }
    free(jobs);
}

#define plain(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
#define without_pipes(test)                                                   \
    {                                                                         \
        "no pipes: " #test, test, rig_setup_without_pipes, rig_teardown, NULL \
    }
#define with_one_pipe(test)                                              \
    {                                                                    \
        "one pipe: " #test, test, rig_setup_one_pipe, rig_teardown, NULL \
    }
#define tls(test) cmocka_unit_test_setup_teardown(test, rig_setup_tls, rig_teardown_tls)

int main(void)
{
    const struct CMUnitTest tests[] = {
        plain(a_small_message_passes_in_the_turn_in_which_it_arrives),
        plain(bulk_both_ways),
        without_pipes(bulk_both_ways),
        plain(messages_of_every_size),
        plain(writers_of_single_bytes),
        plain(urgent_bytes_stay_in_the_stream),
        plain(a_stalled_reader_holds_its_writer_and_nobody_else),
        plain(stalled_readers_get_everything),
        without_pipes(stalled_readers_get_everything),
        with_one_pipe(stalled_readers_get_everything),
        plain(input_that_was_kept_goes_first),
        plain(output_that_is_unsent_goes_first),
        plain(nothing_passes_that_was_not_granted_and_nothing_is_lost),
        plain(a_limit_that_is_never_reached_changes_nothing),
        plain(a_pipe_full_of_fragments_is_no_full_grant),
        plain(thousands_of_pairs),
        plain(an_idle_pump_holds_no_pipe),
        plain(without_descriptors_for_pipes_it_copies),
        tls(tls_carries_bulk_and_half_close),
        tls(tls_small_messages_and_a_stalled_reader),
        tls(tls_is_limited_byte_by_byte_too),
        plain(each_worker_pumps_its_own_pairs),
    };
    return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
