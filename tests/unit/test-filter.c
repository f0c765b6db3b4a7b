/* SPDX-License-Identifier: Apache-2.0 */

/* The token bucket, on a clock of our own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "filter.h"

#define START (1000 * USEC_PER_SEC)

/* How many pass when one is offered every step_usec, from and until included. */
static unsigned offer(Filter *filter, uint64_t from_usec, uint64_t until_usec, uint64_t step_usec)
{
        unsigned admitted = 0;

        for (uint64_t now = from_usec; now <= until_usec; now += step_usec)
                admitted += filter_admit(filter, now);
        return admitted;
}

static void test_unlimited(void **state _unused_)
{
        Filter filter;

        filter_init(&filter, 0, START);
        for (unsigned i = 0; i < 100000; i++)
                assert_true(filter_admit(&filter, START));
        assert_int_equal(filter_next_usec(&filter, START), START);
}

static void test_burst_of_a_second(void **state _unused_)
{
        Filter filter;
        unsigned admitted = 0;

        filter_init(&filter, 1000, START);
        while (filter_admit(&filter, START))
                assert_true(++admitted <= 1000);
        assert_int_equal(admitted, 1000);
        /* A long rest fills it to a second's worth, not more. */
        for (admitted = 0; filter_admit(&filter, START + 3600 * USEC_PER_SEC);)
                assert_true(++admitted <= 1000);
        assert_int_equal(admitted, 1000);
}

static void test_steady(void **state _unused_)
{
        Filter filter;

        /* What keeps to the rate always passes, rounding errors or not. */
        filter_init(&filter, 1000, START);
        assert_int_equal(offer(&filter, START, START + 100 * USEC_PER_SEC, 1000), 100001);
        /* What is ten times as fast gets its burst and then the rate. */
        filter_init(&filter, 100, START);
        assert_in_range(offer(&filter, START, START + 10 * USEC_PER_SEC, 1000), 1099, 1101);
        filter_init(&filter, 3, START);
        assert_in_range(offer(&filter, START, START + 1000 * USEC_PER_SEC, 1000), 3002, 3004);
}

/* Empty, and then exactly as fast as the rate, which as a double is a little more or less. */
static void test_exact(void **state _unused_)
{
        for (unsigned i = 1; i <= 1000; i++) {
                uint64_t step_usec = 7 * i;
                Filter filter;

                filter_init(&filter, 1e6 / (double) step_usec, START);
                while (filter_admit(&filter, START))
                        ;
                filter.tokens = 0;
                assert_int_equal(offer(&filter, START + step_usec, START + 100 * step_usec, step_usec), 100);
        }
}

static void test_slow(void **state _unused_)
{
        Filter filter;

        filter_init(&filter, 0.1, START);
        assert_true(filter_admit(&filter, START));
        assert_false(filter_admit(&filter, START));
        assert_int_equal(filter_next_usec(&filter, START), START + 10 * USEC_PER_SEC);
        assert_false(filter_admit(&filter, START + 10 * USEC_PER_SEC - 100));
        assert_true(filter_admit(&filter, START + 10 * USEC_PER_SEC));
        assert_false(filter_admit(&filter, START + 10 * USEC_PER_SEC));
}

static void test_next(void **state _unused_)
{
        static const double rates[] = {0.001, 0.3, 1, 7, 1000, 123456.789, 1e6};

        for (size_t i = 0; i < ELEMENTSOF(rates); i++) {
                uint64_t now = START;
                Filter filter;

                filter_init(&filter, rates[i], now);
                for (unsigned taken = 0; taken < 5000; taken++) {
                        uint64_t next = filter_next_usec(&filter, now);

                        assert_true(next >= now);
                        if (next > now && next - now > 1)
                                assert_false(filter_admit(&filter, next - 2));
                        /* When it says, there is one. */
                        assert_true(filter_admit(&filter, next));
                        now = next;
                }
        }
}

static void test_clock_goes_back(void **state _unused_)
{
        Filter filter;
        unsigned admitted = 0;

        filter_init(&filter, 10, START);
        while (filter_admit(&filter, START - 5 * USEC_PER_SEC))
                assert_true(++admitted <= 10);
        assert_int_equal(admitted, 10);
        assert_false(filter_admit(&filter, 0));
        assert_int_equal(filter_next_usec(&filter, 0), START + USEC_PER_SEC / 10);
        assert_true(filter_admit(&filter, START + USEC_PER_SEC / 10));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_unlimited),
                cmocka_unit_test(test_burst_of_a_second),
                cmocka_unit_test(test_steady),
                cmocka_unit_test(test_exact),
                cmocka_unit_test(test_slow),
                cmocka_unit_test(test_next),
                cmocka_unit_test(test_clock_goes_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
