/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One line: its edges, its level at the interval, what was lost between them. The kernel's edges come
 * through a queue, and the level is read past it: whoever reads the level may know already what an edge in
 * the queue is about to say. Such an edge is not told twice (read_ns).
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "gpio-internal.h"

#define EVENTS_AT_ONCE 64
#define EVENTS_MAX 4096                         /* in one call; what is left makes the next */
#define READ_TRIES 3                            /* until no edge comes while the level is read */
#define QUIET_NS GPIO_NSEC_PER_SEC              /* so long without losses ends an episode */
#define EPISODE_MAX_NS (60 * GPIO_NSEC_PER_SEC) /* and this does too */

static void publish(Gpio *gpio, const GpioInput *input, bool level, int64_t when_ns)
{
        const struct plugd_value value = {.type = PLUGD_BOOLEAN, .boolean = level};

        (void) gpio->host->emit(gpio->host, input->channel, &value, when_ns);
}

static int fail(Gpio *gpio, const GpioInput *input, const char *what, int error)
{
        char words[GPIO_WORDS_MAX];

        if (error == -ENODEV)
                return gpio_input_gone(gpio, input);
        gpio_find_words(input, words, sizeof(words));
        gpio->host->log(gpio->host, PLUGD_ERROR, "cannot read %s %s: %s", what, words, strerror(-error));
        return error;
}

int gpio_input_gone(Gpio *gpio, const GpioInput *input)
{
        gpio->host->log(gpio->host, PLUGD_ERROR, "%s is gone: was it unplugged, or its driver removed?",
                input->chip->is.name);
        return -ENODEV;
}

/* --- opening ------------------------------------------------------------------------------------------ */

static uint32_t debounce_usec(double sec)
{
        double usec = sec * 1e6;

        return usec > 0 && usec < 1 ? 1 : (uint32_t) (usec + 0.5);
}

int gpio_input_open(Gpio *gpio, GpioInput *input)
{
        const GpioWanted *wanted = &input->wanted;
        uint32_t usec = debounce_usec(wanted->debounce_sec);
        GpioSettings settings = {
                .offset = input->offset,
                .edge = wanted->edge,
                .bias = wanted->bias,
                .active_low = wanted->active_low,
        };
        int r;

        input->debounced = usec > 0 && !gpio_traits()->debounces;
        if (input->debounced)
                settings.edge = GPIO_EDGE_BOTH;
        else
                settings.debounce_usec = usec;
        input->requested = settings.edge;
        input->tell_ns = GPIO_NEVER;

        input->opened_ns = gpio_now_ns();
        r = gpio_line_request(input->chip->chip, &settings, &input->line);
        if (r < 0)
                return gpio_find_refused(gpio, input, &settings, r);
        r = gpio_line_value(input->line);
        if (r < 0)
                return fail(gpio, input, "the level of", r);
        input->raw = input->level = r > 0;
        input->read_ns = gpio_now_ns();
        if (input->debounced)
                gpio_debounce_init(&input->debounce, (int64_t) usec * 1000, input->level, input->opened_ns);
        return 0;
}

/* As of just before it was taken: no edge is older. */
void gpio_input_start(Gpio *gpio, GpioInput *input)
{
        publish(gpio, input, input->level, input->opened_ns);
}

/* --- losses ------------------------------------------------------------------------------------------- */

static void tell_lost(Gpio *gpio, GpioInput *input)
{
        char words[GPIO_WORDS_MAX];

        if (input->lost == 0)
                return;
        gpio_find_words(input, words, sizeof(words));
        if (gpio_traits()->counts)
                gpio->host->log(gpio->host, PLUGD_WARNING,
                        "lost %" PRIu64 " edge%s of %s, %" PRIu64 " since it was opened: they came faster "
                        "than they can be taken",
                        input->lost, input->lost == 1 ? "" : "s", words, input->lost_all);
        else
                gpio->host->log(gpio->host, PLUGD_WARNING,
                        "lost or misread some edges of %s (signs of it: %" PRIu64 ", %" PRIu64 " since it "
                        "was opened): they came faster than they can be taken, and libgpiod 1 does not "
                        "count them",
                        words, input->lost, input->lost_all);
        input->lost = 0;
        input->tell_ns = GPIO_NEVER;
}

static void add_lost(GpioInput *input, uint64_t n)
{
        int64_t now_ns = gpio_now_ns();

        if (input->lost == 0)
                input->lost_since_ns = now_ns;
        input->lost += n;
        input->lost_all += n;
        input->tell_ns = now_ns + QUIET_NS;
        if (input->tell_ns > input->lost_since_ns + EPISODE_MAX_NS)
                input->tell_ns = input->lost_since_ns + EPISODE_MAX_NS;
}

/* How many are missing before this one. Without numbers, two in a row in the same direction show that there
 * was one more between them. */
static uint32_t missing(GpioInput *input, const GpioEvent *event)
{
        uint32_t gap;

        if (!gpio_traits()->counts)
                return input->requested == GPIO_EDGE_BOTH && event->rising == input->raw;
        gap = event->sequence - input->sequence - 1;
        input->sequence = event->sequence;
        return gap;
}

/* --- edges -------------------------------------------------------------------------------------------- */

static void take_change(Gpio *gpio, GpioInput *input, const GpioChange *change)
{
        input->level = change->level;
        if (input->wanted.edge & (change->level ? GPIO_EDGE_RISING : GPIO_EDGE_FALLING))
                publish(gpio, input, change->level, change->when_ns);
}

/* Is it what the level, when it was read, said already? */
static bool is_known(GpioInput *input, const GpioEvent *event)
{
        bool known = input->requested == GPIO_EDGE_BOTH && event->when_ns <= input->read_ns &&
                     event->rising == input->raw;

        input->read_ns = 0;
        return known;
}

/* True: edges before this one are lost. */
static bool take_edge(Gpio *gpio, GpioInput *input, const GpioEvent *event)
{
        uint32_t lost = missing(input, event);
        GpioChange change;

        if (is_known(input, event)) {
                if (!gpio_traits()->counts)
                        lost = 0;
        } else if (input->debounced) {
                if (gpio_debounce_edge(&input->debounce, event->rising, event->when_ns, &change))
                        take_change(gpio, input, &change);
        } else {
                input->level = event->rising;
                publish(gpio, input, event->rising, event->when_ns);
        }
        input->raw = event->rising;
        if (lost > 0)
                add_lost(input, lost);
        return lost > 0;
}

/* The level was read, and is the newest there is. True: no edge had said so. */
static bool take_level(Gpio *gpio, GpioInput *input, bool level)
{
        bool news = level != input->raw;
        GpioChange change;

        input->raw = level;
        if (!input->debounced)
                input->level = level;
        if (!news)
                return false;
        input->read_ns = gpio_now_ns();
        if (input->debounced && gpio_debounce_edge(&input->debounce, level, input->read_ns, &change))
                take_change(gpio, input, &change);
        return true;
}

/* After losses: what the edges that are left say may be wrong by now. */
static int look_again(Gpio *gpio, GpioInput *input, bool counted)
{
        int r = input->requested == GPIO_EDGE_BOTH ? gpio_line_value(input->line) : (int) input->raw;

        if (r < 0)
                return fail(gpio, input, "the level of", r);
        if (input->requested != GPIO_EDGE_BOTH || !take_level(gpio, input, r > 0))
                return 0;
        if (!counted)
                add_lost(input, 1);
        if (!input->debounced)
                publish(gpio, input, input->level, input->read_ns);
        return 0;
}

int gpio_input_edges(Gpio *gpio, GpioInput *input)
{
        GpioEvent events[EVENTS_AT_ONCE];
        bool lost = false;
        int taken = 0, n, r;

        do {
                n = gpio_line_events(input->line, events, EVENTS_AT_ONCE);
                if (n < 0)
                        return fail(gpio, input, "the edges of", n);
                for (int i = 0; i < n; i++)
                        lost = take_edge(gpio, input, events + i) || lost;
                taken += n;
        } while (n > 0 && taken < EVENTS_MAX);

        /* Without numbers, a queue that was full may have run over, by two edges or by two hundred. */
        if (n == 0 && (lost || (!gpio_traits()->counts && taken >= (int) gpio_traits()->queued))) {
                r = look_again(gpio, input, lost);
                if (r < 0)
                        return r;
        }
        return taken;
}

/* --- the level ---------------------------------------------------------------------------------------- */

int gpio_input_sample(Gpio *gpio, GpioInput *input)
{
        GpioChange change;
        int64_t when_ns = 0;
        int level = 0, n = 0;

        for (int i = 0; i < READ_TRIES; i++) {
                when_ns = gpio_now_ns();
                level = gpio_line_value(input->line);
                if (level < 0)
                        return fail(gpio, input, "the level of", level);
                n = gpio_input_edges(gpio, input);
                if (n < 0)
                        return n;
                if (n == 0)
                        break;
        }
        if (n == 0)
                take_level(gpio, input, level > 0);
        else if (input->requested != GPIO_EDGE_BOTH)
                input->level = level > 0; /* a busy line; of edges in one direction no level can be told */
        if (n == 0 && input->debounced && gpio_debounce_settle(&input->debounce, when_ns, &change))
                take_change(gpio, input, &change);
        publish(gpio, input, input->level, n == 0 ? when_ns : gpio_now_ns());
        return 0;
}

/* --- time --------------------------------------------------------------------------------------------- */

int64_t gpio_input_settle(Gpio *gpio, GpioInput *input, int64_t now_ns)
{
        int64_t due_ns = input->tell_ns;
        GpioChange change;

        if (due_ns <= now_ns) {
                tell_lost(gpio, input);
                due_ns = GPIO_NEVER;
        }
        if (!input->debounced)
                return due_ns;
        if (gpio_debounce_settle(&input->debounce, now_ns, &change))
                take_change(gpio, input, &change);
        return due_ns < gpio_debounce_due_ns(&input->debounce) ? due_ns
                                                               : gpio_debounce_due_ns(&input->debounce);
}

void gpio_input_close(Gpio *gpio, GpioInput *input)
{
        tell_lost(gpio, input);
        gpio_line_release(input->line);
        input->line = NULL;
}
