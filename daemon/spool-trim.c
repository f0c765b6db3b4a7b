/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes room in a tier: goes through its segments as the plan says, unlinks those of which nothing stays,
 * and rewrites those of which something does, neighbours into one file where both are small. The new file is
 * written beside the old one, synced, and takes the name of the first of those it stands for; only then the
 * others are unlinked. In between, what is in a file beyond the next file's first number is in both, and
 * recovery takes it from the latter.
 *
 * Where rewriting fails (the disk is full by others), the oldest segments go as a whole until there is what
 * there has to be: counted for each sensor, but whatever is in them, last messages too.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "spool-trim-internal.h"
#include "util/log.h"

#define ROUNDS_MAX 64
#define WRITTEN_MAX (UINT64_C(32) << 20) /* then it is time for what waits to be written */
#define CACHED_MAX 4096                  /* entries of summaries that are kept from planning to doing */

typedef enum TrimStage {
        TRIM_ROUND, /* by whole segments where it is about that much */
        TRIM_EXACT,
        TRIM_ALL, /* last messages as well */
} TrimStage;

static bool is_small(const Trim *trim, const Segment *segment)
{
        return segment->size <= trim->segment_size / 2;
}

/* --- reading ------------------------------------------------------------------------------------------ */

static int segment_open(const Trim *trim, const Segment *segment)
{
        SegmentName name;
        int fd = trim->young ? fcntl(segment->fd, F_DUPFD_CLOEXEC, 3)
                             : openat(trim->folders[segment->place], segment_name(name, segment->first),
                                       O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static void read_begin(Walk *walk, const Segment *segment)
{
        walk->reader.length = 0;
        walk->reader.end = segment->size;
        reader_seek(&walk->reader, segment->head, segment->head_count, segment->head_last);
}

/* 1: a record that is living; 0: the end; -ENOMEM. What is damaged or can't be read is no longer there. */
static int read_next(Walk *walk, const Segment *segment, int fd, Record *ret, bool last_time)
{
        Trim *trim = walk->trim;
        uint32_t damage;
        int r;

        for (;;)
                switch (reader_next(&walk->reader, ret, &damage)) {
                case READER_RECORD:
                        if (ret->sequence > trim->floor && !ranges_covers(&trim->islands, ret->sequence))
                                return 1;
                        continue;
                case READER_FILL:
                        r = reader_fill(&walk->reader, fd);
                        if (r >= 0)
                                continue;
                        if (r != -ENODATA) /* it may be there again: the segment stays as it is */
                                return r;
                        trim->damaged += last_time;
                        if (last_time)
                                log_warning("spool: a segment can't be read beyond byte %u: %s",
                                        walk->reader.offset, strerror(-r));
                        return 0;
                case READER_DAMAGE:
                        if (!last_time || damage < segment->checked)
                                continue;
                        trim->damaged++;
                        aside_keep(trim->aside, fd, segment->first, damage, walk->reader.offset);
                        continue;
                case READER_END:
                        return 0;
                }
}

static int summary_load(Walk *walk, const Segment *segment, Summary *ret)
{
        const Trim *trim = walk->trim;
        _cleanup_(closep) int fd = segment_open(trim, segment);
        SegmentFooter footer;
        Record record;
        int r;

        if (fd < 0)
                return fd == -ENOMEM ? fd : 0; /* somebody removed it: there is nothing in it */
        if (!trim->young && segment->first > trim->floor &&
                ranges_count(&trim->islands, segment->first, segment->last) == 0) {
                r = segment_footer_read(fd, segment->file_size, &footer, ret);
                if (r >= 0 || r == -ENOMEM)
                        return r;
        }
        read_begin(walk, segment);
        while ((r = read_next(walk, segment, fd, &record, false)) > 0) {
                r = summary_add(ret, &record);
                if (r < 0)
                        break;
        }
        return r;
}

/* --- going through the segments ----------------------------------------------------------------------- */

/* What stays of it goes into the file being written. */
static int copy(Walk *walk, const Segment *source, Plan *plan)
{
        _cleanup_(closep) int fd = segment_open(walk->trim, source);
        Record record;
        int r;

        walk->sources[walk->n_sources++] = *source;
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        read_begin(walk, source);
        while ((r = read_next(walk, source, fd, &record, true)) > 0) {
                if (plan && plan_record(plan, &record))
                        continue;
                r = out_put(walk, source, &record);
                if (r < 0)
                        break;
        }
        return r;
}

/* The one before goes into the same file if it is small: else there would be more and more of those. */
static int copy_before(Walk *walk, const Segment *segment)
{
        const Segment *before = walk->n_result > 0 ? &walk->result[walk->n_result - 1] : NULL;
        Segment source;

        if (!before || !is_small(walk->trim, before) || before->place != segment->place ||
                walk->trim->apart || is_far(before->last, segment->first))
                return 0;
        source = *before;
        walk->n_result--;
        return copy(walk, &source, NULL);
}

static bool joins(const Walk *walk, const Segment *segment, PlanFate fate)
{
        if (walk->n_sources == 0 || segment->place != walk->sources[0].place)
                return false;
        if (fate == PLAN_GOES)
                return true;
        if (walk->trim->apart || (walk->fd >= 0 && is_far(walk->out.last, segment->first)))
                return false;
        return is_small(walk->trim, &walk->out) && (fate == PLAN_PART || is_small(walk->trim, segment));
}

static int walk_segment(Walk *walk, const Segment *segment, const Summary *summary)
{
        PlanFate fate = plan_segment(&walk->plan, segment->first, segment->last, summary);
        bool joined = joins(walk, segment, fate);
        int r = 0;

        if (walk->n_sources > 0 && !joined) {
                r = out_commit(walk);
                if (r < 0)
                        return r;
        }
        if (fate == PLAN_PART && !joined)
                r = copy_before(walk, segment);
        if (r < 0)
                return r;
        walk->n_taken++;
        switch (fate) {
        case PLAN_GOES:
                walk->sources[walk->n_sources++] = *segment;
                return 0;
        case PLAN_STAYS:
                if (joined)
                        return copy(walk, segment, NULL);
                walk->result[walk->n_result++] = *segment;
                return 0;
        case PLAN_PART:
                return copy(walk, segment, &walk->plan);
        }
        return 0;
}

static int walk_all(Walk *walk)
{
        const Trim *trim = walk->trim;
        int r = 0;

        walk->n_taken = walk->n_result = 0;
        while (r >= 0 && walk->n_taken < trim->n_segments) {
                size_t i = walk->n_taken;
                Summary summary = {};

                if (walk->n_sources == 0 && trim->written > WRITTEN_MAX && trim->freed >= trim->must)
                        break;
                if (i < walk->n_cached)
                        r = walk_segment(walk, &trim->segments[i], &walk->cached[i]);
                else {
                        r = summary_load(walk, &trim->segments[i], &summary);
                        if (r >= 0)
                                r = walk_segment(walk, &trim->segments[i], &summary);
                        summary_deinit(&summary);
                }
        }
        if (r >= 0)
                r = out_commit(walk);
        else
                out_abandon(walk);
        return r;
}

static int plan_all(Walk *walk, TrimStage stage)
{
        const Trim *trim = walk->trim;
        size_t n_entries = 0;
        int r = 0;

        walk->plan = (Plan){.policies = trim->policies,
                .now_msec = trim->now_msec,
                .counted = trim->counted,
                .exact = stage >= TRIM_EXACT,
                .all = stage >= TRIM_ALL};
        for (size_t i = 0; i < trim->n_segments && r >= 0; i++) {
                Summary summary = {};

                r = summary_load(walk, &trim->segments[i], &summary);
                if (r >= 0)
                        r = plan_add(&walk->plan, &summary);
                n_entries += summary.n;
                if (r >= 0 && n_entries <= CACHED_MAX && walk->n_cached == i)
                        walk->cached[walk->n_cached++] = summary;
                else
                        summary_deinit(&summary);
        }
        if (r >= 0)
                r = plan_make(&walk->plan, trim->need - trim->freed + (stage >= TRIM_EXACT ? 4096 : 0));
        return r;
}

/* One plan, carried out. The list of segments is what it has become, whatever happened. */
static int trim_round(Trim *trim, TrimStage stage, uint64_t *ret_gone)
{
        Walk walk = {.trim = trim, .fd = -1};
        size_t n = trim->n_segments;
        int r = -ENOMEM;

        walk.cached = calloc(n, sizeof(*walk.cached));
        walk.result = calloc(n, sizeof(*walk.result));
        walk.sources = calloc(n, sizeof(*walk.sources));
        if (walk.cached && walk.result && walk.sources)
                r = plan_all(&walk, stage);
        if (r >= 0) {
                r = walk_all(&walk);
                while (walk.n_taken < n)
                        walk.result[walk.n_result++] = trim->segments[walk.n_taken++];
                memcpy(trim->segments, walk.result, walk.n_result * sizeof(*walk.result));
                trim->n_segments = walk.n_result;
        }
        *ret_gone = walk.plan.gone;
        plan_deinit(&walk.plan);
        for (size_t i = 0; i < walk.n_cached; i++)
                summary_deinit(&walk.cached[i]);
        free(walk.cached);
        free(walk.result);
        free(walk.sources);
        bytes_deinit(&walk.pending);
        reader_deinit(&walk.reader);
        return r;
}

/* The oldest segment as a whole, with whatever is in it. */
static int drop_first(Trim *trim)
{
        Walk walk = {.trim = trim, .fd = -1};
        Summary summary = {};
        const SummaryEntry *entry;
        int r;

        (void) summary_load(&walk, &trim->segments[0], &summary);
        r = source_remove(&walk, &trim->segments[0]);
        for (size_t i = 0; i < summary.capacity && r >= 0; i++) {
                entry = &summary.slots[i];
                if (entry->sensor)
                        counts_add(&trim->dropped, entry->sensor, entry->messages, 0);
        }
        summary_deinit(&summary);
        reader_deinit(&walk.reader);
        if (r < 0)
                return r;
        trim->n_segments--;
        memmove(trim->segments, trim->segments + 1, trim->n_segments * sizeof(*trim->segments));
        return 0;
}

/* A little less than what was wished for will do; it is not worth rewriting a segment. */
static bool is_enough(const Trim *trim)
{
        return trim->freed >= trim->must &&
               (trim->freed >= trim->need - trim->need / 8 || trim->written > WRITTEN_MAX);
}

void trim_run(Trim *trim)
{
        TrimStage stage = TRIM_ROUND;

        for (unsigned round = 0; round < ROUNDS_MAX && !is_enough(trim) && trim->n_segments > 0; round++) {
                uint64_t gone = 0;

                trim->error = trim_round(trim, stage, &gone);
                if (trim->error < 0 || (gone == 0 && stage == TRIM_ALL))
                        break;
                if (gone == 0)
                        stage++;
        }
        while (trim->freed < trim->must && trim->n_segments > 0 && drop_first(trim) >= 0)
                ;
}
