/* SPDX-License-Identifier: Apache-2.0 */

/* libplugd-i2c on a played bus: what it asks of the kernel, its retries and deadlines, and its sentences. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "i2c-script.h"

#define TIMEOUT_USEC 500000
#define NOBODY 65534
#define STRANGE_GROUP 4242

static I2cScript script;
static ScriptChip *chip;

static void add_file(const char *path, const char *text)
{
        char whole[256];

        snprintf(whole, sizeof(whole), "%s/%s", folder, path);
        for (char *slash = whole + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                (void) mkdir(whole, 0755);
                *slash = '/';
        }
        write_text(whole, text, strlen(text), 0644);
}

/* A bus with a chip at 0x76, and a handle on it. */
static struct plugd_i2c *begin(unsigned long functions)
{
        struct plugd_i2c *i2c;

        script_init(&script, functions);
        script.transport.root = folder;
        chip = script_add(&script, 0x76);
        for (int i = 0; i < 256; i++)
                chip->registers[i] = (uint8_t) (i ^ 0x5a);
        add_file("dev/i2c-1", "");
        assert_int_equal(plugd_i2c_new(I2C_SCRIPT_BUS, 0x76, TIMEOUT_USEC, &script.transport, &i2c), 0);
        assert_string_equal(plugd_i2c_error(i2c), "");
        return i2c;
}

static struct plugd_i2c *begin_open(unsigned long functions)
{
        struct plugd_i2c *i2c = begin(functions);

        assert_int_equal(plugd_i2c_open(i2c), 0);
        return i2c;
}

static void end(struct plugd_i2c *i2c)
{
        plugd_i2c_free(i2c);
        assert_int_equal(script.opens, script.closes);
}

static void check_registers(struct plugd_i2c *i2c, uint8_t reg, size_t n)
{
        uint8_t data[256];

        assert_int_equal(plugd_i2c_read(i2c, reg, data, n), 0);
        assert_memory_equal(data, chip->registers + reg, n);
}

/* --- what it asks ---------------------------------------------------------------------------------------
 */

static void test_combined(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED | I2C_SCRIPT_STUB);
        const uint8_t bytes[] = {1, 2, 3};
        uint8_t byte, data[3];
        uint16_t word;

        assert_int_equal(script.address, 0x76);
        assert_int_equal(script.timeout, 17); /* a third of 500 ms, in units of 10 ms */
        check_registers(i2c, 0x80, 100);
        assert_int_equal(script.combined, 1);
        assert_int_equal(plugd_i2c_write(i2c, 0x10, bytes, sizeof(bytes)), 0);
        assert_memory_equal(chip->registers + 0x10, bytes, sizeof(bytes));
        assert_int_equal(plugd_i2c_read_byte(i2c, 0x11, &byte), 0);
        assert_int_equal(byte, 2);
        assert_int_equal(plugd_i2c_read_word(i2c, 0x11, &word), 0);
        assert_int_equal(word, 0x0302);
        assert_int_equal(plugd_i2c_write_word(i2c, 0x20, 0xbeef), 0);
        assert_int_equal(chip->registers[0x20], 0xef);
        assert_int_equal(chip->registers[0x21], 0xbe);
        assert_int_equal(plugd_i2c_write_byte(i2c, 0x22, 7), 0);
        assert_int_equal(chip->registers[0x22], 7);
        assert_int_equal(plugd_i2c_transfer(i2c, "\x10", 1, data, 3), 0);
        assert_memory_equal(data, bytes, 3);
        assert_int_equal(plugd_i2c_transfer(i2c, "\x21", 1, NULL, 0), 0);
        assert_int_equal(plugd_i2c_transfer(i2c, NULL, 0, data, 2), 0);
        assert_int_equal(data[0], 0xbe);
        assert_int_equal(data[1], 7);
        /* Nothing else was used: each of these was one transfer. */
        assert_int_equal(script.combined, script.transfers);
        assert_int_equal(script.combined, 9);
        end(i2c);
}

static void test_smbus_blocks(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_STUB);
        uint8_t bytes[40];
        uint16_t word;

        check_registers(i2c, 0x88, 26);
        assert_int_equal(script.blocks, 1);
        check_registers(i2c, 0x88, 70);
        assert_int_equal(script.blocks, 4);
        assert_int_equal(script.longest_block, 32);
        check_registers(i2c, 0x88, 33); /* the last one as a byte */
        assert_int_equal(script.blocks, 5);
        assert_int_equal(script.bytes, 1);
        memset(bytes, 0x42, sizeof(bytes));
        assert_int_equal(plugd_i2c_write(i2c, 0x10, bytes, sizeof(bytes)), 0);
        assert_memory_equal(chip->registers + 0x10, bytes, sizeof(bytes));
        assert_int_equal(chip->registers[0x10 + 40], (0x10 + 40) ^ 0x5a);
        /* Registers of 16 bits are read as such, and not as two of 8. */
        assert_int_equal(plugd_i2c_write_word(i2c, 0, 0x1980), 0);
        assert_int_equal(plugd_i2c_read_word(i2c, 0, &word), 0);
        assert_int_equal(word, 0x1980);
        assert_int_equal(script.words, 2);
        assert_int_equal(script.combined, 0);
        end(i2c);
}

static void test_smbus_bytes(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_BYTES);
        const uint8_t bytes[] = {9, 8, 7};
        uint16_t word = 1;

        check_registers(i2c, 0xf0, 16);
        assert_int_equal(script.bytes, 16);
        assert_int_equal(plugd_i2c_write(i2c, 0xfd, bytes, sizeof(bytes)), 0);
        assert_memory_equal(chip->registers + 0xfd, bytes, sizeof(bytes));
        assert_int_equal(script.bytes, script.transfers);

        assert_int_equal(plugd_i2c_read_word(i2c, 0, &word), -EOPNOTSUPP);
        assert_int_equal(word, 1);
        assert_string_equal(plugd_i2c_error(i2c),
                "bus 1 cannot do registers of 16 bits: its controller has no more than a part of SMBus");
        end(i2c);
}

static void test_smbus_transfers(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_STUB);
        uint8_t data[40];

        assert_int_equal(plugd_i2c_transfer(i2c, "\x30", 1, NULL, 0), 0);
        assert_int_equal(plugd_i2c_transfer(i2c, NULL, 0, data, 1), 0);
        assert_int_equal(data[0], 0x30 ^ 0x5a);
        assert_int_equal(script.plain, 2);
        assert_int_equal(plugd_i2c_transfer(i2c, "\x30", 1, data, 32), 0);
        assert_memory_equal(data, chip->registers + 0x30, 32);
        assert_int_equal(plugd_i2c_transfer(i2c, "\x50\x01\x02\x03", 4, NULL, 0), 0);
        assert_memory_equal(chip->registers + 0x50, "\x01\x02\x03", 3);
        /* What has no name in SMBus. */
        assert_int_equal(plugd_i2c_transfer(i2c, "\x30", 1, data, 33), -EOPNOTSUPP);
        assert_int_equal(plugd_i2c_transfer(i2c, NULL, 0, data, 2), -EOPNOTSUPP);
        assert_int_equal(plugd_i2c_transfer(i2c, "\x30\x31", 2, data, 1), -EOPNOTSUPP);
        assert_non_null(strstr(plugd_i2c_error(i2c), "bus 1 cannot do such a transfer"));
        end(i2c);
}

static void test_unable(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(0);
        uint8_t byte = 3;

        assert_int_equal(plugd_i2c_read(i2c, 0, &byte, 1), -EOPNOTSUPP);
        assert_int_equal(plugd_i2c_write(i2c, 0, &byte, 1), -EOPNOTSUPP);
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -EOPNOTSUPP);
        assert_int_equal(plugd_i2c_write_byte(i2c, 0, byte), -EOPNOTSUPP);
        assert_int_equal(script.transfers, 0);
        end(i2c);
}

static void test_mistakes(void **state _unused_)
{
        struct plugd_i2c *i2c = (void *) 1;
        static uint8_t data[PLUGD_I2C_SIZE_MAX + 1];

        plugd_i2c_free(NULL);
        assert_int_equal(plugd_i2c_new(1, 0x78, TIMEOUT_USEC, NULL, &i2c), -EINVAL);
        assert_null(i2c);
        assert_int_equal(plugd_i2c_new(1, 0x07, TIMEOUT_USEC, NULL, &i2c), -EINVAL);
        assert_int_equal(plugd_i2c_new(1, 0x76, 999, NULL, &i2c), -EINVAL);
        assert_int_equal(plugd_i2c_new(1048576, 0x76, TIMEOUT_USEC, NULL, &i2c), -EINVAL);

        i2c = begin(I2C_SCRIPT_COMBINED);
        assert_int_equal(plugd_i2c_read(i2c, 0, data, 1), -EBADF);
        assert_string_equal(plugd_i2c_error(i2c), "bus 1 is not open");
        assert_int_equal(plugd_i2c_open(i2c), 0);
        assert_string_equal(plugd_i2c_error(i2c), "");
        assert_int_equal(plugd_i2c_read(i2c, 0, data, sizeof(data)), -EINVAL);
        assert_int_equal(plugd_i2c_write(i2c, 0, data, PLUGD_I2C_SIZE_MAX), -EINVAL);
        assert_int_equal(plugd_i2c_write(i2c, 0, data, SIZE_MAX), -EINVAL);
        assert_int_equal(plugd_i2c_transfer(i2c, NULL, 0, NULL, 0), -EINVAL);
        assert_int_equal(script.transfers, 0);
        assert_int_equal(plugd_i2c_write(i2c, 0, data, PLUGD_I2C_SIZE_MAX - 1), 0);
        end(i2c);

        i2c = begin_open(I2C_SCRIPT_STUB);
        assert_int_equal(plugd_i2c_read(i2c, 0xf0, data, 33), -EINVAL);
        assert_string_equal(plugd_i2c_error(i2c), "there are no 33 registers from 0xf0 on");
        end(i2c);
}

static void test_two_handles(void **state _unused_)
{
        struct plugd_i2c *one = begin_open(I2C_SCRIPT_COMBINED), *two;
        uint8_t first, second;

        script_add(&script, 0x77)->registers[0xd0] = 0x58;
        script.chips[0].registers[0xd0] = 0x60;
        assert_int_equal(plugd_i2c_new(I2C_SCRIPT_BUS, 0x77, TIMEOUT_USEC, &script.transport, &two), 0);
        assert_int_equal(plugd_i2c_open(two), 0);
        assert_int_equal(plugd_i2c_read_byte(one, 0xd0, &first), 0);
        assert_int_equal(plugd_i2c_read_byte(two, 0xd0, &second), 0);
        assert_int_equal(first, 0x60);
        assert_int_equal(second, 0x58);
        plugd_i2c_free(two);
        end(one);
}

/* --- retries --------------------------------------------------------------------------------------------
 */

static void test_passing(void **state _unused_)
{
        static const int errors[] = {EAGAIN, EIO, ETIMEDOUT, EBUSY, EPROTO, EBADMSG, EINTR, ESHUTDOWN};

        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
                struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED);

                script.fault_count = 5;
                script.fault_error = errors[i];
                check_registers(i2c, 0, 4);
                assert_int_equal(script.transfers, 6);
                assert_int_equal(script.slept_usec, 1000 + 2000 + 4000 + 8000 + 16000);
                assert_string_equal(plugd_i2c_error(i2c), "");
                end(i2c);
        }
}

static void test_hopeless(void **state _unused_)
{
        static const int errors[] = {EOPNOTSUPP, EINVAL, ENOMEM};
        static const int expected[] = {-EOPNOTSUPP, -EIO, -ENOMEM};

        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
                struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED);
                uint8_t byte;

                script.fault_count = 1;
                script.fault_error = errors[i];
                assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), expected[i]);
                assert_int_equal(script.transfers, 1);
                assert_string_not_equal(plugd_i2c_error(i2c), "");
                end(i2c);
        }
}

static void test_no_acknowledge(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED);
        uint8_t byte;

        chip->ignore = 2;
        check_registers(i2c, 0, 1);
        assert_int_equal(script.transfers, 3);
        chip->ignore = 3;
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ENXIO);
        assert_int_equal(script.transfers, 6);
        assert_string_equal(plugd_i2c_error(i2c),
                "no answer at 0x76 on bus 1: is the sensor connected, is its address right?");
        end(i2c);
}

static void test_deadline(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED);
        uint64_t start_usec = script.now_usec;
        uint8_t byte;

        /* Attempts that take no time: it waits in between, and gives up in time. */
        script.fault_count = UINT32_MAX;
        script.fault_error = EAGAIN;
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ETIMEDOUT);
        assert_true(script.now_usec - start_usec <= TIMEOUT_USEC);
        assert_true(script.now_usec - start_usec >= TIMEOUT_USEC - 50000);
        assert_in_range(script.transfers, 10, 20);

        /* Attempts as long as the kernel was told: three of them. */
        script.transfers = 0;
        script.cost_usec = script.timeout * 10000;
        script.fault_error = ETIMEDOUT;
        start_usec = script.now_usec;
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ETIMEDOUT);
        assert_int_equal(script.transfers, 3);
        assert_true(script.now_usec - start_usec < TIMEOUT_USEC + script.cost_usec);

        /* A driver that keeps its own time: one attempt, and no more. */
        script.transfers = 0;
        script.cost_usec = 1000000;
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ETIMEDOUT);
        assert_int_equal(script.transfers, 1);

        /* What is slow but good is good. */
        script.fault_count = 0;
        check_registers(i2c, 0, 3);
        end(i2c);
}

/* One deadline for all parts of a call. */
static void test_deadline_of_parts(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_BYTES);
        uint8_t data[16];

        script.cost_usec = 60000;
        script.fault_after = 8;
        script.fault_count = UINT32_MAX;
        script.fault_error = EIO;
        assert_int_equal(plugd_i2c_read(i2c, 0, data, sizeof(data)), -EIO);
        assert_int_equal(script.transfers, 9);
        end(i2c);
}

static void test_limits_of_attempts(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED), *other;

        assert_int_equal(plugd_i2c_new(I2C_SCRIPT_BUS, 0x76, 1000, &script.transport, &other), 0);
        assert_int_equal(plugd_i2c_open(other), 0);
        assert_int_equal(script.timeout, 10);
        plugd_i2c_free(other);
        assert_int_equal(plugd_i2c_new(I2C_SCRIPT_BUS, 0x76, UINT64_MAX, &script.transport, &other), 0);
        assert_int_equal(plugd_i2c_open(other), 0);
        assert_int_equal(script.timeout, 6000);
        check_registers(other, 0, 1);
        plugd_i2c_free(other);
        end(i2c);
}

static void test_nothing_and_too_little(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_COMBINED), *other;
        uint8_t byte = 0;

        script.transfers = 0;
        assert_int_equal(plugd_i2c_read(i2c, 0, &byte, 0), -EINVAL);
        assert_int_equal(plugd_i2c_write(i2c, 0, &byte, 0), -EINVAL);
        assert_int_equal(script.transfers, 0);
        script.transport.size--;
        assert_int_equal(plugd_i2c_new(I2C_SCRIPT_BUS, 0x76, 1000, &script.transport, &other), -EINVAL);
        assert_null(other);
        end(i2c);
}

/* --- sentences ------------------------------------------------------------------------------------------
 */

static void test_stuck(void **state _unused_)
{
        static const int errors[] = {ETIMEDOUT, EBUSY, EAGAIN};

        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
                struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_STUB);
                char expected[256];
                uint8_t byte;

                script.fault_count = UINT32_MAX;
                script.fault_error = errors[i];
                assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ETIMEDOUT);
                snprintf(expected, sizeof(expected),
                        "bus 1 is stuck: no transfer with 0x76 came to an end within 500 ms (%s); ",
                        strerror(errors[i]));
                assert_memory_equal(plugd_i2c_error(i2c), expected, strlen(expected));
                end(i2c);
        }
}

static void test_fault(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_STUB);
        uint8_t byte;

        script.fault_count = UINT32_MAX;
        script.fault_error = EIO;
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -EIO);
        assert_string_equal(plugd_i2c_error(i2c),
                "a transfer with 0x76 on bus 1 failed, again and again: Input/output error; are the wires "
                "short and well connected?");
        /* It is over, and so is the sentence. */
        script.fault_count = 0;
        check_registers(i2c, 0, 1);
        assert_string_equal(plugd_i2c_error(i2c), "");
        end(i2c);
}

/* i2c-stub says ENODEV for an address that it does not have; so does a bus that was pulled out. */
static void test_gone(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_STUB);
        uint8_t byte;

        chip->address = 0x10;
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ENXIO);
        assert_memory_equal(plugd_i2c_error(i2c), "no answer at 0x76 on bus 1: ", 28);
        assert_int_equal(script.transfers, 1);
        assert_int_equal(unlink(in_folder("dev/i2c-1")), 0);
        assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), -ENODEV);
        assert_memory_equal(plugd_i2c_error(i2c), "bus 1 has gone: ", 16);
        end(i2c);
}

static void test_short(void **state _unused_)
{
        struct plugd_i2c *i2c = begin_open(I2C_SCRIPT_STUB);
        uint8_t data[8];

        script.short_count = 1;
        check_registers(i2c, 0xf7, 8);
        script.short_count = UINT32_MAX;
        assert_int_equal(plugd_i2c_read(i2c, 0xf7, data, 8), -EPROTO);
        assert_string_equal(plugd_i2c_error(i2c),
                "a short answer from 0x76 on bus 1: 7 of 8 bytes; are the wires well connected?");
        end(i2c);

        i2c = begin_open(I2C_SCRIPT_COMBINED);
        script.short_count = 1;
        check_registers(i2c, 0xf7, 8);
        script.short_count = UINT32_MAX;
        assert_int_equal(plugd_i2c_read(i2c, 0xf7, data, 8), -EPROTO);
        assert_string_equal(plugd_i2c_error(i2c),
                "a short answer from 0x76 on bus 1: 0 of 8 bytes; are the wires well connected?");
        assert_int_equal(plugd_i2c_read(i2c, 0xf7, data, 1), -EPROTO);
        assert_string_equal(plugd_i2c_error(i2c),
                "a short answer from 0x76 on bus 1: 0 of 1 byte; are the wires well connected?");
        end(i2c);
}

static void check_open(int error, int expected, const char *sentence)
{
        struct plugd_i2c *i2c = begin(I2C_SCRIPT_COMBINED);

        script.open_error = error;
        assert_int_equal(plugd_i2c_open(i2c), expected);
        if (!strstr(plugd_i2c_error(i2c), sentence))
                assert_string_equal(plugd_i2c_error(i2c), sentence);
        end(i2c);
}

static void test_no_bus(void **state _unused_)
{
        check_open(ENOENT, -ENOENT, "there is no bus 1: this machine has no I2C bus at all; I2C has to be");
        add_file("sys/bus/i2c/devices/i2c-21/name", "twenty-one");
        add_file("sys/bus/i2c/devices/1-0076/name", "bmp280");
        check_open(
                ENOENT, -ENOENT, "there is no bus 1, but 21; if it should be there, I2C has to be enabled");
        add_file("sys/bus/i2c/devices/i2c-20/name", "twenty");
        add_file("sys/bus/i2c/devices/i2c-3/name", "three");
        check_open(ENOENT, -ENOENT, "there is no bus 1, but 3, 20 and 21; if");
        for (int i = 30; i < 60; i++) { /* more than are listed */
                char name[64];

                snprintf(name, sizeof(name), "sys/bus/i2c/devices/i2c-%d/name", i);
                add_file(name, "");
        }
        check_open(ENXIO, -ENOENT, "there is no bus 1, but ");
        add_file("sys/bus/i2c/devices/i2c-1/name", "one");
        for (int i = 30; i < 60; i++) {
                char name[64];

                snprintf(name, sizeof(name), "sys/bus/i2c/devices/i2c-%d", i);
                remove_all(in_folder(name));
        }
        check_open(ENOENT, -ENOENT, "load the kernel's module i2c-dev");
        check_open(ENOTTY, -ENOTTY, "/dev/i2c-1 is no I2C bus");
        check_open(EMFILE, -EMFILE, "/dev/i2c-1: Too many open files");
}

/* Root may all: it is not asked as root. */
static void test_permission(void **state _unused_)
{
        bool root = geteuid() == 0;
        gid_t group = root ? STRANGE_GROUP : getegid();
        char line[64];

        check_open(EACCES, -EACCES, "/dev/i2c-1 is kept from this plugin: its descriptor has to name it");
        check_open(
                EPERM, -EPERM, "/dev/i2c-1 is kept from plugd: its service has to allow it (DeviceAllow=");

        assert_int_equal(chmod(folder, 0755), 0);
        snprintf(line, sizeof(line), "other:x:7:\ni2c:x:%lu:pi\n", (unsigned long) group);
        add_file("etc/group", line);
        for (int i = 0; i < 3; i++) {
                static const mode_t modes[] = {0060, 0060, 0};
                static const char *const sentences[] = {
                        "it is for group i2c: make plugd's user a member of it", "it is for group ",
                        "give it to a group that plugd's user is in, with a rule for udev"};
                struct plugd_i2c *i2c = begin(I2C_SCRIPT_COMBINED);

                script.open_error = EACCES;
                if (i == 1)
                        add_file("etc/group", "other:x:7:\n");
                assert_int_equal(chown(in_folder("dev/i2c-1"), (uid_t) -1, group), 0);
                assert_int_equal(chmod(in_folder("dev/i2c-1"), modes[i]), 0);
                assert_int_equal(root ? seteuid(NOBODY) : 0, 0);
                assert_int_equal(plugd_i2c_open(i2c), -EACCES);
                assert_int_equal(root ? seteuid(0) : 0, 0);
                if (!strstr(plugd_i2c_error(i2c), sentences[i]))
                        assert_string_equal(plugd_i2c_error(i2c), sentences[i]);
                assert_int_equal(unlink(in_folder("dev/i2c-1")), 0);
                end(i2c);
        }
}

static void test_in_use(void **state _unused_)
{
        struct plugd_i2c *i2c = begin(I2C_SCRIPT_COMBINED);

        script.claim_error = EBUSY;
        assert_int_equal(plugd_i2c_open(i2c), -EBUSY);
        assert_memory_equal(
                plugd_i2c_error(i2c), "0x76 on bus 1 is in use by a driver of the kernel: unbind it", 60);
        assert_int_equal(script.closes, 1);

        add_file("sys/bus/i2c/devices/1-0076/name", "bmp280");
        assert_int_equal(symlink("../../../../../../bus/i2c/drivers/bmp280",
                                 in_folder("sys/bus/i2c/devices/1-0076/driver")),
                0);
        assert_int_equal(plugd_i2c_open(i2c), -EBUSY);
        assert_string_equal(plugd_i2c_error(i2c),
                "0x76 on bus 1 is in use by the kernel's driver bmp280: unbind it (echo 1-0076 > "
                "/sys/bus/i2c/drivers/bmp280/unbind), or take it out of the device tree");
        script.claim_error = EINVAL;
        assert_int_equal(plugd_i2c_open(i2c), -EINVAL);
        assert_string_equal(plugd_i2c_error(i2c), "cannot use address 0x76 on bus 1: Invalid argument");

        /* It can be tried again. */
        script.claim_error = 0;
        assert_int_equal(plugd_i2c_open(i2c), 0);
        check_registers(i2c, 0, 1);
        assert_int_equal(plugd_i2c_open(i2c), 0);
        assert_int_equal(script.opens, script.closes + 1);
        end(i2c);
}

/* A driver that comes while we use the chip. */
static void test_in_use_later(void **state _unused_)
{
        static const unsigned long functions[] = {I2C_SCRIPT_COMBINED, I2C_SCRIPT_STUB};

        for (size_t i = 0; i < ELEMENTSOF(functions); i++) {
                struct plugd_i2c *i2c = begin(functions[i]);
                unsigned transfers;
                uint16_t word;
                uint8_t byte;

                assert_int_equal(plugd_i2c_open(i2c), 0);
                assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), 0);
                transfers = script.transfers;
                script.claim_error = EBUSY;
                assert_int_equal(plugd_i2c_read(i2c, 0, &byte, 1), -EBUSY);
                assert_memory_equal(
                        plugd_i2c_error(i2c), "0x76 on bus 1 is in use by a driver of the kernel: ", 51);
                assert_int_equal(plugd_i2c_write(i2c, 0, &byte, 1), -EBUSY);
                assert_int_equal(plugd_i2c_write_byte(i2c, 0, 1), -EBUSY);
                assert_int_equal(plugd_i2c_read_word(i2c, 0, &word), -EBUSY);
                assert_int_equal(plugd_i2c_transfer(i2c, &byte, 1, NULL, 0), -EBUSY);
                assert_int_equal(script.transfers, transfers);
                script.claim_error = 0;
                assert_int_equal(plugd_i2c_read_byte(i2c, 0, &byte), 0);
                assert_string_equal(plugd_i2c_error(i2c), "");
                end(i2c);
        }
}

static void test_no_i2c(void **state _unused_)
{
        struct plugd_i2c *i2c = begin(I2C_SCRIPT_COMBINED);

        script.functions_error = ENOTTY;
        assert_int_equal(plugd_i2c_open(i2c), -ENOTTY);
        assert_non_null(strstr(plugd_i2c_error(i2c), "/dev/i2c-1 is no I2C bus"));
        end(i2c);
}

/* The real transport, as far as a machine without buses has it. */
static void test_real(void **state _unused_)
{
        struct plugd_i2c *i2c;

        assert_int_equal(plugd_i2c_new(987654, 0x76, TIMEOUT_USEC, NULL, &i2c), 0);
        assert_int_equal(plugd_i2c_open(i2c), -ENOENT);
        assert_memory_equal(plugd_i2c_error(i2c), "there is no bus 987654", 22);
        plugd_i2c_sleep(i2c, 1);
        plugd_i2c_free(i2c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                FOLDER_TEST(test_combined),
                FOLDER_TEST(test_smbus_blocks),
                FOLDER_TEST(test_smbus_bytes),
                FOLDER_TEST(test_smbus_transfers),
                FOLDER_TEST(test_unable),
                FOLDER_TEST(test_mistakes),
                FOLDER_TEST(test_two_handles),
                FOLDER_TEST(test_passing),
                FOLDER_TEST(test_hopeless),
                FOLDER_TEST(test_no_acknowledge),
                FOLDER_TEST(test_deadline),
                FOLDER_TEST(test_deadline_of_parts),
                FOLDER_TEST(test_limits_of_attempts),
                FOLDER_TEST(test_nothing_and_too_little),
                FOLDER_TEST(test_stuck),
                FOLDER_TEST(test_fault),
                FOLDER_TEST(test_gone),
                FOLDER_TEST(test_short),
                FOLDER_TEST(test_no_bus),
                FOLDER_TEST(test_permission),
                FOLDER_TEST(test_in_use),
                FOLDER_TEST(test_in_use_later),
                FOLDER_TEST(test_no_i2c),
                cmocka_unit_test(test_real),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
