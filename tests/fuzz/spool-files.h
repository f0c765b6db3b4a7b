/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The files that fuzz-spool.c puts before the spool. Its input is a little program: it writes segments as
 * the spool does (in the state tier, and in the young one, whose segments lie in the runtime or in the spare
 * folder; of either version), and then damages them. As long as it does only what a daemon, a power cut and
 * a bad disk can do, the files are `lawful`; while nothing is damaged, they are `pristine`.
 */

#include <inttypes.h>

#include "folder.h"
#include "footer.h"
#include "util/crc32c.h"

#define FILES_MAX 12
#define FILE_BYTES_MAX (96 * 1024)
#define RECORDS_MAX 600

typedef enum Folder { STATE, RUNTIME, SPARE, FOLDERS } Folder;
static const char *const folder_names[FOLDERS] = {"state/spool", "run/spool", "state/young"};

/* The tiers: the young one is in two folders. */
typedef enum Writers { OLD, YOUNG, WRITERS } Writers;

typedef struct File {
        Folder folder;
        uint64_t first, last;
        uint32_t count;
        Summary summary;
        Bytes bytes;
        bool first_version, sealed, gone;
} File;

/* What is confirmed. */
typedef struct Position {
        uint64_t confirmed;
        Ranges islands;
        bool first_version;
} Position;

typedef struct Files {
        File all[FILES_MAX];
        size_t n;
        File *open[WRITERS]; /* the one that is written */
        uint64_t next[WRITERS];
        Position positions[FOLDERS];
        unsigned n_records;
        uint8_t scale; /* of the records' size */
        bool lawful, pristine;
} Files;

#define BOOT_MSEC (UINT64_C(1) << 50) /* CLOCK_BOOTTIME of held samples: it would be a time far away */

/* All of it follows from the number: a copy in the other tier is the same. Of sensor s1 all but what has no
 * time is long past; every eighth is held until the clock is set, some have no time at all. */
static const Sample *sample_of(uint64_t number, uint8_t scale)
{
        static char sensor[16], channel[32], data[SAMPLE_DATA_MAX + 1];
        static Sample sample;
        size_t size = 1 + (number * 37 % 64) * scale;

        snprintf(sensor, sizeof(sensor), "s%" PRIu64, number % 4);
        snprintf(channel, sizeof(channel), "Halle/Tür %" PRIu64, number % 5);
        memset(data, '0' + (char) (number % 10), size);
        sample = (Sample){.at_msec = UINT64_C(1700000000000) + number % (1 << 20),
                .sensor = sensor,
                .channel = channel,
                .data = data,
                .data_size = size};
        memcpy(sample.id, &number, sizeof(number));
        if (number % 8 == 5) {
                sample.boot = (const uint8_t *) "0123456789abcdef";
                sample.at_msec = BOOT_MSEC + number % (1 << 20);
        } else if (number % 11 == 9)
                sample.at_msec = 0;
        return &sample;
}

static void put_input(Bytes *bytes, BytesReader *input, size_t size)
{
        size = MIN(size, input->size);
        if (size > 0)
                bytes_put(bytes, bytes_get(input, size), size);
}

static Writers writer_of(Folder folder)
{
        return folder == STATE ? OLD : YOUNG;
}

static void header_of_version_1(uint8_t header[static SEGMENT_HEADER_SIZE])
{
        uint32_t crc;

        header[8] = 1;
        crc = htole32(crc32c(0, header, SEGMENT_HEADER_SIZE - sizeof(crc)));
        memcpy(header + SEGMENT_HEADER_SIZE - sizeof(crc), &crc, sizeof(crc));
}

static void begin_file(Files *files, Folder folder, bool first_version)
{
        Writers writer = writer_of(folder);
        uint8_t header[SEGMENT_HEADER_SIZE];
        File *file;

        if (files->n == FILES_MAX)
                return;
        /* None twice: in a tier no two segments have the same name. */
        if (files->open[writer] && files->next[writer] <= files->open[writer]->last)
                return;
        for (size_t i = 0; i < files->n; i++)
                if (writer_of(files->all[i].folder) == writer && files->all[i].first >= files->next[writer])
                        return;
        file = &files->all[files->n++];
        *file = (File){.folder = folder,
                .first_version = first_version,
                .first = files->next[writer],
                .last = files->next[writer] - 1};
        segment_header_encode(header, file->first);
        if (first_version)
                header_of_version_1(header);
        bytes_put(&file->bytes, header, sizeof(header));
        files->open[writer] = file;
}

static void put_records(Files *files, Writers writer, unsigned n)
{
        static uint8_t record[RECORD_MAX];

        if (!files->open[writer] || files->open[writer]->sealed)
                begin_file(files, writer == OLD ? STATE : RUNTIME, false);
        for (; n > 0; n--) {
                File *file = files->open[writer];
                const Sample *sample = sample_of(files->next[writer], files->scale);
                int size = record_encode(record, files->next[writer], sample);

                hold(size > 0);
                if (!file || file->sealed || file->bytes.size + (size_t) size > FILE_BYTES_MAX ||
                        files->n_records == RECORDS_MAX)
                        return;
                bytes_put(&file->bytes, record, (size_t) size);
                hold(summary_add(&file->summary, &(Record){.size = (uint32_t) size,
                                                         .sequence = files->next[writer],
                                                         .sample = *sample}) == 0);
                file->last = files->next[writer]++;
                file->count++;
                files->n_records++;
        }
}

static void seal(Files *files)
{
        File *file = files->open[OLD];
        Bytes *bytes = file ? &file->bytes : NULL;
        size_t start;

        if (!file || file->sealed || file->count == 0)
                return;
        start = bytes->size;
        if (file->first_version) {
                for (size_t i = 0; i < RECORD_HEADER_SIZE; i++)
                        bytes_put_u8(bytes, 0);
                bytes_put_u32(bytes, file->count);
                bytes_put_u32(bytes, (uint32_t) (bytes->size - start) + SEGMENT_FOOTER_TAIL);
                bytes_put(bytes, "SEAL", 4);
                record_finish(
                        bytes->data + start, (uint32_t) (bytes->size - start), RECORD_FOOTER, file->last);
        } else
                segment_footer_encode(bytes, file->last, file->count, &file->summary);
        file->sealed = true;
}

/* Any record, with a checksum that is right. */
static void put_raw(Files *files, Writers writer, BytesReader *input)
{
        uint8_t type = bytes_get_u8(input);
        int8_t distance = (int8_t) bytes_get_u8(input);
        size_t size = MIN((size_t) bytes_get_u8(input), input->size), start;
        File *file = files->open[writer];
        uint32_t crc;

        if (!file)
                return;
        files->lawful = files->pristine = false;
        start = file->bytes.size;
        bytes_put_u32(&file->bytes, 0);
        bytes_put_u32(&file->bytes, (uint32_t) (RECORD_HEADER_SIZE + size));
        bytes_put_u8(&file->bytes, type);
        bytes_put_u64(&file->bytes, files->next[writer] + (uint64_t) distance);
        put_input(&file->bytes, input, size);
        hold(!file->bytes.failed);
        crc = htole32(crc32c(0, file->bytes.data + start + 4, file->bytes.size - start - 4));
        memcpy(file->bytes.data + start, &crc, sizeof(crc));
}

/* --- damage ------------------------------------------------------------------------------------------- */

static File *pick(Files *files, BytesReader *input)
{
        size_t i = bytes_get_u8(input);

        return files->n > 0 ? &files->all[i % files->n] : NULL;
}

static void damage(Files *files, unsigned how, BytesReader *input)
{
        File *file = pick(files, input);
        size_t offset = bytes_get_u16(input), n;
        uint8_t byte = bytes_get_u8(input);
        Bytes *bytes, rest = {};

        if (!file || file->bytes.size == 0)
                return;
        files->pristine = false;
        bytes = &file->bytes;
        offset %= bytes->size;
        n = MIN((size_t) byte + 1, bytes->size - offset);
        switch (how) {
        case 0: /* bits */
                bytes->data[offset] ^= byte;
                break;
        case 1: /* cut */
                bytes->size = offset;
                break;
        case 2: /* blank */
                memset(bytes->data + offset, 0, n);
                break;
        case 3: /* more that was not there */
                bytes_put(&rest, bytes->data + offset, bytes->size - offset);
                bytes->size = offset;
                put_input(bytes, input, byte % 32);
                bytes_put(bytes, rest.data, rest.size);
                bytes_deinit(&rest);
                break;
        default: /* gone */
                file->gone = true;
                break;
        }
        hold(!bytes->failed);
}

/* --- on disk ------------------------------------------------------------------------------------------ */

static char *path_of(Folder folder, uint64_t first)
{
        SegmentName name;

        return text_printf("%s/%s/%s", fuzz_folder, folder_names[folder], segment_name(name, first));
}

/* What isn't plugd's, under a name that is. */
static void put_foreign(Files *files, uint8_t what)
{
        Folder folder = what % FOLDERS;
        Writers writer = writer_of(folder);
        _cleanup_(freep) char *path = path_of(folder, files->next[writer]);

        files->pristine = false;
        files->open[writer] = NULL;
        switch (what / FOLDERS % 4) {
        case 0:
                (void) mkdir(path, 0700);
                break;
        case 1:
                (void) !symlink("/nonexistent", path);
                break;
        case 2:
                fuzz_write(path, "", 0);
                break;
        default:
                fuzz_write(path, "PLUGD", 5);
        }
        files->next[writer]++;
}

static void put_position(Folder folder, const Position *position)
{
        _cleanup_(freep) char *path =
                text_printf("%s/%s/%s", fuzz_folder, folder_names[folder], POSITION_NAME);
        uint8_t data[POSITION_MAX];
        size_t size = position_encode(data, position->confirmed, &position->islands);
        uint32_t crc;

        if (position->first_version) {
                data[7] = 'S';
                crc = htole32(crc32c(0, data, 16));
                memcpy(data + 16, &crc, sizeof(crc));
                size = 20;
        }
        if (position->confirmed > 0 || position->islands.n > 0)
                fuzz_write(path, data, size);
}

static void confirm_some(Files *files, Writers writer, uint8_t how, uint8_t byte)
{
        Position *position = &files->positions[byte & 1 ? RUNTIME : SPARE];
        uint64_t number = files->next[writer] - MIN(files->next[writer], byte >> 1);

        if ((how & 0x40) && number > position->confirmed + 1)
                ranges_add(&position->islands, number, number + (byte >> 5));
        else if (!(how & 0x40)) {
                *position = (Position){.confirmed = number, .first_version = how & 0x20};
        }
}

static bool was_confirmed(const Files *files, uint64_t sequence)
{
        for (Folder folder = STATE; folder < FOLDERS; folder++)
                if (sequence <= files->positions[folder].confirmed ||
                        (!files->positions[folder].first_version &&
                                ranges_covers(&files->positions[folder].islands, sequence)))
                        return true;
        return false;
}

/* What an earlier run numbered without seeing what was there is far away; else few are missing. */
static uint64_t distance_of(uint8_t byte)
{
        return byte & 0x80 ? (uint64_t) (byte & 0x7f) << 33 : byte;
}

static void step(Files *files, uint8_t what, BytesReader *input)
{
        Writers writer = what & 0x80 ? OLD : YOUNG, other = writer == OLD ? YOUNG : OLD;
        uint8_t byte = bytes_get_u8(input);
        File *file;

        switch (what % 16) {
        case 0 ... 2:
                put_records(files, writer, byte % 32 + 1U);
                break;
        case 3:
                begin_file(files, byte % FOLDERS, what & 0x40);
                break;
        case 4: /* the next record begins a segment of its own */
                files->next[writer] += distance_of(byte);
                files->open[writer] = NULL;
                break;
        case 5:
                seal(files);
                break;
        case 6: /* on from where the other is, or a little before */
                if (files->next[other] > byte && files->next[other] - byte > files->next[writer]) {
                        files->next[writer] = files->next[other] - byte;
                        files->open[writer] = NULL;
                }
                break;
        case 7:
                confirm_some(files, writer, what, byte);
                break;
        case 8 ... 12:
                damage(files, what % 16 - 8U, input);
                break;
        case 13:
                put_foreign(files, byte);
                break;
        case 14: /* under another name */
                file = pick(files, input);
                if (!file || file->first + byte == 0)
                        break;
                file->first += byte;
                files->lawful = files->pristine = false;
                break;
        default:
                put_raw(files, writer, input);
                break;
        }
}

static void files_make(Files *files, BytesReader *input)
{
        *files = (Files){.next = {1, 1}, .lawful = true, .pristine = true};
        for (Folder folder = STATE; folder < FOLDERS; folder++) {
                _cleanup_(freep) char *path = text_printf("%s/%s", fuzz_folder, folder_names[folder]);

                hold(file_make_directory(path, 0700) == 0);
        }
        files->scale = bytes_get_u8(input);
        if (files->scale < 0xf0) /* mostly small */
                files->scale %= 8;
        while (input->size > 0 && !input->failed)
                step(files, bytes_get_u8(input), input);
        for (size_t i = 0; i < files->n; i++) {
                const File *file = &files->all[i];
                _cleanup_(freep) char *path = path_of(file->folder, file->first);

                if (!file->gone && access(path, F_OK) < 0)
                        fuzz_write(path, file->bytes.data, file->bytes.size);
        }
        for (Folder folder = RUNTIME; folder < FOLDERS; folder++)
                put_position(folder, &files->positions[folder]);
}

/* --- kill -9 ------------------------------------------------------------------------------------------ */

#define SNAPSHOT_MAX 1024

/* The files as they are at a moment, to be put back as if nobody had done anything afterwards. */
typedef struct Snapshot {
        struct {
                char *path, *data;
                size_t size;
        } files[SNAPSHOT_MAX];
        size_t n;
} Snapshot;

static Snapshot *snapshot_taken; /* nftw() has nothing for its caller's data */

static int snapshot_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
        Snapshot *snapshot = snapshot_taken;
        size_t i = snapshot->n;

        (void) status;
        (void) place;
        hold(i < SNAPSHOT_MAX);
        if (kind != FTW_F)
                return 0;
        /* The disk's thread may just be removing it. */
        if (file_read(path, 64 << 20, &snapshot->files[i].data, &snapshot->files[i].size) < 0)
                return 0;
        snapshot->files[i].path = fuzz_text(path, strlen(path));
        snapshot->n++;
        return 0;
}

static int remove_file(const char *path, const struct stat *status, int kind, struct FTW *place)
{
        (void) status;
        (void) place;
        return kind == FTW_F ? remove(path) : 0;
}

static void snapshot_take(Snapshot *snapshot)
{
        snapshot_taken = snapshot;
        hold(nftw(fuzz_folder, snapshot_one, 8, FTW_PHYS) == 0);
}

static void snapshot_restore(Snapshot *snapshot)
{
        hold(nftw(fuzz_folder, remove_file, 8, FTW_PHYS) == 0);
        for (size_t i = 0; i < snapshot->n; i++) {
                fuzz_write(snapshot->files[i].path, snapshot->files[i].data, snapshot->files[i].size);
                if (getenv("FUZZ_SHOW"))
                        fprintf(stderr, "after kill -9: %s, %zu bytes\n", snapshot->files[i].path,
                                snapshot->files[i].size);
                free(snapshot->files[i].path);
                free(snapshot->files[i].data);
        }
        snapshot->n = 0;
}

/* With FUZZ_SHOW set, for who looks into a failure. */
static void files_show(const Files *files)
{
        for (size_t i = 0; i < files->n; i++) {
                const File *file = &files->all[i];

                fprintf(stderr, "%s %" PRIu64 ": to %" PRIu64 ", %u records, %zu bytes%s%s\n",
                        folder_names[file->folder], file->first, file->last, file->count, file->bytes.size,
                        file->sealed ? ", sealed" : "", file->gone ? ", gone" : "");
        }
        for (Folder folder = RUNTIME; folder < FOLDERS; folder++)
                fprintf(stderr, "%s: confirmed to %" PRIu64 ", %zu islands\n", folder_names[folder],
                        files->positions[folder].confirmed, files->positions[folder].islands.n);
        fprintf(stderr, "%s%s\n", files->lawful ? "lawful " : "", files->pristine ? "pristine" : "");
}

static void files_deinit(Files *files)
{
        for (size_t i = 0; i < files->n; i++) {
                bytes_deinit(&files->all[i].bytes);
                summary_deinit(&files->all[i].summary);
        }
}
