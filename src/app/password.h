/* A password from somebody: typed twice at the terminal without echo, or one line of standard input. */
#ifndef APP_PASSWORD_H
#define APP_PASSWORD_H

#include "base/text.h"

/* Both write the password, terminated, and return 0; or ERR_BAD, ERR_SYS, ERR_FULL with a sentence in `why`. The caller
 * wipes `out`. */
int password_ask(char *out, size_t cap, struct text *why);
int password_read(char *out, size_t cap, struct text *why);

#endif
