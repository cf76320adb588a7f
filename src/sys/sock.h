/* Sockets: opening them the way the relay needs, and struct addr <-> sockaddr. The only place where a sockaddr is seen,
 * with dgram.
 *
 * Every descriptor is non-blocking and close-on-exec. IPv6 sockets are IPV6_V6ONLY. Functions return a descriptor or
 * ERR_SYS with errno set.
 */
#ifndef SYS_SOCK_H
#define SYS_SOCK_H

#include <sys/socket.h>

#include "base/addr.h"

socklen_t sock_from_addr(const struct addr *a, struct sockaddr_storage *out);
struct addr sock_to_addr(const struct sockaddr_storage *ss);
struct addr sock_local(int fd);  /* getsockname; ADDR_NONE on failure */
struct addr sock_remote(int fd); /* getpeername; ADDR_NONE on failure */

/* A bound UDP socket. `shared`: SO_REUSEPORT, one for each worker. Packet info (the local address of each datagram) is
 * switched on for wildcard addresses; SO_RCVBUF/SO_SNDBUF are raised to `buffer_bytes` as far as allowed when it is not
 * 0. */
int sock_udp(const struct addr *local, bool shared, int buffer_bytes);
/* A listening TCP socket, SO_REUSEADDR, with SO_REUSEPORT when `shared`. */
int sock_listen(const struct addr *local, bool shared, int backlog);
/* A listening TCP socket on a relayed address: SO_REUSEADDR and SO_REUSEPORT, so that sock_dial can leave from the same
 * port. */
int sock_listen_relay(const struct addr *local, int backlog);
/* Starts a TCP connection from `local` (NULL or port 0: the kernel chooses) to `peer`: the descriptor, connected or in
 * progress. `reuse_port`: leave from a port on which a relay listens (RFC 6062 s.5.2: source = relayed transport
 * address). */
int sock_dial(const struct addr *local, const struct addr *peer, bool reuse_port);
/* Accepts one connection: descriptor, or ERR_AGAIN, or ERR_SYS. */
int sock_accept(int listener, struct addr *peer);
/* The pending error of a connecting socket (0 = connected), as errno. */
int sock_error(int fd);
/* Nagle off: a small message is forwarded at once. */
void sock_nodelay(int fd);
/* Closes so that the other side sees a reset (SO_LINGER 0). */
void sock_abort(int fd);
/* Asks readiness only when this many bytes are there (SO_RCVLOWAT; 1 = normal): for sniffing with MSG_PEEK without
 * spinning. */
void sock_low_water(int fd, int bytes);

/* All addresses of this machine (every interface that is up), at most `max`; the count. */
int sock_own_addresses(struct addr *out, int max);
/* The local address that would be used towards `peer` (a connected UDP socket that sends nothing). ADDR_NONE when there
 * is no route. */
struct addr sock_route_source(const struct addr *peer);

#endif
