/* SPDX-License-Identifier: Apache-2.0 */

/* The server's answer to an enrolment: it is either {id, auth} or {err, msg}, and nothing in between. */

#include "fuzz.h"
#include "payload.h"
#include "topic.h"

static void check_success(const EnrolAnswer *answer, const Json *json)
{
        hold(answer->plug_id && answer->auth && *answer->auth && !answer->err && !answer->msg);
        hold(topic_plug_id_valid(answer->plug_id));
        hold(strcmp(json_string(json_get(json, "id")), answer->plug_id) == 0);
        hold(strcmp(json_string(json_get(json, "auth")), answer->auth) == 0);
        hold(!json_get(json, "err"));
}

static void check_failure(const EnrolAnswer *answer, const Json *json)
{
        hold(answer->err && !answer->plug_id && !answer->auth);
        hold(json_get(json, "err") && !json_get(json, "id") && !json_get(json, "auth"));
        hold(!answer->msg == !json_get(json, "msg"));
        hold(text_is_utf8(answer->err, strlen(answer->err)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(json_freep) Json *json = json_parse((const char *) data, size, NULL);
        _cleanup_(enrol_answer_deinit) EnrolAnswer answer = {};
        char *error = NULL;
        int r = payload_parse_enrol_answer((const char *) data, size, &answer, &error);

        hold_error(r < 0, error);
        if (r < 0) {
                hold(!answer.plug_id && !answer.auth && !answer.err && !answer.msg);
                return 0;
        }
        hold(json_type(json) == JSON_OBJECT);
        if (answer.err)
                check_failure(&answer, json);
        else
                check_success(&answer, json);
        return 0;
}
