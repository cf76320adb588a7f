/* A look over a configuration file before it is parsed, for what libconfuse swallows without a word: a '#' inside an
 * unquoted value (cuts it), '*' and '+' (left out), a quote in the middle of a value or one never closed (the rest of
 * the file is lost), an open comment, bytes that are no text, and environment variables that are not set (empty text).
 * It also counts the lines of comments twice, so they are blanked.
 */
#ifndef SYS_CONF_LINT_H
#define SYS_CONF_LINT_H

#include "base/text.h"

/* Overwrites the comments of the file (`n` bytes, no terminator needed) with spaces, and adds "NAME:LINE: ..." for each
 * finding. 0, or ERR_BAD if there is one. */
int conf_lint(const char *name, char *file, size_t n, struct text *why);

#endif
