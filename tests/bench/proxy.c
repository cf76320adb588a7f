/* A bare TCP relay around the pump: listens, dials, pumps. For measuring the data path alone.
 *
 *   bench_proxy LISTEN TARGET [MAX_PIPES]        e.g. bench_proxy 127.0.0.1:7000 127.0.0.1:7001
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "sys/pump.h"
#include "sys/sock.h"

static struct loop loop;
static struct pump_pool *pool;
static struct addr target;

struct pair {
    struct conn near, far;
};

static size_t no_bytes(struct conn *c, struct span in)
{
    return in.n;
}

static void no_end(struct conn *c, enum conn_end why)
{
}

static const struct conn_ops conn_ops = {.bytes = no_bytes, .ended = no_end};

static void pair_ended(void *user, const struct pump_end *end)
{
    free(user);
}

static const struct pump_ops pump_ops = {.ended = pair_ended};

static void pair_open(int near, int far)
{
    struct pair *x = calloc(1, sizeof *x);
    must(x);
    conn_init(&x->near, near, &conn_ops, 0, 0);
    conn_init(&x->far, far, &conn_ops, 0, 0);
    if (pump_start(pool, &x->near, &x->far, &pump_ops, x))
        return;
    conn_abort(&x->near);
    conn_abort(&x->far);
    free(x);
}

static void accept_all(struct source *listener, uint32_t events)
{
    struct addr peer;
    for (int near; (near = sock_accept(listener->fd, &peer)) >= 0;) {
        int far = sock_dial(NULL, &target, false);
        if (far >= 0)
            pair_open(near, far);
        else
            sock_abort(near);
    }
}

int main(int argc, char **argv)
{
    struct addr here;
    if (argc < 3 || addr_parse_with_port(argv[1], &here) < 0 || addr_parse_with_port(argv[2], &target) < 0) {
        fprintf(stderr, "usage: bench_proxy LISTEN TARGET [MAX_PIPES]   (addresses as 127.0.0.1:7000)\n");
        return 2;
    }
    struct source listener = {.fd = sock_listen(&here, false, 4096), .ready = accept_all};
    if (listener.fd < 0 || loop_init(&loop) < 0 || loop_add(&loop, &listener, EPOLLIN) < 0) {
        perror("bench_proxy: cannot listen");
        return 1;
    }
    pool = pump_pool_new(&loop, argc > 3 ? (unsigned)atoi(argv[3]) : 4096);
    must(pool);
    loop_run(&loop);
    return 0;
}
