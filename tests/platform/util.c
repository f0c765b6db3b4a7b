/* SPDX-License-Identifier: Apache-2.0 */
#include "util.h"
#include "scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int64_t now_usec(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t monotonic_msec(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void *memory_zero(size_t size)
{
        void *p = calloc(1, size);

        if (!p)
                abort();
        return p;
}

char *string_copy(const char *s)
{
        char *copy;

        if (!s)
                return NULL;
        copy = strdup(s);
        if (!copy)
                abort();
        return copy;
}

char *string_format(const char *format, ...)
{
        char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                abort();
        va_end(ap);
        return text;
}

bool string_equal(const char *a, const char *b)
{
        if (!a || !b)
                return a == b;
        return strcmp(a, b) == 0;
}

bool string_empty(const char *s)
{
        return !s || !*s;
}

void random_hex(char *ret, size_t digits)
{
        static const char hex[] = "0123456789abcdef";
        uint8_t bytes[64];

        if (digits > sizeof(bytes) || getrandom(bytes, digits, 0) != (ssize_t) digits)
                abort();
        for (size_t i = 0; i < digits; i++)
                ret[i] = hex[bytes[i] & 15];
        ret[digits] = '\0';
}

json_object *json_member(json_object *object, const char *key, enum json_type type)
{
        json_object *member = NULL;

        if (!json_object_is_type(object, json_type_object))
                return NULL;
        if (!json_object_object_get_ex(object, key, &member) || !json_object_is_type(member, type))
                return NULL;
        return member;
}

const char *json_text(json_object *object, const char *key, const char *otherwise)
{
        json_object *member = json_member(object, key, json_type_string);

        return member ? json_object_get_string(member) : otherwise;
}

int64_t json_number(json_object *object, const char *key, int64_t otherwise)
{
        json_object *member = json_member(object, key, json_type_int);

        return member ? json_object_get_int64(member) : otherwise;
}

bool json_flag(json_object *object, const char *key, bool otherwise)
{
        json_object *member = json_member(object, key, json_type_boolean);

        return member ? json_object_get_boolean(member) : otherwise;
}

json_object *json_parse(const char *text, size_t size, bool *ret_ok, const char **ret_why)
{
        /* One tokener for the life of the process: making one for each message costs more than the parsing.
         */
        static json_tokener *tokener;
        const char *end;
        json_object *object;
        enum json_tokener_error error;

        *ret_ok = false;
        *ret_why = "empty";
        if (size == 0 || size > INT32_MAX)
                return NULL;
        if (!tokener) {
                tokener = json_tokener_new();
                if (!tokener)
                        abort();
                /* Not JSON_TOKENER_STRICT: json-c 0.18 refuses all but ASCII then. The scan is stricter. */
                json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
        }
        end = scan_value(scan_space(text, text + size), text + size);
        *ret_why = "not JSON";
        if (!end || scan_space(end, text + size) != text + size)
                return NULL;
        json_tokener_reset(tokener);
        object = json_tokener_parse_ex(tokener, text, (int) size);
        error = json_tokener_get_error(tokener);
        /* A bare number is complete only when something that cannot belong to it follows. */
        if (error == json_tokener_continue) {
                object = json_tokener_parse_ex(tokener, "", 1);
                error = json_tokener_get_error(tokener);
        }
        if (error != json_tokener_success) {
                json_object_put(object);
                *ret_why = json_tokener_error_desc(error);
                return NULL;
        }
        *ret_ok = true;
        return object;
}
