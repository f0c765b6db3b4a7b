/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The stage for tests of the configuration: a folder of the test's own, made-up plugins ("sim" with options
 * of every type, "pair" with two channels, "free" that declares its own), and what was reported. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "config-internal.h"
#include "group.h"
#include "util/file.h"
#include "util/text.h"

#define MODEL "mod-0123456789abcdef01234567"
#define DEVICE "dev-0123456789abcdef01234567"

static const char sim_text[] =
        "{\"abi\":1,\"name\":\"sim\",\"description\":\"made up\",\"options\":["
        "{\"name\":\"wave\",\"type\":\"string\",\"default\":\"counter\",\"choices\":[\"counter\",\"sine\"]},"
        "{\"name\":\"period\",\"type\":\"number\",\"default\":\"2.5\",\"min\":0,\"max\":60,\"unit\":\"s\"},"
        "{\"name\":\"count\",\"type\":\"integer\",\"default\":\"0x76\",\"min\":-5,\"max\":1000},"
        "{\"name\":\"loud\",\"type\":\"boolean\",\"default\":\"true\"},"
        "{\"name\":\"label\",\"type\":\"string\"},"
        "{\"name\":\"lines\",\"type\":\"groups\",\"options\":["
        "{\"name\":\"name\",\"type\":\"string\",\"required\":true,\"help\":\"what it is called\"},"
        "{\"name\":\"line\",\"type\":\"integer\",\"default\":\"7\",\"min\":0,\"max\":63}]}],"
        "\"channels\":[{\"name\":\"value\",\"type\":\"number\",\"readable\":true}]}";
static const char pair_text[] =
        "{\"abi\":1,\"name\":\"pair\",\"options\":["
        "{\"name\":\"bus\",\"type\":\"integer\",\"required\":true,\"help\":\"the number of the I2C bus\"}],"
        "\"channels\":[{\"name\":\"a\",\"type\":\"number\",\"readable\":true},"
        "{\"name\":\"b\",\"type\":\"number\",\"readable\":true}]}";
static const char free_text[] = "{\"abi\":1,\"name\":\"free\"}";

typedef struct Fixture {
        char folder[32];
        char *main;
        Descriptor *plugins[3];
        char *notes[400];
        size_t n_notes, n_errors;
        char *incomplete; /* what the one note of that severity says, kept apart from the others */
} Fixture;

static const Descriptor *on_lookup(const char *plugin, char **ret_error, void *userdata)
{
        Fixture *fixture = userdata;

        for (size_t i = 0; i < ELEMENTSOF(fixture->plugins); i++)
                if (strcmp(fixture->plugins[i]->name, plugin) == 0)
                        return fixture->plugins[i];
        text_set(ret_error, "there is no plugin %s in /plugins", plugin);
        return NULL;
}

static void on_report(
        ConfigSeverity severity, const char *file, unsigned line, const char *text, void *userdata)
{
        Fixture *fixture = userdata;
        _cleanup_(freep) char *note = NULL;
        char *found;

        assert_true(text_is_utf8(text, strlen(text)));
        for (const char *p = text; *p; p++)
                assert_true((unsigned char) *p >= 0x20 && *p != 0x7f);
        assert_true(fixture->n_notes < ELEMENTSOF(fixture->notes));
        fixture->n_errors += severity == CONFIG_ERROR;
        note = text_printf("%s:%u: %s%s", file, line, severity == CONFIG_WARNING ? "warning: " : "", text);
        while ((found = strstr(note, fixture->folder)))
                memmove(found, found + strlen(fixture->folder) + 1,
                        strlen(found + strlen(fixture->folder) + 1) + 1);
        if (severity == CONFIG_INCOMPLETE) {
                assert_null(fixture->incomplete);
                fixture->incomplete = TAKE_PTR(note);
        } else {
                fixture->notes[fixture->n_notes++] = TAKE_PTR(note);
        }
}

static inline int setup(void **state)
{
        static const char *const texts[] = {sim_text, pair_text, free_text};
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_non_null(fixture);
        strcpy(fixture->folder, "/tmp/test-config-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        fixture->main = text_printf("%s/plugd.conf", fixture->folder);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(freep) char *error = NULL;

                fixture->plugins[i] = descriptor_parse(texts[i], strlen(texts[i]), &error);
                if (!fixture->plugins[i])
                        fail_msg("%s", error);
        }
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

static void forget(Fixture *fixture)
{
        for (size_t i = 0; i < fixture->n_notes; i++)
                free(fixture->notes[i]);
        fixture->n_notes = fixture->n_errors = 0;
        free(TAKE_PTR(fixture->incomplete));
}

static inline int teardown(void **state)
{
        Fixture *fixture = *state;

        forget(fixture);
        nftw(fixture->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        for (size_t i = 0; i < ELEMENTSOF(fixture->plugins); i++)
                descriptor_free(fixture->plugins[i]);
        free(fixture->main);
        free(fixture);
        return 0;
}

static inline void write_bytes(Fixture *fixture, const char *name, const void *data, size_t size)
{
        _cleanup_(freep) char *path = text_printf("%s/%s", fixture->folder, name);
        _cleanup_(closep) int fd = -1;
        char *slash = strrchr(path, '/');

        *slash = '\0';
        assert_return_code(file_make_directory(path, 0700), 0);
        *slash = '/';
        unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_return_code(fd, errno);
        assert_int_equal(write(fd, data, size), size);
}

static inline void write_text(Fixture *fixture, const char *name, const char *text)
{
        write_bytes(fixture, name, text, strlen(text));
}

static inline int load(Fixture *fixture, Config **ret)
{
        forget(fixture);
        return config_load(fixture->main, on_lookup, on_report, fixture, ret);
}

static inline void show(const Fixture *fixture)
{
        for (size_t i = 0; i < fixture->n_notes; i++)
                print_message("    %s\n", fixture->notes[i]);
}

/* Reads text as the main file, without a word about it. */
static inline Config *load_good(Fixture *fixture, const char *text)
{
        Config *config = NULL;

        write_text(fixture, "plugd.conf", text);
        if (load(fixture, &config) < 0 || fixture->n_notes > 0) {
                show(fixture);
                fail_msg("not without a word: %s", text);
        }
        return config;
}

static inline bool noted(const Fixture *fixture, const char *part)
{
        for (size_t i = 0; i < fixture->n_notes; i++)
                if (strstr(fixture->notes[i], part))
                        return true;
        return false;
}

/* These notes (each a part of one), in this order, and no other. */
static inline void assert_notes(Fixture *fixture, const char *const *parts)
{
        size_t n = 0;

        while (parts[n])
                n++;
        for (size_t i = 0; i < MAX(n, fixture->n_notes); i++)
                if (i >= n || i >= fixture->n_notes || !strstr(fixture->notes[i], parts[i])) {
                        show(fixture);
                        fail_msg("number %zu: expected %s, got %s", i, i < n ? parts[i] : "nothing",
                                i < fixture->n_notes ? fixture->notes[i] : "nothing");
                }
}
#define assert_notes(fixture, ...) (assert_notes)(fixture, (const char *const[]){__VA_ARGS__, NULL})

static inline void load_bad(Fixture *fixture, const char *text)
{
        Config *config = NULL;

        write_text(fixture, "plugd.conf", text);
        assert_int_equal(load(fixture, &config), -EINVAL);
        assert_null(config);
        assert_true(fixture->n_errors > 0);
        assert_null(fixture->incomplete); /* mistakes come first */
}

#define assert_refused(fixture, text, ...)                                                                  \
        do {                                                                                                \
                load_bad(fixture, text);                                                                    \
                assert_notes(fixture, __VA_ARGS__);                                                         \
        } while (false)

#define assert_warned(fixture, text, ...)                                                                   \
        do {                                                                                                \
                Config *warned_ = NULL;                                                                     \
                write_text(fixture, "plugd.conf", text);                                                    \
                assert_int_equal(load(fixture, &warned_), 0);                                               \
                config_free(warned_);                                                                       \
                assert_notes(fixture, __VA_ARGS__);                                                         \
        } while (false)

static inline const struct plugd_value *option_of(const Config *config, size_t sensor, const char *name)
{
        const struct plugd_value *value = group_find(&config->sensors[sensor].options, name);

        assert_non_null(value);
        return value;
}
