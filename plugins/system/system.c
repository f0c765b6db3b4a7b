/* SPDX-License-Identifier: Apache-2.0 */

/*
 * system: what the machine that runs the gateway says of itself: load, memory, uptime, CPU, its temperature,
 * disks, network. Reads /proc and /sys and statvfs() alone. Which channels there are depends on the machine:
 * open() declares those that have something to give.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system-internal.h"

static const struct plugd_option options[] = {
        {.name = "load", .type = PLUGD_BOOLEAN, .fallback = "true", .help = "Publish the load averages."},
        {.name = "memory", .type = PLUGD_BOOLEAN, .fallback = "true", .help = "Publish the memory's use."},
        {.name = "uptime",
                .type = PLUGD_BOOLEAN,
                .fallback = "true",
                .help = "Publish the time since the boot."},
        {.name = "cpu", .type = PLUGD_BOOLEAN, .fallback = "true", .help = "Publish how busy the CPUs are."},
        {
                .name = "temperature",
                .type = PLUGD_BOOLEAN,
                .fallback = "true",
                .help = "Publish the CPU's temperature, where the machine knows it.",
        },
        {
                .name = "disks",
                .type = PLUGD_STRING,
                .fallback = "/",
                .help = "Folders whose file systems' use is published, with spaces between them; \"\" for "
                        "none.",
        },
        {
                .name = "network",
                .type = PLUGD_BOOLEAN,
                .fallback = "true",
                .help = "Publish how many bytes went through the network interfaces.",
        },
        {
                .name = "interfaces",
                .type = PLUGD_STRING,
                .fallback = "",
                .help = "Which interfaces, with spaces between them; \"\" for all but lo.",
        },
};

/* --- helpers ------------------------------------------------------------------------------------------ */

int system_declare(System *system, const char *name, const char *unit, uint32_t type, const char *help)
{
        const struct plugd_channel channel = {
                .name = name, .unit = unit, .type = type, .flags = PLUGD_READABLE, .help = help};
        int r = system->host->declare(system->host, &channel);

        if (r < 0)
                system->host->log(
                        system->host, PLUGD_ERROR, "cannot have a channel '%s': %s", name, strerror(-r));
        return r;
}

void system_emit_integer(System *system, int channel, uint64_t value)
{
        const struct plugd_value v = {.type = PLUGD_INTEGER, .integer = (int64_t) value};

        (void) system->host->emit(system->host, (uint32_t) channel, &v, 0);
}

void system_emit_hundredths(System *system, int channel, int64_t hundredths)
{
        const struct plugd_value v = {.type = PLUGD_NUMBER, .number = (double) hundredths / 100};

        (void) system->host->emit(system->host, (uint32_t) channel, &v, 0);
}

int system_read_text(System *system, const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        size_t size = 0;
        ssize_t n;

        if (fd < 0)
                return -errno;
        do {
                n = read(fd, system->text + size, SYSTEM_TEXT_MAX - 1 - size);
                if (n > 0)
                        size += (size_t) n;
        } while (n > 0 && size < SYSTEM_TEXT_MAX - 1);
        n = n < 0 ? -errno : 0;
        close(fd);
        system->text[size] = '\0';
        return (int) n;
}

int system_fail(System *system, const char *path, int r)
{
        system->host->log(system->host, PLUGD_ERROR, "cannot read %s: %s", path,
                r == -EBADMSG ? "it looks different from what is known" : strerror(-r));
        return r;
}

char *system_next_word(char **text)
{
        char *word = *text + strspn(*text, " ,\t");
        size_t length = strcspn(word, " ,\t");

        if (length == 0)
                return NULL;
        *text = word + length + (word[length] != '\0');
        word[length] = '\0';
        return word;
}

void system_level_of(const char *text, char level[static 64])
{
        size_t n = 0;

        while (*text == '/')
                text++;
        for (; *text && n < 63; text++)
                level[n++] = strchr("/+#", *text) || (unsigned char) *text < 0x20 ? '-' : *text;
        while (n > 0 && level[n - 1] == '-')
                n--;
        level[n] = '\0';
        if (n == 0)
                strcpy(level, "root");
}

/* --- the plugin --------------------------------------------------------------------------------------- */

static const struct {
        const char *option; /* a boolean that turns it off; NULL: none */
        int (*open)(System *system);
        int (*read)(System *system);
} families[] = {
        {"load", system_load_open, system_load_read},
        {"memory", system_memory_open, system_memory_read},
        {"uptime", system_uptime_open, system_uptime_read},
        {"cpu", system_cpu_open, system_cpu_read},
        {"temperature", system_temperature_open, system_temperature_read},
        {NULL, system_disks_open, system_disks_read},
        {"network", system_network_open, system_network_read},
};

#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

static bool wanted(const System *system, size_t family)
{
        return !families[family].option ||
               system->host->option(system->host, families[family].option)->boolean;
}

static void system_close(void *instance)
{
        System *system = instance;

        for (size_t i = 0; i < system->n_disks; i++)
                free(system->disks[i].path);
        for (size_t i = 0; i < system->n_interfaces; i++)
                free(system->interfaces[i].name);
        free(system);
}

static int system_open(const struct plugd_host *host, void **ret_instance)
{
        System *system = calloc(1, sizeof(*system));

        if (!system)
                return -ENOMEM;
        system->host = host;
        for (size_t i = 0; i < N_FAMILIES; i++) {
                int r = wanted(system, i) ? families[i].open(system) : 0;

                if (r < 0) {
                        system_close(system);
                        return r;
                }
        }
        *ret_instance = system;
        return 0;
}

/* What can be read is, even if something else can't. */
static int system_read(void *instance)
{
        System *system = instance;
        int first = 0;

        for (size_t i = 0; i < N_FAMILIES; i++) {
                int r = wanted(system, i) ? families[i].read(system) : 0;

                if (first == 0)
                        first = r;
        }
        return first;
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "system",
        .description = "The machine itself: load, memory, uptime, CPU, temperature, disks, network.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .open = system_open,
        .read = system_read,
        .close = system_close,
};
