/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a worker says. All of it is input from a stranger: what is no frame of ours, or makes no sense where
 * it comes, ends the worker; a value that can't be published is dropped and counted; what is over the rate
 * limit is dropped, counted, and makes us look away for a moment, so that a flood waits in its worker and
 * costs us nothing.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "host-internal.h"
#include "payload.h"
#include "topic.h"
#include "util/clock.h"
#include "util/text.h"

#define OTHER_FRAMES_MAX 200         /* in one go, that are no samples within the limit */
#define REST_BYTES_MAX (1024 * 1024) /* of a worker that is gone */

static int nonsense(Host *host, const char *what)
{
        host_kill(host, text_printf("worker talks nonsense: %s", what));
        host->wire_source = sd_event_source_disable_unref(host->wire_source);
        closep(&host->wire);
        return -EBADMSG;
}

/* --- channels ----------------------------------------------------------------------------------------- */

static void channels_free(HostChannel *channels, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                free(channels[i].name);
                free(channels[i].unit);
                free(channels[i].value);
        }
        free(channels);
}

void host_channels_free(Host *host)
{
        channels_free(TAKE_PTR(host->channels), host->n_channels);
        host->n_channels = 0;
}

static HostChannel *channel_find(HostChannel *channels, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(channels[i].name, name) == 0)
                        return channels + i;
        return NULL;
}

/* One channel of OPENED. Its full name is the sensor's channel if it is the only one. */
static int read_channel(const Host *host, BytesReader *body, bool only, HostChannel *ret)
{
        const char *name = bytes_get_string(body), *unit = bytes_get_string(body);

        ret->type = bytes_get_u32(body);
        ret->flags = bytes_get_u32(body);
        if (body->failed || ret->type < PLUGD_BOOLEAN || ret->type > PLUGD_JSON ||
                !text_is_utf8(unit, strlen(unit)))
                return -EBADMSG;
        ret->name = only ? strdup(host->sensor->channel) : text_printf("%s/%s", host->sensor->channel, name);
        ret->unit = unit[0] ? strdup(unit) : NULL;
        return ret->name && (ret->unit || !unit[0]) ? 0 : -ENOMEM;
}

static int read_channels(
        const Host *host, BytesReader *body, HostChannel **ret, size_t *ret_n, char **ret_error)
{
        uint32_t n = bytes_get_u32(body);
        HostChannel *channels;
        size_t i;
        int r = 0;

        if (body->failed || n > PLUGD_CHANNELS_MAX)
                return -EBADMSG;
        channels = calloc(MAX(n, 1U), sizeof(*channels));
        if (!channels)
                return -ENOMEM;
        for (i = 0; i < n && r == 0; i++) {
                r = read_channel(host, body, n == 1, channels + i);
                if (r == 0)
                        r = topic_check_channel(channels[i].name, ret_error);
                if (r == 0 && channel_find(channels, i, channels[i].name))
                        r = -EBADMSG;
        }
        if (r == 0 && body->size > 0)
                r = -EBADMSG;
        if (r < 0) {
                channels_free(channels, i);
                return r;
        }
        *ret = channels;
        *ret_n = n;
        return 0;
}

/* The same channels as before keep their last values. */
static void take_channels(Host *host, HostChannel *channels, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                HostChannel *before = channel_find(host->channels, host->n_channels, channels[i].name);

                if (before && before->type == channels[i].type)
                        channels[i].value = TAKE_PTR(before->value);
        }
        host_channels_free(host);
        host->channels = channels;
        host->n_channels = n;
}

/* --- samples ------------------------------------------------------------------------------------------ */

/* The value as JSON, or NULL and why not. */
static char *format_value(const struct plugd_value *value, const char **ret_why)
{
        char buffer[32];
        size_t size;

        *ret_why = "out of memory";
        switch ((enum plugd_type) value->type) {
        case PLUGD_BOOLEAN:
                return strdup(value->boolean ? "true" : "false");
        case PLUGD_INTEGER:
                snprintf(buffer, sizeof(buffer), "%" PRId64, value->integer);
                return strdup(buffer);
        case PLUGD_NUMBER:
                *ret_why = "it is not a finite number";
                return payload_format_number(buffer, value->number) < 0 ? NULL : strdup(buffer);
        case PLUGD_STRING:
                size = strlen(value->string);
                *ret_why = size > SAMPLE_DATA_MAX ? "it is too long" : "it is not UTF-8";
                if (size > SAMPLE_DATA_MAX || !text_is_utf8(value->string, size))
                        return NULL;
                return payload_quote(value->string);
        case PLUGD_JSON:
                size = strlen(value->string);
                *ret_why = size > SAMPLE_DATA_MAX ? "it is too long" : "it is not JSON";
                return payload_check(value->string, size, NULL) < 0 ? NULL : strdup(value->string);
        case PLUGD_GROUPS:
                break;
        }
        return NULL;
}

static void hand_on(Host *host, HostChannel *channel, char *data, size_t size, uint64_t taken_usec)
{
        uint64_t now_usec = clock_boottime_usec();
        int r;

        taken_usec = MIN(taken_usec, now_usec); /* none is taken in the future */
        free(channel->value);
        channel->value = data;
        host->last_sample_usec = clock_realtime_usec() - (now_usec - taken_usec);
        if (host->troubles[HOST_TROUBLE_VALUE] && channel == host->channels + host->refused_channel)
                host_set_error(host, HOST_TROUBLE_VALUE, NULL);
        host->samples++;
        r = host->handler->on_sample(host, channel->name, data, size, taken_usec, host->userdata);
        if (r < 0)
                host->samples--;
        host->too_much = r > 0;
}

/* 1: handed on; 0: dropped; -EBADMSG. */
static int take_sample(Host *host, BytesReader *body)
{
        uint32_t index = bytes_get_u32(body);
        uint64_t taken_usec = bytes_get_u64(body);
        struct plugd_value value;
        HostChannel *channel;
        const char *why;
        size_t size;
        char *data;

        if (wire_get_value(body, &value) < 0 || body->size > 0)
                return nonsense(host, "a sample that is none");
        if (!host->opened || index >= host->n_channels)
                return nonsense(host, "a sample of a channel that there isn't");
        channel = host->channels + index;
        if (value.type != channel->type && !(channel->type == PLUGD_NUMBER && value.type == PLUGD_INTEGER))
                return nonsense(host, "a sample of another type than its channel");
        if (!filter_admit(&host->samples_filter, clock_monotonic_usec())) {
                host_over_limit(host);
                return 0;
        }

        data = format_value(&value, &why);
        size = data ? strlen(data) : 0;
        if (!data || size > SAMPLE_DATA_MAX) {
                host_refuse(host, index, data ? "it is too long" : why);
                free(data);
                return 0;
        }
        hand_on(host, channel, data, size, taken_usec);
        return 1;
}

/* --- everything else ---------------------------------------------------------------------------------- */

static int take_hello(Host *host, BytesReader *body)
{
        uint32_t version = bytes_get_u32(body), sandbox = bytes_get_u32(body);

        if (body->failed || host->greeted)
                return nonsense(host, "a greeting out of place");
        if (version != WIRE_VERSION) {
                host_kill(host, text_printf("worker %s speaks version %" PRIu32
                                            " to plugd's %d: they are not of one "
                                            "installation",
                                        host->paths->worker, version, WIRE_VERSION));
                return 0;
        }
        host->greeted = true;
        host->sandbox = sandbox;
        host->changed = true;
        if (!(sandbox & WIRE_SANDBOX_SECCOMP))
                host_log(host, LOG_WARNING, "its worker runs without a system call filter");
        return 0;
}

static int take_opened(Host *host, BytesReader *body)
{
        _cleanup_(freep) char *error = NULL;
        HostChannel *channels;
        size_t n;
        int r;

        if (host->opened || !host->greeted || !filter_admit(&host->open_filter, clock_monotonic_usec()))
                return nonsense(host, "it opens what is open, or too often");
        r = read_channels(host, body, &channels, &n, &error);
        if (r < 0 && error) {
                host_kill(host, TAKE_PTR(error));
                return 0;
        }
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return nonsense(host, "channels that are none");
        take_channels(host, channels, n);
        host_set_error(host, HOST_TROUBLE_WORKER, NULL);
        host_set_error(host, HOST_TROUBLE_PLUGIN, NULL);
        host_set_error(host, HOST_TROUBLE_VALUE, NULL);
        host->opened = true;
        host->failing = false;
        host->changed = true;
        host_health(host);
        log_write(LOG_DEBUG, HOST_CONTEXT(host), "plugin '%s' works, with %zu channels",
                host->sensor->plugin, n);
        return 0;
}

static int take_failed(Host *host, BytesReader *body)
{
        uint8_t what = bytes_get_u8(body);
        uint32_t error = bytes_get_u32(body);
        const char *text = bytes_get_string(body);
        char sentence[1024];

        (void) error;
        if (!text || !host->greeted || !text_is_utf8(text, strlen(text)))
                return nonsense(host, "a failure that is none");
        snprintf(sentence, sizeof(sentence), "%s", text);
        host_make_printable(sentence);

        switch ((WireFailure) what) {
        case WIRE_FAILED_LOAD:
        case WIRE_FAILED_MEMORY:
                /* It ends now, and this is why. */
                free(host->why);
                host->why = strdup(sentence);
                return 0;
        case WIRE_FAILED_OPEN:
                host->opened = false;
                break;
        case WIRE_FAILED_READ:
                if (!host->opened)
                        return nonsense(host, "it reads what isn't open");
                break;
        default:
                return nonsense(host, "a failure of an unknown kind");
        }
        host->failing = true;
        host_health(host);
        if (host_set_error(host, HOST_TROUBLE_PLUGIN, strdup(sentence)))
                host_log(host, LOG_WARNING, sentence);
        return 0;
}

static int take_log(Host *host, BytesReader *body)
{
        int priority = bytes_get_u8(body);
        const char *text = bytes_get_string(body);

        if (!text)
                return nonsense(host, "a message that is none");
        host_log(host, MIN(MAX(priority, LOG_ERR), LOG_DEBUG), text);
        return 0;
}

static int take_recovered(Host *host)
{
        if (!host->opened)
                return nonsense(host, "it recovers what isn't open");
        if (!host->failing)
                return 0;
        host->failing = false;
        host_health(host);
        host_set_error(host, HOST_TROUBLE_PLUGIN, NULL);
        host_log(host, LOG_NOTICE, "can be read again");
        return 0;
}

/* 1: a sample handed on; 0: something else; -EBADMSG or -ENOMEM. */
static int take_frame(Host *host, WireFrame *frame)
{
        host_heard(host);
        switch (frame->type) {
        case WIRE_HELLO:
                return take_hello(host, &frame->body);
        case WIRE_OPENED:
                return take_opened(host, &frame->body);
        case WIRE_SAMPLE:
                return take_sample(host, &frame->body);
        case WIRE_LOG:
                return take_log(host, &frame->body);
        case WIRE_FAILED:
                return take_failed(host, &frame->body);
        case WIRE_ALIVE:
                return 0;
        case WIRE_RECOVERED:
                return take_recovered(host);
        case WIRE_START:
        case WIRE_INTERVAL:
        case WIRE_STOP:
                break;
        }
        return nonsense(host, "it talks like a host");
}

/* Takes all whole frames. Gives how many were something else than samples within the limit. */
static int take_frames(Host *host)
{
        size_t done = 0;
        int others = 0, r;

        for (;;) {
                WireFrame frame;

                r = wire_next(host->in.data + done, host->in.size - done, &frame);
                if (r == -EBADMSG)
                        return nonsense(host, "bytes that are no message");
                if (r <= 0)
                        break;
                r = take_frame(host, &frame);
                if (r < 0)
                        return r;
                others += r == 0;
                done += frame.size;
        }
        bytes_consume(&host->in, done);
        if (host->in.size == 0)
                bytes_deinit(&host->in);
        return others;
}

/* -EAGAIN: nothing there. -EPIPE: the wire has ended. Else take_frames(). */
static int read_some(Host *host)
{
        uint8_t *to = bytes_reserve(&host->in, HOST_READ_BYTES);
        ssize_t n;

        if (!to)
                return -ENOMEM;
        n = read(host->wire, to, HOST_READ_BYTES);
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? -EAGAIN : -EPIPE;
        if (n == 0)
                return -EPIPE;
        host->in.size += (size_t) n;
        return take_frames(host);
}

int host_listen(Host *host)
{
        uint64_t dropped = host->flood.n;
        int r;

        host->too_much = false;
        r = read_some(host);

        if (r == -ENOMEM)
                host_kill(host, text_printf("out of memory for what its worker says"));
        if (r == -EPIPE)
                return r;
        if (host->ending == HOST_NOT_ENDING &&
                (host->flood.n > dropped || r > OTHER_FRAMES_MAX || host->too_much))
                host_pause(host, &host->wire_paused);
        return 0;
}

void host_listen_rest(Host *host)
{
        for (size_t n = 0; host->wire >= 0 && n < REST_BYTES_MAX; n += HOST_READ_BYTES)
                if (read_some(host) < 0)
                        return;
}
