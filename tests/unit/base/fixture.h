/* What the tests of base share: a die with a fixed seed, a death check, and a heap that can be exhausted on demand. */
#ifndef UNIT_BASE_FIXTURE_H
#define UNIT_BASE_FIXTURE_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* The same throws in every run (xorshift64*), 0 .. below-1. */
static uint64_t die_state = 0x9e3779b97f4a7c15;
__attribute__((unused)) static uint32_t die(uint32_t below)
{
    die_state ^= die_state >> 12;
    die_state ^= die_state << 25;
    die_state ^= die_state >> 27;
    return (uint32_t)((die_state * 0x2545f4914f6cdd1d) >> 32) % below;
}

/* Runs `f` in a child; true if it aborted and its words on stderr contain `words`. */
__attribute__((unused)) static bool aborts(void (*f)(void), const char *words)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        f();
        _exit(0);
    }
    close(ends[1]);
    char said[1024] = "";
    size_t n = 0;
    for (ssize_t got; n < sizeof said - 1 && (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, words);
}

/* For tests that include the source file itself with calloc and realloc renamed to these. */
static bool heap_is_exhausted;
__attribute__((unused)) static void *scarce_calloc(size_t n, size_t size)
{
    return heap_is_exhausted ? NULL : calloc(n, size);
}
__attribute__((unused)) static void *scarce_realloc(void *p, size_t size)
{
    return heap_is_exhausted ? NULL : realloc(p, size);
}

#endif
