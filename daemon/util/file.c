/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "macros.h"
#include "text.h"

int file_read(const char *path, size_t max, char **ret_data, size_t *ret_size)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_(freep) char *data = NULL;
        size_t size = 0, capacity = 0;

        if (fd < 0)
                return -errno;

        for (;;) {
                ssize_t n;

                if (size == capacity) {
                        char *larger;

                        /* One more than max is enough to see that there is more. */
                        capacity = MIN(MAX(2 * capacity, (size_t) 4096), max + 1);
                        if (size == capacity)
                                return -EFBIG;
                        larger = realloc(data, capacity + 1);
                        if (!larger)
                                return -ENOMEM;
                        data = larger;
                }
                n = read(fd, data + size, capacity - size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        if (size > max)
                return -EFBIG;

        data[size] = '\0';
        *ret_data = TAKE_PTR(data);
        if (ret_size)
                *ret_size = size;
        return 0;
}

static int write_all(int fd, const void *data, size_t size)
{
        const char *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

/* The folder that path is in, opened, so that a rename in it can be synced. */
static int open_parent(const char *path)
{
        _cleanup_(freep) char *folder = strdup(path);
        char *slash;
        int fd;

        if (!folder)
                return -ENOMEM;
        slash = strrchr(folder, '/');
        if (slash == folder)
                slash[1] = '\0';
        else if (slash)
                *slash = '\0';
        fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int write_and_rename(
        const char *path, const char *temporary, int fd, mode_t mode, const void *data, size_t size)
{
        _cleanup_(closep) int folder = -1;
        int r;

        /* Whatever the umask says, and before there is anything to read. */
        if (fchmod(fd, mode) < 0)
                return -errno;
        r = write_all(fd, data, size);
        if (r < 0)
                return r;
        if (fsync(fd) < 0)
                return -errno;
        folder = open_parent(path);
        if (folder < 0)
                return folder;
        if (rename(temporary, path) < 0)
                return -errno;
        if (fsync(folder) < 0)
                return -errno;
        return 0;
}

int file_write_atomic(const char *path, mode_t mode, const void *data, size_t size)
{
        _cleanup_(freep) char *temporary = text_printf("%s.XXXXXX", path);
        _cleanup_(closep) int fd = -1;
        int r;

        if (!temporary)
                return -ENOMEM;
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_and_rename(path, temporary, fd, mode, data, size);
        if (r < 0)
                unlink(temporary);
        return r;
}

int file_make_directory(const char *path, mode_t mode)
{
        _cleanup_(freep) char *copy = strdup(path);
        struct stat status;

        if (!copy)
                return -ENOMEM;
        for (char *slash = copy; *slash;) {
                slash += strspn(slash, "/");
                slash += strcspn(slash, "/");
                char kept = *slash;

                *slash = '\0';
                if (mkdir(copy, mode) < 0 && errno != EEXIST) {
                        int error = errno;

                        /* A parent on a read-only file system may exist all the same. */
                        if (stat(copy, &status) < 0 || !S_ISDIR(status.st_mode))
                                return -error;
                }
                *slash = kept;
        }
        if (stat(path, &status) < 0)
                return -errno;
        return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}
