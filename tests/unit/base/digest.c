#include "base/digest.h"

#include <pthread.h>

#include "base/text.h"
#include "fixture.h"

static void assert_hex(const uint8_t *got, size_t n, const char *expected)
{
    char hex[2 * SHA256_SIZE + 1];
    assert_string_equal(text_hex(got, n, hex), expected);
}

static struct span repeated(uint8_t byte, size_t n)
{
    static uint8_t buf[4][200];
    static unsigned next;
    uint8_t *p = buf[next++ % 4];
    assert_true(n <= 200);
    memset(p, byte, n);
    return span_of(p, n);
}

/* RFC 2202 s.3 and RFC 4231 s.4 share these keys and data. */
static void hmac_matches_the_published_cases(void **state)
{
    const struct {
        struct span key, data;
        const char *sha1, *sha256;
    } cases[] = {
        {span_str("Jefe"), span_str("what do ya want for nothing?"), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {repeated(0x0b, 20), span_str("Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00",
         "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {repeated(0xaa, 20), repeated(0xdd, 50), "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
         "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {span_of("", 0), span_of("", 0), "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d",
         "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
        {(struct span){0}, (struct span){0}, "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d",
         "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
    };
    for (int round = 0; round < 2; round++) { /* again with contexts that were used */
        for (size_t i = 0; i < COUNT(cases); i++) {
            uint8_t out[SHA256_SIZE];
            assert_int_equal(hmac_sha1(cases[i].key, &cases[i].data, 1, out), 0);
            assert_hex(out, SHA1_SIZE, cases[i].sha1);
            assert_int_equal(hmac_sha256(cases[i].key, &cases[i].data, 1, out), 0);
            assert_hex(out, SHA256_SIZE, cases[i].sha256);
        }
    }
}

/* Keys longer than a block are hashed first: RFC 2202 s.3 case 6, RFC 4231 s.4.7. */
static void hmac_takes_long_keys(void **state)
{
    struct span data = span_str("Test Using Larger Than Block-Size Key - Hash Key First");
    uint8_t out[SHA256_SIZE];
    assert_int_equal(hmac_sha1(repeated(0xaa, 80), &data, 1, out), 0);
    assert_hex(out, SHA1_SIZE, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    assert_int_equal(hmac_sha256(repeated(0xaa, 131), &data, 1, out), 0);
    assert_hex(out, SHA256_SIZE, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void digests_match_the_published_cases(void **state)
{
    static const struct {
        const char *data, *md5, *sha256;
    } cases[] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0",
         "f7846f55cf23e14eebeab5b4e1550cad5b509e3348fbc4efa3a1413d393cb650"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct span data = span_str(cases[i].data);
        uint8_t out[SHA256_SIZE];
        assert_int_equal(digest_md5(&data, 1, out), 0);
        assert_hex(out, MD5_SIZE, cases[i].md5);
        assert_int_equal(digest_sha256(&data, 1, out), 0);
        assert_hex(out, SHA256_SIZE, cases[i].sha256);
    }
}

/* However the bytes are cut into parts, the result is the same. */
static void parts_are_one_message(void **state)
{
    uint8_t message[300], whole[4][SHA256_SIZE], cut[4][SHA256_SIZE];
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (uint8_t)die(256);
    struct span key = span_str("key"), all = span_of(message, sizeof message);
    hmac_sha1(key, &all, 1, whole[0]);
    hmac_sha256(key, &all, 1, whole[1]);
    digest_md5(&all, 1, whole[2]);
    digest_sha256(&all, 1, whole[3]);
    for (int round = 0; round < 200; round++) {
        struct span parts[6], rest = all;
        for (size_t i = 0; i < 5; i++) {
            parts[i] = span_take(rest, die(90));
            rest = span_skip(rest, parts[i].n);
        }
        parts[5] = rest;
        assert_int_equal(hmac_sha1(key, parts, 6, cut[0]), 0);
        assert_int_equal(hmac_sha256(key, parts, 6, cut[1]), 0);
        assert_int_equal(digest_md5(parts, 6, cut[2]), 0);
        assert_int_equal(digest_sha256(parts, 6, cut[3]), 0);
        assert_memory_equal(cut[0], whole[0], SHA1_SIZE);
        assert_memory_equal(cut[1], whole[1], SHA256_SIZE);
        assert_memory_equal(cut[2], whole[2], MD5_SIZE);
        assert_memory_equal(cut[3], whole[3], SHA256_SIZE);
    }
    uint8_t none[SHA256_SIZE];
    assert_int_equal(digest_sha256(NULL, 0, none), 0);
    assert_hex(none, SHA256_SIZE, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* Bit by bit, straight from the polynomial. */
static uint32_t naive_crc(struct span s)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

static void crc_matches_and_continues(void **state)
{
    assert_int_equal(digest_crc32(0, span_str("123456789")), 0xcbf43926);
    assert_int_equal(digest_crc32(0, (struct span){0}), 0);
    assert_int_equal(digest_crc32(0x12345678, (struct span){0}), 0x12345678);
    uint8_t bytes[100];
    for (int round = 0; round < 500; round++) {
        size_t n = die(sizeof bytes + 1), cut = n ? die((uint32_t)n) : 0;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)die(256);
        uint32_t expected = naive_crc(span_of(bytes, n));
        assert_int_equal(digest_crc32(0, span_of(bytes, n)), expected);
        uint32_t begun = digest_crc32(0, span_of(bytes, cut));
        assert_int_equal(digest_crc32(begun, span_of(bytes + cut, n - cut)), expected);
    }
}

static void secrets_are_compared_and_wiped(void **state)
{
    char a[] = "sesame", b[] = "sesamf";
    assert_true(digest_is_equal(a, b, 5));
    assert_false(digest_is_equal(a, b, 6));
    assert_true(digest_is_equal(a, b, 0));
    digest_wipe(a, 3);
    assert_memory_equal(a, "\0\0\0ame", 6);
}

/* 0 if all digests were right. */
static void *digest_in_thread(void *arg)
{
    const char *expected = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    struct span data = span_str("what do ya want for nothing?"), abc = span_str("abc");
    long wrong = 0;
    for (int i = 0; i < 300; i++) {
        uint8_t out[SHA256_SIZE];
        char hex[2 * SHA256_SIZE + 1];
        wrong += hmac_sha1(span_str("Jefe"), &data, 1, out) != 0;
        wrong += strcmp(text_hex(out, SHA1_SIZE, hex), expected) != 0;
        wrong += hmac_sha256(span_str("Jefe"), &data, 1, out) != 0;
        wrong += out[0] != 0x5b || out[31] != 0x43;
        wrong += digest_md5(&abc, 1, out) != 0;
        wrong += strcmp(text_hex(out, MD5_SIZE, hex), "900150983cd24fb0d6963f7d28e17f72") != 0;
        wrong += digest_crc32(0, span_str("123456789")) != 0xcbf43926;
    }
    return (void *)wrong;
}

static bool runs_in_a_new_process(int (*f)(void))
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(f());
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint8_t scratch[SHA256_SIZE];
static int first_hmac_sha1(void)
{
    return hmac_sha1(span_str("key"), NULL, 0, scratch) != 0;
}
static int first_hmac_sha256(void)
{
    return hmac_sha256(span_str("key"), NULL, 0, scratch) != 0;
}
static int first_md5(void)
{
    return digest_md5(NULL, 0, scratch) != 0;
}
static int first_sha256(void)
{
    return digest_sha256(NULL, 0, scratch) != 0;
}
static int first_crc(void)
{
    return digest_crc32(0, span_str("123456789")) != 0xcbf43926;
}

/* Runs before all others: each function must do the one-time setup. */
static void any_function_may_be_called_first(void **state)
{
    assert_true(runs_in_a_new_process(first_hmac_sha1));
    assert_true(runs_in_a_new_process(first_hmac_sha256));
    assert_true(runs_in_a_new_process(first_md5));
    assert_true(runs_in_a_new_process(first_sha256));
    assert_true(runs_in_a_new_process(first_crc));
}

/* Runs early, so that the threads race for the one-time setup. Leak and race checkers watch the threads' ends. */
static void threads_do_not_disturb_each_other(void **state)
{
    pthread_t threads[8];
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, digest_in_thread, NULL), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_function_may_be_called_first),  cmocka_unit_test(threads_do_not_disturb_each_other),
        cmocka_unit_test(hmac_matches_the_published_cases),  cmocka_unit_test(hmac_takes_long_keys),
        cmocka_unit_test(digests_match_the_published_cases), cmocka_unit_test(parts_are_one_message),
        cmocka_unit_test(crc_matches_and_continues),         cmocka_unit_test(secrets_are_compared_and_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
