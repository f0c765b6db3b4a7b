/* SPDX-License-Identifier: Apache-2.0 */

/* Chips and a host for tests of the gpio plugin. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gpio-fake.h"

#define CHIPS_MAX 16

int64_t fake_now_ns;
const char *fake_explanation;
void (*fake_on_request)(GpioLine *line), (*fake_on_value)(GpioLine *line);

static GpioChip *chips[CHIPS_MAX];
static size_t n_chips;
static int fake_version;

/* --- the kernel --------------------------------------------------------------------------------------- */

void fake_reset(int version)
{
        fake_end();
        fake_version = version;
        fake_now_ns = FAKE_START;
        fake_explanation = "somebody else may open it";
        fake_on_request = fake_on_value = NULL;
}

void fake_end(void)
{
        while (n_chips > 0)
                free(chips[--n_chips]);
}

GpioChip *fake_chip(const char *name, const char *label, unsigned n_lines)
{
        GpioChip *chip = calloc(1, sizeof(*chip));

        assert_non_null(chip);
        assert_true(n_chips < CHIPS_MAX && n_lines <= FAKE_LINES_MAX);
        snprintf(chip->name, sizeof(chip->name), "%s", name);
        snprintf(chip->label, sizeof(chip->label), "%s", label);
        chip->n_lines = n_lines;
        return chips[n_chips++] = chip;
}

/* The kernel under libgpiod 1.6 drops what comes when its queue is full, the other one drops the oldest. */
static void queue_event(GpioLine *line, const GpioEvent *event)
{
        if (line->n_queued == gpio_traits()->queued) {
                if (fake_version == 1)
                        return;
                memmove(line->queue, line->queue + 1, --line->n_queued * sizeof(*event));
        }
        line->queue[line->n_queued++] = *event;
        assert_int_equal(eventfd_write(line->fd, 1), 0);
}

void fake_pin(GpioLine *line, bool high, int64_t when_ns)
{
        GpioEvent event = {.when_ns = when_ns, .rising = high != line->settings.active_low};
        GpioEdge edge = event.rising ? GPIO_EDGE_RISING : GPIO_EDGE_FALLING;

        if (high == line->high)
                return;
        line->high = high;
        if (!line->taken || !(line->settings.edge & edge))
                return;
        line->sequence++;
        event.sequence = fake_version == 2 ? line->sequence : 0;
        queue_event(line, &event);
}

bool fake_all_released(void)
{
        for (size_t i = 0; i < n_chips; i++) {
                if (chips[i]->open != 0)
                        return false;
                for (unsigned offset = 0; offset < chips[i]->n_lines; offset++)
                        if (chips[i]->lines[offset].taken)
                                return false;
        }
        return true;
}

/* --- the seam ----------------------------------------------------------------------------------------- */

const GpioTraits *gpio_traits(void)
{
        static const GpioTraits traits[] = {
                {.debounces = false, .counts = false, .queued = 16},
                {.debounces = true, .counts = true, .queued = 256},
        };

        return traits + fake_version - 1;
}

int gpio_chip_open(const char *name, GpioChip **ret_chip)
{
        for (size_t i = 0; i < n_chips; i++) {
                if (strcmp(chips[i]->name, name) != 0)
                        continue;
                if (chips[i]->open_error < 0)
                        return chips[i]->open_error;
                chips[i]->open++;
                *ret_chip = chips[i];
                return 0;
        }
        return -ENOENT;
}

void gpio_chip_close(GpioChip *chip)
{
        assert_true(chip->open-- > 0);
}

int gpio_chip_info(GpioChip *chip, GpioChipInfo *ret_info)
{
        memcpy(ret_info->name, chip->name, sizeof(chip->name));
        memcpy(ret_info->label, chip->label, sizeof(chip->label));
        ret_info->n_lines = chip->n_lines;
        return 0;
}

int gpio_chip_line_info(GpioChip *chip, unsigned offset, GpioLineInfo *ret_info)
{
        const GpioLine *line = chip->lines + offset;

        if (offset >= chip->n_lines)
                return -EINVAL;
        memcpy(ret_info->name, line->name, sizeof(line->name));
        memcpy(ret_info->consumer, line->taken ? "plugd" : line->consumer, line->taken ? 6 : GPIO_NAME_MAX);
        ret_info->used = line->taken || line->used || line->consumer[0];
        return 0;
}

int gpio_line_request(GpioChip *chip, const GpioSettings *settings, GpioLine **ret_line)
{
        GpioLine *line = chip->lines + settings->offset;

        assert_true(chip->open > 0);
        if (settings->offset >= chip->n_lines)
                return -EINVAL;
        if (line->taken || line->used || line->consumer[0])
                return -EBUSY;
        if (line->request_error < 0)
                return line->request_error;
        assert_true(gpio_traits()->debounces || settings->debounce_usec == 0);
        line->settings = *settings;
        line->n_queued = 0;
        line->sequence = 0;
        line->taken = true;
        line->fd = settings->edge == GPIO_EDGE_NONE ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fake_on_request)
                fake_on_request(line);
        *ret_line = line;
        return 0;
}

void gpio_line_release(GpioLine *line)
{
        if (!line)
                return;
        assert_true(line->taken);
        line->taken = false;
        if (line->fd >= 0)
                close(line->fd);
}

int gpio_line_fd(const GpioLine *line)
{
        return line->fd;
}

int gpio_line_value(GpioLine *line)
{
        line->values_asked++;
        if (line->gone)
                return -ENODEV;
        if (line->value_error < 0)
                return line->value_error;
        if (fake_on_value)
                fake_on_value(line);
        return line->high != line->settings.active_low;
}

int gpio_line_events(GpioLine *line, GpioEvent *events, size_t n_max)
{
        size_t n = line->n_queued < n_max ? line->n_queued : n_max;
        eventfd_t old;

        if (line->gone)
                return -ENODEV;
        memcpy(events, line->queue, n * sizeof(*events));
        line->n_queued -= n;
        memmove(line->queue, line->queue + n, line->n_queued * sizeof(*events));
        if (line->fd >= 0 && line->n_queued == 0)
                (void) eventfd_read(line->fd, &old);
        return (int) n;
}

int64_t gpio_now_ns(void)
{
        return fake_now_ns;
}

int gpio_dev_list(const char *folder, char (**ret_names)[GPIO_NAME_MAX])
{
        char(*names)[GPIO_NAME_MAX] = calloc(CHIPS_MAX, sizeof(*names));

        assert_string_equal(folder, GPIO_DEVICES);
        assert_non_null(names);
        for (size_t i = 0; i < n_chips; i++)
                memcpy(names[i], chips[i]->name, GPIO_NAME_MAX);
        *ret_names = names;
        return (int) n_chips;
}

/* Beside the chips, /dev/buttons leads to gpiochip1, and /dev/null is there. */
int gpio_dev_resolve(const char *path, char ret_name[static GPIO_NAME_MAX])
{
        const char *name = path + strlen("/dev/");

        if (strcmp(path, "/dev/null") == 0)
                return -ENOTTY;
        if (strcmp(path, "/dev/buttons") == 0)
                name = "gpiochip1";
        for (size_t i = 0; i < n_chips; i++)
                if (strcmp(chips[i]->name, name) == 0) {
                        memcpy(ret_name, chips[i]->name, GPIO_NAME_MAX);
                        return 0;
                }
        return -ENOENT;
}

void gpio_dev_explain(const char *path, const char *etc, char *ret_words, size_t size)
{
        assert_string_equal(etc, "/etc");
        snprintf(ret_words, size, "%s: %s", path, fake_explanation);
}

/* --- settings ----------------------------------------------------------------------------------------- */

static void put(FakeSettings *settings, const char *name, struct plugd_value value)
{
        size_t i = 0;

        while (i < settings->n && strcmp(settings->settings[i].name, name) != 0)
                i++;
        assert_true(i < sizeof(settings->settings) / sizeof(settings->settings[0]));
        settings->settings[i] = (struct plugd_setting){.name = name, .value = value};
        settings->n += i == settings->n;
}

void fake_text(FakeSettings *settings, const char *name, const char *value)
{
        put(settings, name, (struct plugd_value){.type = PLUGD_STRING, .string = value});
}

void fake_integer(FakeSettings *settings, const char *name, int64_t value)
{
        put(settings, name, (struct plugd_value){.type = PLUGD_INTEGER, .integer = value});
}

void fake_number(FakeSettings *settings, const char *name, double value)
{
        put(settings, name, (struct plugd_value){.type = PLUGD_NUMBER, .number = value});
}

void fake_boolean(FakeSettings *settings, const char *name, bool value)
{
        put(settings, name, (struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = value});
}

FakeSettings *fake_line(FakeHost *host, const char *name)
{
        FakeSettings *line = host->lines + host->n_lines;

        assert_true(host->n_lines < 300);
        fake_text(line, "name", name);
        host->groups[host->n_lines++] = (struct plugd_group){.settings = line->settings};
        return line;
}

static const struct plugd_value *find(const struct plugd_setting *settings, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(settings[i].name, name) == 0)
                        return &settings[i].value;
        return NULL;
}

/* --- the host ----------------------------------------------------------------------------------------- */

static FakeHost *of(const struct plugd_host *host)
{
        return host->context;
}

static int on_emit(
        const struct plugd_host *host, uint32_t channel, const struct plugd_value *value, int64_t when_ns)
{
        FakeHost *fake = of(host);

        assert_non_null(fake->instance); /* not in open() */
        assert_true(channel < fake->n_channels);
        assert_int_equal(value->type, PLUGD_BOOLEAN);
        assert_in_range(value->boolean, 0, 1);
        assert_true(fake->n_samples < sizeof(fake->samples) / sizeof(fake->samples[0]));
        fake->samples[fake->n_samples++] = (FakeSample){channel, value->boolean, when_ns};
        return 0;
}

static void on_log(const struct plugd_host *host, enum plugd_priority priority, const char *format, ...)
{
        FakeHost *fake = of(host);
        va_list arguments;

        va_start(arguments, format);
        if (priority == PLUGD_ERROR) {
                vsnprintf(fake->error, sizeof(fake->error), format, arguments);
                fake->n_errors++;
        } else if (priority == PLUGD_WARNING) {
                vsnprintf(fake->warning, sizeof(fake->warning), format, arguments);
                fake->n_warnings++;
        }
        va_end(arguments);
}

static const struct plugd_value *on_option(const struct plugd_host *host, const char *name)
{
        FakeHost *fake = of(host);

        if (strcmp(name, "lines") == 0 && fake->n_lines > 0) {
                for (size_t i = 0; i < fake->n_lines; i++)
                        fake->groups[i].n_settings = fake->lines[i].n;
                fake->groups_value = (struct plugd_value){
                        .type = PLUGD_GROUPS, .count = (uint32_t) fake->n_lines, .groups = fake->groups};
                return &fake->groups_value;
        }
        return find(fake->options.settings, fake->options.n, name);
}

static const struct plugd_value *on_setting(
        const struct plugd_host *host, const struct plugd_group *group, const char *name)
{
        (void) host;
        return find(group->settings, group->n_settings, name);
}

static int on_declare(const struct plugd_host *host, const struct plugd_channel *channel)
{
        FakeHost *fake = of(host);

        assert_null(fake->instance);
        assert_int_equal(channel->type, PLUGD_BOOLEAN);
        assert_int_equal(channel->flags, PLUGD_READABLE);
        if (strchr(channel->name, '#'))
                return -EINVAL;
        for (size_t i = 0; i < fake->n_channels; i++)
                if (strcmp(fake->channels[i], channel->name) == 0)
                        return -EEXIST;
        snprintf(fake->channels[fake->n_channels], sizeof(fake->channels[0]), "%s", channel->name);
        return (int) fake->n_channels++;
}

/* Every option that has a default is there, as plugd would give it. */
static void put_defaults(FakeSettings *settings)
{
        for (size_t i = 0; i < plugd_plugin_v1.n_options; i++) {
                const struct plugd_option *option = plugd_plugin_v1.options + i;

                if (!option->fallback)
                        continue;
                switch ((enum plugd_type) option->type) {
                case PLUGD_BOOLEAN:
                        fake_boolean(settings, option->name, strcmp(option->fallback, "true") == 0);
                        break;
                case PLUGD_INTEGER:
                        fake_integer(settings, option->name, strtoll(option->fallback, NULL, 10));
                        break;
                case PLUGD_NUMBER:
                        fake_number(settings, option->name, strtod(option->fallback, NULL));
                        break;
                case PLUGD_STRING:
                        fake_text(settings, option->name, option->fallback);
                        break;
                case PLUGD_JSON:
                case PLUGD_GROUPS:
                        fail();
                }
        }
}

FakeHost *fake_host_new(void)
{
        FakeHost *host = calloc(1, sizeof(*host));

        assert_non_null(host);
        host->host = (struct plugd_host){
                .abi = PLUGD_ABI,
                .size = sizeof(struct plugd_host),
                .context = host,
                .emit = on_emit,
                .log = on_log,
                .option = on_option,
                .declare = on_declare,
                .setting = on_setting,
        };
        put_defaults(&host->options);
        return host;
}

void fake_host_free(FakeHost *host)
{
        if (host->instance)
                fake_close(host);
        free(host);
}

int fake_open(FakeHost *host)
{
        void *instance;
        int r;

        assert_null(host->instance);
        host->n_channels = 0;
        r = plugd_plugin_v1.open(&host->host, &instance);
        if (r == 0)
                host->instance = instance;
        else
                assert_true(fake_all_released());
        return r;
}

int fake_read_for(FakeHost *host, enum plugd_reason reason)
{
        host->host.reason = reason;
        return plugd_plugin_v1.read(host->instance);
}

int fake_read(FakeHost *host)
{
        int r = fake_pending(host) ? fake_read_for(host, PLUGD_EVENT) : -EAGAIN;

        return r == -EAGAIN ? fake_read_for(host, PLUGD_INTERVAL) : r;
}

void fake_close(FakeHost *host)
{
        plugd_plugin_v1.close(host->instance);
        host->instance = NULL;
}

bool fake_pending(FakeHost *host)
{
        struct pollfd polled = {.fd = plugd_plugin_v1.event_fd(host->instance), .events = POLLIN};

        assert_true(polled.fd >= 0);
        return poll(&polled, 1, 0) > 0;
}

void fake_expect(FakeHost *host, uint32_t channel, bool value, int64_t when_ns)
{
        const FakeSample *sample = host->samples + host->n_seen;

        if (host->n_seen >= host->n_samples)
                fail_msg("no sample came: %d on channel %u was expected", value, channel);
        host->n_seen++;
        assert_int_equal(sample->channel, channel);
        assert_int_equal(sample->value, value);
        assert_int_equal(sample->when_ns, when_ns);
}

void fake_expect_no_more(FakeHost *host)
{
        if (host->n_seen < host->n_samples)
                fail_msg("%zu samples more than expected, the first %d", host->n_samples - host->n_seen,
                        host->samples[host->n_seen].value);
}
