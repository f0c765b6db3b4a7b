/* SPDX-License-Identifier: Apache-2.0 */
#include "log-journal.h"

#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

static void write_journal(int priority, const LogContext *context, const char *text)
{
        char message[2048 + 16], level[16], sensor[128], channel[256];
        struct iovec fields[5];
        int n = 0;

        fields[n++] =
                (struct iovec){message, (size_t) snprintf(message, sizeof(message), "MESSAGE=%s", text)};
        fields[n++] =
                (struct iovec){level, (size_t) snprintf(level, sizeof(level), "PRIORITY=%d", priority)};
        fields[n++] =
                (struct iovec){(char *) "SYSLOG_IDENTIFIER=plugd", sizeof("SYSLOG_IDENTIFIER=plugd") - 1};
        if (context && context->sensor)
                fields[n++] = (struct iovec){
                        sensor, MIN((size_t) snprintf(sensor, sizeof(sensor), "SENSOR=%s", context->sensor),
                                        sizeof(sensor) - 1)};
        if (context && context->channel)
                fields[n++] = (struct iovec){channel,
                        MIN((size_t) snprintf(channel, sizeof(channel), "CHANNEL=%s", context->channel),
                                sizeof(channel) - 1)};

        /* A journal that doesn't take it has lost it: there is nobody left to tell. */
        (void) sd_journal_sendv(fields, n);
}

void log_journal_setup(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat status;

        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return;
        if (fstat(STDERR_FILENO, &status) < 0 || status.st_dev != device || status.st_ino != inode)
                return; /* somebody has redirected stderr since */
        log_set_sink(write_journal);
}
