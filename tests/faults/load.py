# SPDX-License-Identifier: Apache-2.0
"""A gateway that is kept busy through any number of lives, and what it has to answer for.

Sensors count, and Publish() is called, both all the time. What was handed over is written down as it happens, apart from
plugd: an id for each Publish() that returned; for each worker, how much it wrote to the daemon (written.c); for each
sensor, how much the daemon last said it had taken. judge() then compares with what the stand-in has.
"""

import collections
import json
import signal
import statistics
import subprocess
import threading
import time

import harness
import lives
from caller import NOT_THERE, CallError, Caller
from conftest import sim

PRELOADS = harness.BUILD / "tests" / "faults"

# None is lost, or judge() fails. messages; how many came again; of each killed life, how many samples had not been read.
Verdict = collections.namedtuple("Verdict", "messages again unread")


def make_worker(folder):
    """A worker that writes down what it hands over, in folder/written. Returns its path."""
    (folder / "written").mkdir()
    path = folder / "worker"
    path.write_text("#!/bin/bash\n"
                    f"export PLUGD_WRITTEN='{folder}/written' LD_PRELOAD='{PRELOADS}/written.so'\n"
                    f"exec -a plugd-worker '{harness.WORKER}' \"$@\"\n")
    path.chmod(0o755)
    return path


class Load:
    """counters: {name: interval}; publish: calls of Publish() a second, 0 for none; size: of their texts, at most."""

    def __init__(self, scene, counters, publish=50, name="load", wrapper=(), environment=None, size=20, **settings):
        self.scene, self.counters, self.period, self.name, self.size = scene, counters, 1 / publish if publish else None, name, size
        self.channels = {counter: f"Count/{name}/{counter}" for counter in counters}
        sensors = [sim(counter, interval, self.channels[counter], rate_limit=0) for counter, interval in counters.items()]
        self.settings = scene.settings(*sensors, **settings)
        self.gateway = scene.gateway(self.settings, wrapper=wrapper, environment=environment)
        self.gateway.environment["PLUGD_WORKER"] = str(make_worker(self.gateway.folder))
        self.published, self.tried, self.refused = {}, [], []
        self.ends = {counter: [] for counter in counters}
        self._safe = {}             # of the life of now
        self._stop = threading.Event()
        self._pause = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._failure = None

    # --- its life

    def start(self, *arguments):
        self._safe = dict.fromkeys(self.counters, 0)
        self.gateway.start("--log-level", "info", *arguments)
        if not self._thread.ident:
            self._thread.start()
        return self

    def kill(self):
        self._end("killed", self.gateway.kill)

    def stop(self):
        self._end("stopped", self._stop_in_order)

    def _stop_in_order(self):
        code = self.gateway.stop(20)
        assert code == 0, f"plugd ended with {code}"

    def _end(self, how, end):
        pid = self.gateway.pid
        end()
        with self._pause:   # who asks has heard by now, or is told that nobody is there
            safe, self._safe = self._safe, {}
        for counter in self.counters:
            written = [done if how == "stopped" else begun for _, done, begun in sorted(self._written(counter, pid))] or [0]
            # A worker that ended before its daemon: what it has written was read to the end.
            self.ends[counter] += [lives.End("worker replaced", True, 0, number) for number in written[:-1]]
            self.ends[counter].append(lives.End(how, how == "stopped", max(safe.get(counter, 0) - sum(written[:-1]), 0), written[-1]))

    def hang_up(self):
        """SIGHUP, which may end it in order, or not end it."""
        self.gateway.process.send_signal(signal.SIGHUP)
        try:
            code = self.gateway.process.wait(3)
        except subprocess.TimeoutExpired:
            return
        assert code == 0, f"plugd ended with {code}"
        self._end("stopped", lambda: self.gateway.wait_exit(5))
        self.start()

    def _written(self, counter, pid):
        for path in (self.gateway.folder / "written").glob(f"{counter}.{pid}.*"):
            data = path.read_bytes()
            path.unlink()   # pids come again
            yield tuple(int.from_bytes(data[at:at + 8], "little") for at in (0, 8, 16))

    def finish(self, timeout=120):
        """Ends the load and the daemon in order, then lets a daemon without sensors send what is left."""
        self._stop.set()
        self._thread.join(40)
        assert not self._thread.is_alive(), "the load's thread has not ended"
        if self._failure:
            raise self._failure
        if self.gateway.process:
            self.stop()
        harness.write_config(self.gateway.config, {key: value for key, value in self.settings.items() if key != "sensors"})
        self.gateway.start()
        self.gateway.wait_online(60)
        self.gateway.wait_confirmed(timeout)
        dropped = self.gateway.get("Dropped")
        assert self.gateway.stop() == 0
        assert dropped == 0, f"{dropped} messages were dropped"
        return self.judge()

    def settle(self, end_us, fault, line, leaky=False):
        """After an outage that ended then: waits until messages taken since arrive, finishes, and writes the line of the
        table. During the outage nothing may have come through, unless it is leaky."""
        newer, channel = end_us // 1000 + 500, self.channels[min(self.counters, key=self.counters.get)]
        harness.wait_for(lambda: self.scene.platform.query("SELECT 1 FROM arrivals WHERE channel = ? AND at > ? LIMIT 1", channel, newer),
                         "new messages arrive", 150)
        verdict = self.finish()
        through = sum(1 for row in self.rows() if end_us - 2_000_000 < row.time_us < end_us)
        assert leaky or not through, f"{through} messages arrived during the outage, which was none"
        line(fault, verdict, *self.recovery(end_us))

    # --- the load

    def _run(self):
        try:
            caller, number, due = Caller(self.scene.bus), 0, time.monotonic()
            while not self._stop.is_set():
                with self._pause:
                    self._ask(caller)
                    if self.period:
                        number += 1
                        self._publish(caller, f"By/Hand/{self.name}/{number % 3}", json.dumps([number, "x" * (number % self.size)]))
                due = max(due + (self.period or 0.02), time.monotonic())
                self._stop.wait(due - time.monotonic())
            caller.close()
        except Exception as error:  # seen by finish()
            self._failure = error

    def _ask(self, caller):
        if not self._safe:
            return
        for counter in self.counters:
            try:
                self._safe[counter] = max(self._safe[counter], caller.samples(counter))
            except CallError:
                return

    def _publish(self, caller, channel, text):
        try:
            self.published[caller.publish(channel, text)] = (channel, text)
        except CallError as error:
            if error.name in NOT_THERE:
                time.sleep(0.002)
            elif error.name == "org.freedesktop.DBus.Error.NoReply":
                self.tried.append((channel, text))
            else:
                self.refused.append((channel, text, str(error)))

    # --- what has come of it

    def rows(self, since=0):
        return self.scene.platform.query(
            "SELECT seq, time_us, channel, id, at, data FROM arrivals WHERE fate = 'stored' AND seq > ? AND "
            "(channel LIKE ? OR channel LIKE ?) ORDER BY seq", since, f"Count/{self.name}/%", f"By/Hand/{self.name}/%")

    def judge(self):
        """Everything once or more with its one id, at and bytes, and nothing else. Fails, or returns a Verdict."""
        others = self.scene.platform.query("SELECT topic, fate, count(*) AS n FROM arrivals WHERE fate != 'stored' OR channel != 'status' AND "
                                           "channel NOT LIKE 'Count/%' AND channel NOT LIKE 'By/Hand/%' GROUP BY topic, fate")
        assert not others, f"nobody has published {others}"
        by_channel = collections.defaultdict(list)
        for row in self.rows():
            by_channel[row.channel].append(row)
        again, unread, seen, by_hand = 0, [], set(), set()
        for channel, rows in by_channel.items():
            ids = {row.id for row in rows}
            assert not ids & seen, f"{channel}: an id is another channel's too"
            seen |= ids
            if channel in self.channels.values():
                continue
            by_hand |= ids
            again += self._judge_by_hand(channel, rows)
        missing = set(self.published) - by_hand
        assert not missing, f"{len(missing)} lost of {len(self.published)} whose Publish() returned: {[self.published[i] for i in list(missing)[:5]]}"
        for counter, channel in self.channels.items():
            found, copies = lives.read(by_channel[channel])
            again += copies
            unread += lives.match(found, self.ends[counter])
        return Verdict(len(seen), again, unread)

    def _judge_by_hand(self, channel, rows):
        first, copies, tried = {}, 0, collections.Counter(text for other, text in self.tried if other == channel)
        for row in rows:
            version = row.at, row.data
            if row.id in first:
                assert first[row.id] == version, f"{row.id} has come again, changed"
                copies += 1
                continue
            first[row.id] = version
            if row.id in self.published:
                assert (channel, json.dumps(row.value)) == self.published[row.id], f"{row.id} has other data than was published"
            else:
                tried[json.dumps(row.value)] -= 1
                assert tried[json.dumps(row.value)] >= 0, f"nobody has published {row.data} on {channel}"
        assert len({at for at, _ in first.values()}) == len(first), f"{channel}: two messages have the same time"
        return copies

    def recovery(self, end_us):
        """After the end of a fault (µs since the epoch): seconds until the first message, and until all were there that were
        handed over before its end."""
        first, last, seen = None, None, set()
        for row in self.rows():
            if row.id in seen:
                continue
            seen.add(row.id)
            if row.time_us > end_us:
                first = first or row.time_us
                if row.at * 1000 <= end_us:
                    last = row.time_us
        return tuple(None if us is None else (us - end_us) / 1e6 for us in (first, last or first))


def now_us():
    return time.time_ns() // 1000


def spread(values):
    """A median and the longest, as text."""
    values = [value for value in values if value is not None]
    return (f"{statistics.median(values):.1f}", f"{max(values):.1f}") if values else ("-", "-")
