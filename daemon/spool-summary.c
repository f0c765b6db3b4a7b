/* SPDX-License-Identifier: Apache-2.0 */

/* The summary of a segment, and the footer that holds it. */

#include <errno.h>
#include <string.h>

#include "spool-internal.h"
#include "util/crc32c.h"

/* --- the table ---------------------------------------------------------------------------------------- */

void summary_deinit(Summary *summary)
{
        for (size_t i = 0; i < summary->capacity; i++)
                free(summary->slots[i].sensor);
        free(summary->slots);
        free(summary->boots);
        *summary = (Summary){};
}

static SummaryEntry *summary_slot(const Summary *summary, const char *sensor, const char *channel)
{
        size_t i = crc32c(crc32c(0, sensor, strlen(sensor) + 1), channel, strlen(channel));

        for (;; i++) {
                SummaryEntry *slot = &summary->slots[i & (summary->capacity - 1)];

                if (!slot->sensor ||
                        (strcmp(slot->channel, channel) == 0 && strcmp(slot->sensor, sensor) == 0))
                        return slot;
        }
}

SummaryEntry *summary_find(const Summary *summary, const char *sensor, const char *channel)
{
        SummaryEntry *slot = summary->capacity > 0 ? summary_slot(summary, sensor, channel) : NULL;

        return slot && slot->sensor ? slot : NULL;
}

static int summary_grow(Summary *summary)
{
        size_t capacity = MAX(summary->capacity * 2, (size_t) 16);
        Summary larger = {.capacity = capacity, .slots = calloc(capacity, sizeof(*larger.slots))};

        if (!larger.slots)
                return -ENOMEM;
        for (size_t i = 0; i < summary->capacity; i++) {
                const SummaryEntry *slot = &summary->slots[i];

                if (slot->sensor)
                        *summary_slot(&larger, slot->sensor, slot->channel) = *slot;
        }
        free(summary->slots);
        summary->slots = larger.slots;
        summary->capacity = capacity;
        return 0;
}

int summary_add_entry(Summary *summary, const SummaryEntry *entry)
{
        SummaryEntry *slot;

        if (summary->n * 2 >= summary->capacity) {
                int r = summary_grow(summary);

                if (r < 0)
                        return r;
        }
        slot = summary_slot(summary, entry->sensor, entry->channel);
        if (!slot->sensor) {
                size_t sensor_size = strlen(entry->sensor) + 1, channel_size = strlen(entry->channel) + 1;
                char *text = malloc(sensor_size + channel_size);

                if (!text)
                        return -ENOMEM;
                memcpy(text, entry->sensor, sensor_size);
                memcpy(text + sensor_size, entry->channel, channel_size);
                *slot = (SummaryEntry){.sensor = text, .channel = text + sensor_size};
                summary->n++;
        }
        slot->messages += entry->messages;
        slot->bytes += entry->bytes;
        slot->timeless += entry->timeless;
        slot->at_msec = MAX(slot->at_msec, entry->at_msec);
        if (entry->last >= slot->last) {
                slot->last = entry->last;
                slot->last_size = entry->last_size;
        }
        return 0;
}

static int summary_add_boot(Summary *summary, const SummaryBoot *boot)
{
        SummaryBoot *known;

        /* The latest first: it is nearly always that one. */
        for (size_t i = summary->n_boots; i > 0; i--) {
                known = &summary->boots[i - 1];
                if (memcmp(known->boot, boot->boot, SAMPLE_BOOT_SIZE) != 0)
                        continue;
                known->first = MIN(known->first, boot->first);
                known->at_msec = MAX(known->at_msec, boot->at_msec);
                known->messages += boot->messages;
                return 0;
        }
        known = reallocarray(summary->boots, summary->n_boots + 1, sizeof(*known));
        if (!known)
                return -ENOMEM;
        summary->boots = known;
        summary->boots[summary->n_boots++] = *boot;
        return 0;
}

int summary_add(Summary *summary, const Record *record)
{
        const Sample *sample = &record->sample;
        SummaryEntry entry = {.sensor = (char *) (uintptr_t) sample->sensor,
                .channel = sample->channel,
                .messages = 1,
                .bytes = record->size,
                .timeless = sample->boot || sample->at_msec == 0,
                .at_msec = sample->boot ? 0 : sample->at_msec,
                .last = record->sequence,
                .last_size = record->size};
        SummaryBoot boot = {.first = record->sequence, .at_msec = sample->at_msec, .messages = 1};
        int r = summary_add_entry(summary, &entry);

        if (r < 0 || !sample->boot)
                return r;
        memcpy(boot.boot, sample->boot, SAMPLE_BOOT_SIZE);
        return summary_add_boot(summary, &boot);
}

int summary_merge(Summary *summary, const Summary *other)
{
        int r = 0;

        for (size_t i = 0; i < other->capacity && r >= 0; i++)
                if (other->slots[i].sensor)
                        r = summary_add_entry(summary, &other->slots[i]);
        for (size_t i = 0; i < other->n_boots && r >= 0; i++)
                r = summary_add_boot(summary, &other->boots[i]);
        return r;
}

static int compare_boots(const void *a, const void *b)
{
        const SummaryBoot *x = a, *y = b;

        return x->first < y->first ? -1 : x->first > y->first;
}

void summary_sort_boots(Summary *summary)
{
        if (summary->n_boots > 0)
                qsort(summary->boots, summary->n_boots, sizeof(*summary->boots), compare_boots);
}

/* --- the footer --------------------------------------------------------------------------------------- */

static const char footer_magic[4] = {'S', 'E', 'A', 'L'};

/* Count of the records and of the entries, the entries, the boots; its own size and a magic at the end. */
void segment_footer_encode(Bytes *out, uint64_t last, uint32_t count, const Summary *summary)
{
        size_t start = out->size;

        for (size_t i = 0; i < RECORD_HEADER_SIZE; i++)
                bytes_put_u8(out, 0);
        bytes_put_u32(out, count);
        bytes_put_u32(out, (uint32_t) summary->n);
        for (size_t i = 0; i < summary->capacity; i++) {
                const SummaryEntry *entry = &summary->slots[i];

                if (!entry->sensor)
                        continue;
                bytes_put_string(out, entry->sensor);
                bytes_put_string(out, entry->channel);
                bytes_put_u32(out, (uint32_t) entry->messages);
                bytes_put_u32(out, (uint32_t) entry->bytes);
                bytes_put_u32(out, (uint32_t) entry->timeless);
                bytes_put_u64(out, entry->at_msec);
                bytes_put_u64(out, entry->last);
                bytes_put_u32(out, entry->last_size);
        }
        for (size_t i = 0; i < summary->n_boots; i++) {
                const SummaryBoot *boot = &summary->boots[i];

                bytes_put(out, boot->boot, SAMPLE_BOOT_SIZE);
                bytes_put_u64(out, boot->first);
                bytes_put_u64(out, boot->at_msec);
                bytes_put_u32(out, (uint32_t) boot->messages);
        }
        bytes_put_u32(out, (uint32_t) (out->size - start) + SEGMENT_FOOTER_TAIL);
        bytes_put(out, footer_magic, sizeof(footer_magic));
        if (!out->failed)
                record_finish(out->data + start, (uint32_t) (out->size - start), RECORD_SUMMARY, last);
}

static int entry_decode(BytesReader *reader, Summary *summary)
{
        SummaryEntry entry = {};
        const char *sensor = bytes_get_string(reader), *channel = bytes_get_string(reader);

        entry.messages = bytes_get_u32(reader);
        entry.bytes = bytes_get_u32(reader);
        entry.timeless = bytes_get_u32(reader);
        entry.at_msec = bytes_get_u64(reader);
        entry.last = bytes_get_u64(reader);
        entry.last_size = bytes_get_u32(reader);
        if (reader->failed)
                return -EBADMSG;
        entry.sensor = (char *) (uintptr_t) sensor;
        entry.channel = channel;
        return summary_add_entry(summary, &entry);
}

static int boot_decode(BytesReader *reader, Summary *summary)
{
        SummaryBoot entry = {};
        const uint8_t *boot = bytes_get(reader, SAMPLE_BOOT_SIZE);

        entry.first = bytes_get_u64(reader);
        entry.at_msec = bytes_get_u64(reader);
        entry.messages = bytes_get_u32(reader);
        if (reader->failed)
                return -EBADMSG;
        memcpy(entry.boot, boot, SAMPLE_BOOT_SIZE);
        return summary_add_boot(summary, &entry);
}

static int footer_decode(const uint8_t *data, uint32_t size, SegmentFooter *ret, Summary *summary)
{
        BytesReader reader = {};
        uint32_t count, n;
        Record record;
        int r = 0;

        if (record_decode(data, size, 0, &record) < 0 || record.type != RECORD_SUMMARY ||
                record.size != size)
                return -EBADMSG;
        reader.data = data + RECORD_HEADER_SIZE;
        reader.size = size - RECORD_HEADER_SIZE - SEGMENT_FOOTER_TAIL;
        count = bytes_get_u32(&reader);
        n = bytes_get_u32(&reader);
        for (uint32_t i = 0; i < n && r >= 0; i++)
                r = entry_decode(&reader, summary);
        while (r >= 0 && reader.size > 0)
                r = boot_decode(&reader, summary);
        if (r >= 0 && reader.failed)
                r = -EBADMSG;
        if (r < 0)
                return r;
        *ret = (SegmentFooter){.last = record.sequence, .count = count, .size = size};
        return 0;
}

int segment_footer_read(int fd, uint32_t file_size, SegmentFooter *ret, Summary *summary)
{
        uint8_t tail[SEGMENT_FOOTER_TAIL];
        _cleanup_(freep) uint8_t *data = NULL;
        BytesReader reader = {.data = tail, .size = sizeof(tail)};
        uint32_t size;
        int r;

        if (file_size < SEGMENT_HEADER_SIZE + SEGMENT_FOOTER_TAIL ||
                pread(fd, tail, sizeof(tail), file_size - sizeof(tail)) != sizeof(tail))
                return -ENODATA;
        size = bytes_get_u32(&reader);
        if (memcmp(tail + 4, footer_magic, sizeof(footer_magic)) != 0 ||
                size < RECORD_HEADER_SIZE + SEGMENT_FOOTER_TAIL || size > RECORD_MAX ||
                size > file_size - SEGMENT_HEADER_SIZE)
                return -ENODATA;
        data = malloc(size);
        if (!data)
                return -ENOMEM;
        if (pread(fd, data, size, file_size - size) != (ssize_t) size)
                return -EBADMSG;
        r = footer_decode(data, size, ret, summary);
        if (r < 0)
                summary_deinit(summary);
        return r;
}
