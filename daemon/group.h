/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Owning the ABI's groups of settings: the daemon builds them from the configuration, the worker from the
 * wire. Model floor; needs nothing but libc. */

#include "../plugins/plugin.h"
#include "util/macros.h"

/* Appends a deep copy of name and value (nested groups included). 0 or -ENOMEM. */
int group_add(struct plugd_group *group, const char *name, const struct plugd_value *value);
const struct plugd_value *group_find(const struct plugd_group *group, const char *name); /* NULL: none */
void group_deinit(struct plugd_group *group);

/* The host's own keys in a sensor's group of settings, which no option of a plugin may take: "name",
 * "plugin", "channel", "interval", "rate_limit", "ttl", "priority", "when_full", "enabled". NULL-terminated.
 * Those that do nothing yet too: a plugin of today works tomorrow. */
extern const char *const group_host_keys[];
bool group_key_taken(const char *name);

/* --- group-devices.c: the devices that a descriptor names --------------------------------------------- */

#define DEVICES_MAX 16         /* patterns of one descriptor */
#define DEVICE_PATTERN_MAX 256 /* bytes of one */
#define DEVICE_PATH_MAX 1024   /* bytes of what becomes of it, with the NUL */

/* Is this a pattern as plugin.h has it, for a descriptor with these options? 0, or -EINVAL with the end of a
 * sentence. */
int device_check(
        const char *pattern, const struct plugd_option *options, size_t n_options, char **ret_error);
/* A pattern that was checked, to one for glob(): {NAME} becomes what the option is set to, in which no
 * character stands for others. Always below /dev, as far as one can say without looking. -ENODATA: one of
 * the options has no value, or an empty one; -EINVAL: one leads elsewhere, or is too long; -ENOMEM. */
int device_expand(const char *pattern, const struct plugd_group *options, char **ret);
