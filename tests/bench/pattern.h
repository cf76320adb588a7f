/* The bytes that a flow carries: each depends on its position, the flow and the direction, so that a hole, a repeated
 * piece or another flow's bytes are found where they are. The period is a prime: no hole of a round size fits it. */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PATTERN_MAX = 128 * 1024 }; /* the longest piece at once */

void pattern_init(void);
/* Where the stream of a flow starts in the pattern. */
uint64_t pattern_start(unsigned flow, bool backwards);
/* PATTERN_MAX bytes from the position on. */
const uint8_t *pattern_at(uint64_t position);
/* Are these the n (at most PATTERN_MAX) bytes at the position? */
bool pattern_is(uint64_t position, const uint8_t *bytes, size_t n);

#endif
