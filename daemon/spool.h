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
        uint64_t messages;    /* not confirmed yet */
        uint64_t bytes;       /* of records and headers, both tiers */
        uint64_t dropped;     /* evicted because the spool was full, or refused; since the start */
        uint64_t damaged;     /* records or torn tails that recovery set aside */
        const char *trouble;  /* "" or what is wrong with the two directories, in words */
        bool volatile_memory; /* is the runtime tier memory? */
} SpoolStats;

/* Opens both tiers and recovers what is there: torn tails are cut, damaged parts set aside and logged. note
 * (may be NULL) gets the newest time of each channel that recovery came by. 0 or -errno with a sentence. */
typedef void (*SpoolNote)(const char *channel, uint64_t at_msec, void *userdata);
int spool_new(Spool **ret, sd_event *event, const char *state_directory, const char *runtime_directory,
        const SpoolLimits *limits, SpoolNote note, void *userdata, char **ret_error);
/* Clean stop: what is unconfirmed goes to the state directory and is synced (bounded wait). */
Spool *spool_free(Spool *spool);
DEFINE_CLEANUP(Spool, spool_free);

/* Stores a copy. 0: kill -9 does not lose it, not even at once; 1: it is in memory only, and a crash loses
 * it, as neither directory can be written (the spool tries on, stats.trouble says why); -errno: it isn't in.
 * Evicts the oldest when full. */
int spool_append(Spool *spool, const Sample *sample, uint64_t *ret_sequence);
/* The same for what somebody is promised: never 1. Where neither directory can be written it isn't in, and
 * the error tells why: -ENOSPC, -EROFS, -EACCES, ... */
int spool_append_safe(Spool *spool, const Sample *sample, uint64_t *ret_sequence);

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

typedef void (*SpoolReady)(void *userdata);
void spool_set_ready(Spool *spool, SpoolReady ready, void *userdata); /* from the event loop; may read */

/* Shows every message that there is, in no order, beside whatever spool_read() is at. Blocks while it reads
 * the disk, at most about 5 s. 0; -ETIME: the oldest were left out; -errno: some could not be read. */
typedef void (*SpoolVisit)(const Sample *sample, void *userdata);
int spool_visit(const Spool *spool, SpoolVisit visit, void *userdata);

/* All that are in the spool with these numbers, from first to last, have arrived: they go. They may lie
 * before others that have not. */
void spool_confirm(Spool *spool, uint64_t first, uint64_t last);
/* With a handful of gaps between what has arrived this is exact. Beyond that some of it is forgotten, and
 * read once more. */
bool spool_is_confirmed(const Spool *spool, uint64_t sequence);

void spool_get_stats(const Spool *spool, SpoolStats *ret);
