/* A STUN client transaction: when to send a request again, when to give up, how long the answer took.
 *
 * RFC 8489 s.6.2.1 (UDP: RTO, Rc, Rm) and s.6.2.2 (TCP: Ti). It holds no bytes and knows no attribute: the owner keeps
 * the request and sends it when told.
 */
#ifndef CORE_TXN_H
#define CORE_TXN_H

#include "wire/stun.h"

enum {
    TXN_RTO_MS = 500,  /* first retransmission, doubled each time */
    TXN_RC = 7,        /* requests sent in total */
    TXN_RM = 16,       /* RTOs to wait after the last one */
    TXN_TI_MS = 39500, /* a reliable transport sends once and waits this long; UDP's default sum is the same */
};

enum txn_step { TXN_WAIT, TXN_RESEND, TXN_TIMEOUT };

struct txn {
    uint8_t tid[STUN_TID];
    uint64_t sent_ms;     /* of the first request */
    uint64_t deadline_ms; /* when txn_tick must be called */
    uint32_t rto_ms;      /* 0: reliable transport */
    uint8_t sends;
};

/* Starts a transaction whose first request is sent now. `rto_ms`: first retransmission time-out (TXN_RTO_MS, or what is
 * known about the path), 0 over a reliable transport. */
void txn_start(struct txn *t, const uint8_t tid[STUN_TID], uint32_t rto_ms, uint64_t now_ms);
/* To be asked at the deadline: wait on, send the same bytes again, or give up. */
enum txn_step txn_tick(struct txn *t, uint64_t now_ms);
/* Is this the answer (success or error) to the request? The transaction id decides (RFC 8489 s.6.3.3). */
bool txn_is_mine(const struct txn *t, const struct stun_msg *m);
/* Round-trip time of an answer that came now, or -1 when the request was sent more than once: nobody knows which one
 * was answered. */
int64_t txn_rtt_ms(const struct txn *t, uint64_t now_ms);

#endif
