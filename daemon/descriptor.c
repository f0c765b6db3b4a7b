/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From the worker's JSON to the ABI's structs. What a plugin says of itself is input: another program built
 * it. So a descriptor that this returns is right in itself: names that a configuration can hold, defaults of
 * their type and in their range, nothing twice.
 */

#include "descriptor.h"

#include <errno.h>
#include <string.h>

#include "group.h"
#include "payload.h"
#include "topic.h"
#include "util/text.h"

#define NAME_LENGTH_MAX 64
#define SHOWN_MAX 64 /* bytes of a wrong text that its sentence shows */

/* Where we are, for sentences: what is wrong with what. */
typedef struct Reader {
        const char *plugin;
        char **ret_error;
} Reader;

#define fail(reader, text, ...)                                                                             \
        (text_set((reader)->ret_error, "the plugin %s is ill-described: " text, (reader)->plugin,           \
                 __VA_ARGS__),                                                                              \
                -EINVAL)

static int read_text(
        const Reader *reader, const Json *object, const char *key, const char *of, const char **ret)
{
        const Json *member = json_get(object, key);
        char *copy;

        if (!member)
                return 0;
        if (!json_string(member))
                return fail(reader, "%s: \"%s\" is no string", of, key);
        if (strlen(json_string(member)) > DESCRIPTOR_TEXT_MAX)
                return fail(reader, "%s: \"%s\" is too long", of, key);
        copy = strdup(json_string(member));
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int read_flag(const Reader *reader, const Json *object, const char *key, const char *of,
        uint32_t flag, uint32_t *flags)
{
        const Json *member = json_get(object, key);

        if (!member)
                return 0;
        if (json_type(member) != JSON_BOOLEAN)
                return fail(reader, "%s: \"%s\" is neither true nor false", of, key);
        if (json_boolean(member))
                *flags |= flag;
        return 0;
}

static int read_limit(const Reader *reader, const Json *object, const char *key, const char *of, double *ret)
{
        const Json *member = json_get(object, key);

        if (!member)
                return 0;
        if (json_type(member) != JSON_INTEGER && json_type(member) != JSON_NUMBER)
                return fail(reader, "%s: \"%s\" is no number", of, key);
        *ret = json_number(member);
        return 0;
}

static int read_type(const Reader *reader, const Json *object, const char *of, uint32_t *ret)
{
        const char *text = json_string(json_get(object, "type"));

        for (uint32_t type = PLUGD_BOOLEAN; text && type <= PLUGD_GROUPS; type++)
                if (strcmp(text, descriptor_type_name(type)) == 0) {
                        *ret = type;
                        return 0;
                }
        return fail(reader, "%s has no type that is known", of);
}

/* "rising|falling|both" */
static int read_choices(const Reader *reader, const Json *object, struct plugd_option *option)
{
        const Json *list = json_get(object, "choices");
        _cleanup_(freep) char *choices = NULL;

        if (!list)
                return 0;
        if (json_type(list) != JSON_ARRAY || json_size(list) == 0 ||
                json_size(list) > DESCRIPTOR_OPTIONS_MAX || option->type != PLUGD_STRING)
                return fail(reader, "the choices of option %s are no list of strings", option->name);
        for (size_t i = 0; i < json_size(list); i++) {
                const char *choice = json_string(json_at(list, i));

                if (!choice || !*choice || strchr(choice, '|') || strlen(choice) > NAME_LENGTH_MAX)
                        return fail(reader, "the choices of option %s are no list of strings", option->name);
                text_set(&choices, "%s%s%s", choices ? choices : "", choices ? "|" : "", choice);
                if (!choices)
                        return -ENOMEM;
        }
        option->choices = TAKE_PTR(choices);
        return 0;
}

static int check_fallback(const Reader *reader, const struct plugd_option *option)
{
        _cleanup_(freep) char *error = NULL;
        struct plugd_value value;

        if (!option->fallback)
                return 0;
        if (descriptor_parse_value(option, option->fallback, &value) < 0)
                return fail(reader, "the default \"%.*s\" of option %s is no %s",
                        (int) text_cut(option->fallback, SHOWN_MAX), option->fallback, option->name,
                        descriptor_type_name(option->type));
        if (descriptor_check_value(option, &value, &error) < 0)
                return fail(
                        reader, "the default of option %s: %s", option->name, error ? error : "can't be");
        return 0;
}

/* What libconfig takes for the name of a setting (it takes '*', too: nobody should). */
static bool option_name_valid(const char *name)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        size_t length = strlen(name);

        return length >= 1 && length <= NAME_LENGTH_MAX && strchr(letters, name[0]) &&
               strspn(name + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
                       length - 1;
}

static int check_option_name(
        const Reader *reader, const struct plugd_option *options, size_t n, const char *name, bool top)
{
        if (!option_name_valid(name))
                return fail(reader, "\"%.*s\" can't be the name of an option",
                        (int) text_cut(name, SHOWN_MAX), name);
        if (descriptor_find_option(options, n, name))
                return fail(reader, "it has the option %s twice", name);
        if (top && group_key_taken(name)) {
                text_set(reader->ret_error,
                        "the plugin %s can't be used: it calls an option \"%s\", and that is plugd's own "
                        "key "
                        "for every sensor",
                        reader->plugin, name);
                return -EINVAL;
        }
        return 0;
}

static void options_free(const struct plugd_option *options, size_t n)
{
        for (size_t i = 0; options && i < n; i++) {
                free((char *) options[i].name);
                free((char *) options[i].fallback);
                free((char *) options[i].choices);
                free((char *) options[i].unit);
                free((char *) options[i].help);
                options_free(options[i].options, options[i].n_options);
        }
        free((struct plugd_option *) options);
}

static int read_options(
        const Reader *reader, const Json *list, bool top, struct plugd_option **ret, size_t *ret_n);

static int read_option(const Reader *reader, const Json *object, bool top, struct plugd_option *option)
{
        struct plugd_option *inner = NULL;
        int r;

        if ((r = read_type(reader, object, option->name, &option->type)) < 0 ||
                (r = read_flag(reader, object, "required", option->name, PLUGD_REQUIRED, &option->flags)) <
                        0 ||
                (r = read_text(reader, object, "default", option->name, &option->fallback)) < 0 ||
                (r = read_text(reader, object, "unit", option->name, &option->unit)) < 0 ||
                (r = read_text(reader, object, "help", option->name, &option->help)) < 0 ||
                (r = read_limit(reader, object, "min", option->name, &option->min)) < 0 ||
                (r = read_limit(reader, object, "max", option->name, &option->max)) < 0 ||
                (r = read_choices(reader, object, option)) < 0)
                return r;
        if (option->type == PLUGD_JSON)
                return fail(reader, "option %s is of the type json, which is for channels", option->name);
        if (option->min > option->max)
                return fail(reader, "option %s has its least above its most", option->name);
        if (option->type == PLUGD_GROUPS && !top)
                return fail(reader, "option %s: there can be no groups in groups", option->name);
        if (option->type == PLUGD_GROUPS) {
                r = read_options(reader, json_get(object, "options"), false, &inner, &option->n_options);
                option->options = inner;
                if (r < 0)
                        return r;
        }
        return check_fallback(reader, option);
}

/* What is read so far goes to ret even on failure: its owner frees it. */
static int read_options(
        const Reader *reader, const Json *list, bool top, struct plugd_option **ret, size_t *ret_n)
{
        struct plugd_option *options;
        size_t n = json_size(list);

        if (!list)
                return 0;
        if (json_type(list) != JSON_ARRAY || n > DESCRIPTOR_OPTIONS_MAX)
                return fail(reader, "its options are no list of at most %d", DESCRIPTOR_OPTIONS_MAX);
        options = calloc(n + !n, sizeof(*options));
        if (!options)
                return -ENOMEM;
        *ret = options;
        *ret_n = 0;
        for (size_t i = 0; i < n; i++) {
                const Json *object = json_at(list, i);
                const char *name = json_string(json_get(object, "name"));
                int r;

                if (!name)
                        return fail(reader, "option number %zu has no name", i + 1);
                r = check_option_name(reader, options, *ret_n, name, top);
                if (r < 0)
                        return r;
                options[i].name = strdup(name);
                if (!options[i].name)
                        return -ENOMEM;
                *ret_n = i + 1;
                r = read_option(reader, object, top, &options[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_channel(const Reader *reader, const Json *object, Descriptor *descriptor)
{
        struct plugd_channel *channel = &descriptor->channels[descriptor->n_channels];
        const char *name = json_string(json_get(object, "name"));
        _cleanup_(freep) char *error = NULL;
        int r;

        if (!name)
                return fail(reader, "channel number %zu has no name", descriptor->n_channels + 1);
        if (topic_check_channel(name, &error) < 0)
                return fail(reader, "%s", error ? error : "a channel has a name that can't be");
        for (size_t i = 0; i < descriptor->n_channels; i++)
                if (strcmp(descriptor->channels[i].name, name) == 0)
                        return fail(reader, "it has the channel %s twice", name);
        channel->name = strdup(name);
        if (!channel->name)
                return -ENOMEM;
        descriptor->n_channels++;
        if ((r = read_type(reader, object, channel->name, &channel->type)) < 0 ||
                (r = read_flag(reader, object, "readable", channel->name, PLUGD_READABLE, &channel->flags)) <
                        0 ||
                (r = read_flag(reader, object, "writable", channel->name, PLUGD_WRITABLE, &channel->flags)) <
                        0 ||
                (r = read_text(reader, object, "unit", channel->name, &channel->unit)) < 0 ||
                (r = read_text(reader, object, "help", channel->name, &channel->help)) < 0)
                return r;
        if (channel->type == PLUGD_GROUPS)
                return fail(reader, "channel %s is of the type groups, which is for options", channel->name);
        return 0;
}

static int read_channels(const Reader *reader, const Json *list, Descriptor *descriptor)
{
        size_t n = json_size(list);

        if (!list)
                return 0;
        if (json_type(list) != JSON_ARRAY || n > DESCRIPTOR_CHANNELS_MAX)
                return fail(reader, "its channels are no list of at most %d", DESCRIPTOR_CHANNELS_MAX);
        descriptor->channels = calloc(n + !n, sizeof(*descriptor->channels));
        if (!descriptor->channels)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = read_channel(reader, json_at(list, i), descriptor);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_devices(const Reader *reader, const Json *list, Descriptor *descriptor)
{
        size_t n = json_size(list);

        if (!list)
                return 0;
        if (json_type(list) != JSON_ARRAY || n > DEVICES_MAX)
                return fail(reader, "its devices are no list of at most %d", DEVICES_MAX);
        descriptor->devices = calloc(n + !n, sizeof(*descriptor->devices));
        if (!descriptor->devices)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const char *pattern = json_string(json_at(list, i));
                _cleanup_(freep) char *error = NULL;

                if (!pattern)
                        return fail(reader, "device number %zu is no string", i + 1);
                if (device_check(pattern, descriptor->options, descriptor->n_options, &error) < 0)
                        return fail(reader, "device number %zu: %s", i + 1, error ? error : "it can't be");
                descriptor->devices[i] = strdup(pattern);
                if (!descriptor->devices[i])
                        return -ENOMEM;
                descriptor->n_devices++;
        }
        return 0;
}

static int read_descriptor(Reader *reader, const Json *json, Descriptor *descriptor)
{
        int r;

        if (json_type(json) != JSON_OBJECT || !json_string(json_get(json, "name"))) {
                text_set(reader->ret_error,
                        "the plugin's description is not that of a plugin: it has no name");
                return -EINVAL;
        }
        descriptor->name = strdup(json_string(json_get(json, "name")));
        if (!descriptor->name)
                return -ENOMEM;
        reader->plugin = descriptor->name;
        if (strlen(descriptor->name) > NAME_LENGTH_MAX || !*descriptor->name)
                return fail(reader, "its name has to have 1 to %d letters", NAME_LENGTH_MAX);
        if (json_type(json_get(json, "abi")) != JSON_INTEGER ||
                json_integer(json_get(json, "abi")) != PLUGD_ABI) {
                text_set(reader->ret_error,
                        "the plugin %s was built for another plugd: its abi is not %d; build it again",
                        reader->plugin, PLUGD_ABI);
                return -EINVAL;
        }
        r = read_text(reader, json, "description", "the plugin", (const char **) &descriptor->description);
        if (r >= 0 && !descriptor->description)
                descriptor->description = strdup("");
        if (r >= 0 && !descriptor->description)
                r = -ENOMEM;
        if (r >= 0)
                r = read_options(reader, json_get(json, "options"), true, &descriptor->options,
                        &descriptor->n_options);
        if (r >= 0)
                r = read_channels(reader, json_get(json, "channels"), descriptor);
        if (r >= 0)
                r = read_devices(reader, json_get(json, "devices"), descriptor);
        return r;
}

Descriptor *descriptor_parse(const char *text, size_t size, char **ret_error)
{
        _cleanup_(descriptor_freep) Descriptor *descriptor = calloc(1, sizeof(*descriptor));
        _cleanup_(freep) char *error = NULL;
        _cleanup_(json_freep) Json *json = json_parse(text, size, &error);
        Reader reader = {.ret_error = ret_error};
        int r = -ENOMEM;

        if (!json)
                text_set(ret_error, "the plugin's description can't be read: %s",
                        error ? error : "no memory");
        else if (descriptor)
                r = read_descriptor(&reader, json, descriptor);
        if (!json || !descriptor || r < 0) {
                if (json && r == -ENOMEM)
                        text_set(ret_error, "no memory for the plugin's description");
                return NULL;
        }
        return TAKE_PTR(descriptor);
}

Descriptor *descriptor_free(Descriptor *descriptor)
{
        if (!descriptor)
                return NULL;
        free(descriptor->name);
        free(descriptor->description);
        options_free(descriptor->options, descriptor->n_options);
        for (size_t i = 0; i < descriptor->n_channels; i++) {
                free((char *) descriptor->channels[i].name);
                free((char *) descriptor->channels[i].unit);
                free((char *) descriptor->channels[i].help);
        }
        free(descriptor->channels);
        for (size_t i = 0; i < descriptor->n_devices; i++)
                free(descriptor->devices[i]);
        free(descriptor->devices);
        free(descriptor);
        return NULL;
}
