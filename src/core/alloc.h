/* An allocation: credentials, lifetime, relay ports, control flow. The verbs every TURN dialect uses; the requests that
 * call them are in turn_*.c. Private to core/.
 *
 * RFC 8656 s.3.2, s.6. The owner of an allocation is the user whose credentials made it (441 otherwise).
 */
#ifndef CORE_ALLOC_H
#define CORE_ALLOC_H

#include "core/port.h"
#include "core/turn.h"

enum { PORT_V4, PORT_V6, PORTS };
enum { ALLOC_PEERS_CAP = 128 }; /* peer connections of an allocation, whatever the configuration says: see core/act.c */

struct ms_alloc;

/* What peers do, in the words of the allocation's dialect. */
struct alloc_dialect {
    void (*datagram)(struct turn *t, struct port *p, const struct addr *from, struct span payload, struct acts *acts);
    void (*icmp)(struct turn *t, struct port *p, const struct addr *peer, const struct stun_icmp *icmp,
                 struct acts *acts);
    /* A peer has connected: waiting or joined, or NULL: refused and logged. */
    struct peer *(*accepted)(struct turn *t, struct port *p, const struct addr *from, void *link, struct acts *acts);
    /* A dial has ended well (the peer is in state DIALING)... */
    void (*peer_connected)(struct turn *t, struct peer *x, struct acts *acts);
    /* ...or not: told to the client, where the dialect can. */
    void (*dial_failed)(const struct peer *x, int code, struct acts *acts);
    /* A peer is about to be forgotten: logged, and told where it matters. */
    void (*dropping)(struct turn *t, struct peer *x, struct acts *acts);
    const char *waits_for; /* the rule by which a waiting peer is dropped in the end */
};
extern const struct alloc_dialect ALLOC_RFC, ALLOC_MSTURN;

struct alloc {
    struct map_node by_tuple;
    struct tuple tuple;
    struct list link;
    struct deadline deadline;
    struct flow flow;
    const struct alloc_dialect *dialect;
    struct ms_alloc *ms; /* MS-TURN's own, NULL otherwise */
    uint32_t id;         /* its slot: the number space of its channels */
    uint64_t session;    /* for events */
    uint64_t since_ms;
    uint32_t lifetime_s; /* as last granted */
    uint8_t relay;       /* TRANSPORT_UDP or TRANSPORT_TCP */
    bool is_ending;
    uint8_t rule;               /* enum integrity_rule of its last request: a late answer uses it */
    uint8_t tid[STUN_TID];      /* of the Allocate that made it: a retransmission is answered again */
    uint8_t missing_family;     /* of a dual allocation: the one that could not be had */
    uint16_t missing_code;      /* and why */
    uint64_t token;             /* reservation made with it, 0 = none */
    uint8_t owner[SHA256_SIZE]; /* digest of the user name that made it */
    struct stun_key key;
    struct payer payer;
    struct port *ports[PORTS];
    uint64_t up_bytes, down_bytes, up_packets, down_packets, dropped;
    const char *why_ended;
};

struct turn {
    struct turn_shared *shared;
    const struct turn_policy *policy;
    struct port_table table;
    struct map allocs; /* by 5-tuple */
    struct list all;   /* every allocation, the ending ones too */
    struct pool alloc_pool, ms_pool;
    uint64_t now_ms, wall_s;
    unsigned workers;
    size_t count;
    bool is_draining;
    struct list *revoking; /* where turn_revoke goes on */
    struct turn_opening *opening;
    struct stun_msg msg; /* the message being processed */
};

/* Made with this user name? (RFC 8656 s.5; 441 otherwise) */
bool alloc_is_owner(const struct alloc *a, const struct cred *cred);
struct alloc *alloc_find(const struct turn *t, const struct tuple *tuple);
/* A new allocation without ports, in the books of its payer. 0, or 486 or 508 with the limit that refused. */
int alloc_new(struct turn *t, const struct flow *flow, const struct cred *cred, const struct alloc_dialect *dialect,
              uint8_t relay, struct alloc **out, const char **limit);
/* Sets the lifetime of both ports (`family` ADDR_NONE) or of one, from now. */
void alloc_set_lifetime(struct turn *t, struct alloc *a, uint8_t family, uint32_t lifetime_s);
/* Begins to end it: no longer found by its 5-tuple; waiting peers are dropped, bound ones stopped; freed, with its
 * event, when the last has ended. */
void alloc_end(struct turn *t, struct alloc *a, const char *reason, struct acts *acts);
/* Ends the port of one family of a dual allocation; the last one ends the allocation. */
void alloc_end_port(struct turn *t, struct alloc *a, int which, const char *reason, struct acts *acts);
/* A bound peer has ended: frees an ending allocation once nothing is left of it. */
void alloc_settle(struct turn *t, struct alloc *a, struct acts *acts);
/* Frees one that never got a port: no event. */
void alloc_discard(struct turn *t, struct alloc *a, struct acts *acts);
/* Drops a peer that is dialling or waiting. */
void alloc_drop_peer(struct turn *t, struct peer *x, bool abort, struct acts *acts);
/* Ends a peer in any state: a bound one when its pump has ended. */
void alloc_end_peer(struct turn *t, struct peer *x, bool abort, struct acts *acts);
/* The port for peers of this family, or NULL; one that is ending serves nobody any more. */
struct port *alloc_port(const struct alloc *a, uint8_t family);
static inline struct alloc *alloc_of(const struct port *p)
{
    return p->owner;
}

#endif
