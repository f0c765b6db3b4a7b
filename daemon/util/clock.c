/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "macros.h"

#define AHEAD_TRIES 8
#define AHEAD_GOOD_USEC 20

static uint64_t clock_usec(clockid_t clock)
{
        struct timespec now;

        clock_gettime(clock, &now);
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

uint64_t clock_realtime_usec(void)
{
        return clock_usec(CLOCK_REALTIME);
}

uint64_t clock_boottime_usec(void)
{
        return clock_usec(CLOCK_BOOTTIME);
}

uint64_t clock_monotonic_usec(void)
{
        return clock_usec(CLOCK_MONOTONIC);
}

/* The base is read before and after: the closer these two, the better it is known when the other was. */
static int64_t ahead_usec(clockid_t clock, clockid_t base)
{
        uint64_t best_usec = UINT64_MAX;
        int64_t ahead = 0;

        for (int i = 0; i < AHEAD_TRIES && best_usec > AHEAD_GOOD_USEC; i++) {
                uint64_t before_usec = clock_usec(base), usec = clock_usec(clock),
                         took_usec = clock_usec(base) - before_usec;

                if (took_usec >= best_usec)
                        continue;
                best_usec = took_usec;
                ahead = (int64_t) usec - (int64_t) (before_usec + took_usec / 2);
        }
        return ahead;
}

int64_t clock_realtime_ahead_of_boottime_usec(void)
{
        return ahead_usec(CLOCK_REALTIME, CLOCK_BOOTTIME);
}

int64_t clock_boottime_ahead_of_monotonic_usec(void)
{
        return ahead_usec(CLOCK_BOOTTIME, CLOCK_MONOTONIC);
}

bool clock_synchronised(void)
{
        struct timex timex = {.modes = 0};
        int state = adjtimex(&timex);

        return state >= 0 && state != TIME_ERROR && !(timex.status & STA_UNSYNC);
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

int clock_boot_id(uint8_t ret_id[static 16])
{
        _cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        char text[37];
        uint8_t id[16];
        size_t digits = 0;

        if (fd < 0)
                return -errno;
        if (read(fd, text, 36) != 36)
                return -EIO;

        memset(id, 0, sizeof(id));
        for (size_t i = 0; i < 36; i++) {
                int digit = hex_digit(text[i]);

                if (text[i] == '-')
                        continue;
                if (digit < 0 || digits == 32)
                        return -EIO;
                id[digits / 2] = (uint8_t) (id[digits / 2] << 4 | digit);
                digits++;
        }
        if (digits != 32)
                return -EIO;
        memcpy(ret_id, id, sizeof(id));
        return 0;
}
