/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For the store-*.c files alone: the statements that store.c prepares, and how they are run. */

#include "store.h"

#include <sqlite3.h>

typedef enum Statement {
        STATEMENT_BEGIN,
        STATEMENT_COMMIT,
        STATEMENT_ARRIVAL,
        STATEMENT_EVENT,
        STATEMENT_RECORD,
        STATEMENT_LAST_VALUE,
        STATEMENT_DEVICE,
        STATEMENT_FORGET_DEVICE,
        STATEMENT_FIND_DEVICE,
        STATEMENT_FIND_HWID,
        STATEMENT_PROPERTY,
        STATEMENT_DELETE_PROPERTY,
        STATEMENT_PROPERTIES,
        STATEMENT_LAST_SESSION,
        N_STATEMENTS,
} Statement;

struct Store {
        sqlite3 *db;
        sqlite3_stmt *statements[N_STATEMENTS];
        bool in_transaction;
        int64_t committed_msec;
};

__attribute__((noreturn)) void store_fail(Store *store, const char *what);
sqlite3_stmt *store_prepare(Store *store, Statement which);
void store_write(Store *store, sqlite3_stmt *statement);
void bind_text(sqlite3_stmt *statement, int column, const char *text); /* NULL leaves NULL */
