/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opening the spool: both tiers, what is in them, how far it was confirmed, and how the two fit together.
 * May block: the event loop does not run yet.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/crc32c.h"
#include "util/log.h"
#include "util/text.h"

/* --- what is confirmed --------------------------------------------------------------------------------- */

/*
 * The position file: a magic that ends with its version, the number up to which all is confirmed, how many
 * islands there are behind it, their first and last numbers, CRC-32C of all that. Version 1 ("POS") has no
 * islands, and no number of them. What is behind the CRC is left from when there were more.
 */
static const uint8_t position_magic[8] = {'P', 'L', 'U', 'G', 'D', 'P', 'O', '2'};
static const uint8_t position_magic_1[8] = {'P', 'L', 'U', 'G', 'D', 'P', 'O', 'S'};

static uint8_t *put_number(uint8_t *out, uint64_t number, unsigned size)
{
        for (unsigned i = 0; i < size; i++)
                *out++ = (uint8_t) (number >> (8 * i));
        return out;
}

size_t position_encode(uint8_t out[static POSITION_MAX], uint64_t confirmed, const Ranges *islands)
{
        uint8_t *p = out + sizeof(position_magic);

        memcpy(out, position_magic, sizeof(position_magic));
        p = put_number(p, confirmed, 8);
        p = put_number(p, islands->n, 4);
        for (size_t i = 0; i < islands->n; i++) {
                p = put_number(p, islands->items[i].first, 8);
                p = put_number(p, islands->items[i].last, 8);
        }
        p = put_number(p, crc32c(0, out, (size_t) (p - out)), 4);
        return (size_t) (p - out);
}

/* False: it isn't whole. */
static bool position_decode(const uint8_t *data, size_t size, uint64_t *ret_confirmed, Ranges *ret_islands)
{
        BytesReader reader = {.data = data, .size = size};
        const uint8_t *magic = bytes_get(&reader, sizeof(position_magic));
        uint64_t last = bytes_get_u64(&reader);
        bool first_version = magic && memcmp(magic, position_magic_1, sizeof(position_magic_1)) == 0;
        uint32_t n = first_version ? 0 : bytes_get_u32(&reader);

        if (!magic || (!first_version && memcmp(magic, position_magic, sizeof(position_magic)) != 0) ||
                n > RANGES_MAX || last > SEQUENCE_MAX / 2)
                return false;
        *ret_confirmed = last;
        *ret_islands = (Ranges){};
        for (uint32_t i = 0; i < n; i++) {
                Range range = {.first = bytes_get_u64(&reader)};

                range.last = bytes_get_u64(&reader);
                if (range.first <= last || range.last < range.first || range.last > SEQUENCE_MAX / 2)
                        return false;
                last = range.last;
                ret_islands->items[ret_islands->n++] = range;
        }
        size -= reader.size;
        return !reader.failed && bytes_get_u32(&reader) == crc32c(0, data, size) && !reader.failed;
}

static void position_read(Spool *spool, const Tier *tier, int fd)
{
        uint8_t data[POSITION_MAX];
        uint64_t confirmed;
        Ranges islands;
        ssize_t n = fd >= 0 ? pread(fd, data, sizeof(data), 0) : 0;

        if (n <= 0)
                return;
        if (position_decode(data, (size_t) n, &confirmed, &islands)) {
                spool_set_confirmed(spool, 1, confirmed);
                for (size_t i = 0; i < islands.n; i++)
                        spool_set_confirmed(spool, islands.items[i].first, islands.items[i].last);
        } else
                log_warning("spool: %s/%s is damaged: what was confirmed lately is sent once more",
                        tier->path, POSITION_NAME);
}

/* --- the two tiers ------------------------------------------------------------------------------------ */

static void note_found(Spool *spool, Summary *summary)
{
        for (size_t i = 0; spool->note && i < summary->capacity; i++) {
                const SummaryEntry *entry = &summary->slots[i];

                if (entry->sensor && entry->at_msec > 0)
                        spool->note(&(SpoolNoted){.sensor = entry->sensor,
                                            .channel = entry->channel,
                                            .at_msec = entry->at_msec,
                                            .messages = entry->messages - entry->timeless},
                                spool->note_userdata);
        }
        summary_sort_boots(summary);
        for (size_t i = 0; spool->note && i < summary->n_boots; i++)
                spool->note(&(SpoolNoted){.sensor = "",
                                    .channel = "",
                                    .at_msec = summary->boots[i].at_msec,
                                    .boot = summary->boots[i].boot,
                                    .messages = summary->boots[i].messages},
                        spool->note_userdata);
}

void spool_take_recovery(Spool *spool, Recovery *recovery)
{
        Writer *writer = disk_writer(spool->disk);
        Tier *state = &spool->state;

        spool->damaged += recovery->damaged;
        note_found(spool, &recovery->summary);
        if (recovery->alone > 0)
                spool->next = MAX(spool->next, recovery->alone + NUMBERS_GAP);

        if (writer->directory < 0 && state->fd >= 0)
                writer->directory = fcntl(state->fd, F_DUPFD_CLOEXEC, 3);
        if (recovery->tail_fd >= 0 && recovery->tail.file_size < spool->state_segment_size) {
                writer->fd = take_fd(&recovery->tail_fd);
                writer->segment = writer->synced = recovery->tail;
                writer->summary = recovery->tail_summary;
                recovery->tail_summary = (Summary){};
        }
}

void spool_add_strays(Spool *spool, uint64_t messages)
{
        if (messages == 0)
                return;
        spool->strays += messages;
        text_set(&spool->strays_trouble,
                "%s was not there when plugd started, and has %" PRIu64
                " older messages: they are sent after the next start",
                spool->state.path, spool->strays);
        log_warning("spool: %s", spool->strays_trouble ? spool->strays_trouble : spool->state.path);
}

/* What is in both tiers needs no copy in memory. Beyond that, all in the state tier has to be older than
 * what is only in memory; where it isn't, an earlier run did not see the state directory, and its numbers
 * are far away. Where they are near, those in between have been evicted there. */
static void match_tiers(Spool *spool)
{
        Tier *state = &spool->state;

        for (size_t i = 0; i < spool->runtime.n_segments; i++) {
                const Segment *segment = &spool->runtime.segments[i];
                uint64_t alone = spool_reach(spool, segment->head_last) + 1;
                size_t k;

                /* What was confirmed was not copied. */
                while (k = tier_find(state, alone),
                        k < state->n_segments && !is_far(alone, state->segments[k].first))
                        alone = spool_reach(spool, state->segments[k].last) + 1;
                if (alone > segment->last)
                        continue;
                spool_add_strays(spool, tier_stray(state, k));
                break;
        }
        if (state->n_segments > 0)
                spool->moved = state->segments[state->n_segments - 1].last;
}

static int compare_segments(const void *a, const void *b)
{
        const Segment *x = a, *y = b;

        return x->first < y->first ? -1 : x->first > y->first;
}

/* What was young when an earlier run ended, in order, wherever it lies. */
static int recover_young(Spool *spool, Recovery *runtime, Recovery *spare)
{
        int r = 0;

        if (spool->runtime.fd >= 0)
                r = tier_recover(&spool->runtime, true, runtime);
        if (r >= 0 && spool->spare.fd >= 0)
                r = tier_recover(&spool->spare, true, spare);
        if (r < 0)
                return r;
        for (size_t i = 0; i < spool->spare.n_segments; i++) {
                Segment *segment = &spool->spare.segments[i];

                segment->place = PLACE_SPARE;
                r = tier_add(&spool->runtime, segment);
                if (r < 0)
                        return r;
                segment->fd = -1;
        }
        tier_stray(&spool->spare, 0);
        if (spool->runtime.n_segments > 0)
                qsort(spool->runtime.segments, spool->runtime.n_segments, sizeof(Segment), compare_segments);
        return 0;
}

/* What is in a state directory that can't be seen has other numbers: as far as anybody can tell, and so that
 * there are numbers for 200,000 such starts. */
static uint64_t random_number(void)
{
        uint64_t random;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
                random = clock_realtime_usec() * UINT64_C(0x9e3779b97f4a7c15);
        return random >> 20;
}

static int recover_tiers(Spool *spool)
{
        _cleanup_(recovery_deinit) Recovery state = RECOVERY_INIT(&spool->aside, 0),
                                            runtime = RECOVERY_INIT(&spool->aside, 0),
                                            spare = RECOVERY_INIT(&spool->aside, 0);
        Tier *tier = &spool->state;
        bool unseen = spool->runtime.fd < 0;
        uint64_t known;
        int r;

        if (tier->fd >= 0 && tier_open_spare(&spool->spare, spool->state_directory) < 0)
                unseen = true;
        spool->position_fd = position_open(&spool->runtime, true);
        spool->spare_position_fd = position_open(&spool->spare, false);
        position_read(spool, &spool->runtime, spool->position_fd);
        position_read(spool, &spool->spare, spool->spare_position_fd);
        state.floor = runtime.floor = spare.floor = spool->confirmed;
        spool->next = spool->confirmed + 1;
        if (spool->islands.n > 0)
                spool->next = spool->islands.items[spool->islands.n - 1].last + 1;
        if (tier->fd >= 0) {
                r = tier_recover(tier, false, &state);
                if (r < 0)
                        return r;
                /* It may have been written a moment before a crash, and not synced. */
                if (state.tail_fd >= 0) {
                        (void) !fdatasync(state.tail_fd);
                        (void) !fsync(tier->fd);
                }
                if (tier->n_segments > 0)
                        spool->next = MAX(spool->next, tier->segments[tier->n_segments - 1].last + 1);
        }
        r = recover_young(spool, &runtime, &spare);
        if (r < 0)
                return r;
        if (spool->runtime.n_segments > 0)
                spool->next =
                        MAX(spool->next, spool->runtime.segments[spool->runtime.n_segments - 1].last + 1);
        match_tiers(spool);
        if (spool->strays > 0 || unseen)
                closep(&state.tail_fd);
        spool->frozen = tier->fd < 0 || spool->strays > 0;
        known = spool->next - 1;
        if (spool->frozen || unseen)
                spool->next += NUMBERS_GAP;
        if (tier->fd < 0)
                spool->next += random_number();
        /* Each channel and each boot is noted once. */
        r = summary_merge(&state.summary, &runtime.summary);
        if (r >= 0)
                r = summary_merge(&state.summary, &spare.summary);
        if (r < 0)
                return r;
        summary_deinit(&runtime.summary);
        summary_deinit(&spare.summary);
        spool_take_recovery(spool, &state);
        spool_take_recovery(spool, &runtime);
        spool_take_recovery(spool, &spare);
        if (spool->next - 1 > known)
                spool->hole = (Range){.first = known + 1, .last = spool->next - 1};
        spool_forget(spool);
        return 0;
}

void spool_check_memory(Spool *spool)
{
        struct statfs status;

        if (spool->runtime.fd < 0 || fstatfs(spool->runtime.fd, &status) < 0)
                return;
        spool->volatile_memory = status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
        if (!spool->volatile_memory)
                log_notice("spool: %s is on a disk, not in memory: every message is written to that disk. A "
                           "tmpfs there spares it",
                        spool->runtime.path);
}

static int open_tiers(Spool *spool, const char *runtime_directory, char **ret_error)
{
        _cleanup_(freep) char *state_error = NULL, *runtime_error = NULL;
        int state, runtime;

        state = tier_open(&spool->state, spool->state_directory, TIER_NAME, &state_error);
        if (state != -EBUSY) {
                runtime = tier_open(&spool->runtime, runtime_directory, TIER_NAME, &runtime_error);
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
                spool_set_young_trouble(spool, PLACE_SPARE, runtime, 0);
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

int spool_open(Spool *spool, const char *runtime_directory, char **ret_error)
{
        int r = open_tiers(spool, runtime_directory, ret_error);

        if (r < 0)
                return r;
        r = recover_tiers(spool);
        if (r < 0) {
                text_set(ret_error, "Can't open the spool in %s and %s: %s", spool->state_directory,
                        runtime_directory, strerror(-r));
                return r;
        }
        spool_check_memory(spool);
        return 0;
}
