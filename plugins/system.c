/* SPDX-License-Identifier: Apache-2.0 */

/*
 * system: what the machine that runs the gateway says of itself: load, memory, uptime, CPU, its temperature,
 * disks, network. Reads /proc and /sys and statvfs() alone. Which channels there are depends on the machine:
 * open() declares those that have something to give.
 */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "plugin.h"

#define DISKS_MAX 16
#define INTERFACES_MAX 64
#define TEXT_MAX 16384 /* of a file in /proc */

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

typedef struct Disk {
        char *path;
        uint32_t channel; /* used, free, usage: this and the two after it */
} Disk;

typedef struct Interface {
        char *name;
        uint32_t channel; /* received, sent */
} Interface;

typedef struct System {
        const struct plugd_host *host;
        int load, memory, uptime, cpu, temperature; /* first channels; negative: none */
        uint64_t busy, total;                       /* ticks of all CPUs at the last read */
        char temperature_path[64];
        Disk disks[DISKS_MAX];
        size_t n_disks;
        Interface interfaces[INTERFACES_MAX];
        size_t n_interfaces;
        char text[TEXT_MAX]; /* the file that is being looked at */
} System;

/* --- helpers ------------------------------------------------------------------------------------------ */

static int declare(System *system, const char *name, const char *unit, uint32_t type, const char *help)
{
        const struct plugd_channel channel = {
                .name = name, .unit = unit, .type = type, .flags = PLUGD_READABLE, .help = help};
        int r = system->host->declare(system->host, &channel);

        if (r < 0)
                system->host->log(
                        system->host, PLUGD_ERROR, "cannot have a channel '%s': %s", name, strerror(-r));
        return r;
}

static void emit_integer(System *system, int channel, uint64_t value)
{
        const struct plugd_value v = {.type = PLUGD_INTEGER, .integer = (int64_t) value};

        (void) system->host->emit(system->host, (uint32_t) channel, &v, 0);
}

/* In hundredths: 42 is 0.42. */
static void emit_hundredths(System *system, int channel, int64_t hundredths)
{
        const struct plugd_value v = {.type = PLUGD_NUMBER, .number = (double) hundredths / 100};

        (void) system->host->emit(system->host, (uint32_t) channel, &v, 0);
}

/* Reads what fits into system->text. 0 or -errno. */
static int read_text(System *system, const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        size_t size = 0;
        ssize_t n;

        if (fd < 0)
                return -errno;
        do {
                n = read(fd, system->text + size, TEXT_MAX - 1 - size);
                if (n > 0)
                        size += (size_t) n;
        } while (n > 0 && size < TEXT_MAX - 1);
        n = n < 0 ? -errno : 0;
        close(fd);
        system->text[size] = '\0';
        return (int) n;
}

static int fail(System *system, const char *path, int r)
{
        system->host->log(system->host, PLUGD_ERROR, "cannot read %s: %s", path,
                r == -EBADMSG ? "it looks different from what is known" : strerror(-r));
        return r;
}

/* A decimal like "12.34", in hundredths, whatever the locale. Moves *text behind it. -EBADMSG if there is
 * none. */
static int parse_hundredths(const char **text, int64_t *ret)
{
        const char *c = *text + strspn(*text, " ");
        int64_t value = 0;
        int digits = 0;

        if (!isdigit((unsigned char) *c))
                return -EBADMSG;
        for (; isdigit((unsigned char) *c) && value < INT64_MAX / 10000; c++)
                value = 10 * value + (*c - '0');
        if (*c == '.')
                c++;
        for (; digits < 2; digits++)
                value = 10 * value + (isdigit((unsigned char) *c) ? *c++ - '0' : 0);
        while (isdigit((unsigned char) *c))
                c++;
        *text = c;
        *ret = value;
        return 0;
}

static char *next_word(char **text)
{
        char *word = *text + strspn(*text, " ,\t");
        size_t length = strcspn(word, " ,\t");

        if (length == 0)
                return NULL;
        *text = word + length + (word[length] != '\0');
        word[length] = '\0';
        return word;
}

/* Makes one level of a channel out of any text: "/var/lib" is "var-lib". */
static void level_of(const char *text, char level[static 64])
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

/* --- load, memory, uptime, cpu ------------------------------------------------------------------------ */

static int load_open(System *system)
{
        static const char *const names[] = {"load/1min", "load/5min", "load/15min"};
        int r = 0;

        for (int i = 0; i < 3 && r >= 0; i++) {
                r = declare(
                        system, names[i], NULL, PLUGD_NUMBER, "Processes that run or wait for the disk.");
                if (i == 0)
                        system->load = r;
        }
        return r;
}

static int load_read(System *system)
{
        const char *path = "/proc/loadavg", *text = system->text;
        int64_t load[3];
        int r = read_text(system, path);

        for (int i = 0; i < 3 && r == 0; i++)
                r = parse_hundredths(&text, &load[i]);
        if (r < 0)
                return fail(system, path, r);
        for (int i = 0; i < 3; i++)
                emit_hundredths(system, system->load + i, load[i]);
        return 0;
}

static int memory_open(System *system)
{
        int r = declare(system, "memory/total", "B", PLUGD_INTEGER, "Memory of the machine.");

        system->memory = r;
        if (r >= 0)
                r = declare(system, "memory/available", "B", PLUGD_INTEGER,
                        "Memory that programs can still have.");
        if (r >= 0)
                r = declare(system, "memory/used", "B", PLUGD_INTEGER, "Total less available.");
        return r;
}

/* A line "MemTotal:  123 kB", in bytes. */
static int find_memory(const char *text, const char *key, uint64_t *ret)
{
        const char *line = strstr(text, key);
        char *end;

        if (!line)
                return -EBADMSG;
        line += strlen(key);
        *ret = 1024 * (uint64_t) strtoull(line, &end, 10);
        return end == line ? -EBADMSG : 0;
}

static int memory_read(System *system)
{
        const char *path = "/proc/meminfo";
        uint64_t total, available;
        int r = read_text(system, path);

        if (r == 0)
                r = find_memory(system->text, "MemTotal:", &total);
        if (r == 0)
                r = find_memory(system->text, "MemAvailable:", &available);
        if (r < 0)
                return fail(system, path, r);
        emit_integer(system, system->memory, total);
        emit_integer(system, system->memory + 1, available);
        emit_integer(system, system->memory + 2, available < total ? total - available : 0);
        return 0;
}

static int uptime_open(System *system)
{
        return system->uptime = declare(system, "uptime", "s", PLUGD_NUMBER, "Time since the boot.");
}

static int uptime_read(System *system)
{
        const char *path = "/proc/uptime", *text = system->text;
        int64_t uptime;
        int r = read_text(system, path);

        if (r == 0)
                r = parse_hundredths(&text, &uptime);
        if (r < 0)
                return fail(system, path, r);
        emit_hundredths(system, system->uptime, uptime);
        return 0;
}

/* The line "cpu  user nice system idle iowait irq softirq steal …", in ticks; what guests use is in user. */
static int read_ticks(System *system, uint64_t *ret_busy, uint64_t *ret_total)
{
        uint64_t ticks[8] = {0}, total = 0;
        char *text, *end;
        int r = read_text(system, "/proc/stat"), n = 0;

        if (r < 0)
                return r;
        if (strncmp(system->text, "cpu ", 4) != 0)
                return -EBADMSG;
        for (text = system->text + 4; n < 8; n++, text = end) {
                text += strspn(text, " ");
                if (!isdigit((unsigned char) *text))
                        break;
                ticks[n] = strtoull(text, &end, 10);
                total += ticks[n];
        }
        if (n < 4)
                return -EBADMSG;
        *ret_busy = total - ticks[3] - ticks[4];
        *ret_total = total;
        return 0;
}

static int cpu_open(System *system)
{
        int r = read_ticks(system, &system->busy, &system->total);

        if (r < 0)
                return fail(system, "/proc/stat", r);
        return system->cpu = declare(system, "cpu/usage", "%", PLUGD_NUMBER,
                       "How busy all CPUs together were since the last sample.");
}

static int cpu_read(System *system)
{
        uint64_t busy, total;
        int r = read_ticks(system, &busy, &total);

        if (r < 0)
                return fail(system, "/proc/stat", r);
        /* The first read comes right after open(): there is nothing to compare yet. Counters of iowait may
         * go back a little. */
        if (total > system->total && busy >= system->busy && total - system->total >= busy - system->busy)
                emit_hundredths(system, system->cpu,
                        (int64_t) (10000 * (busy - system->busy) / (total - system->total)));
        system->busy = busy;
        system->total = total;
        return 0;
}

/* --- temperature -------------------------------------------------------------------------------------- */

/* Does the file, of one word, name a CPU's sensor? */
static bool names_cpu(System *system, const char *path)
{
        static const char *const words[] = {"cpu", "x86_pkg", "soc", "coretemp", "k10temp", "zenpower"};

        if (read_text(system, path) < 0)
                return false;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (strstr(system->text, words[i]))
                        return true;
        return false;
}

static bool find_sensor(
        System *system, const char *folder, const char *prefix, const char *name, const char *value)
{
        for (int i = 0; i < 32; i++) {
                char path[64];

                snprintf(path, sizeof(path), "%s/%s%d/%s", folder, prefix, i, name);
                if (!names_cpu(system, path))
                        continue;
                snprintf(system->temperature_path, sizeof(system->temperature_path), "%s/%s%d/%s", folder,
                        prefix, i, value);
                if (access(system->temperature_path, R_OK) == 0)
                        return true;
        }
        return false;
}

static int temperature_open(System *system)
{
        if (!find_sensor(system, "/sys/class/thermal", "thermal_zone", "type", "temp") &&
                !find_sensor(system, "/sys/class/hwmon", "hwmon", "name", "temp1_input")) {
                system->host->log(
                        system->host, PLUGD_DEBUG, "this machine has no sensor of the CPU's temperature");
                system->temperature = -1;
                return 0;
        }
        return system->temperature = declare(system, "cpu/temperature", "°C", PLUGD_NUMBER, "Of the CPU.");
}

static int temperature_read(System *system)
{
        char *end;
        long millidegrees;
        int r;

        if (system->temperature < 0)
                return 0;
        r = read_text(system, system->temperature_path);
        if (r == -EAGAIN || r == -ENODATA) /* drivers say so while they measure */
                return 0;
        if (r < 0)
                return fail(system, system->temperature_path, r);
        millidegrees = strtol(system->text, &end, 10);
        if (end == system->text)
                return fail(system, system->temperature_path, -EBADMSG);
        emit_hundredths(system, system->temperature, millidegrees / 10);
        return 0;
}

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

        if (path[0] != '/' || system->n_disks == DISKS_MAX) {
                system->host->log(system->host, PLUGD_ERROR,
                        "'%s' in disks is not a folder from the root, or there are more than %d", path,
                        DISKS_MAX);
                return -EINVAL;
        }
        level_of(path, level);
        for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
                int r;

                snprintf(name, sizeof(name), "disk/%s/%s", level, channels[i].name);
                r = declare(system, name, channels[i].unit, channels[i].type, channels[i].help);
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

static int disks_open(System *system)
{
        char *text = strdup(system->host->option(system->host, "disks")->string), *rest = text, *path;
        int r = text ? 0 : -ENOMEM;

        while (r == 0 && (path = next_word(&rest)))
                r = disk_open(system, path);
        free(text);
        return r;
}

static int disks_read(System *system)
{
        int first = 0;

        for (size_t i = 0; i < system->n_disks; i++) {
                const Disk *disk = system->disks + i;
                struct statvfs status;
                uint64_t used, size;

                if (statvfs(disk->path, &status) < 0) {
                        first = first ? first : fail(system, disk->path, -errno);
                        continue;
                }
                used = (uint64_t) (status.f_blocks - status.f_bfree) * status.f_frsize;
                size = used + (uint64_t) status.f_bavail * status.f_frsize;
                emit_integer(system, (int) disk->channel, used);
                emit_integer(system, (int) disk->channel + 1, size - used);
                if (size > 0)
                        emit_hundredths(system, (int) disk->channel + 2,
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

        if (system->n_interfaces == INTERFACES_MAX)
                return 0;
        level_of(interface, level);
        snprintf(name, sizeof(name), "network/%s/received", level);
        r = declare(system, name, "B", PLUGD_INTEGER, "Bytes received since the boot.");
        if (r < 0)
                return r;
        slot->channel = (uint32_t) r;
        snprintf(name, sizeof(name), "network/%s/sent", level);
        r = declare(system, name, "B", PLUGD_INTEGER, "Bytes sent since the boot.");
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

static int network_open(System *system)
{
        const char *wanted = system->host->option(system->host, "interfaces")->string, *numbers;
        char *words, *text, *name;
        int r = 0;

        if (wanted[0]) {
                words = strdup(wanted);
                text = words;
                r = words ? 0 : -ENOMEM;
                while (r == 0 && (name = next_word(&text)))
                        r = interface_open(system, name);
                free(words);
                return r;
        }
        r = read_text(system, "/proc/net/dev");
        if (r < 0)
                return fail(system, "/proc/net/dev", r);
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
        emit_integer(system, (int) interface->channel, counters[0]);
        emit_integer(system, (int) interface->channel + 1, counters[8]);
}

/* An interface that is not there now gives nothing: it may come back. */
static int network_read(System *system)
{
        const char *path = "/proc/net/dev", *numbers;
        char *text = system->text, *name;
        int r = read_text(system, path);

        if (r < 0)
                return fail(system, path, r);
        while ((name = next_interface(&text, &numbers)))
                for (size_t i = 0; i < system->n_interfaces; i++)
                        if (strcmp(system->interfaces[i].name, name) == 0)
                                emit_interface(system, system->interfaces + i, numbers);
        return 0;
}

/* --- the plugin --------------------------------------------------------------------------------------- */

static const struct {
        const char *option; /* a boolean that turns it off; NULL: none */
        int (*open)(System *system);
        int (*read)(System *system);
} families[] = {
        {"load", load_open, load_read},
        {"memory", memory_open, memory_read},
        {"uptime", uptime_open, uptime_read},
        {"cpu", cpu_open, cpu_read},
        {"temperature", temperature_open, temperature_read},
        {NULL, disks_open, disks_read},
        {"network", network_open, network_read},
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
