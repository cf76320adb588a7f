/* The event record: what happened, as a value. One record is the log line, the live trace, the analyser's input, the
 * dashboard's feed and the source of the call record.
 *
 * Kinds and fields stand once in ev.def. Secrets cannot be expressed. A record carries its texts with it (cut at
 * EV_TEXT_MAX bytes a field), so that it may cross threads.
 */
#ifndef BASE_EV_H
#define BASE_EV_H

#include <stdatomic.h>

#include "base/addr.h"
#include "base/text.h"

enum ev_level { EV_DEBUG, EV_INFO, EV_WARN, EV_ERROR };

enum ev_field {
#define FIELD(name, key, type) EVF_##name,
#include "base/ev.def"
    EVF_COUNT_OF_FIELDS
};

enum ev_kind {
#define KIND(name, key, level, fields) EV_##name,
#include "base/ev.def"
    EV_COUNT_OF_KINDS
};

enum { EV_FIELDS_MAX = 14, EV_TEXT_MAX = 200, EV_TEXTS_MAX = 480 };

struct ev_value {
    uint8_t field; /* enum ev_field */
    union {
        uint64_t u64;
        struct addr addr;
        struct {
            uint16_t at, n; /* into ev.texts */
        } text;
    };
};

struct ev {
    uint64_t time_us; /* wall clock, microseconds since 1970; set by the one who records it, not by machines */
    uint64_t session; /* allocation or call it belongs to; 0 = none */
    uint8_t kind;     /* enum ev_kind */
    uint8_t n;
    uint16_t texts_n;
    struct ev_value values[EV_FIELDS_MAX];
    char texts[EV_TEXTS_MAX];
};

/* Starts a record; its time is 0. */
void ev_begin(struct ev *e, enum ev_kind kind, uint64_t session);
/* Adds a field. The field must be listed with the kind in ev.def and be of that type; each at most once. Empty texts
 * and unspecified addresses are left out. Texts are cut on a UTF-8 border at EV_TEXT_MAX bytes, or at what is left of
 * EV_TEXTS_MAX; they are kept as they came and made safe when they are printed. */
void ev_text(struct ev *e, enum ev_field f, struct span value);
void ev_str(struct ev *e, enum ev_field f, const char *value);
void ev_addr(struct ev *e, enum ev_field f, const struct addr *value);
void ev_u64(struct ev *e, enum ev_field f, uint64_t value);

/* "allocation made" */
const char *ev_kind_name(enum ev_kind kind);
enum ev_level ev_kind_level(enum ev_kind kind);
/* The value of a field, or NULL. */
const struct ev_value *ev_find(const struct ev *e, enum ev_field f);
struct span ev_text_of(const struct ev *e, const struct ev_value *v);

/* Room that every record fits into, terminator included. */
enum { EV_JSON_MAX = 4608, EV_LINE_MAX = 3584 };
/* One JSON object on one line, without the line feed: {"time":"2026-01-02T03:04:05.678Z","event":"allocation-made",
 * "level":"info","session":"0000000000000001", fields...}. Time is UTC; a session of 0 is left out. */
void ev_to_json(const struct ev *e, struct text *out);
/* One line for a person, without the line feed: local time of day, level, kind, then `key value` pairs, two spaces
 * between them; with ANSI colour if `colour`. A text that could be taken for more than one value stands in quotes. */
void ev_to_line(const struct ev *e, bool colour, struct text *out);

/* A single-producer single-consumer ring: one for each worker. */
struct ev_ring {
    _Atomic uint32_t head, tail; /* head: next to write; tail: next to read */
    _Atomic uint64_t lost;       /* records that found the ring full */
    uint32_t mask;
    struct ev *slots;
};

/* `capacity` must be a power of two. 0 or ERR_NOMEM. */
int ev_ring_init(struct ev_ring *r, uint32_t capacity);
void ev_ring_fini(struct ev_ring *r);
/* Copies the record in; false (and counted in `lost`) when the ring is full. */
bool ev_ring_put(struct ev_ring *r, const struct ev *e);
/* Copies the oldest record out; false when the ring is empty. */
bool ev_ring_take(struct ev_ring *r, struct ev *out);

#endif
