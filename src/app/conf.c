/* `causeway conf`: is a configuration right, and what does it come to? */
#include <stdio.h>
#include <stdlib.h>

#include "app/command.h"
#include "app/config.h"

enum { OUT_MAX = 4 << 20 };

struct arguments {
    int argc;
    char **argv;
};

struct wishes {
    bool sample, man, json, show_secrets;
};

/* Takes the command's own flags out; what is kept are flags of serve. */
static void take_wishes(struct arguments *a, int argc, char **argv, struct wishes *w)
{
    const struct {
        const char *flag;
        bool *wish;
    } own[] = {
        {"--sample", &w->sample}, {"--man", &w->man}, {"--json", &w->json}, {"--show-secrets", &w->show_secrets}};
    for (int i = 0; i < argc; i++) {
        bool is_own = false;
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++)
            if (strcmp(argv[i], own[k].flag) == 0)
                *own[k].wish = is_own = true;
        if (!is_own)
            a->argv[a->argc++] = argv[i];
    }
}

static int print_config(const struct arguments *a, const struct wishes *w, struct text *out)
{
    char message[16384];
    struct text why = text_of(message, sizeof message);
    struct config *c = config_load(NULL, a->argc, a->argv, &why);
    if (!c) {
        fputs(message, stderr);
        return EXIT_USAGE;
    }
    if (w->json)
        config_print_json(c, w->show_secrets, out);
    else
        config_print(c, w->show_secrets, out);
    config_warnings(c, &why);
    fputs(message, stderr);
    config_free(c);
    return EXIT_OK;
}

static int write_out(const struct arguments *a, const struct wishes *w, struct text *out)
{
    int status = EXIT_OK;
    if (w->sample)
        config_sample(out);
    else if (w->man)
        config_man(out);
    else
        status = print_config(a, w, out);
    fputs(out->buf, stdout);
    if (fflush(stdout) != 0 || out->truncated) {
        fputs("causeway conf: the output could not be written completely\n", stderr);
        return EXIT_REFUSED;
    }
    return status;
}

int conf_main(int argc, char **argv)
{
    struct wishes w = {0};
    struct arguments a = {0, calloc((size_t)argc, sizeof *argv)};
    char *buf = malloc(OUT_MAX);
    int status = EXIT_REFUSED;
    if (a.argv && buf) {
        struct text out = text_of(buf, OUT_MAX);
        take_wishes(&a, argc, argv, &w);
        status = write_out(&a, &w, &out);
        explicit_bzero(buf, out.n);
    } else {
        fputs("causeway conf: out of memory\n", stderr);
    }
    free(a.argv);
    free(buf);
    return status;
}

void conf_usage(struct text *out)
{
    text_add(out, "usage: causeway conf [-c FILE] [flags of serve] [--json] [--show-secrets]\n"
                  "       causeway conf --sample | --man\n"
                  "\n"
                  "Checks a configuration and prints what it comes to: every option with the value that counts and "
                  "where it came\n"
                  "from. Secrets are masked unless --show-secrets asks for them.\n"
                  "\n"
                  "Examples:\n"
                  "  causeway conf -c /etc/causeway.conf            is it right, and what does it say?\n"
                  "  causeway conf --sample > /etc/causeway.conf    a commented file to start from\n"
                  "  causeway conf -c /etc/causeway.conf --json     for programs\n"
                  "\n"
                  "Exit status: 0 it is right, 1 the output failed, 2 it is wrong (every mistake is named).\n");
}
