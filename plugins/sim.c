/* SPDX-License-Identifier: Apache-2.0 */

/*
 * sim: a sensor without hardware, for trying things out and for tests. Gives one number, as a counter or a
 * wave; and misbehaves on request, in the ways that plugins do, to show that nothing else minds.
 *
 * This is also the example to read first when writing a plugin. It needs nothing but libc, not even libm:
 * its sine is a short series.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

#define PI 3.14159265358979323846
#define FLOOD_SAMPLES 1000 /* in one call of read() */
#define WIRE_FD 3          /* where the worker talks to plugd: none of a plugin's business */
#define EXIT_STATUS 3

static const struct plugd_option options[] = {
        {
                .name = "wave",
                .type = PLUGD_STRING,
                .fallback = "counter",
                .choices = "counter|sine|square|walk",
                .help = "counter: 0, 1, 2, …; sine and square: by the clock; walk: random steps.",
        },
        {
                .name = "period",
                .type = PLUGD_NUMBER,
                .fallback = "60",
                .min = 0.001,
                .max = 31536000,
                .unit = "s",
                .help = "How long a sine or a square takes.",
        },
        {
                .name = "amplitude",
                .type = PLUGD_NUMBER,
                .fallback = "1",
                .min = -1e9,
                .max = 1e9,
                .help = "How far a sine or a square goes from the offset; the longest step of a walk.",
        },
        {
                .name = "offset",
                .type = PLUGD_NUMBER,
                .fallback = "0",
                .min = -1e9,
                .max = 1e9,
                .help = "The middle of a sine or a square; where a walk starts.",
        },
        {
                .name = "seed",
                .type = PLUGD_INTEGER,
                .fallback = "1",
                .min = 0,
                .max = 4294967295,
                .help = "The same seed makes the same walk.",
        },
        {
                .name = "misbehave",
                .type = PLUGD_STRING,
                .fallback = "none",
                .choices = "none|crash|hang|flood|garbage|exit",
                .help = "crash: a segmentation fault; hang: read() never returns; flood: samples as fast as "
                        "they "
                        "go; garbage: random bytes to plugd behind its worker's back; exit: ends the "
                        "worker.",
        },
        {
                .name = "after",
                .type = PLUGD_INTEGER,
                .fallback = "0",
                .min = 0,
                .max = 1e9,
                .help = "How many good samples to give before misbehaving.",
        },
};

static const struct plugd_channel channels[] = {
        {.name = "value", .type = PLUGD_NUMBER, .flags = PLUGD_READABLE, .help = "The simulated value."},
};

typedef struct Sim Sim;

struct Sim {
        const struct plugd_host *host;
        struct plugd_value (*wave)(Sim *sim);
        int (*misbehave)(Sim *sim); /* NULL: it is good */
        double period_sec, amplitude, offset;
        double walk;
        uint64_t random;
        int64_t samples, after;
        struct timespec start;
        int event_fd; /* -1, or readable while it floods */
};

/* --- waves -------------------------------------------------------------------------------------------- */

/* Six decimals are plenty for something that isn't there, and read better. */
static struct plugd_value number(double value)
{
        double scaled = value * 1e6;

        if (scaled > -1e15 && scaled < 1e15)
                value = (double) (int64_t) (scaled + (scaled < 0 ? -0.5 : 0.5)) / 1e6;
        return (struct plugd_value){.type = PLUGD_NUMBER, .number = value};
}

static struct plugd_value wave_counter(Sim *sim)
{
        return (struct plugd_value){.type = PLUGD_INTEGER, .integer = sim->samples};
}

/* 0 to 1: where in its period the wave is. */
static double phase(const Sim *sim)
{
        struct timespec now;
        double periods;

        clock_gettime(CLOCK_MONOTONIC, &now);
        periods = ((double) (now.tv_sec - sim->start.tv_sec) +
                          (double) (now.tv_nsec - sim->start.tv_nsec) / 1e9) /
                  sim->period_sec;
        return periods - (double) (int64_t) periods;
}

/* sin(x) for -π/2 to π/2, to nine digits. */
static double sine(double x)
{
        double square = x * x, term = x, sum = x;

        for (int n = 3; n <= 15; n += 2) {
                term *= -square / ((n - 1) * n);
                sum += term;
        }
        return sum;
}

static struct plugd_value wave_sine(Sim *sim)
{
        double at = phase(sim);

        at = at < 0.25 ? at : at < 0.75 ? 0.5 - at : at - 1; /* the same sine, near zero */
        return number(sim->offset + sim->amplitude * sine(2 * PI * at));
}

static struct plugd_value wave_square(Sim *sim)
{
        return number(sim->offset + (phase(sim) < 0.5 ? sim->amplitude : -sim->amplitude));
}

static struct plugd_value wave_walk(Sim *sim)
{
        struct plugd_value value = number(sim->walk);

        /* Steele and Vigna's SplitMix64: any seed will do. */
        uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        sim->walk += sim->amplitude * (2 * (double) (z >> 11) / (double) (UINT64_C(1) << 53) - 1);
        return value;
}

static int emit_one(Sim *sim)
{
        struct plugd_value value = sim->wave(sim);
        int r = sim->host->emit(sim->host, 0, &value, 0);

        if (r == 0)
                sim->samples++;
        return r;
}

/* --- misbehaving -------------------------------------------------------------------------------------- */

static int crash(Sim *sim)
{
        (void) sim;
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make a report of it */
        raise(SIGSEGV);
        return 0;
}

static int hang(Sim *sim)
{
        (void) sim;
        for (;;)
                pause();
        return 0;
}

static int flood(Sim *sim)
{
        int r = 0;

        for (int i = 0; i < FLOOD_SAMPLES && r == 0; i++)
                r = emit_one(sim);
        (void) eventfd_write(sim->event_fd, 1); /* again, at once, and for ever */
        return r;
}

static int garbage(Sim *sim)
{
        unsigned char bytes[4096];

        (void) sim;
        if (getrandom(bytes, sizeof(bytes), 0) < 0 || write(WIRE_FD, bytes, sizeof(bytes)) < 0)
                return -errno;
        return 0;
}

static int end(Sim *sim)
{
        (void) sim;
        _exit(EXIT_STATUS);
}

/* --- the plugin --------------------------------------------------------------------------------------- */

static const char *string(const struct plugd_host *host, const char *name)
{
        return host->option(host, name)->string;
}

static void choose_wave(Sim *sim, const char *name)
{
        if (strcmp(name, "sine") == 0)
                sim->wave = wave_sine;
        else if (strcmp(name, "square") == 0)
                sim->wave = wave_square;
        else if (strcmp(name, "walk") == 0)
                sim->wave = wave_walk;
        else
                sim->wave = wave_counter;
}

static void choose_misbehaviour(Sim *sim, const char *name)
{
        if (strcmp(name, "crash") == 0)
                sim->misbehave = crash;
        else if (strcmp(name, "hang") == 0)
                sim->misbehave = hang;
        else if (strcmp(name, "flood") == 0)
                sim->misbehave = flood;
        else if (strcmp(name, "garbage") == 0)
                sim->misbehave = garbage;
        else if (strcmp(name, "exit") == 0)
                sim->misbehave = end;
}

static int sim_open(const struct plugd_host *host, void **ret_instance)
{
        Sim *sim = calloc(1, sizeof(*sim));

        if (!sim)
                return -ENOMEM;
        *sim = (Sim){
                .host = host,
                .period_sec = host->option(host, "period")->number,
                .amplitude = host->option(host, "amplitude")->number,
                .offset = host->option(host, "offset")->number,
                .random = (uint64_t) host->option(host, "seed")->integer,
                .after = host->option(host, "after")->integer,
                .event_fd = -1,
        };
        sim->walk = sim->offset;
        choose_wave(sim, string(host, "wave"));
        choose_misbehaviour(sim, string(host, "misbehave"));
        clock_gettime(CLOCK_MONOTONIC, &sim->start);

        if (sim->misbehave == flood) {
                sim->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (sim->event_fd < 0) {
                        int error = errno;

                        host->log(host, PLUGD_ERROR, "cannot make an eventfd to flood with: %s",
                                strerror(error));
                        free(sim);
                        return -error;
                }
        }
        *ret_instance = sim;
        return 0;
}

static int sim_read(void *instance)
{
        Sim *sim = instance;

        if (sim->misbehave && sim->samples >= sim->after)
                return sim->misbehave(sim);
        return emit_one(sim);
}

static int sim_event_fd(void *instance)
{
        return ((const Sim *) instance)->event_fd;
}

static void sim_close(void *instance)
{
        Sim *sim = instance;

        if (sim->event_fd >= 0)
                close(sim->event_fd);
        free(sim);
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "sim",
        .description = "A simulated sensor: a counter, a wave or a random walk; misbehaves on request.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .channels = channels,
        .n_channels = sizeof(channels) / sizeof(channels[0]),
        .open = sim_open,
        .read = sim_read,
        .event_fd = sim_event_fd,
        .close = sim_close,
};
