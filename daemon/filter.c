/* SPDX-License-Identifier: Apache-2.0 */

/* A bucket that fills at `rate` tokens a second and holds one second's worth, but at least one. */

#include "filter.h"

#include <assert.h>
#include <math.h>

/* Fractions of a token add up with rounding errors. */
#define WHOLE (1 - 1e-9)

static double tokens_at(const Filter *filter, uint64_t now_usec)
{
        double tokens = filter->tokens;

        if (now_usec > filter->filled_usec)
                tokens += (double) (now_usec - filter->filled_usec) * filter->rate / (double) USEC_PER_SEC;
        return MIN(tokens, MAX(filter->rate, 1.0));
}

void filter_init(Filter *filter, double rate, uint64_t now_usec)
{
        assert(rate >= 0);

        *filter = (Filter){.rate = rate, .tokens = MAX(rate, 1.0), .filled_usec = now_usec};
}

bool filter_admit(Filter *filter, uint64_t now_usec)
{
        if (filter->rate == 0)
                return true;
        filter->tokens = tokens_at(filter, now_usec);
        filter->filled_usec = MAX(filter->filled_usec, now_usec);
        if (filter->tokens < WHOLE)
                return false;
        filter->tokens = MAX(filter->tokens - 1, 0.0);
        return true;
}

uint64_t filter_next_usec(const Filter *filter, uint64_t now_usec)
{
        double missing, wait_usec;

        if (filter->rate == 0)
                return now_usec;
        missing = 1 - tokens_at(filter, now_usec);
        if (missing <= 1 - WHOLE)
                return now_usec;
        /* The tokens are counted from filled_usec on, should that be later. */
        now_usec = MAX(now_usec, filter->filled_usec);
        wait_usec = ceil(missing / filter->rate * (double) USEC_PER_SEC);
        return wait_usec < (double) (UINT64_MAX / 2) ? now_usec + (uint64_t) wait_usec : UINT64_MAX;
}
