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
    uint8_t families[PORTS]; /* to open, in this order */
    unsigned count, next, tries;
    bool even, pair;
    struct port_range *reserved_range; /* a redeemed reservation, not yet bound */
    uint16_t reserved_port;
};

/* Sends the success (code 0) or error response, with integrity, fingerprint and challenge as they are due, and logs a
 * refusal. */
void turn_answer(struct turn *t, struct request *r, int code);
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
