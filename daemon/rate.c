/* SPDX-License-Identifier: Apache-2.0 */

/* Hours in a ring. Each knows which hour it is, so one that is out of date needs no clearing. */

#include "rate.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

static uint64_t since(const Rate *rate, uint64_t now_usec)
{
        return now_usec > rate->begin_usec ? now_usec - rate->begin_usec : 0;
}

void rate_init(Rate *rate, uint64_t now_usec)
{
        *rate = (Rate){.begin_usec = now_usec};
}

void rate_count(Rate *rate, uint64_t now_usec, uint64_t messages, uint64_t bytes)
{
        uint64_t hour = since(rate, now_usec) / HOUR_USEC;
        RateBucket *bucket = &rate->buckets[hour % RATE_BUCKETS];

        if (bucket->hour != hour)
                *bucket = (RateBucket){.hour = hour};
        bucket->messages += messages;
        bucket->bytes += bytes;
}

void rate_get(const Rate *rate, uint64_t now_usec, RateMean *ret)
{
        uint64_t age_usec = since(rate, now_usec), hour = age_usec / HOUR_USEC;
        uint64_t first = hour >= RATE_BUCKETS ? hour - (RATE_BUCKETS - 1) : 0, messages = 0, bytes = 0;
        double seconds;

        *ret = (RateMean){.span_usec = age_usec - first * HOUR_USEC};
        if (ret->span_usec == 0)
                return;
        for (size_t i = 0; i < RATE_BUCKETS; i++) {
                const RateBucket *bucket = &rate->buckets[i];

                if (bucket->hour >= first && bucket->hour <= hour) {
                        messages += bucket->messages;
                        bytes += bucket->bytes;
                }
        }
        seconds = (double) ret->span_usec / (double) USEC_PER_SEC;
        ret->messages = (double) messages / seconds;
        ret->bytes = (double) bytes / seconds;
}

double rate_hours(const RateMean *mean, uint64_t bytes)
{
        if (mean->span_usec < RATE_SPAN_MIN_USEC || mean->bytes <= 0)
                return -1;
        return (double) bytes / mean->bytes / 3600;
}
