#include "scenes/step.h"

#include <stdio.h>
#include <stdlib.h>

#include "scenes/message.h"
#include "scenes/ms.h"

static uint8_t filler[2048];

/* A text, or size=N zero bytes. */
static struct span payload(const struct words *x, int i)
{
    if (words_value(x, "size"))
        return span_take(span_of(filler, sizeof filler), words_u64(x, "size", 0));
    return span_str(words_at(x, i));
}

/* ---- peers ---- */

static void peer_icmp(struct stage *s, const struct words *x, const struct thing *port, const struct addr *peer)
{
    struct stun_icmp icmp = {(uint8_t)words_u64(x, "type", 3), (uint8_t)words_u64(x, "code", 0),
                             (uint32_t)words_u64(x, "data", 0)};
    turn_peer_icmp(s->turns[port->worker], port->handle, peer, &icmp, s->acts);
}

static void peer_accept(struct stage *s, const struct thing *port, const struct addr *peer)
{
    struct thing *p = stage_new_peer(s, port->worker, peer);
    p->handle = turn_peer_accepted(s->turns[port->worker], port->handle, peer, p, s->acts);
    p->is_open = p->handle != 0;
    text_addf(&s->out, "> %s %s\n", p->name, p->handle ? "waits" : "is refused");
}

/* peer ADDR datagram R1 TEXT | peer ADDR icmp R1 [type=] [code=] [data=] | peer ADDR accept R1. A relayed port of ours
 * as ADDR is where it is bound. */
static void play_peer(struct stage *s, const struct words *x)
{
    const struct thing *port = stage_thing(s->ports, s->ports_n, words_at(x, 3));
    const struct thing *own = stage_thing(s->ports, s->ports_n, words_at(x, 1));
    struct addr from = own ? own->addr : message_addr(s, words_at(x, 1));
    const char *what = words_at(x, 2);
    if (!port)
        s->fault = "peer ADDR datagram|icmp|accept PORT ...";
    else if (strcmp(what, "datagram") == 0)
        turn_peer_datagram(s->turns[port->worker], port->handle, &from, payload(x, 4), s->acts);
    else if (strcmp(what, "icmp") == 0)
        peer_icmp(s, x, port, &from);
    else if (strcmp(what, "accept") == 0)
        peer_accept(s, port, &from);
    else
        s->fault = "peer ADDR datagram|icmp|accept PORT ...";
    if (port)
        stage_act(s, port->worker);
}

/* dial P1 ok | dial P1 failed [REASON] | lost P1 | pair P1 ended [up=] [down=] [by=] */
static void play_connection(struct stage *s, const struct words *x)
{
    struct thing *p = stage_thing(s->peers, s->peers_n, words_at(x, 1));
    const char *verb = words_at(x, 0), *by = words_value(x, "by");
    if (!p) {
        s->fault = "no such peer connection";
        return;
    }
    struct turn *t = s->turns[p->worker];
    bool ok = strcmp(words_at(x, 2), "ok") == 0;
    if (strcmp(verb, "dial") == 0)
        turn_dialed(t, p->handle, ok ? 0 : ERR_SYS, x->n > 3 ? words_at(x, 3) : "refused", p, s->acts);
    else if (strcmp(verb, "lost") == 0)
        turn_peer_lost(t, p->handle, s->acts);
    else
        turn_pair_ended(t, p->handle, words_u64(x, "up", 0), words_u64(x, "down", 0), by ? by : "client",
                        "end of stream", s->acts);
    if (strcmp(verb, "lost") == 0)
        p->is_open = false;
    stage_act(s, p->worker);
}

/* ---- clients ---- */

static void client_raw(struct stage *s, struct client *c, const struct words *x)
{
    uint8_t bytes[2048];
    char hex[LINE_MAX_BYTES];
    struct text t = text_of(hex, sizeof hex);
    for (int i = 2; i < x->n; i++)
        text_add(&t, x->w[i]);
    int n = text_unhex(hex, bytes, sizeof bytes);
    if (n < 0)
        s->fault = "raw HEX";
    else
        stage_message(s, c, span_of(bytes, (size_t)n));
}

/* NAME close | NAME channel NUMBER TEXT | NAME raw HEX | NAME METHOD ... */
static void play_client(struct stage *s, struct client *c, const struct words *x)
{
    static uint8_t buf[8192];
    const char *verb = words_at(x, 1);
    struct turn *t = s->turns[c->worker];
    if (ms_play_client(s, c, x))
        return;
    if (strcmp(verb, "close") == 0) {
        turn_client_closed(t, &c->flow, s->acts);
        stage_act(s, c->worker);
    } else if (strcmp(verb, "channel") == 0) {
        turn_channel_data(t, &c->flow, (uint16_t)strtoul(words_at(x, 2), NULL, 0), payload(x, 3), s->acts);
        stage_act(s, c->worker);
    } else if (strcmp(verb, "raw") == 0) {
        client_raw(s, c, x);
    } else {
        struct span message = message_build(s, c, x, buf, sizeof buf);
        if (!s->fault)
            stage_message(s, c, message);
    }
}

/* ---- the server ---- */

static void show_books(struct stage *s)
{
    unsigned ports = 0, seen = 0;
    const struct port_range *known[PORTS_MAX];
    for (unsigned i = 0; i < s->ports_n; i++) {
        const struct port_range *r = port_ranges_of(s->shared.ranges, &s->ports[i].addr, s->ports[i].relay);
        unsigned k = 0;
        while (k < seen && known[k] != r)
            k++;
        if (k < seen)
            continue;
        known[seen++] = r;
        ports += port_range_count(r);
    }
    text_addf(&s->out, "> allocations=%llu accounts=%zu ports=%u\n",
              (unsigned long long)limiter_count(s->shared.limiter, LIMIT_ALLOCATIONS),
              limiter_accounts(s->shared.limiter), ports);
}

/* port R1 | port R2 after R1 */
static void show_port(struct stage *s, const struct words *x)
{
    const struct thing *p = stage_thing(s->ports, s->ports_n, words_at(x, 1));
    const struct thing *first = stage_thing(s->ports, s->ports_n, words_at(x, 3));
    if (!p || (x->n > 2 && !first))
        s->fault = "port R2 [after R1]";
    else if (first)
        text_addf(&s->out, "> %s is %s %+d\n", p->name, first->name, p->addr.port - first->addr.port);
    else
        text_addf(&s->out, "> %s is %s\n", p->name, p->addr.port % 2 ? "odd" : "even");
}

static void drain(struct stage *s)
{
    for (unsigned i = 0; i < s->workers; i++)
        turn_drain(s->turns[i]);
}

static void end_all(struct stage *s)
{
    for (unsigned i = 0; i < s->workers; i++) {
        while (turn_end_all(s->turns[i], "the server stops", s->acts))
            stage_act(s, i);
        stage_act(s, i);
    }
}

static void play_server(struct stage *s, const struct words *x)
{
    const char *verb = words_at(x, 0);
    if (ms_play(s, x))
        return;
    if (strcmp(verb, "at") == 0)
        stage_advance(s, words_ms(words_at(x, 1)));
    else if (strcmp(verb, "wait") == 0)
        stage_advance(s, s->now_ms + words_ms(words_at(x, 1)));
    else if (strcmp(verb, "peer") == 0)
        play_peer(s, x);
    else if (strcmp(verb, "dial") == 0 || strcmp(verb, "lost") == 0 || strcmp(verb, "pair") == 0)
        play_connection(s, x);
    else if (strcmp(verb, "books") == 0)
        show_books(s);
    else if (strcmp(verb, "port") == 0)
        show_port(s, x);
    else if (strcmp(verb, "reload") == 0)
        stage_reload(s);
    else if (strcmp(verb, "drain") == 0)
        drain(s);
    else if (strcmp(verb, "end") == 0)
        end_all(s);
    else
        s->fault = "unknown step";
}

/* ---- repetition ---- */

/* The line behind "repeat N", each % as the number of the round. */
static void round_of(const struct words *x, unsigned round, struct words *out)
{
    char line[LINE_MAX_BYTES];
    struct text t = text_of(line, sizeof line);
    for (int i = 2; i < x->n; i++) {
        for (const char *p = x->w[i]; *p; p++) {
            if (*p == '%')
                text_addf(&t, "%u", round);
            else
                text_addf(&t, "%c", *p);
        }
        text_add(&t, " ");
    }
    words_split(out, line);
}

static void show_rounds(struct text *out, unsigned rounds, const char *what)
{
    if (rounds == 1)
        text_add(out, "> once:");
    else if (rounds)
        text_addf(out, "> %u times:", rounds);
    if (rounds)
        text_addf(out, *what ? "\n%s" : " nothing\n", what);
}

/* repeat N STEP: rounds with the same outcome are shown once. */
static void play_repeat(struct stage *s, const struct words *x)
{
    static char one[1 << 16], last[1 << 16];
    struct text out = s->out;
    unsigned rounds = (unsigned)strtoul(words_at(x, 1), NULL, 0), same = 0;
    for (unsigned i = 1; i <= rounds && !s->fault; i++) {
        struct words step;
        round_of(x, i, &step);
        s->out = text_of(one, sizeof one);
        step_play(s, &step);
        if (same && strcmp(one, last) != 0) {
            show_rounds(&out, same, last);
            same = 0;
        }
        memcpy(last, one, s->out.n + 1);
        same++;
    }
    show_rounds(&out, same, last);
    s->out = out;
}

void step_play(struct stage *s, const struct words *x)
{
    if (x->n == 0 || setting_play(s, x))
        return;
    stage_start(s);
    struct client *c = stage_client(s, words_at(x, 0));
    if (c)
        play_client(s, c, x);
    else if (strcmp(words_at(x, 0), "repeat") == 0)
        play_repeat(s, x);
    else
        play_server(s, x);
}
