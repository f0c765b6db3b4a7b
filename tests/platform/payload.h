/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The message {"id", "data", "at"} as it travels. The text of `data` is kept as the publisher wrote it,
 * because tests compare it byte for byte. Pure functions.
 */

#include "util.h"

typedef struct Payload {
        bool has_id, has_at;
        char id[OBJECT_ID_SIZE];
        int64_t at; /* ms since the epoch */
        const char *data;
        size_t data_size;
        char *data_copy;       /* backs `data` when the text itself could not be pointed at */
        char of[PLUG_ID_SIZE]; /* "" unless published on behalf of another */
} Payload;

/* 0, or -EBADMSG with a sentence in *ret_why. `text` has to outlive *ret. */
int payload_parse(const char *text, size_t size, Payload *ret, const char **ret_why);
void payload_deinit(Payload *payload);

/* Chooses the id and the `at` that the publisher left out, and returns the completed text; NULL if it was
 * complete. */
char *payload_complete(Payload *payload, const char *text, size_t size, int64_t time_usec);
