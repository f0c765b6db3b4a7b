/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Records, headers and footers of the spool's segments, and the reader that finds its way between them. The
 * input is a row of pieces, each a byte that says what it is, a length (u16), and so many bytes: raw, or a
 * record whose checksum and size are put right here, so that what lies behind them is reached.
 */

#include <errno.h>

#include "footer.h"
#include "util/crc32c.h"

#define STREAM_MAX (256 * 1024)

static void put_u32(uint8_t *out, uint32_t value)
{
        for (unsigned i = 0; i < 4; i++)
                out[i] = (uint8_t) (value >> (8 * i));
}

/* Makes it pass for a record, whatever it says. */
static void put_right(uint8_t *record, size_t size)
{
        if (size < 8)
                return;
        put_u32(record + 4, (uint32_t) size);
        put_u32(record, crc32c(0, record + 4, size - 4));
}

/* Written again it is the same bytes. */
static void check_sample(const Record *record)
{
        static uint8_t out[RECORD_MAX];
        int size = record_encode(out, record->sequence, &record->sample);

        hold(size == (int) record->size && memcmp(out, record->data, record->size) == 0);
        hold(strlen(record->sample.data) == record->sample.data_size);
}

static void hold_same(const Summary *summary, const Summary *again)
{
        hold(again->n == summary->n && again->n_boots == summary->n_boots);
        for (size_t i = 0; i < summary->capacity; i++) {
                const SummaryEntry *a = &summary->slots[i], *b;

                if (!a->sensor)
                        continue;
                b = summary_find(again, a->sensor, a->channel);
                hold(b && b->messages == (uint32_t) a->messages && b->bytes == (uint32_t) a->bytes &&
                        b->timeless == (uint32_t) a->timeless && b->at_msec == a->at_msec &&
                        b->last == a->last && b->last_size == a->last_size);
        }
        for (size_t i = 0; i < summary->n_boots; i++) {
                const SummaryBoot *a = &summary->boots[i], *b = &again->boots[i];

                hold(memcmp(a->boot, b->boot, SAMPLE_BOOT_SIZE) == 0 && a->first == b->first &&
                        a->at_msec == b->at_msec && (uint32_t) a->messages == b->messages);
        }
}

/* Read and written again it says the same, and all of it is added to what there is. */
static void check_footer(const Record *record)
{
        _cleanup_(summary_deinit) Summary summary = {}, again = {}, both = {};
        _cleanup_(bytes_deinit) Bytes file = {}, second_file = {};
        SegmentFooter footer, second;

        hold(bytes_reserve(&file, SEGMENT_HEADER_SIZE) && bytes_reserve(&second_file, SEGMENT_HEADER_SIZE));
        memset(file.data, 0, SEGMENT_HEADER_SIZE);
        memset(second_file.data, 0, SEGMENT_HEADER_SIZE);
        file.size = second_file.size = SEGMENT_HEADER_SIZE;
        bytes_put(&file, record->data, record->size);
        if (footer_of(file.data, file.size, &footer, &summary) < 0) {
                hold(summary.n == 0 && summary.n_boots == 0);
                return;
        }
        hold(record->type == RECORD_SUMMARY);
        hold(footer.size == record->size && footer.last == record->sequence);
        segment_footer_encode(&second_file, footer.last, footer.count, &summary);
        hold(!second_file.failed);
        hold(footer_of(second_file.data, second_file.size, &second, &again) == 0);
        hold(second.last == footer.last && second.count == footer.count);
        hold_same(&summary, &again);
        hold(summary_merge(&both, &again) == 0 && summary_merge(&both, &summary) == 0);
        hold(both.n == summary.n && both.n_boots == summary.n_boots);
        summary_sort_boots(&both);
}

static void check_record(const uint8_t *data, size_t size)
{
        Record record = {};
        int r = record_decode(data, size, 0, &record);

        if (r == -ENODATA) {
                hold(record.size > size && record.size <= RECORD_MAX);
                return;
        }
        hold(r == 0 || r == -EBADMSG);
        if (r < 0)
                return;
        hold(record.size <= size && record.data == data && record.sequence <= SEQUENCE_MAX);
        if (record_is_footer(&record)) {
                check_footer(&record);
                return;
        }
        hold(record.sequence > 0);
        check_sample(&record);
        hold(record_decode(data, size, record.sequence, &record) == -EBADMSG);
        hold(record_decode(data, record.size - 1, 0, &record) == -ENODATA);
}

/* --- reader ------------------------------------------------------------------------------------------- */

/* What a reader finds, as numbers: so that two can be held beside each other. */
typedef struct Found {
        Bytes all;
        uint32_t covered; /* up to here it is records and damage */
} Found;

/* With a window of so many bytes more than it asks for. */
static void read_stream(const uint8_t *data, uint32_t size, uint32_t window, Found *ret)
{
        Reader reader = {.end = size};
        Record record = {};
        uint32_t damage = 0, fills = 0;

        ret->covered = SEGMENT_HEADER_SIZE;
        reader_seek(&reader, SEGMENT_HEADER_SIZE, 0, 0);
        for (;;)
                switch (reader_next(&reader, &record, &damage)) {
                case READER_FILL:
                        hold(fills++ < 2 * size + 2);
                        reader.base = reader.offset;
                        reader.length = MIN(size - reader.offset, reader.need + window);
                        free(reader.buffer);
                        reader.buffer = (uint8_t *) fuzz_text(data + reader.base, reader.length);
                        hold(reader_has(&reader));
                        continue;
                case READER_RECORD:
                        hold(reader.offset - record.size == ret->covered && record.sequence == reader.last);
                        ret->covered = reader.offset;
                        bytes_put_u32(&ret->all, 0);
                        bytes_put_u32(&ret->all, reader.offset);
                        bytes_put_u64(&ret->all, record.sequence);
                        continue;
                case READER_DAMAGE:
                        hold(damage == ret->covered && reader.offset > damage && reader.offset <= size);
                        ret->covered = reader.offset;
                        bytes_put_u32(&ret->all, damage);
                        bytes_put_u32(&ret->all, reader.offset);
                        continue;
                case READER_END:
                        hold(ret->covered == reader.end && reader.end <= size);
                        reader_deinit(&reader);
                        return;
                }
}

static void check_stream(const uint8_t *data, uint32_t size)
{
        static const uint32_t windows[] = {0, 1, 300};
        Found whole = {};

        read_stream(data, size, size, &whole);
        for (size_t i = 0; i < ELEMENTSOF(windows); i++) {
                Found found = {};

                read_stream(data, size, windows[i], &found);
                hold(found.covered == whole.covered && found.all.size == whole.all.size);
                hold(found.all.size == 0 || memcmp(found.all.data, whole.all.data, found.all.size) == 0);
                bytes_deinit(&found.all);
        }
        bytes_deinit(&whole.all);
}

static void check_header(const uint8_t *data, size_t size)
{
        uint8_t header[SEGMENT_HEADER_SIZE], again[SEGMENT_HEADER_SIZE];
        uint64_t first = 0;

        if (size < SEGMENT_HEADER_SIZE)
                return;
        memcpy(header, data, sizeof(header));
        put_u32(header + SEGMENT_HEADER_SIZE - 4, crc32c(0, header, SEGMENT_HEADER_SIZE - 4));
        for (unsigned i = 0; i < 8; i++)
                first |= (uint64_t) header[12 + i] << (8 * i);
        segment_header_encode(again, first);
        hold(segment_header_decode(again, first) == 0 &&
                segment_header_decode(again, first + 1) == -EBADMSG);
        (void) segment_header_decode(header, first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        BytesReader input = {.data = data, .size = size};
        _cleanup_(bytes_deinit) Bytes stream = {};

        check_record(data, size);
        check_header(data, size);
        hold(bytes_reserve(&stream, SEGMENT_HEADER_SIZE));
        memset(stream.data, 0, SEGMENT_HEADER_SIZE);
        stream.size = SEGMENT_HEADER_SIZE;
        while (input.size > 0 && stream.size < STREAM_MAX) {
                bool right = bytes_get_u8(&input) & 1;
                size_t piece_size = bytes_get_u16(&input), start = stream.size;
                const uint8_t *piece;

                if (input.failed)
                        break;
                piece_size = MIN(piece_size, input.size);
                if (piece_size == 0)
                        continue;
                piece = bytes_get(&input, piece_size);
                bytes_put(&stream, piece, piece_size);
                hold(!stream.failed);
                if (right)
                        put_right(stream.data + start, piece_size);
                check_record(stream.data + start, piece_size);
        }
        check_stream(stream.data, (uint32_t) stream.size);
        return 0;
}
