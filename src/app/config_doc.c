/* Texts about a configuration: effective values, help, sample, manual, warnings. */
#include <pwd.h>
#include <sys/stat.h>

#include "app/config.h"
#include "app/config_options.h"

void config_print(const struct config *c, bool show_secrets, struct text *out)
{
    conf_print(c->conf, show_secrets, out);
}

void config_print_json(const struct config *c, bool show_secrets, struct text *out)
{
    struct json j = json_of(out);
    json_object(&j, NULL);
    conf_json(c->conf, show_secrets, &j);
    json_object_end(&j);
    text_add(out, "\n");
}

void config_fixed_changes(const struct config *running, const struct config *next, struct text *out)
{
    const char *comma = "";
    for (size_t id = 0; id < OPTIONS; id++)
        if (conf_options[id].is_fixed && !conf_is_same(running->conf, next->conf, id)) {
            text_addf(out, "%s%s", comma, conf_options[id].name);
            comma = ", ";
        }
}

static bool has_secret_in_file(const struct conf *conf)
{
    for (size_t id = 0; id < OPTIONS; id++)
        for (size_t i = 0; conf_options[id].is_secret && i < conf_count(conf, id); i++)
            if (conf_value(conf, id, i)->source == CONF_FILE)
                return true;
    return false;
}

static void warn_open_file(const struct config *c, struct text *out)
{
    struct stat st;
    if (c->file && has_secret_in_file(c->conf) && stat(c->file, &st) == 0 && (st.st_mode & S_IROTH))
        text_addf(out, "%s: holds secrets and can be read by every account of this machine; chmod 640 %s\n", c->file,
                  c->file);
}

/* By owner, group and mode of the file alone. */
static bool can_read(const struct passwd *account, const struct stat *st)
{
    mode_t bit = st->st_uid == account->pw_uid ? S_IRUSR : st->st_gid == account->pw_gid ? S_IRGRP : S_IROTH;
    return st->st_mode & bit;
}

/* A reload reads as the account that the server has become. */
static void warn_unreadable(const struct config *c, struct text *out)
{
    const char *files[] = {c->file, c->cert, c->key};
    const struct passwd *account = c->run_as ? getpwnam(c->run_as) : NULL;
    struct stat st;
    for (size_t i = 0; account && i < sizeof files / sizeof files[0]; i++)
        if (files[i] && stat(files[i], &st) == 0 && !can_read(account, &st))
            text_addf(out, "%s: account %s cannot read it, so that a reload will fail; chgrp %u %s && chmod 640 %s\n",
                      files[i], c->run_as, account->pw_gid, files[i], files[i]);
}

static void warn_short_secrets(const struct config *c, struct text *out)
{
    enum { SECRET_MIN = 16 };
    for (size_t i = 0; i < c->secrets_n; i++)
        if (strlen(c->secrets[i]) < SECRET_MIN) {
            conf_where(c->conf, OPT_SECRET, conf_value(c->conf, OPT_SECRET, i), out);
            text_addf(out,
                      ": secret: shorter than %d characters, which can be guessed from one credential; make one with "
                      "openssl rand -hex 32\n",
                      SECRET_MIN);
        }
}

/* Credentials in clear on a network. */
static void warn_clear_mras(const struct config *c, struct text *out)
{
    char buf[ADDR_TEXT_MAX];
    for (size_t i = 0; i < c->mras.listen_n; i++) {
        const struct config_mras_listen *l = &c->mras.listen[i];
        if (!l->is_tls && !(l->local.family == ADDR_V4 && l->local.ip[0] == 127) &&
            strcmp(addr_format_ip(&l->local, buf), "::1") != 0)
            text_addf(out, "mras-listen tcp://%s: everybody on the way can read the credentials; use tls://\n",
                      addr_format(&l->local, buf));
    }
}

void config_warnings(const struct config *c, struct text *out)
{
    warn_open_file(c, out);
    warn_unreadable(c, out);
    warn_short_secrets(c, out);
    warn_clear_mras(c, out);
}

void config_help_flags(struct text *out)
{
    conf_help(conf_options, OPTIONS, out);
}

void config_sample(struct text *out)
{
    text_add(
        out,
        "# Configuration of causeway: see causeway.conf(5); check it with: causeway conf -c FILE\n"
        "# Every option is shown at its default, or with an example. Remove the # in front of a name to change it.\n"
        "# Values with spaces or any of # = + * , ( ) { } need quotes.\n");
    conf_sample(conf_options, OPTIONS, out);
}

static void man_head(struct text *out)
{
    text_add(out, ".TH CAUSEWAY.CONF 5 \"\" \"causeway\" \"File Formats\"\n"
                  ".SH NAME\n"
                  "causeway.conf \\- configuration of the causeway TURN server\n"
                  ".SH DESCRIPTION\n"
                  "The file that\n"
                  ".B causeway serve \\-c\n"
                  ".I FILE\n"
                  "reads. No file is read unless it is named. Every option is also a flag of\n"
                  ".BR \"causeway serve\" :\n"
                  ".B realm = example.org\n"
                  "in the file is\n"
                  ".B \\-\\-realm example.org\n"
                  "there. A flag beats the file; a list given by flags replaces the file\\(aqs list.\n"
                  ".PP\n"
                  "A real deployment needs five lines:\n"
                  ".PP\n"
                  ".EX\n"
                  "realm    = turn.example.org\n"
                  "secret   = a\\-long\\-random\\-secret\n"
                  "relay\\-ip = \"10.0.0.5=203.0.113.7\"\n"
                  "cert     = /etc/causeway/fullchain.pem\n"
                  "key      = /etc/causeway/privkey.pem\n"
                  ".EE\n"
                  ".PP\n"
                  "(The third only behind a one\\-to\\-one NAT.) Check a file with\n"
                  ".BR \"causeway conf \\-c\" \\ \\fIFILE\\fR,\n"
                  "which names every mistake with its line and prints the values that count;\n"
                  ".B causeway conf \\-\\-sample\n"
                  "prints a commented file to start from.\n"
                  ".SH SYNTAX\n"
                  "A line is\n"
                  ".IR \"name \" = \" value\" .\n"
                  "A comment starts with # or // and ends with the line, or stands between /* and */.\n"
                  "A value with spaces or any of # = + * , ( ) { } must stand in quotes.\n"
                  "In double quotes a backslash takes \\(dq, \\e and $ literally; in single quotes "
                  "everything but \\(aq and \\e is literal.\n"
                  "Outside single quotes\n"
                  ".BR ${NAME}\n"
                  "stands for an environment variable, which must be set;\n"
                  ".B ${NAME:\\-text}\n"
                  "has a replacement.\n"
                  ".PP\n"
                  "An option that takes several values may be written several times, or once as\n"
                  ".BR \"name = {\\(dqa\\(dq, \\(dqb\\(dq}\" ;\n"
                  "any other may stand once.\n"
                  ".PP\n"
                  "Durations are seconds, or a number with s, m, h or d. Sizes are bytes, or a number "
                  "with k, M or G (powers of 1024).\n"
                  "A path that does not start with / starts where the file lies.\n"
                  ".SH OPTIONS\n");
}

static void man_tail(struct text *out)
{
    text_add(out,
             ".SH RELOAD\n"
             "On SIGHUP the server reads the file again. A file with a mistake changes nothing, and the log says why.\n"
             "Options that need a restart keep their value, and the log names them.\n"
             ".PP\n"
             "A server that was started as root reads as the account that it has become: let that account read the\n"
             "file, the certificate and the key (chgrp and chmod 640), and nobody else.\n"
             ".SH EXIT STATUS\n"
             "A command that cannot use its configuration names every mistake and exits with 2.\n"
             ".SH SEE ALSO\n"
             ".BR causeway (1)\n");
}

void config_man(struct text *out)
{
    man_head(out);
    conf_man(conf_options, OPTIONS, out);
    man_tail(out);
}
