/* SPDX-License-Identifier: Apache-2.0 */

/* How the gpio plugin finds chips and lines, and what it says when something is in the way. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gpio-fake.h"

#define MACHINE "this machine has gpiochip0 (pinctrl-test, 54 lines), gpiochip1 (expander, 16 lines)"

static GpioChip *pins, *expander;
static FakeHost *host;

static int setup(void **state)
{
        (void) state;
        fake_reset(2);
        pins = fake_chip("gpiochip0", "pinctrl-test", 54);
        expander = fake_chip("gpiochip1", "expander", 16);
        snprintf(pins->lines[17].name, GPIO_NAME_MAX, "GPIO17");
        snprintf(expander->lines[2].name, GPIO_NAME_MAX, "DOOR");
        host = fake_host_new();
        return 0;
}

static int teardown(void **state)
{
        bool released;

        (void) state;
        fake_host_free(host);
        released = fake_all_released();
        fake_end();
        return released ? 0 : -1;
}

static void ask(const char *chip, int line, const char *line_name)
{
        if (chip)
                fake_text(&host->options, "chip", chip);
        if (line >= 0)
                fake_integer(&host->options, "line", line);
        if (line_name)
                fake_text(&host->options, "line_name", line_name);
}

static void expect_error(int error, const char *words)
{
        assert_int_equal(fake_open(host), error);
        assert_string_equal(host->error, words);
        assert_int_equal(host->n_errors, 1);
}

/* --- finding ------------------------------------------------------------------------------------------ */

static void test_ways_to_a_line(void **state)
{
        static const struct {
                const char *chip;
                int line;
                const char *line_name;
                bool on_expander;
                unsigned offset;
        } ways[] = {
                {NULL, 3, NULL, false, 3},
                {"gpiochip1", 3, NULL, true, 3},
                {"1", 3, NULL, true, 3},
                {"/dev/gpiochip1", 3, NULL, true, 3},
                {"/dev/buttons", 3, NULL, true, 3},
                {"buttons", 3, NULL, true, 3},
                {"expander", 3, NULL, true, 3},
                {"pinctrl-test", 53, NULL, false, 53},
                {NULL, -1, "DOOR", true, 2},
                {NULL, -1, "GPIO17", false, 17},
                {"expander", -1, "DOOR", true, 2},
                {"0", 0, NULL, false, 0},
        };

        (void) state;
        for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
                GpioChip *chip = ways[i].on_expander ? expander : pins;

                fake_host_free(host);
                host = fake_host_new();
                ask(ways[i].chip, ways[i].line, ways[i].line_name);
                if (fake_open(host) != 0)
                        fail_msg("way %zu: %s", i, host->error);
                assert_true(chip->lines[ways[i].offset].taken);
                /* Chips that were only looked at are closed again. */
                assert_int_equal(pins->open + expander->open, 1);
                fake_close(host);
        }
}

static void test_lines_on_two_chips(void **state)
{
        (void) state;
        fake_text(fake_line(host, "a"), "line_name", "GPIO17");
        fake_text(fake_line(host, "b"), "line_name", "DOOR");
        fake_text(&host->options, "chip", "");
        fake_integer(fake_line(host, "c"), "line", 4); /* as without the others: of gpiochip0 */
        assert_int_equal(fake_open(host), 0);
        assert_true(pins->lines[17].taken && expander->lines[2].taken && pins->lines[4].taken);
        assert_int_equal(pins->open, 1);
        assert_int_equal(expander->open, 1);
}

/* --- chips -------------------------------------------------------------------------------------------- */

static void test_no_such_chip(void **state)
{
        (void) state;
        ask("gpiochip7", 1, NULL);
        expect_error(-ENOENT, "there is no chip 'gpiochip7': " MACHINE);
        ask("7", 1, NULL);
        assert_int_equal(fake_open(host), -ENOENT);
        assert_string_equal(host->error, "there is no chip '7': " MACHINE);
        ask("/dev/gpiochip7", 1, NULL);
        assert_int_equal(fake_open(host), -ENOENT);
        assert_string_equal(host->error, "there is no chip '/dev/gpiochip7': " MACHINE);
        ask("/dev/null", 1, NULL);
        assert_int_equal(fake_open(host), -ENOTTY);
        assert_string_equal(host->error, "'/dev/null' is no GPIO chip: " MACHINE);
}

static void test_no_chips_at_all(void **state)
{
        (void) state;
        fake_end();
        ask("", 1, NULL);
        expect_error(-ENOENT, "there is no chip 'gpiochip0': this machine has no GPIO chip at all");
        pins = fake_chip("gpiochip0", "late", 2); /* it comes after all, and is tried again */
        expander = fake_chip("gpiochip1", "expander", 16);
        assert_int_equal(fake_open(host), 0);
}

/* In a container, say. */
static void test_no_device(void **state)
{
        (void) state;
        pins->open_error = -ENOENT;
        ask("gpiochip0", 1, NULL);
        expect_error(-ENOENT,
                "the kernel has the chip gpiochip0, but there is no /dev/gpiochip0: a service or a "
                "container has to be given it");
}

static void test_many_chips(void **state)
{
        (void) state;
        for (int i = 2; i < 11; i++) {
                char name[GPIO_NAME_MAX];

                snprintf(name, sizeof(name), "gpiochip%d", i);
                fake_chip(name, "more", 8)->open_error = -EACCES;
        }
        ask("99", 1, NULL);
        expect_error(-ENOENT,
                "there is no chip '99': " MACHINE
                ", gpiochip2, gpiochip3, gpiochip4, gpiochip5, gpiochip6, gpiochip7 and 3 more");
}

static void test_no_permission(void **state)
{
        (void) state;
        pins->open_error = -EACCES;
        fake_explanation = "group gpio only";
        ask("gpiochip0", 1, NULL);
        expect_error(-EACCES, "/dev/gpiochip0: group gpio only");
        pins->open_error = -EPERM;
        assert_int_equal(fake_open(host), -EPERM);
        assert_string_equal(host->error, "/dev/gpiochip0: group gpio only");
        pins->open_error = -EMFILE;
        assert_int_equal(fake_open(host), -EMFILE);
        assert_string_equal(host->error, "cannot open the chip /dev/gpiochip0: Too many open files");
}

static void test_label_of_two(void **state)
{
        (void) state;
        fake_chip("gpiochip2", "expander", 16);
        ask("expander", 1, NULL);
        expect_error(-ENOTUNIQ,
                "2 chips are labelled 'expander', as gpiochip1 and gpiochip2: give the name of one");
}

static void test_label_behind_a_door(void **state)
{
        (void) state;
        expander->open_error = -EACCES;
        ask("nosuch", 1, NULL);
        expect_error(-ENOENT,
                "there is no chip 'nosuch', by name or by label: this machine has gpiochip0 (pinctrl-test, "
                "54 lines), gpiochip1; /dev/gpiochip1: somebody else may open it");
}

/* --- lines -------------------------------------------------------------------------------------------- */

static void test_no_such_line(void **state)
{
        (void) state;
        ask("gpiochip0", 99, NULL);
        expect_error(-ERANGE, "gpiochip0 (pinctrl-test) has 54 lines, 0 to 53: there is no line 99");
        ask("gpiochip0", 54, NULL);
        assert_int_equal(fake_open(host), -ERANGE);
}

static void test_no_such_name(void **state)
{
        (void) state;
        ask(NULL, -1, "BELL");
        expect_error(-ENOENT, "no line is called 'BELL' on any chip: " MACHINE);
        ask("gpiochip0", -1, "DOOR");
        assert_int_equal(fake_open(host), -ENOENT);
        assert_string_equal(host->error, "no line is called 'DOOR' on gpiochip0: " MACHINE);
}

static void test_name_of_two(void **state)
{
        (void) state;
        snprintf(pins->lines[9].name, GPIO_NAME_MAX, "DOOR");
        ask(NULL, -1, "DOOR");
        expect_error(-ENOTUNIQ, "2 lines are called 'DOOR', as line 9 of gpiochip0 and line 2 of gpiochip1: "
                                "give chip and line");
        ask("gpiochip1", -1, "DOOR"); /* on its chip there is one */
        assert_int_equal(fake_open(host), 0);
}

static void test_line_in_use(void **state)
{
        (void) state;
        snprintf(pins->lines[17].consumer, GPIO_NAME_MAX, "led0");
        ask("gpiochip0", 17, NULL);
        expect_error(-EBUSY, "line 17 of gpiochip0 is in use by 'led0': one of the two has to go");
        pins->lines[17].consumer[0] = '\0';
        pins->lines[17].used = true;
        assert_int_equal(fake_open(host), -EBUSY);
        assert_string_equal(host->error, "line 17 of gpiochip0 is in use, by the kernel or a program that "
                                         "does not give its name");
        pins->lines[17].used = false; /* free at last */
        assert_int_equal(fake_open(host), 0);
}

static void test_no_interrupts(void **state)
{
        (void) state;
        pins->lines[4].request_error = -ENODEV;
        fake_number(&host->options, "debounce", 0.01);
        ask("gpiochip0", 4, NULL);
        expect_error(-ENODEV, "line 4 of gpiochip0 (pinctrl-test) makes no interrupts, so it has no edges "
                              "and no debounce: "
                              "with edge = \"none\" and without debounce it is read at the interval");
        pins->lines[4].request_error = -EINVAL;
        assert_int_equal(fake_open(host), -EINVAL);
        assert_string_equal(host->error, "the kernel refuses line 4 of gpiochip0 (pinctrl-test) as an input "
                                         "with these options: Invalid argument");
}

static void test_first_level_fails(void **state)
{
        (void) state;
        pins->lines[4].value_error = -EIO;
        ask("gpiochip0", 4, NULL);
        expect_error(-EIO, "cannot read the level of line 4 of gpiochip0: Input/output error");
}

/* The second line fails: the first is given back, and both are tried again. */
static void test_second_line_fails(void **state)
{
        (void) state;
        fake_text(&host->options, "chip", "gpiochip0");
        fake_integer(fake_line(host, "a"), "line", 1);
        fake_integer(fake_line(host, "b"), "line", 2);
        pins->lines[2].used = true;
        assert_int_equal(fake_open(host), -EBUSY);
        assert_false(pins->lines[1].taken);
        pins->lines[2].used = false;
        assert_int_equal(fake_open(host), 0);
}

/* --- options ------------------------------------------------------------------------------------------ */

static void test_which_line(void **state)
{
        FakeSettings *line;

        (void) state;
        expect_error(-EINVAL,
                "it isn't said which line: give line, its offset on the chip, or line_name, or several in "
                "lines");
        ask(NULL, 3, "DOOR");
        assert_int_equal(fake_open(host), -EINVAL);
        line = fake_line(host, "a");
        assert_int_equal(fake_open(host), -EINVAL);
        assert_string_equal(host->error,
                "lines stands beside line or line_name: put all lines into lines, or have one only");
        fake_host_free(host);
        host = fake_host_new();
        line = fake_line(host, "a");
        expect_error(-EINVAL,
                "line 'a': it isn't said which line: give line, its offset on the chip, or line_name");
        fake_text(line, "line_name", "DOOR");
        assert_int_equal(fake_open(host), 0);
        fake_close(host);
        fake_integer(line, "line", 3);
        assert_int_equal(fake_open(host), -EINVAL);
        assert_string_equal(host->error,
                "line 'a': line and line_name are both there, and mean one line: one of them has to go");
}

static void test_twice(void **state)
{
        (void) state;
        fake_text(fake_line(host, "a"), "line_name", "GPIO17");
        fake_integer(fake_line(host, "b"), "line", 17);
        expect_error(-EINVAL, "line 17 of gpiochip0 is there twice: as 'a' and 'b'");
}

static void test_names_of_channels(void **state)
{
        (void) state;
        fake_integer(fake_line(host, "a"), "line", 1);
        fake_integer(fake_line(host, "a"), "line", 2);
        expect_error(-EEXIST, "two lines have the name 'a'");
        fake_host_free(host);
        host = fake_host_new();
        fake_integer(fake_line(host, "#"), "line", 1);
        expect_error(-EINVAL, "no channel can be called '#': Invalid argument");
}

static void test_too_many(void **state)
{
        (void) state;
        for (int i = 0; i < 257; i++)
                fake_integer(fake_line(host, "a"), "line", 1);
        expect_error(-EINVAL, "there are 257 lines: 1 to 256 go into one sensor");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_ways_to_a_line),
                TEST(test_lines_on_two_chips),
                TEST(test_no_such_chip),
                TEST(test_no_chips_at_all),
                TEST(test_no_device),
                TEST(test_many_chips),
                TEST(test_no_permission),
                TEST(test_label_of_two),
                TEST(test_label_behind_a_door),
                TEST(test_no_such_line),
                TEST(test_no_such_name),
                TEST(test_name_of_two),
                TEST(test_line_in_use),
                TEST(test_no_interrupts),
                TEST(test_first_level_fails),
                TEST(test_second_line_fails),
                TEST(test_which_line),
                TEST(test_twice),
                TEST(test_names_of_channels),
                TEST(test_too_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
