/* UDP relays: allocation, peers that must be refused, data from relay to relay. */
#include <inttypes.h>

#include "app/doctor_run.h"
#include "base/rand.h"
#include "sys/loop.h"

/* ---- allocation ---- */

/* A relayed address that peers cannot reach, although the server itself can be reached by clients. */
static bool is_hidden_relay(const struct doctor *d, const struct addr *relayed)
{
    return doctor_special(relayed) && !doctor_special(&doctor_way(d)->server);
}

static void tell_allocation(struct doctor *d, const struct turnc *c, uint64_t took_us)
{
    char relayed[ADDR_TEXT_MAX];
    const char *special = doctor_special(&c->relayed);
    addr_format(&c->relayed, relayed);
    doctor_number(d, "allocate_ms", (double)took_us / 1000);
    if (is_hidden_relay(d, &c->relayed)) {
        doctor_fail(d, "the relayed address %s is %s: peers on the Internet cannot reach it", relayed, special);
        doctor_remedy(
            d, "The server stands behind NAT and does not know its public address. Causeway: --relay-ip with the "
               "advertised address; coturn: external-ip=PUBLIC/PRIVATE.");
    } else {
        doctor_ok(d, "%s (%s), lifetime %" PRIu32 " s, made in %.1f ms", relayed, special ? special : "public",
                  c->lifetime_s, (double)took_us / 1000);
    }
}

static void remedy_of_refused_allocation(struct doctor *d, int code)
{
    switch (code) {
    case 300: doctor_remedy(d, "Run this check on that server."); break;
    case 401: doctor_remedy(d, "User name or password is wrong (time-limited ones may have expired)."); break;
    case 403: doctor_remedy(d, "The server forbids relays for this user or this client address: see its rules."); break;
    case 440: doctor_remedy(d, "The server has no relay address of this family: see its relay addresses."); break;
    case 441:
        doctor_remedy(d, "The server knows the connection under another user: another client uses the same port.");
        break;
    case 442: doctor_remedy(d, "The server does not relay this transport: see its configuration."); break;
    case 486: doctor_remedy(d, "The quota of this user is used up: end other sessions, or raise the limit."); break;
    case 508: doctor_remedy(d, "The server has no relay port left: enlarge its port range."); break;
    default: break;
    }
}

void check_udp_allocate(struct doctor *d)
{
    struct client *c = &d->relay_a;
    const struct outcome *o = &c->outcome[STUN_ALLOCATE];
    if (client_open(c, doctor_way(d), d->target->user, d->target->password, doctor_deadline(d))) {
        doctor_fail(d, "cannot connect again: %s", c->control.why);
        return;
    }
    uint64_t start_us = link_clock_us();
    if (client_allocate(c, TURNC_UDP, ADDR_NONE, doctor_deadline(d))) {
        d->have |= NEED_UDP_RELAY;
        tell_allocation(d, &c->turnc, link_clock_us() - start_us);
    } else {
        doctor_fail_outcome(d, "no allocation", o);
        remedy_of_refused_allocation(d, o->code);
    }
}

/* ---- peers that must be refused ---- */

/* Asks for a permission. True when there was an answer, whatever it was. */
static bool judge_peer(struct doctor *d, struct client *c, const struct addr *peer, bool *is_accepted)
{
    const struct outcome *o = &c->outcome[STUN_CREATE_PERMISSION];
    *is_accepted = client_permit(c, peer, doctor_deadline(d));
    return o->is_ok || o->why == TURNC_REFUSED;
}

/* Peers behind every relay: its own services, its network, a cloud's metadata, and the same in other notations. */
enum { PROBES = 4 };
static const char *const probes_v4[PROBES] = {"127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80",
                                              "[::ffff:127.0.0.1]:80"};
static const char *const probes_v6[PROBES] = {"[::1]:80", "[fd00::1]:80", "[::ffff:127.0.0.1]:80",
                                              "[64:ff9b::a00:1]:80"};

void check_private_peers(struct doctor *d)
{
    const char *const *probes = d->relay_a.turnc.relayed.family == ADDR_V6 ? probes_v6 : probes_v4;
    char accepted_buf[160], refused_buf[160];
    struct text accepted = text_of(accepted_buf, sizeof accepted_buf),
                refused = text_of(refused_buf, sizeof refused_buf);
    for (size_t i = 0; i < PROBES; i++) {
        struct addr peer;
        char name[ADDR_TEXT_MAX];
        must(addr_parse_with_port(probes[i], &peer) == 0);
        if (addr_is_same_ip(&peer, &d->relay_a.turnc.relayed))
            continue; /* its own relayed address: relay to relay may be allowed */
        bool is_accepted;
        if (!judge_peer(d, &d->relay_a, &peer, &is_accepted)) {
            doctor_fail_outcome(d, "a permission for a private peer must be refused",
                                &d->relay_a.outcome[STUN_CREATE_PERMISSION]);
            return;
        }
        struct text *list = is_accepted ? &accepted : &refused;
        text_addf(list, "%s%s", list->n ? ", " : "", addr_format_ip(&peer, name));
    }
    if (accepted.n == 0) {
        doctor_ok(d, "refused: %s", refused_buf);
        return;
    }
    doctor_warn(d, "this relay reaches private networks: it accepts %s as peers", accepted_buf);
    doctor_remedy(
        d, "Whoever has a password may reach the services behind the server. Causeway refuses these ranges unless an "
           "allow-peer rule opens them; coturn needs a denied-peer-ip line for each private, loopback and "
           "link-local range.");
}

/* ---- data ---- */

enum { ECHO_COUNT = 50, ECHO_PACE_MS = 4, ECHO_SMALL = 100, ECHO_LARGE = 1200 };

/* One series of datagrams A -> B -> A. */
struct echo {
    uint64_t series; /* marks our datagrams */
    unsigned sent, back;
    bool seen[ECHO_COUNT];
    bool by_channel; /* all came back as ChannelData */
    uint64_t sum_us, max_us;
};

static void send_back(struct client *c, const struct turnc_act *act, void *user)
{
    (void)user;
    client_send(c, &act->peer, act->bytes);
}

static void came_back(struct client *c, const struct turnc_act *act, void *user)
{
    struct echo *e = user;
    struct rd r = rd_of(act->bytes);
    (void)c;
    uint64_t series = rd_u64(&r), number = rd_u64(&r), sent_us = rd_u64(&r), took_us = link_clock_us() - sent_us;
    if (r.err || series != e->series || number >= ECHO_COUNT || e->seen[number])
        return;
    e->seen[number] = true;
    e->back++;
    e->by_channel = e->by_channel && act->channel;
    e->sum_us += took_us;
    e->max_us = took_us > e->max_us ? took_us : e->max_us;
}

static void send_one(struct echo *e, struct client *a, const struct addr *peer)
{
    uint8_t payload[ECHO_LARGE] = {0};
    be64_put(payload, e->series);
    be64_put(payload + 8, e->sent);
    be64_put(payload + 16, link_clock_us());
    client_send(a, peer, span_of(payload, e->sent % 2 ? ECHO_LARGE : ECHO_SMALL));
    e->sent++;
}

/* Sends the series from A to B's relayed address; B sends everything back. */
static void run_echo(struct doctor *d, struct echo *e, struct client *a, struct client *b)
{
    struct client *both[] = {a, b};
    *e = (struct echo){.series = rand_u64(), .by_channel = true};
    a->heard = came_back;
    a->heard_user = e;
    b->heard = send_back;
    while (e->sent < ECHO_COUNT) {
        uint64_t next_ms = loop_clock_ms() + ECHO_PACE_MS;
        send_one(e, a, &b->turnc.relayed);
        while (loop_clock_ms() < next_ms)
            clients_turn(both, 2, next_ms);
    }
    uint64_t deadline_ms = doctor_deadline(d);
    uint64_t patience_ms = loop_clock_ms() + 1000;
    while (e->back < ECHO_COUNT && loop_clock_ms() < (e->back ? patience_ms : deadline_ms))
        clients_turn(both, 2, e->back ? patience_ms : deadline_ms);
    a->heard = b->heard = NULL;
}

static bool tell_echo(struct doctor *d, const struct echo *e)
{
    unsigned lost = e->sent - e->back;
    if (e->back == 0) {
        doctor_fail(d, "none of %u datagrams came back", e->sent);
        return false;
    }
    double rtt_ms = (double)e->sum_us / e->back / 1000;
    doctor_number(d, "rtt_ms", rtt_ms);
    doctor_number(d, "lost_percent", 100.0 * lost / e->sent);
    (lost ? doctor_warn : doctor_ok)(d,
                                     "%u datagrams of %d and %d bytes, %u lost, round trip %.1f ms, at worst %.1f ms",
                                     e->sent, ECHO_SMALL, ECHO_LARGE, lost, rtt_ms, (double)e->max_us / 1000);
    if (lost)
        doctor_remedy(d, "Datagrams get lost on the way or in the server: look at its load and its socket buffers.");
    return true;
}

static bool permit_each_other(struct doctor *d)
{
    struct client *pair[] = {&d->relay_a, &d->relay_b};
    for (int i = 0; i < 2; i++) {
        if (client_permit(pair[i], &pair[!i]->turnc.relayed, doctor_deadline(d)))
            continue;
        doctor_fail_outcome(d, "no permission for another relayed address of this server",
                            &pair[i]->outcome[STUN_CREATE_PERMISSION]);
        doctor_remedy(d, "Two clients of this server cannot reach each other. Allow the relay's own address as a peer "
                         "(coturn: allowed-peer-ip, on loopback --allow-loopback-peers). With --peer-ip ADDR a plain "
                         "peer is tried instead.");
        return false;
    }
    return true;
}

void check_udp_data(struct doctor *d)
{
    struct echo e;
    struct client *b = &d->relay_b;
    if (client_open(b, doctor_way(d), d->target->user, d->target->password, doctor_deadline(d))) {
        doctor_fail(d, "cannot connect again: %s", b->control.why);
        return;
    }
    if (!client_allocate(b, TURNC_UDP, ADDR_NONE, doctor_deadline(d))) {
        doctor_fail_outcome(d, "no second allocation", &b->outcome[STUN_ALLOCATE]);
        remedy_of_refused_allocation(d, b->outcome[STUN_ALLOCATE].code);
        return;
    }
    if (!permit_each_other(d))
        return;
    run_echo(d, &e, &d->relay_a, b);
    if (tell_echo(d, &e))
        d->have |= NEED_UDP_DATA;
    else
        doctor_remedy(
            d, "Is the relay port range (49152-65535) open in the firewall for UDP? Behind 1:1 NAT the server must "
               "also reach its own public address (hairpin).");
}

void check_channel(struct doctor *d)
{
    struct echo e;
    const struct outcome *o = &d->relay_a.outcome[STUN_CHANNEL_BIND];
    if (!client_bind_channel(&d->relay_a, &d->relay_b.turnc.relayed, doctor_deadline(d))) {
        doctor_fail_outcome(d, "no channel", o);
        return;
    }
    run_echo(d, &e, &d->relay_a, &d->relay_b);
    if (tell_echo(d, &e) && !e.by_channel) {
        doctor_warn(d, "a channel is bound, but data come back as Data indications");
        doctor_remedy(d, "It works, but each datagram costs 32 bytes more than it must.");
    }
}
