/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "group.h"

#define LENGTH_SIZE sizeof(uint32_t)

/* How deep groups may lie in groups. The ABI has one level; a frame that nests further is not ours. */
#define DEPTH_MAX 1

size_t wire_begin(Bytes *bytes, WireType type)
{
        size_t mark = bytes->size;

        bytes_put_u32(bytes, 0); /* set by wire_end() */
        bytes_put_u8(bytes, (uint8_t) type);
        return mark;
}

void wire_end(Bytes *bytes, size_t mark)
{
        uint32_t length;

        if (bytes->failed)
                return;
        assert(mark + LENGTH_SIZE < bytes->size);
        if (bytes->size - mark > WIRE_FRAME_MAX) {
                bytes->failed = true;
                return;
        }
        length = htole32((uint32_t) (bytes->size - mark - LENGTH_SIZE));
        memcpy(bytes->data + mark, &length, sizeof(length));
}

static void put_value(Bytes *bytes, const struct plugd_value *value, unsigned depth)
{
        bytes_put_u8(bytes, (uint8_t) value->type);
        switch ((enum plugd_type) value->type) {
        case PLUGD_BOOLEAN:
                bytes_put_u8(bytes, value->boolean != 0);
                return;
        case PLUGD_INTEGER:
                bytes_put_u64(bytes, (uint64_t) value->integer);
                return;
        case PLUGD_NUMBER:
                bytes_put_f64(bytes, value->number);
                return;
        case PLUGD_STRING:
        case PLUGD_JSON:
                bytes_put_string(bytes, value->string);
                return;
        case PLUGD_GROUPS:
                if (depth == 0) {
                        bytes->failed = true;
                        return;
                }
                bytes_put_u32(bytes, value->count);
                for (uint32_t i = 0; i < value->count; i++) {
                        const struct plugd_group *group = value->groups + i;

                        bytes_put_u32(bytes, (uint32_t) group->n_settings);
                        for (size_t j = 0; j < group->n_settings; j++) {
                                bytes_put_string(bytes, group->settings[j].name);
                                put_value(bytes, &group->settings[j].value, depth - 1);
                        }
                }
                return;
        }
        assert(!"a value of no type");
}

void wire_put_value(Bytes *bytes, const struct plugd_value *value)
{
        put_value(bytes, value, DEPTH_MAX);
}

void wire_put_group(Bytes *bytes, const struct plugd_group *group)
{
        bytes_put_u32(bytes, (uint32_t) group->n_settings);
        for (size_t i = 0; i < group->n_settings; i++) {
                bytes_put_string(bytes, group->settings[i].name);
                wire_put_value(bytes, &group->settings[i].value);
        }
}

static bool type_known(uint8_t type)
{
        switch ((WireType) type) {
        case WIRE_HELLO:
        case WIRE_OPENED:
        case WIRE_SAMPLE:
        case WIRE_LOG:
        case WIRE_FAILED:
        case WIRE_ALIVE:
        case WIRE_RECOVERED:
        case WIRE_START:
        case WIRE_INTERVAL:
        case WIRE_STOP:
                return true;
        }
        return false;
}

int wire_next(const uint8_t *data, size_t size, WireFrame *ret)
{
        BytesReader reader = {.data = data, .size = size};
        uint32_t length;
        uint8_t type;

        if (size < LENGTH_SIZE)
                return 0;
        length = bytes_get_u32(&reader);
        if (length < 1 || length > WIRE_FRAME_MAX - LENGTH_SIZE)
                return -EBADMSG;
        if (reader.size < 1)
                return 0;
        type = bytes_get_u8(&reader);
        if (!type_known(type))
                return -EBADMSG;
        if (size - LENGTH_SIZE < length)
                return 0;
        *ret = (WireFrame){
                .type = (WireType) type,
                .body = {.data = reader.data, .size = length - 1},
                .size = LENGTH_SIZE + length,
        };
        return 1;
}

static int get_group(BytesReader *reader, unsigned depth, struct plugd_group *ret);

static int get_groups(BytesReader *reader, unsigned depth, struct plugd_value *ret)
{
        struct plugd_value value = {.type = PLUGD_GROUPS};
        struct plugd_group *groups;
        uint32_t count = bytes_get_u32(reader);
        int r = 0;

        /* A group takes at least its own count: what is asked for is bounded by what is there. */
        if (reader->failed || count > reader->size / sizeof(uint32_t))
                return -EBADMSG;
        groups = calloc(MAX(count, 1U), sizeof(*groups));
        if (!groups)
                return -ENOMEM;
        value.groups = groups;
        for (; value.count < count && r == 0; value.count += r == 0)
                r = get_group(reader, depth, groups + value.count);
        if (r < 0) {
                for (uint32_t i = 0; i < value.count; i++)
                        group_deinit(groups + i);
                free(groups);
                return r;
        }
        *ret = value;
        return 0;
}

/* depth: of the groups that this value may hold. */
static int get_value(BytesReader *reader, unsigned depth, struct plugd_value *ret)
{
        struct plugd_value value = {.type = bytes_get_u8(reader)};
        uint8_t boolean;

        switch ((enum plugd_type) value.type) {
        case PLUGD_BOOLEAN:
                boolean = bytes_get_u8(reader);
                if (boolean > 1)
                        return -EBADMSG;
                value.boolean = boolean;
                break;
        case PLUGD_INTEGER:
                value.integer = (int64_t) bytes_get_u64(reader);
                break;
        case PLUGD_NUMBER:
                value.number = bytes_get_f64(reader);
                break;
        case PLUGD_STRING:
        case PLUGD_JSON:
                value.string = bytes_get_string(reader);
                break;
        case PLUGD_GROUPS:
                if (depth == 0)
                        return -EBADMSG;
                return get_groups(reader, depth - 1, ret);
        }
        /* No such type: nothing after it was read. The type 0 of a reader that ran out is one of these. */
        if (reader->failed || value.type < PLUGD_BOOLEAN || value.type > PLUGD_JSON)
                return -EBADMSG;
        *ret = value;
        return 0;
}

static int get_group(BytesReader *reader, unsigned depth, struct plugd_group *ret)
{
        struct plugd_group group = {0};
        uint32_t n = bytes_get_u32(reader);
        int r = reader->failed ? -EBADMSG : 0;

        for (uint32_t i = 0; i < n && r == 0; i++) {
                const char *name = bytes_get_string(reader);
                struct plugd_value value = {0};

                r = name ? get_value(reader, depth, &value) : -EBADMSG;
                if (r < 0)
                        break;
                r = group_add(&group, name, &value);
                if (value.type == PLUGD_GROUPS) { /* the others borrow */
                        for (uint32_t j = 0; j < value.count; j++)
                                group_deinit((struct plugd_group *) value.groups + j);
                        free((struct plugd_group *) value.groups);
                }
        }
        if (r < 0) {
                group_deinit(&group);
                return r;
        }
        *ret = group;
        return 0;
}

int wire_get_value(BytesReader *reader, struct plugd_value *ret)
{
        return get_value(reader, 0, ret);
}

int wire_get_group(BytesReader *reader, struct plugd_group *ret)
{
        return get_group(reader, DEPTH_MAX, ret);
}
