/* The TURN server of one worker as a machine: told what happened (a message, a datagram of a peer, an accepted
 * connection, a moment in time), it appends to a list what is to be done.
 *
 * RFC 8489 (Binding, authentication), RFC 8656 (UDP allocations), RFC 6062 (TCP allocations), and the same relay in the
 * words of MS-TURN (core/msturn). No socket, no clock:
 * scenes and fuzzers run it as the server does. Not here: reading and writing, TLS, the pump (sys/, app/relay).
 */
#ifndef CORE_TURN_H
#define CORE_TURN_H

#include "core/act.h"
#include "core/cred.h"
#include "core/limit.h"
#include "core/peer_rules.h"
#include "core/port_range.h"

/* A relay address of this machine, and as the world sees it (1:1 NAT); equal without NAT. Ports are 0. */
struct turn_relay {
    struct addr local, advertised;
};

/* What a reload can change. Immutable; belongs to the caller, who keeps it until another one has been set everywhere.
 */
struct turn_policy {
    const struct cred_table *creds;
    const struct peer_rules *rules;
    const struct turn_relay *relays;
    size_t relays_n;
    bool relay_where_reached; /* for clients whose server address has the family wanted: relay there, `relays` are for
                                 the rest */
    uint32_t lifetime_default_s; /* RFC 8656 s.7.2: 600 */
    uint32_t lifetime_max_s;     /* 3600 */
    uint32_t allocation_permissions, allocation_channels,
        allocation_connections; /* for each allocation; 0 = no limit */
    bool is_ms_off, is_ms_only; /* MS-TURN is not spoken; or nothing else is */
    uint32_t ms_version;        /* announced: 2, or 3 to offer SHA-256 */
    struct addr ms_alternate;   /* told with 300 when there is no room; ADDR_NONE: 500 instead */
};

/* What all workers share. */
struct turn_shared {
    struct limiter *limiter;
    struct port_ranges *ranges;
    struct nonce_key nonces;
};

/* The largest piece that fits into a Data Indication with an IPv6 address in one frame (microsoft.md A.1.1). */
enum { TURN_PEER_BYTES_MAX = 0xffff - 20 - 8 - 24 - 4 };

struct turn;

/* `worker`: its index, 0..255; `workers`: how many there are. NULL: no memory. */
struct turn *turn_new(struct turn_shared *shared, const struct turn_policy *policy, unsigned worker, unsigned workers);
/* Frees everything. Allocations still there vanish without acts: end them first with turn_end_all for a clean close. */
void turn_free(struct turn *t);

/* The time for everything that follows: monotonic milliseconds and seconds since 1970. */
void turn_clock(struct turn *t, uint64_t now_ms, uint64_t wall_s);
/* When turn_tick is due: monotonic milliseconds, HEAP_NEVER for never. */
uint64_t turn_deadline(const struct turn *t);
/* Ends what has expired. True: there is more, call again after carrying out the acts. */
bool turn_tick(struct turn *t, struct acts *acts);

/* A new policy. Then call turn_revoke until it returns false: it ends permissions and connections that the new rules
 * forbid (checklist S7). */
void turn_set_policy(struct turn *t, const struct turn_policy *policy);
bool turn_revoke(struct turn *t, struct acts *acts);
/* No new allocations from now on (RFC 8656 gives no better code than 508). */
void turn_drain(struct turn *t);
/* Ends all allocations, a few at a time; true: call again. */
bool turn_end_all(struct turn *t, const char *reason, struct acts *acts);
size_t turn_count(const struct turn *t);

/* ---- from clients ---- */

/* One STUN message. ERR_BAD when it is none: a stream is then lost, a datagram is ignored. Otherwise 0. */
int turn_message(struct turn *t, const struct flow *flow, struct span message, struct acts *acts);
/* ChannelData. Without an allocation or binding it is dropped. */
void turn_channel_data(struct turn *t, const struct flow *flow, uint16_t channel, struct span payload,
                       struct acts *acts);
/* One datagram of a client, whatever it is: MS-TURN, data for the active destination, STUN, ChannelData, noise
 * (microsoft.md A.1.4). */
void turn_datagram(struct turn *t, const struct flow *flow, struct span datagram, struct acts *acts);
/* Is every datagram of this 5-tuple for turn_datagram, even one that looks like DTLS? */
bool turn_takes_all(const struct turn *t, const struct flow *flow);
/* One message of MS-TURN. As turn_message. */
int turn_ms_message(struct turn *t, const struct flow *flow, struct span message, struct acts *acts);
/* Data for the active destination. Without one it is dropped. */
void turn_ms_data(struct turn *t, const struct flow *flow, struct span data, struct acts *acts);
/* How many of `want` bytes this client's stream may bring now: as payer_bytes, of the allocation's payer. */
size_t turn_ms_grant(struct turn *t, const struct flow *flow, size_t want, uint64_t *retry_ms);
/* The client has sent its FIN. True: what joined peers send still goes to it; otherwise nothing is left to do but
 * turn_client_closed. */
bool turn_client_fin(struct turn *t, const struct flow *flow, struct acts *acts);
/* Does an allocation rest on this flow? */
bool turn_has_allocation(const struct turn *t, const struct flow *flow);
/* The stream has ended, or a DTLS association: ends its allocation. */
void turn_client_closed(struct turn *t, const struct flow *flow, struct acts *acts);

/* ---- answers to acts ---- */

/* ACT_OPEN_PORT: err 0 with the address bound and the caller's link; ERR_FULL: the port is in use by another program,
 * another is tried; any other error ends the attempt with 508. */
void turn_port_opened(struct turn *t, uint64_t handle, int err, void *link, struct acts *acts);
/* ACT_DIAL: the caller's link of the dial in progress, so that it can be dropped. */
void turn_dialing(struct turn *t, uint64_t handle, void *link);
/* ACT_DIAL: err 0 when connected; otherwise `reason` (a short phrase). A failed link comes back
 * with ACT_DROP_PEER. */
void turn_dialed(struct turn *t, uint64_t handle, int err, const char *reason, void *link, struct acts *acts);
/* ACT_PAIR: both directions have ended. `up`: bytes from client to peer; `closed_by`: "client", "peer", "server". */
void turn_pair_ended(struct turn *t, uint64_t handle, uint64_t up, uint64_t down, const char *closed_by,
                     const char *reason, struct acts *acts);

/* ---- from peers ---- */

void turn_peer_datagram(struct turn *t, uint64_t port, const struct addr *from, struct span payload, struct acts *acts);
/* An ICMP error for what was sent to `peer` (RFC 8656 s.11.5). */
void turn_peer_icmp(struct turn *t, uint64_t port, const struct addr *peer, const struct stun_icmp *icmp,
                    struct acts *acts);
/* A peer has connected to a TCP relay port. The handle of the waiting peer, or 0: refused, the caller resets it. */
uint64_t turn_peer_accepted(struct turn *t, uint64_t port, const struct addr *from, void *link, struct acts *acts);
/* Bytes of a joined peer, at most TURN_PEER_BYTES_MAX, which reach the client as one piece. */
void turn_peer_bytes(struct turn *t, uint64_t handle, struct span bytes, struct acts *acts);
/* A joined peer has sent its FIN, or (`failed`) its connection is broken; `reason`: a short phrase. */
void turn_peer_ended(struct turn *t, uint64_t handle, bool failed, const char *reason, struct acts *acts);
/* A waiting peer's connection failed before the bind (reset): the link is gone. */
void turn_peer_lost(struct turn *t, uint64_t handle, struct acts *acts);

#endif
