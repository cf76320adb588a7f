/* The data path of a bound pair: bytes from one stream to the other and back, nothing else.
 *
 * Plain to plain: a small read is copied through the thread's scratch at once; bulk is spliced through a pooled pipe
 * that is held only while data flows. A TLS side is copied. A byte is not read before the other side can take it: what
 * waits stays in the kernel, TCP's window holds the sender. Half-close passes through in both directions; what was sent
 * before a close arrives. An idle pump holds no buffer and no pipe. Interface open for a path below the sockets
 * (performance.md 5): who starts a pump does not know which path it takes.
 */
#ifndef SYS_PUMP_H
#define SYS_PUMP_H

#include "sys/conn.h"

enum pump_side { PUMP_A, PUMP_B };

struct pump;

struct pump_end {
    uint64_t bytes[2];    /* [PUMP_A]: read from A and written to B */
    enum pump_side first; /* who ended first (FIN or error) */
    bool by_owner;        /* pump_stop was called */
    enum conn_end why;    /* EOF: both directions ended in good order; NONE: by the owner, nothing had failed */
};

struct pump_ops {
    /* May `want` bytes from this side be forwarded now? Returns 0..want; 0: `*retry_ms` (relative) says when to ask
     * again. Asked about bytes that are there: what is granted is forwarded, unless a side fails. It may call
     * pump_stop. NULL: no limit, and one system call less for each read. */
    size_t (*grant)(void *user, enum pump_side from, size_t want, uint64_t *retry_ms);
    /* Both directions have ended; both conns are closed and may be freed. Called once, from the loop or from pump_stop;
     * the pump is freed at the end of the turn. When a side was reset, the other one was too, after it had acknowledged
     * everything that came before (or nothing for 16 s). */
    void (*ended)(void *user, const struct pump_end *end);
};

/* Per worker: pipes, scratch. */
struct pump_pool;
struct pump_pool *pump_pool_new(struct loop *l, unsigned max_pipes);
void pump_pool_free(struct pump_pool *p);

/* Takes over two open conns (detached or attached; of this loop; one that is still being dialled will do). Their kept
 * input (conn_unread) is forwarded first, their unsent output goes out before anything of the pump. `user` goes to the
 * ops. NULL: no memory, the conns are untouched. */
struct pump *pump_start(struct pump_pool *pool, struct conn *a, struct conn *b, const struct pump_ops *ops, void *user);
/* Ends at once: flushes what the kernel takes, closes both sides; `ended` is called (by_owner) before it returns. */
void pump_stop(struct pump *p);
/* Bytes so far: [PUMP_A] from A to B. */
void pump_bytes(const struct pump *p, uint64_t out[2]);

#endif
