/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What goes when there is no room: when, in which tier, and what is counted and logged of it. In the state
 * tier it is part of a job of the disk's thread. In the runtime tier, which fills only while the disk can't
 * be written or is too slow, the loop does it itself, with the oldest part of it, so that it takes a few
 * milliseconds however large the memory is.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define EPISODE_USEC (10 * USEC_PER_SEC) /* of evicting: over when there was none for so long */
#define EPISODE_NAMED 4                  /* sensors that are named in a line of the log */
#define RUNTIME_MAX (UINT64_C(8) << 20)  /* bytes of the runtime tier that are looked at */

/* --- counting and saying ------------------------------------------------------------------------------ */

static int compare_counts(const void *a, const void *b)
{
        const SpoolCount *x = a, *y = b;

        return x->dropped > y->dropped ? -1 : x->dropped < y->dropped;
}

static const char *sensor_words(const char *sensor)
{
        return *sensor ? sensor : "Publish()";
}

static void put_text(Bytes *out, const char *text)
{
        bytes_put(out, text, strlen(text));
}

/* "4 of door", or why they go: "the oldest of door (priority 5)". */
static void put_count(const Spool *spool, Bytes *out, const SpoolCount *count, bool why)
{
        static const char *const ways[] = {
                [SPOOL_FULL_OLDEST] = "the oldest",
                [SPOOL_FULL_NEWEST] = "the newest",
                [SPOOL_FULL_THIN] = "every second of the older half",
        };
        const SpoolPolicy *policy = policies_find(&spool->policies, count->sensor, NULL);
        _cleanup_(freep) char *text = NULL;

        if (!why)
                text = text_printf("%" PRIu64 " of %s", count->dropped, sensor_words(count->sensor));
        else if (count->expired == count->dropped)
                text = text_printf("what outlived its ttl of %s", sensor_words(count->sensor));
        else
                text = text_printf("%s of %s (priority %u)", ways[policy->when_full],
                        sensor_words(count->sensor), policy->priority);
        if (text)
                put_text(out, text);
}

/* The sensors that lost most, few by name. NULL: out of memory. */
static char *describe(const Spool *spool, SpoolCounts *counts, bool why)
{
        Bytes out = {};
        size_t named = MIN(counts->n, (size_t) EPISODE_NAMED);

        if (counts->n > 0)
                qsort(counts->sensors, counts->n, sizeof(*counts->sensors), compare_counts);
        for (size_t i = 0; i < named; i++) {
                if (i > 0)
                        put_text(&out, ", ");
                put_count(spool, &out, &counts->sensors[i], why);
        }
        if (counts->n > named) {
                _cleanup_(freep) char *more = text_printf(", and of %zu more", counts->n - named);

                put_text(&out, more ? more : "");
        }
        bytes_put_u8(&out, '\0');
        if (out.failed) {
                bytes_deinit(&out);
                return NULL;
        }
        return (char *) out.data;
}

/* tier NULL: nothing is full, but something has outlived its ttl. */
static void log_evicting(Spool *spool, const Tier *tier, SpoolCounts *counts)
{
        _cleanup_(freep) char *whom = describe(spool, counts, true);
        bool disk_fails = backoff_active(&spool->backoff);
        char size[32];

        text_format_size(size, tier == &spool->state ? spool->limits.max_size : spool->limits.memory);
        if (!tier)
                log_warning("spool: messages are too old to be sent, and dropped: %s", whom ? whom : "");
        else if (tier == &spool->state && (disk_fails || spool->squeeze))
                log_warning("spool: the disk is full: messages are dropped: %s", whom ? whom : "");
        else if (tier == &spool->state)
                log_warning("spool: full (spool.max_size is %s): messages are dropped: %s", size,
                        whom ? whom : "");
        else if (disk_fails)
                log_warning("spool: full (spool.memory is %s), and the disk can't be used: messages are "
                            "dropped: %s",
                        size, whom ? whom : "");
        else
                log_warning(
                        "spool: messages come faster than the disk takes them: some in memory are dropped "
                        "(spool.memory is %s): %s",
                        size, whom ? whom : "");
}

static void count_evicted(Spool *spool, const Tier *tier, SpoolCounts *counts)
{
        if (counts->dropped == 0)
                return;
        if (!spool->evicting || (tier && spool->full_usec == 0))
                log_evicting(spool, tier, counts);
        spool->evicting = true;
        counts_merge(&spool->dropped, counts);
        counts_merge(&spool->evicted, counts);
        spool->evicted_usec = clock_monotonic_usec();
        if (tier)
                spool->full_usec = spool->evicted_usec;
}

void spool_episode_end(Spool *spool)
{
        _cleanup_(freep) char *whom = describe(spool, &spool->evicted, false);
        uint64_t n = spool->evicted.dropped;

        if (spool->full_usec == 0)
                log_notice("spool: %" PRIu64 " message%s too old to be sent: %s", n,
                        n == 1 ? " was" : "s were", whom ? whom : "");
        else
                log_notice("spool: %s%" PRIu64 " message%s dropped: %s",
                        spool->stopping ? "" : "there is room again; ", n, n == 1 ? " was" : "s were",
                        whom ? whom : "");
        counts_deinit(&spool->evicted);
        spool->evicting = false;
        spool->full_usec = 0;
}

/* usec: when it was made last. */
static bool has_room(const Spool *spool, uint64_t usec)
{
        return clock_monotonic_usec() - usec > EPISODE_USEC &&
               spool->state.bytes <= spool->limits.max_size / 4 * 3 &&
               spool->runtime.bytes <= spool->limits.memory / 2;
}

bool spool_makes_room(const Spool *spool)
{
        return spool->full_usec > 0 && !has_room(spool, spool->full_usec);
}

bool spool_episode_over(Spool *spool)
{
        if (!spool->evicting || !has_room(spool, spool->evicted_usec))
                return false;
        spool_episode_end(spool);
        return true;
}

void spool_drop(Spool *spool, const char *sensor)
{
        counts_add(&spool->dropped, sensor, 1, 0);
}

uint64_t spool_dropped_of(const Spool *spool, const char *sensor)
{
        for (size_t i = 0; i < spool->dropped.n; i++)
                if (strcmp(spool->dropped.sensors[i].sensor, sensor) == 0)
                        return spool->dropped.sensors[i].dropped;
        return 0;
}

/* --- ttl ---------------------------------------------------------------------------------------------- */

static uint64_t ttl_now(const Spool *spool)
{
        return spool->clock_known ? clock_realtime_usec() / USEC_PER_MSEC : 0;
}

void spool_set_clock(Spool *spool, bool known)
{
        spool->clock_known = known;
        for (size_t lane = 0; lane < SPOOL_LANES && !known; lane++) {
                Cursor *cursor = &spool->cursors[lane];

                cursor->skipped_from = cursor->skipped_to = cursor->empty_from = cursor->empty_to = 0;
        }
}

/* What is read again after a reconnection was counted the first time. */
bool spool_expires(Spool *spool, SpoolLane lane, const Record *record)
{
        const Sample *sample = &record->sample;
        const SpoolPolicy *policy;

        if (!spool->policies.any_ttl)
                return false;
        policy = policies_find(&spool->policies, sample->sensor, NULL);
        if (sample->boot || !policy_expires(policy, sample->at_msec, ttl_now(spool)))
                return false;
        if (!ranges_covers(&spool->expired, record->sequence)) {
                SpoolCounts one = {};

                counts_add(&one, sample->sensor, 1, 1);
                count_evicted(spool, NULL, &one);
                counts_deinit(&one);
        }
        /* A lane reads in order: what it passed before was counted, or has been sent. */
        ranges_add(&spool->expired, lane == SPOOL_LIVE ? MAX(spool->boundary, 1U) : 1, record->sequence);
        return true;
}

/* --- the state tier ----------------------------------------------------------------------------------- */

void spool_fill_trim(Spool *spool, DiskJob *job, uint64_t bytes)
{
        const Tier *state = &spool->state;
        uint64_t limit = spool_capacity(spool), must = 0;
        Segment *segments;

        if (state->bytes + bytes > limit)
                must = MIN(state->bytes, state->bytes + bytes - limit);
        if (spool->squeeze)
                must = MAX(must,
                        MAX(state->bytes / 16, MIN(state->bytes / 2, (uint64_t) spool->state_segment_size)));
        if (must == 0 || state->n_segments == 0)
                return;
        segments = malloc(state->n_segments * sizeof(*segments));
        if (!segments)
                return; /* for once it may get a little larger */
        memcpy(segments, state->segments, state->n_segments * sizeof(*segments));
        job->trim = (Trim){.folders = {-1, -1, -1},
                .segment_size = spool->state_segment_size,
                .floor = spool->confirmed,
                .islands = spool->islands,
                .now_msec = ttl_now(spool),
                .counted = ranges_reach(&spool->expired, 0),
                .need = spool->squeeze ? must : MAX(must, spool->limits.max_size / 16),
                .must = must,
                .segments = segments,
                .n_segments = state->n_segments,
                .apart = state->apart};
        spool->trimming = true;
}

/* What the loop knows of segments that were left as they are holds on. */
static void take_segments(Tier *tier, const Trim *trim)
{
        size_t k = 0;

        for (size_t i = 0; i < trim->n_segments; i++) {
                while (tier->segments[k].first != trim->segments[i].first)
                        k++;
                if (trim->segments[i].renewed) {
                        tier->segments[i] = trim->segments[i];
                        tier->segments[i].renewed = false;
                } else {
                        tier->segments[i] = tier->segments[k];
                        tier->segments[i].file_size = trim->segments[i].file_size;
                }
                k++;
        }
        tier->n_segments = trim->n_segments;
        tier->apart |= trim->apart;
        tier_account(tier);
}

void spool_take_trim(Spool *spool, Trim *trim)
{
        if (!spool->trimming)
                return;
        cursor_invalidate(spool, &spool->state);
        take_segments(&spool->state, trim);
        spool->damaged += trim->damaged;
        if (trim->error < 0 && !spool->evicting)
                log_notice(
                        "spool: %s can't be made smaller piece by piece: %s. Its oldest files go as a whole",
                        spool->state.path, strerror(-trim->error));
        count_evicted(spool, &spool->state, &trim->dropped);
        spool->trimming = spool->squeeze = false;
}

/* --- the runtime tier --------------------------------------------------------------------------------- */

bool spool_evict_runtime(Spool *spool)
{
        Tier *tier = &spool->runtime;
        size_t from = 0, to, n, rest;
        uint64_t bytes = 0;
        Trim trim;

        while (from < tier->n_segments && tier->segments[from].first <= spool->copying)
                from++;
        for (to = from; to + 1 < tier->n_segments && bytes < RUNTIME_MAX; to++)
                bytes += tier->segments[to].size;
        n = to - from;
        if (n == 0)
                return false;
        trim = (Trim){.policies = &spool->policies,
                .aside = &spool->aside,
                .folders =
                        {[PLACE_RUNTIME] = tier->fd, [PLACE_SPARE] = spool->spare.fd, [PLACE_MEMORY] = -1},
                .young = true,
                .segment_size = spool->runtime_segment_size,
                .floor = spool_floor(spool),
                .islands = spool->islands,
                .now_msec = ttl_now(spool),
                .counted = ranges_reach(&spool->expired, 0),
                .need = MIN(MAX(spool->limits.memory / 16, (uint64_t) 1), bytes),
                .must = 1,
                .segments = tier->segments + from,
                .n_segments = n,
                .apart = tier->apart};
        cursor_invalidate(spool, tier);
        trim_run(&trim);
        rest = tier->n_segments - to;
        memmove(tier->segments + from + trim.n_segments, tier->segments + to,
                rest * sizeof(*tier->segments));
        tier->n_segments = from + trim.n_segments + rest;
        tier->apart |= trim.apart;
        for (size_t i = 0; i < tier->n_segments; i++)
                tier->segments[i].renewed = false;
        tier_account(tier);
        spool->damaged += trim.damaged;
        count_evicted(spool, tier, &trim.dropped);
        counts_deinit(&trim.dropped);
        return trim.freed > 0;
}
