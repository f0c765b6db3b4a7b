/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A sample: one message on its way to the platform, with the id and time it has for good. Pure, but for the
 * random bytes of an id source.
 */

#include "util/macros.h"

#define SAMPLE_ID_SIZE 12
#define SAMPLE_ID_TEXT (2 * SAMPLE_ID_SIZE + 1)
#define SAMPLE_BOOT_SIZE 16
#define SAMPLE_DATA_MAX 65536 /* bytes of JSON */

/* Borrowed text: whoever keeps a sample copies it. */
typedef struct Sample {
        uint8_t id[SAMPLE_ID_SIZE];
        uint64_t at_msec;    /* since the epoch, UTC; 0: none, the platform fills in when it came */
        const uint8_t *boot; /* NULL; or the id of a boot, SAMPLE_BOOT_SIZE bytes, and at_msec is that boot's
                                CLOCK_BOOTTIME: the sample is held until the clock is set */
        const char *sensor;  /* name of the sensor, "" for Publish() */
        const char *channel; /* without the Plug-ID: a device may have none yet */
        const char *data;    /* JSON text */
        size_t data_size;
} Sample;

/* ids: 4 bytes of seconds, 5 random per process, a counter of 3 that starts at random, big-endian. No two of
 * a source are equal, even if the clock is set back. */
typedef struct SampleIds {
        uint8_t random[5];
        uint32_t counter;
        uint64_t seconds; /* of the last id */
        uint32_t used;    /* ids with these seconds */
} SampleIds;

int sample_ids_init(SampleIds *ids);
void sample_ids_next(SampleIds *ids, uint64_t realtime_usec, uint8_t ret_id[static SAMPLE_ID_SIZE]);
const char *sample_id_format(const uint8_t id[static SAMPLE_ID_SIZE], char buffer[static SAMPLE_ID_TEXT]);

/*
 * Times: strictly increasing per channel. A wanted time not after the channel's last becomes the last plus
 * 1 ms. A clock that is more than a minute before where it was has been set back: the new time holds, for
 * all channels, and is counted; a time that was given before, or noted, is still not given again (for at
 * least the last 131,072 of them). 4,096 channels are remembered.
 */
typedef struct SampleTimes SampleTimes;

SampleTimes *sample_times_new(void);
SampleTimes *sample_times_free(SampleTimes *times);
DEFINE_CLEANUP(SampleTimes, sample_times_free);

/* Tells what the clock says, before anything is taken from it. False: it was just found set back, and the
 * caller logs it. */
bool sample_times_clock(SampleTimes *times, uint64_t now_msec);
/* Reserves `count` successive milliseconds and gives the first (count is 1, or 2 for a birth and a will).
 * The wanted time may lie any time before the clock's. 0 or -ENOMEM. */
int sample_times_next(SampleTimes *times, const char *channel, uint64_t wanted_msec, unsigned count,
        uint64_t *ret_at_msec);
/* What is in the spool already: the more of its times are noted, the more are not used twice. */
int sample_times_note(SampleTimes *times, const char *channel, uint64_t at_msec);
/* Makes room to reserve that many times, which are not given again; what was reserved before is forgotten
 * (0: that alone). For what still waits to be sent when the clock is set back. 0 or -ENOMEM. */
int sample_times_reserve(SampleTimes *times, uint64_t most);
void sample_times_reserve_one(SampleTimes *times, const char *channel, uint64_t at_msec);
/* All that any channel is given from here on is later than this. */
void sample_times_raise(SampleTimes *times, uint64_t at_msec);
uint64_t sample_times_set_back(const SampleTimes *times); /* how often */
