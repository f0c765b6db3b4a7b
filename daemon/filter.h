/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How many samples a sensor may hand over: a token bucket that holds one second's worth. Pure. */

#include "util/macros.h"

typedef struct Filter {
        double rate; /* samples per second; 0: no limit */
        double tokens;
        uint64_t filled_usec;
} Filter;

void filter_init(Filter *filter, double rate, uint64_t now_usec);
/* Takes one, if there is one. */
bool filter_admit(Filter *filter, uint64_t now_usec);
/* When the next will be there; now_usec if there is one. */
uint64_t filter_next_usec(const Filter *filter, uint64_t now_usec);
