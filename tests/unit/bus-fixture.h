/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The bus room against a real dbus-daemon of our own, and a manager that is played. Client and gateway share
 * one thread and one event loop. Include it after cmocka's usual headers.
 */

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "bus-internal.h"
#include "bus-played.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"

static char folder[] = "/tmp/test-bus-XXXXXX";
static char config_path[64], socket_path[64];
static pid_t daemon_pid;
static sd_event *event;
static sd_bus *client;
static Bus *bus;
static int n_warnings, n_notices;
static char last_warning[512];

static inline void on_log(int priority, const LogContext *context _unused_, const char *text)
{
        if (priority == LOG_WARNING) {
                n_warnings++;
                snprintf(last_warning, sizeof(last_warning), "%s", text);
        }
        n_notices += priority == LOG_NOTICE;
}

static inline void write_config(const char *policy)
{
        _cleanup_(freep) char *text = text_printf(
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
                "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
                "<busconfig><type>session</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>"
                "<policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>"
                "<allow eavesdrop=\"true\"/>%s</policy></busconfig>\n",
                socket_path, policy);

        assert_non_null(text);
        assert_int_equal(file_write_atomic(config_path, 0644, text, strlen(text)), 0);
}

/* Returns when it listens. */
static inline void start_daemon(void)
{
        char option[96], print[32], byte;
        int ready[2];

        assert_int_equal(pipe(ready), 0);
        snprintf(option, sizeof(option), "--config-file=%s", config_path);
        snprintf(print, sizeof(print), "--print-address=%d", ready[1]);
        unlink(socket_path);
        daemon_pid = fork();
        assert_true(daemon_pid >= 0);
        if (daemon_pid == 0) {
                int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(null, STDERR_FILENO);
                close(ready[0]);
                execlp("dbus-daemon", "dbus-daemon", option, print, "--nofork", "--nopidfile", NULL);
                _exit(127);
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
}

static inline void stop_daemon(void)
{
        if (daemon_pid <= 0)
                return;
        kill(daemon_pid, SIGCONT);
        kill(daemon_pid, SIGKILL);
        waitpid(daemon_pid, NULL, 0);
        unlink(socket_path);
        daemon_pid = 0;
}

#define ALLOW_OWN "<allow own=\"*\"/>"

/* Runs the loop until the condition holds; fails after the time. */
#define RUN_UNTIL(condition, usec)                                                                          \
        do {                                                                                                \
                uint64_t until_ = clock_monotonic_usec() + (usec);                                          \
                while (!(condition)) {                                                                      \
                        if (clock_monotonic_usec() > until_)                                                \
                                fail_msg("not in time: %s", #condition);                                    \
                        assert_true(sd_event_run(event, 20 * USEC_PER_MSEC) >= 0);                          \
                }                                                                                           \
        } while (false)

static inline void run_for(uint64_t usec)
{
        uint64_t until_usec = clock_monotonic_usec() + usec, now_usec;

        while ((now_usec = clock_monotonic_usec()) < until_usec)
                assert_true(sd_event_run(event, until_usec - now_usec) >= 0);
}

/* What PropertiesChanged told. */
typedef struct Told {
        char path[128], names[256]; /* " State LastError " */
        uint64_t usec;
} Told;

static Told told[2048];
static size_t n_told;

static inline int on_told(sd_bus_message *message, void *userdata _unused_, sd_bus_error *error _unused_)
{
        const char *interface, *name;
        Told *entry = &told[n_told];

        assert_true(n_told < ELEMENTSOF(told));
        *entry = (Told){.usec = clock_monotonic_usec()};
        snprintf(entry->path, sizeof(entry->path), "%s", sd_bus_message_get_path(message));
        strcpy(entry->names, " ");
        assert_true(sd_bus_message_read(message, "s", &interface) > 0);
        assert_true(sd_bus_message_enter_container(message, 'a', "{sv}") > 0);
        while (sd_bus_message_enter_container(message, 'e', "sv") > 0) {
                assert_true(sd_bus_message_read(message, "s", &name) > 0);
                strncat(entry->names, name, sizeof(entry->names) - strlen(entry->names) - 1);
                strncat(entry->names, " ", sizeof(entry->names) - strlen(entry->names) - 1);
                assert_true(sd_bus_message_skip(message, "v") >= 0);
                assert_true(sd_bus_message_exit_container(message) >= 0);
        }
        n_told++;
        return 0;
}

static inline size_t count_told(const char *path, const char *name)
{
        char padded[64];
        size_t n = 0;

        snprintf(padded, sizeof(padded), " %s ", name);
        for (size_t i = 0; i < n_told; i++)
                n += strcmp(told[i].path, path) == 0 && strstr(told[i].names, padded);
        return n;
}

static inline int on_ready(sd_bus_message *message _unused_, void *userdata, sd_bus_error *error _unused_)
{
        *(bool *) userdata = true;
        return 0;
}

static inline void open_client(void)
{
        bool ready = false;

        assert_true(sd_bus_open_user(&client) >= 0);
        assert_true(sd_bus_attach_event(client, event, 0) >= 0);
        assert_true(sd_bus_match_signal_async(client, NULL, NULL, NULL, "org.freedesktop.DBus.Properties",
                            "PropertiesChanged", on_told, on_ready, &ready) >= 0);
        RUN_UNTIL(ready, 5 * USEC_PER_SEC);
}

static inline void close_client(void)
{
        if (client)
                sd_bus_detach_event(client);
        client = sd_bus_close_unref(client);
}

typedef struct Answer {
        sd_bus_message *message;
} Answer;

static inline void answer_deinit(Answer *answer)
{
        sd_bus_message_unref(answer->message);
}

static inline int on_answer(sd_bus_message *message, void *userdata, sd_bus_error *error _unused_)
{
        ((Answer *) userdata)->message = sd_bus_message_ref(message);
        return 0;
}

/* Calls, and runs the loop until there is an answer (or an error). */
static inline Answer call(
        const char *path, const char *interface, const char *method, const char *types, ...)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        Answer answer = {};
        va_list arguments;

        assert_true(
                sd_bus_message_new_method_call(client, &message, BUS_NAME, path, interface, method) >= 0);
        va_start(arguments, types);
        assert_true(sd_bus_message_appendv(message, types, arguments) >= 0);
        va_end(arguments);
        assert_true(sd_bus_call_async(client, NULL, message, on_answer, &answer, 0) >= 0);
        RUN_UNTIL(answer.message, 10 * USEC_PER_SEC);
        return answer;
}

#define CALL(...) _cleanup_(answer_deinit) Answer answer = call(__VA_ARGS__)

static inline void assert_error(const Answer *answer, const char *name, const char *sentence)
{
        const sd_bus_error *error = sd_bus_message_get_error(answer->message);

        assert_non_null(error);
        assert_string_equal(error->name, name);
        if (sentence)
                assert_string_equal(error->message, sentence);
        else
                assert_true(*error->message);
}

static inline void assert_done(const Answer *answer)
{
        const sd_bus_error *error = sd_bus_message_get_error(answer->message);

        if (error)
                fail_msg("%s: %s", error->name, error->message);
}

#define GET(path, interface, property, type, ret)                                                           \
        do {                                                                                                \
                CALL(path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, property);            \
                assert_done(&answer);                                                                       \
                assert_true(sd_bus_message_read(answer.message, "v", type, ret) > 0);                       \
        } while (false)

#define ALL_PATH BUS_SENSORS_PATH "/all"
#define DOOR_PATH BUS_SENSORS_PATH "/door"

static inline void begin(void)
{
        char *error = NULL;

        assert_int_equal(bus_new(&bus, event, &manager, true, &error), 0);
        assert_null(error);
}

static inline int setup(void **state _unused_)
{
        play_anew();
        n_told = 0;
        n_warnings = n_notices = 0;
        *last_warning = '\0';
        write_config(ALLOW_OWN);
        start_daemon();
        assert_true(sd_event_new(&event) >= 0);
        return 0;
}

static inline int setup_running(void **state)
{
        setup(state);
        begin();
        open_client();
        return 0;
}

static inline int teardown(void **state _unused_)
{
        bus = bus_free(bus);
        close_client();
        event = sd_event_unref(event);
        stop_daemon();
        return 0;
}

/* The gateway is on the bus, and answers. */
static inline void assert_answers(void)
{
        int before = manager.enrolled;

        CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Enroll", "");
        assert_done(&answer);
        assert_int_equal(manager.enrolled, before + 1);
}

static inline void sample(Host *host)
{
        host->samples++;
        host->last_sample_usec++;
        manager.counters.spool_messages++;
        manager.observer->on_host_sampled(host, manager.userdata);
        manager.observer->on_changed(manager.userdata);
}

/* The tests in a folder of their own. */
#define RUN_TESTS(tests)                                                                                    \
        ({                                                                                                  \
                int failed_ = 1;                                                                            \
                if (fixture_begin()) {                                                                      \
                        failed_ = cmocka_run_group_tests(tests, NULL, NULL);                                \
                        fixture_end();                                                                      \
                }                                                                                           \
                failed_;                                                                                    \
        })

static inline bool fixture_begin(void)
{
        _cleanup_(freep) char *address = NULL;

        if (!mkdtemp(folder))
                return false;
        snprintf(config_path, sizeof(config_path), "%s/bus.conf", folder);
        snprintf(socket_path, sizeof(socket_path), "%s/bus", folder);
        address = text_printf("unix:path=%s", socket_path);
        log_set_sink(on_log);
        return address && setenv("DBUS_SESSION_BUS_ADDRESS", address, 1) == 0;
}

static inline void fixture_end(void)
{
        unlink(config_path);
        unlink(socket_path);
        rmdir(folder);
}
