/* SPDX-License-Identifier: Apache-2.0 */
/* The spool when things go wrong: killed anywhere, folders that can't be used, disks that are full,
 * read-only or broken. */

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "spool-fixture.h"
#include "spool-internal.h"

/* --- killed anywhere ---------------------------------------------------------------------------------- */

typedef struct Progress { /* shared with the child */
        _Atomic uint64_t appended, confirmed, said;
} Progress;

/* Appends, confirms, moves to disk, removes; says what it has been promised. */
static void live(Fixture *f, void *userdata)
{
        Progress *progress = userdata;
        uint64_t sequence = 0, n = progress->appended;

        f->limits.memory = 256 * KIB;
        f->limits.max_size = 4 * MIB;
        f->limits.sync_usec = 500;
        start(f);
        while (next(f, &sequence, &n)) /* in a second life there may be one more than was said */
                ;
        progress->appended = n;
        for (unsigned i = 0; i < 60; i++) {
                for (unsigned k = 0; k < 5; k++) {
                        append(f, n + 1, 2000);
                        progress->appended = ++n;
                }
                (void) sd_event_run(f->event, 200);
                if (i % 4 == 3) {
                        /* Numbers and sequence numbers are the same here, as long as nothing is reused. */
                        progress->said = n - 7;
                        spool_confirm(f->spool, 1, n - 7);
                        progress->confirmed = n - 7;
                }
        }
        stop(f);
        progress->appended = n;
}

static void test_killed_anywhere(void **state)
{
        Fixture *f = *state;
        Progress *progress =
                mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        unsigned killed = 0;

        assert_true(progress != MAP_FAILED);
        for (int i = 1; i <= 150; i++) {
                Fixture child = *f;
                uint64_t sequence = 0, n = 0, wanted;
                int left;

                remove_tree(f->state);
                remove_tree(f->runtime);
                *progress = (Progress){};
                /* Twice, so that it also happens while recovering and going on. */
                for (unsigned life = 0; life < 2; life++) {
                        atomic_store(&calls.die_half, i % 2);
                        atomic_store(&calls.die_at, i < 90 ? i : i * 4 - 250);
                        in_killed_child(&child, live, progress);
                }
                left = 0;
                atomic_store(&calls.die_at, left);
                killed++;

                start(f);
                /* A torn position file is more than kill -9 can do; then confirmed ones are sent again. */
                if (i % 2 == 0 && next(f, &sequence, &n))
                        assert_true(n == progress->said + 1 || n == progress->confirmed + 1);
                sequence = 0;
                wanted = 0;
                while (next(f, &sequence, &n)) {
                        if (wanted > 0)
                                assert_int_equal(n, wanted);
                        else
                                assert_true(n <= progress->said + 1);
                        wanted = n + 1;
                }
                /* One more than was said may have got in. */
                assert_true(wanted == 0 ? progress->said == progress->appended
                                        : wanted - 1 == progress->appended ||
                                                  wanted - 1 == progress->appended + 1);
                stop(f);
        }
        assert_int_equal(killed, 150);
        munmap(progress, sizeof(*progress));
}

/* A crash between the sync and the dropping of the copies: they are in both tiers, and come once. */
static void test_in_both_tiers(void **state)
{
        Fixture *f = *state;
        char path[256], *copy;
        size_t size;

        start(f);
        for (uint64_t n = 1; n <= 100; n++)
                append(f, n, 20);
        file_get(segment_path(path, f->runtime, 1), &copy, &size);
        stop(f);
        assert_int_equal(segments_in(f->runtime, NULL), 0);
        start(f);
        for (uint64_t n = 101; n <= 110; n++)
                append(f, n, 20);
        stop(f);
        file_put(path, copy, size);
        free(copy);
        start(f);
        assert_int_equal(stats(f).messages, 110);
        expect(f, 1, 110);
        append(f, 111, 1);
        expect(f, 1, 111);
}

/* A power cut: memory is gone, and the disk has what was synced, and perhaps a torn tail. */
static void test_power_cut(void **state)
{
        Fixture *f = *state;
        char path[256], *data;
        size_t size;

        f->limits.sync_usec = 5000;
        start(f);
        for (uint64_t n = 1; n <= 100; n++)
                append(f, n, 20);
        await(f, calls.syncs > 0 && stats(f).messages == 100);
        await(f, sd_event_run(f->event, 50000) == 0);
        file_get(segment_path(path, f->state, 1), &data, &size);
        for (uint64_t n = 101; n <= 110; n++)
                append(f, n, 20);
        stop(f);
        remove_tree(f->runtime);
        data = realloc(data, size + 500);
        memset(data + size, 0, 500); /* as a file system may leave it */
        file_put(path, data, size + 500);
        free(data);
        logged[0] = '\0';
        start(f);
        assert_int_equal(stats(f).damaged, 1);
        assert_int_equal(logged_times("not a whole record, cut off"), 1);
        expect(f, 1, 100);
        append(f, 101, 0);
        stop(f);
        start(f);
        expect(f, 1, 101);
        assert_int_equal(stats(f).damaged, 0);
}

/* Without knowing what was confirmed, it is sent again: harmless. */
static void test_position_damaged(void **state)
{
        Fixture *f = *state;
        char path[256], *data;
        size_t size;

        start(f);
        for (uint64_t n = 1; n <= 10; n++)
                append(f, n, 20);
        spool_confirm(f->spool, 1, 5);
        stop(f);
        snprintf(path, sizeof(path), "%s/spool/confirmed", f->runtime);
        file_get(path, &data, &size);
        for (size_t i = 0; i <= size; i++) {
                char *broken = malloc(size);

                memcpy(broken, data, size);
                if (i < size)
                        broken[i] ^= 0x10;
                file_put(path, broken, i < size ? size : size - 1);
                free(broken);
                start(f);
                expect(f, 1 + (i > 5 ? 5 : 5), 10);
                stop(f);
        }
        free(data);
}

/* --- folders ------------------------------------------------------------------------------------------ */

static void test_runtime_unusable(void **state)
{
        Fixture *f = *state;
        uint64_t hundredth = 0;

        file_put(f->runtime, "in the way", 10);
        start(f);
        assert_non_null(strstr(stats(f).trouble, f->runtime));
        assert_int_equal(stats(f).volatile_memory, false);
        for (uint64_t n = 1; n <= 5000; n++) {
                uint64_t sequence = append(f, n, 10);

                if (n == 100)
                        hundredth = sequence;
                if (n % 100 == 0)
                        assert_true(sd_event_run(f->event, 0) >= 0);
        }
        expect(f, 1, 5000);
        await(f, calls.syncs > 0); /* long before `sync` */
        spool_confirm(f->spool, 1, hundredth);
        stop(f);
        start(f);
        expect(f, 101, 5000);
}

static void test_both_unusable(void **state)
{
        Fixture *f = *state;
        _cleanup_(freep) char *error = NULL;

        file_put(f->runtime, "in the way", 10);
        file_put(f->state, "in the way", 10);
        assert_true(spool_new(&f->spool, f->event, f->state, f->runtime, &f->limits, NULL, 0, NULL, NULL,
                            &error) < 0);
        assert_null(f->spool);
        assert_non_null(strstr(error, f->state));
        assert_non_null(strstr(error, f->runtime));
}

/* The state directory comes later, with messages in it: they wait for the next start, whatever is confirmed,
 * killed or moved until then. */
static void test_state_comes_late(void **state)
{
        Fixture *f = *state;
        char away[128];
        uint64_t sequence = 0, n, seen = 0;

        start(f);
        for (n = 1; n <= 50; n++)
                append(f, n, 10);
        spool_confirm(f->spool, 1, 20);
        stop(f);
        snprintf(away, sizeof(away), "%s.away", f->state);
        assert_int_equal(rename(f->state, away), 0);
        file_put(f->state, "in the way", 10);
        logged[0] = '\0';

        start(f);
        assert_non_null(strstr(stats(f).trouble, f->state));
        assert_non_null(strstr(stats(f).trouble, "kept in memory"));
        assert_int_equal(logged_times("warning"), 1);
        for (n = 51; n <= 80; n++)
                append(f, n, 10);
        expect(f, 51, 80);
        for (n = 51; n <= 60; n++)
                assert_true(next(f, &sequence, &seen) && seen == n);
        spool_confirm(f->spool, 1, sequence - 1);
        unlink(f->state);
        assert_int_equal(rename(away, f->state), 0);
        await(f, strstr(stats(f).trouble, "has 30 older messages"));
        assert_int_equal(stats(f).messages, 20);
        append(f, 81, 0);
        expect(f, 61, 81);
        spool_confirm(f->spool, 1, sequence);
        expect(f, 62, 81);
        stop(f);

        start(f);
        assert_string_equal(stats(f).trouble, "");
        for (sequence = 0, seen = 0, n = 21; next(f, &sequence, &seen); n++) {
                if (n == 51) /* confirmed ones may be sent again, as nothing could note it */
                        n = seen;
                assert_int_equal(seen, n);
        }
        assert_int_equal(seen, 81);
        spool_confirm(f->spool, 1, sequence - 1);
        stop(f);
        start(f);
        assert_int_equal(stats(f).messages, 0);
}

/* The same, and killed before it came; with what is only in memory then. */
static void unseen(Fixture *f, void *userdata)
{
        uint64_t sequence = 0, n;

        (void) userdata;
        start(f);
        for (n = 51; n <= 80; n++)
                append(f, n, 10);
        for (n = 0; n < 60 && next(f, &sequence, &n);)
                ;
        spool_confirm(f->spool, 1, sequence - 1);
}

static void test_killed_without_state(void **state)
{
        Fixture *f = *state;
        char away[128];
        uint64_t sequence = 0, seen = 0, n;

        start(f);
        for (n = 1; n <= 50; n++)
                append(f, n, 10);
        spool_confirm(f->spool, 1, 20);
        stop(f);
        snprintf(away, sizeof(away), "%s.away", f->state);
        assert_int_equal(rename(f->state, away), 0);
        file_put(f->state, "in the way", 10);
        in_killed_child(f, unseen, NULL);
        unlink(f->state);
        assert_int_equal(rename(away, f->state), 0);
        start(f);
        for (n = 21; n <= 50; n++)
                assert_true(next(f, &sequence, &seen) && seen == n);
        for (n = 0; next(f, &sequence, &seen); n++)
                assert_true(seen > 50);
        assert_int_equal(seen, 80);
        assert_true(n >= 20);
}

/* --- disks -------------------------------------------------------------------------------------------- */

/* Writing fails for a while: memory keeps, nothing comes twice, it recovers. */
static void disk_fails(Fixture *f, atomic_int *call, int error)
{
        char path[256];

        f->limits.sync_usec = 5000;
        start(f);
        for (uint64_t n = 1; n <= 100; n++)
                append(f, n, 20);
        await(f, segments_in(f->state, NULL) == 1);
        atomic_store(call, error);
        for (uint64_t n = 101; n <= 200; n++)
                append(f, n, 20);
        await(f, stats(f).trouble[0]);
        assert_non_null(strstr(stats(f).trouble, strerror(error)));
        assert_non_null(strstr(stats(f).trouble, f->state));
        expect(f, 1, 200);
        assert_int_equal(stats(f).messages, 200);
        assert_int_equal(logged_times("warning"), 1);

        /* Killed and started meanwhile (as good as): still nothing lost. */
        stop(f);
        assert_true(segments_in(f->runtime, NULL) > 0);
        start(f);
        expect(f, 1, 200);
        await(f, stats(f).trouble[0]);

        atomic_store(call, 0);
        append(f, 201, 0);
        await(f, !stats(f).trouble[0]);
        assert_true(logged_times("can be written again") >= 1);
        expect(f, 1, 201);
        assert_int_equal(stats(f).messages, 201);
        stop(f);
        assert_int_equal(segments_in(f->runtime, NULL), 0);
        start(f);
        expect(f, 1, 201);
        assert_int_equal(stats(f).damaged, 0);
        segment_path(path, f->state, 1);
}

static void test_sync_eio(void **state)
{
        disk_fails(*state, &calls.sync_error, EIO);
}

static void test_write_enospc(void **state)
{
        disk_fails(*state, &calls.disk_error, ENOSPC);
}

static void test_write_half_enospc(void **state)
{
        calls.die_half = 1;
        disk_fails(*state, &calls.disk_error, ENOSPC);
}

static void test_write_erofs(void **state)
{
        disk_fails(*state, &calls.disk_error, EROFS);
}

/* For good: the oldest in memory go, counted, with one line in the log. */
static void test_disk_never_works(void **state)
{
        Fixture *f = *state;
        uint64_t bytes;

        calls.disk_error = EIO;
        f->limits.sync_usec = 5000;
        f->limits.memory = 256 * KIB;
        start(f);
        append(f, 1, 100);
        await(f, stats(f).trouble[0]);
        for (uint64_t n = 2; n <= 10000; n++) {
                append(f, n, 100);
                if (n % 100 == 0)
                        assert_true(sd_event_run(f->event, 0) >= 0);
        }
        segments_in(f->runtime, &bytes);
        assert_true(bytes <= 256 * KIB);
        assert_true(stats(f).dropped > 0);
        assert_int_equal(stats(f).messages + stats(f).dropped, 10000);
        assert_int_equal(logged_times("messages are dropped: the oldest of "), 1);
        expect_most(f, 10000);
        stop(f);
        start(f);
        assert_true(stats(f).messages > 1000);
        expect_most(f, 10000);
}

/* /run is full: the state directory takes over, and the disk gets it soon. */
static void test_runtime_enospc(void **state)
{
        Fixture *f = *state;
        uint64_t n;

        start(f);
        for (n = 1; n <= 10; n++)
                append(f, n, 100);
        calls.runtime_error = ENOSPC;
        calls.die_half = 1;
        append(f, 11, 100);
        assert_non_null(strstr(stats(f).trouble, strerror(ENOSPC)));
        calls.runtime_error = 0;
        for (n = 12; n <= 20; n++)
                append(f, n, 100);
        expect(f, 1, 20);
        await(f, calls.syncs > 0);
        for (n = 21; n <= 5000; n++)
                append(f, n, 100);
        assert_string_equal(stats(f).trouble, ""); /* the next segment was a file again */
        expect(f, 1, 5000);
        stop(f);
        start(f);
        expect(f, 1, 5000);
        assert_int_equal(stats(f).damaged, 0);
}

/* Nowhere to put it: said, counted, and what is there stays. */
static void test_nowhere(void **state)
{
        Fixture *f = *state;
        uint64_t sequence;

        start(f);
        append(f, 1, 100);
        calls.runtime_error = calls.spare_error = calls.memory_error = ENOSPC;
        assert_int_equal(spool_append(f->spool, sample_make(2, 100), &sequence), -ENOSPC);
        assert_int_equal(spool_append(f->spool, sample_make(2, 100), &sequence), -ENOSPC);
        assert_int_equal(stats(f).dropped, 2);
        expect(f, 1, 1);
        calls.runtime_error = calls.spare_error = calls.memory_error = 0;
        append(f, 2, 100);
        expect(f, 1, 2);
}

/* A place on the disk that can't be read: what is before and after is sent. */
static void reading_fails(Fixture *f, bool ready)
{
        uint64_t sequence = 0, n, count = 0, before = 0;
        char damaged[128];

        snprintf(damaged, sizeof(damaged), "%s/damaged", f->state);
        f->limits.max_size = MIB;
        start(f);
        for (n = 1; n <= 1000; n++)
                append(f, n, 200);
        stop(f);
        assert_true(segments_in(f->state, NULL) > 3);
        start(f);
        if (ready)
                spool_set_ready(f->spool, (SpoolReady) free, NULL);
        calls.read_error_from = 30000;
        calls.read_error = EIO;
        spool_failing_usec = 0;
        while (next(f, &sequence, &n)) {
                assert_true(n > before);
                before = n;
                count++;
        }
        calls.read_error = 0;
        spool_failing_usec = 60 * USEC_PER_SEC;
        assert_true(count > 300 && count < 1000);
        assert_true(stats(f).damaged >= 3);
        assert_int_equal(stats(f).messages, count);
        assert_int_equal(stats(f).dropped, 1000 - count);
        assert_true(logged_times("the file goes to ") > 0);
        spool_confirm(f->spool, 1, UINT64_MAX);
        assert_int_equal(stats(f).messages, 0);
        assert_true(sd_event_run(f->event, 1000000) >= 0);
        await(f, access(damaged, F_OK) == 0);
        append(f, 1001, 0);
        expect(f, 1001, 1001);
}

static void test_read_eio(void **state)
{
        reading_fails(*state, false);
}

static void test_read_eio_ready(void **state)
{
        reading_fails(*state, true);
}

/* A disk that fails for a while: what could not be read is read then. */
static void test_read_eio_for_a_while(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0, found, n;
        Sample sample;
        int r;

        f->limits.max_size = MIB;
        start(f);
        for (n = 1; n <= 1000; n++)
                append(f, n, 200);
        stop(f);
        start(f);
        spool_set_ready(f->spool, (SpoolReady) free, NULL);
        calls.read_error_from = 30000;
        calls.read_error = EIO;
        for (n = 0; n < 1000;) {
                r = spool_read(f->spool, SPOOL_BACKLOG, sequence, &found, &sample);
                if (r == -EIO)
                        calls.read_error = 0;
                else if (r == -EAGAIN)
                        assert_true(sd_event_run(f->event, 1000000) >= 0);
                else {
                        assert_int_equal(r, 1);
                        assert_int_equal(sample_number(&sample), ++n);
                        sequence = found + 1;
                }
        }
        assert_int_equal(calls.read_error, 0);
        assert_int_equal(logged_times("it is tried again for 60 s"), 1);
        assert_int_equal(stats(f).damaged, 0);
}

/* What was read for somebody who did not take it is not given to who asks for something else, and gets
 * nothing. */
static void test_a_fetch_that_fails(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0, found, n;
        unsigned errors = 0;
        Sample sample;
        int r;

        f->limits.max_size = 16 * MIB;
        start(f);
        for (n = 1; n <= 12000; n++) {
                append(f, n, 400);
                if (n % 500 == 0)
                        assert_true(sd_event_run(f->event, 0) >= 0);
        }
        stop(f);
        start(f);
        spool_set_ready(f->spool, (SpoolReady) free, NULL);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 6000, &found, &sample), -EAGAIN);
        assert_true(sd_event_run(f->event, 1000000) >= 0); /* it is there */
        calls.open_errors = 2;
        for (n = 0; n < 12000;) {
                r = spool_read(f->spool, SPOOL_BACKLOG, sequence, &found, &sample);
                if (r == -EAGAIN)
                        assert_true(sd_event_run(f->event, 1000000) >= 0);
                else if (r < 0)
                        errors++;
                else {
                        assert_int_equal(r, 1);
                        assert_int_equal(sample_number(&sample), ++n);
                        sequence = found + 1;
                }
        }
        assert_int_equal(errors, 2);
}

/* --- real file systems, where we may mount ------------------------------------------------------------- */

static void full_and_read_only(Fixture *f, void *userdata)
{
        int *result = userdata;
        uint64_t sequence = 0, n, written = 0;

        *result = 1;
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
                file_make_directory(f->state, 0700) < 0 ||
                mount("none", f->state, "tmpfs", 0, "size=512k") < 0)
                return;
        *result = 2;
        f->limits.max_size = MIB;
        f->limits.memory = 256 * KIB;
        f->limits.sync_usec = 1000;
        start(f);
        for (n = 1; n <= 10000; n++) {
                uint64_t bytes;

                append(f, n, 100);
                if (n % 20 != 0)
                        continue;
                (void) sd_event_run(f->event, 0);
                for (unsigned i = 0; i < 100 && (segments_in(f->runtime, &bytes), bytes > 150 * KIB); i++)
                        (void) sd_event_run(f->event, 1000);
        }
        if (!strstr(stats(f).trouble, strerror(ENOSPC)) && logged_times(strerror(ENOSPC)) == 0)
                return;
        *result = 3;
        if (logged_times("the disk is full: messages are dropped") != 1 || logged_times("warning") > 3)
                return;
        if (stats(f).messages + stats(f).dropped != 10000)
                return;
        *result = 4;
        for (n = 0; next(f, &sequence, &n); written++)
                ;
        if (n != 10000 || written != stats(f).messages || written < 2000)
                return;
        *result = 5;
        if (mount("none", f->state, "none", MS_REMOUNT | MS_RDONLY, NULL) < 0) {
                stop(f);
                if (mount("none", f->state, "none", MS_REMOUNT | MS_RDONLY, NULL) < 0)
                        return;
        } else
                stop(f);
        *result = 6;
        logged[0] = '\0';
        start(f);
        if (!strstr(stats(f).trouble, strerror(EROFS)))
                return;
        *result = 7;
        append(f, 10001, 100);
        for (sequence = 0, n = 0; next(f, &sequence, &n); written--)
                ;
        if (n != 10001)
                return;
        *result = 8;
        stop(f);
        *result = 0;
}

static void test_full_and_read_only(void **state)
{
        Fixture *f = *state;
        int *result = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(result != MAP_FAILED);
        in_killed_child(f, full_and_read_only, result);
        if (*result == 1) {
                munmap(result, sizeof(int));
                skip(); /* not allowed to mount */
        }
        assert_int_equal(*result, 0);
        munmap(result, sizeof(int));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_killed_anywhere, setup, teardown),
                cmocka_unit_test_setup_teardown(test_in_both_tiers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_power_cut, setup, teardown),
                cmocka_unit_test_setup_teardown(test_position_damaged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runtime_unusable, setup, teardown),
                cmocka_unit_test_setup_teardown(test_both_unusable, setup, teardown),
                cmocka_unit_test_setup_teardown(test_state_comes_late, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed_without_state, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sync_eio, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_enospc, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_half_enospc, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_erofs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_disk_never_works, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runtime_enospc, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nowhere, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_eio, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_eio_ready, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_eio_for_a_while, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_fetch_that_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full_and_read_only, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-faults", tests, NULL, NULL);
}
