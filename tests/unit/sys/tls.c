#include "certs.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

static char why_buf[600];
static struct text why;

static int fresh_why(void **state)
{
    why = text_of(why_buf, sizeof why_buf);
    return 0;
}

static void assert_why(const char *part)
{
    if (!strstr(why_buf, part))
        fail_msg("\"%s\" does not say \"%s\"", why_buf, part);
    why = text_of(why_buf, sizeof why_buf);
}

/* ---- handshakes in memory ---- */

struct pair {
    SSL *client, *server;
    BIO *wires[2];
};

static void pair_open(struct pair *p, SSL_CTX *client, SSL_CTX *server)
{
    p->client = SSL_new(client);
    p->server = SSL_new(server);
    assert_int_equal(BIO_new_bio_pair(&p->wires[0], 0, &p->wires[1], 0), 1);
    SSL_set_bio(p->client, p->wires[0], p->wires[0]);
    SSL_set_bio(p->server, p->wires[1], p->wires[1]);
    SSL_set_connect_state(p->client);
    SSL_set_accept_state(p->server);
}

/* True when both sides finish. */
static bool pair_shake(struct pair *p)
{
    ERR_clear_error();
    for (int i = 0; i < 20; i++) {
        int c = SSL_do_handshake(p->client), s = SSL_do_handshake(p->server);
        if (c == 1 && s == 1)
            return true;
        bool c_goes_on = c == 1 || SSL_get_error(p->client, c) == SSL_ERROR_WANT_READ;
        bool s_goes_on = s == 1 || SSL_get_error(p->server, s) == SSL_ERROR_WANT_READ;
        if (!c_goes_on || !s_goes_on)
            break;
    }
    SSL_do_handshake(p->client); /* takes the alert in */
    return false;
}

static void pair_close(struct pair *p)
{
    SSL_free(p->client);
    SSL_free(p->server);
    ERR_clear_error();
}

static void handshake_with_the_self_signed_certificate(void **state)
{
    SSL_CTX *server = certs_server(false, NULL), *client = certs_client(false, NULL);
    struct pair p;
    pair_open(&p, client, server);
    assert_int_equal(SSL_set1_host(p.client, "relay.example"), 1);
    assert_true(pair_shake(&p));
    assert_string_equal(SSL_get_version(p.client), "TLSv1.3");
    assert_int_equal(SSL_get_verify_result(p.client), X509_V_OK);
    X509 *x = SSL_get1_peer_certificate(p.client);
    assert_int_equal(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "127.0.0.2", 0), 0);
    assert_int_equal(X509_check_host(x, "other.example", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ca(x), 0);
    X509_free(x);
    pair_close(&p);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void stranger_is_not_trusted(void **state)
{
    SSL_CTX *server = certs_server(false, NULL), *client = tls_client_new(false, true, NULL, NULL, &why);
    struct pair p;
    pair_open(&p, client, server);
    assert_false(pair_shake(&p));
    pair_close(&p);
    SSL_CTX_free(client);
    client = tls_client_new(false, false, NULL, NULL, &why); /* unless it was told not to look */
    pair_open(&p, client, server);
    assert_true(pair_shake(&p));
    pair_close(&p);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* Whether a client restricted to at most this version gets in. */
static bool is_version_served(int version)
{
    SSL_CTX *server = certs_server(false, NULL), *client = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(client, 0);
    SSL_CTX_set_min_proto_version(client, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(client, version);
    struct pair p;
    pair_open(&p, client, server);
    bool served = pair_shake(&p);
    pair_close(&p);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    return served;
}

static void old_versions_are_refused(void **state)
{
    assert_false(is_version_served(TLS1_VERSION));
    assert_false(is_version_served(TLS1_1_VERSION));
    assert_true(is_version_served(TLS1_2_VERSION));
    assert_true(is_version_served(TLS1_3_VERSION));
}

/* ---- ALPN, RFC 7443 and RFC 7301 s.3.2 ---- */

static const char *const turn_alpn[] = {"stun.turn", "stun.nat-discovery", NULL};

/* What the client reads as chosen: "" for nothing, NULL when the handshake failed. `offer` in wire form. */
static const char *alpn_result(const char *offer, bool *was_alert)
{
    static char chosen[64];
    SSL_CTX *server = certs_server(false, turn_alpn), *client = certs_client(false, NULL);
    struct pair p;
    const unsigned char *name;
    unsigned n;
    pair_open(&p, client, server);
    if (offer)
        SSL_set_alpn_protos(p.client, (const unsigned char *)offer, (unsigned)strlen(offer));
    bool ok = pair_shake(&p);
    *was_alert = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL;
    SSL_get0_alpn_selected(p.client, &name, &n);
    snprintf(chosen, sizeof chosen, "%.*s", (int)n, name ? (const char *)name : "");
    pair_close(&p);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    return ok ? chosen : NULL;
}

static void alpn(void **state)
{
    bool was_alert;
    assert_string_equal(alpn_result(NULL, &was_alert), "");
    assert_string_equal(alpn_result("\x9stun.turn", &was_alert), "stun.turn");
    assert_string_equal(alpn_result("\x2h2\x12stun.nat-discovery\x9stun.turn", &was_alert), "stun.turn");
    assert_string_equal(alpn_result("\x2h2\x12stun.nat-discovery", &was_alert), "stun.nat-discovery");
    assert_null(alpn_result("\x2h2\x8http/1.1", &was_alert));
    assert_true(was_alert);
    assert_null(alpn_result("\x8stun.tur", &was_alert)); /* part of a name is not the name */
    assert_null(alpn_result("\xastun.turn2", &was_alert));
}

static void alpn_offered_by_our_client(void **state)
{
    SSL_CTX *server = certs_server(false, turn_alpn), *client = certs_client(false, "stun.turn");
    struct pair p;
    const unsigned char *name;
    unsigned n;
    pair_open(&p, client, server);
    assert_true(pair_shake(&p));
    SSL_get0_alpn_selected(p.server, &name, &n);
    assert_int_equal(n, 9);
    assert_memory_equal(name, "stun.turn", 9);
    pair_close(&p);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* ---- files ---- */

static void write_file(const char *path, const char *content)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static void missing_and_broken_files(void **state)
{
    char other[128];
    snprintf(other, sizeof other, "%s/other.pem", certs_folder);
    struct tls_files no_cert = {other, certs_key}, no_key = {certs_cert, other};
    assert_null(tls_server_new(&no_cert, false, NULL, &why));
    assert_why("certificate");
    assert_null(tls_server_new(&no_cert, false, NULL, &why));
    assert_why(other);
    assert_null(tls_server_new(&no_cert, false, NULL, &why));
    assert_why("No such file");
    assert_null(tls_server_new(&no_key, false, NULL, &why));
    assert_why("cannot read the private key");
    assert_null(tls_client_new(false, true, other, NULL, &why));
    assert_why("trusted certificates");
    write_file(other, "-----BEGIN NONSENSE-----\n");
    assert_null(tls_server_new(&no_cert, false, NULL, &why));
    assert_why("must be PEM");
    assert_null(tls_server_new(&no_key, false, NULL, &why));
    assert_why("must be PEM");
    assert_null(tls_client_new(false, true, other, NULL, &why));
    assert_why("cannot be used");
    unlink(other);
}

static void unreadable_file(void **state)
{
    struct tls_files files = certs_files();
    bool is_root = geteuid() == 0; /* who would read everything */
    chmod(certs_key, 0);
    chmod(certs_folder, 0755);
    assert_int_equal(is_root ? seteuid(65534) : 0, 0);
    SSL_CTX *ctx = tls_server_new(&files, false, NULL, &why);
    assert_int_equal(is_root ? seteuid(0) : 0, 0);
    chmod(certs_key, 0600);
    assert_null(ctx);
    assert_why("Permission denied");
}

static void key_of_another_certificate(void **state)
{
    static const char *const names[] = {"other.example", NULL};
    char cert[128], key[128];
    snprintf(cert, sizeof cert, "%s/other.pem", certs_folder);
    snprintf(key, sizeof key, "%s/other-key.pem", certs_folder);
    struct tls_files other = {cert, key}, mixed = {certs_cert, key};
    assert_int_equal(tls_self_signed(&other, names, &why), 0);
    assert_null(tls_server_new(&mixed, false, NULL, &why));
    assert_why("does not belong to the certificate");
    EVP_PKEY *rsa = EVP_RSA_gen(2048); /* of another kind altogether */
    FILE *f = fopen(key, "w");
    assert_int_equal(PEM_write_PrivateKey(f, rsa, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    assert_null(tls_server_new(&mixed, false, NULL, &why));
    assert_why("does not belong to the certificate");
    f = fopen(key, "w");
    assert_int_equal(PEM_write_PrivateKey(f, rsa, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL),
                     1);
    fclose(f);
    EVP_PKEY_free(rsa);
    assert_null(tls_server_new(&mixed, false, NULL, &why)); /* and does not wait for somebody to type */
    assert_why("passphrase");
    unlink(cert);
    unlink(key);
}

/* A certificate signed anew with other dates, as seconds from now, or with a key that is too small. */
static void sign_anew(const struct tls_files *to, EVP_PKEY *key, long from_s, long until_s)
{
    FILE *f = fopen(certs_cert, "r");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    X509_gmtime_adj(X509_getm_notBefore(x), from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), until_s);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    f = fopen(to->cert, "w");
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    f = fopen(to->key, "w");
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(x);
}

static void outside_its_dates_is_a_warning(void **state)
{
    char cert[128], key[128], subject_buf[100];
    snprintf(cert, sizeof cert, "%s/dated.pem", certs_folder);
    snprintf(key, sizeof key, "%s/dated-key.pem", certs_folder);
    struct tls_files dated = {cert, key};
    EVP_PKEY *k = EVP_EC_gen("P-256");
    sign_anew(&dated, k, -7200, -3600);
    SSL_CTX *ctx = tls_server_new(&dated, false, NULL, &why);
    assert_non_null(ctx);
    assert_why("has expired");
    SSL_CTX_free(ctx);
    int64_t seconds;
    struct text subject = text_of(subject_buf, sizeof subject_buf);
    assert_int_equal(tls_certificate_ends(cert, &seconds, &subject), 0);
    assert_true(seconds <= -3600 && seconds > -7200);
    assert_string_equal(subject_buf, "CN=relay.example");
    sign_anew(&dated, k, 3600, 7200);
    ctx = tls_server_new(&dated, false, NULL, &why);
    assert_non_null(ctx);
    assert_why("not valid yet");
    SSL_CTX_free(ctx);
    EVP_PKEY_free(k);
    k = EVP_RSA_gen(1024);
    sign_anew(&dated, k, -60, 3600);
    assert_null(tls_server_new(&dated, false, NULL, &why));
    assert_why("too small");
    EVP_PKEY_free(k);
    unlink(cert);
    unlink(key);
}

static void self_signed_files(void **state)
{
    struct stat st;
    int64_t seconds;
    char buf[100];
    struct text subject = text_of(buf, sizeof buf);
    assert_int_equal(stat(certs_key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(certs_cert, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(tls_certificate_ends(certs_cert, &seconds, &subject), 0);
    assert_true(seconds > 3649ll * 86400 && seconds <= 3650ll * 86400);
    assert_string_equal(buf, "CN=relay.example");
    assert_int_equal(tls_certificate_ends(certs_key, &seconds, &subject), ERR_BAD);
    assert_int_equal(tls_certificate_ends("/nonexistent/cert.pem", &seconds, &subject), ERR_SYS);
    struct tls_files nowhere = {"/nonexistent/cert.pem", "/nonexistent/key.pem"};
    static const char *const names[] = {"x.example", NULL};
    assert_int_equal(tls_self_signed(&nowhere, names, &why), ERR_SYS);
    assert_why("cannot write /nonexistent/key.pem: No such file");
}

/* A name longer than a common name may be is still among the alternative names. */
static void self_signed_for_a_long_name(void **state)
{
    static const char long_name[] = "a-very-long-label-of-a-host.in-a-very-long-subdomain-of-it.relay.example";
    const char *const names[] = {long_name, NULL};
    char cert[128], key[128];
    snprintf(cert, sizeof cert, "%s/long.pem", certs_folder);
    snprintf(key, sizeof key, "%s/long-key.pem", certs_folder);
    struct tls_files files = {cert, key};
    assert_int_equal(tls_self_signed(&files, names, &why), 0);
    FILE *f = fopen(cert, "r");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    assert_int_equal(X509_check_host(x, long_name, 0, 0, NULL), 1);
    X509_free(x);
    unlink(cert);
    unlink(key);
}

static void errors_for_people(void **state)
{
    ERR_clear_error();
    tls_error(&why);
    assert_why("no reason given");
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
    tls_error(&why);
    assert_why("no shared cipher");
    assert_int_equal(ERR_peek_error(), 0);
    ERR_raise(ERR_LIB_SYS, ENOENT);
    tls_error(&why);
    assert_why("No such file");
}

#define TLS_TEST(f) cmocka_unit_test_setup(f, fresh_why)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(handshake_with_the_self_signed_certificate),
        TLS_TEST(stranger_is_not_trusted),
        TLS_TEST(old_versions_are_refused),
        TLS_TEST(alpn),
        TLS_TEST(alpn_offered_by_our_client),
        TLS_TEST(missing_and_broken_files),
        TLS_TEST(unreadable_file),
        TLS_TEST(key_of_another_certificate),
        TLS_TEST(outside_its_dates_is_a_warning),
        TLS_TEST(self_signed_files),
        TLS_TEST(self_signed_for_a_long_name),
        TLS_TEST(errors_for_people),
    };
    return cmocka_run_group_tests_name("tls", tests, certs_setup, certs_teardown);
}
