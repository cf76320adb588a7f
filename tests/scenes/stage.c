#include "scenes/stage.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "scenes/show.h"

/* ---- names ---- */

struct thing *stage_thing(struct thing *list, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

struct client *stage_client(struct stage *s, const char *name)
{
    for (unsigned i = 0; i < s->clients_n; i++)
        if (strcmp(s->clients[i].name, name) == 0)
            return &s->clients[i];
    return NULL;
}

struct addr stage_advertised(const struct stage *s, const struct addr *local)
{
    for (size_t i = 0; i < s->policy.relays_n; i++) {
        struct addr a = s->relays[i].advertised;
        if (!a.family || !addr_is_same_ip(&s->relays[i].local, local))
            continue;
        a.port = local->port;
        return a;
    }
    return *local;
}

/* ---- settings ---- */

void stage_add_setting(struct stage *s, char kind, const char *a, const char *b)
{
    struct setting *x = calloc(1, sizeof *x), **end = &s->settings;
    must(x);
    x->kind = kind;
    snprintf(x->a, sizeof x->a, "%s", a);
    snprintf(x->b, sizeof x->b, "%s", b);
    while (*end)
        end = &(*end)->next;
    *end = x;
}

void stage_forget_settings(struct stage *s, const char *kinds)
{
    for (struct setting **at = &s->settings; *at;) {
        struct setting *x = *at;
        if (!strchr(kinds, x->kind)) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        free(x);
    }
}

static void add_rule(struct stage *s, const struct setting *x)
{
    struct prefix p;
    char where[RULE_TEXT_MAX];
    struct text t = text_of(where, sizeof where);
    text_addf(&t, "%s %s", x->kind == 'a' ? "allow" : "deny", x->a);
    if (prefix_parse(x->a, &p) || peer_rules_add(s->rules, &p, x->kind == 'a', where))
        s->fault = "not a prefix";
}

static void add_own(struct stage *s, const char *text, bool relay)
{
    struct addr own;
    if (addr_parse(text, &own) || peer_rules_add_own(s->rules, &own, relay))
        s->fault = "not an address";
}

static void apply(struct stage *s, const struct setting *x)
{
    if (x->kind == 'u')
        must(cred_table_add(s->creds, span_str(x->a), span_str(x->b)) == 0);
    else if (x->kind == 's')
        must(cred_table_add_secret(s->creds, span_str(x->a)) == 0);
    else if (x->kind == 'o')
        add_own(s, x->a, false);
    else
        add_rule(s, x);
}

static void make_policy(struct stage *s)
{
    char buf[ADDR_TEXT_MAX];
    s->creds = cred_table_new(span_str("example.org"));
    s->rules = peer_rules_new();
    must(s->creds && s->rules);
    for (const struct setting *x = s->settings; x; x = x->next)
        apply(s, x);
    for (size_t i = 0; i < s->policy.relays_n; i++) {
        add_own(s, addr_format_ip(&s->relays[i].local, buf), true);
        if (s->relays[i].advertised.family)
            add_own(s, addr_format_ip(&s->relays[i].advertised, buf), true);
    }
    s->policy.creds = s->creds;
    s->policy.rules = s->rules;
    s->policy.relays = s->relays;
}

void stage_start(struct stage *s)
{
    if (s->turns[0])
        return;
    make_policy(s);
    s->shared.limiter = limiter_new(&s->limits);
    s->shared.ranges = port_ranges_new(s->port_min, s->port_max);
    must(s->shared.limiter && s->shared.ranges);
    for (unsigned i = 0; i < s->workers; i++) {
        s->turns[i] = turn_new(&s->shared, &s->policy, i, s->workers);
        must(s->turns[i]);
        turn_clock(s->turns[i], s->now_ms, WALL_BASE_S + s->now_ms / 1000);
    }
}

void stage_reload(struct stage *s)
{
    struct cred_table *creds = s->creds;
    struct peer_rules *rules = s->rules;
    make_policy(s);
    limiter_set(s->shared.limiter, &s->limits);
    for (unsigned i = 0; i < s->workers; i++) {
        turn_set_policy(s->turns[i], &s->policy);
        while (turn_revoke(s->turns[i], s->acts))
            stage_act(s, i);
        stage_act(s, i);
    }
    cred_table_free(creds);
    peer_rules_free(rules);
}

/* ---- carrying out ---- */

static void open_port(struct stage *s, unsigned w, const struct act *act)
{
    char buf[ADDR_TEXT_MAX];
    must(s->ports_n < PORTS_MAX);
    struct thing *p = &s->ports[s->ports_n];
    if (s->failing_opens) {
        s->failing_opens--;
        text_addf(&s->out, "> open %s %s fails\n", transport_name(act->relay), addr_format_ip(&act->addr, buf));
        turn_port_opened(s->turns[w], act->handle, s->open_error, NULL, s->acts);
        return;
    }
    *p = (struct thing){.worker = w, .handle = act->handle, .addr = act->addr, .relay = act->relay, .is_open = true};
    snprintf(p->name, sizeof p->name, "R%u", ++s->ports_n);
    text_addf(&s->out, "> open %s %s as %s\n", transport_name(act->relay), addr_format_ip(&act->addr, buf), p->name);
    turn_port_opened(s->turns[w], act->handle, 0, p, s->acts);
}

struct thing *stage_new_peer(struct stage *s, unsigned w, const struct addr *addr)
{
    must(s->peers_n < PEERS_MAX);
    struct thing *p = &s->peers[s->peers_n++];
    *p = (struct thing){.worker = w, .addr = *addr, .is_open = true};
    snprintf(p->name, sizeof p->name, "P%u", s->peers_n);
    return p;
}

static void dial(struct stage *s, unsigned w, const struct act *act)
{
    struct thing *p = stage_new_peer(s, w, &act->addr);
    char to[ADDR_TEXT_MAX], from[ADDR_TEXT_MAX];
    p->handle = act->handle;
    if (!s->hides_dials)
        text_addf(&s->out, "> dial %s peer=%s from=%s\n", p->name, show_addr(s, &act->addr, to),
                  show_addr(s, &act->from, from));
    turn_dialing(s->turns[w], act->handle, p);
}

static void to_peer(struct stage *s, const struct act *act)
{
    struct thing *from = act->link;
    char buf[ADDR_TEXT_MAX];
    text_addf(&s->out, "> %s to %s", from->name, show_addr(s, &act->addr, buf));
    show_text(s, act->body);
    text_add(&s->out, act->df ? " df\n" : "\n");
    for (unsigned i = 0; i < s->ports_n; i++) {
        struct thing *to = &s->ports[i];
        if (!to->is_open || !addr_is_equal(&to->addr, &act->addr) || to->relay != TRANSPORT_UDP)
            continue;
        must(s->parcels_n < PARCELS_MAX && act->body.n <= sizeof s->parcels[0].bytes);
        struct parcel *x = &s->parcels[s->parcels_n++];
        *x = (struct parcel){.from = from, .to = to, .n = act->body.n};
        memcpy(x->bytes, act->body.p, act->body.n);
    }
}

static void stop_pair(struct stage *s, unsigned w, struct thing *x)
{
    text_addf(&s->out, "> stop %s\n", x->name);
    if (!s->is_stopping_late)
        turn_pair_ended(s->turns[w], x->handle, 0, 0, "server", "stopped", s->acts);
}

static void carry_out(struct stage *s, unsigned w, const struct act *act)
{
    struct thing *x = act->link;
    struct client *c = act->flow.link;
    switch (act->kind) {
    case ACT_TO_CLIENT: show_to_client(s, act); break;
    case ACT_TO_PEER: to_peer(s, act); break;
    case ACT_OPEN_PORT: open_port(s, w, act); break;
    case ACT_CLOSE_PORT:
        must(x->is_open);
        x->is_open = false;
        text_addf(&s->out, "> close %s\n", x->name);
        break;
    case ACT_DIAL: dial(s, w, act); break;
    case ACT_DROP_PEER:
        must(x->is_open);
        x->is_open = false;
        text_addf(&s->out, "> drop %s%s\n", x->name, act->abort ? " with a reset" : "");
        break;
    case ACT_PAIR:
        x->handle = act->handle;
        text_addf(&s->out, "> pair %s %s\n", c->name, x->name);
        break;
    case ACT_STOP_PAIR: stop_pair(s, w, x); break;
    case ACT_HAND:
        text_addf(&s->out, "> hand %s to worker %u\n", c->name, act->worker);
        c->worker = act->worker;
        break;
    case ACT_JOIN:
        x->handle = act->handle;
        text_addf(&s->out, "> join %s %s\n", c->name, x->name);
        break;
    case ACT_FIN_PEER: text_addf(&s->out, "> fin %s\n", x->name); break;
    case ACT_FIN_CLIENT: text_addf(&s->out, "> fin %s%s\n", c->name, act->abort ? " and close" : ""); break;
    case ACT_TRUST_CLIENT: text_addf(&s->out, "> trust %s\n", c->name); break;
    default: s->fault = "an act that scenes do not know";
    }
}

static void carry_out_all(struct stage *s, unsigned w)
{
    for (const struct act *act; (act = acts_next(s->acts));)
        carry_out(s, w, act);
    for (unsigned i = 0; i < s->acts->events_n; i++)
        show_event(s, &s->acts->events[i]);
    acts_clear(s->acts);
}

void stage_act(struct stage *s, unsigned w)
{
    carry_out_all(s, w);
    for (unsigned i = 0; i < s->parcels_n; i++) {
        struct parcel *x = &s->parcels[i];
        if (!x->to->is_open)
            continue;
        turn_peer_datagram(s->turns[x->to->worker], x->to->handle, &x->from->addr, span_of(x->bytes, x->n), s->acts);
        carry_out_all(s, x->to->worker);
    }
    s->parcels_n = 0;
}

void stage_message(struct stage *s, struct client *c, struct span message)
{
    for (int hops = 0; hops < 2; hops++) {
        unsigned w = c->worker;
        if (turn_message(s->turns[w], &c->flow, message, s->acts))
            text_addf(&s->out, "> %s is not understood\n", c->name);
        stage_act(s, w);
        if (c->worker == w)
            return; /* otherwise it was handed over: the owner reads the same bytes again */
    }
}

/* ---- time ---- */

void stage_advance(struct stage *s, uint64_t to_ms)
{
    if (to_ms < s->now_ms) {
        s->fault = "time goes backwards";
        return;
    }
    for (;;) {
        uint64_t next = to_ms;
        for (unsigned i = 0; i < s->workers; i++)
            if (turn_deadline(s->turns[i]) < next)
                next = turn_deadline(s->turns[i]);
        if (next > s->now_ms)
            s->now_ms = next;
        for (unsigned i = 0; i < s->workers; i++) {
            turn_clock(s->turns[i], s->now_ms, WALL_BASE_S + s->now_ms / 1000);
            while (turn_tick(s->turns[i], s->acts))
                stage_act(s, i);
            stage_act(s, i);
        }
        port_ranges_expire(s->shared.ranges, s->now_ms); /* as the server does every second */
        if (s->now_ms >= to_ms)
            return;
    }
}

/* ---- beginning and end ---- */

void stage_init(struct stage *s, struct text out)
{
    memset(s, 0, sizeof *s);
    s->out = out;
    s->acts = acts_new();
    must(s->acts);
    nonce_key_init(&s->shared.nonces, 3600);
    s->workers = 1;
    s->now_ms = 1000;
    s->port_min = 50000;
    s->port_max = 59999;
    s->policy.lifetime_default_s = 600;
    s->policy.lifetime_max_s = 3600;
    s->policy.ms_version = 2;
}

static void end_worker(struct stage *s, unsigned w)
{
    bool more;
    do {
        more = turn_end_all(s->turns[w], "the scene ends", s->acts);
        for (const struct act *act; (act = acts_next(s->acts));)
            if (act->kind == ACT_STOP_PAIR) {
                struct thing *x = act->link;
                turn_pair_ended(s->turns[w], x->handle, 0, 0, "server", "the scene ends", s->acts);
            }
        acts_clear(s->acts);
    } while (more);
    for (unsigned i = 0; i < s->peers_n; i++) /* pairs that a scene left stopping */
        if (s->peers[i].worker == w && s->is_stopping_late)
            turn_pair_ended(s->turns[w], s->peers[i].handle, 0, 0, "server", "the scene ends", s->acts);
    acts_clear(s->acts);
}

static unsigned ports_taken(const struct stage *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->ports_n; i++) {
        struct port_range *r = port_ranges_of(s->shared.ranges, &s->ports[i].addr, s->ports[i].relay);
        n += r ? port_range_count(r) : 0;
    }
    return n;
}

void stage_close(struct stage *s)
{
    size_t left = 0;
    if (!s->turns[0])
        return;
    for (unsigned i = 0; i < s->workers; i++) {
        end_worker(s, i);
        left += turn_count(s->turns[i]);
    }
    port_ranges_expire(s->shared.ranges, UINT64_MAX);
    if (left || ports_taken(s) || limiter_count(s->shared.limiter, LIMIT_ALLOCATIONS) ||
        limiter_accounts(s->shared.limiter))
        s->fault = "allocations, ports or accounts are left at the end";
}

void stage_fini(struct stage *s)
{
    for (unsigned i = 0; i < s->workers; i++)
        turn_free(s->turns[i]);
    stage_forget_settings(s, "usado");
    limiter_free(s->shared.limiter);
    port_ranges_free(s->shared.ranges);
    cred_table_free(s->creds);
    peer_rules_free(s->rules);
    acts_free(s->acts);
}
