#include "base/pool.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_POISON 1
#endif
#endif

#ifdef POOL_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { CHUNK = 64 };

/* Stands before each object. */
struct header {
    alignas(max_align_t) uint32_t generation; /* odd while the object is in use */
    uint32_t slot;
    uint32_t next_free; /* slot + 1, or 0 */
};

static struct header *header_of(const void *object)
{
    return (struct header *)object - 1;
}

static struct header *slot_at(const struct pool *p, uint32_t slot)
{
    return (struct header *)((char *)p->chunks[slot / CHUNK] + slot % CHUNK * p->size);
}

static size_t object_size(const struct pool *p)
{
    return p->size - sizeof(struct header);
}

void pool_init(struct pool *p, size_t object_size_bytes)
{
    size_t unit = sizeof(struct header);
    *p = (struct pool){.size = unit + (object_size_bytes + unit - 1) / unit * unit};
}

void pool_fini(struct pool *p)
{
    for (size_t i = 0; i < p->nchunks; i++)
        free(p->chunks[i]);
    free(p->chunks);
    *p = (struct pool){.size = p->size};
}

static void slot_release(struct pool *p, struct header *h)
{
    h->next_free = p->free_slot;
    p->free_slot = h->slot + 1;
    ASAN_POISON_MEMORY_REGION(h + 1, object_size(p));
}

/* Makes room for one more chunk pointer: the array doubles whenever its count is a power of two. */
static int reserve_chunk(struct pool *p)
{
    if (p->nchunks >= UINT32_MAX / CHUNK)
        return ERR_FULL;
    if (p->nchunks & (p->nchunks - 1))
        return 0;
    void **chunks = realloc(p->chunks, (p->nchunks ? p->nchunks * 2 : 1) * sizeof *chunks);
    if (!chunks)
        return ERR_NOMEM;
    p->chunks = chunks;
    return 0;
}

static int add_chunk(struct pool *p)
{
    int err = reserve_chunk(p);
    void *chunk = err ? NULL : calloc(CHUNK, p->size);
    if (!chunk)
        return ERR_NOMEM;
    p->chunks[p->nchunks++] = chunk;
    for (uint32_t i = CHUNK; i-- > 0;) {
        uint32_t slot = (uint32_t)(p->nchunks - 1) * CHUNK + i;
        struct header *h = slot_at(p, slot);
        h->slot = slot;
        slot_release(p, h);
    }
    return 0;
}

void *pool_new(struct pool *p)
{
    if (!p->free_slot && add_chunk(p))
        return NULL;
    struct header *h = slot_at(p, p->free_slot - 1);
    p->free_slot = h->next_free;
    p->count++;
    h->generation++;
    ASAN_UNPOISON_MEMORY_REGION(h + 1, object_size(p));
    return memset(h + 1, 0, object_size(p));
}

static bool is_in_use(const struct pool *p, const struct header *h)
{
    return h->generation % 2 == 1 && h->slot / CHUNK < p->nchunks && slot_at(p, h->slot) == h;
}

void pool_free(struct pool *p, void *object)
{
    if (!object)
        return;
    struct header *h = header_of(object);
    must(is_in_use(p, h));
    h->generation++;
    p->count--;
    slot_release(p, h);
}

uint64_t pool_handle(const struct pool *p, const void *object)
{
    const struct header *h = header_of(object);
    must(is_in_use(p, h));
    return (uint64_t)h->generation << 32 | (h->slot + 1);
}

void *pool_get(const struct pool *p, uint64_t handle)
{
    uint32_t slot = (uint32_t)handle - 1; /* 0 becomes a slot that no pool has */
    uint32_t generation = (uint32_t)(handle >> 32);
    if (slot / CHUNK >= p->nchunks)
        return NULL;
    struct header *h = slot_at(p, slot);
    return generation % 2 == 1 && h->generation == generation ? h + 1 : NULL;
}
