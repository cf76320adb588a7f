#include "scenes/ms.h"

#include <stdlib.h>

#include "scenes/show.h"
#include "wire/frame.h"

enum { ID_SIZE = 20 };

/* ---- what clients say ---- */

/* seq=N, or the next one; id=foreign; noseq. */
static void put_sequence(struct client *c, struct stun_wr *w, const struct words *x)
{
    uint8_t v[ID_SIZE + 4];
    uint32_t n = (uint32_t)words_u64(x, "seq", c->ms_sequence + 1);
    if (words_has(x, "noseq"))
        return;
    memcpy(v, c->ms_id, ID_SIZE);
    v[0] ^= words_value(x, "id") != NULL;
    be32_put(v + ID_SIZE, n);
    if (n > c->ms_sequence)
        c->ms_sequence = n;
    stun_put_bytes(w, AT_MS_SEQUENCE_NUMBER, span_of(v, sizeof v));
}

static void make_key(struct stage *s, struct client *c, const struct words *x, struct span nonce)
{
    const char *user = words_value(x, "user"), *key = words_value(x, "key"), *realm = words_value(x, "realm");
    struct span u = span_str(user ? user : "alice"), p = span_str(key ? key : "sesame");
    struct span r = realm ? span_str(realm) : cred_table_realm(s->creds);
    bool strong = words_has(x, "sha256");
    c->ms_rule = strong ? INTEGRITY_MS_SHA256 : INTEGRITY_FULL_PAD64;
    must((strong ? stun_key_ms_sha256(&c->key, u, r, nonce, p) : stun_key_md5(&c->key, u, r, p)) == 0);
}

static void put_credentials(struct stage *s, struct client *c, struct stun_wr *w, const struct words *x,
                            char nonce[NONCE_SIZE])
{
    const char *user = words_value(x, "user"), *realm = words_value(x, "realm");
    nonce_make(&s->shared.nonces, s->creds, &c->flow.tuple.client, s->now_ms, nonce);
    if (words_has(x, "stale"))
        nonce[NONCE_SIZE - 1] ^= 1;
    if (!words_has(x, "nouser"))
        stun_put_bytes(w, AT_USERNAME, span_str(user ? user : "alice"));
    if (!words_has(x, "nononce"))
        stun_put_bytes(w, AT_NONCE, span_of(nonce, NONCE_SIZE));
    if (!words_has(x, "norealm"))
        stun_put_bytes(w, AT_REALM, realm ? span_str(realm) : cred_table_realm(s->creds));
}

static void put_body(struct stage *s, struct stun_wr *w, const struct words *x)
{
    static uint8_t filler[70000];
    const char *v;
    if ((v = words_value(x, "version")))
        stun_put_u32(w, AT_MS_VERSION, (uint32_t)strtoul(v, NULL, 0));
    if ((v = words_value(x, "lifetime")))
        stun_put_u32(w, AT_LIFETIME, (uint32_t)strtoul(v, NULL, 0));
    if ((v = words_value(x, "to"))) {
        struct addr a = message_addr(s, v);
        stun_put_addr(w, AT_DESTINATION_ADDRESS, &a);
    }
    if ((v = words_value(x, "data")))
        stun_put_bytes(w, AT_DATA, span_str(v));
    if (words_value(x, "size"))
        stun_put_bytes(w, AT_DATA, span_take(span_of(filler, sizeof filler), words_u64(x, "size", 0)));
    if (words_has(x, "unknown")) {
        wr_u16(&w->w, 0x0077);
        wr_u16(&w->w, 0);
    }
}

/* Feeds what came in a datagram, or in a control frame. */
static void feed(struct stage *s, struct client *c, struct span message)
{
    struct turn *t = s->turns[c->worker];
    if (!transport_is_stream(c->flow.tuple.transport))
        turn_datagram(t, &c->flow, message, s->acts);
    else if (turn_ms_message(t, &c->flow, message, s->acts))
        text_addf(&s->out, "> %s is not understood\n", c->name);
}

static void say(struct stage *s, struct client *c, enum stun_method method, const struct words *x)
{
    static uint8_t buf[80000];
    char nonce[NONCE_SIZE] = {0};
    struct stun_wr w;
    bool is_allocate = method == STUN_ALLOCATE;
    if (!words_has(x, "again"))
        stun_new_tid(&STUN_MSTURN, c->tid);
    stun_begin(&w, &STUN_MSTURN, buf, sizeof buf, method, STUN_REQUEST, c->tid);
    put_body(s, &w, x);
    if (is_allocate && !words_has(x, "anonymous"))
        put_credentials(s, c, &w, x, nonce);
    if (!is_allocate && !words_has(x, "nouser"))
        stun_put_bytes(&w, AT_USERNAME, span_str(words_value(x, "user") ? words_value(x, "user") : "alice"));
    if (is_allocate || words_value(x, "key"))
        make_key(s, c, x, span_of(nonce, NONCE_SIZE));
    if (!is_allocate || words_value(x, "seq") || words_has(x, "refresh"))
        put_sequence(c, &w, x);
    if (!words_has(x, "anonymous"))
        stun_put_integrity(&w, c->ms_rule, &c->key, false);
    struct span message = stun_end(&w);
    must(message.n);
    if (words_has(x, "forged"))
        buf[message.n - 1] ^= 1;
    feed(s, c, message);
}

bool ms_play_client(struct stage *s, struct client *c, const struct words *x)
{
    const char *verb = words_at(x, 2);
    struct turn *t = s->turns[c->worker];
    if (strcmp(words_at(x, 1), "ms") != 0)
        return false;
    if (strcmp(verb, "allocate") == 0)
        say(s, c, STUN_ALLOCATE, x);
    else if (strcmp(verb, "send") == 0)
        say(s, c, STUN_SEND, x);
    else if (strcmp(verb, "active") == 0)
        say(s, c, STUN_SET_ACTIVE_DESTINATION, x);
    else if (strcmp(verb, "data") == 0 && transport_is_stream(c->flow.tuple.transport))
        turn_ms_data(t, &c->flow, span_str(words_at(x, 3)), s->acts);
    else if (strcmp(verb, "data") == 0)
        turn_datagram(t, &c->flow, span_str(words_at(x, 3)), s->acts);
    else if (strcmp(verb, "fin") == 0)
        text_addf(&s->out, "> %s %s\n", c->name, turn_client_fin(t, &c->flow, s->acts) ? "lives on" : "is over");
    else
        s->fault = "NAME ms allocate|send|active|data|fin ...";
    stage_act(s, c->worker);
    return true;
}

/* ---- peers and policy ---- */

static void play_peer(struct stage *s, struct thing *p, const struct words *x)
{
    static uint8_t filler[70000];
    struct turn *t = s->turns[p->worker];
    if (strcmp(words_at(x, 0), "ended") == 0)
        turn_peer_ended(t, p->handle, words_has(x, "failed"), words_has(x, "failed") ? "reset" : "eof", s->acts);
    else if (words_value(x, "size"))
        turn_peer_bytes(t, p->handle, span_of(filler, words_u64(x, "size", 0)), s->acts);
    else
        turn_peer_bytes(t, p->handle, span_str(words_at(x, 2)), s->acts);
    stage_act(s, p->worker);
}

static void set_policy(struct stage *s, const struct words *x)
{
    const char *alternate = words_value(x, "alternate");
    s->policy.is_ms_off = words_has(x, "off");
    s->policy.is_ms_only = words_has(x, "only");
    s->policy.ms_version = (uint32_t)words_u64(x, "version", 2);
    s->policy.ms_alternate = alternate ? message_addr(s, alternate) : (struct addr){0};
}

bool ms_play(struct stage *s, const struct words *x)
{
    const char *verb = words_at(x, 0);
    struct thing *p = stage_thing(s->peers, s->peers_n, words_at(x, 1));
    if (strcmp(verb, "ms") == 0)
        set_policy(s, x);
    else if (p && (strcmp(verb, "bytes") == 0 || strcmp(verb, "ended") == 0))
        play_peer(s, p, x);
    else
        return false;
    return true;
}

/* ---- what clients are told ---- */

static void show_addr_of(struct stage *s, const char *key, const struct stun_msg *m, enum stun_at at)
{
    char buf[ADDR_TEXT_MAX];
    struct addr a;
    if (stun_get_addr(m, at, &a) == 0)
        text_addf(&s->out, " %s=%s", key, show_addr(s, &a, buf));
}

static void show_number(struct stage *s, const char *key, const struct stun_msg *m, enum stun_at at)
{
    uint32_t v;
    if (stun_get_u32(m, at, &v) == 0)
        text_addf(&s->out, " %s=%u", key, v);
}

static void show_sequence(struct stage *s, struct client *c, const struct stun_msg *m)
{
    struct span v;
    if (stun_get_bytes(m, AT_MS_SEQUENCE_NUMBER, &v))
        return;
    bool is_new = memcmp(c->ms_id, v.p, ID_SIZE) != 0;
    uint32_t n = be32_get(v.p + ID_SIZE);
    memcpy(c->ms_id, v.p, ID_SIZE);
    if (is_new)
        c->ms_sequence = n;
    text_addf(&s->out, " seq=%u%s", n, is_new ? " new-id" : "");
}

static void show_message(struct stage *s, struct client *c, struct span bytes)
{
    static struct stun_msg m;
    int code;
    struct span v, reason;
    enum integrity_rule held;
    if (stun_parse(&STUN_MSTURN, bytes, &m)) {
        text_add(&s->out, " UNREADABLE");
        return;
    }
    text_addf(&s->out, " ms %s", stun_method_name(m.method));
    if (stun_get_error(&m, &code, &reason) == 0)
        text_addf(&s->out, " %d", code);
    else
        text_add(&s->out, m.cls == STUN_SUCCESS ? " ok" : " indication");
    show_number(s, "version", &m, AT_MS_VERSION);
    show_addr_of(s, "relayed", &m, AT_MAPPED_ADDRESS);
    show_addr_of(s, "mapped", &m, AT_XOR_MAPPED_ADDRESS);
    show_addr_of(s, "alternate", &m, AT_ALTERNATE_SERVER);
    show_addr_of(s, "remote", &m, AT_REMOTE_ADDRESS);
    show_number(s, "lifetime", &m, AT_LIFETIME);
    if (stun_get_bytes(&m, AT_REALM, &v) == 0)
        text_addf(&s->out, " realm=%.*s", (int)v.n, (const char *)v.p);
    if (stun_has(&m, AT_NONCE))
        text_add(&s->out, " nonce");
    if (stun_has(&m, AT_UNKNOWN_ATTRIBUTES))
        text_add(&s->out, " unknown");
    show_sequence(s, c, &m);
    if (stun_get_bytes(&m, AT_DATA, &v) == 0)
        show_text(s, v);
    if (stun_get_bytes(&m, AT_MESSAGE_INTEGRITY, &v) == 0)
        text_addf(&s->out, stun_verify(&m, &c->key, c->ms_rule, &held) == 0 ? " %s" : " WRONG-%s",
                  v.n == SHA1_SIZE ? "sha1" : "sha256");
    if (m.cls != STUN_INDICATION && memcmp(c->tid, stun_tid(&m), STUN_TID) != 0)
        text_add(&s->out, " earlier-request");
}

static void show_framed(struct stage *s, struct client *c, const struct act *act)
{
    struct frame f;
    size_t n = act->head.n + act->body.n;
    uint8_t *whole = malloc(n);
    must(whole && act->head.n >= 4);
    memcpy(whole, act->head.p, act->head.n);
    if (act->body.n)
        memcpy(whole + act->head.n, act->body.p, act->body.n);
    if (frame_next_msturn(span_of(whole, n), &f) || f.size != n)
        text_add(&s->out, " WRONG-FRAME");
    else if (f.kind == FRAME_MS_CONTROL)
        show_message(s, c, f.body);
    else
        show_text(s, f.body);
    free(whole);
}

bool ms_show(struct stage *s, const struct act *act)
{
    struct client *c = act->flow.link;
    bool is_stream = transport_is_stream(c->flow.tuple.transport);
    if (c->ms_rule == INTEGRITY_NONE || (!is_stream && act->head.n && sniff_datagram(act->head) != SPEECH_MSTURN))
        return false;
    text_addf(&s->out, "> %s", c->name);
    if (is_stream)
        show_framed(s, c, act);
    else if (act->head.n)
        show_message(s, c, act->head);
    else
        show_text(s, act->body);
    text_add(&s->out, "\n");
    return true;
}
