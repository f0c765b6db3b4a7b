/* SPDX-License-Identifier: Apache-2.0 */

/* com.cloudplugs.Gateway1.Manager: what the manager knows, and what it can be asked to do. */

#include "bus-internal.h"

#include <errno.h>
#include <string.h>

#include "plugd-build.h"
#include "util/clock.h"

static const char *state_text(const Manager *manager)
{
        return manager_state_to_string(manager_state(manager));
}

static const char *spool_trouble(const Manager *manager)
{
        ManagerCounters counters;

        manager_get_counters(manager, &counters);
        return counters.spool_trouble;
}

static const char *clock_trouble(const Manager *manager)
{
        ManagerCounters counters;

        manager_get_counters(manager, &counters);
        return counters.clock_trouble;
}

static bool spool_full(const Manager *manager)
{
        ManagerCounters counters;

        manager_get_counters(manager, &counters);
        return counters.spool_full;
}

static const struct {
        const char *name;
        const char *(*get)(const Manager *manager);
} texts[BUS_MANAGER_TEXTS] = {
        {"HardwareId", manager_hardware_id},
        {"PlugId", manager_plug_id},
        {"Name", manager_name},
        {"State", state_text},
        {"Server", manager_server},
        {"LastError", manager_last_error},
        {"SpoolTrouble", spool_trouble},
        {"ClockTrouble", clock_trouble},
};

static const struct {
        const char *name;
        size_t offset;
} counters[] = {
        {"Published", offsetof(ManagerCounters, published)},
        {"Confirmed", offsetof(ManagerCounters, confirmed)},
        {"Dropped", offsetof(ManagerCounters, dropped)},
        {"SpoolMessages", offsetof(ManagerCounters, spool_messages)},
        {"SpoolBytes", offsetof(ManagerCounters, spool_bytes)},
        {"Connections", offsetof(ManagerCounters, connections)},
        {"RoundTrip", offsetof(ManagerCounters, round_trip_usec)},
        {"Held", offsetof(ManagerCounters, held)},
        {"Estimated", offsetof(ManagerCounters, estimated)},
        {"ClockSetBack", offsetof(ManagerCounters, set_back)},
};

static uint64_t counter(const ManagerCounters *all, size_t index)
{
        return *(const uint64_t *) ((const char *) all + counters[index].offset);
}

/* --- reading ------------------------------------------------------------------------------------------ */

static int get_version(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply,
        void *userdata _unused_, sd_bus_error *error _unused_)
{
        return sd_bus_message_append(reply, "s", PLUGD_VERSION);
}

static int get_text(sd_bus *connection _unused_, const char *path _unused_, const char *interface _unused_,
        const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (strcmp(texts[i].name, property) == 0)
                        return bus_append_text(reply, texts[i].get(bus->manager));
        return -ENOENT;
}

static int get_counter(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;
        ManagerCounters all;

        manager_get_counters(bus->manager, &all);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                if (strcmp(counters[i].name, property) == 0)
                        return sd_bus_message_append(reply, "t", counter(&all, i));
        return -ENOENT;
}

static int get_secure(sd_bus *connection _unused_, const char *path _unused_, const char *interface _unused_,
        const char *property _unused_, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;

        return sd_bus_message_append(reply, "b", (int) manager_secure(bus->manager));
}

static int get_spool_full(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;

        return sd_bus_message_append(reply, "b", (int) spool_full(bus->manager));
}

static int get_confirm(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;

        return sd_bus_message_append(reply, "s", manager_confirm(bus->manager));
}

static int get_connected_since(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;

        return sd_bus_message_append(reply, "t", manager_connected_since_usec(bus->manager));
}

/* The time of day follows the clock; what is compared is when on the clock that doesn't jump. */
static int get_next_try(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property _unused_, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;
        uint64_t usec = manager_next_try_usec(bus->manager), now_usec = clock_monotonic_usec();

        if (usec > 0)
                usec = clock_realtime_usec() + (usec > now_usec ? usec - now_usec : 0);
        return sd_bus_message_append(reply, "t", usec);
}

/* These change all the time: who wants to know asks. */
static int get_outlook(sd_bus *connection _unused_, const char *path _unused_,
        const char *interface _unused_, const char *property, sd_bus_message *reply, void *userdata,
        sd_bus_error *error _unused_)
{
        const Bus *bus = userdata;
        ManagerOutlook outlook;

        manager_get_outlook(bus->manager, &outlook);
        if (strcmp(property, "SpoolLimit") == 0)
                return sd_bus_message_append(reply, "t", outlook.limit_bytes);
        if (strcmp(property, "SpoolRateSpan") == 0)
                return sd_bus_message_append(reply, "t", outlook.rate.span_usec / USEC_PER_SEC);
        if (strcmp(property, "SpoolRate") == 0)
                return sd_bus_message_append(reply, "d", outlook.rate.bytes);
        if (strcmp(property, "SpoolMessageRate") == 0)
                return sd_bus_message_append(reply, "d", outlook.rate.messages);
        return sd_bus_message_append(reply, "d", outlook.hours);
}

/* --- doing -------------------------------------------------------------------------------------------- */

static int method_publish(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
        _cleanup_(freep) char *sentence = NULL;
        const char *channel, *json, *name;
        char id[SAMPLE_ID_TEXT];
        Bus *bus = userdata;
        int r;

        r = sd_bus_message_read(message, "ss", &channel, &json);
        if (r < 0)
                return r;
        r = manager_publish(bus->manager, channel, json, id, &sentence);
        if (r >= 0)
                return sd_bus_reply_method_return(message, "s", id);
        switch (-r) {
        case EINVAL:
        case EMSGSIZE:
                name = SD_BUS_ERROR_INVALID_ARGS;
                break;
        case ENOSPC:
        case EDQUOT:
        case ENOBUFS:
                name = SD_BUS_ERROR_LIMITS_EXCEEDED;
                break;
        default:
                name = SD_BUS_ERROR_FAILED;
        }
        return bus_fail(error, name, sentence, r);
}

static int method_enroll(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
        _cleanup_(freep) char *sentence = NULL;
        Bus *bus = userdata;
        int r = manager_enroll(bus->manager, &sentence);

        return r < 0 ? bus_fail(error, SD_BUS_ERROR_FAILED, sentence, r)
                     : sd_bus_reply_method_return(message, NULL);
}

static int method_reconnect(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
        _cleanup_(freep) char *sentence = NULL;
        Bus *bus = userdata;
        int r = manager_reconnect(bus->manager, &sentence);

        return r < 0 ? bus_fail(error, SD_BUS_ERROR_FAILED, sentence, r)
                     : sd_bus_reply_method_return(message, NULL);
}

/* UNPRIVILEGED: who may call what is the policy file's to say, not sd-bus's. */
static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HardwareId", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("PlugId", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Server", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastError", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Secure", "b", get_secure, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ConnectedSince", "t", get_connected_since, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("NextTry", "t", get_next_try, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Connections", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RoundTrip", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Published", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Confirm", "s", get_confirm, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Confirmed", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Dropped", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SpoolMessages", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SpoolBytes", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SpoolLimit", "t", get_outlook, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("SpoolHours", "d", get_outlook, 0, 0),
        SD_BUS_PROPERTY("SpoolRate", "d", get_outlook, 0, 0),
        SD_BUS_PROPERTY("SpoolMessageRate", "d", get_outlook, 0, 0),
        SD_BUS_PROPERTY("SpoolRateSpan", "t", get_outlook, 0, 0),
        SD_BUS_PROPERTY("SpoolFull", "b", get_spool_full, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SpoolTrouble", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Held", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Estimated", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ClockSetBack", "t", get_counter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ClockTrouble", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_METHOD_WITH_ARGS("Publish", SD_BUS_ARGS("s", channel, "s", json), SD_BUS_RESULT("s", id),
                method_publish, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                "Enroll", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_enroll, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                "Reconnect", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_reconnect, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int bus_manager_expose(Bus *bus)
{
        return sd_bus_add_object_vtable(
                bus->connection, NULL, BUS_PATH, BUS_INTERFACE_MANAGER, manager_vtable, bus);
}

/* --- telling ------------------------------------------------------------------------------------------ */

static bool text_differs(const Bus *bus, size_t index)
{
        const char *shown = bus->shown.texts[index];

        return strcmp(texts[index].get(bus->manager), shown ? shown : "") != 0;
}

bool bus_manager_differs(const Bus *bus)
{
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (text_differs(bus, i))
                        return true;
        return bus->shown.secure != manager_secure(bus->manager) ||
               bus->shown.spool_full != spool_full(bus->manager) ||
               bus->shown.next_try_usec != manager_next_try_usec(bus->manager) ||
               bus->shown.connected_since_usec != manager_connected_since_usec(bus->manager);
}

/* Brings what is shown up to date, and adds the names of what changed. */
static size_t show_prompt(Bus *bus, const char **names, size_t n)
{
        bool secure = manager_secure(bus->manager), full = spool_full(bus->manager);
        uint64_t since_usec = manager_connected_since_usec(bus->manager);
        uint64_t next_usec = manager_next_try_usec(bus->manager);

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (text_differs(bus, i)) {
                        names[n++] = texts[i].name;
                        free(bus->shown.texts[i]);
                        bus->shown.texts[i] = strdup(texts[i].get(bus->manager));
                }
        if (bus->shown.secure != secure)
                names[n++] = "Secure";
        if (bus->shown.spool_full != full)
                names[n++] = "SpoolFull";
        if (bus->shown.connected_since_usec != since_usec)
                names[n++] = "ConnectedSince";
        if (bus->shown.next_try_usec != next_usec)
                names[n++] = "NextTry";
        bus->shown.secure = secure;
        bus->shown.spool_full = full;
        bus->shown.connected_since_usec = since_usec;
        bus->shown.next_try_usec = next_usec;
        return n;
}

static size_t show_counters(Bus *bus, const char **names, size_t n)
{
        ManagerCounters now;

        manager_get_counters(bus->manager, &now);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                if (counter(&now, i) != counter(&bus->shown.counters, i))
                        names[n++] = counters[i].name;
        /* The spool may have given up messages of any sensor. */
        if (now.dropped != bus->shown.counters.dropped)
                for (size_t i = 0; i < bus->n_sensors; i++)
                        bus->sensors[i].steady.dirty = true;
        bus->shown.counters = now;
        /* Borrowed, and among the texts. */
        bus->shown.counters.spool_trouble = bus->shown.counters.clock_trouble = NULL;
        return n;
}

void bus_manager_show(Bus *bus)
{
        const char *names[ELEMENTSOF(texts) + ELEMENTSOF(counters) + 5];

        show_counters(bus, names, show_prompt(bus, names, 0));
}

void bus_manager_flush(Bus *bus, uint64_t now_usec, uint64_t *next_usec)
{
        const char *names[ELEMENTSOF(texts) + ELEMENTSOF(counters) + 5] = {};
        bool prompt = bus_pace_due(&bus->prompt, BUS_PROMPT_USEC, now_usec, next_usec);
        bool steady = bus_pace_due(&bus->steady, BUS_STEADY_USEC, now_usec, next_usec);
        size_t n = 0;

        if (prompt || steady)
                n = show_prompt(bus, names, n);
        if (steady) {
                size_t before = n;

                n = show_counters(bus, names, n);
                /* What has just been stored is sent right after it is told, and nobody says so: look once
                 * more, until nothing changes. */
                if (n > before) {
                        bus->steady.dirty = true;
                        *next_usec = MIN(*next_usec, now_usec + BUS_STEADY_USEC);
                }
        }
        names[n] = NULL;
        if (n > 0)
                bus_tell(bus, BUS_PATH, BUS_INTERFACE_MANAGER, names);
}

void bus_manager_shown_deinit(BusManagerShown *shown)
{
        for (size_t i = 0; i < ELEMENTSOF(shown->texts); i++)
                free(shown->texts[i]);
}
