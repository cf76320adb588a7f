/* Options: a table that names each once; the values that a file (libconfuse) and the flags of a command give them;
 * where each value came from; and the help, sample and manual texts made from the same table.
 *
 * Knows no option by name: the table and the meaning of its texts belong to the caller. A flag beats the file: a single
 * value replaces it, a list given by flags replaces the file's list. A list named several times in the file adds up.
 * Every mistake is reported, not only the first, as "FILE:LINE: what: why and what to do" or "--flag: ...", a line
 * each; the value of a secret never stands in a message. Reading a file is for one thread at a time (libconfuse's
 * scanner is global).
 */
#ifndef SYS_CONF_H
#define SYS_CONF_H

#include "base/json.h"
#include "base/text.h"

enum conf_type {
    CONF_GROUP,   /* no option: a heading for those that follow */
    CONF_TEXT,    /* UTF-8 without control characters, not empty */
    CONF_BOOL,    /* true, yes, on, false, no, off; as a flag also alone, or as --no-NAME */
    CONF_NUMBER,  /* decimal */
    CONF_SECONDS, /* text_parse_seconds */
    CONF_BYTES,   /* text_parse_bytes */
    CONF_CHOICE,  /* one of a few words */
};

struct conf_option {
    const char *name;  /* `name = value` in a file, `--name VALUE` as a flag; the heading of a group */
    const char *value; /* what stands for the value in help: "ADDR:PORT" */
    const char
        *fallback; /* the value when nobody gives one, as it would be written; NULL: none, or found at run time */
    const char *fallback_help; /* says in words what a missing value means; NULL: `fallback` says it */
    const char *example;       /* a value for the sample, where there is no `fallback` */
    const char *choices;       /* CONF_CHOICE: "json|text" */
    const char *help;          /* one line: lower case, no full stop */
    const char *more;          /* sentences for the manual, or NULL */
    uint64_t min, max;         /* of numbers, seconds and bytes, both allowed; max 0: unbounded */
    enum conf_type type;
    char letter;       /* a short flag as well (-c), or 0 */
    bool is_list;      /* may be given several times */
    bool is_secret;    /* never shown; of "NAME:PASSWORD" the name is */
    bool is_fixed;     /* a reload cannot change it */
    bool is_flag_only; /* has no place in a file */
};

enum conf_source { CONF_DEFAULT, CONF_FILE, CONF_FLAG };

struct conf_value {
    char *text;      /* as it was written */
    uint64_t number; /* of numbers, seconds, bytes; of a bool 0 or 1; of a choice its index */
    unsigned line;   /* in the file */
    enum conf_source source;
};

struct conf_slot {
    struct conf_value *values;
    size_t n;
};

struct conf {
    const struct conf_option *options; /* borrowed */
    size_t n;
    struct conf_slot *slots; /* one for each option */
    char *file;              /* as it was named, or NULL */
    char *file_dir;          /* where relative paths of the file start */
    char **rest;             /* arguments that are no flags, in order */
    size_t rest_n;
};

enum { CONF_FILE_MAX = 1 << 20 /* bytes of a file */, CONF_VALUES_MAX = 10000 /* of a list */ };

/* An empty set of values for a table of `n` options, which must outlive it. NULL: no memory. */
struct conf *conf_new(const struct conf_option *options, size_t n);
void conf_free(struct conf *c);

/* Takes argv[1] .. argv[argc - 1]: --name VALUE, --name=VALUE, -c VALUE, and others into `rest`; "--" ends the flags.
 * 0, ERR_BAD or ERR_NOMEM. */
int conf_flags(struct conf *c, int argc, char *const *argv, struct text *why);
/* Reads a file. 0, ERR_BAD, ERR_SYS (cannot be read) or ERR_NOMEM. */
int conf_file(struct conf *c, const char *file, struct text *why);
/* As conf_file, of bytes that are at hand; `name` stands for the file in messages. */
int conf_buffer(struct conf *c, const char *name, struct span bytes, struct text *why);
/* Gives an option a value unless a flag or the file has: for defaults that are found at run time. */
int conf_default(struct conf *c, size_t id, const char *text);
/* After flags and file: flags replace the file's values, and the table's defaults fill what is empty. 0 or ERR_NOMEM.
 */
int conf_settle(struct conf *c);

/* Values of a settled conf; `id` is the row in the table. conf_value: NULL beyond the last. */
size_t conf_count(const struct conf *c, size_t id);
const struct conf_value *conf_value(const struct conf *c, size_t id, size_t i);
/* The single value: its text (NULL: none) or its number (0: none). */
const char *conf_text(const struct conf *c, size_t id);
uint64_t conf_number(const struct conf *c, size_t id);
/* A flag or the file gave it. */
bool conf_is_given(const struct conf *c, size_t id);
/* The value as a path that does not depend on the working directory: relative ones start where the file lies, those of
 * flags where the process stands. On the heap; NULL: no memory. */
char *conf_path(const struct conf *c, const struct conf_value *v);
/* Same values in the same order? */
bool conf_is_same(const struct conf *a, const struct conf *b, size_t id);

/* Adds "causeway.conf:7", "--deny-peer" or "default". */
void conf_where(const struct conf *c, size_t id, const struct conf_value *v, struct text *out);
/* Adds a whole line to `why`: where, the option, its value (unless secret), and the message. */
void conf_refuse(const struct conf *c, size_t id, const struct conf_value *v, struct text *why, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The name that somebody may have meant by `word`, or NULL if none is near. */
const char *conf_nearest(const char *word, const char *const *names, size_t n);

/* ---- texts made from the table (conf_doc.c) ---- */

/* The effective values in the file's syntax, each with a comment that says where it came from. Secrets as *** unless
 * `show_secrets`. */
void conf_print(const struct conf *c, bool show_secrets, struct text *out);
/* The same as members of the JSON object that is open: numbers in seconds and bytes. */
void conf_json(const struct conf *c, bool show_secrets, struct json *out);
/* The flags, grouped, two columns. */
void conf_help(const struct conf_option *options, size_t n, struct text *out);
/* A file with every option commented out at its default. */
void conf_sample(const struct conf_option *options, size_t n, struct text *out);
/* The options as roff (man macros): .SH for a group, .TP for an option. */
void conf_man(const struct conf_option *options, size_t n, struct text *out);
/* Adds a text as roff: hyphens, backslashes and leading dots escaped. */
void conf_man_text(struct text *out, const char *s);

#endif
