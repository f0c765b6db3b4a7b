/* SPDX-License-Identifier: Apache-2.0 */

/* Reading by table: takes each key that the table has, or its default, and finds the keys it doesn't have.
 */

#include <errno.h>
#include <grp.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "config-internal.h"
#include "util/text.h"

/* --- where values go ----------------------------------------------------------------------------------- */

static void store_integer(const ConfigKey *key, void *base, uint64_t value)
{
        uint8_t *to = (uint8_t *) base + key->offset;

        if (key->size == sizeof(uint64_t))
                memcpy(to, &value, sizeof(value));
        else if (key->size == sizeof(uint32_t))
                memcpy(to, &(uint32_t){(uint32_t) value}, sizeof(uint32_t));
        else if (key->size == sizeof(uint16_t))
                memcpy(to, &(uint16_t){(uint16_t) value}, sizeof(uint16_t));
        else
                *to = (uint8_t) value;
}

static void store_number(const ConfigKey *key, void *base, double value)
{
        if (key->type == CONFIG_KEY_DURATION)
                store_integer(key, base, (uint64_t) llround(value * (double) USEC_PER_SEC));
        else
                memcpy((uint8_t *) base + key->offset, &value, sizeof(value));
}

/* Takes the text over. */
static void store_text(ConfigReader *reader, const ConfigKey *key, void *base, char *text)
{
        char **to = (char **) (void *) ((uint8_t *) base + key->offset);

        if (!text)
                reader->failed = true;
        free(*to);
        *to = text;
}

/* --- one key ------------------------------------------------------------------------------------------- */

static void fail_range(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key,
        const char *value, const char *min, const char *max)
{
        config_fail(reader, setting, "%s is out of range (%s to %s%s%s)", value, min, max,
                key->unit ? " " : "", key->unit ? key->unit : "");
}

/* "10m" */
static bool fails_seconds(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *number)
{
        _cleanup_(freep) char *wanted = NULL;

        if (!key->unit || strcmp(key->unit, "s") != 0 || config_setting_is_number(setting))
                return false;
        wanted = text_printf("%s of seconds, as in 60", number);
        config_fail_type(reader, setting, wanted ? wanted : number);
        return true;
}

static void take_integer(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        char text[24], min[24], max[24];
        double seconds;
        int64_t value;

        if (fails_seconds(reader, setting, key, "a whole number"))
                return;
        /* A duration that is counted in whole seconds. */
        if (key->unit && config_setting_type(setting) == CONFIG_TYPE_FLOAT) {
                seconds = config_setting_get_float(setting);
                value = seconds > -1e9 && seconds < 1e9 ? llround(seconds) : INT64_MAX;
        } else if (config_get_integer(reader, setting, &value) < 0)
                return;
        if (value >= (int64_t) key->min && value <= (int64_t) key->max) {
                store_integer(key, base, (uint64_t) value);
                return;
        }
        snprintf(text, sizeof(text), "%lld", (long long) value);
        snprintf(min, sizeof(min), "%.0f", key->min);
        snprintf(max, sizeof(max), "%.0f", key->max);
        fail_range(reader, setting, key, text, min, max);
}

static void take_number(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        char text[32], min[32], max[32];
        double value;

        if (fails_seconds(reader, setting, key, "a number") ||
                config_get_number(reader, setting, &value) < 0)
                return;
        if (value >= key->min && value <= key->max) {
                store_number(key, base, value);
                return;
        }
        snprintf(text, sizeof(text), "%.15g", value);
        snprintf(min, sizeof(min), "%.15g", key->min);
        snprintf(max, sizeof(max), "%.15g", key->max);
        fail_range(reader, setting, key, text, min, max);
}

/* As one would write it: "64M". */
static const char *format_size(char buffer[static 32], uint64_t bytes)
{
        static const char units[] = {'K', 'M', 'G'};
        char unit[2] = "";

        for (size_t i = 0; i < sizeof(units) && bytes > 0 && bytes % 1024 == 0; i++, bytes /= 1024)
                unit[0] = units[i];
        snprintf(buffer, 32, "%llu%s", (unsigned long long) bytes, unit);
        return buffer;
}

static void take_size(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        char text[32], min[32], max[32];
        uint64_t value;

        if (config_get_size(reader, setting, &value) < 0)
                return;
        if (value >= (uint64_t) key->min && value <= (uint64_t) key->max)
                store_integer(key, base, value);
        else
                fail_range(reader, setting, key, format_size(text, value),
                        format_size(min, (uint64_t) key->min), format_size(max, (uint64_t) key->max));
}

/* May a group read a secret? root's, ours and the service's may. */
static bool group_trusted(gid_t gid)
{
        const struct group *group = gid == 0 || gid == getegid() ? NULL : getgrgid(gid);

        return gid == 0 || gid == getegid() || (group && strcmp(group->gr_name, "plugd") == 0);
}

/* A secret that others may read along. */
static void check_exposure(ConfigReader *reader, const config_setting_t *setting)
{
        const ConfigFile *file = &reader->files[config_place(reader, setting).file];
        bool exposed = (file->mode & S_IROTH) || ((file->mode & S_IRGRP) && !group_trusted(file->group));

        if (!S_ISREG(file->mode) || !exposed)
                return;
        /* The service's file is root's, and read by its group. */
        if (file->owner == 0 && getgrnam("plugd"))
                config_warn(reader, setting,
                        "this is a secret, and others may read %s: chgrp plugd %s, then chmod 640 %s",
                        file->path, file->path, file->path);
        else
                config_warn(reader, setting, "this is a secret, and others may read %s: chmod 600 %s",
                        file->path, file->path);
}

static void take_string(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        _cleanup_(freep) char *error = NULL;
        const char *text;

        if (config_get_string(reader, setting, true, &text) < 0)
                return;
        if (key->secret)
                check_exposure(reader, setting);
        if (key->check && key->check(text, &error) < 0)
                config_fail(reader, setting, "%s", error ? error : "this can't be");
        else
                store_text(reader, key, base, strdup(text));
}

static void take_file(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        const char *path = reader->files[config_place(reader, setting).file].path,
                   *slash = strrchr(path, '/');
        const char *name;
        char *whole;

        if (config_get_string(reader, setting, true, &name) < 0)
                return;
        if (!*name) {
                config_fail(reader, setting, "this has to be the name of a file");
                return;
        }
        whole = *name == '/' || !slash ? strdup(name)
                                       : text_printf("%.*s/%s", (int) (slash - path), path, name);
        /* It may still come, as a secret that is provisioned later. */
        if (whole && access(whole, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
                config_warn(reader, setting, "there is no file %s", whole);
        store_text(reader, key, base, whole);
}

static void take_choice(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        const char *text;
        int index;

        if (config_get_string(reader, setting, true, &text) < 0)
                return;
        index = descriptor_choice(key->choices, text);
        if (index >= 0)
                store_integer(key, base, (uint64_t) index + (uint64_t) key->min);
        else
                config_fail(reader, setting, "\"%.64s\" is none of %s", text, key->choices);
}

static void take_group(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        if (!setting && key->optional)
                return;
        if (setting && !config_setting_is_group(setting)) {
                config_fail(reader, setting, "this has to be a group { … }, and is %s",
                        config_type_name(setting));
                return;
        }
        config_take_group(reader, setting, key->keys, base);
        if (key->after)
                key->after(reader, setting, base);
}

static void take_value(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        char *text;

        switch (key->type) {
        case CONFIG_KEY_INTEGER:
                take_integer(reader, setting, key, base);
                break;
        case CONFIG_KEY_NUMBER:
        case CONFIG_KEY_DURATION:
                take_number(reader, setting, key, base);
                break;
        case CONFIG_KEY_SIZE:
                take_size(reader, setting, key, base);
                break;
        case CONFIG_KEY_STRING:
                take_string(reader, setting, key, base);
                break;
        case CONFIG_KEY_FILE:
                take_file(reader, setting, key, base);
                break;
        case CONFIG_KEY_CHOICE:
                take_choice(reader, setting, key, base);
                break;
        case CONFIG_KEY_JSON:
                if (config_get_json(reader, setting, &text) >= 0)
                        store_text(reader, key, base, text);
                break;
        case CONFIG_KEY_GROUP:
        case CONFIG_KEY_SPECIAL:
                break;
        }
}

/* A default is the table's, so it is right. */
static void take_fallback(ConfigReader *reader, const ConfigKey *key, void *base)
{
        uint64_t bytes = 0;

        switch (key->type) {
        case CONFIG_KEY_INTEGER:
                store_integer(key, base, strtoull(key->fallback, NULL, 10));
                break;
        case CONFIG_KEY_NUMBER:
        case CONFIG_KEY_DURATION:
                store_number(key, base, strtod(key->fallback, NULL));
                break;
        case CONFIG_KEY_SIZE:
                text_parse_size(key->fallback, &bytes);
                store_integer(key, base, bytes);
                break;
        case CONFIG_KEY_CHOICE:
                store_integer(key, base,
                        (uint64_t) descriptor_choice(key->choices, key->fallback) + (uint64_t) key->min);
                break;
        case CONFIG_KEY_STRING:
        case CONFIG_KEY_FILE:
        case CONFIG_KEY_JSON:
                store_text(reader, key, base, strdup(key->fallback));
                break;
        case CONFIG_KEY_GROUP:
        case CONFIG_KEY_SPECIAL:
                break;
        }
}

void config_take_key(ConfigReader *reader, const config_setting_t *group, const ConfigKey *key, void *base)
{
        const config_setting_t *setting = group ? config_setting_get_member(group, key->name) : NULL;

        if (key->type == CONFIG_KEY_GROUP)
                take_group(reader, setting, key, base);
        else if (key->type == CONFIG_KEY_SPECIAL)
                key->read(reader, setting, key, base);
        else if (setting)
                take_value(reader, setting, key, base);
        else if (key->required && group)
                config_fail(reader, group, "%s is missing: %s", key->name, key->required);
        else if (key->fallback)
                take_fallback(reader, key, base);
}

void config_take_group(
        ConfigReader *reader, const config_setting_t *group, const ConfigKey *keys, void *base)
{
        const char *names[32] = {NULL}, *owner = group ? config_setting_name(group) : NULL;

        if (!owner)
                owner = keys == config_keys ? "this file" : "a file in sensors.d";
        for (size_t i = 0; keys[i].name; i++) {
                config_take_key(reader, group, &keys[i], base);
                if (i + 1 < ELEMENTSOF(names))
                        names[i] = keys[i].name;
        }
        for (unsigned i = 0; group && i < (unsigned) config_setting_length(group); i++) {
                const config_setting_t *setting = config_setting_get_elem(group, i);
                const ConfigKey *key = keys;

                while (key->name && strcmp(key->name, config_setting_name(setting)) != 0)
                        key++;
                if (!key->name && !config_is_double(reader, setting))
                        config_fail_unknown(reader, setting, "key", owner, names);
        }
}
