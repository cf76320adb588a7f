/* The relay in the words of MS-TURN: Allocate (which also refreshes and releases), Send, Data Indication, Set Active
 * Destination; over UDP, and over TCP with frames of type 2 and 3. Private to core/.
 *
 * microsoft.md A.1 to A.8. The same allocations, ports, permissions, rules and limits as in core/turn; msturn.c judges
 * and answers requests, msturn_peer.c moves what lies between client and peers. Not here: frames of a stream and
 * pseudo-TLS (wire/frame), cutting a peer's stream into pieces (app/relay_framed).
 */
#ifndef CORE_MSTURN_H
#define CORE_MSTURN_H

#include "core/turn_request.h"

enum {
    MS_CONNECTION_ID = 20,
    MS_BANDWIDTH_KBIT = 12000, /* told to clients, who do nothing with it */
    MS_HOLD_MS = 10000,        /* an inbound peer without a permission is held unread so long (A.8.2) */
    MS_HELD_MAX = 16,          /* and so many of them */
    MS_QUEUE_MAX = 64 * 1024,  /* bytes that may wait for a dial */
    MS_ANSWER_MAX = 224,
};

/* What an allocation has beyond struct alloc. */
struct ms_alloc {
    uint8_t connection_id[MS_CONNECTION_ID];
    uint32_t top;       /* the highest sequence number seen */
    uint64_t seen;      /* bit n: top - n was seen; 0: none yet */
    struct addr active; /* destination, as the relay sees it; ADDR_NONE: none */
    bool has_fin;       /* the client sends no more */
    uint16_t answer_n;
    uint8_t answer[MS_ANSWER_MAX]; /* the last one, for a retransmitted request; as it lay on the wire */
};

/* Starts a message to a client in the arena, with room for a frame header where there is one; queues it once finished.
 */
void ms_begin(struct acts *acts, const struct flow *flow, struct stun_wr *w, enum stun_method method,
              enum stun_class cls, const uint8_t tid[STUN_TID]);
struct span ms_finish(struct acts *acts, const struct flow *flow, struct stun_wr *w);

/* A request that is authenticated by the allocation's key, not by a nonce (Send, Set Active Destination): 0 or a code
 * (A.5). */
int ms_judge(struct request *r);
/* Takes the request's sequence number: false when it came before, or is too old to tell (A.6). The connection id has
 * been checked. */
bool ms_take_sequence(struct request *r);

/* Installs a permission for the life of the allocation and joins peers that are held for it: 0 or a code. */
int ms_permit(struct turn *t, struct request *r, const struct turn_peer *peer, const struct addr *named);
int ms_send_request(struct turn *t, struct request *r);

#endif
