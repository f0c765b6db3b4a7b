/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that jump, files that can't be read for now, and messages without a time: nothing is lost. */

#include <endian.h>

#include "spool-fixture.h"
#include "spool-internal.h"
#include "util/crc32c.h"

/* A segment file of the n-th samples, by their numbers; 0 ends them. */
static void segment_put(const char *directory, uint32_t version, const uint64_t *numbers)
{
        static uint8_t data[65536];
        size_t size = SEGMENT_HEADER_SIZE;
        char path[256];
        uint32_t crc;

        segment_header_encode(data, numbers[0]);
        data[8] = (uint8_t) version;
        crc = htole32(crc32c(0, data, SEGMENT_HEADER_SIZE - sizeof(crc)));
        memcpy(data + SEGMENT_HEADER_SIZE - sizeof(crc), &crc, sizeof(crc));
        for (const uint64_t *n = numbers; *n > 0; n++) {
                int r = record_encode(data + size, *n, sample_make(*n, 10));

                assert_true(r > 0);
                size += (size_t) r;
        }
        file_put(segment_path(path, directory, numbers[0]), data, size);
}

static void make_folders(Fixture *f)
{
        start(f);
        stop(f);
}

static void append_ten(Fixture *f, void *userdata)
{
        uint64_t *from = userdata;

        start(f);
        for (uint64_t n = *from; n < *from + 10; n++)
                append(f, n, 10);
}

/* A file that can't be read says nothing of what is in the one before it. */
static void test_unusable_next(void **state)
{
        Fixture *f = *state;
        uint64_t from = 1;
        char path[256];

        for (unsigned what = 0; what < 5; what++) {
                in_killed_child(f, append_ten, &from);
                segment_path(path, f->runtime, 5);
                switch (what) {
                case 0:
                        assert_int_equal(mkdir(path, 0700), 0);
                        break;
                case 1:
                        assert_int_equal(symlink("/nonexistent", path), 0);
                        break;
                case 2:
                        file_put(path, "", 0);
                        break;
                case 3:
                        file_put(path, "PLUGDSEG and no more than that here", 33);
                        break;
                default:
                        segment_put(f->runtime, 99, (const uint64_t[]){5, 0});
                }
                start(f);
                expect(f, 1, 10);
                stop(f);
                start(f);
                expect(f, 1, 10);
                stop(f);
                remove_tree(f->state);
                remove_tree(f->runtime);
        }
}

/* What another version wrote is left alone, and is read when that version is back. */
static void test_other_version(void **state)
{
        Fixture *f = *state;
        static const uint64_t others[] = {20, 21, 22, 0};
        uint64_t sequence = 0, n;

        start(f);
        for (n = 1; n <= 10; n++)
                append(f, n, 10);
        stop(f);
        segment_put(f->state, 99, others);
        start(f);
        for (n = 31; n <= 35; n++)
                assert_true(append(f, n, 10) > NUMBERS_GAP);
        stop(f);
        segment_put(f->state, 2, others);
        start(f);
        for (unsigned i = 1; i <= 10; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        for (unsigned i = 20; i <= 22; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        for (unsigned i = 31; i <= 35; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        assert_false(next(f, &sequence, &n));
}

/* The same in the young tier, killed, and with records from before in the active segment. */
static void test_other_version_young(void **state)
{
        Fixture *f = *state;
        static const uint64_t others[] = {20, 21, 22, 0};
        uint64_t from = 1, sequence = 0, n;

        in_killed_child(f, append_ten, &from);
        segment_put(f->runtime, 99, others);
        from = 31;
        in_killed_child(f, append_ten, &from);
        segment_put(f->runtime, 2, others);
        start(f);
        for (unsigned i = 1; i <= 10; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        for (unsigned i = 20; i <= 22; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        for (unsigned i = 31; i <= 40; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        assert_false(next(f, &sequence, &n));
}

/* What could not be seen is not confirmed by what comes after it. */
static void test_unseen_is_not_confirmed(void **state)
{
        Fixture *f = *state;
        char folder[128], away[128];
        uint64_t from = 1, n;

        in_killed_child(f, append_ten, &from);
        snprintf(folder, sizeof(folder), "%s/spool", f->runtime);
        snprintf(away, sizeof(away), "%s/away", f->runtime);
        assert_int_equal(rename(folder, away), 0);
        file_put(folder, "", 0); /* no folder */
        start(f);
        for (n = 31; n <= 35; n++)
                append(f, n, 10);
        spool_confirm(f->spool, 1, UINT64_MAX);
        assert_int_equal(stats(f).messages, 0);
        stop(f);
        assert_int_equal(unlink(folder), 0);
        assert_int_equal(rename(away, folder), 0);
        start(f);
        expect(f, 1, 10);
}

static void test_other_version_is_not_confirmed(void **state)
{
        Fixture *f = *state;
        static const uint64_t others[] = {20, 21, 22, 0};
        uint64_t sequence = 0, n;

        start(f);
        append(f, 1, 10);
        stop(f);
        segment_put(f->state, 99, others);
        start(f);
        append(f, 31, 10);
        spool_confirm(f->spool, 1, UINT64_MAX);
        stop(f);
        segment_put(f->state, 2, others);
        start(f);
        for (unsigned i = 20; i <= 22; i++)
                assert_true(next(f, &sequence, &n) && n == i);
        assert_false(next(f, &sequence, &n));
}

/* Moved numbers alone are nothing to be written: the loop rests, and what comes is written in time. */
static void test_rests(void **state)
{
        Fixture *f = *state;
        char path[256];

        make_folders(f);
        assert_int_equal(mkdir(segment_path(path, f->state, 5), 0700), 0);
        f->limits.sync_usec = 5000;
        start(f);
        for (unsigned i = 0; i < 3; i++)
                (void) sd_event_run(f->event, 10000);
        assert_int_equal(sd_event_run(f->event, 10000), 0);
        append(f, 1, 10);
        await(f, segments_in(f->state, NULL) == 2);
        for (unsigned i = 0; i < 3; i++)
                (void) sd_event_run(f->event, 10000);
        assert_int_equal(sd_event_run(f->event, 10000), 0);
}

static void on_ready(void *userdata _unused_)
{
}

/* A segment of which nothing is left to read, and whose last message is confirmed by itself. */
static void test_no_circles(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0, n = 0;

        make_folders(f);
        segment_put(f->state, 2, (const uint64_t[]){1, 2, 5, 0});
        segment_put(f->state, 2, (const uint64_t[]){6, 7, 0});
        start(f);
        spool_set_ready(f->spool, on_ready, NULL);
        spool_confirm(f->spool, 1, 2);
        spool_confirm(f->spool, 5, 5);
        assert_true(next(f, &sequence, &n) && n == 6);
        sequence = 0;
        assert_true(next(f, &sequence, &n) && n == 6);
        assert_true(next(f, &sequence, &n) && n == 7);
        assert_false(next(f, &sequence, &n));
}

/* As long as something waits, the count is not 0. */
static void test_counted(void **state)
{
        Fixture *f = *state;
        static const uint64_t numbers[] = {1, 5, 9, 200, 4000, 0};
        uint64_t from = 1;

        make_folders(f);
        segment_put(f->runtime, 2, numbers);
        segment_put(f->state, 2, (const uint64_t[]){1, 5, 0});
        start(f);
        for (unsigned i = 0; numbers[i] > 0; i++) {
                assert_true(stats(f).messages > 0);
                spool_confirm(f->spool, 1, numbers[i]);
        }
        assert_int_equal(stats(f).messages, 0);
        stop(f);
        /* And after kill -9, whatever of it was confirmed. */
        for (uint64_t confirmed = 0; confirmed < 10; confirmed++) {
                remove_tree(f->state);
                remove_tree(f->runtime);
                in_killed_child(f, append_ten, &from);
                start(f);
                spool_confirm(f->spool, 1, confirmed);
                assert_int_equal(stats(f).messages, 10 - confirmed);
                stop(f);
                start(f);
                assert_int_equal(stats(f).messages, 10 - confirmed);
                stop(f);
        }
}

/* There are numbers for 100,000 starts at which the state directory can't be seen. */
static void test_numbers_last(void **state)
{
        Fixture *f = *state;
        Ranges none = {};
        uint8_t position[POSITION_MAX];
        char path[256];
        size_t size;

        file_put(f->state, "in the way", 10);
        start(f);
        assert_in_range(spool_end(f->spool), NUMBERS_GAP, SEQUENCE_MAX / 100000);
        stop(f);
        unlink(f->state);

        /* A position at which they would end is none. */
        make_folders(f);
        size = position_encode(position, SEQUENCE_MAX - 1, &none);
        snprintf(path, sizeof(path), "%s/spool/" POSITION_NAME, f->runtime);
        file_put(path, position, size);
        start(f);
        assert_non_null(strstr(logged, "damaged"));
        for (uint64_t n = 1; n <= 10; n++)
                assert_true(append(f, n, 10) < SEQUENCE_MAX / 2);
        stop(f);
        start(f);
        expect(f, 1, 10);
}

/* --- times -------------------------------------------------------------------------------------------- */

static const uint8_t boot[SAMPLE_BOOT_SIZE] = "0123456789abcdef";

static Sample sample_of_kind(uint64_t n, bool held)
{
        Sample sample = *sample_make(n, 10);

        sample.sensor = "s";
        sample.channel = "c";
        sample.at_msec = held ? UINT64_C(1) << 50 : 0;
        sample.boot = held ? boot : NULL;
        return sample;
}

typedef struct Noted {
        uint64_t times, newest_msec, boot_msec, held;
} Noted;

static void on_noted(const SpoolNoted *found, void *userdata)
{
        Noted *noted = userdata;

        if (found->boot) {
                noted->boot_msec = found->at_msec;
                noted->held = found->messages;
                return;
        }
        noted->times++;
        noted->newest_msec = MAX(noted->newest_msec, found->at_msec);
}

/* What has no time, or none yet, outlives no ttl and is nobody's newest time. */
static void test_timeless(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0, n = 0;
        Noted noted = {};
        Sample sample;

        f->sensors[0] = (SpoolSensor){"s", {.priority = 5, .ttl_usec = USEC_PER_SEC}};
        f->n_sensors = 1;
        start(f);
        for (n = 1; n <= 3; n++) {
                append_of(f, "s", "c", n, 10);
                sample = sample_of_kind(10 + n, false);
                assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
                sample = sample_of_kind(20 + n, true);
                assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        }
        stop(f);
        for (unsigned i = 0; i < 2; i++) {
                noted = (Noted){};
                start_noting(f, on_noted, &noted);
                assert_int_equal(noted.held, 3);
                assert_int_equal(noted.boot_msec, UINT64_C(1) << 50);
                assert_int_equal(noted.times, 1);
                assert_int_equal(noted.newest_msec, sample_make(3, 10)->at_msec);
                sequence = 0;
                for (n = 1; n <= 3; n++) {
                        assert_true(next_sample(f, &sequence, &sample));
                        assert_int_equal(sample_number(&sample), 10 + n);
                        assert_int_equal(sample.at_msec, 0);
                        assert_true(next_sample(f, &sequence, &sample));
                        assert_int_equal(sample_number(&sample), 20 + n);
                        assert_non_null(sample.boot);
                }
                assert_false(next_sample(f, &sequence, &sample));
                assert_in_range(
                        spool_dropped_of(f->spool, "s"), 2, 3); /* the first is gone the second time */
                stop(f);
        }
}

/* Nor does a segment go as a whole because all that has a time in it is past. */
static void test_timeless_plan(void **state _unused_)
{
        static uint8_t data[3][RECORD_MAX];
        const SpoolSensor sensor = {"s", {.priority = 5, .ttl_usec = USEC_PER_SEC}};
        SpoolPolicies policies;
        Sample samples[3] = {sample_of_kind(1, false), sample_of_kind(2, false), sample_of_kind(3, true)};

        samples[0].at_msec = 1000;
        assert_int_equal(policies_init(&policies, &(SpoolPolicy){.priority = 5}, &sensor, 1), 0);
        for (unsigned other = 1; other <= 2; other++) {
                Plan plan = {.policies = &policies, .now_msec = UINT64_C(1700000000000)};
                Summary summary = {};
                Record records[3];

                for (unsigned i = 0; i <= other; i += other) {
                        int size = record_encode(data[i], i + 1, &samples[i]);

                        assert_true(size > 0);
                        assert_int_equal(record_decode(data[i], (size_t) size, 0, &records[i]), 0);
                        assert_int_equal(summary_add(&summary, &records[i]), 0);
                }
                plan.last = 10; /* of another segment */
                assert_int_equal(plan_add(&plan, &summary), 0);
                assert_int_equal(plan.expired_bytes, 0);
                assert_int_equal(plan_make(&plan, 1), 0);
                assert_int_not_equal(plan_segment(&plan, 1, other + 1, &summary), PLAN_GOES);
                assert_true(plan_record(&plan, &records[0]));
                assert_false(plan_record(&plan, &records[other]));
                assert_int_equal(plan.counts.expired, 1);
                summary_deinit(&summary);
                plan_deinit(&plan);
        }
        assert_false(policy_expires(&sensor.policy, 0, UINT64_C(1700000000000)));
        assert_true(policy_expires(&sensor.policy, 1, UINT64_C(1700000000000)));
        policies_deinit(&policies);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_unusable_next, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_version, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_version_young, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unseen_is_not_confirmed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_version_is_not_confirmed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_rests, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_circles, setup, teardown),
                cmocka_unit_test_setup_teardown(test_counted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_numbers_last, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timeless, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timeless_plan, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-numbers", tests, NULL, NULL);
}
