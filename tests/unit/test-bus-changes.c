/* SPDX-License-Identifier: Apache-2.0 */

/* What PropertiesChanged tells, and how often. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus-fixture.h"

/* 100 samples a second: values at most once a second, the first at once, the last not forgotten. */
static void test_told_values(void **state _unused_)
{
        uint64_t begin_usec = clock_monotonic_usec(), first_usec = 0, last_usec;
        const char *text;
        uint64_t samples;

        for (int i = 0; i < 220; i++) {
                sample(&hosts[1]);
                run_for(10 * USEC_PER_MSEC);
        }
        last_usec = clock_monotonic_usec();
        run_for(1500 * USEC_PER_MSEC);

        for (size_t i = 0; i < n_told; i++)
                if (strcmp(told[i].path, ALL_PATH) == 0) {
                        assert_string_equal(told[i].names, " Values Samples LastSampleAt ");
                        if (first_usec == 0)
                                assert_true((first_usec = told[i].usec) < begin_usec + 300 * USEC_PER_MSEC);
                }
        /* A burst's last state follows within a second: as many as begun seconds, and one more. */
        assert_true(count_told(ALL_PATH, "Samples") >= 3);
        assert_true(count_told(ALL_PATH, "Samples") <= (last_usec - begin_usec) / USEC_PER_SEC + 2);
        assert_true(count_told(BUS_PATH, "SpoolMessages") >= 3);
        assert_true(count_told(BUS_PATH, "SpoolMessages") <= (last_usec - begin_usec) / USEC_PER_SEC + 2);
        assert_int_equal(count_told(BUS_PATH, "State"), 0);
        assert_int_equal(count_told(BUS_PATH, "Published"), 0);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "Samples", "t", &samples);
        assert_true(samples == 227);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "Name", "s", &text);
}

/* Each sensor has a second of its own. */
static void test_told_apart(void **state _unused_)
{
        sample(&hosts[1]);
        RUN_UNTIL(count_told(ALL_PATH, "Values") == 1, 500 * USEC_PER_MSEC);
        sample(&hosts[0]);
        RUN_UNTIL(count_told(DOOR_PATH, "Values") == 1, 500 * USEC_PER_MSEC);
}

static void test_told_states(void **state _unused_)
{
        /* Counters have just been told: a state doesn't wait for their second. */
        manager.counters.published = 1;
        manager.observer->on_changed(manager.userdata);
        RUN_UNTIL(count_told(BUS_PATH, "Published") == 1, USEC_PER_SEC);
        manager.state = MANAGER_ONLINE;
        manager.secure = true;
        manager.counters.published = 2;
        manager.observer->on_changed(manager.userdata);
        RUN_UNTIL(count_told(BUS_PATH, "State") == 1, 500 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " State Secure ");
        RUN_UNTIL(count_told(BUS_PATH, "Published") == 2, 2 * USEC_PER_SEC);
        assert_string_equal(told[n_told - 1].names, " Published ");

        hosts[0].state = HOST_RUNNING;
        hosts[0].pid = 12;
        manager.observer->on_host_changed(&hosts[0], manager.userdata);
        RUN_UNTIL(count_told(DOOR_PATH, "State") == 1, 500 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " State ProcessId Units Types ");
        hosts[0].last_error = "no answer";
        manager.observer->on_host_changed(&hosts[0], manager.userdata);
        RUN_UNTIL(count_told(DOOR_PATH, "LastError") == 1, 500 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " LastError ");
        assert_int_equal(count_told(ALL_PATH, "State"), 0);
}

/* A plugin that says another error a hundred times a second doesn't make the bus say it as often. */
static void test_told_flood(void **state _unused_)
{
        static char text[32];

        hosts[0].last_error = text;
        for (int i = 0; i < 100; i++) {
                snprintf(text, sizeof(text), "error %d", i);
                manager.observer->on_host_changed(&hosts[0], manager.userdata);
                run_for(10 * USEC_PER_MSEC);
        }
        run_for(500 * USEC_PER_MSEC);
        assert_true(count_told(DOOR_PATH, "LastError") >= 3);
        assert_true(count_told(DOOR_PATH, "LastError") <= 15);
}

/* Nothing is told that hasn't changed, and then nothing wakes the loop. */
static void test_quiet(void **state _unused_)
{
        sample(&hosts[1]);
        manager.observer->on_host_changed(&hosts[0], manager.userdata);
        RUN_UNTIL(n_told == 2, USEC_PER_SEC);
        manager.observer->on_changed(manager.userdata);
        manager.observer->on_host_changed(&hosts[1], manager.userdata);
        run_for(1500 * USEC_PER_MSEC);
        assert_int_equal(n_told, 2);
        assert_int_equal(sd_event_run(event, 1500 * USEC_PER_MSEC), 0);
}

/* A message is sent right after it is stored, and nobody says so: the counters are looked at once more. Then
 * they rest, though a message waits for its confirmation: that one is said. */
static void test_told_sent(void **state _unused_)
{
        manager.since_usec = 1700000000000000;
        sample(&hosts[1]);
        RUN_UNTIL(count_told(BUS_PATH, "SpoolMessages") == 1, USEC_PER_SEC);
        manager.counters.published = 1;
        RUN_UNTIL(count_told(BUS_PATH, "Published") == 1, 1500 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " Published ");
        run_for(1500 * USEC_PER_MSEC);
        assert_int_equal(sd_event_run(event, 1500 * USEC_PER_MSEC), 0);
        manager.counters.spool_messages = 0;
        manager.counters.confirmed = 1;
        manager.observer->on_changed(manager.userdata);
        RUN_UNTIL(count_told(BUS_PATH, "Confirmed") == 1, 500 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " Confirmed SpoolMessages ");
}

/* What the spool gave up of a sensor is told as that sensor's, whoever's message it had to make room for. */
static void test_told_dropped(void **state _unused_)
{
        hosts[0].spool_dropped = 3;
        manager.counters.dropped = 3;
        sample(&hosts[1]);
        RUN_UNTIL(count_told(DOOR_PATH, "Dropped") == 1, 500 * USEC_PER_MSEC);
        assert_int_equal(count_told(BUS_PATH, "Dropped"), 1);
        assert_int_equal(count_told(ALL_PATH, "Dropped"), 0);
}

/* At once, not with the counters. */
static void test_told_full(void **state _unused_)
{
        manager.counters.dropped = 1;
        sample(&hosts[1]);
        RUN_UNTIL(count_told(BUS_PATH, "Dropped") == 1, 500 * USEC_PER_MSEC);
        for (int full = 1; full >= 0; full--) {
                manager.counters.spool_full = full;
                sample(&hosts[1]);
                RUN_UNTIL(count_told(BUS_PATH, "SpoolFull") == (full ? 1 : 2), 500 * USEC_PER_MSEC);
        }
        run_for(1500 * USEC_PER_MSEC);
        assert_int_equal(count_told(BUS_PATH, "SpoolFull"), 2);
}

static void test_told_next_try(void **state _unused_)
{
        manager.next_try_usec = clock_monotonic_usec() + USEC_PER_SEC;
        manager.observer->on_changed(manager.userdata);
        RUN_UNTIL(count_told(BUS_PATH, "NextTry") == 1, 500 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " NextTry ");
        manager.observer->on_changed(manager.userdata);
        run_for(200 * USEC_PER_MSEC);
        assert_int_equal(count_told(BUS_PATH, "NextTry"), 1);
        manager.next_try_usec = 0;
        manager.observer->on_changed(manager.userdata);
        RUN_UNTIL(count_told(BUS_PATH, "NextTry") == 2, 500 * USEC_PER_MSEC);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_told_values, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_apart, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_states, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_flood, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_sent, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_dropped, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_full, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_next_try, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_quiet, setup_running, teardown),
        };

        return RUN_TESTS(tests);
}
