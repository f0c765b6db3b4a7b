/* SPDX-License-Identifier: Apache-2.0 */

/* Which failure it was, as a sentence for the person who has to do something about it. */

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "i2c-internal.h"

#define BUSES_MAX 16 /* that a sentence lists */

int i2c_fail(struct plugd_i2c *i2c, int r, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(i2c->error, sizeof(i2c->error), format, arguments);
        va_end(arguments);
        return r;
}

/* --- which buses there are ---------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
        unsigned long x = *(const unsigned long *) a, y = *(const unsigned long *) b;

        return (x > y) - (x < y);
}

/* The kernel's buses, whether or not /dev has them. */
static size_t list_buses(const struct plugd_i2c *i2c, unsigned long numbers[static BUSES_MAX])
{
        char path[sizeof(i2c->path) + 32];
        const struct dirent *entry;
        size_t n = 0;
        DIR *folder;

        snprintf(path, sizeof(path), "%s/sys/bus/i2c/devices", i2c->transport.root);
        folder = opendir(path);
        while (folder && n < BUSES_MAX && (entry = readdir(folder))) {
                char *end;
                unsigned long number;

                if (strncmp(entry->d_name, "i2c-", 4) != 0)
                        continue;
                number = strtoul(entry->d_name + 4, &end, 10);
                if (end != entry->d_name + 4 && *end == '\0')
                        numbers[n++] = number;
        }
        if (folder)
                closedir(folder);
        qsort(numbers, n, sizeof(*numbers), compare);
        return n;
}

static int fail_no_bus(struct plugd_i2c *i2c)
{
        unsigned long numbers[BUSES_MAX];
        size_t n = list_buses(i2c, numbers), used = 0;
        char list[256] = "";

        for (size_t i = 0; i < n; i++)
                if (numbers[i] == i2c->bus)
                        return i2c_fail(i2c, -ENOENT,
                                "there is a bus %u, but no %s: load the kernel's module i2c-dev", i2c->bus,
                                i2c->path);
        for (size_t i = 0; i < n && used < sizeof(list); i++)
                used += (size_t) snprintf(list + used, sizeof(list) - used, "%s%lu",
                        i == 0      ? ""
                        : i + 1 < n ? ", "
                                    : " and ",
                        numbers[i]);
        if (n == 0)
                return i2c_fail(i2c, -ENOENT,
                        "there is no bus %u: this machine has no I2C bus at all; I2C has to be enabled (on "
                        "a Raspberry Pi with raspi-config)",
                        i2c->bus);
        return i2c_fail(i2c, -ENOENT,
                "there is no bus %u, but %s; if it should be there, I2C has to be enabled (on a Raspberry "
                "Pi with raspi-config)",
                i2c->bus, list);
}

/* --- permission --------------------------------------------------------------------------------------- */

/* By the file alone: name services would want sockets. */
static bool name_group(const struct plugd_i2c *i2c, gid_t gid, char name[static 64])
{
        char path[sizeof(i2c->path) + 16];
        const struct group *group;
        bool found = false;
        FILE *file;

        snprintf(path, sizeof(path), "%s/etc/group", i2c->transport.root);
        file = fopen(path, "re");
        while (file && !found && (group = fgetgrent(file))) {
                found = group->gr_gid == gid;
                if (found)
                        snprintf(name, 64, "%s", group->gr_name);
        }
        if (file)
                fclose(file);
        return found;
}

/* EPERM is what the service's DeviceAllow= gives; the file's mode gives EACCES, which eaccess() has too; and
 * what a sandbox of the worker refuses, eaccess() allows. */
static int fail_permission(struct plugd_i2c *i2c, int error)
{
        struct stat status;
        char group[64];

        if (error == EPERM)
                return i2c_fail(i2c, -EPERM,
                        "%s is kept from plugd: its service has to allow it (DeviceAllow=%s rw)", i2c->path,
                        i2c->path);
        if (eaccess(i2c->path, R_OK | W_OK) == 0)
                return i2c_fail(i2c, -error,
                        "%s is kept from this plugin: its descriptor has to name it among its devices",
                        i2c->path);
        if (stat(i2c->path, &status) < 0 || (status.st_mode & 060) != 060 || status.st_gid == 0)
                return i2c_fail(i2c, -error,
                        "no permission to use %s: give it to a group that plugd's user is in, with a rule "
                        "for udev",
                        i2c->path);
        if (!name_group(i2c, status.st_gid, group))
                snprintf(group, sizeof(group), "%lu", (unsigned long) status.st_gid);
        return i2c_fail(i2c, -error,
                "no permission to use %s: it is for group %s: make plugd's user a member of it, and restart "
                "plugd",
                i2c->path, group);
}

/* --- opening ------------------------------------------------------------------------------------------ */

int i2c_fail_open(struct plugd_i2c *i2c, int error)
{
        switch (error) {
        case ENOENT:
        case ENXIO: /* a file for a bus that has gone */
        case ENODEV:
                return fail_no_bus(i2c);
        case EACCES:
        case EPERM:
                return fail_permission(i2c, error);
        case ENOTTY:
        case EINVAL:
                return i2c_fail(i2c, -error, "%s is no I2C bus", i2c->path);
        default:
                return i2c_fail(i2c, -error, "cannot open %s: %s", i2c->path, strerror(error));
        }
}

/* The name of the driver that has the address, from a link in /sys. */
static bool find_driver(const struct plugd_i2c *i2c, char name[static NAME_MAX + 1])
{
        char path[sizeof(i2c->path) + 64], target[PATH_MAX];
        const char *slash;
        ssize_t n;

        snprintf(path, sizeof(path), "%s/sys/bus/i2c/devices/%u-%04x/driver", i2c->transport.root, i2c->bus,
                i2c->address);
        n = readlink(path, target, sizeof(target) - 1);
        if (n <= 0)
                return false;
        target[n] = '\0';
        slash = strrchr(target, '/');
        snprintf(name, NAME_MAX + 1, "%.*s", NAME_MAX, slash ? slash + 1 : target);
        return name[0] != '\0';
}

int i2c_fail_claim(struct plugd_i2c *i2c, int error)
{
        char driver[NAME_MAX + 1];

        if (error != EBUSY)
                return i2c_fail(i2c, -error, "cannot use address 0x%02x on bus %u: %s", i2c->address,
                        i2c->bus, strerror(error));
        if (!find_driver(i2c, driver))
                return i2c_fail(i2c, -EBUSY,
                        "0x%02x on bus %u is in use by a driver of the kernel: unbind it, or take it out of "
                        "the device tree",
                        i2c->address, i2c->bus);
        return i2c_fail(i2c, -EBUSY,
                "0x%02x on bus %u is in use by the kernel's driver %s: unbind it (echo %u-%04x > "
                "/sys/bus/i2c/drivers/%s/unbind), or take it out of the device tree",
                i2c->address, i2c->bus, driver, i2c->bus, i2c->address, driver);
}

/* --- transfers ---------------------------------------------------------------------------------------- */

/* Documentation/i2c/fault-codes.rst has what they should mean; drivers differ. */
enum i2c_family i2c_family_of(int error)
{
        switch (error) {
        case ENXIO:
        case EREMOTEIO: /* of a Raspberry Pi's controller, and others */
        case ENODEV:    /* of i2c-stub, and where the bus has gone */
                return I2C_NO_ANSWER;
        case ETIMEDOUT:
        case EBUSY:
        case EAGAIN: /* arbitration lost: again and again where a line is held low */
                return I2C_STUCK;
        case EOPNOTSUPP:
        case EINVAL:
        case ENOTTY:
        case EFAULT:
        case ENOMEM:
                return I2C_UNABLE;
        default:
                return I2C_FAULT;
        }
}

int i2c_fail_transfer(struct plugd_i2c *i2c, int error)
{
        switch (i2c_family_of(error)) {
        case I2C_NO_ANSWER:
                if (error == ENODEV && access(i2c->path, F_OK) < 0)
                        return i2c_fail(
                                i2c, -ENODEV, "bus %u has gone: %s is no longer there", i2c->bus, i2c->path);
                return i2c_fail(i2c, -ENXIO,
                        "no answer at 0x%02x on bus %u: is the sensor connected, is its address right?",
                        i2c->address, i2c->bus);
        case I2C_STUCK:
                return i2c_fail(i2c, -ETIMEDOUT,
                        "bus %u is stuck: no transfer with 0x%02x came to an end within %llu ms (%s); is "
                        "SDA "
                        "or SCL held low, has it pull-up resistors? Switching the sensors off and on may "
                        "free it",
                        i2c->bus, i2c->address, (unsigned long long) (i2c->timeout_usec / 1000),
                        strerror(error));
        case I2C_UNABLE:
                if (error == EOPNOTSUPP)
                        return i2c_fail_unable(i2c, "such a transfer");
                return i2c_fail(i2c, error == ENOMEM ? -ENOMEM : -EIO,
                        "bus %u refuses a transfer with 0x%02x: %s", i2c->bus, i2c->address,
                        strerror(error));
        case I2C_FAULT:
                break;
        }
        return i2c_fail(i2c, -EIO,
                "a transfer with 0x%02x on bus %u failed, again and again: %s; are the wires short and well "
                "connected?",
                i2c->address, i2c->bus, strerror(error));
}

int i2c_fail_short(struct plugd_i2c *i2c, size_t got, size_t wanted)
{
        return i2c_fail(i2c, -EPROTO,
                "a short answer from 0x%02x on bus %u: %zu of %zu byte%s; are the wires well connected?",
                i2c->address, i2c->bus, got, wanted, wanted == 1 ? "" : "s");
}

int i2c_fail_unable(struct plugd_i2c *i2c, const char *what)
{
        return i2c_fail(i2c, -EOPNOTSUPP,
                "bus %u cannot do %s: its controller has no more than a part of "
                "SMBus",
                i2c->bus, what);
}
