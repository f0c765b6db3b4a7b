/* SPDX-License-Identifier: Apache-2.0 */

/* What the machine's disks and network interfaces say. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "system-internal.h"

/* --- disks -------------------------------------------------------------------------------------------- */

static int disk_open(System *system, const char *path)
{
        static const struct {
                const char *name, *unit, *help;
                uint32_t type;
        } channels[] = {
                {"used", "B", "Bytes in use.", PLUGD_INTEGER},
                {"free", "B", "Bytes that are left to those who are not root.", PLUGD_INTEGER},
                {"usage", "%", "Used, of what there is.", PLUGD_NUMBER},
        };
        Disk *disk = system->disks + system->n_disks;
        char level[64], name[96];

        if (path[0] != '/' || system->n_disks == SYSTEM_DISKS_MAX) {
                system->host->log(system->host, PLUGD_ERROR,
                        "'%s' in disks is not a folder from the root, or there are more than %d", path,
                        SYSTEM_DISKS_MAX);
                return -EINVAL;
        }
        system_level_of(path, level);
        for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
                int r;

                snprintf(name, sizeof(name), "disk/%s/%s", level, channels[i].name);
                r = system_declare(system, name, channels[i].unit, channels[i].type, channels[i].help);
                if (r < 0)
                        return r;
                if (i == 0)
                        disk->channel = (uint32_t) r;
        }
        disk->path = strdup(path);
        if (!disk->path)
                return -ENOMEM;
        system->n_disks++;
        return 0;
}

int system_disks_open(System *system)
{
        char *text = strdup(system->host->option(system->host, "disks")->string), *rest = text, *path;
        int r = text ? 0 : -ENOMEM;

        while (r == 0 && (path = system_next_word(&rest)))
                r = disk_open(system, path);
        free(text);
        return r;
}

int system_disks_read(System *system)
{
        int first = 0;

        for (size_t i = 0; i < system->n_disks; i++) {
                const Disk *disk = system->disks + i;
                struct statvfs status;
                uint64_t used, size;

                if (statvfs(disk->path, &status) < 0) {
                        first = first ? first : system_fail(system, disk->path, -errno);
                        continue;
                }
                used = (uint64_t) (status.f_blocks - status.f_bfree) * status.f_frsize;
                size = used + (uint64_t) status.f_bavail * status.f_frsize;
                system_emit_integer(system, (int) disk->channel, used);
                system_emit_integer(system, (int) disk->channel + 1, size - used);
                if (size > 0)
                        system_emit_hundredths(system, (int) disk->channel + 2,
                                (int64_t) (10000 * ((double) used / (double) size)));
        }
        return first;
}

/* --- network ------------------------------------------------------------------------------------------ */

static int interface_open(System *system, const char *interface)
{
        Interface *slot = system->interfaces + system->n_interfaces;
        char level[64], name[96];
        int r;

        if (system->n_interfaces == SYSTEM_INTERFACES_MAX)
                return 0;
        system_level_of(interface, level);
        snprintf(name, sizeof(name), "network/%s/received", level);
        r = system_declare(system, name, "B", PLUGD_INTEGER, "Bytes received since the boot.");
        if (r < 0)
                return r;
        slot->channel = (uint32_t) r;
        snprintf(name, sizeof(name), "network/%s/sent", level);
        r = system_declare(system, name, "B", PLUGD_INTEGER, "Bytes sent since the boot.");
        if (r < 0)
                return r;
        slot->name = strdup(interface);
        if (!slot->name)
                return -ENOMEM;
        system->n_interfaces++;
        return 0;
}

/* The next line "  eth0: RECEIVED 7 numbers SENT …". Gives the name, cut out in place, and what follows it.
 */
static char *next_interface(char **text, const char **ret_numbers)
{
        while (**text) {
                char *line = *text, *end = strchr(line, '\n'), *colon;

                *text = end ? end + 1 : line + strlen(line);
                if (end)
                        *end = '\0';
                colon = strrchr(line, ':'); /* an alias has one in its name */
                if (!colon)
                        continue;
                *colon = '\0';
                *ret_numbers = colon + 1;
                return line + strspn(line, " ");
        }
        return NULL;
}

int system_network_open(System *system)
{
        const char *wanted = system->host->option(system->host, "interfaces")->string, *numbers;
        char *words, *text, *name;
        int r = 0;

        if (wanted[0]) {
                words = strdup(wanted);
                text = words;
                r = words ? 0 : -ENOMEM;
                while (r == 0 && (name = system_next_word(&text)))
                        r = interface_open(system, name);
                free(words);
                return r;
        }
        r = system_read_text(system, "/proc/net/dev");
        if (r < 0)
                return system_fail(system, "/proc/net/dev", r);
        text = system->text;
        while (r == 0 && (name = next_interface(&text, &numbers)))
                if (strcmp(name, "lo") != 0)
                        r = interface_open(system, name);
        return r;
}

static void emit_interface(System *system, const Interface *interface, const char *numbers)
{
        uint64_t counters[9];

        for (int i = 0; i < 9; i++) {
                char *end;

                counters[i] = strtoull(numbers, &end, 10);
                if (end == numbers)
                        return;
                numbers = end;
        }
        system_emit_integer(system, (int) interface->channel, counters[0]);
        system_emit_integer(system, (int) interface->channel + 1, counters[8]);
}

/* An interface that is not there now gives nothing: it may come back. */
int system_network_read(System *system)
{
        const char *path = "/proc/net/dev", *numbers;
        char *text = system->text, *name;
        int r = system_read_text(system, path);

        if (r < 0)
                return system_fail(system, path, r);
        while ((name = next_interface(&text, &numbers)))
                for (size_t i = 0; i < system->n_interfaces; i++)
                        if (strcmp(system->interfaces[i].name, name) == 0)
                                emit_interface(system, system->interfaces + i, numbers);
        return 0;
}
