/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small set of numbers, kept as ranges: what is in it in one piece takes one. There is room for a few
 * pieces only: when there are more, the smallest is forgotten, so who uses it has to bear that. Pure.
 */

#include "util/macros.h"

#define RANGES_MAX 16

typedef struct Range {
        uint64_t first, last;
} Range;

typedef struct Ranges {
        Range items[RANGES_MAX]; /* ascending, none touching the next */
        size_t n;
} Ranges;

void ranges_add(Ranges *ranges, uint64_t first, uint64_t last);
/* Takes everything up to this number out. */
void ranges_trim(Ranges *ranges, uint64_t last);
bool ranges_covers(const Ranges *ranges, uint64_t number);
/* Up to where everything behind this number is covered: the number itself where the next isn't. */
uint64_t ranges_reach(const Ranges *ranges, uint64_t number);
/* How many of the numbers from first to last are covered. */
uint64_t ranges_count(const Ranges *ranges, uint64_t first, uint64_t last);
