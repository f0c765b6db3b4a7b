/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The spool: every sample goes in before it is published, and out when its arrival is confirmed. Two tiers
 * of segment files of checksummed records: what is young lies in the runtime directory (memory-backed:
 * survives the process, costs the disk nothing), and goes to the state directory when it is older than
 * `sync`, when the runtime tier is full, and at a clean stop. Where the runtime directory can't be used, the
 * young lie in a folder of the state directory instead, no less safe, but no longer frugal. Records have
 * sequence numbers, ascending without reuse. The disk is written and synced by a thread: it may stall, the
 * loop does not.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "sample.h"
#include "util/macros.h"

typedef struct Spool Spool;

typedef struct SpoolStats {
        uint64_t messages; /* not confirmed yet */
        uint64_t bytes;    /* of records and headers, both tiers */
        uint64_t dropped;  /* evicted, refused, or had outlived their ttl; since the start */
        uint64_t appended_messages, appended_bytes; /* as they lie in the spool; since the start */
        uint64_t capacity;    /* bytes that it takes: max_size, less what is kept free */
        uint64_t damaged;     /* records or torn tails that recovery set aside */
        bool evicting;        /* it is full: makes room, or did a moment ago */
        const char *trouble;  /* "" or what is wrong with the two directories, in words */
        bool volatile_memory; /* is the runtime tier memory? */
} SpoolStats;

/* A sensor of the configuration. What others gave, or none, goes by the policy of the limits. */
typedef struct SpoolSensor {
        const char *name;
        SpoolPolicy policy;
} SpoolSensor;

/* What recovery came by, either of two. boot NULL: the newest time of a sensor's channel. Else: so many
 * samples are held since this boot, and its CLOCK_BOOTTIME of the latest; sensor and channel are "". Boots
 * come last, in the order of the numbers of their first samples. Borrowed, as all of it. */
typedef struct SpoolNoted {
        const char *sensor, *channel;
        uint64_t at_msec;
        const uint8_t *boot;
        uint64_t messages;
} SpoolNoted;

typedef void (*SpoolNote)(const SpoolNoted *noted, void *userdata);

/* Opens both tiers and recovers what is there: torn tails are cut, damaged parts set aside and logged. The
 * sensors are copied; note may be NULL. 0 or -errno with a sentence. */
int spool_new(Spool **ret, sd_event *event, const char *state_directory, const char *runtime_directory,
        const SpoolLimits *limits, const SpoolSensor *sensors, size_t n_sensors, SpoolNote note,
        void *userdata, char **ret_error);
/* Clean stop: what is unconfirmed goes to the state directory and is synced (bounded wait). */
Spool *spool_free(Spool *spool);
DEFINE_CLEANUP(Spool, spool_free);

/* Stores a copy. 0: kill -9 does not lose it, not even at once; 1: it is in memory only, and a crash loses
 * it, as neither directory can be written (the spool tries on, stats.trouble says why); -errno: it isn't in.
 * Makes room when full: see below. */
int spool_append(Spool *spool, const Sample *sample, uint64_t *ret_sequence);
/* The same for what somebody is promised: never 1. Where neither directory can be written it isn't in, and
 * the error tells why: -ENOSPC, -EROFS, -EACCES, ... */
int spool_append_safe(Spool *spool, const Sample *sample, uint64_t *ret_sequence);
/* Is the memory nearly full of what the disk is about to take? Who can wait a moment should: else what is in
 * it will have to make room. */
bool spool_is_pressed(const Spool *spool);

/* Two places to read at: what has waited, and what is new. */
typedef enum SpoolLane { SPOOL_BACKLOG, SPOOL_LIVE } SpoolLane;
#define SPOOL_LANES 2

/* The first record that is not confirmed and whose number is sequence or higher. The sample's text is
 * borrowed until the next call of any spool function. 1: here it is; 0: there is none; -errno. Reading on
 * from where this lane was is cheap. With a ready callback -EAGAIN as well: it has to come from the disk,
 * which may take its time; the callback says when to ask again. Without one, such a read blocks. */
int spool_read(Spool *spool, SpoolLane lane, uint64_t sequence, uint64_t *ret_sequence, Sample *ret);
/* Nothing more is read there for now: its memory goes. */
void spool_rest(Spool *spool, SpoolLane lane);
/* The number that the next record gets. */
uint64_t spool_end(const Spool *spool);

/* The backlog lane ends before this number. 0, as from the beginning: it has everything. */
void spool_set_boundary(Spool *spool, uint64_t sequence);

typedef void (*SpoolReady)(void *userdata);
void spool_set_ready(Spool *spool, SpoolReady ready, void *userdata); /* from the event loop; may read */

/* Shows every message that there is whose at is from_msec or later, and those that are held, in no order,
 * beside whatever spool_read() is at. Blocks while it reads the disk, at most about 5 s: parts of the spool
 * in which all is older are not read. 0; -ETIME: the oldest were left out; -errno: some could not be read.
 */
typedef void (*SpoolVisit)(const Sample *sample, void *userdata);
int spool_visit(const Spool *spool, uint64_t from_msec, SpoolVisit visit, void *userdata);

/* All that are in the spool with these numbers, from first to last, have arrived: they go. They may lie
 * before others that have not. */
void spool_confirm(Spool *spool, uint64_t first, uint64_t last);
/* With a handful of gaps between what has arrived this is exact. Beyond that some of it is forgotten, and
 * read once more. */
bool spool_is_confirmed(const Spool *spool, uint64_t sequence);

/*
 * Full (max_size on the disk; memory, while the disk can't be written or is too slow): first goes what has
 * outlived its sensor's ttl; then of the lowest priority present, from those sensors that hold most, so that
 * they come down to one level, and of each as its when_full says. The last message of each channel of a
 * configured sensor stays as long as anything else can go. At least a sixteenth is freed at a time; room for
 * one and a half segments (of max_size: 3/32, at most 6 MiB up to 16 GiB) is kept free for that. Counted by
 * sensor, logged once an episode. What has outlived its ttl is never read either, and counts as dropped;
 * samples that are held until the clock is set outlive nothing.
 */
uint64_t spool_dropped_of(const Spool *spool, const char *sensor); /* as in the stats */
/* Is the clock to be trusted? Until it is, nothing outlives its ttl. It is from the beginning. */
void spool_set_clock(Spool *spool, bool known);

void spool_get_stats(const Spool *spool, SpoolStats *ret);
uint64_t spool_appended_bytes(const Spool *spool); /* of the stats, for who needs it often */
