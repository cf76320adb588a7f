/* A TURN client of the doctor: the machine of core/turnc with a control link and up to a few data links, driven by
 * poll() until something awaited has happened.
 */
#ifndef APP_DOCTOR_CLIENT_H
#define APP_DOCTOR_CLIENT_H

#include "app/doctor_link.h"
#include "core/turnc.h"

enum { CLIENT_DATA_MAX = 2, CLIENT_ATTEMPTS_MAX = 4, CLIENTS_MAX = 3 };

/* What became of the last request of a method. */
struct outcome {
    bool is_known, is_ok;
    uint8_t why;     /* enum turnc_why; 0 while unknown: the time was up */
    bool has_broken; /* the connection ended instead of an answer */
    int code;
    uint32_t connection;
    struct addr peer; /* with code 300: the other server, if it named one */
    char reason[TURNC_REASON_MAX];
    char broken[LINK_WHY_MAX];
};

struct attempt {
    uint32_t connection;
    struct addr peer;
};

struct client {
    struct turnc turnc;
    struct link control;                /* closed: a client that only binds data connections */
    struct link *data[CLIENT_DATA_MAX]; /* data links whose bind is under way, of the owner; number of `via` - 1 */
    struct outcome outcome[STUN_METHOD_COUNT];
    struct attempt attempts[CLIENT_ATTEMPTS_MAX];
    unsigned attempts_n;
    /* Called for each datagram from a peer. */
    void (*heard)(struct client *c, const struct turnc_act *act, void *user);
    void *heard_user;
    struct span behind; /* bytes to be sent in one piece behind the next ConnectionBind */
};

/* A client with its control link opened (`to`), or without one (`to` NULL). 0, or an error with `c->control.why`; must
 * be closed in both cases. */
int client_open(struct client *c, const struct link_to *to, const char *user, const char *password,
                uint64_t deadline_ms);
/* Gives an allocation back without waiting for the answer, and closes. */
void client_close(struct client *c);

/* Runs all these clients for one poll() turn, at the longest until `deadline_ms`. */
void clients_turn(struct client *const *clients, size_t n, uint64_t deadline_ms);
/* Runs them until the answer to `method` of the first one is there or cannot come any more. Returns whether it is
 * success; the outcome says the rest. */
bool clients_await(struct client *const *clients, size_t n, enum stun_method method, uint64_t deadline_ms);
/* The same for one client; clears the outcome that was there, so call it before the request: */
void client_expect(struct client *c, enum stun_method method);
bool client_await(struct client *c, enum stun_method method, uint64_t deadline_ms);

/* Asks for an allocation (TURNC_UDP, TURNC_TCP; enum addr_family; ADDR_NONE = IPv4, or IPv6 where the server has no
 * other) and waits. */
bool client_allocate(struct client *c, uint8_t transport, uint8_t family, uint64_t deadline_ms);
bool client_permit(struct client *c, const struct addr *peer, uint64_t deadline_ms);
bool client_bind_channel(struct client *c, const struct addr *peer, uint64_t deadline_ms);
/* Binds an open data link to the connection. */
bool client_bind(struct client *c, struct link *data, uint32_t connection, uint64_t deadline_ms);
/* Sends a datagram to a peer through the relay. */
int client_send(struct client *c, const struct addr *peer, struct span payload);

/* "the server refused with 403 Forbidden", "no answer", "the connection ended without an answer (reset)". */
void outcome_tell(const struct outcome *o, struct text *out);

#endif
