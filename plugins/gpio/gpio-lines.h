/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The seam below which libgpiod is: gpio-lines-v1.c for 1.6, gpio-lines-v2.c for 2.x, of which one is built
 * in, and gpio-dev.c for what /sys and /etc say. Above it nobody knows which of the two there is, but for
 * gpio_traits(). Functions give 0 or more, or -errno, and say nothing themselves. Values and edges are
 * logical ones: on a line that is active low, the edge down is the rising one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GPIO_NAME_MAX 32 /* bytes of the kernel's names, their NUL among them */
#define GPIO_DEVICES "/sys/bus/gpio/devices"
#define GPIO_NSEC_PER_SEC INT64_C(1000000000)

typedef struct GpioChip GpioChip;
typedef struct GpioLine GpioLine;

/* A set of two bits: GPIO_EDGE_BOTH & GPIO_EDGE_RISING. */
typedef enum GpioEdge {
        GPIO_EDGE_NONE = 0,
        GPIO_EDGE_RISING = 1,
        GPIO_EDGE_FALLING = 2,
        GPIO_EDGE_BOTH = 3,
} GpioEdge;

typedef enum GpioBias {
        GPIO_BIAS_AS_IS,
        GPIO_BIAS_DISABLED,
        GPIO_BIAS_PULL_UP,
        GPIO_BIAS_PULL_DOWN,
} GpioBias;

typedef struct GpioTraits {
        bool debounces;  /* GpioSettings.debounce_usec works */
        bool counts;     /* events have sequence numbers */
        unsigned queued; /* so many events of a line the kernel keeps, then it drops some */
} GpioTraits;

typedef struct GpioChipInfo {
        char name[GPIO_NAME_MAX]; /* "gpiochip0" */
        char label[GPIO_NAME_MAX];
        unsigned n_lines;
} GpioChipInfo;

typedef struct GpioLineInfo {
        char name[GPIO_NAME_MAX];     /* "": none */
        char consumer[GPIO_NAME_MAX]; /* "": none, or not known */
        bool used;
} GpioLineInfo;

typedef struct GpioSettings {
        unsigned offset;
        GpioEdge edge;
        GpioBias bias;
        bool active_low;
        uint32_t debounce_usec;
} GpioSettings;

typedef struct GpioEvent {
        int64_t when_ns;   /* CLOCK_MONOTONIC, by the kernel */
        uint32_t sequence; /* of the line's events, from 1 on; only where they are counted */
        bool rising;
} GpioEvent;

const GpioTraits *gpio_traits(void);

/* name: "gpiochip0". The chip has to outlive its lines. */
int gpio_chip_open(const char *name, GpioChip **ret_chip);
void gpio_chip_close(GpioChip *chip);
int gpio_chip_info(GpioChip *chip, GpioChipInfo *ret_info);
int gpio_chip_line_info(GpioChip *chip, unsigned offset, GpioLineInfo *ret_info);

/* Takes one line as an input. */
int gpio_line_request(GpioChip *chip, const GpioSettings *settings, GpioLine **ret_line);
void gpio_line_release(GpioLine *line);
int gpio_line_fd(const GpioLine *line); /* readable when there are events; negative: there are never any */
int gpio_line_value(GpioLine *line);    /* 0 or 1 */
/* How many events it took out of the kernel's queue, oldest first; 0: there are none. */
int gpio_line_events(GpioLine *line, GpioEvent *events, size_t n_max);

/* --- gpio-dev.c --------------------------------------------------------------------------------------- */

int64_t gpio_now_ns(void);
/* The names of the chips in folder (GPIO_DEVICES), by number. How many; free(*ret_names). */
int gpio_dev_list(const char *folder, char (**ret_names)[GPIO_NAME_MAX]);
/* Which chip a path is or leads to: "/dev/gpiochip4" may be a link. -ENOTTY: that is no chip. */
int gpio_dev_resolve(const char *path, char ret_name[static GPIO_NAME_MAX]);
/* A sentence on who may open it, and what to do. etc: the folder with group and passwd. */
void gpio_dev_explain(const char *path, const char *etc, char *ret_words, size_t size);
