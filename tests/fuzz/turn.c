/* The TURN server as a machine, driven by a sequence of steps: messages from a grammar, whole, damaged or raw;
 * datagrams, ICMP errors and connections of peers; acts answered well or badly; time, reloads, ends. Input: the steps,
 * a byte for each choice.
 *
 * Claims: nothing succeeds without credentials, nothing passes without a permission of the last 300 s, nothing goes to
 * an address the rules forbid or to anybody but the owner, links are not used after their end, and when all has ended
 * the books are empty.
 */
#include "turn_stage.h"

#include "wire/frame.h"

/* ---- carrying out ---- */

static struct thing *thing_new(unsigned worker)
{
    for (int i = 0; i < THINGS; i++)
        if (s.things[i].state == NOTHING || s.things[i].state == DONE) {
            s.things[i] = (struct thing){.worker = worker};
            return &s.things[i];
        }
    return NULL;
}

static void saw_success(const struct stun_msg *m)
{
    struct request *r = &s.request;
    uint32_t id;
    uint64_t token;
    if (stun_get_u32(m, AT_CONNECTION_ID, &id) == 0)
        s.ids[s.ids_n++ % 16] = id;
    if (stun_get_u64(m, AT_RESERVATION_TOKEN, &token) == 0)
        s.tokens[s.tokens_n++ % 16] = token;
    if (m->method == STUN_BINDING || !r->client)
        return;
    must(r->user || m->method == STUN_CONNECT);
    if (m->method == STUN_ALLOCATE) {
        r->client->has_allocation = true;
        r->client->user = r->user;
    } else if (m->method != STUN_CONNECTION_BIND && r->user) {
        must(!r->client->has_allocation || r->client->user == r->user);
    }
    if (r->method == m->method && (m->method == STUN_CREATE_PERMISSION || m->method == STUN_CHANNEL_BIND))
        for (unsigned i = 0; i < r->peers_n; i++)
            grant_add(r->client, &r->peers[i]);
}

static void to_client(const struct act *act)
{
    static struct stun_msg m;
    struct client *c = act->flow.link;
    must(c->is_open && !c->is_paired);
    if (s.port_in_hand)
        must(s.port_in_hand->client == c);
    if (act->head.n == CHANNEL_HEADER && (act->head.p[0] & 0xc0) == 0x40)
        return;
    must(stun_parse(&STUN_RFC, act->head, &m) == 0 && m.unknown_n == 0);
    must(stun_verify_fingerprint(&m) != ERR_DENIED);
    if (m.cls == STUN_SUCCESS)
        saw_success(&m);
    uint32_t id;
    if (m.method == STUN_CONNECTION_ATTEMPT && stun_get_u32(&m, AT_CONNECTION_ID, &id) == 0)
        s.ids[s.ids_n++ % 16] = id;
}

static void open_port(unsigned w, const struct act *act)
{
    struct thing *p = thing_new(w);
    if (!p || s.failing_opens) {
        s.failing_opens -= s.failing_opens > 0;
        turn_port_opened(s.turns[w], act->handle, s.open_error ? s.open_error : ERR_SYS, NULL, s.acts);
        return;
    }
    must(s.request.client && s.request.user);
    p->state = PORT;
    p->handle = act->handle;
    p->relay = act->relay;
    p->addr = act->addr;
    p->client = s.request.client;
    p->owner = s.request.user;
    turn_port_opened(s.turns[w], act->handle, 0, p, s.acts);
}

static void dial(unsigned w, const struct act *act)
{
    struct thing *p = thing_new(w);
    must(s.request.client && s.request.user);
    check_peer(s.request.client, &act->addr, false);
    if (!p) {
        turn_dialed(s.turns[w], act->handle, ERR_NOMEM, "out of memory", NULL, s.acts);
        return;
    }
    p->state = DIALING;
    p->handle = act->handle;
    p->addr = act->addr;
    p->owner = s.request.user;
    p->client = s.request.client;
    turn_dialing(s.turns[w], act->handle, p);
}

static void pair(const struct act *act)
{
    struct thing *p = act->link;
    struct client *c = act->flow.link;
    must(p->state == WAITING && c->is_open && !c->is_paired && !c->has_allocation);
    must(transport_is_stream(c->flow.tuple.transport));
    must(s.request.user && s.request.user == p->owner);
    p->state = PAIRED;
    p->handle = act->handle;
    p->client = c;
    c->is_paired = true;
    payer_bytes(act->payer, 100, s.now_ms, &(uint64_t){0});
}

static void act_out(unsigned w, const struct act *act)
{
    struct thing *p = act->link;
    switch (act->kind) {
    case ACT_TO_CLIENT: to_client(act); break;
    case ACT_TO_PEER:
        must(p->state == PORT && p->relay == TRANSPORT_UDP);
        check_peer(p->client, &act->addr, true);
        break;
    case ACT_OPEN_PORT: open_port(w, act); break;
    case ACT_CLOSE_PORT:
        must(p->state == PORT && p->relay == act->relay);
        p->state = DONE;
        break;
    case ACT_DIAL: dial(w, act); break;
    case ACT_DROP_PEER:
        must(!p || p->state == DIALING || p->state == WAITING);
        if (p)
            p->state = DONE;
        break;
    case ACT_PAIR: pair(act); break;
    case ACT_STOP_PAIR:
        must(p->state == PAIRED);
        p->state = STOPPING;
        break;
    case ACT_HAND:
        ((struct client *)act->flow.link)->worker = act->worker;
        must(act->worker != w && act->worker < WORKERS);
        break;
    case ACT_TRUST_CLIENT: must(((struct client *)act->flow.link)->is_open); break;
    default: must(!"an act that this harness knows");
    }
}

static void carry_out(unsigned w)
{
    for (const struct act *act; (act = acts_next(s.acts));)
        act_out(w, act);
    must(s.acts->events_lost == 0);
    acts_clear(s.acts);
}

/* ---- messages ---- */

static void put_peer(struct stun_wr *w)
{
    uint8_t which = choice();
    struct addr a = peers[which % PEERS];
    if (which & 0x80) { /* a relayed port of ours, or one that might be */
        a = relays[which & 1].advertised;
        a.port = (uint16_t)(PORT_MIN + choice() % (PORTS + 1));
    }
    if (s.request.peers_n == 3)
        return;
    s.request.peers[s.request.peers_n++] = a;
    stun_put_addr(w, AT_XOR_PEER_ADDRESS, &a);
}

static void put_attributes(struct stun_wr *w, uint8_t method)
{
    static const uint32_t lifetimes[] = {0, 1, 600, 601, 3600, 0xffffffff};
    uint8_t which = choice();
    if (method == STUN_ALLOCATE && which != 0xff)
        stun_put_u8(w, AT_REQUESTED_TRANSPORT, which & 0x80 ? 6 : 17);
    if (which & 1)
        stun_put_u32(w, AT_LIFETIME, lifetimes[choice() % 6]);
    if (which & 2)
        stun_put_u8(w, AT_REQUESTED_ADDRESS_FAMILY, choice() % 4);
    if (which & 4)
        stun_put_u8(w, AT_ADDITIONAL_ADDRESS_FAMILY, choice() % 8 ? 2 : 1);
    if (which & 8)
        stun_put_u8(w, AT_EVEN_PORT, choice());
    if (which & 16)
        stun_put_u64(w, AT_RESERVATION_TOKEN, s.tokens[choice() % (s.tokens_n % 16 + 1)]);
    if (which & 32)
        stun_put_flag(w, AT_DONT_FRAGMENT);
    if (method == STUN_CHANNEL_BIND)
        stun_put_u16(w, AT_CHANNEL_NUMBER, (uint16_t)(0x3fff + choice() % 5));
    if (method != STUN_ALLOCATE && method != STUN_REFRESH && method != STUN_BINDING)
        for (int n = which & 64 ? 2 : 1; n > 0 && method != STUN_CONNECTION_BIND; n--)
            put_peer(w);
    if (method == STUN_CONNECTION_BIND)
        stun_put_u32(w, AT_CONNECTION_ID, s.ids[choice() % (s.ids_n % 16 + 1)]);
    if (method == STUN_SEND)
        stun_put_bytes(w, AT_DATA, span_of("0123456789abcdef", choice() % 17));
}

/* Mostly valid ones: who they prove, or NULL. */
static const char *put_credentials(struct stun_wr *w, const struct client *c)
{
    static const uint8_t sha256[4] = {0, 2, 0, 0};
    uint8_t how = choice();
    const char *user = how & 1 ? "bob" : "alice", *password = how & 1 ? "secret" : "sesame";
    struct addr from = c->flow.tuple.client;
    struct span realm = cred_table_realm(creds);
    struct stun_key key;
    char nonce[NONCE_SIZE];
    bool strong = how & 2;
    if (how >= 0xf0)
        return NULL;
    if (how >= 0xe0)
        password = "wrong";
    else if (how >= 0xd0)
        from.ip[1] ^= 1; /* the nonce of somebody else */
    nonce_make(&s.shared.nonces, creds, &from, s.now_ms, nonce);
    stun_put_bytes(w, AT_USERNAME, span_str(user));
    stun_put_bytes(w, AT_REALM, realm);
    stun_put_bytes(w, AT_NONCE, span_of(nonce, sizeof nonce));
    if (strong) {
        stun_put_bytes(w, AT_PASSWORD_ALGORITHMS, span_of(sha256, 4));
        stun_put_bytes(w, AT_PASSWORD_ALGORITHM, span_of(sha256, 4));
    }
    must((strong ? stun_key_sha256 : stun_key_md5)(&key, span_str(user), realm, span_str(password)) == 0);
    stun_put_integrity(w, strong ? INTEGRITY_RFC_SHA256 : INTEGRITY_RFC, &key, false);
    if (how & 4)
        stun_put_fingerprint(w);
    return how < 0xd0 ? user : NULL;
}

static void feed(struct client *c, struct span message)
{
    for (int hops = 0; hops < 2; hops++) {
        unsigned w = c->worker;
        struct span block = block_new(message);
        turn_message(s.turns[w], &c->flow, block, s.acts);
        carry_out(w);
        block_free(block);
        must(hops == 0 || c->worker == w);
        if (c->worker == w)
            break;
    }
    c->has_allocation = turn_has_allocation(s.turns[c->worker], &c->flow);
    if (!c->has_allocation)
        grants_forget(c);
    s.request = (struct request){0};
}

static struct client *client_choose(void)
{
    struct client *c = &s.clients[choice() % CLIENTS];
    if (c->is_paired)
        return NULL;
    c->is_open = true;
    return c;
}

static void step_message(bool damaged)
{
    static const uint8_t methods[] = {STUN_ALLOCATE,          STUN_ALLOCATE,       STUN_REFRESH,
                                      STUN_CREATE_PERMISSION, STUN_CONNECT,        STUN_CONNECTION_BIND,
                                      STUN_CHANNEL_BIND,      STUN_SEND,           STUN_BINDING,
                                      STUN_CREATE_PERMISSION, STUN_CONNECTION_BIND};
    static uint8_t buf[2048];
    struct client *c = client_choose();
    uint8_t which = choice(), method = methods[(which & 0x7f) % sizeof methods];
    struct stun_wr w;
    if (!c)
        return;
    s.request = (struct request){.client = c, .method = method};
    if (!(which & 0x80))
        stun_new_tid(&STUN_RFC, s.tid);
    stun_begin(&w, &STUN_RFC, buf, sizeof buf, method, method == STUN_SEND ? STUN_INDICATION : STUN_REQUEST, s.tid);
    put_attributes(&w, method);
    const char *proven = method == STUN_SEND || method == STUN_BINDING ? NULL : put_credentials(&w, c);
    struct span message = stun_end(&w);
    must(message.n);
    if (damaged) {
        size_t at = (size_t)choice() << 8 | choice();
        buf[at % message.n] ^= choice();
    }
    s.request.user = proven; /* damage is found by the integrity, or lies behind it */
    feed(c, message);
}

static void step_raw(void)
{
    struct client *c = client_choose();
    size_t n = choice(), left = rd_left(&s.in);
    struct span bytes = rd_bytes(&s.in, n < left ? n : left);
    if (!c)
        return;
    s.request = (struct request){.client = c};
    feed(c, bytes);
}

static void step_channel(void)
{
    struct client *c = client_choose();
    uint16_t number = (uint16_t)(0x3fff + choice() % 5);
    if (!c)
        return;
    turn_channel_data(s.turns[c->worker], &c->flow, number, span_of("0123456789abcdef", choice() % 17), s.acts);
    carry_out(c->worker);
}

static void step_close(void)
{
    struct client *c = client_choose();
    if (!c || c->flow.tuple.transport == TRANSPORT_UDP)
        return;
    turn_client_closed(s.turns[c->worker], &c->flow, s.acts);
    c->is_open = c->has_allocation = false;
    carry_out(c->worker);
    grants_forget(c);
}

/* ---- peers ---- */

static struct thing *thing_choose(int state)
{
    unsigned start = choice();
    for (unsigned i = 0; i < THINGS; i++)
        if ((int)s.things[(start + i) % THINGS].state == state)
            return &s.things[(start + i) % THINGS];
    return NULL;
}

static struct addr from_choose(void)
{
    uint8_t which = choice();
    const struct thing *p = which & 0x80 ? thing_choose(PORT) : NULL;
    return p ? p->addr : peers[which % PEERS];
}

static void step_peer(void)
{
    struct thing *p = thing_choose(PORT);
    struct addr from = from_choose();
    uint8_t how = choice();
    if (!p || !from.port)
        return;
    s.port_in_hand = p;
    unsigned before = s.acts->n;
    if (p->relay == TRANSPORT_UDP && how & 1) {
        struct stun_icmp icmp = {how >> 1, choice(), choice()};
        turn_peer_icmp(s.turns[p->worker], p->handle, &from, &icmp, s.acts);
    } else if (p->relay == TRANSPORT_UDP) {
        turn_peer_datagram(s.turns[p->worker], p->handle, &from, span_of("0123456789abcdef", how % 17), s.acts);
    } else {
        struct thing *x = thing_new(p->worker);
        if (!x)
            goto out;
        x->handle = turn_peer_accepted(s.turns[p->worker], p->handle, &from, x, s.acts);
        x->addr = from;
        x->owner = p->owner;
        x->client = p->client;
        x->state = x->handle ? WAITING : DONE;
    }
    if (s.acts->n > before)
        check_peer(p->client, &from, true);
    carry_out(p->worker);
out:
    s.port_in_hand = NULL;
}

static void step_dialed(void)
{
    struct thing *p = thing_choose(DIALING);
    bool ok = choice() & 1;
    if (!p)
        return;
    if (ok)
        p->state = WAITING;
    turn_dialed(s.turns[p->worker], p->handle, ok ? 0 : ERR_SYS, "refused", p, s.acts);
    carry_out(p->worker);
}

static void step_lost(void)
{
    struct thing *p = thing_choose(WAITING);
    if (!p)
        return;
    turn_peer_lost(s.turns[p->worker], p->handle, s.acts);
    p->state = DONE;
    carry_out(p->worker);
}

static void pair_over(struct thing *p)
{
    p->client->is_paired = p->client->is_open = false;
    p->state = DONE;
    turn_pair_ended(s.turns[p->worker], p->handle, 10, 20, "client", "end of stream", s.acts);
    carry_out(p->worker);
}

static void step_pair_ended(void)
{
    struct thing *p = thing_choose(choice() & 1 ? PAIRED : STOPPING);
    if (p)
        pair_over(p);
}

/* ---- the server ---- */

static void clients_look(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &s.clients[i];
        c->has_allocation = turn_has_allocation(s.turns[c->worker], &c->flow);
        if (!c->has_allocation)
            grants_forget(c);
    }
}

static void step_time(void)
{
    uint8_t by = choice();
    s.now_ms += by < 128 ? by * 10u : by < 240 ? (by - 127) * 3000u : (by - 239) * 300000u;
    for (unsigned i = 0; i < WORKERS; i++) {
        turn_clock(s.turns[i], s.now_ms, 1700000000 + s.now_ms / 1000);
        unsigned rounds = 0;
        while (turn_tick(s.turns[i], s.acts)) {
            must(++rounds < 1000);
            carry_out(i);
        }
        carry_out(i);
        must(turn_deadline(s.turns[i]) > s.now_ms);
    }
    port_ranges_expire(s.shared.ranges, s.now_ms);
    clients_look();
}

static void step_reload(void)
{
    uint8_t how = choice();
    s.policy.rules = rules[how & 1];
    if (how & 2)
        limits_choose(choice());
    limiter_set(s.shared.limiter, &s.limits);
    for (unsigned i = 0; i < WORKERS; i++) {
        turn_set_policy(s.turns[i], &s.policy);
        while (turn_revoke(s.turns[i], s.acts))
            carry_out(i);
        carry_out(i);
    }
}

static void end_all(void)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        while (turn_end_all(s.turns[i], "end", s.acts))
            carry_out(i);
        carry_out(i);
    }
    clients_look();
}

static void step(void)
{
    uint8_t what = choice();
    switch (what % 20) {
    case 0: step_raw(); break;
    case 1: step_message(true); break;
    case 2: step_channel(); break;
    case 3: step_close(); break;
    case 4:
    case 5: step_peer(); break;
    case 6: step_dialed(); break;
    case 7: step_lost(); break;
    case 8: step_pair_ended(); break;
    case 9: step_time(); break;
    case 10: step_reload(); break;
    case 11:
        s.failing_opens = choice() % 40;
        s.open_error = choice() & 1 ? ERR_FULL : ERR_SYS;
        break;
    case 12:
        if (what > 230)
            end_all();
        break;
    case 13:
        if (what > 230)
            turn_drain(s.turns[0]);
        break;
    default: step_message(false); break;
    }
}

static void stage_end(void)
{
    end_all();
    for (int i = 0; i < THINGS; i++)
        if (s.things[i].state == PAIRED || s.things[i].state == STOPPING)
            pair_over(&s.things[i]);
    for (int i = 0; i < THINGS; i++)
        must(s.things[i].state == NOTHING || s.things[i].state == DONE);
    for (unsigned i = 0; i < WORKERS; i++) {
        must(turn_count(s.turns[i]) == 0 && turn_deadline(s.turns[i]) == HEAP_NEVER);
        turn_free(s.turns[i]);
    }
    port_ranges_expire(s.shared.ranges, UINT64_MAX);
    for (size_t i = 0; i < 2; i++)
        for (uint8_t relay = TRANSPORT_UDP; relay <= TRANSPORT_TCP; relay++)
            must(port_range_count(port_ranges_of(s.shared.ranges, &relays[i].local, relay)) == 0);
    must(limiter_count(s.shared.limiter, LIMIT_ALLOCATIONS) == 0 && limiter_accounts(s.shared.limiter) == 0);
    limiter_free(s.shared.limiter);
    port_ranges_free(s.shared.ranges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    stage_begin(span_of(data, size));
    for (int i = 0; i < STEPS_MAX && rd_left(&s.in); i++)
        step();
    stage_end();
    return 0;
}
