/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The link: one MQTT connection, kept up. Alone sees libmosquitto. Each attempt, from the name to CONNACK,
 * runs in a thread of its own; a connection that is logged in lives in the event loop. The link retries by
 * itself: outages after 1 s doubling to 2 min, refusals (CONNACK 1, 2, 4, 5) after 5 s doubling to 10 min,
 * both with jitter; after a connection that worked, no longer than it had worked. A peer of which nothing is
 * heard, not even the answer to a ping, is given up within keepalive + 20 s. Its user says who to be (a
 * profile) and hears what happens (a handler). MQTT 3.1.1, clean session, QoS 0. Ignores SIGPIPE for the
 * process.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "util/macros.h"

typedef struct Link Link;

/* What on_profile() fills in. */
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
        LINK_CONNECTING, /* an attempt is due or under way: name, TCP, TLS, login */
        LINK_UP,         /* CONNACK 0 */
} LinkState;

typedef enum LinkEnd {
        LINK_END_OUTAGE,  /* could not connect, or the connection was lost: words say how */
        LINK_END_REFUSED, /* CONNACK with another code than 0 and 3 */
} LinkEnd;

typedef struct LinkHandler {
        /* Before each attempt: the profile for it (a will has the time of connecting in it). What it points
         * to is copied right after the return. 0, or -errno: tried again later. The others may be NULL. */
        int (*on_profile)(LinkProfile *ret, void *userdata);
        void (*on_up)(void *userdata);
        /* An attempt or a connection has ended, and the next is due in retry_usec (0 after
         * link_reconnect()). The text is a sentence for a person. May call link_close() or link_open(). */
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

/* Wants a connection from now on, at once, with the back-offs at their start; one that there was is closed.
 * Calls nothing back before the loop goes round. The handler stays with its owner. */
void link_open(Link *link, const LinkHandler *handler, void *userdata);
/* Says DISCONNECT (so that no will is sent) and wants none any more. */
void link_close(Link *link);
/* Gives a connection that is up away without DISCONNECT (the will is sent), because of text, which is said
 * behind "HOST:PORT: ". Calls on_end() with it before it returns; a new attempt is due after the back-off.
 */
void link_fail(Link *link, const char *text);
/* Disconnects cleanly (on_end() is called) and connects again at once; also ends a wait. */
void link_reconnect(Link *link);

LinkState link_state(const Link *link);
uint64_t link_up_since_usec(const Link *link); /* realtime; 0 when not up */
uint64_t link_connections(const Link *link);   /* logins that worked, whoever's; since the start */

/* Only while LINK_UP; -ENOTCONN otherwise. -EINVAL: no topic to publish or subscribe to, -EMSGSIZE. */
int link_publish(Link *link, const char *topic, const void *payload, size_t size);
int link_subscribe(Link *link, const char *topic, int *ret_mid);
int link_unsubscribe(Link *link, const char *topic, int *ret_mid);
/* Is there something that the kernel has not taken yet? Then hold back until on_writable. */
bool link_congested(const Link *link);
/* Has the other side's kernel acknowledged all that was handed over? Nobody is told when it has. */
bool link_drained(const Link *link);
/* Holds partial segments back while a batch is written (TCP_CORK), and lets them go. */
void link_cork(Link *link, bool on);

/* Threads that still connect for nobody; while there are any, leave with _exit() after cleaning up. */
unsigned link_orphans(void);
