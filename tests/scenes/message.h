/* Builds the request or indication that a step of a scene describes: "allocate transport=udp user=alice". */
#ifndef SCENES_MESSAGE_H
#define SCENES_MESSAGE_H

#include "scenes/stage.h"
#include "scenes/words.h"

/* The method is the word at 1; the client's key and transaction id are kept in it. Empty with s->fault when a word
 * makes no sense. */
struct span message_build(struct stage *s, struct client *c, const struct words *x, uint8_t *buf, size_t cap);
/* "203.0.113.9:5000", or a relayed address by its name, as clients are told it. */
struct addr message_addr(struct stage *s, const char *text);

#endif
