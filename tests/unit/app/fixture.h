/* What the tests of configuration, state and users share: a directory of their own, a file in it, a child process. */
#ifndef UNIT_APP_FIXTURE_H
#define UNIT_APP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

static char folder[64];
static char said[16384];
static struct text why;

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

static inline int make_folder(void **state)
{
    strcpy(folder, "/tmp/causeway-app-XXXXXX");
    why = text_of(said, sizeof said);
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* "FOLDER/name"; four of them at a time. */
static inline char *in_folder(const char *name)
{
    static char paths[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static inline char *write_file(const char *name, const char *text)
{
    char *path = in_folder(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* All of a file, terminated, up to 256 KiB. */
static inline const char *read_file(const char *path)
{
    static char buf[256 * 1024];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    buf[fread(buf, 1, sizeof buf - 1, f)] = 0;
    fclose(f);
    return buf;
}

/* Runs `f` in a child, as an account without rights if we have any; its result. */
static inline int as_somebody(int (*f)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
            _exit(99);
        _exit(f());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define each(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

#endif
