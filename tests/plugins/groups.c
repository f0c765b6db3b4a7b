/* SPDX-License-Identifier: Apache-2.0 */

/* Options of every type, and a list of groups: gives one channel for each group, and says on it what the
 * group had in it. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin.h"

static const struct plugd_option line_options[] = {
        {.name = "name", .type = PLUGD_STRING, .flags = PLUGD_REQUIRED, .help = "The channel's name."},
        {.name = "line",
                .type = PLUGD_INTEGER,
                .flags = PLUGD_REQUIRED,
                .min = 0,
                .max = 63,
                .help = "Its number."},
        {.name = "edge", .type = PLUGD_STRING, .fallback = "both", .choices = "rising|falling|both"},
        {.name = "debounce", .type = PLUGD_NUMBER, .fallback = "0.02", .min = 0, .max = 10, .unit = "s"},
        {.name = "invert", .type = PLUGD_BOOLEAN, .fallback = "false"},
};

static const struct plugd_option options[] = {
        {.name = "chip",
                .type = PLUGD_STRING,
                .fallback = "gpiochip\"0\"",
                .help = "With \"quotes\" and °."},
        {
                .name = "lines",
                .type = PLUGD_GROUPS,
                .flags = PLUGD_REQUIRED,
                .help = "One group a line.",
                .options = line_options,
                .n_options = sizeof(line_options) / sizeof(line_options[0]),
        },
};

typedef struct Groups {
        const struct plugd_host *host;
        const struct plugd_value *lines;
} Groups;

static int groups_open(const struct plugd_host *host, void **ret_instance)
{
        Groups *groups = calloc(1, sizeof(*groups));

        if (!groups)
                return -ENOMEM;
        *groups = (Groups){.host = host, .lines = host->option(host, "lines")};
        for (uint32_t i = 0; i < groups->lines->count; i++) {
                const struct plugd_channel channel = {
                        .name = host->setting(host, groups->lines->groups + i, "name")->string,
                        .type = PLUGD_JSON,
                        .flags = PLUGD_READABLE,
                };
                int r = host->declare(host, &channel);

                if (r < 0) {
                        host->log(host, PLUGD_ERROR, "line %u has a name that is taken or wrong: '%s'",
                                i + 1, channel.name);
                        free(groups);
                        return r;
                }
        }
        *ret_instance = groups;
        return 0;
}

static int groups_read(void *instance)
{
        Groups *groups = instance;
        const struct plugd_host *host = groups->host;

        for (uint32_t i = 0; i < groups->lines->count; i++) {
                const struct plugd_group *line = groups->lines->groups + i;
                char text[256];
                int r;

                snprintf(text, sizeof(text),
                        "{\"line\":%" PRId64 ",\"edge\":\"%s\",\"debounce\":%g,\"invert\":%s}",
                        host->setting(host, line, "line")->integer,
                        host->setting(host, line, "edge")->string,
                        host->setting(host, line, "debounce")->number,
                        host->setting(host, line, "invert")->boolean ? "true" : "false");
                r = host->emit(host, i, &(struct plugd_value){.type = PLUGD_JSON, .string = text}, 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void groups_close(void *instance)
{
        free(instance);
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "groups",
        .description = "Says what it was configured with.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .open = groups_open,
        .read = groups_read,
        .close = groups_close,
};
