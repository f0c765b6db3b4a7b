/* SPDX-License-Identifier: Apache-2.0 */

/* Which devices a plugin's descriptor names: are the patterns ones that we can work with, and what becomes
 * of them with a sensor's options. Says nothing of what there is: the worker looks, just before it shuts
 * itself in, and takes nothing that isn't below /dev whatever was said here. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "group.h"
#include "util/text.h"

#define FOLDER "/dev/"
#define FOLDER_SIZE (sizeof(FOLDER) - 1)

/* Is one of the path's names ".."? */
static bool leads_up(const char *path)
{
        for (const char *up = path; (up = strstr(up, "/..")); up++)
                if (up[3] == '/' || up[3] == '\0')
                        return true;
        return false;
}

static bool printable(const char *text)
{
        for (; *text; text++)
                if (*text <= ' ' || *text >= 0x7f)
                        return false;
        return true;
}

static const struct plugd_option *find_option(
        const struct plugd_option *options, size_t n, const char *name, size_t length)
{
        for (size_t i = 0; i < n; i++)
                if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0)
                        return options + i;
        return NULL;
}

/* What is in braces has to be an option with a value that can be part of a path. */
static int check_names(
        const char *pattern, const struct plugd_option *options, size_t n_options, char **ret_error)
{
        for (const char *next = pattern; *(next += strcspn(next, "{}"));) {
                const struct plugd_option *option;
                size_t length = strcspn(next + 1, "{}");

                if (*next != '{' || next[1 + length] != '}') {
                        text_set(ret_error, "\"%s\" has a brace without the other one", pattern);
                        return -EINVAL;
                }
                option = find_option(options, n_options, next + 1, length);
                if (!option) {
                        text_set(ret_error, "\"%s\": there is no option \"%.*s\"", pattern, (int) length,
                                next + 1);
                        return -EINVAL;
                }
                if (option->type != PLUGD_INTEGER && option->type != PLUGD_STRING) {
                        text_set(ret_error, "\"%s\": the option \"%s\" is neither an integer nor a string",
                                pattern, option->name);
                        return -EINVAL;
                }
                next += length + 2;
        }
        return 0;
}

int device_check(const char *pattern, const struct plugd_option *options, size_t n_options, char **ret_error)
{
        size_t length = strlen(pattern);

        if (length > DEVICE_PATTERN_MAX || !printable(pattern))
                text_set(ret_error, "a path has at most %d printable characters of ASCII and no blank",
                        DEVICE_PATTERN_MAX);
        else if (strncmp(pattern, FOLDER, FOLDER_SIZE) != 0 || length == FOLDER_SIZE)
                text_set(ret_error, "\"%s\" does not begin with " FOLDER, pattern);
        else if (leads_up(pattern))
                text_set(ret_error, "\"%s\" has .. in it", pattern);
        else if (strpbrk(pattern, "[]\\"))
                text_set(ret_error, "\"%s\" has [, ] or \\ in it: only * and ? stand for others", pattern);
        else
                return check_names(pattern, options, n_options, ret_error);
        return -EINVAL;
}

/* --- with a sensor's options --------------------------------------------------------------------------- */

typedef struct Path {
        char text[DEVICE_PATH_MAX];
        size_t size;
        bool full;
} Path;

static void put(Path *path, char c)
{
        if (path->size + 1 < sizeof(path->text))
                path->text[path->size++] = c;
        else
                path->full = true;
}

/* What people write stands for itself. */
static int put_text(Path *path, const char *text)
{
        /* "gpiochip0" and "/dev/gpiochip0" mean the same. */
        if (path->size == FOLDER_SIZE && strncmp(text, FOLDER, FOLDER_SIZE) == 0)
                text += FOLDER_SIZE;
        if (*text == '/')
                return -EINVAL;
        if (!*text)
                return -ENODATA;
        for (; *text && !path->full; text++) {
                if (strchr("*?[]\\", *text))
                        put(path, '\\');
                put(path, *text);
        }
        return 0;
}

static int put_value(Path *path, const struct plugd_value *value)
{
        char number[24];

        if (!value)
                return -ENODATA;
        if (value->type == PLUGD_STRING)
                return put_text(path, value->string);
        if (value->type != PLUGD_INTEGER)
                return -EINVAL;
        snprintf(number, sizeof(number), "%" PRId64, value->integer);
        return put_text(path, number);
}

int device_expand(const char *pattern, const struct plugd_group *options, char **ret)
{
        Path path = {.size = 0};

        for (const char *next = pattern; *next; next++) {
                char name[DEVICE_PATTERN_MAX + 1];
                size_t length = strcspn(next, "}");
                int r;

                if (*next != '{') {
                        put(&path, *next);
                        continue;
                }
                if (next[length] != '}' || length > sizeof(name))
                        return -EINVAL;
                memcpy(name, next + 1, length - 1);
                name[length - 1] = '\0';
                r = put_value(&path, group_find(options, name));
                if (r < 0)
                        return r;
                next += length;
        }
        if (path.full || leads_up(path.text) || strncmp(path.text, FOLDER, FOLDER_SIZE) != 0)
                return -EINVAL;
        *ret = strdup(path.text);
        return *ret ? 0 : -ENOMEM;
}
