/* A line of a scene as words: "key=value", flags, quoted texts. */
#ifndef SCENES_WORDS_H
#define SCENES_WORDS_H

#include <stdbool.h>
#include <stdint.h>

enum { WORDS_MAX = 100, LINE_MAX_BYTES = 8192 };

struct words {
    char *w[WORDS_MAX];
    int n;
    char line[LINE_MAX_BYTES];
};

/* Blanks separate; "..." keeps blanks together and loses its quotes. A line that begins with # has no words. */
void words_split(struct words *x, const char *line);
/* The word at `i`, or "". */
const char *words_at(const struct words *x, int i);
bool words_has(const struct words *x, const char *flag);
/* The value of the first "key=value", or NULL; of the one behind `*i`, which starts at 0. */
const char *words_value(const struct words *x, const char *key);
const char *words_next_value(const struct words *x, const char *key, int *i);
uint64_t words_u64(const struct words *x, const char *key, uint64_t otherwise);
/* "90s" or milliseconds. */
uint64_t words_ms(const char *text);

#endif
