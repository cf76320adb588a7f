/* SIP server transactions as a machine: told of requests, of the answers that the user of the transaction gives, and of
 * time; it says what is new, what is a retransmission and which bytes answer it. RFC 3261 s.17.2.2 and s.17.2.3, for
 * all requests but INVITE; of an INVITE only the immediate refusal over a reliable transport, which needs no more. No
 * socket, no clock. Client transactions are not here.
 *
 * One for each thread. What it holds is bounded: without room a request is answered statelessly, or not at all.
 */
#ifndef CORE_SIPT_H
#define CORE_SIPT_H

#include "wire/sip.h"

enum {
    SIPT_T1_MS = 500,
    SIPT_J_MS = 64 * SIPT_T1_MS, /* how long a final answer is kept for retransmissions over UDP */
};

enum sipt_step {
    SIPT_NEW,    /* for the user of the transaction, who answers with sipt_respond or gives up with sipt_end */
    SIPT_REPEAT, /* a retransmission: send the same answer again */
    SIPT_WAIT,   /* a retransmission of what is still being worked on: nothing to do */
    SIPT_ACK,    /* an ACK, which is no transaction and is never answered */
    SIPT_FULL,   /* no room: answer 503 without a transaction, or drop */
};

struct sipt;

/* At most `transactions` at a time, which keep at most `bytes` of answers together. NULL: no memory. */
struct sipt *sipt_new(size_t transactions, size_t bytes);
void sipt_free(struct sipt *s);
/* A request that sip_check let pass. `is_reliable`: it came over a stream, where nothing is sent twice, so that an
 * answer needs not be kept (timer J is 0). SIPT_NEW: `*id` names the transaction; SIPT_REPEAT: `*answer` are the bytes,
 * borrowed until the next call. */
enum sipt_step sipt_request(struct sipt *s, const struct sip_msg *m, bool is_reliable, uint64_t now_ms, uint64_t *id,
                            struct span *answer);
/* The user's answer, which the caller sends; a copy is kept where it may have to be sent again. A final one (200 and
 * above) is the last. 0; ERR_NONE: there is no such transaction any more, or it has had its final answer: do not send;
 * ERR_FULL, ERR_NOMEM: send it, but a retransmission will not be answered. */
int sipt_respond(struct sipt *s, uint64_t id, int status, struct span message, uint64_t now_ms);
/* Ends a transaction without an answer (BENOTIFY). Harmless for one that has ended. */
void sipt_end(struct sipt *s, uint64_t id);
size_t sipt_count(const struct sipt *s);
/* When sipt_tick must be called next, or HEAP_NEVER. */
uint64_t sipt_deadline(const struct sipt *s);
void sipt_tick(struct sipt *s, uint64_t now_ms);

#endif
