/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A played I2C bus for tests: a transport of plugins/i2c/i2c.h with chips of 256 registers, faults on
 * demand, and a clock of its own, so that nobody waits. It checks how it is asked: what i2c-dev would refuse
 * is refused.
 */

#include <stdbool.h>

#include "i2c.h"

#define I2C_SCRIPT_CHIPS_MAX 4
#define I2C_SCRIPT_BUS 1
#define I2C_SCRIPT_FD 77

#define I2C_SCRIPT_COMBINED 0x00000001UL /* I2C_FUNC_I2C */
#define I2C_SCRIPT_STUB 0x0c7f0000UL     /* what i2c-stub can do */
#define I2C_SCRIPT_BYTES 0x00180000UL    /* registers, one byte at a time */
#define I2C_SCRIPT_WORDS 0x00600000UL    /* registers of 16 bits */

typedef struct I2cScript I2cScript;

typedef struct ScriptChip {
        uint8_t address;
        uint8_t registers[256];
        uint8_t pointer;
        unsigned ignore; /* it does not acknowledge the next so many transfers */
        /* What else happens when a register is written, and before it is read; NULL: nothing. */
        void (*on_write)(I2cScript *script, struct ScriptChip *chip, uint8_t reg, uint8_t value);
        void (*on_read)(I2cScript *script, struct ScriptChip *chip, uint8_t reg);
        void *context;
} ScriptChip;

struct I2cScript {
        struct plugd_i2c_transport transport;
        unsigned long functions;
        ScriptChip chips[I2C_SCRIPT_CHIPS_MAX];
        size_t n_chips;

        int open_error, functions_error, claim_error; /* errno values; 0: it works */
        /* After so many good transfers the next so many fail like this. */
        unsigned fault_after, fault_count;
        int fault_error;
        uint64_t cost_usec;   /* of each transfer, good or bad */
        unsigned short_count; /* so many reads bring a byte less */

        uint64_t now_usec, slept_usec;
        unsigned opens, closes, transfers, combined, blocks, bytes, words, plain, longest_block;
        unsigned long timeout; /* as set with I2C_TIMEOUT: units of 10 ms */
        unsigned address;      /* as claimed with I2C_SLAVE */
};

void script_init(I2cScript *script, unsigned long functions);
ScriptChip *script_add(I2cScript *script, uint8_t address);
