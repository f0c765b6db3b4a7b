/* SPDX-License-Identifier: Apache-2.0 */

/* The file of boots: what was saved is found again, and what was not is not believed. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boots.h"
#include "util/crc32c.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#define BEGAN INT64_C(1763800000123)

static unsigned errors_logged;

static void sink(int priority, const LogContext *context _unused_, const char *text _unused_)
{
        errors_logged += priority <= LOG_ERR;
}

typedef struct Fixture {
        char folder[32];
        char *path, *aside;
} Fixture;

static int set_up(void **state)
{
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_non_null(fixture);
        strcpy(fixture->folder, "/tmp/plugd-boots-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        fixture->path = text_printf("%s/boots", fixture->folder);
        fixture->aside = text_printf("%s.damaged", fixture->path);
        errors_logged = 0;
        *state = fixture;
        return 0;
}

static int tear_down(void **state)
{
        Fixture *fixture = *state;

        unlink(fixture->path);
        rmdir(fixture->path);
        unlink(fixture->aside);
        rmdir(fixture->aside);
        assert_return_code(rmdir(fixture->folder), 0);
        free(fixture->path);
        free(fixture->aside);
        free(fixture);
        return 0;
}

static Boot boot_of(unsigned number, BootKind kind)
{
        Boot boot = {.kind = kind, .offset_msec = BEGAN + number};

        memset(boot.id, 0xa5, sizeof(boot.id));
        memcpy(boot.id, &number, sizeof(number));
        return boot;
}

static Boots *load(Fixture *fixture)
{
        Boots *boots = NULL;

        assert_return_code(boots_new(&boots, fixture->folder), 0);
        return boots;
}

static void save_three(Fixture *fixture)
{
        _cleanup_(boots_freep) Boots *boots = load(fixture);

        for (unsigned i = 0; i < 3; i++) {
                Boot boot = boot_of(i, (BootKind) i);

                assert_return_code(boots_add(boots, &boot), 0);
        }
        assert_return_code(boots_save(boots), 0);
}

static unsigned count(Fixture *fixture)
{
        _cleanup_(boots_freep) Boots *boots = load(fixture);
        unsigned n = 0;

        for (unsigned i = 0; i < 3; i++) {
                Boot boot = boot_of(i, (BootKind) i);
                const Boot *found = boots_find(boots, boot.id);

                n += found != NULL;
                if (found) {
                        assert_int_equal(found->kind, boot.kind);
                        assert_true(found->offset_msec == boot.offset_msec);
                }
        }
        return n;
}

static void test_found_again(void **state)
{
        Fixture *fixture = *state;
        struct stat status;

        assert_int_equal(count(fixture), 0);
        save_three(fixture);
        assert_int_equal(count(fixture), 3);
        assert_return_code(stat(fixture->path, &status), errno);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(errors_logged, 0);
}

static void test_bounded(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(boots_freep) Boots *boots = load(fixture), *again = NULL;

        for (unsigned i = 0; i < BOOTS_MAX + 10; i++) {
                Boot boot = boot_of(i, BOOT_EXACT);

                assert_return_code(boots_add(boots, &boot), 0);
        }
        assert_return_code(boots_save(boots), 0);
        again = load(fixture);
        for (unsigned i = 0; i < BOOTS_MAX + 10; i++) {
                Boot boot = boot_of(i, BOOT_EXACT);

                assert_int_equal(boots_find(again, boot.id) != NULL, i >= 10);
        }
}

/* Cut off anywhere, or with any byte changed: nothing of it is believed, and it is kept. */
static void test_damaged(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *good = NULL, *text = NULL;
        size_t size;

        save_three(fixture);
        assert_return_code(file_read(fixture->path, 4096, &good, &size), 0);
        text = malloc(size);
        assert_non_null(text);
        for (size_t i = 0; i < 2 * size; i++) {
                bool cut = i < size;
                _cleanup_(freep) char *kept = NULL;
                size_t kept_size;

                memcpy(text, good, size);
                if (!cut)
                        text[i - size] ^= 0x11;
                assert_return_code(file_write_atomic(fixture->path, 0600, text, cut ? i : size), 0);
                errors_logged = 0;
                assert_int_equal(count(fixture), 0);
                assert_int_equal(errors_logged, 1);
                assert_int_equal(access(fixture->path, F_OK), -1);
                assert_return_code(file_read(fixture->aside, 4096, &kept, &kept_size), 0);
                assert_int_equal(kept_size, cut ? i : size);
                assert_memory_equal(kept, text, kept_size);
        }
}

/* Whole by its checksum, and still nonsense. */
static void test_nonsense(void **state)
{
        static const char *const lines[] = {
                "0123456789abcdef0123456789abcdef exact\n",
                "0123456789abcdef0123456789abcde exact 1\n",
                "0123456789abcdef0123456789abcdef certain 1\n",
                "0123456789abcdef0123456789abcdef exact 1 2\n",
                "0123456789abcdef0123456789abcdef exact 9223372036854775807\n",
                "0123456789abcdef0123456789abcdef exact -9223372036854775807\n",
                "0123456789abcdef0123456789abcdef exact 18446744073709551615\n",
                "0123456789abcdef0123456789abcdef exact -18446744073709551615\n",
                "0123456789abcdef0123456789abcdef exact 340282366920938463463374607431768211456\n",
                "0123456789abcdef0123456789abcdef exact 8796093022209\n",
                "0123456789abcdef0123456789abcdef exact -8796093022209\n",
                "\n",
                "crc32c 00000000\n",
        };
        Fixture *fixture = *state;

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                _cleanup_(freep) char *body = text_printf("plugd boots 1\n%s", lines[i]), *text = NULL;
                _cleanup_(boots_freep) Boots *boots = NULL;

                assert_non_null(body);
                text = text_printf("%scrc32c %08x\n", body, crc32c(0, body, strlen(body)));
                assert_non_null(text);
                assert_return_code(file_write_atomic(fixture->path, 0600, text, strlen(text)), 0);
                errors_logged = 0;
                boots = load(fixture);
                if (errors_logged != 1)
                        fail_msg("believed: %s", lines[i]);
        }
}

static void test_no_file_at_all(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *nowhere = text_printf("%s/none", fixture->folder);
        _cleanup_(boots_freep) Boots *boots = NULL;
        Boot boot = boot_of(1, BOOT_EXACT);

        /* A folder of that name goes aside as well. */
        assert_return_code(mkdir(fixture->path, 0700), errno);
        assert_int_equal(count(fixture), 0);
        assert_int_equal(errors_logged, 1);

        /* No state directory: it does without a file. */
        assert_return_code(boots_new(&boots, nowhere), 0);
        assert_return_code(boots_add(boots, &boot), 0);
        assert_int_equal(boots_save(boots), -ENOENT);
        assert_non_null(boots_find(boots, boot.id));
        assert_int_equal(errors_logged, 1);
}

/* The folder came after the start: what the file says goes before estimates, and none is lost. */
static void test_there_late(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *away = text_printf("%s-away", fixture->folder);
        _cleanup_(boots_freep) Boots *boots = NULL, *again = NULL;
        /* By their numbers: 0 exact and 1 estimated in the file; 3 is in neither yet. */
        Boot exact = boot_of(0, BOOT_ESTIMATED), estimated = boot_of(1, BOOT_EXACT),
             untimed = boot_of(2, BOOT_ESTIMATED), other = boot_of(3, BOOT_EXACT);

        save_three(fixture);
        assert_return_code(rename(fixture->folder, away), errno);
        boots = load(fixture);
        exact.offset_msec = estimated.offset_msec = untimed.offset_msec = 77;
        assert_return_code(boots_add(boots, &exact), 0);
        assert_return_code(boots_add(boots, &estimated), 0);
        assert_return_code(boots_add(boots, &untimed), 0);
        assert_return_code(boots_add(boots, &other), 0);
        assert_int_equal(boots_save(boots), -ENOENT);
        assert_int_equal(boots_catch_up(boots), -ENOENT);
        assert_return_code(rename(away, fixture->folder), errno);
        assert_return_code(boots_save(boots), 0);
        again = load(fixture);
        for (unsigned i = 0; i < 2; i++) {
                const Boots *either = i == 0 ? boots : again;

                assert_int_equal(boots_count(either), 4);
                assert_int_equal(boots_find(either, exact.id)->kind, BOOT_EXACT);
                assert_true(boots_find(either, exact.id)->offset_msec == BEGAN);
                assert_int_equal(boots_find(either, estimated.id)->kind, BOOT_EXACT);
                assert_true(boots_find(either, estimated.id)->offset_msec == 77);
                assert_int_equal(boots_find(either, untimed.id)->kind, BOOT_UNTIMED);
                assert_true(boots_find(either, other.id)->offset_msec == BEGAN + 3);
        }
        assert_int_equal(errors_logged, 0);
}

/* A link that leads nowhere and round is what can't be read to root as well. */
static void test_readable_late(void **state)
{
        Fixture *fixture = *state;
        _cleanup_(freep) char *elsewhere = text_printf("%s-file", fixture->path);
        _cleanup_(boots_freep) Boots *boots = NULL, *kept = NULL;
        Boot boot = boot_of(7, BOOT_EXACT);
        char target[64];

        save_three(fixture);
        assert_return_code(rename(fixture->path, elsewhere), errno);
        assert_return_code(symlink(fixture->path, fixture->path), errno);
        boots = load(fixture);
        kept = load(fixture);
        assert_int_equal(boots_catch_up(boots), -ELOOP);
        assert_int_equal(errors_logged, 0);
        assert_return_code(rename(elsewhere, fixture->path), errno);
        assert_return_code(boots_add(boots, &boot), 0);
        assert_return_code(boots_save(boots), 0);
        assert_int_equal(boots_count(boots), 4);
        assert_int_equal(count(fixture), 3);
        assert_int_equal(errors_logged, 0);

        /* Not to the end either: it is kept, and written anew. */
        assert_return_code(unlink(fixture->path), errno);
        assert_return_code(symlink(fixture->path, fixture->path), errno);
        assert_return_code(boots_add(kept, &boot), 0);
        assert_return_code(boots_save(kept), 0);
        assert_int_equal(errors_logged, 1);
        assert_true(readlink(fixture->aside, target, sizeof(target)) > 0);
        assert_int_equal(count(fixture), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_found_again, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bounded, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nonsense, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_file_at_all, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_there_late, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_readable_late, set_up, tear_down),
        };

        log_set_sink(sink);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
