/* SPDX-License-Identifier: Apache-2.0 */

/* What goes to the host. What comes in a burst gathers here and leaves in one write, when the plugin
 * returns, or before when there is much of it. What comes by itself leaves at once: a call may take long, or
 * never return. */

#include <errno.h>

#include "util/clock.h"
#include "worker.h"

#define BATCH_BYTES (32 * 1024)
#define BURST_USEC USEC_PER_MSEC /* what follows what was sent this closely waits for the next write */

void outlet_flush(Outlet *outlet)
{
        size_t done = 0;

        if (outlet->bytes.failed && outlet->error == 0)
                outlet->error = -ENOMEM;
        while (outlet->error == 0 && done < outlet->bytes.size) {
                ssize_t n = write(outlet->fd, outlet->bytes.data + done, outlet->bytes.size - done);

                if (n >= 0)
                        done += (size_t) n;
                else if (errno != EINTR)
                        outlet->error = -errno;
        }
        if (done > 0)
                outlet->sent_usec = clock_monotonic_usec();
        bytes_clear(&outlet->bytes);
}

void outlet_hurry(Outlet *outlet)
{
        if (outlet->bytes.size >= BATCH_BYTES || clock_monotonic_usec() >= outlet->sent_usec + BURST_USEC)
                outlet_flush(outlet);
}

void outlet_frame(Outlet *outlet, WireType type)
{
        wire_end(&outlet->bytes, wire_begin(&outlet->bytes, type));
}

void outlet_log(Outlet *outlet, enum plugd_priority priority, const char *text)
{
        size_t mark = wire_begin(&outlet->bytes, WIRE_LOG);

        bytes_put_u8(&outlet->bytes, (uint8_t) MIN(MAX(priority, PLUGD_ERROR), PLUGD_DEBUG));
        bytes_put_string(&outlet->bytes, text);
        wire_end(&outlet->bytes, mark);
}

void outlet_failed(Outlet *outlet, WireFailure what, int error, const char *sentence)
{
        size_t mark = wire_begin(&outlet->bytes, WIRE_FAILED);

        bytes_put_u8(&outlet->bytes, (uint8_t) what);
        bytes_put_u32(&outlet->bytes, 0U - (uint32_t) error);
        bytes_put_string(&outlet->bytes, sentence);
        wire_end(&outlet->bytes, mark);
}
