/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who is connected, as what, and subscribed to what. The broker's own subscriptions are not used for
 * delivery: the platform delivers under another topic than was subscribed (/data/X), and denies in silence.
 */

#include "util.h"

struct mosquitto;

typedef enum SessionKind {
        SESSION_DEVICE,
        SESSION_USER,      /* logged in by e-mail, attached to no device */
        SESSION_ENROLLING, /* may do nothing but enrol */
        SESSION_ADMIN,     /* a test, at the control topic */
} SessionKind;

typedef struct Subscription {
        struct Subscription *next;
        char *asked;  /* as it was subscribed */
        char *filter; /* the same with an empty first level replaced by the own Plug-ID */
} Subscription;

typedef struct Session {
        struct Session *next;
        struct mosquitto *client; /* key; never looked into */
        int64_t number;           /* counts connections, over restarts too */
        SessionKind kind;
        char *client_id;
        char *hwid, *name; /* the parts of the client id */
        char *login;       /* Plug-ID or e-mail; NULL while enrolling */
        bool ctrl;         /* of a device: a controller */
        Subscription *subscriptions;
        bool kicked, gone, will_sent;
} Session;

typedef struct Sessions {
        Session *first;
        int64_t last_number;
} Sessions;

Session *session_new(Sessions *sessions, struct mosquitto *client, const char *client_id);
void session_remove(Sessions *sessions, Session *session);
Session *session_find(Sessions *sessions, const struct mosquitto *client);
Session *session_find_number(Sessions *sessions, int64_t number);
/* Has the client id been taken over by a later connection? */
bool session_superseded(const Sessions *sessions, const Session *session);
/* Forgets those that are gone; their last wills have been published by then. */
void sessions_sweep(Sessions *sessions);
void sessions_deinit(Sessions *sessions);

const char *session_kind_name(SessionKind kind);

/* The Plug-ID of a device's session; NULL of any other. */
const char *session_plug_id(const Session *session);

void session_subscribe(Session *session, const char *asked);
bool session_unsubscribe(Session *session, const char *asked);
bool session_subscribed(const Session *session, const char *topic);
