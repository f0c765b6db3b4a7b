/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Values. A Json is a json_object of json-c, or json_null: json-c has NULL for null, which here means "there
 * is none". Only what payload_scan() found to be JSON gets to json-c's parser.
 */

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

/* json-c has a type of that name, payload.h a function. */
#define json_type json_c_type
#include <json-c/json.h>
#include <json-c/printbuf.h>
#undef json_type

#include "payload-internal.h"
#include "util/text.h"

static const char null_mark;
#define JSON_NULL_VALUE ((Json *) (uintptr_t) &null_mark)

/* json-c's view of a value: NULL for null. */
static json_object *json_inner(const Json *json)
{
        return json == JSON_NULL_VALUE ? NULL : (json_object *) (uintptr_t) json;
}

static bool json_is(const Json *json, enum json_c_type type)
{
        return json && json_object_is_type(json_inner(json), type);
}

Json *json_parse(const char *text, size_t size, char **ret_error)
{
        json_tokener *tokener;
        json_object *value;
        PayloadScan scan;
        bool done;

        if (size > PAYLOAD_SIZE_MAX) {
                text_set(ret_error, "the JSON has %zu bytes, more than %d", size, PAYLOAD_SIZE_MAX);
                return NULL;
        }
        /* One deeper than data may be: a whole message can be read. */
        if (payload_scan(text, size, PAYLOAD_DEPTH_MAX + 1, &scan) < 0) {
                text_set(ret_error, "this is not JSON: %s, at offset %zu", scan.error, scan.offset);
                return NULL;
        }
        if (scan.beyond) {
                text_set(ret_error, "the JSON has %s, at offset %zu", scan.beyond, scan.beyond_offset);
                return NULL;
        }
        /* json-c counts the scalars as a level. */
        tokener = json_tokener_new_ex(PAYLOAD_DEPTH_MAX + 2);
        if (!tokener) {
                text_set(ret_error, "out of memory");
                return NULL;
        }
        /* Without JSON_TOKENER_STRICT: json-c 0.18 then refuses all but ASCII; and the scan is stricter. */
        value = json_tokener_parse_ex(tokener, text, (int) size);
        if (json_tokener_get_error(tokener) == json_tokener_continue) /* a number: it might go on */
                value = json_tokener_parse_ex(tokener, "", 1);
        done = json_tokener_get_error(tokener) == json_tokener_success;
        if (!done)
                text_set(ret_error, "the JSON can't be read: %s",
                        json_tokener_error_desc(json_tokener_get_error(tokener)));
        /* The last string it came by may have been a secret. */
        explicit_bzero(tokener->pb->buf, (size_t) tokener->pb->size);
        json_tokener_free(tokener);
        if (!done)
                return NULL;
        return value ? (Json *) value : JSON_NULL_VALUE;
}

Json *json_free(Json *json)
{
        json_object_put(json_inner(json));
        return NULL;
}

static void wipe_strings(json_object *value)
{
        if (json_object_is_type(value, json_type_string)) {
                explicit_bzero((char *) (uintptr_t) json_object_get_string(value),
                        (size_t) json_object_get_string_len(value));
        } else if (json_object_is_type(value, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(value); i++)
                        wipe_strings(json_object_array_get_idx(value, i));
        } else if (json_object_is_type(value, json_type_object)) {
                struct json_object_iterator i = json_object_iter_begin(value),
                                            end = json_object_iter_end(value);

                for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i))
                        wipe_strings(json_object_iter_peek_value(&i));
        }
}

Json *json_free_secret(Json *json)
{
        wipe_strings(json_inner(json));
        return json_free(json);
}

JsonType json_type(const Json *json)
{
        json_object *value = json_inner(json);

        switch (json_object_get_type(value)) {
        case json_type_null:
                return JSON_NULL;
        case json_type_boolean:
                return JSON_BOOLEAN;
        case json_type_int:
                return json_object_get_uint64(value) > INT64_MAX && json_object_get_int64(value) > 0
                               ? JSON_NUMBER
                               : JSON_INTEGER;
        case json_type_double:
                return JSON_NUMBER;
        case json_type_string:
                return JSON_STRING;
        case json_type_array:
                return JSON_ARRAY;
        case json_type_object:
                return JSON_OBJECT;
        }
        return JSON_NULL;
}

const Json *json_get(const Json *object, const char *key)
{
        json_object *value;

        if (!json_is(object, json_type_object) ||
                !json_object_object_get_ex(json_inner(object), key, &value))
                return NULL;
        return (const Json *) value;
}

const Json *json_at(const Json *array, size_t index)
{
        if (!json_is(array, json_type_array))
                return NULL;
        return (const Json *) json_object_array_get_idx(json_inner(array), index);
}

size_t json_size(const Json *json)
{
        if (json_is(json, json_type_array))
                return json_object_array_length(json_inner(json));
        if (json_is(json, json_type_object))
                return (size_t) json_object_object_length(json_inner(json));
        return 0;
}

const Json *json_member(const Json *object, size_t index, const char **ret_key)
{
        struct json_object_iterator i;

        if (!json_is(object, json_type_object) || index >= json_size(object))
                return NULL;
        for (i = json_object_iter_begin(json_inner(object)); index > 0; index--)
                json_object_iter_next(&i);
        if (ret_key)
                *ret_key = json_object_iter_peek_name(&i);
        return (const Json *) json_object_iter_peek_value(&i);
}

const char *json_string(const Json *json)
{
        const char *text;

        if (!json_is(json, json_type_string))
                return NULL;
        text = json_object_get_string(json_inner(json));
        return strlen(text) == (size_t) json_object_get_string_len(json_inner(json)) ? text : NULL;
}

double json_number(const Json *json)
{
        double value;

        if (json_is(json, json_type_int) && json_type(json) == JSON_NUMBER)
                return (double) json_object_get_uint64(json_inner(json));
        if (!json_is(json, json_type_int) && !json_is(json, json_type_double))
                return 0;
        value = json_object_get_double(json_inner(json));
        return isfinite(value) ? value : copysign(DBL_MAX, value);
}

int64_t json_integer(const Json *json)
{
        return json_is(json, json_type_int) ? json_object_get_int64(json_inner(json)) : 0;
}

bool json_boolean(const Json *json)
{
        return json_is(json, json_type_boolean) && json_object_get_boolean(json_inner(json));
}

Json *json_new_object(void)
{
        return (Json *) json_object_new_object();
}

Json *json_new_array(void)
{
        return (Json *) json_object_new_array();
}

Json *json_new_string(const char *text)
{
        _cleanup_(freep) char *quoted = NULL;

        if (text_is_utf8(text, strlen(text)))
                return (Json *) json_object_new_string(text);
        quoted = payload_quote(text);
        return quoted ? json_parse(quoted, strlen(quoted), NULL) : NULL;
}

Json *json_new_number(double value)
{
        char buffer[32];

        if (payload_format_number(buffer, value) < 0)
                return JSON_NULL_VALUE;
        return (Json *) json_object_new_double_s(value, buffer);
}

Json *json_new_integer(int64_t value)
{
        return (Json *) json_object_new_int64(value);
}

Json *json_new_unsigned(uint64_t value)
{
        return (Json *) json_object_new_uint64(value);
}

Json *json_new_boolean(bool value)
{
        return (Json *) json_object_new_boolean(value);
}

int json_set(Json *object, const char *key, Json *value)
{
        assert(json_is(object, json_type_object));

        if (json_object_object_add(json_inner(object), key, json_inner(value)) < 0) {
                json_free(value);
                return -ENOMEM;
        }
        return 0;
}

int json_append(Json *array, Json *value)
{
        assert(json_is(array, json_type_array));

        if (json_object_array_add(json_inner(array), json_inner(value)) < 0) {
                json_free(value);
                return -ENOMEM;
        }
        return 0;
}

char *json_format(const Json *json, bool pretty)
{
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
        const char *text;

        if (pretty)
                flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
        text = json_object_to_json_string_ext(json_inner(json), flags);
        return text ? strdup(text) : NULL;
}
