/* Message digests and MACs, by OpenSSL with algorithms fetched once for each thread (one-shot HMAC() costs 3.7 times as
 * much).
 *
 * All functions return 0 or ERR_CRYPTO. Data comes as a list of spans, so that a STUN message can be authenticated with
 * a changed length field without copying it.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/span.h"

enum { MD5_SIZE = 16, SHA1_SIZE = 20, SHA256_SIZE = 32 };

int hmac_sha1(struct span key, const struct span *parts, size_t n, uint8_t out[SHA1_SIZE]);
int hmac_sha256(struct span key, const struct span *parts, size_t n, uint8_t out[SHA256_SIZE]);
int digest_md5(const struct span *parts, size_t n, uint8_t out[MD5_SIZE]);
int digest_sha256(const struct span *parts, size_t n, uint8_t out[SHA256_SIZE]);

/* CRC-32 (ISO 3309 / zlib polynomial), continued from `crc` (0 to start). */
uint32_t digest_crc32(uint32_t crc, struct span bytes);

/* Equal or not in a time that depends on `n` alone (checklist S17). */
bool digest_is_equal(const void *a, const void *b, size_t n);

/* Overwrites a secret so that the compiler cannot leave it out. */
void digest_wipe(void *p, size_t n);

#endif
