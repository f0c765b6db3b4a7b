/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { MQTT_CONNACK = 2, MQTT_TYPES = 16, BYTE_DISCONNECT = 0xE0 };

typedef ssize_t (*WriteFunction)(int, const void *, size_t);
typedef ssize_t (*SendFunction)(int, const void *, size_t, int);
typedef ssize_t (*ReadFunction)(int, void *, size_t);
typedef int (*SslWriteFunction)(void *, const void *, int);
typedef int (*SslReadFunction)(void *, void *, int);
typedef int (*SslFdFunction)(const void *);

static struct {
        int connack;
        int connect_flags;
        int64_t withheld[MQTT_TYPES];
        bool armed;            /* any of the above */
        int byte, byte_before; /* the last two that were read one by one, as the broker reads a header */
        int end_errno;         /* of the last failed read or write */
        bool end_of_file, read_since_tick;
} wire;

static bool is_network(int fd)
{
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);

        return getsockname(fd, (struct sockaddr *) &address, &size) == 0 && address.ss_family != AF_UNIX;
}

/* A whole MQTT packet? The broker hands over one at a time; the rest of one that was cut short isn't a whole
 * one. */
static bool is_packet(const uint8_t *bytes, size_t size)
{
        size_t length = 0, shift = 0, i = 1;

        for (; i < size && i < 5; i++, shift += 7) {
                length |= (size_t) (bytes[i] & 0x7f) << shift;
                if (!(bytes[i] & 0x80))
                        return i + 1 + length == size;
        }
        return false;
}

static void rearm(void)
{
        wire.armed = wire.connack != 0;
        for (int i = 0; i < MQTT_TYPES; i++)
                wire.armed = wire.armed || wire.withheld[i] != 0;
}

/* Returns true if the packet must not go out. May put another in its place, in `replacement`. */
static bool meddle(int fd, const uint8_t *bytes, size_t size, uint8_t replacement[4], const void **ret_bytes)
{
        int type = size > 0 ? bytes[0] >> 4 : 0;

        *ret_bytes = bytes;
        if (!is_packet(bytes, size) || !is_network(fd))
                return false;
        if (wire.withheld[type] != 0) {
                if (wire.withheld[type] > 0)
                        wire.withheld[type]--;
                rearm();
                return true;
        }
        if (wire.connack != 0 && type == MQTT_CONNACK && size == 4 && bytes[3] != 0) {
                for (size_t i = 0; i < 3; i++)
                        replacement[i] = bytes[i];
                replacement[3] = (uint8_t) wire.connack;
                *ret_bytes = replacement;
                wire.connack = 0;
                rearm();
        }
        return false;
}

static void saw(const uint8_t *bytes, ssize_t size, size_t asked)
{
        static const uint8_t connect[] = {0, 4, 'M', 'Q', 'T', 'T', 4};

        wire.read_since_tick = true;
        if (size > (ssize_t) sizeof(connect) && memcmp(bytes, connect, sizeof(connect)) == 0)
                wire.connect_flags = bytes[sizeof(connect)];
        wire.end_of_file = size == 0 && asked > 0;
        if (size < 0 && errno != EAGAIN)
                wire.end_errno = errno;
        if (size == 1 && asked == 1) {
                wire.byte_before = wire.byte;
                wire.byte = bytes[0];
        } else if (size > 0)
                wire.byte = wire.byte_before = -1;
}

static ssize_t wire_write(int fd, const void *bytes, size_t size)
{
        static WriteFunction next;
        uint8_t replacement[4];
        ssize_t n;

        if (!next)
                next = (WriteFunction) dlsym(RTLD_NEXT, "write");
        if (wire.armed && meddle(fd, bytes, size, replacement, &bytes))
                return (ssize_t) size;
        n = next(fd, bytes, size);
        if (n < 0 && errno != EAGAIN)
                wire.end_errno = errno;
        return n;
}

/* What newer versions of the broker use. */
static ssize_t wire_send(int fd, const void *bytes, size_t size, int flags)
{
        static SendFunction next;
        uint8_t replacement[4];
        ssize_t n;

        if (!next)
                next = (SendFunction) dlsym(RTLD_NEXT, "send");
        if (wire.armed && meddle(fd, bytes, size, replacement, &bytes))
                return (ssize_t) size;
        n = next(fd, bytes, size, flags);
        if (n < 0 && errno != EAGAIN)
                wire.end_errno = errno;
        return n;
}

static ssize_t wire_read(int fd, void *bytes, size_t size)
{
        static ReadFunction next;
        ssize_t n;

        if (!next)
                next = (ReadFunction) dlsym(RTLD_NEXT, "read");
        n = next(fd, bytes, size);
        saw(bytes, n, size);
        return n;
}

static int wire_ssl_write(void *ssl, const void *bytes, int size)
{
        static SslWriteFunction next;
        static SslFdFunction get_fd;
        uint8_t replacement[4];

        if (!next) {
                next = (SslWriteFunction) dlsym(RTLD_NEXT, "SSL_write");
                get_fd = (SslFdFunction) dlsym(RTLD_NEXT, "SSL_get_fd");
        }
        if (wire.armed && size > 0 && meddle(get_fd(ssl), bytes, (size_t) size, replacement, &bytes))
                return size;
        return next(ssl, bytes, size);
}

static int wire_ssl_read(void *ssl, void *bytes, int size)
{
        static SslReadFunction next;
        int n;

        if (!next)
                next = (SslReadFunction) dlsym(RTLD_NEXT, "SSL_read");
        n = next(ssl, bytes, size);
        /* Its failures are those of the read below it, which has been seen. */
        if (n > 0)
                saw(bytes, n, (size_t) size);
        return n;
}

/* The names under which the broker finds them. */
#define STANDS_FOR(function, symbol)                                                                        \
        extern __typeof__(function) exported_##function __asm__(symbol)                                     \
                __attribute__((alias(#function), visibility("default"), used))

STANDS_FOR(wire_write, "write");
STANDS_FOR(wire_send, "send");
STANDS_FOR(wire_read, "read");
STANDS_FOR(wire_ssl_write, "SSL_write");
STANDS_FOR(wire_ssl_read, "SSL_read");

int wire_connect_flags(void)
{
        return wire_present() ? wire.connect_flags : -1;
}

bool wire_present(void)
{
        return dlsym(RTLD_DEFAULT, "write") == (void *) wire_write;
}

void wire_set_connack(int code)
{
        wire.connack = code;
        rearm();
}

void wire_withhold(int type, int64_t count)
{
        wire.withheld[type & (MQTT_TYPES - 1)] = count;
        rearm();
}

void wire_clear(void)
{
        wire.connack = 0;
        for (int i = 0; i < MQTT_TYPES; i++)
                wire.withheld[i] = 0;
        rearm();
}

WireEnd wire_last_end(void)
{
        if (!wire_present())
                return WIRE_END_UNKNOWN;
        if (wire.end_errno)
                return WIRE_END_RESET;
        if (wire.end_of_file)
                return WIRE_END_CLOSED;
        if (!wire.read_since_tick)
                return WIRE_END_IDLE;
        return wire.byte_before == BYTE_DISCONNECT && wire.byte == 0 ? WIRE_END_DISCONNECT
                                                                     : WIRE_END_UNKNOWN;
}

void wire_tick(void)
{
        wire.read_since_tick = wire.end_of_file = false;
        wire.end_errno = 0;
        wire.byte = wire.byte_before = -1;
}
