/* A look over a configuration file before it is parsed, for what libconfuse swallows without a word: a '#' inside an
 * unquoted value (cuts it), '*' and '+' (left out), a quote in the middle of a value or one never closed (the rest of
 * the file is lost), an open comment, bytes that are no text, and environment variables that are not set (empty text).
 */
#ifndef SYS_CONF_LINT_H
#define SYS_CONF_LINT_H

#include "base/text.h"

/* Adds "NAME:LINE: ..." for each finding. 0, or ERR_BAD if there is one. */
int conf_lint(const char *name, struct span file, struct text *why);

#endif
