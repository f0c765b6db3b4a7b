/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* States, values, ages and times as people read them. Pure. */

#include "ctl/table.h"
#include "payload.h"

/* Of a gateway or a sensor. */
Style format_state_style(const char *state);

/* A value with its unit (NULL: none): "21.5 °C", "true", "open"; bytes as sizes: "3.2 MiB". Allocated. */
char *format_value(const Json *value, const char *unit);

/* How long ago, "-" for 0 (never). Both in µs since the epoch. */
const char *format_age(char buffer[static 48], uint64_t then_usec, uint64_t now_usec);
/* "2026-05-03 14:00:05", local time; "-" for 0. */
const char *format_time(char buffer[static 48], uint64_t usec);
/* "1,234,567" */
const char *format_count(char buffer[static 32], uint64_t number);

/* How long there is room in the spool, as the gateway gives it (SpoolHours, SpoolRate, SpoolMessageRate,
 * SpoolRateSpan): "31 h, about 65,000 messages, at today's 590 B/s", or when it will be known. NULL where
 * nothing comes in, or there is no memory. Allocated. */
char *format_outlook(double hours, double bytes_rate, double messages_rate, uint64_t span_sec);
