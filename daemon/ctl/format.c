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
