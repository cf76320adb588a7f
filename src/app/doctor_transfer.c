#include "app/doctor_transfer.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "base/rand.h"
#include "sys/loop.h"

enum { CHUNK = 65536, FIRST_WINDOW = 1 << 18, NEEDLE = 32, WINDOW = 1 << 20, SEARCH = 64 << 20 };

/* ---- the pattern ---- */

/* A finalizer of good mixing: eight bytes for each multiple of eight, nothing that repeats. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void transfer_pattern(uint64_t seed, uint64_t at, uint8_t *out, size_t n)
{
    while (n) {
        uint8_t word[8];
        size_t skip = at & 7, take = 8 - skip < n ? 8 - skip : n;
        be64_put(word, mix(seed + (at >> 3) * 0x9e3779b97f4a7c15u));
        memcpy(out, word + skip, take);
        out += take;
        at += take;
        n -= take;
    }
}

/* How many bytes were skipped, if `found` is a later part of the stream; 0 if it is nowhere near. */
static uint64_t measure_hole(const struct transfer *f, struct span found)
{
    uint8_t *buf = malloc(WINDOW + NEEDLE);
    uint64_t hole = 0;
    if (!buf || !found.p || found.n < NEEDLE) {
        free(buf);
        return 0;
    }
    for (uint64_t ahead = 0; ahead < SEARCH && !hole; ahead += WINDOW) {
        transfer_pattern(f->seed, f->received + ahead, buf, WINDOW + NEEDLE);
        const uint8_t *p = memmem(buf, WINDOW + NEEDLE, found.p, NEEDLE);
        hole = p ? ahead + (uint64_t)(p - buf) : 0;
    }
    free(buf);
    return hole;
}

/* Compares what came with what belongs there. */
static void check_bytes(struct transfer *f, struct span in)
{
    uint8_t want[CHUNK];
    while (in.n && !f->is_damaged) {
        size_t n = in.n < CHUNK ? in.n : CHUNK, same = 0;
        transfer_pattern(f->seed, f->received, want, n);
        if (memcmp(want, in.p, n) != 0)
            while (want[same] == in.p[same])
                same++;
        else
            same = n;
        f->received += same;
        in = span_skip(in, same);
        f->is_damaged = same < n;
    }
    if (f->is_damaged)
        f->missing = measure_hole(f, in);
}

/* ---- moving ---- */

void transfer_init(struct transfer *f, struct link *from, struct link *to, uint64_t total)
{
    *f = (struct transfer){.from = from, .to = to, .seed = rand_u64(), .total = total};
}

/* What may be on its way: as much again as has arrived, so that on a slow path with large buffers the rest never takes
 * longer than what went before. */
static bool may_write(const struct transfer *f)
{
    return f->sent < f->total && f->sent < f->pushed + FIRST_WINDOW + 2 * f->received;
}

/* One write: bytes that went, or ERR_SYS. */
static int write_some(struct transfer *f)
{
    uint8_t buf[CHUNK];
    uint64_t left = f->total - f->sent;
    size_t n = left < CHUNK ? (size_t)left : CHUNK;
    transfer_pattern(f->seed, f->sent, buf, n);
    int went = link_write(f->from, span_of(buf, n));
    if (went > 0)
        f->sent += (uint64_t)went;
    return went;
}

/* One read: bytes that came, or ERR_CLOSED, ERR_SYS. */
static int read_some(struct transfer *f)
{
    int n = f->to->rx_n ? (int)f->to->rx_n : link_fill(f->to);
    if (n > 0) {
        check_bytes(f, link_peek(f->to));
        link_take(f->to, f->to->rx_n);
    }
    return n;
}

int transfer_push(struct transfer *f, uint64_t quiet_ms)
{
    while (f->sent < f->total) {
        struct pollfd p = {.fd = f->from->fd, .events = POLLOUT};
        int went = write_some(f);
        if (went < 0)
            return went;
        f->pushed = f->sent;
        if (went == 0 && poll(&p, 1, (int)quiet_ms) == 0)
            return 0;
    }
    return 0;
}

static void wait_for_either(const struct transfer *f, uint64_t ms)
{
    struct pollfd p[2] = {{.fd = f->to->fd, .events = link_events(f->to, false)},
                          {.fd = f->from->fd, .events = POLLOUT}};
    if (!link_has_hidden(f->to))
        poll(p, may_write(f) ? 2 : 1, (int)ms);
}

static int result_of(const struct transfer *f, int err)
{
    return f->is_damaged ? ERR_BAD : f->received == f->total ? 0 : err;
}

int transfer_run(struct transfer *f, uint64_t stall_ms, uint64_t soft_deadline_ms)
{
    uint64_t start_us = link_clock_us(), moved_ms = loop_clock_ms(), hard_ms = moved_ms + 12 * stall_ms;
    int err = 0;
    while (!err && !f->is_damaged && f->received < f->total) {
        uint64_t now_ms = loop_clock_ms();
        if (now_ms >= soft_deadline_ms && f->sent)
            f->total = f->sent;
        int went = may_write(f) ? write_some(f) : 0, came = read_some(f);
        if (went > 0 || came > 0)
            moved_ms = now_ms;
        else if (came < 0 || went < 0)
            err = came < 0 ? came : went;
        else if (now_ms - moved_ms >= stall_ms)
            err = ERR_AGAIN;
        else if (now_ms >= hard_ms)
            err = ERR_FULL;
        else
            wait_for_either(f, 50);
    }
    f->took_us = link_clock_us() - start_us;
    return result_of(f, err);
}

int transfer_end(struct transfer *f, uint64_t stall_ms)
{
    uint64_t deadline_ms = loop_clock_ms() + stall_ms;
    int came;
    while ((came = read_some(f)) >= 0 && !f->is_damaged && loop_clock_ms() < deadline_ms)
        if (came == 0)
            wait_for_either(f, 50);
    if (f->is_damaged || f->received > f->total)
        return ERR_BAD;
    return came == ERR_CLOSED ? 0 : came < 0 ? came : ERR_AGAIN;
}

double transfer_speed(const struct transfer *f)
{
    return f->took_us ? (double)f->received * 8 / (double)f->took_us : 0;
}

void transfer_tell(const struct transfer *f, int err, struct text *out)
{
    const struct link *broken = f->to->is_broken ? f->to : f->from;
    if (f->is_damaged && f->missing)
        text_addf(out, "%" PRIu64 " bytes are missing behind byte %" PRIu64, f->missing, f->received);
    else if (f->is_damaged)
        text_addf(out, "wrong bytes from byte %" PRIu64 " on", f->received);
    else if (f->received == 0 && f->sent == 0)
        text_add(out, "not a byte went through");
    else if (err == ERR_FULL)
        text_addf(out, "only %" PRIu64 " of %" PRIu64 " bytes in time, and still moving", f->received, f->sent);
    else if (err == ERR_AGAIN)
        text_addf(out, "nothing more came after %" PRIu64 " of %" PRIu64 " bytes", f->received, f->sent);
    else if (err == ERR_CLOSED)
        text_addf(out, "the connection ended after %" PRIu64 " of %" PRIu64 " bytes", f->received, f->sent);
    else
        text_addf(out, "the connection broke after %" PRIu64 " of %" PRIu64 " bytes (%s)", f->received, f->sent,
                  broken->why);
}
