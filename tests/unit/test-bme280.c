/* SPDX-License-Identifier: Apache-2.0 */

/* The bme280 plugin with a played host, on a played bus with chips that behave as theirs do. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bme280-internal.h"
#include "i2c-script.h"
#include "util/macros.h"

#define BME280 0x60
#define BMP280 0x58
#define ALL (I2C_SCRIPT_COMBINED | I2C_SCRIPT_STUB)
#define CHANNELS 4
enum { TEMPERATURE, HUMIDITY, PRESSURE, PRESSURE_SEA_LEVEL };

/* --- a host ------------------------------------------------------------------------------------------- */

typedef struct Host {
        struct plugd_host host;
        struct plugd_value options[16]; /* as in the descriptor's table; type 0: none */
        double values[CHANNELS];
        int64_t when_ns[CHANNELS];
        unsigned emitted[CHANNELS];
        char error[512], notice[512];
        unsigned errors, notices;
} Host;

static size_t option_index(const char *name)
{
        for (size_t i = 0; i < plugd_plugin_v1.n_options; i++)
                if (strcmp(plugd_plugin_v1.options[i].name, name) == 0)
                        return i;
        fail_msg("the plugin has no option '%s'", name);
        return 0;
}

static const struct plugd_value *on_option(const struct plugd_host *host, const char *name)
{
        const Host *played = host->context;
        const struct plugd_value *value = played->options + option_index(name);

        return value->type ? value : NULL;
}

static int on_emit(
        const struct plugd_host *host, uint32_t channel, const struct plugd_value *value, int64_t when_ns)
{
        Host *played = host->context;

        assert_true(channel < CHANNELS && channel < plugd_plugin_v1.n_channels);
        assert_int_equal(value->type, PLUGD_NUMBER);
        played->values[channel] = value->number;
        played->when_ns[channel] = when_ns;
        played->emitted[channel]++;
        return 0;
}

static void on_log(const struct plugd_host *host, enum plugd_priority priority, const char *format, ...)
{
        Host *played = host->context;
        bool error = priority == PLUGD_ERROR;
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(error ? played->error : played->notice, sizeof(played->error), format, arguments);
        va_end(arguments);
        played->errors += error;
        played->notices += !error;
}

static void host_init(Host *host)
{
        *host = (Host){.host = {.abi = PLUGD_ABI,
                               .size = sizeof(struct plugd_host),
                               .context = host,
                               .emit = on_emit,
                               .log = on_log,
                               .option = on_option}};
        for (size_t i = 0; i < plugd_plugin_v1.n_options; i++) {
                const struct plugd_option *option = plugd_plugin_v1.options + i;

                if (!option->fallback)
                        continue;
                host->options[i].type = option->type;
                if (option->type == PLUGD_INTEGER)
                        host->options[i].integer = strtoll(option->fallback, NULL, 0);
                else
                        host->options[i].string = option->fallback;
        }
}

static void set_string(Host *host, const char *name, const char *value)
{
        host->options[option_index(name)] = (struct plugd_value){.type = PLUGD_STRING, .string = value};
}

static void set_number(Host *host, const char *name, double value)
{
        host->options[option_index(name)] = (struct plugd_value){.type = PLUGD_NUMBER, .number = value};
}

static void set_address(Host *host, int64_t value)
{
        host->options[option_index("address")] =
                (struct plugd_value){.type = PLUGD_INTEGER, .integer = value};
}

/* --- a chip ------------------------------------------------------------------------------------------- */

typedef struct Sensor {
        uint32_t temperature, pressure, humidity; /* raw, what it would measure */
        uint64_t done_usec;                       /* the measurement's end */
        uint64_t start_usec;                      /* the end of copying calibration */
        unsigned resets, measurements;
        bool never_done, never_starts;
        unsigned lose_power_after; /* so many measurements; 0: never */
} Sensor;

static uint64_t factor(uint8_t bits)
{
        return bits == 0 ? 0 : bits > 5 ? 16 : UINT64_C(1) << (bits - 1);
}

static void put20(uint8_t *bytes, uint32_t value)
{
        bytes[0] = (uint8_t) (value >> 12);
        bytes[1] = (uint8_t) (value >> 4);
        bytes[2] = (uint8_t) (value << 4);
}

static void power_on(I2cScript *script, ScriptChip *chip)
{
        Sensor *sensor = chip->context;

        chip->registers[0xf2] = chip->registers[0xf4] = chip->registers[0xf5] = 0;
        put20(chip->registers + 0xf7, 0x80000);
        put20(chip->registers + 0xfa, 0x80000);
        chip->registers[0xfd] = 0x80;
        chip->registers[0xfe] = 0;
        sensor->done_usec = 0;
        sensor->start_usec = script->now_usec + 2000;
}

static void measure(I2cScript *script, ScriptChip *chip)
{
        Sensor *sensor = chip->context;
        uint8_t *r = chip->registers, temperature = r[0xf4] >> 5, pressure = r[0xf4] >> 2 & 7;
        uint8_t humidity = r[0xd0] == BME280 ? r[0xf2] & 7 : 0;

        sensor->measurements++;
        sensor->done_usec = script->now_usec + 1250 + 2300 * factor(temperature) +
                            (pressure ? 575 + 2300 * factor(pressure) : 0) +
                            (humidity ? 575 + 2300 * factor(humidity) : 0);
        put20(r + 0xf7, pressure ? sensor->pressure : 0x80000);
        put20(r + 0xfa, temperature ? sensor->temperature : 0x80000);
        r[0xfd] = (uint8_t) ((humidity ? sensor->humidity : 0x8000) >> 8);
        r[0xfe] = (uint8_t) (humidity ? sensor->humidity : 0x8000);
        r[0xf4] &= 0xfc;
        if (sensor->lose_power_after > 0 && --sensor->lose_power_after == 0)
                power_on(script, chip);
}

static void on_write(I2cScript *script, ScriptChip *chip, uint8_t reg, uint8_t value)
{
        Sensor *sensor = chip->context;

        if (reg == 0xe0) {
                assert_int_equal(value, 0xb6);
                sensor->resets++;
                power_on(script, chip);
        } else if (reg == 0xf4 && (value & 3) != 0) {
                assert_int_equal(value & 3, 1);
                measure(script, chip);
        } else {
                assert_true(reg == 0xf2 || reg == 0xf4 || reg == 0xf5);
        }
}

static void on_read(I2cScript *script, ScriptChip *chip, uint8_t reg)
{
        Sensor *sensor = chip->context;

        if (reg >= 0xf7) /* never what is not ready yet */
                assert_true(script->now_usec >= sensor->done_usec);
        if (reg >= 0x88 && reg <= 0xa1)
                assert_true(script->now_usec >= sensor->start_usec);
        chip->registers[0xf3] =
                (uint8_t) ((script->now_usec < sensor->done_usec || sensor->never_done ? 8 : 0) |
                           (script->now_usec < sensor->start_usec || sensor->never_starts));
}

static void put16(uint8_t *bytes, int value)
{
        bytes[0] = (uint8_t) value;
        bytes[1] = (uint8_t) (value >> 8);
}

/* With the data sheet's example in it. */
static ScriptChip *add_chip(I2cScript *script, uint8_t address, uint8_t id, Sensor *sensor)
{
        static const int values[] = {
                27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000};
        static const uint8_t humidity[] = {0x6a, 0x01, 0x00, 0x14, 0x24, 0x03, 0x1e};
        ScriptChip *chip = script_add(script, address);

        *sensor = (Sensor){.temperature = 519888, .pressure = 415148, .humidity = 30000};
        chip->context = sensor;
        chip->on_write = on_write;
        chip->on_read = on_read;
        chip->registers[0xd0] = id;
        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                put16(chip->registers + 0x88 + 2 * i, values[i]);
        chip->registers[0xa1] = 75;
        memcpy(chip->registers + 0xe1, humidity, sizeof(humidity));
        power_on(script, chip);
        return chip;
}

/* --- one of each -------------------------------------------------------------------------------------- */

static I2cScript script;
static ScriptChip *chip;
static Sensor sensor;
static Host host;
static void *instance;

static void prepare(uint8_t id)
{
        script_init(&script, ALL);
        chip = add_chip(&script, 0x76, id, &sensor);
        host_init(&host);
        instance = NULL;
}

static void open_it(void)
{
        assert_int_equal(bme280_open_on(&host.host, &script.transport, &instance), 0);
        assert_int_equal(host.errors, 0);
}

static void end(void)
{
        plugd_plugin_v1.close(instance);
        assert_int_equal(script.opens, script.closes);
}

static void check_refused(int expected, const char *sentence)
{
        int r = bme280_open_on(&host.host, &script.transport, &instance);

        assert_string_equal(host.error, sentence);
        assert_int_equal(r, expected);
        assert_null(instance);
        assert_int_equal(script.opens, script.closes);
}

static void read_it(void)
{
        host.error[0] = '\0';
        assert_int_equal(plugd_plugin_v1.read(instance), 0);
        assert_string_equal(host.error, "");
}

static void read_badly(int expected, const char *sentence)
{
        int r;

        host.error[0] = '\0';
        r = plugd_plugin_v1.read(instance);
        if (sentence)
                assert_string_equal(host.error, sentence);
        assert_int_equal(r, expected);
}

static void check_emitted(unsigned temperature, unsigned humidity, unsigned pressure, unsigned sea_level)
{
        assert_int_equal(host.emitted[TEMPERATURE], temperature);
        assert_int_equal(host.emitted[HUMIDITY], humidity);
        assert_int_equal(host.emitted[PRESSURE], pressure);
        assert_int_equal(host.emitted[PRESSURE_SEA_LEVEL], sea_level);
}

/* As JSON will have it: the shortest text that is this number. */
static void check_value(unsigned channel, const char *text)
{
        char printed[32];

        snprintf(printed, sizeof(printed), "%.17g", strtod(text, NULL));
        if (host.values[channel] != strtod(text, NULL))
                fail_msg("%.17g is not %s", host.values[channel], printed);
}

/* --- what it gives ------------------------------------------------------------------------------------ */

static void test_bme280(void **state _unused_)
{
        prepare(BME280);
        open_it();
        check_emitted(0, 0, 0, 0);
        assert_int_equal(sensor.resets, 1);
        for (unsigned i = 1; i <= 3; i++) {
                read_it();
                check_emitted(i, i, i, 0);
                assert_int_equal(sensor.measurements, i);
        }
        check_value(TEMPERATURE, "25.08");
        check_value(PRESSURE, "1006.533");
        check_value(HUMIDITY, "51.08");
        assert_true(host.when_ns[TEMPERATURE] > 0);
        assert_int_equal(host.when_ns[HUMIDITY], host.when_ns[TEMPERATURE]);
        assert_int_equal(host.when_ns[PRESSURE], host.when_ns[TEMPERATURE]);
        assert_int_equal(sensor.resets, 1);
        assert_int_equal(host.notices, 0);
        assert_int_equal(chip->registers[0xf2], 3);
        assert_int_equal(chip->registers[0xf4] & 0xfc, 2 << 5 | 5 << 2);
        assert_int_equal(chip->registers[0xf5], 0);
        end();
}

static void test_bmp280(void **state _unused_)
{
        static const uint8_t ids[] = {0x58, 0x57, 0x56};

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                prepare(ids[i]);
                open_it();
                read_it();
                check_emitted(1, 0, 1, 0);
                check_value(TEMPERATURE, "25.08");
                check_value(PRESSURE, "1006.533");
                end();
        }
}

static void test_sea_level(void **state _unused_)
{
        prepare(BMP280);
        set_number(&host, "altitude", 500);
        open_it();
        read_it();
        check_emitted(1, 0, 1, 1);
        check_value(PRESSURE, "1006.533");
        check_value(PRESSURE_SEA_LEVEL, "1068.364"); /* 1006.532668 × 1.061430060 */
        end();

        prepare(BMP280);
        set_number(&host, "altitude", 0);
        open_it();
        read_it();
        check_value(PRESSURE_SEA_LEVEL, "1006.533");
        end();

        prepare(BMP280);
        set_number(&host, "altitude", 500);
        set_string(&host, "oversampling_pressure", "off");
        check_refused(-EINVAL,
                "altitude is given, but oversampling_pressure is \"off\": there is no pressure to "
                "reduce to sea level; leave out one of the two");
}

static void test_cold(void **state _unused_)
{
        prepare(BME280);
        sensor.temperature = 400000;
        sensor.pressure = 415148;
        sensor.humidity = 25000;
        open_it();
        read_it();
        check_value(TEMPERATURE, "-12.64");
        check_value(HUMIDITY, "24.21");
        end();
}

static void test_settings(void **state _unused_)
{
        static const char *const words[] = {"off", "x1", "x2", "x4", "x8", "x16"};
        static const char *const filters[] = {"off", "2", "4", "8", "16"};

        for (unsigned i = 0; i < ELEMENTSOF(words); i++) {
                prepare(BME280);
                if (i > 0)
                        set_string(&host, "oversampling_temperature", words[i]);
                set_string(&host, "oversampling_pressure", words[i]);
                set_string(&host, "oversampling_humidity", words[5 - i]);
                set_string(&host, "filter", filters[i % 5]);
                open_it();
                read_it();
                assert_int_equal(chip->registers[0xf2], 5 - i);
                assert_int_equal(chip->registers[0xf4] & 0xfc, (i > 0 ? i : 2) << 5 | i << 2);
                assert_int_equal(chip->registers[0xf5], (i % 5) << 2);
                check_emitted(1, i<5, i> 0, 0);
                /* What is off is off for good, and no failure. */
                read_it();
                assert_int_equal(host.notices, 0);
                end();
        }
}

/* The wait is the data sheet's: it doesn't ask before, nor sleep much longer. */
static void test_measuring_time(void **state _unused_)
{
        uint64_t start_usec;

        prepare(BMP280);
        set_string(&host, "oversampling_temperature", "x1");
        set_string(&host, "oversampling_pressure", "x1");
        open_it();
        start_usec = script.now_usec;
        read_it();
        assert_in_range(script.now_usec - start_usec, 6425, 7000);
        end();

        prepare(BME280);
        set_string(&host, "oversampling_temperature", "x16");
        set_string(&host, "oversampling_humidity", "x16");
        open_it();
        start_usec = script.now_usec;
        read_it();
        assert_in_range(script.now_usec - start_usec, 112800, 113500);
        end();
}

/* i2c-stub stores what is written, measures nothing, and does not know of combined transfers. */
static void test_stub(void **state _unused_)
{
        for (int i = 0; i < 2; i++) {
                prepare(i == 0 ? BMP280 : BME280);
                script.functions = i == 0 ? I2C_SCRIPT_STUB : I2C_SCRIPT_BYTES;
                chip->on_read = NULL;
                chip->on_write = NULL;
                memcpy(chip->registers + 0xf7, "\x65\x5a\xc0\x7e\xed\x00\x75\x30", 8);
                open_it();
                read_it();
                read_it();
                check_emitted(2, i == 0 ? 0 : 2, 2, 0);
                check_value(TEMPERATURE, "25.08");
                check_value(PRESSURE, "1006.533");
                assert_int_equal(host.notices, 0);
                assert_int_equal(script.combined, 0);
                end();
        }
}

static void test_two_instances(void **state _unused_)
{
        Sensor other;
        Host second;
        void *two;

        prepare(BME280);
        add_chip(&script, 0x77, BMP280, &other)->context = &other;
        other.temperature = 400000;
        host_init(&second);
        set_address(&second, 0x77);
        open_it();
        assert_int_equal(bme280_open_on(&second.host, &script.transport, &two), 0);
        for (int i = 0; i < 3; i++) {
                script.address = 0x76;
                read_it();
                assert_int_equal(plugd_plugin_v1.read(two), 0);
        }
        check_value(TEMPERATURE, "25.08");
        assert_true(second.values[TEMPERATURE] < -12.6);
        check_emitted(3, 3, 3, 0);
        assert_int_equal(second.emitted[HUMIDITY], 0);
        assert_int_equal(second.emitted[PRESSURE], 3);
        plugd_plugin_v1.close(two);
        read_it();
        end();
}

/* --- what it refuses ---------------------------------------------------------------------------------- */

static void test_other_chips(void **state _unused_)
{
        static const struct {
                uint8_t id;
                const char *sentence;
        } others[] = {
                {0x61, "not a BME280 or BMP280: id 0x61 at 0x76 on bus 1 (that is a BME680 or BME688)"},
                {0x55, "not a BME280 or BMP280: id 0x55 at 0x76 on bus 1 (that is a BMP085 or BMP180)"},
                {0xff, "not a BME280 or BMP280: id 0xff at 0x76 on bus 1 (which is none: are the wires well "
                       "connected?)"},
                {0x12, "not a BME280 or BMP280: id 0x12 at 0x76 on bus 1"},
        };

        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                prepare(others[i].id);
                check_refused(-ENODEV, others[i].sentence);
                assert_int_equal(sensor.resets, 0); /* it is not ours */
        }
}

static void test_nobody(void **state _unused_)
{
        prepare(BME280);
        set_address(&host, 0x77);
        check_refused(-ENXIO, "no answer at 0x77 on bus 1: is the sensor connected, is its address right?");

        prepare(BME280);
        host.options[option_index("bus")].integer = 7;
        assert_int_equal(bme280_open_on(&host.host, &script.transport, &instance), -ENOENT);
        assert_memory_equal(host.error, "there is no bus 7", 17);
        assert_int_equal(script.opens, 0);
}

static void test_no_calibration(void **state _unused_)
{
        prepare(BME280);
        memset(chip->registers + 0x88, 0xff, 26);
        check_refused(-EBADMSG,
                "the sensor at 0x76 on bus 1 has no calibration (0xffff…): it is broken, or its "
                "wires are not well connected");
        prepare(BME280);
        memset(chip->registers + 0xe1, 0, 7);
        assert_int_equal(bme280_open_on(&host.host, &script.transport, &instance), -EBADMSG);
}

static void test_no_start(void **state _unused_)
{
        prepare(BME280);
        sensor.never_starts = true;
        check_refused(-ETIME, "the sensor at 0x76 on bus 1 does not start: it is still copying its "
                              "calibration; switch it off and on, or replace it");
        assert_true(script.slept_usec <= 25000);
}

/* --- what goes wrong later ---------------------------------------------------------------------------- */

static void test_power_lost_between(void **state _unused_)
{
        prepare(BME280);
        set_string(&host, "filter", "4");
        open_it();
        read_it();
        power_on(&script, chip);
        read_it();
        check_emitted(2, 2, 2, 0);
        check_value(HUMIDITY, "51.08");
        assert_int_equal(sensor.resets, 2);
        assert_int_equal(host.notices, 1);
        assert_string_equal(host.notice,
                "the sensor at 0x76 on bus 1 has lost its settings, as it does without "
                "power: set up again");
        assert_int_equal(chip->registers[0xf5], 2 << 2);
        read_it();
        assert_int_equal(host.notices, 1);

        /* Another one was put in its place. */
        power_on(&script, chip);
        chip->registers[0xd0] = BMP280;
        read_it();
        check_emitted(4, 3, 4, 0);
        power_on(&script, chip);
        chip->registers[0xd0] = 0x61;
        read_badly(-ENODEV, "not a BME280 or BMP280: id 0x61 at 0x76 on bus 1 (that is a BME680 or BME688)");
        end();
}

/* Any of the settings alone tells it, but the bits that are none of ours don't. */
static void test_settings_lost(void **state _unused_)
{
        static const struct {
                uint8_t reg, value;
                bool lost;
        } changes[] = {
                {0xf2, 0x00, true},
                {0xf4, 2 << 5 | 1 << 2, true},
                {0xf4, 1 << 5 | 5 << 2, true},
                {0xf5, 0x00, true},
                {0xf2, 0xf8 | 3, false},
                {0xf4, 2 << 5 | 5 << 2 | 3, false},
                {0xf5, 0xe0 | 1 << 2 | 3, false},
        };

        prepare(BME280);
        set_string(&host, "filter", "2");
        open_it();
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                unsigned notices = host.notices;

                chip->registers[changes[i].reg] = changes[i].value;
                read_it();
                assert_int_equal(host.notices - notices, changes[i].lost);
        }
        end();
}

static void test_power_lost_within(void **state _unused_)
{
        prepare(BME280);
        open_it();
        sensor.lose_power_after = 1;
        read_badly(-ENODATA,
                "the sensor at 0x76 on bus 1 has not measured the temperature: it lost its power "
                "meanwhile, or is broken");
        check_emitted(0, 0, 0, 0);
        read_it();
        check_emitted(1, 1, 1, 0);
        end();
}

/* One that is bad does not take the others with it. */
static void test_not_measured(void **state _unused_)
{
        prepare(BME280);
        open_it();
        sensor.humidity = 0x8000;
        read_badly(-ENODATA, "the sensor at 0x76 on bus 1 has not measured the humidity: it lost its power "
                             "meanwhile, or is broken");
        check_emitted(1, 0, 1, 0);
        sensor.humidity = 30000;
        sensor.pressure = 0x80000;
        read_badly(-ENODATA, "the sensor at 0x76 on bus 1 has not measured the pressure: it lost its power "
                             "meanwhile, or is broken");
        check_emitted(2, 1, 1, 0);
        end();
}

static void test_ranges(void **state _unused_)
{
        prepare(BME280);
        set_number(&host, "altitude", 100);
        open_it();
        sensor.temperature = 0;
        assert_int_equal(plugd_plugin_v1.read(instance), -ERANGE);
        assert_memory_equal(host.error, "the sensor at 0x76 on bus 1 gives a temperature of -", 52);
        assert_non_null(strstr(host.error, " °C, but can measure only -40 to 85 °C: not published; is it "));
        check_emitted(0, 0, 0, 0);
        sensor.temperature = 0xfffff;
        assert_int_equal(plugd_plugin_v1.read(instance), -ERANGE);
        check_emitted(0, 0, 0, 0);
        sensor.temperature = 519888;
        read_it();
        check_emitted(1, 1, 1, 1);
        sensor.pressure = 0;
        assert_int_equal(plugd_plugin_v1.read(instance), -ERANGE);
        assert_non_null(strstr(host.error, " hPa, but can measure only 300 to 1100 hPa: not published; "));
        check_emitted(2, 2, 1, 1);
        sensor.pressure = 0xfffff;
        /* However often: the others come, so it is not opened anew. */
        for (unsigned i = 3; i < 9; i++) {
                assert_int_equal(plugd_plugin_v1.read(instance), -ERANGE);
                check_emitted(i, i, 1, 1);
        }
        end();
}

/* The lowest and the highest of the raw values that are still within -40 to 85 °C, and their neighbours. */
static void test_edges(void **state _unused_)
{
        static const struct {
                uint32_t raw;
                bool good;
                const char *value;
        } edges[] = {{313708, false, ""}, {313709, true, "-40"}, {712471, true, "85"}, {712472, false, ""}};
        unsigned emitted = 0;

        prepare(BME280);
        set_string(&host, "oversampling_pressure", "off");
        open_it();
        for (size_t i = 0; i < ELEMENTSOF(edges); i++) {
                sensor.temperature = edges[i].raw;
                assert_int_equal(plugd_plugin_v1.read(instance), edges[i].good ? 0 : -ERANGE);
                emitted += edges[i].good;
                check_emitted(emitted, emitted, 0, 0);
                if (edges[i].good)
                        check_value(TEMPERATURE, edges[i].value);
        }
        sensor.temperature = 519888;
        sensor.humidity = 0;
        read_it();
        check_value(HUMIDITY, "0");
        sensor.humidity = 0xffff;
        read_it();
        check_value(HUMIDITY, "100");
        end();
}

/* Shown, and tried anew; after three in a row everything from the start. */
static void test_bus_errors(void **state _unused_)
{
        static const char no_answer[] =
                "no answer at 0x76 on bus 1: is the sensor connected, is its address right?";

        prepare(BME280);
        open_it();
        for (int i = 0; i < 5; i++) {
                chip->ignore = 6; /* two reads, three attempts each */
                read_badly(-ENXIO, no_answer);
                read_badly(-ENXIO, no_answer);
                read_it();
        }
        check_emitted(5, 5, 5, 0);
        chip->ignore = UINT32_MAX;
        read_badly(-ENXIO, no_answer);
        read_badly(-ENXIO, no_answer);
        read_badly(-ENODEV, no_answer);
        end();

        chip->ignore = 0;
        host_init(&host);
        open_it();
        script.fault_count = UINT32_MAX;
        script.fault_error = ETIMEDOUT;
        script.cost_usec = 160000;
        read_badly(-ETIMEDOUT, NULL);
        assert_memory_equal(host.error, "bus 1 is stuck: ", 16);
        script.fault_count = 0;
        script.cost_usec = 0;
        read_it();
        end();
}

/* At whatever transfer it fails: it is said, nothing is published that was not measured, and it recovers. */
static void test_each_transfer(void **state _unused_)
{
        unsigned n;

        prepare(BME280);
        open_it();
        n = script.transfers;
        read_it();
        n = script.transfers - n;
        end();
        for (unsigned i = 0; i < n; i++) {
                prepare(BME280);
                open_it();
                script.fault_after = i;
                script.fault_count = 1000;
                script.fault_error = EIO;
                read_badly(-EIO,
                        "a transfer with 0x76 on bus 1 failed, again and again: Input/output error; are "
                        "the wires short and well connected?");
                check_emitted(0, 0, 0, 0);
                script.fault_count = 0;
                read_it();
                check_value(TEMPERATURE, "25.08");
                end();
        }

        prepare(BME280);
        n = script.transfers;
        open_it();
        n = script.transfers - n;
        end();
        for (unsigned i = 0; i < n; i++) {
                prepare(BME280);
                script.fault_after = i;
                script.fault_count = 1000;
                script.fault_error = EIO;
                check_refused(-EIO,
                        "a transfer with 0x76 on bus 1 failed, again and again: Input/output error; "
                        "are the wires short and well connected?");
        }
}

static void test_short_answer(void **state _unused_)
{
        prepare(BME280);
        script.functions = I2C_SCRIPT_STUB;
        open_it();
        script.short_count = UINT32_MAX;
        read_badly(
                -EPROTO, "a short answer from 0x76 on bus 1: 3 of 4 bytes; are the wires well connected?");
        script.short_count = 0;
        read_it();
        end();
}

static void test_never_done(void **state _unused_)
{
        uint64_t start_usec;

        prepare(BME280);
        open_it();
        sensor.never_done = true;
        start_usec = script.now_usec;
        read_badly(-ETIME,
                "the sensor at 0x76 on bus 1 does not come to an end with measuring; it is set up again "
                "at the next read");
        assert_true(script.now_usec - start_usec < 200000);
        sensor.never_done = false;
        read_it();
        assert_int_equal(sensor.resets, 2);
        end();
}

/* --- what it says of itself --------------------------------------------------------------------------- */

static void test_descriptor(void **state _unused_)
{
        assert_int_equal(plugd_plugin_v1.n_channels, CHANNELS);
        assert_string_equal(plugd_plugin_v1.devices[0], "/dev/i2c-{bus}");
        assert_null(plugd_plugin_v1.devices[1]);
        for (size_t i = 0; i < plugd_plugin_v1.n_options; i++)
                assert_non_null(plugd_plugin_v1.options[i].help);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bme280),
                cmocka_unit_test(test_bmp280),
                cmocka_unit_test(test_sea_level),
                cmocka_unit_test(test_cold),
                cmocka_unit_test(test_settings),
                cmocka_unit_test(test_measuring_time),
                cmocka_unit_test(test_stub),
                cmocka_unit_test(test_two_instances),
                cmocka_unit_test(test_other_chips),
                cmocka_unit_test(test_nobody),
                cmocka_unit_test(test_no_calibration),
                cmocka_unit_test(test_no_start),
                cmocka_unit_test(test_power_lost_between),
                cmocka_unit_test(test_settings_lost),
                cmocka_unit_test(test_power_lost_within),
                cmocka_unit_test(test_not_measured),
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_edges),
                cmocka_unit_test(test_bus_errors),
                cmocka_unit_test(test_each_transfer),
                cmocka_unit_test(test_short_answer),
                cmocka_unit_test(test_never_done),
                cmocka_unit_test(test_descriptor),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
