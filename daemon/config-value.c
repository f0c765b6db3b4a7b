/* SPDX-License-Identifier: Apache-2.0 */

/* Single values: what libconfig has, as what we want it to be, or a report of what is wrong with it. */

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "config-internal.h"
#include "util/text.h"

const char *config_type_name(const config_setting_t *setting)
{
        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_GROUP:
                return "a group { … }";
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                return "an integer";
        case CONFIG_TYPE_FLOAT:
                return "a number with a point";
        case CONFIG_TYPE_STRING:
                return "a string";
        case CONFIG_TYPE_BOOL:
                return "true or false";
        case CONFIG_TYPE_ARRAY:
                return "an array [ … ]";
        case CONFIG_TYPE_LIST:
                return "a list ( … )";
        }
        return "nothing";
}

int config_fail_type(ConfigReader *reader, const config_setting_t *setting, const char *wanted)
{
        /* Also what is written as an integer, and doesn't fit into 64 bits. */
        if (config_setting_type(setting) == CONFIG_TYPE_FLOAT &&
                !isfinite(config_setting_get_float(setting)))
                config_fail(reader, setting, "this number is too large");
        else
                config_fail(
                        reader, setting, "this has to be %s, and is %s", wanted, config_type_name(setting));
        return -EINVAL;
}

int config_get_integer(ConfigReader *reader, const config_setting_t *setting, int64_t *ret)
{
        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                *ret = config_setting_get_int64(setting);
                return 0;
        }
        return config_fail_type(reader, setting, "an integer");
}

int config_get_number(ConfigReader *reader, const config_setting_t *setting, double *ret)
{
        double number;

        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                *ret = (double) config_setting_get_int64(setting);
                return 0;
        case CONFIG_TYPE_FLOAT:
                number = config_setting_get_float(setting);
                if (!isfinite(number))
                        break;
                *ret = number;
                return 0;
        }
        return config_fail_type(reader, setting, "a number");
}

int config_get_boolean(ConfigReader *reader, const config_setting_t *setting, bool *ret)
{
        if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
                return config_fail_type(reader, setting, "true or false");
        *ret = config_setting_get_bool(setting);
        return 0;
}

int config_get_string(ConfigReader *reader, const config_setting_t *setting, bool plain, const char **ret)
{
        const char *text;

        if (config_setting_type(setting) != CONFIG_TYPE_STRING)
                return config_fail_type(reader, setting, "a string");
        text = config_setting_get_string(setting);
        if (!text)
                text = ""; /* libconfig 1.5 has this for an empty string in places */
        if (!text_is_utf8(text, strlen(text))) {
                config_fail(reader, setting, "this is not UTF-8 text");
                return -EINVAL;
        }
        for (const char *p = text; plain && *p; p++)
                if (iscntrl((unsigned char) *p)) {
                        config_fail(reader, setting, "there is a control character in this");
                        return -EINVAL;
                }
        *ret = text;
        return 0;
}

int config_get_size(ConfigReader *reader, const config_setting_t *setting, uint64_t *ret)
{
        const char *text;
        int64_t bytes;
        int r;

        if (config_setting_type(setting) != CONFIG_TYPE_STRING) {
                if (config_setting_type(setting) != CONFIG_TYPE_INT &&
                        config_setting_type(setting) != CONFIG_TYPE_INT64)
                        return config_fail_type(reader, setting, "a size, as 1048576 or \"64M\"");
                r = config_get_integer(reader, setting, &bytes);
                if (r < 0)
                        return r;
                if (bytes < 0) {
                        config_fail(reader, setting, "%lld is no size", (long long) bytes);
                        return -EINVAL;
                }
                *ret = (uint64_t) bytes;
                return 0;
        }
        r = config_get_string(reader, setting, true, &text);
        if (r < 0)
                return r;
        r = text_parse_size(text, ret);
        if (r < 0)
                config_fail(reader, setting,
                        "\"%s\" is no size (bytes, or a number and a capital K, M or G, as in \"64M\")",
                        text);
        return r < 0 ? -EINVAL : 0;
}

static Json *json_from_setting(ConfigReader *reader, const config_setting_t *setting);

static Json *json_from_aggregate(ConfigReader *reader, const config_setting_t *setting)
{
        bool group = config_setting_is_group(setting);
        _cleanup_(json_freep) Json *json = group ? json_new_object() : json_new_array();

        for (unsigned i = 0; json && i < (unsigned) config_setting_length(setting); i++) {
                const config_setting_t *element = config_setting_get_elem(setting, i);
                Json *value = json_from_setting(reader, element);
                int r;

                if (!value)
                        return NULL;
                r = group ? json_set(json, config_setting_name(element), value) : json_append(json, value);
                if (r < 0) {
                        reader->failed = true;
                        return NULL;
                }
        }
        return TAKE_PTR(json);
}

/* NULL: it has been reported, or there is no memory. */
static Json *json_from_setting(ConfigReader *reader, const config_setting_t *setting)
{
        const char *text;
        double number;

        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_GROUP:
        case CONFIG_TYPE_ARRAY:
        case CONFIG_TYPE_LIST:
                return json_from_aggregate(reader, setting);
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                return json_new_integer(config_setting_get_int64(setting));
        case CONFIG_TYPE_FLOAT:
                return config_get_number(reader, setting, &number) < 0 ? NULL : json_new_number(number);
        case CONFIG_TYPE_STRING:
                return config_get_string(reader, setting, false, &text) < 0 ? NULL : json_new_string(text);
        case CONFIG_TYPE_BOOL:
                return json_new_boolean(config_setting_get_bool(setting));
        }
        return NULL;
}

int config_get_json(ConfigReader *reader, const config_setting_t *setting, char **ret)
{
        size_t n_errors = reader->n_errors;
        _cleanup_(json_freep) Json *json = json_from_setting(reader, setting);
        _cleanup_(freep) char *text = json ? json_format(json, false) : NULL, *error = NULL;

        if (reader->n_errors > n_errors)
                return -EINVAL;
        if (!text) {
                reader->failed = true;
                return -ENOMEM;
        }
        if (payload_check(text, strlen(text), &error) < 0) {
                config_fail(reader, setting, "%s", error ? error : "this is too large");
                return -EINVAL;
        }
        *ret = TAKE_PTR(text);
        return 0;
}
