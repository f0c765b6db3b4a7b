/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Enrolling: uses the link with an empty user name and password, subscribes to the enrolment topic, takes
 * the answer, and hands {id, auth} to be saved before it does anything else. Retries slowly, 30 s growing to
 * 1 h. An answer that could not be saved is kept in memory, and saving is tried again (2 s growing to 1 min)
 * before anything else, also over enrol_stop() and enrol_start(): the server gives it once.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "link.h"

typedef struct Enrol Enrol;

typedef struct EnrolHandler {
        /* A connection is about to be tried. May be NULL. */
        void (*on_attempt)(void *userdata);
        /* Save this, safely, now. 0 or -errno: then it is said, and tried again. */
        int (*on_credentials)(const char *plug_id, const char *auth, void *userdata);
        /* The link is closed; log in. */
        void (*on_done)(void *userdata);
        /* It failed (text: a sentence with err and msg, or what happened) and is tried again in retry_usec.
         */
        void (*on_failed)(const char *text, uint64_t retry_usec, void *userdata);
        /* A connection could not be made, or was lost before anything was asked, or the server refused even
         * the empty login (CONNACK 2, 4, 5); the link tries again. */
        void (*on_end)(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata);
} EnrolHandler;

int enrol_new(Enrol **ret, sd_event *event, Link *link, const EnrolHandler *handler, void *userdata);
Enrol *enrol_free(Enrol *enrol);
DEFINE_CLEANUP(Enrol, enrol_free);

/* Starts, or starts anew at once. device: enrol_as, model, thing_hwid, name; hwid resolved; pass the secret
 * itself. All copied. -EINVAL with a sentence where the pass can't be carried by a topic. */
int enrol_start(
        Enrol *enrol, const DeviceConfig *device, const char *hwid, const char *pass, char **ret_error);
void enrol_stop(Enrol *enrol);
bool enrol_active(const Enrol *enrol);
/* An answer that waits to be saved is saved at once. False: there is none. */
bool enrol_hurry(Enrol *enrol);
/* The request is with the server, whose answer comes once: starting anew would lose it. Ends within 30 s. */
bool enrol_asked(const Enrol *enrol);
