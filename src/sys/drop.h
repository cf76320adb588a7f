/* Giving up privileges for good, once every socket that needs them is open. */
#ifndef SYS_DROP_H
#define SYS_DROP_H

#include "base/text.h"

/* Raises the soft limit of open files to the hard one. The limit in force. */
unsigned long drop_raise_files(void);
/* Becomes this account with its groups: cannot be undone, no new privileges by exec, no core dumps (checklist S54,
 * S55). 0 or ERR_SYS / ERR_NONE (no such account) with `why`. */
int drop_to(const char *account, struct text *why);
/* What every server process does, root or not: no core dumps, no new privileges. */
void drop_harden(void);

#endif
