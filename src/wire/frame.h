/* How messages lie in a stream, and what a stream or datagram speaks, judged by its first bytes.
 *
 * STUN and ChannelData over TCP (RFC 8656 s.12.5: padded to 4), RFC 4571 (16-bit length), MS-TURN frames (type 2/3),
 * pseudo-TLS hello, TLS and DTLS records (recognised, not decoded), TPKT (RDP), HTTP, SIP (recognised). Nothing is
 * copied: frames are spans into the caller's bytes.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "base/span.h"

/* ---- what is spoken ---- */

enum speech_kind {
    SPEECH_UNKNOWN,   /* none of the below: close */
    SPEECH_STUN,      /* STUN, and ChannelData after it */
    SPEECH_CHANNEL,   /* datagram only: ChannelData first */
    SPEECH_MSTURN,    /* MS-TURN frames (stream), MS-TURN message (datagram) */
    SPEECH_PSEUDOTLS, /* Microsoft's pseudo-TLS hello */
    SPEECH_TLS,
    SPEECH_DTLS,
    SPEECH_RFC4571, /* 16-bit length before each packet; recognised by a first packet that is STUN */
    SPEECH_TPKT,    /* RDP without RTP */
    SPEECH_HTTP,
    SPEECH_SIP,
};

const char *speech_name(enum speech_kind kind);

/* Judges the first bytes of a TCP connection that a client opened. ERR_SHORT: more bytes are needed (at most
 * PSEUDOTLS_HELLO). */
int sniff_stream(struct span first, enum speech_kind *out);
/* Judges one datagram (RFC 7983 ranges; MS-TURN by its cookie attribute at byte 20). */
enum speech_kind sniff_datagram(struct span datagram);

/* ---- STUN and ChannelData in a stream ---- */

enum frame_kind { FRAME_STUN, FRAME_CHANNEL, FRAME_MS_CONTROL, FRAME_MS_DATA, FRAME_RFC4571 };

struct frame {
    enum frame_kind kind;
    struct span
        body; /* STUN: the whole message; ChannelData, MS-TURN and RFC 4571: the payload without header and padding */
    uint16_t channel; /* ChannelData */
    size_t size;      /* bytes of the stream that the frame takes, header and padding included */
};

/* RFC 8656 s.12 ends channel numbers at 0x4fff; clients of RFC 5766, which are in use, choose up to 0x7fff. */
enum { CHANNEL_HEADER = 4, CHANNEL_MIN = 0x4000, CHANNEL_LAST_RFC8656 = 0x4fff, CHANNEL_MAX = 0x7fff };
enum { FRAME_STREAM_MAX = 20 + 65532 }; /* the longest frame of all: a STUN message */

/* Each returns 0 with the frame, ERR_SHORT (then `out->size` = bytes needed in total as far as known, 0 if unknown), or
 * ERR_BAD (the stream is lost: close). */
int frame_next_stun(struct span in, struct frame *out);
int frame_next_msturn(struct span in, struct frame *out);
int frame_next_rfc4571(struct span in, struct frame *out);
/* Where a stream of RFC 4571 packets is cut into pieces: one packet each with its length, so that a receiver that does
 * not put pieces together finds whole packets (microsoft.md A.1.2). Starts as zero bytes. */
struct rfc4571_cut {
    uint32_t owed; /* bytes of a packet that was cut short: what comes next belongs to it */
    bool has_high; /* the first byte of a length has gone, */
    uint8_t high;  /* and is this */
};
/* The size of the next piece of `in`, at most `max`; 0: wait for the rest of the packet. `hurry`: there is no waiting,
 * what is there is a piece. A packet over `max` goes in pieces as they come, and so does a stream of something else. */
size_t rfc4571_next(struct rfc4571_cut *cut, struct span in, size_t max, bool hurry);
/* ChannelData in a datagram (RFC 8656 s.12.4): padding optional, extra bytes behind the length ignored. 0 or ERR_BAD.
 */
int frame_channel_datagram(struct span in, struct frame *out);

/* Writes the 4-byte ChannelData header. */
void frame_channel_header(uint8_t out[CHANNEL_HEADER], uint16_t channel, size_t payload_size);
/* Zero bytes that must follow a payload of this size in a stream: 0..3. */
static inline size_t frame_channel_padding(size_t payload_size)
{
    return (4 - (payload_size & 3)) & 3;
}
/* MS-TURN frame header: 2 = control, 3 = data. */
void frame_msturn_header(uint8_t out[4], enum frame_kind kind, size_t payload_size);

/* ---- pseudo-TLS (microsoft.md A.1.3) ---- */

enum { PSEUDOTLS_HELLO = 50, PSEUDOTLS_ANSWER = 83 };
bool pseudotls_is_hello(const uint8_t hello[PSEUDOTLS_HELLO]);
void pseudotls_hello(uint8_t out[PSEUDOTLS_HELLO], const uint8_t random[32]);
void pseudotls_answer(uint8_t out[PSEUDOTLS_ANSWER], const uint8_t random[32], const uint8_t session_id[32]);
/* The server's answer as a client must accept it (random and session id free). */
bool pseudotls_is_answer(const uint8_t answer[PSEUDOTLS_ANSWER]);

#endif
