/* SPDX-License-Identifier: Apache-2.0 */

/* plugctl plugins and check: what other programs of ours are asked for, without the daemon. */

#include "ctl/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "ctl/table.h"
#include "plugd-build.h"
#include "util/process.h"
#include "util/text.h"

#define DESCRIBE_USEC (5 * USEC_PER_SEC) /* as long as plugd itself waits */
#define CHECK_USEC (120 * USEC_PER_SEC)

/* The environment points to what was built but not installed. */
static const char *where(const char *variable, const char *installed)
{
        const char *given = getenv(variable);

        return given && *given ? given : installed;
}

/* --- plugins ------------------------------------------------------------------------------------------ */

static int is_plugin(const struct dirent *entry)
{
        size_t length = strlen(entry->d_name);

        return length > 3 && entry->d_name[0] != '.' && strcmp(entry->d_name + length - 3, ".so") == 0;
}

/* {"name":…,"error":…} instead of a description. */
static Json *describe_failure(const char *name, const char *error)
{
        _cleanup_(json_freep) Json *json = json_new_object();

        if (!json || json_set(json, "name", json_new_string(name)) < 0 ||
                json_set(json, "error", json_new_string(error)) < 0)
                return NULL;
        return TAKE_PTR(json);
}

/* The first line of a program's words. NULL: it had none. */
static const char *first_line(char *text)
{
        if (!text)
                return NULL;
        text[strcspn(text, "\n")] = '\0';
        return *text ? text : NULL;
}

static void say_failed(const char *worker, int status, char *errors, char **ret_error)
{
        const char *words = first_line(errors);

        if (status == -ETIMEDOUT)
                text_set(ret_error, "it took longer than %u s to load",
                        (unsigned) (DESCRIBE_USEC / USEC_PER_SEC));
        else if (status == -ECHILD)
                text_set(ret_error, "it crashed when it was loaded%s%s%s", words ? " (" : "",
                        words ? words : "", words ? ")" : "");
        else if (status == -EFBIG)
                text_set(ret_error, "it can't be described: it prints too much");
        else if (words)
                text_set(ret_error, "%s", words);
        else if (status < 0)
                text_set(ret_error, "cannot run %s: %s", worker, strerror(-status));
        else
                text_set(ret_error, "it can't be described: %s ended with status %d and no word", worker,
                        status);
}

/* What the worker says of a plugin. NULL when out of memory. */
static Json *describe(const char *name)
{
        const char *worker = where("PLUGD_WORKER", PLUGD_LIBEXECDIR "/plugd-worker");
        const char *const argv[] = {worker, "--describe", name, NULL};
        _cleanup_(freep) char *output = NULL, *errors = NULL, *error = NULL;
        Json *json;
        int r;

        r = process_capture(argv, DESCRIBE_USEC, PAYLOAD_SIZE_MAX, &output, &errors);
        if (r == 0) {
                json = json_parse(output, strlen(output), &error);
                if (json)
                        return json;
        } else {
                say_failed(worker, r, errors, &error);
        }
        return describe_failure(name, error ? error : "not enough memory");
}

static const char *get_text(const Json *object, const char *key)
{
        const char *text = json_string(json_get(object, key));

        return text ? text : "";
}

/* A JSON value as one writes it: text without quotes. Allocated; NULL if there is none. */
static char *bare(const Json *value)
{
        if (!value)
                return NULL;
        return json_string(value) ? strdup(json_string(value)) : json_format(value, false);
}

/* "0 to 9", or "0x76 to 0x77" where the default is written like that, or nothing. Allocated. */
static char *range_of(const Json *option)
{
        bool hex = strncmp(get_text(option, "default"), "0x", 2) == 0;
        const Json *least = json_get(option, "min"), *most = json_get(option, "max");
        _cleanup_(freep) char *min = bare(least), *max = bare(most);

        if (hex && least && most && json_number(least) >= 0 && json_number(most) <= INT32_MAX)
                return text_printf(
                        "0x%x to 0x%x", (unsigned) json_number(least), (unsigned) json_number(most));
        return min && max ? text_printf("%s to %s", min, max) : NULL;
}

/* "One of counter, sine.", or nothing. Allocated. */
static char *choices_of(const Json *option)
{
        const Json *choices = json_get(option, "choices");
        _cleanup_(freep) char *text = NULL;

        for (size_t i = 0; i < json_size(choices); i++) {
                const char *choice = json_string(json_at(choices, i));

                text_set(&text, "%s%s%s", text ? text : "", text ? ", " : "", choice ? choice : "?");
        }
        return text ? text_printf("One of %s.", text) : NULL;
}

/* A group's own options stand below it, as group.option. */
static void add_options(Table *table, const Json *options, const char *group)
{
        for (size_t i = 0; i < json_size(options); i++) {
                const Json *option = json_at(options, i);
                _cleanup_(freep) char *fallback = bare(json_get(option, "default")),
                                      *range = range_of(option), *choices = choices_of(option), *name = NULL;

                text_set(&name, "%s%s%s", group ? group : "", group ? "." : "", get_text(option, "name"));
                table_add(table, STYLE_BOLD, name);
                table_add(table, STYLE_PLAIN, get_text(option, "type"));
                table_add(table, STYLE_PLAIN,
                        json_boolean(json_get(option, "required")) ? "(required)" : fallback);
                table_add(table, STYLE_PLAIN, get_text(option, "unit"));
                table_add(table, STYLE_PLAIN, range);
                table_add_note(table, STYLE_PLAIN, choices);
                table_add_note(table, STYLE_PLAIN, get_text(option, "help"));
                if (!group)
                        add_options(table, json_get(option, "options"), name);
        }
}

static int print_options(const Ctl *ctl, const Json *options)
{
        static const char *const headings[] = {"OPTION", "TYPE", "DEFAULT", "UNIT", "VALUES"};
        _cleanup_(table_freep) Table *table = NULL;

        if (json_size(options) == 0)
                return 0;
        table = table_new(ELEMENTSOF(headings), headings, ctl->color);
        add_options(table, options, NULL);
        return table_print(table, stdout, "  ", ctl->width);
}

static int print_channels(const Ctl *ctl, const Json *channels)
{
        static const char *const headings[] = {"CHANNEL", "TYPE", "UNIT", "ACCESS"};
        _cleanup_(table_freep) Table *table = NULL;

        putchar('\n');
        if (json_size(channels) == 0) {
                puts("  channels: declared when an instance opens");
                return 0;
        }
        table = table_new(ELEMENTSOF(headings), headings, ctl->color);
        for (size_t i = 0; i < json_size(channels); i++) {
                const Json *channel = json_at(channels, i);
                bool readable = json_boolean(json_get(channel, "readable"));
                bool writable = json_boolean(json_get(channel, "writable"));

                table_add(table, STYLE_BOLD, get_text(channel, "name"));
                table_add(table, STYLE_PLAIN, get_text(channel, "type"));
                table_add(table, STYLE_PLAIN, get_text(channel, "unit"));
                table_add(table, STYLE_PLAIN,
                        readable && writable ? "read, write"
                        : readable           ? "read"
                                             : "write");
                table_add_note(table, STYLE_PLAIN, get_text(channel, "help"));
        }
        return table_print(table, stdout, "  ", ctl->width);
}

/* "NAME: what it is", and the latter on lines of its own where it is too long. */
static int print_title(const Ctl *ctl, const char *name, Style style, const char *text)
{
        bool fits = ctl->width == 0 || text_width(name) + 2 + text_width(text) <= ctl->width;

        style_print(stdout, ctl->color, STYLE_BOLD, name);
        fputs(fits ? ": " : ":\n", stdout);
        return style_print_lines(stdout, ctl->color, style, text, fits ? "" : "  ", ctl->width);
}

static int print_plugins(const Ctl *ctl, const Json *plugins)
{
        for (size_t i = 0; i < json_size(plugins); i++) {
                const Json *plugin = json_at(plugins, i);
                const char *error = json_string(json_get(plugin, "error"));
                int r;

                if (i > 0)
                        putchar('\n');
                r = print_title(ctl, get_text(plugin, "name"), error ? STYLE_BAD : STYLE_PLAIN,
                        error ? error : get_text(plugin, "description"));
                if (r >= 0 && !error)
                        r = print_options(ctl, json_get(plugin, "options"));
                if (r >= 0 && !error)
                        r = print_channels(ctl, json_get(plugin, "channels"));
                if (r < 0)
                        return ctl_fault("not enough memory");
        }
        return CTL_DONE;
}

int verb_plugins(Ctl *ctl)
{
        const char *folder = where("PLUGD_PLUGIN_DIR", PLUGD_PLUGINDIR);
        _cleanup_(json_freep) Json *plugins = json_new_array();
        struct dirent **entries = NULL;
        int n, r = plugins ? 0 : -ENOMEM;

        n = scandir(folder, &entries, is_plugin, alphasort);
        if (n < 0)
                return ctl_fault("cannot read the folder of the plugins, %s: %s", folder, strerror(errno));
        for (int i = 0; i < n; i++) {
                entries[i]->d_name[strlen(entries[i]->d_name) - 3] = '\0';
                if (r >= 0) {
                        Json *plugin = describe(entries[i]->d_name);

                        r = plugin ? json_append(plugins, plugin) : -ENOMEM;
                }
                free(entries[i]);
        }
        free(entries);
        if (r < 0)
                return ctl_fault("not enough memory");
        if (ctl->json)
                return ctl_print_json(plugins);
        if (n == 0)
                printf("no plugins in %s\n", folder);
        return print_plugins(ctl, plugins);
}

/* --- check -------------------------------------------------------------------------------------------- */

/* {"Valid":…,"Status":…,"Messages":[…]}: what plugd --check said, line by line. */
static int check_for_programs(const char *const *argv)
{
        _cleanup_(freep) char *output = NULL, *errors = NULL;
        _cleanup_(json_freep) Json *json = json_new_object();
        Json *lines = json_new_array();
        int status, r = lines ? 0 : -ENOMEM;

        status = process_capture(argv, CHECK_USEC, PAYLOAD_SIZE_MAX, &output, &errors);
        if (status < 0) {
                json_free(lines);
                return ctl_fault("cannot run %s: %s", argv[0], errors ? errors : strerror(-status));
        }
        for (char **text = (char *[]){output, errors, NULL}; *text; text++)
                for (char *rest = *text, *line; (line = strsep(&rest, "\n"));)
                        if (*line && r >= 0)
                                r = json_append(lines, json_new_string(line));
        if (r < 0 || !json) {
                json_free(lines);
                return ctl_fault("not enough memory");
        }
        if (json_set(json, "Messages", lines) < 0 ||
                json_set(json, "Valid", json_new_boolean(status == 0)) < 0 ||
                json_set(json, "Status", json_new_integer(status)) < 0)
                return ctl_fault("not enough memory");
        r = ctl_print_json(json);
        return r == CTL_DONE ? status : r;
}

/* Becomes plugd --check: its words and its exit code. */
int verb_check(Ctl *ctl)
{
        const char *argv[6] = {where("PLUGD_DAEMON", PLUGD_BINDIR "/plugd"), "--check"};
        size_t n = 2;

        if (ctl->user)
                argv[n++] = "--user";
        if (ctl->n_arguments > 0) {
                argv[n++] = "--config";
                argv[n++] = ctl->arguments[0];
        }
        if (ctl->json)
                return check_for_programs(argv);
        fflush(stdout);
        execv(argv[0], (char *const *) argv);
        return ctl_fault("cannot run %s: %s", argv[0], strerror(errno));
}
