/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hosts with workers that are this very program, playing somebody who means ill.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "host-bench.h"
#include "util/clock.h"
#include "util/log.h"
#include "wire.h"

/* --- the fake worker ---------------------------------------------------------------------------------- */

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

/* --- strangers ---------------------------------------------------------------------------------------- */

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

/* --- one that does not end ---------------------------------------------------------------------------- */

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

/* --- all of them ------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_strangers),
                cmocka_unit_test(test_devices_of_a_sensor),
                cmocka_unit_test(test_a_worker_that_is_renewed),
                cmocka_unit_test(test_values_of_strangers),
                cmocka_unit_test(test_chatter),
                cmocka_unit_test(test_stuck),
        };

        if (argc == 3 && strcmp(argv[0], "plugd-worker") == 0)
                return fake_worker(argv[1]);
        if (argc == 2)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, bench_set_up, bench_tear_down);
}
