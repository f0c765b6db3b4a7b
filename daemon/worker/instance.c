/* SPDX-License-Identifier: Apache-2.0 */

/* One instance of the plugin, and what the plugin may ask of its host. */

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "group.h"
#include "util/clock.h"
#include "util/text.h"
#include "worker.h"

/* Frames leave when there are this many bytes of them. */
#define BATCH_BYTES (32 * 1024)
#define STRING_MAX 65536

static int check_value(const struct plugd_channel *channel, const struct plugd_value *value)
{
        bool widened = channel->type == PLUGD_NUMBER && value->type == PLUGD_INTEGER;
        size_t size;

        if (value->type != channel->type && !widened)
                return -EINVAL;
        if (value->type == PLUGD_NUMBER && !isfinite(value->number))
                return -EINVAL;
        if (value->type != PLUGD_STRING && value->type != PLUGD_JSON)
                return 0;
        if (!value->string)
                return -EINVAL;
        size = strnlen(value->string, STRING_MAX + 1);
        if (size > STRING_MAX)
                return -EMSGSIZE;
        return text_is_utf8(value->string, size) ? 0 : -EINVAL;
}

/* CLOCK_MONOTONIC to CLOCK_BOOTTIME. They differ by the time spent asleep, all of which is taken to lie
 * before the sample. What is yet to come is now. */
static uint64_t when_to_usec(int64_t when_ns)
{
        uint64_t now_usec = clock_monotonic_usec(),
                 when_usec = when_ns > 0 ? (uint64_t) when_ns / 1000 : now_usec;

        return clock_boottime_usec() - (when_usec < now_usec ? now_usec - when_usec : 0);
}

static int host_emit(
        const struct plugd_host *host, uint32_t channel, const struct plugd_value *value, int64_t when_ns)
{
        Instance *instance = host->context;
        Bytes *bytes = &instance->outlet->bytes;
        size_t mark;
        int r;

        if (instance->opening || channel >= instance->n_channels || !value)
                return -EINVAL;
        r = check_value(instance->channels + channel, value);
        if (r < 0)
                return r;

        mark = wire_begin(bytes, WIRE_SAMPLE);
        bytes_put_u32(bytes, channel);
        bytes_put_u64(bytes, when_to_usec(when_ns));
        wire_put_value(bytes, value);
        wire_end(bytes, mark);
        instance->emitted++;
        if (bytes->size >= BATCH_BYTES)
                outlet_flush(instance->outlet);
        return instance->outlet->error;
}

/* An error becomes what the call failed with, if it does fail. Another one in the same call takes its place,
 * and the first is a message like others. */
static void take_error(Instance *instance)
{
        if (instance->error[0])
                outlet_log(instance->outlet, PLUGD_ERROR, instance->error);
        instance->error[0] = '\0';
}

static void host_log(const struct plugd_host *host, enum plugd_priority priority, const char *format, ...)
{
        Instance *instance = host->context;
        char text[INSTANCE_TEXT_MAX];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);

        if (priority > PLUGD_ERROR) {
                outlet_log(instance->outlet, priority, text);
        } else {
                take_error(instance);
                memcpy(instance->error, text, sizeof(text));
        }
        if (instance->outlet->bytes.size >= BATCH_BYTES)
                outlet_flush(instance->outlet);
}

static const struct plugd_value *host_option(const struct plugd_host *host, const char *name)
{
        Instance *instance = host->context;

        return group_find(&instance->options, name);
}

static const struct plugd_value *host_setting(
        const struct plugd_host *host, const struct plugd_group *group, const char *name)
{
        (void) host;
        return group_find(group, name);
}

static void channel_deinit(struct plugd_channel *channel)
{
        free((char *) channel->name);
        free((char *) channel->unit);
}

static int add_channel(Instance *instance, const struct plugd_channel *channel)
{
        struct plugd_channel copy = {.type = channel->type, .flags = channel->flags}, *channels;

        copy.name = strdup(channel->name);
        copy.unit = strdup(channel->unit ? channel->unit : "");
        channels = reallocarray(instance->channels, instance->n_channels + 1, sizeof(copy));
        if (channels)
                instance->channels = channels;
        if (!copy.name || !copy.unit || !channels) {
                channel_deinit(&copy);
                return -ENOMEM;
        }
        channels[instance->n_channels] = copy;
        return (int) instance->n_channels++;
}

static void drop_channels(Instance *instance)
{
        for (size_t i = 0; i < instance->n_channels; i++)
                channel_deinit(instance->channels + i);
        free(TAKE_PTR(instance->channels));
        instance->n_channels = 0;
}

static int host_declare(const struct plugd_host *host, const struct plugd_channel *channel)
{
        Instance *instance = host->context;

        if (!instance->opening || instance->plugin->n_channels > 0 || channel_check(channel) < 0)
                return -EINVAL;
        if (instance->n_channels >= PLUGD_CHANNELS_MAX)
                return -ENOSPC;
        for (size_t i = 0; i < instance->n_channels; i++)
                if (strcmp(instance->channels[i].name, channel->name) == 0)
                        return -EEXIST;
        return add_channel(instance, channel);
}

void instance_init(Instance *instance, const struct plugd_plugin *plugin, Outlet *outlet)
{
        *instance = (Instance){
                .plugin = plugin,
                .host =
                        {
                                .abi = PLUGD_ABI,
                                .size = sizeof(struct plugd_host),
                                .context = instance,
                                .emit = host_emit,
                                .log = host_log,
                                .option = host_option,
                                .declare = host_declare,
                                .setting = host_setting,
                        },
                .outlet = outlet,
        };
}

void instance_deinit(Instance *instance)
{
        instance_close(instance);
        group_deinit(&instance->options);
}

void instance_close(Instance *instance)
{
        if (instance->open)
                instance->plugin->close(instance->data);
        instance->open = false;
        instance->data = NULL;
        take_error(instance);
        drop_channels(instance);
}

static void tell_failure(Instance *instance, WireFailure what, int error, const char *call)
{
        if (!instance->error[0])
                snprintf(instance->error, sizeof(instance->error), "%s() of plugin '%s' failed: %s", call,
                        instance->plugin->name,
                        error == -ENODEV ? "the hardware is gone" : strerror(-error));
        outlet_failed(instance->outlet, what, error, instance->error);
        instance->error[0] = '\0';
}

static void tell_opened(Instance *instance)
{
        Bytes *bytes = &instance->outlet->bytes;
        size_t mark = wire_begin(bytes, WIRE_OPENED);

        bytes_put_u32(bytes, (uint32_t) instance->n_channels);
        for (size_t i = 0; i < instance->n_channels; i++) {
                bytes_put_string(bytes, instance->channels[i].name);
                bytes_put_string(bytes, instance->channels[i].unit);
                bytes_put_u32(bytes, instance->channels[i].type);
                bytes_put_u32(bytes, instance->channels[i].flags);
        }
        wire_end(bytes, mark);
}

int instance_open(Instance *instance)
{
        int r = 0;

        assert(!instance->open);
        for (size_t i = 0; i < instance->plugin->n_channels && r >= 0; i++)
                r = add_channel(instance, instance->plugin->channels + i);
        if (r >= 0) {
                instance->opening = true;
                r = instance->plugin->open(&instance->host, &instance->data);
                instance->opening = false;
        }
        if (r < 0) {
                tell_failure(instance, WIRE_FAILED_OPEN, r, "open");
                drop_channels(instance);
                return r;
        }
        instance->open = true;
        take_error(instance);
        tell_opened(instance);
        return 0;
}

int instance_read(Instance *instance)
{
        int r = instance->plugin->read(instance->data);

        if (r >= 0 || r == -EAGAIN) {
                take_error(instance);
                return MIN(r, 0);
        }
        tell_failure(instance, r == -ENODEV ? WIRE_FAILED_OPEN : WIRE_FAILED_READ, r, "read");
        return r;
}

int instance_event_fd(Instance *instance)
{
        int fd = instance->plugin->event_fd ? instance->plugin->event_fd(instance->data) : -1;

        return fd >= 0 ? fd : -1;
}
