#include "sys/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/conf_value.h"

struct conf *conf_new(const struct conf_option *options, size_t n)
{
    struct conf *c = calloc(1, sizeof *c);
    struct conf_slot *slots = calloc(n, sizeof *slots);
    if (!c || !slots) {
        free(c);
        free(slots);
        return NULL;
    }
    *c = (struct conf){.options = options, .n = n, .slots = slots};
    return c;
}

static void value_fini(struct conf_value *v)
{
    explicit_bzero(v->text, strlen(v->text));
    free(v->text);
}

void conf_drop(struct conf *c, size_t id, enum conf_source source)
{
    struct conf_slot *s = &c->slots[id];
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->values[i].source == source)
            value_fini(&s->values[i]);
        else
            s->values[kept++] = s->values[i];
    }
    s->n = kept;
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    for (size_t id = 0; id < c->n; id++) {
        for (size_t i = 0; i < c->slots[id].n; i++)
            value_fini(&c->slots[id].values[i]);
        free(c->slots[id].values);
    }
    for (size_t i = 0; i < c->rest_n; i++)
        free(c->rest[i]);
    free(c->rest);
    free(c->slots);
    free(c->file);
    free(c->file_dir);
    free(c);
}

/* ---- reading values ---- */

size_t conf_count(const struct conf *c, size_t id)
{
    return c->slots[id].n;
}

const struct conf_value *conf_value(const struct conf *c, size_t id, size_t i)
{
    return i < c->slots[id].n ? &c->slots[id].values[i] : NULL;
}

const char *conf_text(const struct conf *c, size_t id)
{
    const struct conf_value *v = conf_value(c, id, 0);
    return v ? v->text : NULL;
}

uint64_t conf_number(const struct conf *c, size_t id)
{
    const struct conf_value *v = conf_value(c, id, 0);
    return v ? v->number : 0;
}

bool conf_is_given(const struct conf *c, size_t id)
{
    const struct conf_value *v = conf_value(c, id, 0);
    return v && v->source != CONF_DEFAULT;
}

bool conf_is_same(const struct conf *a, const struct conf *b, size_t id)
{
    if (conf_count(a, id) != conf_count(b, id))
        return false;
    for (size_t i = 0; i < conf_count(a, id); i++)
        if (strcmp(conf_value(a, id, i)->text, conf_value(b, id, i)->text) != 0)
            return false;
    return true;
}

char *conf_path(const struct conf *c, const struct conf_value *v)
{
    if (v->text[0] == '/')
        return strdup(v->text);
    char *here = v->source == CONF_FILE && c->file_dir ? strdup(c->file_dir) : getcwd(NULL, 0);
    char *path;
    if (!here || asprintf(&path, "%s/%s", here, v->text) < 0)
        path = NULL;
    free(here);
    return path;
}

/* ---- messages ---- */

void conf_where(const struct conf *c, size_t id, const struct conf_value *v, struct text *out)
{
    if (v->source == CONF_FLAG)
        text_addf(out, "--%s", c->options[id].name);
    else if (v->source == CONF_FILE)
        text_addf(out, "%s:%u", c->file, v->line);
    else
        text_add(out, "default");
}

void conf_refuse(const struct conf *c, size_t id, const struct conf_value *v, struct text *why, const char *fmt, ...)
{
    const struct conf_option *o = &c->options[id];
    conf_where(c, id, v, why);
    if (v->source != CONF_FLAG)
        text_addf(why, ": %s", o->name);
    if (!o->is_secret) {
        text_add(why, " \"");
        text_add_safe(why, span_str(v->text));
        text_add(why, "\"");
    }
    text_add(why, ": ");
    char message[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    text_addf(why, "%s\n", message);
}

/* Edits that make one word of the other: a character inserted, left out, changed, or two neighbours swapped. */
static unsigned distance(const char *a, const char *b)
{
    enum { MAX = 40 };
    size_t m = strlen(a), n = strlen(b);
    if (m > MAX || n > MAX)
        return MAX;
    unsigned rows[MAX + 1][MAX + 1];
    for (size_t i = 0; i <= m; i++)
        for (size_t j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                rows[i][j] = (unsigned)(i + j);
                continue;
            }
            unsigned best = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            unsigned shorter = (rows[i - 1][j] < rows[i][j - 1] ? rows[i - 1][j] : rows[i][j - 1]) + 1;
            best = shorter < best ? shorter : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && rows[i - 2][j - 2] + 1 < best)
                best = rows[i - 2][j - 2] + 1;
            rows[i][j] = best;
        }
    return rows[m][n];
}

const char *conf_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL, *longer = NULL;
    size_t length = strlen(word), third = length / 3 + 1; /* more wrong than that is another word */
    unsigned least = third < 4 ? (unsigned)third : 4;
    for (size_t i = 0; i < n; i++) {
        unsigned d = distance(word, names[i]);
        if (d <= least) {
            best = names[i];
            least = d - (d > 0);
        }
        if (!longer && length > 2 && strncmp(word, names[i], length) == 0)
            longer = names[i];
    }
    return best ? best : longer;
}

/* ---- taking values ---- */

static int value_number(const struct conf_option *o, struct conf_value *v)
{
    if (o->type == CONF_SECONDS)
        return text_parse_seconds(v->text, &v->number);
    if (o->type == CONF_BYTES)
        return text_parse_bytes(v->text, &v->number);
    return text_parse_u64(span_str(v->text), 0, UINT64_MAX, &v->number);
}

static int value_bool(struct conf_value *v)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(v->text, words[i]) == 0) {
            v->number = i % 2;
            return 0;
        }
    return ERR_BAD;
}

static int value_choice(const struct conf_option *o, struct conf_value *v)
{
    size_t length = strlen(v->text), index = 0;
    for (const char *word = o->choices; *word; index++) {
        size_t n = strcspn(word, "|");
        if (n == length && memcmp(word, v->text, n) == 0) {
            v->number = index;
            return 0;
        }
        word += n + (word[n] == '|');
    }
    return ERR_BAD;
}

static int check_number(const struct conf *c, size_t id, struct conf_value *v, struct text *why)
{
    const struct conf_option *o = &c->options[id];
    if (value_number(o, v)) {
        conf_refuse(c, id, v, why, "%s",
                    o->type == CONF_SECONDS ? "not a duration; write 90, 90s, 10m, 2h or 1d"
                    : o->type == CONF_BYTES ? "not a size; write 4096, 64k, 10M or 1G (powers of 1024)"
                                            : "not a whole number; write digits alone");
        return ERR_BAD;
    }
    if (v->number >= o->min && (o->max == 0 || v->number <= o->max))
        return 0;
    const char *unit = o->type == CONF_SECONDS ? " seconds" : o->type == CONF_BYTES ? " bytes" : "";
    if (o->max)
        conf_refuse(c, id, v, why, "out of range; %llu to %llu%s are possible", (unsigned long long)o->min,
                    (unsigned long long)o->max, unit);
    else
        conf_refuse(c, id, v, why, "too small; the least is %llu%s", (unsigned long long)o->min, unit);
    return ERR_BAD;
}

static int check_text(const struct conf *c, size_t id, const struct conf_value *v, struct text *why)
{
    if (v->text[0] == 0)
        conf_refuse(c, id, v, why, "the value is empty; give one, or leave the option out");
    else if (!text_is_clean(span_str(v->text)))
        conf_refuse(c, id, v, why, "control characters and bytes that are not UTF-8 cannot be part of a value");
    else
        return 0;
    return ERR_BAD;
}

static int check_value(const struct conf *c, size_t id, struct conf_value *v, struct text *why)
{
    const struct conf_option *o = &c->options[id];
    if (check_text(c, id, v, why))
        return ERR_BAD;
    switch (o->type) {
    case CONF_GROUP:
    case CONF_TEXT: return 0;
    case CONF_BOOL:
        if (!value_bool(v))
            return 0;
        conf_refuse(c, id, v, why, "neither yes nor no; write true or false");
        return ERR_BAD;
    case CONF_CHOICE:
        if (!value_choice(o, v))
            return 0;
        conf_refuse(c, id, v, why, "not one of %s", o->choices);
        return ERR_BAD;
    case CONF_NUMBER:
    case CONF_SECONDS:
    case CONF_BYTES: break;
    }
    return check_number(c, id, v, why);
}

/* The value of this option that came from the same source, or NULL. */
static const struct conf_value *earlier(const struct conf *c, size_t id, enum conf_source source)
{
    for (size_t i = 0; i < c->slots[id].n; i++)
        if (c->slots[id].values[i].source == source)
            return &c->slots[id].values[i];
    return NULL;
}

static int check_repeated(const struct conf *c, size_t id, const struct conf_value *v, struct text *why)
{
    if (c->options[id].is_list) {
        if (c->slots[id].n < CONF_VALUES_MAX)
            return 0;
        conf_refuse(c, id, v, why, "more than %d values", CONF_VALUES_MAX);
        return ERR_BAD;
    }
    const struct conf_value *first = earlier(c, id, v->source);
    if (!first)
        return 0;
    if (v->source == CONF_FILE)
        conf_refuse(c, id, v, why, "already given in line %u; keep one of the two", first->line);
    else
        conf_refuse(c, id, v, why, "given twice; keep one of the two");
    return ERR_BAD;
}

static int slot_add(struct conf_slot *s, const struct conf_value *v)
{
    struct conf_value *grown = reallocarray(s->values, s->n + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    s->values = grown;
    struct conf_value *own = &s->values[s->n];
    *own = *v;
    own->text = strdup(v->text);
    if (!own->text)
        return ERR_NOMEM;
    s->n++;
    return 0;
}

int conf_add(struct conf *c, size_t id, const struct conf_value *value, struct text *why)
{
    struct conf_value v = *value;
    if (check_value(c, id, &v, why) || check_repeated(c, id, &v, why))
        return ERR_BAD;
    return slot_add(&c->slots[id], &v);
}

int conf_default(struct conf *c, size_t id, const char *text)
{
    if (conf_count(c, id))
        return 0;
    char none[200];
    struct text why = text_of(none, sizeof none);
    return conf_add(c, id, &(struct conf_value){.text = (char *)text, .source = CONF_DEFAULT}, &why);
}

int conf_settle(struct conf *c)
{
    for (size_t id = 0; id < c->n; id++) {
        if (earlier(c, id, CONF_FLAG))
            conf_drop(c, id, CONF_FILE);
        const char *fallback = c->options[id].fallback;
        int err = fallback ? conf_default(c, id, fallback) : 0;
        if (err)
            return err;
    }
    return 0;
}
