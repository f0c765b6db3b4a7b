/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Preloaded into the daemon: counts its calls that change something in some folders, and strikes at the
 * N-th.
 *
 *     PLUGD_CALLS_FOLDERS   paths, with a colon between them: what is below them counts
 *     PLUGD_CALLS_LOG       file: a line "N CALL PATH SIZE" is appended for each, before it is made
 *     PLUGD_CALLS_FAULT     "N MODE [HOW OFTEN]"; without it, calls are only counted
 *
 * MODE: before, after (SIGKILL before or after the call); torn (half of it is written, then SIGKILL); short
 * (half of it is written); EIO, ENOSPC, EINTR (the call fails and does nothing). torn and short mean
 * "before" and nothing where nothing is written. HOW OFTEN: that many calls from the N-th on fail.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FOLDERS_MAX 4

typedef enum Mode { NONE, BEFORE, AFTER, TORN, SHORT, FAIL } Mode;

static const struct {
        const char *name;
        Mode mode;
        int error;
} modes[] = {
        {"before", BEFORE, 0},
        {"after", AFTER, 0},
        {"torn", TORN, 0},
        {"short", SHORT, 0},
        {"EIO", FAIL, EIO},
        {"ENOSPC", FAIL, ENOSPC},
        {"EINTR", FAIL, EINTR},
};

typedef struct Strike {
        Mode mode;
        int error;
} Strike;

static char *folders[FOLDERS_MAX];
static size_t n_folders;
static int log_fd = -1;
static unsigned long first, last; /* of the calls that are struck */
static Strike strike;
static atomic_ulong counted;

/* The real ones, found once. meson compiles for large files, so that pwrite() is pwrite64() and so on, here
 * as in the daemon. */
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate)(int, off_t);
static int (*real_unlink)(const char *), (*real_unlinkat)(int, const char *, int);
static int (*real_rename)(const char *, const char *);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_openat)(int, const char *, int, ...);

EXPORT ssize_t write(int fd, const void *data, size_t size);
EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t offset);
EXPORT int fsync(int fd);
EXPORT int fdatasync(int fd);
EXPORT int ftruncate(int fd, off_t size);
EXPORT int unlink(const char *path);
EXPORT int unlinkat(int folder, const char *name, int flags);
EXPORT int rename(const char *from, const char *to);
EXPORT int renameat(int from_folder, const char *from, int folder, const char *to);
EXPORT int openat(int folder, const char *name, int flags, ...);

static void read_fault(const char *text)
{
        char name[16] = "";
        unsigned long often = 1;

        if (sscanf(text, "%lu %15s %lu", &first, name, &often) < 2)
                abort();
        last = first + often - 1;
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
                if (strcmp(name, modes[i].name) == 0)
                        strike = (Strike){modes[i].mode, modes[i].error};
        if (strike.mode == NONE)
                abort();
}

__attribute__((constructor)) static void begin(void)
{
        char *list = getenv("PLUGD_CALLS_FOLDERS"), *rest = NULL;
        const char *log = getenv("PLUGD_CALLS_LOG"), *fault = getenv("PLUGD_CALLS_FAULT");

        *(void **) &real_write = dlsym(RTLD_NEXT, "write");
        *(void **) &real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
        *(void **) &real_fsync = dlsym(RTLD_NEXT, "fsync");
        *(void **) &real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
        *(void **) &real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
        *(void **) &real_unlink = dlsym(RTLD_NEXT, "unlink");
        *(void **) &real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
        *(void **) &real_rename = dlsym(RTLD_NEXT, "rename");
        *(void **) &real_renameat = dlsym(RTLD_NEXT, "renameat");
        *(void **) &real_openat = dlsym(RTLD_NEXT, "openat64");
        list = list ? strdup(list) : NULL;
        for (char *path = list ? strtok_r(list, ":", &rest) : NULL; path && n_folders < FOLDERS_MAX;
                path = strtok_r(NULL, ":", &rest))
                folders[n_folders++] = path;
        if (log)
                log_fd = real_openat(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fault)
                read_fault(fault);
}

static bool counts(const char *path)
{
        for (size_t i = 0; i < n_folders; i++) {
                size_t length = strlen(folders[i]);

                if (strncmp(path, folders[i], length) == 0 && (path[length] == '/' || !path[length]))
                        return true;
        }
        return false;
}

static bool fd_path(int fd, char path[static PATH_MAX])
{
        char link[64];
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, PATH_MAX - 1);
        if (n < 0)
                return false;
        path[n] = '\0';
        return true;
}

static void die(void)
{
        kill(getpid(), SIGKILL);
        for (;;)
                pause();
}

/* What becomes of this call. */
static Strike judge(const char *call, const char *path, size_t size)
{
        unsigned long number;
        char line[PATH_MAX + 64];
        Strike now = {NONE, 0};
        int n;

        if (!counts(path))
                return now;
        number = atomic_fetch_add(&counted, 1) + 1;
        n = snprintf(line, sizeof(line), "%lu %s %s %zu\n", number, call, path, size);
        if (log_fd >= 0 && n > 0)
                (void) !real_write(log_fd, line, (size_t) n);
        if (number < first || number > last)
                return now;
        now = strike;
        if (now.mode == BEFORE || (now.mode == TORN && size < 2))
                die();
        return now;
}

static Strike judge_fd(const char *call, int fd, size_t size)
{
        char path[PATH_MAX];
        int error = errno;
        Strike now = {NONE, 0};

        if (n_folders > 0 && fd_path(fd, path))
                now = judge(call, path, size);
        errno = now.mode == FAIL ? now.error : error;
        return now;
}

static Strike judge_at(const char *call, int folder, const char *name)
{
        char path[2 * PATH_MAX] = "";
        int error = errno;
        Strike now = {NONE, 0};

        if (n_folders > 0 && (name[0] == '/' || folder == AT_FDCWD || fd_path(folder, path))) {
                if (name[0] != '/' && folder != AT_FDCWD)
                        strcat(path, "/");
                strncat(path, name, PATH_MAX - 1);
                now = judge(call, path, 0);
        }
        errno = now.mode == FAIL ? now.error : error;
        return now;
}

static size_t part(Strike now, size_t size)
{
        return (now.mode == SHORT || now.mode == TORN) && size > 1 ? size / 2 : size;
}

static void end(Strike now)
{
        if (now.mode == AFTER || now.mode == TORN)
                die();
}

ssize_t write(int fd, const void *data, size_t size)
{
        Strike now = judge_fd("write", fd, size);
        ssize_t n = now.mode == FAIL ? -1 : real_write(fd, data, part(now, size));

        end(now);
        return n;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
        Strike now = judge_fd("pwrite", fd, size);
        ssize_t n = now.mode == FAIL ? -1 : real_pwrite(fd, data, part(now, size), offset);

        end(now);
        return n;
}

int fsync(int fd)
{
        Strike now = judge_fd("fsync", fd, 0);
        int r = now.mode == FAIL ? -1 : real_fsync(fd);

        end(now);
        return r;
}

int fdatasync(int fd)
{
        Strike now = judge_fd("fdatasync", fd, 0);
        int r = now.mode == FAIL ? -1 : real_fdatasync(fd);

        end(now);
        return r;
}

int ftruncate(int fd, off_t size)
{
        Strike now = judge_fd("ftruncate", fd, 0);
        int r = now.mode == FAIL ? -1 : real_ftruncate(fd, size);

        end(now);
        return r;
}

int unlink(const char *path)
{
        Strike now = judge_at("unlink", AT_FDCWD, path);
        int r = now.mode == FAIL ? -1 : real_unlink(path);

        end(now);
        return r;
}

int unlinkat(int folder, const char *name, int flags)
{
        Strike now = judge_at("unlinkat", folder, name);
        int r = now.mode == FAIL ? -1 : real_unlinkat(folder, name, flags);

        end(now);
        return r;
}

int rename(const char *from, const char *to)
{
        Strike now = judge_at("rename", AT_FDCWD, to);
        int r = now.mode == FAIL ? -1 : real_rename(from, to);

        end(now);
        return r;
}

int renameat(int from_folder, const char *from, int folder, const char *to)
{
        Strike now = judge_at("renameat", folder, to);
        int r = now.mode == FAIL ? -1 : real_renameat(from_folder, from, folder, to);

        end(now);
        return r;
}

/* Only what makes files counts. */
int openat(int folder, const char *name, int flags, ...)
{
        Strike now = {NONE, 0};
        mode_t mode = 0;
        va_list arguments;
        int r;

        if (flags & O_CREAT) {
                va_start(arguments, flags);
                mode = va_arg(arguments, mode_t);
                va_end(arguments);
                now = judge_at("create", folder, name);
        }
        r = now.mode == FAIL ? -1 : real_openat(folder, name, flags, mode);
        end(now);
        return r;
}
