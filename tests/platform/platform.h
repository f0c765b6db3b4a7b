/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The stand-in as a whole, and what its rooms offer plugin.c. The broker calls everything from one thread,
 * so there are no locks. The broker hears "denied" for each PUBLISH, which is silent at QoS 0, and delivers
 * nothing by itself: delivery is ours, so that the platform's rules about topics and permissions hold and
 * not the broker's.
 */

#include "answer.h"
#include "config.h"
#include "fault.h"
#include "session.h"
#include "store.h"
#include "topic.h"

typedef struct Platform {
        Config *config;
        Store *store;
        Sessions sessions;
        Faults faults;
        Answers answers;
} Platform;

typedef struct Publish {
        const char *topic;
        const char *text; /* NUL-terminated behind `size` */
        size_t size;
        int qos;
        bool retain, will;
} Publish;

/* login.c: a MOSQ_ERR_ code for the broker. `username` and `password` are NULL when absent. */
int login_check(Platform *platform, Session *session, const char *username, const char *password);

/* enrol.c: a connection that is not enrolled has subscribed; the answer follows its SUBACK. */
void enrol_subscribe(Platform *platform, Session *session, const char *topic);

/* publish.c: from a client, or with `session` NULL from the platform itself. */
void publish_receive(Platform *platform, Session *session, const Publish *publish);
/* To everyone who subscribed and may. `from` hears it only if the switch says so. */
void publish_deliver(
        Platform *platform, const Session *from, const char *topic, const char *text, size_t size);

/* property.c: a PUBLISH to ag/prop. */
void property_receive(Platform *platform, Session *session, const Topic *topic, const Publish *publish);

/* permit.c: what the rules say, and where none fits, what the platform does by itself. */
bool permit(
        Platform *platform, const Session *session, const char *action, const char *of, const char *channel);

/* control.c: one command, one answer. To be put. */
json_object *control_run(Platform *platform, const char *text, size_t size);

/* Records an event about a session, which may be NULL. */
void note(
        Platform *platform, const Session *session, const char *kind, const char *topic, const char *detail);
void note_code(Platform *platform, const Session *session, const char *kind, int code, const char *detail);
