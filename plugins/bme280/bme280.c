/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bme280: temperature, pressure and humidity of Bosch's BME280, temperature and pressure of a BMP280, on an
 * I2C bus. Each read() has the chip measure once. What fails is shown, and tried anew at the next read;
 * after three failures in a row everything is opened from the start.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bme280-internal.h"

#define BUS_TIMEOUT_USEC 500000 /* of a transfer: all of a read() then is well within 10 s */
#define FAILURES_MAX 3

#define OVERSAMPLINGS "off|x1|x2|x4|x8|x16"
#define OVERSAMPLINGS_ON "x1|x2|x4|x8|x16"
#define FILTERS "off|2|4|8|16"

static const struct plugd_option options[] = {
        {
                .name = "bus",
                .type = PLUGD_INTEGER,
                .fallback = "1",
                .min = 0,
                .max = 255,
                .help = "The I2C bus: the N of /dev/i2c-N.",
        },
        {
                .name = "address",
                .type = PLUGD_INTEGER,
                .fallback = "0x76",
                .min = 0x76,
                .max = 0x77,
                .help = "The sensor's address: 0x76 (118), or 0x77 (119) where its SDO is connected to the "
                        "supply.",
        },
        {
                .name = "oversampling_temperature",
                .type = PLUGD_STRING,
                .fallback = "x2",
                .choices = OVERSAMPLINGS_ON,
                .help = "How many measurements one value is made of: more take longer and are less noisy. "
                        "Pressure and humidity need the temperature, so it is never off.",
        },
        {
                .name = "oversampling_pressure",
                .type = PLUGD_STRING,
                .fallback = "x16",
                .choices = OVERSAMPLINGS,
                .help = "The same for pressure; off: it isn't measured.",
        },
        {
                .name = "oversampling_humidity",
                .type = PLUGD_STRING,
                .fallback = "x4",
                .choices = OVERSAMPLINGS,
                .help = "The same for humidity, which a BMP280 does not have.",
        },
        {
                .name = "filter",
                .type = PLUGD_STRING,
                .fallback = "off",
                .choices = FILTERS,
                .help = "The chip's filter of pressure and temperature: after a jump it takes about so many "
                        "reads times two to get there. Good against slamming doors and wind.",
        },
        {
                .name = "altitude",
                .type = PLUGD_NUMBER,
                .min = -500,
                .max = 9000,
                .unit = "m",
                .help = "The sensor's altitude above sea level. With it, pressure is published also as it "
                        "would be at sea level, in the standard atmosphere. Default: none.",
        },
};

enum { TEMPERATURE, HUMIDITY, PRESSURE, PRESSURE_SEA_LEVEL };
static const struct plugd_channel channels[] = {
        {.name = "temperature",
                .unit = "°C",
                .type = PLUGD_NUMBER,
                .flags = PLUGD_READABLE,
                .help = "Of the chip, to 0.01 °C: a little above that of the air around it."},
        {.name = "humidity",
                .unit = "%",
                .type = PLUGD_NUMBER,
                .flags = PLUGD_READABLE,
                .help = "Relative, to 0.01 %. From a BME280 only."},
        {.name = "pressure",
                .unit = "hPa",
                .type = PLUGD_NUMBER,
                .flags = PLUGD_READABLE,
                .help = "Where the sensor is, to 0.001 hPa."},
        {.name = "pressure_sea_level",
                .unit = "hPa",
                .type = PLUGD_NUMBER,
                .flags = PLUGD_READABLE,
                .help = "Reduced to sea level. Only where altitude is given."},
};

typedef struct Bme280 {
        const struct plugd_host *host;
        Chip chip;
        double sea_level_factor; /* 0: no altitude */
        unsigned failures;       /* in a row */
} Bme280;

/* --- values ------------------------------------------------------------------------------------------- */

/* To so many parts of one: 25.08, and not the digits behind it that come from the formula alone. */
static double rounded(double value, double parts)
{
        double scaled = value * parts;

        return (double) (int64_t) (scaled + (scaled < 0 ? -0.5 : 0.5)) / parts;
}

static int emit(Bme280 *bme280, uint32_t channel, double value, double parts, int64_t when_ns)
{
        const struct plugd_value v = {.type = PLUGD_NUMBER, .number = rounded(value, parts)};

        return bme280->host->emit(bme280->host, channel, &v, when_ns);
}

static int not_measured(Bme280 *bme280, const char *what)
{
        bme280->host->log(bme280->host, PLUGD_ERROR,
                "the sensor at 0x%02x on bus %u has not measured the %s: it lost its power meanwhile, or is "
                "broken",
                bme280->chip.address, bme280->chip.bus, what);
        return -ENODATA;
}

/* Also false for what is not a number. */
static bool within(double value, double min, double max)
{
        return value >= min && value <= max;
}

static int out_of_range(
        Bme280 *bme280, const char *what, double value, double min, double max, const char *unit)
{
        bme280->host->log(bme280->host, PLUGD_ERROR,
                "the sensor at 0x%02x on bus %u gives a %s of %.2f %s, but can measure only %g to %g %s: "
                "not "
                "published; is it damaged, are its wires well connected?",
                bme280->chip.address, bme280->chip.bus, what, value, unit, min, max, unit);
        return -ERANGE;
}

static int give_temperature(Bme280 *bme280, uint32_t raw, int64_t when_ns, double *ret_fine)
{
        double celsius;

        if (raw == RAW_NONE_20)
                return not_measured(bme280, "temperature");
        celsius = compensate_temperature(&bme280->chip.calibration, raw, ret_fine);
        if (!within(celsius, -40, 85))
                return out_of_range(bme280, "temperature", celsius, -40, 85, "°C");
        return emit(bme280, TEMPERATURE, celsius, 100, when_ns);
}

static int give_humidity(Bme280 *bme280, uint32_t raw, int64_t when_ns, double fine)
{
        if (!bme280->chip.has_humidity || bme280->chip.settings.humidity == 0)
                return 0;
        if (raw == RAW_NONE_16)
                return not_measured(bme280, "humidity");
        return emit(
                bme280, HUMIDITY, compensate_humidity(&bme280->chip.calibration, raw, fine), 100, when_ns);
}

static int give_pressure(Bme280 *bme280, uint32_t raw, int64_t when_ns, double fine)
{
        double hpa;
        int r;

        if (bme280->chip.settings.pressure == 0)
                return 0;
        if (raw == RAW_NONE_20)
                return not_measured(bme280, "pressure");
        hpa = compensate_pressure(&bme280->chip.calibration, raw, fine) / 100;
        if (!within(hpa, 300, 1100))
                return out_of_range(bme280, "pressure", hpa, 300, 1100, "hPa");
        r = emit(bme280, PRESSURE, hpa, 1000, when_ns);
        if (r == 0 && bme280->sea_level_factor > 0)
                r = emit(bme280, PRESSURE_SEA_LEVEL, hpa * bme280->sea_level_factor, 1000, when_ns);
        return r;
}

static int64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Without a temperature there is nothing; else one that is bad does not take the others with it. All of one
 * measurement have one time. */
static int give_others(Bme280 *bme280, const Raw *raw, int64_t when_ns, double fine)
{
        int h = give_humidity(bme280, raw->humidity, when_ns, fine);
        int p = give_pressure(bme280, raw->pressure, when_ns, fine);

        return h < 0 ? h : p;
}

/* --- the plugin --------------------------------------------------------------------------------------- */

static const char *word(const struct plugd_host *host, const char *name)
{
        return host->option(host, name)->string;
}

/* Which of the words with | between them it is; what the host checked is one of them. */
static uint8_t place(const char *words, const char *wanted)
{
        size_t length = strlen(wanted);
        uint8_t n = 0;

        for (const char *at = words; at; n++) {
                if (strncmp(at, wanted, length) == 0 && (at[length] == '|' || at[length] == '\0'))
                        return n;
                at = strchr(at, '|');
                at = at ? at + 1 : NULL;
        }
        return 0;
}

static int read_options(Bme280 *bme280)
{
        const struct plugd_host *host = bme280->host;
        const struct plugd_value *altitude = host->option(host, "altitude");

        bme280->chip = (Chip){
                .host = host,
                .bus = (unsigned) host->option(host, "bus")->integer,
                .address = (unsigned) host->option(host, "address")->integer,
                .settings =
                        {
                                .temperature = place(OVERSAMPLINGS, word(host, "oversampling_temperature")),
                                .pressure = place(OVERSAMPLINGS, word(host, "oversampling_pressure")),
                                .humidity = place(OVERSAMPLINGS, word(host, "oversampling_humidity")),
                                .filter = place(FILTERS, word(host, "filter")),
                        },
        };
        if (!altitude)
                return 0;
        if (bme280->chip.settings.pressure == 0) {
                host->log(host, PLUGD_ERROR,
                        "altitude is given, but oversampling_pressure is \"off\": there is no pressure to "
                        "reduce to sea level; leave out one of the two");
                return -EINVAL;
        }
        bme280->sea_level_factor = sea_level_factor(altitude->number);
        return 0;
}

static void bme280_close(void *instance)
{
        Bme280 *bme280 = instance;

        plugd_i2c_free(bme280->chip.i2c);
        free(bme280);
}

static int begin(Bme280 *bme280, const struct plugd_i2c_transport *transport)
{
        Chip *chip = &bme280->chip;
        int r = read_options(bme280);

        if (r == 0)
                r = plugd_i2c_new(chip->bus, chip->address, BUS_TIMEOUT_USEC, transport, &chip->i2c);
        if (r < 0)
                return r;
        r = plugd_i2c_open(chip->i2c);
        if (r < 0) {
                bme280->host->log(bme280->host, PLUGD_ERROR, "%s", plugd_i2c_error(chip->i2c));
                return r;
        }
        return chip_set_up(chip);
}

int bme280_open_on(const struct plugd_host *host, const struct plugd_i2c_transport *transport, void **ret)
{
        Bme280 *bme280 = calloc(1, sizeof(*bme280));
        int r;

        if (!bme280)
                return -ENOMEM;
        bme280->host = host;
        r = begin(bme280, transport);
        if (r < 0) {
                bme280_close(bme280);
                return r;
        }
        *ret = bme280;
        return 0;
}

static int bme280_open(const struct plugd_host *host, void **ret_instance)
{
        return bme280_open_on(host, NULL, ret_instance);
}

static int bme280_read(void *instance)
{
        Bme280 *bme280 = instance;
        int64_t when_ns = 0;
        double fine = 0;
        Raw raw;
        int r = chip_measure(&bme280->chip, &raw);

        if (r >= 0) {
                when_ns = now_ns();
                r = give_temperature(bme280, raw.temperature, when_ns, &fine);
        }
        if (r < 0)
                return ++bme280->failures < FAILURES_MAX ? r : -ENODEV;
        bme280->failures = 0;
        return give_others(bme280, &raw, when_ns, fine);
}

static const char *const devices[] = {"/dev/i2c-{bus}", NULL};

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "bme280",
        .description =
                "Bosch BME280 (temperature, humidity, pressure) and BMP280 (without humidity) on I2C.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .channels = channels,
        .n_channels = sizeof(channels) / sizeof(channels[0]),
        .open = bme280_open,
        .read = bme280_read,
        .close = bme280_close,
        .devices = devices,
};
