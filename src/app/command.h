/* A subcommand of `causeway`: a row of the table in main.c. */
#ifndef APP_COMMAND_H
#define APP_COMMAND_H

/* What a command says to its caller by its exit status. */
enum {
    EXIT_OK = 0,
    EXIT_REFUSED = 1, /* it was tried, and failed: not found, refused, a check not passed */
    EXIT_USAGE = 2,   /* wrong flags or configuration: nothing was tried */
};

struct text;

struct command {
    const char *name;
    const char *help;                   /* one line */
    int (*main)(int argc, char **argv); /* argv[0] is the command's name */
    void (*usage)(struct text *out);    /* the text of --help; NULL: main answers --help itself */
};

int conf_main(int argc, char **argv);
void conf_usage(struct text *out);
int doctor_main(int argc, char **argv);
int serve_main(int argc, char **argv);
void serve_usage(struct text *out);
int user_main(int argc, char **argv);
void user_usage(struct text *out);

#endif
