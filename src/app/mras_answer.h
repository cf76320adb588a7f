/* What the media relay authentication service answers: one SIP message in, one out. RFC 3261 s.8.2 for what comes
 * before the body, [MS-AVEDGEA] (wire/mras) for what is in it. Knows no connection: app/mras holds those.
 */
#ifndef APP_MRAS_ANSWER_H
#define APP_MRAS_ANSWER_H

#include "app/config_mras.h"
#include "base/ev.h"
#include "core/mras.h"
#include "core/sipt.h"

enum {
    MRAS_BODY_MAX = 768 * 1024, /* of an answer: 100 credentials with 8 relays at two locations each */
    MRAS_MESSAGE_MAX = MRAS_BODY_MAX + 64 * 1024,
};

/* The desk that answers. One thread. */
struct mras_desk {
    const struct config_mras *config; /* borrowed; replaced by a reload */
    const struct mras_keys *keys;     /* borrowed */
    struct sipt *sipt;
    void (*log)(void *context, struct ev *e); /* stamps and writes an event */
    void *log_context;
    uint8_t *arena, *body, *message;
    struct mras_request request;
    struct sip_msg msg;
};

/* Who sent the message, and when. */
struct mras_caller {
    struct addr from;
    const char *transport; /* "sip/tcp", "sip/tls" */
    bool is_busy;          /* it has asked for more than its share: 503 */
    uint64_t now_ms, wall_s;
};

int mras_desk_init(struct mras_desk *d); /* 0 or ERR_NOMEM; config, keys and log are the caller's to set */
void mras_desk_fini(struct mras_desk *d);
/* The answer to one whole message of a stream, borrowed until the next call; empty: none is due. `*is_lost`: it was no
 * SIP message, close. */
struct span mras_answer(struct mras_desk *d, struct span message, const struct mras_caller *caller, bool *is_lost);
/* The answer to a head behind which the stream is lost, or whose body is too long; then close. */
struct span mras_answer_fault(struct mras_desk *d, struct span head, int status, const char *fault,
                              const struct mras_caller *caller);

#endif
