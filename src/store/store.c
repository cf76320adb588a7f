#include "store/driver.h"

struct store *store_open(const char *path, int *err, struct text *why)
{
    return sqlite_open(path, err, why);
}

void store_close(struct store *s)
{
    if (s)
        s->driver->close(s);
}

int store_put(struct store *s, const struct store_user *u, struct text *why)
{
    return s->driver->put(s, u, why);
}

int store_remove(struct store *s, const char *name, const char *realm, struct text *why)
{
    return s->driver->remove(s, name, realm, why);
}

int store_enable(struct store *s, const char *name, const char *realm, bool is_enabled, struct text *why)
{
    return s->driver->enable(s, name, realm, is_enabled, why);
}

int store_get(struct store *s, const char *name, const char *realm, struct store_user *out, struct text *why)
{
    return s->driver->get(s, name, realm, out, why);
}

int store_get_by_hash(struct store *s, const uint8_t userhash[SHA256_SIZE], struct store_user *out, struct text *why)
{
    return s->driver->get_by_hash(s, userhash, out, why);
}

int store_list(struct store *s, int (*each)(void *context, const struct store_user *u), void *context, struct text *why)
{
    return s->driver->list(s, each, context, why);
}

int store_version(struct store *s, uint64_t *version, struct text *why)
{
    return s->driver->version(s, version, why);
}
