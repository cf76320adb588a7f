/* The URIs by which clients reach a server of this configuration (RFC 7065), for people and for `user token`.
 *
 * A listener on all addresses is named by the relay addresses of its family, as the world sees them behind 1:1 NAT.
 */
#ifndef APP_TURN_URIS_H
#define APP_TURN_URIS_H

#include "app/config.h"

/* `is_secure`: turns, over TLS or DTLS. */
typedef void turn_uri_take(void *context, const char *uri, bool is_secure);

/* `is_here`: asked by the server itself. Then this machine's own address stands for a listener on all addresses that no
 * relay-ip names, and TLS is told of where it comes with a self-signed certificate, too. */
void turn_uris_each(const struct config *c, bool is_here, turn_uri_take *take, void *context);

#endif
