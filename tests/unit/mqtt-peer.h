/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small scripted MQTT server for tests, on loopback and in the test's own event loop: one connection at a
 * time, whole packets out, any bytes in. It answers nothing but what a test makes it answer, but for CONNECT
 * while `connack` is not negative.
 */

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "util/bytes.h"
#include "util/clock.h"
#include "util/macros.h"

enum {
        CONNECT = 0x10,
        PUBLISH = 0x30,
        SUBSCRIBE = 0x82,
        UNSUBSCRIBE = 0xa2,
        PINGREQ = 0xc0,
        DISCONNECT = 0xe0
};

typedef struct Peer Peer;
typedef void (*PeerPacket)(Peer *peer, uint8_t type, const uint8_t *body, size_t size, void *userdata);

struct Peer {
        sd_event *event;
        uint16_t port;
        int listen_fd, fd;
        sd_event_source *listener, *io;
        Bytes in;
        PeerPacket on_packet;
        void *userdata;
        int connack;       /* the code that answers CONNECT; negative: none */
        bool slam;         /* closes what it accepts */
        unsigned accepted; /* connections */
        unsigned ended;    /* by the other side */
        bool reset;        /* and not with a FIN */
        unsigned n_connects, n_disconnects, n_pings, n_publishes;
};

/* Runs the loop until the condition holds; false after so many seconds. */
#define WAIT_FOR(loop, seconds, condition)                                                                  \
        ({                                                                                                  \
                uint64_t until_ = clock_monotonic_usec() + (uint64_t) ((seconds) *USEC_PER_SEC);            \
                while (!(condition) && clock_monotonic_usec() < until_)                                     \
                        (void) sd_event_run((loop), 20 * USEC_PER_MSEC);                                    \
                (condition);                                                                                \
        })

static inline void peer_send(Peer *peer, const void *data, size_t size)
{
        if (peer->fd >= 0)
                (void) !send(peer->fd, data, size, MSG_NOSIGNAL);
}

static inline void peer_drop(Peer *peer, bool reset)
{
        const struct linger linger = {.l_onoff = 1};

        peer->io = sd_event_source_disable_unref(peer->io);
        if (peer->fd >= 0 && reset)
                (void) setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        closep(&peer->fd);
        bytes_clear(&peer->in);
}

static inline void peer_connack(Peer *peer, uint8_t code)
{
        peer_send(peer, (uint8_t[]){0x20, 2, 0, code}, 4);
}

/* Answers SUBSCRIBE or UNSUBSCRIBE; the id is what its body begins with. */
static inline void peer_suback(Peer *peer, const uint8_t *body, uint8_t code)
{
        peer_send(peer, (uint8_t[]){0x90, 3, body[0], body[1], code}, 5);
}

static inline void peer_unsuback(Peer *peer, const uint8_t *body)
{
        peer_send(peer, (uint8_t[]){0xb0, 2, body[0], body[1]}, 4);
}

static inline void peer_publish(Peer *peer, const char *topic, const char *payload)
{
        _cleanup_(bytes_deinit) Bytes packet = {0};
        size_t left = 2 + strlen(topic) + strlen(payload);

        bytes_put_u8(&packet, PUBLISH);
        do {
                bytes_put_u8(&packet, (uint8_t) (left % 128 | (left >= 128 ? 128 : 0)));
                left /= 128;
        } while (left > 0);
        bytes_put_u8(&packet, (uint8_t) (strlen(topic) >> 8));
        bytes_put_u8(&packet, (uint8_t) strlen(topic));
        bytes_put(&packet, topic, strlen(topic));
        bytes_put(&packet, payload, strlen(payload));
        peer_send(peer, packet.data, packet.size);
}

/* The string with a length of two bytes at offset; NULL past the end. The caller frees. */
static inline char *peer_string(const uint8_t *body, size_t size, size_t *offset)
{
        size_t length;
        char *text;

        if (*offset + 2 > size)
                return NULL;
        length = (size_t) body[*offset] << 8 | body[*offset + 1];
        if (*offset + 2 + length > size)
                return NULL;
        text = strndup((const char *) body + *offset + 2, length);
        *offset += 2 + length;
        return text;
}

static inline void peer_take(Peer *peer, uint8_t type, const uint8_t *body, size_t size)
{
        peer->n_connects += type == CONNECT;
        peer->n_disconnects += type == DISCONNECT;
        peer->n_pings += type == PINGREQ;
        peer->n_publishes += type == PUBLISH;
        if (type == CONNECT && peer->connack >= 0)
                peer_connack(peer, (uint8_t) peer->connack);
        if (peer->on_packet)
                peer->on_packet(peer, type, body, size, peer->userdata);
}

/* One whole packet, if there is one. */
static inline bool peer_parse(Peer *peer)
{
        size_t length = 0, at = 1;

        for (unsigned shift = 0;; shift += 7) {
                if (at >= peer->in.size)
                        return false;
                length |= (size_t) (peer->in.data[at] & 127) << shift;
                if (!(peer->in.data[at++] & 128))
                        break;
        }
        if (peer->in.size < at + length)
                return false;
        {
                _cleanup_(freep) uint8_t *copy = malloc(length + 1);

                assert(copy);
                memcpy(copy, peer->in.data + at, length);
                uint8_t type = peer->in.data[0];
                bytes_consume(&peer->in, at + length);
                peer_take(peer, type, copy, length);
        }
        return peer->fd >= 0;
}

static inline int peer_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Peer *peer = userdata;
        uint8_t *room = bytes_reserve(&peer->in, 65536);
        ssize_t n = recv(fd, room, 65536, 0);

        (void) source;
        (void) events;
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0) {
                peer->reset = n < 0;
                peer->ended++;
                peer_drop(peer, false);
                return 0;
        }
        peer->in.size += (size_t) n;
        while (peer->in.size >= 2 && peer_parse(peer))
                ;
        return 0;
}

static inline int peer_on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Peer *peer = userdata;

        (void) source;
        (void) events;
        peer_drop(peer, false);
        peer->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer->fd < 0)
                return 0;
        peer->accepted++;
        peer->reset = false;
        if (peer->slam)
                peer_drop(peer, false);
        else
                assert(sd_event_add_io(peer->event, &peer->io, peer->fd, EPOLLIN, peer_on_io, peer) >= 0);
        return 0;
}

/* Reads on or lets the client's data pile up. */
static inline void peer_read(Peer *peer, bool on)
{
        (void) sd_event_source_set_enabled(peer->io, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static inline void peer_init(Peer *peer, sd_event *event)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);

        *peer = (Peer){.event = event, .fd = -1};
        peer->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert(bind(peer->listen_fd, (struct sockaddr *) &address, sizeof(address)) == 0);
        assert(listen(peer->listen_fd, 16) == 0);
        assert(getsockname(peer->listen_fd, (struct sockaddr *) &address, &size) == 0);
        peer->port = ntohs(address.sin_port);
        assert(sd_event_add_io(event, &peer->listener, peer->listen_fd, EPOLLIN, peer_on_accept, peer) >= 0);
}

static inline void peer_deinit(Peer *peer)
{
        peer_drop(peer, false);
        peer->listener = sd_event_source_disable_unref(peer->listener);
        closep(&peer->listen_fd);
        bytes_deinit(&peer->in);
}
