/* SPDX-License-Identifier: Apache-2.0 */

/* The platform's names: what the server or libmosquitto would refuse is refused here, in words. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "topic.h"
#include "util/text.h"

typedef int Check(const char *text, char **ret_error);

static void accepts(Check *check, const char *text)
{
        _cleanup_(freep) char *error = NULL;

        if (check(text, &error) != 0)
                fail_msg("refused \"%s\": %s", text, error);
        assert_null(error);
        assert_int_equal(check(text, NULL), 0);
}

/* The sentence has to be text that D-Bus carries, on one line, whatever the name was. */
static void refuses(Check *check, const char *text, const char *why)
{
        _cleanup_(freep) char *error = NULL;

        if (check(text, &error) != -EINVAL)
                fail_msg("took \"%s\"", text);
        assert_non_null(error);
        if (!strstr(error, why))
                fail_msg("\"%s\" does not say \"%s\"", error, why);
        assert_true(text_is_utf8(error, strlen(error)));
        assert_true(strlen(error) < 256);
        for (const char *p = error; *p; p++)
                assert_true((unsigned char) *p >= 0x20 && *p != 0x7f);
        assert_int_equal(check(text, NULL), -EINVAL);
}

static void test_plug_id(void **state _unused_)
{
        assert_true(topic_plug_id_valid("dev-0123456789abcdefABCDEF01"));
        assert_true(topic_plug_id_valid("mod-0123456789abcdefABCDEF01"));
        assert_true(topic_plug_id_valid("com-0123456789abcdefABCDEF01"));

        static const char *const wrong[] = {"", "d", "dev-", "dev-0123456789abcdefABCDEF0",
                "dev-0123456789abcdefABCDEF012", "dev-0123456789abcdefABCDEF0g",
                "Dev-0123456789abcdefABCDEF01", "xxx-0123456789abcdefABCDEF01",
                "dev_0123456789abcdefABCDEF01", "dev-0123456789abcdefABCDEF0/",
                " dev-0123456789abcdefABCDEF01", "dev-0123456789abcdefABCDEF01\n",
                "0123456789abcdefABCDEF01"};

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (topic_plug_id_valid(wrong[i]))
                        fail_msg("took \"%s\"", wrong[i]);
}

static void test_channel(void **state _unused_)
{
        char longest[CHANNEL_MAX + 2];

        memset(longest, 'x', sizeof(longest));
        longest[CHANNEL_MAX] = '\0';

        accepts(topic_check_channel, "a");
        accepts(topic_check_channel, "Greenhouse/temperature");
        accepts(topic_check_channel, "a b/ /c");
        accepts(topic_check_channel, "Türe/溫度/\xf0\x9f\x9a\xaa");
        accepts(topic_check_channel, "$SYS/x\"\\");
        accepts(topic_check_channel, longest);

        refuses(topic_check_channel, "", "the channel is empty");
        refuses(topic_check_channel, "/", "empty level");
        refuses(topic_check_channel, "/a", "empty level");
        refuses(topic_check_channel, "a/", "\"a/\" has an empty level");
        refuses(topic_check_channel, "a//b", "empty level");
        refuses(topic_check_channel, "a/+/b", "'+' or '#'");
        refuses(topic_check_channel, "a/#", "'+' or '#'");
        refuses(topic_check_channel, "a+b", "'+' or '#'");
        longest[CHANNEL_MAX] = 'x';
        longest[CHANNEL_MAX + 1] = '\0';
        refuses(topic_check_channel, longest, "longer than 200 bytes");
}

static void test_text(void **state _unused_)
{
        refuses(topic_check_channel, "a\nb", "control character");
        refuses(topic_check_channel, "a\x7f", "control character");
        refuses(topic_check_channel, "a\x01", "control character");
        refuses(topic_check_channel, "a\xc2\x80", "control character"); /* U+0080 */
        refuses(topic_check_channel, "a\xc2\x9f", "control character");
        accepts(topic_check_channel, "a\xc2\xa0");
        refuses(topic_check_channel, "a\xef\xbf\xbf", "no character"); /* U+FFFF */
        refuses(topic_check_channel, "a\xef\xbf\xbe", "no character");
        refuses(topic_check_channel, "a\xef\xb7\x90", "no character");     /* U+FDD0 */
        refuses(topic_check_channel, "a\xf0\x9f\xbf\xbf", "no character"); /* U+1FFFF */
        accepts(topic_check_channel, "a\xef\xbf\xbd");                     /* U+FFFD */
        accepts(topic_check_channel, "a\xef\xb7\x8f");
        refuses(topic_check_channel, "a\xff", "not UTF-8");
        refuses(topic_check_channel, "\xc3", "not UTF-8");
        refuses(topic_check_channel, "a\xc0\xaf", "not UTF-8");     /* overlong '/' */
        refuses(topic_check_channel, "a\xed\xa0\x80", "not UTF-8"); /* a surrogate */
        refuses(topic_check_channel, "\xf4\x90\x80\x80", "not UTF-8");
        /* Cut in the middle of a character for the sentence. */
        refuses(topic_check_channel, "/ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää",
                "…\" has an empty level");
        refuses(topic_check_channel,
                "/xääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää",
                "…\" has an empty level");
}

static void test_mask(void **state _unused_)
{
        accepts(topic_check_mask, "a/b");
        accepts(topic_check_mask, "#");
        accepts(topic_check_mask, "+");
        accepts(topic_check_mask, "+/+/#");
        accepts(topic_check_mask, "a/+/b");
        accepts(topic_check_mask, "a/#");

        refuses(topic_check_mask, "", "the mask is empty");
        refuses(topic_check_mask, "#/a", "last level");
        refuses(topic_check_mask, "a/#/", "last level");
        refuses(topic_check_mask, "a#", "a level of its own");
        refuses(topic_check_mask, "a/+b", "a level of its own");
        refuses(topic_check_mask, "a/##", "a level of its own");
        refuses(topic_check_mask, "a//#", "empty level");
        refuses(topic_check_mask, "+/\x02", "control character");
}

static void test_client_parts(void **state _unused_)
{
        _cleanup_(freep) char *longer = calloc(1, TOPIC_PASS_MAX + 2);

        assert_non_null(longer);
        memset(longer, 'x', TOPIC_PART_MAX);
        accepts(topic_check_hwid, longer);
        accepts(topic_check_name, longer);
        longer[TOPIC_PART_MAX] = 'x';
        refuses(topic_check_hwid, longer, "longer than 1000");
        refuses(topic_check_name, longer, "longer than 1000");

        accepts(topic_check_hwid, "x");
        accepts(topic_check_hwid, "10000000abcdef01");
        accepts(topic_check_hwid, "a+b#c d");
        refuses(topic_check_hwid, "", "empty");
        refuses(topic_check_hwid, "a/b", "'/'");
        refuses(topic_check_hwid, "a\tb", "control character");
        refuses(topic_check_hwid, "\x80", "not UTF-8");

        accepts(topic_check_thing_hwid, "x");
        refuses(topic_check_thing_hwid, "a+b", "MQTT topic");
        refuses(topic_check_thing_hwid, "a#", "MQTT topic");
        refuses(topic_check_thing_hwid, "a/b", "'/'");
        refuses(topic_check_thing_hwid, "", "empty");

        assert_int_equal(topic_check_name(NULL, NULL), 0);
        accepts(topic_check_name, "");
        accepts(topic_check_name, "green/house +#");
        refuses(topic_check_name, "a\rb", "control character");
}

static void test_pass(void **state _unused_)
{
        _cleanup_(freep) char *longer = calloc(1, TOPIC_PASS_MAX + 2);
        static const char *const wrong[] = {"", "hidden+hidden", "hidden#", "hidden\n", "hidden\xff"};

        assert_non_null(longer);
        accepts(topic_check_pass, "QUJD/REVG==");
        memset(longer, 'x', TOPIC_PASS_MAX);
        accepts(topic_check_pass, longer);
        longer[TOPIC_PASS_MAX] = 'x';
        refuses(topic_check_pass, longer, "longer than 4096");
        refuses(topic_check_pass, "hidden+hidden", "no MQTT topic can carry");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_(freep) char *error = NULL;

                assert_int_equal(topic_check_pass(wrong[i], &error), -EINVAL);
                assert_null(strstr(error, "hidden"));
        }
}

static void test_topics(void **state _unused_)
{
        static const char dev[] = "dev-0123456789abcdefABCDEF01", mod[] = "mod-0123456789abcdefABCDEF01";
        const struct {
                char *made;
                const char *expected;
        } topics[] = {
                {topic_client_id("HW", "my/name"), "HW/my/name"},
                {topic_client_id("HW", NULL), "HW"},
                {topic_client_id("HW", ""), "HW"},
                {topic_data(dev, "a/b"), "dev-0123456789abcdefABCDEF01/data/a/b"},
                {topic_enrol_thing(mod, "pa/ss"), "mod-0123456789abcdefABCDEF01/thing/pa/ss"},
                {topic_enrol_controller(mod, "HW", "pass"), "mod-0123456789abcdefABCDEF01/ctrl/HW/pass"},
                {topic_barrier(dev), "dev-0123456789abcdefABCDEF01/plugd/barrier"},
        };

        for (size_t i = 0; i < ELEMENTSOF(topics); i++) {
                assert_string_equal(topics[i].made, topics[i].expected);
                free(topics[i].made);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_plug_id),
                cmocka_unit_test(test_channel),
                cmocka_unit_test(test_text),
                cmocka_unit_test(test_mask),
                cmocka_unit_test(test_client_parts),
                cmocka_unit_test(test_pass),
                cmocka_unit_test(test_topics),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
