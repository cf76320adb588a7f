#include "app/doctor_client.h"

#include <poll.h>

#include "sys/loop.h"

int client_open(struct client *c, const struct link_to *to, const char *user, const char *password,
                uint64_t deadline_ms)
{
    struct turnc_config config = {.rules = &TURNC_RFC, .user = span_str(user), .password = span_str(password)};
    memset(c, 0, sizeof *c);
    link_init(&c->control);
    config.is_stream = to && transport_is_stream(to->transport);
    int err = turnc_init(&c->turnc, &config);
    if (err || !to)
        return err;
    return link_open(&c->control, to, deadline_ms);
}

/* ---- acts ---- */

static struct link *link_of(struct client *c, uint64_t via)
{
    return via == TURNC_CONTROL ? &c->control : via <= CLIENT_DATA_MAX ? c->data[via - 1] : NULL;
}

static void transmit(struct client *c, const struct turnc_act *act)
{
    struct link *l = link_of(c, act->via);
    uint8_t joined[TURNC_QUOTED_MAX * 4];
    struct wr w = wr_of(joined, sizeof joined);
    if (!l)
        return;
    wr_bytes(&w, act->bytes);
    if (act->via != TURNC_CONTROL)
        wr_bytes(&w, c->behind);
    link_send(l, w.err ? act->bytes : wr_span(&w), loop_clock_ms() + 1000);
}

static void note_outcome(struct client *c, const struct turnc_act *act)
{
    struct outcome *o = &c->outcome[act->method];
    *o = (struct outcome){.is_known = true, .is_ok = act->kind == TURNC_DONE, .why = act->why, .code = act->code};
    o->connection = act->connection;
    o->peer = act->peer;
    struct text reason = text_of(o->reason, sizeof o->reason);
    text_add(&reason, act->reason);
    const struct link *l = link_of(c, act->via);
    if (act->why == TURNC_SILENT && l && (l->has_ended || l->is_broken)) {
        struct text broken = text_of(o->broken, sizeof o->broken);
        text_add(&broken, l->is_broken ? l->why : "it was closed");
        o->has_broken = true;
    }
}

static void carry_out(struct client *c, const struct turnc_act *act)
{
    switch (act->kind) {
    case TURNC_TRANSMIT: transmit(c, act); break;
    case TURNC_DONE:
    case TURNC_FAILED: note_outcome(c, act); break;
    case TURNC_ATTEMPT:
        if (c->attempts_n < CLIENT_ATTEMPTS_MAX)
            c->attempts[c->attempts_n++] = (struct attempt){act->connection, act->peer};
        break;
    case TURNC_DATA:
        if (c->heard)
            c->heard(c, act, c->heard_user);
        break;
    default: break;
    }
}

static void drain(struct client *c)
{
    struct turnc_act act;
    while (turnc_next(&c->turnc, &act))
        carry_out(c, &act);
}

/* ---- input ---- */

/* Feeds what lies in `rx`. A data link is fed no further than the answer to its bind: then the bytes are the peer's. */
static void feed(struct client *c, struct link *l, uint64_t via)
{
    while (link_of(c, via) == l && l->rx_n && !(via != TURNC_CONTROL && c->outcome[STUN_CONNECTION_BIND].is_ok)) {
        struct span in = link_peek(l);
        int n = turnc_receive(&c->turnc, via, in, loop_clock_ms());
        drain(c);
        if (n < 0) {
            struct text why = text_of(l->why, sizeof l->why);
            text_add(&why, "what came is neither STUN nor ChannelData");
            l->is_broken = true;
        }
        if (n <= 0 && in.n)
            return;
        link_take(l, (size_t)n);
    }
}

static void read_link(struct client *c, struct link *l, uint64_t via)
{
    enum { READS_A_TURN = 64 }; /* a server that never stops talking must not stop us */
    int n = 1;
    for (int i = 0; i < READS_A_TURN && n > 0; i++) {
        n = link_fill(l);
        feed(c, l, via);
    }
    if (n == ERR_CLOSED || l->is_broken)
        turnc_closed(&c->turnc, via);
}

static size_t add_polls(struct client *c, struct pollfd *p)
{
    size_t n = 0;
    for (uint64_t via = 0; via <= CLIENT_DATA_MAX; via++) {
        struct link *l = link_of(c, via);
        if (l && link_is_open(l) && !l->has_ended)
            p[n++] = (struct pollfd){.fd = l->fd, .events = POLLIN};
    }
    return n;
}

static void run_one(struct client *c)
{
    for (uint64_t via = 0; via <= CLIENT_DATA_MAX; via++) {
        struct link *l = link_of(c, via);
        if (l && link_is_open(l) && !l->has_ended)
            read_link(c, l, via);
    }
    turnc_tick(&c->turnc, loop_clock_ms());
    drain(c);
}

void clients_turn(struct client *const *clients, size_t n, uint64_t deadline_ms)
{
    struct pollfd polls[CLIENTS_MAX * (CLIENT_DATA_MAX + 1)];
    size_t polls_n = 0;
    for (size_t i = 0; i < n && i < CLIENTS_MAX; i++) {
        drain(clients[i]);
        polls_n += add_polls(clients[i], polls + polls_n);
        uint64_t at_ms = turnc_deadline(&clients[i]->turnc);
        deadline_ms = at_ms < deadline_ms ? at_ms : deadline_ms;
    }
    uint64_t now_ms = loop_clock_ms();
    uint64_t wait_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    poll(polls, polls_n, wait_ms > 60000 ? 60000 : (int)wait_ms);
    for (size_t i = 0; i < n && i < CLIENTS_MAX; i++)
        run_one(clients[i]);
}

/* ---- requests and their answers ---- */

void client_expect(struct client *c, enum stun_method method)
{
    c->outcome[method] = (struct outcome){0};
}

bool clients_await(struct client *const *clients, size_t n, enum stun_method method, uint64_t deadline_ms)
{
    const struct outcome *o = &clients[0]->outcome[method];
    while (!o->is_known && loop_clock_ms() < deadline_ms)
        clients_turn(clients, n, deadline_ms);
    return o->is_ok;
}

bool client_await(struct client *c, enum stun_method method, uint64_t deadline_ms)
{
    return clients_await(&c, 1, method, deadline_ms);
}

static bool allocate(struct client *c, uint8_t transport, uint8_t family, uint64_t deadline_ms)
{
    struct turnc_want want = {.transport = transport, .family = family};
    client_expect(c, STUN_ALLOCATE);
    return turnc_allocate(&c->turnc, &want, loop_clock_ms()) == 0 && client_await(c, STUN_ALLOCATE, deadline_ms);
}

bool client_allocate(struct client *c, uint8_t transport, uint8_t family, uint64_t deadline_ms)
{
    enum { NO_SUCH_FAMILY = 440 };
    if (allocate(c, transport, family, deadline_ms))
        return true;
    bool is_v6_only = family == ADDR_NONE && c->outcome[STUN_ALLOCATE].code == NO_SUCH_FAMILY;
    return is_v6_only && allocate(c, transport, ADDR_V6, deadline_ms);
}

bool client_permit(struct client *c, const struct addr *peer, uint64_t deadline_ms)
{
    client_expect(c, STUN_CREATE_PERMISSION);
    return turnc_permit(&c->turnc, peer, loop_clock_ms()) == 0 && client_await(c, STUN_CREATE_PERMISSION, deadline_ms);
}

bool client_bind_channel(struct client *c, const struct addr *peer, uint64_t deadline_ms)
{
    client_expect(c, STUN_CHANNEL_BIND);
    return turnc_channel(&c->turnc, peer, loop_clock_ms()) == 0 && client_await(c, STUN_CHANNEL_BIND, deadline_ms);
}

bool client_bind(struct client *c, struct link *data, uint32_t connection, uint64_t deadline_ms)
{
    enum { VIA = 1 };
    c->data[VIA - 1] = data;
    client_expect(c, STUN_CONNECTION_BIND);
    bool ok = turnc_bind(&c->turnc, connection, VIA, loop_clock_ms()) == 0 &&
              client_await(c, STUN_CONNECTION_BIND, deadline_ms);
    if (!c->outcome[STUN_CONNECTION_BIND].is_known)
        turnc_closed(&c->turnc, VIA); /* the time is up: nothing may be written to this link any more */
    drain(c);
    c->data[VIA - 1] = NULL;
    c->behind = (struct span){0};
    return ok;
}

int client_send(struct client *c, const struct addr *peer, struct span payload)
{
    uint8_t buf[2048];
    struct wr w = wr_of(buf, sizeof buf);
    int err = turnc_send(&c->turnc, peer, payload, &w);
    return err ? err : link_send(&c->control, wr_span(&w), loop_clock_ms() + 1000);
}

void client_close(struct client *c)
{
    if (c->turnc.is_allocated && link_is_open(&c->control)) {
        turnc_refresh(&c->turnc, 0, loop_clock_ms());
        drain(c);
    }
    link_close(&c->control);
    turnc_fini(&c->turnc);
}

/* ---- words ---- */

void outcome_tell(const struct outcome *o, struct text *out)
{
    static const char *const why[] = {
        [TURNC_UNVERIFIED] = "the answer is not signed with this password (no valid MESSAGE-INTEGRITY)",
        [TURNC_BID_DOWN] = "somebody removed the password algorithms from the answer on its way",
        [TURNC_NO_ALGORITHM] = "the server offers only password algorithms that are unknown here",
        [TURNC_MALFORMED] = "the answer lacks what it must have, or has attributes that nobody understands",
    };
    char other[ADDR_TEXT_MAX];
    if (o->is_ok)
        text_add(out, "success");
    else if (o->code == 300 && o->peer.family != ADDR_NONE)
        text_addf(out, "the server sends its clients to %s (300)", addr_format(&o->peer, other));
    else if (o->has_broken)
        text_addf(out, "the connection ended instead of an answer (%s)", o->broken);
    else if (!o->is_known || o->why == TURNC_SILENT)
        text_add(out, "no answer");
    else if (o->why == TURNC_REFUSED)
        text_addf(out, "the server answers %d %s", o->code, o->reason[0] ? o->reason : stun_reason(o->code));
    else if (o->why == TURNC_UNVERIFIED && o->code)
        text_addf(out, "the answer %d %s is not signed (no valid MESSAGE-INTEGRITY)", o->code, o->reason);
    else
        text_add(out, why[o->why]);
}
