/* Requests and answers of the media relay authentication service, [MS-AVEDGEA] (microsoft.md C.2): the XML that clients
 * send in SIP SERVICE, and what they get back.
 *
 * The one place in wire/ where a library takes memory from the heap: libxml2 reads the request, event by event and
 * without building a tree, and what it takes is bounded by MRAS_XML_MAX and given back before the call returns. No
 * entities, no document type, no network, no encoding but UTF-8. Texts are copied into the caller's arena.
 */
#ifndef WIRE_MRAS_H
#define WIRE_MRAS_H

#include "base/span.h"

#define MRAS_CONTENT_TYPE "application/msrtc-media-relay-auth+xml"

enum {
    MRAS_XML_MAX = 64 * 1024, /* bytes of a request */
    MRAS_ASKS_MAX = 100,      /* credentialsRequests in one */
    MRAS_DEPTH_MAX = 32,      /* elements in elements */
    MRAS_ID_MAX = 64,         /* characters of a requestID */
    MRAS_URI_MAX = 4096,      /* bytes of from and to, which are sent back */
};

enum mras_reason {
    MRAS_OK,
    MRAS_REQUEST_MALFORMED,
    MRAS_REQUEST_TOO_LARGE,
    MRAS_NOT_SUPPORTED,
    MRAS_SERVER_BUSY,
    MRAS_TIME_OUT,
    MRAS_FORBIDDEN,
    MRAS_INTERNAL_SERVER_ERROR,
    MRAS_OTHER_FAILURE,
    MRAS_VERSION_MISMATCH,
};

enum mras_location { MRAS_INTERNET = 1, MRAS_INTRANET = 2 };

struct mras_ask {
    struct span id, identity;
    unsigned locations; /* enum mras_location, or-ed: both when the client names none */
    uint32_t minutes;   /* 0: the client names no duration */
};

struct mras_request {
    struct span id, from, to;
    bool is_version_1;       /* otherwise it is answered as version 2.0 */
    bool wants_ip;           /* route="directip": the relay's address rather than its name */
    enum mras_reason reason; /* MRAS_OK, or why it is refused; then the asks are not to be used */
    unsigned asks_n;
    struct mras_ask asks[MRAS_ASKS_MAX];
};

struct mras_relay {
    const char *host;            /* a name, or an IP address without brackets */
    unsigned locations;          /* enum mras_location, or-ed: where it can be reached from */
    uint16_t udp_port, tcp_port; /* 0: not offered */
    bool is_ip;
};

/* Reads a request; its texts go into `arena`, of at least MRAS_XML_MAX bytes. 0, then see `reason`; ERR_BAD: not XML,
 * or no MRAS request; ERR_FULL: longer than MRAS_XML_MAX; ERR_NOMEM. */
int mras_read(struct span xml, void *arena, struct mras_request *out);

/* An answer is written in pieces: begin, for each ask its grant, end; a refusal is begin and end alone. */
void mras_write_begin(struct wr *w, const struct mras_request *r, enum mras_reason reason);
/* Credentials in base64, good for `minutes`, and those of the relays that the ask wants. */
void mras_write_grant(struct wr *w, const struct mras_request *r, const struct mras_ask *ask, const char *username,
                      const char *password, uint32_t minutes, const struct mras_relay *relays, size_t relays_n);
void mras_write_end(struct wr *w);

/* "Request Too Large" */
const char *mras_reason_phrase(enum mras_reason reason);

#endif
