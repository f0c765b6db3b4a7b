/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

int text_parse_size(const char *text, uint64_t *ret_bytes)
{
        uint64_t whole = 0, part = 0, scale = 1, unit = 1, bytes;
        const char *p = text;

        if (!isdigit((unsigned char) *p))
                return -EINVAL;
        for (; isdigit((unsigned char) *p); p++)
                if (__builtin_mul_overflow(whole, UINT64_C(10), &whole) ||
                        __builtin_add_overflow(whole, (uint64_t) (*p - '0'), &whole))
                        return -ERANGE;
        if (*p == '.') {
                p++;
                if (!isdigit((unsigned char) *p))
                        return -EINVAL;
                for (; isdigit((unsigned char) *p); p++)
                        if (scale < 1000000) { /* finer than a byte of a gigabyte is beside the point */
                                part = part * 10 + (uint64_t) (*p - '0');
                                scale *= 10;
                        }
        }
        switch (*p) {
        case 'K':
                unit = UINT64_C(1) << 10;
                p++;
                break;
        case 'M':
                unit = UINT64_C(1) << 20;
                p++;
                break;
        case 'G':
                unit = UINT64_C(1) << 30;
                p++;
                break;
        case '\0':
                if (scale > 1)
                        return -EINVAL;
                break;
        }
        if (*p != '\0')
                return -EINVAL;
        if (__builtin_mul_overflow(whole, unit, &bytes) ||
                __builtin_add_overflow(bytes, part * unit / scale, &bytes))
                return -ERANGE;
        *ret_bytes = bytes;
        return 0;
}

const char *text_format_size(char buffer[static 32], uint64_t bytes)
{
        static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
        double value = (double) bytes / 1024;
        size_t unit = 0;

        if (bytes < 1024) {
                snprintf(buffer, 32, "%u B", (unsigned) bytes);
                return buffer;
        }
        for (; value >= 1024 && unit + 1 < ELEMENTSOF(units); unit++)
                value /= 1024;
        snprintf(buffer, 32, value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
        return buffer;
}

const char *text_format_duration(char buffer[static 48], uint64_t usec)
{
        unsigned long long seconds = usec / USEC_PER_SEC;

        if (usec < USEC_PER_SEC)
                snprintf(buffer, 48, "%u ms", (unsigned) (usec / USEC_PER_MSEC));
        else if (seconds < 60)
                snprintf(buffer, 48, "%llu s", seconds);
        else if (seconds < 3600)
                snprintf(buffer, 48, "%llu min %llu s", seconds / 60, seconds % 60);
        else if (seconds < 86400)
                snprintf(buffer, 48, "%llu h %llu min", seconds / 3600, seconds / 60 % 60);
        else
                snprintf(buffer, 48, "%llu d %llu h", seconds / 86400, seconds / 3600 % 24);
        return buffer;
}

bool text_is_utf8(const char *text, size_t size)
{
        const uint8_t *p = (const uint8_t *) text, *end = p + size;

        while (p < end) {
                unsigned follow;
                uint32_t code, least;

                if (*p < 0x80) {
                        if (*p == 0)
                                return false;
                        p++;
                        continue;
                }
                if ((*p & 0xe0) == 0xc0) {
                        follow = 1, code = *p & 0x1f, least = 0x80;
                } else if ((*p & 0xf0) == 0xe0) {
                        follow = 2, code = *p & 0x0f, least = 0x800;
                } else if ((*p & 0xf8) == 0xf0) {
                        follow = 3, code = *p & 0x07, least = 0x10000;
                } else {
                        return false;
                }
                if ((size_t) (end - p) <= follow)
                        return false;
                for (p++; follow > 0; follow--, p++) {
                        if ((*p & 0xc0) != 0x80)
                                return false;
                        code = code << 6 | (*p & 0x3f);
                }
                if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
                        return false;
        }
        return true;
}

size_t text_cut(const char *text, size_t max)
{
        size_t length = strnlen(text, max);

        while (length > 0 && ((uint8_t) text[length] & 0xc0) == 0x80)
                length--;
        return length;
}

_printf_(1, 0) static char *text_vprintf(const char *format, va_list arguments)
{
        char *text;

        return vasprintf(&text, format, arguments) < 0 ? NULL : text;
}

char *text_printf(const char *format, ...)
{
        va_list arguments;
        char *text;

        va_start(arguments, format);
        text = text_vprintf(format, arguments);
        va_end(arguments);
        return text;
}

void text_set(char **target, const char *format, ...)
{
        va_list arguments;
        char *text;

        if (!target)
                return;
        /* Formatted first: the old text may be among the arguments. */
        va_start(arguments, format);
        text = text_vprintf(format, arguments);
        va_end(arguments);
        free(*target);
        *target = text;
}
