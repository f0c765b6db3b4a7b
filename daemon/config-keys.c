/* SPDX-License-Identifier: Apache-2.0 */

/* The tables of keys, what there is to check beyond a table, and reading by table. */

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "config-internal.h"
#include "topic.h"
#include "util/text.h"

#define PORT_TLS 8883
#define PORT_PLAIN 1883

/* --- checks of single values --------------------------------------------------------------------------- */

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

/* 2001:db8::1, fe80::1%eth0 */
static bool is_address6(const char *text)
{
        size_t length = strcspn(text, "%"), zone = strlen(text) - length;
        char plain[INET6_ADDRSTRLEN];
        struct in6_addr address;

        if (length >= sizeof(plain) || zone == 1 ||
                (zone > 1 && strspn(text + length + 1, LETTERS) != zone - 1))
                return false;
        memcpy(plain, text, length);
        plain[length] = '\0';
        return inet_pton(AF_INET6, plain, &address) == 1;
}

static int check_host(const char *text, char **ret_error)
{
        const char *colon = strchr(text, ':');
        size_t length = strlen(text);

        if (is_address6(text))
                return 0;
        if (strstr(text, "://"))
                text_set(ret_error, "\"%s\" is a URL: only the name of the host belongs here", text);
        else if (colon && !strchr(colon + 1, ':'))
                text_set(ret_error, "\"%s\" has a port: write that as server.port", text);
        else if (length == 0 || length > 253 || text[0] == '.' || text[0] == '-' || strstr(text, "..") ||
                 strspn(text, LETTERS) != length)
                text_set(ret_error, "\"%s\" is neither the name of a host nor an address", text);
        else
                return 0;
        return -EINVAL;
}

static int check_hwid(const char *text, char **ret_error)
{
        return strcmp(text, "auto") == 0 ? 0 : topic_check_hwid(text, ret_error);
}

static int check_name(const char *text, char **ret_error)
{
        return *text ? topic_check_name(text, ret_error) : 0;
}

static int check_model(const char *text, char **ret_error)
{
        if (topic_plug_id_valid(text) && strncmp(text, "mod-", 4) == 0)
                return 0;
        text_set(ret_error,
                "\"%s\" is not the Plug-ID of a production template (mod- and 24 hexadecimal digits)", text);
        return -EINVAL;
}

static int check_plug_id(const char *text, char **ret_error)
{
        if (topic_plug_id_valid(text) && strncmp(text, "dev-", 4) == 0)
                return 0;
        text_set(ret_error, "\"%s\" is not the Plug-ID of a device (dev- and 24 hexadecimal digits)", text);
        return -EINVAL;
}

static int check_auth(const char *text, char **ret_error)
{
        if (*text)
                return 0;
        text_set(ret_error, "this is empty");
        return -EINVAL;
}

/* --- checks of groups ---------------------------------------------------------------------------------- */

static void take_tls(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        Config *config = base;
        ServerConfig *server = &config->server;

        server->tls = true;
        if (!setting)
                return;
        if (!config_setting_is_group(setting)) {
                if (config_setting_type(setting) == CONFIG_TYPE_BOOL)
                        server->tls = config_setting_get_bool(setting);
                else
                        config_fail(reader, setting,
                                "this has to be true, false or a group { ca, cert, key }, and is %s",
                                config_type_name(setting));
                return;
        }
        config_take_group(reader, setting, key->keys, base);
        if (!config_setting_get_member(setting, "cert") != !config_setting_get_member(setting, "key"))
                config_fail(reader, setting, "cert and key come together, and %s is missing",
                        config_setting_get_member(setting, "cert") ? "key" : "cert");
}

static void after_server(ConfigReader *reader, const config_setting_t *setting, void *base)
{
        Config *config = base;
        ServerConfig *server = &config->server;
        const config_setting_t *given;

        if (server->port == 0)
                server->port = server->tls ? PORT_TLS : PORT_PLAIN;
        given = setting ? config_setting_get_member(setting, "port") : NULL;
        if (given && server->tls && server->port == PORT_PLAIN)
                config_warn(reader, given,
                        "%u is where servers speak MQTT without TLS: tls = false asks for that", PORT_PLAIN);
        given = setting ? config_setting_get_member(setting, "keepalive") : NULL;
        if (given && server->keepalive_sec > 0 &&
                (server->keepalive_sec < 180 || server->keepalive_sec > 285))
                config_warn(reader, given,
                        "%u s: the platform wants to hear a device every 3 to 5 minutes (180 to 285)",
                        server->keepalive_sec);
}

/* Of two ways to give a secret, one. */
static void check_secret(
        ConfigReader *reader, const config_setting_t *setting, const char *inline_key, const char *file_key)
{
        const config_setting_t *file = config_setting_get_member(setting, file_key);

        if (file && config_setting_get_member(setting, inline_key))
                config_fail(reader, file, "%s is there too: one of them has to go", inline_key);
}

static void after_enroll(ConfigReader *reader, const config_setting_t *setting, void *base)
{
        const Config *config = base;
        const config_setting_t *thing = config_setting_get_member(setting, "thing");

        if (config->device.enrol_as == ENROL_CONTROLLER && !thing)
                config_fail(reader, setting,
                        "thing is missing: a controller needs the hardware id of the thing it controls");
        if (config->device.enrol_as == ENROL_THING && thing)
                config_fail(reader, thing, "only a controller has a thing: as = \"controller\"");
        check_secret(reader, setting, "pass", "pass_file");
}

static void after_device(ConfigReader *reader, const config_setting_t *setting, void *base)
{
        static const char *const login[] = {"plug_id", "auth", "auth_file"};
        DeviceConfig *device = &((Config *) base)->device;
        const config_setting_t *enroll, *plug_id;

        if (!setting)
                return;
        if (device->name && !*device->name) {
                free(device->name);
                device->name = NULL;
        }
        enroll = config_setting_get_member(setting, "enroll");
        plug_id = config_setting_get_member(setting, "plug_id");
        reader->device_place = config_place(reader, enroll ? enroll : plug_id ? plug_id : setting);
        check_secret(reader, setting, "auth", "auth_file");
        for (size_t i = 0; i < ELEMENTSOF(login); i++) {
                const config_setting_t *given = config_setting_get_member(setting, login[i]);

                if (!given)
                        continue;
                if (enroll)
                        config_fail(reader, given,
                                "there is enroll too: a device enrols, or logs in with plug_id and auth");
                else if (!plug_id)
                        config_fail(reader, given, "plug_id, which this belongs to, is missing");
        }
}

void config_check_login(ConfigReader *reader)
{
        const DeviceConfig *device = &reader->config->device;

        if (device->plug_id && !device->auth.text && !device->auth.file)
                config_say(reader, CONFIG_INCOMPLETE, reader->device_place,
                        "not configured, unless there is a systemd credential plugd.auth: device.auth_file "
                        "(or auth), which belongs to device.plug_id, is missing");
        else if (!device->plug_id && device->enrol_as == ENROL_NOT)
                config_say(reader, CONFIG_INCOMPLETE, reader->device_place,
                        "not configured: device.enroll (or device.plug_id and device.auth_file) is missing: "
                        "plugd stays offline, unless it has enrolled before");
        else if (!device->plug_id && !device->pass.text && !device->pass.file)
                config_say(reader, CONFIG_INCOMPLETE, reader->device_place,
                        "not configured, unless there is a systemd credential plugd.pass: "
                        "device.enroll.pass_file (or pass) is missing: plugd stays offline, unless it has "
                        "enrolled before");
}

static void take_wait_sync(
        ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, void *base)
{
        TimeConfig *time = &((Config *) base)->time;
        const char *text;

        (void) key;
        time->wait_sync = TIME_WAIT_AUTO;
        if (!setting)
                return;
        if (config_setting_type(setting) == CONFIG_TYPE_BOOL) {
                time->wait_sync = config_setting_get_bool(setting) ? TIME_WAIT_YES : TIME_WAIT_NO;
                return;
        }
        text = config_setting_type(setting) == CONFIG_TYPE_STRING ? config_setting_get_string(setting)
                                                                  : NULL;
        if (!text || strcmp(text, "auto") != 0)
                config_fail(reader, setting, "this has to be \"auto\", true or false");
}

/* --- the tables ---------------------------------------------------------------------------------------- */

#define IN(type, member) .offset = offsetof(type, member), .size = sizeof(((type *) NULL)->member)
#define TO(member) IN(Config, member)

static const ConfigKey tls_keys[] = {
        {"ca", CONFIG_KEY_FILE, TO(server.ca)},
        {"cert", CONFIG_KEY_FILE, TO(server.cert)},
        {"key", CONFIG_KEY_FILE, TO(server.key)},
        {0},
};

static const ConfigKey server_keys[] = {
        {"host", CONFIG_KEY_STRING, TO(server.host), .fallback = "api.cloudplugs.com", .check = check_host},
        {"port", CONFIG_KEY_INTEGER, TO(server.port), .min = 1, .max = 65535},
        {"tls", CONFIG_KEY_SPECIAL, .keys = tls_keys, .read = take_tls},
        {"keepalive", CONFIG_KEY_INTEGER, TO(server.keepalive_sec), .fallback = "240", .min = 10, .max = 290,
                .unit = "s"},
        {0},
};

static const ConfigKey enroll_keys[] = {
        {"as", CONFIG_KEY_CHOICE, TO(device.enrol_as), .fallback = "thing", .choices = "thing|controller",
                .min = ENROL_THING},
        {"model", CONFIG_KEY_STRING, TO(device.model), .check = check_model,
                .required = "the Plug-ID of the production template (mod-…) to enrol with"},
        {"thing", CONFIG_KEY_STRING, TO(device.thing_hwid), .check = topic_check_thing_hwid},
        {"pass", CONFIG_KEY_STRING, TO(device.pass.text), .check = topic_check_pass, .secret = true},
        {"pass_file", CONFIG_KEY_FILE, TO(device.pass.file)},
        {0},
};

static const ConfigKey device_keys[] = {
        {"hwid", CONFIG_KEY_STRING, TO(device.hwid), .fallback = "auto", .check = check_hwid},
        {"name", CONFIG_KEY_STRING, TO(device.name), .check = check_name},
        {"enroll", CONFIG_KEY_GROUP, .keys = enroll_keys, .optional = true, .after = after_enroll},
        {"plug_id", CONFIG_KEY_STRING, TO(device.plug_id), .check = check_plug_id},
        {"auth", CONFIG_KEY_STRING, TO(device.auth.text), .check = check_auth, .secret = true},
        {"auth_file", CONFIG_KEY_FILE, TO(device.auth.file)},
        {0},
};

static const ConfigKey will_keys[] = {
        {"channel", CONFIG_KEY_STRING, TO(will.channel), .fallback = "status", .check = topic_check_channel},
        {"data", CONFIG_KEY_JSON, TO(will.data), .fallback = "\"offline\""},
        {"online", CONFIG_KEY_JSON, TO(will.online), .fallback = "\"online\""},
        {0},
};

#define KIB 1024.0
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static const ConfigKey spool_keys[] = {
        {"max_size", CONFIG_KEY_SIZE, TO(spool.max_size), .fallback = "64M", .min = MIB, .max = 1024 * GIB},
        {"memory", CONFIG_KEY_SIZE, TO(spool.memory), .fallback = "4M", .min = 256 * KIB, .max = GIB},
        {"sync", CONFIG_KEY_DURATION, TO(spool.sync_usec), .fallback = "5", .min = 0.1, .max = 3600,
                .unit = "s"},
        {0},
};

static const ConfigKey delivery_keys[] = {
        {"confirm", CONFIG_KEY_CHOICE, TO(delivery.barrier), .fallback = "barrier",
                .choices = "none|barrier"},
        {"confirm_timeout", CONFIG_KEY_DURATION, TO(delivery.timeout_usec), .fallback = "20", .min = 1,
                .max = 300, .unit = "s"},
        {"drain_rate", CONFIG_KEY_NUMBER, TO(delivery.drain_rate), .fallback = "0", .min = 0, .max = 1000000,
                .unit = "messages/s"},
        {0},
};

static const ConfigKey time_keys[] = {
        {"wait_sync", CONFIG_KEY_SPECIAL, .read = take_wait_sync},
        {0},
};

const ConfigKey config_keys[] = {
        {"server", CONFIG_KEY_GROUP, .keys = server_keys, .after = after_server},
        {"device", CONFIG_KEY_GROUP, .keys = device_keys, .after = after_device},
        {"will", CONFIG_KEY_GROUP, .keys = will_keys},
        {"spool", CONFIG_KEY_GROUP, .keys = spool_keys},
        {"delivery", CONFIG_KEY_GROUP, .keys = delivery_keys},
        {"time", CONFIG_KEY_GROUP, .keys = time_keys},
        {"sensors", CONFIG_KEY_SPECIAL, .keys = config_sensor_keys, .read = config_take_sensors},
        {0},
};

const ConfigKey config_sensors_file_keys[] = {
        {"sensors", CONFIG_KEY_SPECIAL, .keys = config_sensor_keys, .read = config_take_sensors},
        {0},
};
