/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "link-internal.h"
#include "util/clock.h"
#include "util/text.h"

/*
 * A connection: a logged-in libmosquitto client in the event loop. The event source is level-triggered and
 * on a descriptor of our own: libmosquitto closes its one when it likes. Callbacks come while libmosquitto
 * is at work, and may well ask for the end of the connection: then it is freed after libmosquitto returned.
 */

#define MISC_USEC USEC_PER_SEC
#define AWAY_USEC (2 * USEC_PER_SEC) /* between two looks; what is beyond is our own absence */

/* libmosquitto pings when nothing has gone out, or nothing has come in, for the keepalive; whether there is
 * an answer it looks only after another keepalive. Together with on_misc()'s pace this makes 20 s. */
uint64_t link_pong_usec = 18 * USEC_PER_SEC;

struct Connection {
        struct mosquitto *client;
        Link *link; /* NULL: closed, to be freed once libmosquitto has returned */
        int fd;
        sd_event_source *io, *misc, *lost;
        uint64_t silent_usec; /* for how long nothing has come, up to … */
        uint64_t heard_usec;  /* … then (CLOCK_MONOTONIC) */
        bool busy;            /* inside libmosquitto */
        bool politely;        /* how it was closed */
        bool congested;       /* the event source waits for room */
        bool broken;          /* told, or about to be */
        char *trouble;        /* why */
        TlsTrouble tls;
};

static Connection *connection_free(Connection *connection)
{
        const struct linger reset = {.l_onoff = 1, .l_linger = 0};
        char scrap[4096];

        if (!connection)
                return NULL;
        sd_event_source_disable_unref(connection->io);
        sd_event_source_disable_unref(connection->misc);
        sd_event_source_disable_unref(connection->lost);
        if (connection->fd >= 0 && connection->politely && !connection->broken) {
                /* Closing with something unread would reset the connection, and the DISCONNECT with it. */
                for (unsigned i = 0; i < 16 && recv(connection->fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0;
                        i++)
                        ;
                connection_cork(connection, false);
                errno = 0;
                (void) mosquitto_disconnect(connection->client);
        } else if (connection->fd >= 0)
                (void) setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        mosquitto_destroy(connection->client);
        closep(&connection->fd);
        free(connection->trouble);
        free(connection);
        return NULL;
}

static void explain_loss(Connection *connection, int r, int error)
{
        const ServerConfig *server = link_server(connection->link);
        char *words = tls_explain(&connection->tls, server);

        free(connection->trouble);
        if (words)
                connection->trouble = words;
        else if (r == MOSQ_ERR_KEEPALIVE)
                connection->trouble = text_printf("nothing has come from %s for %u s, not even the answer "
                                                  "to a ping: the network or the server is gone",
                        server->host, (unsigned) (connection->silent_usec / USEC_PER_SEC));
        else if (r == MOSQ_ERR_PROTOCOL || r == MOSQ_ERR_MALFORMED_PACKET)
                connection->trouble = text_printf("%s sent something that is not MQTT 3.1.1", server->host);
        else if (error == ETIMEDOUT)
                connection->trouble =
                        text_printf("%s has not been heard of for %d s: the network or the server is gone",
                                server->host, LINK_SILENCE_MSEC / 1000);
        else if (error == ECONNRESET || error == EPIPE)
                connection->trouble = text_printf("%s reset the connection", server->host);
        else if (r == MOSQ_ERR_ERRNO && error != 0 && error != EAGAIN && error != EPROTO)
                connection->trouble =
                        text_printf("lost the connection to %s: %s", server->host, strerror(error));
        else if (r == MOSQ_ERR_CONN_LOST || r == MOSQ_ERR_ERRNO || r == MOSQ_ERR_TLS)
                connection->trouble = text_printf("%s closed the connection", server->host);
        else
                connection->trouble =
                        text_printf("lost the connection to %s: %s", server->host, mosquitto_strerror(r));
}

/* The link hears of it from the loop, not from the middle of whatever noticed. */
static void connection_break(Connection *connection, int r, int error)
{
        if (connection->broken)
                return;
        explain_loss(connection, r, error);
        connection->broken = true;
        (void) sd_event_source_set_enabled(connection->io, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(connection->misc, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(connection->lost, SD_EVENT_ONESHOT);
}

static int on_lost(sd_event_source *source, void *userdata)
{
        Connection *connection = userdata;

        (void) source;
        link_on_lost(connection->link, connection->trouble ? connection->trouble : "connection lost");
        return 0;
}

/* Waits for room while there is something to write; what waits for on_writable hears it from the loop. */
static void watch(Connection *connection, bool congested)
{
        connection->congested = congested;
        (void) sd_event_source_set_io_events(connection->io, EPOLLIN | (congested ? EPOLLOUT : 0));
        if (!congested)
                link_on_writable(connection->link);
}

/* After libmosquitto's loop functions. */
static void settle(Connection *connection, int r, int error)
{
        connection->busy = false;
        if (!connection->link)
                connection_free(connection);
        else if (r != MOSQ_ERR_SUCCESS)
                connection_break(connection, r, error);
        else if (!connection->broken && mosquitto_want_write(connection->client) != connection->congested)
                watch(connection, !connection->congested);
}

static void hear(Connection *connection)
{
        connection->silent_usec = 0;
        connection->heard_usec = clock_monotonic_usec();
}

/* Has nothing come for so long that a ping must have been answered since? Where we were held up and asked
 * nothing, a peer is not judged by its silence. */
static bool is_silent(Connection *connection)
{
        uint64_t now_usec = clock_monotonic_usec(), silent_usec = now_usec - connection->heard_usec;

        connection->silent_usec += MIN(silent_usec, AWAY_USEC);
        connection->heard_usec = now_usec;
        return connection->silent_usec >=
               link_server(connection->link)->keepalive_sec * USEC_PER_SEC + link_pong_usec;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Connection *connection = userdata;
        int r = MOSQ_ERR_SUCCESS;

        (void) source;
        (void) fd;
        if (events & EPOLLIN)
                hear(connection);
        connection->busy = true;
        errno = 0; /* libmosquitto looks at what an earlier call left there */
        if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                r = mosquitto_loop_read(connection->client, 1);
        if (r == MOSQ_ERR_SUCCESS && connection->link && (events & EPOLLOUT)) {
                errno = 0;
                r = mosquitto_loop_write(connection->client, 1);
        }
        settle(connection, r, errno);
        return 0;
}

static int on_misc(sd_event_source *source, uint64_t usec, void *userdata)
{
        Connection *connection = userdata;
        bool silent;
        int r;

        (void) usec;
        (void) sd_event_source_set_time_relative(source, MISC_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        silent = is_silent(connection);
        connection->busy = true;
        errno = 0;
        r = mosquitto_loop_misc(connection->client);
        settle(connection, r == MOSQ_ERR_SUCCESS && silent ? MOSQ_ERR_KEEPALIVE : r, errno);
        return 0;
}

/* --- libmosquitto's callbacks ----------------------------------------------------------------------------
 */

static void on_message(struct mosquitto *client, void *userdata, const struct mosquitto_message *message)
{
        Connection *connection = userdata;

        (void) client;
        if (connection->link)
                link_on_message(connection->link, message);
}

static void on_subscribe(struct mosquitto *client, void *userdata, int mid, int n, const int *granted)
{
        Connection *connection = userdata;

        (void) client;
        if (connection->link)
                link_on_suback(connection->link, mid, n > 0 && granted[0] >= 0 && granted[0] <= 2);
}

static void on_unsubscribe(struct mosquitto *client, void *userdata, int mid)
{
        Connection *connection = userdata;

        (void) client;
        if (connection->link)
                link_on_unsuback(connection->link, mid);
}

static void on_log(struct mosquitto *client, void *userdata, int level, const char *line)
{
        tls_note(&((Connection *) userdata)->tls, client, level, line);
}

/* --- what the link does with it --------------------------------------------------------------------------
 */

int connection_new(Connection **ret, sd_event *event, struct mosquitto *client, Link *link)
{
        Connection *connection = calloc(1, sizeof(*connection));
        int r;

        if (!connection)
                return -ENOMEM;
        connection->link = link;
        connection->fd = fcntl(mosquitto_socket(client), F_DUPFD_CLOEXEC, 3);
        r = connection->fd < 0 ? -errno : 0;
        if (r >= 0)
                r = sd_event_add_io(event, &connection->io, connection->fd, EPOLLIN, on_io, connection);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &connection->misc, CLOCK_MONOTONIC, MISC_USEC,
                        250 * USEC_PER_MSEC, on_misc, connection);
        if (r >= 0)
                r = sd_event_add_defer(event, &connection->lost, on_lost, connection);
        if (r >= 0)
                r = sd_event_source_set_enabled(connection->lost, SD_EVENT_OFF);
        if (r < 0) {
                connection_free(connection);
                return r;
        }
        connection->client = client;
        hear(connection); /* CONNACK */
        mosquitto_user_data_set(client, connection);
        mosquitto_connect_callback_set(client, NULL);
        /* What it logs explains trouble with TLS; without TLS, formatting it would be an eighth of the cost
         * of a message. */
        mosquitto_log_callback_set(client, link_server(link)->tls ? on_log : NULL);
        mosquitto_message_callback_set(client, on_message);
        mosquitto_subscribe_callback_set(client, on_subscribe);
        mosquitto_unsubscribe_callback_set(client, on_unsubscribe);
        *ret = connection;
        return 0;
}

void connection_close(Connection *connection, bool politely)
{
        connection->link = NULL;
        connection->politely = politely;
        (void) sd_event_source_set_enabled(connection->io, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(connection->misc, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(connection->lost, SD_EVENT_OFF);
        if (!connection->busy)
                connection_free(connection);
}

/* What libmosquitto answered to something that was handed over. */
static int conclude(Connection *connection, int r, int error)
{
        switch (r) {
        case MOSQ_ERR_SUCCESS:
                if (!connection->busy && !connection->congested && mosquitto_want_write(connection->client))
                        watch(connection, true);
                return 0;
        case MOSQ_ERR_NOMEM:
                return -ENOMEM;
        case MOSQ_ERR_INVAL:
        case MOSQ_ERR_MALFORMED_UTF8:
                return -EINVAL;
        case MOSQ_ERR_PAYLOAD_SIZE:
        case MOSQ_ERR_OVERSIZE_PACKET:
                return -EMSGSIZE;
        default:
                connection_break(connection, r, error);
                return -ENOTCONN;
        }
}

int connection_publish(Connection *connection, const char *topic, const void *payload, size_t size)
{
        int r;

        if (connection->broken)
                return -ENOTCONN;
        if (size > INT_MAX)
                return -EMSGSIZE;
        errno = 0;
        r = mosquitto_publish(connection->client, NULL, topic, (int) size, payload, 0, false);
        return conclude(connection, r, errno);
}

int connection_subscribe(Connection *connection, const char *topic, int *ret_mid)
{
        int r;

        if (connection->broken)
                return -ENOTCONN;
        errno = 0;
        r = mosquitto_subscribe(connection->client, ret_mid, topic, 0);
        return conclude(connection, r, errno);
}

int connection_unsubscribe(Connection *connection, const char *topic, int *ret_mid)
{
        int r;

        if (connection->broken)
                return -ENOTCONN;
        errno = 0;
        r = mosquitto_unsubscribe(connection->client, ret_mid, topic);
        return conclude(connection, r, errno);
}

bool connection_congested(const Connection *connection)
{
        return mosquitto_want_write(connection->client);
}

bool connection_drained(const Connection *connection)
{
        int unacknowledged = 0;

        if (connection->broken || connection_congested(connection))
                return false;
        return ioctl(connection->fd, SIOCOUTQ, &unacknowledged) < 0 || unacknowledged == 0;
}

void connection_cork(Connection *connection, bool on)
{
        const int value = on;

        (void) setsockopt(connection->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
}
