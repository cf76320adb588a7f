#include "core/txn.h"

void txn_start(struct txn *t, const uint8_t tid[STUN_TID], uint32_t rto_ms, uint64_t now_ms)
{
    *t = (struct txn){.sent_ms = now_ms, .rto_ms = rto_ms, .sends = 1};
    memcpy(t->tid, tid, STUN_TID);
    t->deadline_ms = now_ms + (rto_ms ? rto_ms : TXN_TI_MS);
}

/* RFC 8489 s.6.2.1: the interval doubles with each request; after the last one, Rm * RTO. */
static uint64_t wait_after(const struct txn *t)
{
    return t->sends < TXN_RC ? (uint64_t)t->rto_ms << (t->sends - 1) : (uint64_t)t->rto_ms * TXN_RM;
}

enum txn_step txn_tick(struct txn *t, uint64_t now_ms)
{
    if (now_ms < t->deadline_ms)
        return TXN_WAIT;
    if (t->rto_ms == 0 || t->sends >= TXN_RC)
        return TXN_TIMEOUT;
    t->sends++;
    t->deadline_ms = now_ms + wait_after(t);
    return TXN_RESEND;
}

bool txn_is_mine(const struct txn *t, const struct stun_msg *m)
{
    bool is_answer = m->cls == STUN_SUCCESS || m->cls == STUN_ERROR;
    return is_answer && memcmp(t->tid, stun_tid(m), STUN_TID) == 0;
}

int64_t txn_rtt_ms(const struct txn *t, uint64_t now_ms)
{
    return t->sends == 1 ? (int64_t)(now_ms - t->sent_ms) : -1;
}
