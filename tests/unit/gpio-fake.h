/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For tests of the gpio plugin: chips below its seam, which do as the kernel does (edges that were asked
 * for, in logical terms, through a queue of limited length), and a host above it, which keeps what it is
 * given. Time stands still unless a test moves it.
 */

#include "gpio-lines.h"
#include "plugin.h"

#define FAKE_LINES_MAX 64
#define FAKE_QUEUE_MAX 512
#define MSEC INT64_C(1000000)

struct GpioLine {
        char name[GPIO_NAME_MAX], consumer[GPIO_NAME_MAX]; /* a consumer: it is in use */
        bool used;                                         /* by somebody who gives no name */
        bool high;
        int request_error, value_error, values_asked;
        bool gone;

        bool taken;
        GpioSettings settings;
        GpioEvent queue[FAKE_QUEUE_MAX];
        size_t n_queued;
        uint32_t sequence;
        int fd; /* readable while there are events; -1: edges were not asked for */
};

struct GpioChip {
        char name[GPIO_NAME_MAX], label[GPIO_NAME_MAX];
        unsigned n_lines;
        int open_error, open;
        GpioLine lines[FAKE_LINES_MAX];
};

extern int64_t fake_now_ns;
extern const char *fake_explanation; /* what gpio_dev_explain() says */
/* Called before each request, and each reading of a level: what happens just then. */
extern void (*fake_on_request)(GpioLine *line), (*fake_on_value)(GpioLine *line);

#define FAKE_START (4000000000 * GPIO_NSEC_PER_SEC)

/* No chips, time FAKE_START. version: libgpiod's, 1 or 2. */
void fake_reset(int version);
void fake_end(void);
GpioChip *fake_chip(const char *name, const char *label, unsigned n_lines);
/* The pin goes high or low at that time, and an edge comes of it if it was the other. */
void fake_pin(GpioLine *line, bool high, int64_t when_ns);
/* All that was opened and taken has been given back. */
bool fake_all_released(void);

/* --- the host ----------------------------------------------------------------------------------------- */

typedef struct FakeSettings {
        struct plugd_setting settings[16];
        size_t n;
} FakeSettings;

typedef struct FakeSample {
        uint32_t channel;
        bool value;
        int64_t when_ns;
} FakeSample;

typedef struct FakeHost {
        struct plugd_host host;
        FakeSettings options, lines[300];
        size_t n_lines;
        char channels[300][64];
        size_t n_channels;
        FakeSample samples[4096];
        size_t n_samples, n_seen;
        char error[1024], warning[1024]; /* the last ones */
        unsigned n_errors, n_warnings;

        void *instance;
        struct plugd_group groups[300];
        struct plugd_value groups_value;
} FakeHost;

FakeHost *fake_host_new(void);
void fake_host_free(FakeHost *host); /* closes it, too */
void fake_text(FakeSettings *settings, const char *name, const char *value);
void fake_integer(FakeSettings *settings, const char *name, int64_t value);
void fake_number(FakeSettings *settings, const char *name, double value);
void fake_boolean(FakeSettings *settings, const char *name, bool value);
/* One more of `lines`. */
FakeSettings *fake_line(FakeHost *host, const char *name);
int fake_open(FakeHost *host);
int fake_read_for(FakeHost *host, enum plugd_reason reason);
/* As the host calls it: for an event if there is one, else, and first of all, for the interval. */
int fake_read(FakeHost *host);
void fake_close(FakeHost *host);
/* Is there something to read, as the worker sees it? */
bool fake_pending(FakeHost *host);
/* The next sample is this one. */
void fake_expect(FakeHost *host, uint32_t channel, bool value, int64_t when_ns);
void fake_expect_no_more(FakeHost *host);
