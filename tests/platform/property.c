/* SPDX-License-Identifier: Apache-2.0 */

/* Additional properties: PLUG_ID/ag/prop/set and PLUG_ID/ag/prop/get, answered on the same channel to the
 * asker. */

#include "platform.h"

#include <stdio.h>
#include <string.h>

enum { ERR_REQUEST = 400, ERR_FORBIDDEN = 403 };

/* NULL for success. */
static char *set(Platform *platform, const char *device, const Publish *publish)
{
        CLEANUP_JSON json_object *object = NULL;
        const char *why;
        bool ok;

        object = json_parse(publish->text, publish->size, &ok, &why);
        if (!ok)
                return answer_failure(ERR_REQUEST, why);
        if (!json_object_is_type(object, json_type_object))
                return answer_failure(ERR_REQUEST, "properties are set by an object");
        json_object_object_foreach(object, name, value) store_property(platform->store, device, name,
                value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : NULL);
        return NULL;
}

/* {"channel": NAME} stands for the last value published there; null if there is none. */
static json_object *resolve(Platform *platform, const char *device, json_object *value)
{
        CLEANUP_FREE char *text = NULL;
        const char *channel = json_text(value, "channel", NULL), *why;
        bool ok;

        if (!platform->config->switches.resolve_reference || !channel ||
                json_object_object_length(value) != 1)
                return json_object_get(value);
        text = store_last_value(platform->store, device, channel);
        return text ? json_parse(text, strlen(text), &ok, &why) : NULL;
}

static char *get(Platform *platform, const char *device, const Publish *publish)
{
        CLEANUP_JSON json_object *all = store_properties(platform->store, device), *wanted = NULL;
        CLEANUP_JSON json_object *answer = json_object_new_object();
        const char *why;
        bool ok;

        if (publish->size > 0) {
                wanted = json_parse(publish->text, publish->size, &ok, &why);
                if (!ok)
                        return answer_failure(ERR_REQUEST, why);
                if (!json_object_is_type(wanted, json_type_array))
                        return answer_failure(ERR_REQUEST, "properties are asked for by an array of names");
        }
        for (size_t i = 0; wanted && i < json_object_array_length(wanted); i++) {
                json_object *name = json_object_array_get_idx(wanted, i), *value;

                if (!json_object_is_type(name, json_type_string))
                        return answer_failure(ERR_REQUEST, "a property's name is a string");
                if (json_object_object_get_ex(all, json_object_get_string(name), &value))
                        json_object_object_add(
                                answer, json_object_get_string(name), resolve(platform, device, value));
        }
        if (!wanted) {
                json_object_object_foreach(all, name, value)
                        json_object_object_add(answer, name, resolve(platform, device, value));
        }
        return string_copy(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN));
}

/* NULL for an answer without a payload. */
static char *carry_out(Platform *platform, Session *session, const Topic *topic, const Publish *publish)
{
        bool is_set = topic->kind == TOPIC_PROPERTY_SET;
        char *text;

        if (!permit(platform, session, "property", topic->plug_id, is_set ? "ag/prop/set" : "ag/prop/get"))
                return answer_failure(ERR_FORBIDDEN, "not permitted");
        if (!is_set)
                return get(platform, topic->plug_id, publish);
        text = set(platform, topic->plug_id, publish);
        store_flush(platform->store);
        if (!text && platform->config->switches.set_answer == SET_ANSWER_OBJECT)
                text = string_copy("{}");
        return text;
}

void property_receive(Platform *platform, Session *session, const Topic *topic, const Publish *publish)
{
        const Fault *fault = fault_strike(&platform->faults, FAULT_PROPERTY);
        const Switches *switches = &platform->config->switches;
        bool is_set = topic->kind == TOPIC_PROPERTY_SET;
        CLEANUP_FREE char *text = NULL;
        char full[PLUG_ID_SIZE + sizeof("/ag/prop/set")];

        snprintf(full, sizeof(full), "%s/ag/prop/%s", topic->plug_id, is_set ? "set" : "get");
        note(platform, session, is_set ? "property-set" : "property-get", publish->topic,
                fault ? "fault" : NULL);
        /* Where publishers hear themselves, they hear this as well, before the answer. */
        if (switches->hear_own && session_subscribed(session, full))
                answer_send(&platform->answers, session, full, publish->text, publish->size, 0, false);
        if (fault && fault->mode == FAULT_CLOSE)
                answer_close(&platform->answers, session);
        if (fault && (fault->mode == FAULT_CLOSE || fault->mode == FAULT_SILENT))
                return;
        if (fault && fault->mode == FAULT_ERROR)
                text = answer_failure(fault->code, fault->msg);
        else if (fault && fault->mode == FAULT_TEXT)
                text = string_copy(fault->text);
        else
                text = carry_out(platform, session, topic, publish);
        if (!text && switches->set_answer == SET_ANSWER_NONE)
                return;
        if (!switches->answer_unasked && !session_subscribed(session, full))
                return;
        answer_send(&platform->answers, session, full, text, text ? strlen(text) : 0,
                fault ? fault->delay_msec : 0, false);
}
