/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The configuration: the main file and, behind a line "%%%", one in sensors.d. It is taken without an error
 * or refused with one at least; what is taken lies within the ranges that config.h gives; each word about it
 * is a sentence; and the second time all is the same.
 */

#include <math.h>

#include "config.h"
#include "folder.h"
#include "group.h"
#include "payload.h"
#include "topic.h"

#define SPLIT "\n%%%\n"

static const char *const plugins[] = {
        "{\"abi\":1,\"name\":\"sim\",\"options\":["
        "{\"name\":\"wave\",\"type\":\"string\",\"default\":\"counter\",\"choices\":[\"counter\",\"sine\"]},"
        "{\"name\":\"period\",\"type\":\"number\",\"default\":\"2.5\",\"min\":0,\"max\":60,\"unit\":\"s\"},"
        "{\"name\":\"count\",\"type\":\"integer\",\"default\":\"0x76\",\"min\":-5,\"max\":1000},"
        "{\"name\":\"loud\",\"type\":\"boolean\",\"default\":\"true\"},{\"name\":\"label\",\"type\":"
        "\"string\"},"
        "{\"name\":\"lines\",\"type\":\"groups\",\"options\":["
        "{\"name\":\"name\",\"type\":\"string\",\"required\":true},"
        "{\"name\":\"line\",\"type\":\"integer\",\"default\":\"7\",\"min\":0,\"max\":63}]}],"
        "\"channels\":[{\"name\":\"value\",\"type\":\"number\",\"readable\":true}]}",
        "{\"abi\":1,\"name\":\"pair\",\"options\":[{\"name\":\"bus\",\"type\":\"integer\",\"required\":true}"
        "],"
        "\"channels\":[{\"name\":\"a\",\"type\":\"number\",\"readable\":true},"
        "{\"name\":\"b\",\"type\":\"number\",\"readable\":true}]}",
        "{\"abi\":1,\"name\":\"free\"}",
};
static Descriptor *descriptors[ELEMENTSOF(plugins)];

typedef struct Words {
        Bytes all;
        unsigned errors;
        char file[PATH_MAX];
        unsigned line; /* of the last */
} Words;

static const Descriptor *on_lookup(const char *plugin, char **ret_error, void *userdata)
{
        (void) userdata;
        for (size_t i = 0; i < ELEMENTSOF(descriptors); i++)
                if (strcmp(descriptors[i]->name, plugin) == 0)
                        return descriptors[i];
        text_set(ret_error, "there is no such plugin");
        return NULL;
}

static void on_report(
        ConfigSeverity severity, const char *file, unsigned line, const char *text, void *userdata)
{
        Words *words = userdata;

        hold_sentence(text);
        hold(severity <= CONFIG_INCOMPLETE);
        /* File by file, line by line; how many were left out comes last. */
        if (strcmp(words->file, file) == 0 && strncmp(text, "and ", 4) != 0)
                hold(line >= words->line);
        snprintf(words->file, sizeof(words->file), "%s", file);
        words->line = line;
        words->errors += severity == CONFIG_ERROR;
        bytes_put_u32(&words->all, severity);
        bytes_put_string(&words->all, file);
        bytes_put_u32(&words->all, line);
        bytes_put_string(&words->all, text);
}

static void check_policy(const SpoolPolicy *policy)
{
        hold(policy->priority <= 9 && policy->when_full <= SPOOL_FULL_THIN);
}

static void check_sensor(const Config *config, const SensorConfig *sensor)
{
        hold(*sensor->name && strlen(sensor->name) <= 64 && sensor->descriptor);
        for (const SensorConfig *other = config->sensors; other < sensor; other++)
                hold(strcmp(other->name, sensor->name) != 0);
        hold(topic_check_channel(sensor->channel, NULL) == 0);
        hold(sensor->interval_sec >= 0.001 && sensor->interval_sec <= 86400);
        hold(sensor->rate_limit >= 0 && sensor->rate_limit <= 1000000);
        check_policy(&sensor->policy);
        for (size_t i = 0; i < sensor->options.n_settings; i++) {
                const struct plugd_setting *setting = &sensor->options.settings[i];
                const struct plugd_option *option = descriptor_find_option(
                        sensor->descriptor->options, sensor->descriptor->n_options, setting->name);

                hold(option && option->type == setting->value.type);
                hold(descriptor_check_value(option, &setting->value, NULL) == 0);
        }
        for (size_t i = 0; i < sensor->descriptor->n_options; i++)
                if (sensor->descriptor->options[i].flags & PLUGD_REQUIRED)
                        hold(group_find(&sensor->options, sensor->descriptor->options[i].name));
}

static void check_config(const Config *config)
{
        hold(config->server.host && *config->server.host && config->server.port != 0);
        hold(!config->server.cert == !config->server.key);
        hold(config->device.hwid && *config->device.hwid);
        hold(!config->device.plug_id || topic_plug_id_valid(config->device.plug_id));
        hold(topic_check_channel(config->will.channel, NULL) == 0);
        hold(payload_check(config->will.data, strlen(config->will.data), NULL) == 0);
        hold(payload_check(config->will.online, strlen(config->will.online), NULL) == 0);
        hold(config->spool.max_size >= UINT64_C(1) << 20 && config->spool.max_size <= UINT64_C(1) << 40);
        hold(config->spool.memory >= UINT64_C(256) << 10 && config->spool.memory <= UINT64_C(1) << 30);
        hold(config->spool.sync_usec >= USEC_PER_SEC / 10 && config->spool.sync_usec <= 3600 * USEC_PER_SEC);
        check_policy(&config->spool.policy);
        hold(config->delivery.timeout_usec >= USEC_PER_SEC &&
                config->delivery.timeout_usec <= 300 * USEC_PER_SEC);
        hold(config->delivery.drain_rate >= 0 && config->delivery.drain_rate <= 1000000);
        hold(config->time.wait_max_usec <= 86400 * USEC_PER_SEC);
        for (size_t i = 0; i < config->n_sensors; i++)
                check_sensor(config, &config->sensors[i]);
}

/* Files beyond the folder are nobody's business here. */
static bool includes_elsewhere(const char *text)
{
        for (const char *at = text; (at = strstr(at, "@include")); at++)
                if (memchr(at, '/', strcspn(at, "\n")))
                        return true;
        return false;
}

static void write_files(const char *folder, const char *text, size_t size)
{
        _cleanup_(freep) char *main_path = text_printf("%s/plugd.conf", folder);
        _cleanup_(freep) char *sensors = text_printf("%s/sensors.d", folder);
        _cleanup_(freep) char *path = text_printf("%s/a.conf", sensors);
        const char *split = memmem(text, size, SPLIT, strlen(SPLIT)), *rest;

        fuzz_write(main_path, text, split ? (size_t) (split + 1 - text) : size);
        if (!split)
                return;
        rest = split + strlen(SPLIT);
        hold(mkdir(sensors, 0700) == 0);
        fuzz_write(path, rest, (size_t) (text + size - rest));
}

static void begin(void)
{
        log_set_sink(fuzz_ignore_log);
        for (size_t i = 0; i < ELEMENTSOF(plugins); i++)
                if (!descriptors[i])
                        hold(descriptors[i] = descriptor_parse(plugins[i], strlen(plugins[i]), NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = fuzz_text(data, size), *path = NULL;
        _cleanup_(config_freep) Config *config = NULL, *again = NULL;
        Words words = {}, second = {};
        int r;

        begin();
        if (includes_elsewhere(text) || strlen(text) < size)
                return 0;
        path = text_printf("%s/plugd.conf", fuzz_folder_get());
        write_files(fuzz_folder, text, size);

        r = config_load(path, on_lookup, on_report, &words, &config);
        hold((r == 0) == (config != NULL) && (r == 0) == (words.errors == 0));
        if (config)
                check_config(config);

        hold(config_load(path, on_lookup, on_report, &second, &again) == r);
        hold(words.all.size == second.all.size);
        hold(words.all.size == 0 || memcmp(words.all.data, second.all.data, words.all.size) == 0);
        if (config)
                hold(again->n_sensors == config->n_sensors);
        bytes_deinit(&words.all);
        bytes_deinit(&second.all);
        return 0;
}
