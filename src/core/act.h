/* What a machine asks of its caller. Machines have no socket and no clock: they are told what happened and answer with
 * a short list of acts, which the caller carries out in order. Carrying one out may tell the machine something new (a
 * port is open, a dial failed), which may append further acts to the same list.
 *
 * Links are the caller's own pointers: the machine keeps them, gives them back, and never looks inside. Bytes of an act
 * lie in the list's arena or in the input that is being processed; they are valid until acts_clear.
 */
#ifndef CORE_ACT_H
#define CORE_ACT_H

#include "base/ev.h"
#include "wire/stun.h"

enum transport { TRANSPORT_UDP, TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_DTLS };

static inline bool transport_is_stream(uint8_t t)
{
    return t == TRANSPORT_TCP || t == TRANSPORT_TLS;
}
const char *transport_name(uint8_t t);

/* The 5-tuple between client and server; a map key, so every byte is defined. */
struct tuple {
    struct addr client, server;
    uint8_t transport; /* enum transport */
    uint8_t unused[3]; /* zero */
};

/* Where a client's message came from and where answers go: for datagrams the tuple says it all, streams have a link. */
struct flow {
    struct tuple tuple;
    void *link; /* the caller's client connection, or the datagram socket that heard the client */
};

enum act_kind {
    ACT_TO_CLIENT, /* flow, head + body: one message (or ChannelData, padded in a stream) to the client */
    ACT_TO_PEER, /* relay UDP: link = datagram port, addr = peer, body; df. relay TCP: link = joined peer connection, or
                    the dial in progress, body: bytes of the stream, none of which may be lost */
    ACT_OPEN_PORT,  /* handle = port, addr = local address to bind, relay: answer with turn_port_opened */
    ACT_CLOSE_PORT, /* link = port */
    ACT_DIAL,      /* handle = peer, addr = peer's address, from = local relayed address, body: bytes to send once it is
                      joined: answer with turn_dialed */
    ACT_DROP_PEER, /* link = peer connection that is not bound (or a dial in progress): close; `abort`: with a reset */
    ACT_PAIR, /* flow.link = client's data connection, link = peer connection, handle = peer, payer: pump; answer with
                 turn_pair_ended when done */
    ACT_STOP_PAIR,  /* link = bound peer connection: stop the pump */
    ACT_HAND,       /* flow.link = client connection, worker: it belongs there, with the message that is being processed
                       unread */
    ACT_JOIN,       /* link = peer connection, handle = peer, flow.link = client connection, payer: read it and tell
                       turn_peer_bytes, write what ACT_TO_PEER brings; turn_peer_ended when it ends */
    ACT_FIN_PEER,   /* link = joined peer connection: no more bytes will come for it */
    ACT_FIN_CLIENT, /* flow.link: no more bytes will come for it; `abort`: nor can it send any more */
    ACT_TRUST_CLIENT, /* flow.link: it has proven itself (authenticated allocation): lift the limits for strangers */
};

struct payer;

struct act {
    uint8_t kind;  /* enum act_kind */
    uint8_t relay; /* enum transport of the relayed side: TRANSPORT_UDP or TRANSPORT_TCP */
    bool df;       /* ACT_TO_PEER: don't fragment */
    bool abort;    /* ACT_DROP_PEER: reset instead of FIN; ACT_FIN_CLIENT */
    uint8_t pad;   /* ACT_TO_CLIENT: zero bytes behind the body, 0..3 (ChannelData in a stream) */
    uint16_t worker;
    uint64_t handle;
    void *link;
    struct flow flow;
    struct addr addr, from;
    struct span head, body;
    const struct payer *payer;
};

enum {
    ACTS_MAX = 512,
    ACTS_EVENTS_MAX = 384,
    ACTS_ARENA = 72 * 1024,
    ACTS_REPEAT = 32, /* so many acts or events, and steps that repeat pause: see acts_has_room */
};

/* One for each worker, reused; too large for a stack. */
struct acts {
    unsigned n, done; /* acts in the list; of these already taken by acts_next */
    unsigned events_n;
    size_t arena_n;
    uint64_t events_lost;
    struct act list[ACTS_MAX];
    struct ev events[ACTS_EVENTS_MAX];
    uint8_t arena[ACTS_ARENA];
};

struct acts *acts_new(void); /* NULL: no memory */
void acts_free(struct acts *a);
void acts_clear(struct acts *a);
/* Appends an act, zeroed but for its kind. The list is sized for the largest single step of a machine and what follows
 * from carrying it out; steps that repeat (revoking, expiring) stop while acts_has_room says no. */
struct act *acts_add(struct acts *a, enum act_kind kind);
bool acts_has_room(const struct acts *a);
/* The next act to carry out, or NULL. */
struct act *acts_next(struct acts *a);
/* Room for a message in the arena: its start, with `*cap` bytes; taken by acts_keep. */
uint8_t *acts_room(struct acts *a, size_t *cap);
struct span acts_keep(struct acts *a, size_t n);
/* Starts an event; the caller of the machine stamps the time and records all events when the acts are done. */
struct ev *acts_event(struct acts *a, enum ev_kind kind, uint64_t session);

#endif
