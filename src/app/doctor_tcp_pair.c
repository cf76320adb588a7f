#include "app/doctor_tcp_pair.h"

#include "sys/loop.h"

bool tcp_allocate(struct doctor *d, struct client *c, uint8_t family)
{
    if (client_open(c, &d->tcp, d->target->user, d->target->password, doctor_deadline(d))) {
        doctor_fail(d, "cannot connect again: %s", c->control.why);
        return false;
    }
    if (client_allocate(c, TURNC_TCP, family, doctor_deadline(d)))
        return true;
    const struct outcome *o = &c->outcome[STUN_ALLOCATE];
    doctor_fail_outcome(d, "no TCP allocation", o);
    if (o->code == 442)
        doctor_remedy(d,
                      "The server relays no TCP (RFC 6062), which desktop sharing needs: switch it on (coturn: remove "
                      "no-tcp-relay), or use a server that has it.");
    return false;
}

static bool permit(struct doctor *d, struct client *c, const struct addr *peer)
{
    if (client_permit(c, peer, doctor_deadline(d)))
        return true;
    doctor_fail_outcome(d, "no permission for another relayed address of this server",
                        &c->outcome[STUN_CREATE_PERMISSION]);
    doctor_remedy(
        d, "Two clients of this server cannot reach each other. Allow the relay's own address as a peer (coturn: "
           "allowed-peer-ip, on loopback --allow-loopback-peers). With --peer-ip ADDR a plain peer is tried "
           "instead.");
    return false;
}

bool tcp_pair_allocate(struct doctor *d, struct tcp_pair *p)
{
    memset(p, 0, sizeof *p);
    link_init(&p->b.control);
    link_init(&p->data_a);
    link_init(&p->data_b);
    p->is_open = true;
    bool ok = tcp_allocate(d, &p->a, ADDR_NONE);
    p->has_b = ok;
    return ok && tcp_allocate(d, &p->b, ADDR_NONE) && permit(d, &p->a, &p->b.turnc.relayed) &&
           permit(d, &p->b, &p->a.turnc.relayed);
}

bool tcp_await_attempt(struct doctor *d, struct client *const *clients, size_t n)
{
    struct client *c = clients[n - 1];
    uint64_t deadline_ms = doctor_deadline(d);
    while (c->attempts_n == 0 && loop_clock_ms() < deadline_ms)
        clients_turn(clients, n, deadline_ms);
    if (c->attempts_n)
        return true;
    doctor_fail(d, "a peer has connected to the relayed address, but no ConnectionAttempt came");
    doctor_remedy(d, "Is the relay port range (49152-65535) open in the firewall for TCP too?");
    return false;
}

bool tcp_pair_connect(struct doctor *d, struct tcp_pair *p)
{
    struct client *both[] = {&p->a, &p->b};
    client_expect(&p->a, STUN_CONNECT);
    turnc_connect(&p->a.turnc, &p->b.turnc.relayed, loop_clock_ms());
    if (!clients_await(both, 2, STUN_CONNECT, doctor_deadline(d))) {
        doctor_fail_outcome(d, "Connect to another relayed address", &p->a.outcome[STUN_CONNECT]);
        doctor_remedy(d,
                      "Is the relay port range open for TCP in the firewall, and does the server reach its own relayed "
                      "addresses (hairpin behind 1:1 NAT)?");
        return false;
    }
    p->connection_a = p->a.outcome[STUN_CONNECT].connection;
    if (!tcp_await_attempt(d, both, 2))
        return false;
    p->connection_b = p->b.attempts[0].connection;
    return true;
}

bool tcp_bind(struct doctor *d, struct client *c, struct link *data, uint32_t connection)
{
    if (link_open(data, &d->tcp, doctor_deadline(d))) {
        doctor_fail(d, "no data connection to the server: %s", data->why);
        return false;
    }
    if (client_bind(c, data, connection, doctor_deadline(d)))
        return true;
    doctor_fail_outcome(d, "ConnectionBind", &c->outcome[STUN_CONNECTION_BIND]);
    return false;
}

bool tcp_pair_bind_a(struct doctor *d, struct tcp_pair *p)
{
    return tcp_bind(d, &p->a, &p->data_a, p->connection_a);
}

bool tcp_pair_bind_b(struct doctor *d, struct tcp_pair *p)
{
    return tcp_bind(d, &p->b, &p->data_b, p->connection_b);
}

void tcp_pair_close(struct tcp_pair *p)
{
    if (!p->is_open)
        return;
    link_close(&p->data_a);
    link_close(&p->data_b);
    client_close(&p->a);
    if (p->has_b)
        client_close(&p->b);
    p->is_open = false;
}
