/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The spool as others see it: opened, appended to, confirmed, closed. Appending is one write() to a file in
 * the runtime directory, confirming another; nothing here waits for a disk once the spool is open. See
 * spool-internal.h for who does what.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define SEGMENTS_MAX 4096             /* on disk: their list stays small however large max_size is */
#define STOP_USEC (10 * USEC_PER_SEC) /* a disk that takes longer keeps no stop waiting */

/* --- confirming --------------------------------------------------------------------------------------- */

static void add_confirmed(Spool *spool, uint64_t first, uint64_t last)
{
        if (first <= spool->confirmed + 1)
                spool->confirmed = MAX(spool->confirmed, last);
        else
                ranges_add(&spool->islands, first, last);
        spool->confirmed = ranges_reach(&spool->islands, spool->confirmed);
        ranges_trim(&spool->islands, spool->confirmed);
}

void spool_set_confirmed(Spool *spool, uint64_t first, uint64_t last)
{
        const Range *hole = &spool->hole;

        if (hole->last < first || hole->first > last)
                return add_confirmed(spool, first, last);
        if (first < hole->first)
                add_confirmed(spool, first, hole->first - 1);
        if (last > hole->last)
                add_confirmed(spool, hole->last + 1, last);
}

void spool_confirm(Spool *spool, uint64_t first, uint64_t last)
{
        first = MAX(first, UINT64_C(1));
        last = MIN(last, spool->next - 1);
        if (first > last || spool_reach(spool, first - 1) >= last)
                return;
        spool_set_confirmed(spool, first, last);
        position_save(spool);
        spool_confirm_reads(spool);
        spool_forget(spool);
        if (spool->n_remove > 0)
                spool_plan(spool);
}

bool spool_is_confirmed(const Spool *spool, uint64_t sequence)
{
        return sequence <= spool->confirmed || ranges_covers(&spool->islands, sequence);
}

uint64_t spool_end(const Spool *spool)
{
        return spool->next;
}

/* --- appending ---------------------------------------------------------------------------------------- */

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

static int append(Spool *spool, const Sample *sample, bool safe, uint64_t *ret_sequence)
{
        int r = spool->next <= SEQUENCE_MAX ? record_encode(spool->scratch, spool->next, sample)
                                            : -EOVERFLOW;
        uint32_t size = (uint32_t) r;

        if (r >= 0)
                r = make_room(spool, size);
        if (r >= 0)
                r = young_put(spool, size, safe);
        if (r < 0) {
                spool_drop(spool, sample->sensor);
                return r;
        }
        *ret_sequence = spool->next++;
        spool->appended_messages++;
        spool->appended_bytes += size;
        spool_age(spool);
        return r;
}

int spool_append(Spool *spool, const Sample *sample, uint64_t *ret_sequence)
{
        return append(spool, sample, false, ret_sequence);
}

int spool_append_safe(Spool *spool, const Sample *sample, uint64_t *ret_sequence)
{
        return append(spool, sample, true, ret_sequence);
}

bool spool_is_pressed(const Spool *spool)
{
        return spool->copying > 0 && !backoff_active(&spool->backoff) &&
               spool->runtime.bytes > spool->limits.memory / 4 * 3;
}

/* --- opening ------------------------------------------------------------------------------------------ */

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
        if (spool_has_fetched(spool) && spool->ready)
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

int spool_new(Spool **ret, sd_event *event, const char *state_directory, const char *runtime_directory,
        const SpoolLimits *limits, const SpoolSensor *sensors, size_t n_sensors, SpoolNote note,
        void *userdata, char **ret_error)
{
        _cleanup_(spool_freep) Spool *spool = calloc(1, sizeof(*spool));
        SpoolStats stats;
        int r;

        if (!spool)
                return -ENOMEM;
        spool->limits = *limits;
        spool->note = note;
        spool->note_userdata = userdata;
        spool->runtime = spool->state = spool->spare = TIER_INIT;
        spool->position_fd = spool->spare_position_fd = -1;
        for (size_t i = 0; i < SPOOL_LANES; i++)
                spool->cursors[i].fd = -1;
        spool->armed_usec = UINT64_MAX;
        spool->next = 1;
        spool->clock_known = true;
        spool->runtime_segment_size = (uint32_t) MIN(limits->memory / 16, 16 * MIB);
        spool->state_segment_size = (uint32_t) MAX(
                MIN(MAX(limits->max_size / 16, 64 * KIB), 4 * MIB), limits->max_size / SEGMENTS_MAX);
        spool->aside.limit = MIN(limits->max_size / 16, MIB);
        spool->aside.path = text_printf("%s/damaged", state_directory);
        spool->state_directory = strdup(state_directory);
        spool->runtime_directory = strdup(runtime_directory);
        spool->backoff = (Backoff){.first_usec = USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC};
        spool->young_backoff = (Backoff){.first_usec = USEC_PER_SEC, .max_usec = 15 * USEC_PER_SEC};
        spool->scratch = malloc(RECORD_MAX);
        if (!spool->aside.path || !spool->state_directory || !spool->runtime_directory || !spool->scratch)
                return -ENOMEM;
        r = policies_init(&spool->policies, &limits->policy, sensors, n_sensors);
        if (r < 0)
                return r;
        r = disk_new(
                &spool->disk, state_directory, spool->state_segment_size, &spool->aside, &spool->policies);
        if (r < 0)
                return r;

        r = spool_open(spool, runtime_directory, ret_error);
        if (r < 0)
                return r;
        r = add_sources(spool, event);
        if (r < 0) {
                text_set(ret_error, "Can't watch the spool's disk: %s", strerror(-r));
                return r;
        }
        spool_get_stats(spool, &stats);
        if (stats.messages > 0)
                log_info("spool: %" PRIu64 " messages are waiting to be sent", stats.messages);
        spool_plan(spool);
        *ret = TAKE_PTR(spool);
        return 0;
}

/* --- closing ------------------------------------------------------------------------------------------ */

static void stop(Spool *spool)
{
        uint64_t deadline = clock_monotonic_usec() + STOP_USEC;
        uint64_t messages = 0, bytes, lost = 0;
        size_t last;
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

                spool_living(spool, &spool->runtime, segment, &messages, &bytes);
                lost += segment->place == PLACE_MEMORY ? messages : 0;
        }
        if (lost > 0)
                log_error("spool: %" PRIu64 " messages are lost: neither %s nor %s could be written", lost,
                        spool->state.path ? spool->state.path : spool->state_directory, spool->runtime.path);
        if (spool->evicting)
                spool_episode_end(spool);
        last = spool->runtime.n_segments - 1;
        if (spool->runtime.n_segments > 0 &&
                spool_is_gone(spool, &spool->runtime, &spool->runtime.segments[last]) &&
                disk_job(spool->disk))
                spool_drop_runtime(spool, last);
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
        tier_deinit(&spool->spare);
        closep(&spool->position_fd);
        closep(&spool->spare_position_fd);
        for (size_t i = 0; i < SPOOL_LANES; i++)
                cursor_deinit(&spool->cursors[i]);
        free(spool->scratch);
        free(spool->remove);
        free(spool->state_directory);
        free(spool->runtime_directory);
        free(spool->aside.path);
        policies_deinit(&spool->policies);
        counts_deinit(&spool->dropped);
        counts_deinit(&spool->evicted);
        free(spool->trouble);
        free(spool->runtime_trouble);
        free(spool->strays_trouble);
        free(spool);
        return NULL;
}

void spool_living(const Spool *spool, const Tier *tier, const Segment *segment, uint64_t *ret_messages,
        uint64_t *ret_bytes)
{
        uint64_t floor = tier == &spool->runtime ? spool_floor(spool) : spool->confirmed;
        uint64_t from = MAX(segment->head_last, floor), needed = 0;
        uint64_t messages = segment->count - segment->head_count, bytes = segment->size - segment->head;

        if (segment->last > from)
                needed = segment->last - from - ranges_count(&spool->islands, from + 1, segment->last);
        /* Where numbers are missing, they are likely to be among what is confirmed. */
        *ret_messages = MIN(messages, needed);
        *ret_bytes = *ret_messages == messages
                             ? bytes
                             : (uint64_t) ((double) bytes * ((double) *ret_messages / (double) messages));
}

uint64_t spool_appended_bytes(const Spool *spool)
{
        return spool->appended_bytes;
}

void spool_get_stats(const Spool *spool, SpoolStats *ret)
{
        uint64_t messages, bytes;
        bool exposed = spool->runtime_trouble && spool->young_place == PLACE_MEMORY;
        const char *trouble = exposed                  ? spool->runtime_trouble
                              : spool->trouble         ? spool->trouble
                              : spool->runtime_trouble ? spool->runtime_trouble
                                                       : spool->strays_trouble;
        SpoolStats stats = {
                .dropped = spool->dropped.dropped,
                .appended_messages = spool->appended_messages,
                .appended_bytes = spool->appended_bytes,
                .capacity = spool_capacity(spool),
                .damaged = spool->damaged,
                .evicting = spool_makes_room(spool),
                .trouble = trouble ? trouble : "",
                .volatile_memory = spool->volatile_memory,
        };

        for (size_t i = 0; i < spool->state.n_segments; i++) {
                spool_living(spool, &spool->state, &spool->state.segments[i], &messages, &bytes);
                stats.messages += messages;
                stats.bytes += bytes;
        }
        for (size_t i = 0; i < spool->runtime.n_segments; i++) {
                spool_living(spool, &spool->runtime, &spool->runtime.segments[i], &messages, &bytes);
                stats.messages += messages;
                stats.bytes += bytes;
        }
        *ret = stats;
}
