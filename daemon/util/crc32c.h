/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* CRC-32C (Castagnoli), as iSCSI and ext4 use it. */

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t size); /* start with 0; go on with what it returned */
