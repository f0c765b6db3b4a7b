/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the gpio plugin: gpio.c is the plugin, gpio-options.c its options, gpio-find.c finds
 * chips and lines and has the words for what goes wrong, gpio-input.c is one line. */

#include "../plugin.h"
#include "gpio-debounce.h"
#include "gpio-lines.h"

#define GPIO_LINES_MAX 256
#define GPIO_WORDS_MAX 512

/* A line as it is configured. The texts belong to the host, until close() has returned. */
typedef struct GpioWanted {
        const char *name;      /* in `lines`; NULL: the only one */
        const char *line_name; /* NULL: by its offset */
        int64_t offset;        /* negative: by its name */
        GpioEdge edge;
        GpioBias bias;
        bool active_low;
        double debounce_sec;
} GpioWanted;

typedef struct GpioOpenChip {
        GpioChip *chip;
        GpioChipInfo is;
} GpioOpenChip;

typedef struct GpioInput {
        GpioWanted wanted;
        const GpioOpenChip *chip;
        unsigned offset;
        GpioLine *line; /* NULL: not taken yet */
        uint32_t channel;
        GpioEdge requested;    /* debouncing in software wants to see both, whatever is wanted */
        bool debounced;        /* in software */
        GpioDebounce debounce; /* if so */

        bool raw;          /* the level after the last edge, or as last read */
        bool level;        /* the same, debounced */
        int64_t opened_ns; /* just before the line was taken */
        int64_t read_ns;   /* the level was read then, and is ahead of edges up to there; 0: it isn't */

        uint32_t sequence;              /* of the last edge */
        uint64_t lost, lost_all;        /* edges: not told yet; since it was opened */
        int64_t lost_since_ns, tell_ns; /* the first of those not told; when to tell: GPIO_NEVER: nothing */
} GpioInput;

typedef struct Gpio {
        const struct plugd_host *host;
        GpioOpenChip *chips; /* those with lines of ours */
        size_t n_chips;
        GpioInput *inputs;
        size_t n_inputs;
        int epoll, timer;
        int64_t armed_ns; /* what the timer is set to; GPIO_NEVER: nothing */
        int64_t look_ns;  /* when to see whether the chips are still there */
        bool started;     /* the initial values are out */
} Gpio;

/* --- gpio-options.c: 0, or -errno after saying why ---------------------------------------------------- */

#define GPIO_N_OPTIONS 8
extern const struct plugd_option gpio_options[GPIO_N_OPTIONS];

/* How many lines are wanted; free(*ret_lines). */
int gpio_options_read(const struct plugd_host *host, GpioWanted **ret_lines);

/* --- gpio-find.c: 0, or -errno after saying why ------------------------------------------------------- */

/* The chip of a line, which stays in gpio->chips, and its offset there. */
int gpio_find(Gpio *gpio, GpioInput *input);
/* Says why a line was refused, and gives the error. */
int gpio_find_refused(Gpio *gpio, const GpioInput *input, const GpioSettings *settings, int error);
/* "line 17 ('door') of gpiochip0" */
void gpio_find_words(const GpioInput *input, char *ret_words, size_t size);

/* --- gpio-input.c ------------------------------------------------------------------------------------- */

/* Takes the line, which has been found, and reads its first level. 0, or -errno after saying why. */
int gpio_input_open(Gpio *gpio, GpioInput *input);
void gpio_input_close(Gpio *gpio, GpioInput *input);
/* Gives its first level. */
void gpio_input_start(Gpio *gpio, GpioInput *input);
/* Takes what edges there are. How many, or -errno after saying why. */
int gpio_input_edges(Gpio *gpio, GpioInput *input);
/* By interval: edges, then the level. 0, or -errno after saying why. */
int gpio_input_sample(Gpio *gpio, GpioInput *input);
/* Time has gone by: until now_ns all edges have been taken. When to call it again, or GPIO_NEVER. */
int64_t gpio_input_settle(Gpio *gpio, GpioInput *input, int64_t now_ns);
/* Says that its chip is gone, and gives -ENODEV. */
int gpio_input_gone(Gpio *gpio, const GpioInput *input);
