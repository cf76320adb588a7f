/* One TURN session of a load generator, blocking: allocation, permission, peer, bind. Written for speed of the
 * generator, not as an example: the real client is core/turnc.
 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "base/addr.h"
#include "wire/stun.h"

/* Who is measured. Filled in once; the challenge is learnt by the first session of each thread. */
struct session_server {
    struct addr addr;
    const char *user, *password;
};

/* What the far ends of streams may hold unread. The kernel's own tuning of fast loopback connections is a game of
 * chance: some stay at 128 kB for ever and halve the rate of whatever is measured, so that it is set, before the
 * connection is made or on the listener, for every contestant alike. */
enum { FAR_BUFFER = 4 << 20 };
/* The receive buffer of a socket; beyond the system's limit only as root. */
void session_widen(int fd, int bytes);

struct session {
    const struct session_server *server;
    int control; /* connection or socket to the server; -1: closed */
    bool is_udp; /* towards the server */
    struct addr relayed;
    char realm[128], nonce[256];
    size_t realm_n, nonce_n;
    struct stun_key key;
};

/* Connects and allocates: `udp`: client and relay over UDP, otherwise both over TCP (RFC 6062). The 401 is asked for
 * each time, as a new client must. 0, or -1 with a line on standard error. */
int session_open(struct session *s, const struct session_server *server, bool udp);
int session_permit(struct session *s, const struct addr *peer);
int session_bind_channel(struct session *s, uint16_t channel, const struct addr *peer);
/* RFC 6062: a peer dials the relayed address, the client binds. `near`: the client's data connection, `far`: the peer.
 */
int session_attempt(struct session *s, int *near, int *far);
void session_close(struct session *s);

#endif
