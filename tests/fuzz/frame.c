/* Framings: a stream that comes in pieces gives the frames that it gives at once. Input: the framing, a seed for the
 * pieces, the stream. */
#include "wire/frame.h"
#include "harness.h"

static int (*const framings[])(struct span in, struct frame *out) = {frame_next_stun, frame_next_msturn,
                                                                     frame_next_rfc4571};

/* The next frame of a block that ends where the bytes end; its body is given relative to `in`. */
static int next(int framing, struct span in, struct frame *out)
{
    struct span block = block_new(in);
    int err = framings[framing](block, out);
    must(err == 0 || err == ERR_SHORT || err == ERR_BAD);
    if (err == 0) {
        must(out->size > 0 && out->size <= in.n && out->size <= FRAME_STREAM_MAX);
        must(out->body.p >= block.p && out->body.n <= out->size);
        const size_t body_at = (size_t)(out->body.p - block.p);
        must(body_at + out->body.n <= out->size);
        out->body.p = in.p + body_at;
    }
    must(err != ERR_SHORT || out->size == 0 || out->size > in.n);
    block_free(block);
    return err;
}

static bool is_same(const struct frame *a, const struct frame *b)
{
    return a->kind == b->kind && a->channel == b->channel && a->size == b->size && a->body.p == b->body.p &&
           a->body.n == b->body.n;
}

/* Feeds the stream in pieces of 1 to 16 bytes and takes the next frame as soon as it is whole. */
static void check_pieces(int framing, struct span stream, uint32_t seed)
{
    size_t from = 0, have = 0;
    int err = ERR_SHORT;
    while (err != ERR_BAD && have < stream.n) {
        seed = seed * 1664525 + 1013904223;
        have += 1 + (seed >> 28);
        have = have < stream.n ? have : stream.n;
        struct frame pieces, whole;
        while ((err = next(framing, span_of(stream.p + from, have - from), &pieces)) == 0) {
            must(next(framing, span_of(stream.p + from, stream.n - from), &whole) == 0 && is_same(&pieces, &whole));
            from += pieces.size;
        }
        int in_the_end = next(framing, span_of(stream.p + from, stream.n - from), &whole);
        must(err != ERR_BAD || in_the_end == ERR_BAD);
        must(err != ERR_SHORT || in_the_end != 0 || pieces.size == 0 || pieces.size == whole.size);
    }
}

static void check_datagram(struct span s)
{
    struct span block = block_new(s);
    struct frame f;
    if (frame_channel_datagram(block, &f) == 0) {
        uint8_t header[CHANNEL_HEADER];
        frame_channel_header(header, f.channel, f.body.n);
        must(memcmp(header, block.p, sizeof header) == 0 && f.body.p == block.p + 4 && f.body.n + 4 <= block.n);
    }
    block_free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct span stream = span_of(data + 2, size - 2);
    check_pieces(data[0] % (sizeof framings / sizeof *framings), stream, data[1]);
    check_datagram(stream);
    return 0;
}
