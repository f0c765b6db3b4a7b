/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's clock: what becomes of messages and their times when it is set, or set back. */

#include <errno.h>
#include <string.h>

#include "manager-internal.h"
#include "util/log.h"

static void on_waiting(const Sample *sample, void *userdata)
{
        Manager *manager = userdata;
        Sample copy = *sample;

        if (timekeeper_resolve(manager->timekeeper, &copy) >= 0)
                sample_times_reserve_one(manager->times, copy.channel, copy.at_msec);
}

#define TAKEN_MSEC (UINT64_C(600) * 1000) /* a sample was taken at most so long before it is stored */

/* The times that wait in the spool are not given again: it is gone through, as not all of them are in
 * memory, from the earliest time on that may be wanted now.
 */
static void reserve_waiting(Manager *manager, uint64_t now_msec)
{
        SpoolStats stats;
        int r;

        spool_get_stats(manager->spool, &stats);
        manager->reserved = stats.messages > 0;
        r = sample_times_reserve(manager->times, stats.messages);
        if (r >= 0 && manager->reserved)
                r = spool_visit(manager->spool, now_msec - MIN(now_msec, TAKEN_MSEC), on_waiting, manager);
        if (r < 0)
                log_warning("not all times in the spool could be looked at (%s): one of them might be used "
                            "twice",
                        r == -ETIME ? "there are too many" : strerror(-r));
}

void manager_confirmed(Manager *manager)
{
        SpoolStats stats;

        if (!manager->reserved)
                return;
        spool_get_stats(manager->spool, &stats);
        if (stats.messages > 0)
                return;
        (void) sample_times_reserve(manager->times, 0);
        manager->reserved = false;
}

TimekeeperWord manager_clock(Manager *manager, uint64_t *ret_now_usec, int64_t *ret_ahead_usec)
{
        TimekeeperWord word = timekeeper_now(manager->timekeeper, ret_now_usec, ret_ahead_usec);

        if (word == TIME_KNOWN && !sample_times_clock(manager->times, *ret_now_usec / USEC_PER_MSEC)) {
                log_warning("the clock was set back by more than a minute: the new time holds from here on");
                reserve_waiting(manager, *ret_now_usec / USEC_PER_MSEC);
        }
        return word;
}

void manager_on_clock(void *userdata)
{
        Manager *manager = userdata;
        uint64_t newest_msec = timekeeper_newest_msec(manager->timekeeper), now_usec;
        int64_t ahead_usec;

        if (newest_msec > manager->newest_held_msec) {
                manager->newest_held_msec = newest_msec;
                sample_times_raise(manager->times, newest_msec);
        }
        spool_set_clock(manager->spool, manager_clock(manager, &now_usec, &ahead_usec) == TIME_KNOWN);
        if (manager->delivery)
                delivery_resume(manager->delivery);
        manager_counted(manager);
}

int manager_resolve(Sample *sample, void *userdata)
{
        Manager *manager = userdata;

        return timekeeper_resolve(manager->timekeeper, sample);
}
