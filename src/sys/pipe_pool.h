/* Pipes for splice(2), lent for as long as bytes are in them.
 *
 * One pool a worker. A pipe costs two descriptors and a few kB of kernel memory, so that nobody keeps one while
 * idle, and pipes that nobody needed for a second are closed. What the kernel allows may be less than what is asked for
 * (RLIMIT_NOFILE; pipe-user-pages-soft for an ordinary user): then there is none, and the caller copies.
 */
#ifndef SYS_PIPE_POOL_H
#define SYS_PIPE_POOL_H

#include <sys/types.h>

#include "sys/loop.h"

struct pipe {
    struct pipe *next; /* among the idle ones */
    int from, to;      /* to be read, to be written */
    size_t held;       /* bytes in it */
};

struct pipe_pool {
    struct loop *loop;
    struct pipe *idle;
    unsigned idle_n;   /* how many are idle, */
    unsigned idle_low; /* and the fewest since the last trim */
    unsigned open_n, open_max;
    uint64_t refused_ms; /* when the kernel last refused one */
    struct timer trim;
};

void pipe_pool_init(struct pipe_pool *p, struct loop *l, unsigned max_pipes);
/* Closes the idle ones; none may be lent out. */
void pipe_pool_fini(struct pipe_pool *p);
/* An empty pipe, or NULL: max_pipes are lent, or the kernel refuses. */
struct pipe *pipe_get(struct pipe_pool *p);
/* Gives it back; one that still holds bytes is closed with them. */
void pipe_put(struct pipe_pool *p, struct pipe *x);

/* Moves up to `n` bytes from a socket into the pipe: count, 0 at the end of the stream, or -1 with errno (EAGAIN also
 * when the pipe is full). */
ssize_t pipe_fill(struct pipe *x, int fd, size_t n);
/* Moves up to `n` bytes that the pipe holds to a socket: count, or -1 with errno. */
ssize_t pipe_drain(struct pipe *x, int fd, size_t n);

#endif
