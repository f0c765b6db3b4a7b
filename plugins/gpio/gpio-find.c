/* SPDX-License-Identifier: Apache-2.0 */

/* Finds chips and lines by what people call them, and says in words what is in the way. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpio-internal.h"

#define LISTED_MAX 8 /* chips in a sentence */
#define DEV "/dev/"
#define PREFIX "gpiochip"
#define PATH_SIZE (sizeof(DEV) + GPIO_NAME_MAX)

/* Chips and lines that fit, on all chips of the machine. */
typedef struct Search {
        const char *label, *line_name; /* one of them */
        unsigned found;
        struct {
                char chip[GPIO_NAME_MAX];
                unsigned offset;
        } first, second;
        char refused[GPIO_NAME_MAX]; /* a chip that could not be looked at; "": none */
} Search;

static void append(char *words, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *words, size_t size, const char *format, ...)
{
        size_t used = strlen(words);
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(words + used, size - used, format, arguments);
        va_end(arguments);
}

static void path_of(const char *chip, char ret_path[static PATH_SIZE])
{
        snprintf(ret_path, PATH_SIZE, DEV "%s", chip);
}

static int open_chip(const char *name, GpioOpenChip *ret_chip)
{
        GpioOpenChip opened;
        int r = gpio_chip_open(name, &opened.chip);

        if (r < 0)
                return r;
        r = gpio_chip_info(opened.chip, &opened.is);
        if (r < 0) {
                gpio_chip_close(opened.chip);
                return r;
        }
        *ret_chip = opened;
        return 0;
}

/* --- words -------------------------------------------------------------------------------------------- */

/* "this machine has gpiochip0 (pinctrl-rp1, 54 lines), gpiochip1" */
static void list_chips(char *ret_words, size_t size)
{
        char(*names)[GPIO_NAME_MAX] = NULL;
        int n = gpio_dev_list(GPIO_DEVICES, &names);

        snprintf(ret_words, size, "this machine has %s", n > 0 ? "" : "no GPIO chip at all");
        for (int i = 0; i < n && i < LISTED_MAX; i++) {
                GpioOpenChip chip;

                append(ret_words, size, "%s%s", i > 0 ? ", " : "", names[i]);
                if (open_chip(names[i], &chip) < 0)
                        continue;
                append(ret_words, size, " (%s, %u lines)", chip.is.label, chip.is.n_lines);
                gpio_chip_close(chip.chip);
        }
        if (n > LISTED_MAX)
                append(ret_words, size, " and %d more", n - LISTED_MAX);
        if (n >= 0)
                free(names);
}

static bool is_listed(const char *chip)
{
        char(*names)[GPIO_NAME_MAX];
        int n = gpio_dev_list(GPIO_DEVICES, &names);
        bool found = false;

        for (int i = 0; i < n && !found; i++)
                found = strcmp(names[i], chip) == 0;
        if (n >= 0)
                free(names);
        return found;
}

/* Why a chip that somebody called `wanted` can't be opened. */
static int chip_refused(Gpio *gpio, const char *wanted, const char *name, int error)
{
        const struct plugd_host *host = gpio->host;
        char words[GPIO_WORDS_MAX], path[PATH_SIZE];

        path_of(name, path);
        switch (error) {
        case -ENOMEM:
                break; /* plugd knows what to say */
        case -ENOENT:
        case -ENXIO: /* the file is there, the chip behind it is not */
        case -ENODEV:
                list_chips(words, sizeof(words));
                if (error == -ENOENT && is_listed(name))
                        host->log(host, PLUGD_ERROR,
                                "the kernel has the chip %s, but there is no %s: a service or a container "
                                "has to be given it",
                                name, path);
                else
                        host->log(host, PLUGD_ERROR, "there is no chip '%s': %s", wanted, words);
                break;
        case -EACCES:
        case -EPERM:
                gpio_dev_explain(path, "/etc", words, sizeof(words));
                host->log(host, PLUGD_ERROR, "%s", words);
                break;
        case -ENOTTY:
                list_chips(words, sizeof(words));
                host->log(host, PLUGD_ERROR, "'%s' is no GPIO chip: %s", wanted, words);
                break;
        default:
                host->log(host, PLUGD_ERROR, "cannot open the chip %s: %s", path, strerror(-error));
        }
        return error;
}

void gpio_find_words(const GpioInput *input, char *ret_words, size_t size)
{
        const char *name = input->wanted.name ? input->wanted.name : input->wanted.line_name;

        if (name)
                snprintf(ret_words, size, "line %u ('%s') of %s", input->offset, name, input->chip->is.name);
        else
                snprintf(ret_words, size, "line %u of %s", input->offset, input->chip->is.name);
}

int gpio_find_refused(Gpio *gpio, const GpioInput *input, const GpioSettings *settings, int error)
{
        const struct plugd_host *host = gpio->host;
        const GpioOpenChip *chip = input->chip;
        const char *name = chip->is.name;
        GpioLineInfo info = {.used = false};
        bool there = gpio_chip_line_info(chip->chip, settings->offset, &info) == 0;

        if (error == -ENOMEM)
                return error;
        if (error == -EBUSY && info.consumer[0])
                host->log(host, PLUGD_ERROR, "line %u of %s is in use by '%s': one of the two has to go",
                        settings->offset, name, info.consumer);
        else if (error == -EBUSY)
                host->log(host, PLUGD_ERROR,
                        "line %u of %s is in use, by the kernel or a program that does not give its name",
                        settings->offset, name);
        else if ((error == -ENODEV || error == -ENXIO) && there && settings->edge != GPIO_EDGE_NONE)
                host->log(host, PLUGD_ERROR,
                        "line %u of %s (%s) makes no interrupts, so it has no edges%s: with edge = \"none\" "
                        "and without debounce it is read at the interval",
                        settings->offset, name, chip->is.label,
                        settings->debounce_usec ? " and no debounce" : "");
        else
                host->log(host, PLUGD_ERROR,
                        "the kernel refuses line %u of %s (%s) as an input with these options: %s",
                        settings->offset, name, chip->is.label, strerror(-error));
        return error;
}

/* --- searching ---------------------------------------------------------------------------------------- */

static void search_found(Search *search, const char *chip, unsigned offset)
{
        search->found++;
        if (search->found > 2)
                return;
        if (search->found == 1) {
                snprintf(search->first.chip, GPIO_NAME_MAX, "%s", chip);
                search->first.offset = offset;
        } else {
                snprintf(search->second.chip, GPIO_NAME_MAX, "%s", chip);
                search->second.offset = offset;
        }
}

static int search_lines(Search *search, const GpioOpenChip *chip)
{
        for (unsigned offset = 0; offset < chip->is.n_lines; offset++) {
                GpioLineInfo info;
                int r = gpio_chip_line_info(chip->chip, offset, &info);

                if (r < 0)
                        return r;
                if (strcmp(info.name, search->line_name) == 0)
                        search_found(search, chip->is.name, offset);
        }
        return 0;
}

/* A chip that can't be looked at is no reason to give up: what is wanted may be on another. */
static int search_machine(Search *search)
{
        char(*names)[GPIO_NAME_MAX];
        int n = gpio_dev_list(GPIO_DEVICES, &names);

        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                GpioOpenChip chip;
                int r = open_chip(names[i], &chip);

                if (r == 0) {
                        if (search->line_name)
                                r = search_lines(search, &chip);
                        else if (strcmp(chip.is.label, search->label) == 0)
                                search_found(search, names[i], 0);
                        gpio_chip_close(chip.chip);
                }
                if (r < 0 && !search->refused[0])
                        memcpy(search->refused, names[i], GPIO_NAME_MAX);
        }
        free(names);
        return 0;
}

/* Exactly one has to have been found. where: a chip; NULL: the machine. */
static int search_verdict(Gpio *gpio, const Search *search, const char *where)
{
        const struct plugd_host *host = gpio->host;
        char words[GPIO_WORDS_MAX], refused[GPIO_WORDS_MAX] = "", path[PATH_SIZE];

        if (search->found == 1)
                return 0;
        if (search->found > 1 && search->line_name) {
                host->log(host, PLUGD_ERROR,
                        "%u lines are called '%s', as line %u of %s and line %u of %s: give chip and line",
                        search->found, search->line_name, search->first.offset, search->first.chip,
                        search->second.offset, search->second.chip);
                return -ENOTUNIQ;
        }
        if (search->found > 1) {
                host->log(host, PLUGD_ERROR,
                        "%u chips are labelled '%s', as %s and %s: give the name of one", search->found,
                        search->label, search->first.chip, search->second.chip);
                return -ENOTUNIQ;
        }
        if (search->refused[0]) {
                path_of(search->refused, path);
                gpio_dev_explain(path, "/etc", refused, sizeof(refused));
        }
        list_chips(words, sizeof(words));
        if (search->line_name)
                host->log(host, PLUGD_ERROR, "no line is called '%s' on %s: %s%s%s", search->line_name,
                        where ? where : "any chip", words, refused[0] ? "; " : "", refused);
        else
                host->log(host, PLUGD_ERROR, "there is no chip '%s', by name or by label: %s%s%s",
                        search->label, words, refused[0] ? "; " : "", refused);
        return -ENOENT;
}

/* --- finding ------------------------------------------------------------------------------------------ */

static bool all_digits(const char *text)
{
        return text[0] && text[strspn(text, "0123456789")] == '\0';
}

/* The kernel's name of the chip that people call `wanted`. */
static int name_chip(Gpio *gpio, const char *wanted, char ret_name[static GPIO_NAME_MAX])
{
        Search search = {.label = wanted};
        char path[PATH_SIZE];
        int r;

        if (!wanted[0] || (all_digits(wanted) && strlen(wanted) < 10)) {
                snprintf(ret_name, GPIO_NAME_MAX, PREFIX "%s", wanted[0] ? wanted : "0");
                return 0;
        }
        if (wanted[0] == '/') {
                r = gpio_dev_resolve(wanted, ret_name);
                return r < 0 ? chip_refused(gpio, wanted, strrchr(wanted, '/') + 1, r) : 0;
        }
        path_of(wanted, path);
        if (strlen(wanted) < GPIO_NAME_MAX && gpio_dev_resolve(path, ret_name) == 0)
                return 0;
        if (strncmp(wanted, PREFIX, strlen(PREFIX)) == 0 && all_digits(wanted + strlen(PREFIX))) {
                snprintf(ret_name, GPIO_NAME_MAX, "%s", wanted); /* opening it will say what is wrong */
                return 0;
        }
        r = search_machine(&search);
        if (r == 0)
                r = search_verdict(gpio, &search, NULL);
        if (r == 0)
                memcpy(ret_name, search.first.chip, GPIO_NAME_MAX);
        return r;
}

/* Opens it, unless it is open. */
static int get_chip(Gpio *gpio, const char *wanted, const char *name, const GpioOpenChip **ret_chip)
{
        GpioOpenChip *chip = gpio->chips;
        int r;

        for (; chip < gpio->chips + gpio->n_chips; chip++)
                if (strcmp(chip->is.name, name) == 0) {
                        *ret_chip = chip;
                        return 0;
                }
        r = open_chip(name, chip);
        if (r < 0)
                return chip_refused(gpio, wanted[0] ? wanted : name, name, r);
        gpio->n_chips++;
        *ret_chip = chip;
        return 0;
}

static int find_by_name(Gpio *gpio, const char *line_name, const GpioOpenChip **chip, unsigned *ret_offset)
{
        Search search = {.line_name = line_name};
        int r = *chip ? search_lines(&search, *chip) : search_machine(&search);

        if (r < 0) {
                gpio->host->log(gpio->host, PLUGD_ERROR, "cannot look for the line '%s'%s%s: %s", line_name,
                        *chip ? " on " : "", *chip ? (*chip)->is.name : "", strerror(-r));
                return r;
        }
        r = search_verdict(gpio, &search, *chip ? (*chip)->is.name : NULL);
        if (r == 0 && !*chip)
                r = get_chip(gpio, "", search.first.chip, chip);
        if (r == 0)
                *ret_offset = search.first.offset;
        return r;
}

int gpio_find(Gpio *gpio, GpioInput *input)
{
        const GpioWanted *wanted = &input->wanted;
        const char *called = gpio->host->option(gpio->host, "chip")->string;
        const GpioOpenChip *chip = NULL;
        char name[GPIO_NAME_MAX];
        unsigned offset = 0;
        int r = 0;

        if (called[0] || !wanted->line_name) {
                r = name_chip(gpio, called, name);
                if (r == 0)
                        r = get_chip(gpio, called, name, &chip);
        }
        if (r == 0 && wanted->line_name)
                r = find_by_name(gpio, wanted->line_name, &chip, &offset);
        if (r < 0)
                return r;
        if (!wanted->line_name && wanted->offset >= chip->is.n_lines) {
                gpio->host->log(gpio->host, PLUGD_ERROR,
                        "%s (%s) has %u lines, 0 to %u: there is no line %lld", chip->is.name,
                        chip->is.label, chip->is.n_lines, chip->is.n_lines - 1, (long long) wanted->offset);
                return -ERANGE;
        }
        input->chip = chip;
        input->offset = wanted->line_name ? offset : (unsigned) wanted->offset;
        return 0;
}
