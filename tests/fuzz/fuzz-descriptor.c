/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a plugin says of itself: what is taken, and is written down again as the worker does it, is read as
 * the same; its defaults are values that it allows; its devices lie below /dev.
 */

#include "descriptor.h"
#include "fuzz.h"
#include "group.h"
#include "payload.h"
#include "topic.h"

static void put_string(Json *object, const char *key, const char *text)
{
        if (text)
                hold(json_set(object, key, json_new_string(text)) == 0);
}

/* Adding 0 makes 0 of -0, which as an integer of JSON has no sign. */
static Json *write_options(const struct plugd_option *options, size_t n)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < n; i++) {
                const struct plugd_option *option = options + i;
                Json *object = json_new_object(), *choices;

                put_string(object, "name", option->name);
                put_string(object, "type", descriptor_type_name(option->type));
                put_string(object, "default", option->fallback);
                put_string(object, "unit", option->unit);
                put_string(object, "help", option->help);
                hold(json_set(object, "min", json_new_number(option->min + 0.0)) == 0);
                hold(json_set(object, "max", json_new_number(option->max + 0.0)) == 0);
                hold(json_set(object, "required", json_new_boolean(option->flags & PLUGD_REQUIRED)) == 0);
                if (option->type == PLUGD_GROUPS)
                        hold(json_set(object, "options",
                                     write_options(option->options, option->n_options)) == 0);
                if (option->choices) {
                        choices = json_new_array();
                        for (const char *next = option->choices; *next;) {
                                _cleanup_(freep) char *choice = strndup(next, strcspn(next, "|"));

                                hold(json_append(choices, json_new_string(choice)) == 0);
                                next += strlen(choice);
                                next += *next == '|';
                        }
                        hold(json_set(object, "choices", choices) == 0);
                }
                hold(json_append(list, object) == 0);
        }
        return list;
}

static char *write_descriptor(const Descriptor *descriptor)
{
        _cleanup_(json_freep) Json *json = json_new_object();
        Json *channels = json_new_array(), *devices = json_new_array();

        hold(json_set(json, "abi", json_new_integer(PLUGD_ABI)) == 0);
        put_string(json, "name", descriptor->name);
        put_string(json, "description", descriptor->description);
        hold(json_set(json, "options", write_options(descriptor->options, descriptor->n_options)) == 0);
        for (size_t i = 0; i < descriptor->n_channels; i++) {
                const struct plugd_channel *channel = &descriptor->channels[i];
                Json *object = json_new_object();

                put_string(object, "name", channel->name);
                put_string(object, "type", descriptor_type_name(channel->type));
                put_string(object, "unit", channel->unit);
                put_string(object, "help", channel->help);
                hold(json_set(object, "readable", json_new_boolean(channel->flags & PLUGD_READABLE)) == 0);
                hold(json_set(object, "writable", json_new_boolean(channel->flags & PLUGD_WRITABLE)) == 0);
                hold(json_append(channels, object) == 0);
        }
        hold(json_set(json, "channels", channels) == 0);
        for (size_t i = 0; i < descriptor->n_devices; i++)
                hold(json_append(devices, json_new_string(descriptor->devices[i])) == 0);
        hold(json_set(json, "devices", devices) == 0);
        return json_format(json, false);
}

static void check_options(
        const struct plugd_option *options, size_t n, bool top, struct plugd_group *defaults)
{
        hold(n <= DESCRIPTOR_OPTIONS_MAX);
        for (size_t i = 0; i < n; i++) {
                const struct plugd_option *option = options + i;
                struct plugd_value value;

                hold(descriptor_find_option(options, n, option->name) == option);
                hold(!top || !group_key_taken(option->name));
                hold(option->min <= option->max && option->type != PLUGD_JSON);
                hold(option->type != PLUGD_GROUPS || top);
                check_options(option->options, option->n_options, false, NULL);
                if (!option->fallback)
                        continue;
                hold(descriptor_parse_value(option, option->fallback, &value) == 0);
                hold(descriptor_check_value(option, &value, NULL) == 0);
                if (defaults)
                        hold(group_add(defaults, option->name, &value) == 0);
        }
}

static void check_devices(const Descriptor *descriptor, const struct plugd_group *options)
{
        for (size_t i = 0; i < descriptor->n_devices; i++) {
                _cleanup_(freep) char *path = NULL;

                hold(device_check(
                             descriptor->devices[i], descriptor->options, descriptor->n_options, NULL) == 0);
                if (device_expand(descriptor->devices[i], options, &path) < 0)
                        continue;
                hold(strncmp(path, "/dev/", 5) == 0 && !strstr(path, "/../"));
                hold(strlen(path) < 3 || strcmp(path + strlen(path) - 3, "/..") != 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *error = NULL;
        _cleanup_(descriptor_freep) Descriptor *descriptor =
                descriptor_parse((const char *) data, size, &error);
        _cleanup_(descriptor_freep) Descriptor *again = NULL;
        _cleanup_(freep) char *written = NULL, *second = NULL;
        _cleanup_(group_deinit) struct plugd_group defaults = {0};

        if (!descriptor) {
                hold(error && text_is_utf8(error, strlen(error)));
                free(error);
                return 0;
        }
        hold(!error && *descriptor->name && descriptor->description);
        hold(descriptor->n_channels <= DESCRIPTOR_CHANNELS_MAX && descriptor->n_devices <= DEVICES_MAX);
        for (size_t i = 0; i < descriptor->n_channels; i++)
                hold(topic_check_channel(descriptor->channels[i].name, NULL) == 0);
        check_options(descriptor->options, descriptor->n_options, true, &defaults);
        check_devices(descriptor, &defaults);

        written = write_descriptor(descriptor);
        again = descriptor_parse(written, strlen(written), &error);
        if (!again)
                fprintf(stderr, "%s\n%s\n", written, error);
        hold(again && !error);
        second = write_descriptor(again);
        hold(strcmp(written, second) == 0);
        return 0;
}
