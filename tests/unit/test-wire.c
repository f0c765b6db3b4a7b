/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "group.h"
#include "wire.h"

static const struct plugd_value values[] = {
        {.type = PLUGD_BOOLEAN, .boolean = 0},
        {.type = PLUGD_BOOLEAN, .boolean = 1},
        {.type = PLUGD_INTEGER, .integer = INT64_MIN},
        {.type = PLUGD_INTEGER, .integer = -1},
        {.type = PLUGD_NUMBER, .number = 21.5},
        {.type = PLUGD_NUMBER, .number = -0.0},
        {.type = PLUGD_STRING, .string = ""},
        {.type = PLUGD_STRING, .string = "21 °C"},
        {.type = PLUGD_JSON, .string = "{\"a\":[1,null]}"},
};

static void assert_same(const struct plugd_value *a, const struct plugd_value *b)
{
        assert_int_equal(a->type, b->type);
        if (a->type == PLUGD_STRING || a->type == PLUGD_JSON)
                assert_string_equal(a->string, b->string);
        else
                assert_memory_equal(&a->integer, &b->integer, sizeof(a->integer));
}

/* A frame with one of each value. */
static void put_all(Bytes *bytes)
{
        size_t mark = wire_begin(bytes, WIRE_SAMPLE);

        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                wire_put_value(bytes, values + i);
        wire_end(bytes, mark);
}

static void test_values_come_back(void **state)
{
        Bytes bytes = {0};
        WireFrame frame;

        (void) state;
        put_all(&bytes);
        assert_int_equal(wire_next(bytes.data, bytes.size, &frame), 1);
        assert_int_equal(frame.type, WIRE_SAMPLE);
        assert_int_equal(frame.size, bytes.size);
        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                struct plugd_value value;

                assert_int_equal(wire_get_value(&frame.body, &value), 0);
                assert_same(values + i, &value);
        }
        assert_int_equal(frame.body.size, 0);
        bytes_deinit(&bytes);
}

static void test_layout_is_little_endian(void **state)
{
        static const uint8_t expected[] = {1 + 4 + 1 + 8, 0, 0, 0, WIRE_SAMPLE, 0x04, 0x03, 0x02, 0x01,
                PLUGD_INTEGER, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
        Bytes bytes = {0};
        size_t mark = wire_begin(&bytes, WIRE_SAMPLE);

        (void) state;
        bytes_put_u32(&bytes, 0x01020304);
        wire_put_value(&bytes, &(struct plugd_value){.type = PLUGD_INTEGER, .integer = 0x1122334455667788});
        wire_end(&bytes, mark);
        assert_int_equal(bytes.size, sizeof(expected));
        assert_memory_equal(bytes.data, expected, sizeof(expected));
        bytes_deinit(&bytes);
}

static void test_frames_arrive_in_pieces(void **state)
{
        Bytes bytes = {0};
        WireFrame frame;
        size_t first;

        (void) state;
        put_all(&bytes);
        first = bytes.size;
        wire_end(&bytes, wire_begin(&bytes, WIRE_ALIVE));
        assert_int_equal(bytes.size, first + 5);

        for (size_t n = 0; n < first; n++)
                assert_int_equal(wire_next(bytes.data, n, &frame), 0);
        for (size_t n = first; n <= bytes.size; n++) {
                assert_int_equal(wire_next(bytes.data, n, &frame), 1);
                assert_int_equal(frame.size, first);
        }
        assert_int_equal(wire_next(bytes.data + first, 5, &frame), 1);
        assert_int_equal(frame.type, WIRE_ALIVE);
        assert_int_equal(frame.body.size, 0);
        bytes_deinit(&bytes);
}

static void test_what_is_no_frame(void **state)
{
        static const struct {
                uint32_t length;
                uint8_t type;
        } wrong[] = {
                {0, WIRE_ALIVE},
                {WIRE_FRAME_MAX - 3, WIRE_ALIVE},
                {UINT32_MAX, WIRE_ALIVE},
                {0x80000000, WIRE_SAMPLE},
                {1, 0},
                {1, 8},
                {1, 63},
                {1, 67},
                {1, 255},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                Bytes bytes = {0};
                WireFrame frame;

                bytes_put_u32(&bytes, wrong[i].length);
                bytes_put_u8(&bytes, wrong[i].type);
                assert_int_equal(wire_next(bytes.data, bytes.size, &frame), -EBADMSG);
                bytes_deinit(&bytes);
        }
}

static void test_longest_frame(void **state)
{
        const size_t most = WIRE_FRAME_MAX - 5;
        uint8_t *body = calloc(1, most + 1);
        Bytes bytes = {0};
        WireFrame frame;
        size_t mark;

        (void) state;
        assert_non_null(body);
        mark = wire_begin(&bytes, WIRE_LOG);
        bytes_put(&bytes, body, most);
        wire_end(&bytes, mark);
        assert_false(bytes.failed);
        assert_int_equal(wire_next(bytes.data, bytes.size, &frame), 1);
        assert_int_equal(frame.body.size, most);

        mark = wire_begin(&bytes, WIRE_LOG);
        bytes_put(&bytes, body, most + 1);
        wire_end(&bytes, mark);
        assert_true(bytes.failed);
        bytes_deinit(&bytes);
        free(body);
}

static void test_wrong_values(void **state)
{
        static const uint8_t wrong[][16] = {
                {0},
                {7},
                {255},
                {PLUGD_GROUPS, 0, 0, 0, 0},
                {PLUGD_BOOLEAN, 2},
                {PLUGD_STRING, 3, 0, 0, 0, 'a', 0, 'b', 0},
                {PLUGD_STRING, 1, 0, 0, 0, 'a', 'b'},
                {PLUGD_STRING, 255, 255, 255, 255, 'a', 0},
                {PLUGD_JSON, 0xff, 0xff, 0, 0, 'a', 0},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                BytesReader reader = {.data = wrong[i], .size = sizeof(wrong[i])};
                struct plugd_value value = {.type = 99};

                assert_int_equal(wire_get_value(&reader, &value), -EBADMSG);
                assert_int_equal(value.type, 99);
        }
}

/* Options as a gpio plugin with two lines would have them. */
static void make_options(struct plugd_group *ret)
{
        struct plugd_group lines[2] = {{0}};

        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                assert_int_equal(group_add(&lines[i % 2], i < 2 ? "first" : "more", values + i), 0);
        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                assert_int_equal(group_add(ret, i < 2 ? "first" : "more", values + i), 0);
        assert_int_equal(group_add(ret, "lines",
                                 &(struct plugd_value){.type = PLUGD_GROUPS, .count = 2, .groups = lines}),
                0);
        assert_int_equal(group_add(ret, "none", &(struct plugd_value){.type = PLUGD_GROUPS}), 0);
        group_deinit(&lines[0]);
        group_deinit(&lines[1]);
}

static void assert_same_group(const struct plugd_group *a, const struct plugd_group *b)
{
        assert_int_equal(a->n_settings, b->n_settings);
        for (size_t i = 0; i < a->n_settings; i++) {
                const struct plugd_value *x = &a->settings[i].value, *y = &b->settings[i].value;

                assert_string_equal(a->settings[i].name, b->settings[i].name);
                assert_int_equal(x->type, y->type);
                if (x->type != PLUGD_GROUPS) {
                        assert_same(x, y);
                        continue;
                }
                assert_int_equal(x->count, y->count);
                for (uint32_t j = 0; j < x->count; j++)
                        assert_same_group(x->groups + j, y->groups + j);
        }
}

static void test_options_come_back(void **state)
{
        struct plugd_group options = {0}, back;
        BytesReader reader;
        Bytes bytes = {0};

        (void) state;
        make_options(&options);
        wire_put_group(&bytes, &options);
        assert_false(bytes.failed);
        reader = (BytesReader){.data = bytes.data, .size = bytes.size};
        assert_int_equal(wire_get_group(&reader, &back), 0);
        assert_int_equal(reader.size, 0);
        assert_same_group(&options, &back);
        group_deinit(&back);
        group_deinit(&options);
        bytes_deinit(&bytes);
}

static void test_options_cut_short(void **state)
{
        struct plugd_group options = {0}, back = {0};
        Bytes bytes = {0};

        (void) state;
        make_options(&options);
        wire_put_group(&bytes, &options);
        for (size_t n = 0; n < bytes.size; n++) {
                /* Memory of just this size, so that a sanitizer sees who reads beyond. */
                uint8_t *cut = malloc(n ? n : 1);
                BytesReader reader = {.data = cut, .size = n};

                assert_non_null(cut);
                memcpy(cut, bytes.data, n);
                assert_int_equal(wire_get_group(&reader, &back), -EBADMSG);
                assert_null(back.settings);
                free(cut);
        }
        group_deinit(&options);
        bytes_deinit(&bytes);
}

static void test_groups_go_one_deep(void **state)
{
        struct plugd_group inner = {0}, middle = {0}, outer = {0}, back;
        BytesReader reader;
        Bytes bytes = {0};

        (void) state;
        assert_int_equal(group_add(&inner, "x", values), 0);
        assert_int_equal(group_add(&middle, "inner",
                                 &(struct plugd_value){.type = PLUGD_GROUPS, .count = 1, .groups = &inner}),
                0);
        assert_int_equal(group_add(&outer, "middle",
                                 &(struct plugd_value){.type = PLUGD_GROUPS, .count = 1, .groups = &middle}),
                0);
        wire_put_group(&bytes, &middle);
        assert_false(bytes.failed);
        wire_put_group(&bytes, &outer);
        assert_true(bytes.failed);
        bytes_clear(&bytes);

        /* The same from a stranger, who goes a thousand deep. */
        for (int i = 0; i < 1000; i++) {
                bytes_put_u32(&bytes, 1);
                bytes_put_string(&bytes, "x");
                bytes_put_u8(&bytes, PLUGD_GROUPS);
                bytes_put_u32(&bytes, 1);
        }
        bytes_put_u32(&bytes, 0);
        reader = (BytesReader){.data = bytes.data, .size = bytes.size};
        assert_int_equal(wire_get_group(&reader, &back), -EBADMSG);
        bytes_deinit(&bytes);
        group_deinit(&inner);
        group_deinit(&middle);
        group_deinit(&outer);
}

/* Asking for more memory than there is in the frame must fail before it is asked for. */
static void test_counts_are_believed_only_as_far_as_there_is_data(void **state)
{
        struct plugd_group back;
        BytesReader reader;
        Bytes bytes = {0};

        (void) state;
        bytes_put_u32(&bytes, UINT32_MAX);
        reader = (BytesReader){.data = bytes.data, .size = bytes.size};
        assert_int_equal(wire_get_group(&reader, &back), -EBADMSG);

        bytes_clear(&bytes);
        bytes_put_u32(&bytes, 1);
        bytes_put_string(&bytes, "lines");
        bytes_put_u8(&bytes, PLUGD_GROUPS);
        bytes_put_u32(&bytes, 0x10000000);
        reader = (BytesReader){.data = bytes.data, .size = bytes.size};
        assert_int_equal(wire_get_group(&reader, &back), -EBADMSG);
        bytes_deinit(&bytes);
}

static uint64_t next_random(uint64_t *random)
{
        *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return *random >> 33;
}

/* Good frames with bytes changed: whatever comes out, it stays within the frame and nothing leaks. */
static void test_damaged_bytes(void **state)
{
        struct plugd_group options = {0};
        uint64_t random = 1;
        Bytes good = {0};
        size_t mark;

        (void) state;
        make_options(&options);
        put_all(&good);
        mark = wire_begin(&good, WIRE_START);
        wire_put_group(&good, &options);
        wire_end(&good, mark);

        for (int round = 0; round < 20000; round++) {
                uint8_t *bad = malloc(good.size);
                size_t done = 0;
                WireFrame frame;

                assert_non_null(bad);
                memcpy(bad, good.data, good.size);
                for (uint64_t i = 0; i <= next_random(&random) % 4; i++)
                        bad[next_random(&random) % good.size] = (uint8_t) next_random(&random);
                while (wire_next(bad + done, good.size - done, &frame) == 1) {
                        struct plugd_group group;
                        struct plugd_value value;

                        assert_in_range(frame.size, 5, good.size - done);
                        done += frame.size;
                        if (frame.type == WIRE_START && wire_get_group(&frame.body, &group) == 0)
                                group_deinit(&group);
                        while (frame.type == WIRE_SAMPLE && wire_get_value(&frame.body, &value) == 0)
                                if (value.type == PLUGD_STRING || value.type == PLUGD_JSON)
                                        assert_in_range(strlen(value.string), 0, good.size);
                }
                free(bad);
        }
        group_deinit(&options);
        bytes_deinit(&good);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values_come_back),
                cmocka_unit_test(test_layout_is_little_endian),
                cmocka_unit_test(test_frames_arrive_in_pieces),
                cmocka_unit_test(test_what_is_no_frame),
                cmocka_unit_test(test_longest_frame),
                cmocka_unit_test(test_wrong_values),
                cmocka_unit_test(test_options_come_back),
                cmocka_unit_test(test_options_cut_short),
                cmocka_unit_test(test_groups_go_one_deep),
                cmocka_unit_test(test_counts_are_believed_only_as_far_as_there_is_data),
                cmocka_unit_test(test_damaged_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
