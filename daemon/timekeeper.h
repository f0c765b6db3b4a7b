/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The timekeeper: can what the clock says be right, and if not, what becomes of what is taken meanwhile.
 *
 * The clock can't be right before plugd's build date, nor more than a minute before the newest time in the
 * state directory: mtimes of files, and times of messages in the spool. What counts is the first time that
 * it can be right; from then on only the build date is held against it, and a clock that is set back holds
 * (see sample.h). A clock that the kernel calls synchronised is right whatever the state directory says.
 *
 *     wait_sync = "auto"  samples are held while the clock can't be right. One that is only behind the state
 *                         directory is believed `wait_max` after the start all the same, with a warning: a
 *                         file from a wrong future must not hold a gateway up for ever.
 *                 true    they are held too until the kernel calls the clock synchronised, at most
 *                         `wait_max` after the start.
 *                 false   none is held, and the clock is believed. Before the build date, where no clock is
 *                         believed, messages go out without a time: the platform fills in when they came.
 *
 * A held sample has the id of its boot and its CLOCK_BOOTTIME. Once the clock is set, what that is in time
 * of day is fixed for good and saved (boots.h) before it is used. A boot that ended before is taken to have
 * ended just when the next began: an estimate, and counted.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "sample.h"
#include "util/macros.h"

typedef struct Timekeeper Timekeeper;

typedef enum TimekeeperWord {
        TIME_KNOWN,
        TIME_HELD, /* samples wait until it is known */
        TIME_NONE, /* samples have none */
} TimekeeperWord;

typedef struct TimekeeperStats {
        uint64_t held;       /* messages in the spool that wait */
        uint64_t estimated;  /* messages whose time is an estimate, since the start */
        const char *trouble; /* "" or a sentence; borrowed until the next call */
} TimekeeperStats;

/* From the event loop: the clock was set, or messages that waited have their times. */
typedef void (*TimekeeperChanged)(void *userdata);

/* Before the spool writes to the state directory. 0, -ENOMEM or another -errno with a sentence. */
int timekeeper_new(Timekeeper **ret, sd_event *event, const char *state_directory, const TimeConfig *config,
        TimekeeperChanged changed, void *userdata, char **ret_error);
Timekeeper *timekeeper_free(Timekeeper *timekeeper);
DEFINE_CLEANUP(Timekeeper, timekeeper_free);

/* What is found in the spool: the newest time of a message; and of each boot with held messages, in order of
 * their sequence, its newest CLOCK_BOOTTIME and how many there are. Later ones are taken as well. */
void timekeeper_note_time(Timekeeper *timekeeper, uint64_t at_msec);
void timekeeper_note_boot(Timekeeper *timekeeper, const uint8_t boot[static SAMPLE_BOOT_SIZE],
        uint64_t newest_boottime_msec, uint64_t messages);
/* After that: looks at the clock for the first time. */
int timekeeper_begin(Timekeeper *timekeeper);

/* The time of day (µs since the epoch) and how far it is ahead of CLOCK_BOOTTIME. Unless it is known, the
 * time is one for ids alone, never before the build date. */
TimekeeperWord timekeeper_now(Timekeeper *timekeeper, uint64_t *ret_now_usec, int64_t *ret_ahead_usec);
/* Makes it a held sample: boot and at_msec, later than any before on its channel. The caller notes it
 * (timekeeper_note_boot) when it is in the spool. 0 or -ENOMEM. */
int timekeeper_hold(Timekeeper *timekeeper, Sample *sample, uint64_t taken_usec);
/* Makes a held sample one with a time, always the same. 0, also if it isn't held; -EAGAIN: not yet. */
int timekeeper_resolve(Timekeeper *timekeeper, Sample *sample);
/* No held message has a later time: what is newer has to be later. 0: none has one yet. */
uint64_t timekeeper_newest_msec(const Timekeeper *timekeeper);

void timekeeper_get_stats(Timekeeper *timekeeper, TimekeeperStats *ret);
