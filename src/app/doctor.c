/* The command line of `causeway doctor`. */
#include "app/doctor.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/command.h"
#include "base/digest.h"

static const char help_head[] =
    "Usage: causeway doctor URL [options]\n"
    "\n"
    "Checks a STUN or TURN server from here and says what to do about each fault.\n"
    "\n"
    "  URL                     turn:HOST[:PORT][?transport=udp|tcp]    without transport: UDP and TCP\n"
    "                          turns:HOST[:PORT][?transport=udp|tcp]   TLS; with transport=udp DTLS\n"
    "                          stun:HOST[:PORT]                        reachability and mapped address only\n"
    "                          Default ports: 3478, with TLS 5349.\n"
    "  --user NAME:PASSWORD    credentials. Without them only what needs none is checked. A time-limited name\n"
    "                          (1760000000:NAME) keeps its first colon. To keep the password out of the process list,\n"
    "                          give --user NAME and set CAUSEWAY_PASSWORD, or:\n"
    "  --password-stdin        with --user NAME: reads the password from the first line of standard input\n"
    "  --peer-ip ADDR          plain sockets on this address of this machine act as peers too. The server must reach "
    "it\n"
    "                          and its rules must allow it.\n"
    "  --bytes N               of each TCP transfer: 4096, 64k, 16M (default 16M)\n"
    "  --timeout S             patience with each step in seconds (default 5)\n"
    "  --ca FILE               more certificate authorities (PEM)\n"
    "  --insecure              go on although the certificate is not trusted\n"
    "  --json                  one JSON object instead of the table\n"
    "\n"
    "Examples:\n"
    "  causeway doctor turn:relay.example.org --user alice:sesame\n"
    "  causeway doctor turns:relay.example.org:443 --user alice --password-stdin < password\n"
    "  causeway doctor turn:192.0.2.1 --user alice:sesame --peer-ip 198.51.100.7 --json\n"
    "\n"
    "Two allocations of its own act as each other's peers, so nothing else is needed. It makes some twenty short\n"
    "allocations and two wrong logins, and asks for a few forbidden peers without sending anything to them.\n"
    "\n"
    "Checks:\n";

static const char help_tail[] = "\n"
                                "Exit status: 0 all is well (warnings included), 1 a check failed, 2 wrong usage,\n"
                                "3 the server cannot be reached.\n";

enum { OPT_USER = 1, OPT_STDIN, OPT_PEER_IP, OPT_BYTES, OPT_TIMEOUT, OPT_CA, OPT_INSECURE, OPT_JSON, OPT_HELP };

static const struct option options[] = {
    {"user", required_argument, NULL, OPT_USER},
    {"password-stdin", no_argument, NULL, OPT_STDIN},
    {"peer-ip", required_argument, NULL, OPT_PEER_IP},
    {"bytes", required_argument, NULL, OPT_BYTES},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"ca", required_argument, NULL, OPT_CA},
    {"insecure", no_argument, NULL, OPT_INSECURE},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct doctor_target target;
    char user[600], password[600];
    bool wants_stdin, wants_json, wants_help;
};

static int __attribute__((format(printf, 1, 2))) usage(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("causeway doctor: ", stderr);
    vfprintf(stderr, fmt, args);
    fputs("\nTry: causeway doctor --help\n", stderr);
    va_end(args);
    return ERR_BAD;
}

/* ---- credentials ---- */

/* Where the name ends: at the first colon, but a time-limited name ("1760000000:alice") has one of its own. */
static const char *end_of_name(const char *s)
{
    enum { TIMESTAMP_DIGITS = 9 };
    const char *colon = strchr(s, ':');
    bool is_timed = colon && colon - s >= TIMESTAMP_DIGITS && strspn(s, "0123456789") == (size_t)(colon - s);
    const char *second = is_timed ? strchr(colon + 1, ':') : NULL;
    return second ? second : colon;
}

static int set_text(char *to, size_t cap, const char *from, size_t n)
{
    if (n >= cap)
        return ERR_FULL;
    memcpy(to, from, n);
    to[n] = 0;
    return 0;
}

static int read_password(char *to, size_t cap)
{
    if (!fgets(to, (int)cap, stdin))
        return ERR_NONE;
    to[strcspn(to, "\r\n")] = 0;
    return 0;
}

/* `value`: NAME:PASSWORD, or NAME when the password comes from elsewhere. */
static int set_user(struct arguments *a, const char *value)
{
    const char *env = getenv("CAUSEWAY_PASSWORD"), *end = end_of_name(value);
    bool is_elsewhere = a->wants_stdin || (env && *env);
    size_t n = is_elsewhere || !end ? strlen(value) : (size_t)(end - value);
    if (n == 0 || set_text(a->user, sizeof a->user, value, n))
        return usage("--user: the name is empty or too long");
    if (a->wants_stdin && read_password(a->password, sizeof a->password))
        return usage("--password-stdin: standard input has no line");
    if (!a->wants_stdin && is_elsewhere && set_text(a->password, sizeof a->password, env, strlen(env)))
        return usage("CAUSEWAY_PASSWORD is too long");
    if (!is_elsewhere && (!end || set_text(a->password, sizeof a->password, end + 1, strlen(end + 1))))
        return usage("--user %s: the password is missing. Write NAME:PASSWORD, use --password-stdin, or set "
                     "CAUSEWAY_PASSWORD",
                     value);
    a->target.user = a->user;
    a->target.password = a->password;
    return 0;
}

/* ---- options ---- */

static int set_timeout(struct arguments *a, const char *value)
{
    uint64_t seconds;
    if (text_parse_seconds(value, &seconds) || seconds < 1 || seconds > 600)
        return usage("--timeout %s: give seconds from 1 to 600", value);
    a->target.timeout_ms = (uint32_t)seconds * 1000;
    return 0;
}

static int set_bytes(struct arguments *a, const char *value)
{
    if (text_parse_bytes(value, &a->target.bytes) || a->target.bytes == 0)
        return usage("--bytes %s: give a number of bytes such as 4096, 64k or 16M", value);
    return 0;
}

static int set_peer(struct arguments *a, const char *value)
{
    struct addr *peer = &a->target.peer_ip;
    if (addr_parse(value, peer) || peer->port)
        return usage("--peer-ip %s: give an IP address of this machine, without a port", value);
    return 0;
}

static int set_url(struct arguments *a, const char *value)
{
    char buf[400];
    struct text why = text_of(buf, sizeof buf);
    return turn_uri_parse(value, &a->target.uri, &why) ? usage("%s", buf) : 0;
}

static int take_option(struct arguments *a, int option, const char **user)
{
    switch (option) {
    case OPT_USER: *user = optarg; return 0;
    case OPT_STDIN: a->wants_stdin = true; return 0;
    case OPT_PEER_IP: return set_peer(a, optarg);
    case OPT_BYTES: return set_bytes(a, optarg);
    case OPT_TIMEOUT: return set_timeout(a, optarg);
    case OPT_CA: a->target.ca_file = optarg; return 0;
    case OPT_INSECURE: a->target.insecure = true; return 0;
    case OPT_JSON: a->wants_json = true; return 0;
    case OPT_HELP: a->wants_help = true; return 0;
    default: return usage("this is no option, or its value is missing");
    }
}

static int take_arguments(struct arguments *a, int argc, char **argv)
{
    const char *user = NULL;
    int option, err = 0;
    *a = (struct arguments){.target = {.timeout_ms = 5000, .bytes = 16 << 20}};
    optind = 0;
    while (!err && !a->wants_help && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
        err = take_option(a, option, &user);
    if (err || a->wants_help)
        return err;
    if (argc - optind != 1)
        return usage(argc == optind ? "the URL is missing" : "give one URL");
    err = set_url(a, argv[optind]);
    if (!err && a->wants_stdin && !user)
        err = usage("--password-stdin needs --user NAME");
    return err || !user ? err : set_user(a, user);
}

/* ---- telling ---- */

static void print_help(void)
{
    char buf[4096];
    struct text checks = text_of(buf, sizeof buf);
    doctor_list_checks(&checks);
    printf("%s%s%s", help_head, buf, help_tail);
}

static bool is_colourful(void)
{
    return isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

/* While a check runs, a terminal shows its name; the row then takes its place. Skipped checks come at the end. */
static void show_begin(void *user, const char *title)
{
    (void)user;
    if (!isatty(STDOUT_FILENO))
        return;
    printf("  ...   %s\r", title);
    fflush(stdout);
}

static void show_row(void *user, const struct doctor_row *row)
{
    (void)user;
    char buf[2048];
    struct text line = text_of(buf, sizeof buf);
    if (row->result != DOCTOR_SKIPPED)
        doctor_row_print(row, is_colourful(), &line);
    if (isatty(STDOUT_FILENO))
        fputs("\033[2K", stdout);
    fputs(buf, stdout);
    fflush(stdout);
}

static void print_json(const struct doctor_report *report, const struct doctor_target *target)
{
    static char buf[DOCTOR_ROWS_MAX * 2048];
    struct text out = text_of(buf, sizeof buf);
    doctor_to_json(report, target, &out);
    puts(buf);
}

static void print_verdict(const struct doctor_report *report)
{
    char buf[4096];
    struct text out = text_of(buf, sizeof buf);
    doctor_skipped_print(report, is_colourful(), &out);
    text_add(&out, "\n");
    doctor_verdict(report, &out);
    puts(buf);
}

int doctor_main(int argc, char **argv)
{
    static const struct doctor_watch watch = {.begin = show_begin, .end = show_row};
    static struct doctor_report report;
    struct arguments a;
    if (take_arguments(&a, argc, argv))
        return DOCTOR_EXIT_USAGE;
    if (a.wants_help) {
        print_help();
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    if (!a.wants_json)
        printf("causeway doctor: %s port %u\n\n", a.target.uri.host, a.target.uri.port);
    doctor_run(&a.target, a.wants_json ? NULL : &watch, &report);
    if (a.wants_json)
        print_json(&report, &a.target);
    else
        print_verdict(&report);
    digest_wipe(a.password, sizeof a.password);
    return (int)report.exit;
}
