/* SPDX-License-Identifier: Apache-2.0 */

/* Secrets from wherever they are, never shown, and the HWID, which stays the same. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "credentials-internal.h"
#include "folder.h"

static void takes(const SecretConfig *config, const char *directory, const char *expected)
{
        _cleanup_(secret_freep) char *secret = NULL;
        _cleanup_(freep) char *error = NULL;

        if (credentials_secret(config, directory, "plugd.pass", &secret, &error) != 0)
                fail_msg("%s", error);
        assert_string_equal(secret, expected);
        assert_null(error);
}

static void refuses(const SecretConfig *config, const char *directory, int r, const char *why)
{
        _cleanup_(freep) char *error = NULL;
        char *secret = NULL;

        assert_int_equal(credentials_secret(config, directory, "plugd.pass", &secret, &error), r);
        assert_null(secret);
        assert_non_null(error);
        if (!strstr(error, why))
                fail_msg("\"%s\" does not say \"%s\"", error, why);
        assert_null(strstr(error, "hidden"));
        assert_int_equal(credentials_secret(config, directory, "plugd.pass", &secret, NULL), r);
}

static void test_secret_order(void **state _unused_)
{
        SecretConfig config = {};

        refuses(&config, NULL, -ENOENT, "there is no pass: neither pass nor pass_file");
        refuses(&config, folder, -ENOENT, in_folder("plugd.pass"));
        write_text(in_folder("plugd.pass"), "of systemd\n", 11, 0444);
        takes(&config, folder, "of systemd");
        assert_string_equal(logged, ""); /* the modes there are systemd's */
        config.file = (char *) in_folder("file");
        refuses(&config, folder, -ENOENT, config.file);
        write_text(config.file, "of a file\n", 10, 0600);
        takes(&config, folder, "of a file");
        config.text = (char *) "inline";
        takes(&config, folder, "inline");
        takes(&config, NULL, "inline");
}

static void test_secret_text(void **state _unused_)
{
        static char large[8192];
        SecretConfig file = {.file = (char *) in_folder("secret")};
        static const struct {
                const char *text;
                size_t size;
                const char *expected; /* NULL: refused */
                const char *why;
        } cases[] = {
                {"QUJD/+==", 8, "QUJD/+==", NULL},
                {"a b\n", 4, "a b", NULL},
                {"a\r\n", 3, "a", NULL},
                {" a \n\n", 5, " a ", NULL},
                {"\xff\n", 2, "\xff", NULL},
                {"", 0, NULL, "is empty"},
                {"\n", 1, NULL, "is empty"},
                {"hidden\0hidden", 13, NULL, "NUL"},
                {"hidden\0", 7, NULL, "NUL"},
                {"hidden\nhidden\n", 14, NULL, "more than one line"},
                {"hidden\rhidden", 13, NULL, "more than one line"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                write_text(file.file, cases[i].text, cases[i].size, 0600);
                if (cases[i].expected)
                        takes(&file, NULL, cases[i].expected);
                else
                        refuses(&file, NULL, -EINVAL, cases[i].why);
        }
        refuses(&(SecretConfig){.text = (char *) ""}, NULL, -EINVAL, "pass in the configuration is empty");
        refuses(&(SecretConfig){.text = (char *) "hidden\nhidden"}, NULL, -EINVAL, "more than one line");

        memset(large, 'h', sizeof(large));
        large[4096] = '\n';
        write_text(file.file, large, 4097, 0600);
        large[4096] = '\0';
        takes(&file, NULL, large);
        large[4096] = 'h';
        write_text(file.file, large, 4097, 0600);
        refuses(&file, NULL, -EINVAL, "longer than 4096");
        write_text(file.file, large, sizeof(large), 0600);
        refuses(&file, NULL, -EINVAL, "longer than 4096");
}

static void test_secret_file(void **state _unused_)
{
        SecretConfig file = {.file = (char *) in_folder("secret")};

        write_text(file.file, "hidden", 6, 0640);
        takes(&file, NULL, "hidden");
        assert_string_equal(logged, "");
        write_text(file.file, "hidden", 6, 0644);
        takes(&file, NULL, "hidden");
        assert_non_null(strstr(logged, "chmod o-rw "));
        assert_non_null(strstr(logged, file.file));
        assert_null(strstr(logged, "hidden"));

        file.file = folder;
        refuses(&file, NULL, -EISDIR, folder);
        file.file = (char *) in_folder("fifo");
        assert_int_equal(mkfifo(file.file, 0600), 0);
        refuses(&file, NULL, -EBADFD, "not a regular file");
        file.file = (char *) "/dev/zero";
        refuses(&file, NULL, -EBADFD, "not a regular file");
        assert_null(secret_free(NULL));
}

/* --- the HWID ---------------------------------------------------------------------------------------- */

static void test_hwid_configured(void **state _unused_)
{
        _cleanup_(freep) char *hwid = NULL, *error = NULL;

        assert_int_equal(credentials_hwid("my hwid", &hwid, NULL), 0);
        assert_string_equal(hwid, "my hwid");
        hwid = (free(hwid), NULL);
        assert_int_equal(credentials_hwid("my/hwid", &hwid, &error), -EINVAL);
        assert_non_null(strstr(error, "'/'"));
        assert_int_equal(credentials_hwid("", &hwid, &error), -EINVAL);
        assert_null(hwid);
}

static void test_hwid_serial(void **state _unused_)
{
        static const struct {
                const char *text;
                size_t size;
                const char *expected; /* NULL: not taken */
        } cases[] = {
                {"10000000abcdef01\0", 17, "10000000abcdef01"},
                {"10000000abcdef01", 16, "10000000abcdef01"},
                {"AB 1\n\0\0", 7, "AB 1"},
                {"0000000000000000\0", 17, NULL},
                {"\0\0\0", 3, NULL},
                {"", 0, NULL},
                {"a/b\0", 4, NULL},
                {"a\0b\0", 4, NULL},
                {"a\x01\0", 3, NULL},
                {"\xff\xfe\0", 3, NULL},
        };
        const char *const none[] = {in_folder("missing"), NULL};
        const char *const files[] = {in_folder("missing"), in_folder("serial"), NULL};
        _cleanup_(freep) char *fallback = NULL, *error = NULL;
        int r = hwid_discover(none, &fallback, &error);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *hwid = NULL;

                write_text(files[1], cases[i].text, cases[i].size, 0444);
                if (cases[i].expected) {
                        assert_int_equal(hwid_discover(files, &hwid, NULL), 0);
                        assert_string_equal(hwid, cases[i].expected);
                } else {
                        assert_int_equal(hwid_discover(files, &hwid, NULL), r);
                        if (r == 0)
                                assert_string_equal(hwid, fallback);
                }
        }
}

static void test_hwid_of_machine_id(void **state _unused_)
{
        const char *const none[] = {NULL};
        _cleanup_(freep) char *hwid = NULL, *error = NULL;
        char text[SD_ID128_STRING_MAX];
        sd_id128_t machine;
        int r;

        if (sd_id128_get_machine(&machine) < 0) {
                assert_true(hwid_discover(none, &hwid, &error) < 0);
                assert_non_null(strstr(error, "device.hwid"));
                return;
        }
        r = hwid_discover(none, &hwid, &error);
        assert_int_equal(r, 0);
        assert_int_equal(strlen(hwid), 32);
        assert_int_equal(strspn(hwid, "0123456789abcdef"), 32);
        assert_string_not_equal(hwid, sd_id128_to_string(machine, text));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                FOLDER_TEST(test_secret_order),
                FOLDER_TEST(test_secret_text),
                FOLDER_TEST(test_secret_file),
                FOLDER_TEST(test_hwid_configured),
                FOLDER_TEST(test_hwid_serial),
                FOLDER_TEST(test_hwid_of_machine_id),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
