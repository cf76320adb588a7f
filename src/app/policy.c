#include "app/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/mras.h"
#include "sys/sock.h"

enum { OWN_ADDRESSES_MAX = 256 };

/* ---- credentials ---- */

struct store_walk {
    struct policy *p;
    const char *realm;
};

static int add_stored(void *context, const struct store_user *u)
{
    struct store_walk *w = context;
    if (!u->is_enabled || strcmp(u->realm, w->realm) != 0)
        return 0;
    struct cred_keys keys;
    memcpy(keys.md5, u->md5, sizeof keys.md5);
    memcpy(keys.sha256, u->sha256, sizeof keys.sha256);
    w->p->users++;
    return cred_table_add_keys(w->p->creds, span_str(u->name), &keys);
}

static int add_user(struct policy *p, const char *user, const char *password)
{
    if (!user)
        return 0;
    p->users++;
    return cred_table_add(p->creds, span_str(user), span_str(password));
}

static int add_creds(struct policy *p, const struct policy_source *s, struct text *why)
{
    const struct config *c = s->config;
    p->creds = cred_table_new(span_str(c->realm));
    if (!p->creds) {
        text_addf(why, "realm: \"%s\" is empty or longer than %d bytes", c->realm, CRED_REALM_MAX);
        return ERR_BAD;
    }
    struct store_walk walk = {p, c->realm};
    int err = s->store ? store_list(s->store, add_stored, &walk, why) : 0;
    if (!err)
        err = add_user(p, s->own_user, s->own_password);
    for (size_t i = 0; i < c->users_n && !err; i++)
        err = add_user(p, c->users[i].name, c->users[i].password);
    for (size_t i = 0; i < c->secrets_n && !err; i++)
        err = cred_table_add_secret(p->creds, span_str(c->secrets[i]));
    if (s->mras)
        p->mras = *s->mras;
    cred_table_set_mras(p->creds, &p->mras);
    if (!err && cred_table_is_empty(p->creds)) {
        text_add(why,
                 "no credential is configured, so nobody could use the relay: add user, secret, or causeway user add");
        return ERR_BAD;
    }
    if (!err && s->test_user)
        err = cred_table_add(p->creds, span_str(s->test_user), span_str(s->test_password));
    if (err && why->n == 0)
        text_addf(why, "credentials: %s", err_text(err));
    return err;
}

/* ---- addresses and rules ---- */

/* A relay address that cannot be bound would refuse every allocation. */
static int check_relays(const struct config *c, struct text *why)
{
    for (size_t i = 0; i < c->relay_n; i++) {
        struct addr local = c->relay[i].local;
        int fd = sock_udp(&local, false, 0);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        char buf[ADDR_TEXT_MAX];
        text_addf(why, "relay-ip %s: %s: give an address of this machine; behind 1:1 NAT write LOCAL=PUBLIC",
                  addr_format_ip(&local, buf), strerror(errno));
        return ERR_BAD;
    }
    return 0;
}

static bool is_public(const struct addr *a)
{
    struct peer_rules *built_in = peer_rules_new();
    const char *rule;
    bool answer = built_in && peer_rules_judge(built_in, a, &rule) == PEER_ALLOWED;
    peer_rules_free(built_in);
    return answer;
}

static void add_relays(struct policy *p, const struct config *c)
{
    for (size_t i = 0; i < c->relay_n; i++)
        p->relays[i] = (struct turn_relay){c->relay[i].local, c->relay[i].advertised};
    p->turn.relays_n = c->relay_n;
    p->turn.relays = p->relays;
    p->turn.relay_where_reached = c->relay_n == 0;
    if (c->relay_n)
        return;
    /* For a client that wants the other family than the one it came by: our public address of that family, if any. */
    struct addr far[2] = {addr_v4(0x08080808, 53),
                          {.family = ADDR_V6, .port = 53, .ip = {0x20, 0x01, 0x48, 0x60, 0x48, 0x60, [15] = 0x88}}};
    for (int i = 0; i < 2; i++) {
        struct addr local = sock_route_source(&far[i]);
        if (local.family && is_public(&local))
            p->relays[p->turn.relays_n++] = (struct turn_relay){.local = addr_without_port(&local)};
    }
}

static bool is_relay(const struct policy *p, const struct addr *own)
{
    if (p->turn.relay_where_reached)
        return true;
    for (size_t i = 0; i < p->turn.relays_n; i++)
        if (addr_is_same_ip(&p->relays[i].local, own))
            return true;
    return false;
}

static int add_rules(struct policy *p, const struct config *c)
{
    p->rules = peer_rules_new();
    if (!p->rules)
        return ERR_NOMEM;
    int err = 0;
    for (size_t i = 0; i < c->rules_n && !err; i++)
        err = peer_rules_add(p->rules, &c->rules[i].prefix, c->rules[i].allow, c->rules[i].where);
    struct addr own[OWN_ADDRESSES_MAX];
    int n = sock_own_addresses(own, OWN_ADDRESSES_MAX);
    for (int i = 0; i < n && !err; i++)
        err = peer_rules_add_own(p->rules, &own[i], is_relay(p, &own[i]));
    for (size_t i = 0; i < p->turn.relays_n && !err; i++) {
        err = peer_rules_add_own(p->rules, &p->relays[i].local, true);
        if (!err && p->relays[i].advertised.family)
            err = peer_rules_add_own(p->rules, &p->relays[i].advertised, true);
    }
    return err;
}

/* ---- certificates ---- */

static int add_tls(struct policy *p, const struct policy_source *s, struct text *why)
{
    static const char *const alpn[] = {"stun.turn", "stun.nat-discovery", NULL}; /* RFC 7443 */
    if (!s->files.cert)
        return 0;
    p->tls = tls_server_new(&s->files, false, alpn, why);
    p->dtls = p->tls ? tls_server_new(&s->files, true, alpn, why) : NULL;
    if (!p->dtls || s->config->mras.listen_n == 0)
        return p->dtls ? 0 : ERR_CRYPTO;
    p->mras_tls = mras_tls_new(&s->files, s->config->mras.client_ca, why);
    return p->mras_tls ? 0 : ERR_CRYPTO;
}

/* ---- the whole ---- */

static void set_numbers(struct policy *p, const struct config *c)
{
    p->log_debug = c->log_debug;
    p->turn.creds = p->creds;
    p->turn.rules = p->rules;
    p->turn.lifetime_default_s = c->lifetime_default_s;
    p->turn.lifetime_max_s = c->lifetime_max_s;
    p->turn.is_ms_off = c->is_ms_off;
    p->turn.is_ms_only = c->is_ms_only;
    p->turn.ms_version = c->ms_version;
    p->turn.ms_alternate = c->ms_alternate;
    p->turn.allocation_permissions = (uint32_t)c->limits.allocation_permissions;
    p->turn.allocation_channels = (uint32_t)c->limits.allocation_channels;
    p->turn.allocation_connections = (uint32_t)c->limits.allocation_connections;
}

struct policy *policy_new(const struct policy_source *s, struct text *why)
{
    struct policy *p = calloc(1, sizeof *p);
    if (!p) {
        text_add(why, "out of memory");
        return NULL;
    }
    add_relays(p, s->config);
    int err = check_relays(s->config, why);
    if (!err)
        err = add_creds(p, s, why);
    if (!err)
        err = add_rules(p, s->config);
    if (!err)
        err = add_tls(p, s, why);
    if (!err) {
        set_numbers(p, s->config);
        return p;
    }
    if (why->n == 0)
        text_add(why, err_text(err));
    policy_free(p);
    return NULL;
}

void policy_free(struct policy *p)
{
    if (!p)
        return;
    cred_table_free(p->creds);
    peer_rules_free(p->rules);
    SSL_CTX_free(p->tls);
    SSL_CTX_free(p->dtls);
    SSL_CTX_free(p->mras_tls);
    digest_wipe(&p->mras, sizeof p->mras);
    free(p);
}

struct limits policy_limits(const struct config *c)
{
    const struct config_limits *x = &c->limits;
    return (struct limits){
        .allocations = x->allocations,
        .user_allocations = x->user_allocations,
        .source_allocations = x->source_allocations,
        .connections = x->connections,
        .source_connections = x->source_connections,
        .user_connects_per_minute = x->user_connects_per_minute,
        .user_bytes_per_s = x->user_bytes_per_s,
        .source_bytes_per_s = x->source_bytes_per_s,
        .total_bytes_per_s = x->total_bytes_per_s,
        .answers_per_s = x->unauthenticated_answers_per_s,
    };
}
