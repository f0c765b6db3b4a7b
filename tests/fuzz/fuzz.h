/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the fuzz targets share. A target is a function that takes any bytes, does with them what the daemon
 * does with a stranger's, and holds what has to be true of every input: not only that it doesn't crash. It
 * is linked twice: with libFuzzer (tests/fuzz.sh), and with replay.c, which runs the corpora in each test
 * run.
 */

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/log.h"
#include "util/macros.h"
#include "util/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define hold(condition)                                                                                     \
        do {                                                                                                \
                if (!(condition)) {                                                                         \
                        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);      \
                        abort();                                                                            \
                }                                                                                           \
        } while (0)

/* Memory of its own, so that a byte too far is found; with a NUL behind it. Caller frees. */
static _unused_ char *fuzz_text(const void *data, size_t size)
{
        char *text = malloc(size + 1);

        hold(text);
        memcpy(text, data, size);
        text[size] = '\0';
        return text;
}

/* What is read by people: one line of UTF-8. */
static _unused_ void hold_sentence(const char *text)
{
        hold(text && *text && text_is_utf8(text, strlen(text)));
        for (; *text; text++)
                hold((unsigned char) *text >= 0x20 && *text != 0x7f);
}

/* A function that fails says why, one that doesn't says nothing. Frees it. */
static _unused_ void hold_error(bool failed, char *error)
{
        if (failed)
                hold_sentence(error);
        else
                hold(!error);
        free(error);
}

static _unused_ void fuzz_ignore_log(int priority, const LogContext *context, const char *text)
{
        (void) priority;
        (void) context;
        (void) text;
}
