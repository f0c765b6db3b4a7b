/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading all there is, beside the cursor and whatever it is at: rarely needed, and then at once. It blocks,
 * so it has a limit, and begins with the newest.
 */

#include <errno.h>
#include <fcntl.h>

#include "spool-internal.h"
#include "util/clock.h"

#define VISIT_USEC (5 * USEC_PER_SEC)

static int visit_segment(
        const Spool *spool, const Tier *tier, const Segment *segment, SpoolVisit visit, void *userdata)
{
        _cleanup_(closep) int opened = -1;
        SegmentName name;
        Reader reader = {.end = segment->size};
        Record record;
        uint64_t floor = tier == &spool->runtime ? spool->moved : 0;
        uint32_t damage;
        int r = 0;

        if (segment->fd < 0) {
                opened = openat(
                        tier->fd, segment_name(name, segment->first), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                if (opened < 0)
                        return errno == ENOENT ? 0 : -errno;
        }
        reader_seek(&reader, SEGMENT_HEADER_SIZE, 0, segment->first - 1);
        while (r >= 0) {
                ReaderResult result = reader_next(&reader, &record, &damage);

                if (result == READER_END)
                        break;
                if (result == READER_FILL)
                        r = reader_fill(&reader, segment->fd >= 0 ? segment->fd : opened);
                else if (result == READER_RECORD && record.sequence > floor &&
                         !spool_is_confirmed(spool, record.sequence))
                        visit(&record.sample, userdata);
        }
        reader_deinit(&reader);
        return r;
}

int spool_visit(const Spool *spool, SpoolVisit visit, void *userdata)
{
        const Tier *const tiers[] = {&spool->runtime, &spool->state};
        uint64_t until_usec = clock_monotonic_usec() + VISIT_USEC;
        int result = 0;

        for (size_t t = 0; t < ELEMENTSOF(tiers); t++)
                for (size_t i = tiers[t]->n_segments; i-- > 0;) {
                        int r;

                        if (clock_monotonic_usec() >= until_usec)
                                return -ETIME;
                        r = visit_segment(spool, tiers[t], &tiers[t]->segments[i], visit, userdata);
                        result = MIN(result, r);
                }
        return result;
}
