/* A stream socket owned by exactly one worker, plain or TLS: bytes in, bytes out, end.
 *
 * Reading goes through one scratch buffer of the thread; only an unfinished message is kept in a buffer of the
 * connection, of just the size it needs. Writing tries at once; what the kernel does not take is kept up to `out_max`.
 * An idle connection holds no buffer. sys/pump takes over two conns for bulk data.
 *
 * The callbacks are never called from inside a function of this header, always from the loop. They may close or detach
 * the conn; it is not touched afterwards.
 */
#ifndef SYS_CONN_H
#define SYS_CONN_H

#include <openssl/ssl.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "sys/loop.h"

struct conn;
struct conn_call; /* private: a callback that is running */

enum conn_end {
    CONN_END_NONE,
    CONN_END_EOF,      /* the other side has sent its FIN or close_notify */
    CONN_END_RESET,    /* reset or another error of the socket */
    CONN_END_TLS,      /* handshake or record failure; inside `ended`, tls_error() says which */
    CONN_END_TOO_LONG, /* an unfinished message grew over in_max */
    CONN_END_STALLED,  /* for the owner's use: out_max was full at a conn_write that must not be lost */
    CONN_END_NOMEM,    /* no memory to keep what must be kept */
};

const char *conn_end_name(enum conn_end why);

enum conn_sniff {
    CONN_SNIFF_READ,  /* read plain from the first byte on */
    CONN_SNIFF_MORE,  /* ask again when there are more bytes */
    CONN_SNIFF_TAKEN, /* the callee has called conn_start_tls, closed the conn or taken it away */
};

struct conn_ops {
    /* Everything received and not consumed yet. Returns how many bytes it consumed; the rest comes again with more. The
     * callee may close the conn or take it away (conn_detach, pump): then the return value is ignored, and what counts
     * as unread is what conn_consume has not named. `in` is borrowed: it stays readable after conn_close, not after
     * conn_detach. */
    size_t (*bytes)(struct conn *c, struct span in);
    /* Called at most once. The other side ended or the socket failed; the conn is still open. After CONN_END_EOF it can
     * still be written to, and what was not consumed is conn_unread; otherwise that is gone. The callee normally closes
     * it. */
    void (*ended)(struct conn *c, enum conn_end why);
    /* Looks at the first bytes (at most 2048 of them) before any is read; NULL: read plain at once. */
    enum conn_sniff (*sniff)(struct conn *c, struct span peeked);
    /* All that the kernel had not taken at once has gone out (conn_unsent is 0 again). NULL: nobody waits for it. */
    void (*drained)(struct conn *c);
};

struct conn {
    struct source src; /* src.fd is the socket */
    struct loop *loop; /* NULL: detached */
    SSL *tls;          /* NULL: plain */
    const struct conn_ops *ops;
    struct addr local, peer;
    struct later again;     /* work that needs no event of the socket */
    struct conn_call *call; /* the callback that is running, or NULL */
    uint8_t *in, *out;      /* unfinished input, unsent output; NULL when there is none */
    uint32_t in_n, in_cap, in_max;
    uint32_t out_at, out_n, out_cap, out_max; /* out_n bytes at out + out_at */
    uint32_t interest;                        /* epoll events asked for at present */
    uint16_t state;                           /* private */
    uint8_t failed;                           /* enum conn_end: found by a write, `ended` is to come */
};

/* Wraps a connected socket; not yet registered with a loop. `local`/`peer` are asked of the kernel, Nagle is switched
 * off. Owns the fd from now on. `in_max`: the longest message; `out_max`: the most that is kept unsent; in bytes. */
void conn_init(struct conn *c, int fd, const struct conn_ops *ops, uint32_t in_max, uint32_t out_max);
/* Registers with the loop and starts reading (or sniffing), unless paused. Input that was kept comes in the same turn.
 * 0 or ERR_SYS. */
int conn_attach(struct conn *c, struct loop *l);
/* Takes it from its loop with everything unread and unsent, TLS state included: to be mailed to another worker and
 * attached there, or to be moved by somebody else (below). 0; ERR_NOMEM: the unread bytes of the running `bytes` could
 * not be kept; nothing has changed. Harmless when detached. */
int conn_detach(struct conn *c);
/* Starts TLS on the unread stream, as server or client as the context is (sys/tls); the handshake runs inside. A client
 * may set the server's name on c->tls before the next turn. 0 or ERR_CRYPTO. From `sniff`: return CONN_SNIFF_TAKEN
 * after it. */
int conn_start_tls(struct conn *c, SSL_CTX *ctx);
/* Stops / resumes calling `bytes` (back-pressure: the kernel's buffer fills, TCP's window closes). A paused conn still
 * notices a reset; what was unread is lost then. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
/* Writes all parts in order, or keeps what the kernel does not take. 0; ERR_FULL: all of it would not fit in the room
 * left of out_max and *nothing* of it was written; ERR_CLOSED: the socket has failed (`ended` will be called if it is
 * attached). */
int conn_write(struct conn *c, const struct iovec *parts, int n);
/* Bytes waiting in `out`. */
size_t conn_unsent(const struct conn *c);
/* Unconsumed input: what a pump forwards first. Borrowed until the next call on the conn. */
struct span conn_unread(const struct conn *c);
/* Strikes the first `n` bytes of conn_unread off: the same as returning n, for a `bytes` that gives the conn away. */
void conn_consume(struct conn *c, size_t n);
/* Flushes what the kernel takes at once, sends close_notify, closes; frees the buffers. Harmless when closed. The
 * struct is its owner's and may be freed at once, also from inside a callback. */
void conn_close(struct conn *c);
/* Closes with a reset. */
void conn_abort(struct conn *c);
bool conn_is_open(const struct conn *c);

/* ---- For sys/pump: a detached conn whose bytes somebody else moves ----
 *
 * After conn_detach the descriptor (src.fd) is in no loop; c->tls says if it may be read and written directly. In this
 * order: write conn_unsent (conn_flush) before new bytes, forward conn_unread before reading. conn_close at the end. */

/* Reads what is there, decrypted: count; 0: the other side has ended; ERR_AGAIN; ERR_CLOSED: failed. */
ssize_t conn_recv(struct conn *c, void *buf, size_t n);
/* Writes what goes: count (possibly less than n); ERR_AGAIN: the same bytes must come first next time; ERR_CLOSED. */
ssize_t conn_send(struct conn *c, const void *buf, size_t n);
/* Sends of `out` what goes. 0: all; ERR_AGAIN; ERR_CLOSED. */
int conn_flush(struct conn *c);
/* What to wait for to go on receiving / sending after ERR_AGAIN (TLS may want the other one). */
uint32_t conn_events(const struct conn *c, bool receive, bool send);
/* True if conn_recv has bytes that no event of the socket announces (decrypted already). */
bool conn_has_pending(const struct conn *c);
/* Half-close: no more will be sent (close_notify, FIN). 0 or ERR_CLOSED. */
int conn_shutdown(struct conn *c);

#endif
