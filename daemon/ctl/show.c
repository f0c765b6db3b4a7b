/* SPDX-License-Identifier: Apache-2.0 */

/* plugctl status, sensors and show: what there is to see. */

#include "ctl/ctl.h"

#include <errno.h>
#include <string.h>

#include "bus-names.h"
#include "ctl/format.h"
#include "ctl/table.h"
#include "util/clock.h"
#include "util/text.h"

#define SUMMARY_MAX 4 /* values of a sensor on its line of the overview */

static const char *get_text(const Json *object, const char *key)
{
        const char *text = json_string(json_get(object, key));

        return text ? text : "";
}

static uint64_t get_number(const Json *object, const char *key)
{
        return (uint64_t) json_integer(json_get(object, key));
}

static int print_table(const Ctl *ctl, const Table *table, const char *indent)
{
        return table_print(table, stdout, indent, ctl->width) < 0 ? ctl_fault("not enough memory")
                                                                  : CTL_DONE;
}

/* --- sensors ------------------------------------------------------------------------------------------ */

static bool sensor_troubled(const Json *sensor)
{
        return *get_text(sensor, "LastError") && strcmp(get_text(sensor, "State"), "running") != 0;
}

/* Nothing where it is 0: then nobody has to look at it. */
static void add_number(Table *table, Style style, uint64_t number)
{
        char text[32];

        snprintf(text, sizeof(text), "%llu", (unsigned long long) number);
        table_add(table, style, number > 0 ? text : NULL);
}

/* Below the sensor's rows: an error is a sentence, and needs its room. */
static void add_error(Table *table, const Json *sensor)
{
        table_add_note(
                table, sensor_troubled(sensor) ? STYLE_BAD : STYLE_PLAIN, get_text(sensor, "LastError"));
}

/* How many bytes of all channels are the same, whole levels only: "Greenhouse/" of "Greenhouse/temperature"
 * and "Greenhouse/humidity". */
static size_t common_prefix(const Json *values)
{
        const char *first, *channel;
        size_t length;

        if (json_size(values) < 2)
                return 0;
        json_member(values, 0, &first);
        length = strlen(first);
        for (size_t i = 1; i < json_size(values); i++) {
                size_t same = 0;

                json_member(values, i, &channel);
                while (same < length && channel[same] == first[same])
                        same++;
                length = same;
        }
        while (length > 0 && first[length - 1] != '/')
                length--;
        return length;
}

/* "21.5 °C", or "temperature 21.5 °C, humidity 40 %, and 3 more". */
static char *summarize_values(const Json *sensor)
{
        const Json *values = json_get(sensor, "Values"), *units = json_get(sensor, "Units");
        size_t n = json_size(values), prefix = common_prefix(values);
        char *summary = strdup("");

        for (size_t i = 0; i < MIN(n, (size_t) SUMMARY_MAX) && summary; i++) {
                _cleanup_(freep) char *value = NULL;
                const char *channel;
                const Json *member = json_member(values, i, &channel);

                value = format_value(member, json_string(json_get(units, channel)));
                text_set(&summary, "%s%s%s%s%s", summary, i > 0 ? ", " : "", n > 1 ? channel + prefix : "",
                        n > 1 ? " " : "", value ? value : "?");
        }
        if (n > SUMMARY_MAX && summary)
                text_set(&summary, "%s, and %zu more", summary, n - SUMMARY_MAX);
        return summary;
}

static int print_overview(const Ctl *ctl, const Json *sensors)
{
        static const char *const headings[] = {
                "SENSOR", "PLUGIN", "STATE", "AGE", "RESTARTS", "DROPPED", "VALUES"};
        _cleanup_(table_freep) Table *table = table_new(ELEMENTSOF(headings), headings, ctl->color);
        uint64_t now_usec = clock_realtime_usec();

        for (size_t i = 0; i < json_size(sensors); i++) {
                const Json *sensor = json_at(sensors, i);
                _cleanup_(freep) char *summary = summarize_values(sensor);
                const char *state = get_text(sensor, "State");
                char age[48];

                table_add(table, STYLE_PLAIN, get_text(sensor, "Name"));
                table_add(table, STYLE_PLAIN, get_text(sensor, "Plugin"));
                table_add(table, format_state_style(state), state);
                table_add(table, STYLE_PLAIN, format_age(age, get_number(sensor, "LastSampleAt"), now_usec));
                add_number(table, STYLE_PLAIN, get_number(sensor, "Restarts"));
                add_number(table, STYLE_BAD, get_number(sensor, "Dropped"));
                table_add(table, STYLE_PLAIN, summary);
                add_error(table, sensor);
        }
        for (size_t column = 3; column <= 5; column++)
                table_align_right(table, column);
        return print_table(ctl, table, "");
}

/* A row for each channel; what is the sensor's stands in the first. */
static void add_channels(Table *table, const Json *sensor)
{
        const Json *values = json_get(sensor, "Values"), *units = json_get(sensor, "Units");
        const char *state = get_text(sensor, "State");
        char age[48], samples[32];
        size_t n = json_size(values);

        format_age(age, get_number(sensor, "LastSampleAt"), clock_realtime_usec());
        snprintf(samples, sizeof(samples), "%llu", (unsigned long long) get_number(sensor, "Samples"));
        for (size_t i = 0; i < MAX(n, 1U); i++) {
                _cleanup_(freep) char *value = NULL, *cut = NULL;
                const char *channel = NULL;
                const Json *member = i < n ? json_member(values, i, &channel) : NULL;
                bool first = i == 0;

                if (channel) {
                        value = format_value(member, json_string(json_get(units, channel)));
                        cut = value ? text_clean(value, 48) : NULL;
                }
                table_add(table, STYLE_PLAIN, first ? get_text(sensor, "Name") : NULL);
                table_add(table, STYLE_PLAIN, first ? get_text(sensor, "Plugin") : NULL);
                table_add(table, format_state_style(state), first ? state : NULL);
                table_add(table, STYLE_PLAIN, channel);
                table_add(table, STYLE_BOLD, cut);
                table_add(table, STYLE_PLAIN, first ? age : NULL);
                table_add(table, STYLE_PLAIN, first ? samples : NULL);
                add_number(table, STYLE_PLAIN, first ? get_number(sensor, "Restarts") : 0);
                add_number(table, STYLE_BAD, first ? get_number(sensor, "Dropped") : 0);
        }
        add_error(table, sensor);
}

static int print_sensors(const Ctl *ctl, const Json *sensors)
{
        static const char *const headings[] = {
                "SENSOR", "PLUGIN", "STATE", "CHANNEL", "VALUE", "AGE", "SAMPLES", "RESTARTS", "DROPPED"};
        _cleanup_(table_freep) Table *table = table_new(ELEMENTSOF(headings), headings, ctl->color);

        for (size_t i = 0; i < json_size(sensors); i++)
                add_channels(table, json_at(sensors, i));
        for (size_t column = 5; column <= 8; column++)
                table_align_right(table, column);
        return print_table(ctl, table, "");
}

int verb_sensors(Ctl *ctl)
{
        _cleanup_(json_freep) Json *sensors = NULL;
        _cleanup_(freep) char *error = NULL;

        if (client_sensors(ctl, &sensors, &error) < 0)
                return ctl_fault("%s", error);
        if (ctl->json)
                return ctl_print_json(sensors);
        if (json_size(sensors) == 0) {
                puts("no sensors: the configuration has none");
                return CTL_DONE;
        }
        return print_sensors(ctl, sensors);
}

/* --- status ------------------------------------------------------------------------------------------- */

static void add_pair(Table *table, const char *key, Style style, const char *text)
{
        if (!text || !*text)
                return;
        table_add(table, STYLE_DIM, key);
        table_add(table, style, text);
}

static void add_format(Table *table, const char *key, Style style, const char *format, ...) _printf_(4, 5);
static void add_format(Table *table, const char *key, Style style, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        add_pair(table, key, style, text ? text : "?");
}

/* How it goes with the server. */
static void add_connection(Table *table, const Json *manager)
{
        uint64_t since_usec = get_number(manager, "ConnectedSince"), now_usec = clock_realtime_usec();
        uint64_t next_usec = get_number(manager, "NextTry"), trip_usec = get_number(manager, "RoundTrip");
        uint64_t connections = get_number(manager, "Connections");
        const char *server = get_text(manager, "Server");
        char when[48], age[48], count[32];

        if (json_boolean(json_get(manager, "Secure")))
                add_format(table, "Server", STYLE_PLAIN, "%s (TLS)", server);
        else if (since_usec > 0)
                add_format(table, "Server", STYLE_BUSY, "%s (plain MQTT, not encrypted)", server);
        else
                add_pair(table, "Server", STYLE_PLAIN, server);
        if (since_usec > 0)
                add_format(table, "Connected", STYLE_PLAIN, "since %s (%s)", format_time(when, since_usec),
                        format_age(age, since_usec, now_usec));
        if (trip_usec > 0)
                add_format(table, "Connections", STYLE_PLAIN, "%s; the last answer took %.1f ms",
                        format_count(count, connections), (double) trip_usec / (double) USEC_PER_MSEC);
        else if (connections > 0)
                add_pair(table, "Connections", STYLE_PLAIN, format_count(count, connections));
        add_pair(table, "Last error", STYLE_BAD, get_text(manager, "LastError"));
        if (next_usec > 0)
                add_format(table, "Next try", STYLE_PLAIN, "in %s",
                        text_format_duration(age, next_usec > now_usec ? next_usec - now_usec : 0));
}

static void add_spool(Table *table, const Json *manager)
{
        _cleanup_(freep) char *outlook = format_outlook(json_number(json_get(manager, "SpoolHours")),
                json_number(json_get(manager, "SpoolRate")),
                json_number(json_get(manager, "SpoolMessageRate")), get_number(manager, "SpoolRateSpan"));
        uint64_t messages = get_number(manager, "SpoolMessages"), limit = get_number(manager, "SpoolLimit");
        bool full = json_boolean(json_get(manager, "SpoolFull"));
        char count[32], size[32], most[32];

        add_format(table, "Spool", full ? STYLE_BAD : STYLE_PLAIN, "%s message%s, %s of %s%s",
                format_count(count, messages), messages == 1 ? "" : "s",
                text_format_size(size, get_number(manager, "SpoolBytes")), text_format_size(most, limit),
                full ? "; full, dropping" : "");
        add_pair(table, "Room for", STYLE_PLAIN, outlook);
        add_pair(table, "Spool's disk", STYLE_BAD, get_text(manager, "SpoolTrouble"));
}

/* Nothing where all is as it should be. */
static void add_clock(Table *table, const Json *manager)
{
        static const struct {
                const char *key, *one, *many;
        } counters[] = {
                {"Held", "sample waits for the clock to be set", "samples wait for the clock to be set"},
                {"Estimated", "sample got an estimated time", "samples got an estimated time"},
                {"ClockSetBack", "time the clock was set back", "times the clock was set back"},
        };
        const char *trouble = get_text(manager, "ClockTrouble");
        _cleanup_(freep) char *text = NULL;
        char count[32];

        add_pair(table, "Clock", STYLE_BAD, trouble);
        /* The sentence says already how many wait. */
        for (size_t i = *trouble ? 1 : 0; i < ELEMENTSOF(counters); i++) {
                uint64_t n = get_number(manager, counters[i].key);

                if (n > 0)
                        text_set(&text, "%s%s%s %s", text ? text : "", text ? ", " : "",
                                format_count(count, n), n == 1 ? counters[i].one : counters[i].many);
        }
        add_pair(table, "Times", STYLE_BUSY, text);
}

static int print_manager(const Ctl *ctl, const Json *manager)
{
        _cleanup_(table_freep) Table *table = table_new(2, NULL, ctl->color);
        const char *state = get_text(manager, "State"), *plug_id = get_text(manager, "PlugId");
        bool asked = strcmp(get_text(manager, "Confirm"), "none") != 0;
        char published[32], confirmed[32], lost[32];
        uint64_t dropped;

        table_wrap(table);
        add_pair(table, "State", format_state_style(state), state);
        add_pair(table, "Name", STYLE_BOLD, get_text(manager, "Name"));
        add_pair(table, "Plug-ID", STYLE_BOLD, *plug_id ? plug_id : "none yet: not enrolled");
        add_pair(table, "Hardware id", STYLE_PLAIN, get_text(manager, "HardwareId"));
        add_connection(table, manager);
        dropped = get_number(manager, "Dropped");
        add_format(table, "Messages", dropped > 0 ? STYLE_BAD : STYLE_PLAIN,
                "%s published, %s %s, %s dropped", format_count(published, get_number(manager, "Published")),
                asked ? format_count(confirmed, get_number(manager, "Confirmed")) : "confirmation",
                asked ? "confirmed" : "not asked for", format_count(lost, dropped));
        add_spool(table, manager);
        add_clock(table, manager);
        add_pair(table, "plugd", STYLE_PLAIN, get_text(manager, "Version"));
        return print_table(ctl, table, "");
}

int verb_status(Ctl *ctl)
{
        _cleanup_(json_freep) Json *manager = NULL, *sensors = NULL;
        _cleanup_(freep) char *error = NULL;
        int r;

        if (client_manager(ctl, &manager, &error) < 0 || client_sensors(ctl, &sensors, &error) < 0)
                return ctl_fault("%s", error);
        if (ctl->json)
                return json_set(manager, "Sensors", TAKE_PTR(sensors)) < 0 ? ctl_fault("not enough memory")
                                                                           : ctl_print_json(manager);
        r = print_manager(ctl, manager);
        if (r != CTL_DONE || json_size(sensors) == 0)
                return r;
        fputc('\n', stdout);
        return print_overview(ctl, sensors);
}

/* --- show --------------------------------------------------------------------------------------------- */

static void add_sandbox(Table *table, const Json *sandbox)
{
        _cleanup_(freep) char *text = NULL;

        for (size_t i = 0; i < json_size(sandbox); i++) {
                const char *part = json_string(json_at(sandbox, i));

                text_set(&text, "%s%s%s", text ? text : "", text ? ", " : "", part ? part : "?");
        }
        add_pair(table, "Sandbox", STYLE_PLAIN, text);
}

static int print_sensor(const Ctl *ctl, const Json *sensor)
{
        _cleanup_(table_freep) Table *table = table_new(2, NULL, ctl->color);
        uint64_t at_usec = get_number(sensor, "LastSampleAt"), pid = get_number(sensor, "ProcessId");
        const char *state = get_text(sensor, "State");
        char when[48], age[48];

        table_wrap(table);
        add_pair(table, "Sensor", STYLE_BOLD, get_text(sensor, "Name"));
        add_pair(table, "Plugin", STYLE_PLAIN, get_text(sensor, "Plugin"));
        add_pair(table, "State", format_state_style(state), state);
        add_pair(table, "Last error", sensor_troubled(sensor) ? STYLE_BAD : STYLE_PLAIN,
                get_text(sensor, "LastError"));
        add_format(table, "Interval", STYLE_PLAIN, "%g s", json_number(json_get(sensor, "Interval")));
        if (at_usec > 0)
                add_format(table, "Last sample", STYLE_PLAIN, "%s (%s ago)", format_time(when, at_usec),
                        format_age(age, at_usec, clock_realtime_usec()));
        add_format(table, "Samples", STYLE_PLAIN, "%llu, %llu dropped",
                (unsigned long long) get_number(sensor, "Samples"),
                (unsigned long long) get_number(sensor, "Dropped"));
        add_format(
                table, "Restarts", STYLE_PLAIN, "%llu", (unsigned long long) get_number(sensor, "Restarts"));
        if (pid > 0)
                add_format(table, "Process", STYLE_PLAIN, "%llu", (unsigned long long) pid);
        add_sandbox(table, json_get(sensor, "Sandbox"));
        return print_table(ctl, table, "");
}

static int print_channels(const Ctl *ctl, const Json *sensor)
{
        static const char *const headings[] = {"CHANNEL", "TYPE", "VALUE"};
        _cleanup_(table_freep) Table *table = table_new(ELEMENTSOF(headings), headings, ctl->color);
        const Json *types = json_get(sensor, "Types"), *values = json_get(sensor, "Values");

        if (json_size(types) == 0)
                return CTL_DONE;
        for (size_t i = 0; i < json_size(types); i++) {
                _cleanup_(freep) char *text = NULL;
                const char *channel, *type = json_string(json_member(types, i, &channel));

                /* Null and "none yet" differ, but json_get() has one word for both. */
                for (size_t k = 0; k < json_size(values) && !text; k++) {
                        const char *other;
                        const Json *value = json_member(values, k, &other);

                        if (strcmp(channel, other) == 0)
                                text = format_value(
                                        value, json_string(json_get(json_get(sensor, "Units"), channel)));
                }
                table_add(table, STYLE_PLAIN, channel);
                table_add(table, STYLE_PLAIN, type);
                table_add(table, STYLE_BOLD, text ? text : "-");
        }
        fputc('\n', stdout);
        return print_table(ctl, table, "");
}

int verb_show(Ctl *ctl)
{
        _cleanup_(json_freep) Json *sensor = NULL;
        _cleanup_(freep) char *error = NULL;
        int r;

        if (client_sensor(ctl, ctl->arguments[0], &sensor, &error) < 0)
                return ctl_fault("%s", error);
        if (ctl->json)
                return ctl_print_json(sensor);
        r = print_sensor(ctl, sensor);
        return r == CTL_DONE ? print_channels(ctl, sensor) : r;
}
