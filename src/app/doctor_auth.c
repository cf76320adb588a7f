/* Who is let in: challenge, strangers, wrong passwords. */
#include "app/doctor_run.h"
#include "sys/loop.h"

/* Opens a client over the best way and asks for a UDP allocation. True when the link could be opened. */
static bool ask_allocation(struct doctor *d, struct client *c, const char *user, const char *password)
{
    if (client_open(c, doctor_way(d), user, password, doctor_deadline(d))) {
        doctor_fail(d, "cannot connect again: %s", c->control.why);
        return false;
    }
    client_allocate(c, TURNC_UDP, ADDR_NONE, doctor_deadline(d));
    return true;
}

void check_anonymous(struct doctor *d)
{
    struct client c;
    const struct outcome *o = &c.outcome[STUN_ALLOCATE];
    if (ask_allocation(d, &c, NULL, NULL)) {
        if (o->is_ok) {
            doctor_fail(d, "the server gives relays to anybody, without a password");
            doctor_remedy(d,
                          "Switch authentication on (long-term credentials) before somebody uses it to attack others: "
                          "coturn needs lt-cred-mech, Causeway asks by default.");
        } else if (o->why == TURNC_REFUSED && o->code == 401) {
            doctor_ok(d, "401 without credentials");
        } else {
            doctor_fail_outcome(d, "an allocation without credentials must be answered 401", o);
        }
    }
    client_close(&c);
}

static void tell_challenge(struct doctor *d, const struct turnc_auth *a)
{
    char realm[200];
    struct text t = text_of(realm, sizeof realm);
    text_add_safe(&t, span_of(a->realm, a->realm_n));
    doctor_ok(d, "realm \"%s\", nonce of %u characters, %s%s", realm, a->nonce_n,
              a->algorithm == PASSWORD_SHA256 ? "password algorithm SHA-256"
              : a->algorithm == PASSWORD_MD5  ? "password algorithm MD5"
                                              : "classic MD5 (RFC 5389)",
              a->is_anonymous ? ", user names hidden" : "");
}

void check_challenge(struct doctor *d)
{
    struct client c;
    const struct outcome *o = &c.outcome[STUN_ALLOCATE];
    if (ask_allocation(d, &c, NULL, NULL)) {
        if (c.turnc.auth.is_challenged) {
            tell_challenge(d, &c.turnc.auth);
        } else if (o->is_ok) {
            doctor_skip(d, "the server asks nobody");
        } else {
            doctor_fail_outcome(d, "a request without credentials must be answered with realm and nonce", o);
            doctor_remedy(d,
                          "Is this a TURN server, or only a STUN server? Switch TURN with long-term credentials on.");
        }
    }
    client_close(&c);
}

void check_wrong_password(struct doctor *d)
{
    struct client c;
    char wrong[TURNC_PASSWORD_MAX];
    const struct outcome *o = &c.outcome[STUN_ALLOCATE];
    struct text t = text_of(wrong, sizeof wrong);
    text_addf(&t, "%.400s-wrong", d->target->password);
    if (ask_allocation(d, &c, d->target->user, wrong)) {
        if (o->is_ok) {
            doctor_fail(d, "a wrong password opens a relay");
            doctor_remedy(d,
                          "The server does not check MESSAGE-INTEGRITY, or needs no password: mend its configuration.");
        } else if (o->why == TURNC_REFUSED && o->code == 401) {
            doctor_ok(d, "401");
        } else {
            doctor_fail_outcome(d, "a wrong password must be answered 401", o);
        }
    }
    client_close(&c);
    digest_wipe(wrong, sizeof wrong);
}
