/* SPDX-License-Identifier: Apache-2.0 */

/* A bus that has another gateway, is missing, goes, comes back, hangs, or says no. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus-fixture.h"

static void test_name_taken(void **state _unused_)
{
        _cleanup_(freep) char *error = NULL;
        uint64_t begin_usec = clock_monotonic_usec();
        Bus *second = NULL;

        begin();
        manager.observer = NULL;
        assert_int_equal(bus_new(&second, event, &manager, true, &error), -EEXIST);
        assert_null(second);
        assert_non_null(error);
        assert_non_null(strstr(error, BUS_NAME));
        assert_null(manager.observer);
        assert_true(clock_monotonic_usec() < begin_usec + 2 * USEC_PER_SEC);
        assert_int_equal(n_warnings, 0);
}

static void test_no_bus(void **state _unused_)
{
        stop_daemon();
        begin();
        assert_int_equal(n_warnings, 1);
        assert_non_null(strstr(last_warning, "session bus"));
        run_for(1500 * USEC_PER_MSEC); /* tried again, but not said again */
        assert_int_equal(n_warnings, 1);
        sample(&hosts[0]);

        start_daemon();
        RUN_UNTIL(bus->named, 6 * USEC_PER_SEC);
        assert_int_equal(n_warnings, 1);
        assert_int_equal(n_notices, 1);
        open_client();
        assert_answers();
}

static void test_bus_lost(void **state _unused_)
{
        sample(&hosts[1]);
        close_client();
        stop_daemon();
        RUN_UNTIL(!bus->named, USEC_PER_SEC);
        assert_int_equal(n_warnings, 1);
        for (int i = 0; i < 10; i++) {
                sample(&hosts[1]);
                run_for(10 * USEC_PER_MSEC);
        }
        start_daemon();
        RUN_UNTIL(bus->named, 6 * USEC_PER_SEC);
        assert_int_equal(n_warnings, 1);
        assert_int_equal(n_notices, 1);
        open_client();
        assert_answers();
        n_told = 0;
        sample(&hosts[1]);
        RUN_UNTIL(count_told(ALL_PATH, "Values") >= 1, 2 * USEC_PER_SEC);
}

/* A bus that hangs costs the start two seconds, and no more. */
static void test_bus_hangs_at_start(void **state _unused_)
{
        uint64_t begin_usec = clock_monotonic_usec();

        kill(daemon_pid, SIGSTOP);
        begin();
        assert_true(clock_monotonic_usec() < begin_usec + 3 * USEC_PER_SEC);
        assert_false(bus->named);
        kill(daemon_pid, SIGCONT);
        RUN_UNTIL(bus->named, 5 * USEC_PER_SEC);
        open_client();
        assert_answers();
}

/* One that hangs later doesn't fill our memory, nor hold anything up. */
static void test_bus_hangs_later(void **state _unused_)
{
        _cleanup_(freep) char *big = malloc(60003);
        uint64_t queued, most = 0, slowest_usec = 0;

        assert_non_null(big);
        memset(big, 'x', 60002);
        big[0] = big[60001] = '"';
        big[60002] = '\0';
        channels[3].value = big;
        kill(daemon_pid, SIGSTOP);
        for (int i = 0; i < 500; i++) {
                uint64_t begin_usec = clock_monotonic_usec();

                for (size_t k = 0; k < bus->n_sensors; k++)
                        bus->sensors[k].steady.told_usec = 0; /* as if seconds went by */
                bus->steady.told_usec = 0;
                sample(&hosts[1]);
                assert_true(sd_event_run(event, 0) >= 0);
                assert_true(sd_event_run(event, 0) >= 0);
                assert_true(sd_bus_get_n_queued_write(bus->connection, &queued) >= 0);
                most = MAX(most, queued);
                slowest_usec = MAX(slowest_usec, clock_monotonic_usec() - begin_usec);
        }
        assert_true(most > 10); /* it did fill */
        assert_true(most <= BUS_QUEUE_SIGNALS + 2);
        assert_true(slowest_usec < USEC_PER_SEC);
        kill(daemon_pid, SIGCONT);
        RUN_UNTIL(sd_bus_get_n_queued_write(bus->connection, &queued) >= 0 && queued == 0, 5 * USEC_PER_SEC);
        assert_answers();
        channels[3].value = NULL;
}

static void test_name_denied(void **state _unused_)
{
        stop_daemon();
        write_config("<deny own=\"" BUS_NAME "\"/>");
        start_daemon();
        begin();
        assert_int_equal(n_warnings, 1);
        assert_non_null(strstr(last_warning, "policy"));
        run_for(1500 * USEC_PER_MSEC);
        assert_int_equal(n_warnings, 1);
        assert_false(bus->named);
}

/* The waits grow to a minute and not beyond, and are not all the same. */
static void test_retries_grow(void **state _unused_)
{
        stop_daemon();
        begin();
        for (int i = 0; i < 9; i++) {
                uint64_t due_usec, now_usec = clock_monotonic_usec(), wait_usec;
                uint64_t about_usec = MIN(USEC_PER_SEC << i, 60 * USEC_PER_SEC);

                assert_non_null(bus->retry);
                assert_true(sd_event_source_get_time(bus->retry, &due_usec) >= 0);
                wait_usec = due_usec - now_usec;
                assert_true(wait_usec > about_usec * 3 / 5);
                assert_true(wait_usec <= about_usec * 5 / 4);
                assert_true(sd_event_source_set_time(bus->retry, 0) >= 0);
                assert_true(sd_event_run(event, USEC_PER_SEC) > 0);
        }
        assert_int_equal(n_warnings, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_name_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_bus, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bus_lost, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_bus_hangs_at_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bus_hangs_later, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_name_denied, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries_grow, setup, teardown),
        };

        return RUN_TESTS(tests);
}
