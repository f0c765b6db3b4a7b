/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Is it JSON? By the letter of RFC 8259, because json-c's strict mode takes NaN, 'single quotes', "1.", raw
 * control characters, lone surrogates and overlong UTF-8, and clamps what 64 bits can't hold. So everything
 * passes here first. Knows util only: a worker can link it without json-c.
 */

#include <errno.h>
#include <string.h>

#include "payload-internal.h"
#include "util/text.h"

typedef struct Scanner {
        const char *start, *p, *end;
        unsigned depth, depth_max;
        PayloadScan *result;
} Scanner;

static bool scan_value(Scanner *s);

static bool scan_fail(Scanner *s, const char *error)
{
        s->result->error = error;
        s->result->offset = (size_t) (s->p - s->start);
        return false;
}

static void scan_beyond(Scanner *s, const char *at, const char *what)
{
        if (s->result->beyond)
                return;
        s->result->beyond = what;
        s->result->beyond_offset = (size_t) (at - s->start);
}

/* What comes next, or -1 at the end. */
static int scan_peek(const Scanner *s)
{
        return s->p < s->end ? (unsigned char) *s->p : -1;
}

static bool is_digit(int c)
{
        return c >= '0' && c <= '9';
}

static void scan_space(Scanner *s)
{
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
                s->p++;
}

static bool scan_word(Scanner *s, const char *word)
{
        size_t length = strlen(word);

        if ((size_t) (s->end - s->p) < length || memcmp(s->p, word, length) != 0)
                return scan_fail(s, "a value is expected");
        s->p += length;
        return true;
}

static size_t scan_digits(Scanner *s)
{
        const char *first = s->p;

        while (is_digit(scan_peek(s)))
                s->p++;
        return (size_t) (s->p - first);
}

static bool scan_number(Scanner *s)
{
        const char *first = s->p, *most = "18446744073709551615", *digits;
        bool whole = true;
        size_t length;

        if (scan_peek(s) == '-') {
                most = "9223372036854775808";
                s->p++;
        }
        digits = s->p;
        length = scan_digits(s);
        if (length == 0)
                return scan_fail(s, "a digit is expected");
        if (length > 1 && *digits == '0') {
                s->p = digits;
                return scan_fail(s, "a number has zeros in front");
        }
        if (scan_peek(s) == '.') {
                whole = false;
                s->p++;
                if (scan_digits(s) == 0)
                        return scan_fail(s, "a digit is expected");
        }
        if (scan_peek(s) == 'e' || scan_peek(s) == 'E') {
                whole = false;
                s->p++;
                if (scan_peek(s) == '+' || scan_peek(s) == '-')
                        s->p++;
                if (scan_digits(s) == 0)
                        return scan_fail(s, "a digit is expected");
        }
        if (whole && (length > strlen(most) || (length == strlen(most) && memcmp(digits, most, length) > 0)))
                scan_beyond(s, first, "an integer that 64 bits can't hold");
        return true;
}

/* The four digits behind \u; p is behind them afterwards. */
static bool scan_hex(Scanner *s, unsigned *ret_code)
{
        unsigned code = 0;

        for (unsigned i = 0; i < 4; i++, s->p++) {
                int c = scan_peek(s);

                if (is_digit(c))
                        code = code << 4 | (unsigned) (c - '0');
                else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
                        code = code << 4 | (unsigned) ((c | 0x20) - 'a' + 10);
                else
                        return scan_fail(s, "four hexadecimal digits are expected behind \\u");
        }
        *ret_code = code;
        return true;
}

static bool scan_escape(Scanner *s, bool *has_nul)
{
        const char *first = s->p++;
        unsigned code, low;
        int c = scan_peek(s);

        if (c < 0)
                return scan_fail(s, "a string does not end");
        if (c != 'u') {
                if (c == 0 || !strchr("\"\\/bfnrt", c))
                        return scan_fail(s, "there is no such escape in a string");
                s->p++;
                return true;
        }
        s->p++;
        if (!scan_hex(s, &code))
                return false;
        if (code == 0)
                *has_nul = true;
        if (code >= 0xd800 && code <= 0xdbff && s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'u') {
                s->p += 2;
                if (!scan_hex(s, &low))
                        return false;
                if (low >= 0xdc00 && low <= 0xdfff)
                        return true;
        }
        if (code >= 0xd800 && code <= 0xdfff) {
                s->p = first;
                return scan_fail(s, "half of a surrogate pair stands alone");
        }
        return true;
}

static bool scan_string(Scanner *s, bool *has_nul)
{
        s->p++;
        for (;;) {
                int c = scan_peek(s);

                if (c < 0)
                        return scan_fail(s, "a string does not end");
                if (c < 0x20)
                        return scan_fail(s, "a control character has to be escaped in a string");
                if (c == '"') {
                        s->p++;
                        return true;
                }
                if (c == '\\') {
                        if (!scan_escape(s, has_nul))
                                return false;
                } else if (c < 0x80) {
                        s->p++;
                } else {
                        size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

                        if ((size_t) (s->end - s->p) < length || !text_is_utf8(s->p, length))
                                return scan_fail(s, "the text is not UTF-8");
                        s->p += length;
                }
        }
}

static bool scan_member(Scanner *s)
{
        const char *first = s->p;
        bool has_nul = false;

        if (scan_peek(s) != '"')
                return scan_fail(s, "a name in double quotes is expected");
        if (!scan_string(s, &has_nul))
                return false;
        if (has_nul)
                scan_beyond(s, first, "a name with \\u0000 in it");
        scan_space(s);
        if (scan_peek(s) != ':')
                return scan_fail(s, "a colon is expected");
        s->p++;
        return scan_value(s);
}

static bool scan_container(Scanner *s, char close, bool (*scan_item)(Scanner *s), const char *expected)
{
        if (s->depth == s->depth_max)
                return scan_fail(s, "arrays and objects are nested too deep");
        s->depth++;
        s->p++;
        scan_space(s);
        if (scan_peek(s) != close)
                for (;;) {
                        scan_space(s);
                        if (!scan_item(s))
                                return false;
                        scan_space(s);
                        if (scan_peek(s) == close)
                                break;
                        if (scan_peek(s) != ',')
                                return scan_fail(s, expected);
                        s->p++;
                }
        s->p++;
        s->depth--;
        return true;
}

static bool scan_value(Scanner *s)
{
        bool has_nul;

        scan_space(s);
        switch (scan_peek(s)) {
        case '{':
                return scan_container(s, '}', scan_member, "a comma or '}' is expected");
        case '[':
                return scan_container(s, ']', scan_value, "a comma or ']' is expected");
        case '"':
                return scan_string(s, &has_nul);
        case 't':
                return scan_word(s, "true");
        case 'f':
                return scan_word(s, "false");
        case 'n':
                return scan_word(s, "null");
        case '-':
        case '0' ... '9':
                return scan_number(s);
        default:
                return scan_fail(
                        s, s->p == s->end ? "it ends where a value is expected" : "a value is expected");
        }
}

int payload_scan(const char *text, size_t size, unsigned depth_max, PayloadScan *ret)
{
        Scanner s = {.start = text, .p = text, .end = text + size, .depth_max = depth_max, .result = ret};

        *ret = (PayloadScan){};
        if (!scan_value(&s))
                return -EINVAL;
        scan_space(&s);
        if (s.p < s.end) {
                scan_fail(&s, "there is more behind the value");
                return -EINVAL;
        }
        return 0;
}

int payload_check(const char *text, size_t size, char **ret_error)
{
        PayloadScan scan;

        if (size > SAMPLE_DATA_MAX) {
                text_set(ret_error, "the JSON has %zu bytes, and the most that a message carries is %d",
                        size, SAMPLE_DATA_MAX);
                return -EMSGSIZE;
        }
        if (payload_scan(text, size, PAYLOAD_DEPTH_MAX, &scan) < 0) {
                text_set(ret_error, "this is not JSON: %s, at offset %zu", scan.error, scan.offset);
                return -EINVAL;
        }
        return 0;
}
