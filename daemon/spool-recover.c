/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is found in a tier when it is opened. Sealed segments are believed by their footers and read only
 * when they are needed; the others are read through. A torn tail is cut. A damaged part is skipped, kept in
 * a folder of its own as long as that holds little, counted, and logged with its place. Nothing that may be
 * someone else's is touched, and whatever there is, the spool opens.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "spool-internal.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#define FOREIGN_LOGGED_MAX 5

static void closedirp(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

/* --- setting aside ------------------------------------------------------------------------------------ */

static int aside_open(const Aside *aside, uint64_t size)
{
        _cleanup_(closep) int fd = -1;
        _cleanup_(closedirp) DIR *directory = NULL;
        struct dirent *entry;
        struct stat status;
        int r, listed;

        if (size > aside->limit)
                return -ENOSPC;
        r = file_make_directory(aside->path, 0700);
        if (r < 0)
                return r;
        fd = open(aside->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        listed = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (listed < 0)
                return -errno;
        directory = fdopendir(listed);
        if (!directory) {
                close(listed);
                return -ENOMEM;
        }
        while ((entry = readdir(directory))) {
                if (fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode))
                        size += (uint64_t) status.st_size;
                if (size > aside->limit)
                        return -ENOSPC;
        }
        return take_fd(&fd);
}

int aside_keep(const Aside *aside, int fd, uint64_t first, uint32_t from, uint32_t to)
{
        _cleanup_(closep) int folder = aside_open(aside, to - from), copy = -1;
        _cleanup_(freep) uint8_t *buffer = NULL;
        char name[64];
        int r = 0;

        if (folder < 0)
                return folder;
        snprintf(name, sizeof(name), "%016" PRIx64 "-%08" PRIx32 ".part", first, from);
        copy = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (copy < 0)
                return errno == EEXIST ? 0 : -errno; /* it was found by an earlier start */
        buffer = malloc(READER_BUFFER_SIZE);
        if (!buffer)
                return -ENOMEM;
        for (uint32_t offset = from; offset < to;) {
                ssize_t n = pread(fd, buffer, MIN(to - offset, (uint32_t) READER_BUFFER_SIZE), offset);

                r = n < 0 ? -errno : n == 0 ? -ENODATA : write_all(copy, buffer, (size_t) n, offset - from);
                if (r < 0)
                        break;
                offset += (uint32_t) n;
        }
        if (r < 0)
                unlinkat(folder, name, 0);
        return r;
}

int aside_keep_file(const Aside *aside, int folder, const char *name)
{
        _cleanup_(closep) int to = aside_open(aside, 0);

        if (to < 0)
                return to;
        return renameat(folder, name, to, name) < 0 ? -errno : 0;
}

static bool is_blank(int fd, uint32_t from, uint32_t to)
{
        uint8_t buffer[4096];

        while (from < to) {
                ssize_t n = pread(fd, buffer, MIN(to - from, (uint32_t) sizeof(buffer)), from);

                if (n <= 0)
                        return false;
                for (ssize_t i = 0; i < n; i++)
                        if (buffer[i] != 0)
                                return false;
                from += (uint32_t) n;
        }
        return true;
}

/* Is what was there kept (or nothing)? */
static bool set_aside(Recovery *recovery, const char *path, int fd, const Segment *segment, uint32_t from,
        uint32_t to, bool torn)
{
        int r = 0;
        bool blank = is_blank(fd, from, to);

        recovery->damaged++;
        if (!blank)
                r = aside_keep(recovery->aside, fd, segment->first, from, to);
        log_write(torn ? LOG_NOTICE : LOG_WARNING, NULL, "spool: %s, bytes %u to %u: %s%s%s%s", path, from,
                to, torn ? "not a whole record, cut off" : "damaged, skipped",
                blank   ? ""
                : r < 0 ? "; not kept in "
                        : "; kept in ",
                blank ? "" : recovery->aside->path,
                r < 0 ? (r == -ENOSPC ? ", there is enough in there" : ", which can't be written") : "");
        return r == 0;
}

/* --- one segment -------------------------------------------------------------------------------------- */

typedef struct Scan {
        bool sealed;     /* it ends with a footer */
        bool incomplete; /* something could not be read, kept or cut */
} Scan;

static int scan_segment(const char *path, int fd, Segment *segment, uint64_t limit, Recovery *recovery,
        Summary *summary, Scan *scan)
{
        Reader reader = {.end = segment->file_size};
        Record record = {};
        uint32_t damage;
        int r = 0;

        reader_seek(&reader, SEGMENT_HEADER_SIZE, 0, segment->first - 1);
        for (;;) {
                ReaderResult result = reader_next(&reader, &record, &damage);

                if (result == READER_RECORD) {
                        if (record.sequence >= limit)
                                break; /* the next segment has it */
                        segment->last = record.sequence;
                        segment->size = reader.offset;
                        segment->count = reader.count;
                        if (record.sequence <= MAX(recovery->floor, recovery->below)) {
                                segment->head_last = record.sequence;
                                segment->head = reader.offset;
                                segment->head_count = reader.count;
                        }
                        r = summary_add(summary, &record);
                        if (r < 0)
                                break;
                } else if (result == READER_FILL) {
                        r = reader_fill(&reader, fd);
                        if (r == -ENOMEM)
                                break;
                        if (r < 0) {
                                log_warning("spool: %s can't be read beyond byte %u: %s", path,
                                        reader.offset, strerror(-r));
                                recovery->damaged++;
                                scan->incomplete = true;
                                r = 0;
                                break;
                        }
                } else if (result == READER_DAMAGE) {
                        bool torn = reader.offset == segment->file_size;

                        if (!set_aside(recovery, path, fd, segment, damage, reader.offset, torn))
                                scan->incomplete = true;
                        if (torn) {
                                if (segment->count > 0 && ftruncate(fd, damage) == 0)
                                        segment->file_size = damage;
                                else
                                        scan->incomplete |= segment->count > 0;
                                break;
                        }
                } else {
                        scan->sealed = reader.end < segment->file_size;
                        break;
                }
        }
        segment->checked = segment->size;
        reader_deinit(&reader);
        return r;
}

/* A sealed segment says what is in it. */
static bool read_footer(int fd, Segment *segment, uint64_t limit, Summary *summary)
{
        SegmentFooter footer;

        if (segment_footer_read(fd, segment->file_size, &footer, summary) < 0)
                return false;
        if (footer.count == 0 || footer.last < segment->first || footer.last >= limit) {
                summary_deinit(summary);
                return false;
        }
        segment->last = footer.last;
        segment->count = footer.count;
        segment->size = segment->file_size - footer.size;
        return true;
}

static int open_segment(const Tier *tier, const char *name, struct stat *ret_status)
{
        int fd = openat(tier->fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        if (fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM))
                fd = openat(tier->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, ret_status) < 0) {
                int r = -errno;

                close(fd);
                return r;
        }
        return fd;
}

static bool is_segment_file(const struct stat *status)
{
        return S_ISREG(status->st_mode) && status->st_size <= SEGMENT_FILE_MAX;
}

/* What is in one file and in the next as well (see spool-trim.c) is taken from the next: where that can be
 * read. */
static bool is_usable(const Tier *tier, uint64_t first)
{
        SegmentName name;
        uint8_t header[SEGMENT_HEADER_SIZE];
        struct stat status;
        _cleanup_(closep) int fd = open_segment(tier, segment_name(name, first), &status);

        return fd >= 0 && is_segment_file(&status) &&
               pread(fd, header, sizeof(header), 0) == sizeof(header) &&
               segment_header_decode(header, first) == 0;
}

static void remove_segment(Tier *tier, const char *name)
{
        if (unlinkat(tier->fd, name, 0) < 0 && errno != ENOENT)
                tier->apart = true;
}

static void tail_forget(Recovery *recovery)
{
        closep(&recovery->tail_fd);
        summary_deinit(&recovery->tail_summary);
}

static int recover_segment(Tier *tier, uint64_t first, uint64_t limit, bool keep_open, Recovery *recovery)
{
        SegmentName name;
        uint8_t header[SEGMENT_HEADER_SIZE];
        _cleanup_(closep) int fd = -1;
        _cleanup_(freep) char *path = text_printf("%s/%s", tier->path, segment_name(name, first));
        _cleanup_(summary_deinit) Summary summary = {};
        Segment segment = segment_new(first, -1);
        struct stat status;
        Scan scan = {};
        int r;

        if (!path)
                return -ENOMEM;
        fd = open_segment(tier, name, &status);
        if (fd < 0 || !is_segment_file(&status)) {
                log_warning("spool: %s is left alone: %s", path,
                        fd < 0 ? strerror(-fd) : "it isn't a segment file of plugd's");
                recovery->alone = first;
                return 0;
        }
        segment.file_size = (uint32_t) status.st_size;

        if (segment.file_size >= SEGMENT_HEADER_SIZE) {
                r = pread(fd, header, sizeof(header), 0) == sizeof(header)
                            ? segment_header_decode(header, first)
                            : -EIO;
                if (r == -EPROTONOSUPPORT) {
                        log_warning(
                                "spool: %s is left alone: it was written by another version of plugd", path);
                        recovery->alone = first;
                        return 0;
                }
                if (r < 0 && !set_aside(recovery, path, fd, &segment, 0, SEGMENT_HEADER_SIZE, false))
                        scan.incomplete = true;

                scan.sealed = !keep_open && read_footer(fd, &segment, limit, &summary);
                /* Not needed in part: where that part ends takes a look. */
                if (!scan.sealed ||
                        (MAX(recovery->floor, recovery->below) >= first && recovery->floor < segment.last)) {
                        uint32_t file_size = segment.file_size;

                        segment = segment_new(first, -1);
                        segment.file_size = file_size;
                        summary_deinit(&summary);
                        r = scan_segment(path, fd, &segment, limit, recovery, &summary, &scan);
                        if (r < 0)
                                return r;
                }
        } else if (segment.file_size > 0) /* made, and cut off before there was anything in it */
                set_aside(recovery, path, fd, &segment, 0, segment.file_size, true);
        r = summary_merge(&recovery->summary, &summary);
        if (r < 0)
                return r;

        if (segment.count == 0 || segment.last <= MAX(recovery->floor, recovery->below)) {
                if (segment.count > 0 || !scan.incomplete)
                        remove_segment(tier, name);
                else
                        recovery->alone = first;
                return 0;
        }
        recovery->below = segment.last;
        tail_forget(recovery);
        if (keep_open)
                segment.fd = fd;
        r = tier_add(tier, &segment);
        if (r < 0)
                return r;
        if (keep_open)
                take_fd(&fd);
        else if (limit == UINT64_MAX && !scan.sealed && !scan.incomplete) {
                recovery->tail_fd = take_fd(&fd);
                recovery->tail = segment;
                recovery->tail_summary = summary;
                summary = (Summary){};
        }
        return 0;
}

/* --- one tier ----------------------------------------------------------------------------------------- */

static int compare_firsts(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

/* A trim was making it when it was interrupted: what is in it is in others yet. */
static bool is_unfinished(const char *name)
{
        SegmentName segment;
        uint64_t first;
        size_t length = strlen(name), suffix = strlen(TRIM_SUFFIX);

        if (length < suffix || length - suffix >= sizeof(segment) ||
                strcmp(name + length - suffix, TRIM_SUFFIX) != 0)
                return false;
        memcpy(segment, name, length - suffix);
        segment[length - suffix] = '\0';
        return segment_name_parse(segment, &first) >= 0;
}

static int list_segments(const Tier *tier, uint64_t **ret, size_t *ret_n)
{
        _cleanup_(freep) uint64_t *firsts = NULL;
        _cleanup_(closedirp) DIR *directory = NULL;
        size_t n = 0, capacity = 0, n_foreign = 0;
        struct dirent *entry;
        int fd = openat(tier->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        directory = fdopendir(fd);
        if (!directory) {
                close(fd);
                return -ENOMEM;
        }
        while ((entry = readdir(directory))) {
                uint64_t first;

                if (segment_name_parse(entry->d_name, &first) < 0) {
                        if (is_unfinished(entry->d_name)) {
                                unlinkat(tier->fd, entry->d_name, 0);
                                continue;
                        }
                        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                                strcmp(entry->d_name, POSITION_NAME) != 0 &&
                                n_foreign++ < FOREIGN_LOGGED_MAX)
                                log_warning("spool: %s/%s is left alone: it isn't plugd's", tier->path,
                                        entry->d_name);
                        continue;
                }
                if (n == capacity) {
                        uint64_t *larger = reallocarray(firsts, capacity * 2 + 64, sizeof(*firsts));

                        if (!larger)
                                return -ENOMEM;
                        firsts = larger;
                        capacity = capacity * 2 + 64;
                }
                firsts[n++] = first;
        }
        if (n_foreign > FOREIGN_LOGGED_MAX)
                log_warning("spool: %s has %zu more files that aren't plugd's", tier->path,
                        n_foreign - FOREIGN_LOGGED_MAX);
        if (n > 0)
                qsort(firsts, n, sizeof(*firsts), compare_firsts);
        *ret = TAKE_PTR(firsts);
        *ret_n = n;
        return 0;
}

void recovery_deinit(Recovery *recovery)
{
        tail_forget(recovery);
        summary_deinit(&recovery->summary);
}

int tier_is_empty(const Tier *tier)
{
        _cleanup_(freep) uint64_t *firsts = NULL;
        size_t n = 0;
        int r = list_segments(tier, &firsts, &n);

        return r < 0 ? r : n > 0 ? -ENOTEMPTY : 0;
}

int tier_recover(Tier *tier, bool keep_open, Recovery *recovery)
{
        _cleanup_(freep) uint64_t *firsts = NULL;
        size_t n = 0;
        int r = list_segments(tier, &firsts, &n);

        if (r < 0)
                return r;
        for (size_t i = 0, next = 1; i < n; i++) {
                next = MAX(next, i + 1);
                while (next < n && !is_usable(tier, firsts[next]))
                        next++;
                r = recover_segment(
                        tier, firsts[i], next < n ? firsts[next] : UINT64_MAX, keep_open, recovery);
                if (r < 0)
                        return r;
        }
        return 0;
}
