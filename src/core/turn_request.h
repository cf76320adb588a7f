/* A request while it is being processed, and the handlers of the methods. Private to core/turn*.c.
 *
 * A handler returns 0 (the success response in `w` is complete but for integrity), an error code, or TURN_LATER. One
 * place answers, counts and logs it (turn_answer).
 */
#ifndef CORE_TURN_REQUEST_H
#define CORE_TURN_REQUEST_H

#include "core/alloc.h"

enum { TURN_LATER = -1 };

struct request {
    struct flow flow;
    const struct stun_msg *m; /* of struct turn: valid while the acts of this message are carried out */
    struct acts *acts;
    struct alloc *a; /* of the 5-tuple, or NULL */
    struct cred cred;
    bool is_authenticated;
    bool is_logged;  /* the handler has written the event of its refusal */
    const char *why; /* the rule that refused */
    struct stun_wr w;
};

/* An Allocate that waits for its ports: there is one at most, for ports are opened while its acts are carried out. */
struct turn_opening {
    struct request r;
    struct alloc *a;
    /* Answers: code 0 with the allocation, which has its ports; otherwise there is none. */
    void (*finish)(struct turn *t, struct request *r, struct alloc *a, int code);
    uint8_t families[PORTS]; /* to open, in this order */
    unsigned count, next, tries;
    bool even, pair;
    bool has_token; /* to redeem a reservation with */
    uint64_t token;
    struct port_range *reserved_range; /* a redeemed reservation, not yet bound */
    uint16_t reserved_port;
};

/* Sends the success (code 0) or error response, with integrity, fingerprint and challenge as they are due, and logs a
 * refusal. */
void turn_answer(struct turn *t, struct request *r, int code);
/* Logs a refusal, unless the handler has done so. */
void turn_log_refusal(struct request *r, int code);
/* May this answer of `size` bytes go out? Strangers have a budget. */
bool turn_may_answer(struct turn *t, const struct request *r, int code, size_t size);
/* Makes an allocation and opens its ports as `t->opening` says (families, count, even, pair); the request is answered
 * by `finish`. TURN_LATER, or the code of a refusal that came at once. */
int turn_open(struct turn *t, struct request *r, const struct alloc_dialect *dialect, uint8_t relay);
/* Starts a message to a client in the arena of the list, and queues it once finished. */
void turn_begin(struct acts *acts, struct stun_wr *w, enum stun_method method, enum stun_class cls,
                const uint8_t tid[STUN_TID]);
void turn_send(struct acts *acts, struct stun_wr *w, const struct flow *flow);

/* Logs a ConnectionBind that failed; `x`: the peer connection it meant, or NULL. */
void turn_log_bind_failed(struct request *r, const struct peer *x, int code);

int turn_allocate(struct turn *t, struct request *r);
int turn_refresh(struct turn *t, struct request *r);
int turn_create_permission(struct turn *t, struct request *r);
int turn_channel_bind(struct turn *t, struct request *r);
void turn_send_indication(struct turn *t, struct request *r);
int turn_connect(struct turn *t, struct request *r);
int turn_connection_bind(struct turn *t, struct request *r);
void turn_channel_from(struct turn *t, struct alloc *a, uint16_t number, struct span payload, struct acts *acts);

/* ---- shared by the dialects ---- */

void turn_log_made(struct turn *t, const struct request *r, const struct alloc *a);
void turn_log_refreshed(const struct request *r, uint32_t lifetime_s);
void turn_log_permission(struct request *r, const struct addr *peer);
/* Who it is: user, peer, relayed address. */
void turn_log_peer(struct ev *e, const struct peer *x);
void turn_log_peer_refused(struct alloc *a, const struct port *p, const struct addr *from, const char *rule,
                           struct acts *acts);
/* May the allocation have one more TCP connection with a peer? */
bool turn_has_room(const struct turn *t, const struct alloc *a);
/* A datagram to a peer, if permission and limits allow it. */
void turn_to_peer(struct turn *t, struct alloc *a, const struct port *p, const struct permission *x,
                  const struct addr *peer, struct span body, bool df, struct acts *acts);

/* ---- what peers do, as RFC 8656 and 6062 tell the client ---- */

void turn_datagram_in(struct turn *t, struct port *p, const struct addr *from, struct span payload, struct acts *acts);
void turn_icmp_in(struct turn *t, struct port *p, const struct addr *peer, const struct stun_icmp *icmp,
                  struct acts *acts);
struct peer *turn_accepted(struct turn *t, struct port *p, const struct addr *from, void *link, struct acts *acts);
void turn_connected(struct turn *t, struct peer *x, struct acts *acts);

/* The relay's own view of a peer address that a client named: the advertised address of our 1:1 NAT is our local one.
 */
struct addr turn_peer_in(const struct turn *t, struct addr peer);
/* The other way: our local relay address as the world names it... */
struct addr turn_peer_named(const struct turn *t, struct addr peer);
/* ...and only for relayed transport addresses of ours. */
struct addr turn_peer_out(const struct turn *t, const struct port *p, struct addr peer);
/* A peer that a request named and that is allowed. */
struct turn_peer {
    struct addr addr;  /* as the relay sees it */
    struct port *port; /* to talk through */
    bool relay_only;   /* as in peer_rules */
};

/* The late answer to the Connect that made this peer. */
void turn_answer_connect(const struct peer *x, int code, struct acts *acts);
/* Judges a peer address as the client named it: 0, 443, or 403 (logged with the rule). */
int turn_judge_peer(struct turn *t, struct request *r, const struct addr *named, struct turn_peer *out);
/* May bytes go to and come from this very transport address, given a permission? */
bool turn_may_talk(const struct turn *t, const struct port *p, const struct permission *x, const struct addr *peer);

#endif
