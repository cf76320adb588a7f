#include "wire/mras.h"

#include <libxml/parser.h>

#include "fixture.h"

#define NS "xmlns=\"http://schemas.microsoft.com/2006/09/sip/mrasp\""
#define ROOT                                                                                                           \
    "<request requestID=\"71301\" from=\"sip:alice@example.com\" version=\"2.0\" to=\"sip:MRASLoc.a@example.com\" " NS \
    ">"
#define ASK(body) "<credentialsRequest credentialsRequestID=\"1\">" body "</credentialsRequest>"
#define ALICE     "<identity>sip:alice@example.com</identity>"
#define DOC(asks) ROOT asks "</request>"

static struct mras_request r;

static int read_span(struct span xml)
{
    static uint8_t arena[MRAS_XML_MAX];
    memset(&r, 0xa5, sizeof r);
    return mras_read(odd_copy(xml), arena, &r);
}

static int read_xml(const char *text)
{
    return read_span(span_str(text));
}

static void assert_reason(const char *text, enum mras_reason reason)
{
    int err = read_xml(text);
    if (err || r.reason != reason)
        fail_msg("%d, %s: %s", err, err ? "" : mras_reason_phrase(r.reason), text);
}

static void a_request_is_read(void **state)
{
    assert_reason(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- x -->\r\n"
        "<request requestID=\"71301\" from=\"sip:a&amp;b@example.com\" version=\"2.0\" to=\"sip:MRASLoc.x\" " NS
        " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"x y\">\r\n"
        "  <credentialsRequest credentialsRequestID=\"c1\">\r\n    <identity> sip:alice@ex<![CDATA[amp]]>le"
        "<!-- -->.c&#111;m\r\n</identity>\r\n"
        "    <location>internet</location>\r\n    <duration> 480 </duration>\r\n  </credentialsRequest>\r\n"
        "  <credentialsRequest credentialsRequestID=\"c2\"><identity>bob</identity></credentialsRequest>"
        "</request>\r\n",
        MRAS_OK);
    assert_text(r.id, "71301");
    assert_text(r.from, "sip:a&b@example.com");
    assert_text(r.to, "sip:MRASLoc.x");
    assert_true(!r.is_version_1 && !r.wants_ip);
    assert_int_equal(r.asks_n, 2);
    assert_text(r.asks[0].id, "c1");
    assert_text(r.asks[0].identity, "sip:alice@example.com");
    assert_int_equal(r.asks[0].locations, MRAS_INTERNET);
    assert_int_equal(r.asks[0].minutes, 480);
    assert_text(r.asks[1].identity, "bob");
    assert_int_equal(r.asks[1].locations, MRAS_INTERNET | MRAS_INTRANET);
    assert_int_equal(r.asks[1].minutes, 0);
}

static void prefixes_and_newer_elements(void **state)
{
    assert_reason(
        "<m:request requestID='1' from='a' version='3.0' to='b' route='directip' future='x' "
        "xmlns:m='http://schemas.microsoft."
        "com/2006/09/sip/mrasp'><m:new><m:identity>x</m:identity></m:new>"
        "<m:credentialsRequest credentialsRequestID='1'><identity>stranger</identity><m:more><m:location/></m:more>"
        "<m:identity>bob</m:identity><m:location>intranet</m:location></m:credentialsRequest></m:request>",
        MRAS_OK);
    assert_true(r.wants_ip && !r.is_version_1);
    assert_int_equal(r.asks_n, 1);
    assert_text(r.asks[0].identity, "bob");
    assert_int_equal(r.asks[0].locations, MRAS_INTRANET);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        uint32_t minutes;
    } good[] = {{"1", 1}, {"+007", 7}, {"4294967295", UINT32_MAX}, {"99999999999999999999999", UINT32_MAX}};
    static const char *const bad[] = {"", "0", "-1", "1.5", "1 2", "x", "+", "0x10", "&#x661;"};
    char text[600];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(text, sizeof text, DOC(ASK(ALICE "<duration>%s</duration>")), good[i].text);
        assert_reason(text, MRAS_OK);
        assert_int_equal(r.asks[0].minutes, good[i].minutes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, DOC(ASK(ALICE "<duration>%s</duration>")), bad[i]);
        assert_reason(text, MRAS_REQUEST_MALFORMED);
    }
}

static void what_the_schema_forbids(void **state)
{
    static const char *const bad[] = {
        DOC(""),
        DOC(ASK("")),
        DOC(ASK("<identity> </identity>")),
        DOC(ASK(ALICE ALICE)),
        DOC(ASK("<identity><b>x</b></identity>")),
        DOC(ASK(ALICE "<location>moon</location>")),
        DOC(ASK(ALICE "<location>internet</location><location>intranet</location>")),
        DOC("<credentialsRequest>" ALICE "</credentialsRequest>"),
        DOC("<credentialsRequest credentialsRequestID=''>" ALICE "</credentialsRequest>"),
        "<request from='a' version='2.0' to='b' " NS ">" ASK(ALICE) "</request>",
        "<request requestID='' from='a' version='2.0' to='b' " NS ">" ASK(ALICE) "</request>",
        "<request requestID='1' version='2.0' to='b' " NS ">" ASK(ALICE) "</request>",
        "<request requestID='1' from='a' version='2.0' " NS ">" ASK(ALICE) "</request>",
        "<request requestID='1' from='a' to='b' " NS ">" ASK(ALICE) "</request>",
        "<request requestID='1' from='a' version='2.0' to='b' route='x' " NS ">" ASK(ALICE) "</request>",
        "<request requestID='1234567890123456789012345678901234567890123456789012345678901234x' from='a' version='2.0' "
        "to='b' " NS ">" ASK(ALICE) "</request>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_reason(bad[i], MRAS_REQUEST_MALFORMED);
    /* 64 characters, of four bytes each, are an id */
    char text[900] = "<request requestID='";
    for (int i = 0; i < 64; i++)
        strcat(text, "\xf0\x9f\x98\x80");
    strcat(text, "' from='a' version='1.0' to='b' " NS ">" ASK(ALICE) "</request>");
    assert_reason(text, MRAS_OK);
    assert_true(r.is_version_1);
    assert_int_equal(r.id.n, 256);
}

static void versions(void **state)
{
    static const char *const other[] = {"", "2", "4.0", "1.1", "2.0 "};
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        char text[400];
        snprintf(text, sizeof text,
                 "<request requestID='1' from='a' version='%s' to='b' " NS ">" ASK(ALICE) "</request>", other[i]);
        assert_reason(text, MRAS_VERSION_MISMATCH);
    }
}

static char *repeat(const char *head, const char *body, int n, const char *tail)
{
    size_t size = strlen(body), cap = strlen(head) + size * (size_t)n + strlen(tail) + 1;
    char *text = malloc(cap), *p;
    assert_non_null(text);
    p = stpcpy(text, head);
    for (int i = 0; i < n; i++)
        p = stpcpy(p, body);
    strcpy(p, tail);
    return text;
}

static void a_hundred_and_no_more(void **state)
{
    char *text = repeat(ROOT, ASK(ALICE), MRAS_ASKS_MAX, "</request>");
    assert_reason(text, MRAS_OK);
    assert_int_equal(r.asks_n, 100);
    free(text);
    text = repeat(ROOT, ASK(ALICE), MRAS_ASKS_MAX + 1, "</request>");
    assert_reason(text, MRAS_REQUEST_TOO_LARGE);
    free(text);
}

static void sizes(void **state)
{
    char *text = repeat(ROOT "<credentialsRequest credentialsRequestID='1'><identity>", "0123456789", 6500,
                        "</identity></credentialsRequest></request>");
    assert_true(strlen(text) <= MRAS_XML_MAX);
    assert_reason(text, MRAS_OK);
    assert_int_equal(r.asks[0].identity.n, 65000);
    free(text);
    text = repeat(DOC(ASK(ALICE)), " ", MRAS_XML_MAX, "");
    assert_int_equal(read_xml(text), ERR_FULL);
    free(text);
    text = repeat("<request requestID='1' version='2.0' to='b' from='", "0123456789", 410,
                  "' " NS ">" ASK(ALICE) "</request>");
    assert_reason(text, MRAS_REQUEST_TOO_LARGE);
    assert_int_equal(r.from.n, 0);
    free(text);
}

/* Neither time nor memory, nor a file of this machine. */
static void bombs(void **state)
{
    static const char *const bad[] = {
        "<!DOCTYPE request>" DOC(ASK(ALICE)),
        "<!DOCTYPE request [<!ENTITY a 'sip:eve'>]>" DOC(ASK("<identity>&a;</identity>")),
        "<!DOCTYPE request [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>" DOC(ASK("<identity>&a;</identity>")),
        "<!DOCTYPE request SYSTEM 'http://127.0.0.1:9/x.dtd'>" DOC(ASK(ALICE)),
        "<!DOCTYPE r [<!ENTITY a 'lollollollol'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c "
        "'&b;&b;&b;&b;&b;&b;&b;'>]>" DOC(ASK("<identity>&c;&c;&c;&c;&c;</identity>")),
        DOC(ASK("<identity>&a;</identity>")),
        DOC(ASK("<identity>&#0;</identity>")),
        "<request requestID='&a;' from='a' version='2.0' to='b' " NS ">" ASK(ALICE) "</request>",
        DOC(ASK(ALICE)) "<x/>",
        "",
        "hello",
        "<request/>",
        "<response " NS "/>",
        "<request requestID='1' from='a' version='2.0' to='b' xmlns='urn:x'>" ASK(ALICE) "</request>",
        ROOT ASK(ALICE),
        ROOT ASK(ALICE) "</reques>",
        "<request requestID='1' requestID='1' from='a' version='2.0' to='b' " NS ">" ASK(ALICE) "</request>",
        DOC(ASK("<identity>\xff</identity>")),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_xml(bad[i]) != ERR_BAD)
            fail_msg("was read: %s", bad[i]);
    assert_int_equal(read_span(span_of("\xfe\xff\0<\0r", 6)), ERR_BAD);
    assert_int_equal(read_span(span_of("<\0r\0e\0q\0", 8)), ERR_BAD);
    assert_int_equal(read_span(span_of(DOC(ASK(ALICE)), sizeof DOC(ASK(ALICE)))), ERR_BAD); /* a zero behind it */
    assert_reason("<?xml version='1.0' encoding='utf-16'?>" DOC(ASK(ALICE)), MRAS_OK); /* it is not, and need not be */

    char *text = repeat(ROOT, "<a>", 10000, "");
    assert_reason(text, MRAS_REQUEST_MALFORMED);
    free(text);
    text = repeat(ROOT, "<a>", MRAS_DEPTH_MAX - 1, "");
    assert_int_equal(read_xml(text), ERR_BAD);
    free(text);
}

/* ---- answers ---- */

static uint8_t answer[4096];

static struct span write_answer(size_t cap)
{
    static const struct mras_relay relays[] = {
        {.host = "av.example.com", .locations = MRAS_INTERNET, .udp_port = 3478, .tcp_port = 443},
        {.host = "10.1.2.3", .locations = MRAS_INTRANET | MRAS_INTERNET, .tcp_port = 443, .is_ip = true}};
    struct wr w = wr_of(answer, cap);
    mras_write_begin(&w, &r, MRAS_OK);
    for (unsigned i = 0; i < r.asks_n; i++)
        mras_write_grant(&w, &r, &r.asks[i], "dXNlcg==", "cGFzcw==", 480, relays, 2);
    mras_write_end(&w);
    return w.err ? span_of(NULL, 0) : wr_span(&w);
}

#define ANSWER(version, phrase)                                                                \
    "<?xml version=\"1.0\"?>\r\n<response " NS " requestID=\"7&quot;&lt;\" version=\"" version \
    "\" serverVersion=\"2.0\" to=\"sip:b?x&amp;y\" from=\"a&#10;b\" reasonPhrase=\"" phrase "\">"
#define CREDENTIALS \
    "<credentials><username>dXNlcg==</username><password>cGFzcw==</password><duration>480</duration></credentials>"

static void answers_are_written(void **state)
{
    assert_reason(
        "<request requestID='7&quot;&lt;' from='a&#10;b' version='1.0' to='sip:b?x&amp;y' " NS ">"
        "<credentialsRequest credentialsRequestID='c1'>" ALICE "<location>internet</location></credentialsRequest>"
        "<credentialsRequest credentialsRequestID='c2'>" ALICE "<location>intranet</location></credentialsRequest>"
        "</request>",
        MRAS_OK);
    struct span got = write_answer(sizeof answer);
    assert_text(
        got,
        ANSWER(
            "1.0",
            "OK") "<credentialsResponse credentialsRequestID=\"c1\">" CREDENTIALS "<mediaRelayList>"
                  "<mediaRelay><location>internet</location><hostName>av.example.com</hostName><udpPort>3478</udpPort>"
                  "<tcpPort>443</tcpPort></mediaRelay><mediaRelay><location>internet</location><hostName>10.1.2.3</"
                  "hostName>"
                  "<tcpPort>443</tcpPort></mediaRelay></mediaRelayList></credentialsResponse>"
                  "<credentialsResponse credentialsRequestID=\"c2\">" CREDENTIALS "<mediaRelayList>"
                  "<mediaRelay><location>intranet</location><hostName>10.1.2.3</hostName><tcpPort>443</tcpPort></"
                  "mediaRelay>"
                  "</mediaRelayList></credentialsResponse></response>");
    assert_int_equal(write_answer(got.n - 1).n, 0);
    struct wr w = wr_of(answer, sizeof answer);
    mras_write_begin(&w, &r, MRAS_SERVER_BUSY);
    mras_write_end(&w);
    assert_text(wr_span(&w), ANSWER("1.0", "Server Busy") "</response>");
}

static void addresses_for_those_who_want_them(void **state)
{
    assert_reason("<request requestID='1' from='a' version='3.0' to='b' route='directip' " NS ">"
                  "<credentialsRequest credentialsRequestID='c1'>" ALICE "</credentialsRequest></request>",
                  MRAS_OK);
    struct span got = write_answer(sizeof answer - 1);
    answer[got.n] = 0;
    assert_non_null(strstr((char *)answer, " version=\"2.0\" serverVersion=\"2.0\""));
    assert_non_null(strstr((char *)answer, "<hostName>av.example.com</hostName>"));
    assert_non_null(strstr((char *)answer, "<location>intranet</location><directIPAddress>10.1.2.3</directIPAddress>"));
    assert_non_null(strstr((char *)answer, "<location>internet</location><directIPAddress>10.1.2.3</directIPAddress>"));
}

static void phrases(void **state)
{
    assert_string_equal(mras_reason_phrase(MRAS_OK), "OK");
    assert_string_equal(mras_reason_phrase(MRAS_REQUEST_MALFORMED), "Request Malformed");
    assert_string_equal(mras_reason_phrase(MRAS_REQUEST_TOO_LARGE), "Request Too Large");
    assert_string_equal(mras_reason_phrase(MRAS_NOT_SUPPORTED), "Not Supported");
    assert_string_equal(mras_reason_phrase(MRAS_SERVER_BUSY), "Server Busy");
    assert_string_equal(mras_reason_phrase(MRAS_TIME_OUT), "Time Out");
    assert_string_equal(mras_reason_phrase(MRAS_FORBIDDEN), "Forbidden");
    assert_string_equal(mras_reason_phrase(MRAS_INTERNAL_SERVER_ERROR), "Internal Server Error");
    assert_string_equal(mras_reason_phrase(MRAS_OTHER_FAILURE), "Other Failure");
    assert_string_equal(mras_reason_phrase(MRAS_VERSION_MISMATCH), "Version Mismatch");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read),
        cmocka_unit_test(prefixes_and_newer_elements),
        cmocka_unit_test(durations),
        cmocka_unit_test(what_the_schema_forbids),
        cmocka_unit_test(versions),
        cmocka_unit_test(a_hundred_and_no_more),
        cmocka_unit_test(sizes),
        cmocka_unit_test(bombs),
        cmocka_unit_test(answers_are_written),
        cmocka_unit_test(addresses_for_those_who_want_them),
        cmocka_unit_test(phrases),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    xmlCleanupParser();
    return failed;
}
