/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The broker's last step to the socket. A plugin cannot choose a CONNACK's code, hold back an UNSUBACK or
 * learn why a connection ended, so platform.so is also preloaded (LD_PRELOAD) and stands in front of write,
 * send, read, SSL_write and SSL_read. That works under TLS as well. Not preloaded, all else works and a
 * refusal is always code 5.
 */

#include "util.h"

typedef enum WireEnd {
        WIRE_END_UNKNOWN,
        WIRE_END_DISCONNECT, /* the client said DISCONNECT */
        WIRE_END_CLOSED,     /* the client closed without it */
        WIRE_END_RESET,
        WIRE_END_IDLE, /* nothing came: the broker ended it, by keepalive */
} WireEnd;

bool wire_present(void);
/* The code of the next CONNACK that refuses. */
void wire_set_connack(int code);
/* Holds back the next `count` packets of that MQTT type (2 CONNACK, 3 PUBLISH, 9 SUBACK, 11 UNSUBACK, 13
 * PINGRESP) on network connections; -1: until told 0. */
void wire_withhold(int type, int64_t count);
void wire_clear(void);
/* The flags of the last CONNECT that was read, -1 if unknown: an absent user name and an empty one look
 * alike to a plugin. */
int wire_connect_flags(void);
/* What the last reading of a socket says about the end of its connection. Ask from the disconnect event. */
WireEnd wire_last_end(void);
/* Once each turn of the broker's loop. */
void wire_tick(void);
