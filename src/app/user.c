/* `causeway user`: users that are kept, and time-limited credentials. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/command.h"
#include "app/config.h"
#include "app/mras_key.h"
#include "app/password.h"
#include "app/state.h"
#include "app/ticket.h"
#include "app/token.h"
#include "store/store.h"
#include "sys/conf.h"

enum { TOKEN_TTL_S = 24 * 3600 };

enum { CONFIG, STATE, REALM, PASSWORD_STDIN, GENERATE, JSON, TTL, SECRET_FILE, FLAGS };

static const struct conf_option flags[FLAGS] = {
    [CONFIG] =
        {.name = "config", .letter = 'c', .type = CONF_TEXT, .value = "FILE", .help = "configuration of the server"},
    [STATE] = {.name = "state", .type = CONF_TEXT, .value = "DIR", .help = "state directory of the server"},
    [REALM] = {.name = "realm", .type = CONF_TEXT, .value = "REALM", .help = "realm of the server"},
    [PASSWORD_STDIN] = {.name = "password-stdin", .type = CONF_BOOL, .help = "add: read it from standard input"},
    [GENERATE] = {.name = "generate", .type = CONF_BOOL, .help = "add: make a password and print it"},
    [JSON] = {.name = "json", .type = CONF_BOOL, .help = "list, token, mras: for programs"},
    [TTL] = {.name = "ttl",
             .type = CONF_SECONDS,
             .value = "TIME",
             .fallback_help = "24h; mras: mras-lifetime",
             .example = "24h",
             .min = 1,
             .max = (uint64_t)10 * 365 * 86400,
             .help = "token, mras: how long it is good"},
    [SECRET_FILE] = {.name = "secret-file",
                     .type = CONF_TEXT,
                     .value = "FILE",
                     .help = "token: the shared secret, if not from the configuration"},
};

/* One call of the command. */
struct call {
    struct conf *conf; /* its own flags */
    struct config *config;
    const char *name; /* of the user; NULL for `list` */
    struct state state;
    struct store *store;
    struct text *why; /* without a line feed */
};

static int refused(const struct call *c)
{
    fprintf(stderr, "causeway user: %s\n", c->why->buf);
    return EXIT_REFUSED;
}

static void safe_print(FILE *out, const char *s)
{
    char safe[4 * STORE_NAME_MAX + 1];
    struct text t = text_of(safe, sizeof safe);
    text_add_safe(&t, span_str(s));
    fputs(safe, out);
}

/* ---- add ---- */

static int take_password(const struct call *c, char *out, size_t cap)
{
    if (conf_number(c->conf, GENERATE)) {
        state_make_password(out);
        return 0;
    }
    return conf_number(c->conf, PASSWORD_STDIN) ? password_read(out, cap, c->why) : password_ask(out, cap, c->why);
}

static int make_user(const struct call *c, const char *password, struct store_user *u)
{
    const char *fault = store_name_fault(span_str(c->name));
    if (!fault)
        fault = store_password_fault(span_str(password));
    if (fault) {
        text_add(c->why, fault);
        return ERR_BAD;
    }
    int err = store_user_init(u, c->name, c->config->realm, password, (int64_t)time(NULL));
    if (err)
        text_add(c->why, err_text(err));
    return err;
}

static int add(struct call *c)
{
    char password[STORE_PASSWORD_MAX + 2], unused[2200];
    struct store_user u, old;
    struct text none = text_of(unused, sizeof unused);
    const char *fault = store_name_fault(span_str(c->name));
    text_add(c->why, fault);
    int err = fault ? ERR_BAD : take_password(c, password, sizeof password);
    bool is_known = !err && store_get(c->store, c->name, c->config->realm, &old, &none) == 0;
    if (!err)
        err = make_user(c, password, &u);
    if (!err)
        err = store_put(c->store, &u, c->why);
    if (!err) {
        fprintf(stderr, "%s ", is_known ? "replaced" : "added");
        safe_print(stderr, c->name);
        fprintf(stderr, " in realm %s\n", c->config->realm);
        if (conf_number(c->conf, GENERATE))
            puts(password);
    }
    explicit_bzero(password, sizeof password);
    explicit_bzero(&u, sizeof u);
    return err ? refused(c) : EXIT_OK;
}

/* ---- list ---- */

struct listing {
    const char *realm; /* only this one; NULL: all */
    bool is_json;
    size_t n;
};

static void format_time(int64_t s, char out[32])
{
    time_t t = (time_t)s;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        strcpy(out, "?");
}

static void list_json(const struct store_user *u, const char *created)
{
    char buf[6 * (STORE_NAME_MAX + STORE_REALM_MAX) + 200];
    struct text t = text_of(buf, sizeof buf);
    struct json j = json_of(&t);
    json_object(&j, NULL);
    json_text(&j, "name", span_str(u->name));
    json_text(&j, "realm", span_str(u->realm));
    json_text(&j, "created", span_str(created));
    json_bool(&j, "enabled", u->is_enabled);
    json_object_end(&j);
    fputs(buf, stdout);
}

static int list_one(void *context, const struct store_user *u)
{
    struct listing *l = context;
    char created[32];
    if (l->realm && strcmp(l->realm, u->realm) != 0)
        return 0;
    format_time(u->created_s, created);
    if (l->is_json) {
        fputs(l->n++ ? ",\n " : "", stdout);
        list_json(u, created);
        return 0;
    }
    if (l->n++ == 0)
        printf("%-20s  %-8s  %s\n", "CREATED", "STATE", "REALM AND NAME");
    printf("%-20s  %-8s  ", created, u->is_enabled ? "enabled" : "disabled");
    safe_print(stdout, u->realm);
    fputs("  ", stdout);
    safe_print(stdout, u->name);
    putchar('\n');
    return 0;
}

static int list(struct call *c)
{
    struct listing l = {.realm = conf_text(c->conf, REALM), .is_json = conf_number(c->conf, JSON)};
    fputs(l.is_json ? "[" : "", stdout);
    int err = store_list(c->store, list_one, &l, c->why);
    fputs(l.is_json ? "]\n" : "", stdout);
    if (!err && l.n == 0 && !l.is_json)
        fprintf(stderr, "no users in %s/%s\n", c->state.dir, STATE_USERS);
    return err ? refused(c) : EXIT_OK;
}

/* ---- remove, disable, enable ---- */

static int tell(const struct call *c, int err, const char *done)
{
    if (err)
        return refused(c);
    fprintf(stderr, "%s ", done);
    safe_print(stderr, c->name);
    fprintf(stderr, " in realm %s\n", c->config->realm);
    return EXIT_OK;
}

static int remove_user(struct call *c)
{
    return tell(c, store_remove(c->store, c->name, c->config->realm, c->why), "removed");
}

static int disable(struct call *c)
{
    return tell(c, store_enable(c->store, c->name, c->config->realm, false, c->why), "disabled");
}

static int enable(struct call *c)
{
    return tell(c, store_enable(c->store, c->name, c->config->realm, true, c->why), "enabled");
}

/* ---- token ---- */

static int token(struct call *c)
{
    char out[8192];
    struct text t = text_of(out, sizeof out);
    struct token_ask ask = {.name = c->name,
                            .secret_file = conf_text(c->conf, SECRET_FILE),
                            .ttl_s = conf_is_given(c->conf, TTL) ? conf_number(c->conf, TTL) : TOKEN_TTL_S,
                            .now_s = (uint64_t)time(NULL),
                            .is_json = conf_number(c->conf, JSON)};
    int err = token_make(&ask, c->config, &t, c->why);
    if (err)
        refused(c);
    else
        fputs(out, stdout);
    explicit_bzero(out, sizeof out);
    return err == ERR_NONE ? EXIT_USAGE : err ? EXIT_REFUSED : EXIT_OK;
}

/* ---- mras ---- */

static int mras(struct call *c)
{
    static struct mras_keys keys;
    char out[8192];
    struct text t = text_of(out, sizeof out);
    struct ticket_ask ask = {.identity = c->name,
                             .ttl_s = conf_number(c->conf, TTL),
                             .now_s = (uint64_t)time(NULL),
                             .is_json = conf_number(c->conf, JSON)};
    int err = c->config->secrets_n ? 0 : state_open(&c->state, c->config->state, c->config->run_as, c->why);
    if (!err)
        err = mras_key_load(&c->state, c->config, true, ask.now_s, &keys, c->why);
    if (!err)
        err = ticket_make(&ask, c->config, &keys, &t, c->why);
    if (err)
        refused(c);
    else
        fputs(out, stdout);
    explicit_bzero(out, sizeof out);
    explicit_bzero(&keys, sizeof keys);
    return err ? EXIT_REFUSED : EXIT_OK;
}

/* ---- the table ---- */

#define FLAG(f) (1u << (f))

static const struct verb {
    const char *name;
    int (*run)(struct call *c);
    bool has_name, has_store;
    unsigned flags; /* besides --config, --state and --realm */
} verbs[] = {
    {"add", add, true, true, FLAG(PASSWORD_STDIN) | FLAG(GENERATE)},
    {"list", list, false, true, FLAG(JSON)},
    {"remove", remove_user, true, true, 0},
    {"disable", disable, true, true, 0},
    {"enable", enable, true, true, 0},
    {"token", token, true, false, FLAG(TTL) | FLAG(SECRET_FILE) | FLAG(JSON)},
    {"mras", mras, true, false, FLAG(TTL) | FLAG(JSON)},
};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static const struct verb *find_verb(const char *name, struct text *why)
{
    const char *names[VERBS];
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
        names[i] = verbs[i].name;
    }
    const char *nearest = conf_nearest(name, names, VERBS);
    text_add_safe(why, span_str(name));
    text_add(why, ": no such command");
    if (nearest)
        text_addf(why, "; did you mean %s?", nearest);
    text_add(why, "\n");
    return NULL;
}

static int check_arguments(const struct verb *v, const struct conf *conf, struct text *why)
{
    const unsigned common = FLAG(CONFIG) | FLAG(STATE) | FLAG(REALM);
    for (size_t id = 0; id < FLAGS; id++)
        if (conf_is_given(conf, id) && !((v->flags | common) & FLAG(id)))
            text_addf(why, "--%s: has no meaning for %s\n", flags[id].name, v->name);
    size_t wanted = v->has_name ? 2 : 1; /* the verb itself is one */
    if (conf->rest_n < wanted)
        text_addf(why, "%s: the name of the user is missing\n", v->name);
    else if (conf->rest_n > wanted && v->run == add)
        text_add(
            why,
            "add: takes only a name. A password in a command line can be read by everybody on this machine and stays "
            "in the shell's history; leave it out to be asked, or use --password-stdin or --generate\n");
    else if (conf->rest_n > wanted)
        text_addf(why, "%s: more words than it needs\n", v->name);
    if (conf_number(conf, GENERATE) && conf_number(conf, PASSWORD_STDIN))
        text_add(why, "--generate and --password-stdin exclude each other\n");
    return why->n ? ERR_BAD : 0;
}

/* The server's configuration as far as the own flags name it. */
static struct config *load_config(const struct conf *conf, struct text *why)
{
    static const struct {
        int id;
        const char *flag;
    } passed[] = {{CONFIG, "-c"}, {STATE, "--state"}, {REALM, "--realm"}};
    char *argv[7] = {"user"};
    int argc = 1;
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
        if (conf_is_given(conf, (size_t)passed[i].id)) {
            argv[argc++] = (char *)passed[i].flag;
            argv[argc++] = (char *)conf_text(conf, (size_t)passed[i].id);
        }
    return config_load(NULL, argc, argv, why);
}

static int open_store(struct call *c)
{
    int err = state_open(&c->state, c->config->state, c->config->run_as, c->why);
    if (err)
        return err;
    char *path = state_path(&c->state, STATE_USERS);
    c->store = path ? store_open(path, &err, c->why) : NULL;
    free(path);
    return c->store ? 0 : err ? err : ERR_NOMEM;
}

static int run(const struct verb *v, struct call *c)
{
    int status = v->has_store && open_store(c) ? refused(c) : v->run(c);
    store_close(c->store);
    if (c->state.dir)
        state_close(&c->state);
    return status;
}

static int usage_error(const struct text *why)
{
    fprintf(stderr, "%sSee: causeway user --help\n", why->buf);
    return EXIT_USAGE;
}

static int run_arguments(struct conf *conf, int argc, char **argv, struct text *why)
{
    if (conf_flags(conf, argc, argv, why) || conf_settle(conf))
        return usage_error(why);
    if (conf->rest_n == 0) {
        text_add(why, "a command is missing: add, list, remove, disable, enable, token or mras\n");
        return usage_error(why);
    }
    const struct verb *v = find_verb(conf->rest[0], why);
    if (!v || check_arguments(v, conf, why))
        return usage_error(why);
    struct config *config = load_config(conf, why);
    if (!config)
        return usage_error(why);
    struct call c = {
        .conf = conf, .config = config, .name = v->has_name ? conf->rest[1] : NULL, .state.fd = -1, .why = why};
    int status = run(v, &c);
    config_free(config);
    return status;
}

int user_main(int argc, char **argv)
{
    char message[8192];
    struct text why = text_of(message, sizeof message);
    struct conf *conf = conf_new(flags, FLAGS);
    if (!conf) {
        fputs("causeway user: out of memory\n", stderr);
        return EXIT_REFUSED;
    }
    int status = run_arguments(conf, argc, argv, &why);
    conf_free(conf);
    return status;
}

void user_usage(struct text *out)
{
    text_add(
        out,
        "usage: causeway user add NAME [--generate | --password-stdin]\n"
        "       causeway user list [--json]\n"
        "       causeway user remove|disable|enable NAME\n"
        "       causeway user token NAME [--ttl TIME] [--secret-file FILE] [--json]\n"
        "       causeway user mras IDENTITY [--ttl TIME] [--json]\n"
        "\n"
        "Users are kept in the state directory of the server, as keys and not as passwords. A token is a credential\n"
        "that ends by itself, made from the shared secret of the configuration; nothing is kept of it. mras makes one\n"
        "for Microsoft clients (MS-TURN), from the same secret, or without one from a secret in the state directory.\n"
        "\n"
        "Examples:\n"
        "  causeway user add alice                        asks for a password twice\n"
        "  causeway user add room-7 --generate            makes one and prints it\n"
        "  causeway user token alice --ttl 8h -c /etc/causeway.conf\n"
        "\n"
        "Flags:\n");
    conf_help(flags, FLAGS, out);
    text_add(out, "\nExit status: 0 done, 1 refused or not found, 2 wrong usage or configuration.\n");
}
