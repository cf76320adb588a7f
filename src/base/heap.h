/* A binary min-heap of deadlines: the timers of one worker or one machine. Intrusive: the element embeds its heap_node.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t at_ms;
    size_t pos; /* 1-based index in the heap; 0 = not in it */
};

struct heap {
    struct heap_node **slots;
    size_t count, cap;
};

#define HEAP_NEVER UINT64_MAX

void heap_init(struct heap *h);
/* Frees the slots, not the elements. */
void heap_fini(struct heap *h);
/* Puts the node in, or moves it, to the deadline `at_ms`. 0, or ERR_NOMEM (then the node is as before). */
int heap_set(struct heap *h, struct heap_node *n, uint64_t at_ms);
/* Takes the node out; harmless when it is not in the heap. */
void heap_del(struct heap *h, struct heap_node *n);
/* The earliest node, or NULL. */
struct heap_node *heap_first(const struct heap *h);
/* Its deadline, or HEAP_NEVER. */
uint64_t heap_deadline(const struct heap *h);

#endif
