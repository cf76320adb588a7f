#include "wire/stun.h"

_Static_assert(AT_COUNT <= 64, "stun_msg.has is a bit set of meanings");
#define BIT(at) (UINT64_C(1) << (at))

/* ---- building the index ---- */

/* MS-TURN: the cookie attribute is the first (microsoft.md A.2). */
static bool has_cookie_attribute(struct span raw)
{
    static const uint8_t cookie[8] = {0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6};
    return raw.n >= STUN_HEADER + sizeof cookie && memcmp(raw.p + STUN_HEADER, cookie, sizeof cookie) == 0;
}

/* RFC 8489 s.6.3: what is wrong here is no message of this dialect. */
static int parse_header(struct span raw, struct stun_msg *m)
{
    const struct stun_dialect *d = m->dialect;
    if (raw.n < STUN_HEADER)
        return ERR_SHORT;
    size_t length = be16_get(raw.p + 2);
    m->type = be16_get(raw.p);
    if (stun_dialect_type(d, m->type, &m->method, &m->cls) || stun_dialect_padded(d, length) != length ||
        (d->cookie_in_header && be32_get(raw.p + 4) != STUN_COOKIE))
        return ERR_BAD;
    if (raw.n != STUN_HEADER + length)
        return raw.n < STUN_HEADER + length ? ERR_SHORT : ERR_BAD;
    if (d->cookie_attribute && !has_cookie_attribute(raw))
        return ERR_BAD;
    m->raw = raw;
    return 0;
}

/* Remembers a comprehension-required type for the 420 (RFC 8489 s.6.3.1), each once, as many as there is room for. */
static void remember_unknown(struct stun_msg *m, uint16_t type)
{
    for (int i = 0; i < m->unknown_n; i++)
        if (m->unknown[i] == type)
            return;
    if (type < 0x8000 && m->unknown_n < STUN_UNKNOWN_MAX)
        m->unknown[m->unknown_n++] = type;
}

/* Which meanings still count behind an attribute of this one (checklist S19, S20). */
static uint64_t still_counted(uint64_t counted, const struct stun_at_row *row)
{
    if (row->at == AT_MESSAGE_INTEGRITY)
        return counted & (BIT(AT_MESSAGE_INTEGRITY_SHA256) | BIT(AT_FINGERPRINT));
    if (row->at == AT_MESSAGE_INTEGRITY_SHA256)
        return counted & BIT(AT_FINGERPRINT);
    return row->repeats ? counted : counted & ~BIT(row->at);
}

static int parse_attributes(struct stun_msg *m)
{
    const uint8_t *p = m->raw.p;
    const struct stun_dialect *d = m->dialect;
    const size_t end = m->raw.n;
    uint64_t counted = UINT64_MAX;

    for (size_t pos = STUN_HEADER, next; pos < end; pos = next) {
        if (end - pos < 4)
            return ERR_BAD;
        const uint16_t type = be16_get(p + pos), n = be16_get(p + pos + 2);
        next = pos + 4 + stun_dialect_padded(d, n);
        if (next > end)
            return ERR_BAD;
        const struct stun_at_row *row = stun_dialect_attr_type(d, type);
        const uint8_t at = row ? row->at : AT_UNKNOWN;
        if (!(counted & BIT(at)))
            continue;
        if (row && (!stun_at_row_fits(row, n) || (at == AT_FINGERPRINT && next != end)))
            return ERR_BAD;
        if (m->attrs_n == STUN_ATTRS_MAX)
            return ERR_FULL;
        m->attrs[m->attrs_n++] = (struct stun_attr){(uint32_t)pos + 4, type, at, n};
        m->has |= BIT(at);
        if (row)
            counted = still_counted(counted, row);
        else
            remember_unknown(m, type);
    }
    return 0;
}

int stun_parse(const struct stun_dialect *d, struct span raw, struct stun_msg *m)
{
    m->raw = (struct span){raw.p, 0};
    m->dialect = d;
    m->has = 0;
    m->type = 0;
    m->method = m->cls = 0;
    m->attrs_n = m->unknown_n = 0;
    int err = parse_header(raw, m);
    return err ? err : parse_attributes(m);
}

/* ---- looking at attributes ---- */

static const struct stun_attr *find_from(const struct stun_msg *m, int first, unsigned at)
{
    for (int i = first; i < m->attrs_n; i++)
        if (m->attrs[i].at == at)
            return &m->attrs[i];
    return NULL;
}

const struct stun_attr *stun_find(const struct stun_msg *m, enum stun_at at)
{
    return at < AT_COUNT && m->has & BIT(at) ? find_from(m, 0, at) : NULL;
}

const struct stun_attr *stun_find_next(const struct stun_msg *m, const struct stun_attr *a)
{
    return find_from(m, (int)(a - m->attrs) + 1, a->at);
}

struct span stun_trim(struct span value)
{
    while (value.n > 0 && value.p[value.n - 1] == 0)
        value.n--;
    return value;
}

int stun_get_bytes(const struct stun_msg *m, enum stun_at at, struct span *out)
{
    const struct stun_attr *a = stun_find(m, at);
    if (!a)
        return ERR_NONE;
    *out = stun_value(m, a);
    return 0;
}

/* The value of an attribute that must be of this form in the dialect; its length was checked with the index. */
static int get_formed(const struct stun_msg *m, enum stun_at at, enum attr_form form, struct span *out)
{
    const struct stun_at_row *row = stun_dialect_attr(m->dialect, at);
    if (!row)
        return ERR_NONE; /* AT_UNKNOWN too, of which nobody checked the length */
    return row->form == form ? stun_get_bytes(m, at, out) : ERR_BAD;
}

int stun_get_u8(const struct stun_msg *m, enum stun_at at, uint8_t *out)
{
    struct span v;
    int err = get_formed(m, at, FORM_U8, &v);
    if (!err)
        *out = v.p[0];
    return err;
}

int stun_get_u16(const struct stun_msg *m, enum stun_at at, uint16_t *out)
{
    struct span v;
    int err = get_formed(m, at, FORM_U16, &v);
    if (!err)
        *out = be16_get(v.p);
    return err;
}

int stun_get_u32(const struct stun_msg *m, enum stun_at at, uint32_t *out)
{
    struct span v;
    int err = get_formed(m, at, FORM_U32, &v);
    if (!err)
        *out = be32_get(v.p);
    return err;
}

int stun_get_u64(const struct stun_msg *m, enum stun_at at, uint64_t *out)
{
    struct span v;
    int err = get_formed(m, at, FORM_U64, &v);
    if (!err)
        *out = be64_get(v.p);
    return err;
}

/* ---- addresses ---- */

/*  0 0 0 0 0 0 0 0 |    family     |             port              |   RFC 8489 s.14.1, 14.2: XORed with the bytes
 * +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+   from offset 4 of the header on, port and address
 * |                 address: 4 or 16 bytes                        |   each from the first of them */
int stun_attr_addr(const struct stun_msg *m, const struct stun_attr *a, struct addr *out)
{
    const struct stun_at_row *row = stun_dialect_attr(m->dialect, (enum stun_at)a->at);
    if (!row || (row->form != FORM_ADDR && row->form != FORM_XADDR))
        return ERR_BAD;
    const uint8_t *v = m->raw.p + a->pos;
    const size_t size = v[1] == STUN_FAMILY_V4 ? 4 : v[1] == STUN_FAMILY_V6 ? 16 : 0;
    if (size == 0 || a->n != 4 + size)
        return ERR_BAD;
    static const uint8_t clear[STUN_TID];
    const uint8_t *mask = row->form == FORM_XADDR ? stun_tid(m) : clear;
    *out = (struct addr){.family = size == 4 ? ADDR_V4 : ADDR_V6};
    out->port = be16_get(v + 2) ^ be16_get(mask);
    for (size_t i = 0; i < size && i < sizeof out->ip; i++)
        out->ip[i] = v[4 + i] ^ mask[i];
    return 0;
}

int stun_get_addr(const struct stun_msg *m, enum stun_at at, struct addr *out)
{
    const struct stun_attr *a = stun_find(m, at);
    return a ? stun_attr_addr(m, a, out) : ERR_NONE;
}

/* ---- attributes with fields ---- */

/* RFC 8489 s.14.8: 21 reserved bits, class 3..6, number 0..99, reason. */
int stun_get_error(const struct stun_msg *m, int *code, struct span *reason)
{
    struct span v;
    int err = get_formed(m, AT_ERROR_CODE, FORM_ERROR, &v);
    if (err)
        return err;
    const int hundreds = v.p[2] & 7, number = v.p[3];
    if (hundreds < 3 || hundreds > 6 || number > 99)
        return ERR_BAD;
    *code = hundreds * 100 + number;
    *reason = span_skip(v, 4);
    return 0;
}

int stun_get_icmp(const struct stun_msg *m, struct stun_icmp *out)
{
    struct span v;
    int err = stun_get_bytes(m, AT_ICMP, &v);
    if (err)
        return err;
    *out = (struct stun_icmp){v.p[2], v.p[3], be32_get(v.p + 4)};
    return 0;
}
