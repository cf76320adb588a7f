#include "sys/pipe_pool.h"

#include "help.h"

#include <fcntl.h>
#include <sys/resource.h>

static struct loop loop;
static struct pipe_pool pool;

static int setup(void **state)
{
    if (loop_init(&loop) < 0)
        return -1;
    pipe_pool_init(&pool, &loop, 3);
    return 0;
}

static int teardown(void **state)
{
    pipe_pool_fini(&pool);
    loop_fini(&loop);
    return 0;
}

static void lends_no_more_than_the_maximum(void **state)
{
    struct pipe *x[3];
    for (int i = 0; i < 3; i++)
        assert_non_null(x[i] = pipe_get(&pool));
    assert_null(pipe_get(&pool));
    pipe_put(&pool, x[1]);
    assert_ptr_equal(pipe_get(&pool), x[1]);
    for (int i = 0; i < 3; i++)
        pipe_put(&pool, x[i]);
}

/* Bytes of one pair must never come out at another one. */
static void a_pipe_with_bytes_is_not_lent_again(void **state)
{
    int fds[2];
    tcp_pair(fds);
    assert_int_equal(send(fds[0], "secret", 6, 0), 6);
    struct pipe *x = pipe_get(&pool);
    run_until(&loop, pipe_fill(x, fds[1], 100) == 6);
    assert_int_equal(x->held, 6);
    int from = x->from;
    pipe_put(&pool, x);
    assert_int_equal(fcntl(from, F_GETFD), -1);
    assert_int_equal(pool.open_n, 0);
    close(fds[0]);
    close(fds[1]);
}

static void what_goes_in_comes_out(void **state)
{
    int in[2], out[2];
    uint8_t bytes[6];
    tcp_pair(in);
    tcp_pair(out);
    struct pipe *x = pipe_get(&pool);
    assert_int_equal(send(in[0], "abcdef", 6, 0), 6);
    run_until(&loop, pipe_fill(x, in[1], 100) == 6);
    assert_int_equal(pipe_drain(x, out[0], 2), 2);
    assert_int_equal(x->held, 4);
    assert_int_equal(pipe_drain(x, out[0], 100), 4);
    assert_int_equal(recv(out[1], bytes, 6, MSG_WAITALL), 6);
    assert_memory_equal(bytes, "abcdef", 6);
    close(in[0]);
    run_until(&loop, pipe_fill(x, in[1], 100) == 0); /* the end */
    pipe_put(&pool, x);
    close(in[1]);
    close(out[0]);
    close(out[1]);
}

static void pipes_that_nobody_needs_are_closed(void **state)
{
    struct pipe *x[3];
    for (int i = 0; i < 3; i++)
        x[i] = pipe_get(&pool);
    for (int i = 0; i < 3; i++)
        pipe_put(&pool, x[i]);
    assert_int_equal(pool.open_n, 3);
    run_until(&loop, pool.open_n == 0);
    assert_null(pool.idle);
    pipe_put(&pool, pipe_get(&pool));
    assert_int_equal(pool.open_n, 1);
}

static void a_refusal_of_the_kernel_is_not_asked_for_again_at_once(void **state)
{
    struct rlimit old, low;
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &low);
    assert_null(pipe_get(&pool));
    setrlimit(RLIMIT_NOFILE, &old);
    assert_null(pipe_get(&pool));
    struct pipe *x = NULL;
    run_until(&loop, (x = pipe_get(&pool)) != NULL);
    pipe_put(&pool, x);
}

#define with_pool(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_pool(lends_no_more_than_the_maximum),
        with_pool(a_pipe_with_bytes_is_not_lent_again),
        with_pool(what_goes_in_comes_out),
        with_pool(pipes_that_nobody_needs_are_closed),
        with_pool(a_refusal_of_the_kernel_is_not_asked_for_again_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
