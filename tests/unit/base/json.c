#include "base/json.h"

#include <math.h>

#include "fixture.h"

static char buf[1024];

static void everything_has_its_commas(void **state)
{
    struct text t = text_of(buf, sizeof buf);
    struct json j = json_of(&t);
    json_object(&j, NULL);
    json_text(&j, "text", span_str("x"));
    json_u64(&j, "u64", UINT64_MAX);
    json_double(&j, "double", -1.5);
    json_bool(&j, "yes", true);
    json_bool(&j, "no", false);
    json_null(&j, "nothing");
    json_array(&j, "array");
    json_u64(&j, NULL, 1);
    json_object(&j, NULL);
    json_object_end(&j);
    json_object(&j, NULL);
    json_u64(&j, "a", 2);
    json_object_end(&j);
    json_array(&j, NULL);
    json_array_end(&j);
    json_text(&j, NULL, (struct span){0});
    json_array_end(&j);
    json_object(&j, "object");
    json_u64(&j, "b", 3);
    json_object_end(&j);
    json_u64(&j, "last", 0);
    json_object_end(&j);
    assert_string_equal(buf, "{\"text\":\"x\",\"u64\":18446744073709551615,\"double\":-1.500,\"yes\":true,\"no\":false,"
                             "\"nothing\":null,\"array\":[1,{},{\"a\":2},[],\"\"],\"object\":{\"b\":3},\"last\":0}");
    assert_false(t.truncated);
}

static const char *text_as_json(struct span s)
{
    struct text t = text_of(buf, sizeof buf);
    struct json j = json_of(&t);
    json_text(&j, NULL, s);
    return buf;
}

static void strings_are_escaped(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "\"plain\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\n\r\t\b\f\x01\x1f", "\"\\n\\r\\t\\u0008\\u000c\\u0001\\u001f\""},
        {"\x7f\xc2\x80\xc2\x9f\u00a0", "\"\\u007f\\u0080\\u009f\u00a0\""},
        {"\u20ac \U0001f600", "\"\u20ac \U0001f600\""},
        {"a\xff\xc3(\xe2\x82", "\"a\ufffd\ufffd(\ufffd\ufffd\""},
        {"\xed\xa0\x80", "\"\ufffd\ufffd\ufffd\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(text_as_json(span_str(cases[i].in)), cases[i].out);
    assert_string_equal(text_as_json(span_of("a\0b", 3)), "\"a\\u0000b\"");
    struct text t = text_of(buf, sizeof buf);
    struct json j = json_of(&t);
    json_object(&j, NULL);
    json_null(&j, "\"key\"");
    assert_string_equal(buf, "{\"\\\"key\\\"\":null");
}

static void every_byte_makes_a_sound_string(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t in[3] = {'a', (uint8_t)byte, 'b'};
        struct span out = span_str(text_as_json(span_of(in, 3)));
        assert_true(text_is_utf8(out));
        for (size_t i = 0; i < out.n; i++)
            assert_true(out.p[i] >= 0x20 && out.p[i] != 0x7f);
    }
}

static void odd_doubles_are_null(void **state)
{
    struct text t = text_of(buf, sizeof buf);
    struct json j = json_of(&t);
    json_array(&j, NULL);
    json_double(&j, NULL, NAN);
    json_double(&j, NULL, INFINITY);
    json_double(&j, NULL, -INFINITY);
    json_double(&j, NULL, 0.0005001);
    json_double(&j, NULL, 1e15);
    json_array_end(&j);
    assert_string_equal(buf, "[null,null,null,0.001,1000000000000000.000]");
}

static void too_little_room_is_told(void **state)
{
    char small[10];
    struct text t = text_of(small, sizeof small);
    struct json j = json_of(&t);
    json_object(&j, NULL);
    json_text(&j, "key", span_str("value"));
    json_object_end(&j);
    assert_true(t.truncated);
    assert_string_equal(small, "{\"key\":\"v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_has_its_commas),       cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(every_byte_makes_a_sound_string), cmocka_unit_test(odd_doubles_are_null),
        cmocka_unit_test(too_little_room_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
