#include "core/mras.h"

#include "base/rand.h"
#include "base/text.h"

enum { MAC_SIZE = 20, BODY_SIZE = MRAS_USERNAME_SIZE - MAC_SIZE, VERSION = 0x0300 };

static int derive(struct span secret, const char *label, uint8_t out[SHA256_SIZE])
{
    struct span text = span_str(label);
    return hmac_sha256(secret, &text, 1, out);
}

int mras_keys_add(struct mras_keys *k, struct span secret)
{
    uint8_t id[SHA256_SIZE];
    if (secret.n == 0)
        return ERR_BAD;
    if (k->n == MRAS_KEYS_MAX)
        return ERR_FULL;
    struct mras_key *key = &k->list[k->n];
    if (derive(secret, "causeway mras id", id) || derive(secret, "causeway mras name", key->name) ||
        derive(secret, "causeway mras password", key->password) || derive(secret, "causeway mras client", key->client))
        return ERR_CRYPTO;
    key->id = be32_get(id);
    k->n++;
    return 0;
}

static int mac_of(const uint8_t key[SHA256_SIZE], struct span text, uint8_t out[MAC_SIZE])
{
    uint8_t mac[SHA256_SIZE];
    int err = hmac_sha256(span_of(key, SHA256_SIZE), &text, 1, mac);
    memcpy(out, mac, MAC_SIZE);
    digest_wipe(mac, sizeof mac);
    return err;
}

int mras_issue(const struct mras_keys *k, struct span identity, uint64_t expires_s, struct mras_ticket *out)
{
    if (k->n == 0)
        return ERR_NONE;
    const struct mras_key *key = &k->list[0];
    uint8_t client[SHA256_SIZE];
    if (hmac_sha256(span_of(key->client, SHA256_SIZE), &identity, 1, client))
        return ERR_CRYPTO;
    char text[MRAS_CLIENT_SIZE + 1];
    memcpy(out->client, text_base64(client, MRAS_CLIENT_SIZE / 4 * 3, text), MRAS_CLIENT_SIZE);
    out->expires_s = expires_s;
    struct wr w = wr_of(out->username, sizeof out->username);
    wr_u16(&w, VERSION);
    wr_u16(&w, BODY_SIZE);
    wr_u64(&w, expires_s);
    wr_u32(&w, key->id);
    wr_u64(&w, rand_u64());
    wr_u32(&w, 0);
    wr_bytes(&w, span_of(out->client, MRAS_CLIENT_SIZE));
    must(!w.err && wr_len(&w) == BODY_SIZE);
    if (mac_of(key->name, wr_span(&w), w.p) ||
        mac_of(key->password, span_of(out->username, MRAS_USERNAME_SIZE), out->password))
        return ERR_CRYPTO;
    return 0;
}

/* The key of this id, or one that nobody has: who guesses ids learns nothing from the time of the answer. */
static const struct mras_key *find_key(const struct mras_keys *k, uint32_t id, bool *is_known)
{
    static const struct mras_key nobody;
    for (size_t i = 0; i < k->n; i++)
        if (k->list[i].id == id) {
            *is_known = true;
            return &k->list[i];
        }
    *is_known = false;
    return &nobody;
}

int mras_password(const struct mras_keys *k, struct span username, struct mras_ticket *out)
{
    struct rd r = rd_of(username);
    uint16_t version = rd_u16(&r), size = rd_u16(&r);
    uint64_t expires_s = rd_u64(&r);
    uint32_t id = rd_u32(&r);
    if (username.n != MRAS_USERNAME_SIZE || version != VERSION || size != BODY_SIZE)
        return ERR_DENIED;
    bool is_known;
    uint8_t mac[MAC_SIZE];
    const struct mras_key *key = find_key(k, id, &is_known);
    if (mac_of(key->name, span_take(username, BODY_SIZE), mac) || mac_of(key->password, username, out->password))
        return ERR_CRYPTO;
    bool is_equal = digest_is_equal(mac, username.p + BODY_SIZE, MAC_SIZE);
    if (!is_known || !is_equal) {
        digest_wipe(out, sizeof *out);
        return ERR_DENIED;
    }
    memcpy(out->username, username.p, MRAS_USERNAME_SIZE);
    memcpy(out->client, username.p + BODY_SIZE - MRAS_CLIENT_SIZE, MRAS_CLIENT_SIZE);
    out->expires_s = expires_s;
    return 0;
}
