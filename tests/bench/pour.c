/* SPDX-License-Identifier: Apache-2.0 */

/* A sensor that pours: so many samples of a known size at a known rate, each with a number of its own, or
 * with the moment at which it was handed over. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plugin.h"

#define TEXT_MAX 4096

static const struct plugd_option options[] = {
        {
                .name = "count",
                .type = PLUGD_INTEGER,
                .fallback = "0",
                .min = 0,
                .max = 1e12,
                .help = "How many samples in all; 0: for ever.",
        },
        {
                .name = "burst",
                .type = PLUGD_INTEGER,
                .fallback = "1",
                .min = 1,
                .max = 10000,
                .help = "Samples at each interval.",
        },
        {
                .name = "channels",
                .type = PLUGD_INTEGER,
                .fallback = "1",
                .min = 1,
                .max = PLUGD_CHANNELS_MAX,
                .help = "They get the samples in turn.",
        },
        {
                .name = "size",
                .type = PLUGD_INTEGER,
                .fallback = "0",
                .min = 0,
                .max = TEXT_MAX,
                .unit = "bytes",
                .help = "Of the data, which is a text that begins with the number; 0: the bare number.",
        },
        {
                .name = "stamp",
                .type = PLUGD_BOOLEAN,
                .fallback = "false",
                .help = "In place of the number, CLOCK_MONOTONIC in µs, just before it is handed over.",
        },
};

typedef struct Pour {
        const struct plugd_host *host;
        int64_t count, burst, channels, size, stamp, poured;
        char text[TEXT_MAX + 32];
} Pour;

static int64_t now_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int pour_open(const struct plugd_host *host, void **ret_instance)
{
        Pour *pour = calloc(1, sizeof(*pour));

        if (!pour)
                return -ENOMEM;
        pour->host = host;
        pour->count = host->option(host, "count")->integer;
        pour->burst = host->option(host, "burst")->integer;
        pour->channels = host->option(host, "channels")->integer;
        pour->size = host->option(host, "size")->integer;
        pour->stamp = host->option(host, "stamp")->boolean;
        for (int64_t i = 0; i < pour->channels; i++) {
                char name[8];
                struct plugd_channel channel = {.name = name,
                        .type = pour->size > 0 ? PLUGD_STRING : PLUGD_INTEGER,
                        .flags = PLUGD_READABLE};
                int r;

                snprintf(name, sizeof(name), "c%03" PRId64, i % 1000);
                r = host->declare(host, &channel);
                if (r < 0) {
                        free(pour);
                        return r;
                }
        }
        *ret_instance = pour;
        return 0;
}

static int pour_one(Pour *pour)
{
        int64_t number = pour->stamp ? now_usec() : pour->poured;
        struct plugd_value value = {.type = PLUGD_INTEGER, .integer = number};
        int r;

        if (pour->size > 0) {
                /* Two bytes are the quotes'. The number first, so that it is found without looking far. */
                int length = (int) pour->size - 2;
                int used = snprintf(pour->text, sizeof(pour->text), "%" PRId64 " ", number);

                if (length > used) {
                        memset(pour->text + used, 'x', (size_t) (length - used));
                        pour->text[length] = '\0';
                }
                value = (struct plugd_value){.type = PLUGD_STRING, .string = pour->text};
        }
        r = pour->host->emit(pour->host, (uint32_t) (pour->poured % pour->channels), &value, 0);
        if (r == 0)
                pour->poured++;
        return r;
}

static int pour_read(void *instance)
{
        Pour *pour = instance;
        int r = 0;

        for (int64_t i = 0; i < pour->burst && r == 0 && (pour->count == 0 || pour->poured < pour->count);
                i++)
                r = pour_one(pour);
        return r;
}

static void pour_close(void *instance)
{
        free(instance);
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "pour",
        .description = "So many samples of a known size, at a known rate.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .open = pour_open,
        .read = pour_read,
        .close = pour_close,
};
