/* STUN and TURN messages of all dialects: a view for reading, a cursor for writing. No heap, no clock, no socket.
 *
 * RFC 8489 (s.5, 14, 15), RFC 8656 (s.18), RFC 6062 (s.6), MS-TURN, MS-ICE2. Not here: streams and ChannelData
 * (wire/frame), who may do what (core/).
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |0 0|     message type          |        message length         |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |                  magic cookie 0x2112a442                      |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |                transaction id (96 bits)                       |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
#ifndef WIRE_STUN_H
#define WIRE_STUN_H

#include "base/addr.h"
#include "base/digest.h"
#include "wire/stun_dialect.h"

enum {
    STUN_HEADER = 20,
    STUN_TID = 16,         /* bytes 4..19: cookie and transaction id together, copied as one */
    STUN_ATTRS_MAX = 80,   /* more attributes in a message are refused (a CreatePermission may name many peers) */
    STUN_UNKNOWN_MAX = 16, /* unknown comprehension-required types remembered for the 420 */
    STUN_KEY_MAX = 64,
};
#define STUN_COOKIE 0x2112a442u

struct stun_attr {
    uint16_t type; /* wire type */
    uint16_t at;   /* enum stun_at */
    uint16_t pos;  /* offset of the value in the message */
    uint16_t n;    /* its length, without padding */
};

/* A view over a received message; borrows the bytes. */
struct stun_msg {
    struct span raw; /* the whole message, header included */
    const struct stun_dialect *dialect;
    uint8_t method, cls;
    uint16_t type; /* wire type */
    uint8_t attrs_n;
    uint8_t unknown_n; /* unknown comprehension-required attributes (< 0x8000) seen in the covered part */
    uint16_t unknown[STUN_UNKNOWN_MAX];
    struct stun_attr attrs[STUN_ATTRS_MAX];
};

/* Builds the index. The span must hold exactly one message (header length + 20 bytes, checked).
 * Rules kept here: first two bits zero, cookie present where the dialect has one, attributes inside the message, length
 * multiple of 4 where the dialect aligns; lengths of known attributes within the table's bounds; FINGERPRINT last (RFC
 * 8489 s.14.7); attributes behind MESSAGE-INTEGRITY other than MESSAGE-INTEGRITY-SHA256 and FINGERPRINT, and all behind
 * -SHA256 except FINGERPRINT, are not indexed (s.14.5: ignored; for the MS-TURN dialect: everything behind it is
 * ignored). Of attributes that may stand once, duplicates keep only the first (s.14); XOR-PEER-ADDRESS may repeat. 0,
 * ERR_SHORT (not even a header, or fewer bytes than the length says), ERR_BAD, ERR_FULL (too many attributes). After
 * ERR_BAD by an attribute (not by the header) `method`, `cls` and `raw` are valid, so that a 400 can be sent. */
int stun_parse(const struct stun_dialect *d, struct span raw, struct stun_msg *m);

/* The 16 bytes 4..19 of the header. */
static inline const uint8_t *stun_tid(const struct stun_msg *m)
{
    return m->raw.p + 4;
}

/* The first attribute of this meaning, or NULL. */
const struct stun_attr *stun_find(const struct stun_msg *m, enum stun_at at);
/* The next one after `a` of the same meaning, or NULL. */
const struct stun_attr *stun_find_next(const struct stun_msg *m, const struct stun_attr *a);
static inline bool stun_has(const struct stun_msg *m, enum stun_at at)
{
    return stun_find(m, at) != NULL;
}
static inline struct span stun_value(const struct stun_msg *m, const struct stun_attr *a)
{
    return (struct span){m->raw.p + a->pos, a->n};
}
/* The value of the first attribute of this meaning: 0, or ERR_NONE when it is absent, ERR_BAD when its form is wrong.
 */
int stun_get_bytes(const struct stun_msg *m, enum stun_at at, struct span *out);
int stun_get_u8(const struct stun_msg *m, enum stun_at at, uint8_t *out);
int stun_get_u16(const struct stun_msg *m, enum stun_at at, uint16_t *out);
int stun_get_u32(const struct stun_msg *m, enum stun_at at, uint32_t *out);
int stun_get_u64(const struct stun_msg *m, enum stun_at at, uint64_t *out);
int stun_get_addr(const struct stun_msg *m, enum stun_at at, struct addr *out);
/* Decodes the address in one attribute (XORed or in clear, as the dialect's table says). 0 or ERR_BAD. */
int stun_attr_addr(const struct stun_msg *m, const struct stun_attr *a, struct addr *out);
/* ERROR-CODE: 300..699 and the reason as sent. */
int stun_get_error(const struct stun_msg *m, int *code, struct span *reason);
/* ICMP (RFC 8656 s.18.13): type, code and the 4 error data bytes. */
struct stun_icmp {
    uint8_t type, code;
    uint32_t data;
};
int stun_get_icmp(const struct stun_msg *m, struct stun_icmp *out);

/* ---- keys, integrity, fingerprint ---- */

struct stun_key {
    uint8_t n;
    uint8_t bytes[STUN_KEY_MAX];
};

/* Short-term credential (RFC 8489 s.9.1.1): the password's bytes. ERR_FULL over STUN_KEY_MAX: such passwords are hashed
 * by nobody. */
int stun_key_short(struct stun_key *k, struct span password);
/* Long-term credential (s.9.2.2): MD5 or SHA-256 of user ":" realm ":" password (the caller has applied OpaqueString).
 */
int stun_key_md5(struct stun_key *k, struct span user, struct span realm, struct span password);
int stun_key_sha256(struct stun_key *k, struct span user, struct span realm, struct span password);
/* MS-TURN version 3 (microsoft.md A.5.2): two HMAC-SHA256 steps from nonce and password. */
int stun_key_ms_sha256(struct stun_key *k, struct span user, struct span realm, struct span nonce,
                       struct span password);
/* USERHASH (RFC 8489 s.14.4): SHA-256 of user ":" realm. */
int stun_userhash(struct span user, struct span realm, uint8_t out[SHA256_SIZE]);

/* Tries the dialect's integrity rules in order (or only `only`, unless it is INTEGRITY_NONE) and says in `*held` which
 * one verified. SHA-256 is judged by MESSAGE-INTEGRITY-SHA256 where present, SHA-1 by MESSAGE-INTEGRITY. Constant-time
 * compare. 0, ERR_NONE (no integrity attribute), ERR_DENIED (none held). */
int stun_verify(const struct stun_msg *m, const struct stun_key *k, enum integrity_rule only,
                enum integrity_rule *held);
/* 0, ERR_NONE (absent), ERR_DENIED (wrong). */
int stun_verify_fingerprint(const struct stun_msg *m);

/* ---- writing ---- */

struct stun_wr {
    struct wr w;
    const struct stun_dialect *dialect;
};

/* Starts a message in `buf`; `tid` is the 16 bytes 4..19 (see stun_tid); writes the cookie attribute where the dialect
 * has one. */
void stun_begin(struct stun_wr *s, const struct stun_dialect *d, void *buf, size_t cap, enum stun_method method,
                enum stun_class cls, const uint8_t tid[STUN_TID]);
/* A fresh transaction id: cookie (where the dialect has it) and random bytes. */
void stun_new_tid(const struct stun_dialect *d, uint8_t tid[STUN_TID]);
/* Attributes are dropped silently when the dialect's table lacks them; padding is always zero (checklist S36). */
void stun_put_bytes(struct stun_wr *s, enum stun_at at, struct span value);
void stun_put_flag(struct stun_wr *s, enum stun_at at);
void stun_put_u8(struct stun_wr *s, enum stun_at at, uint8_t v);
void stun_put_u16(struct stun_wr *s, enum stun_at at, uint16_t v);
void stun_put_u32(struct stun_wr *s, enum stun_at at, uint32_t v);
void stun_put_u64(struct stun_wr *s, enum stun_at at, uint64_t v);
void stun_put_addr(struct stun_wr *s, enum stun_at at, const struct addr *a);
/* ERROR-CODE with this reason; NULL = the standard phrase, "" = none. */
void stun_put_error(struct stun_wr *s, int code, const char *reason);
/* UNKNOWN-ATTRIBUTES from a refused message. */
void stun_put_unknown(struct stun_wr *s, const struct stun_msg *refused);
/* ADDRESS-ERROR-CODE (RFC 8656 s.18.12): the family that could not be had, and why. */
void stun_put_address_error(struct stun_wr *s, uint8_t family, int code);
void stun_put_icmp(struct stun_wr *s, const struct stun_icmp *icmp);
/* Appends MESSAGE-INTEGRITY (or -SHA256) by this rule; nothing for INTEGRITY_NONE. For the FULL rules
 * `fingerprint_follows` says whether a FINGERPRINT will be appended (its 8 bytes are counted in the length that is
 * hashed). */
void stun_put_integrity(struct stun_wr *s, enum integrity_rule rule, const struct stun_key *k,
                        bool fingerprint_follows);
void stun_put_fingerprint(struct stun_wr *s);
/* Fills in the length. The finished message, or an empty span when something did not fit (s->w.err says so). */
struct span stun_end(struct stun_wr *s);

#endif
