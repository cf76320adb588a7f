#include "app/eventlog.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 };

void eventlog_init(struct eventlog *l, bool json, bool debug)
{
    l->json = json;
    l->debug = debug;
    l->colour = !json && isatty(STDERR_FILENO) && !getenv("NO_COLOR");
}

void eventlog_flush(struct eventlog *l)
{
    for (size_t at = 0; at < l->n;) {
        ssize_t n = write(STDERR_FILENO, l->buffer + at, l->n - at);
        if (n < 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    l->n = 0;
}

/* What somebody without a credential (a peer, too), or with one that he abuses, can cause at any rate. */
static bool is_floodable(enum ev_kind kind)
{
    switch (kind) {
    case EV_CLIENT_CONNECTED:
    case EV_CLIENT_CLOSED:
    case EV_CLIENT_REFUSED:
    case EV_MESSAGE_REFUSED:
    case EV_CHALLENGED:
    case EV_ALLOCATION_REFUSED:
    case EV_PERMISSION_REFUSED:
    case EV_PEER_REFUSED:
    case EV_PEER_WAITING:
    case EV_PEER_UNBOUND:
    case EV_PEER_CONNECT_FAILED:
    case EV_BIND_FAILED:
    case EV_RESOURCE_SHORT: return true;
    default: return false;
    }
}

static void put(struct eventlog *l, const struct ev *e)
{
    if (EVENTLOG_BUFFER - l->n < LINE_MAX_BYTES)
        eventlog_flush(l);
    struct text line = text_of(l->buffer + l->n, LINE_MAX_BYTES - 1);
    if (l->json)
        ev_to_json(e, &line);
    else
        ev_to_line(e, l->colour, &line);
    l->n += line.n;
    l->buffer[l->n++] = '\n';
}

void eventlog_write(struct eventlog *l, const struct ev *e)
{
    if (ev_kind_level(e->kind) == EV_DEBUG && !l->debug)
        return;
    if (is_floodable(e->kind) && l->lines[e->kind]++ >= EVENTLOG_FLOOD)
        return;
    put(l, e);
}

void eventlog_tick(struct eventlog *l, uint64_t now_us)
{
    if (now_us / 1000000 == l->second)
        return;
    l->second = now_us / 1000000;
    for (int kind = 0; kind < EV_COUNT_OF_KINDS; kind++) {
        if (l->lines[kind] > EVENTLOG_FLOOD) {
            struct ev e;
            ev_begin(&e, EV_LINES_SUPPRESSED, 0);
            e.time_us = now_us;
            ev_str(&e, EVF_METHOD, ev_kind_name(kind));
            ev_u64(&e, EVF_COUNT, l->lines[kind] - EVENTLOG_FLOOD);
            put(l, &e);
        }
        l->lines[kind] = 0;
    }
}
