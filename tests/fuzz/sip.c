/* SIP: a stream that comes in pieces gives the messages that it gives at once; a message is its lines and nothing else;
 * a response to it can be read again. Input: a seed for the pieces, the stream. */
#include "core/sipt.h"
#include "harness.h"

enum { HEAD_MAX = 2000, BODY_MAX = 1000 };

static bool is_inside(struct span part, struct span whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_values(const struct sip_msg *m)
{
    for (unsigned i = 0; i < m->lines_n; i++) {
        struct span rest = m->lines[i].value, element, value;
        struct sip_name name;
        struct sip_via via;
        while (sip_list_next(&rest, &element)) {
            must(element.n && is_inside(element, m->lines[i].value));
            if (sip_name_parse(element, &name) == 0)
                must(name.uri.n && is_inside(name.uri, element) && is_inside(name.params, element));
            if (sip_name_parse(element, &name) == 0 && sip_param(name.params, "tag", &value))
                must(is_inside(value, element));
            if (sip_via_parse(element, &via) == 0)
                must(via.host.n && is_inside(via.host, element) && is_inside(via.branch, element));
        }
    }
}

/* Start line, lines and the empty line are the head, in this order and without a gap. */
static void check_lines(const struct sip_msg *m)
{
    const uint8_t *at = m->start.p + m->start.n + 2;
    must(m->start.p == m->raw.p);
    for (unsigned i = 0; i < m->lines_n; i++) {
        const struct sip_line *l = &m->lines[i];
        must(l->raw.p == at && is_inside(l->name, l->raw) && is_inside(l->value, l->raw));
        must(memcmp(at + l->raw.n - 2, "\r\n", 2) == 0);
        at += l->raw.n;
    }
    must(at + 2 == m->head.p + m->head.n && is_inside(m->body, m->raw));
}

/* What was sound stays sound, with the same parts; Via may have got what RFC 3581 puts in. */
static void check_response(const struct sip_msg *m, bool is_sound)
{
    static uint8_t buf[16 * 1024];
    static struct sip_msg back;
    struct wr w = wr_of(buf, sizeof buf);
    struct sip_source source = {"192.0.2.1", 5060};
    sip_respond(&w, m, 200, NULL, span_str("t"), &source);
    sip_finish(&w, "text/plain", span_str("hello"));
    if (!is_sound || w.err)
        return;
    must(sip_parse(wr_span(&w), false, &back) == 0 && !back.fault && back.status == 200 && !back.is_request);
    must(span_is_equal(back.body, span_str("hello")));
    must(span_is_equal(sip_value(&back, SIP_CALL_ID), sip_value(m, SIP_CALL_ID)));
    must(span_is_equal(sip_value(&back, SIP_FROM), sip_value(m, SIP_FROM)));
    struct span rest = sip_value(&back, SIP_VIA), element;
    struct sip_via via;
    must(sip_list_next(&rest, &element) && sip_via_parse(element, &via) == 0);
    struct sip_name to;
    struct span tag;
    must(sip_name_parse(sip_value(&back, SIP_TO), &to) == 0 && sip_param(to.params, "tag", &tag));
}

static void check_transaction(const struct sip_msg *m)
{
    struct sipt *s = sipt_new(2, 100);
    struct span answer;
    uint64_t id, again;
    must(s);
    enum sipt_step step = sipt_request(s, m, false, 0, &id, &answer);
    must(step == SIPT_NEW || step == SIPT_ACK);
    if (step == SIPT_NEW) {
        must(sipt_respond(s, id, 200, span_str("done"), 0) == 0);
        must(sipt_request(s, m, false, 1, &again, &answer) == SIPT_REPEAT && answer.n == 4);
        must(sipt_request(s, m, false, SIPT_J_MS, &again, &answer) == SIPT_NEW);
    }
    sipt_free(s);
}

static void check_message(struct span in, bool is_datagram)
{
    static struct sip_msg m;
    const char *why = NULL;
    struct span block = block_new(in);
    if (sip_parse(block, is_datagram, &m) == 0) {
        check_lines(&m);
        check_values(&m);
        bool is_sound = m.is_request && sip_check(&m, &why) == 0;
        if (m.is_request)
            check_response(&m, is_sound);
        if (is_sound)
            check_transaction(&m);
    }
    block_free(block);
}

static int next(struct span in, struct sip_frame *f)
{
    struct span block = block_new(in);
    int err = sip_frame_next(block, HEAD_MAX, BODY_MAX, f);
    block_free(block);
    must(err == 0 || err == ERR_SHORT || err == ERR_BAD || err == ERR_FULL);
    must(err != 0 || (f->size > 0 && f->size <= in.n));
    must((err == ERR_BAD || err == ERR_FULL) == (f->fault != NULL));
    return err;
}

/* Feeds the stream in pieces of 1 to 64 bytes. A line end may be read alone where more would have made it a ping. */
static void check_pieces(struct span stream, uint32_t seed)
{
    size_t from = 0, have = 0;
    int err = ERR_SHORT;
    while (err == ERR_SHORT && have < stream.n) {
        seed = seed * 1664525 + 1013904223;
        have += 1 + (seed >> 26);
        have = have < stream.n ? have : stream.n;
        struct sip_frame pieces, whole;
        while ((err = next(span_of(stream.p + from, have - from), &pieces)) == 0) {
            must(next(span_of(stream.p + from, stream.n - from), &whole) == 0);
            must(pieces.kind == whole.kind && pieces.size == whole.size);
            if (pieces.kind == SIP_FRAME_MESSAGE)
                check_message(span_of(stream.p + from, pieces.size), false);
            from += pieces.size;
        }
        if (err != ERR_SHORT)
            must(next(span_of(stream.p + from, stream.n - from), &whole) == err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span stream = span_of(data + 1, size - 1);
    struct uri u;
    check_pieces(stream, data[0]);
    check_message(stream, true);
    struct span block = block_new(stream);
    if (uri_parse(block, &u) == 0)
        must(is_inside(u.host, block) && is_inside(u.user, block) && is_inside(u.params, block));
    block_free(block);
    return 0;
}
