#include "app/doctor_tcp_pair.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sys/loop.h"

/* What a check needs includes what its needs need, so that a skipped one can name the first cause. */
enum {
    FOR_AUTH = NEED_ANY | NEED_TURN,
    FOR_UDP = FOR_AUTH | NEED_USER,
    WITH_UDP = FOR_UDP | NEED_UDP_RELAY,
    FOR_TCP = NEED_TCP_URI | NEED_TCP | NEED_TURN | NEED_USER,
    WITH_TCP = FOR_TCP | NEED_TCP_RELAY,
    WITH_PAIR = WITH_TCP | NEED_TCP_PAIR,
};

const struct doctor_check doctor_checks[] = {
    {"reach-udp", "Answers over UDP", NEED_UDP_URI, true, check_reach_udp},
    {"dtls", "DTLS certificate", NEED_SECURE_UDP | NEED_UDP_OPEN, false, check_dtls},
    {"reach-tcp", "Answers over TCP", NEED_TCP_URI, true, check_reach_tcp},
    {"tls", "TLS certificate", NEED_SECURE_TCP | NEED_TCP_OPEN, false, check_tls},
    {"mapped", "Mapped address", NEED_ANY, true, check_mapped},
    {"anonymous", "Strangers are refused", FOR_AUTH, false, check_anonymous},
    {"challenge", "Authentication offered", FOR_AUTH, true, check_challenge},
    {"wrong-password", "Wrong password is refused", FOR_AUTH | NEED_USER, false, check_wrong_password},
    {"udp-allocate", "UDP relay", FOR_UDP, true, check_udp_allocate},
    {"private-peers", "Private peers are refused", WITH_UDP, false, check_private_peers},
    {"udp-data", "UDP relay to relay", WITH_UDP, true, check_udp_data},
    {"channel", "Channel data", WITH_UDP | NEED_UDP_DATA, true, check_channel},
    {"tcp-allocate", "TCP relay (RFC 6062)", FOR_TCP, true, check_tcp_allocate},
    {"multicast", "Multicast peers are refused", WITH_TCP, false, check_multicast},
    {"tcp-connect", "Connect, attempt and bind", WITH_TCP, true, check_tcp_connect},
    {"tcp-transfer", "TCP transfer both ways", WITH_PAIR, true, check_tcp_transfer},
    {"half-close", "Half-close passes through", WITH_PAIR, true, check_tcp_half_close},
    {"bind-answered", "Failed binds are answered", WITH_PAIR, false, check_bind_answered},
    {"bind-repeatable", "A failed bind burns no id", WITH_PAIR, false, check_bind_repeatable},
    {"early-bytes", "Bytes sent before the bind", WITH_PAIR, true, check_early_bytes},
    {"pipelined", "Bytes right behind the bind", WITH_PAIR, true, check_pipelined},
    {"tail", "Tail of a burst at close", WITH_PAIR, true, check_tail},
    {"peer-udp", "UDP with a peer here", WITH_UDP | NEED_PEER_IP, false, check_peer_udp},
    {"peer-dials", "A peer here dials the relay", WITH_TCP | NEED_PEER_IP, false, check_peer_dials},
    {"peer-listens", "The relay dials a peer here", WITH_TCP | NEED_PEER_IP, false, check_peer_listens},
};
const size_t doctor_checks_n = sizeof doctor_checks / sizeof doctor_checks[0];

/* Why a check is skipped, for each need. */
static const char *const missing[] = {
    "nothing to be used was reached over UDP",
    "nothing to be used was reached over TCP",
    "needs --user NAME:PASSWORD",
    "a stun: address promises no relay",
    "no UDP relay to try it with",
    "datagrams do not pass from relay to relay",
    "no TCP relay to try it with",
    "no relayed TCP connection to try it with",
    "needs --peer-ip ADDR",
    "no DTLS asked for (turns:...?transport=udp)",
    "no TLS asked for (turns:)",
    "the address asks for TCP only",
    "the address asks for UDP only; TCP relays need TCP or TLS",
    "no server to be used was reached",
    "no answer over UDP",
    "no answer over TCP",
};

/* ---- rows ---- */

static void __attribute__((format(printf, 3, 0)))
set_fact(struct doctor *d, enum doctor_result result, const char *fact, va_list args)
{
    d->row->result = result;
    vsnprintf(d->row->fact, sizeof d->row->fact, fact, args);
}

void doctor_ok(struct doctor *d, const char *fact, ...)
{
    va_list args;
    va_start(args, fact);
    set_fact(d, DOCTOR_OK, fact, args);
    va_end(args);
}

void doctor_warn(struct doctor *d, const char *fact, ...)
{
    va_list args;
    va_start(args, fact);
    set_fact(d, DOCTOR_WARN, fact, args);
    va_end(args);
}

void doctor_fail(struct doctor *d, const char *fact, ...)
{
    va_list args;
    va_start(args, fact);
    set_fact(d, DOCTOR_FAIL, fact, args);
    va_end(args);
}

void doctor_skip(struct doctor *d, const char *fact, ...)
{
    va_list args;
    va_start(args, fact);
    set_fact(d, DOCTOR_SKIPPED, fact, args);
    va_end(args);
}

void doctor_remedy(struct doctor *d, const char *remedy, ...)
{
    va_list args;
    va_start(args, remedy);
    vsnprintf(d->row->remedy, sizeof d->row->remedy, remedy, args);
    va_end(args);
}

void doctor_number(struct doctor *d, const char *key, double value)
{
    struct doctor_row *row = d->row;
    if (row->numbers_n < DOCTOR_NUMBERS_MAX)
        row->numbers[row->numbers_n++] = (struct doctor_number){key, value};
}

void doctor_fail_outcome(struct doctor *d, const char *what, const struct outcome *o)
{
    char buf[DOCTOR_FACT_MAX];
    struct text t = text_of(buf, sizeof buf);
    outcome_tell(o, &t);
    doctor_fail(d, "%s: %s", what, buf);
}

/* ---- helpers of the checks ---- */

uint64_t doctor_deadline(const struct doctor *d)
{
    return loop_clock_ms() + d->target->timeout_ms;
}

const struct link_to *doctor_way(const struct doctor *d)
{
    return d->have & NEED_UDP ? &d->udp : &d->tcp;
}

const char *doctor_special(const struct addr *a)
{
    static const char *const kinds[][2] = {
        {"127.0.0.0/8", "loopback"},      {"::1/128", "loopback"},       {"10.0.0.0/8", "private"},
        {"172.16.0.0/12", "private"},     {"192.168.0.0/16", "private"}, {"fc00::/7", "private"},
        {"169.254.0.0/16", "link-local"}, {"fe80::/10", "link-local"},   {"100.64.0.0/10", "carrier-grade NAT"},
    };
    struct prefix p;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (prefix_parse(kinds[i][0], &p) == 0 && prefix_has(&p, a))
            return kinds[i][1];
    return NULL;
}

/* ---- running ---- */

static void init(struct doctor *d, const struct doctor_target *target)
{
    const struct turn_uri *uri = &target->uri;
    memset(d, 0, sizeof *d);
    d->target = target;
    client_open(&d->relay_a, NULL, NULL, NULL, 0);
    client_open(&d->relay_b, NULL, NULL, NULL, 0);
    bool wants_udp = uri->transport == TURN_URI_UDP || (uri->transport == TURN_URI_ANY && !uri->is_secure);
    bool wants_tcp = uri->transport != TURN_URI_UDP;
    d->have |= wants_udp ? NEED_UDP_URI | (uri->is_secure ? NEED_SECURE_UDP : 0) : 0;
    d->have |= wants_tcp ? NEED_TCP_URI | (uri->is_secure ? NEED_SECURE_TCP : 0) : 0;
    d->have |= uri->is_turn ? NEED_TURN : 0;
    d->have |= target->user ? NEED_USER : 0;
    d->have |= target->peer_ip.family != ADDR_NONE ? NEED_PEER_IP : 0;
}

static void fini(struct doctor *d)
{
    tcp_pair_close(&d->pair);
    client_close(&d->relay_a);
    client_close(&d->relay_b);
    SSL_CTX_free(d->tls_ctx);
    SSL_CTX_free(d->dtls_ctx);
}

static const char *first_missing(const struct doctor *d, unsigned needs)
{
    static const unsigned order[] = {NEED_TURN,      NEED_SECURE_UDP, NEED_SECURE_TCP, NEED_UDP_URI,
                                     NEED_TCP_URI,   NEED_PEER_IP,    NEED_USER,       NEED_UDP_OPEN,
                                     NEED_TCP_OPEN,  NEED_ANY,        NEED_UDP,        NEED_TCP,
                                     NEED_UDP_RELAY, NEED_UDP_DATA,   NEED_TCP_RELAY,  NEED_TCP_PAIR};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        if (needs & order[i] & ~d->have)
            return missing[__builtin_ctz(order[i])];
    return NULL;
}

static void run_check(struct doctor *d, const struct doctor_check *check, const struct doctor_watch *watch,
                      struct doctor_report *out)
{
    const char *why = first_missing(d, check->needs);
    d->row = &out->rows[out->n++];
    *d->row = (struct doctor_row){.id = check->id, .title = check->title};
    if (why) {
        doctor_skip(d, "%s", why);
    } else {
        if (watch)
            watch->begin(watch->user, check->title);
        check->run(d);
    }
    if (watch)
        watch->end(watch->user, d->row);
}

static enum doctor_exit judge(const struct doctor *d, const struct doctor_report *r)
{
    if (!(d->have & (NEED_UDP_OPEN | NEED_TCP_OPEN)))
        return DOCTOR_EXIT_UNREACHABLE;
    for (size_t i = 0; i < r->n; i++)
        if (r->rows[i].result == DOCTOR_FAIL)
            return DOCTOR_EXIT_FAILED;
    return DOCTOR_EXIT_OK;
}

static void run(const struct doctor_target *target, bool is_self_test, const struct doctor_watch *watch,
                struct doctor_report *out)
{
    struct doctor *d = malloc(sizeof *d); /* several large machines: not on a thread's stack */
    uint64_t start_ms = loop_clock_ms();
    memset(out, 0, sizeof *out);
    out->exit = DOCTOR_EXIT_UNREACHABLE;
    if (!d)
        return;
    init(d, target);
    for (size_t i = 0; i < doctor_checks_n; i++)
        if (!is_self_test || doctor_checks[i].in_self_test)
            run_check(d, &doctor_checks[i], watch, out);
    out->exit = judge(d, out);
    out->took_ms = loop_clock_ms() - start_ms;
    fini(d);
    free(d);
}

int doctor_run(const struct doctor_target *target, const struct doctor_watch *watch, struct doctor_report *out)
{
    run(target, false, watch, out);
    return (int)out->exit;
}

int doctor_self_test(const struct doctor_target *target, struct doctor_report *out)
{
    struct doctor_target small = *target;
    if (small.bytes > 1 << 20)
        small.bytes = 1 << 20;
    run(&small, true, NULL, out);
    return out->exit == DOCTOR_EXIT_OK ? 0 : ERR_NONE;
}
