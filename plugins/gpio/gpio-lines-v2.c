/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The seam over libgpiod 2.x. The kernel debounces and numbers the events. Each line is a request of its
 * own: one request has room for ten different settings only.
 */

#include <errno.h>
#include <fcntl.h>
#include <gpiod.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpio-lines.h"

#define QUEUED 256 /* 16 times what the kernel keeps by itself, and 12 KiB of its memory */
#define TAKEN 64   /* at most in one read */

struct GpioChip {
        struct gpiod_chip *chip;
};

struct GpioLine {
        struct gpiod_line_request *request;
        struct gpiod_edge_event_buffer *buffer; /* NULL: no edges are asked for */
        unsigned offset;
};

const GpioTraits *gpio_traits(void)
{
        static const GpioTraits traits = {.debounces = true, .counts = true, .queued = QUEUED};

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
        char path[sizeof("/dev/") + GPIO_NAME_MAX];
        GpioChip *chip = calloc(1, sizeof(*chip));

        if (!chip)
                return -ENOMEM;
        snprintf(path, sizeof(path), "/dev/%s", name);
        errno = 0;
        chip->chip = gpiod_chip_open(path);
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
        struct gpiod_chip_info *info;

        errno = 0;
        info = gpiod_chip_get_info(chip->chip);
        if (!info)
                return error_of(errno);
        copy_name(ret_info->name, gpiod_chip_info_get_name(info));
        copy_name(ret_info->label, gpiod_chip_info_get_label(info));
        ret_info->n_lines = (unsigned) gpiod_chip_info_get_num_lines(info);
        gpiod_chip_info_free(info);
        return 0;
}

int gpio_chip_line_info(GpioChip *chip, unsigned offset, GpioLineInfo *ret_info)
{
        struct gpiod_line_info *info;

        errno = 0;
        info = gpiod_chip_get_line_info(chip->chip, offset);
        if (!info)
                return error_of(errno);
        copy_name(ret_info->name, gpiod_line_info_get_name(info));
        copy_name(ret_info->consumer, gpiod_line_info_get_consumer(info));
        ret_info->used = gpiod_line_info_is_used(info);
        gpiod_line_info_free(info);
        return 0;
}

static int apply(struct gpiod_line_settings *to, const GpioSettings *settings)
{
        static const enum gpiod_line_edge edges[] = {
                [GPIO_EDGE_NONE] = GPIOD_LINE_EDGE_NONE,
                [GPIO_EDGE_RISING] = GPIOD_LINE_EDGE_RISING,
                [GPIO_EDGE_FALLING] = GPIOD_LINE_EDGE_FALLING,
                [GPIO_EDGE_BOTH] = GPIOD_LINE_EDGE_BOTH,
        };
        static const enum gpiod_line_bias biases[] = {
                [GPIO_BIAS_AS_IS] = GPIOD_LINE_BIAS_AS_IS,
                [GPIO_BIAS_DISABLED] = GPIOD_LINE_BIAS_DISABLED,
                [GPIO_BIAS_PULL_UP] = GPIOD_LINE_BIAS_PULL_UP,
                [GPIO_BIAS_PULL_DOWN] = GPIOD_LINE_BIAS_PULL_DOWN,
        };

        errno = 0;
        if (gpiod_line_settings_set_direction(to, GPIOD_LINE_DIRECTION_INPUT) < 0 ||
                gpiod_line_settings_set_edge_detection(to, edges[settings->edge]) < 0 ||
                gpiod_line_settings_set_bias(to, biases[settings->bias]) < 0 ||
                gpiod_line_settings_set_event_clock(to, GPIOD_LINE_CLOCK_MONOTONIC) < 0)
                return error_of(errno);
        gpiod_line_settings_set_active_low(to, settings->active_low);
        gpiod_line_settings_set_debounce_period_us(to, settings->debounce_usec);
        return 0;
}

static int request(GpioLine *line, GpioChip *chip, const GpioSettings *settings)
{
        struct gpiod_line_settings *line_settings = gpiod_line_settings_new();
        struct gpiod_line_config *lines = gpiod_line_config_new();
        struct gpiod_request_config *config = gpiod_request_config_new();
        int r = line_settings && lines && config ? apply(line_settings, settings) : -ENOMEM;

        if (r == 0) {
                errno = 0;
                if (gpiod_line_config_add_line_settings(lines, &settings->offset, 1, line_settings) < 0)
                        r = error_of(errno);
        }
        if (r == 0) {
                gpiod_request_config_set_consumer(config, "plugd");
                if (settings->edge != GPIO_EDGE_NONE)
                        gpiod_request_config_set_event_buffer_size(config, QUEUED);
                errno = 0;
                line->request = gpiod_chip_request_lines(chip->chip, config, lines);
                if (!line->request)
                        r = error_of(errno);
        }
        if (config)
                gpiod_request_config_free(config);
        if (lines)
                gpiod_line_config_free(lines);
        if (line_settings)
                gpiod_line_settings_free(line_settings);
        return r;
}

int gpio_line_request(GpioChip *chip, const GpioSettings *settings, GpioLine **ret_line)
{
        GpioLine *line = calloc(1, sizeof(*line));
        int r = line ? 0 : -ENOMEM;

        if (!line)
                return r;
        line->offset = settings->offset;
        if (settings->edge != GPIO_EDGE_NONE) {
                line->buffer = gpiod_edge_event_buffer_new(TAKEN);
                r = line->buffer ? 0 : -ENOMEM;
        }
        if (r == 0)
                r = request(line, chip, settings);
        if (r == 0 && fcntl(gpiod_line_request_get_fd(line->request), F_SETFL, O_NONBLOCK) < 0)
                r = -errno;
        if (r < 0) {
                gpio_line_release(line);
                return r;
        }
        *ret_line = line;
        return 0;
}

void gpio_line_release(GpioLine *line)
{
        if (!line)
                return;
        if (line->request)
                gpiod_line_request_release(line->request);
        if (line->buffer)
                gpiod_edge_event_buffer_free(line->buffer);
        free(line);
}

int gpio_line_fd(const GpioLine *line)
{
        return gpiod_line_request_get_fd(line->request);
}

int gpio_line_value(GpioLine *line)
{
        enum gpiod_line_value value;

        errno = 0;
        value = gpiod_line_request_get_value(line->request, line->offset);
        return value == GPIOD_LINE_VALUE_ERROR ? error_of(errno) : value == GPIOD_LINE_VALUE_ACTIVE;
}

int gpio_line_events(GpioLine *line, GpioEvent *events, size_t n_max)
{
        int n;

        if (!line->buffer)
                return 0;
        errno = 0;
        n = gpiod_line_request_read_edge_events(line->request, line->buffer, n_max < TAKEN ? n_max : TAKEN);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : error_of(errno);
        for (int i = 0; i < n; i++) {
                struct gpiod_edge_event *event =
                        gpiod_edge_event_buffer_get_event(line->buffer, (unsigned long) i);

                events[i] = (GpioEvent){
                        .when_ns = (int64_t) gpiod_edge_event_get_timestamp_ns(event),
                        .sequence = (uint32_t) gpiod_edge_event_get_line_seqno(event),
                        .rising = gpiod_edge_event_get_event_type(event) == GPIOD_EDGE_EVENT_RISING_EDGE,
                };
        }
        return n;
}
