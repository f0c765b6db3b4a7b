# SPDX-License-Identifier: Apache-2.0
"""What a sample costs the disk: bytes passed to write() on the state directory, and bytes that reach its block device.

Each contender has an ext4 of its own on a loop device, and all of them run at the same time. `disk.py FOLDER …` is one
of the contenders: SQLite with a write-ahead log.
"""

import contextlib
import dataclasses
import mmap
import os
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

from bench import DATA_SIZE, Line, PAYLOAD_SIZE, PLUG_ID, TOOLS, free_port, pour
from harness import wait_for

TOPIC = f"{PLUG_ID}/data/Bench"
MESSAGE_SIZE = len(TOPIC) + PAYLOAD_SIZE
IMAGE_SIZE = 512 << 20
RATES = (1000, 10_000)  # bytes of topic and payload a second


class Disk:
    """An ext4 on a loop device, and what is written to it."""

    def __init__(self, bench, stack, block=4096):
        self.image = bench.make_folder(stack) / "image"
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_SIZE)
        # What mkfs leaves for later would be counted otherwise.
        subprocess.run(["mkfs.ext4", "-q", "-b", str(block), "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image)],
                       check=True)
        self.folder = bench.make_folder(stack) / "disk"
        self.folder.mkdir()
        device = subprocess.run(["losetup", "--find", "--show", str(self.image)], check=True, capture_output=True, text=True).stdout.strip()
        stack.callback(subprocess.run, ["losetup", "--detach", device])
        self.stat = Path("/sys/block") / Path(device).name / "stat"
        subprocess.run(["mount", "-o", "noatime", device, str(self.folder)], check=True)
        stack.callback(subprocess.run, ["umount", str(self.folder)])

        self.count = bench.make_folder(stack) / "count"
        self.count.write_bytes(bytes(24))
        self.environment = {"LD_PRELOAD": str(TOOLS / "writes.so"), "WRITES_BELOW": str(self.folder),
                            "WRITES_COUNT": str(self.count)}

    def sync(self):
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        subprocess.run(["sync", "--file-system", str(self.folder)], check=True)

    def look(self):
        """Bytes at the device; bytes, writes, syncs by the program."""
        self.sync()
        device = int(self.stat.read_text().split()[6]) * 512
        with open(self.count, "rb") as file, mmap.mmap(file.fileno(), 24, access=mmap.ACCESS_READ) as counts:
            return [device, *struct.unpack("3Q", counts)]


@dataclasses.dataclass
class Contender:
    name: str
    disk: Disk
    rate: float  # messages a second
    messages: object  # how many it has taken by now
    stop: object = None
    before: list | None = None
    result: dict | None = None

    def begin(self):
        self.before = [self.messages(), *self.disk.look()]

    def end(self):
        """What a message cost, as multiples of topic and payload."""
        if self.stop:
            self.stop()
        after = [self.messages(), *self.disk.look()]
        number, device, written, writes, syncs = (a - b for a, b in zip(after, self.before))
        through = number * MESSAGE_SIZE
        self.result = {"messages": number, "written": written / through, "device": device / through,
                       "writes": writes, "syncs": syncs, "a_sync": through / max(syncs, 1), "bytes": written, "at_device": device}


def plugd(bench, stack, rate, port, name, block=4096):
    disk = Disk(bench, stack, block)
    gateway = bench.plugd(stack, port, state=disk.folder / "state", plugins=TOOLS, environment=disk.environment,
                          settings={"sensors": [pour(interval=1 / rate, size=DATA_SIZE)]})
    gateway.start()
    wait_for(lambda: gateway.sensor("pour")["Samples"] > 0, "the sensor has begun")
    return Contender(name, disk, rate, lambda: gateway.sensor("pour")["Samples"])


def sqlite(bench, stack, rate, batch, name):
    disk = Disk(bench, stack)
    process = subprocess.Popen([sys.executable, __file__, str(disk.folder), str(rate), str(batch)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **disk.environment})
    process.stdout.readline()

    def messages():
        process.stdin.write("?\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def leave():
        process.stdin.close()
        process.wait(10)
    stack.callback(leave)
    return Contender(name, disk, rate, messages)


def sqlite_main(folder, rate, batch):
    """Commits `batch` rows at a time, each durable when commit() returns; says how many rows it has committed whenever a
    line comes in."""
    import select
    base = sqlite3.connect(Path(folder) / "spool.db", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE spool (sequence INTEGER PRIMARY KEY, topic TEXT, payload TEXT)")
    print("ready", flush=True)
    payload, committed, waiting, due = "x" * PAYLOAD_SIZE, 0, 0, time.monotonic()
    while True:
        if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            if not sys.stdin.readline():
                return
            print(committed, flush=True)
            continue
        due += 1 / rate
        waiting += 1
        if waiting == batch:
            base.execute("BEGIN")
            base.executemany("INSERT INTO spool (topic, payload) VALUES (?, ?)", [(TOPIC, payload)] * batch)
            base.execute("COMMIT")
            committed, waiting = committed + batch, 0


def contend(bench, seconds):
    with contextlib.ExitStack() as stack:
        broker = bench.broker(stack)
        subscriber = bench.subscriber(stack, broker, TOPIC)
        contenders = [plugd(bench, stack, RATES[0] / MESSAGE_SIZE, broker.port, "online")]
        for rate in (rate / MESSAGE_SIZE for rate in RATES):
            contenders += [plugd(bench, stack, rate, free_port(), "offline"), sqlite(bench, stack, rate, 1, "one"),
                           sqlite(bench, stack, rate, 100, "batched")]
        contenders.append(plugd(bench, stack, RATES[0] / MESSAGE_SIZE, free_port(), "offline, blocks of 1 KiB", 1024))
        subscriber.wait("messages", 1, 30)
        time.sleep(10)
        for contender in contenders:
            contender.begin()
        time.sleep(seconds)
        for contender in contenders:
            contender.end()
        return contenders


def rows(bench):
    # A run is long and has no luck in it.
    online, slow, slow_one, slow_batched, fast, fast_one, fast_batched, small = contend(bench, 30 if bench.quick else 180)
    result = [Line(f"bytes on the state disk, {online.result['messages']:,} samples online: written",
                   f"{online.result['bytes']:,}", target="0", good=online.result["bytes"] == 0),
              Line("… at the device", f"{online.result['at_device']:,}", target="0", good=online.result["at_device"] == 0)]
    for rate, ours, one, batched, most in ((RATES[0], slow, slow_one, slow_batched, 3), (RATES[1], fast, fast_one, fast_batched, 1.2)):
        for contender in (ours, one, batched):
            bench.say(f"{rate} B/s, {contender.name}: {contender.result}")
        for key, work, limit in (("written", f"offline at {rate / 1000:.0f} kB/s: written, bytes a byte of topic and payload", 1.2),
                                 ("device", "… at the device", most)):
            value = ours.result[key]
            result.append(Line(work, f"{value:.2f}", f"SQLite {one.result[key]:.1f}, by 100 {batched.result[key]:.2f}",
                               f"{value / one.result[key]:.3f}, {value / batched.result[key]:.2f}", f"at most {limit}", value <= limit))
    bench.say(f"{RATES[0]} B/s, {small.name}: {small.result}")
    result.append(Line("… at the device at 1 kB/s where blocks have 1 KiB", f"{small.result['device']:.2f}"))
    return result


if __name__ == "__main__":
    sqlite_main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
