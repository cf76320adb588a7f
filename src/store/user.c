/* What a stored user is made of. */
#include "store/store.h"

const char *store_name_fault(struct span name)
{
    if (name.n == 0)
        return "the name is empty";
    if (name.n > STORE_NAME_MAX)
        return "the name is longer than 508 bytes (RFC 8489 s.14.3)";
    if (!text_is_clean(name))
        return "the name must be UTF-8 without control characters";
    if (memchr(name.p, ':', name.n))
        return "a name cannot have a colon: keys are made of name:realm:password";
    return NULL;
}

const char *store_realm_fault(struct span realm)
{
    if (realm.n == 0)
        return "the realm is empty";
    if (realm.n > STORE_REALM_MAX)
        return "the realm is longer than 127 bytes";
    if (!text_is_clean(realm) || memchr(realm.p, '"', realm.n) || memchr(realm.p, '\\', realm.n))
        return "the realm must be UTF-8 without control characters, double quotes and backslashes";
    return NULL;
}

const char *store_password_fault(struct span password)
{
    if (password.n == 0)
        return "the password is empty";
    if (password.n > STORE_PASSWORD_MAX)
        return "the password is longer than 508 bytes";
    if (!text_is_clean(password))
        return "the password must be UTF-8 without control characters";
    return NULL;
}

int store_user_init(struct store_user *u, const char *name, const char *realm, const char *password, int64_t created_s)
{
    struct span parts[] = {span_str(name), span_str(":"), span_str(realm), span_str(":"), span_str(password)};
    if (store_name_fault(parts[0]) || store_realm_fault(parts[2]) || store_password_fault(parts[4]))
        return ERR_BAD;
    *u = (struct store_user){.created_s = created_s, .is_enabled = true};
    memcpy(u->name, name, parts[0].n);
    memcpy(u->realm, realm, parts[2].n);
    if (digest_md5(parts, 5, u->md5) || digest_sha256(parts, 5, u->sha256) || digest_sha256(parts, 3, u->userhash))
        return ERR_CRYPTO;
    return 0;
}
