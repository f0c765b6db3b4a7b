/* SPDX-License-Identifier: Apache-2.0 */

/* What a hostile configuration may not do. */

#include "config-fixture.h"

static char *repeat(const char *before, const char *part, size_t n, const char *after)
{
        size_t size = strlen(before) + n * strlen(part) + strlen(after) + 1;
        char *text = malloc(size), *end = text;

        assert_non_null(text);
        end = stpcpy(end, before);
        for (size_t i = 0; i < n; i++)
                end = stpcpy(end, part);
        stpcpy(end, after);
        return text;
}

static void test_hostile_bytes(void **state)
{
        Fixture *fixture = *state;
        Config *config = NULL;

        write_bytes(fixture, "plugd.conf", "a = 1;\nserver: { }\0;", 20);
        assert_int_equal(load(fixture, &config), -EINVAL);
        assert_notes(fixture, "plugd.conf:2: this is not UTF-8 text");
        /* on_report looks for what a terminal would take for orders. */
        load_bad(fixture, "delivery: { confirm = \"\\x1b[2J\"; };");
        load_bad(fixture, "delivery: { confirm = \"\\xc2\\x9b2J\"; };");
        load_bad(fixture, "will: { channel = \"\\x1b]0;x\\x07\"; };");
        load_bad(fixture, "sensors = ( { name = \"\\x1b[31m\\xff\"; plugin = \"\\xfe\"; } );");
        load_bad(fixture, "@include \"\x1b[2J\"");
}

static void test_hostile_sizes(void **state)
{
        Fixture *fixture = *state;
        Config *config = NULL;
        char *text;

        text = repeat("#", "x", CONFIG_FILE_MAX - 1, "");
        config_free(load_good(fixture, text));
        free(text);
        text = repeat("#", "x", CONFIG_FILE_MAX, "");
        write_text(fixture, "plugd.conf", text);
        assert_int_equal(load(fixture, &config), -EFBIG);
        assert_notes(fixture, "plugd.conf:0: can't be read: more than 1 MiB is too much");
        free(text);

        text = repeat("will: { data = ", "(", 20000, ";");
        assert_refused(fixture, text, "plugd.conf:1: brackets go deeper than 16");
        free(text);

        text = repeat("will: { data = \"", "x", 70000, "\"; };");
        load_bad(fixture, text);
        assert_int_equal(fixture->n_notes, 1);
        assert_true(strlen(fixture->notes[0]) < 300);
        free(text);

        text = repeat("delivery: { confirm = \"", "\xc3\xb6", 100000, "\"; };");
        load_bad(fixture, text);
        assert_true(strlen(fixture->notes[0]) < 1200);
        free(text);

        text = repeat("", "x:1,", CONFIG_SETTINGS_MAX, "y=1");
        assert_refused(fixture, text, "plugd.conf:1: there are more than 16384 keys in this file");
        free(text);
}

static void test_hostile_numbers_of_things(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *keys = strdup(""), *sensors = strdup("sensors = (\n");

        for (unsigned i = 0; i < 150; i++)
                text_set(&keys, "%sk%u = 1;\n", keys, i);
        load_bad(fixture, keys);
        assert_int_equal(fixture->n_notes, CONFIG_NOTES_MAX + 1);
        assert_string_equal(
                fixture->notes[CONFIG_NOTES_MAX], "plugd.conf:0: and 50 more mistakes or doubts");

        for (unsigned i = 0; i < CONFIG_SENSORS_MAX; i++)
                text_set(&sensors, "%s%s{ name = \"s%u\"; plugin = \"sim\"; }", sensors, i > 0 ? ",\n" : "",
                        i);
        text_set(&keys, "%s );", sensors);
        config_free(load_good(fixture, keys));
        text_set(&keys, "%s,\n{ name = \"more\"; plugin = \"sim\"; },\n{ name = \"much_more\"; } );",
                sensors);
        assert_refused(fixture, keys, "plugd.conf:258: sensor more: there are more than the 256 sensors");
}

/* Cut anywhere, changed anywhere: an answer and no crash (the sanitizers look on). */
static void test_hostile_mutations(void **state)
{
        static const char bytes[] = "{}[]();,=:\"\\/*#@.-+0xLe\n\xff\x01";
        _cleanup_(freep) char *text = strdup(
                "@include \"none\"\nserver: { port = 0x10; tls: { ca = \"/dev/null\"; }; }; /* c */\n"
                "will: { data = (1, [1.5, -2.0], { a = \"b\\x41\"; }); };\n"
                "sensors = ( { name = \"a\"; plugin = \"sim\"; lines = ( { name = \"x\"; } ); } ); # end\n");
        Fixture *fixture = *state;
        size_t length = strlen(text);

        for (size_t i = 0; i < length; i++) {
                char kept = text[i];

                for (size_t j = 0; j <= strlen(bytes); j += j < 4 ? 1 : 5) {
                        Config *config = NULL;

                        text[i] = bytes[j];
                        write_bytes(fixture, "plugd.conf", text, j == strlen(bytes) ? i : length);
                        if (load(fixture, &config) >= 0)
                                assert_int_equal(fixture->n_errors, 0);
                        else
                                assert_true(fixture->n_errors > 0);
                        config_free(config);
                }
                text[i] = kept;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hostile_bytes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hostile_sizes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hostile_numbers_of_things, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hostile_mutations, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
