/* Transport addresses and prefixes as plain values.
 *
 * An address compares with memcmp and can be a map key: unused bytes are always zero. No sockaddr stands above sys/
 * (sys/sock converts). A host name is never an address: nothing here resolves names (checklist S8).
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include "base/span.h"

enum addr_family { ADDR_NONE = 0, ADDR_V4 = 4, ADDR_V6 = 6 };

struct addr {
    uint8_t ip[16]; /* network order; IPv4 in the first four bytes, the rest zero */
    uint16_t port;  /* host order */
    uint8_t family; /* enum addr_family */
    uint8_t unused; /* always zero */
};

enum { ADDR_TEXT_MAX = 56 }; /* "[ffff:...:255.255.255.255]:65535" with its terminator */

struct addr addr_v4(uint32_t ip_host_order, uint16_t port);
struct addr addr_v6(const uint8_t ip[16], uint16_t port);

/* Bytes of the IP address: 4, 16, or 0 for ADDR_NONE. */
static inline size_t addr_ip_size(const struct addr *a)
{
    return a->family == ADDR_V4 ? 4 : a->family == ADDR_V6 ? 16 : 0;
}
static inline bool addr_is_equal(const struct addr *a, const struct addr *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
/* The same IP address, whatever the ports. */
bool addr_is_same_ip(const struct addr *a, const struct addr *b);
/* The address with port 0: the key of a permission. */
struct addr addr_without_port(const struct addr *a);

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". No names, no scope ids. ERR_BAD
 * otherwise. */
int addr_parse(const char *text, struct addr *out);
/* As addr_parse, but a port (0 included) must be written. */
int addr_parse_with_port(const char *text, struct addr *out);
/* Writes "ip:port", "[ip]:port"; the IP address alone when the port is 0; "-" for ADDR_NONE. IPv6 as RFC 5952 wants it.
 * Returns buf. */
const char *addr_format(const struct addr *a, char buf[ADDR_TEXT_MAX]);
/* Writes the IP address alone. Returns buf. */
const char *addr_format_ip(const struct addr *a, char buf[ADDR_TEXT_MAX]);

/* Every IPv4 address that an IPv6 address carries inside, in whatever notation: IPv4-mapped (::ffff:0:0/96),
 * IPv4-compatible (::/96), translated (::ffff:0:0:0/96, RFC 2765), NAT64 (64:ff9b::/96, RFC 6052; 64:ff9b:1::/48,
 * RFC 8215, read both as /48 and as /96), 6to4 (2002::/16), Teredo (2001::/32: server and obfuscated client) and
 * ISATAP (...:0:5efe:a.b.c.d). Writes up to ADDR_EMBEDDED_MAX addresses with the port of `a` and returns their count;
 * 0 for an IPv4 address or an ordinary IPv6 address. `::` and `::1` are not counted as IPv4-compatible; in
 * 64:ff9b:1::/48 a reading of 0.0.0.0 is left out (it only says that the other layout is meant). */
enum { ADDR_EMBEDDED_MAX = 3 };
int addr_embedded(const struct addr *a, struct addr out[ADDR_EMBEDDED_MAX]);

struct prefix {
    struct addr net; /* host bits and port are zero */
    uint8_t bits;    /* 0..32 or 0..128 */
};

/* "10.0.0.0/8", "2001:db8::/32", or a single address; no port, no brackets. ERR_BAD for anything else, host bits set
 * included. */
int prefix_parse(const char *text, struct prefix *out);
bool prefix_has(const struct prefix *p, const struct addr *a);
/* Cut an address down to its first `bits` bits (all of them if it has fewer), port 0: the key for limits by source
 * prefix. */
struct prefix prefix_of(const struct addr *a, uint8_t bits);
/* Writes "net/bits". Returns buf. */
const char *prefix_format(const struct prefix *p, char buf[ADDR_TEXT_MAX]);

#endif
