/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a worker does again and again: more samples than it may, values that can't be published, messages
 * without end. The first is said; then only how many more there were, once a minute for as long as it goes
 * on, and when it is over.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "host-internal.h"
#include "util/clock.h"
#include "util/text.h"

#define TEXT_SHOWN_MAX 1024

#define TELL_USEC (60 * USEC_PER_SEC)
#define TELL_FLOOD_USEC (1 * USEC_PER_SEC) /* in LastError alone */

/* So long without one more, and it is over. Refusals come at the interval, which may be long. */
#define QUIET_USEC (10 * USEC_PER_SEC)
#define QUIET_REFUSALS_USEC (300 * USEC_PER_SEC)

/* True: it begins. */
static bool episode_add(Episode *episode)
{
        uint64_t now_usec = clock_monotonic_usec();
        bool begins = episode->last_usec == 0;

        if (begins)
                *episode = (Episode){.began_usec = now_usec, .told_usec = now_usec};
        episode->last_usec = now_usec;
        episode->n++;
        return begins;
}

static uint64_t next_usec(const Episode *episode, uint64_t tell_usec, uint64_t quiet_usec)
{
        if (episode->last_usec == 0)
                return UINT64_MAX;
        if (episode->n == episode->told)
                return episode->last_usec + quiet_usec;
        return MIN(episode->told_usec + tell_usec, episode->last_usec + quiet_usec);
}

/* How many there are to tell of. */
static uint64_t episode_tell(Episode *episode, uint64_t now_usec)
{
        uint64_t n = episode->n - episode->told;

        episode->told = episode->n;
        episode->told_usec = now_usec;
        return n;
}

/* --- samples over the rate limit ---------------------------------------------------------------------- */

static void flood_show(Host *host)
{
        host_set_error(host, HOST_TROUBLE_FLOOD,
                text_printf("gives more than %g samples a second (rate_limit); %" PRIu64 " dropped",
                        host->sensor->rate_limit, host->flood.n));
}

void host_over_limit(Host *host)
{
        host->dropped++;
        if (!episode_add(&host->flood))
                return;
        log_write(LOG_WARNING, HOST_CONTEXT(host),
                "gives more than %g samples a second (rate_limit): what is over that is dropped",
                host->sensor->rate_limit);
        flood_show(host);
        host_watch(host);
}

static void flood_end(Host *host)
{
        char duration[48];

        if (host->flood.last_usec == 0)
                return;
        log_write(LOG_WARNING, HOST_CONTEXT(host),
                "%" PRIu64 " samples over its rate_limit were dropped in %s", host->flood.n,
                text_format_duration(duration, host->flood.last_usec - host->flood.began_usec));
        host->flood = (Episode){0};
        host_set_error(host, HOST_TROUBLE_FLOOD, NULL);
}

/* --- values that can't be published ------------------------------------------------------------------- */

void host_refuse(Host *host, size_t channel, const char *why)
{
        char text[sizeof(host->refused) + 64];

        host->dropped++;
        snprintf(host->refused, sizeof(host->refused), "channel '%s' is dropped: %s",
                host->channels[channel].name, why);
        snprintf(text, sizeof(text), "a value of %s", host->refused);
        host->refused_channel = channel;
        host_set_error(host, HOST_TROUBLE_VALUE, strdup(text));
        if (!episode_add(&host->refusals)) {
                host_watch(host);
                return;
        }
        (void) episode_tell(&host->refusals, host->refusals.last_usec);
        host_log(host, LOG_WARNING, text);
        host_watch(host);
}

static void refusals_tell(Host *host, uint64_t now_usec)
{
        uint64_t n = episode_tell(&host->refusals, now_usec);

        if (n > 0)
                log_write(LOG_WARNING, HOST_CONTEXT(host),
                        "%" PRIu64 " more dropped; the last: a value of %s", n, host->refused);
}

/* --- messages ----------------------------------------------------------------------------------------- */

void host_log(Host *host, int priority, const char *text)
{
        char printable[TEXT_SHOWN_MAX];

        if (priority > log_level())
                return;
        if (!filter_admit(&host->log_filter, clock_monotonic_usec())) {
                if (episode_add(&host->chatter)) {
                        log_write(LOG_WARNING, HOST_CONTEXT(host),
                                "its worker gives more than %d messages a second: until it is quieter they "
                                "are "
                                "counted, not shown",
                                HOST_LOG_PER_SEC);
                        host_watch(host);
                }
                return;
        }
        if (host->chatter.last_usec > 0) {
                host->chatter.n++; /* one that doesn't make the episode longer */
                return;
        }
        snprintf(printable, sizeof(printable), "%s", text);
        host_make_printable(printable);
        log_write(priority, HOST_CONTEXT(host), "%s", printable);
}

static void chatter_tell(Host *host, uint64_t now_usec)
{
        uint64_t n = episode_tell(&host->chatter, now_usec);

        if (n > 0)
                log_write(LOG_WARNING, HOST_CONTEXT(host),
                        "%" PRIu64 " messages of its worker were left out", n);
}

/* --- all of them -------------------------------------------------------------------------------------- */

uint64_t host_episodes_next_usec(const Host *host)
{
        uint64_t next = next_usec(&host->flood, TELL_FLOOD_USEC, QUIET_USEC);

        next = MIN(next, next_usec(&host->refusals, TELL_USEC, QUIET_REFUSALS_USEC));
        return MIN(next, next_usec(&host->chatter, TELL_USEC, QUIET_USEC));
}

void host_episodes_tell(Host *host, uint64_t now_usec)
{
        Episode *flood = &host->flood, *refusals = &host->refusals, *chatter = &host->chatter;

        if (now_usec >= next_usec(flood, TELL_FLOOD_USEC, QUIET_USEC)) {
                if (now_usec >= flood->last_usec + QUIET_USEC)
                        flood_end(host);
                else if (episode_tell(flood, now_usec) > 0)
                        flood_show(host);
        }
        if (now_usec >= next_usec(refusals, TELL_USEC, QUIET_REFUSALS_USEC)) {
                refusals_tell(host, now_usec);
                if (now_usec >= refusals->last_usec + QUIET_REFUSALS_USEC)
                        *refusals = (Episode){0};
        }
        if (now_usec >= next_usec(chatter, TELL_USEC, QUIET_USEC)) {
                chatter_tell(host, now_usec);
                if (now_usec >= chatter->last_usec + QUIET_USEC)
                        *chatter = (Episode){0};
        }
}

void host_episodes_end(Host *host)
{
        flood_end(host);
        refusals_tell(host, 0);
        chatter_tell(host, 0);
}
