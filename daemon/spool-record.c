/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the bytes of a segment file mean: records, the header, and a reader that finds its way
 * through damaged ones. Pure, but for filling the reader's buffer from a descriptor. All of it is input:
 * nothing is believed that its checksum doesn't cover.
 */

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "spool-internal.h"
#include "util/crc32c.h"

#define SEGMENT_VERSION 2 /* 1: its footer was none to go by; such a segment is read through */
static const char segment_magic[8] = {'P', 'L', 'U', 'G', 'D', 'S', 'E', 'G'};

static void put_u32(uint8_t *out, uint32_t value)
{
        value = htole32(value);
        memcpy(out, &value, sizeof(value));
}

static void put_u64(uint8_t *out, uint64_t value)
{
        value = htole64(value);
        memcpy(out, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *data)
{
        uint32_t value;

        memcpy(&value, data, sizeof(value));
        return le32toh(value);
}

static uint64_t get_u64(const uint8_t *data)
{
        uint64_t value;

        memcpy(&value, data, sizeof(value));
        return le64toh(value);
}

void record_finish(uint8_t *record, uint32_t size, RecordType type, uint64_t sequence)
{
        put_u32(record + 4, size);
        record[8] = (uint8_t) type;
        put_u64(record + 9, sequence);
        put_u32(record, crc32c(0, record + 4, size - 4));
}

int record_encode(uint8_t *out, uint64_t sequence, const Sample *sample)
{
        size_t sensor_size = strlen(sample->sensor), channel_size = strlen(sample->channel);
        uint8_t *p = out + RECORD_HEADER_SIZE;

        if (sensor_size > RECORD_TEXT_MAX || channel_size > RECORD_TEXT_MAX ||
                sample->data_size > SAMPLE_DATA_MAX)
                return -EMSGSIZE;
        if (memchr(sample->data, '\0', sample->data_size))
                return -EINVAL;

        memcpy(p, sample->id, SAMPLE_ID_SIZE);
        p += SAMPLE_ID_SIZE;
        put_u64(p, sample->at_msec);
        p += 8;
        if (sample->boot)
                p = mempcpy(p, sample->boot, SAMPLE_BOOT_SIZE);
        *p++ = (uint8_t) sensor_size;
        *p++ = (uint8_t) channel_size;
        p = mempcpy(p, sample->sensor, sensor_size + 1);
        p = mempcpy(p, sample->channel, channel_size + 1);
        p = mempcpy(p, sample->data, sample->data_size);
        *p++ = '\0';
        record_finish(out, (uint32_t) (p - out), sample->boot ? RECORD_HELD : RECORD_SAMPLE, sequence);
        return (int) (p - out);
}

static uint32_t sample_size_min(uint8_t type)
{
        return RECORD_SAMPLE_SIZE + (type == RECORD_HELD ? SAMPLE_BOOT_SIZE : 0);
}

static int sample_decode(const uint8_t *data, uint32_t size, Sample *ret)
{
        const uint8_t *p = data + RECORD_HEADER_SIZE;
        uint32_t size_min = sample_size_min(data[8]);
        size_t sensor_size, channel_size;
        Sample sample = {};

        memcpy(sample.id, p, SAMPLE_ID_SIZE);
        p += SAMPLE_ID_SIZE;
        sample.at_msec = get_u64(p);
        p += 8;
        if (data[8] == RECORD_HELD) {
                sample.boot = p;
                p += SAMPLE_BOOT_SIZE;
        }
        sensor_size = *p++;
        channel_size = *p++;
        if (size < size_min + sensor_size + channel_size)
                return -EBADMSG;
        sample.sensor = (const char *) p;
        sample.channel = sample.sensor + sensor_size + 1;
        sample.data = sample.channel + channel_size + 1;
        sample.data_size = size - size_min - sensor_size - channel_size;
        if (memchr(sample.sensor, '\0', sensor_size + 1) != sample.sensor + sensor_size ||
                memchr(sample.channel, '\0', channel_size + 1) != sample.channel + channel_size ||
                sample.data[sample.data_size] != '\0' || sample.data_size > SAMPLE_DATA_MAX)
                return -EBADMSG;
        *ret = sample;
        return 0;
}

int record_decode(const uint8_t *data, size_t size, uint64_t after, Record *ret)
{
        uint32_t record_size;
        uint64_t sequence;
        uint8_t type;

        if (size < RECORD_HEADER_SIZE) {
                ret->size = RECORD_HEADER_SIZE;
                return -ENODATA;
        }

        /* Cheap checks first: this is also how the next record behind a damaged part is looked for. */
        record_size = get_u32(data + 4);
        if (record_size > RECORD_MAX)
                return -EBADMSG;
        type = data[8];
        sequence = get_u64(data + 9);
        if (sequence > SEQUENCE_MAX)
                return -EBADMSG;
        if (type == RECORD_SAMPLE || type == RECORD_HELD) {
                if (record_size < sample_size_min(type) || sequence <= after)
                        return -EBADMSG;
        } else if (type == RECORD_FOOTER || type == RECORD_SUMMARY) {
                if (record_size < RECORD_HEADER_SIZE + SEGMENT_FOOTER_TAIL || sequence < after)
                        return -EBADMSG;
        } else
                return -EBADMSG;

        ret->size = record_size;
        if (size < record_size)
                return -ENODATA;
        if (crc32c(0, data + 4, record_size - 4) != get_u32(data))
                return -EBADMSG;
        ret->type = (RecordType) type;
        ret->sequence = sequence;
        ret->data = data;
        return record_is_footer(ret) ? 0 : sample_decode(data, record_size, &ret->sample);
}

void segment_header_encode(uint8_t out[static SEGMENT_HEADER_SIZE], uint64_t first)
{
        memset(out, 0, SEGMENT_HEADER_SIZE);
        memcpy(out, segment_magic, sizeof(segment_magic));
        put_u32(out + 8, SEGMENT_VERSION);
        put_u64(out + 12, first);
        put_u32(out + SEGMENT_HEADER_SIZE - 4, crc32c(0, out, SEGMENT_HEADER_SIZE - 4));
}

int segment_header_decode(const uint8_t data[static SEGMENT_HEADER_SIZE], uint64_t first)
{
        if (memcmp(data, segment_magic, sizeof(segment_magic)) != 0 ||
                get_u32(data + SEGMENT_HEADER_SIZE - 4) != crc32c(0, data, SEGMENT_HEADER_SIZE - 4))
                return -EBADMSG;
        if (get_u32(data + 8) == 0 || get_u32(data + 8) > SEGMENT_VERSION)
                return -EPROTONOSUPPORT;
        return get_u64(data + 12) == first ? 0 : -EBADMSG;
}

/* --- reader ------------------------------------------------------------------------------------------- */

void reader_deinit(Reader *reader)
{
        free(reader->buffer);
        *reader = (Reader){};
}

void reader_seek(Reader *reader, uint32_t offset, uint32_t count, uint64_t last)
{
        reader->offset = offset;
        reader->count = count;
        reader->last = last;
        reader->damage = 0;
}

static uint32_t reader_available(const Reader *reader)
{
        if (reader->offset < reader->base || reader->offset - reader->base >= reader->length)
                return 0;
        return MIN(reader->length - (reader->offset - reader->base), reader->end - reader->offset);
}

bool reader_has(const Reader *reader)
{
        return reader_available(reader) >= MIN(reader->need, reader->end - reader->offset);
}

ReaderResult reader_next(Reader *reader, Record *ret, uint32_t *ret_damage)
{
        while (reader->offset < reader->end) {
                uint32_t available = reader_available(reader);
                Record record;
                int r = -ENODATA;

                if (available > 0)
                        r = record_decode(reader->buffer + (reader->offset - reader->base), available,
                                reader->last, &record);
                else
                        record.size = RECORD_HEADER_SIZE;
                if (r == -ENODATA && available < reader->end - reader->offset) {
                        reader->need = record.size;
                        return READER_FILL;
                }
                if (r < 0) {
                        if (reader->damage == 0)
                                reader->damage = reader->offset;
                        reader->offset++;
                        continue;
                }
                if (reader->damage > 0)
                        break;
                if (record_is_footer(&record)) {
                        reader->end = reader->offset;
                        return READER_END;
                }
                reader->last = record.sequence;
                reader->count++;
                reader->offset += record.size;
                *ret = record;
                return READER_RECORD;
        }

        if (reader->damage > 0) {
                *ret_damage = reader->damage;
                reader->damage = 0;
                return READER_DAMAGE;
        }
        return READER_END;
}

int reader_fill(Reader *reader, int fd)
{
        size_t wanted = MIN(reader->end - reader->offset, MAX(reader->need, (uint32_t) READER_BUFFER_SIZE));

        if (reader->capacity < wanted) {
                size_t capacity = MAX(wanted, (size_t) READER_BUFFER_SIZE);
                uint8_t *buffer = realloc(reader->buffer, capacity);

                if (!buffer)
                        return -ENOMEM;
                reader->buffer = buffer;
                reader->capacity = capacity;
        }
        wanted = MIN((size_t) (reader->end - reader->offset), reader->capacity);

        reader->base = reader->offset;
        reader->length = 0;
        while (reader->length < wanted) {
                ssize_t n = pread(fd, reader->buffer + reader->length, wanted - reader->length,
                        (off_t) reader->base + reader->length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && !reader_has(reader))
                        return -errno;
                if (n <= 0)
                        break;
                reader->length += (uint32_t) n;
        }
        return reader_has(reader) ? 0 : -ENODATA;
}
