/* SPDX-License-Identifier: Apache-2.0 */

/* libplugd-i2c: one chip on an I2C bus, through i2c-dev. This file makes handles and opens them. Knows libc
 * and the kernel's headers alone, and keeps all it knows in the handle. */

#include <errno.h>
#include <fcntl.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "i2c-internal.h"

#define TIMEOUT_UNIT_USEC 10000           /* of I2C_TIMEOUT */
#define ATTEMPT_MIN_USEC UINT64_C(100000) /* 32 bytes with a chip that stretches each of them */
#define ATTEMPTS 3                        /* that fit into a deadline */
#define BUS_MAX 1048575                   /* the kernel's minor numbers */

/* --- the real bus ------------------------------------------------------------------------------------- */

static int real_open(void *context, const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

        (void) context;
        return fd < 0 ? -errno : fd;
}

static void real_close(void *context, int fd)
{
        (void) context;
        close(fd);
}

static int real_ioctl(void *context, int fd, unsigned long request, void *argument)
{
        int r = ioctl(fd, request, argument);

        (void) context;
        return r < 0 ? -errno : r;
}

static uint64_t real_now_usec(void *context)
{
        struct timespec now;

        (void) context;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static void real_sleep_usec(void *context, uint64_t usec)
{
        struct timespec rest = {
                .tv_sec = (time_t) (usec / 1000000), .tv_nsec = (long) (usec % 1000000) * 1000};

        (void) context;
        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR)
                ;
}

static const struct plugd_i2c_transport real = {
        .size = sizeof(struct plugd_i2c_transport),
        .root = "",
        .open = real_open,
        .close = real_close,
        .ioctl = real_ioctl,
        .now_usec = real_now_usec,
        .sleep_usec = real_sleep_usec,
};

/* --- handles ------------------------------------------------------------------------------------------ */

int plugd_i2c_new(unsigned bus, unsigned address, uint64_t timeout_usec,
        const struct plugd_i2c_transport *transport, struct plugd_i2c **ret_i2c)
{
        struct plugd_i2c *i2c;
        int n;

        *ret_i2c = NULL;
        if (bus > BUS_MAX || address < 0x08 || address > 0x77 || timeout_usec < 1000)
                return -EINVAL;
        if (transport && transport->size < sizeof(*transport))
                return -EINVAL;
        i2c = calloc(1, sizeof(*i2c));
        if (!i2c)
                return -ENOMEM;
        i2c->bus = bus;
        i2c->address = address;
        i2c->timeout_usec = timeout_usec;
        i2c->transport = transport ? *transport : real;
        i2c->fd = -1;
        if (!i2c->transport.root)
                i2c->transport.root = "";
        n = snprintf(i2c->path, sizeof(i2c->path), "%s/dev/i2c-%u", i2c->transport.root, bus);
        if (n < 0 || (size_t) n >= sizeof(i2c->path)) {
                free(i2c);
                return -EINVAL;
        }
        *ret_i2c = i2c;
        return 0;
}

static void close_bus(struct plugd_i2c *i2c)
{
        if (i2c->fd >= 0)
                i2c->transport.close(i2c->transport.context, i2c->fd);
        i2c->fd = -1;
}

void plugd_i2c_free(struct plugd_i2c *i2c)
{
        if (!i2c)
                return;
        close_bus(i2c);
        free(i2c);
}

/* A request that takes a number. */
static int set(struct plugd_i2c *i2c, unsigned long request, unsigned long number)
{
        return i2c->transport.ioctl(i2c->transport.context, i2c->fd, request, (void *) (uintptr_t) number);
}

/* Its attempts are to end well before the deadline, so that there is time for another one. A bus that can't
 * be told keeps its own time. */
static void limit_attempts(struct plugd_i2c *i2c)
{
        uint64_t usec = i2c->timeout_usec / ATTEMPTS;

        if (usec < ATTEMPT_MIN_USEC)
                usec = ATTEMPT_MIN_USEC;
        if (usec > UINT64_C(60000000))
                usec = UINT64_C(60000000);
        (void) set(i2c, I2C_TIMEOUT, (unsigned long) ((usec + TIMEOUT_UNIT_USEC - 1) / TIMEOUT_UNIT_USEC));
}

/* Fails where a driver of the kernel has the address: reading behind its back would disturb it. */
int i2c_claim(struct plugd_i2c *i2c)
{
        return set(i2c, I2C_SLAVE, i2c->address);
}

int plugd_i2c_open(struct plugd_i2c *i2c)
{
        int r;

        i2c->error[0] = '\0';
        close_bus(i2c);
        r = i2c->transport.open(i2c->transport.context, i2c->path);
        if (r < 0)
                return i2c_fail_open(i2c, -r);
        i2c->fd = r;

        r = i2c->transport.ioctl(i2c->transport.context, i2c->fd, I2C_FUNCS, &i2c->functions);
        if (r < 0)
                r = i2c_fail_open(i2c, -r);
        else if ((r = i2c_claim(i2c)) < 0)
                r = i2c_fail_claim(i2c, -r);
        if (r < 0) {
                close_bus(i2c);
                return r;
        }
        limit_attempts(i2c);
        return 0;
}

const char *plugd_i2c_error(const struct plugd_i2c *i2c)
{
        return i2c->error;
}

void plugd_i2c_sleep(struct plugd_i2c *i2c, uint64_t usec)
{
        i2c->transport.sleep_usec(i2c->transport.context, usec);
}
