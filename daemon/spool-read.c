/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading: a cursor for each lane, which goes through the state tier's segments and then the runtime tier's.
 * Damage in a segment that was believed by its footer shows here for the first time.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/log.h"

uint64_t spool_failing_usec = 60 * USEC_PER_SEC;

void cursor_deinit(Cursor *cursor)
{
        closep(&cursor->fd);
        reader_deinit(&cursor->reader);
        reader_deinit(&cursor->fetched);
        free(TAKE_PTR(cursor->reads));
}

void spool_rest(Spool *spool, SpoolLane lane)
{
        Cursor *cursor = &spool->cursors[lane];

        cursor->resting = true;
        cursor->tier = NULL;
        closep(&cursor->fd);
        reader_deinit(&cursor->reader);
        reader_deinit(&cursor->fetched);
        if (cursor->fetch != FETCH_RUNNING)
                cursor->fetch = FETCH_NONE;
}

void spool_set_ready(Spool *spool, SpoolReady ready, void *userdata)
{
        spool->ready = ready;
        spool->ready_userdata = userdata;
}

/* --- what has been read, for confirming --------------------------------------------------------------- */

static void reads_push(Cursor *cursor, uint64_t segment, bool in_state)
{
        const Reader *reader = &cursor->reader;

        if (!cursor->reads) {
                cursor->reads = calloc(READ_MARKS, sizeof(*cursor->reads));
                cursor->first_read = cursor->next_read = 0;
                if (!cursor->reads)
                        return; /* then what is confirmed is only known roughly within a segment */
        }
        if (cursor->next_read != cursor->first_read &&
                cursor->reads[(cursor->next_read - 1) % READ_MARKS].sequence >= reader->last)
                cursor->first_read = cursor->next_read; /* reading begins anew */
        if (cursor->next_read - cursor->first_read == READ_MARKS)
                cursor->first_read++;
        cursor->reads[cursor->next_read++ % READ_MARKS] = (ReadMark){.sequence = reader->last,
                .segment = segment,
                .state = in_state,
                .end = reader->offset,
                .count = reader->count};
}

static void head_set(Spool *spool, const ReadMark *mark)
{
        Tier *tier = mark->state ? &spool->state : &spool->runtime;
        size_t i = tier_find(tier, mark->sequence);
        Segment *segment = i < tier->n_segments ? &tier->segments[i] : NULL;

        if (!segment || segment->first != mark->segment || segment->head_last >= mark->sequence ||
                mark->end == 0)
                return;
        /* Something before it may be needed still. */
        if (spool_reach(spool, tier == &spool->runtime ? MAX(segment->head_last, spool->moved)
                                                       : segment->head_last) < mark->sequence)
                return;
        segment->head_last = mark->sequence;
        segment->head = mark->end;
        segment->head_count = mark->count;
}

void spool_confirm_reads(Spool *spool)
{
        for (size_t lane = 0; lane < SPOOL_LANES; lane++) {
                Cursor *cursor = &spool->cursors[lane];
                const ReadMark *mark = NULL;

                while (cursor->first_read != cursor->next_read &&
                        spool_is_confirmed(spool, cursor->reads[cursor->first_read % READ_MARKS].sequence))
                        mark = &cursor->reads[cursor->first_read++ % READ_MARKS];
                if (mark)
                        head_set(spool, mark);
                if (cursor->resting && cursor->reads && cursor->first_read == cursor->next_read)
                        free(TAKE_PTR(cursor->reads));
        }
}

/* --- cursor ------------------------------------------------------------------------------------------- */

static int fill_from_state(Spool *spool, Cursor *cursor, const Segment *segment)
{
        Reader *reader = &cursor->reader;
        SegmentName name;

        if (!spool->ready) {
                if (cursor->fd < 0)
                        cursor->fd = openat(spool->state.fd, segment_name(name, segment->first),
                                O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                return cursor->fd < 0 ? -errno : reader_fill(reader, cursor->fd);
        }
        if (cursor->fetch == FETCH_DONE && cursor->fetch_segment == segment->first &&
                cursor->fetch_offset == reader->offset && cursor->fetch_need >= reader->need) {
                Reader buffer = *reader;

                /* The buffers change places. */
                cursor->fetch = FETCH_NONE;
                reader->buffer = cursor->fetched.buffer;
                reader->capacity = cursor->fetched.capacity;
                reader->base = cursor->fetched.base;
                reader->length = cursor->fetched.length;
                cursor->fetched = (Reader){.buffer = buffer.buffer, .capacity = buffer.capacity};
                if (cursor->fetch_result < 0)
                        reader->length = 0;
                return cursor->fetch_result < 0 ? cursor->fetch_result : reader_has(reader) ? 0 : -ENODATA;
        }
        if (cursor->fetch != FETCH_RUNNING) {
                cursor->fetch = FETCH_WANTED;
                cursor->fetch_segment = segment->first;
                cursor->fetch_offset = reader->offset;
                cursor->fetch_need = reader->need;
                cursor->fetch_end = reader->end;
                spool_plan(spool);
        }
        return -EAGAIN;
}

void spool_fetched(Spool *spool, DiskJob *job)
{
        Cursor *cursor = &spool->cursors[job->fetch_lane];
        Reader buffer = cursor->fetched;

        cursor->fetched = job->fetched;
        job->fetched = buffer;
        cursor->fetch_result = job->fetch_result;
        cursor->fetch = FETCH_DONE;
        if (cursor->resting)
                spool_rest(spool, job->fetch_lane);
}

bool spool_has_fetched(const Spool *spool)
{
        for (size_t lane = 0; lane < SPOOL_LANES; lane++)
                if (spool->cursors[lane].fetch == FETCH_DONE)
                        return true;
        return false;
}

static void report_damage(Spool *spool, const Tier *tier, Segment *segment, uint32_t from, uint32_t to)
{
        SegmentName name;

        if (from < segment->checked)
                return;
        segment->checked = to;
        spool->damaged++;
        log_warning("spool: %s/%s, bytes %u to %u: damaged, skipped; kept in %s", tier->path,
                segment_name(name, segment->first), from, to, spool->aside.path);
        if (tier == &spool->state && spool->n_asides < DISK_ASIDES_MAX)
                spool->asides[spool->n_asides++] =
                        (DiskAside){.first = segment->first, .from = from, .to = to};
}

/* Nothing more can be had from this segment. */
static void end_segment(const Reader *reader, Segment *segment)
{
        if (segment->last == reader->last)
                return;
        segment->last = MAX(reader->last, segment->head_last);
        segment->count = reader->count;
        segment->size = MIN(reader->offset, segment->size);
}

static void cursor_enter(Cursor *cursor, const Tier *tier, const Segment *segment, uint64_t sequence)
{
        if (cursor->tier != tier || cursor->segment != segment->first) {
                closep(&cursor->fd);
                cursor->tier = tier;
                cursor->segment = segment->first;
                cursor->reader.length = 0;
        } else if (cursor->reader.last < sequence && cursor->reader.last >= segment->head_last)
                return; /* on from where it is */
        reader_seek(&cursor->reader, segment->head, segment->head_count, segment->head_last);
}

void cursor_invalidate(Spool *spool, const Tier *tier)
{
        for (size_t lane = 0; lane < SPOOL_LANES; lane++) {
                Cursor *cursor = &spool->cursors[lane];

                if (cursor->tier == tier) {
                        closep(&cursor->fd);
                        cursor->tier = NULL;
                        cursor->reader.length = 0;
                }
                for (size_t i = cursor->first_read; cursor->reads && i != cursor->next_read; i++)
                        if (cursor->reads[i % READ_MARKS].state == (tier == &spool->state))
                                cursor->reads[i % READ_MARKS].end = 0;
                if (tier == &spool->state && cursor->fetch != FETCH_NONE) {
                        /* Who waits for it hears that it is there, and asks again. */
                        cursor->fetch = cursor->resting ? FETCH_NONE : FETCH_DONE;
                        cursor->fetch_segment = 0;
                }
        }
        if (tier == &spool->state)
                spool->n_asides = 0; /* who rewrote kept them */
}

/* The rest of a segment can't be read. What is gone is gone, and what we lack ourselves will be there again;
 * but a disk may recover, so it is tried for a while, and then the file is kept. 0: go on behind it. */
static int give_up(Spool *spool, Cursor *cursor, const Tier *tier, Segment *segment, int error)
{
        bool is_gone = error == -ENODATA || error == -ENOENT;
        uint64_t now_usec = clock_monotonic_usec();
        SegmentName name;

        if (error == -EAGAIN || error == -ENOMEM || error == -EMFILE || error == -ENFILE)
                return error;
        if (!is_gone && cursor->failing_usec == 0) {
                cursor->failing_usec = now_usec;
                log_warning("spool: %s/%s can't be read beyond byte %u: %s; it is tried again for %u s",
                        tier->path, segment_name(name, segment->first), cursor->reader.offset,
                        strerror(-error), (unsigned) (spool_failing_usec / USEC_PER_SEC));
        }
        if (!is_gone && now_usec - cursor->failing_usec < spool_failing_usec)
                return error;
        cursor->failing_usec = 0;
        spool->damaged++;
        if (segment->count > cursor->reader.count)
                spool->dropped.dropped += segment->count - cursor->reader.count;
        log_warning(
                "spool: %s/%s can't be read beyond byte %u: %s; what is in it from there on is dropped%s%s",
                tier->path, segment_name(name, segment->first), cursor->reader.offset, strerror(-error),
                is_gone ? "" : "; the file goes to ", is_gone ? "" : spool->aside.path);
        segment->unreadable = !is_gone;
        end_segment(&cursor->reader, segment);
        return 0;
}

/* 1, 0 (no such record in this segment), -EAGAIN, -errno. */
static int cursor_read(
        Spool *spool, Cursor *cursor, const Tier *tier, Segment *segment, uint64_t sequence, Record *ret)
{
        Reader *reader = &cursor->reader;
        uint32_t damage = 0;
        int r;

        cursor_enter(cursor, tier, segment, sequence);
        reader->end = segment->size;
        for (;;)
                switch (reader_next(reader, ret, &damage)) {
                case READER_RECORD:
                        if (ret->sequence < sequence || spool_is_confirmed(spool, ret->sequence))
                                continue;
                        reads_push(cursor, segment->first, tier == &spool->state);
                        return 1;
                case READER_DAMAGE:
                        report_damage(spool, tier, segment, damage, reader->offset);
                        continue;
                case READER_END:
                        end_segment(reader, segment);
                        return 0;
                case READER_FILL:
                        r = tier == &spool->state ? fill_from_state(spool, cursor, segment)
                                                  : reader_fill(reader, segment->fd);
                        if (r < 0)
                                return give_up(spool, cursor, tier, segment, r);
                        cursor->failing_usec = 0;
                        continue;
                }
}

void spool_set_boundary(Spool *spool, uint64_t sequence)
{
        spool->boundary = sequence;
}

static bool ends_before(const Spool *spool, SpoolLane lane, uint64_t sequence)
{
        return lane == SPOOL_BACKLOG && spool->boundary > 0 && sequence >= spool->boundary;
}

/* Has it outlived its ttl? Then all from the start to it aren't looked at again. */
static bool skip(Spool *spool, SpoolLane lane, const Record *record, uint64_t start, uint64_t *sequence)
{
        Cursor *cursor = &spool->cursors[lane];

        if (ends_before(spool, lane, record->sequence) || !spool_expires(spool, lane, record))
                return false;
        cursor->skipped_from = start;
        cursor->skipped_to = record->sequence;
        *sequence = record->sequence + 1;
        return true;
}

int spool_read(Spool *spool, SpoolLane lane, uint64_t sequence, uint64_t *ret_sequence, Sample *ret)
{
        Tier *const tiers[] = {&spool->state, &spool->runtime};
        Cursor *cursor = &spool->cursors[lane];
        uint64_t start, begin; /* from there on nothing was found yet */

        if (spool->trimming && !spool->ready) {
                disk_wait(spool->disk, UINT64_MAX);
                spool_finish(spool);
        }
        cursor->resting = false;
        start = sequence = spool_reach(spool, MAX(sequence, UINT64_C(1)) - 1) + 1;
        if (sequence >= cursor->skipped_from && sequence <= cursor->skipped_to) {
                start = cursor->skipped_from;
                sequence = cursor->skipped_to + 1;
        }
        begin = sequence;
        if (sequence >= cursor->empty_from && sequence <= cursor->empty_to) {
                begin = cursor->empty_from;
                sequence = cursor->empty_to + 1;
        }
        for (size_t t = 0; t < ELEMENTSOF(tiers); t++) {
                Tier *tier = tiers[t];

                if (tier == &spool->runtime)
                        sequence = MAX(sequence, spool->moved + 1);
                for (size_t i = tier_find(tier, sequence); i < tier->n_segments; i++) {
                        Record record;
                        int r;

                        do {
                                /* Past what is confirmed, at best without reading it. */
                                sequence = spool_reach(spool, sequence - 1) + 1;
                                r = 0;
                                if (tier->segments[i].last < sequence)
                                        break;
                                r = cursor_read(spool, cursor, tier, &tier->segments[i], sequence, &record);
                        } while (r > 0 && skip(spool, lane, &record, start, &sequence));
                        if (r > 0 && ends_before(spool, lane, record.sequence))
                                return 0;
                        if (r > 0) {
                                *ret_sequence = record.sequence;
                                *ret = record.sample;
                        }
                        if (r != 0)
                                return r;
                        /* Else who waits for the next segment would wait for this one again. */
                        if (tier->segments[i].last >= sequence) {
                                cursor->empty_from = begin;
                                cursor->empty_to = tier->segments[i].last;
                        }
                }
        }
        if (cursor->skipped_to > 0) /* there is nothing else here that would be confirmed with them */
                spool_confirm(spool, cursor->skipped_from, cursor->skipped_to);
        return 0;
}
