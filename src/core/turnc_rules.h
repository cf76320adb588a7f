/* What differs between the dialects of TURN for a client: messages as a table. Private to turnc. */
#ifndef CORE_TURNC_RULES_H
#define CORE_TURNC_RULES_H

#include "core/turnc.h"

enum { TURNC_REQUEST_MAX = 2600, TURNC_TRIES_MAX = 4 };

/* A request under way, with what is needed to write it again under a new challenge. */
struct turnc_ask {
    struct list link;
    struct txn txn;
    const struct turnc_verb *verb;
    uint64_t via;
    struct addr peer; /* without meaning for Allocate and Refresh */
    uint32_t lifetime_s, connection;
    uint16_t channel;
    bool is_quiet;  /* a refresh of our own: success is not told */
    bool is_signed; /* was sent with credentials */
    bool is_unsent; /* waits for turnc_next */
    uint8_t tries;  /* transactions so far */
    uint8_t why;    /* result: 0 = success */
    int code;       /* of the refusal, or of the last answer that did not verify */
    int64_t rtt_ms;
    char reason[TURNC_REASON_MAX];
    size_t n;
    uint8_t bytes[TURNC_REQUEST_MAX];
};

struct turnc_verb {
    uint8_t method; /* enum stun_method */
    bool is_signed; /* carries credentials */
    /* Writes the attributes of the request. */
    void (*put)(const struct turnc *c, const struct turnc_ask *a, struct stun_wr *w);
    /* Takes what the success response brings. 0, or ERR_BAD when something is missing. */
    int (*done)(struct turnc *c, struct turnc_ask *a, const struct stun_msg *m, uint64_t now_ms);
};

struct turnc_rules {
    const struct stun_dialect *dialect;
    enum integrity_rule plain_rule; /* of requests when the server offers no password algorithms */
    const struct turnc_verb *verbs;
    size_t verbs_n;
    int (*next_frame)(struct span in, struct frame *out); /* messages in a stream */
};

/* ---- permissions and channels kept alive ---- */

struct turnc_keep {
    struct list link;
    struct addr peer;
    uint16_t channel; /* 0: a permission */
    uint64_t due_ms;  /* UINT64_MAX while being refreshed */
};

struct turnc_keep *turnc_keep_channel(const struct turnc *c, uint16_t channel);
struct turnc_keep *turnc_keep_peer(const struct turnc *c, const struct addr *peer);
/* The server knows this permission or channel now: refresh it later. 0 or ERR_NOMEM. */
int turnc_keep_set(struct turnc *c, const struct addr *peer, uint16_t channel, uint64_t now_ms);
void turnc_keep_drop(struct turnc *c, const struct addr *peer, uint16_t channel);
/* Forgets the allocation and everything that hangs on it. */
void turnc_forget(struct turnc *c);

#endif
