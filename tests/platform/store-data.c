/* SPDX-License-Identifier: Apache-2.0 */

/* Arrivals, records and events: what passes through. */

#include "store-internal.h"

#include <string.h>

int64_t store_arrival(Store *store, const Arrival *arrival)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_ARRIVAL);

        sqlite3_bind_int64(s, 1, arrival->time_usec);
        sqlite3_bind_int64(s, 2, arrival->session);
        bind_text(s, 3, arrival->client_id);
        bind_text(s, 4, arrival->device);
        bind_text(s, 5, arrival->topic);
        bind_text(s, 6, arrival->channel);
        bind_text(s, 7, arrival->id);
        if (arrival->at)
                sqlite3_bind_int64(s, 8, *arrival->at);
        if (arrival->data)
                sqlite3_bind_text(s, 9, arrival->data, (int) arrival->data_size, SQLITE_STATIC);
        if (arrival->payload)
                sqlite3_bind_blob(s, 10, arrival->payload, (int) arrival->payload_size, SQLITE_STATIC);
        sqlite3_bind_int(s, 11, arrival->retain);
        sqlite3_bind_int(s, 12, arrival->qos);
        sqlite3_bind_int(s, 13, arrival->will);
        bind_text(s, 14, arrival->fate);
        store_write(store, s);
        return sqlite3_last_insert_rowid(store->db);
}

void store_event(Store *store, const Event *event)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_EVENT);

        sqlite3_bind_int64(s, 1, now_usec());
        bind_text(s, 2, event->kind);
        sqlite3_bind_int64(s, 3, event->session);
        bind_text(s, 4, event->client_id);
        bind_text(s, 5, event->device);
        bind_text(s, 6, event->topic);
        if (event->code)
                sqlite3_bind_int64(s, 7, *event->code);
        bind_text(s, 8, event->detail);
        store_write(store, s);
}

void store_record(Store *store, int64_t arrival, const char *device, const char *channel, const char *id,
        int64_t at, const char *data, size_t data_size)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_RECORD);

        bind_text(s, 1, id);
        bind_text(s, 2, device);
        bind_text(s, 3, channel);
        sqlite3_bind_int64(s, 4, at);
        sqlite3_bind_text(s, 5, data, (int) data_size, SQLITE_STATIC);
        sqlite3_bind_int64(s, 6, arrival);
        store_write(store, s);
}

char *store_last_value(Store *store, const char *device, const char *channel)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_LAST_VALUE);
        char *value = NULL;

        bind_text(s, 1, device);
        bind_text(s, 2, channel);
        if (sqlite3_step(s) == SQLITE_ROW)
                value = string_copy((const char *) sqlite3_column_text(s, 0));
        sqlite3_reset(s);
        return value;
}
