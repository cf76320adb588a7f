#include "sys/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PLACES, NAME, PEER, SECRET, COUNT, TIME, SIZE, COLOUR, QUIET, EXTRA, FLAG_ONLY, OPTIONS };

static const struct conf_option table[OPTIONS] = {
    [PLACES] = {.name = "Places", .type = CONF_GROUP},
    [NAME] = {.name = "name", .type = CONF_TEXT, .fallback = "nobody", .help = "what it is called"},
    [PEER] = {.name = "peer", .type = CONF_TEXT, .is_list = true, .value = "ADDR", .example = "a", .help = "who"},
    [SECRET] = {.name = "user",
                .type = CONF_TEXT,
                .is_list = true,
                .is_secret = true,
                .value = "NAME:PASSWORD",
                .example = "b:c",
                .help = "whom to trust"},
    [COUNT] = {.name = "count",
               .type = CONF_NUMBER,
               .fallback = "7",
               .min = 2,
               .max = 90,
               .is_fixed = true,
               .help = "how many"},
    [TIME] = {.name = "time", .type = CONF_SECONDS, .fallback = "10m", .help = "how long"},
    [SIZE] = {.name = "size", .type = CONF_BYTES, .fallback = "1k", .min = 16, .help = "how much"},
    [COLOUR] = {.name = "colour",
                .type = CONF_CHOICE,
                .choices = "red|green",
                .fallback_help = "whichever suits",
                .example = "red",
                .help = "which"},
    [QUIET] = {.name = "quiet", .type = CONF_BOOL, .fallback = "false", .help = "say nothing"},
    [EXTRA] = {.name = "Extra", .type = CONF_GROUP},
    [FLAG_ONLY] = {.name = "config",
                   .letter = 'c',
                   .type = CONF_TEXT,
                   .value = "FILE",
                   .is_flag_only = true,
                   .help = "a file",
                   .more = "No - really.\n.no macro \\ here"},
};

static char said[16384];
static struct text why;

static struct conf *start(void)
{
    why = text_of(said, sizeof said);
    struct conf *c = conf_new(table, OPTIONS);
    assert_non_null(c);
    return c;
}

/* Flags, ended by NULL. */
static int give_flags(struct conf *c, ...)
{
    char *argv[32] = {"test"};
    int argc = 1;
    va_list args;
    va_start(args, c);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    return conf_flags(c, argc, argv, &why);
}

static int give_file(struct conf *c, const char *text)
{
    return conf_buffer(c, "f.conf", span_str(text), &why);
}

static const char *value_at(const struct conf *c, size_t id, size_t i)
{
    const struct conf_value *v = conf_value(c, id, i);
    return v ? v->text : NULL;
}

/* ---- values ---- */

static void defaults_come_from_the_table(void **state)
{
    struct conf *c = start();
    assert_int_equal(conf_default(c, COLOUR, "green"), 0);
    assert_int_equal(conf_settle(c), 0);
    assert_string_equal(conf_text(c, NAME), "nobody");
    assert_int_equal(conf_number(c, COUNT), 7);
    assert_int_equal(conf_number(c, TIME), 600);
    assert_int_equal(conf_number(c, SIZE), 1024);
    assert_int_equal(conf_number(c, COLOUR), 1);
    assert_int_equal(conf_number(c, QUIET), 0);
    assert_int_equal(conf_count(c, PEER), 0);
    assert_null(conf_text(c, PEER));
    assert_false(conf_is_given(c, COUNT));
    conf_free(c);
}

static void a_file_gives_values_with_their_lines(void **state)
{
    struct conf *c = start();
    const char *file = "# a comment\n"
                       "name = \"two words\" // behind a value\n"
                       "/* over\n   two lines */ peer = 192.0.2.1:80\n"
                       "peer = {'x y', \"[::]:1\"\n, z}\r\n"
                       "\tcount=3\n"
                       "time = 2h\nsize = 3M colour = green quiet = yes\n"
                       "user = al:pa//ss%!s";
    assert_int_equal(give_file(c, file), 0);
    assert_int_equal(conf_settle(c), 0);
    assert_string_equal(said, "");
    assert_string_equal(conf_text(c, NAME), "two words");
    assert_int_equal(conf_value(c, NAME, 0)->line, 2);
    assert_int_equal(conf_count(c, PEER), 4);
    assert_string_equal(value_at(c, PEER, 0), "192.0.2.1:80");
    assert_int_equal(conf_value(c, PEER, 0)->line, 4);
    assert_string_equal(value_at(c, PEER, 1), "x y");
    assert_string_equal(value_at(c, PEER, 2), "[::]:1");
    assert_string_equal(value_at(c, PEER, 3), "z");
    assert_int_equal(conf_value(c, PEER, 3)->line, 6);
    assert_int_equal(conf_value(c, COUNT, 0)->line, 7);
    assert_int_equal(conf_number(c, TIME), 7200);
    assert_int_equal(conf_number(c, SIZE), 3 << 20);
    assert_int_equal(conf_number(c, COLOUR), 1);
    assert_int_equal(conf_number(c, QUIET), 1);
    assert_string_equal(conf_text(c, SECRET), "al:pa//ss%!s");
    assert_int_equal(conf_value(c, SECRET, 0)->line, 10);
    assert_true(conf_is_given(c, COUNT));
    conf_free(c);
}

static void quotes_take_everything_literally(void **state)
{
    struct conf *c = start();
    setenv("CONF_TEST", "from outside", 1);
    unsetenv("CONF_TEST_NOT");
    assert_int_equal(give_file(c, "peer = \"a#b=c+d*e,f(g){h}'i\\\"j\\\\k\\${l}\"\n"
                                  "peer = 'a#b\"c\\\\d${e}'\n"
                                  "peer = \"<${CONF_TEST}>\" peer = ${CONF_TEST}\n"
                                  "peer = \"${CONF_TEST_NOT:-instead}\"\n"
                                  "peer = \"\u30de\u30c8\"\n"),
                     0);
    assert_string_equal(said, "");
    assert_string_equal(value_at(c, PEER, 0), "a#b=c+d*e,f(g){h}'i\"j\\k${l}");
    assert_string_equal(value_at(c, PEER, 1), "a#b\"c\\d${e}");
    assert_string_equal(value_at(c, PEER, 2), "<from outside>");
    assert_string_equal(value_at(c, PEER, 3), "from outside");
    assert_string_equal(value_at(c, PEER, 4), "instead");
    assert_string_equal(value_at(c, PEER, 5), "\u30de\u30c8");
    conf_free(c);
}

static void every_form_of_a_flag_counts(void **state)
{
    struct conf *c = start();
    assert_int_equal(give_flags(c, "--name=a=b", "word", "--peer", "x", "-cfile", "--peer=y", "--quiet", "--count", "9",
                                "-", "--", "--name", NULL),
                     0);
    assert_int_equal(conf_settle(c), 0);
    assert_string_equal(said, "");
    assert_string_equal(conf_text(c, NAME), "a=b");
    assert_int_equal(conf_count(c, PEER), 2);
    assert_string_equal(value_at(c, PEER, 1), "y");
    assert_string_equal(conf_text(c, FLAG_ONLY), "file");
    assert_int_equal(conf_number(c, QUIET), 1);
    assert_int_equal(c->rest_n, 3);
    assert_string_equal(c->rest[0], "word");
    assert_string_equal(c->rest[1], "-");
    assert_string_equal(c->rest[2], "--name");
    conf_free(c);

    c = start();
    assert_int_equal(give_flags(c, "--no-quiet", "-c", "x", NULL), 0);
    assert_int_equal(conf_number(c, QUIET), 0);
    assert_true(conf_is_given(c, QUIET));
    assert_string_equal(conf_text(c, FLAG_ONLY), "x");
    conf_free(c);

    c = start();
    assert_int_equal(give_flags(c, "--quiet=off", NULL), 0);
    assert_int_equal(conf_number(c, QUIET), 0);
    conf_free(c);
}

static void flags_beat_the_file(void **state)
{
    struct conf *c = start();
    assert_int_equal(give_flags(c, "--peer", "flag", "--count=5", NULL), 0);
    assert_int_equal(give_file(c, "peer = {a, b}\ncount = 6\nname = file\n"), 0);
    assert_int_equal(conf_settle(c), 0);
    assert_int_equal(conf_count(c, PEER), 1);
    assert_string_equal(conf_text(c, PEER), "flag");
    assert_int_equal(conf_number(c, COUNT), 5);
    assert_string_equal(conf_text(c, NAME), "file");
    conf_free(c);
}

static void paths_start_where_they_were_written(void **state)
{
    struct conf *c = start();
    char here[4096], wanted[4200];
    assert_non_null(getcwd(here, sizeof here));
    give_flags(c, "--name", "x/y", NULL);
    assert_int_equal(conf_buffer(c, "/etc/causeway/f.conf", span_str("peer = key.pem peer = /a/b"), &why), 0);
    conf_settle(c);
    snprintf(wanted, sizeof wanted, "%s/x/y", here);
    const char *paths[] = {wanted, "/etc/causeway/key.pem", "/a/b"};
    const struct conf_value *values[] = {conf_value(c, NAME, 0), conf_value(c, PEER, 0), conf_value(c, PEER, 1)};
    for (int i = 0; i < 3; i++) {
        char *path = conf_path(c, values[i]);
        assert_string_equal(path, paths[i]);
        free(path);
    }
    conf_free(c);

    c = start();
    snprintf(wanted, sizeof wanted, "%s/sub/k", here);
    assert_int_equal(conf_buffer(c, "sub/f.conf", span_str("peer = k"), &why), 0);
    char *path = conf_path(c, conf_value(c, PEER, 0));
    assert_string_equal(path, wanted);
    free(path);
    conf_free(c);
}

/* ---- what is refused ---- */

static void a_wrong_file_is_refused_with_line_and_reason(void **state)
{
    unsetenv("CONF_TEST_NOT");
    static const struct {
        const char *file, *says;
    } rows[] = {
        {"\n\ncout = 3\n", "f.conf:3: cout: no such option; did you mean count?\n"},
        {"# x\n// y\n/* z\n\n*/ nmae = 1", "f.conf:5: nmae: no such option; did you mean name?\n"},
        {"zzzzzz = 3\n", "f.conf:1: zzzzzz: no such option\n"},
        {"config = x\n", "f.conf:1: config: no such option\n"},
        {"Places = x\n", "f.conf:1: Places: no such option\n"},
        {"count = many\n", "f.conf:1: count \"many\": not a whole number"},
        {"count = -1\n", "f.conf:1: count \"-1\": not a whole number"},
        {"count = 0x10\n", "not a whole number"},
        {"count = 18446744073709551617\n", "not a whole number"},
        {"count = 1\n", "out of range; 2 to 90 are possible"},
        {"count = 91\n", "out of range; 2 to 90 are possible"},
        {"size = 15\n", "f.conf:1: size \"15\": too small; the least is 16 bytes"},
        {"size = 1T\n", "not a size; write 4096"},
        {"time = 1w\n", "not a duration; write 90"},
        {"colour = blue\n", "f.conf:1: colour \"blue\": not one of red|green"},
        {"colour = re\n", "not one of red|green"},
        {"quiet = maybe\n", "neither yes nor no; write true or false"},
        {"name = a\ncount = 3\nname = b\n", "f.conf:3: name \"b\": already given in line 1; keep one of the two"},
        {"name = \"\"\n", "f.conf:1: name \"\": the value is empty"},
        {"name = \"a\tb\"\n", "f.conf:1: name \"a\\x09b\": control characters"},
        {"name = \"a\nb\"\n", "control characters"},
        {"name = \"\xc2\x85\"\n", "control characters"},
        {"name = {a}\n", "f.conf:1: this is not name = value"},
        {"name = a, b\n", "f.conf:1: this is not name = value"},
        {"name += a\n", "f.conf:1: attempt to append"},
        {"\nname a\n", "f.conf:2: missing equal sign after option 'name'"},
        {"name = a b\n", "f.conf:1: something follows a value; put a value with spaces in quotes\n"},
        {"peer = {a\n", "f.conf:2: premature end of file"},
        {"name =", "premature end of file"},
        {"s { name = a }", "f.conf:1: s: no such option"},
        {"include(\"x\")", "f.conf:1: include: no such option"},
        /* what libconfuse would take without a word */
        {"name = pass#word\n", "f.conf:1: a # inside a value would start a comment"},
        {"\npeer = *:3478\n", "f.conf:2: * and + need quotes"},
        {"peer = abc+\n", "f.conf:1: * and + need quotes"},
        {"peer = a/*b*/\n", "* and + need quotes"},
        {"peer = a\"b\nname = c\n", "f.conf:1: a quote in the middle of a value"},
        {"\npeer = \"b\nname = c\n", "f.conf:2: a double quote that opens here is never closed"},
        {"\npeer = 'b\nname = c\n", "f.conf:2: a single quote that opens here is never closed"},
        {"\n/* peer = b\nname = c\n", "f.conf:2: a comment that opens here with /* is never closed"},
        {"peer = \"a\\n\"\n", "f.conf:1: a backslash in double quotes"},
        {"peer = \"a\\x00b\"\n", "a backslash in double quotes"},
        {"\nuser = \"al:${CONF_TEST_NOT}\"\n", "f.conf:2: the environment variable \"CONF_TEST_NOT\" is not set"},
        {"user = ${CONF_TEST_NOT}\n", "the environment variable \"CONF_TEST_NOT\" is not set"},
        {"\nname = a\1b\n", "f.conf:2: a control character"},
        {"name = \xff\n", "the file is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct conf *c = start();
        int err = give_file(c, rows[i].file);
        if (err != ERR_BAD || !strstr(said, rows[i].says))
            fail_msg("%s\ngave %d and\n%swithout\n%s", rows[i].file, err, said, rows[i].says);
        assert_int_equal(said[strlen(said) - 1], '\n');
        conf_free(c);
    }
}

static void bytes_that_end_strings_are_refused(void **state)
{
    struct conf *c = start();
    assert_int_equal(conf_buffer(c, "f.conf", span_of("name = a\0b\n", 11), &why), ERR_BAD);
    assert_non_null(strstr(said, "f.conf:1: a control character"));
    conf_free(c);
}

static void every_mistake_is_told(void **state)
{
    struct conf *c = start();
    assert_int_equal(give_file(c, "cout = 3\ncount = x\nname = b\nnaem = {q, r}\ntime = y\nname = c\n"), ERR_BAD);
    static const char *const all[] = {"f.conf:1: cout", "f.conf:2: count", "f.conf:4: naem", "f.conf:5: time",
                                      "f.conf:6: name"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_non_null(strstr(said, all[i]));
    size_t lines = 0;
    for (const char *p = said; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 5);
    conf_free(c);
}

static void unknown_keys_without_end_are_endured(void **state)
{
    struct conf *c = start();
    char file[20000];
    struct text t = text_of(file, sizeof file);
    for (int i = 0; i < 1000; i++)
        text_addf(&t, "unknown%d = 1\n", i);
    assert_int_equal(give_file(c, file), ERR_BAD);
    assert_non_null(strstr(said, "unknown5: no such option"));
    conf_free(c);
}

static void secrets_are_in_no_message(void **state)
{
    static const char *const files[] = {
        "user = al:hunter2 hunter2\n",
        "user = {al:hunter2 hunter2}\n",
        "user = \"al:hunter2\1\"\n",
        "user = al:hunter2#hunter2\n",
        "user = \"al:hunter2\n",
        "user = al:hunter2, hunter2\n",
        "user = \"al:hunter2\tx\"\n",
        "user = al:hunter2=\n",
        "user = \"al:hunter2\" \"hunter2\"\n",
        "user = \"al:hunter2\\hunter2",
        "user = al:hunter2\nuser { hunter2 }",
        "user = 'hunter2'hunter2\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct conf *c = start();
        int err = give_file(c, files[i]);
        if (err != ERR_BAD || strstr(said, "hunter2"))
            fail_msg("%s\ngave %d and %s", files[i], err, said);
        conf_free(c);
    }
    struct conf *c = start();
    assert_int_equal(give_flags(c, "--user", "al:hunter2\n", NULL), ERR_BAD);
    assert_null(strstr(said, "hunter2"));
    conf_free(c);
}

static void wrong_flags_are_refused(void **state)
{
    static const struct {
        const char *first, *second, *says;
    } rows[] = {
        {"--cout", NULL, "--cout: no such flag; did you mean --count?\n"},
        {"--cout=3", NULL, "--cout: no such flag; did you mean --count?\n"},
        {"-x", NULL, "-x: no such flag\n"},
        {"--peer", NULL, "--peer: its value is missing; write --peer ADDR\n"},
        {"--peer", "--quiet", "--peer: its value is missing; write --peer ADDR\n"},
        {"-c", NULL, "--config: its value is missing"},
        {"--count=1", NULL, "--count \"1\": out of range; 2 to 90 are possible"},
        {"--count=3", "--count=3", "--count \"3\": given twice; keep one of the two"},
        {"--no-name", NULL, "--no-name: no such flag"},
        {"--no-quiet=1", NULL, "--no-quiet: no such flag"},
        {"--name=", NULL, "--name \"\": the value is empty"},
        {"--name=\xc3\x28", NULL, "--name \"\\xc3(\": control characters and bytes that are not UTF-8"},
        {"--Places=a", NULL, "--Places: no such flag"},
        {"--\x1b[1m", NULL, "--\\x1b[1m: no such flag"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct conf *c = start();
        int err = give_flags(c, rows[i].first, rows[i].second, NULL);
        if (err != ERR_BAD || !strstr(said, rows[i].says))
            fail_msg("%s gave %d and\n%swithout\n%s", rows[i].first, err, said, rows[i].says);
        conf_free(c);
    }
}

static void files_that_cannot_be_read_are_told(void **state)
{
    struct conf *c = start();
    assert_int_equal(conf_file(c, "/nonexistent/x.conf", &why), ERR_SYS);
    assert_non_null(strstr(said, "/nonexistent/x.conf: cannot be read: No such file or directory"));
    conf_free(c);
    c = start();
    assert_int_equal(conf_file(c, "/", &why), ERR_SYS);
    assert_non_null(strstr(said, "/: cannot be read: Is a directory"));
    conf_free(c);
    c = start();
    assert_int_equal(conf_file(c, "/dev/zero", &why), ERR_FULL);
    assert_non_null(strstr(said, "larger than 1024 KiB"));
    conf_free(c);
}

static void a_file_may_be_empty(void **state)
{
    static const char *const files[] = {"", "\n", "# only", "/**/", " \r\n\t", "peer = {}\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct conf *c = start();
        assert_int_equal(give_file(c, files[i]), 0);
        assert_string_equal(said, "");
        assert_int_equal(conf_count(c, PEER), 0);
        conf_free(c);
    }
}

static void lists_are_bounded(void **state)
{
    struct conf *c = start();
    char *file = malloc(1 << 20);
    struct text t = text_of(file, 1 << 20);
    text_add(&t, "peer = {a");
    for (int i = 0; i < CONF_VALUES_MAX; i++)
        text_add(&t, ", b");
    text_add(&t, "}");
    assert_int_equal(give_file(c, file), ERR_BAD);
    assert_non_null(strstr(said, "more than 10000 values"));
    assert_int_equal(conf_count(c, PEER), CONF_VALUES_MAX);
    free(file);
    conf_free(c);
}

static void near_words_are_found(void **state)
{
    static const char *const names[] = {"listen", "relay-ip", "relay-ports", "realm", "user"};
    static const struct {
        const char *word, *near;
    } rows[] = {{"listen", "listen"}, {"lsiten", "listen"}, {"relay-port", "relay-ports"},
                {"reaml", "realm"},   {"usr", "user"},      {"relayip", "relay-ip"},
                {"banana", NULL},     {"", NULL},           {"x", NULL},
                {"lis", "listen"},    {"li", NULL},         {"users", "user"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *near = conf_nearest(rows[i].word, names, 5);
        if (rows[i].near)
            assert_string_equal(near, rows[i].near);
        else
            assert_null(near);
    }
    char endless[5000];
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = 0;
    assert_null(conf_nearest(endless, names, 5));
}

/* ---- texts ---- */

static void what_is_printed_reads_back(void **state)
{
    struct conf *c = start(), *again;
    char first[4096], second[4096];
    struct text out = text_of(first, sizeof first);
    assert_int_equal(
        give_file(c, "name = 'a\"b\\\\c${d}#e'\nuser = \"al:pa ss\"\nuser = bo:b\ncount = 3\nquiet = on\n"), 0);
    give_flags(c, "--peer=x", NULL);
    assert_int_equal(conf_settle(c), 0);
    conf_print(c, true, &out);
    assert_non_null(strstr(first, "# Places\n"));
    assert_non_null(strstr(first, "name = \"a\\\"b\\\\c\\${d}#e\""));
    assert_non_null(strstr(first, "# f.conf:1\n"));
    assert_non_null(strstr(first, "# --peer\n"));
    assert_non_null(strstr(first, "# default\n"));
    assert_non_null(strstr(first, "# colour: whichever suits\n"));
    assert_null(strstr(first, "config"));

    again = start();
    assert_int_equal(conf_buffer(again, "again", span_of(first, out.n), &why), 0);
    assert_int_equal(conf_settle(again), 0);
    for (size_t id = 0; id < OPTIONS; id++)
        assert_true(conf_is_same(c, again, id));
    out = text_of(second, sizeof second);
    conf_print(again, true, &out);
    assert_string_not_equal(second, ""); /* the comments differ: they tell other lines */
    conf_free(again);
    conf_free(c);
}

static void secrets_are_masked(void **state)
{
    struct conf *c = start();
    char buf[4096];
    struct text out = text_of(buf, sizeof buf);
    assert_int_equal(give_file(c, "user = al:hunter2\nuser = hunter2\n"), 0);
    conf_settle(c);
    conf_print(c, false, &out);
    assert_non_null(strstr(buf, "user = \"al:***\""));
    assert_non_null(strstr(buf, "user = \"***\""));
    assert_null(strstr(buf, "hunter2"));
    out = text_of(buf, sizeof buf);
    struct json j = json_of(&out);
    json_object(&j, NULL);
    conf_json(c, false, &j);
    json_object_end(&j);
    assert_string_equal(buf, "{\"name\":\"nobody\",\"peer\":[],\"user\":[\"al:***\",\"***\"],\"count\":7,\"time\":600,"
                             "\"size\":1024,\"colour\":null,\"quiet\":false}");
    out = text_of(buf, sizeof buf);
    j = json_of(&out);
    json_object(&j, NULL);
    conf_json(c, true, &j);
    assert_non_null(strstr(buf, "[\"al:hunter2\",\"hunter2\"]"));
    conf_free(c);
}

static void differences_are_seen(void **state)
{
    struct conf *a = start(), *b = start();
    give_file(a, "peer = {x, y}\ncount = 7\n");
    give_file(b, "peer = x\npeer = z\n");
    conf_settle(a);
    conf_settle(b);
    assert_false(conf_is_same(a, b, PEER));
    assert_true(conf_is_same(a, b, COUNT)); /* by default or by name */
    assert_true(conf_is_same(a, b, COLOUR));
    conf_free(a);
    conf_free(b);
}

static void the_table_explains_itself(void **state)
{
    char buf[4096];
    struct text out = text_of(buf, sizeof buf);
    conf_help(table, OPTIONS, &out);
    assert_non_null(strstr(buf, "\nPlaces:\n"));
    assert_non_null(strstr(buf, "  --name N                        what it is called (default: nobody)\n"));
    assert_non_null(strstr(buf, "  --colour red|green              which (default: whichever suits)\n"));
    assert_non_null(strstr(buf, "  --quiet "));
    assert_non_null(strstr(buf, "  -c, --config FILE "));

    out = text_of(buf, sizeof buf);
    conf_man(table, OPTIONS, &out);
    assert_non_null(strstr(buf, ".SS Places\n"));
    assert_non_null(strstr(buf, ".BR user \" = \\fINAME:PASSWORD\\fP, ...\"\nWhom to trust.\nDefault: none.\n"));
    assert_non_null(strstr(buf, "Default: 7.\nA change needs a restart.\n"));
    assert_null(strstr(buf, "config"));

    out = text_of(buf, sizeof buf);
    conf_man_text(&out, table[FLAG_ONLY].more);
    assert_string_equal(buf, "No \\- really.\n\\&.no macro \\e here");

    out = text_of(buf, sizeof buf);
    conf_sample(table, OPTIONS, &out);
    assert_non_null(strstr(buf, "\n# How many.\n#count = 7\n"));
    assert_non_null(strstr(buf, "\n# Which. Default: whichever suits.\n#colour = red\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(a_file_gives_values_with_their_lines),
        cmocka_unit_test(quotes_take_everything_literally),
        cmocka_unit_test(every_form_of_a_flag_counts),
        cmocka_unit_test(flags_beat_the_file),
        cmocka_unit_test(paths_start_where_they_were_written),
        cmocka_unit_test(a_wrong_file_is_refused_with_line_and_reason),
        cmocka_unit_test(bytes_that_end_strings_are_refused),
        cmocka_unit_test(every_mistake_is_told),
        cmocka_unit_test(unknown_keys_without_end_are_endured),
        cmocka_unit_test(secrets_are_in_no_message),
        cmocka_unit_test(wrong_flags_are_refused),
        cmocka_unit_test(files_that_cannot_be_read_are_told),
        cmocka_unit_test(a_file_may_be_empty),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(near_words_are_found),
        cmocka_unit_test(what_is_printed_reads_back),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(differences_are_seen),
        cmocka_unit_test(the_table_explains_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
