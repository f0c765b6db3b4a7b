/* SPDX-License-Identifier: Apache-2.0 */

/* The table of boots and its file. The file is input: all of it is believed, or nothing. */

#include "boots.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/bytes.h"
#include "util/crc32c.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#define HEADER "plugd boots 1\n"
#define TRAILER_SIZE strlen("crc32c 01234567\n")
#define LINE_MAX_SIZE 80
#define OFFSET_MAX (INT64_C(1) << 43) /* the year 2248: no kernel counts so far */
#define FILE_MAX (BOOTS_MAX * LINE_MAX_SIZE + 64)

struct Boots {
        char *path;
        Boot *boots;
        size_t n, capacity;
        bool settled; /* the file was read, set aside or written: what is here is all there is */
};

static const char *const kinds[] = {
        [BOOT_EXACT] = "exact",
        [BOOT_ESTIMATED] = "estimated",
        [BOOT_UNTIMED] = "untimed",
};

Boots *boots_free(Boots *boots)
{
        if (!boots)
                return NULL;
        free(boots->boots);
        free(boots->path);
        free(boots);
        return NULL;
}

const char *boots_path(const Boots *boots)
{
        return boots->path;
}

const Boot *boots_find(const Boots *boots, const uint8_t id[static SAMPLE_BOOT_SIZE])
{
        for (size_t i = boots->n; i-- > 0;) /* the latest are asked for most */
                if (memcmp(boots->boots[i].id, id, SAMPLE_BOOT_SIZE) == 0)
                        return &boots->boots[i];
        return NULL;
}

size_t boots_count(const Boots *boots)
{
        return boots->n;
}

void boots_keep(Boots *boots, bool (*keep)(const Boot *boot, void *userdata), void *userdata)
{
        size_t n = 0;

        for (size_t i = 0; i < boots->n; i++)
                if (keep(&boots->boots[i], userdata))
                        boots->boots[n++] = boots->boots[i];
        boots->n = n;
}

int boots_add(Boots *boots, const Boot *boot)
{
        if (boots->n == BOOTS_MAX) {
                boots->n--;
                memmove(boots->boots, boots->boots + 1, boots->n * sizeof(*boots->boots));
        }
        if (boots->n == boots->capacity) {
                size_t capacity = boots->capacity * 2 + 4;
                Boot *larger = reallocarray(boots->boots, capacity, sizeof(*larger));

                if (!larger)
                        return -ENOMEM;
                boots->boots = larger;
                boots->capacity = capacity;
        }
        boots->boots[boots->n++] = *boot;
        return 0;
}

/* --- the file -------------------------------------------------------------------------------------------
 */

static int parse_kind(const char *text, BootKind *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(text, kinds[i]) == 0) {
                        *ret = (BootKind) i;
                        return 0;
                }
        return -EBADMSG;
}

static int parse_line(const char *line, Boot *ret)
{
        char id[2 * SAMPLE_BOOT_SIZE + 1], kind[16];
        int end = -1;

        if (sscanf(line, "%32[0-9a-f] %15[a-z] %" SCNd64 "%n", id, kind, &ret->offset_msec, &end) != 3 ||
                end < 0 || line[end] != '\0' || strlen(id) != 2 * SAMPLE_BOOT_SIZE ||
                ret->offset_msec > OFFSET_MAX || ret->offset_msec < -OFFSET_MAX)
                return -EBADMSG;
        for (size_t i = 0; i < SAMPLE_BOOT_SIZE; i++)
                if (sscanf(id + 2 * i, "%2hhx", &ret->id[i]) != 1)
                        return -EBADMSG;
        return parse_kind(kind, &ret->kind);
}

/* Takes the text apart. */
static int parse(Boots *boots, char *text, size_t size)
{
        size_t body = size - TRAILER_SIZE;
        char *line, *rest = text + strlen(HEADER);
        uint32_t crc;
        int r;

        if (size < strlen(HEADER) + TRAILER_SIZE || memcmp(text, HEADER, strlen(HEADER)) != 0 ||
                memchr(text, '\0', size) || sscanf(text + body, "crc32c %8" SCNx32, &crc) != 1 ||
                text[size - 1] != '\n' || crc != crc32c(0, text, body))
                return -EBADMSG;
        text[body] = '\0';
        while (rest && *rest && (line = strsep(&rest, "\n"))) {
                Boot boot;

                r = parse_line(line, &boot);
                if (r >= 0)
                        r = boots_add(boots, &boot);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Its times are worked out anew; what was sent with the old ones may come again with others. */
static bool set_aside(const Boots *boots, int error)
{
        _cleanup_(freep) char *aside = text_printf("%s.damaged", boots->path);
        const char *what = error == -EBADMSG ? "it is damaged" : strerror(-error);

        if (!aside || rename(boots->path, aside) < 0)
                return false;
        log_error("%s, which has the times of earlier boots, can't be used: %s. It is kept as %s; "
                  "samples that waited for the clock in those boots get estimated times",
                boots->path, what, aside);
        return true;
}

static int read_file(const char *path, Boots *ret)
{
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        r = file_read(path, FILE_MAX, &text, &size);
        return r < 0 ? r : parse(ret, text, size);
}

/* What is in the file came first, and was sent with: it goes before an estimate of today. An exact one
 * stays: it may have been sent with as well. */
static int merge(Boots *boots, Boots *file)
{
        for (size_t i = 0; i < boots->n; i++) {
                const Boot *boot = &boots->boots[i];
                Boot *saved = (Boot *) boots_find(file, boot->id);
                int r = 0;

                if (!saved)
                        r = boots_add(file, boot);
                else if (boot->kind == BOOT_EXACT)
                        *saved = *boot;
                if (r < 0)
                        return r;
        }
        free(boots->boots);
        boots->boots = TAKE_PTR(file->boots);
        boots->n = file->n;
        boots->capacity = file->capacity;
        return 0;
}

/* It may be readable later, or isn't there yet. */
static bool may_pass(int error)
{
        return error != -EBADMSG && error != -EFBIG && error != -EISDIR;
}

int boots_catch_up(Boots *boots)
{
        Boots file = {};
        int r;

        if (boots->settled)
                return 0;
        r = read_file(boots->path, &file);
        if (r >= 0)
                r = merge(boots, &file);
        free(file.boots);
        if (r < 0 && may_pass(r))
                return r;
        if (r < 0 && !set_aside(boots, r))
                log_error("%s, which has the times of earlier boots, can't be used (%s), nor be set aside: "
                          "samples that waited for the clock in those boots get estimated times",
                        boots->path, r == -EBADMSG ? "it is damaged" : strerror(-r));
        boots->settled = true;
        return 0;
}

int boots_new(Boots **ret, const char *state_directory)
{
        _cleanup_(boots_freep) Boots *boots = calloc(1, sizeof(*boots));

        if (!boots)
                return -ENOMEM;
        boots->path = text_printf("%s/boots", state_directory);
        if (!boots->path || boots_catch_up(boots) == -ENOMEM)
                return -ENOMEM;
        *ret = TAKE_PTR(boots);
        return 0;
}

/* The file is not replaced by what knows nothing of it. */
static int prepare(Boots *boots)
{
        int r;

        r = boots_catch_up(boots);
        if (r >= 0 || r == -ENOENT || r == -ENOTDIR)
                return 0;
        return r == -ENOMEM || !set_aside(boots, r) ? r : 0;
}

int boots_save(Boots *boots)
{
        Bytes text = {};
        char line[LINE_MAX_SIZE];
        int r;

        r = prepare(boots);
        if (r < 0)
                return r;
        bytes_put(&text, HEADER, strlen(HEADER));
        for (size_t i = 0; i < boots->n; i++) {
                const Boot *boot = &boots->boots[i];
                int n = 0;

                for (size_t k = 0; k < SAMPLE_BOOT_SIZE; k++)
                        n += sprintf(line + n, "%02x", boot->id[k]);
                n += sprintf(line + n, " %s %" PRId64 "\n", kinds[boot->kind], boot->offset_msec);
                bytes_put(&text, line, (size_t) n);
        }
        if (!text.failed) {
                int n = sprintf(line, "crc32c %08" PRIx32 "\n", crc32c(0, text.data, text.size));

                bytes_put(&text, line, (size_t) n);
        }
        r = text.failed ? -ENOMEM : file_write_atomic(boots->path, 0600, text.data, text.size);
        bytes_deinit(&text);
        boots->settled = boots->settled || r >= 0;
        return r;
}
