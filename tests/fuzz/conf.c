/* The configuration file: whatever it holds, it is taken or refused with a reason; what was taken, printed and read
 * again, is the same. Input: the file. */
#include "app/config.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "sys/conf.h"

static char why_buf[65536], printed[4 << 20];

static struct config *load(struct span file, struct text *why)
{
    static int fd = -1;
    static char path[40], *argv[] = {"serve", "--log=json", NULL};
    if (fd < 0) {
        fd = memfd_create("conf", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, file.p, file.n, 0) == (ssize_t)file.n);
    *why = text_of(why_buf, sizeof why_buf);
    return config_load(path, 2, argv, why);
}

static void check_reading_back(const struct config *c)
{
    struct text out = text_of(printed, sizeof printed), why;
    config_print(c, true, &out);
    must(!out.truncated);
    struct config *again = load(span_of(out.buf, out.n), &why);
    must(again);
    for (size_t id = 0; id < c->conf->n; id++)
        must(conf_is_same(c->conf, again->conf, id));
    config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text why;
    struct config *c = load(span_of(data, size), &why);
    must((why.n == 0) == (c != NULL));
    must(!why.n || why.truncated || why.buf[why.n - 1] == '\n');
    must(text_is_utf8(span_of(why.buf, why.n)));
    if (c)
        check_reading_back(c);
    config_free(c);
    return 0;
}
