#include "app/mras_answer.h"

#include "fixture.h"

static struct mras_desk desk;
static struct mras_keys keys;
static struct config_mras config;
static char answer[200000];
static bool is_lost;
static struct ev events[200];
static size_t events_n;

static void on_event(void *context, struct ev *e)
{
    (void)context;
    if (events_n < sizeof events / sizeof events[0])
        events[events_n++] = *e;
}

static int open_desk(void **state)
{
    (void)state;
    keys.n = 0;
    config = (struct config_mras){.lifetime_s = 3600,
                                  .relays = {{.host = "av", .locations = MRAS_INTERNET, .udp_port = 1, .tcp_port = 2}},
                                  .relays_n = 1};
    events_n = 0;
    if (mras_desk_init(&desk) || mras_keys_add(&keys, span_str("secret")))
        return -1;
    desk.config = &config;
    desk.keys = &keys;
    desk.log = on_event;
    return 0;
}

static int close_desk(void **state)
{
    (void)state;
    mras_desk_fini(&desk);
    return 0;
}

static struct mras_caller caller = {.transport = "sip/tcp", .wall_s = 1700000000};

static const char *keep(struct span s)
{
    assert_true(s.n < sizeof answer);
    if (s.n)
        memcpy(answer, s.p, s.n);
    answer[s.n] = 0;
    return answer;
}

static const char *ask(const char *message)
{
    caller.from = addr_v4(0xc0000201, 5060);
    return keep(mras_answer(&desk, span_str(message), &caller, &is_lost));
}

#define BODY                                                                                                         \
    "<request requestID=\"1\" from=\"f\" version=\"2.0\" to=\"t\" xmlns=\"http://schemas.microsoft.com/2006/09/sip/" \
    "mrasp\"><credentialsRequest credentialsRequestID=\"2\"><identity>alice</identity></credentialsRequest></request>"

/* A request on a branch of its own. */
static const char *request(const char *method, const char *lines, const char *body)
{
    static char text[100000];
    static int branch;
    snprintf(text, sizeof text,
             "%s sip:m@b SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK%d\r\nFrom: <sip:a@b>;tag=1\r\n"
             "To: <sip:m@b>\r\nCall-ID: c\r\nCSeq: 1 %s\r\n%sContent-Length: %zu\r\n\r\n%s",
             method, branch++, method, lines, strlen(body), body);
    return text;
}

#define TYPE "Content-Type: " MRAS_CONTENT_TYPE "\r\n"

static void starts_with(const char *text, const char *head)
{
    if (strncmp(text, head, strlen(head)) != 0)
        fail_msg("wanted %s, got %s", head, text);
}

static void credentials_are_given(void **state)
{
    starts_with(ask(request("SERVICE", TYPE, BODY)), "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=");
    assert_false(is_lost);
    char user[200], password[200];
    const char *at = strstr(answer, "<username>");
    assert_int_equal(sscanf(at, "<username>%199[^<]</username><password>%199[^<]<", user, password), 2);
    assert_non_null(strstr(answer, "<duration>60</duration>"));
    uint8_t name[100], secret[100];
    struct mras_ticket t;
    int n = text_unbase64(span_str(user), name, sizeof name);
    assert_int_equal(mras_password(&keys, span_of(name, (size_t)n), &t), 0);
    assert_int_equal(t.expires_s, 1700000000 + 3600);
    assert_int_equal(text_unbase64(span_str(password), secret, sizeof secret), MRAS_PASSWORD_SIZE);
    assert_memory_equal(secret, t.password, MRAS_PASSWORD_SIZE);
    assert_int_equal(events_n, 1);
    assert_int_equal(events[0].kind, EV_MRAS_ISSUED);
    const struct ev_value *account = ev_find(&events[0], EVF_ACCOUNT);
    assert_memory_equal(ev_text_of(&events[0], account).p, t.client, MRAS_CLIENT_SIZE);
    assert_int_equal(sipt_count(desk.sipt), 0);
}

static void the_busy_are_put_off(void **state)
{
    caller.is_busy = true;
    starts_with(ask(request("SERVICE", TYPE, BODY)), "SIP/2.0 503 Too Many Requests\r\n");
    assert_non_null(strstr(answer, "\r\nRetry-After: 1\r\n"));
    caller.is_busy = false;
    assert_int_equal(events[0].kind, EV_MESSAGE_REFUSED);
}

/* RFC 3261 s.8.2: method before URI before extensions before content. */
static void the_order_of_refusals(void **state)
{
    char text[2000];
    starts_with(ask(request("INVITE", "Require: x\r\n", "")), "SIP/2.0 405 ");
    starts_with(ask(request("SERVICE", "Require: x, y\r\n", "")), "SIP/2.0 420 ");
    assert_non_null(strstr(answer, "\r\nUnsupported: x, y\r\n"));
    starts_with(ask(request("SERVICE", "Require: x,\r\n y\r\n", "")), "SIP/2.0 420 ");
    assert_null(strstr(answer, "Unsupported"));
    starts_with(ask(request("SERVICE", "", "")), "SIP/2.0 415 ");
    strcpy(text, request("SERVICE", TYPE, BODY));
    memcpy(strstr(text, "sip:m@b"), "tel:123", 7);
    starts_with(ask(text), "SIP/2.0 416 ");
    starts_with(ask(request("SERVICE", TYPE "Content-Encoding: gzip\r\n", BODY)), "SIP/2.0 415 ");
    assert_non_null(strstr(answer, "\r\nAccept-Encoding: identity\r\n"));
    starts_with(ask(request("SERVICE", TYPE, "<x/>")), "SIP/2.0 400 The body is no MRAS request\r\n");
    for (size_t i = 0; i < events_n; i++)
        assert_int_equal(events[i].kind, EV_MESSAGE_REFUSED);
    assert_int_equal(events_n, 7);
    assert_int_equal(sipt_count(desk.sipt), 0);
}

static void what_is_not_answered(void **state)
{
    assert_string_equal(ask(request("ACK", "", "")), "");
    assert_false(is_lost);
    assert_string_equal(ask(request("BENOTIFY", "", "")), "");
    assert_false(is_lost);
    assert_string_equal(ask("SIP/2.0 200 OK\r\nl: 0\r\n\r\n"), "");
    assert_false(is_lost);
    assert_string_equal(ask("ACK sip:a SIP/2.0\r\nl: 0\r\n\r\n"), ""); /* malformed, and yet */
    assert_false(is_lost);
    assert_string_equal(ask("GET / HTTP/1.1\r\n\r\n"), "");
    assert_true(is_lost);
    assert_int_equal(sipt_count(desk.sipt), 0);
    assert_int_equal(events_n, 0);
}

static void faults_of_the_stream(void **state)
{
    const char *text = "SERVICE sip:m@b SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nTo: <sip:m@b>\r\n\r\n";
    caller.from = addr_v4(0xc0000201, 5060);
    starts_with(keep(mras_answer_fault(&desk, span_str(text), 413, "the body is too long", &caller)),
                "SIP/2.0 413 the body is too long\r\nVia: SIP/2.0/TCP a;received=192.0.2.1\r\nTo: <sip:m@b>;tag=");
    assert_string_equal(keep(mras_answer_fault(&desk, span_str("ACK sip:m@b SIP/2.0\r\n\r\n"), 400, "x", &caller)), "");
    assert_string_equal(keep(mras_answer_fault(&desk, span_str("hello\r\n\r\n"), 400, "x", &caller)), "");
}

static void without_a_secret_the_reason_is_told(void **state)
{
    keys.n = 0;
    starts_with(ask(request("SERVICE", TYPE, BODY)), "SIP/2.0 200 OK\r\n");
    assert_non_null(strstr(answer, "reasonPhrase=\"Internal Server Error\"></response>"));
    assert_int_equal(events[0].kind, EV_MESSAGE_REFUSED);
}

/* The longest answer there can be: a hundred ids of 64 long characters, eight relays at both locations with long names.
 */
static void the_longest_answer_fits(void **state)
{
    static char body[65000];
    char id[400] = "", host[254];
    memset(host, 'h', sizeof host - 1);
    host[253] = 0;
    for (int i = 0; i < 64; i++)
        strcat(id, "&#34;");
    for (config.relays_n = 0; config.relays_n < MRAS_RELAYS_MAX; config.relays_n++)
        config.relays[config.relays_n] = (struct mras_relay){
            .host = host, .locations = MRAS_INTERNET | MRAS_INTRANET, .udp_port = 65535, .tcp_port = 65535};
    strcpy(body, "<request requestID=\"1\" from=\"f\" version=\"2.0\" to=\"t\" "
                 "xmlns=\"http://schemas.microsoft.com/2006/09/sip/mrasp\">");
    char *p = body + strlen(body);
    for (int i = 0; i < MRAS_ASKS_MAX; i++)
        p += sprintf(p, "<credentialsRequest credentialsRequestID=\"%s\"><identity>a</identity></credentialsRequest>",
                     id);
    strcpy(p, "</request>");
    caller.from = addr_v4(0xc0000201, 5060);
    struct span s = mras_answer(&desk, span_str(request("SERVICE", TYPE, body)), &caller, &is_lost);
    assert_true(s.n > 600000 && s.n < MRAS_MESSAGE_MAX);
    assert_non_null(memmem(s.p, s.n, "reasonPhrase=\"OK\"", 17));
    assert_int_equal(events_n, MRAS_ASKS_MAX);
}

#define at_desk(f) cmocka_unit_test_setup_teardown(f, open_desk, close_desk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        at_desk(credentials_are_given),   at_desk(the_busy_are_put_off), at_desk(the_order_of_refusals),
        at_desk(what_is_not_answered),    at_desk(faults_of_the_stream), at_desk(without_a_secret_the_reason_is_told),
        at_desk(the_longest_answer_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
