/* SPDX-License-Identifier: Apache-2.0 */

/* What a plugin's libraries print on stderr: into the log line by line, as the sensor's. Limited in the
 * length of a line here, in number by host_log(). */

#include <errno.h>
#include <string.h>

#include "host-internal.h"

#define READ_BYTES 4096
#define REST_BYTES_MAX (64 * 1024)

static void end_line(Host *host)
{
        host->line[host->line_size] = '\0';
        if (host->line_size > 0)
                host_log(host, LOG_WARNING, host->line);
        host->line_size = 0;
        host->line_cut = false;
}

static void take(Host *host, const char *text, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (text[i] == '\n') {
                        end_line(host);
                        continue;
                }
                if (host->line_size == sizeof(host->line) - 1) {
                        end_line(host);
                        host->line_cut = true;
                }
                if (!host->line_cut)
                        host->line[host->line_size++] = text[i] ? text[i] : ' ';
        }
}

/* How many bytes, -EAGAIN, or -EPIPE when there will be no more. */
static int read_some(Host *host)
{
        char text[READ_BYTES];
        ssize_t n = read(host->errors, text, sizeof(text));

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
        if (n == 0)
                return -EPIPE;
        take(host, text, (size_t) n);
        return (int) n;
}

int host_errors_listen(Host *host)
{
        uint64_t left_out = host->chatter.n;
        int r = 0;

        /* A pipe holds 64 KiB. */
        for (size_t n = 0; n < REST_BYTES_MAX && r >= 0; n += (size_t) MAX(r, 0))
                r = read_some(host);
        if (host->chatter.n > left_out)
                host_pause(host, &host->errors_paused);
        return r == -EPIPE ? r : 0;
}

void host_errors_rest(Host *host)
{
        if (host->errors >= 0)
                (void) host_errors_listen(host);
        end_line(host);
}
