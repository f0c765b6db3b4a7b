/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where young records go: into the runtime directory, which is memory. While that takes none, into a spare
 * folder in the state directory, written but not synced by the loop itself: it costs the disk, and survives
 * kill -9 as well. While neither takes any, into memory of our own, which doesn't, and the caller hears of
 * it. The runtime directory is tried again at each new segment, and in between with backoff.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

/* --- trouble ------------------------------------------------------------------------------------------ */

static const char *reason(int error)
{
        return error == -ENOTEMPTY ? "it has messages that could not be seen when plugd started; restart it"
                                   : strerror(-error);
}

void spool_set_young_trouble(Spool *spool, Place place, int runtime_error, int spare_error)
{
        bool worse = !spool->runtime_trouble || place > spool->said_place;

        spool->young_place = place;
        switch (place) {
        case PLACE_RUNTIME:
                text_set(&spool->runtime_trouble,
                        "%s is nearly full, and %s/" SPARE_NAME
                        " can't be written: %s. Make room in one of them: until then messages may soon be "
                        "lost in a crash",
                        spool->runtime.path, spool->state_directory, reason(spare_error));
                break;
        case PLACE_SPARE:
                text_set(&spool->runtime_trouble,
                        "Can't write to %s: %s. Nothing is lost: messages are kept in %s/" SPARE_NAME
                        ", which the disk has to take, until there is room and it can be written; it is "
                        "tried again",
                        spool->runtime.path, reason(runtime_error), spool->state_directory);
                break;
        case PLACE_MEMORY:
                text_set(&spool->runtime_trouble,
                        "Can't write to %s: %s; nor to %s/" SPARE_NAME
                        ": %s. New messages are in memory only, and a crash loses them: make room in one of "
                        "the two, or make it writable; both are tried again",
                        spool->runtime.path, reason(runtime_error), spool->state_directory,
                        reason(spare_error));
                break;
        }
        if (worse) {
                spool->said_place = place;
                log_warning("spool: %s",
                        spool->runtime_trouble ? spool->runtime_trouble : reason(runtime_error));
        }
}

static void clear_young_trouble(Spool *spool)
{
        backoff_reset(&spool->young_backoff);
        spool->young_retry_usec = 0;
        if (!spool->runtime_trouble)
                return;
        free(TAKE_PTR(spool->runtime_trouble));
        log_notice("spool: %s can be written again", spool->runtime.path);
}

/* --- folders ------------------------------------------------------------------------------------------ */

/* Opens it late, or anew after it was removed. What may be in it has been seen by no recovery, so there has
 * to be nothing. */
static int folder_reopen(Tier *tier, const char *directory, const char *name)
{
        _cleanup_(tier_deinit) Tier opened = TIER_INIT;
        _cleanup_(freep) char *error = NULL;
        int r;

        closep(&tier->fd);
        r = tier_open(&opened, directory, name, &error);
        if (r >= 0)
                r = tier_is_empty(&opened);
        if (r < 0)
                return r;
        free(tier->path);
        tier->path = TAKE_PTR(opened.path);
        tier->fd = take_fd(&opened.fd);
        return 0;
}

static int runtime_reopen(Spool *spool)
{
        int r = folder_reopen(&spool->runtime, spool->runtime_directory, TIER_NAME);

        if (r < 0)
                return r;
        closep(&spool->position_fd);
        spool->position_fd = position_open(&spool->runtime, true);
        spool_check_memory(spool);
        return 0;
}

static int spare_reopen(Spool *spool)
{
        closep(&spool->spare_position_fd);
        return folder_reopen(&spool->spare, spool->state_directory, SPARE_NAME);
}

/* Is there room for a segment, or is it only its last pages that are free? */
static bool runtime_has_room(const Spool *spool)
{
        struct statvfs status;
        uint64_t room, all;

        if (spool->runtime.fd < 0 || fstatvfs(spool->runtime.fd, &status) < 0)
                return true; /* writing will tell */
        room = (uint64_t) status.f_bavail * status.f_frsize;
        all = (uint64_t) status.f_blocks * status.f_frsize; /* 0: without limit */
        return room >= MIN((uint64_t) spool->runtime_segment_size, all / 4);
}

/* --- what is confirmed --------------------------------------------------------------------------------- */

int position_open(const Tier *tier, bool create)
{
        int fd = openat(tier->fd, POSITION_NAME,
                O_RDWR | (create ? O_CREAT : 0) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

        return fd < 0 ? -1 : fd;
}

static bool position_write(int fd, const uint8_t *data, size_t size)
{
        return fd >= 0 && pwrite(fd, data, size, 0) == (ssize_t) size;
}

void position_save(Spool *spool)
{
        uint8_t data[POSITION_MAX];
        size_t size;

        if (spool->frozen)
                return;
        size = position_encode(data, spool->confirmed, &spool->islands);
        if (position_write(spool->position_fd, data, size) || spool->state.fd < 0)
                return;
        if (spool->spare.fd < 0 && spare_reopen(spool) < 0)
                return;
        if (spool->spare_position_fd < 0)
                spool->spare_position_fd = position_open(&spool->spare, true);
        /* Lost, it costs repeats after a crash, and those are harmless. */
        (void) position_write(spool->spare_position_fd, data, size);
}

/* --- segments ----------------------------------------------------------------------------------------- */

static Segment *active_segment(Spool *spool)
{
        return spool->runtime.n_segments > 0 ? &spool->runtime.segments[spool->runtime.n_segments - 1]
                                             : NULL;
}

void spool_drop_runtime(Spool *spool, size_t index)
{
        const Segment *segment = &spool->runtime.segments[index];
        SegmentName name;
        int folder = segment->place == PLACE_RUNTIME ? spool->runtime.fd : spool->spare.fd;

        if (segment->place != PLACE_MEMORY && unlinkat(folder, segment_name(name, segment->first), 0) < 0 &&
                errno != ENOENT)
                spool->runtime.apart = true;
        tier_remove(&spool->runtime, index);
}

/* A file that somebody removed is as good as memory of our own. */
static void notice_removed(Spool *spool)
{
        const Segment *active = active_segment(spool);
        struct stat status;

        if (!active || active->place == PLACE_MEMORY || fstat(active->fd, &status) < 0 ||
                status.st_nlink > 0)
                return;
        log_warning("spool: segment files were removed from %s by somebody else: what is in them goes to %s "
                    "now",
                active->place == PLACE_RUNTIME ? spool->runtime.path : spool->spare.path,
                spool->state_directory);
        for (size_t i = 0; i < spool->runtime.n_segments; i++) {
                Segment *segment = &spool->runtime.segments[i];

                if (fstat(segment->fd, &status) == 0 && status.st_nlink == 0)
                        segment->place = PLACE_MEMORY;
        }
        spool->exposed = true;
}

static int segment_file_new(Spool *spool, Place place, const char *name)
{
        Tier *tier = place == PLACE_RUNTIME ? &spool->runtime : &spool->spare;
        int r, fd;

        if (place == PLACE_SPARE && spool->state.fd < 0)
                return spool->trouble_error < 0 ? spool->trouble_error : -ENOENT;
        for (unsigned i = 0; i < 2; i++) {
                if (tier->fd < 0) {
                        r = place == PLACE_RUNTIME ? runtime_reopen(spool) : spare_reopen(spool);
                        if (r < 0)
                                return r;
                }
                fd = openat(tier->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd >= 0)
                        return fd;
                r = -errno;
                if (r != -ENOENT)
                        return r;
                closep(&tier->fd); /* the folder was removed */
        }
        return r;
}

static int begin_segment(Spool *spool, Place place)
{
        _cleanup_(closep) int fd = -1;
        uint8_t header[SEGMENT_HEADER_SIZE];
        SegmentName name;
        Segment segment;
        int r;

        segment_name(name, spool->next);
        if (place == PLACE_MEMORY) {
                fd = memfd_create("plugd-spool", MFD_CLOEXEC);
                if (fd < 0)
                        return -errno;
        } else {
                fd = segment_file_new(spool, place, name);
                if (fd < 0)
                        return fd;
        }
        segment = segment_new(spool->next, fd);
        segment.place = place;
        segment_header_encode(header, spool->next);
        r = write_all(fd, header, SEGMENT_HEADER_SIZE, 0);
        if (r >= 0)
                r = tier_add(&spool->runtime, &segment);
        if (r >= 0)
                take_fd(&fd);
        else if (place != PLACE_MEMORY)
                unlinkat(place == PLACE_RUNTIME ? spool->runtime.fd : spool->spare.fd, name, 0);
        return r;
}

static int write_record(Spool *spool, uint32_t size)
{
        Segment *segment = active_segment(spool);
        int r = write_all(segment->fd, spool->scratch, size, segment->size);

        if (r < 0) {
                (void) !ftruncate(segment->fd, segment->size); /* no torn tail for the next start to find */
                return r;
        }
        segment->last = spool->next;
        segment->count++;
        segment->size += size;
        spool->runtime.bytes += tier_blocks(segment->size) - tier_blocks(segment->file_size);
        segment->file_size = segment->checked = segment->size;
        if (segment->place == PLACE_MEMORY)
                spool->exposed = true;
        return segment->place == PLACE_MEMORY;
}

static bool segment_has_room(const Spool *spool, const Segment *segment, uint32_t size)
{
        return segment->last + 1 == spool->next &&
               (segment->count == 0 || segment->size + size <= spool->runtime_segment_size);
}

/* Is this the segment to go on with, or is there perhaps a better place by now? */
static bool segment_serves(const Spool *spool, const Segment *segment, uint32_t size, bool safe)
{
        if (!segment_has_room(spool, segment, size))
                return false;
        if (segment->place == PLACE_MEMORY && safe)
                return false;
        if (!spool->runtime_trouble)
                return segment->place == PLACE_RUNTIME;
        return clock_monotonic_usec() < spool->young_retry_usec;
}

/* In a new segment, or going on in the active one if it is there already (unless it has just failed). */
static int put_in_place(Spool *spool, Place place, uint32_t size, bool active_failed)
{
        const Segment *active = active_segment(spool);
        int r;

        if (active && !active_failed && active->place == place && segment_has_room(spool, active, size))
                return write_record(spool, size);
        r = begin_segment(spool, place);
        if (r < 0)
                return r;
        r = write_record(spool, size);
        if (r < 0)
                spool_drop_runtime(spool, spool->runtime.n_segments - 1);
        else
                spool_forget(spool); /* the one before may have been waiting for nothing else */
        return r;
}

int young_put(Spool *spool, uint32_t size, bool safe)
{
        Place order[] = {PLACE_RUNTIME, PLACE_SPARE, PLACE_MEMORY};
        int errors[ELEMENTSOF(order)] = {-ENOSPC, -ENOSPC, 0}, r = 0;
        bool trouble = spool->runtime_trouble, failed = false, is_short;
        uint64_t now;
        size_t i;

        notice_removed(spool);
        if (active_segment(spool) && segment_serves(spool, active_segment(spool), size, safe)) {
                r = write_record(spool, size);
                if (r >= 0)
                        return r;
                trouble = failed = true;
        }

        is_short = trouble && !runtime_has_room(spool);
        if (is_short) {
                order[0] = PLACE_SPARE;
                order[1] = PLACE_RUNTIME;
        }
        for (i = 0; i < (safe ? 2 : ELEMENTSOF(order)); i++) {
                r = put_in_place(spool, order[i], size, failed);
                if (r >= 0)
                        break;
                errors[order[i]] = r;
        }
        if (r >= 0 && order[i] == PLACE_RUNTIME && !is_short) {
                clear_young_trouble(spool);
                return r;
        }
        now = clock_monotonic_usec();
        if (now >= spool->young_retry_usec)
                spool->young_retry_usec = now + backoff_next(&spool->young_backoff);
        spool_set_young_trouble(
                spool, r >= 0 ? order[i] : PLACE_MEMORY, errors[PLACE_RUNTIME], errors[PLACE_SPARE]);
        return r < 0 && safe ? errors[PLACE_SPARE] : r;
}
