#include "scenes/show.h"

#include <stdio.h>

#include "scenes/ms.h"
#include "wire/frame.h"

enum { SHOWN_MAX = 60 }; /* longer payloads are told by their size */

static unsigned alias_of(uint32_t *list, unsigned *n, uint32_t value)
{
    for (unsigned i = 0; i < *n; i++)
        if (list[i] == value)
            return i + 1;
    must(*n < PEERS_MAX);
    list[(*n)++] = value;
    return *n;
}

const char *show_addr(const struct stage *s, const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    for (unsigned i = 0; i < s->ports_n; i++) {
        const struct thing *p = &s->ports[i];
        struct addr advertised = stage_advertised(s, &p->addr);
        if (!p->is_open)
            continue;
        if (addr_is_equal(&advertised, a))
            return strcpy(buf, p->name);
        if (addr_is_equal(&p->addr, a))
            return strcat(strcpy(buf, p->name), ".local");
    }
    return addr_format(a, buf);
}

static void show_quoted(struct stage *s, struct span bytes)
{
    text_add(&s->out, " \"");
    text_add_safe(&s->out, bytes);
    text_add(&s->out, "\"");
}

void show_text(struct stage *s, struct span bytes)
{
    if (bytes.n > SHOWN_MAX)
        text_addf(&s->out, " %zu bytes", bytes.n);
    else
        show_quoted(s, bytes);
}

static void show_addr_attr(struct stage *s, const char *key, const struct stun_msg *m, const struct stun_attr *at)
{
    char buf[ADDR_TEXT_MAX];
    struct addr a;
    if (stun_attr_addr(m, at, &a))
        text_addf(&s->out, " %s=UNREADABLE", key);
    else
        text_addf(&s->out, " %s=%s", key, show_addr(s, &a, buf));
}

/* The security feature bits of RFC 8489 s.9.2 and s.18.1, and what lies behind them is kept for nonce=given. */
static void show_nonce(struct stage *s, struct client *c, struct span v)
{
    uint8_t bits[3];
    if (v.n < sizeof c->nonce) {
        memcpy(c->nonce, v.p, v.n);
        c->nonce_n = v.n;
    }
    text_add(&s->out, " nonce=");
    if (v.n < 13 || memcmp(v.p, "obMatJos2", 9) != 0 || text_unbase64(span_of(v.p + 9, 4), bits, sizeof bits) != 3)
        text_add(&s->out, "plain");
    else
        text_addf(&s->out, "algorithms%s", bits[0] & 0x40 ? ",anonymity" : "");
    if (v.n >= 13 && !(bits[0] & 0x80))
        text_add(&s->out, ",WITHOUT-ALGORITHMS");
}

static void show_algorithms(struct stage *s, struct span v)
{
    static const char *const names[] = {"?", "md5", "sha256"};
    for (size_t i = 0; i + 4 <= v.n; i += 4)
        text_addf(&s->out, "%s%s", i ? "," : " algorithms=", names[be16_get(v.p + i) < 3 ? be16_get(v.p + i) : 0]);
}

static void show_integrity(struct stage *s, const struct client *c, const struct stun_msg *m, enum integrity_rule rule,
                           const char *name)
{
    enum integrity_rule held;
    text_addf(&s->out, stun_verify(m, &c->key, rule, &held) == 0 ? " %s" : " WRONG-%s", name);
}

static void show_address_error(struct stage *s, struct span v)
{
    const char *family = v.p[0] == STUN_FAMILY_V4 ? "ipv4" : v.p[0] == STUN_FAMILY_V6 ? "ipv6" : "UNKNOWN-FAMILY";
    text_addf(&s->out, " address-error=%s/%u", family, v.p[2] * 100u + v.p[3]);
}

static void show_token(struct stage *s, uint64_t token)
{
    unsigned i = 0;
    while (i < s->tokens_n && s->tokens[i] != token)
        i++;
    must(i < PORTS_MAX);
    if (i == s->tokens_n)
        s->tokens[s->tokens_n++] = token;
    text_addf(&s->out, " token=T%u", i + 1);
}

static void show_unknown(struct stage *s, struct span v)
{
    for (size_t i = 0; i + 1 < v.n; i += 2)
        text_addf(&s->out, " unknown=0x%04x", be16_get(v.p + i));
}

static void show_icmp(struct stage *s, const struct stun_msg *m)
{
    struct stun_icmp icmp;
    if (stun_get_icmp(m, &icmp) == 0)
        text_addf(&s->out, " icmp=%u/%u/%u", icmp.type, icmp.code, icmp.data);
}

static void show_attr(struct stage *s, struct client *c, const struct stun_msg *m, const struct stun_attr *at)
{
    struct span v = stun_value(m, at);
    switch (at->at) {
    case AT_XOR_RELAYED_ADDRESS: show_addr_attr(s, "relayed", m, at); break;
    case AT_XOR_MAPPED_ADDRESS: show_addr_attr(s, "mapped", m, at); break;
    case AT_XOR_PEER_ADDRESS: show_addr_attr(s, "peer", m, at); break;
    case AT_LIFETIME: text_addf(&s->out, " lifetime=%u", be32_get(v.p)); break;
    case AT_CONNECTION_ID: text_addf(&s->out, " id=C%u", alias_of(s->ids, &s->ids_n, be32_get(v.p))); break;
    case AT_RESERVATION_TOKEN: show_token(s, be64_get(v.p)); break;
    case AT_DATA: show_text(s, v); break;
    case AT_ICMP: show_icmp(s, m); break;
    case AT_UNKNOWN_ATTRIBUTES: show_unknown(s, v); break;
    case AT_ADDRESS_ERROR_CODE: show_address_error(s, v); break;
    case AT_REALM: text_addf(&s->out, " realm=%.*s", (int)v.n, (const char *)v.p); break;
    case AT_NONCE: show_nonce(s, c, v); break;
    case AT_PASSWORD_ALGORITHMS: show_algorithms(s, v); break;
    case AT_MESSAGE_INTEGRITY: show_integrity(s, c, m, INTEGRITY_RFC, "sha1"); break;
    case AT_MESSAGE_INTEGRITY_SHA256: show_integrity(s, c, m, INTEGRITY_RFC_SHA256, "sha256"); break;
    case AT_FINGERPRINT:
        text_add(&s->out, stun_verify_fingerprint(m) == 0 ? " fingerprint" : " WRONG-FINGERPRINT");
        break;
    case AT_ERROR_CODE: break;
    default: text_addf(&s->out, " %s", stun_at_name((uint8_t)at->at)); break;
    }
}

static void show_message(struct stage *s, struct client *c, struct span bytes)
{
    static struct stun_msg m;
    int code = 0;
    struct span reason;
    if (stun_parse(&STUN_RFC, bytes, &m)) {
        text_add(&s->out, " UNREADABLE");
        return;
    }
    text_addf(&s->out, " %s", stun_method_name(m.method));
    if (m.cls == STUN_ERROR && stun_get_error(&m, &code, &reason) == 0)
        text_addf(&s->out, " %d", code);
    else
        text_addf(&s->out, " %s", m.cls == STUN_SUCCESS ? "ok" : stun_class_name(m.cls));
    for (unsigned i = 0; i < m.attrs_n; i++)
        show_attr(s, c, &m, &m.attrs[i]);
    if (m.cls != STUN_INDICATION && memcmp(c->tid, stun_tid(&m), STUN_TID) != 0)
        text_add(&s->out, " earlier-request");
    if (s->shows_size)
        text_addf(&s->out, " size=%zu", bytes.n);
}

void show_to_client(struct stage *s, const struct act *act)
{
    struct client *c = act->flow.link;
    if (ms_show(s, act))
        return;
    text_addf(&s->out, "> %s", c->name);
    if (act->head.n == CHANNEL_HEADER && (act->head.p[0] & 0xc0) == 0x40) {
        text_addf(&s->out, " channel 0x%04x", be16_get(act->head.p));
        show_text(s, act->body);
        if (be16_get(act->head.p + 2) != act->body.n)
            text_add(&s->out, " WRONG-LENGTH");
        if (act->pad)
            text_addf(&s->out, " pad=%u", act->pad);
    } else {
        show_message(s, c, act->head);
    }
    text_add(&s->out, "\n");
}

/* How the fields of an event are shown, in this order. */
static const struct {
    uint8_t field;
    enum { WORD, QUOTED, NUMBER, ADDRESS } how;
    const char *key;
} shown[] = {
    {EVF_USER, WORD, ""},
    {EVF_METHOD, WORD, ""},
    {EVF_CODE, NUMBER, ""},
    {EVF_PEER, ADDRESS, "peer="},
    {EVF_RULE, QUOTED, ""},
    {EVF_REASON, QUOTED, ""},
    {EVF_BYTES_UP, NUMBER, "up="},
    {EVF_BYTES_DOWN, NUMBER, "down="},
    {EVF_DROPPED, NUMBER, "dropped="},
    {EVF_PACKETS_UP, NUMBER, "packets-up="},
    {EVF_PACKETS_DOWN, NUMBER, "packets-down="},
    {EVF_DURATION, NUMBER, "ms="},
    {EVF_CLOSED_BY, QUOTED, ""},
};

void show_event(struct stage *s, const struct ev *e)
{
    char buf[ADDR_TEXT_MAX];
    if (s->is_quiet)
        return;
    text_addf(&s->out, "> event %s", ev_kind_name(e->kind));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        const struct ev_value *v = ev_find(e, shown[i].field);
        if (!v)
            continue;
        struct span text = shown[i].how == WORD || shown[i].how == QUOTED ? ev_text_of(e, v) : span_of(NULL, 0);
        switch (shown[i].how) {
        case WORD: text_addf(&s->out, " %.*s", (int)text.n, (const char *)text.p); break;
        case QUOTED: show_quoted(s, text); break;
        case NUMBER: text_addf(&s->out, " %s%llu", shown[i].key, (unsigned long long)v->u64); break;
        case ADDRESS: text_addf(&s->out, " %s%s", shown[i].key, show_addr(s, &v->addr, buf)); break;
        }
    }
    text_add(&s->out, "\n");
}
