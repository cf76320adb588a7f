/* The verbs of the language: README.md lists them. */
#ifndef SCENES_STEP_H
#define SCENES_STEP_H

#include "scenes/stage.h"
#include "scenes/words.h"

/* Plays one line; s->fault says what is wrong with it. */
void step_play(struct stage *s, const struct words *x);

/* A line that describes the server or a client: false when it is none (setting.c). */
bool setting_play(struct stage *s, const struct words *x);

#endif
