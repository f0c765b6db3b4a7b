/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the bme280 plugin: bme280.c is the plugin, bme280-chip.c sets the chip up and has it
 * measure, bme280-compensate.c makes values of what it measured. */

#include <stdbool.h>

#include "../i2c/i2c.h"
#include "../plugin.h"

/* --- compensation: pure ------------------------------------------------------------------------------- */

#define BME280_CALIBRATION_SIZE 26 /* registers 0x88 to 0xa1 */
#define BME280_HUMIDITY_SIZE 7     /* registers 0xe1 to 0xe7 */

/* What each chip is born with, by the data sheet's names. */
typedef struct Calibration {
        double t1, t2, t3;
        double p1, p2, p3, p4, p5, p6, p7, p8, p9;
        double h1, h2, h3, h4, h5, h6; /* 0 where the chip has no humidity */
} Calibration;

/* humidity: NULL for a BMP280. False: these are no chip's numbers. */
bool calibration_parse(Calibration *calibration, const uint8_t registers[static BME280_CALIBRATION_SIZE],
        const uint8_t *humidity);

/* Of 20 bits; fine is the data sheet's t_fine, 5120 a degree, which the others want. */
double compensate_temperature(const Calibration *calibration, uint32_t raw, double *ret_fine); /* °C */
double compensate_pressure(const Calibration *calibration, uint32_t raw, double fine);         /* Pa */
/* Of 16 bits. 0 to 100 %: the data sheet has it cut off there. */
double compensate_humidity(const Calibration *calibration, uint32_t raw, double fine);

/* What pressure at this altitude (m, -500 to 9000) is multiplied with to have that at sea level, in the
 * standard atmosphere of ISO 2533: 15 °C at sea level, 6.5 °C less each kilometre. */
double sea_level_factor(double altitude_m);

/* --- the chip ----------------------------------------------------------------------------------------- */

/* As the registers have them: 0 is off, 1 to 5 is once to 16 times. */
typedef struct Settings {
        uint8_t temperature, pressure, humidity; /* oversampling */
        uint8_t filter;                          /* 0 to 4: off to 16 */
} Settings;

typedef struct Chip {
        const struct plugd_host *host;
        struct plugd_i2c *i2c;
        unsigned bus, address;
        Settings settings;
        bool set_up;
        bool has_humidity;
        Calibration calibration;
} Chip;

/* What it measured, as it is in the registers. */
typedef struct Raw {
        uint32_t temperature, pressure, humidity;
} Raw;

#define RAW_NONE_20 UINT32_C(0x80000) /* what the registers hold when it was not measured */
#define RAW_NONE_16 UINT32_C(0x8000)

/* Finds out which chip it is, resets it, reads its calibration and makes its settings. 0, or -errno after
 * saying why. */
int chip_set_up(Chip *chip);
/* Has it measure once and waits for that. Sets it up again if it has lost its settings. Likewise. */
int chip_measure(Chip *chip, Raw *ret_raw);

/* --- the plugin --------------------------------------------------------------------------------------- */

/* The plugin's open(), on a bus of one's own: for tests. NULL: the real one. */
int bme280_open_on(const struct plugd_host *host, const struct plugd_i2c_transport *transport, void **ret);
