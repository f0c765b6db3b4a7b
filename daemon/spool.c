/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The spool as others see it: opened, appended to, confirmed, closed. Appending is one write() to a file in
 * the runtime directory, confirming another; nothing here waits for a disk once the spool is open. See
 * spool-internal.h for who does what.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define SEGMENTS_MAX 4096              /* on disk: their list stays small however large max_size is */
#define STOP_USEC (10 * USEC_PER_SEC)  /* a disk that takes longer keeps no stop waiting */
#define UNSEEN_GAP (UINT64_C(1) << 32) /* beyond a file that was left alone */

/* --- how far all is confirmed ---------------------------------------------------------------------------
 */

#define POSITION_SIZE 20

static void position_encode(uint8_t out[static POSITION_SIZE], uint64_t confirmed)
{
        static const uint8_t magic[8] = {'P', 'L', 'U', 'G', 'D', 'P', 'O', 'S'};
        uint32_t crc;

        memcpy(out, magic, sizeof(magic));
        for (unsigned i = 0; i < 8; i++)
                out[8 + i] = (uint8_t) (confirmed >> (8 * i));
        crc = crc32c(0, out, 16);
        for (unsigned i = 0; i < 4; i++)
                out[16 + i] = (uint8_t) (crc >> (8 * i));
}

static void position_open(Spool *spool)
{
        uint8_t data[POSITION_SIZE], again[POSITION_SIZE];
        uint64_t confirmed = 0;
        ssize_t n;

        spool->position_fd = openat(spool->runtime.fd, POSITION_NAME,
                O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (spool->position_fd < 0)
                return;
        n = pread(spool->position_fd, data, sizeof(data), 0);
        if (n <= 0)
                return;
        for (unsigned i = 0; i < 8; i++)
                confirmed |= (uint64_t) data[8 + i] << (8 * i);
        position_encode(again, confirmed);
        if (n == sizeof(data) && memcmp(data, again, sizeof(data)) == 0 && confirmed <= SEQUENCE_MAX)
                spool->confirmed = confirmed;
        else
                log_warning("spool: %s/%s is damaged: what was confirmed lately is sent once more",
                        spool->runtime.path, POSITION_NAME);
}

void spool_confirm(Spool *spool, uint64_t sequence)
{
        uint8_t data[POSITION_SIZE];

        sequence = MIN(sequence, spool->next - 1);
        if (sequence <= spool->confirmed)
                return;
        spool->confirmed = sequence;
        if (spool->position_fd >= 0) {
                position_encode(data, sequence);
                /* Lost, it costs repeats after a crash, and those are harmless. */
                (void) !pwrite(spool->position_fd, data, sizeof(data), 0);
        }
        spool_confirm_reads(spool, sequence);
        spool_forget(spool);
        if (spool->n_remove > 0)
                spool_plan(spool);
}

/* --- appending ---------------------------------------------------------------------------------------- */

static Segment *active_segment(Spool *spool)
{
        return spool->runtime.n_segments > 0 ? &spool->runtime.segments[spool->runtime.n_segments - 1]
                                             : NULL;
}

static int segment_file_new(Spool *spool, SegmentName name, const uint8_t *header)
{
        _cleanup_(closep) int fd = -1;
        int r;

        if (spool->runtime.fd < 0)
                return -ENOENT;
        fd = openat(spool->runtime.fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, header, SEGMENT_HEADER_SIZE, 0);
        if (r < 0) {
                unlinkat(spool->runtime.fd, name, 0);
                return r;
        }
        return take_fd(&fd);
}

/* Memory of our own, which does not survive us. */
static int segment_anonymous_new(const uint8_t *header)
{
        _cleanup_(closep) int fd = memfd_create("plugd-spool", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, header, SEGMENT_HEADER_SIZE, 0);
        return r < 0 ? r : take_fd(&fd);
}

static int begin_segment(Spool *spool, bool anonymous)
{
        uint8_t header[SEGMENT_HEADER_SIZE];
        SegmentName name;
        Segment segment;
        int fd = -1, r;

        segment_header_encode(header, spool->next);
        segment_name(name, spool->next);
        if (!anonymous) {
                fd = segment_file_new(spool, name, header);
                anonymous = fd < 0;
                if (spool->runtime.fd >= 0)
                        spool_set_runtime_trouble(spool, MIN(fd, 0));
        }
        if (anonymous) {
                fd = segment_anonymous_new(header);
                if (fd < 0)
                        return fd;
        }
        segment = segment_new(spool->next, fd);
        segment.anonymous = anonymous;
        r = tier_add(&spool->runtime, &segment);
        if (r < 0) {
                close(fd);
                if (!anonymous)
                        unlinkat(spool->runtime.fd, name, 0);
        }
        return r;
}

static int make_room(Spool *spool, uint32_t size)
{
        if (spool->runtime.bytes + size > spool->limits.memory) {
                /* What the disk has done may be all it takes; the loop hears of it later. */
                spool_finish(spool);
                spool_plan(spool);
        }
        while (spool->runtime.bytes + size > spool->limits.memory)
                if (!spool_evict_runtime(spool)) {
                        /* At least one record fits, however large. */
                        if (spool->runtime.n_segments <= 1)
                                return 0;
                        return -ENOSPC;
                }
        return 0;
}

/* Puts the record in scratch into the active segment. */
static int put_record(Spool *spool, uint32_t size)
{
        Segment *segment;
        int r = make_room(spool, size);

        if (r < 0)
                return r;
        segment = active_segment(spool);
        if (!segment || (segment->count > 0 && segment->size + size > spool->runtime_segment_size)) {
                r = begin_segment(spool, false);
                if (r < 0)
                        return r;
                spool_forget(spool); /* the one before may have been waiting for nothing else */
                segment = active_segment(spool);
        }
        r = write_all(segment->fd, spool->scratch, size, segment->size);
        if (r < 0 && !segment->anonymous) {
                spool_set_runtime_trouble(spool, r);
                if (segment->count == 0)
                        spool_drop_runtime(spool, spool->runtime.n_segments - 1);
                r = begin_segment(spool, true);
                if (r < 0)
                        return r;
                segment = active_segment(spool);
                r = write_all(segment->fd, spool->scratch, size, segment->size);
        }
        if (r < 0)
                return r;

        segment->last = spool->next;
        segment->count++;
        segment->size += size;
        spool->runtime.bytes += tier_blocks(segment->size) - tier_blocks(segment->file_size);
        segment->file_size = segment->checked = segment->size;
        return 0;
}

int spool_append(Spool *spool, const Sample *sample, uint64_t *ret_sequence)
{
        int r = record_encode(spool->scratch, spool->next, sample);

        if (r >= 0)
                r = put_record(spool, (uint32_t) r);
        if (r < 0) {
                spool->dropped++;
                return r;
        }
        *ret_sequence = spool->next++;
        spool_age(spool);
        return 0;
}

/* --- opening ------------------------------------------------------------------------------------------ */

void spool_take_recovery(Spool *spool, Recovery *recovery)
{
        Writer *writer = disk_writer(spool->disk);
        Tier *state = &spool->state;

        spool->damaged += recovery->damaged;
        for (size_t i = 0; spool->note && i < recovery->times.capacity; i++)
                if (recovery->times.slots[i].channel)
                        spool->note(recovery->times.slots[i].channel, recovery->times.slots[i].at_msec,
                                spool->note_userdata);
        if (recovery->alone > 0)
                spool->next = MAX(spool->next, recovery->alone + UNSEEN_GAP);

        if (writer->directory < 0 && state->fd >= 0)
                writer->directory = fcntl(state->fd, F_DUPFD_CLOEXEC, 3);
        if (recovery->tail_fd >= 0 && recovery->tail.file_size < spool->state_segment_size) {
                writer->fd = take_fd(&recovery->tail_fd);
                writer->segment = writer->synced = recovery->tail;
                writer->times = recovery->tail_times;
                recovery->tail_times = (ChannelTimes){};
        }
}

static int recover_tiers(Spool *spool)
{
        _cleanup_(recovery_deinit) Recovery state = RECOVERY_INIT(&spool->aside, 0),
                                            runtime = RECOVERY_INIT(&spool->aside, 0);
        Tier *tier = &spool->state;
        int r;

        if (spool->runtime.fd >= 0)
                position_open(spool);
        if (tier->fd >= 0) {
                state.floor = spool->confirmed;
                r = tier_recover(tier, false, &state);
                if (r < 0)
                        return r;
                /* It may have been written a moment before a crash, and not synced. */
                if (state.tail_fd >= 0) {
                        (void) !fdatasync(state.tail_fd);
                        (void) !fsync(tier->fd);
                }
                if (tier->n_segments > 0)
                        spool->moved = tier->segments[tier->n_segments - 1].last;
        }
        if (spool->runtime.fd >= 0) {
                runtime.floor = spool_floor(spool);
                r = tier_recover(&spool->runtime, true, &runtime);
                if (r < 0)
                        return r;
        }

        spool->next = spool_floor(spool) + 1;
        if (spool->runtime.n_segments > 0)
                spool->next = MAX(spool->next, active_segment(spool)->last + 1);
        if (tier->fd < 0) /* what may be in there has lower numbers */
                spool->base = spool->next = MAX(spool->next, clock_realtime_usec());
        spool_take_recovery(spool, &state);
        spool_take_recovery(spool, &runtime);
        return 0;
}

static void check_memory(Spool *spool)
{
        struct statfs status;

        if (spool->runtime.fd < 0 || fstatfs(spool->runtime.fd, &status) < 0)
                return;
        spool->volatile_memory = status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
        if (!spool->volatile_memory)
                log_notice("spool: %s isn't in memory but on a disk, which so has to take every message",
                        spool->runtime.path);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Spool *spool = userdata;

        (void) source;
        (void) usec;
        spool->armed_usec = UINT64_MAX;
        spool_plan(spool);
        return 0;
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Spool *spool = userdata;
        uint64_t ignored;

        (void) source;
        (void) events;
        (void) !read(fd, &ignored, sizeof(ignored));
        spool_finish(spool);
        spool_plan(spool);
        if (spool->fetch == FETCH_DONE && spool->ready)
                spool->ready(spool->ready_userdata);
        return 0;
}

static int add_sources(Spool *spool, sd_event *event)
{
        int r = sd_event_add_time(event, &spool->timer, CLOCK_MONOTONIC, 0,
                MIN(spool->limits.sync_usec / 16, UINT64_C(250000)), on_timer, spool);

        if (r < 0)
                return r;
        sd_event_source_set_enabled(spool->timer, SD_EVENT_OFF);
        return sd_event_add_io(event, &spool->done, disk_fd(spool->disk), EPOLLIN, on_done, spool);
}

static int open_tiers(Spool *spool, const char *runtime_directory, char **ret_error)
{
        _cleanup_(freep) char *state_error = NULL, *runtime_error = NULL;
        int state, runtime;

        state = tier_open(&spool->state, spool->state_directory, &state_error);
        if (state != -EBUSY) {
                runtime = tier_open(&spool->runtime, runtime_directory, &runtime_error);
                if (runtime >= 0 || (runtime != -EBUSY && state >= 0))
                        goto usable;
                if (runtime == -EBUSY)
                        text_set(ret_error, "%s", runtime_error);
                else
                        text_set(ret_error,
                                "%s; and %s: messages can't be kept anywhere. Make one of them writable",
                                state_error, runtime_error);
                return runtime;
        }
        text_set(ret_error, "%s", state_error);
        return state;

usable:
        if (runtime < 0) {
                spool->runtime.path = text_printf("%s/spool", runtime_directory);
                spool_set_runtime_trouble(spool, runtime);
        }
        if (state < 0)
                spool_set_trouble(spool, state, state_error ? state_error : strerror(-state));
        else if (faccessat(spool->state.fd, ".", W_OK, AT_EACCESS) < 0) {
                int error = errno;

                text_set(&state_error, "Can't write to %s: %s", spool->state.path, strerror(error));
                spool_set_trouble(spool, -error, state_error ? state_error : strerror(error));
        }
        return 0;
}

int spool_new(Spool **ret, sd_event *event, const char *state_directory, const char *runtime_directory,
        const SpoolLimits *limits, SpoolNote note, void *userdata, char **ret_error)
{
        _cleanup_(spool_freep) Spool *spool = calloc(1, sizeof(*spool));
        SpoolStats stats;
        int r;

        if (!spool)
                return -ENOMEM;
        spool->limits = *limits;
        spool->note = note;
        spool->note_userdata = userdata;
        spool->runtime = spool->state = TIER_INIT;
        spool->position_fd = spool->cursor.fd = -1;
        spool->armed_usec = UINT64_MAX;
        spool->next = 1;
        spool->runtime_segment_size = (uint32_t) MIN(limits->memory / 16, 16 * MIB);
        spool->state_segment_size = (uint32_t) MAX(
                MIN(MAX(limits->max_size / 16, 64 * KIB), 4 * MIB), limits->max_size / SEGMENTS_MAX);
        spool->aside.limit = MIN(limits->max_size / 16, MIB);
        spool->aside.path = text_printf("%s/damaged", state_directory);
        spool->state_directory = strdup(state_directory);
        spool->scratch = malloc(RECORD_MAX);
        spool->reads = calloc(READ_MARKS, sizeof(*spool->reads));
        if (!spool->aside.path || !spool->state_directory || !spool->scratch || !spool->reads)
                return -ENOMEM;
        r = disk_new(&spool->disk, state_directory, spool->state_segment_size, &spool->aside);
        if (r < 0)
                return r;

        r = open_tiers(spool, runtime_directory, ret_error);
        if (r < 0)
                return r;
        r = recover_tiers(spool);
        if (r < 0)
                goto fail;
        check_memory(spool);
        r = add_sources(spool, event);
        if (r < 0)
                goto fail;
        spool_get_stats(spool, &stats);
        if (stats.messages > 0)
                log_info("spool: %" PRIu64 " messages are waiting to be sent", stats.messages);
        spool_plan(spool);
        *ret = TAKE_PTR(spool);
        return 0;

fail:
        text_set(ret_error, "Can't open the spool in %s and %s: %s", spool->state_directory,
                runtime_directory, strerror(-r));
        return r;
}

/* --- closing ------------------------------------------------------------------------------------------ */

static void stop(Spool *spool)
{
        uint64_t deadline = clock_monotonic_usec() + STOP_USEC;
        uint64_t messages = 0, bytes, lost = 0;
        int r = 0;

        spool->stopping = true;
        do {
                disk_wait(spool->disk, deadline);
                r = spool_finish(spool);
                if (r >= 0)
                        spool_plan(spool);
        } while (r >= 0 && !disk_job(spool->disk) && clock_monotonic_usec() < deadline);

        for (size_t i = 0; i < spool->runtime.n_segments; i++) {
                const Segment *segment = &spool->runtime.segments[i];

                segment_living(segment, spool_floor(spool), &messages, &bytes);
                lost += segment->anonymous ? messages : 0;
        }
        if (lost > 0)
                log_error("spool: %" PRIu64 " messages are lost: neither %s nor %s could be written", lost,
                        spool->state.path ? spool->state.path : spool->state_directory, spool->runtime.path);
        if (spool->evicting)
                log_notice(
                        "spool: %" PRIu64 " messages were dropped", spool->dropped - spool->evicting_since);
        if (spool->runtime.n_segments > 0 && active_segment(spool)->last <= spool_floor(spool) &&
                disk_job(spool->disk))
                spool_drop_runtime(spool, spool->runtime.n_segments - 1);
}

Spool *spool_free(Spool *spool)
{
        if (!spool)
                return NULL;
        sd_event_source_disable_unref(spool->done);
        if (spool->timer)
                stop(spool);
        sd_event_source_disable_unref(spool->timer);
        disk_free(spool->disk);
        tier_deinit(&spool->state);
        tier_deinit(&spool->runtime);
        closep(&spool->position_fd);
        cursor_deinit(&spool->cursor);
        reader_deinit(&spool->fetched);
        free(spool->reads);
        free(spool->scratch);
        free(spool->remove);
        free(spool->state_directory);
        free(spool->aside.path);
        free(spool->trouble);
        free(spool->runtime_trouble);
        free(spool);
        return NULL;
}

void spool_get_stats(const Spool *spool, SpoolStats *ret)
{
        uint64_t messages, bytes;
        SpoolStats stats = {
                .dropped = spool->dropped,
                .damaged = spool->damaged,
                .trouble = spool->trouble           ? spool->trouble
                           : spool->runtime_trouble ? spool->runtime_trouble
                                                    : "",
                .volatile_memory = spool->volatile_memory,
        };

        for (size_t i = 0; i < spool->state.n_segments; i++) {
                segment_living(&spool->state.segments[i], spool->confirmed, &messages, &bytes);
                stats.messages += messages;
                stats.bytes += bytes;
        }
        for (size_t i = 0; i < spool->runtime.n_segments; i++) {
                segment_living(&spool->runtime.segments[i], spool_floor(spool), &messages, &bytes);
                stats.messages += messages;
                stats.bytes += bytes;
        }
        *ret = stats;
}
