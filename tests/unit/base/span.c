#include "base/span.h"

#include "fixture.h"

static void empty_spans_are_harmless(void **state)
{
    struct span none = {0};
    assert_true(span_is_equal(none, span_str("")));
    assert_true(span_is_equal(none, span_str(NULL)));
    assert_int_equal(span_skip(none, 3).n, 0);
    assert_int_equal(span_take(none, 3).n, 0);
    struct rd r = rd_of(none);
    assert_int_equal(rd_left(&r), 0);
    assert_int_equal(rd_bytes(&r, 0).n, 0);
    assert_int_equal(r.err, 0);
    assert_int_equal(rd_u8(&r), 0);
    assert_int_equal(r.err, ERR_SHORT);
}

static void skip_and_take_stop_at_the_end(void **state)
{
    struct span s = span_str("abc");
    assert_true(span_is_equal(span_skip(s, 0), s));
    assert_true(span_is_equal(span_skip(s, 1), span_str("bc")));
    assert_int_equal(span_skip(s, 3).n, 0);
    assert_ptr_equal(span_skip(s, SIZE_MAX).p, s.p + 3);
    assert_true(span_is_equal(span_take(s, 2), span_str("ab")));
    assert_true(span_is_equal(span_take(s, SIZE_MAX), s));
    assert_false(span_is_equal(s, span_str("abd")));
    assert_false(span_is_equal(s, span_str("ab")));
}

static void what_is_written_is_read_again(void **state)
{
    uint8_t buf[20];
    struct wr w = wr_of(buf, sizeof buf);
    wr_u8(&w, 0x81);
    wr_u16(&w, 0x8283);
    wr_u32(&w, 0x84858687);
    wr_u64(&w, 0x88898a8b8c8d8e8f);
    wr_bytes(&w, span_str("hi"));
    wr_zeros(&w, 3);
    assert_int_equal(w.err, 0);
    assert_int_equal(wr_len(&w), 20);
    for (uint8_t i = 0; i < 15; i++)
        assert_int_equal(buf[i], 0x81 + i); /* big-endian without gaps */
    struct rd r = rd_of(wr_span(&w));
    assert_int_equal(rd_u8(&r), 0x81);
    assert_int_equal(rd_u16(&r), 0x8283);
    assert_int_equal(rd_u32(&r), 0x84858687);
    assert_true(rd_u64(&r) == 0x88898a8b8c8d8e8f);
    assert_true(span_is_equal(rd_bytes(&r, 5), span_of("hi\0\0", 5)));
    assert_int_equal(r.err, 0);
    assert_int_equal(rd_left(&r), 0);
}

static void the_error_of_a_reader_sticks(void **state)
{
    struct rd r = rd_of(span_str("abcdef"));
    assert_int_equal(rd_u32(&r), 0x61626364);
    assert_int_equal(rd_u32(&r), 0); /* two bytes are left */
    assert_int_equal(r.err, ERR_SHORT);
    assert_int_equal(rd_u8(&r), 0);
    assert_int_equal(rd_bytes(&r, 1).n, 0);
    assert_int_equal(rd_bytes(&r, SIZE_MAX).n, 0);
}

static void the_error_of_a_writer_sticks(void **state)
{
    uint8_t buf[4] = {9, 9, 9, 9};
    struct wr w = wr_of(buf, 3);
    wr_u16(&w, 0x0102);
    wr_u16(&w, 0x0304); /* half of it would fit: nothing is written */
    assert_int_equal(w.err, ERR_FULL);
    wr_u8(&w, 5);
    assert_null(wr_room(&w, 0));
    assert_int_equal(wr_len(&w), 2);
    assert_memory_equal(buf, ((uint8_t[]){1, 2, 9, 9}), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_spans_are_harmless),      cmocka_unit_test(skip_and_take_stop_at_the_end),
        cmocka_unit_test(what_is_written_is_read_again), cmocka_unit_test(the_error_of_a_reader_sticks),
        cmocka_unit_test(the_error_of_a_writer_sticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
