/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text in and out: sizes, durations, UTF-8, allocated formatting. */

#include "macros.h"

/* "64M", "4096", "1.5G"; K, M, G are powers of 1024. -EINVAL, -ERANGE. */
int text_parse_size(const char *text, uint64_t *ret_bytes);

/* "3.2 MiB", "1 min 5 s": for people. Return their buffer. */
const char *text_format_size(char buffer[static 32], uint64_t bytes);
const char *text_format_duration(char buffer[static 48], uint64_t usec);

/* Well-formed UTF-8 (no surrogates, no overlong forms) without NUL. */
bool text_is_utf8(const char *text, size_t size);

/* How many bytes to show of a text that may be too long: at most max, and no part of a character of UTF-8.
 */
size_t text_cut(const char *text, size_t max);

/* asprintf that gives NULL when out of memory. Caller frees. */
char *text_printf(const char *format, ...) _printf_(1, 2);

/* Replaces *target by a newly formatted string; when out of memory, by NULL. For error sentences:
 * does nothing where target is NULL. */
void text_set(char **target, const char *format, ...) _printf_(2, 3);
