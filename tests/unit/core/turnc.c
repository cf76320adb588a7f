/* The TURN client against a server that lives in this file: messages by wire/stun, a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/heap.h"
#include "core/turnc.h"

#define USER        "alice"
#define PASSWORD    "sesame"
#define REALM       "example.org"
#define PLAIN_NONCE "0123456789abcdef"
/* RFC 8489 s.9.2: "obMatJos2" and 24 feature bits. */
#define NONCE_ALGORITHMS "obMatJos2gAAAnonce"
#define NONCE_ANONYMOUS  "obMatJos2wAAAnonce"

static const uint8_t both_algorithms[] = {0, 2, 0, 0, 0, 1, 0, 0};

static const struct addr relayed = {{198, 51, 100, 1}, 50000, ADDR_V4, 0};
static const struct addr mapped = {{203, 0, 113, 9}, 4711, ADDR_V4, 0};
static const struct addr peer = {{192, 0, 2, 7}, 80, ADDR_V4, 0};
static const struct addr other_peer = {{192, 0, 2, 8}, 80, ADDR_V4, 0};

/* ---- the world of a test ---- */

static struct turnc c;
static struct turnc_act act;
static uint64_t now_ms;
static struct stun_msg request; /* the last one that was sent; in request_bytes */
static uint8_t request_bytes[4096];
static uint8_t answer_bytes[4096];
static struct stun_key key;
static enum integrity_rule rule;

static void start(bool is_stream, const char *user, const char *password)
{
    struct turnc_config config = {&TURNC_RFC, is_stream, span_str(user), span_str(password), 0};
    now_ms = 1000000;
    rule = INTEGRITY_RFC;
    assert_int_equal(stun_key_md5(&key, span_str(USER), span_str(REALM), span_str(PASSWORD)), 0);
    assert_int_equal(turnc_init(&c, &config), 0);
}

static int setup(void **state)
{
    (void)state;
    start(false, USER, PASSWORD);
    return 0;
}

static int setup_stream(void **state)
{
    (void)state;
    start(true, USER, PASSWORD);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    turnc_fini(&c);
    return 0;
}

static void expect_nothing(void)
{
    assert_false(turnc_next(&c, &act));
}

/* The next act must be a request of this method; it becomes `request`. */
static void expect_request(enum stun_method method, uint64_t via)
{
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_TRANSMIT);
    assert_int_equal(act.via, via);
    memcpy(request_bytes, act.bytes.p, act.bytes.n);
    assert_int_equal(stun_parse(&STUN_RFC, span_of(request_bytes, act.bytes.n), &request), 0);
    assert_int_equal(request.cls, STUN_REQUEST);
    assert_int_equal(request.method, method);
}

static void expect_result(enum turnc_act_kind kind, enum stun_method method)
{
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, kind);
    assert_int_equal(act.method, method);
}

static void expect_failure(enum stun_method method, enum turnc_why why, int code)
{
    expect_result(TURNC_FAILED, method);
    assert_int_equal(act.why, why);
    assert_int_equal(act.code, code);
}

/* The request bears the right credentials. */
static void expect_signed(void)
{
    enum integrity_rule held;
    assert_int_equal(stun_verify(&request, &key, rule, &held), 0);
    assert_true(stun_has(&request, AT_REALM));
    assert_true(stun_has(&request, AT_NONCE));
}

static void answer_begin(struct stun_wr *w, enum stun_class cls)
{
    stun_begin(w, &STUN_RFC, answer_bytes, sizeof answer_bytes, request.method, cls, stun_tid(&request));
}

static void feed(uint64_t via, struct span bytes)
{
    assert_int_equal(turnc_receive(&c, via, bytes, now_ms), bytes.n);
}

static void answer_end(struct stun_wr *w, bool is_signed)
{
    uint64_t via = act.kind == TURNC_TRANSMIT ? act.via : TURNC_CONTROL;
    if (is_signed)
        stun_put_integrity(w, rule, &key, false);
    feed(via, stun_end(w));
}

/* 401 or 438. */
static void challenge(int code, const char *nonce, bool with_algorithms)
{
    struct stun_wr w;
    answer_begin(&w, STUN_ERROR);
    stun_put_error(&w, code, NULL);
    stun_put_bytes(&w, AT_REALM, span_str(REALM));
    stun_put_bytes(&w, AT_NONCE, span_str(nonce));
    if (with_algorithms)
        stun_put_bytes(&w, AT_PASSWORD_ALGORITHMS, span_of(both_algorithms, sizeof both_algorithms));
    answer_end(&w, false);
}

static void refuse(int code, bool is_signed)
{
    struct stun_wr w;
    answer_begin(&w, STUN_ERROR);
    stun_put_error(&w, code, NULL);
    answer_end(&w, is_signed);
}

static void succeed(void)
{
    struct stun_wr w;
    answer_begin(&w, STUN_SUCCESS);
    answer_end(&w, true);
}

static void grant_allocation(uint32_t lifetime_s, bool is_signed)
{
    struct stun_wr w;
    answer_begin(&w, STUN_SUCCESS);
    stun_put_addr(&w, AT_XOR_RELAYED_ADDRESS, &relayed);
    stun_put_addr(&w, AT_XOR_MAPPED_ADDRESS, &mapped);
    stun_put_u32(&w, AT_LIFETIME, lifetime_s);
    answer_end(&w, is_signed);
}

static void grant_refresh(uint32_t lifetime_s)
{
    struct stun_wr w;
    answer_begin(&w, STUN_SUCCESS);
    stun_put_u32(&w, AT_LIFETIME, lifetime_s);
    answer_end(&w, true);
}

static void grant_connection(uint32_t id)
{
    struct stun_wr w;
    answer_begin(&w, STUN_SUCCESS);
    stun_put_u32(&w, AT_CONNECTION_ID, id);
    answer_end(&w, true);
}

static void ask_allocation(void)
{
    struct turnc_want want = {.transport = TURNC_UDP};
    assert_int_equal(turnc_allocate(&c, &want, now_ms), 0);
}

static void allocate(void)
{
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    grant_allocation(600, true);
    expect_result(TURNC_DONE, STUN_ALLOCATE);
    expect_nothing();
}

static void permit(void)
{
    assert_int_equal(turnc_permit(&c, &peer, now_ms), 0);
    expect_request(STUN_CREATE_PERMISSION, TURNC_CONTROL);
    succeed();
    expect_result(TURNC_DONE, STUN_CREATE_PERMISSION);
}

static void indicate(enum stun_method method, const struct addr *from, uint32_t connection, const char *data)
{
    struct stun_wr w;
    uint8_t tid[STUN_TID];
    stun_new_tid(&STUN_RFC, tid);
    stun_begin(&w, &STUN_RFC, answer_bytes, sizeof answer_bytes, method, STUN_INDICATION, tid);
    stun_put_addr(&w, AT_XOR_PEER_ADDRESS, from);
    if (connection)
        stun_put_u32(&w, AT_CONNECTION_ID, connection);
    if (data)
        stun_put_bytes(&w, AT_DATA, span_str(data));
    feed(TURNC_CONTROL, stun_end(&w));
}

static void sleep_until(uint64_t at_ms)
{
    now_ms = at_ms;
    turnc_tick(&c, now_ms);
}

/* ---- authentication ---- */

static void classic_challenge(void **state)
{
    (void)state;
    struct span user;
    uint8_t transport;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    assert_false(stun_has(&request, AT_USERNAME));
    assert_false(stun_has(&request, AT_MESSAGE_INTEGRITY));
    uint8_t first_tid[STUN_TID];
    memcpy(first_tid, stun_tid(&request), STUN_TID);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    assert_memory_not_equal(first_tid, stun_tid(&request), STUN_TID);
    expect_signed();
    assert_int_equal(stun_get_bytes(&request, AT_USERNAME, &user), 0);
    assert_true(span_is_equal(user, span_str(USER)));
    assert_int_equal(stun_get_u8(&request, AT_REQUESTED_TRANSPORT, &transport), 0);
    assert_int_equal(transport, 17);
    now_ms += 30;
    grant_allocation(600, true);
    expect_result(TURNC_DONE, STUN_ALLOCATE);
    assert_int_equal(act.rtt_ms, 30);
    assert_true(c.is_allocated);
    assert_true(addr_is_equal(&c.relayed, &relayed));
    assert_true(addr_is_equal(&c.mapped, &mapped));
    expect_nothing();
}

static void sha256_is_chosen(void **state)
{
    (void)state;
    struct span algorithms, choice;
    rule = INTEGRITY_RFC_SHA256;
    stun_key_sha256(&key, span_str(USER), span_str(REALM), span_str(PASSWORD));
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, NONCE_ALGORITHMS, true);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    expect_signed();
    assert_false(stun_has(&request, AT_MESSAGE_INTEGRITY));
    assert_int_equal(stun_get_bytes(&request, AT_PASSWORD_ALGORITHMS, &algorithms), 0);
    assert_true(span_is_equal(algorithms, span_of(both_algorithms, sizeof both_algorithms)));
    assert_int_equal(stun_get_bytes(&request, AT_PASSWORD_ALGORITHM, &choice), 0);
    assert_memory_equal(choice.p, both_algorithms, 4);
    grant_allocation(600, true);
    expect_result(TURNC_DONE, STUN_ALLOCATE);
}

static void user_name_is_hidden(void **state)
{
    (void)state;
    struct span hash;
    uint8_t want[SHA256_SIZE];
    rule = INTEGRITY_RFC_SHA256;
    stun_key_sha256(&key, span_str(USER), span_str(REALM), span_str(PASSWORD));
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, NONCE_ANONYMOUS, true);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    expect_signed();
    assert_false(stun_has(&request, AT_USERNAME));
    assert_int_equal(stun_get_bytes(&request, AT_USERHASH, &hash), 0);
    stun_userhash(span_str(USER), span_str(REALM), want);
    assert_true(span_is_equal(hash, span_of(want, sizeof want)));
}

static void bid_down_is_noticed(void **state)
{
    (void)state;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, NONCE_ALGORITHMS, false);
    expect_failure(STUN_ALLOCATE, TURNC_BID_DOWN, 401);
    expect_nothing();
}

static void offer_algorithms(struct span list)
{
    struct stun_wr w;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    answer_begin(&w, STUN_ERROR);
    stun_put_error(&w, 401, NULL);
    stun_put_bytes(&w, AT_REALM, span_str(REALM));
    stun_put_bytes(&w, AT_NONCE, span_str(NONCE_ALGORITHMS));
    stun_put_bytes(&w, AT_PASSWORD_ALGORITHMS, list);
    answer_end(&w, false);
}

static void unknown_algorithms_only(void **state)
{
    (void)state;
    static const uint8_t unknown[] = {0, 9, 0, 2, 1, 2, 0, 0};
    offer_algorithms(span_of(unknown, sizeof unknown));
    expect_failure(STUN_ALLOCATE, TURNC_NO_ALGORITHM, 401);
}

/* Parameters that claim to be longer than the attribute end the list; they do not stop us. */
static void broken_list_of_algorithms(void **state)
{
    (void)state;
    static const uint8_t broken[] = {0, 9, 0xff, 0xff, 0, 2, 0, 0};
    offer_algorithms(span_of(broken, sizeof broken));
    expect_failure(STUN_ALLOCATE, TURNC_NO_ALGORITHM, 401);
}

static void wrong_password(void **state)
{
    (void)state;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, "another-nonce", false);
    expect_failure(STUN_ALLOCATE, TURNC_REFUSED, 401);
    expect_nothing();
}

static void without_user(void **state)
{
    (void)state;
    turnc_fini(&c);
    start(false, "", "");
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_failure(STUN_ALLOCATE, TURNC_REFUSED, 401);
    assert_true(c.auth.is_challenged);
    assert_memory_equal(c.auth.realm, REALM, c.auth.realm_n);
    expect_nothing();
}

static void stale_nonce(void **state)
{
    (void)state;
    struct span nonce;
    allocate();
    assert_int_equal(turnc_permit(&c, &peer, now_ms), 0);
    expect_request(STUN_CREATE_PERMISSION, TURNC_CONTROL);
    challenge(438, "fresh-nonce", false);
    expect_request(STUN_CREATE_PERMISSION, TURNC_CONTROL);
    expect_signed();
    assert_int_equal(stun_get_bytes(&request, AT_NONCE, &nonce), 0);
    assert_true(span_is_equal(nonce, span_str("fresh-nonce")));
    succeed();
    expect_result(TURNC_DONE, STUN_CREATE_PERMISSION);
}

/* A server that finds every nonce stale does not keep us busy for ever. */
static void always_stale(void **state)
{
    (void)state;
    allocate();
    assert_int_equal(turnc_permit(&c, &peer, now_ms), 0);
    for (int i = 0; i < 4; i++) {
        expect_request(STUN_CREATE_PERMISSION, TURNC_CONTROL);
        challenge(438, "fresh-nonce", false);
    }
    expect_failure(STUN_CREATE_PERMISSION, TURNC_REFUSED, 438);
    expect_nothing();
}

/* RFC 8489 s.9.2.5: over UDP a forged answer is as if it had not come. */
static void forged_answer_is_ignored(void **state)
{
    (void)state;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    grant_allocation(600, false);
    expect_nothing();
    refuse(508, false);
    expect_nothing();
    assert_false(c.is_allocated);
    grant_allocation(600, true);
    expect_result(TURNC_DONE, STUN_ALLOCATE);
}

static void only_forged_answers(void **state)
{
    (void)state;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    refuse(508, false);
    for (int i = 0; i < 6; i++) {
        sleep_until(turnc_deadline(&c));
        expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    }
    sleep_until(turnc_deadline(&c));
    expect_failure(STUN_ALLOCATE, TURNC_UNVERIFIED, 508);
}

static void forged_answer_on_stream(void **state)
{
    (void)state;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    grant_allocation(600, false);
    expect_failure(STUN_ALLOCATE, TURNC_UNVERIFIED, 0);
    assert_false(c.is_allocated);
}

static void too_long_credentials(void **state)
{
    (void)state;
    char longest[600];
    memset(longest, 'x', sizeof longest);
    struct turnc_config config = {.rules = &TURNC_RFC, .user = span_of(longest, 514)};
    struct turnc t;
    assert_int_equal(turnc_init(&t, &config), ERR_FULL);
    turnc_fini(&t);
}

/* ---- transactions ---- */

static void silence(void **state)
{
    (void)state;
    uint8_t first[64];
    uint64_t start_ms = now_ms;
    assert_int_equal(turnc_binding(&c, now_ms), 0);
    expect_request(STUN_BINDING, TURNC_CONTROL);
    size_t n = request.raw.n;
    memcpy(first, request.raw.p, n);
    for (int i = 0; i < 6; i++) {
        sleep_until(turnc_deadline(&c));
        expect_request(STUN_BINDING, TURNC_CONTROL);
        assert_int_equal(request.raw.n, n);
        assert_memory_equal(first, request.raw.p, n); /* the same bytes: a retransmission */
    }
    sleep_until(turnc_deadline(&c));
    expect_failure(STUN_BINDING, TURNC_SILENT, 0);
    assert_int_equal(now_ms - start_ms, 39500);
    assert_int_equal(turnc_deadline(&c), HEAP_NEVER);
}

static void unknown_attribute_in_answer(void **state)
{
    (void)state;
    static const uint8_t unknown[] = {0x7f, 0x01, 0, 0};
    struct stun_wr w;
    assert_int_equal(turnc_binding(&c, now_ms), 0);
    expect_request(STUN_BINDING, TURNC_CONTROL);
    answer_begin(&w, STUN_SUCCESS);
    stun_put_addr(&w, AT_XOR_MAPPED_ADDRESS, &mapped);
    wr_bytes(&w.w, span_of(unknown, sizeof unknown));
    answer_end(&w, false);
    expect_failure(STUN_BINDING, TURNC_MALFORMED, 0);
}

static void incomplete_answer(void **state)
{
    (void)state;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    succeed();
    expect_failure(STUN_ALLOCATE, TURNC_MALFORMED, 0);
    assert_false(c.is_allocated);
}

static void other_server(void **state)
{
    (void)state;
    struct stun_wr w;
    ask_allocation();
    expect_request(STUN_ALLOCATE, TURNC_CONTROL);
    answer_begin(&w, STUN_ERROR);
    stun_put_error(&w, 300, NULL);
    stun_put_addr(&w, AT_ALTERNATE_SERVER, &other_peer);
    answer_end(&w, false);
    expect_failure(STUN_ALLOCATE, TURNC_REFUSED, 300);
    assert_true(addr_is_equal(&act.peer, &other_peer));
}

static void garbage_is_ignored(void **state)
{
    (void)state;
    static const uint8_t garbage[] = "\x01\x01 no STUN, but it begins like it";
    static const uint8_t channel[] = {0x40, 0x00, 0xff, 0xff, 1};
    allocate();
    feed(TURNC_CONTROL, span_of(garbage, sizeof garbage));
    feed(TURNC_CONTROL, span_of(channel, sizeof channel));
    feed(TURNC_CONTROL, span_of(garbage, 0));
    expect_nothing();
}

static void garbage_on_stream(void **state)
{
    (void)state;
    static const uint8_t garbage[32] = {0xff, 0xff};
    assert_int_equal(turnc_receive(&c, TURNC_CONTROL, span_of(garbage, sizeof garbage), now_ms), ERR_BAD);
    expect_nothing();
}

/* A message in pieces is taken when it is whole, and only it. */
static void pieces_on_stream(void **state)
{
    (void)state;
    struct stun_wr w;
    assert_int_equal(turnc_binding(&c, now_ms), 0);
    expect_request(STUN_BINDING, TURNC_CONTROL);
    answer_begin(&w, STUN_SUCCESS);
    stun_put_addr(&w, AT_XOR_MAPPED_ADDRESS, &mapped);
    size_t n = stun_end(&w).n;
    memset(answer_bytes + n, 0xee, 5);
    for (size_t part = 0; part < n; part++)
        assert_int_equal(turnc_receive(&c, TURNC_CONTROL, span_of(answer_bytes, part), now_ms), 0);
    assert_int_equal(turnc_receive(&c, TURNC_CONTROL, span_of(answer_bytes, n + 5), now_ms), n);
    expect_result(TURNC_DONE, STUN_BINDING);
}

/* ---- keeping alive ---- */

static void allocation_is_refreshed(void **state)
{
    (void)state;
    uint32_t lifetime_s;
    allocate();
    assert_int_equal(turnc_deadline(&c), now_ms + 540000);
    sleep_until(now_ms + 539999);
    expect_nothing();
    sleep_until(now_ms + 1);
    expect_request(STUN_REFRESH, TURNC_CONTROL);
    expect_signed();
    assert_int_equal(stun_get_u32(&request, AT_LIFETIME, &lifetime_s), 0);
    assert_int_equal(lifetime_s, 600);
    grant_refresh(100);
    expect_nothing();
    assert_int_equal(turnc_deadline(&c), now_ms + 50000);
}

static void refresh_is_refused(void **state)
{
    (void)state;
    allocate();
    permit();
    sleep_until(now_ms + 240000);
    expect_request(STUN_CREATE_PERMISSION, TURNC_CONTROL);
    refuse(437, true);
    expect_failure(STUN_CREATE_PERMISSION, TURNC_REFUSED, 437);
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_LOST);
    assert_false(c.is_allocated);
    assert_int_equal(turnc_deadline(&c), HEAP_NEVER);
    expect_nothing();
}

static void permission_is_renewed(void **state)
{
    (void)state;
    struct addr asked;
    allocate();
    permit();
    assert_int_equal(turnc_deadline(&c), now_ms + 240000);
    for (int i = 0; i < 2; i++) {
        sleep_until(now_ms + 240000);
        expect_request(STUN_CREATE_PERMISSION, TURNC_CONTROL);
        assert_int_equal(stun_get_addr(&request, AT_XOR_PEER_ADDRESS, &asked), 0);
        assert_true(addr_is_equal(&asked, &peer));
        succeed();
        expect_nothing();
    }
}

static void channel_is_renewed(void **state)
{
    (void)state;
    uint16_t number;
    allocate();
    assert_int_equal(turnc_channel(&c, &peer, now_ms), 0);
    expect_request(STUN_CHANNEL_BIND, TURNC_CONTROL);
    succeed();
    expect_result(TURNC_DONE, STUN_CHANNEL_BIND);
    assert_int_equal(act.channel, 0x4000);
    sleep_until(now_ms + 240000);
    expect_request(STUN_CHANNEL_BIND, TURNC_CONTROL);
    assert_int_equal(stun_get_u16(&request, AT_CHANNEL_NUMBER, &number), 0);
    assert_int_equal(number, 0x4000);
    refuse(403, true);
    expect_failure(STUN_CHANNEL_BIND, TURNC_REFUSED, 403);
    assert_true(c.is_allocated);
}

static void given_back(void **state)
{
    (void)state;
    uint32_t lifetime_s;
    allocate();
    permit();
    assert_int_equal(turnc_refresh(&c, 0, now_ms), 0);
    expect_request(STUN_REFRESH, TURNC_CONTROL);
    assert_int_equal(stun_get_u32(&request, AT_LIFETIME, &lifetime_s), 0);
    assert_int_equal(lifetime_s, 0);
    grant_refresh(0);
    expect_result(TURNC_DONE, STUN_REFRESH);
    assert_false(c.is_allocated);
    assert_int_equal(turnc_deadline(&c), HEAP_NEVER);
    expect_nothing();
}

static void needs_an_allocation(void **state)
{
    (void)state;
    assert_int_equal(turnc_permit(&c, &peer, now_ms), ERR_DENIED);
    assert_int_equal(turnc_channel(&c, &peer, now_ms), ERR_DENIED);
    assert_int_equal(turnc_connect(&c, &peer, now_ms), ERR_DENIED);
    assert_int_equal(turnc_refresh(&c, 0, now_ms), ERR_DENIED);
    allocate();
    struct turnc_want want = {.transport = TURNC_UDP};
    assert_int_equal(turnc_allocate(&c, &want, now_ms), ERR_DENIED);
}

/* ---- data ---- */

static void data_from_peers(void **state)
{
    (void)state;
    allocate();
    indicate(STUN_DATA, &peer, 0, "too early");
    expect_nothing();
    permit();
    indicate(STUN_DATA, &peer, 0, "hello");
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_DATA);
    assert_true(span_is_equal(act.bytes, span_str("hello")));
    assert_true(addr_is_equal(&act.peer, &peer));
    assert_int_equal(act.channel, 0);
    indicate(STUN_DATA, &other_peer, 0, "uninvited");
    expect_nothing();
}

static void icmp_from_the_relay(void **state)
{
    (void)state;
    struct stun_wr w;
    uint8_t tid[STUN_TID];
    struct stun_icmp icmp = {3, 4, 1400};
    allocate();
    permit();
    stun_new_tid(&STUN_RFC, tid);
    stun_begin(&w, &STUN_RFC, answer_bytes, sizeof answer_bytes, STUN_DATA, STUN_INDICATION, tid);
    stun_put_addr(&w, AT_XOR_PEER_ADDRESS, &peer);
    stun_put_icmp(&w, &icmp);
    feed(TURNC_CONTROL, stun_end(&w));
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_ICMP);
    assert_int_equal(act.icmp.data, 1400);
}

static void send_indication(void **state)
{
    (void)state;
    uint8_t buf[200];
    struct wr w = wr_of(buf, sizeof buf);
    struct stun_msg m;
    struct span data;
    allocate();
    permit();
    assert_int_equal(turnc_send(&c, &peer, span_str("hello"), &w), 0);
    assert_int_equal(stun_parse(&STUN_RFC, wr_span(&w), &m), 0);
    assert_int_equal(m.method, STUN_SEND);
    assert_int_equal(m.cls, STUN_INDICATION);
    assert_int_equal(stun_get_bytes(&m, AT_DATA, &data), 0);
    assert_true(span_is_equal(data, span_str("hello")));
    struct wr small = wr_of(buf, 30);
    assert_int_equal(turnc_send(&c, &peer, span_str("hello"), &small), ERR_FULL);
}

static void channel_both_ways(bool is_stream)
{
    static const uint8_t from_peer[] = {0x40, 0x00, 0, 5, 'w', 'o', 'r', 'l', 'd', 0, 0, 0};
    uint8_t buf[64];
    struct wr w = wr_of(buf, sizeof buf);
    allocate();
    assert_int_equal(turnc_channel(&c, &peer, now_ms), 0);
    expect_request(STUN_CHANNEL_BIND, TURNC_CONTROL);
    succeed();
    expect_result(TURNC_DONE, STUN_CHANNEL_BIND);
    assert_int_equal(turnc_send(&c, &peer, span_str("hello"), &w), 0);
    assert_int_equal(wr_len(&w), is_stream ? 12 : 9);
    assert_memory_equal(buf, "\x40\x00\x00\x05hello", 9);
    feed(TURNC_CONTROL, span_of(from_peer, is_stream ? 12 : 9));
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_DATA);
    assert_int_equal(act.channel, 0x4000);
    assert_true(addr_is_equal(&act.peer, &peer));
    assert_true(span_is_equal(act.bytes, span_str("world")));
}

static void channel_data(void **state)
{
    (void)state;
    channel_both_ways(false);
}

static void channel_data_on_stream(void **state)
{
    (void)state;
    channel_both_ways(true);
}

/* ---- RFC 6062 ---- */

static void connect_and_bind(void **state)
{
    (void)state;
    uint32_t id;
    allocate();
    assert_int_equal(turnc_connect(&c, &peer, now_ms), 0);
    expect_request(STUN_CONNECT, TURNC_CONTROL);
    grant_connection(0xabcd);
    expect_result(TURNC_DONE, STUN_CONNECT);
    assert_int_equal(act.connection, 0xabcd);
    assert_int_equal(turnc_bind(&c, act.connection, 7, now_ms), 0);
    expect_request(STUN_CONNECTION_BIND, 7);
    expect_signed();
    assert_int_equal(stun_get_u32(&request, AT_CONNECTION_ID, &id), 0);
    assert_int_equal(id, 0xabcd);
    challenge(438, "fresh-nonce", false);
    expect_request(STUN_CONNECTION_BIND, 7);
    succeed();
    expect_result(TURNC_DONE, STUN_CONNECTION_BIND);
    assert_int_equal(act.via, 7);
    assert_int_equal(act.connection, 0xabcd);
}

/* The peer's bytes behind the answer to the bind are not touched. */
static void bytes_behind_the_bind(void **state)
{
    (void)state;
    struct stun_wr w;
    allocate();
    assert_int_equal(turnc_bind(&c, 5, 1, now_ms), 0);
    expect_request(STUN_CONNECTION_BIND, 1);
    answer_begin(&w, STUN_SUCCESS);
    stun_put_integrity(&w, rule, &key, false);
    size_t n = stun_end(&w).n;
    memcpy(answer_bytes + n, "RDP!", 4);
    assert_int_equal(turnc_receive(&c, 1, span_of(answer_bytes, n + 4), now_ms), n);
    expect_result(TURNC_DONE, STUN_CONNECTION_BIND);
}

/* The answer must come on the connection that is being bound. */
static void bind_answered_elsewhere(void **state)
{
    (void)state;
    allocate();
    assert_int_equal(turnc_bind(&c, 5, 1, now_ms), 0);
    expect_request(STUN_CONNECTION_BIND, 1);
    act.via = TURNC_CONTROL;
    succeed();
    expect_nothing();
}

static void peer_connects(void **state)
{
    (void)state;
    allocate();
    indicate(STUN_CONNECTION_ATTEMPT, &peer, 77, NULL);
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_ATTEMPT);
    assert_int_equal(act.connection, 77);
    assert_true(addr_is_equal(&act.peer, &peer));
    indicate(STUN_CONNECTION_ATTEMPT, &peer, 0, NULL);
    expect_nothing();
}

/* Binding with nothing but credentials: the challenge comes on the data connection. */
static void bind_as_stranger(void **state)
{
    (void)state;
    assert_int_equal(turnc_bind(&c, 5, 1, now_ms), 0);
    expect_request(STUN_CONNECTION_BIND, 1);
    assert_false(stun_has(&request, AT_MESSAGE_INTEGRITY));
    challenge(401, PLAIN_NONCE, false);
    expect_request(STUN_CONNECTION_BIND, 1);
    expect_signed();
    refuse(400, true);
    expect_failure(STUN_CONNECTION_BIND, TURNC_REFUSED, 400);
    assert_int_equal(act.via, 1);
}

static void connection_closes(void **state)
{
    (void)state;
    allocate();
    assert_int_equal(turnc_bind(&c, 5, 1, now_ms), 0);
    expect_request(STUN_CONNECTION_BIND, 1);
    turnc_closed(&c, 1);
    expect_failure(STUN_CONNECTION_BIND, TURNC_SILENT, 0);
    assert_true(c.is_allocated);
    turnc_closed(&c, TURNC_CONTROL);
    assert_true(turnc_next(&c, &act));
    assert_int_equal(act.kind, TURNC_LOST);
    expect_nothing();
}

#define UDP(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TCP(f) cmocka_unit_test_setup_teardown(f, setup_stream, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UDP(classic_challenge),
        UDP(sha256_is_chosen),
        UDP(user_name_is_hidden),
        UDP(bid_down_is_noticed),
        UDP(unknown_algorithms_only),
        UDP(broken_list_of_algorithms),
        UDP(wrong_password),
        UDP(without_user),
        UDP(stale_nonce),
        UDP(always_stale),
        UDP(forged_answer_is_ignored),
        UDP(only_forged_answers),
        TCP(forged_answer_on_stream),
        UDP(too_long_credentials),
        UDP(silence),
        UDP(unknown_attribute_in_answer),
        UDP(incomplete_answer),
        UDP(other_server),
        UDP(garbage_is_ignored),
        TCP(garbage_on_stream),
        TCP(pieces_on_stream),
        UDP(allocation_is_refreshed),
        UDP(refresh_is_refused),
        UDP(permission_is_renewed),
        UDP(channel_is_renewed),
        UDP(given_back),
        UDP(needs_an_allocation),
        UDP(data_from_peers),
        UDP(icmp_from_the_relay),
        UDP(send_indication),
        UDP(channel_data),
        TCP(channel_data_on_stream),
        TCP(connect_and_bind),
        TCP(bytes_behind_the_bind),
        TCP(bind_answered_elsewhere),
        TCP(peer_connects),
        TCP(bind_as_stranger),
        TCP(connection_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
