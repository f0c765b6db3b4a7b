/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The link: one MQTT connection, kept up. Alone sees libmosquitto. Resolving, TCP and TLS happen in a thread
 * of each attempt; from CONNECT on the socket lives in the event loop. The link retries by itself: outages
 * after 1 s doubling to 2 min, refusals (CONNACK 2, 4, 5) after 5 s doubling to 10 min, both with jitter.
 * Its user says who to be (a profile) and hears what happens (a handler). MQTT 3.1.1, clean session, QoS 0.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "util/macros.h"

typedef struct Link Link;

/* Borrowed for the call of link_open() and inside on_profile(). */
typedef struct LinkProfile {
        const char *client_id;
        const char *user, *password; /* "" is sent as zero-length, as enrolling wants it */
        const char *will_topic;      /* NULL: no will */
        const void *will_payload;
        size_t will_size;
} LinkProfile;

typedef enum LinkState {
        LINK_CLOSED,     /* not wanted */
        LINK_WAITING,    /* until the next attempt */
        LINK_CONNECTING, /* name, TCP, TLS, CONNECT sent */
        LINK_UP,         /* CONNACK 0 */
} LinkState;

typedef enum LinkEnd {
        LINK_END_OUTAGE,  /* could not connect, or the connection was lost: words say how */
        LINK_END_REFUSED, /* CONNACK 2, 4 or 5 */
} LinkEnd;

typedef struct LinkHandler {
        /* Before each attempt, when set: the profile for it (a will has the time of connecting in it).
         * 0, or -errno: tried again later. */
        int (*on_profile)(LinkProfile *ret, void *userdata);
        void (*on_up)(void *userdata);
        /* An attempt or a connection has ended, and the next is due in retry_usec. The text is a sentence
         * for a person. May call link_close() or link_open(). */
        void (*on_end)(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata);
        void (*on_message)(const char *topic, const void *payload, size_t size, void *userdata);
        void (*on_suback)(int mid, bool granted, void *userdata);
        void (*on_unsuback)(int mid, void *userdata);
        /* What had been handed over has left for the kernel: more may come. */
        void (*on_writable)(void *userdata);
} LinkHandler;

int link_new(Link **ret, sd_event *event, const ServerConfig *server);
/* Closes; never waits for a thread that still connects. */
Link *link_free(Link *link);
DEFINE_CLEANUP(Link, link_free);

/* Wants a connection from now on, at once, with the back-offs at their start. The handler stays with its
 * owner. */
int link_open(Link *link, const LinkHandler *handler, void *userdata);
/* Says DISCONNECT (so that no will is sent) and wants none any more. */
void link_close(Link *link);
/* Gives this connection up without DISCONNECT (the will is sent), because of text; on_end follows, at once a
 * new attempt is due after the usual back-off. */
void link_fail(Link *link, const char *text);
/* Disconnects cleanly and connects again at once; also ends a wait. */
void link_reconnect(Link *link);

LinkState link_state(const Link *link);
uint64_t link_up_since_usec(const Link *link); /* realtime; 0 when not up */

/* Only while LINK_UP; -ENOTCONN otherwise. */
int link_publish(Link *link, const char *topic, const void *payload, size_t size);
int link_subscribe(Link *link, const char *topic, int *ret_mid);
int link_unsubscribe(Link *link, const char *topic, int *ret_mid);
/* Is there something that the kernel has not taken yet? Then hold back until on_writable. */
bool link_congested(const Link *link);
/* Holds partial segments back while a batch is written (TCP_CORK), and lets them go. */
void link_cork(Link *link, bool on);

/* Threads that still connect for nobody; while there are any, leave with _exit() after cleaning up. */
unsigned link_orphans(void);
