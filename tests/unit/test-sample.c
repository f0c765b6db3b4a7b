/* SPDX-License-Identifier: Apache-2.0 */

/* Ids that are never equal and times that never collide, whatever the clock does. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <string.h>

#include "sample.h"

#define NOW UINT64_C(1700000000000) /* ms */
#define MINUTE UINT64_C(60000)

static void test_id_form(void **state _unused_)
{
        SampleIds ids = {.random = {0x11, 0x22, 0x33, 0x44, 0xff}, .counter = 0xfffffe};
        static const char *const expected[] = {
                "6553f10011223344fffffffe", "6553f10011223344ffffffff", "6553f10011223344ff000000"};
        uint8_t id[SAMPLE_ID_SIZE];
        char text[SAMPLE_ID_TEXT];

        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                sample_ids_next(&ids, NOW * USEC_PER_MSEC + 999999, id);
                assert_string_equal(sample_id_format(id, text), expected[i]);
        }
}

static void test_ids_differ_between_sources(void **state _unused_)
{
        SampleIds a, b;

        assert_int_equal(sample_ids_init(&a), 0);
        assert_int_equal(sample_ids_init(&b), 0);
        assert_memory_not_equal(a.random, b.random, sizeof(a.random));
        assert_true(a.counter < 1 << 24);
}

/* The id as a number without its random part: has to rise all the time, but where the counter wraps. */
static uint64_t id_seconds(const uint8_t id[static SAMPLE_ID_SIZE])
{
        return (uint64_t) id[0] << 24 | (uint64_t) id[1] << 16 | (uint64_t) id[2] << 8 | id[3];
}

static uint32_t id_counter(const uint8_t id[static SAMPLE_ID_SIZE])
{
        return (uint32_t) id[9] << 16 | (uint32_t) id[10] << 8 | id[11];
}

static void test_id_counter_goes_round(void **state _unused_)
{
        uint64_t usec = NOW * USEC_PER_MSEC, seconds = NOW / 1000;
        uint8_t id[SAMPLE_ID_SIZE];
        SampleIds ids;

        assert_int_equal(sample_ids_init(&ids), 0);
        sample_ids_next(&ids, usec, id);
        uint32_t first = id_counter(id);
        for (uint32_t i = 1; i < 1 << 24; i++)
                sample_ids_next(&ids, usec, id);
        assert_int_equal(id_seconds(id), seconds);
        /* All of that second's are taken: it goes on in the next. */
        sample_ids_next(&ids, usec, id);
        assert_int_equal(id_counter(id), first);
        assert_int_equal(id_seconds(id), seconds + 1);
        /* The clock arrives there, or goes back: still none twice. */
        sample_ids_next(&ids, usec + USEC_PER_SEC, id);
        assert_int_equal(id_seconds(id), seconds + 1);
        assert_int_equal(id_counter(id), (first + 1) % (1 << 24));
        sample_ids_next(&ids, 0, id);
        assert_int_equal(id_seconds(id), seconds + 1);
        assert_int_equal(id_counter(id), (first + 2) % (1 << 24));
}

typedef enum Verdict { ORDERLY, SET_BACK } Verdict;

/* Something is taken now, by a clock that has been set back or not. */
static uint64_t next(SampleTimes *times, const char *channel, uint64_t now_msec, Verdict verdict)
{
        uint64_t at_msec = 0;

        assert_int_equal(sample_times_clock(times, now_msec), verdict == ORDERLY);
        assert_int_equal(sample_times_next(times, channel, now_msec, 1, &at_msec), 0);
        return at_msec;
}

static void test_times_increase(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        uint64_t at_msec;

        assert_int_equal(next(times, "a", NOW, ORDERLY), NOW);
        assert_int_equal(next(times, "a", NOW, ORDERLY), NOW + 1);
        assert_int_equal(next(times, "a", NOW - 50, ORDERLY), NOW + 2);
        assert_int_equal(next(times, "a", NOW + 100, ORDERLY), NOW + 100);
        /* Each channel for itself. */
        assert_int_equal(next(times, "b", NOW, ORDERLY), NOW);
        /* A minute is not yet set back. */
        assert_int_equal(next(times, "a", NOW + 100 - MINUTE, ORDERLY), NOW + 101);
        /* A birth and a will. */
        assert_int_equal(sample_times_next(times, "a", NOW + 101, 2, &at_msec), 0);
        assert_int_equal(at_msec, NOW + 102);
        assert_int_equal(next(times, "a", NOW + 103, ORDERLY), NOW + 104);
        assert_int_equal(sample_times_set_back(times), 0);
}

/* More than a sample a millisecond: the times run ahead of the clock, by far, and that is no set-back. */
static void test_times_burst(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();

        for (uint64_t i = 0; i < 3 * MINUTE; i++)
                assert_int_equal(next(times, "a", NOW + i / 10, ORDERLY), NOW + i);
        assert_int_equal(next(times, "a", NOW + 4 * MINUTE, ORDERLY), NOW + 4 * MINUTE);
}

/* What was taken long ago says nothing of the clock, and finds its place behind what the channel has. */
static void test_times_of_old(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        uint64_t at_msec;

        assert_int_equal(next(times, "a", NOW, ORDERLY), NOW);
        assert_int_equal(sample_times_next(times, "a", NOW - 600 * MINUTE, 1, &at_msec), 0);
        assert_int_equal(at_msec, NOW + 1);
        assert_int_equal(sample_times_next(times, "logger", NOW - 600 * MINUTE, 1, &at_msec), 0);
        assert_int_equal(at_msec, NOW - 600 * MINUTE);
        assert_int_equal(next(times, "a", NOW + 500, ORDERLY), NOW + 500);
        assert_int_equal(sample_times_set_back(times), 0);
}

static void test_times_set_back(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        uint64_t at_msec;

        next(times, "a", NOW, ORDERLY);
        next(times, "b", NOW, ORDERLY);
        next(times, "late", NOW - MINUTE / 2, ORDERLY);
        /* It holds for all, and is told once. */
        assert_int_equal(next(times, "a", NOW - MINUTE - 1, SET_BACK), NOW - MINUTE - 1);
        assert_int_equal(next(times, "a", NOW - MINUTE - 1, ORDERLY), NOW - MINUTE);
        assert_int_equal(next(times, "b", NOW - MINUTE - 1, ORDERLY), NOW - MINUTE - 1);
        assert_int_equal(next(times, "new", NOW - MINUTE - 1, ORDERLY), NOW - MINUTE - 1);
        assert_int_equal(sample_times_set_back(times), 1);
        /* A channel that is less than a minute ahead waits for the clock. */
        assert_int_equal(next(times, "late", NOW - MINUTE, ORDERLY), NOW - MINUTE / 2 + 1);
        /* The clock comes to where it was: what was given then is not given again. */
        assert_int_equal(next(times, "a", NOW, ORDERLY), NOW + 1);
        assert_int_equal(sample_times_next(times, "b", NOW - 1, 2, &at_msec), 0);
        assert_int_equal(at_msec, NOW + 1);
        /* And once more, by a year. */
        assert_int_equal(next(times, "a", NOW - 525600 * MINUTE, SET_BACK), NOW - 525600 * MINUTE);
        assert_int_equal(sample_times_set_back(times), 2);
        /* Far ahead of the clock by a burst: that is no reason to go back. */
        for (uint64_t i = 0; i < 2 * MINUTE; i++)
                at_msec = next(times, "b", NOW - 525600 * MINUTE, ORDERLY);
        for (unsigned i = 0; i < 300000; i++) /* so much that it isn't remembered one by one */
                next(times, "a", NOW - 525600 * MINUTE, ORDERLY);
        assert_true(at_msec >= NOW - 525600 * MINUTE + 2 * MINUTE - 1);
        assert_true(next(times, "b", NOW - 525600 * MINUTE, ORDERLY) > at_msec);
}

/* The same hour five times over, at uneven steps: no time twice, and the clock is kept closely. */
static void test_times_same_hour_again(void **state _unused_)
{
        enum { HOUR = 3600000, PER_HOUR = 20000, HOURS = 5 };
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        _cleanup_(freep) uint8_t *given = calloc(HOUR + 1000, 1);
        unsigned seed = 1, farthest = 0;

        assert_non_null(given);
        for (unsigned hour = 0; hour < HOURS; hour++) {
                uint64_t wanted = 0, last = 0;

                for (unsigned i = 0; i < PER_HOUR; i++) {
                        uint64_t at_msec;

                        wanted += (unsigned) rand_r(&seed) % (2 * HOUR / PER_HOUR);
                        wanted = MIN(wanted, (uint64_t) HOUR - 1);
                        at_msec = next(times, "a", NOW + wanted, hour > 0 && i == 0 ? SET_BACK : ORDERLY) -
                                  NOW;
                        assert_true(at_msec < HOUR + 1000);
                        assert_false(given[at_msec]);
                        given[at_msec] = 1;
                        assert_true(i == 0 || at_msec > last);
                        last = at_msec;
                        if (wanted < HOUR - 1)
                                farthest = MAX(farthest, (unsigned) (at_msec - wanted));
                }
        }
        assert_int_equal(sample_times_set_back(times), HOURS - 1);
        assert_true(farthest < 30);
}

/* More than is remembered: of the latest, still none twice. */
static void test_times_remembered(void **state _unused_)
{
        enum { GIVEN = 400000, REMEMBERED = 131072 };
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        uint64_t from = NOW + 10 * (GIVEN - REMEMBERED);
        unsigned moved = 0;

        for (unsigned i = 0; i < GIVEN; i++)
                next(times, "a", NOW + UINT64_C(10) * i, ORDERLY);
        for (unsigned i = 0; i < REMEMBERED; i++) {
                uint64_t at_msec = next(times, "a", from + UINT64_C(10) * i, i == 0 ? SET_BACK : ORDERLY);

                /* Off the old ones, which are whole tens. */
                if ((at_msec - NOW) % 10 == 0)
                        fail_msg("the %uth is given again", i);
                moved += at_msec - from - UINT64_C(10) * i > 20;
        }
        assert_true(moved < REMEMBERED / 100);
}

static void test_times_noted(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();

        /* As a spool is read: any order. */
        assert_int_equal(sample_times_note(times, "a", NOW + 5), 0);
        assert_int_equal(sample_times_note(times, "a", NOW), 0);
        assert_int_equal(next(times, "a", NOW, ORDERLY), NOW + 6);
        /* The machine came up with an old clock: it is told, and what waits is not collided with. */
        assert_int_equal(sample_times_note(times, "b", NOW + 2 * MINUTE), 0);
        assert_int_equal(next(times, "b", NOW, SET_BACK), NOW);
        assert_int_equal(next(times, "b", NOW + 2 * MINUTE, ORDERLY), NOW + 2 * MINUTE + 1);
}

/* A client that makes up channels: bounded, and nobody's times suffer. */
static void test_times_many_channels(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        char name[32];

        next(times, "keep", NOW, ORDERLY);
        next(times, "evicted", NOW + 1000, ORDERLY);
        for (unsigned i = 0; i < 10000; i++) {
                snprintf(name, sizeof(name), "made/up/%u", i);
                next(times, name, NOW + 500, ORDERLY);
                if (i % 1000 == 0) /* in use: it is not the one that goes */
                        assert_int_equal(next(times, "keep", NOW, ORDERLY), NOW + 1 + i / 1000);
        }
        /* Forgotten, and still not twice. */
        assert_true(next(times, "evicted", NOW + 1000, ORDERLY) > NOW + 1000);
        assert_true(next(times, "evicted", NOW + 9000, ORDERLY) == NOW + 9000);
        /* An eviction does not hold up a new channel when the clock was set back. */
        assert_int_equal(next(times, "other", NOW - 2 * MINUTE, SET_BACK), NOW - 2 * MINUTE);
        assert_int_equal(next(times, "another", NOW - 2 * MINUTE, ORDERLY), NOW - 2 * MINUTE);
}

/* What was given elsewhere, to channels that it doesn't know as well. */
static void test_times_raised(void **state _unused_)
{
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();

        next(times, "ahead", NOW + 5000, ORDERLY);
        next(times, "behind", NOW, ORDERLY);
        sample_times_raise(times, NOW + 1000);
        assert_int_equal(next(times, "ahead", NOW + 1000, ORDERLY), NOW + 5001);
        assert_int_equal(next(times, "behind", NOW + 1000, ORDERLY), NOW + 1001);
        assert_int_equal(next(times, "new", NOW + 1000, ORDERLY), NOW + 1001);
        /* From a wrong future: it doesn't hold anybody up. */
        sample_times_raise(times, NOW + 525600 * MINUTE);
        assert_int_equal(next(times, "behind", NOW + 2000, SET_BACK), NOW + 2000);
        assert_int_equal(next(times, "other", NOW + 2000, ORDERLY), NOW + 2000);
        /* After that, a channel's last time of before says nothing. */
        next(times, "back", NOW + 200 * MINUTE, ORDERLY);
        assert_int_equal(next(times, "back", NOW, SET_BACK), NOW);
        sample_times_raise(times, NOW + 10);
        assert_int_equal(next(times, "behind", NOW + 5, ORDERLY), NOW + 2001);
        assert_int_equal(next(times, "back", NOW + 5, ORDERLY), NOW + 11);
        assert_int_equal(next(times, "ahead", NOW + 5, ORDERLY), NOW + 11);
}

/* A spool with far more than is remembered one by one: none of it is used twice, and the clock is kept. */
static void test_times_reserved(void **state _unused_)
{
        enum { WAITING = 1000000 };
        _cleanup_(sample_times_freep) SampleTimes *times = sample_times_new();
        uint64_t at_msec = 0, farthest = 0;
        unsigned moved = 0;

        sample_times_note(times, "a", NOW + 1000 * MINUTE);
        assert_int_equal(next(times, "a", NOW, SET_BACK), NOW);
        assert_int_equal(sample_times_reserve(times, WAITING), 0);
        for (uint64_t i = 1; i <= WAITING; i++) /* every second millisecond is free */
                sample_times_reserve_one(times, "a", NOW + 2 * i);
        for (uint64_t i = 1; i <= WAITING / 10; i++) {
                at_msec = next(times, "a", NOW + 20 * i, ORDERLY);
                if ((at_msec - NOW) % 2 == 0)
                        fail_msg("%" PRIu64 " is given again", at_msec);
                farthest = MAX(farthest, at_msec - NOW - 20 * i);
        }
        assert_true(farthest < 50);
        /* Those of one channel are not those of another. */
        for (uint64_t i = 0; i < 1000; i++)
                moved += next(times, "b", NOW + 2 * WAITING + 20 * i, ORDERLY) != NOW + 2 * WAITING + 20 * i;
        assert_true(moved < 400);
        /* Sent: it is as if nothing had been. */
        assert_int_equal(sample_times_reserve(times, 0), 0);
        moved = 0;
        for (uint64_t i = 0; i < 1000; i++) {
                sample_times_reserve_one(times, "c", NOW + 3 * WAITING + 20 * i);
                moved += next(times, "c", NOW + 3 * WAITING + 20 * i, ORDERLY) != NOW + 3 * WAITING + 20 * i;
        }
        assert_true(moved < 400);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_id_form),
                cmocka_unit_test(test_ids_differ_between_sources),
                cmocka_unit_test(test_id_counter_goes_round),
                cmocka_unit_test(test_times_increase),
                cmocka_unit_test(test_times_burst),
                cmocka_unit_test(test_times_of_old),
                cmocka_unit_test(test_times_set_back),
                cmocka_unit_test(test_times_same_hour_again),
                cmocka_unit_test(test_times_remembered),
                cmocka_unit_test(test_times_noted),
                cmocka_unit_test(test_times_many_channels),
                cmocka_unit_test(test_times_raised),
                cmocka_unit_test(test_times_reserved),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
