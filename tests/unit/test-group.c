/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "group.h"

static void test_every_type_is_copied(void **state)
{
        char name[] = "name", text[] = "text";
        struct plugd_group group = {0};

        (void) state;
        assert_int_equal(
                group_add(&group, name, &(struct plugd_value){.type = PLUGD_STRING, .string = text}), 0);
        assert_int_equal(
                group_add(&group, "b", &(struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = 1}), 0);
        assert_int_equal(
                group_add(&group, "i", &(struct plugd_value){.type = PLUGD_INTEGER, .integer = INT64_MIN}),
                0);
        assert_int_equal(
                group_add(&group, "n", &(struct plugd_value){.type = PLUGD_NUMBER, .number = 0.1}), 0);
        assert_int_equal(
                group_add(&group, "j", &(struct plugd_value){.type = PLUGD_JSON, .string = "{}"}), 0);
        memset(name, 'x', 4);
        memset(text, 'x', 4);

        assert_int_equal(group.n_settings, 5);
        assert_string_equal(group_find(&group, "name")->string, "text");
        assert_int_equal(group_find(&group, "b")->boolean, 1);
        assert_true(group_find(&group, "i")->integer == INT64_MIN);
        assert_true(group_find(&group, "n")->number == 0.1);
        assert_string_equal(group_find(&group, "j")->string, "{}");
        assert_null(group_find(&group, "nam"));
        assert_null(group_find(&group, ""));
        group_deinit(&group);
        assert_null(group.settings);
        assert_int_equal(group.n_settings, 0);
        group_deinit(&group);
}

static void test_groups_are_copied_deeply(void **state)
{
        struct plugd_group group = {0}, copy = {0}, lines[2] = {{0}};
        const struct plugd_value *found;

        (void) state;
        for (int i = 0; i < 2; i++) {
                assert_int_equal(group_add(&lines[i], "line",
                                         &(struct plugd_value){.type = PLUGD_INTEGER, .integer = 17 + i}),
                        0);
                assert_int_equal(
                        group_add(&lines[i], "name",
                                &(struct plugd_value){.type = PLUGD_STRING, .string = i ? "b" : "a"}),
                        0);
        }
        assert_int_equal(group_add(&group, "lines",
                                 &(struct plugd_value){.type = PLUGD_GROUPS, .count = 2, .groups = lines}),
                0);
        group_deinit(&lines[0]);
        group_deinit(&lines[1]);

        /* And a copy of the copy. */
        assert_int_equal(group_add(&copy, "lines", group_find(&group, "lines")), 0);
        group_deinit(&group);
        found = group_find(&copy, "lines");
        assert_int_equal(found->count, 2);
        assert_int_equal(group_find(&found->groups[1], "line")->integer, 18);
        assert_string_equal(group_find(&found->groups[0], "name")->string, "a");
        group_deinit(&copy);
}

static void test_no_groups_is_a_value_too(void **state)
{
        struct plugd_group group = {0}, empty = {0};

        (void) state;
        assert_null(group_find(&group, "lines"));
        assert_int_equal(group_add(&group, "none", &(struct plugd_value){.type = PLUGD_GROUPS}), 0);
        assert_int_equal(group_add(&group, "hollow",
                                 &(struct plugd_value){.type = PLUGD_GROUPS, .count = 1, .groups = &empty}),
                0);
        assert_int_equal(group_find(&group, "none")->count, 0);
        assert_int_equal(group_find(&group, "hollow")->groups[0].n_settings, 0);
        group_deinit(&group);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_type_is_copied),
                cmocka_unit_test(test_groups_are_copied_deeply),
                cmocka_unit_test(test_no_groups_is_a_value_too),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
