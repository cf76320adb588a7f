/* Messages of all dialects: what parses lies inside the input, can be asked for anything, and can be written again so
 * that it says the same. */
#include "wire/stun.h"
#include "harness.h"

static const struct stun_key key = {8, "sesame01"};

static bool is_protection(uint16_t at)
{
    return at == AT_MESSAGE_INTEGRITY || at == AT_MESSAGE_INTEGRITY_SHA256 || at == AT_FINGERPRINT;
}

/* ---- the index ---- */

static void check_index(const struct stun_msg *m)
{
    size_t end = STUN_HEADER;
    must(m->attrs_n <= STUN_ATTRS_MAX && m->unknown_n <= STUN_UNKNOWN_MAX);
    for (int i = 0; i < m->attrs_n; i++) {
        const struct stun_attr *a = &m->attrs[i];
        const struct stun_at_row *row = stun_dialect_attr(m->dialect, (enum stun_at)a->at);
        must(a->pos >= end + 4 && a->pos + a->n <= m->raw.n);
        must(row ? row->type == a->type : a->at == AT_UNKNOWN && !stun_dialect_attr_type(m->dialect, a->type));
        must(stun_find(m, (enum stun_at)a->at) <= a);
        if (row && !row->repeats)
            must(!stun_find_next(m, a));
        end = a->pos + a->n;
    }
    for (int i = 0; i < m->unknown_n; i++)
        must(m->unknown[i] < 0x8000 && !stun_dialect_attr_type(m->dialect, m->unknown[i]));
}

/* Every accessor for every meaning: absent, malformed or a value, and never a crash. */
static void ask_everything(const struct stun_msg *m)
{
    for (int i = 0; i < AT_COUNT + 2; i++) {
        const enum stun_at at = (enum stun_at)i;
        struct span bytes;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        struct addr addr;
        must((stun_get_bytes(m, at, &bytes) == 0) == stun_has(m, at));
        must(stun_get_u8(m, at, &u8) <= 0);
        must(stun_get_u16(m, at, &u16) <= 0);
        must(stun_get_u32(m, at, &u32) <= 0);
        must(stun_get_u64(m, at, &u64) <= 0);
        must(stun_get_addr(m, at, &addr) <= 0);
    }
    int code = 400;
    struct span reason;
    struct stun_icmp icmp;
    must(stun_get_error(m, &code, &reason) <= 0 && code >= 300 && code <= 699);
    must(stun_get_icmp(m, &icmp) <= 0);
}

static void verify_everything(const struct stun_msg *m)
{
    for (int rule = INTEGRITY_NONE; rule < INTEGRITY_COUNT; rule++) {
        enum integrity_rule held;
        int err = stun_verify(m, &key, (enum integrity_rule)rule, &held);
        must(err == 0 ? held != INTEGRITY_NONE : held == INTEGRITY_NONE);
        must(err == 0 || err == ERR_NONE || err == ERR_DENIED);
    }
    must(stun_verify_fingerprint(m) <= 0);
}

/* ---- writing again ---- */

/* One attribute by the function for its form. What is not valid in itself (an address of no family) is left out. */
static bool put_again(struct stun_wr *s, const struct stun_msg *m, const struct stun_attr *a)
{
    const struct stun_at_row *row = stun_dialect_attr(m->dialect, (enum stun_at)a->at);
    if (!row || is_protection(a->at) || a->at == AT_MAGIC_COOKIE)
        return false;
    const enum stun_at at = (enum stun_at)a->at;
    const uint8_t *v = m->raw.p + a->pos;
    struct addr addr;
    switch (row->form) {
    case FORM_FLAG: stun_put_flag(s, at); break;
    case FORM_U8: stun_put_u8(s, at, v[0]); break;
    case FORM_U16: stun_put_u16(s, at, be16_get(v)); break;
    case FORM_U32: stun_put_u32(s, at, be32_get(v)); break;
    case FORM_U64: stun_put_u64(s, at, be64_get(v)); break;
    case FORM_ADDR:
    case FORM_XADDR:
        if (stun_attr_addr(m, a, &addr) != 0)
            return false;
        stun_put_addr(s, at, &addr);
        break;
    default: stun_put_bytes(s, at, stun_value(m, a));
    }
    return true;
}

/* The octets that mean something: reserved ones are written as zero. */
static size_t octets_of(const struct stun_at_row *row, const struct stun_attr *a)
{
    return row->form == FORM_U8 ? 1 : row->form == FORM_U16 ? 2 : a->n;
}

static void check_same(const struct stun_msg *a, const struct stun_attr *x, const struct stun_msg *b,
                       const struct stun_attr *y)
{
    const struct stun_at_row *row = stun_dialect_attr(a->dialect, (enum stun_at)x->at);
    must(x->at == y->at && x->type == y->type && x->n == y->n);
    if (row->form == FORM_ADDR || row->form == FORM_XADDR) {
        struct addr one, other;
        must(stun_attr_addr(a, x, &one) == 0 && stun_attr_addr(b, y, &other) == 0 && addr_is_equal(&one, &other));
    } else {
        const size_t n = octets_of(row, x);
        must(memcmp(a->raw.p + x->pos, b->raw.p + y->pos, n) == 0);
    }
}

/* With our own integrity by the dialect's first rule and a fingerprint, which must then both hold. */
static void write_again(const struct stun_msg *m)
{
    static uint8_t buf[70000];
    static struct stun_msg again;
    const struct stun_attr *written[STUN_ATTRS_MAX];
    const enum integrity_rule rule = (enum integrity_rule)m->dialect->rules[0];
    struct stun_wr s;
    int n = 0;
    stun_begin(&s, m->dialect, buf, sizeof buf, (enum stun_method)m->method, (enum stun_class)m->cls, stun_tid(m));
    must((m->method == STUN_METHOD_UNKNOWN) == (s.w.err == ERR_BAD));
    for (int i = 0; i < m->attrs_n && !s.w.err; i++)
        if (put_again(&s, m, &m->attrs[i]))
            written[n++] = &m->attrs[i];
    stun_put_integrity(&s, rule, &key, true);
    stun_put_fingerprint(&s);
    const struct span got = stun_end(&s);
    if (s.w.err == ERR_FULL && m->raw.n > 65000)
        return;
    must((s.w.err == 0) == (m->method != STUN_METHOD_UNKNOWN));
    if (s.w.err || n > STUN_ATTRS_MAX - 3)
        return;

    enum integrity_rule held;
    must(stun_parse(m->dialect, got, &again) == 0);
    must(again.type == m->type && memcmp(stun_tid(&again), stun_tid(m), STUN_TID) == 0);
    const int first = m->dialect->cookie_attribute ? 1 : 0;
    must(again.attrs_n >= first + n);
    for (int i = 0; i < n; i++)
        check_same(m, written[i], &again, &again.attrs[first + i]);
    must(stun_verify(&again, &key, INTEGRITY_NONE, &held) == 0 && held == rule);
    must(stun_verify_fingerprint(&again) == (stun_dialect_attr(m->dialect, AT_FINGERPRINT) ? 0 : ERR_NONE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct stun_dialect *const dialects[] = {&STUN_RFC, &STUN_MSICE2, &STUN_MSTURN};
    static struct stun_msg m;
    struct span block = block_new(span_of(data, size));
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
        memset(&m, 0xa5, sizeof m);
        int err = stun_parse(dialects[i], block, &m);
        must(err == 0 || err == ERR_SHORT || err == ERR_BAD || err == ERR_FULL);
        must(m.raw.n == 0 || m.raw.n == block.n);
        must(err || m.raw.n == block.n);
        if (m.raw.n == 0)
            continue;
        check_index(&m);
        ask_everything(&m);
        verify_everything(&m);
        if (err == 0)
            write_again(&m);
    }
    block_free(block);
    return 0;
}
