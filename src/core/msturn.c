#include "core/msturn.h"

#include "base/rand.h"
#include "wire/frame.h"

/* ---- messages ---- */

static size_t frame_header(const struct flow *flow)
{
    return transport_is_stream(flow->tuple.transport) ? 4 : 0;
}

void ms_begin(struct acts *acts, const struct flow *flow, struct stun_wr *w, enum stun_method method,
              enum stun_class cls, const uint8_t tid[STUN_TID])
{
    size_t cap, header = frame_header(flow);
    uint8_t *room = acts_room(acts, &cap);
    if (cap < header)
        header = cap;
    stun_begin(w, &STUN_MSTURN, room + header, cap - header, method, cls, tid);
}

struct span ms_finish(struct acts *acts, const struct flow *flow, struct stun_wr *w)
{
    struct span message = stun_end(w);
    size_t cap, header = frame_header(flow);
    if (message.n == 0)
        return message; /* the arena is full: as if the network had lost it */
    if (header)
        frame_msturn_header(acts_room(acts, &cap), FRAME_MS_CONTROL, message.n);
    struct act *act = acts_add(acts, ACT_TO_CLIENT);
    act->flow = *flow;
    act->head = acts_keep(acts, header + message.n);
    return act->head;
}

/* ---- sequence numbers (A.6) ---- */

/* Connection id and counter, or ERR_NONE. */
static int get_sequence(const struct request *r, struct span *id, uint32_t *counter)
{
    struct span v;
    if (stun_get_bytes(r->m, AT_MS_SEQUENCE_NUMBER, &v) || v.n != MS_CONNECTION_ID + 4)
        return ERR_NONE;
    *id = span_take(v, MS_CONNECTION_ID);
    *counter = be32_get(v.p + MS_CONNECTION_ID);
    return 0;
}

/* The response carries the request's counter back. */
static void put_sequence(struct request *r, const struct alloc *a)
{
    uint8_t v[MS_CONNECTION_ID + 4];
    struct span id;
    uint32_t counter = 0;
    get_sequence(r, &id, &counter);
    memcpy(v, a->ms->connection_id, MS_CONNECTION_ID);
    be32_put(v + MS_CONNECTION_ID, counter);
    stun_put_bytes(&r->w, AT_MS_SEQUENCE_NUMBER, span_of(v, sizeof v));
}

/* A sliding window of 64. The client's first number may be any. */
static bool window_take(struct ms_alloc *ms, uint32_t n)
{
    int32_t ahead = (int32_t)(n - ms->top);
    if (!ms->seen || ahead > 0) {
        ms->seen = (ms->seen && ahead < 64 ? ms->seen << ahead : 0) | 1;
        ms->top = n;
        return true;
    }
    uint64_t bit = ahead > -64 ? (uint64_t)1 << -ahead : 0;
    bool is_new = bit && !(ms->seen & bit);
    ms->seen |= bit;
    return is_new;
}

bool ms_take_sequence(struct request *r)
{
    struct span id;
    uint32_t counter;
    return get_sequence(r, &id, &counter) == 0 && window_take(r->a->ms, counter);
}

static int check_connection_id(struct request *r, bool is_required)
{
    struct span id;
    uint32_t counter;
    if (get_sequence(r, &id, &counter))
        return is_required ? (r->why = "no MS-SEQUENCE-NUMBER", 400) : 0;
    if (span_is_equal(id, span_of(r->a->ms->connection_id, MS_CONNECTION_ID)))
        return 0;
    return r->why = "the connection id is not that of this 5-tuple", 437;
}

/* A request whose number was seen: the same one again is answered as before, anything else is a replay and dropped. */
static int answer_again(struct request *r)
{
    const struct ms_alloc *ms = r->a->ms;
    size_t header = frame_header(&r->flow);
    size_t cap;
    uint8_t *room = acts_room(r->acts, &cap);
    if (ms->answer_n == 0 || cap < ms->answer_n || memcmp(ms->answer + header + 4, stun_tid(r->m), STUN_TID) != 0)
        return TURN_LATER;
    memcpy(room, ms->answer, ms->answer_n);
    struct act *act = acts_add(r->acts, ACT_TO_CLIENT);
    act->flow = r->flow;
    act->head = acts_keep(r->acts, ms->answer_n);
    return TURN_LATER;
}

/* ---- answers ---- */

/* The standard side's codes in this dialect's words. */
static int code_on_wire(const struct turn *t, const struct request *r, int code)
{
    bool is_full = code == 508 || code == 486 || (code == 440 && r->m->method == STUN_ALLOCATE);
    if (is_full)
        return t->policy->ms_alternate.family ? 300 : 500;
    return code == 443 ? 440 : code;
}

static bool is_challenge(int code)
{
    return code == 401 || code == 434 || code == 435 || code == 438;
}

static void put_refusal(struct turn *t, struct request *r, int code)
{
    const char *reason = !r->is_authenticated ? "" : code == 440 ? "No Destination" : NULL;
    stun_put_u32(&r->w, AT_MS_VERSION, t->policy->ms_version);
    stun_put_error(&r->w, code, reason); /* strangers get the smallest answer (S27) */
    if (is_challenge(code))
        cred_challenge(t->policy->creds, &t->shared->nonces, &r->flow.tuple.client, t->now_ms, &r->w);
    if (code == 420)
        stun_put_unknown(&r->w, r->m);
    if (code == 300)
        stun_put_addr(&r->w, AT_ALTERNATE_SERVER, &t->policy->ms_alternate);
    if (r->a && r->is_authenticated)
        put_sequence(r, r->a);
}

static void keep_answer(struct request *r, struct span bytes)
{
    struct ms_alloc *ms = r->a ? r->a->ms : NULL;
    if (!ms || !r->is_authenticated)
        return;
    ms->answer_n = bytes.n <= sizeof ms->answer ? (uint16_t)bytes.n : 0;
    if (ms->answer_n)
        memcpy(ms->answer, bytes.p, bytes.n);
}

static void answer(struct turn *t, struct request *r, int code)
{
    if (code) {
        code = code_on_wire(t, r, code);
        turn_log_refusal(r, code);
        ms_begin(r->acts, &r->flow, &r->w, r->m->method, STUN_ERROR, stun_tid(r->m));
        put_refusal(t, r, code);
    }
    if (r->is_authenticated && !is_challenge(code))
        stun_put_integrity(&r->w, r->cred.rule, &r->cred.key, false);
    if (turn_may_answer(t, r, code, wr_len(&r->w.w)))
        keep_answer(r, ms_finish(r->acts, &r->flow, &r->w));
}

/* ---- Allocate ---- */

static uint32_t granted_lifetime(const struct turn *t, const struct request *r)
{
    uint32_t wanted; /* may be lowered, never raised (A.7) */
    if (stun_get_u32(r->m, AT_LIFETIME, &wanted))
        wanted = t->policy->lifetime_default_s;
    return wanted > t->policy->lifetime_max_s ? t->policy->lifetime_max_s : wanted;
}

static void put_success(struct turn *t, struct request *r, const struct alloc *a, uint32_t lifetime_s)
{
    stun_put_u32(&r->w, AT_MS_VERSION, t->policy->ms_version);
    stun_put_addr(&r->w, AT_MAPPED_ADDRESS, &a->ports[PORT_V4]->relayed);
    stun_put_addr(&r->w, AT_XOR_MAPPED_ADDRESS, &r->flow.tuple.client);
    stun_put_u32(&r->w, AT_LIFETIME, lifetime_s);
    stun_put_u32(&r->w, AT_BANDWIDTH, MS_BANDWIDTH_KBIT);
    put_sequence(r, a);
}

static void finish_allocate(struct turn *t, struct request *r, struct alloc *a, int code)
{
    if (!code && !(a->ms = pool_new(&t->ms_pool))) {
        alloc_discard(t, a, r->acts);
        code = (r->why = "out of memory", 508);
    }
    if (!code) {
        rand_bytes(a->ms->connection_id, MS_CONNECTION_ID);
        alloc_set_lifetime(t, a, ADDR_NONE, granted_lifetime(t, r));
        put_success(t, r, a, a->lifetime_s);
        turn_log_made(t, r, a);
    }
    answer(t, r, code);
}

/* An Allocate on an allocation: retransmitted, refreshing, or releasing it with LIFETIME 0. */
static int allocate_again(struct turn *t, struct request *r)
{
    struct alloc *a = r->a;
    struct span id;
    uint32_t counter;
    if (!alloc_is_owner(a, &r->cred))
        return r->why = "the allocation belongs to another user", 441;
    int code = check_connection_id(r, false);
    if (code)
        return code;
    if (memcmp(a->tid, stun_tid(r->m), STUN_TID) == 0)
        return put_success(t, r, a, a->lifetime_s), 0;
    if (get_sequence(r, &id, &counter) == 0 && !ms_take_sequence(r))
        return answer_again(r);
    uint32_t lifetime = granted_lifetime(t, r);
    a->key = r->cred.key; /* a new nonce makes a new key (A.5.2) */
    a->rule = (uint8_t)r->cred.rule;
    put_success(t, r, a, lifetime);
    turn_log_refreshed(r, lifetime);
    if (lifetime) {
        alloc_set_lifetime(t, a, ADDR_NONE, lifetime);
        return 0;
    }
    answer(t, r, 0);
    alloc_end(t, a, "released by the client", r->acts);
    return TURN_LATER;
}

static int allocate_new(struct turn *t, struct request *r)
{
    uint32_t lifetime;
    bool ends = stun_get_u32(r->m, AT_LIFETIME, &lifetime) == 0 && lifetime == 0;
    if (alloc_find(t, &r->flow.tuple))
        return r->why = "this 5-tuple has an allocation of the standard dialect", 437;
    if (ends || stun_has(r->m, AT_MS_SEQUENCE_NUMBER))
        return r->why = "no such allocation", 437;
    if (t->is_draining)
        return r->why = "draining: the server is about to stop", 508;
    *t->opening = (struct turn_opening){.finish = finish_allocate, .count = 1, .families = {ADDR_V4}};
    bool is_stream = transport_is_stream(r->flow.tuple.transport);
    return turn_open(t, r, &ALLOC_MSTURN, is_stream ? TRANSPORT_TCP : TRANSPORT_UDP);
}

static int allocate(struct turn *t, struct request *r)
{
    uint32_t version = 1, ours = t->policy->ms_version;
    stun_get_u32(r->m, AT_MS_VERSION, &version);
    uint64_t wall_s = r->a ? 0 : t->wall_s; /* running allocations outlive their credentials (C.3) */
    int code = cred_judge_ms(t->policy->creds, &t->shared->nonces, &r->flow.tuple.client, t->now_ms, wall_s,
                             version < ours ? version : ours, r->m, &r->cred, &r->why);
    if (code)
        return code;
    r->is_authenticated = true;
    if (r->m->unknown_n)
        return 420;
    return r->a ? allocate_again(t, r) : allocate_new(t, r);
}

/* ---- Set Active Destination ---- */

int ms_judge(struct request *r)
{
    struct span name;
    enum integrity_rule held;
    if (!r->a)
        return r->why = "no allocation", 437;
    if (!stun_has(r->m, AT_MESSAGE_INTEGRITY))
        return r->why = "no MESSAGE-INTEGRITY", 401;
    if (stun_get_bytes(r->m, AT_USERNAME, &name))
        return r->why = "no USERNAME", 432;
    if (name.n > CRED_USER_MAX)
        return r->why = "USERNAME too long", 436;
    r->cred.user_n = name.n;
    if (name.n)
        memcpy(r->cred.user, name.p, name.n);
    if (!alloc_is_owner(r->a, &r->cred))
        return r->why = "the allocation belongs to another user", 441;
    r->cred.key = r->a->key;
    r->cred.rule = r->a->rule;
    if (stun_verify(r->m, &r->cred.key, r->cred.rule, &held))
        return r->why = "wrong MESSAGE-INTEGRITY", 431;
    r->is_authenticated = true;
    if (r->m->unknown_n)
        return 420;
    return check_connection_id(r, true);
}

/* A.8.3. Switching needs no pause: what the old destination still sends comes as Data Indications. */
static int set_active_destination(struct turn *t, struct request *r)
{
    struct addr named;
    struct turn_peer peer;
    int code = ms_judge(r);
    if (code)
        return code;
    if (!ms_take_sequence(r))
        return answer_again(r);
    if (stun_get_addr(r->m, AT_DESTINATION_ADDRESS, &named) || !named.port)
        return r->why = "no usable DESTINATION-ADDRESS", 400;
    code = turn_judge_peer(t, r, &named, &peer);
    if (!code && r->a->relay == TRANSPORT_TCP && !peer_by_addr(&t->table, peer.port, &peer.addr))
        code = (r->why = "no connection with this destination", 443);
    if (!code)
        code = ms_permit(t, r, &peer, &named);
    if (code)
        return code;
    r->a->ms->active = peer.addr;
    put_sequence(r, r->a);
    return 0;
}

/* ---- dispatch ---- */

/* Send is never answered (A.2). */
static void send_silently(struct turn *t, struct request *r)
{
    int code = ms_send_request(t, r);
    if (code <= 0 || !r->a)
        return;
    r->a->dropped++;
    turn_log_refusal(r, code);
}

static void request(struct turn *t, struct request *r, int parse_err)
{
    if (r->m->method == STUN_SEND) {
        if (!parse_err)
            send_silently(t, r);
        return;
    }
    ms_begin(r->acts, &r->flow, &r->w, r->m->method, STUN_SUCCESS, stun_tid(r->m));
    int code = 400;
    if (parse_err)
        r->why = "malformed attribute";
    else
        code = r->m->method == STUN_ALLOCATE ? allocate(t, r) : set_active_destination(t, r);
    if (code != TURN_LATER)
        answer(t, r, code);
}

static struct alloc *find(const struct turn *t, const struct flow *flow)
{
    struct alloc *a = alloc_find(t, &flow->tuple);
    return a && a->dialect == &ALLOC_MSTURN ? a : NULL;
}

int turn_ms_message(struct turn *t, const struct flow *flow, struct span message, struct acts *acts)
{
    t->msg.raw.n = 0;
    int err = t->policy->is_ms_off ? ERR_BAD : stun_parse(&STUN_MSTURN, message, &t->msg);
    if (err && t->msg.raw.n == 0)
        return ERR_BAD;
    struct request r = {.flow = *flow, .m = &t->msg, .acts = acts, .a = find(t, flow)};
    if (t->msg.cls == STUN_REQUEST)
        request(t, &r, err);
    return 0;
}

bool turn_takes_all(const struct turn *t, const struct flow *flow)
{
    return find(t, flow) != NULL;
}

void turn_datagram(struct turn *t, const struct flow *flow, struct span d, struct acts *acts)
{
    struct frame f;
    bool may_be_ms = flow->tuple.transport == TRANSPORT_UDP && !t->policy->is_ms_off;
    if (may_be_ms && sniff_datagram(d) == SPEECH_MSTURN)
        turn_ms_message(t, flow, d, acts);
    else if (may_be_ms && find(t, flow))
        turn_ms_data(t, flow, d, acts);
    else if (d.n && (d.p[0] & 0xc0) == 0)
        turn_message(t, flow, d, acts);
    else if (!t->policy->is_ms_only && frame_channel_datagram(d, &f) == 0)
        turn_channel_data(t, flow, f.channel, f.body, acts);
}
