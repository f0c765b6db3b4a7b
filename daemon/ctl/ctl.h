/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * plugctl: the gateway from the command line. Speaks D-Bus and nothing else with the daemon, so it knows the
 * bus's names, payload.h for JSON, and util. Everything it got is held as Json, under the names that D-Bus
 * gives it: what --json prints is documented in the introspection files.
 */

#include <systemd/sd-bus.h>

#include "payload.h"
#include "util/macros.h"

/* The exit codes. */
enum { CTL_DONE = 0, CTL_FAULT = 1, CTL_USAGE = 2 };

typedef struct Ctl {
        bool user;                    /* the session bus */
        bool json;                    /* for programs */
        bool color;                   /* for people at a terminal */
        size_t width;                 /* the terminal's columns; 0: any */
        bool no_wait;                 /* for what comes of an order */
        const char *const *arguments; /* behind the verb */
        size_t n_arguments;
        uint64_t timeout_usec; /* of a call; 0: the bus's own */
        sd_bus *bus;           /* once something was asked */
} Ctl;

/* Says what went wrong, on stderr. Returns CTL_FAULT. */
int ctl_fault(const char *format, ...) _printf_(1, 2);
/* One document on stdout. An exit code. */
int ctl_print_json(const Json *json);
/* That an order was taken: the text, or {"Done":true}. An exit code. */
int ctl_done(const Ctl *ctl, const char *text);

/* client.c: calls, answers as Json. 0, or -errno with a sentence. */

/* The gateway's properties. */
int client_manager(Ctl *ctl, Json **ret, char **ret_error);
/* The properties of all sensors: an array, sorted by name. */
int client_sensors(Ctl *ctl, Json **ret, char **ret_error);
/* Those of one. -ENOENT: there is none of this name (the sentence says which there are). */
int client_sensor(Ctl *ctl, const char *name, Json **ret, char **ret_error);
/* A method that takes strings (NULL ends them) and returns one (ret_text, allocated) or nothing (NULL). */
int client_call(Ctl *ctl, const char *path, const char *interface, const char *method, char **ret_text,
        char **ret_error, ...) __attribute__((sentinel));
/* A sensor's method without arguments. -ENOENT as above. */
int client_sensor_call(Ctl *ctl, const char *name, const char *method, char **ret_error);

/* The verbs. An exit code. */
int verb_status(Ctl *ctl);
int verb_sensors(Ctl *ctl);
int verb_show(Ctl *ctl);
int verb_publish(Ctl *ctl);
int verb_enroll(Ctl *ctl);
int verb_reconnect(Ctl *ctl);
int verb_restart(Ctl *ctl);
int verb_plugins(Ctl *ctl);
int verb_check(Ctl *ctl);
