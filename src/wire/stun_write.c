#include "base/rand.h"
#include "wire/stun.h"

void stun_new_tid(const struct stun_dialect *d, uint8_t tid[STUN_TID])
{
    rand_bytes(tid, STUN_TID);
    if (d->cookie_in_header)
        be32_put(tid, STUN_COOKIE);
}

void stun_begin(struct stun_wr *s, const struct stun_dialect *d, void *buf, size_t cap, enum stun_method method,
                enum stun_class cls, const uint8_t tid[STUN_TID])
{
    *s = (struct stun_wr){wr_of(buf, cap), d};
    const uint16_t type = stun_dialect_type_of(d, method, cls);
    wr_u16(&s->w, type);
    wr_u16(&s->w, 0);
    wr_bytes(&s->w, span_of(tid, STUN_TID));
    if (type == 0xffff)
        s->w.err = ERR_BAD;
    if (d->cookie_attribute)
        stun_put_u32(s, AT_MAGIC_COOKIE, STUN_MS_COOKIE);
}

struct span stun_end(struct stun_wr *s)
{
    if (!s->w.err && wr_len(&s->w) > STUN_HEADER + 0xffff)
        s->w.err = ERR_FULL;
    if (s->w.err)
        return (struct span){0};
    be16_put(s->w.base + 2, (uint16_t)(wr_len(&s->w) - STUN_HEADER));
    return wr_span(&s->w);
}

/* ---- attributes ---- */

/* Writes the header and zero padding of an attribute and returns where its `n` value bytes go. NULL when the dialect
 * has no such attribute, or when the message is spoilt: no room, or a length that the table does not allow. */
static uint8_t *put_header(struct stun_wr *s, const struct stun_at_row *row, size_t n)
{
    if (!row || s->w.err)
        return NULL;
    if (!stun_at_row_fits(row, n)) {
        s->w.err = ERR_BAD;
        return NULL;
    }
    const size_t padded = stun_dialect_padded(s->dialect, n);
    uint8_t *p = wr_room(&s->w, 4 + padded);
    if (!p)
        return NULL;
    be16_put(p, row->type);
    be16_put(p + 2, (uint16_t)n);
    memset(p + 4 + n, 0, padded - n);
    return p + 4;
}

void stun_put_bytes(struct stun_wr *s, enum stun_at at, struct span value)
{
    uint8_t *p = put_header(s, stun_dialect_attr(s->dialect, at), value.n);
    if (p && value.n)
        memcpy(p, value.p, value.n);
}

void stun_put_padded(struct stun_wr *s, enum stun_at at, struct span value)
{
    const size_t padded = (value.n + 3) / 4 * 4;
    uint8_t *p = put_header(s, stun_dialect_attr(s->dialect, at), padded);
    if (!p)
        return;
    memset(p, 0, padded);
    if (value.n)
        memcpy(p, value.p, value.n);
}

void stun_put_flag(struct stun_wr *s, enum stun_at at)
{
    put_header(s, stun_dialect_attr(s->dialect, at), 0);
}

/* Room for a number: zero bytes of the table's length. Another form than the table's spoils the message. */
static uint8_t *put_number(struct stun_wr *s, enum stun_at at, enum attr_form form)
{
    const struct stun_at_row *row = stun_dialect_attr(s->dialect, at);
    if (row && row->form != form) {
        s->w.err = ERR_BAD;
        return NULL;
    }
    uint8_t *p = row ? put_header(s, row, row->min) : NULL;
    if (p)
        memset(p, 0, row->min);
    return p;
}

void stun_put_u8(struct stun_wr *s, enum stun_at at, uint8_t v)
{
    uint8_t *p = put_number(s, at, FORM_U8);
    if (p)
        p[0] = v;
}

void stun_put_u16(struct stun_wr *s, enum stun_at at, uint16_t v)
{
    uint8_t *p = put_number(s, at, FORM_U16);
    if (p)
        be16_put(p, v);
}

void stun_put_u32(struct stun_wr *s, enum stun_at at, uint32_t v)
{
    uint8_t *p = put_number(s, at, FORM_U32);
    if (p)
        be32_put(p, v);
}

void stun_put_u64(struct stun_wr *s, enum stun_at at, uint64_t v)
{
    uint8_t *p = put_number(s, at, FORM_U64);
    if (p)
        be64_put(p, v);
}

/* Layout and XOR: see stun_attr_addr. */
void stun_put_addr(struct stun_wr *s, enum stun_at at, const struct addr *a)
{
    static const uint8_t clear[STUN_TID];
    const struct stun_at_row *row = stun_dialect_attr(s->dialect, at);
    const size_t size = addr_ip_size(a);
    uint8_t *p = put_header(s, row, 4 + size);
    if (!p)
        return;
    const uint8_t *mask = row->form == FORM_XADDR ? s->w.base + 4 : clear;
    p[0] = 0;
    p[1] = size == 4 ? STUN_FAMILY_V4 : STUN_FAMILY_V6;
    be16_put(p + 2, a->port ^ be16_get(mask));
    for (size_t i = 0; i < size; i++)
        p[4 + i] = a->ip[i] ^ mask[i];
}

static void put_error_value(struct stun_wr *s, enum stun_at at, uint8_t family, int code, const char *reason)
{
    const struct span text = span_str(reason);
    if (code < 300 || code > 699)
        s->w.err = ERR_BAD;
    uint8_t *p = put_header(s, stun_dialect_attr(s->dialect, at), 4 + text.n);
    if (!p)
        return;
    p[0] = family;
    p[1] = 0;
    p[2] = (uint8_t)(code / 100);
    p[3] = (uint8_t)(code % 100);
    if (text.n)
        memcpy(p + 4, text.p, text.n);
}

void stun_put_error(struct stun_wr *s, int code, const char *reason)
{
    put_error_value(s, AT_ERROR_CODE, 0, code, reason ? reason : stun_reason(code));
}

void stun_put_address_error(struct stun_wr *s, uint8_t family, int code)
{
    put_error_value(s, AT_ADDRESS_ERROR_CODE, family, code, stun_reason(code));
}

void stun_put_unknown(struct stun_wr *s, const struct stun_msg *refused)
{
    const size_t n = refused->unknown_n;
    uint8_t *p = put_header(s, stun_dialect_attr(s->dialect, AT_UNKNOWN_ATTRIBUTES), 2 * n);
    for (size_t i = 0; p && i < n; i++)
        be16_put(p + 2 * i, refused->unknown[i]);
}

/* The figure of RFC 8656 s.18.13 draws 7 bits for the type, which cannot hold ICMPv6's; the field's decoders read an
 * octet each for type and code. */
void stun_put_icmp(struct stun_wr *s, const struct stun_icmp *icmp)
{
    uint8_t *p = put_header(s, stun_dialect_attr(s->dialect, AT_ICMP), 8);
    if (!p)
        return;
    be16_put(p, 0);
    p[2] = icmp->type;
    p[3] = icmp->code;
    be32_put(p + 4, icmp->data);
}
