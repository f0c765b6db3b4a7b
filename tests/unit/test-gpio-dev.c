/* SPDX-License-Identifier: Apache-2.0 */

/* What the gpio plugin takes from the system's files: chips by number, links, and who may open what. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpio-lines.h"

#define OTHER_UID 1234 /* nobody of ours */

static char folder[64];

static char *at(const char *name)
{
        static char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", folder, name);
        return path;
}

static void put(const char *name, const char *text)
{
        FILE *file = fopen(at(name), "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void test_list(void **state)
{
        static const char *const there[] = {"gpiochip10", "gpiochip2", "gpiochip0", "gpio-sim.0", "gpiochip",
                "gpiochip1x", "gpiochip123456789012345678901234567890"};
        char(*names)[GPIO_NAME_MAX];

        (void) state;
        for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
                put(there[i], "");
        assert_int_equal(gpio_dev_list(folder, &names), 3);
        assert_string_equal(names[0], "gpiochip0");
        assert_string_equal(names[1], "gpiochip2");
        assert_string_equal(names[2], "gpiochip10");
        free(names);
        assert_int_equal(gpio_dev_list(at("nowhere"), &names), 0);
        free(names);
}

static void test_resolve(void **state)
{
        char name[GPIO_NAME_MAX] = "untouched";

        (void) state;
        assert_int_equal(gpio_dev_resolve(at("gpiochip4"), name), -ENOENT);
        put("gpiochip0", "");
        assert_int_equal(symlink("gpiochip0", at("gpiochip4")), 0);
        assert_int_equal(symlink("gpiochip4", at("buttons")), 0);
        put("other", "");
        assert_int_equal(gpio_dev_resolve(at("other"), name), -ENOTTY);
        assert_string_equal(name, "untouched");
        assert_int_equal(gpio_dev_resolve(at("gpiochip0"), name), 0);
        assert_string_equal(name, "gpiochip0");
        name[0] = '\0';
        assert_int_equal(gpio_dev_resolve(at("gpiochip4"), name), 0);
        assert_string_equal(name, "gpiochip0");
        name[0] = '\0';
        assert_int_equal(gpio_dev_resolve(at("buttons"), name), 0);
        assert_string_equal(name, "gpiochip0");
}

/* As somebody who may not do everything, where the test runs as root. */
static const char *explain(const char *name)
{
        static char words[512];
        uid_t before = geteuid();
        char *path = strdup(at(name));

        if (before == 0)
                assert_int_equal(seteuid(OTHER_UID), 0);
        gpio_dev_explain(path, folder, words, sizeof(words));
        if (before == 0)
                assert_int_equal(seteuid(0), 0);
        free(path);
        return words;
}

static void test_explain(void **state)
{
        char text[512], expected[2 * PATH_MAX];
        uid_t user = geteuid() == 0 ? OTHER_UID : geteuid();
        struct stat status;

        (void) state;
        put("chip", "");
        assert_int_equal(chmod(folder, 0755), 0);
        assert_int_equal(chmod(at("chip"), 0), 0);
        if (geteuid() == 0)
                assert_int_equal(chown(at("chip"), 0, 4321), 0);
        assert_int_equal(stat(at("chip"), &status), 0);
        snprintf(text, sizeof(text), "root:x:0:0::/:/bin/sh\nplugd:x:%u:1::/:/bin/sh\n", user);
        put("passwd", text);
        snprintf(text, sizeof(text), "other:x:99999:\npins:x:%u:a,b\n", status.st_gid);
        put("group", text);

        assert_non_null(strstr(explain("chip"), " may be opened by "));
        assert_non_null(strstr(explain("chip"), "it has to belong to a group that the user plugd is in"));
        if (geteuid() != 0) {
                print_message("not root: the file can't be somebody else's, the rest is left out\n");
                return;
        }
        assert_int_equal(chmod(at("chip"), 0660), 0);
        snprintf(expected, sizeof(expected),
                "%s may be opened by root and group pins only: add the user plugd to this group "
                "(usermod -aG pins plugd), and restart plugd",
                at("chip"));
        assert_string_equal(explain("chip"), expected);
        put("group", "");
        put("passwd", "");
        assert_non_null(strstr(explain("chip"), "by 0 and group 4321 only: add the user 1234 to"));
        assert_int_equal(unlink(at("group")), 0);
        assert_non_null(strstr(explain("chip"), "group 4321 only"));
        assert_int_equal(chmod(at("chip"), 0666), 0);
        assert_non_null(strstr(explain("chip"), "DeviceAllow=char-gpiochip"));
        assert_non_null(strstr(explain("nowhere"), "No such file or directory"));
}

static int setup(void **state)
{
        (void) state;
        strcpy(folder, "/tmp/test-gpio.XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
        (void) status;
        (void) type;
        (void) where;
        return remove(path);
}

static int teardown(void **state)
{
        (void) state;
        return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_list, setup, teardown),
                cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
                cmocka_unit_test_setup_teardown(test_explain, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
