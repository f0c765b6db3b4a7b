/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the two halves of a trim share: spool-trim.c reads and decides, spool-trim-write.c writes. */

#include "spool-internal.h"

typedef struct Walk {
        Trim *trim;
        Plan plan;
        Reader reader;
        Summary *cached; /* of the first segments */
        size_t n_cached;
        size_t n_taken;  /* segments that are in one of these: */
        Segment *result; /* what there is now */
        size_t n_result;

        /* What is being written, for the segments up to the one that is looked at. */
        int fd;
        Segment out;
        Summary summary;
        Bytes pending;
        Segment *sources;
        size_t n_sources;
} Walk;

/* spool-trim-write.c */
/* One that stays. The file is begun with the first. 0 or -errno. */
int out_put(Walk *walk, const Segment *source, const Record *record);
/* The new file takes the place of its sources. */
int out_commit(Walk *walk);
/* Nothing has happened: the sources stay as they were. */
void out_abandon(Walk *walk);
int source_remove(Walk *walk, Segment *source);
