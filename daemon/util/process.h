/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Runs a short-lived program of ours and takes what it prints. Blocks, bounded: for before the loop starts,
 * and for the command line. */

#include "macros.h"

/* argv[0] is a path. No inherited descriptors but /dev/null as stdin and a pipe as stdout and stderr.
 * Returns the exit status (0 to 255) or -errno: -ETIMEDOUT (it has been killed), -EFBIG (printed more than
 * max), -ECHILD (ended by a signal, named in ret_errors). Both texts are NUL-terminated; the caller frees.
 */
int process_capture(
        const char *const *argv, uint64_t timeout_usec, size_t max, char **ret_output, char **ret_errors);
