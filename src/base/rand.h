/* Random bytes of the operating system's quality (OpenSSL's generator). Never predictable, never seeded by us. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

/* Fills `n` bytes; aborts the process if the generator fails, for nothing after that could be safe. */
void rand_bytes(void *out, size_t n);
uint32_t rand_u32(void);
uint64_t rand_u64(void);
/* Uniform in 0 .. below-1; `below` must not be 0. */
uint32_t rand_below(uint32_t below);

#endif
