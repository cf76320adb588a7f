/* A JSON writer (RFC 8259) into a bounded text: commas and escapes are its business. No reader.
 *
 * `key` is NULL at the top and inside an array. Whoever writes more than the text holds finds `out->truncated` set.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/text.h"

struct json {
    struct text *out;
    bool need_comma;
};

struct json json_of(struct text *out);
void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);
void json_text(struct json *j, const char *key, struct span value); /* invalid UTF-8 is written as U+FFFD */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_double(struct json *j, const char *key, double value); /* three decimals; null if it is not finite */
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif
