/* A scratch folder with a self-signed certificate for 127.0.0.1 and "relay.example", for tests that need TLS. */
#ifndef UNIT_SYS_CERTS_H
#define UNIT_SYS_CERTS_H

#include <stdio.h>

#include "help.h"
#include "sys/tls.h"

static char certs_folder[64], certs_cert[96], certs_key[96];

static inline struct tls_files certs_files(void)
{
    return (struct tls_files){certs_cert, certs_key};
}

static inline int certs_setup(void **state)
{
    static const char *const names[] = {"relay.example", "127.0.0.1", "::1", NULL};
    char buf[200];
    struct text why = text_of(buf, sizeof buf);
    struct tls_files files = certs_files();
    snprintf(certs_folder, sizeof certs_folder, "/tmp/unit-sys-XXXXXX");
    if (!mkdtemp(certs_folder))
        return -1;
    snprintf(certs_cert, sizeof certs_cert, "%s/cert.pem", certs_folder);
    snprintf(certs_key, sizeof certs_key, "%s/key.pem", certs_folder);
    return tls_self_signed(&files, names, &why);
}

static inline int certs_teardown(void **state)
{
    unlink(certs_cert);
    unlink(certs_key);
    return rmdir(certs_folder);
}

static inline SSL_CTX *certs_server(bool dtls, const char *const *alpn)
{
    char buf[400];
    struct text why = text_of(buf, sizeof buf);
    struct tls_files files = certs_files();
    SSL_CTX *ctx = tls_server_new(&files, dtls, alpn, &why);
    assert_string_equal(buf, "");
    assert_non_null(ctx);
    return ctx;
}

/* A client that trusts the certificate. */
static inline SSL_CTX *certs_client(bool dtls, const char *alpn)
{
    char buf[400];
    struct text why = text_of(buf, sizeof buf);
    SSL_CTX *ctx = tls_client_new(dtls, true, certs_cert, alpn, &why);
    assert_string_equal(buf, "");
    assert_non_null(ctx);
    return ctx;
}

#endif
