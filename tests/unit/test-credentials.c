/* SPDX-License-Identifier: Apache-2.0 */

/* The store: an auth that was saved is never lost, and never shown. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "credentials.h"
#include "folder.h"
#include "util/file.h"
#include "util/text.h"

#define DEV1 "dev-000000000000000000000001"
#define DEV2 "dev-000000000000000000000002"

static char *read_text(const char *path)
{
        char *text = NULL;

        assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
        return text;
}

static mode_t mode_of(const char *path)
{
        struct stat status;

        assert_int_equal(stat(path, &status), 0);
        return status.st_mode & 07777;
}

static unsigned files_in(const char *path)
{
        DIR *directory = opendir(path);
        unsigned n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n - 2;
}

static Credentials *open_store(void)
{
        _cleanup_(freep) char *error = NULL;
        Credentials *credentials = NULL;

        if (credentials_new(&credentials, folder, &error) != 0)
                fail_msg("%s", error);
        assert_null(error);
        return credentials;
}

static void save(
        Credentials *credentials, const char *host, const char *hwid, const char *plug_id, const char *auth)
{
        _cleanup_(freep) char *error = NULL;

        if (credentials_save(credentials, host, hwid, plug_id, auth, &error) != 0)
                fail_msg("%s", error);
}

static void expect(
        Credentials *credentials, const char *host, const char *hwid, const char *plug_id, const char *auth)
{
        const char *found_id = NULL, *found_auth = NULL;

        assert_int_equal(credentials_find(credentials, host, hwid, &found_id, &found_auth, NULL),
                CREDENTIALS_MATCHING);
        assert_string_equal(found_id, plug_id);
        assert_string_equal(found_auth, auth);
}

static void test_save_and_find(void **state _unused_)
{
        const char *plug_id = "untouched", *auth = "untouched";
        _cleanup_(credentials_freep) Credentials *credentials = open_store();
        _cleanup_(freep) char *words = NULL;

        assert_int_equal(
                credentials_find(credentials, "a.example", "HW", &plug_id, &auth, &words), CREDENTIALS_NONE);
        assert_null(words);
        assert_int_equal(files_in(folder), 0);

        save(credentials, "a.example", "HW", DEV1, "se/\"cr\\et\xc3\xa9");
        expect(credentials, "a.example", "HW", DEV1, "se/\"cr\\et\xc3\xa9");
        expect(credentials, "A.Example", "HW", DEV1, "se/\"cr\\et\xc3\xa9");
        assert_int_equal(mode_of(in_folder("credentials.json")), 0600);
        assert_int_equal(files_in(folder), 1);

        /* After a restart too. */
        credentials = credentials_free(credentials);
        credentials = open_store();
        expect(credentials, "a.example", "HW", DEV1, "se/\"cr\\et\xc3\xa9");

        /* Another platform, another HWID: said, and not used. */
        assert_int_equal(credentials_find(credentials, "b.example", "HW", &plug_id, &auth, &words),
                CREDENTIALS_OTHER);
        assert_non_null(strstr(words, "a.example"));
        assert_non_null(strstr(words, "b.example"));
        assert_int_equal(credentials_find(credentials, "a.example", "hw", &plug_id, &auth, &words),
                CREDENTIALS_OTHER);
        assert_non_null(strstr(words, "\"HW\""));
        assert_non_null(strstr(words, "\"hw\""));
        assert_non_null(strstr(words, "plugctl enroll (with --user, if plugd runs so)"));
        assert_null(strstr(words, "se/"));
        assert_string_equal(plug_id, "untouched");
        assert_string_equal(auth, "untouched");
        assert_string_equal(logged, "");
}

/* How often is this in the file? */
static unsigned file_has(const char *text)
{
        _cleanup_(freep) char *data = NULL;
        unsigned n = 0;

        assert_int_equal(file_read(in_folder("credentials.json"), 1 << 20, &data, NULL), 0);
        for (const char *p = data; (p = strstr(p, text)); p++)
                n++;
        return n;
}

static void test_nothing_is_thrown_away(void **state _unused_)
{
        _cleanup_(credentials_freep) Credentials *credentials = open_store();

        save(credentials, "a.example", "HW", DEV1, "first");
        save(credentials, "b.example", "HW", DEV2, "other");
        save(credentials, "a.example", "HW2", DEV2, "second");
        assert_int_equal(file_has("previous"), 0);
        save(credentials, "A.EXAMPLE", "HW", DEV2, "third");
        for (unsigned restarted = 0; restarted < 2; restarted++) {
                expect(credentials, "a.example", "HW", DEV2, "third");
                expect(credentials, "b.example", "HW", DEV2, "other");
                expect(credentials, "a.example", "HW2", DEV2, "second");
                /* The same again changes nothing, the former one is kept. */
                save(credentials, "a.example", "HW", DEV2, "third");
                assert_int_equal(
                        file_has("\"previous\": {\"plug_id\": \"" DEV1 "\", \"auth\": \"first\"}"), 1);
                assert_int_equal(file_has("previous"), 1);

                credentials = credentials_free(credentials);
                credentials = open_store();
        }
        save(credentials, "a.example", "HW", DEV1, "fourth");
        assert_int_equal(file_has("\"previous\": {\"plug_id\": \"" DEV2 "\", \"auth\": \"third\"}"), 1);
        assert_int_equal(files_in(folder), 1);
}

static void test_save_fails(void **state _unused_)
{
        _cleanup_(credentials_freep) Credentials *credentials = open_store();
        _cleanup_(freep) char *error = NULL;
        char moved[80];

        save(credentials, "a.example", "HW", DEV1, "first");
        /* A file where the folder was. */
        snprintf(moved, sizeof(moved), "%s.moved", folder);
        assert_int_equal(rename(folder, moved), 0);
        write_text(folder, "", 0, 0600);
        assert_int_equal(credentials_save(credentials, "a.example", "HW", DEV2, "hidden", &error), -ENOTDIR);
        assert_non_null(strstr(error, folder));
        assert_null(strstr(error, "hidden"));
        /* What is on the disk holds. */
        expect(credentials, "a.example", "HW", DEV1, "first");
        assert_int_equal(unlink(folder), 0);

        /* The folder is gone altogether: an auth is worth a new one. */
        save(credentials, "a.example", "HW", DEV2, "second");
        expect(credentials, "a.example", "HW", DEV2, "second");
        assert_int_equal(file_has("\"second\""), 1);
        remove_all(moved);
}

static void test_open_fails(void **state _unused_)
{
        _cleanup_(freep) char *error = NULL;
        Credentials *credentials = NULL;

        assert_int_equal(mkdir(in_folder("credentials.json"), 0700), 0);
        assert_int_equal(credentials_new(&credentials, folder, &error), -EISDIR);
        assert_non_null(strstr(error, "credentials.json"));
        assert_int_equal(rmdir(in_folder("credentials.json")), 0);
        /* It must not wait for one who writes. */
        assert_int_equal(mkfifo(in_folder("credentials.json"), 0600), 0);
        assert_int_equal(credentials_new(&credentials, folder, &error), -EINVAL);
        assert_int_equal(unlink(in_folder("credentials.json")), 0);

        write_text(in_folder("file"), "", 0, 0600);
        assert_int_equal(credentials_new(&credentials, in_folder("file/state"), &error), -ENOTDIR);
        assert_non_null(strstr(error, "state directory"));
        assert_null(credentials);
        assert_int_equal(credentials_new(&credentials, in_folder("new/state"), NULL), 0);
        assert_int_equal(mode_of(in_folder("new/state")), 0700);
        credentials_free(credentials);
}

#define ENTRY "{\"host\":\"a.example\",\"hwid\":\"HW\",\"plug_id\":\"" DEV1 "\",\"auth\":\"hidden\"}"

static void test_damaged(void **state _unused_)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"", "not JSON"},
                {"{\"version\":1,\"platforms\":[" ENTRY, "not JSON"},
                {"{\"version\":1,\"platforms\":[" ENTRY "]}x", "not JSON"},
                {"null", "no version"},
                {"[]", "no version"},
                {"{}", "no version"},
                {"{\"version\":1}", "no platforms"},
                {"{\"platforms\":[]}", "no version"},
                {"{\"version\":\"1\",\"platforms\":[]}", "no version"},
                {"{\"version\":1,\"platforms\":{}}", "no platforms"},
                {"{\"version\":2,\"platforms\":[]}", "version 2"},
                {"{\"version\":1,\"platforms\":[null]}", "entry 1 lacks"},
                {"{\"version\":1,\"platforms\":[" ENTRY ",5]}", "entry 2 lacks"},
                {"{\"version\":1,\"platforms\":[" ENTRY
                 ",{\"host\":\"a\",\"hwid\":\"b\",\"plug_id\":\"dev-1\","
                 "\"auth\":\"hidden\"}]}",
                        "entry 2 lacks"},
                {"{\"version\":1,\"platforms\":[{\"host\":\"a\",\"hwid\":\"b\",\"plug_id\":\"" DEV1 "\"}]}",
                        "entry 1 lacks"},
                {"{\"version\":1,\"platforms\":[{\"host\":\"a\",\"hwid\":\"b\",\"plug_id\":\"" DEV1
                 "\",\"auth\":\"hidden\",\"previous\":{\"auth\":\"hidden\"}}]}",
                        "entry 1 lacks"},
                {"{\"version\":1,\"platforms\":[{\"host\":\"\",\"hwid\":\"b\",\"plug_id\":\"" DEV1
                 "\",\"auth\":\"hidden\"}]}",
                        "entry 1 lacks"},
                {"{\"version\":1,\"platforms\":[{\"host\":\"a\",\"hwid\":\"b\",\"plug_id\":\"" DEV1
                 "\",\"auth\":\"hi\\u0000dden\"}]}",
                        "entry 1 lacks"},
        };
        const char *path = in_folder("credentials.json"), *plug_id, *auth;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(credentials_freep) Credentials *credentials = NULL;
                _cleanup_(freep) char *aside = text_printf("%s.damaged-%zu", path, i + 1), *kept = NULL;

                logged[0] = '\0';
                write_text(path, cases[i].text, strlen(cases[i].text), 0600);
                credentials = open_store();
                /* All of it or nothing. */
                assert_int_equal(credentials_find(credentials, "a.example", "HW", &plug_id, &auth, NULL),
                        CREDENTIALS_NONE);
                assert_int_equal(access(path, F_OK), -1);
                kept = read_text(aside);
                assert_string_equal(kept, cases[i].text);
                if (!strstr(logged, cases[i].why) || !strstr(logged, aside))
                        fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, logged, cases[i].why);
                assert_null(strstr(logged, "hidden"));
                /* And it works again. */
                save(credentials, "a.example", "HW", DEV2, "new");
                expect(credentials, "a.example", "HW", DEV2, "new");
        }
        assert_int_equal(files_in(folder), ELEMENTSOF(cases) + 1);
}

/* Any beginning of a whole file, and one that is far too large. */
static void test_torn(void **state _unused_)
{
        _cleanup_(credentials_freep) Credentials *credentials = open_store();
        const char *path = in_folder("credentials.json"), *plug_id, *auth;
        _cleanup_(freep) char *text = NULL, *large = calloc(1, 2 << 20);

        save(credentials, "a.example", "HW", DEV1, "first");
        text = read_text(path);
        for (size_t size = 0; size < strlen(text) - 2; size++) {
                credentials = credentials_free(credentials);
                write_text(path, text, size, 0600);
                credentials = open_store();
                assert_int_equal(credentials_find(credentials, "a.example", "HW", &plug_id, &auth, NULL),
                        CREDENTIALS_NONE);
        }
        credentials = credentials_free(credentials);
        assert_non_null(large);
        write_text(path, large, 2 << 20, 0600);
        credentials = open_store();
        assert_int_equal(files_in(folder), strlen(text) - 1);
}

static void test_mode_is_tightened(void **state _unused_)
{
        static const char text[] = "{\"version\":1,\"platforms\":[" ENTRY "]}\n";
        const char *path = in_folder("credentials.json");

        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(credentials_freep) Credentials *credentials = NULL;

                logged[0] = '\0';
                write_text(path, text, sizeof(text) - 1, i == 0 ? 0640 : 0604);
                credentials = open_store();
                expect(credentials, "a.example", "HW", DEV1, "hidden");
                assert_int_equal(mode_of(path), 0600);
                assert_non_null(strstr(logged, i == 0 ? "0640" : "0604"));
                assert_null(strstr(logged, "hidden"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                FOLDER_TEST(test_save_and_find),
                FOLDER_TEST(test_nothing_is_thrown_away),
                FOLDER_TEST(test_save_fails),
                FOLDER_TEST(test_open_fails),
                FOLDER_TEST(test_damaged),
                FOLDER_TEST(test_torn),
                FOLDER_TEST(test_mode_is_tightened),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
