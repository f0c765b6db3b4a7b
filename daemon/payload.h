/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON, as the platform and our own programs speak it. The only room that sees json-c: the others hold a
 * Json. What is read here came from strangers: limits on size and depth, UTF-8 checked, no NaN, no comments,
 * nothing behind the value.
 */

#include "sample.h"
#include "util/bytes.h"
#include "util/macros.h"

#define PAYLOAD_DEPTH_MAX 32           /* of data: arrays and objects in each other */
#define PAYLOAD_SIZE_MAX (1024 * 1024) /* bytes that json_parse takes */

/* --- messages --------------------------------------------------------------------------------------- */

/* Appends {"id":…,"data":…,"at":…}: always the same bytes for the same sample. One with at_msec 0 has no
 * time: "at" is left out, and the platform fills in when it came. */
void payload_put_message(Bytes *bytes, const Sample *sample);

/* Is this one JSON value and nothing else, by the letter of RFC 8259 and without lone surrogates? ret_error
 * (may be NULL) gets a sentence with the offset. 0, -EINVAL, -EMSGSIZE (more than SAMPLE_DATA_MAX bytes). In
 * a file of its own, payload-check.c, that a worker can link: it needs no json-c. */
int payload_check(const char *text, size_t size, char **ret_error);

/* A finite double as the shortest JSON that reads back the same: 21.5, 1e+300, 3 (never NaN: -EINVAL). */
int payload_format_number(char buffer[static 32], double value);
/* Text as a JSON string, quoted and escaped; what isn't UTF-8 becomes U+FFFD. Allocated. */
char *payload_quote(const char *text);

/* The answer to an enrolment: either {id, auth} or {err, msg?}. */
typedef struct EnrolAnswer {
        char *plug_id, *auth; /* success: both set, the Plug-ID checked */
        char *err;            /* failure: the number as it came, as text; any other JSON value too */
        char *msg;            /* failure: the message, or NULL */
} EnrolAnswer;
void enrol_answer_deinit(EnrolAnswer *answer);
/* 0, or -EINVAL with a sentence (that never has the auth in it). */
int payload_parse_enrol_answer(const char *text, size_t size, EnrolAnswer *ret, char **ret_error);

/* --- values ------------------------------------------------------------------------------------------ */

typedef struct Json Json; /* one value, reference held by whoever got it from json_new_* or json_parse */

typedef enum JsonType {
        JSON_NULL,
        JSON_BOOLEAN,
        JSON_INTEGER,
        JSON_NUMBER,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT
} JsonType;

/* NULL on failure, with a sentence. What payload_check takes, one level deeper and longer, but no integer
 * that 64 bits can't hold and no name with a NUL in it. Of a name that is there twice the last one counts.
 */
Json *json_parse(const char *text, size_t size, char **ret_error);
Json *json_free(Json *json);
DEFINE_CLEANUP(Json, json_free);
/* The same, and overwrites the strings first: some of them were secrets. */
Json *json_free_secret(Json *json);
DEFINE_CLEANUP(Json, json_free_secret);

/* NULL is JSON_NULL; an integer beyond int64_t is a JSON_NUMBER. */
JsonType json_type(const Json *json);
/* Borrowed from the object or array. NULL if there is none (or it is null). */
const Json *json_get(const Json *object, const char *key);
const Json *json_at(const Json *array, size_t index);
size_t json_size(const Json *array_or_object);
/* The index-th member of an object, in order. */
const Json *json_member(const Json *object, size_t index, const char **ret_key);
const char *json_string(const Json *json); /* NULL if it isn't one, or has a NUL in it */
double json_number(const Json *json);      /* finite; of an integer too; 0 if it isn't one */
int64_t json_integer(const Json *json);    /* 0 if it isn't one */
bool json_boolean(const Json *json);

Json *json_new_object(void);
Json *json_new_array(void);
Json *json_new_string(const char *text);
Json *json_new_number(double value); /* null if it isn't finite */
Json *json_new_integer(int64_t value);
Json *json_new_unsigned(uint64_t value);
Json *json_new_boolean(bool value);
/* Both take the value over (NULL: JSON null), also when they fail. 0 or -ENOMEM. */
int json_set(Json *object, const char *key, Json *value);
int json_append(Json *array, Json *value);
/* Compact, or indented for people. Allocated. */
char *json_format(const Json *json, bool pretty);
