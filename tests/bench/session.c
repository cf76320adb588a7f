#include "session.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/sock.h"

enum { MESSAGE_MAX = 2048, RETRY_MS = 500, UDP_TRIES = 8 };

static int fail(const char *what)
{
    fprintf(stderr, "bench session: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---- messages ---- */

void session_widen(int fd, int bytes)
{
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

static const struct timeval patience = {.tv_sec = 10};

/* `buffer`: of what it receives, in bytes; 0: as the kernel likes. */
static int dial(const struct addr *to, bool udp, int buffer)
{
    struct sockaddr_storage ss;
    socklen_t n = sock_from_addr(to, &ss);
    int fd = socket(ss.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd >= 0 && !udp)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd >= 0 && buffer)
        session_widen(fd, buffer);
    if (fd < 0 || connect(fd, (struct sockaddr *)&ss, n)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* One message, mostly in one call: the server never sends the next before it was asked for. */
static ssize_t read_message(int fd, bool udp, uint8_t *buf)
{
    size_t n = 0;
    do {
        ssize_t got = recv(fd, buf + n, MESSAGE_MAX - n, 0);
        if (got <= 0)
            return -1;
        n += (size_t)got;
    } while (!udp && (n < STUN_HEADER || n < (size_t)STUN_HEADER + be16_get(buf + 2)));
    return (ssize_t)n;
}

/* The next message on `fd` of this class and method. */
static int expect(const struct session *s, int fd, enum stun_method method, const uint8_t *tid, uint8_t *buf,
                  struct stun_msg *m)
{
    for (;;) {
        ssize_t n = read_message(fd, s->is_udp && fd == s->control, buf);
        if (n < 0)
            return -1;
        if (stun_parse(&STUN_RFC, span_of(buf, (size_t)n), m))
            continue;
        if (m->method == method && (!tid || memcmp(stun_tid(m), tid, STUN_TID) == 0))
            return 0;
    }
}

static int ask(const struct session *s, int fd, struct stun_wr *w, uint8_t *buf, struct stun_msg *m)
{
    struct span request = stun_end(w);
    uint8_t tid[STUN_TID];
    memcpy(tid, request.p + 4, sizeof tid);
    bool udp = s->is_udp && fd == s->control;
    uint8_t type, cls;
    must(stun_dialect_type(&STUN_RFC, be16_get(request.p), &type, &cls) == 0);
    for (int i = 0; i < (udp ? UDP_TRIES : 1); i++) {
        if (send(fd, request.p, request.n, MSG_NOSIGNAL) != (ssize_t)request.n)
            return fail("send");
        struct pollfd p = {fd, POLLIN, 0};
        if (udp && poll(&p, 1, RETRY_MS) <= 0)
            continue;
        return expect(s, fd, type, tid, buf, m) ? fail("no answer") : 0;
    }
    errno = ETIMEDOUT;
    return fail("no answer");
}

/* ---- requests ---- */

static void begin(struct stun_wr *w, uint8_t *buf, enum stun_method method)
{
    uint8_t tid[STUN_TID];
    stun_new_tid(&STUN_RFC, tid);
    stun_begin(w, &STUN_RFC, buf, MESSAGE_MAX, method, STUN_REQUEST, tid);
}

static void sign(const struct session *s, struct stun_wr *w)
{
    stun_put_bytes(w, AT_USERNAME, span_str(s->server->user));
    stun_put_bytes(w, AT_REALM, span_of(s->realm, s->realm_n));
    stun_put_bytes(w, AT_NONCE, span_of(s->nonce, s->nonce_n));
    stun_put_integrity(w, INTEGRITY_RFC, &s->key, false);
}

static int keep(struct span value, char *out, size_t cap, size_t *n)
{
    if (value.n > cap)
        return -1;
    memcpy(out, value.p, value.n);
    *n = value.n;
    return 0;
}

static int learn(struct session *s, const struct stun_msg *m)
{
    struct span realm, nonce;
    if (stun_get_bytes(m, AT_REALM, &realm) || stun_get_bytes(m, AT_NONCE, &nonce))
        return fail("no challenge");
    if (keep(realm, s->realm, sizeof s->realm, &s->realm_n) || keep(nonce, s->nonce, sizeof s->nonce, &s->nonce_n))
        return -1;
    return stun_key_md5(&s->key, span_str(s->server->user), realm, span_str(s->server->password));
}

static int refused(const struct stun_msg *m)
{
    int code = 0;
    struct span reason;
    if (m->cls == STUN_SUCCESS)
        return 0;
    stun_get_error(m, &code, &reason);
    fprintf(stderr, "bench session: %s refused: %d\n", stun_method_name(m->method), code);
    return -1;
}

static int allocate(struct session *s, bool authenticated, struct stun_msg *m, uint8_t *answer)
{
    uint8_t buf[MESSAGE_MAX];
    struct stun_wr w;
    begin(&w, buf, STUN_ALLOCATE);
    stun_put_u8(&w, AT_REQUESTED_TRANSPORT, s->is_udp ? 17 : 6);
    if (authenticated)
        sign(s, &w);
    return ask(s, s->control, &w, answer, m);
}

int session_open(struct session *s, const struct session_server *server, bool udp)
{
    uint8_t buf[MESSAGE_MAX];
    static _Thread_local struct stun_msg m;
    *s = (struct session){.server = server, .is_udp = udp, .control = dial(&server->addr, udp, 0)};
    if (s->control < 0)
        return fail("connect");
    if (allocate(s, false, &m, buf) || learn(s, &m) || allocate(s, true, &m, buf) || refused(&m) ||
        stun_get_addr(&m, AT_XOR_RELAYED_ADDRESS, &s->relayed)) {
        session_close(s);
        return -1;
    }
    return 0;
}

static int peer_request(struct session *s, enum stun_method method, uint16_t channel, const struct addr *peer)
{
    uint8_t buf[MESSAGE_MAX], answer[MESSAGE_MAX];
    static _Thread_local struct stun_msg m;
    struct stun_wr w;
    begin(&w, buf, method);
    if (channel)
        stun_put_u16(&w, AT_CHANNEL_NUMBER, channel);
    stun_put_addr(&w, AT_XOR_PEER_ADDRESS, peer);
    sign(s, &w);
    return ask(s, s->control, &w, answer, &m) || refused(&m) ? -1 : 0;
}

int session_permit(struct session *s, const struct addr *peer)
{
    return peer_request(s, STUN_CREATE_PERMISSION, 0, peer);
}

int session_bind_channel(struct session *s, uint16_t channel, const struct addr *peer)
{
    return peer_request(s, STUN_CHANNEL_BIND, channel, peer);
}

static int bind_connection(struct session *s, int fd, uint32_t id)
{
    uint8_t buf[MESSAGE_MAX], answer[MESSAGE_MAX];
    static _Thread_local struct stun_msg m;
    struct stun_wr w;
    begin(&w, buf, STUN_CONNECTION_BIND);
    stun_put_u32(&w, AT_CONNECTION_ID, id);
    sign(s, &w);
    return ask(s, fd, &w, answer, &m) || refused(&m) ? -1 : 0;
}

int session_attempt(struct session *s, int *near, int *far)
{
    uint8_t buf[MESSAGE_MAX];
    static _Thread_local struct stun_msg m;
    uint32_t id;
    *near = -1;
    *far = dial(&s->relayed, false, FAR_BUFFER);
    if (*far < 0)
        return fail("the relayed address does not answer");
    if (expect(s, s->control, STUN_CONNECTION_ATTEMPT, NULL, buf, &m) || stun_get_u32(&m, AT_CONNECTION_ID, &id))
        return fail("no ConnectionAttempt");
    *near = dial(&s->server->addr, false, 0);
    if (*near < 0)
        return fail("connect for the bind");
    return bind_connection(s, *near, id);
}

void session_close(struct session *s)
{
    if (s->control >= 0)
        close(s->control);
    s->control = -1;
}
