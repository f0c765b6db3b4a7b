/* SPDX-License-Identifier: Apache-2.0 */

/* What the interfaces show and do, from a client's side. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus-fixture.h"

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
        manager.clock_trouble = "the clock is not set";
        manager.counters = (ManagerCounters){
                .published = 1,
                .confirmed = 2,
                .dropped = 3,
                .spool_messages = 4,
                .spool_bytes = UINT64_MAX,
                .connections = 5,
                .round_trip_usec = 6,
                .held = 7,
                .estimated = 8,
                .set_back = 9,
                .spool_full = true,
        };
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "State", "s", &text);
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "Secure", "b", &flag);
        assert_true(flag);
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "SpoolFull", "b", &flag);
        assert_true(flag);
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "ConnectedSince", "t", &number);
        assert_true(number == 1700000000000001);
        static const struct {
                const char *name;
                uint64_t value;
        } counters[] = {{"Published", 1}, {"Confirmed", 2}, {"Dropped", 3}, {"SpoolMessages", 4},
                {"SpoolBytes", UINT64_MAX}, {"Connections", 5}, {"RoundTrip", 6}, {"Held", 7},
                {"Estimated", 8}, {"ClockSetBack", 9}, {"NextTry", 0}};
        for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
                GET(BUS_PATH, BUS_INTERFACE_MANAGER, counters[i].name, "t", &number);
                assert_true(number == counters[i].value);
        }
        static const char *const texts[][2] = {{"HardwareId", "HW1"}, {"Name", "greenhouse"},
                {"Server", "localhost:1883"}, {"PlugId", "dev-0123456789abcdef01234567"},
                {"State", "online"}, {"LastError", ""}, {"SpoolTrouble", "disk full"},
                {"ClockTrouble", "the clock is not set"}, {"Confirm", "none"}};
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                CALL(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_INTERFACE_MANAGER,
                        texts[i][0]);
                assert_done(&answer);
                assert_true(sd_bus_message_read(answer.message, "v", "s", &text) > 0);
                assert_string_equal(text, texts[i][1]);
        }
}

/* The manager's clock doesn't jump; what is told is the time of day. */
static void test_next_try(void **state _unused_)
{
        uint64_t usec, now_usec = clock_realtime_usec();

        manager.next_try_usec = clock_monotonic_usec() + 12 * USEC_PER_SEC;
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "NextTry", "t", &usec);
        assert_in_range(usec, now_usec + 11 * USEC_PER_SEC, now_usec + 13 * USEC_PER_SEC);
        manager.next_try_usec = 1; /* overdue */
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "NextTry", "t", &usec);
        assert_in_range(usec, now_usec, now_usec + 5 * USEC_PER_SEC);
}

static void test_outlook(void **state _unused_)
{
        static const struct {
                const char *name;
                double value;
        } numbers[] = {{"SpoolHours", -1}, {"SpoolRate", 590.5}, {"SpoolMessageRate", 0.25}};
        uint64_t number;
        double real;

        manager.outlook = (ManagerOutlook){
                .limit_bytes = UINT64_C(1) << 40,
                .rate = {.span_usec = 90 * USEC_PER_SEC + 1, .messages = 0.25, .bytes = 590.5},
                .hours = -1,
        };
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "SpoolLimit", "t", &number);
        assert_true(number == UINT64_C(1) << 40);
        GET(BUS_PATH, BUS_INTERFACE_MANAGER, "SpoolRateSpan", "t", &number);
        assert_true(number == 90);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                GET(BUS_PATH, BUS_INTERFACE_MANAGER, numbers[i].name, "d", &real);
                assert_true(fabs(real - numbers[i].value) < 1e-9);
        }
}

static void test_sensor_properties(void **state _unused_)
{
        const char *text;
        uint64_t number;
        uint32_t small;
        double interval;

        hosts[1].restarts = 3;
        hosts[1].dropped = 4;
        hosts[1].spool_dropped = 5;
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
                {-ESHUTDOWN, SD_BUS_ERROR_FAILED},
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
        manager.result = -ESHUTDOWN;
        manager.sentence = "plugd is stopping";
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_manager_properties, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_next_try, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_outlook, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_sensor_properties, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_values, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_no_values_yet, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_hostile_text, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_objects, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_publish, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_actions, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_absent, setup_running, teardown),
                cmocka_unit_test_setup_teardown(test_interval, setup_running, teardown),
        };

        return RUN_TESTS(tests);
}
