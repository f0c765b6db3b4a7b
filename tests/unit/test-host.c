/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hosts with the real worker and real plugins, in one loop: what works, what recovers, and what the manager
 * asks for.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "group.h"
#include "host-bench.h"
#include "util/clock.h"
#include "util/log.h"
#include "wire.h"

/* --- a sensor that works ------------------------------------------------------------------------------ */

static void test_a_good_sensor(void **state)
{
        char path[64], arguments[256];
        const HostChannel *channels;
        Sensor sensor;
        ssize_t n_read;
        size_t n;
        int fd;

        (void) state;
        sim_start(&sensor, "one", 0.01, "none", 0);
        assert_int_equal(host_state(sensor.host), HOST_STARTING);
        assert_true(until(sampled_20, &sensor, 10));
        assert_unharmed(&sensor, 0, 0.01);
        assert_true(sensor.changes >= 2);
        assert_string_equal(sensor.channel, "Some/Where");
        assert_string_equal(host_name(sensor.host), "one");
        assert_string_equal(host_plugin(sensor.host), "sim");
        assert_true(host_sandbox(sensor.host) & WIRE_SANDBOX_SECCOMP);
        assert_true(clock_realtime_usec() - host_last_sample_usec(sensor.host) < USEC_PER_SEC);
        assert_true(host_interval(sensor.host) == 0.01);
        channels = host_channels(sensor.host, &n);
        assert_int_equal(n, 1);
        assert_string_equal(channels[0].name, "Some/Where");
        assert_null(channels[0].unit);
        assert_string_equal(channels[0].value, sensor.data);

        snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) host_pid(sensor.host));
        fd = open(path, O_RDONLY);
        n_read = read(fd, arguments, sizeof(arguments));
        close(fd);
        assert_int_equal(n_read, sizeof("plugd-worker\0sim\0one"));
        assert_memory_equal(arguments, "plugd-worker\0sim\0one", (size_t) n_read);
        sensor_end(&sensor);
}

static void test_values_of_every_type(void **state)
{
        static const struct {
                const char *word, *channel, *data;
        } words[] = {
                {"number", "Some/Where/number", "21.5"},
                {"text", "Some/Where/text", "\"\\\"quoted\\\"\\n21 °C\""},
                {"json", "Some/Where/json", "{\"a\": [1, null]}"},
                {"boolean", "Some/Where/boolean", "true"},
                {"past", "Some/Where/number", "-1"},
                {"future", "Some/Where/number", "1"},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                Sensor sensor;

                script_start(&sensor, 60, words[i].word, 0);
                assert_true(until(sampled, &sensor, 10));
                assert_string_equal(sensor.channel, words[i].channel);
                assert_string_equal(sensor.data, words[i].data);
                if (strcmp(words[i].word, "past") == 0)
                        assert_in_range(sensor.age_usec / USEC_PER_MSEC, 3000, 5000);
                else
                        assert_true(sensor.age_usec < 2 * USEC_PER_SEC);
                sensor_end(&sensor);
        }
}

static void test_a_value_that_is_not_json(void **state)
{
        Sensor sensor;

        (void) state;
        forget_log();
        script_start(&sensor, 0.02, "nojson nojson ok", 0);
        assert_true(until(sampled_20, &sensor, 10));
        assert_int_equal(host_dropped(sensor.host), 2);
        assert_error(&sensor, "a value of channel 'Some/Where/json' is dropped: it is not JSON");
        assert_int_equal(logged_lines, 2); /* that, once, and emit() in open() */
        assert_true(
                was_logged("<4>script: a value of channel 'Some/Where/json' is dropped: it is not JSON"));
        assert_int_equal(host_state(sensor.host), HOST_RUNNING);
        sensor_end(&sensor);
        assert_true(was_logged("<4>script: 1 more dropped; the last: a value of channel 'Some/Where/json'"));

        /* It goes with the next good one of its channel, and is another error than being too long. */
        script_start(&sensor, 0.3, "nojson json quotes ok", 0);
        assert_true(until(wrong, &sensor, 10));
        assert_error(&sensor, "it is not JSON");
        assert_true(until(sampled_json, &sensor, 10));
        assert_string_equal(host_last_error(sensor.host), "");
        assert_true(until(wrong, &sensor, 10));
        assert_error(&sensor, "a value of channel 'Some/Where/text' is dropped: it is too long");
        assert_int_equal(host_dropped(sensor.host), 2);
        sensor_end(&sensor);
}

static void test_an_emit_that_is_wrong(void **state)
{
        Sensor sensor;

        (void) state;
        forget_log();
        script_start(&sensor, 0.3, "badnan ok", 0);
        assert_true(until(failing, &sensor, 10));
        assert_error(&sensor, "emit() on 'number': NaN is no JSON number");
        assert_true(was_logged("<4>script: emit() on 'number': NaN is no JSON number"));
        assert_true(until(sampled, &sensor, 10));
        assert_true(until(running, &sensor, 10));
        assert_string_equal(host_last_error(sensor.host), "");
        sensor_end(&sensor);
}

static void test_samples_that_nobody_takes(void **state)
{
        Sensor sensor;

        (void) state;
        sim(&sensor, "one", 0.01, "none", 0);
        sensor.refuse = true;
        sensor_start(&sensor, &paths);
        assert_true(until(sampled_20, &sensor, 10));
        assert_int_equal(host_samples(sensor.host), 0);
        sensor_end(&sensor);
}

static void test_interval(void **state)
{
        Sensor sensor;
        pid_t pid;

        (void) state;
        sim_start(&sensor, "one", 3600, "none", 0);
        assert_true(until(sampled, &sensor, 10));
        assert_int_equal(host_set_interval(sensor.host, 0), -ERANGE);
        assert_int_equal(host_set_interval(sensor.host, 0.0009), -ERANGE);
        assert_int_equal(host_set_interval(sensor.host, 86401), -ERANGE);
        assert_int_equal(host_set_interval(sensor.host, __builtin_nan("")), -ERANGE);
        assert_true(host_interval(sensor.host) == 3600);
        sensor.changes = 0;
        assert_int_equal(host_set_interval(sensor.host, 0.01), 0);
        assert_true(host_interval(sensor.host) == 0.01);
        assert_int_equal(sensor.changes, 1);
        assert_true(until(sampled_20, &sensor, 5));

        /* It outlives the worker. */
        pid = host_pid(sensor.host);
        kill(pid, SIGKILL);
        assert_true(until(restarting, &sensor, 5));
        assert_int_equal(host_pid(sensor.host), 0);
        sensor.n = 0;
        assert_true(until(sampled_20, &sensor, 10));
        assert_int_not_equal(host_pid(sensor.host), pid);
        sensor_end(&sensor);

        /* Also one that is set while the worker is still coming up. */
        sim_start(&sensor, "one", 3600, "none", 0);
        assert_int_equal(host_set_interval(sensor.host, 0.01), 0);
        assert_true(until(sampled_20, &sensor, 10));
        sensor_end(&sensor);
}

/* --- what is not there -------------------------------------------------------------------------------- */

static void test_failing_and_recovering(void **state)
{
        Sensor sensor;

        (void) state;
        forget_log();
        script_start(&sensor, 0.2, "ok fail fail fail ok", 0);
        assert_true(until(failing, &sensor, 10));
        assert_error(&sensor, "the script says fail: say something else");
        assert_true(until(running, &sensor, 10));
        assert_string_equal(host_last_error(sensor.host), "");
        assert_int_equal(host_restarts(sensor.host), 0);
        assert_true(was_logged("<4>script: the script says fail: say something else\n"));
        assert_null(
                strstr(strstr(logged, "say something else\n") + 1, "say something else\n")); /* said once */
        assert_true(was_logged("<5>script: can be read again"));
        sensor_end(&sensor);
}

static void test_hardware_that_is_not_there_yet(void **state)
{
        Sensor sensor;

        (void) state;
        script_start(&sensor, 0.05, "ok gone", 1);
        assert_true(until(wrong, &sensor, 10));
        assert_int_equal(host_state(sensor.host), HOST_FAILING);
        assert_error(&sensor, "open 1 of the script fails: wait");
        assert_true(until(running, &sensor, 10));
        assert_string_equal(host_last_error(sensor.host), "");
        assert_true(until(failing, &sensor, 10));
        assert_error(&sensor, "the script is gone: put it back");
        assert_true(until(running, &sensor, 10));
        assert_int_equal(host_restarts(sensor.host), 0);
        sensor_end(&sensor);
}

static void test_a_plugin_that_cannot_be_loaded(void **state)
{
        Sensor sensor;

        (void) state;
        sensor_init(&sensor, "one", "bad-abi", 1);
        sensor_start(&sensor, &test_paths);
        assert_true(until(restarting, &sensor, 10));
        assert_error(&sensor, "bad-abi.so: it was made for ABI 2");
        assert_true(until(restarted_twice, &sensor, 10));
        assert_error(&sensor, "ABI 2");
        sensor_end(&sensor);
}

static void test_a_worker_that_is_not_there(void **state)
{
        const Paths nowhere = {.plugins = paths.plugins, .worker = (char *) "/nowhere/plugd-worker"};
        Sensor sensor;

        (void) state;
        sim(&sensor, "one", 1, "none", 0);
        sensor_start(&sensor, &nowhere);
        assert_true(until(wrong, &sensor, 5));
        /* Under valgrind a vfork() is a fork(), which can't say why there was no exec(). */
        if (!strstr(host_last_error(sensor.host), "exited with status 127"))
                assert_error(
                        &sensor, "cannot start its worker /nowhere/plugd-worker: No such file or directory");
        assert_true(until(restarted_twice, &sensor, 10));
        host_stop(sensor.host);
        assert_true(until(stopped, &sensor, 5));
        sensor_end(&sensor);
}

/* --- asked from above --------------------------------------------------------------------------------- */

static bool quieter(const Sensor *sensor)
{
        (void) sensor;
        return was_logged("messages of its worker were left out");
}

static void test_what_libraries_print(void **state)
{
        Sensor sensor;

        (void) state;
        forget_log();
        script_start(&sensor, 0.1, "print ok", 0);
        assert_true(until(sampled, &sensor, 10));
        kill(host_pid(sensor.host), SIGKILL);
        assert_true(until(restarting, &sensor, 10));
        assert_true(was_logged("<4>script: printed by a library ?\n"));
        assert_true(was_logged("<4>script: and the rest\n"));
        sensor_end(&sensor);

        forget_log();
        script_start(&sensor, 0.1, "shout ok", 0);
        assert_true(until(sampled, &sensor, 20));
        run_for(1.2);
        assert_true(was_logged("<4>script: shout 0\n"));
        assert_true(was_logged("<4>script: its worker gives more than 20 messages a second"));
        assert_in_range(logged_lines, 10, 30);
        until(quieter, &sensor, 12);
        assert_true(was_logged("messages of its worker were left out"));
        assert_int_equal(host_restarts(sensor.host), 0);
        sensor_end(&sensor);
}

static void test_messages(void **state)
{
        Sensor sensor;

        (void) state;
        forget_log();
        log_set_level(LOG_DEBUG);
        script_start(&sensor, 0.1, "log ok", 0);
        assert_true(until(sampled, &sensor, 10));
        log_set_level(LOG_INFO);
        assert_true(was_logged("<3>script: an error that is none of this call\n"));
        assert_true(was_logged("<4>script: a warning of two lines\n"));
        assert_true(was_logged("<5>script: a notice\n"));
        assert_true(was_logged("<6>script: an information\n"));
        assert_true(was_logged("<7>script: for the curious\n"));
        assert_int_equal(host_state(sensor.host), HOST_RUNNING);
        assert_string_equal(host_last_error(sensor.host), "");
        sensor_end(&sensor);
}

static void test_stop(void **state)
{
        uint64_t began_usec;
        Sensor good, hanging;

        (void) state;
        forget_log();
        sim_start(&good, "good", 0.01, "none", 0);
        sim_start(&hanging, "hanging", 0.01, "hang", 3);
        assert_true(until(sampled_20, &good, 10));
        began_usec = clock_monotonic_usec();
        host_stop(good.host);
        host_stop(hanging.host);
        assert_true(until(stopped, &good, 1));
        assert_int_equal(host_pid(good.host), 0);
        assert_true(until(stopped, &hanging, 4));
        assert_in_range((clock_monotonic_usec() - began_usec) / USEC_PER_MSEC, 1900, 4000);
        assert_false(good.gap);
        assert_true(was_logged("<4>hanging: worker did not stop when asked to, and was killed"));
        assert_false(was_logged("good"));
        host_stop(good.host);
        assert_int_equal(host_state(good.host), HOST_STOPPED);

        /* And on again. */
        assert_int_equal(host_start(good.host), 0);
        good.n = 0;
        assert_true(until(sampled_20, &good, 10));
        assert_int_equal(good.lives, 2);
        sensor_end(&good);
        sensor_end(&hanging);
}

static size_t count_descriptors(void)
{
        DIR *folder = opendir("/proc/self/fd");
        size_t n = 0;

        while (readdir(folder))
                n++;
        closedir(folder);
        return n;
}

static void test_restart(void **state)
{
        size_t descriptors;
        Sensor sensor;

        (void) state;
        forget_log();
        sim_start(&sensor, "one", 0.01, "none", 0);
        assert_true(until(sampled_20, &sensor, 10));
        descriptors = count_descriptors();
        for (uint32_t i = 1; i <= 20; i++) {
                pid_t pid = host_pid(sensor.host);

                assert_int_equal(host_restart(sensor.host), 0);
                sensor.n = 0;
                assert_true(until(sampled_20, &sensor, 5));
                /* What was under way when it was asked to go is taken, and then another begins. */
                while (host_pid(sensor.host) == pid || !running(&sensor))
                        run_for(0.02);
                assert_int_equal(host_restarts(sensor.host), i);
        }
        assert_true(until(sampled_20, &sensor, 5));
        assert_string_equal(host_last_error(sensor.host), "");
        assert_int_equal(logged_lines, 0);
        assert_false(sensor.gap);
        assert_int_equal(count_descriptors(), descriptors);

        /* It also ends a wait. */
        kill(host_pid(sensor.host), SIGKILL);
        assert_true(until(restarting, &sensor, 5));
        assert_int_equal(host_restart(sensor.host), 0);
        assert_int_equal(host_state(sensor.host), HOST_STARTING);
        assert_true(until(running, &sensor, 5));
        sensor_end(&sensor);
        assert_true(count_descriptors() < descriptors);
}

static void test_what_a_worker_inherits(void **state)
{
        int leaked = fcntl(STDOUT_FILENO, F_DUPFD, 77); /* a library that doesn't know O_CLOEXEC */
        char text[64];
        Sensor sensor;

        (void) state;
        setenv("NOTIFY_SOCKET", "/run/nowhere", 1);
        setenv("CREDENTIALS_DIRECTORY", "/run/nowhere", 1);
        setenv("LANG", "C.UTF-8", 1);
        unsetenv("TZ");
        sensor_init(&sensor, "probe", "probe", 60);
        set_string(&sensor, "path", "");
        set_integer(&sensor, "pid", 0);
        sensor_start(&sensor, &test_paths);
        assert_true(until(sampled, &sensor, 10));
        unsetenv("NOTIFY_SOCKET");
        unsetenv("CREDENTIALS_DIRECTORY");
        assert_non_null(strstr(sensor.data, "\"descriptors\":\"0 1 2 3\""));
        assert_non_null(strstr(sensor.data, "\"environment\":\"PLUGD_PLUGIN_DIR PATH LANG\""));
        assert_non_null(strstr(sensor.data, "\"group\":\"own\""));
        assert_non_null(strstr(sensor.data, "\"core\":\"none\""));
        assert_non_null(strstr(sensor.data, "\"socket\":\"EPERM\""));
        assert_non_null(strstr(sensor.data, "\"kill\":\"EPERM\""));
        proc_status(host_pid(sensor.host), "SigBlk:\t", text, sizeof(text));
        assert_string_equal(text, "0000000000000000");
        proc_status(host_pid(sensor.host), "SigIgn:\t", text, sizeof(text));
        assert_string_equal(text + 9, "0001000"); /* SIGPIPE; libc keeps one beyond 31 for itself */
        proc_status(host_pid(sensor.host), "NoNewPrivs:\t", text, sizeof(text));
        assert_string_equal(text, "1");
        proc_status(host_pid(sensor.host), "Seccomp:\t", text, sizeof(text));
        assert_string_equal(text, "2");
        sensor_end(&sensor);
        close(leaked);
}

/* --- all of them ------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_good_sensor),
                cmocka_unit_test(test_values_of_every_type),
                cmocka_unit_test(test_a_value_that_is_not_json),
                cmocka_unit_test(test_an_emit_that_is_wrong),
                cmocka_unit_test(test_samples_that_nobody_takes),
                cmocka_unit_test(test_interval),
                cmocka_unit_test(test_failing_and_recovering),
                cmocka_unit_test(test_hardware_that_is_not_there_yet),
                cmocka_unit_test(test_a_plugin_that_cannot_be_loaded),
                cmocka_unit_test(test_a_worker_that_is_not_there),
                cmocka_unit_test(test_what_libraries_print),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_restart),
                cmocka_unit_test(test_what_a_worker_inherits),
        };

        if (argc == 2)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, bench_set_up, bench_tear_down);
}
