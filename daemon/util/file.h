/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whole files and folders, with power cuts in mind. */

#include <stddef.h>
#include <sys/types.h>

/* Reads at most max bytes; -EFBIG if there is more. ret_data has a NUL behind its last byte. Caller frees.
 */
int file_read(const char *path, size_t max, char **ret_data, size_t *ret_size);

/* Replaces path by a complete new file or leaves the old one: temporary file in the same folder, fsync,
 * rename, fsync of the folder. Has returned 0 only when the content would survive a power cut. */
int file_write_atomic(const char *path, mode_t mode, const void *data, size_t size);

/* mkdir -p; folders it makes get this mode. */
int file_make_directory(const char *path, mode_t mode);
