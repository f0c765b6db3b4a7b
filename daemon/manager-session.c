/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's session with the server: who to be (credentials, or enrolling), logging in, the will and the
 * message after connecting, and what State and LastError say of it. */

#include <errno.h>
#include <string.h>

#include "manager-internal.h"
#include "payload.h"
#include "topic.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

static void set_error(Manager *manager, const char *text)
{
        text_set(&manager->session.last_error, "%s", text);
        manager_changed(manager);
}

/* For what waits for a person: said once in the log, and for as long as it lasts in LastError. */
static void say_not_ready(Manager *manager, const char *prefix, const char *text)
{
        _cleanup_(freep) char *sentence = text_printf("%s%s", prefix, text ? text : "out of memory");

        log_warning("%s", sentence ? sentence : prefix);
        set_error(manager, sentence ? sentence : prefix);
}

/* An outage and its retries: the first time it is news, then it is not. */
static void say_retry(Manager *manager, const char *what, const char *text, uint64_t retry_usec)
{
        bool news = !manager->session.last_error || strcmp(manager->session.last_error, text) != 0;
        char duration[48];

        manager->session.next_try_usec = retry_usec > 0 ? clock_monotonic_usec() + retry_usec : 0;
        if (retry_usec == 0) { /* asked for */
                log_info("%s%s", what, text);
                return manager_changed(manager);
        }
        manager->session.keep_error = false;
        log_write(news ? LOG_WARNING : LOG_INFO, NULL, "%s%s; trying again in %s", what, text,
                text_format_duration(duration, retry_usec));
        set_error(manager, text);
}

/* --- logging in ------------------------------------------------------------------------------------------
 */

static void put_message(
        Manager *manager, Bytes *bytes, const char *data, uint64_t now_usec, uint64_t at_msec)
{
        Sample sample = {
                .sensor = "",
                .channel = manager->config->will.channel,
                .data = data,
                .data_size = strlen(data),
                .at_msec = at_msec,
        };

        sample_ids_next(&manager->ids, now_usec, sample.id);
        bytes_clear(bytes);
        payload_put_message(bytes, &sample);
}

/* The will is the newer of the two when it comes: it has the time of connecting, the birth 1 ms less. As
 * long as the clock can't be right, neither has one: connecting doesn't wait for it, and the platform fills
 * it in. */
static int on_profile(LinkProfile *ret, void *userdata)
{
        Manager *manager = userdata;
        Session *session = &manager->session;
        const WillConfig *will = &manager->config->will;
        uint64_t now_usec, birth_msec = 0;
        int64_t ahead_usec;
        bool known = manager_clock(manager, &now_usec, &ahead_usec) == TIME_KNOWN;
        int r;

        if (known) {
                r = sample_times_next(
                        manager->times, will->channel, now_usec / USEC_PER_MSEC - 1, 2, &birth_msec);
                if (r < 0)
                        return r;
        }
        put_message(manager, &session->birth, will->online, now_usec, birth_msec);
        put_message(manager, &session->will, will->data, now_usec, known ? birth_msec + 1 : 0);
        if (session->birth.failed || session->will.failed)
                return -ENOMEM;

        *ret = (LinkProfile){
                .client_id = session->client_id,
                .user = session->plug_id,
                .password = session->auth,
                .will_topic = session->will_topic,
                .will_payload = session->will.data,
                .will_size = session->will.size,
        };
        session->next_try_usec = 0;
        manager_changed(manager); /* State: connecting */
        return 0;
}

static void on_up(void *userdata)
{
        Manager *manager = userdata;
        Session *session = &manager->session;
        int r;

        session->up = true;
        session->verdict = VERDICT_NONE;
        /* A server that takes logins and answers no barrier: its name stays until it does. */
        if (!session->keep_error && delivery_unanswered(manager->delivery) == 0)
                free(TAKE_PTR(session->last_error));
        log_notice("online at %s as %s%s", session->server, session->plug_id,
                manager->config->server.tls ? "" : ", without TLS");

        r = link_publish(manager->link, session->will_topic, session->birth.data, session->birth.size);
        if (r < 0)
                log_warning("the message after connecting could not be published on '%s': %s",
                        manager->config->will.channel, strerror(-r));
        r = delivery_start(manager->delivery, session->plug_id);
        if (r < 0)
                link_fail(manager->link, strerror(-r));
        manager_changed(manager);
}

static void on_end(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata)
{
        Manager *manager = userdata;
        _cleanup_(freep) char *hint = NULL;

        delivery_stop(manager->delivery);
        manager->session.up = false;
        manager->session.verdict = end == LINK_END_REFUSED ? VERDICT_REFUSED : VERDICT_NONE;
        if (end == LINK_END_REFUSED)
                hint = text_printf("%s; %s", text,
                        manager->config->device.plug_id ? "check device.plug_id and device.auth_file"
                                                        : "if the platform no longer knows this device, "
                                                          "enrol it anew with plugctl enroll");
        say_retry(manager, "", hint ? hint : text, retry_usec);
}

static void on_unsuback(int mid, void *userdata)
{
        Manager *manager = userdata;
        bool doubted;

        doubted = delivery_unanswered(manager->delivery) > 0;
        delivery_on_unsuback(manager->delivery, mid);
        manager_confirmed(manager);
        if (doubted && delivery_unanswered(manager->delivery) == 0 && !manager->session.keep_error) {
                free(TAKE_PTR(manager->session.last_error));
                manager_changed(manager);
        }
        manager_counted(manager);
}

static void on_writable(void *userdata)
{
        Manager *manager = userdata;

        delivery_on_writable(manager->delivery);
}

static const LinkHandler login_handler = {
        .on_profile = on_profile,
        .on_up = on_up,
        .on_end = on_end,
        .on_unsuback = on_unsuback,
        .on_writable = on_writable,
};

static void log_in(Manager *manager)
{
        Session *session = &manager->session;
        const DeviceConfig *device = &manager->config->device;

        enrol_stop(manager->enrol);
        session->verdict = VERDICT_NONE;
        session->next_try_usec = 0;
        free(session->client_id);
        free(session->will_topic);
        session->client_id = topic_client_id(session->hwid, device->name);
        session->will_topic = topic_data(session->plug_id, manager->config->will.channel);
        if (!session->client_id || !session->will_topic)
                return say_not_ready(manager, "can't connect: ", strerror(ENOMEM));
        link_open(manager->link, &login_handler, manager);
        manager_changed(manager);
}

/* --- enrolling
 * --------------------------------------------------------------------------------------------- */

static int set_identity(Session *session, const char *plug_id, const char *auth)
{
        _cleanup_(freep) char *plug_id_copy = strdup(plug_id);
        _cleanup_(secret_freep) char *auth_copy = strdup(auth);

        if (!plug_id_copy || !auth_copy)
                return -ENOMEM;
        free(session->plug_id);
        secret_free(session->auth);
        session->plug_id = TAKE_PTR(plug_id_copy);
        session->auth = TAKE_PTR(auth_copy);
        return 0;
}

/* The one moment that can lose an auth: nothing comes before the saving. */
static int on_credentials(const char *plug_id, const char *auth, void *userdata)
{
        Manager *manager = userdata;
        Session *session = &manager->session;
        _cleanup_(freep) char *error = NULL;
        int r;

        r = credentials_save(
                manager->credentials, manager->config->server.host, session->hwid, plug_id, auth, &error);
        session->unsaved = r < 0;
        if (r < 0) {
                log_error("the credentials of %s could not be saved: %s", plug_id,
                        error ? error : strerror(-r));
                return r;
        }
        log_notice("enrolled at %s as %s", session->server, plug_id);
        return set_identity(session, plug_id, auth);
}

static void on_enrolled(void *userdata)
{
        log_in(userdata);
}

/* Credentials that were good stay good: a gateway that was asked to enrol anew goes on with them, whatever
 * came of it. False: it has none, or the new ones wait to be saved. */
static bool go_on_as_before(Manager *manager, const char *text)
{
        Session *session = &manager->session;
        _cleanup_(freep) char *sentence = NULL;

        if (!session->plug_id || session->unsaved)
                return false;
        sentence = text_printf("%s; going on as %s", text, session->plug_id);
        log_warning("enrolment: %s", sentence ? sentence : text);
        log_in(manager);
        set_error(manager, sentence ? sentence : text);
        session->keep_error = true; /* who asked for it has to see it, also once we are online */
        return true;
}

static void on_enrolment_failed(const char *text, uint64_t retry_usec, void *userdata)
{
        Manager *manager = userdata;

        if (go_on_as_before(manager, text))
                return;
        say_retry(manager, "enrolment: ", text, retry_usec);
        manager->session.verdict = VERDICT_ENROLMENT_FAILED;
        manager_changed(manager);
}

static void on_enrolment_end(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata)
{
        Manager *manager = userdata;

        if (go_on_as_before(manager, text))
                return;
        manager->session.verdict = end == LINK_END_REFUSED ? VERDICT_REFUSED : VERDICT_NONE;
        say_retry(manager, "enrolment: ", text, retry_usec);
}

static void on_enrolment_attempt(void *userdata)
{
        Manager *manager = userdata;

        manager->session.next_try_usec = 0;
        manager_changed(manager); /* State: enrolling */
}

static const EnrolHandler enrol_handler = {
        .on_attempt = on_enrolment_attempt,
        .on_credentials = on_credentials,
        .on_done = on_enrolled,
        .on_failed = on_enrolment_failed,
        .on_end = on_enrolment_end,
};

/* Somebody asked for a new try: what is known of the last says nothing of it. */
static void forget_outcome(Manager *manager)
{
        manager->session.keep_error = false;
        manager->session.verdict = VERDICT_NONE;
        manager->session.next_try_usec = 0;
        free(TAKE_PTR(manager->session.last_error));
        manager_changed(manager);
}

static int start_enrolling(Manager *manager, char **ret_error)
{
        const DeviceConfig *device = &manager->config->device;
        _cleanup_(secret_freep) char *pass = NULL;
        int r;

        r = credentials_secret(&device->pass, manager->paths->credentials, "plugd.pass", &pass, ret_error);
        if (r < 0)
                return r;
        r = enrol_start(manager->enrol, device, manager->session.hwid, pass, ret_error);
        if (r < 0)
                return r; /* and everything goes on as it was */
        delivery_stop(manager->delivery);
        link_close(manager->link); /* the login's: the enrolment opens it anew */
        manager->session.up = false;
        forget_outcome(manager);
        return 0;
}

/* --- who to be
 * ----------------------------------------------------------------------------------------------- */

int session_init(Manager *manager, char **ret_error)
{
        Session *session = &manager->session;
        _cleanup_(freep) char *error = NULL;
        int r;

        session->server = text_printf("%s:%u", manager->config->server.host, manager->config->server.port);
        if (!session->server)
                return -ENOMEM;
        r = enrol_new(&manager->enrol, manager->event, manager->link, &enrol_handler, manager);
        if (r < 0) {
                text_set(ret_error, "enrolling can't be set up: %s", strerror(-r));
                return r;
        }
        r = credentials_hwid(manager->config->device.hwid, &session->hwid, &error);
        if (r < 0)
                say_not_ready(manager, "not configured: ", error);
        return 0;
}

void session_deinit(Session *session)
{
        free(session->hwid);
        free(session->plug_id);
        secret_free(session->auth);
        free(session->server);
        free(session->last_error);
        free(session->client_id);
        free(session->will_topic);
        bytes_deinit(&session->will);
        bytes_deinit(&session->birth);
        *session = (Session){};
}

/* As it stands in the configuration. */
static int use_configured_identity(Manager *manager, char **ret_error)
{
        const DeviceConfig *device = &manager->config->device;
        _cleanup_(secret_freep) char *auth = NULL;
        int r;

        r = credentials_secret(&device->auth, manager->paths->credentials, "plugd.auth", &auth, ret_error);
        if (r < 0)
                return r;
        return set_identity(&manager->session, device->plug_id, auth);
}

void session_begin(Manager *manager)
{
        const DeviceConfig *device = &manager->config->device;
        Session *session = &manager->session;
        _cleanup_(freep) char *error = NULL;
        const char *plug_id, *auth;
        int r;

        if (!session->hwid)
                return; /* said in session_init() */

        if (device->plug_id) {
                r = use_configured_identity(manager, &error);
                if (r < 0)
                        return say_not_ready(manager, "not configured: ", error ? error : strerror(-r));
                return log_in(manager);
        }

        switch (credentials_find(manager->credentials, manager->config->server.host, session->hwid, &plug_id,
                &auth, &error)) {
        case CREDENTIALS_MATCHING:
                r = set_identity(session, plug_id, auth);
                if (r < 0)
                        return say_not_ready(manager, "can't log in: ", strerror(-r));
                return log_in(manager);
        case CREDENTIALS_OTHER:
                return say_not_ready(manager, "", error);
        case CREDENTIALS_NONE:
                break;
        }

        if (device->enrol_as == ENROL_NOT)
                return say_not_ready(manager, "not configured: ",
                        "device.enroll (or device.plug_id and device.auth_file) is missing; fill it in and "
                        "restart plugd");
        r = start_enrolling(manager, &error);
        if (r < 0)
                say_not_ready(manager, "not configured: ", error ? error : strerror(-r));
}

ManagerState manager_state(const Manager *manager)
{
        switch (manager->session.verdict) {
        case VERDICT_REFUSED:
                return MANAGER_REFUSED;
        case VERDICT_ENROLMENT_FAILED:
                return MANAGER_ENROLMENT_FAILED;
        case VERDICT_NONE:
                break;
        }
        switch (link_state(manager->link)) {
        case LINK_CLOSED:
                return enrol_active(manager->enrol) ? MANAGER_ENROLLING : MANAGER_OFFLINE;
        case LINK_WAITING:
                return MANAGER_OFFLINE;
        case LINK_CONNECTING:
                return enrol_active(manager->enrol) ? MANAGER_ENROLLING : MANAGER_CONNECTING;
        case LINK_UP:
                return enrol_active(manager->enrol) ? MANAGER_ENROLLING : MANAGER_ONLINE;
        }
        return MANAGER_OFFLINE;
}

const char *manager_state_to_string(ManagerState state)
{
        switch (state) {
        case MANAGER_OFFLINE:
                return "offline";
        case MANAGER_CONNECTING:
                return "connecting";
        case MANAGER_ENROLLING:
                return "enrolling";
        case MANAGER_ONLINE:
                return "online";
        case MANAGER_REFUSED:
                return "refused";
        case MANAGER_ENROLMENT_FAILED:
                return "enrolment-failed";
        }
        return "offline";
}

/* --- what there is to see, and to do
 * --------------------------------------------------------------------------- */

const char *manager_hardware_id(const Manager *manager)
{
        return manager->session.hwid ? manager->session.hwid : "";
}

const char *manager_plug_id(const Manager *manager)
{
        return manager->session.plug_id ? manager->session.plug_id : "";
}

const char *manager_server(const Manager *manager)
{
        return manager->session.server;
}

const char *manager_last_error(const Manager *manager)
{
        return manager->session.last_error ? manager->session.last_error : "";
}

uint64_t manager_next_try_usec(const Manager *manager)
{
        uint64_t usec = manager->session.next_try_usec;

        return !manager->session.up && !manager->stopping && usec > clock_monotonic_usec() ? usec : 0;
}

bool manager_secure(const Manager *manager)
{
        return manager->session.up && manager->config->server.tls;
}

uint64_t manager_connected_since_usec(const Manager *manager)
{
        return manager->session.up ? link_up_since_usec(manager->link) : 0;
}

static int say_stopping(char **ret_error)
{
        text_set(ret_error, "plugd is stopping");
        return -ESHUTDOWN;
}

int manager_enroll(Manager *manager, char **ret_error)
{
        const DeviceConfig *device = &manager->config->device;

        if (manager->stopping)
                return say_stopping(ret_error);
        if (!manager->session.hwid || device->enrol_as == ENROL_NOT) {
                text_set(ret_error, "there is nothing to enrol with: %s",
                        device->plug_id ? "device.plug_id is configured; write device.enroll instead"
                                        : "fill in device.hwid and device.enroll, and restart plugd");
                return -EINVAL;
        }
        if (enrol_hurry(manager->enrol) || enrol_asked(manager->enrol)) {
                forget_outcome(manager);
                return 0; /* it is under way; the server answers once */
        }
        return start_enrolling(manager, ret_error);
}

int manager_reconnect(Manager *manager, char **ret_error)
{
        if (manager->stopping)
                return say_stopping(ret_error);
        if (enrol_hurry(manager->enrol) || enrol_asked(manager->enrol))
                return 0; /* an answer that comes once is due, or waits to be saved */
        if (link_state(manager->link) != LINK_CLOSED) {
                link_reconnect(manager->link);
                forget_outcome(manager);
                return 0;
        }
        /* A secret may have been put in its place since. */
        session_begin(manager);
        if (link_state(manager->link) != LINK_CLOSED || enrol_active(manager->enrol))
                return 0;
        text_set(ret_error, "there is nothing to connect as: %s", manager_last_error(manager));
        return -EINVAL;
}
