/* SPDX-License-Identifier: Apache-2.0 */
#include "paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugd-build.h"
#include "util/text.h"

/* A variable that is set to nothing is as good as none. */
static const char *environment(const char *name)
{
        const char *value = getenv(name);

        return value && *value ? value : NULL;
}

/* A folder for good, whatever the working directory will be. first: of a list with colons. */
static char *absolute(const char *path, bool first)
{
        int length = (int) (first ? strcspn(path, ":") : strlen(path));
        _cleanup_(freep) char *here = NULL;

        if (*path == '/')
                return text_printf("%.*s", length, path);
        here = getcwd(NULL, 0);
        return here ? text_printf("%s/%.*s", here, length, path) : NULL;
}

/* $XDG_…: only absolute ones count, as its specification has it. */
static const char *xdg(const char *name)
{
        const char *value = environment(name);

        return value && *value == '/' ? value : NULL;
}

static int user_state(char **ret, char **ret_error)
{
        const char *state = xdg("XDG_STATE_HOME"), *home = xdg("HOME");

        if (!state && !home) {
                text_set(ret_error, "there is no place for plugd's state: neither $STATE_DIRECTORY, "
                                    "$XDG_STATE_HOME nor $HOME "
                                    "is set");
                return -ENXIO;
        }
        *ret = state ? text_printf("%s/plugd", state) : text_printf("%s/.local/state/plugd", home);
        return 0;
}

static int user_runtime(char **ret, char **ret_error)
{
        const char *runtime = xdg("XDG_RUNTIME_DIR");

        if (!runtime) {
                text_set(ret_error,
                        "there is no place for plugd's runtime files: neither $RUNTIME_DIRECTORY nor "
                        "$XDG_RUNTIME_DIR is set (log in properly, or set one of them)");
                return -ENXIO;
        }
        *ret = text_printf("%s/plugd", runtime);
        return 0;
}

static int find_state(char **ret, bool user, char **ret_error)
{
        const char *given = environment("STATE_DIRECTORY");

        if (!given && user)
                return user_state(ret, ret_error);
        *ret = given ? absolute(given, true) : strdup(PLUGD_LOCALSTATEDIR "/lib/plugd");
        return 0;
}

static int find_runtime(char **ret, bool user, char **ret_error)
{
        const char *given = environment("RUNTIME_DIRECTORY");

        if (!given && user)
                return user_runtime(ret, ret_error);
        *ret = given ? absolute(given, true) : strdup(PLUGD_RUNSTATEDIR "/plugd");
        return 0;
}

int paths_init(Paths *ret, bool user, const char *config, char **ret_error)
{
        const char *credentials = environment("CREDENTIALS_DIRECTORY"),
                   *plugins = environment("PLUGD_PLUGIN_DIR"), *worker = environment("PLUGD_WORKER");
        Paths paths = {0};
        int r;

        r = find_state(&paths.state, user, ret_error);
        if (r >= 0)
                r = find_runtime(&paths.runtime, user, ret_error);
        if (r < 0) {
                paths_deinit(&paths);
                return r;
        }
        paths.config = strdup(config ? config : PLUGD_SYSCONFDIR "/plugd/plugd.conf");
        paths.credentials = credentials ? absolute(credentials, false) : NULL;
        paths.plugins = plugins ? absolute(plugins, false) : strdup(PLUGD_PLUGINDIR);
        paths.worker = worker ? absolute(worker, false) : strdup(PLUGD_LIBEXECDIR "/plugd-worker");
        if (!paths.state || !paths.runtime || !paths.config || !paths.plugins || !paths.worker ||
                (credentials && !paths.credentials)) {
                paths_deinit(&paths);
                return -ENOMEM;
        }
        *ret = paths;
        return 0;
}

void paths_deinit(Paths *paths)
{
        free(paths->config);
        free(paths->state);
        free(paths->runtime);
        free(paths->credentials);
        free(paths->plugins);
        free(paths->worker);
        *paths = (Paths){0};
}
