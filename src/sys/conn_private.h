/* Private to conn.c (the loop's side) and conn_io.c (moving bytes, plain or TLS). */
#ifndef SYS_CONN_PRIVATE_H
#define SYS_CONN_PRIVATE_H

#include "sys/conn.h"

enum conn_state {
    ST_PAUSED = 1 << 0,
    ST_SNIFF = 1 << 1,
    ST_ENDED = 1 << 2,          /* nothing will be read any more */
    ST_FRESH = 1 << 3,          /* kept input is to be delivered without waiting for more */
    ST_READ_WANTS_OUT = 1 << 4, /* TLS must write before it can read on */
    ST_WRITE_WANTS_IN = 1 << 5,
    ST_LOW_WATER = 1 << 6, /* SO_RCVLOWAT is raised */
    ST_SHUT = 1 << 7,      /* our FIN is out */
    ST_TLS_DEAD = 1 << 8,  /* after a fatal error: OpenSSL must not be asked again */
    ST_KEPT = 1 << 9,      /* output was kept, and `drained` has not told yet that it is gone */
};

static inline void conn_fail(struct conn *c, enum conn_end why)
{
    if (!c->failed)
        c->failed = why;
}

/* What a buffer is made for that must hold `n` bytes. */
static inline uint32_t conn_round(size_t n)
{
    return (uint32_t)((n + 63) / 64 * 64);
}

void conn_drop_output(struct conn *c);
/* conn_write without what concerns the loop. A failure is noted in c->failed. */
int conn_write_or_keep(struct conn *c, const struct iovec *parts, int n);

#endif
