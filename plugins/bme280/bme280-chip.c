/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The chip's registers: which chip it is, its settings, one measurement on demand ("forced mode", after
 * which it sleeps). Written one at a time: these chips count up in reading alone. What fails is said here.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bme280-internal.h"

#define REG_CALIBRATION 0x88
#define REG_ID 0xd0
#define REG_RESET 0xe0
#define REG_CALIBRATION_HUMIDITY 0xe1
#define REG_CTRL_HUM 0xf2
#define REG_STATUS 0xf3
#define REG_CTRL_MEAS 0xf4
#define REG_CONFIG 0xf5
#define REG_DATA 0xf7

#define RESET 0xb6
#define STATUS_COPYING 0x01 /* calibration, into the registers */
#define STATUS_MEASURING 0x08
#define MODE_SLEEP 0
#define MODE_FORCED 1
#define OVERSAMPLING_MASK 0xfc /* of ctrl_meas: the mode changes by itself */
#define HUMIDITY_MASK 0x07
#define FILTER_MASK 0x1c

#define START_USEC 2000 /* after a reset, by the data sheet */
#define START_POLLS 10  /* as many again, at most */
#define POLL_USEC 2000  /* how often it is asked whether it has done */
#define POLLS_MORE 20   /* beyond the longest time by the data sheet */

static const struct {
        uint8_t id;
        bool has_humidity;
} models[] = {
        {0x60, true},  /* BME280 */
        {0x58, false}, /* BMP280 */
        {0x57, false}, /* BMP280, samples */
        {0x56, false},
};

/* Others that are sold on boards that look the same. */
static const struct {
        uint8_t id;
        const char *words;
} others[] = {
        {0x61, " (that is a BME680 or BME688)"},
        {0x55, " (that is a BMP085 or BMP180)"},
        {0x00, " (which is none: are the wires well connected?)"},
        {0xff, " (which is none: are the wires well connected?)"},
};

/* --- helpers ------------------------------------------------------------------------------------------ */

static int bus_failed(Chip *chip, int r)
{
        chip->host->log(chip->host, PLUGD_ERROR, "%s", plugd_i2c_error(chip->i2c));
        return r;
}

static int get(Chip *chip, uint8_t reg, void *ret_data, size_t n)
{
        int r = plugd_i2c_read(chip->i2c, reg, ret_data, n);

        return r < 0 ? bus_failed(chip, r) : 0;
}

static int put(Chip *chip, uint8_t reg, uint8_t value)
{
        int r = plugd_i2c_write_byte(chip->i2c, reg, value);

        return r < 0 ? bus_failed(chip, r) : 0;
}

/* Asks until none of the bits is set. -ETIME: one still is. */
static int await_status(Chip *chip, uint8_t bits, unsigned polls)
{
        uint8_t status;

        for (unsigned i = 0; i < polls; i++) {
                int r;

                if (i > 0)
                        plugd_i2c_sleep(chip->i2c, POLL_USEC);
                r = get(chip, REG_STATUS, &status, 1);
                if (r < 0)
                        return r;
                if (!(status & bits))
                        return 0;
        }
        return -ETIME;
}

static uint8_t ctrl_meas(const Settings *settings, uint8_t mode)
{
        return (uint8_t) (settings->temperature << 5 | settings->pressure << 2 | mode);
}

/* --- setting up --------------------------------------------------------------------------------------- */

static int identify(Chip *chip)
{
        const char *words = "";
        uint8_t id = 0;
        int r = get(chip, REG_ID, &id, 1);

        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
                if (models[i].id == id) {
                        chip->has_humidity = models[i].has_humidity;
                        return 0;
                }
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                if (others[i].id == id)
                        words = others[i].words;
        chip->host->log(chip->host, PLUGD_ERROR, "not a BME280 or BMP280: id 0x%02x at 0x%02x on bus %u%s",
                id, chip->address, chip->bus, words);
        return -ENODEV;
}

static int reset(Chip *chip)
{
        int r = put(chip, REG_RESET, RESET);

        if (r < 0)
                return r;
        plugd_i2c_sleep(chip->i2c, START_USEC);
        r = await_status(chip, STATUS_COPYING, START_POLLS);
        if (r == -ETIME)
                chip->host->log(chip->host, PLUGD_ERROR,
                        "the sensor at 0x%02x on bus %u does not start: it is still copying its "
                        "calibration; "
                        "switch it off and on, or replace it",
                        chip->address, chip->bus);
        return r;
}

static int read_calibration(Chip *chip)
{
        uint8_t registers[BME280_CALIBRATION_SIZE], humidity[BME280_HUMIDITY_SIZE];
        int r = get(chip, REG_CALIBRATION, registers, sizeof(registers));

        if (r == 0 && chip->has_humidity)
                r = get(chip, REG_CALIBRATION_HUMIDITY, humidity, sizeof(humidity));
        if (r < 0)
                return r;
        if (calibration_parse(&chip->calibration, registers, chip->has_humidity ? humidity : NULL))
                return 0;
        chip->host->log(chip->host, PLUGD_ERROR,
                "the sensor at 0x%02x on bus %u has no calibration (0x%02x%02x…): it is broken, or its "
                "wires "
                "are not well connected",
                chip->address, chip->bus, registers[0], registers[1]);
        return -EBADMSG;
}

int chip_set_up(Chip *chip)
{
        int r;

        chip->set_up = false;
        if ((r = identify(chip)) < 0 || (r = reset(chip)) < 0 || (r = read_calibration(chip)) < 0)
                return r;
        /* ctrl_hum holds from the next writing of ctrl_meas on. */
        if (chip->has_humidity && (r = put(chip, REG_CTRL_HUM, chip->settings.humidity)) < 0)
                return r;
        if ((r = put(chip, REG_CONFIG, (uint8_t) (chip->settings.filter << 2))) < 0 ||
                (r = put(chip, REG_CTRL_MEAS, ctrl_meas(&chip->settings, MODE_SLEEP))) < 0)
                return r;
        chip->set_up = true;
        return 0;
}

/* --- measuring ---------------------------------------------------------------------------------------- */

/* A chip that was without power, or that was replaced, has other settings than ours: temperature at least
 * is never off. */
static int check_settings(Chip *chip)
{
        uint8_t found[4]; /* ctrl_hum, status, ctrl_meas, config */
        int r;

        if (!chip->set_up)
                return chip_set_up(chip);
        r = get(chip, REG_CTRL_HUM, found, sizeof(found));
        if (r < 0)
                return r;
        if ((found[2] & OVERSAMPLING_MASK) == ctrl_meas(&chip->settings, 0) &&
                (found[3] & FILTER_MASK) == chip->settings.filter << 2 &&
                (!chip->has_humidity || (found[0] & HUMIDITY_MASK) == chip->settings.humidity))
                return 0;
        chip->host->log(chip->host, PLUGD_NOTICE,
                "the sensor at 0x%02x on bus %u has lost its settings, as it does without power: set up "
                "again",
                chip->address, chip->bus);
        return chip_set_up(chip);
}

static uint64_t times(uint8_t oversampling)
{
        return oversampling > 0 ? UINT64_C(1) << (oversampling - 1) : 0;
}

/* The longest that a measurement takes, by the data sheet (9.1). */
static uint64_t measuring_usec(const Chip *chip)
{
        uint64_t usec = 1250 + 2300 * times(chip->settings.temperature);

        if (chip->settings.pressure > 0)
                usec += 575 + 2300 * times(chip->settings.pressure);
        if (chip->has_humidity && chip->settings.humidity > 0)
                usec += 575 + 2300 * times(chip->settings.humidity);
        return usec;
}

int chip_measure(Chip *chip, Raw *ret_raw)
{
        uint8_t data[8] = {0};
        int r = check_settings(chip);

        if (r == 0)
                r = put(chip, REG_CTRL_MEAS, ctrl_meas(&chip->settings, MODE_FORCED));
        if (r < 0)
                return r;
        plugd_i2c_sleep(chip->i2c, measuring_usec(chip));
        r = await_status(chip, STATUS_MEASURING | STATUS_COPYING, POLLS_MORE);
        if (r == -ETIME)
                chip->host->log(chip->host, PLUGD_ERROR,
                        "the sensor at 0x%02x on bus %u does not come to an end with measuring; it is set "
                        "up "
                        "again at the next read",
                        chip->address, chip->bus);
        if (r == 0)
                r = get(chip, REG_DATA, data, chip->has_humidity ? 8 : 6);
        if (r < 0) {
                chip->set_up = chip->set_up && r != -ETIME;
                return r;
        }
        *ret_raw = (Raw){
                .pressure = (uint32_t) data[0] << 12 | (uint32_t) data[1] << 4 | data[2] >> 4,
                .temperature = (uint32_t) data[3] << 12 | (uint32_t) data[4] << 4 | data[5] >> 4,
                .humidity = (uint32_t) data[6] << 8 | data[7],
        };
        return 0;
}
