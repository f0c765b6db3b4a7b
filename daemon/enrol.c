/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "enrol.h"
#include "payload.h"
#include "topic.h"
#include "util/backoff.h"
#include "util/log.h"
#include "util/secret.h"
#include "util/text.h"

/*
 * Enrolling, as the platform's page has it: CONNECT with an empty user name and password, SUBSCRIBE to a
 * topic that says what is wanted and has the pass in it, and the answer comes as a PUBLISH on that topic. It
 * knows the link and what an answer looks like; who keeps the credentials is its handler's business. The
 * topic is a secret.
 */

#define ANSWER_USEC (30 * USEC_PER_SEC)

typedef enum EnrolState {
        ENROL_IDLE,
        ENROL_ASKING,  /* the link is ours: connecting, or waiting for the answer */
        ENROL_WAITING, /* for the next try */
        ENROL_SAVING,  /* the answer is here, and nowhere else */
} EnrolState;

struct Enrol {
        Link *link;
        const EnrolHandler *handler;
        void *userdata;
        sd_event_source *timer; /* the next try, or the end of patience with the answer */
        Backoff retry, saving;
        EnrolState state;
        char *hwid, *client_id;
        char *topic;        /* secret */
        size_t pass_offset; /* in it */
        bool asked;         /* SUBSCRIBE has been sent */
        bool subscribed;    /* SUBACK has come */
        int mid;
        char *plug_id, *auth; /* an answer that is not safe yet */
};

static void arm(Enrol *enrol, uint64_t usec)
{
        (void) sd_event_source_set_time_relative(enrol->timer, usec);
        (void) sd_event_source_set_enabled(enrol->timer, SD_EVENT_ONESHOT);
}

static void rest(Enrol *enrol, EnrolState state)
{
        if (enrol->state == ENROL_ASKING)
                link_close(enrol->link);
        (void) sd_event_source_set_enabled(enrol->timer, SD_EVENT_OFF);
        enrol->state = state;
        enrol->asked = enrol->subscribed = false;
}

static void fail(Enrol *enrol, const char *text)
{
        uint64_t wait = backoff_next(&enrol->retry);

        rest(enrol, ENROL_WAITING);
        arm(enrol, wait);
        enrol->handler->on_failed(text, wait, enrol->userdata);
}

static void forget_answer(Enrol *enrol)
{
        free(enrol->plug_id);
        enrol->plug_id = NULL;
        enrol->auth = secret_free(enrol->auth);
}

static void save(Enrol *enrol)
{
        _cleanup_(freep) char *text = NULL;
        uint64_t wait;
        int r = enrol->handler->on_credentials(enrol->plug_id, enrol->auth, enrol->userdata);

        if (r >= 0) {
                forget_answer(enrol);
                rest(enrol, ENROL_IDLE);
                enrol->handler->on_done(enrol->userdata);
                return;
        }
        rest(enrol, ENROL_SAVING);
        wait = backoff_next(&enrol->saving);
        arm(enrol, wait);
        text = text_printf(
                "enrolled as %s, but the credentials could not be saved: %s. The server gives them "
                "only once: make room for them, and don't stop plugd before they are saved",
                enrol->plug_id, strerror(-r));
        enrol->handler->on_failed(text ? text : "out of memory", wait, enrol->userdata);
}

/* --- from the link ---------------------------------------------------------------------------------------
 */

static int on_profile(LinkProfile *ret, void *userdata)
{
        Enrol *enrol = userdata;

        *ret = (LinkProfile){.client_id = enrol->client_id, .user = "", .password = ""};
        if (enrol->handler->on_attempt)
                enrol->handler->on_attempt(enrol->userdata);
        return 0;
}

static void on_up(void *userdata)
{
        Enrol *enrol = userdata;
        int r = link_subscribe(enrol->link, enrol->topic, &enrol->mid);

        if (r == -ENOTCONN) /* on_end() comes */
                return;
        if (r < 0) {
                fail(enrol, r == -ENOMEM ? "out of memory"
                                         : "the enrolment's topic can't be sent: check model and pass in "
                                           "device.enroll");
                return;
        }
        enrol->asked = true;
        arm(enrol, ANSWER_USEC);
}

static void on_suback(int mid, bool granted, void *userdata)
{
        Enrol *enrol = userdata;

        if (!enrol->asked || mid != enrol->mid)
                return;
        enrol->subscribed = true;
        if (!granted)
                fail(enrol, "the server refused the enrolment's subscription (SUBACK 0x80): check model and "
                            "pass in device.enroll");
}

/* What a server says may be anything; people read it on a terminal and in a log. */
static void make_printable(char *text)
{
        for (; text && *text; text++)
                if (iscntrl((unsigned char) *text))
                        *text = '?';
}

/* Some servers quote what they don't like; the pass is the end of the topic. */
static void mask_pass(char *text, const char *topic, size_t pass_offset)
{
        const char *pass = topic + pass_offset;
        size_t length = strlen(pass);

        if (!text || length == 0)
                return;
        for (char *at = text; (at = strstr(at, pass)); at += length)
                memset(at, '*', length);
}

static void on_message(const char *topic, const void *payload, size_t size, void *userdata)
{
        Enrol *enrol = userdata;
        _cleanup_(enrol_answer_deinit) EnrolAnswer answer = {0};
        _cleanup_(freep) char *error = NULL, *text = NULL;

        if (!enrol->asked || strcmp(topic, enrol->topic) != 0)
                return;
        if (payload_parse_enrol_answer(payload, size, &answer, &error) < 0)
                text = text_printf("the server's answer to the enrolment makes no sense: %s",
                        error ? error : "out of memory");
        else if (answer.err) {
                make_printable(answer.err);
                make_printable(answer.msg);
                mask_pass(answer.err, enrol->topic, enrol->pass_offset);
                mask_pass(answer.msg, enrol->topic, enrol->pass_offset);
                text = text_printf("the server refused to enrol %s: error %.64s%s%.256s", enrol->hwid,
                        answer.err, answer.msg ? ": " : "", answer.msg ? answer.msg : "");
        } else {
                enrol->plug_id = TAKE_PTR(answer.plug_id);
                enrol->auth = TAKE_PTR(answer.auth);
                backoff_reset(&enrol->saving);
                save(enrol);
                return;
        }
        fail(enrol, text ? text : "out of memory");
}

static void on_end(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata)
{
        Enrol *enrol = userdata;
        _cleanup_(freep) char *words = NULL;

        if (!enrol->asked) {
                enrol->handler->on_end(end, text, retry_usec, enrol->userdata);
                return;
        }
        words = text_printf("the connection ended before the enrolment was answered: %s", text);
        fail(enrol, words ? words : text);
}

static const LinkHandler link_handler = {
        .on_profile = on_profile,
        .on_up = on_up,
        .on_end = on_end,
        .on_message = on_message,
        .on_suback = on_suback,
};

/* --- the timer -------------------------------------------------------------------------------------------
 */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Enrol *enrol = userdata;

        (void) source;
        (void) usec;
        switch (enrol->state) {
        case ENROL_IDLE:
                break;
        case ENROL_ASKING:
                fail(enrol,
                        enrol->subscribed
                                ? "the server took the enrolment (SUBACK), but gave no answer within 30 s"
                                : "the server took the login, but did not answer the enrolment within 30 s");
                break;
        case ENROL_WAITING:
                enrol->state = ENROL_ASKING;
                link_open(enrol->link, &link_handler, enrol);
                break;
        case ENROL_SAVING:
                save(enrol);
                break;
        }
        return 0;
}

/* --- from above ------------------------------------------------------------------------------------------
 */

int enrol_new(Enrol **ret, sd_event *event, Link *link, const EnrolHandler *handler, void *userdata)
{
        _cleanup_(enrol_freep) Enrol *enrol = calloc(1, sizeof(*enrol));
        int r;

        if (!enrol)
                return -ENOMEM;
        *enrol = (Enrol){
                .link = link,
                .handler = handler,
                .userdata = userdata,
                .retry = {.first_usec = 30 * USEC_PER_SEC, .max_usec = 3600 * USEC_PER_SEC},
                .saving = {.first_usec = 2 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC},
        };
        r = sd_event_add_time_relative(
                event, &enrol->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, enrol);
        if (r >= 0)
                r = sd_event_source_set_enabled(enrol->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(enrol);
        return 0;
}

static void forget_request(Enrol *enrol)
{
        free(enrol->hwid);
        free(enrol->client_id);
        enrol->hwid = enrol->client_id = NULL;
        enrol->topic = secret_free(enrol->topic);
}

Enrol *enrol_free(Enrol *enrol)
{
        if (!enrol)
                return NULL;
        if (enrol->auth && enrol->handler->on_credentials(enrol->plug_id, enrol->auth, enrol->userdata) < 0)
                log_error(
                        "the credentials of %s could not be saved to the last and are lost: enrolling again "
                        "needs the server's permission",
                        enrol->plug_id);
        if (enrol->timer)
                rest(enrol, ENROL_IDLE);
        sd_event_source_disable_unref(enrol->timer);
        forget_answer(enrol);
        forget_request(enrol);
        free(enrol);
        return NULL;
}

static int check(const DeviceConfig *device, const char *hwid, const char *pass, char **ret_error)
{
        int r = topic_check_pass(pass, ret_error);

        if (r >= 0)
                r = topic_check_hwid(hwid, ret_error);
        if (r >= 0 && device->name)
                r = topic_check_name(device->name, ret_error);
        if (r >= 0 && device->enrol_as == ENROL_CONTROLLER)
                r = topic_check_thing_hwid(device->thing_hwid, ret_error);
        return r;
}

int enrol_start(
        Enrol *enrol, const DeviceConfig *device, const char *hwid, const char *pass, char **ret_error)
{
        int r = check(device, hwid, pass, ret_error);

        if (r < 0)
                return r;
        rest(enrol, ENROL_IDLE);
        forget_request(enrol);
        enrol->hwid = strdup(hwid);
        enrol->client_id = topic_client_id(hwid, device->name);
        enrol->topic = device->enrol_as == ENROL_CONTROLLER
                               ? topic_enrol_controller(device->model, device->thing_hwid, pass)
                               : topic_enrol_thing(device->model, pass);
        if (!enrol->hwid || !enrol->client_id || !enrol->topic) {
                text_set(ret_error, "out of memory");
                return -ENOMEM;
        }
        enrol->pass_offset = strlen(enrol->topic) - strlen(pass);
        backoff_reset(&enrol->retry);
        backoff_reset(&enrol->saving);
        enrol->state = enrol->auth ? ENROL_SAVING : ENROL_WAITING;
        arm(enrol, 0);
        return 0;
}

void enrol_stop(Enrol *enrol)
{
        rest(enrol, ENROL_IDLE);
}

bool enrol_active(const Enrol *enrol)
{
        return enrol->state != ENROL_IDLE;
}

bool enrol_hurry(Enrol *enrol)
{
        if (!enrol->auth)
                return false;
        rest(enrol, ENROL_SAVING);
        backoff_reset(&enrol->saving);
        arm(enrol, 0);
        return true;
}

bool enrol_asked(const Enrol *enrol)
{
        return enrol->state == ENROL_ASKING && enrol->asked;
}
