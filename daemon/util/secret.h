/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Secrets in memory: overwritten before they are freed. */

#include "macros.h"

void secret_free_size(char *secret, size_t size);
/* The same for text. Takes NULL. */
char *secret_free(char *secret);
DEFINE_CLEANUP(char, secret_free);
