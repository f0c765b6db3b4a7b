/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What goes when a tier is full. First what has outlived its ttl; then of the lowest priority present, from
 * the sensors that hold most, so that they come down to one level, each by its own policy. The last message
 * of each channel of a configured sensor stays as long as anything else can go, and the message with the
 * tier's highest number as well, so that no number is used twice. Segments are rewritten into new files that
 * take the old ones' names: a crash at any moment leaves every message once.
 */

#include "ranges.h"
#include "spool-summary.h"
#include "spool.h"

typedef struct Segment Segment;
typedef struct Aside Aside;

/* --- Policies and counts (spool-policy.c) -------------------------------------------------------------- */

typedef struct SpoolPolicies {
        SpoolPolicy fallback; /* of Publish() and of sensors that aren't configured */
        SpoolSensor *sensors; /* by name */
        size_t n;
        bool any_ttl;
} SpoolPolicies;

int policies_init(
        SpoolPolicies *policies, const SpoolPolicy *fallback, const SpoolSensor *sensors, size_t n);
void policies_deinit(SpoolPolicies *policies);
const SpoolPolicy *policies_find(const SpoolPolicies *policies, const char *sensor, bool *ret_configured);
/* Has it outlived its ttl? now_msec 0: the clock isn't known, and nothing has; nor has what has no time. */
bool policy_expires(const SpoolPolicy *policy, uint64_t at_msec, uint64_t now_msec);

typedef struct SpoolCount {
        char *sensor;
        uint64_t dropped, expired; /* the latter among the former */
} SpoolCount;

/* Exact for the first 1,024 sensors; the others are in the totals. */
typedef struct SpoolCounts {
        SpoolCount *sensors;
        size_t n, last;
        uint64_t dropped, expired;
} SpoolCounts;

void counts_deinit(SpoolCounts *counts);
void counts_add(SpoolCounts *counts, const char *sensor, uint64_t dropped, uint64_t expired);
void counts_merge(SpoolCounts *counts, const SpoolCounts *other);

/* --- What is to go (spool-plan.c) ---------------------------------------------------------------------- */

typedef enum PlanFate {
        PLAN_STAYS, /* all of it */
        PLAN_PART,
        PLAN_GOES, /* all of it */
} PlanFate;

typedef struct PlanSensor {
        const char *name; /* borrowed from the totals */
        SpoolPolicy policy;
        bool configured;
        SpoolFull how;                      /* this time */
        uint64_t messages, bytes;           /* that may go */
        uint64_t quota;                     /* OLDEST: bytes that go yet */
        uint64_t stay;                      /* NEWEST: bytes that stay yet */
        uint64_t index, half;               /* THIN: messages gone by; up to there every second goes */
        uint64_t here_messages, here_bytes; /* of the segment that is looked at: what may go, */
        PlanFate here;                      /* and does it? */
} PlanSensor;

typedef struct Plan {
        const SpoolPolicies *policies;
        uint64_t now_msec; /* 0: the clock isn't known */
        uint64_t counted;  /* what has outlived its ttl up to this number was counted before */
        uint64_t last;     /* the highest number of all */
        bool exact;        /* no rounding to segments */
        bool all;          /* the last messages of channels may go too */

        Summary totals; /* without what has outlived its ttl as a whole */
        uint64_t expired_bytes;
        PlanSensor *sensors;
        size_t n_sensors;

        uint64_t gone;      /* messages, since plan_make() */
        SpoolCounts counts; /* of them; taken away by who goes through the segments */
} Plan;

void plan_deinit(Plan *plan);
/* Adds what is living in a segment. 0 or -ENOMEM. */
int plan_add(Plan *plan, const Summary *summary);
/* Decides how much of which sensor goes for `need` bytes. 0 or -ENOMEM. */
int plan_make(Plan *plan, uint64_t need);
/* Then, in order, for each segment: its fate (which has come true when it isn't a part), or each record. */
PlanFate plan_segment(Plan *plan, uint64_t first, uint64_t last, const Summary *summary);
bool plan_record(Plan *plan, const Record *record); /* does it go? */

/* --- Doing it (spool-trim.c) --------------------------------------------------------------------------- */

#define TRIM_SUFFIX ".new" /* of a file that is being written; recovery removes it */

typedef struct Trim {
        const SpoolPolicies *policies;
        const Aside *aside;
        int folders[3]; /* by place; the state tier's at PLACE_RUNTIME */
        bool young;     /* segments are open, and need neither a footer nor to be synced */
        bool apart;     /* in and out, as the tier's: none are put together */
        uint32_t segment_size;
        uint64_t floor; /* up to here nothing is living */
        Ranges islands; /* nor in these */
        uint64_t now_msec, counted;
        uint64_t need; /* bytes on the disk that are to go; */
        uint64_t must; /* so many at any rate, if whole segments have to go for it */

        Segment *segments; /* in and out; who fills it in frees it */
        size_t n_segments;
        uint64_t freed, written; /* bytes; the latter may be more than the former */
        uint64_t damaged;
        SpoolCounts dropped;
        int error; /* of rewriting: then segments went as a whole, the oldest first */
} Trim;

void trim_run(Trim *trim);
