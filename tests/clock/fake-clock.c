/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Another time, another boot: preloaded into the daemon by tests (LD_PRELOAD), as a seam that the daemon
 * itself doesn't have. The file that FAKE_CLOCK names says how far CLOCK_REALTIME and CLOCK_BOOTTIME are
 * off, in µs, whether the clock counts as synchronised, and which boot this is ("": the true one). It may be
 * changed at any time; unlike with a clock that is really set, no timer is cancelled then.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

typedef struct Fake {
        int64_t realtime_usec, boottime_usec, synchronised;
        char boot_id[40];
} Fake;

static const volatile Fake *fake;

static __attribute__((constructor)) void load(void)
{
        const char *path = getenv("FAKE_CLOCK");
        int fd = path ? (int) syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
        void *mapped = fd >= 0 ? mmap(NULL, sizeof(Fake), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

        if (mapped == MAP_FAILED)
                abort();
        close(fd);
        fake = mapped;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret)
{
        int64_t off_usec;

        if (syscall(SYS_clock_gettime, clock, ret) < 0)
                return -1;
        if (!fake || (clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME))
                return 0;
        off_usec = clock == CLOCK_REALTIME ? fake->realtime_usec : fake->boottime_usec;
        off_usec += (int64_t) ret->tv_sec * 1000000 + ret->tv_nsec / 1000;
        ret->tv_sec = (time_t) (off_usec / 1000000);
        ret->tv_nsec = (long) (off_usec % 1000000) * 1000;
        return 0;
}

EXPORT int adjtimex(struct timex *timex)
{
        if (timex->modes != 0) {
                errno = EPERM;
                return -1;
        }
        memset(timex, 0, sizeof(*timex));
        timex->status = fake->synchronised ? 0 : STA_UNSYNC;
        return fake->synchronised ? TIME_OK : TIME_ERROR;
}

/* The name that code with 64-bit offsets calls open() by. */
EXPORT int open64(const char *path, int flags, ...)
{
        mode_t mode = 0;
        char id[sizeof(fake->boot_id)];
        size_t size = 0;
        int fd;

        if (flags & (O_CREAT | O_TMPFILE)) {
                va_list list;

                va_start(list, flags);
                mode = va_arg(list, mode_t);
                va_end(list);
        }
        if (strcmp(path, BOOT_ID_FILE) != 0 || !fake->boot_id[0])
                return (int) syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        while (size < sizeof(id) && fake->boot_id[size]) {
                id[size] = fake->boot_id[size];
                size++;
        }
        fd = memfd_create("boot-id", MFD_CLOEXEC);
        if (fd >= 0 && pwrite(fd, id, size, 0) != (ssize_t) size)
                abort();
        return fd;
}
