/* SPDX-License-Identifier: Apache-2.0 */

/* Debouncing: the level after the last edge takes the place of the stable one after the period. */

#include "gpio-debounce.h"

void gpio_debounce_init(GpioDebounce *debounce, int64_t period_ns, bool level, int64_t now_ns)
{
        *debounce =
                (GpioDebounce){.period_ns = period_ns, .since_ns = now_ns, .level = level, .stable = level};
}

bool gpio_debounce_settle(GpioDebounce *debounce, int64_t now_ns, GpioChange *ret_change)
{
        if (now_ns < gpio_debounce_due_ns(debounce))
                return false;
        debounce->stable = debounce->level;
        *ret_change = (GpioChange){.when_ns = debounce->since_ns, .level = debounce->level};
        return true;
}

bool gpio_debounce_edge(GpioDebounce *debounce, bool level, int64_t when_ns, GpioChange *ret_change)
{
        bool changed = gpio_debounce_settle(debounce, when_ns, ret_change);

        debounce->level = level;
        debounce->since_ns = when_ns;
        return changed;
}

int64_t gpio_debounce_due_ns(const GpioDebounce *debounce)
{
        return debounce->level == debounce->stable ? GPIO_NEVER : debounce->since_ns + debounce->period_ns;
}
