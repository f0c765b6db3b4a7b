/* SPDX-License-Identifier: Apache-2.0 */

/*
 * subscriber HOST PORT TOPIC: counts what arrives, and costs little, so that it holds up nobody. Speaks just
 * enough MQTT 3.1.1. Says "ready" once it is subscribed. For each line on its standard input it answers with
 * one line: a JSON object of what has come since the start, or since the line "reset".
 *
 * subscriber PORT: the same as a server for one client, which shows what that can do where no server slows
 * it down.
 *
 * A message's data begins, within a quote or not, with a number (see pour.c): how many different ones there
 * were shows what is lost, and what came twice. "latency" takes the numbers for CLOCK_MONOTONIC in µs
 * instead, and "latencies" answers with how long each of the messages since then was under way.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (1024 * 1024)
#define NUMBERS_MAX (UINT64_C(1) << 26)
#define LATENCIES_MAX (1 << 20)
#define PING_MSEC 20000
#define BREATH_USEC 2000

typedef struct Subscriber {
        int socket;
        uint8_t *buffer;
        size_t size;
        uint8_t *seen; /* a bit for each number */
        bool latency, serving;

        uint64_t messages, bytes, payload_bytes, distinct, highest, without;
        int64_t first_usec, last_usec, new_usec;
        int64_t *latencies;
        size_t n_latencies;
} Subscriber;

static void fail(const char *what)
{
        fprintf(stderr, "subscriber: %s: %s\n", what, errno ? strerror(errno) : "not what was expected");
        exit(1);
}

static int64_t now_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void send_all(const Subscriber *subscriber, const void *data, size_t size)
{
        if (write(subscriber->socket, data, size) != (ssize_t) size)
                fail("sending");
}

static void reset(Subscriber *subscriber, bool latency)
{
        subscriber->latency = latency;
        subscriber->messages = subscriber->bytes = subscriber->payload_bytes = 0;
        subscriber->distinct = subscriber->highest = subscriber->without = 0;
        subscriber->first_usec = subscriber->last_usec = subscriber->new_usec = 0;
        subscriber->n_latencies = 0;
        memset(subscriber->seen, 0, NUMBERS_MAX / 8);
}

/* --- what arrives ------------------------------------------------------------------------------------- */

/* The number that the data begins with, -1 if there is none. */
static int64_t find_number(const uint8_t *payload, size_t size)
{
        static const char key[] = "\"data\":";
        const uint8_t *end = payload + size;
        const uint8_t *at = memmem(payload, size, key, sizeof(key) - 1);
        int64_t number = 0;

        if (!at)
                return -1;
        at += sizeof(key) - 1;
        if (at < end && *at == '"')
                at++;
        if (at == end || *at < '0' || *at > '9')
                return -1;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
                number = number * 10 + (*at - '0');
        return number;
}

static void take_publish(Subscriber *subscriber, const uint8_t *body, size_t size, int64_t now)
{
        size_t topic = size >= 2 ? (size_t) body[0] << 8 | body[1] : SIZE_MAX;
        int64_t number;

        if (topic + 2 > size)
                fail("a PUBLISH");
        number = find_number(body + 2 + topic, size - 2 - topic);
        if (subscriber->messages++ == 0)
                subscriber->first_usec = now;
        subscriber->last_usec = now;
        subscriber->bytes += size - 2;
        subscriber->payload_bytes += size - 2 - topic;
        if (number >= 0 && subscriber->latency) {
                if (subscriber->n_latencies < LATENCIES_MAX)
                        subscriber->latencies[subscriber->n_latencies++] = now - number;
        } else if (number >= 0 && (uint64_t) number < NUMBERS_MAX) {
                uint8_t bit = (uint8_t) (1 << (number & 7)), *byte = &subscriber->seen[number >> 3];

                if (!(*byte & bit)) {
                        *byte |= bit;
                        subscriber->distinct++;
                        subscriber->new_usec = now;
                }
                if ((uint64_t) number > subscriber->highest)
                        subscriber->highest = (uint64_t) number;
        } else {
                subscriber->without++;
        }
}

/* One packet at data. Its size, 0 if there is not all of it. */
static size_t take_packet(Subscriber *subscriber, const uint8_t *data, size_t size, int64_t now)
{
        size_t length = 0, header = 1;

        for (;; header++) {
                if (header == size || header > 4)
                        return 0;
                length |= (size_t) (data[header] & 0x7f) << (7 * (header - 1));
                if (!(data[header] & 0x80))
                        break;
        }
        header++;
        if (size < header + length)
                return 0;
        switch (data[0] >> 4) {
        case 2: /* CONNACK */
                if (length != 2 || data[header + 1] != 0)
                        fail("logging in");
                break;
        case 9: /* SUBACK */
                puts("ready");
                fflush(stdout);
                break;
        case 3:
                take_publish(subscriber, data + header, length, now);
                break;
        case 1: /* CONNECT */
                send_all(subscriber, (const uint8_t[]){0x20, 2, 0, 0}, 4);
                break;
        case 10: /* UNSUBSCRIBE */
                if (length < 2)
                        fail("an UNSUBSCRIBE");
                send_all(subscriber, (const uint8_t[]){0xb0, 2, data[header], data[header + 1]}, 4);
                break;
        case 12: /* PINGREQ */
                send_all(subscriber, (const uint8_t[]){0xd0, 0}, 2);
                break;
        default:
                break;
        }
        return header + length;
}

static void receive(Subscriber *subscriber)
{
        ssize_t n = read(
                subscriber->socket, subscriber->buffer + subscriber->size, BUFFER_SIZE - subscriber->size);
        int64_t now = now_usec();
        size_t done = 0, taken;

        if (n <= 0 && subscriber->serving)
                exit(0);
        if (n <= 0)
                fail("the server has gone");
        subscriber->size += (size_t) n;
        while (done < subscriber->size) {
                taken = take_packet(subscriber, subscriber->buffer + done, subscriber->size - done, now);
                if (taken == 0)
                        break;
                done += taken;
        }
        memmove(subscriber->buffer, subscriber->buffer + done, subscriber->size - done);
        subscriber->size -= done;
}

/* --- what is asked ------------------------------------------------------------------------------------ */

static void report(const Subscriber *subscriber)
{
        printf("{\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"payload_bytes\": %" PRIu64
               ", \"distinct\": %" PRIu64 ", \"highest\": %" PRIu64 ", \"without\": %" PRIu64
               ", \"first_usec\": %" PRId64 ", \"last_usec\": %" PRId64 ", \"new_usec\": %" PRId64 "}\n",
                subscriber->messages, subscriber->bytes, subscriber->payload_bytes, subscriber->distinct,
                subscriber->highest, subscriber->without, subscriber->first_usec, subscriber->last_usec,
                subscriber->new_usec);
        fflush(stdout);
}

static void report_latencies(const Subscriber *subscriber)
{
        putchar('[');
        for (size_t i = 0; i < subscriber->n_latencies; i++)
                printf("%s%" PRId64, i > 0 ? ", " : "", subscriber->latencies[i]);
        puts("]");
        fflush(stdout);
}

/* False: nobody asks any more. */
static bool answer(Subscriber *subscriber)
{
        char line[64];
        ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1); /* one line at a time: who asks waits */

        if (n <= 0)
                return false;
        line[n] = '\0';
        if (strcmp(line, "latencies\n") == 0) {
                report_latencies(subscriber);
                return true;
        }
        report(subscriber);
        if (strcmp(line, "reset\n") == 0 || strcmp(line, "latency\n") == 0)
                reset(subscriber, line[0] == 'l');
        return true;
}

/* --- coming in ---------------------------------------------------------------------------------------- */

static void dial(Subscriber *subscriber, const char *host, const char *port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port))};
        const int one = 1, room = 4 * 1024 * 1024;

        subscriber->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (subscriber->socket < 0 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
                fail("the server's address");
        (void) setsockopt(subscriber->socket, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        (void) setsockopt(subscriber->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(subscriber->socket, (struct sockaddr *) &address, sizeof(address)) < 0)
                fail("connecting");
}

/* Waits for the one client; meanwhile nothing can be asked. */
static void serve(Subscriber *subscriber, const char *port)
{
        struct sockaddr_in address = {.sin_family = AF_INET,
                .sin_port = htons((uint16_t) atoi(port)),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const int one = 1;
        int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (listening < 0 || setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
                bind(listening, (struct sockaddr *) &address, sizeof(address)) < 0 ||
                listen(listening, 1) < 0)
                fail("listening");
        puts("ready");
        fflush(stdout);
        subscriber->socket = accept(listening, NULL, NULL);
        if (subscriber->socket < 0)
                fail("accepting");
        close(listening);
        (void) setsockopt(subscriber->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        subscriber->serving = true;
}

static void subscribe(const Subscriber *subscriber, const char *topic)
{
        /* Clean session, keepalive 60 s, no client id. */
        static const uint8_t hello[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0};
        uint8_t packet[256];
        size_t length = strlen(topic);

        if (length > 100)
                fail("a topic this long");
        packet[0] = 0x82;
        packet[1] = (uint8_t) (length + 5);
        packet[2] = 0;
        packet[3] = 1;
        packet[4] = 0;
        packet[5] = (uint8_t) length;
        memcpy(packet + 6, topic, length);
        packet[6 + length] = 0;
        send_all(subscriber, hello, sizeof(hello));
        send_all(subscriber, packet, length + 7);
}

int main(int argc, char **argv)
{
        Subscriber subscriber = {0};
        struct pollfd polled[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
        int64_t pinged_usec = now_usec();

        if (argc != 4 && argc != 2) {
                fputs("usage: subscriber HOST PORT TOPIC, or subscriber PORT\n", stderr);
                return 2;
        }
        subscriber.buffer = malloc(BUFFER_SIZE);
        subscriber.seen = calloc(1, NUMBERS_MAX / 8);
        subscriber.latencies = calloc(LATENCIES_MAX, sizeof(*subscriber.latencies));
        if (!subscriber.buffer || !subscriber.seen || !subscriber.latencies)
                fail("memory");
        if (argc == 2) {
                serve(&subscriber, argv[1]);
        } else {
                dial(&subscriber, argv[1], argv[2]);
                subscribe(&subscriber, argv[3]);
        }
        polled[1].fd = subscriber.socket;
        for (;;) {
                if (poll(polled, 2, PING_MSEC) < 0 && errno != EINTR)
                        fail("waiting");
                if (!subscriber.serving && now_usec() - pinged_usec > PING_MSEC * 1000) {
                        send_all(&subscriber, (const uint8_t[]){0xc0, 0}, 2);
                        pinged_usec = now_usec();
                }
                if (polled[1].revents) {
                        receive(&subscriber);
                        /* To be woken for each message costs the server more than to deliver it. */
                        if (!subscriber.latency && !subscriber.serving)
                                usleep(BREATH_USEC);
                }
                if (polled[0].revents && !answer(&subscriber))
                        return 0;
        }
}
