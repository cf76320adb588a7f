#include "core/turnc.h"

#include <stdlib.h>

#include "base/heap.h"
#include "base/text.h"
#include "core/turnc_rules.h"

/* Permissions live 5 minutes, channels 10; both are renewed after 4 (RFC 8656 s.9, s.12). */
enum { KEEP_MS = 240000 };

static struct turnc_ask *ask_of(struct list *l)
{
    return container_of(l, struct turnc_ask, link);
}

static struct turnc_keep *keep_of(struct list *l)
{
    return container_of(l, struct turnc_keep, link);
}

/* ---- permissions and channels ---- */

struct turnc_keep *turnc_keep_channel(const struct turnc *c, uint16_t channel)
{
    for (struct list *l = c->keeps.next; l != &c->keeps; l = l->next)
        if (channel && keep_of(l)->channel == channel)
            return keep_of(l);
    return NULL;
}

/* A channel binding is a permission too (RFC 8656 s.12), so either will do. */
struct turnc_keep *turnc_keep_peer(const struct turnc *c, const struct addr *peer)
{
    for (struct list *l = c->keeps.next; l != &c->keeps; l = l->next)
        if (addr_is_same_ip(&keep_of(l)->peer, peer))
            return keep_of(l);
    return NULL;
}

/* Permissions are equal by IP address, channels by number. */
static struct turnc_keep *find_keep(const struct turnc *c, const struct addr *peer, uint16_t channel)
{
    for (struct list *l = c->keeps.next; l != &c->keeps; l = l->next)
        if (keep_of(l)->channel == channel && addr_is_same_ip(&keep_of(l)->peer, peer))
            return keep_of(l);
    return NULL;
}

int turnc_keep_set(struct turnc *c, const struct addr *peer, uint16_t channel, uint64_t now_ms)
{
    struct turnc_keep *k = find_keep(c, peer, channel);
    if (!k) {
        k = malloc(sizeof *k);
        if (!k)
            return ERR_NOMEM;
        *k = (struct turnc_keep){.peer = *peer, .channel = channel};
        list_add_tail(&c->keeps, &k->link);
    }
    k->due_ms = now_ms + KEEP_MS;
    return 0;
}

void turnc_keep_drop(struct turnc *c, const struct addr *peer, uint16_t channel)
{
    struct turnc_keep *k = find_keep(c, peer, channel);
    if (k)
        list_del(&k->link);
    free(k);
}

void turnc_forget(struct turnc *c)
{
    while (!list_is_empty(&c->keeps)) {
        struct turnc_keep *k = keep_of(c->keeps.next);
        list_del(&k->link);
        free(k);
    }
    c->is_allocated = false;
    c->refresh_ms = HEAP_NEVER;
    c->next_channel = CHANNEL_MIN;
    c->relayed = c->relayed2 = (struct addr){0};
    c->has_token = false;
    c->lifetime_s = 0;
}

/* ---- life ---- */

int turnc_init(struct turnc *c, const struct turnc_config *config)
{
    memset(c, 0, sizeof *c);
    c->rules = config->rules;
    c->is_stream = config->is_stream;
    c->rto_ms = config->rto_ms ? config->rto_ms : TXN_RTO_MS;
    list_init(&c->asks);
    list_init(&c->ended);
    list_init(&c->keeps);
    turnc_forget(c);
    return turnc_auth_init(&c->auth, config->user, config->password, c->rules->plain_rule);
}

static void free_asks(struct list *asks)
{
    while (!list_is_empty(asks)) {
        struct turnc_ask *a = ask_of(asks->next);
        list_del(&a->link);
        free(a);
    }
}

void turnc_fini(struct turnc *c)
{
    turnc_forget(c);
    free_asks(&c->asks);
    free_asks(&c->ended);
    free(c->spent);
    c->spent = NULL;
    turnc_auth_fini(&c->auth);
}

/* ---- requests ---- */

static const struct turnc_verb *find_verb(const struct turnc_rules *r, enum stun_method method)
{
    for (size_t i = 0; i < r->verbs_n; i++)
        if (r->verbs[i].method == method)
            return &r->verbs[i];
    return NULL;
}

/* Writes the request in a new transaction: the first time, and again under each new challenge. */
static int ask_write(struct turnc *c, struct turnc_ask *a, uint64_t now_ms)
{
    uint8_t tid[STUN_TID];
    struct stun_wr w;
    stun_new_tid(c->rules->dialect, tid);
    stun_begin(&w, c->rules->dialect, a->bytes, sizeof a->bytes, a->verb->method, STUN_REQUEST, tid);
    a->verb->put(c, a, &w);
    a->is_signed = a->verb->is_signed && c->auth.is_challenged && turnc_auth_has_user(&c->auth);
    if (a->is_signed)
        turnc_auth_put(&c->auth, &w);
    a->n = stun_end(&w).n;
    if (w.w.err)
        return ERR_FULL;
    bool reliable = c->is_stream || a->via != TURNC_CONTROL;
    txn_start(&a->txn, tid, reliable ? 0 : c->rto_ms, now_ms);
    a->is_unsent = true;
    a->tries++;
    a->code = 0;
    a->reason[0] = 0;
    return 0;
}

/* Copies `like` (what is asked) into a new request. */
static int ask_new(struct turnc *c, enum stun_method method, const struct turnc_ask *like, uint64_t now_ms)
{
    const struct turnc_verb *verb = find_verb(c->rules, method);
    if (!verb)
        return ERR_NONE;
    struct turnc_ask *a = malloc(sizeof *a);
    if (!a)
        return ERR_NOMEM;
    *a = *like;
    a->verb = verb;
    int err = ask_write(c, a, now_ms);
    if (err)
        free(a);
    else
        list_add_tail(&c->asks, &a->link);
    return err;
}

int turnc_binding(struct turnc *c, uint64_t now_ms)
{
    return ask_new(c, STUN_BINDING, &(struct turnc_ask){0}, now_ms);
}

int turnc_allocate(struct turnc *c, const struct turnc_want *want, uint64_t now_ms)
{
    if (c->is_allocated)
        return ERR_DENIED;
    c->want = *want;
    return ask_new(c, STUN_ALLOCATE, &(struct turnc_ask){.lifetime_s = want->lifetime_s}, now_ms);
}

static int ask_within(struct turnc *c, enum stun_method method, const struct turnc_ask *like, uint64_t now_ms)
{
    return c->is_allocated ? ask_new(c, method, like, now_ms) : ERR_DENIED;
}

int turnc_refresh(struct turnc *c, uint32_t lifetime_s, uint64_t now_ms)
{
    return ask_within(c, STUN_REFRESH, &(struct turnc_ask){.lifetime_s = lifetime_s}, now_ms);
}

int turnc_permit(struct turnc *c, const struct addr *peer, uint64_t now_ms)
{
    return ask_within(c, STUN_CREATE_PERMISSION, &(struct turnc_ask){.peer = *peer}, now_ms);
}

int turnc_channel(struct turnc *c, const struct addr *peer, uint64_t now_ms)
{
    if (c->next_channel > CHANNEL_LAST_RFC8656)
        return ERR_FULL;
    struct turnc_ask like = {.peer = *peer, .channel = c->next_channel};
    int err = ask_within(c, STUN_CHANNEL_BIND, &like, now_ms);
    if (!err)
        c->next_channel++;
    return err;
}

int turnc_connect(struct turnc *c, const struct addr *peer, uint64_t now_ms)
{
    return ask_within(c, STUN_CONNECT, &(struct turnc_ask){.peer = *peer}, now_ms);
}

int turnc_bind(struct turnc *c, uint32_t connection, uint64_t via, uint64_t now_ms)
{
    return ask_new(c, STUN_CONNECTION_BIND, &(struct turnc_ask){.connection = connection, .via = via}, now_ms);
}

/* ---- answers ---- */

static void ask_end(struct turnc *c, struct turnc_ask *a, enum turnc_why why)
{
    a->why = (uint8_t)why;
    a->is_unsent = false;
    list_del(&a->link);
    list_add_tail(&c->ended, &a->link);
}

/* The allocation does not exist any more: the server says 437, or does not renew it. */
static bool is_end_of_allocation(const struct turnc_ask *a)
{
    if (a->verb->method == STUN_ALLOCATE || a->verb->method == STUN_CONNECTION_BIND)
        return false;
    return a->code == 437 || (a->verb->method == STUN_REFRESH && a->is_quiet);
}

static void ask_fail(struct turnc *c, struct turnc_ask *a, enum turnc_why why)
{
    if (a->verb->method == STUN_CREATE_PERMISSION || a->verb->method == STUN_CHANNEL_BIND)
        turnc_keep_drop(c, &a->peer, a->channel);
    if (c->is_allocated && is_end_of_allocation(a)) {
        turnc_forget(c);
        c->is_lost = true;
    }
    a->is_quiet = false;
    ask_end(c, a, why);
}

static void ask_succeed(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    a->rtt_ms = txn_rtt_ms(&a->txn, now_ms);
    if (a->verb->done(c, a, m, now_ms))
        ask_fail(c, a, TURNC_MALFORMED);
    else
        ask_end(c, a, 0);
}

static void note_refusal(struct turnc_ask *a, const struct stun_msg *m)
{
    struct span reason = {0};
    struct text t = text_of(a->reason, sizeof a->reason);
    if (stun_get_error(m, &a->code, &reason))
        a->code = 0;
    while (reason.n && reason.p[reason.n - 1] == 0)
        reason.n--; /* some servers count the C string's end */
    text_add_safe(&t, reason);
}

/* A refusal that a new challenge may cure: 438 always, 401 unless these very credentials were refused (RFC 8489
 * s.9.2.5). */
static bool may_retry(const struct turnc *c, const struct turnc_ask *a, const struct stun_msg *m)
{
    struct span realm;
    if (!a->verb->is_signed || !turnc_auth_has_user(&c->auth) || a->tries >= TURNC_TRIES_MAX)
        return false;
    if (a->code == 438 || !a->is_signed)
        return a->code == 438 || a->code == 401;
    return a->code == 401 && stun_get_bytes(m, AT_REALM, &realm) == 0 &&
           !span_is_equal(realm, span_of(c->auth.realm, c->auth.realm_n));
}

static void ask_challenged(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    bool again = may_retry(c, a, m);
    int err = turnc_auth_challenge(&c->auth, m);
    if (again && err == 0 && ask_write(c, a, now_ms) == 0)
        return;
    if (err == ERR_DENIED)
        ask_fail(c, a, TURNC_BID_DOWN);
    else if (again && err == ERR_NONE)
        ask_fail(c, a, TURNC_NO_ALGORITHM);
    else if (again && err)
        ask_fail(c, a, TURNC_MALFORMED);
    else
        ask_fail(c, a, TURNC_REFUSED);
}

static void ask_refused(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    note_refusal(a, m);
    if (a->code == 401 || a->code == 438) {
        ask_challenged(c, a, m, now_ms);
        return;
    }
    if (a->code == 300)
        stun_get_addr(m, AT_ALTERNATE_SERVER, &a->peer);
    ask_fail(c, a, a->code ? TURNC_REFUSED : TURNC_MALFORMED);
}

/* Challenges and redirections come from a server that cannot sign them; everything else must be signed as the request
 * was (RFC 8489 s.9.2.5). */
static bool is_trusted(const struct turnc *c, const struct turnc_ask *a, const struct stun_msg *m)
{
    int code = 0;
    struct span reason;
    if (!a->is_signed)
        return true;
    if (m->cls == STUN_ERROR && stun_get_error(m, &code, &reason) == 0 && (code == 401 || code == 438 || code == 300))
        return true;
    return !turnc_auth_is_bid_down(m) && turnc_auth_check(&c->auth, m) == 0;
}

/* An answer that does not verify is as if it had never come (RFC 8489 s.9.2.5); but on a stream no other one can
 * follow. */
static void ask_distrusted(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m)
{
    note_refusal(a, m);
    if (a->code == 0)
        a->code = -1;
    if (a->txn.rto_ms == 0)
        ask_fail(c, a, TURNC_UNVERIFIED);
}

static void receive_answer(struct turnc *c, uint64_t via, const struct stun_msg *m, uint64_t now_ms)
{
    struct list *l = c->asks.next;
    while (l != &c->asks && !(txn_is_mine(&ask_of(l)->txn, m) && ask_of(l)->via == via))
        l = l->next;
    if (l == &c->asks)
        return;
    struct turnc_ask *a = ask_of(l);
    if (!is_trusted(c, a, m))
        ask_distrusted(c, a, m);
    else if (m->unknown_n) /* RFC 8489 s.6.3.3: nobody knows what was granted */
        ask_fail(c, a, TURNC_MALFORMED);
    else if (m->cls == STUN_SUCCESS)
        ask_succeed(c, a, m, now_ms);
    else
        ask_refused(c, a, m, now_ms);
}

/* ---- what the server sends by itself ---- */

static void receive_data(struct turnc *c, const struct stun_msg *m)
{
    struct turnc_act *in = &c->incoming;
    if (stun_get_addr(m, AT_XOR_PEER_ADDRESS, &in->peer) || !turnc_keep_peer(c, &in->peer))
        return; /* RFC 8656 s.11.4: nothing from peers without a permission */
    if (stun_get_icmp(m, &in->icmp) == 0)
        in->kind = TURNC_ICMP;
    else if (stun_get_bytes(m, AT_DATA, &in->bytes) == 0)
        in->kind = TURNC_DATA;
}

static void receive_attempt(struct turnc *c, const struct stun_msg *m)
{
    struct turnc_act *in = &c->incoming;
    if (stun_get_u32(m, AT_CONNECTION_ID, &in->connection) == 0 &&
        stun_get_addr(m, AT_XOR_PEER_ADDRESS, &in->peer) == 0)
        in->kind = TURNC_ATTEMPT;
}

static void receive_message(struct turnc *c, uint64_t via, struct span bytes, uint64_t now_ms)
{
    struct stun_msg m;
    if (stun_parse(c->rules->dialect, bytes, &m) || stun_verify_fingerprint(&m) == ERR_DENIED)
        return;
    if (m.cls == STUN_SUCCESS || m.cls == STUN_ERROR)
        receive_answer(c, via, &m, now_ms);
    else if (m.cls == STUN_INDICATION && via == TURNC_CONTROL && c->is_allocated && !m.unknown_n) {
        if (m.method == STUN_DATA)
            receive_data(c, &m);
        else if (m.method == STUN_CONNECTION_ATTEMPT)
            receive_attempt(c, &m);
    }
}

static void receive_channel(struct turnc *c, const struct frame *f)
{
    const struct turnc_keep *k = turnc_keep_channel(c, f->channel);
    if (k)
        c->incoming = (struct turnc_act){.kind = TURNC_DATA, .peer = k->peer, .channel = f->channel, .bytes = f->body};
}

static bool is_channel_datagram(struct span in)
{
    return in.n && (in.p[0] & 0xc0) == 0x40; /* RFC 8656 s.12.5 */
}

int turnc_receive(struct turnc *c, uint64_t via, struct span in, uint64_t now_ms)
{
    struct frame f = {.kind = FRAME_STUN, .body = in, .size = in.n};
    must(c->incoming.kind == TURNC_TRANSMIT);
    if (c->is_stream || via != TURNC_CONTROL) {
        int err = c->rules->next_frame(in, &f);
        if (err)
            return err == ERR_SHORT ? 0 : err;
    } else if (is_channel_datagram(in) && frame_channel_datagram(in, &f)) {
        return (int)in.n;
    }
    if (f.kind == FRAME_CHANNEL && via == TURNC_CONTROL)
        receive_channel(c, &f);
    else if (f.kind == FRAME_STUN)
        receive_message(c, via, f.body, now_ms);
    return c->is_stream || via != TURNC_CONTROL ? (int)f.size : (int)in.n;
}

/* ---- acts ---- */

static bool next_result(struct turnc *c, struct turnc_act *act)
{
    while (!list_is_empty(&c->ended)) {
        struct turnc_ask *a = ask_of(c->ended.next);
        list_del(&a->link);
        free(c->spent);
        c->spent = a;
        if (a->is_quiet)
            continue;
        *act = (struct turnc_act){.kind = a->why ? TURNC_FAILED : TURNC_DONE,
                                  .method = a->verb->method,
                                  .why = a->why,
                                  .channel = a->channel};
        act->connection = a->connection;
        act->via = a->via;
        act->peer = a->peer;
        act->code = a->code > 0 ? a->code : 0;
        act->reason = a->reason;
        act->rtt_ms = a->rtt_ms;
        return true;
    }
    return false;
}

static bool next_transmit(struct turnc *c, struct turnc_act *act)
{
    for (struct list *l = c->asks.next; l != &c->asks; l = l->next) {
        struct turnc_ask *a = ask_of(l);
        if (!a->is_unsent)
            continue;
        a->is_unsent = false;
        *act = (struct turnc_act){.kind = TURNC_TRANSMIT, .method = a->verb->method, .via = a->via, .reason = ""};
        act->bytes = span_of(a->bytes, a->n);
        return true;
    }
    return false;
}

bool turnc_next(struct turnc *c, struct turnc_act *act)
{
    if (c->incoming.kind != TURNC_TRANSMIT) {
        *act = c->incoming;
        act->reason = "";
        c->incoming = (struct turnc_act){0};
        return true;
    }
    if (next_result(c, act))
        return true;
    if (c->is_lost) {
        *act = (struct turnc_act){.kind = TURNC_LOST, .reason = ""};
        c->is_lost = false;
        return true;
    }
    return next_transmit(c, act);
}

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t turnc_deadline(const struct turnc *c)
{
    uint64_t at = c->refresh_ms;
    for (struct list *l = c->asks.next; l != &c->asks; l = l->next)
        at = earlier(at, ask_of(l)->txn.deadline_ms);
    for (struct list *l = c->keeps.next; l != &c->keeps; l = l->next)
        at = earlier(at, keep_of(l)->due_ms);
    return at;
}

/* RFC 8489 s.9.2.5: when only answers came that did not verify, that is what is told, not a time-out. */
static void ask_timeout(struct turnc *c, struct turnc_ask *a)
{
    ask_fail(c, a, a->code ? TURNC_UNVERIFIED : TURNC_SILENT);
}

static void tick_asks(struct turnc *c, uint64_t now_ms)
{
    for (struct list *l = c->asks.next, *next; l != &c->asks; l = next) {
        struct turnc_ask *a = ask_of(l);
        next = l->next;
        enum txn_step step = txn_tick(&a->txn, now_ms);
        if (step == TXN_RESEND)
            a->is_unsent = true;
        else if (step == TXN_TIMEOUT)
            ask_timeout(c, a);
    }
}

static void renew(struct turnc *c, struct turnc_keep *k, uint64_t now_ms)
{
    struct turnc_ask like = {.peer = k->peer, .channel = k->channel, .is_quiet = true};
    int err = ask_within(c, k->channel ? STUN_CHANNEL_BIND : STUN_CREATE_PERMISSION, &like, now_ms);
    k->due_ms = err ? now_ms + 1000 : HEAP_NEVER;
}

static void tick_keeps(struct turnc *c, uint64_t now_ms)
{
    for (struct list *l = c->keeps.next; l != &c->keeps; l = l->next)
        if (keep_of(l)->due_ms <= now_ms)
            renew(c, keep_of(l), now_ms);
}

void turnc_tick(struct turnc *c, uint64_t now_ms)
{
    tick_asks(c, now_ms);
    tick_keeps(c, now_ms);
    if (c->is_allocated && c->refresh_ms <= now_ms) {
        struct turnc_ask like = {.lifetime_s = c->want.lifetime_s ? c->want.lifetime_s : c->lifetime_s,
                                 .is_quiet = true};
        int err = ask_new(c, STUN_REFRESH, &like, now_ms);
        c->refresh_ms = err ? now_ms + 1000 : HEAP_NEVER;
    }
}

void turnc_closed(struct turnc *c, uint64_t via)
{
    for (struct list *l = c->asks.next, *next; l != &c->asks; l = next) {
        next = l->next;
        if (ask_of(l)->via == via)
            ask_timeout(c, ask_of(l));
    }
    if (via == TURNC_CONTROL && c->is_allocated) {
        turnc_forget(c);
        c->is_lost = true;
    }
}

/* ---- sending ---- */

static uint16_t channel_of(const struct turnc *c, const struct addr *peer)
{
    for (struct list *l = c->keeps.next; l != &c->keeps; l = l->next)
        if (keep_of(l)->channel && addr_is_equal(&keep_of(l)->peer, peer))
            return keep_of(l)->channel;
    return 0;
}

static int send_channel(const struct turnc *c, uint16_t channel, struct span payload, struct wr *out)
{
    uint8_t header[CHANNEL_HEADER];
    frame_channel_header(header, channel, payload.n);
    wr_bytes(out, span_of(header, sizeof header));
    wr_bytes(out, payload);
    if (c->is_stream)
        wr_zeros(out, frame_channel_padding(payload.n));
    return out->err;
}

int turnc_send(const struct turnc *c, const struct addr *peer, struct span payload, struct wr *out)
{
    uint16_t channel = channel_of(c, peer);
    if (payload.n > UINT16_MAX)
        return ERR_FULL;
    if (channel)
        return send_channel(c, channel, payload, out);
    uint8_t tid[STUN_TID];
    struct stun_wr w;
    stun_new_tid(c->rules->dialect, tid);
    stun_begin(&w, c->rules->dialect, out->p, (size_t)(out->end - out->p), STUN_SEND, STUN_INDICATION, tid);
    stun_put_addr(&w, AT_XOR_PEER_ADDRESS, peer);
    stun_put_bytes(&w, AT_DATA, payload);
    size_t n = stun_end(&w).n;
    return wr_room(out, n) && n ? 0 : ERR_FULL;
}
