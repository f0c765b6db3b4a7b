/* SPDX-License-Identifier: Apache-2.0 */

/* Sets of numbers as ranges: against plain arrays of flags, and what happens when there are too many. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ranges.h"

static void check_form(const Ranges *ranges)
{
        assert_true(ranges->n <= RANGES_MAX);
        for (size_t i = 0; i < ranges->n; i++) {
                assert_true(ranges->items[i].first <= ranges->items[i].last);
                if (i > 0)
                        assert_true(ranges->items[i - 1].last + 1 < ranges->items[i].first);
        }
}

static void test_merging(void **state)
{
        Ranges ranges = {};

        (void) state;
        assert_false(ranges_covers(&ranges, 0));
        assert_int_equal(ranges_reach(&ranges, 7), 7);
        ranges_add(&ranges, 10, 20);
        ranges_add(&ranges, 30, 40);
        ranges_add(&ranges, 5, 4); /* nothing */
        assert_int_equal(ranges.n, 2);
        ranges_add(&ranges, 21, 29); /* touches both */
        assert_int_equal(ranges.n, 1);
        assert_int_equal(ranges.items[0].first, 10);
        assert_int_equal(ranges.items[0].last, 40);
        ranges_add(&ranges, 15, 16);
        assert_int_equal(ranges.n, 1);
        assert_int_equal(ranges_reach(&ranges, 8), 8);
        assert_int_equal(ranges_reach(&ranges, 9), 40);
        assert_int_equal(ranges_reach(&ranges, 40), 40);
        ranges_add(&ranges, 0, 3);
        assert_int_equal(ranges_count(&ranges, 0, 100), 4 + 31);
        assert_int_equal(ranges_count(&ranges, 3, 10), 2);
        ranges_trim(&ranges, 2);
        assert_false(ranges_covers(&ranges, 2));
        assert_true(ranges_covers(&ranges, 3));
        ranges_trim(&ranges, 11);
        assert_int_equal(ranges.n, 1);
        assert_int_equal(ranges.items[0].first, 12);
        ranges_add(&ranges, 100, UINT64_MAX);
        assert_int_equal(ranges_reach(&ranges, 99), UINT64_MAX);
        assert_int_equal(ranges_reach(&ranges, UINT64_MAX), UINT64_MAX);
        ranges_add(&ranges, 0, UINT64_MAX);
        assert_int_equal(ranges.n, 1);
        check_form(&ranges);
}

/* The smallest is forgotten, which may be the new one; never more than that one. */
static void test_too_many(void **state)
{
        Ranges ranges = {};

        (void) state;
        for (uint64_t i = 0; i < RANGES_MAX; i++)
                ranges_add(&ranges, 1000 * i, 1000 * i + 10 + i);
        assert_int_equal(ranges.n, RANGES_MAX);
        ranges_add(&ranges, 500, 505); /* smaller than all */
        assert_false(ranges_covers(&ranges, 500));
        assert_true(ranges_covers(&ranges, 0));
        ranges_add(&ranges, 500, 550);
        assert_true(ranges_covers(&ranges, 550));
        assert_false(ranges_covers(&ranges, 0));
        ranges_add(&ranges, 99000, 99500);
        assert_true(ranges_covers(&ranges, 99000));
        assert_false(ranges_covers(&ranges, 1000));
        assert_int_equal(ranges.n, RANGES_MAX);
        check_form(&ranges);
}

/* While there is room, it is exact. */
static void test_against_flags(void **state)
{
        uint64_t random = 1;

        (void) state;
        for (unsigned round = 0; round < 300; round++) {
                bool flags[120] = {};
                Ranges ranges = {};

                for (unsigned step = 0; step < 14; step++) {
                        uint64_t first, last;

                        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                        first = (random >> 33) % 115;
                        last = MIN(first + (random >> 60), UINT64_C(118));
                        ranges_add(&ranges, first, last);
                        for (uint64_t i = first; i <= last; i++)
                                flags[i] = true;
                        if ((random >> 20) % 8 == 0) {
                                uint64_t trim = (random >> 24) % 119;

                                ranges_trim(&ranges, trim);
                                for (uint64_t i = 0; i <= trim; i++)
                                        flags[i] = false;
                        }
                        check_form(&ranges);
                        for (uint64_t i = 0, count = 0; i < 119; i++) {
                                uint64_t reach = i;

                                assert_int_equal(ranges_covers(&ranges, i), flags[i]);
                                while (flags[reach + 1])
                                        reach++;
                                assert_int_equal(ranges_reach(&ranges, i), reach);
                                count += flags[i];
                                assert_int_equal(ranges_count(&ranges, 0, i), count);
                        }
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_merging),
                cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_against_flags),
        };

        return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
