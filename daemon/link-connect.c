/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "link-internal.h"
#include "util/text.h"

/*
 * One attempt to connect, in a thread of its own: looks the name up, connects, does the TLS handshake, logs
 * in. All of that may block (the resolver, connect(2)) or compute for long (TLS on a small machine), and
 * none of it holds up the loop. The thread is detached and nobody waits for it: it and the loop hold a
 * reference each, and whoever lets go last cleans up. The loop hears of the end through done_fd; a thread
 * that is no longer wanted hears of it through abandon_fd, as soon as it is out of the resolver and
 * connect().
 */

#define STACK_SIZE (256 * 1024)

struct Attempt {
        ServerConfig server;
        char *name; /* HOST:PORT */
        bool ipv4;
        int done_fd, abandon_fd;
        atomic_uint phase;
        atomic_bool alternative;

        pthread_mutex_t mutex;
        unsigned references;      /* by the mutex, as the next two */
        bool abandoned, finished; /* by the loop; by the thread */

        /* The thread's until it has finished, the loop's then. */
        struct mosquitto *client;
        int connack; /* -1: none yet */
        TlsTrouble trouble;
        LinkEnd end;
        char *text;
};

static atomic_uint orphans;

unsigned link_orphans(void)
{
        return atomic_load(&orphans);
}

int server_copy(ServerConfig *ret, const ServerConfig *server)
{
        ServerConfig copy = *server;

        copy.host = strdup(server->host);
        copy.ca = server->ca ? strdup(server->ca) : NULL;
        copy.cert = server->cert ? strdup(server->cert) : NULL;
        copy.key = server->key ? strdup(server->key) : NULL;
        if (!copy.host || (server->ca && !copy.ca) || (server->cert && !copy.cert) ||
                (server->key && !copy.key)) {
                server_deinit(&copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

void server_deinit(ServerConfig *server)
{
        free(server->host);
        free(server->ca);
        free(server->cert);
        free(server->key);
        *server = (ServerConfig){0};
}

char *server_name(const ServerConfig *server)
{
        return text_printf(strchr(server->host, ':') ? "[%s]:%u" : "%s:%u", server->host, server->port);
}

static void attempt_unref(Attempt *attempt)
{
        unsigned left;

        pthread_mutex_lock(&attempt->mutex);
        left = --attempt->references;
        pthread_mutex_unlock(&attempt->mutex);
        if (left > 0)
                return;
        if (attempt->client)
                mosquitto_destroy(attempt->client);
        closep(&attempt->done_fd);
        closep(&attempt->abandon_fd);
        server_deinit(&attempt->server);
        pthread_mutex_destroy(&attempt->mutex);
        free(attempt->name);
        free(attempt->text);
        free(attempt);
}

/* --- in the thread ---------------------------------------------------------------------------------------
 */

static void on_connect(struct mosquitto *client, void *userdata, int code)
{
        (void) client;
        ((Attempt *) userdata)->connack = code;
}

static void on_log(struct mosquitto *client, void *userdata, int level, const char *line)
{
        tls_note(&((Attempt *) userdata)->trouble, client, level, line);
}

static bool resolve(Attempt *attempt)
{
        const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        struct addrinfo *list = NULL;
        bool ipv4 = false, other = false;
        int r;

        errno = 0;
        r = getaddrinfo(attempt->server.host, NULL, &hints, &list);
        if (r != 0) {
                attempt->text = text_printf("cannot resolve %s: %s; check server.host, the network and DNS",
                        attempt->server.host, r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
                return false;
        }
        for (const struct addrinfo *i = list; i; i = i->ai_next)
                *(i->ai_family == AF_INET ? &ipv4 : &other) = true;
        freeaddrinfo(list);
        atomic_store(&attempt->alternative, ipv4 && other);
        return true;
}

static char *explain_reach(const Attempt *attempt, int r, int error)
{
        char *words = tls_explain(&attempt->trouble, &attempt->server);

        if (words)
                return words;
        if (r == MOSQ_ERR_EAI)
                return text_printf("cannot resolve %s: %s; check server.host, the network and DNS",
                        attempt->server.host, gai_strerror(error));
        if (r != MOSQ_ERR_ERRNO)
                return text_printf("cannot connect to %s: %s", attempt->name, mosquitto_strerror(r));
        switch (error) {
        case ECONNREFUSED:
                return text_printf("%s refused the connection: nothing listens there; check server.host and "
                                   "server.port",
                        attempt->name);
        case ENETUNREACH:
        case EHOSTUNREACH:
        case ENETDOWN:
        case EADDRNOTAVAIL:
                return text_printf("no way to %s (%s): is the network up?", attempt->name, strerror(error));
        default:
                return text_printf("cannot connect to %s: %s", attempt->name, strerror(error));
        }
}

static bool reach(Attempt *attempt)
{
        const int keepalive = (int) attempt->server.keepalive_sec, buffer = LINK_SEND_BUFFER;
        const unsigned silence_msec = LINK_SILENCE_MSEC;
        int r, fd;

        if (tls_setup(attempt->client, &attempt->server, &attempt->text) < 0)
                return false;
        atomic_store(&attempt->phase, ATTEMPT_REACHING);
        errno = 0;
        r = mosquitto_connect_bind(attempt->client, attempt->server.host, attempt->server.port, keepalive,
                attempt->ipv4 ? "0.0.0.0" : NULL);
        if (r != MOSQ_ERR_SUCCESS) {
                attempt->text = explain_reach(attempt, r, errno);
                return false;
        }
        fd = mosquitto_socket(attempt->client);
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
        (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_msec, sizeof(silence_msec));
        return true;
}

static void explain_connack(Attempt *attempt)
{
        const char *words = NULL;

        attempt->end = attempt->connack == 3 ? LINK_END_OUTAGE : LINK_END_REFUSED;
        switch (attempt->connack) {
        case 1:
                words = "it does not speak MQTT 3.1.1";
                break;
        case 2:
                words = "it does not accept the client id; check device.hwid and device.name";
                break;
        case 3:
                attempt->text =
                        text_printf("%s says that it is not available now (CONNACK 3)", attempt->name);
                return;
        case 4:
                words = "the user name or password is not right";
                break;
        case 5:
                words = "not authorised";
                break;
        default:
                words = "for a reason that MQTT 3.1.1 does not know";
        }
        attempt->text =
                text_printf("%s refused the login: %s (CONNACK %d)", attempt->name, words, attempt->connack);
}

static char *explain_greeting(const Attempt *attempt, int r, int error)
{
        char *words = tls_explain(&attempt->trouble, &attempt->server);

        if (words)
                return words;
        switch (r) {
        case MOSQ_ERR_CONN_LOST:
        case MOSQ_ERR_ERRNO:
        case MOSQ_ERR_TLS:
                return text_printf("%s %s the connection before CONNACK%s", attempt->name,
                        error == ECONNRESET ? "reset" : "closed",
                        attempt->server.tls ? ": is this a port for TLS? If it is for plain MQTT, "
                                              "server.tls = false asks for that"
                                            : ": if this is a port for TLS, leave server.tls = false out");
        default:
                return text_printf("%s answers, but it is not MQTT: check server.port", attempt->name);
        }
}

/* TLS and the login. False without a text: it was abandoned. */
static bool greet(Attempt *attempt)
{
        struct mosquitto *client = attempt->client;

        atomic_store(&attempt->phase, ATTEMPT_GREETING);
        while (attempt->connack < 0) {
                bool pending = mosquitto_want_write(client);
                /* While the handshake waits for the peer, libmosquitto wants to write and could at once. */
                struct pollfd fds[] = {
                        {.fd = mosquitto_socket(client),
                                .events =
                                        (short) (POLLIN | (pending && !attempt->server.tls ? POLLOUT : 0))},
                        {.fd = attempt->abandon_fd, .events = POLLIN},
                };
                int r = MOSQ_ERR_SUCCESS;

                if (poll(fds, ELEMENTSOF(fds), pending && attempt->server.tls ? 200 : -1) < 0 &&
                        errno != EINTR)
                        return false;
                if (fds[1].revents)
                        return false;
                errno = 0; /* libmosquitto looks at what an earlier call left there */
                if (fds[0].revents)
                        r = mosquitto_loop_read(client, 1);
                if (r == MOSQ_ERR_SUCCESS && attempt->connack < 0 && mosquitto_want_write(client)) {
                        errno = 0;
                        r = mosquitto_loop_write(client, 1);
                }
                if (r != MOSQ_ERR_SUCCESS && attempt->connack < 0) {
                        attempt->text = explain_greeting(attempt, r, errno);
                        return false;
                }
        }
        if (attempt->connack == 0)
                return true;
        explain_connack(attempt);
        return false;
}

static bool is_abandoned(Attempt *attempt)
{
        bool abandoned;

        pthread_mutex_lock(&attempt->mutex);
        abandoned = attempt->abandoned;
        pthread_mutex_unlock(&attempt->mutex);
        return abandoned;
}

static void *run(void *userdata)
{
        Attempt *attempt = userdata;
        bool abandoned;

        if (!(resolve(attempt) && !is_abandoned(attempt) && reach(attempt) && !is_abandoned(attempt) &&
                    greet(attempt))) {
                mosquitto_destroy(attempt->client);
                attempt->client = NULL;
        }

        pthread_mutex_lock(&attempt->mutex);
        attempt->finished = true;
        abandoned = attempt->abandoned;
        pthread_mutex_unlock(&attempt->mutex);

        if (!abandoned)
                (void) eventfd_write(attempt->done_fd, 1);
        else if (attempt->client) /* logged in for nobody: no will for that */
                (void) mosquitto_disconnect(attempt->client);
        attempt_unref(attempt);
        if (abandoned)
                atomic_fetch_sub(&orphans, 1);
        return NULL;
}

/* --- in the loop -----------------------------------------------------------------------------------------
 */

static int prepare_client(Attempt *attempt, const LinkProfile *profile)
{
        struct mosquitto *client;
        int r;

        if (mosquitto_validate_utf8(profile->client_id, (int) strlen(profile->client_id)) !=
                MOSQ_ERR_SUCCESS)
                return -EINVAL;
        client = mosquitto_new(profile->client_id, true, attempt);
        if (!client)
                return errno == EINVAL ? -EINVAL : -ENOMEM;
        attempt->client = client;
        r = mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311);
        if (r == MOSQ_ERR_SUCCESS)
                r = mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
        if (r == MOSQ_ERR_SUCCESS)
                r = mosquitto_username_pw_set(client, profile->user, profile->password);
        if (r == MOSQ_ERR_SUCCESS && profile->will_topic)
                r = mosquitto_will_set(client, profile->will_topic, (int) profile->will_size,
                        profile->will_payload, 0, false);
        mosquitto_connect_callback_set(client, on_connect);
        mosquitto_log_callback_set(client, on_log);
        return r == MOSQ_ERR_SUCCESS ? 0 : r == MOSQ_ERR_NOMEM ? -ENOMEM : -EINVAL;
}

static int spawn(Attempt *attempt)
{
        pthread_attr_t attributes;
        sigset_t all, before;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        (void) pthread_attr_setstacksize(&attributes, STACK_SIZE);
        /* Signals are the loop's. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, &attributes, run, attempt);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        return -r;
}

int attempt_start(Attempt **ret, const ServerConfig *server, const LinkProfile *profile, bool ipv4)
{
        Attempt *attempt = calloc(1, sizeof(*attempt));
        int r;

        if (!attempt)
                return -ENOMEM;
        *attempt = (Attempt){.ipv4 = ipv4, .done_fd = -1, .abandon_fd = -1, .references = 1, .connack = -1};
        pthread_mutex_init(&attempt->mutex, NULL);
        r = server_copy(&attempt->server, server);
        if (r < 0)
                goto fail;
        attempt->name = server_name(server);
        attempt->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        attempt->abandon_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = !attempt->name ? -ENOMEM : attempt->done_fd < 0 || attempt->abandon_fd < 0 ? -errno : 0;
        if (r < 0)
                goto fail;
        r = prepare_client(attempt, profile);
        if (r < 0)
                goto fail;
        attempt->references = 2;
        r = spawn(attempt);
        if (r < 0) {
                attempt->references = 1;
                goto fail;
        }
        *ret = attempt;
        return 0;
fail:
        attempt_unref(attempt);
        return r;
}

int attempt_fd(const Attempt *attempt)
{
        return attempt->done_fd;
}

AttemptPhase attempt_phase(const Attempt *attempt)
{
        return atomic_load(&attempt->phase);
}

bool attempt_has_alternative(const Attempt *attempt)
{
        return atomic_load(&attempt->alternative);
}

struct mosquitto *attempt_take(Attempt *attempt, LinkEnd *ret_end, char **ret_text)
{
        struct mosquitto *client;

        pthread_mutex_lock(&attempt->mutex);
        client = TAKE_PTR(attempt->client);
        if (!client) {
                *ret_end = attempt->end;
                *ret_text = TAKE_PTR(attempt->text);
        }
        pthread_mutex_unlock(&attempt->mutex);
        return client;
}

Attempt *attempt_free(Attempt *attempt)
{
        bool finished;

        if (!attempt)
                return NULL;
        pthread_mutex_lock(&attempt->mutex);
        attempt->abandoned = true;
        finished = attempt->finished;
        if (!finished)
                atomic_fetch_add(&orphans, 1);
        pthread_mutex_unlock(&attempt->mutex);
        if (finished && attempt->client)
                (void) mosquitto_disconnect(attempt->client);
        (void) eventfd_write(attempt->abandon_fd, 1);
        attempt_unref(attempt);
        return NULL;
}
