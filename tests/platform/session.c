/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"
#include "topic.h"

#include <string.h>

static void session_free(Session *session)
{
        while (session->subscriptions) {
                Subscription *s = session->subscriptions;

                session->subscriptions = s->next;
                free(s->asked);
                free(s->filter);
                free(s);
        }
        free(session->client_id);
        free(session->hwid);
        free(session->name);
        free(session->login);
        free(session);
}

Session *session_new(Sessions *sessions, struct mosquitto *client, const char *client_id)
{
        Session *session = memory_zero(sizeof(*session));
        const char *slash = client_id ? strchr(client_id, '/') : NULL;

        session->client = client;
        session->number = ++sessions->last_number;
        session->kind = SESSION_ENROLLING;
        session->client_id = string_copy(client_id ? client_id : "");
        session->hwid = string_copy(session->client_id);
        session->hwid[strcspn(session->hwid, "/")] = '\0';
        session->name = string_copy(slash ? slash + 1 : "");
        session->next = sessions->first;
        sessions->first = session;
        return session;
}

void session_remove(Sessions *sessions, Session *session)
{
        for (Session **p = &sessions->first; *p; p = &(*p)->next)
                if (*p == session) {
                        *p = session->next;
                        session_free(session);
                        return;
                }
}

Session *session_find(Sessions *sessions, const struct mosquitto *client)
{
        for (Session **p = &sessions->first; *p; p = &(*p)->next)
                if ((*p)->client == client) {
                        Session *found = *p;

                        /* To the front, since the busy one will be asked for again at once. */
                        *p = found->next;
                        found->next = sessions->first;
                        sessions->first = found;
                        return found;
                }
        return NULL;
}

Session *session_find_number(Sessions *sessions, int64_t number)
{
        for (Session *s = sessions->first; s; s = s->next)
                if (s->number == number)
                        return s;
        return NULL;
}

bool session_superseded(const Sessions *sessions, const Session *session)
{
        for (const Session *s = sessions->first; s; s = s->next)
                if (s->number > session->number && strcmp(s->client_id, session->client_id) == 0)
                        return true;
        return false;
}

void sessions_sweep(Sessions *sessions)
{
        for (Session **p = &sessions->first; *p;) {
                Session *session = *p;

                if (session->gone) {
                        *p = session->next;
                        session_free(session);
                } else
                        p = &session->next;
        }
}

void sessions_deinit(Sessions *sessions)
{
        while (sessions->first)
                session_remove(sessions, sessions->first);
}

const char *session_kind_name(SessionKind kind)
{
        static const char *const names[] = {
                [SESSION_DEVICE] = "device",
                [SESSION_USER] = "user",
                [SESSION_ENROLLING] = "enrolling",
                [SESSION_ADMIN] = "admin",
        };

        return names[kind];
}

const char *session_plug_id(const Session *session)
{
        return session && session->kind == SESSION_DEVICE ? session->login : NULL;
}

void session_subscribe(Session *session, const char *asked)
{
        const char *plug_id = session_plug_id(session);
        Subscription *s;

        session_unsubscribe(session, asked);
        s = memory_zero(sizeof(*s));
        s->asked = string_copy(asked);
        s->filter = asked[0] == '/' && plug_id ? string_format("%s%s", plug_id, asked) : string_copy(asked);
        s->next = session->subscriptions;
        session->subscriptions = s;
}

bool session_unsubscribe(Session *session, const char *asked)
{
        for (Subscription **p = &session->subscriptions; *p; p = &(*p)->next)
                if (strcmp((*p)->asked, asked) == 0) {
                        Subscription *s = *p;

                        *p = s->next;
                        free(s->asked);
                        free(s->filter);
                        free(s);
                        return true;
                }
        return false;
}

bool session_subscribed(const Session *session, const char *topic)
{
        for (const Subscription *s = session->subscriptions; s; s = s->next)
                if (mask_matches(s->filter, topic))
                        return true;
        return false;
}
