/* A one-way transfer between two links, checked byte by byte: each position has its own value, so that a hole is found
 * with its place and size.
 */
#ifndef APP_DOCTOR_TRANSFER_H
#define APP_DOCTOR_TRANSFER_H

#include "app/doctor_link.h"

struct transfer {
    struct link *from, *to;
    uint64_t seed;
    uint64_t total;          /* bytes to send; lowered when the time is up */
    uint64_t sent, received; /* received: in order and right */
    uint64_t pushed;         /* sent by transfer_push */
    bool is_damaged;         /* a byte came that does not belong there */
    uint64_t missing;        /* bytes that were skipped at the damage; 0: unknown */
    uint64_t took_us;        /* from the first write to the last byte */
};

void transfer_init(struct transfer *f, struct link *from, struct link *to, uint64_t total);
/* Writes without anybody reading, until all is written or nothing went for `quiet_ms`. 0 or ERR_SYS. */
int transfer_push(struct transfer *f, uint64_t quiet_ms);
/* Writes and reads until all has arrived. Stops sending at `soft_deadline_ms` (what was sent must still arrive). 0,
 * ERR_BAD (damaged), ERR_AGAIN (nothing moved for `stall_ms`), ERR_FULL (still moving, but it has taken twelve times
 * that), ERR_CLOSED (`to` ended early), ERR_SYS (a link broke). */
int transfer_run(struct transfer *f, uint64_t stall_ms, uint64_t soft_deadline_ms);
/* Waits for the end of the stream behind the last byte. 0, ERR_BAD (more bytes came), ERR_AGAIN (no end), ERR_SYS. */
int transfer_end(struct transfer *f, uint64_t stall_ms);
/* Mbit/s. */
double transfer_speed(const struct transfer *f);
/* What went wrong (`err` of the functions above) in words: "65536 bytes are missing behind byte 1024". */
void transfer_tell(const struct transfer *f, int err, struct text *out);

/* The bytes of positions at .. at+n-1. */
void transfer_pattern(uint64_t seed, uint64_t at, uint8_t *out, size_t n);

#endif
