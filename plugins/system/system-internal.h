/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the system plugin: system.c is the plugin, system-proc.c and system-io.c are the
 * families of channels that it offers. */

#include <stdbool.h>

#include "../plugin.h"

#define SYSTEM_DISKS_MAX 16
#define SYSTEM_INTERFACES_MAX 64
#define SYSTEM_TEXT_MAX 16384 /* of a file in /proc */

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
        Disk disks[SYSTEM_DISKS_MAX];
        size_t n_disks;
        Interface interfaces[SYSTEM_INTERFACES_MAX];
        size_t n_interfaces;
        char text[SYSTEM_TEXT_MAX]; /* the file that is being looked at */
} System;

/* Each: 0 or more, or -errno after saying why. open: declares channels. read: gives their values. */
int system_load_open(System *system);
int system_load_read(System *system);
int system_memory_open(System *system);
int system_memory_read(System *system);
int system_uptime_open(System *system);
int system_uptime_read(System *system);
int system_cpu_open(System *system);
int system_cpu_read(System *system);
int system_temperature_open(System *system);
int system_temperature_read(System *system);
int system_disks_open(System *system);
int system_disks_read(System *system);
int system_network_open(System *system);
int system_network_read(System *system);

/* An index, or -errno after saying why. */
int system_declare(System *system, const char *name, const char *unit, uint32_t type, const char *help);
void system_emit_integer(System *system, int channel, uint64_t value);
/* 42 is 0.42. */
void system_emit_hundredths(System *system, int channel, int64_t hundredths);

/* Reads what fits into system->text. 0 or -errno, without a word. */
int system_read_text(System *system, const char *path);
/* Says that the file can't be read (-EBADMSG: understood), and gives the error. */
int system_fail(System *system, const char *path, int r);
/* Cuts the next word out of a list with spaces between them. NULL: there is none. */
char *system_next_word(char **text);
/* Makes one level of a channel out of any text: "/var/lib" is "var-lib". */
void system_level_of(const char *text, char level[static 64]);
