/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hosts whose workers say nothing: warned, killed, replaced; and what else takes a minute.
 */

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "host-bench.h"
#include "util/clock.h"

/* Three ways to say nothing: a plugin that hangs, a stopped process, and one that hangs before it has even
 * said hello. All at once, as this takes its time. */
static void test_silence(void **state)
{
        uint64_t began_usec, warned_usec, killed_usec;
        Sensor steady, hanging, halted, mute;
        pid_t pid;

        (void) state;
        forget_log();
        steady_start(&steady);
        pid = host_pid(steady.host);
        sim_start(&halted, "halted", 1, "none", 0);
        assert_true(until(sampled, &halted, 10));
        sensor_init(&mute, "mute", "mute", 1);
        began_usec = clock_monotonic_usec();
        sim_start(&hanging, "hanging", 0.02, "hang", 3);
        sensor_start(&mute, &fake_paths);
        kill(host_pid(halted.host), SIGSTOP);

        assert_true(until(silent, &hanging, 13));
        warned_usec = clock_monotonic_usec();
        assert_in_range((warned_usec - began_usec) / USEC_PER_MSEC, 10000, 12000);
        assert_int_equal(hanging.n, 3);
        assert_error(&hanging, "no answer from its worker for 10 s");
        assert_true(until(restarting, &hanging, 7));
        killed_usec = clock_monotonic_usec();
        assert_in_range((killed_usec - warned_usec) / USEC_PER_MSEC, 4500, 6500);
        assert_error(&hanging, "silent for 15 s past its due answer");
        assert_true(until(starting, &hanging, 5)); /* and on it goes */
        expected = "silent for 15 s";
        assert_true(until(says, &halted, 5));
        assert_true(until(says, &mute, 5));
        assert_true(until(running, &halted, 5));
        assert_true(was_logged("<4>halted: no answer from its worker for 10 s"));
        assert_unharmed(&steady, pid, 0.02);
        sensor_end(&hanging);
        sensor_end(&halted);
        sensor_end(&mute);
        sensor_end(&steady);
}

/* The loop itself was away for so long that the worker looks silent: it is not, its words were waiting. And
 * one that does come back after the warning stays. */
static void test_whose_silence_it_was(void **state)
{
        Sensor sensor, halted;
        pid_t pid;

        (void) state;
        forget_log();
        sim_start(&sensor, "busy", 0.5, "none", 0);
        sim_start(&halted, "halted", 0.5, "none", 0);
        assert_true(until(sampled, &sensor, 10) && until(sampled, &halted, 10));
        pid = host_pid(sensor.host);
        kill(host_pid(halted.host), SIGSTOP);
        poll(NULL, 0, 11500);
        run_for(0.3);
        assert_int_equal(host_state(sensor.host), HOST_RUNNING);
        assert_false(was_logged("busy"));
        assert_int_equal(host_state(halted.host), HOST_SILENT);
        kill(host_pid(halted.host), SIGCONT);
        assert_true(until(running, &halted, 5));
        assert_true(was_logged("<5>halted: answers again, after 1"));
        assert_string_equal(host_last_error(halted.host), "");
        assert_int_equal(host_pid(sensor.host), pid);
        assert_int_equal(host_restarts(halted.host), 0);
        assert_false(sensor.gap || halted.gap);
        sensor_end(&sensor);
        sensor_end(&halted);
}

/* What takes a minute: being healthy again, and the log of what goes on and on. */
static void test_a_minute(void **state)
{
        uint64_t began_usec;
        Sensor killed, dropping, chatty;

        (void) state;
        forget_log();
        sim_start(&killed, "killed", 0.5, "none", 0);
        script_start(&dropping, 0.1, "nojson", 0);
        script_start(&chatty, 0.1, "chat", 0);
        assert_true(until(sampled, &killed, 10));
        kill(host_pid(killed.host), SIGKILL);
        assert_true(until(restarting, &killed, 10) && until(running, &killed, 10));
        began_usec = clock_monotonic_usec();
        run_for(58);
        assert_error(&killed, "worker ended by signal 9");
        while (wrong(&killed) && clock_monotonic_usec() - began_usec < 70 * USEC_PER_SEC)
                run_for(0.1);
        assert_in_range((clock_monotonic_usec() - began_usec) / USEC_PER_MSEC, 59500, 63000);
        assert_string_equal(host_last_error(killed.host), "");
        run_for(3);

        assert_true(host_dropped(dropping.host) > 200);
        assert_error(&dropping, "it is not JSON");
        assert_int_equal(count_logged("<4>script: a value of channel 'Some/Where/json' is dropped"), 1);
        assert_int_equal(count_logged(" more dropped; the last: a value of channel 'Some/Where/json'"), 1);
        assert_int_equal(count_logged("messages a second: until it is quieter"), 1);
        assert_int_equal(count_logged("messages of its worker were left out"), 1);
        assert_in_range(count_logged("<4>script: chat "), 10, 60);
        sensor_end(&killed);
        sensor_end(&dropping);
        sensor_end(&chatty);
}

/* --- all of them ------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_silence),
                cmocka_unit_test(test_whose_silence_it_was),
                cmocka_unit_test(test_a_minute),
        };

        if (argc == 3 && strcmp(argv[0], "plugd-worker") == 0) { /* a worker that says nothing */
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        pause();
        }
        if (argc == 2)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, bench_set_up, bench_tear_down);
}
