/* Load for a TCP relay: N flows through it, every byte checked, the cost of the relay's processes read from /proc.
 *
 *   bench_stream --through 127.0.0.1:7000 --far 127.0.0.1:7001 --flows 64 --mode bulk --seconds 2 --pid 1234
 *
 *   bench_stream --turn 127.0.0.1:3478 --user NAME:PASSWORD ...      through RFC 6062 connections of a TURN server
 *
 * Modes: bulk (pattern bytes up, down or both ways, as fast as they go) and rr (a request of --size bytes, an answer of
 * the same size, again). First a warm-up, then the clock runs, then every flow is closed and must have arrived whole.
 * One line of JSON on stdout. Exit code 1 when a flow was lost or a byte was wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "cpu.h"
#include "link.h"
#include "pattern.h"
#include "session.h"
#include "sys/sock.h"

enum {
    PIECES = 4,            /* reads or writes of one end before others get their turn */
    SAMPLES_MAX = 8 << 20, /* round trips whose time is kept */
    PIDS_MAX = 16,
    WINDOWS_BYTES = 64 << 20, /* under way in all flows: far more would measure how the kernel runs out of memory */
    WINDOW_MIN = 256 << 10,
};

/* One end of a flow. */
struct end {
    struct source src;
    struct end *other;
    bool is_near, sends, is_paused, is_shut, has_eof, has_ended, is_broken;
    uint64_t sent, got;           /* bytes */
    uint64_t start_out, start_in; /* where its streams start in the pattern */
    uint64_t asked_ns;            /* when the last request left */
};

/* The state of all counters at one moment. */
struct mark {
    uint64_t ns, bytes, round_trips;
    double relay_cpu, own_cpu;
};

static struct {
    struct addr through, far;
    struct session_server turn; /* instead of `through` and `far` */
    unsigned flows, message;
    bool is_rr, up, down;
    double warm_up_s, seconds, drain_s; /* the last: how long what was sent may take to arrive after the end */
    uint64_t bytes_max;                 /* of each stream; 0: no limit */
    uint64_t window;                    /* bytes of a stream that may be under way */
    pid_t pids[PIDS_MAX];
    int npids;
} opt = {.flows = 1, .message = 200, .up = true, .warm_up_s = 0.5, .seconds = 2, .drain_s = 30};

static struct loop loop;
static struct end *ends; /* near and far in turn */
static unsigned opened, unfinished;
static uint64_t total_bytes, total_round_trips;
static struct mark from, to;
static bool is_measuring, is_stopping;
static uint32_t *samples; /* ns */
static size_t nsamples;
static struct timer timer;
static uint8_t buffer[PATTERN_MAX];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- one end ---- */

static void end_finish(struct end *e)
{
    if (e->has_ended)
        return;
    e->has_ended = true;
    loop_del(&loop, &e->src);
    if (--unfinished == 0)
        loop.stop = true;
}

static void end_break(struct end *e, const char *why)
{
    if (!e->is_broken)
        fprintf(stderr, "bench_stream: flow %u, %s end: %s at byte %llu\n", (unsigned)(e - ends) / 2,
                e->is_near ? "near" : "far", why, (unsigned long long)e->got);
    e->is_broken = true;
    end_finish(e);
}

/* Both streams go on until they have ended themselves. */
static void end_wait(struct end *e)
{
    if (e->is_shut && e->has_eof)
        end_finish(e);
    else if (!e->has_ended)
        loop_mod(&loop, &e->src, (e->has_eof ? 0 : EPOLLIN) | (e->is_shut || e->is_paused || !e->sends ? 0 : EPOLLOUT));
}

static void end_shut(struct end *e)
{
    if (e->is_shut || e->has_ended)
        return;
    e->is_shut = true;
    shutdown(e->src.fd, SHUT_WR);
    end_wait(e);
}

/* Sends at most n bytes of the stream. False: nothing more now. */
static bool end_send(struct end *e, size_t n)
{
    ssize_t sent = send(e->src.fd, pattern_at(e->start_out + e->sent), n, MSG_NOSIGNAL);
    if (sent > 0)
        e->sent += (uint64_t)sent;
    else if (errno != EAGAIN)
        end_break(e, "cannot send");
    return sent == (ssize_t)n;
}

static uint64_t under_way(const struct end *sender)
{
    return sender->sent - sender->other->got;
}

static void bulk_send(struct end *e)
{
    for (int i = 0; i < PIECES; i++) {
        uint64_t rest = opt.bytes_max ? opt.bytes_max - e->sent : PATTERN_MAX;
        if (rest == 0) {
            end_shut(e);
            return;
        }
        if (under_way(e) >= opt.window) {
            e->is_paused = true;
            end_wait(e);
            return;
        }
        if (!end_send(e, rest < PATTERN_MAX ? rest : PATTERN_MAX))
            return;
    }
}

/* The other end has sent as much as may be under way: it may go on when half of it has arrived. */
static void bulk_go_on(struct end *sender)
{
    if (!sender->is_paused || under_way(sender) > opt.window / 2)
        return;
    sender->is_paused = false;
    end_wait(sender);
}

static void keep_sample(struct end *e)
{
    uint64_t now = now_ns();
    total_round_trips++;
    if (is_measuring && nsamples < SAMPLES_MAX)
        samples[nsamples++] = (uint32_t)(now - e->asked_ns);
}

/* A whole message has come: the far end answers it, the near end asks the next. */
static void rr_turn(struct end *e)
{
    if (e->is_near && e->got)
        keep_sample(e);
    if (e->is_near && is_stopping) {
        end_shut(e);
        return;
    }
    e->asked_ns = e->is_near ? now_ns() : 0;
    if (!end_send(e, opt.message) && !e->is_broken)
        end_break(e, "a small message was not taken");
}

static void end_see_eof(struct end *e, bool by_reset)
{
    e->has_eof = true;
    if (by_reset)
        end_break(e, "reset");
    else if (!e->sends)
        end_shut(e);
    end_wait(e);
}

static void end_receive(struct end *e)
{
    for (int i = 0; i < PIECES && !e->has_ended; i++) {
        ssize_t n = recv(e->src.fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            end_see_eof(e, n < 0);
            return;
        }
        if (!pattern_is(e->start_in + e->got, buffer, (size_t)n))
            end_break(e, "wrong bytes");
        e->got += (uint64_t)n;
        total_bytes += (uint64_t)n;
        bulk_go_on(e->other);
        if (opt.is_rr && e->got % opt.message == 0)
            rr_turn(e);
        if (n < (ssize_t)sizeof buffer)
            return;
    }
}

static void end_ready(struct source *src, uint32_t events)
{
    struct end *e = container_of(src, struct end, src);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        end_receive(e);
    if (events & EPOLLOUT && !e->has_ended && !e->is_shut)
        bulk_send(e);
}

/* ---- the run ---- */

static struct mark mark_now(void)
{
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    struct mark m = {.ns = now_ns(), .bytes = total_bytes, .round_trips = total_round_trips};
    m.own_cpu = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    for (int i = 0; i < opt.npids; i++)
        m.relay_cpu += cpu_seconds(opt.pids[i]);
    return m;
}

static void on_timer(struct timer *t)
{
    if (is_stopping) {
        fprintf(stderr, "bench_stream: %u ends did not see the end\n", unfinished);
        loop.stop = true;
    } else if (is_measuring) {
        to = mark_now();
        is_stopping = true;
        is_measuring = false;
        for (unsigned i = 0; i < 2 * opt.flows; i++)
            if (ends[i].sends)
                end_shut(&ends[i]);
        loop_timer(&loop, t, loop.now_ms + (uint64_t)(opt.drain_s * 1000));
    } else {
        from = mark_now();
        is_measuring = true;
        loop_timer(&loop, t, loop.now_ms + (uint64_t)(opt.seconds * 1000));
    }
}

static void start_run(void)
{
    unfinished = 2 * opt.flows;
    for (unsigned i = 0; i < 2 * opt.flows; i++) {
        struct end *e = &ends[i];
        must(loop_add(&loop, &e->src, EPOLLIN | (e->sends ? EPOLLOUT : 0)) == 0);
        if (opt.is_rr && e->is_near)
            rr_turn(e);
    }
    timer_init(&timer, on_timer);
    loop_timer(&loop, &timer, loop_clock_ms() + (uint64_t)(opt.warm_up_s * 1000));
}

static void end_init(struct end *e, unsigned flow, int fd, bool is_near)
{
    *e = (struct end){.src = {.fd = fd, .ready = end_ready}, .other = &ends[2 * flow + is_near], .is_near = is_near};
    e->sends = !opt.is_rr && (is_near ? opt.up : opt.down);
    e->start_out = pattern_start(flow, !is_near);
    e->start_in = pattern_start(flow, is_near);
}

static void flow_opened(unsigned flow, int near, int far)
{
    end_init(&ends[2 * flow], flow, near, true);
    end_init(&ends[2 * flow + 1], flow, far, false);
    if (++opened == opt.flows)
        start_run();
}

/* Through a TURN server: one allocation and one bound connection for each flow (RFC 6062). */
static void open_through_turn(void)
{
    for (unsigned i = 0; i < opt.flows; i++) {
        struct session s;
        int near, far;
        if (session_open(&s, &opt.turn, false) || session_permit(&s, &opt.turn.addr) ||
            session_attempt(&s, &near, &far))
            exit(2);
        must(fcntl(near, F_SETFL, O_NONBLOCK) == 0 && fcntl(far, F_SETFL, O_NONBLOCK) == 0);
        sock_nodelay(near);
        sock_nodelay(far);
        flow_opened(i, near, far);
    }
}

static void open_failed(const char *why)
{
    fprintf(stderr, "bench_stream: flow %u of %u: %s: %s\n", opened + 1, opt.flows, why, strerror(errno));
    exit(2);
}

static const struct link_ops link_ops = {flow_opened, open_failed};

/* ---- the report ---- */

static int by_time(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double sample_us(double quantile)
{
    return nsamples ? samples[(size_t)((double)(nsamples - 1) * quantile)] / 1e3 : 0;
}

static void count_lost(unsigned *lost, unsigned *broken)
{
    for (unsigned i = 0; i < 2 * opt.flows; i += 2) {
        const struct end *a = &ends[i], *b = &ends[i + 1];
        bool whole = a->has_ended && b->has_ended && a->got == b->sent && b->got == a->sent;
        *broken += a->is_broken || b->is_broken;
        *lost += !whole;
    }
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static int report(void)
{
    unsigned lost = 0, broken = 0;
    count_lost(&lost, &broken);
    qsort(samples, nsamples, sizeof *samples, by_time);
    double s = (double)(to.ns - from.ns) / 1e9, gb = (double)(to.bytes - from.bytes) / 1e9;
    double trips = (double)(to.round_trips - from.round_trips), cpu = to.relay_cpu - from.relay_cpu;
    printf("{\"mode\":\"%s\",\"flows\":%u,\"seconds\":%.3f,\"gb\":%.4f,\"gb_per_s\":%.4f,\"relay_cpu_s\":%.2f,"
           "\"relay_cpu_s_per_gb\":%.4f,\"own_cpu_s\":%.2f,",
           opt.is_rr ? "rr" : "bulk", opt.flows, s, gb, ratio(gb, s), cpu, ratio(cpu, gb), to.own_cpu - from.own_cpu);
    printf("\"round_trips_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"relay_cpu_s_per_million_messages\":%.3f,",
           ratio(trips, s), sample_us(0.5), sample_us(0.99), ratio(cpu, 2 * trips / 1e6));
    printf("\"lost_flows\":%u,\"broken_flows\":%u}\n", lost, broken);
    return lost || broken;
}

/* ---- options ---- */

static void usage(void)
{
    fprintf(stderr, "usage: bench_stream --through ADDR:PORT --far ADDR:PORT | --turn ADDR:PORT --user NAME:PASSWORD\n"
                    "  [--flows N] [--mode bulk|rr]\n"
                    "  [--direction up|down|both] [--size BYTES] [--seconds S] [--warm-up S] [--drain S]\n"
                    "  [--bytes N] [--window BYTES] [--pid PID]...\n");
    exit(2);
}

static void set_direction(const char *text)
{
    opt.up = strcmp(text, "down") != 0;
    opt.down = strcmp(text, "up") != 0;
}

static void set_user(const char *text)
{
    char *copy = strdup(text), *colon = copy ? strchr(copy, ':') : NULL;
    if (!colon)
        usage();
    *colon = 0;
    opt.turn.user = copy;
    opt.turn.password = colon + 1;
}

static const struct option options[] = {
    {"through", 1, 0, 't'}, {"far", 1, 0, 'f'},       {"flows", 1, 0, 'n'},
    {"mode", 1, 0, 'm'},    {"direction", 1, 0, 'd'}, {"size", 1, 0, 'z'},
    {"seconds", 1, 0, 's'}, {"warm-up", 1, 0, 'w'},   {"bytes", 1, 0, 'b'},
    {"window", 1, 0, 'i'},  {"pid", 1, 0, 'p'},       {"turn", 1, 0, 'T'},
    {"user", 1, 0, 'u'},    {"drain", 1, 0, 'D'},     {0},
};

static void set_option(int name, const char *value)
{
    switch (name) {
    case 't': addr_parse_with_port(value, &opt.through); break;
    case 'f': addr_parse_with_port(value, &opt.far); break;
    case 'T': addr_parse_with_port(value, &opt.turn.addr); break;
    case 'u': set_user(value); break;
    case 'n': opt.flows = (unsigned)atoi(value); break;
    case 'm': opt.is_rr = strcmp(value, "rr") == 0; break;
    case 'd': set_direction(value); break;
    case 'z': opt.message = (unsigned)atoi(value); break;
    case 's': opt.seconds = atof(value); break;
    case 'w': opt.warm_up_s = atof(value); break;
    case 'D': opt.drain_s = atof(value); break;
    case 'i': opt.window = strtoull(value, NULL, 10); break;
    case 'b': opt.bytes_max = strtoull(value, NULL, 10); break;
    case 'p':
        if (opt.npids < PIDS_MAX)
            opt.pids[opt.npids++] = (pid_t)atoi(value);
        break;
    default: usage();
    }
}

static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

int main(int argc, char **argv)
{
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        set_option(c, optarg);
    bool by_turn = opt.turn.addr.family && opt.turn.user, by_relay = opt.through.family && opt.far.family;
    if (by_turn == by_relay || !opt.flows || !opt.message || opt.message > PATTERN_MAX)
        usage();
    if (!opt.window)
        opt.window = WINDOWS_BYTES / opt.flows > WINDOW_MIN ? WINDOWS_BYTES / opt.flows : WINDOW_MIN;
    raise_descriptor_limit();
    pattern_init();
    ends = calloc(2 * opt.flows, sizeof *ends);
    samples = malloc(SAMPLES_MAX * sizeof *samples);
    must(ends && samples && loop_init(&loop) == 0);
    if (by_turn)
        open_through_turn();
    else
        link_open(&loop, &opt.through, &opt.far, opt.flows, &link_ops);
    loop_run(&loop);
    return report();
}
