/* SPDX-License-Identifier: Apache-2.0 */

/* What a good configuration becomes, and the default file. */

#include "config-fixture.h"

/* --- defaults ------------------------------------------------------------------------------------------ */

static void assert_defaults(const Config *config)
{
        assert_string_equal(config->server.host, "api.cloudplugs.com");
        assert_int_equal(config->server.port, 8883);
        assert_true(config->server.tls);
        assert_null(config->server.ca);
        assert_null(config->server.cert);
        assert_null(config->server.key);
        assert_int_equal(config->server.keepalive_sec, 240);
        assert_string_equal(config->device.hwid, "auto");
        assert_null(config->device.name);
        assert_int_equal(config->device.enrol_as, ENROL_NOT);
        assert_null(config->device.model);
        assert_null(config->device.plug_id);
        assert_null(config->device.pass.text);
        assert_null(config->device.auth.file);
        assert_string_equal(config->will.channel, "status");
        assert_string_equal(config->will.data, "\"offline\"");
        assert_string_equal(config->will.online, "\"online\"");
        assert_int_equal(config->spool.max_size, 64 << 20);
        assert_int_equal(config->spool.memory, 4 << 20);
        assert_int_equal(config->spool.sync_usec, 5 * USEC_PER_SEC);
        assert_int_equal(config->spool.policy.priority, 5);
        assert_int_equal(config->spool.policy.ttl_usec, 0);
        assert_int_equal(config->spool.policy.when_full, SPOOL_FULL_OLDEST);
        assert_true(config->delivery.barrier);
        assert_int_equal(config->delivery.timeout_usec, 20 * USEC_PER_SEC);
        assert_int_equal(config->time.wait_sync, TIME_WAIT_AUTO);
        assert_int_equal(config->time.wait_max_usec, 600 * USEC_PER_SEC);
        assert_int_equal(config->n_sensors, 0);
}

static void test_empty(void **state)
{
        static const char *const texts[] = {"", "\n", "# nothing", "/* nothing\n */ // at all",
                "\xef\xbb\xbf# with a mark",
                "server: {}; device: {}; will: {}; spool: {}; delivery: {}; time: {};", "sensors = ();",
                "sensors = [];"};

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(config_freep) Config *config = load_good(*state, texts[i]);

                assert_defaults(config);
        }
}

static char *read_default_file(void)
{
        const char *source = getenv("PLUGD_SOURCE");
        _cleanup_(freep) char *path = text_printf("%s/etc/plugd.conf", source ? source : ".");
        char *text = NULL;

        assert_return_code(file_read(path, CONFIG_FILE_MAX, &text, NULL), 0);
        return text;
}

static void test_default_file(void **state)
{
        _cleanup_(freep) char *text = read_default_file();
        _cleanup_(config_freep) Config *config = load_good(*state, text);

        assert_defaults(config);
}

/* Is there `name =` or `name:`? For the keys of a sensor, the table of them will do. */
static bool stands(const char *text, const char *name)
{
        size_t length = strlen(name);

        for (const char *p = text; (p = strstr(p, name)); p += length) {
                const char *behind = p + length + strspn(p + length, " ");

                if (p > text && strchr(" {#\n", p[-1]) &&
                        (*behind == '=' || *behind == ':' || behind > p + length))
                        return true;
        }
        return false;
}

static void assert_keys_stand(const char *text, const ConfigKey *keys)
{
        for (; keys->name; keys++) {
                if (!stands(text, keys->name))
                        fail_msg("etc/plugd.conf says nothing of %s", keys->name);
                if (keys->keys)
                        assert_keys_stand(text, keys->keys);
        }
}

static void test_default_file_has_every_key(void **state)
{
        _cleanup_(freep) char *text = read_default_file();

        (void) state;
        assert_false(stands(text, "nosuchkey"));
        assert_keys_stand(text, config_keys);
}

/* What is commented out is right too: all of it taken in, only its two ways of logging in clash. The sensors
 * want the real plugins: a scenario takes those in. */
static void test_default_file_examples(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *text = read_default_file();
        const char *sensors = strstr(text, "\nsensors = (");
        size_t n = 0;

        assert_non_null(sensors);
        for (char *p = text; (p = strstr(p, "        //")) && p < sensors; n++)
                memcpy(p + 8, "  ", 2);
        assert_true(n > 6);
        load_bad(fixture, text);
        assert_notes(fixture, "warning: device.enroll.pass_file: there is no file",
                "device.plug_id: there is enroll too", "warning: device.auth_file: there is no file",
                "device.auth_file: there is enroll too");
}

/* --- good ones ----------------------------------------------------------------------------------------- */

static void test_everything(void **state)
{
        _cleanup_(config_freep) Config *config =
                load_good(*state, "server: { host = \"fe80::1%eth0\"; tls = false; keepalive = 0xB4; };\n"
                                  "device: { hwid = \"GW-1\"; name = \"green/house\";\n"
                                  "  enroll: { as = \"controller\"; model = \"" MODEL
                                  "\"; thing = \"HW 2\"; pass = \"a/b==\"; }; };\n"
                                  "will: { channel = \"State/Öl\"; data: { on = false; n = [1, 2]; f = 0.5; "
                                  "s = \"x\\\"y\"; e = {}; };\n"
                                  "  online = (1, -2.0, \"three\", (true)); };\n"
                                  "spool: { max_size = \"1.5G\"; memory = 262144; sync = 0.1; };\n"
                                  "delivery: { confirm = \"none\"; confirm_timeout = 300; };\n"
                                  "time: { wait_sync = false; wait_max = 0; };\n");

        assert_string_equal(config->server.host, "fe80::1%eth0");
        assert_int_equal(config->server.port, 1883);
        assert_false(config->server.tls);
        assert_int_equal(config->server.keepalive_sec, 180);
        assert_string_equal(config->device.hwid, "GW-1");
        assert_string_equal(config->device.name, "green/house");
        assert_int_equal(config->device.enrol_as, ENROL_CONTROLLER);
        assert_string_equal(config->device.model, MODEL);
        assert_string_equal(config->device.thing_hwid, "HW 2");
        assert_string_equal(config->device.pass.text, "a/b==");
        assert_string_equal(config->will.channel, "State/Öl");
        assert_string_equal(
                config->will.data, "{\"on\":false,\"n\":[1,2],\"f\":0.5,\"s\":\"x\\\"y\",\"e\":{}}");
        assert_memory_equal(config->will.online, "[1,-2", 5);
        assert_non_null(strstr(config->will.online, ",\"three\",[true]]"));
        assert_int_equal(config->spool.max_size, UINT64_C(3) << 29);
        assert_int_equal(config->spool.memory, 262144);
        assert_int_equal(config->spool.sync_usec, 100000);
        assert_false(config->delivery.barrier);
        assert_int_equal(config->delivery.timeout_usec, 300 * USEC_PER_SEC);
        assert_int_equal(config->time.wait_sync, TIME_WAIT_NO);
        assert_int_equal(config->time.wait_max_usec, 0);
}

static void test_login_and_files(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *auth = text_printf("%s/my auth", fixture->folder);
        _cleanup_(config_freep) Config *config = NULL;

        write_text(fixture, "my auth", "x");
        write_text(fixture, "ca.pem", "x");
        config = load_good(fixture,
                "server: { tls: { ca = \"ca.pem\"; cert = \"/dev/null\"; key = \"/dev/null\"; }; };\n"
                "device: { plug_id = \"" DEVICE "\"; auth_file = \"my auth\"; };\n"
                "time: { wait_sync = true; };");
        assert_true(config->server.tls);
        assert_int_equal(config->server.port, 8883);
        assert_string_equal(config->server.key, "/dev/null");
        assert_string_equal(config->device.plug_id, DEVICE);
        assert_string_equal(config->device.auth.file, auth);
        assert_null(config->device.auth.text);
        assert_int_equal(config->device.enrol_as, ENROL_NOT);
        assert_int_equal(config->time.wait_sync, TIME_WAIT_YES);
}

/* The pass may come as a systemd credential: that it isn't here is no mistake. */
/* Good, but with nothing to log in with: said where there is a place for it. */
static void test_incomplete(void **state)
{
        static const struct {
                const char *text, *said;
        } cases[] = {
                {"", "plugd.conf:0: not configured: device.enroll (or device.plug_id and device.auth_file) "
                     "is missing"},
                {"server: {};\n\ndevice: { hwid = \"x\"; };",
                        "plugd.conf:3: not configured: device.enroll (or"},
                {"device: {\n enroll: { model = \"" MODEL "\"; }; };",
                        "plugd.conf:2: not configured, unless there is a systemd credential plugd.pass: "
                        "device.enroll.pass_file (or pass) is missing"},
                {"device: {\n plug_id = \"" DEVICE "\"; };",
                        "plugd.conf:2: not configured, unless there is a systemd credential plugd.auth: "
                        "device.auth_file (or auth)"},
                {"device: { enroll: { model = \"" MODEL "\"; pass = \"hush\"; }; };", NULL},
                {"device: { enroll: { model = \"" MODEL "\"; pass_file = \"/dev/null\"; }; };", NULL},
                {"device: { plug_id = \"" DEVICE "\"; auth = \"hush\"; };", NULL},
                {"device: { plug_id = \"" DEVICE "\"; auth_file = \"/dev/null\"; };", NULL},
        };
        Fixture *fixture = *state;
        _cleanup_(config_freep) Config *config = NULL;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                config_free(load_good(fixture, cases[i].text));
                if (cases[i].said ? !fixture->incomplete || !strstr(fixture->incomplete, cases[i].said)
                                  : !!fixture->incomplete)
                        fail_msg("%s: %s", cases[i].text,
                                fixture->incomplete ? fixture->incomplete : "nothing");
        }

        /* Where it stands in what is included. */
        write_text(fixture, "device.conf", "\n\ndevice: {};");
        config = load_good(fixture, "@include \"device.conf\"");
        assert_non_null(strstr(fixture->incomplete, "device.conf:3: not configured: "));
}

static void test_enroll_without_pass(void **state)
{
        _cleanup_(config_freep) Config *config =
                load_good(*state, "device: { enroll: { model = \"" MODEL "\"; }; };");

        assert_int_equal(config->device.enrol_as, ENROL_THING);
        assert_null(config->device.pass.text);
        assert_null(config->device.pass.file);
}

static void test_sensors(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(config_freep) Config *config =
                load_good(fixture, "sensors = (\n"
                                   "  { name = \"one\"; plugin = \"sim\"; },\n"
                                   "  { name = \"Two_2\"; plugin = \"sim\"; channel = \"A/B\"; interval = "
                                   "0.001; rate_limit = 0; wave = "
                                   "\"sine\"; period = 60; count = -5; loud = false; label = \"a\\tb\";\n"
                                   "    lines = ( { name = \"x\"; }, { name = \"\"; line = 63; } ); },\n"
                                   "  { name = \"p\"; plugin = \"pair\"; bus = 1; interval = 86400; }, { "
                                   "name = \"f\"; plugin = "
                                   "\"free\"; } );");
        const SensorConfig *sensor = config->sensors;
        const struct plugd_value *lines;

        assert_int_equal(config->n_sensors, 4);
        assert_string_equal(sensor->name, "one");
        assert_string_equal(sensor->plugin, "sim");
        assert_string_equal(sensor->channel, "one");
        assert_true(sensor->interval_sec == 10 && sensor->rate_limit == 1000);
        assert_ptr_equal(sensor->descriptor, fixture->plugins[0]);
        assert_int_equal(sensor->options.n_settings, 4);
        assert_string_equal(option_of(config, 0, "wave")->string, "counter");
        assert_true(option_of(config, 0, "period")->number == 2.5);
        assert_int_equal(option_of(config, 0, "count")->integer, 0x76);
        assert_int_equal(option_of(config, 0, "loud")->boolean, 1);
        assert_null(group_find(&sensor->options, "label"));

        sensor++;
        assert_string_equal(sensor->channel, "A/B");
        assert_true(sensor->interval_sec == 0.001 && sensor->rate_limit == 0);
        assert_string_equal(option_of(config, 1, "wave")->string, "sine");
        assert_int_equal(option_of(config, 1, "period")->type, PLUGD_NUMBER);
        assert_true(option_of(config, 1, "period")->number == 60);
        assert_int_equal(option_of(config, 1, "count")->integer, -5);
        assert_int_equal(option_of(config, 1, "loud")->boolean, 0);
        assert_string_equal(option_of(config, 1, "label")->string, "a\tb");
        lines = option_of(config, 1, "lines");
        assert_int_equal(lines->type, PLUGD_GROUPS);
        assert_int_equal(lines->count, 2);
        assert_string_equal(group_find(&lines->groups[0], "name")->string, "x");
        assert_int_equal(group_find(&lines->groups[0], "line")->integer, 7);
        assert_int_equal(group_find(&lines->groups[1], "line")->integer, 63);
        assert_int_equal(option_of(config, 2, "bus")->integer, 1);
        assert_int_equal(config->sensors[3].options.n_settings, 0);
}

static void assert_policy(
        const SpoolPolicy *policy, unsigned priority, uint64_t ttl_usec, SpoolFull when_full)
{
        assert_int_equal(policy->priority, priority);
        assert_int_equal(policy->ttl_usec, ttl_usec);
        assert_int_equal(policy->when_full, when_full);
}

/* A sensor's policy is the spool's where it says nothing, wherever the two stand. */
static void test_policies(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(config_freep) Config *config = NULL;

        write_text(fixture, "sensors.d/c.conf",
                "sensors = ( { name = \"c\"; plugin = \"free\"; when_full = \"newest\"; } );");
        config = load_good(fixture,
                "sensors = ( { name = \"a\"; plugin = \"free\"; },\n"
                "  { name = \"b\"; plugin = \"free\"; priority = 9; ttl = 0; when_full = \"oldest\"; } );\n"
                "spool: { priority = 0; ttl = 315360000; when_full = \"thin\"; };");
        assert_policy(&config->spool.policy, 0, 315360000 * USEC_PER_SEC, SPOOL_FULL_THIN);
        assert_int_equal(config->n_sensors, 3);
        assert_policy(&config->sensors[0].policy, 0, 315360000 * USEC_PER_SEC, SPOOL_FULL_THIN);
        assert_policy(&config->sensors[1].policy, 9, 0, SPOOL_FULL_OLDEST);
        assert_policy(&config->sensors[2].policy, 0, 315360000 * USEC_PER_SEC, SPOOL_FULL_NEWEST);
        config_free(config);

        config = load_good(fixture, "sensors = ( { name = \"a\"; plugin = \"free\"; ttl = 0.25; } );");
        assert_policy(&config->sensors[0].policy, 5, USEC_PER_SEC / 4, SPOOL_FULL_OLDEST);
}

/* The host's own keys win: no plugin may have an option of that name. */
static void test_sensor_keys_are_the_hosts(void **state _unused_)
{
        for (const ConfigKey *key = config_sensor_keys; key->name; key++) {
                _cleanup_(freep) char *text =
                        text_printf("{\"abi\":1,\"name\":\"greedy\",\"options\":[{\"name\":\"%s\","
                                    "\"type\":\"integer\"}]}",
                                key->name);
                _cleanup_(freep) char *error = NULL;

                assert_true(group_key_taken(key->name));
                assert_null(descriptor_parse(text, strlen(text), &error));
                assert_non_null(strstr(error, key->name));
        }
}

static void test_sensors_folder(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(config_freep) Config *config = NULL;

        write_text(fixture, "sensors.d/20-b.conf", "sensors = ( { name = \"b\"; plugin = \"free\"; } );");
        write_text(fixture, "sensors.d/10-c.conf", "sensors = ( { name = \"c\"; plugin = \"free\"; } );");
        write_text(fixture, "sensors.d/.hidden.conf", "this is no configuration");
        write_text(fixture, "sensors.d/old.conf~", "this is no configuration");
        write_text(fixture, "sensors.d/.conf", "this is no configuration");
        write_text(fixture, "sensors.d/empty.conf", "");
        config = load_good(fixture, "sensors = ( { name = \"z\"; plugin = \"free\"; } );");
        assert_int_equal(config->n_sensors, 3);
        assert_string_equal(config->sensors[0].name, "z");
        assert_string_equal(config->sensors[1].name, "c");
        assert_string_equal(config->sensors[2].name, "b");
}

static void test_include(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *text = text_printf("// first\n@include \"parts/server.conf\" # behind\n  "
                                                  "@include \"%s/sensors.inc\"\nspool: { sync = 1; };",
                fixture->folder);
        _cleanup_(config_freep) Config *config = NULL;

        write_text(fixture, "parts/server.conf", "server: {\n@include \"host.conf\"\nport = 1; };");
        write_text(fixture, "parts/host.conf", "host = \"included\";");
        write_text(fixture, "sensors.inc", "");
        config = load_good(fixture, text);
        assert_string_equal(config->server.host, "included");
        assert_int_equal(config->server.port, 1);
        assert_int_equal(config->spool.sync_usec, USEC_PER_SEC);

        write_text(fixture, "parts/host.conf", "\n\nhost = 5;");
        load_bad(fixture, "\n@include \"parts/server.conf\"\nwill: { chanel = 1; };\n");
        assert_notes(fixture, "plugd.conf:3: will.chanel: unknown key, did you mean channel?",
                "parts/host.conf:3: server.host: this has to be a string, and is an integer");
        write_text(fixture, "parts/host.conf", "host = ;");
        assert_refused(fixture, "\n@include \"parts/server.conf\"\n", "parts/host.conf:1: syntax error");
        assert_refused(fixture, "\n@include \"nowhere\"\n",
                "plugd.conf:2: nowhere can't be included: No such file");
        assert_refused(
                fixture, "@include \"plugd.conf\"", "plugd.conf:1: files include files deeper than 8");
        assert_refused(fixture, "@include nowhere", "plugd.conf:1: @include wants a file name in quotes");
        assert_refused(fixture, "a = 1; @include \"x\"", "plugd.conf:1: syntax error");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
                cmocka_unit_test_setup_teardown(test_default_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_default_file_has_every_key, setup, teardown),
                cmocka_unit_test_setup_teardown(test_default_file_examples, setup, teardown),
                cmocka_unit_test_setup_teardown(test_everything, setup, teardown),
                cmocka_unit_test_setup_teardown(test_login_and_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_incomplete, setup, teardown),
                cmocka_unit_test_setup_teardown(test_enroll_without_pass, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sensors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_policies, setup, teardown),
                cmocka_unit_test(test_sensor_keys_are_the_hosts),
                cmocka_unit_test_setup_teardown(test_sensors_folder, setup, teardown),
                cmocka_unit_test_setup_teardown(test_include, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
