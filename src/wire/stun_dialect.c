#include "wire/stun_dialect.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- attributes: each list is read twice, once by meaning and once by wire type ---- */

#define ATTR(type, at, form, min, max, step, repeats) [AT_##at] = {type, min, max, step, AT_##at, FORM_##form, repeats},
static const struct stun_at_row rfc_attrs[AT_COUNT] = {
#include "wire/stun_rfc.def"
};
static const struct stun_at_row msice2_attrs[AT_COUNT] = {
#include "wire/stun_msice2.def"
#include "wire/stun_rfc.def"
};
static const struct stun_at_row msturn_attrs[AT_COUNT] = {
#include "wire/stun_msturn.def"
};
#undef ATTR

#define ATTR(type, at, form, min, max, step, repeats) [STUN_AT_SLOT(type)] = AT_##at,
static const uint8_t rfc_ats[STUN_AT_SLOTS] = {
#include "wire/stun_rfc.def"
};
static const uint8_t msice2_ats[STUN_AT_SLOTS] = {
#include "wire/stun_msice2.def"
#include "wire/stun_rfc.def"
};
static const uint8_t msturn_ats[STUN_AT_SLOTS] = {
#include "wire/stun_msturn.def"
};
#undef ATTR

/* ---- message types ---- */

/* 0x0115 looks like an error response but is an indication; Send is never answered (microsoft.md A.2). */
static const struct stun_type_row msturn_types[] = {
    {0x0003, STUN_ALLOCATE, STUN_REQUEST},
    {0x0103, STUN_ALLOCATE, STUN_SUCCESS},
    {0x0113, STUN_ALLOCATE, STUN_ERROR},
    {0x0004, STUN_SEND, STUN_REQUEST},
    {0x0115, STUN_DATA, STUN_INDICATION},
    {0x0006, STUN_SET_ACTIVE_DESTINATION, STUN_REQUEST},
    {0x0106, STUN_SET_ACTIVE_DESTINATION, STUN_SUCCESS},
    {0x0116, STUN_SET_ACTIVE_DESTINATION, STUN_ERROR},
};

/* Method numbers of RFC 8489 s.18.2, 8656 s.17 and 6062 s.6.1. */
static const uint8_t rfc_methods[] = {
    [0x1] = STUN_BINDING,
    [0x3] = STUN_ALLOCATE,
    [0x4] = STUN_REFRESH,
    [0x6] = STUN_SEND,
    [0x7] = STUN_DATA,
    [0x8] = STUN_CREATE_PERMISSION,
    [0x9] = STUN_CHANNEL_BIND,
    [0xa] = STUN_CONNECT,
    [0xb] = STUN_CONNECTION_BIND,
    [0xc] = STUN_CONNECTION_ATTEMPT,
};

const struct stun_dialect STUN_RFC = {
    .name = "RFC 8489",
    .attrs = rfc_attrs,
    .ats = rfc_ats,
    .align = 4,
    .cookie_in_header = true,
    .rules = {INTEGRITY_RFC_SHA256, INTEGRITY_RFC},
};

const struct stun_dialect STUN_MSICE2 = {
    .name = "MS-ICE2",
    .attrs = msice2_attrs,
    .ats = msice2_ats,
    .align = 4,
    .cookie_in_header = true,
    .quirk_fingerprint = true,
    .rules = {INTEGRITY_FULL_PAD64, INTEGRITY_RFC, INTEGRITY_FULL, INTEGRITY_RFC_PAD64},
};

const struct stun_dialect STUN_MSTURN = {
    .name = "MS-TURN",
    .types = msturn_types,
    .types_n = COUNT_OF(msturn_types),
    .attrs = msturn_attrs,
    .ats = msturn_ats,
    .align = 1,
    .cookie_attribute = true,
    .rules = {INTEGRITY_FULL_PAD64, INTEGRITY_MS_SHA256},
};

/* RFC 8489 s.5: the bits of the type are 0 0 M11..M7 C1 M6..M4 C0 M3..M0. */
static int rfc_type(uint16_t type, uint8_t *method, uint8_t *cls)
{
    static const uint8_t classes[] = {STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR};
    if (type & 0xc000)
        return ERR_BAD;
    unsigned number = (type & 0x000f) | (type & 0x00e0) >> 1 | (type & 0x3e00) >> 2;
    *cls = classes[(type >> 4 & 1) | (type >> 7 & 2)];
    *method = number < COUNT_OF(rfc_methods) ? rfc_methods[number] : STUN_METHOD_UNKNOWN;
    return 0;
}

static uint16_t rfc_type_of(uint8_t method, uint8_t cls)
{
    static const uint16_t class_bits[] = {
        [STUN_REQUEST] = 0x000, [STUN_INDICATION] = 0x010, [STUN_SUCCESS] = 0x100, [STUN_ERROR] = 0x110};
    for (size_t number = 0; number < COUNT_OF(rfc_methods); number++)
        if (rfc_methods[number] == method && method != STUN_METHOD_UNKNOWN)
            return (uint16_t)(number | class_bits[cls]);
    return 0xffff;
}

int stun_dialect_type(const struct stun_dialect *d, uint16_t type, uint8_t *method, uint8_t *cls)
{
    if (!d->types)
        return rfc_type(type, method, cls);
    for (size_t i = 0; i < d->types_n; i++) {
        if (d->types[i].type == type) {
            *method = d->types[i].method;
            *cls = d->types[i].cls;
            return 0;
        }
    }
    return ERR_BAD;
}

uint16_t stun_dialect_type_of(const struct stun_dialect *d, enum stun_method method, enum stun_class cls)
{
    if (!d->types)
        return rfc_type_of((uint8_t)method, (uint8_t)cls);
    for (size_t i = 0; i < d->types_n; i++)
        if (d->types[i].method == method && d->types[i].cls == cls)
            return d->types[i].type;
    return 0xffff;
}

/* ---- names ---- */

const char *stun_method_name(uint8_t method)
{
    static const char *const names[STUN_METHOD_COUNT] = {
        [STUN_METHOD_UNKNOWN] = "unknown",
        [STUN_BINDING] = "Binding",
        [STUN_ALLOCATE] = "Allocate",
        [STUN_REFRESH] = "Refresh",
        [STUN_SEND] = "Send",
        [STUN_DATA] = "Data",
        [STUN_CREATE_PERMISSION] = "CreatePermission",
        [STUN_CHANNEL_BIND] = "ChannelBind",
        [STUN_CONNECT] = "Connect",
        [STUN_CONNECTION_BIND] = "ConnectionBind",
        [STUN_CONNECTION_ATTEMPT] = "ConnectionAttempt",
        [STUN_SET_ACTIVE_DESTINATION] = "Set Active Destination",
    };
    return names[method < STUN_METHOD_COUNT ? method : STUN_METHOD_UNKNOWN];
}

const char *stun_class_name(uint8_t cls)
{
    static const char *const names[] = {
        [STUN_REQUEST] = "request",
        [STUN_INDICATION] = "indication",
        [STUN_SUCCESS] = "success response",
        [STUN_ERROR] = "error response",
    };
    return cls < COUNT_OF(names) ? names[cls] : "unknown";
}

const char *stun_at_name(uint8_t at)
{
    static const char *const names[AT_COUNT] = {
        [AT_UNKNOWN] = "unknown",
        [AT_MAPPED_ADDRESS] = "MAPPED-ADDRESS",
        [AT_USERNAME] = "USERNAME",
        [AT_MESSAGE_INTEGRITY] = "MESSAGE-INTEGRITY",
        [AT_ERROR_CODE] = "ERROR-CODE",
        [AT_UNKNOWN_ATTRIBUTES] = "UNKNOWN-ATTRIBUTES",
        [AT_CHANNEL_NUMBER] = "CHANNEL-NUMBER",
        [AT_LIFETIME] = "LIFETIME",
        [AT_XOR_PEER_ADDRESS] = "XOR-PEER-ADDRESS",
        [AT_DATA] = "DATA",
        [AT_REALM] = "REALM",
        [AT_NONCE] = "NONCE",
        [AT_XOR_RELAYED_ADDRESS] = "XOR-RELAYED-ADDRESS",
        [AT_REQUESTED_ADDRESS_FAMILY] = "REQUESTED-ADDRESS-FAMILY",
        [AT_EVEN_PORT] = "EVEN-PORT",
        [AT_REQUESTED_TRANSPORT] = "REQUESTED-TRANSPORT",
        [AT_DONT_FRAGMENT] = "DONT-FRAGMENT",
        [AT_MESSAGE_INTEGRITY_SHA256] = "MESSAGE-INTEGRITY-SHA256",
        [AT_PASSWORD_ALGORITHM] = "PASSWORD-ALGORITHM",
        [AT_USERHASH] = "USERHASH",
        [AT_XOR_MAPPED_ADDRESS] = "XOR-MAPPED-ADDRESS",
        [AT_RESERVATION_TOKEN] = "RESERVATION-TOKEN",
        [AT_PRIORITY] = "PRIORITY",
        [AT_USE_CANDIDATE] = "USE-CANDIDATE",
        [AT_CONNECTION_ID] = "CONNECTION-ID",
        [AT_ADDITIONAL_ADDRESS_FAMILY] = "ADDITIONAL-ADDRESS-FAMILY",
        [AT_ADDRESS_ERROR_CODE] = "ADDRESS-ERROR-CODE",
        [AT_PASSWORD_ALGORITHMS] = "PASSWORD-ALGORITHMS",
        [AT_ALTERNATE_DOMAIN] = "ALTERNATE-DOMAIN",
        [AT_ICMP] = "ICMP",
        [AT_SOFTWARE] = "SOFTWARE",
        [AT_ALTERNATE_SERVER] = "ALTERNATE-SERVER",
        [AT_FINGERPRINT] = "FINGERPRINT",
        [AT_ICE_CONTROLLED] = "ICE-CONTROLLED",
        [AT_ICE_CONTROLLING] = "ICE-CONTROLLING",
        [AT_MAGIC_COOKIE] = "MAGIC-COOKIE",
        [AT_BANDWIDTH] = "BANDWIDTH",
        [AT_DESTINATION_ADDRESS] = "DESTINATION-ADDRESS",
        [AT_REMOTE_ADDRESS] = "REMOTE-ADDRESS",
        [AT_MS_VERSION] = "MS-VERSION",
        [AT_MS_ALTERNATE_HOST_NAME] = "MS-ALTERNATE-HOST-NAME",
        [AT_MS_APP_ID] = "MS-APP-ID",
        [AT_MS_SECURE_TAG] = "MS-SECURE-TAG",
        [AT_MS_SEQUENCE_NUMBER] = "MS-SEQUENCE-NUMBER",
        [AT_MS_SERVICE_QUALITY] = "MS-SERVICE-QUALITY",
        [AT_MS_ALTERNATE_MAPPED_ADDRESS] = "MS-ALTERNATE-MAPPED-ADDRESS",
        [AT_MS_MULTIPLEXED_TURN_SESSION_ID] = "MS-MULTIPLEXED-TURN-SESSION-ID",
        [AT_CANDIDATE_IDENTIFIER] = "CANDIDATE-IDENTIFIER",
        [AT_IMPLEMENTATION_VERSION] = "IMPLEMENTATION-VERSION",
    };
    return names[at < AT_COUNT ? at : AT_UNKNOWN];
}

/* 431 to 436 are MS-TURN's (from RFC 3489); 405 is RFC 8016's. */
const char *stun_reason(int code)
{
    static const struct {
        int code;
        const char *reason;
    } reasons[] = {
        {300, "Try Alternate"},
        {400, "Bad Request"},
        {401, "Unauthenticated"},
        {403, "Forbidden"},
        {405, "Mobility Forbidden"},
        {420, "Unknown Attribute"},
        {431, "Integrity Check Failure"},
        {432, "Missing Username"},
        {434, "Missing Realm"},
        {435, "Missing Nonce"},
        {436, "Unknown Username"},
        {437, "Allocation Mismatch"},
        {438, "Stale Nonce"},
        {440, "Address Family not Supported"},
        {441, "Wrong Credentials"},
        {442, "Unsupported Transport Protocol"},
        {443, "Peer Address Family Mismatch"},
        {446, "Connection Already Exists"},
        {447, "Connection Timeout or Failure"},
        {486, "Allocation Quota Reached"},
        {487, "Role Conflict"},
        {500, "Server Error"},
        {508, "Insufficient Capacity"},
    };
    for (size_t i = 0; i < COUNT_OF(reasons); i++)
        if (reasons[i].code == code)
            return reasons[i].reason;
    return "Error";
}
