# SPDX-License-Identifier: Apache-2.0
"""A guest whose power is cut: plugd's state lies on a VolatileDisk, the stand-in outlives the guest on this machine, and
what plugd was given is told line by line by guest/witness.py until the last moment."""

import statistics
import subprocess
import threading
import time

import gateway
from harness import wait_for
from ledger import ALIVE, COUNTER, HELLO, OPENED, SAMPLE
from machine import HERE, LAB, end_with_parent

SYNC_SEC = 5.0   # spool.sync
TIMER_SEC = 0.5  # what a timer, a thread's start and the files' names take beside the disk's own time
ADDRESS, PORT = "10.0.2.100", 1883
STATE, CANARY = "/srv/state", "/srv/state/canary"
INTERVAL = 0.05           # of the counter
PERIOD, SIZE = 0.25, 600  # of Publish()
CHANNEL = "Cut"
UNTOLD_SEC = 5  # of the last moments before a cut, on a busy machine

UNIT = f"""[Unit]
Description=Tells what plugd is given
Before=plugd.service
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {LAB}/guest/witness.py prepare
[Install]
WantedBy=multi-user.target
"""
# A journal of its own for each: nothing but plugd syncs this disk. ext4's default would hide a rename without a sync.
MOUNTS = f"""/dev/vdb {STATE} ext4 noauto_da_alloc,noatime 0 0
{STATE}/plugd /var/lib/plugd none bind 0 0
"""


def make_image(path):
    with open(path, "wb") as image:
        image.truncate(64 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", path], check=True, stdin=subprocess.DEVNULL)


def service(port):
    """For Machine: the guest's way to a port of this machine."""
    return {f"{ADDRESS}:{PORT}": ["/usr/bin/python3", HERE / "relay.py", port]}


class Life:
    """From a start of the guest to its power cut. Times are the guest's CLOCK_MONOTONIC, `begin` and `end` the time of day."""

    def __init__(self, begin):
        self.begin, self.end = begin, None
        self.workers = {}   # process: [bytes, when each sample was handed over], or None for one that tells of its plugin
        self.published = {}  # number: (id, when Publish() had returned)
        self.syncs = {}     # thread: [[begin, end or None], …]
        self.beats = []     # (here, there)

    def read(self, line, now):
        kind, at, *rest = line.split()
        at = float(at)
        if kind == "w":
            size = int(rest[1])
            worker = self.workers.setdefault(int(rest[0]), [-HELLO - OPENED, []] if size == HELLO else None)
            if worker:
                worker[0] += size if size != ALIVE else 0
                worker[1] += [at] * (worker[0] // SAMPLE - len(worker[1]))
        elif kind == "s":
            spans = self.syncs.setdefault(int(rest[0]), [])
            if len(rest) > 2:
                spans[-1][1] = at
            elif spans and spans[-1][1] and at - spans[-1][1] < 0.1:
                spans[-1][1] = None  # the folder after the file: the same job
            else:
                spans.append([at, None])
        elif kind == "p":
            self.published[int(rest[0])] = rest[1], at
        self.beats.append((now, at))

    @property
    def samples(self):
        """When each was handed over. plugd has one worker, which lives as long as it."""
        workers = [worker for worker in self.workers.values() if worker]
        assert len(workers) <= 1, f"the sensor has one worker a life, and had {self.workers.keys()}"
        return workers[0][1] if workers else []

    def there(self, here):
        """The guest's clock at that moment of this machine's."""
        return here - min(now - at for now, at in self.beats)

    def slack(self, cut):
        """How long the disk took to sync at most, and by how much the guest stood still."""
        spans = [(end or cut) - begin for spans in self.syncs.values() for begin, end in spans]
        gaps = [after[0] - before[0] for before, after in zip(self.beats, self.beats[1:])]
        return max(spans, default=0), max(max(gaps, default=0) - 0.05, 0)


class Bench:
    """`machine` has booted, with plugd's package installed; `server` runs on this machine."""

    def __init__(self, machine, disk, server, random):
        self.machine, self.disk, self.server, self.random = machine, disk, server, random
        self.lives, self.damaged = [], 0
        self._stream = None
        self._number = 0
        gateway.reset(machine)
        machine.put(UNIT, "/etc/systemd/system/witness.service")
        machine.put(MOUNTS, "/tmp/mounts")
        machine.run(f"mkdir -p {STATE} && cat /tmp/mounts >>/etc/fstab && mount /dev/vdb {STATE} && mkdir {STATE}/plugd && umount {STATE} && "
                    f"systemctl daemon-reload && systemctl start srv-state.mount var-lib-plugd.mount && "
                    f"head -c 4096 /dev/zero >{CANARY} && systemctl enable --now witness.service && sync", timeout=120)
        begin = time.time() - 2
        gateway.configure(machine, sensors=[{**COUNTER, "interval": INTERVAL}], server={"host": ADDRESS, "port": PORT}, timeout=120)
        self._begin(begin)
        machine.run("sync -f /etc")  # and not the disk that is tested
        self.plug_id = gateway.status(machine)["PlugId"]

    def _begin(self, begin):
        self.lives.append(Life(begin))
        self._watch()

    @property
    def life(self):
        return self.lives[-1]

    def _watch(self):
        command = [*self.machine.ssh_command(), "root@127.0.0.1",
                   f"exec python3 {LAB}/guest/witness.py watch {CHANNEL} {PERIOD} {SIZE} {self._number}"]
        self._stream = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent)

        def follow(stream, life):
            for line in stream:
                if line.endswith("\n"):
                    life.read(line, time.monotonic())
        self._reader = threading.Thread(target=follow, args=(self._stream.stdout, self.life), daemon=True)
        self._reader.start()

    def wait_samples(self, n, timeout=120):
        """Until the worker has handed over as many in this life."""
        wait_for(lambda: len(self.life.samples) >= n, f"{n} samples in this life", timeout)

    def write_canary(self):
        """Past the guest's own cache onto the disk, without a flush. Returns the flushes so far."""
        self.machine.run(f"head -c 4096 /dev/urandom | dd of={CANARY} bs=4096 oflag=direct conv=notrunc iflag=fullblock")
        return self.disk.flushes

    def cut(self, keep):
        """Returns what the disk's cache has lost. The life has ended then."""
        self.machine.power_cut()
        here, life = time.monotonic(), self.life
        life.end = time.time() + 2
        lost = self.disk.cut(self.random, keep)
        self._reader.join(10)
        self._stream.stdout.close()
        self._stream.wait()
        life.cut = life.there(here)
        self._number += len(life.published) + int(UNTOLD_SEC / PERIOD) + 2
        return lost

    def power_on(self):
        """Until ssh answers; plugd has to start by itself. Returns when the power came."""
        begin = time.time()
        self.machine.power_on()
        self._begin(begin + 2)  # the guest's clock is set to a second, and plugd isn't there as early
        return begin

    # --- what has arrived -------------------------------------------------------------------------------------------

    def arrived(self, life, channel):
        """{id: its first row}, and how many copies came. All copies of one id are the same."""
        first, copies = {}, 0
        for row in self.server.query("SELECT id, at, data, time_us FROM arrivals WHERE channel = ? AND fate = 'stored' AND at BETWEEN ? AND ? "
                                     "ORDER BY seq", channel, int(life.begin * 1000), int((life.end or time.time() + 3600) * 1000)):
            known = first.setdefault(row.id, row)
            assert (row.at, row.data) == (known.at, known.data), f"{row.id} has come again, changed"
            copies += known is not row
        assert len({row.at for row in first.values()}) == len(first), f"a time of {channel} was used twice"
        return first, copies

    def missing(self, life):
        """When each of what has not arrived was handed over; and what has arrived."""
        samples, copies = self.arrived(life, COUNTER["channel"])
        published, more = self.arrived(life, CHANNEL)
        values = [int(row.value) for row in sorted(samples.values(), key=lambda row: row.at)]
        assert values == sorted(set(values)), "a sample has come under two ids, or their times are in another order"
        assert not values or values[-1] <= len(life.samples) + UNTOLD_SEC / INTERVAL, "a sample has come that nobody handed over"
        lost = [at for value, at in enumerate(life.samples) if value not in set(values)]
        for ident, row in published.items():
            number = row.value["n"]
            assert life.published.get(number, (ident,))[0] == ident, f"what was published as {life.published[number]} came as {ident}"
            assert number <= max(life.published, default=number) + 1 + UNTOLD_SEC / PERIOD, f"nobody published number {number}"
        lost += [at for ident, at in life.published.values() if ident not in published]
        return lost, [*samples.values(), *published.values()], copies + more

    def settled(self, life):
        """Until all that was older than the window has arrived, and the backlog is gone. Returns as missing()."""
        disk, stall = life.slack(life.cut)
        life.limit = SYNC_SEC + TIMER_SEC + disk + stall
        assert disk + stall < 10, f"the disk took {disk:.1f} s to sync, and the guest stood still for {stall:.1f} s: this machine is too busy"

        def holds():
            lost, rows, copies = self.missing(life)
            oldest = life.cut - min(lost, default=life.cut)
            return oldest <= life.limit and (lost, rows, copies) or None
        wait_for(lambda: gateway.status(self.machine)["SpoolMessages"] < 3 / PERIOD + 3 / INTERVAL, "the backlog is gone", 90, 0.5)
        try:
            return wait_for(holds, "all that is older than the window arrives", 20, 0.5)
        except AssertionError:
            lost, rows, _ = self.missing(life)
            ages = sorted((life.cut - at for at in lost), reverse=True)
            raise AssertionError(f"{len(lost)} lost, of ages {[round(age, 2) for age in ages[:10]]}… s, and at most {life.limit:.2f} s were to be: "
                                 f"{SYNC_SEC} + {TIMER_SEC} + {disk:.2f} for the disk + {stall:.2f} of standing still; {len(rows)} have arrived") from None

    def set_aside(self):
        """Lines of plugd's journal of this boot on what recovery has set aside, and the files in which it is kept."""
        said = [line for line in self.machine.journal().splitlines() if "spool: " in line and
                any(text in line for text in ("cut off", "damaged", "can't be read", "left alone"))]
        kept = int(self.machine.out("ls /var/lib/plugd/damaged 2>/dev/null | wc -l"))
        new, self.damaged = kept - self.damaged, kept
        assert sum("kept in" in line for line in said) >= new, "what was set aside is said"
        return said


def spread(values):
    return f"{statistics.median(values):.1f} (at most {max(values):.1f})"
