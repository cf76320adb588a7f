/* Two TCP allocations of our own and a peer connection between them, opened step by step, so that a check can look at
 * the step that it is about. Each function fills in the failure of the running check and returns false when it cannot
 * go on.
 */
#ifndef APP_DOCTOR_TCP_PAIR_H
#define APP_DOCTOR_TCP_PAIR_H

#include "app/doctor_run.h"

/* Control links, allocations, permissions. */
bool tcp_pair_allocate(struct doctor *d, struct tcp_pair *p);
/* A's Connect to B's relayed address; B's ConnectionAttempt. */
bool tcp_pair_connect(struct doctor *d, struct tcp_pair *p);
/* Opens a data link of A or B and binds it. */
bool tcp_pair_bind_a(struct doctor *d, struct tcp_pair *p);
bool tcp_pair_bind_b(struct doctor *d, struct tcp_pair *p);
void tcp_pair_close(struct tcp_pair *p);

/* A TCP allocation on a new control link, of this family (ADDR_NONE: as client_allocate). */
bool tcp_allocate(struct doctor *d, struct client *c, uint8_t family);
/* A new data link of this client, bound to the connection. */
bool tcp_bind(struct doctor *d, struct client *c, struct link *data, uint32_t connection);
/* Waits for a ConnectionAttempt at the last of the clients. */
bool tcp_await_attempt(struct doctor *d, struct client *const *clients, size_t n);

#endif
