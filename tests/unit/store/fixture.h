/* What the tests of the store share: a directory of their own, and another account. */
#ifndef UNIT_STORE_FIXTURE_H
#define UNIT_STORE_FIXTURE_H

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

#include "store/store.h"

static char folder[64];
static char said[2048];
static struct text why;

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

static inline int make_folder(void **state)
{
    strcpy(folder, "/tmp/causeway-store-XXXXXX");
    why = text_of(said, sizeof said);
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* "FOLDER/name"; two of them at a time. */
static inline const char *in_folder(const char *name)
{
    static char paths[2][128];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static inline struct store_user user_named(const char *name)
{
    struct store_user u;
    assert_int_equal(store_user_init(&u, name, "example.org", "sesame", 1700000000), 0);
    return u;
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

#endif
