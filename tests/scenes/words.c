#include "scenes/words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes one word off `*p`, in place, without its quotes. */
static char *take_word(char **p)
{
    char *from = *p, *to = *p, *word = *p;
    for (bool quoted = false; *from && (quoted || !isspace((unsigned char)*from)); from++) {
        if (*from == '"')
            quoted = !quoted;
        else
            *to++ = *from;
    }
    *p = *from ? from + 1 : from;
    *to = 0;
    return word;
}

void words_split(struct words *x, const char *line)
{
    x->n = 0;
    snprintf(x->line, sizeof x->line, "%s", line[0] == '#' ? "" : line);
    for (char *p = x->line; x->n < WORDS_MAX;) {
        while (isspace((unsigned char)*p))
            p++;
        if (!*p)
            return;
        x->w[x->n++] = take_word(&p);
    }
}

const char *words_at(const struct words *x, int i)
{
    return i < x->n ? x->w[i] : "";
}

bool words_has(const struct words *x, const char *flag)
{
    for (int i = 0; i < x->n; i++)
        if (strcmp(x->w[i], flag) == 0)
            return true;
    return false;
}

const char *words_next_value(const struct words *x, const char *key, int *i)
{
    size_t size = strlen(key);
    for (; *i < x->n; (*i)++)
        if (strncmp(x->w[*i], key, size) == 0 && x->w[*i][size] == '=')
            return x->w[(*i)++] + size + 1;
    return NULL;
}

const char *words_value(const struct words *x, const char *key)
{
    int i = 0;
    return words_next_value(x, key, &i);
}

uint64_t words_u64(const struct words *x, const char *key, uint64_t otherwise)
{
    const char *v = words_value(x, key);
    return v ? strtoull(v, NULL, 0) : otherwise;
}

uint64_t words_ms(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    return *end == 's' ? n * 1000 : n;
}
