/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at all that is in the spool, wherever it is, beside whoever reads and writes. */

#include "spool-fixture.h"

#define MOST 5000

typedef struct Seen {
        unsigned times[MOST + 1];
        unsigned n, held;
} Seen;

static void on_seen(const Sample *sample, void *userdata)
{
        Seen *seen = userdata;
        uint64_t n = sample_number(sample);

        if (sample->boot) {
                seen->held++;
                return;
        }
        assert_true(sample_is_whole(sample));
        assert_in_range(n, 1, MOST);
        seen->times[n]++;
        seen->n++;
}

/* All from first to last, once. */
static void assert_seen(Fixture *f, uint64_t first, uint64_t last)
{
        Seen *seen = calloc(1, sizeof(*seen));

        assert_non_null(seen);
        assert_int_equal(spool_visit(f->spool, 0, on_seen, seen), 0);
        for (uint64_t n = 1; n <= MOST; n++)
                if (seen->times[n] != (n >= first && n <= last))
                        fail_msg("number %" PRIu64 ": %u times", n, seen->times[n]);
        free(seen);
}

static void on_ready(void *userdata _unused_)
{
}

static void test_both_tiers(void **state)
{
        Fixture *f = *state;
        uint64_t sequence;
        Sample got;

        start(f);
        assert_seen(f, 1, 0);
        for (uint64_t n = 1; n <= 2000; n++)
                append(f, n, 100);
        assert_seen(f, 1, 2000);
        stop(f); /* to the disk */
        start(f);
        for (uint64_t n = 2001; n <= 3000; n++)
                append(f, n, 100);
        assert_seen(f, 1, 3000);
        /* It reads the disk itself also where spool_read() does not, and is not in its way. */
        spool_set_ready(f->spool, on_ready, NULL);
        assert_seen(f, 1, 3000);
        spool_set_ready(f->spool, NULL, NULL);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 1500, &sequence, &got), 1);
        assert_seen(f, 1, 3000);
        assert_true(sample_is_whole(&got));
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, sequence + 1, &sequence, &got), 1);
        assert_int_equal(sample_number(&got), 1501);
        /* What has arrived is not in it any more. */
        spool_confirm(f->spool, 2500, 3000);
        assert_seen(f, 1, 2499);
        spool_confirm(f->spool, 1, 1501);
        assert_seen(f, 1502, 2499);
        spool_confirm(f->spool, 1502, 2499);
        assert_seen(f, 1, 0);
}

static void test_held_and_damaged(void **state)
{
        Fixture *f = *state;
        Sample sample = {.boot = (const uint8_t *) "0123456789abcdef",
                .at_msec = 5000,
                .sensor = "",
                .channel = "c",
                .data = "1",
                .data_size = 1};
        _cleanup_(freep) Seen *seen = calloc(1, sizeof(*seen));
        uint64_t sequence;

        assert_non_null(seen);
        start(f);
        append(f, 1, 10);
        assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        append(f, 2, 10);
        assert_int_equal(spool_visit(f->spool, 0, on_seen, seen), 0);
        assert_int_equal(seen->n, 2);
        assert_int_equal(seen->held, 1);
        /* A disk that can't be read is told, and the rest is seen. */
        stop(f);
        start(f);
        append(f, 3, 10);
        calls.read_error = EIO;
        calls.read_error_from = 0;
        *seen = (Seen){};
        assert_int_equal(spool_visit(f->spool, 0, on_seen, seen), -EIO);
        calls.read_error = 0;
        *seen = (Seen){};
        assert_int_equal(spool_visit(f->spool, 0, on_seen, seen), 0);
        assert_int_equal(seen->n, 3);
}

/* Only from a time on; parts of which the summary says that all is older aren't read. */
static void test_from_a_time(void **state)
{
        Fixture *f = *state;
        const uint64_t epoch = sample_make(0, 0)->at_msec;
        Sample sample = {.boot = (const uint8_t *) "0123456789abcdef",
                .at_msec = 5000,
                .sensor = "",
                .channel = "c",
                .data = "1",
                .data_size = 1};
        _cleanup_(freep) Seen *seen = calloc(1, sizeof(*seen));
        uint64_t sequence;

        assert_non_null(seen);
        f->limits.max_size = MIB; /* segments of 64 KiB */
        start(f);
        assert_in_range(stats(f).capacity, f->limits.max_size - 128 * KIB, f->limits.max_size - 64 * KIB);
        for (uint64_t n = 1; n <= 3000; n++) {
                append(f, n, 100);
                if (n == 1500)
                        assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        }
        stop(f);
        start(f);
        append(f, 3001, 100);
        assert_int_equal(spool_visit(f->spool, epoch + 2900, on_seen, seen), 0);
        assert_int_equal(seen->n, 102);
        assert_int_equal(seen->held, 1);
        assert_int_equal(seen->times[2900] + seen->times[3001], 2);
        /* What is read for nothing: the segment with the one that is held, and what isn't sealed. */
        calls.read_bytes = 0;
        *seen = (Seen){};
        assert_int_equal(spool_visit(f->spool, epoch + 4000, on_seen, seen), 0);
        assert_int_equal(seen->n, 0);
        assert_int_equal(seen->held, 1);
        assert_in_range(calls.read_bytes, 64, 200 * KIB);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_both_tiers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_held_and_damaged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_from_a_time, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-visit", tests, NULL, NULL);
}
