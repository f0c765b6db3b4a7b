/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The clocks, in microseconds, and the identity of this boot. */

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_realtime_usec(void);  /* since the epoch; jumps when the time is set */
uint64_t clock_boottime_usec(void);  /* since boot, sleep included; never jumps */
uint64_t clock_monotonic_usec(void); /* since boot, sleep excluded; the event loop's clock */

/* How far the one is ahead of the other, both as of one moment: whoever reads two clocks one after the other
 * may be held up in between, and would take that for a difference. */
int64_t clock_realtime_ahead_of_boottime_usec(void);
int64_t clock_boottime_ahead_of_monotonic_usec(void);

/* Does the kernel say that a time service keeps the clock? False too where it may not be asked. */
bool clock_synchronised(void);

/* The kernel's random id of this boot. 0, or -errno where /proc does not have it. */
int clock_boot_id(uint8_t ret_id[static 16]);
