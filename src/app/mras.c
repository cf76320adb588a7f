#include "app/mras.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/conn.h"
#include "sys/sock.h"
#include "wire/frame.h"

enum {
    CALLERS_MAX = 128,           /* connections in total */
    CALLERS_PER_SOURCE_MAX = 16, /* of one address */
    HEAD_MAX = 16 * 1024,
    FIRST_MS = 10000,         /* to the first whole message, TLS handshake included */
    PARTIAL_MS = 10000,       /* a message that has begun */
    IDLE_MS = 15 * 60 * 1000, /* between messages; SIP servers keep their connections */
    BACKLOG = 64,
    ACCEPTS_PER_TURN = 16,
    REST_MS = 1000, /* of a listener when there is no descriptor left */
    /* The share of one connection, in units: a message costs one, and one more for each 256 bytes of its body. */
    UNITS_PER_S = 200,
    UNITS_MAX = 1000,
    UNIT_BYTES = 256,
};

struct hole {
    struct source src;
    struct timer rest;
    struct mras *mras;
    bool is_tls;
};

struct mras {
    struct mras_desk desk;
    struct mras_terms terms;
    struct loop *loop; /* NULL: not started */
    struct hole holes[MRAS_LISTEN_MAX];
    size_t holes_n;
    struct list callers;
    size_t callers_n;
};

struct caller {
    struct conn conn;
    struct mras *mras;
    struct list link;
    struct timer timer;
    struct later gone;
    uint64_t since_ms, refilled_ms;
    uint32_t units;
    bool is_tls, is_certified, is_partial;
};

/* ---- one connection ---- */

static const char *transport_of(const struct caller *c)
{
    return c->is_tls ? "sip/tls" : "sip/tcp";
}

static void log_caller(struct caller *c, enum ev_kind kind, const char *reason)
{
    struct ev e;
    ev_begin(&e, kind, 0);
    ev_addr(&e, EVF_CLIENT, &c->conn.peer);
    ev_str(&e, EVF_TRANSPORT, transport_of(c));
    if (kind == EV_CLIENT_CLOSED)
        ev_u64(&e, EVF_DURATION, c->mras->loop->now_ms - c->since_ms);
    ev_str(&e, EVF_REASON, reason);
    c->mras->desk.log(c->mras->desk.log_context, &e);
}

static void free_later(struct later *l)
{
    free(container_of(l, struct caller, gone));
}

static void caller_close(struct caller *c, const char *reason)
{
    struct mras *m = c->mras;
    log_caller(c, EV_CLIENT_CLOSED, reason);
    loop_timer_stop(m->loop, &c->timer);
    list_del(&c->link);
    m->callers_n--;
    conn_close(&c->conn);
    loop_later(m->loop, &c->gone);
}

static void on_timer(struct timer *t)
{
    struct caller *c = container_of(t, struct caller, timer);
    caller_close(c, c->is_partial ? "too slow" : "silent");
}

static void set_timer(struct caller *c, uint64_t ms)
{
    loop_timer(c->mras->loop, &c->timer, c->mras->loop->now_ms + ms);
}

/* ---- messages ---- */

static bool is_over_share(struct caller *c, size_t bytes)
{
    uint64_t now_ms = c->mras->loop->now_ms, gained = (now_ms - c->refilled_ms) * UNITS_PER_S / 1000;
    uint32_t cost = 1 + (uint32_t)(bytes / UNIT_BYTES);
    if (gained) {
        c->units = gained > UNITS_MAX - c->units ? UNITS_MAX : c->units + (uint32_t)gained;
        c->refilled_ms = now_ms;
    }
    if (cost > c->units)
        return true;
    c->units -= cost;
    return false;
}

static struct mras_caller terms_of(struct caller *c, size_t bytes)
{
    return (struct mras_caller){
        .from = c->conn.peer,
        .transport = transport_of(c),
        .is_busy = is_over_share(c, bytes),
        .now_ms = c->mras->loop->now_ms,
        .wall_s = loop_wallclock_us() / 1000000,
    };
}

/* False: the connection is closed. Who does not read its answers loses it. */
static bool answer_with(struct caller *c, struct span answer)
{
    struct iovec part = {(void *)(uintptr_t)answer.p, answer.n};
    if (answer.n == 0 || conn_write(&c->conn, &part, 1) == 0)
        return true;
    caller_close(c, "answers are not read");
    return false;
}

static bool one_frame(struct caller *c, const struct sip_frame *f, struct span bytes)
{
    if (f->kind == SIP_FRAME_PING)
        return answer_with(c, span_str("\r\n"));
    if (f->kind == SIP_FRAME_CRLF)
        return true;
    bool is_lost;
    struct mras_caller who = terms_of(c, f->size);
    struct span answer = mras_answer(&c->mras->desk, bytes, &who, &is_lost);
    if (!is_lost)
        return answer_with(c, answer);
    caller_close(c, "not SIP");
    return false;
}

/* Says what was wrong if it can still be said, and closes. */
static void end_stream(struct caller *c, struct span in, int err, const struct sip_frame *f)
{
    struct mras_caller who = terms_of(c, 0);
    struct span answer = {0};
    if (f->size)
        answer = mras_answer_fault(&c->mras->desk, span_take(in, f->size), err == ERR_FULL ? 413 : 400, f->fault, &who);
    if (answer_with(c, answer))
        caller_close(c, f->fault);
}

/* The clock of a message runs from its first byte to its last, however it is cut; line ends between messages are none.
 */
static void rest(struct caller *c, size_t left, bool had_message)
{
    bool is_partial = left > 2;
    if (is_partial && (!c->is_partial || had_message))
        set_timer(c, PARTIAL_MS);
    else if (!is_partial && had_message)
        set_timer(c, IDLE_MS);
    c->is_partial = is_partial;
}

static size_t on_bytes(struct conn *conn, struct span in)
{
    struct caller *c = container_of(conn, struct caller, conn);
    size_t used = 0;
    for (;;) {
        struct sip_frame f;
        struct span left = span_skip(in, used);
        int err = sip_frame_next(left, HEAD_MAX, MRAS_XML_MAX, &f);
        if (err == ERR_SHORT)
            break;
        if (err) {
            end_stream(c, left, err, &f);
            return in.n;
        }
        if (!one_frame(c, &f, span_take(left, f.size)))
            return in.n;
        used += f.size;
    }
    rest(c, in.n - used, used > 0);
    return used;
}

static void on_ended(struct conn *conn, enum conn_end why)
{
    struct caller *c = container_of(conn, struct caller, conn);
    char buf[200];
    struct text reason = text_of(buf, sizeof buf);
    text_add(&reason, conn_end_name(why));
    if (why == CONN_END_TLS) {
        text_add(&reason, ": ");
        tls_error(&reason);
    }
    caller_close(c, buf);
}

static enum conn_sniff on_first_bytes(struct conn *conn, struct span peeked)
{
    struct caller *c = container_of(conn, struct caller, conn);
    enum speech_kind kind;
    int err = sniff_stream(peeked, &kind);
    if (err == ERR_SHORT)
        return CONN_SNIFF_MORE;
    c->is_certified = c->mras->terms.config->client_ca != NULL;
    if (err || kind != SPEECH_TLS)
        caller_close(c, "speaks no TLS here");
    else if (!c->mras->terms.tls || conn_start_tls(conn, c->mras->terms.tls))
        caller_close(c, "TLS is not available");
    return CONN_SNIFF_TAKEN;
}

static const struct conn_ops tcp_ops = {.bytes = on_bytes, .ended = on_ended};
static const struct conn_ops tls_ops = {.bytes = on_bytes, .ended = on_ended, .sniff = on_first_bytes};

/* ---- listeners ---- */

/* A TLS connection without a certificate ends in the handshake, before it can ask. */
static bool may_ask(const struct mras *m, const struct addr *from, bool is_tls)
{
    return config_mras_may_ask(m->terms.config, from, is_tls && m->terms.config->client_ca);
}

static size_t count_from(const struct mras *m, const struct addr *from)
{
    size_t n = 0;
    for (const struct list *l = m->callers.next; l != &m->callers; l = l->next)
        n += addr_is_same_ip(&container_of(l, struct caller, link)->conn.peer, from);
    return n;
}

/* Why this connection is not taken, or NULL. */
static const char *rule_against(const struct mras *m, const struct addr *from, bool is_tls)
{
    return !may_ask(m, from, is_tls)                       ? "mras-allow"
           : m->callers_n >= CALLERS_MAX                   ? "connections to MRAS"
           : count_from(m, from) >= CALLERS_PER_SOURCE_MAX ? "connections to MRAS of one address"
                                                           : NULL;
}

static void turn_away(struct hole *h, int fd, const struct addr *from, const char *rule)
{
    struct ev e;
    sock_abort(fd);
    ev_begin(&e, EV_CLIENT_REFUSED, 0);
    ev_addr(&e, EVF_CLIENT, from);
    ev_str(&e, EVF_TRANSPORT, h->is_tls ? "sip/tls" : "sip/tcp");
    ev_str(&e, EVF_RULE, rule);
    h->mras->desk.log(h->mras->desk.log_context, &e);
}

static void take(struct hole *h, int fd, const struct addr *from)
{
    struct mras *m = h->mras;
    const char *rule = rule_against(m, from, h->is_tls);
    struct caller *c = rule ? NULL : calloc(1, sizeof *c);
    if (!c) {
        turn_away(h, fd, from, rule ? rule : "out of memory");
        return;
    }
    c->mras = m;
    c->is_tls = h->is_tls;
    c->since_ms = c->refilled_ms = m->loop->now_ms;
    c->units = UNITS_MAX;
    conn_init(&c->conn, fd, h->is_tls ? &tls_ops : &tcp_ops, HEAD_MAX + MRAS_XML_MAX, MRAS_MESSAGE_MAX);
    timer_init(&c->timer, on_timer);
    later_init(&c->gone, free_later);
    list_add_tail(&m->callers, &c->link);
    m->callers_n++;
    log_caller(c, EV_CLIENT_CONNECTED, "");
    if (conn_attach(&c->conn, m->loop))
        caller_close(c, "out of memory");
    else
        set_timer(c, FIRST_MS);
}

/* Without descriptors the waiting connection would wake us again and again. */
static void on_connection(struct source *s, uint32_t events)
{
    struct hole *h = container_of(s, struct hole, src);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct addr from;
        int fd = sock_accept(s->fd, &from);
        if (fd >= 0) {
            take(h, fd, &from);
            continue;
        }
        if (fd != ERR_AGAIN && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            loop_mod(h->mras->loop, s, 0);
            loop_timer(h->mras->loop, &h->rest, h->mras->loop->now_ms + REST_MS);
        }
        return;
    }
}

static void on_rested(struct timer *t)
{
    struct hole *h = container_of(t, struct hole, rest);
    loop_mod(h->mras->loop, &h->src, EPOLLIN);
}

static int open_hole(struct mras *m, const struct config_mras_listen *l, struct text *why)
{
    static const uint8_t any[16];
    struct hole *h = &m->holes[m->holes_n];
    *h = (struct hole){.src = {sock_listen(&l->local, false, BACKLOG), on_connection}, .mras = m, .is_tls = l->is_tls};
    timer_init(&h->rest, on_rested);
    bool is_spare = l->local.family == ADDR_V6 && memcmp(l->local.ip, any, sizeof any) == 0 && errno == EAFNOSUPPORT;
    if (h->src.fd >= 0)
        m->holes_n++;
    if (h->src.fd >= 0 || is_spare)
        return 0;
    char buf[ADDR_TEXT_MAX];
    text_addf(why, "mras-listen %s: %s: %s\n", addr_format(&l->local, buf), strerror(errno),
              errno == EADDRINUSE ? "stop the program that uses it, or listen elsewhere" : "see the system's reason");
    return ERR_SYS;
}

int mras_open(struct mras **out, const struct config_mras *config, struct text *why)
{
    *out = NULL;
    if (config->listen_n == 0)
        return 0;
    struct mras *m = calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    list_init(&m->callers);
    int err = mras_desk_init(&m->desk);
    for (size_t i = 0; i < config->listen_n && !err; i++)
        err = open_hole(m, &config->listen[i], why);
    if (err)
        mras_close(m);
    else
        *out = m;
    return err;
}

/* ---- life ---- */

static void take_terms(struct mras *m, const struct mras_terms *terms)
{
    if (terms->tls)
        SSL_CTX_up_ref(terms->tls);
    SSL_CTX_free(m->terms.tls);
    m->terms = *terms;
    m->desk.config = terms->config;
    m->desk.keys = terms->keys;
}

int mras_start(struct mras *m, struct loop *loop, const struct mras_terms *terms,
               void (*log)(void *context, struct ev *e), void *context)
{
    m->loop = loop;
    m->desk.log = log;
    m->desk.log_context = context;
    take_terms(m, terms);
    for (size_t i = 0; i < m->holes_n; i++)
        if (loop_add(loop, &m->holes[i].src, EPOLLIN))
            return ERR_SYS;
    return 0;
}

/* Who has a certificate of the old authority, or should have one of the new, must show it again. */
static bool may_stay(const struct caller *c)
{
    const struct config_mras *config = c->mras->terms.config;
    if (c->is_certified || (c->is_tls && config->client_ca))
        return false;
    return config_mras_may_ask(config, &c->conn.peer, false);
}

static void sweep(struct mras *m, bool all, const char *reason)
{
    for (struct list *l = m->callers.next, *next; l != &m->callers; l = next) {
        struct caller *c = container_of(l, struct caller, link);
        next = l->next;
        if (all || !may_stay(c))
            caller_close(c, reason);
    }
}

void mras_set(struct mras *m, const struct mras_terms *terms)
{
    if (!m)
        return;
    bool is_new = m->terms.config != terms->config;
    take_terms(m, terms);
    if (is_new)
        sweep(m, false, "the configuration has changed");
}

void mras_close(struct mras *m)
{
    if (!m)
        return;
    if (m->loop)
        sweep(m, true, "server stopped");
    for (size_t i = 0; i < m->holes_n; i++) {
        if (m->loop) {
            loop_del(m->loop, &m->holes[i].src);
            loop_timer_stop(m->loop, &m->holes[i].rest);
        }
        close(m->holes[i].src.fd);
    }
    SSL_CTX_free(m->terms.tls);
    mras_desk_fini(&m->desk);
    free(m);
}

/* ---- TLS ---- */

/* Certificates of Front Ends are made for servers; who asks with one is a client: any purpose will do. */
SSL_CTX *mras_tls_new(const struct tls_files *files, const char *client_ca, struct text *why)
{
    static const unsigned char context[] = "mras";
    SSL_CTX *ctx = tls_server_new(files, false, NULL, why);
    if (!ctx || !client_ca)
        return ctx;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(client_ca);
    if (!names || SSL_CTX_load_verify_file(ctx, client_ca) != 1 || SSL_CTX_set_purpose(ctx, X509_PURPOSE_ANY) != 1 ||
        SSL_CTX_set_session_id_context(ctx, context, sizeof context) != 1) {
        text_addf(why, "mras-client-ca %s: ", client_ca);
        tls_error(why);
        text_add(why, "; name a file with certificates in PEM");
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return ctx;
}
