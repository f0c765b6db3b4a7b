/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Faults that a test has ordered: where they strike, what they do, how often. */

#include "util.h"

typedef enum FaultPoint {
        FAULT_LOGIN,
        FAULT_ENROL,
        FAULT_PROPERTY,
        FAULT_PUBLISH,
        FAULT_SUBSCRIBE,
} FaultPoint;

typedef enum FaultMode {
        FAULT_REFUSE, /* login: CONNACK with `code` */
        FAULT_ERROR,  /* answer {"err": code, "msg": msg} */
        FAULT_TEXT,   /* answer `text`, whatever that is */
        FAULT_SILENT, /* no answer; of a publish or subscribe: as if it had not come */
        FAULT_CLOSE,  /* close instead of answering */
        FAULT_DELAY,  /* the right answer, late */
} FaultMode;

typedef struct Fault {
        struct Fault *next;
        FaultPoint point;
        FaultMode mode;
        int64_t count; /* how often still; -1: until cleared */
        int64_t code;
        int64_t delay_msec; /* in every mode that answers */
        char *msg, *text;
} Fault;

typedef struct Faults {
        Fault *first; /* oldest first; the oldest that fits strikes */
} Faults;

/* From {"point", "mode", "count": 1, "code", "msg", "text", "delay_ms"}. -EINVAL with *ret_why. */
int fault_order(Faults *faults, json_object *description, const char **ret_why);
/* Takes one strike off the oldest fault at that point. NULL if none; else valid until the next call to
 * fault_*. */
const Fault *fault_strike(Faults *faults, FaultPoint point);
void faults_clear(Faults *faults);
json_object *faults_describe(const Faults *faults);
