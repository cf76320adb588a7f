#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/mras.h"

static struct mras_keys keys_of(const char *first, const char *second)
{
    struct mras_keys k = {0};
    if (first)
        assert_int_equal(mras_keys_add(&k, span_str(first)), 0);
    if (second)
        assert_int_equal(mras_keys_add(&k, span_str(second)), 0);
    return k;
}

static struct mras_ticket issue(const struct mras_keys *k, const char *identity, uint64_t expires_s)
{
    struct mras_ticket t;
    assert_int_equal(mras_issue(k, span_str(identity), expires_s, &t), 0);
    return t;
}

static int judge(const struct mras_keys *k, const struct mras_ticket *t, struct mras_ticket *out)
{
    memset(out, 0xa5, sizeof *out);
    return mras_password(k, span_of(t->username, sizeof t->username), out);
}

static void a_ticket_is_verified_without_being_kept(void **state)
{
    (void)state;
    struct mras_keys k = keys_of("secret", NULL);
    struct mras_ticket t = issue(&k, "sip:alice@example.com", 1700000000), judged;
    assert_int_equal(judge(&k, &t, &judged), 0);
    assert_memory_equal(judged.username, t.username, sizeof t.username);
    assert_memory_equal(judged.password, t.password, sizeof t.password);
    assert_memory_equal(judged.client, t.client, sizeof t.client);
    assert_int_equal(judged.expires_s, 1700000000);
}

/* The layout of the header file, with a known secret: another build must make the same of it. */
static void the_layout_is_fixed(void **state)
{
    (void)state;
    struct mras_keys k = keys_of("secret", NULL);
    struct mras_ticket t = issue(&k, "sip:alice@example.com", 0x0102030405060708), out;
    static const uint8_t head[12] = {3, 0, 0, 36, 1, 2, 3, 4, 5, 6, 7, 8};
    assert_memory_equal(t.username, head, sizeof head);
    char text[2 * MRAS_CLIENT_SIZE + 1];
    assert_string_equal(text_hex(t.username + 12, 4, text), "080c8c2d");
    assert_string_equal(text_hex(t.username + 24, 4, text), "00000000");
    assert_string_equal(text_hex(t.username + 28, 8, text), "7448796258514875");
    assert_string_equal(text_hex(t.client, 8, text), "7448796258514875");

    uint8_t fixed[MRAS_USERNAME_SIZE];
    char password[2 * MRAS_PASSWORD_SIZE + 1];
    assert_int_equal(text_unhex("03000024 0102030405060708 080c8c2d 1122334455667788 00000000 7448796258514875"
                                "d8fa1867d4eb27fd68fcafed6121b686c87e4f23",
                                fixed, sizeof fixed),
                     MRAS_USERNAME_SIZE);
    assert_int_equal(mras_password(&k, span_of(fixed, sizeof fixed), &out), 0);
    assert_string_equal(text_hex(out.password, MRAS_PASSWORD_SIZE, password),
                        "c01bf9196dc5c0545b3ef68f46d381d4dd0384a9");
}

static void every_changed_bit_is_refused(void **state)
{
    (void)state;
    struct mras_keys k = keys_of("secret", NULL);
    struct mras_ticket t = issue(&k, "alice", 1700000000), out;
    static const struct mras_ticket nothing;
    for (size_t bit = 0; bit < 8 * sizeof t.username; bit++) {
        t.username[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(judge(&k, &t, &out), ERR_DENIED);
        if (bit >= 32)
            assert_memory_equal(out.password, nothing.password, sizeof out.password);
        t.username[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(judge(&k, &t, &out), 0);
}

static void other_lengths_are_refused(void **state)
{
    (void)state;
    struct mras_keys k = keys_of("secret", NULL);
    struct mras_ticket t = issue(&k, "alice", 1700000000), out;
    uint8_t longer[MRAS_USERNAME_SIZE + 1] = {0};
    memcpy(longer, t.username, sizeof t.username);
    for (size_t n = 0; n <= sizeof longer; n++)
        assert_int_equal(mras_password(&k, span_of(longer, n), &out), n == MRAS_USERNAME_SIZE ? 0 : ERR_DENIED);
    assert_int_equal(mras_password(&k, span_of(NULL, 0), &out), ERR_DENIED);
}

static void an_old_secret_verifies_until_it_is_gone(void **state)
{
    (void)state;
    struct mras_keys old = keys_of("old", NULL), both = keys_of("new", "old"), fresh = keys_of("new", NULL);
    struct mras_ticket t = issue(&old, "alice", 1), out;
    assert_int_equal(judge(&both, &t, &out), 0);
    assert_memory_equal(out.password, t.password, sizeof t.password);
    assert_int_equal(judge(&fresh, &t, &out), ERR_DENIED);
    t = issue(&both, "alice", 1);
    assert_int_equal(judge(&fresh, &t, &out), 0);
    assert_int_equal(judge(&old, &t, &out), ERR_DENIED);
}

/* An unknown key id costs as much work as a known one, under a key that everybody could guess: it must not open. */
static void the_stand_in_for_unknown_keys_opens_nothing(void **state)
{
    (void)state;
    struct mras_keys k = keys_of("secret", NULL);
    struct mras_ticket t = issue(&k, "alice", 1700000000), out;
    static const uint8_t zeros[SHA256_SIZE];
    uint8_t mac[SHA256_SIZE];
    t.username[12] ^= 1; /* key id */
    struct span body = span_of(t.username, 36);
    assert_int_equal(hmac_sha256(span_of(zeros, sizeof zeros), &body, 1, mac), 0);
    memcpy(t.username + 36, mac, 20);
    assert_int_equal(judge(&k, &t, &out), ERR_DENIED);
}

static void tickets_differ_and_their_client_does_not(void **state)
{
    (void)state;
    struct mras_keys k = keys_of("secret", NULL);
    struct mras_ticket a = issue(&k, "alice", 1), again = issue(&k, "alice", 1), bob = issue(&k, "bob", 1);
    assert_memory_not_equal(a.username, again.username, sizeof a.username);
    assert_memory_not_equal(a.password, again.password, sizeof a.password);
    assert_memory_equal(a.client, again.client, sizeof a.client);
    assert_memory_not_equal(a.client, bob.client, sizeof a.client);
}

static void without_a_secret_there_is_nothing(void **state)
{
    (void)state;
    struct mras_keys none = {0}, k = keys_of("secret", NULL);
    struct mras_ticket t, out;
    assert_int_equal(mras_issue(&none, span_str("alice"), 1, &t), ERR_NONE);
    t = issue(&k, "alice", 1);
    assert_int_equal(judge(&none, &t, &out), ERR_DENIED);
    assert_int_equal(mras_keys_add(&none, span_str("")), ERR_BAD);
    for (int i = 0; i < MRAS_KEYS_MAX; i++)
        assert_int_equal(mras_keys_add(&none, span_str("x")), 0);
    assert_int_equal(mras_keys_add(&none, span_str("x")), ERR_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_is_verified_without_being_kept),
        cmocka_unit_test(the_layout_is_fixed),
        cmocka_unit_test(every_changed_bit_is_refused),
        cmocka_unit_test(other_lengths_are_refused),
        cmocka_unit_test(an_old_secret_verifies_until_it_is_gone),
        cmocka_unit_test(the_stand_in_for_unknown_keys_opens_nothing),
        cmocka_unit_test(tickets_differ_and_their_client_does_not),
        cmocka_unit_test(without_a_secret_there_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
