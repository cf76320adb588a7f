#include "app/mras_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/rand.h"

enum {
    PERIOD_MIN_S = 86400,
    SECRETS_MAX = 8, /* of the file; with periods as long as lifetimes three are usual */
    LINE_MAX_SIZE = 20 + 1 + 2 * MRAS_SECRET_SIZE + 1,
    FILE_MAX = SECRETS_MAX * LINE_MAX_SIZE,
};

struct secret {
    uint64_t made_s;
    uint8_t bytes[MRAS_SECRET_SIZE];
};

struct secrets {
    struct secret list[SECRETS_MAX];
    size_t n;
};

static int fail(const struct state *s, const char *what, const char *remedy, int err, struct text *why)
{
    text_addf(why, "%s/%s: %s; %s", s->dir, STATE_MRAS, what, remedy);
    return err;
}

/* ---- the file ---- */

static int parse_line(char *line, struct secret *out)
{
    char *space = strchr(line, ' ');
    if (!space || text_parse_u64(span_of(line, (size_t)(space - line)), 1, INT64_MAX, &out->made_s))
        return ERR_BAD;
    return text_unhex(space + 1, out->bytes, sizeof out->bytes) == MRAS_SECRET_SIZE ? 0 : ERR_BAD;
}

static int parse_file(char *text, struct secrets *out)
{
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (out->n == SECRETS_MAX || parse_line(line, &out->list[out->n]))
            return ERR_BAD;
        out->n++;
    }
    return 0;
}

static int read_file(const struct state *s, struct secrets *out, struct text *why)
{
    char text[FILE_MAX + 1];
    int fd = openat(s->fd, STATE_MRAS, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return fail(s, strerror(error), "check its permissions", ERR_SYS, why);
    bool is_long = n == sizeof text;
    text[is_long ? 0 : n] = 0;
    int err = is_long ? ERR_BAD : parse_file(text, out);
    explicit_bzero(text, sizeof text);
    return err ? fail(s, "is damaged",
                      "remove it, and a new one will be made; credentials that were given out end with it", err, why)
               : 0;
}

static int write_file(const struct state *s, const struct secrets *secrets, struct text *why)
{
    char text[FILE_MAX + 1], hex[2 * MRAS_SECRET_SIZE + 1];
    struct text t = text_of(text, sizeof text);
    for (size_t i = 0; i < secrets->n; i++)
        text_addf(&t, "%llu %s\n", (unsigned long long)secrets->list[i].made_s,
                  text_hex(secrets->list[i].bytes, MRAS_SECRET_SIZE, hex));
    int err = state_write(s, STATE_MRAS, span_of(text, t.n), 0600, why);
    explicit_bzero(text, sizeof text);
    explicit_bzero(hex, sizeof hex);
    return err;
}

/* ---- rotation ---- */

/* Puts a new secret first if the newest is too old; forgets those whose credentials have all ended: what the one before
 * it has replaced for longer than they live. True if something has changed. */
static bool rotate(struct secrets *x, uint64_t period_s, uint64_t now_s)
{
    size_t before = x->n;
    while (x->n > 1 && now_s > x->list[x->n - 2].made_s && now_s - x->list[x->n - 2].made_s > period_s)
        x->n--;
    bool is_old = x->n == 0 || (now_s > x->list[0].made_s && now_s - x->list[0].made_s >= period_s);
    if (!is_old)
        return x->n != before;
    x->n = x->n < SECRETS_MAX ? x->n : SECRETS_MAX - 1;
    memmove(&x->list[1], &x->list[0], x->n * sizeof x->list[0]);
    x->list[0].made_s = now_s;
    rand_bytes(x->list[0].bytes, MRAS_SECRET_SIZE);
    x->n++;
    return true;
}

static int renew(const struct state *s, uint64_t period_s, uint64_t now_s, struct secrets *out, struct text *why)
{
    if (flock(s->fd, LOCK_EX) != 0)
        return fail(s, strerror(errno), "the directory cannot be locked; check the file system", ERR_SYS, why);
    out->n = 0;
    int err = read_file(s, out, why);
    if (!err && rotate(out, period_s, now_s))
        err = write_file(s, out, why);
    flock(s->fd, LOCK_UN);
    return err;
}

/* Reading needs no lock, for the file is replaced as a whole; what was read is looked at again under it. */
static int load_file(const struct state *s, uint64_t period_s, bool may_make, uint64_t now_s, struct secrets *out,
                     struct text *why)
{
    int err = read_file(s, out, why);
    struct secrets tried = *out;
    bool is_due = !err && may_make && rotate(&tried, period_s, now_s);
    explicit_bzero(&tried, sizeof tried);
    return is_due ? renew(s, period_s, now_s, out, why) : err;
}

/* ---- the whole ---- */

static int add_configured(const struct config *c, struct mras_keys *out)
{
    int err = 0;
    for (size_t i = 0; i < c->secrets_n && !err; i++)
        err = mras_keys_add(out, span_str(c->secrets[i]));
    return err;
}

static int add_kept(const struct secrets *secrets, struct mras_keys *out)
{
    int err = 0;
    for (size_t i = 0; i < secrets->n && !err; i++)
        err = mras_keys_add(out, span_of(secrets->list[i].bytes, MRAS_SECRET_SIZE));
    return err;
}

int mras_key_load(const struct state *s, const struct config *c, bool may_make, uint64_t now_s, struct mras_keys *out,
                  struct text *why)
{
    struct secrets secrets = {.n = 0};
    uint64_t period_s = c->mras.lifetime_s > PERIOD_MIN_S ? c->mras.lifetime_s : PERIOD_MIN_S;
    out->n = 0;
    if (c->secrets_n)
        return add_configured(c, out);
    int err = load_file(s, period_s, may_make, now_s, &secrets, why);
    if (!err)
        err = add_kept(&secrets, out);
    explicit_bzero(&secrets, sizeof secrets);
    return err;
}

bool mras_key_is_same(const struct mras_keys *a, const struct mras_keys *b)
{
    bool is_same = a->n == b->n;
    for (size_t i = 0; is_same && i < a->n; i++)
        is_same = memcmp(&a->list[i], &b->list[i], sizeof a->list[i]) == 0;
    return is_same;
}
