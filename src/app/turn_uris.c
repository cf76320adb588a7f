#include "app/turn_uris.h"

#include <stdio.h>

#include "sys/sock.h"

enum { URI_MAX = ADDR_TEXT_MAX + 40 };

struct walk {
    const struct config *c;
    bool is_here;
    turn_uri_take *take;
    void *context;
};

static void each_kind(const struct walk *w, const struct addr *host, unsigned schemes)
{
    static const struct {
        unsigned schemes;
        const char *scheme, *transport;
        bool is_secure;
    } kinds[] = {
        {LISTEN_AUTO_UDP | LISTEN_UDP, "turn", "udp", false},
        {LISTEN_AUTO_TCP | LISTEN_TCP | LISTEN_PSEUDOTLS, "turn", "tcp", false},
        {LISTEN_AUTO_UDP | LISTEN_DTLS, "turns", "udp", true},
        {LISTEN_AUTO_TCP | LISTEN_TLS | LISTEN_PSEUDOTLS, "turns", "tcp", true},
    };
    const unsigned told_apart = LISTEN_AUTO_UDP | LISTEN_AUTO_TCP | LISTEN_PSEUDOTLS;
    char where[ADDR_TEXT_MAX], uri[URI_MAX];
    addr_format(host, where);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bool is_trusted = w->c->cert || w->is_here || !kinds[i].is_secure || !(schemes & told_apart);
        if (!(schemes & kinds[i].schemes) || !is_trusted)
            continue;
        snprintf(uri, sizeof uri, "%s:%s?transport=%s", kinds[i].scheme, where, kinds[i].transport);
        w->take(w->context, uri, kinds[i].is_secure);
    }
}

static bool is_any(const struct addr *a)
{
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, sizeof zero) == 0;
}

/* This machine's address towards the rest of the world; loopback on a machine that has none. */
static struct addr own_address(uint8_t family)
{
    static const uint8_t far_v6[16] = {0x20, 0x01, 0x48, 0x60, [15] = 1}, loopback_v6[16] = {[15] = 1};
    struct addr far = family == ADDR_V4 ? addr_v4(0x08080808, 53) : addr_v6(far_v6, 53);
    struct addr own = sock_route_source(&far);
    if (own.family)
        return own;
    return family == ADDR_V4 ? addr_v4(0x7f000001, 0) : addr_v6(loopback_v6, 0);
}

static struct addr public_of(const struct config_relay *r)
{
    return r->advertised.family != ADDR_NONE ? r->advertised : r->local;
}

/* The names of one listener: its own address, as it is seen from outside where a relay address says so. */
static void each_host(const struct walk *w, const struct config_listen *l)
{
    const struct config *c = w->c;
    unsigned named = 0;
    for (size_t i = 0; i < c->relay_n; i++) {
        struct addr host = public_of(&c->relay[i]);
        host.port = l->local.port;
        bool is_same =
            is_any(&l->local) ? host.family == l->local.family : addr_is_same_ip(&c->relay[i].local, &l->local);
        if (!is_same)
            continue;
        each_kind(w, &host, l->schemes);
        named++;
    }
    if (named || (is_any(&l->local) && !w->is_here))
        return;
    struct addr host = is_any(&l->local) ? own_address(l->local.family) : l->local;
    host.port = l->local.port;
    each_kind(w, &host, l->schemes);
}

void turn_uris_each(const struct config *c, bool is_here, turn_uri_take *take, void *context)
{
    const struct walk w = {c, is_here, take, context};
    static const uint8_t any[16];
    const struct config_listen all[2] = {{addr_v4(0, 3478), LISTEN_AUTO_UDP | LISTEN_AUTO_TCP},
                                         {addr_v6(any, 3478), LISTEN_AUTO_UDP | LISTEN_AUTO_TCP}};
    const struct config_listen *listen = c->listen_n ? c->listen : all;
    size_t n = c->listen_n ? c->listen_n : 2;
    for (size_t i = 0; i < n; i++)
        each_host(&w, &listen[i]);
}
