/* The torture messages of RFC 4475, which are not kept with the source: read from $CAUSEWAY_TEST_DATA/rfc4475, or from
 * ../shared/rfc4475 beside the source tree. Without them the test is skipped. */
#include "wire/sip.h"

#include "fixture.h"

static uint8_t bytes[4096];
static struct sip_msg m;
static const char *why;

static struct span torture(const char *name)
{
    char path[4096];
    const char *folder = getenv("CAUSEWAY_TEST_DATA"), *root = getenv("MESON_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s%s/rfc4475/%s.dat",
             folder ? folder
             : root ? root
                    : ".",
             folder ? "" : "/../shared", name);
    FILE *f = fopen(path, "r");
    if (!f)
        return (struct span){0};
    struct span s = span_of(bytes, fread(bytes, 1, sizeof bytes, f));
    fclose(f);
    return s;
}

/* What a server says to each as a datagram: 0 = served, 400 .. = refused, ERR_BAD = not answered. `response`: one of a
 * client's side, which is taken (0) or not (ERR_BAD). */
static const struct {
    const char *name;
    int verdict;
    bool is_response;
    const char *why;
} messages[] = {
    {"badaspec", 0, false, NULL}, /* s.3.1.2.14: spaces in <>; repaired by cutting them off */
    {"baddate", 0, false, NULL},
    {"badinv01", 400, false, "Via is missing or malformed"},
    {"bcast", 0, true, NULL},
    {"bigcode", ERR_BAD, true, NULL},
    {"cparam01", 0, false, NULL},
    {"dblreq", 0, false, NULL},
    {"esc02", 0, false, NULL},
    {"escruri", 400, false, "the Request-URI is malformed"},
    {"intmeth", 0, false, NULL},
    {"invut", 0, false, NULL},
    {"ltgtruri", 400, false, "the Request-URI is malformed"},
    {"lwsruri", 400, false, "white space in the Request-URI"},
    {"mcl01", 400, false, "a header twice that may stand once"},
    {"mismatch02", 400, false, "CSeq is missing, malformed or of another method"},
    {"multi01", 400, false, "a header twice that may stand once"},
    {"noreason", 0, true, NULL},
    {"quotbal", 400, false, "To is missing or malformed"},
    {"regbadct", 0, false, NULL}, /* its Contact is a registrar's business */
    {"scalar02", 400, false, "CSeq is missing, malformed or of another method"},
    {"sdp01", 0, false, NULL},
    {"transports", 0, false, NULL},
    {"unkscm", 0, false, NULL}, /* the scheme is judged by who serves the URI */
    {"unreason", 0, true, NULL},
    {"zeromf", 0, false, NULL},
};

enum { MESSAGES = sizeof messages / sizeof messages[0] };

static void each_is_judged(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        struct span s = odd_copy(torture(messages[i].name));
        int verdict = sip_parse(s, true, &m);
        why = NULL;
        if (verdict == 0 && m.is_request)
            verdict = sip_check(&m, &why);
        if (verdict != messages[i].verdict || (why && strcmp(why, messages[i].why) != 0))
            fail_msg("%s: %d (%s)", messages[i].name, verdict, why);
        assert_true(verdict == ERR_BAD || m.is_request != messages[i].is_response);
    }
}

/* Start line, lines and body are the message, whatever is in it. */
static void each_passes_byte_for_byte(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        struct span s = torture(messages[i].name);
        if (sip_parse(s, true, &m))
            continue;
        static uint8_t out[4096];
        struct wr w = wr_of(out, sizeof out);
        wr_bytes(&w, m.start);
        wr_bytes(&w, span_str("\r\n"));
        for (unsigned k = 0; k < m.lines_n; k++)
            wr_bytes(&w, m.lines[k].raw);
        wr_bytes(&w, span_str("\r\n"));
        assert_span_equal(wr_span(&w), m.head);
        assert_ptr_equal(m.head.p + m.head.n, m.body.p);
    }
}

static int next(struct span *s, struct sip_frame *f)
{
    int err = sip_frame_next(*s, 4096, 4096, f);
    if (!err)
        *s = span_skip(*s, f->size);
    return err;
}

/* s.3.1.1.10: in a stream there are two requests with a line end between them. */
static void two_requests_in_a_stream(void **state)
{
    struct span s = torture("dblreq");
    struct sip_frame f;
    assert_int_equal(next(&s, &f), 0);
    assert_int_equal(f.kind, SIP_FRAME_MESSAGE);
    assert_int_equal(next(&s, &f), 0);
    assert_int_equal(f.kind, SIP_FRAME_CRLF);
    struct span second = s;
    assert_int_equal(next(&s, &f), 0);
    assert_int_equal(sip_parse(span_take(second, f.size), false, &m), 0);
    assert_int_equal(m.method, SIP_INVITE);
    assert_int_equal(sip_check(&m, &why), 0);
    assert_int_equal(m.body.n, 150);
    s = torture("mcl01");
    assert_int_equal(next(&s, &f), ERR_BAD);
    assert_string_equal(f.fault, "Content-Length stands twice");
}

static void details(void **state)
{
    struct span s = torture("intmeth"), value;
    struct sip_name name;
    struct uri u;
    assert_int_equal(sip_parse(s, true, &m), 0);
    assert_text(m.method_name, "!interesting-Method0123456789_*+`.%indeed'~");
    assert_int_equal(sip_name_parse(sip_value(&m, SIP_TO), &name), 0);
    assert_int_equal(uri_parse(name.uri, &u), 0);
    assert_text(u.host, "example.com");
    assert_int_equal(sip_name_parse(sip_value(&m, SIP_FROM), &name), 0);
    assert_true(sip_param(name.params, "tag", &value));
    assert_text(value, "_token~1'+`*%!-.");
    assert_int_equal(sip_parse(torture("esc02"), true, &m), 0);
    assert_int_equal(m.method, SIP_METHOD_OTHER); /* no escapes in methods: not REGISTER */
    int contacts = 0;
    for (const struct sip_line *l = NULL; (l = sip_find(&m, SIP_CONTACT, l));)
        contacts++;
    assert_int_equal(contacts, 2);
    assert_int_equal(sip_parse(torture("noreason"), true, &m), 0);
    assert_true(m.status == 100 && m.reason.n == 0);
    assert_int_equal(sip_parse(torture("unkscm"), true, &m), 0);
    assert_true(uri_parse(m.uri, &u) == 0 && !u.is_sip && !u.is_sips);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_judged),
        cmocka_unit_test(each_passes_byte_for_byte),
        cmocka_unit_test(two_requests_in_a_stream),
        cmocka_unit_test(details),
    };
    for (size_t i = 0; i < MESSAGES; i++) {
        if (torture(messages[i].name).n == 0) {
            printf("1..0 # SKIP %s.dat is not at hand: set CAUSEWAY_TEST_DATA\n", messages[i].name);
            return 0;
        }
    }
    return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
