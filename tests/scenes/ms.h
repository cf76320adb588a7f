/* Microsoft's dialect in scenes: what clients say, and what they are told. */
#ifndef SCENES_MS_H
#define SCENES_MS_H

#include "scenes/message.h"

/* NAME ms allocate|send|active|data|fin ... False: none of these. */
bool ms_play_client(struct stage *s, struct client *c, const struct words *x);
/* bytes P1 TEXT|size=N | ended P1 [failed] | policy of the dialect: ms off|only|version=N|alternate=ADDR. False: none
 * of these. */
bool ms_play(struct stage *s, const struct words *x);
/* A message or data to a client of the dialect. False: it has not spoken it. */
bool ms_show(struct stage *s, const struct act *act);

#endif
