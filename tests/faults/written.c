/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Preloaded into a worker: writes down how many samples it has written to the daemon, in a file that is
 * mapped before the sandbox stands, so that it outlives the worker whatever ends that.
 *
 * PLUGD_WRITTEN names the folder. The file is SENSOR.DAEMON'S PID.WORKER'S PID, and has three numbers: when
 * the worker began (CLOCK_BOOTTIME, ns), the samples that it has written, and those together with what it
 * was writing when it was killed: they may have got out.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WIRE_FD 3
#define WIRE_SAMPLE 3  /* daemon/wire.h */
#define HEADER_SIZE 5U /* u32 length of what follows, u8 type */

typedef struct Written {
        uint64_t begin_ns;
        volatile uint64_t samples, begun;
} Written;

typedef struct Frames {
        uint8_t header[HEADER_SIZE];
        size_t have; /* of the header */
        size_t rest; /* of the body */
} Frames;

static Written *written;
static Frames frames;
static ssize_t (*real_write)(int fd, const void *data, size_t size);

__attribute__((visibility("default"))) ssize_t write(int fd, const void *data, size_t size);

__attribute__((constructor)) static void begin(int argc, char **argv)
{
        const char *folder = getenv("PLUGD_WRITTEN");
        struct timespec now;
        char path[512];
        void *mapped;
        int fd;

        real_write = (ssize_t(*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write");
        if (!folder || argc < 3)
                return;
        snprintf(path, sizeof(path), "%s/%s.%d.%d", folder, argv[2], (int) getppid(), (int) getpid());
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, sizeof(*written)) < 0)
                abort();
        mapped = mmap(NULL, sizeof(*written), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (mapped == MAP_FAILED)
                abort();
        clock_gettime(CLOCK_BOOTTIME, &now);
        written = mapped;
        written->begin_ns = (uint64_t) now.tv_sec * UINT64_C(1000000000) + (uint64_t) now.tv_nsec;
}

/* How many samples end in these bytes. */
static uint64_t count(Frames *state, const uint8_t *data, size_t size)
{
        uint64_t samples = 0;

        while (size > 0) {
                size_t part;

                if (state->have < HEADER_SIZE) {
                        state->header[state->have++] = *data++;
                        size--;
                        if (state->have < HEADER_SIZE)
                                continue;
                        state->rest = (state->header[0] | (size_t) state->header[1] << 8 |
                                              (size_t) state->header[2] << 16) -
                                      1;
                }
                part = size < state->rest ? size : state->rest;
                state->rest -= part;
                data += part;
                size -= part;
                if (state->rest == 0) {
                        samples += state->header[HEADER_SIZE - 1] == WIRE_SAMPLE;
                        state->have = 0;
                }
        }
        return samples;
}

ssize_t write(int fd, const void *data, size_t size)
{
        Frames ahead = frames;
        ssize_t n;

        if (fd != WIRE_FD || !written)
                return real_write(fd, data, size);
        written->begun = written->samples + count(&ahead, data, size);
        n = real_write(fd, data, size);
        if (n > 0)
                written->samples += count(&frames, data, (size_t) n);
        return n;
}
