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
