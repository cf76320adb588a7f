/* A connection of the doctor: UDP, TCP, TLS or DTLS, to the server or to a plain peer. Descriptors do not block;
 * opening and sending wait with poll() until a deadline, for the doctor has nothing better to do.
 *
 * Deadlines are CLOCK_MONOTONIC milliseconds.
 */
#ifndef APP_DOCTOR_LINK_H
#define APP_DOCTOR_LINK_H

#include "core/act.h"
#include "sys/tls.h"

/* What a handshake showed. Filled in by every handshake of the context. */
struct link_tls {
    bool is_done;
    char version[16]; /* "TLSv1.3" */
    char subject[160];
    char issuer[160];
    int64_t seconds_left; /* of the certificate */
    long verify;          /* X509_V_OK, or why the certificate is not to be trusted */
};

/* Where to, and how. */
struct link_to {
    struct addr server;
    uint8_t transport; /* enum transport */
    SSL_CTX *ctx;      /* TLS, DTLS */
    const char *name;  /* for SNI; NULL or an IP address: none */
    const struct link_tls *tls;
    bool may_be_untrusted; /* go on with a certificate that does not verify */
};

enum { LINK_RX = 131072, LINK_WHY_MAX = 200 };

struct link {
    int fd; /* -1: closed */
    uint8_t transport;
    SSL *ssl;
    struct dtls *dtls;
    bool has_ended;   /* the other side ended in good order */
    bool is_broken;   /* reset, or any other failure: `why` */
    uint64_t open_us; /* how long connecting took (TCP), without TLS */
    char why[LINK_WHY_MAX];
    uint8_t *rx; /* received bytes; of datagrams one at a time, each behind two bytes of length */
    size_t rx_n;
};

/* A client context whose handshakes verify the certificate against `host` (name or address), the system's authorities
 * and `ca_file` (NULL: none), and note the outcome in `facts` instead of ending. NULL with `why`. */
SSL_CTX *link_context(bool dtls, const char *host, const char *ca_file, struct link_tls *facts, struct text *why);

/* Connects and shakes hands. 0, or an error with `l->why`; the link must be closed in both cases. */
int link_open(struct link *l, const struct link_to *to, uint64_t deadline_ms);
/* A link over a connected or connecting plain TCP descriptor; owns it. */
void link_of_fd(struct link *l, int fd);
/* An unopened link, harmless to close. */
void link_init(struct link *l);
void link_close(struct link *l);
static inline bool link_is_open(const struct link *l)
{
    return l->fd >= 0 && !l->is_broken;
}

/* Writes what goes: bytes taken, 0 when it would block, or ERR_SYS (broken). Datagrams: all or nothing. */
int link_write(struct link *l, struct span bytes);
/* Writes all. 0, ERR_AGAIN at the deadline, ERR_SYS. */
int link_send(struct link *l, struct span bytes, uint64_t deadline_ms);
/* Reads what is there into `rx`: bytes added, 0 when it would block or `rx` is full, ERR_CLOSED (ended), ERR_SYS
 * (broken). */
int link_fill(struct link *l);
/* The next datagram in `rx`, or the bytes of the stream; taken away by link_take. */
struct span link_peek(const struct link *l);
void link_take(struct link *l, size_t n);
/* Ends our direction, keeps the other one (TLS: close_notify, then FIN). */
void link_half_close(struct link *l);
/* POLLIN always; POLLOUT when there is something to write. */
short link_events(const struct link *l, bool wants_write);
/* CLOCK_MONOTONIC in microseconds, for round trips and speeds. */
uint64_t link_clock_us(void);
/* Bytes are ready without asking the kernel. */
bool link_has_hidden(const struct link *l);

#endif
