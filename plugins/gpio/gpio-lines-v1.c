/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The seam over libgpiod 1.6. It has no debouncing and no sequence numbers, and the kernel keeps 16 events
 * of each line; what comes when these are full is dropped.
 */

#include <errno.h>
#include <fcntl.h>
#include <gpiod.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpio-lines.h"

#define QUEUED 16 /* by the kernel, and at most in one read by the library */

struct GpioChip {
        struct gpiod_chip *chip;
};

struct GpioLine {
        struct gpiod_line *line;
        int fd;
};

const GpioTraits *gpio_traits(void)
{
        static const GpioTraits traits = {.debounces = false, .counts = false, .queued = QUEUED};

        return &traits;
}

/* The library's functions set errno; should one forget to, it is still a failure. */
static int error_of(int error)
{
        return error > 0 ? -error : -EIO;
}

static void copy_name(char to[static GPIO_NAME_MAX], const char *name)
{
        snprintf(to, GPIO_NAME_MAX, "%s", name ? name : "");
}

int gpio_chip_open(const char *name, GpioChip **ret_chip)
{
        GpioChip *chip = calloc(1, sizeof(*chip));

        if (!chip)
                return -ENOMEM;
        errno = 0;
        chip->chip = gpiod_chip_open_by_name(name);
        if (!chip->chip) {
                int r = error_of(errno);

                free(chip);
                return r;
        }
        *ret_chip = chip;
        return 0;
}

void gpio_chip_close(GpioChip *chip)
{
        if (!chip)
                return;
        gpiod_chip_close(chip->chip);
        free(chip);
}

int gpio_chip_info(GpioChip *chip, GpioChipInfo *ret_info)
{
        copy_name(ret_info->name, gpiod_chip_name(chip->chip));
        copy_name(ret_info->label, gpiod_chip_label(chip->chip));
        ret_info->n_lines = gpiod_chip_num_lines(chip->chip);
        return 0;
}

int gpio_chip_line_info(GpioChip *chip, unsigned offset, GpioLineInfo *ret_info)
{
        struct gpiod_line *line;

        errno = 0;
        line = gpiod_chip_get_line(chip->chip, offset); /* asks the kernel anew each time */
        if (!line)
                return error_of(errno);
        copy_name(ret_info->name, gpiod_line_name(line));
        copy_name(ret_info->consumer, gpiod_line_consumer(line));
        ret_info->used = gpiod_line_is_used(line);
        return 0;
}

static int flags_of(const GpioSettings *settings)
{
        static const int biases[] = {
                [GPIO_BIAS_AS_IS] = 0,
                [GPIO_BIAS_DISABLED] = GPIOD_LINE_REQUEST_FLAG_BIAS_DISABLE,
                [GPIO_BIAS_PULL_UP] = GPIOD_LINE_REQUEST_FLAG_BIAS_PULL_UP,
                [GPIO_BIAS_PULL_DOWN] = GPIOD_LINE_REQUEST_FLAG_BIAS_PULL_DOWN,
        };

        return biases[settings->bias] | (settings->active_low ? GPIOD_LINE_REQUEST_FLAG_ACTIVE_LOW : 0);
}

static int request(GpioLine *line, const GpioSettings *settings)
{
        static const int types[] = {
                [GPIO_EDGE_NONE] = GPIOD_LINE_REQUEST_DIRECTION_INPUT,
                [GPIO_EDGE_RISING] = GPIOD_LINE_REQUEST_EVENT_RISING_EDGE,
                [GPIO_EDGE_FALLING] = GPIOD_LINE_REQUEST_EVENT_FALLING_EDGE,
                [GPIO_EDGE_BOTH] = GPIOD_LINE_REQUEST_EVENT_BOTH_EDGES,
        };
        const struct gpiod_line_request_config config = {
                .consumer = "plugd",
                .request_type = types[settings->edge],
                .flags = flags_of(settings),
        };

        errno = 0;
        if (gpiod_line_request(line->line, &config, 0) < 0)
                return error_of(errno);
        if (settings->edge == GPIO_EDGE_NONE)
                return 0;
        line->fd = gpiod_line_event_get_fd(line->line);
        if (line->fd < 0 || fcntl(line->fd, F_SETFL, O_NONBLOCK) < 0) {
                int r = error_of(errno);

                gpiod_line_release(line->line);
                return r;
        }
        return 0;
}

int gpio_line_request(GpioChip *chip, const GpioSettings *settings, GpioLine **ret_line)
{
        GpioLine *line = calloc(1, sizeof(*line));
        int r;

        if (!line)
                return -ENOMEM;
        line->fd = -1;
        errno = 0;
        line->line = gpiod_chip_get_line(chip->chip, settings->offset);
        r = line->line ? request(line, settings) : error_of(errno);
        if (r < 0) {
                free(line);
                return r;
        }
        *ret_line = line;
        return 0;
}

void gpio_line_release(GpioLine *line)
{
        if (!line)
                return;
        gpiod_line_release(line->line);
        free(line);
}

int gpio_line_fd(const GpioLine *line)
{
        return line->fd;
}

int gpio_line_value(GpioLine *line)
{
        int value;

        errno = 0;
        value = gpiod_line_get_value(line->line);
        return value < 0 ? error_of(errno) : value > 0;
}

int gpio_line_events(GpioLine *line, GpioEvent *events, size_t n_max)
{
        struct gpiod_line_event taken[QUEUED];
        int64_t now_ns;
        int n;

        if (line->fd < 0)
                return 0;
        errno = 0;
        n = gpiod_line_event_read_fd_multiple(line->fd, taken, n_max < QUEUED ? (unsigned) n_max : QUEUED);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : error_of(errno);
        now_ns = gpio_now_ns();
        for (int i = 0; i < n; i++) {
                int64_t when_ns = (int64_t) taken[i].ts.tv_sec * GPIO_NSEC_PER_SEC + taken[i].ts.tv_nsec;

                events[i] = (GpioEvent){
                        .when_ns = when_ns < now_ns ? when_ns : now_ns, /* before 5.7: another clock */
                        .rising = taken[i].event_type == GPIOD_LINE_EVENT_RISING_EDGE,
                };
        }
        return n;
}
