/* Who may be a peer: the special address ranges refused by default, the operator's allow and deny rules, and the
 * server's own addresses.
 *
 * An address is judged in every notation it has: the IPv6 address itself and each IPv4 address inside it
 * (addr_embedded); all must be allowed (checklist S1-S4). The most specific rule wins; between equally specific ones an
 * operator's rule beats the built-in one, and deny beats allow. An own address is refused, whatever its prefix, unless
 * an operator's rule longer than /0 allows it; but relayed addresses of this server stay reachable for each other
 * (relay to relay). Immutable once built; shared by all workers.
 */
#ifndef CORE_PEER_RULES_H
#define CORE_PEER_RULES_H

#include "base/addr.h"

enum peer_verdict {
    PEER_ALLOWED,
    PEER_RELAY_ONLY,  /* an own relay address: only ports that are relayed transport addresses at that moment */
    PEER_RELAY_NAMED, /* the same in a special range (loopback, private): a request must name such a port */
    PEER_DENIED,
};

enum { RULE_TEXT_MAX = 112 };

struct peer_rules;

struct peer_rules *peer_rules_new(void); /* the built-in ranges; NULL: no memory */
void peer_rules_free(struct peer_rules *r);
/* An operator's rule. `where` is shown in events (copied, cut at RULE_TEXT_MAX). 0 or ERR_NOMEM. */
int peer_rules_add(struct peer_rules *r, const struct prefix *p, bool allow, const char *where);
/* An address of this machine; `relay`: relayed addresses may lie on it. */
int peer_rules_add_own(struct peer_rules *r, const struct addr *own, bool relay);
/* Judges the IP address (the port is not looked at). `*rule` names what decided; static as long as the rules. */
enum peer_verdict peer_rules_judge(const struct peer_rules *r, const struct addr *peer, const char **rule);

#endif
