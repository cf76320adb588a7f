/* SIP messages as views: start line, header lines raw and in order, body; how they lie in a stream; and a writer that
 * builds responses out of the request's own bytes. RFC 3261 s.7, s.18.3, s.20, s.25; tolerant as RFC 4475 asks.
 *
 * Nothing is copied: a message borrows the bytes that it was read from. Lines that nobody asks for are never looked
 * into, so that what is not understood can pass byte for byte. Line ends are CRLF and nothing else: a bare CR or LF in
 * a head is a fault, for two readers of one message must not see two messages. No transactions (core/sipt), no bodies.
 */
#ifndef WIRE_SIP_H
#define WIRE_SIP_H

#include "wire/uri.h"

enum sip_header {
    SIP_UNKNOWN, /* any other header */
#define SIP_HEADER(id, name, compact, once) SIP_##id,
#include "wire/sip_header.def"
    SIP_HEADERS
};

enum sip_method {
    SIP_METHOD_OTHER, /* any other token: `method_name` says which */
    SIP_INVITE,
    SIP_ACK,
    SIP_BYE,
    SIP_CANCEL,
    SIP_OPTIONS,
    SIP_REGISTER,
    SIP_SERVICE,
    SIP_BENOTIFY, /* Microsoft's NOTIFY that is never answered */
};

enum { SIP_LINES_MAX = 128, SIP_HEAD_MAX = 64 * 1024 };

/* A header line. A message with a list in one line has one of these, with the list as its value. */
struct sip_line {
    struct span raw;   /* all of it: name, folds, and the CRLF at its end */
    struct span name;  /* as it was written, compact form included; empty in a line that has no name */
    struct span value; /* without white space around it; folds inside are as they came */
    enum sip_header id;
};

struct sip_msg {
    struct span raw, head, body; /* head: start line, header lines and the empty line */
    bool is_request;
    struct span start;       /* the start line without its CRLF */
    struct span method_name; /* of a request */
    enum sip_method method;
    struct span uri;     /* of a request: as it stands there */
    struct span version; /* "SIP/2.0" */
    uint16_t status;     /* of a response: 100..699 */
    struct span reason;  /* of a response; may be empty */
    unsigned lines_n;
    struct sip_line lines[SIP_LINES_MAX];
    const char *fault; /* why the message is malformed although it can be answered; NULL: nothing was found */
};

/* ---- in a stream ---- */

enum sip_frame_kind {
    SIP_FRAME_MESSAGE,
    SIP_FRAME_PING, /* CRLF CRLF between messages: answer with one CRLF (RFC 5626 s.3.5.1) */
    SIP_FRAME_CRLF, /* one CRLF between messages: an answer to ours, or padding (RFC 3261 s.7.5); no answer */
};

struct sip_frame {
    enum sip_frame_kind kind;
    size_t size;       /* bytes of the stream that it takes */
    const char *fault; /* with ERR_BAD: why the stream is lost; `size` is then that of a head that is whole, or 0 */
};

/* The next message of a stream by its Content-Length (RFC 3261 s.18.3). 0; ERR_SHORT: more bytes are needed; ERR_BAD:
 * nobody can tell where the next message begins (no Content-Length, or two, or no number): answer 400 if `size` is not
 * 0, and close; ERR_FULL: the head or the body is longer than allowed. Maxima in bytes. */
int sip_frame_next(struct span in, size_t head_max, size_t body_max, struct sip_frame *out);

/* ---- reading ---- */

/* Reads one whole message: of a stream what sip_frame_next has cut off, or a datagram (`is_datagram`: a body ends where
 * Content-Length says, and what is behind it is ignored; without one it reaches to the end). 0, then see `fault`;
 * ERR_BAD: no SIP message, or a response that no one could use; ERR_FULL: more than SIP_LINES_MAX lines. */
int sip_parse(struct span bytes, bool is_datagram, struct sip_msg *out);
/* What every request must have before it is worth an answer other than this one: 0, or the status to answer with (400,
 * 505) and, in `*why`, the reason in a few words. RFC 3261 s.8.1.1, s.20. */
int sip_check(const struct sip_msg *m, const char **why);

/* The first line of this header behind `after` (NULL: of all); NULL: none. */
const struct sip_line *sip_find(const struct sip_msg *m, enum sip_header id, const struct sip_line *after);
/* The value of the first such line; empty when there is none. */
struct span sip_value(const struct sip_msg *m, enum sip_header id);
/* Takes the next element off a comma separated list: commas in quotes and in <> do not count. False: there is no more.
 * Elements come without white space around them; empty ones are passed over. */
bool sip_list_next(struct span *rest, struct span *element);
/* Equal without regard to the case of ASCII letters? */
bool sip_is_word(struct span s, const char *word);

/* One element of From, To, Contact, Route ... (RFC 3261 s.20.10). */
struct sip_name {
    struct span display; /* as it was written, quotes included */
    struct span uri;     /* without <> */
    struct span params;  /* behind the first semicolon that belongs to the header */
};
int sip_name_parse(struct span element, struct sip_name *out); /* 0 or ERR_BAD */

struct sip_via {
    struct span transport;      /* "TCP" */
    struct span host;           /* of sent-by, brackets included */
    struct span sent_by;        /* host and port as written */
    uint16_t port;              /* 0: none is written */
    struct span params;         /* behind the first semicolon */
    struct span branch;         /* empty: none */
    bool has_rport, has_cookie; /* has_cookie: the branch begins with z9hG4bK (RFC 3261 s.8.1.1.7) */
};
int sip_via_parse(struct span element, struct sip_via *out); /* 0 or ERR_BAD */

/* Finds a parameter in what stands behind the first semicolon. True if it is there; `*value` is then without
 * quotes, and where there is none it is empty and points to where it would stand. */
bool sip_param(struct span params, const char *name, struct span *value);
/* CSeq: number and method. 0 or ERR_BAD (RFC 3261 s.8.1.1.5: below 2^31). */
int sip_cseq(const struct sip_msg *m, uint32_t *number, struct span *method);
/* The method of a token; its case counts (RFC 3261 s.7.1). */
enum sip_method sip_method_of(struct span token);

/* ---- writing ---- */

/* Begins a response: status line, then from the request, byte for byte and in this order, all Via, From, To, Call-ID,
 * CSeq, and for 101..299 Record-Route (RFC 3261 s.8.2.6.2, s.12.1.1). `to_tag` goes behind a To that has no tag; empty:
 * none is added (100). `source` goes as received into the topmost Via when its host differs from it, and its port as
 * rport where that was asked for (RFC 3261 s.18.2.1, RFC 3581 s.4); `received` is the address as text. `reason` NULL:
 * the usual phrase. Errors stick in `w`. */
struct sip_source {
    const char *received;
    uint16_t port;
};
void sip_respond(struct wr *w, const struct sip_msg *request, int status, const char *reason, struct span to_tag,
                 const struct sip_source *source);
/* Adds a header line. `value` must not have line ends in it. */
void sip_put(struct wr *w, const char *name, struct span value);
void sip_put_str(struct wr *w, const char *name, const char *value);
/* Ends the message: Content-Type (NULL: no body), Content-Length, the empty line, the body. */
void sip_finish(struct wr *w, const char *content_type, struct span body);
/* The usual phrase of a status code; "Unknown" for one without. */
const char *sip_reason(int status);

#endif
