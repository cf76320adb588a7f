#include "base/digest.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

/* Algorithms are fetched once a process. Each thread has its own contexts, made at first use and freed at its end. */
static struct {
    pthread_once_t once;
    pthread_key_t at_thread_end;
    EVP_MAC *hmac;
    EVP_MD *md5, *sha256;
    uint32_t crc[4][256]; /* crc[k][b]: what byte b does to the CRC when k more bytes follow it */
} shared = {.once = PTHREAD_ONCE_INIT};

static _Thread_local struct contexts {
    EVP_MAC_CTX *hmac_sha1, *hmac_sha256;
    EVP_MD_CTX *md;
} mine;

static void contexts_free(void *arg)
{
    struct contexts *c = arg;
    EVP_MAC_CTX_free(c->hmac_sha1);
    EVP_MAC_CTX_free(c->hmac_sha256);
    EVP_MD_CTX_free(c->md);
    *c = (struct contexts){0};
}

static void crc_tables_fill(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        shared.crc[0][b] = crc;
    }
    for (int k = 1; k < 4; k++)
        for (uint32_t b = 0; b < 256; b++)
            shared.crc[k][b] = shared.crc[k - 1][b] >> 8 ^ shared.crc[0][shared.crc[k - 1][b] & 0xff];
}

/* What cannot be fetched (MD5 where only FIPS algorithms are allowed) stays NULL: its functions say ERR_CRYPTO. */
static void shared_fill(void)
{
    must(pthread_key_create(&shared.at_thread_end, contexts_free) == 0);
    shared.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    shared.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    shared.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    crc_tables_fill();
}

static void shared_ready(void)
{
    pthread_once(&shared.once, shared_fill);
}

/* ---- HMAC ---- */

static EVP_MAC_CTX *hmac_context_new(const char *digest)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC_CTX *ctx = shared.hmac ? EVP_MAC_CTX_new(shared.hmac) : NULL;
    if (ctx && !EVP_MAC_CTX_set_params(ctx, params)) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

/* The thread's context in `*slot`, made if need be; NULL if OpenSSL refuses. */
static EVP_MAC_CTX *hmac_context(EVP_MAC_CTX **slot, const char *digest)
{
    if (!*slot) {
        shared_ready();
        *slot = hmac_context_new(digest);
        if (pthread_setspecific(shared.at_thread_end, &mine) != 0)
            contexts_free(&mine);
    }
    return *slot;
}

static int hmac(EVP_MAC_CTX *ctx, struct span key, const struct span *parts, size_t n, uint8_t *out, size_t size)
{
    static const uint8_t empty[1];
    if (!ctx || !EVP_MAC_init(ctx, key.n ? key.p : empty, key.n, NULL))
        return ERR_CRYPTO;
    for (size_t i = 0; i < n; i++)
        if (parts[i].n && !EVP_MAC_update(ctx, parts[i].p, parts[i].n))
            return ERR_CRYPTO;
    size_t written;
    return EVP_MAC_final(ctx, out, &written, size) && written == size ? 0 : ERR_CRYPTO;
}

int hmac_sha1(struct span key, const struct span *parts, size_t n, uint8_t out[SHA1_SIZE])
{
    return hmac(hmac_context(&mine.hmac_sha1, "SHA1"), key, parts, n, out, SHA1_SIZE);
}

int hmac_sha256(struct span key, const struct span *parts, size_t n, uint8_t out[SHA256_SIZE])
{
    return hmac(hmac_context(&mine.hmac_sha256, "SHA256"), key, parts, n, out, SHA256_SIZE);
}

/* ---- plain digests ---- */

static EVP_MD_CTX *md_context(void)
{
    if (!mine.md) {
        mine.md = EVP_MD_CTX_new();
        if (pthread_setspecific(shared.at_thread_end, &mine) != 0)
            contexts_free(&mine);
    }
    return mine.md;
}

static int digest(const EVP_MD *md, const struct span *parts, size_t n, uint8_t *out)
{
    EVP_MD_CTX *ctx = md ? md_context() : NULL;
    if (!ctx || !EVP_DigestInit_ex2(ctx, md, NULL))
        return ERR_CRYPTO;
    for (size_t i = 0; i < n; i++)
        if (parts[i].n && !EVP_DigestUpdate(ctx, parts[i].p, parts[i].n))
            return ERR_CRYPTO;
    return EVP_DigestFinal_ex(ctx, out, NULL) ? 0 : ERR_CRYPTO;
}

int digest_md5(const struct span *parts, size_t n, uint8_t out[MD5_SIZE])
{
    shared_ready();
    return digest(shared.md5, parts, n, out);
}

int digest_sha256(const struct span *parts, size_t n, uint8_t out[SHA256_SIZE])
{
    shared_ready();
    return digest(shared.sha256, parts, n, out);
}

/* ---- CRC, comparing, wiping ---- */

uint32_t digest_crc32(uint32_t crc, struct span bytes)
{
    shared_ready();
    const uint8_t *p = bytes.p;
    size_t n = bytes.n;
    crc = ~crc;
    for (; n >= 4; n -= 4, p += 4) {
        crc ^= (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
        crc = shared.crc[3][crc & 0xff] ^ shared.crc[2][crc >> 8 & 0xff] ^ shared.crc[1][crc >> 16 & 0xff] ^
              shared.crc[0][crc >> 24];
    }
    for (; n > 0; n--, p++)
        crc = crc >> 8 ^ shared.crc[0][(crc ^ *p) & 0xff];
    return ~crc;
}

bool digest_is_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

void digest_wipe(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}
