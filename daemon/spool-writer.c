/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How records get into segments of the state tier: appended in batches, synced, and only then reported as
 * written. What failed to be written or synced is cut off again and that segment gets no more records: after
 * a failed sync the kernel may take pages for clean that never reached the disk. Runs in the disk's thread.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "spool-internal.h"

#define PENDING_MAX 65536
#define FOOTER_MAX 32768

void writer_close(Writer *writer)
{
        closep(&writer->fd);
        bytes_clear(&writer->pending);
        summary_deinit(&writer->summary);
}

static void writer_abandon(Writer *writer)
{
        SegmentName name;

        if (writer->fd < 0)
                return;
        if (writer->synced.count == 0)
                unlinkat(writer->directory, segment_name(name, writer->segment.first), 0);
        else
                (void) !ftruncate(writer->fd, writer->synced.file_size);
        writer_close(writer);
}

static int writer_begin(Writer *writer, uint64_t first)
{
        SegmentName name;
        uint8_t header[SEGMENT_HEADER_SIZE];
        int fd = openat(
                writer->directory, segment_name(name, first), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        writer->fd = fd;
        writer->segment = writer->synced = segment_new(first, -1);
        writer->created = true;
        segment_header_encode(header, first);
        bytes_put(&writer->pending, header, sizeof(header));
        return 0;
}

static int writer_flush(Writer *writer)
{
        int r;

        if (writer->pending.failed) {
                bytes_deinit(&writer->pending);
                return -ENOMEM;
        }
        r = write_all(writer->fd, writer->pending.data, writer->pending.size,
                writer->segment.file_size - writer->pending.size);
        bytes_clear(&writer->pending);
        return r;
}

/* From here on, what was put is safe. */
static int writer_sync(Writer *writer, DiskJob *job)
{
        int r = writer_flush(writer);

        if (r < 0)
                return r;
        if (fdatasync(writer->fd) < 0)
                return -errno;
        if (writer->created && fsync(writer->directory) < 0)
                return -errno;
        writer->created = false;
        writer->synced = writer->segment;
        job->written[job->n_written++] = writer->synced;
        job->through = writer->synced.last;
        return 0;
}

uint32_t segment_put_footer(
        Bytes *out, const Segment *segment, const Summary *summary, uint32_t segment_size)
{
        uint32_t max = MIN(segment_size / 16, (uint32_t) FOOTER_MAX);
        size_t before = out->size;

        segment_footer_encode(out, segment->last, segment->count, summary);
        if (out->failed)
                return 0;
        if (out->size - before > max)
                out->size = before;
        return (uint32_t) (out->size - before);
}

static int writer_seal(Writer *writer, DiskJob *job)
{
        int r;

        writer->segment.file_size += segment_put_footer(
                &writer->pending, &writer->segment, &writer->summary, writer->segment_size);
        r = writer_sync(writer, job);
        if (r >= 0)
                writer_close(writer);
        return r;
}

uint32_t writer_end(Writer *writer)
{
        uint32_t size;

        if (writer->fd < 0)
                return 0;
        writer->segment.file_size += segment_put_footer(
                &writer->pending, &writer->segment, &writer->summary, writer->segment_size);
        if (writer_flush(writer) < 0 || fdatasync(writer->fd) < 0) {
                writer_abandon(writer);
                return 0;
        }
        size = writer->segment.file_size;
        writer_close(writer);
        return size;
}

/* 1: put; 0: no, the job's list of written segments is full. */
static int writer_put(Writer *writer, DiskJob *job, const Record *record)
{
        Segment *segment = &writer->segment;
        int r;

        if (writer->fd >= 0 && (segment->size + record->size > writer->segment_size ||
                                       is_far(segment->last, record->sequence))) {
                if (job->n_written + 2 > DISK_WRITTEN_MAX)
                        return 0;
                r = writer_seal(writer, job);
                if (r < 0)
                        return r;
        }
        if (writer->fd < 0) {
                r = writer_begin(writer, record->sequence);
                if (r < 0)
                        return r;
        }
        bytes_put(&writer->pending, record->data, record->size);
        r = summary_add(&writer->summary, record);
        if (r < 0)
                return r;
        segment->last = record->sequence;
        segment->count++;
        segment->size += record->size;
        segment->file_size = segment->checked = segment->size;
        if (writer->pending.size >= PENDING_MAX) {
                r = writer_flush(writer);
                if (r < 0)
                        return r;
        }
        return 1;
}

/* 1: all of it; 0: the job is full. */
static int writer_copy_source(Writer *writer, DiskJob *job, const DiskSource *source, Reader *reader)
{
        Record record;
        uint32_t damage;

        reader->length = 0;
        reader->end = source->to;
        reader_seek(reader, source->from, 0, source->after);
        for (;;) {
                int r = 1;

                switch (reader_next(reader, &record, &damage)) {
                case READER_RECORD:
                        if (record.sequence > job->skip &&
                                !ranges_covers(&job->skip_islands, record.sequence))
                                r = writer_put(writer, job, &record);
                        break;
                case READER_FILL:
                        r = reader_fill(reader, source->fd);
                        if (r == -ENOMEM)
                                return r;
                        if (r < 0) { /* somebody cut the file; what is left of it must not hold up the rest
                                      */
                                job->unreadable++;
                                return 1;
                        }
                        r = 1;
                        break;
                case READER_DAMAGE: /* has been counted when it was found */
                        break;
                case READER_END:
                        return 1;
                }
                if (r <= 0)
                        return r;
        }
}

int writer_copy(Writer *writer, DiskJob *job)
{
        Reader reader = {};
        int r = 1;

        for (size_t i = 0; i < job->n_sources && r > 0; i++)
                r = writer_copy_source(writer, job, &job->sources[i], &reader);
        reader_deinit(&reader);
        if (r >= 0 && writer->fd >= 0 && writer->segment.last > writer->synced.last) {
                int q = writer_sync(writer, job);

                r = q < 0 ? q : r;
        }
        if (r < 0) {
                writer_abandon(writer);
                return r;
        }
        if (r > 0)
                job->through = job->last;
        return 0;
}
