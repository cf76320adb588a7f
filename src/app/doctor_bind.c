/* Failed ConnectionBinds (RFC 6062 s.5.4): they must be answered, and they must not cost the rightful client its
 * connection. */
#include "app/doctor_tcp_pair.h"

/* Binds B's data link as somebody with this name and password (NULL: nobody). True when the answer is 401. */
static bool is_stranger_answered(struct doctor *d, const char *user, const char *password, const char *who)
{
    struct client stranger;
    struct tcp_pair *p = &d->pair;
    const struct outcome *o = &stranger.outcome[STUN_CONNECTION_BIND];
    bool answered = false;
    if (client_open(&stranger, NULL, user, password, 0) == 0) {
        client_bind(&stranger, &p->data_b, p->connection_b, doctor_deadline(d));
        answered = !o->is_ok && o->why == TURNC_REFUSED && o->code == 401;
        if (!answered)
            doctor_fail_outcome(d, who, o);
    }
    client_close(&stranger);
    return answered;
}

void check_bind_answered(struct doctor *d)
{
    struct tcp_pair *p = &d->pair;
    char wrong[TURNC_PASSWORD_MAX];
    struct text t = text_of(wrong, sizeof wrong);
    text_addf(&t, "%.400s-wrong", d->target->password);
    if (!tcp_pair_allocate(d, p) || !tcp_pair_connect(d, p) || !tcp_pair_bind_a(d, p)) {
        tcp_pair_close(p);
        return;
    }
    if (link_open(&p->data_b, &d->tcp, doctor_deadline(d)))
        doctor_fail(d, "no data connection to the server: %s", p->data_b.why);
    else if (is_stranger_answered(d, NULL, NULL, "a bind without credentials") &&
             is_stranger_answered(d, d->target->user, wrong, "a bind with a wrong password"))
        doctor_ok(d, "401 without credentials, 401 with a wrong password");
    else
        doctor_remedy(
            d,
            "RFC 6062 s.5.4 wants an answer (401, 438 ...). A client that asks for the nonce first, or whose nonce has "
            "run out, can never bind with this relay. Nothing in its configuration helps.");
    digest_wipe(wrong, sizeof wrong);
}

void check_bind_repeatable(struct doctor *d)
{
    struct tcp_pair *p = &d->pair;
    const struct outcome *o = &p->b.outcome[STUN_CONNECTION_BIND];
    if (!p->is_open) {
        doctor_skip(d, "no relayed connection to try it with");
        return;
    }
    bool same = link_is_open(&p->data_b) && !p->data_b.has_ended;
    if (!same) {
        link_close(&p->data_b);
        if (link_open(&p->data_b, &d->tcp, doctor_deadline(d))) {
            doctor_fail(d, "no data connection to the server: %s", p->data_b.why);
            tcp_pair_close(p);
            return;
        }
    }
    if (client_bind(&p->b, &p->data_b, p->connection_b, doctor_deadline(d))) {
        doctor_ok(d, "the right credentials bind it afterwards, %s",
                  same ? "on the same connection" : "on a new connection");
    } else {
        doctor_fail_outcome(d, "after the failed binds the right credentials are refused too", o);
        doctor_remedy(d,
                      "Whoever guesses or sees a connection id can destroy the connection of another user with one bad "
                      "request. Nothing in the relay's configuration helps.");
    }
    tcp_pair_close(p);
}
