/* SPDX-License-Identifier: Apache-2.0 */

/* The sensors: the host's own keys by table, the plugin's options by its descriptor, and what there is to
 * say of all of them together. */

#include <errno.h>
#include <string.h>

#include "config-internal.h"
#include "group.h"
#include "topic.h"
#include "util/text.h"

#define NAME_LENGTH_MAX 64
#define GROUPS_MAX 256 /* of one option */

static int check_word(const char *text, const char *extra, char **ret_error)
{
        size_t length = strlen(text);

        for (const char *p = text; *p; p++)
                if (!(*p >= '0' && *p <= '9') && !(*p >= 'A' && *p <= 'Z') && !(*p >= 'a' && *p <= 'z') &&
                        !strchr(extra, *p))
                        length = 0;
        if (length >= 1 && length <= NAME_LENGTH_MAX)
                return 0;
        text_set(ret_error, "\"%.80s\" is no name: 1 to %d of A-Z a-z 0-9 %c%s", text, NAME_LENGTH_MAX,
                extra[0], extra[1] ? " -" : "");
        return -EINVAL;
}

static int check_sensor_name(const char *text, char **ret_error)
{
        return check_word(text, "_", ret_error);
}

static int check_plugin_name(const char *text, char **ret_error)
{
        return check_word(text, "_-", ret_error);
}

#define TO(member) .offset = offsetof(SensorConfig, member), .size = sizeof(((SensorConfig *) NULL)->member)

const ConfigKey config_sensor_keys[] = {
        {"name", CONFIG_KEY_STRING, TO(name), .check = check_sensor_name,
                .required = "what the sensor is called here, as name = \"door\""},
        {"plugin", CONFIG_KEY_STRING, TO(plugin), .check = check_plugin_name,
                .required = "what reads it, as plugin = \"system\""},
        {"channel", CONFIG_KEY_STRING, TO(channel), .check = topic_check_channel},
        {"interval", CONFIG_KEY_NUMBER, TO(interval_sec), .fallback = "10", .min = 0.001, .max = 86400,
                .unit = "s"},
        {"rate_limit", CONFIG_KEY_NUMBER, TO(rate_limit), .fallback = "1000", .min = 0, .max = 1000000,
                .unit = "samples/s"},
        /* Without defaults of their own: take_sensor() begins with the spool's. */
        {"priority", CONFIG_KEY_INTEGER, TO(policy.priority), .max = 9},
        {"ttl", CONFIG_KEY_DURATION, TO(policy.ttl_usec), .max = CONFIG_TTL_MAX, .unit = "s"},
        {"when_full", CONFIG_KEY_CHOICE, TO(policy.when_full), .choices = CONFIG_WHEN_FULL},
        {0},
};

static bool is_sensor_key(const char *name)
{
        for (const ConfigKey *key = config_sensor_keys; key->name; key++)
                if (strcmp(key->name, name) == 0)
                        return true;
        return false;
}

/* --- options of plugins -------------------------------------------------------------------------------- */

typedef struct OptionsTable {
        const struct plugd_option *options;
        size_t n_options;
        const char *owner; /* the plugin, or the option that has a list of groups */
        bool top;          /* the host's keys stand beside them */
} OptionsTable;

static void take_options(ConfigReader *reader, const config_setting_t *group, const OptionsTable *table,
        struct plugd_group *options);

static void take_option_groups(ConfigReader *reader, const config_setting_t *setting,
        const struct plugd_option *option, struct plugd_group *options)
{
        const OptionsTable table = {option->options, option->n_options, option->name, .top = false};
        unsigned n = config_setting_is_aggregate(setting) ? (unsigned) config_setting_length(setting) : 0;
        struct plugd_value value = {.type = PLUGD_GROUPS};
        struct plugd_group *groups;

        if (!config_setting_is_list(setting) && !(config_setting_is_array(setting) && n == 0)) {
                config_fail(reader, setting, "this has to be a list ( { … }, … ), and is %s",
                        config_type_name(setting));
                return;
        }
        if (n > GROUPS_MAX) {
                config_fail(reader, setting, "%u are more than the %d there can be", n, GROUPS_MAX);
                return;
        }
        groups = calloc(n + !n, sizeof(*groups));
        if (!groups) {
                reader->failed = true;
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                const config_setting_t *element = config_setting_get_elem(setting, i);

                if (config_setting_is_group(element))
                        take_options(reader, element, &table, &groups[i]);
                else
                        config_fail(reader, element, "this has to be a group { … }, and is %s",
                                config_type_name(element));
        }
        value.groups = groups;
        value.count = n;
        if (group_add(options, option->name, &value) < 0)
                reader->failed = true;
        for (unsigned i = 0; i < n; i++)
                group_deinit(&groups[i]);
        free(groups);
}

static void take_option(ConfigReader *reader, const config_setting_t *setting,
        const struct plugd_option *option, struct plugd_group *options)
{
        _cleanup_(freep) char *error = NULL;
        struct plugd_value value = {.type = option->type};
        bool boolean = false;
        int r = -EINVAL;

        switch ((enum plugd_type) option->type) {
        case PLUGD_BOOLEAN:
                r = config_get_boolean(reader, setting, &boolean);
                value.boolean = boolean;
                break;
        case PLUGD_INTEGER:
                r = config_get_integer(reader, setting, &value.integer);
                break;
        case PLUGD_NUMBER:
                r = config_get_number(reader, setting, &value.number);
                break;
        case PLUGD_STRING:
                r = config_get_string(reader, setting, false, &value.string);
                break;
        case PLUGD_GROUPS:
                take_option_groups(reader, setting, option, options);
                return;
        case PLUGD_JSON: /* no type of an option: the descriptor was refused */
                break;
        }
        if (r < 0)
                return;
        if (descriptor_check_value(option, &value, &error) < 0)
                config_fail(reader, setting, "%s", error ? error : "this can't be");
        else if (group_add(options, option->name, &value) < 0)
                reader->failed = true;
}

static void fail_unknown_option(
        ConfigReader *reader, const config_setting_t *setting, const OptionsTable *table)
{
        _cleanup_(freep) const char **names =
                calloc(table->n_options + DESCRIPTOR_OPTIONS_MAX, sizeof(*names));
        size_t n = 0;

        if (!names) {
                reader->failed = true;
                return;
        }
        for (; n < table->n_options; n++)
                names[n] = table->options[n].name;
        for (const ConfigKey *key = config_sensor_keys; table->top && key->name; key++)
                names[n++] = key->name;
        config_fail_unknown(reader, setting, "option", table->owner, names);
}

/* What is written, and the defaults of what isn't. */
static void take_options(ConfigReader *reader, const config_setting_t *group, const OptionsTable *table,
        struct plugd_group *options)
{
        for (size_t i = 0; i < table->n_options; i++) {
                const struct plugd_option *option = &table->options[i];
                const config_setting_t *setting = config_setting_get_member(group, option->name);
                struct plugd_value value;

                if (setting)
                        take_option(reader, setting, option, options);
                else if (option->flags & PLUGD_REQUIRED)
                        config_fail(reader, group, "%s is missing%s%s", option->name,
                                option->help ? ": " : "", option->help ? option->help : "");
                else if (option->fallback && descriptor_parse_value(option, option->fallback, &value) >= 0 &&
                         group_add(options, option->name, &value) < 0)
                        reader->failed = true;
        }
        for (unsigned i = 0; i < (unsigned) config_setting_length(group); i++) {
                const config_setting_t *setting = config_setting_get_elem(group, i);
                const char *name = config_setting_name(setting);

                if (!descriptor_find_option(table->options, table->n_options, name) &&
                        !(table->top && is_sensor_key(name)) && !config_is_double(reader, setting))
                        fail_unknown_option(reader, setting, table);
        }
}

/* --- sensors ------------------------------------------------------------------------------------------- */

/* What the channel of a plugin is called in full. NULL: out of memory. */
static char *full_channel(const SensorConfig *sensor, const struct plugd_channel *channel)
{
        return sensor->descriptor->n_channels == 1 ? strdup(sensor->channel)
                                                   : text_printf("%s/%s", sensor->channel, channel->name);
}

static void check_channels(ConfigReader *reader, const config_setting_t *group, const SensorConfig *sensor)
{
        for (size_t i = 0; i < sensor->descriptor->n_channels; i++) {
                _cleanup_(freep) char *channel = full_channel(sensor, &sensor->descriptor->channels[i]);
                _cleanup_(freep) char *error = NULL;

                if (!channel)
                        reader->failed = true;
                else if (topic_check_channel(channel, &error) < 0) {
                        config_fail(reader, group, "%s", error ? error : "its channel can't be");
                        return;
                }
        }
}

static void take_plugin(ConfigReader *reader, const config_setting_t *group, SensorConfig *sensor)
{
        _cleanup_(freep) char *error = NULL;
        OptionsTable table = {.top = true};

        sensor->descriptor = reader->lookup(sensor->plugin, &error, reader->userdata);
        if (!sensor->descriptor) {
                config_fail(reader, config_setting_get_member(group, "plugin"), "%s",
                        error ? error : "there is no such plugin");
                return;
        }
        table.options = sensor->descriptor->options;
        table.n_options = sensor->descriptor->n_options;
        table.owner = sensor->plugin;
        take_options(reader, group, &table, &sensor->options);
        if (sensor->channel)
                check_channels(reader, group, sensor);
}

static void check_double(ConfigReader *reader, const config_setting_t *group, const SensorConfig *sensor)
{
        const Config *config = reader->config;

        for (size_t i = 0; i < config->n_sensors; i++) {
                ConfigPlace place = reader->sensor_places[i];

                if (!config->sensors[i].name || strcmp(config->sensors[i].name, sensor->name) != 0)
                        continue;
                config_fail(reader, config_setting_get_member(group, "name"),
                        "there is a sensor of this name already, at %s:%u", reader->files[place.file].path,
                        place.line);
                return;
        }
}

static void take_sensor(ConfigReader *reader, const config_setting_t *group)
{
        Config *config = reader->config;
        SensorConfig *sensors, sensor = {.policy = config->spool.policy};

        for (const ConfigKey *key = config_sensor_keys; key->name; key++)
                config_take_key(reader, group, key, &sensor);
        if (sensor.name) {
                check_double(reader, group, &sensor);
                if (!config_setting_get_member(group, "channel")) {
                        sensor.channel = strdup(sensor.name);
                        reader->failed |= !sensor.channel;
                }
        }
        if (sensor.plugin)
                take_plugin(reader, group, &sensor);

        sensors = reallocarray(config->sensors, config->n_sensors + 1, sizeof(sensor));
        if (!sensors) {
                reader->failed = true;
                config_sensor_deinit(&sensor);
                return;
        }
        config->sensors = sensors;
        reader->sensor_places[config->n_sensors] = config_place(reader, group);
        sensors[config->n_sensors++] = sensor;
}

void config_take_sensors(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        (void) key;
        (void) base;
        if (!setting)
                return;
        if (!config_setting_is_list(setting) &&
                !(config_setting_is_array(setting) && config_setting_length(setting) == 0)) {
                config_fail(reader, setting, "this has to be a list ( { … }, … ), and is %s",
                        config_type_name(setting));
                return;
        }
        for (unsigned i = 0; i < (unsigned) config_setting_length(setting); i++) {
                const config_setting_t *element = config_setting_get_elem(setting, i);

                if (!config_setting_is_group(element)) {
                        config_fail(reader, element, "this has to be a group { … }, and is %s",
                                config_type_name(element));
                        continue;
                }
                if (reader->config->n_sensors == CONFIG_SENSORS_MAX) {
                        config_fail(reader, element, "there are more than the %d sensors there can be",
                                CONFIG_SENSORS_MAX);
                        return;
                }
                take_sensor(reader, element);
        }
}

void config_sensor_deinit(SensorConfig *sensor)
{
        free(sensor->name);
        free(sensor->plugin);
        free(sensor->channel);
        group_deinit(&sensor->options);
}

/* --- all of them together ------------------------------------------------------------------------------ */

typedef struct Publisher {
        char *channel;
        size_t sensor;
} Publisher;

static int publisher_compare(const void *a, const void *b)
{
        const Publisher *x = a, *y = b;
        int order = strcmp(x->channel, y->channel);

        return order != 0 ? order : (x->sensor > y->sensor) - (x->sensor < y->sensor);
}

static void warn_shared(ConfigReader *reader, const Publisher *first, const Publisher *second)
{
        const SensorConfig *sensors = reader->config->sensors;
        ConfigPlace place = reader->sensor_places[first->sensor];

        if (first->sensor == second->sensor || strcmp(first->channel, second->channel) != 0)
                return;
        config_say(reader, CONFIG_WARNING, reader->sensor_places[second->sensor],
                "sensor %s: it publishes to %s, as sensor %s at %s:%u does: their values will mix",
                sensors[second->sensor].name, second->channel, sensors[first->sensor].name,
                reader->files[place.file].path, place.line);
}

void config_compare_sensors(ConfigReader *reader)
{
        const Config *config = reader->config;
        Publisher *publishers;
        size_t n = 0, most = 0;

        for (size_t i = 0; i < config->n_sensors; i++)
                if (config->sensors[i].descriptor)
                        most += config->sensors[i].descriptor->n_channels;
        if (most == 0)
                return;
        publishers = calloc(most, sizeof(*publishers));
        if (!publishers) {
                reader->failed = true;
                return;
        }
        for (size_t i = 0; i < config->n_sensors; i++) {
                const SensorConfig *sensor = &config->sensors[i];

                if (!sensor->name || !sensor->channel || !sensor->descriptor)
                        continue;
                for (size_t j = 0; j < sensor->descriptor->n_channels; j++) {
                        if (!(sensor->descriptor->channels[j].flags & PLUGD_READABLE))
                                continue;
                        publishers[n].channel = full_channel(sensor, &sensor->descriptor->channels[j]);
                        publishers[n].sensor = i;
                        if (publishers[n].channel)
                                n++;
                }
        }
        if (n > 0)
                qsort(publishers, n, sizeof(*publishers), publisher_compare);
        for (size_t i = 1; i < n; i++)
                warn_shared(reader, &publishers[i - 1], &publishers[i]);
        for (size_t i = 0; i < n; i++)
                free(publishers[i].channel);
        free(publishers);
}
