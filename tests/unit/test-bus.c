/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bus room against a real dbus-daemon of our own. The manager and its hosts are played here: their
 * functions, which the room calls, are defined below and so take the place of manager.c and host.c. Client
 * and gateway share one thread and one event loop.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "bus-internal.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"
#include "wire.h"

/* --- the manager and its hosts, played ---------------------------------------------------------------- */

struct Host {
        const char *name, *last_error;
        HostState state;
        uint64_t samples, dropped, last_sample_usec;
        uint32_t restarts, sandbox;
        pid_t pid;
        double interval;
        HostChannel *channels;
        size_t n_channels;
        int restarted, restart_result;
};

struct Manager {
        ManagerState state;
        const char *plug_id, *last_error, *trouble;
        bool secure;
        uint64_t since_usec;
        ManagerCounters counters;
        Host *hosts;
        size_t n_hosts;
        const ManagerObserver *observer;
        void *userdata;

        int result; /* of what it is asked to do, with the sentence */
        const char *sentence;
        char channel[64], json[64];
        int enrolled, reconnected;
};

static Manager manager;
static Host hosts[3];
static HostChannel channels[5];

static HostChannel channel(const char *name, const char *unit, uint32_t type, char *value)
{
        return (HostChannel){
                .name = (char *) (uintptr_t) name,
                .unit = (char *) (uintptr_t) unit,
                .type = type,
                .value = value,
        };
}

static void play_anew(void)
{
        static char values[5][64];

        strcpy(values[0], "true");
        strcpy(values[1], "-9007199254740993");
        strcpy(values[2], "3");
        strcpy(values[3], "\"caf\\u00e9 \\\"x\\\"\"");
        strcpy(values[4], "{\"a\":[1,null]}");
        channels[0] = channel("All/flag", NULL, PLUGD_BOOLEAN, values[0]);
        channels[1] = channel("All/count", NULL, PLUGD_INTEGER, values[1]);
        channels[2] = channel("All/temp", "°C", PLUGD_NUMBER, values[2]);
        channels[3] = channel("All/text", NULL, PLUGD_STRING, values[3]);
        channels[4] = channel("All/json", NULL, PLUGD_JSON, values[4]);
        hosts[0] = (Host){.name = "door", .last_error = "", .interval = 10};
        hosts[1] = (Host){
                .name = "all",
                .last_error = "",
                .state = HOST_RUNNING,
                .samples = 7,
                .last_sample_usec = 1700000000000000,
                .sandbox = WIRE_SANDBOX_NO_NEW_PRIVS | WIRE_SANDBOX_SECCOMP,
                .pid = 4711,
                .interval = 0.5,
                .channels = channels,
                .n_channels = 5,
        };
        hosts[2] = (Host){.name = "Z_9", .last_error = "", .interval = 1};
        manager = (Manager){
                .plug_id = "",
                .last_error = "",
                .trouble = "",
                .hosts = hosts,
                .n_hosts = 3,
        };
}

const char *manager_state_to_string(ManagerState state)
{
        return state == MANAGER_ONLINE ? "online" : "offline";
}

int manager_add_observer(Manager *m, const ManagerObserver *observer, void *userdata)
{
        assert_null(m->observer);
        m->observer = observer;
        m->userdata = userdata;
        return 0;
}

void manager_remove_observer(Manager *m, void *userdata)
{
        if (m->userdata == userdata)
                m->observer = NULL;
}

const char *manager_hardware_id(const Manager *m _unused_)
{
        return "HW1";
}

const char *manager_plug_id(const Manager *m)
{
        return m->plug_id;
}

const char *manager_name(const Manager *m _unused_)
{
        return "greenhouse";
}

ManagerState manager_state(const Manager *m)
{
        return m->state;
}

const char *manager_server(const Manager *m _unused_)
{
        return "localhost:1883";
}

const char *manager_last_error(const Manager *m)
{
        return m->last_error;
}

bool manager_secure(const Manager *m)
{
        return m->secure;
}

uint64_t manager_connected_since_usec(const Manager *m)
{
        return m->since_usec;
}

void manager_get_counters(const Manager *m, ManagerCounters *ret)
{
        *ret = m->counters;
        ret->spool_trouble = m->trouble;
}

size_t manager_n_hosts(const Manager *m)
{
        return m->n_hosts;
}

Host *manager_host(const Manager *m, size_t index)
{
        return &m->hosts[index];
}

Host *manager_find_host(const Manager *m, const char *name)
{
        for (size_t i = 0; i < m->n_hosts; i++)
                if (strcmp(m->hosts[i].name, name) == 0)
                        return &m->hosts[i];
        return NULL;
}

static int act(Manager *m, char **ret_error)
{
        if (m->result < 0 && m->sentence)
                text_set(ret_error, "%s", m->sentence);
        return m->result;
}

int manager_publish(Manager *m, const char *channel, const char *json, char ret_id[static SAMPLE_ID_TEXT],
        char **ret_error)
{
        snprintf(m->channel, sizeof(m->channel), "%s", channel);
        snprintf(m->json, sizeof(m->json), "%s", json);
        strcpy(ret_id, "0123456789abcdef01234567");
        return act(m, ret_error);
}

int manager_enroll(Manager *m, char **ret_error)
{
        m->enrolled++;
        return act(m, ret_error);
}

int manager_reconnect(Manager *m, char **ret_error)
{
        m->reconnected++;
        return act(m, ret_error);
}

const char *host_state_to_string(HostState state)
{
        return state == HOST_RUNNING ? "running" : "starting";
}

int host_restart(Host *host)
{
        host->restarted++;
        return host->restart_result;
}

int host_set_interval(Host *host, double interval_sec)
{
        if (interval_sec < 0.001 || interval_sec > 86400)
                return -ERANGE;
        host->interval = interval_sec;
        manager.observer->on_host_changed(host, manager.userdata);
        return 0;
}

const char *host_name(const Host *host)
{
        return host->name;
}

const char *host_plugin(const Host *host _unused_)
{
        return "sim";
}

HostState host_state(const Host *host)
{
        return host->state;
}

const char *host_last_error(const Host *host)
{
        return host->last_error;
}

uint64_t host_samples(const Host *host)
{
        return host->samples;
}

uint64_t host_dropped(const Host *host)
{
        return host->dropped;
}

uint32_t host_restarts(const Host *host)
{
        return host->restarts;
}

double host_interval(const Host *host)
{
        return host->interval;
}

uint64_t host_last_sample_usec(const Host *host)
{
        return host->last_sample_usec;
}

uint32_t host_sandbox(const Host *host)
{
        return host->sandbox;
}

pid_t host_pid(const Host *host)
{
        return host->pid;
}

const HostChannel *host_channels(const Host *host, size_t *ret_n)
{
        *ret_n = host->n_channels;
        return host->channels;
}

/* --- the bus, the client, the loop -------------------------------------------------------------------- */

static char folder[] = "/tmp/test-bus-XXXXXX";
static char config_path[64], socket_path[64];
static pid_t daemon_pid;
static sd_event *event;
static sd_bus *client;
static Bus *bus;
static int n_warnings, n_notices;
static char last_warning[512];

static void on_log(int priority, const LogContext *context _unused_, const char *text)
{
        if (priority == LOG_WARNING) {
                n_warnings++;
                snprintf(last_warning, sizeof(last_warning), "%s", text);
        }
        n_notices += priority == LOG_NOTICE;
}

static void write_config(const char *policy)
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
static void start_daemon(void)
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

static void stop_daemon(void)
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

static void run_for(uint64_t usec)
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

static int on_told(sd_bus_message *message, void *userdata _unused_, sd_bus_error *error _unused_)
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

static size_t count_told(const char *path, const char *name)
{
        char padded[64];
        size_t n = 0;

        snprintf(padded, sizeof(padded), " %s ", name);
        for (size_t i = 0; i < n_told; i++)
                n += strcmp(told[i].path, path) == 0 && strstr(told[i].names, padded);
        return n;
}

static int on_ready(sd_bus_message *message _unused_, void *userdata, sd_bus_error *error _unused_)
{
        *(bool *) userdata = true;
        return 0;
}

static void open_client(void)
{
        bool ready = false;

        assert_true(sd_bus_open_user(&client) >= 0);
        assert_true(sd_bus_attach_event(client, event, 0) >= 0);
        assert_true(sd_bus_match_signal_async(client, NULL, NULL, NULL, "org.freedesktop.DBus.Properties",
                            "PropertiesChanged", on_told, on_ready, &ready) >= 0);
        RUN_UNTIL(ready, 5 * USEC_PER_SEC);
}

static void close_client(void)
{
        if (client)
                sd_bus_detach_event(client);
        client = sd_bus_close_unref(client);
}

typedef struct Answer {
        sd_bus_message *message;
} Answer;

static void answer_deinit(Answer *answer)
{
        sd_bus_message_unref(answer->message);
}

static int on_answer(sd_bus_message *message, void *userdata, sd_bus_error *error _unused_)
{
        ((Answer *) userdata)->message = sd_bus_message_ref(message);
        return 0;
}

/* Calls, and runs the loop until there is an answer (or an error). */
static Answer call(const char *path, const char *interface, const char *method, const char *types, ...)
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

static void assert_error(const Answer *answer, const char *name, const char *sentence)
{
        const sd_bus_error *error = sd_bus_message_get_error(answer->message);

        assert_non_null(error);
        assert_string_equal(error->name, name);
        if (sentence)
                assert_string_equal(error->message, sentence);
        else
                assert_true(*error->message);
}

static void assert_done(const Answer *answer)
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

static void begin(void)
{
        char *error = NULL;

        assert_int_equal(bus_new(&bus, event, &manager, true, &error), 0);
        assert_null(error);
}

static int setup(void **state _unused_)
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

static int setup_running(void **state)
{
        setup(state);
        begin();
        open_client();
        return 0;
}

static int teardown(void **state _unused_)
{
        bus = bus_free(bus);
        close_client();
        event = sd_event_unref(event);
        stop_daemon();
        return 0;
}

/* --- what there is to see ----------------------------------------------------------------------------- */

static void test_manager_properties(void **state _unused_)
{
        const char *text;
        uint64_t number;
        int flag;

        manager.state = MANAGER_ONLINE;
        manager.plug_id = "dev-0123456789abcdef01234567";
        manager.since_usec = 1700000000000001;
        manager.secure = true;
        manager.trouble = "disk full";
        manager.counters = (ManagerCounters){1, 2, 3, 4, UINT64_MAX, NULL};
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "State", "s", &text);
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "Secure", "b", &flag);
        assert_true(flag);
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "ConnectedSince", "t", &number);
        assert_true(number == 1700000000000001);
        static const struct {
                const char *name;
                uint64_t value;
        } counters[] = {{"Published", 1}, {"Confirmed", 2}, {"Dropped", 3}, {"SpoolMessages", 4},
                {"SpoolBytes", UINT64_MAX}};
        for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
                GET(BUS_PATH, BUS_INTERFACE_MANAGER, counters[i].name, "t", &number);
                assert_true(number == counters[i].value);
        }
        static const char *const texts[][2] = {{"HardwareId", "HW1"}, {"Name", "greenhouse"},
                {"Server", "localhost:1883"}, {"PlugId", "dev-0123456789abcdef01234567"},
                {"State", "online"}, {"LastError", ""}, {"SpoolTrouble", "disk full"}};
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                CALL(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_MANAGER,
                        texts[i][0]);
                assert_done(&answer);
                assert_true(sd_bus_message_read(answer.message, "v", "s", &text) > 0);
                assert_string_equal(text, texts[i][1]);
        }
}

static void test_sensor_properties(void **state _unused_)
{
        const char *text;
        uint64_t number;
        uint32_t small;
        double interval;

        hosts[1].restarts = 3;
        hosts[1].dropped = 9;
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "Samples", "t", &number);
        assert_true(number == 7);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "LastSampleAt", "t", &number);
        assert_true(number == 1700000000000000);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "Dropped", "t", &number);
        assert_true(number == 9);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "Restarts", "u", &small);
        assert_int_equal(small, 3);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "ProcessId", "u", &small);
        assert_int_equal(small, 4711);
        GET(ALL_PATH, BUS_INTERFACE_SENSOR, "Interval", "d", &interval);
        assert_true(fabs(interval - 0.5) < 1e-9);
        {
                CALL(ALL_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_SENSOR,
                        "Plugin");
                assert_true(sd_bus_message_read(answer.message, "v", "s", &text) > 0);
                assert_string_equal(text, "sim");
        }
        {
                const char *first, *second;

                CALL(ALL_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_SENSOR,
                        "Sandbox");
                assert_true(sd_bus_message_read(answer.message, "v", "as", 2, &first, &second) > 0);
                assert_string_equal(first, "no-new-privileges");
                assert_string_equal(second, "seccomp");
        }
        {
                const char *channel, *unit;

                CALL(ALL_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_SENSOR,
                        "Units");
                assert_true(sd_bus_message_read(answer.message, "v", "a{ss}", 1, &channel, &unit) > 0);
                assert_string_equal(channel, "All/temp");
                assert_string_equal(unit, "°C");
        }
}

/* Each value in its channel's own D-Bus type. */
static void test_values(void **state _unused_)
{
        CALL(ALL_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_SENSOR, "Values");
        const char *k1, *k2, *k3, *k4, *k5, *text, *json;
        int64_t count;
        double temp;
        int flag;

        assert_done(&answer);
        assert_true(sd_bus_message_read(answer.message, "v", "a{sv}", 5, &k1, "b", &flag, &k2, "x", &count,
                            &k3, "d", &temp, &k4, "s", &text, &k5, "s", &json) > 0);
        assert_string_equal(k1, "All/flag");
        assert_true(flag);
        assert_true(count == -9007199254740993);
        assert_string_equal(k3, "All/temp");
        assert_true(fabs(temp - 3) < 1e-9);
        assert_string_equal(text, "café \"x\"");
        assert_string_equal(json, "{\"a\":[1,null]}");
}

static void test_no_values_yet(void **state _unused_)
{
        CALL(DOOR_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_SENSOR, "Values");

        assert_done(&answer);
        assert_true(sd_bus_message_read(answer.message, "v", "a{sv}", 0) > 0);
}

/* What isn't UTF-8 would make the bus close our connection. */
static void test_hostile_text(void **state _unused_)
{
        const char *text;

        hosts[0].last_error = "broken \xff\xc0 byte";
        CALL(DOOR_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_SENSOR, "LastError");
        assert_done(&answer);
        assert_true(sd_bus_message_read(answer.message, "v", "s", &text) > 0);
        assert_string_equal(text, "broken ?? byte");
        assert_int_equal(n_warnings, 0);
}

static void test_objects(void **state _unused_)
{
        CALL(BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "");
        size_t n_sensors = 0, n_objects = 0;
        const char *path, *interface;

        assert_done(&answer);
        assert_true(sd_bus_message_enter_container(answer.message, 'a', "{oa{sa{sv}}}") > 0);
        while (sd_bus_message_enter_container(answer.message, 'e', "oa{sa{sv}}") > 0) {
                assert_true(sd_bus_message_read(answer.message, "o", &path) > 0);
                assert_int_equal(strncmp(path, BUS_SENSORS_PATH "/", strlen(BUS_SENSORS_PATH "/")), 0);
                assert_non_null(manager_find_host(&manager, path + strlen(BUS_SENSORS_PATH "/")));
                n_objects++;
                assert_true(sd_bus_message_enter_container(answer.message, 'a', "{sa{sv}}") > 0);
                while (sd_bus_message_enter_container(answer.message, 'e', "sa{sv}") > 0) {
                        assert_true(sd_bus_message_read(answer.message, "s", &interface) > 0);
                        n_sensors += strcmp(interface, BUS_INTERFACE_SENSOR) == 0;
                        assert_true(sd_bus_message_skip(answer.message, "a{sv}") >= 0);
                        assert_true(sd_bus_message_exit_container(answer.message) >= 0);
                }
                assert_true(sd_bus_message_exit_container(answer.message) >= 0);
                assert_true(sd_bus_message_exit_container(answer.message) >= 0);
        }
        assert_int_equal(n_objects, 3);
        assert_int_equal(n_sensors, 3);
}

/* --- what there is to do ------------------------------------------------------------------------------ */

static void test_publish(void **state _unused_)
{
        static const struct {
                int result;
                const char *name;
        } failures[] = {
                {-EINVAL, SD_BUS_ERROR_INVALID_ARGS},
                {-EMSGSIZE, SD_BUS_ERROR_INVALID_ARGS},
                {-ENOSPC, SD_BUS_ERROR_LIMITS_EXCEEDED},
                {-EIO, SD_BUS_ERROR_FAILED},
                {-ENOMEM, SD_BUS_ERROR_NO_MEMORY},
        };
        const char *id;

        {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Publish", "ss", "a/b", "{\"x\":1}");
                assert_done(&answer);
                assert_true(sd_bus_message_read(answer.message, "s", &id) > 0);
                assert_string_equal(id, "0123456789abcdef01234567");
                assert_string_equal(manager.channel, "a/b");
                assert_string_equal(manager.json, "{\"x\":1}");
        }
        for (size_t i = 0; i < ELEMENTSOF(failures); i++) {
                manager.result = failures[i].result;
                manager.sentence = "the manager's sentence";
                {
                        CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Publish", "ss", "a", "1");
                        assert_error(&answer, failures[i].name, manager.sentence);
                }
                manager.sentence = NULL; /* out of memory for it */
                {
                        CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Publish", "ss", "a", "1");
                        assert_error(&answer, failures[i].name, NULL);
                }
        }
        {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Publish", "s", "a");
                assert_error(&answer, SD_BUS_ERROR_INVALID_ARGS, NULL);
        }
}

static void test_actions(void **state _unused_)
{
        {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Enroll", "");
                assert_done(&answer);
                assert_int_equal(manager.enrolled, 1);
        }
        {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Reconnect", "");
                assert_done(&answer);
                assert_int_equal(manager.reconnected, 1);
        }
        manager.result = -EINVAL;
        manager.sentence = "nothing is configured to enrol with";
        {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Enroll", "");
                assert_error(&answer, SD_BUS_ERROR_FAILED, manager.sentence);
        }
        {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, "Reconnect", "");
                assert_error(&answer, SD_BUS_ERROR_FAILED, manager.sentence);
        }
        {
                CALL(DOOR_PATH, BUS_INTERFACE_SENSOR, "Restart", "");
                assert_done(&answer);
                assert_int_equal(hosts[0].restarted, 1);
        }
        hosts[0].restart_result = -EAGAIN;
        {
                CALL(DOOR_PATH, BUS_INTERFACE_SENSOR, "Restart", "");
                assert_error(&answer, SD_BUS_ERROR_FAILED, NULL);
        }
}

/* What later issues add is absent, and so are sensors that don't exist. */
static void test_absent(void **state _unused_)
{
        static const char *const methods[] = {
                "GetAdditionalProperties", "SetAdditionalProperties", "Reload"};
        static const char *const paths[] = {BUS_SENSORS_PATH "/none", BUS_SENSORS_PATH,
                BUS_SENSORS_PATH "/door/inner", BUS_SENSORS_PATH "/doo", BUS_SENSORS_PATH "/Door"};

        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                CALL(BUS_PATH, BUS_INTERFACE_MANAGER, methods[i], "");
                assert_error(&answer, SD_BUS_ERROR_UNKNOWN_METHOD, NULL);
        }
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                CALL(paths[i], BUS_INTERFACE_SENSOR, "Restart", "");
                assert_true(sd_bus_error_has_names(sd_bus_message_get_error(answer.message),
                        SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_METHOD,
                        SD_BUS_ERROR_UNKNOWN_INTERFACE));
        }
        {
                CALL(paths[0], BUS_INTERFACE_SENSOR, "Restart", "");
                assert_error(&answer, SD_BUS_ERROR_UNKNOWN_OBJECT, NULL);
        }
        {
                CALL(paths[0], "org.freedesktop.DBus.Properties", "GetAll", "s", BUS_INTERFACE_SENSOR);
                assert_error(&answer, SD_BUS_ERROR_UNKNOWN_OBJECT, NULL);
        }
}

#define SET_INTERVAL(type, value)                                                                           \
        CALL(DOOR_PATH, "org.freedesktop.DBus.Properties", "Set", "ssv", BUS_INTERFACE_SENSOR, "Interval",  \
                type, value)

static void test_interval(void **state _unused_)
{
        static const double bad[] = {0, -1, 0.0009, 86400.5, INFINITY, NAN};

        {
                SET_INTERVAL("d", 2.5);
                assert_done(&answer);
                assert_true(fabs(hosts[0].interval - 2.5) < 1e-9);
        }
        RUN_UNTIL(count_told(DOOR_PATH, "Interval") == 1, USEC_PER_SEC);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                SET_INTERVAL("d", bad[i]);
                assert_error(&answer, SD_BUS_ERROR_INVALID_ARGS, NULL);
                assert_non_null(
                        strstr(sd_bus_message_get_error(answer.message)->message, "0.001 to 86400 s"));
        }
        {
                SET_INTERVAL("s", "5");
                assert_error(&answer, SD_BUS_ERROR_INVALID_ARGS, NULL);
        }
        {
                CALL(DOOR_PATH, "org.freedesktop.DBus.Properties", "Set", "ssv", BUS_INTERFACE_SENSOR,
                        "Restarts", "u", 5);
                assert_error(&answer, SD_BUS_ERROR_PROPERTY_READ_ONLY, NULL);
        }
        assert_true(fabs(hosts[0].interval - 2.5) < 1e-9);
}

/* --- what is told ------------------------------------------------------------------------------------- */

static void sample(Host *host)
{
        host->samples++;
        host->last_sample_usec++;
        manager.counters.spool_messages++;
        manager.observer->on_host_sampled(host, manager.userdata);
        manager.observer->on_changed(manager.userdata);
}

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
        run_for(1200 * USEC_PER_MSEC);

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
        RUN_UNTIL(count_told(BUS_PATH, "State") == 1, 300 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " State Secure ");
        RUN_UNTIL(count_told(BUS_PATH, "Published") == 2, 2 * USEC_PER_SEC);
        assert_string_equal(told[n_told - 1].names, " Published ");

        hosts[0].state = HOST_RUNNING;
        hosts[0].pid = 12;
        manager.observer->on_host_changed(&hosts[0], manager.userdata);
        RUN_UNTIL(count_told(DOOR_PATH, "State") == 1, 300 * USEC_PER_MSEC);
        assert_string_equal(told[n_told - 1].names, " State ProcessId Units Types ");
        hosts[0].last_error = "no answer";
        manager.observer->on_host_changed(&hosts[0], manager.userdata);
        RUN_UNTIL(count_told(DOOR_PATH, "LastError") == 1, 300 * USEC_PER_MSEC);
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
        run_for(300 * USEC_PER_MSEC);
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
        run_for(1300 * USEC_PER_MSEC);
        assert_int_equal(n_told, 2);
        assert_int_equal(sd_event_run(event, 1500 * USEC_PER_MSEC), 0);
}

/* --- the connection ----------------------------------------------------------------------------------- */

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
        test_actions(NULL);
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
        test_values(NULL);
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
        test_actions(NULL);
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
        test_actions(NULL);
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
                cmocka_unit_test_setup_teardown(test_manager_properties, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_sensor_properties, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_values, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_no_values_yet, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_hostile_text, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_objects, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_publish, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_actions, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_absent, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_interval, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_values, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_apart, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_states, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_told_flood, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_quiet, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_name_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_bus, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bus_lost, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_bus_hangs_at_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bus_hangs_later, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_name_denied, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries_grow, setup, teardown),
        };
        _cleanup_(freep) char *address = NULL;
        int failed;

        if (!mkdtemp(folder))
                return 1;
        snprintf(config_path, sizeof(config_path), "%s/bus.conf", folder);
        snprintf(socket_path, sizeof(socket_path), "%s/bus", folder);
        address = text_printf("unix:path=%s", socket_path);
        if (!address || setenv("DBUS_SESSION_BUS_ADDRESS", address, 1) < 0)
                return 1;
        log_set_sink(on_log);
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        unlink(config_path);
        unlink(socket_path);
        rmdir(folder);
        return failed;
}
