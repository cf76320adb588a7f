/* The stage of the harness of the TURN server: clients, peers, things that stand for sockets, what may pass, and the
 * same randomness in every run. */
#ifndef FUZZ_TURN_STAGE_H
#define FUZZ_TURN_STAGE_H

#include "base/heap.h"
#include "base/rand.h"
#include "core/turn.h"
#include "harness.h"

enum { WORKERS = 2, CLIENTS = 9, THINGS = 64, PEERS = 10, GRANTS = 64, STEPS_MAX = 100, PORT_MIN = 50000, PORTS = 12 };

/* ---- the same randomness in every run ---- */

static uint64_t random_state;

uint64_t rand_u64(void)
{
    random_state += 0x9e3779b97f4a7c15;
    uint64_t z = (random_state ^ random_state >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

uint32_t rand_u32(void)
{
    return (uint32_t)rand_u64();
}

uint32_t rand_below(uint32_t below)
{
    return rand_u32() % below;
}

void rand_bytes(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)rand_u64();
}

/* ---- the stage ---- */

/* A relayed port or a peer connection: its address is the link. */
struct thing {
    enum { NOTHING, PORT, DIALING, WAITING, PAIRED, STOPPING, DONE } state;
    unsigned worker;
    uint64_t handle;
    uint8_t relay;
    struct addr addr;
    struct client *client; /* owner of the port or of the allocation; for a pair, its data connection */
    const char *owner;
};

struct client {
    struct flow flow;
    unsigned worker;
    bool is_open, is_paired;
    const char *user; /* of its allocation, as far as we saw it succeed */
    bool has_allocation;
};

/* An address that a client was granted: RFC 8656 s.9. */
struct grant {
    const struct client *client;
    struct addr ip;
    uint64_t at_ms;
};

struct request {
    struct client *client;
    const char *user; /* that its credentials prove, or NULL */
    uint8_t method;
    struct addr peers[3];
    unsigned peers_n;
};

static struct stage {
    struct rd in;
    struct turn_shared shared;
    struct limits limits;
    struct turn_policy policy;
    struct turn *turns[WORKERS];
    struct acts *acts;
    struct client clients[CLIENTS];
    struct thing things[THINGS];
    struct grant grants[GRANTS];
    unsigned failing_opens;
    int open_error;
    uint64_t now_ms;
    struct request request;           /* being processed */
    const struct thing *port_in_hand; /* that a peer's datagram or connection reached */
    uint32_t ids[16];
    uint64_t tokens[16];
    unsigned ids_n, tokens_n;
    uint8_t tid[STUN_TID];
} s;

static const struct turn_relay relays[] = {
    {{{10, 0, 0, 1}, 0, ADDR_V4, 0}, {{192, 31, 196, 1}, 0, ADDR_V4, 0}},
    {{{0x26, 6, 0x47, 0, [15] = 1}, 0, ADDR_V6, 0}, {{0x26, 6, 0x47, 0, [15] = 1}, 0, ADDR_V6, 0}},
};
static struct cred_table *creds;
static struct peer_rules *rules[2]; /* the second one forbids what the first allows */
static struct addr peers[PEERS];

static uint8_t choice(void)
{
    return rd_left(&s.in) ? rd_u8(&s.in) : 0;
}

static struct addr address(const char *text)
{
    struct addr a;
    must(addr_parse(text, &a) == 0);
    return a;
}

static struct peer_rules *rules_new(const char *deny)
{
    struct peer_rules *r = peer_rules_new();
    struct prefix p;
    must(r && peer_rules_add_own(r, &relays[0].local, true) == 0 &&
         peer_rules_add_own(r, &relays[0].advertised, true) == 0 && peer_rules_add_own(r, &relays[1].local, true) == 0);
    must(!deny || (prefix_parse(deny, &p) == 0 && peer_rules_add(r, &p, false, "deny") == 0));
    return r;
}

static void make_once(void)
{
    static const char *const texts[PEERS] = {
        "198.41.0.9:1000", "198.41.0.9:1001", "198.41.1.9:1000", "[2606:4700::9]:1000",  "[2606:4700::a]:7",
        "10.0.0.9:1000",   "127.0.0.1:22",    "192.31.196.1:22", "[::ffff:10.0.0.1]:22", "198.41.0.9:0",
    };
    if (creds)
        return;
    creds = cred_table_new(span_str("example.org"));
    must(creds && cred_table_add(creds, span_str("alice"), span_str("sesame")) == 0 &&
         cred_table_add(creds, span_str("bob"), span_str("secret")) == 0);
    rules[0] = rules_new(NULL);
    rules[1] = rules_new("198.41.0.0/24");
    s.acts = acts_new();
    must(s.acts);
    for (int i = 0; i < PEERS; i++)
        peers[i] = address(texts[i]);
}

static void clients_init(void)
{
    static const struct {
        uint8_t transport, worker;
        const char *addr;
    } list[CLIENTS] = {
        {TRANSPORT_UDP, 0, "198.41.2.4:1000"}, {TRANSPORT_UDP, 1, "198.41.2.4:1001"},
        {TRANSPORT_TCP, 0, "198.41.2.4:1000"}, {TRANSPORT_TCP, 1, "198.41.2.4:1001"},
        {TRANSPORT_TLS, 0, "198.41.2.5:1002"}, {TRANSPORT_DTLS, 0, "[2606:4700:2::4]:1"},
        {TRANSPORT_TCP, 0, "198.41.2.5:1003"}, {TRANSPORT_TCP, 1, "198.41.2.5:1004"},
        {TRANSPORT_TCP, 1, "198.41.2.5:1005"},
    };
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &s.clients[i];
        *c = (struct client){.worker = list[i].worker, .is_open = true};
        c->flow.tuple.transport = list[i].transport;
        c->flow.tuple.client = address(list[i].addr);
        c->flow.tuple.server = address("192.31.196.1:3478");
        c->flow.link = c;
    }
}

static void limits_choose(uint8_t bits)
{
    s.limits = (struct limits){
        .user_allocations = bits & 1 ? 3 : 0,
        .allocations = bits & 2 ? 5 : 0,
        .user_connects_per_minute = bits & 4 ? 6 : 0,
        .user_bytes_per_s = bits & 8 ? 2000 : 0,
        .answers_per_s = bits & 16 ? 5 : 0,
    };
    s.policy.allocation_permissions = bits & 32 ? 2 : 0;
    s.policy.allocation_channels = bits & 64 ? 2 : 0;
    s.policy.allocation_connections = bits & 128 ? 2 : 0;
}

static void stage_begin(struct span input)
{
    make_once();
    struct acts *acts = s.acts;
    memset(&s, 0, sizeof s);
    random_state = 1;
    s.acts = acts;
    s.in = rd_of(input);
    s.now_ms = 1000;
    s.policy = (struct turn_policy){.creds = creds,
                                    .rules = rules[0],
                                    .relays = relays,
                                    .relays_n = 2,
                                    .lifetime_default_s = 600,
                                    .lifetime_max_s = 3600};
    limits_choose(choice());
    clients_init();
    nonce_key_init(&s.shared.nonces, 3600);
    s.shared.limiter = limiter_new(&s.limits);
    s.shared.ranges = port_ranges_new(PORT_MIN, PORT_MIN + PORTS - 1);
    must(s.shared.limiter && s.shared.ranges);
    for (unsigned i = 0; i < WORKERS; i++) {
        s.turns[i] = turn_new(&s.shared, &s.policy, i, WORKERS);
        must(s.turns[i]);
        turn_clock(s.turns[i], s.now_ms, 1700000000);
    }
}

/* ---- what may pass ---- */

static bool is_live_relay(const struct addr *a)
{
    for (int i = 0; i < THINGS; i++)
        if (s.things[i].state == PORT && addr_is_equal(&s.things[i].addr, a))
            return true;
    return false;
}

static bool is_own(const struct addr *a)
{
    return addr_is_same_ip(a, &relays[0].local) || addr_is_same_ip(a, &relays[1].local);
}

static bool is_granted(const struct client *c, const struct addr *a)
{
    struct addr ip = addr_without_port(a);
    for (unsigned i = 0; i < GRANTS; i++)
        if (s.grants[i].client == c && addr_is_equal(&s.grants[i].ip, &ip))
            return s.now_ms < s.grants[i].at_ms + 300000;
    return false;
}

/* May bytes of this client's relay go to or come from there? */
static void check_peer(const struct client *c, const struct addr *a, bool needs_permission)
{
    const char *why;
    must(a->port);
    must(is_own(a) ? is_live_relay(a) : peer_rules_judge(s.policy.rules, a, &why) == PEER_ALLOWED);
    must(!needs_permission || is_granted(c, a));
}

static struct addr local_of(struct addr named)
{
    if (addr_is_same_ip(&named, &relays[0].advertised))
        memcpy(named.ip, relays[0].local.ip, sizeof named.ip);
    return named;
}

static void grant_add(const struct client *c, const struct addr *named)
{
    struct addr local = local_of(*named), ip = addr_without_port(&local);
    unsigned i = 0;
    while (i < GRANTS && s.grants[i].client && !(s.grants[i].client == c && addr_is_equal(&s.grants[i].ip, &ip)))
        i++;
    must(i < GRANTS);
    s.grants[i] = (struct grant){c, ip, s.now_ms};
}

static void grants_forget(const struct client *c)
{
    for (unsigned i = 0; i < GRANTS; i++)
        if (s.grants[i].client == c)
            s.grants[i].client = NULL;
}

#endif
