/* TCP relays (RFC 6062): the relayed connection and what must be true of the bytes that pass it. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "app/doctor_tcp_pair.h"
#include "sys/loop.h"

enum {
    QUIET_MS = 200,
    STEP_MS = 50,
    LATE_BYTES = 64 << 10,
    EARLY_BYTES = 1 << 20,
    BURST_BYTES = 6 << 20,
    BACK_BYTES = 256 << 10,
    BEHIND_BYTES = 1000,
    TAIL_ROUNDS = 3
};

void check_tcp_allocate(struct doctor *d)
{
    struct client c;
    char relayed[ADDR_TEXT_MAX];
    if (tcp_allocate(d, &c, ADDR_NONE)) {
        d->have |= NEED_TCP_RELAY;
        addr_format(&c.turnc.relayed, relayed);
        doctor_ok(d, "%s, lifetime %" PRIu32 " s", relayed, c.turnc.lifetime_s);
    }
    client_close(&c);
}

void check_multicast(struct doctor *d)
{
    struct client c;
    const struct outcome *o = &c.outcome[STUN_CONNECT];
    if (tcp_allocate(d, &c, ADDR_NONE)) {
        struct addr group = addr_v4(0xe0000001, 9);
        if (c.turnc.relayed.family == ADDR_V6)
            addr_parse_with_port("[ff02::1]:9", &group);
        client_expect(&c, STUN_CONNECT);
        turnc_connect(&c.turnc, &group, loop_clock_ms());
        client_await(&c, STUN_CONNECT, doctor_deadline(d));
        if (o->why == TURNC_REFUSED && o->code == 403) {
            doctor_ok(d, "403 for Connect to a multicast address");
        } else {
            doctor_fail_outcome(d, "Connect to a multicast address must be answered 403", o);
            doctor_remedy(
                d,
                "Such peers are forbidden (RFC 6062 s.5.2), which is no error of the server: harmless, but it tells a "
                "client the wrong thing.");
        }
    }
    client_close(&c);
}

void check_tcp_connect(struct doctor *d)
{
    struct tcp_pair *p = &d->pair;
    uint64_t start_us = link_clock_us();
    if (!tcp_pair_allocate(d, p) || !tcp_pair_connect(d, p) || !tcp_pair_bind_a(d, p) || !tcp_pair_bind_b(d, p)) {
        tcp_pair_close(p);
        return;
    }
    double took_ms = (double)(link_clock_us() - start_us) / 1000;
    bool right_source = addr_is_equal(&p->b.attempts[0].peer, &p->a.turnc.relayed);
    char source[ADDR_TEXT_MAX];
    d->have |= NEED_TCP_PAIR;
    doctor_number(d, "setup_ms", took_ms);
    if (right_source) {
        doctor_ok(d, "relay to relay, both ends bound after %.1f ms", took_ms);
    } else {
        doctor_warn(d, "the connection does not come from the relayed address, but from %s",
                    addr_format(&p->b.attempts[0].peer, source));
        doctor_remedy(d,
                      "RFC 6062 s.5.2 wants the relayed address as source; peers that filter by it will refuse. A NAT "
                      "between the server and itself can be the reason.");
    }
}

/* ---- bytes ---- */

/* The row of a transfer that ended with `err`: a path that is only slow is no fault. */
static void tell_transfer(struct doctor *d, const struct transfer *f, int err, const char *what, const char *remedy)
{
    char buf[200];
    struct text t = text_of(buf, sizeof buf);
    transfer_tell(f, err, &t);
    (err == ERR_FULL ? doctor_warn : doctor_fail)(d, "%s: %s", what, buf);
    doctor_remedy(d, "%s", err == ERR_FULL ? "The path is too slow for this check: raise --timeout." : remedy);
}

static bool move(struct doctor *d, struct transfer *f, const char *what)
{
    int err = transfer_run(f, d->target->timeout_ms, loop_clock_ms() + 4 * (uint64_t)d->target->timeout_ms);
    if (!err)
        return true;
    tell_transfer(d, f, err, what,
                  "The relay loses or stops bytes of a TCP stream: desktop sharing through it freezes or breaks. Look "
                  "for errors in "
                  "the server's log; update or replace it.");
    return false;
}

void check_tcp_transfer(struct doctor *d)
{
    struct transfer there, back;
    transfer_init(&there, &d->pair.data_a, &d->pair.data_b, d->target->bytes);
    transfer_init(&back, &d->pair.data_b, &d->pair.data_a, d->target->bytes);
    if (move(d, &there, "Connect's side to the listening side") && move(d, &back, "listening side to Connect's side")) {
        double mib = (double)(there.received + back.received) / (1 << 20);
        doctor_number(d, "to_listener_mbit_s", transfer_speed(&there));
        doctor_number(d, "to_connector_mbit_s", transfer_speed(&back));
        doctor_ok(d, "%.1f MiB, every byte right; %.0f Mbit/s to the listening side, %.0f Mbit/s back", mib,
                  transfer_speed(&there), transfer_speed(&back));
    } else {
        tcp_pair_close(&d->pair);
    }
}

/* Ends A's direction, then sends the other way. */
static void half_close(struct doctor *d)
{
    struct link *a = &d->pair.data_a, *b = &d->pair.data_b;
    struct transfer there, back;
    char buf[200];
    struct text t = text_of(buf, sizeof buf);
    transfer_init(&there, a, b, 0);
    transfer_init(&back, b, a, BACK_BYTES);
    link_half_close(a);
    int err = transfer_end(&there, d->target->timeout_ms);
    if (err) {
        doctor_fail(d, "the end of one direction does not reach the other side%s",
                    err == ERR_SYS ? ": it sees a broken connection" : "");
        return;
    }
    err = transfer_run(&back, d->target->timeout_ms, UINT64_MAX);
    link_half_close(b);
    if (!err)
        err = transfer_end(&back, d->target->timeout_ms);
    if (!err) {
        doctor_ok(d, "after the end of one direction the other carried %d KiB to its own end", BACK_BYTES >> 10);
        return;
    }
    transfer_tell(&back, err, &t);
    doctor_fail(d, "the end of one direction ends the other too: %s", buf);
}

void check_tcp_half_close(struct doctor *d)
{
    if (!d->pair.is_open) {
        doctor_skip(d, "the transfer failed");
        return;
    }
    half_close(d);
    if (d->row->result == DOCTOR_FAIL)
        doctor_remedy(
            d, "The relay treats a half-closed connection as closed: what the other side still had to send is lost. "
               "Nothing in its configuration helps; use a relay that passes half-close on.");
    tcp_pair_close(&d->pair);
}

/* ---- bytes around the bind ---- */

/* A little, more, all: a relay that reads early has time to do so. */
static void push_in_steps(struct transfer *f)
{
    static const uint64_t steps[] = {4 << 10, 32 << 10, 128 << 10, EARLY_BYTES};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        f->total = steps[i];
        transfer_push(f, QUIET_MS);
        poll(NULL, 0, STEP_MS);
    }
}

static void early_bytes(struct doctor *d, struct tcp_pair *p)
{
    struct transfer f;
    char what[100];
    transfer_init(&f, &p->data_a, &p->data_b, EARLY_BYTES);
    push_in_steps(&f);
    uint64_t early = f.sent;
    if (!tcp_pair_bind_b(d, p))
        return;
    f.total = early + LATE_BYTES; /* what is sent after the bind shows a hole before it */
    int err = transfer_run(&f, d->target->timeout_ms, UINT64_MAX);
    if (!err) {
        doctor_ok(d, "%" PRIu64 " KiB sent before the bind, all arrived", early >> 10);
        return;
    }
    snprintf(what, sizeof what, "%" PRIu64 " KiB sent before the other side had bound", early >> 10);
    tell_transfer(d, &f, err, what,
                  "The relay drops what a peer sends before the client has bound (instead of leaving it to TCP), and "
                  "the connection "
                  "goes on with a hole: an RDP session then breaks at random. Nothing in its configuration helps.");
}

void check_early_bytes(struct doctor *d)
{
    struct tcp_pair *p = &d->pair;
    if (tcp_pair_allocate(d, p) && tcp_pair_connect(d, p) && tcp_pair_bind_a(d, p))
        early_bytes(d, p);
    tcp_pair_close(p);
}

void check_pipelined(struct doctor *d)
{
    struct tcp_pair *p = &d->pair;
    struct transfer f;
    uint8_t behind[BEHIND_BYTES];
    if (tcp_pair_allocate(d, p) && tcp_pair_connect(d, p) && tcp_pair_bind_a(d, p)) {
        transfer_init(&f, &p->data_b, &p->data_a, BEHIND_BYTES);
        transfer_pattern(f.seed, 0, behind, sizeof behind);
        p->b.behind = span_of(behind, sizeof behind);
        if (tcp_pair_bind_b(d, p)) {
            f.sent = BEHIND_BYTES;
            if (transfer_run(&f, d->target->timeout_ms < 2000 ? d->target->timeout_ms : 2000, UINT64_MAX) == 0) {
                doctor_ok(d, "%d bytes sent with the ConnectionBind request arrived", BEHIND_BYTES);
            } else {
                doctor_warn(d, "%" PRIu64 " of %d bytes sent with the ConnectionBind request arrived", f.received,
                            BEHIND_BYTES);
                doctor_remedy(
                    d, "A client must wait for the answer to its bind with this relay before it sends, which costs a "
                       "round trip; one that does not wait loses its first bytes.");
            }
        }
    }
    tcp_pair_close(p);
}

/* Fills all buffers on the way, closes, and only then reads. Adds what was sent to `bytes`. */
static bool burst_and_close(struct doctor *d, uint64_t *bytes)
{
    struct tcp_pair *p = &d->pair;
    struct transfer f;
    char what[100];
    if (!tcp_pair_allocate(d, p) || !tcp_pair_connect(d, p) || !tcp_pair_bind_a(d, p) || !tcp_pair_bind_b(d, p))
        return false;
    transfer_init(&f, &p->data_a, &p->data_b, BURST_BYTES);
    transfer_push(&f, QUIET_MS);
    f.total = f.sent;
    *bytes += f.sent;
    link_close(&p->data_a);
    int err = transfer_run(&f, d->target->timeout_ms, UINT64_MAX);
    if (!err)
        return true;
    snprintf(what, sizeof what, "%" PRIu64 " KiB sent and closed at once", f.sent >> 10);
    tell_transfer(d, &f, err, what,
                  "The relay throws away what it still holds when one side closes: the last screen update or the end "
                  "of a file is "
                  "lost. Nothing in its configuration helps.");
    return false;
}

/* Several times, while there is time: losing the tail is a race. */
void check_tail(struct doctor *d)
{
    uint64_t deadline_ms = doctor_deadline(d), bytes = 0;
    unsigned rounds = 0;
    bool ok = true;
    while (ok && rounds < TAIL_ROUNDS && loop_clock_ms() < deadline_ms) {
        ok = burst_and_close(d, &bytes);
        tcp_pair_close(&d->pair);
        rounds++;
    }
    if (ok)
        doctor_ok(d, "%u times sent and closed at once: all %" PRIu64 " KiB arrived", rounds, bytes >> 10);
}
