/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the platform sends to one client, now or later, and closing its connection afterwards. A connection
 * that has ended meanwhile gets nothing, even if another came under the same client id.
 */

#include "session.h"

typedef struct Answer {
        struct Answer *next;
        int64_t session;
        int64_t due_msec;   /* when to send */
        int64_t close_turn; /* the turn of the loop from which on to close; 0: not before it is sent */
        bool sent, close;
        char *topic, *text; /* topic NULL: only close */
        size_t size;
} Answer;

typedef struct Answers {
        Answer *first;
        int64_t turn;
} Answers;

/* `text` is copied. With `topic` NULL nothing is sent. */
void answer_send(Answers *answers, Session *session, const char *topic, const char *text, size_t size,
        int64_t delay_msec, bool close);
/* {"err": err, "msg": msg}. To be freed. */
char *answer_failure(int64_t err, const char *msg);
void answer_close(Answers *answers, Session *session);
/* Once each turn of the broker's loop. */
void answers_tick(Answers *answers, Sessions *sessions, int64_t now_msec);
void answers_deinit(Answers *answers);
