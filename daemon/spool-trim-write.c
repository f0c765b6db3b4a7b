/* SPDX-License-Identifier: Apache-2.0 */

/* The file that a trim writes, and how it takes the place of those it stands for: see spool-trim.c. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "spool-trim-internal.h"

#define PENDING_MAX 65536

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

int out_put(Walk *walk, const Segment *source, const Record *record)
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

int source_remove(Walk *walk, Segment *source)
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
void out_abandon(Walk *walk)
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
int out_commit(Walk *walk)
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
