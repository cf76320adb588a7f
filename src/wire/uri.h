/* SIP and SIPS URIs as views (RFC 3261 s.19.1), and the part of any other URI that can be told: its scheme.
 *
 * Nothing is copied and nothing unescaped; a host is text, never resolved here.
 */
#ifndef WIRE_URI_H
#define WIRE_URI_H

#include "base/span.h"

struct uri {
    bool is_sip, is_sips; /* neither: only `scheme` and `rest` are told */
    struct span scheme;   /* "sip" */
    struct span rest;     /* all behind its colon */
    struct span user;     /* with password, without the @; empty: there is none */
    struct span host;     /* a name, an IPv4 address, or an IPv6 address in brackets */
    uint16_t port;        /* 0: none is written */
    struct span params;   /* behind the first semicolon */
    struct span headers;  /* behind the question mark */
};

/* 0, or ERR_BAD: no scheme, white space or another character that no URI has, or not what a sip(s) URI must be. */
int uri_parse(struct span text, struct uri *out);

#endif
