/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The newest message of each channel, as a copy: what the server's last value has to be in the end. Bounded:
 * the channel that was updated longest ago is forgotten first. Pure.
 */

#include "sample.h"

#define LATEST_CHANNELS_MAX 1024
#define LATEST_BYTES_MAX (UINT64_C(1) << 20) /* all in all */

typedef struct LatestEntry {
        Sample sample;
        uint64_t sequence; /* in the spool */

        /* What delivery keeps with a channel; no update changes it. */
        bool due;              /* to be sent, outside of the order */
        bool stale;            /* the server's last value may be older than what it had before */
        uint64_t repeated;     /* then: in which window it was sent once more; 0: it wasn't yet */
        uint64_t backlog_last; /* the last of the backlog; 0: not known */
} LatestEntry;

typedef struct Latest Latest;

Latest *latest_new(void);
Latest *latest_free(Latest *latest);
DEFINE_CLEANUP(Latest, latest_free);

/* Takes a copy. Numbers ascend from call to call. Without memory the channel is forgotten. */
void latest_note(Latest *latest, uint64_t sequence, const Sample *sample);
LatestEntry *latest_find(const Latest *latest, const char *channel); /* or NULL */
/* All of them, from the one that was updated last to the oldest; NULL at the end. */
LatestEntry *latest_first(const Latest *latest);
LatestEntry *latest_next(const LatestEntry *entry);
