/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A manager and its hosts, played: the functions that the bus room calls are defined here, and so take the
 * place of manager.c and host.c in whatever test includes this.
 */

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "manager.h"
#include "util/text.h"
#include "wire.h"

struct Host {
        const char *name, *last_error;
        HostState state;
        uint64_t samples, dropped, spool_dropped, last_sample_usec;
        uint32_t restarts, sandbox;
        pid_t pid;
        double interval;
        HostChannel *channels;
        size_t n_channels;
        int restarted, restart_result;
};

struct Manager {
        ManagerState state;
        const char *plug_id, *last_error, *trouble, *clock_trouble;
        bool secure;
        uint64_t since_usec, next_try_usec;
        ManagerOutlook outlook;
        ManagerCounters counters;
        Host *hosts;
        size_t n_hosts;
        const ManagerObserver *observer;
        void *userdata;

        int result; /* of what it is asked to do, with the sentence */
        const char *sentence;
        char channel[64], json[64];
        int enrolled, reconnected;
};

static Manager manager;
static Host hosts[3];
static HostChannel channels[5];

static inline HostChannel channel(const char *name, const char *unit, uint32_t type, char *value)
{
        return (HostChannel){
                .name = (char *) (uintptr_t) name,
                .unit = (char *) (uintptr_t) unit,
                .type = type,
                .value = value,
        };
}

static inline void play_anew(void)
{
        static char values[5][64];

        strcpy(values[0], "true");
        strcpy(values[1], "-9007199254740993");
        strcpy(values[2], "3");
        strcpy(values[3], "\"caf\\u00e9 \\\"x\\\"\"");
        strcpy(values[4], "{\"a\":[1,null]}");
        channels[0] = channel("All/flag", NULL, PLUGD_BOOLEAN, values[0]);
        channels[1] = channel("All/count", NULL, PLUGD_INTEGER, values[1]);
        channels[2] = channel("All/temp", "°C", PLUGD_NUMBER, values[2]);
        channels[3] = channel("All/text", NULL, PLUGD_STRING, values[3]);
        channels[4] = channel("All/json", NULL, PLUGD_JSON, values[4]);
        hosts[0] = (Host){.name = "door", .last_error = "", .interval = 10};
        hosts[1] = (Host){
                .name = "all",
                .last_error = "",
                .state = HOST_RUNNING,
                .samples = 7,
                .last_sample_usec = 1700000000000000,
                .sandbox = WIRE_SANDBOX_NO_NEW_PRIVS | WIRE_SANDBOX_SECCOMP,
                .pid = 4711,
                .interval = 0.5,
                .channels = channels,
                .n_channels = 5,
        };
        hosts[2] = (Host){.name = "Z_9", .last_error = "", .interval = 1};
        manager = (Manager){
                .plug_id = "",
                .last_error = "",
                .trouble = "",
                .clock_trouble = "",
                .hosts = hosts,
                .n_hosts = 3,
        };
}

const char *manager_state_to_string(ManagerState state)
{
        return state == MANAGER_ONLINE ? "online" : "offline";
}

int manager_add_observer(Manager *m, const ManagerObserver *observer, void *userdata)
{
        assert_null(m->observer);
        m->observer = observer;
        m->userdata = userdata;
        return 0;
}

void manager_remove_observer(Manager *m, void *userdata)
{
        if (m->userdata == userdata)
                m->observer = NULL;
}

const char *manager_hardware_id(const Manager *m _unused_)
{
        return "HW1";
}

const char *manager_plug_id(const Manager *m)
{
        return m->plug_id;
}

const char *manager_name(const Manager *m _unused_)
{
        return "greenhouse";
}

ManagerState manager_state(const Manager *m)
{
        return m->state;
}

const char *manager_server(const Manager *m _unused_)
{
        return "localhost:1883";
}

const char *manager_last_error(const Manager *m)
{
        return m->last_error;
}

bool manager_secure(const Manager *m)
{
        return m->secure;
}

const char *manager_confirm(const Manager *m _unused_)
{
        return "none";
}

uint64_t manager_connected_since_usec(const Manager *m)
{
        return m->since_usec;
}

void manager_get_counters(const Manager *m, ManagerCounters *ret)
{
        *ret = m->counters;
        ret->spool_trouble = m->trouble;
        ret->clock_trouble = m->clock_trouble;
}

uint64_t manager_next_try_usec(const Manager *m)
{
        return m->next_try_usec;
}

void manager_get_outlook(const Manager *m, ManagerOutlook *ret)
{
        *ret = m->outlook;
}

uint64_t manager_host_dropped(const Manager *m, const Host *host)
{
        assert_ptr_equal(m, &manager);
        return host->dropped + host->spool_dropped;
}

size_t manager_n_hosts(const Manager *m)
{
        return m->n_hosts;
}

Host *manager_host(const Manager *m, size_t index)
{
        return &m->hosts[index];
}

Host *manager_find_host(const Manager *m, const char *name)
{
        for (size_t i = 0; i < m->n_hosts; i++)
                if (strcmp(m->hosts[i].name, name) == 0)
                        return &m->hosts[i];
        return NULL;
}

static inline int act(Manager *m, char **ret_error)
{
        if (m->result < 0 && m->sentence)
                text_set(ret_error, "%s", m->sentence);
        return m->result;
}

int manager_publish(Manager *m, const char *channel, const char *json, char ret_id[static SAMPLE_ID_TEXT],
        char **ret_error)
{
        snprintf(m->channel, sizeof(m->channel), "%s", channel);
        snprintf(m->json, sizeof(m->json), "%s", json);
        strcpy(ret_id, "0123456789abcdef01234567");
        return act(m, ret_error);
}

int manager_enroll(Manager *m, char **ret_error)
{
        m->enrolled++;
        return act(m, ret_error);
}

int manager_reconnect(Manager *m, char **ret_error)
{
        m->reconnected++;
        return act(m, ret_error);
}

const char *host_state_to_string(HostState state)
{
        return state == HOST_RUNNING ? "running" : "starting";
}

int host_restart(Host *host)
{
        host->restarted++;
        return host->restart_result;
}

int host_set_interval(Host *host, double interval_sec)
{
        if (interval_sec < 0.001 || interval_sec > 86400)
                return -ERANGE;
        host->interval = interval_sec;
        manager.observer->on_host_changed(host, manager.userdata);
        return 0;
}

const char *host_name(const Host *host)
{
        return host->name;
}

const char *host_plugin(const Host *host _unused_)
{
        return "sim";
}

HostState host_state(const Host *host)
{
        return host->state;
}

const char *host_last_error(const Host *host)
{
        return host->last_error;
}

uint64_t host_samples(const Host *host)
{
        return host->samples;
}

uint32_t host_restarts(const Host *host)
{
        return host->restarts;
}

double host_interval(const Host *host)
{
        return host->interval;
}

uint64_t host_last_sample_usec(const Host *host)
{
        return host->last_sample_usec;
}

uint32_t host_sandbox(const Host *host)
{
        return host->sandbox;
}

pid_t host_pid(const Host *host)
{
        return host->pid;
}

const HostChannel *host_channels(const Host *host, size_t *ret_n)
{
        *ret_n = host->n_channels;
        return host->channels;
}
