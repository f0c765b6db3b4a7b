/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Keys that stand in their group a second time. Libconfig stops at the first of them, and names neither it
 * nor where it stood before. So they are looked for here, in the text that config-source.c made (no
 * comments, brackets that match), and get names that libconfig hasn't seen: then the rest of the file is
 * read too.
 */

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "config-internal.h"
#include "util/text.h"

#define DOUBLE "**" /* and a number */

typedef struct Key {
        const char *name; /* in the text */
        size_t length;
        unsigned line;
} Key;

typedef struct Walk {
        ConfigReader *reader;
        const ConfigSource *source;
        const char *at;
        unsigned line;
        Key *keys; /* of all groups that are open, the outer ones' first */
        size_t n_keys;
        size_t opened[CONFIG_DEPTH_MAX]; /* n_keys when that bracket opened */
        size_t depth;
        const char *copied; /* what is before this is in `text`, once there is a double */
        Bytes text;
} Walk;

bool config_is_double(const ConfigReader *reader, const config_setting_t *setting)
{
        return reader->n_doubles > 0 && strncmp(config_setting_name(setting), DOUBLE, strlen(DOUBLE)) == 0;
}

/* "will.data", for the last of the keys. NULL: out of memory. */
static char *key_path(const Walk *walk)
{
        char *path = strdup("");
        size_t last = 0;

        /* A bracket is the value of the key before it, or stands in a bracket that is. */
        for (size_t i = 0; i <= walk->depth && path; i++) {
                size_t n = i < walk->depth ? walk->opened[i] : walk->n_keys;

                if (n > last)
                        text_set(&path, "%s%s%.*s", path, *path ? "." : "", (int) walk->keys[n - 1].length,
                                walk->keys[n - 1].name);
                last = n;
        }
        return path;
}

static void rename_double(Walk *walk, const Key *first, const Key *second)
{
        _cleanup_(freep) char *path = key_path(walk);
        ConfigPlace place = config_source_place(walk->source, first->line);
        char name[sizeof(DOUBLE) + 20];

        config_say(walk->reader, CONFIG_ERROR, config_source_place(walk->source, second->line),
                "%s: this key stands there already, at %s:%u: one of them has to go", path ? path : "",
                walk->reader->files[place.file].path, place.line);
        snprintf(name, sizeof(name), DOUBLE "%zu", ++walk->reader->n_doubles);
        bytes_put(&walk->text, walk->copied, (size_t) (second->name - walk->copied));
        bytes_put(&walk->text, name, strlen(name));
        walk->copied = second->name + second->length;
}

/* The name of a key, or true or false. */
static void walk_word(Walk *walk)
{
        Key key = {.name = walk->at, .line = walk->line};
        size_t first = walk->depth > 0 ? walk->opened[walk->depth - 1] : 0, last = walk->n_keys;
        const char *next;

        while (isalnum((unsigned char) *walk->at) || (*walk->at && strchr("*_-", *walk->at)))
                walk->at++;
        key.length = (size_t) (walk->at - key.name);
        next = walk->at + strspn(walk->at, " \n");
        if (*next != '=' && *next != ':')
                return;
        walk->keys[walk->n_keys++] = key;
        for (size_t i = first; i < last; i++)
                if (walk->keys[i].length == key.length &&
                        memcmp(walk->keys[i].name, key.name, key.length) == 0) {
                        rename_double(walk, &walk->keys[i], &key);
                        return;
                }
}

static void walk_string(Walk *walk)
{
        for (walk->at++; *walk->at && *walk->at != '"'; walk->at++) {
                walk->line += *walk->at == '\n';
                if (*walk->at == '\\' && walk->at[1] && walk->at[1] != '\n')
                        walk->at++;
        }
        walk->at += *walk->at == '"';
}

static void walk_text(Walk *walk)
{
        while (*walk->at) {
                char c = *walk->at;

                if (isalpha((unsigned char) c) || c == '*') {
                        walk_word(walk);
                        continue;
                }
                if (c == '"') {
                        walk_string(walk);
                        continue;
                }
                walk->at++;
                if (c == '\n')
                        walk->line++;
                else if (isdigit((unsigned char) c))
                        while (isalnum((unsigned char) *walk->at))
                                walk->at++;
                else if (strchr("{[(", c))
                        walk->opened[walk->depth++] = walk->n_keys;
                else if (strchr("}])", c))
                        walk->n_keys = walk->opened[--walk->depth];
        }
}

int config_rename_doubles(ConfigReader *reader, ConfigSource *source)
{
        const char *text = (const char *) source->text.data;
        Walk walk = {.reader = reader, .source = source, .at = text, .line = 1, .copied = text};
        int r = 0;

        walk.keys = calloc(source->n_settings + 1, sizeof(*walk.keys));
        if (!walk.keys) {
                reader->failed = true;
                return -ENOMEM;
        }
        walk_text(&walk);
        free(walk.keys);
        if (walk.copied == text)
                return 0;

        bytes_put(&walk.text, walk.copied, strlen(walk.copied) + 1);
        if (walk.text.failed) {
                reader->failed = true;
                r = -ENOMEM;
        }
        explicit_bzero(source->text.data, source->text.size);
        bytes_deinit(&source->text);
        source->text = walk.text;
        return r;
}
