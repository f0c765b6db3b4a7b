/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What plugins there are and what they offer: asks `plugd-worker --describe NAME`, once for each. Blocks
 * (bounded), so for the start and for --check. */

#include "descriptor.h"
#include "paths.h"

typedef struct Catalog Catalog;

int catalog_new(Catalog **ret, const Paths *paths);
Catalog *catalog_free(Catalog *catalog);
DEFINE_CLEANUP(Catalog, catalog_free);

/* A ConfigLookup. The sentence names the folder, and what there is instead. */
const Descriptor *catalog_lookup(const char *plugin, char **ret_error, void *catalog);

/* After a lookup that failed: could the plugin only not be asked (no time, no memory, no process to be had),
 * so that nothing is known against it? */
bool catalog_unsure(const Catalog *catalog, const char *plugin);
