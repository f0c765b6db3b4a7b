/* SPDX-License-Identifier: Apache-2.0 */

/* Devices and their additional properties: what stays. */

#include "store-internal.h"

#include <stdio.h>

void store_device(Store *store, const Device *device)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_DEVICE);

        bind_text(s, 1, device->plug_id);
        bind_text(s, 2, device->auth);
        bind_text(s, 3, device->hwid);
        bind_text(s, 4, device->name);
        bind_text(s, 5, device->model);
        bind_text(s, 6, device->thing);
        sqlite3_bind_int64(s, 7, now_usec());
        store_write(store, s);
        /* Its auth is given once: it is kept before it is told. */
        store_flush(store);
}

bool store_forget_device(Store *store, const char *plug_id)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_FORGET_DEVICE);

        bind_text(s, 1, plug_id);
        store_write(store, s);
        return sqlite3_changes(store->db) > 0;
}

static char *column_copy(sqlite3_stmt *s, int column)
{
        return string_copy((const char *) sqlite3_column_text(s, column));
}

static Device *find_device(Store *store, Statement which, const char *key)
{
        sqlite3_stmt *s = store_prepare(store, which);
        Device *device = NULL;

        bind_text(s, 1, key);
        if (sqlite3_step(s) == SQLITE_ROW) {
                device = memory_zero(sizeof(*device));
                snprintf(device->plug_id, sizeof(device->plug_id), "%s",
                        (const char *) sqlite3_column_text(s, 0));
                device->auth = column_copy(s, 1);
                device->hwid = column_copy(s, 2);
                device->name = column_copy(s, 3);
                device->model = column_copy(s, 4);
                device->thing = column_copy(s, 5);
        }
        sqlite3_reset(s);
        return device;
}

Device *store_find_device(Store *store, const char *plug_id)
{
        return find_device(store, STATEMENT_FIND_DEVICE, plug_id);
}

Device *store_find_hwid(Store *store, const char *hwid)
{
        return find_device(store, STATEMENT_FIND_HWID, hwid);
}

Device *device_free(Device *device)
{
        if (!device)
                return NULL;
        free(device->auth);
        free(device->hwid);
        free(device->name);
        free(device->model);
        free(device->thing);
        free(device);
        return NULL;
}

void store_property(Store *store, const char *device, const char *name, const char *json)
{
        sqlite3_stmt *s = store_prepare(store, json ? STATEMENT_PROPERTY : STATEMENT_DELETE_PROPERTY);

        bind_text(s, 1, device);
        bind_text(s, 2, name);
        if (json)
                bind_text(s, 3, json);
        store_write(store, s);
}

json_object *store_properties(Store *store, const char *device)
{
        sqlite3_stmt *s = store_prepare(store, STATEMENT_PROPERTIES);
        json_object *all = json_object_new_object();

        bind_text(s, 1, device);
        while (sqlite3_step(s) == SQLITE_ROW) {
                const char *why;
                bool ok;
                json_object *value = json_parse((const char *) sqlite3_column_text(s, 1),
                        (size_t) sqlite3_column_bytes(s, 1), &ok, &why);

                if (!ok)
                        store_fail(store, "a property is not JSON");
                json_object_object_add(all, (const char *) sqlite3_column_text(s, 0), value);
        }
        sqlite3_reset(s);
        return all;
}
