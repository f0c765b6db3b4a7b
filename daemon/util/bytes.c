/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"

#include <endian.h>
#include <string.h>

void bytes_deinit(Bytes *bytes)
{
        free(bytes->data);
        *bytes = (Bytes){};
}

void bytes_clear(Bytes *bytes)
{
        bytes->size = 0;
        bytes->failed = false;
}

void bytes_consume(Bytes *bytes, size_t n)
{
        n = MIN(n, bytes->size);
        if (n < bytes->size)
                memmove(bytes->data, bytes->data + n, bytes->size - n);
        bytes->size -= n;
}

uint8_t *bytes_reserve(Bytes *bytes, size_t n)
{
        size_t capacity;
        uint8_t *data;

        if (bytes->failed)
                return NULL;
        if (n <= bytes->capacity - bytes->size)
                return bytes->data + bytes->size;
        if (n > SIZE_MAX / 4 || bytes->size > SIZE_MAX / 4) {
                bytes->failed = true;
                return NULL;
        }
        capacity = MAX(MAX(2 * bytes->capacity, bytes->size + n), (size_t) 64);
        data = realloc(bytes->data, capacity);
        if (!data) {
                bytes->failed = true;
                return NULL;
        }
        bytes->data = data;
        bytes->capacity = capacity;
        return data + bytes->size;
}

void bytes_put(Bytes *bytes, const void *data, size_t size)
{
        uint8_t *to;

        if (size == 0)
                return;
        to = bytes_reserve(bytes, size);
        if (!to)
                return;
        memcpy(to, data, size);
        bytes->size += size;
}

void bytes_put_u8(Bytes *bytes, uint8_t value)
{
        bytes_put(bytes, &value, sizeof(value));
}

void bytes_put_u16(Bytes *bytes, uint16_t value)
{
        value = htole16(value);
        bytes_put(bytes, &value, sizeof(value));
}

void bytes_put_u32(Bytes *bytes, uint32_t value)
{
        value = htole32(value);
        bytes_put(bytes, &value, sizeof(value));
}

void bytes_put_u64(Bytes *bytes, uint64_t value)
{
        value = htole64(value);
        bytes_put(bytes, &value, sizeof(value));
}

void bytes_put_f64(Bytes *bytes, double value)
{
        uint64_t bits;

        memcpy(&bits, &value, sizeof(bits));
        bytes_put_u64(bytes, bits);
}

void bytes_put_string(Bytes *bytes, const char *string)
{
        size_t length = strlen(string);

        if (length > UINT32_MAX) {
                bytes->failed = true;
                return;
        }
        bytes_put_u32(bytes, (uint32_t) length);
        bytes_put(bytes, string, length + 1);
}

const uint8_t *bytes_get(BytesReader *reader, size_t size)
{
        const uint8_t *data = reader->data;

        if (reader->failed || size > reader->size) {
                reader->failed = true;
                return NULL;
        }
        if (size > 0)
                reader->data += size;
        reader->size -= size;
        return data;
}

uint8_t bytes_get_u8(BytesReader *reader)
{
        const uint8_t *data = bytes_get(reader, 1);

        return data ? *data : 0;
}

uint16_t bytes_get_u16(BytesReader *reader)
{
        const uint8_t *data = bytes_get(reader, 2);
        uint16_t value = 0;

        if (data)
                memcpy(&value, data, sizeof(value));
        return le16toh(value);
}

uint32_t bytes_get_u32(BytesReader *reader)
{
        const uint8_t *data = bytes_get(reader, 4);
        uint32_t value = 0;

        if (data)
                memcpy(&value, data, sizeof(value));
        return le32toh(value);
}

uint64_t bytes_get_u64(BytesReader *reader)
{
        const uint8_t *data = bytes_get(reader, 8);
        uint64_t value = 0;

        if (data)
                memcpy(&value, data, sizeof(value));
        return le64toh(value);
}

double bytes_get_f64(BytesReader *reader)
{
        uint64_t bits = bytes_get_u64(reader);
        double value;

        memcpy(&value, &bits, sizeof(value));
        return value;
}

const char *bytes_get_string(BytesReader *reader)
{
        uint32_t length = bytes_get_u32(reader);
        const char *string = (const char *) bytes_get(reader, (size_t) length + 1);

        if (!string)
                return NULL;
        if (memchr(string, '\0', (size_t) length + 1) != string + length) {
                reader->failed = true;
                return NULL;
        }
        return string;
}

/* Castagnoli's polynomial, reflected; eight tables, eight bytes a step. */
static uint32_t crc_tables[8][256];

__attribute__((constructor)) static void crc_tables_fill(void)
{
        for (uint32_t i = 0; i < 256; i++) {
                uint32_t crc = i;

                for (int bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
                crc_tables[0][i] = crc;
        }
        for (uint32_t i = 0; i < 256; i++)
                for (int t = 1; t < 8; t++)
                        crc_tables[t][i] =
                                crc_tables[t - 1][i] >> 8 ^ crc_tables[0][crc_tables[t - 1][i] & 0xff];
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
        const uint8_t *p = data;

        crc = ~crc;
        for (; size >= 8; p += 8, size -= 8) {
                uint64_t word;

                memcpy(&word, p, sizeof(word));
                word = le64toh(word) ^ crc;
                crc = 0;
                for (int t = 0; t < 8; t++)
                        crc ^= crc_tables[7 - t][word >> (8 * t) & 0xff];
        }
        for (; size > 0; p++, size--)
                crc = crc >> 8 ^ crc_tables[0][(crc ^ *p) & 0xff];
        return ~crc;
}
