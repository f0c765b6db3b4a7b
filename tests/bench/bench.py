# SPDX-License-Identifier: Apache-2.0
"""What the rows of tests/bench.sh share: a server, a subscriber, plugd with known spools, and how things are measured.

A row is a module with `rows(bench)`, which gives a list of `Line`. Everything that is started is ended by its row, in
an ExitStack. Times are CLOCK_MONOTONIC, in µs where a name says so.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scenarios"))

import harness  # noqa: E402
from harness import wait_for  # noqa: E402

TOOLS = harness.BUILD / "tests" / "bench"
PLUG_ID = "dev-0123456789abcdef01234567"
TOPIC = f"{PLUG_ID}/data/Bench/#"
DATA_SIZE = 40  # bytes of data that make a payload of 100: {"id":"24 digits","data":…,"at":13 digits}
PAYLOAD_SIZE = 100
CHANNELS = 100  # of a large spool: no channel gets more than a message in a millisecond


@dataclasses.dataclass
class Line:
    """A line of the table. good: None where there is nothing to reach."""
    work: str
    plugd: str
    beside: str = ""
    ratio: str = ""
    target: str = ""
    good: bool | None = None


def now_usec():
    return time.monotonic_ns() // 1000


def spread(values, form="{:,.0f}"):
    """Median, and from where to where."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


# --- processes ------------------------------------------------------------------------------------------------------


def cpu_usec(pid):
    """User and system time of all of its threads, those that have ended as well."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1000


def switches(pid):
    """How often its threads have begun to wait, which is how often they woke up; those that live."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def tree(pid):
    """A process and its children."""
    return [pid, *harness.children(pid)]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def end(process):
    """Whatever state it is in; with what it was fed by, too."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Peak:
    """The highest of what function() gives, asked every `interval` seconds from a thread, until stop()."""

    def __init__(self, function, interval=0.05):
        self.function, self.interval, self.highest = function, interval, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended.wait(self.interval):
            with contextlib.suppress(OSError):
                self.highest = max(self.highest, self.function())

    def stop(self):
        self.ended.set()
        self.thread.join()
        return self.highest


class Broker:
    """mosquitto on loopback, which drops nothing for want of room in its queues."""

    def __init__(self, folder):
        self.port = free_port()
        config = folder / f"mosquitto-{self.port}.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nsys_interval 0\n"
                          "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\nlog_dest none\n"
                          "user root\n")
        self.process = subprocess.Popen(["mosquitto", "-c", str(config)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, "mosquitto listens")

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self):
        end(self.process)


class Subscriber:
    """subscriber.c, which counts. Without a broker it is a server itself, on self.port, for one client."""

    def __init__(self, broker=None, topic=TOPIC):
        self.port = broker.port if broker else free_port()
        arguments = ["127.0.0.1", str(self.port), topic] if broker else [str(self.port)]
        self.process = subprocess.Popen([str(TOOLS / "subscriber"), *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the subscriber could not subscribe")

    def ask(self, word="report"):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def wait(self, key, number, timeout, interval=0.2):
        """Until the report's number is as high. Returns that report."""
        def reached():
            report = self.ask()
            return report if report[key] >= number else None
        return wait_for(reached, f"{number:,} {key} arrive (there are {self.ask()[key]:,})", timeout, interval)

    def stop(self):
        self.process.stdin.close()
        end(self.process)


class Plugd(harness.Gateway):
    """The daemon as it is in use: it logs what is worth a word, and no more."""

    def start(self, *arguments):
        with open(self.log_file, "a") as log:
            self.started_usec = now_usec()
            self.process = subprocess.Popen([*self.wrapper, str(harness.DAEMON), "--user", "--config", str(self.config),
                                             "--log-level", "notice", *arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, cwd="/")
        return self

    def configure(self, settings):
        harness.write_config(self.config, settings)


class Bench:
    """One run of the table. `memory` is a tmpfs."""

    def __init__(self, folder, runs, quick):
        self.folder, self.runs, self.quick = folder, runs, quick
        self.memory = folder / "memory"
        self.spools, self.folders = {}, 0
        self.stack = contextlib.ExitStack()
        self.memory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50%,mode=0755", "tmpfs", str(self.memory)], check=True)
        self.stack.callback(subprocess.run, ["umount", "--lazy", str(self.memory)])

    def close(self):
        self.stack.close()

    def say(self, text):
        print(f"  {text}", file=sys.stderr, flush=True)

    # --- what a row needs -------------------------------------------------------------------------------------------

    def make_folder(self, stack, where=None):
        self.folders += 1
        path = (where or self.folder) / f"f{self.folders}"
        path.mkdir()
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def broker(self, stack):
        broker = Broker(self.make_folder(stack))
        stack.callback(broker.stop)
        return broker

    def subscriber(self, stack, broker=None, topic=TOPIC):
        subscriber = Subscriber(broker, topic)
        stack.callback(subscriber.stop)
        return subscriber

    def plugd(self, stack, port, settings=None, state=None, environment=None, plugins=None, spool=None):
        """plugd that isn't started yet, its runtime directory on a tmpfs; state: the folder to keep that in; spool: a
        filled one, to be copied."""
        folder = self.make_folder(stack)
        bus = harness.Bus(self.make_folder(stack))
        stack.callback(bus.stop)
        runtime = self.make_folder(stack, self.memory)
        state = state or folder / "state"
        if spool:
            shutil.copytree(spool, state)
        plugd = Plugd(folder, bus, {**login(port), **(settings or {})}, plugins=plugins or harness.PLUGINS,
                      environment={"XDG_STATE_HOME": str(state), "XDG_RUNTIME_DIR": str(runtime), **(environment or {})})
        plugd.state, plugd.runtime = state / "plugd", runtime / "plugd"
        stack.callback(plugd.cleanup)
        return plugd

    def spool(self, number):
        """A state directory with so many samples in its spool, of 100 bytes' payload. Made by plugd itself, offline."""
        if number in self.spools:
            return self.spools[number]
        self.say(f"filling a spool with {number:,} samples")
        state = self.folder / f"spool-{number}"
        burst = 1000 if number >= 1000 else number
        with contextlib.ExitStack() as stack:
            plugd = self.plugd(stack, free_port(), state=state, plugins=TOOLS, settings={
                "spool": {"max_size": "1G", "memory": "64M", "sync": 1},
                "sensors": [pour(count=number, burst=burst, interval=0.02, channels=CHANNELS, size=DATA_SIZE)]})
            plugd.start()
            wait_for(lambda: plugd.sensor("pour")["Samples"] == number, "the spool is filled", 300, 0.5)
            time.sleep(2)
            counted = plugd.get("SpoolMessages")
            plugd.stop(60)
        if counted != number:
            raise RuntimeError(f"there are {counted:,} messages in a spool that was given {number:,}")
        os.sync()
        self.spools[number] = state
        return state

    def lines(self, number):
        """A file with so many lines as plugd's payloads are."""
        path = self.folder / f"lines-{number}"
        if not path.exists():
            at = int(time.time() * 1000)
            with open(path, "w") as file:
                for i in range(number):
                    data = f"{i} ".ljust(DATA_SIZE - 2, "x")
                    file.write(f'{{"id":"{i:024x}","data":"{data}","at":{at + i}}}\n')
        return path


def login(port):
    return {"server": {"host": "127.0.0.1", "port": port, "tls": False},
            "device": {"hwid": "bench", "plug_id": PLUG_ID, "auth": "bench"}}


def pour(interval, **options):
    """A sensor of pour.c."""
    return {"name": "pour", "plugin": "pour", "channel": "Bench", "interval": float(interval), "rate_limit": 0, **options}


def publish_lines(stack, port, path):
    """mosquitto_pub with these lines; its input stays open behind them, as at its end it doesn't wait for what it has
    queued."""
    feeder = subprocess.Popen(["cat", str(path), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process = subprocess.Popen(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "0", "-l",
                                "-t", f"{PLUG_ID}/data/Bench/c000"], stdin=feeder.stdout)
    feeder.stdout.close()

    def stop():
        feeder.stdin.close()
        end(process)
        end(feeder)
    stack.callback(stop)
    return process


def rate(report, number):
    """Messages a second at the subscriber, from the first to the last that was new."""
    return (number - 1) / ((report["new_usec"] - report["first_usec"]) / 1e6)
