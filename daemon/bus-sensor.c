/* SPDX-License-Identifier: Apache-2.0 */

/* com.cloudplugs.Gateway1.Sensor: one object for each sensor, found by its name when it is asked for. */

#include "bus-internal.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "descriptor.h"
#include "payload.h"
#include "util/text.h"
#include "wire.h"

/* --- reading ------------------------------------------------------------------------------------------ */

static const char *state_text(const Host *host)
{
        return host_state_to_string(host_state(host));
}

static const struct {
        const char *name;
        const char *(*get)(const Host *host);
} texts[] = {
        {"Name", host_name},
        {"Plugin", host_plugin},
        {"State", state_text},
        {"LastError", host_last_error},
};

static const struct {
        const char *name;
        uint64_t (*get)(const Host *host);
} counters[] = {
        {"LastSampleAt", host_last_sample_usec},
        {"Samples", host_samples},
};

static const struct {
        uint32_t bit;
        const char *name;
} sandbox[] = {
        {WIRE_SANDBOX_NO_NEW_PRIVS, "no-new-privileges"},
        {WIRE_SANDBOX_SECCOMP, "seccomp"},
        {WIRE_SANDBOX_LANDLOCK, "landlock"},
};

/* The userdata of every property and method. */
static Host *sensor_host(void *userdata)
{
        return ((BusSensor *) userdata)->host;
}

static uint64_t sensor_dropped(const BusSensor *sensor)
{
        return manager_host_dropped(sensor->manager, sensor->host);
}

static int get_text(sd_bus *connection _unused_, const char *path _unused_, const char *interface _unused_,
        const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (strcmp(texts[i].name, property) == 0)
                        return bus_append_text(reply, texts[i].get(sensor_host(userdata)));
        return -ENOENT;
}

static int get_counter(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                if (strcmp(counters[i].name, property) == 0)
                        return sd_bus_message_append(reply, "t", counters[i].get(sensor_host(userdata)));
        return -ENOENT;
}

static int get_dropped(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        return sd_bus_message_append(reply, "t", sensor_dropped(userdata));
}

static int get_restarts(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        return sd_bus_message_append(reply, "u", host_restarts(sensor_host(userdata)));
}

static int get_process_id(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        return sd_bus_message_append(reply, "u", (uint32_t) host_pid(sensor_host(userdata)));
}

static int get_sandbox(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        int r = sd_bus_message_open_container(reply, 'a', "s");

        for (size_t i = 0; i < ELEMENTSOF(sandbox) && r >= 0; i++)
                if (host_sandbox(sensor_host(userdata)) & sandbox[i].bit)
                        r = sd_bus_message_append(reply, "s", sandbox[i].name);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* The value in the channel's own D-Bus type, whatever its JSON looks like (3 may be a number's). */
static int append_value(sd_bus_message *message, const HostChannel *channel)
{
        _cleanup_(json_freep) Json *json = NULL;
        const char *text;
        int r;

        if (channel->type != PLUGD_JSON)
                json = json_parse(channel->value, strlen(channel->value), NULL);
        switch (channel->type) {
        case PLUGD_BOOLEAN:
                return sd_bus_message_append(message, "v", "b", (int) json_boolean(json));
        case PLUGD_INTEGER:
                return sd_bus_message_append(message, "v", "x", json_integer(json));
        case PLUGD_NUMBER:
                return sd_bus_message_append(message, "v", "d", json_number(json));
        case PLUGD_STRING:
                text = json_string(json);
                break;
        default:
                text = channel->value;
        }
        r = sd_bus_message_open_container(message, 'v', "s");
        if (r >= 0)
                r = bus_append_text(message, text ? text : "");
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int append_entry(sd_bus_message *message, const char *key, const char *text)
{
        int r = sd_bus_message_open_container(message, 'e', "ss");

        if (r >= 0)
                r = bus_append_text(message, key);
        if (r >= 0)
                r = bus_append_text(message, text);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int get_values(sd_bus *connection _unused_, const char *path _unused_, const char *interface _unused_,
        const char *property _unused_, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
        size_t n;
        const HostChannel *channels = host_channels(sensor_host(userdata), &n);
        int r = sd_bus_message_open_container(reply, 'a', "{sv}");

        for (size_t i = 0; i < n && r >= 0; i++) {
                if (!channels[i].value)
                        continue;
                r = sd_bus_message_open_container(reply, 'e', "sv");
                if (r >= 0)
                        r = bus_append_text(reply, channels[i].name);
                if (r >= 0)
                        r = append_value(reply, &channels[i]);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_units(sd_bus *connection _unused_, const char *path _unused_, const char *interface _unused_,
        const char *property _unused_, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
        size_t n;
        const HostChannel *channels = host_channels(sensor_host(userdata), &n);
        int r = sd_bus_message_open_container(reply, 'a', "{ss}");

        for (size_t i = 0; i < n && r >= 0; i++)
                if (channels[i].unit && channels[i].unit[0])
                        r = append_entry(reply, channels[i].name, channels[i].unit);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_types(sd_bus *connection _unused_, const char *path _unused_, const char *interface _unused_,
        const char *property _unused_, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
        size_t n;
        const HostChannel *channels = host_channels(sensor_host(userdata), &n);
        int r = sd_bus_message_open_container(reply, 'a', "{ss}");

        for (size_t i = 0; i < n && r >= 0; i++)
                r = append_entry(reply, channels[i].name, descriptor_type_name(channels[i].type));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_interval(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        return sd_bus_message_append(reply, "d", host_interval(sensor_host(userdata)));
}

/* --- doing -------------------------------------------------------------------------------------------- */

static int set_interval(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *message,
        void *userdata, sd_bus_error *error)
{
        double interval_sec;
        int r;

        r = sd_bus_message_read(message, "d", &interval_sec);
        if (r < 0)
                return r;
        r = isfinite(interval_sec) ? host_set_interval(sensor_host(userdata), interval_sec) : -ERANGE;
        if (r == -ERANGE || r == -EINVAL)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "the interval of sensor \"%s\" can be 0.001 to 86400 s, not %g",
                        host_name(sensor_host(userdata)), interval_sec);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED,
                        "cannot set the interval of sensor \"%s\": %s", host_name(sensor_host(userdata)),
                        strerror(-r));
        return 0;
}

static int method_restart(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
        int r = host_restart(sensor_host(userdata));

        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "cannot restart sensor \"%s\": %s",
                        host_name(sensor_host(userdata)),
                        r == -ESHUTDOWN ? "plugd is stopping"
                        : r == -EBUSY   ? "the kernel doesn't let go of its worker yet"
                                        : strerror(-r));
        return sd_bus_reply_method_return(message, NULL);
}

static const sd_bus_vtable sensor_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Plugin", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastError", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Values", "a{sv}", get_values, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Units", "a{ss}", get_units, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Types", "a{ss}", get_types, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastSampleAt", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Samples", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Dropped", "t", get_dropped, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Restarts", "u", get_restarts, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ProcessId", "u", get_process_id, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Sandbox", "as", get_sandbox, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_WRITABLE_PROPERTY("Interval", "d", get_interval, set_interval, 0,
                SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE | SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                "Restart", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_restart, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

/* --- finding ------------------------------------------------------------------------------------------ */

static int find_sensor(sd_bus *connection _unused_, const char *path, const char *interface _unused_,
        void *userdata, void **ret_found, sd_bus_error *error _unused_)
{
        static const char prefix[] = BUS_SENSORS_PATH "/";
        BusSensor *sensor;
        Bus *bus = userdata;
        Host *host;

        if (strncmp(path, prefix, strlen(prefix)) != 0)
                return 0;
        host = manager_find_host(bus->manager, path + strlen(prefix));
        if (!host)
                return 0;
        sensor = bus_find_sensor(bus, host);
        if (!sensor)
                return -ENOMEM;
        *ret_found = sensor;
        return 1;
}

static int enumerate_sensors(sd_bus *connection _unused_, const char *prefix _unused_, void *userdata,
        char ***ret_nodes, sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;
        size_t n = manager_n_hosts(bus->manager);
        char **nodes = calloc(n + 1, sizeof(char *));

        if (!nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                nodes[i] = text_printf("%s/%s", BUS_SENSORS_PATH, host_name(manager_host(bus->manager, i)));
                if (!nodes[i]) {
                        while (i > 0)
                                free(nodes[--i]);
                        free(nodes);
                        return -ENOMEM;
                }
        }
        *ret_nodes = nodes;
        return 0;
}

int bus_sensor_expose(Bus *bus)
{
        int r = sd_bus_add_node_enumerator(bus->connection, NULL, BUS_SENSORS_PATH, enumerate_sensors, bus);

        return r < 0 ? r
                     : sd_bus_add_fallback_vtable(bus->connection, NULL, BUS_SENSORS_PATH,
                               BUS_INTERFACE_SENSOR, sensor_vtable, find_sensor, bus);
}

/* --- telling ------------------------------------------------------------------------------------------ */

#define NAMES_MAX (ELEMENTSOF(sensor_vtable) + 1)

/* Brings what is shown up to date, and adds the names of what changed. */
static size_t show_prompt(BusSensor *sensor, const char **names, size_t n)
{
        const Host *host = sensor->host;
        size_t n_channels;

        host_channels(host, &n_channels);
        if (sensor->state != host_state(host))
                names[n++] = "State";
        if (strcmp(sensor->last_error ? sensor->last_error : "", host_last_error(host)) != 0) {
                names[n++] = "LastError";
                free(sensor->last_error);
                sensor->last_error = strdup(host_last_error(host));
        }
        if (sensor->restarts != host_restarts(host))
                names[n++] = "Restarts";
        if (sensor->pid != host_pid(host))
                names[n++] = "ProcessId";
        if (sensor->sandbox != host_sandbox(host))
                names[n++] = "Sandbox";
        if (sensor->interval < host_interval(host) || sensor->interval > host_interval(host))
                names[n++] = "Interval";
        /* A new worker may declare other channels, and each declares them only when it has opened. */
        if (sensor->n_channels != n_channels || sensor->state != host_state(host)) {
                names[n++] = "Units";
                names[n++] = "Types";
        }
        sensor->state = host_state(host);
        sensor->restarts = host_restarts(host);
        sensor->pid = host_pid(host);
        sensor->sandbox = host_sandbox(host);
        sensor->interval = host_interval(host);
        sensor->n_channels = n_channels;
        return n;
}

static size_t show_steady(BusSensor *sensor, const char **names, size_t n)
{
        const Host *host = sensor->host;

        if (sensor->samples != host_samples(host)) {
                names[n++] = "Values";
                names[n++] = "Samples";
        }
        if (sensor->last_sample_usec != host_last_sample_usec(host))
                names[n++] = "LastSampleAt";
        if (sensor->dropped != sensor_dropped(sensor))
                names[n++] = "Dropped";
        sensor->samples = host_samples(host);
        sensor->last_sample_usec = host_last_sample_usec(host);
        sensor->dropped = sensor_dropped(sensor);
        return n;
}

void bus_sensor_show(BusSensor *sensor)
{
        const char *names[NAMES_MAX];

        show_steady(sensor, names, show_prompt(sensor, names, 0));
}

void bus_sensor_flush(Bus *bus, BusSensor *sensor, uint64_t now_usec, uint64_t *next_usec)
{
        _cleanup_(freep) char *path = NULL;
        const char *names[NAMES_MAX] = {};
        size_t n = 0;

        if (bus_pace_due(&sensor->prompt, BUS_PROMPT_USEC, now_usec, next_usec))
                n = show_prompt(sensor, names, n);
        if (bus_pace_due(&sensor->steady, BUS_STEADY_USEC, now_usec, next_usec))
                n = show_steady(sensor, names, n);
        names[n] = NULL;
        if (n == 0)
                return;
        path = text_printf("%s/%s", BUS_SENSORS_PATH, host_name(sensor->host));
        if (path)
                bus_tell(bus, path, BUS_INTERFACE_SENSOR, names);
}
