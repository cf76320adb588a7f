/* One worker of the relay: the TURN machine married to its sockets. Private to app/relay*.c and app/server.
 *
 * relay.c carries out what the machine asks; relay_udp.c hears datagrams (clients, DTLS, relayed UDP ports);
 * relay_tcp.c holds client connections; relay_peer.c the peers of TCP allocations, and pairs. Everything here belongs
 * to the worker's thread; other threads send mail.
 */
#ifndef APP_RELAY_H
#define APP_RELAY_H

#include "app/policy.h"
#include "base/list.h"
#include "base/map.h"
#include "sys/dgram.h"
#include "sys/pump.h"
#include "sys/worker.h"

/* A listening socket of one worker, opened by the server before privileges are dropped. */
struct listener {
    struct source src;  /* TCP */
    struct dgram dgram; /* UDP */
    struct relay *relay;
    struct addr local;
    unsigned schemes; /* enum listen_scheme of app/config.h: the ones of this socket's protocol */
    struct dtls_listener *dtls;
};

struct relay {
    struct worker worker;
    struct turn *turn;
    struct acts *acts;
    const struct policy *policy;
    struct limiter *limiter;
    struct dgram_batch *batch;
    struct pump_pool *pumps;
    struct ev_ring events;
    void (*bell)(void *server); /* events are waiting; called from the worker's thread */
    void *server;
    struct relay *all; /* the relays of all workers, as an array */
    unsigned all_n;
    struct listener *listeners;
    size_t listeners_n;
    struct timer tick;
    struct later again;      /* the machine has more to end than one list holds */
    struct map assocs;       /* DTLS associations by tuple */
    struct assoc *candidate; /* for the next DTLS client that proves its address */
    struct list clients;     /* stream clients */
    struct list lingering;   /* peers of MS-TURN that were dropped with bytes unsent */
    bool is_acting;
    bool keeps_body; /* the input being processed lies in the datagram arena: it need not be copied to be sent */
    int spare_fd;    /* given up for a moment when descriptors run out */
    _Atomic uint64_t allocations; /* for the server to read */
};

struct listen_fd {
    int fd;
    struct addr local;
    unsigned schemes;
    bool is_udp;
};

/* Builds the relay of worker `index`; takes the descriptors. 0, ERR_NOMEM or ERR_SYS. */
int relay_init(struct relay *r, unsigned index, struct relay *all, unsigned all_n, struct turn_shared *shared,
               const struct policy *policy, const struct listen_fd *fds, size_t fds_n);
/* Ends everything in the caller's thread, once the worker has stopped; events are then complete. */
void relay_end(struct relay *r, const char *reason);
/* Harmless for one that relay_init has not seen; after its failure, frees what was made. */
void relay_fini(struct relay *r);

/* Mail from the server's thread. Each mail is freed by the receiver. `done` counts down when the relay has taken the
 * policy over. 0 or ERR_NOMEM. */
int relay_post_policy(struct relay *r, const struct policy *policy, _Atomic unsigned *done);
/* From then on no allocation comes into being that `allocations` does not count yet. */
int relay_post_drain(struct relay *r, _Atomic unsigned *done);

/* ---- between the files of the relay ---- */

/* Tells the machine the time; call before every turn_ function. */
void relay_clock(struct relay *r);
/* Carries out the machine's acts and records its events. Harmless while acts are being carried out already. */
void relay_act(struct relay *r);
/* Records an event of our own. */
struct ev *relay_event(struct relay *r, enum ev_kind kind);
/* Accepts what waits on a listening source, a bounded number a turn. */
void relay_accept(struct relay *r, struct source *s, void (*take)(struct source *s, int fd, const struct addr *from));
/* An error of the kernel that the operator can mend: descriptors, memory. */
void relay_short(struct relay *r, const char *rule, const char *remedy);

static inline struct loop *relay_loop(struct relay *r)
{
    return &r->worker.loop;
}

/* relay_udp.c */
int relay_udp_init(struct relay *r);
void relay_udp_fini(struct relay *r);
int relay_udp_listen(struct listener *l, int fd);
void relay_udp_close(struct listener *l);
void relay_udp_policy(struct relay *r);
void relay_udp_to_client(struct relay *r, const struct act *act);
int relay_udp_open(struct relay *r, const struct act *act, void **link);
void relay_udp_to_peer(struct relay *r, const struct act *act);
void relay_udp_close_port(struct relay *r, void *link);
void relay_udp_end_clients(struct relay *r);

/* relay_tcp.c */
struct client;
int relay_tcp_listen(struct listener *l, int fd);
void relay_tcp_close(struct listener *l);
void relay_tcp_to_client(struct relay *r, const struct act *act);
void relay_tcp_trust(struct relay *r, struct client *c);
void relay_tcp_hand(struct relay *r, struct client *c, unsigned worker);
/* Gives the connection to a pump: unread bytes are what follows the message that is being processed. */
struct conn *relay_tcp_give(struct client *c);
/* The pump has ended it, or could not start: forget the client. */
void relay_tcp_forget(struct client *c);
void relay_tcp_end_clients(struct relay *r);

/* relay_peer.c */
int relay_peer_open(struct relay *r, const struct act *act, void **link);
void relay_peer_close_port(struct relay *r, void *link);
void relay_peer_dial(struct relay *r, const struct act *act);
void relay_peer_drop(struct relay *r, void *link, bool abort);
void relay_peer_pair(struct relay *r, const struct act *act);
void relay_peer_stop(struct relay *r, void *link);

/* relay_framed.c */
void relay_framed_join(struct relay *r, const struct act *act);
void relay_framed_to_peer(struct relay *r, const struct act *act);
void relay_framed_fin_peer(struct relay *r, const struct act *act);
void relay_framed_fin_client(struct relay *r, const struct act *act);
void relay_framed_end(struct relay *r);

#endif
