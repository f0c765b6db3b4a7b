/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The log: messages for a person, with a syslog priority and the sensor and channel they are about.
 * Where they go is a sink that main() sets (the journal with fields, or stderr). Secrets never go in.
 */

#include <stdarg.h>
#include <syslog.h>

#include "macros.h"

typedef struct LogContext {
        const char *sensor;  /* SENSOR=, or NULL */
        const char *channel; /* CHANNEL=, or NULL */
} LogContext;

typedef void (*LogSink)(int priority, const LogContext *context, const char *text);

/* What is less urgent than this (LOG_ERR … LOG_DEBUG) is dropped. Default LOG_INFO. */
void log_set_level(int priority);
int log_level(void);

/* "error", "warning", "notice", "info", "debug"; -EINVAL for anything else. */
int log_level_from_string(const char *name);
const char *log_level_to_string(int priority);

/* NULL: stderr, as "plugd: warning: door: text". */
void log_set_sink(LogSink sink);

void log_write(int priority, const LogContext *context, const char *format, ...) _printf_(3, 4);

#define log_error(...) log_write(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, NULL, __VA_ARGS__)
