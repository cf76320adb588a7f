#include "wire/stun.h"

/* ---- keys ---- */

int stun_key_short(struct stun_key *k, struct span password)
{
    if (password.n > STUN_KEY_MAX)
        return ERR_FULL;
    k->n = (uint8_t)password.n;
    if (password.n)
        memcpy(k->bytes, password.p, password.n);
    return 0;
}

int stun_key_md5(struct stun_key *k, struct span user, struct span realm, struct span password)
{
    const struct span parts[] = {user, span_str(":"), realm, span_str(":"), password};
    k->n = MD5_SIZE;
    return digest_md5(parts, 5, k->bytes);
}

int stun_key_sha256(struct stun_key *k, struct span user, struct span realm, struct span password)
{
    const struct span parts[] = {user, span_str(":"), realm, span_str(":"), password};
    k->n = SHA256_SIZE;
    return digest_sha256(parts, 5, k->bytes);
}

int stun_key_ms_sha256(struct stun_key *k, struct span user, struct span realm, struct span nonce, struct span password)
{
    static const uint8_t label[] = {0x01, 'T', 'U', 'R', 'N', 0x00}, bits[] = {0x00, 0x00, 0x01, 0x00};
    const struct span parts[] = {span_of(label, sizeof label), user, realm, span_of(bits, sizeof bits)};
    uint8_t extracted[SHA256_SIZE];
    k->n = SHA256_SIZE;
    int err = hmac_sha256(nonce, &password, 1, extracted);
    if (!err)
        err = hmac_sha256(span_of(extracted, sizeof extracted), parts, 4, k->bytes);
    digest_wipe(extracted, sizeof extracted);
    return err;
}

int stun_userhash(struct span user, struct span realm, uint8_t out[SHA256_SIZE])
{
    const struct span parts[] = {user, span_str(":"), realm};
    return digest_sha256(parts, 3, out);
}

/* ---- message integrity ---- */

/* What each rule hashes, and where the result stands. */
struct rule {
    uint8_t at, size;
    bool full;  /* the length field counts the whole message; otherwise it ends with the integrity attribute */
    bool pad64; /* zero bytes follow the text up to the next multiple of 64 */
    int (*mac)(struct span key, const struct span *parts, size_t n, uint8_t *out);
};

static const struct rule rules[INTEGRITY_COUNT] = {
    [INTEGRITY_RFC] = {AT_MESSAGE_INTEGRITY, SHA1_SIZE, false, false, hmac_sha1},
    [INTEGRITY_RFC_SHA256] = {AT_MESSAGE_INTEGRITY_SHA256, SHA256_SIZE, false, false, hmac_sha256},
    [INTEGRITY_FULL_PAD64] = {AT_MESSAGE_INTEGRITY, SHA1_SIZE, true, true, hmac_sha1},
    [INTEGRITY_FULL] = {AT_MESSAGE_INTEGRITY, SHA1_SIZE, true, false, hmac_sha1},
    [INTEGRITY_RFC_PAD64] = {AT_MESSAGE_INTEGRITY, SHA1_SIZE, false, true, hmac_sha1},
    [INTEGRITY_MS_SHA256] = {AT_MESSAGE_INTEGRITY, SHA256_SIZE, true, true, hmac_sha256},
};

/* The MAC over the first `n` bytes of `msg` (all before the attribute) with this value in the length field. */
static int compute_mac(const struct rule *r, const struct stun_key *k, const uint8_t *msg, size_t n, size_t length,
                       uint8_t out[SHA256_SIZE])
{
    static const uint8_t zeros[64];
    const uint8_t head[4] = {msg[0], msg[1], (uint8_t)(length >> 8), (uint8_t)length};
    const struct span parts[] = {
        span_of(head, sizeof head),
        span_of(msg + 4, n - 4),
        span_of(zeros, r->pad64 ? (64 - n % 64) % 64 : 0),
    };
    return r->mac(span_of(k->bytes, k->n), parts, 3, out);
}

/* 0 when the attribute `a` holds by this rule, ERR_DENIED when not. */
static int check_rule(const struct stun_msg *m, const struct stun_attr *a, const struct rule *r,
                      const struct stun_key *k)
{
    uint8_t mac[SHA256_SIZE];
    if (a->n != r->size)
        return ERR_DENIED;
    const size_t end = r->full ? m->raw.n : a->pos + a->n;
    int err = compute_mac(r, k, m->raw.p, a->pos - 4, end - STUN_HEADER, mac);
    if (err)
        return err;
    return digest_is_equal(mac, m->raw.p + a->pos, r->size) ? 0 : ERR_DENIED;
}

int stun_verify(const struct stun_msg *m, const struct stun_key *k, enum integrity_rule only, enum integrity_rule *held)
{
    const uint8_t just_one[] = {(uint8_t)only, INTEGRITY_NONE};
    const uint8_t *order = only == INTEGRITY_NONE ? m->dialect->rules : just_one;
    const struct stun_attr *judged = NULL;
    *held = INTEGRITY_NONE;
    for (; *order != INTEGRITY_NONE; order++) {
        const struct rule *r = &rules[*order];
        const struct stun_attr *a = stun_find(m, (enum stun_at)r->at);
        if (!a || (judged && a != judged)) /* a weaker attribute never mends a stronger one that does not hold */
            continue;
        judged = a;
        int err = check_rule(m, a, r, k);
        if (err == ERR_DENIED)
            continue;
        if (!err)
            *held = (enum integrity_rule)order[0];
        return err;
    }
    return judged ? ERR_DENIED : ERR_NONE;
}

void stun_put_integrity(struct stun_wr *s, enum integrity_rule rule, const struct stun_key *k, bool fingerprint_follows)
{
    if (rule == INTEGRITY_NONE || s->w.err)
        return;
    const struct rule *r = &rules[rule];
    if (!stun_dialect_attr(s->dialect, (enum stun_at)r->at)) {
        s->w.err = ERR_BAD;
        return;
    }
    const bool fingerprint = r->full && fingerprint_follows && stun_dialect_attr(s->dialect, AT_FINGERPRINT);
    const size_t n = wr_len(&s->w), length = n + 4 + r->size + (fingerprint ? 8 : 0) - STUN_HEADER;
    uint8_t mac[SHA256_SIZE];
    int err = compute_mac(r, k, s->w.base, n, length, mac);
    if (err)
        s->w.err = err;
    stun_put_bytes(s, (enum stun_at)r->at, span_of(mac, r->size));
}

/* ---- fingerprint ---- */

enum { FINGERPRINT_XOR = 0x5354554e }; /* RFC 8489 s.14.7 */

/* The CRC of old Microsoft code: entry 0x5a of the table was typed 0x08bbe8ea instead of 0x8bbeb8ea (microsoft.md
 * B.2.1). Bit by bit, for it is computed only when the right CRC failed and the peer names no version. */
static uint32_t quirk_crc32(struct span bytes)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < bytes.n; i++) {
        uint32_t entry = (crc ^ bytes.p[i]) & 0xff;
        const bool is_damaged = entry == 0x5a;
        for (int bit = 0; bit < 8; bit++)
            entry = entry >> 1 ^ (entry & 1 ? 0xedb88320u : 0);
        crc = crc >> 8 ^ (is_damaged ? 0x08bbe8eau : entry);
    }
    return ~crc;
}

int stun_verify_fingerprint(const struct stun_msg *m)
{
    const struct stun_attr *a = stun_find(m, AT_FINGERPRINT);
    if (!a)
        return ERR_NONE;
    const struct span covered = span_take(m->raw, a->pos - 4);
    const uint32_t sent = be32_get(m->raw.p + a->pos) ^ FINGERPRINT_XOR;
    if (digest_crc32(0, covered) == sent)
        return 0;
    const bool may_be_quirk = m->dialect->quirk_fingerprint && !stun_has(m, AT_IMPLEMENTATION_VERSION);
    return may_be_quirk && quirk_crc32(covered) == sent ? 0 : ERR_DENIED;
}

void stun_put_fingerprint(struct stun_wr *s)
{
    if (s->w.err || !stun_dialect_attr(s->dialect, AT_FINGERPRINT))
        return;
    const size_t length = wr_len(&s->w) + 8 - STUN_HEADER;
    be16_put(s->w.base + 2, (uint16_t)length);
    stun_put_u32(s, AT_FINGERPRINT, digest_crc32(0, wr_span(&s->w)) ^ FINGERPRINT_XOR);
}
