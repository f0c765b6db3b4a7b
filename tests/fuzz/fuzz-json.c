/* SPDX-License-Identifier: Apache-2.0 */

/*
 * JSON from strangers: what payload_check() takes goes into a message as it stands, so it has to be what
 * every parser takes; what json_parse() takes, json_format() gives back as the same value; and the numbers
 * and strings that are written here are read as what they were.
 */

#include "fuzz.h"
#include "payload-internal.h"

/* Formatted, parsed and formatted again it is the same. Gives the text. */
static char *check_format(const Json *json)
{
        char *text = json_format(json, false), *error = NULL;
        _cleanup_(freep) char *pretty = json_format(json, true);
        _cleanup_(freep) char *second = NULL, *third = NULL;
        _cleanup_(json_freep) Json *again = NULL, *from_pretty = NULL;

        hold(text && pretty);
        again = json_parse(text, strlen(text), &error);
        hold(again && !error);
        second = json_format(again, false);
        hold(second && strcmp(text, second) == 0);
        from_pretty = json_parse(pretty, strlen(pretty), &error);
        hold(from_pretty && !error);
        third = json_format(from_pretty, false);
        hold(third && strcmp(text, third) == 0);
        return text;
}

static void walk(const Json *json)
{
        const Json *member;
        const char *key;

        switch (json_type(json)) {
        case JSON_ARRAY:
                for (size_t i = 0; i < json_size(json); i++)
                        walk(json_at(json, i));
                break;
        case JSON_OBJECT:
                for (size_t i = 0; i < json_size(json); i++) {
                        member = json_member(json, i, &key);
                        hold(json_get(json, key) == member);
                        walk(member);
                }
                break;
        case JSON_STRING:
                if (json_string(json))
                        hold(text_is_utf8(json_string(json), strlen(json_string(json))));
                break;
        case JSON_INTEGER:
                hold(json_number(json) == (double) json_integer(json));
                break;
        case JSON_NUMBER:
                hold(json_number(json) - json_number(json) == 0); /* finite */
                break;
        case JSON_NULL:
        case JSON_BOOLEAN:
                break;
        }
}

/* As data it arrives as it was. */
static void check_message(const char *text, size_t size, const char *formatted)
{
        _cleanup_(bytes_deinit) Bytes bytes = {};
        Sample sample = {
                .at_msec = UINT64_MAX, .sensor = "", .channel = "c", .data = text, .data_size = size};
        _cleanup_(json_freep) Json *message = NULL;
        _cleanup_(freep) char *data = NULL;

        payload_put_message(&bytes, &sample);
        hold(!bytes.failed);
        message = json_parse((const char *) bytes.data, bytes.size, NULL);
        hold(json_type(message) == JSON_OBJECT && json_size(message) == 3);
        data = json_format(json_get(message, "data"), false);
        /* "null" is what a null and what isn't there are formatted as. */
        hold(data && strcmp(data, formatted) == 0);
}

static void check_text(const char *text, size_t size)
{
        char *check_error = NULL, *parse_error = NULL;
        bool good = payload_check(text, size, &check_error) == 0;
        _cleanup_(json_freep) Json *json = json_parse(text, size, &parse_error);
        _cleanup_(freep) char *formatted = NULL;
        PayloadScan scan;
        bool readable = payload_scan(text, size, PAYLOAD_DEPTH_MAX + 1, &scan) == 0 && !scan.beyond;

        hold_error(!good, check_error);
        hold_error(!json, parse_error);
        hold(readable == (json != NULL));
        if (!json)
                return;
        walk(json);
        formatted = check_format(json);
        if (good)
                check_message(text, size, formatted);
}

static void check_quote(const char *text)
{
        _cleanup_(freep) char *quoted = payload_quote(text);
        _cleanup_(json_freep) Json *json = json_parse(quoted, strlen(quoted), NULL);

        hold(quoted && json_string(json));
        if (text_is_utf8(text, strlen(text)))
                hold(strcmp(json_string(json), text) == 0);
}

static void check_number(const uint8_t *data)
{
        char text[32];
        double value;

        memcpy(&value, data, sizeof(value));
        if (payload_format_number(text, value) < 0) {
                hold(value - value != 0);
                return;
        }
        hold(payload_check(text, strlen(text), NULL) == 0);
        hold(strtod(text, NULL) == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = fuzz_text(data, size);

        /* Without the NUL behind it: the bytes of a message have none. */
        check_text((const char *) data, size);
        check_quote(text);
        if (size >= sizeof(double))
                check_number(data);
        return 0;
}
