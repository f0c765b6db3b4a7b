/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hosts with the real worker and real plugins, in one loop; and with workers that are this very program,
 * playing somebody who means ill. Where something goes wrong in one, a steady sensor beside it must not miss
 * a sample.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "group.h"
#include "host.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"
#include "wire.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

static sd_event *event;
static Paths paths, test_paths, fake_paths;

/* --- what was logged ---------------------------------------------------------------------------------- */

static char logged[256 * 1024];
static size_t logged_size, logged_lines;

static void on_log(int priority, const LogContext *context, const char *text)
{
        int n = snprintf(logged + logged_size, sizeof(logged) - logged_size, "<%d>%s: %s\n", priority,
                context && context->sensor ? context->sensor : "-", text);

        assert_true(text_is_utf8(text, strlen(text)));
        assert_null(strpbrk(text, "\n\r\x01"));
        logged_lines++;
        if (n > 0 && (size_t) n < sizeof(logged) - logged_size)
                logged_size += (size_t) n;
}

static bool was_logged(const char *text)
{
        return strstr(logged, text) != NULL;
}

static void forget_log(void)
{
        logged[0] = '\0';
        logged_size = logged_lines = 0;
}

static size_t count_logged(const char *text)
{
        size_t n = 0;

        for (const char *found = logged; (found = strstr(found, text)); found++)
                n++;
        return n;
}

/* --- sensors ------------------------------------------------------------------------------------------ */

typedef struct Sensor {
        SensorConfig config;
        Host *host;
        uint64_t n, lives; /* samples; how often the counter began */
        int64_t last;      /* value of the counter */
        bool gap;          /* it did not go on by one, and was not begun either */
        char channel[64], data[16384];
        uint64_t age_usec, last_usec, longest_usec; /* longest: between two samples */
        unsigned changes;
        bool refuse;
} Sensor;

static int on_sample(
        Host *host, const char *channel, const char *data, size_t size, uint64_t taken_usec, void *userdata)
{
        Sensor *sensor = userdata;
        uint64_t now_usec = clock_monotonic_usec();
        int64_t value = atoll(data);

        assert_ptr_equal(host, sensor->host);
        assert_int_equal(size, strlen(data));
        assert_true(taken_usec <= clock_boottime_usec());
        sensor->age_usec = clock_boottime_usec() - taken_usec;
        if (sensor->n > 0)
                sensor->longest_usec = MAX(sensor->longest_usec, now_usec - sensor->last_usec);
        sensor->last_usec = now_usec;
        if (value == 0 && strcmp(data, "0") == 0)
                sensor->lives++;
        else if (value != sensor->last + 1)
                sensor->gap = true;
        sensor->last = value;
        sensor->n++;
        snprintf(sensor->channel, sizeof(sensor->channel), "%s", channel);
        snprintf(sensor->data, sizeof(sensor->data), "%s", data);
        return sensor->refuse ? -ENOSPC : 0;
}

static void on_changed(Host *host, void *userdata)
{
        Sensor *sensor = userdata;

        assert_ptr_equal(host, sensor->host);
        sensor->changes++;
}

static const HostHandler handler = {.on_sample = on_sample, .on_changed = on_changed};

static void sensor_start(Sensor *sensor, const Paths *where)
{
        assert_int_equal(host_new(&sensor->host, event, where, &sensor->config, &handler, sensor), 0);
        assert_int_equal(host_state(sensor->host), HOST_STOPPED);
        assert_int_equal(host_start(sensor->host), 0);
}

static void sensor_init(Sensor *sensor, const char *name, const char *plugin, double interval_sec)
{
        *sensor = (Sensor){.config = {
                                   .name = (char *) name,
                                   .plugin = (char *) plugin,
                                   .channel = (char *) "Some/Where",
                                   .interval_sec = interval_sec,
                                   .rate_limit = 1000,
                           }};
}

static void set_string(Sensor *sensor, const char *name, const char *text)
{
        group_add(
                &sensor->config.options, name, &(struct plugd_value){.type = PLUGD_STRING, .string = text});
}

static void set_integer(Sensor *sensor, const char *name, int64_t integer)
{
        group_add(&sensor->config.options, name,
                &(struct plugd_value){.type = PLUGD_INTEGER, .integer = integer});
}

static void set_number(Sensor *sensor, const char *name, double number)
{
        group_add(&sensor->config.options, name,
                &(struct plugd_value){.type = PLUGD_NUMBER, .number = number});
}

static void sim(Sensor *sensor, const char *name, double interval_sec, const char *misbehave, int64_t after)
{
        sensor_init(sensor, name, "sim", interval_sec);
        set_string(sensor, "wave", "counter");
        set_number(sensor, "period", 1);
        set_number(sensor, "amplitude", 1);
        set_number(sensor, "offset", 0);
        set_integer(sensor, "seed", 1);
        set_string(sensor, "misbehave", misbehave);
        set_integer(sensor, "after", after);
}

static void sim_start(
        Sensor *sensor, const char *name, double interval_sec, const char *misbehave, int64_t after)
{
        sim(sensor, name, interval_sec, misbehave, after);
        sensor_start(sensor, &paths);
}

static void script_start(Sensor *sensor, double interval_sec, const char *script, int64_t open_failures)
{
        sensor_init(sensor, "script", "script", interval_sec);
        set_string(sensor, "script", script);
        set_integer(sensor, "open_failures", open_failures);
        set_number(sensor, "slow", 0);
        sensor_start(sensor, &test_paths);
}

static void sensor_end(Sensor *sensor)
{
        sensor->host = host_free(sensor->host);
        group_deinit(&sensor->config.options);
}

/* Runs the loop until it is so. False: it took too long. */
static bool until(bool (*so)(const Sensor *sensor), const Sensor *sensor, double seconds)
{
        uint64_t end_usec = clock_monotonic_usec() + (uint64_t) (seconds * 1e6);

        while (!so || !so(sensor)) {
                if (clock_monotonic_usec() >= end_usec)
                        return false;
                assert_true(sd_event_run(event, 20 * USEC_PER_MSEC) >= 0);
        }
        return true;
}

static void run_for(double seconds)
{
        until(NULL, NULL, seconds);
}

static bool sampled(const Sensor *sensor)
{
        return sensor->n > 0;
}

static bool sampled_json(const Sensor *sensor)
{
        return strcmp(sensor->channel, "Some/Where/json") == 0;
}

static bool sampled_20(const Sensor *sensor)
{
        return sensor->n >= 20;
}

static bool running(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_RUNNING;
}

static bool restarting(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_RESTARTING;
}

static bool starting(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_STARTING;
}

static bool failing(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_FAILING;
}

static bool silent(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_SILENT;
}

static bool stuck(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_STUCK;
}

static bool stopped(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_STOPPED;
}

static bool restarted_twice(const Sensor *sensor)
{
        return host_restarts(sensor->host) >= 2;
}

static const char *expected; /* by says() */

static bool says(const Sensor *sensor)
{
        return strstr(host_last_error(sensor->host), expected) != NULL;
}

static bool wrong(const Sensor *sensor)
{
        return host_last_error(sensor->host)[0] != '\0';
}

static void assert_error(const Sensor *sensor, const char *words)
{
        if (!strstr(host_last_error(sensor->host), words))
                fail_msg("'%s' is not in '%s'", words, host_last_error(sensor->host));
}

/* The one that nothing may happen to. */
static void assert_unharmed(const Sensor *steady, pid_t pid, double interval_sec)
{
        assert_false(steady->gap);
        assert_int_equal(steady->lives, 1);
        assert_int_equal(steady->last, steady->n - 1);
        assert_int_equal(host_samples(steady->host), steady->n);
        assert_int_equal(host_dropped(steady->host), 0);
        assert_int_equal(host_restarts(steady->host), 0);
        assert_int_equal(host_state(steady->host), HOST_RUNNING);
        assert_string_equal(host_last_error(steady->host), "");
        if (pid > 0)
                assert_int_equal(host_pid(steady->host), pid);
        /* On time too, as far as a busy machine lets anybody be. */
        assert_true(steady->longest_usec < (uint64_t) (interval_sec * 1e6) + USEC_PER_SEC);
}

static void steady_start(Sensor *steady)
{
        sim_start(steady, "steady", 0.02, "none", 0);
        assert_true(until(sampled, steady, 10));
}

/* Gives what a file in the worker's /proc says behind a key. */
static void proc_status(pid_t pid, const char *key, char *ret, size_t size)
{
        char path[64], line[256];
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
        file = fopen(path, "re");
        assert_non_null(file);
        ret[0] = '\0';
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, key, strlen(key)) == 0)
                        snprintf(ret, size, "%.*s", (int) strcspn(line + strlen(key), "\n"),
                                line + strlen(key));
        fclose(file);
}

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

/* --- failing ------------------------------------------------------------------------------------------ */

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

/* --- too much ----------------------------------------------------------------------------------------- */

static double cpu_sec(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (double) usage.ru_utime.tv_sec + (double) usage.ru_stime.tv_sec +
               (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

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
        assert_int_equal(host_dropped(ill.host), 0);
        assert_unharmed(&steady, pid, 0.02);
        sensor_end(&ill);
        sensor_end(&steady);
}

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

/* --- being told --------------------------------------------------------------------------------------- */

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

/* --- strangers ---------------------------------------------------------------------------------------- */

static void fake_write(const Bytes *bytes)
{
        size_t done = 0;

        while (done < bytes->size) {
                ssize_t n = write(WIRE_FD, bytes->data + done, bytes->size - done);

                if (n < 0)
                        _exit(0);
                done += (size_t) n;
        }
}

static void put_frame(Bytes *bytes, WireType type, const void *body, size_t size)
{
        size_t mark = wire_begin(bytes, type);

        bytes_put(bytes, body, size);
        wire_end(bytes, mark);
}

static void put_hello(Bytes *bytes, uint32_t version)
{
        size_t mark = wire_begin(bytes, WIRE_HELLO);

        bytes_put_u32(bytes, version);
        bytes_put_u32(bytes, WIRE_SANDBOX_SECCOMP);
        wire_end(bytes, mark);
}

static void put_opened(Bytes *bytes, uint32_t n, const char *name, uint32_t type)
{
        size_t mark = wire_begin(bytes, WIRE_OPENED);

        bytes_put_u32(bytes, n);
        for (uint32_t i = 0; i < n; i++) {
                char numbered[64];

                snprintf(numbered, sizeof(numbered), name, i);
                bytes_put_string(bytes, numbered);
                bytes_put_string(bytes, "");
                bytes_put_u32(bytes, type);
                bytes_put_u32(bytes, PLUGD_READABLE);
        }
        wire_end(bytes, mark);
}

static void put_sample(Bytes *bytes, uint32_t channel, const struct plugd_value *value)
{
        size_t mark = wire_begin(bytes, WIRE_SAMPLE);

        bytes_put_u32(bytes, channel);
        bytes_put_u64(bytes, UINT64_MAX);
        wire_put_value(bytes, value);
        wire_end(bytes, mark);
}

/* What START says of devices, as a sample. */
static int fake_start(void)
{
        Bytes bytes = {0};
        WireFrame frame;
        char text[256] = "";
        uint32_t n;

        if (!bytes_reserve(&bytes, 65536))
                return 1;
        while (wire_next(bytes.data, bytes.size, &frame) == 0) {
                ssize_t size = read(WIRE_FD, bytes.data + bytes.size, 65536 - bytes.size);

                if (size <= 0)
                        return 1;
                bytes.size += (size_t) size;
        }
        if (frame.type != WIRE_START || bytes_get_u32(&frame.body) != WIRE_VERSION)
                return 2;
        (void) bytes_get_f64(&frame.body);
        n = bytes_get_u32(&frame.body);
        for (uint32_t i = 0; i < n; i++) {
                const char *device = bytes_get_string(&frame.body);

                strncat(text, i > 0 ? " " : "", sizeof(text) - strlen(text) - 1);
                strncat(text, device ? device : "NULL", sizeof(text) - strlen(text) - 1);
        }
        bytes_clear(&bytes);
        put_hello(&bytes, WIRE_VERSION);
        put_opened(&bytes, 1, "a", PLUGD_STRING);
        put_sample(&bytes, 0, &(struct plugd_value){.type = PLUGD_STRING, .string = text});
        fake_write(&bytes);
        for (;;)
                pause();
}

/* This program, as a worker that means ill. Its "plugin" is what it does. */
static int fake_worker(const char *what)
{
        const struct plugd_value one = {.type = PLUGD_INTEGER, .integer = 1};
        Bytes bytes = {0};

        /* However ill it behaves, it doesn't outlive a test that was cut short. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (strcmp(what, "mute") == 0)
                for (;;)
                        pause();
        if (strcmp(what, "deaf") == 0) { /* to everything but SIGKILL */
                put_hello(&bytes, WIRE_VERSION);
                put_opened(&bytes, 1, "a", PLUGD_NUMBER);
                for (;;) {
                        fake_write(&bytes);
                        bytes_clear(&bytes);
                        put_frame(&bytes, WIRE_ALIVE, NULL, 0);
                        poll(NULL, 0, 500);
                }
        }
        if (strcmp(what, "start") == 0) /* says what START it got, without its head and the options */
                return fake_start();
        put_hello(&bytes, strcmp(what, "version") == 0 ? 99 : WIRE_VERSION);
        if (strcmp(what, "renew") == 0) { /* its devices have changed, already */
                put_frame(&bytes, WIRE_FAILED, "\2\2\0\0\0\11\0\0\0not there\0", 19);
                fake_write(&bytes);
                bytes_deinit(&bytes);
                return WIRE_EXIT_RENEW;
        }
        if (strcmp(what, "random") == 0) {
                bytes_clear(&bytes);
                if (!bytes_reserve(&bytes, 65536) || getrandom(bytes.data, 65536, 0) != 65536)
                        return 1;
                bytes.size = 65536;
                memset(bytes.data, 0xff, 4);
        } else if (strcmp(what, "hello-twice") == 0) {
                put_hello(&bytes, WIRE_VERSION);
        } else if (strcmp(what, "early-sample") == 0) {
                put_sample(&bytes, 0, &one);
        } else if (strcmp(what, "no-hello") == 0) {
                bytes_clear(&bytes);
                put_opened(&bytes, 1, "a", PLUGD_NUMBER);
        } else if (strcmp(what, "like-a-host") == 0) {
                put_frame(&bytes, WIRE_STOP, NULL, 0);
        } else if (strcmp(what, "short-body") == 0) {
                put_frame(&bytes, WIRE_OPENED, "\1\0\0\0", 4);
        } else if (strcmp(what, "long-body") == 0) {
                put_frame(&bytes, WIRE_OPENED, "\0\0\0\0more", 8);
        } else if (strcmp(what, "many-channels") == 0) {
                put_opened(&bytes, PLUGD_CHANNELS_MAX + 1, "%u", PLUGD_NUMBER);
        } else if (strcmp(what, "twins") == 0) {
                put_opened(&bytes, 2, "same", PLUGD_NUMBER);
        } else if (strcmp(what, "bad-channel") == 0) {
                put_opened(&bytes, 2, "a/+/%u", PLUGD_NUMBER);
        } else if (strcmp(what, "bad-type") == 0) {
                put_opened(&bytes, 1, "a", PLUGD_GROUPS);
        } else if (strcmp(what, "open-twice") == 0) {
                put_opened(&bytes, 1, "a", PLUGD_NUMBER);
                put_opened(&bytes, 1, "a", PLUGD_NUMBER);
        } else if (strcmp(what, "open-often") == 0) {
                for (int i = 0; i < 1000; i++) {
                        put_opened(&bytes, 1, "a", PLUGD_NUMBER);
                        put_frame(&bytes, WIRE_FAILED, "\2\0\0\0\0\1\0\0\0x\0", 11);
                }
        } else if (strcmp(what, "wrong-index") == 0) {
                put_opened(&bytes, 1, "a", PLUGD_NUMBER);
                put_sample(&bytes, 1, &one);
        } else if (strcmp(what, "wrong-type") == 0) {
                put_opened(&bytes, 1, "a", PLUGD_BOOLEAN);
                put_sample(&bytes, 0, &one);
        } else if (strcmp(what, "failure") == 0) {
                put_frame(&bytes, WIRE_FAILED, "\7\0\0\0\0\1\0\0\0x\0", 11);
        } else if (strcmp(what, "closing") == 0) {
                fake_write(&bytes);
                close(WIRE_FD);
                for (;;)
                        pause();
        } else if (strcmp(what, "values") == 0) {
                put_opened(&bytes, 2, "%u", PLUGD_NUMBER);
                put_sample(
                        &bytes, 0, &(struct plugd_value){.type = PLUGD_NUMBER, .number = __builtin_nan("")});
                put_sample(
                        &bytes, 0, &(struct plugd_value){.type = PLUGD_NUMBER, .number = __builtin_inf()});
                put_sample(&bytes, 1, &one);
        } else if (strcmp(what, "chatter") == 0) {
                put_opened(&bytes, 1, "a", PLUGD_NUMBER);
                fake_write(&bytes);
                bytes_clear(&bytes);
                for (int i = 0; i < 10000; i++)
                        put_frame(&bytes, i % 2 ? WIRE_ALIVE : WIRE_LOG, "\4\5\0\0\0hello", i % 2 ? 0 : 11);
                for (;;)
                        fake_write(&bytes);
        }
        fake_write(&bytes);
        for (;;)
                pause();
}

static void test_strangers(void **state)
{
        static const struct {
                const char *what, *words;
        } strangers[] = {
                {"version", "speaks version 99"},
                {"random", "talks nonsense: bytes that are no message"},
                {"hello-twice", "nonsense: a greeting out of place"},
                {"early-sample", "nonsense: a sample of a channel that there isn't"},
                {"no-hello", "nonsense: it opens"},
                {"like-a-host", "nonsense: it talks like a host"},
                {"short-body", "nonsense: channels"},
                {"long-body", "nonsense: channels"},
                {"many-channels", "nonsense: channels"},
                {"twins", "nonsense: channels"},
                {"bad-channel", "Some/Where/a/+/0"},
                {"bad-type", "nonsense: channels"},
                {"open-twice", "nonsense: it opens"},
                {"open-often", "nonsense: it opens"},
                {"wrong-index", "nonsense: a sample of a channel"},
                {"wrong-type", "nonsense: a sample of another type"},
                {"failure", "nonsense: a failure of an unknown kind"},
                {"closing", "worker closed its connection but did not end, and was killed"},
        };
        Sensor ill[ELEMENTSOF(strangers)], steady;
        pid_t pid;

        (void) state;
        steady_start(&steady);
        pid = host_pid(steady.host);
        for (size_t i = 0; i < ELEMENTSOF(strangers); i++) {
                sensor_init(&ill[i], "ill", strangers[i].what, 1);
                sensor_start(&ill[i], &fake_paths);
        }
        for (size_t i = 0; i < ELEMENTSOF(strangers); i++) {
                expected = strangers[i].words;
                if (!until(says, &ill[i], 20))
                        fail_msg("%s: %s", strangers[i].what, host_last_error(ill[i].host));
        }
        for (size_t i = 0; i < ELEMENTSOF(strangers); i++)
                sensor_end(&ill[i]);
        assert_unharmed(&steady, pid, 0.02);
        sensor_end(&steady);
}

/* --- devices ------------------------------------------------------------------------------------------ */

static void test_devices_of_a_sensor(void **state)
{
        static const char text[] =
                "{\"abi\":1,\"name\":\"start\",\"options\":[{\"name\":\"bus\",\"type\":\"integer\"},"
                "{\"name\":\"chip\",\"type\":\"string\"},{\"name\":\"other\",\"type\":\"string\"}],"
                "\"devices\":[\"/dev/i2c-{bus}\",\"/dev/{chip}\",\"/dev/{other}\",\"/dev/tty*\"]}";
        _cleanup_(descriptor_freep) Descriptor *descriptor = descriptor_parse(text, strlen(text), NULL);
        Sensor sensor;

        (void) state;
        assert_non_null(descriptor);
        forget_log();
        sensor_init(&sensor, "one", "start", 60);
        sensor.config.descriptor = descriptor;
        set_integer(&sensor, "bus", 1);
        set_string(&sensor, "chip", "../etc"); /* and the other has no value */
        sensor_start(&sensor, &fake_paths);
        assert_true(until(sampled, &sensor, 10));
        assert_string_equal(sensor.data, "\"/dev/i2c-1 /dev/tty*\"");
        assert_true(was_logged("<4>one: plugin 'start' gets no device for /dev/{chip}: what is configured"));
        assert_int_equal(logged_lines, 1);
        sensor_end(&sensor);
}

/* A worker that can't open the devices that there are by now is nobody's fault, but no busy loop either. */
static void test_a_worker_that_is_renewed(void **state)
{
        uint64_t began_usec = clock_monotonic_usec();
        Sensor sensor;

        (void) state;
        forget_log();
        sensor_init(&sensor, "one", "renew", 1);
        sensor_start(&sensor, &fake_paths);
        assert_true(until(restarting, &sensor, 10));
        assert_string_equal(host_last_error(sensor.host), "not there");
        assert_true(until(restarted_twice, &sensor, 10));
        assert_string_equal(host_last_error(sensor.host), "not there");
        /* 1 s and 2 s between them, each spread by a fifth. */
        assert_in_range((clock_monotonic_usec() - began_usec) / USEC_PER_MSEC, 2400, 9000);
        assert_int_equal(count_logged("<6>one: its devices have changed: it gets a new worker in "), 2);
        assert_int_equal(count_logged("<4>one: not there"), 1);
        assert_int_equal(logged_lines, 3);
        sensor_end(&sensor);
}

static void test_values_of_strangers(void **state)
{
        Sensor sensor;

        (void) state;
        sensor_init(&sensor, "ill", "values", 1);
        sensor_start(&sensor, &fake_paths);
        assert_true(until(sampled, &sensor, 10));
        assert_int_equal(host_dropped(sensor.host), 2);
        assert_int_equal(sensor.n, 1);
        assert_string_equal(sensor.channel, "Some/Where/1");
        assert_true(sensor.age_usec < USEC_PER_SEC); /* was taken at the end of all times */
        sensor_end(&sensor);
}

static void test_chatter(void **state)
{
        Sensor steady, ill;
        double cpu;
        pid_t pid;

        (void) state;
        forget_log();
        steady_start(&steady);
        pid = host_pid(steady.host);
        sensor_init(&ill, "ill", "chatter", 1);
        sensor_start(&ill, &fake_paths);
        assert_true(until(running, &ill, 10));
        cpu = cpu_sec();
        run_for(2);
        cpu = cpu_sec() - cpu;
        print_message("chatter: %.1f %% CPU\n", 50 * cpu);
        assert_true(cpu < 0.7);
        assert_true(logged_lines < 150);
        assert_int_equal(host_state(ill.host), HOST_RUNNING);
        assert_unharmed(&steady, pid, 0.02);
        sensor_end(&ill);
        sensor_end(&steady);
}

/* A process that can't be reaped though it was killed. Uninterruptible sleep is hard to come by; a tracer
 * that doesn't look after its tracee does the same to the parent. */
static void test_stuck(void **state)
{
        Sensor sensor;
        pid_t tracer, pid;
        int ready[2];
        char byte;

        (void) state;
        sensor_init(&sensor, "ill", "deaf", 1);
        sensor_start(&sensor, &fake_paths);
        assert_true(until(running, &sensor, 10));
        pid = host_pid(sensor.host);
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        tracer = fork();
        if (tracer == 0) {
                bool seized = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;

                if (write(ready[1], seized ? "y" : "n", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(ready[1]);
        if (byte != 'y') {
                kill(tracer, SIGKILL);
                waitpid(tracer, NULL, 0);
                sensor_end(&sensor);
                skip();
        }

        assert_int_equal(host_restart(sensor.host), 0);
        assert_true(until(stuck, &sensor, 12));
        assert_error(&sensor, "was killed but does not end");
        assert_int_equal(host_restart(sensor.host), -EBUSY);
        assert_int_equal(host_restarts(sensor.host), 0);
        assert_int_equal(host_pid(sensor.host), pid);

        kill(tracer, SIGKILL); /* the device answers */
        assert_int_equal(waitpid(tracer, NULL, 0), tracer);
        assert_true(until(running, &sensor, 5));
        assert_int_equal(host_restarts(sensor.host), 1);
        assert_int_not_equal(host_pid(sensor.host), pid);
        sensor_end(&sensor);
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

/* --- all of them -------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
        static char own[4096];
        sigset_t children;

        (void) state;
        sigemptyset(&children);
        sigaddset(&children, SIGCHLD);
        sigprocmask(SIG_BLOCK, &children, NULL);
        log_set_sink(on_log);
        if (!getenv("PLUGD_WORKER") || readlink("/proc/self/exe", own, sizeof(own) - 1) < 0)
                return -1;
        paths = (Paths){.plugins = getenv("PLUGD_PLUGIN_DIR"), .worker = getenv("PLUGD_WORKER")};
        test_paths = (Paths){.plugins = getenv("PLUGD_TEST_PLUGIN_DIR"), .worker = getenv("PLUGD_WORKER")};
        fake_paths = (Paths){.plugins = (char *) "/nowhere", .worker = own};
        return sd_event_new(&event);
}

static int tear_down(void **state)
{
        (void) state;
        event = sd_event_unref(event);
        return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1; /* nobody is left */
}

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
                cmocka_unit_test(test_workers_that_end),
                cmocka_unit_test(test_a_crash_is_not_forgotten),
                cmocka_unit_test(test_a_worker_that_leaks),
                cmocka_unit_test(test_a_crash_in_close),
                cmocka_unit_test(test_a_worker_that_is_killed),
                cmocka_unit_test(test_flood),
                cmocka_unit_test(test_flood_that_is_wanted),
                cmocka_unit_test(test_what_libraries_print),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_restart),
                cmocka_unit_test(test_what_a_worker_inherits),
                cmocka_unit_test(test_strangers),
                cmocka_unit_test(test_devices_of_a_sensor),
                cmocka_unit_test(test_a_worker_that_is_renewed),
                cmocka_unit_test(test_values_of_strangers),
                cmocka_unit_test(test_chatter),
                cmocka_unit_test(test_stuck),
                cmocka_unit_test(test_silence),
                cmocka_unit_test(test_whose_silence_it_was),
                cmocka_unit_test(test_a_minute),
        };

        if (argc == 3 && strcmp(argv[0], "plugd-worker") == 0)
                return fake_worker(argv[1]);
        if (argc == 2)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
