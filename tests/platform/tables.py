# SPDX-License-Identifier: Apache-2.0
"""Reading the stand-in's database while it runs (or after). Nothing here writes."""

import json
import sqlite3
import threading
import time


class Row(dict):
    """A row: row["channel"] or row.channel. `data` is the JSON text as it was published; `value` is it parsed."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def value(self):
        return json.loads(self["data"])


class Tables:
    def __init__(self, path):
        self.path = path
        self._connection = None
        self._lock = threading.Lock()

    def close_tables(self):
        with self._lock:
            if self._connection:
                self._connection.close()
                self._connection = None

    def query(self, sql, *values):
        """Rows of any SELECT."""
        with self._lock:
            if not self._connection:
                self._connection = sqlite3.connect(self.path, timeout=10, isolation_level=None,
                                                   check_same_thread=False)
                self._connection.execute("PRAGMA query_only = ON")
            cursor = self._connection.execute(sql, values)
            names = [c[0] for c in cursor.description]
            return [Row(zip(names, row)) for row in cursor.fetchall()]

    def _select(self, table, order, conditions, since=None):
        where, values = [], []
        for column, value in conditions.items():
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if since is not None:
            where.append("seq > ?")
            values.append(since)
        return self.query(f"SELECT * FROM {table}{' WHERE ' if where else ''}{' AND '.join(where)} ORDER BY {order}",
                          *values)

    def arrivals(self, channel=None, since=0, device=None, fate="stored", **columns):
        """Every PUBLISH in the order of arrival, duplicates and all. `fate=None` for those refused as well."""
        return self._select("arrivals", "seq", {"channel": channel, "device": device, "fate": fate, **columns}, since)

    def records(self, channel=None, device=None, **columns):
        """What is stored: one for each id, and one for each device, channel and at. In the order of `at`."""
        return self._select("records", "at, arrival", {"channel": channel, "device": device, **columns})

    def events(self, kind=None, since=0, **columns):
        return self._select("events", "seq", {"kind": kind, **columns}, since)

    def devices(self, **columns):
        return self._select("devices", "time_us", columns)

    def properties(self, device):
        """The additional properties as stored, references unresolved."""
        return {r["name"]: json.loads(r["value"]) for r in self._select("properties", "name", {"device": device})}

    def count(self, table="arrivals", since=0, **columns):
        """Cheaper than len() of the rows, when there are many."""
        where = [f"{c} = ?" for c in columns] + ["seq > ?"] * (table in ("arrivals", "events"))
        values = [*columns.values()] + [since] * (table in ("arrivals", "events"))
        return self.query(f"SELECT count(*) AS n FROM {table}{' WHERE ' if where else ''}{' AND '.join(where)}",
                          *values)[0].n

    def last_arrival(self):
        """The `since` with which arrivals() gives only what comes from now on."""
        return self.query("SELECT coalesce(max(seq), 0) AS n FROM arrivals")[0].n

    def last_event(self):
        return self.query("SELECT coalesce(max(seq), 0) AS n FROM events")[0].n

    def wait_for(self, predicate, timeout=10.0, what=None):
        """Calls predicate() until it gives something true, and returns that. TimeoutError otherwise. SQLite tells
        nobody of a change, hence the short pause between two looks."""
        deadline = time.monotonic() + timeout
        while True:
            found = predicate()
            if found:
                return found
            if time.monotonic() > deadline:
                last = [dict(e) for e in self.events()[-5:]]
                raise TimeoutError(f"not within {timeout} s: {what or predicate}; last events: {last}")
            time.sleep(0.01)

    def wait_event(self, kind, timeout=10.0, since=0, **columns):
        """The first such event after `since`."""
        return self.wait_for(lambda: self.events(kind, since, **columns), timeout, f"event {kind} {columns}")[0]

    def wait_arrivals(self, n=1, channel=None, timeout=10.0, since=0, **columns):
        """At least `n` such arrivals after `since`."""
        def enough():
            rows = self.arrivals(channel, since, **columns)
            return rows if len(rows) >= n else None
        return self.wait_for(enough, timeout, f"{n} arrivals {channel or ''} {columns}")

    def wait_count(self, n, table="arrivals", timeout=10.0, since=0, **columns):
        """At least `n` rows; returns how many."""
        def enough():
            found = self.count(table, since, **columns)
            return found if found >= n else None
        return self.wait_for(enough, timeout, f"{n} {table} {columns}")
