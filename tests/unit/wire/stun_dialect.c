#include "wire/stun_dialect.h"

#include "fixture.h"

static const struct stun_dialect *const dialects[] = {&STUN_RFC, &STUN_MSICE2, &STUN_MSTURN};

/* The numbers as the registries and the captures have them, written a second time. */
static const struct known {
    const struct stun_dialect *dialect;
    uint16_t type;
    uint8_t at, form;
} known[] = {
    {&STUN_RFC, 0x0001, AT_MAPPED_ADDRESS, FORM_ADDR},
    {&STUN_RFC, 0x0006, AT_USERNAME, FORM_BYTES},
    {&STUN_RFC, 0x0008, AT_MESSAGE_INTEGRITY, FORM_BYTES},
    {&STUN_RFC, 0x0009, AT_ERROR_CODE, FORM_ERROR},
    {&STUN_RFC, 0x000a, AT_UNKNOWN_ATTRIBUTES, FORM_BYTES},
    {&STUN_RFC, 0x000c, AT_CHANNEL_NUMBER, FORM_U16},
    {&STUN_RFC, 0x000d, AT_LIFETIME, FORM_U32},
    {&STUN_RFC, 0x0012, AT_XOR_PEER_ADDRESS, FORM_XADDR},
    {&STUN_RFC, 0x0013, AT_DATA, FORM_BYTES},
    {&STUN_RFC, 0x0014, AT_REALM, FORM_BYTES},
    {&STUN_RFC, 0x0015, AT_NONCE, FORM_BYTES},
    {&STUN_RFC, 0x0016, AT_XOR_RELAYED_ADDRESS, FORM_XADDR},
    {&STUN_RFC, 0x0017, AT_REQUESTED_ADDRESS_FAMILY, FORM_U8},
    {&STUN_RFC, 0x0018, AT_EVEN_PORT, FORM_U8},
    {&STUN_RFC, 0x0019, AT_REQUESTED_TRANSPORT, FORM_U8},
    {&STUN_RFC, 0x001a, AT_DONT_FRAGMENT, FORM_FLAG},
    {&STUN_RFC, 0x001c, AT_MESSAGE_INTEGRITY_SHA256, FORM_BYTES},
    {&STUN_RFC, 0x001d, AT_PASSWORD_ALGORITHM, FORM_BYTES},
    {&STUN_RFC, 0x001e, AT_USERHASH, FORM_BYTES},
    {&STUN_RFC, 0x0020, AT_XOR_MAPPED_ADDRESS, FORM_XADDR},
    {&STUN_RFC, 0x0022, AT_RESERVATION_TOKEN, FORM_U64},
    {&STUN_RFC, 0x0024, AT_PRIORITY, FORM_U32},
    {&STUN_RFC, 0x0025, AT_USE_CANDIDATE, FORM_FLAG},
    {&STUN_RFC, 0x002a, AT_CONNECTION_ID, FORM_U32},
    {&STUN_RFC, 0x8000, AT_ADDITIONAL_ADDRESS_FAMILY, FORM_U8},
    {&STUN_RFC, 0x8001, AT_ADDRESS_ERROR_CODE, FORM_ERROR},
    {&STUN_RFC, 0x8002, AT_PASSWORD_ALGORITHMS, FORM_BYTES},
    {&STUN_RFC, 0x8003, AT_ALTERNATE_DOMAIN, FORM_BYTES},
    {&STUN_RFC, 0x8004, AT_ICMP, FORM_BYTES},
    {&STUN_RFC, 0x8022, AT_SOFTWARE, FORM_BYTES},
    {&STUN_RFC, 0x8023, AT_ALTERNATE_SERVER, FORM_ADDR},
    {&STUN_RFC, 0x8028, AT_FINGERPRINT, FORM_U32},
    {&STUN_RFC, 0x8029, AT_ICE_CONTROLLED, FORM_U64},
    {&STUN_RFC, 0x802a, AT_ICE_CONTROLLING, FORM_U64},
    {&STUN_MSICE2, 0x0020, AT_XOR_MAPPED_ADDRESS, FORM_XADDR},
    {&STUN_MSICE2, 0x8029, AT_ICE_CONTROLLED, FORM_U64},
    {&STUN_MSICE2, 0x8037, AT_MS_APP_ID, FORM_U32},
    {&STUN_MSICE2, 0x8054, AT_CANDIDATE_IDENTIFIER, FORM_BYTES},
    {&STUN_MSICE2, 0x8070, AT_IMPLEMENTATION_VERSION, FORM_U32},
    {&STUN_MSTURN, 0x0001, AT_MAPPED_ADDRESS, FORM_ADDR},
    {&STUN_MSTURN, 0x0006, AT_USERNAME, FORM_BYTES},
    {&STUN_MSTURN, 0x0008, AT_MESSAGE_INTEGRITY, FORM_BYTES},
    {&STUN_MSTURN, 0x0009, AT_ERROR_CODE, FORM_ERROR},
    {&STUN_MSTURN, 0x000a, AT_UNKNOWN_ATTRIBUTES, FORM_BYTES},
    {&STUN_MSTURN, 0x000d, AT_LIFETIME, FORM_U32},
    {&STUN_MSTURN, 0x000e, AT_ALTERNATE_SERVER, FORM_ADDR},
    {&STUN_MSTURN, 0x000f, AT_MAGIC_COOKIE, FORM_U32},
    {&STUN_MSTURN, 0x0010, AT_BANDWIDTH, FORM_U32},
    {&STUN_MSTURN, 0x0011, AT_DESTINATION_ADDRESS, FORM_ADDR},
    {&STUN_MSTURN, 0x0012, AT_REMOTE_ADDRESS, FORM_ADDR},
    {&STUN_MSTURN, 0x0013, AT_DATA, FORM_BYTES},
    {&STUN_MSTURN, 0x0014, AT_NONCE, FORM_BYTES},
    {&STUN_MSTURN, 0x0015, AT_REALM, FORM_BYTES},
    {&STUN_MSTURN, 0x0017, AT_REQUESTED_ADDRESS_FAMILY, FORM_U8},
    {&STUN_MSTURN, 0x8008, AT_MS_VERSION, FORM_U32},
    {&STUN_MSTURN, 0x8020, AT_XOR_MAPPED_ADDRESS, FORM_XADDR},
    {&STUN_MSTURN, 0x8022, AT_SOFTWARE, FORM_BYTES},
    {&STUN_MSTURN, 0x8032, AT_MS_ALTERNATE_HOST_NAME, FORM_BYTES},
    {&STUN_MSTURN, 0x8037, AT_MS_APP_ID, FORM_U32},
    {&STUN_MSTURN, 0x8039, AT_MS_SECURE_TAG, FORM_BYTES},
    {&STUN_MSTURN, 0x8050, AT_MS_SEQUENCE_NUMBER, FORM_BYTES},
    {&STUN_MSTURN, 0x8055, AT_MS_SERVICE_QUALITY, FORM_U32},
    {&STUN_MSTURN, 0x8090, AT_MS_ALTERNATE_MAPPED_ADDRESS, FORM_ADDR},
    {&STUN_MSTURN, 0x8095, AT_MS_MULTIPLEXED_TURN_SESSION_ID, FORM_BYTES},
};

static void numbers_are_right(void **state)
{
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        const struct known *k = &known[i];
        const struct stun_at_row *by_type = stun_dialect_attr_type(k->dialect, k->type);
        const struct stun_at_row *by_meaning = stun_dialect_attr(k->dialect, (enum stun_at)k->at);
        if (!by_type || by_type != by_meaning || by_type->type != k->type || by_type->form != k->form)
            fail_msg("%s 0x%04x %s", k->dialect->name, k->type, stun_at_name(k->at));
    }
}

static size_t rows_of(const struct stun_dialect *d)
{
    size_t n = 0;
    for (int at = 0; at < AT_COUNT; at++)
        n += stun_dialect_attr(d, (enum stun_at)at) != NULL;
    return n;
}

/* Every wire type leads to a row of that type or to none, and every row is reached by exactly one. */
static void no_other_number_is_known(void **state)
{
    for (size_t i = 0; i < COUNT_OF(dialects); i++) {
        size_t reached = 0;
        for (uint32_t type = 0; type <= 0xffff; type++) {
            const struct stun_at_row *row = stun_dialect_attr_type(dialects[i], (uint16_t)type);
            assert_true(!row || row->type == type);
            reached += row != NULL;
        }
        assert_int_equal(reached, rows_of(dialects[i]));
    }
    assert_int_equal(rows_of(&STUN_RFC), 34);
    assert_int_equal(rows_of(&STUN_MSICE2), 34 + 3);
    assert_int_equal(rows_of(&STUN_MSTURN), 25);
    assert_null(stun_dialect_attr(&STUN_RFC, AT_UNKNOWN));
    assert_null(stun_dialect_attr(&STUN_RFC, AT_COUNT));
    assert_null(stun_dialect_attr(&STUN_RFC, AT_MS_VERSION));
    assert_null(stun_dialect_attr(&STUN_MSTURN, AT_FINGERPRINT));
    assert_null(stun_dialect_attr(&STUN_MSTURN, AT_XOR_PEER_ADDRESS));
}

/* The accessors read as many octets as the form says without looking again. */
static void lengths_fit_the_forms(void **state)
{
    static const struct {
        uint16_t min, max;
        bool is_fixed;
    } form[] = {
        [FORM_BYTES] = {0, 65535, false}, [FORM_FLAG] = {0, 0, true},    [FORM_U8] = {1, 4, true},
        [FORM_U16] = {4, 4, true},        [FORM_U32] = {4, 4, true},     [FORM_U64] = {8, 8, true},
        [FORM_ADDR] = {8, 20, false},     [FORM_XADDR] = {8, 20, false}, [FORM_ERROR] = {4, 767, false},
    };
    for (size_t i = 0; i < COUNT_OF(dialects); i++) {
        for (int at = 0; at < AT_COUNT; at++) {
            const struct stun_at_row *row = stun_dialect_attr(dialects[i], (enum stun_at)at);
            if (!row)
                continue;
            assert_int_equal(row->at, at);
            assert_true(row->form < COUNT_OF(form));
            assert_true(row->min >= form[row->form].min && row->max <= form[row->form].max);
            assert_true(row->min <= row->max && (!form[row->form].is_fixed || row->min == row->max));
            assert_true(row->step > 0 && (row->max - row->min) % row->step == 0);
        }
    }
}

static void lengths_of_note(void **state)
{
    static const struct {
        const struct stun_dialect *dialect;
        uint8_t at;
        uint16_t min, max;
        uint8_t step;
    } want[] = {
        {&STUN_RFC, AT_RESERVATION_TOKEN, 8, 8, 1},
        {&STUN_RFC, AT_EVEN_PORT, 1, 1, 1},
        {&STUN_RFC, AT_CONNECTION_ID, 4, 4, 1},
        {&STUN_RFC, AT_LIFETIME, 4, 4, 1},
        {&STUN_RFC, AT_REQUESTED_TRANSPORT, 4, 4, 1},
        {&STUN_RFC, AT_REQUESTED_ADDRESS_FAMILY, 4, 4, 1},
        {&STUN_RFC, AT_USERHASH, 32, 32, 1},
        {&STUN_RFC, AT_MESSAGE_INTEGRITY, 20, 20, 1},
        {&STUN_RFC, AT_ICMP, 8, 8, 1},
        {&STUN_RFC, AT_MESSAGE_INTEGRITY_SHA256, 16, 32, 4},
        {&STUN_RFC, AT_XOR_PEER_ADDRESS, 8, 20, 12},
        {&STUN_MSTURN, AT_MESSAGE_INTEGRITY, 20, 32, 12},
        {&STUN_MSTURN, AT_MS_SEQUENCE_NUMBER, 4, 24, 20},
        {&STUN_RFC, AT_USERNAME, 0, 763, 1},
        {&STUN_RFC, AT_REALM, 0, 763, 1},
        {&STUN_RFC, AT_NONCE, 0, 763, 1},
    };
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        const struct stun_at_row *row = stun_dialect_attr(want[i].dialect, (enum stun_at)want[i].at);
        if (!row || row->min != want[i].min || row->max != want[i].max || row->step != want[i].step)
            fail_msg("%s", stun_at_name(want[i].at));
    }
}

static void only_lists_of_addresses_repeat(void **state)
{
    for (size_t i = 0; i < COUNT_OF(dialects); i++)
        for (int at = 0; at < AT_COUNT; at++) {
            const struct stun_at_row *row = stun_dialect_attr(dialects[i], (enum stun_at)at);
            if (row)
                assert_int_equal(row->repeats, at == AT_XOR_PEER_ADDRESS || at == AT_XOR_RELAYED_ADDRESS);
        }
}

static void rfc_types_have_method_and_class(void **state)
{
    static const struct {
        uint16_t type;
        uint8_t method, cls;
    } want[] = {
        {0x0001, STUN_BINDING, STUN_REQUEST},         {0x0011, STUN_BINDING, STUN_INDICATION},
        {0x0101, STUN_BINDING, STUN_SUCCESS},         {0x0111, STUN_BINDING, STUN_ERROR},
        {0x0003, STUN_ALLOCATE, STUN_REQUEST},        {0x0113, STUN_ALLOCATE, STUN_ERROR},
        {0x0004, STUN_REFRESH, STUN_REQUEST},         {0x0016, STUN_SEND, STUN_INDICATION},
        {0x0017, STUN_DATA, STUN_INDICATION},         {0x0008, STUN_CREATE_PERMISSION, STUN_REQUEST},
        {0x0109, STUN_CHANNEL_BIND, STUN_SUCCESS},    {0x000a, STUN_CONNECT, STUN_REQUEST},
        {0x000b, STUN_CONNECTION_BIND, STUN_REQUEST}, {0x001c, STUN_CONNECTION_ATTEMPT, STUN_INDICATION},
    };
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        uint8_t method, cls;
        assert_int_equal(stun_dialect_type(&STUN_RFC, want[i].type, &method, &cls), 0);
        assert_int_equal(method, want[i].method);
        assert_int_equal(cls, want[i].cls);
        assert_int_equal(stun_dialect_type_of(&STUN_RFC, want[i].method, want[i].cls), want[i].type);
        assert_int_equal(stun_dialect_type_of(&STUN_MSICE2, want[i].method, want[i].cls), want[i].type);
    }
    assert_int_equal(stun_dialect_type_of(&STUN_RFC, STUN_SET_ACTIVE_DESTINATION, STUN_REQUEST), 0xffff);
    assert_int_equal(stun_dialect_type_of(&STUN_RFC, STUN_METHOD_UNKNOWN, STUN_REQUEST), 0xffff);
}

/* All 65536: the first two bits refuse; known ones come back; unknown ones keep their class. */
static void rfc_types_round_trip(void **state)
{
    int found = 0;
    for (uint32_t type = 0; type <= 0xffff; type++) {
        uint8_t method, cls;
        int err = stun_dialect_type(&STUN_RFC, (uint16_t)type, &method, &cls);
        assert_int_equal(err, type < 0x4000 ? 0 : ERR_BAD);
        if (err)
            continue;
        assert_int_equal(cls, (type & 0x110) == 0x000   ? STUN_REQUEST
                              : (type & 0x110) == 0x010 ? STUN_INDICATION
                              : (type & 0x110) == 0x100 ? STUN_SUCCESS
                                                        : STUN_ERROR);
        if (method == STUN_METHOD_UNKNOWN)
            continue;
        found++;
        assert_int_equal(stun_dialect_type_of(&STUN_RFC, method, cls), type);
    }
    assert_int_equal(found, 10 * 4);
}

static void msturn_has_eight_types(void **state)
{
    static const struct stun_type_row want[] = {
        {0x0003, STUN_ALLOCATE, STUN_REQUEST},
        {0x0103, STUN_ALLOCATE, STUN_SUCCESS},
        {0x0113, STUN_ALLOCATE, STUN_ERROR},
        {0x0004, STUN_SEND, STUN_REQUEST},
        {0x0115, STUN_DATA, STUN_INDICATION},
        {0x0006, STUN_SET_ACTIVE_DESTINATION, STUN_REQUEST},
        {0x0106, STUN_SET_ACTIVE_DESTINATION, STUN_SUCCESS},
        {0x0116, STUN_SET_ACTIVE_DESTINATION, STUN_ERROR},
    };
    int found = 0;
    for (uint32_t type = 0; type <= 0xffff; type++) {
        uint8_t method, cls;
        if (stun_dialect_type(&STUN_MSTURN, (uint16_t)type, &method, &cls) == 0)
            found++;
    }
    assert_int_equal(found, COUNT_OF(want));
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        uint8_t method, cls;
        assert_int_equal(stun_dialect_type(&STUN_MSTURN, want[i].type, &method, &cls), 0);
        assert_int_equal(method, want[i].method);
        assert_int_equal(cls, want[i].cls);
        assert_int_equal(stun_dialect_type_of(&STUN_MSTURN, want[i].method, want[i].cls), want[i].type);
    }
    assert_int_equal(stun_dialect_type_of(&STUN_MSTURN, STUN_SEND, STUN_SUCCESS), 0xffff);
    assert_int_equal(stun_dialect_type_of(&STUN_MSTURN, STUN_REFRESH, STUN_REQUEST), 0xffff);
}

static void everything_has_a_name(void **state)
{
    for (int i = STUN_METHOD_UNKNOWN + 1; i < STUN_METHOD_COUNT; i++)
        assert_string_not_equal(stun_method_name((uint8_t)i), "unknown");
    for (int i = AT_UNKNOWN + 1; i < AT_COUNT; i++) {
        assert_string_not_equal(stun_at_name((uint8_t)i), "unknown");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(stun_at_name((uint8_t)i), stun_at_name((uint8_t)j));
    }
    assert_string_equal(stun_method_name(STUN_ALLOCATE), "Allocate");
    assert_string_equal(stun_at_name(AT_XOR_PEER_ADDRESS), "XOR-PEER-ADDRESS");
    assert_string_equal(stun_class_name(STUN_ERROR), "error response");
    assert_string_equal(stun_method_name(255), "unknown");
    assert_string_equal(stun_class_name(4), "unknown");
    assert_string_equal(stun_at_name(255), "unknown");
}

static void codes_have_their_phrases(void **state)
{
    assert_string_equal(stun_reason(401), "Unauthenticated");
    assert_string_equal(stun_reason(437), "Allocation Mismatch");
    assert_string_equal(stun_reason(438), "Stale Nonce");
    assert_string_equal(stun_reason(447), "Connection Timeout or Failure");
    assert_string_equal(stun_reason(508), "Insufficient Capacity");
    assert_string_equal(stun_reason(431), "Integrity Check Failure");
    assert_string_equal(stun_reason(499), "Error");
    assert_string_equal(stun_reason(-1), "Error");
}

/* A zero must end each list of rules, or stun_verify would run on. */
static void rules_end(void **state)
{
    for (size_t i = 0; i < COUNT_OF(dialects); i++) {
        assert_int_not_equal(dialects[i]->rules[0], INTEGRITY_NONE);
        assert_int_equal(dialects[i]->rules[COUNT_OF(dialects[i]->rules) - 1], INTEGRITY_NONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_right),
        cmocka_unit_test(no_other_number_is_known),
        cmocka_unit_test(lengths_fit_the_forms),
        cmocka_unit_test(lengths_of_note),
        cmocka_unit_test(only_lists_of_addresses_repeat),
        cmocka_unit_test(rfc_types_have_method_and_class),
        cmocka_unit_test(rfc_types_round_trip),
        cmocka_unit_test(msturn_has_eight_types),
        cmocka_unit_test(everything_has_a_name),
        cmocka_unit_test(codes_have_their_phrases),
        cmocka_unit_test(rules_end),
    };
    return cmocka_run_group_tests_name("stun_dialect", tests, NULL, NULL);
}
