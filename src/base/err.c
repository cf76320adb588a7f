#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

const char *err_text(int err)
{
    switch (err) {
    case ERR_OK: return "no error";
    case ERR_SHORT: return "incomplete";
    case ERR_BAD: return "malformed";
    case ERR_FULL: return "no room left";
    case ERR_NOMEM: return "out of memory";
    case ERR_NONE: return "not found";
    case ERR_DENIED: return "refused by a rule";
    case ERR_AGAIN: return "would block";
    case ERR_CLOSED: return "closed by the other side";
    case ERR_SYS: return "refused by the system";
    case ERR_CRYPTO: return "refused by the cryptographic library";
    default: return "unknown error";
    }
}

void err_must_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "causeway: %s:%d: this must hold and does not: %s (please report this bug)\n", file, line, what);
    abort();
}
