/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Records, headers and footers of the spool's segments, and the reader that finds its way between them. The
 * input is a row of pieces, each a byte that says what it is, a length (u16), and so many bytes: raw, or a
 * record whose checksum and size are put right here, so that what lies behind them is reached.
 */

#include <errno.h>

#include "fuzz.h"
#include "spool-internal.h"
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

static void check_footer(const Record *record)
{
        _cleanup_(channel_times_deinit) ChannelTimes times = {}, again = {};
        _cleanup_(bytes_deinit) Bytes bytes = {};
        SegmentFooter footer, second;

        if (segment_footer_decode(record->data, record->size, &footer, &times) < 0)
                return;
        hold(footer.size == record->size && footer.last == record->sequence);
        segment_footer_encode(&bytes, footer.last, footer.count, &times);
        hold(!bytes.failed &&
                segment_footer_size(bytes.data + bytes.size - SEGMENT_FOOTER_TAIL) == bytes.size);
        hold(segment_footer_decode(bytes.data, bytes.size, &second, &again) == 0);
        hold(second.last == footer.last && second.count == footer.count && again.n == times.n);
        for (size_t i = 0; i < times.capacity; i++) {
                const ChannelTime *slot = &times.slots[i];

                /* The newest, so another that is older changes nothing. */
                if (slot->channel)
                        hold(channel_times_note(&again, slot->channel, slot->at_msec) == 0);
        }
        hold(again.n == times.n);
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
        if (record.type == RECORD_FOOTER) {
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
