/* SPDX-License-Identifier: Apache-2.0 */

/* Which devices there are by now of those that the plugin names: looked for just before this process shuts
 * itself in, and again before each new try to open the instance. */

#include <errno.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "group.h"
#include "worker.h"

int devices_take(Devices *devices, BytesReader *body)
{
        uint32_t n = bytes_get_u32(body);

        if (body->failed || n > DEVICES_MAX)
                return -EBADMSG;
        devices->patterns = calloc(n + !n, sizeof(*devices->patterns));
        if (!devices->patterns)
                return -ENOMEM;
        for (; devices->n_patterns < n; devices->n_patterns++) {
                const char *pattern = bytes_get_string(body);

                if (!pattern)
                        return -EBADMSG;
                devices->patterns[devices->n_patterns] = strdup(pattern);
                if (!devices->patterns[devices->n_patterns])
                        return -ENOMEM;
        }
        return 0;
}

bool device_is(const Device *device, const struct stat *status)
{
        return S_ISCHR(status->st_mode) && status->st_rdev == device->number &&
               status->st_ino == device->inode && status->st_dev == device->filesystem;
}

static bool known(const Devices *devices, const struct stat *status)
{
        for (size_t i = 0; i < devices->n_found; i++)
                if (device_is(devices->found + i, status))
                        return true;
        return false;
}

/* Calls on_device for all that match and are not known yet, by their real names, until it returns less than
 * 0, and gives that. What is no character device below /dev in the end is none. */
static int look(
        Devices *devices, int (*on_device)(Devices *devices, const char *path, const struct stat *status))
{
        glob_t matches = {0};
        int r = 0;

        for (size_t i = 0; i < devices->n_patterns; i++)
                (void) glob(devices->patterns[i], GLOB_NOSORT | (i > 0 ? GLOB_APPEND : 0), NULL, &matches);
        for (size_t i = 0; i < matches.gl_pathc && r >= 0; i++) {
                _cleanup_(freep) char *path = realpath(matches.gl_pathv[i], NULL);
                struct stat status;

                if (path && strncmp(path, "/dev/", 5) == 0 && lstat(path, &status) == 0 &&
                        S_ISCHR(status.st_mode) && !known(devices, &status))
                        r = on_device(devices, path, &status);
        }
        globfree(&matches);
        return r;
}

static int add(Devices *devices, const char *path, const struct stat *status)
{
        Device *found = reallocarray(devices->found, devices->n_found + 1, sizeof(*found));
        char *copy = strdup(path);

        if (found)
                devices->found = found;
        if (!found || !copy) {
                free(copy);
                return -ENOMEM;
        }
        found[devices->n_found++] = (Device){copy, status->st_rdev, status->st_dev, status->st_ino};
        return 0;
}

int devices_find(Devices *devices)
{
        return look(devices, add);
}

static int come(Devices *devices, const char *path, const struct stat *status)
{
        (void) devices;
        (void) path;
        (void) status;
        return -EEXIST;
}

/* One that went makes no difference: what is allowed is more than there is, and no harm. */
bool devices_came(Devices *devices)
{
        return look(devices, come) < 0;
}

void devices_deinit(Devices *devices)
{
        for (size_t i = 0; i < devices->n_patterns; i++)
                free(devices->patterns[i]);
        for (size_t i = 0; i < devices->n_found; i++)
                free(devices->found[i].path);
        free(devices->patterns);
        free(devices->found);
        *devices = (Devices){0};
}
