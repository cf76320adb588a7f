/* Relay against plain sockets of ours (--peer-ip): what a peer without TURN sees. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "app/doctor_tcp_pair.h"
#include "base/rand.h"
#include "sys/loop.h"
#include "sys/sock.h"

static struct addr peer_address(const struct doctor *d)
{
    return addr_without_port(&d->target->peer_ip);
}

static bool permit(struct doctor *d, struct client *c, const struct addr *peer)
{
    if (client_permit(c, peer, doctor_deadline(d)))
        return true;
    const struct outcome *o = &c->outcome[STUN_CREATE_PERMISSION];
    doctor_fail_outcome(d, "no permission for the peer", o);
    if (o->code == 403)
        doctor_remedy(d,
                      "The server's rules forbid this address. Give one that is public for it, or open it (Causeway: "
                      "allow-peer, coturn: allowed-peer-ip).");
    return false;
}

static void fail_no_socket(struct doctor *d, const char *what)
{
    char name[ADDR_TEXT_MAX];
    doctor_fail(d, "%s on %s: %s", what, addr_format_ip(&d->target->peer_ip, name), strerror(errno));
    doctor_remedy(d, "--peer-ip must be an address of this machine.");
}

/* ---- UDP ---- */

enum { PINGS = 20, PING_MS = 1000 };

struct pong {
    uint64_t number;
    bool came;
};

static void note_pong(struct client *c, const struct turnc_act *act, void *user)
{
    struct pong *p = user;
    (void)c;
    if (act->bytes.n == 8 && be64_get(act->bytes.p) == p->number)
        p->came = true;
}

/* Sends back one datagram that came to the peer's socket. False when none came, or not from the relayed address. */
static bool answer_as_peer(int fd, const struct addr *relayed, struct addr *from)
{
    uint8_t buf[2048];
    struct sockaddr_storage ss;
    socklen_t size = sizeof ss;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, PING_MS) <= 0)
        return false;
    ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&ss, &size);
    *from = sock_to_addr(&ss);
    return n > 0 && addr_is_equal(from, relayed) && sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&ss, size) == n;
}

static bool ping(struct client *c, int fd, const struct addr *peer, struct addr *from)
{
    struct pong pong = {.number = rand_u64()};
    uint8_t payload[8];
    be64_put(payload, pong.number);
    c->heard = note_pong;
    c->heard_user = &pong;
    client_send(c, peer, span_of(payload, sizeof payload));
    uint64_t deadline_ms = loop_clock_ms() + PING_MS;
    if (answer_as_peer(fd, &c->turnc.relayed, from))
        while (!pong.came && loop_clock_ms() < deadline_ms)
            clients_turn(&c, 1, deadline_ms);
    c->heard = NULL;
    return pong.came;
}

static void ping_all(struct doctor *d, struct client *c, int fd, const struct addr *peer)
{
    unsigned back = 0;
    struct addr from = {0};
    char name[ADDR_TEXT_MAX];
    uint64_t sum_us = 0;
    for (unsigned i = 0; i < PINGS && (i < 3 || back); i++) {
        uint64_t start_us = link_clock_us();
        if (!ping(c, fd, peer, &from))
            continue;
        sum_us += link_clock_us() - start_us;
        back++;
    }
    double rtt_ms = back ? (double)sum_us / back / 1000 : 0;
    if (back) {
        doctor_number(d, "rtt_ms", rtt_ms);
        (back < PINGS ? doctor_warn : doctor_ok)(d, "%u of %d datagrams went to the peer and back, %.1f ms each", back,
                                                 PINGS, rtt_ms);
    } else if (from.family != ADDR_NONE && !addr_is_equal(&from, &c->turnc.relayed)) {
        doctor_fail(d, "the peer gets datagrams from %s, not from the relayed address", addr_format(&from, name));
        doctor_remedy(d, "A NAT changes the source; the relay must stand on the address that it advertises.");
    } else {
        doctor_fail(d, "no datagram came through to the peer and back");
        doctor_remedy(
            d, "Can the server reach this address (no NAT, no firewall between), and is its relay port range open for "
               "UDP?");
    }
}

void check_peer_udp(struct doctor *d)
{
    struct client c;
    struct addr local = peer_address(d);
    int fd = sock_udp(&local, false, 0);
    if (fd < 0) {
        fail_no_socket(d, "no UDP socket");
        return;
    }
    struct addr peer = sock_local(fd);
    if (client_open(&c, doctor_way(d), d->target->user, d->target->password, doctor_deadline(d)))
        doctor_fail(d, "cannot connect again: %s", c.control.why);
    else if (!client_allocate(&c, TURNC_UDP, peer.family == ADDR_V6 ? ADDR_V6 : ADDR_NONE, doctor_deadline(d)))
        doctor_fail_outcome(d, "no allocation", &c.outcome[STUN_ALLOCATE]);
    else if (permit(d, &c, &peer))
        ping_all(d, &c, fd, &peer);
    client_close(&c);
    close(fd);
}

/* ---- TCP ---- */

static void transfer_both(struct doctor *d, struct link *data, struct link *peer)
{
    struct transfer f[2];
    char buf[200];
    struct text t = text_of(buf, sizeof buf);
    transfer_init(&f[0], data, peer, d->target->bytes);
    transfer_init(&f[1], peer, data, d->target->bytes);
    for (int i = 0; i < 2; i++) {
        int err = transfer_run(&f[i], d->target->timeout_ms, loop_clock_ms() + 4 * (uint64_t)d->target->timeout_ms);
        if (!err)
            continue;
        transfer_tell(&f[i], err, &t);
        doctor_fail(d, "%s: %s", i ? "peer to client" : "client to peer", buf);
        return;
    }
    doctor_number(d, "to_peer_mbit_s", transfer_speed(&f[0]));
    doctor_number(d, "to_client_mbit_s", transfer_speed(&f[1]));
    doctor_ok(d, "%.1f MiB, every byte right; %.0f Mbit/s to the peer, %.0f Mbit/s back",
              (double)(f[0].received + f[1].received) / (1 << 20), transfer_speed(&f[0]), transfer_speed(&f[1]));
}

static uint8_t family_of_peer(const struct doctor *d)
{
    return d->target->peer_ip.family == ADDR_V6 ? ADDR_V6 : ADDR_NONE;
}

/* Waits until the dialled connection stands. */
static bool await_connected(struct doctor *d, const struct link *peer)
{
    struct pollfd p = {.fd = peer->fd, .events = POLLOUT};
    int n = poll(&p, 1, (int)d->target->timeout_ms), error = n > 0 ? sock_error(peer->fd) : ETIMEDOUT;
    if (error == 0)
        return true;
    doctor_fail(d, "the peer cannot connect to the relayed address: %s", strerror(error));
    doctor_remedy(d, "Is the relay port range (49152-65535) open for TCP in every firewall before the server?");
    return false;
}

void check_peer_dials(struct doctor *d)
{
    struct client c;
    struct link peer, data;
    struct addr local = peer_address(d);
    struct client *one = &c;
    link_init(&peer);
    link_init(&data);
    if (tcp_allocate(d, &c, family_of_peer(d)) && permit(d, &c, &local)) {
        int fd = sock_dial(&local, &c.turnc.relayed, false);
        if (fd < 0)
            fail_no_socket(d, "cannot dial");
        else
            link_of_fd(&peer, fd);
        if (fd >= 0 && await_connected(d, &peer) && tcp_await_attempt(d, &one, 1) &&
            tcp_bind(d, &c, &data, c.attempts[0].connection))
            transfer_both(d, &data, &peer);
    }
    link_close(&peer);
    link_close(&data);
    client_close(&c);
}

/* Connects through the relay to our listener; `peer` becomes the accepted side. */
static bool connect_to_listener(struct doctor *d, struct client *c, int listener, struct link *peer)
{
    struct addr at = sock_local(listener), from;
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char name[ADDR_TEXT_MAX];
    client_expect(c, STUN_CONNECT);
    turnc_connect(&c->turnc, &at, loop_clock_ms());
    if (!client_await(c, STUN_CONNECT, doctor_deadline(d))) {
        doctor_fail_outcome(d, "Connect to a listener here", &c->outcome[STUN_CONNECT]);
        doctor_remedy(d, "Can the server reach this address (no NAT, no firewall between), and do its rules allow it?");
        return false;
    }
    if (poll(&p, 1, (int)d->target->timeout_ms) <= 0) {
        doctor_fail(d, "the relay reports success, but nobody has connected here");
        return false;
    }
    int fd = sock_accept(listener, &from);
    link_of_fd(peer, fd);
    if (fd >= 0 && !addr_is_equal(&from, &c->turnc.relayed)) {
        doctor_warn(d, "the connection comes from %s, not from the relayed address", addr_format(&from, name));
        doctor_remedy(d, "RFC 6062 s.5.2 wants the relayed address as source; peers that filter by it will refuse.");
    }
    return fd >= 0;
}

void check_peer_listens(struct doctor *d)
{
    struct client c;
    struct link peer, data;
    struct addr local = peer_address(d);
    link_init(&peer);
    link_init(&data);
    int listener = sock_listen(&local, false, 1);
    if (listener < 0) {
        fail_no_socket(d, "cannot listen");
        return;
    }
    if (tcp_allocate(d, &c, family_of_peer(d)) && permit(d, &c, &local) &&
        connect_to_listener(d, &c, listener, &peer) && tcp_bind(d, &c, &data, c.outcome[STUN_CONNECT].connection) &&
        d->row->result != DOCTOR_WARN)
        transfer_both(d, &data, &peer);
    link_close(&peer);
    link_close(&data);
    client_close(&c);
    close(listener);
}
