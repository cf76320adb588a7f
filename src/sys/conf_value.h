/* What conf's own files share: taking values and finding options. */
#ifndef SYS_CONF_VALUE_H
#define SYS_CONF_VALUE_H

#include "sys/conf.h"

/* Checks a value and keeps a copy of it. 0, ERR_BAD (with a line in `why`) or ERR_NOMEM. */
int conf_add(struct conf *c, size_t id, const struct conf_value *v, struct text *why);
/* Forgets the values of an option that came from there. */
void conf_drop(struct conf *c, size_t id, enum conf_source source);
/* The row of an option, or ERR_NONE. */
int conf_find(const struct conf *c, struct span name);
/* Adds `; did you mean "name"?` if an option has a similar name. */
void conf_suggest(const struct conf *c, const char *word, const char *mark, bool for_file, struct text *why);

#endif
