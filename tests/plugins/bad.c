/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptors with one mistake each: which one, the build says. And one without, from before `devices`. */

#include <errno.h>

#include "plugin.h"

static const struct plugd_option options[] = {
#ifdef BAD_OPTION
        {.name = "two words", .type = PLUGD_STRING, .help = "A name that the configuration can't have."},
#elif defined(BAD_DEFAULT)
        {.name = "speed", .type = PLUGD_STRING, .fallback = "ludicrous", .choices = "slow|fast"},
#elif defined(BAD_RANGE)
        {.name = "address", .type = PLUGD_INTEGER, .min = 10, .max = 3},
#elif defined(BAD_TWINS)
        {.name = "twin", .type = PLUGD_INTEGER},
        {.name = "twin", .type = PLUGD_NUMBER},
#elif defined(HOST_KEY)
        {.name = "interval", .type = PLUGD_NUMBER, .help = "This one is the host's."},
#else
        {.name = "fine", .type = PLUGD_BOOLEAN, .fallback = "true"},
#endif
};

static const struct plugd_channel channels[] = {
#ifdef BAD_WRITABLE
        {.name = "fan", .type = PLUGD_NUMBER, .flags = PLUGD_READABLE | PLUGD_WRITABLE},
#elif defined(BAD_CHANNEL)
        {.name = "all/of/+", .type = PLUGD_NUMBER, .flags = PLUGD_READABLE},
#else
        {.name = "value", .type = PLUGD_NUMBER, .flags = PLUGD_READABLE},
#endif
};

#if defined(BAD_DEVICE)
static const char *const devices[] = {"/dev/zero", "/etc/shadow", NULL};
#elif defined(BAD_DEVICE_OPTION)
static const char *const devices[] = {"/dev/{fine}", NULL};
#endif

#ifndef BAD_FUNCTIONS
static int bad_open(const struct plugd_host *host, void **ret_instance)
{
        host->log(host, PLUGD_ERROR, "nobody should have come this far");
        *ret_instance = NULL;
        return -ENOTSUP;
}
#endif

static int bad_read(void *instance)
{
        (void) instance;
        return -ENOTSUP;
}

static void bad_close(void *instance)
{
        (void) instance;
}

const struct plugd_plugin plugd_plugin_v1 = {
#ifdef BAD_ABI
        .abi = PLUGD_ABI + 1,
#else
        .abi = PLUGD_ABI,
#endif
#ifdef BAD_SIZE
        .size = offsetof(struct plugd_plugin, close),
#elif defined(OLD_SIZE)
        .size = offsetof(struct plugd_plugin, devices),
#else
        .size = sizeof(struct plugd_plugin),
#endif
#ifdef BAD_NAME
        .name = "somebody-else",
#else
        .name = PLUGIN_NAME,
#endif
        .description = "Wrong on purpose.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .channels = channels,
        .n_channels = sizeof(channels) / sizeof(channels[0]),
#ifndef BAD_FUNCTIONS
        .open = bad_open,
#endif
        .read = bad_read,
        .close = bad_close,
#if defined(BAD_DEVICE) || defined(BAD_DEVICE_OPTION)
        .devices = devices,
#elif defined(OLD_SIZE)
        .devices = (const char *const *) 8, /* behind its end: nobody looks */
#endif
};
