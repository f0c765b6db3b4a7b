/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of the bus room share: the connection, and what was last told to whom. */

#include <systemd/sd-bus.h>

#include "bus.h"
#include "util/backoff.h"

/* How often PropertiesChanged may come at most. */
#define BUS_PROMPT_USEC (100 * USEC_PER_MSEC) /* states and errors */
#define BUS_STEADY_USEC USEC_PER_SEC          /* values and counters */

/* Messages that the bus has not taken yet: beyond the first limit signals wait; beyond the second the bus
 * hangs, and the connection is given up. */
#define BUS_QUEUE_SIGNALS 64
#define BUS_QUEUE_MAX 256

/* Something to tell, but not more often than its gap allows. */
typedef struct BusPace {
        bool dirty;
        uint64_t told_usec; /* CLOCK_MONOTONIC; 0: never */
} BusPace;

/* Is it to be told now? Else lowers *next_usec to when it will be. */
bool bus_pace_due(BusPace *pace, uint64_t gap_usec, uint64_t now_usec, uint64_t *next_usec);

#define BUS_MANAGER_TEXTS 8

/* What listeners know of the manager. */
typedef struct BusManagerShown {
        char *texts[BUS_MANAGER_TEXTS];
        bool secure, spool_full;
        uint64_t connected_since_usec, next_try_usec;
        ManagerCounters counters;
} BusManagerShown;

/* What listeners know of a sensor. */
typedef struct BusSensor {
        const Manager *manager;
        Host *host;
        BusPace prompt, steady;
        HostState state;
        char *last_error;
        double interval;
        uint32_t restarts, sandbox;
        pid_t pid;
        size_t n_channels;
        uint64_t samples, dropped, last_sample_usec;
} BusSensor;

struct Bus {
        sd_event *event;
        Manager *manager;
        bool user;

        sd_bus *connection; /* NULL while there is none */
        bool named;         /* it has our name */
        int refused;        /* why it doesn't give us the name; 0: it does, or hasn't answered */
        bool troubled;      /* said already */
        Backoff backoff;
        sd_event_source *retry; /* NULL while connected */

        sd_event_source *soon, *later; /* two ways to bus_flush() */
        uint64_t later_usec;           /* when the second is due; UINT64_MAX: it isn't set */
        BusPace prompt, steady;        /* of the manager */
        BusManagerShown shown;
        BusSensor *sensors; /* all; pointers into it don't last */
        size_t n_sensors;
};

/* Text for a D-Bus string, whoever it comes from: what is not UTF-8 would end the connection. */
int bus_append_text(sd_bus_message *message, const char *text);
/* The error's name with the sentence, or with what r means where there was no memory for one. */
int bus_fail(sd_bus_error *error, const char *name, const char *sentence, int r);

/* NULL: out of memory. */
BusSensor *bus_find_sensor(Bus *bus, Host *host);

/* PropertiesChanged for these; names ends with NULL. */
void bus_tell(Bus *bus, const char *path, const char *interface, const char **names);

/* bus-manager.c */
int bus_manager_expose(Bus *bus);
/* Takes things as they are for known to listeners. */
void bus_manager_show(Bus *bus);
/* Has something changed that listeners want to hear at once? */
bool bus_manager_differs(const Bus *bus);
void bus_manager_flush(Bus *bus, uint64_t now_usec, uint64_t *next_usec);
void bus_manager_shown_deinit(BusManagerShown *shown);

/* bus-sensor.c */
int bus_sensor_expose(Bus *bus);
void bus_sensor_show(BusSensor *sensor);
void bus_sensor_flush(Bus *bus, BusSensor *sensor, uint64_t now_usec, uint64_t *next_usec);
