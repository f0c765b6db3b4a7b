/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What timekeeper.c (judging the clock) and timekeeper-boots.c (the boots whose samples wait for it) share.
 */

#include "boots.h"
#include "timekeeper.h"

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
        char *newest_path;    /* whose time that is; NULL: a message's in the spool */
        bool settled;         /* the clock was believed once */
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
const char *clock_format(ClockText buffer, int64_t usec);

/* timekeeper-boots.c */
/* Every boot that has messages in the spool gets its offset, for good. 0 or -ENOMEM. */
int timekeeper_fix_boots(Timekeeper *timekeeper);
/* Those that have none stay without. 1: there were some; 0 or -ENOMEM. */
int timekeeper_leave_untimed(Timekeeper *timekeeper);
bool timekeeper_all_fixed(const Timekeeper *timekeeper);
uint64_t timekeeper_held(const Timekeeper *timekeeper); /* messages of those that have none yet */
void timekeeper_save(Timekeeper *timekeeper);

/* timekeeper.c */
void timekeeper_look_soon(Timekeeper *timekeeper, uint64_t usec);
