/* SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <mosquitto_broker.h>
#include <string.h>

/* The broker sends what we publish at the start of its next turn, thus after the SUBACK, and before our
 * second tick. */
enum { TURNS_TO_SEND = 2 };

static void publish(const Session *session, const Answer *answer)
{
        if (answer->topic)
                mosquitto_broker_publish_copy(session->client_id, answer->topic, (int) answer->size,
                        answer->text ? answer->text : "", 0, false, NULL);
}

static void answer_free(Answer *answer)
{
        free(answer->topic);
        free(answer->text);
        free(answer);
}

void answer_send(Answers *answers, Session *session, const char *topic, const char *text, size_t size,
        int64_t delay_msec, bool close)
{
        Answer *answer = memory_zero(sizeof(*answer));
        Answer **tail = &answers->first;

        *answer = (Answer){
                .session = session->number,
                .due_msec = monotonic_msec() + delay_msec,
                .close = close,
                .topic = string_copy(topic),
                .size = size,
        };
        if (size > 0) {
                answer->text = memory_zero(size + 1);
                memcpy(answer->text, text, size);
        }
        if (delay_msec <= 0) {
                publish(session, answer);
                answer->sent = true;
                answer->close_turn = answers->turn + TURNS_TO_SEND;
        }
        if (answer->sent && !close) {
                answer_free(answer);
                return;
        }
        while (*tail)
                tail = &(*tail)->next;
        *tail = answer;
}

char *answer_failure(int64_t err, const char *msg)
{
        CLEANUP_JSON json_object *object = json_object_new_object();

        json_object_object_add(object, "err", json_object_new_int64(err));
        json_object_object_add(object, "msg", json_object_new_string(msg));
        return string_copy(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
}

void answer_close(Answers *answers, Session *session)
{
        answer_send(answers, session, NULL, NULL, 0, 0, true);
}

/* Whether the answer is done with. */
static bool answer_tick(Answers *answers, Sessions *sessions, Answer *answer, int64_t now_msec)
{
        Session *session = session_find_number(sessions, answer->session);

        if (!session || session->gone)
                return true;
        if (!answer->sent) {
                if (now_msec < answer->due_msec)
                        return false;
                publish(session, answer);
                answer->sent = true;
                answer->close_turn = answers->turn + TURNS_TO_SEND;
        }
        if (!answer->close)
                return true;
        if (answers->turn < answer->close_turn)
                return false;
        session->kicked = true;
        mosquitto_kick_client_by_clientid(session->client_id, false);
        return true;
}

void answers_tick(Answers *answers, Sessions *sessions, int64_t now_msec)
{
        answers->turn++;
        for (Answer **p = &answers->first; *p;) {
                Answer *answer = *p;

                if (answer_tick(answers, sessions, answer, now_msec)) {
                        *p = answer->next;
                        answer_free(answer);
                } else
                        p = &answer->next;
        }
}

void answers_deinit(Answers *answers)
{
        while (answers->first) {
                Answer *answer = answers->first;

                answers->first = answer->next;
                answer_free(answer);
        }
}
