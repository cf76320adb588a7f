/* The running server: sockets opened, privileges dropped, one relay for each worker, and the main thread that logs,
 * reloads and drains.
 */
#ifndef APP_SERVER_H
#define APP_SERVER_H

#include "app/eventlog.h"
#include "app/mras.h"
#include "app/relay.h"
#include "app/state.h"

struct server {
    int argc; /* as given to `serve`: a reload reads the same flags again */
    char **argv;
    struct config *config;
    struct state state;
    struct store *store;
    char *own_user, *own_password; /* generated at the first start; NULL: the configuration has others */
    char *cert, *key;              /* self-signed, in the state directory; NULL: the configuration has its own */
    uint64_t store_version;
    struct turn_shared shared;
    struct policy *policy, *next, *old; /* in force; being taken over; to be freed once it is */
    struct config *next_config;
    _Atomic unsigned pending; /* relays that have not taken `next` over */
    _Atomic unsigned open;    /* while draining: relays that still make allocations */
    struct relay *relays;
    unsigned relays_n;
    struct listen_fd *fds;  /* for worker 0, then for worker 1 ... */
    size_t fds_n;           /* for each worker */
    struct mras *mras;      /* NULL: not configured */
    uint64_t mras_check_ms; /* when its secrets are looked at next */
    char test_user[20], test_password[40];
    struct loop loop;
    struct source signals, bell;
    struct timer tick, log_timer;
    _Atomic bool is_rung;
    struct eventlog log;
    uint64_t drain_until_ms; /* 0: not draining */
    bool wants_reload, is_stopping;
};

/* Everything up to serving: 0, or a negative error with `why` as lines for people. After a failure server_close frees
 * what was made. */
int server_open(struct server *s, struct config *config, int argc, char **argv, struct text *why);
/* Serves until SIGTERM or SIGINT has been carried out. */
void server_run(struct server *s);
void server_close(struct server *s);

#endif
