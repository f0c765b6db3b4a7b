/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the link's files share. An attempt (link-connect.c) is a thread that takes one connection from the
 * name to CONNACK; a connection (link-io.c) is a client that is logged in, living in the event loop;
 * link-tls.c sets TLS up and finds words for its failures; link.c decides when to do what.
 */

#include <mosquitto.h>

#include "link.h"

/* The TCP options of LESSONS.md: congestion shows early, and a peer that is gone is noticed. */
#define LINK_SEND_BUFFER (64 * 1024)
#define LINK_SILENCE_MSEC 20000

/* How long after the keepalive a peer has to be heard. A test has less patience. */
extern uint64_t link_pong_usec;

/* A copy of its own; HOST:PORT for sentences, NULL when out of memory. */
int server_copy(ServerConfig *ret, const ServerConfig *server);
void server_deinit(ServerConfig *server);
char *server_name(const ServerConfig *server);

/* --- TLS ----------------------------------------------------------------------------------------------- */

/* What libmosquitto and OpenSSL said while it went wrong. */
typedef struct TlsTrouble {
        char lines[512]; /* the first error lines; "" if there were none */
        long verdict;    /* X509_V_…, 0: none known */
} TlsTrouble;

/* Sets TLS up as configured; nothing if it isn't. 0, or -errno with a sentence that names the file. */
int tls_setup(struct mosquitto *client, const ServerConfig *server, char **ret_error);
/* From libmosquitto's log callback: keeps what explains a failure. */
void tls_note(TlsTrouble *trouble, struct mosquitto *client, int level, const char *line);
/* What was noted as a sentence, NULL if nothing was that explains anything (or out of memory). */
char *tls_explain(const TlsTrouble *trouble, const ServerConfig *server);

/* --- an attempt ---------------------------------------------------------------------------------------- */

typedef struct Attempt Attempt;

typedef enum AttemptPhase {
        ATTEMPT_RESOLVING, /* the name */
        ATTEMPT_REACHING,  /* TCP */
        ATTEMPT_GREETING,  /* TLS, CONNECT, CONNACK */
} AttemptPhase;

/* Starts the thread. ipv4: don't try IPv6 addresses. The server is copied. */
int attempt_start(Attempt **ret, const ServerConfig *server, const LinkProfile *profile, bool ipv4);
int attempt_fd(const Attempt *attempt); /* readable once it has ended */
AttemptPhase attempt_phase(const Attempt *attempt);
/* Does the name have an IPv4 address beside others? Known once it was resolved. */
bool attempt_has_alternative(const Attempt *attempt);
/* After it has ended: the logged-in client, which is the caller's; or NULL, with how and a sentence (NULL
 * when out of memory). */
struct mosquitto *attempt_take(Attempt *attempt, LinkEnd *ret_end, char **ret_text);
/* Lets go of it, ended or not: the thread cleans up after itself. Returns NULL. */
Attempt *attempt_free(Attempt *attempt);
DEFINE_CLEANUP(Attempt, attempt_free);

/* --- a connection -------------------------------------------------------------------------------------- */

typedef struct Connection Connection;

/* Takes the client over when it returns 0. */
int connection_new(Connection **ret, sd_event *event, struct mosquitto *client, Link *link);
/* politely: with DISCONNECT; else the connection is reset, and what the kernel still holds is dropped.
 * Allowed inside every callback. */
void connection_close(Connection *connection, bool politely);
int connection_publish(Connection *connection, const char *topic, const void *payload, size_t size);
int connection_subscribe(Connection *connection, const char *topic, int *ret_mid);
int connection_unsubscribe(Connection *connection, const char *topic, int *ret_mid);
bool connection_congested(const Connection *connection);
bool connection_drained(const Connection *connection);
void connection_cork(Connection *connection, bool on);

/* What a connection tells its link. lost comes once, and closing is then the link's turn. */
void link_on_lost(Link *link, const char *text);
void link_on_message(Link *link, const struct mosquitto_message *message);
void link_on_suback(Link *link, int mid, bool granted);
void link_on_unsuback(Link *link, int mid);
void link_on_writable(Link *link);

const ServerConfig *link_server(const Link *link);
