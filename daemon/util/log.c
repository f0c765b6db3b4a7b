/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <string.h>

static int level = LOG_INFO;
static LogSink sink;

static const struct {
        const char *name;
        int priority;
} levels[] = {
        {"error", LOG_ERR},
        {"warning", LOG_WARNING},
        {"notice", LOG_NOTICE},
        {"info", LOG_INFO},
        {"debug", LOG_DEBUG},
};

void log_set_level(int priority)
{
        level = priority;
}

int log_level(void)
{
        return level;
}

int log_level_from_string(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (strcmp(levels[i].name, name) == 0)
                        return levels[i].priority;
        return -EINVAL;
}

const char *log_level_to_string(int priority)
{
        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (levels[i].priority == priority)
                        return levels[i].name;
        return priority < LOG_ERR ? "error" : "debug";
}

void log_set_sink(LogSink new_sink)
{
        sink = new_sink;
}

static void write_stderr(int priority, const LogContext *context, const char *text)
{
        const char *sensor = context ? context->sensor : NULL;

        /* One call, one line: what several programs write to a terminal stays whole. */
        fprintf(stderr, "%s: %s: %s%s%s\n", program_invocation_short_name, log_level_to_string(priority),
                sensor ? sensor : "", sensor ? ": " : "", text);
}

void log_write(int priority, const LogContext *context, const char *format, ...)
{
        int saved_errno = errno;
        char text[2048];
        va_list arguments;

        if (priority > level)
                return;

        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);

        /* One message is one line, whatever a worker or a server put into it. */
        for (char *c = text; *c; c++)
                if ((unsigned char) *c < 0x20 || *c == 0x7f)
                        *c = ' ';

        (sink ? sink : write_stderr)(priority, context, text);
        errno = saved_errno;
}
