/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the room "config" share, from text to checked structs: config-source.c makes one text of
 * a file and what it includes, config-double.c finds keys that stand there twice, config-value.c reads
 * single values, config-keys.c has the tables, config-take.c reads by them, config-sensor.c reads the
 * sensors, config-report.c collects what there is to say, config.c puts all of it in order. */

#include <libconfig.h>
#include <sys/types.h>

#include "config.h"
#include "payload.h"
#include "util/bytes.h"

#define CONFIG_FILE_MAX (1024 * 1024) /* bytes, what is included counted in */
#define CONFIG_SETTINGS_MAX 16384 /* keys in one file: libconfig looks for double ones by comparing all */
#define CONFIG_DEPTH_MAX 16       /* brackets in brackets */
#define CONFIG_INCLUDES_MAX 8     /* files in files */
#define CONFIG_SENSORS_MAX 256
#define CONFIG_NOTES_MAX 100 /* mistakes that are told one by one */

/* What the spool and each sensor have in common: SpoolPolicy. */
#define CONFIG_TTL_MAX (3650.0 * 86400)       /* s */
#define CONFIG_WHEN_FULL "oldest|newest|thin" /* as SpoolFull */

/* --- the tables ---------------------------------------------------------------------------------------- */

typedef struct ConfigReader ConfigReader;
typedef struct ConfigKey ConfigKey;

typedef enum ConfigKeyType {
        CONFIG_KEY_INTEGER,  /* unsigned, of any width */
        CONFIG_KEY_NUMBER,   /* double */
        CONFIG_KEY_DURATION, /* seconds in the file, uint64_t µs here */
        CONFIG_KEY_SIZE,     /* uint64_t bytes */
        CONFIG_KEY_STRING,   /* char *, checked by check() */
        CONFIG_KEY_FILE,     /* char *, relative names completed */
        CONFIG_KEY_CHOICE,   /* one of choices: its index plus min, of any width */
        CONFIG_KEY_JSON,     /* char *, JSON text of any value */
        CONFIG_KEY_GROUP,    /* keys; then after() */
        CONFIG_KEY_SPECIAL,  /* read() does it all */
} ConfigKeyType;

struct ConfigKey {
        const char *name;
        ConfigKeyType type;
        size_t offset, size;  /* where it goes in the struct that the table describes */
        const char *fallback; /* the default, as text; NULL: what is there stays */
        double min, max;
        const char *unit;     /* of min and max, for messages; or NULL */
        const char *choices;  /* "barrier|none" */
        const char *required; /* not NULL: it has to be there; says what it is */
        bool optional;        /* a group: where it isn't written, its keys have no defaults either */
        bool secret;          /* warned about where others may read the file */
        const ConfigKey *keys;
        int (*check)(const char *text, char **ret_error);
        void (*read)(
                ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base);
        void (*after)(ConfigReader *reader, const config_setting_t *setting, void *base);
};

extern const ConfigKey config_keys[];              /* of the main file; base: Config */
extern const ConfigKey config_sensors_file_keys[]; /* of a file in sensors.d */
extern const ConfigKey config_sensor_keys[];       /* the host's own keys; base: SensorConfig */

/* Reads a group by its table and finds what the table doesn't know. group may be NULL: only defaults. */
void config_take_group(
        ConfigReader *reader, const config_setting_t *group, const ConfigKey *keys, void *base);
/* One key, there or not (the group is where it is missed). */
void config_take_key(ConfigReader *reader, const config_setting_t *group, const ConfigKey *key, void *base);

/* read() of the key "sensors" */
void config_take_sensors(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base);
void config_sensor_deinit(SensorConfig *sensor);
/* Looks at the sensors together, when all are read. */
void config_compare_sensors(ConfigReader *reader);
/* Is there something to log in with? For a configuration without mistakes. */
void config_check_login(ConfigReader *reader);

/* --- values: 0, or -EINVAL when it has been reported --------------------------------------------------- */

const char *config_type_name(const config_setting_t *setting);
int config_get_integer(ConfigReader *reader, const config_setting_t *setting, int64_t *ret);
int config_get_number(ConfigReader *reader, const config_setting_t *setting, double *ret);
/* Reports what this has to be, and isn't. */
int config_fail_type(ConfigReader *reader, const config_setting_t *setting, const char *wanted);
int config_get_boolean(ConfigReader *reader, const config_setting_t *setting, bool *ret);
/* UTF-8; plain: without control characters. Borrowed. */
int config_get_string(ConfigReader *reader, const config_setting_t *setting, bool plain, const char **ret);
int config_get_size(ConfigReader *reader, const config_setting_t *setting, uint64_t *ret);
int config_get_json(ConfigReader *reader, const config_setting_t *setting, char **ret);

/* --- what there is to say (config-report.c) ------------------------------------------------------------ */

typedef struct ConfigPlace {
        size_t file; /* index into the reader's files */
        unsigned line;
} ConfigPlace;

/* The full sentence; place.line 0: the file as a whole. */
void config_say(ConfigReader *reader, ConfigSeverity severity, ConfigPlace place, const char *format, ...)
        _printf_(4, 5);
/* "server.port: …" at the setting's place. */
void config_fail(ConfigReader *reader, const config_setting_t *setting, const char *format, ...)
        _printf_(3, 4);
void config_warn(ConfigReader *reader, const config_setting_t *setting, const char *format, ...)
        _printf_(3, 4);
/* "unknown key, did you mean port?" and what there is. names ends with NULL. */
void config_fail_unknown(ConfigReader *reader, const config_setting_t *setting, const char *what,
        const char *owner, const char *const *names);

ConfigPlace config_place(const ConfigReader *reader, const config_setting_t *setting);
/* Hands everything to the report function, sorted. */
void config_tell(ConfigReader *reader);

/* --- files (config-source.c) --------------------------------------------------------------------------- */

/* From line `first` of the text on, it is line `line` of that file. */
typedef struct ConfigSegment {
        unsigned first;
        ConfigPlace place;
} ConfigSegment;

typedef struct ConfigSource {
        Bytes text;
        unsigned lines; /* in text so far */
        ConfigSegment *segments;
        size_t n_segments;
        size_t n_settings;
} ConfigSource;

/* Reads a file and what it includes; every integer in it is written so that libconfig keeps 64 bits. 0, or
 * -errno when it has been reported (-EINVAL: what is in it). */
int config_source_read(ConfigReader *reader, const char *path, ConfigSource *ret);
void config_source_deinit(ConfigSource *source);
ConfigPlace config_source_place(const ConfigSource *source, unsigned line);

/* --- keys that stand twice (config-double.c) ----------------------------------------------------------- */

/* Reports them, and gives the second ones names of their own. 0, or -ENOMEM. */
int config_rename_doubles(ConfigReader *reader, ConfigSource *source);
/* Is this one of those? It has been reported: nobody takes it in, or calls it unknown. */
bool config_is_double(const ConfigReader *reader, const config_setting_t *setting);

/* --- the reader ---------------------------------------------------------------------------------------- */

typedef struct ConfigFile {
        char *path;
        mode_t mode;
        uid_t owner;
        gid_t group;
} ConfigFile;

typedef struct ConfigNote {
        ConfigSeverity severity;
        ConfigPlace place;
        size_t order;
        char *text;
} ConfigNote;

struct ConfigReader {
        Config *config;
        ConfigLookup lookup;
        ConfigReport report;
        void *userdata;

        ConfigFile *files;
        size_t n_files;
        const ConfigSource *source; /* of the file that is being read */

        ConfigNote *notes;
        size_t n_notes, n_errors;
        size_t n_untold;  /* mistakes beyond CONFIG_NOTES_MAX */
        size_t n_doubles; /* keys that stood there twice */
        bool failed;      /* out of memory at some point */

        ConfigPlace device_place;                      /* of the group, or of what it has to log in with */
        ConfigPlace sensor_places[CONFIG_SENSORS_MAX]; /* where each of config->sensors is */
};
