/* Lines that describe the server and its clients. Those about users, secrets and rules count from the start or, later,
 * from the next `reload` on. */
#include <stdio.h>
#include <stdlib.h>

#include "scenes/message.h"
#include "scenes/step.h"

static void set_client(struct stage *s, const struct words *x)
{
    static const char *const servers[] = {"192.31.196.1:3478", "[2606:4700::1]:3478"};
    if (x->n < 4 || s->clients_n == CLIENTS_MAX) {
        s->fault = "client NAME TRANSPORT ADDR [worker=N] [server=ADDR]";
        return;
    }
    struct client *c = &s->clients[s->clients_n++];
    const char *server = words_value(x, "server");
    *c = (struct client){.worker = (unsigned)words_u64(x, "worker", 0)};
    snprintf(c->name, sizeof c->name, "%s", words_at(x, 1));
    for (uint8_t t = TRANSPORT_UDP; t <= TRANSPORT_DTLS; t++)
        if (strcmp(words_at(x, 2), transport_name(t)) == 0)
            c->flow.tuple.transport = t;
    c->flow.tuple.client = message_addr(s, words_at(x, 3));
    c->flow.tuple.server = message_addr(s, server ? server : servers[c->flow.tuple.client.family == ADDR_V6]);
    c->flow.link = c;
}

/* LOCAL, LOCAL=ADVERTISED, or where-reached */
static void set_relay(struct stage *s, const char *text)
{
    if (strcmp(text, "where-reached") == 0) {
        s->policy.relay_where_reached = true;
        return;
    }
    char copy[2 * ADDR_TEXT_MAX];
    snprintf(copy, sizeof copy, "%s", text);
    char *equals = strchr(copy, '=');
    if (equals)
        *equals = 0;
    if (s->policy.relays_n == RELAYS_MAX) {
        s->fault = "too many relays";
        return;
    }
    struct turn_relay *r = &s->relays[s->policy.relays_n++];
    *r = (struct turn_relay){.local = message_addr(s, copy)};
    r->advertised = equals ? message_addr(s, equals + 1) : r->local;
}

static void set_limit(struct stage *s, const char *name, uint64_t value)
{
    const struct {
        const char *name;
        uint64_t *wide;
        uint32_t *narrow;
    } list[] = {
        {"allocations", &s->limits.allocations, NULL},
        {"user-allocations", &s->limits.user_allocations, NULL},
        {"source-allocations", &s->limits.source_allocations, NULL},
        {"connects-per-minute", &s->limits.user_connects_per_minute, NULL},
        {"user-bytes", &s->limits.user_bytes_per_s, NULL},
        {"source-bytes", &s->limits.source_bytes_per_s, NULL},
        {"total-bytes", &s->limits.total_bytes_per_s, NULL},
        {"answers", &s->limits.answers_per_s, NULL},
        {"permissions", NULL, &s->policy.allocation_permissions},
        {"channels", NULL, &s->policy.allocation_channels},
        {"connections", NULL, &s->policy.allocation_connections},
        {"lifetime-max", NULL, &s->policy.lifetime_max_s},
        {"lifetime", NULL, &s->policy.lifetime_default_s},
        {"nonce-lifetime", NULL, &s->shared.nonces.lifetime_s},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (strcmp(list[i].name, name) != 0)
            continue;
        if (list[i].wide)
            *list[i].wide = value;
        else
            *list[i].narrow = (uint32_t)value;
        return;
    }
    s->fault = "no such limit";
}

static void set_ports(struct stage *s, const char *text)
{
    if (sscanf(text, "%hu-%hu", &s->port_min, &s->port_max) != 2)
        s->fault = "ports MIN-MAX";
}

static void forget(struct stage *s, const char *what)
{
    if (strcmp(what, "users") == 0)
        stage_forget_settings(s, "u");
    else if (strcmp(what, "secrets") == 0)
        stage_forget_settings(s, "s");
    else if (strcmp(what, "rules") == 0)
        stage_forget_settings(s, "ad");
    else if (strcmp(what, "relays") == 0)
        s->policy.relays_n = 0;
    else
        s->fault = "forget users|secrets|rules|relays";
}

static void fail_opens(struct stage *s, const struct words *x, int err)
{
    s->failing_opens = (unsigned)strtoul(words_at(x, 1), NULL, 0);
    s->open_error = err;
}

bool setting_play(struct stage *s, const struct words *x)
{
    const char *verb = words_at(x, 0), *a = words_at(x, 1), *b = words_at(x, 2);
    if (strcmp(verb, "workers") == 0)
        s->workers = (unsigned)strtoul(a, NULL, 0);
    else if (strcmp(verb, "user") == 0)
        stage_add_setting(s, 'u', a, b);
    else if (strcmp(verb, "secret") == 0)
        stage_add_setting(s, 's', a, b);
    else if (strcmp(verb, "allow") == 0 || strcmp(verb, "deny") == 0)
        stage_add_setting(s, verb[0], a, b);
    else if (strcmp(verb, "own") == 0)
        stage_add_setting(s, 'o', a, b);
    else if (strcmp(verb, "forget") == 0)
        forget(s, a);
    else if (strcmp(verb, "relay") == 0)
        set_relay(s, a);
    else if (strcmp(verb, "ports") == 0)
        set_ports(s, a);
    else if (strcmp(verb, "limit") == 0)
        set_limit(s, a, strtoull(b, NULL, 0));
    else if (strcmp(verb, "client") == 0)
        set_client(s, x);
    else if (strcmp(verb, "ports-in-use") == 0)
        fail_opens(s, x, ERR_FULL);
    else if (strcmp(verb, "sockets-fail") == 0)
        fail_opens(s, x, ERR_SYS);
    else if (strcmp(verb, "events") == 0)
        s->is_quiet = strcmp(a, "off") == 0;
    else if (strcmp(verb, "dials") == 0)
        s->hides_dials = strcmp(a, "off") == 0;
    else if (strcmp(verb, "sizes") == 0)
        s->shows_size = strcmp(a, "on") == 0;
    else if (strcmp(verb, "stop") == 0)
        s->is_stopping_late = strcmp(a, "late") == 0;
    else
        return false;
    return true;
}
