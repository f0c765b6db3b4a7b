/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What goes over the wire between host and worker: a frame is taken when it is whole and not before, and a
 * value or a group of options that is read is, written again, the same bytes.
 */

#include "fuzz.h"
#include "group.h"
#include "wire.h"

/* What was read of body, and is written again. */
static void hold_same(const Bytes *written, const BytesReader *before, const BytesReader *after)
{
        hold(!written->failed);
        hold(written->size == before->size - after->size);
        hold(memcmp(written->data, before->data, written->size) == 0);
}

static void check_value(BytesReader body)
{
        _cleanup_(bytes_deinit) Bytes bytes = {};
        BytesReader reader = body;
        struct plugd_value value;

        if (wire_get_value(&reader, &value) < 0)
                return;
        hold(value.type >= PLUGD_BOOLEAN && value.type <= PLUGD_JSON);
        wire_put_value(&bytes, &value);
        hold_same(&bytes, &body, &reader);
}

static void check_group(BytesReader body)
{
        _cleanup_(bytes_deinit) Bytes bytes = {};
        BytesReader reader = body;
        struct plugd_group group = {0};
        struct plugd_group copy = {0};

        if (wire_get_group(&reader, &group) < 0)
                return;
        wire_put_group(&bytes, &group);
        hold_same(&bytes, &body, &reader);

        for (size_t i = 0; i < group.n_settings; i++) {
                const struct plugd_setting *setting = &group.settings[i];

                hold(group_find(&group, setting->name));
                hold(group_add(&copy, setting->name, &setting->value) == 0);
        }
        bytes_clear(&bytes);
        wire_put_group(&bytes, &copy);
        hold_same(&bytes, &body, &reader);
        group_deinit(&copy);
        group_deinit(&group);
}

/* START: what the worker reads of it. */
static void check_start(BytesReader body)
{
        uint32_t n;

        (void) bytes_get_u32(&body);
        (void) bytes_get_f64(&body);
        n = bytes_get_u32(&body);
        for (uint32_t i = 0; i < n && i < DEVICES_MAX; i++)
                if (!bytes_get_string(&body))
                        return;
        if (!body.failed)
                check_group(body);
}

static void check_frame(const uint8_t *data, const WireFrame *frame)
{
        _cleanup_(bytes_deinit) Bytes bytes = {};
        WireFrame part, again;
        size_t mark;

        hold(frame->size <= WIRE_FRAME_MAX && frame->body.data + frame->body.size == data + frame->size);
        /* Not a byte sooner. */
        for (size_t n = 0; n < frame->size; n += 1 + n / 4)
                hold(wire_next(data, n, &part) == 0);
        hold(wire_next(data, frame->size - 1, &part) == 0);

        mark = wire_begin(&bytes, frame->type);
        bytes_put(&bytes, frame->body.data, frame->body.size);
        wire_end(&bytes, mark);
        hold(!bytes.failed && bytes.size == frame->size && memcmp(bytes.data, data, bytes.size) == 0);
        hold(wire_next(bytes.data, bytes.size, &again) == 1 && again.type == frame->type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        size_t done = 0;
        WireFrame frame;
        int r;

        while ((r = wire_next(data + done, size - done, &frame)) == 1) {
                check_frame(data + done, &frame);
                check_value(frame.body);
                check_group(frame.body);
                check_start(frame.body);
                done += frame.size;
        }
        /* What is no frame isn't one with more behind it either. */
        for (size_t n = done; r < 0 && n < size; n++)
                if (wire_next(data + done, n - done, &frame) < 0)
                        break;
                else
                        hold(wire_next(data + done, n - done, &frame) == 0);

        check_value((BytesReader){.data = data, .size = size});
        check_group((BytesReader){.data = data, .size = size});
        return 0;
}
