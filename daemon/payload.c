/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Messages as bytes, numbers and strings as JSON text, and the enrolment's answer. What a sample takes on
 * its way through here is written straight, without json-c.
 */

#include "payload.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "payload-internal.h"
#include "topic.h"
#include "util/text.h"

#define BEFORE_ID "{\"id\":\""
#define BEFORE_DATA "\",\"data\":"
#define BEFORE_AT ",\"at\":"

static char *append(char *to, const void *from, size_t size)
{
        memcpy(to, from, size);
        return to + size;
}

static char *append_unsigned(char *to, uint64_t value)
{
        char digits[20];
        size_t first = sizeof(digits);

        do {
                digits[--first] = (char) ('0' + value % 10);
                value /= 10;
        } while (value > 0);
        return append(to, digits + first, sizeof(digits) - first);
}

void payload_put_message(Bytes *bytes, const Sample *sample)
{
        size_t most = strlen(BEFORE_ID BEFORE_DATA BEFORE_AT "}") + SAMPLE_ID_TEXT + sample->data_size + 20;
        char *start = (char *) bytes_reserve(bytes, most), *to = start;

        if (!start)
                return;
        to = append(to, BEFORE_ID, strlen(BEFORE_ID));
        sample_id_format(sample->id, to);
        to += SAMPLE_ID_TEXT - 1;
        to = append(to, BEFORE_DATA, strlen(BEFORE_DATA));
        to = append(to, sample->data, sample->data_size);
        if (sample->at_msec > 0) {
                to = append(to, BEFORE_AT, strlen(BEFORE_AT));
                to = append_unsigned(to, sample->at_msec);
        }
        *to++ = '}';
        bytes->size += (size_t) (to - start);
}

void payload_put_point(char *to, const char *text)
{
        const char *start = to;

        for (; *text; text++) {
                if ((*text >= '0' && *text <= '9') || *text == '-' || *text == '+' || *text == 'e')
                        *to++ = *text;
                else if (to == start || to[-1] != '.')
                        *to++ = '.';
        }
        *to = '\0';
}

int payload_format_number(char buffer[static 32], double value)
{
        char text[64];

        if (!isfinite(value))
                return -EINVAL;
        /* 15 digits are always true and 17 always enough, but a subnormal number has fewer. */
        for (int precision = fabs(value) < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
                snprintf(text, sizeof(text), "%.*g", precision, value);
                if (strtod(text, NULL) == value)
                        break;
        }
        payload_put_point(buffer, text);
        return 0;
}

/* How many bytes the character here has, 0 if it isn't UTF-8. Stops at a NUL. */
static size_t character_length(const char *text)
{
        for (size_t n = 1; n <= 4 && text[n - 1]; n++)
                if (text_is_utf8(text, n))
                        return n;
        return 0;
}

char *payload_quote(const char *text)
{
        static const char short_escapes[] = {['\b'] = 'b',
                ['\t'] = 't',
                ['\n'] = 'n',
                ['\f'] = 'f',
                ['\r'] = 'r',
                ['"'] = '"',
                ['\\'] = '\\'};
        /* A byte becomes six at most: \u001f, \ufffd. */
        char *quoted = malloc(6 * strlen(text) + 3), *to = quoted, *exact;

        if (!quoted)
                return NULL;
        *to++ = '"';
        while (*text) {
                unsigned char c = (unsigned char) *text;
                size_t length = character_length(text);

                if (length == 0) {
                        to += sprintf(to, "\\ufffd"); /* the replacement character */
                        text++;
                } else if (c < sizeof(short_escapes) && short_escapes[c]) {
                        *to++ = '\\';
                        *to++ = short_escapes[c];
                        text++;
                } else if (c < 0x20) {
                        to += sprintf(to, "\\u%04x", c);
                        text++;
                } else {
                        to = append(to, text, length);
                        text += length;
                }
        }
        *to++ = '"';
        *to++ = '\0';
        exact = realloc(quoted, (size_t) (to - quoted));
        return exact ? exact : quoted;
}

void enrol_answer_deinit(EnrolAnswer *answer)
{
        free(answer->plug_id);
        if (answer->auth)
                explicit_bzero(answer->auth, strlen(answer->auth));
        free(answer->auth);
        free(answer->err);
        free(answer->msg);
        *answer = (EnrolAnswer){};
}

/* What there is to say of a member: its text, or its JSON where it isn't one. */
static char *member_text(const Json *value)
{
        const char *text = json_string(value);

        return text ? strdup(text) : json_format(value, false);
}

static int take_failure(const Json *answer, const Json *err, EnrolAnswer *ret)
{
        const Json *msg = json_get(answer, "msg");

        ret->err = json_format(err, false);
        if (msg)
                ret->msg = member_text(msg);
        return ret->err && (!msg || ret->msg) ? 0 : -ENOMEM;
}

static int take_success(const Json *id, const Json *auth, EnrolAnswer *ret, char **ret_error)
{
        const char *id_text = json_string(id), *auth_text = json_string(auth);

        if (!id_text || !topic_plug_id_valid(id_text)) {
                text_set(ret_error,
                        "the answer's id is not a Plug-ID (dev-, mod- or com- and 24 hex digits)");
                return -EINVAL;
        }
        if (!auth_text || !*auth_text) {
                text_set(ret_error, "the answer's auth is not a text, or empty, or has a NUL in it");
                return -EINVAL;
        }
        ret->plug_id = strdup(id_text);
        ret->auth = strdup(auth_text);
        return ret->plug_id && ret->auth ? 0 : -ENOMEM;
}

int payload_parse_enrol_answer(const char *text, size_t size, EnrolAnswer *ret, char **ret_error)
{
        _cleanup_(json_free_secretp) Json *answer = NULL;
        _cleanup_(enrol_answer_deinit) EnrolAnswer taken = {};
        _cleanup_(freep) char *error = NULL;
        const Json *id, *auth, *err;
        int r;

        if (size == 0) {
                text_set(ret_error, "the answer is empty");
                return -EINVAL;
        }
        answer = json_parse(text, size, &error);
        if (!answer) {
                text_set(ret_error, "the answer is not usable: %s", error ? error : "out of memory");
                return -EINVAL;
        }
        if (json_type(answer) != JSON_OBJECT) {
                text_set(ret_error, "the answer is JSON, but not an object");
                return -EINVAL;
        }
        id = json_get(answer, "id");
        auth = json_get(answer, "auth");
        err = json_get(answer, "err");

        if (err && (id || auth)) {
                text_set(ret_error, "the answer has both err and id or auth: neither success nor failure");
                return -EINVAL;
        } else if (err) {
                r = take_failure(answer, err, &taken);
        } else if (id && auth) {
                r = take_success(id, auth, &taken, ret_error);
        } else if (id || auth) {
                text_set(ret_error, "the answer has %s, but no %s", id ? "an id" : "an auth",
                        id ? "auth" : "id");
                return -EINVAL;
        } else {
                text_set(ret_error, "the answer has neither id and auth nor err");
                return -EINVAL;
        }
        if (r == -ENOMEM)
                text_set(ret_error, "out of memory");
        if (r < 0)
                return r;
        *ret = taken;
        taken = (EnrolAnswer){};
        return 0;
}
