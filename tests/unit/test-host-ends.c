/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hosts whose workers come to an end, or give too much: the sensor beside them must not miss a sample.
 */

#include <signal.h>
#include <string.h>

#include "host-bench.h"
#include "util/clock.h"

/* --- coming to harm ----------------------------------------------------------------------------------- */

static void test_workers_that_end(void **state)
{
        static const struct {
                const char *how, *words;
        } ways[] = {
                {"crash", "worker ended by signal 11 (Segmentation fault)"},
                {"exit", "worker exited with status 3"},
                {"garbage", "worker talks nonsense: "},
        };
        Sensor steady;
        pid_t pid;

        (void) state;
        steady_start(&steady);
        pid = host_pid(steady.host);
        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                uint64_t began_usec = clock_monotonic_usec();
                Sensor ill;

                sim_start(&ill, "ill", 0.02, ways[i].how, 5);
                assert_true(until(restarting, &ill, 10));
                assert_error(&ill, ways[i].words);
                assert_int_equal(ill.n, 5); /* what it gave before came through, all of it */
                assert_true(until(restarted_twice, &ill, 15));
                /* 1 s and 2 s between them, each spread by a fifth. */
                assert_in_range((clock_monotonic_usec() - began_usec) / USEC_PER_MSEC, 2400, 9000);
                assert_error(&ill, ways[i].words); /* it doesn't go away by starting again */
                assert_false(ill.gap);
                assert_int_equal(ill.n, 10);
                sensor_end(&ill);
                assert_unharmed(&steady, pid, 0.02);
        }
        sensor_end(&steady);
}

/* Between two crashes it looks well: how it ended is still to be seen, whatever else comes and goes. */
static void test_a_crash_is_not_forgotten(void **state)
{
        Sensor ill;

        (void) state;
        script_start(&ill, 0.2, "fail ok ok crash", 0);
        assert_true(until(restarting, &ill, 10));
        assert_error(&ill, "worker ended by signal 6 (Aborted)");
        for (int i = 0; i < 2; i++) {
                assert_true(until(failing, &ill, 10));
                assert_error(&ill, "the script says fail");
                ill.n = 0;
                assert_true(until(sampled, &ill, 10));
                assert_int_equal(host_state(ill.host), HOST_RUNNING);
                assert_error(&ill, "worker ended by signal 6 (Aborted)");
                assert_true(until(restarting, &ill, 10));
        }
        sensor_end(&ill);
}

static void test_a_worker_that_leaks(void **state)
{
#ifdef SANITIZED
        (void) state;
        skip();
#else
        uint64_t most_kib = 0;
        char text[64];
        Sensor ill;

        (void) state;
        script_start(&ill, 0.05, "leak", 0);
        while (host_restarts(ill.host) < 2) {
                run_for(0.05);
                if (!running(&ill))
                        continue;
                proc_status(host_pid(ill.host), "VmRSS:", text, sizeof(text));
                most_kib = MAX(most_kib, strtoull(text, NULL, 10));
                assert_true(ill.n < 50);
        }
        print_message("leaking: %llu KiB at most\n", (unsigned long long) most_kib);
        assert_in_range(most_kib, 30 * 1024, 70 * 1024);
        assert_error(&ill, "no memory left of the 64 MiB");
        sensor_end(&ill);
#endif
}

/* Who is restarted or stopped may come to harm on the way out: that is said. */
static void test_a_crash_in_close(void **state)
{
        Sensor sensor;

        (void) state;
        forget_log();
        script_start(&sensor, 0.05, "ok crash-in-close", 0);
        assert_true(until(sampled, &sensor, 10));
        assert_int_equal(host_restart(sensor.host), 0);
        sensor.n = 0;
        assert_true(until(sampled, &sensor, 10));
        assert_true(was_logged(
                "<4>script: its worker was asked to stop, but ended by signal 6 (Aborted) instead of "
                "closing plugin 'script' in peace"));
        assert_int_equal(host_restarts(sensor.host), 1);
        forget_log();
        host_stop(sensor.host);
        assert_true(until(stopped, &sensor, 5));
        assert_true(was_logged("ended by signal 6 (Aborted) instead of"));
        sensor_end(&sensor);
}

static void test_a_worker_that_is_killed(void **state)
{
        Sensor steady, ill;
        pid_t pid, before;

        (void) state;
        steady_start(&steady);
        pid = host_pid(steady.host);
        sim_start(&ill, "ill", 0.02, "none", 0);
        assert_true(until(sampled, &ill, 10));
        before = host_pid(ill.host);
        kill(before, SIGKILL);
        assert_true(until(restarting, &ill, 5));
        assert_error(&ill, "worker ended by signal 9 (Killed)");
        assert_true(until(running, &ill, 10));
        assert_int_equal(host_restarts(ill.host), 1);
        assert_int_not_equal(host_pid(ill.host), before);
        assert_unharmed(&steady, pid, 0.02);
        sensor_end(&ill);
        sensor_end(&steady);
}

/* --- too much ----------------------------------------------------------------------------------------- */

static void test_flood(void **state)
{
        const double seconds = 3;
        Sensor steady, ill;
        uint64_t n;
        double cpu;
        pid_t pid;

        (void) state;
        forget_log();
        steady_start(&steady);
        pid = host_pid(steady.host);
        sim(&ill, "ill", 0.02, "flood", 5);
        ill.config.rate_limit = 100;
        sensor_start(&ill, &paths);
        assert_true(until(sampled_20, &ill, 10));
        n = ill.n;
        cpu = cpu_sec();
        run_for(seconds);
        cpu = cpu_sec() - cpu;
        print_message("flooded: %.1f %% CPU, %llu dropped\n", 100 * cpu / seconds,
                (unsigned long long) host_dropped(ill.host));
        assert_in_range(ill.n - n, 100 * seconds * 0.7, 100 * (seconds + 1.5));
        assert_true(host_dropped(ill.host) > 1000);
        assert_error(&ill, "gives more than 100 samples a second (rate_limit); ");
        assert_true(strtoull(strchr(host_last_error(ill.host), ';') + 1, NULL, 10) > 1000);
        assert_int_equal(host_state(ill.host), HOST_RUNNING);
        assert_int_equal(host_restarts(ill.host), 0);
        assert_true(cpu < 0.35 * seconds); /* a sanitizer takes its part of it */
        assert_unharmed(&steady, pid, 0.02);
        assert_true(was_logged("<4>ill: gives more than 100 samples a second (rate_limit)"));
        assert_int_equal(logged_lines, 1);
        sensor_end(&ill);
        assert_true(was_logged("samples over its rate_limit were dropped in"));
        assert_int_equal(logged_lines, 2);
        sensor_end(&steady);
}

static void test_flood_that_is_wanted(void **state)
{
        Sensor steady, ill;
        pid_t pid;

        (void) state;
        steady_start(&steady);
        pid = host_pid(steady.host);
        sim(&ill, "ill", 0.02, "flood", 5);
        ill.config.rate_limit = 0;
        sensor_start(&ill, &paths);
        assert_true(until(sampled, &ill, 10));
        run_for(2);
        print_message("unlimited: %llu samples/s\n", (unsigned long long) ill.n / 2);
        assert_false(ill.gap);
        assert_true(ill.n > 10000);

        /* Until who takes them can't keep up: then it waits, and nothing is lost. */
        ill.too_much = true;
        run_for(0.2);
        ill.n = 0;
        run_for(2);
        assert_in_range(ill.n, 20, 10000);
        ill.too_much = false;
        run_for(0.2);
        ill.n = 0;
        run_for(1);
        assert_true(ill.n > 5000);
        assert_int_equal(host_state(ill.host), HOST_RUNNING);
        assert_false(ill.gap);
        assert_int_equal(host_dropped(ill.host), 0);
        assert_unharmed(&steady, pid, 0.02);
        sensor_end(&ill);
        sensor_end(&steady);
}

/* --- all of them ------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_workers_that_end),
                cmocka_unit_test(test_a_crash_is_not_forgotten),
                cmocka_unit_test(test_a_worker_that_leaks),
                cmocka_unit_test(test_a_crash_in_close),
                cmocka_unit_test(test_a_worker_that_is_killed),
                cmocka_unit_test(test_flood),
                cmocka_unit_test(test_flood_that_is_wanted),
        };

        if (argc == 2)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, bench_set_up, bench_tear_down);
}
