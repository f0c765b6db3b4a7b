/* SPDX-License-Identifier: Apache-2.0 */

/* Where things are, by environment: systemd's variables first, then the user's, then the built-in places. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "paths.h"
#include "plugd-build.h"
#include "util/text.h"

static int setup(void **state)
{
        static const char *const names[] = {"STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY",
                "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "PLUGD_PLUGIN_DIR", "PLUGD_WORKER"};

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                unsetenv(names[i]);
        return setenv("HOME", "/home/somebody", 1);
}

static Paths init(bool user, const char *config)
{
        _cleanup_(freep) char *error = NULL;
        Paths paths;

        if (paths_init(&paths, user, config, &error) < 0)
                fail_msg("%s", error ? error : "without a word");
        assert_null(error);
        return paths;
}

static void test_defaults(void **state)
{
        _cleanup_(paths_deinit) Paths paths = init(false, NULL);

        (void) state;
        assert_string_equal(paths.config, PLUGD_SYSCONFDIR "/plugd/plugd.conf");
        assert_string_equal(paths.state, PLUGD_LOCALSTATEDIR "/lib/plugd");
        assert_string_equal(paths.runtime, PLUGD_RUNSTATEDIR "/plugd");
        assert_null(paths.credentials);
        assert_string_equal(paths.plugins, PLUGD_PLUGINDIR);
        assert_string_equal(paths.worker, PLUGD_LIBEXECDIR "/plugd-worker");
        assert_int_equal(*paths.state, '/');
        assert_int_equal(*paths.worker, '/');
}

static void test_systemd(void **state)
{
        (void) state;
        setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
        setenv("RUNTIME_DIRECTORY", "/run/one:/run/two", 1);
        setenv("CREDENTIALS_DIRECTORY", "/run/credentials/a:b", 1);
        setenv("XDG_STATE_HOME", "/x", 1);
        setenv("XDG_RUNTIME_DIR", "/y", 1);
        for (int user = 0; user <= 1; user++) {
                _cleanup_(paths_deinit) Paths paths = init(user, "some.conf");

                assert_string_equal(paths.config, "some.conf");
                assert_string_equal(paths.state, "/var/lib/one");
                assert_string_equal(paths.runtime, "/run/one");
                assert_string_equal(
                        paths.credentials, "/run/credentials/a:b"); /* one folder, never a list */
        }
}

static void test_user(void **state)
{
        Paths paths;

        (void) state;
        setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        paths = init(true, NULL);
        assert_string_equal(paths.state, "/home/somebody/.local/state/plugd");
        assert_string_equal(paths.runtime, "/run/user/7/plugd");
        assert_string_equal(paths.config, PLUGD_SYSCONFDIR "/plugd/plugd.conf");
        paths_deinit(&paths);
        assert_null(paths.state);

        setenv("XDG_STATE_HOME", "/x", 1);
        paths = init(true, NULL);
        assert_string_equal(paths.state, "/x/plugd");
        paths_deinit(&paths);

        setenv("XDG_STATE_HOME", "relative", 1);
        paths = init(true, NULL);
        assert_string_equal(paths.state, "/home/somebody/.local/state/plugd");
        paths_deinit(&paths);

        /* Not a user's daemon: theirs don't count. */
        paths = init(false, NULL);
        assert_string_equal(paths.state, PLUGD_LOCALSTATEDIR "/lib/plugd");
        assert_string_equal(paths.runtime, PLUGD_RUNSTATEDIR "/plugd");
        paths_deinit(&paths);
}

static void test_no_place(void **state)
{
        _cleanup_(freep) char *error = NULL;
        Paths paths = {.state = (char *) "untouched"};

        (void) state;
        assert_int_equal(paths_init(&paths, true, NULL, &error), -ENXIO);
        assert_non_null(strstr(error, "$XDG_RUNTIME_DIR"));
        setenv("XDG_RUNTIME_DIR", "", 1);
        assert_int_equal(paths_init(&paths, true, NULL, &error), -ENXIO);
        setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        unsetenv("HOME");
        assert_int_equal(paths_init(&paths, true, NULL, &error), -ENXIO);
        assert_non_null(strstr(error, "$HOME"));
        assert_int_equal(paths_init(&paths, true, NULL, NULL), -ENXIO);
        assert_string_equal(paths.state, "untouched");
}

static void test_empty_is_unset(void **state)
{
        Paths paths;

        (void) state;
        setenv("STATE_DIRECTORY", "", 1);
        setenv("CREDENTIALS_DIRECTORY", "", 1);
        setenv("PLUGD_WORKER", "", 1);
        paths = init(false, NULL);
        assert_string_equal(paths.state, PLUGD_LOCALSTATEDIR "/lib/plugd");
        assert_null(paths.credentials);
        assert_string_equal(paths.worker, PLUGD_LIBEXECDIR "/plugd-worker");
        paths_deinit(&paths);
}

/* Whatever the working directory will be, and for the workers too. */
static void test_relative(void **state)
{
        Paths paths;

        (void) state;
        assert_return_code(chdir("/usr"), 0);
        setenv("STATE_DIRECTORY", "a:b", 1);
        setenv("RUNTIME_DIRECTORY", "r", 1);
        setenv("PLUGD_PLUGIN_DIR", "build/plugins", 1);
        setenv("PLUGD_WORKER", "./worker", 1);
        paths = init(false, NULL);
        assert_string_equal(paths.state, "/usr/a");
        assert_string_equal(paths.runtime, "/usr/r");
        assert_string_equal(paths.plugins, "/usr/build/plugins");
        assert_string_equal(paths.worker, "/usr/./worker");
        paths_deinit(&paths);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_defaults, setup),
                cmocka_unit_test_setup(test_systemd, setup),
                cmocka_unit_test_setup(test_user, setup),
                cmocka_unit_test_setup(test_no_place, setup),
                cmocka_unit_test_setup(test_empty_is_unset, setup),
                cmocka_unit_test_setup(test_relative, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
