/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading all there is, beside the cursor and whatever it is at: rarely needed, and then at once. It blocks,
 * so it has a limit, begins with the newest, and goes by the summaries of segments.
 */

#include <errno.h>
#include <fcntl.h>

#include "spool-internal.h"
#include "util/clock.h"

#define VISIT_USEC (5 * USEC_PER_SEC)

typedef struct Visit {
        const Spool *spool;
        uint64_t from_msec, until_usec;
        SpoolVisit visit;
        void *userdata;
} Visit;

/* Is all in it older, as far as its summary tells, and nothing held? */
static bool is_older(const Visit *visit, const Segment *segment, int fd)
{
        _cleanup_(summary_deinit) Summary summary = {};
        SegmentFooter footer;

        if (segment_footer_read(fd, segment->file_size, &footer, &summary) < 0 || summary.n_boots > 0)
                return false;
        for (size_t i = 0; i < summary.capacity; i++)
                if (summary.slots[i].sensor && summary.slots[i].at_msec >= visit->from_msec)
                        return false;
        return true;
}

static int visit_records(const Visit *visit, const Segment *segment, int fd, uint64_t floor)
{
        Reader reader = {.end = segment->size};
        Record record;
        uint32_t damage;
        int r = 0;

        reader_seek(&reader, segment->head, segment->head_count, segment->head_last);
        while (r >= 0) {
                ReaderResult result = reader_next(&reader, &record, &damage);

                if (result == READER_END)
                        break;
                if (result == READER_FILL) {
                        r = clock_monotonic_usec() < visit->until_usec ? reader_fill(&reader, fd) : -ETIME;
                        continue;
                }
                if (result == READER_RECORD && record.sequence > floor &&
                        (record.sample.boot || record.sample.at_msec >= visit->from_msec) &&
                        !spool_is_confirmed(visit->spool, record.sequence))
                        visit->visit(&record.sample, visit->userdata);
        }
        reader_deinit(&reader);
        return r;
}

static int visit_segment(const Visit *visit, const Tier *tier, const Segment *segment)
{
        const Spool *spool = visit->spool;
        _cleanup_(closep) int opened = -1;
        SegmentName name;

        if (spool_is_gone(spool, tier, segment))
                return 0;
        if (segment->fd >= 0)
                return visit_records(visit, segment, segment->fd, spool->moved);
        opened = openat(tier->fd, segment_name(name, segment->first), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (opened < 0)
                return errno == ENOENT ? 0 : -errno;
        return visit->from_msec > 0 && is_older(visit, segment, opened)
                       ? 0
                       : visit_records(visit, segment, opened, 0);
}

int spool_visit(const Spool *spool, uint64_t from_msec, SpoolVisit visit, void *userdata)
{
        const Tier *const tiers[] = {&spool->runtime, &spool->state};
        const Visit how = {.spool = spool,
                .from_msec = from_msec,
                .until_usec = clock_monotonic_usec() + VISIT_USEC,
                .visit = visit,
                .userdata = userdata};
        int result = 0;

        for (size_t t = 0; t < ELEMENTSOF(tiers); t++)
                for (size_t i = tiers[t]->n_segments; i-- > 0;) {
                        int r = visit_segment(&how, tiers[t], &tiers[t]->segments[i]);

                        if (r == -ETIME || clock_monotonic_usec() >= how.until_usec)
                                return -ETIME;
                        result = MIN(result, r);
                }
        return result;
}
