/* SPDX-License-Identifier: Apache-2.0 */

/* What plugctl asks the daemon, and how it holds the answers: any D-Bus value becomes a Json. */

#include "ctl/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "bus-names.h"
#include "util/text.h"

/* --- values ------------------------------------------------------------------------------------------- */

static int read_value(sd_bus_message *message, Json **ret);

static int read_basic(sd_bus_message *message, char type, Json **ret)
{
        union {
                uint8_t y;
                int b; /* a boolean's size */
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
        } value;
        Json *json;
        int r = sd_bus_message_read_basic(message, type, &value);

        if (r < 0)
                return r;
        switch (type) {
        case 'y':
                json = json_new_unsigned(value.y);
                break;
        case 'b':
                json = json_new_boolean(value.b);
                break;
        case 'n':
                json = json_new_integer(value.n);
                break;
        case 'q':
                json = json_new_unsigned(value.q);
                break;
        case 'i':
                json = json_new_integer(value.i);
                break;
        case 'u':
                json = json_new_unsigned(value.u);
                break;
        case 'x':
                json = json_new_integer(value.x);
                break;
        case 't':
                json = json_new_unsigned(value.t);
                break;
        case 'd':
                json = json_new_number(value.d);
                break;
        case 's':
        case 'o':
        case 'g':
                json = json_new_string(value.s);
                break;
        default:
                return -EBADMSG;
        }
        if (!json)
                return -ENOMEM;
        *ret = json;
        return 0;
}

/* {key: value, …}: keys are strings or paths. */
static int read_dictionary(sd_bus_message *message, Json *object)
{
        const char *contents;
        char type;
        int r;

        while ((r = sd_bus_message_peek_type(message, &type, &contents)) > 0) {
                _cleanup_(json_freep) Json *value = NULL;
                const char *key;

                r = sd_bus_message_enter_container(message, type, contents);
                if (r < 0)
                        return r;
                if (contents[0] != 's' && contents[0] != 'o')
                        return -EBADMSG;
                if ((r = sd_bus_message_read_basic(message, contents[0], &key)) < 0 ||
                        (r = read_value(message, &value)) < 0 ||
                        (r = sd_bus_message_exit_container(message)) < 0 ||
                        (r = json_set(object, key, TAKE_PTR(value))) < 0)
                        return r;
        }
        return r;
}

static int read_array(sd_bus_message *message, Json *array)
{
        int r;

        while ((r = sd_bus_message_at_end(message, false)) == 0) {
                _cleanup_(json_freep) Json *value = NULL;

                if ((r = read_value(message, &value)) < 0 || (r = json_append(array, TAKE_PTR(value))) < 0)
                        return r;
        }
        return r;
}

/* The value that comes next; *ret is NULL for JSON's null. */
static int read_value(sd_bus_message *message, Json **ret)
{
        _cleanup_(json_freep) Json *json = NULL;
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(message, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        if (type != 'a' && type != 'v' && type != 'r')
                return read_basic(message, type, ret);

        r = sd_bus_message_enter_container(message, type, contents);
        if (r < 0)
                return r;
        if (type == 'v') {
                r = read_value(message, &json);
        } else if (type == 'a' && contents[0] == '{') {
                json = json_new_object();
                r = json ? read_dictionary(message, json) : -ENOMEM;
        } else {
                json = json_new_array();
                r = json ? read_array(message, json) : -ENOMEM;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(json);
        return 0;
}

/* --- calls -------------------------------------------------------------------------------------------- */

static const char *scope(const Ctl *ctl)
{
        return ctl->user ? "session bus" : "system bus";
}

static int client_open(Ctl *ctl, char **ret_error)
{
        int r;

        if (ctl->bus)
                return 0;
        r = ctl->user ? sd_bus_open_user(&ctl->bus) : sd_bus_open_system(&ctl->bus);
        if (r == -ENOMEDIUM)
                text_set(ret_error, "there is no session bus: neither DBUS_SESSION_BUS_ADDRESS nor "
                                    "XDG_RUNTIME_DIR is set");
        else if (r < 0)
                text_set(ret_error, "cannot reach the %s: %s%s", scope(ctl), strerror(-r),
                        r == -ENOENT || r == -ECONNREFUSED ? "; does dbus run?" : "");
        if (r < 0)
                ctl->bus = NULL;
        return r;
}

/* Words for what came back instead of an answer. */
static int client_failed(
        const Ctl *ctl, const char *method, const sd_bus_error *error, int r, char **ret_error)
{
        if (sd_bus_error_has_names(error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER)) {
                text_set(ret_error,
                        ctl->user ? "plugd is not running (no %s on the session bus): start it with \"plugd "
                                    "--user\", or leave --user out to ask the system's"
                                  : "plugd is not running (no %s on the system bus): start it with "
                                    "\"systemctl start plugd\", or add --user to ask your own",
                        BUS_NAME);
                return -ESRCH;
        }
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED)) {
                text_set(ret_error, "not allowed: %s is for root and members of the group plugd", method);
                return -EACCES;
        }
        if (sd_bus_error_has_names(error, SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_INTERFACE)) {
                text_set(ret_error, "%s", error->message);
                return -ENOENT;
        }
        if (sd_bus_error_has_names(error, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT)) {
                text_set(ret_error, "plugd did not answer");
                return -ETIMEDOUT;
        }
        text_set(
                ret_error, "%s", error && error->message && *error->message ? error->message : strerror(-r));
        return r;
}

/* *ret: the reply, to be unreferenced. */
static int client_send(Ctl *ctl, sd_bus_message *message, sd_bus_message **ret, char **ret_error)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        /* To look must not start a daemon that somebody has stopped. */
        r = sd_bus_message_set_auto_start(message, false);
        if (r >= 0)
                r = sd_bus_call(ctl->bus, message, ctl->timeout_usec, &error, ret);
        if (r < 0)
                r = client_failed(ctl, sd_bus_message_get_member(message), &error, r, ret_error);
        sd_bus_error_free(&error);
        return r;
}

static int client_new_call(Ctl *ctl, const char *path, const char *interface, const char *method,
        sd_bus_message **ret, char **ret_error)
{
        int r = client_open(ctl, ret_error);

        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(ctl->bus, ret, BUS_NAME, path, interface, method);
        if (r < 0)
                text_set(ret_error, "cannot make a D-Bus message: %s", strerror(-r));
        return r;
}

/* Takes the value of an answer. */
static int client_read(sd_bus_message *reply, Json **ret, char **ret_error)
{
        int r = read_value(reply, ret);

        if (r < 0)
                text_set(ret_error, "cannot read plugd's answer: %s", strerror(-r));
        return r;
}

static int client_properties(Ctl *ctl, const char *path, const char *interface, Json **ret, char **ret_error)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        int r;

        r = client_new_call(ctl, path, "org.freedesktop.DBus.Properties", "GetAll", &message, ret_error);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "s", interface);
        if (r >= 0)
                r = client_send(ctl, message, &reply, ret_error);
        return r < 0 ? r : client_read(reply, ret, ret_error);
}

int client_manager(Ctl *ctl, Json **ret, char **ret_error)
{
        return client_properties(ctl, BUS_PATH, BUS_INTERFACE_MANAGER, ret, ret_error);
}

int client_call(Ctl *ctl, const char *path, const char *interface, const char *method, char **ret_text,
        char **ret_error, ...)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        const char *argument;
        va_list arguments;
        char *text;
        int r;

        r = client_new_call(ctl, path, interface, method, &message, ret_error);
        if (r < 0)
                return r;
        va_start(arguments, ret_error);
        while (r >= 0 && (argument = va_arg(arguments, const char *)))
                r = sd_bus_message_append(message, "s", argument);
        va_end(arguments);
        if (r < 0) {
                text_set(ret_error, "cannot make a D-Bus message: %s", strerror(-r));
                return r;
        }
        r = client_send(ctl, message, &reply, ret_error);
        if (r < 0 || !ret_text)
                return r;
        r = sd_bus_message_read(reply, "s", &argument);
        text = r < 0 ? NULL : strdup(argument);
        if (!text) {
                text_set(ret_error, "cannot read plugd's answer: %s", strerror(r < 0 ? -r : ENOMEM));
                return r < 0 ? r : -ENOMEM;
        }
        *ret_text = text;
        return 0;
}

/* --- sensors ------------------------------------------------------------------------------------------ */

/* NULL where the name can't be a sensor's. Allocated. */
static char *client_sensor_path(const char *name)
{
        for (const char *p = name; *p; p++)
                if (!isalnum((unsigned char) *p) && *p != '_')
                        return NULL;
        return *name ? text_printf("%s/%s", BUS_SENSORS_PATH, name) : NULL;
}

/* A name that nobody has: says which there are. */
static void client_no_sensor(Ctl *ctl, const char *name, char **ret_error)
{
        _cleanup_(freep) char *names = NULL, *trouble = NULL;
        _cleanup_(json_freep) Json *sensors = NULL;

        if (client_sensors(ctl, &sensors, &trouble) < 0) {
                text_set(ret_error, "%s", trouble ? trouble : "cannot ask for the sensors");
                return;
        }
        for (size_t i = 0; i < json_size(sensors); i++) {
                const char *other = json_string(json_get(json_at(sensors, i), "Name"));

                text_set(&names, "%s%s%s", names ? names : "", names ? ", " : "", other ? other : "?");
        }
        text_set(ret_error, "there is no sensor \"%s\"; there %s%s", name,
                names ? "are: " : "are none: the configuration has no sensors", names ? names : "");
}

/* Values of channels that carry JSON come as text: they become JSON again. */
static int unfold_values(Json *sensor)
{
        const Json *values = json_get(sensor, "Values"), *types = json_get(sensor, "Types");
        _cleanup_(json_freep) Json *unfolded = json_new_object();

        if (!unfolded)
                return -ENOMEM;
        for (size_t i = 0; i < json_size(values); i++) {
                _cleanup_(freep) char *text = NULL;
                const char *channel, *type;
                const Json *value = json_member(values, i, &channel);
                int r;

                type = json_string(json_get(types, channel));
                text = type && strcmp(type, "json") == 0 && json_string(value) ? strdup(json_string(value))
                                                                               : json_format(value, false);
                if (!text)
                        return -ENOMEM;
                r = json_set(unfolded, channel, json_parse(text, strlen(text), NULL));
                if (r < 0)
                        return r;
        }
        return json_set(sensor, "Values", TAKE_PTR(unfolded));
}

int client_sensor(Ctl *ctl, const char *name, Json **ret, char **ret_error)
{
        _cleanup_(freep) char *path = client_sensor_path(name);
        _cleanup_(json_freep) Json *sensor = NULL;
        int r;

        r = path ? client_properties(ctl, path, BUS_INTERFACE_SENSOR, &sensor, ret_error) : -ENOENT;
        if (r == -ENOENT)
                client_no_sensor(ctl, name, ret_error);
        if (r < 0)
                return r;
        r = unfold_values(sensor);
        if (r < 0) {
                text_set(ret_error, "cannot read plugd's answer: %s", strerror(-r));
                return r;
        }
        *ret = TAKE_PTR(sensor);
        return 0;
}

int client_sensor_call(Ctl *ctl, const char *name, const char *method, char **ret_error)
{
        _cleanup_(freep) char *path = client_sensor_path(name);
        int r = path ? client_call(ctl, path, BUS_INTERFACE_SENSOR, method, NULL, ret_error, NULL) : -ENOENT;

        if (r == -ENOENT)
                client_no_sensor(ctl, name, ret_error);
        return r;
}

typedef struct Sensors {
        Json **items;
        size_t n;
} Sensors;

static void sensors_deinit(Sensors *sensors)
{
        for (size_t i = 0; i < sensors->n; i++)
                json_free(sensors->items[i]);
        free(sensors->items);
}

/* The interfaces of one object, {interface: {property: value}}: keeps a sensor's properties. */
static int read_object(sd_bus_message *message, Sensors *sensors)
{
        const char *interface;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{sa{sv}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(message, 'e', "sa{sv}")) > 0) {
                _cleanup_(json_freep) Json *properties = NULL;
                Json **items;

                if ((r = sd_bus_message_read_basic(message, 's', &interface)) < 0 ||
                        (r = read_value(message, &properties)) < 0 ||
                        (r = sd_bus_message_exit_container(message)) < 0)
                        return r;
                if (strcmp(interface, BUS_INTERFACE_SENSOR) != 0)
                        continue;
                r = unfold_values(properties);
                if (r < 0)
                        return r;
                items = reallocarray(sensors->items, sensors->n + 1, sizeof(Json *));
                if (!items)
                        return -ENOMEM;
                sensors->items = items;
                sensors->items[sensors->n++] = TAKE_PTR(properties);
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

/* {path: {interface: {property: value}}} */
static int read_objects(sd_bus_message *message, Sensors *sensors)
{
        int r = sd_bus_message_enter_container(message, 'a', "{oa{sa{sv}}}");

        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(message, 'e', "oa{sa{sv}}")) > 0)
                if ((r = sd_bus_message_skip(message, "o")) < 0 || (r = read_object(message, sensors)) < 0 ||
                        (r = sd_bus_message_exit_container(message)) < 0)
                        return r;
        return r;
}

static int compare_sensors(const void *a, const void *b)
{
        const char *left = json_string(json_get(*(Json *const *) a, "Name"));
        const char *right = json_string(json_get(*(Json *const *) b, "Name"));

        return strcmp(left ? left : "", right ? right : "");
}

int client_sensors(Ctl *ctl, Json **ret, char **ret_error)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_(sensors_deinit) Sensors sensors = {};
        _cleanup_(json_freep) Json *array = NULL;
        int r;

        r = client_new_call(ctl, BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                &message, ret_error);
        if (r < 0)
                return r;
        r = client_send(ctl, message, &reply, ret_error);
        if (r < 0)
                return r;
        r = read_objects(reply, &sensors);
        if (r >= 0) {
                /* Their order on the bus means nothing. */
                if (sensors.n > 1)
                        qsort(sensors.items, sensors.n, sizeof(Json *), compare_sensors);
                array = json_new_array();
                r = array ? 0 : -ENOMEM;
        }
        for (size_t i = 0; i < sensors.n && r >= 0; i++)
                r = json_append(array, TAKE_PTR(sensors.items[i]));
        if (r < 0) {
                text_set(ret_error, "cannot read plugd's answer: %s", strerror(-r));
                return r;
        }
        *ret = TAKE_PTR(array);
        return 0;
}
