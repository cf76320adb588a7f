#include "core/peer_rules.h"

#include <stdlib.h>

#include "base/text.h"

struct rule {
    struct prefix prefix;
    bool allow, built_in;
    char where[RULE_TEXT_MAX];
};

struct own {
    struct addr ip;
    bool relay;
};

struct peer_rules {
    struct rule *rules;
    size_t rules_n;
    struct own *own;
    size_t own_n;
};

/* IANA special-purpose registries (RFC 6890 and updates), multicast, and what must never be reached from outside. */
static const struct {
    const char *prefix, *why;
} special[] = {
    {"0.0.0.0/8", "this network"},
    {"10.0.0.0/8", "private"},
    {"100.64.0.0/10", "carrier-grade NAT"},
    {"127.0.0.0/8", "loopback"},
    {"169.254.0.0/16", "link-local"},
    {"172.16.0.0/12", "private"},
    {"192.0.0.0/24", "protocol assignments"},
    {"192.0.2.0/24", "documentation"},
    {"192.88.99.0/24", "6to4 anycast"},
    {"192.168.0.0/16", "private"},
    {"198.18.0.0/15", "benchmarking"},
    {"198.51.100.0/24", "documentation"},
    {"203.0.113.0/24", "documentation"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
    {"::/127", "unspecified and loopback"},
    {"::ffff:0:0/96", "IPv4-mapped"},
    {"::/96", "IPv4-compatible"},
    {"::ffff:0:0:0/96", "IPv4-translated"},
    {"64:ff9b:1::/48", "local NAT64"},
    {"100::/64", "discard"},
    {"2001::/23", "protocol assignments and Teredo"},
    {"2001:db8::/32", "documentation"},
    {"2002::/16", "6to4"},
    {"3fff::/20", "documentation"},
    {"5f00::/16", "segment routing"},
    {"fc00::/7", "unique local"},
    {"fe80::/10", "link-local"},
    {"fec0::/10", "site-local"},
    {"ff00::/8", "multicast"},
};

static int add(struct peer_rules *r, const struct prefix *p, bool allow, bool built_in, struct text *where)
{
    struct rule *grown = realloc(r->rules, (r->rules_n + 1) * sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    r->rules = grown;
    struct rule *rule = &grown[r->rules_n++];
    *rule = (struct rule){.prefix = *p, .allow = allow, .built_in = built_in};
    memcpy(rule->where, where->buf, where->n + 1);
    return 0;
}

static int add_special(struct peer_rules *r, const char *prefix, const char *why)
{
    struct prefix p;
    must(prefix_parse(prefix, &p) == 0);
    char buf[RULE_TEXT_MAX];
    struct text where = text_of(buf, sizeof buf);
    text_addf(&where, "default: %s is %s", prefix, why);
    return add(r, &p, false, true, &where);
}

struct peer_rules *peer_rules_new(void)
{
    struct peer_rules *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (add_special(r, special[i].prefix, special[i].why)) {
            peer_rules_free(r);
            return NULL;
        }
    return r;
}

void peer_rules_free(struct peer_rules *r)
{
    if (!r)
        return;
    free(r->rules);
    free(r->own);
    free(r);
}

int peer_rules_add(struct peer_rules *r, const struct prefix *p, bool allow, const char *where)
{
    char buf[RULE_TEXT_MAX];
    struct text t = text_of(buf, sizeof buf);
    text_add(&t, where);
    return add(r, p, allow, false, &t);
}

int peer_rules_add_own(struct peer_rules *r, const struct addr *own, bool relay)
{
    struct own *grown = realloc(r->own, (r->own_n + 1) * sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    r->own = grown;
    grown[r->own_n++] = (struct own){addr_without_port(own), relay};
    return 0;
}

/* True when `a` decides rather than `b` (NULL: none yet). */
static bool is_stronger(const struct rule *a, const struct rule *b)
{
    if (!b)
        return true;
    if (a->prefix.bits != b->prefix.bits)
        return a->prefix.bits > b->prefix.bits;
    if (a->built_in != b->built_in)
        return !a->built_in;
    return !a->allow && b->allow;
}

static const struct rule *strongest(const struct peer_rules *r, const struct addr *ip)
{
    const struct rule *best = NULL;
    for (size_t i = 0; i < r->rules_n; i++)
        if (prefix_has(&r->rules[i].prefix, ip) && is_stronger(&r->rules[i], best))
            best = &r->rules[i];
    return best;
}

static enum peer_verdict judge_one(const struct peer_rules *r, const struct addr *ip, const char **rule)
{
    const struct rule *best = strongest(r, ip);
    bool spelled = best && !best->built_in && best->prefix.bits > 0;
    bool own = false, relay = false;
    for (size_t i = 0; i < r->own_n; i++)
        if (addr_is_same_ip(&r->own[i].ip, ip)) {
            own = true;
            relay |= r->own[i].relay;
        }
    if (own && !spelled) {
        *rule = relay ? "own relay address: only its relayed ports" : "an address of this server";
        return !relay ? PEER_DENIED : best && !best->allow ? PEER_RELAY_NAMED : PEER_RELAY_ONLY;
    }
    *rule = best ? best->where : "no rule: public address";
    return !best || best->allow ? PEER_ALLOWED : PEER_DENIED;
}

enum peer_verdict peer_rules_judge(const struct peer_rules *r, const struct addr *peer, const char **rule)
{
    struct addr ip = addr_without_port(peer), inside[ADDR_EMBEDDED_MAX];
    int n = addr_embedded(&ip, inside);
    for (int i = 0; i < n; i++) {
        struct addr v4 = addr_without_port(&inside[i]);
        if (judge_one(r, &v4, rule) != PEER_ALLOWED)
            return PEER_DENIED;
    }
    return judge_one(r, &ip, rule);
}
