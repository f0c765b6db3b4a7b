/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The thread that does everything slow on the state tier: opening it late, removing, reading, appending and
 * syncing. One job at a time, made by the event loop's thread and given back through an eventfd. It is
 * started with the first job: a gateway that is online never needs it.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "spool-internal.h"
#include "util/clock.h"

#define STACK_SIZE (256 * 1024)

typedef enum DiskState { DISK_IDLE, DISK_RUNNING, DISK_DONE } DiskState;

struct Disk {
        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        bool started, stop, abandoned;
        DiskState state;
        int done_fd;
        char *state_directory;
        Aside aside;
        SpoolPolicies policies; /* its own: it may outlive the spool */
        Writer writer;
        DiskJob job;
};

static void job_init(DiskJob *job)
{
        *job = (DiskJob){.opened = TIER_INIT,
                .opened_spare = TIER_INIT,
                .recovery = {.tail_fd = -1},
                .fetched = job->fetched};
}

void disk_clear(Disk *disk)
{
        DiskJob *job = &disk->job;

        tier_deinit(&job->opened);
        tier_deinit(&job->opened_spare);
        recovery_deinit(&job->recovery);
        free(job->open_error);
        free(job->remove);
        free(job->trim.segments);
        counts_deinit(&job->trim.dropped);
        job_init(job);
}

static void disk_destroy(Disk *disk)
{
        disk_clear(disk);
        reader_deinit(&disk->job.fetched);
        writer_close(&disk->writer);
        bytes_deinit(&disk->writer.pending);
        closep(&disk->writer.directory);
        closep(&disk->done_fd);
        free(disk->state_directory);
        free(disk->aside.path);
        policies_deinit(&disk->policies);
        pthread_mutex_destroy(&disk->mutex);
        pthread_cond_destroy(&disk->changed);
        free(disk);
}

static int open_late(Disk *disk, DiskJob *job)
{
        _cleanup_(recovery_deinit) Recovery spare = RECOVERY_INIT(&disk->aside, 0);
        int r = tier_open(&job->opened, disk->state_directory, TIER_NAME, &job->open_error);

        if (r < 0)
                return r;
        job->recovery = RECOVERY_INIT(&disk->aside, 0);
        r = tier_recover(&job->opened, false, &job->recovery);
        if (r < 0)
                return r;
        /* The spare folder is only looked at: what is in it waits for the next start as well. */
        if (tier_open_spare(&job->opened_spare, disk->state_directory) >= 0 && job->opened_spare.fd >= 0) {
                r = tier_recover(&job->opened_spare, false, &spare);
                if (r < 0)
                        return r;
        }
        job->recovery.damaged += spare.damaged;
        return summary_merge(&job->recovery.summary, &spare.summary);
}

static void remove_segments(Disk *disk, DiskJob *job)
{
        Writer *writer = &disk->writer;
        SegmentName name;

        for (size_t i = 0; i < job->n_remove; i++) {
                uint64_t first = job->remove[i].first;

                if (writer->fd >= 0 && writer->segment.first == first)
                        writer_close(writer);
                if (job->remove[i].keep &&
                        aside_keep_file(&disk->aside, writer->directory, segment_name(name, first)) >= 0)
                        continue;
                if (unlinkat(writer->directory, segment_name(name, first), 0) < 0 && errno != ENOENT)
                        job->unremoved = true;
        }
}

static void keep_asides(Disk *disk, const DiskJob *job)
{
        SegmentName name;

        for (size_t i = 0; i < job->n_asides; i++) {
                const DiskAside *part = &job->asides[i];
                _cleanup_(closep) int fd = openat(disk->writer.directory, segment_name(name, part->first),
                        O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

                if (fd >= 0)
                        aside_keep(&disk->aside, fd, part->first, part->from, part->to);
        }
}

static int fetch(Disk *disk, DiskJob *job)
{
        SegmentName name;
        _cleanup_(closep) int fd = openat(disk->writer.directory, segment_name(name, job->fetch_first),
                O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        job->fetched.base = job->fetched.length = 0; /* whatever it was of */
        if (fd < 0)
                return -errno;
        if (job->fetched.capacity < DISK_FETCH_SIZE) {
                uint8_t *buffer = realloc(job->fetched.buffer, DISK_FETCH_SIZE);

                if (!buffer)
                        return -ENOMEM;
                job->fetched.buffer = buffer;
                job->fetched.capacity = DISK_FETCH_SIZE;
        }
        return reader_fill(&job->fetched, fd);
}

static void make_room(Disk *disk, DiskJob *job)
{
        Trim *trim = &job->trim;
        Segment *last = &trim->segments[trim->n_segments - 1];
        uint32_t size = writer_end(&disk->writer);

        if (size > 0 && last->first == disk->writer.segment.first)
                last->file_size = size;
        trim->apart |= job->unremoved;
        trim->policies = &disk->policies;
        trim->aside = &disk->aside;
        trim->folders[PLACE_RUNTIME] = disk->writer.directory;
        trim_run(trim);
}

static void run_job(Disk *disk, DiskJob *job)
{
        if (job->open)
                job->result = open_late(disk, job);
        keep_asides(disk, job);
        remove_segments(disk, job);
        if (job->fetch)
                job->fetch_result = fetch(disk, job);
        if (job->trim.n_segments > 0)
                make_room(disk, job);
        if (job->n_sources > 0)
                job->result = writer_copy(&disk->writer, job);
}

static void *disk_main(void *userdata)
{
        Disk *disk = userdata;
        bool abandoned;

        pthread_mutex_lock(&disk->mutex);
        while (!disk->stop) {
                uint64_t one = 1;

                if (disk->state != DISK_RUNNING) {
                        pthread_cond_wait(&disk->changed, &disk->mutex);
                        continue;
                }
                pthread_mutex_unlock(&disk->mutex);
                run_job(disk, &disk->job);
                pthread_mutex_lock(&disk->mutex);
                disk->state = DISK_DONE;
                pthread_cond_broadcast(&disk->changed);
                (void) !write(disk->done_fd, &one, sizeof(one));
        }
        abandoned = disk->abandoned;
        pthread_mutex_unlock(&disk->mutex);
        if (abandoned) {
                pthread_detach(pthread_self());
                disk_destroy(disk);
        }
        return NULL;
}

int disk_new(Disk **ret, const char *state_directory, uint32_t segment_size, const Aside *aside,
        const SpoolPolicies *policies)
{
        Disk *disk = calloc(1, sizeof(*disk));
        pthread_condattr_t attributes;

        if (!disk)
                return -ENOMEM;
        disk->writer = (Writer){.directory = -1, .fd = -1, .segment_size = segment_size};
        disk->state_directory = strdup(state_directory);
        disk->aside = (Aside){.path = strdup(aside->path), .limit = aside->limit};
        disk->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        pthread_mutex_init(&disk->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&disk->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        job_init(&disk->job);
        if (disk->done_fd < 0 || !disk->aside.path || !disk->state_directory ||
                policies_init(&disk->policies, &policies->fallback, policies->sensors, policies->n) < 0) {
                disk_destroy(disk);
                return -ENOMEM;
        }
        *ret = disk;
        return 0;
}

Disk *disk_free(Disk *disk)
{
        bool running;

        if (!disk)
                return NULL;
        pthread_mutex_lock(&disk->mutex);
        running = disk->state == DISK_RUNNING;
        disk->stop = true;
        disk->abandoned = running;
        pthread_cond_broadcast(&disk->changed);
        pthread_mutex_unlock(&disk->mutex);
        if (running)
                return NULL; /* it belongs to the thread now */
        if (disk->started)
                pthread_join(disk->thread, NULL);
        disk_destroy(disk);
        return NULL;
}

int disk_fd(const Disk *disk)
{
        return disk->done_fd;
}

Writer *disk_writer(Disk *disk)
{
        return &disk->writer;
}

DiskJob *disk_job(Disk *disk)
{
        DiskState state;

        pthread_mutex_lock(&disk->mutex);
        state = disk->state;
        pthread_mutex_unlock(&disk->mutex);
        return state == DISK_IDLE ? &disk->job : NULL;
}

int disk_start(Disk *disk)
{
        int r = 0;

        if (!disk->started) {
                pthread_attr_t attributes;
                sigset_t all, before;

                /* The thread inherits the mask: signals are the event loop's. */
                sigfillset(&all);
                pthread_sigmask(SIG_SETMASK, &all, &before);
                pthread_attr_init(&attributes);
                pthread_attr_setstacksize(&attributes, STACK_SIZE);
                r = pthread_create(&disk->thread, &attributes, disk_main, disk);
                pthread_attr_destroy(&attributes);
                pthread_sigmask(SIG_SETMASK, &before, NULL);
                if (r != 0)
                        return -r;
                disk->started = true;
        }
        pthread_mutex_lock(&disk->mutex);
        disk->state = DISK_RUNNING;
        pthread_cond_broadcast(&disk->changed);
        pthread_mutex_unlock(&disk->mutex);
        return 0;
}

DiskJob *disk_finish(Disk *disk)
{
        DiskJob *job = NULL;

        pthread_mutex_lock(&disk->mutex);
        if (disk->state == DISK_DONE) {
                disk->state = DISK_IDLE;
                job = &disk->job;
        }
        pthread_mutex_unlock(&disk->mutex);
        return job;
}

void disk_wait(Disk *disk, uint64_t deadline_usec)
{
        struct timespec deadline = {
                .tv_sec = (time_t) (deadline_usec / USEC_PER_SEC),
                .tv_nsec = (long) (deadline_usec % USEC_PER_SEC * 1000),
        };

        pthread_mutex_lock(&disk->mutex);
        while (disk->state == DISK_RUNNING &&
                pthread_cond_timedwait(&disk->changed, &disk->mutex, &deadline) == 0)
                ;
        pthread_mutex_unlock(&disk->mutex);
}

void disk_fail(Disk *disk)
{
        uint64_t one = 1;

        disk->state = DISK_DONE;
        (void) !write(disk->done_fd, &one, sizeof(one));
}
