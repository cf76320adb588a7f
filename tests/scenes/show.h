/* Writes what happened as the lines of a scene. Random things get names in the order of their appearance: R1 a relayed
 * port, P1 a peer connection, C1 a CONNECTION-ID, T1 a RESERVATION-TOKEN. */
#ifndef SCENES_SHOW_H
#define SCENES_SHOW_H

#include "scenes/stage.h"

/* "R1" as clients know it; "R1.local" where it is bound, if that differs. */
const char *show_addr(const struct stage *s, const struct addr *a, char buf[ADDR_TEXT_MAX]);
/* A payload. */
void show_text(struct stage *s, struct span bytes);
void show_to_client(struct stage *s, const struct act *act);
void show_event(struct stage *s, const struct ev *e);

#endif
