/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Preloaded into a program (LD_PRELOAD), counts the bytes that it passes to write() and its kin on files
 * below the folder $WRITES_BELOW, and how often it syncs them. The counts are in the file $WRITES_COUNT,
 * three numbers of 64 bits: bytes, writes, syncs. Which file a descriptor is, the kernel is asked each time:
 * that is slow, and true.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct Counts {
        uint64_t bytes, writes, syncs;
} Counts;

static Counts *counts;
static const char *below;

/* The function that stands behind ours. */
#define NEXT(name)                                                                                          \
        static __typeof__(&name) next;                                                                      \
        if (!next)                                                                                          \
        next = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
        const char *path = getenv("WRITES_COUNT");
        int fd;

        below = getenv("WRITES_BELOW");
        if (!path || !below)
                return;
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return;
        counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (counts == MAP_FAILED)
                counts = NULL;
        close(fd);
}

static int counted(int fd)
{
        char link[32], path[4096];
        size_t length;
        ssize_t n;

        if (!counts)
                return 0;
        length = strlen(below);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path));
        return n > (ssize_t) length && memcmp(path, below, length) == 0 && path[length] == '/';
}

static ssize_t count_write(int fd, ssize_t n)
{
        if (n > 0 && counted(fd)) {
                __atomic_fetch_add(&counts->bytes, (uint64_t) n, __ATOMIC_RELAXED);
                __atomic_fetch_add(&counts->writes, 1, __ATOMIC_RELAXED);
        }
        return n;
}

static int count_sync(int fd, int r)
{
        if (r == 0 && counted(fd))
                __atomic_fetch_add(&counts->syncs, 1, __ATOMIC_RELAXED);
        return r;
}

EXPORT ssize_t write(int fd, const void *data, size_t size)
{
        NEXT(write);
        return count_write(fd, next(fd, data, size));
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
        NEXT(pwrite64);
        return count_write(fd, next(fd, data, size, offset));
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int n)
{
        NEXT(writev);
        return count_write(fd, next(fd, parts, n));
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset)
{
        NEXT(pwritev64);
        return count_write(fd, next(fd, parts, n, offset));
}

EXPORT int fsync(int fd)
{
        NEXT(fsync);
        return count_sync(fd, next(fd));
}

EXPORT int fdatasync(int fd)
{
        NEXT(fdatasync);
        return count_sync(fd, next(fd));
}
