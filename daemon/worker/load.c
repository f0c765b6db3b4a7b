/* SPDX-License-Identifier: Apache-2.0 */

/* Finds a plugin's shared object, loads it, and looks at its descriptor before anybody believes it. */

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "group.h"
#include "util/text.h"
#include "worker.h"

#define SYMBOL "plugd_plugin_v1"
#define OPTIONS_MAX 256
#define NAME_MAX_BYTES 64

/* The descriptor as it was first; what came later may not be there. */
#define SIZE_LEAST offsetof(struct plugd_plugin, devices)

static bool letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool plain(char c)
{
        return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool name_plain(const char *name)
{
        size_t length = strlen(name);

        for (size_t i = 0; i < length; i++)
                if (!plain(name[i]))
                        return false;
        return length >= 1 && length <= NAME_MAX_BYTES;
}

static bool channel_name_valid(const char *name)
{
        size_t length = strlen(name), level = 0;

        if (length > 200 || !text_is_utf8(name, length))
                return false;
        for (size_t i = 0; i < length; i++) {
                if ((unsigned char) name[i] < 0x20 || name[i] == 0x7f || name[i] == '+' || name[i] == '#')
                        return false;
                if (name[i] == '/' && level == 0)
                        return false;
                level = name[i] == '/' ? 0 : level + 1;
        }
        return level > 0;
}

static bool text_good(const char *text)
{
        return !text || text_is_utf8(text, strlen(text));
}

/* Is text, of size bytes, one of the choices "a|b|c"? */
static bool is_choice(const char *choices, const char *text)
{
        size_t size = strlen(text);

        for (const char *choice = choices; choice;) {
                size_t length = strcspn(choice, "|");

                if (length == size && memcmp(choice, text, size) == 0)
                        return true;
                choice = choice[length] == '|' ? choice + length + 1 : NULL;
        }
        return false;
}

static bool default_good(const struct plugd_option *option)
{
        const char *text = option->fallback;
        double number;
        char *end;

        switch ((enum plugd_type) option->type) {
        case PLUGD_BOOLEAN:
                return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
        case PLUGD_INTEGER:
        case PLUGD_NUMBER:
                errno = 0;
                if (option->type == PLUGD_INTEGER)
                        number = (double) strtoll(text, &end, 0);
                else
                        number = strtod(text, &end);
                if (end == text || *end != '\0' || errno != 0 || !isfinite(number))
                        return false;
                return (option->min == 0 && option->max == 0) ||
                       (number >= option->min && number <= option->max);
        case PLUGD_STRING:
                return text_good(text) && (!option->choices || is_choice(option->choices, text));
        case PLUGD_JSON:
        case PLUGD_GROUPS:
                return false;
        }
        return false;
}

static int check_options(const struct plugd_option *options, size_t n, bool nested, char **ret_error);

/* What is wrong with it, or NULL. */
static const char *option_fault(const struct plugd_option *option)
{
        bool number = option->type == PLUGD_INTEGER || option->type == PLUGD_NUMBER;

        if (!isfinite(option->min) || !isfinite(option->max) || option->min > option->max)
                return "its range is empty or not finite";
        if (!number && (option->min != 0 || option->max != 0))
                return "only numbers have a range";
        if (option->choices && option->type != PLUGD_STRING)
                return "only strings have choices";
        if (!text_good(option->choices) || !text_good(option->unit) || !text_good(option->help))
                return "its texts are not UTF-8";
        if (option->type != PLUGD_GROUPS && option->n_options > 0)
                return "only groups have options of their own";
        if (option->flags & ~PLUGD_REQUIRED)
                return "it has unknown flags";
        if (option->fallback && (option->flags & PLUGD_REQUIRED))
                return "it is required, and yet has a default";
        if (option->fallback && !default_good(option))
                return "its default is not a value that it takes";
        return NULL;
}

static int check_option(const struct plugd_option *option, bool nested, char **ret_error)
{
        const char *fault = option_fault(option);

        switch ((enum plugd_type) option->type) {
        case PLUGD_BOOLEAN:
        case PLUGD_INTEGER:
        case PLUGD_NUMBER:
        case PLUGD_STRING:
                break;
        case PLUGD_GROUPS:
                if (nested)
                        fault = "a group holds no groups";
                else if (option->n_options == 0)
                        fault = "its groups have no options";
                break;
        case PLUGD_JSON:
                fault = "an option can't be JSON";
                break;
        }
        if (option->type < PLUGD_BOOLEAN || option->type > PLUGD_GROUPS)
                fault = "its type is none that plugd knows";
        if (fault) {
                text_set(ret_error, "option '%s': %s", option->name, fault);
                return -EINVAL;
        }
        return check_options(option->options, option->n_options, true, ret_error);
}

static int check_options(const struct plugd_option *options, size_t n, bool nested, char **ret_error)
{
        if (n > OPTIONS_MAX || (n > 0 && !options)) {
                text_set(ret_error, "its table of options is missing or has more than %d", OPTIONS_MAX);
                return -EINVAL;
        }
        for (size_t i = 0; i < n; i++) {
                const char *name = options[i].name;
                int r;

                if (!name || !name_plain(name) || !letter(name[0])) {
                        text_set(ret_error,
                                "the name of option %zu is not a word of letters, digits, _ and -", i + 1);
                        return -EINVAL;
                }
                for (size_t j = 0; j < i; j++)
                        if (strcmp(options[j].name, name) == 0) {
                                text_set(ret_error, "two of its options have the name '%s'", name);
                                return -EINVAL;
                        }
                if (!nested && group_key_taken(name)) {
                        text_set(ret_error,
                                "it calls an option \"%s\", and that is plugd's own key for every sensor",
                                name);
                        return -EINVAL;
                }
                r = check_option(options + i, nested, ret_error);
                if (r < 0)
                        return r;
        }
        return 0;
}

const char *channel_fault(const struct plugd_plugin *plugin, const struct plugd_channel *channel)
{
        const uint32_t known = PLUGD_READABLE | PLUGD_WRITABLE;

        if (!channel->name || !channel_name_valid(channel->name))
                return "its name is not one of levels with / between them, without + and #";
        if (channel->type < PLUGD_BOOLEAN || channel->type > PLUGD_JSON)
                return "its type is none that a channel has";
        if ((channel->flags & known) == 0 || (channel->flags & ~known) != 0)
                return "it is neither readable nor writable, or has unknown flags";
        if ((channel->flags & PLUGD_WRITABLE) && !plugin->write)
                return "it is writable, but the plugin has no write()";
        return text_good(channel->unit) && text_good(channel->help) ? NULL : "its texts are not UTF-8";
}

static int check_channels(const struct plugd_plugin *plugin, char **ret_error)
{
        if (plugin->n_channels > PLUGD_CHANNELS_MAX || (plugin->n_channels > 0 && !plugin->channels)) {
                text_set(ret_error, "its table of channels is missing or has more than %d",
                        PLUGD_CHANNELS_MAX);
                return -EINVAL;
        }
        for (size_t i = 0; i < plugin->n_channels; i++) {
                const struct plugd_channel *channel = plugin->channels + i;
                const char *fault = channel_fault(plugin, channel);

                if (fault) {
                        text_set(ret_error, "channel %zu: %s", i + 1, fault);
                        return -EINVAL;
                }
                for (size_t j = 0; j < i; j++)
                        if (strcmp(plugin->channels[j].name, channel->name) == 0) {
                                text_set(ret_error, "two of its channels have the name '%s'", channel->name);
                                return -EINVAL;
                        }
        }
        return 0;
}

const char *const *plugin_devices(const struct plugd_plugin *plugin)
{
        size_t end = offsetof(struct plugd_plugin, devices) + sizeof(plugin->devices);

        return plugin->size >= end ? plugin->devices : NULL;
}

static int check_devices(const struct plugd_plugin *plugin, char **ret_error)
{
        const char *const *devices = plugin_devices(plugin);

        for (size_t i = 0; devices && devices[i]; i++) {
                _cleanup_(freep) char *fault = NULL;

                if (i == DEVICES_MAX) {
                        text_set(ret_error, "it names more than %d devices, or has no NULL behind them",
                                DEVICES_MAX);
                        return -EINVAL;
                }
                if (device_check(devices[i], plugin->options, plugin->n_options, &fault) < 0) {
                        text_set(ret_error, "device %zu: %s", i + 1, fault ? fault : "it can't be");
                        return -EINVAL;
                }
        }
        return 0;
}

static int check_head(const struct plugd_plugin *plugin, const char *name, char **ret_error)
{
        if (plugin->abi != PLUGD_ABI)
                text_set(ret_error, "it was made for ABI %u, and this is plugd with ABI %d: build it anew",
                        plugin->abi, PLUGD_ABI);
        else if (plugin->size < SIZE_LEAST)
                text_set(ret_error,
                        "its descriptor has %u bytes instead of %zu: set .size = sizeof(struct "
                        "plugd_plugin)",
                        plugin->size, sizeof(struct plugd_plugin));
        else if (!plugin->name || strcmp(plugin->name, name) != 0)
                text_set(ret_error, "it calls itself '%s': file and plugin need the same name",
                        plugin->name && text_good(plugin->name) ? plugin->name : "");
        else if (!text_good(plugin->description))
                text_set(ret_error, "its description is not UTF-8");
        else if (!plugin->open || !plugin->close)
                text_set(ret_error, "it has no %s()", plugin->open ? "close" : "open");
        else if (!plugin->read && !plugin->write)
                text_set(ret_error, "it has neither read() nor write()");
        else
                return 0;
        return -EINVAL;
}

int plugin_check(const struct plugd_plugin *plugin, const char *name, char **ret_error)
{
        int r = check_head(plugin, name, ret_error);

        if (r == 0)
                r = check_options(plugin->options, plugin->n_options, false, ret_error);
        if (r == 0)
                r = check_channels(plugin, ret_error);
        if (r == 0)
                r = check_devices(plugin, ret_error);
        return r;
}

int plugin_load(const char *folder, const char *name, const struct plugd_plugin **ret, char **ret_error)
{
        _cleanup_(freep) char *path = NULL, *fault = NULL;
        const struct plugd_plugin *plugin;
        void *object;
        int r;

        if (!name_plain(name)) {
                text_set(ret_error, "a plugin's name has only letters, digits, _ and -, at most %d of them",
                        NAME_MAX_BYTES);
                return -EINVAL;
        }
        path = text_printf("%s/%s.so", folder, name);
        if (!path)
                return -ENOMEM;
        if (access(path, F_OK) < 0) {
                r = -errno;
                text_set(ret_error, "cannot load plugin '%s': %s: %s", name, path, strerror(-r));
                return r;
        }
        object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!object) {
                text_set(ret_error, "cannot load plugin '%s': %s", name, dlerror());
                return -ENOEXEC;
        }
        plugin = dlsym(object, SYMBOL);
        if (!plugin) {
                text_set(ret_error,
                        "cannot use %s: it does not export " SYMBOL ", as a plugin for this plugd does",
                        path);
                return -ENOEXEC;
        }
        r = plugin_check(plugin, name, &fault);
        if (r < 0) {
                text_set(ret_error, "cannot use %s: %s", path, fault ? fault : strerror(-r));
                return r;
        }
        *ret = plugin;
        return 0;
}
