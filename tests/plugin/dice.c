/* SPDX-License-Identifier: Apache-2.0 */

/* A plugin as a third party writes it, outside plugd's tree: it knows the installed header and nothing else.
 * Throws a die at every interval. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <plugd/plugin.h>

static const struct plugd_option options[] = {
        {
                .name = "sides",
                .type = PLUGD_INTEGER,
                .fallback = "6",
                .min = 2,
                .max = 1000,
                .help = "How many sides the die has.",
        },
};

static const struct plugd_channel channels[] = {
        {.name = "pips",
                .type = PLUGD_INTEGER,
                .flags = PLUGD_READABLE,
                .help = "What was thrown, from 1 on."},
};

typedef struct Dice {
        const struct plugd_host *host;
        int64_t sides;
} Dice;

static int dice_open(const struct plugd_host *host, void **ret_instance)
{
        Dice *dice = malloc(sizeof(*dice));

        if (!dice)
                return -ENOMEM;
        *dice = (Dice){.host = host, .sides = host->option(host, "sides")->integer};
        *ret_instance = dice;
        return 0;
}

static int dice_read(void *instance)
{
        Dice *dice = instance;
        struct plugd_value pips = {.type = PLUGD_INTEGER};
        uint32_t random;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
                int error = errno;

                dice->host->log(
                        dice->host, PLUGD_ERROR, "the die has rolled off the table: %s", strerror(error));
                return -error;
        }
        pips.integer = 1 + random % dice->sides;
        return dice->host->emit(dice->host, 0, &pips, 0);
}

static void dice_close(void *instance)
{
        free(instance);
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "dice",
        .description = "Throws a die.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .channels = channels,
        .n_channels = sizeof(channels) / sizeof(channels[0]),
        .open = dice_open,
        .read = dice_read,
        .close = dice_close,
};
