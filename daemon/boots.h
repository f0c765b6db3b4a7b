/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * When boots began. Of each boot whose samples waited for the clock: how far the time of day is ahead of its
 * CLOCK_BOOTTIME. Fixed once and for good, so that such a sample has the same time however often it is sent.
 * Kept in the file `boots` of the state directory, which is replaced as a whole:
 *
 *     plugd boots 1
 *     0123456789abcdef0123456789abcdef exact 1763800000000
 *     crc32c 1a2b3c4d
 */

#include "sample.h"
#include "util/macros.h"

#define BOOTS_MAX 1024 /* beyond, the one that was added first goes */

typedef enum BootKind {
        BOOT_EXACT,     /* the clock was set while it ran */
        BOOT_ESTIMATED, /* it ended before that */
        BOOT_UNTIMED,   /* its samples go out without a time */
} BootKind;

typedef struct Boot {
        uint8_t id[SAMPLE_BOOT_SIZE];
        BootKind kind;
        int64_t offset_msec; /* since the epoch, at CLOCK_BOOTTIME 0 */
} Boot;

typedef struct Boots Boots;

/* Reads the file. One that can't be used is set aside, logged, and does without; one that isn't there, or
 * can't be read, may come yet. 0 or -ENOMEM. */
int boots_new(Boots **ret, const char *state_directory);
Boots *boots_free(Boots *boots);
DEFINE_CLEANUP(Boots, boots_free);

const Boot *boots_find(const Boots *boots, const uint8_t id[static SAMPLE_BOOT_SIZE]); /* NULL: none */
size_t boots_count(const Boots *boots);
/* The others go. */
void boots_keep(Boots *boots, bool (*keep)(const Boot *boot, void *userdata), void *userdata);
int boots_add(Boots *boots, const Boot *boot); /* one that isn't there yet. 0 or -ENOMEM */
/* Reads the file if that could not be done until now. What it says goes before estimates that were added
 * meanwhile, not before what is exact. What boots_find() returned is gone. 0, also if that was done before;
 * or -errno: not yet. */
int boots_catch_up(Boots *boots);
/* fsync and rename: what was added survives a power cut when this has returned 0. Catches up first; a file
 * that can't be read even now is set aside. */
int boots_save(Boots *boots);
const char *boots_path(const Boots *boots);
