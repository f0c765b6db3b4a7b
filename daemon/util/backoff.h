/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How long to wait before trying again: doubling from first to max, each wait up to a fifth longer (at max:
 * shorter), so that many devices that lost the same server don't come back in step. Pure, but for the random
 * number. */

#include "macros.h"

typedef struct Backoff {
        uint64_t first_usec, max_usec;
        uint64_t wait_usec; /* of the last attempt, without its spread; 0: none yet */
} Backoff;

/* The next wait, longer than the last; never more than max. */
uint64_t backoff_next(Backoff *backoff);
/* The same, but no longer than what went well before it (at least first). */
uint64_t backoff_next_limited(Backoff *backoff, uint64_t limit_usec);
void backoff_reset(Backoff *backoff);

/* Has it failed since the last reset? */
static inline bool backoff_active(const Backoff *backoff)
{
        return backoff->wait_usec > 0;
}
