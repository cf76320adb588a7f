/* What a kind of store must be able to do; the meaning of each is told in store.h. */
#ifndef STORE_DRIVER_H
#define STORE_DRIVER_H

#include "store/store.h"

struct store_driver {
    void (*close)(struct store *s);
    int (*put)(struct store *s, const struct store_user *u, struct text *why);
    int (*remove)(struct store *s, const char *name, const char *realm, struct text *why);
    int (*enable)(struct store *s, const char *name, const char *realm, bool is_enabled, struct text *why);
    int (*get)(struct store *s, const char *name, const char *realm, struct store_user *out, struct text *why);
    int (*get_by_hash)(struct store *s, const uint8_t userhash[SHA256_SIZE], struct store_user *out, struct text *why);
    int (*list)(struct store *s, int (*each)(void *context, const struct store_user *u), void *context,
                struct text *why);
    int (*version)(struct store *s, uint64_t *version, struct text *why);
};

/* The first member of every driver's own structure. */
struct store {
    const struct store_driver *driver;
};

struct store *sqlite_open(const char *path, int *err, struct text *why);

#endif
