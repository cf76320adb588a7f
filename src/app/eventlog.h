/* Where events are written: one line each on standard error, as JSON or for a person.
 *
 * What strangers can cause is bounded: over EVENTLOG_FLOOD lines of one kind in a second, the rest is counted and
 * summed up in one line (checklist S50).
 */
#ifndef APP_EVENTLOG_H
#define APP_EVENTLOG_H

#include "base/ev.h"

enum { EVENTLOG_FLOOD = 100 };

struct eventlog {
    bool json, debug, colour;
    uint64_t second; /* the one being counted */
    uint32_t lines[EV_COUNT_OF_KINDS];
};

/* `colour` only where a terminal shows it. */
void eventlog_init(struct eventlog *l, bool json, bool debug);
void eventlog_write(struct eventlog *l, const struct ev *e);
/* Sums up what was suppressed in the seconds before `now_us`. Call about once a second. */
void eventlog_tick(struct eventlog *l, uint64_t now_us);

#endif
