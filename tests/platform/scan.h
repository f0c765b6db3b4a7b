/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON's grammar to the letter (RFC 8259). json-c lets NaN and 'single quotes' pass even when told to be
 * strict, and does not tell where in the text a value stands. UTF-8 is left to json-c. Pure functions.
 */

#include <stddef.h>

/* Each takes the first byte not yet read and returns the one after what it read; NULL where that isn't JSON.
 * `end` is behind the last byte. */
const char *scan_space(const char *p, const char *end);
const char *scan_string(const char *p, const char *end);
const char *scan_value(const char *p, const char *end);
