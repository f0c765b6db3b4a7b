/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "link-internal.h"
#include "util/backoff.h"
#include "util/clock.h"
#include "util/text.h"

/*
 * The link's behaviour: when to try, when to give up, what to say. Attempts and connections do the work. A
 * single timer serves: the next attempt, or the end of patience with the one under way.
 */

#define ATTEMPT_USEC (20 * USEC_PER_SEC)
#define HEALTHY_USEC (60 * USEC_PER_SEC)
#define ORPHANS_MAX 4

struct Link {
        sd_event *event;
        ServerConfig server;
        char *name; /* HOST:PORT */
        LinkState state;
        const LinkHandler *handler;
        void *userdata;

        Attempt *attempt;
        Connection *connection;
        sd_event_source *ended; /* of the attempt */
        sd_event_source *timer;
        Backoff outage, refusal;
        uint64_t up_realtime_usec, up_usec, connections;
        bool answered; /* this connection has answered something that was asked */
        bool failed;   /* its user gave it up */
        bool ipv4;     /* silence by IPv6: try without */
};

const ServerConfig *link_server(const Link *link)
{
        return &link->server;
}

static void arm(Link *link, uint64_t usec)
{
        (void) sd_event_source_set_time_relative(link->timer, usec);
        (void) sd_event_source_set_enabled(link->timer, SD_EVENT_ONESHOT);
}

static void drop_attempt(Link *link)
{
        link->ended = sd_event_source_disable_unref(link->ended);
        link->attempt = attempt_free(link->attempt);
}

/* Ends whatever there is. */
static void let_go(Link *link, bool politely)
{
        (void) sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        drop_attempt(link);
        if (link->connection)
                connection_close(TAKE_PTR(link->connection), politely);
        link->up_realtime_usec = 0;
}

/* How long a connection was of use. One that is dropped right after the login, or whose user gave it up, was
 * of none, however often it comes up. */
static uint64_t lasted_usec(const Link *link)
{
        uint64_t usec = link->state == LINK_UP ? clock_monotonic_usec() - link->up_usec : 0;

        return link->answered || (usec >= HEALTHY_USEC && !link->failed) ? usec : 0;
}

static uint64_t next_wait(Link *link, LinkEnd end)
{
        uint64_t lasted = lasted_usec(link);

        if (end == LINK_END_REFUSED)
                return backoff_next(&link->refusal);
        if (lasted >= HEALTHY_USEC)
                backoff_reset(&link->outage);
        return lasted > 0 ? backoff_next_limited(&link->outage, lasted) : backoff_next(&link->outage);
}

/* An attempt or a connection is over. */
static void end(Link *link, LinkEnd how, const char *text)
{
        uint64_t wait = next_wait(link, how);

        let_go(link, false);
        link->state = LINK_WAITING;
        arm(link, wait);
        if (link->handler->on_end)
                link->handler->on_end(how, text ? text : "out of memory", wait, link->userdata);
}

static int on_ended(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Link *link = userdata;
        _cleanup_(freep) char *text = NULL;
        LinkEnd how = LINK_END_OUTAGE;
        struct mosquitto *client = attempt_take(link->attempt, &how, &text);
        int r;

        (void) source;
        (void) fd;
        (void) events;
        drop_attempt(link);
        if (!client) {
                link->ipv4 = false;
                end(link, how, text);
                return 0;
        }
        r = connection_new(&link->connection, link->event, client, link);
        if (r < 0) {
                mosquitto_destroy(client);
                text_set(&text, "cannot watch the connection to %s: %s", link->name, strerror(-r));
                end(link, LINK_END_OUTAGE, text);
                return 0;
        }
        (void) sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        link->state = LINK_UP;
        link->up_realtime_usec = clock_realtime_usec();
        link->up_usec = clock_monotonic_usec();
        link->connections++;
        link->answered = link->failed = false;
        backoff_reset(&link->refusal);
        if (link->handler->on_up)
                link->handler->on_up(link->userdata);
        return 0;
}

static int start_attempt(Link *link, char **ret_text)
{
        LinkProfile profile = {0};
        int r;

        if (link_orphans() >= ORPHANS_MAX) {
                text_set(ret_text,
                        "%u earlier attempts to reach %s still hang in the name lookup or in the "
                        "kernel: waiting for them",
                        link_orphans(), link->name);
                return -EAGAIN;
        }
        r = link->handler->on_profile(&profile, link->userdata);
        if (r < 0) {
                text_set(ret_text, "cannot log in to %s: %s", link->name, strerror(-r));
                return r;
        }
        r = attempt_start(&link->attempt, &link->server, &profile, link->ipv4);
        if (r >= 0)
                r = sd_event_add_io(
                        link->event, &link->ended, attempt_fd(link->attempt), EPOLLIN, on_ended, link);
        if (r < 0)
                text_set(ret_text, "cannot start connecting to %s: %s", link->name,
                        r == -EINVAL ? "the client id, user name or will is nothing that MQTT can carry"
                                     : strerror(-r));
        return r;
}

static void give_attempt_up(Link *link)
{
        _cleanup_(freep) char *text = NULL;
        const unsigned patience = (unsigned) (ATTEMPT_USEC / USEC_PER_SEC);

        switch (attempt_phase(link->attempt)) {
        case ATTEMPT_RESOLVING:
                text_set(&text, "the name %s could not be looked up within %u s: check the network and DNS",
                        link->server.host, patience);
                break;
        case ATTEMPT_REACHING:
                text_set(&text,
                        "no answer from %s within %u s: check the network, firewalls, server.host and "
                        "server.port",
                        link->name, patience);
                /* Where IPv6 is offered and swallowed, the next attempt goes without. */
                link->ipv4 = !link->ipv4 && attempt_has_alternative(link->attempt);
                break;
        case ATTEMPT_GREETING:
                text_set(&text,
                        "%s took the connection, but there was no CONNACK within %u s: the server "
                        "hangs, or it is another service",
                        link->name, patience);
                break;
        }
        end(link, LINK_END_OUTAGE, text);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Link *link = userdata;
        _cleanup_(freep) char *text = NULL;

        (void) source;
        (void) usec;
        if (link->attempt) {
                give_attempt_up(link);
                return 0;
        }
        link->state = LINK_CONNECTING;
        if (start_attempt(link, &text) < 0)
                end(link, LINK_END_OUTAGE, text);
        else
                arm(link, ATTEMPT_USEC);
        return 0;
}

/* --- from the connection ---------------------------------------------------------------------------------
 */

void link_on_lost(Link *link, const char *text)
{
        /* It lives in the connection, which ends before the text was told. */
        _cleanup_(freep) char *copy = strdup(text);

        end(link, LINK_END_OUTAGE, copy);
}

void link_on_message(Link *link, const struct mosquitto_message *message)
{
        if (link->handler->on_message)
                link->handler->on_message(message->topic, message->payload ? message->payload : "",
                        (size_t) message->payloadlen, link->userdata);
}

void link_on_suback(Link *link, int mid, bool granted)
{
        link->answered = true;
        if (link->handler->on_suback)
                link->handler->on_suback(mid, granted, link->userdata);
}

void link_on_unsuback(Link *link, int mid)
{
        link->answered = true;
        if (link->handler->on_unsuback)
                link->handler->on_unsuback(mid, link->userdata);
}

void link_on_writable(Link *link)
{
        if (link->handler->on_writable)
                link->handler->on_writable(link->userdata);
}

/* --- from above ------------------------------------------------------------------------------------------
 */

int link_new(Link **ret, sd_event *event, const ServerConfig *server)
{
        _cleanup_(link_freep) Link *link = calloc(1, sizeof(*link));
        struct sigaction before;
        int r;

        if (!link)
                return -ENOMEM;
        *link = (Link){
                .outage = {.first_usec = USEC_PER_SEC, .max_usec = 120 * USEC_PER_SEC},
                .refusal = {.first_usec = 5 * USEC_PER_SEC, .max_usec = 600 * USEC_PER_SEC},
        };
        if (mosquitto_lib_init() != MOSQ_ERR_SUCCESS)
                return -ENOMEM;
        link->event = sd_event_ref(event);
        /* OpenSSL writes with write(). */
        if (sigaction(SIGPIPE, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
                (void) signal(SIGPIPE, SIG_IGN);

        r = server_copy(&link->server, server);
        if (r < 0)
                return r;
        link->name = server_name(server);
        if (!link->name)
                return -ENOMEM;
        r = sd_event_add_time_relative(
                event, &link->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, link);
        if (r >= 0)
                r = sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(link);
        return 0;
}

Link *link_free(Link *link)
{
        if (!link)
                return NULL;
        let_go(link, true);
        sd_event_source_disable_unref(link->timer);
        if (link->event && link_orphans() == 0) /* those still use it */
                (void) mosquitto_lib_cleanup();
        sd_event_unref(link->event);
        server_deinit(&link->server);
        free(link->name);
        free(link);
        return NULL;
}

void link_open(Link *link, const LinkHandler *handler, void *userdata)
{
        assert(handler->on_profile);
        link_close(link);
        link->handler = handler;
        link->userdata = userdata;
        link->ipv4 = false;
        backoff_reset(&link->outage);
        backoff_reset(&link->refusal);
        link->state = LINK_CONNECTING;
        arm(link, 0);
}

void link_close(Link *link)
{
        let_go(link, true);
        link->state = LINK_CLOSED;
        link->handler = NULL;
}

void link_fail(Link *link, const char *text)
{
        _cleanup_(freep) char *sentence = NULL;

        if (link->state != LINK_UP)
                return;
        link->failed = true;
        sentence = text_printf("%s: %s", link->name, text);
        end(link, LINK_END_OUTAGE, sentence);
}

void link_reconnect(Link *link)
{
        bool up = link->state == LINK_UP;

        if (link->state == LINK_CLOSED)
                return;
        let_go(link, true);
        link->state = LINK_CONNECTING;
        arm(link, 0);
        if (up && link->handler->on_end)
                link->handler->on_end(
                        LINK_END_OUTAGE, "disconnected, to connect again as asked", 0, link->userdata);
}

LinkState link_state(const Link *link)
{
        return link->state;
}

uint64_t link_up_since_usec(const Link *link)
{
        return link->up_realtime_usec;
}

uint64_t link_connections(const Link *link)
{
        return link->connections;
}

int link_publish(Link *link, const char *topic, const void *payload, size_t size)
{
        return link->connection ? connection_publish(link->connection, topic, payload, size) : -ENOTCONN;
}

int link_subscribe(Link *link, const char *topic, int *ret_mid)
{
        return link->connection ? connection_subscribe(link->connection, topic, ret_mid) : -ENOTCONN;
}

int link_unsubscribe(Link *link, const char *topic, int *ret_mid)
{
        return link->connection ? connection_unsubscribe(link->connection, topic, ret_mid) : -ENOTCONN;
}

bool link_congested(const Link *link)
{
        return link->connection && connection_congested(link->connection);
}

bool link_drained(const Link *link)
{
        return link->connection && connection_drained(link->connection);
}

void link_cork(Link *link, bool on)
{
        if (link->connection)
                connection_cork(link->connection, on);
}
