/* `causeway doctor`: checks a STUN or TURN server from outside, one row for each promise, with the remedy where it is
 * not kept. Also the self-test of `causeway serve`.
 *
 * Blocking: sockets of its own, poll(), one thread. Nothing is shared between two runs, so that several may run at
 * once.
 */
#ifndef APP_DOCTOR_H
#define APP_DOCTOR_H

#include "app/turn_uri.h"
#include "base/addr.h"
#include "base/json.h"

enum { DOCTOR_ROWS_MAX = 32, DOCTOR_NUMBERS_MAX = 4, DOCTOR_FACT_MAX = 320, DOCTOR_REMEDY_MAX = 400 };

enum doctor_result { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL, DOCTOR_SKIPPED };

enum doctor_exit { DOCTOR_EXIT_OK, DOCTOR_EXIT_FAILED, DOCTOR_EXIT_USAGE, DOCTOR_EXIT_UNREACHABLE };

struct doctor_number {
    const char *key; /* with its unit: "rtt_ms" */
    double value;
};

struct doctor_row {
    const char *id, *title; /* "tcp-connect", "TCP relay: Connect" */
    enum doctor_result result;
    char fact[DOCTOR_FACT_MAX];     /* what was measured, or why it was skipped */
    char remedy[DOCTOR_REMEDY_MAX]; /* what to do; "" when there is nothing to do */
    struct doctor_number numbers[DOCTOR_NUMBERS_MAX];
    unsigned numbers_n;
};

struct doctor_report {
    struct doctor_row rows[DOCTOR_ROWS_MAX];
    size_t n;
    enum doctor_exit exit;
    uint64_t took_ms;
};

/* Strings are borrowed. */
struct doctor_target {
    struct turn_uri uri;
    const char *user, *password; /* NULL: only what needs no credentials */
    struct addr peer_ip;         /* ADDR_NONE: no plain peers of our own */
    const char *ca_file;         /* more authorities; NULL: the system's only */
    bool insecure;               /* go on with a certificate that is not trusted */
    uint32_t timeout_ms;         /* of each step */
    uint64_t bytes;              /* of each transfer */
};

/* Who watches: told before and after each check. */
struct doctor_watch {
    void (*begin)(void *user, const char *title);
    void (*end)(void *user, const struct doctor_row *row);
    void *user;
};

/* All checks; `watch` may be NULL. SIGPIPE must be ignored. `out` is filled in; returns out->exit. */
int doctor_run(const struct doctor_target *target, const struct doctor_watch *watch, struct doctor_report *out);
/* The checks that prove that a server of this process works, against its own listener: no wrong passwords, no forbidden
 * peers. Prints nothing; blocks, so call it from a thread of its own, never from a worker's. Transfers at most 1 MiB.
 * Returns 0 when all is well, else ERR_NONE. */
int doctor_self_test(const struct doctor_target *target, struct doctor_report *out);

/* "14 checks: 12 ok, 1 failed, 1 skipped": the verdict in one sentence. */
void doctor_verdict(const struct doctor_report *r, struct text *out);
void doctor_row_print(const struct doctor_row *row, bool colour, struct text *out);
/* What was skipped, one line for each reason. */
void doctor_skipped_print(const struct doctor_report *r, bool colour, struct text *out);
/* One object. */
void doctor_to_json(const struct doctor_report *r, const struct doctor_target *target, struct text *out);

/* What is checked, for --help: one line each. */
void doctor_list_checks(struct text *out);

#endif
