/* MS-TURN through the machine, byte by byte: the messages of tests/vectors in both directions, and credentials of MRAS.
 * What is a rule in words is a scene (tests/scenes/ms-*.scene). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/turn.h"
#include "wire/frame.h"

enum { NOW_S = 1700000000 };

struct fixture {
    struct turn_shared shared;
    struct turn_policy policy;
    struct turn_relay relay;
    struct cred_table *creds;
    struct peer_rules *rules;
    struct mras_keys mras;
    struct turn *turn;
    struct acts *acts;
    struct flow flow;
    struct stun_key key;
    enum integrity_rule rule;
    uint8_t id[20];
    uint32_t sequence;
    uint64_t peer;      /* handle of the one that was dialled */
    uint8_t told[2048]; /* what the client was told last, as it lies on the wire */
    size_t told_n;
    uint8_t sent[2048]; /* what the peer was sent last */
    size_t sent_n;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->acts = acts_new();
    f->creds = cred_table_new(span_str("example.org"));
    f->rules = peer_rules_new();
    f->shared.limiter = limiter_new(&(struct limits){0});
    f->shared.ranges = port_ranges_new(50000, 50009);
    nonce_key_init(&f->shared.nonces, 3600);
    assert_int_equal(mras_keys_add(&f->mras, span_str("a secret")), 0);
    assert_int_equal(cred_table_add(f->creds, span_str("alice"), span_str("sesame")), 0);
    cred_table_set_mras(f->creds, &f->mras);
    f->relay.local = f->relay.advertised = addr_v4(0xc0000214, 0);
    f->policy = (struct turn_policy){.creds = f->creds,
                                     .rules = f->rules,
                                     .relays = &f->relay,
                                     .relays_n = 1,
                                     .lifetime_default_s = 600,
                                     .lifetime_max_s = 3600,
                                     .ms_version = 2};
    f->turn = turn_new(&f->shared, &f->policy, 0, 1);
    assert_non_null(f->turn);
    turn_clock(f->turn, 1000, NOW_S);
    f->flow.tuple.client = addr_v4(0xc6336407, 40000);
    f->flow.tuple.server = addr_v4(0xc0000214, 3478);
    f->flow.tuple.transport = TRANSPORT_TCP;
    *state = f;
    return 0;
}

static void act_out(struct fixture *f)
{
    for (const struct act *act; (act = acts_next(f->acts));) {
        if (act->kind == ACT_OPEN_PORT) {
            turn_port_opened(f->turn, act->handle, 0, f, f->acts);
        } else if (act->kind == ACT_DIAL) {
            f->peer = act->handle;
            turn_dialed(f->turn, act->handle, 0, NULL, f, f->acts);
        } else if (act->kind == ACT_TO_PEER) {
            memcpy(f->sent, act->body.p, f->sent_n = act->body.n);
        } else if (act->kind == ACT_TO_CLIENT) {
            f->told_n = act->head.n + act->body.n;
            assert_true(f->told_n <= sizeof f->told);
            memcpy(f->told, act->head.p, act->head.n);
            if (act->body.n)
                memcpy(f->told + act->head.n, act->body.p, act->body.n);
        }
    }
    acts_clear(f->acts);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    while (turn_end_all(f->turn, "end", f->acts))
        act_out(f);
    turn_free(f->turn);
    limiter_free(f->shared.limiter);
    port_ranges_free(f->shared.ranges);
    cred_table_free(f->creds);
    peer_rules_free(f->rules);
    acts_free(f->acts);
    free(f);
    return 0;
}

static size_t vector(const char *name, uint8_t out[2048])
{
    char path[1024], text[8192];
    const char *root = getenv("MESON_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/vectors/%s.hex", root ? root : ".", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file), k = 0;
    fclose(file);
    for (size_t i = 0; i < n; i++)
        if (text[i] > ' ')
            text[k++] = text[i];
    text[k] = 0;
    int bytes = text_unhex(text, out, 2048);
    assert_true(bytes > 0);
    return (size_t)bytes;
}

/* The message that the client was told, out of its frame. */
static void told(struct fixture *f, struct stun_msg *m)
{
    struct frame frame = {.body = span_of(f->told, f->told_n), .kind = FRAME_MS_CONTROL};
    if (transport_is_stream(f->flow.tuple.transport))
        assert_int_equal(frame_next_msturn(span_of(f->told, f->told_n), &frame), 0);
    assert_int_equal(frame.kind, FRAME_MS_CONTROL);
    assert_int_equal(stun_parse(&STUN_MSTURN, frame.body, m), 0);
}

static int code_of(struct fixture *f)
{
    struct stun_msg m;
    struct span reason, v;
    enum integrity_rule held;
    int code = 0;
    told(f, &m);
    stun_get_error(&m, &code, &reason);
    if (stun_has(&m, AT_MESSAGE_INTEGRITY))
        assert_int_equal(stun_verify(&m, &f->key, f->rule, &held), 0);
    if (stun_get_bytes(&m, AT_MS_SEQUENCE_NUMBER, &v) == 0)
        memcpy(f->id, v.p, sizeof f->id);
    return code;
}

static void feed(struct fixture *f, struct span message)
{
    f->told_n = 0;
    if (transport_is_stream(f->flow.tuple.transport))
        assert_int_equal(turn_ms_message(f->turn, &f->flow, message, f->acts), 0);
    else
        turn_datagram(f->turn, &f->flow, message, f->acts);
    act_out(f);
}

static void begin(struct stun_wr *w, enum stun_method method, uint8_t buf[2048])
{
    uint8_t tid[STUN_TID];
    stun_new_tid(&STUN_MSTURN, tid);
    stun_begin(w, &STUN_MSTURN, buf, 2048, method, STUN_REQUEST, tid);
}

static void put_sequence(struct fixture *f, struct stun_wr *w)
{
    uint8_t v[24];
    memcpy(v, f->id, 20);
    be32_put(v + 20, ++f->sequence);
    stun_put_bytes(w, AT_MS_SEQUENCE_NUMBER, span_of(v, sizeof v));
}

static int allocate(struct fixture *f, struct span user, struct span password, uint32_t version, bool refresh)
{
    uint8_t buf[2048];
    char nonce[NONCE_SIZE];
    struct stun_wr w;
    struct span realm = span_str("example.org"), n = span_of(nonce, sizeof nonce);
    nonce_make(&f->shared.nonces, f->creds, &f->flow.tuple.client, 1000, nonce);
    f->rule = version >= 3 ? INTEGRITY_MS_SHA256 : INTEGRITY_FULL_PAD64;
    assert_int_equal(version >= 3 ? stun_key_ms_sha256(&f->key, user, realm, n, password)
                                  : stun_key_md5(&f->key, user, realm, password),
                     0);
    begin(&w, STUN_ALLOCATE, buf);
    stun_put_u32(&w, AT_MS_VERSION, version);
    stun_put_bytes(&w, AT_USERNAME, user);
    stun_put_bytes(&w, AT_NONCE, n);
    stun_put_bytes(&w, AT_REALM, realm);
    if (refresh)
        put_sequence(f, &w);
    stun_put_integrity(&w, f->rule, &f->key, false);
    feed(f, stun_end(&w));
    return code_of(f);
}

static void request(struct fixture *f, enum stun_method method, const char *to, struct span data)
{
    uint8_t buf[2048];
    struct stun_wr w;
    struct addr a;
    assert_int_equal(addr_parse_with_port(to, &a), 0);
    begin(&w, method, buf);
    stun_put_bytes(&w, AT_USERNAME, span_str("alice"));
    put_sequence(f, &w);
    stun_put_addr(&w, AT_DESTINATION_ADDRESS, &a);
    if (data.n)
        stun_put_bytes(&w, AT_DATA, data);
    stun_put_integrity(&w, f->rule, &f->key, false);
    feed(f, stun_end(&w));
}

/* ---- the vectors ---- */

/* M11 is such an answer; its nonce is not ours. */
static void the_first_allocate_is_challenged(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[2048], like[2048];
    size_t n = vector("M11req", bytes), like_n = vector("M11", like);
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        struct stun_msg m, model;
        struct span reason, v;
        int code = 0;
        f->flow.tuple.transport = is_stream ? TRANSPORT_TCP : TRANSPORT_UDP;
        feed(f, span_of(bytes, n));
        told(f, &m);
        assert_int_equal(stun_parse(&STUN_MSTURN, span_of(like, like_n), &model), 0);
        assert_int_equal(m.type, model.type);
        assert_memory_equal(stun_tid(&m), bytes + 4, STUN_TID);
        assert_int_equal(stun_get_error(&m, &code, &reason), 0);
        assert_int_equal(code, 401);
        assert_int_equal(stun_get_bytes(&m, AT_REALM, &v), 0);
        assert_true(span_is_equal(v, span_str("example.org")));
        assert_int_equal(stun_get_bytes(&m, AT_NONCE, &v), 0);
        assert_true(nonce_is_fresh(&f->shared.nonces, f->creds, &f->flow.tuple.client, 1000, v));
        assert_false(stun_has(&m, AT_MESSAGE_INTEGRITY));
    }
}

/* What M10 holds, in its order. */
static void an_allocation_is_told_like_the_vector(void **state)
{
    struct fixture *f = *state;
    uint8_t like[2048];
    struct stun_msg m, model;
    struct addr mapped, relayed;
    size_t n = vector("M10", like);
    assert_int_equal(allocate(f, span_str("alice"), span_str("sesame"), 1, false), 0);
    told(f, &m);
    assert_int_equal(stun_parse(&STUN_MSTURN, span_of(like, n), &model), 0);
    assert_int_equal(m.type, model.type);
    assert_int_equal(m.attrs_n, model.attrs_n);
    for (int i = 0; i < m.attrs_n; i++) {
        assert_int_equal(m.attrs[i].type, model.attrs[i].type);
        assert_int_equal(m.attrs[i].n, model.attrs[i].n);
    }
    assert_int_equal(stun_get_addr(&m, AT_XOR_MAPPED_ADDRESS, &mapped), 0);
    assert_true(addr_is_equal(&mapped, &f->flow.tuple.client));
    assert_int_equal(stun_get_addr(&m, AT_MAPPED_ADDRESS, &relayed), 0);
    assert_true(addr_is_same_ip(&relayed, &f->relay.local));
}

/* A packet of RFC 4571 with a connectivity check, to the active destination and from it. */
static void a_data_frame_passes_unchanged(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[2048];
    struct frame frame;
    size_t n = vector("M12dat", bytes);
    assert_int_equal(frame_next_msturn(span_of(bytes, n), &frame), 0);
    assert_int_equal(allocate(f, span_str("alice"), span_str("sesame"), 1, false), 0);
    request(f, STUN_SEND, "93.184.216.34:5000", span_str("x"));
    request(f, STUN_SET_ACTIVE_DESTINATION, "93.184.216.34:5000", span_str(""));
    assert_int_equal(code_of(f), 0);
    turn_ms_data(f->turn, &f->flow, frame.body, f->acts);
    act_out(f);
    assert_int_equal(f->sent_n, frame.body.n);
    assert_memory_equal(f->sent, frame.body.p, frame.body.n);
    turn_peer_bytes(f->turn, f->peer, frame.body, f->acts);
    act_out(f);
    assert_int_equal(f->told_n, n);
    assert_memory_equal(f->told, bytes, n);
}

/* ---- credentials of MRAS ---- */

static struct mras_ticket ticket_of(struct fixture *f, uint64_t expires_s)
{
    struct mras_ticket t;
    assert_int_equal(mras_issue(&f->mras, span_str("sip:alice@example.org"), expires_s, &t), 0);
    return t;
}

static int allocate_with(struct fixture *f, const struct mras_ticket *t, uint32_t version, bool refresh)
{
    return allocate(f, span_of(t->username, sizeof t->username), span_of(t->password, sizeof t->password), version,
                    refresh);
}

static void a_ticket_opens_the_relay(void **state)
{
    struct fixture *f = *state;
    struct mras_ticket t = ticket_of(f, NOW_S + 1);
    assert_int_equal(allocate_with(f, &t, 2, false), 0);
}

static void a_running_allocation_outlives_its_ticket(void **state)
{
    struct fixture *f = *state;
    struct mras_ticket t = ticket_of(f, NOW_S + 1);
    assert_int_equal(allocate_with(f, &t, 2, false), 0);
    turn_clock(f->turn, 2000, NOW_S + 1);
    assert_int_equal(allocate_with(f, &t, 2, true), 0);
    f->flow.tuple.client.port++;
    assert_int_equal(allocate_with(f, &t, 2, false), 436);
}

static void a_ticket_works_with_sha256(void **state)
{
    struct fixture *f = *state;
    struct mras_ticket t = ticket_of(f, NOW_S + 1);
    f->policy.ms_version = 3;
    assert_int_equal(allocate_with(f, &t, 3, false), 0);
    assert_int_equal(allocate_with(f, &t, 6, true), 0);
}

static void bad_tickets_are_refused(void **state)
{
    struct fixture *f = *state;
    struct mras_ticket t = ticket_of(f, NOW_S);
    assert_int_equal(allocate_with(f, &t, 2, false), 436);
    t = ticket_of(f, NOW_S + 100);
    t.username[20] ^= 1;
    assert_int_equal(allocate_with(f, &t, 2, false), 436);
    t = ticket_of(f, NOW_S + 100);
    t.password[0] ^= 1;
    assert_int_equal(allocate_with(f, &t, 2, false), 431);
}

/* Many tickets of one identity are one account. */
static void the_client_id_pays(void **state)
{
    struct fixture *f = *state;
    struct mras_ticket one = ticket_of(f, NOW_S + 100), two = ticket_of(f, NOW_S + 200);
    limiter_set(f->shared.limiter, &(struct limits){.user_allocations = 1});
    assert_int_equal(allocate_with(f, &one, 2, false), 0);
    f->flow.tuple.client.port++;
    assert_int_equal(allocate_with(f, &two, 2, false), 500);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_first_allocate_is_challenged),
        TEST(an_allocation_is_told_like_the_vector),
        TEST(a_data_frame_passes_unchanged),
        TEST(a_ticket_opens_the_relay),
        TEST(a_running_allocation_outlives_its_ticket),
        TEST(a_ticket_works_with_sha256),
        TEST(bad_tickets_are_refused),
        TEST(the_client_id_pays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
