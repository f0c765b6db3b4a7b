/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A growable buffer that is written at its end, and a reader that never leaves its bounds. Numbers are
 * little-endian. A writer that ran out of memory, and a reader that ran out of bytes, stay
 * failed: check once, at the end.
 */

#include "macros.h"

typedef struct Bytes {
        uint8_t *data;
        size_t size, capacity;
        bool failed; /* out of memory at some point: what is in here is not whole */
} Bytes;

void bytes_deinit(Bytes *bytes);
void bytes_clear(Bytes *bytes); /* empty, memory kept */
/* Drops the first n bytes. */
void bytes_consume(Bytes *bytes, size_t n);
/* Room for n more bytes at data + size, or NULL. The caller adds to size what it used. */
uint8_t *bytes_reserve(Bytes *bytes, size_t n);

void bytes_put(Bytes *bytes, const void *data, size_t size);
void bytes_put_u8(Bytes *bytes, uint8_t value);
void bytes_put_u16(Bytes *bytes, uint16_t value);
void bytes_put_u32(Bytes *bytes, uint32_t value);
void bytes_put_u64(Bytes *bytes, uint64_t value);
void bytes_put_f64(Bytes *bytes, double value);
/* Length (u32), the bytes, and a NUL that the length does not count. */
void bytes_put_string(Bytes *bytes, const char *string);

typedef struct BytesReader {
        const uint8_t *data;
        size_t size; /* what is left */
        bool failed;
} BytesReader;

const uint8_t *bytes_get(BytesReader *reader, size_t size); /* NULL past the end */
uint8_t bytes_get_u8(BytesReader *reader);                  /* 0 past the end, as all of these */
uint16_t bytes_get_u16(BytesReader *reader);
uint32_t bytes_get_u32(BytesReader *reader);
uint64_t bytes_get_u64(BytesReader *reader);
double bytes_get_f64(BytesReader *reader);
/* Points into the reader's bytes; NUL-terminated, checked to hold no other NUL. NULL past the end. */
const char *bytes_get_string(BytesReader *reader);
