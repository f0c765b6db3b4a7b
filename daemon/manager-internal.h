/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What manager.c (objects, samples, start and stop), manager-clock.c (what becomes of times when the clock
 * is set) and manager-session.c (who we are at the server, and how that goes) share. */

#include "credentials.h"
#include "delivery.h"
#include "enrol.h"
#include "link.h"
#include "manager.h"
#include "sample.h"
#include "spool.h"
#include "timekeeper.h"
#include "util/bytes.h"

/* The last word on our identity. It stays until the server has another, so that State doesn't flicker with
 * each attempt; an outage takes it back. */
typedef enum Verdict {
        VERDICT_NONE,
        VERDICT_REFUSED, /* the login */
        VERDICT_ENROLMENT_FAILED,
} Verdict;

typedef struct Session {
        char *hwid; /* NULL: not known, see last_error */
        char *plug_id, *auth;
        char *server; /* "host:port" */
        char *last_error;
        bool keep_error; /* also when online: it is about something else */
        Verdict verdict;
        bool up;                /* logged in */
        bool unsaved;           /* the answer of an enrolment is in memory only */
        uint64_t next_try_usec; /* CLOCK_MONOTONIC; what is past is over */

        /* Of the connection under way; the will's time is the newer, by 1 ms. */
        char *client_id, *will_topic;
        Bytes will, birth;
} Session;

typedef struct Observation {
        const ManagerObserver *observer;
        void *userdata;
} Observation;

struct Manager {
        sd_event *event;
        const Paths *paths;
        Config *config;

        SampleIds ids;
        SampleTimes *times;
        Timekeeper *timekeeper;
        uint64_t newest_held_msec; /* what is newer has later times */
        bool reserved;             /* times that wait in the spool */
        Spool *spool;
        Rate rate;               /* of what comes into it; CLOCK_BOOTTIME */
        uint64_t appended_bytes; /* counted in it */
        Link *link;
        Delivery *delivery;
        Enrol *enrol;
        Credentials *credentials;
        Session session;

        Host **hosts;
        size_t n_hosts;

        Observation observers[MANAGER_OBSERVERS_MAX];
        uint64_t said_ahead_usec;
        bool stopping;
        sd_event_source *stop_timer;
};

void manager_changed(Manager *manager);
void manager_counted(Manager *manager);
/* Something went out of the spool. */
void manager_confirmed(Manager *manager);
/* As timekeeper_now(); says when the clock was set back. */
TimekeeperWord manager_clock(Manager *manager, uint64_t *ret_now_usec, int64_t *ret_ahead_usec);
/* The clock was set, or messages that waited for it have their times. */
void manager_on_clock(void *userdata);
/* As timekeeper_resolve(). */
int manager_resolve(Sample *sample, void *userdata);

int session_init(Manager *manager, char **ret_error);
void session_deinit(Session *session);
/* Finds out who to be, and begins to log in or to enrol; or says in last_error what is missing. */
void session_begin(Manager *manager);
