/* SPDX-License-Identifier: Apache-2.0 */

/* JSON in and out: what strangers send, what the platform gets. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "payload-internal.h"
#include "util/text.h"

#define TEXT(literal) literal, sizeof(literal) - 1

typedef struct Case {
        const char *text;
        size_t size;
        const char *why; /* a part of the sentence */
} Case;

/* Hands the text over in memory of exactly its size, so that a sanitizer sees a byte read behind it. */
static int check(const char *text, size_t size, char **ret_error)
{
        _cleanup_(freep) char *copy = malloc(size > 0 ? size : 1);

        assert_non_null(copy);
        memcpy(copy, text, size);
        return payload_check(copy, size, ret_error);
}

static Json *parse(const char *text, char **ret_error)
{
        size_t size = strlen(text);
        _cleanup_(freep) char *copy = malloc(size > 0 ? size : 1);

        assert_non_null(copy);
        memcpy(copy, text, size);
        return json_parse(copy, size, ret_error);
}

static const Case good[] = {
        {TEXT("null"), NULL},
        {TEXT("true"), NULL},
        {TEXT(" \t\r\nfalse \t\r\n"), NULL},
        {TEXT("0"), NULL},
        {TEXT("-0"), NULL},
        {TEXT("-0.0"), NULL},
        {TEXT("1.50"), NULL},
        {TEXT("0.1e1"), NULL},
        {TEXT("1e400"), NULL},
        {TEXT("-1.5E-3"), NULL},
        {TEXT("1E+5"), NULL},
        {TEXT("123456789012345678901234567890"), NULL},
        {TEXT("\"\""), NULL},
        {TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), NULL},
        {TEXT("\"\\u0041\\u00e9\\ud83d\\uDEAA\""), NULL},
        {TEXT("\"\\u0000\""), NULL},
        {TEXT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\xaa\x7f\xef\xbf\xbf\""), NULL},
        {TEXT("[]"), NULL},
        {TEXT("[ ]"), NULL},
        {TEXT("{ }"), NULL},
        {TEXT("[1,[2,{}],\"\"]"), NULL},
        {TEXT("{\"a\":1,\"a\":2}"), NULL},
        {TEXT("{\"\":null}"), NULL},
        {TEXT(" { \"a\" : [ 1 , 2 ] , \"b\" : { } } "), NULL},
};

static const Case bad[] = {
        {TEXT(""), "it ends where a value is expected, at offset 0"},
        {TEXT("  "), "at offset 2"},
        {TEXT("nul"), "a value is expected, at offset 0"},
        {TEXT("nulL"), "a value"},
        {TEXT("True"), "a value"},
        {TEXT("nullx"), "more behind the value, at offset 4"},
        {TEXT("1 x"), "at offset 2"},
        {TEXT("[1]2"), "at offset 3"},
        {TEXT("1\0"), "at offset 1"},
        {TEXT("[1]\0"), "at offset 3"},
        {TEXT("\0"), "a value"},
        {TEXT("NaN"), "a value"},
        {TEXT("nan"), "a value"},
        {TEXT("Infinity"), "a value"},
        {TEXT("-Infinity"), "a digit is expected, at offset 1"},
        {TEXT("-"), "a digit"},
        {TEXT("+1"), "a value"},
        {TEXT(".5"), "a value"},
        {TEXT("1."), "a digit is expected, at offset 2"},
        {TEXT("1.e5"), "a digit"},
        {TEXT("1e"), "a digit"},
        {TEXT("1e+"), "a digit"},
        {TEXT("01"), "zeros in front, at offset 0"},
        {TEXT("-01"), "zeros in front, at offset 1"},
        {TEXT("0x10"), "more behind"},
        {TEXT("1_0"), "more behind"},
        {TEXT("1e5e5"), "more behind"},
        {TEXT("--1"), "a digit"},
        {TEXT("'a'"), "a value"},
        {TEXT("{'a':1}"), "double quotes"},
        {TEXT("{a:1}"), "double quotes"},
        {TEXT("{1:1}"), "double quotes"},
        {TEXT("{\"a\":1,}"), "double quotes"},
        {TEXT("{,}"), "double quotes"},
        {TEXT("{\"a\" 1}"), "a colon"},
        {TEXT("{\"a\"}"), "a colon"},
        {TEXT("{\"a\":}"), "a value"},
        {TEXT("{\"a\":1"), "a comma or '}'"},
        {TEXT("{\"a\":1]"), "a comma or '}'"},
        {TEXT("{"), "double quotes"},
        {TEXT("[1,]"), "a value"},
        {TEXT("[,1]"), "a value"},
        {TEXT("[1 2]"), "a comma or ']'"},
        {TEXT("[1}"), "a comma or ']'"},
        {TEXT("["), "it ends"},
        {TEXT("]"), "a value"},
        {TEXT("// c\n1"), "a value"},
        {TEXT("/* c */1"), "a value"},
        {TEXT("[1/**/]"), "a comma"},
        {TEXT("\v1"), "a value"},
        {TEXT("\f1"), "a value"},
        {TEXT("\xc2\xa0"
              "1"),
                "a value"},
        {TEXT("\xef\xbb\xbf"
              "1"),
                "a value is expected, at offset 0"},
        {TEXT("\"abc"), "does not end, at offset 4"},
        {TEXT("\"abc\\"), "does not end"},
        {TEXT("\"abc\\\""), "does not end"},
        {TEXT("\"a\nb\""), "control character"},
        {TEXT("\"a\tb\""), "control character"},
        {TEXT("\"a\0b\""), "control character"},
        {TEXT("\"\\x41\""), "no such escape"},
        {TEXT("\"\\'\""), "no such escape"},
        {TEXT("\"\\\0\""), "no such escape"},
        {TEXT("\"\\u12\""), "four hexadecimal"},
        {TEXT("\"\\u12g4\""), "four hexadecimal"},
        {TEXT("\"\\u"), "four hexadecimal"},
        {TEXT("\"\\ud800\""), "surrogate pair stands alone, at offset 1"},
        {TEXT("\"\\ud800x\""), "stands alone"},
        {TEXT("\"\\ud800\\n\""), "stands alone"},
        {TEXT("\"\\ud800\\u0041\""), "stands alone"},
        {TEXT("\"\\ud800\\ud800\""), "stands alone"},
        {TEXT("\"\\udc00\""), "stands alone"},
        {TEXT("\"\\ud800\\u"), "four hexadecimal"},
        {TEXT("\"\xff\""), "not UTF-8, at offset 1"},
        {TEXT("\"a\x80\""), "not UTF-8"},
        {TEXT("\"\xc3\""), "not UTF-8"},
        {TEXT("\"\xc3"), "not UTF-8"},
        {TEXT("\"\xe2\x82"), "not UTF-8"},
        {TEXT("\"\xc0\x80\""), "not UTF-8"},
        {TEXT("\"\xed\xa0\x80\""), "not UTF-8"},
        {TEXT("\"\xf4\x90\x80\x80\""), "not UTF-8"},
        {TEXT("{\"\xff\":1}"), "not UTF-8"},
};

static void test_check_takes(void **state _unused_)
{
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_(freep) char *error = NULL;

                if (check(good[i].text, good[i].size, &error) != 0)
                        fail_msg("refused %s: %s", good[i].text, error);
                assert_null(error);
        }
}

static void test_check_refuses(void **state _unused_)
{
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(freep) char *error = NULL;

                if (check(bad[i].text, bad[i].size, &error) != -EINVAL)
                        fail_msg("took %s (%zu bytes)", bad[i].text, bad[i].size);
                assert_non_null(error);
                if (!strstr(error, bad[i].why))
                        fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, error, bad[i].why);
                assert_true(text_is_utf8(error, strlen(error)));
                assert_int_equal(check(bad[i].text, bad[i].size, NULL), -EINVAL);

                /* And the parser, with the same words. */
                free(TAKE_PTR(error));
                assert_null(json_parse(bad[i].text, bad[i].size, &error));
                assert_non_null(strstr(error, bad[i].why));
                assert_null(json_parse(bad[i].text, bad[i].size, NULL));
        }
}

/* Every beginning of a good text, and every good text with a byte changed: no crash, and what the checker
 * takes the parser takes too. */
static void test_check_cut_and_changed(void **state _unused_)
{
        static const char text[] =
                "{\"a\":[1,-2.5e+3,\"\\ud83d\\udeaa\xc3\xa9\\n\",{\"b\":null}],\"c\":true,\"d\":false}";
        static const char bytes[] = "\0\x01 \"\\/u0-+.eE{}[]:,ntf\x7f\x80\xc3\xed\xf4\xff";
        char changed[sizeof(text)];
        unsigned taken = 0;

        for (size_t size = 0; size < sizeof(text) - 1; size++)
                assert_int_equal(check(text, size, NULL), -EINVAL);
        assert_int_equal(check(text, sizeof(text) - 1, NULL), 0);

        for (size_t at = 0; at < sizeof(text) - 1; at++)
                for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
                        memcpy(changed, text, sizeof(text));
                        changed[at] = bytes[i];
                        if (check(changed, sizeof(text) - 1, NULL) == 0) {
                                _cleanup_(freep) char *error = NULL;
                                _cleanup_(json_freep) Json *json =
                                        json_parse(changed, sizeof(text) - 1, &error);

                                if (!json)
                                        fail_msg("%s: %s", changed, error);
                                taken++;
                        }
                }
        assert_in_range(taken, 100, 1000);
}

static void test_limits(void **state _unused_)
{
        _cleanup_(freep) char *text = malloc(PAYLOAD_SIZE_MAX + 2), *error = NULL;
        _cleanup_(json_freep) Json *longest = NULL;

        assert_non_null(text);
        memset(text, '[', PAYLOAD_DEPTH_MAX + 2);
        memset(text + PAYLOAD_DEPTH_MAX, ']', PAYLOAD_DEPTH_MAX);
        assert_int_equal(check(text, 2 * PAYLOAD_DEPTH_MAX, NULL), 0);
        memset(text, '[', PAYLOAD_DEPTH_MAX + 2);
        memset(text + PAYLOAD_DEPTH_MAX + 1, ']', PAYLOAD_DEPTH_MAX + 1);
        assert_int_equal(check(text, 2 * PAYLOAD_DEPTH_MAX + 2, &error), -EINVAL);
        assert_non_null(strstr(error, "nested too deep"));
        /* A message may be one deeper than its data, and not two. */
        for (unsigned depth = PAYLOAD_DEPTH_MAX + 1; depth <= PAYLOAD_DEPTH_MAX + 2; depth++) {
                _cleanup_(json_freep) Json *json = NULL;

                memset(text, '[', depth);
                memset(text + depth, ']', depth);
                json = json_parse(text, 2 * depth, NULL);
                assert_int_equal(json != NULL, depth == PAYLOAD_DEPTH_MAX + 1);
                text[depth] = '1'; /* a scalar within */
                memset(text + depth + 1, ']', depth);
                json_free(json);
                json = json_parse(text, 2 * depth + 1, NULL);
                assert_int_equal(json != NULL, depth == PAYLOAD_DEPTH_MAX + 1);
        }
        /* A hostile one does not use up the stack. */
        memset(text, '[', SAMPLE_DATA_MAX);
        assert_int_equal(check(text, SAMPLE_DATA_MAX, NULL), -EINVAL);

        memset(text, ' ', PAYLOAD_SIZE_MAX + 1);
        text[0] = '1';
        assert_int_equal(check(text, SAMPLE_DATA_MAX, NULL), 0);
        assert_int_equal(check(text, SAMPLE_DATA_MAX + 1, &error), -EMSGSIZE);
        assert_non_null(strstr(error, "65537 bytes"));
        longest = json_parse(text, PAYLOAD_SIZE_MAX, NULL);
        assert_int_equal(json_integer(longest), 1);
        assert_null(json_parse(text, PAYLOAD_SIZE_MAX + 1, &error));
        assert_non_null(strstr(error, "1048577 bytes"));
}

static void test_message(void **state _unused_)
{
        static const char data[] = "{\"t\": 1.50, \"big\": 123456789012345678901234567890}";
        Sample sample = {.id = {0, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xff, 0x10, 0x0a},
                .at_msec = 1700000000000,
                .sensor = "",
                .channel = "a",
                .data = data,
                .data_size = sizeof(data) - 1};
        _cleanup_(bytes_deinit) Bytes bytes = {};

        payload_put_message(&bytes, &sample);
        bytes_put_u8(&bytes, 0);
        assert_false(bytes.failed);
        assert_string_equal((char *) bytes.data,
                "{\"id\":\"000123456789abcdefff100a\",\"data\":{\"t\": 1.50, \"big\": "
                "123456789012345678901234567890},\"at\":1700000000000}");

        /* Behind what is there, and at the ends of the numbers. */
        bytes.size--;
        sample.at_msec = 0;
        sample.data = "1";
        sample.data_size = 1;
        payload_put_message(&bytes, &sample);
        sample.at_msec = UINT64_MAX;
        payload_put_message(&bytes, &sample);
        bytes_put_u8(&bytes, 0);
        assert_non_null(strstr((char *) bytes.data, "}{\"id\":\"000123456789abcdefff100a\",\"data\":1}"
                                                    "{\"id\":\"000123456789abcdefff100a\","
                                                    "\"data\":1,\"at\":18446744073709551615}"));

        bytes.failed = true;
        size_t size = bytes.size;
        payload_put_message(&bytes, &sample);
        assert_int_equal(bytes.size, size);
}

/* The deepest and longest data there may be, in a message, can be read as a message. */
static void test_message_round_trip(void **state _unused_)
{
        _cleanup_(freep) char *data = malloc(SAMPLE_DATA_MAX);
        Sample sample = {
                .at_msec = 1, .sensor = "", .channel = "a", .data = data, .data_size = SAMPLE_DATA_MAX};
        _cleanup_(bytes_deinit) Bytes bytes = {};
        _cleanup_(json_freep) Json *json = NULL;

        assert_non_null(data);
        memset(data, ' ', SAMPLE_DATA_MAX);
        memset(data, '[', PAYLOAD_DEPTH_MAX);
        data[PAYLOAD_DEPTH_MAX] = '7';
        memset(data + SAMPLE_DATA_MAX - PAYLOAD_DEPTH_MAX, ']', PAYLOAD_DEPTH_MAX);
        assert_int_equal(check(data, SAMPLE_DATA_MAX, NULL), 0);
        payload_put_message(&bytes, &sample);
        json = json_parse((char *) bytes.data, bytes.size, NULL);
        assert_int_equal(json_type(json), JSON_OBJECT);
        assert_int_equal(json_integer(json_get(json, "at")), 1);
        assert_int_equal(json_type(json_get(json, "data")), JSON_ARRAY);
}

static void test_number(void **state _unused_)
{
        static const struct {
                double value;
                const char *text;
        } cases[] = {
                {0, "0"},
                {-0.0, "-0"},
                {3, "3"},
                {-17, "-17"},
                {21.5, "21.5"},
                {0.1, "0.1"},
                {0.1 + 0.2, "0.30000000000000004"},
                {1.0 / 3, "0.3333333333333333"},
                {100000, "100000"},
                {1700000000000, "1700000000000"},
                {999999999999999, "999999999999999"},
                {9007199254740991, "9007199254740991"},
                {9007199254740992, "9007199254740992"},
                {1e300, "1e+300"},
                {1e-7, "1e-07"},
                {DBL_MAX, "1.7976931348623157e+308"},
                {-DBL_MAX, "-1.7976931348623157e+308"},
                {DBL_MIN, "2.2250738585072014e-308"},
                {5e-324, "5e-324"},
        };
        char buffer[32] = "untouched";

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(payload_format_number(buffer, cases[i].value), 0);
                assert_string_equal(buffer, cases[i].text);
                assert_int_equal(check(buffer, strlen(buffer), NULL), 0);
        }
        strcpy(buffer, "untouched");
        assert_int_equal(payload_format_number(buffer, NAN), -EINVAL);
        assert_int_equal(payload_format_number(buffer, INFINITY), -EINVAL);
        assert_int_equal(payload_format_number(buffer, -INFINITY), -EINVAL);
        assert_string_equal(buffer, "untouched");
}

static uint64_t random_bits(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

static void test_number_reads_back(void **state _unused_)
{
        uint64_t seed = 88172645463325252;

        for (unsigned i = 0; i < 100000; i++) {
                uint64_t bits = random_bits(&seed);
                char buffer[32];
                double value;

                if (i % 4 == 0)
                        bits &= UINT64_C(0x800fffffffffffff); /* subnormal */
                memcpy(&value, &bits, sizeof(value));
                if (payload_format_number(buffer, value) < 0) {
                        assert_false(isfinite(value));
                        continue;
                }
                assert_true(strtod(buffer, NULL) == value);
                assert_true(strlen(buffer) < 26);
        }
}

/* Other locales write 1,5, or 1٫5. */
static void test_number_in_a_locale(void **state _unused_)
{
        static const char *const texts[][2] = {{"1.5", "1.5"}, {"-1,5e-27", "-1.5e-27"},
                {"1\xd9\xab"
                 "5",
                        "1.5"},
                {"1e+300", "1e+300"}, {"-0", "-0"}};
        char buffer[32];

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                payload_put_point(buffer, texts[i][0]);
                assert_string_equal(buffer, texts[i][1]);
        }
}

static void test_quote(void **state _unused_)
{
        static const struct {
                const char *text, *quoted;
        } cases[] = {
                {"", "\"\""},
                {"a/b 'c'", "\"a/b 'c'\""},
                {"\"\\\b\f\n\r\t", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
                {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
                {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\xaa", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\xaa\""},
                {"a\xff"
                 "b",
                        "\"a\\ufffdb\""},
                {"\xe2\x82", "\"\\ufffd\\ufffd\""},
                {"\xc3", "\"\\ufffd\""},
                {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *quoted = payload_quote(cases[i].text);
                _cleanup_(json_freep) Json *json = NULL;

                assert_string_equal(quoted, cases[i].quoted);
                json = parse(quoted, NULL);
                if (text_is_utf8(cases[i].text, strlen(cases[i].text)))
                        assert_string_equal(json_string(json), cases[i].text);
                else
                        assert_non_null(json_string(json));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_check_takes),
                cmocka_unit_test(test_check_refuses),
                cmocka_unit_test(test_check_cut_and_changed),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_message),
                cmocka_unit_test(test_message_round_trip),
                cmocka_unit_test(test_number),
                cmocka_unit_test(test_number_reads_back),
                cmocka_unit_test(test_number_in_a_locale),
                cmocka_unit_test(test_quote),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
