#include "app/config.h"
#include "fixture.h"
#include "sys/conf.h"

static char out_buf[128 * 1024];
static struct text out;

static struct text *blank(void)
{
    out = text_of(out_buf, sizeof out_buf);
    return &out;
}

static struct config *load(char *file)
{
    char *argv[] = {"serve", NULL};
    why = text_of(said, sizeof said);
    struct config *c = config_load(file, 1, argv, &why);
    if (!c)
        fail_msg("%s", said);
    return c;
}

static void the_manual_is_in_step_with_the_table(void **state)
{
    char path[4096];
    const char *root = getenv("MESON_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/doc/causeway.conf.5", root ? root : ".");
    config_man(blank());
    assert_false(out.truncated);
    if (strcmp(read_file(path), out_buf) != 0)
        fail_msg("doc/causeway.conf.5 is old: run causeway conf --man > doc/causeway.conf.5");
}

static void the_sample_can_be_used(void **state)
{
    config_sample(blank());
    assert_false(out.truncated);
    struct config *as_it_is = load(write_file("as-it-is.conf", out_buf));
    struct config *nothing = load(NULL);
    char changes[200];
    struct text t = text_of(changes, sizeof changes);
    config_fixed_changes(nothing, as_it_is, &t);
    assert_string_equal(changes, "");
    config_free(as_it_is);
    config_free(nothing);

    /* with every # in front of a name removed, but for the files that are not here */
    char *used = strdup(out_buf), *to = used;
    for (const char *p = out_buf; *p; p++) {
        bool is_name = *p == '#' && (p == out_buf || p[-1] == '\n') && p[1] != ' ';
        bool is_file = strncmp(p, "#cert", 5) == 0 || strncmp(p, "#key", 4) == 0 ||
                       strncmp(p, "#mras-client-ca", 15) == 0;
        if (!is_name || is_file)
            *to++ = *p;
    }
    *to = 0;
    struct config *all = load(write_file("all.conf", used));
    assert_int_equal(all->users_n, 1);
    assert_int_equal(all->secrets_n, 1);
    assert_int_equal(all->rules_n, 2);
    assert_int_equal(all->relay_n, 1);
    config_free(all);
    free(used);
}

static void what_is_printed_is_a_configuration(void **state)
{
    struct config *c = load(write_file("f.conf", "listen = {'[::1]:3478', tls://:443}\nuser = \"alice:a ${HOME:-}b$\"\n"
                                                 "secret = 'x\"y'\nworkers = 2\ndeny-peer = 10.0.0.0/8\n"));
    config_print(c, true, blank());
    struct config *again = load(write_file("again.conf", out_buf));
    for (size_t id = 0; id < c->conf->n; id++)
        assert_true(conf_is_same(c->conf, again->conf, id));
    config_print(c, false, blank());
    assert_null(strstr(out_buf, "x\"y"));
    assert_non_null(strstr(out_buf, "user = \"alice:***\""));
    config_print_json(c, false, blank());
    assert_non_null(strstr(out_buf, "\"listen\":[\"[::1]:3478\",\"tls://:443\"]"));
    assert_non_null(strstr(out_buf, "\"secret\":[\"***\"]"));
    assert_int_equal(out_buf[out.n - 1], '\n');
    config_free(c);
    config_free(again);
}

static void changes_that_need_a_restart_are_named(void **state)
{
    struct config *a = load(write_file("a.conf", "workers = 1\nlisten = :1\nuser = a:b\n"));
    struct config *b = load(write_file("b.conf", "workers = 2\nlisten = {:1, :2}\nuser = a:c\nrealm = x\n"));
    config_fixed_changes(a, b, blank());
    assert_string_equal(out_buf, "listen, workers");
    config_fixed_changes(a, a, blank());
    assert_string_equal(out_buf, "");
    config_free(a);
    config_free(b);
}

static void unwise_things_are_told(void **state)
{
    char *path = write_file("f.conf", "secret = short\nrun-as = nobody\n");
    chmod(path, 0644);
    struct config *c = load(path);
    config_warnings(c, blank());
    assert_non_null(
        strstr(out_buf, "f.conf: holds secrets and can be read by every account of this machine; chmod 640"));
    assert_non_null(strstr(out_buf, "f.conf:1: secret: shorter than 16 characters"));
    assert_null(strstr(out_buf, "cannot read"));
    chmod(path, 0600);
    config_warnings(c, blank());
    assert_null(strstr(out_buf, "holds secrets"));
    if (geteuid() == 0)
        assert_non_null(
            strstr(out_buf, "f.conf: account nobody cannot read it, so that a reload will fail; chgrp 65534"));
    config_free(c);

    path = write_file("f.conf", "realm = x\n");
    chmod(path, 0644);
    c = load(path);
    config_warnings(c, blank());
    assert_string_equal(out_buf, "");
    config_free(c);
}

static void help_names_every_option(void **state)
{
    config_help_flags(blank());
    assert_false(out.truncated);
    struct config *c = load(NULL);
    for (size_t id = 0; id < c->conf->n; id++)
        assert_non_null(strstr(out_buf, c->conf->options[id].name));
    for (const char *line = out_buf; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 120);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(the_manual_is_in_step_with_the_table),
        each(the_sample_can_be_used),
        each(what_is_printed_is_a_configuration),
        each(changes_that_need_a_restart_are_named),
        each(unwise_things_are_told),
        each(help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
