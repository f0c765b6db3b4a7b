/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Boots whose samples wait, or waited, for the clock: those found in the spool, and this one. Each gets an
 * offset from its CLOCK_BOOTTIME to the time of day, once.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "timekeeper-internal.h"
#include "util/clock.h"
#include "util/log.h"

#define SAVE_USEC (60 * USEC_PER_SEC) /* between attempts */
#define BOOTS_SAID_MAX 5
#define FIRST_MSEC INT64_C(1735689600000)     /* 2025: no plugd is older, and what it took isn't either */
#define BOOTTIME_MAX_MSEC (UINT64_C(1) << 43) /* 278 years */

const char *clock_format(ClockText buffer, int64_t usec)
{
        time_t sec = (time_t) (usec / (int64_t) USEC_PER_SEC);
        struct tm tm;

        if (!gmtime_r(&sec, &tm) || strftime(buffer, sizeof(ClockText), "%Y-%m-%d %H:%M UTC", &tm) == 0)
                strcpy(buffer, "?");
        return buffer;
}

static Noted *find_noted(const Timekeeper *timekeeper, const uint8_t *id)
{
        for (size_t i = timekeeper->n_noted; i-- > 0;)
                if (memcmp(timekeeper->noted[i].id, id, SAMPLE_BOOT_SIZE) == 0)
                        return &timekeeper->noted[i];
        return NULL;
}

static bool is_this_boot(const Timekeeper *timekeeper, const uint8_t *id)
{
        return memcmp(id, timekeeper->boot, SAMPLE_BOOT_SIZE) == 0;
}

/* This boot is the last one, however late the others are found. */
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
        if (noted > timekeeper->noted && is_this_boot(timekeeper, noted[-1].id)) {
                *noted = noted[-1];
                noted--;
        }
        *noted = (Noted){};
        memcpy(noted->id, id, SAMPLE_BOOT_SIZE);
        return noted;
}

void timekeeper_save(Timekeeper *timekeeper)
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

/* When an earlier boot began, seen from what came after it. One that must have begun before there was time
 * at all is nonsense: nothing is known about it. */
static Boot estimate(const Noted *noted, int64_t next_msec)
{
        Boot boot = {.kind = BOOT_UNTIMED};

        if (next_msec >= 0 && noted->newest_msec <= (uint64_t) next_msec)
                boot = (Boot){
                        .kind = BOOT_ESTIMATED, .offset_msec = next_msec - (int64_t) noted->newest_msec};
        memcpy(boot.id, noted->id, SAMPLE_BOOT_SIZE);
        return boot;
}

static bool is_noted(const Boot *boot, void *userdata)
{
        return find_noted(userdata, boot->id);
}

/* Boots that have no message in the spool any more go when there are many: those that have are never too
 * many for the file. */
static void make_room(Timekeeper *timekeeper)
{
        if (boots_count(timekeeper->boots) + timekeeper->n_noted > BOOTS_MAX)
                boots_keep(timekeeper->boots, is_noted, timekeeper);
}

static void say_estimate(const Noted *noted, const Boot *boot, unsigned count)
{
        ClockText from, to;

        if (count <= BOOTS_SAID_MAX)
                log_notice("boot %02x%02x%02x%02x…: at most %" PRIu64
                           " messages, taken before %s, began about %s",
                        boot->id[0], boot->id[1], boot->id[2], boot->id[3], noted->messages,
                        clock_format(to, (boot->offset_msec + (int64_t) noted->newest_msec + 60000) *
                                                 (int64_t) USEC_PER_MSEC),
                        clock_format(from, boot->offset_msec * (int64_t) USEC_PER_MSEC));
}

/* Every boot that has messages in the spool gets its offset: this one by the clock, each earlier one by what
 * came after it. In the order that they were in, so that the oldest go first when there are too many. */
int timekeeper_fix_boots(Timekeeper *timekeeper)
{
        _cleanup_(freep) Boot *fixed = calloc(timekeeper->n_noted + 1, sizeof(*fixed));
        int64_t next_msec = timekeeper->ahead_usec / (int64_t) USEC_PER_MSEC;
        uint64_t estimated = 0;
        unsigned n_estimated = 0;
        bool changed = false;

        if (!fixed || boots_catch_up(timekeeper->boots) == -ENOMEM)
                return -ENOMEM;
        for (size_t i = timekeeper->n_noted; i-- > 0;) {
                const Noted *noted = &timekeeper->noted[i];
                const Boot *known = boots_find(timekeeper->boots, noted->id);

                if (known) {
                        if (known->kind != BOOT_UNTIMED)
                                next_msec = known->offset_msec;
                        continue;
                }
                if (is_this_boot(timekeeper, noted->id)) {
                        fixed[i] = (Boot){.kind = BOOT_EXACT,
                                .offset_msec = timekeeper->ahead_usec / (int64_t) USEC_PER_MSEC};
                        memcpy(fixed[i].id, noted->id, SAMPLE_BOOT_SIZE);
                } else
                        fixed[i] = estimate(noted, next_msec);
                if (fixed[i].kind != BOOT_UNTIMED)
                        next_msec = fixed[i].offset_msec;
        }
        make_room(timekeeper);
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
                log_warning(
                        "at most %" PRIu64 " messages of %u earlier boots, which ended before the clock "
                        "was set, get estimated times: as if each boot had ended just when the next began",
                        estimated, n_estimated);
        if (changed)
                timekeeper_save(timekeeper);
        return 0;
}

/* Nobody is to wait: what waited in an earlier start, with another wait_sync, goes out without a time. */
int timekeeper_leave_untimed(Timekeeper *timekeeper)
{
        bool changed = false;

        if (boots_catch_up(timekeeper->boots) == -ENOMEM)
                return -ENOMEM;
        make_room(timekeeper);
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
                timekeeper_save(timekeeper);
        return changed;
}

bool timekeeper_all_fixed(const Timekeeper *timekeeper)
{
        for (size_t i = 0; i < timekeeper->n_noted; i++)
                if (!boots_find(timekeeper->boots, timekeeper->noted[i].id))
                        return false;
        return true;
}

uint64_t timekeeper_held(const Timekeeper *timekeeper)
{
        uint64_t held = 0;

        for (size_t i = 0; i < timekeeper->n_noted; i++)
                if (!boots_find(timekeeper->boots, timekeeper->noted[i].id))
                        held += timekeeper->noted[i].messages;
        return held;
}

void timekeeper_note_boot(Timekeeper *timekeeper, const uint8_t boot[static SAMPLE_BOOT_SIZE],
        uint64_t newest_boottime_msec, uint64_t messages)
{
        Noted *noted = find_noted(timekeeper, boot);

        if (!noted) {
                /* The state directory may have come with it, and its time be known. */
                (void) boots_catch_up(timekeeper->boots);
                noted = add_noted(timekeeper, boot);
        }
        if (!noted)
                return; /* it is met again in timekeeper_resolve() */
        noted->newest_msec = MAX(noted->newest_msec, newest_boottime_msec);
        noted->messages += messages;
        /* Found when all had their times already: perhaps it isn't the only one, so the others first. */
        if (timekeeper->has_ahead && !boots_find(timekeeper->boots, boot))
                timekeeper_look_soon(timekeeper, 0);
}

int timekeeper_hold(Timekeeper *timekeeper, Sample *sample, uint64_t taken_usec)
{
        const Noted *noted = find_noted(timekeeper, timekeeper->boot);
        int r;

        if (!timekeeper->times) {
                timekeeper->times = sample_times_new();
                if (!timekeeper->times)
                        return -ENOMEM;
                if (noted && noted->newest_msec <= BOOTTIME_MAX_MSEC) /* before plugd was restarted */
                        sample_times_raise(timekeeper->times, noted->newest_msec);
        }
        r = sample_times_next(
                timekeeper->times, sample->channel, taken_usec / USEC_PER_MSEC, 1, &sample->at_msec);
        if (r < 0)
                return r;
        sample->boot = timekeeper->boot;
        return 0;
}

/* One that can't be of that boot, or makes a time at which nothing can have been taken, has none (0). The
 * build date of this plugd is no bound: an earlier one may have taken it, and sent it with its time. */
static uint64_t at_of(const Boot *boot, uint64_t boottime_msec)
{
        int64_t at_msec;

        if (boot->kind == BOOT_UNTIMED || boottime_msec > BOOTTIME_MAX_MSEC)
                return 0;
        at_msec = (int64_t) boottime_msec + boot->offset_msec;
        return at_msec < FIRST_MSEC ? 0 : (uint64_t) at_msec;
}

int timekeeper_resolve(Timekeeper *timekeeper, Sample *sample)
{
        const Boot *boot;

        if (!sample->boot)
                return 0;
        boot = boots_find(timekeeper->boots, sample->boot);
        /* Recovery did not say so: the best that is left is to count from this one. */
        if (!boot && timekeeper->has_ahead && !find_noted(timekeeper, sample->boot)) {
                timekeeper_note_boot(timekeeper, sample->boot, sample->at_msec, 1);
                boot = boots_find(timekeeper->boots, sample->boot);
        }
        if (!boot && (!timekeeper->has_ahead || find_noted(timekeeper, sample->boot)))
                return -EAGAIN;
        sample->boot = NULL;
        sample->at_msec = boot ? at_of(boot, sample->at_msec) : 0;
        return 0;
}

uint64_t timekeeper_newest_msec(const Timekeeper *timekeeper)
{
        uint64_t newest_msec = 0;

        for (size_t i = 0; i < timekeeper->n_noted; i++) {
                const Noted *noted = &timekeeper->noted[i];
                const Boot *boot = boots_find(timekeeper->boots, noted->id);

                if (boot)
                        newest_msec = MAX(newest_msec, at_of(boot, noted->newest_msec));
        }
        return newest_msec;
}
