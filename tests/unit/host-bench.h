/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the tests of hosts share: one loop, sensors with the real worker and real plugins, what they handed
 * over and what was logged. Where something goes wrong in one, a steady sensor beside it must not miss a
 * sample.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host.h"
#include "util/text.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

extern sd_event *event;
extern Paths paths, test_paths, fake_paths; /* real plugins; those of tests; this program is the worker */
extern char logged[256 * 1024];
extern size_t logged_lines;
extern const char *expected; /* by says() */

typedef struct Sensor {
        SensorConfig config;
        Host *host;
        uint64_t n, lives; /* samples; how often the counter began */
        int64_t last;      /* value of the counter */
        bool gap;          /* it did not go on by one, and was not begun either */
        char channel[64], data[16384];
        uint64_t age_usec, last_usec, longest_usec; /* longest: between two samples */
        unsigned changes;
        bool refuse, too_much; /* what is said of its samples */
} Sensor;

bool was_logged(const char *text);
void forget_log(void);
size_t count_logged(const char *text);
void sensor_start(Sensor *sensor, const Paths *where);
void sensor_init(Sensor *sensor, const char *name, const char *plugin, double interval_sec);
void set_string(Sensor *sensor, const char *name, const char *text);
void set_integer(Sensor *sensor, const char *name, int64_t integer);
void set_number(Sensor *sensor, const char *name, double number);
void sim(Sensor *sensor, const char *name, double interval_sec, const char *misbehave, int64_t after);
void sim_start(Sensor *sensor, const char *name, double interval_sec, const char *misbehave, int64_t after);
void script_start(Sensor *sensor, double interval_sec, const char *script, int64_t open_failures);
void sensor_end(Sensor *sensor);
/* Runs the loop until it is so. False: it took too long. */
bool until(bool (*so)(const Sensor *sensor), const Sensor *sensor, double seconds);
void run_for(double seconds);
bool sampled(const Sensor *sensor);
bool sampled_json(const Sensor *sensor);
bool sampled_20(const Sensor *sensor);
bool running(const Sensor *sensor);
bool restarting(const Sensor *sensor);
bool starting(const Sensor *sensor);
bool failing(const Sensor *sensor);
bool silent(const Sensor *sensor);
bool stuck(const Sensor *sensor);
bool stopped(const Sensor *sensor);
bool restarted_twice(const Sensor *sensor);
bool says(const Sensor *sensor);
bool wrong(const Sensor *sensor);
void assert_error(const Sensor *sensor, const char *words);
/* The one that nothing may happen to. */
void assert_unharmed(const Sensor *steady, pid_t pid, double interval_sec);
void steady_start(Sensor *steady);
/* Gives what a file in the worker's /proc says behind a key. */
void proc_status(pid_t pid, const char *key, char *ret, size_t size);
double cpu_sec(void);
int bench_set_up(void **state);
int bench_tear_down(void **state);
