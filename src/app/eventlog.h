/* Where events are written: one line each on standard error, as JSON or for a person.
 *
 * What strangers can cause is bounded: over EVENTLOG_FLOOD lines of one kind in a second, the rest is counted and
 * summed up in one line (checklist S50).
 */
#ifndef APP_EVENTLOG_H
#define APP_EVENTLOG_H

#include "base/ev.h"

enum { EVENTLOG_FLOOD = 100, EVENTLOG_BUFFER = 65536 };

struct eventlog {
    bool json, debug, colour;
    uint64_t second; /* the one being counted */
    uint32_t lines[EV_COUNT_OF_KINDS];
    size_t n; /* bytes that wait in the buffer */
    char buffer[EVENTLOG_BUFFER];
};

/* May be called again to change the form; colour is used only where a terminal shows it. */
void eventlog_init(struct eventlog *l, bool json, bool debug);
/* Appends the event's line to the buffer; a full buffer is flushed first. */
void eventlog_write(struct eventlog *l, const struct ev *e);
/* Writes what is in the buffer. Lines that standard error does not take are lost. */
void eventlog_flush(struct eventlog *l);
/* Sums up what was suppressed in the seconds before `now_us`. Call about once a second. */
void eventlog_tick(struct eventlog *l, uint64_t now_us);

#endif
