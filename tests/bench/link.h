/* How the load generator gets its flows: the near end is dialled through a relay, the far end is accepted by this
 * process, and a hello of eight bytes says which far end belongs to which near end. Whoever adds another way through a
 * relay (TURN) adds a dialler here; what is done with the flows does not change.
 */
#ifndef BENCH_LINK_H
#define BENCH_LINK_H

#include "base/addr.h"
#include "sys/loop.h"

struct link_ops {
    /* Both ends of the flow are connected, non-blocking and in no loop; they belong to the callee. */
    void (*opened)(unsigned flow, int near, int far);
    /* No more flows can be opened: why. */
    void (*failed)(const char *why);
};

/* Opens `count` flows, at most 64 at the same time. `through`: the relay (or `far` itself: no relay); `far`: where this
 * process listens and whereto the relay forwards. Calls failed() when it cannot. */
void link_open(struct loop *l, const struct addr *through, const struct addr *far, unsigned count,
               const struct link_ops *ops);

#endif
