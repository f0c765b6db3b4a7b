/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * plugd/plugin.h: how a plugin and plugd talk. A plugin is one shared object, LIBDIR/plugd/plugins/NAME.so,
 * that exports one symbol:
 *
 *         const struct plugd_plugin plugd_plugin_v1 = {
 *                 .abi = PLUGD_ABI, .size = sizeof(struct plugd_plugin), .name = "NAME", …
 *         };
 *
 * Each configured sensor is an instance, and each instance runs in a worker process of its own: a plugin may
 * block, and it may crash, and nothing else notices. Its functions are called on one thread, one at a time,
 * and have to return within 10 seconds: after that plugd warns, and after 15 it kills the worker and starts
 * another. Keep what an instance knows behind the pointer that open() returns, never in a static variable.
 *
 * A worker lives in a sandbox: it has no sockets, starts no programs, signals nobody. Where the kernel has
 * Landlock, of the files it may read /usr's libraries and data, what everybody may read in /etc, /proc, /sys
 * and the folder of the plugins, and of /dev it may read and write the devices that its descriptor names, as
 * its user may. It may have threads of its own, but these leave plugd's functions alone. Standard error ends
 * up in plugd's log.
 *
 * A worker may have 64 MiB of memory of its own (RLIMIT_DATA): what it allocates, its writable mappings, its
 * threads' stacks (8 MiB each, unless made smaller); memory that is shared is refused. Beyond that malloc()
 * returns NULL. It may have 1,024 descriptors. When open() or
 * read() returns -ENOMEM, plugd takes it that the instance leaks, ends the worker and starts another.
 *
 * Functions return 0 or more for success and a negative errno value for failure. The text last given to
 * log() at PLUGD_ERROR in a call that then fails becomes the sensor's LastError, so say there what failed,
 * on what, why and what to do. Without one, plugd makes do with the errno value's name.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC, as the kernel stamps its GPIO events.
 * Text is UTF-8 and NUL-terminated. Everything that a descriptor points to stays as it is for good.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PLUGD_ABI 1

enum plugd_type {
        PLUGD_BOOLEAN = 1,
        PLUGD_INTEGER = 2, /* 64 bits, signed */
        PLUGD_NUMBER = 3,  /* a double; NaN and infinities are refused, JSON has none */
        PLUGD_STRING = 4,
        PLUGD_JSON = 5,   /* any JSON value as text, for channels */
        PLUGD_GROUPS = 6, /* a list of groups of settings, for options */
};

/* A value of a channel or of an option. What one side is given it copies, if it wants to keep it, before the
 * call returns. */
struct plugd_value {
        uint32_t type;  /* enum plugd_type */
        uint32_t count; /* PLUGD_GROUPS: how many; else 0 */
        union {
                int64_t boolean; /* 0 or 1 */
                int64_t integer;
                double number;
                const char *string; /* PLUGD_STRING and PLUGD_JSON; at most 65,536 bytes */
                const struct plugd_group *groups;
        };
};

struct plugd_setting {
        const char *name;
        struct plugd_value value;
};

/* One group of settings, as one line's `{ name = "door"; line = 17; }` of a list in the configuration.
 * Every option of the group's table that has a value is in here, defaults included. */
struct plugd_group {
        const struct plugd_setting *settings;
        size_t n_settings;
};

/* An option is a key that people write into the sensor's configuration: [A-Za-z][A-Za-z0-9_-]*, at most 64
 * bytes. The host's own keys (name, plugin, channel, interval, rate_limit, ttl, priority, when_full,
 * enabled) can't be options. */
struct plugd_option {
        const char *name;
        uint32_t type;        /* PLUGD_BOOLEAN, INTEGER, NUMBER, STRING or GROUPS */
        uint32_t flags;       /* PLUGD_REQUIRED, or 0 */
        const char *fallback; /* the default, as one would write it, strings without quotes; NULL: none */
        double min, max;      /* of INTEGER and NUMBER, both ends allowed; both 0: any. Finite */
        const char *choices;  /* of a STRING: "rising|falling|both"; NULL: any */
        const char *unit;     /* "s", "Hz", …; NULL */
        const char *help;     /* a sentence */
        const struct plugd_option
                *options; /* PLUGD_GROUPS: the options of each group (no groups in these) */
        size_t n_options;
};
#define PLUGD_REQUIRED UINT32_C(1) /* option flag: it has to be configured */

struct plugd_channel {
        const char *name; /* levels as in a topic, with / between them: none empty, no + and # */
        const char *unit; /* "°C", "hPa", …; NULL */
        uint32_t type;    /* PLUGD_BOOLEAN, INTEGER, NUMBER, STRING or JSON */
        uint32_t flags;   /* PLUGD_READABLE, PLUGD_WRITABLE, or both */
        const char *help; /* a sentence; NULL */
};
#define PLUGD_READABLE UINT32_C(1)
#define PLUGD_WRITABLE UINT32_C(2) /* needs write(), which this version of plugd does not call yet */
#define PLUGD_CHANNELS_MAX 1024    /* of one plugin or instance */

enum plugd_priority {
        PLUGD_ERROR = 3,
        PLUGD_WARNING = 4,
        PLUGD_NOTICE = 5,
        PLUGD_INFO = 6,
        PLUGD_DEBUG = 7,
};

/* What read() is called for. */
enum plugd_reason {
        PLUGD_INTERVAL = 1, /* it is time, or the first call of all */
        PLUGD_EVENT = 2,    /* event_fd is readable */
};

/* What the host offers an instance. Valid from open() until close() has returned, and to be called only from
 * inside the plugin's functions. */
struct plugd_host {
        uint32_t abi;
        uint32_t size; /* a host newer than this header may offer more behind the members you know */
        void *context; /* the host's own */

        /* Hands a value over, taken at when_ns (0: now). channel is an index into the descriptor's
         * channels, or what declare() returned. -EINVAL: no such channel, another type than the channel's
         * (an integer for a number is taken), not UTF-8, not finite, or called in open(), which read()
         * follows at once; -EMSGSIZE: too long. Why is said in the log, the first time for each channel, and
         * becomes the LastError if read() returns the same and has logged no error of its own. Text that
         * isn't JSON is taken, and dropped by plugd, which says so in LastError until a good value comes. */
        int (*emit)(const struct plugd_host *host, uint32_t channel, const struct plugd_value *value,
                int64_t when_ns);

        /* A message of the sensor in plugd's log. */
        void (*log)(const struct plugd_host *host, enum plugd_priority priority, const char *format, ...)
#if defined(__GNUC__)
                __attribute__((format(printf, 3, 4)))
#endif
                ;

        /* The value of an option: configured, else the default; NULL if there is neither. Already checked
         * against the option's type, range and choices. Stays until close() has returned. */
        const struct plugd_value *(*option)(const struct plugd_host *host, const char *name);

        /* Adds a channel, of which the host makes a copy; only in open(), and only where the descriptor has
         * no channels. Each open() begins anew. Returns its index for emit(); -EEXIST: there is one of this
         * name; -EINVAL for a bad name, type or flags, or a writable one where there is no write();
         * -ENOSPC: there are PLUGD_CHANNELS_MAX. */
        int (*declare)(const struct plugd_host *host, const struct plugd_channel *channel);

        /* As option(), of one group of a PLUGD_GROUPS option. */
        const struct plugd_value *(*setting)(
                const struct plugd_host *host, const struct plugd_group *group, const char *name);

        uint32_t reason; /* in read(): enum plugd_reason */
};

/* The descriptor. Members may be added at its end, so `size` says how far it reaches; a change of what is
 * here changes the symbol's name and PLUGD_ABI. */
struct plugd_plugin {
        uint32_t abi;            /* PLUGD_ABI */
        uint32_t size;           /* sizeof(struct plugd_plugin) */
        const char *name;        /* as the file's, without .so: [A-Za-z0-9_-]+ */
        const char *description; /* a sentence */
        const struct plugd_option *options;
        size_t n_options;
        const struct plugd_channel *channels; /* none: open() declares them */
        size_t n_channels;

        /* Makes an instance. Tried again at growing intervals (1 to 30 s) after a failure. */
        int (*open)(const struct plugd_host *host, void **ret_instance);

        /* Takes a sample and hands it to emit(). Called at the configured interval, first at once, and when
         * event_fd is readable; where both are due, once for the event and then once for the interval: the
         * host's `reason` says which.
         * -EAGAIN: nothing now. -ENODEV: the hardware is gone: the host closes the
         * instance and opens it again, as at the start. Any other failure is shown, and read() is called
         * again at the next interval, or a second later if event_fd is readable. May be NULL in a plugin
         * that only takes writes. */
        int (*read)(void *instance);

        /* A descriptor that becomes readable when read() should be called beside the interval, or a negative
         * number. Asked for after open(). The plugin keeps it, and read() has to take what makes it
         * readable: where it emits nothing and leaves it readable 100 times in a row, plugd warns, and looks
         * at it every 10 ms at most. Several? Put them into an epoll descriptor. May be NULL. */
        int (*event_fd)(void *instance);

        /* Sets a writable channel, to a value of the channel's type. May be NULL if there is none; a
         * writable channel without it is refused. This version of plugd does not call it yet: it checks that
         * it is there, and no more. */
        int (*write)(void *instance, uint32_t channel, const struct plugd_value *value);

        /* Ends an instance. Not called after an open() that failed. */
        void (*close)(void *instance);

        /* Which devices an instance opens: at most 16 paths below /dev, and a NULL behind the last. * and ?
         * stand for characters, as in a shell, but for no '/'; {NAME} stands for what the INTEGER or STRING
         * option NAME is set to, as in "/dev/i2c-{bus}". In what is set no character stands for others,
         * "/dev/gpiochip0" is as good as "gpiochip0" right behind "/dev/", what leads out of /dev opens
         * nothing, and without a value the path is left out. Links are followed as far as they stay below
         * /dev. Where the kernel has Landlock, all other devices are refused (EACCES) but null, full, random
         * and urandom; so are those that come while an instance is open. Once open() has failed, or
         * read() has returned -ENODEV, they can be opened: plugd gives the instance a new worker, if there
         * are others than before. plugd.service lets through GPIO chips and I2C buses: for others its
         * DeviceAllow= needs a line, too. NULL: it opens none. */
        const char *const *devices;
};

extern
#if defined(__GNUC__)
        __attribute__((visibility("default")))
#endif
        const struct plugd_plugin plugd_plugin_v1;

#ifdef __cplusplus
}
#endif
