/* SPDX-License-Identifier: Apache-2.0 */

/* The broker's side: its events, made into calls of the platform's rooms. */

#include "platform.h"
#include "wire.h"

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define CONTROL_TOPIC "$CONTROL/platform/v1"

/* The version of the interface between the broker and its plugins. */
enum { INTERFACE_VERSION = 5 };

/* Clients ping some time after the keepalive has passed, so that 300 would be too late. */
enum { PING_SECONDS = 300 };

static void note_full(Platform *platform, const Session *session, const char *kind, const char *topic,
        const int64_t *code, const char *detail)
{
        if (session && session->kind == SESSION_ADMIN)
                return;
        store_event(platform->store, &(Event){.kind = kind,
                                             .session = session ? session->number : 0,
                                             .client_id = session ? session->client_id : NULL,
                                             .device = session ? session->login : NULL,
                                             .topic = topic,
                                             .code = code,
                                             .detail = detail});
}

void note(
        Platform *platform, const Session *session, const char *kind, const char *topic, const char *detail)
{
        note_full(platform, session, kind, topic, NULL, detail);
}

void note_code(Platform *platform, const Session *session, const char *kind, int code, const char *detail)
{
        int64_t wide = code;

        note_full(platform, session, kind, NULL, &wide, detail);
}

static int on_login(int event, void *data, void *userdata)
{
        struct mosquitto_evt_basic_auth *e = data;
        Platform *platform = userdata;
        CLEANUP_FREE char *detail = NULL;
        Session *session = session_find(&platform->sessions, e->client);
        int r, keepalive;

        /* The broker may use the memory of a connection again before our next tick. */
        if (session)
                session_remove(&platform->sessions, session);
        session = session_new(&platform->sessions, e->client, mosquitto_client_id(e->client));
        r = login_check(platform, session, e->username, e->password);
        if (r != MOSQ_ERR_SUCCESS) {
                session_remove(&platform->sessions, session);
                return r;
        }
        detail =
                string_format("{\"kind\":\"%s\",\"keepalive\":%d,\"clean\":%s,\"protocol\":%d,\"flags\":%d}",
                        session_kind_name(session->kind), mosquitto_client_keepalive(e->client),
                        mosquitto_client_clean_session(e->client) ? "true" : "false",
                        mosquitto_client_protocol_version(e->client), wire_connect_flags());
        note(platform, session, "connect", NULL, detail);
        keepalive = mosquitto_client_keepalive(e->client);
        if (keepalive == 0 || keepalive >= PING_SECONDS)
                note_code(platform, session, "violation", keepalive, "no PING at least every 5 minutes");
        return MOSQ_ERR_SUCCESS;
}

static int on_subscribe(Platform *platform, Session *session, const struct mosquitto_evt_acl_check *e)
{
        const Fault *fault;

        if (session->kind == SESSION_ADMIN)
                return MOSQ_ERR_SUCCESS;
        if (e->qos > 0)
                note_code(platform, session, "violation", e->qos, "SUBSCRIBE with a QoS above 0");
        note(platform, session, "subscribe", e->topic, NULL);
        if (session->kind == SESSION_ENROLLING) {
                enrol_subscribe(platform, session, e->topic);
                return MOSQ_ERR_SUCCESS;
        }
        fault = fault_strike(&platform->faults, FAULT_SUBSCRIBE);
        if (!fault)
                session_subscribe(session, e->topic);
        else if (fault->mode == FAULT_CLOSE)
                answer_close(&platform->answers, session);
        /* Allowed or not: the SUBACK is the same. */
        return MOSQ_ERR_SUCCESS;
}

static int on_publish(Platform *platform, Session *session, const struct mosquitto_evt_acl_check *e)
{
        Publish publish = {
                .topic = e->topic,
                .text = e->payload ? e->payload : "",
                .size = e->payloadlen,
                .qos = e->qos,
                .retain = e->retain,
                .will = session->gone || session_superseded(&platform->sessions, session),
        };
        CLEANUP_FREE char *copy = NULL;

        if (session->kind == SESSION_ADMIN)
                return strcmp(e->topic, CONTROL_TOPIC) == 0 ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
        /* A published payload has a NUL behind it in the broker; a will's is not said to. */
        if (publish.will && publish.size > 0) {
                copy = memory_zero(publish.size + 1);
                memcpy(copy, publish.text, publish.size);
                publish.text = copy;
        }
        publish_receive(platform, session, &publish);
        return MOSQ_ERR_ACL_DENIED;
}

static int on_access(int event, void *data, void *userdata)
{
        struct mosquitto_evt_acl_check *e = data;
        Platform *platform = userdata;
        Session *session;

        if (e->access == MOSQ_ACL_READ)
                return MOSQ_ERR_SUCCESS;
        session = session_find(&platform->sessions, e->client);
        if (!session)
                return MOSQ_ERR_ACL_DENIED;
        switch (e->access) {
        case MOSQ_ACL_WRITE:
                return on_publish(platform, session, e);
        case MOSQ_ACL_SUBSCRIBE:
                return on_subscribe(platform, session, e);
        case MOSQ_ACL_UNSUBSCRIBE:
                note(platform, session, "unsubscribe", e->topic,
                        session_unsubscribe(session, e->topic) ? NULL : "was not subscribed");
                /* So that kill -9 loses nothing that an UNSUBACK has covered. */
                store_flush(platform->store);
                return MOSQ_ERR_SUCCESS;
        default:
                return MOSQ_ERR_SUCCESS;
        }
}

static const char *end_reason(const Platform *platform, const Session *session)
{
        if (session->kicked)
                return "kicked";
        if (session_superseded(&platform->sessions, session))
                return "taken over";
        switch (wire_last_end()) {
        case WIRE_END_DISCONNECT:
                return "disconnect";
        case WIRE_END_CLOSED:
                return "closed";
        case WIRE_END_RESET:
                return "reset";
        case WIRE_END_IDLE:
                return "keepalive";
        case WIRE_END_UNKNOWN:
                break;
        }
        return "unknown";
}

static int on_disconnect(int event, void *data, void *userdata)
{
        struct mosquitto_evt_disconnect *e = data;
        Platform *platform = userdata;
        Session *session = session_find(&platform->sessions, e->client);

        if (!session || session->gone)
                return MOSQ_ERR_SUCCESS;
        note(platform, session, "disconnect", NULL, end_reason(platform, session));
        session->gone = true;
        return MOSQ_ERR_SUCCESS;
}

static int on_control(int event, void *data, void *userdata)
{
        struct mosquitto_evt_control *e = data;
        Platform *platform = userdata;
        const char *answer;
        json_object *object;

        object = control_run(platform, e->payload ? e->payload : "", e->payloadlen);
        answer = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
        mosquitto_broker_publish_copy(mosquitto_client_id(e->client), CONTROL_TOPIC "/answer",
                (int) strlen(answer), answer, 0, false, NULL);
        json_object_put(object);
        return MOSQ_ERR_SUCCESS;
}

static int on_tick(int event, void *data, void *userdata)
{
        Platform *platform = userdata;
        int64_t now = monotonic_msec();

        answers_tick(&platform->answers, &platform->sessions, now);
        sessions_sweep(&platform->sessions);
        wire_tick();
        store_tick(platform->store, now);
        return MOSQ_ERR_SUCCESS;
}

/* The devices that the configuration names, unless the store knows better since. */
static void provision(Platform *platform)
{
        json_object *array = platform->config->devices;

        for (size_t i = 0; array && i < json_object_array_length(array); i++) {
                json_object *entry = json_object_array_get_idx(array, i);
                Device *known = store_find_device(platform->store, json_text(entry, "plug_id", ""));

                if (!known) {
                        json_object *answer = NULL;
                        const char *text;

                        json_object_object_add(entry, "cmd", json_object_new_string("device"));
                        text = json_object_to_json_string(entry);
                        answer = control_run(platform, text, strlen(text));
                        if (!json_flag(answer, "ok", false))
                                mosquitto_log_printf(MOSQ_LOG_ERR, "platform: devices: %s",
                                        json_text(answer, "error", ""));
                        json_object_put(answer);
                }
                device_free(known);
        }
}

static Platform *platform_free(Platform *platform)
{
        if (!platform)
                return NULL;
        answers_deinit(&platform->answers);
        sessions_deinit(&platform->sessions);
        faults_clear(&platform->faults);
        store_free(platform->store);
        config_free(platform->config);
        free(platform);
        return NULL;
}

static int platform_new(const char *config_path, Platform **ret)
{
        Platform *platform = memory_zero(sizeof(*platform));

        if (config_load(config_path, &platform->config) < 0 ||
                store_open(platform->config->database, &platform->store) < 0) {
                platform_free(platform);
                return MOSQ_ERR_INVAL;
        }
        platform->sessions.last_number = store_last_session(platform->store);
        provision(platform);
        *ret = platform;
        return MOSQ_ERR_SUCCESS;
}

static const struct {
        int event;
        MOSQ_FUNC_generic_callback function;
        const char *data;
} callbacks[] = {
        {MOSQ_EVT_BASIC_AUTH, on_login, NULL},
        {MOSQ_EVT_ACL_CHECK, on_access, NULL},
        {MOSQ_EVT_DISCONNECT, on_disconnect, NULL},
        {MOSQ_EVT_CONTROL, on_control, CONTROL_TOPIC},
        {MOSQ_EVT_TICK, on_tick, NULL},
};

static mosquitto_plugin_id_t *plugin_id;

EXPORT int mosquitto_plugin_version(int count, const int *versions)
{
        for (int i = 0; i < count; i++)
                if (versions[i] == INTERFACE_VERSION)
                        return INTERFACE_VERSION;
        return -1;
}

EXPORT int mosquitto_plugin_init(
        mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options, int option_count)
{
        const char *path = NULL;
        Platform *platform;
        int r;

        for (int i = 0; i < option_count; i++)
                if (strcmp(options[i].key, "config") == 0)
                        path = options[i].value;
        if (!path) {
                fprintf(stderr, "platform: plugin_opt_config is missing\n");
                return MOSQ_ERR_INVAL;
        }
        r = platform_new(path, &platform);
        if (r != MOSQ_ERR_SUCCESS)
                return r;
        plugin_id = identifier;
        *userdata = platform;
        for (size_t i = 0; i < ARRAY_SIZE(callbacks) && r == MOSQ_ERR_SUCCESS; i++)
                r = mosquitto_callback_register(
                        identifier, callbacks[i].event, callbacks[i].function, callbacks[i].data, platform);
        note(platform, NULL, "start", NULL, NULL);
        return r;
}

EXPORT int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
        for (size_t i = 0; i < ARRAY_SIZE(callbacks); i++)
                mosquitto_callback_unregister(
                        plugin_id, callbacks[i].event, callbacks[i].function, callbacks[i].data);
        platform_free(userdata);
        return MOSQ_ERR_SUCCESS;
}
