/* SPDX-License-Identifier: Apache-2.0 */

/* See host-bench.h. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "group.h"
#include "host-bench.h"
#include "util/clock.h"
#include "util/log.h"

sd_event *event;
Paths paths, test_paths, fake_paths;
size_t logged_lines;
const char *expected;

char logged[256 * 1024];
static size_t logged_size;

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

bool was_logged(const char *text)
{
        return strstr(logged, text) != NULL;
}

void forget_log(void)
{
        logged[0] = '\0';
        logged_size = logged_lines = 0;
}

size_t count_logged(const char *text)
{
        size_t n = 0;

        for (const char *found = logged; (found = strstr(found, text)); found++)
                n++;
        return n;
}

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
        return sensor->refuse ? -ENOSPC : sensor->too_much;
}

static void on_changed(Host *host, void *userdata)
{
        Sensor *sensor = userdata;

        assert_ptr_equal(host, sensor->host);
        sensor->changes++;
}

static const HostHandler handler = {.on_sample = on_sample, .on_changed = on_changed};

void sensor_start(Sensor *sensor, const Paths *where)
{
        assert_int_equal(host_new(&sensor->host, event, where, &sensor->config, &handler, sensor), 0);
        assert_int_equal(host_state(sensor->host), HOST_STOPPED);
        assert_int_equal(host_start(sensor->host), 0);
}

void sensor_init(Sensor *sensor, const char *name, const char *plugin, double interval_sec)
{
        *sensor = (Sensor){.config = {
                                   .name = (char *) name,
                                   .plugin = (char *) plugin,
                                   .channel = (char *) "Some/Where",
                                   .interval_sec = interval_sec,
                                   .rate_limit = 1000,
                           }};
}

void set_string(Sensor *sensor, const char *name, const char *text)
{
        group_add(
                &sensor->config.options, name, &(struct plugd_value){.type = PLUGD_STRING, .string = text});
}

void set_integer(Sensor *sensor, const char *name, int64_t integer)
{
        group_add(&sensor->config.options, name,
                &(struct plugd_value){.type = PLUGD_INTEGER, .integer = integer});
}

void set_number(Sensor *sensor, const char *name, double number)
{
        group_add(&sensor->config.options, name,
                &(struct plugd_value){.type = PLUGD_NUMBER, .number = number});
}

void sim(Sensor *sensor, const char *name, double interval_sec, const char *misbehave, int64_t after)
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

void sim_start(Sensor *sensor, const char *name, double interval_sec, const char *misbehave, int64_t after)
{
        sim(sensor, name, interval_sec, misbehave, after);
        sensor_start(sensor, &paths);
}

void script_start(Sensor *sensor, double interval_sec, const char *script, int64_t open_failures)
{
        sensor_init(sensor, "script", "script", interval_sec);
        set_string(sensor, "script", script);
        set_integer(sensor, "open_failures", open_failures);
        set_number(sensor, "slow", 0);
        sensor_start(sensor, &test_paths);
}

void sensor_end(Sensor *sensor)
{
        sensor->host = host_free(sensor->host);
        group_deinit(&sensor->config.options);
}

bool until(bool (*so)(const Sensor *sensor), const Sensor *sensor, double seconds)
{
        uint64_t end_usec = clock_monotonic_usec() + (uint64_t) (seconds * 1e6);

        while (!so || !so(sensor)) {
                if (clock_monotonic_usec() >= end_usec)
                        return false;
                assert_true(sd_event_run(event, 20 * USEC_PER_MSEC) >= 0);
        }
        return true;
}

void run_for(double seconds)
{
        until(NULL, NULL, seconds);
}

bool sampled(const Sensor *sensor)
{
        return sensor->n > 0;
}

bool sampled_json(const Sensor *sensor)
{
        return strcmp(sensor->channel, "Some/Where/json") == 0;
}

bool sampled_20(const Sensor *sensor)
{
        return sensor->n >= 20;
}

bool running(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_RUNNING;
}

bool restarting(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_RESTARTING;
}

bool starting(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_STARTING;
}

bool failing(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_FAILING;
}

bool silent(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_SILENT;
}

bool stuck(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_STUCK;
}

bool stopped(const Sensor *sensor)
{
        return host_state(sensor->host) == HOST_STOPPED;
}

bool restarted_twice(const Sensor *sensor)
{
        return host_restarts(sensor->host) >= 2;
}

bool says(const Sensor *sensor)
{
        return strstr(host_last_error(sensor->host), expected) != NULL;
}

bool wrong(const Sensor *sensor)
{
        return host_last_error(sensor->host)[0] != '\0';
}

void assert_error(const Sensor *sensor, const char *words)
{
        if (!strstr(host_last_error(sensor->host), words))
                fail_msg("'%s' is not in '%s'", words, host_last_error(sensor->host));
}

void assert_unharmed(const Sensor *steady, pid_t pid, double interval_sec)
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

void steady_start(Sensor *steady)
{
        sim_start(steady, "steady", 0.02, "none", 0);
        assert_true(until(sampled, steady, 10));
}

void proc_status(pid_t pid, const char *key, char *ret, size_t size)
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

double cpu_sec(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (double) usage.ru_utime.tv_sec + (double) usage.ru_stime.tv_sec +
               (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int bench_set_up(void **state)
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

int bench_tear_down(void **state)
{
        (void) state;
        event = sd_event_unref(event);
        return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1; /* nobody is left */
}
