/* SPDX-License-Identifier: Apache-2.0 */

/* What there is to say of a configuration. It is collected, and told when all is read: file by file, by
 * line. Text that came out of a file may hold anything; what a terminal would act on is taken out here. */

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "config-internal.h"
#include "util/text.h"

#define NOTE_TEXT_MAX 1000
#define NAME_MAX_LENGTH 64

ConfigPlace config_place(const ConfigReader *reader, const config_setting_t *setting)
{
        return config_source_place(reader->source, config_setting_source_line(setting));
}

static void text_sanitize(char *text)
{
        size_t size = strlen(text);
        bool utf8 = text_is_utf8(text, size);

        for (char *p = text; *p; p++)
                if (iscntrl((unsigned char) *p) || (!utf8 && (*p & 0x80)))
                        *p = '?';
        /* U+0080 to U+009F are control characters too. */
        for (uint8_t *p = (uint8_t *) text; utf8 && *p; p++)
                if (p[0] == 0xc2 && p[1] < 0xa0)
                        p[0] = p[1] = '?';
        if (size > NOTE_TEXT_MAX) {
                char *end = text + NOTE_TEXT_MAX;

                while ((*end & 0xc0) == 0x80)
                        end--;
                strcpy(end, "…"); /* there was more than that */
        }
}

static void note_add(ConfigReader *reader, ConfigSeverity severity, ConfigPlace place, char *text)
{
        ConfigNote *notes;

        if (severity == CONFIG_ERROR)
                reader->n_errors++;
        if (!text) {
                reader->failed = true;
                return;
        }
        if (reader->n_notes >= CONFIG_NOTES_MAX) {
                reader->n_untold++;
                free(text);
                return;
        }
        notes = reallocarray(reader->notes, reader->n_notes + 1, sizeof(*notes));
        if (!notes) {
                reader->failed = true;
                free(text);
                return;
        }
        text_sanitize(text);
        reader->notes = notes;
        notes[reader->n_notes] =
                (ConfigNote){.severity = severity, .place = place, .order = reader->n_notes, .text = text};
        reader->n_notes++;
}

_printf_(1, 0) static char *text_vprintf(const char *format, va_list arguments)
{
        char *text;

        return vasprintf(&text, format, arguments) < 0 ? NULL : text;
}

void config_say(ConfigReader *reader, ConfigSeverity severity, ConfigPlace place, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        note_add(reader, severity, place, text_vprintf(format, arguments));
        va_end(arguments);
}

/* Is this one of the list of sensors? */
static bool setting_is_sensor(const config_setting_t *setting)
{
        const config_setting_t *list = config_setting_parent(setting);

        return list && !config_setting_name(setting) && config_setting_parent(list) &&
               config_setting_is_root(config_setting_parent(list)) &&
               strcmp(config_setting_name(list), "sensors") == 0;
}

/* What a setting is called: "server.port", "sensor door: lines[0].line". NULL: out of memory. */
static char *setting_path(const config_setting_t *setting)
{
        const config_setting_t *parent = config_setting_parent(setting);
        const char *name = config_setting_name(setting);
        _cleanup_(freep) char *before = NULL;

        if (!parent)
                return strdup("");
        if (name && config_setting_is_root(parent))
                return text_printf("%.*s", NAME_MAX_LENGTH, name);
        if (setting_is_sensor(setting)) {
                const config_setting_t *called =
                        config_setting_is_group(setting) ? config_setting_get_member(setting, "name") : NULL;
                const char *text = called ? config_setting_get_string(called) : NULL;

                return text && *text ? text_printf("sensor %.*s", NAME_MAX_LENGTH, text)
                                     : text_printf("sensor number %d", config_setting_index(setting) + 1);
        }
        before = setting_path(parent);
        if (!before)
                return NULL;
        if (!name)
                return text_printf("%s[%d]", before, config_setting_index(setting));
        return text_printf(
                "%s%s%.*s", before, setting_is_sensor(parent) ? ": " : ".", NAME_MAX_LENGTH, name);
}

_printf_(4, 0) static void say_of_setting(ConfigReader *reader, ConfigSeverity severity,
        const config_setting_t *setting, const char *format, va_list arguments)
{
        _cleanup_(freep) char *text = text_vprintf(format, arguments), *path = setting_path(setting);
        char *whole = NULL;

        if (text && path)
                whole = *path ? text_printf("%s: %s", path, text) : text_printf("%s", text);
        note_add(reader, severity, config_place(reader, setting), whole);
}

void config_fail(ConfigReader *reader, const config_setting_t *setting, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        say_of_setting(reader, CONFIG_ERROR, setting, format, arguments);
        va_end(arguments);
}

void config_warn(ConfigReader *reader, const config_setting_t *setting, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        say_of_setting(reader, CONFIG_WARNING, setting, format, arguments);
        va_end(arguments);
}

/* How many letters to insert, delete, replace or swap with their neighbour; case doesn't count. */
static unsigned text_distance(const char *a, const char *b)
{
        size_t n = strlen(a), m = strlen(b);
        unsigned rows[3][NAME_MAX_LENGTH + 1], *before = rows[0], *last = rows[1], *row = rows[2];

        if (n > NAME_MAX_LENGTH || m > NAME_MAX_LENGTH)
                return UINT32_MAX;
        for (size_t j = 0; j <= m; j++)
                last[j] = (unsigned) j;
        for (size_t i = 1; i <= n; i++) {
                unsigned *spare = before;

                row[0] = (unsigned) i;
                for (size_t j = 1; j <= m; j++) {
                        bool same = tolower((unsigned char) a[i - 1]) == tolower((unsigned char) b[j - 1]);

                        row[j] = MIN(MIN(last[j], row[j - 1]) + 1, last[j - 1] + !same);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = MIN(row[j], before[j - 2] + 1);
                }
                before = last, last = row, row = spare;
        }
        return last[m];
}

static const char *text_closest(const char *name, const char *const *names)
{
        const char *closest = NULL;
        unsigned best = 2 * (strlen(name) < 5 ? 2 : 3); /* one letter, or two in a longer word, is a slip */

        for (; *names; names++) {
                unsigned distance = text_distance(name, *names), cost;

                if (distance >= NAME_MAX_LENGTH)
                        continue;
                cost = 2 * distance + (name[0] != **names); /* the first letter is seldom the wrong one */
                if (cost < best)
                        closest = *names, best = cost;
        }
        return closest;
}

void config_fail_unknown(ConfigReader *reader, const config_setting_t *setting, const char *what,
        const char *owner, const char *const *names)
{
        const char *closest = text_closest(config_setting_name(setting), names);
        _cleanup_(freep) char *list = strdup("");

        for (size_t i = 0; names[i] && list; i++)
                text_set(&list, "%s%s%s", list, i > 0 ? ", " : "", names[i]);
        config_fail(reader, setting, "unknown %s%s%s%s; %s can have %s", what,
                closest ? ", did you mean " : "", closest ? closest : "", closest ? "?" : "", owner,
                list && *list ? list : "none");
}

static int note_compare(const void *a, const void *b)
{
        const ConfigNote *x = a, *y = b;

        if (x->place.file != y->place.file)
                return x->place.file < y->place.file ? -1 : 1;
        if (x->place.line != y->place.line)
                return x->place.line < y->place.line ? -1 : 1;
        return x->order < y->order ? -1 : 1;
}

void config_tell(ConfigReader *reader)
{
        if (reader->n_notes > 0)
                qsort(reader->notes, reader->n_notes, sizeof(*reader->notes), note_compare);
        for (size_t i = 0; i < reader->n_notes; i++) {
                const ConfigNote *note = &reader->notes[i];

                reader->report(note->severity, reader->files[note->place.file].path, note->place.line,
                        note->text, reader->userdata);
        }
        if (reader->n_untold > 0) {
                char text[64];

                snprintf(text, sizeof(text), "and %zu more mistakes or doubts", reader->n_untold);
                reader->report(reader->n_errors > 0 ? CONFIG_ERROR : CONFIG_WARNING, reader->config->path, 0,
                        text, reader->userdata);
        }
}
