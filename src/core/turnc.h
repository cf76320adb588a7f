/* A TURN client as a machine: one allocation over one control transport, without socket and clock.
 *
 * RFC 8656 (allocations, permissions, channels, Send and Data), RFC 6062 (Connect, ConnectionAttempt, ConnectionBind),
 * RFC 8489 (transactions, long-term credentials). Not here: connecting, TLS, what runs over a bound data connection,
 * the choice of another server after 300.
 *
 * The owner asks (turnc_allocate ...), feeds what was received (turnc_receive), calls turnc_tick at the deadline, and
 * after each of these takes the acts, one after another, with turnc_next until it returns false. What was allocated is
 * kept alive: allocation, permissions and channels are refreshed from turnc_tick, silently as long as that works.
 *
 *     turnc_allocate(&c, &want, now);
 *     while (turnc_next(&c, &act))
 *         ... TURNC_TRANSMIT: write act.bytes to connection act.via ... TURNC_DONE, TURNC_FAILED: the answer to a
 * request
 *
 * Connections have numbers: 0 is the control transport, the owner numbers data connections (RFC 6062) from 1.
 */
#ifndef CORE_TURNC_H
#define CORE_TURNC_H

#include "base/list.h"
#include "core/turnc_auth.h"
#include "core/txn.h"
#include "wire/frame.h"

enum { TURNC_REASON_MAX = 128, TURNC_CONTROL = 0 };

enum turnc_act_kind {
    TURNC_TRANSMIT, /* bytes: to be written to `via` */
    TURNC_DONE,     /* the request `method` succeeded */
    TURNC_FAILED,   /* the request `method` did not, see `why`; for a refresh that nobody asked for too */
    TURNC_ATTEMPT,  /* a peer has connected: peer, connection (RFC 6062 s.5.4); answer with turnc_bind */
    TURNC_DATA,     /* peer, bytes; channel if it came through one */
    TURNC_ICMP,     /* peer, icmp: what became of something sent to it (RFC 8656 s.11.6) */
    TURNC_LOST,     /* the server no longer has the allocation; everything that hung on it is gone */
};

/* Why a request failed. */
enum turnc_why {
    TURNC_REFUSED = 1,  /* the server said so: code, reason; code 300: `peer` is the other server if it named one */
    TURNC_SILENT,       /* no answer at all */
    TURNC_UNVERIFIED,   /* only answers whose integrity is missing or wrong; code is what the last of them claimed */
    TURNC_BID_DOWN,     /* somebody removed PASSWORD-ALGORITHMS on the way (RFC 8489 s.9.2.5) */
    TURNC_NO_ALGORITHM, /* the server knows no password algorithm that we know */
    TURNC_MALFORMED,    /* the answer lacks what it must have, or has what nobody understands */
};

/* Bytes and texts are valid until the next call. */
struct turnc_act {
    uint8_t kind;        /* enum turnc_act_kind */
    uint8_t method;      /* enum stun_method of the request that is done or failed */
    uint8_t why;         /* enum turnc_why */
    uint16_t channel;    /* of a channel binding or channel data */
    uint32_t connection; /* CONNECTION-ID: of an attempt, a Connect that is done, or a bind */
    uint64_t via;        /* connection to write to; of a bind: the data connection */
    struct addr peer;
    struct span bytes;
    int code;           /* STUN error code, 0 when there is none */
    const char *reason; /* the server's phrase, made printable; "" */
    int64_t rtt_ms;     /* of a request that was sent only once, else -1 */
    struct stun_icmp icmp;
};

/* What an allocation shall be. */
struct turnc_want {
    uint8_t transport;  /* 17 = UDP, 6 = TCP (RFC 6062) */
    uint8_t family;     /* enum addr_family; ADDR_NONE: the server's default, IPv4 */
    bool additional_v6; /* IPv6 besides IPv4 (RFC 8656 s.7.1) */
    bool even_port;     /* EVEN-PORT */
    bool reserve;       /* with the next higher port reserved */
    bool dont_fragment;
    uint32_t lifetime_s; /* 0: the server's default */
    uint8_t token[8];    /* RESERVATION-TOKEN to redeem */
    bool has_token;
};

enum { TURNC_UDP = 17, TURNC_TCP = 6 };

struct turnc_rules;
extern const struct turnc_rules TURNC_RFC; /* RFC 8656 and 6062 */

struct turnc_config {
    const struct turnc_rules *rules;
    bool is_stream;             /* control transport: TCP or TLS, instead of UDP or DTLS */
    struct span user, password; /* copied; no user: requests stay unauthenticated, a challenge ends them */
    uint32_t rto_ms;            /* 0: TXN_RTO_MS */
};

struct turnc_ask;

struct turnc {
    const struct turnc_rules *rules;
    bool is_stream;
    uint32_t rto_ms;
    struct turnc_auth auth;

    bool is_allocated;
    struct turnc_want want;
    struct addr mapped, relayed, relayed2; /* as the server sees us; relayed addresses; ADDR_NONE where there is none */
    uint32_t lifetime_s;
    uint8_t token[8]; /* RESERVATION-TOKEN received */
    bool has_token;
    uint64_t refresh_ms; /* when the allocation is refreshed */
    uint16_t next_channel;

    struct list asks;  /* requests under way */
    struct list ended; /* requests whose result was not taken yet */
    struct list keeps; /* permissions and channels to keep alive */
    struct turnc_ask *spent;
    struct turnc_act incoming; /* the one thing that the last message brought; kind TURNC_TRANSMIT: nothing */
    bool is_lost;              /* TURNC_LOST is to be told */
};

/* 0 or ERR_FULL (name or password longer than STUN can carry). Copies; turnc_fini wipes the password. */
int turnc_init(struct turnc *c, const struct turnc_config *config);
void turnc_fini(struct turnc *c);

/* Requests. Each returns 0, ERR_NOMEM, or ERR_FULL (no such channel left, message too large); the result comes as
 * TURNC_DONE or TURNC_FAILED. All but Binding and ConnectionBind need an allocation: ERR_DENIED without one, and
 * turnc_allocate ERR_DENIED with one. */
int turnc_binding(struct turnc *c, uint64_t now_ms);
int turnc_allocate(struct turnc *c, const struct turnc_want *want, uint64_t now_ms);
/* Lifetime 0 gives the allocation back. */
int turnc_refresh(struct turnc *c, uint32_t lifetime_s, uint64_t now_ms);
int turnc_permit(struct turnc *c, const struct addr *peer, uint64_t now_ms);
/* Binds the next free channel, which is then used by turnc_send. */
int turnc_channel(struct turnc *c, const struct addr *peer, uint64_t now_ms);
int turnc_connect(struct turnc *c, const struct addr *peer, uint64_t now_ms);
/* Binds data connection `via` (already connected to the server) to a peer connection. After TURNC_DONE every further
 * byte of it is the peer's. Needs no allocation of this machine: without a challenge the first request goes out
 * unauthenticated. */
int turnc_bind(struct turnc *c, uint32_t connection, uint64_t via, uint64_t now_ms);

/* Feeds received bytes of connection `via`: one datagram, or the start of what a stream holds. Takes one message and
 * returns its bytes (a datagram is always taken), 0 when a stream needs more, ERR_BAD when it makes no sense: close it.
 * `in` must stay until the acts are taken. */
int turnc_receive(struct turnc *c, uint64_t via, struct span in, uint64_t now_ms);
/* The next act, or false. */
bool turnc_next(struct turnc *c, struct turnc_act *act);
/* When turnc_tick must be called; UINT64_MAX = never. */
uint64_t turnc_deadline(const struct turnc *c);
void turnc_tick(struct turnc *c, uint64_t now_ms);
/* Nothing more can come from this data connection or, with TURNC_CONTROL, from the server: requests under way there
 * fail as TURNC_SILENT. */
void turnc_closed(struct turnc *c, uint64_t via);

/* Wraps a datagram to a peer: ChannelData when a channel is bound, else a Send indication. 0, ERR_FULL (does not fit
 * into `out`). */
int turnc_send(const struct turnc *c, const struct addr *peer, struct span payload, struct wr *out);

#endif
