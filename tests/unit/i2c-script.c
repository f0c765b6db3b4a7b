/* SPDX-License-Identifier: Apache-2.0 */

/* The played bus: takes the requests of i2c-dev, as the kernel does. */

#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdio.h>
#include <string.h>

#include "i2c-script.h"

static ScriptChip *find(I2cScript *script, unsigned address)
{
        for (size_t i = 0; i < script->n_chips; i++)
                if (script->chips[i].address == address)
                        return script->chips + i;
        return NULL;
}

/* Of each transfer: does it come about? */
static int begin(I2cScript *script, unsigned address, ScriptChip **ret_chip)
{
        ScriptChip *chip = find(script, address);

        script->transfers++;
        script->now_usec += script->cost_usec;
        if (script->fault_after > 0) {
                script->fault_after--;
        } else if (script->fault_count > 0) {
                script->fault_count--;
                return -script->fault_error;
        }
        if (!chip)
                return script->functions & I2C_SCRIPT_COMBINED ? -ENXIO : -ENODEV;
        if (chip->ignore > 0) {
                chip->ignore--;
                return -EREMOTEIO;
        }
        *ret_chip = chip;
        return 0;
}

static void put(I2cScript *script, ScriptChip *chip, uint8_t reg, uint8_t value)
{
        chip->registers[reg] = value;
        if (chip->on_write)
                chip->on_write(script, chip, reg, value);
}

static uint8_t get(I2cScript *script, ScriptChip *chip, uint8_t reg)
{
        if (chip->on_read)
                chip->on_read(script, chip, reg);
        return chip->registers[reg];
}

static bool comes_short(I2cScript *script)
{
        if (script->short_count == 0)
                return false;
        script->short_count--;
        return true;
}

/* --- I2C_RDWR ----------------------------------------------------------------------------------------- */

static int on_combined(I2cScript *script, const struct i2c_rdwr_ioctl_data *all)
{
        ScriptChip *chip;
        int r;

        if (!(script->functions & I2C_SCRIPT_COMBINED))
                return -EOPNOTSUPP;
        if (all->nmsgs == 0 || all->nmsgs > I2C_RDWR_IOCTL_MAX_MSGS)
                return -EINVAL;
        script->combined++;
        r = begin(script, all->msgs[0].addr, &chip);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < all->nmsgs; i++) {
                const struct i2c_msg *message = all->msgs + i;

                if (message->len == 0 || message->len > 8192 || !message->buf ||
                        message->addr != chip->address)
                        return -EINVAL;
                if (!(message->flags & I2C_M_RD)) {
                        chip->pointer = message->buf[0];
                        for (uint16_t j = 1; j < message->len; j++)
                                put(script, chip, chip->pointer++, message->buf[j]);
                        continue;
                }
                if (comes_short(script))
                        return (int) i;
                for (uint16_t j = 0; j < message->len; j++)
                        message->buf[j] = get(script, chip, chip->pointer++);
        }
        return (int) all->nmsgs;
}

/* --- I2C_SMBUS ---------------------------------------------------------------------------------------- */

static unsigned long function_of(const struct i2c_smbus_ioctl_data *all)
{
        bool read = all->read_write == I2C_SMBUS_READ;

        switch (all->size) {
        case I2C_SMBUS_BYTE:
                return read ? I2C_FUNC_SMBUS_READ_BYTE : I2C_FUNC_SMBUS_WRITE_BYTE;
        case I2C_SMBUS_BYTE_DATA:
                return read ? I2C_FUNC_SMBUS_READ_BYTE_DATA : I2C_FUNC_SMBUS_WRITE_BYTE_DATA;
        case I2C_SMBUS_WORD_DATA:
                return read ? I2C_FUNC_SMBUS_READ_WORD_DATA : I2C_FUNC_SMBUS_WRITE_WORD_DATA;
        case I2C_SMBUS_I2C_BLOCK_DATA:
                return read ? I2C_FUNC_SMBUS_READ_I2C_BLOCK : I2C_FUNC_SMBUS_WRITE_I2C_BLOCK;
        default:
                return 0;
        }
}

static void smbus_read(I2cScript *script, ScriptChip *chip, const struct i2c_smbus_ioctl_data *all)
{
        union i2c_smbus_data *data = all->data;
        uint8_t at = all->command;

        switch (all->size) {
        case I2C_SMBUS_BYTE:
                data->byte = get(script, chip, chip->pointer++);
                return;
        case I2C_SMBUS_BYTE_DATA:
                data->byte = get(script, chip, at);
                return;
        case I2C_SMBUS_WORD_DATA: {
                uint8_t low = get(script, chip, at);

                data->word = (uint16_t) (low | get(script, chip, (uint8_t) (at + 1)) << 8);
                return;
        }
        default:
                if (comes_short(script))
                        data->block[0]--;
                for (int i = 0; i < data->block[0]; i++)
                        data->block[1 + i] = get(script, chip, at++);
        }
}

static void smbus_write(I2cScript *script, ScriptChip *chip, const struct i2c_smbus_ioctl_data *all)
{
        const union i2c_smbus_data *data = all->data;
        uint8_t at = all->command;

        switch (all->size) {
        case I2C_SMBUS_BYTE:
                chip->pointer = at;
                return;
        case I2C_SMBUS_BYTE_DATA:
                put(script, chip, at, data->byte);
                return;
        case I2C_SMBUS_WORD_DATA:
                put(script, chip, at, (uint8_t) data->word);
                put(script, chip, (uint8_t) (at + 1), (uint8_t) (data->word >> 8));
                return;
        default:
                for (int i = 0; i < data->block[0]; i++)
                        put(script, chip, at++, data->block[1 + i]);
        }
}

static void count(I2cScript *script, const struct i2c_smbus_ioctl_data *all)
{
        script->plain += all->size == I2C_SMBUS_BYTE;
        script->bytes += all->size == I2C_SMBUS_BYTE_DATA;
        script->words += all->size == I2C_SMBUS_WORD_DATA;
        script->blocks += all->size == I2C_SMBUS_I2C_BLOCK_DATA;
        if (all->size == I2C_SMBUS_I2C_BLOCK_DATA && all->data->block[0] > script->longest_block)
                script->longest_block = all->data->block[0];
}

static int on_smbus(I2cScript *script, const struct i2c_smbus_ioctl_data *all)
{
        unsigned long function = function_of(all);
        bool dataless = all->size == I2C_SMBUS_BYTE && all->read_write == I2C_SMBUS_WRITE;
        ScriptChip *chip;
        int r;

        if (function == 0 || (!all->data && !dataless))
                return -EINVAL;
        if (all->size == I2C_SMBUS_I2C_BLOCK_DATA &&
                (all->data->block[0] == 0 || all->data->block[0] > I2C_SMBUS_BLOCK_MAX))
                return -EINVAL;
        if (!(script->functions & function))
                return -EOPNOTSUPP;
        count(script, all);
        r = begin(script, script->address, &chip);
        if (r < 0)
                return r;
        if (all->read_write == I2C_SMBUS_READ)
                smbus_read(script, chip, all);
        else
                smbus_write(script, chip, all);
        return 0;
}

/* --- the transport ------------------------------------------------------------------------------------ */

static int on_open(void *context, const char *path)
{
        I2cScript *script = context;
        char expected[256];

        snprintf(expected, sizeof(expected), "%s/dev/i2c-%d", script->transport.root, I2C_SCRIPT_BUS);
        if (strcmp(path, expected) != 0)
                return -ENOENT;
        if (script->open_error)
                return -script->open_error;
        script->opens++;
        return I2C_SCRIPT_FD;
}

static void on_close(void *context, int fd)
{
        I2cScript *script = context;

        script->closes += fd == I2C_SCRIPT_FD;
}

static int on_ioctl(void *context, int fd, unsigned long request, void *argument)
{
        I2cScript *script = context;

        if (fd != I2C_SCRIPT_FD)
                return -EBADF;
        switch (request) {
        case I2C_FUNCS:
                *(unsigned long *) argument = script->functions;
                return -script->functions_error;
        case I2C_SLAVE:
                script->address = (unsigned) (uintptr_t) argument;
                return -script->claim_error;
        case I2C_TIMEOUT:
                script->timeout = (unsigned long) (uintptr_t) argument;
                return 0;
        case I2C_RDWR:
                return on_combined(script, argument);
        case I2C_SMBUS:
                return on_smbus(script, argument);
        default:
                return -ENOTTY;
        }
}

static uint64_t on_now(void *context)
{
        return ((const I2cScript *) context)->now_usec;
}

static void on_sleep(void *context, uint64_t usec)
{
        I2cScript *script = context;

        script->now_usec += usec;
        script->slept_usec += usec;
}

void script_init(I2cScript *script, unsigned long functions)
{
        *script = (I2cScript){
                .functions = functions,
                .now_usec = 1000000,
                .transport =
                        {
                                .size = sizeof(struct plugd_i2c_transport),
                                .context = script,
                                .root = "/nowhere",
                                .open = on_open,
                                .close = on_close,
                                .ioctl = on_ioctl,
                                .now_usec = on_now,
                                .sleep_usec = on_sleep,
                        },
        };
}

ScriptChip *script_add(I2cScript *script, uint8_t address)
{
        ScriptChip *chip = script->chips + script->n_chips++;

        *chip = (ScriptChip){.address = address};
        return chip;
}
