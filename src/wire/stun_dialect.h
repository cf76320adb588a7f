/* The dialects of STUN and TURN as constant tables.
 *
 * Code above names a method, class or attribute by its meaning (STUN_ALLOCATE, AT_REALM) and never sees a number of the
 * wire. A dialect is chosen once for a connection or a 5-tuple; nobody asks afterwards which one it is.
 *
 *   STUN_RFC      RFC 8489, 8656, 6062, 8445
 *   STUN_MSICE2   MS-ICE2 connectivity checks: RFC numbers, plus 0x8054 and 0x8070, own integrity rules
 *   STUN_MSTURN   MS-TURN: eight message types, other attribute numbers, no padding, cookie attribute first
 */
#ifndef WIRE_STUN_DIALECT_H
#define WIRE_STUN_DIALECT_H

#include "base/span.h"

enum stun_class { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };

enum stun_method {
    STUN_METHOD_UNKNOWN,
    STUN_BINDING,
    STUN_ALLOCATE,
    STUN_REFRESH,
    STUN_SEND,
    STUN_DATA,
    STUN_CREATE_PERMISSION,
    STUN_CHANNEL_BIND,
    STUN_CONNECT,                /* RFC 6062 */
    STUN_CONNECTION_BIND,        /* RFC 6062 */
    STUN_CONNECTION_ATTEMPT,     /* RFC 6062 */
    STUN_SET_ACTIVE_DESTINATION, /* MS-TURN */
    STUN_METHOD_COUNT
};

/* How the value of an attribute is laid out. */
enum attr_form {
    FORM_BYTES, /* opaque or text */
    FORM_FLAG,  /* empty */
    FORM_U8,  /* one octet, then reserved ones up to the table's length: three (family, protocol) or none (EVEN-PORT) */
    FORM_U16, /* two octets, then reserved ones: two (channel number) */
    FORM_U32,
    FORM_U64,
    FORM_ADDR,  /* address in clear */
    FORM_XADDR, /* address XORed with bytes 4..19 of the header: cookie and transaction id, or 16 bytes of the latter */
    FORM_ERROR, /* class, number, reason phrase */
};

enum stun_at {
    AT_UNKNOWN,
    AT_MAPPED_ADDRESS,
    AT_USERNAME,
    AT_MESSAGE_INTEGRITY,
    AT_ERROR_CODE,
    AT_UNKNOWN_ATTRIBUTES,
    AT_CHANNEL_NUMBER,
    AT_LIFETIME,
    AT_XOR_PEER_ADDRESS,
    AT_DATA,
    AT_REALM,
    AT_NONCE,
    AT_XOR_RELAYED_ADDRESS,
    AT_REQUESTED_ADDRESS_FAMILY,
    AT_EVEN_PORT,
    AT_REQUESTED_TRANSPORT,
    AT_DONT_FRAGMENT,
    AT_MESSAGE_INTEGRITY_SHA256,
    AT_PASSWORD_ALGORITHM,
    AT_USERHASH,
    AT_XOR_MAPPED_ADDRESS,
    AT_RESERVATION_TOKEN,
    AT_PRIORITY,
    AT_USE_CANDIDATE,
    AT_CONNECTION_ID,
    AT_ADDITIONAL_ADDRESS_FAMILY,
    AT_ADDRESS_ERROR_CODE,
    AT_PASSWORD_ALGORITHMS,
    AT_ALTERNATE_DOMAIN,
    AT_ICMP,
    AT_SOFTWARE,
    AT_ALTERNATE_SERVER,
    AT_FINGERPRINT,
    AT_ICE_CONTROLLED,
    AT_ICE_CONTROLLING,
    /* Microsoft */
    AT_MAGIC_COOKIE,
    AT_BANDWIDTH,
    AT_DESTINATION_ADDRESS,
    AT_REMOTE_ADDRESS,
    AT_MS_VERSION,
    AT_MS_ALTERNATE_HOST_NAME,
    AT_MS_APP_ID,
    AT_MS_SECURE_TAG,
    AT_MS_SEQUENCE_NUMBER,
    AT_MS_SERVICE_QUALITY,
    AT_MS_ALTERNATE_MAPPED_ADDRESS,
    AT_MS_MULTIPLEXED_TURN_SESSION_ID,
    AT_CANDIDATE_IDENTIFIER,
    AT_IMPLEMENTATION_VERSION,
    AT_COUNT
};

struct stun_type_row {
    uint16_t type; /* on the wire */
    uint8_t method, cls;
};

struct stun_at_row {
    uint16_t type;     /* on the wire */
    uint16_t min, max; /* length of the value in bytes */
    uint8_t step;      /* the length is min, min + step ... max */
    uint8_t at;        /* enum stun_at; AT_UNKNOWN in a row the dialect does not have */
    uint8_t form;      /* enum attr_form */
    bool repeats;      /* may stand more than once; of all others only the first counts (RFC 8489 s.14) */
};

/* What the text of a MESSAGE-INTEGRITY is. Tried in the order of the dialect; the one that held is answered in. "Pad"
 * means zero bytes behind the text up to the next multiple of 64. */
enum integrity_rule {
    INTEGRITY_NONE,
    INTEGRITY_RFC,        /* HMAC-SHA1; length field ends with the attribute (RFC 8489 s.14.5) */
    INTEGRITY_RFC_SHA256, /* HMAC-SHA256 in MESSAGE-INTEGRITY-SHA256, all 32 bytes (s.14.6: shorter only where a usage
                           * allows it, and neither TURN nor ICE does) */
    INTEGRITY_FULL_PAD64, /* HMAC-SHA1; length field as sent, text zero-padded to 64 (MS-ICE2, MS-TURN) */
    INTEGRITY_FULL,       /* HMAC-SHA1; length field as sent, no padding */
    INTEGRITY_RFC_PAD64,  /* HMAC-SHA1; length field ends with the attribute, text zero-padded to 64 */
    INTEGRITY_MS_SHA256,  /* HMAC-SHA256, 32 bytes in MESSAGE-INTEGRITY, text as FULL_PAD64; caller derives the key */
    INTEGRITY_COUNT
};

struct stun_dialect {
    const char *name;
    const struct stun_type_row *types; /* NULL: the RFC bit layout of method and class */
    size_t types_n;
    const struct stun_at_row *attrs; /* AT_COUNT rows, by meaning */
    const uint8_t *ats;              /* enum stun_at by wire type, see stun_dialect_attr_type */
    uint8_t align;                   /* attributes start at multiples of this: 4 or 1 (a power of 2) */
    bool cookie_in_header;           /* 0x2112a442 in bytes 4-7, transaction id of 12 bytes */
    bool cookie_attribute;           /* 000f 0004 72c64bc6 is the first attribute */
    bool quirk_fingerprint;          /* the damaged CRC table is accepted where IMPLEMENTATION-VERSION is absent */
    uint8_t rules[6];                /* enum integrity_rule, in the order to try; INTEGRITY_NONE ends it */
};

extern const struct stun_dialect STUN_RFC, STUN_MSICE2, STUN_MSTURN;

/* The row for a meaning, or NULL when the dialect has no such attribute. */
static inline const struct stun_at_row *stun_dialect_attr(const struct stun_dialect *d, enum stun_at at)
{
    return at < AT_COUNT && d->attrs[at].at ? &d->attrs[at] : NULL;
}
/* All attribute types in use lie in 0x0000..0x00ff and 0x8000..0x80ff; each has a slot in `ats`. */
enum { STUN_AT_SLOTS = 512 };
#define STUN_AT_SLOT(type) (((type) >> 15) << 8 | ((type)&0xff))
/* The row for a wire type, or NULL when it is unknown to the dialect. */
static inline const struct stun_at_row *stun_dialect_attr_type(const struct stun_dialect *d, uint16_t type)
{
    return type & 0x7f00 ? NULL : stun_dialect_attr(d, (enum stun_at)d->ats[STUN_AT_SLOT(type)]);
}
/* May a value of this row have this length? */
static inline bool stun_at_row_fits(const struct stun_at_row *row, size_t n)
{
    return n >= row->min && n <= row->max && (row->step == 1 || (n - row->min) % row->step == 0);
}
/* The bytes that a value takes with its padding. */
static inline size_t stun_dialect_padded(const struct stun_dialect *d, size_t n)
{
    return (n + d->align - 1) & ~(size_t)(d->align - 1);
}
/* Message type of the wire to method and class; method STUN_METHOD_UNKNOWN with the right class for an unknown RFC
 * method. ERR_BAD when the dialect has no such type at all (first two bits not zero included). */
int stun_dialect_type(const struct stun_dialect *d, uint16_t type, uint8_t *method, uint8_t *cls);
/* Method and class to the message type of the wire; 0xffff when the dialect lacks the pair. */
uint16_t stun_dialect_type_of(const struct stun_dialect *d, enum stun_method method, enum stun_class cls);

/* Standard names for people: "Allocate", "XOR-PEER-ADDRESS"; never NULL. */
const char *stun_method_name(uint8_t method);
const char *stun_class_name(uint8_t cls);
const char *stun_at_name(uint8_t at);
/* The standard reason phrase of an error code (RFC 8489 s.14.8, 8656 s.19, 6062 s.6.3; MS-TURN), or "Error". */
const char *stun_reason(int code);

#endif
