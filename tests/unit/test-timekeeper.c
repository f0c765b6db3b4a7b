/* SPDX-License-Identifier: Apache-2.0 */

/* The timekeeper on clocks that are played here: what waits, for how long, and which time it gets, over
 * restarts and reboots. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "boots.h"
#include "plugd-build.h"
#include "timekeeper.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define SEC USEC_PER_SEC
#define MSEC USEC_PER_MSEC
#define HOUR (3600 * SEC)
#define BUILT (PLUGD_BUILT_SEC * SEC)
#define NOW (BUILT + 24 * HOUR)

/* --- the clocks -------------------------------------------------------------------------------------------
 */

static struct {
        uint64_t boottime_usec;
        int64_t ahead_usec;
        bool synchronised;
        uint8_t boot;
} machine;

uint64_t clock_boottime_usec(void)
{
        return machine.boottime_usec;
}

uint64_t clock_realtime_usec(void)
{
        return (uint64_t) ((int64_t) machine.boottime_usec + machine.ahead_usec);
}

uint64_t clock_monotonic_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * SEC + (uint64_t) now.tv_nsec / 1000;
}

int64_t clock_realtime_ahead_of_boottime_usec(void)
{
        return machine.ahead_usec;
}

int64_t clock_boottime_ahead_of_monotonic_usec(void)
{
        return 0;
}

bool clock_synchronised(void)
{
        return machine.synchronised;
}

int clock_boot_id(uint8_t ret_id[static 16])
{
        memset(ret_id, machine.boot, 16);
        return 0;
}

static void set_clock(uint64_t realtime_usec)
{
        machine.ahead_usec = (int64_t) realtime_usec - (int64_t) machine.boottime_usec;
}

static void pass(uint64_t usec)
{
        machine.boottime_usec += usec;
}

/* The power comes back, and the clock begins in 1970. */
static void boot(uint8_t number)
{
        machine.boot = number;
        machine.boottime_usec = 10 * SEC;
        machine.ahead_usec = 0;
        machine.synchronised = false;
}

/* --- the daemon around it ---------------------------------------------------------------------------------
 */

#define SPOOLED_MAX 64

typedef struct Fixture {
        char folder[40];
        char *boots, *spool;
        sd_event *event;
        TimeConfig config;
        Timekeeper *timekeeper;
        unsigned changed;
        /* What is in the spool, in order. */
        struct {
                uint8_t boot[SAMPLE_BOOT_SIZE];
                const char *channel;
                uint64_t at_msec;
        } spooled[SPOOLED_MAX];
        size_t n_spooled;
} Fixture;

static unsigned warnings, errors;
static char last_warning[512], last_text[512];

static void sink(int priority, const LogContext *context _unused_, const char *text)
{
        errors += priority <= LOG_ERR;
        snprintf(last_text, sizeof(last_text), "%s", text);
        if (priority <= LOG_WARNING) {
                warnings++;
                snprintf(last_warning, sizeof(last_warning), "%s", text);
        }
}

static void on_changed(void *userdata)
{
        Fixture *f = userdata;

        f->changed++;
}

static int set_up(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        strcpy(f->folder, "/tmp/plugd-timekeeper-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        f->boots = text_printf("%s/boots", f->folder);
        f->spool = text_printf("%s/spool", f->folder);
        assert_return_code(mkdir(f->spool, 0700), errno);
        assert_return_code(sd_event_new(&f->event), 0);
        f->config = (TimeConfig){.wait_sync = TIME_WAIT_AUTO, .wait_max_usec = 600 * SEC};
        boot(1);
        warnings = errors = 0;
        last_warning[0] = '\0';
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        Fixture *f = *state;
        _cleanup_(freep) char *command = text_printf("rm -rf %s", f->folder);

        timekeeper_free(f->timekeeper);
        sd_event_unref(f->event);
        assert_int_equal(system(command), 0);
        free(f->boots);
        free(f->spool);
        free(f);
        return 0;
}

/* All files are as old as that, so that they say nothing but what a test wants them to. */
static void date_files(Fixture *f, uint64_t usec)
{
        const struct timespec times[2] = {
                {.tv_sec = (time_t) (usec / SEC)}, {.tv_sec = (time_t) (usec / SEC)}};

        assert_return_code(utimensat(AT_FDCWD, f->spool, times, 0), errno);
        (void) utimensat(AT_FDCWD, f->boots, times, 0);
        assert_return_code(utimensat(AT_FDCWD, f->folder, times, 0), errno);
}

/* Its spool tells what is in it, boot by boot. */
static void start_dated(Fixture *f, uint64_t files_usec)
{
        f->timekeeper = timekeeper_free(f->timekeeper);
        date_files(f, files_usec);
        assert_return_code(
                timekeeper_new(&f->timekeeper, f->event, f->folder, &f->config, on_changed, f, NULL), 0);
        for (size_t i = 0; i < f->n_spooled; i++)
                timekeeper_note_boot(f->timekeeper, f->spooled[i].boot, f->spooled[i].at_msec, 1);
        assert_return_code(timekeeper_begin(f->timekeeper), 0);
        f->changed = 0;
}

static void start(Fixture *f)
{
        start_dated(f, 0);
}

static TimekeeperWord word(Fixture *f)
{
        uint64_t now_usec;
        int64_t ahead_usec;
        TimekeeperWord word = timekeeper_now(f->timekeeper, &now_usec, &ahead_usec);

        assert_true(now_usec >= BUILT); /* ids at least are never of 1970 */
        if (word == TIME_KNOWN)
                assert_int_equal(now_usec, (int64_t) machine.boottime_usec + ahead_usec);
        return word;
}

/* Taken now, and into the spool. */
static uint64_t hold(Fixture *f, const char *channel)
{
        Sample sample = {.channel = channel, .sensor = "", .data = "1", .data_size = 1};

        assert_int_equal(word(f), TIME_HELD);
        assert_return_code(timekeeper_hold(f->timekeeper, &sample, machine.boottime_usec), 0);
        assert_true(f->n_spooled < SPOOLED_MAX);
        memcpy(f->spooled[f->n_spooled].boot, sample.boot, SAMPLE_BOOT_SIZE);
        f->spooled[f->n_spooled].channel = channel;
        f->spooled[f->n_spooled++].at_msec = sample.at_msec;
        timekeeper_note_boot(f->timekeeper, sample.boot, sample.at_msec, 1);
        return sample.at_msec;
}

/* What the index-th in the spool is sent with; 0: it has no time; UINT64_MAX: it waits. */
static uint64_t at(Fixture *f, size_t index)
{
        Sample sample = {.boot = f->spooled[index].boot, .at_msec = f->spooled[index].at_msec};
        int r = timekeeper_resolve(f->timekeeper, &sample);

        if (r == -EAGAIN)
                return UINT64_MAX;
        assert_int_equal(r, 0);
        assert_null(sample.boot);
        return sample.at_msec;
}

static TimekeeperStats stats(Fixture *f)
{
        TimekeeperStats stats;

        timekeeper_get_stats(f->timekeeper, &stats);
        return stats;
}

static void assert_trouble(Fixture *f, const char *text)
{
        const char *trouble = stats(f).trouble;

        if (text ? !strstr(trouble, text) : *trouble)
                fail_msg("\"%s\" and not \"%s\"", trouble, text ? text : "");
}

/* It looks by itself, soon. */
static void await_change(Fixture *f)
{
        uint64_t until_usec = clock_monotonic_usec() + 10 * SEC;

        f->changed = 0;
        while (f->changed == 0) {
                assert_true(clock_monotonic_usec() < until_usec);
                assert_return_code(sd_event_run(f->event, 100 * MSEC), 0);
        }
}

static void assert_idle(Fixture *f)
{
        assert_int_equal(sd_event_run(f->event, 1500 * MSEC), 0);
}

/* --- the clock ------------------------------------------------------------------------------------------
 */

static void test_a_good_clock_costs_nothing(void **state)
{
        Fixture *f = *state;

        set_clock(NOW);
        start_dated(f, NOW);
        assert_int_equal(word(f), TIME_KNOWN);
        assert_trouble(f, NULL);
        assert_int_equal(stats(f).held, 0);
        assert_int_equal(access(f->boots, F_OK), -1);
        assert_int_equal(warnings, 0);
        assert_idle(f);
}

static void test_held_until_the_clock_is_set(void **state)
{
        Fixture *f = *state;
        uint64_t first, second, third;

        start(f);
        assert_int_equal(warnings, 1);
        assert_non_null(strstr(last_warning, "1970-01-01 00:00"));
        assert_non_null(strstr(last_warning, "time service"));
        first = hold(f, "a");
        second = hold(f, "a"); /* within the same millisecond */
        third = hold(f, "b");
        assert_int_equal(first, machine.boottime_usec / MSEC);
        assert_int_equal(second, first + 1);
        assert_int_equal(third, first);
        assert_true(at(f, 0) == UINT64_MAX);
        assert_int_equal(stats(f).held, 3);
        assert_trouble(f, "3 samples wait until it is set");
        assert_trouble(f, "1970-01-01 00:00");

        pass(100 * SEC);
        set_clock(NOW);
        await_change(f);
        assert_non_null(strstr(last_text, "at most 3 messages"));
        assert_int_equal(at(f, 0), (NOW - 100 * SEC) / MSEC);
        assert_int_equal(at(f, 1), (NOW - 100 * SEC) / MSEC + 1);
        assert_int_equal(timekeeper_newest_msec(f->timekeeper), at(f, 1));
        assert_int_equal(word(f), TIME_KNOWN);
        assert_int_equal(stats(f).held, 0);
        assert_int_equal(stats(f).estimated, 0);
        assert_trouble(f, NULL);
        assert_int_equal(access(f->boots, F_OK), 0);
        assert_int_equal(warnings, 1);
        assert_idle(f);
}

/* The time that a message had is the time that it has: the clock may be moved, and plugd restarted. */
static void test_fixed_once_and_for_good(void **state)
{
        Fixture *f = *state;
        uint64_t given;

        start(f);
        hold(f, "a");
        set_clock(NOW);
        await_change(f);
        given = at(f, 0);

        pass(HOUR);
        set_clock(NOW + HOUR + 30 * SEC);
        assert_int_equal(word(f), TIME_KNOWN);
        assert_int_equal(at(f, 0), given);
        start(f);
        assert_int_equal(at(f, 0), given);
        assert_int_equal(timekeeper_newest_msec(f->timekeeper), given);

        /* After a reboot, before the clock is set and after. */
        boot(2);
        start(f);
        assert_int_equal(at(f, 0), given);
        hold(f, "a");
        assert_true(at(f, 1) == UINT64_MAX);
        set_clock(NOW + 3 * HOUR);
        await_change(f);
        assert_int_equal(at(f, 0), given);
        assert_int_equal(at(f, 1), (NOW + 3 * HOUR) / MSEC);
        assert_int_equal(stats(f).estimated, 0);
}

static void test_restarted_while_it_waits(void **state)
{
        Fixture *f = *state;
        uint64_t last = 0;

        start(f);
        for (unsigned i = 0; i < 20; i++)
                last = hold(f, "burst");
        pass(5 * MSEC);
        start(f);
        assert_int_equal(stats(f).held, 20);
        assert_true(hold(f, "burst") > last); /* though its own clock is behind that */
        pass(SEC);
        set_clock(NOW);
        start(f);
        assert_int_equal(stats(f).held, 0);
        for (size_t i = 1; i < f->n_spooled; i++)
                assert_true(at(f, i) > at(f, i - 1));
        assert_int_equal(at(f, 0), (NOW - SEC - 5 * MSEC) / MSEC);
}

/* What was known once is counted on with. */
static void test_the_clock_is_lost_again(void **state)
{
        Fixture *f = *state;
        int64_t ahead_usec;
        uint64_t now_usec;

        start(f);
        hold(f, "a");
        set_clock(NOW);
        await_change(f);
        pass(HOUR);
        machine.ahead_usec += 2 * (int64_t) SEC; /* kept, by a time service */
        assert_int_equal(word(f), TIME_KNOWN);
        set_clock(5 * SEC);
        pass(HOUR);
        assert_int_equal(timekeeper_now(f->timekeeper, &now_usec, &ahead_usec), TIME_KNOWN);
        assert_int_equal(now_usec, NOW + 2 * HOUR + 2 * SEC);
        assert_trouble(f, "counted on");
        /* Also by a plugd that is started then. */
        start(f);
        assert_int_equal(timekeeper_now(f->timekeeper, &now_usec, &ahead_usec), TIME_KNOWN);
        assert_int_equal(now_usec, NOW + 2 * HOUR);
        assert_trouble(f, "counted on");
        set_clock(NOW + 5 * HOUR);
        await_change(f);
        assert_int_equal(timekeeper_now(f->timekeeper, &now_usec, &ahead_usec), TIME_KNOWN);
        assert_int_equal(now_usec, NOW + 5 * HOUR);
        assert_trouble(f, NULL);
}

static void test_before_it_was_built_is_never_believed(void **state)
{
        Fixture *f = *state;

        f->config.wait_max_usec = 0;
        set_clock(BUILT - SEC);
        machine.synchronised = true;
        start(f);
        pass(90 * 24 * HOUR);
        set_clock(BUILT - SEC);
        assert_int_equal(word(f), TIME_HELD);
        set_clock(BUILT);
        await_change(f);
        assert_int_equal(word(f), TIME_KNOWN);
}

static void test_behind_the_state_directory(void **state)
{
        Fixture *f = *state;

        /* A minute's grace. */
        set_clock(NOW);
        start_dated(f, NOW + 59 * SEC);
        assert_int_equal(word(f), TIME_KNOWN);

        start_dated(f, NOW + HOUR);
        hold(f, "a");
        assert_trouble(f, f->folder);
        assert_trouble(f, "(if that is wrong, touch it, and what else is newer than now, and restart "
                          "plugd): 1 sample waits until it is set, or "
                          "synchronised, for 10 min at most");
        set_clock(NOW + HOUR - SEC);
        await_change(f);
        assert_int_equal(at(f, 0), (NOW + HOUR - SEC) / MSEC);
        assert_trouble(f, NULL);
        /* Set back while it runs: that holds. */
        set_clock(NOW - HOUR);
        assert_int_equal(word(f), TIME_KNOWN);
}

static void test_behind_a_wrong_future(void **state)
{
        Fixture *f = *state;

        set_clock(NOW);
        start_dated(f, NOW + 50 * 365 * 24 * HOUR);
        hold(f, "a");
        pass(599 * SEC);
        assert_int_equal(word(f), TIME_HELD);
        assert_trouble(f, "for 10 s at most");
        warnings = 0;
        pass(SEC);
        await_change(f);
        assert_int_equal(word(f), TIME_KNOWN);
        assert_int_equal(at(f, 0), NOW / MSEC);
        assert_int_equal(warnings, 1);
        assert_non_null(strstr(last_warning, "wait_max has passed, though "));
        assert_non_null(strstr(last_warning, "if that is wrong, touch it"));

        /* A clock that is synchronised is right at once. */
        machine.synchronised = true;
        start_dated(f, NOW + 50 * 365 * 24 * HOUR);
        assert_int_equal(word(f), TIME_KNOWN);
        assert_int_equal(at(f, 0), NOW / MSEC);
}

/* The same said by messages in the spool, and by a file that lies deeper. */
static void test_behind_the_spool(void **state)
{
        Fixture *f = *state;
        const struct timespec times[2] = {
                {.tv_sec = (time_t) ((NOW + HOUR) / SEC)}, {.tv_sec = (time_t) ((NOW + HOUR) / SEC)}};

        set_clock(NOW);
        start(f);
        assert_int_equal(word(f), TIME_KNOWN);
        timekeeper_free(f->timekeeper);
        assert_return_code(
                timekeeper_new(&f->timekeeper, f->event, f->folder, &f->config, on_changed, f, NULL), 0);
        timekeeper_note_time(f->timekeeper, (NOW + HOUR) / MSEC);
        assert_return_code(timekeeper_begin(f->timekeeper), 0);
        assert_int_equal(word(f), TIME_HELD);
        assert_trouble(f, "a message in the spool is of ");

        timekeeper_free(f->timekeeper);
        assert_return_code(utimensat(AT_FDCWD, f->spool, times, 0), errno);
        assert_return_code(
                timekeeper_new(&f->timekeeper, f->event, f->folder, &f->config, on_changed, f, NULL), 0);
        assert_return_code(timekeeper_begin(f->timekeeper), 0);
        assert_int_equal(word(f), TIME_HELD);
        assert_trouble(f, f->spool);
}

static void test_wait_for_a_time_service(void **state)
{
        Fixture *f = *state;

        f->config.wait_sync = TIME_WAIT_YES;
        set_clock(NOW - HOUR); /* plausible, and wrong */
        start(f);
        hold(f, "a");
        assert_trouble(f, "isn't synchronised");
        pass(100 * SEC);
        set_clock(NOW);
        assert_int_equal(word(f), TIME_HELD);
        machine.synchronised = true;
        await_change(f);
        assert_int_equal(at(f, 0), (NOW - 100 * SEC) / MSEC);
        /* Lost again: by then it is known. */
        machine.synchronised = false;
        assert_int_equal(word(f), TIME_KNOWN);

        /* None comes. */
        boot(2);
        set_clock(NOW + HOUR);
        start(f);
        hold(f, "a");
        pass(600 * SEC);
        warnings = 0;
        await_change(f);
        assert_int_equal(at(f, 1), (NOW + HOUR) / MSEC);
        assert_int_equal(warnings, 1);
}

static void test_wait_for_nothing(void **state)
{
        Fixture *f = *state;

        start(f);
        hold(f, "a"); /* by an earlier configuration */
        f->config.wait_sync = TIME_WAIT_NO;
        start(f);
        assert_int_equal(word(f), TIME_NONE);
        assert_int_equal(stats(f).held, 0);
        assert_trouble(f, "no time of their own");
        assert_int_equal(at(f, 0), 0);
        /* For good as well. */
        set_clock(NOW);
        await_change(f);
        assert_int_equal(word(f), TIME_KNOWN);
        assert_int_equal(at(f, 0), 0);
        start(f);
        assert_int_equal(at(f, 0), 0);
        /* Configured back in the same boot, with the clock lost: what waits from then on gets its time. */
        f->config.wait_sync = TIME_WAIT_AUTO;
        set_clock(0);
        start(f);
        hold(f, "a");
        pass(SEC);
        set_clock(NOW);
        await_change(f);
        assert_int_equal(at(f, 0), 0);
        assert_int_equal(at(f, 1), (NOW - SEC) / MSEC);

        /* And it believes a clock that another would not. */
        f->config.wait_sync = TIME_WAIT_NO;
        start_dated(f, NOW + HOUR);
        assert_int_equal(word(f), TIME_KNOWN);
}

/* --- boots that ended before --------------------------------------------------------------------------- */

/* Three boots of 100, 200 and 300 s; the clock is set in the fourth after 50 s. */
static void hold_over_boots(Fixture *f)
{
        for (uint8_t number = 1; number <= 3; number++) {
                boot(number);
                start(f);
                hold(f, "a");
                pass(number * 100 * SEC - machine.boottime_usec);
                hold(f, "a");
        }
        boot(4);
        start(f);
        hold(f, "a");
        pass(50 * SEC - machine.boottime_usec);
}

static const uint64_t boots_expected[] = {
        NOW - 650 * SEC + 10 * SEC,
        NOW - 550 * SEC,
        NOW - 550 * SEC + 10 * SEC,
        NOW - 350 * SEC,
        NOW - 350 * SEC + 10 * SEC,
        NOW - 50 * SEC,
        NOW - 50 * SEC + 10 * SEC,
};

static void assert_boots_expected(Fixture *f)
{
        for (size_t i = 0; i < ELEMENTSOF(boots_expected); i++)
                assert_int_equal(at(f, i), boots_expected[i] / MSEC);
}

static void test_boots_are_estimated(void **state)
{
        Fixture *f = *state;

        hold_over_boots(f);
        assert_int_equal(stats(f).held, 7);
        assert_int_equal(stats(f).estimated, 0);
        warnings = 0;
        set_clock(NOW);
        await_change(f);
        assert_boots_expected(f);
        assert_int_equal(stats(f).held, 0);
        assert_int_equal(stats(f).estimated, 6);
        assert_int_equal(warnings, 1);
        assert_non_null(strstr(last_warning, "6 messages of 3 earlier boots"));

        /* For good: over a restart, a moved clock, another boot. */
        set_clock(NOW + HOUR);
        start(f);
        assert_boots_expected(f);
        assert_int_equal(stats(f).estimated, 0); /* since the start */
        boot(5);
        set_clock(NOW + 9 * HOUR);
        start(f);
        assert_boots_expected(f);
}

/* A boot in between whose time is known is what the earlier ones are counted from. */
static void test_boots_from_one_that_is_known(void **state)
{
        Fixture *f = *state;
        uint64_t given;

        boot(1);
        start(f);
        hold(f, "a");
        pass(30 * SEC);
        hold(f, "a");
        boot(2);
        start(f);
        hold(f, "a");
        set_clock(NOW);
        await_change(f);
        given = at(f, 0);
        assert_int_equal(given, (NOW - 40 * SEC) / MSEC);
        boot(3);
        start(f);
        hold(f, "a");
        boot(4);
        set_clock(NOW + 100 * HOUR);
        start(f);
        assert_int_equal(at(f, 0), given);
        assert_int_equal(at(f, 2), NOW / MSEC);
        assert_int_equal(at(f, 3), (NOW + 100 * HOUR - 10 * SEC) / MSEC);

        /* And one before them, which was not seen until now. */
        memmove(f->spooled + 1, f->spooled, f->n_spooled++ * sizeof(*f->spooled));
        memset(f->spooled[0].boot, 0x55, SAMPLE_BOOT_SIZE);
        f->spooled[0].at_msec = 20000;
        start(f);
        assert_int_equal(at(f, 0), given - 10000);
        assert_int_equal(at(f, 1), given);
}

static void test_boots_after_a_damaged_file(void **state)
{
        Fixture *f = *state;
        int fd;

        hold_over_boots(f);
        set_clock(NOW);
        await_change(f);
        fd = open(f->boots, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "x", 1, 40), 1);
        close(fd);
        start(f);
        assert_int_equal(errors, 1);
        assert_boots_expected(f);
        assert_int_equal(stats(f).estimated, 6);
        start(f);
        assert_int_equal(errors, 1);
        assert_int_equal(stats(f).estimated, 0);
}

/* The state directory came late, and recovery with it. */
static void test_boots_found_late(void **state)
{
        Fixture *f = *state;
        static const uint8_t early[SAMPLE_BOOT_SIZE] = {1, 2, 3}, later[SAMPLE_BOOT_SIZE] = {4, 5, 6};
        Sample sample = {.boot = early, .at_msec = 90000};

        set_clock(NOW);
        start(f);
        timekeeper_note_boot(f->timekeeper, early, 90000, 12);
        timekeeper_note_boot(f->timekeeper, later, 50000, 3);
        await_change(f);
        assert_int_equal(stats(f).estimated, 15);
        assert_int_equal(timekeeper_newest_msec(f->timekeeper), (NOW - 10 * SEC) / MSEC);
        assert_return_code(timekeeper_resolve(f->timekeeper, &sample), 0);
        assert_int_equal(sample.at_msec, (NOW - 60 * SEC) / MSEC);
}

/* Late, and this boot has samples that wait already: theirs is the clock's time all the same. */
static void test_boots_found_late_behind_this_one(void **state)
{
        Fixture *f = *state;
        static const uint8_t early[SAMPLE_BOOT_SIZE] = {1, 2, 3}, later[SAMPLE_BOOT_SIZE] = {4, 5, 6};
        Sample sample = {.boot = early, .at_msec = 90000};
        const Boot *found;
        _cleanup_(boots_freep) Boots *boots = NULL;

        start(f);
        hold(f, "a");
        timekeeper_note_boot(f->timekeeper, early, 90000, 12);
        timekeeper_note_boot(f->timekeeper, later, 5000000, 3);
        pass(20 * SEC);
        set_clock(NOW);
        await_change(f);
        assert_int_equal(at(f, 0), (NOW - 20 * SEC) / MSEC);
        assert_int_equal(stats(f).estimated, 15);
        assert_return_code(timekeeper_resolve(f->timekeeper, &sample), 0);
        assert_int_equal(sample.at_msec, (NOW - 30 * SEC - 5000 * SEC) / MSEC);
        assert_return_code(boots_new(&boots, f->folder), 0);
        found = boots_find(boots, f->spooled[0].boot);
        assert_non_null(found);
        assert_int_equal(found->kind, BOOT_EXACT);
        assert_int_equal(found->offset_msec, (NOW - 30 * SEC) / MSEC);
}

/* The state directory came late, with times in it that were sent already. */
static void test_boots_known_late(void **state)
{
        Fixture *f = *state;
        _cleanup_(freep) char *away = text_printf("%s-away", f->folder);
        uint64_t given;

        start(f);
        hold(f, "a");
        set_clock(NOW);
        await_change(f);
        given = at(f, 0);
        timekeeper_free(TAKE_PTR(f->timekeeper));
        assert_return_code(rename(f->folder, away), errno);

        boot(2);
        assert_return_code(
                timekeeper_new(&f->timekeeper, f->event, f->folder, &f->config, on_changed, f, NULL), 0);
        assert_return_code(timekeeper_begin(f->timekeeper), 0);
        hold(f, "a");
        set_clock(NOW + 9 * HOUR);
        await_change(f);
        assert_int_equal(at(f, 1), (NOW + 9 * HOUR) / MSEC);
        assert_int_equal(errors, 1);
        assert_return_code(rename(away, f->folder), errno);
        timekeeper_note_boot(f->timekeeper, f->spooled[0].boot, f->spooled[0].at_msec, 1);
        assert_int_equal(at(f, 0), given);
        assert_int_equal(stats(f).estimated, 0);
        pass(60 * SEC);
        while (*stats(f).trouble)
                assert_true(sd_event_run(f->event, 5 * SEC) > 0);
        boot(3);
        start(f);
        assert_int_equal(at(f, 0), given);
        assert_int_equal(at(f, 1), (NOW + 9 * HOUR) / MSEC);
}

/* Recovery did not say that it is there: it doesn't wait for ever, and its time stays. */
static void test_boots_unheard_of(void **state)
{
        Fixture *f = *state;
        uint64_t given;

        memset(f->spooled[0].boot, 0x77, SAMPLE_BOOT_SIZE);
        f->spooled[0].at_msec = 5000;
        set_clock(NOW);
        start(f);
        assert_true(at(f, 0) == UINT64_MAX);
        await_change(f);
        given = at(f, 0);
        assert_int_equal(given, (NOW - 10 * SEC) / MSEC);
        set_clock(NOW + HOUR);
        start(f);
        assert_int_equal(at(f, 0), given);
}

/* A spool and a file with numbers that no boot has: no time is made of them, and the others keep theirs. */
static void test_boots_of_nonsense(void **state)
{
        static const uint64_t newest[] = {
                NOW / MSEC, 1 + (UINT64_C(1) << 43), INT64_MAX, 1 + (uint64_t) INT64_MAX, UINT64_MAX};
        Fixture *f = *state;
        static const uint8_t good[SAMPLE_BOOT_SIZE] = {1, 2, 3};

        start(f);
        timekeeper_note_boot(f->timekeeper, good, 5000, 1);
        for (size_t i = 0; i < ELEMENTSOF(newest); i++) {
                memset(f->spooled[i].boot, 0x40 + (int) i, SAMPLE_BOOT_SIZE);
                f->spooled[i].at_msec = newest[i];
                timekeeper_note_boot(f->timekeeper, f->spooled[i].boot, newest[i], 1);
        }
        f->n_spooled = ELEMENTSOF(newest);
        hold(f, "a");
        set_clock(NOW);
        await_change(f);
        for (size_t i = 0; i < ELEMENTSOF(newest); i++)
                assert_int_equal(at(f, i), 0);
        assert_int_equal(at(f, ELEMENTSOF(newest)), NOW / MSEC);
        memcpy(f->spooled[0].boot, good, SAMPLE_BOOT_SIZE);
        f->spooled[0].at_msec = 5000;
        assert_int_equal(at(f, 0), (NOW - 10 * SEC) / MSEC);
        assert_int_equal(timekeeper_newest_msec(f->timekeeper), NOW / MSEC);

        /* The same in this boot, where the rest is known. */
        for (size_t i = 0; i < ELEMENTSOF(newest); i++) {
                memset(f->spooled[i].boot, machine.boot, SAMPLE_BOOT_SIZE);
                f->spooled[i].at_msec = newest[i];
                if (i > 0)
                        assert_int_equal(at(f, i), 0);
        }
        start(f);
        assert_int_equal(timekeeper_newest_msec(f->timekeeper), 0); /* of none that has one */
        assert_int_equal(at(f, ELEMENTSOF(newest)), NOW / MSEC);
}

/* A machine that has been up for longer than there has been time of day. */
static void test_boottime_beyond_realtime(void **state)
{
        Fixture *f = *state;
        static const uint8_t early[SAMPLE_BOOT_SIZE] = {1, 2, 3};
        Sample sample = {.boot = early, .at_msec = 5000};
        uint64_t given;

        machine.boottime_usec = NOW + HOUR;
        set_clock(0);
        start(f);
        timekeeper_note_boot(f->timekeeper, early, 5000, 1);
        hold(f, "a");
        pass(SEC);
        set_clock(NOW);
        assert_true(machine.ahead_usec < 0);
        await_change(f);
        given = at(f, 0);
        assert_int_equal(given, (NOW - SEC) / MSEC);
        assert_return_code(timekeeper_resolve(f->timekeeper, &sample), 0);
        assert_int_equal(sample.at_msec, 0); /* not of before 1970 */
        pass(SEC);
        set_clock(0);
        start(f);
        assert_int_equal(at(f, 0), given);
        assert_int_equal(word(f), TIME_KNOWN);
}

/* The file says a time for this boot that can't be right: none is made of it. */
static void test_this_boot_is_nonsense(void **state)
{
        static const int64_t offsets[] = {-(INT64_C(1) << 43), 0, 1000, (BUILT - HOUR) / MSEC};
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(offsets); i++) {
                Boots *boots = NULL;
                Boot one = {.kind = BOOT_EXACT, .offset_msec = offsets[i]};

                (void) unlink(f->boots);
                f->n_spooled = 0;
                boot(1);
                memset(one.id, machine.boot, sizeof(one.id));
                assert_return_code(boots_new(&boots, f->folder), 0);
                assert_return_code(boots_add(boots, &one), 0);
                assert_return_code(boots_save(boots), 0);
                boots_free(boots);
                start(f);
                hold(f, "a");
                assert_true(at(f, 0) == UINT64_MAX);
                pass(SEC);
                set_clock(NOW);
                await_change(f);
                assert_int_equal(at(f, 0), (NOW - SEC) / MSEC);
        }
}

/* As many boots as there may be, in a file that is full of others. */
static void test_very_many_boots(void **state)
{
        Fixture *f = *state;
        Boots *boots = NULL;
        Sample sample;
        uint8_t id[SAMPLE_BOOT_SIZE] = {0xee};

        assert_return_code(boots_new(&boots, f->folder), 0);
        for (uint16_t i = 0; i < BOOTS_MAX; i++) {
                Boot one = {.offset_msec = NOW / MSEC};

                memcpy(one.id, &i, sizeof(i));
                one.id[15] = 0xff;
                assert_return_code(boots_add(boots, &one), 0);
        }
        assert_return_code(boots_save(boots), 0);
        boots_free(boots);
        start(f);
        for (uint16_t i = 0; i < BOOTS_MAX + 5; i++) {
                memcpy(id + 1, &i, sizeof(i));
                timekeeper_note_boot(f->timekeeper, id, 20000, 1);
        }
        set_clock(NOW);
        await_change(f);
        for (uint16_t i = 0; i < BOOTS_MAX + 5; i++) {
                memcpy(id + 1, &i, sizeof(i));
                sample = (Sample){.boot = id, .at_msec = 20000};
                assert_return_code(timekeeper_resolve(f->timekeeper, &sample), 0);
                if (i < BOOTS_MAX)
                        assert_int_equal(
                                sample.at_msec, (NOW - 10 * SEC - 20 * SEC * (BOOTS_MAX - 1u - i)) / MSEC);
                else
                        assert_int_equal(sample.at_msec, 0); /* not for ever in the way */
        }
}

static void test_nowhere_to_write(void **state)
{
        Fixture *f = *state;
        _cleanup_(freep) char *away = text_printf("%s-away", f->folder);
        uint64_t given;

        start(f);
        hold(f, "a");
        assert_return_code(rename(f->folder, away), errno);
        set_clock(NOW);
        await_change(f);
        given = at(f, 0);
        assert_int_equal(given, NOW / MSEC);
        assert_int_equal(errors, 1);
        assert_trouble(f, "can't be written");
        assert_return_code(rename(away, f->folder), errno);
        /* It tries again. */
        pass(60 * SEC);
        while (*stats(f).trouble)
                assert_true(sd_event_run(f->event, 5 * SEC) > 0);
        assert_int_equal(errors, 1);
        assert_idle(f);
        set_clock(NOW + HOUR);
        start(f);
        assert_int_equal(at(f, 0), given);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_a_good_clock_costs_nothing),
                TEST(test_held_until_the_clock_is_set),
                TEST(test_fixed_once_and_for_good),
                TEST(test_restarted_while_it_waits),
                TEST(test_the_clock_is_lost_again),
                TEST(test_before_it_was_built_is_never_believed),
                TEST(test_behind_the_state_directory),
                TEST(test_behind_a_wrong_future),
                TEST(test_behind_the_spool),
                TEST(test_wait_for_a_time_service),
                TEST(test_wait_for_nothing),
                TEST(test_boots_are_estimated),
                TEST(test_boots_from_one_that_is_known),
                TEST(test_boots_after_a_damaged_file),
                TEST(test_boots_found_late),
                TEST(test_boots_found_late_behind_this_one),
                TEST(test_boots_known_late),
                TEST(test_boots_unheard_of),
                TEST(test_boots_of_nonsense),
                TEST(test_boottime_beyond_realtime),
                TEST(test_this_boot_is_nonsense),
                TEST(test_very_many_boots),
                TEST(test_nowhere_to_write),
        };

        log_set_sink(sink);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
