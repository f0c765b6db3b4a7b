/* SPDX-License-Identifier: Apache-2.0 */

/* The real worker, with this test as its host: it talks on the wire, and looks at what the plugins got. */

#include "worker-fixture.h"

#include <signal.h>

#include "util/process.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

static struct plugd_group sim_options(const char *wave, const char *misbehave, int64_t after)
{
        struct plugd_group options = {0};

        group_add(&options, "wave", &(struct plugd_value){.type = PLUGD_STRING, .string = wave});
        group_add(&options, "period", &(struct plugd_value){.type = PLUGD_NUMBER, .number = 0.2});
        group_add(&options, "amplitude", &(struct plugd_value){.type = PLUGD_NUMBER, .number = 2});
        group_add(&options, "offset", &(struct plugd_value){.type = PLUGD_NUMBER, .number = 10});
        group_add(&options, "seed", &(struct plugd_value){.type = PLUGD_INTEGER, .integer = 1});
        group_add(&options, "misbehave", &(struct plugd_value){.type = PLUGD_STRING, .string = misbehave});
        group_add(&options, "after", &(struct plugd_value){.type = PLUGD_INTEGER, .integer = after});
        return options;
}

static void start_sim(
        Worker *worker, double interval_sec, const char *wave, const char *misbehave, int64_t after)
{
        struct plugd_group options = sim_options(wave, misbehave, after);

        use_plugins(NULL);
        worker_begin(worker, "sim");
        worker_say(worker, WIRE_START, interval_sec, &options);
        group_deinit(&options);
}

static void start_script(Worker *worker, double interval_sec, const char *script, int64_t open_failures)
{
        struct plugd_group options = {0};

        group_add(&options, "script", &(struct plugd_value){.type = PLUGD_STRING, .string = script});
        group_add(&options, "open_failures",
                &(struct plugd_value){.type = PLUGD_INTEGER, .integer = open_failures});
        group_add(&options, "slow", &(struct plugd_value){.type = PLUGD_NUMBER});
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        worker_begin(worker, "script");
        worker_say(worker, WIRE_START, interval_sec, &options);
        group_deinit(&options);
}

/* --- describing --------------------------------------------------------------------------------------- */

static int run(const char *first, const char *second, char **ret_output, char **ret_errors)
{
        const char *argv[] = {worker_path(), first, second, NULL};

        return process_capture(argv, PATIENCE_USEC, 65536, ret_output, ret_errors);
}

static void test_describe(void **state)
{
        _cleanup_(freep) char *output = NULL, *errors = NULL;

        (void) state;
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        assert_int_equal(run("--describe", "groups", &output, &errors), 0);
        assert_string_equal(output,
                "{\"abi\":1,\"name\":\"groups\",\"description\":\"Says what it was configured "
                "with.\",\"options\":["
                "{\"name\":\"chip\",\"type\":\"string\",\"default\":\"gpiochip\\\"0\\\"\",\"required\":"
                "false,"
                "\"help\":\"With \\\"quotes\\\" and °.\"},"
                "{\"name\":\"lines\",\"type\":\"groups\",\"required\":true,\"help\":\"One group a "
                "line.\",\"options\":["
                "{\"name\":\"name\",\"type\":\"string\",\"required\":true,\"help\":\"The channel's name.\"},"
                "{\"name\":\"line\",\"type\":\"integer\",\"min\":0,\"max\":63,\"required\":true,\"help\":"
                "\"Its number.\"},"
                "{\"name\":\"edge\",\"type\":\"string\",\"default\":\"both\",\"choices\":[\"rising\","
                "\"falling\","
                "\"both\"],\"required\":false},"
                "{\"name\":\"debounce\",\"type\":\"number\",\"default\":\"0.02\",\"min\":0,\"max\":10,"
                "\"unit\":\"s\","
                "\"required\":false},"
                "{\"name\":\"invert\",\"type\":\"boolean\",\"default\":\"false\",\"required\":false}]}],"
                "\"channels\":[],\"devices\":[]}\n");
        assert_string_equal(errors, "");
}

static void test_describe_channels(void **state)
{
        _cleanup_(freep) char *output = NULL, *errors = NULL;

        (void) state;
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        assert_int_equal(run("--describe", "script", &output, &errors), 0);
        assert_non_null(strstr(output,
                "\"channels\":[{\"name\":\"number\",\"type\":\"number\",\"unit\":\"°C\",\"readable\":true,"
                "\"writable\":false,\"help\":\"A \\\"number\\\".\"},"));
        assert_non_null(strstr(
                output, "{\"name\":\"boolean\",\"type\":\"boolean\",\"readable\":true,\"writable\":true}"));
}

static void test_describe_devices(void **state)
{
        _cleanup_(freep) char *output = NULL, *older = NULL, *errors = NULL, *errors_older = NULL;

        (void) state;
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        assert_int_equal(run("--describe", "probe", &output, &errors), 0);
        assert_non_null(strstr(output, "],\"devices\":[\"/dev/{device}\"]}\n"));
        assert_int_equal(
                run("--describe", "old-size", &older, &errors_older), 0); /* built before there were any */
        assert_non_null(strstr(older, "],\"devices\":[]}\n"));
}

static void test_describe_what_is_no_plugin(void **state)
{
        static const struct {
                const char *name, *words;
        } wrong[] = {
                {"no-symbol", "does not export plugd_plugin_v1"},
                {"bad-abi", "ABI 2"},
                {"bad-size", "sizeof(struct plugd_plugin)"},
                {"bad-name", "somebody-else"},
                {"bad-functions", "no open()"},
                {"bad-option", "name of option 1"},
                {"bad-default", "option 'speed': its default"},
                {"bad-range", "option 'address': its range"},
                {"bad-channel", "channel 1"},
                {"bad-twins", "'twin'"},
                {"bad-writable", "channel 1: it is writable, but the plugin has no write()"},
                {"bad-device", "device 2: \"/etc/shadow\" does not begin with /dev/"},
                {"bad-device-option", "the option \"fine\" is neither an integer nor a string"},
                {"host-key",
                        "it calls an option \"interval\", and that is plugd's own key for every sensor"},
                {"absent", "absent.so: No such file"},
                {"../script", "letters, digits"},
                {"", "letters, digits"},
        };

        (void) state;
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_(freep) char *output = NULL, *errors = NULL;

                assert_int_equal(run("--describe", wrong[i].name, &output, &errors), 1);
                assert_string_equal(output, "");
                if (!strstr(errors, wrong[i].words))
                        fail_msg("%s: %s", wrong[i].name, errors);
                assert_ptr_equal(strchr(errors, '\n'), errors + strlen(errors) - 1); /* one line */
        }
}

static void test_usage(void **state)
{
        static const struct {
                const char *first, *second;
                int status;
        } calls[] = {
                {NULL, NULL, 2},
                {"--describe", NULL, 2},
                {"--nonsense", NULL, 2},
                {"sim", NULL, 2},
                {"sim", "one", 2}, /* nobody at descriptor 3 */
                {"--version", NULL, 0},
                {"--help", NULL, 0},
        };

        (void) state;
        use_plugins(NULL);
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                _cleanup_(freep) char *output = NULL, *errors = NULL;

                assert_int_equal(run(calls[i].first, calls[i].second, &output, &errors), calls[i].status);
                assert_int_equal(calls[i].status == 0, output[0] != '\0');
                assert_int_equal(calls[i].status == 0, errors[0] == '\0');
        }
}

/* --- the loop ----------------------------------------------------------------------------------------- */

static void test_counter(void **state)
{
        Worker worker;
        WireFrame frame;
        uint64_t before_usec = clock_boottime_usec(), last_usec = 0;

        (void) state;
        start_sim(&worker, 0.005, "counter", "none", 0);
        frame = worker_wait(&worker, WIRE_OPENED);
        assert_int_equal(bytes_get_u32(&frame.body), 1);
        assert_string_equal(bytes_get_string(&frame.body), "value");
        assert_string_equal(bytes_get_string(&frame.body), "");
        assert_int_equal(bytes_get_u32(&frame.body), PLUGD_NUMBER);
        assert_int_equal(bytes_get_u32(&frame.body), PLUGD_READABLE);
        assert_int_equal(frame.body.size, 0);
        for (int64_t i = 0; i < 100; i++) {
                Taken taken = wait_sample(&worker);

                assert_int_equal(taken.channel, 0);
                assert_int_equal(taken.value.type, PLUGD_INTEGER);
                assert_int_equal(taken.value.integer, i);
                assert_true(taken.usec > MAX(last_usec, before_usec));
                last_usec = taken.usec;
        }
        assert_true(last_usec <= clock_boottime_usec());
        /* 99 intervals of 5 ms, no drift; a busy machine may make it longer. */
        assert_true(last_usec - before_usec >= 490000);
        worker_end(&worker);
}

static void test_waves(void **state)
{
        Worker worker;
        double low = 100, high = -100, walk[2][20];

        (void) state;
        start_sim(&worker, 0.002, "sine", "none", 0);
        for (int i = 0; i < 300; i++) {
                double value = wait_sample(&worker).value.number;

                low = MIN(low, value);
                high = MAX(high, value);
        }
        worker_end(&worker);
        assert_true(low >= 8 && low < 8.2 && high <= 12 && high > 11.8);

        start_sim(&worker, 0.002, "square", "none", 0);
        low = high = 0;
        for (int i = 0; i < 300; i++) {
                double value = wait_sample(&worker).value.number;

                assert_true(value == 8 || value == 12);
                low += value == 8;
                high += value == 12;
        }
        worker_end(&worker);
        assert_true(low > 30 && high > 30);

        for (int run_ = 0; run_ < 2; run_++) {
                start_sim(&worker, 0.002, "walk", "none", 0);
                for (int i = 0; i < 20; i++)
                        walk[run_][i] = wait_sample(&worker).value.number;
                worker_end(&worker);
        }
        assert_memory_equal(walk[0], walk[1], sizeof(walk[0]));
        assert_true(walk[0][0] == 10 && walk[0][1] != 10);
        for (int i = 1; i < 20; i++)
                assert_true(
                        walk[0][i] - walk[0][i - 1] >= -2.000001 && walk[0][i] - walk[0][i - 1] <= 2.000001);
}

static void test_interval_changes_at_once(void **state)
{
        uint64_t began_usec = clock_monotonic_usec();
        Worker worker;

        (void) state;
        start_sim(&worker, 86400, "counter", "none", 0);
        assert_int_equal(wait_sample(&worker).value.integer, 0); /* the first at once */
        worker_say(&worker, WIRE_INTERVAL, 0.01, NULL);
        for (int64_t i = 1; i < 20; i++)
                assert_int_equal(wait_sample(&worker).value.integer, i);
        worker_say(&worker, WIRE_INTERVAL, 86400, NULL);
        worker_say(&worker, WIRE_INTERVAL, 0.01, NULL);
        assert_in_range(wait_sample(&worker).value.integer, 20, 22);
        worker_end(&worker);

        /* Also one that comes before it was ready for any. */
        start_sim(&worker, 86400, "counter", "none", 0);
        worker_say(&worker, WIRE_INTERVAL, 0.01, NULL);
        for (int64_t i = 0; i < 20; i++)
                assert_int_equal(wait_sample(&worker).value.integer, i);
        worker_end(&worker);
        assert_true(clock_monotonic_usec() - began_usec < 10 * USEC_PER_SEC);
}

/* Whenever they are started: on multiples of the interval. The first sample comes at once, and each may be
 * late. */
static void test_all_tick_together(void **state)
{
        (void) state;
        for (int i = 0; i < 3; i++) {
                uint64_t late_usec = UINT64_MAX;
                Worker worker;

                start_sim(&worker, 0.2, "counter", "none", 0);
                (void) wait_sample(&worker);
                for (int n = 0; n < 4; n++) {
                        uint64_t usec = wait_sample(&worker).usec -
                                        (uint64_t) clock_boottime_ahead_of_monotonic_usec();

                        late_usec = MIN(late_usec, usec % 200000);
                }
                worker_end(&worker);
                assert_true(late_usec < 20000);
        }
}

static void test_signs_of_life(void **state)
{
        uint64_t before_usec, longest_usec = 0;
        Worker worker;
        WireFrame frame;

        (void) state;
        start_script(&worker, 0.25, "again", 0);
        worker_wait(&worker, WIRE_OPENED);
        before_usec = clock_monotonic_usec();
        for (int i = 0; i < 3; i++) {
                uint64_t now_usec;

                assert_true(worker_next(&worker, &frame));
                assert_int_equal(frame.type, WIRE_ALIVE);
                now_usec = clock_monotonic_usec();
                longest_usec = MAX(longest_usec, now_usec - before_usec);
                before_usec = now_usec;
        }
        assert_in_range(longest_usec, 800000, 2000000);
        worker_end(&worker);
}

static void test_samples_of_one_read_come_together(void **state)
{
        uint64_t seen = 0;
        Worker worker;

        (void) state;
        start_sim(&worker, 10, "counter", "flood", 3);
        for (int64_t i = 0; i < 3; i++) {
                assert_int_equal(wait_sample(&worker).value.integer, i);
                worker_say(&worker, WIRE_INTERVAL, 0.01 + (double) i / 1000, NULL);
        }
        for (seen = 3; seen < 200000; seen++)
                assert_int_equal(wait_sample(&worker).value.integer, seen);
        /* It is as fast as we read, and still listens. */
        worker_end(&worker);
}

static void test_failing_read(void **state)
{
        Worker worker;
        WireFrame frame;

        (void) state;
        start_script(&worker, 0.01, "ok fail mute ok again mute again ok", 0);
        worker_wait(&worker, WIRE_OPENED);
        assert_int_equal(wait_sample(&worker).value.integer, 1);
        frame = worker_wait(&worker, WIRE_LOG);
        assert_int_equal(bytes_get_u8(&frame.body), PLUGD_ERROR);
        assert_string_equal(bytes_get_string(&frame.body), "first this went wrong");
        expect_failure(&worker, WIRE_FAILED_READ, EIO, "the script says fail: say something else");
        expect_failure(
                &worker, WIRE_FAILED_READ, EIO, "read() of plugin 'script' failed: Input/output error");
        worker_wait(&worker, WIRE_RECOVERED);
        expect_failure(&worker, WIRE_FAILED_READ, EIO, "read() of plugin 'script' failed");
        worker_wait(&worker, WIRE_RECOVERED); /* there is nothing now, but no trouble either */
        worker_end(&worker);
}

static void expect_log(Worker *worker, int priority, const char *words)
{
        WireFrame frame = worker_wait(worker, WIRE_LOG);
        const char *text;

        assert_int_equal(bytes_get_u8(&frame.body), priority);
        text = bytes_get_string(&frame.body);
        if (!strstr(text, words))
                fail_msg("'%s' instead of '%s'", text, words);
}

/* What emit() refused says why: as the failure where read() passes it on, else in the log, once a channel.
 */
static void test_why_emit_refused(void **state)
{
        Worker worker;

        (void) state;
        start_script(&worker, 0.01,
                "badnan badnan badtype ok nan wrong binary nan nowhere nowhere longest ok", 0);
        worker_wait(&worker, WIRE_OPENED);
        expect_failure(&worker, WIRE_FAILED_READ, EINVAL, "emit() on 'number': NaN is no JSON number");
        expect_failure(&worker, WIRE_FAILED_READ, EINVAL, "emit() on 'number': NaN is no JSON number");
        expect_failure(&worker, WIRE_FAILED_READ, EINVAL,
                "emit() on 'boolean': the channel is a boolean, but a string was emitted");
        worker_wait(&worker, WIRE_RECOVERED);
        expect_log(
                &worker, PLUGD_WARNING, "emit() on 'text': its text is not UTF-8"); /* "number" is blamed */
        expect_log(&worker, PLUGD_WARNING, "emit() on channel 77: there is none of this index, but 4");
        worker_end(&worker);

        start_script(&worker, 0.01, "nan wrong longest ok", 0);
        worker_wait(&worker, WIRE_OPENED);
        expect_log(&worker, PLUGD_WARNING, "emit() on 'number': NaN is no JSON number");
        expect_log(&worker, PLUGD_WARNING, "emit() on 'text': its text is longer than 65536 bytes");
        worker_end(&worker);
}

static void test_errno_that_is_none(void **state)
{
        Worker worker;

        (void) state;
        start_script(&worker, 0.01, "errno", 0);
        expect_failure(&worker, WIRE_FAILED_READ, 99999,
                "read() of plugin 'script' returned -99999, which is no errno value");
        worker_end(&worker);
}

/* An event descriptor that read() doesn't empty: fast at first, then every 10 ms, until it is quiet. */
static void test_event_that_stays(void **state)
{
        uint64_t began_usec;
        Worker worker;

        (void) state;
        start_script(&worker, 3600, "stuck", 0);
        worker_wait(&worker, WIRE_OPENED);
        expect_log(&worker, PLUGD_NOTICE, "read 50 times");
        expect_log(&worker, PLUGD_NOTICE, "read 100 times");
        expect_log(&worker, PLUGD_WARNING, "read() returned, but event_fd is still readable");
        began_usec = clock_monotonic_usec();
        expect_log(&worker, PLUGD_NOTICE, "read 150 times");
        assert_true(clock_monotonic_usec() - began_usec >= 400 * USEC_PER_MSEC);
        expect_log(&worker, PLUGD_NOTICE, "read 200 times"); /* and nothing was said in between */
        assert_true(clock_monotonic_usec() - began_usec >= 900 * USEC_PER_MSEC);
        worker_wait(&worker, WIRE_ALIVE); /* it has been emptied, and is left alone */
        worker_end(&worker);
}

static void test_memory_is_limited(void **state)
{
#ifdef SANITIZED
        (void) state;
        skip();
#else
        Worker worker;
        WireFrame frame;
        int64_t samples = 0;
        int status;

        (void) state;
        start_script(&worker, 0.001, "leak", 0);
        do {
                assert_true(worker_next(&worker, &frame));
                samples += frame.type == WIRE_SAMPLE;
        } while (frame.type != WIRE_FAILED);
        assert_in_range(samples, 10, 15); /* of 4 MiB each */
        assert_int_equal(bytes_get_u8(&frame.body), WIRE_FAILED_MEMORY);
        assert_int_equal(bytes_get_u32(&frame.body), ENOMEM);
        assert_string_equal(bytes_get_string(&frame.body),
                "read() of plugin 'script' failed: no memory left of the 64 MiB that its worker may have");
        status = worker_status(&worker);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
#endif
}

static void test_hardware_that_goes_and_comes(void **state)
{
        uint64_t gone_usec;
        Worker worker;

        (void) state;
        start_script(&worker, 0.01, "ok gone", 0);
        worker_wait(&worker, WIRE_OPENED);
        wait_sample(&worker);
        expect_failure(&worker, WIRE_FAILED_OPEN, ENODEV, "the script is gone: put it back");
        gone_usec = clock_monotonic_usec();
        worker_wait(&worker, WIRE_OPENED);
        assert_true(clock_monotonic_usec() - gone_usec > 900000);
        assert_int_equal(wait_sample(&worker).value.integer, 1); /* a new instance */
        worker_end(&worker);
}

static void test_open_is_tried_again(void **state)
{
        uint64_t times_usec[4];
        Worker worker;

        (void) state;
        start_script(&worker, 0.01, "ok", 3);
        expect_failure(&worker, WIRE_FAILED_OPEN, ENXIO, "open 1 of the script fails: wait");
        times_usec[0] = clock_monotonic_usec();
        expect_failure(&worker, WIRE_FAILED_OPEN, ENXIO, "open 2");
        times_usec[1] = clock_monotonic_usec();
        expect_failure(&worker, WIRE_FAILED_OPEN, ENXIO, "open 3");
        times_usec[2] = clock_monotonic_usec();
        worker_wait(&worker, WIRE_ALIVE); /* while it waits 4 s */
        worker_wait(&worker, WIRE_OPENED);
        times_usec[3] = clock_monotonic_usec();
        for (unsigned i = 0; i < 3; i++)
                assert_in_range(
                        (times_usec[i + 1] - times_usec[i]) / USEC_PER_MSEC, 980U << i, (1000U << i) + 1500);
        worker_end(&worker);
}

static void test_what_emit_takes(void **state)
{
        Worker worker;
        Taken taken;
        uint64_t now_usec;

        (void) state;
        start_script(&worker, 0.01,
                "wrong nan binary nowhere longest text json nojson boolean number past future long ok", 0);
        worker_wait(&worker, WIRE_OPENED);
        for (int i = 0; i < 5; i++) {
                taken = wait_sample(&worker);
                assert_int_equal(taken.channel, 1);
                assert_string_equal(taken.value.string, i == 4 ? "Message too long" : "Invalid argument");
        }
        taken = wait_sample(&worker);
        assert_string_equal(taken.value.string, "\"quoted\"\n21 °C");
        taken = wait_sample(&worker);
        assert_int_equal(taken.value.type, PLUGD_JSON);
        assert_string_equal(taken.value.string, "{\"a\": [1, null]}");
        taken = wait_sample(&worker);
        assert_string_equal(taken.value.string, "{\"a\": "); /* the host looks at it */
        assert_string_equal(wait_sample(&worker).value.string, "taken");
        taken = wait_sample(&worker);
        assert_int_equal(taken.channel, 3);
        assert_int_equal(taken.value.boolean, 1);
        taken = wait_sample(&worker);
        assert_true(taken.value.type == PLUGD_NUMBER && taken.value.number == 21.5);
        taken = wait_sample(&worker);
        now_usec = clock_boottime_usec();
        assert_in_range((now_usec - taken.usec) / USEC_PER_MSEC, 2999, 3000 + 1500);
        taken = wait_sample(&worker);
        now_usec = clock_boottime_usec();
        assert_true(taken.usec <= now_usec && now_usec - taken.usec < 1500000);
        assert_int_equal(strlen(wait_sample(&worker).value.string), 65000);
        worker_end(&worker);
}

static void test_messages(void **state)
{
        static const struct {
                int priority;
                const char *text;
        } expected[] = {
                {PLUGD_ERROR, "an error that is none of this call"},
                {PLUGD_WARNING, "a warning\nof two lines"}, {PLUGD_NOTICE, "a notice"},
                {PLUGD_INFO, "an information"}, {PLUGD_DEBUG, "for the curious"},
                {PLUGD_ERROR, "another"}, /* kept until it was clear that the call does not fail */
        };
        Worker worker;

        (void) state;
        start_script(&worker, 3600, "log", 0);
        worker_wait(&worker, WIRE_OPENED);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                WireFrame frame = worker_wait(&worker, WIRE_LOG);

                assert_int_equal(bytes_get_u8(&frame.body), expected[i].priority);
                assert_string_equal(bytes_get_string(&frame.body), expected[i].text);
        }
        worker_end(&worker);
}

static void test_declared_channels_and_groups(void **state)
{
        struct plugd_group options = {0}, lines[2] = {{0}};
        Worker worker;
        WireFrame frame;
        Taken taken;

        (void) state;
        for (int i = 0; i < 2; i++) {
                group_add(&lines[i], "name",
                        &(struct plugd_value){.type = PLUGD_STRING, .string = i ? "b/c" : "a"});
                group_add(
                        &lines[i], "line", &(struct plugd_value){.type = PLUGD_INTEGER, .integer = 17 + i});
                group_add(&lines[i], "edge", &(struct plugd_value){.type = PLUGD_STRING, .string = "both"});
                group_add(&lines[i], "debounce", &(struct plugd_value){.type = PLUGD_NUMBER, .number = 0.5});
                group_add(&lines[i], "invert", &(struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = i});
        }
        group_add(
                &options, "lines", &(struct plugd_value){.type = PLUGD_GROUPS, .count = 2, .groups = lines});
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        worker_begin(&worker, "groups");
        worker_say(&worker, WIRE_START, 0.01, &options);
        frame = worker_wait(&worker, WIRE_OPENED);
        assert_int_equal(bytes_get_u32(&frame.body), 2);
        assert_string_equal(bytes_get_string(&frame.body), "a");
        taken = wait_sample(&worker);
        assert_string_equal(
                taken.value.string, "{\"line\":17,\"edge\":\"both\",\"debounce\":0.5,\"invert\":false}");
        taken = wait_sample(&worker);
        assert_int_equal(taken.channel, 1);
        assert_string_equal(
                taken.value.string, "{\"line\":18,\"edge\":\"both\",\"debounce\":0.5,\"invert\":true}");
        worker_end(&worker);

        /* The same name twice: declare() refuses, open() says so. */
        group_deinit(&options);
        for (int i = 0; i < 2; i++) {
                group_deinit(&lines[i]);
                group_add(&lines[i], "name", &(struct plugd_value){.type = PLUGD_STRING, .string = "same"});
        }
        group_add(
                &options, "lines", &(struct plugd_value){.type = PLUGD_GROUPS, .count = 2, .groups = lines});
        worker_begin(&worker, "groups");
        worker_say(&worker, WIRE_START, 0.01, &options);
        expect_failure(
                &worker, WIRE_FAILED_OPEN, EEXIST, "line 2 has a name that is taken or wrong: 'same'");
        worker_end(&worker);
        group_deinit(&options);
        for (int i = 0; i < 2; i++)
                group_deinit(&lines[i]);
}

static void test_system_reads_this_machine(void **state)
{
        static const char *const expected[] = {"load/1min", "load/15min", "memory/total", "memory/used",
                "uptime", "cpu/usage", "disk/root/usage"};
        static const char *const on[] = {"load", "memory", "uptime", "cpu", "temperature", "network"};
        struct plugd_group options = {0};
        char names[64][64];
        Worker worker;
        WireFrame frame;
        uint32_t n;
        bool seen[64] = {false};

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(on); i++)
                group_add(&options, on[i], &(struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = 1});
        group_add(&options, "disks", &(struct plugd_value){.type = PLUGD_STRING, .string = "/ /proc"});
        group_add(&options, "interfaces", &(struct plugd_value){.type = PLUGD_STRING, .string = ""});
        use_plugins(NULL);
        worker_begin(&worker, "system");
        worker_say(&worker, WIRE_START, 0.05, &options);
        group_deinit(&options);
        frame = worker_wait(&worker, WIRE_OPENED);
        n = bytes_get_u32(&frame.body);
        assert_in_range(n, ELEMENTSOF(expected), 64);
        for (uint32_t i = 0; i < n; i++) {
                snprintf(names[i], sizeof(names[i]), "%s", bytes_get_string(&frame.body));
                bytes_get_string(&frame.body);
                bytes_get_u64(&frame.body);
        }
        for (int i = 0; i < 100; i++) {
                Taken taken = wait_sample(&worker);
                bool integer = taken.value.type == PLUGD_INTEGER;
                double value = integer ? (double) taken.value.integer : taken.value.number;
                const char *name = names[taken.channel];

                seen[taken.channel] = true;
                assert_true(value >= 0);
                if (strcmp(name, "cpu/usage") == 0 || strcmp(name, "disk/root/usage") == 0)
                        assert_true(value <= 100);
                if (strcmp(name, "memory/total") == 0)
                        assert_true(integer && value > 1e7);
                if (strcmp(name, "uptime") == 0)
                        assert_true(value <= (double) clock_boottime_usec() / 1e6 + 1);
        }
        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                for (uint32_t j = 0;; j++) {
                        if (j == n)
                                fail_msg("no %s", expected[i]);
                        if (strcmp(names[j], expected[i]) == 0 && seen[j])
                                break;
                }
        worker_end(&worker);
}

/* --- beginnings and ends ------------------------------------------------------------------------------ */

static void test_plugin_that_cannot_be_loaded(void **state)
{
        static const struct {
                const char *name, *words;
        } wrong[] = {{"absent", "absent.so"}, {"no-symbol", "plugd_plugin_v1"}, {"bad-abi", "ABI 2"}};
        struct plugd_group none = {0};

        (void) state;
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                Worker worker;
                int status;

                worker_begin(&worker, wrong[i].name);
                worker_say(&worker, WIRE_START, 1, &none);
                worker_wait(&worker, WIRE_HELLO);
                {
                        WireFrame frame = worker_wait(&worker, WIRE_FAILED);

                        assert_int_equal(bytes_get_u8(&frame.body), WIRE_FAILED_LOAD);
                        bytes_get_u32(&frame.body);
                        assert_non_null(strstr(bytes_get_string(&frame.body), wrong[i].words));
                }
                status = worker_status(&worker);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), 1);
        }
}

static void test_ends_with_its_host(void **state)
{
        Worker worker;
        int status;

        (void) state;
        start_sim(&worker, 0.01, "counter", "none", 0);
        wait_sample(&worker);
        assert_int_equal(shutdown(worker.wire, SHUT_WR), 0);
        assert_int_equal(worker_status(&worker), 0);

        /* Also one that has something to say and is not heard. */
        start_sim(&worker, 0.01, "counter", "flood", 0);
        wait_sample(&worker);
        close(worker.wire);
        assert_int_equal(waitpid(worker.pid, &status, 0), worker.pid);
        assert_int_equal(status, 0);
        bytes_deinit(&worker.in);
}

/* A host that dies takes its worker along even while the plugin hangs. */
static void test_dies_with_its_host(void **state)
{
        int out[2];
        pid_t host, worker_pid;
        struct pollfd gone = {.events = POLLIN};
        siginfo_t info;

        (void) state;
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        host = fork();
        if (host == 0) {
                Worker worker;

                start_sim(&worker, 0.01, "counter", "hang", 3);
                for (int i = 0; i < 3; i++)
                        wait_sample(&worker);
                if (write(out[1], &worker.pid, sizeof(worker.pid)) != sizeof(worker.pid))
                        _exit(1);
                for (;;)
                        pause();
        }
        close(out[1]);
        assert_int_equal(read(out[0], &worker_pid, sizeof(worker_pid)), sizeof(worker_pid));
        gone.fd = (int) syscall(SYS_pidfd_open, worker_pid, 0);
        assert_true(gone.fd >= 0);
        kill(host, SIGKILL);
        assert_int_equal(waitid(P_PID, (id_t) host, &info, WEXITED), 0);
        assert_int_equal(poll(&gone, 1, 10000), 1);
        close(gone.fd);
        close(out[0]);
}

static void test_host_that_talks_nonsense(void **state)
{
        static const struct {
                WireType type;
                double interval_sec;
                uint32_t version;
        } wrong[] = {
                {WIRE_START, 1, WIRE_VERSION + 1},
                {WIRE_START, 0, WIRE_VERSION},
                {WIRE_START, -1, WIRE_VERSION},
                {WIRE_INTERVAL, 1, WIRE_VERSION},
                {WIRE_HELLO, 1, WIRE_VERSION},
        };

        (void) state;
        use_plugins(NULL);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                Bytes bytes = {0};
                size_t mark = wire_begin(&bytes, wrong[i].type);
                Worker worker;
                int status;

                bytes_put_u32(&bytes, wrong[i].version);
                bytes_put_f64(&bytes, wrong[i].interval_sec);
                bytes_put_u32(&bytes, 0);
                wire_end(&bytes, mark);
                worker_begin(&worker, "sim");
                worker_write(&worker, &bytes);
                status = worker_status(&worker);
                assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        }
}

static void test_misbehaviour(void **state)
{
        static const struct {
                const char *how;
                int signal, status;
        } ways[] = {{"crash", SIGSEGV, 0}, {"exit", 0, 3}};

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                Worker worker;
                WireFrame frame;
                int64_t samples = 0;
                int status;

                start_sim(&worker, 0.005, "counter", ways[i].how, 5);
                while (worker_next(&worker, &frame))
                        samples += frame.type == WIRE_SAMPLE;
                assert_int_equal(samples, 5);
                assert_int_equal(waitpid(worker.pid, &status, 0), worker.pid);
                assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, ways[i].signal);
                assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : 0, ways[i].status);
                close(worker.wire);
                bytes_deinit(&worker.in);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_describe),
                cmocka_unit_test(test_describe_channels),
                cmocka_unit_test(test_describe_devices),
                cmocka_unit_test(test_describe_what_is_no_plugin),
                cmocka_unit_test(test_usage),
                cmocka_unit_test(test_counter),
                cmocka_unit_test(test_waves),
                cmocka_unit_test(test_interval_changes_at_once),
                cmocka_unit_test(test_all_tick_together),
                cmocka_unit_test(test_signs_of_life),
                cmocka_unit_test(test_samples_of_one_read_come_together),
                cmocka_unit_test(test_failing_read),
                cmocka_unit_test(test_why_emit_refused),
                cmocka_unit_test(test_errno_that_is_none),
                cmocka_unit_test(test_event_that_stays),
                cmocka_unit_test(test_memory_is_limited),
                cmocka_unit_test(test_hardware_that_goes_and_comes),
                cmocka_unit_test(test_open_is_tried_again),
                cmocka_unit_test(test_what_emit_takes),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_declared_channels_and_groups),
                cmocka_unit_test(test_system_reads_this_machine),
                cmocka_unit_test(test_plugin_that_cannot_be_loaded),
                cmocka_unit_test(test_ends_with_its_host),
                cmocka_unit_test(test_dies_with_its_host),
                cmocka_unit_test(test_host_that_talks_nonsense),
                cmocka_unit_test(test_misbehaviour),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
