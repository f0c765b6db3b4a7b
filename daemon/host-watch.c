/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A host's clocks. One source rings at the earliest of its deadlines: silence, an ending that takes too
 * long, the next start, the end of an episode. It isn't moved for every frame: it rings, looks, and is set
 * again. Before a worker is blamed for its silence, the wire is looked at: it may be the loop that was busy,
 * or the machine that stood still, so a worker always has the time between the warning and the end to
 * answer.
 */

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "host-internal.h"
#include "util/clock.h"
#include "util/text.h"

#define WARN_USEC (10 * USEC_PER_SEC)
#define KILL_USEC (5 * USEC_PER_SEC)  /* after the warning */
#define STUCK_USEC (2 * USEC_PER_SEC) /* and it is looked after again */

static bool listening(const Host *host)
{
        return host->pid > 0 && host->ending == HOST_NOT_ENDING;
}

/* When the worker's next answer is due. */
static uint64_t due_usec(const Host *host)
{
        double period_usec = host->interval_sec * (double) USEC_PER_SEC;

        return host->heard_usec + (uint64_t) MIN(period_usec, (double) WIRE_ALIVE_USEC);
}

static uint64_t silence_usec(const Host *host)
{
        return host->warned_usec > 0 ? host->warned_usec + KILL_USEC : due_usec(host) + WARN_USEC;
}

/* Is it well, and not yet forgotten that it was not? */
static bool convalescent(const Host *host)
{
        return host->healthy_usec > 0 &&
               (host->troubles[HOST_TROUBLE_ENDED] || backoff_active(&host->backoff));
}

static uint64_t next_usec(const Host *host)
{
        uint64_t next = UINT64_MAX;

        if (host->restart_usec > 0)
                next = MIN(next, host->restart_usec);
        if (host->deadline_usec > 0)
                next = MIN(next, host->deadline_usec);
        if (listening(host))
                next = MIN(next, silence_usec(host));
        if (convalescent(host))
                next = MIN(next, host->healthy_usec + HOST_HEALTHY_USEC);
        return MIN(next, host_episodes_next_usec(host));
}

void host_watch(Host *host)
{
        uint64_t next = next_usec(host);
        int r;

        if (next == UINT64_MAX) {
                (void) sd_event_source_set_enabled(host->watch, SD_EVENT_OFF);
                return;
        }
        r = sd_event_source_set_time(host->watch, next);
        if (r >= 0)
                r = sd_event_source_set_enabled(host->watch, SD_EVENT_ONESHOT);
        if (r < 0)
                log_write(LOG_ERR, HOST_CONTEXT(host), "cannot set its clock: %s", strerror(-r));
}

void host_health(Host *host)
{
        host->healthy_usec = host_state(host) == HOST_RUNNING ? clock_monotonic_usec() : 0;
        host_watch(host);
}

void host_heard(Host *host)
{
        uint64_t now_usec = clock_monotonic_usec();
        char duration[48];

        if (host->ending == HOST_KILLED)
                return;
        if (host->warned_usec > 0) {
                log_write(LOG_NOTICE, HOST_CONTEXT(host), "answers again, after %s",
                        text_format_duration(duration, now_usec - host->heard_usec));
                host_set_error(host, HOST_TROUBLE_WORKER, NULL);
                host->warned_usec = 0;
                host_health(host);
        }
        host->heard_usec = now_usec;
}

static void on_silence(Host *host, uint64_t now_usec)
{
        char *text;
        int waiting = 0;

        /* Something is there that the loop had no time for yet. */
        if (host->wire_paused || (ioctl(host->wire, FIONREAD, &waiting) == 0 && waiting > 0)) {
                host->heard_usec = now_usec;
                return;
        }
        if (host->warned_usec > 0) {
                host_kill(host, text_printf("worker was silent for %u s past its due answer, and killed",
                                        (unsigned) ((WARN_USEC + KILL_USEC) / USEC_PER_SEC)));
                return;
        }
        host->warned_usec = now_usec;
        text = text_printf("no answer from its worker for %u s: plugin '%s' has not returned",
                (unsigned) (WARN_USEC / USEC_PER_SEC), host->sensor->plugin);
        host_set_error(host, HOST_TROUBLE_WORKER, text);
        host_health(host);
        log_write(LOG_WARNING, HOST_CONTEXT(host), "%s", host_last_error(host));
}

static const char *asked(const Host *host)
{
        return host->wanted && !host->restart_asked
                       ? "worker closed its connection but did not end, and was killed"
                       : "worker did not stop when asked to, and was killed";
}

static void on_deadline(Host *host)
{
        /* Gone without our hearing of it, as happens to those that somebody traces? */
        if (host_reap(host))
                return;
        if (host->ending == HOST_ASKED) {
                host_kill(host, host->why ? NULL : strdup(asked(host)));
                return;
        }
        host->deadline_usec = clock_monotonic_usec() + STUCK_USEC;
        if (host->stuck)
                return;
        host->stuck = true;
        host_set_error(host, HOST_TROUBLE_WORKER,
                text_printf("worker %d was killed but does not end: its device keeps it in the kernel; "
                            "it is replaced when it is gone",
                        (int) host->pid));
        log_write(LOG_ERR, HOST_CONTEXT(host), "%s", host_last_error(host));
}

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
        Host *host = userdata;
        uint64_t now_usec = clock_monotonic_usec();

        (void) source;
        (void) usec;
        if (host->restart_usec > 0 && now_usec >= host->restart_usec)
                host_spawn(host);
        if (host->deadline_usec > 0 && now_usec >= host->deadline_usec)
                on_deadline(host);
        if (listening(host) && now_usec >= silence_usec(host))
                on_silence(host, now_usec);
        if (convalescent(host) && now_usec >= host->healthy_usec + HOST_HEALTHY_USEC) {
                host_set_error(host, HOST_TROUBLE_ENDED, NULL);
                backoff_reset(&host->backoff);
        }
        host_episodes_tell(host, now_usec);
        host_watch(host);
        host_tell(host);
        return 0;
}

/* --- pauses ------------------------------------------------------------------------------------------- */

static int on_pause_end(sd_event_source *source, uint64_t usec, void *userdata)
{
        Host *host = userdata;

        (void) source;
        (void) usec;
        if (host->wire_paused && host->wire_source) {
                host->heard_usec = clock_monotonic_usec(); /* it could not make itself heard */
                (void) sd_event_source_set_enabled(host->wire_source, SD_EVENT_ON);
        }
        if (host->errors_paused && host->errors_source)
                (void) sd_event_source_set_enabled(host->errors_source, SD_EVENT_ON);
        host->wire_paused = host->errors_paused = false;
        return 0;
}

void host_pause(Host *host, bool *paused)
{
        sd_event_source *source = paused == &host->wire_paused ? host->wire_source : host->errors_source;

        if (!source || sd_event_source_set_enabled(source, SD_EVENT_OFF) < 0)
                return;
        *paused = true;
        if (sd_event_source_set_time_relative(host->pause, HOST_PAUSE_USEC) < 0 ||
                sd_event_source_set_enabled(host->pause, SD_EVENT_ONESHOT) < 0)
                (void) on_pause_end(host->pause, 0, host);
}

/* --- starts ------------------------------------------------------------------------------------------- */

uint64_t host_back_off(Host *host)
{
        uint64_t delay_usec = backoff_next(&host->backoff);

        host->restart_usec = clock_monotonic_usec() + delay_usec;
        return delay_usec;
}

static int add_clock(
        Host *host, uint64_t accuracy_usec, sd_event_time_handler_t callback, sd_event_source **ret)
{
        int r = sd_event_add_time(
                host->event, ret, CLOCK_MONOTONIC, UINT64_MAX, accuracy_usec, callback, host);

        if (r >= 0)
                r = sd_event_source_set_priority(*ret, HOST_PRIORITY);
        if (r >= 0)
                r = sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
        return MIN(r, 0);
}

int host_watch_start(Host *host)
{
        int r = add_clock(host, 100 * USEC_PER_MSEC, on_watch, &host->watch);

        return r < 0 ? r : add_clock(host, 5 * USEC_PER_MSEC, on_pause_end, &host->pause);
}
