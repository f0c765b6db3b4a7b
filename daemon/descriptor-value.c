/* SPDX-License-Identifier: Apache-2.0 */

/* Values of options: from text, and held against what the descriptor allows. */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "descriptor.h"
#include "util/text.h"

#define SHOWN_MAX 64 /* bytes of a wrong text that its sentence shows */

static const char *const type_names[] = {
        [PLUGD_BOOLEAN] = "boolean",
        [PLUGD_INTEGER] = "integer",
        [PLUGD_NUMBER] = "number",
        [PLUGD_STRING] = "string",
        [PLUGD_JSON] = "json",
        [PLUGD_GROUPS] = "groups",
};

const char *descriptor_type_name(uint32_t plugd_type)
{
        return plugd_type >= PLUGD_BOOLEAN && plugd_type <= PLUGD_GROUPS ? type_names[plugd_type]
                                                                         : "unknown";
}

const struct plugd_option *descriptor_find_option(
        const struct plugd_option *options, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(options[i].name, name) == 0)
                        return &options[i];
        return NULL;
}

static int parse_integer(const char *text, int64_t *ret)
{
        const char *digits = text + (*text == '-' || *text == '+');
        bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
        long long value;
        char *end;

        if (*digits < '0' || *digits > '9')
                return -EINVAL;
        errno = 0;
        value = strtoll(text, &end, hex ? 16 : 10);
        if (*end || errno != 0)
                return -EINVAL;
        *ret = value;
        return 0;
}

static int parse_number(const char *text, double *ret)
{
        double value;
        char *end;

        /* strtod takes more than a number of the configuration: inf, nan, hexadecimal, blanks before it. */
        if (!*text || text[strspn(text, "0123456789+-.eE")])
                return -EINVAL;
        value = strtod(text, &end);
        if (*end || !isfinite(value))
                return -EINVAL;
        *ret = value;
        return 0;
}

int descriptor_parse_value(const struct plugd_option *option, const char *text, struct plugd_value *ret)
{
        struct plugd_value value = {.type = option->type};

        switch ((enum plugd_type) option->type) {
        case PLUGD_BOOLEAN:
                if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
                        return -EINVAL;
                value.boolean = strcmp(text, "true") == 0;
                break;
        case PLUGD_INTEGER:
                if (parse_integer(text, &value.integer) < 0)
                        return -EINVAL;
                break;
        case PLUGD_NUMBER:
                if (parse_number(text, &value.number) < 0)
                        return -EINVAL;
                break;
        case PLUGD_STRING:
                value.string = text;
                break;
        case PLUGD_JSON:
        case PLUGD_GROUPS:
                return -EINVAL;
        }
        *ret = value;
        return 0;
}

int descriptor_choice(const char *choices, const char *text)
{
        size_t length = strlen(text);

        for (int i = 0;; i++) {
                size_t n = strcspn(choices, "|");

                if (n == length && strncmp(choices, text, n) == 0)
                        return i;
                if (choices[n] == '\0')
                        return -EINVAL;
                choices += n + 1;
        }
}

static int check_integer(const struct plugd_option *option, int64_t value, char **ret_error)
{
        /* Who writes the default as 0x76 thinks of the others in the same way. */
        bool hex = option->fallback && strncmp(option->fallback, "0x", 2) == 0 && value >= 0 &&
                   option->min >= 0 && option->max <= INT32_MAX;

        if ((option->min == 0 && option->max == 0) ||
                ((double) value >= option->min && (double) value <= option->max))
                return 0;
        if (hex)
                text_set(ret_error, "0x%" PRIx64 " is out of range (0x%x to 0x%x)", (uint64_t) value,
                        (unsigned) option->min, (unsigned) option->max);
        else
                text_set(ret_error, "%" PRId64 " is out of range (%.15g to %.15g%s%s)", value, option->min,
                        option->max, option->unit ? " " : "", option->unit ? option->unit : "");
        return -EINVAL;
}

static int check_number(const struct plugd_option *option, double value, char **ret_error)
{
        if ((option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max))
                return 0;
        text_set(ret_error, "%.15g is out of range (%.15g to %.15g%s%s)", value, option->min, option->max,
                option->unit ? " " : "", option->unit ? option->unit : "");
        return -EINVAL;
}

int descriptor_check_value(
        const struct plugd_option *option, const struct plugd_value *value, char **ret_error)
{
        switch ((enum plugd_type) option->type) {
        case PLUGD_INTEGER:
                return check_integer(option, value->integer, ret_error);
        case PLUGD_NUMBER:
                return check_number(option, value->number, ret_error);
        case PLUGD_STRING:
                if (strlen(value->string) > DESCRIPTOR_TEXT_MAX) {
                        text_set(ret_error, "this is longer than %d bytes", DESCRIPTOR_TEXT_MAX);
                        return -EINVAL;
                }
                if (!option->choices || descriptor_choice(option->choices, value->string) >= 0)
                        return 0;
                text_set(ret_error, "\"%.*s\" is none of %s", (int) text_cut(value->string, SHOWN_MAX),
                        value->string, option->choices);
                return -EINVAL;
        case PLUGD_BOOLEAN:
        case PLUGD_JSON:
        case PLUGD_GROUPS:
                break;
        }
        return 0;
}
