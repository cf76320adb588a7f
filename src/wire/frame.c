#include "wire/frame.h"

#include "wire/stun.h"

const char *speech_name(enum speech_kind kind)
{
    static const char *const names[] = {
        [SPEECH_UNKNOWN] = "unknown",
        [SPEECH_STUN] = "STUN",
        [SPEECH_CHANNEL] = "ChannelData",
        [SPEECH_MSTURN] = "MS-TURN",
        [SPEECH_PSEUDOTLS] = "pseudo-TLS",
        [SPEECH_TLS] = "TLS",
        [SPEECH_DTLS] = "DTLS",
        [SPEECH_RFC4571] = "RFC 4571",
        [SPEECH_TPKT] = "TPKT",
        [SPEECH_HTTP] = "HTTP",
        [SPEECH_SIP] = "SIP",
    };
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

/* ---- pseudo-TLS (microsoft.md A.1.3) ---- */

/* The bytes of a hello that are fixed; those between them are free. */
struct part {
    uint8_t pos, n;
    const char *bytes;
};
enum { RANDOM_POS = 11, SESSION_ID_POS = 44 };

/* A record of 45 bytes with a ClientHello of 41; no session, cipher suite 0x0018, no compression. */
static const struct part hello_parts[] = {
    {0, 11, "\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01"},
    {43, 7, "\x00\x00\x02\x00\x18\x01\x00"},
    {0},
};
/* A record of 78 bytes with a ServerHello of 70; session id of 32; the same suite; then ServerHelloDone. */
static const struct part answer_parts[] = {
    {0, 11, "\x16\x03\x01\x00\x4e\x02\x00\x00\x46\x03\x01"},
    {43, 1, "\x20"},
    {76, 7, "\x00\x18\x00\x0e\x00\x00\x00"},
    {0},
};

/* Do the fixed bytes stand there, as far as there are any? */
static bool parts_match(const struct part *part, struct span s)
{
    for (; part->n > 0; part++) {
        const struct span there = span_take(span_skip(s, part->pos), part->n);
        if (there.n > 0 && memcmp(there.p, part->bytes, there.n) != 0)
            return false;
    }
    return true;
}

static void parts_put(const struct part *part, uint8_t *out)
{
    for (; part->n > 0; part++)
        memcpy(out + part->pos, part->bytes, part->n);
}

bool pseudotls_is_hello(const uint8_t hello[PSEUDOTLS_HELLO])
{
    return parts_match(hello_parts, span_of(hello, PSEUDOTLS_HELLO));
}

void pseudotls_hello(uint8_t out[PSEUDOTLS_HELLO], const uint8_t random[32])
{
    parts_put(hello_parts, out);
    memcpy(out + RANDOM_POS, random, 32);
}

bool pseudotls_is_answer(const uint8_t answer[PSEUDOTLS_ANSWER])
{
    return parts_match(answer_parts, span_of(answer, PSEUDOTLS_ANSWER));
}

void pseudotls_answer(uint8_t out[PSEUDOTLS_ANSWER], const uint8_t random[32], const uint8_t session_id[32])
{
    parts_put(answer_parts, out);
    memcpy(out + RANDOM_POS, random, 32);
    memcpy(out + SESSION_ID_POS, session_id, 32);
}

/* ---- first bytes of a stream ---- */

enum match { MATCH_NO, MATCH_OPEN, MATCH_YES };

/* Does the stream begin with these bytes? Open while it is shorter than they are. */
static enum match starts_with(struct span s, const void *bytes, size_t n)
{
    const size_t shared = s.n < n ? s.n : n;
    if (shared > 0 && memcmp(s.p, bytes, shared) != 0)
        return MATCH_NO;
    return shared < n ? MATCH_OPEN : MATCH_YES;
}

static enum match starts_with_one_of(struct span s, const char *const *texts)
{
    enum match best = MATCH_NO;
    for (; *texts && best != MATCH_YES; texts++) {
        enum match one = starts_with(s, *texts, strlen(*texts));
        best = one > best ? one : best;
    }
    return best;
}

static enum match match_pseudotls(struct span s)
{
    return !parts_match(hello_parts, s) ? MATCH_NO : s.n < PSEUDOTLS_HELLO ? MATCH_OPEN : MATCH_YES;
}

static enum match match_tls(struct span s)
{
    return starts_with(s, "\x16\x03", 2);
}

/* What a client sends first is a control frame (2); 03 00 is the beginning of TPKT (microsoft.md A.1.4). */
static enum match match_msturn(struct span s)
{
    return starts_with(s, "\x02\x00", 2);
}

static enum match match_tpkt(struct span s)
{
    return starts_with(s, "\x03\x00", 2);
}

/* The header of a STUN message whose method is one of the first 128: all that exist. */
static enum match match_stun(struct span s)
{
    if ((s.n > 0 && s.p[0] > 0x01) || (s.n > 3 && s.p[3] & 3))
        return MATCH_NO;
    return s.n <= 4 ? MATCH_OPEN : starts_with(span_skip(s, 4), "\x21\x12\xa4\x42", 4);
}

/* A STUN message that fills an RFC 4571 frame; a stream that begins with RTP cannot be told from noise. */
static enum match match_rfc4571(struct span s)
{
    if (s.n >= 2 && be16_get(s.p) < STUN_HEADER)
        return MATCH_NO;
    if (s.n >= 6 && be16_get(s.p + 4) + STUN_HEADER != be16_get(s.p))
        return MATCH_NO;
    return s.n <= 2 ? MATCH_OPEN : match_stun(span_skip(s, 2));
}

/* RFC 9110 s.9, and the preface of HTTP/2. OPTIONS belongs to SIP too: its target decides. */
static enum match match_http(struct span s)
{
    static const char *const begins[] = {"GET ",      "POST ",        "HEAD ",  "PUT ",        "DELETE ",
                                         "CONNECT ",  "PATCH ",       "TRACE ", "PRI * HTTP/", "OPTIONS /",
                                         "OPTIONS *", "OPTIONS http", NULL};
    return starts_with_one_of(s, begins);
}

/* RFC 3261 and its extensions, Microsoft's three methods, and answers (for captures that begin late). */
static enum match match_sip(struct span s)
{
    static const char *const begins[] = {"INVITE ",   "ACK ",       "BYE ",     "CANCEL ",  "REGISTER ",
                                         "OPTIONS ",  "SUBSCRIBE ", "NOTIFY ",  "PRACK ",   "INFO ",
                                         "REFER ",    "MESSAGE ",   "UPDATE ",  "PUBLISH ", "SERVICE ",
                                         "BENOTIFY ", "NEGOTIATE ", "SIP/2.0 ", NULL};
    return starts_with_one_of(s, begins);
}

/* In this order: the first that matches, or that may still match, is judged. */
static const struct {
    enum match (*match)(struct span s);
    enum speech_kind kind;
} openings[] = {
    {match_pseudotls, SPEECH_PSEUDOTLS}, {match_tls, SPEECH_TLS},   {match_msturn, SPEECH_MSTURN},
    {match_tpkt, SPEECH_TPKT},           {match_stun, SPEECH_STUN}, {match_rfc4571, SPEECH_RFC4571},
    {match_http, SPEECH_HTTP},           {match_sip, SPEECH_SIP},
};

int sniff_stream(struct span first, enum speech_kind *out)
{
    *out = SPEECH_UNKNOWN;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        enum match m = openings[i].match(first);
        if (m == MATCH_OPEN)
            return ERR_SHORT;
        if (m == MATCH_YES) {
            *out = openings[i].kind;
            return 0;
        }
    }
    return 0;
}

enum speech_kind sniff_datagram(struct span datagram)
{
    static const uint8_t ms_cookie[8] = {0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6};
    const uint8_t *p = datagram.p;
    if (datagram.n < CHANNEL_HEADER)
        return SPEECH_UNKNOWN;
    if (p[0] < 0x40 && datagram.n >= 28 && memcmp(p + 20, ms_cookie, sizeof ms_cookie) == 0)
        return SPEECH_MSTURN;
    if (p[0] <= 3 && datagram.n >= STUN_HEADER && be32_get(p + 4) == STUN_COOKIE)
        return SPEECH_STUN;
    if (p[0] >= 20 && p[0] <= 63)
        return SPEECH_DTLS;
    if (p[0] >= CHANNEL_MIN >> 8 && p[0] <= CHANNEL_MAX >> 8)
        return SPEECH_CHANNEL;
    return SPEECH_UNKNOWN;
}

/* ---- frames ---- */

/* ERR_SHORT until all of the frame is there; `size` tells how much that is. */
static int frame_finish(struct span in, struct frame *out, size_t size, size_t body_from, size_t body_n)
{
    out->size = size;
    if (in.n < size)
        return ERR_SHORT;
    out->body = span_of(in.p + body_from, body_n);
    return 0;
}

/* RFC 8656 s.12.5: padded to a multiple of 4 in a stream. The caller has looked at the first byte of the number. */
static int frame_next_channel(struct span in, struct frame *out)
{
    out->kind = FRAME_CHANNEL;
    out->channel = be16_get(in.p);
    const size_t n = be16_get(in.p + 2);
    return frame_finish(in, out, CHANNEL_HEADER + n + frame_channel_padding(n), CHANNEL_HEADER, n);
}

int frame_next_stun(struct span in, struct frame *out)
{
    *out = (struct frame){.kind = FRAME_STUN};
    if (in.n > 0 && in.p[0] > CHANNEL_MAX >> 8) /* neither STUN nor a channel number */
        return ERR_BAD;
    if (in.n < 4)
        return ERR_SHORT;
    if (in.p[0] >= CHANNEL_MIN >> 8)
        return frame_next_channel(in, out);
    const size_t n = be16_get(in.p + 2);
    if (n % 4 != 0 || (in.n >= 8 && be32_get(in.p + 4) != STUN_COOKIE))
        return ERR_BAD;
    return frame_finish(in, out, STUN_HEADER + n, 0, STUN_HEADER + n);
}

/* microsoft.md A.1.1: the second byte is reserved and not looked at. */
int frame_next_msturn(struct span in, struct frame *out)
{
    *out = (struct frame){.kind = FRAME_MS_CONTROL};
    if (in.n > 0 && in.p[0] != 2 && in.p[0] != 3)
        return ERR_BAD;
    if (in.n < 4)
        return ERR_SHORT;
    out->kind = in.p[0] == 2 ? FRAME_MS_CONTROL : FRAME_MS_DATA;
    const size_t n = be16_get(in.p + 2);
    return frame_finish(in, out, 4 + n, 4, n);
}

/* RFC 4571 s.2; a length of 0 is a null packet. */
int frame_next_rfc4571(struct span in, struct frame *out)
{
    *out = (struct frame){.kind = FRAME_RFC4571};
    if (in.n < 2)
        return ERR_SHORT;
    const size_t n = be16_get(in.p);
    return frame_finish(in, out, 2 + n, 2, n);
}

/* Part of a packet, of which `owed` bytes were still to come. */
static size_t cut_short(struct rfc4571_cut *cut, size_t owed, size_t n)
{
    cut->owed = (uint32_t)(owed - n);
    return n;
}

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t rfc4571_next(struct rfc4571_cut *cut, struct span in, size_t max, bool hurry)
{
    struct frame f;
    const size_t there = min_of(in.n, max);
    if (there == 0)
        return 0;
    if (cut->has_high) {
        cut->has_high = false;
        cut->owed = 1 + (uint32_t)(cut->high << 8 | in.p[0]);
    }
    if (cut->owed)
        return cut_short(cut, cut->owed, min_of(there, cut->owed));
    int err = frame_next_rfc4571(in, &f);
    if (f.size > max || (err && hurry && in.n > 1))
        return cut_short(cut, f.size, min_of(there, f.size));
    if (!err)
        return f.size;
    cut->has_high = hurry;
    cut->high = in.p[0];
    return hurry;
}

int frame_channel_datagram(struct span in, struct frame *out)
{
    *out = (struct frame){.kind = FRAME_CHANNEL};
    if (in.n < CHANNEL_HEADER)
        return ERR_BAD;
    const size_t n = be16_get(in.p + 2);
    out->channel = be16_get(in.p);
    if (out->channel < CHANNEL_MIN || out->channel > CHANNEL_MAX || n > in.n - CHANNEL_HEADER)
        return ERR_BAD;
    return frame_finish(in, out, in.n, CHANNEL_HEADER, n);
}

void frame_channel_header(uint8_t out[CHANNEL_HEADER], uint16_t channel, size_t payload_size)
{
    must(payload_size <= 0xffff);
    be16_put(out, channel);
    be16_put(out + 2, (uint16_t)payload_size);
}

void frame_msturn_header(uint8_t out[4], enum frame_kind kind, size_t payload_size)
{
    must(payload_size <= 0xffff && (kind == FRAME_MS_CONTROL || kind == FRAME_MS_DATA));
    out[0] = kind == FRAME_MS_CONTROL ? 2 : 3;
    out[1] = 0;
    be16_put(out + 2, (uint16_t)payload_size);
}
