/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A BME280's compensation against the figures of the data sheet, and against what the kernel's driver
 * (drivers/iio/pressure/bmp280-core.c of Linux 6.1, in whole numbers) makes of the same registers.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bme280-internal.h"
#include "util/macros.h"

static void put16(uint8_t *bytes, int value)
{
        bytes[0] = (uint8_t) value;
        bytes[1] = (uint8_t) (value >> 8);
}

/* The data sheet's example (BST-BMP280-DS001, 3.12), and humidity as chips have it. */
static void make_registers(uint8_t registers[static BME280_CALIBRATION_SIZE])
{
        static const int values[] = {
                27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000};

        memset(registers, 0, BME280_CALIBRATION_SIZE);
        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                put16(registers + 2 * i, values[i]);
        registers[25] = 75; /* H1 */
}

static void make_humidity(uint8_t registers[static BME280_HUMIDITY_SIZE], int h3, int h4, int h5, int h6)
{
        put16(registers, 362);
        registers[2] = (uint8_t) h3;
        registers[3] = (uint8_t) (h4 >> 4);
        registers[4] = (uint8_t) ((h4 & 0xf) | (h5 & 0xf) << 4);
        registers[5] = (uint8_t) (h5 >> 4);
        registers[6] = (uint8_t) h6;
}

static Calibration make(int h3, int h4, int h5, int h6)
{
        uint8_t registers[BME280_CALIBRATION_SIZE], humidity[BME280_HUMIDITY_SIZE];
        Calibration calibration;

        make_registers(registers);
        make_humidity(humidity, h3, h4, h5, h6);
        assert_true(calibration_parse(&calibration, registers, humidity));
        return calibration;
}

static void assert_near(double value, double expected, double tolerance)
{
        if (!(value >= expected - tolerance && value <= expected + tolerance))
                fail_msg("%.9g is not %.9g, by more than %g", value, expected, tolerance);
}

static void test_data_sheet(void **state _unused_)
{
        Calibration calibration = make(0, 324, 50, 30);
        double fine;

        assert_near(compensate_temperature(&calibration, 519888, &fine), 25.08, 0.005);
        assert_near(fine, 128422, 0.5);
        assert_near(compensate_pressure(&calibration, 415148, fine), 100653.27, 0.005);
}

/* The kernel rounds t_fine and the temperature, and with it a little of the pressure. */
static void test_kernel(void **state _unused_)
{
        static const struct {
                uint32_t temperature, pressure, humidity;
                double celsius, pascal, percent;
        } figures[] = {
                {519888, 415148, 30000, 25.08, 100653.253906, 51.080078},
                {330000, 415148, 28000, -34.82, 91628.792969, 39.133789},
                {320000, 250000, 22000, -38.00, 116895.046875, 10.138672},
                {400000, 300000, 25000, -12.64, 113634.820312, 24.212891},
                {600000, 350000, 35000, 50.11, 116262.468750, 80.891602},
                {690000, 500000, 40000, 78.05, 92987.144531, 100},
                {519888, 415148, 20000, 25.08, 100653.253906, 0},
                {519888, 415148, 45000, 25.08, 100653.253906, 100},
                {370000, 330000, 22000, -22.14, 107107.285156, 9.306641},
                {690000, 420000, 33000, 78.05, 107966.496094, 70.557617},
        };
        Calibration calibration = make(0, 324, 50, 30);

        for (size_t i = 0; i < ELEMENTSOF(figures); i++) {
                double fine;

                assert_near(compensate_temperature(&calibration, figures[i].temperature, &fine),
                        figures[i].celsius, 0.0075);
                assert_near(compensate_pressure(&calibration, figures[i].pressure, fine), figures[i].pascal,
                        0.5);
                assert_near(compensate_humidity(&calibration, figures[i].humidity, fine), figures[i].percent,
                        0.015);
        }
}

typedef struct Humidity {
        uint32_t temperature, humidity;
        double percent;
} Humidity;

static void check_humidity(const Calibration *calibration, const Humidity *figures, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                double fine;

                (void) compensate_temperature(calibration, figures[i].temperature, &fine);
                assert_near(compensate_humidity(calibration, figures[i].humidity, fine), figures[i].percent,
                        0.015);
        }
}

/* H4, H5 and H6 have signs, two of them in twelve bits. */
static void test_kernel_signs(void **state _unused_)
{
        static const Humidity figures[] = {
                {519888, 30000, 92.736328},
                {330000, 28000, 85.748047},
                {320000, 22000, 49.441406},
                {400000, 25000, 67.440430},
                {519888, 20000, 39.809570},
                {370000, 22000, 49.908203},
        };
        Calibration calibration = make(0, 200, -70, -30);

        assert_near(calibration.h4, 200, 0);
        assert_near(calibration.h5, -70, 0);
        assert_near(calibration.h6, -30, 0);
        assert_near(make(0, -3, 2047, 127).h4, -3, 0);
        assert_near(make(0, -2048, 2047, 127).h5, 2047, 0);
        check_humidity(&calibration, figures, ELEMENTSOF(figures));
}

/* H3 and H6 as large as they get. */
static void test_kernel_extremes(void **state _unused_)
{
        static const Humidity figures[] = {
                {519888, 30000, 55.723633},
                {330000, 28000, 43.488281},
                {320000, 22000, 11.719727},
                {400000, 25000, 22.653320},
                {370000, 22000, 9.156250},
        };
        Calibration calibration = make(255, 324, 50, 127);

        check_humidity(&calibration, figures, ELEMENTSOF(figures));
}

static void test_refused(void **state _unused_)
{
        uint8_t registers[BME280_CALIBRATION_SIZE], humidity[BME280_HUMIDITY_SIZE];
        Calibration calibration;

        make_humidity(humidity, 0, 324, 50, 30);
        memset(registers, 0, sizeof(registers));
        assert_false(calibration_parse(&calibration, registers, NULL));
        memset(registers, 0xff, sizeof(registers));
        assert_false(calibration_parse(&calibration, registers, NULL));
        make_registers(registers);
        put16(registers, 0);
        assert_false(calibration_parse(&calibration, registers, NULL));
        make_registers(registers);
        put16(registers + 6, 0);
        assert_false(calibration_parse(&calibration, registers, humidity));
        make_registers(registers);
        assert_true(calibration_parse(&calibration, registers, humidity));
        memset(humidity, 0xff, sizeof(humidity));
        assert_false(calibration_parse(&calibration, registers, humidity));
        memset(humidity, 0, sizeof(humidity));
        assert_false(calibration_parse(&calibration, registers, humidity));
        assert_true(calibration_parse(&calibration, registers, NULL));
}

/* Whatever the registers hold: a number comes out, in the range that the caller looks at or not. */
static void test_any(void **state _unused_)
{
        uint8_t registers[BME280_CALIBRATION_SIZE], humidity[BME280_HUMIDITY_SIZE];
        uint32_t random = 1;

        for (int i = 0; i < 20000; i++) {
                Calibration calibration;
                double fine, percent;

                for (size_t j = 0; j < sizeof(registers); j++)
                        registers[j] = (uint8_t) ((random = random * 1664525 + 1013904223) >> 24);
                for (size_t j = 0; j < sizeof(humidity); j++)
                        humidity[j] = (uint8_t) ((random = random * 1664525 + 1013904223) >> 24);
                if (!calibration_parse(&calibration, registers, humidity))
                        continue;
                assert_true(__builtin_isfinite(compensate_temperature(&calibration, random >> 12, &fine)));
                assert_true(__builtin_isfinite(compensate_pressure(&calibration, random & 0xfffff, fine)));
                percent = compensate_humidity(&calibration, random >> 16, fine);
                assert_true(percent >= 0 && percent <= 100);
        }
}

/* (1 - 0.0065 h / 288.15) to the power of -5.25588, worked out elsewhere. */
static void test_sea_level(void **state _unused_)
{
        assert_near(sea_level_factor(0), 1, 0);
        assert_near(sea_level_factor(500), 1.061430060380727, 1e-12);
        assert_near(sea_level_factor(9000), 3.295933200366308, 1e-12);
        assert_near(sea_level_factor(-500), 0.9427553605601395, 1e-12);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_data_sheet),
                cmocka_unit_test(test_kernel),
                cmocka_unit_test(test_kernel_signs),
                cmocka_unit_test(test_kernel_extremes),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_any),
                cmocka_unit_test(test_sea_level),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
