/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For tests with files: a folder that is new for each test and gone after it, and what was logged meanwhile.
 * Include after cmocka.h. */

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "util/log.h"
#include "util/macros.h"
#include "util/text.h"

static char folder[64];
static char logged[4096];

static void on_log(int priority _unused_, const LogContext *context _unused_, const char *text)
{
        size_t used = strlen(logged);

        snprintf(logged + used, sizeof(logged) - used, "%s\n", text);
}

static int folder_set_up(void **state _unused_)
{
        strcpy(folder, "/tmp/test-credentials.XXXXXX");
        logged[0] = '\0';
        log_set_sink(on_log);
        return mkdtemp(folder) ? 0 : -1;
}

static void remove_all(const char *path)
{
        DIR *directory = opendir(path);

        if (directory) {
                for (struct dirent *entry; (entry = readdir(directory));) {
                        _cleanup_(freep) char *name = text_printf("%s/%s", path, entry->d_name);

                        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                                remove_all(name);
                }
                closedir(directory);
        }
        remove(path);
}

static int folder_tear_down(void **state _unused_)
{
        log_set_sink(NULL);
        remove_all(folder);
        return 0;
}

/* A path in the test's folder, until the next but three. */
static const char *in_folder(const char *name)
{
        static char paths[4][256];
        static unsigned next;
        char *path = paths[next++ % 4];

        snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
        return path;
}

static void write_text(const char *path, const void *text, size_t size, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

#define FOLDER_TEST(function) cmocka_unit_test_setup_teardown(function, folder_set_up, folder_tear_down)
