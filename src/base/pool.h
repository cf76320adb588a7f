/* Objects of one size in chunks, named by handles that go stale when the object is freed.
 *
 * A handle is 32 bits of slot and 32 bits of generation; 0 is never a valid handle. Objects never move. One owner
 * thread.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool {
    size_t size; /* of one object, with its header, in bytes */
    void **chunks;
    size_t nchunks, count;
    uint32_t free_slot; /* first free slot + 1, or 0; the last one freed is the first to be used again */
};

void pool_init(struct pool *p, size_t object_size);
/* Frees all chunks; objects still in use go with them. */
void pool_fini(struct pool *p);
/* A zeroed object, or NULL when the heap is exhausted. */
void *pool_new(struct pool *p);
/* Frees the object, which must be one of this pool in use; every handle to it is stale from now on. NULL is harmless.
 */
void pool_free(struct pool *p, void *object);
/* The handle of an object in use. */
uint64_t pool_handle(const struct pool *p, const void *object);
/* The object, or NULL when the handle is stale, 0 or foreign. */
void *pool_get(const struct pool *p, uint64_t handle);

#endif
