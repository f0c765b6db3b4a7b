/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading: one cursor, which goes through the state tier's segments and then the runtime tier's. Damage in a
 * segment that was believed by its footer shows here for the first time.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "spool-internal.h"
#include "util/log.h"

void cursor_deinit(Cursor *cursor)
{
        closep(&cursor->fd);
        reader_deinit(&cursor->reader);
}

void spool_set_ready(Spool *spool, SpoolReady ready, void *userdata)
{
        spool->ready = ready;
        spool->ready_userdata = userdata;
}

/* --- what has been read, for confirming --------------------------------------------------------------- */

static void reads_push(Spool *spool, uint64_t segment)
{
        const Reader *reader = &spool->cursor.reader;

        if (spool->next_read != spool->first_read &&
                spool->reads[(spool->next_read - 1) % READ_MARKS].sequence >= reader->last)
                spool->first_read = spool->next_read; /* reading begins anew */
        if (spool->next_read - spool->first_read == READ_MARKS)
                spool->first_read++;
        spool->reads[spool->next_read++ % READ_MARKS] = (ReadMark){
                .sequence = reader->last, .segment = segment, .end = reader->offset, .count = reader->count};
}

static bool head_set(Tier *tier, const ReadMark *mark)
{
        size_t i = tier_find(tier, mark->sequence);
        Segment *segment = i < tier->n_segments ? &tier->segments[i] : NULL;

        if (!segment || segment->first != mark->segment || segment->head_last >= mark->sequence)
                return false;
        segment->head_last = mark->sequence;
        segment->head = mark->end;
        segment->head_count = mark->count;
        return true;
}

void spool_confirm_reads(Spool *spool, uint64_t sequence)
{
        const ReadMark *mark = NULL;

        while (spool->first_read != spool->next_read &&
                spool->reads[spool->first_read % READ_MARKS].sequence <= sequence)
                mark = &spool->reads[spool->first_read++ % READ_MARKS];
        if (mark && !head_set(&spool->state, mark))
                head_set(&spool->runtime, mark);
}

/* --- cursor ------------------------------------------------------------------------------------------- */

static int fill_from_state(Spool *spool, const Segment *segment)
{
        Cursor *cursor = &spool->cursor;
        Reader *reader = &cursor->reader;
        SegmentName name;

        if (!spool->ready) {
                if (cursor->fd < 0)
                        cursor->fd = openat(spool->state.fd, segment_name(name, segment->first),
                                O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                return cursor->fd < 0 ? -errno : reader_fill(reader, cursor->fd);
        }
        if (spool->fetch == FETCH_DONE && spool->fetch_segment == segment->first &&
                spool->fetch_offset == reader->offset && spool->fetch_need >= reader->need) {
                Reader buffer = *reader;

                /* The buffers change places. */
                spool->fetch = FETCH_NONE;
                reader->buffer = spool->fetched.buffer;
                reader->capacity = spool->fetched.capacity;
                reader->base = spool->fetched.base;
                reader->length = spool->fetched.length;
                spool->fetched = (Reader){.buffer = buffer.buffer, .capacity = buffer.capacity};
                return spool->fetch_result < 0 ? spool->fetch_result : reader_has(reader) ? 0 : -ENODATA;
        }
        if (spool->fetch != FETCH_RUNNING) {
                spool->fetch = FETCH_WANTED;
                spool->fetch_segment = segment->first;
                spool->fetch_offset = reader->offset;
                spool->fetch_need = reader->need;
                spool->fetch_end = reader->end;
                spool_plan(spool);
        }
        return -EAGAIN;
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
static void end_segment(Spool *spool, Segment *segment)
{
        const Reader *reader = &spool->cursor.reader;

        if (segment->last == reader->last)
                return;
        segment->last = MAX(reader->last, segment->head_last);
        segment->count = reader->count;
        segment->size = MIN(reader->offset, segment->size);
}

static void cursor_enter(Spool *spool, const Tier *tier, const Segment *segment, uint64_t sequence)
{
        Cursor *cursor = &spool->cursor;

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
        Cursor *cursor = &spool->cursor;

        if (cursor->tier == tier) {
                closep(&cursor->fd);
                cursor->tier = NULL;
                cursor->reader.length = 0;
        }
        spool->first_read = spool->next_read;
        if (tier != &spool->state)
                return;
        spool->n_asides = 0; /* who rewrote kept them */
        if (spool->fetch != FETCH_NONE) {
                /* Who waits for it hears that it is there, and asks again. */
                spool->fetch = FETCH_DONE;
                spool->fetch_segment = 0;
        }
}

/* 1, 0 (no such record in this segment), -EAGAIN, -errno. */
static int cursor_read(Spool *spool, const Tier *tier, Segment *segment, uint64_t sequence, Record *ret)
{
        Reader *reader = &spool->cursor.reader;
        SegmentName name;
        uint32_t damage = 0;
        int r;

        cursor_enter(spool, tier, segment, sequence);
        reader->end = segment->size;
        for (;;)
                switch (reader_next(reader, ret, &damage)) {
                case READER_RECORD:
                        if (ret->sequence < sequence)
                                continue;
                        reads_push(spool, segment->first);
                        return 1;
                case READER_DAMAGE:
                        report_damage(spool, tier, segment, damage, reader->offset);
                        continue;
                case READER_END:
                        end_segment(spool, segment);
                        return 0;
                case READER_FILL:
                        r = tier == &spool->state ? fill_from_state(spool, segment)
                                                  : reader_fill(reader, segment->fd);
                        if (r == 0)
                                continue;
                        if (r != -EIO && r != -ENODATA && r != -ENOENT)
                                return r;
                        log_warning("spool: %s/%s can't be read beyond byte %u: %s", tier->path,
                                segment_name(name, segment->first), reader->offset, strerror(-r));
                        spool->damaged++;
                        end_segment(spool, segment);
                        return 0;
                }
}

/* From here to there all have outlived their ttl: they aren't looked at again, nor is what is between. */
static void skipped_note(Spool *spool, uint64_t from, uint64_t to)
{
        if (from < spool->skipped_from || from > spool->skipped_to + 1)
                spool->skipped_from = from;
        spool->skipped_to = to;
}

int spool_read(Spool *spool, uint64_t sequence, uint64_t *ret_sequence, Sample *ret)
{
        Tier *const tiers[] = {&spool->state, &spool->runtime};

        if (spool->trimming && !spool->ready) {
                disk_wait(spool->disk, UINT64_MAX);
                spool_finish(spool);
        }
        sequence = MAX(sequence, spool->confirmed + 1);
        if (sequence >= spool->skipped_from && sequence <= spool->skipped_to)
                sequence = spool->skipped_to + 1;
        for (size_t t = 0; t < ELEMENTSOF(tiers); t++) {
                Tier *tier = tiers[t];

                if (tier == &spool->runtime)
                        sequence = MAX(sequence, spool->moved + 1);
                for (size_t i = tier_find(tier, sequence); i < tier->n_segments; i++) {
                        Record record;
                        int r;

                        while ((r = cursor_read(spool, tier, &tier->segments[i], sequence, &record)) > 0 &&
                                spool_expires(spool, &record)) {
                                skipped_note(spool, sequence, record.sequence);
                                sequence = record.sequence + 1;
                        }
                        if (r > 0) {
                                *ret_sequence = record.sequence;
                                *ret = record.sample;
                        }
                        if (r != 0)
                                return r;
                }
        }
        if (spool->skipped_from <= spool->confirmed + 1 && spool->skipped_to + 1 == sequence)
                spool_confirm(spool, spool->skipped_to); /* nothing else is left */
        return 0;
}
