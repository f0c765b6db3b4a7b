/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The manager owns every object and wires them: configuration to sensors and link, samples to the spool, the
 * link's ups and downs to enrolling and delivery. What it knows is read by the bus; what the bus asks for
 * goes through the actions below.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "host.h"
#include "paths.h"
#include "rate.h"
#include "sample.h"
#include "util/macros.h"

typedef struct Manager Manager;

typedef enum ManagerState {
        MANAGER_OFFLINE,
        MANAGER_CONNECTING,
        MANAGER_ENROLLING,
        MANAGER_ONLINE,
        MANAGER_REFUSED,
        MANAGER_ENROLMENT_FAILED,
} ManagerState;

/* "offline", "connecting", "enrolling", "online", "refused", "enrolment-failed" */
const char *manager_state_to_string(ManagerState state);

/* What the bus wants to hear: it coalesces, and reads what it needs when it tells others. */
typedef struct ManagerObserver {
        void (*on_counted)(void *userdata);                  /* counters alone: with each message */
        void (*on_changed)(void *userdata);                  /* a property of the manager */
        void (*on_host_changed)(Host *host, void *userdata); /* a sensor's state, error, interval … */
        void (*on_host_sampled)(Host *host, void *userdata); /* a sensor's values and counters */
} ManagerObserver;

/* Takes the config over, and the paths by reference. 0 or -errno with a sentence. */
int manager_new(Manager **ret, sd_event *event, Config *config, const Paths *paths, char **ret_error);
/* Starts sensors and connection. */
int manager_start(Manager *manager);
/* Asks everything to stop; the loop is ended (sd_event_exit) when it is done, or after 5 s. */
void manager_stop(Manager *manager);
Manager *manager_free(Manager *manager);
DEFINE_CLEANUP(Manager, manager_free);

/* Observers are called in turn; the observer itself is borrowed. At most MANAGER_OBSERVERS_MAX: -ENOBUFS. */
#define MANAGER_OBSERVERS_MAX 4
int manager_add_observer(Manager *manager, const ManagerObserver *observer, void *userdata);
void manager_remove_observer(Manager *manager, void *userdata);

/* --- what there is to see ------------------------------------------------------------------------------ */

const char *manager_hardware_id(const Manager *manager); /* "" if not known */
const char *manager_plug_id(const Manager *manager);     /* "" before the first enrolment */
const char *manager_name(const Manager *manager);        /* "" if none */
ManagerState manager_state(const Manager *manager);
const char *manager_server(const Manager *manager);            /* "host:port" */
const char *manager_last_error(const Manager *manager);        /* "" if none */
bool manager_secure(const Manager *manager);                   /* connected, and by TLS */
uint64_t manager_connected_since_usec(const Manager *manager); /* 0 when offline */

const char *manager_confirm(const Manager *manager); /* delivery.confirm: "barrier" or "none" */

/* CLOCK_MONOTONIC when it is tried again to connect or to enrol; 0: now, or not at all. */
uint64_t manager_next_try_usec(const Manager *manager);

typedef struct ManagerCounters {
        uint64_t published, confirmed, dropped, spool_messages, spool_bytes;
        uint64_t connections, round_trip_usec; /* logins; of the last barrier, 0: none yet */
        uint64_t held;                         /* samples that wait for the clock to be set */
        uint64_t estimated;                    /* … whose time had to be estimated */
        uint64_t set_back;                     /* how often the clock was set back by more than a minute */
        bool spool_full;                       /* messages are dropped to make room */
        const char *spool_trouble;             /* "" if none */
        const char *clock_trouble;             /* "" if none; borrowed until the next call */
} ManagerCounters;
void manager_get_counters(const Manager *manager, ManagerCounters *ret);

/* How long the spool will hold, if nothing is delivered and as much comes in as in the last day. */
typedef struct ManagerOutlook {
        uint64_t limit_bytes;
        RateMean rate; /* of what came into the spool */
        double hours;  /* -1: nothing comes, or plugd runs for less than a minute */
} ManagerOutlook;
void manager_get_outlook(const Manager *manager, ManagerOutlook *ret);

size_t manager_n_hosts(const Manager *manager);
Host *manager_host(const Manager *manager, size_t index);
Host *manager_find_host(const Manager *manager, const char *name); /* NULL: none */
/* Of its messages: what the host did not take, and what the spool gave up. */
uint64_t manager_host_dropped(const Manager *manager, const Host *host);

/* --- what there is to do ---------------------------------------------------------------------------------
 */

/* Into the spool. 0 and its id; -EINVAL (channel or JSON), -EMSGSIZE, -errno, each with a sentence. */
int manager_publish(Manager *manager, const char *channel, const char *json,
        char ret_id[static SAMPLE_ID_TEXT], char **ret_error);
/* Enrols now: at once if an enrolment waits for its retry, anew if there are credentials. -EINVAL with a
 * sentence where nothing is configured to enrol with. */
int manager_enroll(Manager *manager, char **ret_error);
/* -EINVAL with a sentence where there is nothing to connect as. */
int manager_reconnect(Manager *manager, char **ret_error);
