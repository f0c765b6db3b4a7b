/* SPDX-License-Identifier: Apache-2.0 */
#include "backoff.h"

#include <sys/random.h>

/* Up to a fifth longer; where that would be beyond max, up to a fifth shorter than max. */
static uint64_t spread(uint64_t wait_usec, uint64_t max_usec)
{
        uint64_t width = wait_usec / 5, high = MIN(wait_usec + width, max_usec), random = 0;

        /* Without random numbers (early boot) all wait the same: no reason to wait for them. */
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
                return wait_usec;
        return high - random % (width + 1);
}

uint64_t backoff_next(Backoff *backoff)
{
        return backoff_next_limited(backoff, backoff->max_usec);
}

uint64_t backoff_next_limited(Backoff *backoff, uint64_t limit_usec)
{
        uint64_t wait = backoff->wait_usec == 0 ? backoff->first_usec : 2 * backoff->wait_usec;

        wait = MIN(wait, MAX(limit_usec, backoff->first_usec));
        backoff->wait_usec = MIN(wait, backoff->max_usec);
        return spread(backoff->wait_usec, backoff->max_usec);
}

void backoff_reset(Backoff *backoff)
{
        backoff->wait_usec = 0;
}
