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
