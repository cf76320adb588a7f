/* Streams of the relay: client connections, their framing, and connections with peers. Private to app/relay_*.c.
 *
 * What a client speaks is found once, by its first bytes; from then on its framing says how messages lie in the stream
 * and what becomes of them.
 */
#ifndef APP_RELAY_STREAM_H
#define APP_RELAY_STREAM_H

#include "app/relay.h"
#include "wire/frame.h"

enum {
    CLIENT_OUT_MAX = 256 * 1024, /* unsent bytes kept for a slow client; datagrams beyond are dropped (S47) */
};

struct framing {
    /* As the functions of wire/frame. */
    int (*next)(struct span in, struct frame *out);
    /* May a frame of this size be taken now? False: the client is held, and its stream shown again later. */
    bool (*may_take)(struct client *c, size_t size);
    /* 0, or ERR_BAD: the stream carries something else. */
    int (*take)(struct client *c, const struct frame *f);
    /* The client has sent its FIN. True: the connection lives on. */
    bool (*fin)(struct client *c);
    const char *otherwise; /* what the stream carries when it is none of this */
};

struct client {
    struct conn conn;
    struct relay *relay;
    struct listener *listener;
    struct list link;
    struct flow flow;
    struct payer payer;
    struct timer timer;
    struct mail mail; /* to another worker */
    struct later gone;
    const struct framing *framing;
    uint64_t since_ms;
    size_t consumed; /* of the input being processed, up to the message in hand */
    size_t in_hand;  /* size of that message */
    int16_t hand_to; /* worker that owns the connection id; -1: none */
    bool is_trusted, is_given;
    /* MS-TURN, where peers' bytes go through this connection. */
    struct list joined;
    struct timer hold;  /* the limits said so */
    size_t credit;      /* bytes granted and not taken yet */
    bool is_held;       /* not read at present */
    bool has_ended;     /* its FIN has come */
    bool wants_fin;     /* ours is to follow the last byte */
    const char *ending; /* it is to be closed then, and why */
};

/* A connection with a peer: being dialled, waiting unread for its bind or a permission, then paired with a client's
 * data connection or joined to the client's own one. */
struct peer_conn {
    struct conn conn;
    struct source dial; /* until it is connected */
    struct relay *relay;
    uint64_t handle; /* of the machine's peer */
    struct later gone;
    struct client *client;
    const struct payer *payer;
    struct pump *pump;
    const char *stopped; /* the pump was stopped by us */
    /* MS-TURN */
    struct list link; /* in the client's `joined`, or in the relay's `lingering` */
    struct timer timer;
    struct rfc4571_cut cut;
    size_t credit;
    uint8_t *early; /* what waits for the dial */
    size_t early_n;
    bool is_joined, is_held, is_lingering;
    bool has_packets; /* a whole packet has come */
    bool has_ended;   /* its FIN has come, and is told when all before it is */
    bool wants_fin;
};

/* relay_tcp.c */
extern const struct framing FRAMING_STUN;
void relay_tcp_close_client(struct client *c, const char *reason);

/* relay_framed.c: MS-TURN */
extern const struct framing FRAMING_PSEUDOTLS, FRAMING_MSTURN;
void relay_framed_init(struct client *c);
void relay_framed_fini(struct client *c);
/* All that was kept unsent has gone to the client. */
void relay_framed_drained(struct client *c);
/* Takes a joined peer apart, or lets its last bytes go out. */
void relay_framed_drop(struct peer_conn *x, bool abort);
void relay_framed_free(struct peer_conn *x);
/* Keeps bytes that wait for the dial. 0 or ERR_NOMEM. */
int relay_framed_early(struct peer_conn *x, struct span bytes);

#endif
