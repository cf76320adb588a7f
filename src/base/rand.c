#include "base/rand.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void rand_bytes(void *out, size_t n)
{
    must(n <= INT_MAX);
    if (RAND_bytes(out, (int)n) == 1)
        return;
    fprintf(stderr, "causeway: OpenSSL's random generator has failed; without it nothing is safe, so this ends here. "
                    "Check OpenSSL's configuration (openssl rand -hex 8 must work).\n");
    abort();
}

/* Small numbers (ports, transaction ids) are drawn often: each thread keeps a few. A number is wiped as it is handed
 * out. */
static _Thread_local struct {
    uint8_t bytes[256];
    size_t left;
} stock;

/* A forked child must not hand out its parent's numbers again. */
static void stock_forget(void)
{
    OPENSSL_cleanse(&stock, sizeof stock);
}

static void stock_guard(void)
{
    must(pthread_atfork(NULL, NULL, stock_forget) == 0);
}

static void stock_fill(void)
{
    static pthread_once_t guarded = PTHREAD_ONCE_INIT;
    pthread_once(&guarded, stock_guard);
    rand_bytes(stock.bytes, sizeof stock.bytes);
    stock.left = sizeof stock.bytes;
}

uint32_t rand_u32(void)
{
    uint32_t v;
    if (stock.left < sizeof v)
        stock_fill();
    stock.left -= sizeof v;
    memcpy(&v, stock.bytes + stock.left, sizeof v);
    OPENSSL_cleanse(stock.bytes + stock.left, sizeof v);
    return v;
}

uint64_t rand_u64(void)
{
    uint64_t high = rand_u32();
    return high << 32 | rand_u32();
}

uint32_t rand_below(uint32_t below)
{
    must(below > 0);
    uint32_t uneven = -below % below; /* 2^32 mod below: so many of the lowest values would make the rest unequal */
    uint32_t v;
    do
        v = rand_u32();
    while (v < uneven);
    return v % below;
}
