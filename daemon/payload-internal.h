/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the payload room. */

#include "payload.h"

typedef struct PayloadScan {
        const char *error;  /* why this is not JSON, NULL if it is */
        size_t offset;      /* where */
        const char *beyond; /* it is JSON, but has what a Json can't hold: what; else NULL */
        size_t beyond_offset;
} PayloadScan;

/* Reads one value by the letter of RFC 8259, and no lone surrogates. 0 or -EINVAL. */
int payload_scan(const char *text, size_t size, unsigned depth_max, PayloadScan *ret);

/* Copies a formatted number with a point, whatever the locale has for one: it may be several bytes. */
void payload_put_point(char *to, const char *text);
