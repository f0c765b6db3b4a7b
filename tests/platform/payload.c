/* SPDX-License-Identifier: Apache-2.0 */
#include "payload.h"
#include "scan.h"
#include "topic.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Finds the text of the member "data" in an object that has been checked; the last one wins, as in json-c.
 * NULL if its key is written with escapes. */
static const char *find_data(const char *text, size_t size, size_t *ret_size)
{
        const char *end = text + size, *p = scan_space(text, end) + 1, *found = NULL;

        for (p = scan_space(p, end); p < end && *p == '"'; p = scan_space(p, end)) {
                bool match = strncmp(p, "\"data\"", 6) == 0;
                const char *value;

                value = scan_space(scan_space(scan_string(p, end), end) + 1, end);
                p = scan_value(value, end);
                if (match) {
                        found = value;
                        *ret_size = (size_t) (p - value);
                }
                p = scan_space(p, end);
                if (*p != ',')
                        break;
                p++;
        }
        return found;
}

static int parse_id(json_object *object, Payload *ret, const char **ret_why)
{
        json_object *member;

        if (!json_object_object_get_ex(object, "id", &member))
                return 0;
        *ret_why = "id is not a string of 24 hex digits";
        if (!json_object_is_type(member, json_type_string) ||
                !object_id_valid(json_object_get_string(member)))
                return -EBADMSG;
        snprintf(ret->id, sizeof(ret->id), "%s", json_object_get_string(member));
        ret->has_id = true;
        return 0;
}

static int parse_at(json_object *object, Payload *ret, const char **ret_why)
{
        json_object *member;

        if (!json_object_object_get_ex(object, "at", &member))
                return 0;
        *ret_why = "at is not a number of milliseconds";
        if (json_object_is_type(member, json_type_int))
                ret->at = json_object_get_int64(member);
        else if (json_object_is_type(member, json_type_double) &&
                 fabs(json_object_get_double(member)) < 1e15)
                ret->at = (int64_t) json_object_get_double(member);
        else
                return -EBADMSG;
        ret->has_at = true;
        return 0;
}

static int parse_of(json_object *object, Payload *ret, const char **ret_why)
{
        json_object *member;

        if (!json_object_object_get_ex(object, "of", &member))
                return 0;
        *ret_why = "of is not a Plug-ID";
        if (!json_object_is_type(member, json_type_string) || !plug_id_valid(json_object_get_string(member)))
                return -EBADMSG;
        snprintf(ret->of, sizeof(ret->of), "%s", json_object_get_string(member));
        return 0;
}

int payload_parse(const char *text, size_t size, Payload *ret, const char **ret_why)
{
        CLEANUP_JSON json_object *object = NULL;
        json_object *data;
        bool ok;

        *ret = (Payload){0};
        object = json_parse(text, size, &ok, ret_why);
        if (!ok)
                return -EBADMSG;
        *ret_why = "not an object";
        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        *ret_why = "no data";
        if (!json_object_object_get_ex(object, "data", &data))
                return -EBADMSG;
        if (parse_id(object, ret, ret_why) < 0 || parse_at(object, ret, ret_why) < 0 ||
                parse_of(object, ret, ret_why) < 0)
                return -EBADMSG;
        ret->data = find_data(text, size, &ret->data_size);
        if (!ret->data) {
                ret->data_copy = string_copy(json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN));
                ret->data = ret->data_copy;
                ret->data_size = strlen(ret->data);
        }
        return 0;
}

void payload_deinit(Payload *payload)
{
        free(payload->data_copy);
        *payload = (Payload){0};
}

char *payload_complete(Payload *payload, const char *text, size_t size, int64_t time_usec)
{
        char id[64] = "", at[64] = "";
        const char *rest = scan_space(text, text + size) + 1;

        if (payload->has_id && payload->has_at)
                return NULL;
        if (!payload->has_id) {
                /* Seconds first, like any object id, so that the table stays in order. */
                snprintf(payload->id, sizeof(payload->id), "%08" PRIx32, (uint32_t) (time_usec / 1000000));
                random_hex(payload->id + 8, 16);
                snprintf(id, sizeof(id), "\"id\":\"%s\",", payload->id);
        }
        if (!payload->has_at) {
                payload->at = time_usec / 1000;
                snprintf(at, sizeof(at), "\"at\":%" PRId64 ",", payload->at);
        }
        return string_format("{%s%s%.*s", id, at, (int) (size - (size_t) (rest - text)), rest);
}
