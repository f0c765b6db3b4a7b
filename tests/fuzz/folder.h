/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For targets with files: a folder in memory, made once, emptied for each input, removed at exit. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "util/file.h"

static char fuzz_folder[64];

static int fuzz_remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
        (void) status;
        (void) kind;
        return place->level > 0 ? remove(path) : 0;
}

static void fuzz_folder_clear(void)
{
        (void) nftw(fuzz_folder, fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void fuzz_folder_remove(void)
{
        fuzz_folder_clear();
        (void) rmdir(fuzz_folder);
}

/* Empty. */
static const char *fuzz_folder_get(void)
{
        if (fuzz_folder[0]) {
                fuzz_folder_clear();
                return fuzz_folder;
        }
        /* libFuzzer ends without atexit(): fuzz.sh has a folder that it removes itself. */
        snprintf(fuzz_folder, sizeof(fuzz_folder), "%s/plugd-fuzz-XXXXXX",
                getenv("FUZZ_FOLDER") ? getenv("FUZZ_FOLDER") : "/dev/shm");
        if (!mkdtemp(fuzz_folder)) {
                strcpy(fuzz_folder, "/tmp/plugd-fuzz-XXXXXX");
                hold(mkdtemp(fuzz_folder));
        }
        hold(atexit(fuzz_folder_remove) == 0);
        return fuzz_folder;
}

static void fuzz_write(const char *path, const void *data, size_t size)
{
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        hold(fd >= 0 && write(fd, data, size) == (ssize_t) size);
}
