#include "sys/conf_lint.h"

#include <stdlib.h>

enum { FINDINGS_MAX = 20 };

struct lint {
    const char *name;
    struct text *why;
    uint8_t *p, *end; /* what is still to be seen */
    unsigned line;
    unsigned findings;
    bool is_glued; /* the byte before belongs to an unquoted value */
};

static void find(struct lint *l, unsigned line, const char *what)
{
    l->findings++;
    text_addf(l->why, "%s:%u: %s\n", l->name, line, what);
}

static uint8_t byte_at(const struct lint *l, size_t i)
{
    return i < (size_t)(l->end - l->p) ? l->p[i] : 0;
}

static void step(struct lint *l)
{
    if (*l->p == '\n')
        l->line++;
    l->p++;
}

/* "${NAME}" stands for an environment variable, "${NAME:-text}" has a replacement; l->p is at the '$'. */
static void look_at_variable(struct lint *l)
{
    char name[128];
    size_t n = 0;
    while (n < sizeof name - 1 && byte_at(l, n + 2) && !strchr("}:\n", byte_at(l, n + 2))) {
        name[n] = (char)byte_at(l, n + 2);
        n++;
    }
    name[n] = 0;
    if (byte_at(l, n + 2) != '}' || getenv(name))
        return;
    char what[300];
    struct text t = text_of(what, sizeof what);
    text_add(&t, "the environment variable \"");
    text_add_safe(&t, span_str(name));
    text_add(&t, "\" is not set; set it, or write the value in single quotes if it is meant literally");
    find(l, l->line, what);
}

static void pass_double_quotes(struct lint *l)
{
    unsigned start = l->line;
    for (step(l); l->p < l->end; step(l)) {
        if (*l->p == '"') {
            l->p++;
            return;
        }
        if (*l->p == '$' && byte_at(l, 1) == '{')
            look_at_variable(l);
        if (*l->p != '\\' || byte_at(l, 1) == 0)
            continue;
        step(l);
        if ((*l->p >= '0' && *l->p <= '9') || (*l->p >= 'a' && *l->p <= 'z'))
            find(l, l->line,
                 "a backslash in double quotes may stand before \" \\ and $ only; write \\\\ for a backslash");
    }
    find(l, start, "a double quote that opens here is never closed");
}

static void pass_single_quotes(struct lint *l)
{
    unsigned start = l->line;
    for (step(l); l->p < l->end; step(l)) {
        if (*l->p == '\'') {
            l->p++;
            return;
        }
        if (*l->p == '\\' && byte_at(l, 1))
            step(l);
    }
    find(l, start, "a single quote that opens here is never closed");
}

static void blank(struct lint *l, size_t n)
{
    for (; n && l->p < l->end; n--) {
        if (*l->p != '\n')
            *l->p = ' ';
        step(l);
    }
}

static void blank_line(struct lint *l)
{
    while (l->p < l->end && *l->p != '\n')
        blank(l, 1);
}

static void blank_comment(struct lint *l)
{
    unsigned start = l->line;
    for (blank(l, 2); l->p < l->end; blank(l, 1))
        if (*l->p == '*' && byte_at(l, 1) == '/') {
            blank(l, 2);
            return;
        }
    find(l, start, "a comment that opens here with /* is never closed");
}

static void pass_quotes(struct lint *l)
{
    if (l->is_glued)
        find(l, l->line, "a quote in the middle of a value; put quotes around the whole value");
    l->is_glued = false;
    if (*l->p == '"')
        pass_double_quotes(l);
    else
        pass_single_quotes(l);
}

/* One byte outside quotes and comments. */
static void pass_plain(struct lint *l)
{
    uint8_t c = *l->p, next = byte_at(l, 1);
    if (c == '#' && l->is_glued)
        find(l, l->line, "a # inside a value would start a comment; put quotes around the value");
    else if (c == '*' || (c == '+' && next != '='))
        find(l, l->line, "* and + need quotes around the value they stand in");
    else if (c == '$' && next == '{' && !l->is_glued)
        look_at_variable(l);
    l->is_glued = !strchr(" \t\r\n={}(),+*#", c);
    step(l);
}

static void check_bytes(struct lint *l)
{
    unsigned line = 1;
    for (const uint8_t *p = l->p; p < l->end; p++) {
        line += *p == '\n';
        if ((*p < 0x20 && *p != '\n' && *p != '\t' && *p != '\r') || *p == 0x7f) {
            find(l, line, "a control character; a configuration is plain text");
            return;
        }
    }
    if (!text_is_utf8(span_of(l->p, (size_t)(l->end - l->p))))
        find(l, 1, "the file is not UTF-8; save it in that encoding");
}

int conf_lint(const char *name, char *file, size_t n, struct text *why)
{
    uint8_t *start = (uint8_t *)file;
    struct lint l = {.name = name, .why = why, .p = start, .end = start + n, .line = 1};
    check_bytes(&l);
    while (l.p < l.end && l.findings < FINDINGS_MAX) {
        bool is_start = !l.is_glued;
        if (*l.p == '"' || *l.p == '\'')
            pass_quotes(&l);
        else if (is_start && (*l.p == '#' || (*l.p == '/' && byte_at(&l, 1) == '/')))
            blank_line(&l);
        else if (is_start && *l.p == '/' && byte_at(&l, 1) == '*')
            blank_comment(&l);
        else
            pass_plain(&l);
    }
    return l.findings ? ERR_BAD : 0;
}
