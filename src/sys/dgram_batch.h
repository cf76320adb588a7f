/* Private to dgram.c (receiving) and dgram_queue.c (sending): what one worker's UDP sockets share. */
#ifndef SYS_DGRAM_BATCH_H
#define SYS_DGRAM_BATCH_H

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "sys/dgram.h"

enum {
    DGRAM_SLOTS = 32,
    DGRAM_SLOT_BYTES = 64 * 1024,
    DGRAM_SLOT_STEP = DGRAM_SLOT_BYTES + 17 * 64, /* no power of two: the slots' first lines share no cache set */
    DGRAM_QUEUE = 256,                            /* datagrams that wait to be sent */
    DGRAM_MESSAGES = 64,                          /* of one sendmmsg */
    DGRAM_SEGMENTS = 64,                          /* of one UDP_SEGMENT message (the kernel's UDP_MAX_SEGMENTS) */
    DGRAM_COPIES = 256 * 1024,
    DGRAM_CONTROL = 128,
};

struct dgram_control {
    _Alignas(struct cmsghdr) uint8_t bytes[DGRAM_CONTROL];
};

/* One datagram that waits. */
struct dgram_out {
    struct dgram *d;
    struct addr from, to; /* from: ADDR_NONE when the kernel chooses */
    struct span body;
    size_t size;
    bool dont_fragment;
    uint8_t head_n;
    uint8_t head[DGRAM_HEAD_MAX];
};

/* The kernel's view of some datagrams: used anew for each system call. */
struct dgram_view {
    struct mmsghdr messages[DGRAM_MESSAGES];
    struct sockaddr_storage names[DGRAM_MESSAGES];
    struct dgram_control control[DGRAM_MESSAGES];
    struct iovec parts[2 * DGRAM_QUEUE];
    unsigned first[DGRAM_MESSAGES], count[DGRAM_MESSAGES]; /* which of the queue a message carries */
    unsigned n, parts_n;
};

struct dgram_batch {
    struct loop *loop;
    struct later flush;      /* at the end of the turn, when something was queued outside of `receive` */
    struct dgram *receiving; /* whose callbacks run now; NULL: none, or it was closed by them */
    uint8_t *arena;          /* DGRAM_SLOTS, DGRAM_SLOT_STEP apart, touched as far as used */
    uint8_t *copies;
    size_t copied;
    uint64_t lost;
    unsigned queued;
    struct dgram_out queue[DGRAM_QUEUE];
    struct dgram_view in, out;
};

#endif
