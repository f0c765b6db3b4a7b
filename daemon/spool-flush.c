/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What goes to the disk and when: makes the disk's jobs and takes their results. A record is copied when it
 * has been unconfirmed for `sync`, when a quarter of the memory is full (the rest is for what comes while
 * the disk is busy), and at a stop. Runtime segments are dropped only when their records are synced, or
 * confirmed.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "spool-internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define COPY_MAX (UINT64_C(4) << 20) /* bytes a job */

/* --- age ---------------------------------------------------------------------------------------------- */

static uint64_t sync_delay(const Spool *spool)
{
        /* What a crash may lose doesn't wait; nor does what lies on the disk already. */
        return spool->runtime_trouble || spool->exposed ? MIN(spool->limits.sync_usec, USEC_PER_SEC)
                                                        : spool->limits.sync_usec;
}

static void ages_trim(Spool *spool)
{
        size_t gone = 0;

        while (gone < spool->n_ages && (gone + 1 < spool->n_ages ? spool->ages[gone + 1].sequence
                                                                 : spool->next) <= spool_floor(spool) + 1)
                gone++;
        spool->n_ages -= gone;
        memmove(spool->ages, spool->ages + gone, spool->n_ages * sizeof(*spool->ages));
}

static bool memory_is_short(const Spool *spool)
{
        return spool->runtime.bytes > spool->limits.memory / 4;
}

static bool is_full(const Spool *spool)
{
        return (spool->trouble_error == -ENOSPC || spool->trouble_error == -EDQUOT) &&
               spool->state.n_segments > 0;
}

/* Numbers alone don't tell: they are moved on past files that can't be read. */
static bool has_young(const Spool *spool)
{
        for (size_t i = spool->runtime.n_segments; i > 0; i--)
                if (!spool_is_gone(spool, &spool->runtime, &spool->runtime.segments[i - 1]))
                        return true;
        return false;
}

static uint64_t flush_due(const Spool *spool)
{
        uint64_t due;

        if (spool->state.fd < 0)
                return spool->retry_usec;
        if (!has_young(spool))
                return UINT64_MAX;
        if (spool->stopping)
                return 0;
        due = spool->n_ages == 0 || memory_is_short(spool) ? 0 : spool->ages[0].usec + sync_delay(spool);
        /* A full disk has room once what is oldest on it goes; anything else is left alone for a while. */
        if (backoff_active(&spool->backoff) && !(is_full(spool) && memory_is_short(spool)))
                due = MAX(due, spool->retry_usec);
        return due;
}

void spool_age(Spool *spool)
{
        uint64_t now = clock_monotonic_usec();
        AgeMark *newest = spool->n_ages > 0 ? &spool->ages[spool->n_ages - 1] : NULL;

        /* With all marks in use a record counts as older than it is, which is safe. */
        if (!newest || (now - newest->usec > spool->limits.sync_usec / (AGE_MARKS / 2) &&
                               spool->n_ages < AGE_MARKS))
                spool->ages[spool->n_ages++] = (AgeMark){.sequence = spool->next - 1, .usec = now};
        if (flush_due(spool) < spool->armed_usec)
                spool_plan(spool);
}

/* --- trouble ------------------------------------------------------------------------------------------ */

void spool_set_trouble(Spool *spool, int error, const char *sentence)
{
        char size[32];

        spool->retry_usec = clock_monotonic_usec() + backoff_next(&spool->backoff);
        if (spool->trouble && spool->trouble_error == error)
                return;
        spool->trouble_error = error;
        text_set(&spool->trouble,
                "%s. Messages are kept in memory, at most %s, until it works; it is tried again", sentence,
                text_format_size(size, spool->limits.memory));
        log_warning("spool: %s", spool->trouble ? spool->trouble : sentence);
}

static void clear_trouble(Spool *spool)
{
        backoff_reset(&spool->backoff);
        if (!spool->trouble || (spool->evicting && is_full(spool)))
                return; /* full is what it stays, until the episode is over */
        free(TAKE_PTR(spool->trouble));
        spool->trouble_error = 0;
        log_notice("spool: %s can be written again", spool->state.path);
}

/* --- dropping what isn't needed --------------------------------------------------------------------- */

static bool drop_state(Spool *spool, size_t index)
{
        if (spool->n_remove == spool->remove_capacity) {
                size_t capacity = spool->remove_capacity * 2 + 16;
                DiskRemove *remove = reallocarray(spool->remove, capacity, sizeof(*remove));

                if (!remove)
                        return false; /* another time */
                spool->remove = remove;
                spool->remove_capacity = capacity;
        }
        spool->remove[spool->n_remove++] = (DiskRemove){.first = spool->state.segments[index].first,
                .keep = spool->state.segments[index].unreadable};
        tier_remove(&spool->state, index);
        return true;
}

/* Drops the segments that lie within what is confirmed from first to last. */
static void forget_state(Spool *spool, uint64_t first, uint64_t last)
{
        Tier *state = &spool->state;
        size_t i = tier_find(state, first);

        /* What a job is appending to isn't done yet; what it rewrites may get others' names. */
        while (!spool->trimming && i + (spool->copying > 0 ? 1U : 0U) < state->n_segments &&
                state->segments[i].last <= last) {
                if (!spool_is_gone(spool, state, &state->segments[i]) || !drop_state(spool, i))
                        i++;
        }
}

void spool_forget(Spool *spool)
{
        Tier *runtime = &spool->runtime;
        size_t i = 0;

        forget_state(spool, 0, spool->confirmed);
        for (i = 0; i < spool->islands.n; i++)
                forget_state(spool, spool->islands.items[i].first, spool->islands.items[i].last);

        for (i = 0; i < runtime->n_segments;) {
                Segment *segment = &runtime->segments[i];

                if (!spool_is_gone(spool, runtime, segment)) {
                        i++;
                        continue;
                }
                segment->head = segment->size;
                segment->head_count = segment->count;
                segment->head_last = segment->last;
                if (segment->first <= spool->copying || i + 1 == runtime->n_segments)
                        i++; /* a job reads it, or the next record goes in */
                else
                        spool_drop_runtime(spool, i);
        }
        spool->exposed = false;
        for (i = 0; i < runtime->n_segments; i++)
                spool->exposed |= runtime->segments[i].place == PLACE_MEMORY &&
                                  !spool_is_gone(spool, runtime, &runtime->segments[i]);
        ages_trim(spool);

        if (spool_episode_over(spool) && !backoff_active(&spool->backoff))
                clear_trouble(spool);
}

/* --- jobs --------------------------------------------------------------------------------------------- */

static void add_sources(Spool *spool, DiskJob *job)
{
        uint64_t limit = MIN(COPY_MAX, MIN(spool->limits.memory / 2, spool->limits.max_size / 4)), bytes = 0;

        job->skip = spool_floor(spool);
        job->skip_islands = spool->islands;
        for (size_t i = 0; i < spool->runtime.n_segments && job->n_sources < DISK_SOURCES_MAX; i++) {
                const Segment *segment = &spool->runtime.segments[i];
                uint32_t size = segment->size - segment->head;

                if (spool_is_gone(spool, &spool->runtime, segment))
                        continue;
                if (bytes > 0 && bytes + size > limit)
                        break;
                bytes += size;
                job->sources[job->n_sources++] = (DiskSource){.fd = segment->fd,
                        .from = segment->head,
                        .to = segment->size,
                        .after = segment->head_last};
                job->last = segment->last;
        }
        if (job->n_sources == 0)
                return;
        spool->copying = job->last;

        /* Footers, headers and the rounding to blocks come on top. */
        spool_fill_trim(spool, job, bytes + bytes / 8 + 16384);
}

/* One at a time: what is new goes first. */
static void add_fetch(Spool *spool, DiskJob *job)
{
        static const SpoolLane order[] = {SPOOL_LIVE, SPOOL_BACKLOG};

        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                Cursor *cursor = &spool->cursors[order[i]];

                if (cursor->fetch != FETCH_WANTED)
                        continue;
                job->fetch = true;
                job->fetch_lane = order[i];
                job->fetch_first = cursor->fetch_segment;
                job->fetched.offset = cursor->fetch_offset;
                job->fetched.need = cursor->fetch_need;
                job->fetched.end = cursor->fetch_end;
                cursor->fetch = FETCH_RUNNING;
                return;
        }
}

static bool fill_job(Spool *spool, DiskJob *job, bool flush)
{
        if (spool->state.fd < 0)
                return job->open = flush;
        if (flush)
                add_sources(spool, job);
        add_fetch(spool, job);
        job->remove = TAKE_PTR(spool->remove);
        job->n_remove = spool->n_remove;
        spool->n_remove = spool->remove_capacity = 0;
        memcpy(job->asides, spool->asides, sizeof(job->asides));
        job->n_asides = spool->n_asides;
        spool->n_asides = 0;
        return job->n_sources > 0 || job->fetch || job->n_remove > 0 || job->n_asides > 0;
}

void spool_plan(Spool *spool)
{
        DiskJob *job = disk_job(spool->disk);
        uint64_t due;
        int r;

        if (!job)
                return;                           /* when it is done, we are called again */
        due = MAX(flush_due(spool), UINT64_C(1)); /* 0: there is a job */
        if (!fill_job(spool, job, due <= clock_monotonic_usec())) {
                disk_clear(spool->disk);
                if (due != spool->armed_usec) {
                        spool->armed_usec = due;
                        if (due != UINT64_MAX)
                                sd_event_source_set_time(spool->timer, due);
                        sd_event_source_set_enabled(
                                spool->timer, due != UINT64_MAX ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
                }
                return;
        }

        /* Not before the job is done: that comes back here. */
        if (spool->armed_usec != 0)
                sd_event_source_set_enabled(spool->timer, SD_EVENT_OFF);
        spool->armed_usec = 0;
        r = disk_start(spool->disk);
        if (r < 0) {
                job->result = r;
                job->fetch_result = -ENOMEM;
                disk_fail(spool->disk);
        }
}

/* What waits for the next start has its numbers already. */
static void skip_numbers(Spool *spool, const Tier *tier)
{
        if (tier->n_segments > 0 && tier->segments[tier->n_segments - 1].last >= spool->next)
                spool->next = tier->segments[tier->n_segments - 1].last + NUMBERS_GAP;
}

static void take_opened(Spool *spool, DiskJob *job)
{
        spool->state = job->opened;
        job->opened = TIER_INIT;
        closep(&job->recovery.tail_fd); /* not to be appended to */
        spool_take_recovery(spool, &job->recovery);
        spool->spare = job->opened_spare;
        job->opened_spare = TIER_INIT;
        skip_numbers(spool, &spool->state);
        skip_numbers(spool, &spool->spare);
        spool_add_strays(spool, tier_stray(&spool->state, 0) + tier_stray(&spool->spare, 0));
        spool->frozen = spool->strays > 0;
}

static int take_written(Spool *spool, const DiskJob *job)
{
        Tier *state = &spool->state;

        for (size_t i = 0; i < job->n_written; i++) {
                const Segment *written = &job->written[i];
                Segment *last = state->n_segments > 0 ? &state->segments[state->n_segments - 1] : NULL;

                if (last && last->first == written->first) {
                        last->last = written->last;
                        last->size = last->checked = written->size;
                        last->file_size = written->file_size;
                        last->count = written->count;
                } else {
                        int r = tier_add(state, written);

                        if (r < 0)
                                return r;
                }
                spool->moved = written->last;
        }
        tier_account(state);
        spool->moved = MAX(spool->moved, job->through);
        return 0;
}

int spool_finish(Spool *spool)
{
        DiskJob *job = disk_finish(spool->disk);
        _cleanup_(freep) char *sentence = NULL;
        int r;

        if (!job)
                return 0;
        spool->copying = 0;
        if (job->open && job->result >= 0)
                take_opened(spool, job);
        spool->state.apart |= job->unremoved;
        spool_take_trim(spool, &job->trim);
        r = job->result;
        if (job->n_sources > 0) {
                int q = take_written(spool, job);

                r = r < 0 ? r : q;
                spool->damaged += job->unreadable;
                if (job->unreadable > 0)
                        log_warning("spool: part of %s can't be read any more", spool->runtime.path);
        }
        if (r < 0) {
                if (!job->open_error)
                        sentence = text_printf("Can't write to %s: %s",
                                spool->state.path ? spool->state.path : spool->state_directory,
                                strerror(-r));
                spool_set_trouble(spool, r,
                        job->open_error ? job->open_error
                        : sentence      ? sentence
                                        : strerror(-r));
                /* Full, by others: better lose what is oldest than what is new. */
                if (is_full(spool) && memory_is_short(spool)) {
                        spool->squeeze = true;
                        spool->retry_usec = 0;
                }
        } else if (job->open || job->n_sources > 0)
                clear_trouble(spool);
        if (job->fetch)
                spool_fetched(spool, job);
        disk_clear(spool->disk);
        spool_forget(spool);
        return r;
}
