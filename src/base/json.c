#include "base/json.h"

#include <math.h>

struct json json_of(struct text *out)
{
    return (struct json){out, false};
}

/* RFC 8259 s.7, and DEL and C1 too: JSON may end up on a terminal. */
static bool must_escape(uint32_t code)
{
    return code < 0x20 || code == '"' || code == '\\' || (code >= 0x7f && code < 0xa0);
}

/* Bytes at the start of `s` that may stand in a string as they are. */
static size_t plain_length(struct span s)
{
    size_t n = 0, more;
    uint32_t code;
    while ((more = text_utf8_first(span_skip(s, n), &code)) && !must_escape(code))
        n += more;
    return n;
}

/* Writes the first character of `s` escaped, or U+FFFD for a byte that is no UTF-8. Returns its length in `s`. */
static size_t put_escaped(struct text *out, struct span s)
{
    uint32_t code;
    size_t n = text_utf8_first(s, &code);
    if (n == 0) {
        text_add(out, "\xef\xbf\xbd");
        return 1;
    }
    switch (code) {
    case '"': text_add(out, "\\\""); break;
    case '\\': text_add(out, "\\\\"); break;
    case '\n': text_add(out, "\\n"); break;
    case '\r': text_add(out, "\\r"); break;
    case '\t': text_add(out, "\\t"); break;
    default: text_addf(out, "\\u%04x", (unsigned)code);
    }
    return n;
}

static void put_string(struct text *out, struct span s)
{
    text_add(out, "\"");
    while (s.n) {
        size_t n = plain_length(s);
        if (n)
            text_add_span(out, span_take(s, n));
        else
            n = put_escaped(out, s);
        s = span_skip(s, n);
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
