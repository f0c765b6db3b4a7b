/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Times of messages: one table of channels and their last times, bounded, and two bounded sets of what was
 * given lately. A clock that is found more than a minute before where it was begins a new epoch, in which
 * times of the old one don't hold a channel back. From then on a time is given only if it isn't in the sets,
 * so that none that still waits in the spool is used twice.
 */

#include <errno.h>
#include <string.h>

#include "sample.h"

#define SET_BACK_MSEC (60 * UINT64_C(1000))
#define CHANNELS_MAX 4096 /* a client of the bus may make up channels for ever */
#define BUCKETS 256

/* A set is a bit for each hash of channel and time: "no" is certain, "yes" may be a mistake, which costs a
 * millisecond. At most every fourth bit is set. The older of two goes when the newer is full. */
#define SET_BITS (UINT32_C(1) << 19)
#define SET_MAX (SET_BITS / 4)

/* What waits in the spool when the clock is set back: the same, as large as is needed, within limits. */
#define RESERVED_BITS_MIN (UINT32_C(1) << 16)
#define RESERVED_BITS_MAX (UINT32_C(1) << 25)

typedef struct Channel Channel;

struct Channel {
        Channel *next;
        uint64_t hash;
        uint64_t last_msec;
        uint64_t epoch;     /* that last_msec is of */
        uint64_t used_tick; /* when it was last asked for: the least is evicted */
        char name[];
};

typedef struct Set {
        uint64_t *bits;
        uint32_t size;
} Set;

struct SampleTimes {
        Channel *buckets[BUCKETS];
        size_t n_channels;
        uint64_t tick;
        uint64_t clock_msec; /* the latest in this epoch */
        uint64_t floor_msec; /* no evicted channel of this epoch was given a later one */
        uint64_t epoch;      /* how often the clock was set back */
        Set young, old;
        Set reserved; /* no bits: nothing is */
        uint32_t reserved_bits;
};

SampleTimes *sample_times_new(void)
{
        _cleanup_(sample_times_freep) SampleTimes *times = calloc(1, sizeof(*times));

        if (!times)
                return NULL;
        times->young.bits = calloc(SET_BITS / 64, sizeof(uint64_t));
        times->old.bits = calloc(SET_BITS / 64, sizeof(uint64_t));
        if (!times->young.bits || !times->old.bits)
                return NULL;
        return TAKE_PTR(times);
}

SampleTimes *sample_times_free(SampleTimes *times)
{
        if (!times)
                return NULL;
        for (size_t i = 0; i < BUCKETS; i++)
                while (times->buckets[i]) {
                        Channel *channel = times->buckets[i];

                        times->buckets[i] = channel->next;
                        free(channel);
                }
        free(times->young.bits);
        free(times->old.bits);
        free(times->reserved.bits);
        free(times);
        return NULL;
}

static uint64_t mix(uint64_t value)
{
        value = (value ^ (value >> 32)) * UINT64_C(0xd6e8feb86659fd93);
        value = (value ^ (value >> 32)) * UINT64_C(0xd6e8feb86659fd93);
        return value ^ (value >> 32);
}

static uint64_t hash_name(const char *name)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (; *name; name++)
                hash = (hash ^ (uint8_t) *name) * UINT64_C(0x100000001b3);
        return mix(hash);
}

static uint32_t hash_time(uint64_t channel_hash, uint64_t at_msec)
{
        return (uint32_t) mix(channel_hash ^ at_msec);
}

static bool times_used(const SampleTimes *times, const Channel *channel, uint64_t at_msec)
{
        uint32_t hash = hash_time(channel->hash, at_msec), bit = hash % SET_BITS;

        if (((times->young.bits[bit / 64] | times->old.bits[bit / 64]) >> (bit % 64)) & 1)
                return true;
        if (!times->reserved.bits)
                return false;
        bit = hash & (times->reserved_bits - 1);
        return (times->reserved.bits[bit / 64] >> (bit % 64)) & 1;
}

static void times_use(SampleTimes *times, const Channel *channel, uint64_t at_msec)
{
        uint32_t bit = hash_time(channel->hash, at_msec) % SET_BITS;

        if (times->young.size == SET_MAX) {
                Set emptied = times->old;

                memset(emptied.bits, 0, SET_BITS / 8);
                times->old = times->young;
                times->young = (Set){.bits = emptied.bits};
        }
        times->young.bits[bit / 64] |= UINT64_C(1) << (bit % 64);
        times->young.size++;
}

static void times_evict(SampleTimes *times)
{
        Channel **oldest = NULL, *evicted;

        for (size_t i = 0; i < BUCKETS; i++)
                for (Channel **p = &times->buckets[i]; *p; p = &(*p)->next)
                        if (!oldest || (*p)->used_tick < (*oldest)->used_tick)
                                oldest = p;
        evicted = *oldest;
        if (evicted->epoch == times->epoch)
                times->floor_msec = MAX(times->floor_msec, evicted->last_msec);
        *oldest = evicted->next;
        free(evicted);
        times->n_channels--;
}

static Channel *times_channel(SampleTimes *times, const char *name)
{
        uint64_t hash = hash_name(name);
        Channel **bucket = &times->buckets[hash % BUCKETS], *channel;

        for (channel = *bucket; channel; channel = channel->next)
                if (channel->hash == hash && strcmp(channel->name, name) == 0)
                        break;
        if (!channel) {
                channel = malloc(sizeof(*channel) + strlen(name) + 1);
                if (!channel)
                        return NULL;
                if (times->n_channels == CHANNELS_MAX)
                        times_evict(times);
                /* It may be one that was evicted. */
                *channel = (Channel){.next = *bucket,
                        .hash = hash,
                        .last_msec = times->floor_msec,
                        .epoch = times->epoch};
                strcpy(channel->name, name);
                *bucket = channel;
                times->n_channels++;
        }
        channel->used_tick = ++times->tick;
        return channel;
}

bool sample_times_clock(SampleTimes *times, uint64_t now_msec)
{
        if (now_msec + SET_BACK_MSEC >= times->clock_msec) {
                times->clock_msec = MAX(times->clock_msec, now_msec);
                return true;
        }
        times->epoch++;
        times->clock_msec = now_msec;
        times->floor_msec = 0;
        return false;
}

/* Does its last time hold the channel back? */
static bool channel_held_back(const SampleTimes *times, const Channel *channel)
{
        return channel->epoch == times->epoch || channel->last_msec <= times->clock_msec + SET_BACK_MSEC;
}

int sample_times_next(
        SampleTimes *times, const char *name, uint64_t wanted_msec, unsigned count, uint64_t *ret_at_msec)
{
        Channel *channel = times_channel(times, name);
        uint64_t at_msec = wanted_msec;

        if (!channel)
                return -ENOMEM;

        if (channel_held_back(times, channel))
                at_msec = MAX(at_msec, channel->last_msec + 1);
        if (times->epoch > 0)
                for (uint64_t i = at_msec; i < at_msec + count; i++)
                        if (times_used(times, channel, i))
                                at_msec = i + 1;

        for (unsigned i = 0; i < count; i++)
                times_use(times, channel, at_msec + i);
        channel->last_msec = at_msec + count - 1;
        channel->epoch = times->epoch;
        *ret_at_msec = at_msec;
        return 0;
}

int sample_times_note(SampleTimes *times, const char *name, uint64_t at_msec)
{
        Channel *channel = times_channel(times, name);

        if (!channel)
                return -ENOMEM;
        times_use(times, channel, at_msec);
        channel->last_msec = MAX(channel->last_msec, at_msec);
        times->clock_msec = MAX(times->clock_msec, at_msec);
        return 0;
}

void sample_times_raise(SampleTimes *times, uint64_t at_msec)
{
        for (size_t i = 0; i < BUCKETS; i++)
                for (Channel *channel = times->buckets[i]; channel; channel = channel->next) {
                        if (!channel_held_back(times, channel) || channel->last_msec < at_msec)
                                channel->last_msec = at_msec;
                        channel->epoch = times->epoch;
                }
        times->floor_msec = MAX(times->floor_msec, at_msec);
        times->clock_msec = MAX(times->clock_msec, at_msec);
}

int sample_times_reserve(SampleTimes *times, uint64_t most)
{
        uint32_t bits = RESERVED_BITS_MIN;

        free(TAKE_PTR(times->reserved.bits));
        if (most == 0)
                return 0;
        while (bits < RESERVED_BITS_MAX && bits / 4 < most)
                bits *= 2;
        times->reserved.bits = calloc(bits / 64, sizeof(uint64_t));
        times->reserved_bits = bits;
        return times->reserved.bits ? 0 : -ENOMEM;
}

void sample_times_reserve_one(SampleTimes *times, const char *name, uint64_t at_msec)
{
        uint32_t bit;

        if (!times->reserved.bits)
                return;
        bit = hash_time(hash_name(name), at_msec) & (times->reserved_bits - 1);
        times->reserved.bits[bit / 64] |= UINT64_C(1) << (bit % 64);
}

uint64_t sample_times_set_back(const SampleTimes *times)
{
        return times->epoch;
}
