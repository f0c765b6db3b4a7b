/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a plugin says of itself, as `plugd-worker --describe NAME` prints it:
 *
 *     {"abi":1,"name":"sim","description":"…",
 *      "options":[{"name":"wave","type":"string","default":"counter","choices":["counter","sine"],
 *                  "min":0,"max":9,"unit":"s","required":false,"help":"…","options":[…]}],
 *      "channels":[{"name":"value","type":"number","unit":"°C","readable":true,"writable":false,"help":"…"}]}
 *
 * type is "boolean", "integer", "number", "string", "json" or "groups". Members without a value are left
 * out. Pure: reads through payload.h. The result is in the ABI's own structs, with everything they point to
 * owned by the Descriptor.
 */

#include "../plugins/plugin.h"
#include "util/macros.h"

typedef struct Descriptor {
        char *name, *description;
        struct plugd_option *options; /* fallback, choices, … as in the ABI */
        size_t n_options;
        struct plugd_channel *channels;
        size_t n_channels;
} Descriptor;

/* The host's own keys, which no option may take: "name", "plugin", "channel", "interval", "rate_limit",
 * "ttl", "priority", "when_full", "enabled". NULL-terminated. */
extern const char *const descriptor_host_keys[];

Descriptor *descriptor_parse(const char *text, size_t size, char **ret_error);
Descriptor *descriptor_free(Descriptor *descriptor);
DEFINE_CLEANUP(Descriptor, descriptor_free);

const struct plugd_option *descriptor_find_option(
        const struct plugd_option *options, size_t n, const char *name);
const char *descriptor_type_name(uint32_t plugd_type);

/* Text, as a default is written, to a value of the option's type; strings are borrowed. 0 or -EINVAL. */
int descriptor_parse_value(const struct plugd_option *option, const char *text, struct plugd_value *ret);
