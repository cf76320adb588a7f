#include "base/ev.h"

#include <stdlib.h>
#include <time.h>

#include "base/json.h"

enum field_type { TEXT, ADDR, U64 };

static const struct {
    const char *key;
    enum field_type type;
} fields[] = {
#define FIELD(name, key, type) [EVF_##name] = {key, type},
#include "base/ev.def"
};

#define F(name) (1ull << EVF_##name)
static const struct {
    const char *name;
    enum ev_level level;
    uint64_t fields; /* a bit for each field that may stand in it */
} kinds[] = {
#define KIND(name, text, level, fields) [EV_##name] = {text, EV_##level, fields},
#include "base/ev.def"
};

_Static_assert(EVF_COUNT_OF_FIELDS <= 64, "a set of fields is a 64-bit number");

/* ---- building ---- */

void ev_begin(struct ev *e, enum ev_kind kind, uint64_t session)
{
    must((unsigned)kind < EV_COUNT_OF_KINDS);
    e->time_us = 0;
    e->session = session;
    e->kind = (uint8_t)kind;
    e->n = 0;
    e->texts_n = 0;
}

static struct ev_value *add(struct ev *e, enum ev_field f, enum field_type type)
{
    must((unsigned)f < EVF_COUNT_OF_FIELDS && fields[f].type == type);
    must(kinds[e->kind].fields >> f & 1);
    must(!ev_find(e, f));
    must(e->n < EV_FIELDS_MAX);
    struct ev_value *v = &e->values[e->n++];
    v->field = (uint8_t)f;
    return v;
}

void ev_text(struct ev *e, enum ev_field f, struct span value)
{
    size_t left = EV_TEXTS_MAX - e->texts_n;
    struct span cut = text_cut(value, left < EV_TEXT_MAX ? left : EV_TEXT_MAX);
    if (cut.n == 0)
        return;
    struct ev_value *v = add(e, f, TEXT);
    v->text.at = e->texts_n;
    v->text.n = (uint16_t)cut.n;
    memcpy(e->texts + e->texts_n, cut.p, cut.n);
    e->texts_n = (uint16_t)(e->texts_n + cut.n);
}

void ev_str(struct ev *e, enum ev_field f, const char *value)
{
    ev_text(e, f, span_str(value));
}

void ev_addr(struct ev *e, enum ev_field f, const struct addr *value)
{
    if (value->family != ADDR_NONE)
        add(e, f, ADDR)->addr = *value;
}

void ev_u64(struct ev *e, enum ev_field f, uint64_t value)
{
    add(e, f, U64)->u64 = value;
}

/* ---- reading ---- */

const char *ev_kind_name(enum ev_kind kind)
{
    return kinds[kind].name;
}

enum ev_level ev_kind_level(enum ev_kind kind)
{
    return kinds[kind].level;
}

const struct ev_value *ev_find(const struct ev *e, enum ev_field f)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->values[i].field == f)
            return &e->values[i];
    return NULL;
}

struct span ev_text_of(const struct ev *e, const struct ev_value *v)
{
    return span_of(e->texts + v->text.at, v->text.n);
}

/* ---- printing ---- */

static const char *level_text(enum ev_level level)
{
    static const char *const texts[] = {"debug", "info", "warn", "error"};
    return texts[level];
}

/* "allocation made" -> "allocation-made" */
static void put_kind_key(struct json *j, const char *name)
{
    char key[64];
    size_t n = strlen(name);
    must(n < sizeof key);
    for (size_t i = 0; i < n; i++)
        key[i] = name[i] == ' ' ? '-' : name[i];
    json_text(j, "event", span_of(key, n));
}

/* RFC 3339 in UTC, milliseconds */
static void put_time(struct json *j, uint64_t time_us)
{
    char buf[64];
    struct text t = text_of(buf, sizeof buf);
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    text_addf(&t, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
              tm.tm_min, tm.tm_sec, (unsigned)(time_us / 1000 % 1000));
    json_text(j, "time", span_of(t.buf, t.n));
}

static void put_session(struct json *j, uint64_t session)
{
    char buf[17];
    struct text t = text_of(buf, sizeof buf);
    text_addf(&t, "%016llx", (unsigned long long)session);
    json_text(j, "session", span_of(t.buf, t.n));
}

static void put_value(struct json *j, const struct ev *e, const struct ev_value *v)
{
    char buf[ADDR_TEXT_MAX];
    const char *key = fields[v->field].key;
    switch (fields[v->field].type) {
    case TEXT: json_text(j, key, ev_text_of(e, v)); break;
    case ADDR: json_text(j, key, span_str(addr_format(&v->addr, buf))); break;
    case U64: json_u64(j, key, v->u64); break;
    }
}

void ev_to_json(const struct ev *e, struct text *out)
{
    struct json j = json_of(out);
    json_object(&j, NULL);
    put_time(&j, e->time_us);
    put_kind_key(&j, kinds[e->kind].name);
    json_text(&j, "level", span_str(level_text(kinds[e->kind].level)));
    if (e->session)
        put_session(&j, e->session);
    for (size_t i = 0; i < e->n; i++)
        put_value(&j, e, &e->values[i]);
    json_object_end(&j);
}

/* Whether a text, printed as it is, could pass for several values or for a quoted one. */
static bool is_ambiguous(struct span s)
{
    return s.p[0] == ' ' || s.p[s.n - 1] == ' ' || memchr(s.p, '"', s.n) || memmem(s.p, s.n, "  ", 2);
}

static void print_text(struct text *out, struct span s)
{
    if (!is_ambiguous(s)) {
        text_add_safe(out, s);
        return;
    }
    text_add(out, "\"");
    for (const uint8_t *quote; (quote = memchr(s.p, '"', s.n));) {
        size_t before = (size_t)(quote - s.p);
        text_add_safe(out, span_take(s, before));
        text_add(out, "\\x22");
        s = span_skip(s, before + 1);
    }
    text_add_safe(out, s);
    text_add(out, "\"");
}

static void print_value(struct text *out, const struct ev *e, const struct ev_value *v)
{
    char buf[ADDR_TEXT_MAX];
    text_addf(out, "  %s ", fields[v->field].key);
    switch (fields[v->field].type) {
    case TEXT: print_text(out, ev_text_of(e, v)); break;
    case ADDR: text_add(out, addr_format(&v->addr, buf)); break;
    case U64: text_addf(out, "%llu", (unsigned long long)v->u64); break;
    }
}

static void print_coloured(struct text *out, const char *colour, const char *s)
{
    if (colour)
        text_addf(out, "\033[%sm%s\033[0m", colour, s);
    else
        text_add(out, s);
}

static void print_time(struct text *out, bool colour, uint64_t time_us)
{
    char buf[32];
    struct text t = text_of(buf, sizeof buf);
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm tm;
    localtime_r(&seconds, &tm);
    text_addf(&t, "%02d:%02d:%02d.%03u", tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(time_us / 1000 % 1000));
    print_coloured(out, colour ? "2" : NULL, buf);
}

void ev_to_line(const struct ev *e, bool colour, struct text *out)
{
    static const char *const colours[] = {[EV_WARN] = "33", [EV_ERROR] = "31"}; /* yellow, red */
    enum ev_level level = kinds[e->kind].level;
    print_time(out, colour, e->time_us);
    text_add(out, "  ");
    print_coloured(out, colour ? colours[level] : NULL, level_text(level));
    text_addf(out, "%*s%s", 7 - (int)strlen(level_text(level)), "", kinds[e->kind].name);
    for (size_t i = 0; i < e->n; i++)
        print_value(out, e, &e->values[i]);
}

/* ---- the ring ---- */

int ev_ring_init(struct ev_ring *r, uint32_t capacity)
{
    must(capacity > 0 && (capacity & (capacity - 1)) == 0);
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    atomic_init(&r->lost, 0);
    r->mask = capacity - 1;
    r->slots = calloc(capacity, sizeof *r->slots);
    return r->slots ? 0 : ERR_NOMEM;
}

void ev_ring_fini(struct ev_ring *r)
{
    free(r->slots);
    r->slots = NULL;
}

/* Only what is filled: a record is a kilobyte, and most of it is empty. */
static void copy(struct ev *to, const struct ev *from)
{
    memcpy(to, from, offsetof(struct ev, values) + from->n * sizeof from->values[0]);
    memcpy(to->texts, from->texts, from->texts_n);
}

bool ev_ring_put(struct ev_ring *r, const struct ev *e)
{
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    if (head - tail > r->mask) {
        atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
        return false;
    }
    copy(&r->slots[head & r->mask], e);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return true;
}

bool ev_ring_take(struct ev_ring *r, struct ev *out)
{
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    if (head == tail)
        return false;
    copy(out, &r->slots[tail & r->mask]);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}
