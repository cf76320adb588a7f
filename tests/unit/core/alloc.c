/* Allocations in bulk, and without memory: the machine is driven as the server drives it, with a heap that fails on
 * demand (checklist S51). The sources that use the heap are compiled here for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* The heap: calls are counted; from number `fails_at` on, `fails_n` of them fail. */
static unsigned calls, fails_at, fails_n;

static bool fails(void)
{
    calls++;
    return fails_at && calls >= fails_at && calls - fails_at < fails_n;
}

static void *scarce_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

static void *scarce_realloc(void *p, size_t size)
{
    return fails() ? NULL : realloc(p, size);
}

#define calloc  scarce_calloc
#define realloc scarce_realloc
#include "../../../src/base/heap.c"
#include "../../../src/base/map.c"
#include "../../../src/base/pool.c"
#include "../../../src/core/limit.c"
#undef calloc
#undef realloc

#include "core/turn.h"

enum { CLIENTS = 300, LINKS = 700, EVENTS = 2000 };

struct client {
    struct flow flow;
    uint8_t tid[STUN_TID];
};

/* Stands for a relayed port or a peer connection. */
struct link {
    uint64_t handle;
    struct addr addr;
    bool is_port, is_bound, is_open;
};

static struct rig {
    struct turn_shared shared;
    struct turn_policy policy;
    struct turn_relay relays[2];
    struct cred_table *creds;
    struct peer_rules *rules;
    struct turn *turn;
    struct acts *acts;
    uint64_t now_ms;
    struct client clients[CLIENTS];
    struct link links[LINKS];
    unsigned links_n, events[EV_COUNT_OF_KINDS];
    uint32_t last_id;
    int last_code; /* of the last answer: 0 or the error code, -1: none */
} r;

static int set_up(void **state)
{
    memset(&r, 0, sizeof r);
    fails_at = 0;
    r.now_ms = 1000;
    r.relays[0] = (struct turn_relay){addr_v4(0xc01fc401, 0), addr_v4(0xc01fc401, 0)};
    r.relays[1].local = r.relays[1].advertised = (struct addr){{0x26, 6, 0x47, 0, [15] = 1}, 0, ADDR_V6, 0};
    r.creds = cred_table_new(span_str("example.org"));
    r.rules = peer_rules_new();
    r.acts = acts_new();
    r.shared.limiter = limiter_new(&(struct limits){0});
    r.shared.ranges = port_ranges_new(50000, 59999);
    if (!r.creds || !r.rules || !r.acts || !r.shared.limiter || !r.shared.ranges)
        return -1;
    nonce_key_init(&r.shared.nonces, 3600);
    r.policy = (struct turn_policy){.creds = r.creds,
                                    .rules = r.rules,
                                    .relays = r.relays,
                                    .relays_n = 2,
                                    .lifetime_default_s = 600,
                                    .lifetime_max_s = 3600};
    r.turn = turn_new(&r.shared, &r.policy, 0, 1);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &r.clients[i];
        c->flow.tuple.client = addr_v4(0xc6290004 + i, 1000);
        c->flow.tuple.server = addr_v4(0xc01fc401, 3478);
        c->flow.tuple.transport = TRANSPORT_TCP;
        c->flow.link = c;
    }
    return !r.turn || cred_table_add(r.creds, span_str("alice"), span_str("sesame"));
}

static int tear_down(void **state)
{
    turn_free(r.turn);
    limiter_free(r.shared.limiter);
    port_ranges_free(r.shared.ranges);
    cred_table_free(r.creds);
    peer_rules_free(r.rules);
    acts_free(r.acts);
    return 0;
}

/* ---- carrying out ---- */

static struct link *link_new(uint64_t handle, const struct addr *addr, bool is_port)
{
    assert_true(r.links_n < LINKS);
    struct link *x = &r.links[r.links_n++];
    *x = (struct link){.handle = handle, .addr = *addr, .is_port = is_port, .is_open = true};
    return x;
}

static void look_at_answer(struct span message)
{
    struct stun_msg m;
    struct span reason;
    uint32_t id;
    assert_int_equal(stun_parse(&STUN_RFC, message, &m), 0);
    if (m.cls == STUN_SUCCESS)
        r.last_code = 0;
    else if (m.cls == STUN_ERROR)
        assert_int_equal(stun_get_error(&m, &r.last_code, &reason), 0);
    if (stun_get_u32(&m, AT_CONNECTION_ID, &id) == 0)
        r.last_id = id;
}

static void carry_out(const struct act *act)
{
    struct link *x = act->link;
    switch (act->kind) {
    case ACT_TO_CLIENT: look_at_answer(act->head); break;
    case ACT_OPEN_PORT:
        turn_port_opened(r.turn, act->handle, 0, link_new(act->handle, &act->addr, true), r.acts);
        break;
    case ACT_DIAL: turn_dialing(r.turn, act->handle, link_new(act->handle, &act->addr, false)); break;
    case ACT_PAIR: x->is_bound = true; break;
    case ACT_STOP_PAIR:
        x->is_open = false;
        turn_pair_ended(r.turn, act->handle ? act->handle : x->handle, 1, 2, "server", "stopped", r.acts);
        break;
    case ACT_CLOSE_PORT:
    case ACT_DROP_PEER:
        assert_true(x->is_open);
        x->is_open = false;
        break;
    default: break;
    }
}

static void carry_out_all(void)
{
    for (const struct act *act; (act = acts_next(r.acts));)
        carry_out(act);
    for (unsigned i = 0; i < r.acts->events_n; i++)
        r.events[r.acts->events[i].kind]++;
    assert_int_equal(r.acts->events_lost, 0);
    acts_clear(r.acts);
}

/* ---- requests ---- */

struct wish {
    enum stun_method method;
    uint8_t protocol; /* 17, 6 */
    bool dual, ends;
    uint16_t channel;
    struct addr peer;
    uint32_t id;
};

static struct span message_of(struct client *c, const struct wish *x, uint8_t *buf, size_t cap)
{
    struct span realm = cred_table_realm(r.creds);
    struct stun_key key;
    struct stun_wr w;
    char nonce[NONCE_SIZE];
    stun_new_tid(&STUN_RFC, c->tid);
    stun_begin(&w, &STUN_RFC, buf, cap, x->method, STUN_REQUEST, c->tid);
    if (x->protocol)
        stun_put_u8(&w, AT_REQUESTED_TRANSPORT, x->protocol);
    if (x->dual)
        stun_put_u8(&w, AT_ADDITIONAL_ADDRESS_FAMILY, 2);
    if (x->ends)
        stun_put_u32(&w, AT_LIFETIME, 0);
    if (x->channel)
        stun_put_u16(&w, AT_CHANNEL_NUMBER, x->channel);
    if (x->peer.family)
        stun_put_addr(&w, AT_XOR_PEER_ADDRESS, &x->peer);
    if (x->id)
        stun_put_u32(&w, AT_CONNECTION_ID, x->id);
    nonce_make(&r.shared.nonces, r.creds, &c->flow.tuple.client, r.now_ms, nonce);
    stun_put_bytes(&w, AT_USERNAME, span_str("alice"));
    stun_put_bytes(&w, AT_REALM, realm);
    stun_put_bytes(&w, AT_NONCE, span_of(nonce, sizeof nonce));
    assert_int_equal(stun_key_md5(&key, span_str("alice"), realm, span_str("sesame")), 0);
    stun_put_integrity(&w, INTEGRITY_RFC, &key, false);
    return stun_end(&w);
}

/* The code of the answer; -1: none yet. */
static int ask(struct client *c, const struct wish *x)
{
    uint8_t buf[512];
    r.last_code = -1;
    turn_clock(r.turn, r.now_ms, 1700000000);
    assert_int_equal(turn_message(r.turn, &c->flow, message_of(c, x, buf, sizeof buf), r.acts), 0);
    carry_out_all();
    return r.last_code;
}

static struct addr peer(uint16_t port)
{
    return addr_v4(0xc6290109, port);
}

static struct link *last_peer(void)
{
    struct link *x = r.links_n ? &r.links[r.links_n - 1] : NULL;
    return x && !x->is_port && x->is_open ? x : NULL;
}

/* A connection with this peer, dialled and bound; false when memory did not suffice. */
static bool make_pair(struct client *control, struct client *data, uint16_t port)
{
    if (ask(control, &(struct wish){.method = STUN_CONNECT, .peer = peer(port)}) >= 0)
        return false;
    struct link *x = last_peer();
    assert_non_null(x);
    turn_dialed(r.turn, x->handle, 0, NULL, x, r.acts);
    carry_out_all();
    return ask(data, &(struct wish){.method = STUN_CONNECTION_BIND, .id = r.last_id}) == 0;
}

static void tick(void)
{
    bool more;
    turn_clock(r.turn, r.now_ms, 1700000000);
    do {
        more = turn_tick(r.turn, r.acts);
        carry_out_all();
    } while (more);
}

static void books_are_empty(void)
{
    assert_int_equal(turn_count(r.turn), 0);
    assert_true(turn_deadline(r.turn) == HEAP_NEVER);
    assert_int_equal(limiter_count(r.shared.limiter, LIMIT_ALLOCATIONS), 0);
    assert_int_equal(limiter_accounts(r.shared.limiter), 0);
    for (int i = 0; i < 2; i++)
        for (uint8_t relay = TRANSPORT_UDP; relay <= TRANSPORT_TCP; relay++) {
            struct port_range *range = port_ranges_of(r.shared.ranges, &r.relays[i].local, relay);
            assert_int_equal(port_range_count(range), 0);
        }
    for (unsigned i = 0; i < r.links_n; i++)
        assert_false(r.links[i].is_open);
}

/* ---- in bulk ---- */

static void many_expire_in_the_same_millisecond(void **state)
{
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(ask(&r.clients[i], &(struct wish){.method = STUN_ALLOCATE, .protocol = 6}), 0);
    assert_int_equal(turn_count(r.turn), CLIENTS);
    r.now_ms += 600000;
    tick();
    assert_int_equal(r.events[EV_ALLOCATION_ENDED], CLIENTS); /* a record each, none lost */
    books_are_empty();
}

static void all_end_at_once(void **state)
{
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(ask(&r.clients[i], &(struct wish){.method = STUN_ALLOCATE, .protocol = 6, .dual = i % 2}), 0);
    while (turn_end_all(r.turn, "test", r.acts))
        carry_out_all();
    carry_out_all();
    assert_int_equal(r.events[EV_ALLOCATION_ENDED], CLIENTS);
    books_are_empty();
}

static void one_ends_with_all_its_connections(void **state)
{
    assert_int_equal(ask(&r.clients[0], &(struct wish){.method = STUN_ALLOCATE, .protocol = 6}), 0);
    unsigned pairs = 0;
    while (make_pair(&r.clients[0], &r.clients[1 + pairs], (uint16_t)(1000 + pairs)))
        pairs++;
    assert_in_range(pairs, 100, 200); /* the cap without a limit of ours */
    assert_int_equal(r.last_code, 508);
    turn_client_closed(r.turn, &r.clients[0].flow, r.acts);
    carry_out_all();
    assert_int_equal(r.events[EV_CONNECTION_ENDED], pairs);
    assert_int_equal(r.events[EV_ALLOCATION_ENDED], 1);
    books_are_empty();
}

/* What a socket still says after its port or peer is gone reaches nobody. */
static void stale_handles_are_harmless(void **state)
{
    const struct stun_icmp icmp = {3, 3, 0};
    struct addr from = peer(9);
    assert_int_equal(ask(&r.clients[0], &(struct wish){.method = STUN_ALLOCATE, .protocol = 17}), 0);
    assert_int_equal(ask(&r.clients[1], &(struct wish){.method = STUN_ALLOCATE, .protocol = 6}), 0);
    assert_true(make_pair(&r.clients[1], &r.clients[2], 7));
    turn_client_closed(r.turn, &r.clients[0].flow, r.acts);
    turn_client_closed(r.turn, &r.clients[1].flow, r.acts);
    carry_out_all();
    books_are_empty();
    for (unsigned i = 0; i < r.links_n; i++) {
        uint64_t handle = r.links[i].handle;
        turn_peer_datagram(r.turn, handle, &from, span_str("x"), r.acts);
        turn_peer_icmp(r.turn, handle, &from, &icmp, r.acts);
        assert_int_equal(turn_peer_accepted(r.turn, handle, &from, NULL, r.acts), 0);
        turn_dialing(r.turn, handle, &from);
        turn_dialed(r.turn, handle, 0, NULL, NULL, r.acts);
        turn_pair_ended(r.turn, handle, 1, 2, "peer", "late", r.acts);
        turn_peer_lost(r.turn, handle, r.acts);
    }
    turn_client_closed(r.turn, &r.clients[0].flow, r.acts);
    turn_channel_data(r.turn, &r.clients[0].flow, 0x4000, span_str("x"), r.acts);
    assert_null(acts_next(r.acts));
    assert_int_equal(r.acts->events_n, 0);
    /* A dial that ended well for nobody is dropped. */
    turn_dialed(r.turn, r.links[r.links_n - 1].handle, 0, NULL, &r, r.acts);
    struct act *act = acts_next(r.acts);
    assert_non_null(act);
    assert_int_equal(act->kind, ACT_DROP_PEER);
    assert_ptr_equal(act->link, &r);
}

/* ---- without memory ---- */

/* A life of two allocations with everything in it; requests may be refused for want of memory, and with nothing else.
 */
static void live(void)
{
    struct client *a = &r.clients[0], *b = &r.clients[1];
    const struct wish steps[] = {
        {.method = STUN_ALLOCATE, .protocol = 17, .dual = true},
        {.method = STUN_CREATE_PERMISSION, .peer = peer(1)},
        {.method = STUN_CHANNEL_BIND, .peer = peer(1), .channel = 0x4000},
        {.method = STUN_REFRESH},
        {.method = STUN_CREATE_PERMISSION, .peer = peer(2)},
    };
    bool has_allocation = true;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int code = ask(a, &steps[i]);
        bool is_missing = code == 443 && i > 0; /* one of the two families */
        assert_true(code == 0 || code == 508 || is_missing || (code == 437 && !has_allocation));
        has_allocation &= i > 0 || code == 0;
    }
    int code = ask(b, &(struct wish){.method = STUN_ALLOCATE, .protocol = 6});
    assert_true(code == 0 || code == 508);
    ask(b, &(struct wish){.method = STUN_CREATE_PERMISSION, .peer = peer(1)});
    make_pair(b, &r.clients[2], 7);
    for (unsigned i = 0; i < r.links_n; i++)
        if (r.links[i].is_port && r.links[i].is_open) {
            struct addr from = peer(9);
            struct link *x = link_new(0, &from, false);
            x->handle = turn_peer_accepted(r.turn, r.links[i].handle, &from, x, r.acts);
            x->is_open = x->handle != 0;
            carry_out_all();
        }
    r.now_ms += 301000;
    tick();
}

static void end_life(void)
{
    while (turn_end_all(r.turn, "test", r.acts))
        carry_out_all();
    carry_out_all();
    books_are_empty();
}

/* Each call for memory fails once, then from each on a few, then all. */
static void every_failing_call_is_survived(void **state)
{
    static const unsigned rounds[] = {1, 3, 1000000};
    calls = 0;
    live();
    unsigned all = calls;
    assert_true(all > 5);
    end_life();
    for (size_t k = 0; k < sizeof rounds / sizeof *rounds; k++)
        for (unsigned at = 1; at <= all; at++) {
            tear_down(state);
            assert_int_equal(set_up(state), 0);
            calls = 0;
            fails_at = at;
            fails_n = rounds[k];
            live();
            fails_at = 0;
            end_life();
            /* With memory again, everything works again. */
            assert_int_equal(ask(&r.clients[0], &(struct wish){.method = STUN_ALLOCATE, .protocol = 17}), 0);
            end_life();
        }
}

static void a_machine_is_made_whole_or_not_at_all(void **state)
{
    for (unsigned at = 1;; at++) {
        calls = 0;
        fails_at = at;
        fails_n = 1;
        struct turn *t = turn_new(&r.shared, &r.policy, 0, 1);
        bool was_reached = calls >= at;
        assert_int_equal(t == NULL, was_reached);
        turn_free(t);
        if (!was_reached)
            break;
    }
    fails_at = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(many_expire_in_the_same_millisecond, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_end_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_ends_with_all_its_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stale_handles_are_harmless, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_failing_call_is_survived, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_machine_is_made_whole_or_not_at_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
