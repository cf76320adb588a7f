/* First bytes: a decision once taken stays, comes in time, and agrees with what the rest of frame.h says. */
#include "harness.h"
#include "wire/frame.h"

static int sniff(struct span s, enum speech_kind *kind)
{
    struct span block = block_new(s);
    int err = sniff_stream(block, kind);
    must(err == 0 || err == ERR_SHORT);
    block_free(block);
    return err;
}

static void check_stream(struct span s)
{
    enum speech_kind decided = SPEECH_UNKNOWN, kind;
    bool is_decided = false;
    for (size_t n = 0; n <= s.n && n <= PSEUDOTLS_HELLO + 4; n++) {
        int err = sniff(span_take(s, n), &kind);
        must(!(is_decided && (err || kind != decided)));
        must(!(err && n >= PSEUDOTLS_HELLO));
        if (err)
            continue;
        is_decided = true;
        decided = kind;
    }
    if (s.n >= PSEUDOTLS_HELLO)
        must(pseudotls_is_hello(s.p) == (decided == SPEECH_PSEUDOTLS));
    if (is_decided && decided == SPEECH_STUN && s.n >= 8) {
        struct frame f;
        must(frame_next_stun(s, &f) != ERR_BAD && f.kind == FRAME_STUN);
    }
}

static void check_datagram(struct span s)
{
    struct span block = block_new(s);
    struct frame f;
    if (sniff_datagram(block) != SPEECH_CHANNEL)
        must(frame_channel_datagram(block, &f) == ERR_BAD);
    block_free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_stream(span_of(data, size));
    check_datagram(span_of(data, size));
    return 0;
}
