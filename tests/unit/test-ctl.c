/* SPDX-License-Identifier: Apache-2.0 */

/* What plugctl prints for people: columns, what may not reach a terminal, values, ages. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "ctl/format.h"
#include "ctl/table.h"

/* What print() writes, as text. */
static char *printed(const Table *table, const char *indent, size_t max)
{
        char *text = NULL;
        size_t size;
        FILE *file = open_memstream(&text, &size);

        assert_non_null(file);
        assert_int_equal(table_print(table, file, indent, max), 0);
        fclose(file);
        return text;
}

#define ASSERT_PRINTS(table, indent, max, expected)                                                         \
        do {                                                                                                \
                _cleanup_(freep) char *text_ = printed(table, indent, max);                                 \
                assert_string_equal(text_, expected);                                                       \
        } while (false)

static const char *const headings[] = {"NAME", "AGE", "WHAT"};

static void test_columns(void **state _unused_)
{
        _cleanup_(table_freep) Table *table = table_new(3, headings, false);

        table_align_right(table, 1);
        table_add(table, STYLE_PLAIN, "door");
        table_add(table, STYLE_PLAIN, "5 s");
        table_add(table, STYLE_PLAIN, "true");
        table_add(table, STYLE_GOOD, "greenhouse");
        table_add(table, STYLE_PLAIN, "12 min");
        table_add(table, STYLE_PLAIN, "21.5 °C");
        table_add(table, STYLE_PLAIN, "x");
        ASSERT_PRINTS(table, "", 0,
                "NAME           AGE  WHAT\n"
                "door           5 s  true\n"
                "greenhouse  12 min  21.5 °C\n"
                "x\n");
        /* Only the last column gives way. */
        ASSERT_PRINTS(table, "> ", 26,
                "> NAME           AGE  WHAT\n"
                "> door           5 s  true\n"
                "> greenhouse  12 min  21.…\n"
                "> x\n");
}

static void test_empty_columns_are_left_out(void **state _unused_)
{
        _cleanup_(table_freep) Table *table = table_new(3, headings, false);
        _cleanup_(table_freep) Table *bare = table_new(2, NULL, false);

        table_add(table, STYLE_PLAIN, "door");
        table_add(table, STYLE_PLAIN, NULL);
        table_add(table, STYLE_PLAIN, "true");
        ASSERT_PRINTS(table, "", 0, "NAME  WHAT\ndoor  true\n");
        /* Without headings the first row counts. */
        table_add(bare, STYLE_PLAIN, "State");
        table_add(bare, STYLE_PLAIN, "online");
        ASSERT_PRINTS(bare, "", 0, "State  online\n");
}

static void test_colors(void **state _unused_)
{
        _cleanup_(table_freep) Table *table = table_new(2, NULL, true);

        table_add(table, STYLE_GOOD, "ok");
        table_add(table, STYLE_PLAIN, "plain");
        table_add(table, STYLE_BAD, "failing");
        table_add(table, STYLE_DIM, "");
        /* Escapes take no columns. */
        ASSERT_PRINTS(table, "", 0, "\033[32mok\033[0m       plain\n\033[31mfailing\033[0m\n");
}

/* Sentences below their rows: broken between words, and never cut. */
static void test_notes(void **state _unused_)
{
        _cleanup_(table_freep) Table *table = table_new(2, NULL, false);

        table_add(table, STYLE_PLAIN, "door");
        table_add(table, STYLE_PLAIN, "5");
        table_add_note(table, STYLE_BAD, "the line is  taken");
        table_add_note(table, STYLE_BAD, "twice\033");
        table_add_note(table, STYLE_BAD, NULL);
        table_add_note(table, STYLE_BAD, "");
        table_add(table, STYLE_PLAIN, "greenhouse");
        table_add(table, STYLE_PLAIN, "12");
        ASSERT_PRINTS(table, "> ", 0,
                "> door        5\n"
                ">     the line is  taken\n"
                ">     twice?\n"
                "> greenhouse  12\n");
        ASSERT_PRINTS(table, "> ", 17,
                "> door        5\n"
                ">     the line is\n"
                ">     taken\n"
                ">     twice?\n"
                "> greenhouse  12\n");
}

/* The last column goes on below itself. */
static void test_wrapped(void **state _unused_)
{
        _cleanup_(table_freep) Table *table = table_new(2, NULL, false);

        table_wrap(table);
        table_add(table, STYLE_PLAIN, "Clock");
        table_add(table, STYLE_BAD, "it is not set, and so two wait");
        table_add(table, STYLE_PLAIN, "plugd");
        table_add(table, STYLE_PLAIN, "1.2.3");
        ASSERT_PRINTS(table, "", 0, "Clock  it is not set, and so two wait\nplugd  1.2.3\n");
        ASSERT_PRINTS(table, "", 37, "Clock  it is not set, and so two wait\nplugd  1.2.3\n");
        ASSERT_PRINTS(table, "> ", 24,
                "> Clock  it is not set,\n"
                ">        and so two wait\n"
                "> plugd  1.2.3\n");
}

static void test_lines(void **state _unused_)
{
        static const struct {
                const char *text;
                size_t max;
                const char *lines;
        } cases[] = {
                {"", 10, ""},
                {"one two", 0, "-one two\n"},
                {"one two", 8, "-one two\n"},
                {"one two", 7, "-one\n-two\n"},
                {"one two ", 8, "-one two\n"},
                {"one   two", 5, "-one\n-two\n"},
                {"a longword b", 5, "-a\n-long\n-word\n-b\n"},
                {"温温 温", 5, "-温温\n-温\n"},
                {"温温温", 4, "-温\n-温\n-温\n"},
                {"温ab", 2, "-温\n-a\n-b\n"}, /* too narrow for any: goes on all the same */
                {"ab", 1, "-a\n-b\n"},
                {" ab", 3, "-\n-ab\n"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text = NULL;
                size_t size;
                FILE *file = open_memstream(&text, &size);

                assert_non_null(file);
                assert_int_equal(
                        style_print_lines(file, false, STYLE_BAD, cases[i].text, "-", cases[i].max), 0);
                fclose(file);
                assert_string_equal(text, cases[i].lines);
        }
}

static void test_wide_text(void **state _unused_)
{
        _cleanup_(table_freep) Table *table = table_new(2, NULL, false);

        assert_int_equal(text_width("°C"), 2);
        assert_int_equal(text_width("温度"), 4);
        assert_int_equal(text_width("e\xcc\x81"), 1); /* a combining accent */
        assert_int_equal(text_width("\xff\xfe"), 2);  /* not UTF-8: byte by byte */
        assert_int_equal(text_width("\xe2\x82"), 2);  /* cut off */
        table_add(table, STYLE_PLAIN, "温度");
        table_add(table, STYLE_PLAIN, "a");
        table_add(table, STYLE_PLAIN, "ab");
        table_add(table, STYLE_PLAIN, "b");
        ASSERT_PRINTS(table, "", 0, "温度  a\nab    b\n");
}

/* A value or an error may come from a stranger: it doesn't get to drive the terminal. */
static void test_clean(void **state _unused_)
{
        static const struct {
                const char *text;
                size_t max;
                const char *clean;
        } cases[] = {
                {"", 0, ""},
                {"plain °C 温", 0, "plain °C 温"},
                {"a\033[2Jb", 0, "a?[2Jb"},
                {"two\nlines\tand\rmore", 0, "two lines and?more"},
                {"\xc2\x9b"
                 "31m",
                        0, "?31m"}, /* the C1 form of ESC [ */
                {"a\xe2\x80\xae"
                 "b",
                        0, "a?b"}, /* right to left from here */
                {"\x7f\x01", 0, "??"},
                {"bad \xff\xc0\xaf utf", 0, "bad ??? utf"},
                {"cut \xe2\x82", 0, "cut ??"},
                {"12345", 5, "12345"},
                {"123456", 5, "1234…"},
                {"温温温", 5, "温温…"},
                {"温温温", 4, "温…"},
                {"123456", 1, "…"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *clean = text_clean(cases[i].text, cases[i].max);

                assert_string_equal(clean, cases[i].clean);
        }
}

static void test_values(void **state _unused_)
{
        static const struct {
                const char *json, *unit, *text;
        } cases[] = {
                {"21.5", "°C", "21.5 °C"},
                {"21.5", NULL, "21.5"},
                {"21.5", "", "21.5"},
                {"3", "", "3"},
                {"-9007199254740993", NULL, "-9007199254740993"},
                {"123456789012.0", NULL, "123456789012"},
                {"1000", "B", "1000 B"},
                {"-5", "B", "-5 B"},
                {"25276510208", "B", "24 GiB"},
                {"1536.5", "B", "1.5 KiB"},
                {"0.58778525229247314", NULL, "0.5877852523"},
                {"1e300", NULL, "1e+300"},
                {"true", NULL, "true"},
                {"null", NULL, "null"},
                {"\"open\"", NULL, "open"},
                {"{\"a\":[1,null]}", NULL, "{\"a\":[1,null]}"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_freep) Json *json = json_parse(cases[i].json, strlen(cases[i].json), NULL);
                _cleanup_(freep) char *text = format_value(json, cases[i].unit);

                assert_non_null(json);
                assert_string_equal(text, cases[i].text);
        }
}

static void test_times(void **state _unused_)
{
        char buffer[48];

        assert_string_equal(format_age(buffer, 0, 1700000000000000), "-");
        assert_string_equal(format_age(buffer, 1700000000000000, 1700000065000000), "1 min 5 s");
        /* The clock was set back since. */
        assert_string_equal(format_age(buffer, 1700000000000000, 1600000000000000), "0 ms");
        assert_int_equal(setenv("TZ", "UTC", 1), 0);
        tzset();
        assert_string_equal(format_time(buffer, 1700000000999999), "2023-11-14 22:13:20");
        assert_string_equal(format_time(buffer, 0), "-");
}

static void test_states(void **state _unused_)
{
        assert_int_equal(format_state_style("online"), STYLE_GOOD);
        assert_int_equal(format_state_style("connecting"), STYLE_BUSY);
        assert_int_equal(format_state_style("refused"), STYLE_BAD);
        assert_int_equal(format_state_style("running"), STYLE_GOOD);
        assert_int_equal(format_state_style("stuck"), STYLE_BAD);
        assert_int_equal(format_state_style("something new"), STYLE_PLAIN);
}

static void test_counts(void **state _unused_)
{
        static const struct {
                uint64_t number;
                const char *text;
        } cases[] = {{0, "0"}, {7, "7"}, {999, "999"}, {1000, "1,000"}, {123456, "123,456"},
                {1234567, "1,234,567"}, {UINT64_MAX, "18,446,744,073,709,551,615"}};
        char text[32];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(format_count(text, cases[i].number), cases[i].text);
}

static void test_outlook(void **state _unused_)
{
        static const struct {
                double hours, bytes, messages;
                uint64_t span;
                const char *text;
        } cases[] = {
                {31.9, 590.4, 0.5725, 86400, "31 h, about 65,000 messages, at today's 590 B/s"},
                {31.9, 590.4, 0.5725, 86399,
                        "31 h, about 65,000 messages, at the 590 B/s of the last 23 h 59 min"},
                {1.5, 100e3, 1000, 300,
                        "90 min, about 5,400,000 messages, at the 98 KiB/s of the last 5 min 0 s"},
                {0, 100, 1, 90000, "less than a minute, about 0 messages, at today's 100 B/s"},
                {100, 0.5, 0.01, 90000, "4 days, about 3,600 messages, at today's 1.8 KiB/h"},
                {5.5 * 365 * 24, 1, 1.0 / 3600, 90000,
                        "5 years, about 48,000 messages, at today's 3.5 KiB/h"},
                {1e300, 1e-290, 1e-295, 90000,
                        "more than 100 years, about 360,000,000 messages, at today's 0 B/h"},
                {1e300, 1, 1e300, 90000,
                        "more than 100 years, about 1,000,000,000,000,000,000 messages, at today's 3.5 "
                        "KiB/h"},
                {-1, 590, 1, 59, "known after a minute"}, {-1, 0, 0, 30, NULL}, {-1, 0, 0, 90000, NULL},
                {0, 0, 0, 0, NULL}, /* a gateway that says nothing of it */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text =
                        format_outlook(cases[i].hours, cases[i].bytes, cases[i].messages, cases[i].span);

                if (cases[i].text)
                        assert_string_equal(text ? text : "", cases[i].text);
                else
                        assert_null(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_columns),
                cmocka_unit_test(test_empty_columns_are_left_out),
                cmocka_unit_test(test_colors),
                cmocka_unit_test(test_notes),
                cmocka_unit_test(test_wrapped),
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_wide_text),
                cmocka_unit_test(test_clean),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_times),
                cmocka_unit_test(test_states),
                cmocka_unit_test(test_counts),
                cmocka_unit_test(test_outlook),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
