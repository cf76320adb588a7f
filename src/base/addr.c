#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/text.h"

struct addr addr_v4(uint32_t ip_host_order, uint16_t port)
{
    struct addr a = {.port = port, .family = ADDR_V4};
    be32_put(a.ip, ip_host_order);
    return a;
}

struct addr addr_v6(const uint8_t ip[16], uint16_t port)
{
    struct addr a = {.port = port, .family = ADDR_V6};
    memcpy(a.ip, ip, 16);
    return a;
}

bool addr_is_same_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

struct addr addr_without_port(const struct addr *a)
{
    struct addr cut = *a;
    cut.port = 0;
    return cut;
}

/* ---- text ---- */

/* An IP address alone, of this family: inet_pton refuses octal, hexadecimal and short forms as well as scope ids. */
static int ip_parse(enum addr_family family, struct span text, struct addr *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, 0, text.n))
        return ERR_BAD;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    *out = (struct addr){.family = family};
    return inet_pton(family == ADDR_V4 ? AF_INET : AF_INET6, copy, out->ip) == 1 ? 0 : ERR_BAD;
}

/* A decimal number up to `max` without leading zeros. */
static int number_parse(struct span text, uint64_t max, uint64_t *out)
{
    if (text.n > 1 && text.p[0] == '0')
        return ERR_BAD;
    return text_parse_u64(text, 0, max, out);
}

static int port_parse(struct span text, struct addr *out)
{
    uint64_t port;
    if (number_parse(text, UINT16_MAX, &port))
        return ERR_BAD;
    out->port = (uint16_t)port;
    return 0;
}

/* "[ip]" or "[ip]:port" */
static int bracketed_parse(struct span text, struct addr *out, bool *has_port)
{
    const uint8_t *close = memchr(text.p, ']', text.n);
    if (!close)
        return ERR_BAD;
    size_t ip_n = (size_t)(close - text.p) - 1;
    if (ip_parse(ADDR_V6, span_of(text.p + 1, ip_n), out))
        return ERR_BAD;
    struct span rest = span_skip(text, ip_n + 2);
    *has_port = rest.n > 0;
    if (!*has_port)
        return 0;
    return rest.p[0] == ':' ? port_parse(span_skip(rest, 1), out) : ERR_BAD;
}

static int any_parse(struct span text, struct addr *out, bool *has_port)
{
    *has_port = false;
    if (text.n && text.p[0] == '[')
        return bracketed_parse(text, out, has_port);
    const uint8_t *colon = text.n ? memchr(text.p, ':', text.n) : NULL;
    if (!colon)
        return ip_parse(ADDR_V4, text, out);
    size_t before = (size_t)(colon - text.p);
    struct span behind = span_skip(text, before + 1);
    if (behind.n && memchr(behind.p, ':', behind.n))
        return ip_parse(ADDR_V6, text, out);
    *has_port = true;
    return ip_parse(ADDR_V4, span_take(text, before), out) || port_parse(behind, out) ? ERR_BAD : 0;
}

int addr_parse(const char *text, struct addr *out)
{
    bool has_port;
    struct addr a;
    if (any_parse(span_str(text), &a, &has_port))
        return ERR_BAD;
    *out = a;
    return 0;
}

int addr_parse_with_port(const char *text, struct addr *out)
{
    bool has_port;
    struct addr a;
    if (any_parse(span_str(text), &a, &has_port) || !has_port)
        return ERR_BAD;
    *out = a;
    return 0;
}

const char *addr_format_ip(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    if (a->family == ADDR_NONE)
        return strcpy(buf, "-");
    inet_ntop(a->family == ADDR_V4 ? AF_INET : AF_INET6, a->ip, buf, ADDR_TEXT_MAX);
    return buf;
}

const char *addr_format(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX];
    addr_format_ip(a, ip);
    if (a->port == 0 || a->family == ADDR_NONE)
        return strcpy(buf, ip);
    struct text t = text_of(buf, ADDR_TEXT_MAX);
    text_addf(&t, a->family == ADDR_V6 ? "[%s]:%u" : "%s:%u", ip, a->port);
    return buf;
}

/* ---- IPv4 inside IPv6 ---- */

struct found {
    struct addr *out;
    uint16_t port;
    int n;
};

static void found_add(struct found *f, uint32_t ip)
{
    must(f->n < ADDR_EMBEDDED_MAX);
    f->out[f->n++] = addr_v4(ip, f->port);
}

/* Prefixes of 96 bits with the IPv4 address behind them. */
static void find_behind_96(const uint8_t ip[16], struct found *f)
{
    static const uint8_t prefixes[][12] = {
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff},    /* IPv4-mapped, RFC 4291 s.2.5.5.2 */
        {0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0},    /* IPv4-translated, RFC 2765 s.2.1 */
        {0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, /* NAT64, RFC 6052 s.2.1 */
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},          /* IPv4-compatible, RFC 4291 s.2.5.5.1 */
    };
    uint32_t last = be32_get(ip + 12);
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        bool is_compatible = i == 3;
        if (memcmp(ip, prefixes[i], 12) == 0 && !(is_compatible && last <= 1)) /* :: and ::1 are themselves */
            found_add(f, last);
    }
}

/* 64:ff9b:1::/48 (RFC 8215): the operator may use it with either layout of RFC 6052 s.2.2. */
static void find_local_nat64(const uint8_t ip[16], struct found *f)
{
    static const uint8_t prefix[6] = {0, 0x64, 0xff, 0x9b, 0, 1};
    if (memcmp(ip, prefix, sizeof prefix) != 0)
        return;
    uint32_t as_48 = (uint32_t)be16_get(ip + 6) << 16 | be16_get(ip + 9);
    uint32_t as_96 = be32_get(ip + 12);
    if (as_48)
        found_add(f, as_48);
    if (as_96)
        found_add(f, as_96);
}

static void find_tunnels(const uint8_t ip[16], struct found *f)
{
    if (be16_get(ip) == 0x2002) /* 6to4, RFC 3056 s.2 */
        found_add(f, be32_get(ip + 2));
    if (be32_get(ip) == 0x20010000) { /* Teredo, RFC 4380 s.4: server, and client with its bits inverted */
        found_add(f, be32_get(ip + 4));
        found_add(f, ~be32_get(ip + 12));
    }
    if ((be32_get(ip + 8) & ~0x02000000u) == 0x00005efe) /* ISATAP, RFC 5214 s.6.1 */
        found_add(f, be32_get(ip + 12));
}

int addr_embedded(const struct addr *a, struct addr out[ADDR_EMBEDDED_MAX])
{
    struct found f = {out, a->port, 0};
    if (a->family != ADDR_V6)
        return 0;
    find_behind_96(a->ip, &f);
    find_local_nat64(a->ip, &f);
    find_tunnels(a->ip, &f);
    return f.n;
}

/* ---- prefixes ---- */

struct prefix prefix_of(const struct addr *a, uint8_t bits)
{
    size_t size = addr_ip_size(a);
    struct prefix p = {addr_without_port(a), (uint8_t)(bits < size * 8 ? bits : size * 8)};
    for (size_t i = 0; i < size; i++) {
        int keep = p.bits - (int)i * 8;
        if (keep < 8)
            p.net.ip[i] &= keep <= 0 ? 0 : (uint8_t)(0xff00 >> keep);
    }
    return p;
}

static int prefix_parse_bits(struct span text, struct prefix *p)
{
    uint64_t bits;
    if (number_parse(text, addr_ip_size(&p->net) * 8, &bits))
        return ERR_BAD;
    struct prefix cut = prefix_of(&p->net, (uint8_t)bits);
    p->bits = (uint8_t)bits;
    return addr_is_equal(&cut.net, &p->net) ? 0 : ERR_BAD; /* a host bit is set: more likely a mistake than a wish */
}

int prefix_parse(const char *text, struct prefix *out)
{
    struct span all = span_str(text);
    const uint8_t *slash = all.n ? memchr(all.p, '/', all.n) : NULL;
    struct span ip = slash ? span_take(all, (size_t)(slash - all.p)) : all;
    bool is_v6 = ip.n && memchr(ip.p, ':', ip.n);
    struct prefix p;
    if (ip_parse(is_v6 ? ADDR_V6 : ADDR_V4, ip, &p.net))
        return ERR_BAD;
    p.bits = (uint8_t)(addr_ip_size(&p.net) * 8);
    if (slash && prefix_parse_bits(span_skip(all, ip.n + 1), &p))
        return ERR_BAD;
    *out = p;
    return 0;
}

bool prefix_has(const struct prefix *p, const struct addr *a)
{
    if (a->family == ADDR_NONE || p->net.family != a->family)
        return false;
    size_t whole = p->bits / 8;
    if (memcmp(p->net.ip, a->ip, whole) != 0)
        return false;
    unsigned rest = p->bits % 8;
    return rest == 0 || (p->net.ip[whole] ^ a->ip[whole]) >> (8 - rest) == 0;
}

const char *prefix_format(const struct prefix *p, char buf[ADDR_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX];
    struct text t = text_of(buf, ADDR_TEXT_MAX);
    text_addf(&t, "%s/%u", addr_format_ip(&p->net, ip), p->bits);
    return buf;
}
