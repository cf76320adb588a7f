/* stun:, stuns: (RFC 7064), turn: and turns: (RFC 7065) addresses. No look-ups.
 *
 *     turn:relay.example.org     turns:relay.example.org:443?transport=tcp     stun:[2001:db8::1]:3478
 */
#ifndef APP_TURN_URI_H
#define APP_TURN_URI_H

#include "base/text.h"

enum { TURN_URI_HOST_MAX = 256, TURN_PORT = 3478, TURNS_PORT = 5349 };

enum turn_uri_transport { TURN_URI_ANY, TURN_URI_UDP, TURN_URI_TCP };

struct turn_uri {
    bool is_turn;                 /* turn, turns: not only stun, stuns */
    bool is_secure;               /* turns, stuns: TLS or DTLS */
    uint8_t transport;            /* enum turn_uri_transport; TURN_URI_ANY: the address names none */
    uint16_t port;                /* the default one when the address names none */
    char host[TURN_URI_HOST_MAX]; /* name or IP address, without brackets */
};

/* 0, or ERR_BAD with `why` = what is wrong and what is right. */
int turn_uri_parse(const char *s, struct turn_uri *out, struct text *why);

#endif
