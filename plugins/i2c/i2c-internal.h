/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the I2C library: i2c.c opens and closes, i2c-transfer.c is what goes over the bus,
 * i2c-error.c says what went wrong. */

#include "i2c.h"

struct plugd_i2c {
        unsigned bus, address;
        uint64_t timeout_usec;
        struct plugd_i2c_transport transport;
        int fd;                  /* -1: not open */
        unsigned long functions; /* I2C_FUNC_…: what the bus can do */
        char path[256];          /* of the device */
        char error[512];         /* the last sentence */
};

/* 0, or what the kernel said, as -errno. */
int i2c_claim(struct plugd_i2c *i2c);

/* Each makes the sentence and returns what the caller is to return. error is what the kernel said. */
int i2c_fail_open(struct plugd_i2c *i2c, int error);
int i2c_fail_claim(struct plugd_i2c *i2c, int error);
int i2c_fail_transfer(struct plugd_i2c *i2c, int error);
int i2c_fail_short(struct plugd_i2c *i2c, size_t got, size_t wanted);
int i2c_fail_unable(struct plugd_i2c *i2c, const char *what);
int i2c_fail(struct plugd_i2c *i2c, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* errno values of a transfer, in the families that the header tells apart. */
enum i2c_family {
        I2C_NO_ANSWER,
        I2C_STUCK,
        I2C_UNABLE,
        I2C_FAULT,
};
enum i2c_family i2c_family_of(int error);
