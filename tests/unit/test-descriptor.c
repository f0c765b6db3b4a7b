/* SPDX-License-Identifier: Apache-2.0 */

/* What a plugin says of itself: taken as it is where it is right, refused with a sentence where it isn't. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "descriptor.h"
#include "group.h"
#include "util/text.h"

static Descriptor *parse(const char *text)
{
        _cleanup_(freep) char *error = NULL;
        Descriptor *descriptor = descriptor_parse(text, strlen(text), &error);

        if (!descriptor)
                fail_msg("%s", error);
        assert_null(error);
        return descriptor;
}

static void test_whole(void **state)
{
        _cleanup_(descriptor_freep) Descriptor *descriptor =
                parse("{\"abi\":1,\"name\":\"sim\",\"description\":\"Made up\",\"more\":[1],"
                      "\"options\":[{\"name\":\"wave\",\"type\":\"string\",\"default\":\"sine\",\"choices\":"
                      "[\"sine\","
                      "\"a b\"],\"required\":false,\"help\":\"How\"},"
                      "{\"name\":\"n-1_\",\"type\":\"integer\",\"min\":-1,\"max\":9.5,\"unit\":\"s\","
                      "\"required\":true},"
                      "{\"name\":\"lines\",\"type\":\"groups\",\"options\":[{\"name\":\"name\",\"type\":"
                      "\"boolean\","
                      "\"default\":\"false\"}]}],"
                      "\"channels\":[{\"name\":\"a/b\",\"type\":\"json\",\"unit\":\"°C\",\"readable\":true,"
                      "\"writable\":true,\"help\":\"What\"},{\"name\":\"c\",\"type\":\"number\"}]}");
        const struct plugd_option *option = descriptor->options;
        const struct plugd_channel *channel = descriptor->channels;

        (void) state;
        assert_string_equal(descriptor->name, "sim");
        assert_string_equal(descriptor->description, "Made up");
        assert_int_equal(descriptor->n_options, 3);
        assert_string_equal(option->name, "wave");
        assert_int_equal(option->type, PLUGD_STRING);
        assert_int_equal(option->flags, 0);
        assert_string_equal(option->fallback, "sine");
        assert_string_equal(option->choices, "sine|a b");
        assert_string_equal(option->help, "How");
        assert_null(option->unit);
        option++;
        assert_int_equal(option->flags, PLUGD_REQUIRED);
        assert_true(option->min == -1 && option->max == 9.5);
        assert_string_equal(option->unit, "s");
        assert_null(option->fallback);
        assert_null(option->choices);
        option++;
        assert_int_equal(option->type, PLUGD_GROUPS);
        assert_int_equal(option->n_options, 1);
        assert_string_equal(option->options[0].name, "name"); /* in a group it is the plugin's to use */
        assert_ptr_equal(descriptor_find_option(descriptor->options, 3, "lines"), option);
        assert_null(descriptor_find_option(descriptor->options, 3, "name"));

        assert_int_equal(descriptor->n_channels, 2);
        assert_string_equal(channel->name, "a/b");
        assert_int_equal(channel->type, PLUGD_JSON);
        assert_string_equal(channel->unit, "°C");
        assert_int_equal(channel->flags, PLUGD_READABLE | PLUGD_WRITABLE);
        assert_int_equal(channel[1].flags, 0);
}

static void test_least(void **state)
{
        _cleanup_(descriptor_freep) Descriptor *descriptor = parse("{\"abi\":1,\"name\":\"x\"}");
        _cleanup_(descriptor_freep) Descriptor *empty =
                parse("{\"abi\":1,\"name\":\"x\",\"options\":[],\"channels\":[]}");

        (void) state;
        assert_string_equal(descriptor->description, "");
        assert_int_equal(descriptor->n_options, 0);
        assert_int_equal(descriptor->n_channels, 0);
        assert_int_equal(empty->n_options, 0);
}

static void assert_refused(const char *text, size_t size, const char *sentence)
{
        _cleanup_(freep) char *error = NULL;

        assert_null(descriptor_parse(text, size, &error));
        assert_non_null(error);
        if (!strstr(error, sentence))
                fail_msg("%s: expected %s, got %s", text, sentence, error);
        assert_null(descriptor_parse(text, size, NULL)); /* the sentence may be unwanted */
}

static void test_refused(void **state)
{
        static const struct {
                const char *text, *sentence;
        } cases[] = {
                {"", "can't be read"},
                {"plain words", "can't be read"},
                {"{\"abi\":1,\"name\":\"x\"} and more", "can't be read"},
                {"{\"abi\":1,\"name\":\"\xff\"}", "can't be read"},
                {"[]", "it has no name"},
                {"null", "it has no name"},
                {"{\"abi\":1}", "it has no name"},
                {"{\"abi\":1,\"name\":5}", "it has no name"},
                {"{\"abi\":1,\"name\":\"\"}", "its name has to have 1 to 64"},
                {"{\"name\":\"x\"}", "the plugin x was built for another plugd"},
                {"{\"abi\":2,\"name\":\"x\"}", "the plugin x was built for another plugd: its abi is not 1"},
                {"{\"abi\":\"1\",\"name\":\"x\"}", "was built for another plugd"},
                {"{\"abi\":4294967297,\"name\":\"x\"}", "was built for another plugd"},
                {"{\"abi\":1,\"name\":\"x\",\"description\":5}", "\"description\" is no string"},
                {"{\"abi\":1,\"name\":\"x\",\"options\":{}}", "its options are no list"},
                {"{\"abi\":1,\"name\":\"x\",\"options\":5}", "its options are no list"},
                {"{\"abi\":1,\"name\":\"x\",\"channels\":\"a\"}", "its channels are no list"},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_refused(cases[i].text, strlen(cases[i].text), cases[i].sentence);
        assert_refused("{\"abi\":1,\0\"name\":\"x\"}", 20, "can't be read");
}

static void test_refused_options(void **state)
{
        static const struct {
                const char *text, *sentence;
        } cases[] = {
                {"5", "option number 1 has no name"},
                {"{}", "option number 1 has no name"},
                {"{\"name\":\"\",\"type\":\"string\"}", "\"\" can't be the name of an option"},
                {"{\"name\":\"a b\",\"type\":\"string\"}", "can't be the name of an option"},
                {"{\"name\":\"1a\",\"type\":\"string\"}", "can't be the name of an option"},
                {"{\"name\":\"a.b\",\"type\":\"string\"}", "can't be the name of an option"},
                {"{\"name\":\"a\"}", "a has no type"},
                {"{\"name\":\"a\",\"type\":\"float\"}", "a has no type that is known"},
                {"{\"name\":\"a\",\"type\":2}", "a has no type"},
                {"{\"name\":\"a\",\"type\":\"json\"}", "of the type json, which is for channels"},
                {"{\"name\":\"a\",\"type\":\"integer\"},{\"name\":\"a\",\"type\":\"string\"}",
                        "it has the option a twice"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"default\":5}", "\"default\" is no string"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"default\":\"five\"}",
                        "the default \"five\" of option a is no integer"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"default\":\"5\",\"min\":6,\"max\":7}",
                        "the default of option a: 5 is out of range (6 to 7)"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"default\":\"0x75\",\"min\":118,\"max\":119}",
                        "the default of option a: 0x75 is out of range (0x76 to 0x77)"},
                {"{\"name\":\"a\",\"type\":\"number\",\"default\":\"nan\"}", "is no number"},
                {"{\"name\":\"a\",\"type\":\"boolean\",\"default\":\"yes\"}", "is no boolean"},
                {"{\"name\":\"a\",\"type\":\"groups\",\"default\":\"x\"}", "is no groups"},
                {"{\"name\":\"a\",\"type\":\"string\",\"default\":\"x\",\"choices\":[\"y\",\"z\"]}",
                        "the default of option a: \"x\" is none of y|z"},
                {"{\"name\":\"a\",\"type\":\"string\",\"choices\":\"x\"}",
                        "the choices of option a are no list"},
                {"{\"name\":\"a\",\"type\":\"string\",\"choices\":[]}",
                        "the choices of option a are no list"},
                {"{\"name\":\"a\",\"type\":\"string\",\"choices\":[1]}",
                        "the choices of option a are no list"},
                {"{\"name\":\"a\",\"type\":\"string\",\"choices\":[\"a|b\"]}",
                        "the choices of option a are no list"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"choices\":[\"a\"]}",
                        "the choices of option a are no list"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"min\":\"1\"}", "\"min\" is no number"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"min\":2,\"max\":1}", "least above its most"},
                {"{\"name\":\"a\",\"type\":\"integer\",\"required\":1}", "\"required\" is neither"},
                {"{\"name\":\"a\",\"type\":\"groups\",\"options\":[{\"name\":\"b\",\"type\":\"groups\"}]}",
                        "there can be no groups in groups"},
                {"{\"name\":\"a\",\"type\":\"groups\",\"options\":[{\"name\":\"b\"}]}", "b has no type"},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text =
                        text_printf("{\"abi\":1,\"name\":\"x\",\"options\":[%s]}", cases[i].text);

                assert_refused(text, strlen(text), cases[i].sentence);
        }
}

/* All of them, those that do nothing yet too: a plugin of today works tomorrow. */
static void test_host_keys(void **state)
{
        size_t n = 0;

        (void) state;
        for (; group_host_keys[n]; n++) {
                _cleanup_(freep) char *text = text_printf(
                        "{\"abi\":1,\"name\":\"x\",\"options\":[{\"name\":\"%s\",\"type\":\"string\"}]}",
                        group_host_keys[n]);
                _cleanup_(freep) char *sentence = text_printf(
                        "the plugin x can't be used: it calls an option \"%s\"", group_host_keys[n]);

                assert_refused(text, strlen(text), sentence);
        }
        assert_int_equal(n, 9);
}

static void test_refused_channels(void **state)
{
        static const struct {
                const char *text, *sentence;
        } cases[] = {
                {"null", "channel number 1 has no name"},
                {"{\"type\":\"number\"}", "channel number 1 has no name"},
                {"{\"name\":\"\",\"type\":\"number\"}", "the plugin x is ill-described"},
                {"{\"name\":\"a/#\",\"type\":\"number\"}", "the plugin x is ill-described"},
                {"{\"name\":\"a\\u0000b\",\"type\":\"number\"}", "channel number 1 has no name"},
                {"{\"name\":\"a\"}", "a has no type"},
                {"{\"name\":\"a\",\"type\":\"groups\"}", "of the type groups, which is for options"},
                {"{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"a\",\"type\":\"number\"}",
                        "it has the channel a twice"},
                {"{\"name\":\"a\",\"type\":\"number\",\"readable\":\"yes\"}", "\"readable\" is neither"},
                {"{\"name\":\"a\",\"type\":\"number\",\"unit\":1}", "\"unit\" is no string"},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text =
                        text_printf("{\"abi\":1,\"name\":\"x\",\"channels\":[%s]}", cases[i].text);

                assert_refused(text, strlen(text), cases[i].sentence);
        }
}

/* --- devices ------------------------------------------------------------------------------------------- */

static const char with_devices[] =
        "{\"abi\":1,\"name\":\"x\",\"options\":[{\"name\":\"bus\",\"type\":\"integer\"},"
        "{\"name\":\"chip\",\"type\":\"string\"},{\"name\":\"loud\",\"type\":\"boolean\"},"
        "{\"name\":\"lines\",\"type\":\"groups\",\"options\":[{\"name\":\"in\",\"type\":\"string\"}]}],"
        "\"devices\":[%s]}";

static char *describe_devices(const char *devices)
{
        const char *mark = strstr(with_devices, "%s");

        return text_printf("%.*s%s%s", (int) (mark - with_devices), with_devices, devices, mark + 2);
}

static void test_devices(void **state)
{
        _cleanup_(freep) char *text = describe_devices(
                "\"/dev/i2c-{bus}\",\"/dev/{chip}\",\"/dev/tty*\",\"/dev/a..b/{bus}-{chip}?\"");
        _cleanup_(descriptor_freep) Descriptor *descriptor = parse(text);
        _cleanup_(descriptor_freep) Descriptor *none = parse("{\"abi\":1,\"name\":\"x\",\"devices\":[]}");

        (void) state;
        assert_int_equal(descriptor->n_devices, 4);
        assert_string_equal(descriptor->devices[0], "/dev/i2c-{bus}");
        assert_string_equal(descriptor->devices[3], "/dev/a..b/{bus}-{chip}?");
        assert_int_equal(none->n_devices, 0);
}

static void test_refused_devices(void **state)
{
        static const struct {
                const char *text, *sentence;
        } cases[] = {
                {"5", "device number 1 is no string"},
                {"\"/dev/a\",null", "device number 2 is no string"},
                {"\"\"", "device number 1: \"\" does not begin with /dev/"},
                {"\"/dev/\"", "does not begin with /dev/"},
                {"\"/devices\"", "does not begin with /dev/"},
                {"\"dev/x\"", "does not begin with /dev/"},
                {"\"/etc/shadow\"", "does not begin with /dev/"},
                {"\"{chip}\"", "does not begin with /dev/"},
                {"\"/dev/../etc/shadow\"", "has .. in it"},
                {"\"/dev/x/..\"", "has .. in it"},
                {"\"/dev/[a-z]\"", "only * and ? stand for others"},
                {"\"/dev/\\\\x\"", "only * and ? stand for others"},
                {"\"/dev/a b\"", "no blank"},
                {"\"/dev/\\u00e4\"", "printable characters"},
                {"\"/dev/{none}\"", "there is no option \"none\""},
                {"\"/dev/{}\"", "there is no option \"\""},
                {"\"/dev/{in}\"", "there is no option \"in\""}, /* of a group */
                {"\"/dev/{loud}\"", "the option \"loud\" is neither an integer nor a string"},
                {"\"/dev/{lines}\"", "the option \"lines\" is neither"},
                {"\"/dev/{bus\"", "a brace without the other one"},
                {"\"/dev/bus}\"", "a brace without the other one"},
                {"\"/dev/{bu{s}\"", "a brace without the other one"},
        };
        _cleanup_(freep) char *long_one = text_printf("\"/dev/%0*d\"", DEVICE_PATTERN_MAX, 0);
        _cleanup_(freep) char *many = strdup("\"/dev/x\""), *text = NULL;

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *whole = describe_devices(cases[i].text);

                assert_refused(whole, strlen(whole), cases[i].sentence);
        }
        text = describe_devices(long_one);
        assert_refused(text, strlen(text), "at most 256");
        for (unsigned i = 0; i < DEVICES_MAX; i++)
                text_set(&many, "%s,\"/dev/x\"", many);
        free(text);
        text = describe_devices(many);
        assert_refused(text, strlen(text), "its devices are no list of at most 16");
        free(text);
        text = strdup("{\"abi\":1,\"name\":\"x\",\"devices\":\"/dev/x\"}");
        assert_refused(text, strlen(text), "its devices are no list");
}

static int expand(const char *pattern, const char *chip, char **ret)
{
        struct plugd_group options = {0};
        int r;

        group_add(&options, "bus", &(struct plugd_value){.type = PLUGD_INTEGER, .integer = -1});
        if (chip)
                group_add(&options, "chip", &(struct plugd_value){.type = PLUGD_STRING, .string = chip});
        r = device_expand(pattern, &options, ret);
        group_deinit(&options);
        return r;
}

static void test_expanded_devices(void **state)
{
        static const struct {
                const char *pattern, *chip, *expected;
        } good[] = {
                {"/dev/mem?*", NULL, "/dev/mem?*"},
                {"/dev/i2c-{bus}", NULL, "/dev/i2c--1"},
                {"/dev/{chip}", "gpiochip0", "/dev/gpiochip0"},
                {"/dev/{chip}", "/dev/gpiochip0", "/dev/gpiochip0"},
                {"/dev/{chip}", "serial/by-id/usb-Inc..-if00", "/dev/serial/by-id/usb-Inc..-if00"},
                {"/dev/{chip}*-{bus}.{chip}", "a", "/dev/a*--1.a"},
                {"/dev/{chip}", "*", "/dev/\\*"}, /* stands for itself */
                {"/dev/{chip}", "?[a]\\{bus}", "/dev/\\?\\[a\\]\\\\{bus}"},
        };
        static const struct {
                const char *pattern, *chip;
                int error;
        } bad[] = {
                {"/dev/{chip}", NULL, -ENODATA},
                {"/dev/{chip}", "", -ENODATA},
                {"/dev/{chip}", "/dev/", -ENODATA},
                {"/dev/{chip}", "/etc/shadow", -EINVAL},
                {"/dev/{chip}", "/", -EINVAL},
                {"/dev/{chip}", "/dev//etc", -EINVAL},
                {"/dev/x{chip}", "/dev/sda", -EINVAL},
                {"/dev/{chip}", "..", -EINVAL},
                {"/dev/{chip}", "../etc/shadow", -EINVAL},
                {"/dev/{chip}", "/dev/../etc/shadow", -EINVAL},
                {"/dev/{chip}", "x/../../etc", -EINVAL},
                {"/dev/x/{chip}", "..", -EINVAL},
                {"/dev/.{chip}/x", ".", -EINVAL},
                {"/dev/{chip}{chip}/x", ".", -EINVAL},
        };
        _cleanup_(freep) char *long_one = text_printf("%0*d", DEVICE_PATH_MAX, 0);
        char *text = NULL;

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(expand(good[i].pattern, good[i].chip, &text), 0);
                assert_string_equal(text, good[i].expected);
                free(TAKE_PTR(text));
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (expand(bad[i].pattern, bad[i].chip, &text) != bad[i].error)
                        fail_msg("%s with %s", bad[i].pattern, bad[i].chip ? bad[i].chip : "nothing");
        assert_int_equal(expand("/dev/{chip}", long_one, &text), -EINVAL);
        memset(long_one, '*', DEVICE_PATH_MAX);
        long_one[DEVICE_PATH_MAX / 2] = '\0'; /* too long only with what makes each stand for itself */
        assert_int_equal(expand("/dev/{chip}", long_one, &text), -EINVAL);
        assert_null(text);
}

static void test_too_many(void **state)
{
        _cleanup_(freep) char *options = strdup(""), *channels = strdup(""), *text = NULL;

        (void) state;
        for (unsigned i = 0; i <= DESCRIPTOR_OPTIONS_MAX; i++)
                text_set(&options, "%s%s{\"name\":\"o%u\",\"type\":\"string\"}", options, i > 0 ? "," : "",
                        i);
        for (unsigned i = 0; i <= DESCRIPTOR_CHANNELS_MAX; i++)
                text_set(&channels, "%s%s{\"name\":\"o%u\",\"type\":\"string\"}", channels, i > 0 ? "," : "",
                        i);
        text_set(&text, "{\"abi\":1,\"name\":\"x\",\"options\":[%s]}", options);
        assert_refused(text, strlen(text), "its options are no list of at most 64");
        text_set(&text, "{\"abi\":1,\"name\":\"x\",\"channels\":[%s]}", channels);
        assert_refused(text, strlen(text), "its channels are no list of at most 256");
}

/* Cut anywhere: refused, and nothing leaks (the sanitizers look on). */
static void test_cut(void **state)
{
        static const char text[] =
                "{\"abi\":1,\"name\":\"x\",\"description\":\"d\",\"options\":[{\"name\":\"a\",\"type\":"
                "\"groups\",\"help\":\"h\",\"options\":[{\"name\":\"b\",\"type\":\"string\","
                "\"choices\":[\"u\",\"v\"],\"default\":\"u\"}]}],\"channels\":[{\"name\":\"c\","
                "\"type\":\"number\",\"unit\":\"s\"}],\"devices\":[\"/dev/a\",\"/dev/b\"]}";

        (void) state;
        descriptor_free(parse(text));
        for (size_t size = 0; size < strlen(text); size++)
                assert_refused(text, size, "can't be read");
}

static int value_of(uint32_t type, const char *text, struct plugd_value *ret)
{
        const struct plugd_option option = {.name = "x", .type = type};

        return descriptor_parse_value(&option, text, ret);
}

static void test_values(void **state)
{
        static const char *const bad_integers[] = {
                "", " 1", "1 ", "1.0", "0x", "--1", "+", "five", "9223372036854775808", "1e3", "0xg"};
        static const char *const bad_numbers[] = {
                "", " 1", "nan", "inf", "0x10", "1e999", "1..2", "-", "1,5"};
        struct plugd_value value = {.type = 99};

        (void) state;
        assert_int_equal(value_of(PLUGD_INTEGER, "-9223372036854775808", &value), 0);
        assert_int_equal(value.type, PLUGD_INTEGER);
        assert_true(value.integer == INT64_MIN);
        assert_int_equal(value_of(PLUGD_INTEGER, "0x76", &value), 0);
        assert_int_equal(value.integer, 0x76);
        assert_int_equal(value_of(PLUGD_INTEGER, "010", &value), 0);
        assert_int_equal(value.integer, 10); /* as libconfig reads it */
        assert_int_equal(value_of(PLUGD_NUMBER, "-1.5e3", &value), 0);
        assert_true(value.number == -1500);
        assert_int_equal(value_of(PLUGD_NUMBER, "7", &value), 0);
        assert_int_equal(value_of(PLUGD_BOOLEAN, "true", &value), 0);
        assert_int_equal(value.boolean, 1);
        assert_int_equal(value_of(PLUGD_STRING, "", &value), 0);
        assert_string_equal(value.string, "");

        value.type = 99;
        for (size_t i = 0; i < ELEMENTSOF(bad_integers); i++)
                assert_int_equal(value_of(PLUGD_INTEGER, bad_integers[i], &value), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(bad_numbers); i++)
                assert_int_equal(value_of(PLUGD_NUMBER, bad_numbers[i], &value), -EINVAL);
        assert_int_equal(value_of(PLUGD_BOOLEAN, "1", &value), -EINVAL);
        assert_int_equal(value_of(PLUGD_GROUPS, "()", &value), -EINVAL);
        assert_int_equal(value_of(PLUGD_JSON, "1", &value), -EINVAL);
        assert_int_equal(value.type, 99);
}

static void test_limits(void **state)
{
        const struct plugd_option any = {.name = "x", .type = PLUGD_INTEGER};
        const struct plugd_option some = {
                .name = "x", .type = PLUGD_NUMBER, .min = -1, .max = 1.5, .unit = "s"};
        const struct plugd_option word = {.name = "x", .type = PLUGD_STRING, .choices = "on|off"};
        _cleanup_(freep) char *error = NULL;
        struct plugd_value value = {.type = PLUGD_INTEGER, .integer = INT64_MAX};

        (void) state;
        assert_int_equal(descriptor_check_value(&any, &value, &error), 0);
        value = (struct plugd_value){.type = PLUGD_NUMBER, .number = 1.5};
        assert_int_equal(descriptor_check_value(&some, &value, &error), 0);
        value.number = -1;
        assert_int_equal(descriptor_check_value(&some, &value, &error), 0);
        assert_null(error);
        value.number = 1.6;
        assert_int_equal(descriptor_check_value(&some, &value, &error), -EINVAL);
        assert_string_equal(error, "1.6 is out of range (-1 to 1.5 s)");
        value = (struct plugd_value){.type = PLUGD_STRING, .string = "off"};
        assert_int_equal(descriptor_check_value(&word, &value, &error), 0);
        static const char *const wrong[] = {"o", "offf", "", "on|off", "|"};
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                value.string = wrong[i];
                assert_int_equal(descriptor_check_value(&word, &value, &error), -EINVAL);
        }
        assert_string_equal(error, "\"|\" is none of on|off");
        assert_string_equal(descriptor_type_name(PLUGD_GROUPS), "groups");
        assert_string_equal(descriptor_type_name(0), "unknown");
        assert_string_equal(descriptor_type_name(7), "unknown");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),
                cmocka_unit_test(test_least),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_refused_options),
                cmocka_unit_test(test_host_keys),
                cmocka_unit_test(test_refused_channels),
                cmocka_unit_test(test_devices),
                cmocka_unit_test(test_refused_devices),
                cmocka_unit_test(test_expanded_devices),
                cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_limits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
