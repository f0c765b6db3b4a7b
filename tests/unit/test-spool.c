/* SPDX-License-Identifier: Apache-2.0 */
/* The spool in good days and on a full or slow disk: what it promises about keeping, writing and order. */

#include "spool-fixture.h"

static void test_round_trip(void **state)
{
        Fixture *f = *state;
        uint64_t sequence, n, last = 0;
        Sample empty = {.sensor = "", .channel = "c", .data = "", .data_size = 0}, got;

        start(f);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 0, &sequence, &got), 0);
        for (n = 1; n <= 1000; n++) {
                sequence = append(f, n, n % 200);
                assert_true(sequence > last);
                last = sequence;
        }
        append(f, 1001, SAMPLE_DATA_MAX - 100);
        expect(f, 1, 1001);

        /* From anywhere, forwards and back. */
        for (unsigned i = 0; i < 1000; i++) {
                uint64_t wanted = (i * 7919) % 1001 + 1;

                sequence = wanted;
                assert_true(next(f, &sequence, &n));
                assert_int_equal(n, wanted);
        }
        assert_int_equal(spool_append(f->spool, &empty, &sequence), 0);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, sequence, &sequence, &got), 1);
        assert_string_equal(got.sensor, "");
        assert_string_equal(got.channel, "c");
        assert_int_equal(got.data_size, 0);
        assert_string_equal(got.data, "");
        assert_int_equal(stats(f).messages, 1002);
        assert_string_equal(stats(f).trouble, "");
        assert_string_equal(logged, "");
}

static void test_refused(void **state)
{
        Fixture *f = *state;
        char long_text[300], *large = calloc(1, SAMPLE_DATA_MAX + 2);
        uint64_t sequence = 77;
        Sample sample = {.sensor = "", .channel = "c", .data = large, .data_size = SAMPLE_DATA_MAX + 1};

        start(f);
        memset(large, '7', SAMPLE_DATA_MAX + 1);
        assert_int_equal(spool_append(f->spool, &sample, &sequence), -EMSGSIZE);
        sample.data_size = SAMPLE_DATA_MAX;
        memset(long_text, 'x', sizeof(long_text));
        long_text[256] = '\0';
        sample.channel = long_text;
        assert_int_equal(spool_append(f->spool, &sample, &sequence), -EMSGSIZE);
        long_text[255] = '\0';
        large[5] = '\0';
        assert_int_equal(spool_append(f->spool, &sample, &sequence), -EINVAL);
        assert_int_equal(sequence, 77);
        assert_int_equal(stats(f).dropped, 3);
        large[5] = '7';
        sample.sensor = long_text;
        assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        assert_int_equal(stats(f).messages, 1);
        free(large);
}

static void test_confirm_is_exact(void **state)
{
        Fixture *f = *state;
        uint64_t sizes[301] = {}, before = 0, total, sequence = 0, n;

        start(f);
        for (n = 1; n <= 300; n++) {
                append(f, n, (n * 37) % 1500);
                sizes[n] = stats(f).bytes - before;
                before += sizes[n];
        }
        total = before;
        for (n = 1; n <= 300; n++) {
                uint64_t got;

                assert_true(next(f, &sequence, &got));
                if (n % 7 != 0 && n != 300)
                        continue;
                spool_confirm(f->spool, 1, n);
                for (uint64_t i = n == 300 ? 295 : n - 6; i <= n; i++)
                        total -= sizes[i];
                assert_int_equal(stats(f).messages, 300 - n);
                assert_int_equal(stats(f).bytes, total);
        }
        assert_int_equal(total, 0);

        /* Backwards and beyond the end: nothing. */
        spool_confirm(f->spool, 1, 5);
        spool_confirm(f->spool, 1, UINT64_MAX);
        sequence = append(f, 301, 10);
        assert_int_equal(sequence, 301);
        expect(f, 301, 301);
        /* What was never read can be confirmed as well. */
        for (n = 302; n <= 400; n++)
                append(f, n, 10);
        spool_confirm(f->spool, 1, 350);
        assert_int_equal(stats(f).messages, 50);
        expect(f, 351, 400);
}

static void append_100_confirm_30(Fixture *f, void *userdata)
{
        (void) userdata;
        start(f);
        for (uint64_t n = 1; n <= 100; n++)
                append(f, n, 50);
        spool_confirm(f->spool, 1, 30);
}

static void confirm_all(Fixture *f, void *userdata)
{
        (void) userdata;
        start(f);
        spool_confirm(f->spool, 1, UINT64_MAX);
}

static void test_kill(void **state)
{
        Fixture *f = *state;

        in_killed_child(f, append_100_confirm_30, NULL);
        start(f);
        assert_int_equal(stats(f).messages, 70);
        expect(f, 31, 100);
        assert_int_equal(append(f, 101, 0), 101);
        assert_int_equal(stats(f).damaged, 0);
        stop(f);

        /* All confirmed and all files gone: numbers go on. */
        in_killed_child(f, confirm_all, NULL);
        start(f);
        assert_int_equal(stats(f).messages, 0);
        assert_int_equal(append(f, 102, 0), 102);
        expect(f, 102, 102);
}

static void test_stop_moves_to_disk(void **state)
{
        Fixture *f = *state;
        uint64_t n;

        start(f);
        for (n = 1; n <= 5000; n++)
                append(f, n, 100);
        spool_confirm(f->spool, 1, 1000);
        stop(f);
        assert_int_equal(segments_in(f->runtime, NULL), 0);
        assert_true(segments_in(f->state, NULL) >= 1);

        remove_tree(f->runtime); /* a reboot */
        start(f);
        assert_int_equal(stats(f).messages, 4000);
        expect(f, 1001, 5000);
        for (; n <= 6000; n++)
                append(f, n, 100);
        expect(f, 1001, 6000);
        spool_confirm(f->spool, 1, 5500);
        stop(f);
        start(f);
        expect(f, 5501, 6000);
        assert_int_equal(stats(f).messages, 500);
        spool_confirm(f->spool, 1, 6000);
        stop(f);
        assert_int_equal(segments_in(f->state, NULL), 0);
}

/* Online and steady: what is confirmed within `sync` costs the state directory nothing at all. */
static void test_steady_writes_nothing(void **state)
{
        Fixture *f = *state;
        uint64_t until, sequence = 0;

        f->limits.sync_usec = 300000;
        start(f);
        until = clock_monotonic_usec() + 1200000;
        for (uint64_t n = 1; clock_monotonic_usec() < until; n++) {
                sequence = append(f, n, 100);
                assert_true(sd_event_run(f->event, 1000) >= 0);
                if (n % 50 == 0)
                        spool_confirm(f->spool, 1, sequence - 20);
        }
        spool_confirm(f->spool, 1, sequence);
        stop(f);
        assert_int_equal(calls.disk_writes, 0);
        assert_int_equal(calls.syncs, 0);
        assert_int_equal(segments_in(f->state, NULL), 0);
}

/* Nothing unconfirmed: no timer, no wake-ups. */
static void test_idle_sleeps(void **state)
{
        Fixture *f = *state;

        f->limits.sync_usec = 100000;
        start(f);
        spool_confirm(f->spool, 1, append(f, 1, 10));
        assert_true(sd_event_run(f->event, 300000) >= 0); /* the one that was set */
        assert_int_equal(sd_event_run(f->event, 500000), 0);
        append(f, 2, 10);
        await(f, segments_in(f->state, NULL) == 1 && segments_in(f->runtime, NULL) == 1);
        await(f, calls.syncs > 0);
        assert_true(sd_event_run(f->event, 100000) >= 0);
        assert_int_equal(sd_event_run(f->event, 500000), 0);
}

/* Offline: after `sync`, each record is on disk once, with little around it. */
static void test_offline_writes_little(void **state)
{
        Fixture *f = *state;
        uint64_t began, bytes = 0, payload = 0;

        f->limits.sync_usec = 400000;
        start(f);
        began = clock_monotonic_usec();
        for (uint64_t n = 1; n <= 2000; n++) {
                const Sample *sample = sample_make(n, 60);

                /* PLUG_ID/data/CHANNEL and {"id":"…","data":…,"at":…} */
                payload += 34 + strlen(sample->channel) + 60 + sample->data_size;
                append(f, n, 60);
                assert_true(sd_event_run(f->event, 0) >= 0);
        }
        assert_true(clock_monotonic_usec() - began > 300000 || calls.disk_writes == 0);
        await(f, calls.syncs > 0);
        assert_true(clock_monotonic_usec() - began > 350000);
        assert_true(clock_monotonic_usec() - began < 3000000);
        stop(f);
        assert_int_equal(segments_in(f->runtime, NULL), 0);
        segments_in(f->state, &bytes);
        assert_int_equal(bytes, calls.disk_bytes); /* nothing twice */
        assert_true((uint64_t) calls.disk_bytes * 10 <= payload * 12);
        start(f);
        expect(f, 1, 2000);
}

/* More than the memory is for goes to the disk at once. */
static void test_memory_is_bounded(void **state)
{
        Fixture *f = *state;
        uint64_t bytes;

        f->limits.memory = 256 * KIB;
        start(f);
        for (uint64_t n = 1; n <= 20000; n++) {
                append(f, n, 100);
                if (n % 100 == 0) {
                        await_disk(f);
                        segments_in(f->runtime, &bytes);
                        assert_true(bytes < 200 * KIB);
                        assert_true(segments_in(f->runtime, NULL) <= 32);
                }
        }
        assert_int_equal(stats(f).dropped, 0);
        assert_int_equal(stats(f).messages, 20000);
        expect(f, 1, 20000);
}

static void test_full(void **state)
{
        Fixture *f = *state;
        uint64_t bytes, n, most = 0;

        f->limits.max_size = MIB;
        f->limits.memory = 256 * KIB;
        start(f);
        for (n = 1; n <= 30000; n++) {
                append(f, n, 100);
                if (n % 100 == 0) {
                        await_disk(f);
                        segments_in(f->state, &bytes);
                        assert_true(bytes <= MIB);
                        most = MAX(most, bytes);
                }
        }
        assert_true(most > 700 * KIB);
        assert_true(stats(f).dropped > 0);
        assert_int_equal(stats(f).messages + stats(f).dropped, 30000);
        assert_int_equal(
                logged_times("full (spool.max_size is 1.0 MiB): messages are dropped: the oldest of "), 1);
        expect_most(f, 30000);
        n = stats(f).dropped;
        stop(f);
        segments_in(f->state, &bytes);
        assert_true(bytes <= MIB);
        assert_true(logged_times(" messages were dropped") == 1);

        /* The same after a start. */
        start(f);
        assert_true(stats(f).messages <= 30000 - n);
        expect_most(f, 30000);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Under a checker the memory isn't only ours. */
static bool memory_is_ours(void)
{
        const char *preload = getenv("LD_PRELOAD"); /* valgrind's */

        return !SANITIZED && !(preload && strstr(preload, "vgpreload"));
}

static uint64_t resident_bytes(void)
{
        _cleanup_(fclosep) FILE *file = fopen("/proc/self/statm", "re");
        unsigned long total, resident;

        assert_non_null(file);
        assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
        return resident * (uint64_t) sysconf(_SC_PAGESIZE);
}

static void note_newest(const SpoolNoted *noted, void *userdata)
{
        uint64_t *newest = userdata;

        for (uint64_t n = 0; n < 5; n++)
                if (strcmp(noted->channel, sample_make(n, 0)->channel) == 0)
                        newest[n] = MAX(newest[n], noted->at_msec);
}

/* 300,000 records: memory as with ten, and opened without reading them; the newest times all the same. */
static void test_many(void **state)
{
        Fixture *f = *state;
        uint64_t resident, began, taken, newest[5] = {};
        const uint64_t total = 300000;

        f->limits.max_size = 256 * MIB;
        start(f);
        for (uint64_t n = 1; n <= 1000; n++)
                append(f, n, 60);
        expect(f, 1, 1000);
        resident = resident_bytes();
        for (uint64_t n = 1001; n <= total; n++) {
                append(f, n, 60);
                if (n % 2000 == 0)
                        await_disk(f);
        }
        assert_int_equal(stats(f).messages, total);
        assert_true(!memory_is_ours() || resident_bytes() < resident + MIB);
        stop(f);

        atomic_store(&calls.disk_bytes, 0);
        began = clock_monotonic_usec();
        start_noting(f, note_newest, newest);
        taken = clock_monotonic_usec() - began;
        print_message("opened %" PRIu64 " records in %" PRIu64 " us\n", total, taken);
        assert_true(taken < 500000);
        assert_int_equal(stats(f).messages, total);
        for (uint64_t n = 0; n < 5; n++)
                assert_int_equal(newest[n], UINT64_C(1700000000000) + total - (5 - n) % 5);
        expect(f, 1, total);
        assert_true(!memory_is_ours() || resident_bytes() < resident + 2 * MIB);
        /* Confirming goes through all of it, segment by segment. */
        for (uint64_t sequence = 1; sequence <= total; sequence += 997) {
                spool_confirm(f->spool, 1, sequence);
                assert_int_equal(stats(f).messages, total - sequence);
        }
        spool_confirm(f->spool, 1, total);
        await(f, segments_in(f->state, NULL) == 0);
}

/* A newest time that is only in a sealed segment counts. */
static void test_old_channel_is_noted(void **state)
{
        Fixture *f = *state;
        Sample sample = {
                .at_msec = 5000000, .sensor = "", .channel = "Halle/Tür 4", .data = "1", .data_size = 1};
        uint64_t newest[5] = {}, sequence;

        f->limits.max_size = MIB; /* segments of 64 KiB */
        start(f);
        assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        for (uint64_t n = 0; n < 3000; n += 5)
                append(f, n, 200);
        stop(f);
        assert_true(segments_in(f->state, NULL) > 2);
        start_noting(f, note_newest, newest);
        assert_int_equal(newest[4], 5000000);
        assert_int_equal(newest[0], UINT64_C(1700000000000) + 2995);
        assert_int_equal(newest[1], 0);
}

static unsigned n_ready;

static void on_ready(void *userdata)
{
        (void) userdata;
        n_ready++;
}

/* With a ready callback the loop's thread reads nothing on the disk itself. */
static void test_ready(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0, n, total = 20000;
        Sample sample;

        start(f);
        for (n = 1; n <= total; n++) {
                append(f, n, n % 7 == 0 ? 3000 : 50);
                if (n % 1000 == 0)
                        await_disk(f);
        }
        append(f, ++total, SAMPLE_DATA_MAX - 100);
        stop(f);
        start(f);
        n_ready = 0;
        spool_set_ready(f->spool, on_ready, NULL);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 0, &sequence, &sample), -EAGAIN);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 0, &sequence, &sample), -EAGAIN);
        await(f, n_ready > 0);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 0, &sequence, &sample), 1);
        for (n = total + 1; n <= total + 100; n++)
                append(f, n, 10);
        expect(f, 1, total + 100);
        expect(f, 1, total + 100);
        assert_true(n_ready > 50);
        /* Confirmed while it is being fetched. */
        sequence = 100;
        assert_true(next(f, &sequence, &n));
        spool_confirm(f->spool, 1, total);
        expect(f, total + 1, total + 100);
        await(f, segments_in(f->state, NULL) == 0);
}

/* Reading, confirming and moving to the disk at the same time. */
static void test_interleaved(void **state)
{
        Fixture *f = *state;
        uint64_t written = 0, sequence = 0, wanted = 1, random = 1, n;

        f->limits.memory = MIB;
        f->limits.sync_usec = 1000;
        start(f);
        spool_set_ready(f->spool, on_ready, NULL);
        while (written < 20000) {
                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                for (unsigned i = 0; i < (random >> 60); i++)
                        append(f, ++written, (random >> 40) % 300);
                assert_true(sd_event_run(f->event, 0) >= 0);
                for (unsigned i = 0; i < (random >> 56 & 15) && next(f, &sequence, &n); i++)
                        assert_int_equal(n, wanted++);
                if ((random >> 50 & 7) == 0 && wanted > 1) {
                        spool_confirm(
                                f->spool, 1, wanted - 1 - (random >> 30) % MIN(wanted - 1, UINT64_C(20)));
                        if ((random >> 20 & 3) == 0) { /* the link failed */
                                sequence = 0;
                                if (!next(f, &sequence, &n))
                                        continue;
                                assert_true(n <= wanted);
                                wanted = n + 1;
                        }
                }
                await_disk(f);
                assert_int_equal(stats(f).dropped, 0);
        }
        while (next(f, &sequence, &n))
                assert_int_equal(n, wanted++);
        assert_int_equal(wanted, written + 1);
        spool_confirm(f->spool, 1, written);
        assert_int_equal(stats(f).messages, 0);
        assert_int_equal(stats(f).bytes, 0);
        assert_int_equal(stats(f).damaged, 0);
}

static void test_lock(void **state)
{
        Fixture *f = *state;
        _cleanup_(freep) char *error = NULL;
        char other[128], pid[32];
        Spool *second = NULL;

        start(f);
        snprintf(other, sizeof(other), "%s/other", f->base);
        assert_int_equal(
                spool_new(&second, f->event, f->state, other, &f->limits, NULL, 0, NULL, NULL, &error),
                -EBUSY);
        assert_null(second);
        assert_non_null(strstr(error, f->state));
        free(TAKE_PTR(error));
        assert_int_equal(
                spool_new(&second, f->event, other, f->runtime, &f->limits, NULL, 0, NULL, NULL, &error),
                -EBUSY);
        assert_non_null(strstr(error, f->runtime));
        free(TAKE_PTR(error));

        snprintf(pid, sizeof(pid), "pid %d", (int) getpid());
        pid_t child = fork();
        if (child == 0) {
                sd_event *event = NULL;

                sd_event_new(&event);
                if (spool_new(&second, event, f->state, f->runtime, &f->limits, NULL, 0, NULL, NULL,
                            &error) != -EBUSY)
                        _exit(1);
                /* /proc/locks can't always tell, on a file system that has device numbers of its own. */
                _exit(strstr(error, "Another plugd") && (strstr(error, pid) || !strstr(error, "pid")) ? 0
                                                                                                      : 2);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(append(f, 1, 1), 1);
}

static void test_folders_are_private(void **state)
{
        Fixture *f = *state;
        struct stat status;
        char path[256];

        start(f);
        snprintf(path, sizeof(path), "%s/spool", f->state);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        snprintf(path, sizeof(path), "%s/spool", f->runtime);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        append(f, 1, 1);
        assert_int_equal(stat(segment_path(path, f->runtime, 1), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(stats(f).volatile_memory, strncmp(f->memory, "/dev/shm", 8) == 0);
}

static void test_not_memory(void **state)
{
        Fixture *f = *state;

        snprintf(f->runtime, sizeof(f->runtime), "%s/run", f->base);
        start(f);
        if (stats(f).volatile_memory)
                skip(); /* /tmp is a tmpfs here */
        assert_int_equal(logged_times("is on a disk, not in memory"), 1);
        append(f, 1, 1);
        expect(f, 1, 1);
}

/* A disk that hangs in fdatasync holds up neither appending nor reading. */
static void test_stalled_disk(void **state)
{
        Fixture *f = *state;
        uint64_t slowest = 0, n;

        f->limits.sync_usec = 10000;
        atomic_store(&calls.stalled, true);
        start(f);
        append(f, 1, 10);
        await(f, calls.is_stalled);
        for (n = 2; n <= 3000; n++) {
                uint64_t began = clock_monotonic_usec();

                append(f, n, 100);
                assert_true(sd_event_run(f->event, 0) >= 0);
                slowest = MAX(slowest, clock_monotonic_usec() - began);
        }
        expect(f, 1, 3000);
        spool_confirm(f->spool, 1, 2000);
        expect(f, 2001, 3000);
        assert_true(slowest < 500000);
        assert_true(calls.is_stalled);
        atomic_store(&calls.stalled, false);
        await(f, segments_in(f->runtime, NULL) == 1 && stats(f).messages == 1000 && calls.syncs >= 2);
        stop(f);
        start(f);
        expect(f, 2001, 3000);
}

/* Before something has to make room because the disk is slow, who appends can know. */
static void test_pressed(void **state)
{
        Fixture *f = *state;
        uint64_t n = 0;

        f->limits.sync_usec = 10000;
        f->limits.memory = 256 * KIB;
        start(f);
        atomic_store(&calls.stalled, true);
        append(f, ++n, 100);
        await(f, calls.is_stalled);
        assert_false(spool_is_pressed(f->spool));
        while (!spool_is_pressed(f->spool)) {
                append(f, ++n, 100);
                assert_int_equal(stats(f).dropped, 0);
        }
        assert_in_range(n, 500, 2000);
        atomic_store(&calls.stalled, false);
        await(f, !spool_is_pressed(f->spool));
        expect(f, 1, n);
}

/* It holds up a stop no longer than 10 s, and then nothing is lost: memory has it. */
static void test_stop_with_stalled_disk(void **state)
{
        Fixture *f = *state;
        uint64_t began;

        f->limits.sync_usec = 10000;
        atomic_store(&calls.stalled, true);
        start(f);
        append(f, 1, 10);
        await(f, calls.is_stalled);
        append(f, 2, 10);
        began = clock_monotonic_usec();
        stop(f);
        assert_true(clock_monotonic_usec() - began < 12 * USEC_PER_SEC);
        atomic_store(&calls.stalled, false);
        for (began = clock_monotonic_usec(); calls.is_stalled;) /* the thread ends by itself */
                assert_true(clock_monotonic_usec() - began < 10 * USEC_PER_SEC);
        for (int r = -EBUSY; r == -EBUSY;) { /* and with it the lock */
                _cleanup_(freep) char *error = NULL;

                r = spool_new(
                        &f->spool, f->event, f->state, f->runtime, &f->limits, NULL, 0, NULL, NULL, &error);
                assert_true(r == 0 || r == -EBUSY);
                assert_true(clock_monotonic_usec() - began < 10 * USEC_PER_SEC);
        }
        expect(f, 1, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_confirm_is_exact, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop_moves_to_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_steady_writes_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_idle_sleeps, setup, teardown),
                cmocka_unit_test_setup_teardown(test_offline_writes_little, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memory_is_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many, setup, teardown),
                cmocka_unit_test_setup_teardown(test_old_channel_is_noted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interleaved, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
                cmocka_unit_test_setup_teardown(test_folders_are_private, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stalled_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pressed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop_with_stalled_disk, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
