/* Reading vector files, and what the tests that use them ask of a message: `m` is the one parsed last. */
#ifndef UNIT_WIRE_VECTOR_H
#define UNIT_WIRE_VECTOR_H

#include "wire/frame.h"

#include "fixture.h"

static struct stun_msg m;
static enum integrity_rule held;

/* ---- reading the files ---- */

/* The bytes of a hex file; an empty span when there is no such file. */
__attribute__((unused)) static struct span file_bytes(const char *path)
{
    static char text[8192];
    FILE *f = fopen(path, "r");
    if (!f)
        return (struct span){0};
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return hex(text);
}

__attribute__((unused)) static const char *source_root(void)
{
    const char *root = getenv("MESON_SOURCE_ROOT");
    return root ? root : ".";
}

__attribute__((unused)) static struct span vector(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/vectors/%s.hex", source_root(), name);
    struct span v = file_bytes(path);
    if (v.n == 0)
        fail_msg("%s cannot be read", path);
    return v;
}

/* ---- asking ---- */

__attribute__((unused)) static void parse_ok(const struct stun_dialect *d, struct span v, enum stun_method method,
                                             enum stun_class cls, int attributes)
{
    assert_int_equal(parse(d, v, &m), 0);
    assert_int_equal(m.method, method);
    assert_int_equal(m.cls, cls);
    assert_int_equal(m.attrs_n, attributes);
    assert_int_equal(m.unknown_n, 0);
}

__attribute__((unused)) static void assert_bytes(enum stun_at at, struct span want)
{
    struct span got;
    assert_int_equal(stun_get_bytes(&m, at, &got), 0);
    assert_span_equal(got, want);
}

__attribute__((unused)) static void assert_u32(enum stun_at at, uint32_t want)
{
    uint32_t got;
    assert_int_equal(stun_get_u32(&m, at, &got), 0);
    assert_int_equal(got, want);
}

__attribute__((unused)) static void assert_u64(enum stun_at at, uint64_t want)
{
    uint64_t got;
    assert_int_equal(stun_get_u64(&m, at, &got), 0);
    assert_int_equal(got, want);
}

__attribute__((unused)) static void assert_addr(enum stun_at at, const char *want)
{
    struct addr got;
    char text[ADDR_TEXT_MAX];
    assert_int_equal(stun_get_addr(&m, at, &got), 0);
    assert_string_equal(addr_format(&got, text), want);
}

__attribute__((unused)) static void assert_held(const struct stun_key *k, enum integrity_rule want)
{
    assert_int_equal(stun_verify(&m, k, INTEGRITY_NONE, &held), 0);
    assert_int_equal(held, want);
}

/* Every byte before the integrity attribute is covered: change it, and the message is refused. */
__attribute__((unused)) static void assert_all_covered(struct span v, const struct stun_key *k)
{
    const struct stun_dialect *d = m.dialect;
    const size_t end = stun_find(&m, AT_MESSAGE_INTEGRITY)->pos - 4;
    static uint8_t changed[2048];
    for (size_t i = 0; i < end; i++) {
        memcpy(changed, v.p, v.n);
        changed[i] ^= 0x01;
        if (parse(d, span_of(changed, v.n), &m) == 0)
            assert_int_not_equal(stun_verify(&m, k, INTEGRITY_NONE, &held), 0);
    }
    assert_int_equal(parse(d, v, &m), 0);
}

__attribute__((unused)) static struct stun_key short_key(const char *password)
{
    struct stun_key k;
    assert_int_equal(stun_key_short(&k, span_str(password)), 0);
    return k;
}

__attribute__((unused)) static struct stun_key md5_key(struct span user, const char *realm, struct span password)
{
    struct stun_key k;
    assert_int_equal(stun_key_md5(&k, user, span_str(realm), password), 0);
    return k;
}

/* Cut at every byte: short until whole, then the frame. */
__attribute__((unused)) static void assert_frame(struct span v, enum frame_kind kind, struct span body)
{
    struct frame f;
    for (size_t n = 0; n < v.n; n++)
        assert_int_equal(frame_next_msturn(odd_copy(span_take(v, n)), &f), ERR_SHORT);
    assert_int_equal(frame_next_msturn(v, &f), 0);
    assert_int_equal(f.kind, kind);
    assert_int_equal(f.size, v.n);
    assert_span_equal(f.body, body);
    uint8_t header[4];
    frame_msturn_header(header, kind, body.n);
    assert_memory_equal(header, v.p, 4);
}

#endif
