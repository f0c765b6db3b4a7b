/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The connection to the bus: made, kept and made again, with its name; and the pace of PropertiesChanged.
 * Nothing here waits once the loop runs, and nothing wakes it while nothing changes. The manager is told by
 * its owner what happens; the bus is only its observer.
 */

#include "bus-internal.h"

#include <errno.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define START_USEC (2 * USEC_PER_SEC) /* for the bus's word on the name, before the loop runs */
#define RETRY_MIN_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define LATER_ACCURACY_USEC (200 * USEC_PER_MSEC) /* so that what is due together wakes us once */

static int bus_connect(Bus *bus, char **ret_error);

static const char *bus_scope(const Bus *bus)
{
        return bus->user ? "session bus" : "system bus";
}

/* --- telling ------------------------------------------------------------------------------------------ */

bool bus_pace_due(BusPace *pace, uint64_t gap_usec, uint64_t now_usec, uint64_t *next_usec)
{
        if (!pace->dirty)
                return false;
        if (pace->told_usec > 0 && now_usec < pace->told_usec + gap_usec) {
                *next_usec = MIN(*next_usec, pace->told_usec + gap_usec);
                return false;
        }
        *pace = (BusPace){.told_usec = now_usec};
        return true;
}

/* At this time, if not before. */
static void bus_flush_at(Bus *bus, uint64_t usec)
{
        int r;

        if (bus->later_usec <= usec)
                return;
        r = sd_event_source_set_time(bus->later, usec);
        if (r >= 0)
                r = sd_event_source_set_enabled(bus->later, SD_EVENT_ONESHOT);
        if (r < 0)
                log_debug("bus: cannot set a timer: %s", strerror(-r));
        else
                bus->later_usec = usec;
}

static void bus_flush(Bus *bus)
{
        uint64_t now_usec = clock_monotonic_usec(), next_usec = UINT64_MAX, queued = 0;

        if (!bus->named)
                return;
        sd_bus_get_n_queued_write(bus->connection, &queued);
        if (queued > BUS_QUEUE_SIGNALS) {
                bus_flush_at(bus, now_usec + BUS_STEADY_USEC);
                return;
        }
        bus_manager_flush(bus, now_usec, &next_usec);
        for (size_t i = 0; i < bus->n_sensors; i++)
                bus_sensor_flush(bus, &bus->sensors[i], now_usec, &next_usec);
        if (next_usec != UINT64_MAX)
                bus_flush_at(bus, next_usec);
}

static int on_soon(sd_event_source *source _unused_, void *userdata)
{
        bus_flush(userdata);
        return 0;
}

static int on_later(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        Bus *bus = userdata;

        bus->later_usec = UINT64_MAX;
        bus_flush(bus);
        return 0;
}

/* Told after this turn of the loop, with what else happens in it, or when it may be told again. */
static void bus_mark(Bus *bus, BusPace *pace, uint64_t gap_usec)
{
        if (pace->dirty)
                return;
        pace->dirty = true;
        if (pace->told_usec == 0 || clock_monotonic_usec() >= pace->told_usec + gap_usec)
                sd_event_source_set_enabled(bus->soon, SD_EVENT_ONESHOT);
        else
                bus_flush_at(bus, pace->told_usec + gap_usec);
}

BusSensor *bus_find_sensor(Bus *bus, Host *host)
{
        BusSensor *sensors;

        for (size_t i = 0; i < bus->n_sensors; i++)
                if (bus->sensors[i].host == host)
                        return &bus->sensors[i];
        sensors = realloc(bus->sensors, (bus->n_sensors + 1) * sizeof(BusSensor));
        if (!sensors)
                return NULL;
        bus->sensors = sensors;
        bus->sensors[bus->n_sensors] = (BusSensor){.manager = bus->manager, .host = host};
        return &bus->sensors[bus->n_sensors++];
}

static void on_changed(void *userdata)
{
        Bus *bus = userdata;

        if (!bus->named)
                return;
        if (!bus->prompt.dirty && bus_manager_differs(bus))
                bus_mark(bus, &bus->prompt, BUS_PROMPT_USEC);
        bus_mark(bus, &bus->steady, BUS_STEADY_USEC);
}

static void on_counted(void *userdata)
{
        Bus *bus = userdata;

        if (bus->named)
                bus_mark(bus, &bus->steady, BUS_STEADY_USEC);
}

static void on_host_changed(Host *host, void *userdata)
{
        Bus *bus = userdata;
        BusSensor *sensor;

        if (bus->named && (sensor = bus_find_sensor(bus, host)))
                bus_mark(bus, &sensor->prompt, BUS_PROMPT_USEC);
}

static void on_host_sampled(Host *host, void *userdata)
{
        Bus *bus = userdata;
        BusSensor *sensor;

        if (bus->named && (sensor = bus_find_sensor(bus, host)))
                bus_mark(bus, &sensor->steady, BUS_STEADY_USEC);
}

void bus_tell(Bus *bus, const char *path, const char *interface, const char **names)
{
        int r = sd_bus_emit_properties_changed_strv(bus->connection, path, interface, (char **) names);

        if (r < 0)
                log_debug("bus: cannot tell the changes of %s: %s", path, strerror(-r));
}

int bus_append_text(sd_bus_message *message, const char *text)
{
        _cleanup_(freep) char *clean = NULL;

        if (!text_is_utf8(text, strlen(text))) {
                clean = strdup(text);
                if (!clean)
                        return -ENOMEM;
                for (char *p = clean; *p; p++)
                        if (*p & 0x80)
                                *p = '?';
                text = clean;
        }
        return sd_bus_message_append(message, "s", text);
}

int bus_fail(sd_bus_error *error, const char *name, const char *sentence, int r)
{
        if (r == -ENOMEM)
                name = SD_BUS_ERROR_NO_MEMORY;
        return sd_bus_error_set(error, name, sentence ? sentence : strerror(-r));
}

/* --- the connection ----------------------------------------------------------------------------------- */

static void bus_disconnect(Bus *bus)
{
        bus->named = false;
        if (!bus->connection)
                return;
        sd_bus_detach_event(bus->connection);
        bus->connection = sd_bus_close_unref(bus->connection);
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata);

/* Says it once, and tries again. */
static void bus_lose(Bus *bus, const char *text)
{
        uint64_t wait_usec = backoff_next(&bus->backoff);
        int r;

        bus_disconnect(bus);
        if (!bus->troubled)
                log_warning("%s; it is tried again, and everything else goes on without", text);
        else
                log_debug("%s", text);
        bus->troubled = true;
        bus->retry = sd_event_source_unref(bus->retry);
        r = sd_event_add_time_relative(
                bus->event, &bus->retry, CLOCK_MONOTONIC, wait_usec, 0, on_retry, bus);
        if (r < 0)
                log_error("cannot set a timer to try the %s again: %s", bus_scope(bus), strerror(-r));
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        _cleanup_(freep) char *error = NULL;
        Bus *bus = userdata;

        bus->retry = sd_event_source_unref(bus->retry);
        if (bus_connect(bus, &error) < 0 || sd_bus_attach_event(bus->connection, bus->event, 0) < 0)
                bus_lose(bus, error ? error : "not enough memory for D-Bus");
        return 0;
}

static int on_disconnected(sd_bus_message *message _unused_, void *userdata, sd_bus_error *error _unused_)
{
        _cleanup_(freep) char *text = NULL;
        Bus *bus = userdata;

        text_set(&text, "the %s has gone", bus_scope(bus));
        bus_lose(bus, text ? text : "the bus has gone");
        return 0;
}

/* Sees every message first: a bus that asks but doesn't take answers would fill our memory with them. */
static int on_message(sd_bus_message *message _unused_, void *userdata, sd_bus_error *error _unused_)
{
        Bus *bus = userdata;
        uint64_t queued = 0;

        if (!bus->connection || sd_bus_get_n_queued_write(bus->connection, &queued) < 0 ||
                queued <= BUS_QUEUE_MAX)
                return 0;
        bus_lose(bus, "the bus asks and takes no answers");
        return 1;
}

static void bus_refused(Bus *bus, int r, const sd_bus_error *error)
{
        _cleanup_(freep) char *text = NULL;

        bus->refused = r;
        if (r == -EEXIST)
                text_set(&text, "another plugd has the name %s on the %s", BUS_NAME, bus_scope(bus));
        else if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
                text_set(&text,
                        "the %s doesn't let this user have the name %s: is plugd's D-Bus policy installed, "
                        "and does it run as the user plugd or root?",
                        bus_scope(bus), BUS_NAME);
        else
                text_set(&text, "cannot get the name %s on the %s: %s", BUS_NAME, bus_scope(bus),
                        error && error->message ? error->message : strerror(-r));
        /* Before the loop runs, bus_new() hands this one to its caller. */
        if (r != -EEXIST || sd_bus_get_event(bus->connection))
                bus_lose(bus, text ? text : "cannot get the name on the bus");
}

static int on_name(sd_bus_message *message, void *userdata, sd_bus_error *error _unused_)
{
        Bus *bus = userdata;
        uint32_t answer = 0;
        int r;

        if (sd_bus_message_is_method_error(message, NULL)) {
                bus_refused(bus, -EACCES, sd_bus_message_get_error(message));
                return 1;
        }
        r = sd_bus_message_read(message, "u", &answer);
        if (r < 0 || (answer != 1 && answer != 4)) { /* primary owner; was it before */
                bus_refused(bus, r < 0 ? r : -EEXIST, NULL);
                return 1;
        }
        bus->named = true;
        bus->refused = 0;
        backoff_reset(&bus->backoff);
        if (bus->troubled)
                log_notice("on the %s again as %s", bus_scope(bus), BUS_NAME);
        bus->troubled = false;
        sd_event_source_set_enabled(bus->soon, SD_EVENT_ONESHOT); /* what waited to be told */
        return 1;
}

static int bus_connect(Bus *bus, char **ret_error)
{
        int r;

        r = bus->user ? sd_bus_open_user(&bus->connection) : sd_bus_open_system(&bus->connection);
        if (r < 0) {
                bus->connection = NULL;
                text_set(ret_error, "cannot reach the %s: %s", bus_scope(bus),
                        r == -ENOMEDIUM ? "no address: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR "
                                          "is set"
                                        : strerror(-r));
                return r;
        }
        /* Leaving must not wait for a bus that hangs. */
        if ((r = sd_bus_set_close_on_exit(bus->connection, false)) < 0 ||
                (r = sd_bus_match_signal(bus->connection, NULL, "org.freedesktop.DBus.Local",
                         "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
                         on_disconnected, bus)) < 0 ||
                (r = sd_bus_add_filter(bus->connection, NULL, on_message, bus)) < 0 ||
                (r = sd_bus_add_object_manager(bus->connection, NULL, BUS_PATH)) < 0 ||
                (r = bus_manager_expose(bus)) < 0 || (r = bus_sensor_expose(bus)) < 0 ||
                (r = sd_bus_request_name_async(bus->connection, NULL, BUS_NAME, 0, on_name, bus)) < 0) {
                bus_disconnect(bus);
                text_set(ret_error, "cannot use the %s: %s", bus_scope(bus), strerror(-r));
                return r;
        }
        return 0;
}

/* Before the loop runs. */
static int bus_await_name(Bus *bus)
{
        uint64_t deadline_usec = clock_monotonic_usec() + START_USEC;

        while (bus->connection && !bus->named && bus->refused == 0) {
                uint64_t now_usec = clock_monotonic_usec();
                int r;

                if (now_usec >= deadline_usec)
                        return 0;
                r = sd_bus_process(bus->connection, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus->connection, deadline_usec - now_usec);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return bus->refused == -EEXIST ? -EEXIST : 0;
}

static int bus_start(Bus *bus, char **ret_error)
{
        static const ManagerObserver observer = {
                .on_changed = on_changed,
                .on_counted = on_counted,
                .on_host_changed = on_host_changed,
                .on_host_sampled = on_host_sampled,
        };
        _cleanup_(freep) char *error = NULL;
        int r;

        if ((r = sd_event_add_defer(bus->event, &bus->soon, on_soon, bus)) < 0 ||
                (r = sd_event_source_set_enabled(bus->soon, SD_EVENT_OFF)) < 0 ||
                (r = sd_event_add_time(bus->event, &bus->later, CLOCK_MONOTONIC, 0, LATER_ACCURACY_USEC,
                         on_later, bus)) < 0 ||
                (r = sd_event_source_set_enabled(bus->later, SD_EVENT_OFF)) < 0) {
                text_set(ret_error, "cannot set up D-Bus: %s", strerror(-r));
                return r;
        }
        bus_manager_show(bus);
        for (size_t i = 0; i < manager_n_hosts(bus->manager); i++) {
                BusSensor *sensor = bus_find_sensor(bus, manager_host(bus->manager, i));

                if (sensor)
                        bus_sensor_show(sensor);
        }
        r = manager_add_observer(bus->manager, &observer, bus);
        if (r < 0) {
                text_set(ret_error, "cannot watch the manager for D-Bus: %s", strerror(-r));
                return r;
        }

        r = bus_connect(bus, &error);
        if (r >= 0)
                r = bus_await_name(bus);
        if (r == -EEXIST) {
                text_set(ret_error,
                        "another plugd runs: the name %s on the %s has an owner; stop it first%s", BUS_NAME,
                        bus_scope(bus), bus->user ? "" : " (systemctl stop plugd)");
                return r;
        }
        /* An answer that came with the wait may have led to a retry already. */
        if (r >= 0 && bus->connection)
                r = sd_bus_attach_event(bus->connection, bus->event, 0);
        if (r < 0) {
                if (!error)
                        text_set(&error, "cannot use the %s: %s", bus_scope(bus), strerror(-r));
                bus_lose(bus, error ? error : "not enough memory for D-Bus");
        }
        return 0;
}

int bus_new(Bus **ret, sd_event *event, Manager *manager, bool user, char **ret_error)
{
        _cleanup_(bus_freep) Bus *bus = calloc(1, sizeof(Bus));
        int r;

        if (!bus) {
                text_set(ret_error, "not enough memory for D-Bus");
                return -ENOMEM;
        }
        *bus = (Bus){
                .event = sd_event_ref(event),
                .manager = manager,
                .user = user,
                .backoff = {.first_usec = RETRY_MIN_USEC, .max_usec = RETRY_MAX_USEC},
                .later_usec = UINT64_MAX,
        };
        r = bus_start(bus, ret_error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

Bus *bus_free(Bus *bus)
{
        if (!bus)
                return NULL;
        manager_remove_observer(bus->manager, bus);
        bus_disconnect(bus);
        sd_event_source_disable_unref(bus->retry);
        sd_event_source_disable_unref(bus->soon);
        sd_event_source_disable_unref(bus->later);
        bus_manager_shown_deinit(&bus->shown);
        for (size_t i = 0; i < bus->n_sensors; i++)
                free(bus->sensors[i].last_error);
        free(bus->sensors);
        sd_event_unref(bus->event);
        free(bus);
        return NULL;
}
