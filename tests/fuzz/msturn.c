/* The machine of MS-TURN between hostile clients and hostile peers: messages as they come and messages whose integrity
 * is right, frames, data, peers that connect, send and end, dials that end well or not, time. It never crashes, never
 * sends to an address that was not permitted, writes frames that can be read, and leaves nothing behind. */
#include "core/turn.h"

#include "harness.h"
#include "wire/frame.h"

enum { THINGS = 64, CLIENTS = 4, LIMIT = 400 };

enum thing_state { FREE, PORT, DIALING, WAITING, JOINED };
struct thing {
    enum thing_state state;
    uint64_t handle;
    struct addr addr;
    uint8_t relay;
};

struct client {
    struct flow flow;
    struct stun_key key;
    uint8_t id[20];
    uint32_t sequence;
};

static struct {
    struct turn_shared shared;
    struct turn_policy policy;
    struct turn_relay relay;
    struct turn *turn;
    struct acts *acts;
    uint64_t now_ms;
    struct thing things[THINGS];
    struct client clients[CLIENTS];
} s;

static struct thing *thing_new(enum thing_state state, uint64_t handle, const struct addr *addr, uint8_t relay)
{
    for (int i = 0; i < THINGS; i++) {
        struct thing *t = &s.things[i];
        if (t->state != FREE)
            continue;
        *t = (struct thing){state, handle, *addr, relay};
        return t;
    }
    return NULL;
}

/* ---- acts ---- */

static void learn(struct client *c, struct span message)
{
    static struct stun_msg m;
    struct span v;
    enum integrity_rule held;
    must(stun_parse(&STUN_MSTURN, message, &m) == 0);
    must(m.attrs_n > 0 && m.attrs[0].at == AT_MAGIC_COOKIE);
    if (m.method == STUN_ALLOCATE && m.cls == STUN_SUCCESS)
        must(stun_verify(&m, &c->key, INTEGRITY_FULL_PAD64, &held) == 0);
    if (stun_get_bytes(&m, AT_MS_SEQUENCE_NUMBER, &v) == 0)
        memcpy(c->id, v.p, sizeof c->id);
}

static void to_client(const struct act *act)
{
    static uint8_t whole[80000];
    struct client *c = act->flow.link;
    struct frame f;
    size_t n = act->head.n + act->body.n;
    if (!transport_is_stream(c->flow.tuple.transport)) {
        if (act->head.n && sniff_datagram(act->head) == SPEECH_MSTURN)
            learn(c, act->head);
        return;
    }
    must(n <= sizeof whole);
    memcpy(whole, act->head.p, act->head.n);
    if (act->body.n)
        memcpy(whole + act->head.n, act->body.p, act->body.n);
    must(frame_next_msturn(span_of(whole, n), &f) == 0 && f.size == n);
    if (f.kind == FRAME_MS_CONTROL)
        learn(c, f.body);
}

static void check_peer(const struct addr *a)
{
    const char *rule;
    must(a->port != 0);
    enum peer_verdict verdict = peer_rules_judge(s.policy.rules, a, &rule);
    must(verdict == PEER_ALLOWED || port_ranges_has(s.shared.ranges, a, TRANSPORT_UDP) ||
         port_ranges_has(s.shared.ranges, a, TRANSPORT_TCP));
}

static void open_port(const struct act *act)
{
    struct thing *t = thing_new(PORT, act->handle, &act->addr, act->relay);
    turn_port_opened(s.turn, act->handle, t ? 0 : ERR_SYS, t, s.acts);
}

static void dial(const struct act *act)
{
    struct thing *t = thing_new(DIALING, act->handle, &act->addr, TRANSPORT_TCP);
    check_peer(&act->addr);
    if (t)
        turn_dialing(s.turn, act->handle, t);
    else
        turn_dialed(s.turn, act->handle, ERR_SYS, "none to spare", NULL, s.acts);
}

static void join(const struct act *act)
{
    struct thing *t = act->link;
    must(t->state == DIALING || t->state == WAITING);
    t->state = JOINED;
    t->handle = act->handle;
}

static void act_out(const struct act *act)
{
    struct thing *t = act->link;
    switch ((enum act_kind)act->kind) {
    case ACT_TO_CLIENT: to_client(act); break;
    case ACT_TO_PEER:
        must(act->relay == TRANSPORT_UDP ? t->state == PORT : t->state == DIALING || t->state == JOINED);
        check_peer(&act->addr);
        break;
    case ACT_OPEN_PORT: open_port(act); break;
    case ACT_DIAL: dial(act); break;
    case ACT_JOIN: join(act); break;
    case ACT_CLOSE_PORT:
    case ACT_DROP_PEER:
        if (t)
            t->state = FREE;
        break;
    case ACT_FIN_PEER: must(t->state == JOINED); break;
    case ACT_FIN_CLIENT:
    case ACT_TRUST_CLIENT: break;
    case ACT_PAIR:
    case ACT_STOP_PAIR:
    case ACT_HAND: must(!"an act of the other dialect");
    }
}

static void carry_out(void)
{
    for (const struct act *act; (act = acts_next(s.acts));)
        act_out(act);
    acts_clear(s.acts);
}

/* ---- what happens ---- */

/* Attributes of the input, protected so that they hold. */
static void say_protected(struct client *c, uint8_t what, struct span attributes)
{
    static const uint8_t methods[] = {STUN_ALLOCATE, STUN_SEND, STUN_SET_ACTIVE_DESTINATION};
    static uint8_t buf[4096]; /* read while the acts are carried out */
    uint8_t tid[STUN_TID], v[24];
    char nonce[NONCE_SIZE];
    struct stun_wr w;
    stun_new_tid(&STUN_MSTURN, tid);
    stun_begin(&w, &STUN_MSTURN, buf, sizeof buf, methods[what % 3], STUN_REQUEST, tid);
    stun_put_bytes(&w, AT_USERNAME, span_str("alice"));
    if (what % 3 == 0) {
        nonce_make(&s.shared.nonces, s.policy.creds, &c->flow.tuple.client, s.now_ms, nonce);
        stun_put_bytes(&w, AT_NONCE, span_of(nonce, sizeof nonce));
        stun_put_bytes(&w, AT_REALM, span_str("example.org"));
    }
    if (what & 4 || what % 3) {
        memcpy(v, c->id, 20);
        be32_put(v + 20, what & 8 ? c->sequence : ++c->sequence);
        stun_put_bytes(&w, AT_MS_SEQUENCE_NUMBER, span_of(v, sizeof v));
    }
    wr_bytes(&w.w, attributes);
    stun_put_integrity(&w, INTEGRITY_FULL_PAD64, &c->key, false);
    struct span message = stun_end(&w);
    if (message.n && transport_is_stream(c->flow.tuple.transport))
        turn_ms_message(s.turn, &c->flow, message, s.acts);
    else if (message.n)
        turn_datagram(s.turn, &c->flow, message, s.acts);
}

static struct thing *pick(enum thing_state state, uint8_t n)
{
    for (int i = 0; i < THINGS; i++) {
        struct thing *t = &s.things[(n + i) % THINGS];
        if (t->state == state)
            return t;
    }
    return NULL;
}

static void peer_connects(uint8_t n, const struct addr *from)
{
    struct thing *port = pick(PORT, n), *t = port ? thing_new(WAITING, 0, from, TRANSPORT_TCP) : NULL;
    if (!t)
        return;
    if (port->relay == TRANSPORT_TCP)
        t->handle = turn_peer_accepted(s.turn, port->handle, from, t, s.acts);
    if (!t->handle)
        t->state = FREE;
}

static void to_port(uint8_t n, const struct addr *from, struct span bytes)
{
    struct thing *port = pick(PORT, n);
    if (port && port->relay == TRANSPORT_UDP)
        turn_peer_datagram(s.turn, port->handle, from, bytes, s.acts);
}

static void step(uint8_t op, uint8_t n, struct span bytes)
{
    struct client *c = &s.clients[n % CLIENTS];
    struct addr from = addr_v4(0xc6290009u + (n & 3), (uint16_t)(1000 + (n >> 2 & 7)));
    bool is_stream = transport_is_stream(c->flow.tuple.transport);
    struct thing *t;
    switch (op % 12) {
    case 0:
        if (is_stream)
            turn_ms_message(s.turn, &c->flow, bytes, s.acts);
        else
            turn_datagram(s.turn, &c->flow, bytes, s.acts);
        break;
    case 1:
    case 2:
    case 3: say_protected(c, (uint8_t)(n >> 2), bytes); break;
    case 4:
        if (is_stream)
            turn_ms_data(s.turn, &c->flow, bytes, s.acts);
        break;
    case 5: to_port(n, &from, bytes); break;
    case 6: peer_connects(n, &from); break;
    case 7:
        if ((t = pick(JOINED, n)))
            turn_peer_bytes(s.turn, t->handle, bytes, s.acts);
        break;
    case 8:
        if ((t = pick(DIALING, n)))
            turn_dialed(s.turn, t->handle, n & 1 ? ERR_SYS : 0, "refused", t, s.acts);
        break;
    case 9:
        if ((t = pick(n & 1 ? WAITING : JOINED, n)) && n & 1) {
            turn_peer_lost(s.turn, t->handle, s.acts);
            t->state = t->state == WAITING ? FREE : t->state;
        } else if (t) {
            turn_peer_ended(s.turn, t->handle, n & 2, "eof", s.acts);
        }
        break;
    case 10: s.now_ms += (uint64_t)n * 500; break;
    default:
        if (n & 8)
            turn_client_fin(s.turn, &c->flow, s.acts);
        else
            turn_client_closed(s.turn, &c->flow, s.acts);
    }
    carry_out();
    turn_clock(s.turn, s.now_ms, 1700000000 + s.now_ms / 1000);
    while (turn_tick(s.turn, s.acts))
        carry_out();
    carry_out();
}

/* ---- beginning and end ---- */

/* Made once: they do not change. */
static struct cred_table *creds;
static struct peer_rules *rules;

static void make_policy(void)
{
    if (!creds) {
        creds = cred_table_new(span_str("example.org"));
        rules = peer_rules_new();
        must(creds && rules && cred_table_add(creds, span_str("alice"), span_str("sesame")) == 0);
    }
    s.relay.local = s.relay.advertised = addr_v4(0xc01fc401u, 0);
    s.policy.creds = creds;
    s.policy.rules = rules;
    s.policy.relays = &s.relay;
    s.policy.relays_n = 1;
    s.policy.ms_version = 2;
    s.policy.lifetime_default_s = 600;
    s.policy.lifetime_max_s = 3600;
}

static void begin(void)
{
    memset(&s, 0, sizeof s);
    s.now_ms = 1000;
    s.acts = acts_new();
    s.shared.limiter = limiter_new(&(struct limits){0});
    s.shared.ranges = port_ranges_new(50000, 50063);
    must(s.acts && s.shared.limiter && s.shared.ranges);
    make_policy();
    nonce_key_init(&s.shared.nonces, 3600);
    s.turn = turn_new(&s.shared, &s.policy, 0, 1);
    must(s.turn);
    turn_clock(s.turn, s.now_ms, 1700000000);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &s.clients[i];
        c->flow.link = c;
        c->flow.tuple.client = addr_v4(0xc6290004u, (uint16_t)(2000 + i));
        c->flow.tuple.server = addr_v4(0xc01fc401u, 3478);
        c->flow.tuple.transport = i & 1 ? TRANSPORT_TCP : TRANSPORT_UDP;
        must(stun_key_md5(&c->key, span_str("alice"), span_str("example.org"), span_str("sesame")) == 0);
    }
}

static void end(void)
{
    while (turn_end_all(s.turn, "end", s.acts))
        carry_out();
    carry_out();
    must(turn_count(s.turn) == 0 && limiter_accounts(s.shared.limiter) == 0);
    for (int i = 0; i < THINGS; i++)
        must(s.things[i].state == FREE);
    turn_free(s.turn);
    acts_free(s.acts);
    limiter_free(s.shared.limiter);
    port_ranges_free(s.shared.ranges);
}

/* The input: steps of an operation, a number, a length and as many bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_of(span_of(data, size));
    begin();
    for (int i = 0; i < LIMIT && rd_left(&in) >= 4; i++) {
        uint8_t op = rd_u8(&in), n = rd_u8(&in);
        size_t want = rd_u16(&in) % 2048;
        struct span block = block_new(rd_bytes(&in, want < rd_left(&in) ? want : rd_left(&in)));
        step(op, n, block);
        block_free(block);
    }
    end();
    return 0;
}
