#include "app/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/mras_key.h"
#include "base/rand.h"
#include "sys/drop.h"
#include "sys/sock.h"

enum {
    TICK_MS = 500,
    MRAS_CHECK_MS = 5000,
    MRAS_CHECK_AGAIN_MS = 60000, /* after a failure */
    LOG_DELAY_MS = 20,
    DRAIN_LOOK_MS = 20, /* the first look whether anything is to be waited for */
    BACKLOG = 4096,
    LISTENER_BUFFER = 4 << 20, /* of a UDP listener: all clients of a worker share it */
};

/* ---- events ---- */

static void on_event(void *context)
{
    struct server *s = context;
    uint64_t one = 1;
    if (!atomic_exchange(&s->is_rung, true) && write(s->bell.fd, &one, sizeof one) < 0)
        atomic_store(&s->is_rung, false);
}

/* The self-test reports by itself. */
static bool is_of_self_test(const struct server *s, const struct ev *e)
{
    const struct ev_value *user = ev_find(e, EVF_USER);
    return user && span_is_equal(ev_text_of(e, user), span_str(s->test_user));
}

static void drain_events(struct server *s)
{
    struct ev e;
    atomic_store(&s->is_rung, false);
    for (unsigned i = 0; i < s->relays_n; i++)
        while (ev_ring_take(&s->relays[i].events, &e))
            if (!is_of_self_test(s, &e))
                eventlog_write(&s->log, &e);
    eventlog_flush(&s->log);
}

/* Events wait a little for more: one awakening writes them all. */
static void on_bell(struct source *src, uint32_t events)
{
    struct server *s = container_of(src, struct server, bell);
    uint64_t count;
    if (read(src->fd, &count, sizeof count) == sizeof count)
        loop_timer(&s->loop, &s->log_timer, s->loop.now_ms + LOG_DELAY_MS);
}

static void on_log_timer(struct timer *t)
{
    drain_events(container_of(t, struct server, log_timer));
}

/* An event of the main thread. */
static struct ev *note(struct ev *e, enum ev_kind kind)
{
    ev_begin(e, kind, 0);
    e->time_us = loop_wallclock_us();
    return e;
}

static void note_write(struct server *s, const struct ev *e)
{
    eventlog_write(&s->log, e);
    eventlog_flush(&s->log);
}

/* ---- listeners ---- */

static const struct config_listen everywhere[] = {
    {{.family = ADDR_V4, .port = 3478}, LISTEN_AUTO_UDP | LISTEN_AUTO_TCP},
    {{.family = ADDR_V6, .port = 3478}, LISTEN_AUTO_UDP | LISTEN_AUTO_TCP}};
static const unsigned udp_schemes = LISTEN_AUTO_UDP | LISTEN_UDP | LISTEN_DTLS;
static const unsigned tcp_schemes = LISTEN_AUTO_TCP | LISTEN_TCP | LISTEN_TLS | LISTEN_PSEUDOTLS;

static int open_one(struct server *s, struct listen_fd *out, const struct addr *local, unsigned schemes, bool is_udp,
                    struct text *why)
{
    int fd = is_udp ? sock_udp(local, true, LISTENER_BUFFER) : sock_listen(local, true, BACKLOG);
    if (fd < 0) {
        char buf[ADDR_TEXT_MAX];
        text_addf(why, "listen %s://%s: %s: %s\n", is_udp ? "udp" : "tcp", addr_format(local, buf), strerror(errno),
                  errno == EADDRINUSE      ? "stop the program that uses it, or listen elsewhere"
                  : errno == EACCES        ? "ports below 1024 need root or CAP_NET_BIND_SERVICE"
                  : errno == EADDRNOTAVAIL ? "this machine has no such address"
                                           : "see the system's reason");
        return ERR_SYS;
    }
    *out = (struct listen_fd){fd, *local, schemes, is_udp};
    return 0;
}

/* A machine without IPv6 serves IPv4 alone where nobody asked for IPv6 by name. */
static bool may_lack(const struct config *c, const struct addr *local)
{
    return c->listen_n == 0 && local->family == ADDR_V6 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
}

static int open_for_worker(struct server *s, struct listen_fd *fds, size_t *n, struct text *why)
{
    const struct config_listen *list = s->config->listen_n ? s->config->listen : everywhere;
    size_t list_n = s->config->listen_n ? s->config->listen_n : sizeof everywhere / sizeof *everywhere;
    *n = 0;
    for (size_t i = 0; i < list_n; i++)
        for (int is_udp = 1; is_udp >= 0; is_udp--) {
            unsigned schemes = list[i].schemes & (is_udp ? udp_schemes : tcp_schemes);
            size_t before = why->n;
            if (!schemes)
                continue;
            if (open_one(s, &fds[*n], &list[i].local, schemes, is_udp, why) == 0)
                ++*n;
            else if (may_lack(s->config, &list[i].local))
                why->buf[why->n = before] = 0;
            else
                return ERR_SYS;
        }
    return 0;
}

/* Another process on the same ports would silently share our clients: SO_REUSEPORT is for our own workers. */
static int refuse_second_server(const struct config *c, struct text *why)
{
    const struct config_listen *list = c->listen_n ? c->listen : everywhere;
    size_t n = c->listen_n ? c->listen_n : 1;
    for (size_t i = 0; i < n; i++) {
        bool is_udp = list[i].schemes & udp_schemes;
        int fd = is_udp ? sock_udp(&list[i].local, false, 0) : sock_listen(&list[i].local, false, 1);
        int reason = errno;
        if (fd >= 0)
            close(fd);
        if (fd >= 0 || reason != EADDRINUSE)
            continue;
        char buf[ADDR_TEXT_MAX];
        text_addf(
            why,
            "listen %s: the port is in use: stop the program that uses it (ss -lunp, ss -ltnp), or listen elsewhere\n",
            addr_format(&list[i].local, buf));
        return ERR_SYS;
    }
    return 0;
}

static int open_listeners(struct server *s, struct text *why)
{
    s->fds = calloc((size_t)s->relays_n * CONFIG_LIST_MAX * 2, sizeof *s->fds);
    if (!s->fds)
        return ERR_NOMEM;
    int err = refuse_second_server(s->config, why);
    for (unsigned w = 0; w < s->relays_n && !err; w++)
        err = open_for_worker(s, s->fds + w * s->fds_n, &s->fds_n, why);
    return err;
}

/* ---- policies ---- */

/* The credential of a first start, where the configuration has none. */
static int need_credential(struct server *s, const struct config *c, struct text *why)
{
    bool is_new;
    if (s->own_user || c->users_n || c->secrets_n)
        return 0;
    return state_credential(&s->state, &s->own_user, &s->own_password, &is_new, why);
}

/* Names that a self-signed certificate can stand for: this machine's addresses. */
static int make_certificate(struct server *s, const struct tls_files *files, struct text *why)
{
    struct addr own[16];
    char texts[16][ADDR_TEXT_MAX];
    const char *names[16 + 2] = {"localhost"};
    int n = sock_own_addresses(own, 16);
    for (int i = 0; i < n; i++)
        names[i + 1] = addr_format_ip(&own[i], texts[i]);
    int err = tls_self_signed(files, names, why);
    if (!err)
        err = state_adopt(&s->state, STATE_CERT, why);
    return err ? err : state_adopt(&s->state, STATE_KEY, why);
}

/* The certificate of a first start, where the configuration names none. */
static int need_certificate(struct server *s, const struct config *c, struct text *why)
{
    if (c->cert || s->cert)
        return 0;
    s->cert = state_path(&s->state, STATE_CERT);
    s->key = state_path(&s->state, STATE_KEY);
    if (!s->cert || !s->key)
        return ERR_NOMEM;
    struct tls_files files = {s->cert, s->key};
    return access(s->cert, R_OK) == 0 && access(s->key, R_OK) == 0 ? 0 : make_certificate(s, &files, why);
}

/* Without a service here, secrets are those that `causeway user mras` has made. */
static int load_mras_keys(const struct server *s, const struct config *c, struct mras_keys *out, struct text *why)
{
    return mras_key_load(&s->state, c, c->mras.listen_n > 0, loop_wallclock_us() / 1000000, out, why);
}

static struct policy *make_policy(struct server *s, const struct config *c, struct text *why)
{
    if (need_credential(s, c, why) || need_certificate(s, c, why))
        return NULL;
    struct mras_keys mras;
    if (load_mras_keys(s, c, &mras, why))
        return NULL;
    bool own_cert = !c->cert, own_user = !c->users_n && !c->secrets_n;
    struct policy_source source = {
        .config = c,
        .store = s->store,
        .mras = &mras,
        .files = {own_cert ? s->cert : c->cert, own_cert ? s->key : c->key},
        .own_user = own_user ? s->own_user : NULL,
        .own_password = s->own_password,
        .test_user = c->self_test ? s->test_user : NULL,
        .test_password = s->test_password,
    };
    struct policy *p = policy_new(&source, why);
    explicit_bzero(&mras, sizeof mras);
    return p;
}

/* An event for each line of `why`. */
static void reload_refused(struct server *s, const char *file, char *why)
{
    for (char *save = NULL, *line = strtok_r(why, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct ev e;
        ev_str(note(&e, EV_CONFIG_REFUSED), EVF_FILE, file);
        ev_str(&e, EVF_REASON, line);
        ev_str(&e, EVF_REMEDY, "the running configuration stays; mend the file and send SIGHUP again");
        note_write(s, &e);
    }
}

/* Hands `next` to every relay; finished by reload_finish when all have taken it. */
static void reload_start(struct server *s, struct policy *next, struct config *next_config)
{
    s->next = next;
    s->next_config = next_config;
    atomic_store(&s->pending, s->relays_n);
    struct limits limits = policy_limits(next_config ? next_config : s->config);
    limiter_set(s->shared.limiter, &limits);
    for (unsigned i = 0; i < s->relays_n; i++)
        must(relay_post_policy(&s->relays[i], next, &s->pending) == 0);
}

static struct mras_terms mras_terms(const struct server *s)
{
    return (struct mras_terms){&s->config->mras, &s->policy->mras, s->policy->mras_tls};
}

static void renew_mras(struct server *s)
{
    struct mras_terms terms = mras_terms(s);
    mras_set(s->mras, &terms);
}

static void reload_finish(struct server *s)
{
    if (!s->next || atomic_load(&s->pending))
        return;
    policy_free(s->policy);
    s->policy = s->next;
    s->next = NULL;
    if (!s->next_config) {
        renew_mras(s);
        return;
    }
    char buf[EV_TEXT_MAX];
    struct text fixed = text_of(buf, sizeof buf);
    config_fixed_changes(s->config, s->next_config, &fixed);
    struct ev e;
    ev_str(note(&e, EV_CONFIG_LOADED), EVF_FILE, s->next_config->file);
    ev_u64(&e, EVF_COUNT, s->policy->users);
    char text[EV_TEXT_MAX];
    struct text reason = text_of(text, sizeof text);
    if (fixed.n)
        text_addf(&reason, "changed, but in force only after a restart: %s", buf);
    ev_str(&e, EVF_REASON, text);
    note_write(s, &e);
    eventlog_init(&s->log, s->next_config->log_json, s->next_config->log_debug);
    config_free(s->config);
    s->config = s->next_config;
    s->next_config = NULL;
    renew_mras(s);
}

static void reload(struct server *s)
{
    if (s->next)
        return; /* the tick tries again */
    s->wants_reload = false;
    char buf[2048];
    struct text why = text_of(buf, sizeof buf);
    struct config *c = config_load(s->config->file, s->argc, s->argv, &why);
    struct policy *p = c ? make_policy(s, c, &why) : NULL;
    if (p) {
        reload_start(s, p, c);
        return;
    }
    reload_refused(s, s->config->file ? s->config->file : "flags", buf);
    config_free(c);
}

/* `causeway user add` in another process: the relays get a new credential table. */
static void watch_store(struct server *s)
{
    uint64_t version;
    char buf[512];
    struct text why = text_of(buf, sizeof buf);
    if (s->next || store_version(s->store, &version, &why) || version == s->store_version)
        return;
    s->store_version = version;
    struct policy *p = make_policy(s, s->config, &why);
    if (p)
        reload_start(s, p, NULL);
    else
        reload_refused(s, "users.db", buf);
}

/* Another process has made a secret of MRAS credentials, or it is time for a new one. */
static void watch_mras(struct server *s)
{
    struct mras_keys keys;
    char buf[512];
    struct text why = text_of(buf, sizeof buf);
    if (s->next || s->loop.now_ms < s->mras_check_ms)
        return;
    s->mras_check_ms = s->loop.now_ms + MRAS_CHECK_MS;
    int err = load_mras_keys(s, s->config, &keys, &why);
    bool is_same = !err && mras_key_is_same(&keys, &s->policy->mras);
    struct policy *p = err || is_same ? NULL : make_policy(s, s->config, &why);
    explicit_bzero(&keys, sizeof keys);
    if (p) {
        reload_start(s, p, NULL);
    } else if (!is_same) {
        reload_refused(s, STATE_MRAS, buf);
        s->mras_check_ms = s->loop.now_ms + MRAS_CHECK_AGAIN_MS;
    }
}

static void on_mras_event(void *context, struct ev *e)
{
    e->time_us = loop_wallclock_us();
    note_write(context, e);
}

static int start_mras(struct server *s)
{
    struct mras_terms terms = mras_terms(s);
    return s->mras ? mras_start(s->mras, &s->loop, &terms, on_mras_event, s) : 0;
}

/* ---- ending ---- */

static uint64_t allocations(const struct server *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->relays_n; i++)
        n += atomic_load(&s->relays[i].allocations);
    return n;
}

static void drain(struct server *s)
{
    struct ev e;
    if (s->drain_until_ms) { /* asked twice: at once */
        s->loop.stop = true;
        return;
    }
    s->drain_until_ms = s->loop.now_ms + (uint64_t)s->config->drain_s * 1000 + 1;
    atomic_store(&s->open, s->relays_n);
    for (unsigned i = 0; i < s->relays_n; i++)
        must(relay_post_drain(&s->relays[i], &s->open) == 0);
    ev_u64(note(&e, EV_SERVER_DRAINING), EVF_COUNT, allocations(s));
    ev_str(&e, EVF_REASON, "no new allocations; a second signal ends at once");
    note_write(s, &e);
    loop_timer(&s->loop, &s->tick, s->loop.now_ms + DRAIN_LOOK_MS);
}

static void on_signal(struct source *src, uint32_t events)
{
    struct server *s = container_of(src, struct server, signals);
    struct signalfd_siginfo info;
    while (read(src->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            s->wants_reload = true;
            reload(s);
        } else {
            drain(s);
        }
    }
}

static void on_tick(struct timer *t)
{
    struct server *s = container_of(t, struct server, tick);
    drain_events(s);
    eventlog_tick(&s->log, loop_wallclock_us());
    eventlog_flush(&s->log);
    port_ranges_expire(s->shared.ranges, s->loop.now_ms);
    reload_finish(s);
    if (s->wants_reload)
        reload(s);
    watch_store(s);
    watch_mras(s);
    if (s->drain_until_ms && ((!atomic_load(&s->open) && !allocations(s)) || s->loop.now_ms >= s->drain_until_ms))
        s->loop.stop = true;
    loop_timer(&s->loop, &s->tick, s->loop.now_ms + TICK_MS);
}

/* ---- opening ---- */

static int open_main_loop(struct server *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) || loop_init(&s->loop))
        return ERR_SYS;
    s->signals = (struct source){signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), on_signal};
    s->bell = (struct source){eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), on_bell};
    timer_init(&s->tick, on_tick);
    timer_init(&s->log_timer, on_log_timer);
    if (s->signals.fd < 0 || s->bell.fd < 0)
        return ERR_SYS;
    if (loop_add(&s->loop, &s->signals, EPOLLIN) || loop_add(&s->loop, &s->bell, EPOLLIN))
        return ERR_SYS;
    return loop_timer(&s->loop, &s->tick, s->loop.now_ms + TICK_MS);
}

static int open_shared(struct server *s)
{
    struct limits limits = policy_limits(s->config);
    s->shared.limiter = limiter_new(&limits);
    s->shared.ranges = port_ranges_new(s->config->relay_port_min, s->config->relay_port_max);
    nonce_key_init(&s->shared.nonces, s->config->nonce_lifetime_s);
    return s->shared.limiter && s->shared.ranges ? 0 : ERR_NOMEM;
}

static int open_relays(struct server *s)
{
    int err = 0;
    s->relays = calloc(s->relays_n, sizeof *s->relays);
    if (!s->relays)
        return ERR_NOMEM;
    for (unsigned i = 0; i < s->relays_n && !err; i++) {
        s->relays[i].bell = on_event;
        s->relays[i].server = s;
        err = relay_init(&s->relays[i], i, s->relays, s->relays_n, &s->shared, s->policy, s->fds + i * s->fds_n,
                         s->fds_n);
    }
    for (unsigned i = 0; i < s->relays_n && !err; i++)
        err = worker_start(&s->relays[i].worker);
    return err;
}

/* A name and a password that this process alone knows, for the self-test. */
static void make_test_user(struct server *s)
{
    uint8_t random[16];
    char tag[2 * 4 + 1];
    rand_bytes(random, sizeof random);
    text_hex(random, 4, tag);
    snprintf(s->test_user, sizeof s->test_user, "self-test-%s", tag); /* nobody hides from the log under this name */
    rand_bytes(random, sizeof random);
    text_hex(random, sizeof random, s->test_password);
}

static const char *account_of(const struct config *c)
{
    return geteuid() == 0 && c->run_as && strcmp(c->run_as, "root") != 0 ? c->run_as : NULL;
}

static int drop_privileges(const struct config *c, struct text *why)
{
    if (account_of(c))
        return drop_to(account_of(c), why);
    drop_harden();
    return 0;
}

static int open_state(struct server *s, struct text *why)
{
    int err = state_open(&s->state, s->config->state, account_of(s->config), why);
    if (err)
        return err;
    char *path = state_path(&s->state, STATE_USERS);
    s->store = path ? store_open(path, &err, why) : NULL;
    free(path);
    if (!s->store)
        return err ? err : ERR_NOMEM;
    return store_version(s->store, &s->store_version, why);
}

int server_open(struct server *s, struct config *config, int argc, char **argv, struct text *why)
{
    *s = (struct server){.argc = argc, .argv = argv, .config = config, .relays_n = config->workers};
    s->signals.fd = s->bell.fd = s->state.fd = s->loop.epfd = -1;
    eventlog_init(&s->log, config->log_json, config->log_debug);
    drop_raise_files();
    make_test_user(s);
    int err = open_state(s, why);
    if (!err)
        err = open_listeners(s, why);
    if (!err)
        err = mras_open(&s->mras, &config->mras, why);
    if (!err)
        err = (s->policy = make_policy(s, config, why)) ? 0 : ERR_BAD;
    if (!err)
        err = drop_privileges(config, why);
    if (!err)
        err = open_main_loop(s);
    if (!err)
        err = open_shared(s);
    if (!err)
        err = open_relays(s);
    if (!err)
        err = start_mras(s);
    if (err && why->n == 0)
        text_add(why, err == ERR_SYS ? strerror(errno) : err_text(err));
    return err;
}

void server_run(struct server *s)
{
    loop_run(&s->loop);
    struct ev e;
    for (unsigned i = 0; i < s->relays_n; i++)
        worker_stop(&s->relays[i].worker);
    for (unsigned i = 0; i < s->relays_n; i++) {
        worker_stop(&s->relays[i].worker); /* what another one has mailed since */
        relay_end(&s->relays[i], "server stopped");
        drain_events(s);
    }
    mras_close(s->mras);
    s->mras = NULL;
    note(&e, EV_SERVER_STOPPED);
    note_write(s, &e);
}

void server_close(struct server *s)
{
    for (unsigned i = 0; s->relays && i < s->relays_n; i++)
        worker_stop(&s->relays[i].worker); /* they run still when another one could not be started */
    for (unsigned i = 0; s->relays && i < s->relays_n; i++)
        relay_fini(&s->relays[i]);
    free(s->relays);
    free(s->fds);
    mras_close(s->mras);
    policy_free(s->policy);
    policy_free(s->next);
    limiter_free(s->shared.limiter);
    port_ranges_free(s->shared.ranges);
    store_close(s->store);
    state_close(&s->state);
    free(s->own_user);
    free(s->own_password);
    free(s->cert);
    free(s->key);
    if (s->signals.fd >= 0)
        close(s->signals.fd);
    if (s->bell.fd >= 0)
        close(s->bell.fd);
    if (s->loop.epfd >= 0)
        loop_fini(&s->loop);
    config_free(s->next_config);
    config_free(s->config);
}
