/* SPDX-License-Identifier: Apache-2.0 */

/*
 * gpio: digital inputs. One line, or several with names, each a channel: their levels when the sensor starts
 * and at the interval, their edges as they come, with the kernel's times.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "gpio-internal.h"

/* All lines, and the timer: none is settled before its edges are taken. */
#define READY_MAX (GPIO_LINES_MAX + 1)
/* So often the chips are looked at: kernels before 6.7 wake nobody when one goes. */
#define LOOK_NS (10 * GPIO_NSEC_PER_SEC)
#define TIMER UINT32_MAX

/* --- opening ------------------------------------------------------------------------------------------ */

static int declare(Gpio *gpio, GpioInput *input)
{
        const struct plugd_host *host = gpio->host;
        const struct plugd_channel channel = {
                .name = input->wanted.name ? input->wanted.name : "value",
                .type = PLUGD_BOOLEAN,
                .flags = PLUGD_READABLE,
                .help = "The line's level.",
        };
        int r = host->declare(host, &channel);

        if (r == -EEXIST)
                host->log(host, PLUGD_ERROR, "two lines have the name '%s'", channel.name);
        else if (r < 0)
                host->log(
                        host, PLUGD_ERROR, "no channel can be called '%s': %s", channel.name, strerror(-r));
        else
                input->channel = (uint32_t) r;
        return r < 0 ? r : 0;
}

/* A line goes into the list once: the kernel would say that it is in use, and mean us. */
static int check_twice(Gpio *gpio, size_t of)
{
        const GpioInput *input = gpio->inputs + of;

        for (const GpioInput *other = gpio->inputs; other < input; other++)
                if (other->offset == input->offset && other->chip == input->chip) {
                        gpio->host->log(gpio->host, PLUGD_ERROR,
                                "line %u of %s is there twice: as '%s' and '%s'", input->offset,
                                input->chip->is.name, other->wanted.name, input->wanted.name);
                        return -EINVAL;
                }
        return 0;
}

static int watch(Gpio *gpio, int fd, uint32_t what)
{
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};

        return epoll_ctl(gpio->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_events(Gpio *gpio)
{
        int r = 0;

        gpio->epoll = epoll_create1(EPOLL_CLOEXEC);
        gpio->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (gpio->epoll < 0 || gpio->timer < 0)
                r = -errno;
        if (r == 0)
                r = watch(gpio, gpio->timer, TIMER);
        for (size_t i = 0; i < gpio->n_inputs && r == 0; i++) {
                int fd = gpio_line_fd(gpio->inputs[i].line);

                if (fd >= 0)
                        r = watch(gpio, fd, (uint32_t) i);
        }
        if (r < 0)
                gpio->host->log(gpio->host, PLUGD_ERROR, "cannot wait for edges: %s", strerror(-r));
        return r;
}

static int open_inputs(Gpio *gpio)
{
        int r = 0;

        for (size_t i = 0; i < gpio->n_inputs && r == 0; i++)
                r = declare(gpio, gpio->inputs + i);
        for (size_t i = 0; i < gpio->n_inputs && r == 0; i++) {
                r = gpio_find(gpio, gpio->inputs + i);
                if (r == 0)
                        r = check_twice(gpio, i);
                if (r == 0)
                        r = gpio_input_open(gpio, gpio->inputs + i);
        }
        return r;
}

static void gpio_close(void *instance)
{
        Gpio *gpio = instance;

        for (size_t i = 0; i < gpio->n_inputs; i++)
                gpio_input_close(gpio, gpio->inputs + i);
        for (size_t i = 0; i < gpio->n_chips; i++)
                gpio_chip_close(gpio->chips[i].chip);
        if (gpio->timer >= 0)
                close(gpio->timer);
        if (gpio->epoll >= 0)
                close(gpio->epoll);
        free(gpio->inputs);
        free(gpio->chips);
        free(gpio);
}

static Gpio *gpio_new(const struct plugd_host *host, const GpioWanted *lines, size_t n)
{
        Gpio *gpio = calloc(1, sizeof(*gpio));

        if (!gpio)
                return NULL;
        *gpio = (Gpio){
                .host = host,
                .epoll = -1,
                .timer = -1,
                .armed_ns = GPIO_NEVER,
                .look_ns = gpio_now_ns() + LOOK_NS,
        };
        gpio->inputs = calloc(n, sizeof(*gpio->inputs));
        gpio->chips = calloc(n, sizeof(*gpio->chips)); /* each line brings one at most */
        if (!gpio->inputs || !gpio->chips) {
                gpio_close(gpio);
                return NULL;
        }
        gpio->n_inputs = n;
        for (size_t i = 0; i < n; i++)
                gpio->inputs[i].wanted = lines[i];
        return gpio;
}

static int gpio_open(const struct plugd_host *host, void **ret_instance)
{
        GpioWanted *lines;
        Gpio *gpio;
        int r = gpio_options_read(host, &lines);

        if (r < 0)
                return r;
        gpio = gpio_new(host, lines, (size_t) r);
        free(lines);
        if (!gpio)
                return -ENOMEM;
        r = open_inputs(gpio);
        if (r == 0)
                r = open_events(gpio);
        if (r < 0) {
                gpio_close(gpio);
                return r;
        }
        *ret_instance = gpio;
        return 0;
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* The timer wakes for what comes first. Absolute, so that a time that has gone by wakes at once. */
static void arm(Gpio *gpio, int64_t when_ns)
{
        struct itimerspec spec = {.it_value = {0, 0}}; /* off */

        if (when_ns == gpio->armed_ns)
                return;
        if (when_ns != GPIO_NEVER)
                spec.it_value = (struct timespec){
                        (time_t) (when_ns / GPIO_NSEC_PER_SEC), (long) (when_ns % GPIO_NSEC_PER_SEC)};
        if (timerfd_settime(gpio->timer, TFD_TIMER_ABSTIME, &spec, NULL) == 0)
                gpio->armed_ns = when_ns;
}

static void settle(Gpio *gpio, int64_t now_ns)
{
        int64_t next_ns = gpio->look_ns;

        for (size_t i = 0; i < gpio->n_inputs; i++) {
                int64_t due_ns = gpio_input_settle(gpio, gpio->inputs + i, now_ns);

                if (due_ns < next_ns)
                        next_ns = due_ns;
        }
        arm(gpio, next_ns);
}

/* What epoll found: a line with edges, one whose chip is gone, or the timer. */
static int take(Gpio *gpio, const struct epoll_event *event)
{
        GpioInput *input;
        uint64_t expirations;
        int r;

        if (event->data.u32 == TIMER) {
                gpio->armed_ns = GPIO_NEVER;
                return read(gpio->timer, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN ? -errno
                                                                                                   : 0;
        }
        input = gpio->inputs + event->data.u32;
        r = gpio_input_edges(gpio, input);
        if (r == 0 && (event->events & (EPOLLHUP | EPOLLERR)))
                r = gpio_input_gone(gpio, input);
        return r < 0 ? r : 0;
}

/* Is the chip of every line still there? */
static int look(Gpio *gpio, int64_t now_ns)
{
        if (now_ns < gpio->look_ns)
                return 0;
        gpio->look_ns = now_ns + LOOK_NS;
        for (size_t i = 0; i < gpio->n_inputs; i++)
                if (gpio_line_value(gpio->inputs[i].line) == -ENODEV)
                        return gpio_input_gone(gpio, gpio->inputs + i);
        return 0;
}

static void keep_first(int *first, int r)
{
        if (r < 0 && (*first == 0 || r == -ENODEV))
                *first = r;
}

/* One line that fails keeps nobody from reading the others; a chip that is gone ends them all. An event that
 * is there before the first call waits for it: it comes at once. */
static int gpio_read(void *instance)
{
        Gpio *gpio = instance;
        struct epoll_event ready[READY_MAX];
        bool interval = gpio->host->reason == PLUGD_INTERVAL, first_time = !gpio->started;
        int64_t now_ns = gpio_now_ns();
        int first = 0, n;

        if (first_time && !interval)
                return -EAGAIN;
        n = epoll_wait(gpio->epoll, ready, READY_MAX, 0);
        if (n < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        gpio->started = true;
        for (size_t i = 0; i < gpio->n_inputs && first_time; i++)
                gpio_input_start(gpio, gpio->inputs + i);
        for (int i = 0; i < n && first != -ENODEV; i++)
                keep_first(&first, take(gpio, ready + i));
        for (size_t i = 0; i < gpio->n_inputs && interval && !first_time && first != -ENODEV; i++)
                keep_first(&first, gpio_input_sample(gpio, gpio->inputs + i));
        if (first != -ENODEV)
                keep_first(&first, look(gpio, now_ns));
        settle(gpio, now_ns);
        return first;
}

static int gpio_event_fd(void *instance)
{
        return ((const Gpio *) instance)->epoll;
}

static const char *const devices[] = {"/dev/gpiochip*", NULL};

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "gpio",
        .description = "Digital inputs: levels, and edges with the kernel's times; debounced if need be.",
        .options = gpio_options,
        .n_options = GPIO_N_OPTIONS,
        .open = gpio_open,
        .read = gpio_read,
        .event_fd = gpio_event_fd,
        .close = gpio_close,
        .devices = devices,
};
