/* SPDX-License-Identifier: Apache-2.0 */

/* Asking a worker what a plugin is. The worker here is a shell script that behaves as each test says. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/text.h"

typedef struct Fixture {
        char folder[32];
        Paths paths;
        Catalog *catalog;
} Fixture;

static int setup(void **state)
{
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_non_null(fixture);
        strcpy(fixture->folder, "/tmp/test-catalog-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        fixture->paths.plugins = text_printf("%s/plugins", fixture->folder);
        fixture->paths.worker = text_printf("%s/worker", fixture->folder);
        assert_return_code(mkdir(fixture->paths.plugins, 0700), 0);
        assert_int_equal(catalog_new(&fixture->catalog, &fixture->paths), 0);
        *state = fixture;
        return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
        (void) status;
        (void) kind;
        (void) place;
        return remove(path);
}

static int teardown(void **state)
{
        Fixture *fixture = *state;

        fixture->catalog = catalog_free(fixture->catalog);
        nftw(fixture->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        paths_deinit(&fixture->paths);
        free(fixture);
        return 0;
}

static void add_plugin(const Fixture *fixture, const char *name)
{
        _cleanup_(freep) char *path = text_printf("%s/%s", fixture->paths.plugins, name);

        assert_return_code(file_write_atomic(path, 0600, "", 0), 0);
}

/* One line a call goes to folder/calls. */
static void set_worker(const Fixture *fixture, const char *script)
{
        _cleanup_(freep) char *text =
                text_printf("#!/bin/sh\necho \"$*\" >> %s/calls\n%s\n", fixture->folder, script);

        assert_return_code(file_write_atomic(fixture->paths.worker, 0700, text, strlen(text)), 0);
}

static void assert_calls(const Fixture *fixture, const char *expected)
{
        _cleanup_(freep) char *path = text_printf("%s/calls", fixture->folder), *calls = NULL;

        if (file_read(path, 4096, &calls, NULL) == -ENOENT)
                calls = strdup("");
        assert_string_equal(calls, expected);
}

/* The sentence why not. */
static char *refused(const Fixture *fixture, const char *plugin)
{
        char *error = NULL;

        assert_null(catalog_lookup(plugin, &error, fixture->catalog));
        assert_non_null(error);
        assert_null(catalog_lookup(plugin, NULL, fixture->catalog));
        return error;
}

static void assert_refused(const Fixture *fixture, const char *plugin, const char *sentence)
{
        _cleanup_(freep) char *error = refused(fixture, plugin);

        if (!strstr(error, sentence))
                fail_msg("expected %s, got %s", sentence, error);
}

static void test_found(void **state)
{
        Fixture *fixture = *state;
        const Descriptor *descriptor;
        char *error = NULL;

        add_plugin(fixture, "sim.so");
        /* It looks for plugins where we do. */
        set_worker(fixture,
                "test -e \"$PLUGD_PLUGIN_DIR/sim.so\" && echo '{\"abi\":1,\"name\":\"sim\"}'; echo hm >&2");
        descriptor = catalog_lookup("sim", &error, fixture->catalog);
        assert_non_null(descriptor);
        assert_null(error);
        assert_string_equal(descriptor->name, "sim");
        assert_ptr_equal(catalog_lookup("sim", &error, fixture->catalog), descriptor);
        assert_calls(fixture, "--describe sim\n");
}

static void test_missing(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *none = NULL, *some = NULL;

        set_worker(fixture, "exit 1");
        none = refused(fixture, "gpio");
        assert_non_null(strstr(none, "there is no plugin gpio in "));
        assert_non_null(strstr(none, fixture->paths.plugins));
        assert_non_null(strstr(none, "; it has none"));
        assert_false(catalog_unsure(fixture->catalog, "gpio"));
        add_plugin(fixture, "system.so");
        add_plugin(fixture, "sim.so");
        add_plugin(fixture, ".hidden.so");
        add_plugin(fixture, "README");
        some = refused(fixture, "gpoi");
        assert_non_null(strstr(some, "; it has sim, system"));
        assert_null(strstr(some, "README"));
        assert_null(strstr(some, "hidden"));
        assert_calls(fixture, "");
}

static void test_no_folder(void **state)
{
        Fixture *fixture = *state;

        assert_return_code(rmdir(fixture->paths.plugins), 0);
        assert_refused(fixture, "sim", "that folder can't be read: No such file or directory");
}

/* A name becomes part of a path only when it can't be anything else. */
static void test_names(void **state)
{
        static const char *const names[] = {"", "../sim", "a/b", ".", "..", "sim.so", "a b", "a\nb",
                "-\xc3\xb6", "a123456789a123456789a123456789a123456789a123456789a123456789a1234"};
        Fixture *fixture = *state;

        set_worker(fixture, "exit 1");
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_refused(fixture, names[i], "is no name of a plugin");
        assert_calls(fixture, "");
}

static void test_no_worker(void **state)
{
        Fixture *fixture = *state;

        add_plugin(fixture, "sim.so");
        add_plugin(fixture, "two.so");
        assert_refused(fixture, "sim", "/worker can't be run: No such file or directory");
        assert_return_code(file_write_atomic(fixture->paths.worker, 0600, "x", 1), 0);
        assert_refused(fixture, "two", "/worker can't be run: Permission denied");
}

static void test_worker_says_why(void **state)
{
        Fixture *fixture = *state;

        add_plugin(fixture, "sim.so");
        add_plugin(fixture, "mute.so");
        set_worker(fixture,
                "test $2 = mute && exit 7\n"
                "echo 'sim.so was built for another plugd' >&2; echo 'build it again' >&2; exit 1");
        assert_refused(fixture, "sim", "sim.so was built for another plugd build it again");
        assert_refused(fixture, "mute", "ended with status 7 and no word");
        assert_refused(fixture, "sim", "sim.so was built"); /* a bad answer is kept, too */
        assert_calls(fixture, "--describe sim\n--describe mute\n");
}

static void test_worker_crashes(void **state)
{
        Fixture *fixture = *state;

        add_plugin(fixture, "sim.so");
        set_worker(fixture, "kill -SEGV $$");
        assert_refused(fixture, "sim", "the plugin sim crashed when it was loaded");
}

static void test_worker_talks_nonsense(void **state)
{
        Fixture *fixture = *state;

        add_plugin(fixture, "sim.so");
        add_plugin(fixture, "other.so");
        add_plugin(fixture, "much.so");
        add_plugin(fixture, "none.so");
        set_worker(fixture, "case $2 in\n"
                            "sim) echo 'Hello, world!' ;;\n"
                            "other) echo '{\"abi\":1,\"name\":\"else\"}' ;;\n"
                            "much) while echo 0123456789012345678901234567890123456789; do :; done ;;\n"
                            "esac");
        assert_refused(fixture, "sim", "the plugin's description can't be read");
        assert_refused(
                fixture, "other", "the plugin other calls itself else: its file has to be called else.so");
        assert_refused(fixture, "much", "the plugin much can't be described: it prints too much");
        assert_refused(fixture, "none", "the plugin's description can't be read");
}

static void test_worker_hangs(void **state)
{
        Fixture *fixture = *state;
        uint64_t start = clock_monotonic_usec(), took;

        add_plugin(fixture, "sim.so");
        set_worker(fixture, "exec sleep 60");
        assert_refused(fixture, "sim", "it took longer than 5 s to load");
        took = clock_monotonic_usec() - start;
        assert_true(took >= 4900000 && took < 15000000);
        /* A slow machine says nothing against the configuration. */
        assert_true(catalog_unsure(fixture->catalog, "sim"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_found, setup, teardown),
                cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
                cmocka_unit_test_setup_teardown(test_names, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_worker, setup, teardown),
                cmocka_unit_test_setup_teardown(test_worker_says_why, setup, teardown),
                cmocka_unit_test_setup_teardown(test_worker_crashes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_worker_talks_nonsense, setup, teardown),
                cmocka_unit_test_setup_teardown(test_worker_hangs, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
