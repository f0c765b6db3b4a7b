/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The configuration as a whole: the main file, then sensors.d beside it, then what only shows when all is
 * there. What is wrong is collected on the way and told at the end, so that one run tells all of it.
 */

#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "config-internal.h"
#include "util/text.h"

/* Reads one file by its table. 0, or -errno when it has been reported. */
static int read_file(ConfigReader *reader, const char *path, const ConfigKey *keys)
{
        ConfigSource source;
        config_t tree;
        int r;

        r = config_source_read(reader, path, &source);
        if (r < 0)
                return r;
        r = config_rename_doubles(reader, &source);
        if (r < 0) {
                config_source_deinit(&source);
                return r;
        }
        config_init(&tree);
        reader->source = &source;
        if (config_read_string(&tree, (const char *) source.text.data)) {
                config_take_group(reader, config_root_setting(&tree), keys, reader->config);
        } else {
                const char *why = config_error_text(&tree);
                ConfigPlace place = config_source_place(&source, (unsigned) config_error_line(&tree));

                if (strcmp(why, "syntax error") == 0)
                        why = "syntax error: look here, and for a missing ; or = or quote before it";
                config_say(reader, CONFIG_ERROR, place, "%s", why);
                r = -EINVAL;
        }
        reader->source = NULL;
        config_destroy(&tree);
        config_source_deinit(&source);
        return r;
}

static int is_sensors_file(const struct dirent *entry)
{
        size_t length = strlen(entry->d_name);

        return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

static int byte_order(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_sensors_folder(ConfigReader *reader)
{
        const char *path = reader->config->path, *slash = strrchr(path, '/');
        _cleanup_(freep) char *folder =
                text_printf("%.*ssensors.d", slash ? (int) (slash + 1 - path) : 0, path);
        struct dirent **entries;
        int n;

        if (!folder) {
                reader->failed = true;
                return;
        }
        n = scandir(folder, &entries, is_sensors_file, byte_order);
        if (n < 0) {
                if (errno != ENOENT)
                        config_say(reader, CONFIG_ERROR, (ConfigPlace){0}, "the folder %s can't be read: %s",
                                folder, strerror(errno));
                return;
        }
        for (int i = 0; i < n; i++) {
                _cleanup_(freep) char *file = text_printf("%s/%s", folder, entries[i]->d_name);

                if (file)
                        read_file(reader, file, config_sensors_file_keys);
                else
                        reader->failed = true;
                free(entries[i]);
        }
        free(entries);
}

static void reader_deinit(ConfigReader *reader)
{
        for (size_t i = 0; i < reader->n_notes; i++)
                free(reader->notes[i].text);
        free(reader->notes);
        for (size_t i = 0; i < reader->n_files; i++)
                free(reader->files[i].path);
        free(reader->files);
}

int config_load(const char *path, ConfigLookup lookup, ConfigReport report, void *userdata, Config **ret)
{
        _cleanup_(config_freep) Config *config = calloc(1, sizeof(*config));
        ConfigReader reader = {.config = config, .lookup = lookup, .report = report, .userdata = userdata};
        int r;

        if (!config)
                return -ENOMEM;
        config->path = strdup(path);
        if (!config->path)
                return -ENOMEM;

        r = read_file(&reader, path, config_keys);
        if (r >= 0 || r == -EINVAL) {
                read_sensors_folder(&reader);
                config_compare_sensors(&reader);
        }
        if (r >= 0 && reader.n_errors == 0)
                config_check_login(&reader);
        if (reader.failed)
                r = -ENOMEM;
        else if (r >= 0 && reader.n_errors > 0)
                r = -EINVAL;
        config_tell(&reader);
        reader_deinit(&reader);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(config);
        return 0;
}

static void text_erase(char *text)
{
        if (text)
                explicit_bzero(text, strlen(text));
        free(text);
}

Config *config_free(Config *config)
{
        if (!config)
                return NULL;
        free(config->path);
        free(config->server.host);
        free(config->server.ca);
        free(config->server.cert);
        free(config->server.key);
        free(config->device.hwid);
        free(config->device.name);
        free(config->device.model);
        free(config->device.thing_hwid);
        text_erase(config->device.pass.text);
        free(config->device.pass.file);
        free(config->device.plug_id);
        text_erase(config->device.auth.text);
        free(config->device.auth.file);
        free(config->will.channel);
        free(config->will.data);
        free(config->will.online);
        for (size_t i = 0; i < config->n_sensors; i++)
                config_sensor_deinit(&config->sensors[i]);
        free(config->sensors);
        free(config);
        return NULL;
}
