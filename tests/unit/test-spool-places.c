/* SPDX-License-Identifier: Apache-2.0 */
/* Where the spool keeps what is young: whichever of the two directories is full, read-only, missing or
 * removed, what it said is safe is there after kill -9, and what isn't safe is not said to be. */

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "spool-fixture.h"

static int append_as(Fixture *f, uint64_t n, bool safe)
{
        uint64_t sequence = 0;
        int r = safe ? spool_append_safe(f->spool, sample_make(n, 100), &sequence)
                     : spool_append(f->spool, sample_make(n, 100), &sequence);

        assert_true(r < 0 || sequence > 0);
        return r;
}

static unsigned spares(const Fixture *f)
{
        char path[256];

        snprintf(path, sizeof(path), "%s/young", f->state);
        return count_files(path, ".seg", NULL);
}

/* Goes on appending until nothing is wrong any more; the next number. */
static uint64_t append_until_well(Fixture *f, uint64_t n)
{
        uint64_t until = clock_monotonic_usec() + 30 * USEC_PER_SEC;

        while (stats(f).trouble[0]) {
                assert_true(clock_monotonic_usec() < until);
                assert_true(sd_event_run(f->event, 20000) >= 0);
                assert_int_equal(append_as(f, n, n % 2), 0);
                n++;
        }
        return n;
}

/* --- mounting ----------------------------------------------------------------------------------------- */

typedef struct Mounted {
        void (*run)(Fixture *f);
        bool allowed;
} Mounted;

static void run_mounted(Fixture *f, void *userdata)
{
        Mounted *mounted = userdata;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                return;
        mounted->allowed = true;
        mounted->run(f);
}

/* In a mount namespace of its own. An assertion that fails in there ends that process otherwise than killed.
 */
static void in_namespace(Fixture *f, void (*run)(Fixture *f))
{
        Mounted *mounted =
                mmap(NULL, sizeof(*mounted), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        bool allowed;

        assert_true(mounted != MAP_FAILED);
        mounted->run = run;
        in_killed_child(f, run_mounted, mounted);
        allowed = mounted->allowed;
        munmap(mounted, sizeof(*mounted));
        if (!allowed)
                skip(); /* not allowed to mount */
}

static void mount_memory(const char *path)
{
        assert_int_equal(file_make_directory(path, 0700), 0);
        assert_int_equal(mount("none", path, "tmpfs", 0, "size=2m"), 0);
}

static void set_read_only(const char *path, bool read_only)
{
        /* The mount, as files may be open for writing (then the file system can't be). */
        assert_int_equal(
                mount("none", path, "none", MS_REMOUNT | MS_BIND | (read_only ? MS_RDONLY : 0), NULL), 0);
}

/* By others, all but `left` bytes. */
static void fill(const char *directory, size_t left)
{
        static char block[4096];
        char path[256];
        off_t size = 0;
        int fd;

        snprintf(path, sizeof(path), "%s/filler", directory);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        memset(block, 'x', sizeof(block));
        while (write(fd, block, sizeof(block)) == sizeof(block))
                size += (off_t) sizeof(block);
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(ftruncate(fd, size - (off_t) left), 0);
        close(fd);
}

static void unfill(const char *directory)
{
        char path[256];

        snprintf(path, sizeof(path), "%s/filler", directory);
        assert_int_equal(unlink(path), 0);
}

/* --- the runtime directory can't be used --------------------------------------------------------------- */

static void append_thirty(Fixture *f, void *userdata)
{
        start(f);
        for (uint64_t n = 1; n <= 30; n++)
                assert_int_equal(append_as(f, n, userdata), 0);
        assert_int_equal(spares(f), 1);
        expect(f, 1, 30);
}

/* Thirty and kill -9, twice; they are there; `mend`, and it is as it should be. */
static void survives(Fixture *f, int error, void (*mend)(Fixture *f))
{
        uint64_t n;

        in_killed_child(f, append_thirty, NULL);
        logged[0] = '\0';
        start(f);
        assert_int_equal(stats(f).messages, 30);
        assert_int_equal(stats(f).damaged, 0);
        expect(f, 1, 30);
        for (n = 31; n <= 60; n++)
                assert_int_equal(append_as(f, n, n % 2), 0);
        assert_non_null(strstr(stats(f).trouble, f->runtime));
        assert_non_null(strstr(stats(f).trouble, strerror(error)));
        assert_non_null(strstr(stats(f).trouble, "Nothing is lost"));
        assert_int_equal(logged_times("warning"), 1);
        spool_confirm(f->spool, 1, 10); /* or, where the numbers are others, nothing */
        await(f, calls.syncs > 0);      /* the disk gets it as usual, only sooner */

        mend(f);
        n = append_until_well(f, n);
        assert_int_equal(logged_times("can be written again"), 1);
        await(f, spares(f) == 0);
        for (uint64_t i = 0; i < 10; i++)
                assert_int_equal(append_as(f, n++, i % 2), 0);
        assert_int_equal(spares(f), 0);
        assert_int_equal(segments_in(f->runtime, NULL), 1);
        stop(f);
        start(f);
        assert_int_equal(stats(f).damaged, 0);
        assert_string_equal(stats(f).trouble, "");
        stop(f);
}

static void mend_full(Fixture *f)
{
        unfill(f->runtime);
}

static void runtime_full(Fixture *f)
{
        mount_memory(f->runtime);
        fill(f->runtime, 0);
        survives(f, ENOSPC, mend_full);
}

static void test_runtime_full(void **state)
{
        in_namespace(*state, runtime_full);
}

/* The same for what has to be safe, as a caller on the bus asks for. */
static void runtime_full_safe(Fixture *f)
{
        mount_memory(f->runtime);
        fill(f->runtime, 0);
        in_killed_child(f, append_thirty, f);
        start(f);
        expect(f, 1, 30);
}

static void test_runtime_full_safe(void **state)
{
        in_namespace(*state, runtime_full_safe);
}

static void append_until_full(Fixture *f, void *userdata)
{
        uint64_t *n = userdata;

        start(f);
        while (spares(f) == 0) {
                ++*n;
                assert_int_equal(append_as(f, *n, *n % 2), 0);
        }
        assert_true(stats(f).trouble[0]);
        assert_true(segments_in(f->runtime, NULL) > 0);
        for (uint64_t i = 0; i < 20; i++)
                assert_int_equal(append_as(f, ++*n, i % 2), 0);
}

/* It becomes full while it is in use: part of them is there, part of them here. */
static void runtime_fills_up(Fixture *f)
{
        uint64_t *n = mmap(NULL, sizeof(*n), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        mount_memory(f->runtime);
        fill(f->runtime, 40960);
        in_killed_child(f, append_until_full, n);
        assert_true(*n > 50);
        start(f);
        assert_int_equal(stats(f).messages, *n);
        assert_int_equal(stats(f).damaged, 0); /* what didn't fit was cut off at once */
        expect(f, 1, *n);
        stop(f);
        start(f);
        expect(f, 1, *n);
        assert_int_equal(spares(f) + segments_in(f->runtime, NULL), 0);
}

static void test_runtime_fills_up(void **state)
{
        in_namespace(*state, runtime_fills_up);
}

static void mend_read_only(Fixture *f)
{
        set_read_only(f->runtime, false);
}

static void runtime_read_only(Fixture *f)
{
        char path[256];

        mount_memory(f->runtime);
        snprintf(path, sizeof(path), "%s/spool", f->runtime);
        assert_int_equal(mkdir(path, 0700), 0);
        set_read_only(f->runtime, true);
        survives(f, EROFS, mend_read_only);
}

static void test_runtime_read_only(void **state)
{
        in_namespace(*state, runtime_read_only);
}

static void mend_missing(Fixture *f)
{
        set_read_only(f->memory, false);
}

static void runtime_missing(Fixture *f)
{
        mount_memory(f->memory);
        set_read_only(f->memory, true);
        survives(f, EROFS, mend_missing);
}

static void test_runtime_missing(void **state)
{
        in_namespace(*state, runtime_missing);
}

/* --- neither can be used ------------------------------------------------------------------------------- */

static void append_neither(Fixture *f, void *userdata)
{
        int error = *(int *) userdata;

        start(f);
        for (uint64_t n = 1; n <= 30; n++) {
                assert_int_equal(append_as(f, 1000 + n, true), -error);
                assert_int_equal(append_as(f, n, false), 1);
                assert_int_equal(append_as(f, 1000 + n, true), -error);
        }
        assert_int_equal(stats(f).messages, 30);
        assert_int_equal(stats(f).dropped, 60);
        assert_non_null(strstr(stats(f).trouble, f->runtime));
        assert_non_null(strstr(stats(f).trouble, f->state));
        assert_non_null(strstr(stats(f).trouble, strerror(error)));
        assert_non_null(strstr(stats(f).trouble, "in memory only"));
        expect(f, 1, 30);
}

/* With one of them mended, what has to be safe is taken at once, and is safe. */
static void append_mended(Fixture *f, void *userdata)
{
        int error = *(int *) userdata;

        append_neither(f, &error);
        if (error == ENOSPC)
                unfill(f->state);
        else
                set_read_only(f->state, false);
        assert_int_equal(append_as(f, 31, true), 0);
        assert_int_equal(append_as(f, 32, false), 0);
        assert_true(stats(f).trouble[0]);
        assert_null(strstr(stats(f).trouble, "in memory only"));
}

static void neither(Fixture *f, int error)
{
        uint64_t sequence = 0, n = 0;

        in_killed_child(f, append_neither, &error);
        start(f);
        assert_int_equal(stats(f).messages, 0); /* as was said */
        assert_int_equal(stats(f).damaged, 0);
        stop(f);

        in_killed_child(f, append_mended, &error);
        start(f);
        while (next(f, &sequence, &n) && n <= 30) /* the disk may have got some */
                ;
        assert_int_equal(n, 31);
        assert_true(next(f, &sequence, &n));
        assert_int_equal(n, 32);
        assert_false(next(f, &sequence, &n));
        stop(f);
}

static void both_full(Fixture *f)
{
        mount_memory(f->runtime);
        mount_memory(f->state);
        fill(f->runtime, 0);
        fill(f->state, 0);
        neither(f, ENOSPC);
}

static void test_both_full(void **state)
{
        in_namespace(*state, both_full);
}

static void both_read_only(Fixture *f)
{
        char path[256];

        mount_memory(f->runtime);
        mount_memory(f->state);
        snprintf(path, sizeof(path), "%s/spool", f->runtime);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof(path), "%s/spool", f->state);
        assert_int_equal(mkdir(path, 0700), 0);
        set_read_only(f->runtime, true);
        set_read_only(f->state, true);
        neither(f, EROFS);
}

static void test_both_read_only(void **state)
{
        in_namespace(*state, both_read_only);
}

static unsigned count_descriptors(const char *of)
{
        DIR *directory = opendir("/proc/self/fd");
        struct dirent *entry;
        unsigned n = 0;

        assert_non_null(directory);
        while ((entry = readdir(directory))) {
                char path[512] = "";

                if (readlinkat(dirfd(directory), entry->d_name, path, sizeof(path) - 1) > 0 &&
                        strstr(path, of))
                        n++;
        }
        closedir(directory);
        return n;
}

/* Trying again in vain, it goes on where it is, and doesn't use up descriptors. */
static void goes_on(Fixture *f, const char *where, int result)
{
        uint64_t until = clock_monotonic_usec() + 4 * USEC_PER_SEC; /* two retries at least */

        calls.disk_error = EIO;
        start(f);
        for (uint64_t n = 1; clock_monotonic_usec() < until; n++) {
                assert_int_equal(append_as(f, n, false), result);
                assert_true(sd_event_run(f->event, 20000) >= 0);
        }
        assert_int_equal(count_descriptors(where), 1);
        calls.disk_error = calls.runtime_error = calls.spare_error = 0;
}

static void test_retries_memory(void **state)
{
        calls.runtime_error = calls.spare_error = ENOSPC;
        goes_on(*state, "memfd:plugd-spool", 1);
}

static void test_retries_spare(void **state)
{
        calls.runtime_error = ENOSPC;
        goes_on(*state, "/young/0", 0);
}

/* --- removed, late, killed anywhere -------------------------------------------------------------------- */

static void append_removed(Fixture *f, void *userdata)
{
        (void) userdata;
        start(f);
        for (uint64_t n = 1; n <= 10; n++)
                append(f, n, 10);
        remove_tree(f->runtime);
        for (uint64_t n = 11; n <= 20; n++)
                append(f, n, 10);
        assert_int_equal(logged_times("were removed"), 1);
        assert_int_equal(segments_in(f->runtime, NULL), 1); /* made anew */
        /* What was in the removed ones goes to the disk soon. */
        await(f, segments_in(f->state, NULL) == 1 && calls.syncs > 0);
        expect(f, 1, 20);
        remove_tree(f->runtime);
        file_put(f->runtime, "in the way", 10);
        for (uint64_t n = 21; n <= 30; n++)
                append(f, n, 10);
        assert_int_equal(spares(f), 1);
        assert_int_equal(spool_append_safe(f->spool, sample_make(31, 10), &(uint64_t){0}), 0);
}

static void test_removed(void **state)
{
        Fixture *f = *state;

        in_killed_child(f, append_removed, NULL);
        start(f);
        expect(f, 1, 31);
}

static void append_ten(Fixture *f, void *userdata)
{
        (void) userdata;
        start(f);
        for (uint64_t n = 1; n <= 10; n++)
                append(f, n, 10);
        assert_int_equal(spares(f), 1);
}

/* The state directory comes late, and has some that were young: they wait for the next start too. */
static void test_spare_comes_late(void **state)
{
        Fixture *f = *state;
        char away[128];

        file_put(f->runtime, "in the way", 10);
        in_killed_child(f, append_ten, NULL);
        unlink(f->runtime);
        snprintf(away, sizeof(away), "%s.away", f->state);
        assert_int_equal(rename(f->state, away), 0);
        file_put(f->state, "in the way", 10);

        start(f);
        for (uint64_t n = 11; n <= 20; n++)
                append(f, n, 10);
        unlink(f->state);
        assert_int_equal(rename(away, f->state), 0);
        await(f, strstr(stats(f).trouble, "has 10 older messages"));
        calls.runtime_error = ENOSPC;
        append(f, 21, 10);
        assert_int_equal(spares(f), 2);
        calls.runtime_error = 0;
        spool_confirm(f->spool, 1, UINT64_MAX);
        stop(f);

        start(f);
        expect(f, 1, 10);
        assert_int_equal(stats(f).damaged, 0);
}

typedef struct Progress { /* shared with the child */
        _Atomic uint64_t appended;
} Progress;

static void live(Fixture *f, void *userdata)
{
        Progress *progress = userdata;
        uint64_t sequence = 0, n = 0;

        /* Room for all of both lives: nothing is dropped, however late the disk's thread gets its turn. */
        f->limits.memory = 1024 * KIB;
        f->limits.sync_usec = 500;
        start(f);
        while (next(f, &sequence, &n)) /* in a second life there may be one more than was said */
                ;
        for (unsigned i = 0; i < 40; i++) {
                calls.runtime_error = i / 3 % 2 ? ENOSPC : 0;
                for (unsigned k = 0; k < 4; k++) {
                        append(f, n + 1, 2000);
                        progress->appended = ++n;
                }
                (void) sd_event_run(f->event, 200);
        }
}

/* Killed in any write, here, there, or on the way between. */
static void test_killed_anywhere(void **state)
{
        Fixture *f = *state;
        Progress *progress =
                mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(progress != MAP_FAILED);
        for (int i = 1; i <= 100; i++) {
                uint64_t sequence = 0, n = 0, wanted = 0;
                Fixture child = *f;

                remove_tree(f->state);
                remove_tree(f->runtime);
                progress->appended = 0;
                for (unsigned life = 0; life < 2; life++) {
                        atomic_store(&calls.die_half, i % 2);
                        atomic_store(&calls.die_at, i * 2);
                        in_killed_child(&child, live, progress);
                }
                atomic_store(&calls.die_at, 0);
                atomic_store(&calls.die_half, 0);
                start(f);
                while (next(f, &sequence, &n))
                        assert_int_equal(n, ++wanted);
                assert_true(wanted == progress->appended || wanted == progress->appended + 1);
                stop(f);
        }
        munmap(progress, sizeof(*progress));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_runtime_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runtime_full_safe, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runtime_fills_up, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runtime_read_only, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runtime_missing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_both_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_both_read_only, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries_spare, setup, teardown),
                cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_spare_comes_late, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed_anywhere, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-places", tests, NULL, NULL);
}
