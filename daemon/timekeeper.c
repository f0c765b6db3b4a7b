/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Judging the clock, and the boots whose samples wait for it. The clock is looked at when somebody sets it
 * (a timer that the kernel cancels then), and once a second as long as it isn't believed.
 */

#include "timekeeper-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#include "plugd-build.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define BUILT_USEC (PLUGD_BUILT_SEC * USEC_PER_SEC)
#define GRACE_USEC (60 * USEC_PER_SEC)
#define TICK_USEC USEC_PER_SEC

/* --- the newest time in the state directory -------------------------------------------------------------
 */

static void note_mtime(
        Timekeeper *timekeeper, const char *path, const char *name, const struct timespec *mtime)
{
        uint64_t usec = mtime->tv_sec > 0 ? (uint64_t) mtime->tv_sec * USEC_PER_SEC : 0;

        if (usec <= timekeeper->newest_usec)
                return;
        timekeeper->newest_usec = usec;
        free(timekeeper->newest_path);
        timekeeper->newest_path = strcmp(name, ".") == 0 ? strdup(path) : text_printf("%s/%s", path, name);
}

static void note_mtimes(Timekeeper *timekeeper, const char *path, bool deeper)
{
        DIR *directory = opendir(path);
        struct dirent *entry;

        if (!directory)
                return; /* the spool says what is wrong with it */
        while ((entry = readdir(directory))) {
                _cleanup_(freep) char *below = NULL;
                struct stat status;

                if (strcmp(entry->d_name, "..") == 0 ||
                        fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                note_mtime(timekeeper, path, entry->d_name, &status.st_mtim);
                if (!deeper || !S_ISDIR(status.st_mode) || entry->d_name[0] == '.')
                        continue;
                below = text_printf("%s/%s", path, entry->d_name);
                if (below)
                        note_mtimes(timekeeper, below, false);
        }
        closedir(directory);
}

void timekeeper_note_time(Timekeeper *timekeeper, uint64_t at_msec)
{
        if (at_msec * USEC_PER_MSEC <= timekeeper->newest_usec)
                return;
        timekeeper->newest_usec = at_msec * USEC_PER_MSEC;
        free(TAKE_PTR(timekeeper->newest_path));
}

/* --- judging the clock ----------------------------------------------------------------------------------
 */

static Doubt judge(const Timekeeper *timekeeper, uint64_t now_usec)
{
        if (now_usec < BUILT_USEC)
                return DOUBT_BUILT;
        if (timekeeper->settled || timekeeper->config.wait_sync == TIME_WAIT_NO || clock_synchronised())
                return DOUBT_NONE;
        if (now_usec + GRACE_USEC < timekeeper->newest_usec)
                return DOUBT_BEHIND;
        return timekeeper->config.wait_sync == TIME_WAIT_YES ? DOUBT_UNSYNCED : DOUBT_NONE;
}

/* "/var/lib/plugd/boots is of 2026-05-03 14:00 UTC", and what to do where that is wrong. */
static char *say_newest(const Timekeeper *timekeeper)
{
        ClockText when;

        clock_format(when, (int64_t) timekeeper->newest_usec);
        return timekeeper->newest_path ? text_printf("%s is of %s (if that is wrong, touch it, and what "
                                                     "else is newer than now, and restart plugd)",
                                                 timekeeper->newest_path, when)
                                       : text_printf("a message in the spool is of %s", when);
}

/* How long it may still take: "8 min". */
static const char *say_rest(const Timekeeper *timekeeper, char buffer[static 32])
{
        uint64_t end_usec = timekeeper->begun_usec + timekeeper->config.wait_max_usec,
                 now_usec = clock_boottime_usec(),
                 sec = end_usec > now_usec ? (end_usec - now_usec + USEC_PER_SEC - 1) / USEC_PER_SEC : 0;

        if (sec > 2 * 3600)
                snprintf(buffer, 32, "%" PRIu64 " h", (sec + 3599) / 3600);
        else if (sec > 60)
                snprintf(buffer, 32, "%" PRIu64 " min", (sec + 59) / 60);
        else
                snprintf(buffer, 32, "%" PRIu64 " s", (sec + 9) / 10 * 10);
        return buffer;
}

/* What is the matter, in words; `what` waits. */
static char *say_doubt(const Timekeeper *timekeeper, Doubt doubt, uint64_t now_usec, const char *what)
{
        _cleanup_(freep) char *newest = NULL;
        char rest[32];
        ClockText now;

        clock_format(now, (int64_t) now_usec);
        say_rest(timekeeper, rest);
        switch (doubt) {
        case DOUBT_NONE:
                break;
        case DOUBT_BUILT:
                return text_printf(
                        "the clock says %s: %s until it is set; is a time service running?", now, what);
        case DOUBT_BEHIND:
                newest = say_newest(timekeeper);
                return text_printf(
                        "the clock says %s, and %s: %s until it is set, or synchronised, for %s at "
                        "most (time.wait_max); is a time service running?",
                        now, newest ? newest : timekeeper->state_directory, what, rest);
        case DOUBT_UNSYNCED:
                return text_printf("the clock says %s, and isn't synchronised: %s until it is "
                                   "(time.wait_sync), for %s at most (time.wait_max); is a time service "
                                   "running?",
                        now, what, rest);
        }
        return strdup("");
}

static void say_waiting(Timekeeper *timekeeper, Doubt doubt, uint64_t now_usec)
{
        bool untimed = timekeeper->config.wait_sync == TIME_WAIT_NO;
        _cleanup_(freep) char *text = NULL;

        if (doubt == timekeeper->doubt)
                return;
        text = say_doubt(timekeeper, doubt, now_usec,
                timekeeper->has_ahead ? "times are counted on from when it was right"
                : untimed             ? "messages have no time of their own"
                                      : "samples wait in the spool");
        if (text && *text)
                log_warning("%s", text);
}

/* Those that wait get their times. */
static int fix(Timekeeper *timekeeper)
{
        uint64_t held = timekeeper_held(timekeeper);
        ClockText text;
        int r;

        r = timekeeper_fix_boots(timekeeper);
        if (r < 0)
                return r;
        timekeeper->times = sample_times_free(timekeeper->times);
        /* Counted when they came: some may have been evicted since. */
        log_notice("it is %s: what waited for the clock (at most %" PRIu64 " messages) has its time now",
                clock_format(text, (int64_t) clock_boottime_usec() + timekeeper->ahead_usec), held);
        return 1;
}

void timekeeper_look_soon(Timekeeper *timekeeper, uint64_t usec)
{
        (void) sd_event_source_set_time_relative(timekeeper->tick, usec);
        (void) sd_event_source_set_enabled(timekeeper->tick, SD_EVENT_ONESHOT);
}

/* 1: the clock is believed from here on, or messages that waited have their times. */
static int look(Timekeeper *timekeeper)
{
        /* Both are of one look at the clock. */
        int64_t ahead_usec = clock_realtime_ahead_of_boottime_usec();
        uint64_t boottime_usec = clock_boottime_usec(),
                 now_usec = (uint64_t) MAX((int64_t) boottime_usec + ahead_usec, INT64_C(0));
        Doubt doubt = judge(timekeeper, now_usec);
        int r = 0;

        say_waiting(timekeeper, doubt, now_usec);
        if (doubt == DOUBT_NONE && timekeeper->doubt != DOUBT_NONE && timekeeper->settled)
                log_notice("the clock was set, and can be right again");
        timekeeper->doubt = doubt;
        if (doubt > DOUBT_BUILT &&
                boottime_usec - timekeeper->begun_usec >= timekeeper->config.wait_max_usec) {
                _cleanup_(freep) char *newest = doubt == DOUBT_BEHIND ? say_newest(timekeeper) : NULL;

                log_warning("the clock is believed from here on, as time.wait_max has passed%s%s",
                        newest ? ", though " : "", newest ? newest : "");
                timekeeper->doubt = doubt = DOUBT_NONE;
        }
        if (doubt == DOUBT_NONE) {
                r = !timekeeper->settled;
                timekeeper->settled = timekeeper->has_ahead = true;
                timekeeper->ahead_usec = ahead_usec;
        }
        if (!timekeeper_all_fixed(timekeeper)) {
                if (timekeeper->has_ahead)
                        r = fix(timekeeper);
                else if (timekeeper->config.wait_sync == TIME_WAIT_NO)
                        r = timekeeper_leave_untimed(timekeeper);
        }
        if (timekeeper->save_error < 0 && boottime_usec >= timekeeper->save_usec)
                timekeeper_save(timekeeper);
        /* As long as there is something to look for. */
        if (!timekeeper->settled || timekeeper->save_error < 0 || r < 0)
                timekeeper_look_soon(timekeeper, TICK_USEC);
        return r;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
        Timekeeper *timekeeper = userdata;

        (void) source;
        (void) usec;
        if (look(timekeeper) > 0)
                timekeeper->changed(timekeeper->userdata);
        return 0;
}

/* --- noticing that it is set ----------------------------------------------------------------------------
 */

/* It never rings; the kernel cancels it when somebody sets the clock. */
static int watch_arm(int fd)
{
        const struct itimerspec never = {
                .it_value.tv_sec = sizeof(time_t) > 4 ? (time_t) INT64_C(7258118400) : INT32_MAX};

        return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ? -errno
                                                                                                  : 0;
}

static int on_watch(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Timekeeper *timekeeper = userdata;
        uint64_t expirations;
        ssize_t n = read(fd, &expirations, sizeof(expirations));

        (void) revents;
        if (n < 0 && errno == EAGAIN)
                return 0;
        /* A clock beyond the year 2200 (where time_t is short, 2038) rings it: it is done without then. */
        if ((n < 0 && errno != ECANCELED) || n >= 0 || watch_arm(fd) < 0)
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        (void) look(timekeeper);
        timekeeper->changed(timekeeper->userdata);
        return 0;
}

static int watch_new(Timekeeper *timekeeper)
{
        _cleanup_(closep) int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        r = watch_arm(fd);
        if (r < 0)
                return r;
        r = sd_event_add_io(timekeeper->event, &timekeeper->watch, fd, EPOLLIN, on_watch, timekeeper);
        if (r < 0)
                return r;
        r = sd_event_source_set_io_fd_own(timekeeper->watch, true);
        if (r >= 0)
                take_fd(&fd);
        return r;
}

/* --- the object -----------------------------------------------------------------------------------------
 */

int timekeeper_new(Timekeeper **ret, sd_event *event, const char *state_directory, const TimeConfig *config,
        TimekeeperChanged changed, void *userdata, char **ret_error)
{
        _cleanup_(timekeeper_freep) Timekeeper *timekeeper = calloc(1, sizeof(*timekeeper));
        int r;

        if (!timekeeper)
                return -ENOMEM;
        timekeeper->event = sd_event_ref(event);
        timekeeper->changed = changed;
        timekeeper->userdata = userdata;
        timekeeper->config = *config;
        timekeeper->begun_usec = clock_boottime_usec();
        timekeeper->state_directory = strdup(state_directory);
        if (!timekeeper->state_directory)
                return -ENOMEM;
        /* Without the kernel's id, each start is taken for a boot of its own. */
        if (clock_boot_id(timekeeper->boot) < 0 &&
                getrandom(timekeeper->boot, sizeof(timekeeper->boot), 0) != sizeof(timekeeper->boot)) {
                text_set(ret_error, "the kernel gave no boot id, nor random bytes for one");
                return -EIO;
        }
        note_mtimes(timekeeper, state_directory, true);
        r = boots_new(&timekeeper->boots, state_directory);
        if (r < 0)
                return r;
        r = sd_event_add_time(
                event, &timekeeper->tick, CLOCK_MONOTONIC, 0, TICK_USEC / 10, on_tick, timekeeper);
        if (r >= 0)
                r = sd_event_source_set_enabled(timekeeper->tick, SD_EVENT_OFF);
        if (r >= 0)
                r = watch_new(timekeeper);
        if (r < 0) {
                text_set(ret_error, "the clock can't be watched: %s", strerror(-r));
                return r;
        }
        *ret = TAKE_PTR(timekeeper);
        return 0;
}

Timekeeper *timekeeper_free(Timekeeper *timekeeper)
{
        if (!timekeeper)
                return NULL;
        sd_event_source_disable_unref(timekeeper->watch);
        sd_event_source_disable_unref(timekeeper->tick);
        sd_event_unref(timekeeper->event);
        boots_free(timekeeper->boots);
        sample_times_free(timekeeper->times);
        free(timekeeper->noted);
        free(timekeeper->state_directory);
        free(timekeeper->newest_path);
        free(timekeeper->trouble);
        free(timekeeper);
        return NULL;
}

/* Is the time of day that a boot's offset makes of now one that can be right? */
static bool is_usable(const Boot *boot)
{
        return boot->kind == BOOT_EXACT &&
               (int64_t) clock_boottime_usec() + boot->offset_msec * (int64_t) USEC_PER_MSEC >=
                       (int64_t) BUILT_USEC;
}

int timekeeper_begin(Timekeeper *timekeeper)
{
        const Boot *boot = boots_find(timekeeper->boots, timekeeper->boot);
        int r;

        /* Of before the configuration was changed, or nonsense. What is held from here on is no part of it.
         */
        if (boot && !is_usable(boot) && timekeeper->config.wait_sync != TIME_WAIT_NO &&
                getrandom(timekeeper->boot, sizeof(timekeeper->boot), 0) != sizeof(timekeeper->boot))
                return -EIO;
        /* plugd was restarted, and knew the time before: that holds also if the clock has been lost since.
         */
        if (boot && is_usable(boot)) {
                timekeeper->has_ahead = true;
                timekeeper->ahead_usec = boot->offset_msec * (int64_t) USEC_PER_MSEC;
        }
        r = look(timekeeper);
        return MIN(r, 0);
}

TimekeeperWord timekeeper_now(Timekeeper *timekeeper, uint64_t *ret_now_usec, int64_t *ret_ahead_usec)
{
        int64_t ahead_usec = clock_realtime_ahead_of_boottime_usec(), now_usec;

        /* Both are of one look at the clock. */
        now_usec = (int64_t) clock_boottime_usec() + ahead_usec;
        if (timekeeper->settled && now_usec >= (int64_t) BUILT_USEC) {
                timekeeper->has_ahead = true;
                timekeeper->ahead_usec = ahead_usec;
        }
        if (timekeeper->has_ahead) {
                *ret_ahead_usec = timekeeper->ahead_usec;
                *ret_now_usec = (uint64_t) ((int64_t) clock_boottime_usec() + timekeeper->ahead_usec);
                return TIME_KNOWN;
        }
        *ret_ahead_usec = 0;
        *ret_now_usec = (uint64_t) MAX(now_usec, (int64_t) BUILT_USEC);
        return timekeeper->config.wait_sync == TIME_WAIT_NO ? TIME_NONE : TIME_HELD;
}

void timekeeper_get_stats(Timekeeper *timekeeper, TimekeeperStats *ret)
{
        uint64_t held = timekeeper_held(timekeeper), now_usec = clock_realtime_usec();
        Doubt doubt = timekeeper->doubt == DOUBT_NONE ? judge(timekeeper, now_usec) : timekeeper->doubt;
        char what[64];

        if (timekeeper->has_ahead)
                snprintf(what, sizeof(what), "times are counted on from when it was right");
        else if (timekeeper->config.wait_sync == TIME_WAIT_NO)
                snprintf(what, sizeof(what), "messages have no time of their own");
        else
                snprintf(what, sizeof(what), "%" PRIu64 " sample%s", held, held == 1 ? " waits" : "s wait");
        free(timekeeper->trouble);
        if (doubt == DOUBT_NONE && timekeeper->save_error < 0)
                timekeeper->trouble = text_printf("the times of samples that waited for the clock can't be "
                                                  "written to %s: %s",
                        boots_path(timekeeper->boots), strerror(-timekeeper->save_error));
        else
                timekeeper->trouble = say_doubt(timekeeper, doubt, now_usec, what);
        *ret = (TimekeeperStats){
                .held = held,
                .estimated = timekeeper->estimated,
                .trouble = timekeeper->trouble ? timekeeper->trouble : "",
        };
}
