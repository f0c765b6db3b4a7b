/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which files a plugin may open, by Landlock (kernel 5.13 and later, where it is enabled): system libraries
 * and their data, what everybody may read in /etc, /proc, /sys, the folder of the plugins; and in /dev the
 * devices that it names, and some that are none, also for writing. /dev/zero is not among these: mapped, it
 * is memory that no limit counts. Neither the daemon's configuration nor its credentials nor its spool are
 * in there. Where the kernel knows more (TCP ports, signals, abstract sockets), that goes too. Where it
 * knows less (truncate() before 6.2, devices opened for ioctl() alone before 6.10), the filter of system
 * calls makes up for it.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "plugd-build.h"
#include "worker.h"

/* What the headers of Debian 12 don't have yet; numbers from include/uapi/linux/landlock.h. */
#define FS_TRUNCATE (UINT64_C(1) << 14)  /* ABI 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define NET_ALL (UINT64_C(3))            /* ABI 4: bind and connect, TCP */
#define SCOPE_ALL (UINT64_C(3))          /* ABI 6: abstract sockets and signals */

typedef struct Ruleset {
        uint64_t fs, net, scoped;
} Ruleset;

#define FS_FIRST ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* all of ABI 1 */
#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_OF_FILES                                                                                         \
        (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)
#define FS_DEVICE FS_OF_FILES

static const struct {
        const char *path;
        uint64_t access;
} places[] = {
        {"/lib", FS_READ}, {"/lib32", FS_READ}, {"/lib64", FS_READ}, {"/usr/lib", FS_READ},
        {"/usr/lib32", FS_READ}, {"/usr/lib64", FS_READ}, {"/usr/share", FS_READ},
        {"/usr/local/lib", FS_READ}, {"/usr/local/share", FS_READ}, {"/proc", FS_READ}, {"/sys", FS_READ},
        {PLUGD_LIBDIR, FS_READ}, /* libraries of ours, where it is installed under a prefix of its own */
        {"/dev", LANDLOCK_ACCESS_FS_READ_DIR}, /* to see what there is */
        {"/dev/null", FS_DEVICE}, {"/dev/full", FS_DEVICE}, {"/dev/random", FS_DEVICE},
        {"/dev/urandom", FS_DEVICE},
        {"/proc/self/exe", FS_READ}, /* for the symbols in a sanitizer's report */
};

static Ruleset ruleset_of(int abi)
{
        Ruleset all = {.fs = FS_FIRST};

        if (abi >= 2)
                all.fs |= LANDLOCK_ACCESS_FS_REFER;
        if (abi >= 3)
                all.fs |= FS_TRUNCATE;
        if (abi >= 4)
                all.net = NET_ALL;
        if (abi >= 5)
                all.fs |= FS_IOCTL_DEV;
        if (abi >= 6)
                all.scoped = SCOPE_ALL;
        return all;
}

static size_t ruleset_size(int abi)
{
        return abi >= 6 ? sizeof(Ruleset) : abi >= 4 ? offsetof(Ruleset, scoped) : offsetof(Ruleset, net);
}

/* A place that isn't there, or that can't be opened, is one that nobody reads. */
static int allow(int ruleset, int folder, const char *path, uint64_t access, bool only_public)
{
        struct landlock_path_beneath_attr rule = {.allowed_access = access};
        _cleanup_(closep) int fd = openat(folder, path, O_PATH | O_CLOEXEC);
        struct stat status;

        if (fd < 0 || fstat(fd, &status) < 0)
                return 0;
        if (!S_ISDIR(status.st_mode))
                rule.allowed_access &= FS_OF_FILES;
        if (only_public && !(status.st_mode & (S_ISDIR(status.st_mode) ? S_IXOTH : S_IROTH)))
                return 0;
        rule.parent_fd = fd;
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return -errno;
        return 0;
}

/* One that was replaced since it was found will be found again, as another. */
static int allow_device(int ruleset, const Device *device, uint64_t access)
{
        struct landlock_path_beneath_attr rule = {.allowed_access = access};
        _cleanup_(closep) int fd = open(device->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;

        if (fd < 0 || fstat(fd, &status) < 0 || !device_is(device, &status))
                return 0;
        rule.parent_fd = fd;
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return -errno;
        return 0;
}

/* Libraries have their settings here; plugd has its secrets here, and so may others that run as the same
 * user: what is not for everybody stays out. */
static int allow_etc(int ruleset)
{
        DIR *folder = opendir("/etc");
        const struct dirent *entry;
        int r = 0;

        if (!folder)
                return 0;
        while (r == 0 && (entry = readdir(folder)))
                if (entry->d_name[0] != '.' && strcmp(entry->d_name, "plugd") != 0)
                        r = allow(ruleset, dirfd(folder), entry->d_name, FS_READ, true);
        closedir(folder);
        return r;
}

int sandbox_landlock(const char *plugin_folder, const Devices *devices)
{
        int abi = (int) syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        _cleanup_(closep) int fd = -1;
        Ruleset all;
        int r = 0;

        if (abi < 0)
                return -errno;
        all = ruleset_of(abi);
        fd = (int) syscall(SYS_landlock_create_ruleset, &all, ruleset_size(abi), 0);
        if (fd < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(places) && r == 0; i++)
                r = allow(fd, AT_FDCWD, places[i].path, places[i].access & all.fs, false);
        for (size_t i = 0; devices && i < devices->n_found && r == 0; i++)
                r = allow_device(fd, devices->found + i, FS_DEVICE & all.fs);
        if (r == 0)
                r = allow_etc(fd);
        if (r == 0)
                r = allow(fd, AT_FDCWD, plugin_folder, FS_READ, false);
        if (r < 0)
                return r;
        return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
}
