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
    STUN_UNKNOWN_MAX = 64, /* unknown comprehension-required types remembered for the 420 */
    STUN_KEY_MAX = 64,
    STUN_FAMILY_V4 = 1, /* as on the wire: REQUESTED-ADDRESS-FAMILY, ADDRESS-ERROR-CODE */
    STUN_FAMILY_V6 = 2,
};
#define STUN_COOKIE    0x2112a442u
#define STUN_MS_COOKIE 0x72c64bc6u /* value of MS-TURN's cookie attribute */

struct stun_attr {
    uint32_t pos;  /* offset of the value in the message (which may be 65552 bytes long) */
    uint16_t type; /* wire type */
    uint16_t at;   /* enum stun_at; AT_UNKNOWN for types that the dialect does not know */
    uint16_t n;    /* length of the value, without padding */
};

/* A view over a received message; borrows the bytes. */
struct stun_msg {
    struct span raw; /* the whole message, header included */
    const struct stun_dialect *dialect;
    uint64_t has; /* bit n: an attribute of the meaning n is indexed */
    uint8_t method, cls;
    uint16_t type; /* wire type */
    uint8_t attrs_n;
    uint8_t unknown_n; /* unknown comprehension-required types (< 0x8000) before the integrity attribute, each once */
    uint16_t unknown[STUN_UNKNOWN_MAX];
    struct stun_attr attrs[STUN_ATTRS_MAX];
};

/* Builds the index. The span must hold exactly one message (header length + 20 bytes, checked).
 *
 * Checked: first two bits zero, cookie where the dialect has one, message length a multiple of 4 where the dialect
 * aligns, attributes and their padding inside the message, lengths of known attributes within the table's bounds,
 * nothing behind FINGERPRINT (RFC 8489 s.14.7).
 * Not indexed: attributes behind MESSAGE-INTEGRITY other than MESSAGE-INTEGRITY-SHA256 and FINGERPRINT, and all behind
 * -SHA256 except FINGERPRINT (s.14.5, 14.6: ignored; MS-TURN has neither, so everything behind is ignored); the second
 * and further ones of attributes that may stand once (s.14). Padding is not looked at (s.14: ignored).
 *
 * 0, ERR_SHORT (not even a header, or fewer bytes than the length says), ERR_BAD, ERR_FULL (too many attributes).
 * When an attribute was the reason, `raw`, `method`, `cls` and what was indexed before it are valid, so that a 400 can
 * be sent; when the header or the cookie was, `raw` is empty and nothing should be answered. */
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
/* The value without the zero bytes at its end: for texts whose padding is counted in the length (MS-ICE2). */
struct span stun_trim(struct span value);
/* The value of the first attribute of this meaning: 0, or ERR_NONE when it is absent, ERR_BAD when its form is wrong
 * (`*out` is then untouched). u8 and u16 read the first octets and ignore reserved ones behind them. */
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
 * one verified. Where MESSAGE-INTEGRITY-SHA256 is present it decides alone; MESSAGE-INTEGRITY is then judged only when
 * `only` asks for it. Constant-time compare. 0, ERR_NONE (no integrity attribute that the rules look at), ERR_DENIED
 * (none held), ERR_CRYPTO; `*held` is INTEGRITY_NONE unless 0. */
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
/* Attributes are dropped silently when the dialect's table lacks them; padding is always zero (checklist S36). A value
 * whose length is outside the table's bounds spoils the message (s->w.err). u8 and u16 are followed by zero bytes up to
 * the table's length. */
void stun_put_bytes(struct stun_wr *s, enum stun_at at, struct span value);
/* The value with zero bytes up to a multiple of 4, counted in the length (MS-ICE2 version 2). */
void stun_put_padded(struct stun_wr *s, enum stun_at at, struct span value);
void stun_put_flag(struct stun_wr *s, enum stun_at at);
void stun_put_u8(struct stun_wr *s, enum stun_at at, uint8_t v);
void stun_put_u16(struct stun_wr *s, enum stun_at at, uint16_t v);
void stun_put_u32(struct stun_wr *s, enum stun_at at, uint32_t v);
void stun_put_u64(struct stun_wr *s, enum stun_at at, uint64_t v);
void stun_put_addr(struct stun_wr *s, enum stun_at at, const struct addr *a);
/* ERROR-CODE with this reason; NULL = the standard phrase, "" = none. Codes outside 300..699 spoil the message. */
void stun_put_error(struct stun_wr *s, int code, const char *reason);
/* UNKNOWN-ATTRIBUTES from a refused message. */
void stun_put_unknown(struct stun_wr *s, const struct stun_msg *refused);
/* ADDRESS-ERROR-CODE (RFC 8656 s.18.12): the family (STUN_FAMILY_...) that could not be had, and why. */
void stun_put_address_error(struct stun_wr *s, uint8_t family, int code);
void stun_put_icmp(struct stun_wr *s, const struct stun_icmp *icmp);
/* Appends MESSAGE-INTEGRITY (or -SHA256) by this rule; nothing for INTEGRITY_NONE. For the FULL rules
 * `fingerprint_follows` says whether a FINGERPRINT will be appended (its 8 bytes are counted in the length that is
 * hashed). A rule whose attribute the dialect lacks spoils the message, for nobody wants to send it unprotected. */
void stun_put_integrity(struct stun_wr *s, enum integrity_rule rule, const struct stun_key *k,
                        bool fingerprint_follows);
void stun_put_fingerprint(struct stun_wr *s);
/* Fills in the length. The finished message, or an empty span when something did not fit (s->w.err says so). */
struct span stun_end(struct stun_wr *s);

#endif
