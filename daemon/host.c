/* SPDX-License-Identifier: Apache-2.0 */

/* A host's life, and what others may ask of it. Its state follows from what is true of the worker: nobody
 * sets it. See host.h. */

#include <errno.h>
#include <string.h>

#include "host-internal.h"
#include "util/clock.h"
#include "util/text.h"

#define OPENED_PER_SEC 5

const char *host_state_to_string(HostState state)
{
        switch (state) {
        case HOST_STARTING:
                return "starting";
        case HOST_RUNNING:
                return "running";
        case HOST_FAILING:
                return "failing";
        case HOST_SILENT:
                return "silent";
        case HOST_RESTARTING:
                return "restarting";
        case HOST_STUCK:
                return "stuck";
        case HOST_STOPPED:
                return "stopped";
        }
        return "";
}

HostState host_state(const Host *host)
{
        if (!host->wanted && (host->pid == 0 || host->stuck))
                return HOST_STOPPED;
        if (host->pid == 0)
                return HOST_RESTARTING;
        if (host->stuck)
                return HOST_STUCK;
        if (host->warned_usec > 0)
                return HOST_SILENT;
        if (host->failing)
                return HOST_FAILING;
        return host->opened ? HOST_RUNNING : HOST_STARTING;
}

void host_tell(Host *host)
{
        if (!host->changed && host->told == host_state(host))
                return;
        host->changed = false;
        host->told = host_state(host);
        if (host->handler->on_changed)
                host->handler->on_changed(host, host->userdata);
}

bool host_set_error(Host *host, HostTrouble trouble, char *text)
{
        const char *before = host->troubles[trouble];
        bool other = strcmp(text ? text : "", before ? before : "") != 0;

        free(host->troubles[trouble]);
        host->troubles[trouble] = text;
        host->changed |= other;
        return other;
}

/* Makes any text one line of UTF-8. */
void host_make_printable(char *text)
{
        bool utf8 = text_is_utf8(text, strlen(text));

        for (unsigned char *c = (unsigned char *) text; *c; c++)
                if (*c < 0x20 || *c == 0x7f)
                        *c = ' ';
                else if (*c >= 0x80 && !utf8)
                        *c = '?';
}

/* --- coming and going --------------------------------------------------------------------------------- */

int host_new(Host **ret, sd_event *event, const Paths *paths, const SensorConfig *sensor,
        const HostHandler *handler, void *userdata)
{
        _cleanup_(host_freep) Host *host = calloc(1, sizeof(*host));
        uint64_t now_usec = clock_monotonic_usec();
        int r;

        if (!host)
                return -ENOMEM;
        *host = (Host){
                .event = sd_event_ref(event),
                .paths = paths,
                .sensor = sensor,
                .handler = handler,
                .userdata = userdata,
                .interval_sec = sensor->interval_sec,
                .backoff = {.first_usec = USEC_PER_SEC, .max_usec = 30 * USEC_PER_SEC},
                .wire = -1,
                .errors = -1,
                .told = HOST_STOPPED,
        };
        filter_init(&host->samples_filter, sensor->rate_limit, now_usec);
        filter_init(&host->log_filter, HOST_LOG_PER_SEC, now_usec);
        filter_init(&host->open_filter, OPENED_PER_SEC, now_usec);
        r = host_watch_start(host);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(host);
        return 0;
}

Host *host_free(Host *host)
{
        if (!host)
                return NULL;
        host_abandon(host);
        host_episodes_end(host);
        sd_event_source_disable_unref(host->watch);
        sd_event_source_disable_unref(host->pause);
        host_channels_free(host);
        for (size_t i = 0; i < HOST_TROUBLES; i++)
                free(host->troubles[i]);
        sd_event_unref(host->event);
        free(host);
        return NULL;
}

int host_start(Host *host)
{
        if (host->wanted)
                return 0;
        host->wanted = true;
        if (host->pid == 0)
                host_spawn(host);
        else
                host->restart_asked = true; /* the one before is still on its way out */
        host_tell(host);
        return 0;
}

void host_stop(Host *host)
{
        host->wanted = host->restart_asked = false;
        host->restart_usec = 0;
        if (host->pid > 0)
                host_ask(host);
        host_watch(host);
        host_tell(host);
}

int host_restart(Host *host)
{
        if (!host->wanted)
                return -ESHUTDOWN;
        if (host->stuck)
                return -EBUSY;
        backoff_reset(&host->backoff);
        if (host->pid > 0) {
                host->restart_asked = true;
                host_ask(host);
                host_watch(host);
        } else {
                host_spawn(host);
        }
        host_tell(host);
        return 0;
}

int host_set_interval(Host *host, double interval_sec)
{
        if (!(interval_sec >= 0.001 && interval_sec <= 86400))
                return -ERANGE;
        if (interval_sec == host->interval_sec)
                return 0;
        host->interval_sec = interval_sec;
        host->changed = true;
        /* START went before it. The one after one that is on its way out gets it with its own. */
        if (host->pid > 0)
                (void) host_say(host, WIRE_INTERVAL, &interval_sec);
        host_tell(host);
        return 0;
}

/* --- what there is to see ----------------------------------------------------------------------------- */

const char *host_name(const Host *host)
{
        return host->sensor->name;
}

const char *host_plugin(const Host *host)
{
        return host->sensor->plugin;
}

const char *host_last_error(const Host *host)
{
        for (size_t i = 0; i < HOST_TROUBLES; i++)
                if (host->troubles[i])
                        return host->troubles[i];
        return "";
}

uint64_t host_samples(const Host *host)
{
        return host->samples;
}

uint64_t host_dropped(const Host *host)
{
        return host->dropped;
}

uint32_t host_restarts(const Host *host)
{
        return host->starts > 0 ? host->starts - 1 : 0;
}

double host_interval(const Host *host)
{
        return host->interval_sec;
}

uint64_t host_last_sample_usec(const Host *host)
{
        return host->last_sample_usec;
}

uint32_t host_sandbox(const Host *host)
{
        return host->sandbox;
}

pid_t host_pid(const Host *host)
{
        return host->pid;
}

const HostChannel *host_channels(const Host *host, size_t *ret_n)
{
        *ret_n = host->n_channels;
        return host->channels;
}
