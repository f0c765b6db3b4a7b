/* SPDX-License-Identifier: Apache-2.0 */

/* What a plugin says of itself, as JSON on one line: the daemon's descriptor.h has the shape. */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "worker.h"

static void put_string(FILE *out, const char *text)
{
        putc('"', out);
        for (const unsigned char *c = (const unsigned char *) text; *c; c++)
                if (*c == '"' || *c == '\\')
                        fprintf(out, "\\%c", *c);
                else if (*c < 0x20 || *c == 0x7f)
                        fprintf(out, "\\u%04x", *c);
                else
                        putc(*c, out);
        putc('"', out);
}

/* A member with a string, if there is one. The comma before it is ours. */
static void put_member(FILE *out, const char *key, const char *text)
{
        if (!text)
                return;
        fprintf(out, ",\"%s\":", key);
        put_string(out, text);
}

/* The shortest that reads back the same. */
static void put_number(FILE *out, const char *key, double value)
{
        char text[32];

        for (int digits = 15; digits <= 17; digits++) {
                snprintf(text, sizeof(text), "%.*g", digits, value);
                if (strtod(text, NULL) == value)
                        break;
        }
        fprintf(out, ",\"%s\":%s", key, text);
}

static void put_choices(FILE *out, const char *choices)
{
        const char *separator = "";

        fputs(",\"choices\":[", out);
        for (const char *choice = choices; choice;) {
                size_t length = strcspn(choice, "|");
                char *one = strndup(choice, length);

                if (one) {
                        fputs(separator, out);
                        put_string(out, one);
                }
                free(one);
                separator = ",";
                choice = choice[length] == '|' ? choice + length + 1 : NULL;
        }
        putc(']', out);
}

static const char *type_name(uint32_t type)
{
        switch ((enum plugd_type) type) {
        case PLUGD_BOOLEAN:
                return "boolean";
        case PLUGD_INTEGER:
                return "integer";
        case PLUGD_NUMBER:
                return "number";
        case PLUGD_STRING:
                return "string";
        case PLUGD_JSON:
                return "json";
        case PLUGD_GROUPS:
                return "groups";
        }
        return "";
}

static void put_options(FILE *out, const struct plugd_option *options, size_t n)
{
        fputs(",\"options\":[", out);
        for (size_t i = 0; i < n; i++) {
                const struct plugd_option *option = options + i;

                fputs(i > 0 ? ",{\"name\":" : "{\"name\":", out);
                put_string(out, option->name);
                put_member(out, "type", type_name(option->type));
                put_member(out, "default", option->fallback);
                if (option->choices)
                        put_choices(out, option->choices);
                if (option->min != 0 || option->max != 0) {
                        put_number(out, "min", option->min);
                        put_number(out, "max", option->max);
                }
                put_member(out, "unit", option->unit);
                fputs(option->flags & PLUGD_REQUIRED ? ",\"required\":true" : ",\"required\":false", out);
                put_member(out, "help", option->help);
                if (option->type == PLUGD_GROUPS)
                        put_options(out, option->options, option->n_options);
                putc('}', out);
        }
        putc(']', out);
}

static void put_channels(FILE *out, const struct plugd_channel *channels, size_t n)
{
        fputs(",\"channels\":[", out);
        for (size_t i = 0; i < n; i++) {
                const struct plugd_channel *channel = channels + i;

                fputs(i > 0 ? ",{\"name\":" : "{\"name\":", out);
                put_string(out, channel->name);
                put_member(out, "type", type_name(channel->type));
                put_member(out, "unit", channel->unit);
                fprintf(out, ",\"readable\":%s,\"writable\":%s",
                        channel->flags & PLUGD_READABLE ? "true" : "false",
                        channel->flags & PLUGD_WRITABLE ? "true" : "false");
                put_member(out, "help", channel->help);
                putc('}', out);
        }
        putc(']', out);
}

static void put_devices(FILE *out, const char *const *devices)
{
        fputs(",\"devices\":[", out);
        for (size_t i = 0; devices && devices[i]; i++) {
                fputs(i > 0 ? "," : "", out);
                put_string(out, devices[i]);
        }
        putc(']', out);
}

int plugin_describe(const struct plugd_plugin *plugin, FILE *out)
{
        fprintf(out, "{\"abi\":%u", plugin->abi);
        put_member(out, "name", plugin->name);
        put_member(out, "description", plugin->description ? plugin->description : "");
        put_options(out, plugin->options, plugin->n_options);
        put_channels(out, plugin->channels, plugin->n_channels);
        put_devices(out, plugin_devices(plugin));
        fputs("}\n", out);
        return fflush(out) < 0 || ferror(out) ? -EIO : 0;
}
