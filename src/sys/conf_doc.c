/* Texts made from a table of options: the effective values, help, sample and manual. */
#include <ctype.h>

#include "sys/conf.h"

/* ---- the effective values ---- */

/* What may be shown of a value: of a secret nothing, or the name in front of its colon. */
static struct span shown(const struct conf_option *o, const char *text, bool show_secrets)
{
    struct span all = span_str(text);
    if (!o->is_secret || show_secrets)
        return all;
    const char *colon = o->value && strchr(o->value, ':') ? strchr(text, ':') : NULL;
    return span_take(all, colon ? (size_t)(colon - text) + 1 : 0);
}

static bool is_quoted(const struct conf_option *o)
{
    return o->type == CONF_TEXT;
}

static void add_escaped(struct text *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr("\"\\$", s.p[i]))
            text_add(out, "\\");
        text_add_span(out, span_of(s.p + i, 1));
    }
}

static void print_value(const struct conf *c, size_t id, const struct conf_value *v, bool show_secrets,
                        struct text *out)
{
    enum { COLUMN = 44 };
    const struct conf_option *o = &c->options[id];
    char where[400];
    struct text w = text_of(where, sizeof where);
    size_t start = out->n;
    text_addf(out, "%s = ", o->name);
    if (is_quoted(o)) {
        text_add(out, "\"");
        add_escaped(out, shown(o, v->text, show_secrets));
        text_add(out, o->is_secret && !show_secrets ? "***\"" : "\"");
    } else {
        text_add(out, v->text);
    }
    size_t used = out->n - start;
    conf_where(c, id, v, &w);
    text_addf(out, "%*s # ", used < COLUMN ? (int)(COLUMN - used) : 0, "");
    text_add_safe(out, span_str(where));
    text_add(out, "\n");
}

static void print_missing(const struct conf_option *o, struct text *out)
{
    text_addf(out, "# %s: %s\n", o->name, o->fallback_help ? o->fallback_help : "none");
}

static void print_group(const char *heading, struct text *out)
{
    text_addf(out, "%s# %s\n", out->n ? "\n" : "", heading);
}

void conf_print(const struct conf *c, bool show_secrets, struct text *out)
{
    for (size_t id = 0; id < c->n; id++) {
        const struct conf_option *o = &c->options[id];
        if (o->type == CONF_GROUP)
            print_group(o->name, out);
        if (o->type == CONF_GROUP || o->is_flag_only)
            continue;
        for (size_t i = 0; i < conf_count(c, id); i++)
            print_value(c, id, conf_value(c, id, i), show_secrets, out);
        if (conf_count(c, id) == 0)
            print_missing(o, out);
    }
}

static void json_value(const struct conf_option *o, const char *key, const struct conf_value *v, bool show_secrets,
                       struct json *out)
{
    char masked[600];
    struct text t = text_of(masked, sizeof masked);
    text_add_span(&t, shown(o, v->text, show_secrets));
    text_add(&t, "***");
    switch (o->type) {
    case CONF_GROUP: break;
    case CONF_BOOL: json_bool(out, key, v->number != 0); break;
    case CONF_NUMBER:
    case CONF_SECONDS:
    case CONF_BYTES: json_u64(out, key, v->number); break;
    case CONF_TEXT:
    case CONF_CHOICE: json_text(out, key, span_str(o->is_secret && !show_secrets ? masked : v->text)); break;
    }
}

void conf_json(const struct conf *c, bool show_secrets, struct json *out)
{
    for (size_t id = 0; id < c->n; id++) {
        const struct conf_option *o = &c->options[id];
        if (o->type == CONF_GROUP || o->is_flag_only)
            continue;
        if (o->is_list)
            json_array(out, o->name);
        for (size_t i = 0; i < conf_count(c, id); i++)
            json_value(o, o->is_list ? NULL : o->name, conf_value(c, id, i), show_secrets, out);
        if (o->is_list)
            json_array_end(out);
        else if (conf_count(c, id) == 0)
            json_null(out, o->name);
    }
}

/* ---- what the table says ---- */

static const char *default_of(const struct conf_option *o)
{
    return o->fallback_help ? o->fallback_help : o->fallback;
}

static const char *value_of(const struct conf_option *o)
{
    return o->type == CONF_CHOICE ? o->choices : o->type == CONF_BOOL ? "true|false" : o->value ? o->value : "N";
}

/* A switch is shown in the form that changes something. */
static void help_flag(const struct conf_option *o, struct text *out)
{
    bool is_on = o->fallback && strcmp(o->fallback, "true") == 0;
    if (o->letter)
        text_addf(out, "-%c, ", o->letter);
    text_addf(out, "--%s%s", o->type == CONF_BOOL && is_on ? "no-" : "", o->name);
    if (o->type != CONF_BOOL)
        text_addf(out, " %s", value_of(o));
}

static void help_option(const struct conf_option *o, struct text *out)
{
    enum { COLUMN = 34, WIDTH = 110 };
    char flag[120], fallback[120];
    struct text f = text_of(flag, sizeof flag), d = text_of(fallback, sizeof fallback);
    help_flag(o, &f);
    if (default_of(o))
        text_addf(&d, "(default: %s)", default_of(o));
    text_addf(out, "  %-*s", COLUMN - 2, flag);
    if (f.n > COLUMN - 4)
        text_addf(out, "\n%*s", COLUMN, "");
    text_add(out, o->help);
    if (d.n && COLUMN + strlen(o->help) + d.n < WIDTH)
        text_addf(out, " %s", fallback);
    else if (d.n)
        text_addf(out, "\n%*s%s", COLUMN, "", fallback);
    text_add(out, "\n");
}

void conf_help(const struct conf_option *options, size_t n, struct text *out)
{
    for (size_t i = 0; i < n; i++) {
        if (options[i].type == CONF_GROUP)
            text_addf(out, "\n%s:\n", options[i].name);
        else
            help_option(&options[i], out);
    }
}

static void sample_option(const struct conf_option *o, struct text *out)
{
    char line[300];
    struct text t = text_of(line, sizeof line);
    const char *quote = is_quoted(o) ? "\"" : "";
    text_addf(&t, "#%s = %s%s%s", o->name, quote, o->fallback ? o->fallback : o->example, quote);
    text_addf(out, "\n# %c%s.", toupper((unsigned char)o->help[0]), o->help + 1);
    if (!o->fallback && o->fallback_help)
        text_addf(out, " Default: %s.", o->fallback_help);
    text_addf(out, "\n%s\n", line);
}

void conf_sample(const struct conf_option *options, size_t n, struct text *out)
{
    for (size_t i = 0; i < n; i++) {
        if (options[i].type == CONF_GROUP)
            text_addf(out, "\n# ---- %s ----\n", options[i].name);
        else if (!options[i].is_flag_only)
            sample_option(&options[i], out);
    }
}

void conf_man_text(struct text *out, const char *s)
{
    for (bool is_start = true; *s; is_start = *s++ == '\n') {
        if (is_start && (*s == '.' || *s == '\''))
            text_add(out, "\\&");
        if (*s == '-')
            text_add(out, "\\-");
        else if (*s == '\\')
            text_add(out, "\\e");
        else
            text_add_span(out, span_of(s, 1));
    }
}

static void man_default(const struct conf_option *o, struct text *out)
{
    text_add(out, "Default: ");
    conf_man_text(out, default_of(o) ? default_of(o) : "none");
    text_add(out, ".\n");
    if (o->is_fixed)
        text_add(out, "A change needs a restart.\n");
}

static void man_option(const struct conf_option *o, struct text *out)
{
    text_add(out, ".TP\n.BR ");
    conf_man_text(out, o->name);
    text_add(out, " \" = \\fI");
    conf_man_text(out, value_of(o));
    text_addf(out, "\\fP%s\"\n", o->is_list ? ", ..." : "");
    char first = (char)toupper((unsigned char)o->help[0]);
    text_add_span(out, span_of(&first, 1));
    conf_man_text(out, o->help + 1);
    text_add(out, ".\n");
    if (o->more) {
        conf_man_text(out, o->more);
        text_add(out, "\n");
    }
    man_default(o, out);
}

void conf_man(const struct conf_option *options, size_t n, struct text *out)
{
    for (size_t i = 0; i < n; i++) {
        if (options[i].type == CONF_GROUP) {
            text_add(out, ".SS ");
            conf_man_text(out, options[i].name);
            text_add(out, "\n");
        } else if (!options[i].is_flag_only) {
            man_option(&options[i], out);
        }
    }
}
