#include "app/turn_uri.h"

#include <strings.h>

#include "base/addr.h"

static const struct scheme {
    const char *name;
    bool is_turn, is_secure;
} schemes[] = {{"turns:", true, true}, {"turn:", true, false}, {"stuns:", false, true}, {"stun:", false, false}};

static int bad(struct text *why, const char *uri, const char *what)
{
    text_add(why, "\"");
    text_add_safe(why, span_str(uri));
    text_addf(why, "\": %s. Write it as turn:HOST, turn:HOST:PORT?transport=udp|tcp, turns:HOST (TLS) or stun:HOST.",
              what);
    return ERR_BAD;
}

static const char *take_scheme(const char *s, struct turn_uri *out)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t n = strlen(schemes[i].name);
        if (strncasecmp(s, schemes[i].name, n) != 0)
            continue;
        out->is_turn = schemes[i].is_turn;
        out->is_secure = schemes[i].is_secure;
        return s + n;
    }
    return NULL;
}

static bool is_host_byte(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' || c == '.' || c == '_';
}

static bool set_host(struct turn_uri *out, const char *p, size_t n)
{
    if (n == 0 || n >= sizeof out->host)
        return false;
    memcpy(out->host, p, n);
    out->host[n] = 0;
    return true;
}

/* "[2001:db8::1]" or a name or an IPv4 address. What follows it, or NULL. */
static const char *take_host(const char *s, struct turn_uri *out)
{
    struct addr literal;
    if (*s == '[') {
        const char *end = strchr(s, ']');
        bool fine = end && set_host(out, s + 1, (size_t)(end - s - 1)) && addr_parse(out->host, &literal) == 0 &&
                    literal.family == ADDR_V6;
        return fine ? end + 1 : NULL;
    }
    size_t n = 0;
    while (is_host_byte(s[n]))
        n++;
    return set_host(out, s, n) ? s + n : NULL;
}

static const char *take_port(const char *s, struct turn_uri *out)
{
    uint64_t port = out->is_secure ? TURNS_PORT : TURN_PORT;
    if (*s == ':') {
        size_t n = strcspn(++s, "?");
        if (text_parse_u64(span_of(s, n), 1, 65535, &port))
            return NULL;
        s += n;
    }
    out->port = (uint16_t)port;
    return s;
}

static bool take_transport(const char *s, struct turn_uri *out)
{
    if (*s == 0)
        return true;
    if (strcasecmp(s, "?transport=udp") == 0)
        out->transport = TURN_URI_UDP;
    else if (strcasecmp(s, "?transport=tcp") == 0)
        out->transport = TURN_URI_TCP;
    else
        return false;
    return true;
}

int turn_uri_parse(const char *uri, struct turn_uri *out, struct text *why)
{
    memset(out, 0, sizeof *out);
    const char *s = take_scheme(uri, out);
    if (!s)
        return bad(why, uri, "it does not begin with turn:, turns:, stun: or stuns:");
    if (s[0] == '/' && s[1] == '/')
        return bad(why, uri, "these addresses have no //");
    s = take_host(s, out);
    if (!s)
        return bad(why, uri, "the host is missing or has characters that no host name has (IPv6 addresses need [ ])");
    s = take_port(s, out);
    if (!s)
        return bad(why, uri, "the port is not a number from 1 to 65535");
    if (!take_transport(s, out))
        return bad(why, uri, "what follows the port is not ?transport=udp or ?transport=tcp");
    return 0;
}
