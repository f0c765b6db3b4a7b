/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * plugd/i2c.h: one chip on an I2C bus of Linux (i2c-dev), for plugins. Link with libplugd-i2c (pkg-config
 * plugd-i2c). The plugin's descriptor has to name the device, as "/dev/i2c-{bus}".
 *
 *         r = plugd_i2c_new(bus, 0x76, 500000, NULL, &i2c);
 *         if (r >= 0)
 *                 r = plugd_i2c_open(i2c);
 *         if (r >= 0)
 *                 r = plugd_i2c_read_byte(i2c, 0xd0, &id);
 *         if (r < 0 && i2c)
 *                 host->log(host, PLUGD_ERROR, "%s", plugd_i2c_error(i2c));
 *         …
 *         plugd_i2c_free(i2c);
 *
 * A handle is one address on one bus; it is used by one thread at a time. There may be many, also of the
 * same address: the kernel lets one transfer at a time onto a bus, and never mixes two.
 *
 * Retries. What may pass by itself is tried again, after 1 ms and then at growing intervals up to 50 ms,
 * until the deadline: lost arbitration, a busy bus, a timeout, an error of the controller. A chip that does
 * not acknowledge is tried three times in all. So a transfer may be carried out more than once, in part or
 * as a whole: think of it where writing twice, or reading twice, is not the same as once.
 *
 * Deadlines. timeout_usec is for each call below, with its retries: none begins after it. How long the
 * kernel takes for one attempt is up to the bus's driver. plugd_i2c_open() asks it for about a third of
 * timeout_usec (100 ms at least; I2C_TIMEOUT, a setting of the bus that its other users share), and most
 * drivers heed it. A call can thus take longer than its deadline, by an attempt. How often the kernel tries
 * again by itself (I2C_RETRIES) is left as it is.
 *
 * Errors. Functions return 0 for success and else one of these; plugd_i2c_error() has it as a sentence.
 *
 *   -ENXIO       nobody answers at this address
 *   -ETIMEDOUT   the bus is stuck or busy all the time: SDA or SCL held low, a chip that stretches the clock
 *                beyond what the controller bears
 *   -EPROTO      fewer bytes came than were asked for
 *   -EIO         the transfer failed in another way
 *   -EOPNOTSUPP  the bus can't do this: it is SMBus only, or less
 *   -EBUSY       a driver of the kernel has the address, perhaps only since it was opened
 *   -ENODEV      the bus has gone since it was opened
 *   -EBADF       it isn't open
 *   -EINVAL      a bus, an address or a size that there can't be
 *   -ENOMEM
 * and of plugd_i2c_open() also
 *   -ENOENT      there is no such bus
 *   -EACCES      no permission (-EPERM too)
 *   another one  as open(2) has it
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PLUGD_I2C_PUBLIC __attribute__((visibility("default")))
#else
#define PLUGD_I2C_PUBLIC
#endif

#define PLUGD_I2C_SIZE_MAX 8192 /* bytes one way in one call: i2c-dev's own limit */

struct plugd_i2c;

/* What a handle does its work with: the seam for tests, which play a bus. All members but root and context
 * have to be there. */
struct plugd_i2c_transport {
        uint32_t size;    /* sizeof(struct plugd_i2c_transport) */
        void *context;    /* handed to each function */
        const char *root; /* in front of /dev, /sys and /etc/group: "" for the real ones */

        /* As open(2) with O_RDWR | O_CLOEXEC, close(2) and ioctl(2), but with -errno for failures. Where the
         * request takes a number, argument is that number. */
        int (*open)(void *context, const char *path);
        void (*close)(void *context, int fd);
        int (*ioctl)(void *context, int fd, unsigned long request, void *argument);

        uint64_t (*now_usec)(void *context); /* a clock that is never set */
        void (*sleep_usec)(void *context, uint64_t usec);
};

/* Makes a handle, which is not open yet. bus: the N of /dev/i2c-N. address: seven bits, 0x08 to 0x77.
 * timeout_usec: see above; at least 1000. transport: NULL for the real bus, else copied, and what it points
 * to has to stay. The caller frees *ret_i2c, which is NULL on failure (-EINVAL, -ENOMEM). */
PLUGD_I2C_PUBLIC int plugd_i2c_new(unsigned bus, unsigned address, uint64_t timeout_usec,
        const struct plugd_i2c_transport *transport, struct plugd_i2c **ret_i2c);

/* Closes and frees; NULL is taken. */
PLUGD_I2C_PUBLIC void plugd_i2c_free(struct plugd_i2c *i2c);

/* Opens the bus, asks what it can do, and claims the address. Nothing is sent: whether somebody answers
 * shows at the first transfer. One that is open is closed first. After a failure it is closed. */
PLUGD_I2C_PUBLIC int plugd_i2c_open(struct plugd_i2c *i2c);

/* The last failure as a sentence for a person, "" if there was none. Belongs to the handle; stays until the
 * next call with it. Never NULL. */
PLUGD_I2C_PUBLIC const char *plugd_i2c_error(const struct plugd_i2c *i2c);

/* Reads n bytes (1 to PLUGD_I2C_SIZE_MAX) from the register on, for chips that count up by themselves. One
 * combined transfer where the bus has these; else SMBus I2C block reads of up to 32 bytes, else single
 * bytes, where reg + n may not exceed 256 and the parts may be of different moments. After a failure what is
 * in ret_data is undefined. */
PLUGD_I2C_PUBLIC int plugd_i2c_read(struct plugd_i2c *i2c, uint8_t reg, void *ret_data, size_t n);

/* Writes n bytes (1 to PLUGD_I2C_SIZE_MAX - 1) from the register on, likewise. */
PLUGD_I2C_PUBLIC int plugd_i2c_write(struct plugd_i2c *i2c, uint8_t reg, const void *data, size_t n);

/* One register of 8 or of 16 bits. A word's low byte comes first, as in SMBus: swap it for chips that send
 * the high one first. On a bus that is SMBus only, words are sent as words. */
PLUGD_I2C_PUBLIC int plugd_i2c_read_byte(struct plugd_i2c *i2c, uint8_t reg, uint8_t *ret_value);
PLUGD_I2C_PUBLIC int plugd_i2c_write_byte(struct plugd_i2c *i2c, uint8_t reg, uint8_t value);
PLUGD_I2C_PUBLIC int plugd_i2c_read_word(struct plugd_i2c *i2c, uint8_t reg, uint16_t *ret_value);
PLUGD_I2C_PUBLIC int plugd_i2c_write_word(struct plugd_i2c *i2c, uint8_t reg, uint16_t value);

/* For chips without registers: writes n_write bytes, and then, with a repeated start, reads n_read; either
 * may be 0, not both. On a bus that is SMBus only: what can be said as sending or receiving a byte, or as
 * reading or writing up to 32 bytes of a register; the rest is -EOPNOTSUPP. */
PLUGD_I2C_PUBLIC int plugd_i2c_transfer(
        struct plugd_i2c *i2c, const void *data, size_t n_write, void *ret_data, size_t n_read);

/* Sleeps, by the transport's clock: for what a chip takes to measure. */
PLUGD_I2C_PUBLIC void plugd_i2c_sleep(struct plugd_i2c *i2c, uint64_t usec);

#ifdef __cplusplus
}
#endif
