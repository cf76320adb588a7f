/* One run of the doctor: what the checks know of each other. Private to doctor_*.c. */
#ifndef APP_DOCTOR_RUN_H
#define APP_DOCTOR_RUN_H

#include "app/doctor.h"
#include "app/doctor_client.h"
#include "app/doctor_transfer.h"

/* What earlier checks have found and later ones need. */
enum doctor_need {
    NEED_UDP = 1 << 0,       /* usable over UDP or DTLS: it answers and may be trusted */
    NEED_TCP = 1 << 1,       /* over TCP or TLS */
    NEED_USER = 1 << 2,      /* --user */
    NEED_TURN = 1 << 3,      /* not only STUN */
    NEED_UDP_RELAY = 1 << 4, /* allocations work */
    NEED_UDP_DATA = 1 << 5,  /* two allocations of ours reach each other */
    NEED_TCP_RELAY = 1 << 6, /* RFC 6062 allocations work */
    NEED_TCP_PAIR = 1 << 7,  /* Connect, ConnectionAttempt and both binds work */
    NEED_PEER_IP = 1 << 8,   /* --peer-ip */
    NEED_SECURE_UDP = 1 << 9,
    NEED_SECURE_TCP = 1 << 10,
    NEED_UDP_URI = 1 << 11, /* the address asks for UDP, or leaves it open */
    NEED_TCP_URI = 1 << 12,
    NEED_ANY = 1 << 13,      /* usable over any transport */
    NEED_UDP_OPEN = 1 << 14, /* the server answers, trusted or not */
    NEED_TCP_OPEN = 1 << 15,
};

enum { DOCTOR_SERVERS_MAX = 6 };

/* Two TCP allocations, a peer connection from A's relayed address to B's, and its two data connections. */
struct tcp_pair {
    bool is_open, has_b;
    struct client a, b;
    struct link data_a, data_b;
    uint32_t connection_a, connection_b;
};

struct doctor {
    const struct doctor_target *target;
    unsigned have; /* enum doctor_need */
    struct doctor_row *row;

    struct addr servers[DOCTOR_SERVERS_MAX]; /* what the host name means */
    unsigned servers_n;
    bool is_unknown_host;
    struct link_to udp, tcp; /* how the server is reached */
    SSL_CTX *tls_ctx, *dtls_ctx;
    struct link_tls tls, dtls;

    struct addr local, mapped;      /* of the first link that worked, before and behind a NAT */
    struct client relay_a, relay_b; /* two UDP allocations */
    struct tcp_pair pair;
};

struct doctor_check {
    const char *id, *title;
    unsigned needs; /* enum doctor_need, or-ed */
    bool in_self_test;
    void (*run)(struct doctor *d);
};

extern const struct doctor_check doctor_checks[];
extern const size_t doctor_checks_n;

/* ---- for the checks ---- */

/* The end of a step that begins now. */
uint64_t doctor_deadline(const struct doctor *d);
/* The result of the running check; `fact` and `remedy` are printf-like. A check that calls neither is ok. */
void doctor_ok(struct doctor *d, const char *fact, ...) __attribute__((format(printf, 2, 3)));
void doctor_warn(struct doctor *d, const char *fact, ...) __attribute__((format(printf, 2, 3)));
void doctor_fail(struct doctor *d, const char *fact, ...) __attribute__((format(printf, 2, 3)));
void doctor_skip(struct doctor *d, const char *fact, ...) __attribute__((format(printf, 2, 3)));
void doctor_remedy(struct doctor *d, const char *remedy, ...) __attribute__((format(printf, 2, 3)));
void doctor_number(struct doctor *d, const char *key, double value);
/* Fails with `what`, then the outcome in words. */
void doctor_fail_outcome(struct doctor *d, const char *what, const struct outcome *o);
/* The way for allocations of UDP relays: UDP where it works, else TCP. */
const struct link_to *doctor_way(const struct doctor *d);
/* "loopback", "private", ... when an address is not public, else NULL. */
const char *doctor_special(const struct addr *a);

/* ---- the checks ---- */

void check_reach_udp(struct doctor *d);
void check_reach_tcp(struct doctor *d);
void check_tls(struct doctor *d);
void check_dtls(struct doctor *d);
void check_mapped(struct doctor *d);

void check_anonymous(struct doctor *d);
void check_challenge(struct doctor *d);
void check_wrong_password(struct doctor *d);

void check_udp_allocate(struct doctor *d);
void check_udp_data(struct doctor *d);
void check_channel(struct doctor *d);
void check_private_peers(struct doctor *d);

void check_tcp_allocate(struct doctor *d);
void check_tcp_connect(struct doctor *d);
void check_tcp_transfer(struct doctor *d);
void check_tcp_half_close(struct doctor *d);
void check_bind_answered(struct doctor *d);
void check_bind_repeatable(struct doctor *d);
void check_early_bytes(struct doctor *d);
void check_pipelined(struct doctor *d);
void check_tail(struct doctor *d);
void check_multicast(struct doctor *d);

void check_peer_udp(struct doctor *d);
void check_peer_dials(struct doctor *d);
void check_peer_listens(struct doctor *d);

#endif
