/* SPDX-License-Identifier: Apache-2.0 */

/* JSON values, read and made, and the answer to an enrolment. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "payload.h"
#include "util/text.h"

static Json *parse(const char *text, char **ret_error)
{
        size_t size = strlen(text);
        _cleanup_(freep) char *copy = malloc(size > 0 ? size : 1);

        assert_non_null(copy);
        memcpy(copy, text, size);
        return json_parse(copy, size, ret_error);
}

static void test_parse(void **state _unused_)
{
        _cleanup_(freep) char *error = NULL, *text = NULL;
        _cleanup_(json_freep) Json *json = parse(
                " {\"n\":null,\"b\":true,\"i\":-5,\"max\":9223372036854775807,\"min\":-9223372036854775808,"
                "\"u\":18446744073709551615,\"d\":1.50,\"inf\":-1e400,\"s\":\"\\u00e9\",\"z\":\"a\\u0000b\","
                "\"a\":[1,null,\"x\"],\"o\":{\"k\":0},\"i\":7} ",
                &error);
        const char *key = NULL;

        assert_null(error);
        assert_int_equal(json_type(json), JSON_OBJECT);
        assert_int_equal(json_size(json), 12);
        assert_null(json_get(json, "n"));
        assert_null(json_get(json, "nothing"));
        assert_null(json_get(json_get(json, "a"), "k"));
        assert_null(json_get(NULL, "k"));

        assert_int_equal(json_type(json_get(json, "b")), JSON_BOOLEAN);
        assert_true(json_boolean(json_get(json, "b")));
        assert_false(json_boolean(json_get(json, "i")));

        /* There twice: the last. */
        assert_int_equal(json_type(json_get(json, "i")), JSON_INTEGER);
        assert_int_equal(json_integer(json_get(json, "i")), 7);
        assert_true(json_number(json_get(json, "i")) == 7);
        assert_true(json_integer(json_get(json, "max")) == INT64_MAX);
        assert_int_equal(json_type(json_get(json, "max")), JSON_INTEGER);
        assert_true(json_integer(json_get(json, "min")) == INT64_MIN);
        assert_int_equal(json_type(json_get(json, "min")), JSON_INTEGER);
        assert_int_equal(json_type(json_get(json, "u")), JSON_NUMBER);
        assert_true(json_number(json_get(json, "u")) == 18446744073709551615.0);

        assert_int_equal(json_type(json_get(json, "d")), JSON_NUMBER);
        assert_true(json_number(json_get(json, "d")) == 1.5);
        assert_int_equal(json_integer(json_get(json, "d")), 0);
        assert_true(json_number(json_get(json, "inf")) == -DBL_MAX);
        assert_true(json_number(json_get(json, "s")) == 0);

        assert_string_equal(json_string(json_get(json, "s")), "\xc3\xa9");
        assert_int_equal(json_type(json_get(json, "z")), JSON_STRING);
        assert_null(json_string(json_get(json, "z")));
        assert_null(json_string(json_get(json, "i")));

        assert_int_equal(json_type(json_get(json, "a")), JSON_ARRAY);
        assert_int_equal(json_size(json_get(json, "a")), 3);
        assert_int_equal(json_integer(json_at(json_get(json, "a"), 0)), 1);
        assert_null(json_at(json_get(json, "a"), 1));
        assert_string_equal(json_string(json_at(json_get(json, "a"), 2)), "x");
        assert_null(json_at(json_get(json, "a"), 3));
        assert_null(json_at(json, 0));
        assert_int_equal(json_size(json_get(json, "s")), 0);

        assert_null(json_member(json, 0, &key));
        assert_string_equal(key, "n");
        assert_int_equal(json_type(json_member(json, 11, &key)), JSON_OBJECT);
        assert_string_equal(key, "o");
        key = "untouched";
        assert_null(json_member(json, 12, &key));
        assert_null(json_member(json_get(json, "a"), 0, &key));
        assert_string_equal(key, "untouched");

        /* Fractions as they came. */
        text = json_format(json_get(json, "d"), false);
        assert_string_equal(text, "1.50");
}

static void test_parse_null(void **state _unused_)
{
        _cleanup_(json_freep) Json *json = parse("null", NULL);
        _cleanup_(freep) char *text = NULL;

        assert_non_null(json);
        assert_int_equal(json_type(json), JSON_NULL);
        assert_int_equal(json_type(NULL), JSON_NULL);
        assert_null(json_get(json, "a"));
        assert_int_equal(json_size(json), 0);
        assert_null(json_string(json));
        text = json_format(json, false);
        assert_string_equal(text, "null");
}

static void test_parse_refuses(void **state _unused_)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"18446744073709551616", "64 bits can't hold, at offset 0"},
                {"[1,-9223372036854775809]", "64 bits can't hold, at offset 3"},
                {"123456789012345678901234567890", "64 bits"},
                {"{\"a\\u0000b\":1}", "name with \\u0000 in it, at offset 1"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *error = NULL;

                assert_null(parse(cases[i].text, &error));
                assert_non_null(strstr(error, cases[i].why));
        }
}

static void test_build(void **state _unused_)
{
        _cleanup_(json_freep) Json *json = json_new_object();
        _cleanup_(freep) char *compact = NULL, *pretty = NULL;
        Json *array = json_new_array();

        assert_int_equal(json_set(json, "s", json_new_string("a/\"b\"\n\xc3\xa9")), 0);
        assert_int_equal(json_set(json, "w", json_new_string("a\xff")), 0);
        assert_int_equal(json_set(json, "d", json_new_number(0.1)), 0);
        assert_int_equal(json_set(json, "nan", json_new_number(NAN)), 0);
        assert_int_equal(json_set(json, "i", json_new_integer(INT64_MIN)), 0);
        assert_int_equal(json_set(json, "u", json_new_unsigned(UINT64_MAX)), 0);
        assert_int_equal(json_set(json, "b", json_new_boolean(false)), 0);
        assert_int_equal(json_set(json, "n", NULL), 0);
        assert_int_equal(json_append(array, NULL), 0);
        assert_int_equal(json_append(array, json_parse("null", 4, NULL)), 0);
        assert_int_equal(json_append(array, json_new_integer(1)), 0);
        assert_int_equal(json_set(json, "a", array), 0);
        assert_int_equal(json_set(json, "b", json_new_boolean(true)), 0);

        compact = json_format(json, false);
        assert_string_equal(compact,
                "{\"s\":\"a/\\\"b\\\"\\n\xc3\xa9\",\"w\":\"a\xef\xbf\xbd\",\"d\":0.1,\"nan\":null,"
                "\"i\":-9223372036854775808,\"u\":18446744073709551615,\"b\":true,\"n\":null,\"a\":[null,"
                "null,1]}");
        assert_int_equal(payload_check(compact, strlen(compact), NULL), 0);
        pretty = json_format(json, true);
        assert_non_null(strstr(pretty, "\n  \"d\": 0.1,\n"));
        assert_int_equal(payload_check(pretty, strlen(pretty), NULL), 0);
}

static int answer(const char *text, EnrolAnswer *ret, char **ret_error)
{
        size_t size = strlen(text);
        _cleanup_(freep) char *copy = malloc(size > 0 ? size : 1);

        assert_non_null(copy);
        memcpy(copy, text, size);
        return payload_parse_enrol_answer(copy, size, ret, ret_error);
}

static void test_enrol_success(void **state _unused_)
{
        static const char *const texts[] = {
                "{\"id\":\"dev-0123456789abcdefABCDEF01\",\"auth\":\"se\\/c\\u0072et\"}",
                " { \"auth\" : \"se/cret\" , \"more\" : [1] , \"id\" : \"dev-0123456789abcdefABCDEF01\" } "
                "\n",
                "{\"id\":\"dev-0123456789abcdefABCDEF01\",\"auth\":\"se/"
                "cret\",\"err\":null,\"msg\":\"welcome\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(enrol_answer_deinit) EnrolAnswer got = {};

                assert_int_equal(answer(texts[i], &got, NULL), 0);
                assert_string_equal(got.plug_id, "dev-0123456789abcdefABCDEF01");
                assert_string_equal(got.auth, "se/cret");
                assert_null(got.err);
                assert_null(got.msg);
        }
}

static void test_enrol_failure(void **state _unused_)
{
        static const struct {
                const char *text, *err, *msg;
        } cases[] = {
                {"{\"err\":403,\"msg\":\"no such template\"}", "403", "no such template"},
                {"{\"err\":0}", "0", NULL},
                {"{\"err\":-1.50,\"msg\":null}", "-1.50", NULL},
                {"{\"err\":\"E_PASS\",\"msg\":\"\"}", "\"E_PASS\"", ""},
                {"{\"err\":{\"code\":[1,2]},\"msg\":{\"de\":\"nein\"}}", "{\"code\":[1,2]}",
                        "{\"de\":\"nein\"}"},
                {"{\"err\":false,\"msg\":7}", "false", "7"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(enrol_answer_deinit) EnrolAnswer got = {};

                assert_int_equal(answer(cases[i].text, &got, NULL), 0);
                assert_null(got.plug_id);
                assert_null(got.auth);
                assert_string_equal(got.err, cases[i].err);
                if (cases[i].msg)
                        assert_string_equal(got.msg, cases[i].msg);
                else
                        assert_null(got.msg);
        }
}

#define ID "\"id\":\"dev-0123456789abcdefABCDEF01\""

static void test_enrol_nonsense(void **state _unused_)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"", "is empty"},
                {"<html>hidden</html>", "not JSON"},
                {"{" ID ",\"auth\":\"hidden\"", "not JSON"},
                {"null", "not an object"},
                {"["
                 "{\"err\":1}"
                 "]",
                        "not an object"},
                {"\"hidden\"", "not an object"},
                {"{}", "neither"},
                {"{\"msg\":\"hm\"}", "neither"},
                {"{\"err\":null}", "neither"},
                {"{" ID ",\"auth\":\"hidden\",\"err\":1}", "both"},
                {"{\"auth\":\"hidden\",\"err\":1}", "both"},
                {"{" ID "}", "an id, but no auth"},
                {"{\"auth\":\"hidden\"}", "an auth, but no id"},
                {"{\"id\":\"dev-hidden\",\"auth\":\"hidden\"}", "not a Plug-ID"},
                {"{\"id\":5,\"auth\":\"hidden\"}", "not a Plug-ID"},
                {"{\"id\":\"dev-0123456789abcdefABCDEF01\\u0000\",\"auth\":\"hidden\"}", "not a Plug-ID"},
                {"{" ID ",\"auth\":\"\"}", "empty"},
                {"{" ID ",\"auth\":12345}", "auth is not"},
                {"{" ID ",\"auth\":[\"hidden\"]}", "auth is not"},
                {"{" ID ",\"auth\":\"hidden\\u0000hidden\"}", "NUL"},
                {"{" ID ",\"auth\\u0000\":\"hidden\"}", "name with"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                EnrolAnswer got = {.err = (char *) "untouched"};
                _cleanup_(freep) char *error = NULL;

                if (answer(cases[i].text, &got, &error) != -EINVAL)
                        fail_msg("took %s", cases[i].text);
                if (!strstr(error, cases[i].why))
                        fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, error, cases[i].why);
                assert_null(strstr(error, "hidden"));
                assert_string_equal(got.err, "untouched");
                assert_int_equal(answer(cases[i].text, &got, NULL), -EINVAL);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_null),
                cmocka_unit_test(test_parse_refuses),
                cmocka_unit_test(test_build),
                cmocka_unit_test(test_enrol_success),
                cmocka_unit_test(test_enrol_failure),
                cmocka_unit_test(test_enrol_nonsense),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
