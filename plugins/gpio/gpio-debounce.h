/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Debouncing in software, for where the kernel's can't be had: a level counts once it has held for the
 * period. Pure: it knows no clock, and is told all times.
 */

#include <stdbool.h>
#include <stdint.h>

#define GPIO_NEVER INT64_MAX

typedef struct GpioDebounce {
        int64_t period_ns;
        int64_t since_ns; /* the last edge */
        bool level;       /* after the last edge */
        bool stable;      /* what counts */
} GpioDebounce;

/* A level that counts now, and the edge with which it began. */
typedef struct GpioChange {
        int64_t when_ns;
        bool level;
} GpioChange;

void gpio_debounce_init(GpioDebounce *debounce, int64_t period_ns, bool level, int64_t now_ns);
/* An edge; they come in order. True: until then, the level before it had held for long enough. */
bool gpio_debounce_edge(GpioDebounce *debounce, bool level, int64_t when_ns, GpioChange *ret_change);
/* Time has gone by. True: the level has held for long enough. */
bool gpio_debounce_settle(GpioDebounce *debounce, int64_t now_ns, GpioChange *ret_change);
/* When to call gpio_debounce_settle(); GPIO_NEVER if there is nothing to wait for. */
int64_t gpio_debounce_due_ns(const GpioDebounce *debounce);
