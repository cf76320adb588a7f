/* A stream socket owned by exactly one worker, plain or TLS: bytes in, bytes out, end.
 *
 * Reading goes through one scratch buffer of the thread; only an unfinished message is kept in a buffer of the
 * connection, of just the size it needs. Writing tries at once; what the kernel does not take is kept up to `out_max`.
 * An idle connection holds no buffer. sys/pump takes over two conns for bulk data.
 */
#ifndef SYS_CONN_H
#define SYS_CONN_H

#include <openssl/ssl.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "sys/loop.h"

struct conn;

enum conn_end {
    CONN_END_NONE,
    CONN_END_EOF,      /* the other side has sent its FIN or close_notify */
    CONN_END_RESET,    /* reset or another error of the socket */
    CONN_END_TLS,      /* handshake or record failure */
    CONN_END_TOO_LONG, /* an unfinished message grew over in_max */
    CONN_END_STALLED,  /* the kernel and out_max were full at a conn_write that must not be lost */
};

const char *conn_end_name(enum conn_end why);

struct conn_ops {
    /* Everything received and not consumed yet. Returns how many bytes it consumed; the rest comes again with more. The
     * callee may close the conn or take it away (conn_detach, pump): then the return value is ignored. */
    size_t (*bytes)(struct conn *c, struct span in);
    /* The other side ended or the socket failed; the conn is still open (unread `in` bytes are gone). The callee
     * normally closes it. */
    void (*ended)(struct conn *c, enum conn_end why);
    /* First bytes may be looked at (peek) before anything is read: return CONN_SNIFF_READ to read plain,
     * CONN_SNIFF_MORE for more bytes, CONN_SNIFF_TLS to start TLS (conn_start_tls must have been called by the callee).
     * NULL: read plain at once. */
    int (*sniff)(struct conn *c, struct span peeked);
};
enum { CONN_SNIFF_READ, CONN_SNIFF_MORE, CONN_SNIFF_TAKEN };

struct conn {
    struct source src; /* src.fd is the socket */
    struct loop *loop;
    SSL *tls; /* NULL: plain */
    const struct conn_ops *ops;
    struct addr local, peer;
    struct later again; /* bytes decrypted but not delivered because the turn's budget was used up */
    uint8_t *in, *out;  /* unfinished input, unsent output; NULL when there is none */
    uint32_t in_n, in_cap, in_max;
    uint32_t out_at, out_n, out_cap, out_max;
    uint32_t interest; /* epoll events asked for at present */
    uint8_t state;     /* private */
};

/* Wraps a connected socket; not yet registered with a loop. `local`/`peer` are asked of the kernel. Owns the fd from
 * now on. */
void conn_init(struct conn *c, int fd, const struct conn_ops *ops, uint32_t in_max, uint32_t out_max);
/* Registers with the loop and starts reading (or sniffing). 0 or ERR_SYS. */
int conn_attach(struct conn *c, struct loop *l);
/* Takes it from its loop with everything unread and unsent, TLS state included: to be mailed to another worker and
 * attached there. After conn_attach elsewhere, `bytes` is called at once if input is kept. */
void conn_detach(struct conn *c);
/* Starts TLS as server (context of sys/tls); the handshake runs inside. 0 or ERR_CRYPTO. From `sniff`: return
 * CONN_SNIFF_TAKEN after it. */
int conn_start_tls(struct conn *c, SSL_CTX *ctx);
/* Stops / resumes calling `bytes` (back-pressure: the kernel's buffer fills, TCP's window closes). */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
/* Writes all parts in order, or keeps what the kernel does not take. 0; ERR_FULL: it does not fit in out_max and
 * *nothing* of it was written; ERR_CLOSED: the socket has failed (`ended` will be called). */
int conn_write(struct conn *c, const struct iovec *parts, int n);
/* Bytes waiting in `out`. */
size_t conn_unsent(const struct conn *c);
/* Unconsumed input: what a pump forwards first. Borrowed until the next call on the conn. */
struct span conn_unread(const struct conn *c);
/* Flushes what the kernel takes at once, sends close_notify, closes. Harmless when closed. The struct may be freed at
 * the end of the loop turn (loop_later). */
void conn_close(struct conn *c);
/* Closes with a reset. */
void conn_abort(struct conn *c);
bool conn_is_open(const struct conn *c);
/* Frees the buffers of a closed conn (conn_close calls it). The struct itself is its owner's. */

#endif
