/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where things are: from the environment that systemd sets, else the defaults (of the user with --user). */

#include "util/macros.h"

typedef struct Paths {
        char *config; /* SYSCONFDIR/plugd/plugd.conf, or what --config says */
        char *state;  /* $STATE_DIRECTORY, /var/lib/plugd; user: $XDG_STATE_HOME/plugd (~/.local/state/plugd)
                       */
        char *runtime;     /* $RUNTIME_DIRECTORY, /run/plugd; user: $XDG_RUNTIME_DIR/plugd */
        char *credentials; /* $CREDENTIALS_DIRECTORY, or NULL */
        char *plugins;     /* LIBDIR/plugd/plugins; $PLUGD_PLUGIN_DIR (uninstalled, tests) */
        char *worker;      /* LIBEXECDIR/plugd-worker; $PLUGD_WORKER (uninstalled, tests) */
} Paths;

/* config: NULL for the default. 0, -ENOMEM, or -ENXIO with a sentence ($XDG_RUNTIME_DIR is not set …). */
int paths_init(Paths *ret, bool user, const char *config, char **ret_error);
void paths_deinit(Paths *paths);
