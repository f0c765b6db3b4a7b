/* SPDX-License-Identifier: Apache-2.0 */
#include "crc32c.h"

#include <endian.h>
#include <string.h>

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
