/* SPDX-License-Identifier: Apache-2.0 */
/* The floor under everything: bytes, text, files, clocks, log lines, captured processes. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/backoff.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/crc32c.h"
#include "util/file.h"
#include "util/log.h"
#include "util/process.h"
#include "util/text.h"

static void test_bytes_round_trip(void **state)
{
        Bytes bytes = {};
        BytesReader reader;

        (void) state;
        bytes_put_u8(&bytes, 0x12);
        bytes_put_u16(&bytes, 0x3456);
        bytes_put_u32(&bytes, 0x789abcde);
        bytes_put_u64(&bytes, UINT64_C(0x123456789abcdef0));
        bytes_put_f64(&bytes, -2.5);
        bytes_put_string(&bytes, "Grüße");
        bytes_put_string(&bytes, "");
        assert_false(bytes.failed);
        assert_int_equal(bytes.data[1], 0x56); /* little-endian wherever this runs */

        reader = (BytesReader){bytes.data, bytes.size, false};
        assert_int_equal(bytes_get_u8(&reader), 0x12);
        assert_int_equal(bytes_get_u16(&reader), 0x3456);
        assert_int_equal(bytes_get_u32(&reader), 0x789abcde);
        assert_true(bytes_get_u64(&reader) == UINT64_C(0x123456789abcdef0));
        assert_true(bytes_get_f64(&reader) == -2.5);
        assert_string_equal(bytes_get_string(&reader), "Grüße");
        assert_string_equal(bytes_get_string(&reader), "");
        assert_false(reader.failed);
        assert_int_equal(reader.size, 0);
        assert_int_equal(bytes_get_u8(&reader), 0);
        assert_true(reader.failed);
        bytes_deinit(&bytes);
}

static void test_bytes_hostile(void **state)
{
        static const uint8_t long_string[] = {0xff, 0xff, 0xff, 0xff, 'a', 0};
        static const uint8_t unterminated[] = {1, 0, 0, 0, 'a', 'b'};
        static const uint8_t inner_nul[] = {2, 0, 0, 0, 0, 'b', 0};
        BytesReader reader;

        (void) state;
        reader = (BytesReader){long_string, sizeof(long_string), false};
        assert_null(bytes_get_string(&reader));
        assert_true(reader.failed);
        reader = (BytesReader){unterminated, sizeof(unterminated), false};
        assert_null(bytes_get_string(&reader));
        reader = (BytesReader){inner_nul, sizeof(inner_nul), false};
        assert_null(bytes_get_string(&reader));
        /* A failed reader stays failed, whatever is left. */
        assert_int_equal(bytes_get_u8(&reader), 0);
}

static void test_bytes_consume(void **state)
{
        Bytes bytes = {};

        (void) state;
        bytes_put(&bytes, "abcdef", 6);
        bytes_consume(&bytes, 2);
        assert_int_equal(bytes.size, 4);
        assert_memory_equal(bytes.data, "cdef", 4);
        bytes_consume(&bytes, 100);
        assert_int_equal(bytes.size, 0);
        assert_null(bytes_reserve(&bytes, SIZE_MAX));
        assert_true(bytes.failed);
        bytes_deinit(&bytes);
}

static void test_crc32c(void **state)
{
        uint8_t zeros[32] = {};

        (void) state;
        /* Check value of the CRC catalogue; and RFC 3720, appendix B.4. */
        assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
        assert_int_equal(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aa);
        /* In pieces it is the same. */
        for (size_t i = 0; i <= 9; i++)
                assert_int_equal(crc32c(crc32c(0, "123456789", i), &"123456789"[i], 9 - i), 0xe3069283);
}

static void test_backoff(void **state)
{
        static const uint64_t expected[] = {1000, 2000, 4000, 5000, 5000};
        Backoff backoff = {.first_usec = 1000, .max_usec = 5000};
        bool spread = false;

        (void) state;
        assert_false(backoff_active(&backoff));
        for (unsigned round = 0; round < 20; round++) {
                for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                        uint64_t wait = backoff_next(&backoff);
                        uint64_t longest = MIN(expected[i] * 6 / 5, backoff.max_usec);

                        assert_in_range(wait, longest - expected[i] / 5, longest);
                        spread = spread || wait != expected[i];
                }
                assert_true(backoff_active(&backoff));
                backoff_reset(&backoff);
                assert_false(backoff_active(&backoff));
        }
        assert_true(spread);

        /* No longer than what went well before, but at least the first. */
        backoff_next(&backoff);
        backoff_next(&backoff);
        assert_in_range(backoff_next_limited(&backoff, 1500), 1500, 1800);
        assert_in_range(backoff_next_limited(&backoff, 1), 1000, 1200);
}

static void test_sizes(void **state)
{
        static const struct {
                const char *text;
                int result;
                uint64_t bytes;
        } cases[] = {
                {"0", 0, 0},
                {"4096", 0, 4096},
                {"64M", 0, 64 << 20},
                {"1.5K", 0, 1536},
                {"2G", 0, UINT64_C(2) << 30},
                {"", -EINVAL, 0},
                {"M", -EINVAL, 0},
                {"-1", -EINVAL, 0},
                {"1.5", -EINVAL, 0},
                {"1.K", -EINVAL, 0},
                {"1KB", -EINVAL, 0},
                {"1k", -EINVAL, 0},
                {" 1", -EINVAL, 0},
                {"1 ", -EINVAL, 0},
                {"18446744073709551615", 0, UINT64_MAX},
                {"18446744073709551616", -ERANGE, 0},
                {"18446744073709551615G", -ERANGE, 0},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t bytes = 7;

                assert_int_equal(text_parse_size(cases[i].text, &bytes), cases[i].result);
                assert_true(bytes == (cases[i].result == 0 ? cases[i].bytes : 7));
        }
}

static void test_formats(void **state)
{
        char size[32], duration[48];

        (void) state;
        assert_string_equal(text_format_size(size, 1023), "1023 B");
        assert_string_equal(text_format_size(size, 1536), "1.5 KiB");
        assert_string_equal(text_format_size(size, 64 << 20), "64 MiB");
        assert_string_equal(text_format_duration(duration, 1500), "1 ms");
        assert_string_equal(text_format_duration(duration, 65 * USEC_PER_SEC), "1 min 5 s");
        assert_string_equal(text_format_duration(duration, 90061 * USEC_PER_SEC), "1 d 1 h");
}

static void test_cut(void **state)
{
        (void) state;
        assert_int_equal(text_cut("", 4), 0);
        assert_int_equal(text_cut("abc", 4), 3);
        assert_int_equal(text_cut("abcdef", 4), 4);
        assert_int_equal(text_cut("abcäf", 4), 3);
        assert_int_equal(text_cut("abä", 4), 4);
        assert_int_equal(text_cut("a€€", 6), 4);
        assert_int_equal(text_cut("\x80\x80\x80", 2), 0);
}

static void test_utf8(void **state)
{
        static const struct {
                const char *text;
                size_t size;
                bool valid;
        } cases[] = {
                {"", 0, true},
                {"plain", 5, true},
                {"\xc3\xa4", 2, true},
                {"\xe2\x82\xac", 3, true},
                {"\xf0\x9f\x8c\xb1", 4, true},
                {"\xf4\x8f\xbf\xbf", 4, true},
                {"a\0b", 3, false},
                {"\x80", 1, false},
                {"\xc3", 1, false},
                {"\xc3(", 2, false},
                {"\xc0\xaf", 2, false},
                {"\xe0\x80\xaf", 3, false},
                {"\xed\xa0\x80", 3, false},
                {"\xf4\x90\x80\x80", 4, false},
                {"\xff", 1, false},
                {"\xe2\x82", 2, false},
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(text_is_utf8(cases[i].text, cases[i].size), cases[i].valid);
}

static void test_text_set(void **state)
{
        char *text = NULL;

        (void) state;
        text_set(&text, "%d", 1);
        text_set(&text, "%s and %d", text, 2); /* the old text may be an argument */
        assert_string_equal(text, "1 and 2");
        text_set(NULL, "nobody asks");
        free(text);
}

static char folder[64];

static int make_folder(void **state)
{
        (void) state;
        strcpy(folder, "/tmp/plugd-test-util.XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
        _cleanup_(freep) char *command = text_printf("rm -r -- %s", folder);
        const char *argv[] = {"/bin/sh", "-c", command, NULL};
        _cleanup_(freep) char *output = NULL, *errors = NULL;

        (void) state;
        return process_capture(argv, 10 * USEC_PER_SEC, 4096, &output, &errors);
}

static void test_file_write_atomic(void **state)
{
        _cleanup_(freep) char *path = text_printf("%s/secret", folder), *data = NULL;
        struct stat status;
        mode_t mask = umask(0);
        size_t size;

        (void) state;
        assert_int_equal(file_write_atomic(path, 0600, "first", 5), 0);
        assert_int_equal(file_write_atomic(path, 0600, "second one", 10), 0);
        umask(mask);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(status.st_nlink, 1);
        assert_int_equal(file_read(path, 100, &data, &size), 0);
        assert_int_equal(size, 10);
        assert_string_equal(data, "second one");
}

static void test_file_write_failure_leaves_nothing(void **state)
{
        _cleanup_(freep) char *nowhere = text_printf("%s/no/such/folder", folder);
        _cleanup_(freep) char *blocked = text_printf("%s/blocked", folder);
        _cleanup_(freep) char *list = NULL, *errors = NULL;
        const char *argv[] = {"/bin/ls", "-a", blocked, NULL};
        _cleanup_(freep) char *inside = text_printf("%s/target", blocked);

        (void) state;
        assert_int_equal(file_write_atomic(nowhere, 0600, "x", 1), -ENOENT);
        /* A folder can't be replaced by a file: the rename fails, and the temporary file goes. */
        assert_int_equal(file_make_directory(inside, 0700), 0);
        assert_int_equal(file_write_atomic(inside, 0600, "x", 1), -EISDIR);
        assert_int_equal(process_capture(argv, 10 * USEC_PER_SEC, 4096, &list, &errors), 0);
        assert_string_equal(list, ".\n..\ntarget\n");
}

static void test_file_read_limits(void **state)
{
        _cleanup_(freep) char *path = text_printf("%s/sized", folder), *data = NULL;
        size_t size = 0;

        (void) state;
        assert_int_equal(file_write_atomic(path, 0644, "12345678", 8), 0);
        assert_int_equal(file_read(path, 7, &data, &size), -EFBIG);
        assert_null(data);
        assert_int_equal(file_read(path, 8, &data, &size), 0);
        assert_int_equal(size, 8);
        assert_int_equal(file_read("/no/such/file", 8, &data, &size), -ENOENT);
        free(TAKE_PTR(data));
        assert_int_equal(
                file_read("/proc/self/status", 65536, &data, &size), 0); /* a size nobody knows before */
        assert_true(size > 100);
}

static void test_make_directory(void **state)
{
        _cleanup_(freep) char *path = text_printf("%s/a//b/c/", folder),
                              *file = text_printf("%s/file", folder);
        _cleanup_(freep) char *below = text_printf("%s/file/below", folder);
        struct stat status;

        (void) state;
        assert_int_equal(file_make_directory(path, 0700), 0);
        assert_int_equal(file_make_directory(path, 0700), 0);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0700);
        assert_int_equal(file_write_atomic(file, 0600, "", 0), 0);
        assert_int_equal(file_make_directory(file, 0700), -ENOTDIR);
        assert_int_equal(file_make_directory(below, 0700), -ENOTDIR);
}

static void test_clocks(void **state)
{
        uint8_t one[16], two[16], zero[16] = {};
        uint64_t before = clock_boottime_usec(), moved;

        (void) state;
        assert_true(clock_boottime_usec() >= before);
        assert_true(clock_realtime_usec() > UINT64_C(1600000000) * USEC_PER_SEC);
        before = clock_realtime_usec();
        moved = (uint64_t) ((int64_t) clock_boottime_usec() + clock_realtime_ahead_of_boottime_usec());
        assert_in_range(moved, before - USEC_PER_MSEC, clock_realtime_usec() + USEC_PER_MSEC);
        before = clock_boottime_usec();
        moved = (uint64_t) ((int64_t) clock_monotonic_usec() + clock_boottime_ahead_of_monotonic_usec());
        assert_in_range(moved, before - USEC_PER_MSEC, clock_boottime_usec() + USEC_PER_MSEC);
        assert_int_equal(clock_boot_id(one), 0);
        assert_int_equal(clock_boot_id(two), 0);
        assert_memory_equal(one, two, 16);
        assert_memory_not_equal(one, zero, 16);
}

static char logged[2100];
static int logged_priority;

static void keep_log(int priority, const LogContext *context, const char *text)
{
        logged_priority = priority;
        snprintf(logged, sizeof(logged), "%s|%s", context && context->sensor ? context->sensor : "-", text);
}

static void test_log(void **state)
{
        LogContext context = {.sensor = "door"};

        (void) state;
        log_set_sink(keep_log);
        log_write(LOG_WARNING, &context, "line one\nline two\x1b[31m");
        assert_string_equal(logged, "door|line one line two [31m");
        assert_int_equal(logged_priority, LOG_WARNING);
        logged[0] = '\0';
        log_debug("dropped by the default level");
        assert_string_equal(logged, "");
        log_set_level(LOG_DEBUG);
        errno = EXDEV;
        log_debug("kept");
        assert_string_equal(logged, "-|kept");
        assert_int_equal(errno, EXDEV);
        log_set_level(LOG_INFO);
        log_set_sink(NULL);
        assert_int_equal(log_level_from_string("notice"), LOG_NOTICE);
        assert_int_equal(log_level_from_string("loud"), -EINVAL);
}

static int capture(const char *script, uint64_t timeout_usec, size_t max, char **output, char **errors)
{
        const char *argv[] = {"/bin/sh", "-c", script, NULL};

        return process_capture(argv, timeout_usec, max, output, errors);
}

static void test_process(void **state)
{
        _cleanup_(freep) char *output = NULL, *errors = NULL;
        uint64_t before;

        (void) state;
        assert_int_equal(
                capture("echo out; echo err >&2; exit 7", 10 * USEC_PER_SEC, 100, &output, &errors), 7);
        assert_string_equal(output, "out\n");
        assert_string_equal(errors, "err\n");
        free(TAKE_PTR(output));
        free(TAKE_PTR(errors));

        assert_int_equal(capture("kill -SEGV $$", 10 * USEC_PER_SEC, 100, &output, &errors), -ECHILD);
        assert_non_null(strstr(errors, "signal 11"));
        free(TAKE_PTR(output));
        free(TAKE_PTR(errors));

        assert_int_equal(capture("yes", 10 * USEC_PER_SEC, 10000, &output, &errors), -EFBIG);
        before = clock_monotonic_usec();
        assert_int_equal(capture("exec sleep 30", USEC_PER_SEC / 5, 100, &output, &errors), -ETIMEDOUT);
        /* It closes its streams and stays: the deadline holds all the same, and then it is a killed process.
         */
        assert_int_equal(
                capture("exec sleep 30 >&- 2>&-", USEC_PER_SEC / 5, 100, &output, &errors), -ECHILD);
        assert_true(clock_monotonic_usec() - before < 10 * USEC_PER_SEC);

        free(TAKE_PTR(output));
        free(TAKE_PTR(errors));
        const char *missing[] = {"/no/such/program", NULL};
        assert_int_equal(process_capture(missing, USEC_PER_SEC, 100, &output, &errors), -ENOENT);
}

static void test_process_inherits_nothing(void **state)
{
        _cleanup_(freep) char *output = NULL, *errors = NULL;

        (void) state;
        assert_int_equal(capture("ls /proc/self/fd | wc -l", 10 * USEC_PER_SEC, 100, &output, &errors), 0);
        assert_string_equal(output, "4\n"); /* 0, 1, 2, and the folder that ls reads */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bytes_round_trip),
                cmocka_unit_test(test_bytes_hostile),
                cmocka_unit_test(test_bytes_consume),
                cmocka_unit_test(test_crc32c),
                cmocka_unit_test(test_backoff),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_formats),
                cmocka_unit_test(test_utf8),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_text_set),
                cmocka_unit_test(test_file_write_atomic),
                cmocka_unit_test(test_file_write_failure_leaves_nothing),
                cmocka_unit_test(test_file_read_limits),
                cmocka_unit_test(test_make_directory),
                cmocka_unit_test(test_clocks),
                cmocka_unit_test(test_log),
                cmocka_unit_test(test_process),
                cmocka_unit_test(test_process_inherits_nothing),
        };

        return cmocka_run_group_tests_name("util", tests, make_folder, remove_folder);
}
