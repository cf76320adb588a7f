/* Plays scenes: protocol rules as text, on a fake network and a fake clock. README.md has the language.
 *
 * A scene is a list of steps; the lines behind "> " are what the machine did. The player runs the steps, writes the
 * whole scene anew and compares: a difference fails. `scene FILE...` checks; `scene --update FILE...` writes what
 * happened into the files, to be read with care.
 */
#include <stdio.h>
#include <stdlib.h>

#include "scenes/step.h"

enum { TEXT_MAX = 1 << 20 };

static bool read_file(const char *path, char *text)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return false;
    }
    text[fread(text, 1, TEXT_MAX - 1, f)] = 0;
    fclose(f);
    return true;
}

static bool write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    if (!f || fputs(text, f) < 0) {
        perror(path);
        return false;
    }
    return fclose(f) == 0;
}

/* The scene as it happens, line by line; false when the scene itself is wrong. */
static bool play(struct stage *s, const char *path, const char *text)
{
    int number = 0;
    for (const char *line = text, *end; *line && !s->fault; line = *end ? end + 1 : end) {
        char copy[LINE_MAX_BYTES];
        struct words words;
        end = line + strcspn(line, "\n");
        number++;
        if (line[0] == '>')
            continue;
        snprintf(copy, sizeof copy, "%.*s", (int)(end - line), line);
        text_addf(&s->out, "%s\n", copy);
        words_split(&words, copy);
        step_play(s, &words);
    }
    if (!s->fault)
        stage_close(s);
    if (s->out.truncated)
        s->fault = "too much happens";
    if (s->fault)
        fprintf(stderr, "%s:%d: %s\n", path, number, s->fault);
    return !s->fault;
}

/* Shows the first lines that differ. */
static void show_difference(const char *path, const char *expected, const char *got)
{
    int line = 1;
    size_t start = 0;
    for (size_t i = 0; expected[i] && expected[i] == got[i]; i++)
        if (expected[i] == '\n') {
            line++;
            start = i + 1;
        }
    expected += start;
    got += start;
    fprintf(stderr, "%s:%d: expected: %.*s\n%s:%d:      got: %.*s\n", path, line, (int)strcspn(expected, "\n"),
            expected, path, line, (int)strcspn(got, "\n"), got);
}

static bool check_file(const char *path, bool update)
{
    static struct stage s;
    static char text[TEXT_MAX], out[TEXT_MAX];
    if (!read_file(path, text))
        return false;
    stage_init(&s, text_of(out, sizeof out));
    bool ok = play(&s, path, text);
    if (ok && strcmp(text, out) != 0) {
        ok = update && write_file(path, out);
        if (!ok)
            show_difference(path, text, out);
    }
    stage_fini(&s);
    return ok;
}

int main(int argc, char **argv)
{
    bool update = argc > 1 && strcmp(argv[1], "--update") == 0;
    int failed = 0, first = update ? 2 : 1;
    printf("1..%d\n", argc - first);
    for (int i = first; i < argc; i++) {
        const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
        bool ok = check_file(argv[i], update);
        failed += !ok;
        printf("%s %d - %s\n", ok ? "ok" : "not ok", i - first + 1, name);
    }
    return failed ? 1 : 0;
}
