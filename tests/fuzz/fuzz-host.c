/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a worker says, as the host takes it: the first byte says how, then come the bytes of the wire.
 * Whatever they are, a sample that is handed on is JSON on a channel with a name that can be, and none comes
 * from a worker that was found to talk nonsense.
 */

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "host-internal.h"
#include "payload.h"
#include "topic.h"

/* No process has it: what the host does to its worker goes nowhere. */
#define NO_PID INT_MAX

typedef struct Heard {
        uint64_t samples;
} Heard;

static int on_sample(
        Host *host, const char *channel, const char *data, size_t size, uint64_t taken_usec, void *userdata)
{
        Heard *heard = userdata;

        (void) taken_usec;
        hold(host->wire >= 0);
        hold(host->greeted && host->opened);
        hold(topic_check_channel(channel, NULL) == 0);
        hold(size == strlen(data) && payload_check(data, size, NULL) == 0);
        heard->samples++;
        return 0;
}

static void on_log(int priority, const LogContext *context, const char *text)
{
        (void) context;
        hold(priority >= LOG_ERR && priority <= LOG_DEBUG);
        if (*text)
                hold_sentence(text);
}

/* In pieces of this many bytes. */
static void say(Host *host, int wire, const uint8_t *data, size_t size, size_t piece)
{
        while (size > 0 && host->wire >= 0) {
                size_t n = MIN(size, piece);

                hold(write(wire, data, n) == (ssize_t) n);
                (void) host_listen(host);
                hold(host->in.size < WIRE_FRAME_MAX + piece);
                data += n;
                size -= n;
        }
}

static void check_shown(const Host *host)
{
        const HostChannel *channels;
        const char *error = host_last_error(host);
        size_t n;

        if (*error)
                hold_sentence(error);
        hold(*host_state_to_string(host_state(host)));
        channels = host_channels(host, &n);
        for (size_t i = 0; i < n; i++) {
                hold(topic_check_channel(channels[i].name, NULL) == 0);
                hold(channels[i].type >= PLUGD_BOOLEAN && channels[i].type <= PLUGD_JSON);
                if (channels[i].unit)
                        hold(text_is_utf8(channels[i].unit, strlen(channels[i].unit)));
                if (channels[i].value)
                        hold(payload_check(channels[i].value, strlen(channels[i].value), NULL) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const HostHandler handler = {.on_sample = on_sample};
        static char name[] = "door", plugin[] = "sim", channel[] = "Door/Front", none[] = "/nonexistent";
        const Paths paths = {.worker = none, .plugins = none};
        SensorConfig sensor = {.name = name, .plugin = plugin, .channel = channel, .interval_sec = 1};
        _cleanup_(host_freep) Host *host = NULL;
        static sd_event *event;
        Heard heard = {};
        int sockets[2];
        uint8_t how;

        if (size < 1)
                return 0;
        log_set_sink(on_log);
        if (!event)
                hold(sd_event_new(&event) >= 0);
        how = *data++;
        size--;
        sensor.rate_limit = how & 1 ? 1000 : 0;

        hold(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) == 0);
        hold(host_new(&host, event, &paths, &sensor, &handler, &heard) == 0);
        host->wanted = true;
        host->pid = NO_PID;
        host->wire = sockets[1];
        say(host, sockets[0], data, size, how & 2 ? 7 : 32768);
        close(sockets[0]);
        host_listen_rest(host);
        check_shown(host);
        hold(host_samples(host) == heard.samples);
        return 0;
}
