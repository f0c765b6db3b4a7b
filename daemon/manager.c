/* SPDX-License-Identifier: Apache-2.0 */
/* The manager: what there is, and the way of a sample from its sensor into the spool. See manager.h. */

#include <errno.h>
#include <string.h>

#include "manager-internal.h"
#include "payload.h"
#include "topic.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

#define STOP_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define AHEAD_MSEC 1000                     /* times ahead of the clock by this much are worth a word … */
#define AHEAD_SAID_USEC (60 * USEC_PER_SEC) /* … so often */

void manager_counted(Manager *manager)
{
        for (size_t i = 0; i < ELEMENTSOF(manager->observers); i++) {
                const Observation *o = &manager->observers[i];

                if (o->observer && o->observer->on_counted)
                        o->observer->on_counted(o->userdata);
        }
}

void manager_changed(Manager *manager)
{
        for (size_t i = 0; i < ELEMENTSOF(manager->observers); i++) {
                const Observation *o = &manager->observers[i];

                if (o->observer && o->observer->on_changed)
                        o->observer->on_changed(o->userdata);
        }
}

static void on_confirmed(void *userdata)
{
        Manager *manager = userdata;

        manager_confirmed(manager);
        manager_counted(manager);
}

/* No two messages of a channel have the same time, so where more than a thousand a second come for long,
 * their times leave the clock behind. */
static void say_ahead(Manager *manager, const Sample *sample, uint64_t ahead_msec)
{
        const LogContext context = {
                .sensor = sample->sensor[0] ? sample->sensor : NULL, .channel = sample->channel};
        uint64_t now_usec = clock_monotonic_usec();

        if (manager->said_ahead_usec > 0 && now_usec < manager->said_ahead_usec + AHEAD_SAID_USEC)
                return;
        manager->said_ahead_usec = now_usec;
        log_write(LOG_WARNING, &context,
                "channel '%s' gets more than 1,000 messages a second, and no two may have the same time: "
                "its "
                "times are %.1f s ahead of the clock; use more channels, or a lower rate_limit",
                sample->channel, (double) ahead_msec / 1000);
}

static void count_stored(Manager *manager)
{
        uint64_t bytes = spool_appended_bytes(manager->spool);

        rate_count(&manager->rate, clock_boottime_usec(), 1, bytes - manager->appended_bytes);
        manager->appended_bytes = bytes;
}

/* What a sensor read is kept in memory where nothing else is left; who publishes is told that it isn't safe.
 */
typedef int (*Append)(Spool *spool, const Sample *sample, uint64_t *ret_sequence);

/* Gives a sample its time, or what it waits for one with. taken_usec: CLOCK_BOOTTIME. */
static int stamp(Manager *manager, Sample *sample, uint64_t taken_usec, uint64_t *ret_now_usec)
{
        int64_t ahead_usec, at_usec;
        uint64_t taken_msec, now_msec;
        int r;

        switch (manager_clock(manager, ret_now_usec, &ahead_usec)) {
        case TIME_HELD:
                return timekeeper_hold(manager->timekeeper, sample, taken_usec);
        case TIME_NONE:
                sample->at_msec = 0;
                return 0;
        case TIME_KNOWN:
                break;
        }
        at_usec = (int64_t) taken_usec + ahead_usec;
        taken_msec = MIN((uint64_t) MAX(at_usec, 0), *ret_now_usec) / USEC_PER_MSEC;
        r = sample_times_next(manager->times, sample->channel, taken_msec, 1, &sample->at_msec);
        if (r < 0)
                return r;
        now_msec = *ret_now_usec / USEC_PER_MSEC;
        if (sample->at_msec > now_msec + AHEAD_MSEC)
                say_ahead(manager, sample, sample->at_msec - now_msec);
        return 0;
}

/* One message into the spool, with the id and the time that it keeps. */
static int store(Manager *manager, Sample *sample, uint64_t taken_usec, Append append)
{
        uint64_t now_usec, sequence;
        int r;

        r = stamp(manager, sample, taken_usec, &now_usec);
        if (r < 0)
                return r;
        sample_ids_next(&manager->ids, now_usec, sample->id);

        r = append(manager->spool, sample, &sequence);
        if (r < 0)
                return r;
        if (sample->boot)
                timekeeper_note_boot(manager->timekeeper, sample->boot, sample->at_msec, 1);
        count_stored(manager);
        delivery_take(manager->delivery, sequence, sample);
        manager_counted(manager);
        return 0;
}

static int on_sample(
        Host *host, const char *channel, const char *data, size_t size, uint64_t taken_usec, void *userdata)
{
        Manager *manager = userdata;
        Sample sample = {.sensor = host_name(host), .channel = channel, .data = data, .data_size = size};
        int r;

        r = store(manager, &sample, taken_usec, spool_append);
        if (r < 0) {
                const LogContext context = {.sensor = host_name(host), .channel = channel};

                /* Once an episode would do, but the spool says why itself; this names who lost what. */
                log_write(LOG_DEBUG, &context, "a sample could not be stored: %s", strerror(-r));
                return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(manager->observers); i++) {
                const Observation *o = &manager->observers[i];

                if (o->observer && o->observer->on_host_sampled)
                        o->observer->on_host_sampled(host, o->userdata);
        }
        return spool_is_pressed(manager->spool);
}

static bool all_stopped(const Manager *manager)
{
        for (size_t i = 0; i < manager->n_hosts; i++)
                if (host_state(manager->hosts[i]) != HOST_STOPPED)
                        return false;
        return true;
}

static void on_host_changed(Host *host, void *userdata)
{
        Manager *manager = userdata;

        for (size_t i = 0; i < ELEMENTSOF(manager->observers); i++) {
                const Observation *o = &manager->observers[i];

                if (o->observer && o->observer->on_host_changed)
                        o->observer->on_host_changed(host, o->userdata);
        }
        if (manager->stopping && all_stopped(manager))
                sd_event_exit(manager->event, 0);
}

static const HostHandler host_handler = {
        .on_sample = on_sample,
        .on_changed = on_host_changed,
};

static void on_spooled(const SpoolNoted *noted, void *userdata)
{
        Manager *manager = userdata;

        /* Best effort: without it a time could be used twice only if the clock was set back while we were
         * away. */
        if (noted->boot)
                return timekeeper_note_boot(
                        manager->timekeeper, noted->boot, noted->at_msec, noted->messages);
        (void) sample_times_note(manager->times, noted->channel, noted->at_msec);
        timekeeper_note_time(manager->timekeeper, noted->at_msec);
}

static int make_spool(Manager *manager, char **ret_error)
{
        const Config *config = manager->config;
        _cleanup_(freep) SpoolSensor *sensors = calloc(MAX(config->n_sensors, (size_t) 1), sizeof(*sensors));

        if (!sensors)
                return -ENOMEM;
        for (size_t i = 0; i < config->n_sensors; i++)
                sensors[i] =
                        (SpoolSensor){.name = config->sensors[i].name, .policy = config->sensors[i].policy};
        return spool_new(&manager->spool, manager->event, manager->paths->state, manager->paths->runtime,
                &config->spool, sensors, config->n_sensors, on_spooled, manager, ret_error);
}

static int make_hosts(Manager *manager, char **ret_error)
{
        manager->hosts = calloc(MAX(manager->config->n_sensors, (size_t) 1), sizeof(*manager->hosts));
        if (!manager->hosts)
                return -ENOMEM;
        for (; manager->n_hosts < manager->config->n_sensors; manager->n_hosts++) {
                const SensorConfig *sensor = &manager->config->sensors[manager->n_hosts];
                int r;

                r = host_new(&manager->hosts[manager->n_hosts], manager->event, manager->paths, sensor,
                        &host_handler, manager);
                if (r < 0) {
                        text_set(ret_error, "sensor '%s' can't be set up: %s", sensor->name, strerror(-r));
                        return r;
                }
        }
        return 0;
}

int manager_new(Manager **ret, sd_event *event, Config *config, const Paths *paths, char **ret_error)
{
        _cleanup_(manager_freep) Manager *manager = calloc(1, sizeof(*manager));
        int r;

        if (!manager) {
                config_free(config);
                return -ENOMEM;
        }
        manager->event = sd_event_ref(event);
        manager->paths = paths;
        manager->config = config;
        rate_init(&manager->rate, clock_boottime_usec());

        manager->times = sample_times_new();
        if (!manager->times)
                return -ENOMEM;
        r = sample_ids_init(&manager->ids);
        if (r < 0) {
                text_set(ret_error, "the kernel gave no random bytes for message ids: %s", strerror(-r));
                return r;
        }
        r = timekeeper_new(&manager->timekeeper, event, paths->state, &config->time, manager_on_clock,
                manager, ret_error);
        if (r < 0)
                return r;
        r = make_spool(manager, ret_error);
        if (r < 0)
                return r;
        r = timekeeper_begin(manager->timekeeper);
        if (r < 0) {
                text_set(ret_error, "the clock can't be looked at: %s", strerror(-r));
                return r;
        }
        manager_on_clock(manager);
        r = credentials_new(&manager->credentials, paths->state, ret_error);
        if (r < 0)
                return r;
        r = link_new(&manager->link, event, &config->server);
        if (r < 0) {
                text_set(ret_error, "the MQTT link can't be set up: %s", strerror(-r));
                return r;
        }
        r = delivery_new(&manager->delivery, event, manager->spool, manager->link, &config->delivery);
        if (r < 0) {
                text_set(ret_error, "the delivery can't be set up: %s", strerror(-r));
                return r;
        }
        delivery_set_resolver(manager->delivery, manager_resolve, manager);
        delivery_set_confirmed(manager->delivery, on_confirmed, manager);
        r = session_init(manager, ret_error);
        if (r < 0)
                return r;
        r = make_hosts(manager, ret_error);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(manager);
        return 0;
}

Manager *manager_free(Manager *manager)
{
        if (!manager)
                return NULL;

        /* Who produces goes before who consumes, and the spool last of those who keep something. */
        for (size_t i = 0; i < manager->n_hosts; i++)
                host_free(manager->hosts[i]);
        free(manager->hosts);
        enrol_free(manager->enrol);
        delivery_free(manager->delivery);
        link_free(manager->link);
        spool_free(manager->spool);
        timekeeper_free(manager->timekeeper);
        credentials_free(manager->credentials);
        session_deinit(&manager->session);
        sample_times_free(manager->times);
        sd_event_source_disable_unref(manager->stop_timer);
        sd_event_unref(manager->event);
        config_free(manager->config);
        free(manager);
        return NULL;
}

int manager_start(Manager *manager)
{
        for (size_t i = 0; i < manager->n_hosts; i++) {
                int r = host_start(manager->hosts[i]);

                if (r < 0)
                        return r;
        }
        session_begin(manager);
        return 0;
}

static int on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        Manager *manager = userdata;

        (void) source;
        (void) usec;
        for (size_t i = 0; i < manager->n_hosts; i++)
                if (host_state(manager->hosts[i]) != HOST_STOPPED) {
                        const LogContext context = {.sensor = host_name(manager->hosts[i])};

                        log_write(LOG_WARNING, &context, "the worker did not stop in time, and is killed");
                }
        return sd_event_exit(manager->event, 0);
}

void manager_stop(Manager *manager)
{
        if (manager->stopping)
                return;
        manager->stopping = true;

        for (size_t i = 0; i < manager->n_hosts; i++)
                host_stop(manager->hosts[i]);
        enrol_stop(manager->enrol);
        delivery_stop(manager->delivery);
        link_close(manager->link);
        manager->session.up = false;

        if (all_stopped(manager) ||
                sd_event_add_time_relative(manager->event, &manager->stop_timer, CLOCK_MONOTONIC,
                        STOP_TIMEOUT_USEC, 0, on_stop_timeout, manager) < 0)
                sd_event_exit(manager->event, 0);
}

int manager_add_observer(Manager *manager, const ManagerObserver *observer, void *userdata)
{
        for (size_t i = 0; i < ELEMENTSOF(manager->observers); i++)
                if (!manager->observers[i].observer) {
                        manager->observers[i] = (Observation){observer, userdata};
                        return 0;
                }
        return -ENOBUFS;
}

void manager_remove_observer(Manager *manager, void *userdata)
{
        for (size_t i = 0; i < ELEMENTSOF(manager->observers); i++)
                if (manager->observers[i].userdata == userdata)
                        manager->observers[i] = (Observation){};
}

const char *manager_name(const Manager *manager)
{
        return manager->config->device.name ? manager->config->device.name : "";
}

const char *manager_confirm(const Manager *manager)
{
        return manager->config->delivery.barrier ? "barrier" : "none";
}

void manager_get_counters(const Manager *manager, ManagerCounters *ret)
{
        DeliveryStats delivery;
        SpoolStats spool;
        TimekeeperStats time;
        uint64_t dropped;

        delivery_get_stats(manager->delivery, &delivery);
        spool_get_stats(manager->spool, &spool);
        timekeeper_get_stats(manager->timekeeper, &time);
        dropped = spool.dropped + delivery.skipped;
        for (size_t i = 0; i < manager->n_hosts; i++)
                dropped += host_dropped(manager->hosts[i]);

        *ret = (ManagerCounters){
                .published = delivery.published,
                .confirmed = delivery.confirmed,
                .dropped = dropped,
                .spool_messages = spool.messages,
                .spool_bytes = spool.bytes,
                .connections = link_connections(manager->link),
                .round_trip_usec = delivery.round_trip_usec,
                .spool_full = spool.evicting,
                .spool_trouble = spool.trouble[0] ? spool.trouble : delivery.trouble,
                .held = MIN(time.held, spool.messages),
                .estimated = time.estimated,
                .set_back = sample_times_set_back(manager->times),
                .clock_trouble = time.trouble,
        };
}

void manager_get_outlook(const Manager *manager, ManagerOutlook *ret)
{
        SpoolStats spool;

        spool_get_stats(manager->spool, &spool);
        *ret = (ManagerOutlook){.limit_bytes = manager->config->spool.max_size};
        rate_get(&manager->rate, clock_boottime_usec(), &ret->rate);
        ret->hours = rate_hours(&ret->rate, spool.capacity - MIN(spool.capacity, spool.bytes));
}

uint64_t manager_host_dropped(const Manager *manager, const Host *host)
{
        return host_dropped(host) + spool_dropped_of(manager->spool, host_name(host));
}

size_t manager_n_hosts(const Manager *manager)
{
        return manager->n_hosts;
}

Host *manager_host(const Manager *manager, size_t index)
{
        return manager->hosts[index];
}

Host *manager_find_host(const Manager *manager, const char *name)
{
        for (size_t i = 0; i < manager->n_hosts; i++)
                if (strcmp(host_name(manager->hosts[i]), name) == 0)
                        return manager->hosts[i];
        return NULL;
}

int manager_publish(Manager *manager, const char *channel, const char *json,
        char ret_id[static SAMPLE_ID_TEXT], char **ret_error)
{
        Sample sample = {.sensor = "", .channel = channel, .data = json, .data_size = strlen(json)};
        SpoolStats stats;
        int r;

        r = topic_check_channel(channel, ret_error);
        if (r < 0)
                return r;
        r = payload_check(json, sample.data_size, ret_error);
        if (r < 0)
                return r;
        r = store(manager, &sample, clock_boottime_usec(), spool_append_safe);
        if (r < 0) {
                spool_get_stats(manager->spool, &stats);
                text_set(ret_error, "the message is not stored, and not published: %s%s%s", strerror(-r),
                        stats.trouble[0] ? "; " : "", stats.trouble);
                return r;
        }
        sample_id_format(sample.id, ret_id);
        return 0;
}
