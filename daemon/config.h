/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The configuration: libconfig in, checked structs out. The only room that sees libconfig. Keys are consumed
 * from described tables (key, type, range, default, where it goes); what is left over is unknown and an
 * error. Every mistake is reported, with file and line, in one go.
 */

#include "../plugins/plugin.h"
#include "descriptor.h"
#include "util/macros.h"

typedef struct ServerConfig {
        char *host;
        uint16_t port; /* default 8883, 1883 without TLS */
        bool tls;
        char *ca, *cert, *key; /* files, or NULL: ca: the system's store; cert and key come together */
        unsigned keepalive_sec;
} ServerConfig;

/* A secret that is either here or in a file (relative names: from the folder of the configuration file, made
 * absolute or left relative as the path of that was); both NULL: neither was given. */
typedef struct SecretConfig {
        char *text;
        char *file;
} SecretConfig;

typedef enum EnrolAs { ENROL_NOT, ENROL_THING, ENROL_CONTROLLER } EnrolAs;

typedef struct DeviceConfig {
        char *hwid; /* "auto", or as it stands */
        char *name; /* or NULL */
        EnrolAs enrol_as;
        char *model;      /* mod-… */
        char *thing_hwid; /* of a controller */
        SecretConfig pass;
        char *plug_id; /* instead of enrolling; with auth */
        SecretConfig auth;
} DeviceConfig;

typedef struct WillConfig {
        char *channel; /* default "status" */
        char *data;    /* JSON text, default "\"offline\"" */
        char *online;  /* JSON text, default "\"online\"" */
} WillConfig;

/* What goes when there is no room for all of a sensor's messages. */
typedef enum SpoolFull {
        SPOOL_FULL_OLDEST, /* the oldest */
        SPOOL_FULL_NEWEST, /* the newest: what is there stays */
        SPOOL_FULL_THIN,   /* every second of the oldest half */
} SpoolFull;

/* Which messages are worth their room. */
typedef struct SpoolPolicy {
        unsigned priority;   /* default 5, 0 to 9: the lower goes first */
        uint64_t ttl_usec;   /* default 0: none; what is older is not worth sending, and goes */
        SpoolFull when_full; /* default "oldest" */
} SpoolPolicy;

typedef struct SpoolLimits {
        uint64_t max_size;  /* bytes on disk, default 64M, 1M to 1T */
        uint64_t memory;    /* bytes in the runtime directory, default 4M, 256K to 1G */
        uint64_t sync_usec; /* default 5 s, 0.1 to 3600 */
        SpoolPolicy
                policy; /* of what no sensor of the configuration gave, and of sensors that say nothing */
} SpoolLimits;

typedef struct DeliveryConfig {
        bool barrier;          /* confirm = "barrier" (default) or "none" */
        uint64_t timeout_usec; /* confirm_timeout, default 20 s, 1 to 300 */
        double drain_rate; /* messages a second of the backlog; default 0: as fast as it goes, to 1000000 */
} DeliveryConfig;

typedef enum TimeWaitSync {
        TIME_WAIT_AUTO, /* only while the clock is implausible */
        TIME_WAIT_YES,
        TIME_WAIT_NO,
} TimeWaitSync;

typedef struct TimeConfig {
        TimeWaitSync wait_sync; /* default "auto" */
        uint64_t wait_max_usec; /* default 600 s, 0 to 86400: how long for what may never come */
} TimeConfig;

typedef struct SensorConfig {
        char *name;                   /* [A-Za-z0-9_], 1 to 64, unique */
        char *plugin;                 /* [A-Za-z0-9_-], 1 to 64 */
        char *channel;                /* default: the name */
        double interval_sec;          /* default 10, 0.001 to 86400 */
        double rate_limit;            /* samples a second, default 1000, 0: none, to 1000000 */
        SpoolPolicy policy;           /* by default that of the spool */
        struct plugd_group options;   /* what was written and the defaults; owned */
        const Descriptor *descriptor; /* borrowed from the lookup */
} SensorConfig;

typedef struct Config {
        char *path;
        ServerConfig server;
        DeviceConfig device;
        WillConfig will;
        SpoolLimits spool;
        DeliveryConfig delivery;
        TimeConfig time;
        SensorConfig *sensors;
        size_t n_sensors;
} Config;

/* Finds out what a plugin offers. NULL: ret_error has a sentence. The result lives as long as the lookup. */
typedef const Descriptor *(*ConfigLookup)(const char *plugin, char **ret_error, void *userdata);

typedef enum ConfigSeverity {
        CONFIG_ERROR,
        CONFIG_WARNING,
        CONFIG_INCOMPLETE, /* good, but this gateway may stay offline; a running plugd says it by itself */
} ConfigSeverity;
/* One mistake or doubt: file:line and a sentence. line 0: the file as a whole. */
typedef void (*ConfigReport)(
        ConfigSeverity severity, const char *file, unsigned line, const char *text, void *userdata);

/* Reads path and sensors.d/ *.conf beside it (in byte order of names). Reports come sorted: file by file, by
 * line. 0, or -EINVAL after reporting at least one error (-ENOENT, -EACCES … where the file itself can't be
 * read, reported too; -ENOMEM isn't). */
int config_load(const char *path, ConfigLookup lookup, ConfigReport report, void *userdata, Config **ret);
Config *config_free(Config *config);
DEFINE_CLEANUP(Config, config_free);
