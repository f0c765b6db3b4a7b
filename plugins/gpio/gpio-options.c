/* SPDX-License-Identifier: Apache-2.0 */

/* The gpio plugin's options, and what lines they ask for. A line of `lines` takes what it doesn't say itself
 * from the sensor: so its own options have no defaults. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpio-internal.h"

#define EDGES "none|rising|falling|both"
#define BIASES "as-is|disabled|pull-up|pull-down"
#define OFFSET_MAX 65535
#define DEBOUNCE_MAX_SEC 10

static const struct plugd_option line_options[] = {
        {
                .name = "name",
                .type = PLUGD_STRING,
                .flags = PLUGD_REQUIRED,
                .help = "What the line is called here: with several lines, it publishes to channel/NAME.",
        },
        {
                .name = "line",
                .type = PLUGD_INTEGER,
                .max = OFFSET_MAX,
                .help = "The line, by its offset on the chip.",
        },
        {.name = "line_name", .type = PLUGD_STRING, .help = "The line, by its name."},
        {
                .name = "edge",
                .type = PLUGD_STRING,
                .choices = EDGES,
                .help = "Which edges are published; without it, as the sensor says.",
        },
        {
                .name = "debounce",
                .type = PLUGD_NUMBER,
                .max = DEBOUNCE_MAX_SEC,
                .unit = "s",
                .help = "How long a level has to hold; without it, as the sensor says.",
        },
        {
                .name = "bias",
                .type = PLUGD_STRING,
                .choices = BIASES,
                .help = "The chip's resistor; without it, as the sensor says.",
        },
        {
                .name = "active_low",
                .type = PLUGD_BOOLEAN,
                .help = "Low is true; without it, as the sensor says.",
        },
};

const struct plugd_option gpio_options[] = {
        {
                .name = "chip",
                .type = PLUGD_STRING,
                .fallback = "",
                .help = "The chip: its name (\"gpiochip0\"), number, path in /dev, or label "
                        "(\"pinctrl-rp1\"). \"\": with line_name the one that has the line, else gpiochip0.",
        },
        {
                .name = "line",
                .type = PLUGD_INTEGER,
                .max = OFFSET_MAX,
                .help = "The line, by its offset on the chip. One of line, line_name and lines is needed.",
        },
        {.name = "line_name", .type = PLUGD_STRING, .help = "The line, by its name, as \"GPIO17\"."},
        {
                .name = "edge",
                .type = PLUGD_STRING,
                .fallback = "both",
                .choices = EDGES,
                .help = "Which edges are published as they come; the level is published at the interval "
                        "too.",
        },
        {
                .name = "debounce",
                .type = PLUGD_NUMBER,
                .fallback = "0",
                .max = DEBOUNCE_MAX_SEC,
                .unit = "s",
                .help = "How long a level has to hold until it counts. Its time is that of the edge with "
                        "which it began; where the kernel debounces (libgpiod 2), when it had held so long.",
        },
        {
                .name = "bias",
                .type = PLUGD_STRING,
                .fallback = "as-is",
                .choices = BIASES,
                .help = "The chip's own pull-up or pull-down resistor.",
        },
        {
                .name = "active_low",
                .type = PLUGD_BOOLEAN,
                .fallback = "false",
                .help = "Low is true, and a rising edge is one from high to low.",
        },
        {
                .name = "lines",
                .type = PLUGD_GROUPS,
                .options = line_options,
                .n_options = sizeof(line_options) / sizeof(line_options[0]),
                .help = "Several lines, each with a name; what one doesn't say, the sensor's options do. "
                        "They "
                        "come together: when one can't be had, all wait for it.",
        },
};

/* --- reading them ------------------------------------------------------------------------------------- */

/* group: NULL, or the line's own settings, which come first. */
static const struct plugd_value *inherited(
        const struct plugd_host *host, const struct plugd_group *group, const char *name)
{
        const struct plugd_value *value = group ? host->setting(host, group, name) : NULL;

        return value ? value : host->option(host, name);
}

/* Of one of its own alone. */
static const struct plugd_value *own(
        const struct plugd_host *host, const struct plugd_group *group, const char *name)
{
        return group ? host->setting(host, group, name) : host->option(host, name);
}

/* Which of the words between the bars it is. */
static unsigned choice_of(const char *choices, const char *text)
{
        size_t length = strlen(text);
        unsigned n = 0;

        for (;; n++) {
                size_t word = strcspn(choices, "|");

                if ((word == length && strncmp(choices, text, length) == 0) || !choices[word])
                        return n;
                choices += word + 1;
        }
}

/* "line 'a': ", or nothing. */
static const char *of_line(const struct plugd_value *name, char words[static GPIO_WORDS_MAX])
{
        words[0] = '\0';
        if (name)
                snprintf(words, GPIO_WORDS_MAX, "line '%s': ", name->string);
        return words;
}

static int read_line(const struct plugd_host *host, const struct plugd_group *group, GpioWanted *ret_line)
{
        static const GpioEdge edges[] = {
                GPIO_EDGE_NONE, GPIO_EDGE_RISING, GPIO_EDGE_FALLING, GPIO_EDGE_BOTH};
        static const GpioBias biases[] = {
                GPIO_BIAS_AS_IS, GPIO_BIAS_DISABLED, GPIO_BIAS_PULL_UP, GPIO_BIAS_PULL_DOWN};
        const struct plugd_value *name = group ? own(host, group, "name") : NULL,
                                 *offset = own(host, group, "line"),
                                 *line_name = own(host, group, "line_name");
        char words[GPIO_WORDS_MAX];

        if (offset && line_name) {
                host->log(host, PLUGD_ERROR,
                        "%sline and line_name are both there, and mean one line: one of them has to go",
                        of_line(name, words));
                return -EINVAL;
        }
        if (!offset && (!line_name || !line_name->string[0])) {
                host->log(host, PLUGD_ERROR,
                        "%sit isn't said which line: give line, its offset on the chip, or line_name%s",
                        of_line(name, words), name ? "" : ", or several in lines");
                return -EINVAL;
        }
        *ret_line = (GpioWanted){
                .name = name ? name->string : NULL,
                .line_name = line_name ? line_name->string : NULL,
                .offset = offset ? offset->integer : -1,
                .edge = edges[choice_of(EDGES, inherited(host, group, "edge")->string)],
                .bias = biases[choice_of(BIASES, inherited(host, group, "bias")->string)],
                .active_low = inherited(host, group, "active_low")->boolean,
                .debounce_sec = inherited(host, group, "debounce")->number,
        };
        return 0;
}

/* How many lines there are; *ret_groups: NULL if it is the one of the sensor itself. */
static int count_lines(const struct plugd_host *host, const struct plugd_group **ret_groups)
{
        const struct plugd_value *lines = host->option(host, "lines");

        *ret_groups = NULL;
        if (!lines)
                return 1;
        if (host->option(host, "line") || host->option(host, "line_name")) {
                host->log(host, PLUGD_ERROR,
                        "lines stands beside line or line_name: put all lines into lines, or have one only");
                return -EINVAL;
        }
        if (lines->count == 0 || lines->count > GPIO_LINES_MAX) {
                host->log(host, PLUGD_ERROR, "there are %u lines: 1 to %d go into one sensor", lines->count,
                        GPIO_LINES_MAX);
                return -EINVAL;
        }
        *ret_groups = lines->groups;
        return (int) lines->count;
}

int gpio_options_read(const struct plugd_host *host, GpioWanted **ret_lines)
{
        const struct plugd_group *groups;
        int n = count_lines(host, &groups), r = 0;
        GpioWanted *lines;

        if (n < 0)
                return n;
        lines = calloc((size_t) n, sizeof(*lines));
        if (!lines)
                return -ENOMEM;
        for (int i = 0; i < n && r == 0; i++)
                r = read_line(host, groups ? groups + i : NULL, lines + i);
        if (r < 0) {
                free(lines);
                return r;
        }
        *ret_lines = lines;
        return n;
}
