/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What goes over the bus. There is one kind of transfer: some bytes are written, and then some are read. A
 * bus with I2C_FUNC_I2C does it in one go (I2C_RDWR); one that is SMBus only does those that SMBus has a
 * name for.
 */

#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdbool.h>
#include <string.h>

#include "i2c-internal.h"

#define REGISTERS 256
#define NO_ANSWER_RETRIES 2 /* a chip that starts up or is busy writing doesn't answer for a moment */
#define WAIT_FIRST_USEC 1000
#define WAIT_MAX_USEC 50000

typedef struct Transfer {
        const uint8_t *out;
        size_t n_out;
        uint8_t *in;
        size_t n_in;
        size_t got; /* how many bytes came, where that is told */
} Transfer;

typedef int (*Attempt)(struct plugd_i2c *i2c, Transfer *transfer);

static uint64_t now_usec(const struct plugd_i2c *i2c)
{
        return i2c->transport.now_usec(i2c->transport.context);
}

static bool can(const struct plugd_i2c *i2c, unsigned long functions)
{
        return (i2c->functions & functions) == functions;
}

/* --- one attempt: 0, or what the kernel said; -EPROTO: fewer bytes came ------------------------------- */

static int attempt_combined(struct plugd_i2c *i2c, Transfer *transfer)
{
        struct i2c_msg messages[2];
        struct i2c_rdwr_ioctl_data all = {.msgs = messages};
        int r;

        if (transfer->n_out > 0)
                messages[all.nmsgs++] = (struct i2c_msg){
                        .addr = (uint16_t) i2c->address,
                        .len = (uint16_t) transfer->n_out,
                        .buf = (uint8_t *) transfer->out,
                };
        if (transfer->n_in > 0)
                messages[all.nmsgs++] = (struct i2c_msg){
                        .addr = (uint16_t) i2c->address,
                        .flags = I2C_M_RD,
                        .len = (uint16_t) transfer->n_in,
                        .buf = transfer->in,
                };
        r = i2c->transport.ioctl(i2c->transport.context, i2c->fd, I2C_RDWR, &all);
        if (r < 0)
                return r;
        transfer->got = 0;
        return (unsigned) r < all.nmsgs ? -EPROTO : 0;
}

static int smbus(
        struct plugd_i2c *i2c, uint8_t direction, uint8_t command, uint32_t size, union i2c_smbus_data *data)
{
        struct i2c_smbus_ioctl_data all = {
                .read_write = direction, .command = command, .size = size, .data = data};
        int r = i2c->transport.ioctl(i2c->transport.context, i2c->fd, I2C_SMBUS, &all);

        return r < 0 ? r : 0;
}

static int attempt_receive(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.byte = 0};
        int r = smbus(i2c, I2C_SMBUS_READ, 0, I2C_SMBUS_BYTE, &data);

        transfer->in[0] = data.byte;
        return r;
}

static int attempt_send(struct plugd_i2c *i2c, Transfer *transfer)
{
        return smbus(i2c, I2C_SMBUS_WRITE, transfer->out[0], I2C_SMBUS_BYTE, NULL);
}

static int attempt_read_byte(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.byte = 0};
        int r = smbus(i2c, I2C_SMBUS_READ, transfer->out[0], I2C_SMBUS_BYTE_DATA, &data);

        transfer->in[0] = data.byte;
        return r;
}

static int attempt_write_byte(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.byte = transfer->out[1]};

        return smbus(i2c, I2C_SMBUS_WRITE, transfer->out[0], I2C_SMBUS_BYTE_DATA, &data);
}

static int attempt_read_word(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.word = 0};
        int r = smbus(i2c, I2C_SMBUS_READ, transfer->out[0], I2C_SMBUS_WORD_DATA, &data);

        transfer->in[0] = (uint8_t) data.word;
        transfer->in[1] = (uint8_t) (data.word >> 8);
        return r;
}

static int attempt_write_word(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.word = (uint16_t) (transfer->out[1] | transfer->out[2] << 8)};

        return smbus(i2c, I2C_SMBUS_WRITE, transfer->out[0], I2C_SMBUS_WORD_DATA, &data);
}

static int attempt_read_block(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.block = {(uint8_t) transfer->n_in}};
        int r = smbus(i2c, I2C_SMBUS_READ, transfer->out[0], I2C_SMBUS_I2C_BLOCK_DATA, &data);

        if (r < 0)
                return r;
        transfer->got = data.block[0];
        if (transfer->got < transfer->n_in)
                return -EPROTO;
        memcpy(transfer->in, data.block + 1, transfer->n_in);
        return 0;
}

static int attempt_write_block(struct plugd_i2c *i2c, Transfer *transfer)
{
        union i2c_smbus_data data = {.block = {(uint8_t) (transfer->n_out - 1)}};

        memcpy(data.block + 1, transfer->out + 1, transfer->n_out - 1);
        return smbus(i2c, I2C_SMBUS_WRITE, transfer->out[0], I2C_SMBUS_I2C_BLOCK_DATA, &data);
}

/* What SMBus has a name for, the best first. Sizes: bytes written and read, the register's included. */
static const struct {
        unsigned long functions;
        size_t out_min, out_max, in_min, in_max;
        Attempt attempt;
} ways[] = {
        {I2C_FUNC_I2C, 0, PLUGD_I2C_SIZE_MAX, 0, PLUGD_I2C_SIZE_MAX, attempt_combined},
        {I2C_FUNC_SMBUS_READ_BYTE, 0, 0, 1, 1, attempt_receive},
        {I2C_FUNC_SMBUS_WRITE_BYTE, 1, 1, 0, 0, attempt_send},
        {I2C_FUNC_SMBUS_READ_BYTE_DATA, 1, 1, 1, 1, attempt_read_byte},
        {I2C_FUNC_SMBUS_WRITE_BYTE_DATA, 2, 2, 0, 0, attempt_write_byte},
        {I2C_FUNC_SMBUS_READ_I2C_BLOCK, 1, 1, 1, I2C_SMBUS_BLOCK_MAX, attempt_read_block},
        {I2C_FUNC_SMBUS_WRITE_I2C_BLOCK, 2, I2C_SMBUS_BLOCK_MAX + 1, 0, 0, attempt_write_block},
        {I2C_FUNC_SMBUS_READ_WORD_DATA, 1, 1, 2, 2, attempt_read_word},
        {I2C_FUNC_SMBUS_WRITE_WORD_DATA, 3, 3, 0, 0, attempt_write_word},
};

static Attempt find_way(const struct plugd_i2c *i2c, const Transfer *transfer)
{
        for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
                if (can(i2c, ways[i].functions) && transfer->n_out >= ways[i].out_min &&
                        transfer->n_out <= ways[i].out_max && transfer->n_in >= ways[i].in_min &&
                        transfer->n_in <= ways[i].in_max)
                        return ways[i].attempt;
        return NULL;
}

/* --- retries ------------------------------------------------------------------------------------------ */

static bool may_pass(int error, unsigned *no_answers)
{
        switch (i2c_family_of(error)) {
        case I2C_NO_ANSWER:
                return (*no_answers)++ < NO_ANSWER_RETRIES && error != ENODEV;
        case I2C_STUCK:
        case I2C_FAULT:
                return true;
        case I2C_UNABLE:
                return false;
        }
        return false;
}

static int persist(struct plugd_i2c *i2c, Attempt attempt, Transfer *transfer, uint64_t until_usec)
{
        uint64_t wait_usec = WAIT_FIRST_USEC;
        unsigned no_answers = 0;
        int r;

        for (;;) {
                r = attempt(i2c, transfer);
                if (r >= 0)
                        return 0;
                if (!may_pass(-r, &no_answers) || now_usec(i2c) + wait_usec >= until_usec)
                        break;
                plugd_i2c_sleep(i2c, wait_usec);
                wait_usec = 2 * wait_usec < WAIT_MAX_USEC ? 2 * wait_usec : WAIT_MAX_USEC;
        }
        if (r != -EPROTO)
                return i2c_fail_transfer(i2c, -r);
        return i2c_fail_short(i2c, transfer->got, transfer->n_in > 0 ? transfer->n_in : transfer->n_out);
}

/* May this transfer begin? The kernel looks at who has the address when it is claimed, and then never again:
 * a driver of its own may have come since. Two that use one chip spoil it for each other. */
static int check(struct plugd_i2c *i2c, size_t n_out, size_t n_in)
{
        i2c->error[0] = '\0';
        if (i2c->fd < 0)
                return i2c_fail(i2c, -EBADF, "bus %u is not open", i2c->bus);
        if (n_out + n_in == 0 || n_out > PLUGD_I2C_SIZE_MAX || n_in > PLUGD_I2C_SIZE_MAX)
                return i2c_fail(i2c, -EINVAL,
                        "cannot write %zu bytes and read %zu in one transfer: 1 to %d each way", n_out, n_in,
                        PLUGD_I2C_SIZE_MAX);
        return i2c_claim(i2c) == -EBUSY ? i2c_fail_claim(i2c, EBUSY) : 0;
}

/* Whole, or not at all. */
static int transfer_whole(struct plugd_i2c *i2c, Transfer *transfer)
{
        uint64_t until_usec = now_usec(i2c) + i2c->timeout_usec;
        Attempt attempt;
        int r = check(i2c, transfer->n_out, transfer->n_in);

        if (r < 0)
                return r;
        attempt = find_way(i2c, transfer);
        return attempt ? persist(i2c, attempt, transfer, until_usec)
                       : i2c_fail_unable(i2c, "such a transfer");
}

/* --- registers ---------------------------------------------------------------------------------------- */

/* How many registers one transfer takes; 0: there is no way to do it. */
static size_t part_max(const struct plugd_i2c *i2c, unsigned long block, unsigned long byte)
{
        if (can(i2c, I2C_FUNC_I2C))
                return PLUGD_I2C_SIZE_MAX;
        return can(i2c, block) ? I2C_SMBUS_BLOCK_MAX : can(i2c, byte) ? 1 : 0;
}

static int check_registers(struct plugd_i2c *i2c, uint8_t reg, size_t n, size_t max)
{
        if (max == 0)
                return i2c_fail_unable(i2c, "registers");
        if (n > max && reg + n > REGISTERS)
                return i2c_fail(i2c, -EINVAL, "there are no %zu registers from 0x%02x on", n, reg);
        return 0;
}

int plugd_i2c_read(struct plugd_i2c *i2c, uint8_t reg, void *ret_data, size_t n)
{
        size_t max = part_max(i2c, I2C_FUNC_SMBUS_READ_I2C_BLOCK, I2C_FUNC_SMBUS_READ_BYTE_DATA);
        uint64_t until_usec = now_usec(i2c) + i2c->timeout_usec;
        int r = check(i2c, n > 0, n);

        if (r == 0)
                r = check_registers(i2c, reg, n, max);
        for (size_t done = 0; r == 0 && done < n;) {
                uint8_t at = (uint8_t) (reg + done);
                Transfer part = {.out = &at,
                        .n_out = 1,
                        .in = (uint8_t *) ret_data + done,
                        .n_in = n - done < max ? n - done : max};
                Attempt attempt = find_way(i2c, &part);

                r = attempt ? persist(i2c, attempt, &part, until_usec) : i2c_fail_unable(i2c, "registers");
                done += part.n_in;
        }
        return r;
}

int plugd_i2c_write(struct plugd_i2c *i2c, uint8_t reg, const void *data, size_t n)
{
        size_t max = part_max(i2c, I2C_FUNC_SMBUS_WRITE_I2C_BLOCK, I2C_FUNC_SMBUS_WRITE_BYTE_DATA);
        uint64_t until_usec = now_usec(i2c) + i2c->timeout_usec;
        uint8_t bytes[PLUGD_I2C_SIZE_MAX];
        int r = check(i2c, n > 0 && n < SIZE_MAX ? n + 1 : n, 0);

        if (r == 0)
                r = check_registers(i2c, reg, n, max);
        for (size_t done = 0; r == 0 && done < n;) {
                size_t size = n - done < max ? n - done : max;
                Transfer part = {.out = bytes, .n_out = size + 1};
                Attempt attempt = find_way(i2c, &part);

                bytes[0] = (uint8_t) (reg + done);
                memcpy(bytes + 1, (const uint8_t *) data + done, size);
                r = attempt ? persist(i2c, attempt, &part, until_usec) : i2c_fail_unable(i2c, "registers");
                done += size;
        }
        return r;
}

int plugd_i2c_read_byte(struct plugd_i2c *i2c, uint8_t reg, uint8_t *ret_value)
{
        uint8_t value = 0;
        Transfer transfer = {.out = &reg, .n_out = 1, .in = &value, .n_in = 1};
        int r = transfer_whole(i2c, &transfer);

        if (r == 0)
                *ret_value = value;
        return r;
}

int plugd_i2c_write_byte(struct plugd_i2c *i2c, uint8_t reg, uint8_t value)
{
        const uint8_t bytes[] = {reg, value};
        Transfer transfer = {.out = bytes, .n_out = sizeof(bytes)};

        return transfer_whole(i2c, &transfer);
}

/* A register of 16 bits is not two of 8: where there are words, they are words. */
static int transfer_word(
        struct plugd_i2c *i2c, Transfer *transfer, unsigned long function, Attempt attempt_word)
{
        uint64_t until_usec = now_usec(i2c) + i2c->timeout_usec;
        int r = check(i2c, transfer->n_out, transfer->n_in);

        if (r < 0)
                return r;
        if (can(i2c, I2C_FUNC_I2C))
                return persist(i2c, attempt_combined, transfer, until_usec);
        if (can(i2c, function))
                return persist(i2c, attempt_word, transfer, until_usec);
        return i2c_fail_unable(i2c, "registers of 16 bits");
}

int plugd_i2c_read_word(struct plugd_i2c *i2c, uint8_t reg, uint16_t *ret_value)
{
        uint8_t bytes[2] = {0};
        Transfer transfer = {.out = &reg, .n_out = 1, .in = bytes, .n_in = sizeof(bytes)};
        int r = transfer_word(i2c, &transfer, I2C_FUNC_SMBUS_READ_WORD_DATA, attempt_read_word);

        if (r == 0)
                *ret_value = (uint16_t) (bytes[0] | bytes[1] << 8);
        return r;
}

int plugd_i2c_write_word(struct plugd_i2c *i2c, uint8_t reg, uint16_t value)
{
        const uint8_t bytes[] = {reg, (uint8_t) value, (uint8_t) (value >> 8)};
        Transfer transfer = {.out = bytes, .n_out = sizeof(bytes)};

        return transfer_word(i2c, &transfer, I2C_FUNC_SMBUS_WRITE_WORD_DATA, attempt_write_word);
}

int plugd_i2c_transfer(
        struct plugd_i2c *i2c, const void *data, size_t n_write, void *ret_data, size_t n_read)
{
        Transfer transfer = {.out = data, .n_out = n_write, .in = ret_data, .n_in = n_read};

        return transfer_whole(i2c, &transfer);
}
