/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the platform keeps, in SQLite, where a test reads it while it runs. Writes gather in one transaction,
 * ended by store_tick(); WAL, so that a reader never waits nor makes us wait. A failing statement is said on
 * the broker's log and ends the process: a stand-in that loses what it was given would spoil every test.
 */

#include "util.h"

typedef struct Store Store;

typedef struct Device {
        char plug_id[PLUG_ID_SIZE];
        char *auth, *hwid, *name, *model;
        char *thing; /* the Plug-ID of the thing that a controller controls; NULL of a thing */
} Device;

typedef struct Arrival {
        int64_t time_usec;
        int64_t session; /* 0: from the platform itself */
        const char *client_id;
        const char *device;  /* the Plug-ID that it is stored under; NULL if unknown */
        const char *topic;   /* as it came */
        const char *channel; /* NULL unless the topic was a data topic */
        const char *id;      /* NULL if it had none */
        const int64_t *at;   /* NULL if it had none */
        const char *data;    /* verbatim; NULL if there was none */
        size_t data_size;
        const char *payload; /* verbatim, where `data` could not be made out */
        size_t payload_size;
        bool retain, will;
        int qos;
        const char *fate; /* "stored", "invalid", "denied", "dropped", "property" */
} Arrival;

typedef struct Event {
        const char *kind;
        int64_t session;
        const char *client_id, *device, *topic;
        const int64_t *code;
        const char *detail;
} Event;

int store_open(const char *path, Store **ret);
Store *store_free(Store *store);
/* Ends the transaction if it is older than some 20 ms. */
void store_tick(Store *store, int64_t now_msec);
void store_flush(Store *store);

int64_t store_arrival(Store *store, const Arrival *arrival); /* its sequence number */
void store_event(Store *store, const Event *event);
/* Replaces the record of that id, and the record of that device, channel and at. */
void store_record(Store *store, int64_t arrival, const char *device, const char *channel, const char *id,
        int64_t at, const char *data, size_t data_size);
/* The data of the record with the highest `at`; NULL if there is none. To be freed. */
char *store_last_value(Store *store, const char *device, const char *channel);

void store_device(Store *store, const Device *device); /* inserts or replaces */
bool store_forget_device(Store *store, const char *plug_id);
/* NULL if unknown. Plug-IDs compare without regard to case. */
Device *store_find_device(Store *store, const char *plug_id);
Device *store_find_hwid(Store *store, const char *hwid);
Device *device_free(Device *device);

void store_property(
        Store *store, const char *device, const char *name, const char *json); /* json NULL: deletes */
/* All of them as one object, references unresolved; never NULL. */
json_object *store_properties(Store *store, const char *device);

int64_t store_last_session(Store *store);
int64_t store_count(Store *store, const char *table); /* arrivals, records, events, devices */
