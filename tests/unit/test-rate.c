/* SPDX-License-Identifier: Apache-2.0 */

/* How much comes in, by the hour. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "rate.h"

#define HOUR (3600 * USEC_PER_SEC)
#define BEGIN (UINT64_C(123456789) * 1000)

static void assert_mean(const Rate *rate, uint64_t usec, uint64_t span_usec, double messages, double bytes)
{
        RateMean mean;

        rate_get(rate, BEGIN + usec, &mean);
        assert_int_equal(mean.span_usec, span_usec);
        assert_true(isfinite(mean.messages) && isfinite(mean.bytes));
        if (fabs(mean.messages - messages) > 1e-9 || fabs(mean.bytes - bytes) > 1e-9)
                fail_msg("%g and %g, not %g and %g", mean.messages, mean.bytes, messages, bytes);
}

static void test_beginning(void **state _unused_)
{
        Rate rate;

        rate_init(&rate, BEGIN);
        assert_mean(&rate, 0, 0, 0, 0);
        rate_count(&rate, BEGIN, 1, 100);
        assert_mean(&rate, 0, 0, 0, 0);
        assert_mean(&rate, USEC_PER_SEC / 2, USEC_PER_SEC / 2, 2, 200);
        assert_mean(&rate, 10 * USEC_PER_SEC, 10 * USEC_PER_SEC, 0.1, 10);
        /* A clock that goes back is no earlier than the beginning. */
        rate_count(&rate, BEGIN - HOUR, 1, 100);
        assert_mean(&rate, (uint64_t) -HOUR, 0, 0, 0);
        assert_mean(&rate, 10 * USEC_PER_SEC, 10 * USEC_PER_SEC, 0.2, 20);
}

/* The same each second for three days: the mean is the same at any time. */
static void test_steady(void **state _unused_)
{
        Rate rate;
        RateMean mean;

        rate_init(&rate, BEGIN);
        for (uint64_t second = 0; second < UINT64_C(3) * 24 * 3600; second++) {
                rate_count(&rate, BEGIN + second * USEC_PER_SEC, 3, 590);
                if (second % 1799 != 7)
                        continue;
                rate_get(&rate, BEGIN + (second + 1) * USEC_PER_SEC, &mean);
                assert_in_range(mean.span_usec, MIN(second * USEC_PER_SEC, 24 * HOUR), 25 * HOUR);
                assert_true(fabs(mean.bytes - 590) < 0.2 && fabs(mean.messages - 3) < 0.001);
        }
}

/* A burst is remembered for a day and the rest of its hour, and then forgotten, also where nothing came
 * since or a ring's length of hours later. */
static void test_forgetting(void **state _unused_)
{
        Rate rate;

        rate_init(&rate, BEGIN);
        rate_count(&rate, BEGIN + HOUR / 2, 3600, 360000);
        assert_mean(&rate, HOUR, HOUR, 1, 100);
        assert_mean(&rate, 24 * HOUR, 24 * HOUR, 1.0 / 24, 100.0 / 24);
        assert_mean(&rate, 25 * HOUR - 1, 25 * HOUR - 1, 3600e6 / (25 * 3600e6 - 1),
                360000e6 / (25 * 3600e6 - 1));
        assert_mean(&rate, 25 * HOUR, 24 * HOUR, 0, 0);
        assert_mean(&rate, 1000 * HOUR, 24 * HOUR, 0, 0);
        rate_count(&rate, BEGIN + 25 * HOUR, 24 * 3600, 24 * 3600);
        assert_mean(&rate, 25 * HOUR, 24 * HOUR, 1, 1);
        rate_count(&rate, BEGIN + 1025 * HOUR, 24 * 3600, 0);
        assert_mean(&rate, 1025 * HOUR, 24 * HOUR, 1, 0);
}

static void test_hours(void **state _unused_)
{
        RateMean mean = {.span_usec = 60 * USEC_PER_SEC, .messages = 1, .bytes = 100};

        assert_true(fabs(rate_hours(&mean, 360000 * 31) - 31) < 1e-9);
        assert_true(fabs(rate_hours(&mean, 0)) < 1e-9);
        mean.span_usec--;
        assert_true(fabs(rate_hours(&mean, 360000) + 1) < 1e-9);
        mean = (RateMean){.span_usec = 24 * HOUR};
        assert_true(fabs(rate_hours(&mean, 360000) + 1) < 1e-9);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_beginning),
                cmocka_unit_test(test_steady),
                cmocka_unit_test(test_forgetting),
                cmocka_unit_test(test_hours),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
