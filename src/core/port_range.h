/* The relayed ports of one address and protocol: which are taken, by all workers together; and the reservations of
 * EVEN-PORT.
 *
 * RFC 8656 s.7.2 (random order, even ports, reserved next port). A taken port that has a socket is a relayed transport
 * address of ours that lives: relay to relay is allowed exactly to those. Bits are atomic; the list of ranges and the
 * reservations take a short lock.
 */
#ifndef CORE_PORT_RANGE_H
#define CORE_PORT_RANGE_H

#include "base/addr.h"

struct port_ranges; /* all of a server */
struct port_range;  /* one address and protocol */

/* Ports `min`..`max`, both inclusive. NULL: no memory. */
struct port_ranges *port_ranges_new(uint16_t min, uint16_t max);
void port_ranges_free(struct port_ranges *r);
/* The range of this local IP address and relay protocol (enum transport: UDP or TCP), made at first use. NULL: no
 * memory, or more addresses than a machine has. */
struct port_range *port_ranges_of(struct port_ranges *r, const struct addr *ip, uint8_t relay);
/* Is this a relayed transport address of ours at this moment? */
bool port_ranges_has(struct port_ranges *r, const struct addr *relayed, uint8_t relay);

/* Takes a free port in random order; `even`: an even one; `pair`: an even one whose successor is free too and is taken
 * with it. The port, or 0 when there is none. */
uint16_t port_range_take(struct port_range *r, bool even, bool pair);
/* Gives a taken port back. */
void port_range_give(struct port_range *r, uint16_t port);
/* A taken port has its socket now, or no longer. */
void port_range_set_live(struct port_range *r, uint16_t port, bool live);
/* Ports taken. */
unsigned port_range_count(const struct port_range *r);

enum { RESERVATION_MS = 30000 };

/* Reserves a taken port for the bearer of the token (RFC 8656 s.7.2: at least 30 s). The token, never 0; 0 when there
 * are too many. */
uint64_t port_ranges_reserve(struct port_ranges *r, struct port_range *range, uint16_t port, uint64_t now_ms);
/* Redeems a token: its range and port (still taken, now the caller's). ERR_NONE when it is unknown or has expired. */
int port_ranges_redeem(struct port_ranges *r, uint64_t token, uint64_t now_ms, struct port_range **range,
                       uint16_t *port);
/* Gives expired reservations back. */
void port_ranges_expire(struct port_ranges *r, uint64_t now_ms);
const struct addr *port_range_ip(const struct port_range *r);
uint8_t port_range_relay(const struct port_range *r);

#endif
