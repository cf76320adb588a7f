/* The requests of RFC 8656 and RFC 6062 as a table. */
#include "core/turnc_rules.h"

/* Refresh well before the end, in case that some requests get lost (RFC 8656 s.8: a minute). */
static void schedule_refresh(struct turnc *c, uint32_t lifetime_s, uint64_t now_ms)
{
    c->lifetime_s = lifetime_s;
    uint32_t wait_s = lifetime_s > 120 ? lifetime_s - 60 : lifetime_s / 2;
    c->refresh_ms = now_ms + (uint64_t)wait_s * 1000;
}

static void put_nothing(const struct turnc *c, const struct turnc_ask *a, struct stun_wr *w)
{
    (void)c, (void)a, (void)w;
}

static int binding_done(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    (void)a, (void)now_ms;
    if (stun_get_addr(m, AT_XOR_MAPPED_ADDRESS, &c->mapped) == 0)
        return 0;
    return stun_get_addr(m, AT_MAPPED_ADDRESS, &c->mapped) ? ERR_BAD : 0;
}

static void put_allocate(const struct turnc *c, const struct turnc_ask *a, struct stun_wr *w)
{
    const struct turnc_want *want = &c->want;
    stun_put_u8(w, AT_REQUESTED_TRANSPORT, want->transport);
    if (a->lifetime_s)
        stun_put_u32(w, AT_LIFETIME, a->lifetime_s);
    if (want->family)
        stun_put_u8(w, AT_REQUESTED_ADDRESS_FAMILY, want->family == ADDR_V6 ? 2 : 1);
    if (want->additional_v6)
        stun_put_u8(w, AT_ADDITIONAL_ADDRESS_FAMILY, 2);
    if (want->even_port)
        stun_put_u8(w, AT_EVEN_PORT, want->reserve ? 0x80 : 0);
    if (want->dont_fragment)
        stun_put_flag(w, AT_DONT_FRAGMENT);
    if (want->has_token)
        stun_put_bytes(w, AT_RESERVATION_TOKEN, span_of(want->token, sizeof want->token));
}

/* RFC 8656 s.7.3: a success without relayed address and lifetime is none. */
static int allocate_done(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    (void)a;
    uint32_t lifetime_s;
    if (stun_get_addr(m, AT_XOR_RELAYED_ADDRESS, &c->relayed) || stun_get_u32(m, AT_LIFETIME, &lifetime_s))
        return ERR_BAD;
    const struct stun_attr *first = stun_find(m, AT_XOR_RELAYED_ADDRESS), *second = stun_find_next(m, first);
    if (second)
        stun_attr_addr(m, second, &c->relayed2);
    stun_get_addr(m, AT_XOR_MAPPED_ADDRESS, &c->mapped);
    struct span token;
    c->has_token = stun_get_bytes(m, AT_RESERVATION_TOKEN, &token) == 0 && token.n == sizeof c->token;
    if (c->has_token)
        memcpy(c->token, token.p, sizeof c->token);
    c->is_allocated = true;
    schedule_refresh(c, lifetime_s, now_ms);
    return 0;
}

static void put_refresh(const struct turnc *c, const struct turnc_ask *a, struct stun_wr *w)
{
    (void)c;
    stun_put_u32(w, AT_LIFETIME, a->lifetime_s);
}

static int refresh_done(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    uint32_t lifetime_s;
    if (stun_get_u32(m, AT_LIFETIME, &lifetime_s))
        return ERR_BAD;
    if (a->lifetime_s == 0)
        turnc_forget(c);
    else
        schedule_refresh(c, lifetime_s, now_ms);
    return 0;
}

static void put_peer(const struct turnc *c, const struct turnc_ask *a, struct stun_wr *w)
{
    (void)c;
    if (a->channel)
        stun_put_u16(w, AT_CHANNEL_NUMBER, a->channel);
    stun_put_addr(w, AT_XOR_PEER_ADDRESS, &a->peer);
}

static int peer_done(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    (void)m;
    return turnc_keep_set(c, &a->peer, a->channel, now_ms);
}

static int connect_done(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    (void)c, (void)now_ms;
    return stun_get_u32(m, AT_CONNECTION_ID, &a->connection) ? ERR_BAD : 0;
}

static void put_connection(const struct turnc *c, const struct turnc_ask *a, struct stun_wr *w)
{
    (void)c;
    stun_put_u32(w, AT_CONNECTION_ID, a->connection);
}

static int bind_done(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms)
{
    (void)c, (void)a, (void)m, (void)now_ms;
    return 0;
}

static const struct turnc_verb verbs[] = {
    {STUN_BINDING, false, put_nothing, binding_done},        {STUN_ALLOCATE, true, put_allocate, allocate_done},
    {STUN_REFRESH, true, put_refresh, refresh_done},         {STUN_CREATE_PERMISSION, true, put_peer, peer_done},
    {STUN_CHANNEL_BIND, true, put_peer, peer_done},          {STUN_CONNECT, true, put_peer, connect_done},
    {STUN_CONNECTION_BIND, true, put_connection, bind_done},
};

const struct turnc_rules TURNC_RFC = {
    .dialect = &STUN_RFC,
    .plain_rule = INTEGRITY_RFC,
    .verbs = verbs,
    .verbs_n = sizeof verbs / sizeof verbs[0],
    .next_frame = frame_next_stun,
};
