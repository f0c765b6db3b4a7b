/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Judging the clock, and the boots whose samples wait for it. The clock is looked at when somebody sets it
 * (a timer that the kernel cancels then), and once a second as long as it isn't believed.
 */

#include "timekeeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#include "boots.h"
#include "plugd-build.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define BUILT_USEC (PLUGD_BUILT_SEC * USEC_PER_SEC)
#define GRACE_USEC (60 * USEC_PER_SEC)
#define TICK_USEC USEC_PER_SEC
#define SAVE_USEC (60 * USEC_PER_SEC) /* between attempts */
#define BOOTS_SAID_MAX 5

/* What speaks against the clock. */
typedef enum Doubt {
        DOUBT_NONE,
        DOUBT_BUILT,
        DOUBT_BEHIND, /* the state directory */
        DOUBT_UNSYNCED,
} Doubt;

/* A boot with held messages in the spool. */
typedef struct Noted {
        uint8_t id[SAMPLE_BOOT_SIZE];
        uint64_t newest_msec, messages;
} Noted;

struct Timekeeper {
        sd_event *event;
        sd_event_source *watch, *tick;
        TimekeeperChanged changed;
        void *userdata;
        TimeConfig config;
        char *state_directory;

        uint64_t begun_usec;  /* CLOCK_BOOTTIME */
        uint64_t newest_usec; /* in the state directory */
        bool begun;
        bool settled; /* the clock was believed once */
        Doubt doubt;
        bool has_ahead; /* of CLOCK_BOOTTIME, as last known: true also when the clock is not */
        int64_t ahead_usec;

        uint8_t boot[SAMPLE_BOOT_SIZE];
        SampleTimes *times; /* of this boot's held samples; NULL: there were none */
        Noted *noted;       /* oldest first */
        size_t n_noted, noted_capacity;
        Boots *boots;
        int save_error; /* the boots are in memory only */
        uint64_t save_usec;

        uint64_t estimated;
        char *trouble;
};

typedef char ClockText[48];

static const char *format_clock(ClockText buffer, int64_t usec)
{
        time_t sec = (time_t) (usec / (int64_t) USEC_PER_SEC);
        struct tm tm;

        if (!gmtime_r(&sec, &tm) || strftime(buffer, sizeof(ClockText), "%Y-%m-%d %H:%M UTC", &tm) == 0)
                strcpy(buffer, "?");
        return buffer;
}

/* --- the newest time in the state directory -------------------------------------------------------------
 */

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
                if (status.st_mtim.tv_sec > 0)
                        timekeeper->newest_usec = MAX(
                                timekeeper->newest_usec, (uint64_t) status.st_mtim.tv_sec * USEC_PER_SEC);
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
        timekeeper->newest_usec = MAX(timekeeper->newest_usec, at_msec * USEC_PER_MSEC);
}

/* --- boots ----------------------------------------------------------------------------------------------
 */

static Noted *find_noted(const Timekeeper *timekeeper, const uint8_t *id)
{
        for (size_t i = timekeeper->n_noted; i-- > 0;)
                if (memcmp(timekeeper->noted[i].id, id, SAMPLE_BOOT_SIZE) == 0)
                        return &timekeeper->noted[i];
        return NULL;
}

static Noted *add_noted(Timekeeper *timekeeper, const uint8_t *id)
{
        Noted *noted;

        if (timekeeper->n_noted == BOOTS_MAX)
                return NULL;
        if (timekeeper->n_noted == timekeeper->noted_capacity) {
                size_t capacity = timekeeper->noted_capacity * 2 + 4;
                Noted *larger = reallocarray(timekeeper->noted, capacity, sizeof(*larger));

                if (!larger)
                        return NULL;
                timekeeper->noted = larger;
                timekeeper->noted_capacity = capacity;
        }
        noted = &timekeeper->noted[timekeeper->n_noted++];
        *noted = (Noted){};
        memcpy(noted->id, id, SAMPLE_BOOT_SIZE);
        return noted;
}

static void save_boots(Timekeeper *timekeeper)
{
        int r = boots_save(timekeeper->boots);

        timekeeper->save_usec = clock_boottime_usec() + SAVE_USEC;
        if (r < 0 && timekeeper->save_error == 0)
                log_error("the times that samples got once the clock was set can't be written to %s: %s. "
                          "They are used all the same; after a restart what was sent already may come again "
                          "with slightly other times",
                        boots_path(timekeeper->boots), strerror(-r));
        else if (r >= 0 && timekeeper->save_error < 0)
                log_notice("%s can be written again", boots_path(timekeeper->boots));
        timekeeper->save_error = r;
}

/* When an earlier boot began, seen from what came after it. */
static Boot estimate(const Noted *noted, int64_t next_msec)
{
        Boot boot = {.kind = BOOT_ESTIMATED, .offset_msec = next_msec - (int64_t) noted->newest_msec};

        memcpy(boot.id, noted->id, SAMPLE_BOOT_SIZE);
        return boot;
}

static void say_estimate(const Noted *noted, const Boot *boot, unsigned count)
{
        ClockText from, to;

        if (count <= BOOTS_SAID_MAX)
                log_notice("boot %02x%02x%02x%02x…: %" PRIu64 " messages, taken before %s, began about %s",
                        boot->id[0], boot->id[1], boot->id[2], boot->id[3], noted->messages,
                        format_clock(to, (boot->offset_msec + (int64_t) noted->newest_msec + 60000) *
                                                 (int64_t) USEC_PER_MSEC),
                        format_clock(from, boot->offset_msec * (int64_t) USEC_PER_MSEC));
}

/* Every boot that has messages in the spool gets its offset: this one by the clock, each earlier one by what
 * came after it. In the order that they were in, so that the oldest go first when there are too many. */
static int fix_boots(Timekeeper *timekeeper)
{
        _cleanup_(freep) Boot *fixed = calloc(timekeeper->n_noted + 1, sizeof(*fixed));
        int64_t next_msec = timekeeper->ahead_usec / (int64_t) USEC_PER_MSEC;
        uint64_t estimated = 0;
        unsigned n_estimated = 0;
        bool changed = false;

        if (!fixed)
                return -ENOMEM;
        for (size_t i = timekeeper->n_noted; i-- > 0;) {
                const Noted *noted = &timekeeper->noted[i];
                const Boot *known = boots_find(timekeeper->boots, noted->id);

                if (known) {
                        if (known->kind != BOOT_UNTIMED)
                                next_msec = known->offset_msec;
                        continue;
                }
                if (memcmp(noted->id, timekeeper->boot, SAMPLE_BOOT_SIZE) == 0) {
                        fixed[i] = (Boot){.kind = BOOT_EXACT, .offset_msec = next_msec};
                        memcpy(fixed[i].id, noted->id, SAMPLE_BOOT_SIZE);
                } else
                        fixed[i] = estimate(noted, next_msec);
                next_msec = fixed[i].offset_msec;
        }
        for (size_t i = 0; i < timekeeper->n_noted; i++) {
                const Noted *noted = &timekeeper->noted[i];

                if (boots_find(timekeeper->boots, noted->id))
                        continue;
                if (boots_add(timekeeper->boots, &fixed[i]) < 0)
                        return -ENOMEM;
                changed = true;
                if (fixed[i].kind == BOOT_ESTIMATED) {
                        estimated += noted->messages;
                        say_estimate(noted, &fixed[i], ++n_estimated);
                }
        }
        timekeeper->estimated += estimated;
        if (estimated > 0)
                log_warning("%" PRIu64 " messages of %u earlier boots, which ended before the clock was "
                            "set, get estimated times: as if each boot had ended just when the next began",
                        estimated, n_estimated);
        if (changed)
                save_boots(timekeeper);
        return 0;
}

/* Nobody is to wait: what waited in an earlier start, with another wait_sync, goes out without a time. */
static int leave_untimed(Timekeeper *timekeeper)
{
        bool changed = false;

        for (size_t i = 0; i < timekeeper->n_noted; i++) {
                Boot boot = {.kind = BOOT_UNTIMED};

                if (boots_find(timekeeper->boots, timekeeper->noted[i].id))
                        continue;
                memcpy(boot.id, timekeeper->noted[i].id, SAMPLE_BOOT_SIZE);
                if (boots_add(timekeeper->boots, &boot) < 0)
                        return -ENOMEM;
                changed = true;
        }
        if (changed)
                save_boots(timekeeper);
        return 0;
}

static uint64_t count_held(const Timekeeper *timekeeper)
{
        uint64_t held = 0;

        for (size_t i = 0; i < timekeeper->n_noted; i++)
                if (!boots_find(timekeeper->boots, timekeeper->noted[i].id))
                        held += timekeeper->noted[i].messages;
        return held;
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

/* What is the matter, in words; `what` waits. */
static char *say_doubt(const Timekeeper *timekeeper, Doubt doubt, uint64_t now_usec, const char *what)
{
        ClockText now, other;

        format_clock(now, (int64_t) now_usec);
        switch (doubt) {
        case DOUBT_NONE:
                break;
        case DOUBT_BUILT:
                return text_printf(
                        "the clock says %s: %s until it is set; is a time service running?", now, what);
        case DOUBT_BEHIND:
                return text_printf("the clock says %s, and the newest time in %s is %s: %s until it is set, "
                                   "or synchronised; is a time service running?",
                        now, timekeeper->state_directory,
                        format_clock(other, (int64_t) timekeeper->newest_usec), what);
        case DOUBT_UNSYNCED:
                return text_printf("the clock says %s, and isn't synchronised: %s until it is "
                                   "(time.wait_sync); is a time service running?",
                        now, what);
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

/* From here on the clock is believed. */
static int settle(Timekeeper *timekeeper, uint64_t now_usec)
{
        uint64_t held = count_held(timekeeper);
        ClockText text;
        int r;

        if (!timekeeper->settled) {
                timekeeper->ahead_usec = clock_realtime_ahead_of_boottime_usec();
                timekeeper->has_ahead = true;
        }
        r = fix_boots(timekeeper);
        if (r < 0)
                return r;
        timekeeper->settled = true;
        timekeeper->times = sample_times_free(timekeeper->times);
        if (held > 0)
                log_notice("the clock says %s: %" PRIu64 " messages that waited for it have their times now",
                        format_clock(text, (int64_t) now_usec), held);
        return 0;
}

/* 1: something has changed. */
static int look(Timekeeper *timekeeper)
{
        uint64_t now_usec = clock_realtime_usec();
        Doubt doubt = judge(timekeeper, now_usec);
        bool overdue = clock_boottime_usec() - timekeeper->begun_usec >= timekeeper->config.wait_max_usec;
        int r = 0;

        say_waiting(timekeeper, doubt, now_usec);
        if (doubt == DOUBT_NONE && timekeeper->doubt != DOUBT_NONE && timekeeper->settled)
                log_notice("the clock was set, and can be right again");
        timekeeper->doubt = doubt;
        if (doubt > DOUBT_BUILT && overdue) {
                log_warning("the clock is believed from here on, as time.wait_max has passed%s%s",
                        doubt == DOUBT_BEHIND ? "; something is newer in " : "",
                        doubt == DOUBT_BEHIND ? timekeeper->state_directory : "");
                timekeeper->doubt = doubt = DOUBT_NONE;
        }
        if (doubt == DOUBT_NONE && (!timekeeper->settled || count_held(timekeeper) > 0)) {
                r = settle(timekeeper, now_usec);
                if (r >= 0)
                        r = 1;
        } else if (timekeeper->config.wait_sync == TIME_WAIT_NO && count_held(timekeeper) > 0) {
                r = leave_untimed(timekeeper);
                if (r >= 0)
                        r = 1;
        }
        if (timekeeper->save_error < 0 && clock_boottime_usec() >= timekeeper->save_usec)
                save_boots(timekeeper);
        /* As long as there is something to look for. */
        if (!timekeeper->settled || timekeeper->save_error < 0 || r < 0) {
                (void) sd_event_source_set_time_relative(timekeeper->tick, TICK_USEC);
                (void) sd_event_source_set_enabled(timekeeper->tick, SD_EVENT_ONESHOT);
        }
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
        free(timekeeper->trouble);
        free(timekeeper);
        return NULL;
}

void timekeeper_note_boot(Timekeeper *timekeeper, const uint8_t boot[static SAMPLE_BOOT_SIZE],
        uint64_t newest_boottime_msec, uint64_t messages)
{
        Noted *noted = find_noted(timekeeper, boot);

        if (!noted)
                noted = add_noted(timekeeper, boot);
        if (!noted)
                return; /* it is met again in timekeeper_resolve() */
        noted->newest_msec = MAX(noted->newest_msec, newest_boottime_msec);
        noted->messages += messages;
        /* Found when all had their times already. */
        if (timekeeper->begun && timekeeper->settled && !boots_find(timekeeper->boots, boot) &&
                look(timekeeper) > 0)
                timekeeper->changed(timekeeper->userdata);
}

int timekeeper_begin(Timekeeper *timekeeper)
{
        const Boot *boot = boots_find(timekeeper->boots, timekeeper->boot);
        int r;

        /* Of before the configuration was changed. What is held from here on is no part of it. */
        if (boot && boot->kind == BOOT_UNTIMED && timekeeper->config.wait_sync != TIME_WAIT_NO &&
                getrandom(timekeeper->boot, sizeof(timekeeper->boot), 0) != sizeof(timekeeper->boot))
                return -EIO;
        /* plugd was restarted, and knew the time before: that holds also if the clock has been lost since.
         */
        if (boot && boot->kind == BOOT_EXACT) {
                timekeeper->has_ahead = true;
                timekeeper->ahead_usec = boot->offset_msec * (int64_t) USEC_PER_MSEC;
        }
        timekeeper->begun = true;
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

int timekeeper_hold(Timekeeper *timekeeper, Sample *sample, uint64_t taken_usec)
{
        const Noted *noted = find_noted(timekeeper, timekeeper->boot);
        int r;

        if (!timekeeper->times) {
                timekeeper->times = sample_times_new();
                if (!timekeeper->times)
                        return -ENOMEM;
                if (noted) /* before plugd was restarted */
                        sample_times_raise(timekeeper->times, noted->newest_msec);
        }
        r = sample_times_next(
                timekeeper->times, sample->channel, taken_usec / USEC_PER_MSEC, 1, &sample->at_msec);
        if (r < 0)
                return r;
        sample->boot = timekeeper->boot;
        return 0;
}

int timekeeper_resolve(Timekeeper *timekeeper, Sample *sample)
{
        const Boot *boot;

        if (!sample->boot)
                return 0;
        boot = boots_find(timekeeper->boots, sample->boot);
        if (!boot && timekeeper->settled) {
                /* Recovery could not say so: the best that is left is to count from this one. */
                timekeeper_note_boot(timekeeper, sample->boot, sample->at_msec, 1);
                boot = boots_find(timekeeper->boots, sample->boot);
        }
        if (!boot && !timekeeper->settled)
                return -EAGAIN;
        sample->boot = NULL;
        if (!boot || boot->kind == BOOT_UNTIMED)
                sample->at_msec = 0;
        else
                sample->at_msec = (uint64_t) MAX((int64_t) sample->at_msec + boot->offset_msec, INT64_C(1));
        return 0;
}

uint64_t timekeeper_newest_msec(const Timekeeper *timekeeper)
{
        int64_t newest_msec = 0;

        for (size_t i = 0; i < timekeeper->n_noted; i++) {
                const Noted *noted = &timekeeper->noted[i];
                const Boot *boot = boots_find(timekeeper->boots, noted->id);

                if (boot && boot->kind != BOOT_UNTIMED)
                        newest_msec = MAX(newest_msec, (int64_t) noted->newest_msec + boot->offset_msec);
        }
        return (uint64_t) newest_msec;
}

void timekeeper_get_stats(Timekeeper *timekeeper, TimekeeperStats *ret)
{
        uint64_t held = count_held(timekeeper), now_usec = clock_realtime_usec();
        Doubt doubt = timekeeper->doubt == DOUBT_NONE ? judge(timekeeper, now_usec) : timekeeper->doubt;
        char what[64];

        if (timekeeper->has_ahead)
                snprintf(what, sizeof(what), "times are counted on from when it was right");
        else if (timekeeper->config.wait_sync == TIME_WAIT_NO)
                snprintf(what, sizeof(what), "messages have no time of their own");
        else
                snprintf(what, sizeof(what), "%" PRIu64 " samples wait", held);
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
