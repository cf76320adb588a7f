/* Flags of a command line. */
#include <stdlib.h>

#include "sys/conf_value.h"

int conf_find(const struct conf *c, struct span name)
{
    for (size_t id = 0; id < c->n; id++)
        if (c->options[id].type != CONF_GROUP && span_is_equal(name, span_str(c->options[id].name)))
            return (int)id;
    return ERR_NONE;
}

void conf_suggest(const struct conf *c, const char *word, const char *mark, bool for_file, struct text *why)
{
    const char **names = calloc(c->n, sizeof *names);
    if (!names)
        return;
    size_t n = 0;
    for (size_t id = 0; id < c->n; id++)
        if (c->options[id].type != CONF_GROUP && !(for_file && c->options[id].is_flag_only))
            names[n++] = c->options[id].name;
    const char *nearest = conf_nearest(word, names, n);
    free(names);
    if (nearest)
        text_addf(why, "; did you mean %s%s?", mark, nearest);
}

struct flags {
    struct conf *c;
    int argc, at; /* `at`: the argument that is looked at */
    char *const *argv;
    struct text *why;
};

static int rest_add(struct conf *c, const char *argument)
{
    char **grown = reallocarray(c->rest, c->rest_n + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    c->rest = grown;
    grown[c->rest_n] = strdup(argument);
    if (!grown[c->rest_n])
        return ERR_NOMEM;
    c->rest_n++;
    return 0;
}

static int unknown_flag(const struct flags *f, struct span name, const char *dashes)
{
    char word[64];
    struct text t = text_of(word, sizeof word);
    text_add_span(&t, name);
    text_add(f->why, dashes);
    text_add_safe(f->why, name);
    text_add(f->why, ": no such flag");
    conf_suggest(f->c, word, "--", false, f->why);
    text_add(f->why, "\n");
    return ERR_BAD;
}

static int add(const struct flags *f, size_t id, const char *value)
{
    return conf_add(f->c, id, &(struct conf_value){.text = (char *)value, .source = CONF_FLAG}, f->why);
}

/* The argument behind the flag. One that looks like a flag itself is more likely a value forgotten. */
static int add_next(struct flags *f, size_t id)
{
    const struct conf_option *o = &f->c->options[id];
    const char *next = f->at + 1 < f->argc ? f->argv[f->at + 1] : NULL;
    if (!next || strncmp(next, "--", 2) == 0) {
        text_addf(f->why, "--%s: its value is missing; write --%s %s\n", o->name, o->name,
                  o->value ? o->value : "VALUE");
        return ERR_BAD;
    }
    f->at++;
    return add(f, id, next);
}

/* The bool that "no-NAME" switches off, or ERR_NONE. */
static int find_negated(const struct conf *c, struct span name)
{
    bool is_negation = name.n > 3 && memcmp(name.p, "no-", 3) == 0;
    int id = is_negation ? conf_find(c, span_skip(name, 3)) : ERR_NONE;
    return id >= 0 && c->options[id].type == CONF_BOOL ? id : ERR_NONE;
}

static int long_flag(struct flags *f)
{
    const char *text = f->argv[f->at] + 2;
    struct span name = span_of(text, strcspn(text, "="));
    const char *value = text[name.n] ? text + name.n + 1 : NULL;
    int id = conf_find(f->c, name), negated = id < 0 && !value ? find_negated(f->c, name) : ERR_NONE;
    if (negated >= 0)
        return add(f, (size_t)negated, "false");
    if (id < 0)
        return unknown_flag(f, name, "--");
    if (value)
        return add(f, (size_t)id, value);
    return f->c->options[id].type == CONF_BOOL ? add(f, (size_t)id, "true") : add_next(f, (size_t)id);
}

static int short_flag(struct flags *f)
{
    const char *flag = f->argv[f->at] + 1;
    for (size_t id = 0; id < f->c->n; id++)
        if (f->c->options[id].letter && f->c->options[id].letter == flag[0])
            return flag[1] ? add(f, id, flag + 1) : add_next(f, id);
    return unknown_flag(f, span_str(flag), "-");
}

static int take_argument(struct flags *f, bool *is_ended)
{
    const char *a = f->argv[f->at];
    if (*is_ended || a[0] != '-' || a[1] == 0)
        return rest_add(f->c, a);
    if (a[1] != '-')
        return short_flag(f);
    if (a[2])
        return long_flag(f);
    *is_ended = true;
    return 0;
}

int conf_flags(struct conf *c, int argc, char *const *argv, struct text *why)
{
    struct flags f = {c, argc, 1, argv, why};
    bool is_ended = false;
    int result = 0;
    for (; f.at < argc; f.at++) {
        int err = take_argument(&f, &is_ended);
        if (err)
            result = err;
        if (err == ERR_NOMEM)
            break;
    }
    return result;
}
