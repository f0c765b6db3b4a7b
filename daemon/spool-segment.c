/* SPDX-License-Identifier: Apache-2.0 */

/* A tier of the spool: a folder of segment files, locked against a second daemon, and the list of them. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "spool-internal.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

const char *segment_name(SegmentName buffer, uint64_t first)
{
        snprintf(buffer, sizeof(SegmentName), "%016" PRIx64 ".seg", first);
        return buffer;
}

int segment_name_parse(const char *name, uint64_t *ret_first)
{
        SegmentName again;
        uint64_t first;

        if (strspn(name, "0123456789abcdef") != 16)
                return -EINVAL;
        first = strtoull(name, NULL, 16);
        if (first == 0 || first > SEQUENCE_MAX || strcmp(segment_name(again, first), name) != 0)
                return -EINVAL;
        *ret_first = first;
        return 0;
}

Segment segment_new(uint64_t first, int fd)
{
        return (Segment){
                .first = first,
                .last = first - 1,
                .size = SEGMENT_HEADER_SIZE,
                .file_size = SEGMENT_HEADER_SIZE,
                .head_last = first - 1,
                .head = SEGMENT_HEADER_SIZE,
                .checked = SEGMENT_HEADER_SIZE,
                .fd = fd,
        };
}

/* Who holds the lock on this folder? 0: it can't be told. */
static pid_t lock_owner(int fd)
{
        _cleanup_(fclosep) FILE *locks = fopen("/proc/locks", "re");
        struct stat status;
        char line[256];

        if (!locks || fstat(fd, &status) < 0)
                return 0;
        while (fgets(line, sizeof(line), locks)) {
                unsigned long long inode;
                unsigned device_major, device_minor;
                int pid;

                if (sscanf(line, "%*s FLOCK %*s %*s %d %x:%x:%llu", &pid, &device_major, &device_minor,
                            &inode) == 4 &&
                        inode == status.st_ino && makedev(device_major, device_minor) == status.st_dev)
                        return pid;
        }
        return 0;
}

int tier_open(Tier *tier, const char *directory, const char *name, char **ret_error)
{
        _cleanup_(closep) int fd = -1;
        _cleanup_(freep) char *path = text_printf("%s/%s", directory, name);
        int r;

        if (!path)
                return -ENOMEM;
        r = file_make_directory(path, 0700);
        if (r < 0) {
                text_set(ret_error, "Can't make the folder %s: %s", path, strerror(-r));
                return r;
        }
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                text_set(ret_error, "Can't open the folder %s: %s", path, strerror(-r));
                return r;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
                pid_t owner = lock_owner(fd);

                if (owner == getpid())
                        text_set(ret_error,
                                "%s is in use by this plugd already: the state and the runtime "
                                "directory have to be two",
                                path);
                else if (owner > 0)
                        text_set(ret_error, "Another plugd (pid %d) uses %s: stop it first", (int) owner,
                                path);
                else
                        text_set(ret_error, "Another plugd uses %s: stop it first", path);
                return -EBUSY;
        }
        free(tier->path);
        tier->path = TAKE_PTR(path);
        tier->fd = take_fd(&fd);
        return 0;
}

int tier_open_spare(Tier *tier, const char *state_directory)
{
        _cleanup_(freep) char *path = text_printf("%s/" SPARE_NAME, state_directory), *error = NULL;
        int r;

        if (!path)
                return -ENOMEM;
        if (access(path, F_OK) < 0 && errno == ENOENT)
                return 0;
        r = tier_open(tier, state_directory, SPARE_NAME, &error);
        if (r < 0)
                log_warning("spool: %s. Messages that may be in it wait for the next start",
                        error ? error : strerror(-r));
        return r;
}

void tier_deinit(Tier *tier)
{
        for (size_t i = 0; i < tier->n_segments; i++)
                closep(&tier->segments[i].fd);
        free(tier->segments);
        free(tier->path);
        closep(&tier->fd);
        *tier = TIER_INIT;
}

void tier_account(Tier *tier)
{
        tier->bytes = tier->stray_bytes;
        for (size_t i = 0; i < tier->n_segments; i++)
                tier->bytes += tier_blocks(tier->segments[i].file_size);
}

int tier_add(Tier *tier, const Segment *segment)
{
        if (tier->n_segments == tier->capacity) {
                size_t capacity = MAX(tier->capacity * 2, (size_t) 16);
                Segment *segments = reallocarray(tier->segments, capacity, sizeof(*segments));

                if (!segments)
                        return -ENOMEM;
                tier->segments = segments;
                tier->capacity = capacity;
        }
        tier->segments[tier->n_segments++] = *segment;
        tier_account(tier);
        return 0;
}

void tier_remove(Tier *tier, size_t index)
{
        closep(&tier->segments[index].fd);
        tier->n_segments--;
        memmove(tier->segments + index, tier->segments + index + 1,
                (tier->n_segments - index) * sizeof(*tier->segments));
        tier_account(tier);
}

uint64_t tier_stray(Tier *tier, size_t index)
{
        uint64_t total = 0;

        for (size_t i = index; i < tier->n_segments; i++) {
                total += tier->segments[i].count - tier->segments[i].head_count;
                tier->stray_bytes += tier_blocks(tier->segments[i].file_size);
        }
        tier->n_segments = MIN(tier->n_segments, index);
        tier_account(tier);
        return total;
}

size_t tier_find(const Tier *tier, uint64_t sequence)
{
        size_t low = 0, high = tier->n_segments;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (tier->segments[middle].last < sequence)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

int write_all(int fd, const void *data, size_t size, uint64_t offset)
{
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = pwrite(fd, p, size, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                p += n;
                size -= (size_t) n;
                offset += (uint64_t) n;
        }
        return 0;
}
