/* A configuration file: looked over, then parsed by libconfuse, which hands each value over with its line. */
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/conf_lint.h"
#include "sys/conf_value.h"

enum { UNKNOWN_MAX = 20 };

/* A value as the parser handed it over. */
struct raw {
    size_t id;
    unsigned line;
    char *text;
};

/* One file. libconfuse stops at the first key that it does not know; it is then told to take that key as well and
 * starts again, so that everything wrong is found. Values are judged when all have been read. */
struct reading {
    struct conf *c;
    struct text *why;
    char *unknown[UNKNOWN_MAX];
    size_t unknown_n;
    struct raw *raws;
    size_t raws_n;
    unsigned value_line; /* of the newest value */
    int result;
    bool is_again; /* a new unknown key was found: read once more */
};

static struct reading *reading; /* libconfuse's callbacks carry no pointer of ours */

static void forget_values(struct reading *r)
{
    for (size_t i = 0; i < r->raws_n; i++) {
        explicit_bzero(r->raws[i].text, strlen(r->raws[i].text));
        free(r->raws[i].text);
    }
    r->raws_n = 0;
    r->value_line = 0;
}

static int take_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *out)
{
    struct reading *r = reading;
    int id = conf_find(r->c, span_str(opt->name));
    r->value_line = (unsigned)cfg->line;
    *(const char **)out = text;
    if (id < 0) /* an unknown key, reported already */
        return 0;
    struct raw *grown = reallocarray(r->raws, r->raws_n + 1, sizeof *grown);
    char *copy = strdup(text);
    if (grown)
        r->raws = grown;
    if (!grown || !copy) {
        free(copy);
        r->result = ERR_NOMEM;
        return -1;
    }
    grown[r->raws_n++] = (struct raw){(size_t)id, (unsigned)cfg->line, copy};
    return 0;
}

static void report_unknown(struct reading *r, const char *name, unsigned line)
{
    text_addf(r->why, "%s:%u: ", r->c->file, line);
    if (line == r->value_line) { /* it may be the second half of a secret */
        text_add(r->why, "something follows a value; put a value with spaces in quotes\n");
        return;
    }
    text_add_safe(r->why, span_str(name));
    text_add(r->why, ": no such option");
    conf_suggest(r->c, name, "", true, r->why);
    text_add(r->why, "\n");
}

/* libconfuse's message about a key that is not in the table; the key is cut out of it. */
static bool is_unknown_key(char *message, char **name)
{
    static const char head[] = "no such option '";
    char *end = strrchr(message, '\'');
    if (strncmp(message, head, sizeof head - 1) != 0 || !end)
        return false;
    *name = message + sizeof head - 1;
    *end = 0;
    return end > *name;
}

/* What follows from a key that was not understood says nothing new. */
static bool is_consequence(const struct reading *r, const char *message)
{
    for (size_t i = 0; i < r->unknown_n; i++) {
        const char *at = strstr(message, r->unknown[i]);
        if (at && at > message && at[-1] == '\'')
            return true;
    }
    return false;
}

static void take_error(cfg_t *cfg, const char *fmt, va_list args)
{
    struct reading *r = reading;
    char message[400], *name;
    vsnprintf(message, sizeof message, fmt, args);
    if (r->result == ERR_NOMEM)
        return;
    r->result = ERR_BAD;
    if (is_unknown_key(message, &name)) {
        report_unknown(r, name, (unsigned)cfg->line);
        char *copy = r->unknown_n < UNKNOWN_MAX ? strdup(name) : NULL;
        if (copy)
            r->unknown[r->unknown_n++] = copy;
        r->is_again = copy != NULL;
    } else if (!is_consequence(r, message)) {
        bool may_show = strncmp(message, "unexpected token", 16) != 0; /* the token may be half of a secret */
        text_addf(r->why, "%s:%d: ", r->c->file, cfg->line);
        text_add_safe(r->why, span_str(may_show ? message : "this is not name = value"));
        text_add(r->why, "; put a value with spaces or any of # = + * , ( ) { } in quotes\n");
    }
}

/* The table as libconfuse wants it, with the unknown keys behind it as lists, which take whatever comes. */
static cfg_opt_t *cfg_table(const struct reading *r)
{
    cfg_opt_t *table = calloc(r->c->n + r->unknown_n + 1, sizeof *table);
    if (!table)
        return NULL;
    size_t n = 0;
    for (size_t id = 0; id < r->c->n; id++) {
        const struct conf_option *o = &r->c->options[id];
        cfg_opt_t single = CFG_STR_CB(o->name, NULL, CFGF_NODEFAULT, take_value);
        cfg_opt_t list = CFG_STR_LIST_CB(o->name, NULL, CFGF_NODEFAULT, take_value);
        if (o->type != CONF_GROUP && !o->is_flag_only)
            table[n++] = o->is_list ? list : single;
    }
    for (size_t i = 0; i < r->unknown_n; i++)
        table[n++] = (cfg_opt_t)CFG_STR_LIST_CB(r->unknown[i], NULL, CFGF_NODEFAULT, take_value);
    table[n] = (cfg_opt_t)CFG_END();
    return table;
}

static void parse_once(struct reading *r, const char *text)
{
    cfg_opt_t *table = cfg_table(r);
    cfg_t *cfg = table ? cfg_init(table, CFGF_NONE) : NULL;
    forget_values(r);
    r->is_again = false;
    if (cfg) {
        cfg_set_error_function(cfg, take_error);
        if (cfg_parse_buf(cfg, text) != CFG_SUCCESS && !r->result) {
            text_addf(r->why, "%s: cannot be parsed\n", r->c->file);
            r->result = ERR_BAD;
        }
        cfg_free(cfg);
    } else {
        r->result = ERR_NOMEM;
    }
    free(table);
}

static void parse(struct reading *r, const char *text)
{
    reading = r;
    do
        parse_once(r, text);
    while (r->is_again);
    reading = NULL;
    for (size_t i = 0; i < r->raws_n && r->result != ERR_NOMEM; i++) {
        struct conf_value v = {.text = r->raws[i].text, .line = r->raws[i].line, .source = CONF_FILE};
        int err = conf_add(r->c, r->raws[i].id, &v, r->why);
        if (err)
            r->result = err;
    }
    forget_values(r);
    free(r->raws);
    for (size_t i = 0; i < r->unknown_n; i++)
        free(r->unknown[i]);
}

/* The folder of the file, absolute. NULL: unknown. */
static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    if (file[0] == '/')
        return strndup(file, (size_t)(slash - file));
    char *here = getcwd(NULL, 0), *folder;
    if (!here || asprintf(&folder, "%s/%.*s", here, slash ? (int)(slash - file) : 0, file) < 0)
        folder = NULL;
    free(here);
    return folder;
}

static int set_file(struct conf *c, const char *file)
{
    c->file = strdup(file);
    c->file_dir = folder_of(file);
    return c->file && c->file_dir ? 0 : ERR_NOMEM;
}

static int parse_text(struct conf *c, char *text, size_t n, struct text *why)
{
    struct reading r = {.c = c, .why = why};
    r.result = conf_lint(c->file, text, n, why);
    if (!r.result)
        parse(&r, text);
    return r.result;
}

int conf_buffer(struct conf *c, const char *name, struct span bytes, struct text *why)
{
    int err = set_file(c, name);
    char *text = err ? NULL : malloc(bytes.n + 1);
    if (!text)
        return ERR_NOMEM;
    memcpy(text, bytes.p, bytes.n);
    text[bytes.n] = 0;
    err = parse_text(c, text, bytes.n, why);
    explicit_bzero(text, bytes.n);
    free(text);
    return err;
}

/* All of a file into `buf`; its size, or ERR_SYS, or ERR_FULL if there is more. */
static ssize_t read_all(const char *file, char *buf, size_t cap)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_SYS;
    size_t n = 0;
    ssize_t got = 1;
    while (got > 0 && n < cap) {
        got = read(fd, buf + n, cap - n);
        if (got > 0)
            n += (size_t)got;
    }
    int error = errno;
    close(fd);
    errno = error;
    return got < 0 ? ERR_SYS : got > 0 ? ERR_FULL : (ssize_t)n;
}

int conf_file(struct conf *c, const char *file, struct text *why)
{
    char *buf = malloc(CONF_FILE_MAX);
    if (!buf)
        return ERR_NOMEM;
    ssize_t n = read_all(file, buf, CONF_FILE_MAX);
    int err = n < 0 ? (int)n : conf_buffer(c, file, span_of(buf, (size_t)n), why);
    if (n == ERR_FULL)
        text_addf(why, "%s: larger than %d KiB; that is no configuration\n", file, CONF_FILE_MAX >> 10);
    else if (n < 0)
        text_addf(why, "%s: cannot be read: %s; check its name and its permissions\n", file, strerror(errno));
    explicit_bzero(buf, n > 0 ? (size_t)n : 0);
    free(buf);
    return err;
}
