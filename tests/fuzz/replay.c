/* SPDX-License-Identifier: Apache-2.0 */

/*
 * replay FOLDER…: runs a fuzz target over each file of these folders, in byte order of their names. Needs no
 * libFuzzer, so that every compiler can do it. A file that fails is the last one named.
 */

#include <dirent.h>
#include <errno.h>

#include "fuzz.h"
#include "util/clock.h"
#include "util/file.h"

#define FILE_MAX (1024 * 1024)

static int is_input(const struct dirent *entry)
{
        return entry->d_name[0] != '.';
}

static int byte_order(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int replay_file(const char *folder, const char *name)
{
        _cleanup_(freep) char *path = text_printf("%s/%s", folder, name), *text = NULL;
        _cleanup_(freep) uint8_t *data = NULL;
        size_t size = 0;
        int r = path ? file_read(path, FILE_MAX, &text, &size) : -ENOMEM;

        if (r < 0) {
                fprintf(stderr, "%s/%s can't be read: %s\n", folder, name, strerror(-r));
                return r;
        }
        fprintf(stderr, "%s\n", path);
        /* Without a byte to spare: what reads beyond its input shall be seen. */
        data = malloc(size + !size);
        if (!data)
                return -ENOMEM;
        memcpy(data, text, size);
        (void) LLVMFuzzerTestOneInput(data, size);
        return 0;
}

static int replay_folder(const char *folder)
{
        struct dirent **entries;
        int n = scandir(folder, &entries, is_input, byte_order), r = 0;

        if (n <= 0) {
                fprintf(stderr, "there is nothing to replay in %s%s%s\n", folder, n < 0 ? ": " : "",
                        n < 0 ? strerror(errno) : "");
                return -ENOENT;
        }
        for (int i = 0; i < n; i++) {
                r = r < 0 ? r : replay_file(folder, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        return r < 0 ? r : n;
}

int main(int argc, char **argv)
{
        uint64_t begin = clock_monotonic_usec();
        unsigned inputs = 0;

        if (argc < 2) {
                fprintf(stderr, "replay: which folder of inputs? replay FOLDER…\n");
                return 2;
        }
        for (int i = 1; i < argc; i++) {
                int r = replay_folder(argv[i]);

                if (r < 0)
                        return 1;
                inputs += (unsigned) r;
        }
        printf("%u inputs in %u ms\n", inputs,
                (unsigned) ((clock_monotonic_usec() - begin) / USEC_PER_MSEC));
        return 0;
}
