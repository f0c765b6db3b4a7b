/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is in a segment, without its records: for each sensor's channel how much, how new and up to which
 * number; for each boot how many samples are held. A sealed segment ends with its summary, so a full spool
 * is opened, and what has to go is chosen, without reading it. Pure, but for reading one from a file.
 */

#include "sample.h"
#include "util/bytes.h"

typedef struct Record Record;

typedef struct SummaryEntry {
        char *sensor; /* NULL: a free slot; the channel's text is behind it */
        const char *channel;
        uint64_t messages, bytes;
        uint64_t timeless;  /* of the messages: those that have no time, or none yet */
        uint64_t at_msec;   /* the newest time; 0: there is none */
        uint64_t last;      /* the highest number, */
        uint32_t last_size; /* and how large that record is */
        uint32_t tag;       /* for who goes through it; not stored */
} SummaryEntry;

typedef struct SummaryBoot {
        uint8_t boot[SAMPLE_BOOT_SIZE];
        uint64_t first; /* the lowest number */
        uint64_t at_msec;
        uint64_t messages;
} SummaryBoot;

typedef struct Summary {
        SummaryEntry *slots; /* open addressing: capacity is 0 or a power of two */
        size_t capacity, n;
        SummaryBoot *boots; /* as they were found */
        size_t n_boots;
} Summary;

void summary_deinit(Summary *summary);
/* 0 or -ENOMEM, all three. */
int summary_add(Summary *summary, const Record *record);
int summary_add_entry(Summary *summary, const SummaryEntry *entry);
int summary_merge(Summary *summary, const Summary *other);
SummaryEntry *summary_find(const Summary *summary, const char *sensor, const char *channel); /* or NULL */
void summary_sort_boots(Summary *summary);                                                   /* by number */

typedef struct SegmentFooter {
        uint64_t last;
        uint32_t count;
        uint32_t size; /* of the footer itself */
} SegmentFooter;

void segment_footer_encode(Bytes *out, uint64_t last, uint32_t count, const Summary *summary);
/* Reads the footer of a file of this size. 0, -ENODATA (there is none), -EBADMSG, -ENOMEM, -errno. */
int segment_footer_read(int fd, uint32_t file_size, SegmentFooter *ret, Summary *summary);
