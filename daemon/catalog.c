/* SPDX-License-Identifier: Apache-2.0 */

/* Asks the worker program, because a plugin is foreign code: it is loaded in a process of its own even to
 * see what it is. Answers are kept, good and bad ones. */

#include "catalog.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "util/process.h"
#include "util/text.h"

#define DESCRIBE_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define DESCRIBE_SIZE_MAX (256 * 1024)
#define PLUGIN_NAME_MAX 64

typedef struct CatalogEntry {
        struct CatalogEntry *next;
        Descriptor *descriptor; /* or NULL, and error */
        char *error;
        bool unsure; /* it could not be asked */
        char name[];
} CatalogEntry;

struct Catalog {
        char *worker, *plugins;
        CatalogEntry *entries;
};

int catalog_new(Catalog **ret, const Paths *paths)
{
        _cleanup_(catalog_freep) Catalog *catalog = calloc(1, sizeof(*catalog));

        if (!catalog)
                return -ENOMEM;
        catalog->worker = strdup(paths->worker);
        catalog->plugins = strdup(paths->plugins);
        if (!catalog->worker || !catalog->plugins)
                return -ENOMEM;
        /* The worker looks where we do. */
        if (setenv("PLUGD_PLUGIN_DIR", paths->plugins, 1) < 0)
                return -errno;
        *ret = TAKE_PTR(catalog);
        return 0;
}

static CatalogEntry *entry_free(CatalogEntry *entry)
{
        descriptor_free(entry->descriptor);
        free(entry->error);
        free(entry);
        return NULL;
}
DEFINE_CLEANUP(CatalogEntry, entry_free);

Catalog *catalog_free(Catalog *catalog)
{
        if (!catalog)
                return NULL;
        while (catalog->entries) {
                CatalogEntry *entry = catalog->entries;

                catalog->entries = entry->next;
                entry_free(entry);
        }
        free(catalog->worker);
        free(catalog->plugins);
        free(catalog);
        return NULL;
}

/* --- what there is instead ----------------------------------------------------------------------------- */

static int is_plugin(const struct dirent *entry)
{
        size_t length = strlen(entry->d_name);

        return entry->d_name[0] != '.' && length > 3 && strcmp(entry->d_name + length - 3, ".so") == 0;
}

/* A sentence's end: "it has sim, system". */
static char *list_plugins(const char *folder)
{
        struct dirent **entries;
        char *list = NULL;
        int n;

        n = scandir(folder, &entries, is_plugin, alphasort);
        if (n < 0)
                return text_printf("that folder can't be read: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
                const char *name = entries[i]->d_name;

                text_set(&list, "%s%s%.*s", list ? list : "it has ", list ? ", " : "",
                        (int) (strlen(name) - 3), name);
                free(entries[i]);
        }
        free(entries);
        return list ? list : strdup("it has none");
}

static void say_missing(const Catalog *catalog, const char *plugin, char **ret_error)
{
        _cleanup_(freep) char *instead = list_plugins(catalog->plugins);

        text_set(ret_error, "there is no plugin %s in %s; %s", plugin, catalog->plugins,
                instead ? instead : "what there is can't be said");
}

/* --- asking -------------------------------------------------------------------------------------------- */

static bool name_valid(const char *name)
{
        size_t length = strlen(name);

        return length >= 1 && length <= PLUGIN_NAME_MAX &&
               strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == length;
}

/* What a program wrote for a person: without the last newline and with blanks for the others. NULL: nothing.
 */
static const char *tidy(char *text)
{
        size_t length = text ? strlen(text) : 0;

        while (length > 0 && strchr("\n\r \t", text[length - 1]))
                text[--length] = '\0';
        for (char *p = text; length > 0 && *p; p++)
                if (*p == '\n')
                        *p = ' ';
        return length > 0 ? text : NULL;
}

static void say_failed(
        const Catalog *catalog, const char *plugin, int status, char *errors, char **ret_error)
{
        const char *words = tidy(errors);

        if (status > 0 && words)
                text_set(ret_error, "%s", words);
        else if (status > 0)
                text_set(ret_error, "the plugin %s can't be described: %s ended with status %d and no word",
                        plugin, catalog->worker, status);
        else if (status == -ETIMEDOUT)
                text_set(ret_error, "the plugin %s can't be described: it took longer than %u s to load",
                        plugin, (unsigned) (DESCRIBE_TIMEOUT_USEC / USEC_PER_SEC));
        else if (status == -ECHILD)
                text_set(ret_error, "the plugin %s crashed when it was loaded%s%s%s", plugin,
                        words ? " (" : "", words ? words : "", words ? ")" : "");
        else if (status == -EFBIG)
                text_set(ret_error, "the plugin %s can't be described: it prints too much", plugin);
        else
                text_set(ret_error, "the plugin %s can't be described: %s can't be run: %s", plugin,
                        catalog->worker, strerror(-status));
}

/* The file is looked for first: the worker could not say what there is instead. */
static int find_plugin(const Catalog *catalog, const char *plugin, char **ret_error)
{
        _cleanup_(freep) char *file = text_printf("%s/%s.so", catalog->plugins, plugin);

        if (!file)
                return -ENOMEM;
        if (access(file, F_OK) < 0) {
                if (errno == ENOENT || errno == ENOTDIR)
                        say_missing(catalog, plugin, ret_error);
                else
                        text_set(ret_error, "the plugin %s can't be read: %s: %s", plugin, file,
                                strerror(errno));
                return -ENOENT;
        }
        if (access(catalog->worker, X_OK) < 0) {
                text_set(ret_error, "the plugin %s can't be described: the program %s can't be run: %s",
                        plugin, catalog->worker, strerror(errno));
                return -ENOENT;
        }
        return 0;
}

static Descriptor *describe(const Catalog *catalog, const char *plugin, bool *ret_unsure, char **ret_error)
{
        const char *const argv[] = {catalog->worker, "--describe", plugin, NULL};
        _cleanup_(freep) char *output = NULL, *errors = NULL;
        _cleanup_(descriptor_freep) Descriptor *descriptor = NULL;
        int r;

        if (find_plugin(catalog, plugin, ret_error) < 0)
                return NULL;
        r = process_capture(argv, DESCRIBE_TIMEOUT_USEC, DESCRIBE_SIZE_MAX, &output, &errors);
        if (r != 0) {
                *ret_unsure =
                        r == -ETIMEDOUT || r == -ENOMEM || r == -EAGAIN || r == -EMFILE || r == -ENFILE;
                say_failed(catalog, plugin, r, errors, ret_error);
                return NULL;
        }
        descriptor = descriptor_parse(output, strlen(output), ret_error);
        if (descriptor && strcmp(descriptor->name, plugin) != 0) {
                text_set(ret_error, "the plugin %s calls itself %s: its file has to be called %s.so", plugin,
                        descriptor->name, descriptor->name);
                return NULL;
        }
        return TAKE_PTR(descriptor);
}

const Descriptor *catalog_lookup(const char *plugin, char **ret_error, void *userdata)
{
        _cleanup_(entry_freep) CatalogEntry *fresh = NULL;
        Catalog *catalog = userdata;
        CatalogEntry *entry = catalog->entries;

        if (!name_valid(plugin)) {
                text_set(ret_error, "\"%.80s\" is no name of a plugin (1 to %d of A-Z a-z 0-9 _ -)", plugin,
                        PLUGIN_NAME_MAX);
                return NULL;
        }
        while (entry && strcmp(entry->name, plugin) != 0)
                entry = entry->next;
        if (!entry) {
                fresh = calloc(1, sizeof(*fresh) + strlen(plugin) + 1);
                if (!fresh)
                        return NULL;
                strcpy(fresh->name, plugin);
                fresh->descriptor = describe(catalog, plugin, &fresh->unsure, &fresh->error);
                fresh->next = catalog->entries;
                entry = catalog->entries = TAKE_PTR(fresh);
        }
        if (!entry->descriptor)
                text_set(ret_error, "%s", entry->error ? entry->error : "the plugin can't be described");
        return entry->descriptor;
}

bool catalog_unsure(const Catalog *catalog, const char *plugin)
{
        for (const CatalogEntry *entry = catalog->entries; entry; entry = entry->next)
                if (strcmp(entry->name, plugin) == 0)
                        return entry->unsure;
        return false;
}
