/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * plugd-worker: runs one instance of one plugin for the daemon, in a sandbox. Links libc alone, and is small
 * on purpose: there is one for each sensor. It waits for START on the wire, which says what devices there
 * may be, shuts itself in before any of the plugin's code is loaded, says HELLO, and then goes round loop.c
 * until it is told to stop or the daemon is gone.
 */

#include <sys/stat.h>

#include "../../plugins/plugin.h"
#include "util/bytes.h"
#include "util/macros.h"
#include "wire.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define WORKER_SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WORKER_SANITIZED
#endif

/* Of its own, as plugin.h has it: what it allocates, writable mappings, threads' stacks. */
#define WORKER_MEMORY_MIB 64
/* Descriptors: as many as a service has anyway, unless it asks for more. */
#define WORKER_FILES 1024

/* --- devices: those that the plugin may open ---------------------------------------------------------- */

typedef struct Device {
        char *path; /* the real one */
        dev_t number, filesystem;
        ino_t inode;
} Device;

typedef struct Devices {
        char **patterns; /* for glob() */
        size_t n_patterns;
        Device *found;
        size_t n_found;
} Devices;

/* Reads the patterns, as in START. 0, -EBADMSG, -ENOMEM. */
int devices_take(Devices *devices, BytesReader *body);
/* Adds what there is by now to what was found. 0 or -ENOMEM. */
int devices_find(Devices *devices);
/* Is there one by now that was not found? One that was made anew is another. */
bool devices_came(Devices *devices);
bool device_is(const Device *device, const struct stat *status);
void devices_deinit(Devices *devices);

/* --- sandbox: main steps in sandbox.c, the parts in sandbox-*.c --------------------------------------- */

/* Shuts this process in, for good, memory included; with the devices that were found, or NULL. What holds
 * (WIRE_SANDBOX_*); words gets what does not, and why, or "". */
uint32_t sandbox_enter(const char *plugin_folder, const Devices *devices, char words[static 256]);
int sandbox_seccomp(void);                                               /* 0 or -errno */
int sandbox_landlock(const char *plugin_folder, const Devices *devices); /* 0 or -errno */

/* --- load: finding a plugin and looking at what it says of itself ------------------------------------- */

/* 0, or -errno with a sentence. The plugin stays loaded for good. */
int plugin_load(const char *folder, const char *name, const struct plugd_plugin **ret, char **ret_error);
/* Is this descriptor, found as name, one that we can work with? 0, or -EINVAL with a sentence. */
int plugin_check(const struct plugd_plugin *plugin, const char *name, char **ret_error);
/* The patterns, ending with NULL; NULL where there are none, as in descriptors older than these. */
const char *const *plugin_devices(const struct plugd_plugin *plugin);
/* Prints what descriptor.h wants to read. 0 or -errno. */
int plugin_describe(const struct plugd_plugin *plugin, FILE *out);
/* Of the descriptor, or given to declare(): what is wrong with it, or NULL. */
const char *channel_fault(const struct plugd_plugin *plugin, const struct plugd_channel *channel);

/* --- outlet: what goes to the host, in batches -------------------------------------------------------- */

typedef struct Outlet {
        int fd;
        Bytes bytes;
        uint64_t sent_usec; /* monotonic: when a frame was last written */
        int error;          /* of the first write that failed: the host is gone */
} Outlet;

/* Writes what has gathered. The wire is a blocking descriptor: a host that reads slowly slows the plugin. */
void outlet_flush(Outlet *outlet);
/* In a call of the plugin: writes, unless this is part of a burst. */
void outlet_hurry(Outlet *outlet);
void outlet_frame(Outlet *outlet, WireType type); /* of a frame without a body */
void outlet_log(Outlet *outlet, enum plugd_priority priority, const char *text);
void outlet_failed(Outlet *outlet, WireFailure what, int error, const char *sentence);

/* --- instance: the plugin's life, and what it may ask of us ------------------------------------------- */

#define INSTANCE_TEXT_MAX 1024

typedef struct InstanceChannel {
        struct plugd_channel is; /* a copy, of a declared channel too */
        bool blamed;             /* a value that emit() refused has been told of */
} InstanceChannel;

typedef struct Instance {
        const struct plugd_plugin *plugin;
        struct plugd_group options;
        struct plugd_host host;
        Outlet *outlet;
        InstanceChannel *channels;
        size_t n_channels;
        void *data;                 /* the plugin's own */
        bool open, opening, blamed; /* blamed: for an emit() on no channel at all */
        uint64_t emitted;
        char error[INSTANCE_TEXT_MAX]; /* what it last logged as an error in the call under way; "" */
        char refusal[512];             /* why emit() last refused a value in the call under way; "" */
        int refusal_error;             /* what it returned then */
        bool refusal_new; /* the first of its channel: to be told whatever becomes of the call */
} Instance;

void instance_init(Instance *instance, const struct plugd_plugin *plugin, Outlet *outlet);
void instance_deinit(Instance *instance);
/* 0 and OPENED told to the host, or the plugin's -errno and that told. After -ENOMEM, also of read(), this
 * process is of no more use. */
int instance_open(Instance *instance);
/* What the plugin said, -ENODEV and other failures told to the host. -EAGAIN is told to nobody. */
int instance_read(Instance *instance, enum plugd_reason reason);
int instance_event_fd(Instance *instance); /* -1: none */
void instance_close(Instance *instance);

/* --- loop --------------------------------------------------------------------------------------------- */

/* Shuts itself in as the host on this descriptor says, and serves it until it says STOP or goes: 0; 1 after
 * a fault that it was told; or WIRE_EXIT_RENEW. */
int loop_run(int wire, const char *plugin_folder, const char *plugin);
