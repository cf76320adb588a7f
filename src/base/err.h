/* Error numbers of every floor, and the check for our own mistakes.
 *
 * A function that can fail returns 0 (or a count) or a negative `enum err`. Protocol refusals (400, 437 ...) are not
 * errors in this sense: request handlers return them as positive numbers. Input never reaches must().
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
    ERR_OK = 0,
    ERR_SHORT = -1,   /* more bytes are needed before anything can be said */
    ERR_BAD = -2,     /* malformed: these bytes will never make sense */
    ERR_FULL = -3,    /* no room in the caller's buffer or in a bounded table */
    ERR_NOMEM = -4,   /* the heap is exhausted */
    ERR_NONE = -5,    /* not found, not present */
    ERR_DENIED = -6,  /* refused by a rule */
    ERR_AGAIN = -7,   /* would block: try when the descriptor is ready */
    ERR_CLOSED = -8,  /* the other side has ended */
    ERR_SYS = -9,     /* the kernel refused: errno says why */
    ERR_CRYPTO = -10, /* OpenSSL refused */
};

/* A short English phrase for a negative `enum err`; static storage. */
const char *err_text(int err);

/* Prints where and what, then aborts. Not for input: only for states that our own code must have made impossible. */
_Noreturn void err_must_failed(const char *file, int line, const char *what);

#define must(x) ((x) ? (void)0 : err_must_failed(__FILE__, __LINE__, #x))

#endif
