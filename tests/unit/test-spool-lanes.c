/* SPDX-License-Identifier: Apache-2.0 */

/* The spool with what is new going out beside what has waited: read in two lanes, confirmed in ranges, and
 * all that again after a restart or kill -9. */

#include "spool-fixture.h"

#include <sys/mman.h>

#include "util/crc32c.h"

/* The disk has done what it was asked for. */
static void settle(Fixture *f)
{
        for (unsigned i = 0; i < 3; i++)
                assert_true(sd_event_run(f->event, 5000) >= 0);
}

static void expect_next(Fixture *f, SpoolLane lane, uint64_t *sequence, uint64_t wanted)
{
        uint64_t n = 0;

        assert_true(next_in(f, lane, sequence, &n));
        assert_int_equal(n, wanted);
}

static void append_many(Fixture *f, uint64_t first, uint64_t last, size_t padding)
{
        for (uint64_t n = first; n <= last; n++) {
                assert_int_equal(append(f, n, padding), n);
                if (n % 500 == 0)
                        assert_true(sd_event_run(f->event, 0) >= 0);
        }
}

/* Both lanes in turn, each on from where it was; what is confirmed out of order is passed over. */
static void test_two_lanes(void **state)
{
        Fixture *f = *state;
        uint64_t backlog = 0, live, n;

        start(f);
        assert_int_equal(spool_end(f->spool), 1);
        append_many(f, 1, 100, 20);
        live = spool_end(f->spool);
        assert_int_equal(live, 101);
        assert_false(next_in(f, SPOOL_LIVE, &live, &n));
        for (n = 1; n <= 50; n++) {
                append_many(f, 100 + n, 100 + n, 20);
                expect_next(f, SPOOL_LIVE, &live, 100 + n);
                expect_next(f, SPOOL_BACKLOG, &backlog, n);
        }
        assert_int_equal(stats(f).messages, 150);
        spool_confirm(f->spool, 101, 140);
        assert_int_equal(stats(f).messages, 110);
        assert_true(spool_is_confirmed(f->spool, 101) && spool_is_confirmed(f->spool, 140));
        assert_false(spool_is_confirmed(f->spool, 100) || spool_is_confirmed(f->spool, 141));
        spool_confirm(f->spool, 0, 30);
        assert_int_equal(stats(f).messages, 80);
        for (n = 51; n <= 100; n++)
                expect_next(f, SPOOL_BACKLOG, &backlog, n);
        expect_next(f, SPOOL_BACKLOG, &backlog, 141);
        backlog = 0;
        expect_next(f, SPOOL_BACKLOG, &backlog, 31);
        spool_confirm(f->spool, 31, 100);
        assert_int_equal(stats(f).messages, 10);
        spool_rest(f->spool, SPOOL_BACKLOG);
        spool_confirm(f->spool, 141, UINT64_MAX);
        assert_int_equal(stats(f).messages, 0);
        assert_int_equal(stats(f).bytes, 0);
        append_many(f, 151, 151, 20);
        expect_next(f, SPOOL_LIVE, &live, 151);
        assert_false(next_in(f, SPOOL_LIVE, &live, &n));
}

/* Live samples that have arrived are never copied to the disk, and their segments go at once, though older
 * messages wait. */
static void test_confirmed_costs_no_disk(void **state)
{
        Fixture *f = *state;
        uint64_t live, n;

        f->limits.sync_usec = USEC_PER_SEC; /* longer than a busy machine lets us wait */
        f->limits.memory = 256 * KIB;       /* segments of 16 KiB */
        start(f);
        append_many(f, 1, 1000, 20);
        await(f, segments_in(f->runtime, NULL) <= 1);
        settle(f);
        calls.disk_bytes = 0;
        live = spool_end(f->spool);
        for (n = 1001; n <= 9000; n++) {
                append_many(f, n, n, 20);
                expect_next(f, SPOOL_LIVE, &live, n);
                spool_confirm(f->spool, n, n);
                assert_true(segments_in(f->runtime, NULL) <= 2 || n % 100 != 0);
                if (n % 400 == 0)
                        usleep(120000); /* in all, more than `sync` goes by */
        }
        settle(f);
        assert_int_equal(calls.disk_bytes, 0);
        assert_int_equal(stats(f).messages, 1000);
        expect(f, 1, 1000);

        /* Some that waited among them: only those are copied. */
        append_many(f, 9001, 9100, 20);
        spool_confirm(f->spool, 9011, 9090);
        await(f, calls.disk_bytes > 0);
        settle(f);
        assert_in_range(calls.disk_bytes, 20 * 60, 40 * 120);
        assert_int_equal(stats(f).messages, 1020);
        stop(f);
        start(f);
        assert_int_equal(stats(f).messages, 1020);
        live = 1001;
        for (n = 9001; n <= 9100; n = n == 9010 ? 9091 : n + 1)
                expect_next(f, SPOOL_LIVE, &live, n);
        assert_false(next_in(f, SPOOL_LIVE, &live, &n));
        assert_int_equal(append(f, 9101, 1), 9101);
}

/* Segments on the disk that lie within what is confirmed go, in the middle of others. */
static void test_segments_on_disk_go(void **state)
{
        Fixture *f = *state;
        unsigned before;

        f->limits.max_size = MIB; /* segments of 64 KiB */
        start(f);
        append_many(f, 1, 6000, 50);
        stop(f);
        start(f);
        before = segments_in(f->state, NULL);
        assert_true(before > 8);
        spool_confirm(f->spool, 2000, 5000);
        await(f, segments_in(f->state, NULL) <= before / 2 + 2);
        assert_int_equal(stats(f).messages, 1999 + 1000);
        stop(f);
        start(f);
        assert_int_equal(stats(f).messages, 1999 + 1000);
        spool_confirm(f->spool, 5001, 6000);
        spool_confirm(f->spool, 1, 1999);
        assert_int_equal(stats(f).messages, 0);
        await(f, segments_in(f->state, NULL) == 0);
        stop(f);
        start(f);
        assert_int_equal(append(f, 6001, 0), 6001);
        expect(f, 6001, 6001);
}

/* Numbers behind what is confirmed are not used again, even if nothing of it is left: a new record with one
 * of them would count as confirmed. */
static void all_new_confirmed(Fixture *f, void *userdata)
{
        (void) userdata;
        f->limits.sync_usec = 20000;
        start(f);
        append_many(f, 1, 100, 10);
        await(f, segments_in(f->runtime, NULL) <= 1);
        settle(f);
        append_many(f, 101, 5000, 10);
        spool_confirm(f->spool, 101, 5000);
}

static void test_numbers_go_on(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 101, n;

        in_killed_child(f, all_new_confirmed, NULL);
        for (unsigned i = 0; i < 3; i++) {
                start(f);
                assert_int_equal(stats(f).messages, 100 + i);
                assert_int_equal(append(f, 5001 + i, 10), 5001 + i);
                stop(f);
        }
        start(f);
        for (n = 5001; n <= 5003; n++)
                expect_next(f, SPOOL_LIVE, &sequence, n);
        spool_confirm(f->spool, 1, 100);
        assert_int_equal(stats(f).messages, 3);
        expect(f, 5001, 5003);
}

/* The position file of an earlier version. */
static void test_first_version_of_position(void **state)
{
        Fixture *f = *state;
        static const uint8_t position[20] = {
                'P', 'L', 'U', 'G', 'D', 'P', 'O', 'S', 7, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x00};
        uint8_t data[sizeof(position)];
        char path[256];
        uint32_t crc = crc32c(0, position, 16);

        memcpy(data, position, sizeof(data));
        for (unsigned i = 0; i < 4; i++)
                data[16 + i] = (uint8_t) (crc >> (8 * i));
        start(f);
        append_many(f, 1, 10, 10);
        stop(f);
        snprintf(path, sizeof(path), "%s/spool/confirmed", f->runtime);
        file_put(path, data, sizeof(data));
        start(f);
        expect(f, 8, 10);
        assert_int_equal(logged_times("is damaged"), 0);
        spool_confirm(f->spool, 10, 10);
        stop(f);
        start(f);
        expect(f, 8, 9);
        stop(f);
        data[8] = 6;
        file_put(path, data, sizeof(data));
        start(f);
        assert_int_equal(logged_times("is damaged"), 1);
        expect(f, 1, 10);
}

/* More pieces than are remembered: some are read once more, none is missed. */
static void test_too_many_islands(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0, n, seen = 0, expected = 0;
        bool confirmed[2001] = {}, read[2001] = {};

        f->limits.sync_usec = 10000;
        start(f);
        append_many(f, 1, 2000, 30);
        for (n = 2; n + 30 <= 2000; n += 40) {
                spool_confirm(f->spool, n, n + n % 17 + 3);
                for (uint64_t i = n; i <= n + n % 17 + 3; i++)
                        confirmed[i] = true;
                settle(f);
        }
        for (unsigned pass = 0; pass < 2; pass++) {
                memset(read, 0, sizeof(read));
                seen = expected = 0;
                for (sequence = 0; next(f, &sequence, &n); seen++)
                        read[n] = true;
                for (n = 1; n <= 2000; n++) {
                        assert_true(read[n] || confirmed[n]);
                        expected += !confirmed[n];
                }
                assert_in_range(seen, expected, 1990);
                stop(f);
                start(f);
        }
        spool_confirm(f->spool, 1, 2000);
        assert_int_equal(stats(f).messages, 0);
}

static unsigned n_ready;

static void on_ready(void *userdata)
{
        (void) userdata;
        n_ready++;
}

/* Both lanes at what lies on the disk, which serves one at a time. */
static void test_both_from_disk(void **state)
{
        Fixture *f = *state;
        uint64_t first = 0, second = 10001, n;
        unsigned again;
        Sample sample;

        start(f);
        append_many(f, 1, 20000, 100);
        stop(f);
        start(f);
        spool_set_ready(f->spool, on_ready, NULL);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 1, &n, &sample), -EAGAIN);
        assert_int_equal(spool_read(f->spool, SPOOL_LIVE, 10001, &n, &sample), -EAGAIN);
        for (n = 1; n <= 10000; n++) {
                expect_next(f, SPOOL_BACKLOG, &first, n);
                expect_next(f, SPOOL_LIVE, &second, 10000 + n);
                if (n % 1000 == 0) {
                        spool_confirm(f->spool, 10001 + n - 1000, 10000 + n);
                        spool_confirm(f->spool, n - 999, n);
                        assert_int_equal(stats(f).messages, 20000 - 2 * n);
                }
        }
        assert_int_equal(stats(f).messages, 0);
        await(f, segments_in(f->state, NULL) == 0);

        /* Resting while the disk reads for it. */
        append_many(f, 20001, 30000, 100);
        stop(f);
        start(f);
        n_ready = 0;
        spool_set_ready(f->spool, on_ready, NULL);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 1, &n, &sample), -EAGAIN);
        spool_rest(f->spool, SPOOL_BACKLOG);
        again = n_ready;
        first = 1;
        expect_next(f, SPOOL_LIVE, &first, 20001);
        assert_true(n_ready > again);
        expect(f, 20001, 30000);
}

/* --- against a model ---------------------------------------------------------------------------------- */

#define MODEL_MAX 6000

typedef struct Model {
        uint64_t appended, random;
        bool confirmed[MODEL_MAX + 2];
        /* Begun when the process was killed: it holds, or it doesn't. */
        uint64_t pending_append, pending_first, pending_last;
        bool grows;
} Model;

static uint64_t roll(Model *model, uint64_t sides)
{
        model->random = model->random * UINT64_C(6364136223846793005) + 1442695040888963407;
        return (model->random >> 33) % sides;
}

static unsigned model_pieces(const Model *model)
{
        unsigned n = 0;

        for (uint64_t i = 1; i <= model->appended; i++)
                n += model->confirmed[i] && !model->confirmed[i + 1];
        return n;
}

static void model_confirm(Fixture *f, Model *model)
{
        uint64_t first = 1 + roll(model, model->appended), last;

        switch (roll(model, 3)) {
        case 0: /* what has waited longest */
                for (first = 1; first < model->appended && model->confirmed[first]; first++)
                        ;
                break;
        case 1: /* what is newest */
                for (first = model->appended; first > 1 && !model->confirmed[first - 1]; first--)
                        ;
                break;
        }
        last = first + roll(model, 60);
        last = MIN(last, model->appended);
        if (model_pieces(model) > 12 && first > 1 && !model->confirmed[first - 1])
                return; /* beyond what is remembered it isn't exact */
        model->pending_first = first;
        model->pending_last = last;
        spool_confirm(f->spool, first, last);
        model->pending_first = 0;
        for (uint64_t i = first; i <= last; i++)
                model->confirmed[i] = true;
}

static uint64_t model_waiting(const Model *model)
{
        uint64_t n = 0;

        for (uint64_t i = 1; i <= model->appended; i++)
                n += !model->confirmed[i];
        return n;
}

/* One that is not read: it was just being confirmed. */
static void model_passed_over(Model *model, uint64_t n)
{
        if (model->confirmed[n])
                return;
        if (model->pending_first == 0 || n < model->pending_first || n > model->pending_last)
                fail_msg("%" PRIu64 " of %" PRIu64 " is missing", n, model->appended);
        model->confirmed[n] = true;
}

/* Exactly what is not confirmed is read, in order, in either lane. */
static void model_check(Fixture *f, Model *model)
{
        uint64_t waiting = 0, messages = 0;

        for (SpoolLane lane = SPOOL_BACKLOG; lane <= SPOOL_LIVE; lane++) {
                uint64_t sequence = 0, n, wanted = 1;

                while (next_in(f, lane, &sequence, &n)) {
                        assert_int_equal(n, sequence - 1);
                        if (n == model->pending_append && n == model->appended + 1)
                                model->appended++;
                        assert_in_range(n, 1, model->appended);
                        for (; wanted < n; wanted++)
                                model_passed_over(model, wanted);
                        assert_false(model->confirmed[n]);
                        wanted++;
                }
                for (; wanted <= model->appended; wanted++)
                        model_passed_over(model, wanted);
        }
        model->pending_append = model->pending_first = 0;
        waiting = model_waiting(model);
        messages = stats(f).messages;
        assert_int_equal(messages > 0, waiting > 0);
        assert_true(messages <= model->appended);
}

static void model_live(Fixture *f, void *userdata)
{
        Model *model = userdata;

        f->limits.sync_usec = 1000;
        f->limits.memory = 256 * KIB;
        f->limits.max_size = 4 * MIB;
        start(f);
        model_check(f, model);
        for (unsigned i = 0; i < 120 && model->appended < MODEL_MAX - 40; i++) {
                for (uint64_t k = roll(model, 8); k > 0; k--) {
                        model->pending_append = model->appended + 1;
                        assert_int_equal(
                                append(f, model->appended + 1, roll(model, 400)), model->appended + 1);
                        model->appended++;
                }
                if (model->appended > 0 && roll(model, 3) == 0)
                        model_confirm(f, model);
                assert_true(sd_event_run(f->event, roll(model, 4) == 0 ? 300 : 0) >= 0);
                if (roll(model, 40) == 0)
                        model_check(f, model);
                assert_int_equal(stats(f).dropped, 0);
        }
        model_check(f, model);
}

static void test_against_model(void **state)
{
        Fixture *f = *state;
        Model *model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(model != MAP_FAILED);
        for (unsigned round = 1; round <= 6; round++) {
                *model = (Model){.random = round};
                remove_tree(f->state);
                remove_tree(f->runtime);
                for (unsigned life = 0; life < 12; life++) {
                        Fixture child = *f;

                        model->random += UINT64_C(1) << 40;
                        if (life % 3 == 2) {
                                model_live(f, model);
                                stop(f);
                                continue;
                        }
                        atomic_store(&calls.die_at, life % 3 == 0 ? 0 : 20 + (int) roll(model, 800));
                        in_killed_child(&child, model_live, model);
                        atomic_store(&calls.die_at, 0);
                }
                start(f);
                model_check(f, model);
                spool_confirm(f->spool, 1, UINT64_MAX);
                assert_int_equal(stats(f).messages, 0);
                assert_int_equal(stats(f).damaged, 0);
                stop(f);
                print_message("round %u: %" PRIu64 " records\n", round, model->appended);
        }
        munmap(model, sizeof(*model));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_two_lanes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_confirmed_costs_no_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_segments_on_disk_go, setup, teardown),
                cmocka_unit_test_setup_teardown(test_numbers_go_on, setup, teardown),
                cmocka_unit_test_setup_teardown(test_first_version_of_position, setup, teardown),
                cmocka_unit_test_setup_teardown(test_too_many_islands, setup, teardown),
                cmocka_unit_test_setup_teardown(test_both_from_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_against_model, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-lanes", tests, NULL, NULL);
}
