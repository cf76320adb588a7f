#include "app/config.h"

#include <errno.h>
#include <pwd.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_options.h"
#include "store/store.h"

/* A configuration under construction. */
struct making {
    struct config *config;
    struct conf *conf;
    struct text *why;
    int err; /* the newest */
};

#define refuse(m, id, v, ...) (conf_refuse((m)->conf, (id), (v), (m)->why, __VA_ARGS__), (m)->err = ERR_BAD)

static char *copy_text(struct making *m, const char *s)
{
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy)
        m->err = ERR_NOMEM;
    return copy;
}

/* Room for one more in a list of CONFIG_LIST_MAX? */
static bool has_room(struct making *m, size_t id, const struct conf_value *v, size_t n)
{
    if (n < CONFIG_LIST_MAX)
        return true;
    refuse(m, id, v, "more than %d values", CONFIG_LIST_MAX);
    return false;
}

/* ---- addresses ---- */

enum {
    DATAGRAMS = LISTEN_AUTO_UDP | LISTEN_UDP | LISTEN_DTLS,
    STREAMS = LISTEN_AUTO_TCP | LISTEN_TCP | LISTEN_TLS | LISTEN_PSEUDOTLS
};

static bool is_shared(unsigned a, unsigned b)
{
    return ((a & DATAGRAMS) && (b & DATAGRAMS)) || ((a & STREAMS) && (b & STREAMS));
}

static void add_listen(struct making *m, const struct conf_value *v, struct addr local, unsigned schemes)
{
    struct config *c = m->config;
    for (size_t i = 0; i < c->listen_n; i++)
        if (addr_is_equal(&c->listen[i].local, &local) && is_shared(c->listen[i].schemes, schemes)) {
            refuse(
                m, OPT_LISTEN, v,
                "another listen has this port already; ADDR:PORT without a scheme takes plain and encrypted clients");
            return;
        }
    if (has_room(m, OPT_LISTEN, v, c->listen_n))
        c->listen[c->listen_n++] = (struct config_listen){local, schemes};
}

/* Cuts "udp://" and the like off; 0: no such scheme. */
static unsigned cut_scheme(const char **text)
{
    static const struct {
        const char *name;
        unsigned schemes;
    } known[] = {{"udp", LISTEN_UDP},
                 {"tcp", LISTEN_TCP},
                 {"tls", LISTEN_TLS},
                 {"dtls", LISTEN_DTLS},
                 {"pseudotls", LISTEN_PSEUDOTLS}};
    const char *end = strstr(*text, "://");
    if (!end)
        return LISTEN_AUTO_UDP | LISTEN_AUTO_TCP;
    struct span name = span_of(*text, (size_t)(end - *text));
    *text = end + 3;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (span_is_equal(name, span_str(known[i].name)))
            return known[i].schemes;
    return 0;
}

static void make_listen(struct making *m, const struct conf_value *v)
{
    const char *text = v->text;
    unsigned schemes = cut_scheme(&text);
    if (schemes == 0) {
        refuse(m, OPT_LISTEN, v,
               "no such scheme; write udp://, tcp://, tls://, dtls://, pseudotls://, or none for all of them");
        return;
    }
    uint64_t port;
    struct addr local;
    const char *all = text[0] == '*' ? text + 1 : text;
    if (all[0] == ':' && !text_parse_u64(span_str(all + 1), 1, UINT16_MAX, &port)) {
        static const uint8_t any[16];
        add_listen(m, v, addr_v4(0, (uint16_t)port), schemes);
        add_listen(m, v, addr_v6(any, (uint16_t)port), schemes);
    } else if (!addr_parse_with_port(text, &local) && local.port) {
        add_listen(m, v, local, schemes);
    } else {
        refuse(m, OPT_LISTEN, v,
               "not an IP address with a port; write 192.0.2.1:3478, [2001:db8::1]:3478, or :3478 for all addresses");
    }
}

static bool is_usable_ip(const struct addr *a)
{
    static const uint8_t none[16];
    bool is_multicast = a->family == ADDR_V4 ? a->ip[0] >= 224 : a->ip[0] == 0xff;
    return a->port == 0 && !is_multicast && memcmp(a->ip, none, sizeof none) != 0;
}

/* "ADDR" or "LOCAL=PUBLIC" */
static int parse_relay(const char *text, struct config_relay *out)
{
    char local[ADDR_TEXT_MAX];
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    if (n >= sizeof local)
        return ERR_BAD;
    memcpy(local, text, n);
    local[n] = 0;
    *out = (struct config_relay){0};
    if (addr_parse(local, &out->local) || !is_usable_ip(&out->local))
        return ERR_BAD;
    if (!equals)
        return 0;
    if (addr_parse(equals + 1, &out->advertised) || !is_usable_ip(&out->advertised))
        return ERR_BAD;
    return out->advertised.family == out->local.family ? 0 : ERR_BAD;
}

static void make_relay(struct making *m, const struct conf_value *v)
{
    struct config *c = m->config;
    struct config_relay relay;
    if (parse_relay(v->text, &relay)) {
        refuse(m, OPT_RELAY_IP, v,
               "not an address of this machine; write 192.0.2.1, or \"10.0.0.5=192.0.2.1\" (local=public, same family) "
               "behind a one-to-one NAT, without ports");
        return;
    }
    for (size_t i = 0; i < c->relay_n; i++)
        if (addr_is_equal(&c->relay[i].local, &relay.local)) {
            refuse(m, OPT_RELAY_IP, v, "this address is given twice; keep one of the two");
            return;
        }
    if (has_room(m, OPT_RELAY_IP, v, c->relay_n))
        c->relay[c->relay_n++] = relay;
}

static int parse_ports(const char *text, uint64_t *first, uint64_t *last)
{
    const char *dash = strchr(text, '-');
    if (!dash || text_parse_u64(span_of(text, (size_t)(dash - text)), 1, UINT16_MAX, first))
        return ERR_BAD;
    return text_parse_u64(span_str(dash + 1), 1, UINT16_MAX, last);
}

static void make_ports(struct making *m)
{
    const struct conf_value *v = conf_value(m->conf, OPT_RELAY_PORTS, 0);
    uint64_t first = 0, last = 0;
    if (!v)
        return;
    if (parse_ports(v->text, &first, &last))
        refuse(m, OPT_RELAY_PORTS, v, "not a range of ports; write 49152-65535");
    else if (first > last)
        refuse(m, OPT_RELAY_PORTS, v, "the range is reversed; write %llu-%llu", (unsigned long long)last,
               (unsigned long long)first);
    else if (first < 1024)
        refuse(m, OPT_RELAY_PORTS, v, "ports below 1024 belong to services of the system; start at 1024 or above");
    m->config->relay_port_min = (uint16_t)first;
    m->config->relay_port_max = (uint16_t)last;
}

/* ---- credentials ---- */

static void make_realm(struct making *m)
{
    const struct conf_value *v = conf_value(m->conf, OPT_REALM, 0);
    const char *fault = v ? store_realm_fault(span_str(v->text)) : NULL;
    if (fault)
        refuse(m, OPT_REALM, v, "%s", fault);
    m->config->realm = v ? copy_text(m, v->text) : NULL;
}

static bool has_user(const struct config *c, struct span name)
{
    for (size_t i = 0; i < c->users_n; i++)
        if (span_is_equal(span_str(c->users[i].name), name))
            return true;
    return false;
}

static void make_user(struct making *m, const struct conf_value *v)
{
    struct config *c = m->config;
    const char *colon = strchr(v->text, ':');
    if (!colon || !colon[1]) {
        refuse(m, OPT_USER, v, "the password is missing; write NAME:PASSWORD");
        return;
    }
    struct span name = span_of(v->text, (size_t)(colon - v->text));
    const char *fault = store_name_fault(name);
    if (!fault)
        fault = store_password_fault(span_str(colon + 1));
    if (!fault && has_user(c, name))
        fault = "this name is given twice; keep one of the two";
    if (fault) {
        refuse(m, OPT_USER, v, "%s", fault);
        return;
    }
    struct config_user *u = &c->users[c->users_n];
    u->name = strndup(v->text, name.n);
    u->password = strdup(colon + 1);
    c->users_n++;
    if (!u->name || !u->password)
        m->err = ERR_NOMEM;
}

static void make_users(struct making *m)
{
    size_t n = conf_count(m->conf, OPT_USER);
    m->config->users = calloc(n + 1, sizeof *m->config->users);
    if (!m->config->users)
        m->err = ERR_NOMEM;
    for (size_t i = 0; m->config->users && i < n; i++)
        make_user(m, conf_value(m->conf, OPT_USER, i));
}

static void make_secret(struct making *m, const struct conf_value *v)
{
    struct config *c = m->config;
    if (has_room(m, OPT_SECRET, v, c->secrets_n))
        c->secrets[c->secrets_n++] = copy_text(m, v->text);
}

/* ---- peer rules ---- */

/* Why a text is not a prefix; of one with host bits the network is shown. */
static void refuse_prefix(struct making *m, size_t id, const struct conf_value *v)
{
    const char *slash = strchr(v->text, '/');
    struct addr host = {0};
    uint64_t bits;
    char ip[ADDR_TEXT_MAX], net[ADDR_TEXT_MAX];
    size_t n = slash ? (size_t)(slash - v->text) : 0;
    if (slash && n < sizeof ip) {
        memcpy(ip, v->text, n);
        ip[n] = 0;
        if (addr_parse(ip, &host) || text_parse_u64(span_str(slash + 1), 0, addr_ip_size(&host) * 8, &bits))
            host = (struct addr){0};
    }
    if (host.family == ADDR_NONE || host.port) {
        refuse(m, id, v, "not an address prefix; write 10.0.0.0/8, 2001:db8::/32 or a single address");
        return;
    }
    struct prefix p = prefix_of(&host, (uint8_t)bits);
    refuse(m, id, v, "bits behind the prefix are set; write %s, or the address alone", prefix_format(&p, net));
}

static const struct config_rule *find_rule(const struct config *c, const struct prefix *p)
{
    for (size_t i = 0; i < c->rules_n; i++)
        if (c->rules[i].prefix.bits == p->bits && addr_is_equal(&c->rules[i].prefix.net, &p->net))
            return &c->rules[i];
    return NULL;
}

static void make_rule(struct making *m, size_t id, const struct conf_value *v)
{
    struct config *c = m->config;
    struct prefix p;
    if (prefix_parse(v->text, &p)) {
        refuse_prefix(m, id, v);
        return;
    }
    const struct config_rule *other = find_rule(c, &p);
    if (other) {
        refuse(m, id, v, "contradicts or repeats %s; keep one of the two", other->where);
        return;
    }
    char where[400], net[ADDR_TEXT_MAX];
    struct text t = text_of(where, sizeof where);
    text_addf(&t, "%s %s (", conf_options[id].name, prefix_format(&p, net));
    conf_where(m->conf, id, v, &t);
    text_add(&t, ")");
    c->rules[c->rules_n++] = (struct config_rule){p, id == OPT_ALLOW_PEER, copy_text(m, where)};
}

static void make_rules(struct making *m)
{
    struct config *c = m->config;
    size_t allow = conf_count(m->conf, OPT_ALLOW_PEER), deny = conf_count(m->conf, OPT_DENY_PEER);
    c->rules = calloc(allow + deny + 1, sizeof *c->rules);
    if (!c->rules) {
        m->err = ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < allow; i++)
        make_rule(m, OPT_ALLOW_PEER, conf_value(m->conf, OPT_ALLOW_PEER, i));
    for (size_t i = 0; i < deny; i++)
        make_rule(m, OPT_DENY_PEER, conf_value(m->conf, OPT_DENY_PEER, i));
}

/* ---- process ---- */

static char *make_readable(struct making *m, size_t id)
{
    const struct conf_value *v = conf_value(m->conf, id, 0);
    char *path = v ? conf_path(m->conf, v) : NULL;
    if (v && !path)
        m->err = ERR_NOMEM;
    if (path && access(path, R_OK) != 0)
        refuse(m, id, v, "cannot be read: %s; check its name and its permissions", strerror(errno));
    return path;
}

static void make_certificate(struct making *m)
{
    struct config *c = m->config;
    c->cert = make_readable(m, OPT_CERT);
    c->key = make_readable(m, OPT_KEY);
    if (c->cert && !c->key)
        refuse(m, OPT_CERT, conf_value(m->conf, OPT_CERT, 0), "its private key is missing; add key = FILE");
    if (c->key && !c->cert)
        refuse(m, OPT_KEY, conf_value(m->conf, OPT_KEY, 0), "its certificate is missing; add cert = FILE");
}

/* Was the process started as root? A reload comes after it has become another account, and must find the same defaults.
 */
static bool was_root(void)
{
    static int answer = -1;
    if (answer < 0)
        answer = geteuid() == 0;
    return answer == 1;
}

static void make_account(struct making *m)
{
    const struct conf_value *v = conf_value(m->conf, OPT_RUN_AS, 0);
    if (!v || strcmp(v->text, "root") == 0)
        return;
    if (!getpwnam(v->text)) {
        refuse(m, OPT_RUN_AS, v, "there is no such account; make it (useradd --system %s) or name another", v->text);
        return;
    }
    if (was_root())
        m->config->run_as = copy_text(m, v->text);
}

static unsigned cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 256 ? 256 : (unsigned)n;
}

static void make_process(struct making *m)
{
    struct config *c = m->config;
    const struct conf_value *state = conf_value(m->conf, OPT_STATE, 0);
    unsigned workers = (unsigned)conf_number(m->conf, OPT_WORKERS);
    c->workers = workers ? workers : cores();
    c->state = state ? conf_path(m->conf, state) : NULL;
    if (state && !c->state)
        m->err = ERR_NOMEM;
    c->log_json = conf_number(m->conf, OPT_LOG) == 0;
    c->log_debug = conf_number(m->conf, OPT_LOG_LEVEL) == 1;
    c->drain_s = (uint32_t)conf_number(m->conf, OPT_DRAIN);
    c->self_test = conf_number(m->conf, OPT_SELF_TEST) != 0;
    make_account(m);
}

static void make_lifetimes(struct making *m)
{
    struct config *c = m->config;
    c->lifetime_default_s = (uint32_t)conf_number(m->conf, OPT_LIFETIME);
    c->lifetime_max_s = (uint32_t)conf_number(m->conf, OPT_LIFETIME_MAX);
    c->nonce_lifetime_s = (uint32_t)conf_number(m->conf, OPT_NONCE_LIFETIME);
    if (c->lifetime_default_s > c->lifetime_max_s)
        refuse(m, OPT_LIFETIME, conf_value(m->conf, OPT_LIFETIME, 0),
               "longer than lifetime-max (%u s); lower it or raise that", c->lifetime_max_s);
}

static void make_ms(struct making *m)
{
    struct config *c = m->config;
    const struct conf_value *v = conf_value(m->conf, OPT_MS_ALTERNATE_SERVER, 0);
    c->is_ms_off = conf_number(m->conf, OPT_MS_TURN) == 1;
    c->is_ms_only = conf_number(m->conf, OPT_MS_TURN) == 2;
    c->ms_version = (uint32_t)conf_number(m->conf, OPT_MS_VERSION);
    if (v && (addr_parse_with_port(v->text, &c->ms_alternate) || !c->ms_alternate.port))
        refuse(m, OPT_MS_ALTERNATE_SERVER, v, "not an IP address with a port; write 192.0.2.1:3478");
}

static void make_limits(struct making *m)
{
    static const struct {
        enum option id;
        size_t offset;
    } rows[] = {
        {OPT_MAX_ALLOCATIONS, offsetof(struct config_limits, allocations)},
        {OPT_MAX_ALLOCATIONS_PER_USER, offsetof(struct config_limits, user_allocations)},
        {OPT_MAX_ALLOCATIONS_PER_SOURCE, offsetof(struct config_limits, source_allocations)},
        {OPT_MAX_CONNECTIONS, offsetof(struct config_limits, connections)},
        {OPT_MAX_CONNECTIONS_PER_SOURCE, offsetof(struct config_limits, source_connections)},
        {OPT_MAX_CONNECTS_PER_MINUTE, offsetof(struct config_limits, user_connects_per_minute)},
        {OPT_USER_BANDWIDTH, offsetof(struct config_limits, user_bytes_per_s)},
        {OPT_SOURCE_BANDWIDTH, offsetof(struct config_limits, source_bytes_per_s)},
        {OPT_BANDWIDTH, offsetof(struct config_limits, total_bytes_per_s)},
        {OPT_MAX_PERMISSIONS, offsetof(struct config_limits, allocation_permissions)},
        {OPT_MAX_CHANNELS, offsetof(struct config_limits, allocation_channels)},
        {OPT_MAX_CONNECTIONS_PER_ALLOCATION, offsetof(struct config_limits, allocation_connections)},
        {OPT_UNAUTHENTICATED_ANSWERS, offsetof(struct config_limits, unauthenticated_answers_per_s)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = conf_number(m->conf, rows[i].id);
        memcpy((char *)&m->config->limits + rows[i].offset, &value, sizeof value);
    }
}

/* ---- defaults that are found at run time ---- */

static int default_state(struct conf *conf, struct text *why)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char dir[1024];
    struct text t = text_of(dir, sizeof dir);
    if (was_root())
        text_add(&t, "/var/lib/causeway");
    else if (xdg && xdg[0] == '/')
        text_addf(&t, "%s/causeway", xdg);
    else if (home && home[0] == '/')
        text_addf(&t, "%s/.local/state/causeway", home);
    else if (!conf_is_given(conf, OPT_STATE)) {
        text_add(why, "--state: neither HOME nor XDG_STATE_HOME says where to keep things; name a directory\n");
        return ERR_BAD;
    }
    return conf_default(conf, OPT_STATE, dir);
}

static int add_defaults(struct conf *conf, struct text *why)
{
    int err = default_state(conf, why);
    if (!err)
        err = conf_default(conf, OPT_LOG, isatty(STDERR_FILENO) ? "text" : "json");
    if (!err && was_root())
        err = conf_default(conf, OPT_RUN_AS, getpwnam("causeway") ? "causeway" : "nobody");
    return err ? err : conf_settle(conf);
}

/* ---- the whole ---- */

static void make_all(struct making *m)
{
    if (conf_is_given(m->conf, OPT_LISTEN))
        for (size_t i = 0; i < conf_count(m->conf, OPT_LISTEN); i++)
            make_listen(m, conf_value(m->conf, OPT_LISTEN, i));
    for (size_t i = 0; i < conf_count(m->conf, OPT_RELAY_IP); i++)
        make_relay(m, conf_value(m->conf, OPT_RELAY_IP, i));
    make_ports(m);
    make_realm(m);
    make_users(m);
    for (size_t i = 0; i < conf_count(m->conf, OPT_SECRET); i++)
        make_secret(m, conf_value(m->conf, OPT_SECRET, i));
    make_rules(m);
    make_certificate(m);
    make_process(m);
    make_lifetimes(m);
    int err = config_mras_make(m->conf, &m->config->mras, m->why);
    m->err = err ? err : m->err;
    make_limits(m);
    make_ms(m);
}

static int read_values(struct conf *conf, const char *file, int argc, char **argv, struct text *why)
{
    int err = conf_flags(conf, argc, argv, why);
    if (!err && conf->rest_n) {
        text_add_safe(why, span_str(conf->rest[0]));
        text_add(why, ": not a flag; values belong behind one, as in --realm example.org\n");
        err = ERR_BAD;
    }
    if (!file)
        file = conf_text(conf, OPT_CONFIG);
    int file_err = file ? conf_file(conf, file, why) : 0;
    return err ? err : file_err;
}

struct config *config_load(const char *file, int argc, char **argv, struct text *why)
{
    struct config *c = calloc(1, sizeof *c);
    struct making m = {.config = c, .conf = conf_new(conf_options, OPTIONS), .why = why};
    if (c)
        c->conf = m.conf;
    int err = c && m.conf ? read_values(m.conf, file, argc, argv, why) : ERR_NOMEM;
    if (err != ERR_NOMEM)
        m.err = add_defaults(m.conf, why);
    if (err != ERR_NOMEM && m.err != ERR_NOMEM) {
        make_all(&m);
        c->file = copy_text(&m, m.conf->file);
    }
    if (!err && !m.err)
        return c;
    if (err == ERR_NOMEM || m.err == ERR_NOMEM)
        text_add(why, "out of memory while reading the configuration\n");
    if (c)
        config_free(c);
    else
        conf_free(m.conf);
    return NULL;
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->users_n; i++) {
        free(c->users[i].name);
        free_secret(c->users[i].password);
    }
    for (size_t i = 0; i < c->secrets_n; i++)
        free_secret(c->secrets[i]);
    for (size_t i = 0; i < c->rules_n; i++)
        free(c->rules[i].where);
    free(c->users);
    free(c->rules);
    free(c->file);
    free(c->realm);
    free(c->state);
    free(c->cert);
    free(c->key);
    free(c->run_as);
    config_mras_fini(&c->mras);
    conf_free(c->conf);
    free(c);
}
