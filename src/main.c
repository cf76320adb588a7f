/* The table of subcommands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/command.h"
#include "base/text.h"
#include "sys/conf.h"

static const struct command commands[] = {
    {"serve", "the relay: TURN over UDP, TCP, TLS and DTLS", serve_main, serve_usage},
    {"doctor", "check a TURN server, and say what to mend", doctor_main, NULL},
    {"user", "keep users, make time-limited credentials", user_main, user_usage},
    {"conf", "check a configuration and show what it comes to", conf_main, conf_usage},
};

enum { COMMANDS = sizeof commands / sizeof commands[0], USAGE_MAX = 32768 };

static void print_overview(FILE *out)
{
    fputs("usage: causeway COMMAND ...\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\n"
          "  causeway serve                                        a relay on port 3478 with a credential of its own\n"
          "  causeway doctor turn:HOST:3478 --user NAME:PASSWORD   does a relay work?\n"
          "  causeway user add NAME                                somebody more who may use it\n"
          "  causeway help COMMAND                                 all about a command\n"
          "  causeway --version\n",
          out);
}

static const struct command *find_command(const char *name)
{
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        names[i] = commands[i].name;
    }
    const char *nearest = conf_nearest(name, names, COMMANDS);
    char buf[400];
    struct text t = text_of(buf, sizeof buf);
    text_add(&t, "causeway: no such command: ");
    text_add_safe(&t, span_str(name));
    if (nearest)
        text_addf(&t, "; did you mean %s?", nearest);
    fprintf(stderr, "%s\nSee: causeway help\n", buf);
    return NULL;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int print_usage(const struct command *c)
{
    static char buf[USAGE_MAX];
    struct text out = text_of(buf, sizeof buf);
    c->usage(&out);
    fputs(buf, stdout);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_REFUSED;
}

static int run(const struct command *c, int argc, char **argv)
{
    return c->usage && wants_help(argc, argv) ? print_usage(c) : c->main(argc, argv);
}

/* Overwrites a secret where every account of the machine can read it (checklist S54). */
static void hide(char *value)
{
    memset(value, '*', strlen(value));
}

/* A copy of the arguments to work with; the secrets in the original, which `ps` shows, are overwritten. */
static char **take_arguments(int argc, char **argv)
{
    static char **copy; /* as long as the process */
    static const char *const secrets[] = {"--user", "--secret"};
    copy = calloc((size_t)argc + 1, sizeof *copy);
    for (int i = 0; copy && i < argc; i++)
        if (!(copy[i] = strdup(argv[i])))
            return NULL;
    for (int i = 1; copy && i < argc; i++)
        for (size_t k = 0; k < sizeof secrets / sizeof secrets[0]; k++) {
            size_t n = strlen(secrets[k]);
            if (strcmp(copy[i - 1], secrets[k]) == 0)
                hide(argv[i]);
            else if (strncmp(copy[i], secrets[k], n) == 0 && copy[i][n] == '=')
                hide(argv[i] + n + 1);
        }
    return copy;
}

static int help_about(const char *name)
{
    const struct command *c = find_command(name);
    char *argv[] = {(char *)name, "--help", NULL};
    return c ? run(c, 2, argv) : EXIT_USAGE;
}

int main(int argc, char **original)
{
    char **argv = take_arguments(argc, original);
    if (!argv) {
        fputs("causeway: out of memory\n", stderr);
        return EXIT_REFUSED;
    }
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        puts("causeway " CAUSEWAY_VERSION);
        return EXIT_OK;
    }
    bool is_help = strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (is_help && argc > 2 && strcmp(argv[2], "help") != 0)
        return help_about(argv[2]);
    if (is_help) {
        print_overview(stdout);
        return EXIT_OK;
    }
    const struct command *c = find_command(name);
    return c ? run(c, argc - 1, argv + 1) : EXIT_USAGE;
}
