/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the credentials room. */

#include "credentials.h"

/* The first usable serial number in these files (NULL-terminated), else plugd's own hash of the machine id.
 */
int hwid_discover(const char *const *serial_files, char **ret_hwid, char **ret_error);
