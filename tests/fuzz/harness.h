/* What the harnesses share: a claim that must hold, and a copy of the input that ends where the input ends. */
#ifndef FUZZ_HARNESS_H
#define FUZZ_HARNESS_H

#include <stdlib.h>

#include "base/span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A heap block of exactly this size at an odd address, so that the sanitizer sees each byte read too far. Freed by
 * block_free. */
static inline struct span block_new(struct span s)
{
    uint8_t *p = malloc(s.n + 1);
    must(p);
    if (s.n)
        memcpy(p + 1, s.p, s.n);
    return span_of(p + 1, s.n);
}

static inline void block_free(struct span s)
{
    free((uint8_t *)s.p - 1);
}

#endif
