/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the system's files say of GPIO chips: which there are, where a path leads, who may open one. Users
 * and groups come straight out of /etc: the sandbox has no sockets, which the name service may want.
 */

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gpio-lines.h"

#define CHIPS_MAX 256
#define PREFIX "gpiochip"

int64_t gpio_now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * GPIO_NSEC_PER_SEC + now.tv_nsec;
}

/* --- which chips there are ---------------------------------------------------------------------------- */

/* "gpiochip12" */
static bool is_chip(const char *name)
{
        const char *digits = name + strlen(PREFIX);

        return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && digits[0] &&
               digits[strspn(digits, "0123456789")] == '\0' && strlen(name) < GPIO_NAME_MAX;
}

/* By number: the shorter one is the smaller one. */
static int compare(const void *left, const void *right)
{
        size_t left_length = strlen(left), right_length = strlen(right);

        return left_length != right_length ? (left_length < right_length ? -1 : 1) : strcmp(left, right);
}

int gpio_dev_list(const char *folder, char (**ret_names)[GPIO_NAME_MAX])
{
        char(*names)[GPIO_NAME_MAX] = calloc(CHIPS_MAX, sizeof(*names));
        DIR *dir = names ? opendir(folder) : NULL;
        const struct dirent *entry;
        int n = 0;

        if (!names)
                return -ENOMEM;
        while (dir && n < CHIPS_MAX && (entry = readdir(dir)))
                if (is_chip(entry->d_name))
                        memcpy(names[n++], entry->d_name, strlen(entry->d_name) + 1);
        if (dir)
                closedir(dir); /* without the folder, the kernel has no GPIO at all */
        qsort(names, (size_t) n, sizeof(*names), compare);
        *ret_names = names;
        return n;
}

int gpio_dev_resolve(const char *path, char ret_name[static GPIO_NAME_MAX])
{
        char *real = realpath(path, NULL);
        const char *name;
        int r = -ENOTTY;

        if (!real)
                return -errno;
        name = strrchr(real, '/') + 1;
        if (is_chip(name)) {
                memcpy(ret_name, name, strlen(name) + 1);
                r = 0;
        }
        free(real);
        return r;
}

/* --- who may open one --------------------------------------------------------------------------------- */

/* The name in etc/group, else the number. */
static void name_group(const char *etc, gid_t gid, char *to, size_t size)
{
        char path[PATH_MAX];
        const struct group *group;
        FILE *file;

        snprintf(to, size, "%u", (unsigned) gid);
        snprintf(path, sizeof(path), "%s/group", etc);
        file = fopen(path, "re");
        if (!file)
                return;
        while ((group = fgetgrent(file)))
                if (group->gr_gid == gid) {
                        snprintf(to, size, "%s", group->gr_name);
                        break;
                }
        fclose(file);
}

static void name_user(const char *etc, uid_t uid, char *to, size_t size)
{
        char path[PATH_MAX];
        const struct passwd *user;
        FILE *file;

        snprintf(to, size, "%u", (unsigned) uid);
        snprintf(path, sizeof(path), "%s/passwd", etc);
        file = fopen(path, "re");
        if (!file)
                return;
        while ((user = fgetpwent(file)))
                if (user->pw_uid == uid) {
                        snprintf(to, size, "%s", user->pw_name);
                        break;
                }
        fclose(file);
}

void gpio_dev_explain(const char *path, const char *etc, char *ret_words, size_t size)
{
        char user[64], owner[64], group[64];
        struct stat status;

        if (stat(path, &status) < 0) {
                snprintf(ret_words, size, "%s may not be opened, and not be looked at: %s", path,
                        strerror(errno));
                return;
        }
        /* EPERM: not the mode, but the list of devices that a service or a container may have. */
        if (euidaccess(path, R_OK | W_OK) == 0 || errno == EPERM) {
                snprintf(ret_words, size,
                        "%s may be opened by plugd's user, but something else keeps it from doing so: "
                        "a service needs DeviceAllow=char-gpiochip rw, a container the device",
                        path);
                return;
        }
        name_user(etc, geteuid(), user, sizeof(user));
        name_user(etc, status.st_uid, owner, sizeof(owner));
        name_group(etc, status.st_gid, group, sizeof(group));
        if ((status.st_mode & (S_IRGRP | S_IWGRP)) == (S_IRGRP | S_IWGRP) && status.st_gid != 0)
                snprintf(ret_words, size,
                        "%s may be opened by %s and group %s only: add the user %s to this group "
                        "(usermod -aG %s %s), and restart plugd",
                        path, owner, group, user, group, user);
        else
                snprintf(ret_words, size,
                        "%s may be opened by %s only: it has to belong to a group that the user %s is in, "
                        "with mode 0660 (a udev rule does that)",
                        path, owner, user);
}
