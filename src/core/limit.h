/* Every quota of the relay in one object, shared by all workers: counts (allocations, connections), rates (Connects)
 * and bytes per second, each for a user, a source prefix and in total; and the budget for answers to strangers.
 *
 * An account is a user name or a source prefix (an IPv4 address, an IPv6 /64) with its counters. A payer is the set of
 * accounts that pay for one client. Looking an account up takes a short lock and happens when a client connects or
 * authenticates; everything afterwards is atomic: on the data path one compare-and-swap for each bucket that limits.
 * Bytes: a datagram that is not granted is dropped, a stream is not read (core says how much, the pump waits).
 */
#ifndef CORE_LIMIT_H
#define CORE_LIMIT_H

#include "base/addr.h"

/* 0 = no limit. */
struct limits {
    uint64_t allocations, user_allocations, source_allocations;
    uint64_t connections, source_connections; /* client connections */
    uint64_t user_connects_per_minute;
    uint64_t user_bytes_per_s, source_bytes_per_s, total_bytes_per_s;
    uint64_t answers_per_s; /* to strangers, for each source prefix */
};

struct limiter;
struct account;

struct limiter *limiter_new(const struct limits *l); /* NULL: no memory */
void limiter_free(struct limiter *l);
/* New values from now on; counts and accounts stay. */
void limiter_set(struct limiter *l, const struct limits *limits);

/* The accounts that pay for one client; each may be NULL (nobody limits). */
struct payer {
    struct limiter *limiter;
    struct account *user, *source;
};

/* Finds or makes the accounts and holds them. `user` empty: source only. 0 or ERR_NOMEM. */
int payer_hold(struct payer *p, struct limiter *l, struct span user, const struct addr *source);
void payer_release(struct payer *p);
/* The user name of the account, as long as it is held; empty without. */
struct span payer_user(const struct payer *p);

enum limit_what { LIMIT_ALLOCATIONS, LIMIT_CONNECTIONS, LIMIT_WHATS };

/* Takes one of `what` from all accounts and the total, or from none. NULL when granted, else the name of the limit that
 * refused ("max-allocations-per-user"). */
const char *payer_take(const struct payer *p, enum limit_what what);
void payer_give(const struct payer *p, enum limit_what what);
/* One RFC 6062 Connect now? NULL or the name of the limit. */
const char *payer_connect(const struct payer *p, uint64_t now_ms);
/* How many of `want` bytes may pass now; 0: `*retry_ms` says in how many milliseconds to ask again. Charges what it
 * grants. */
size_t payer_bytes(const struct payer *p, size_t want, uint64_t now_ms, uint64_t *retry_ms);
/* All `want` bytes or none: for datagrams. */
bool payer_datagram(const struct payer *p, size_t want, uint64_t now_ms);

/* May a stranger at this datagram address be answered with `bytes`? Never allocates: a fixed table of prefixes
 * (checklist S27-S29). */
bool limiter_may_answer(struct limiter *l, const struct addr *source, size_t bytes, uint64_t now_ms);

/* Current count in total. */
uint64_t limiter_count(const struct limiter *l, enum limit_what what);
/* Accounts in existence: back to zero when all clients are gone. */
size_t limiter_accounts(const struct limiter *l);

#endif
