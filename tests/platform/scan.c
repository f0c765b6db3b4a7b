/* SPDX-License-Identifier: Apache-2.0 */
#include "scan.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* As deep as json-c goes. */
enum { DEPTH_MAX = 32 };

static bool is_digit(const char *p, const char *end)
{
        return p < end && *p >= '0' && *p <= '9';
}

static const char *scan_digits(const char *p, const char *end)
{
        if (!is_digit(p, end))
                return NULL;
        while (is_digit(p, end))
                p++;
        return p;
}

static const char *scan_number(const char *p, const char *end)
{
        if (p < end && *p == '-')
                p++;
        /* No zeros in front. */
        p = p < end && *p == '0' ? p + 1 : scan_digits(p, end);
        if (p && p < end && *p == '.')
                p = scan_digits(p + 1, end);
        if (p && p < end && (*p == 'e' || *p == 'E')) {
                p++;
                if (p < end && (*p == '+' || *p == '-'))
                        p++;
                p = scan_digits(p, end);
        }
        return p;
}

static const char *scan_word(const char *p, const char *end, const char *word)
{
        size_t size = strlen(word);

        return (size_t) (end - p) >= size && memcmp(p, word, size) == 0 ? p + size : NULL;
}

static const char *scan_escape(const char *p, const char *end)
{
        if (p >= end)
                return NULL;
        if (*p != 'u')
                return *p && strchr("\"\\/bfnrt", *p) ? p + 1 : NULL;
        for (int i = 1; i <= 4; i++)
                if (p + i >= end || !isxdigit((unsigned char) p[i]))
                        return NULL;
        return p + 5;
}

const char *scan_space(const char *p, const char *end)
{
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
                p++;
        return p;
}

const char *scan_string(const char *p, const char *end)
{
        if (p >= end || *p != '"')
                return NULL;
        for (p++; p && p < end && *p != '"';) {
                if ((unsigned char) *p < ' ')
                        return NULL;
                p = *p == '\\' ? scan_escape(p + 1, end) : p + 1;
        }
        return p && p < end ? p + 1 : NULL;
}

static const char *scan_nested(const char *p, const char *end, int depth);

/* The members of an object or the elements of an array, `p` behind the opening bracket. */
static const char *scan_members(const char *p, const char *end, char close, int depth)
{
        p = scan_space(p, end);
        if (p < end && *p == close)
                return p + 1;
        for (;;) {
                if (close == '}') {
                        p = scan_string(scan_space(p, end), end);
                        p = p ? scan_space(p, end) : NULL;
                        if (!p || p >= end || *p != ':')
                                return NULL;
                        p++;
                }
                p = scan_nested(scan_space(p, end), end, depth);
                p = p ? scan_space(p, end) : NULL;
                if (!p || p >= end)
                        return NULL;
                if (*p == close)
                        return p + 1;
                if (*p != ',')
                        return NULL;
                p++;
        }
}

static const char *scan_nested(const char *p, const char *end, int depth)
{
        if (p >= end || depth > DEPTH_MAX)
                return NULL;
        switch (*p) {
        case '{':
                return scan_members(p + 1, end, '}', depth + 1);
        case '[':
                return scan_members(p + 1, end, ']', depth + 1);
        case '"':
                return scan_string(p, end);
        case 't':
                return scan_word(p, end, "true");
        case 'f':
                return scan_word(p, end, "false");
        case 'n':
                return scan_word(p, end, "null");
        default:
                return scan_number(p, end);
        }
}

const char *scan_value(const char *p, const char *end)
{
        return scan_nested(p, end, 0);
}
