/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How much comes in: counted by the hour, the last 24 of them and the one that runs. Pure: times are passed
 * in, in µs of a clock that doesn't jump (what goes back counts as now).
 */

#include "util/macros.h"

#define RATE_BUCKETS 25

typedef struct RateBucket {
        uint64_t hour; /* since the beginning */
        uint64_t messages, bytes;
} RateBucket;

typedef struct Rate {
        uint64_t begin_usec;
        RateBucket buckets[RATE_BUCKETS];
} Rate;

typedef struct RateMean {
        uint64_t span_usec;     /* over how long: since the beginning, at most 24 hours and a begun one */
        double messages, bytes; /* a second; 0 where span_usec is */
} RateMean;

void rate_init(Rate *rate, uint64_t now_usec);
void rate_count(Rate *rate, uint64_t now_usec, uint64_t messages, uint64_t bytes);
void rate_get(const Rate *rate, uint64_t now_usec, RateMean *ret);

/* How many hours it takes at this rate to fill so many bytes; -1 where nobody can tell: nothing came, or for
 * less than a minute. */
#define RATE_SPAN_MIN_USEC (60 * USEC_PER_SEC)
double rate_hours(const RateMean *mean, uint64_t bytes);
