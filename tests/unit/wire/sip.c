#include "wire/sip.h"

#include "fixture.h"

static struct sip_msg m;
static const char *why;

/* What is behind the named line is given with each test; these make a sound request of it. */
#define HEAD                                                       \
    "Via: SIP/2.0/TCP client.example.com:5060;branch=z9hG4bK1\r\n" \
    "From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:mras@example.com>\r\nCall-ID: c1\r\nCSeq: 7 SERVICE\r\n"
#define START          "SERVICE sip:mras@example.com SIP/2.0\r\n"
#define SERVICE(lines) START HEAD lines "\r\n"

static int read_msg(const char *text, bool is_datagram)
{
    memset(&m, 0xa5, sizeof m);
    return sip_parse(odd_copy(span_str(text)), is_datagram, &m);
}

static int check(const char *text)
{
    assert_int_equal(read_msg(text, true), 0);
    return sip_check(&m, &why);
}

/* ---- streams ---- */

static int frame(const char *stream, struct sip_frame *f)
{
    memset(f, 0xa5, sizeof *f);
    return sip_frame_next(odd_copy(span_str(stream)), 2000, 100, f);
}

static void streams_are_cut_by_content_length(void **state)
{
    struct sip_frame f;
    static const char one[] = SERVICE("Content-Length: 5\r\n") "hello";
    char stream[1000];
    assert_int_equal(frame(one, &f), 0);
    assert_int_equal(f.kind, SIP_FRAME_MESSAGE);
    assert_int_equal(f.size, strlen(one));
    snprintf(stream, sizeof stream, "%s%s", one, one);
    assert_int_equal(frame(stream, &f), 0);
    assert_int_equal(f.size, strlen(one));
    for (size_t n = 1; n < strlen(one); n++) {
        memcpy(stream, one, n);
        stream[n] = 0;
        assert_int_equal(frame(stream, &f), ERR_SHORT);
        assert_null(f.fault);
    }
    assert_int_equal(frame(SERVICE("l  :\r\n 5\r\n") "hello", &f), 0);
    assert_int_equal(f.size, strlen(SERVICE("l  :\r\n 5\r\n")) + 5);
    assert_int_equal(frame("", &f), ERR_SHORT);
}

static void line_ends_between_messages(void **state)
{
    struct sip_frame f;
    assert_int_equal(frame("\r\n\r\n", &f), 0);
    assert_int_equal(f.kind, SIP_FRAME_PING);
    assert_int_equal(f.size, 4);
    assert_int_equal(frame("\r\nSERVICE", &f), 0);
    assert_int_equal(f.kind, SIP_FRAME_CRLF);
    assert_int_equal(f.size, 2);
    assert_int_equal(frame("\r\n\rx", &f), 0);
    assert_int_equal(f.kind, SIP_FRAME_CRLF);
    assert_int_equal(frame("\r", &f), ERR_SHORT);
    assert_int_equal(frame("\r\n", &f), ERR_SHORT);
    assert_int_equal(frame("\r\n\r", &f), ERR_SHORT);
    assert_int_equal(frame("\rx", &f), ERR_BAD);
    assert_int_equal(frame("\r\r\n", &f), ERR_BAD);
    assert_int_equal(frame("\nSERVICE", &f), ERR_BAD);
}

static void assert_lost(const char *stream, int err, const char *fault)
{
    struct sip_frame f;
    assert_int_equal(frame(stream, &f), err);
    assert_string_equal(f.fault, fault);
}

static void streams_are_lost(void **state)
{
    struct sip_frame f;
    assert_lost(SERVICE(""), ERR_BAD, "Content-Length is missing");
    assert_lost(SERVICE("Content-Length: 5\r\nl: 5\r\n"), ERR_BAD, "Content-Length stands twice");
    assert_lost(SERVICE("Content-Length: 5\r\nContent-Length: 6\r\n"), ERR_BAD, "Content-Length stands twice");
    static const char *const numbers[] = {"-1", "+5", "5 5", "5,5", "0x5", "", "5a", "18446744073709551616"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char text[600];
        snprintf(text, sizeof text, START HEAD "Content-Length: %s\r\n\r\n", numbers[i]);
        assert_lost(text, ERR_BAD, "Content-Length is no number");
    }
    assert_lost(SERVICE("Content-Length: 101\r\n"), ERR_FULL, "the body is too long");
    assert_lost(SERVICE("Content-Length: 18446744073709551615\r\n"), ERR_FULL, "the body is too long");
    assert_lost("\x16\x03\x01", ERR_BAD, "not SIP");
    char text[2200];
    memset(text, 'A', sizeof text);
    text[1999] = 0;
    assert_int_equal(frame(text, &f), ERR_SHORT);
    text[1999] = 'A';
    text[2000] = 0;
    assert_lost(text, ERR_FULL, "the head is too long");
    /* A bare LF hides nothing: the length behind it is not one. */
    assert_lost(SERVICE("X: a\nContent-Length: 5\r\n"), ERR_BAD, "Content-Length is missing");
}

/* ---- messages ---- */

static void a_request_is_seen_whole(void **state)
{
    static const char text[] = SERVICE("X-Y : \t a\r\n\tb \r\nc: text/xml\r\nContent-Length: 2\r\n") "ab";
    assert_int_equal(read_msg(text, false), 0);
    assert_null(m.fault);
    assert_true(m.is_request);
    assert_int_equal(m.method, SIP_SERVICE);
    assert_text(m.method_name, "SERVICE");
    assert_text(m.uri, "sip:mras@example.com");
    assert_text(m.version, "SIP/2.0");
    assert_text(m.body, "ab");
    assert_int_equal(m.lines_n, 8);
    assert_text(m.lines[5].name, "X-Y");
    assert_text(m.lines[5].value, "a\r\n\tb");
    assert_text(m.lines[5].raw, "X-Y : \t a\r\n\tb \r\n");
    assert_int_equal(m.lines[5].id, SIP_UNKNOWN);
    assert_text(sip_value(&m, SIP_CONTENT_TYPE), "text/xml");
    assert_int_equal(sip_value(&m, SIP_EVENT).n, 0);
    assert_int_equal(sip_check(&m, &why), 0);
    /* start line, lines and the empty line are all of it, byte for byte */
    size_t n = m.start.n + 2 + 2;
    for (unsigned i = 0; i < m.lines_n; i++) {
        assert_ptr_equal(m.lines[i].raw.p, m.raw.p + n - 2);
        n += m.lines[i].raw.n;
    }
    assert_int_equal(n, m.head.n);
}

static void a_response_is_seen_whole(void **state)
{
    assert_int_equal(read_msg("SIP/2.0 486 Busy  Here \r\nl: 0\r\n\r\n", false), 0);
    assert_false(m.is_request);
    assert_int_equal(m.status, 486);
    assert_text(m.reason, "Busy  Here ");
    assert_int_equal(read_msg("SIP/2.0 100\r\nl: 0\r\n\r\n", false), 0);
    assert_int_equal(m.reason.n, 0);
    static const char *const bad[] = {"SIP/2.0 99 x",   "SIP/2.0 700 x",   "SIP/2.0 1000 x", "SIP/2.0 2x0 OK",
                                      "SIP/1.0 200 OK", "SIP/2.0  200 OK", "SIP/2.0"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s\r\nl: 0\r\n\r\n", bad[i]);
        assert_int_equal(read_msg(text, false), ERR_BAD);
    }
}

static void what_is_no_message(void **state)
{
    static const char *const bad[] = {"",
                                      "\r\n\r\n",
                                      "SERVICE sip:a SIP/2.0\r\n",
                                      "SERVICE sip:a SIP/2.0\nl: 0\n\n",
                                      "SERVICE sip:a\r\n\r\n",
                                      "SERVICE  SIP/2.0\r\n\r\n",
                                      " SERVICE sip:a SIP/2.0\r\n\r\n",
                                      "SER(VICE sip:a SIP/2.0\r\n\r\n",
                                      "GET / HTTP/1.1\r\n\r\n",
                                      "SERVICE\r\n\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(read_msg(bad[i], true), ERR_BAD);
}

static void bodies(void **state)
{
    assert_int_equal(read_msg(SERVICE("l: 2\r\n") "abcd", true), 0);
    assert_text(m.body, "ab");
    assert_null(m.fault);
    assert_int_equal(read_msg(SERVICE("") "abcd", true), 0);
    assert_text(m.body, "abcd");
    assert_null(m.fault);
    assert_int_equal(read_msg(SERVICE("") "abcd", false), 0);
    assert_string_equal(m.fault, "Content-Length is missing");
    assert_int_equal(read_msg(SERVICE("l: 5\r\n") "abcd", true), 0);
    assert_string_equal(m.fault, "the body is shorter than Content-Length");
}

static void too_many_lines(void **state)
{
    char text[8000] = START;
    for (int i = 0; i < SIP_LINES_MAX; i++)
        strcat(text, "Route: <sip:a>\r\n");
    strcat(text, "\r\n");
    assert_int_equal(read_msg(text, true), 0);
    assert_int_equal(m.lines_n, SIP_LINES_MAX);
    strcpy(text + strlen(text) - 2, "X: y\r\n\r\n");
    assert_int_equal(read_msg(text, true), ERR_FULL);
}

/* ---- judging ---- */

static void assert_refused(const char *text, int status, const char *reason)
{
    assert_int_equal(check(text), status);
    assert_string_equal(why, reason);
}

#define WITHOUT(line) START line "\r\n"
#define VIA           "v: SIP/2.0/TCP a;branch=z9hG4bK1\r\n"
#define FROM          "f: <sip:a@b>;tag=1\r\n"
#define TO            "t: <sip:a@b>\r\n"
#define CALL          "i: c\r\n"
#define CSEQ          "CSeq: 1 SERVICE\r\n"

static void requests_are_judged(void **state)
{
    assert_int_equal(check(WITHOUT(VIA FROM TO CALL CSEQ)), 0);
    assert_refused(WITHOUT(FROM TO CALL CSEQ), 400, "Via is missing or malformed");
    assert_refused(WITHOUT(VIA "Via: \r\nVia: SIP/2.0/TCP\r\n" FROM TO CALL CSEQ), 400, "Via is missing or malformed");
    assert_refused(WITHOUT(VIA TO CALL CSEQ), 400, "From is missing or malformed");
    assert_refused(WITHOUT(VIA FROM CALL CSEQ), 400, "To is missing or malformed");
    assert_refused(WITHOUT(VIA FROM TO CSEQ), 400, "Call-ID is missing");
    assert_refused(WITHOUT(VIA FROM TO "i: \r\n" CSEQ), 400, "Call-ID is missing");
    const char *cseq = "CSeq is missing, malformed or of another method";
    assert_refused(WITHOUT(VIA FROM TO CALL), 400, cseq);
    assert_refused(WITHOUT(VIA FROM TO CALL "CSeq: 1 INVITE\r\n"), 400, cseq);
    assert_refused(WITHOUT(VIA FROM TO CALL "CSeq: 1 service\r\n"), 400, cseq);
    assert_refused(WITHOUT(VIA FROM TO CALL "CSeq: 2147483648 SERVICE\r\n"), 400, cseq);
    assert_refused(WITHOUT(VIA FROM TO CALL "CSeq: 1\r\n"), 400, cseq);
    assert_refused(WITHOUT(VIA FROM TO CALL "CSeq: 1 SERVICE x\r\n"), 400, cseq);
    assert_int_equal(check(WITHOUT(VIA FROM TO CALL "CSeq: 2147483647\r\n \tSERVICE\r\n")), 0);
    assert_refused(WITHOUT(VIA FROM TO CALL CSEQ "Max-Forwards: 256\r\n"), 400, "Max-Forwards is no number up to 255");
    assert_refused(WITHOUT(VIA FROM FROM TO CALL CSEQ), 400, "a header twice that may stand once");
    assert_refused(WITHOUT(VIA FROM TO CALL CSEQ "no colon\r\n"), 400, "a header line without a name");
    assert_refused(WITHOUT(VIA FROM TO CALL CSEQ "a b: c\r\n"), 400, "a header line without a name");
    assert_refused(START " folded: at once\r\n" VIA FROM TO CALL CSEQ "\r\n", 400, "a header line without a name");
    assert_refused(WITHOUT(VIA FROM TO CALL CSEQ "X: a\nY: b\r\n"), 400, "a bare CR or LF in the head");
    assert_refused(WITHOUT(VIA FROM TO CALL CSEQ "X: a\rY: b\r\n"), 400, "a bare CR or LF in the head");
    assert_refused("SERVICE sip:a b SIP/2.0\r\n" VIA FROM TO CALL CSEQ "\r\n", 400, "white space in the Request-URI");
    assert_refused("SERVICE sip:a?b=c SIP/2.0\r\n" VIA FROM TO CALL CSEQ "\r\n", 400, "the Request-URI is malformed");
    assert_refused("SERVICE sip:a SIP/7.0\r\n" VIA FROM TO CALL CSEQ "\r\n", 505, "Version Not Supported");
    assert_int_equal(check("SERVICE sip:a sip/2.0\r\n" VIA FROM TO CALL CSEQ "\r\n"), 0);
}

/* ---- values ---- */

static void lists_are_cut(void **state)
{
    struct span rest = span_str(" a, \"b,\\\"c\" <sip:d,e> ;f=\"g,h\" ,, <i,j>\r\n ,k"), one;
    static const char *const want[] = {"a", "\"b,\\\"c\" <sip:d,e> ;f=\"g,h\"", "<i,j>", "k"};
    for (int i = 0; i < 4; i++) {
        assert_true(sip_list_next(&rest, &one));
        assert_text(one, want[i]);
    }
    assert_false(sip_list_next(&rest, &one));
    rest = span_str("\"open, b"); /* a quote that does not end: one element, for the judge to refuse */
    assert_true(sip_list_next(&rest, &one));
    assert_text(one, "\"open, b");
    assert_false(sip_list_next(&rest, &one));
}

static void names_are_read(void **state)
{
    struct sip_name n;
    struct span value;
    assert_int_equal(sip_name_parse(span_str("\"A, \\\"<B>\\\"\"  <sip:a@b;lr?c=d> ; tag = x ;y"), &n), 0);
    assert_text(n.display, "\"A, \\\"<B>\\\"\"");
    assert_text(n.uri, "sip:a@b;lr?c=d");
    assert_true(sip_param(n.params, "TAG", &value));
    assert_text(value, "x");
    assert_true(sip_param(n.params, "y", &value));
    assert_int_equal(value.n, 0);
    assert_false(sip_param(n.params, "z", &value));
    assert_int_equal(sip_name_parse(span_str("sip:a@b;tag=1;epid=2"), &n), 0);
    assert_text(n.uri, "sip:a@b");
    assert_text(n.params, "tag=1;epid=2");
    assert_int_equal(sip_name_parse(span_str("a b <tel:1>"), &n), 0);
    assert_text(n.display, "a b");
    assert_int_equal(sip_name_parse(span_str("< sip:a@b >;x=\"y;tag=z\";tag=q"), &n), 0);
    assert_text(n.uri, "sip:a@b");
    assert_true(sip_param(n.params, "tag", &value));
    assert_text(value, "q");
    assert_true(sip_param(n.params, "x", &value));
    assert_text(value, "y;tag=z");
    static const char *const bad[] = {
        "",          " ",       "\"a",     "\"a\"",     "\"a\" b <sip:c>", "<sip:a",         "<>",
        "<sip:a b>", "sip:a b", "sip:a?b", "<sip:a> b", ";tag=1",          "\"a\\\" <sip:b>"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sip_name_parse(span_str(bad[i]), &n) == 0)
            fail_msg("%s was taken for a name", bad[i]);
}

static void vias_are_read(void **state)
{
    struct sip_via v;
    assert_int_equal(sip_via_parse(span_str("SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;branch=z9hG4bKa7.1"), &v),
                     0);
    assert_text(v.transport, "UDP");
    assert_text(v.host, "first.example.com");
    assert_int_equal(v.port, 4000);
    assert_text(v.branch, "z9hG4bKa7.1");
    assert_true(v.has_cookie && !v.has_rport);
    assert_int_equal(sip_via_parse(span_str("SIP/2.0/TLS [2001:db8::1]:5061;rport;branch=old"), &v), 0);
    assert_text(v.host, "[2001:db8::1]");
    assert_int_equal(v.port, 5061);
    assert_true(v.has_rport && !v.has_cookie);
    assert_int_equal(sip_via_parse(span_str("SIP/2.0/TCP\r\n a"), &v), 0);
    assert_text(v.sent_by, "a");
    static const char *const bad[] = {"",
                                      "SIP/2.0/UDP",
                                      "SIP/2.0/ a",
                                      "SIP/3.0/UDP a",
                                      "HTTP/2.0/UDP a",
                                      "SIP/2.0/UDP a:0",
                                      "SIP/2.0/UDP a:b",
                                      "SIP/2.0/UDP a b",
                                      "SIP/2.0/UDP ;branch=x",
                                      "SIP/2.0/UDP a;",
                                      "SIP/2.0/UDP a;;b",
                                      "SIP/2.0/UDP a;=b",
                                      "SIP/2.0/UDP [::1;branch=x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sip_via_parse(span_str(bad[i]), &v) == 0)
            fail_msg("%s was taken for a Via", bad[i]);
}

/* ---- responses ---- */

static const char *respond(const char *request, int status, const char *tag, const char *received, const char *body)
{
    static uint8_t buf[2000];
    struct wr w = wr_of(buf, sizeof buf - 1);
    struct sip_source source = {received, 40000};
    assert_int_equal(read_msg(request, true), 0);
    sip_respond(&w, &m, status, NULL, span_str(tag), received ? &source : NULL);
    sip_finish(&w, body ? "text/plain" : NULL, span_str(body));
    assert_int_equal(w.err, 0);
    buf[wr_len(&w)] = 0;
    return (char *)buf;
}

static void responses_copy_the_request(void **state)
{
    static const char request[] = START
        "Record-Route: <sip:p1>\r\nX: y\r\nvia :  SIP/2.0/TCP a.example ; branch=z9hG4bK1,\r\n SIP/2.0/UDP b\r\n"
        "CSeq:   7   SERVICE\r\nTO: \"x\" <sip:b> ;q=1 \r\nMax-Forwards: 70\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK2\r\n"
        "i: c1\r\nf: sip:a;tag=1\r\nRecord-Route: <sip:p2>\r\n\r\n";
    assert_string_equal(respond(request, 200, "t1", "192.0.2.1", "hi"),
                        "SIP/2.0 200 OK\r\n"
                        "via :  SIP/2.0/TCP a.example ; branch=z9hG4bK1;received=192.0.2.1,\r\n SIP/2.0/UDP b\r\n"
                        "Via: SIP/2.0/UDP c;branch=z9hG4bK2\r\nf: sip:a;tag=1\r\nTO: \"x\" <sip:b> ;q=1;tag=t1 \r\n"
                        "i: c1\r\nCSeq:   7   SERVICE\r\nRecord-Route: <sip:p1>\r\nRecord-Route: <sip:p2>\r\n"
                        "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi");
    const char *refusal = respond(request, 405, "t1", NULL, NULL);
    assert_non_null(
        strstr(refusal, "SIP/2.0 405 Method Not Allowed\r\nvia :  SIP/2.0/TCP a.example ; branch=z9hG4bK1,"));
    assert_null(strstr(refusal, "Record-Route"));
    assert_non_null(strstr(refusal, "SERVICE\r\nContent-Length: 0\r\n\r\n"));
    assert_null(strstr(respond(request, 100, "", NULL, NULL), "tag=t1"));
}

static void assert_via(const char *via, const char *want)
{
    char request[500], line[500];
    snprintf(request, sizeof request, START "Via: %s\r\nTo: <sip:b>;tag=9\r\n\r\n", via);
    snprintf(line, sizeof line, "SIP/2.0 200 OK\r\nVia: %s\r\nTo: <sip:b>;tag=9\r\n", want);
    const char *got = respond(request, 200, "t", "192.0.2.1", NULL);
    if (strncmp(got, line, strlen(line)) != 0)
        fail_msg("wanted:\n%sgot:\n%s", line, got);
}

static void the_top_via_says_where_the_request_came_from(void **state)
{
    assert_via("SIP/2.0/TCP 192.0.2.1:5060", "SIP/2.0/TCP 192.0.2.1:5060");
    assert_via("SIP/2.0/TCP 192.0.2.2;branch=x", "SIP/2.0/TCP 192.0.2.2;branch=x;received=192.0.2.1");
    assert_via("SIP/2.0/UDP 192.0.2.1;rport;branch=x", "SIP/2.0/UDP 192.0.2.1;rport=40000;branch=x;received=192.0.2.1");
    assert_via("SIP/2.0/UDP a;rport=", "SIP/2.0/UDP a;rport=40000;received=192.0.2.1");
    assert_via("SIP/2.0/UDP a;branch=x;rport", "SIP/2.0/UDP a;branch=x;rport=40000;received=192.0.2.1");
    assert_via("SIP/2.0/UDP a;rport=5;received=1.1.1.1", "SIP/2.0/UDP a;rport=5;received=1.1.1.1");
    assert_via("nonsense", "nonsense");
}

static void what_does_not_fit_is_told(void **state)
{
    uint8_t buf[2000];
    assert_int_equal(read_msg(SERVICE(""), true), 0);
    struct wr w = wr_of(buf, sizeof buf);
    sip_respond(&w, &m, 200, NULL, span_str("t"), NULL);
    sip_finish(&w, NULL, span_str(""));
    size_t size = wr_len(&w);
    w = wr_of(buf, size - 1);
    sip_respond(&w, &m, 200, NULL, span_str("t"), NULL);
    sip_finish(&w, NULL, span_str(""));
    assert_int_equal(w.err, ERR_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_cut_by_content_length),
        cmocka_unit_test(line_ends_between_messages),
        cmocka_unit_test(streams_are_lost),
        cmocka_unit_test(a_request_is_seen_whole),
        cmocka_unit_test(a_response_is_seen_whole),
        cmocka_unit_test(what_is_no_message),
        cmocka_unit_test(bodies),
        cmocka_unit_test(too_many_lines),
        cmocka_unit_test(requests_are_judged),
        cmocka_unit_test(lists_are_cut),
        cmocka_unit_test(names_are_read),
        cmocka_unit_test(vias_are_read),
        cmocka_unit_test(responses_copy_the_request),
        cmocka_unit_test(the_top_via_says_where_the_request_came_from),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
