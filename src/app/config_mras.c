#include "app/config_mras.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/config_options.h"

struct making {
    const struct conf *conf;
    struct config_mras *out;
    struct text *why;
    int err;
};

#define refuse(m, id, v, ...) (conf_refuse((m)->conf, (id), (v), (m)->why, __VA_ARGS__), (m)->err = ERR_BAD)

/* Cuts "WORD://" off if it stands there. */
static bool cut_word(const char **text, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*text, word, n) != 0 || strncmp(*text + n, "://", 3) != 0)
        return false;
    *text += n + 3;
    return true;
}

/* ---- listeners ---- */

static void add_listen(struct making *m, const struct conf_value *v, struct addr local, bool is_tls)
{
    struct config_mras *c = m->out;
    for (size_t i = 0; i < c->listen_n; i++)
        if (addr_is_equal(&c->listen[i].local, &local)) {
            refuse(m, OPT_MRAS_LISTEN, v, "this port is given twice; keep one of the two");
            return;
        }
    if (c->listen_n < MRAS_LISTEN_MAX)
        c->listen[c->listen_n++] = (struct config_mras_listen){local, is_tls};
    else
        refuse(m, OPT_MRAS_LISTEN, v, "more than %d addresses", MRAS_LISTEN_MAX);
}

static void make_listen(struct making *m, const struct conf_value *v)
{
    static const uint8_t any[16];
    const char *text = v->text;
    uint64_t port;
    struct addr local;
    bool is_tls = cut_word(&text, "tls"), is_tcp = !is_tls && cut_word(&text, "tcp");
    const char *all = text[0] == '*' ? text + 1 : text;
    if (!is_tls && !is_tcp) {
        refuse(m, OPT_MRAS_LISTEN, v, "the scheme is missing; write tls://:5062, or tcp:// for testing on loopback");
    } else if (all[0] == ':' && !text_parse_u64(span_str(all + 1), 1, UINT16_MAX, &port)) {
        add_listen(m, v, addr_v4(0, (uint16_t)port), is_tls);
        add_listen(m, v, addr_v6(any, (uint16_t)port), is_tls);
    } else if (!addr_parse_with_port(text, &local) && local.port) {
        add_listen(m, v, local, is_tls);
    } else {
        refuse(m, OPT_MRAS_LISTEN, v, "not an IP address with a port; write tls://192.0.2.1:5062 or tls://:5062");
    }
}

/* ---- relays ---- */

static bool is_host_name(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i] | 0x20;
        if (!(c >= 'a' && c <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != '-' && s.p[i] != '.')
            return false;
    }
    return s.n > 0 && s.n <= MRAS_HOST_MAX;
}

static int parse_port(struct span s, uint16_t *port)
{
    uint64_t n;
    if (text_parse_u64(s, 0, UINT16_MAX, &n))
        return ERR_BAD;
    *port = (uint16_t)n;
    return 0;
}

/* "UDP" or "UDP:TCP" */
static int parse_ports(struct span s, struct mras_relay *out)
{
    const uint8_t *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    struct span udp = span_take(s, colon ? (size_t)(colon - s.p) : s.n);
    if (parse_port(udp, &out->udp_port))
        return ERR_BAD;
    return colon ? parse_port(span_skip(s, udp.n + 1), &out->tcp_port) : 0;
}

static int parse_relay(const char *text, struct mras_relay *out, char host[MRAS_HOST_MAX + 1])
{
    struct addr ip;
    bool is_v6 = text[0] == '[';
    size_t n = strcspn(text, is_v6 ? "]" : ":");
    struct span name = is_v6 ? span_of(text + 1, n - 1) : span_of(text, n);
    const char *behind = text + n + (is_v6 && text[n] == ']');
    if (name.n > MRAS_HOST_MAX || (is_v6 && text[n] != ']') || (behind[0] && behind[0] != ':'))
        return ERR_BAD;
    memcpy(host, name.p, name.n);
    host[name.n] = 0;
    out->is_ip = addr_parse(host, &ip) == 0;
    if (is_v6 ? !out->is_ip || ip.family != ADDR_V6 : !is_host_name(name))
        return ERR_BAD;
    out->udp_port = 3478;
    out->tcp_port = 443;
    if (behind[0] && parse_ports(span_str(behind + 1), out))
        return ERR_BAD;
    return out->udp_port || out->tcp_port ? 0 : ERR_BAD;
}

static void make_relay(struct making *m, const struct conf_value *v)
{
    struct config_mras *c = m->out;
    if (c->relays_n == MRAS_RELAYS_MAX) {
        refuse(m, OPT_MRAS_RELAY, v, "more than %d relays", MRAS_RELAYS_MAX);
        return;
    }
    const char *text = v->text;
    struct mras_relay *relay = &c->relays[c->relays_n];
    relay->host = c->hosts[c->relays_n];
    relay->locations = cut_word(&text, "internet")   ? MRAS_INTERNET
                       : cut_word(&text, "intranet") ? MRAS_INTRANET
                                                     : MRAS_INTERNET | MRAS_INTRANET;
    if (parse_relay(text, relay, c->hosts[c->relays_n]))
        refuse(m, OPT_MRAS_RELAY, v,
               "not a relay; write internet://av.example.org:3478:443, intranet://[2001:db8::1], or a name alone");
    else
        c->relays_n++;
}

/* ---- who may ask ---- */

static void make_allow(struct making *m, const struct conf_value *v)
{
    struct config_mras *c = m->out;
    struct prefix p;
    if (prefix_parse(v->text, &p))
        refuse(m, OPT_MRAS_ALLOW, v,
               "not an address prefix; write 10.0.0.0/8, 2001:db8::/32 or a single address, without bits behind the "
               "prefix");
    else if (c->allow_n == MRAS_ALLOW_MAX)
        refuse(m, OPT_MRAS_ALLOW, v, "more than %d values", MRAS_ALLOW_MAX);
    else
        c->allow[c->allow_n++] = p;
}

static void make_client_ca(struct making *m)
{
    const struct conf_value *v = conf_value(m->conf, OPT_MRAS_CLIENT_CA, 0);
    m->out->client_ca = v ? conf_path(m->conf, v) : NULL;
    if (v && !m->out->client_ca)
        m->err = ERR_NOMEM;
    else if (v && access(m->out->client_ca, R_OK) != 0)
        refuse(m, OPT_MRAS_CLIENT_CA, v, "cannot be read: %s; check its name and its permissions", strerror(errno));
}

static bool is_loopback(const struct addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == ADDR_V4 ? a->ip[0] == 127 : a->family == ADDR_V6 && memcmp(a->ip, one, sizeof one) == 0;
}

bool config_mras_may_ask(const struct config_mras *c, const struct addr *from, bool is_certified)
{
    for (size_t i = 0; i < c->allow_n; i++)
        if (prefix_has(&c->allow[i], from))
            return true;
    return c->allow_n == 0 && (is_certified || is_loopback(from));
}

/* ---- the whole ---- */

static void for_each(struct making *m, size_t id, void (*make)(struct making *m, const struct conf_value *v))
{
    for (size_t i = 0; i < conf_count(m->conf, id); i++)
        make(m, conf_value(m->conf, id, i));
}

int config_mras_make(const struct conf *conf, struct config_mras *out, struct text *why)
{
    struct making m = {conf, out, why, 0};
    *out = (struct config_mras){.lifetime_s = (uint32_t)conf_number(conf, OPT_MRAS_LIFETIME)};
    for_each(&m, OPT_MRAS_LISTEN, make_listen);
    for_each(&m, OPT_MRAS_RELAY, make_relay);
    for_each(&m, OPT_MRAS_ALLOW, make_allow);
    make_client_ca(&m);
    if (!m.err && out->listen_n && !out->relays_n)
        refuse(&m, OPT_MRAS_LISTEN, conf_value(conf, OPT_MRAS_LISTEN, 0),
               "clients could not be told where the relay is; add mras-relay");
    return m.err;
}

void config_mras_fini(struct config_mras *c)
{
    free(c->client_ca);
    c->client_ca = NULL;
}
