/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the tests of the spool share: two directories (the runtime one in memory), samples that can be told
 * apart, and the system calls that change files, and pread, wrapped so that a test can count them, let them
 * fail, stall, or end the process in the middle.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "spool.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* --- wrapped system calls ------------------------------------------------------------------------------ */

static struct {
        atomic_int disk_error;        /* of pwrite in the disk's thread: this errno */
        atomic_int sync_error;        /* of fdatasync */
        atomic_int runtime_error;     /* of pwrite in the loop's thread, on files in the runtime directory */
        atomic_int spare_error;       /* there, on files in the state directory */
        atomic_int memory_error;      /* there, on memory of its own */
        atomic_int read_error;        /* of pread, from read_error_from on */
        atomic_llong read_error_from; /* offset in the file */
        atomic_int open_errors;       /* so many openat of segments in the disk's thread fail with EMFILE */
        atomic_llong read_bytes;      /* asked of pread */
        atomic_bool stalled;          /* fdatasync waits */
        atomic_llong disk_bytes, disk_writes, syncs;
        atomic_int die_at;      /* before the n-th write, sync, rename or unlink: 0 never */
        atomic_int die_half;    /* and writes only half before */
        atomic_bool is_stalled; /* somebody waits */
} calls;

static bool in_loop_thread(void)
{
        return syscall(SYS_gettid) == getpid();
}

static bool has_name(int fd)
{
        struct stat status;

        return fstat(fd, &status) == 0 && status.st_nlink > 0;
}

static bool is_spare(int fd)
{
        char link[64], path[512];
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
                return false;
        path[n] = '\0';
        return strstr(path, "/young/");
}

static int loop_error(int fd)
{
        if (calls.runtime_error == 0 && calls.spare_error == 0 && calls.memory_error == 0)
                return 0;
        return !has_name(fd) ? calls.memory_error : is_spare(fd) ? calls.spare_error : calls.runtime_error;
}

static bool dies_now(void)
{
        int left = atomic_load(&calls.die_at);

        return left > 0 && atomic_fetch_sub(&calls.die_at, 1) == 1;
}

static ssize_t really_write(int fd, const void *data, size_t size, off_t offset)
{
        return pwritev(fd, &(struct iovec){(void *) (uintptr_t) data, size}, 1, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
        bool disk = !in_loop_thread();
        int error = disk ? calls.disk_error : loop_error(fd);

        if (dies_now()) {
                if (calls.die_half)
                        (void) !really_write(fd, data, size / 2, offset);
                kill(getpid(), SIGKILL);
        }
        if (error != 0) {
                if (error == ENOSPC && size > 10 && calls.die_half) /* what did fit */
                        return really_write(fd, data, size / 2, offset);
                errno = error;
                return -1;
        }
        if (disk) {
                calls.disk_bytes += (long long) size;
                calls.disk_writes++;
        }
        return really_write(fd, data, size, offset);
}

#ifdef __clang__ /* a fortified libc declares it inline */
#pragma clang diagnostic ignored "-Wstatic-in-inline"
#endif
ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
        if (calls.read_error != 0 && offset + (off_t) size > calls.read_error_from) {
                if (offset >= calls.read_error_from) {
                        errno = calls.read_error;
                        return -1;
                }
                size = (size_t) (calls.read_error_from - offset);
        }
        calls.read_bytes += (long long) size;
        return preadv(fd, &(struct iovec){data, size}, 1, offset);
}

int openat(int fd, const char *name, int flags, ...)
{
        va_list arguments;
        mode_t mode;

        va_start(arguments, flags);
        mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
        va_end(arguments);
        if (calls.open_errors > 0 && !in_loop_thread() && strstr(name, ".seg")) {
                calls.open_errors--;
                errno = EMFILE;
                return -1;
        }
        return (int) syscall(SYS_openat, fd, name, flags, mode);
}

int fdatasync(int fd)
{
        if (dies_now())
                kill(getpid(), SIGKILL);
        calls.syncs++;
        while (calls.stalled) {
                calls.is_stalled = true;
                (void) !poll(NULL, 0, 2);
        }
        calls.is_stalled = false;
        if (calls.sync_error != 0) {
                errno = calls.sync_error;
                return -1;
        }
        (void) fd; /* nobody cuts the power here, and it would take its time */
        return 0;
}

int fsync(int fd)
{
        if (dies_now())
                kill(getpid(), SIGKILL);
        (void) fd;
        return 0;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
        if (dies_now())
                kill(getpid(), SIGKILL);
        return (int) syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int unlinkat(int fd, const char *name, int flags)
{
        if (dies_now())
                kill(getpid(), SIGKILL);
        return (int) syscall(SYS_unlinkat, fd, name, flags);
}

/* --- log ---------------------------------------------------------------------------------------------- */

static char logged[65536];

static _unused_ void log_keep(int priority, const LogContext *context, const char *text)
{
        size_t used = strlen(logged);

        (void) context;
        snprintf(logged + used, sizeof(logged) - used, "%s: %s\n", log_level_to_string(priority), text);
}

static _unused_ unsigned logged_times(const char *text)
{
        unsigned n = 0;

        for (const char *p = logged; (p = strstr(p, text)); p += strlen(text))
                n++;
        return n;
}

/* --- fixture ------------------------------------------------------------------------------------------ */

typedef struct Fixture {
        char base[64], state[96], runtime[96], memory[64];
        sd_event *event;
        Spool *spool;
        SpoolLimits limits;
        SpoolSensor sensors[8];
        size_t n_sensors;
} Fixture;

static void remove_tree(const char *path)
{
        DIR *directory = opendir(path);
        struct dirent *entry;

        if (!directory) {
                unlink(path);
                return;
        }
        while ((entry = readdir(directory))) {
                char child[512];

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
                if (entry->d_type == DT_DIR)
                        remove_tree(child);
                else
                        unlink(child);
        }
        closedir(directory);
        rmdir(path);
}

static _unused_ int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        memset(&calls, 0, sizeof(calls));
        logged[0] = '\0';
        log_set_sink(log_keep);
        strcpy(f->base, "/tmp/plugd-spool-XXXXXX");
        assert_non_null(mkdtemp(f->base));
        strcpy(f->memory, "/dev/shm/plugd-spool-XXXXXX");
        if (!mkdtemp(f->memory)) {
                strcpy(f->memory, "/tmp/plugd-spool-XXXXXX");
                assert_non_null(mkdtemp(f->memory));
        }
        snprintf(f->state, sizeof(f->state), "%s/state", f->base);
        snprintf(f->runtime, sizeof(f->runtime), "%s/run", f->memory);
        f->limits = (SpoolLimits){.max_size = 64 * MIB, .memory = 4 * MIB, .sync_usec = 3600 * USEC_PER_SEC};
        assert_true(sd_event_new(&f->event) >= 0);
        *state = f;
        return 0;
}

static _unused_ int teardown(void **state)
{
        Fixture *f = *state;

        f->spool = spool_free(f->spool);
        sd_event_unref(f->event);
        remove_tree(f->base);
        remove_tree(f->memory);
        free(f);
        return 0;
}

static _unused_ void start_noting(Fixture *f, SpoolNote note, void *userdata)
{
        _cleanup_(freep) char *error = NULL;
        int r = spool_new(&f->spool, f->event, f->state, f->runtime, &f->limits, f->sensors, f->n_sensors,
                note, userdata, &error);

        if (r < 0)
                print_error("spool_new: %s: %s\n", strerror(-r), error);
        assert_int_equal(r, 0);
        assert_null(error);
}

static _unused_ void start(Fixture *f)
{
        start_noting(f, NULL, NULL);
}

static _unused_ void stop(Fixture *f)
{
        f->spool = spool_free(f->spool);
}

static _unused_ SpoolStats stats(const Fixture *f)
{
        SpoolStats now;

        spool_get_stats(f->spool, &now);
        return now;
}

/* Runs the loop until a condition holds; 10 s is a failure. */
#define await(f, condition)                                                                                 \
        do {                                                                                                \
                uint64_t until_ = clock_monotonic_usec() + 10 * USEC_PER_SEC;                               \
                while (!(condition)) {                                                                      \
                        assert_true(clock_monotonic_usec() < until_);                                       \
                        assert_true(sd_event_run((f)->event, 20000) >= 0);                                  \
                }                                                                                           \
        } while (0)

/* --- samples ------------------------------------------------------------------------------------------ */

/* The n-th sample: everything in it follows from n. */
static _unused_ const Sample *sample_make(uint64_t n, size_t padding)
{
        static char sensor[32], channel[64], data[SAMPLE_DATA_MAX + 8];
        static Sample sample;
        int size = snprintf(data, sizeof(data), "{\"n\":%" PRIu64 ",\"p\":\"", n);

        memset(data + size, 'a' + (char) (n % 26), padding);
        size += (int) padding;
        size += snprintf(data + size, sizeof(data) - (size_t) size, "\"}");
        snprintf(sensor, sizeof(sensor), "sensor%" PRIu64, n % 3);
        snprintf(channel, sizeof(channel), "Halle/Tür %" PRIu64, n % 5);
        sample = (Sample){.at_msec = UINT64_C(1700000000000) + n,
                .sensor = sensor,
                .channel = channel,
                .data = data,
                .data_size = (size_t) size};
        memset(sample.id, (int) (n & 0xff), sizeof(sample.id));
        memcpy(sample.id, &n, sizeof(n));
        return &sample;
}

static _unused_ uint64_t sample_number(const Sample *sample)
{
        uint64_t n;

        memcpy(&n, sample->id, sizeof(n));
        return n;
}

/* Is it, to the byte, what sample_make made? */
static _unused_ bool sample_is_whole(const Sample *sample)
{
        uint64_t n = sample_number(sample);
        const Sample *made;
        char text[64];
        size_t least = (size_t) snprintf(text, sizeof(text), "{\"n\":%" PRIu64 ",\"p\":\"\"}", n);

        if (sample->data_size < least || sample->data_size > SAMPLE_DATA_MAX)
                return false;
        made = sample_make(n, sample->data_size - least);
        return memcmp(made->id, sample->id, sizeof(made->id)) == 0 && made->at_msec == sample->at_msec &&
               strcmp(made->sensor, sample->sensor) == 0 && strcmp(made->channel, sample->channel) == 0 &&
               made->data_size == sample->data_size && sample->data[sample->data_size] == '\0' &&
               memcmp(made->data, sample->data, sample->data_size) == 0;
}

/* The same, of a sensor and a channel of one's choice. */
static _unused_ uint64_t append_of(
        Fixture *f, const char *sensor, const char *channel, uint64_t n, size_t padding)
{
        Sample sample = *sample_make(n, padding);
        uint64_t sequence = 0;

        sample.sensor = sensor;
        sample.channel = channel;
        assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        return sequence;
}

static _unused_ uint64_t append(Fixture *f, uint64_t n, size_t padding)
{
        uint64_t sequence = 0;

        assert_int_equal(spool_append(f->spool, sample_make(n, padding), &sequence), 0);
        return sequence;
}

/* The next record from *sequence on, waiting for the disk where it has to. false: none. */
static _unused_ bool next_sample_in(Fixture *f, SpoolLane lane, uint64_t *sequence, Sample *ret)
{
        uint64_t until = clock_monotonic_usec() + 10 * USEC_PER_SEC, found = 0;
        int r;

        while ((r = spool_read(f->spool, lane, *sequence, &found, ret)) == -EAGAIN) {
                assert_true(clock_monotonic_usec() < until);
                assert_true(sd_event_run(f->event, 1000000) >= 0);
        }
        assert_true(r >= 0);
        if (r == 0)
                return false;
        assert_true(found >= *sequence);
        *sequence = found + 1;
        return true;
}

static _unused_ bool next_sample(Fixture *f, uint64_t *sequence, Sample *ret)
{
        return next_sample_in(f, SPOOL_BACKLOG, sequence, ret);
}

static _unused_ bool next_in(Fixture *f, SpoolLane lane, uint64_t *sequence, uint64_t *ret_n)
{
        Sample sample;

        if (!next_sample_in(f, lane, sequence, &sample))
                return false;
        assert_true(sample_is_whole(&sample));
        *ret_n = sample_number(&sample);
        return true;
}

static _unused_ bool next(Fixture *f, uint64_t *sequence, uint64_t *ret_n)
{
        return next_in(f, SPOOL_BACKLOG, sequence, ret_n);
}

/* Reads everything and holds it to be the samples first to last, without gap. */
static _unused_ void expect(Fixture *f, uint64_t first, uint64_t last)
{
        uint64_t sequence = 0, n = 0, wanted = first;

        while (next(f, &sequence, &n)) {
                assert_int_equal(n, wanted);
                wanted++;
        }
        assert_int_equal(wanted, last + 1);
}

/* What was evicted is of several sensors, and doesn't end at one number: holds that all that should be there
 * is, in order and up to the last. */
static _unused_ void expect_most(Fixture *f, uint64_t last)
{
        uint64_t sequence = 0, n = 0, before = 0, count = 0;

        for (; next(f, &sequence, &n); before = n, count++)
                assert_true(n > before);
        assert_int_equal(before, last);
        assert_int_equal(count, stats(f).messages);
}

/* --- files -------------------------------------------------------------------------------------------- */

static _unused_ unsigned count_files(const char *directory, const char *suffix, uint64_t *ret_bytes)
{
        DIR *opened = opendir(directory);
        struct dirent *entry;
        struct stat status;
        unsigned n = 0;
        uint64_t bytes = 0;

        while (opened && (entry = readdir(opened))) {
                size_t length = strlen(entry->d_name);

                if (length < strlen(suffix) ||
                        strcmp(entry->d_name + length - strlen(suffix), suffix) != 0 ||
                        entry->d_name[0] == '.')
                        continue;
                if (fstatat(dirfd(opened), entry->d_name, &status, 0) == 0) {
                        bytes += (uint64_t) status.st_size;
                        n++;
                }
        }
        if (opened)
                closedir(opened);
        if (ret_bytes)
                *ret_bytes = bytes;
        return n;
}

static _unused_ unsigned segments_in(const char *directory, uint64_t *ret_bytes)
{
        char path[256];

        snprintf(path, sizeof(path), "%s/spool", directory);
        return count_files(path, ".seg", ret_bytes);
}

/* Path of the segment with this first number; returns its buffer. */
static _unused_ const char *segment_path(char buffer[static 256], const char *directory, uint64_t first)
{
        snprintf(buffer, 256, "%s/spool/%016" PRIx64 ".seg", directory, first);
        return buffer;
}

static _unused_ void file_put(const char *path, const void *data, size_t size)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        close(fd);
}

static _unused_ void file_get(const char *path, char **ret_data, size_t *ret_size)
{
        assert_int_equal(file_read(path, 64 * MIB, ret_data, ret_size), 0);
}

/* Runs a function in a child that is killed at its end (if it isn't sooner), as by kill -9. */
static _unused_ void in_killed_child(Fixture *f, void (*run)(Fixture *f, void *userdata), void *userdata)
{
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                /* An event loop doesn't survive a fork. */
                if (sd_event_new(&f->event) >= 0)
                        run(f, userdata);
                kill(getpid(), SIGKILL);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Runs the loop until the disk has caught up. */
static _unused_ void await_disk(Fixture *f)
{
        uint64_t bytes;

        await(f, (segments_in(f->runtime, &bytes), bytes <= f->limits.memory / 2));
}
