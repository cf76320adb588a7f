#include "sys/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rand.h"

enum { SECURITY_LEVEL = 2, SELF_SIGNED_DAYS = 3650, COMMON_NAME_MAX = 64, PATH_BYTES = 4096 };

void tls_error(struct text *out)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
    if (e == 0)
        text_add(out, "no reason given");
    else if (reason)
        text_add(out, reason);
    else
        text_addf(out, "error %08lx", e);
    ERR_clear_error();
}

/* ---- contexts ---- */

static SSL_CTX *refuse(SSL_CTX *ctx)
{
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return NULL;
}

static SSL_CTX *new_context(const SSL_METHOD *method, bool dtls, struct text *why)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, dtls ? DTLS1_2_VERSION : TLS1_2_VERSION)) {
        text_add(why, "OpenSSL cannot be used: ");
        tls_error(why);
        return refuse(ctx);
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets carry the state to the client */
    return ctx;
}

/* False, with the reason and the remedy, when the file cannot be read. */
static bool can_read(const char *what, const char *path, struct text *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    text_addf(why, "cannot read the %s %s: %s; ", what, path, strerror(errno));
    if (errno == EACCES)
        text_add(why, "give the user that runs causeway the right to read it");
    else
        text_add(why, "put a PEM file there or correct the path in the configuration");
    return false;
}

/* Instead of OpenSSL's own, which would ask on the terminal and wait. */
static int no_passphrase(char *buf, int size, int is_writing, void *was_asked)
{
    *(bool *)was_asked = true;
    return -1;
}

static bool use_certificate(SSL_CTX *ctx, const char *path, struct text *why)
{
    if (!can_read("certificate", path, why))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ctx, path) == 1)
        return true;
    text_addf(why, "the certificate %s cannot be used: ", path);
    tls_error(why);
    text_add(why, "; it must be PEM text, the server's own certificate first, then the chain, with an RSA key of 2048 "
                  "bits or an elliptic curve");
    return false;
}

static bool is_mismatch(unsigned long e)
{
    int reason = ERR_GET_REASON(e);
    return ERR_GET_LIB(e) == ERR_LIB_X509 &&
           (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH);
}

static bool load_key(SSL_CTX *ctx, const char *path, bool *was_asked)
{
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, was_asked);
    bool ok = SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    return ok;
}

static bool use_key(SSL_CTX *ctx, const struct tls_files *files, struct text *why)
{
    bool was_asked = false;
    if (!can_read("private key", files->key, why))
        return false;
    bool is_loaded = load_key(ctx, files->key, &was_asked);
    if (is_loaded && SSL_CTX_check_private_key(ctx) == 1)
        return true;
    if (is_loaded || is_mismatch(ERR_peek_last_error())) {
        text_addf(why, "the private key %s does not belong to the certificate %s; take the two that were made together",
                  files->key, files->cert);
    } else if (was_asked) {
        text_addf(why,
                  "the private key %s is locked with a passphrase; store it without one, readable only for "
                  "the user that runs causeway",
                  files->key);
    } else {
        text_addf(why, "the private key %s cannot be used: ", files->key);
        tls_error(why);
        text_add(why, "; it must be PEM text");
    }
    return false;
}

static void warn_of_dates(SSL_CTX *ctx, const char *path, struct text *why)
{
    const X509 *x = SSL_CTX_get0_certificate(ctx);
    if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
        text_addf(why, "the certificate %s has expired; clients will refuse it until it is renewed", path);
    else if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
        text_addf(why, "the certificate %s is not valid yet; clients will refuse it, or this machine's clock is wrong",
                  path);
}

/* RFC 7301 s.3.2: our order decides; an offer without any of ours ends the handshake. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                       unsigned in_n, void *ours)
{
    for (const char *const *name = ours; *name; name++) {
        struct rd r = rd_of(span_of(in, in_n));
        while (!r.err && rd_left(&r)) {
            struct span offered = rd_bytes(&r, rd_u8(&r));
            if (!span_is_equal(offered, span_str(*name)))
                continue;
            *out = offered.p;
            *out_n = (unsigned char)offered.n;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

SSL_CTX *tls_server_new(const struct tls_files *files, bool dtls, const char *const *alpn, struct text *why)
{
    SSL_CTX *ctx = new_context(dtls ? DTLS_server_method() : TLS_server_method(), dtls, why);
    if (!ctx)
        return NULL;
    if (!use_certificate(ctx, files->cert, why) || !use_key(ctx, files, why))
        return refuse(ctx);
    SSL_CTX_set_dh_auto(ctx, 1);
    if (alpn)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, (void *)alpn);
    if (dtls)
        dtls_use_cookies(ctx);
    warn_of_dates(ctx, files->cert, why);
    return ctx;
}

static bool trust(SSL_CTX *ctx, const char *ca_file, struct text *why)
{
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_verify_paths(ctx);
    if (!ca_file)
        return true;
    if (!can_read("file of trusted certificates", ca_file, why))
        return false;
    if (SSL_CTX_load_verify_file(ctx, ca_file) == 1)
        return true;
    text_addf(why, "the file of trusted certificates %s cannot be used: ", ca_file);
    tls_error(why);
    return false;
}

static bool offer_alpn(SSL_CTX *ctx, const char *name)
{
    unsigned char list[256];
    size_t n = strlen(name);
    must(n > 0 && n < sizeof list);
    list[0] = (unsigned char)n;
    memcpy(list + 1, name, n);
    return SSL_CTX_set_alpn_protos(ctx, list, (unsigned)n + 1) == 0; /* 0 is success here */
}

SSL_CTX *tls_client_new(bool dtls, bool verify, const char *ca_file, const char *alpn, struct text *why)
{
    SSL_CTX *ctx = new_context(dtls ? DTLS_client_method() : TLS_client_method(), dtls, why);
    if (!ctx)
        return NULL;
    if ((verify && !trust(ctx, ca_file, why)) || (alpn && !offer_alpn(ctx, alpn)))
        return refuse(ctx);
    return ctx;
}

/* ---- the self-signed certificate ---- */

static bool add_name(GENERAL_NAMES *list, const char *name)
{
    struct addr a;
    bool is_ip = addr_parse(name, &a) == 0;
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_STRING *value = is_ip ? (ASN1_STRING *)ASN1_OCTET_STRING_new() : (ASN1_STRING *)ASN1_IA5STRING_new();
    const void *bytes = is_ip ? (const void *)a.ip : name;
    size_t n = is_ip ? addr_ip_size(&a) : strlen(name);
    if (g && value && ASN1_STRING_set(value, bytes, (int)n)) {
        GENERAL_NAME_set0_value(g, is_ip ? GEN_IPADD : GEN_DNS, value);
        if (sk_GENERAL_NAME_push(list, g) > 0)
            return true;
        value = NULL; /* belongs to g */
    }
    ASN1_STRING_free(value);
    GENERAL_NAME_free(g);
    return false;
}

static bool add_names(X509 *x, const char *const *names)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    bool ok = list != NULL;
    for (; ok && *names; names++)
        ok = add_name(list, *names);
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(list);
    return ok;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool set_serial(X509 *x)
{
    uint64_t serial = rand_u64() >> 1;
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial) == 1;
}

static bool fill_certificate(X509 *x, EVP_PKEY *key, const char *const *names)
{
    const char *common = strlen(names[0]) <= COMMON_NAME_MAX ? names[0] : "causeway";
    X509_NAME *subject = X509_get_subject_name(x);
    return X509_set_version(x, X509_VERSION_3) && set_serial(x) && X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
           X509_time_adj_ex(X509_getm_notAfter(x), SELF_SIGNED_DAYS, 0, NULL) && X509_set_pubkey(x, key) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1, -1, 0) &&
           X509_set_issuer_name(x, subject) && add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, NID_ext_key_usage, "serverAuth,clientAuth") && add_names(x, names) &&
           X509_sign(x, key, EVP_sha256()) > 0;
}

/* Writes what `write_pem` says beside the path, then moves it there: readers see the old file or the new one. */
static int replace_file(const char *path, mode_t mode, int (*write_pem)(FILE *f, const void *what), const void *what,
                        struct text *why)
{
    char temp[PATH_BYTES];
    int fd = -1;
    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) < (int)sizeof temp)
        fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 from the first moment */
    else
        errno = ENAMETOOLONG;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    bool ok = f && write_pem(f, what) == 1 && fflush(f) == 0 && fchmod(fd, mode) == 0 && fsync(fd) == 0;
    int error = errno;
    if (f)
        fclose(f);
    if (ok && rename(temp, path) == 0)
        return 0;
    error = ok ? errno : error;
    if (fd >= 0)
        unlink(temp);
    text_addf(why,
              "cannot write %s: %s; the folder must exist and the user that runs causeway must be allowed to write "
              "there",
              path, strerror(error));
    errno = error;
    return ERR_SYS;
}

static int write_key(FILE *f, const void *key)
{
    return PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
}

static int write_certificate(FILE *f, const void *x)
{
    return PEM_write_X509(f, x);
}

int tls_self_signed(const struct tls_files *files, const char *const *names, struct text *why)
{
    must(names[0]);
    ERR_clear_error();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    int err = key && x && fill_certificate(x, key, names) ? 0 : ERR_CRYPTO;
    if (err) {
        text_add(why, "cannot make a self-signed certificate: ");
        tls_error(why);
    }
    if (!err)
        err = replace_file(files->key, 0600, write_key, key, why);
    if (!err)
        err = replace_file(files->cert, 0644, write_certificate, x, why);
    X509_free(x);
    EVP_PKEY_free(key);
    return err;
}

/* ---- looking at a certificate ---- */

static void add_subject(const X509 *x, struct text *out)
{
    BIO *b = BIO_new(BIO_s_mem());
    if (b && X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0) {
        char *p;
        long n = BIO_get_mem_data(b, &p);
        text_add_safe(out, span_of(p, (size_t)n));
    }
    BIO_free(b);
}

int tls_certificate_ends(const char *cert_file, int64_t *seconds, struct text *subject)
{
    int days, rest;
    bool was_asked;
    FILE *f = fopen(cert_file, "re");
    if (!f)
        return ERR_SYS;
    X509 *x = PEM_read_X509(f, NULL, no_passphrase, &was_asked);
    fclose(f);
    bool ok = x && ASN1_TIME_diff(&days, &rest, NULL, X509_get0_notAfter(x));
    if (ok) {
        *seconds = (int64_t)days * 86400 + rest;
        add_subject(x, subject);
    }
    X509_free(x);
    ERR_clear_error();
    return ok ? 0 : ERR_BAD;
}
