/* SPDX-License-Identifier: Apache-2.0 */

/* The gpio plugin over chips that do as they are told: what it publishes, when, in which order, how often.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gpio-fake.h"

#define START FAKE_START

static GpioChip *chip;
static GpioLine *pin; /* line 17, as the sensor of most tests */

static int setup_version(int version)
{
        fake_reset(version);
        chip = fake_chip("gpiochip0", "pinctrl-test", 54);
        pin = chip->lines + 17;
        return 0;
}

static int setup_v1(void **state)
{
        (void) state;
        return setup_version(1);
}

static int setup_v2(void **state)
{
        (void) state;
        return setup_version(2);
}

static int teardown(void **state)
{
        bool released = fake_all_released();

        (void) state;
        fake_end();
        return released ? 0 : -1;
}

static FakeHost *new_door(void)
{
        FakeHost *host = fake_host_new();

        fake_text(&host->options, "chip", "gpiochip0");
        fake_integer(&host->options, "line", 17);
        return host;
}

static FakeHost *open_host(FakeHost *host)
{
        assert_int_equal(fake_open(host), 0);
        assert_string_equal(host->error, "");
        return host;
}

/* Moves the clock, too. */
static void edge_at(bool high, int64_t when_ns)
{
        fake_now_ns = when_ns;
        fake_pin(pin, high, when_ns);
}

/* What was lost is told at the end at the latest. */
static void free_unwarned(FakeHost *host)
{
        fake_close(host);
        assert_string_equal(host->warning, "");
        fake_host_free(host);
}

/* --- the beginning ------------------------------------------------------------------------------------ */

static void test_initial_value(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        pin->high = true;
        open_host(host);
        assert_int_equal(host->n_channels, 1);
        assert_string_equal(host->channels[0], "value");
        assert_int_equal(pin->settings.edge, GPIO_EDGE_BOTH);
        assert_int_equal(pin->settings.bias, GPIO_BIAS_AS_IS);
        assert_false(pin->settings.active_low);
        assert_int_equal(pin->settings.debounce_usec, 0);
        fake_expect_no_more(host);
        assert_false(fake_pending(host)); /* nothing has happened */

        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START);
        fake_expect_no_more(host);
        assert_false(fake_pending(host));
        fake_host_free(host);
}

static void rise_once(GpioLine *line)
{
        fake_now_ns += MSEC;
        fake_pin(line, true, fake_now_ns);
        fake_now_ns += MSEC;
}

/* It rises after the line was taken and before its level is read: the level says so, the edge says nothing
 * new. */
static void test_edge_before_the_first_level(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        fake_on_request = rise_once;
        open_host(host);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START);
        fake_expect_no_more(host);

        edge_at(false, START + 10 * MSEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START + 10 * MSEC);
        fake_expect_no_more(host);
        free_unwarned(host);
}

static void pulse_once(GpioLine *line)
{
        fake_pin(line, true, START + MSEC);
        fake_pin(line, false, START + 2 * MSEC);
        fake_now_ns = START + 3 * MSEC;
}

static void test_pulse_before_the_first_level(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        fake_on_request = pulse_once;
        open_host(host);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect(host, 0, false, START + 2 * MSEC);
        fake_expect_no_more(host);
        free_unwarned(host);
}

/* Between open() and the first read(). */
static void test_edge_before_the_first_read(void **state)
{
        FakeHost *host = open_host(new_door());

        (void) state;
        edge_at(true, START + MSEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

/* --- edges and levels --------------------------------------------------------------------------------- */

static FakeHost *started(FakeHost *host)
{
        open_host(host);
        assert_int_equal(fake_read(host), 0);
        host->n_seen = host->n_samples;
        return host;
}

static void test_edges(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        for (int64_t i = 0; i < 10; i++)
                edge_at(i % 2 == 0, START + (i + 1) * MSEC);
        assert_true(fake_pending(host));
        assert_int_equal(fake_read(host), 0);
        for (int64_t i = 0; i < 10; i++)
                fake_expect(host, 0, i % 2 == 0, START + (i + 1) * MSEC);
        fake_expect_no_more(host); /* by event, the level isn't said beside the edges */
        assert_false(fake_pending(host));
        fake_host_free(host);
}

static void test_interval(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        fake_now_ns = START + 10 * GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, fake_now_ns);
        edge_at(true, START + 11 * GPIO_NSEC_PER_SEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + 11 * GPIO_NSEC_PER_SEC);
        fake_now_ns = START + 20 * GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, fake_now_ns);
        fake_expect_no_more(host);
        fake_host_free(host);
}

/* While the level is read at the interval, an edge comes: it is told, with its own time, before the level.
 */
static void test_edge_during_interval(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        fake_now_ns = START + GPIO_NSEC_PER_SEC;
        fake_on_value = rise_once;
        assert_int_equal(fake_read(host), 0);
        fake_on_value = NULL;
        fake_expect(host, 0, true, START + GPIO_NSEC_PER_SEC + MSEC);
        fake_expect(host, 0, true, START + GPIO_NSEC_PER_SEC + 2 * MSEC);
        host->n_seen = host->n_samples;
        edge_at(false, START + 2 * GPIO_NSEC_PER_SEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START + 2 * GPIO_NSEC_PER_SEC);
        fake_expect_no_more(host);
        free_unwarned(host);
}

/* The level has changed, and its edge is still on its way through the kernel: told once. */
static void test_edge_later_than_level(void **state)
{
        FakeHost *host = started(new_door());
        GpioSettings settings = pin->settings;

        (void) state;
        fake_now_ns = START + GPIO_NSEC_PER_SEC;
        pin->settings.edge = GPIO_EDGE_NONE;
        fake_pin(pin, true, fake_now_ns - 1000); /* no event yet */
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, fake_now_ns);
        fake_now_ns += MSEC;
        pin->settings = settings;
        pin->high = false;
        fake_pin(pin, true, START + GPIO_NSEC_PER_SEC - 1000); /* here it is */
        assert_int_equal(fake_read(host), 0);
        fake_expect_no_more(host);

        edge_at(false, START + 2 * GPIO_NSEC_PER_SEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START + 2 * GPIO_NSEC_PER_SEC);
        fake_expect_no_more(host);
        free_unwarned(host);
}

static void test_one_direction(void **state)
{
        static const char *const words[] = {"rising", "falling"};

        (void) state;
        for (int falling = 0; falling < 2; falling++) {
                FakeHost *host = new_door();

                fake_now_ns = START;
                pin->high = false;
                fake_text(&host->options, "edge", words[falling]);
                started(host);
                assert_int_equal(pin->settings.edge, falling ? GPIO_EDGE_FALLING : GPIO_EDGE_RISING);
                for (int64_t i = 0; i < 6; i++)
                        edge_at(i % 2 == 0, START + (i + 1) * MSEC);
                assert_int_equal(fake_read(host), 0);
                for (int64_t i = falling; i < 6; i += 2)
                        fake_expect(host, 0, !falling, START + (i + 1) * MSEC);
                fake_expect_no_more(host);
                assert_int_equal(host->n_warnings, 0);

                fake_now_ns += MSEC; /* the level at the interval is what it is */
                assert_int_equal(fake_read(host), 0);
                fake_expect(host, 0, false, fake_now_ns);
                fake_host_free(host);
        }
}

static void rise_then_fall(GpioLine *line)
{
        fake_now_ns += MSEC;
        fake_pin(line, line->values_asked % 2 == 0, fake_now_ns);
}

/* Edges in one direction don't say what the level is: where one came in between, it is read once more. */
static void test_level_beside_rising_edges(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        fake_text(&host->options, "edge", "rising");
        started(host);
        assert_int_equal(pin->values_asked, 1);
        fake_on_value = rise_then_fall;
        assert_int_equal(fake_read(host), 0);
        fake_on_value = NULL;
        fake_expect(host, 0, true, START + MSEC);
        fake_expect(host, 0, false, START + MSEC);
        fake_expect_no_more(host);
        free_unwarned(host);
}

static void test_no_edges(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        fake_text(&host->options, "edge", "none");
        started(host);
        assert_int_equal(pin->settings.edge, GPIO_EDGE_NONE);
        edge_at(true, START + MSEC);
        assert_false(fake_pending(host));
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

static void test_active_low(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        fake_boolean(&host->options, "active_low", true);
        fake_text(&host->options, "edge", "rising");
        fake_text(&host->options, "bias", "pull-up");
        pin->high = true;
        open_host(host);
        assert_int_equal(pin->settings.bias, GPIO_BIAS_PULL_UP);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START);
        edge_at(false, START + MSEC); /* the button is pressed */
        edge_at(true, START + 2 * MSEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

/* --- debouncing --------------------------------------------------------------------------------------- */

static FakeHost *new_debounced(const char *edge)
{
        FakeHost *host = new_door();

        fake_number(&host->options, "debounce", 0.02);
        fake_text(&host->options, "edge", edge);
        return host;
}

static void bounce(bool level, int64_t from_ns)
{
        for (int64_t i = 0; i < 5; i++)
                edge_at((i % 2 == 0) == level, from_ns + i * MSEC);
}

static void test_kernel_debounces(void **state)
{
        FakeHost *host = started(new_debounced("rising"));

        (void) state;
        assert_int_equal(pin->settings.debounce_usec, 20000);
        assert_int_equal(pin->settings.edge, GPIO_EDGE_RISING);
        edge_at(true, START + MSEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

static void test_debounce(void **state)
{
        FakeHost *host = started(new_debounced("both"));

        (void) state;
        assert_int_equal(pin->settings.edge, GPIO_EDGE_BOTH);
        bounce(true, START + 100 * MSEC); /* settles at 104 ms */
        assert_int_equal(fake_read(host), 0);
        fake_expect_no_more(host);

        fake_now_ns = START + 110 * MSEC; /* the interval falls in between: what counts is still low */
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, fake_now_ns);

        fake_now_ns = START + 124 * MSEC - 1;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, fake_now_ns);
        fake_now_ns = START + 124 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + 104 * MSEC); /* first what is due, then the interval's level */
        fake_expect(host, 0, true, fake_now_ns);
        fake_expect_no_more(host);

        bounce(false, START + 200 * MSEC);
        bounce(true, START + 210 * MSEC); /* a dip that didn't hold */
        fake_now_ns = START + 300 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect_no_more(host);
        free_unwarned(host);
}

/* Taken late: what held between two edges of one batch is told. */
static void test_debounce_late(void **state)
{
        FakeHost *host = started(new_debounced("both"));

        (void) state;
        edge_at(true, START + 100 * MSEC);
        edge_at(false, START + 200 * MSEC);
        edge_at(true, START + 300 * MSEC);
        fake_now_ns = START + 310 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + 100 * MSEC);
        fake_expect(host, 0, false, START + 200 * MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

static void test_debounce_one_direction(void **state)
{
        FakeHost *host = started(new_debounced("falling"));

        (void) state;
        assert_int_equal(pin->settings.edge, GPIO_EDGE_BOTH);
        edge_at(true, START + 100 * MSEC);
        edge_at(false, START + 200 * MSEC);
        fake_now_ns = START + 300 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START + 200 * MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

static void test_debounce_without_edges(void **state)
{
        FakeHost *host = started(new_debounced("none"));

        (void) state;
        edge_at(true, START + 100 * MSEC);
        assert_int_equal(fake_read(host), 0);
        fake_now_ns = START + 200 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, fake_now_ns);
        fake_expect_no_more(host);
        fake_host_free(host);
}

/* While it bounces, the sensor starts. */
static void test_debounce_at_start(void **state)
{
        FakeHost *host = new_debounced("both");

        (void) state;
        fake_on_request = rise_once;
        open_host(host);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START);
        bounce(false, START + 5 * MSEC);
        fake_now_ns = START + 50 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, START + 9 * MSEC);
        fake_expect_no_more(host);
        fake_host_free(host);
}

static int64_t real_now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * GPIO_NSEC_PER_SEC + now.tv_nsec;
}

/* With the real clock: the descriptor wakes the worker once the level has held, and not before. */
static void test_debounce_wakes(void **state)
{
        FakeHost *host;
        int64_t edge_ns;

        (void) state;
        fake_now_ns = real_now_ns();
        host = started(new_debounced("both"));
        edge_ns = real_now_ns();
        edge_at(true, edge_ns);
        assert_int_equal(fake_read(host), 0);
        fake_expect_no_more(host);
        do {
                struct pollfd polled = {.fd = plugd_plugin_v1.event_fd(host->instance), .events = POLLIN};

                assert_int_equal(poll(&polled, 1, 10000), 1);
                fake_now_ns = real_now_ns();
                assert_true(fake_now_ns >= edge_ns + 20 * MSEC);
                assert_int_equal(fake_read(host), 0);
        } while (host->n_seen == host->n_samples);
        fake_expect(host, 0, true, edge_ns);
        fake_expect_no_more(host);
        assert_false(fake_pending(host));
        fake_host_free(host);
}

/* --- losses ------------------------------------------------------------------------------------------- */

/* n edges, 1 ms apart, from the level it has. */
static void burst(int n)
{
        for (int i = 0; i < n; i++)
                edge_at(!pin->high, fake_now_ns + MSEC);
}

static void test_lost_by_number(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        burst(256 + 43);
        assert_int_equal(fake_read(host), 0);
        assert_int_equal(host->n_samples - host->n_seen, 256);
        assert_true(host->samples[host->n_samples - 1].value); /* an odd number from low */
        assert_int_equal(host->n_warnings, 0);                 /* once the episode is over */
        burst(256 + 7);
        assert_int_equal(fake_read(host), 0);
        host->n_seen = host->n_samples;
        fake_now_ns += 2 * GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read(host), 0);
        assert_int_equal(host->n_warnings, 1);
        assert_string_equal(host->warning, "lost 50 edges of line 17 of gpiochip0, 50 since it was opened: "
                                           "they came faster than they can be taken");

        fake_now_ns += GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read(host), 0);
        assert_int_equal(host->n_warnings, 1);
        burst(257);
        assert_int_equal(fake_read(host), 0);
        fake_close(host); /* tells what it hasn't told */
        assert_int_equal(host->n_warnings, 2);
        assert_non_null(strstr(host->warning, "lost 1 edge of line 17 of gpiochip0, 51 since"));
        fake_host_free(host);
}

/* Losses that don't end are told every minute. */
static void test_lost_for_ever(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        for (int i = 0; i < 130 * 2; i++) {
                pin->sequence++; /* one that nobody sees, twice a second */
                edge_at(!pin->high, fake_now_ns + GPIO_NSEC_PER_SEC / 2);
                assert_int_equal(fake_read(host), 0);
        }
        assert_in_range(host->n_warnings, 2, 2);
        fake_host_free(host);
}

/* Two in the same direction, one after the other: there was one between them. */
static void test_lost_by_direction(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        edge_at(true, START + MSEC);
        pin->high = false; /* unseen */
        edge_at(true, START + 3 * MSEC);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect(host, 0, true, START + 3 * MSEC);
        fake_expect_no_more(host);
        fake_now_ns += 2 * GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read(host), 0);
        assert_int_equal(host->n_warnings, 1);
        assert_non_null(strstr(host->warning,
                "lost or misread some edges of line 17 of gpiochip0 (signs of it: 1, 1 since"));
        fake_host_free(host);
}

/* The kernel's queue of 16 ran over, and its last word is wrong: the level says what is. */
static void test_lost_at_the_end(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        burst(16 + 3);
        assert_int_equal(fake_read(host), 0);
        assert_int_equal(host->n_samples - host->n_seen, 17);
        assert_false(host->samples[host->n_samples - 2].value);
        assert_true(host->samples[host->n_samples - 1].value);
        assert_int_equal(host->samples[host->n_samples - 1].when_ns, fake_now_ns);
        host->n_seen = host->n_samples;
        burst(1);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, fake_now_ns);
        fake_expect_no_more(host);
        fake_close(host);
        assert_non_null(strstr(host->warning, "lost or misread some edges of "));
        fake_host_free(host);
}

/* Bounces run the queue over: the level that is there at last counts all the same. */
static void test_lost_while_debouncing(void **state)
{
        FakeHost *host = started(new_debounced("both"));

        (void) state;
        burst(16 + 3); /* high now, and the last edge that was seen is a falling one */
        assert_int_equal(fake_read(host), 0);
        fake_expect_no_more(host);
        fake_now_ns += 30 * MSEC;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, fake_now_ns - 30 * MSEC);
        fake_expect(host, 0, true, fake_now_ns);
        fake_expect_no_more(host);
        fake_host_free(host);
}

/* --- several lines ------------------------------------------------------------------------------------ */

/* The interval is for all lines, however busy one of them is. */
static void test_interval_beside_a_busy_line(void **state)
{
        FakeHost *host = fake_host_new();
        GpioLine *busy = chip->lines + 3;

        (void) state;
        fake_integer(fake_line(host, "busy"), "line", 3);
        fake_integer(fake_line(host, "quiet"), "line", 4);
        open_host(host);
        assert_int_equal(fake_read(host), 0);
        host->n_seen = host->n_samples;
        for (int i = 1; i <= 3; i++) {
                fake_now_ns += GPIO_NSEC_PER_SEC;
                fake_pin(busy, i % 2, fake_now_ns);
                assert_true(fake_pending(host));
                assert_int_equal(fake_read_for(host, PLUGD_INTERVAL), 0);
                fake_expect(host, 0, i % 2, fake_now_ns); /* the edge */
                fake_expect(host, 0, i % 2, fake_now_ns);
                fake_expect(host, 1, false, fake_now_ns);
                fake_expect_no_more(host);
        }
        free_unwarned(host);
}

/* An edge may come before the first call, which is for the interval. */
static void test_edge_before_the_first_call(void **state)
{
        FakeHost *host = new_door();

        (void) state;
        open_host(host);
        edge_at(true, START + MSEC);
        assert_int_equal(fake_read_for(host, PLUGD_EVENT), -EAGAIN);
        assert_int_equal(host->n_samples, 0);
        assert_int_equal(fake_read_for(host, PLUGD_INTERVAL), 0);
        fake_expect(host, 0, false, START);
        fake_expect(host, 0, true, START + MSEC);
        fake_expect_no_more(host);
        free_unwarned(host);
}

static void test_several_lines(void **state)
{
        FakeHost *host = fake_host_new();
        FakeSettings *line;
        const GpioLine *door = chip->lines + 3, *window = chip->lines + 4, *bell = chip->lines + 5;

        (void) state;
        snprintf(chip->lines[4].name, GPIO_NAME_MAX, "WINDOW");
        fake_text(&host->options, "bias", "pull-down");
        fake_text(&host->options, "edge", "rising");
        fake_boolean(&host->options, "active_low", true);
        fake_number(&host->options, "debounce", 0.5);
        fake_integer(fake_line(host, "door"), "line", 3);
        line = fake_line(host, "window");
        fake_text(line, "line_name", "WINDOW");
        fake_text(line, "bias", "disabled");
        fake_text(line, "edge", "both");
        line = fake_line(host, "bell");
        fake_integer(line, "line", 5);
        fake_boolean(line, "active_low", false);
        fake_number(line, "debounce", 0);
        open_host(host);

        assert_int_equal(host->n_channels, 3);
        assert_string_equal(host->channels[0], "door");
        assert_string_equal(host->channels[1], "window");
        assert_string_equal(host->channels[2], "bell");
        assert_int_equal(door->settings.bias, GPIO_BIAS_PULL_DOWN);
        assert_int_equal(door->settings.edge, GPIO_EDGE_RISING);
        assert_true(door->settings.active_low);
        assert_int_equal(door->settings.debounce_usec, 500000);
        assert_int_equal(window->settings.bias, GPIO_BIAS_DISABLED);
        assert_int_equal(window->settings.edge, GPIO_EDGE_BOTH);
        assert_true(window->settings.active_low);
        assert_int_equal(bell->settings.bias, GPIO_BIAS_PULL_DOWN);
        assert_false(bell->settings.active_low);
        assert_int_equal(bell->settings.debounce_usec, 0);

        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, true, START);
        fake_expect(host, 1, true, START);
        fake_expect(host, 2, false, START);
        fake_now_ns += MSEC;
        fake_pin(chip->lines + 5, true, fake_now_ns);
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 2, true, fake_now_ns);
        fake_expect_no_more(host);
        fake_now_ns += MSEC;
        assert_int_equal(fake_read(host), 0);
        for (uint32_t i = 0; i < 3; i++)
                fake_expect(host, i, true, fake_now_ns);
        fake_expect_no_more(host);
        fake_host_free(host);
}

/* One that can't be read keeps nobody from the others. */
static void test_one_of_several_fails(void **state)
{
        FakeHost *host = fake_host_new();

        (void) state;
        fake_integer(fake_line(host, "a"), "line", 3);
        fake_integer(fake_line(host, "b"), "line", 4);
        started(host);
        chip->lines[3].value_error = -EIO;
        fake_now_ns += MSEC;
        assert_int_equal(fake_read(host), -EIO);
        assert_string_equal(
                host->error, "cannot read the level of line 3 ('a') of gpiochip0: Input/output error");
        fake_expect(host, 1, false, fake_now_ns);
        fake_expect_no_more(host);
        chip->lines[3].value_error = 0;
        assert_int_equal(fake_read(host), 0);
        fake_expect(host, 0, false, fake_now_ns);
        fake_host_free(host);
}

static void test_many_lines(void **state)
{
        static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
        FakeHost *host = fake_host_new();

        (void) state;
        for (int i = 0; i < 8; i++)
                fake_integer(fake_line(host, names[i]), "line", i);
        started(host);
        for (int round = 0; round < 20; round++) {
                fake_now_ns += MSEC;
                for (int i = 0; i < 8; i++)
                        fake_pin(chip->lines + i, round % 2 == 0, fake_now_ns + i);
                assert_int_equal(fake_read(host), 0);
                assert_int_equal(host->n_samples - host->n_seen, 8);
                host->n_seen = host->n_samples;
        }
        assert_false(fake_pending(host));
        free_unwarned(host);
}

/* --- instances, and the end --------------------------------------------------------------------------- */

static void test_two_instances(void **state)
{
        FakeHost *one = new_door(), *other = new_door();

        (void) state;
        fake_integer(&other->options, "line", 18);
        fake_boolean(&other->options, "active_low", true);
        started(one);
        started(other);
        edge_at(true, START + MSEC);
        assert_true(fake_pending(one));
        assert_false(fake_pending(other));
        assert_int_equal(fake_read(one), 0);
        fake_expect(one, 0, true, START + MSEC);
        fake_close(one);
        fake_now_ns += MSEC;
        assert_int_equal(fake_read(other), 0);
        fake_expect(other, 0, true, fake_now_ns);
        fake_expect_no_more(other);
        fake_host_free(one);
        fake_host_free(other);
}

/* Nobody says so, and the interval is long: seen all the same. */
static void test_chip_gone_in_silence(void **state)
{
        FakeHost *host = started(new_door());

        (void) state;
        pin->gone = true;
        fake_now_ns = START + 9 * GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read_for(host, PLUGD_EVENT), 0);
        fake_now_ns = START + 10 * GPIO_NSEC_PER_SEC;
        assert_int_equal(fake_read_for(host, PLUGD_EVENT), -ENODEV);
        assert_string_equal(host->error, "gpiochip0 is gone: was it unplugged, or its driver removed?");
        fake_expect_no_more(host);
        fake_host_free(host);
}

static void test_chip_gone(void **state)
{
        (void) state;
        for (int by_event = 0; by_event < 2; by_event++) {
                FakeHost *host;

                pin->high = pin->gone = false;
                fake_now_ns = START;
                host = started(new_door());
                if (by_event)
                        edge_at(true, START + MSEC);
                pin->gone = true;
                assert_int_equal(fake_read(host), -ENODEV);
                assert_string_equal(
                        host->error, "gpiochip0 is gone: was it unplugged, or its driver removed?");
                fake_expect_no_more(host);
                fake_close(host);

                pin->gone = false; /* and comes back */
                host->error[0] = '\0';
                fake_now_ns += GPIO_NSEC_PER_SEC;
                open_host(host);
                assert_int_equal(fake_read(host), 0);
                fake_expect(host, 0, by_event, fake_now_ns);
                fake_expect_no_more(host);
                fake_host_free(host);
        }
}

#define V1(test) cmocka_unit_test_setup_teardown(test, setup_v1, teardown)
#define V2(test) cmocka_unit_test_setup_teardown(test, setup_v2, teardown)
#define BOTH(test) V1(test), V2(test)

int main(void)
{
        const struct CMUnitTest tests[] = {
                BOTH(test_initial_value),
                BOTH(test_edge_before_the_first_level),
                BOTH(test_pulse_before_the_first_level),
                BOTH(test_edge_before_the_first_read),
                BOTH(test_edges),
                BOTH(test_interval),
                BOTH(test_edge_during_interval),
                BOTH(test_edge_later_than_level),
                BOTH(test_one_direction),
                BOTH(test_level_beside_rising_edges),
                BOTH(test_no_edges),
                BOTH(test_active_low),
                V2(test_kernel_debounces),
                V1(test_debounce),
                V1(test_debounce_late),
                V1(test_debounce_one_direction),
                V1(test_debounce_without_edges),
                V1(test_debounce_at_start),
                V1(test_debounce_wakes),
                V2(test_lost_by_number),
                V2(test_lost_for_ever),
                V1(test_lost_by_direction),
                V1(test_lost_at_the_end),
                V1(test_lost_while_debouncing),
                V2(test_several_lines),
                BOTH(test_interval_beside_a_busy_line),
                BOTH(test_edge_before_the_first_call),
                BOTH(test_one_of_several_fails),
                BOTH(test_many_lines),
                BOTH(test_two_instances),
                BOTH(test_chip_gone),
                BOTH(test_chip_gone_in_silence),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
