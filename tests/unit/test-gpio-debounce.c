/* SPDX-License-Identifier: Apache-2.0 */

/* Debouncing in software: what holds counts, from the edge with which it began; what doesn't never was. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gpio-debounce.h"

#define PERIOD 20

static GpioDebounce debounce;
static GpioChange change;

static int setup(void **state)
{
        (void) state;
        gpio_debounce_init(&debounce, PERIOD, false, 1000);
        return 0;
}

static void quiet(bool level, int64_t when_ns)
{
        assert_false(gpio_debounce_edge(&debounce, level, when_ns, &change));
}

static void settles(int64_t now_ns, bool level, int64_t when_ns)
{
        assert_true(gpio_debounce_settle(&debounce, now_ns, &change));
        assert_int_equal(change.level, level);
        assert_int_equal(change.when_ns, when_ns);
        assert_int_equal(debounce.stable, level);
        assert_int_equal(gpio_debounce_due_ns(&debounce), GPIO_NEVER);
}

static void test_nothing_happens(void **state)
{
        (void) state;
        assert_int_equal(gpio_debounce_due_ns(&debounce), GPIO_NEVER);
        assert_false(gpio_debounce_settle(&debounce, INT64_MAX - 1, &change));
        assert_false(debounce.stable);
}

/* Exactly the period is long enough, a nanosecond less isn't. */
static void test_boundary(void **state)
{
        (void) state;
        quiet(true, 2000);
        assert_int_equal(gpio_debounce_due_ns(&debounce), 2000 + PERIOD);
        assert_false(gpio_debounce_settle(&debounce, 2000 + PERIOD - 1, &change));
        assert_false(debounce.stable);
        settles(2000 + PERIOD, true, 2000);
        assert_false(gpio_debounce_settle(&debounce, 5000, &change)); /* once */
}

static void test_boundary_between_edges(void **state)
{
        (void) state;
        quiet(true, 2000);
        quiet(false, 2000 + PERIOD - 1); /* too short to count */
        assert_false(gpio_debounce_settle(&debounce, 9000, &change));

        quiet(true, 10000);
        assert_true(gpio_debounce_edge(&debounce, false, 10000 + PERIOD, &change));
        assert_true(change.level);
        assert_int_equal(change.when_ns, 10000);
        settles(20000, false, 10000 + PERIOD);
}

static void test_bounces(void **state)
{
        (void) state;
        for (int64_t i = 0; i < 7; i++)
                quiet(i % 2 == 0, 2000 + i * (PERIOD - 1)); /* ends high */
        assert_int_equal(gpio_debounce_due_ns(&debounce), 2000 + 6 * (PERIOD - 1) + PERIOD);
        settles(9000, true, 2000 + 6 * (PERIOD - 1));
}

static void test_bounces_back(void **state)
{
        (void) state;
        for (int64_t i = 0; i < 6; i++)
                quiet(i % 2 == 0, 2000 + i);
        assert_int_equal(gpio_debounce_due_ns(&debounce), GPIO_NEVER);
        assert_false(gpio_debounce_settle(&debounce, 9000, &change));
}

/* An edge got lost, and two in a row go the same way: what lay between is not known to have held. */
static void test_lost_edge_begins_anew(void **state)
{
        (void) state;
        quiet(true, 2000);
        quiet(true, 2010);
        assert_false(gpio_debounce_settle(&debounce, 2000 + PERIOD, &change));
        settles(2010 + PERIOD, true, 2010);
}

/* Taken late and all in one go, as after a stall: the same comes out. */
static void test_late(void **state)
{
        (void) state;
        quiet(true, 2000);
        assert_true(gpio_debounce_edge(&debounce, false, 3000, &change));
        assert_int_equal(change.when_ns, 2000);
        assert_true(change.level);
        assert_true(gpio_debounce_edge(&debounce, true, 4000, &change));
        assert_int_equal(change.when_ns, 3000);
        assert_false(change.level);
        settles(5000, true, 4000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_nothing_happens, setup),
                cmocka_unit_test_setup(test_boundary, setup),
                cmocka_unit_test_setup(test_boundary_between_edges, setup),
                cmocka_unit_test_setup(test_bounces, setup),
                cmocka_unit_test_setup(test_bounces_back, setup),
                cmocka_unit_test_setup(test_lost_edge_begins_anew, setup),
                cmocka_unit_test_setup(test_late, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
