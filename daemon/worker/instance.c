/* SPDX-License-Identifier: Apache-2.0 */

/* One instance of the plugin, and what the plugin may ask of its host. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "group.h"
#include "util/clock.h"
#include "util/text.h"
#include "worker.h"

#define STRING_MAX 65536
#define ERRNO_MAX 4095 /* the kernel's own limit */

static const char *type_words(uint32_t type)
{
        switch ((enum plugd_type) type) {
        case PLUGD_BOOLEAN:
                return "a boolean";
        case PLUGD_INTEGER:
                return "an integer";
        case PLUGD_NUMBER:
                return "a number";
        case PLUGD_STRING:
                return "a string";
        case PLUGD_JSON:
                return "JSON";
        case PLUGD_GROUPS:
                return "a list of groups";
        }
        return "a value of no type";
}

/* 0, or -errno with the end of a sentence. */
static int check_text(const char *text, char *why, size_t why_size)
{
        size_t size;

        if (!text) {
                snprintf(why, why_size, "its text is NULL");
                return -EINVAL;
        }
        size = strnlen(text, STRING_MAX + 1);
        if (size > STRING_MAX) {
                snprintf(why, why_size, "its text is longer than %d bytes", STRING_MAX);
                return -EMSGSIZE;
        }
        if (!text_is_utf8(text, size)) {
                snprintf(why, why_size, "its text is not UTF-8");
                return -EINVAL;
        }
        return 0;
}

static int check_value(
        const struct plugd_channel *channel, const struct plugd_value *value, char *why, size_t why_size)
{
        bool widened = channel->type == PLUGD_NUMBER && value->type == PLUGD_INTEGER;

        if (value->type != channel->type && !widened) {
                snprintf(why, why_size, "the channel is %s, but %s was emitted", type_words(channel->type),
                        type_words(value->type));
                return -EINVAL;
        }
        if (value->type == PLUGD_NUMBER && !isfinite(value->number)) {
                snprintf(
                        why, why_size, "%s is no JSON number", isnan(value->number) ? "NaN" : "an infinity");
                return -EINVAL;
        }
        return value->type == PLUGD_STRING || value->type == PLUGD_JSON
                       ? check_text(value->string, why, why_size)
                       : 0;
}

/* CLOCK_MONOTONIC to CLOCK_BOOTTIME. They differ by the time spent asleep, all of which is taken to lie
 * before the sample. What is yet to come is now. */
static uint64_t when_to_usec(int64_t when_ns)
{
        uint64_t now_usec = clock_monotonic_usec(),
                 when_usec = when_ns > 0 ? MIN((uint64_t) when_ns / 1000, now_usec) : now_usec;

        return (uint64_t) ((int64_t) when_usec + clock_boottime_ahead_of_monotonic_usec());
}

/* Why emit() refused something: for the log where the call goes well all the same. */
static void take_refusal(Instance *instance)
{
        if (instance->refusal[0] && instance->refusal_new)
                outlet_log(instance->outlet, PLUGD_WARNING, instance->refusal);
        instance->refusal[0] = '\0';
}

/* Whatever the plugin makes of it: said once for each channel, and becomes what the call failed with if it
 * returns the same. */
static int refuse(Instance *instance, uint32_t channel, int error, const char *why)
{
        bool known = channel < instance->n_channels;
        bool *blamed = known ? &instance->channels[channel].blamed : &instance->blamed;

        take_refusal(instance);
        if (known)
                snprintf(instance->refusal, sizeof(instance->refusal), "emit() on '%s': %s",
                        instance->channels[channel].is.name, why);
        else
                snprintf(instance->refusal, sizeof(instance->refusal), "emit() on channel %" PRIu32 ": %s",
                        channel, why);
        instance->refusal_error = error;
        instance->refusal_new = !*blamed;
        *blamed = true;
        return error;
}

static int host_emit(
        const struct plugd_host *host, uint32_t channel, const struct plugd_value *value, int64_t when_ns)
{
        Instance *instance = host->context;
        Bytes *bytes = &instance->outlet->bytes;
        char why[128];
        size_t mark;
        int r;

        if (instance->opening)
                return refuse(instance, channel, -EINVAL, "not in open(): read() follows at once");
        if (channel >= instance->n_channels) {
                snprintf(why, sizeof(why), "there is none of this index, but %zu from 0 on",
                        instance->n_channels);
                return refuse(instance, channel, -EINVAL, why);
        }
        if (!value)
                return refuse(instance, channel, -EINVAL, "there is no value, but NULL");
        r = check_value(&instance->channels[channel].is, value, why, sizeof(why));
        if (r < 0)
                return refuse(instance, channel, r, why);

        mark = wire_begin(bytes, WIRE_SAMPLE);
        bytes_put_u32(bytes, channel);
        bytes_put_u64(bytes, when_to_usec(when_ns));
        wire_put_value(bytes, value);
        wire_end(bytes, mark);
        instance->emitted++;
        outlet_hurry(instance->outlet);
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
        outlet_hurry(instance->outlet);
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
        struct plugd_channel copy = {.type = channel->type, .flags = channel->flags};
        InstanceChannel *channels;

        copy.name = strdup(channel->name);
        copy.unit = strdup(channel->unit ? channel->unit : "");
        channels = reallocarray(instance->channels, instance->n_channels + 1, sizeof(*channels));
        if (channels)
                instance->channels = channels;
        if (!copy.name || !copy.unit || !channels) {
                channel_deinit(&copy);
                return -ENOMEM;
        }
        channels[instance->n_channels] = (InstanceChannel){.is = copy};
        return (int) instance->n_channels++;
}

static void drop_channels(Instance *instance)
{
        for (size_t i = 0; i < instance->n_channels; i++)
                channel_deinit(&instance->channels[i].is);
        free(TAKE_PTR(instance->channels));
        instance->n_channels = 0;
}

static int host_declare(const struct plugd_host *host, const struct plugd_channel *channel)
{
        Instance *instance = host->context;

        if (!instance->opening || instance->plugin->n_channels > 0 ||
                channel_fault(instance->plugin, channel))
                return -EINVAL;
        if (instance->n_channels >= PLUGD_CHANNELS_MAX)
                return -ENOSPC;
        for (size_t i = 0; i < instance->n_channels; i++)
                if (strcmp(instance->channels[i].is.name, channel->name) == 0)
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
        take_refusal(instance);
        take_error(instance);
        drop_channels(instance);
}

/* What to say of a failure of which the plugin said nothing. */
static void make_sentence(Instance *instance, int error, const char *call)
{
        const char *name = instance->plugin->name, *words = NULL;
        size_t size = sizeof(instance->error);

        if (instance->refusal[0] && error == instance->refusal_error) {
                memcpy(instance->error, instance->refusal, sizeof(instance->refusal));
                instance->refusal[0] = '\0';
                return;
        }
        if (error == -ENODEV)
                words = "the hardware is gone";
        else if (error >= -ERRNO_MAX)
                words = strerrordesc_np(-error);
        if (words)
                snprintf(instance->error, size, "%s() of plugin '%s' failed: %s", call, name, words);
        else
                snprintf(instance->error, size,
                        "%s() of plugin '%s' returned %d, which is no errno value: it has to be something "
                        "like -EIO",
                        call, name, error);
}

static void tell_failure(Instance *instance, WireFailure what, int error, const char *call)
{
        if (error == -ENOMEM) {
                what = WIRE_FAILED_MEMORY;
                if (!instance->error[0])
                        snprintf(instance->error, sizeof(instance->error),
                                "%s() of plugin '%s' failed: no memory left of the %d MiB that its worker "
                                "may "
                                "have",
                                call, instance->plugin->name, WORKER_MEMORY_MIB);
        } else if (!instance->error[0]) {
                make_sentence(instance, error, call);
        }
        take_refusal(instance);
        outlet_failed(instance->outlet, what, error, instance->error);
        instance->error[0] = '\0';
}

static void tell_opened(Instance *instance)
{
        Bytes *bytes = &instance->outlet->bytes;
        size_t mark = wire_begin(bytes, WIRE_OPENED);

        bytes_put_u32(bytes, (uint32_t) instance->n_channels);
        for (size_t i = 0; i < instance->n_channels; i++) {
                const struct plugd_channel *channel = &instance->channels[i].is;

                bytes_put_string(bytes, channel->name);
                bytes_put_string(bytes, channel->unit);
                bytes_put_u32(bytes, channel->type);
                bytes_put_u32(bytes, channel->flags);
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
        take_refusal(instance);
        /* What it did wrong in open() is another thing than what is to come. */
        instance->blamed = false;
        for (size_t i = 0; i < instance->n_channels; i++)
                instance->channels[i].blamed = false;
        take_error(instance);
        tell_opened(instance);
        return 0;
}

int instance_read(Instance *instance, enum plugd_reason reason)
{
        int r;

        instance->host.reason = reason;
        r = instance->plugin->read(instance->data);
        if (r >= 0 || r == -EAGAIN) {
                take_refusal(instance);
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
