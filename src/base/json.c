#include "base/json.h"

#include <math.h>

struct json json_of(struct text *out)
{
    return (struct json){out, false};
}

static void put_escaped(struct text *out, uint32_t code, struct span bytes)
{
    switch (code) {
    case '"': text_add(out, "\\\""); break;
    case '\\': text_add(out, "\\\\"); break;
    case '\n': text_add(out, "\\n"); break;
    case '\r': text_add(out, "\\r"); break;
    case '\t': text_add(out, "\\t"); break;
    default:
        if (code < 0x20 || (code >= 0x7f && code < 0xa0)) /* C0, DEL and C1: JSON may end up on a terminal */
            text_addf(out, "\\u%04x", (unsigned)code);
        else
            text_add_span(out, bytes);
    }
}

/* RFC 8259 s.7; what is no UTF-8 becomes U+FFFD, a byte at a time. */
static void put_string(struct text *out, struct span s)
{
    text_add(out, "\"");
    while (s.n) {
        uint32_t code;
        size_t n = text_utf8_first(s, &code);
        if (n)
            put_escaped(out, code, span_take(s, n));
        else
            text_add(out, "\xef\xbf\xbd");
        s = span_skip(s, n ? n : 1);
    }
    text_add(out, "\"");
}

/* What stands before every value: a comma if one came before, and the key. */
static void put_before(struct json *j, const char *key)
{
    if (j->need_comma)
        text_add(j->out, ",");
    j->need_comma = true;
    if (key) {
        put_string(j->out, span_str(key));
        text_add(j->out, ":");
    }
}

static void put_open(struct json *j, const char *key, const char *bracket)
{
    put_before(j, key);
    text_add(j->out, bracket);
    j->need_comma = false;
}

static void put_close(struct json *j, const char *bracket)
{
    text_add(j->out, bracket);
    j->need_comma = true;
}

void json_object(struct json *j, const char *key)
{
    put_open(j, key, "{");
}

void json_object_end(struct json *j)
{
    put_close(j, "}");
}

void json_array(struct json *j, const char *key)
{
    put_open(j, key, "[");
}

void json_array_end(struct json *j)
{
    put_close(j, "]");
}

void json_text(struct json *j, const char *key, struct span value)
{
    put_before(j, key);
    put_string(j->out, value);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
    put_before(j, key);
    text_addf(j->out, "%llu", (unsigned long long)value);
}

void json_double(struct json *j, const char *key, double value)
{
    if (!isfinite(value)) {
        json_null(j, key);
        return;
    }
    put_before(j, key);
    text_addf(j->out, "%.3f", value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    put_before(j, key);
    text_add(j->out, value ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
    put_before(j, key);
    text_add(j->out, "null");
}
