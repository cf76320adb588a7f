/* A relayed transport address: who may talk through it (permissions, channels), which peers wait and which are bound.
 *
 * RFC 8656 s.9 (permissions: an IP address, 300 s), s.12 (channels: a transport address, 600 s), RFC 6062 s.5 (peer
 * connections by CONNECTION-ID). The same filter serves every dialect and the gateway's media ports. Knows nothing of
 * requests and credentials: that is core/turn; limits and rules are asked by the callers.
 */
#ifndef CORE_PORT_H
#define CORE_PORT_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pool.h"
#include "core/act.h"
#include "core/port_range.h"

enum {
    PERMISSION_MS = 300000,  /* RFC 8656 s.9 */
    CHANNEL_MS = 600000,     /* RFC 8656 s.12 */
    PEER_UNBOUND_MS = 30000, /* RFC 6062 s.5.3 */
    PEER_DIAL_MS = 30000,    /* RFC 6062 s.5.2 */
};

/* Every deadline of the machine, told apart by its kind. */
enum deadline_kind { DEADLINE_ALLOC, DEADLINE_PERMISSION, DEADLINE_CHANNEL, DEADLINE_PEER };
struct deadline {
    struct heap_node node;
    uint8_t kind;
};

/* What all ports of one worker share. */
struct port_table {
    struct map permissions, channels, channel_peers, peers, peer_addrs;
    struct pool ports, permission_pool, channel_pool, peer_pool;
    struct heap deadlines;
    uint8_t worker; /* high octet of every CONNECTION-ID made here */
};

struct port_addr_key {
    uint32_t port;
    struct addr addr;
};

struct port {
    uint32_t id; /* its slot: no other living port has it */
    uint8_t relay; /* TRANSPORT_UDP or TRANSPORT_TCP */
    bool is_open, is_ending;
    uint32_t permissions_n, channels_n, peers_n;
    void *link; /* the caller's socket */
    void *owner;
    struct port_range *range; /* the port number is given back to it */
    struct addr local;        /* relayed transport address on this machine */
    struct addr relayed;      /* as told to clients: differs behind 1:1 NAT */
    uint64_t expires_ms;
    struct list permissions, channels, peers;
};

struct permission {
    struct map_node node;
    struct port_addr_key key; /* address without port */
    struct list link;
    struct deadline deadline;
    struct port *port;
    uint64_t expires_ms;
    uint16_t channels_n; /* that rest on it */
    bool relay_only;     /* only our own relayed addresses at this IP address (enum peer_verdict) */
};

struct channel_key {
    uint32_t owner; /* number space: the port's owner */
    uint32_t number;
};

struct channel {
    struct map_node by_number;
    struct channel_key key;
    struct map_node by_peer;
    struct port_addr_key peer;
    struct list link;
    struct deadline deadline;
    struct port *port;
    struct permission *permission;
    uint64_t expires_ms;
};

enum peer_state {
    PEER_DIALING,
    PEER_WAITING, /* for ConnectionBind; nothing is read from it */
    PEER_BOUND,
    PEER_JOINED, /* MS-TURN: its bytes go through the client's own connection */
};

/* A TCP connection with a peer (RFC 6062). */
struct peer {
    struct map_node by_id, by_addr;
    uint32_t id; /* CONNECTION-ID */
    uint8_t state;
    bool is_dialed;   /* by Connect; otherwise the peer dialled */
    bool is_stopping; /* bound, and the pump was told to stop */
    struct port_addr_key key;
    struct list link_in_port;
    struct deadline deadline;
    struct port *port;
    void *link; /* the caller's connection */
    uint64_t since_ms, bound_ms;
    uint64_t up_bytes, down_bytes; /* of a joined one; of a dial, up: what waits for it */
    struct addr client;            /* of the data connection */
    uint8_t transport;             /* of the data connection */
    const char *why_ended;         /* a joined one: the peer ended it, and how */
    uint8_t tid[STUN_TID];         /* of the Connect that waits for its answer */
};

int port_table_init(struct port_table *t, uint8_t worker); /* 0 or ERR_NOMEM */
void port_table_fini(struct port_table *t);

/* A port that is not open yet. NULL: no memory. */
struct port *port_new(struct port_table *t, void *owner, uint8_t relay);
uint64_t port_handle(const struct port_table *t, const struct port *p);
struct port *port_get(const struct port_table *t, uint64_t handle);
/* The port has its socket. */
void port_open(struct port *p, void *link);
/* Asks for the socket's end: nobody new comes in. Peer connections stay. Harmless twice. */
void port_close(struct port *p, struct acts *acts);
/* Forgets permissions and channels, gives the number back to its range, asks for the socket's end. Peers must be gone.
 */
void port_free(struct port_table *t, struct port *p, struct acts *acts);

/* Installs or refreshes a permission until then (HEAP_NEVER: as long as the port). 0 or ERR_NOMEM. */
int port_permit(struct port_table *t, struct port *p, const struct addr *ip, bool relay_only, uint64_t expires_ms);
/* The permission for this IP address, a lapsed one included, or NULL. */
struct permission *permission_find(const struct port_table *t, const struct port *p, const struct addr *ip);
/* The live permission for this peer, or NULL. The caller asks relay_only ports of core/port_range. */
struct permission *port_permission(const struct port_table *t, const struct port *p, const struct addr *peer,
                                   uint64_t now_ms);
/* Its time is over: it goes, or stays lapsed while a channel rests on it, which works again once the permission is
 * refreshed. */
void permission_expire(struct port_table *t, struct permission *x);
/* Takes a permission away with the channels that rest on it. */
void permission_free(struct port_table *t, struct permission *x);

/* Binds or refreshes a channel; a permission for the peer must exist. 0, ERR_BAD (number or peer is bound otherwise:
 * 400), ERR_NOMEM. */
int channel_bind(struct port_table *t, struct port *p, uint32_t owner, uint16_t number, const struct addr *peer,
                 uint64_t now_ms);
/* Is this number bound to another peer, or this peer to another number (RFC 8656 s.12.2)? */
bool channel_conflicts(const struct port_table *t, const struct port *p, uint32_t owner, uint16_t number,
                       const struct addr *peer, uint64_t now_ms);
struct channel *channel_by_number(const struct port_table *t, uint32_t owner, uint16_t number, uint64_t now_ms);
struct channel *channel_by_peer(const struct port_table *t, const struct port *p, const struct addr *peer,
                                uint64_t now_ms);
void channel_free(struct port_table *t, struct channel *c);

/* A peer connection in state DIALING or WAITING with a fresh CONNECTION-ID, and its deadline. NULL: no memory. */
struct peer *peer_new(struct port_table *t, struct port *p, const struct addr *addr, enum peer_state state, void *link,
                      uint64_t now_ms);
struct peer *peer_by_id(const struct port_table *t, uint32_t id);
struct peer *peer_by_addr(const struct port_table *t, const struct port *p, const struct addr *addr);
uint64_t peer_handle(const struct port_table *t, const struct peer *x);
struct peer *peer_get(const struct port_table *t, uint64_t handle);
void peer_set_state(struct port_table *t, struct peer *x, enum peer_state state, uint64_t now_ms);
void peer_free(struct port_table *t, struct peer *x);
/* The worker that owns a CONNECTION-ID. */
static inline unsigned peer_worker(uint32_t connection_id)
{
    return connection_id >> 24;
}

#endif
