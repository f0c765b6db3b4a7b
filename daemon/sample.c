/* SPDX-License-Identifier: Apache-2.0 */

/* Ids of messages. Their times are in sample-times.c. */

#include "sample.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define COUNTER_SIZE (UINT32_C(1) << 24)

int sample_ids_init(SampleIds *ids)
{
        struct {
                uint8_t random[5];
                uint8_t counter[3];
        } seed;

        /* Up to 256 bytes come whole or not at all. */
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
                return errno > 0 ? -errno : -EIO;
        *ids = (SampleIds){.counter = (uint32_t) seed.counter[0] << 16 | (uint32_t) seed.counter[1] << 8 |
                                      seed.counter[2]};
        memcpy(ids->random, seed.random, sizeof(ids->random));
        return 0;
}

/*
 * No two are equal: the seconds never go back, whatever the clock does, and go on by themselves once the
 * counter has been all the way round within one.
 */
void sample_ids_next(SampleIds *ids, uint64_t realtime_usec, uint8_t ret_id[static SAMPLE_ID_SIZE])
{
        uint64_t seconds = realtime_usec / USEC_PER_SEC;

        if (seconds > ids->seconds) {
                ids->seconds = seconds;
                ids->used = 0;
        } else if (ids->used == COUNTER_SIZE) {
                ids->seconds++;
                ids->used = 0;
        }
        for (unsigned i = 0; i < 4; i++)
                ret_id[i] = (uint8_t) (ids->seconds >> (24 - 8 * i));
        memcpy(ret_id + 4, ids->random, sizeof(ids->random));
        for (unsigned i = 0; i < 3; i++)
                ret_id[9 + i] = (uint8_t) (ids->counter >> (16 - 8 * i));
        ids->counter = (ids->counter + 1) % COUNTER_SIZE;
        ids->used++;
}

const char *sample_id_format(const uint8_t id[static SAMPLE_ID_SIZE], char buffer[static SAMPLE_ID_TEXT])
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < SAMPLE_ID_SIZE; i++) {
                buffer[2 * i] = digits[id[i] >> 4];
                buffer[2 * i + 1] = digits[id[i] & 0x0f];
        }
        buffer[SAMPLE_ID_TEXT - 1] = '\0';
        return buffer;
}
