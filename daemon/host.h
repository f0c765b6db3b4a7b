/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A host looks after one sensor: one plugin instance in its worker process. It starts the worker, listens to
 * it, warns when it is silent for 10 s past its due answer, kills it at 15 s, starts it again after 1 s
 * doubling to 30 s (reset after 60 s of health), limits how fast it may talk. A worker that ends because
 * there are other devices than in its beginning gets a successor in the same time, without blame. What comes
 * from a worker is input from a stranger.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "paths.h"
#include "util/macros.h"

typedef struct Host Host;

typedef enum HostState {
        HOST_STARTING, /* the worker is coming up */
        HOST_RUNNING,
        HOST_FAILING,    /* the worker works, its plugin says errors: of open() or of read() */
        HOST_SILENT,     /* warned: no answer */
        HOST_RESTARTING, /* waiting for the next start */
        HOST_STUCK,      /* killed, but in uninterruptible sleep: not replaced until it is gone */
        HOST_STOPPED,
} HostState;

/* "starting", "running", "failing", "silent", "restarting", "stuck", "stopped" */
const char *host_state_to_string(HostState state);

typedef struct HostChannel {
        char *name;    /* full: what comes behind PLUG_ID/data/: the sensor's channel if the instance has
                          one, else the sensor's channel and, behind a '/', the plugin's */
        char *unit;    /* or NULL */
        uint32_t type; /* enum plugd_type */
        uint32_t flags;
        char *value; /* last value as JSON text; NULL: none yet */
} HostChannel;

typedef struct HostHandler {
        /* A sample, checked, within the rate limit. taken_usec: CLOCK_BOOTTIME. 0; 1: taken, but it is too
         * much for the moment: the worker is kept waiting a little; or -errno: it was dropped. */
        int (*on_sample)(Host *host, const char *channel, const char *data, size_t size, uint64_t taken_usec,
                void *userdata);
        /* Something else than values and counters changed: state, error, restarts, interval, channels. */
        void (*on_changed)(Host *host, void *userdata);
} HostHandler;

/* sensor is borrowed and has to stay. */
int host_new(Host **ret, sd_event *event, const Paths *paths, const SensorConfig *sensor,
        const HostHandler *handler, void *userdata);
/* Kills the worker, if host_stop() has not ended it. */
Host *host_free(Host *host);
DEFINE_CLEANUP(Host, host_free);

int host_start(Host *host);
/* Asks the worker to close its instance and go. After all hosts were asked, the manager waits for them
 * (bounded) and frees them. */
void host_stop(Host *host);
/* Ends the worker and starts it at once, without counting as its fault (Restarts counts it all the same).
 * -EBUSY: it is stuck. */
int host_restart(Host *host);
/* 0.001 to 86400 s; -ERANGE. Goes to the running worker. */
int host_set_interval(Host *host, double interval_sec);

const char *host_name(const Host *host);
const char *host_plugin(const Host *host);
HostState host_state(const Host *host);
/* "" if none. What a plugin said goes when it works again; that a value was dropped, with the next good one
 * of its channel; that it gives too many, when that is over. How a worker ended stays until the next has
 * been healthy for 60 s, in a row. Of several the most urgent. */
const char *host_last_error(const Host *host);
uint64_t host_samples(const Host *host); /* handed on; since the daemon's start */
uint64_t host_dropped(const Host *host); /* over the rate limit or malformed */
uint32_t host_restarts(const Host *host);
double host_interval(const Host *host);
uint64_t host_last_sample_usec(const Host *host); /* realtime when it was taken; 0: none */
uint32_t host_sandbox(const Host *host);          /* WIRE_SANDBOX_*; 0 while not known */
pid_t host_pid(const Host *host);                 /* 0: none */
const HostChannel *host_channels(const Host *host, size_t *ret_n);
