#include "app/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "app/turn_uris.h"
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

/* ---- output ---- */

static void line_uri(void *context, const char *uri, bool is_secure)
{
    text_addf(context, "uri:      %s\n", uri);
}

static void json_uri(void *context, const char *uri, bool is_secure)
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
    turn_uris_each(c, false, line_uri, out);
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
    turn_uris_each(c, false, json_uri, &j);
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
