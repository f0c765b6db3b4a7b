/* SPDX-License-Identifier: Apache-2.0 */
#include "store-internal.h"

#include <errno.h>
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <stdio.h>
#include <string.h>

/* A test sees what happened after at most this and one turn of the broker's loop (100 ms when idle). */
enum { COMMIT_MSEC = 20 };

static const char schema[] =
        "PRAGMA journal_mode = WAL;"
        "PRAGMA synchronous = OFF;"
        "PRAGMA wal_autocheckpoint = 8000;"
        "CREATE TABLE IF NOT EXISTS devices (plug_id TEXT PRIMARY KEY COLLATE NOCASE, auth TEXT NOT NULL,"
        " hwid TEXT NOT NULL, name TEXT, model TEXT, thing TEXT, time_us INTEGER NOT NULL);"
        "CREATE INDEX IF NOT EXISTS devices_hwid ON devices (hwid);"
        "CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, device TEXT NOT NULL, channel TEXT NOT "
        "NULL,"
        " at INTEGER NOT NULL, data TEXT NOT NULL, arrival INTEGER NOT NULL, UNIQUE (device, channel, at));"
        "CREATE TABLE IF NOT EXISTS arrivals (seq INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT "
        "NULL,"
        " session INTEGER, client TEXT, device TEXT, topic TEXT NOT NULL, channel TEXT, id TEXT, at INTEGER,"
        " data TEXT, payload BLOB, retain INTEGER NOT NULL, qos INTEGER NOT NULL, will INTEGER NOT NULL,"
        " fate TEXT NOT NULL);"
        "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL,"
        " kind TEXT NOT NULL, session INTEGER, client TEXT, device TEXT, topic TEXT, code INTEGER, detail "
        "TEXT);"
        "CREATE TABLE IF NOT EXISTS properties (device TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL,"
        " value TEXT NOT NULL, PRIMARY KEY (device, name));";

static const char *const statements[N_STATEMENTS] = {
        [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
        [STATEMENT_COMMIT] = "COMMIT",
        [STATEMENT_ARRIVAL] =
                "INSERT INTO arrivals (time_us, session, client, device, topic, channel, id, at, data,"
                " payload, retain, qos, will, fate) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [STATEMENT_EVENT] =
                "INSERT INTO events (time_us, kind, session, client, device, topic, code, detail)"
                " VALUES (?,?,?,?,?,?,?,?)",
        [STATEMENT_RECORD] = "INSERT OR REPLACE INTO records (id, device, channel, at, data, arrival)"
                             " VALUES (?,?,?,?,?,?)",
        [STATEMENT_LAST_VALUE] =
                "SELECT data FROM records WHERE device = ? AND channel = ? ORDER BY at DESC LIMIT 1",
        [STATEMENT_DEVICE] =
                "INSERT OR REPLACE INTO devices (plug_id, auth, hwid, name, model, thing, time_us)"
                " VALUES (?,?,?,?,?,?,?)",
        [STATEMENT_FORGET_DEVICE] = "DELETE FROM devices WHERE plug_id = ?",
        [STATEMENT_FIND_DEVICE] =
                "SELECT plug_id, auth, hwid, name, model, thing FROM devices WHERE plug_id = ?",
        [STATEMENT_FIND_HWID] = "SELECT plug_id, auth, hwid, name, model, thing FROM devices WHERE hwid = ?",
        [STATEMENT_PROPERTY] = "INSERT OR REPLACE INTO properties (device, name, value) VALUES (?,?,?)",
        [STATEMENT_DELETE_PROPERTY] = "DELETE FROM properties WHERE device = ? AND name = ?",
        [STATEMENT_PROPERTIES] = "SELECT name, value FROM properties WHERE device = ? ORDER BY name",
        [STATEMENT_LAST_SESSION] = "SELECT coalesce(max(session), 0) FROM events",
};

void store_fail(Store *store, const char *what)
{
        mosquitto_log_printf(MOSQ_LOG_ERR, "platform: store: %s: %s", what, sqlite3_errmsg(store->db));
        abort();
}

static void store_run(Store *store, Statement which)
{
        if (sqlite3_step(store->statements[which]) != SQLITE_DONE)
                store_fail(store, statements[which]);
        sqlite3_reset(store->statements[which]);
}

sqlite3_stmt *store_prepare(Store *store, Statement which)
{
        sqlite3_stmt *statement = store->statements[which];

        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
        return statement;
}

void store_write(Store *store, sqlite3_stmt *statement)
{
        if (!store->in_transaction) {
                store_run(store, STATEMENT_BEGIN);
                store->in_transaction = true;
        }
        if (sqlite3_step(statement) != SQLITE_DONE)
                store_fail(store, sqlite3_sql(statement));
        sqlite3_reset(statement);
}

void bind_text(sqlite3_stmt *statement, int column, const char *text)
{
        if (text)
                sqlite3_bind_text(statement, column, text, -1, SQLITE_STATIC);
}

void store_flush(Store *store)
{
        if (!store->in_transaction)
                return;
        store_run(store, STATEMENT_COMMIT);
        store->in_transaction = false;
}

void store_tick(Store *store, int64_t now_msec)
{
        if (!store->in_transaction || now_msec - store->committed_msec < COMMIT_MSEC)
                return;
        store_flush(store);
        store->committed_msec = now_msec;
}

int store_open(const char *path, Store **ret)
{
        Store *store = memory_zero(sizeof(*store));
        char *message = NULL;

        if (sqlite3_open_v2(path, &store->db,
                    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
                goto fail;
        sqlite3_busy_timeout(store->db, 5000);
        if (sqlite3_exec(store->db, schema, NULL, NULL, &message) != SQLITE_OK)
                goto fail;
        for (size_t i = 0; i < N_STATEMENTS; i++)
                if (sqlite3_prepare_v3(store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                            &store->statements[i], NULL) != SQLITE_OK)
                        goto fail;
        *ret = store;
        return 0;
fail:
        fprintf(stderr, "platform: %s: %s\n", path, sqlite3_errmsg(store->db));
        sqlite3_free(message);
        store_free(store);
        return -EIO;
}

Store *store_free(Store *store)
{
        if (!store)
                return NULL;
        store_flush(store);
        for (size_t i = 0; i < N_STATEMENTS; i++)
                sqlite3_finalize(store->statements[i]);
        sqlite3_close(store->db);
        free(store);
        return NULL;
}

int64_t store_last_session(Store *store)
{
        sqlite3_stmt *statement = store_prepare(store, STATEMENT_LAST_SESSION);
        int64_t last = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;

        sqlite3_reset(statement);
        return last;
}

int64_t store_count(Store *store, const char *table)
{
        CLEANUP_FREE char *sql = string_format("SELECT count(*) FROM %s", table);
        sqlite3_stmt *statement;
        int64_t n = -1;

        if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
                store_fail(store, sql);
        if (sqlite3_step(statement) == SQLITE_ROW)
                n = sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
        return n;
}
