#include "app/ticket.h"

#include <time.h>

#include "base/json.h"

enum { BASE64_MAX = 4 * ((MRAS_USERNAME_SIZE + 2) / 3) + 1 };

static const char *location_of(const struct mras_relay *r)
{
    return r->locations == MRAS_INTERNET ? "internet" : r->locations == MRAS_INTRANET ? "intranet" : "both";
}

static void write_lines(const struct config *c, const char *username, const char *password, uint64_t expires_s,
                        struct text *out)
{
    char when[32] = "?";
    time_t t = (time_t)expires_s;
    struct tm tm;
    if (gmtime_r(&t, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    text_addf(out, "username: %s\npassword: %s\nrealm:    %s\nexpires:  %s\n", username, password, c->realm, when);
    for (size_t i = 0; i < c->mras.relays_n; i++) {
        const struct mras_relay *r = &c->mras.relays[i];
        text_addf(out, "relay:    %s udp %u tcp %u (%s)\n", r->host, r->udp_port, r->tcp_port, location_of(r));
    }
}

static void write_json(const struct config *c, const char *username, const char *password, uint64_t ttl_s,
                       struct text *out)
{
    struct json j = json_of(out);
    json_object(&j, NULL);
    json_text(&j, "username", span_str(username));
    json_text(&j, "password", span_str(password));
    json_text(&j, "realm", span_str(c->realm));
    json_u64(&j, "ttl", ttl_s);
    json_array(&j, "relays");
    for (size_t i = 0; i < c->mras.relays_n; i++) {
        const struct mras_relay *r = &c->mras.relays[i];
        json_object(&j, NULL);
        json_text(&j, "location", span_str(location_of(r)));
        json_text(&j, "host", span_str(r->host));
        json_u64(&j, "udp", r->udp_port);
        json_u64(&j, "tcp", r->tcp_port);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    text_add(out, "\n");
}

int ticket_make(const struct ticket_ask *ask, const struct config *c, const struct mras_keys *keys, struct text *out,
                struct text *why)
{
    char username[BASE64_MAX], password[BASE64_MAX];
    struct mras_ticket t;
    uint64_t ttl_s = ask->ttl_s ? ask->ttl_s : c->mras.lifetime_s;
    if (!ask->identity[0]) {
        text_add(why, "the identity is empty; write the name of the user, such as sip:alice@example.org");
        return ERR_BAD;
    }
    if (ttl_s > c->mras.lifetime_s) {
        text_addf(why, "longer than mras-lifetime (%u s); ask for less, or raise that", c->mras.lifetime_s);
        return ERR_BAD;
    }
    int err = mras_issue(keys, span_str(ask->identity), ask->now_s + ttl_s, &t);
    if (err) {
        text_add(why, err_text(err));
        return err;
    }
    text_base64(t.username, sizeof t.username, username);
    text_base64(t.password, sizeof t.password, password);
    if (ask->is_json)
        write_json(c, username, password, ttl_s, out);
    else
        write_lines(c, username, password, t.expires_s, out);
    explicit_bzero(&t, sizeof t);
    explicit_bzero(password, sizeof password);
    return 0;
}
