/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a plugin says of itself, as `plugd-worker --describe NAME` prints it:
 *
 *     {"abi":1,"name":"sim","description":"…",
 *      "options":[{"name":"wave","type":"string","default":"counter","choices":["counter","sine"],
 *                  "min":0,"max":9,"unit":"s","required":false,"help":"…","options":[…]}],
 *      "channels":[{"name":"value","type":"number","unit":"°C","readable":true,"writable":false,"help":"…"}],
 *      "devices":["/dev/i2c-{bus}"]}
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
        char **devices; /* patterns, right for these options: device_expand() takes them */
        size_t n_devices;
} Descriptor;

/* What a descriptor may hold: more than anybody needs, and little enough for anybody. */
#define DESCRIPTOR_OPTIONS_MAX 64
#define DESCRIPTOR_CHANNELS_MAX 256
#define DESCRIPTOR_TEXT_MAX 65536 /* bytes of a string, as the ABI has it */

/* NULL: ret_error has a sentence that names the plugin where that is known. */
Descriptor *descriptor_parse(const char *text, size_t size, char **ret_error);
Descriptor *descriptor_free(Descriptor *descriptor);
DEFINE_CLEANUP(Descriptor, descriptor_free);

const struct plugd_option *descriptor_find_option(
        const struct plugd_option *options, size_t n, const char *name);
const char *descriptor_type_name(uint32_t plugd_type);

/* Which of "rising|falling|both" it is, from 0. -EINVAL: none of them. */
int descriptor_choice(const char *choices, const char *text);

/* The option's range and choices; the value has its type. 0, or -EINVAL with the end of a sentence that
 * begins with what the option is called: "7 is out of range (0 to 5 s)". */
int descriptor_check_value(
        const struct plugd_option *option, const struct plugd_value *value, char **ret_error);

/* Text, as a default is written, to a value of the option's type; strings are borrowed. 0 or -EINVAL. Looks
 * at the type only. */
int descriptor_parse_value(const struct plugd_option *option, const char *text, struct plugd_value *ret);
