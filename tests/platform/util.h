/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What every file of the stand-in needs: time, memory, and reading json-c objects that came from a test.
 * Knows nothing of mosquitto. Running out of memory ends the process: this is a test tool.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_JSON __attribute__((cleanup(cleanup_json)))

/* A Plug-ID is dev-, mod- or com- and 24 hex digits; a message id is 24 hex digits. Both sizes with NUL. */
enum { PLUG_ID_SIZE = 29, OBJECT_ID_SIZE = 25 };

static inline void cleanup_free(void *p)
{
        free(*(void **) p);
}

static inline void cleanup_json(json_object **p)
{
        json_object_put(*p);
}

int64_t now_usec(void);       /* CLOCK_REALTIME, for what is stored */
int64_t monotonic_msec(void); /* for what is awaited */

void *memory_zero(size_t size);
char *string_copy(const char *s); /* NULL gives NULL */
char *string_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool string_equal(const char *a, const char *b); /* NULL equals only NULL */
bool string_empty(const char *s);

/* Writes `digits` random hex digits and a NUL. */
void random_hex(char *ret, size_t digits);

/* The member `key` of an object, or the default where it is missing or of another type. */
const char *json_text(json_object *object, const char *key, const char *otherwise);
int64_t json_number(json_object *object, const char *key, int64_t otherwise);
bool json_flag(json_object *object, const char *key, bool otherwise);
json_object *json_member(json_object *object, const char *key, enum json_type type);

/* Parses exactly one JSON value of `size` bytes in valid UTF-8. On failure NULL and a reason in *ret_why. */
json_object *json_parse(const char *text, size_t size, bool *ret_ok, const char **ret_why);
