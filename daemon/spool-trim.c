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
#include <sys/mman.h>

#include "spool-internal.h"
#include "util/log.h"

#define PENDING_MAX 65536
#define ROUNDS_MAX 64
#define WRITTEN_MAX (UINT64_C(32) << 20) /* then it is time for what waits to be written */
#define CACHED_MAX 4096                  /* entries of summaries that are kept from planning to doing */

typedef struct Walk {
        Trim *trim;
        Plan plan;
        Reader reader;
        Summary *cached; /* of the first segments */
        size_t n_cached;
        size_t n_taken;  /* segments that are in one of these: */
        Segment *result; /* what there is now */
        size_t n_result;

        /* What is being written, for the segments up to the one that is looked at. */
        int fd;
        Segment out;
        Summary summary;
        Bytes pending;
        Segment *sources;
        size_t n_sources;
} Walk;

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

/* --- writing ------------------------------------------------------------------------------------------ */

typedef char NewName[sizeof(SegmentName) + sizeof(TRIM_SUFFIX)];

static const char *new_name(NewName buffer, uint64_t first)
{
        SegmentName name;

        snprintf(buffer, sizeof(NewName), "%s" TRIM_SUFFIX, segment_name(name, first));
        return buffer;
}

static int out_begin(Walk *walk, const Segment *source)
{
        const Trim *trim = walk->trim;
        uint8_t header[SEGMENT_HEADER_SIZE];
        NewName name;

        if (source->place == PLACE_MEMORY)
                walk->fd = memfd_create("plugd-spool", MFD_CLOEXEC);
        else
                walk->fd = openat(trim->folders[source->place], new_name(name, source->first),
                        O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (walk->fd < 0)
                return -errno;
        walk->out = segment_new(source->first, -1);
        walk->out.place = source->place;
        walk->out.renewed = true;
        segment_header_encode(header, source->first);
        bytes_put(&walk->pending, header, sizeof(header));
        return 0;
}

static int out_flush(Walk *walk)
{
        int r;

        if (walk->pending.failed)
                return -ENOMEM;
        r = write_all(
                walk->fd, walk->pending.data, walk->pending.size, walk->out.file_size - walk->pending.size);
        walk->trim->written += walk->pending.size;
        bytes_clear(&walk->pending);
        return r;
}

static int out_put(Walk *walk, const Segment *source, const Record *record)
{
        Segment *out = &walk->out;
        int r = walk->fd < 0 ? out_begin(walk, source) : 0;

        if (r < 0)
                return r;
        bytes_put(&walk->pending, record->data, record->size);
        out->last = record->sequence;
        out->count++;
        out->size += record->size;
        out->file_size = out->checked = out->size;
        if (!walk->trim->young) {
                r = summary_add(&walk->summary, record);
                if (r < 0)
                        return r;
        }
        return walk->pending.size >= PENDING_MAX ? out_flush(walk) : 0;
}

static int out_finish(Walk *walk)
{
        const Trim *trim = walk->trim;
        Segment *out = &walk->out;
        int folder = trim->folders[out->place], r;
        SegmentName name;
        NewName from;

        if (!trim->young)
                out->file_size +=
                        segment_put_footer(&walk->pending, out, &walk->summary, trim->segment_size);
        r = out_flush(walk);
        if (r < 0)
                return r;
        if (!trim->young && fdatasync(walk->fd) < 0)
                return -errno;
        if (out->place == PLACE_MEMORY)
                return 0;
        if (renameat(folder, new_name(from, out->first), folder, segment_name(name, out->first)) < 0)
                return -errno;
        /* If this fails, the renaming has happened all the same, but for a power cut. */
        if (!trim->young)
                (void) !fsync(folder);
        return 0;
}

static int source_remove(Walk *walk, Segment *source)
{
        Trim *trim = walk->trim;
        SegmentName name;

        if (source->place != PLACE_MEMORY &&
                unlinkat(trim->folders[source->place], segment_name(name, source->first), 0) < 0 &&
                errno != ENOENT)
                return -errno;
        trim->freed += tier_blocks(source->file_size);
        closep(&source->fd);
        return 0;
}

static void out_deinit(Walk *walk)
{
        closep(&walk->fd);
        bytes_clear(&walk->pending);
        walk->pending.failed = false;
        summary_deinit(&walk->summary);
        counts_deinit(&walk->plan.counts);
        walk->out = (Segment){.fd = -1};
        walk->n_sources = 0;
}

/* Nothing has happened: the sources stay as they were. */
static void out_abandon(Walk *walk)
{
        NewName name;

        if (walk->fd >= 0 && walk->out.place != PLACE_MEMORY)
                unlinkat(walk->trim->folders[walk->out.place], new_name(name, walk->out.first), 0);
        for (size_t i = 0; i < walk->n_sources; i++)
                walk->result[walk->n_result++] = walk->sources[i];
        out_deinit(walk);
}

/* Nothing of them stays. Those that can't be removed do. */
static int sources_remove(Walk *walk)
{
        for (size_t i = 0; i < walk->n_sources; i++) {
                int r = source_remove(walk, &walk->sources[i]);

                if (r >= 0)
                        continue;
                for (; i < walk->n_sources; i++)
                        walk->result[walk->n_result++] = walk->sources[i];
                return r;
        }
        return 0;
}

/* What stays of them is in the new file, which has the name of one of them. */
static void sources_replaced(Walk *walk)
{
        bool failed = false;

        for (size_t i = 0; i < walk->n_sources; i++) {
                Segment *source = &walk->sources[i];

                if (source->first == walk->out.first)
                        walk->trim->freed += tier_blocks(source->file_size);
                else if (!failed && source_remove(walk, source) < 0)
                        /* The next start finds it and those behind it, with what had gone as well. Without
                         * those, what is in the new file behind its number would be looked for in it. */
                        failed = walk->trim->apart = true;
                closep(&source->fd);
        }
}

/* The new file takes the place of its sources. */
static int out_commit(Walk *walk)
{
        Trim *trim = walk->trim;
        uint64_t blocks;
        int r = 0;

        if (walk->fd >= 0)
                r = out_finish(walk);
        if (r < 0) {
                out_abandon(walk);
                return r;
        }
        if (walk->fd < 0)
                r = sources_remove(walk);
        else {
                sources_replaced(walk);
                blocks = tier_blocks(walk->out.file_size);
                trim->freed -= MIN(trim->freed, blocks);
                if (trim->young)
                        walk->out.fd = take_fd(&walk->fd);
                walk->result[walk->n_result++] = walk->out;
        }
        if (r >= 0)
                counts_merge(&trim->dropped, &walk->plan.counts);
        out_deinit(walk);
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
