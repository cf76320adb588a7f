/* Reaching the server: names, transports, certificates, the address that it sees. */
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "app/doctor_run.h"
#include "sys/loop.h"
#include "sys/sock.h"

/* ---- what the host name means ---- */

static void keep_addresses(struct doctor *d, const struct addrinfo *found)
{
    for (; found && d->servers_n < DOCTOR_SERVERS_MAX; found = found->ai_next) {
        struct sockaddr_storage ss = {0};
        memcpy(&ss, found->ai_addr, found->ai_addrlen);
        struct addr a = sock_to_addr(&ss);
        a.port = d->target->uri.port;
        if (a.family != ADDR_NONE)
            d->servers[d->servers_n++] = a;
    }
}

/* A look-up that may take longer than we wait; lives until the resolver is done with it. */
struct lookup {
    struct gaicb request;
    struct addrinfo hints;
    char host[TURN_URI_HOST_MAX];
};

/* Asks the system's resolver. An answer that does not come in time leaves its memory to the resolver's thread. */
static int look_up(struct doctor *d)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        return EAI_MEMORY;
    memcpy(l->host, d->target->uri.host, sizeof l->host);
    l->hints.ai_socktype = SOCK_STREAM;
    l->request.ar_name = l->host;
    l->request.ar_request = &l->hints;
    struct gaicb *list[] = {&l->request};
    struct timespec limit = {.tv_sec = d->target->timeout_ms / 1000,
                             .tv_nsec = d->target->timeout_ms % 1000 * 1000000L};
    int err = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (!err)
        gai_suspend((const struct gaicb *const *)list, 1, &limit);
    err = err ? err : gai_error(&l->request);
    if (err == EAI_INPROGRESS && gai_cancel(&l->request) != EAI_CANCELED)
        return EAI_AGAIN;
    if (!err) {
        keep_addresses(d, l->request.ar_result);
        freeaddrinfo(l->request.ar_result);
    }
    free(l);
    return err == EAI_INPROGRESS ? EAI_AGAIN : err;
}

static bool resolve(struct doctor *d)
{
    struct addr literal;
    if (d->servers_n)
        return true;
    if (d->is_unknown_host) {
        doctor_skip(d, "the name cannot be resolved");
        return false;
    }
    if (addr_parse(d->target->uri.host, &literal) == 0 && literal.port == 0) {
        literal.port = d->target->uri.port;
        d->servers[d->servers_n++] = literal;
        return true;
    }
    int err = look_up(d);
    if (d->servers_n)
        return true;
    d->is_unknown_host = true;
    doctor_fail(d, "the name %s cannot be resolved: %s", d->target->uri.host, err ? gai_strerror(err) : "no address");
    doctor_remedy(d, "Check the spelling and the DNS records (A, AAAA) of the name; an IP address works too.");
    return false;
}

/* ---- a transport ---- */

static bool prepare(struct doctor *d, struct link_to *to, uint8_t plain, uint8_t secure)
{
    bool is_dtls = secure == TRANSPORT_DTLS;
    SSL_CTX **ctx = is_dtls ? &d->dtls_ctx : &d->tls_ctx;
    char why[200];
    struct text t = text_of(why, sizeof why);
    *to = (struct link_to){.transport = d->target->uri.is_secure ? secure : plain};
    if (!d->target->uri.is_secure)
        return true;
    to->name = d->target->uri.host;
    to->tls = is_dtls ? &d->dtls : &d->tls;
    if (!*ctx)
        *ctx = link_context(is_dtls, to->name, d->target->ca_file, is_dtls ? &d->dtls : &d->tls, &t);
    to->ctx = *ctx;
    if (!*ctx)
        doctor_fail(d, "no TLS: %s", why);
    return *ctx != NULL;
}

struct trial {
    uint64_t rtt_us;
    bool has_connected; /* a stream, with its handshake; says nothing for datagrams */
};

/* Connects and asks with a Binding request. True when it answers. */
static bool try_server(struct doctor *d, const struct link_to *to, struct trial *trial, struct text *told)
{
    struct client c;
    bool answered = false;
    char where[ADDR_TEXT_MAX];
    addr_format(&to->server, where);
    if (client_open(&c, to, NULL, NULL, doctor_deadline(d))) {
        text_addf(told, "%s%s: %s", told->n ? "; " : "", where, c.control.why);
    } else {
        const struct outcome *o = &c.outcome[STUN_BINDING];
        turnc_binding(&c.turnc, loop_clock_ms());
        uint64_t start_us = link_clock_us();
        client_await(&c, STUN_BINDING, doctor_deadline(d));
        trial->rtt_us = link_clock_us() - start_us;
        trial->has_connected = transport_is_stream(to->transport);
        answered = o->is_ok || o->why == TURNC_REFUSED;
        text_addf(told, "%s%s: ", told->n ? "; " : "", where);
        if (!answered && c.control.is_broken)
            text_add(told, c.control.why);
        else if (!answered)
            outcome_tell(o, told);
        else
            text_addf(told, "round trip %.1f ms", (double)trial->rtt_us / 1000);
        if (answered && d->mapped.family == ADDR_NONE) {
            d->mapped = c.turnc.mapped;
            d->local = sock_local(c.control.fd);
        }
    }
    client_close(&c);
    return answered;
}

static void tell_reach(struct doctor *d, const char *told, unsigned answered, bool has_connected, const char *transport)
{
    if (answered == d->servers_n) {
        doctor_ok(d, "%s", told);
    } else if (answered) {
        doctor_warn(d, "%s", told);
        doctor_remedy(d,
                      "The name has an address that does not answer; clients that try it first lose seconds. Mend the "
                      "server there or remove the record.");
    } else if (has_connected) {
        doctor_fail(d, "%s", told);
        doctor_remedy(d, "Something accepts connections on port %u, but it does not speak STUN: is it the right port?",
                      d->target->uri.port);
    } else {
        doctor_fail(d, "%s", told);
        doctor_remedy(d,
                      "Is the server running, and does it serve %s on port %u? Is the port open in every firewall "
                      "(the cloud's security group too) between here and there?",
                      transport, d->target->uri.port);
    }
}

static void reach(struct doctor *d, struct link_to *to, uint8_t plain, uint8_t secure)
{
    char buf[DOCTOR_FACT_MAX];
    struct text told = text_of(buf, sizeof buf);
    unsigned answered = 0, open = plain == TRANSPORT_UDP ? NEED_UDP_OPEN : NEED_TCP_OPEN;
    if (!resolve(d) || !prepare(d, to, plain, secure))
        return;
    struct link_to attempt = *to;
    attempt.may_be_untrusted = true; /* the certificate has a row of its own; only a Binding request is sent */
    struct trial trial = {0};
    for (unsigned i = 0; i < d->servers_n; i++) {
        attempt.server = d->servers[i];
        if (!try_server(d, &attempt, &trial, &told))
            continue;
        if (answered++ == 0) {
            doctor_number(d, "rtt_ms", (double)trial.rtt_us / 1000);
            to->server = attempt.server;
        }
    }
    if (answered)
        d->have |= open;
    to->may_be_untrusted = d->target->insecure;
    tell_reach(d, buf, answered, trial.has_connected, transport_name(to->transport));
}

void check_reach_udp(struct doctor *d)
{
    reach(d, &d->udp, TRANSPORT_UDP, TRANSPORT_DTLS);
    if ((d->have & NEED_UDP_OPEN) && !d->target->uri.is_secure)
        d->have |= NEED_UDP | NEED_ANY;
}

void check_reach_tcp(struct doctor *d)
{
    reach(d, &d->tcp, TRANSPORT_TCP, TRANSPORT_TLS);
    if ((d->have & NEED_TCP_OPEN) && !d->target->uri.is_secure)
        d->have |= NEED_TCP | NEED_ANY;
}

/* ---- certificates ---- */

static void remedy_of_certificate(struct doctor *d, const struct link_tls *tls)
{
    switch (tls->verify) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        doctor_remedy(d,
                      "The certificate must carry the name that clients use (subjectAltName): have it made for %s, or "
                      "use the name that it was made for.",
                      d->target->uri.host);
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        doctor_remedy(d, "Renew the certificate and let the server load it (SIGHUP).");
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        doctor_remedy(d, "Browsers refuse it. Use a certificate of a public authority, or give yours to the clients "
                         "(here: --ca FILE). --insecure checks the rest regardless.");
        break;
    default:
        doctor_remedy(d,
                      "The certificate file must hold the whole chain, the server's own certificate first. --insecure "
                      "checks the rest regardless.");
    }
}

enum { DAY_S = 86400, SOON_DAYS = 14 };

static void judge_certificate(struct doctor *d, const struct link_tls *tls, unsigned usable)
{
    bool is_trusted = tls->verify == X509_V_OK;
    long long days = tls->seconds_left / DAY_S;
    doctor_number(d, "certificate_days_left", (double)tls->seconds_left / DAY_S);
    if (is_trusted || d->target->insecure)
        d->have |= usable | NEED_ANY;
    if (is_trusted && days < SOON_DAYS) {
        doctor_warn(d, "%s, %s, ends in %lld days", tls->version, tls->subject, days);
        doctor_remedy(d, "Renew the certificate now, and automatically from now on.");
    } else if (is_trusted) {
        doctor_ok(d, "%s, %s, %lld days left, the name is right", tls->version, tls->subject, days);
    } else {
        (d->target->insecure ? doctor_warn : doctor_fail)(d, "%s, %s, %lld days left: %s", tls->version, tls->subject,
                                                          days, X509_verify_cert_error_string(tls->verify));
        remedy_of_certificate(d, tls);
    }
}

void check_tls(struct doctor *d)
{
    judge_certificate(d, &d->tls, NEED_TCP);
}

void check_dtls(struct doctor *d)
{
    judge_certificate(d, &d->dtls, NEED_UDP);
}

/* ---- the address that the server sees ---- */

void check_mapped(struct doctor *d)
{
    char mapped[ADDR_TEXT_MAX], local[ADDR_TEXT_MAX];
    if (d->mapped.family == ADDR_NONE) {
        doctor_warn(d, "the server answers Binding requests, but without an address");
        return;
    }
    addr_format(&d->mapped, mapped);
    addr_format(&d->local, local);
    if (addr_is_equal(&d->mapped, &d->local))
        doctor_ok(d, "%s: no NAT between here and the server", mapped);
    else
        doctor_ok(d, "%s, here %s: %s between", mapped, local,
                  addr_is_same_ip(&d->mapped, &d->local) ? "a port translation lies" : "a NAT lies");
}
