/* The stage of a scene: machines of all workers, a fake clock, and a fake network in which sockets, connections and
 * dials are things with names.
 */
#ifndef SCENES_STAGE_H
#define SCENES_STAGE_H

#include "core/turn.h"

enum { WORKERS_MAX = 4, CLIENTS_MAX = 64, PORTS_MAX = 400, PEERS_MAX = 512, RELAYS_MAX = 8, PARCELS_MAX = 8 };
enum { WALL_BASE_S = 1700000000 }; /* the wall clock when the scene begins */

/* Stands for a socket, a connection or a dial: its address is the link that the machine keeps. */
struct thing {
    char name[16];
    unsigned worker;
    uint64_t handle;
    struct addr addr;
    uint8_t relay;
    bool is_open;
};

struct client {
    char name[16];
    unsigned worker;
    struct flow flow;
    struct stun_key key;   /* that its last request was protected with */
    uint8_t tid[STUN_TID]; /* of its last request */
    char nonce[128];       /* last one it was given */
    size_t nonce_n;
    uint8_t ms_id[20]; /* of MS-TURN: connection id, last sequence number, how its requests are protected */
    uint32_t ms_sequence;
    enum integrity_rule ms_rule; /* INTEGRITY_NONE: it has not spoken the dialect */
};

/* A relayed datagram on its way to another relayed port of ours. */
struct parcel {
    struct thing *from, *to;
    uint8_t bytes[2048];
    size_t n;
};

struct setting {
    struct setting *next;
    char kind; /* 'u' user, 's' secret, 'a' allow, 'd' deny, 'o' own address */
    char a[512], b[64];
};

struct stage {
    struct turn_shared shared;
    struct turn_policy policy;
    struct turn_relay relays[RELAYS_MAX];
    struct limits limits;
    struct setting *settings;
    struct peer_rules *rules;
    struct cred_table *creds;
    struct turn *turns[WORKERS_MAX]; /* made at the first step that needs them */
    struct acts *acts;
    unsigned workers;
    uint16_t port_min, port_max;
    uint64_t now_ms;
    struct client clients[CLIENTS_MAX];
    struct thing ports[PORTS_MAX], peers[PEERS_MAX];
    struct parcel parcels[PARCELS_MAX];
    unsigned clients_n, ports_n, peers_n, parcels_n;
    unsigned failing_opens; /* so many sockets cannot be opened */
    int open_error;
    bool is_stopping_late; /* pairs that are stopped end when the scene says so */
    bool is_quiet;         /* events are not shown */
    bool hides_dials;
    bool shows_size; /* of messages to clients */
    uint32_t ids[PEERS_MAX];
    uint64_t tokens[PORTS_MAX];
    unsigned ids_n, tokens_n;
    struct text out;
    const char *fault; /* the scene itself is wrong */
};

void stage_init(struct stage *s, struct text out);
void stage_fini(struct stage *s);
/* Makes the machines, if there are none yet. */
void stage_start(struct stage *s);
/* Policy and credentials as the settings are now; with machines: a reload. */
void stage_reload(struct stage *s);
void stage_add_setting(struct stage *s, char kind, const char *a, const char *b);
void stage_forget_settings(struct stage *s, const char *kinds);
/* Carries out what is on the list of acts, for this worker; delivers what went from relay to relay. */
void stage_act(struct stage *s, unsigned worker);
/* Feeds a message of a client to its worker, and to the next one when it is handed over. */
void stage_message(struct stage *s, struct client *c, struct span message);
/* Lets time pass until `to_ms`, deadline by deadline. */
void stage_advance(struct stage *s, uint64_t to_ms);
/* Ends everything; a fault when something is left in the books. */
void stage_close(struct stage *s);

struct thing *stage_thing(struct thing *list, unsigned n, const char *name);
struct client *stage_client(struct stage *s, const char *name);
struct thing *stage_new_peer(struct stage *s, unsigned worker, const struct addr *addr);
/* A relayed address as clients are told: differs from where the port is bound behind 1:1 NAT. */
struct addr stage_advertised(const struct stage *s, const struct addr *local);

#endif
