/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For targets that look at segments: the footer at the end of these bytes, as recovery would read it. */

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "spool-internal.h"

static int footer_of(const uint8_t *data, size_t size, SegmentFooter *ret, Summary *summary)
{
        static int fd = -1;

        if (fd < 0)
                fd = memfd_create("footer", MFD_CLOEXEC);
        hold(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t) size);
        return segment_footer_read(fd, (uint32_t) size, ret, summary);
}
