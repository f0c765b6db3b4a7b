/* SPDX-License-Identifier: Apache-2.0 */

/* What is wrong with a configuration, where, and in which words. What a hostile one may not do has a
 * test of its own. */

#include "config-fixture.h"

#include <grp.h>

/* --- in general ---------------------------------------------------------------------------------------- */

static void test_five_mistakes(void **state)
{
        Fixture *fixture = *state;

        load_bad(fixture, "sensors = (\n"
                          "  { name = \"door\"; plugin = \"sim\"; perod = 3; },\n"
                          "  { name = \"door\"; plugin = \"nosuch\"; } );\n"
                          "spool: { sync = \"5\"; };\n"
                          "server: {\n"
                          "  port = 70000; };\n"
                          "subscriptions = ();\n");
        assert_notes(fixture,
                "plugd.conf:2: sensor door: perod: unknown option, did you mean period?; sim can have wave, "
                "period, count, loud, label, lines, name, plugin, channel, interval, rate_limit, priority, "
                "ttl, when_full",
                "plugd.conf:3: sensor door: name: there is a sensor of this name already, at plugd.conf:2",
                "plugd.conf:3: sensor door: plugin: there is no plugin nosuch in /plugins",
                "plugd.conf:4: spool.sync: this has to be a number of seconds, as in 60, and is a string",
                "plugd.conf:6: server.port: 70000 is out of range (1 to 65535)",
                "plugd.conf:7: subscriptions: unknown key; this file can have server, device, will, spool, "
                "delivery, time, sensors");
        assert_string_equal(
                fixture->notes[4], "plugd.conf:6: server.port: 70000 is out of range (1 to 65535)");
}

static void test_unreadable(void **state)
{
        Fixture *fixture = *state;
        Config *config = NULL;

        assert_int_equal(load(fixture, &config), -ENOENT);
        assert_notes(fixture, "plugd.conf:0: can't be read: No such file or directory");
        assert_return_code(mkdir(fixture->main, 0700), 0);
        assert_int_equal(load(fixture, &config), -EISDIR);
        assert_notes(fixture, "plugd.conf:0: can't be read: it is a folder");
        assert_return_code(rmdir(fixture->main), 0);
        assert_return_code(mkfifo(fixture->main, 0600), 0);
        assert_int_equal(load(fixture, &config), -EINVAL); /* and doesn't wait for a writer */
        assert_notes(fixture, "plugd.conf:0: can't be read: it is not a regular file");
        assert_null(config);
}

static void test_unreadable_for_this_user(void **state)
{
        Fixture *fixture = *state;
        Config *config = NULL;

        write_text(fixture, "plugd.conf", "");
        assert_return_code(chmod(fixture->main, 0), 0);
        if (geteuid() == 0 && seteuid(65534) < 0)
                skip();
        assert_true(load(fixture, &config) == -EACCES);
        assert_notes(fixture, "plugd.conf:0: can't be read: Permission denied");
        assert_return_code(seteuid(getuid()), 0);
}

static void test_sensors_folder(void **state)
{
        Fixture *fixture = *state;

        /* A syntax error ends the reading of its own file only. */
        write_text(fixture, "sensors.d/a.conf", "sensors = ( { name = \"x\"; plugin = \"free\"; }\n");
        write_text(fixture, "sensors.d/b.conf",
                "\nserver: { port = 1; };\nsensors = ( { name = \"x\"; plugin = \"free\"; } );");
        write_text(fixture, "sensors.d/c.conf", "sensors = (\n { name = \"x\"; plugin = \"free\"; } );");
        assert_refused(fixture, "server: { port = };\nwill: { channel = 1; };", "plugd.conf:1: syntax error",
                "sensors.d/a.conf:1: the ( that opens here is never closed",
                "sensors.d/b.conf:2: server: unknown key; a file in sensors.d can have sensors",
                "sensors.d/c.conf:2: sensor x: name: there is a sensor of this name already, at "
                "sensors.d/b.conf:3");
}

static void test_sensors_folder_unreadable(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *link = text_printf("%s/sensors.d/link.conf", fixture->folder);

        write_text(fixture, "sensors.d/dir.conf/x", "");
        assert_return_code(symlink("nowhere", link), 0);
        assert_refused(fixture, "", "sensors.d/dir.conf:0: can't be read: it is a folder",
                "sensors.d/link.conf:0: can't be read: No such file");
}

static void test_sensors_folder_is_a_file(void **state)
{
        write_text(*state, "sensors.d", "");
        assert_refused(*state, "", "plugd.conf:0: the folder sensors.d can't be read: Not a directory");
}

static void test_syntax(void **state)
{
        static const struct {
                const char *text, *note;
        } cases[] = {
                {"server: {\n host = \"x\"\n port 5;\n};", "plugd.conf:3: syntax error"},
                {"/* one\n two", "plugd.conf:1: the comment that begins here is never closed by */"},
                {"\nserver: { host = \"x;\n};\n",
                        "plugd.conf:2: the string that begins here is never closed"},
                {"server: {\n device: {\n };", "plugd.conf:1: the { that opens here is never closed"},
                {"server: {\n ( };", "plugd.conf:2: a } here, but the ( of line 2 is still open"},
                {"\n};", "plugd.conf:2: this } closes nothing"},
                {"sensors = (\n { name = \"x\"; plugin = \"free\"; },\n);",
                        "plugd.conf:3: the comma before this ) has to go"},
                {"will: { data = [1, 2, ]; };", "plugd.conf:1: the comma before this ] has to go"},
                {"will: { data = [1, \"a\"]; };", "plugd.conf:1: mismatched element type"},
                {"will: { data = 1;\n data = 2; };",
                        "plugd.conf:2: will.data: this key stands there already, at plugd.conf:1: one of "
                        "them has to go"},
                {"will: { data = 1;\n data /**/ = 2; };",
                        "plugd.conf:2: will.data: this key stands there already"},
                {"\nwill: { data = \xe2\x80\x9cx\xe2\x80\x9d; };",
                        "plugd.conf:2: syntax error: a character that can"},
                {"will: { data = \"a\\x00b\"; };", "plugd.conf:1: \\x00 can't be in a string"},
                {"will: { data = 'x'; };", "plugd.conf:1: syntax error"},
                {"\n# \xff\n", "plugd.conf:2: this is not UTF-8 text"},
                {"a = \"\xc3", "plugd.conf:1: this is not UTF-8 text"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                load_bad(*state, cases[i].text);
                assert_notes(*state, cases[i].note);
        }
}

/* Each is told with both its places, and what else is wrong with them. */
static void test_doubles(void **state)
{
        Fixture *fixture = *state;

        assert_refused(fixture,
                "server: {\n  port = 1; tls = { ca = \"/dev/null\";\n  ca\n= \"/dev/null\" };\n  port = 2; "
                "port : 3;\n"
                "  prot = 4; };\n"
                "will: { data = { a = (1, { b = 1; c = true; b = 1 }); b = 2 }; channel = 5; };\n"
                "sensors = ( { name = \"x\"; plugin = \"sim\"; period = 1; period = 2; loud = 3;\n"
                "    lines = ( { name = \"a\" }, { name = \"b\"; line = 1; line = 2 } ); },\n"
                "  { name = \"x\"; plugin = \"sim\" } );\n"
                "server: { port = 5; port = 6; };\n",
                "plugd.conf:3: server.tls.ca: this key stands there already, at plugd.conf:2: one of",
                "plugd.conf:5: server.port: this key stands there already, at plugd.conf:2: one of",
                "plugd.conf:5: server.port: this key stands there already, at plugd.conf:2: one of",
                "plugd.conf:6: server.prot: unknown key, did you mean port?",
                "plugd.conf:7: will.data.a.b: this key stands there already, at plugd.conf:7: one of",
                "plugd.conf:7: will.channel: this has to be a string",
                "plugd.conf:8: sensors.period: this key stands there already, at plugd.conf:8: one of",
                "plugd.conf:8: sensor x: loud: this has to be true or false",
                "plugd.conf:9: sensors.lines.line: this key stands there already, at plugd.conf:9: one of",
                "plugd.conf:10: sensor x: name: there is a sensor of this name already, at plugd.conf:8",
                "plugd.conf:10: warning: sensor x: it publishes to x",
                "plugd.conf:11: server: this key stands there already, at plugd.conf:1: one of",
                "plugd.conf:11: server.port: this key stands there already, at plugd.conf:11: one of");

        write_text(fixture, "more.conf", "\nspool: { sync = 1 };");
        assert_refused(fixture, "spool: { sync = 2 };\n@include \"more.conf\"\n",
                "more.conf:2: spool: this key stands there already, at plugd.conf:1: one of");
        write_text(fixture, "more.conf", "sync = 2; sync = 3");
        assert_refused(fixture, "spool: {\n@include \"more.conf\"\n};\n",
                "more.conf:1: spool.sync: this key stands there already, at more.conf:1: one of");

        /* Nor does a syntax error hide them. */
        assert_refused(fixture, "spool: { sync = 2;\n sync = 2;\n max_size 3; };",
                "plugd.conf:2: spool.sync: this key stands there already, at plugd.conf:1",
                "plugd.conf:3: syntax error");

        /* A name like the one that doubles get is a name as any other. */
        assert_refused(fixture, "**1 = 1;\nspool: { **2 = 2; };", "plugd.conf:1: **1: unknown key",
                "plugd.conf:2: spool.**2: unknown key");
        /* Values aren't keys, nor are the keys of other groups. */
        _cleanup_(config_freep) Config *config = load_good(fixture,
                "will: { data = [true, true, TRUE]; online: { x = true; a: { x = false; }; "
                "b = { a = \"a = 1;\n a = 1\"; X = 0x7e1; }; e = 25e-1; } }");
        assert_string_equal(config->will.online,
                "{\"x\":true,\"a\":{\"x\":false},\"b\":{\"a\":\"a = 1;\\n a = 1\",\"X\":2017},\"e\":2.5}");
}

static void test_lines_behind_comments_and_strings(void **state)
{
        assert_refused(*state,
                "/* a\n b */ # c\n\r\nwill: { data = \"line\nbreak \\\" # no comment\n\"; // x \"\n\n  x = "
                "1;\n};",
                "plugd.conf:8: will.x: unknown key");
}

/* --- numbers ------------------------------------------------------------------------------------------- */

/* libconfig 1.5 would make 1883, 0x76, -1 and so on of these, and say nothing. */
static void test_wide_integers(void **state)
{
        static const struct {
                const char *text, *note;
        } cases[] = {
                {"server: { port = 4294969179; };", "server.port: 4294969179 is out of range (1 to 65535)"},
                {"server: { port = 0x100000076; };", "server.port: 4294967414 is out of range"},
                {"server: { port = 4294969179L; };", "server.port: 4294969179 is out of range"},
                {"server: { port = -4294967295; };", "server.port: -4294967295 is out of range"},
                {"server: { port = 0; };", "server.port: 0 is out of range"},
                {"server: { port = 65536; };", "server.port: 65536 is out of range"},
                {"server: { port = 9223372036854775807; };",
                        "server.port: 9223372036854775807 is out of range"},
                {"server: { port = 9223372036854775808; };", "server.port: this number is too large"},
                {"server: { port = -9223372036854775809LL; };", "server.port: this number is too large"},
                {"server: { port = 0x8000000000000000; };", "server.port: this number is too large"},
                {"server: { port = 0xfffffffffffffffffff; };", "server.port: this number is too large"},
                {"sensors = ({ name = \"a\"; plugin = \"sim\"; count = 4294967297; });",
                        "sensor a: count: 4294967297 is out of range (-5 to 1000)"},
                {"sensors = ({ name = \"a\"; plugin = \"sim\"; count = 0x100000001; });",
                        "sensor a: count: 4294967297 is out of range (-5 to 1000)"},
                {"sensors = ({ name = \"a\"; plugin = \"sim\"; period = 1e400; });",
                        "sensor a: period: this number is too large"},
                {"will: { data = 1e999; };", "will.data: this number is too large"},
                {"spool: { sync = 4294967301; };", "spool.sync: 4294967301 is out of range (0.1 to 3600 s)"},
                {"spool: { memory = 4299161600; };", "spool.memory: 4100M is out of range (256K to 1G)"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                load_bad(*state, cases[i].text);
                assert_notes(*state, cases[i].note);
        }
        /* They don't hide what else is wrong. */
        assert_refused(*state,
                "spool: { sync = 99999999999999999999;\n memory = 99999999999999999999; };\n"
                "will: { data: { a = (1, 99999999999999999999); }; };\n"
                "sensors = ({ name = \"a\"; plugin = \"sim\"; count = 0x7d0; });",
                "plugd.conf:1: spool.sync: this number is too large",
                "plugd.conf:2: spool.memory: this number is too large",
                "plugd.conf:3: will.data.a[1]: this number is too large",
                "plugd.conf:4: sensor a: count: 2000 is out of range");
        _cleanup_(config_freep) Config *config =
                load_good(*state, "will: { data = [4294969179, -1, 0x100000076]; };");
        assert_string_equal(config->will.data, "[4294969179,-1,4294967414]");
}

static void test_ranges(void **state)
{
        static const struct {
                const char *good, *bad, *note;
        } cases[] = {
                {"server: { keepalive = 180; };", "server: { keepalive = 9; };",
                        "server.keepalive: 9 is out of range (10 to 290 s)"},
                {"server: { keepalive = 240.0; };", "server: { keepalive = 1e30; };",
                        "is out of range (10 to 290 s)"},
                {"server: { keepalive = 285; };", "server: { keepalive = 291; };",
                        "out of range (10 to 290 s)"},
                {"spool: { max_size = \"1M\"; };", "spool: { max_size = 1048575; };",
                        "spool.max_size: 1048575 is out of range (1M to 1024G)"},
                {"spool: { max_size = \"1024G\"; };", "spool: { max_size = \"1025G\"; };",
                        "1025G is out of range"},
                {"spool: { memory = \"256K\"; };", "spool: { memory = \"255K\"; };", "255K is out of range"},
                {"spool: { sync = 0.1; };", "spool: { sync = 0.09; };",
                        "0.09 is out of range (0.1 to 3600 s)"},
                {"spool: { sync = 3600; };", "spool: { sync = 3600.5; };", "3600.5 is out of range"},
                {"delivery: { confirm_timeout = 1; };", "delivery: { confirm_timeout = 0; };",
                        "delivery.confirm_timeout: 0 is out of range (1 to 300 s)"},
                {"delivery: { confirm_timeout = 300.0; };", "delivery: { confirm_timeout = -20; };",
                        "-20 is out of range"},
                {"sensors = ({ name = \"a\"; plugin = \"free\"; interval = 0.001; });",
                        "sensors = ({ name = \"a\"; plugin = \"free\"; interval = 0; });",
                        "sensor a: interval: 0 is out of range (0.001 to 86400 s)"},
                {"sensors = ({ name = \"a\"; plugin = \"free\"; rate_limit = 0.5; });",
                        "sensors = ({ name = \"a\"; plugin = \"free\"; rate_limit = -1; });",
                        "sensor a: rate_limit: -1 is out of range (0 to 1000000 samples/s)"},
                {"sensors = ({ name = \"a\"; plugin = \"free\"; priority = 9; });",
                        "sensors = ({ name = \"a\"; plugin = \"free\"; priority = 10; });",
                        "sensor a: priority: 10 is out of range (0 to 9)"},
                {"sensors = ({ name = \"a\"; plugin = \"free\"; ttl = 315360000; });",
                        "sensors = ({ name = \"a\"; plugin = \"free\"; ttl = 315360001; });",
                        "sensor a: ttl: 315360001 is out of range (0 to 315360000 s)"},
                {"spool: { priority = 0; };", "spool: { priority = -1; };",
                        "spool.priority: -1 is out of range (0 to 9)"},
                {"spool: { ttl = 0; };", "spool: { ttl = -0.5; };", "spool.ttl: -0.5 is out of range"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                config_free(load_good(*state, cases[i].good));
                load_bad(*state, cases[i].bad);
                assert_notes(*state, cases[i].note);
        }
}

static void test_types(void **state)
{
        static const struct {
                const char *text, *note;
        } cases[] = {
                {"server = 5;", "server: this has to be a group { … }, and is an integer"},
                {"server: { host = 1; };", "server.host: this has to be a string, and is an integer"},
                {"server: { port = \"8883\"; };", "server.port: this has to be an integer, and is a string"},
                {"server: { port = 8883.0; };",
                        "server.port: this has to be an integer, and is a number with"},
                {"server: { tls = 1; };",
                        "server.tls: this has to be true, false or a group { ca, cert, key }"},
                {"server: { tls: { ca = true; }; };",
                        "server.tls.ca: this has to be a string, and is true or"},
                {"server: { tls: { ca = \"\"; }; };", "server.tls.ca: this has to be the name of a file"},
                {"spool: { max_size = \"64X\"; };", "spool.max_size: \"64X\" is no size"},
                {"spool: { max_size = \"64m\"; };", "spool.max_size: \"64m\" is no size (bytes, or a number "
                                                    "and a capital K, M or G, as in "
                                                    "\"64M\")"},
                {"spool: { ttl = \"1h\"; };",
                        "spool.ttl: this has to be a number of seconds, as in 60, and is a string"},
                {"server: { keepalive = \"4m\"; };", "server.keepalive: this has to be a whole number of "
                                                     "seconds, as in 60, and is a string"},
                {"spool: { max_size = \"\"; };", "spool.max_size: \"\" is no size"},
                {"spool: { max_size = \"99999999999999999999G\"; };", "is no size"},
                {"spool: { max_size = -1; };", "spool.max_size: -1 is no size"},
                {"spool: { max_size = 1.5; };", "spool.max_size: this has to be a size"},
                {"delivery: { confirm = \"maybe\"; };",
                        "delivery.confirm: \"maybe\" is none of none|barrier"},
                {"delivery: { confirm = true; };", "delivery.confirm: this has to be a string"},
                {"time: { wait_sync = \"yes\"; };",
                        "time.wait_sync: this has to be \"auto\", true or false"},
                {"time: { wait_max = 86401; };", "time.wait_max"},
                {"time: { wait_max = -1; };", "time.wait_max"},
                {"time: { wait_sync = 1; };", "time.wait_sync: this has to be \"auto\", true or false"},
                {"device: { enroll = true; };", "device.enroll: this has to be a group"},
                {"sensors: { };", "sensors: this has to be a list ( { … }, … ), and is a group"},
                {"sensors = [ 1 ];", "sensors: this has to be a list"},
                {"sensors = ( 1 );", "sensor number 1: this has to be a group { … }, and is an integer"},
                {"properties: { };", "properties: unknown key; this file can have server"},
                {"a-b*c = 1;", "a-b*c: unknown key"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                load_bad(*state, cases[i].text);
                assert_notes(*state, cases[i].note);
        }
}

/* --- single keys --------------------------------------------------------------------------------------- */

static void test_server(void **state)
{
        static const char *const hosts[] = {"", " ", "my host", "host\\n", "-x", ".x", "a..b", "h\xc3\xb6st",
                "mqtts://host", "host:8883", "[::1]", "fe80::zz", "fe80::1%", "::1%a/b", "a%b", "a/b",
                "user@host", "a\\x07"};
        Fixture *fixture = *state;

        for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
                _cleanup_(freep) char *text = text_printf("server: { host = \"%s\"; };", hosts[i]);

                load_bad(fixture, text);
                assert_notes(fixture, "plugd.conf:1: server.host: ");
        }
        assert_refused(
                fixture, "server: { host = \"h:1\"; };", "\"h:1\" has a port: write that as server.port");
        assert_refused(fixture, "server: { host = \"tcp://h\"; };", "is a URL");
        assert_refused(fixture, "server: {\n tls: {\n cert = \"/dev/null\"; }; };",
                "plugd.conf:2: server.tls: cert and key come together, and key is missing");
        assert_refused(fixture, "server: { tls: { key = \"/dev/null\"; }; };", "and cert is missing");
        assert_warned(fixture, "server: { keepalive = 179; };",
                "plugd.conf:1: warning: server.keepalive: 179 s: the platform wants to hear a device every "
                "3 to 5");
        assert_warned(fixture, "server: { keepalive = 286; };", "warning: server.keepalive: 286 s");
        assert_warned(fixture, "server: { port = 1883; };", "warning: server.port: 1883 is where");
        assert_warned(fixture, "server: { tls: { ca = \"nowhere.pem\"; }; };",
                "warning: server.tls.ca: there is no file nowhere.pem");
}

static void test_device(void **state)
{
        static const struct {
                const char *text, *note;
        } cases[] = {
                {"hwid = \"a/b\";", "device.hwid: "},
                {"hwid = \"\";", "device.hwid: "},
                {"hwid = \"a\\x01\";", "device.hwid: there is a control character in this"},
                {"hwid = \"\\xff\";", "device.hwid: this is not UTF-8 text"},
                {"name = \"a\\nb\";", "device.name: there is a control character"},
                {"enroll: { };", "device.enroll: model is missing: the Plug-ID of the production template"},
                {"enroll: { model = \"mod-1\"; };",
                        "device.enroll.model: \"mod-1\" is not the Plug-ID of a"},
                {"enroll: { model = \"" DEVICE "\"; };", "is not the Plug-ID of a production template"},
                {"enroll: { as = \"Thing\"; model = \"" MODEL "\"; };",
                        "device.enroll.as: \"Thing\" is none of thing|controller"},
                {"enroll: { as = \"controller\"; model = \"" MODEL "\"; };",
                        "device.enroll: thing is missing"},
                {"enroll: { thing = \"x\"; model = \"" MODEL "\"; };",
                        "device.enroll.thing: only a controller has a thing"},
                {"enroll: { as = \"controller\"; thing = \"x/y\"; model = \"" MODEL "\"; };",
                        "device.enroll.thing: "},
                {"enroll: { model = \"" MODEL "\"; pass = \"x\"; pass_file = \"/dev/null\"; };",
                        "device.enroll.pass_file: pass is there too"},
                {"enroll: { model = \"" MODEL "\"; pas = \"x\"; };", "unknown key, did you mean pass?"},
                {"plug_id = \"dev-1\";", "device.plug_id: \"dev-1\" is not the Plug-ID of a device"},
                {"plug_id = \"mod-0123456789abcdef01234567\";", "is not the Plug-ID of a device"},
                {"auth = \"x\";", "device.auth: plug_id, which this belongs to, is missing"},
                {"auth_file = \"/dev/null\";",
                        "device.auth_file: plug_id, which this belongs to, is missing"},
                {"plug_id = \"" DEVICE "\"; auth = \"\";", "device.auth: this is empty"},
                {"plug_id = \"" DEVICE "\"; auth = \"x\"; auth_file = \"/dev/null\";",
                        "device.auth_file: auth is there too"},
                {"enroll: { model = \"" MODEL "\"; }; plug_id = \"" DEVICE "\";",
                        "device.plug_id: there is enroll too"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text = text_printf("device: {\n%s };", cases[i].text);

                load_bad(*state, text);
                assert_notes(*state, cases[i].note);
                assert_non_null(strstr(((Fixture *) *state)->notes[0], "plugd.conf:"));
        }
}

/* Whatever is wrong with a secret, it isn't told. */
static void test_secrets(void **state)
{
        static const char *const texts[] = {
                "enroll: { model = \"" MODEL "\"; pass = \"hush+hush\"; };",
                "enroll: { model = \"" MODEL "\"; pass = \"hush#\"; };",
                "enroll: { model = \"" MODEL "\"; pass = \"\"; };",
                "enroll: { model = \"" MODEL "\"; pass = \"hush\\x01\"; };",
                "enroll: { model = \"" MODEL "\"; pass = \"hush\\xff\"; };",
                "enroll: { model = \"" MODEL "\"; pass = (\"hush\"); };",
                "plug_id = \"" DEVICE "\"; auth = \"hush\\x7f\";",
                "plug_id = \"" DEVICE "\"; auth = { hush = \"hush\"; };",
                "auth = \"hush\"; auth_file = \"/dev/null\";",
                "plug_id = \"" DEVICE "\"; auth = \"hush;",
                "plug_id = \"" DEVICE "\"; auth = hush;",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(freep) char *text = text_printf("device: { %s };", texts[i]);

                load_bad(*state, text);
                assert_false(noted(*state, "hush"));
        }
}

static void test_secret_that_others_may_read(void **state)
{
        static const char *const secrets[] = {"enroll: { model = \"" MODEL "\"; pass = \"hush\"; };",
                "plug_id = \"" DEVICE "\"; auth = \"hush\";"};
        static const struct {
                mode_t mode;
                gid_t group; /* as root only */
                bool warned;
        } cases[] = {{0600, 0, false}, {0400, 31313, false}, {0640, 0, false}, {0604, 0, true},
                {0644, 0, true}, {0640, 31313, true}};
        const bool service = geteuid() == 0 && getgrnam("plugd");
        Fixture *fixture = *state;

        for (size_t i = 0; i < ELEMENTSOF(secrets); i++) {
                _cleanup_(freep) char *text = text_printf("device: { %s };", secrets[i]);

                write_text(fixture, "plugd.conf", "@include \"device.conf\"");
                write_text(fixture, "device.conf", text);
                for (size_t j = 0; j < ELEMENTSOF(cases); j++) {
                        _cleanup_(freep) char *path = text_printf("%s/device.conf", fixture->folder);
                        Config *config = NULL;

                        if (geteuid() == 0)
                                assert_return_code(chown(path, 0, cases[j].group), 0);
                        else if (cases[j].group != 0)
                                continue;
                        assert_return_code(chmod(path, cases[j].mode), 0);
                        assert_return_code(load(fixture, &config), 0);
                        config_free(config);
                        assert_int_equal(fixture->n_notes, cases[j].warned);
                        assert_int_equal(noted(fixture, "device.conf:1: warning: device."), cases[j].warned);
                        assert_int_equal(
                                noted(fixture,
                                        service ? "others may read device.conf: chgrp plugd device.conf, "
                                                  "then "
                                                  "chmod 640 device.conf"
                                                : "others may read device.conf: chmod 600 device.conf"),
                                cases[j].warned);
                        assert_false(noted(fixture, "hush"));
                }
        }
}

/* Their group is nobody's here, and plugd runs as them. */
static void test_secret_of_a_user(void **state)
{
        Fixture *fixture = *state;
        Config *config = NULL;

        if (geteuid() != 0)
                skip();
        write_text(fixture, "plugd.conf", "device: { plug_id = \"" DEVICE "\"; auth = \"hush\"; };");
        assert_return_code(chown(fixture->main, 31313, 31313), 0);
        assert_return_code(chmod(fixture->main, 0644), 0);
        assert_return_code(load(fixture, &config), 0);
        config_free(config);
        assert_notes(fixture, "plugd.conf:1: warning: device.auth: this is a secret, and others may read "
                              "plugd.conf: chmod 600 plugd.conf");
}

static void test_will(void **state)
{
        static const char *const channels[] = {"", "/", "a/", "/a", "a//b", "a/+", "#", "a\\nb", "\\xff"};

        for (size_t i = 0; i < ELEMENTSOF(channels); i++) {
                _cleanup_(freep) char *text = text_printf("will: {\n channel = \"%s\"; };", channels[i]);

                load_bad(*state, text);
                assert_notes(*state, "plugd.conf:2: will.channel: ");
        }
        assert_refused(
                *state, "will: { data: { a = \"\\xff\"; }; };", "will.data.a: this is not UTF-8 text");
        assert_refused(*state, "will: { data: { a = (1, \"\\xff\"); }; };",
                "will.data.a[1]: this is not UTF-8 text");
}

/* --- sensors ------------------------------------------------------------------------------------------- */

static void test_sensors(void **state)
{
        static const struct {
                const char *text, *note;
        } cases[] = {
                {"{ plugin = \"free\"; }",
                        "plugd.conf:2: sensor number 1: name is missing: what the sensor"},
                {"{ name = \"a\"; }", "plugd.conf:2: sensor a: plugin is missing: what reads it"},
                {"{ name = \"\"; plugin = \"free\"; }", "sensor number 1: name: \"\" is no name"},
                {"{ name = \"a-b\"; plugin = \"free\"; }",
                        "sensor a-b: name: \"a-b\" is no name: 1 to 64 of"},
                {"{ name = \"\xc3\xb6\"; plugin = \"free\"; }", "is no name"},
                {"{ name = \"a.b\"; plugin = \"free\"; }", "is no name"},
                {"{ name = \"a123456789a123456789a123456789a123456789a123456789a123456789a1234\"; plugin = "
                 "\"free\"; }",
                        "is no name"},
                {"{ name = 5; plugin = \"free\"; }", "name: this has to be a string"},
                {"{ name = \"a\"; plugin = \"../free\"; }", "sensor a: plugin: \"../free\" is no name"},
                {"{ name = \"a\"; plugin = \"\"; }", "sensor a: plugin: \"\" is no name"},
                {"{ name = \"a\"; plugin = \"nosuch\"; what = 1; }",
                        "sensor a: plugin: there is no plugin nosuch"},
                {"{ name = \"a\"; plugin = \"free\"; channel = \"a/#\"; }", "sensor a: channel: "},
                {"{ name = \"a\"; plugin = \"free\"; interval = \"10\"; }",
                        "sensor a: interval: this has to be a"},
                {"{ name = \"a\"; plugin = \"free\"; zone = 5; }",
                        "sensor a: zone: unknown option; free can have name, plugin, channel, interval, "
                        "rate_limit, priority, ttl, when_full"},
                {"{ name = \"a\"; plugin = \"free\"; when_full = \"random\"; }",
                        "sensor a: when_full: \"random\" is none of oldest|newest|thin"},
                {"{ name = \"a\"; plugin = \"free\"; priority = 5.5; }",
                        "sensor a: priority: this has to be an integer"},
                {"{ name = \"a\"; plugin = \"free\"; intervall = 5; }",
                        "sensor a: intervall: unknown option, did you mean interval?"},
                {"{ name = \"a\"; plugin = \"sim\"; Wave = \"sine\"; }", "did you mean wave?"},
                {"{ name = \"a\"; plugin = \"sim\"; wvae = \"sine\"; }", "did you mean wave?"},
                {"{ name = \"a\"; plugin = \"sim\"; wave = \"saw\"; }",
                        "sensor a: wave: \"saw\" is none of counter|sine"},
                {"{ name = \"a\"; plugin = \"sim\"; wave = 1; }", "sensor a: wave: this has to be a string"},
                {"{ name = \"a\"; plugin = \"sim\"; period = 60.5; }",
                        "sensor a: period: 60.5 is out of range (0 to 60 s)"},
                {"{ name = \"a\"; plugin = \"sim\"; count = 1.0; }",
                        "sensor a: count: this has to be an integer"},
                {"{ name = \"a\"; plugin = \"sim\"; loud = 1; }",
                        "sensor a: loud: this has to be true or false"},
                {"{ name = \"a\"; plugin = \"sim\"; label = \"\\xff\"; }",
                        "sensor a: label: this is not UTF-8"},
                {"{ name = \"a\"; plugin = \"pair\"; }",
                        "sensor a: bus is missing: the number of the I2C bus"},
                {"{ name = \"a\"; plugin = \"sim\"; lines = { name = \"x\"; }; }",
                        "sensor a: lines: this has to be a list ( { … }, … ), and is a group"},
                {"{ name = \"a\"; plugin = \"sim\"; lines = ( 5 ); }",
                        "sensor a: lines[0]: this has to be a group { … }, and is an integer"},
                {"{ name = \"a\"; plugin = \"sim\"; lines = ( { name = \"x\"; }, { line = 64; } ); }",
                        "sensor a: lines[1]: name is missing: what it is called"},
                {"{ name = \"a\"; plugin = \"sim\"; lines = ( { name = \"x\"; lin = 6; } ); }",
                        "sensor a: lines[0].lin: unknown option, did you mean line?; lines can have name, "
                        "line"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text = text_printf("sensors = (\n%s );", cases[i].text);

                load_bad(*state, text);
                if (!strstr(((Fixture *) *state)->notes[0], cases[i].note))
                        fail_msg("expected %s, got %s", cases[i].note, ((Fixture *) *state)->notes[0]);
                /* One mistake, one message: but the line that is out of range beside a missing name. */
                assert_int_equal(((Fixture *) *state)->n_notes, 1 + !!strstr(cases[i].text, "64;"));
        }
}

/* A full channel is the plugin's too: together they may be too long. */
static void test_long_channel(void **state)
{
        char channel[201], text[400];

        memset(channel, 'x', sizeof(channel) - 1);
        channel[200] = '\0';
        snprintf(text, sizeof(text), "sensors = ({ name = \"a\"; plugin = \"sim\"; channel = \"%s\"; });",
                channel);
        config_free(load_good(*state, text));
        snprintf(text, sizeof(text),
                "sensors = ({ name = \"a\"; plugin = \"pair\"; bus = 1; channel = \"%s\"; });", channel);
        load_bad(*state, text);
        assert_int_equal(((Fixture *) *state)->n_notes, 1);
}

static void test_shared_channel(void **state)
{
        Fixture *fixture = *state;

        assert_warned(fixture,
                "sensors = ( { name = \"one\"; plugin = \"sim\"; channel = \"X/a\"; },\n"
                "{ name = \"two\"; plugin = \"pair\"; bus = 1; channel = \"X\"; },\n"
                "{ name = \"X\"; plugin = \"sim\"; } );",
                "plugd.conf:2: warning: sensor two: it publishes to X/a, as sensor one at plugd.conf:1 "
                "does");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_five_mistakes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unreadable_for_this_user, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sensors_folder, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sensors_folder_unreadable, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sensors_folder_is_a_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_syntax, setup, teardown),
                cmocka_unit_test_setup_teardown(test_doubles, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lines_behind_comments_and_strings, setup, teardown),
                cmocka_unit_test_setup_teardown(test_wide_integers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
                cmocka_unit_test_setup_teardown(test_types, setup, teardown),
                cmocka_unit_test_setup_teardown(test_server, setup, teardown),
                cmocka_unit_test_setup_teardown(test_device, setup, teardown),
                cmocka_unit_test_setup_teardown(test_secrets, setup, teardown),
                cmocka_unit_test_setup_teardown(test_secret_that_others_may_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_secret_of_a_user, setup, teardown),
                cmocka_unit_test_setup_teardown(test_will, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sensors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_long_channel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_shared_channel, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
