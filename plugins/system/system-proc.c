/* SPDX-License-Identifier: Apache-2.0 */

/* What /proc and /sys say of the machine as a whole: load, memory, uptime, CPU, its temperature. */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system-internal.h"

/* --- load, memory, uptime, cpu ------------------------------------------------------------------------ */

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

int system_load_open(System *system)
{
        static const char *const names[] = {"load/1min", "load/5min", "load/15min"};
        int r = 0;

        for (int i = 0; i < 3 && r >= 0; i++) {
                r = system_declare(
                        system, names[i], NULL, PLUGD_NUMBER, "Processes that run or wait for the disk.");
                if (i == 0)
                        system->load = r;
        }
        return r;
}

int system_load_read(System *system)
{
        const char *path = "/proc/loadavg", *text = system->text;
        int64_t load[3];
        int r = system_read_text(system, path);

        for (int i = 0; i < 3 && r == 0; i++)
                r = parse_hundredths(&text, &load[i]);
        if (r < 0)
                return system_fail(system, path, r);
        for (int i = 0; i < 3; i++)
                system_emit_hundredths(system, system->load + i, load[i]);
        return 0;
}

int system_memory_open(System *system)
{
        int r = system_declare(system, "memory/total", "B", PLUGD_INTEGER, "Memory of the machine.");

        system->memory = r;
        if (r >= 0)
                r = system_declare(system, "memory/available", "B", PLUGD_INTEGER,
                        "Memory that programs can still have.");
        if (r >= 0)
                r = system_declare(system, "memory/used", "B", PLUGD_INTEGER, "Total less available.");
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

int system_memory_read(System *system)
{
        const char *path = "/proc/meminfo";
        uint64_t total = 0, available = 0;
        int r = system_read_text(system, path);

        if (r == 0)
                r = find_memory(system->text, "MemTotal:", &total);
        if (r == 0)
                r = find_memory(system->text, "MemAvailable:", &available);
        if (r < 0)
                return system_fail(system, path, r);
        system_emit_integer(system, system->memory, total);
        system_emit_integer(system, system->memory + 1, available);
        system_emit_integer(system, system->memory + 2, available < total ? total - available : 0);
        return 0;
}

int system_uptime_open(System *system)
{
        return system->uptime = system_declare(system, "uptime", "s", PLUGD_NUMBER, "Time since the boot.");
}

int system_uptime_read(System *system)
{
        const char *path = "/proc/uptime", *text = system->text;
        int64_t uptime;
        int r = system_read_text(system, path);

        if (r == 0)
                r = parse_hundredths(&text, &uptime);
        if (r < 0)
                return system_fail(system, path, r);
        system_emit_hundredths(system, system->uptime, uptime);
        return 0;
}

/* The line "cpu  user nice system idle iowait irq softirq steal …", in ticks; what guests use is in user. */
static int read_ticks(System *system, uint64_t *ret_busy, uint64_t *ret_total)
{
        uint64_t ticks[8] = {0}, total = 0;
        char *text, *end;
        int r = system_read_text(system, "/proc/stat"), n = 0;

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

int system_cpu_open(System *system)
{
        int r = read_ticks(system, &system->busy, &system->total);

        if (r < 0)
                return system_fail(system, "/proc/stat", r);
        return system->cpu = system_declare(system, "cpu/usage", "%", PLUGD_NUMBER,
                       "How busy all CPUs together were since the last sample.");
}

int system_cpu_read(System *system)
{
        uint64_t busy, total;
        int r = read_ticks(system, &busy, &total);

        if (r < 0)
                return system_fail(system, "/proc/stat", r);
        /* The first read comes right after open(): there is nothing to compare yet. Counters of iowait may
         * go back a little. */
        if (total > system->total && busy >= system->busy && total - system->total >= busy - system->busy)
                system_emit_hundredths(system, system->cpu,
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

        if (system_read_text(system, path) < 0)
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

int system_temperature_open(System *system)
{
        if (!find_sensor(system, "/sys/class/thermal", "thermal_zone", "type", "temp") &&
                !find_sensor(system, "/sys/class/hwmon", "hwmon", "name", "temp1_input")) {
                system->host->log(
                        system->host, PLUGD_DEBUG, "this machine has no sensor of the CPU's temperature");
                system->temperature = -1;
                return 0;
        }
        return system->temperature =
                       system_declare(system, "cpu/temperature", "°C", PLUGD_NUMBER, "Of the CPU.");
}

int system_temperature_read(System *system)
{
        char *end;
        long millidegrees;
        int r;

        if (system->temperature < 0)
                return 0;
        r = system_read_text(system, system->temperature_path);
        if (r == -EAGAIN || r == -ENODATA) /* drivers say so while they measure */
                return 0;
        if (r < 0)
                return system_fail(system, system->temperature_path, r);
        millidegrees = strtol(system->text, &end, 10);
        if (end == system->text)
                return system_fail(system, system->temperature_path, -EBADMSG);
        system_emit_hundredths(system, system->temperature, millidegrees / 10);
        return 0;
}
