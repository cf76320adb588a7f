#include "core/act.h"

#include <stdlib.h>

const char *transport_name(uint8_t t)
{
    static const char *const names[] = {"udp", "tcp", "tls", "dtls"};
    return t < sizeof names / sizeof *names ? names[t] : "?";
}

struct acts *acts_new(void)
{
    struct acts *a = malloc(sizeof *a);
    if (a) {
        a->events_lost = 0;
        acts_clear(a);
    }
    return a;
}

void acts_free(struct acts *a)
{
    free(a);
}

void acts_clear(struct acts *a)
{
    a->n = a->done = a->events_n = 0;
    a->arena_n = 0;
}

struct act *acts_add(struct acts *a, enum act_kind kind)
{
    must(a->n < ACTS_MAX);
    struct act *act = &a->list[a->n++];
    memset(act, 0, sizeof *act);
    act->kind = kind;
    return act;
}

/* The largest single step ends an allocation with ALLOC_PEERS_CAP peers, or revokes as many with all permissions of an
 * allocation; each act of it may bring two more events when it is carried out. */
bool acts_has_room(const struct acts *a)
{
    return a->n < ACTS_REPEAT && a->events_n < ACTS_REPEAT;
}

struct act *acts_next(struct acts *a)
{
    return a->done < a->n ? &a->list[a->done++] : NULL;
}

uint8_t *acts_room(struct acts *a, size_t *cap)
{
    *cap = ACTS_ARENA - a->arena_n;
    return a->arena + a->arena_n;
}

struct span acts_keep(struct acts *a, size_t n)
{
    must(n <= ACTS_ARENA - a->arena_n);
    struct span s = {a->arena + a->arena_n, n};
    a->arena_n += n;
    return s;
}

struct ev *acts_event(struct acts *a, enum ev_kind kind, uint64_t session)
{
    if (a->events_n == ACTS_EVENTS_MAX) {
        a->events_lost++;
        a->events_n--;
    }
    struct ev *e = &a->events[a->events_n++];
    ev_begin(e, kind, session);
    return e;
}
