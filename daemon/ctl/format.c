/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/format.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "util/text.h"

Style format_state_style(const char *state)
{
        static const struct {
                const char *state;
                Style style;
        } styles[] = {
                {"online", STYLE_GOOD},
                {"connecting", STYLE_BUSY},
                {"enrolling", STYLE_BUSY},
                {"offline", STYLE_BAD},
                {"refused", STYLE_BAD},
                {"enrolment-failed", STYLE_BAD},
                {"running", STYLE_GOOD},
                {"starting", STYLE_BUSY},
                {"restarting", STYLE_BUSY},
                {"silent", STYLE_BUSY},
                {"failing", STYLE_BAD},
                {"stuck", STYLE_BAD},
                {"stopped", STYLE_DIM},
        };

        for (size_t i = 0; i < ELEMENTSOF(styles); i++)
                if (strcmp(styles[i].state, state) == 0)
                        return styles[i].style;
        return STYLE_PLAIN;
}

static char *format_bare(const Json *value)
{
        double number;

        switch (json_type(value)) {
        case JSON_STRING:
                return strdup(json_string(value));
        case JSON_NUMBER:
                number = json_number(value);
                /* Ten digits are enough to look at; whole numbers have all of theirs. */
                return text_printf(
                        fabs(number) < 1e15 && fabs(number - nearbyint(number)) <= 0.0 ? "%.0f" : "%.10g",
                        number);
        case JSON_NULL:
                return strdup("null");
        case JSON_BOOLEAN:
        case JSON_INTEGER:
        case JSON_ARRAY:
        case JSON_OBJECT:
                break;
        }
        return json_format(value, false);
}

char *format_value(const Json *value, const char *unit)
{
        _cleanup_(freep) char *bare = NULL;
        double number = json_number(value);
        char size[32];

        if (unit && strcmp(unit, "B") == 0 && number >= 1024 && number < 0x1p63)
                return strdup(text_format_size(size, (uint64_t) number));
        bare = format_bare(value);
        if (!bare || !unit || !*unit)
                return TAKE_PTR(bare);
        return text_printf("%s %s", bare, unit);
}

const char *format_age(char buffer[static 48], uint64_t then_usec, uint64_t now_usec)
{
        if (then_usec == 0)
                strcpy(buffer, "-");
        else
                text_format_duration(buffer, now_usec > then_usec ? now_usec - then_usec : 0);
        return buffer;
}

const char *format_time(char buffer[static 48], uint64_t usec)
{
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        struct tm local;

        if (usec == 0 || !localtime_r(&seconds, &local) ||
                strftime(buffer, 48, "%Y-%m-%d %H:%M:%S", &local) == 0)
                strcpy(buffer, "-");
        return buffer;
}

const char *format_count(char buffer[static 32], uint64_t number)
{
        char digits[24];
        int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long) number);
        char *to = buffer;

        for (int i = 0; i < n; i++) {
                if (i > 0 && (n - i) % 3 == 0)
                        *to++ = ',';
                *to++ = digits[i];
        }
        *to = '\0';
        return buffer;
}

/* Rounded down: "12 min", "31 h", "400 days". */
static const char *format_hours(char buffer[static 48], double hours)
{
        static const struct {
                double below, unit; /* hours */
                const char *format;
        } steps[] = {
                {1.0 / 60, 1, "less than a minute"},
                {2, 1.0 / 60, "%.0f min"},
                {72, 1, "%.0f h"},
                {2 * 365 * 24, 24, "%.0f days"},
                {100.0 * 365 * 24, 365 * 24, "%.0f years"},
        };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                if (hours < steps[i].below) {
                        snprintf(buffer, 48, steps[i].format, floor(hours / steps[i].unit));
                        return buffer;
                }
        return strcpy(buffer, "more than 100 years");
}

/* Two digits are all that such a guess is worth. */
static uint64_t round_down(double number)
{
        double unit = 1;

        while (number / unit >= 100)
                unit *= 10;
        return (uint64_t) (floor(number / unit) * unit);
}

char *format_outlook(double hours, double bytes_rate, double messages_rate, uint64_t span_sec)
{
        bool slow = bytes_rate < 10, day = span_sec >= 86400;
        char room[48], count[32], rate[32], span[48];
        double messages = hours * 3600 * messages_rate;

        if (hours < 0 || span_sec == 0)
                return bytes_rate > 0 ? strdup("known after a minute") : NULL;
        text_format_size(rate, (uint64_t) (slow ? bytes_rate * 3600 : bytes_rate));
        return text_printf("%s, about %s messages, at %s%s/%s%s%s", format_hours(room, hours),
                format_count(count, round_down(MIN(MAX(messages, 0.0), 1e18))), day ? "today's " : "the ",
                rate, slow ? "h" : "s", day ? "" : " of the last ",
                day ? "" : text_format_duration(span, span_sec * USEC_PER_SEC));
}
