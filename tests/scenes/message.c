#include "scenes/message.h"

#include <stdlib.h>

static const struct {
    const char *word;
    uint8_t method, cls;
    bool has_credentials; /* those of alice, unless the step says otherwise */
} methods[] = {
    {"binding", STUN_BINDING, STUN_REQUEST, false},
    {"allocate", STUN_ALLOCATE, STUN_REQUEST, true},
    {"refresh", STUN_REFRESH, STUN_REQUEST, true},
    {"permit", STUN_CREATE_PERMISSION, STUN_REQUEST, true},
    {"bind-channel", STUN_CHANNEL_BIND, STUN_REQUEST, true},
    {"send", STUN_SEND, STUN_INDICATION, false},
    {"connect", STUN_CONNECT, STUN_REQUEST, true},
    {"bind", STUN_CONNECTION_BIND, STUN_REQUEST, true},
    {"binding-response", STUN_BINDING, STUN_SUCCESS, false},
    {"binding-error", STUN_BINDING, STUN_ERROR, false},
    {"binding-indication", STUN_BINDING, STUN_INDICATION, false},
    {"data-request", STUN_DATA, STUN_REQUEST, false},
};

/* ---- values ---- */

struct addr message_addr(struct stage *s, const char *text)
{
    struct addr a = {0};
    const struct thing *p = stage_thing(s->ports, s->ports_n, text);
    if (p)
        return stage_advertised(s, &p->addr);
    if (addr_parse(text, &a))
        s->fault = "not an address";
    return a;
}

static uint8_t protocol_of(const char *v)
{
    return strcmp(v, "udp") == 0 ? 17 : strcmp(v, "tcp") == 0 ? 6 : (uint8_t)strtoul(v, NULL, 0);
}

static uint8_t family_of(const char *v)
{
    return strcmp(v, "ipv4") == 0 ? 1 : strcmp(v, "ipv6") == 0 ? 2 : (uint8_t)strtoul(v, NULL, 0);
}

/* "C1" is the first CONNECTION-ID that was shown; a number is itself. */
static uint32_t id_of(struct stage *s, const char *v)
{
    unsigned i = *v == 'C' ? (unsigned)atoi(v + 1) : 0;
    if (*v != 'C')
        return (uint32_t)strtoul(v, NULL, 0);
    if (i == 0 || i > s->ids_n)
        s->fault = "no such CONNECTION-ID was seen";
    return s->fault ? 0 : s->ids[i - 1];
}

static uint64_t token_of(struct stage *s, const char *v)
{
    unsigned i = *v == 'T' ? (unsigned)atoi(v + 1) : 0;
    if (*v != 'T')
        return strtoull(v, NULL, 0);
    if (i == 0 || i > s->tokens_n)
        s->fault = "no such RESERVATION-TOKEN was seen";
    return s->fault ? 0 : s->tokens[i - 1];
}

/* ---- attributes ---- */

static void put_numbers(struct stun_wr *w, const struct words *x)
{
    const char *v;
    if ((v = words_value(x, "transport")))
        stun_put_u8(w, AT_REQUESTED_TRANSPORT, protocol_of(v));
    if ((v = words_value(x, "lifetime")))
        stun_put_u32(w, AT_LIFETIME, (uint32_t)strtoul(v, NULL, 0));
    if ((v = words_value(x, "family")))
        stun_put_u8(w, AT_REQUESTED_ADDRESS_FAMILY, family_of(v));
    if ((v = words_value(x, "additional")))
        stun_put_u8(w, AT_ADDITIONAL_ADDRESS_FAMILY, family_of(v));
    if ((v = words_value(x, "even")))
        stun_put_u8(w, AT_EVEN_PORT, strcmp(v, "pair") == 0 ? 0x80 : 0);
    if (words_has(x, "df"))
        stun_put_flag(w, AT_DONT_FRAGMENT);
    if ((v = words_value(x, "channel")))
        stun_put_u16(w, AT_CHANNEL_NUMBER, (uint16_t)strtoul(v, NULL, 0));
}

/* Attributes that no table knows, or of a length that none allows: written by hand. */
static void put_strange(struct stun_wr *w, const struct words *x)
{
    const char *v;
    for (int i = 0; (v = words_next_value(x, "unknown", &i));) {
        wr_u16(&w->w, (uint16_t)strtoul(v, NULL, 0));
        wr_u16(&w->w, 4);
        wr_u32(&w->w, 0);
    }
    if (words_has(x, "malformed")) { /* a LIFETIME of two bytes */
        wr_u16(&w->w, 0x000d);
        wr_u16(&w->w, 2);
        wr_u32(&w->w, 0);
    }
}

static void put_peers(struct stage *s, struct stun_wr *w, const struct words *x, const char *key)
{
    const char *v;
    for (int i = 0; (v = words_next_value(x, key, &i));) {
        struct addr a = message_addr(s, v);
        stun_put_addr(w, AT_XOR_PEER_ADDRESS, &a);
    }
}

static void put_attributes(struct stage *s, struct stun_wr *w, const struct words *x)
{
    static uint8_t filler[2048];
    const char *v;
    put_numbers(w, x);
    if ((v = words_value(x, "token")))
        stun_put_u64(w, AT_RESERVATION_TOKEN, token_of(s, v));
    put_peers(s, w, x, "peer");
    if ((v = words_value(x, "id")))
        stun_put_u32(w, AT_CONNECTION_ID, id_of(s, v));
    if ((v = words_value(x, "data")))
        stun_put_bytes(w, AT_DATA, span_str(v));
    if (words_value(x, "size"))
        stun_put_bytes(w, AT_DATA, span_take(span_of(filler, sizeof filler), words_u64(x, "size", 0)));
    put_strange(w, x);
}

/* ---- credentials ---- */

static void put_nonce(struct stage *s, const struct client *c, struct stun_wr *w, const char *how)
{
    char nonce[NONCE_SIZE];
    struct addr client = c->flow.tuple.client;
    uint64_t made_ms = s->now_ms;
    if (strcmp(how, "none") == 0)
        return;
    if (strcmp(how, "foreign") == 0)
        client.ip[0] ^= 1;
    if (strncmp(how, "at:", 3) == 0)
        made_ms = words_ms(how + 3);
    nonce_make(&s->shared.nonces, s->creds, &client, made_ms, nonce);
    if (strcmp(how, "forged") == 0)
        nonce[NONCE_SIZE - 1] ^= 1;
    if (strcmp(how, "given") == 0)
        stun_put_bytes(w, AT_NONCE, span_of(c->nonce, c->nonce_n));
    else if (strncmp(how, "text:", 5) == 0)
        stun_put_bytes(w, AT_NONCE, span_str(how + 5));
    else
        stun_put_bytes(w, AT_NONCE, span_of(nonce, sizeof nonce));
}

static void put_algorithm(struct stun_wr *w, const char *algorithm)
{
    static const uint8_t sha256[4] = {0, 2, 0, 0}, md5[4] = {0, 1, 0, 0}, both[8] = {0, 2, 0, 0, 0, 1, 0, 0};
    if (!algorithm)
        return;
    if (strcmp(algorithm, "bid-down") == 0) /* the list of the challenge, with the better one taken away */
        stun_put_bytes(w, AT_PASSWORD_ALGORITHMS, span_of(md5, sizeof md5));
    else if (strcmp(algorithm, "longer") == 0)
        stun_put_bytes(w, AT_PASSWORD_ALGORITHMS, span_of(both, sizeof both));
    else if (strcmp(algorithm, "unlisted") != 0)
        stun_put_bytes(w, AT_PASSWORD_ALGORITHMS, span_of(sha256, sizeof sha256));
    if (strcmp(algorithm, "sha256") == 0 || strcmp(algorithm, "unlisted") == 0)
        stun_put_bytes(w, AT_PASSWORD_ALGORITHM, span_of(sha256, sizeof sha256));
    else if (strcmp(algorithm, "listed") != 0)
        stun_put_bytes(w, AT_PASSWORD_ALGORITHM, span_of(md5, sizeof md5));
}

/* A token of the TURN REST scheme: secret=TEXT expires=SECONDS-FROM-NOW, or name=TEXT as it stands. */
static void make_token(struct stage *s, const struct words *x, const char *user, struct text *name,
                       struct text *password)
{
    int64_t expires = WALL_BASE_S + (int64_t)(s->now_ms / 1000);
    const char *v = words_value(x, "expires");
    expires += v ? strtoll(v, NULL, 10) : 3600;
    must(cred_token(span_str(words_value(x, "secret")), span_str(user), (uint64_t)expires, name, password) == 0);
}

struct who {
    char name[CRED_USER_MAX + 1], password[64];
    struct span realm;
};

static void who_is(struct stage *s, const struct words *x, struct who *who)
{
    struct text name = text_of(who->name, sizeof who->name), password = text_of(who->password, sizeof who->password);
    const char *user = words_value(x, "user"), *key = words_value(x, "key"), *realm = words_value(x, "realm");
    who->realm = realm ? span_str(realm) : cred_table_realm(s->creds);
    if (words_value(x, "secret")) {
        make_token(s, x, user ? user : "alice", &name, &password);
    } else {
        text_add(&name, user ? user : "alice");
        text_add(&password, key ? key : "sesame");
    }
}

static void put_names(struct stun_wr *w, const struct words *x, const struct who *who)
{
    uint8_t hash[SHA256_SIZE];
    const char *second = words_value(x, "second-user");
    if (words_has(x, "userhash") && stun_userhash(span_str(who->name), who->realm, hash) == 0)
        stun_put_bytes(w, AT_USERHASH, span_of(hash, sizeof hash));
    else if (!words_has(x, "nouser"))
        stun_put_bytes(w, AT_USERNAME, span_str(who->name));
    if (second)
        stun_put_bytes(w, AT_USERNAME, span_str(second));
    if (!words_has(x, "norealm"))
        stun_put_bytes(w, AT_REALM, who->realm);
}

static void put_credentials(struct stage *s, struct client *c, struct stun_wr *w, const struct words *x)
{
    const char *algorithm = words_value(x, "algorithm"), *integrity = words_value(x, "integrity");
    const char *nonce = words_value(x, "nonce");
    struct who who;
    who_is(s, x, &who);
    put_names(w, x, &who);
    put_nonce(s, c, w, nonce ? nonce : "fresh");
    put_algorithm(w, algorithm);
    bool strong = algorithm && strcmp(algorithm, "md5") != 0 && strcmp(algorithm, "bid-down") != 0;
    must((strong ? stun_key_sha256 : stun_key_md5)(&c->key, span_str(who.name), who.realm, span_str(who.password)) ==
         0);
    if (integrity ? strcmp(integrity, "sha256") == 0 : strong)
        stun_put_integrity(w, INTEGRITY_RFC_SHA256, &c->key, false);
    else if (!integrity || strcmp(integrity, "none") != 0)
        stun_put_integrity(w, INTEGRITY_RFC, &c->key, false);
}

/* Behind MESSAGE-INTEGRITY: must be ignored (checklist S19). */
static void put_late(struct stage *s, struct stun_wr *w, const struct words *x)
{
    if (words_value(x, "late-lifetime"))
        stun_put_u32(w, AT_LIFETIME, (uint32_t)words_u64(x, "late-lifetime", 0));
    if (words_value(x, "late-user"))
        stun_put_bytes(w, AT_USERNAME, span_str(words_value(x, "late-user")));
    put_peers(s, w, x, "late-peer");
    if (words_has(x, "late-integrity"))
        stun_put_integrity(w, INTEGRITY_RFC, &(struct stun_key){.n = 1}, false);
}

/* ---- messages ---- */

static struct span finish(struct stun_wr *w, const struct words *x, uint8_t *buf)
{
    bool is_wrong = words_has(x, "wrong-fingerprint");
    if (words_has(x, "fingerprint") || is_wrong)
        stun_put_fingerprint(w);
    struct span message = stun_end(w);
    if (is_wrong && message.n)
        buf[message.n - 1] ^= 1;
    return message;
}

struct span message_build(struct stage *s, struct client *c, const struct words *x, uint8_t *buf, size_t cap)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(methods[i].word, words_at(x, 1)) != 0)
            continue;
        struct stun_wr w;
        if (!words_has(x, "again")) /* "again": the transaction id of the client's request before */
            stun_new_tid(&STUN_RFC, c->tid);
        stun_begin(&w, &STUN_RFC, buf, cap, methods[i].method, methods[i].cls, c->tid);
        put_attributes(s, &w, x);
        if (methods[i].has_credentials && !words_has(x, "anonymous"))
            put_credentials(s, c, &w, x);
        put_late(s, &w, x);
        struct span message = finish(&w, x, buf);
        if (message.n == 0)
            s->fault = "this message cannot be built";
        return message;
    }
    s->fault = "unknown method";
    return span_of(NULL, 0);
}
