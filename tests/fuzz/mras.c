/* MRAS: any document is judged, and what is granted or refused can be written and is a document itself. */
#include <libxml/parser.h>

#include "core/mras.h"
#include "harness.h"
#include "wire/mras.h"

static uint8_t answer[1 << 20];

static bool is_inside(struct span part, struct span whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void on_error(void *context, xmlError *error)
{
}

static void check_document(struct span xml)
{
    xmlParserCtxt *c = xmlNewParserCtxt();
    must(c);
    c->sax->serror = on_error;
    xmlDoc *doc = xmlCtxtReadMemory(c, (const char *)xml.p, (int)xml.n, NULL, NULL, XML_PARSE_NONET);
    must(doc && c->wellFormed);
    xmlFreeDoc(doc);
    xmlFreeParserCtxt(c);
}

static void check_request(const struct mras_request *r, struct span arena)
{
    static const struct mras_relay relay = {.host = "192.0.2.1",
                                            .locations = MRAS_INTERNET | MRAS_INTRANET,
                                            .udp_port = 3478,
                                            .tcp_port = 443,
                                            .is_ip = true};
    must(r->asks_n <= MRAS_ASKS_MAX && is_inside(r->id, arena) && is_inside(r->from, arena) && is_inside(r->to, arena));
    struct wr w = wr_of(answer, sizeof answer);
    mras_write_begin(&w, r, r->reason);
    for (unsigned i = 0; i < r->asks_n && r->reason == MRAS_OK; i++) {
        const struct mras_ask *ask = &r->asks[i];
        must(ask->identity.n && is_inside(ask->identity, arena) && ask->id.n && ask->locations);
        mras_write_grant(&w, r, ask, "user", "pass", 1, &relay, 1);
    }
    must(r->reason != MRAS_OK || r->asks_n);
    mras_write_end(&w);
    must(!w.err);
    check_document(wr_span(&w));
}

/* A username is what we made, or it is refused. */
static void check_username(struct span name)
{
    struct mras_keys keys = {.n = 0};
    struct mras_ticket t, out;
    must(mras_keys_add(&keys, span_str("secret")) == 0);
    must(mras_password(&keys, name, &out) == ERR_DENIED);
    must(mras_issue(&keys, name, 1, &t) == 0);
    must(mras_password(&keys, span_of(t.username, sizeof t.username), &out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mras_request r;
    struct span block = block_new(span_of(data, size)), arena = block_new(span_of(answer, MRAS_XML_MAX));
    int err = mras_read(block, (uint8_t *)arena.p, &r);
    must(err == 0 || err == ERR_BAD || err == ERR_FULL);
    if (err == 0)
        check_request(&r, arena);
    check_username(block);
    block_free(arena);
    block_free(block);
    return 0;
}
