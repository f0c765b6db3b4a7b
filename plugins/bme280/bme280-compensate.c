/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From what a BME280 or BMP280 measured to °C, Pa and %. By the formulas in floating point of Bosch's data
 * sheet (BST-BME280-DS002, 8.1), written as what they are: polynomials in the temperature's distance from a
 * reference, by Horner's rule.
 */

#include <string.h>

#include "bme280-internal.h"

/* --- calibration -------------------------------------------------------------------------------------- */

static double u16(const uint8_t *bytes)
{
        return (uint16_t) (bytes[0] | bytes[1] << 8);
}

static double s16(const uint8_t *bytes)
{
        return (int16_t) (bytes[0] | bytes[1] << 8);
}

/* 12 bits with a sign: the upper eight, and the lower four in a byte that two share. */
static double s12(uint8_t upper, uint8_t lower)
{
        return (int8_t) upper * 16 + (lower & 0xf);
}

static bool all_alike(const uint8_t *bytes, size_t n)
{
        for (size_t i = 1; i < n; i++)
                if (bytes[i] != bytes[0])
                        return false;
        return true;
}

/* Memory that was not copied, or a line that hangs at one level, reads as one byte all over. T1 and P1
 * divide or scale everything: they are never 0. */
bool calibration_parse(Calibration *calibration, const uint8_t registers[static BME280_CALIBRATION_SIZE],
        const uint8_t *humidity)
{
        const uint8_t *t = registers, *p = registers + 6;

        if (all_alike(registers, 24) || u16(t) == 0 || u16(p) == 0)
                return false;
        *calibration = (Calibration){
                .t1 = u16(t),
                .t2 = s16(t + 2),
                .t3 = s16(t + 4),
                .p1 = u16(p),
                .p2 = s16(p + 2),
                .p3 = s16(p + 4),
                .p4 = s16(p + 6),
                .p5 = s16(p + 8),
                .p6 = s16(p + 10),
                .p7 = s16(p + 12),
                .p8 = s16(p + 14),
                .p9 = s16(p + 16),
        };
        if (!humidity)
                return true;
        if (all_alike(humidity, BME280_HUMIDITY_SIZE))
                return false;
        calibration->h1 = registers[25];
        calibration->h2 = s16(humidity);
        calibration->h3 = humidity[2];
        calibration->h4 = s12(humidity[3], humidity[4]);
        calibration->h5 = s12(humidity[5], humidity[4] >> 4);
        calibration->h6 = (int8_t) humidity[6];
        return true;
}

/* --- values ------------------------------------------------------------------------------------------- */

double compensate_temperature(const Calibration *c, uint32_t raw, double *ret_fine)
{
        double x = raw / 16.0 - c->t1;

        *ret_fine = x * (c->t2 / 0x1p10 + x * c->t3 / 0x1p26);
        return *ret_fine / 5120;
}

/* An offset and a sensitivity, both quadratic in the temperature, and then a quadratic correction. */
double compensate_pressure(const Calibration *c, uint32_t raw, double fine)
{
        double x = fine / 2 - 64000; /* from 25 °C */
        double offset = 16 * c->p4 + x * (c->p5 / 0x1p13 + x * c->p6 / 0x1p29);
        double scale = c->p1 * (1 + x * (c->p2 / 0x1p34 + x * c->p3 / 0x1p53));
        double pressure;

        if (scale <= 0) /* no chip's numbers: the caller finds it out of range */
                return 0;
        pressure = (0x1p20 - raw - offset) * 6250 / scale;
        return pressure + (c->p7 + pressure * (c->p8 / 0x1p15 + pressure * c->p9 / 0x1p31)) / 16;
}

double compensate_humidity(const Calibration *c, uint32_t raw, double fine)
{
        double x = fine - 76800; /* from 15 °C */
        double dry = 64 * c->h4 + c->h5 * x / 0x1p14;
        double scale = c->h2 / 0x1p16 * (1 + c->h6 / 0x1p26 * x * (1 + c->h3 / 0x1p26 * x));
        double humidity = (raw - dry) * scale;

        humidity *= 1 - c->h1 * humidity / 0x1p19;
        return humidity < 0 ? 0 : humidity > 100 ? 100 : humidity;
}

/* (1 - x)^-5.25588 as a binomial series, which saves libm: of x up to 0.21 it takes some fifty terms. */
double sea_level_factor(double altitude_m)
{
        const double exponent = 5.25588;         /* g M / (R L) */
        double x = altitude_m * 0.0065 / 288.15; /* L h / T */
        double term = 1, sum = 1;

        for (int k = 0; k < 100; k++) {
                term *= (exponent + k) / (k + 1) * x;
                sum += term;
        }
        return sum;
}
