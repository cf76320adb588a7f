/* A UDP socket owned by one worker: datagrams in batches, datagrams out in batches, ICMP errors.
 *
 * One system call moves many datagrams: recvmmsg into the thread's arena (UDP_GRO where the kernel has it: one buffer,
 * many segments), sendmmsg from a queue that is flushed at the end of the turn (or when full); consecutive datagrams of
 * the same size to the same destination leave as one UDP_SEGMENT message. Nothing is allocated for a datagram.
 */
#ifndef SYS_DGRAM_H
#define SYS_DGRAM_H

#include "base/addr.h"
#include "sys/loop.h"

enum { DGRAM_HEAD_MAX = 64, DGRAM_PAYLOAD_MAX = 65507 };

struct dgram;

/* A received datagram; the bytes are borrowed until dgram_ops.receive returns, and by what it gave to dgram_send with
 * `keep`. */
struct dgram_in {
    struct addr from;
    struct addr to; /* local address and port it came to (packet info on wildcard sockets) */
    struct span bytes;
};

/* An ICMP error for a datagram that we sent (RFC 8656 s.11.5-11.6). One that is too big for the first link already,
 * sent with `dont_fragment`, is reported the same way: "fragmentation needed", "packet too big". */
struct dgram_icmp {
    struct addr peer; /* where we had sent it */
    uint8_t type, code;
    uint32_t data; /* the 4 bytes behind the checksum, e.g. the next-hop MTU */
    bool v6;
};

/* The callbacks may close the dgram and free it. */
struct dgram_ops {
    void (*receive)(struct dgram *d, const struct dgram_in *in);
    /* NULL: ICMP errors are not asked for. */
    void (*icmp)(struct dgram *d, const struct dgram_icmp *icmp);
};

struct dgram {
    struct source src;
    struct dgram_batch *batch; /* of the worker */
    const struct dgram_ops *ops;
    struct addr local; /* as bound; port filled in */
    bool pktinfo;      /* wildcard: each datagram says to which address it came, and may choose from which it leaves */
    uint16_t gso_max;  /* the largest segment that UDP_SEGMENT has not refused, in bytes; 0: not used */
    struct addr too_big; /* private: destination of the last one that was too big for the first link */
};

/* The receive arena and the send queue of one worker. */
struct dgram_batch *dgram_batch_new(struct loop *l); /* NULL: no memory */
void dgram_batch_free(struct dgram_batch *b);

/* Wraps a bound UDP socket (sock_udp), owns the fd, registers it. DF is switched off for IPv4 (RFC 8656 s.14). 0 or
 * ERR_SYS; then the fd is closed. */
int dgram_open(struct dgram *d, int fd, struct dgram_batch *batch, const struct dgram_ops *ops);
/* Flushes what is queued for it, closes. Harmless twice. */
void dgram_close(struct dgram *d);
/* Queues one datagram made of two parts. `from`: the local address to send from on a wildcard socket (NULL: the kernel
 * chooses). `head` (at most DGRAM_HEAD_MAX bytes) is copied. `keep`: the body lies in the dgram_in that is being
 * received and is borrowed until the queue is flushed; otherwise it is copied. `dont_fragment`: IP DF (RFC 8656 s.14).
 * Leaves at the end of the turn, or before the next datagrams are received, or when the queue is full. Best effort: the
 * kernel's refusals are counted by dgram_lost. */
void dgram_send(struct dgram *d, const struct addr *from, const struct addr *to, struct span head, struct span body,
                bool keep, bool dont_fragment);
void dgram_flush(struct dgram_batch *b);
/* Datagrams that the kernel refused (full buffers, no route), since the start. */
uint64_t dgram_lost(const struct dgram_batch *b);

#endif
