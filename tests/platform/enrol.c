/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Enrolment: a SUBSCRIBE to MODEL/thing/PASS or MODEL/ctrl/THING_HWID/PASS, answered on exactly that topic
 * after the SUBACK. After a failure the connection is closed.
 */

#include "platform.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The seed calls err "a numeric code" and names none; these follow HTTP. */
enum { ERR_REQUEST = 400, ERR_PASS = 401, ERR_FORBIDDEN = 403, ERR_UNKNOWN = 404, ERR_EXISTS = 409 };

enum { AUTH_DIGITS = 40 };

typedef struct Request {
        char *model;
        bool ctrl;
        char *thing_hwid;
        const char *pass; /* inside the topic; may contain slashes */
} Request;

static void request_deinit(Request *request)
{
        free(request->model);
        free(request->thing_hwid);
}

static bool request_parse(const char *topic, Request *ret)
{
        const char *rest = strchr(topic, '/');

        *ret = (Request){0};
        if (!rest || rest == topic)
                return false;
        ret->model = string_copy(topic);
        ret->model[rest - topic] = '\0';
        if (strncmp(rest, "/thing/", 7) == 0) {
                ret->pass = rest + 7;
                return true;
        }
        if (strncmp(rest, "/ctrl/", 6) == 0) {
                const char *slash = strchr(rest + 6, '/');

                if (!slash || slash == rest + 6)
                        return false;
                ret->ctrl = true;
                ret->thing_hwid = string_copy(rest + 6);
                ret->thing_hwid[slash - rest - 6] = '\0';
                ret->pass = slash + 1;
                return true;
        }
        return false;
}

/* 0 with the Plug-ID of the thing to control, or an err. */
static int check_thing(Platform *platform, const Request *request, char **ret_thing, const char **ret_msg)
{
        Device *thing = store_find_hwid(platform->store, request->thing_hwid);
        int err = 0;

        if (!thing || thing->thing) {
                err = ERR_UNKNOWN;
                *ret_msg = "no thing with that hardware id is enrolled";
        } else if (!thing->model || strcasecmp(thing->model, request->model) != 0) {
                err = ERR_FORBIDDEN;
                *ret_msg = "the thing is of another model";
        } else
                *ret_thing = string_copy(thing->plug_id);
        device_free(thing);
        return err;
}

/* 0, or an err and its message. */
static int check(Platform *platform, const Session *session, const Request *request, char **ret_thing,
        const char **ret_msg)
{
        const Template *template = config_find_template(platform->config, request->model);
        Device *known;
        bool exists;

        *ret_msg = "no such model";
        if (!template)
                return ERR_UNKNOWN;
        *ret_msg = "wrong enrolling pass";
        if (strcmp(template->pass, request->pass) != 0)
                return ERR_PASS;
        *ret_msg = request->ctrl ? "the model has no controllers" : "the model has no things";
        if (request->ctrl ? !template->ctrl : !template->thing)
                return ERR_FORBIDDEN;
        known = store_find_hwid(platform->store, session->hwid);
        exists = known != NULL;
        device_free(known);
        *ret_msg = "the hardware id is enrolled already";
        if (exists && !platform->config->switches.reenrol)
                return ERR_EXISTS;
        return request->ctrl ? check_thing(platform, request, ret_thing, ret_msg) : 0;
}

/* Stores the device, new or known, with a fresh auth, and returns the answer. */
static char *enrol(Platform *platform, const Session *session, const Request *request, const char *thing)
{
        Device *known = store_find_hwid(platform->store, session->hwid);
        char auth[AUTH_DIGITS + 1];
        Device device = {
                .auth = auth,
                .hwid = session->hwid,
                .name = session->name,
                .model = request->model,
                .thing = (char *) thing,
        };
        char *answer;

        random_hex(auth, AUTH_DIGITS);
        if (known)
                memcpy(device.plug_id, known->plug_id, sizeof(device.plug_id));
        else {
                char id[OBJECT_ID_SIZE];

                random_hex(id, OBJECT_ID_SIZE - 1);
                snprintf(device.plug_id, sizeof(device.plug_id), "dev-%s", id);
        }
        device_free(known);
        store_device(platform->store, &device);
        store_event(platform->store, &(Event){.kind = "enrolled",
                                             .session = session->number,
                                             .client_id = session->client_id,
                                             .device = device.plug_id,
                                             .detail = request->ctrl ? "ctrl" : "thing"});
        answer = string_format("{\"id\":\"%s\",\"auth\":\"%s\"}", device.plug_id, auth);
        return answer;
}

/* True if the fault has settled the request. */
static bool enrol_fault(Platform *platform, Session *session, const char *topic, const Fault *fault)
{
        CLEANUP_FREE char *text = NULL;

        if (!fault || fault->mode == FAULT_DELAY)
                return false;
        note_code(platform, session, "enrol-refused", (int) fault->code, "fault");
        if (fault->mode == FAULT_CLOSE)
                answer_close(&platform->answers, session);
        if (fault->mode != FAULT_ERROR && fault->mode != FAULT_TEXT)
                return true;
        text = fault->mode == FAULT_ERROR ? answer_failure(fault->code, fault->msg)
                                          : string_copy(fault->text);
        answer_send(&platform->answers, session, topic, text, strlen(text), fault->delay_msec,
                fault->mode == FAULT_ERROR);
        return true;
}

void enrol_subscribe(Platform *platform, Session *session, const char *topic)
{
        const Fault *fault = fault_strike(&platform->faults, FAULT_ENROL);
        CLEANUP_FREE char *thing = NULL, *text = NULL;
        const char *msg = "not an enrolling topic";
        Request request;
        int err = ERR_REQUEST;

        if (enrol_fault(platform, session, topic, fault))
                return;
        if (request_parse(topic, &request))
                err = check(platform, session, &request, &thing, &msg);
        if (err == 0)
                text = enrol(platform, session, &request, thing);
        else {
                text = answer_failure(err, msg);
                note_code(platform, session, "enrol-refused", err, msg);
        }
        request_deinit(&request);
        answer_send(&platform->answers, session, topic, text, strlen(text), fault ? fault->delay_msec : 0,
                err != 0);
}
