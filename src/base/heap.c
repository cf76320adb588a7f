#include "base/heap.h"

#include <stdlib.h>

#include "base/err.h"

enum { FIRST_SLOTS = 16 };

/* Positions count from 1: the children of i are 2i and 2i+1. */
static void place(struct heap *h, struct heap_node *n, size_t pos)
{
    h->slots[pos - 1] = n;
    n->pos = pos;
}

static struct heap_node *at(const struct heap *h, size_t pos)
{
    return h->slots[pos - 1];
}

static void sift_up(struct heap *h, struct heap_node *n, size_t pos)
{
    for (; pos > 1 && at(h, pos / 2)->at_ms > n->at_ms; pos /= 2)
        place(h, at(h, pos / 2), pos);
    place(h, n, pos);
}

static void sift_down(struct heap *h, struct heap_node *n, size_t pos)
{
    for (size_t child; (child = 2 * pos) <= h->count; pos = child) {
        if (child < h->count && at(h, child + 1)->at_ms < at(h, child)->at_ms)
            child++;
        if (at(h, child)->at_ms >= n->at_ms)
            break;
        place(h, at(h, child), pos);
    }
    place(h, n, pos);
}

/* Lets the node, whose deadline is new, find its place from `pos`. */
static void settle(struct heap *h, struct heap_node *n, size_t pos)
{
    if (pos > 1 && at(h, pos / 2)->at_ms > n->at_ms)
        sift_up(h, n, pos);
    else
        sift_down(h, n, pos);
}

static int reserve(struct heap *h)
{
    if (h->count < h->cap)
        return 0;
    size_t cap = h->cap ? h->cap * 2 : FIRST_SLOTS;
    struct heap_node **slots = realloc(h->slots, cap * sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    h->slots = slots;
    h->cap = cap;
    return 0;
}

void heap_init(struct heap *h)
{
    *h = (struct heap){0};
}

void heap_fini(struct heap *h)
{
    free(h->slots);
    *h = (struct heap){0};
}

int heap_set(struct heap *h, struct heap_node *n, uint64_t at_ms)
{
    if (n->pos == 0) {
        if (reserve(h))
            return ERR_NOMEM;
        n->at_ms = at_ms;
        h->count++;
        sift_up(h, n, h->count);
        return 0;
    }
    must(n->pos <= h->count && at(h, n->pos) == n);
    n->at_ms = at_ms;
    settle(h, n, n->pos);
    return 0;
}

void heap_del(struct heap *h, struct heap_node *n)
{
    size_t pos = n->pos;
    if (pos == 0)
        return;
    must(pos <= h->count && at(h, pos) == n);
    struct heap_node *last = at(h, h->count--);
    n->pos = 0;
    if (last != n)
        settle(h, last, pos);
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->slots[0] : NULL;
}

uint64_t heap_deadline(const struct heap *h)
{
    return h->count ? h->slots[0]->at_ms : HEAP_NEVER;
}
