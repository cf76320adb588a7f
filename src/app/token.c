#include "app/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "core/cred.h"
#include "store/store.h"

enum { SECRET_MAX = 1024 };

/* ---- the secret ---- */

static int read_secret_file(const char *file, char *out, size_t cap, struct text *why)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, cap - 1) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        text_addf(why, "%s: cannot be read: %s; check its name and its permissions", file, strerror(error));
        return ERR_SYS;
    }
    out[n] = 0;
    out[strcspn(out, "\r\n")] = 0;
    if (out[0])
        return 0;
    text_addf(why, "%s: its first line is empty; it must be the shared secret", file);
    return ERR_BAD;
}

static int find_secret(const struct token_ask *ask, const struct config *c, char *out, size_t cap, struct text *why)
{
    if (ask->secret_file)
        return read_secret_file(ask->secret_file, out, cap, why);
    if (c->secrets_n == 0) {
        text_add(why,
                 "no shared secret: name a configuration that has one with -c FILE, or a file with --secret-file FILE");
        return ERR_NONE;
    }
    if (strlen(c->secrets[0]) >= cap) {
        text_add(why, "the shared secret is too long");
        return ERR_FULL;
    }
    strcpy(out, c->secrets[0]);
    return 0;
}

/* ---- URIs (RFC 7065) ---- */

typedef void take_uri(void *context, const char *uri);

static void uri_of(const struct addr *host, unsigned schemes, take_uri *take, void *context)
{
    static const struct {
        unsigned schemes;
        const char *scheme, *transport;
    } kinds[] = {
        {LISTEN_AUTO_UDP | LISTEN_UDP, "turn", "udp"},
        {LISTEN_AUTO_TCP | LISTEN_TCP, "turn", "tcp"},
        {LISTEN_TLS, "turns", "tcp"},
        {LISTEN_DTLS, "turns", "udp"},
    };
    char where[ADDR_TEXT_MAX], uri[ADDR_TEXT_MAX + 40];
    addr_format(host, where);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (schemes & kinds[i].schemes) {
            snprintf(uri, sizeof uri, "%s:%s?transport=%s", kinds[i].scheme, where, kinds[i].transport);
            take(context, uri);
        }
}

static bool is_any(const struct addr *a)
{
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, sizeof zero) == 0;
}

/* Of a listener on all addresses only the public ones are known that relay-ip names. */
static void uris_of_listen(const struct config *c, const struct config_listen *l, take_uri *take, void *context)
{
    if (!is_any(&l->local)) {
        uri_of(&l->local, l->schemes, take, context);
        return;
    }
    for (size_t i = 0; i < c->relay_n; i++) {
        const struct config_relay *r = &c->relay[i];
        struct addr host = r->advertised.family != ADDR_NONE ? r->advertised : r->local;
        host.port = l->local.port;
        if (host.family == l->local.family)
            uri_of(&host, l->schemes, take, context);
    }
}

static void for_each_uri(const struct config *c, take_uri *take, void *context)
{
    static const uint8_t any[16];
    struct config_listen all[2] = {{addr_v4(0, 3478), LISTEN_AUTO_UDP | LISTEN_AUTO_TCP},
                                   {addr_v6(any, 3478), LISTEN_AUTO_UDP | LISTEN_AUTO_TCP}};
    const struct config_listen *listen = c->listen_n ? c->listen : all;
    size_t n = c->listen_n ? c->listen_n : 2;
    for (size_t i = 0; i < n; i++)
        uris_of_listen(c, &listen[i], take, context);
}

/* ---- output ---- */

static void line_uri(void *context, const char *uri)
{
    text_addf(context, "uri:      %s\n", uri);
}

static void json_uri(void *context, const char *uri)
{
    json_text(context, NULL, span_str(uri));
}

static void write_lines(const struct config *c, const char *username, const char *password, uint64_t expires_s,
                        struct text *out)
{
    char when[32] = "?";
    time_t t = (time_t)expires_s;
    struct tm tm;
    if (gmtime_r(&t, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    text_add(out, "username: ");
    text_add_safe(out, span_str(username));
    text_addf(out, "\npassword: %s\nexpires:  %s\n", password, when);
    for_each_uri(c, line_uri, out);
}

static void write_json(const struct config *c, const char *username, const char *password, uint64_t ttl_s,
                       struct text *out)
{
    struct json j = json_of(out);
    json_object(&j, NULL);
    json_text(&j, "username", span_str(username));
    json_text(&j, "password", span_str(password));
    json_u64(&j, "ttl", ttl_s);
    json_array(&j, "uris");
    for_each_uri(c, json_uri, &j);
    json_array_end(&j);
    json_object_end(&j);
    text_add(out, "\n");
}

int token_make(const struct token_ask *ask, const struct config *c, struct text *out, struct text *why)
{
    char secret[SECRET_MAX], username[STORE_NAME_MAX + 1], password[64];
    struct text u = text_of(username, sizeof username), p = text_of(password, sizeof password);
    const char *fault = store_name_fault(span_str(ask->name));
    if (fault) {
        text_add(why, fault);
        return ERR_BAD;
    }
    int err = find_secret(ask, c, secret, sizeof secret, why);
    if (err)
        return err;
    err = cred_token(span_str(secret), span_str(ask->name), ask->now_s + ask->ttl_s, &u, &p);
    explicit_bzero(secret, sizeof secret);
    if (!err && u.truncated)
        err = ERR_FULL;
    if (err)
        text_add(why, err == ERR_FULL ? "the name is too long for a token" : err_text(err));
    else if (ask->is_json)
        write_json(c, username, password, ask->ttl_s, out);
    else
        write_lines(c, username, password, ask->now_s + ask->ttl_s, out);
    explicit_bzero(password, sizeof password);
    return err;
}
