#include "sys/pipe_pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

enum {
    /* A slot (4096 of these bytes) holds one fragment, whatever its size: 1448 bytes when a network card delivers it,
     * 32 kB on loopback. A megabyte moves no faster, and an ordinary user is allowed only 64 MB in all pipes. */
    PIPE_BYTES = 1 << 18,
    PIPE_BYTES_MIN = 65536, /* less is not worth two system calls */
    TRIM_MS = 1000,
    RETRY_MS = 100, /* after a refusal of the kernel */
};

static void pipe_close(struct pipe_pool *p, struct pipe *x)
{
    close(x->from);
    close(x->to);
    free(x);
    p->open_n--;
}

static struct pipe *take_idle(struct pipe_pool *p)
{
    struct pipe *x = p->idle;
    p->idle = x->next;
    if (--p->idle_n < p->idle_low)
        p->idle_low = p->idle_n;
    return x;
}

static void trim(struct timer *t)
{
    struct pipe_pool *p = container_of(t, struct pipe_pool, trim);
    for (unsigned n = p->idle_low; n; n--)
        pipe_close(p, take_idle(p));
    p->idle_low = p->idle_n;
    if (p->idle_n)
        loop_timer(p->loop, t, p->loop->now_ms + TRIM_MS);
}

void pipe_pool_init(struct pipe_pool *p, struct loop *l, unsigned max_pipes)
{
    *p = (struct pipe_pool){.loop = l, .open_max = max_pipes};
    timer_init(&p->trim, trim);
}

void pipe_pool_fini(struct pipe_pool *p)
{
    while (p->idle)
        pipe_close(p, take_idle(p));
    must(p->open_n == 0);
    loop_timer_stop(p->loop, &p->trim);
}

static bool is_large_enough(int fd)
{
    return fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES) >= PIPE_BYTES || fcntl(fd, F_GETPIPE_SZ) >= PIPE_BYTES_MIN;
}

static struct pipe *pipe_open(void)
{
    int fd[2];
    struct pipe *x = malloc(sizeof *x);
    if (x && pipe2(fd, O_CLOEXEC | O_NONBLOCK) == 0) {
        *x = (struct pipe){.from = fd[0], .to = fd[1]};
        if (is_large_enough(fd[0]))
            return x;
        close(fd[0]);
        close(fd[1]);
    }
    free(x);
    return NULL;
}

struct pipe *pipe_get(struct pipe_pool *p)
{
    if (p->idle)
        return take_idle(p);
    if (p->open_n == p->open_max || (p->refused_ms && p->loop->now_ms < p->refused_ms + RETRY_MS))
        return NULL;
    struct pipe *x = pipe_open();
    p->refused_ms = x ? 0 : p->loop->now_ms;
    p->open_n += x != NULL;
    return x;
}

void pipe_put(struct pipe_pool *p, struct pipe *x)
{
    if (x->held) {
        pipe_close(p, x);
        return;
    }
    x->next = p->idle;
    p->idle = x;
    p->idle_n++;
    if (!p->trim.node.pos)
        loop_timer(p->loop, &p->trim, p->loop->now_ms + TRIM_MS);
}

ssize_t pipe_fill(struct pipe *x, int fd, size_t n)
{
    ssize_t got = splice(fd, NULL, x->to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (got > 0)
        x->held += (size_t)got;
    return got;
}

ssize_t pipe_drain(struct pipe *x, int fd, size_t n)
{
    ssize_t sent = splice(x->from, NULL, fd, NULL, n < x->held ? n : x->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (sent > 0)
        x->held -= (size_t)sent;
    return sent;
}
